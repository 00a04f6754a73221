//! Media whose comments are read. The number of comments tells what changed; what it does not tell, a visit in turn does.

use membrana_meta::graph::Next;
use membrana_meta::remembered::{self, Bounds};
use membrana_sdk::connector::Change;
use membrana_sdk::{Timestamp, clock, state};
use serde::{Deserialize, Serialize};

/// Older ones that wait to be read: a page of the list, and those whose comments cannot be read.
const BOUNDS: Bounds = Bounds { newest_max: 200, older_max: 100 };
/// So many may wait whose comments cannot be read.
const PUT_OFF_MAX: usize = 20;
const KEY: &str = "media";

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Medium {
    pub(crate) id: String,
    /// When it was published; 0: a state of before does not tell. Units: milliseconds since 1970.
    #[serde(default)]
    at: Timestamp,
    /// As the account's list said last, and as it was when its comments were read.
    pub(crate) count: u64,
    pub(crate) count_read: u64,
    /// The newest comment of all visits before. Units: milliseconds since 1970.
    pub(crate) newest: Timestamp,
    /// Of the visit under way.
    #[serde(default)]
    pub(crate) newest_now: Timestamp,
    #[serde(default)]
    pub(crate) n_found: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<Next>,
    /// When it was read; 0: never yet.
    pub(crate) visited: Timestamp,
    /// When its comments could not be read; 0: they could.
    #[serde(default)]
    put_off: Timestamp,
    /// No comment of before is told: they were given up. Units: milliseconds since 1970.
    #[serde(default)]
    pub(crate) floor: Timestamp,
    /// They may not be read, which was told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_refused: bool,
}

impl Medium {
    pub(crate) fn new(id: String, count: u64, count_read: u64, newest: Timestamp, visited: Timestamp) -> Self {
        Self { id, at: 0, count, count_read, newest, newest_now: 0, n_found: 0, next: None, visited, put_off: 0, floor: 0, is_refused: false }
    }

    pub(crate) fn published_at(self, at: Timestamp) -> Self {
        Self { at, ..self }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.visited == 0 || self.next.is_some() || self.count != self.count_read
    }

    /// Comments come newest first: the visit ends at the end, or where all that is new was found and what follows is known.
    pub(crate) fn has_all(&self, oldest_of_page: Option<Timestamp>) -> bool {
        let is_known = oldest_of_page.is_some_and(|oldest| oldest <= self.newest);
        is_known && self.n_found >= self.count.saturating_sub(self.count_read)
    }

    pub(crate) fn end(&mut self) {
        self.newest = self.newest.max(self.newest_now);
        self.begin();
        (self.count_read, self.visited) = (self.count, clock::now().max(1));
    }

    /// Its comments could not be read the last time.
    pub(crate) fn is_put_off(&self) -> bool {
        self.put_off > 0
    }

    /// To be read from the beginning.
    fn begin(&mut self) {
        (self.newest_now, self.n_found, self.next) = (0, 0, None);
    }
}

/// See the module; oldest first.
#[derive(Debug, Default)]
pub(crate) struct Media {
    media: Vec<Medium>,
    stored: Vec<u8>,
}

impl Media {
    /// What cannot be read is forgotten.
    pub(crate) fn read() -> Self {
        let stored = state::get(KEY).unwrap_or_default();
        Self { media: serde_json::from_slice(&stored).unwrap_or_default(), stored }
    }

    /// Gives the gap where some are forgotten that wait to be read.
    pub(crate) fn keep(&mut self) -> Option<Change> {
        remembered::keep(KEY, &mut self.media, &self.stored, &BOUNDS, |medium| medium.is_due() && !medium.is_refused)
    }

    /// Says whether it is new; of a known one the count is taken.
    pub(crate) fn add(&mut self, medium: Medium) -> bool {
        if let Some(known) = self.media.iter_mut().find(|known| known.id == medium.id) {
            known.count = medium.count;
            return false;
        }
        // An import goes back in time: what comes later may be older.
        let place = self.media.partition_point(|known| known.at <= medium.at);
        self.media.insert(place, medium);
        true
    }

    /// It was read, to its end or to its next page.
    pub(crate) fn put(&mut self, medium: Medium) {
        if let Some(known) = self.media.iter_mut().find(|known| known.id == medium.id) {
            *known = Medium { put_off: 0, is_refused: false, ..medium };
        }
    }

    /// Its comments cannot be read now. It waits for its turn, to be read from the beginning; where too many do, it says no.
    pub(crate) fn put_off(&mut self, id: &str) -> bool {
        let n_others = self.media.iter().filter(|medium| medium.is_put_off() && !medium.is_refused && medium.id != id).count();
        if n_others >= PUT_OFF_MAX {
            return false;
        }
        if let Some(known) = self.media.iter_mut().find(|known| known.id == id) {
            known.begin();
            known.put_off = clock::now().max(1);
        }
        true
    }

    /// Its comments may not be read; those up to `given_up` will not be. It is tried again in its turn. Says whether that is news.
    pub(crate) fn refuse(&mut self, id: &str, given_up: Timestamp) -> bool {
        let Some(known) = self.media.iter_mut().find(|known| known.id == id) else { return false };
        known.floor = known.floor.max(given_up);
        known.begin();
        (known.count_read, known.visited, known.put_off) = (known.count, known.visited.max(1), clock::now().max(1));
        !std::mem::replace(&mut known.is_refused, true)
    }

    /// Others whose comments can be read as far as is known, to be asked for theirs.
    pub(crate) fn others(&self, id: &str) -> Vec<String> {
        let others = self.media.iter().rev().filter(|other| other.id != id && !other.is_put_off());
        remembered::witnesses(others.map(|other| (other.id.as_str(), other.visited > 0)).collect())
    }

    pub(crate) fn remove(&mut self, id: &str) {
        self.media.retain(|medium| medium.id != id);
    }

    /// Its comments up to `at` are given up.
    pub(crate) fn skip(&mut self, id: &str, at: Timestamp) {
        if let Some(known) = self.media.iter_mut().find(|known| known.id == id) {
            let skipped = Medium::new(id.to_owned(), known.count, known.count, at, at.max(1)).published_at(known.at);
            *known = Medium { floor: at, ..skipped };
        }
    }

    /// It is to be read before all else.
    pub(crate) fn make_due(&mut self, id: &str) {
        if let Some(known) = self.media.iter_mut().find(|known| known.id == id) {
            (known.visited, known.put_off) = (0, 0);
        }
    }

    /// One that is to be read before all else.
    pub(crate) fn next_due(&self) -> Option<Medium> {
        self.media.iter().find(|medium| medium.is_due() && !medium.is_put_off()).cloned()
    }

    /// Not visited for longest.
    pub(crate) fn turn(&self, n_media: usize) -> Vec<Medium> {
        let mut all: Vec<&Medium> = self.media.iter().collect();
        all.sort_by_key(|medium| medium.visited.max(medium.put_off));
        all.into_iter().take(n_media).cloned().collect()
    }
}
