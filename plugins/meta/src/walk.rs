//! A list that grows at its front, walked to where the last walk began; a walk may take several polls.

use membrana_sdk::Timestamp;
use serde::{Deserialize, Serialize};

use crate::graph::{Listed, Next};

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
}

impl Walk {
    /// From then on.
    pub fn since(since: Timestamp) -> Self {
        Self { since, ..Self::default() }
    }

    /// Goes over one page. It ends at the end of the list, or, where `stops_by_time`, after a page of nothing but what is known: one old
    /// thing that is pinned in front ends nothing, and an empty page neither.
    pub fn step(&mut self, page: &Listed, stops_by_time: bool, time: impl Fn(&serde_json::Value) -> Option<Timestamp>) {
        let of_page = page.items.iter().filter_map(time).max();
        self.newest = self.newest.max(of_page.unwrap_or(0));
        let is_known = stops_by_time && of_page.is_some_and(|newest| newest <= self.since);
        self.next = page.next.clone().filter(|_| !is_known);
        if self.next.is_none() {
            self.since = self.since.max(self.newest);
            self.newest = 0;
        }
    }
}
