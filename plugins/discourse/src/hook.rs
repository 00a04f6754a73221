//! Webhooks. What happened stands in a header alone: a deleted post arrives as an ordinary one.

use membrana_sdk::connector::{Change, Origin, Raw};
use membrana_sdk::text::cut;
use membrana_sdk::{Fault, Result};
use serde_json::{Value as Json, json};

use crate::Section;
use crate::api::Api;
use crate::shapes::{Post, Sort};

/// Of the contract. Units: bytes.
const NOTE_BYTES_MAX: usize = 4096;
const WORD_BYTES_MAX: usize = 64;

/// What a webhook tells. Errors: `permanent` for what cannot be understood, which is set aside alone.
pub(crate) fn receive(section: &Section, api: &Api, raw: &Raw) -> Result<Vec<Change>> {
    let Origin::Webhook(head) = &raw.origin else { return Err(Fault::unsupported("anything but a webhook")) };
    let event = head.headers.iter().find(|(name, _)| name == "x-discourse-event").map(|(_, value)| value.trim().to_ascii_lowercase());
    let json: Json = serde_json::from_slice(&raw.body).map_err(|error| Fault::permanent("discourse.malformed", format!("a webhook: {error}")))?;
    if event.as_deref() == Some("ping") || json.get("ping").is_some() {
        return Ok(Vec::new());
    }
    let event = event.ok_or_else(|| Fault::permanent("discourse.no-event", "a webhook without the header x-discourse-event"))?;
    if !event.starts_with("post_") {
        return Ok(vec![note(&event, &json)]);
    }
    let post = json.get("post").and_then(Post::of).ok_or_else(|| Fault::permanent("discourse.no-post", format!("{event} without a usable post")))?;
    match post.sort() {
        Sort::Said => {}
        Sort::Action => return Ok(Vec::new()),
        Sort::Unknown(kind) => return Ok(vec![unknown_type(&post, kind)]),
    }
    match event.as_str() {
        // The header is not signed: whoever caught an honest delivery could send it again as this one.
        "post_destroyed" if is_there(api, &post)? => Ok(Vec::new()),
        "post_destroyed" => Ok(vec![Change::Gone(post.native(section))]),
        "post_created" | "post_edited" if post.is_gone => Ok(vec![Change::Gone(post.native(section))]),
        "post_created" | "post_edited" => Ok(vec![Change::Upsert(post.interaction(section, post.visibility(section)))]),
        "post_recovered" => {
            let mut back = post.interaction(section, post.visibility(section));
            // It stands there again from now on, whatever its own dates say.
            back.edited = Some(raw.received.max(back.edited.unwrap_or(0)));
            Ok(vec![Change::Upsert(back)])
        }
        _ => Ok(vec![note(&event, &json)]),
    }
}

/// Says whether the forum still shows it.
fn is_there(api: &Api, post: &Post) -> Result<bool> {
    let now = api.get_if_there(&format!("/posts/{}.json", post.id))?;
    Ok(now.as_ref().and_then(Post::of).is_some_and(|now| !now.is_gone))
}

/// A post of a type that nobody knew when this was written.
pub(crate) fn unknown_type(post: &Post, kind: u64) -> Change {
    let body = json!({ "post": post.id, "topic": post.topic, "post_type": kind });
    Change::Note(("discourse.unknown-post-type".to_owned(), body.to_string()))
}

/// Anything else that happened on the forum: whole where it fits, else by its ids.
fn note(event: &str, json: &Json) -> Change {
    let word: String = event.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).take(WORD_BYTES_MAX).collect();
    let whole = json.to_string();
    let body = if whole.len() <= NOTE_BYTES_MAX {
        whole
    } else {
        let ids = json.as_object().into_iter().flatten().map(|(key, value)| (cut(key, WORD_BYTES_MAX), value.get("id")));
        let ids: Vec<Json> = ids.take(8).map(|(key, id)| json!({ "what": key, "id": id.filter(|id| id.is_number()) })).collect();
        json!({ "too_long": true, "about": ids }).to_string()
    };
    Change::Note((format!("discourse.{word}"), body))
}
