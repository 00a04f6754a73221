//! What was told lately, and how many answers the threads have that stand on top. A post that waited for a moderator keeps its
//! id, which lies below what is known by then, and its thread need not move: it is known by being missing here. Without this
//! it is overlooked, no more.

use std::collections::{BTreeMap, BTreeSet};

use membrana_sdk::{clock, log, state};
use serde::{Deserialize, Serialize};

use crate::shapes::Thread;

/// Posts remembered; the oldest leave first.
const POSTS_MAX: usize = 1_000;
/// Nobody waits longer for a moderator; what is missing and older was moved here, say. Units: milliseconds.
const AGE_MS_MAX: u64 = 7 * 86_400_000;

/// See the module.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Seen {
    /// Of what is not newer nothing is remembered; 0: from the first told on.
    from: u64,
    posts: BTreeSet<u64>,
    /// Answers by thread, of the first page of the list.
    threads: BTreeMap<u64, u64>,
    /// The last post of the lowest of them.
    lowest: u64,
    /// As it is in the state; what did not change is not written.
    #[serde(skip)]
    stored: Vec<u8>,
}

impl Seen {
    /// What cannot be read is forgotten.
    pub(crate) fn read() -> Self {
        let stored = state::get("seen").unwrap_or_default();
        let seen: Self = serde_json::from_slice(&stored).unwrap_or_default();
        Self { stored, ..seen }
    }

    /// Of a forum whose posts up to this one are not told.
    pub(crate) fn begin(from: u64) -> Self {
        Self { from, ..Self::default() }
    }

    pub(crate) fn keep(&self) {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        if bytes != self.stored && state::set("seen", &bytes).is_err() {
            log::warn("What was told lately cannot be remembered; posts that waited for a moderator may be overlooked.");
        }
    }

    /// Says whether it is new.
    pub(crate) fn add(&mut self, post: u64) -> bool {
        let is_new = post > self.from && self.posts.insert(post);
        if self.posts.len() > POSTS_MAX {
            self.from = self.posts.pop_first().unwrap_or(0);
        }
        is_new
    }

    /// One between those that were told, that was not.
    pub(crate) fn is_missing(&self, post: u64) -> bool {
        let from = Some(self.from).filter(|from| *from > 0).or_else(|| self.posts.first().copied());
        from.is_some_and(|from| post > from) && !self.posts.contains(&post)
    }

    /// Says whether what was posted then may have waited until now.
    pub(crate) fn may_have_waited(posted: Option<u64>) -> bool {
        posted.is_some_and(|posted| posted.saturating_add(AGE_MS_MAX) > clock::now())
    }

    /// By how many posts each thread of the list's first page grew since the last look. One that nobody saw, but stands where it would
    /// have been seen, is all new, unless it stands there for a post after `known`.
    pub(crate) fn grown(&mut self, threads: &[Thread], known: u64) -> BTreeMap<u64, u64> {
        let by = |thread: &Thread| match self.threads.get(&thread.id) {
            Some(replies) => thread.replies.saturating_sub(*replies),
            None if !self.threads.is_empty() && thread.last_post > self.lowest && thread.last_post <= known => thread.replies.saturating_add(1),
            None => 0,
        };
        let grown = threads.iter().map(|thread| (thread.id, by(thread))).filter(|(_, by)| *by > 0).collect();
        self.threads = threads.iter().map(|thread| (thread.id, thread.replies)).collect();
        self.lowest = threads.iter().filter(|thread| !thread.is_pinned).map(|thread| thread.last_post).min().unwrap_or(0);
        grown
    }
}
