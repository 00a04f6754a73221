//! The bytes of one file that a mail encloses: the mail is fetched once more and read like the first time, so that the files are
//! counted alike. Bounded as `poll` is, by `max_message_bytes`.

use membrana_sdk::{Fault, NativeId, Result};

use crate::imap::{Fetched, Imap, Part};
use crate::receive;
use crate::settings::Settings;

/// What the contract takes. Units: bytes.
const REF_BYTES_MAX: usize = 1024;

/// Which file of which mail. Shape: `FILE/UID/MAILBOX;UIDVALIDITY`, the file counted from 0.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    file: usize,
    uid: u32,
    mailbox: &'a str,
    uid_validity: u32,
}

impl<'a> Place<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let (file, uid, scope) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
        let (mailbox, uid_validity) = scope.rsplit_once(';')?;
        Some(Self { file, uid, mailbox, uid_validity: uid_validity.parse().ok()? })
    }
}

/// What `fetch` is asked with. None where the mailbox's name is too long for it.
pub(crate) fn reference(mail: &NativeId, file: usize) -> Option<String> {
    Some(format!("{file}/{}/{}", mail.id, mail.scope)).filter(|text| text.len() <= REF_BYTES_MAX)
}

/// Errors: `gone` where the mail or its mailbox is another by now, `too-large` where the file has more bytes than that.
pub(crate) fn fetch(settings: &Settings, media_ref: &str, bytes_max: u32) -> Result<Vec<u8>> {
    let gone = || Fault::permanent("gone", "the mail is no longer where it was");
    let place = Place::parse(media_ref).filter(|place| settings.mailboxes.iter().any(|known| known == place.mailbox)).ok_or_else(gone)?;
    let mut imap = Imap::open(settings)?;
    let is_same = imap.examine(place.mailbox)?.uid_validity == place.uid_validity;
    let fetched = if is_same { imap.mail(place.uid, Part::Whole, settings.whole_bytes_max())? } else { Fetched::Gone };
    if !imap.is_lost() && fetched != Fetched::Overlong {
        imap.logout();
    }
    let bytes = match fetched {
        Fetched::Bytes(raw) => receive::file(&raw, place.file).ok_or_else(gone)?,
        Fetched::Gone => return Err(gone()),
        Fetched::Refused => return Err(Fault::permanent("mail.refused", "the server refuses to hand this mail over")),
        Fetched::Overlong => return Err(Fault::permanent("too-large", "the mail is longer than the server had announced")),
    };
    if bytes.len() > bytes_max as usize {
        return Err(Fault::permanent("too-large", format!("{} bytes", bytes.len())));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_as_it_was_written_whatever_the_mailbox_is_called() {
        for mailbox in ["INBOX", "Kunden/Büro; privat", "a/b/c;9"] {
            let mail = NativeId { scope: format!("{mailbox};1234"), id: "17".to_owned() };
            let written = reference(&mail, 2).unwrap();
            assert_eq!(Place::parse(&written), Some(Place { file: 2, uid: 17, mailbox, uid_validity: 1234 }), "{written}");
        }
        let long = NativeId { scope: format!("{};1", "x".repeat(1100)), id: "17".to_owned() };
        assert_eq!(reference(&long, 0), None);
        for nonsense in ["", "1", "1/2", "1/2/INBOX", "x/2/INBOX;1", "1/-2/INBOX;1", "1/2/INBOX;x"] {
            assert_eq!(Place::parse(nonsense), None, "{nonsense}");
        }
    }
}
