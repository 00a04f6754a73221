//! What can be written: posts, direct messages, rules, and the hiding of replies.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::show::written;
use super::state::{Direct, Network, Rule};
use super::{US, answered, problem, refusal};

/// The same text by the same account is refused for so long. Units: milliseconds.
const DUPLICATE_MS: u64 = 86_400_000;
/// Of text whose every character weighs 1, without an address. Units: characters.
const LENGTH_MAX: usize = 280;

fn invalid(detail: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, "invalid-request", "Invalid Request", detail)
}

/// A reply only to who mentioned or quoted the company; the same text once a day; no key makes a repeat the same post.
pub(super) fn post(network: &mut Network, body: &Value) -> Response {
    let Some(text) = body.get("text").and_then(Value::as_str).filter(|text| !text.trim().is_empty()) else { return invalid("text is missing") };
    let answers = body.pointer("/reply/in_reply_to_tweet_id").and_then(Value::as_str);
    let forbidden = |code: u32, detail: &str| refusal(StatusCode::FORBIDDEN, code, "Forbidden", detail);
    if text.len() > LENGTH_MAX && text.is_ascii() && !text.contains('.') {
        return forbidden(186, "Tweet needs to be a bit shorter.");
    }
    if let Some(id) = answers {
        let Some(parent) = network.find(id) else {
            return forbidden(385, "You attempted to reply to a Tweet that is deleted or not visible to you.");
        };
        if parent.author != US && !network.summons(parent, US) {
            return forbidden(0, "Reply to this conversation is not allowed because you have not been mentioned or quoted by its author.");
        }
    }
    let since = network.now.saturating_sub(DUPLICATE_MS);
    if network.posts.iter().any(|post| post.author == US && post.text == text && post.at >= since) {
        return forbidden(187, "You are not allowed to create a Tweet with duplicate content.");
    }
    let post = network.add(US, text, answers, None);
    answered(StatusCode::CREATED, &json!({ "data": { "id": post.id, "text": text, "edit_history_post_ids": [post.id] } }))
}

pub(super) fn hide(network: &mut Network, id: &str, body: &Value) -> Response {
    let Some(hidden) = body.get("hidden").and_then(Value::as_bool) else { return invalid("hidden is missing") };
    let Some(found) = network.find(id).cloned() else {
        return problem(StatusCode::NOT_FOUND, "resource-not-found", "Not Found Error", "no such post");
    };
    let root = network.find(&network.conversation_of(&found)).map(|root| root.author.clone());
    if root.as_deref() != Some(US) || found.answers.is_none() {
        return refusal(StatusCode::FORBIDDEN, 0, "Forbidden", "only replies in your own conversations can be hidden");
    }
    network.posts.iter_mut().filter(|post| post.id == id).for_each(|post| post.is_hidden = hidden);
    answered(StatusCode::OK, &json!({ "data": { "hidden": hidden } }))
}

pub(super) fn direct(network: &mut Network, from: &str, to: &str, text: &str) -> String {
    network.account_id(from);
    network.account_id(to);
    let id = network.fresh();
    network.directs.push(Direct { id: id.clone(), from: from.to_owned(), to: to.to_owned(), text: text.to_owned(), at: network.now });
    id
}

pub(super) fn message(network: &mut Network, to: &str, body: &Value) -> Response {
    let Some(text) = body.get("text").and_then(Value::as_str).filter(|text| !text.is_empty()) else { return invalid("text is missing") };
    let Some(name) = network.name_of(to).map(str::to_owned) else { return refusal(StatusCode::FORBIDDEN, 150, "Forbidden", "no such participant") };
    let id = direct(network, US, &name, text);
    answered(StatusCode::CREATED, &json!({ "data": { "dm_conversation_id": conversation(network, US, &name), "dm_event_id": id } }))
}

/// The smaller id first.
pub(super) fn conversation(network: &Network, a: &str, b: &str) -> String {
    let mut ids = [network.id_of(a), network.id_of(b)];
    ids.sort_by_key(|id| id.parse::<u64>().unwrap_or(0));
    ids.join("-")
}

/// A direct message as v2 shows it.
pub(super) fn event(network: &Network, one: &Direct) -> Value {
    json!({
        "id": one.id, "event_type": "MessageCreate", "text": one.text, "sender_id": network.id_of(&one.from), "created_at": written(one.at),
        "dm_conversation_id": conversation(network, &one.from, &one.to),
    })
}

pub(super) fn rule(network: &mut Network, value: &str, tag: Option<&str>) -> Value {
    let rule = Rule { id: network.fresh(), value: value.to_owned(), tag: tag.map(str::to_owned) };
    let shown = shown(&rule);
    network.rules.push(rule);
    shown
}

pub(super) fn shown(rule: &Rule) -> Value {
    match &rule.tag {
        Some(tag) => json!({ "id": rule.id, "value": rule.value, "tag": tag }),
        None => json!({ "id": rule.id, "value": rule.value }),
    }
}

/// A value that stands already is not made again, whatever its tag.
pub(super) fn rules(network: &mut Network, body: &Value) -> Response {
    let list = |pointer: &str| body.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let ids = list("/delete/ids");
    let before = network.rules.len();
    network.rules.retain(|rule| !ids.iter().any(|id| id.as_str() == Some(rule.id.as_str())));
    let n_deleted = before - network.rules.len();
    let (mut made, mut errors) = (Vec::new(), Vec::new());
    for add in list("/add") {
        let value = add.get("value").and_then(Value::as_str).unwrap_or_default();
        let error = |title: &str, detail: &str| json!({ "type": "https://api.x.com/2/problems/invalid-request", "title": title, "detail": detail, "value": value });
        if network.rules.iter().any(|rule| rule.value == value) {
            errors.push(error("DuplicateRule", "the rule stands already"));
        } else if value.is_empty() || value.contains("((") || value.chars().count() > 1024 {
            errors.push(error("UnprocessableEntity", "the rule has a mistake"));
        } else {
            made.push(rule(network, value, add.get("tag").and_then(Value::as_str)));
        }
    }
    let summary = json!({ "created": made.len(), "not_created": errors.len(), "valid": made.len(), "invalid": errors.len(), "deleted": n_deleted });
    let mut answer = json!({ "meta": { "sent": written(network.now), "summary": summary } });
    if let Some(fields) = answer.as_object_mut() {
        fields.extend(
            [("data", made), ("errors", errors)].into_iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| (name.to_owned(), list.into())),
        );
    }
    answered(StatusCode::OK, &answer)
}
