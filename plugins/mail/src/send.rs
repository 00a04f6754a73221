//! Answers a mail by SMTP, and finds out by IMAP whether an answer of unknown outcome left.

pub(crate) mod compose;
mod smtp;
#[cfg(test)]
mod tests;

use membrana_sdk::connector::{Message, Receipt, Sent};
use membrana_sdk::{Attrs, Fault, Result, clock};

use crate::address::Address;
use crate::imap::{Imap, quote};
use crate::receive::ids;
use crate::settings::{Endpoint, Settings};

/// Absence is believed so long after the mail was handed over; a provider files what is submitted when it has time.
const SETTLE_MS: u64 = 10 * 60_000;

/// Sends the reply. Errors: `unsupported` where the channel only listens; else as [`smtp::submit`].
pub(crate) fn send(settings: &Settings, key: &str, message: &Message) -> Result<Receipt> {
    let (endpoint, from) = sender(settings)?;
    let mail = compose::compose(from, key, message)?;
    smtp::submit(settings, endpoint, &mail, message.created)?;
    Ok(receipt(&mail.message_id))
}

/// Looks for the mail in `sent_mailbox`. Absence says something only where that mailbox holds other mails of ours: then
/// the provider files what is submitted.
pub(crate) fn probe(settings: &Settings, key: &str, message: &Message) -> Result<(Sent, Option<Receipt>)> {
    let (_, from) = sender(settings)?;
    let Some(mailbox) = &settings.sent_mailbox else { return Ok((Sent::Unknown, None)) };
    let id = ids::derived(key, &from.domain());
    let mut imap = Imap::open(settings)?;
    imap.examine(mailbox)?;
    let found = |imap: &mut Imap, part: &str| Ok(!imap.search(&format!("HEADER Message-ID {}", quote(part)))?.is_empty());
    let sent = if found(&mut imap, &id)? {
        (Sent::Yes, Some(receipt(&id)))
    } else if found(&mut imap, ids::derived_prefix())? {
        if clock::now() < message.created.saturating_add(SETTLE_MS) {
            return Err(Fault::transient("mail.not-yet", "the mail is not in `sent_mailbox`; it may still be filed there"));
        }
        (Sent::No, None)
    } else {
        (Sent::Unknown, None)
    };
    imap.logout();
    Ok(sent)
}

fn sender(settings: &Settings) -> Result<(&Endpoint, &Address)> {
    let both = settings.smtp.as_ref().zip(settings.from.as_ref());
    both.ok_or_else(|| Fault::unsupported("a reply: no submission server is configured; set `smtp` and `from`"))
}

fn receipt(message_id: &str) -> Receipt {
    Receipt { native: ids::native(message_id), aka: Vec::new(), url: None, attrs: Attrs::new() }
}
