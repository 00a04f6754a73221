//! Values on disk: a checksum each, at most 4 KiB each, larger ones cut into parts under one key.
//!
//! sled 0.34 loses values over that size in a power cut: twenty of them in one leaf become a file that it never syncs.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::error;

use crate::store::StoreError;

use super::keys::{self, Key};
use super::space::Space;

/// What an admin does about damage.
const CURE: &str = "`membrana verify` lists all that is damaged; stop the host, and `membrana restore BACKUP` puts a backup in its place";

/// Units: bytes, checksum and all.
pub(super) const VALUE_MAX: usize = 4096;
const PART_MAX: usize = VALUE_MAX - 64;
/// Index of a part, after the key.
const PART_INDEX: usize = 2;

/// The tree, and how values lie in it.
#[derive(Clone)]
pub(super) struct Disk {
    pub(super) tree: sled::Tree,
    pub(super) space: Arc<Space>,
    broken: Arc<OnceLock<String>>,
}

/// Changes to be applied at once.
#[derive(Default)]
pub(super) struct Writes {
    /// The new value; none where the record goes.
    by_key: HashMap<Key, Option<Vec<u8>>>,
    /// Of what is put; nothing where records are only removed.
    bytes: usize,
}

fn damaged(what: String) -> StoreError {
    StoreError::Damaged { what, cure: CURE.to_owned() }
}

/// sled's error in our words.
pub(super) fn failed(step: &'static str) -> impl Fn(sled::Error) -> StoreError {
    move |error| match error {
        sled::Error::Io(source) => StoreError::Io { step, source },
        sled::Error::Corruption { at, .. } => {
            let place = at.map(|at| format!(" at {at:?}")).unwrap_or_default();
            damaged(format!("sled found a damaged page{place} ({step})"))
        }
        other => StoreError::damaged(other.to_string()),
    }
}

fn part_key(key: &[u8], index: u16) -> Key {
    let mut full = Vec::with_capacity(key.len() + PART_INDEX);
    full.extend_from_slice(key);
    full.extend_from_slice(&index.to_be_bytes());
    full
}

fn sealed(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    let mut value = Vec::with_capacity(body.len() + 4);
    value.extend_from_slice(&hasher.finalize().to_le_bytes());
    value.extend_from_slice(body);
    debug_assert!(value.len() <= VALUE_MAX, "a value of {} bytes", value.len());
    value
}

/// As it is written in front of a value, be it right or not.
pub(super) fn checksum(value: &[u8]) -> u32 {
    value.first_chunk().map_or(0, |crc| u32::from_le_bytes(*crc))
}

/// The body of a value whose checksum is right.
pub(super) fn opened<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let wrong = || damaged(format!("{} has a wrong checksum", keys::words(key)));
    let (crc, body) = value.split_at_checked(4).ok_or_else(wrong)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    if crc == hasher.finalize().to_le_bytes() { Ok(body) } else { Err(wrong()) }
}

impl Writes {
    /// A value of at most 4 KiB, alone under its key.
    pub(super) fn put(&mut self, key: Key, body: &[u8]) {
        let value = sealed(&key, body);
        self.insert(key, value);
    }

    /// As [`Writes::put`], of what must also be written where there is no room: it replaces what is as small.
    pub(super) fn put_beside(&mut self, key: Key, body: &[u8]) {
        let value = sealed(&key, body);
        self.by_key.insert(key, Some(value));
    }

    fn insert(&mut self, key: Key, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.by_key.insert(key, Some(value));
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.by_key.insert(key, None);
    }

    /// As it will lie in the tree; none where it goes, or is not of these.
    pub(super) fn value(&self, key: &Key) -> Option<Vec<u8>> {
        self.by_key.get(key).cloned().flatten()
    }

    /// As they will lie in the tree.
    pub(super) fn into_records(self) -> Vec<(Key, Option<Vec<u8>>)> {
        self.by_key.into_iter().collect()
    }

    /// A value of any size, in parts. `n_before` is how many parts it had; gives how many it has now.
    pub(super) fn put_parts(&mut self, key: &[u8], body: &[u8], n_before: u16) -> u16 {
        let n_parts = u16::try_from(body.len().div_ceil(PART_MAX).max(1)).unwrap_or(u16::MAX);
        for index in 0..n_parts {
            let from = usize::from(index) * PART_MAX;
            let part = body.get(from..body.len().min(from + PART_MAX)).unwrap_or_default();
            let full = part_key(key, index);
            let head = if index == 0 { n_parts.to_le_bytes().to_vec() } else { Vec::new() };
            let value = sealed(&full, &[&head, part].concat());
            self.insert(full, value);
        }
        for index in n_parts..n_before {
            self.remove(part_key(key, index));
        }
        n_parts
    }

    pub(super) fn remove_parts(&mut self, key: &[u8], n_before: u16) {
        for index in 0..n_before {
            self.remove(part_key(key, index));
        }
    }
}

/// Encodes a record.
pub(super) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_stdvec(record).map_err(|error| StoreError::damaged(format!("a record cannot be written: {error}")))
}

/// Decodes a record; `key` is named where it cannot be.
pub(super) fn decode<T: DeserializeOwned>(key: &[u8], body: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(body).map_err(|error| damaged(format!("{} cannot be read: {error}", keys::words(key))))
}

/// A key, and the checksums of what was and of what will be under it.
pub(super) type Change<'w> = (&'w Key, Option<u32>, Option<u32>);

/// A record of many parts, put together.
pub(super) type Whole = (Key, Vec<u8>);

impl Disk {
    pub(super) fn new(tree: sled::Tree, space: Arc<Space>) -> Self {
        Self { tree, space, broken: Arc::default() }
    }

    /// All of it or nothing; durable after the next sync. Errors: [`StoreError::Full`], and nothing is written; any other is final, for
    /// nobody can tell what was written, and sled gives its first error again and again. What only removes may always be written.
    pub(super) fn apply(&self, writes: Writes) -> Result<(), StoreError> {
        if writes.bytes > 0 {
            self.space.room(writes.bytes)?;
        }
        let mut batch = sled::Batch::default();
        for (key, value) in writes.by_key {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.tree.apply_batch(batch).map_err(|failure| {
            self.give_up(format!("write: {failure}"));
            failed("write")(failure)
        })
    }

    /// What these writes change, not applied yet: of each key the checksums of its record before and after. Nobody else may write these keys
    /// meanwhile.
    pub(super) fn changes<'w>(&self, writes: &'w Writes) -> impl Iterator<Item = Result<Change<'w>, StoreError>> {
        writes.by_key.iter().map(|(key, value)| {
            let is_new = value.is_some() && keys::is_written_once(key);
            let before = if is_new { None } else { self.tree.get(key).map_err(failed("read"))?.map(|value| checksum(&value)) };
            Ok((key, before, value.as_deref().map(checksum)))
        })
    }

    /// From now on nothing is written or acknowledged, until the store is opened again.
    pub(super) fn give_up(&self, why: String) {
        if self.broken.set(why.clone()).is_ok() {
            error!(error = why, "A write or a sync failed: the store takes nothing more. Check the disk and start again.");
        }
    }

    /// Errors: [`StoreError::Closed`] where a write or a sync failed.
    pub(super) fn usable(&self) -> Result<(), StoreError> {
        self.broken.get().map_or(Ok(()), |why| Err(StoreError::Closed(why.clone())))
    }

    /// A value alone under its key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(value) = self.tree.get(key).map_err(failed("read"))? else { return Ok(None) };
        Ok(Some(opened(key, &value)?.to_vec()))
    }

    /// As [`Disk::get`], decoded.
    pub(super) fn get_as<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        let Some(value) = self.tree.get(key).map_err(failed("read"))? else { return Ok(None) };
        decode(key, opened(key, &value)?).map(Some)
    }

    /// How many parts a value has; 0 where it is not there.
    pub(super) fn n_parts(&self, key: &[u8]) -> Result<u16, StoreError> {
        let full = part_key(key, 0);
        let Some(value) = self.tree.get(&full).map_err(failed("read"))? else { return Ok(0) };
        Ok(head(opened(&full, &value)?).0)
    }

    /// A value in parts.
    pub(super) fn get_parts(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.scan(key, part_key(key, u16::MAX)).next().transpose().map(|found| found.map(|(_, body)| body))
    }

    /// As [`Disk::get_parts`], decoded.
    pub(super) fn get_parts_as<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.get_parts(key)?.map(|body| decode(key, &body)).transpose()
    }

    /// Values in parts with keys in `from..=to`, rising.
    pub(super) fn scan(&self, from: &[u8], to: Key) -> impl Iterator<Item = Result<Whole, StoreError>> + use<> {
        let range: (Bound<Key>, Bound<Key>) = (Bound::Included(from.to_vec()), Bound::Included(to));
        Scan::over(self.tree.range::<Key, _>(range))
    }

    /// As [`Disk::scan`], without those whose key is not wanted: they are neither checked nor put together.
    pub(super) fn scan_where(&self, from: &[u8], to: Key, is_wanted: impl Fn(&[u8]) -> bool) -> impl Iterator<Item = Result<Whole, StoreError>> {
        let range: (Bound<Key>, Bound<Key>) = (Bound::Included(from.to_vec()), Bound::Included(to));
        let mut scan = Scan::over(self.tree.range::<Key, _>(range));
        std::iter::from_fn(move || {
            loop {
                match scan.pair()? {
                    Ok((key, value)) if is_wanted(&key) => return Some(scan.whole(&key, &value)),
                    Ok(_) => {}
                    Err(error) => return Some(Err(error)),
                }
            }
        })
    }

    /// Values in parts whose key begins with `prefix`, and lies after `after`.
    pub(super) fn scan_prefix(&self, prefix: &[u8], after: Option<Key>) -> impl Iterator<Item = Result<Whole, StoreError>> + use<> {
        let from = after.map_or_else(|| prefix.to_vec(), |key| part_key(&key, u16::MAX));
        let to = [prefix, &[0xff; 40]].concat();
        Scan::over(self.tree.range::<Key, _>((Bound::Excluded(from), Bound::Included(to))))
    }

    /// Keys in `from..to`, rising.
    pub(super) fn keys(&self, from: Key, to: Key) -> impl Iterator<Item = Result<sled::IVec, StoreError>> + use<> {
        self.tree.range(from..to).keys().map(|key| key.map_err(failed("read")))
    }

    /// The last key at or before `key` that has its prefix of `n` bytes, without its part's index.
    pub(super) fn last_at(&self, key: &[u8], n: usize) -> Result<Option<Key>, StoreError> {
        let found = self.tree.range(..=part_key(key, u16::MAX)).next_back().transpose().map_err(failed("read"))?;
        Ok(found.map(|(key, _)| key).filter(|found| found.get(..n) == key.get(..n)).map(|found| base(&found).to_vec()))
    }

    /// Numbers of all channels that have records, rising.
    pub(super) fn numbers(&self) -> Result<BTreeSet<u32>, StoreError> {
        let mut numbers = BTreeSet::new();
        for kind in keys::COUNTED {
            let mut from = Some(0);
            while let Some(number) = from {
                let first = self.keys(keys::all(kind, number), keys::end(kind)).next().transpose()?;
                let found = first.and_then(|key| keys::channel_of(&key));
                numbers.extend(found);
                from = found.and_then(|number| number.checked_add(1));
            }
        }
        Ok(numbers)
    }
}

fn base(key: &[u8]) -> &[u8] {
    key.len().checked_sub(PART_INDEX).and_then(|n| key.get(..n)).unwrap_or(key)
}

fn head(body: &[u8]) -> (u16, &[u8]) {
    match body.split_at_checked(2) {
        Some(([a, b], rest)) => (u16::from_le_bytes([*a, *b]), rest),
        _ => (0, body),
    }
}

struct Scan {
    inner: sled::Iter,
    /// sled's iterator gives an error again and again.
    is_over: bool,
}

impl Iterator for Scan {
    type Item = Result<Whole, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.pair()?.and_then(|(key, value)| self.whole(&key, &value)))
    }
}

impl Scan {
    fn over(inner: sled::Iter) -> Self {
        Self { inner, is_over: false }
    }

    fn pair(&mut self) -> Option<Result<(sled::IVec, sled::IVec), StoreError>> {
        if self.is_over {
            return None;
        }
        let pair = self.inner.next()?.map_err(failed("read"));
        self.is_over = pair.is_err();
        Some(pair)
    }

    fn whole(&mut self, key: &[u8], value: &[u8]) -> Result<Whole, StoreError> {
        let (n_parts, first) = head(opened(key, value)?);
        let mut body = first.to_vec();
        for index in 1..n_parts {
            let missing = || damaged(format!("{} lacks part {index} of {n_parts}", keys::words(base(key))));
            let (next, value) = self.pair().ok_or_else(missing)??;
            if base(&next) != base(key) {
                return Err(missing());
            }
            body.extend_from_slice(opened(&next, &value)?);
        }
        Ok((base(key).to_vec(), body))
    }
}
