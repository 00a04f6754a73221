//! A post as the API and the webhooks send it, and as an interaction. Each field is read alone: what is missing, null or of
//! another type is absent, numbers may be text, and everything is cut to the bounds of the contract.

use membrana_sdk::connector::{Author, Interaction, Ours};
use membrana_sdk::json::{Field, Object};
use membrana_sdk::text::cut;
use membrana_sdk::{NativeId, clock};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::text::Words;
use crate::{Section, wire};

/// Units: bytes.
const NAME_BYTES_MAX: usize = 512;
const SUBJECT_BYTES_MAX: usize = 1000;
const URL_BYTES_MAX: usize = 2048;

/// Types of posts. Source: Discourse, `Post.types`.
const MODERATOR_ACTION: u64 = 2;
const SMALL_ACTION: u64 = 3;
const WHISPER: u64 = 4;

/// What a post is to us.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sort {
    /// Somebody's words.
    Said,
    /// `closed this topic`, and what moderators do.
    Action,
    /// A type that came later.
    Unknown(u64),
}

/// Of a post, as far as it is used.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) id: u64,
    pub(crate) topic: u64,
    pub(crate) number: u64,
    pub(crate) reply_to: Option<u64>,
    kind: u64,
    pub(crate) version: u64,
    /// Units: ms since 1970.
    pub(crate) created: Option<u64>,
    pub(crate) updated: Option<u64>,
    pub(crate) username: String,
    user_id: Option<String>,
    name: Option<String>,
    is_staff: bool,
    is_hidden: bool,
    pub(crate) is_gone: bool,
    is_private: bool,
    category: Option<u64>,
    pub(crate) title: Option<String>,
    path: Option<String>,
    pub(crate) words: Words,
    /// The text is as it was written, not as it is shown.
    pub(crate) is_raw: bool,
}

/// What a reply will need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReplyContext {
    pub(crate) topic: u64,
    pub(crate) number: u64,
    #[serde(default)]
    pub(crate) is_whisper: bool,
    #[serde(default)]
    pub(crate) is_private: bool,
}

pub(crate) fn number(field: &Field) -> Option<u64> {
    field.whole().or_else(|| field.text()?.parse().ok())
}

fn short(field: &Field, bytes_max: usize) -> Option<String> {
    field.text().map(|text| cut(text, bytes_max).to_owned())
}

/// Units: milliseconds since 1970.
fn moment(field: &Field) -> Option<u64> {
    u64::try_from(field.text()?.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok()
}

/// A negative user is the forum's own machine.
fn user(field: Field) -> Option<String> {
    let id = match field {
        Field::Text(text) => text,
        Field::Number(number) => number.to_string(),
        _ => return None,
    };
    Some(id).filter(|id| id.len() <= 64)
}

impl Post {
    /// None where it is none: without an id, or without its place in a topic.
    pub(crate) fn of(sent: wire::Post) -> Option<Self> {
        let raw = if let Field::Text(raw) = &sent.raw { Some(raw) } else { None };
        let words = raw.map_or_else(|| Words::of_cooked(sent.cooked.text().unwrap_or_default()), |raw| Words::of_raw(raw));
        // Private messages have no category; a webhook says it in so many words.
        let is_private = sent.topic_archetype.text().map_or_else(|| !sent.category_id.is_set(), |archetype| archetype != "regular");
        Some(Self {
            id: number(&sent.id)?,
            topic: number(&sent.topic_id)?,
            number: number(&sent.post_number)?,
            reply_to: number(&sent.reply_to_post_number),
            kind: number(&sent.post_type).unwrap_or(1),
            version: number(&sent.version).unwrap_or(1),
            created: moment(&sent.created_at),
            updated: moment(&sent.updated_at),
            username: short(&sent.username, NAME_BYTES_MAX).unwrap_or_default(),
            user_id: user(sent.user_id),
            name: short(&sent.name, NAME_BYTES_MAX),
            is_staff: sent.staff.flag(),
            is_hidden: sent.hidden.flag(),
            is_gone: sent.deleted_at.is_set() || sent.user_deleted.flag(),
            is_private,
            category: number(&sent.category_id),
            title: short(&sent.topic_title, SUBJECT_BYTES_MAX),
            path: sent.post_url.into_text(),
            is_raw: raw.is_some(),
            words,
        })
    }

    /// As [`Post::of`], of what was read as a tree.
    pub(crate) fn in_tree(json: &Json) -> Option<Self> {
        Object::<wire::Post>::deserialize(json).ok()?.0.and_then(Self::of)
    }

    pub(crate) fn sort(&self) -> Sort {
        match self.kind {
            1 | WHISPER => Sort::Said,
            MODERATOR_ACTION | SMALL_ACTION => Sort::Action,
            other => Sort::Unknown(other),
        }
    }

    pub(crate) fn is_whisper(&self) -> bool {
        self.kind == WHISPER
    }

    pub(crate) fn native(&self, section: &Section) -> NativeId {
        post(section, self.id)
    }

    /// Flagged, it shows a notice of the forum's in place of what was said, to all but its author and the staff.
    pub(crate) fn is_withheld(&self) -> bool {
        self.is_hidden && !self.is_raw
    }

    /// Where it stands now.
    pub(crate) fn place(&self, section: &Section) -> NativeId {
        place(section, self.topic, self.number)
    }

    /// In the words of the contract.
    pub(crate) fn visibility(&self, section: &Section) -> &'static str {
        if self.is_whisper() || self.is_private {
            "direct"
        } else if self.category.is_some_and(|category| section.private_categories.contains(&category)) {
            "followers"
        } else {
            "public"
        }
    }

    /// Every change moves `updated_at`, also one in the first minutes, which makes no version.
    fn edited(&self) -> Option<u64> {
        let is_later = self.updated > self.created.map(|created| created.saturating_add(1_000));
        self.updated.filter(|_| self.version > 1 || is_later)
    }

    fn url(&self, section: &Section) -> Option<String> {
        let path = self.path.clone().unwrap_or_else(|| format!("{}/t/{}/{}", section.base(), self.topic, self.number));
        section.url()?.join(&path).ok().map(String::from).filter(|url| url.len() <= URL_BYTES_MAX)
    }

    fn author(&self, section: &Section) -> Option<Author> {
        let id = self.user_id.clone().or_else(|| Some(format!("@{}", self.username)).filter(|_| !self.username.is_empty()))?;
        let has_name = !self.username.is_empty();
        Some(Author {
            automated: id.starts_with('-'),
            native: section.native(id),
            handle: has_name.then(|| format!("@{}", self.username)),
            name: self.name.clone().or_else(|| has_name.then(|| self.username.clone())),
            url: has_name.then(|| format!("{}/u/{}", section.base(), self.username)).filter(|url| url.len() <= URL_BYTES_MAX),
            email: None,
            phone: None,
            assurance: None,
            metrics: Vec::new(),
        })
    }

    /// As an interaction. `visibility` is what is known of its audience.
    pub(crate) fn interaction(&self, section: &Section, visibility: &str) -> Interaction {
        let is_first = self.number <= 1;
        let author = self.author(section);
        let context = ReplyContext { topic: self.topic, number: self.number, is_whisper: self.is_whisper(), is_private: visibility == "direct" };
        // A place names no post but the first: where posts are moved to another topic, the numbers of the last ones are given again.
        let aka = if is_first { vec![self.place(section), topic(section, self.topic)] } else { Vec::new() };
        let flags = [("discourse.staff", self.is_staff), ("discourse.whisper", self.is_whisper()), ("discourse.hidden", self.is_hidden)];
        Interaction {
            native: self.native(section),
            aka,
            kind: if is_first { "post" } else { "reply" }.to_owned(),
            visibility: visibility.to_owned(),
            ours: if section.is_us(&self.username) { Ours::Yes(None) } else { Ours::No },
            automated: if author.as_ref().is_some_and(|author| author.automated) { "bot" } else { "no" }.to_owned(),
            author,
            conversation: Some(topic(section, self.topic)),
            parent: (!is_first).then(|| place(section, self.topic, self.reply_to.unwrap_or(1))),
            refs: Vec::new(),
            subject: self.title.clone(),
            text: self.words.text.clone(),
            quoted: self.words.quoted.clone(),
            language: None,
            url: self.url(section),
            attachments: Vec::new(),
            place: None,
            side: self.is_whisper().then(|| "inside".to_owned()),
            campaign: None,
            occurred: self.created.unwrap_or_else(clock::now),
            edited: self.edited(),
            reply_context: serde_json::to_string(&context).ok(),
            attrs: flags.into_iter().filter(|(_, is_so)| *is_so).map(|(key, _)| (key.to_owned(), "true".to_owned())).collect(),
        }
    }
}

pub(crate) fn post(section: &Section, id: u64) -> NativeId {
    section.native(format!("post/{id}"))
}

fn topic(section: &Section, id: u64) -> NativeId {
    section.native(format!("topic/{id}"))
}

/// The ids of a topic's posts, in order.
pub(crate) fn stream(topic: &Json) -> Option<Vec<u64>> {
    Some(topic.pointer("/post_stream/stream")?.as_array()?.iter().filter_map(Json::as_u64).collect())
}

/// What the forum has of the post that one answers; [`crate::watch::Places`] know which it is.
pub(crate) fn place(section: &Section, topic: u64, number: u64) -> NativeId {
    section.native(format!("topic/{topic}/{number}"))
}
