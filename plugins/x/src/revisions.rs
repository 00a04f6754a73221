//! Which version of an edited post is the newest that was seen. Pages and webhooks come in any order, and an old version that
//! comes late must not undo an edit; only posts that were edited are remembered.

use membrana_sdk::connector::Change;
use membrana_sdk::{log, state};
use std::cmp::Ordering;

use crate::ids::compare;
use crate::post::Post;

const KEY: &str = "revisions";
/// The oldest leave first; X allows edits for an hour.
const POSTS_MAX: usize = 500;

/// The original's id, and the newest version's.
#[derive(Debug, Default)]
pub(crate) struct Revisions {
    newest: Vec<(String, String)>,
    is_changed: bool,
}

impl Revisions {
    /// What cannot be read is forgotten.
    pub(crate) fn read() -> Self {
        let stored = state::get(KEY).and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { newest: stored.unwrap_or_default(), is_changed: false }
    }

    /// The post as news; none where a later version is known.
    pub(crate) fn taken(&mut self, post: Post) -> Option<Change> {
        let known = self.newest.iter_mut().find(|(first, _)| *first == post.first);
        if known.as_ref().is_some_and(|(_, newest)| compare(&post.id, newest) == Ordering::Less) {
            return None;
        }
        match known {
            Some((_, newest)) if *newest != post.id => {
                *newest = post.id;
                self.is_changed = true;
            }
            // Its history knows a later version that has not come yet: then this one is still worth having.
            None if post.id != post.first => {
                self.newest.push((post.first, post.id));
                self.is_changed = true;
            }
            _ => {}
        }
        Some(Change::Upsert(post.interaction))
    }

    /// Never fails: without it a late version may show again, no more.
    pub(crate) fn keep(mut self) {
        if !self.is_changed {
            return;
        }
        let n_over = self.newest.len().saturating_sub(POSTS_MAX);
        self.newest.drain(..n_over);
        let is_kept = serde_json::to_vec(&self.newest).is_ok_and(|bytes| state::set(KEY, &bytes).is_ok());
        if !is_kept {
            log::warn("Which posts were edited cannot be remembered; an old version that comes late may show again.");
        }
    }
}
