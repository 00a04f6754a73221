//! What a delivery report tells: which of our mails, with which outcome. Source: RFC 3462, RFC 3464.

use mail_parser::{Message, MessageParser, MimeHeaders, PartType};

use super::ids;
use crate::address::Address;

/// A report's fields are short; more is somebody's joke.
const REPORT_BYTES_MAX: usize = 64 << 10;

/// The first failed recipient's part of a report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The Message-ID of the mail that it is about.
    pub(crate) about: Option<String>,
    /// `failed`, `delayed`, `delivered`...
    pub(crate) action: Option<String>,
    /// `5.1.1`.
    pub(crate) status: Option<String>,
    /// Whom it did not reach, lower case: Final-Recipient, else Original-Recipient.
    pub(crate) recipient: Option<String>,
}

/// None where the mail encloses no report.
pub(crate) fn report(message: &Message<'_>) -> Option<Report> {
    let mut report = Report::default();
    for part in message.parts.iter().take(64) {
        let kind = part.content_type().map(|kind| (kind.ctype().to_ascii_lowercase(), kind.subtype().unwrap_or_default().to_ascii_lowercase()));
        let kind = kind.as_ref().map(|(main, sub)| (main.as_str(), sub.as_str()));
        match (kind, &part.body) {
            (Some(("message", "delivery-status")), _) => read_fields(part.contents(), &mut report),
            (_, PartType::Message(about)) => report.about = Some(ids::own_id(Some(about), b"")).filter(|id| !id.ends_with("@invalid>")),
            (Some(("text", "rfc822-headers")), _) => {
                let headers = MessageParser::default().parse_headers(part.contents());
                report.about = Some(ids::own_id(headers.as_ref(), b"")).filter(|id| !id.ends_with("@invalid>"));
            }
            _ => {}
        }
    }
    (report != Report::default()).then_some(report)
}

fn read_fields(contents: &[u8], report: &mut Report) {
    let text = String::from_utf8_lossy(contents.get(..REPORT_BYTES_MAX.min(contents.len())).unwrap_or_default()).into_owned();
    let mut original = None;
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        let word: String = value.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).take(32).collect();
        match name.trim().to_ascii_lowercase().as_str() {
            "action" if report.action.is_none() => report.action = Some(word.to_ascii_lowercase()),
            "status" if report.status.is_none() => report.status = Some(word),
            "final-recipient" if report.recipient.is_none() => report.recipient = recipient(value),
            "original-recipient" => original = original.or_else(|| recipient(value)),
            _ => {}
        }
    }
    report.recipient = report.recipient.take().or(original);
}

/// `rfc822; nobody@example.org`.
fn recipient(value: &str) -> Option<String> {
    let (_, address) = value.split_once(';')?;
    Address::parse(address.trim()).map(|address| address.key())
}
