//! What the API does: comments, replies, mentions, messages in their window, hiding and deleting.

use serde_json::{Value, json};

use super::state::{ACCOUNT, Network, PAGE, Side, US};
use super::{Call, Refusal};

const DAY_MS: u64 = 86_400_000;
/// Units: characters, and bytes.
const MESSENGER_CHARS_MAX: usize = 2_000;
const INSTAGRAM_BYTES_MAX: usize = 1_000;

const MISSING: Refusal = Refusal(100, 33, "Object does not exist, cannot be loaded due to missing permissions, or does not support this operation");

pub(super) fn post(net: &mut Network, call: &Call) -> Result<Value, Refusal> {
    let parts: Vec<&str> = call.path.iter().map(String::as_str).collect();
    match parts.as_slice() {
        [PAGE, "subscribed_apps"] => Ok(json!({ "success": true })),
        _ if net.is_blocked => Err(Refusal(368, 0, "The action attempted has been deemed abusive or is otherwise disallowed")),
        [PAGE | ACCOUNT, "messages"] => message(net, call),
        [PAGE, "feed"] => Ok(json!({ "id": net.post(US, call.text("message").unwrap_or_default()) })),
        [ACCOUNT, "mentions"] => {
            let under = call.text("comment_id").or_else(|| call.text("media_id")).unwrap_or_default().to_owned();
            said(net, &under, call)
        }
        [under, "comments" | "replies"] => said(net, under, call),
        [id] => hide(net, id, call),
        _ => Err(Refusal(100, 0, "Unsupported post request")),
    }
}

pub(super) fn delete(net: &mut Network, call: &Call) -> Result<Value, Refusal> {
    let id = call.path.first().map(String::as_str).unwrap_or_default();
    net.find(id).ok_or(MISSING)?;
    net.remove(id);
    Ok(json!({ "success": true }))
}

fn said(net: &mut Network, under: &str, call: &Call) -> Result<Value, Refusal> {
    let text = call.text("message").filter(|text| !text.trim().is_empty()).ok_or(Refusal(100, 0, "(message) is required"))?.to_owned();
    net.find(under).ok_or(MISSING)?;
    let twice = |item: &super::state::Item| item.who == US && item.text == text && item.parent.as_deref() == Some(under);
    if net.items.iter().any(twice) {
        return Err(Refusal(506, 0, "Duplicate status message"));
    }
    Ok(json!({ "id": net.comment(US, under, &text) }))
}

fn hide(net: &mut Network, id: &str, call: &Call) -> Result<Value, Refusal> {
    net.find(id).ok_or(MISSING)?;
    let wanted = call.params.get("is_hidden").or_else(|| call.params.get("hide")).ok_or(Refusal(100, 0, "nothing to change"))?;
    let is_hidden = wanted.as_bool().unwrap_or_else(|| wanted.as_str() == Some("true"));
    net.hide(id, is_hidden);
    Ok(json!({ "success": true }))
}

fn message(net: &mut Network, call: &Call) -> Result<Value, Refusal> {
    let at = |pointer: &str| json!(call.params).pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let text = at("/message/text").ok_or(Refusal(100, 0, "(message) is required"))?;
    let metadata = at("/message/metadata");
    let (side, who) = match (at("/recipient/comment_id"), at("/recipient/id")) {
        (Some(comment), _) => privately(net, &comment)?,
        (None, Some(person)) => in_window(net, call, &person)?,
        (None, None) => return Err(Refusal(100, 0, "(recipient) is required")),
    };
    let is_too_long = match side {
        Side::Messenger => text.chars().count() > MESSENGER_CHARS_MAX,
        Side::Instagram => text.len() > INSTAGRAM_BYTES_MAX,
    };
    if is_too_long {
        return Err(Refusal(100, 2_018_109, "Length of param message[text] must be less than or equal to its limit"));
    }
    if net.shunning.contains(&who) {
        return Err(Refusal(551, 1_545_041, "This person isn't available right now"));
    }
    if let Some(comment) = at("/recipient/comment_id") {
        net.items.iter_mut().filter(|item| item.id == comment).for_each(|item| item.is_answered_privately = true);
    }
    let mid = net.said_to(side, &who, &text, true, metadata.as_deref());
    Ok(json!({ "recipient_id": net.id_of(side, &who), "message_id": mid }))
}

/// One private answer to a comment, within 7 days.
fn privately(net: &Network, comment: &str) -> Result<(Side, String), Refusal> {
    let item = net.find(comment).filter(|item| !item.who.is_empty()).ok_or(MISSING)?;
    if item.is_answered_privately {
        return Err(Refusal(10_900, 0, "Activity already replied to"));
    }
    if net.now - item.created >= 7 * DAY_MS {
        return Err(outside(item.side));
    }
    Ok((item.side, item.who.clone()))
}

fn in_window(net: &Network, call: &Call, person: &str) -> Result<(Side, String), Refusal> {
    let who = net.name_of(person).ok_or(Refusal(100, 2_018_001, "No matching user found"))?;
    let last = net.mails.iter().rev().find(|mail| mail.who == who && !mail.is_ours);
    let side = last.map_or(Side::Messenger, |last| last.side);
    let is_human = call.text("messaging_type") == Some("MESSAGE_TAG") && call.text("tag") == Some("HUMAN_AGENT");
    let window = if is_human { 7 * DAY_MS } else { DAY_MS };
    match last {
        Some(last) if net.now - last.created < window => Ok((side, who)),
        _ => Err(outside(side)),
    }
}

fn outside(side: Side) -> Refusal {
    let subcode = if side == Side::Messenger { 2_018_278 } else { 2_534_022 };
    Refusal(10, subcode, "This message is sent outside of allowed window")
}
