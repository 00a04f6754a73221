//! Connector `touchpoint`: whatever a shop, a till, a survey or an app posts as JSON, mapped by JSON pointers.
//!
//! Numbers keep the digits they were written with: ids are often larger than a double can hold. An event that cannot be
//! mapped is told as unreadable and holds none of those beside it, and so are those beyond what is taken of one body, as one. It answers
//! nothing.

mod words;

use membrana_sdk::json;
use std::collections::BTreeMap;

use membrana_sdk::connector::{Author, Change, Interaction, Origin, Ours, Raw};
use membrana_sdk::{Connector, Fault, Finding, NativeId, Place, Result, Surroundings, finding_error, finding_warning, register_connector};
use serde::Deserialize;
use serde_json::Value;

use words::{digits_kept, hash, is_near, moment, number, word};

/// What the contract takes of one body.
const CHANGES_MAX: usize = 4096;
/// Units: bytes.
const ID_MAX: usize = 1000;
const WORD_MAX: usize = 1000;
const TEXT_MAX: usize = 1 << 20;
/// Of an event that cannot be read, what an admin sees of it.
const HEAD_MAX: usize = 1 << 10;

/// What the host knows; another word is carried, but no row of an impact table will ask for it.
const KINDS: [&str; 11] = ["post", "reply", "comment", "mention", "direct", "mail", "review", "reaction", "share", "checkin", "status"];
const VISIBILITIES: [&str; 4] = ["public", "unlisted", "followers", "direct"];

/// The connector.
pub struct Touchpoint;

/// Its section: literal `kind`, `visibility` and `author_scope`, everything else a JSON pointer.
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
    author_phone: Option<String>,
    /// Whose numbers the ids of authors are; empty, the default: this channel's own.
    author_scope: String,
    occurred_at: Option<String>,
    edited_at: Option<String>,
    place_name: Option<String>,
    place_lat: Option<String>,
    place_lon: Option<String>,
    campaign: Option<String>,
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
            ("author_phone", &self.author_phone),
            ("edited_at", &self.edited_at),
            ("place_name", &self.place_name),
            ("place_lat", &self.place_lat),
            ("place_lon", &self.place_lon),
            ("campaign", &self.campaign),
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

    fn unknown_words(&self) -> impl Iterator<Item = Finding> {
        let literals =
            [("kind", self.kind.as_str(), KINDS.as_slice()), ("visibility", self.visibility.as_deref().unwrap_or("direct"), &VISIBILITIES)];
        literals.into_iter().filter(|(_, word, known)| !known.contains(word)).map(|(key, word, known)| {
            let near = known.iter().find(|known| is_near(word, known));
            let cure = near.map_or_else(|| format!("known: {}", known.join(", ")), |near| format!("did you mean \"{near}\"?"));
            finding_warning(key, format!("`{word}` is no {key} that the host knows"), cure)
        })
    }
}

impl Connector for Touchpoint {
    fn validate(config: &str, _around: &Surroundings) -> Vec<Finding> {
        let section: Section = match serde_json::from_str(config) {
            Ok(section) => section,
            Err(error) => return vec![finding_error("", error, "see `membrana plugin inspect touchpoint` for the keys")],
        };
        let wrong = section.pointers().into_iter().filter(|(_, pointer)| !is_pointer(pointer));
        let wrong = wrong.map(|(key, pointer)| {
            finding_error(
                &key,
                format!("`{pointer}` is no JSON pointer"),
                format!("write \"{}\", with `/` before each name, and in one `~0` for `~`, `~1` for `/`", meant(pointer)),
            )
        });
        wrong.chain(section.unknown_words()).collect()
    }

    fn receive(raw: Raw) -> Result<Vec<Change>> {
        if !matches!(raw.origin, Origin::Webhook(_)) {
            return Err(Fault::unsupported("anything but webhooks"));
        }
        let section: Section = json::section("touchpoint")?;
        let body: Value = membrana_sdk::json::read(&digits_kept(&raw.body)).map_err(|error| Fault::permanent("touchpoint.no-json", error))?;
        let events: Vec<&Value> = match section.items.as_deref().map(|pointer| body.pointer(pointer)) {
            None => vec![&body],
            Some(Some(Value::Array(items))) => items.iter().collect(),
            Some(_) => {
                return Err(Fault::permanent(
                    "touchpoint.no-items",
                    format!("there is no list at `{}`", section.items.as_deref().unwrap_or_default()),
                ));
            }
        };
        let read = |event| interaction(&section, event, raw.received).map(Change::Upsert);
        // Of those beyond, the host keeps the whole body with the one that is unreadable.
        let n_taken = if events.len() > CHANGES_MAX { CHANGES_MAX - 1 } else { events.len() };
        let (mut changes, mut first) = (Vec::with_capacity(events.len().min(CHANGES_MAX)), None);
        for event in events.iter().take(n_taken) {
            match read(event) {
                Ok(change) => changes.push(change),
                Err(fault) => {
                    changes.push(unreadable(event, &fault));
                    first = first.or(Some(fault));
                }
            }
        }
        if let Some(event) = events.get(n_taken) {
            let n_beyond = events.len() - n_taken;
            let why = format!("{n_beyond} events of one body are beyond the {n_taken} that are taken: send fewer at once");
            changes.push(unreadable(event, &Fault::permanent("touchpoint.too-many", why)));
        }
        match first {
            Some(fault) if changes.iter().all(|change| matches!(change, Change::Unreadable(_))) => Err(fault),
            _ => Ok(changes),
        }
    }
}

register_connector!(Touchpoint);

/// RFC 6901: empty, or names with `/` before each, where `~` is followed by 0 or 1.
fn is_pointer(text: &str) -> bool {
    (text.is_empty() || text.starts_with('/')) && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

/// The pointer that somebody may have meant: names with dots between, or with a `~` of their own.
fn meant(text: &str) -> String {
    let text = format!("/{}", text.trim_start_matches('/').replace('.', "/"));
    if is_pointer(&text) { text } else { text.replace('~', "~0") }
}

fn interaction(section: &Section, event: &Value, received: u64) -> Result<Interaction> {
    let at = |pointer: &Option<String>, max: usize| pointer.as_deref().and_then(|pointer| word(event, pointer, max));
    let native = |id: String| NativeId { scope: String::new(), id };
    let id = word(event, &section.id, ID_MAX).ok_or_else(|| Fault::permanent("touchpoint.no-id", format!("there is no id at `{}`", section.id)))?;
    let time = |pointer: &Option<String>| pointer.as_deref().and_then(|pointer| moment(event.pointer(pointer)?));
    let occurred = time(&section.occurred_at).unwrap_or(received);
    let attrs = section.attrs.iter().filter_map(|(key, pointer)| Some((key.clone(), word(event, pointer, WORD_MAX)?)));
    Ok(Interaction {
        native: native(id),
        aka: Vec::new(),
        kind: section.kind.clone(),
        visibility: section.visibility.clone().unwrap_or_else(|| "direct".to_owned()),
        author: author(section, event),
        ours: Ours::No,
        automated: "no".to_owned(),
        // An order and the conversation about it often have the same number.
        conversation: at(&section.conversation_id, ID_MAX).map(|id| NativeId { scope: "conversation".to_owned(), id }),
        parent: at(&section.parent_id, ID_MAX).map(native),
        refs: Vec::new(),
        subject: at(&section.subject, WORD_MAX),
        text: at(&section.text, TEXT_MAX).unwrap_or_default(),
        quoted: None,
        language: at(&section.language, 35),
        url: at(&section.url, WORD_MAX),
        attachments: Vec::new(),
        place: place(section, event),
        side: None,
        campaign: at(&section.campaign, WORD_MAX),
        occurred,
        edited: time(&section.edited_at),
        reply_context: None,
        attrs: attrs.take(64).collect(),
    })
}

/// One bad event among good ones: it is set aside alone, known by its content.
fn unreadable(event: &Value, fault: &Fault) -> Change {
    let whole = event.to_string();
    let native = NativeId { scope: "unreadable".to_owned(), id: format!("{:016x}", hash(&whole)) };
    let reason = if let Fault::Permanent(why) = fault { why.message.clone() } else { format!("{fault:?}") };
    let head = whole.get(..whole.floor_char_boundary(HEAD_MAX)).unwrap_or_default().as_bytes().to_vec();
    Change::Unreadable((native, reason, head))
}

/// Who it was. Without an id of theirs, what else is theirs alone stands for it, each in a scope of its own: a customer
/// whose name is `7` is not customer 7.
fn author(section: &Section, event: &Value) -> Option<Author> {
    let at = |pointer: &Option<String>, max: usize| pointer.as_deref().and_then(|pointer| word(event, pointer, max));
    let (name, email) = (at(&section.author_name, WORD_MAX), at(&section.author_email, WORD_MAX));
    let (handle, phone) = (at(&section.author_handle, WORD_MAX), at(&section.author_phone, WORD_MAX));
    let scope = section.author_scope.as_str();
    let known_by = [("email", &email), ("phone", &phone), ("handle", &handle), ("name", &name)];
    let stand_in = || known_by.into_iter().find_map(|(what, id)| Some(NativeId { scope: format!("{scope}#{what}"), id: id.clone()? }));
    let native = at(&section.author_id, ID_MAX).map(|id| NativeId { scope: scope.to_owned(), id }).or_else(stand_in)?;
    let assurance = email.as_ref().or(phone.as_ref()).map(|_| "stated".to_owned());
    Some(Author { native, handle, name, url: None, email, phone, assurance, automated: false, metrics: Vec::new() })
}

fn place(section: &Section, event: &Value) -> Option<Place> {
    let name = section.place_name.as_deref().and_then(|pointer| word(event, pointer, WORD_MAX));
    let degrees = |pointer: &Option<String>, max: f64| number(event, pointer.as_deref()?).filter(|degrees| degrees.abs() <= max);
    let position = degrees(&section.place_lat, 90.0).zip(degrees(&section.place_lon, 180.0));
    (name.is_some() || position.is_some()).then_some(Place { name, native: None, position })
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
    fn what_is_no_pointer_is_told_with_one_that_is() {
        for (text, cure) in [("order.id", "/order/id"), ("/a~b", "/a~0b"), ("//~2", "/~02"), ("id", "/id")] {
            assert_eq!((is_pointer(text), meant(text).as_str(), is_pointer(cure)), (false, cure, true), "{text}");
        }
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
    fn a_body_is_taken_as_far_as_the_contract_goes_and_the_rest_is_told_as_one() {
        let section = r#"{"kind":"review","id":"/id","items":"/reviews"}"#;
        let body = |n: u32| format!("{{\"reviews\":[{}]}}", (0..n).map(|id| format!("{{\"id\":{id}}}")).collect::<Vec<_>>().join(","));
        for n in [257, 4096] {
            let changes = receive(section, &body(n)).unwrap();
            assert!(changes.len() == n as usize && changes.iter().all(|change| matches!(change, Change::Upsert(_))));
        }
        let changes = receive(section, &body(5000)).unwrap();
        let Some((Change::Unreadable((_, reason, head)), taken)) = changes.split_last() else { panic!() };
        assert!(taken.len() == 4095 && taken.iter().all(|change| matches!(change, Change::Upsert(_))));
        assert!(reason.starts_with("905 events") && head == br#"{"id":4095}"#, "{reason}");
    }

    #[test]
    fn one_bad_event_is_set_aside_alone() {
        let section = r#"{"kind":"review","id":"/id","items":"/reviews"}"#;
        let changes = receive(section, r#"{"reviews":[{"id":1},{"no":"id"},{"id":3}]}"#).unwrap();
        let [Change::Upsert(_), Change::Unreadable((_, reason, head)), Change::Upsert(third)] = changes.as_slice() else { panic!("{changes:?}") };
        assert!(reason.contains("no id at `/id`") && head.starts_with(b"{\"no\""), "{reason}");
        assert_eq!(third.native.id, "3");
        assert!(receive(section, r#"{"reviews":[{},{}]}"#).is_err(), "nothing was understood");
    }

    #[test]
    fn who_where_and_when_are_mapped() {
        let section = r#"{"kind":"checkin","id":"/id","conversation_id":"/id","author_name":"/who","author_phone":"/tel","author_scope":"till",
            "place_name":"/shop","place_lat":"/lat","place_lon":"/lon","campaign":"/c","occurred_at":"/at","edited_at":"/edited"}"#;
        let event = r#"{"id":123456789012345678901234567890,"who":"Anna","shop":"Como","lat":45.80,"lon":"9.08","c":"xmas","at":"1795521600","edited":1795521700}"#;
        let changes = receive(section, event).unwrap();
        let [Change::Upsert(about)] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(about.native.id, "123456789012345678901234567890", "no digit is lost");
        assert_ne!(about.conversation.as_ref(), Some(&about.native), "a conversation's id is no interaction's");
        let author = about.author.as_ref().unwrap();
        assert_eq!((author.native.scope.as_str(), author.native.id.as_str()), ("till#name", "Anna"), "a name alone is somebody");
        let place = about.place.as_ref().unwrap();
        assert_eq!((place.name.as_deref(), place.position), (Some("Como"), Some((45.8, 9.08))));
        assert_eq!((about.campaign.as_deref(), about.occurred, about.edited), (Some("xmas"), 1_795_521_600_000, Some(1_795_521_700_000)));
    }

    #[test]
    fn a_slip_in_a_literal_word_is_told() {
        let around = Surroundings { teams: Vec::new(), channels: Vec::new(), analyzers: Vec::new(), calendars: Vec::new() };
        let findings = Touchpoint::validate(r#"{"kind":"chekin","id":"/id","visibility":"secret"}"#, &around);
        assert_eq!(findings.iter().map(|f| f.key.as_str()).collect::<Vec<_>>(), ["kind", "visibility"]);
        assert!(findings[0].cure.contains("\"checkin\"") && findings[1].cure.contains("followers"), "{findings:?}");
    }

    #[test]
    fn a_wrong_pointer_is_named_with_its_key() {
        let around = Surroundings { teams: Vec::new(), channels: Vec::new(), analyzers: Vec::new(), calendars: Vec::new() };
        let findings = Touchpoint::validate(r#"{"kind":"review","id":"order.id","attrs":{"a":"~2"}}"#, &around);
        assert_eq!(findings.iter().map(|f| f.key.as_str()).collect::<Vec<_>>(), ["id", "attrs.a"]);
        assert!(findings[0].cure.contains("/order/id"));
    }
}
