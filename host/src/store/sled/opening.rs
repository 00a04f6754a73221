//! How a store is opened: sled's recovery overwrites what it cannot read, so where a look finds something odd it is tried on a copy first,
//! and the store itself is opened only where the copy proves sound. A refused open leaves the log byte for byte as it was; what sled
//! writes there before it is refused for what the heads tell are zeros over what was never written whole, and a snapshot.

use std::fs::{self, File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{info, warn};

use crate::failpoint;
use crate::store::StoreError;

use super::disk::Disk;
use super::head::Durable;
use super::live;
use super::look::{self, Seen};
use super::space::Space;

/// Units: bytes.
const CACHE_BYTES: u64 = 128 << 20;
/// In the data folder, while an open is tried.
const REHEARSAL: &str = "store.rehearsal";
/// Likewise: what lay in a store that was odd and had no head.
const KEPT: &str = "store.odd";
/// More is not listed in one refusal.
const DAMAGE_TOLD: usize = 8;

/// Where sled's files are.
pub(super) fn folder(dir: &Path) -> PathBuf {
    dir.join("store")
}

/// Opens sled in a data folder. `head`: what must be in it.
pub(super) fn open(dir: &Path, head: Option<&Durable>) -> Result<sled::Db, StoreError> {
    let store = folder(dir);
    let lock = lock(&store)?;
    // Of a start that was ended in the middle.
    drop(Rehearsal(dir.join(REHEARSAL)));
    // One that was cut off while it was written: sled would take it for the newest.
    let begun = look::snapshots(&store).map_err(io("open"))?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "generating"));
    begun.for_each(|path| drop(fs::remove_file(path)));
    let Seen { tip, odd } = failpoint::across("open", "look", || look::at(&store)).map_err(io("read"))?;
    let odd = odd.or_else(|| head.and_then(|head| head.lacks(tip)));
    match (odd, head) {
        (Some(why), Some(_)) => try_on_copy(dir, head, &why)?,
        (Some(why), None) => keep_as_it_was(dir, &why)?,
        (None, _) => {}
    }
    drop(lock);
    match failpoint::across("open", "sled", || open_sled(&store)) {
        Err(Unopened::Damaged(why)) => {
            try_on_copy(dir, head, &why)?;
            open_sled(&store).map_err(|failure| failure.into_error(&store))
        }
        opened => opened.map_err(|failure| failure.into_error(&store)),
    }
}

fn io(step: &'static str) -> impl Fn(std::io::Error) -> StoreError {
    move |source| StoreError::Io { step, source }
}

/// Held while the files are looked at: another process may be writing them.
fn lock(store: &Path) -> Result<Option<File>, StoreError> {
    let file = match File::open(store.join("db")) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::Io { step: "open", source }),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(store.display().to_string())),
        Err(TryLockError::Error(source)) => Err(StoreError::Io { step: "open", source }),
    }
}

enum Unopened {
    InUse,
    Io(std::io::Error),
    Damaged(String),
}

impl Unopened {
    fn into_error(self, store: &Path) -> StoreError {
        match self {
            Self::InUse => StoreError::InUse(store.display().to_string()),
            Self::Io(source) => StoreError::Io { step: "open", source },
            Self::Damaged(why) => damaged(store.parent().unwrap_or(store), &[why]),
        }
    }
}

fn open_sled(store: &Path) -> Result<sled::Db, Unopened> {
    let open = || sled::Config::new().path(store).flush_every_ms(None).cache_capacity(CACHE_BYTES).open();
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(sled::Error::Io(error))) if error.kind() == std::io::ErrorKind::WouldBlock || error.to_string().contains("lock") => {
            Err(Unopened::InUse)
        }
        Ok(Err(sled::Error::Io(error))) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(Unopened::Io(error)),
        Ok(Err(error)) => Err(Unopened::Damaged(error.to_string())),
        Err(_) => Err(Unopened::Damaged("sled panicked while it recovered".to_owned())),
    }
}

/// A refusal with what is lost and the next step.
pub(super) fn damaged(dir: &Path, what: &[String]) -> StoreError {
    let told = what.iter().take(DAMAGE_TOLD).cloned().collect::<Vec<_>>().join("; ");
    let more = what.len().checked_sub(DAMAGE_TOLD).filter(|n| *n > 0).map(|n| format!("; and {n} more")).unwrap_or_default();
    StoreError::Damaged(format!(
        "{told}{more}; it is not opened: keep `{0}` aside (`mv {0} {0}.damaged`) and put back a copy of it that was made while the host was stopped; or, to go on with what is left, `mv {0}/head {0}/head.lost` and start again",
        dir.display()
    ))
}

/// Without a head nothing tells what is lost, and sled throws away what it cannot read: what was there stays beside it, once.
fn keep_as_it_was(dir: &Path, why: &str) -> Result<(), StoreError> {
    let kept = dir.join(KEPT);
    warn!(why, kept = %kept.display(), "The store is odd, and without its `head` nobody can tell whether something is lost; a copy of it is kept.");
    if kept.exists() {
        return Ok(());
    }
    copy_folder(&folder(dir), &kept).map_err(io("copy"))
}

/// The copy, gone on every way out: it takes as much room as the store.
struct Rehearsal(PathBuf);

impl Drop for Rehearsal {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Opens a copy, and compares all that is in it with what should be. Where it is sound only without its snapshots, which sled can do
/// without, the store's own are removed. Errors: [`StoreError::Damaged`], with what is lost; the store is as it was.
fn try_on_copy(dir: &Path, head: Option<&Durable>, why: &str) -> Result<(), StoreError> {
    warn!(why, "The store is odd, as a crash or damage leaves it; it is tried on a copy first.");
    let (store, rehearsal) = (folder(dir), Rehearsal(dir.join(REHEARSAL)));
    let copy = &rehearsal.0;
    let mut damage = Vec::new();
    let mut is_sound = false;
    for without_snapshots in [false, true] {
        drop(fs::remove_dir_all(copy));
        failpoint::across("open", "copy", || copy_folder(&store, copy)).map_err(io("copy"))?;
        if without_snapshots {
            remove_snapshots(copy)?;
        }
        let found = catch_unwind(AssertUnwindSafe(|| damage_of(copy, head)));
        let found = found.unwrap_or_else(|_| vec![format!("{why}, and it cannot be read")]);
        is_sound = found.is_empty();
        if is_sound && without_snapshots {
            failpoint::across("open", "put", || remove_snapshots(&store))?;
        }
        if damage.is_empty() || found.len() < damage.len() {
            damage = found;
        }
        if is_sound {
            break;
        }
    }
    drop(rehearsal);
    if !is_sound {
        return Err(damaged(dir, &damage));
    }
    match head {
        Some(_) => info!("The copy proved sound: nothing is lost that `head` knew of, which is all but the last second."),
        None => warn!("The copy can be opened; without `head` nobody can tell whether something is lost."),
    }
    Ok(())
}

/// All that is wrong with the store in this folder, which is opened for it.
fn damage_of(store: &Path, head: Option<&Durable>) -> Vec<String> {
    let db = match open_sled(store) {
        Ok(db) => db,
        Err(failure) => return vec![failure.into_error(store).to_string()],
    };
    let disk = Disk::new((*db).clone(), Arc::new(Space::of(store)));
    let mut damage = Vec::new();
    match live::all(&disk) {
        Ok(live) => {
            damage.extend(head.map(|head| head.missing(&live)).unwrap_or_default());
            live::check_all(&disk, &live, &mut damage);
        }
        Err(error) => damage.push(error.to_string()),
    }
    damage
}

fn remove_snapshots(store: &Path) -> Result<(), StoreError> {
    look::snapshots(store).map_err(io("open"))?.into_iter().try_for_each(fs::remove_file).map_err(io("open"))
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let target = to.join(file.file_name());
        if file.file_type()?.is_dir() {
            copy_folder(&file.path(), &target)?;
        } else {
            fs::copy(file.path(), target)?;
        }
    }
    Ok(())
}
