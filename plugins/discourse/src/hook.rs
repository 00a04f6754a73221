//! Webhooks. What happened stands in a header alone: a deleted post arrives as an ordinary one.

use membrana_sdk::connector::{Change, Origin, Raw};
use membrana_sdk::json::Object;
use membrana_sdk::notes::unknown_kind;
use membrana_sdk::text::cut;
use membrana_sdk::{Fault, Result};
use serde_json::{Value as Json, json};

use crate::api::Api;
use crate::shapes::{Post, Sort};
use crate::watch::Watched;
use crate::{Section, wire};

/// Of the contract. Units: bytes.
const NOTE_BYTES_MAX: usize = 4096;
const WORD_BYTES_MAX: usize = 64;
/// Events by which nothing is said. Source: Discourse, `WebHookEventType`, with its plugins.
const KNOWN_FAMILIES: [&str; 13] = [
    "topic_",
    "user_",
    "group_",
    "category_",
    "tag_",
    "reviewable_",
    "notification_",
    "chat_message_",
    "post_liked",
    "accepted_solution",
    "unaccepted_solution",
    "assigned",
    "unassigned",
];

/// What a webhook tells. Errors: `permanent` for what cannot be understood, which is set aside alone.
pub(crate) fn receive(section: &Section, api: &Api, raw: &Raw) -> Result<Vec<Change>> {
    let Origin::Webhook(head) = &raw.origin else { return Err(Fault::unsupported("anything but a webhook")) };
    let event = head.headers.iter().find(|(name, _)| name == "x-discourse-event").map(|(_, value)| value.trim().to_ascii_lowercase());
    let json: Json = membrana_sdk::json::read(&raw.body).map_err(|error| Fault::permanent("discourse.malformed", format!("a webhook: {error}")))?;
    if event.as_deref() == Some("ping") || json.get("ping").is_some() {
        return Ok(Vec::new());
    }
    let event = event.ok_or_else(|| Fault::permanent("discourse.no-event", "a webhook without the header x-discourse-event"))?;
    match event.as_str() {
        "post_created" | "post_edited" | "post_destroyed" | "post_recovered" => of_post(section, api, raw, &event, &json),
        event if KNOWN_FAMILIES.iter().any(|family| event.starts_with(family)) => Ok(vec![note(event, &json)]),
        event => Ok(vec![unknown_kind(&word(event))]),
    }
}

fn of_post(section: &Section, api: &Api, raw: &Raw, event: &str, json: &Json) -> Result<Vec<Change>> {
    let post =
        json.get("post").and_then(Post::in_tree).ok_or_else(|| Fault::permanent("discourse.no-post", format!("{event} without a usable post")))?;
    match post.sort() {
        Sort::Said => {}
        Sort::Action => return Ok(Vec::new()),
        Sort::Unknown(kind) => return Ok(vec![unknown_type(kind)]),
    }
    let mut changes = match event {
        // The header is not signed: whoever caught an honest delivery could send it again as this one.
        "post_destroyed" if is_there(api, &post)? => Vec::new(),
        "post_destroyed" => vec![Change::Gone(post.native(section))],
        _ if post.is_gone && event != "post_recovered" => vec![Change::Gone(post.native(section))],
        _ if post.is_withheld() => Vec::new(),
        "post_recovered" => {
            let mut back = post.interaction(section, post.visibility(section));
            // It stands there again from now on, whatever its own dates say.
            back.edited = Some(raw.received.max(back.edited.unwrap_or(0)));
            vec![Change::Upsert(back)]
        }
        _ => vec![Change::Upsert(post.interaction(section, post.visibility(section)))],
    };
    if let [Change::Upsert(about)] = changes.as_mut_slice() {
        let mut watched = Watched::read();
        watched.places(section).name_parent(section, about);
        // The next webhook may be an answer to it.
        watched.add(std::iter::once((&post, post.visibility(section))));
        watched.keep();
    }
    Ok(changes)
}

/// Says whether the forum still shows it.
fn is_there(api: &Api, post: &Post) -> Result<bool> {
    let now = api.get_if_there::<Object<wire::Post>>(&format!("/posts/{}.json", post.id))?;
    Ok(now.and_then(|now| Post::of(now.0?)).is_some_and(|now| !now.is_gone))
}

/// A post of a type that nobody knew when this was written.
pub(crate) fn unknown_type(kind: u64) -> Change {
    unknown_kind(&format!("post_type/{kind}"))
}

/// What an event may be called in a note.
fn word(event: &str) -> String {
    event.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).take(WORD_BYTES_MAX).collect()
}

/// Anything else that happened on the forum: whole where it fits, else by its ids.
fn note(event: &str, json: &Json) -> Change {
    let whole = json.to_string();
    let body = if whole.len() <= NOTE_BYTES_MAX {
        whole
    } else {
        let ids = json.as_object().into_iter().flatten().map(|(key, value)| (cut(key, WORD_BYTES_MAX), value.get("id")));
        let ids: Vec<Json> = ids.take(8).map(|(key, id)| json!({ "what": key, "id": id.filter(|id| id.is_number()) })).collect();
        json!({ "too_long": true, "about": ids }).to_string()
    };
    Change::Note((format!("discourse.{}", word(event)), body))
}
