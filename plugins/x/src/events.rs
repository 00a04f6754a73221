//! What comes by itself: account-activity webhooks (objects of v1.1), activity events (by webhook or as lines of a stream), and
//! frames of the filtered stream. Each kind that is not known is kept as a note; one bad item never costs the others.

use membrana_sdk::connector::{Change, Raw};
use membrana_sdk::notes::unknown_kind;
use membrana_sdk::{Fault, NativeId, Result};
use serde_json::Value as Json;

use crate::direct;
use crate::post::{Includes, Own, Post, native};
use crate::revisions::Revisions;
use crate::shapes::{WORD_BYTES_MAX, head, id, items, list, note_body, text};

/// Told of one delivery.
const NOTES_MAX: usize = 100;
/// Fields of an account-activity delivery that are no events.
const BESIDE: [&str; 4] = ["for_user_id", "users", "apps", "user_has_blocked"];

/// Reads one delivery.
struct Reader<'r> {
    own: &'r Own,
    revisions: Revisions,
    received: u64,
    changes: Vec<Change>,
}

/// What a delivery tells. `own_of` says whose accounts are ours, and is asked only where it matters.
/// Errors: `permanent` where it is no JSON; those of `own_of`.
pub(crate) fn changes(raw: &Raw, own_of: impl FnOnce(&[String]) -> Result<Own>) -> Result<Vec<Change>> {
    if raw.body.iter().all(u8::is_ascii_whitespace) {
        // The stream's sign of life.
        return Ok(Vec::new());
    }
    let json: Json = membrana_sdk::json::read(&raw.body).map_err(|error| Fault::permanent("x.malformed", format!("not JSON: {error}")))?;
    if !json.is_object() {
        return Err(Fault::permanent("x.malformed", "not a JSON object"));
    }
    let own = if needs_own(&json) { own_of(&subscribed(&json))? } else { Own::default() };
    let mut reader = Reader { own: &own, revisions: Revisions::read(), received: raw.received, changes: Vec::new() };
    reader.delivery(&json);
    reader.revisions.keep();
    Ok(reader.changes)
}

/// Says whether something in it has an author.
fn needs_own(json: &Json) -> bool {
    json.get("data").is_some() || json.get("tweet_create_events").is_some() || json.get("direct_message_events").is_some()
}

/// Whose events these are, where the delivery says so: accounts that the company subscribed with their own consent.
fn subscribed(json: &Json) -> Vec<String> {
    id(json, "for_user_id").into_iter().collect()
}

impl Reader<'_> {
    fn delivery(&mut self, json: &Json) {
        for error in list(json, "errors").iter().take(NOTES_MAX) {
            // Beside data they concern what it refers to, alone the connection.
            self.note(if json.get("data").is_some() { "x.partial" } else { "x.stream" }, error);
        }
        match json.get("data") {
            Some(Json::Array(events)) => events.iter().for_each(|event| self.datum(event, json)),
            Some(data) => self.datum(data, json),
            None if json.get("errors").is_some() => {}
            None => self.account(json),
        }
    }

    /// An activity, or a post of the filtered stream.
    fn datum(&mut self, data: &Json, around: &Json) {
        match text(data, "event_type", WORD_BYTES_MAX) {
            Some(kind) => self.activity(kind, data),
            None => self.post(data, &Includes::of(around.get("includes"))),
        }
    }

    fn post(&mut self, json: &Json, includes: &Includes<'_>) {
        match Post::of(json, includes, self.own) {
            Some(post) => {
                let change = self.revisions.taken(post);
                self.changes.extend(change);
            }
            None => self.unreadable(json, "a post without an id or a text"),
        }
    }

    /// Source: docs.x.com, X Activity API, payloads by event type.
    fn activity(&mut self, kind: &str, data: &Json) {
        let payload = data.get("payload").unwrap_or(&Json::Null);
        let includes = Includes::of(data.get("includes"));
        match kind {
            "post.create" | "post.mention.create" | "post.reply.create" | "post.quote.create" | "post.repost.create" => self.post(payload, &includes),
            "post.delete" => self.gone(payload, data),
            "dm.received" | "dm.sent" => self.directs(payload),
            "oauth.revoke" => self.note("x.revoked", data),
            kind if kind.starts_with("chat.") => self.unreadable(data, "encrypted from end to end"),
            kind if KNOWN_FAMILIES.iter().any(|family| kind.starts_with(family)) => self.note(&format!("x.{kind}"), data),
            _ => self.unknown(kind),
        }
    }

    fn gone(&mut self, post: &Json, around: &Json) {
        match id(post, "id") {
            Some(id) => {
                self.revisions.note_gone(&id);
                self.changes.push(Change::Gone(native(&id)));
            }
            None => self.unreadable(around, "a deletion without an id"),
        }
    }

    fn directs(&mut self, payload: &Json) {
        let users = payload.get("users").unwrap_or(&Json::Null);
        let events = list(payload, "direct_message_events");
        let events = if events.is_empty() { std::slice::from_ref(payload) } else { events };
        events.iter().for_each(|event| self.direct(event, users));
    }

    fn direct(&mut self, event: &Json, users: &Json) {
        match direct::interaction(event, users, self.own) {
            Some(interaction) => self.changes.push(Change::Upsert(interaction)),
            None => self.unreadable(event, "a direct message that cannot be read"),
        }
    }

    /// Source: the Account Activity API, kinds of payloads.
    fn account(&mut self, json: &Json) {
        let Some(fields) = json.as_object() else { return };
        for (kind, value) in fields.iter().filter(|(kind, _)| !BESIDE.contains(&kind.as_str())) {
            match kind.as_str() {
                "tweet_create_events" => items(value).iter().for_each(|post| self.post(post, &Includes::of(None))),
                "tweet_delete_events" => items(value).iter().for_each(|event| self.gone(event.get("status").unwrap_or(event), event)),
                "direct_message_events" => {
                    let users = json.get("users").unwrap_or(&Json::Null);
                    items(value).iter().for_each(|event| self.direct(event, users));
                }
                "favorite_events" => self.each("x.like", value),
                "follow_events" => self.follows(value),
                "direct_message_mark_read_events" => self.each("x.read", value),
                // Of no worth a moment later.
                "direct_message_indicate_typing_events" => {}
                "user_event" if value.get("revoke").is_some() => self.note("x.revoked", value),
                _ => self.unknown(kind),
            }
        }
    }

    /// An unfollow comes as a follow of that type.
    fn follows(&mut self, events: &Json) {
        for event in items(events) {
            let is_end = text(event, "type", WORD_BYTES_MAX) == Some("unfollow");
            self.note(if is_end { "x.unfollow" } else { "x.follow" }, event);
        }
    }

    fn each(&mut self, kind: &str, events: &Json) {
        items(events).iter().for_each(|event| self.note(kind, event));
    }

    fn note(&mut self, kind: &str, body: &Json) {
        if self.changes.len() < NOTES_MAX * 40 {
            self.changes.push(Change::Note((kind.to_owned(), note_body(body))));
        }
    }

    fn unknown(&mut self, kind: &str) {
        if self.changes.len() < NOTES_MAX * 40 {
            self.changes.push(unknown_kind(kind));
        }
    }

    fn unreadable(&mut self, json: &Json, reason: &str) {
        // An event's own number may be negative; what has none is named by when it came.
        let named = text(json, "event_uuid", WORD_BYTES_MAX).map(str::to_owned).or_else(|| id(json, "id"));
        let id = named.unwrap_or_else(|| format!("{}+{}", self.received, self.changes.len()));
        let native = NativeId { scope: "event".to_owned(), id };
        self.changes.push(Change::Unreadable((native, reason.to_owned(), head(json.to_string().as_bytes()))));
    }
}

/// Kinds that nothing was said by.
const KNOWN_FAMILIES: [&str; 9] = ["like.", "follow.", "profile.update.", "mute.", "block.", "dm.read", "dm.indicate_typing", "news.", "spaces."];
