//! How sure it is that a mail comes from the domain in its `From`: read from Authentication-Results, and only where the
//! receiving server must have written it. Everything that came with the mail could be forged.
//! Source: RFC 8601 (Authentication-Results), RFC 7489 §3.1 (alignment).

use mail_parser::{HeaderName, Message};

use crate::address::domain_of;

/// What the receiving server found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assurance {
    /// The domain is proven.
    Authenticated,
    /// Nobody checked, or nothing that can be relied on.
    Stated,
    /// Checked, and it is not from there.
    Failed,
}

/// Shape: `trusted` is the server's name as the admin gave it; without it only a header above all `Received` counts,
/// because what a sender puts into a mail stays below the line that our server adds.
pub(crate) fn of(message: &Message<'_>, from_domain: &str, trusted: Option<&str>) -> Assurance {
    let mut received_above = false;
    for header in message.headers() {
        match &header.name {
            HeaderName::Received => received_above = true,
            name if name.as_str().eq_ignore_ascii_case("Authentication-Results") => {
                let range = header.offset_start as usize..header.offset_end as usize;
                let value = String::from_utf8_lossy(message.raw_message.get(range).unwrap_or_default()).to_lowercase();
                let value = without_comments(&value);
                let server = value.split([';', ' ', '\r', '\n', '\t']).find(|word| !word.is_empty()).unwrap_or_default();
                let counts = trusted.map_or(!received_above && was_received(message), |trusted| trusted.eq_ignore_ascii_case(server));
                if counts {
                    return judge(&value, from_domain);
                }
            }
            _ => {}
        }
    }
    Assurance::Stated
}

fn was_received(message: &Message<'_>) -> bool {
    message.headers().iter().any(|header| header.name == HeaderName::Received)
}

fn judge(value: &str, from_domain: &str) -> Assurance {
    let mut found = Assurance::Stated;
    for result in value.split(';').skip(1) {
        let mut words = result.split_ascii_whitespace();
        let (method, verdict) = words.next().and_then(|word| word.split_once('=')).unwrap_or_default();
        let proves =
            |property: &str| words.clone().any(|w| w.split_once('=').is_some_and(|(name, at)| name == property && is_aligned(at, from_domain)));
        match (method, verdict) {
            ("dmarc", "pass") => return Assurance::Authenticated,
            ("dmarc", "fail") => return Assurance::Failed,
            ("dkim", "pass") if proves("header.d") || proves("header.i") => found = Assurance::Authenticated,
            ("spf", "pass") if proves("smtp.mailfrom") => found = Assurance::Authenticated,
            _ => {}
        }
    }
    found
}

/// The same domain, or one below it: relaxed alignment without a list of public suffixes, on the strict side.
fn is_aligned(identity: &str, from_domain: &str) -> bool {
    let identity = identity.trim_matches('"');
    let domain = if identity.contains('@') { domain_of(identity) } else { identity.to_owned() };
    !domain.is_empty() && (domain == from_domain || (domain.contains('.') && from_domain.ends_with(&format!(".{domain}"))))
}

fn without_comments(value: &str) -> String {
    let mut depth = 0_u32;
    value
        .chars()
        .filter(|c| {
            match c {
                '(' => depth += 1,
                ')' if depth > 0 => {
                    depth -= 1;
                    return false;
                }
                _ => {}
            }
            depth == 0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::MessageParser;

    fn judged(head: &str, trusted: Option<&str>) -> Assurance {
        let mail = format!("{head}From: a@example.org\r\n\r\nx");
        of(&MessageParser::default().parse(mail.as_bytes()).unwrap(), "example.org", trusted)
    }

    #[test]
    fn only_the_receiving_server_is_believed() {
        let pass = "Authentication-Results: mx.acme.test; dmarc=pass (p=none) header.from=example.org\r\n";
        let received = "Received: from x by mx.acme.test; Mon, 2 Mar 2026 09:00:00 +0000\r\n";
        assert_eq!(judged(&format!("{pass}{received}"), None), Assurance::Authenticated);
        assert_eq!(judged(&format!("{received}{pass}"), None), Assurance::Stated);
        assert_eq!(judged(pass, None), Assurance::Stated);
        assert_eq!(judged(&format!("{received}{pass}"), Some("mx.acme.test")), Assurance::Authenticated);
        assert_eq!(judged(&format!("{received}{pass}"), Some("mx.other.test")), Assurance::Stated);
    }

    #[test]
    fn a_signature_of_another_domain_proves_nothing() {
        let received = "Received: by mx\r\n";
        let results = |text: &str| judged(&format!("Authentication-Results: mx; {text}\r\n{received}"), None);
        assert_eq!(results("dkim=pass header.d=example.org"), Assurance::Authenticated);
        assert_eq!(results("dkim=pass header.d=evil.test; spf=pass smtp.mailfrom=a@evil.test"), Assurance::Stated);
        assert_eq!(results("dkim=pass header.d=org"), Assurance::Stated);
        assert_eq!(results("dmarc=fail; dkim=pass header.d=evil.test"), Assurance::Failed);
    }
}
