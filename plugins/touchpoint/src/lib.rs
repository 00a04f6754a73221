//! Connector `touchpoint`: whatever a shop, a till, a survey or an app posts as JSON, mapped by JSON pointers.
//!
//! Numbers keep the digits they were written with: ids are often larger than a double can hold.

use std::collections::BTreeMap;

use membrana_sdk::connector::{Author, Change, Interaction, Origin, Ours, Raw};
use membrana_sdk::{Connector, Fault, Finding, NativeId, Result, Surroundings, finding_error, register_connector};
use serde::Deserialize;
use serde_json::Value;

/// Events in one body.
const ITEMS_MAX: usize = 256;
/// Units: bytes.
const ID_MAX: usize = 1000;
const WORD_MAX: usize = 1000;
const TEXT_MAX: usize = 256 << 10;

/// The connector.
pub struct Touchpoint;

/// Its section: literal `kind` and `visibility`, everything else a JSON pointer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Section {
    kind: String,
    visibility: Option<String>,
    items: Option<String>,
    id: String,
    text: Option<String>,
    subject: Option<String>,
    author_id: Option<String>,
    author_name: Option<String>,
    author_email: Option<String>,
    author_handle: Option<String>,
    occurred_at: Option<String>,
    conversation_id: Option<String>,
    parent_id: Option<String>,
    url: Option<String>,
    language: Option<String>,
    attrs: BTreeMap<String, String>,
}

impl Section {
    fn pointers(&self) -> Vec<(String, &str)> {
        let named = [
            ("items", &self.items),
            ("text", &self.text),
            ("subject", &self.subject),
            ("author_id", &self.author_id),
            ("author_name", &self.author_name),
            ("author_email", &self.author_email),
            ("author_handle", &self.author_handle),
            ("occurred_at", &self.occurred_at),
            ("conversation_id", &self.conversation_id),
            ("parent_id", &self.parent_id),
            ("url", &self.url),
            ("language", &self.language),
        ];
        let optional = named.into_iter().filter_map(|(key, pointer)| Some((key.to_owned(), pointer.as_deref()?)));
        let attrs = self.attrs.iter().map(|(key, pointer)| (format!("attrs.{key}"), pointer.as_str()));
        std::iter::once(("id".to_owned(), self.id.as_str())).chain(optional).chain(attrs).collect()
    }
}

impl Connector for Touchpoint {
    fn validate(config: &str, _around: &Surroundings) -> Vec<Finding> {
        let section: Section = match serde_json::from_str(config) {
            Ok(section) => section,
            Err(error) => return vec![finding_error("", error, "see `membrana plugin inspect touchpoint` for the keys")],
        };
        let wrong = section.pointers().into_iter().filter(|(_, pointer)| !is_pointer(pointer));
        wrong
            .map(|(key, pointer)| {
                finding_error(
                    &key,
                    format!("`{pointer}` is no JSON pointer"),
                    format!("write \"/{}\", with `/` before each name", pointer.replace('.', "/")),
                )
            })
            .collect()
    }

    fn receive(raw: Raw) -> Result<Vec<Change>> {
        if !matches!(raw.origin, Origin::Webhook(_)) {
            return Err(Fault::unsupported("anything but webhooks"));
        }
        let section: Section = serde_json::from_str(&membrana_sdk::config::json()).map_err(|error| Fault::config("touchpoint.section", error))?;
        let body: Value = serde_json::from_slice(&raw.body).map_err(|error| Fault::permanent("touchpoint.no-json", error))?;
        let events: Vec<&Value> = match section.items.as_deref().map(|pointer| body.pointer(pointer)) {
            None => vec![&body],
            Some(Some(Value::Array(items))) if items.len() <= ITEMS_MAX => items.iter().collect(),
            Some(Some(Value::Array(items))) => {
                return Err(Fault::permanent("touchpoint.too-many", format!("{} events in one body; {ITEMS_MAX} are the most", items.len())));
            }
            Some(_) => {
                return Err(Fault::permanent(
                    "touchpoint.no-items",
                    format!("there is no list at `{}`", section.items.as_deref().unwrap_or_default()),
                ));
            }
        };
        events.into_iter().map(|event| interaction(&section, event, raw.received).map(Change::Upsert)).collect()
    }
}

register_connector!(Touchpoint);

/// RFC 6901: empty, or names with `/` before each, where `~` is followed by 0 or 1.
fn is_pointer(text: &str) -> bool {
    (text.is_empty() || text.starts_with('/')) && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

fn interaction(section: &Section, event: &Value, received: u64) -> Result<Interaction> {
    let at = |pointer: &Option<String>, max: usize| pointer.as_deref().and_then(|pointer| word(event, pointer, max));
    let native = |id: String| NativeId { scope: String::new(), id };
    let id = word(event, &section.id, ID_MAX).ok_or_else(|| Fault::permanent("touchpoint.no-id", format!("there is no id at `{}`", section.id)))?;
    let name = at(&section.author_name, WORD_MAX);
    let email = at(&section.author_email, WORD_MAX);
    let author_id = at(&section.author_id, ID_MAX).or_else(|| email.clone());
    let occurred = section.occurred_at.as_deref().and_then(|pointer| moment(event.pointer(pointer)?)).unwrap_or(received);
    let attrs = section.attrs.iter().filter_map(|(key, pointer)| Some((key.clone(), word(event, pointer, WORD_MAX)?)));
    Ok(Interaction {
        native: native(id),
        aka: Vec::new(),
        kind: section.kind.clone(),
        visibility: section.visibility.clone().unwrap_or_else(|| "direct".to_owned()),
        author: author_id.map(|id| Author {
            native: native(id),
            handle: at(&section.author_handle, WORD_MAX),
            name,
            url: None,
            assurance: email.as_ref().map(|_| "stated".to_owned()),
            email,
            phone: None,
            automated: false,
            metrics: Vec::new(),
        }),
        ours: Ours::No,
        automated: "no".to_owned(),
        conversation: at(&section.conversation_id, ID_MAX).map(native),
        parent: at(&section.parent_id, ID_MAX).map(native),
        refs: Vec::new(),
        subject: at(&section.subject, WORD_MAX),
        text: at(&section.text, TEXT_MAX).unwrap_or_default(),
        quoted: None,
        language: at(&section.language, 35),
        url: at(&section.url, WORD_MAX),
        attachments: Vec::new(),
        place: None,
        side: None,
        campaign: None,
        occurred,
        edited: None,
        reply_context: None,
        attrs: attrs.take(64).collect(),
    })
}

/// A text, number or flag as text; absent where it is null, empty or a structure.
fn word(event: &Value, pointer: &str, max: usize) -> Option<String> {
    let text = match event.pointer(pointer)? {
        Value::String(text) => text
            .trim()
            .chars()
            .scan(0, |bytes, c| {
                *bytes += c.len_utf8();
                (*bytes <= max).then_some(c)
            })
            .collect(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

/// Units: milliseconds since 1970; numbers below 10^11 are seconds.
fn moment(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => {
            let number = number.as_u64()?;
            Some(if number < 100_000_000_000 { number.saturating_mul(1000) } else { number })
        }
        Value::String(text) => u64::try_from(text.trim().parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use membrana_sdk::connector::RequestHead;
    use membrana_sdk::testing;

    use super::*;

    const SECTION: &str = r#"{"kind":"checkin","id":"/order/id","text":"/note","author_id":"/customer/id","author_name":"/customer/name","occurred_at":"/at","attrs":{"shop.total":"/order/total"}}"#;

    fn receive(section: &str, body: &str) -> Result<Vec<Change>> {
        testing::Host::with_config(section).install();
        let origin = Origin::Webhook(RequestHead { method: "POST".to_owned(), path_with_query: String::new(), headers: Vec::new() });
        Touchpoint::receive(Raw { origin, body: body.as_bytes().to_vec(), received: 5 })
    }

    #[test]
    fn an_order_becomes_an_interaction() {
        let body = r#"{"order":{"id":18446744073709551615,"total":12.5},"note":"Dov'è il pacco?","customer":{"id":7,"name":"Anna"},"at":"2026-11-24T12:00:00Z"}"#;
        let changes = receive(SECTION, body).unwrap();
        let [Change::Upsert(about)] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!((about.native.id.as_str(), about.kind.as_str(), about.visibility.as_str()), ("18446744073709551615", "checkin", "direct"));
        assert_eq!((about.text.as_str(), about.occurred), ("Dov'è il pacco?", 1_795_521_600_000));
        let author = about.author.as_ref().unwrap();
        assert_eq!((author.native.id.as_str(), author.name.as_deref()), ("7", Some("Anna")));
        assert_eq!(about.attrs, [("shop.total".to_owned(), "12.5".to_owned())]);
    }

    #[test]
    fn what_cannot_be_mapped_is_refused_for_good() {
        for body in ["", "nonsense", "[1]", "{}", r#"{"order":{"id":null}}"#] {
            assert!(matches!(receive(SECTION, body), Err(Fault::Permanent(_))), "{body}");
        }
    }

    #[test]
    fn a_list_of_events_is_taken_apart() {
        let section = r#"{"kind":"review","id":"/id","items":"/reviews"}"#;
        assert_eq!(receive(section, r#"{"reviews":[{"id":1},{"id":2}]}"#).unwrap().len(), 2);
        assert!(receive(section, r#"{"reviews":7}"#).is_err());
    }

    #[test]
    fn a_wrong_pointer_is_named_with_its_key() {
        let around = Surroundings { teams: Vec::new(), channels: Vec::new(), analyzers: Vec::new(), calendars: Vec::new() };
        let findings = Touchpoint::validate(r#"{"kind":"x","id":"order.id","attrs":{"a":"~2"}}"#, &around);
        assert_eq!(findings.iter().map(|f| f.key.as_str()).collect::<Vec<_>>(), ["id", "attrs.a"]);
        assert!(findings[0].cure.contains("/order/id"));
    }
}
