//! Threads and posts as they are used, and as interactions. Each field is read alone: what is missing, null or of another
//! type is absent, and everything is cut to the bounds of the contract.

use membrana_markup::markdown::unjoined;
use membrana_markup::{parted, parted_by_hand, plain};
use membrana_sdk::connector::{Author, Interaction, Ours};
use membrana_sdk::json::Field;
use membrana_sdk::text::cut;
use membrana_sdk::{NativeId, clock};
use serde::{Deserialize, Serialize};

use crate::{Section, wire};

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
    /// Of those that everybody sees.
    pub(crate) replies: u64,
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

fn short(field: &Field, bytes_max: usize) -> Option<String> {
    field.text().map(|text| cut(text, bytes_max).to_owned())
}

/// Units: milliseconds since 1970.
fn moment(field: &Field) -> Option<u64> {
    u64::try_from(field.text()?.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok()
}

impl Thread {
    /// None where it is none.
    pub(crate) fn of(sent: &wire::Thread) -> Option<Self> {
        Some(Self {
            id: sent.id.whole()?,
            title: short(&sent.title, SUBJECT_BYTES_MAX).unwrap_or_default(),
            last_post: sent.last_post.whole()?,
            last_on: moment(&sent.last_post_on),
            pages: sent.pages.whole().unwrap_or(1).max(1),
            replies: sent.replies.whole().unwrap_or(0),
            is_pinned: sent.weight.whole().unwrap_or(0) > 0,
        })
    }

    fn native(&self, section: &Section) -> NativeId {
        section.native(format!("thread/{}", self.id))
    }
}

impl Post {
    /// None where it is none.
    pub(crate) fn of(sent: wire::Post) -> Option<Self> {
        // Who closed their account has left a name.
        let poster = sent.poster.0.unwrap_or_default();
        let username = short(&poster.username, NAME_BYTES_MAX).or_else(|| short(&sent.poster_name, NAME_BYTES_MAX));
        Some(Self {
            id: sent.id.whole()?,
            is_event: sent.is_event.flag(),
            posted: moment(&sent.posted_on),
            edited: moment(&sent.updated_on).filter(|_| sent.edits.whole().unwrap_or(0) > 0),
            username: username.unwrap_or_default(),
            user_id: poster.id.whole(),
            name: short(&poster.real_name, NAME_BYTES_MAX),
            profile: poster.url.into_text(),
            is_unapproved: sent.is_unapproved.flag(),
            content: sent.content.into_text().filter(|_| !sent.is_hidden.flag()),
            path: sent.url.0.and_then(|url| url.index.into_text()),
        })
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.content.is_none()
    }

    /// What it says, and what it quotes.
    pub(crate) fn words(&self) -> (String, Option<String>) {
        let (said, quoted) = parted(self.content.as_deref().unwrap_or_default(), "<aside class=\"quote-block", ">", "</aside>");
        let (said, by_hand) = parted_by_hand(said);
        let read = |html: &str| cut(&unjoined(plain(html)), TEXT_BYTES_MAX).to_owned();
        (read(&said), Some(read(&(quoted + &by_hand))).filter(|quoted| !quoted.is_empty()))
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
