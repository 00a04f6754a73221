//! Posts and media whose comments are read: the newest are remembered, and older ones until they were read.

use membrana_sdk::connector::Change;
use membrana_sdk::{json, log, state};
use serde::Serialize;

use crate::shape::note;

/// The host takes 64 KiB a value.
const BYTES_MAX: usize = 60 << 10;

/// How many are remembered.
pub struct Bounds {
    /// Of all, the newest.
    pub newest_max: usize,
    /// Of older ones, those that wait to be read.
    pub older_max: usize,
}

/// Remembers them under `key`, where `stored` is now. Gives the gap where some are forgotten that wait to be read. Shape: oldest first.
/// Never fails: without it comments may be overlooked, no more.
pub fn keep<T: Serialize>(key: &str, all: &mut Vec<T>, stored: &[u8], bounds: &Bounds, waits: impl Fn(&T) -> bool) -> Option<Change> {
    let n_waiting = |all: &[T]| all.iter().filter(|one| waits(one)).count();
    let n_before = n_waiting(all);
    forget_read(all, bounds, &waits);
    let bytes = json::newest_within(all, BYTES_MAX);
    if bytes != stored && state::set(key, &bytes).is_err() {
        log::warn(format!("The {key} whose comments are read cannot be remembered; comments may be overlooked."));
    }
    let n_lost = n_before.saturating_sub(n_waiting(all));
    let reason = format!("more {key} wait to be read than can be remembered: the comments of the oldest are given up");
    (n_lost > 0).then(|| note("gap", &serde_json::json!({ "reason": reason, key: n_lost })))
}

/// Who tells whether a refusal is of one thing or of all of its kind: of those that were read before, where there are any, the first, one
/// amid them and the last, for neighbours are often alike. Shape: ids, each with whether it was read.
pub fn witnesses(mut others: Vec<(&str, bool)>) -> Vec<String> {
    if others.iter().any(|(_, was_read)| *was_read) {
        others.retain(|(_, was_read)| *was_read);
    }
    let mut places = vec![0, others.len() / 2, others.len().saturating_sub(1)];
    places.dedup();
    places.into_iter().filter_map(|place| others.get(place)).map(|(id, _)| (*id).to_owned()).collect()
}

fn forget_read<T>(all: &mut Vec<T>, bounds: &Bounds, waits: impl Fn(&T) -> bool) {
    let mut n_older = all.len().saturating_sub(bounds.newest_max);
    all.retain(|one| {
        let is_newest = n_older == 0;
        n_older = n_older.saturating_sub(1);
        is_newest || waits(one)
    });
    let n_over = all.len().saturating_sub(bounds.newest_max + bounds.older_max);
    all.drain(..n_over);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn witnesses_stand_apart_and_were_read_where_any_was() {
        let asked = |others: &[(&'static str, bool)]| witnesses(others.to_vec());
        assert!(asked(&[]).is_empty());
        assert_eq!(asked(&[("a", false)]), ["a"]);
        assert_eq!(asked(&[("a", false), ("b", false)]), ["a", "b"]);
        assert_eq!(asked(&[("a", false), ("b", false), ("c", false), ("d", false), ("e", false)]), ["a", "c", "e"]);
        assert_eq!(asked(&[("a", false), ("b", true), ("c", true), ("d", false)]), ["b", "c"]);
    }
}
