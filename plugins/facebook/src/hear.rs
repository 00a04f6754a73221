//! Webhooks: every change of every entry, in order; what is not known is told by its names and is no error to the network.

use membrana_meta::graph::Graph;
use membrana_meta::hooks::{self, Event, What};
use membrana_meta::latest::Latest;
use membrana_meta::read::{TEXT_BYTES_MAX, URL_BYTES_MAX, WORD_BYTES_MAX, id, list, moment, text};
use membrana_meta::shape::{Context, blank, note, thing, unknown, unreadable};
use membrana_sdk::connector::{Change, Interaction, Raw};
use membrana_sdk::{Attachment, Result, Timestamp};
use serde_json::{Value as Json, json};

use crate::Section;
use crate::shapes::{Under, comment_of, post_of};

/// Of one post.
const PHOTOS_MAX: usize = 28;
/// What stands on a Page's feed by itself.
const POSTS: [&str; 8] = ["post", "status", "photo", "video", "album", "share", "link", "event"];

pub(crate) fn hear(section: &Section, graph: &Graph, raw: &Raw) -> Result<Vec<Change>> {
    let body = hooks::body(&raw.body)?;
    let mut latest = Latest::read();
    let changes = hooks::events(&body, raw.received).iter().filter_map(|event| change(section, graph, event, &mut latest)).collect();
    latest.keep();
    Ok(changes)
}

fn change(section: &Section, graph: &Graph, event: &Event<'_>, latest: &mut Latest) -> Option<Change> {
    if !event.owner.is_empty() && event.owner != section.page {
        return Some(note("meta.elsewhere", &json!({ "object": event.object, "id": event.owner })));
    }
    match &event.what {
        What::Messaging(json) => section.inbox(graph).heard(json, event.at, latest),
        What::Field(field, value) if field == "feed" => of_feed(section, value, event.at, latest),
        What::Field(field, value) if field == "mention" => Some(mention(section, value, event.at)),
        What::Field(field, value) if field == "ratings" => Some(rating(section, value, event.at)),
        What::Field(field, value) => Some(unknown(&event.object, field, value)),
        What::Odd(json) => Some(unknown(&event.object, "", json)),
    }
}

/// A change of the feed: a post or a comment, and what became of it.
fn of_feed(section: &Section, value: &Json, at: Timestamp, latest: &mut Latest) -> Option<Change> {
    let word = |key: &str| text(value, key, WORD_BYTES_MAX);
    let (item, verb) = (word("item"), word("verb"));
    let is_comment = matches!(item.as_str(), "comment" | "reply");
    if item == "reaction" || item == "like" {
        return Some(note(
            "meta.reaction",
            &json!({ "verb": verb, "type": word("reaction_type"), "post": id(value, "post_id"), "comment": id(value, "comment_id") }),
        ));
    }
    if !is_comment && !POSTS.contains(&item.as_str()) {
        return Some(unknown("page", "feed", value));
    }
    let native = if is_comment { id(value, "comment_id") } else { id(value, "post_id") };
    let Some(native) = native else { return Some(unreadable(value, &section.page, &format!("{item}/{at}"), "a change of the feed without an id")) };
    let created = moment(value, "created_time").unwrap_or(at);
    match verb.as_str() {
        "add" if latest.is_overtaken(&native, created) => None,
        "add" => Some(Change::Upsert(said(section, value, native, is_comment, created))),
        "edited" | "edit" if latest.is_overtaken(&native, at) => None,
        "edited" | "edit" => {
            latest.note(&native, at, false);
            Some(Change::Upsert(Interaction { edited: Some(at), ..said(section, value, native, is_comment, created) }))
        }
        "remove" => {
            latest.note(&native, at, true);
            Some(Change::Gone(thing(native)))
        }
        "hide" | "unhide" => Some(note(if verb == "hide" { "meta.hidden" } else { "meta.unhidden" }, &json!({ "id": native, "at": at }))),
        _ => Some(unknown("page", "feed", value)),
    }
}

fn said(section: &Section, value: &Json, native: String, is_comment: bool, created: Timestamp) -> Interaction {
    let mut about = match id(value, "post_id").filter(|_| is_comment) {
        Some(post) => comment_of(section, value, native, &Under { post: &post, parent: id(value, "parent_id") }, created),
        None if is_comment => {
            let post = id(value, "parent_id").unwrap_or_else(|| native.clone());
            comment_of(section, value, native, &Under { post: &post, parent: None }, created)
        }
        // Its parent is the Page's album or the post that is shared: no comment's.
        None => post_of(section, value, native, created),
    };
    for file in files(value) {
        if !about.attachments.iter().any(|known| known.url == file.url) {
            about.attachments.push(file);
        }
    }
    about
}

/// A webhook names files by their addresses alone, where the API has attachments: the `photo` or `video` of a comment, the `photos` of a
/// post, and as `link` what was posted by itself. Source: Meta, "Webhooks reference: Page", `feed`.
fn files(value: &Json) -> Vec<Attachment> {
    let linked = match text(value, "item", WORD_BYTES_MAX).as_str() {
        "photo" => Some("image/*"),
        "video" => Some("video/*"),
        _ => None,
    };
    let one = |key: &str, media_type| value.get(key).map(|url| (url, media_type));
    let photos = list(value, "photos").iter().take(PHOTOS_MAX).map(|url| (url, "image/*"));
    let all = one("photo", "image/*").into_iter().chain(photos).chain(one("video", "video/*")).chain(linked.and_then(|kind| one("link", kind)));
    let is_address = |url: &&str| url.starts_with("https://") && url.len() <= URL_BYTES_MAX;
    let file = |url: &str, media_type: &str| Attachment {
        name: None,
        media_type: media_type.to_owned(),
        size: None,
        url: Some(url.to_owned()),
        media_ref: None,
    };
    all.filter_map(|(url, media_type)| Some(file(url.as_str().filter(is_address)?, media_type))).collect()
}

/// Somebody names the Page elsewhere.
fn mention(section: &Section, value: &Json, at: Timestamp) -> Change {
    let (post, comment) = (id(value, "post_id"), id(value, "comment_id"));
    let Some(native) = comment.clone().or_else(|| post.clone()) else {
        return unreadable(value, &section.page, &format!("mention/{at}"), "a mention without an id");
    };
    if text(value, "verb", WORD_BYTES_MAX) == "remove" {
        return Change::Gone(thing(native));
    }
    let created = moment(value, "created_time").unwrap_or(at);
    let from = value.get("from").cloned().or_else(|| Some(json!({ "id": id(value, "sender_id")?, "name": value.get("sender_name") })));
    let context = match comment {
        Some(comment) => Context::Comment { top: comment.clone(), id: comment, at: created },
        None => Context::Post { id: native.clone() },
    };
    Change::Upsert(Interaction {
        author: membrana_meta::shape::author(from.as_ref(), &section.page),
        conversation: post.clone().map(thing),
        parent: post.filter(|post| *post != native).map(thing),
        text: text(value, "message", TEXT_BYTES_MAX),
        reply_context: context.to_text(),
        ..blank(thing(native), "mention", "public", created)
    })
}

/// Somebody recommends the Page, or does not.
fn rating(section: &Section, value: &Json, at: Timestamp) -> Change {
    let Some(native) = id(value, "open_graph_story_id").or_else(|| id(value, "post_id")) else {
        return unreadable(value, &section.page, &format!("rating/{at}"), "a rating without an id");
    };
    if text(value, "verb", WORD_BYTES_MAX) == "remove" {
        return Change::Gone(thing(native));
    }
    let from = id(value, "reviewer_id").map(|reviewer| json!({ "id": reviewer, "name": value.get("reviewer_name") }));
    let verdict = text(value, "recommendation_type", WORD_BYTES_MAX).to_lowercase();
    Change::Upsert(Interaction {
        author: membrana_meta::shape::author(from.as_ref(), &section.page),
        text: text(value, "review_text", TEXT_BYTES_MAX),
        reply_context: Context::Post { id: native.clone() }.to_text(),
        attrs: if verdict.is_empty() { Vec::new() } else { vec![("facebook.recommendation".to_owned(), verdict)] },
        ..blank(thing(native), "review", "public", moment(value, "created_time").unwrap_or(at))
    })
}
