//! Posts seen lately, asked for again by their ids, up to a hundred in one call: which of them are gone? Whoever polls is told of
//! no deletion, and X's terms want what was deleted to go. Each post that is read again may cost, so an admin asks for this.

use membrana_sdk::connector::{Change, Ours};
use membrana_sdk::{Fault, clock, log, state};
use serde::{Deserialize, Serialize};

use crate::api::{Api, Who};
use crate::post::native;
use crate::shapes::{WORD_BYTES_MAX, id, list, text};

const KEY: &str = "watched";
/// X takes so many ids at once; the oldest leave first.
const POSTS_MAX: usize = 100;
/// Units: milliseconds.
const PACE_MS: u64 = 3_600_000;

/// What is watched, oldest first.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Watched {
    ids: Vec<String>,
    /// When they were asked for. Units: ms since 1970.
    at: u64,
}

impl Watched {
    /// Adds what a page brought, and tells what has gone since, once an hour. A favour: whatever goes wrong with it, the page
    /// goes on.
    pub(crate) fn after(changes: &[Change], may_ask: bool, api: &Api) -> Vec<Change> {
        let stored: Self = state::get(KEY).and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let mut watched = stored.clone();
        watched.add(changes);
        let is_due = may_ask && !watched.ids.is_empty() && clock::now().saturating_sub(watched.at) >= PACE_MS;
        let gone = if is_due { watched.gone(api) } else { Vec::new() };
        let is_kept = watched == stored || serde_json::to_vec(&watched).is_ok_and(|bytes| state::set(KEY, &bytes).is_ok());
        if !is_kept {
            log::warn("What was seen lately cannot be remembered; deletions may be overlooked.");
        }
        gone
    }

    fn add(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::Upsert(about) = change
                && about.ours == Ours::No
                && !self.ids.contains(&about.native.id)
            {
                self.ids.push(about.native.id.clone());
            }
        }
        let n_over = self.ids.len().saturating_sub(POSTS_MAX);
        self.ids.drain(..n_over);
    }

    /// Those that X does not find any more. One that it does not show to us is not gone.
    fn gone(&mut self, api: &Api) -> Vec<Change> {
        let answer = match api.get(Who::App, &format!("/2/tweets?ids={}", self.ids.join(","))) {
            Ok(answer) => answer,
            Err(fault) => {
                if !matches!(fault, Fault::RateLimited(_)) {
                    log::warn("Posts seen lately could not be looked at again; will try later.");
                }
                return Vec::new();
            }
        };
        self.at = clock::now();
        let missing = list(&answer, "errors").iter().filter(|error| {
            text(error, "parameter", WORD_BYTES_MAX) == Some("ids")
                && text(error, "type", 256).is_some_and(|kind| kind.ends_with("/resource-not-found"))
        });
        let missing: Vec<String> = missing.filter_map(|error| id(error, "resource_id")).filter(|id| self.ids.contains(id)).collect();
        self.ids.retain(|id| !missing.contains(id));
        missing.iter().map(|id| Change::Gone(native(id))).collect()
    }
}
