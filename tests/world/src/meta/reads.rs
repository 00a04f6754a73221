//! What the API shows: nodes with the fields asked for, and lists in pages.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::state::{ACCOUNT, Item, Mail, Network, PAGE, Side, US, permalink};
use super::{Call, Refusal};

const LIMIT_DEFAULT: usize = 25;
const LIMIT_MAX: usize = 100;
const MISSING: Refusal = Refusal(100, 33, "Object does not exist, cannot be loaded due to missing permissions, or does not support this operation");

pub(super) fn read(net: &Network, call: &Call) -> Result<Value, Refusal> {
    let parts: Vec<&str> = call.path.iter().map(String::as_str).collect();
    let fields = call.text("fields");
    match parts.as_slice() {
        [PAGE | "me"] => Ok(shown(json!({ "id": PAGE, "name": "Acme", "link": permalink(PAGE) }), fields, &["name"])),
        [ACCOUNT] => account(net, fields.unwrap_or("id")),
        [id] if net.find(id).is_some() => Ok(net.find(id).map(|item| node(net, item, fields)).unwrap_or_default()),
        [PAGE, "feed" | "posts" | "visitor_posts" | "published_posts"] => Ok(feed(net, call)),
        [ACCOUNT, edge @ ("media" | "tags")] => {
            let is_own = *edge == "media";
            let of_edge = net.items.iter().rev().filter(|item| item.side == Side::Instagram && item.parent.is_none() && (item.who == US) == is_own);
            Ok(paged(net, call, of_edge.map(|item| node(net, item, fields)).collect(), "after"))
        }
        [PAGE | ACCOUNT, "conversations"] => Ok(conversations(net, call)),
        [thread, "messages"] if thread.starts_with("t_") => {
            let mails = thread_of(net, thread);
            Ok(paged(net, call, mails.iter().map(|mail| letter(net, mail)).collect(), "after"))
        }
        [under, "comments" | "replies"] => comments(net, call, under),
        _ => Err(MISSING),
    }
}

/// Only what was asked for, and the id.
fn shown(node: Value, fields: Option<&str>, default: &[&str]) -> Value {
    let Value::Object(all) = node else { return node };
    let wanted = fields.map_or_else(|| default.iter().map(|name| (*name).to_owned()).collect(), names);
    let kept: Map<String, Value> = all.into_iter().filter(|(key, value)| !value.is_null() && (key == "id" || wanted.contains(key))).collect();
    Value::Object(kept)
}

/// `id,parent{id},messages.limit(5){…}` as `id`, `parent`, `messages`.
fn names(fields: &str) -> Vec<String> {
    let (mut names, mut depth) = (vec![String::new()], 0_usize);
    for c in fields.chars() {
        match c {
            '{' | '(' => depth += 1,
            '}' | ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => names.push(String::new()),
            c if depth == 0 => names.last_mut().into_iter().for_each(|name| name.push(c)),
            _ => {}
        }
    }
    names.into_iter().map(|name| name.split('.').next().unwrap_or_default().trim().to_owned()).collect()
}

/// As Meta writes it: no colon in the offset.
fn date(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S+0000").to_string()
}

fn below<'n>(net: &'n Network, id: &'n str) -> impl DoubleEndedIterator<Item = &'n Item> {
    net.items.iter().filter(move |item| item.parent.as_deref() == Some(id))
}

fn node(net: &Network, item: &Item, fields: Option<&str>) -> Value {
    let count = |id: &str| below(net, id).count();
    let whole = match (item.side, &item.parent) {
        (Side::Messenger, None) => json!({
            "id": item.id, "message": item.text, "created_time": date(item.created), "updated_time": date(item.updated), "from": net.from(item),
            "permalink_url": permalink(&item.id), "is_hidden": item.is_hidden,
        }),
        (Side::Messenger, Some(parent)) => json!({
            "id": item.id, "message": item.text, "created_time": date(item.created), "from": net.from(item),
            "parent": (*parent != item.root).then(|| json!({ "id": parent })), "object": { "id": item.root }, "comment_count": count(&item.id),
            "like_count": 0, "can_hide": true, "can_reply_privately": !item.is_answered_privately, "is_hidden": item.is_hidden,
            "permalink_url": format!("{}?comment_id={}", permalink(&item.root), item.id), "message_tags": [],
        }),
        (Side::Instagram, None) => json!({
            "id": item.id, "caption": item.text, "timestamp": date(item.created), "username": item.who, "media_type": "IMAGE",
            "media_url": format!("https://cdn.example/{}.jpg", item.id), "permalink": format!("https://www.instagram.com/p/{}/", item.id),
            "comments_count": net.items.iter().filter(|other| other.root == item.id && other.parent.is_some()).count(),
        }),
        (Side::Instagram, Some(parent)) => {
            let is_asked = fields.is_some_and(|fields| names(fields).iter().any(|name| name == "replies"));
            let answers: Vec<Value> = below(net, &item.id).filter(|_| is_asked).map(|answer| node(net, answer, Some(IG_COMMENT))).collect();
            json!({
                "id": item.id, "text": item.text, "timestamp": date(item.created), "username": item.who, "from": net.from(item), "like_count": 0,
                "hidden": item.is_hidden, "parent_id": (*parent != item.root).then_some(parent), "media": { "id": item.root },
                "replies": (!answers.is_empty()).then(|| json!({ "data": answers })),
            })
        }
    };
    shown(whole, fields, &["message", "created_time", "from", "text", "timestamp"])
}

const IG_COMMENT: &str = "id,text,timestamp,username,from,parent_id";

/// The account, or what somebody says of it elsewhere.
fn account(net: &Network, fields: &str) -> Result<Value, Refusal> {
    let inside = |prefix: &str| fields.strip_prefix(prefix).and_then(|rest| rest.split(')').next()).map(str::to_owned);
    for (prefix, key) in [("mentioned_comment.comment_id(", "mentioned_comment"), ("mentioned_media.media_id(", "mentioned_media")] {
        if let Some(id) = inside(prefix) {
            let item = net.find(&id).filter(|item| item.side == Side::Instagram).ok_or(MISSING)?;
            let asked = fields.split_once('{').map(|(_, rest)| rest.trim_end_matches('}'));
            return Ok(json!({ (key): node(net, item, asked), "id": ACCOUNT }));
        }
    }
    Ok(shown(json!({ "id": ACCOUNT, "username": US, "name": "Acme" }), Some(fields), &[]))
}

/// By time: the next page begins where this one ended.
fn feed(net: &Network, call: &Call) -> Value {
    let since = call.number("since").unwrap_or(0);
    let posts = net.items.iter().rev().filter(|item| item.side == Side::Messenger && item.parent.is_none() && item.created / 1000 >= since);
    paged(net, call, posts.map(|item| node(net, item, call.text("fields"))).collect(), "__paging_token")
}

fn comments(net: &Network, call: &Call, under: &str) -> Result<Value, Refusal> {
    let above = net.find(under).ok_or(MISSING)?;
    let fields = call.text("fields");
    if above.side == Side::Instagram {
        let of_it: Vec<&Item> = below(net, under).collect();
        // Comments come newest first, what answers them oldest first.
        let is_turned = above.parent.is_none();
        let ordered: Vec<&Item> = if is_turned { of_it.into_iter().rev().collect() } else { of_it };
        return Ok(paged(net, call, ordered.into_iter().map(|item| node(net, item, fields)).collect(), "after"));
    }
    let since = call.number("since").unwrap_or(0);
    let is_stream = call.text("filter") == Some("stream");
    let is_below = |item: &&Item| {
        let parent = item.parent.as_deref();
        parent == Some(under) || is_stream && (item.root == under && parent.is_some())
    };
    let mut found: Vec<&Item> = net.items.iter().filter(is_below).filter(|item| item.created / 1000 >= since).collect();
    if call.text("order") == Some("reverse_chronological") {
        found.reverse();
    }
    let n_found = found.len();
    let mut page = paged(net, call, found.into_iter().map(|item| node(net, item, fields)).collect(), "after");
    if let Some(page) = page.as_object_mut().filter(|_| call.text("summary").is_some()) {
        page.insert("summary".to_owned(), json!({ "order": "chronological", "total_count": n_found, "can_comment": true }));
    }
    Ok(page)
}

fn letter(net: &Network, mail: &Mail) -> Value {
    let (them, us) = (json!({ "id": net.id_of(mail.side, &mail.who), "name": mail.who }), json!({ "id": mail.side.owner(), "name": "Acme" }));
    let (from, to) = if mail.is_ours { (us, them) } else { (them, us) };
    json!({ "id": mail.mid, "created_time": date(mail.created), "from": from, "to": { "data": [to] }, "message": mail.text })
}

/// Newest first.
fn thread_of<'n>(net: &'n Network, thread: &str) -> Vec<&'n Mail> {
    net.mails.iter().rev().filter(|mail| thread_id(net, mail) == thread).collect()
}

fn thread_id(net: &Network, mail: &Mail) -> String {
    format!("t_{}{}", net.id_of(mail.side, &mail.who), if mail.side == Side::Instagram { "i" } else { "" })
}

/// Whose last message is newest comes first.
fn conversations(net: &Network, call: &Call) -> Value {
    let side =
        if call.text("platform").is_some_and(|platform| platform.eq_ignore_ascii_case("instagram")) { Side::Instagram } else { Side::Messenger };
    let mut threads: Vec<String> = Vec::new();
    for mail in net.mails.iter().rev().filter(|mail| mail.side == side) {
        let thread = thread_id(net, mail);
        let is_wanted = call.text("user_id").is_none_or(|user| net.id_of(side, &mail.who) == user);
        if is_wanted && !threads.contains(&thread) {
            threads.push(thread);
        }
    }
    let n_inside =
        call.text("fields").and_then(|fields| fields.split_once("messages.limit(")).and_then(|(_, rest)| rest.split(')').next()?.parse().ok());
    let all = threads.iter().filter_map(|thread| {
        let mails = thread_of(net, thread);
        let last = mails.first()?;
        let inner = Call {
            method: axum::http::Method::GET,
            version: call.version.clone(),
            path: vec![thread.clone(), "messages".to_owned()],
            params: Map::from_iter([("limit".to_owned(), json!(n_inside.unwrap_or(LIMIT_DEFAULT)))]),
        };
        let messages = paged(net, &inner, mails.iter().map(|mail| letter(net, mail)).collect(), "after");
        let them = json!({ "id": net.id_of(side, &last.who), "name": last.who });
        let whole = json!({
            "id": thread, "updated_time": date(last.created), "message_count": mails.len(), "snippet": last.text, "messages": messages,
            "participants": { "data": [them, { "id": side.owner(), "name": "Acme" }] },
        });
        Some(shown(whole, call.text("fields"), &["updated_time"]))
    });
    paged(net, call, all.collect(), "after")
}

/// A page: `key` names the parameter that goes on. With holes, an empty page comes between two others.
fn paged(net: &Network, call: &Call, items: Vec<Value>, key: &str) -> Value {
    let limit = call.number("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let token = call.text(key).unwrap_or("p0");
    let is_hole = token.starts_with('h');
    let begin = token.get(1..).and_then(|number| number.parse::<usize>().ok()).unwrap_or(0);
    let end = if is_hole { begin } else { (begin + limit).min(items.len()) };
    let has_more = end < items.len();
    let next = format!("{}{end}", if net.has_holes && !is_hole { 'h' } else { 'p' });
    let data = items.get(begin..end).unwrap_or_default().to_vec();
    let mut paging = json!({});
    if key == "after" {
        paging = json!({ "cursors": { "before": token, "after": next } });
    }
    if let Some(paging) = paging.as_object_mut().filter(|_| has_more) {
        let kept = call.params.iter().filter(|(name, _)| name.as_str() != key && name.as_str() != "access_token");
        let value = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let kept: String = kept.map(|(name, is)| format!("{name}={}&", escaped(&value(is)))).collect();
        let path = call.path.join("/");
        // As the real one, it repeats the token.
        let address = format!("{}/{}/{path}?access_token={}&{kept}{key}={next}", net.base, call.version, net.token);
        paging.insert("next".to_owned(), json!(address));
    }
    json!({ "data": data, "paging": paging })
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
