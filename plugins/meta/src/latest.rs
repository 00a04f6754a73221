//! Deliveries keep no order: what was edited or removed lately, so that an older word about it does not undo that.

use membrana_sdk::json;
use membrana_sdk::{Timestamp, log, state};
use serde::{Deserialize, Serialize};

/// Things remembered; the oldest leave first.
const KEPT_MAX: usize = 300;
/// The host takes 64 KiB a value.
const BYTES_MAX: usize = 48 << 10;
const KEY: &str = "latest";

/// See the module.
#[derive(Debug, Default)]
pub struct Latest {
    things: Vec<Thing>,
    has_changed: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Thing {
    id: String,
    at: Timestamp,
    #[serde(default)]
    is_gone: bool,
}

impl Latest {
    /// What cannot be read is forgotten.
    pub fn read() -> Self {
        let things = state::get(KEY).and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { things, has_changed: false }
    }

    /// Says whether something later is known of it: then this word of `at` is none any more.
    pub fn is_overtaken(&self, id: &str, at: Timestamp) -> bool {
        self.things.iter().any(|thing| thing.id == id && (thing.is_gone && thing.at >= at || thing.at > at))
    }

    /// It was edited, or removed, then.
    pub fn note(&mut self, id: &str, at: Timestamp, is_gone: bool) {
        self.things.retain(|thing| thing.id != id);
        self.things.push(Thing { id: id.to_owned(), at, is_gone });
        let n_over = self.things.len().saturating_sub(KEPT_MAX);
        self.things.drain(..n_over);
        self.has_changed = true;
    }

    /// Never fails: without it an edit may be undone by what came late, no more.
    pub fn keep(&mut self) {
        if !self.has_changed {
            return;
        }
        let bytes = json::newest_within(&mut self.things, BYTES_MAX);
        if state::set(KEY, &bytes).is_err() {
            log::warn("What was edited lately cannot be remembered; an old delivery may undo an edit.");
        }
    }
}
