//! Addresses: one parsed form for the configuration, for authors and for the envelope. It checks what could break a
//! protocol line, not whether a mailbox exists.

use mail_parser::Addr;
use membrana_sdk::text::cut;

/// RFC 5321 allows 254; a little more costs nothing and breaks nothing.
const ADDRESS_BYTES_MAX: usize = 320;
const NAME_BYTES_MAX: usize = 256;

/// A display name and an address. Shape: the address has exactly one usable `@`, no space, bracket or control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) name: Option<String>,
    /// As written; compare with [`Address::key`].
    pub(crate) address: String,
}

impl Address {
    /// `Acme, Inc. <support@example.org>` or `support@example.org`, as an admin writes it: no quotation marks needed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.chars().any(char::is_control) {
            return None;
        }
        let (name, address) = match text.trim().strip_suffix('>') {
            Some(inner) => inner.rsplit_once('<')?,
            None => ("", text.trim()),
        };
        Self::of(&Addr::new(Some(name), address))
    }

    /// From a parsed header; none where there is no usable address.
    pub(crate) fn of(parsed: &Addr<'_>) -> Option<Self> {
        let address = parsed.address()?.trim();
        if !is_safe(address) {
            return None;
        }
        let name = parsed.name().map(|name| clean_name(name, address)).filter(|name| !name.is_empty());
        Some(Self { name, address: address.to_owned() })
    }

    /// What identities and comparisons use: lower case.
    pub(crate) fn key(&self) -> String {
        self.address.to_lowercase()
    }

    pub(crate) fn local_part(&self) -> String {
        self.key().rsplit_once('@').map(|(local, _)| local.to_owned()).unwrap_or_default()
    }

    pub(crate) fn domain(&self) -> String {
        domain_of(&self.address)
    }
}

/// The lower-case domain; empty where there is none.
pub(crate) fn domain_of(address: &str) -> String {
    address.rsplit_once('@').map(|(_, domain)| domain.trim_end_matches('>').to_lowercase()).unwrap_or_default()
}

/// Whether this may stand between `<` and `>` of an SMTP command.
pub(crate) fn is_safe(address: &str) -> bool {
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let breaks = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';' | '"' | '(' | ')' | '\\');
    !local.is_empty() && !domain.is_empty() && address.len() <= ADDRESS_BYTES_MAX && !address.contains(breaks)
}

fn clean_name(name: &str, address: &str) -> String {
    let flat: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = flat.split_whitespace().collect::<Vec<_>>().join(" ");
    let bare = words.trim_matches(['"', '\'']).trim();
    if bare.eq_ignore_ascii_case(address) { String::new() } else { cut(bare, NAME_BYTES_MAX).to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_name_and_an_address_are_told_apart() {
        let acme = Address::parse("Acme, Inc. <Support@Example.org>");
        assert_eq!(acme.map(|a| a.key()), Some("support@example.org".to_owned()));
        let bare = Address::parse("support@example.org").unwrap();
        assert_eq!((bare.name.as_deref(), bare.domain().as_str()), (None, "example.org"));
    }

    #[test]
    fn what_could_break_an_envelope_is_no_address() {
        for bad in ["", "support", "a@b\r\nRCPT TO:<c@d>", "@example.org", "a@", "a b@example.org\0"] {
            assert_eq!(Address::parse(bad), None, "{bad:?}");
        }
        assert!(!is_safe("a@b> SIZE=1"));
    }
}
