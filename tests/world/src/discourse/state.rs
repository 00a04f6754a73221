//! What the forum keeps, and how each of its answers shows a post.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};

use crate::form::escaped;

/// Identical words are refused for so long. Units: seconds.
const SIMILAR_S: i64 = 300;
/// Calls a minute by the key of an administrator.
const LIMIT: usize = 60;
/// The category of all public topics.
const CATEGORY: u64 = 4;

/// What stands in place of a hidden post. Source: Discourse, `flagging.user_must_edit`.
const HIDDEN: &str = "<p>This post was flagged by the community and is temporarily hidden.</p>";

/// A topic that was opened.
#[derive(Debug, Clone, Copy)]
pub struct ForumTopic {
    /// Of the topic.
    pub id: u64,
    /// Id of its first post.
    pub post: u64,
}

/// A post as the forum has it.
#[derive(Debug, Clone)]
pub struct ForumPost {
    /// Of the post.
    pub id: u64,
    /// Of its topic.
    pub topic: u64,
    /// Its place in the topic, from 1 on.
    pub number: u64,
    /// The place of what it answers.
    pub reply_to: Option<u64>,
    /// Who wrote it.
    pub username: String,
    /// Markdown.
    pub raw: String,
    pub(super) kind: Kind,
    pub(super) is_deleted: bool,
    is_hidden: bool,
    version: u64,
    created: jiff::Timestamp,
    updated: jiff::Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Regular = 1,
    SmallAction = 3,
    Whisper = 4,
}

#[derive(Debug)]
struct Head {
    title: String,
    is_private: bool,
    is_deleted: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Forum {
    pub(super) key: String,
    pub(super) username: String,
    /// Ids ascending.
    pub(super) posts: Vec<ForumPost>,
    pub(super) limit: usize,
    pub(super) withholds_raw: bool,
    topics: BTreeMap<u64, Head>,
    users: BTreeMap<String, u64>,
    calls: VecDeque<jiff::Timestamp>,
    ahead: jiff::SignedDuration,
    last_id: u64,
    last_event: u64,
}

impl Forum {
    pub(super) fn new(key: &str, username: &str) -> Self {
        Self {
            key: key.to_owned(),
            username: username.to_owned(),
            posts: Vec::new(),
            limit: LIMIT,
            withholds_raw: false,
            topics: BTreeMap::new(),
            users: BTreeMap::from([("system".to_owned(), 0)]),
            calls: VecDeque::new(),
            ahead: jiff::SignedDuration::ZERO,
            last_id: 10,
            last_event: 0,
        }
    }

    pub(super) fn now(&self) -> jiff::Timestamp {
        let now = jiff::Timestamp::now();
        now.checked_add(self.ahead).unwrap_or(now)
    }

    pub(super) fn advance(&mut self, seconds: u64) {
        self.ahead = self.ahead.saturating_add(jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(0)));
    }

    pub(super) fn number_from(&mut self, id: u64) {
        self.last_id = self.last_id.max(id);
    }

    pub(super) fn fresh_event(&mut self) -> u64 {
        self.last_event += 1;
        self.last_event
    }

    /// Seconds to wait where there were too many this minute.
    pub(super) fn count_call(&mut self) -> Option<i64> {
        let now = self.now();
        let since = |at: &jiff::Timestamp| now.duration_since(*at).as_secs();
        while self.calls.front().is_some_and(|at| since(at) >= 60) {
            self.calls.pop_front();
        }
        if self.calls.len() >= self.limit {
            return Some(self.calls.front().map_or(60, |at| 60 - since(at)));
        }
        self.calls.push_back(now);
        None
    }

    pub(super) fn open(&mut self, username: &str, title: &str, text: &str, is_private: bool) -> ForumTopic {
        let id = self.topics.len() as u64 + 5;
        self.topics.insert(id, Head { title: title.to_owned(), is_private, is_deleted: false });
        ForumTopic { id, post: self.add(username, id, None, text, Kind::Regular) }
    }

    pub(super) fn add(&mut self, username: &str, topic: u64, reply_to: Option<u64>, raw: &str, kind: Kind) -> u64 {
        self.last_id += 1;
        let (id, now) = (self.last_id, self.now());
        let user = self.users.len() as u64;
        self.users.entry(username.to_owned()).or_insert(user);
        let number = self.next_number(topic);
        self.posts.push(ForumPost {
            id,
            topic,
            number,
            reply_to,
            username: username.to_owned(),
            raw: raw.to_owned(),
            kind,
            is_deleted: false,
            is_hidden: false,
            version: 1,
            created: now,
            updated: now,
        });
        id
    }

    /// Behind the last that is there: what was moved away leaves its number free.
    fn next_number(&self, topic: u64) -> u64 {
        self.posts.iter().filter(|post| post.topic == topic).map(|post| post.number).max().unwrap_or(0) + 1
    }

    pub(super) fn move_posts(&mut self, ids: &[u64], topic: u64) {
        for id in ids {
            let number = self.next_number(topic);
            if let Some(post) = self.posts.iter_mut().find(|post| post.id == *id) {
                (post.topic, post.number) = (topic, number);
            }
        }
    }

    pub(super) fn edit(&mut self, id: u64, text: &str) {
        let now = self.now();
        if let Some(post) = self.posts.iter_mut().find(|post| post.id == id) {
            text.clone_into(&mut post.raw);
            (post.version, post.updated) = (post.version + 1, now);
        }
    }

    pub(super) fn set_deleted(&mut self, id: u64, is_deleted: bool) {
        for post in self.posts.iter_mut().filter(|post| post.id == id) {
            post.is_deleted = is_deleted;
        }
    }

    pub(super) fn delete_topic(&mut self, id: u64) {
        let first = self.posts.iter().find(|post| (post.topic, post.number) == (id, 1)).map(|post| post.id);
        self.set_deleted(first.unwrap_or(0), true);
        if let Some(head) = self.topics.get_mut(&id) {
            head.is_deleted = true;
        }
    }

    /// Says whether the list shows its posts.
    pub(super) fn is_listed(&self, topic: u64) -> bool {
        self.topics.get(&topic).is_some_and(|head| !head.is_private && !head.is_deleted)
    }

    pub(super) fn set_hidden(&mut self, id: u64, is_hidden: bool) {
        let now = self.now();
        for post in self.posts.iter_mut().filter(|post| post.id == id) {
            (post.is_hidden, post.updated) = (is_hidden, now);
        }
    }

    pub(super) fn find(&self, id: u64) -> Option<&ForumPost> {
        self.posts.iter().find(|post| post.id == id)
    }

    pub(super) fn own(&self) -> Vec<ForumPost> {
        self.posts.iter().filter(|post| post.username == self.username && !post.is_deleted).cloned().collect()
    }

    pub(super) fn is_private(&self, topic: u64) -> bool {
        self.topics.get(&topic).is_some_and(|head| head.is_private)
    }

    pub(super) fn is_too_similar(&self, raw: &str) -> bool {
        let now = self.now();
        let is_recent = |post: &&ForumPost| now.duration_since(post.created).as_secs() < SIMILAR_S;
        self.posts.iter().filter(|post| post.username == self.username).filter(is_recent).any(|post| post.raw == raw)
    }

    fn user(&self, username: &str) -> i64 {
        match username {
            "system" => -1,
            _ => self.users.get(username).and_then(|id| i64::try_from(*id).ok()).unwrap_or(0),
        }
    }

    fn slug(&self, topic: u64) -> String {
        let title = self.topics.get(&topic).map(|head| head.title.to_lowercase()).unwrap_or_default();
        title.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
    }

    /// What all of its answers say of a post.
    fn common(&self, post: &ForumPost) -> Map<String, Value> {
        let slug = self.slug(post.topic);
        let is_own = post.username == self.username;
        let cooked = if post.is_hidden && !is_own { HIDDEN.to_owned() } else { cooked(post) };
        let fields = json!({
            "id": post.id, "name": capital(&post.username), "username": post.username, "avatar_template": "/letter_avatar/{size}.png",
            "created_at": stamp(post.created), "cooked": cooked, "post_number": post.number, "post_type": post.kind as u64,
            "updated_at": stamp(post.updated), "reply_count": 0, "reply_to_post_number": post.reply_to.map(|number| number.to_string()),
            "quote_count": 0, "incoming_link_count": 0, "reads": 1, "readers_count": 0, "score": 0.2, "yours": is_own,
            "topic_id": post.topic, "topic_slug": slug, "display_username": capital(&post.username), "primary_group_name": null,
            "flair_name": null, "flair_url": null, "flair_bg_color": null, "flair_color": null, "version": post.version,
            "can_edit": is_own, "can_delete": false, "can_recover": false, "can_see_hidden_post": false, "can_wiki": false,
        });
        let more = json!({
            "user_title": null, "bookmarked": false, "actions_summary": [{ "id": 2, "can_act": !is_own }], "moderator": false,
            "admin": is_own, "staff": is_own, "user_id": self.user(&post.username), "hidden": post.is_hidden, "trust_level": 1,
            "deleted_at": null, "user_deleted": false, "edit_reason": null, "can_view_edit_history": true, "wiki": false,
            "reviewable_score_count": 0, "reviewable_score_pending_count": 0,
        });
        [fields, more].into_iter().filter_map(|part| part.as_object().cloned()).flatten().collect()
    }

    fn with(&self, post: &ForumPost, more: Value) -> Value {
        let mut fields = self.common(post);
        fields.extend(more.as_object().cloned().unwrap_or_default());
        Value::Object(fields)
    }

    fn url(&self, post: &ForumPost) -> String {
        format!("/t/{}/{}/{}", self.slug(post.topic), post.topic, post.number)
    }

    fn n_posts(&self, topic: u64) -> usize {
        self.posts.iter().filter(|post| post.topic == topic && !post.is_deleted).count()
    }

    fn raw(&self, post: &ForumPost, mut shown: Value) -> Value {
        let is_withheld = self.withholds_raw || post.is_hidden && post.username != self.username;
        if let (Some(fields), false) = (shown.as_object_mut(), is_withheld) {
            fields.insert("raw".to_owned(), json!(post.raw));
        }
        shown
    }

    pub(super) fn in_list(&self, post: &ForumPost) -> Value {
        let title = self.topics.get(&post.topic).map(|head| head.title.clone());
        let more = json!({
            "posts_count": self.n_posts(post.topic), "topic_title": title, "topic_html_title": title, "category_id": CATEGORY, "flair_group_id": null,
            "badges_granted": [], "excerpt": post.raw, "truncated": false, "reviewable_id": null, "post_url": self.url(post),
        });
        self.raw(post, self.with(post, more))
    }

    /// Without its category and its topic's title.
    pub(super) fn alone(&self, post: &ForumPost) -> Value {
        let more = json!({ "posts_count": self.n_posts(post.topic), "reviewable_id": null, "post_url": self.url(post) });
        self.raw(post, self.with(post, more))
    }

    pub(super) fn created(&self, post: &ForumPost) -> Value {
        let more = json!({
            "posts_count": self.n_posts(post.topic), "reviewable_id": null, "post_url": self.url(post), "flair_group_id": null, "badges_granted": [],
            "draft_sequence": 1, "raw": post.raw,
        });
        self.with(post, more)
    }

    pub(super) fn in_topic(&self, post: &ForumPost, with_raw: bool) -> Value {
        let shown = self.with(post, json!({ "link_counts": [], "read": true, "reviewable_id": 0 }));
        if with_raw { self.raw(post, shown) } else { shown }
    }

    /// As the real one's: the number is a number, the archetype is told, and nothing is hidden from it.
    pub(super) fn in_webhook(&self, post: &ForumPost) -> Value {
        let is_private = self.is_private(post.topic);
        let title = self.topics.get(&post.topic).map(|head| head.title.clone());
        let more = json!({
            "reply_to_post_number": post.reply_to, "topic_title": title, "category_id": (!is_private).then_some(CATEGORY),
            "topic_archetype": if is_private { "private_message" } else { "regular" }, "topic_posts_count": self.n_posts(post.topic),
            "post_url": self.url(post), "reviewable_id": null, "raw": post.raw, "cooked": cooked(post),
        });
        self.with(post, more)
    }

    pub(super) fn topic(&self, id: u64, chunk: usize) -> Option<Value> {
        let head = self.topics.get(&id)?;
        let posts: Vec<&ForumPost> = self.posts.iter().filter(|post| post.topic == id && !post.is_deleted).collect();
        let first = posts.first()?;
        let stream: Vec<u64> = posts.iter().map(|post| post.id).collect();
        let shown: Vec<Value> = posts.iter().take(chunk).map(|post| self.in_topic(post, false)).collect();
        let author =
            json!({ "id": self.user(&first.username), "username": first.username, "name": capital(&first.username), "avatar_template": "/a" });
        let details = json!({
            "can_edit": true, "notification_level": 1, "can_move_posts": true, "can_delete": true, "can_remove_allowed_users": true, "can_create_post": true,
            "can_reply_as_new_topic": true, "can_invite_to": true, "can_invite_via_email": true, "can_flag_topic": true, "can_convert_topic": true,
            "can_review_topic": true, "can_close_topic": true, "can_archive_topic": true, "can_split_merge_topic": true, "can_edit_staff_notes": true,
            "can_toggle_topic_visibility": true, "can_pin_unpin_topic": true, "can_banner_topic": true, "can_moderate_category": true,
            "can_remove_self_id": 1, "participants": [], "created_by": author, "last_poster": author,
        });
        let parts = [
            json!({
            "post_stream": { "posts": shown, "stream": stream }, "timeline_lookup": [], "suggested_topics": [], "tags": [], "tags_descriptions": {},
            "id": id, "title": head.title, "fancy_title": head.title, "posts_count": posts.len(), "created_at": stamp(first.created), "views": 1,
            "reply_count": 0, "like_count": 0, "last_posted_at": null, "visible": true, "closed": false, "archived": false, "has_summary": false,
            "archetype": if head.is_private { "private_message" } else { "regular" }, "slug": self.slug(id), "category_id": CATEGORY, "word_count": 2,
            }),
            json!({
            "deleted_at": head.is_deleted.then(|| stamp(self.now())), "user_id": self.user(&first.username), "featured_link": null, "pinned_globally": false, "pinned_at": null,
            "pinned_until": null, "image_url": null, "slow_mode_seconds": 0, "draft": null, "draft_key": format!("topic_{id}"), "draft_sequence": 0,
            "unpinned": null, "pinned": false, "current_post_number": 1, "highest_post_number": posts.len(), "deleted_by": null, "has_deleted": false,
            "actions_summary": [], "chunk_size": 20, "bookmarked": false, "bookmarks": [], "topic_timer": null, "message_bus_last_id": 0,
            "participant_count": 1, "show_read_indicator": false, "thumbnails": null, "slow_mode_enabled_until": null,
            "details": details,
            }),
        ];
        Some(Value::Object(parts.into_iter().filter_map(|part| part.as_object().cloned()).flatten().collect()))
    }
}

fn cooked(post: &ForumPost) -> String {
    format!("<p>{}</p>", escaped(&post.raw).replace('\n', "<br>\n"))
}

fn stamp(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}
