//! Things seen lately, looked at again: was one edited, or taken back? The youngest always, others by lot, for most edits and
//! deletions come early. A second look is a favour: whatever goes wrong with it, the page goes on.

use membrana_sdk::connector::{Change, Interaction};
use membrana_sdk::json;
use membrana_sdk::{Fault, Result, Timestamp, clock, log, state};
use serde::{Deserialize, Serialize};

use crate::faults::is_refused;
use crate::graph::Graph;
use crate::shape::thing;

const WATCHED_MAX: usize = 200;
/// The host takes 64 KiB a value.
const BYTES_MAX: usize = 48 << 10;
const LOOKS: usize = 4;
const LOOKS_AT_YOUNGEST: usize = 2;
/// Nobody edits what is older. Units: milliseconds.
const AGE_MS_MAX: u64 = 14 * 86_400_000;
/// No look is begun with less time. Units: milliseconds.
const TIME_LEFT_MS: u64 = 8_000;
const KEY: &str = "watched";

/// What a look found.
pub enum Look {
    /// It is no more.
    Gone,
    /// As it is now.
    There(Box<Interaction>),
    /// Nothing that can be told.
    Nothing,
}

/// What is watched, oldest first.
#[derive(Debug, Default)]
pub struct Watched {
    things: Vec<One>,
    has_changed: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct One {
    id: String,
    at: Timestamp,
    /// What its text comes down to.
    seal: u64,
}

impl Watched {
    /// What cannot be read is forgotten.
    pub fn read() -> Self {
        let things = state::get(KEY).and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { things, has_changed: false }
    }

    /// Watches what was said. Says whether it is news: a thing known with the same text is none.
    pub fn add(&mut self, about: &Interaction) -> bool {
        let (id, seal) = (about.native.id.as_str(), seal(&about.text));
        if let Some(known) = self.things.iter_mut().find(|one| one.id == id) {
            let is_news = known.seal != seal;
            known.seal = seal;
            self.has_changed |= is_news;
            return is_news;
        }
        self.things.push(One { id: id.to_owned(), at: about.occurred, seal });
        let n_over = self.things.len().saturating_sub(WATCHED_MAX);
        self.things.drain(..n_over);
        self.has_changed = true;
        true
    }

    /// Says whether it is watched.
    pub fn knows(&self, id: &str) -> bool {
        self.things.iter().any(|one| one.id == id)
    }

    /// Never fails: without it an edit is overlooked, no more.
    pub fn keep(&mut self) {
        if !self.has_changed {
            return;
        }
        let bytes = json::newest_within(&mut self.things, BYTES_MAX);
        if state::set(KEY, &bytes).is_err() {
            log::warn("What was seen lately cannot be remembered; edits and deletions may be overlooked.");
        }
    }

    /// What became of a few.
    pub fn look_again(&mut self, graph: &Graph, look: impl Fn(&str) -> Result<Look>) -> Vec<Change> {
        let (mut changes, mut gone) = (Vec::new(), Vec::new());
        for id in self.chosen() {
            if clock::remaining_ms() < TIME_LEFT_MS || graph.is_scarce() {
                break;
            }
            match look(&id) {
                Ok(Look::Gone) => {
                    changes.push(Change::Gone(thing(id.as_str())));
                    gone.push(id);
                }
                Ok(Look::There(now)) => {
                    if self.add(&now) {
                        changes.push(Change::Upsert(*now));
                    }
                }
                // What concerns the network or the token concerns the others too.
                Err(fault @ (Fault::RateLimited(_) | Fault::Auth(_) | Fault::Config(_))) if !is_refused(&fault) => break,
                Ok(Look::Nothing) | Err(_) => {}
            }
        }
        self.has_changed |= !gone.is_empty();
        self.things.retain(|one| !gone.contains(&one.id));
        changes
    }

    fn chosen(&self) -> Vec<String> {
        let now = clock::now();
        let young = self.things.iter().filter(|one| now.saturating_sub(one.at) <= AGE_MS_MAX);
        let mut ids: Vec<&str> = young.map(|one| one.id.as_str()).rev().collect();
        let mut chosen: Vec<&str> = ids.drain(..LOOKS_AT_YOUNGEST.min(ids.len())).collect();
        let mut dice = now;
        while chosen.len() < LOOKS && !ids.is_empty() {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            chosen.push(ids.swap_remove(usize::try_from(dice >> 33).unwrap_or(0) % ids.len()));
        }
        chosen.into_iter().map(str::to_owned).collect()
    }
}

/// Source: FNV-1a.
fn seal(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
