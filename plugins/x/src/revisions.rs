//! Which version of an edited post is the newest that was seen, and which posts were deleted. Pages and webhooks come in any order, and an
//! old version that comes late must not undo an edit or a deletion; only posts that were edited or deleted are remembered.

use membrana_sdk::connector::Change;
use membrana_sdk::{log, state};
use std::cmp::Ordering;

use crate::ids::compare;
use crate::post::Post;

const KEY: &str = "revisions";
const GONE_KEY: &str = "deleted";
/// The oldest leave first; X allows edits for an hour.
const POSTS_MAX: usize = 500;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Revisions {
    /// The original's id, and the newest version's.
    newest: Vec<(String, String)>,
    /// As the deletion named them.
    gone: Vec<String>,
    is_changed: bool,
}

impl Revisions {
    /// What cannot be read is forgotten.
    pub(crate) fn read() -> Self {
        let newest = state::get(KEY).and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let gone = state::get(GONE_KEY).and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { newest, gone, is_changed: false }
    }

    /// It was deleted, perhaps before it came.
    pub(crate) fn note_gone(&mut self, id: &str) {
        if !self.gone.iter().any(|gone| gone == id) {
            self.gone.push(id.to_owned());
            self.is_changed = true;
        }
    }

    /// The post as news; none where a later version is known, or it was deleted.
    pub(crate) fn taken(&mut self, post: Post) -> Option<Change> {
        if self.gone.iter().any(|gone| [&post.id, &post.first].contains(&gone)) {
            return None;
        }
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
        self.newest.drain(..self.newest.len().saturating_sub(POSTS_MAX));
        self.gone.drain(..self.gone.len().saturating_sub(POSTS_MAX));
        let is_set = |key: &str, bytes: serde_json::Result<Vec<u8>>| bytes.is_ok_and(|bytes| state::set(key, &bytes).is_ok());
        if !is_set(KEY, serde_json::to_vec(&self.newest)) || !is_set(GONE_KEY, serde_json::to_vec(&self.gone)) {
            log::warn("Which posts were edited or deleted cannot be remembered; an old version that comes late may show again.");
        }
    }
}
