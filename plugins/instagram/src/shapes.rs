//! Media, comments and mentions as the API and the webhooks tell them.

use membrana_meta::graph::Graph;
use membrana_meta::read::{NAME_BYTES_MAX, TEXT_BYTES_MAX, URL_BYTES_MAX, id, id_in, moment, text, whole};
use membrana_meta::shape::{Context, author, blank, thing};
use membrana_sdk::connector::{Interaction, Ours};
use membrana_sdk::{Attachment, Fault, Result, Timestamp, clock, state};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::Section;

/// What is asked of a medium.
pub(crate) const MEDIA_FIELDS: &str = "id,caption,media_type,media_url,permalink,timestamp,username,comments_count";
/// What is asked of a comment, and of what answers it.
pub(crate) const COMMENT_FIELDS: &str = "id,text,timestamp,username,from,parent_id,hidden,like_count";
/// How long the account's name is believed. Units: milliseconds.
const NAME_MS: u64 = 86_400_000;
/// What is known stands in so long where the network does not tell. Units: milliseconds.
const AGAIN_MS: u64 = 300_000;

/// The company's account, which some answers know by its name alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Me {
    pub(crate) id: String,
    username: String,
    at: Timestamp,
}

impl Me {
    /// Asked once a day.
    pub(crate) fn ask(section: &Section, graph: &Graph) -> Result<Self> {
        let known = state::get("me").and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        let known = known.filter(|me| me.id == section.account);
        if let Some(me) = known.as_ref().filter(|me| clock::now().saturating_sub(me.at) < NAME_MS) {
            return Ok(me.clone());
        }
        let json = match (graph.get(&[&section.account], &[("fields", "id,username")]), known) {
            (Ok(json), _) => json,
            (Err(fault @ Fault::Auth(_)), _) => return Err(fault),
            (Err(_), Some(me)) => {
                let later = Self { at: clock::now().saturating_sub(NAME_MS - AGAIN_MS), ..me };
                later.keep();
                return Ok(later);
            }
            // Whatever waits for the name is not at fault.
            (Err(Fault::Permanent(detail)), None) => return Err(Fault::Transient(detail)),
            (Err(fault), None) => return Err(fault),
        };
        let me = Self { id: section.account.clone(), username: text(&json, "username", NAME_BYTES_MAX), at: clock::now() };
        me.keep();
        Ok(me)
    }

    /// `send` and `probe` may only read; then it is asked again next time.
    fn keep(&self) {
        drop(state::set("me", &serde_json::to_vec(self).unwrap_or_default()));
    }

    /// None where nothing names the author.
    pub(crate) fn said(&self, json: &Json) -> Option<bool> {
        let from = id_in(json, "from").map(|id| id == self.id);
        let scoped = json.pointer("/from/self_ig_scoped_id").is_some();
        let username = whole(json, "username", NAME_BYTES_MAX).or_else(|| whole(json.get("from")?, "username", NAME_BYTES_MAX));
        let by_name = username.map(|name| !self.username.is_empty() && name == self.username);
        match (from, by_name) {
            (None, None) => None,
            (from, by_name) => Some(scoped || from == Some(true) || by_name == Some(true)),
        }
    }

    fn ours(&self, json: &Json) -> Ours {
        if self.said(json) == Some(true) { Ours::Yes(None) } else { Ours::No }
    }
}

/// Who it was: some answers have only the name, and that outside.
fn author_of(json: &Json, me: &Me) -> Option<membrana_sdk::connector::Author> {
    let named = || whole(json, "username", NAME_BYTES_MAX).map(|name| json!({ "username": name }));
    let from = json.get("from").filter(|from| id(from, "id").is_some()).cloned().or_else(named);
    author(from.as_ref(), &me.id)
}

/// A medium of the account's own, or, as a mention, of others; none without an id and a date.
pub(crate) fn medium(me: &Me, json: &Json, is_mention: bool) -> Option<Interaction> {
    let (native, at) = (id(json, "id")?, moment(json, "timestamp")?);
    let ours = me.ours(json);
    let url = whole(json, "media_url", URL_BYTES_MAX);
    let media_type = if text(json, "media_type", 32) == "VIDEO" { "video/*" } else { "image/*" };
    let attachment = url.map(|url| Attachment { name: None, media_type: media_type.to_owned(), size: None, url: Some(url), media_ref: None });
    // A comment under our own is no answer to anybody.
    let context = Some(Context::Mention { media: native.clone(), comment: None }).filter(|_| is_mention && ours == Ours::No);
    Some(Interaction {
        author: author_of(json, me),
        conversation: Some(thing(native.as_str())),
        text: text(json, "caption", TEXT_BYTES_MAX),
        url: whole(json, "permalink", URL_BYTES_MAX),
        attachments: attachment.into_iter().collect(),
        reply_context: context.and_then(|context| context.to_text()),
        ours,
        ..blank(thing(native), if is_mention { "mention" } else { "post" }, "public", at)
    })
}

/// A comment; `media`: under which, `parent`: which comment it answers. None without an id.
pub(crate) fn comment(me: &Me, json: &Json, media: Option<String>, parent: Option<String>, told: Option<Timestamp>) -> Option<Interaction> {
    let native = id(json, "id")?;
    let at = moment(json, "timestamp").or(told)?;
    let parent = id(json, "parent_id").or(parent).filter(|parent| Some(parent) != media.as_ref());
    let ours = me.ours(json);
    let context = Context::Comment { id: native.clone(), top: parent.clone().unwrap_or_else(|| native.clone()), at };
    Some(Interaction {
        author: author_of(json, me),
        conversation: media.clone().map(thing),
        refs: parent.as_ref().and(media.clone()).map(thing).into_iter().collect(),
        parent: parent.or(media).map(thing),
        text: text(json, "text", TEXT_BYTES_MAX),
        reply_context: Some(context).filter(|_| ours == Ours::No).and_then(|context| context.to_text()),
        ours,
        ..blank(thing(native), "comment", "public", at)
    })
}
