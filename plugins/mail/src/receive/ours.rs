//! Whether a mail is one of ours. What is ours is neither analysed nor answered, so the address in `From` alone does not
//! make it: contact forms write under the company's own address for whoever filled them in.

use mail_parser::{Addr, Message};
use membrana_sdk::NativeId;

use super::{first_usable, ids};
use crate::address::Address;
use crate::settings::Settings;

/// Recipients looked at.
const RECIPIENTS_MAX: usize = 64;

/// An id that we derived, a mail in the mailbox of what we sent, or one under our address that does not come back to us.
pub(super) fn is_ours(settings: &Settings, message: &Message<'_>, native: &NativeId, id: &str, we: &Address, from: &Address) -> bool {
    if we.domain() == from.domain() && ids::is_derived(id, &we.domain()) {
        return true;
    }
    if we.key() != from.key() {
        return false;
    }
    let mailbox = native.scope.rsplit_once(';').map(|(mailbox, _)| mailbox);
    mailbox.is_some() && mailbox == settings.sent_mailbox.as_deref() || !comes_back(message, we)
}

/// Answers go to somebody else, or it was sent to us: to us alone, or as the start of a thread.
fn comes_back(message: &Message<'_>, we: &Address) -> bool {
    if message.reply_to().and_then(first_usable).is_some_and(|to| to.key() != we.key()) {
        return true;
    }
    let lists = message.to().into_iter().chain(message.cc());
    let recipients: Vec<String> =
        lists.flat_map(|list| list.iter().take(RECIPIENTS_MAX).filter_map(|one: &Addr<'_>| Address::of(one))).map(|one| one.key()).collect();
    let is_to_us = recipients.contains(&we.key());
    let is_to_us_alone = is_to_us && recipients.iter().all(|one| *one == we.key());
    is_to_us_alone || is_to_us && ids::ancestors(message, "").parent.is_none()
}

/// Whether `to`, whom answers go to, is who speaks: forms write under an address of ours for whoever filled them in, and not always under
/// this channel's (`wordpress@` our domain). A list's answers go to the list, so its writers stay who they are.
///
/// Given up: a colleague whose answers go to a private address is taken for the owner of that one, though nobody proved it; and where we
/// share the domain of a mail provider, so is each customer there. They are answered at that address anyway.
pub(super) fn is_form(we: &Address, from: &Address, to: &Address, automated: &str) -> bool {
    let is_of_our_house = |one: &Address| {
        let (domain, house) = (one.domain(), we.domain());
        domain.strip_suffix(house.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    we.key() == from.key() || !matches!(automated, "list" | "bounce") && is_of_our_house(from) && !is_of_our_house(to)
}
