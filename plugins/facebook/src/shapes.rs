//! Posts and comments as the API and the webhooks tell them.

use membrana_meta::read::{TEXT_BYTES_MAX, URL_BYTES_MAX, id, id_in, moment, text, whole};
use membrana_meta::shape::{Context, attachments, author, blank, thing};
use membrana_sdk::Timestamp;
use membrana_sdk::connector::{Interaction, Ours};
use serde_json::Value as Json;

use crate::Section;

/// What is asked of a post.
pub(crate) const POST_FIELDS: &str = "id,message,story,created_time,updated_time,from,permalink_url,parent_id,is_hidden,attachments";
/// What is asked of a comment.
pub(crate) const COMMENT_FIELDS: &str =
    "id,from,message,created_time,parent{id},comment_count,like_count,can_hide,can_reply_privately,is_hidden,permalink_url,message_tags,attachment";

/// A comment's place: under which post, answering which comment.
pub(crate) struct Under<'p> {
    pub(crate) post: &'p str,
    pub(crate) parent: Option<String>,
}

/// A post of the API; none without an id.
pub(crate) fn post(section: &Section, json: &Json) -> Option<Interaction> {
    let native = id(json, "id")?;
    let at = moment(json, "created_time")?;
    Some(post_of(section, json, native, at))
}

/// A post under this id, whoever told of it.
pub(crate) fn post_of(section: &Section, json: &Json, native: String, at: Timestamp) -> Interaction {
    let said = Some(text(json, "message", TEXT_BYTES_MAX)).filter(|said| !said.is_empty()).unwrap_or_else(|| text(json, "story", TEXT_BYTES_MAX));
    let ours = ours(section, json);
    Interaction {
        author: author(json.get("from"), &section.page),
        parent: whole(json, "parent_id", 512).map(thing),
        conversation: Some(thing(native.as_str())),
        text: said,
        url: whole(json, "permalink_url", URL_BYTES_MAX),
        attachments: attachments(json),
        reply_context: Some(Context::Post { id: native.clone() }).filter(|_| ours == Ours::No).and_then(|context| context.to_text()),
        ours,
        ..blank(thing(native), "post", "public", at)
    }
}

/// A comment of the API; none without an id and a date.
pub(crate) fn comment(section: &Section, json: &Json, post: &str) -> Option<Interaction> {
    let (native, at) = (id(json, "id")?, moment(json, "created_time")?);
    let under = Under { post, parent: id_in(json, "parent") };
    Some(comment_of(section, json, native, &under, at))
}

/// A comment under this id, whoever told of it.
pub(crate) fn comment_of(section: &Section, json: &Json, native: String, under: &Under<'_>, at: Timestamp) -> Interaction {
    let ours = ours(section, json);
    let parent = under.parent.clone().filter(|parent| parent != under.post);
    let context = Context::Comment { id: native.clone(), top: parent.clone().unwrap_or_else(|| native.clone()), at };
    Interaction {
        author: author(json.get("from"), &section.page),
        conversation: Some(thing(under.post)),
        refs: parent.iter().map(|_| thing(under.post)).collect(),
        parent: Some(thing(parent.unwrap_or_else(|| under.post.to_owned()))),
        text: text(json, "message", TEXT_BYTES_MAX),
        url: whole(json, "permalink_url", URL_BYTES_MAX).or_else(|| whole(json.get("post")?, "permalink_url", URL_BYTES_MAX)),
        attachments: attachments(json),
        reply_context: Some(context).filter(|_| ours == Ours::No).and_then(|context| context.to_text()),
        ours,
        ..blank(thing(native), "comment", "public", at)
    }
}

fn ours(section: &Section, json: &Json) -> Ours {
    if id_in(json, "from").as_deref() == Some(section.page.as_str()) { Ours::Yes(None) } else { Ours::No }
}
