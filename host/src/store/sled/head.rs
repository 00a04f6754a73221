//! What a store should hold, told twice, for sled takes a damaged page at the end of its log for a write that a crash cut off, and
//! drops it in silence.
//!
//! In the tree each channel has its head: how many commits it took, how many records it has, and the sum of their checksums, written
//! with every commit. So `verify` sees records that are lost and records that fell back to what they were. And beside the tree lies the file
//! `head`, written each second when something changed, and at a stop: which commits of each channel are durable. It is laid out before
//! a sync and written after it, so it never claims more than is on disk. An open that finds less is refused, and names what is lost.
//! Its limit: what was committed in the last second before a crash, and is lost by damage besides, is missed by nobody.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::{error, warn};

use crate::failpoint;
use crate::model::ChannelName;
use crate::store::StoreError;

use super::committer::Committer;
use super::live::Live;
use super::look::{self, Odd, Seen};
use super::opening::folder;

/// In the data folder.
const FILE: &str = "head";
/// What could not be read is put aside under this name.
const DAMAGED: &str = "head.damaged";
/// Between two looks whether something changed.
const EACH: Duration = Duration::from_secs(1);

/// What a channel's records come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Commits it took.
    pub(super) n_commits: u64,
    /// Records it has, but for its name and this.
    pub(super) n_records: u64,
    /// Of their checksums; it wraps around.
    pub(super) sum: u64,
}

impl Head {
    /// A record was written, replaced or removed; by their checksums.
    pub(super) fn note(&mut self, before: Option<u32>, after: Option<u32>) {
        self.n_records = self.n_records.wrapping_sub(u64::from(before.is_some())).wrapping_add(u64::from(after.is_some()));
        self.sum = self.sum.wrapping_sub(before.map_or(0, u64::from)).wrapping_add(after.map_or(0, u64::from));
    }

    /// What is wrong where these are the records found and `self` what they should come to.
    pub(super) fn damage(&self, found: &Self) -> Option<String> {
        match self.n_records.cmp(&found.n_records) {
            std::cmp::Ordering::Greater => Some(format!("{} of its {} records are missing", self.n_records - found.n_records, self.n_records)),
            std::cmp::Ordering::Less => {
                Some(format!("it has {} records, {} more than were written", found.n_records, found.n_records - self.n_records))
            }
            std::cmp::Ordering::Equal if self.sum != found.sum => Some("some of its records are older than what was written last".to_owned()),
            std::cmp::Ordering::Equal => None,
        }
    }
}

/// Every channel, by name.
pub(super) type Channels = HashMap<ChannelName, Arc<Live>>;

/// What is durable of each channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Durable {
    channels: BTreeMap<String, Standing>,
    /// Up to where sled's log could be read at the last start or stop; since then it has only grown.
    tip: u64,
    /// Of its file: parts of the log that lie at the end of the file need not be the newest. Units: bytes; 0: not noted.
    #[serde(default)]
    length: u64,
}

/// Where a channel stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    commits: u64,
    /// The last place of its log.
    entries: u64,
    /// The last place of its raw log.
    raws: u64,
}

impl Durable {
    fn of(live: &Channels, tip: u64, length: u64) -> Self {
        let standing = |live: &Live| {
            let inner = live.lock();
            Standing { commits: inner.head.n_commits, entries: inner.record.last.0, raws: inner.record.raw_last }
        };
        Self { channels: live.iter().map(|(name, live)| (name.as_str().to_owned(), standing(live))).collect(), tip, length }
    }

    /// What the file in this folder says; nothing where there is none. One that cannot be read is put aside and told of.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Io { step: "read", source }),
        };
        let read = parse(&bytes);
        if read.is_none() {
            warn!("The file `{FILE}` beside the store is damaged: this once nobody can tell whether the end of the store is whole.");
            fs::rename(&path, dir.join(DAMAGED)).map_err(|source| StoreError::Io { step: "open", source })?;
        }
        Ok(read)
    }

    /// What is odd about a log that is seen so. sled gives back what it needs no more at the end of the file, so that after a crash a
    /// shorter one may be whole.
    pub(super) fn lacks(&self, seen: &Seen) -> Option<Odd> {
        let (tip, length) = (seen.tip, seen.length);
        let is_behind = || (tip < self.tip).then(|| Odd { why: format!("its log ends at place {tip} and reached to {}", self.tip), from: tip });
        let is_short = || (length < self.length).then(|| Odd::anywhere(format!("its log has {length} bytes and had {}", self.length)));
        is_behind().or_else(is_short)
    }

    /// What of it these channels lack, each by channel and range.
    pub(super) fn missing(&self, live: &Channels) -> Vec<String> {
        let found = Self::of(live, self.tip, self.length);
        let lost = self.channels.iter().filter_map(|(name, wanted)| match found.channels.get(name) {
            None => Some(format!("channel {name} is lost, with {} entries and {} raw items", wanted.entries, wanted.raws)),
            Some(found) if found.commits < wanted.commits => Some(format!("channel {name}: {}", wanted.beyond(found))),
            Some(_) => None,
        });
        lost.collect()
    }
}

impl Standing {
    fn beyond(&self, found: &Self) -> String {
        let mut words = format!("the last {} of {} commits are lost", self.commits - found.commits, self.commits);
        for (what, found, wanted) in [("entries", found.entries, self.entries), ("raw items", found.raws, self.raws)] {
            if found < wanted {
                words += &format!(", with {what} {} to {wanted}", found + 1);
            }
        }
        words
    }
}

/// A checksum, a blank, and JSON.
fn parse(bytes: &[u8]) -> Option<Durable> {
    let (crc, json) = std::str::from_utf8(bytes).ok()?.trim_end().split_once(' ')?;
    (crc == format!("{:08x}", crc32fast::hash(json.as_bytes()))).then(|| serde_json::from_str(json).ok())?
}

/// Writes the file.
pub(super) struct Keeper {
    books: Arc<Books>,
    stop: Mutex<Option<Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Books {
    dir: PathBuf,
    live: Arc<Mutex<Channels>>,
    committer: Arc<Committer>,
    tip: u64,
    /// As it is in the file.
    written: Mutex<Option<Durable>>,
    is_told: AtomicBool,
}

impl Keeper {
    /// `tip`: up to where the log can be read. The file is written anew within a second.
    pub(super) fn start(dir: &Path, live: Arc<Mutex<Channels>>, committer: Arc<Committer>, tip: u64) -> Result<Self, StoreError> {
        let books = Arc::new(Books { dir: dir.to_owned(), live, committer, tip, written: Mutex::default(), is_told: AtomicBool::new(false) });
        let (stop, stopped) = channel();
        let kept = Arc::clone(&books);
        let run = move || {
            while stopped.recv_timeout(EACH) == Err(RecvTimeoutError::Timeout) {
                kept.keep();
            }
        };
        let thread = std::thread::Builder::new().name("store-head".to_owned()).spawn(run);
        let thread = thread.map_err(|source| StoreError::Io { step: "open", source })?;
        Ok(Self { books, stop: Mutex::new(Some(stop)), thread: Mutex::new(Some(thread)) })
    }

    /// What will be durable after the next sync.
    pub(super) fn lay_out(&self) -> Durable {
        self.books.lay_out()
    }

    /// Writes it a last time: all of this is durable, the log can be read up to `tip`, and its file has so many bytes.
    pub(super) fn write_last(&self, durable: Durable, tip: u64, length: u64) {
        self.books.write_down(Durable { tip, length, ..durable });
    }

    /// Writes no more by itself.
    pub(super) fn stop(&self) {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            error!("The thread that writes the store's head ended badly.");
        }
    }
}

impl Drop for Keeper {
    /// Not written a last time: who drops a store without closing it wants what a crash leaves.
    fn drop(&mut self) {
        self.stop();
    }
}

impl Books {
    fn lay_out(&self) -> Durable {
        // Not known: 0, which claims nothing.
        let length = look::length(&folder(&self.dir)).unwrap_or_default();
        Durable::of(&self.live.lock().unwrap_or_else(PoisonError::into_inner), self.tip, length)
    }

    /// Where something changed: laid out, then made durable, then written.
    fn keep(&self) {
        let now = self.lay_out();
        let is_written = self.written.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&now);
        // A failed sync is told by who failed.
        if !is_written && self.committer.sync_here().is_ok() {
            self.write_down(now);
        }
    }

    fn write_down(&self, durable: Durable) {
        match failpoint::across("store", "head", || self.write(&durable)) {
            Ok(()) => {
                *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(durable);
                self.is_told.store(false, Ordering::Relaxed);
            }
            // The old one claims less, which is true as well.
            Err(_) if self.is_told.swap(true, Ordering::Relaxed) => {}
            Err(failure) => warn!(error = %failure, "What is durable could not be noted beside the store; it is tried again each second."),
        }
    }

    fn write(&self, durable: &Durable) -> std::io::Result<()> {
        let json = serde_json::to_string(durable)?;
        let (new, path) = (self.dir.join("head.new"), self.dir.join(FILE));
        let mut file = File::create(&new)?;
        file.write_all(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.dir)?.sync_all()
    }
}
