//! Statuses seen lately, looked at again: was one edited, or taken back? The youngest always, the older ones by lot, for
//! most edits and deletions come early. A second look is a favour: whatever goes wrong with it, the page goes on.

use std::collections::BTreeSet;

use membrana_sdk::connector::Change;
use membrana_sdk::json::{self, Object};
use membrana_sdk::{Fault, clock, log, state};
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::shapes::{Account, Status, interaction, native};
use crate::{Section, wire};

/// Statuses remembered; the oldest leave first.
const WATCHED_MAX: usize = 200;
/// The host takes 64 KiB a value.
const BYTES_MAX: usize = 48 << 10;
/// Looked at in one poll, and how many of them are the youngest.
const LOOKS: usize = 5;
const LOOKS_AT_YOUNGEST: usize = 2;
/// Nobody edits what is older. Units: milliseconds.
const AGE_MS_MAX: u64 = 14 * 86_400_000;

/// What is watched, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    statuses: Vec<One>,
    /// As it is in the state; what did not change is not written.
    stored: Vec<u8>,
    /// Units: ms since 1970.
    now: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct One {
    id: String,
    uri: String,
    edited: Option<String>,
    /// A file of it had no address yet.
    #[serde(default)]
    is_coming: bool,
    /// When it was told. Units: ms since 1970.
    #[serde(default)]
    seen: u64,
}

impl One {
    fn of(status: &Status, seen: u64) -> Self {
        Self { id: status.id.clone(), uri: status.uri.clone(), edited: status.edited_at.clone(), is_coming: status.is_coming(), seen }
    }

    /// Says whether the status is as it was told. The address of a remote file is none of that: it changes with the server's own cache.
    fn tells(&self, status: &Status) -> bool {
        self.id == status.id && self.edited == status.edited_at && (!self.is_coming || status.is_coming())
    }
}

impl Watched {
    /// What cannot be read is forgotten.
    pub(crate) fn read() -> Self {
        let stored = state::get("watched").unwrap_or_default();
        Self { statuses: serde_json::from_slice(&stored).unwrap_or_default(), stored, now: clock::now() }
    }

    /// Never fails: without it an edit is overlooked, no more.
    pub(crate) fn keep(&mut self) {
        self.settle();
        let bytes = json::newest_within(&mut self.statuses, BYTES_MAX);
        let is_same = bytes == self.stored || self.statuses.is_empty() && self.stored.is_empty();
        if !is_same && state::set("watched", &bytes).is_err() {
            log::warn("What was seen lately cannot be remembered; edits and deletions may be overlooked.");
        }
    }

    /// Says whether it is news: a status that is known as it is is none.
    pub(crate) fn add(&mut self, status: &Status) -> bool {
        let known = self.statuses.iter().rev().find(|one| one.id == status.id);
        let is_news = !known.is_some_and(|one| one.tells(status));
        if is_news {
            self.statuses.push(One::of(status, self.now));
        }
        is_news
    }

    /// Each once, as it was seen last, and no more than are watched.
    fn settle(&mut self) {
        let mut ids = BTreeSet::new();
        let mut newest: Vec<One> = self.statuses.drain(..).rev().filter(|one| ids.insert(one.id.clone())).take(WATCHED_MAX).collect();
        newest.reverse();
        self.statuses = newest;
    }

    /// What became of a few.
    pub(crate) fn look_again(&mut self, section: &Section, api: &Api, me: &Account) -> Vec<Change> {
        self.settle();
        let mut changes = Vec::new();
        let mut gone = Vec::new();
        for at in self.chosen() {
            if api.is_scarce() {
                break;
            }
            let Some(one) = self.statuses.get_mut(at) else { continue };
            match api.get_if_there::<Object<wire::Status>>(&format!("/api/v1/statuses/{}", one.id)) {
                Ok(None) => {
                    changes.push(Change::Gone(native(section, &one.uri, &one.id)));
                    gone.push(one.id.clone());
                }
                Ok(Some(sent)) => {
                    let edited = sent.0.and_then(Status::of).filter(|status| status.id == one.id && !one.tells(status));
                    if let Some(status) = edited {
                        *one = One::of(&status, one.seen);
                        changes.push(Change::Upsert(interaction(section, status, me)));
                    }
                }
                // What concerns the server or the token concerns the others too.
                Err(Fault::RateLimited(_) | Fault::Auth(_) | Fault::Config(_)) => break,
                Err(_) => {}
            }
        }
        self.statuses.retain(|one| !gone.contains(&one.id));
        changes
    }

    /// Places of the youngest, and of some older ones drawn by the clock, so that no turn must be remembered.
    fn chosen(&self) -> Vec<usize> {
        let now = self.now;
        let young = |one: &One| one.seen == 0 || now.saturating_sub(one.seen) <= AGE_MS_MAX;
        let mut places: Vec<usize> = self.statuses.iter().enumerate().filter(|(_, one)| young(one)).map(|(at, _)| at).rev().collect();
        let mut chosen: Vec<usize> = places.drain(..LOOKS_AT_YOUNGEST.min(places.len())).collect();
        let mut dice = now;
        while chosen.len() < LOOKS && !places.is_empty() {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(dice >> 33).unwrap_or(0) % places.len();
            chosen.push(places.swap_remove(at));
        }
        chosen
    }
}
