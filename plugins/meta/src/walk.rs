//! A list that grows at its front, walked to where the last walk began; a walk may take several polls.

use membrana_sdk::connector::Change;
use membrana_sdk::{Fault, Result, Timestamp, clock};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::graph::{Graph, Listed, Next};
use crate::shape::note;

/// Where a walk stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Walk {
    /// All up to here is known. Units: milliseconds since 1970.
    pub since: Timestamp,
    /// Where the walk under way goes on; none: it begins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    /// The newest of the walk under way.
    #[serde(default)]
    newest: Timestamp,
    /// The network did not go on from where a poll had ended: the walk is to begin anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_cut: bool,
    /// When the first page of the walk under way was asked for, by the network's clock. Units: milliseconds since 1970, whole seconds.
    #[serde(default)]
    begun: Timestamp,
    /// How far the last walk looked back, if it took several pages: what stood behind a page and moved to the front meanwhile was not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_since: Option<Timestamp>,
    /// When the first page of the last walk was asked for; 0: a cursor of before does not tell.
    #[serde(default)]
    last_begun: Timestamp,
}

impl Walk {
    /// From then on.
    pub fn since(since: Timestamp) -> Self {
        Self { since, ..Self::default() }
    }

    /// Says whether it is at its end: neither under way nor to begin anew.
    pub fn is_over(&self) -> bool {
        self.next.is_none() && !self.is_cut
    }

    /// What came to the front at `at` is read back to here: further where it may have moved while the last walk went on.
    pub fn back_to(&self, at: Option<Timestamp>) -> Timestamp {
        let may_have_moved = at.is_none_or(|at| at >= self.last_begun);
        self.last_since.filter(|_| may_have_moved).map_or(self.since, |last| last.min(self.since))
    }

    /// Says whether the last walk took several pages and looked back to `floor`: what moved meanwhile may have all its past before it.
    pub fn looks_back_to(&self, floor: Timestamp) -> bool {
        self.last_since.is_some_and(|last| last <= floor)
    }

    /// The page that it stands before; none where the network does not go on from there. The walk begins anew with the next poll then; cut a
    /// second time it ends with a gap, which is noted. Errors: as [`Graph::list`].
    pub fn page(&mut self, graph: &Graph, at: &[&str], query: &[(&str, &str)], changes: &mut Vec<Change>) -> Result<Option<Listed>> {
        let asked = clock::now();
        let page = graph.list(at, query, self.next.as_ref());
        if self.next.is_none() {
            // Its `Date` may be younger than what it shows, by as long as the answer took.
            let took = clock::now().saturating_sub(asked);
            self.begun = graph.answered_at().saturating_sub(took) / 1000 * 1000;
        }
        match page {
            Err(Fault::Permanent(detail)) if self.next.is_some() => {
                self.next = None;
                if self.is_cut {
                    let reason = "the network does not go on from where the last poll ended";
                    changes.push(note("gap", &json!({ "reason": reason, "list": at.last(), "since": self.since, "answer": detail.message })));
                    self.end(true);
                } else {
                    self.is_cut = true;
                }
                Ok(None)
            }
            page => page.map(Some),
        }
    }

    /// Goes over one page. It ends at the end of the list, or, where `stops_by_time`, after a page of nothing but what is known: one old
    /// thing that is pinned in front ends nothing, and an empty page neither.
    pub fn step(&mut self, page: &Listed, stops_by_time: bool, time: impl Fn(&Json) -> Option<Timestamp>) {
        let is_long = self.next.is_some();
        // A first page that reaches back to before the last walk holds all that moved meanwhile: the next one need not look back so far.
        let is_seen = page.items.iter().rev().find_map(&time).is_some_and(|last| last < self.last_begun);
        self.last_since = self.last_since.filter(|_| is_long || !is_seen);
        let of_page = page.items.iter().filter_map(&time).max();
        self.newest = self.newest.max(of_page.unwrap_or(0));
        let is_known = stops_by_time && of_page.is_some_and(|newest| newest <= self.since);
        self.next = page.next.clone().filter(|_| !is_known);
        if self.next.is_none() {
            self.end(is_long);
        }
    }

    fn end(&mut self, is_long: bool) {
        self.last_since = is_long.then(|| self.back_to(None));
        self.last_begun = self.begun;
        self.since = self.since.max(self.newest);
        (self.newest, self.is_cut) = (0, false);
    }
}
