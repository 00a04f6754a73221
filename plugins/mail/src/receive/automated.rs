//! Whether a person wrote this mail: `no auto-reply bounce list bot notification`. Nothing automatic answers what is not
//! `no`, so in doubt a machine is assumed.
//! Source: RFC 3834, RFC 3464, RFC 2919, RFC 2369; the Exchange and Gmail headers as their vendors document them.

use mail_parser::{Header, HeaderValue, Message, MimeHeaders};
use membrana_sdk::text::cut;

use super::{named, raw};
use crate::address::Address;

/// The classification.
pub(crate) fn classify(message: &Message<'_>, from: Option<&Address>) -> &'static str {
    let header = |name: &str| first_words(message, name);
    let has = |name: &str| named(message, name).is_some();
    let local = from.map(Address::local_part).unwrap_or_default();
    let is_daemon = matches!(local.as_str(), "mailer-daemon" | "postmaster");
    let null_return = header("Return-Path") == "<>";
    if is_report(message, "delivery-status") || has("X-Failed-Recipients") || is_daemon {
        return "bounce";
    }
    let subject = message.subject().unwrap_or_default().trim().to_lowercase();
    let away = AWAY.iter().any(|words| subject.starts_with(words));
    let submitted = header("Auto-Submitted");
    let precedence = header("Precedence");
    if submitted.starts_with("auto-replied")
        || is_report(message, "disposition-notification")
        || ["X-Autoreply", "X-Autorespond", "X-Auto-Reply-From", "X-Autoresponder"].iter().any(|name| has(name))
        || precedence == "auto_reply"
        || away && (has("X-Auto-Response-Suppress") || null_return || !submitted.is_empty())
    {
        return "auto-reply";
    }
    if ["List-Id", "List-Unsubscribe", "List-Post"].iter().any(|name| has(name)) || precedence == "list" {
        return "list";
    }
    if !submitted.is_empty() && !submitted.starts_with("no") {
        return "notification";
    }
    if has("X-Loop") || local == "bot" || local.ends_with("-bot") || local.ends_with("[bot]") {
        return "bot";
    }
    if matches!(precedence.as_str(), "bulk" | "junk") || null_return || suppresses(&header("X-Auto-Response-Suppress")) || is_no_reply(&local) {
        return "notification";
    }
    "no"
}

fn is_report(message: &Message<'_>, kind: &str) -> bool {
    let Some(root) = message.parts.first().and_then(|part| part.content_type()) else { return false };
    let subtype = root.subtype().unwrap_or_default();
    root.ctype().eq_ignore_ascii_case("multipart")
        && subtype.eq_ignore_ascii_case("report")
        && root.attribute("report-type").is_some_and(|found| found.eq_ignore_ascii_case(kind))
}

fn suppresses(value: &str) -> bool {
    value.split(',').any(|word| matches!(word.trim(), "all" | "autoreply"))
}

fn is_no_reply(local: &str) -> bool {
    let plain: String = local.chars().filter(char::is_ascii_alphanumeric).collect();
    ["noreply", "donotreply", "nonrispondere", "neantworten"].iter().any(|word| plain.contains(word))
        || matches!(plain.as_str(), "notification" | "notifications" | "notify" | "alerts" | "newsletter")
}

/// The raw value in lower case, comments and all, bounded.
fn first_words(message: &Message<'_>, name: &str) -> String {
    let text = |header: &Header<'_>| if let HeaderValue::Text(text) = &header.value { Some(text.to_string()) } else { None };
    let value = named(message, name).and_then(|header| raw(message, header).map(str::to_owned).or_else(|| text(header)));
    cut(value.unwrap_or_default().trim(), 128).to_lowercase()
}

const AWAY: &[&str] = &[
    "automatic reply",
    "auto:",
    "autoreply",
    "auto-reply",
    "out of office",
    "risposta automatica",
    "automatische antwort",
    "abwesenheitsnotiz",
    "réponse automatique",
    "respuesta automática",
    "resposta automática",
    "automatisch antwoord",
    "fuori sede",
    "fuori ufficio",
];
