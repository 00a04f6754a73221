//! A Discourse forum that keeps state: the API as a key of the company's account uses it, doors for the pretend people, and
//! signed webhooks. It stays within Discourse's own OpenAPI document, in which `reply_to_post_number` is a text; its webhooks,
//! which that document does not know, have the number of the real one.
//!
//! The list of posts holds 50 a page and what `before` names is not on it. Identical words by the company are refused for five
//! minutes; calls are counted by the minute of a clock that [`Discourse::advance`] moves.
//! Source: docs.discourse.org, and Discourse's posts controller for what its document leaves out.

mod api;
mod hook;
mod state;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;

use crate::server::{Server, front, locked};
use crate::trouble::Manner;
pub use hook::DiscourseHook;
use state::{Forum, Kind};
pub use state::{ForumPost, ForumTopic};

type Shared = Arc<Mutex<Forum>>;

/// See the module.
pub struct Discourse {
    server: Server,
    forum: Shared,
}

front!(Discourse);

impl Discourse {
    /// Starts a forum that knows this key, and the account that it acts as.
    pub async fn start(key: &str, username: &str) -> std::io::Result<Self> {
        let forum = Arc::new(Mutex::new(Forum::new(key, username)));
        let router = Router::new()
            .route("/posts.json", get(api::latest).post(api::create))
            .route("/posts/{id}", get(api::single))
            .route("/t/{id}", get(api::topic))
            .route("/t/{id}/posts.json", get(api::topic_posts))
            .with_state(Arc::clone(&forum));
        let clock = Arc::clone(&forum);
        let clock = move || u64::try_from(locked(&clock).now().as_millisecond()).unwrap_or(0);
        Ok(Self { server: Server::start_as(Manner::Discourse, Some(Arc::new(clock)), router).await?, forum })
    }

    /// Somebody opens a topic; gives its number and its first post's.
    pub fn open(&self, username: &str, title: &str, text: &str) -> ForumTopic {
        locked(&self.forum).open(username, title, text, false)
    }

    /// Somebody writes to the company alone.
    pub fn open_private(&self, username: &str, title: &str, text: &str) -> ForumTopic {
        locked(&self.forum).open(username, title, text, true)
    }

    /// Somebody answers in a topic, a post of this number or none in particular. Gives the new post's id.
    pub fn answer(&self, username: &str, topic: u64, reply_to: Option<u64>, text: &str) -> u64 {
        locked(&self.forum).add(username, topic, reply_to, text, Kind::Regular)
    }

    /// One of the staff writes what only the staff sees.
    pub fn whisper(&self, username: &str, topic: u64, text: &str) -> u64 {
        locked(&self.forum).add(username, topic, None, text, Kind::Whisper)
    }

    /// Somebody closes a topic, say.
    pub fn small_action(&self, username: &str, topic: u64) -> u64 {
        locked(&self.forum).add(username, topic, None, "", Kind::SmallAction)
    }

    /// The author edits a post.
    pub fn edit(&self, id: u64, text: &str) {
        locked(&self.forum).edit(id, text);
    }

    /// A post is deleted.
    pub fn delete(&self, id: u64) {
        locked(&self.forum).set_deleted(id, true);
    }

    /// A topic is deleted, and its first post with it. Its answers are missing from the list, and to the account, which is of the staff
    /// here, they look as ever.
    pub fn delete_topic(&self, id: u64) {
        locked(&self.forum).delete_topic(id);
    }

    /// Flagged, a post is hidden from whoever is neither its author nor of the staff, as the company is not.
    pub fn hide(&self, id: u64) {
        locked(&self.forum).set_hidden(id, true);
    }

    /// A moderator shows a hidden post.
    pub fn unhide(&self, id: u64) {
        locked(&self.forum).set_hidden(id, false);
    }

    /// A deleted post is put back.
    pub fn recover(&self, id: u64) {
        locked(&self.forum).set_deleted(id, false);
    }

    /// A moderator moves posts to another topic.
    pub fn move_posts(&self, ids: &[u64], topic: u64) {
        locked(&self.forum).move_posts(ids, topic);
    }

    /// From now on `raw` is withheld.
    pub fn withhold_raw(&self) {
        locked(&self.forum).withholds_raw = true;
    }

    /// Ids go on from here, as on a forum that has many.
    pub fn number_from(&self, id: u64) {
        locked(&self.forum).number_from(id);
    }

    /// Calls allowed a minute.
    pub fn limit(&self, calls: usize) {
        locked(&self.forum).limit = calls;
    }

    /// Moves its clock on.
    pub fn advance(&self, seconds: u64) {
        locked(&self.forum).advance(seconds);
    }

    /// What the company wrote, in order.
    pub fn own(&self) -> Vec<ForumPost> {
        locked(&self.forum).own()
    }

    /// A webhook about a post as the forum sends it, signed by this secret.
    pub fn webhook(&self, event: &str, post: u64, secret: &str) -> DiscourseHook {
        locked(&self.forum).webhook(event, post, secret)
    }

    /// A webhook of any other kind.
    pub fn other_webhook(&self, kind: &str, event: &str, body: &str, secret: &str) -> DiscourseHook {
        locked(&self.forum).delivery(kind, event, body.to_owned(), secret)
    }
}

#[cfg(test)]
mod tests;
