//! Threads and posts as the API sends them, and as interactions. Each field is read alone: what is missing, null or of another
//! type is absent, and everything is cut to the bounds of the contract.

use membrana_markup::{parted, plain};
use membrana_sdk::connector::{Author, Interaction, Ours};
use membrana_sdk::text::cut;
use membrana_sdk::{NativeId, clock};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::Section;

/// Units: bytes.
const NAME_BYTES_MAX: usize = 512;
const SUBJECT_BYTES_MAX: usize = 1000;
const TEXT_BYTES_MAX: usize = 512 << 10;

/// Of a thread.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Thread {
    pub(crate) id: u64,
    pub(crate) title: String,
    pub(crate) last_post: u64,
    /// Units: ms since 1970.
    pub(crate) last_on: Option<u64>,
    pub(crate) pages: u64,
    /// Stands above the others, whatever its last post.
    pub(crate) is_pinned: bool,
}

/// Of a post.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) id: u64,
    pub(crate) is_event: bool,
    pub(crate) posted: Option<u64>,
    edited: Option<u64>,
    pub(crate) username: String,
    user_id: Option<u64>,
    name: Option<String>,
    profile: Option<String>,
    is_unapproved: bool,
    /// Absent where it is hidden.
    content: Option<String>,
    path: Option<String>,
}

/// What a reply will need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReplyContext {
    pub(crate) thread: u64,
}

pub(crate) fn id(of: &Json) -> Option<u64> {
    of.get("id").and_then(Json::as_u64)
}

fn text<'j>(of: &'j Json, pointer: &str) -> Option<&'j str> {
    of.pointer(pointer).and_then(Json::as_str).filter(|text| !text.is_empty())
}

fn flag(of: &Json, key: &str) -> bool {
    of.get(key).and_then(Json::as_bool).unwrap_or(false)
}

/// Units: milliseconds since 1970.
fn moment(of: &Json, pointer: &str) -> Option<u64> {
    u64::try_from(text(of, pointer)?.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok()
}

impl Thread {
    /// None where it is none.
    pub(crate) fn of(json: &Json) -> Option<Self> {
        Some(Self {
            id: id(json)?,
            title: cut(text(json, "/title").unwrap_or_default(), SUBJECT_BYTES_MAX).to_owned(),
            last_post: json.get("last_post").and_then(Json::as_u64)?,
            last_on: moment(json, "/last_post_on"),
            pages: json.get("pages").and_then(Json::as_u64).unwrap_or(1).max(1),
            is_pinned: json.get("weight").and_then(Json::as_u64).unwrap_or(0) > 0,
        })
    }

    fn native(&self, section: &Section) -> NativeId {
        section.native(format!("thread/{}", self.id))
    }
}

impl Post {
    /// None where it is none.
    pub(crate) fn of(json: &Json) -> Option<Self> {
        let edits = json.get("edits").and_then(Json::as_u64).unwrap_or(0);
        Some(Self {
            id: id(json)?,
            is_event: flag(json, "is_event"),
            posted: moment(json, "/posted_on"),
            edited: moment(json, "/updated_on").filter(|_| edits > 0),
            username: cut(text(json, "/poster/username").or_else(|| text(json, "/poster_name")).unwrap_or_default(), NAME_BYTES_MAX).to_owned(),
            // Who closed their account has left a name.
            user_id: json.pointer("/poster/id").and_then(Json::as_u64),
            name: text(json, "/poster/real_name").map(|name| cut(name, NAME_BYTES_MAX).to_owned()),
            profile: text(json, "/poster/url").map(str::to_owned),
            is_unapproved: flag(json, "is_unapproved"),
            content: text(json, "/content").filter(|_| !flag(json, "is_hidden")).map(str::to_owned),
            path: text(json, "/url/index").map(str::to_owned),
        })
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.content.is_none()
    }

    /// What it says, and what it quotes.
    pub(crate) fn words(&self) -> (String, Option<String>) {
        let (said, quoted) = parted(self.content.as_deref().unwrap_or_default(), "<aside class=\"quote-block", ">", "</aside>");
        (cut(&plain(&said), TEXT_BYTES_MAX).to_owned(), Some(cut(&plain(&quoted), TEXT_BYTES_MAX).to_owned()).filter(|quoted| !quoted.is_empty()))
    }

    pub(crate) fn native(&self, section: &Section) -> NativeId {
        section.native(format!("post/{}", self.id))
    }

    pub(crate) fn url(&self, section: &Section) -> Option<String> {
        self.path.as_ref().filter(|path| path.starts_with('/') && path.len() <= 1000).map(|path| format!("{}{path}", section.base()))
    }

    fn author(&self, section: &Section) -> Option<Author> {
        let id = self.user_id.map(|id| id.to_string()).or_else(|| Some(format!("@{}", self.username)).filter(|_| !self.username.is_empty()))?;
        Some(Author {
            native: section.native(id),
            handle: Some(format!("@{}", self.username)).filter(|_| !self.username.is_empty()),
            name: self.name.clone().or_else(|| Some(self.username.clone())).filter(|name| !name.is_empty()),
            url: self.profile.as_ref().filter(|path| path.starts_with('/') && path.len() <= 1000).map(|path| format!("{}{path}", section.base())),
            email: None,
            phone: None,
            assurance: None,
            automated: false,
            metrics: Vec::new(),
        })
    }

    /// As an interaction in its thread.
    pub(crate) fn interaction(&self, section: &Section, thread: &Thread, is_first: bool) -> Interaction {
        let (text, quoted) = self.words();
        Interaction {
            native: self.native(section),
            aka: is_first.then(|| thread.native(section)).into_iter().collect(),
            kind: if is_first { "post" } else { "reply" }.to_owned(),
            // What a moderator has not let through is seen by its author and by moderators.
            visibility: if self.is_unapproved { "direct" } else { "public" }.to_owned(),
            author: self.author(section),
            ours: if section.is_us(&self.username) { Ours::Yes(None) } else { Ours::No },
            automated: "no".to_owned(),
            conversation: Some(thread.native(section)),
            parent: (!is_first).then(|| thread.native(section)),
            refs: Vec::new(),
            subject: Some(thread.title.clone()).filter(|title| !title.is_empty()),
            text,
            quoted,
            language: None,
            url: self.url(section),
            attachments: Vec::new(),
            place: None,
            side: None,
            campaign: None,
            occurred: self.posted.unwrap_or_else(clock::now),
            edited: self.edited,
            reply_context: serde_json::to_string(&ReplyContext { thread: thread.id }).ok(),
            attrs: Vec::new(),
        }
    }
}
