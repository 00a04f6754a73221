//! Posts whose comments are read: how far, and which are next. The feed does not tell that an old post was commented on.

use membrana_meta::graph::Next;
use membrana_meta::remembered::{self, Bounds};
use membrana_sdk::connector::Change;
use membrana_sdk::{Timestamp, clock, state};
use serde::{Deserialize, Serialize};

/// Older ones that wait to be read: a page of the feed, and those whose comments cannot be read.
const BOUNDS: Bounds = Bounds { newest_max: 200, older_max: 150 };
/// So many may wait whose comments cannot be read.
const PUT_OFF_MAX: usize = 20;
/// Of a turn, how many are the youngest.
const YOUNGEST: usize = 3;
const KEY: &str = "posts";

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Post {
    pub(crate) id: String,
    /// When it was posted; 0: a state of before does not tell. Units: milliseconds since 1970.
    #[serde(default)]
    at: Timestamp,
    /// The newest comment read. Units: milliseconds since 1970.
    pub(crate) newest: Timestamp,
    /// Its id: it is read again each time, for the network counts in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<String>,
    /// Where its comments go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<Next>,
    /// When it was read to its end; 0: never yet.
    visited: Timestamp,
    /// When its comments could not be read; 0: they could.
    #[serde(default)]
    put_off: Timestamp,
    /// They may not be read, which was told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_refused: bool,
}

impl Post {
    /// One whose comments must be read from `floor` on.
    pub(crate) fn unread(id: String, floor: Timestamp) -> Self {
        Self { id, at: 0, newest: floor, last: None, next: None, visited: 0, put_off: 0, is_refused: false }
    }

    /// One whose comments up to `at` do not matter.
    pub(crate) fn known(id: String, at: Timestamp) -> Self {
        Self { id, at: 0, newest: at, last: None, next: None, visited: at.max(1), put_off: 0, is_refused: false }
    }

    pub(crate) fn posted_at(self, at: Timestamp) -> Self {
        Self { at, ..self }
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

    /// Gives the gap where some are forgotten that wait to be read.
    pub(crate) fn keep(&mut self) -> Option<Change> {
        remembered::keep(KEY, &mut self.posts, &self.stored, &BOUNDS, Post::is_unread)
    }

    /// Says whether it is new: one that is known already stays as it is.
    pub(crate) fn add(&mut self, post: Post) -> bool {
        if self.find(&post.id).is_some() {
            return false;
        }
        // An import goes back in time: what comes later may be older.
        let place = self.posts.partition_point(|known| known.at <= post.at);
        self.posts.insert(place, post);
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
            *known = Post { visited, put_off: 0, is_refused: false, ..post };
        }
    }

    /// Its comments cannot be read now. It waits for its turn; where too many do, it says no.
    pub(crate) fn put_off(&mut self, id: &str) -> bool {
        let n_others = self.posts.iter().filter(|post| post.is_put_off() && !post.is_refused && post.id != id).count();
        if n_others >= PUT_OFF_MAX {
            return false;
        }
        if let Some(known) = self.posts.iter_mut().find(|known| known.id == id) {
            known.put_off = clock::now().max(1);
        }
        true
    }

    /// Its comments may not be read; those up to `given_up` will not be. It is tried again in its turn. Says whether that is news.
    pub(crate) fn refuse(&mut self, id: &str, given_up: Timestamp) -> bool {
        let Some(known) = self.posts.iter_mut().find(|known| known.id == id) else { return false };
        known.newest = known.newest.max(given_up);
        (known.next, known.visited, known.put_off) = (None, known.visited.max(1), clock::now().max(1));
        !std::mem::replace(&mut known.is_refused, true)
    }

    /// Others whose comments can be read as far as is known, to be asked for theirs.
    pub(crate) fn others(&self, id: &str) -> Vec<String> {
        let others = self.posts.iter().rev().filter(|other| other.id != id && !other.is_put_off());
        remembered::witnesses(others.map(|other| (other.id.as_str(), other.visited > 0)).collect())
    }

    /// Its comments up to `at` are given up.
    pub(crate) fn skip(&mut self, id: &str, at: Timestamp) {
        if let Some(known) = self.posts.iter_mut().find(|known| known.id == id) {
            *known = Post::known(id.to_owned(), at).posted_at(known.at);
        }
    }

    /// One that is to be read before all else.
    pub(crate) fn next_unread(&self) -> Option<Post> {
        self.posts.iter().find(|post| post.is_unread() && !post.is_put_off()).cloned()
    }

    /// Whose comments are read again: the youngest that can be, and those that were not for longest.
    pub(crate) fn turn(&self, n_posts: usize) -> Vec<Post> {
        let n_young = YOUNGEST.min(n_posts);
        let (mut others, young): (Vec<&Post>, Vec<&Post>) = self.posts.iter().rev().partition(|post| post.is_put_off());
        let mut turn: Vec<Post> = young.iter().take(n_young).copied().cloned().collect();
        others.extend(young.into_iter().skip(n_young));
        others.sort_by_key(|post| post.visited.max(post.put_off));
        turn.extend(others.into_iter().take(n_posts.saturating_sub(turn.len())).cloned());
        turn
    }
}

impl Post {
    fn is_unread(&self) -> bool {
        self.visited == 0 || self.next.is_some()
    }

    pub(crate) fn is_put_off(&self) -> bool {
        self.put_off > 0
    }
}
