//! A plugin's private state as one call sees it: what is stored, shared and never copied, and over it what the call changed.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// What a key costs beside its bytes. Units: bytes.
const KEY_COST: usize = 64;

/// A plugin's private state.
#[derive(Debug, Clone, Default)]
pub struct PluginState {
    stored: Arc<BTreeMap<String, Vec<u8>>>,
    changed: BTreeMap<String, Option<Vec<u8>>>,
    quota: usize,
    /// Summed at the first `set`, kept from there on.
    used: Option<usize>,
}

impl PluginState {
    /// `quota` in bytes over keys, values and 64 a key; 0: the call may only read.
    pub fn new(stored: impl Into<Arc<BTreeMap<String, Vec<u8>>>>, quota: usize) -> Self {
        Self { stored: stored.into(), changed: BTreeMap::new(), quota, used: None }
    }

    /// What a call wrote, for the next call to see.
    pub fn write(&mut self, changes: &[(String, Option<Vec<u8>>)]) {
        if changes.is_empty() {
            return;
        }
        let stored = Arc::make_mut(&mut self.stored);
        for (key, value) in changes {
            match value {
                Some(value) => stored.insert(key.clone(), value.clone()),
                None => stored.remove(key),
            };
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        match self.changed.get(key) {
            Some(changed) => changed.as_deref(),
            None => self.stored.get(key).map(Vec::as_slice),
        }
    }

    /// Errors: over the quota or read only, in words.
    pub(super) fn set(&mut self, key: String, value: Vec<u8>) -> Result<(), String> {
        if self.quota == 0 {
            return Err("this call may only read".to_owned());
        }
        let before = self.get(&key).map_or(0, |old| cost(&key, old));
        let used = self.used() - before + cost(&key, &value);
        if used > self.quota {
            return Err(format!("the quota of {} bytes is used up", self.quota));
        }
        self.used = Some(used);
        self.changed.insert(key, Some(value));
        Ok(())
    }

    /// What is not there, or a call that may only read: nothing happens.
    pub(super) fn delete(&mut self, key: String) {
        let Some(before) = self.get(&key).map(|old| cost(&key, old)).filter(|_| self.quota > 0) else { return };
        self.used = Some(self.used() - before);
        match self.stored.contains_key(&key) {
            true => self.changed.insert(key, None),
            false => self.changed.remove(&key),
        };
    }

    /// In order, after `after`, at most `limit`.
    pub(super) fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let from = match after.filter(|after| *after >= prefix) {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        let range = (from, Bound::Unbounded);
        let stored = self.stored.range::<str, _>(range).map(|(key, _)| key).take_while(|key| key.starts_with(prefix));
        let stored = stored.filter(|key| !self.changed.contains_key(*key)).take(limit);
        let changed = self.changed.range::<str, _>(range).take_while(|(key, _)| key.starts_with(prefix));
        let changed = changed.filter(|(_, value)| value.is_some()).map(|(key, _)| key).take(limit);
        let mut keys: Vec<String> = stored.chain(changed).cloned().collect();
        keys.sort_unstable();
        keys.truncate(limit);
        keys
    }

    /// Keys written (`Some`) and deleted (`None`).
    pub(super) fn into_changes(self) -> Vec<(String, Option<Vec<u8>>)> {
        self.changed.into_iter().collect()
    }

    fn used(&self) -> usize {
        self.used.unwrap_or_else(|| self.stored.iter().map(|(key, value)| cost(key, value)).sum())
    }
}

fn cost(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + KEY_COST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_sees_its_own_changes_and_the_stored_stay_as_they_are() {
        let stored: Arc<BTreeMap<_, _>> = Arc::new(["a:1", "a:2", "b:1"].map(|key| (key.to_owned(), vec![1])).into());
        let mut state = PluginState::new(Arc::clone(&stored), 1000);

        state.set("a:3".to_owned(), vec![2]).unwrap();
        state.set("a:0".to_owned(), vec![2]).unwrap();
        state.delete("a:1".to_owned());
        state.delete("a:0".to_owned());
        state.delete("never".to_owned());

        assert_eq!(state.keys("a:", None, 9), ["a:2", "a:3"]);
        assert_eq!(state.keys("a:", Some("a:2"), 9), ["a:3"]);
        assert_eq!(state.keys("", None, 2), ["a:2", "a:3"]);
        assert_eq!((state.get("a:1"), state.get("a:3")), (None, Some([2].as_slice())));
        assert_eq!(state.into_changes(), [("a:1".to_owned(), None), ("a:3".to_owned(), Some(vec![2]))]);
        assert_eq!(stored.len(), 3);
    }

    #[test]
    fn the_quota_counts_every_key_and_gives_back_what_is_deleted() {
        let mut state = PluginState::new(BTreeMap::new(), 2 * (KEY_COST + 2));
        state.set("a".to_owned(), vec![1]).unwrap();
        state.set("b".to_owned(), vec![1]).unwrap();
        assert!(state.set("c".to_owned(), vec![]).is_err(), "an empty value costs its key");
        state.set("a".to_owned(), vec![2]).unwrap();
        state.delete("b".to_owned());
        state.set("c".to_owned(), vec![]).unwrap();
        assert!(PluginState::new(BTreeMap::new(), 0).set("a".to_owned(), vec![]).is_err());
    }
}
