//! A post as the API and the webhooks send it, and as an interaction. Each field is read alone: what is missing, null or of
//! another type is absent, numbers may be text, and everything is cut to the bounds of the contract.

use membrana_sdk::connector::{Author, Interaction, Ours};
use membrana_sdk::text::cut;
use membrana_sdk::{NativeId, clock};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use url::Url;

use crate::Section;
use crate::text::Words;

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

fn number(of: &Json, key: &str) -> Option<u64> {
    let value = of.get(key)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

pub(crate) fn id(of: &Json) -> Option<u64> {
    number(of, "id")
}

/// None where it is no text, or an empty one.
fn text<'j>(of: &'j Json, key: &str) -> Option<&'j str> {
    of.get(key).and_then(Json::as_str).filter(|text| !text.is_empty())
}

fn flag(of: &Json, key: &str) -> bool {
    of.get(key).and_then(Json::as_bool).unwrap_or(false)
}

fn is_set(of: &Json, key: &str) -> bool {
    of.get(key).is_some_and(|value| !value.is_null())
}

/// Units: milliseconds since 1970.
fn moment(of: &Json, key: &str) -> Option<u64> {
    u64::try_from(text(of, key)?.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok()
}

impl Post {
    /// None where it is none: without an id, or without its place in a topic.
    pub(crate) fn of(json: &Json) -> Option<Self> {
        // A negative user is the forum's own machine.
        let user_id = json.get("user_id").filter(|value| value.is_number() || value.is_string());
        let raw = json.get("raw").and_then(Json::as_str);
        let words = raw.map_or_else(|| Words::of_cooked(text(json, "cooked").unwrap_or_default()), Words::of_raw);
        // Private messages have no category; a webhook says it in so many words.
        let archetype = text(json, "topic_archetype");
        let is_private = archetype.map_or_else(|| !is_set(json, "category_id"), |archetype| archetype != "regular");
        Some(Self {
            id: id(json)?,
            topic: number(json, "topic_id")?,
            number: number(json, "post_number")?,
            reply_to: number(json, "reply_to_post_number"),
            kind: number(json, "post_type").unwrap_or(1),
            version: number(json, "version").unwrap_or(1),
            created: moment(json, "created_at"),
            updated: moment(json, "updated_at"),
            username: cut(text(json, "username").unwrap_or_default(), NAME_BYTES_MAX).to_owned(),
            user_id: user_id.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).filter(|id| id.len() <= 64),
            name: text(json, "name").map(|name| cut(name, NAME_BYTES_MAX).to_owned()),
            is_staff: flag(json, "staff"),
            is_hidden: flag(json, "hidden"),
            is_gone: is_set(json, "deleted_at") || flag(json, "user_deleted"),
            is_private,
            category: number(json, "category_id"),
            title: text(json, "topic_title").map(|title| cut(title, SUBJECT_BYTES_MAX).to_owned()),
            path: text(json, "post_url").map(str::to_owned),
            words,
            is_raw: raw.is_some(),
        })
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
        Url::parse(section.base()).ok()?.join(&path).ok().map(String::from).filter(|url| url.len() <= URL_BYTES_MAX)
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
        let mut aka = vec![place(section, self.topic, self.number)];
        if is_first {
            aka.push(topic(section, self.topic));
        }
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

/// What replies name a post by.
pub(crate) fn place(section: &Section, topic: u64, number: u64) -> NativeId {
    section.native(format!("topic/{topic}/{number}"))
}
