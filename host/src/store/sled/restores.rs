//! Each time that a backup was put in the store's place, and how far each channel's log went then: what follows in a log is another history
//! than the one that was lost.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{ChannelName, Seq, Timestamp};
use crate::store::StoreError;

use super::disk::{self, Disk, Writes};
use super::head::Channels;
use super::keys;

const KEY: &str = "restores";

/// Oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Restores(Vec<Restore>);

#[derive(Debug, Serialize, Deserialize)]
struct Restore {
    at: Timestamp,
    /// A channel that is not here had nothing.
    last: BTreeMap<ChannelName, Seq>,
}

impl Restores {
    pub(super) fn read(disk: &Disk) -> Result<Self, StoreError> {
        Ok(disk.get_parts_as(&keys::meta(KEY))?.unwrap_or_default())
    }

    /// When the newest was.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.0.last().map(|restore| restore.at)
    }

    /// When the newest before this entry was: a clock that was wrong then or is now changes nothing.
    pub(super) fn before(&self, channel: &ChannelName, seq: Seq) -> Option<Timestamp> {
        let is_before = |restore: &&Restore| restore.last.get(channel).is_none_or(|last| *last < seq);
        self.0.iter().rfind(is_before).map(|restore| restore.at)
    }

    /// Writes one more down, now; later than all that the store knows where the clock is not.
    pub(super) fn note(mut self, disk: &Disk, channels: &Channels, now: Timestamp) -> Result<(), StoreError> {
        let mut restore = Restore { at: now, last: BTreeMap::new() };
        let mut known: Vec<Timestamp> = self.newest().into_iter().collect();
        for (name, live) in channels {
            let last = live.lock().record.last;
            known.extend(live.read_log(disk, last, 1)?.iter().map(|entry| entry.at));
            restore.last.insert(name.clone(), last);
        }
        restore.at = known.into_iter().map(|at| at.plus(Duration::from_millis(1))).fold(restore.at, Timestamp::max);
        self.0.push(restore);
        let mut writes = Writes::default();
        writes.put_parts(&keys::meta(KEY), &disk::encode(&self)?, 0);
        disk.apply(writes)
    }
}
