//! Interactions and what is in them, as both networks tell them.

use membrana_sdk::connector::{Author, Change, Interaction, Ours};
use membrana_sdk::notes::unknown_kind;
use membrana_sdk::text::cut;
use membrana_sdk::{Attachment, NativeId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::read::{ID_BYTES_MAX, NAME_BYTES_MAX, URL_BYTES_MAX, WORD_BYTES_MAX, edge, id, list, text, whole};

/// Kept of what cannot be read. Units: bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
const ATTACHMENTS_MAX: usize = 32;
/// Units: bytes.
const NOTE_BYTES_MAX: usize = 3 << 10;

/// What an answer will need, as the interaction carries it. Times are of what is answered. Units: milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "kebab-case")]
pub enum Context {
    /// A post that can be commented on.
    Post {
        /// Its id.
        id: String,
    },
    /// A comment.
    Comment {
        /// Its id.
        id: String,
        /// The comment directly under the post that it belongs to: itself, or what it answers.
        top: String,
        /// A private reply is taken for some days.
        at: Timestamp,
    },
    /// Instagram: a mention under somebody else's media.
    Mention {
        /// Whose id is the media's.
        media: String,
        /// None: the caption mentions us.
        comment: Option<String>,
    },
    /// A message.
    Message {
        /// Whose it is; scoped to us.
        person: String,
        /// The window opens with it.
        at: Timestamp,
    },
}

impl Context {
    /// For an interaction's `reply-context`.
    pub fn to_text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

/// An id of a thing, unique over the whole network.
pub fn thing(id: impl Into<String>) -> NativeId {
    NativeId { scope: String::new(), id: id.into() }
}

/// An id that means something to one Page or account alone.
pub fn scoped(owner: &str, id: impl Into<String>) -> NativeId {
    NativeId { scope: owner.to_owned(), id: id.into() }
}

/// An interaction with nothing but what every one has.
pub fn blank(native: NativeId, kind: &str, visibility: &str, occurred: Timestamp) -> Interaction {
    Interaction {
        native,
        aka: Vec::new(),
        kind: kind.to_owned(),
        visibility: visibility.to_owned(),
        author: None,
        ours: Ours::No,
        automated: "no".to_owned(),
        conversation: None,
        parent: None,
        refs: Vec::new(),
        subject: None,
        text: String::new(),
        quoted: None,
        language: None,
        url: None,
        attachments: Vec::new(),
        place: None,
        side: None,
        campaign: None,
        occurred,
        edited: None,
        reply_context: None,
        attrs: Vec::new(),
    }
}

/// Who it was; ids of people are scoped to the Page or account. None where the network withholds it.
pub fn author(from: Option<&Json>, owner: &str) -> Option<Author> {
    let from = from?;
    let username = whole(from, "username", NAME_BYTES_MAX);
    // Without an id the name stands for it, in a scope of its own.
    let native = id(from, "id").map(|id| scoped(owner, id));
    let native = native.or_else(|| username.as_ref().map(|name| scoped(&format!("{owner}#username"), name.as_str())))?;
    let url = username.as_ref().map(|name| format!("https://www.instagram.com/{name}/"));
    Some(Author {
        native,
        handle: username.as_ref().map(|name| format!("@{name}")),
        name: whole(from, "name", NAME_BYTES_MAX).or(username),
        url,
        email: None,
        phone: None,
        assurance: None,
        automated: false,
        metrics: Vec::new(),
    })
}

/// Of a post, a comment or a message, from a webhook or the API.
pub fn attachments(of: &Json) -> Vec<Attachment> {
    let single = of.get("attachment").into_iter();
    let all = single.chain(list(of, "attachments")).chain(edge(of, "attachments"));
    all.filter_map(attachment).take(ATTACHMENTS_MAX).collect()
}

fn attachment(json: &Json) -> Option<Attachment> {
    let places = ["/payload/url", "/media/source", "/media/image/src", "/image_data/url", "/video_data/url", "/file_url", "/url"];
    let url = places.into_iter().filter_map(|at| json.pointer(at)?.as_str()).find(|url| !url.is_empty() && url.len() <= URL_BYTES_MAX);
    let declared = whole(json, "mime_type", WORD_BYTES_MAX);
    let kind = text(json, "type", WORD_BYTES_MAX);
    if url.is_none() && declared.is_none() && kind.is_empty() {
        return None;
    }
    let of_kind = || match kind.as_str() {
        "image" | "photo" | "sticker" => "image/*",
        "video" | "video_inline" | "ig_reel" | "reel" => "video/*",
        "audio" => "audio/*",
        _ => "application/octet-stream",
    };
    Some(Attachment {
        name: whole(json, "name", NAME_BYTES_MAX).or_else(|| whole(json, "title", NAME_BYTES_MAX)),
        media_type: declared.unwrap_or_else(|| of_kind().to_owned()),
        size: json.get("size").and_then(Json::as_u64),
        url: url.map(str::to_owned),
        media_ref: None,
    })
}

/// Something that cannot be read is set aside alone; `at` names it where it has no id.
pub fn unreadable(json: &Json, owner: &str, at: &str, reason: &str) -> Change {
    let whole = json.to_string();
    let native = scoped(owner, cut(&format!("unreadable/{at}"), ID_BYTES_MAX));
    Change::Unreadable((native, reason.to_owned(), cut(&whole, HEAD_BYTES_MAX).as_bytes().to_vec()))
}

/// A note whose body is small whatever the network put into it.
pub fn note(kind: &str, body: &Json) -> Change {
    let text = body.to_string();
    let text = if text.len() <= NOTE_BYTES_MAX { text } else { json!({ "bytes": text.len() }).to_string() };
    Change::Note((kind.to_owned(), text))
}

/// What nobody knows yet: told by its names, never by its content.
pub fn unknown(object: &str, field: &str, value: &Json) -> Change {
    let inner = ["item", "verb"].into_iter().filter_map(|key| value.get(key).and_then(Json::as_str));
    let names = [object, field].into_iter().chain(inner).map(|name| cut(name, WORD_BYTES_MAX)).filter(|name| !name.is_empty());
    unknown_kind(&names.collect::<Vec<_>>().join("/"))
}
