//! What is counted of a channel since ever: kinds of payloads that its connector does not know, and gaps.
//!
//! A gap is *filled* where a poll was the first to bring what a webhook should have brought: something new that others said, of a kind
//! that webhooks of the channel brought before, said after what they brought first, and longer ago than [`WEBHOOK_WAIT_MS`]. Looks that
//! come more often than that find none. A gap is *lost* where the connector notes that it cannot reach back. The intake counts, in
//! the commit that brings what is counted. Bounded by [`WORDS_MAX`] words of each sort.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Interaction, Timestamp};

/// The note of a payload whose kind the connector does not know: `{"kind": …}`.
const UNKNOWN_KIND: &str = "unknown-kind";
/// The note of a stretch that the connector cannot reach: `{"reason": …}`.
const GAP: &str = "gap";
/// Whatever a webhook has not brought by then is late. Units: milliseconds.
const WEBHOOK_WAIT_MS: u64 = 10_000;
/// Further ones are counted together, under [`OTHERS`].
const WORDS_MAX: usize = 32;
/// Units: bytes.
const WORD_BYTES_MAX: usize = 128;
const OTHERS: &str = "others";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// By kind, as the connector calls it.
    pub unknown: BTreeMap<String, Count>,
    /// By reason, as the connector tells it.
    pub lost: BTreeMap<String, Count>,
    /// Things that a poll brought in a webhook's place.
    pub filled: Option<Count>,
    /// Of which kinds webhooks bring interactions, and when the first of each was said.
    pub pushed: BTreeMap<String, Timestamp>,
}

/// How often, and when last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// At least 1.
    pub times: u64,
    /// When it was committed.
    pub last: Timestamp,
}

impl Tally {
    /// Counts a note, where it is one of those that count.
    pub fn note(&mut self, kind: &str, json: &str, at: Timestamp) {
        let (counts, key) = match kind {
            UNKNOWN_KIND => (&mut self.unknown, "kind"),
            GAP => (&mut self.lost, "reason"),
            _ => return,
        };
        let body: Json = serde_json::from_str(json).unwrap_or_default();
        let word = body.get(key).and_then(Json::as_str).filter(|word| !word.is_empty()).unwrap_or(OTHERS);
        let word = word.get(..word.floor_char_boundary(WORD_BYTES_MAX)).unwrap_or(OTHERS);
        let is_full = counts.len() >= WORDS_MAX && !counts.contains_key(word);
        let word = if is_full { OTHERS } else { word };
        counts.entry(word.to_owned()).and_modify(|count| count.rise(at)).or_insert(Count { times: 1, last: at });
    }

    /// A webhook brought this.
    pub fn push(&mut self, about: &Interaction) {
        let is_room = self.pushed.len() < WORDS_MAX && about.kind.len() <= WORD_BYTES_MAX;
        if is_room && !about.is_ours() && !self.pushed.contains_key(&about.kind) {
            self.pushed.insert(about.kind.clone(), about.occurred);
        }
    }

    /// Whether webhooks bring this kind, too: what one of the two leaves out need not be gone.
    pub fn has_pushed(&self, kind: &str) -> bool {
        self.pushed.contains_key(kind) || self.pushed.len() >= WORDS_MAX || kind.len() > WORD_BYTES_MAX
    }

    /// A poll brought this, which is new and no history: counts it where a webhook should have been first.
    pub fn poll(&mut self, about: &Interaction, at: Timestamp) {
        let is_covered = self.pushed.get(&about.kind).is_some_and(|first| *first <= about.occurred);
        if is_covered && !about.is_ours() && at.since_ms(about.occurred) >= WEBHOOK_WAIT_MS {
            self.filled.get_or_insert(Count { times: 0, last: at }).rise(at);
        }
    }
}

impl Count {
    fn rise(&mut self, at: Timestamp) {
        *self = Self { times: self.times.saturating_add(1), last: at };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(1_790_000_000_000);

    fn times(counts: &BTreeMap<String, Count>) -> Vec<(&str, u64)> {
        counts.iter().map(|(word, count)| (word.as_str(), count.times)).collect()
    }

    #[test]
    fn notes_are_counted_by_their_word_and_others_not_at_all() {
        let mut tally = Tally::default();
        for (kind, json) in [
            (UNKNOWN_KIND, r#"{"kind":"hologram"}"#),
            (UNKNOWN_KIND, r#"{"kind":"hologram","more":1}"#),
            (UNKNOWN_KIND, "{}"),
            (GAP, r#"{"reason":"too long ago"}"#),
            ("delivery", r#"{"kind":"hologram"}"#),
        ] {
            tally.note(kind, json, AT);
        }
        assert_eq!(times(&tally.unknown), [("hologram", 2), (OTHERS, 1)]);
        assert_eq!(times(&tally.lost), [("too long ago", 1)]);
    }

    #[test]
    fn a_flood_of_kinds_stays_bounded_and_none_is_lost_from_the_count() {
        let mut tally = Tally::default();
        for n in 0..1000 {
            tally.note(UNKNOWN_KIND, &format!(r#"{{"kind":"{n}{}"}}"#, "è".repeat(500)), AT);
        }
        assert_eq!(tally.unknown.len(), WORDS_MAX + 1);
        assert_eq!(tally.unknown.values().map(|count| count.times).sum::<u64>(), 1000);
        assert!(tally.unknown.keys().all(|kind| kind.len() <= WORD_BYTES_MAX));
    }
}
