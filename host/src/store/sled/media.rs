//! Files of messages: a record in the tree, the bytes as a file of its own that is durable before the record that names it.
//!
//! Names of files are the host's own. What no record names is removed at the next start; till then it costs space alone.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{InteractionId, Media, MediaCount, MediaOutcome, Sha256, Timestamp};
use crate::store::{StoreError, Verified};

use super::disk::{Disk, Writes, encode, failed};
use super::keys::{self, Kind};
use super::live::Live;
use super::raws::{io, write_file};

/// Records removed in one step of dropping.
const DROP_STEP: usize = 256;

/// A record on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    media: Media,
    /// Tells files of one place apart; 0 where there is none.
    token: u64,
}

/// A record whose bytes, if it has some, are a durable file.
pub(super) struct Laid(Stored);

impl Laid {
    pub(super) fn about(&self) -> InteractionId {
        self.0.media.interaction
    }

    /// The file's name, if it has one.
    pub(super) fn name(&self) -> Option<String> {
        self.0.name()
    }
}

impl Stored {
    fn name(&self) -> Option<String> {
        let Media { interaction, index, .. } = &self.media;
        (self.token != 0).then(|| format!("{interaction}-{index}-{:016x}", self.token))
    }
}

/// Where a channel's files are.
pub(super) fn folder(dir: &Path, channel: u32) -> PathBuf {
    dir.join(channel.to_string())
}

/// Writes the bytes of those that are stored. It blocks.
pub(super) fn lay(dir: &Path, channel: u32, all: Vec<(Media, Vec<u8>)>) -> Result<Vec<Laid>, StoreError> {
    let (folder, mut laid) = (folder(dir, channel), Vec::new());
    fs::create_dir_all(&folder).map_err(io("write"))?;
    for (media, body) in all {
        let mut token = [0; 8];
        if matches!(media.outcome, MediaOutcome::Stored { .. }) {
            getrandom::fill(&mut token).map_err(|error| StoreError::damaged(format!("no random numbers: {error}")))?;
        }
        let stored = Stored { media, token: u64::from_le_bytes(token) };
        if let Some(name) = stored.name() {
            write_file(&folder.join(name), &body).map_err(io("write"))?;
        }
        laid.push(Laid(stored));
    }
    if laid.iter().any(|laid: &Laid| laid.name().is_some()) {
        File::open(&folder).and_then(|folder| folder.sync_all()).and_then(|()| File::open(dir)?.sync_all()).map_err(io("sync"))?;
    }
    Ok(laid)
}

/// What one commit does to a channel's records.
pub(super) struct Shelf<'a> {
    disk: &'a Disk,
    channel: u32,
    /// As this commit left them: the disk does not know yet.
    seen: BTreeMap<(InteractionId, u16), Option<Stored>>,
    pub(super) count: MediaCount,
    /// Names of files that no record will name; to go once that is durable.
    pub(super) forgotten: Vec<String>,
}

impl<'a> Shelf<'a> {
    pub(super) fn new(disk: &'a Disk, channel: u32, count: MediaCount) -> Self {
        Self { disk, channel, seen: BTreeMap::new(), count, forgotten: Vec::new() }
    }

    fn find(&self, place: (InteractionId, u16)) -> Result<Option<Stored>, StoreError> {
        match self.seen.get(&place) {
            Some(seen) => Ok(seen.clone()),
            None => self.disk.get_as(&keys::media(self.channel, place.0, place.1)),
        }
    }

    pub(super) fn remove(&mut self, writes: &mut Writes, place: (InteractionId, u16)) -> Result<(), StoreError> {
        let Some(old) = self.find(place)? else { return Ok(()) };
        self.count.remove(&old.media.outcome);
        self.forgotten.extend(old.name());
        writes.remove(keys::media(self.channel, place.0, place.1));
        self.seen.insert(place, None);
        Ok(())
    }

    pub(super) fn put(&mut self, writes: &mut Writes, laid: Laid) -> Result<(), StoreError> {
        let place = (laid.0.media.interaction, laid.0.media.index);
        self.remove(writes, place)?;
        self.count.add(&laid.0.media.outcome);
        writes.put(keys::media(self.channel, place.0, place.1), &encode(&laid.0)?);
        self.seen.insert(place, Some(laid.0));
        Ok(())
    }

    /// Nothing of an interaction is kept.
    pub(super) fn forget(&mut self, writes: &mut Writes, about: InteractionId) -> Result<(), StoreError> {
        // Most channels keep no files.
        if self.count == MediaCount::default() {
            return Ok(());
        }
        let mut places: Vec<_> = stored(self.disk, &keys::media_about(self.channel, about))?.into_iter().map(|s| s.media.index).collect();
        places.extend(self.seen.keys().filter(|(id, _)| *id == about).map(|(_, index)| *index));
        places.into_iter().try_for_each(|index| self.remove(writes, (about, index)))
    }
}

/// Records under this prefix, in order.
fn stored(disk: &Disk, prefix: &[u8]) -> Result<Vec<Stored>, StoreError> {
    let keys = disk.tree.scan_prefix(prefix).keys();
    let each = keys.map(|key| key.map_err(failed("read")).and_then(|key| disk.get_as::<Stored>(&key)));
    each.filter_map(Result::transpose).collect()
}

pub(super) fn about(disk: &Disk, channel: u32, about: InteractionId) -> Result<Vec<Media>, StoreError> {
    Ok(stored(disk, &keys::media_about(channel, about))?.into_iter().map(|stored| stored.media).collect())
}

/// The bytes of one file. It blocks.
pub(super) fn body(disk: &Disk, dir: &Path, channel: u32, about: InteractionId, index: u16) -> Result<Option<Vec<u8>>, StoreError> {
    let key = keys::media(channel, about, index);
    let Some(stored) = disk.get_as::<Stored>(&key)? else { return Ok(None) };
    match read(dir, channel, &stored) {
        // It was dropped or replaced meanwhile.
        Err(StoreError::Damaged { .. }) if disk.get_as::<Stored>(&key)?.is_none_or(|now| now.token != stored.token) => Ok(None),
        read => read,
    }
}

fn read(dir: &Path, channel: u32, stored: &Stored) -> Result<Option<Vec<u8>>, StoreError> {
    let (Some(name), MediaOutcome::Stored { sha256, .. }) = (stored.name(), &stored.media.outcome) else { return Ok(None) };
    let path = folder(dir, channel).join(name);
    match fs::read(&path) {
        Ok(body) if Sha256::of(&body) == *sha256 => Ok(Some(body)),
        Ok(_) => Err(StoreError::damaged(format!("the file `{}` is not what was stored", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(StoreError::damaged(format!("the file `{}` is no longer there", path.display())))
        }
        Err(error) => Err(io("read")(error)),
    }
}

/// Drops what is kept no longer, a step of it. Gives names of files to be removed once that is durable, and how many records went.
pub(super) fn drop_until(disk: &Disk, live: &Live, now: Timestamp) -> Result<(Vec<String>, usize), StoreError> {
    let mut old = stored(disk, &keys::all(Kind::Media, live.number))?;
    old.retain(|stored| stored.media.until <= now);
    let mut inner = live.lock();
    let (mut shelf, mut writes, mut n_dropped) = (Shelf::new(disk, live.number, inner.record.media), Writes::default(), 0);
    for Stored { media, .. } in old.into_iter().take(DROP_STEP) {
        // It may have been replaced meanwhile.
        let place = (media.interaction, media.index);
        if shelf.find(place)?.is_some_and(|stored| stored.media.until <= now) {
            shelf.remove(&mut writes, place)?;
            n_dropped += 1;
        }
    }
    let Shelf { count, forgotten, .. } = shelf;
    if n_dropped > 0 {
        inner.apply(disk, live.number, writes)?;
    }
    inner.record.media = count;
    Ok((forgotten, n_dropped))
}

/// Where files of these names are.
pub(super) fn paths(dir: &Path, channel: u32, names: Vec<String>) -> Vec<PathBuf> {
    let folder = folder(dir, channel);
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// Counts what there is, and removes files that no record names: what a crash left. Nobody else may use the store meanwhile.
pub(super) fn take_stock(disk: &Disk, dir: &Path, live: &Live) -> Result<(), StoreError> {
    let (mut named, mut count) = (HashSet::new(), MediaCount::default());
    for stored in stored(disk, &keys::all(Kind::Media, live.number))? {
        count.add(&stored.media.outcome);
        named.extend(stored.name());
    }
    live.lock().record.media = count;
    let Ok(files) = fs::read_dir(folder(dir, live.number)) else { return Ok(()) };
    let left = files.flatten().filter(|file| !named.contains(file.file_name().to_string_lossy().as_ref()));
    left.for_each(|file| drop(fs::remove_file(file.path())));
    Ok(())
}

/// Reads every file once.
pub(super) fn verify(disk: &Disk, dir: &Path, live: &Live, found: &mut Verified) {
    let tell = |error: StoreError| format!("channel {}: attachments: {}", live.name, error.what());
    match stored(disk, &keys::all(Kind::Media, live.number)) {
        Ok(all) => found.lost.extend(all.iter().filter_map(|stored| read(dir, live.number, stored).err()).map(tell)),
        Err(error) => found.damage.push(tell(error)),
    }
}
