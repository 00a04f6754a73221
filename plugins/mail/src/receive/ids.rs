//! Message-IDs: read with suspicion, made up where there is none, derived where we write. As native ids they keep their
//! angle brackets and have no scope: a Message-ID means the same in every mailbox.

use mail_parser::{HeaderValue, Message};
use membrana_sdk::NativeId;
use sha2::{Digest, Sha256};

use super::{header_raw, named};

/// The contract allows 1 KiB for an id.
const ID_BYTES_MAX: usize = 900;
/// The contract allows 64 further ancestors.
const REFS_MAX: usize = 64;
const OWN_PREFIX: &str = "<membrana.";
const MADE_UP_PREFIX: &str = "<membrana-made-up.";
/// So much of a body tells one mail from another; the rest may not have been fetched.
const CONTENT_BYTES: usize = 64 << 10;

/// What a mail answers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ancestors {
    pub(crate) parent: Option<String>,
    /// Nearest first, without the parent, distinct.
    pub(crate) refs: Vec<String>,
}

impl Ancestors {
    /// Names the mail itself before the farther ancestors: few of them leave a mark.
    pub(crate) fn put_first(&mut self, own: String) {
        self.refs.truncate(REFS_MAX - 1);
        self.refs.insert(0, own);
    }
}

/// An id of the whole network.
pub(crate) fn native(id: impl Into<String>) -> NativeId {
    NativeId { scope: String::new(), id: id.into() }
}

/// The mail's own id, or one made from what does not change when a mailbox is moved.
pub(crate) fn own_id(message: Option<&Message<'_>>, raw: &[u8]) -> String {
    let declared = message.and_then(|m| all(named(m, "Message-ID").map(|header| &header.value)).into_iter().next());
    declared.unwrap_or_else(|| format!("{MADE_UP_PREFIX}{}@invalid>", content(message, raw)))
}

/// Whether [`own_id`] made it from the mail.
pub(crate) fn is_made_up(id: &str) -> bool {
    id.starts_with(MADE_UP_PREFIX)
}

/// The mail's id together with what it says, for two mails may bear the same id.
pub(crate) fn with_content(id: &str, message: &Message<'_>, raw: &[u8]) -> String {
    format!("{id}#{}", content(Some(message), raw).get(..32).unwrap_or_default())
}

/// Of what does not change when a mailbox is moved.
fn content(message: Option<&Message<'_>>, raw: &[u8]) -> String {
    let body = message.and_then(|m| m.parts.first()).map_or(0, |part| part.offset_body as usize);
    let mut hash = Sha256::new();
    for name in ["Date", "From", "Subject"] {
        hash.update(message.and_then(|m| header_raw(m, name)).unwrap_or_default().trim());
        hash.update([0]);
    }
    let body = raw.get(body..).unwrap_or(raw);
    hash.update(body.get(..CONTENT_BYTES).unwrap_or(body));
    hex(&hash.finalize())
}

/// In-Reply-To names the parent; References the rest, oldest first as written, nearest first as answered.
pub(crate) fn ancestors(message: &Message<'_>, own: &str) -> Ancestors {
    let mut answered = all(Some(message.in_reply_to()));
    let mut near_first = all(Some(message.references()));
    near_first.reverse();
    answered.append(&mut near_first);
    let mut distinct: Vec<String> = Vec::new();
    for id in answered {
        if id != own && distinct.len() <= REFS_MAX && !distinct.contains(&id) {
            distinct.push(id);
        }
    }
    let mut distinct = distinct.into_iter();
    Ancestors { parent: distinct.next(), refs: distinct.take(REFS_MAX).collect() }
}

/// The Message-ID of what is sent for an action: the same for the same action, whatever happens in between.
pub(crate) fn derived(key: &str, domain: &str) -> String {
    let digest = hex(&Sha256::digest(key));
    format!("{OWN_PREFIX}{}@{domain}>", digest.get(..32).unwrap_or_default())
}

/// Whether this could be one of [`derived`].
pub(crate) fn is_derived(id: &str, domain: &str) -> bool {
    let middle = id.strip_prefix(OWN_PREFIX).and_then(|rest| rest.strip_suffix('>')).and_then(|rest| rest.split_once('@'));
    middle.is_some_and(|(digest, at)| digest.len() == 32 && digest.bytes().all(|b| b.is_ascii_hexdigit()) && at.eq_ignore_ascii_case(domain))
}

/// The beginning that [`derived`] gives to every id.
pub(crate) fn derived_prefix() -> &'static str {
    OWN_PREFIX
}

/// All ids of a header, in order, in brackets.
fn all(header: Option<&HeaderValue<'_>>) -> Vec<String> {
    let ids: Vec<&str> = match header {
        Some(HeaderValue::Text(id)) => vec![id],
        Some(HeaderValue::TextList(ids)) => ids.iter().map(AsRef::as_ref).collect(),
        _ => Vec::new(),
    };
    ids.into_iter().filter_map(clean).collect()
}

/// In brackets, without blanks and control characters; one that is too long becomes its hash.
pub(crate) fn clean(id: &str) -> Option<String> {
    let bare: String = id.chars().filter(|c| !c.is_control() && !c.is_whitespace() && !matches!(c, '<' | '>')).collect();
    match bare.len() {
        0 => None,
        1..=ID_BYTES_MAX => Some(format!("<{bare}>")),
        _ => Some(format!("<membrana-cut.{}@invalid>", hex(&Sha256::digest(&bare)))),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_id_is_stable_and_recognised() {
        let id = derived("k1", "acme.test");
        assert_eq!(id, derived("k1", "acme.test"));
        assert_ne!(id, derived("k2", "acme.test"));
        assert!(is_derived(&id, "ACME.test"));
        assert!(!is_derived(&id, "other.test"));
        assert!(!is_derived("<membrana.x@acme.test>", "acme.test"));
    }

    #[test]
    fn ids_are_cleaned_and_bounded() {
        assert_eq!(clean("<a@b\r\n c>").as_deref(), Some("<a@bc>"));
        assert_eq!(clean(" <> "), None);
        assert!(clean(&"x".repeat(5_000)).is_some_and(|id| id.len() < 128));
    }
}
