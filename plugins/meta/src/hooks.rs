//! A delivery taken apart: several payloads, several entries, several changes in each; nested or flat. All of them.

use membrana_sdk::{Fault, Result, Timestamp};
use serde_json::Value as Json;

use crate::read::{WORD_BYTES_MAX, id, in_ms, list, text};

/// One thing that a delivery tells.
#[derive(Debug, PartialEq)]
pub struct Event<'j> {
    /// `page`, `instagram`, …
    pub object: String,
    /// Of the Page or account that it is about; empty where the entry does not say.
    pub owner: String,
    /// When the network sent it. Units: milliseconds since 1970.
    pub at: Timestamp,
    /// What it is.
    pub what: What<'j>,
}

/// See [`Event`].
#[derive(Debug, PartialEq)]
pub enum What<'j> {
    /// A change of a subscribed field.
    Field(String, &'j Json),
    /// Of a conversation.
    Messaging(&'j Json),
    /// Neither.
    Odd(&'j Json),
}

/// The JSON of a delivery. Errors: `permanent` where it is none.
pub fn body(bytes: &[u8]) -> Result<Json> {
    membrana_sdk::json::read(bytes).map_err(|error| Fault::permanent("meta.no-json", error))
}

/// Everything that a delivery tells, in its order. `received` dates what has no date.
pub fn events(body: &Json, received: Timestamp) -> Vec<Event<'_>> {
    let payloads = body.as_array().map_or(std::slice::from_ref(body), Vec::as_slice);
    payloads.iter().flat_map(|payload| of_payload(payload, received)).collect()
}

fn of_payload(payload: &Json, received: Timestamp) -> Vec<Event<'_>> {
    let object = text(payload, "object", WORD_BYTES_MAX);
    let entries = list(payload, "entry");
    if entries.is_empty() {
        return vec![Event { object, owner: String::new(), at: received, what: What::Odd(payload) }];
    }
    let of_entry = |entry| {
        let owner = id(entry, "id").unwrap_or_default();
        let at = entry.get("time").and_then(Json::as_u64).map_or(received, in_ms);
        told(entry).into_iter().map(move |what| (owner.clone(), at, what))
    };
    entries.iter().flat_map(of_entry).map(|(owner, at, what)| Event { object: object.clone(), owner, at, what }).collect()
}

fn told(entry: &Json) -> Vec<What<'_>> {
    let field = |of: &Json| text(of, "field", WORD_BYTES_MAX);
    let nested = list(entry, "changes").iter().map(|change| match change.get("value") {
        Some(value) => What::Field(field(change), value),
        None => What::Odd(change),
    });
    // Another app may have the conversation for now; what people say in it is said to us all the same.
    let messaging = list(entry, "messaging").iter().chain(list(entry, "standby")).map(What::Messaging);
    let flat = entry.get("field").and(entry.get("value")).map(|value| What::Field(field(entry), value));
    let all: Vec<What<'_>> = nested.chain(messaging).chain(flat).collect();
    if all.is_empty() { vec![What::Odd(entry)] } else { all }
}
