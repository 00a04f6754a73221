//! Posts whose comments are read: how far, and which are next. The feed does not tell that an old post was commented on.

use membrana_meta::graph::Next;
use membrana_sdk::json;
use membrana_sdk::{Timestamp, clock, log, state};
use serde::{Deserialize, Serialize};

/// Posts remembered; those that were read and are oldest leave first.
const POSTS_MAX: usize = 200;
/// The host takes 64 KiB a value.
const BYTES_MAX: usize = 60 << 10;
/// Of a turn, how many are the youngest.
const YOUNGEST: usize = 3;
const KEY: &str = "posts";

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Post {
    pub(crate) id: String,
    /// The newest comment read. Units: milliseconds since 1970.
    pub(crate) newest: Timestamp,
    /// Where its comments go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<Next>,
    /// When it was read to its end; 0: never yet.
    visited: Timestamp,
}

impl Post {
    /// One whose comments must be read from `floor` on.
    pub(crate) fn unread(id: String, floor: Timestamp) -> Self {
        Self { id, newest: floor, next: None, visited: 0 }
    }

    /// One whose comments up to `at` do not matter.
    pub(crate) fn known(id: String, at: Timestamp) -> Self {
        Self { id, newest: at, next: None, visited: at.max(1) }
    }
}

/// See the module; oldest first.
#[derive(Debug, Default)]
pub(crate) struct Posts {
    posts: Vec<Post>,
    stored: Vec<u8>,
}

impl Posts {
    /// What cannot be read is forgotten.
    pub(crate) fn read() -> Self {
        let stored = state::get(KEY).unwrap_or_default();
        Self { posts: serde_json::from_slice(&stored).unwrap_or_default(), stored }
    }

    pub(crate) fn keep(&mut self) {
        let bytes = json::newest_within(&mut self.posts, BYTES_MAX);
        if bytes != self.stored && state::set(KEY, &bytes).is_err() {
            log::warn("The posts whose comments are read cannot be remembered; comments may be overlooked.");
        }
    }

    /// Says whether it is new: one that is known already stays as it is.
    pub(crate) fn add(&mut self, post: Post) -> bool {
        if self.find(&post.id).is_some() {
            return false;
        }
        self.posts.push(post);
        if self.posts.len() > POSTS_MAX {
            let oldest = self.posts.iter().position(|post| !post.is_unread()).unwrap_or(0);
            self.posts.remove(oldest);
        }
        true
    }

    pub(crate) fn find(&self, id: &str) -> Option<Post> {
        self.posts.iter().find(|post| post.id == id).cloned()
    }

    pub(crate) fn remove(&mut self, id: &str) {
        self.posts.retain(|post| post.id != id);
    }

    /// It was read, to its end or to its next page.
    pub(crate) fn visited(&mut self, post: Post) {
        let now = clock::now().max(1);
        if let Some(known) = self.posts.iter_mut().find(|known| known.id == post.id) {
            let visited = if post.next.is_none() { now } else { known.visited };
            *known = Post { visited, ..post };
        }
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.posts.iter().any(Post::is_unread)
    }

    pub(crate) fn next_unread(&self) -> Option<Post> {
        self.posts.iter().find(|post| post.is_unread()).cloned()
    }

    /// Whose comments are read again: the youngest, and those that were not for longest.
    pub(crate) fn turn(&self, n_posts: usize) -> Vec<Post> {
        let n_young = YOUNGEST.min(n_posts);
        let mut turn: Vec<Post> = self.posts.iter().rev().take(n_young).cloned().collect();
        let mut others: Vec<&Post> = self.posts.iter().rev().skip(n_young).collect();
        others.sort_by_key(|post| post.visited);
        turn.extend(others.into_iter().take(n_posts.saturating_sub(turn.len())).cloned());
        turn
    }
}

impl Post {
    fn is_unread(&self) -> bool {
        self.visited == 0 || self.next.is_some()
    }
}
