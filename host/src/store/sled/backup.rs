//! A copy of the store, made beside commits that go on: each channel as it is at one moment, for no commit is of two. What is damaged is
//! found on the way. Files that the copy may name are not removed until it is whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crate::store::{Progress, StoreError, copy_file};

use super::disk::{Disk, failed};
use super::head::Channels;
use super::keys::Kind;
use super::live;
use super::opening;
use super::raws::io;
use super::space::Space;

/// Removes files that no record names any more, or keeps them while somebody may still copy a record that does.
#[derive(Default)]
pub(super) struct Bin(Mutex<Option<Vec<PathBuf>>>);

impl Bin {
    /// One that is left behind costs space, nothing else.
    pub(super) fn take(&self, files: impl IntoIterator<Item = PathBuf>) {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(kept) => kept.extend(files),
            None => files.into_iter().for_each(|file| drop(fs::remove_file(file))),
        }
    }

    /// From now on until what is returned is dropped nothing is removed.
    pub(super) fn hold(self: &Arc<Self>) -> Held {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
        Held(Arc::clone(self))
    }
}

/// A bin that is emptied when this is dropped.
pub(super) struct Held(Arc<Bin>);

impl Drop for Held {
    fn drop(&mut self) {
        let kept = self.0.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.0.take(kept.into_iter().flatten());
    }
}

/// The files of one channel. One that goes meanwhile is named by no record of the copy, which `verify` looks at.
fn copy_files(from: &Path, into: &Path, space: &Space) -> Result<(), StoreError> {
    fs::create_dir_all(into).map_err(io("copy"))?;
    for file in fs::read_dir(from).map_err(io("copy"))? {
        space.to_spare()?;
        let file = file.map_err(io("copy"))?;
        copy_file(&file.path(), &into.join(file.file_name())).map_err(io("copy"))?;
    }
    Ok(())
}

/// What is copied.
pub(super) struct Source {
    pub(super) disk: Disk,
    pub(super) channels: Channels,
    /// Of raw items, and of messages.
    pub(super) files: [PathBuf; 2],
    pub(super) bin: Arc<Bin>,
}

impl Source {
    /// Writes the copy into a folder that becomes a data folder. It blocks. Errors: [`StoreError::Damaged`] with all that is; what was written
    /// is of no use then.
    pub(super) fn write(self, into: &Path, progress: &Progress) -> Result<(), StoreError> {
        let _held = self.bin.hold();
        let n_records = self.channels.values().map(|live| live.lock().head.n_records).sum();
        progress.of.store(n_records, Ordering::Relaxed);
        let folder = opening::folder(into);
        fs::create_dir_all(&folder).map_err(io("copy"))?;
        let db = opening::new_sled(&folder)?;
        self.records(&db, &Space::of(into), progress)?;
        db.flush().map_err(failed("copy"))?;
        drop(db);
        let space = Space::of(into);
        for files in &self.files {
            let to = into.join(files.file_name().unwrap_or_default());
            fs::create_dir_all(&to).map_err(io("copy"))?;
            for channel in fs::read_dir(files).map_err(io("copy"))? {
                let channel = channel.map_err(io("copy"))?;
                copy_files(&channel.path(), &to.join(channel.file_name()), &space)?;
            }
        }
        Ok(())
    }

    fn records(&self, into: &sled::Tree, space: &Space, progress: &Progress) -> Result<(), StoreError> {
        for item in self.disk.tree.scan_prefix([Kind::Meta as u8]) {
            let (key, value) = item.map_err(failed("read"))?;
            into.insert(key, value).map_err(failed("copy"))?;
        }
        let mut copy = |records: live::Copied| {
            // The host works on: its disk must not be filled by a copy of it.
            space.to_spare()?;
            progress.done.fetch_add(records.len() as u64, Ordering::Relaxed);
            let mut batch = sled::Batch::default();
            for (key, value) in records {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            into.apply_batch(batch).map_err(failed("copy"))
        };
        let mut damage = Vec::new();
        for live in self.channels.values() {
            let tell = |what: String| format!("channel {}: {what}", live.name);
            let (found, head) = live.count(&self.disk, &mut |error| damage.push(tell(error.what())), Some(&mut copy))?;
            damage.extend(head.damage(&found).map(tell));
        }
        if damage.is_empty() { Ok(()) } else { Err(StoreError::damaged(damage.join("; "))) }
    }
}
