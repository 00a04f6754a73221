//! How a store is opened: sled's recovery overwrites what it cannot read, so where a look finds something odd it is tried on a copy first,
//! and the store itself is opened only where the copy proves sound. A refused open leaves the log byte for byte as it was; what sled
//! writes there before it is refused for what the heads tell are zeros over what was never written whole, and a snapshot.

use std::fs::{self, File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{info, warn};

use crate::failpoint;
use crate::store::{StoreError, copy_folder};

use super::disk::{Disk, failed};
use super::head::{Channels, Durable};
use super::live;
use super::look::{self, Odd};
use super::raws::io;
use super::space::Space;

/// Units: bytes.
const CACHE_BYTES: u64 = 128 << 20;
/// Of a copy that is written once. Units: bytes.
const COPY_CACHE_BYTES: u64 = 16 << 20;
/// In the data folder, while an open is tried.
const REHEARSAL: &str = "store.rehearsal";
/// Likewise, with a number that rises: what lay in the log when it was odd, for sled overwrites what it cannot read.
const KEPT: &str = "store.odd-";
/// Of these; then the oldest goes.
const KEPT_MAX: usize = 8;
/// While one of them is copied.
const KEEPING: &str = "store.odd.part";
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
    let mut seen = failpoint::across("open", "look", || look::at(&store)).map_err(io("read"))?;
    if let Some(odd) = seen.odd.take().or_else(|| head.and_then(|head| head.lacks(&seen))) {
        try_on_copy(dir, head, &odd)?;
    }
    drop(lock);
    match failpoint::across("open", "sled", || open_sled(&store)) {
        Err(Unopened::Damaged(why)) => {
            try_on_copy(dir, head, &Odd::anywhere(why))?;
            open_sled(&store).map_err(|failure| failure.into_error(dir))
        }
        opened => opened.map_err(|failure| failure.into_error(dir)),
    }
}

/// Where nothing is known of a store that was there: a folder that holds files of messages, by channel, is no new one. Errors:
/// [`StoreError::Damaged`].
pub(super) fn is_new(dir: &Path, beside: &[&Path]) -> Result<(), StoreError> {
    let files = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let has_files = |folder: &&&Path| files(folder).any(|channel| files(&channel).next().is_some());
    match beside.iter().find(has_files) {
        Some(beside) if !folder(dir).join("db").exists() => {
            let what = format!("`{}` holds files of messages, and there is no store beside it", beside.display());
            Err(damaged(dir, &[what], WayOn::Without(beside)))
        }
        _ => Ok(()),
    }
}

/// Held while the files are looked at: another process may be writing them.
pub(super) fn lock(store: &Path) -> Result<Option<File>, StoreError> {
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
    fn into_error(self, dir: &Path) -> StoreError {
        match self {
            Self::InUse => StoreError::InUse(folder(dir).display().to_string()),
            Self::Io(source) => StoreError::Io { step: "open", source },
            Self::Damaged(why) => damaged(dir, &[why], WayOn::None),
        }
    }

    fn words(self) -> String {
        match self {
            Self::InUse => "another process holds it".to_owned(),
            Self::Io(source) => source.to_string(),
            Self::Damaged(why) => why,
        }
    }
}

/// Makes a new one in this folder.
pub(super) fn new_sled(store: &Path) -> Result<sled::Db, StoreError> {
    sled_in(store).cache_capacity(COPY_CACHE_BYTES).create_new(true).open().map_err(failed("copy"))
}

fn sled_in(store: &Path) -> sled::Config {
    sled::Config::new().path(store).flush_every_ms(None).cache_capacity(CACHE_BYTES)
}

fn open_sled(store: &Path) -> Result<sled::Db, Unopened> {
    let open = || sled_in(store).open();
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

/// How to go on with what is left.
pub(super) enum WayOn<'a> {
    /// There is none: nothing can be read.
    None,
    /// Without the head, which claims more.
    Headless,
    /// Without this folder.
    Without(&'a Path),
}

/// A refusal with what is lost and the next step.
pub(super) fn damaged(dir: &Path, what: &[String], way_on: WayOn<'_>) -> StoreError {
    let told = what.iter().take(DAMAGE_TOLD).cloned().collect::<Vec<_>>().join("; ");
    let more = what.len().checked_sub(DAMAGE_TOLD).filter(|n| *n > 0).map(|n| format!("; and {n} more")).unwrap_or_default();
    let go_on = |path: &Path| format!("; or, to go on with what is left, `mv {0} {0}.lost` and start again", path.display());
    let go_on = match way_on {
        WayOn::None => String::new(),
        WayOn::Headless => go_on(&dir.join("head")),
        WayOn::Without(path) => go_on(path),
    };
    let cure = format!("it is not opened, and is as it was: `membrana restore BACKUP` puts a backup in its place and keeps it aside{go_on}");
    StoreError::Damaged { what: format!("{told}{more}"), cure }
}

/// Keeps beside the store what sled may overwrite of its log from this place on; whoever knows more can look at it.
fn keep_as_it_was(dir: &Path, from: u64) -> Result<(), StoreError> {
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix(KEPT)?.parse::<u64>().ok();
    let files = fs::read_dir(dir).map_err(io("read"))?.flatten().map(|file| file.path());
    let mut all: Vec<(u64, PathBuf)> = files.filter_map(|path| Some((number(&path)?, path))).collect();
    all.sort();
    let kept = dir.join(format!("{KEPT}{:06}", all.last().map_or(1, |(n, _)| n + 1)));
    failpoint::across("open", "keep", || {
        let part = dir.join(KEEPING);
        drop(fs::remove_dir_all(&part));
        look::copy_from(&folder(dir), from, &part)?;
        File::open(&part)?.sync_all()?;
        fs::rename(&part, &kept)?;
        File::open(dir)?.sync_all()
    })
    .map_err(io("copy"))?;
    info!(kept = %kept.display(), from, "What the store's recovery may overwrite is kept.");
    let n_over = (all.len() + 1).saturating_sub(KEPT_MAX);
    all.into_iter().take(n_over).for_each(|(_, old)| drop(fs::remove_dir_all(old)));
    Ok(())
}

/// The copy, gone on every way out: it takes as much room as the store.
struct Rehearsal(PathBuf);

impl Drop for Rehearsal {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Opens a copy, and compares all that is in it with what should be. Where it is sound what is odd is kept, and where it is so only without
/// its snapshots, which sled can do without, the store's own are removed. Errors: [`StoreError::Damaged`], with what is lost; the store is as
/// it was.
fn try_on_copy(dir: &Path, head: Option<&Durable>, odd: &Odd) -> Result<(), StoreError> {
    let why = odd.why.as_str();
    warn!(why, "The store is odd, as a crash or damage leaves it; it is tried on a copy first.");
    let (store, rehearsal) = (folder(dir), Rehearsal(dir.join(REHEARSAL)));
    let copy = &rehearsal.0;
    let mut damage: Option<Vec<String>> = None;
    for without_snapshots in [false, true] {
        drop(fs::remove_dir_all(copy));
        failpoint::across("open", "copy", || copy_folder(&store, copy)).map_err(io("copy"))?;
        if without_snapshots {
            remove_snapshots(copy)?;
        }
        let found = catch_unwind(AssertUnwindSafe(|| damage_of(copy, head)));
        match found.unwrap_or_else(|_| Err("it panicked while it was read".to_owned())) {
            Ok(found) if found.is_empty() => {
                drop(rehearsal);
                keep_as_it_was(dir, odd.from)?;
                if without_snapshots {
                    failpoint::across("open", "put", || remove_snapshots(&store))?;
                }
                tell_sound(head);
                return Ok(());
            }
            Ok(found) if damage.as_ref().is_none_or(|damage| found.len() < damage.len()) => damage = Some(found),
            Ok(_) => {}
            Err(unopened) => warn!(without_snapshots, error = unopened, "The copy cannot be read."),
        }
    }
    Err(match damage {
        Some(damage) => damaged(dir, &damage, WayOn::Headless),
        None => {
            let lost = head.map(|head| head.missing(&Channels::new())).unwrap_or_default();
            damaged(dir, &[vec![format!("{why}, and nothing of it can be read")], lost].concat(), WayOn::None)
        }
    })
}

fn tell_sound(head: Option<&Durable>) {
    match head {
        Some(_) => info!("The copy proved sound: nothing is lost that `head` knew of, which is all but the last second."),
        None => warn!("The copy can be opened; without `head` nobody can tell whether something is lost."),
    }
}

/// All that is wrong with the store in this folder, which is opened for it. Without a head what can be opened is taken as it is: `verify`
/// names what is damaged. Errors: it cannot be opened, in words.
fn damage_of(store: &Path, head: Option<&Durable>) -> Result<Vec<String>, String> {
    let db = open_sled(store).map_err(Unopened::words)?;
    let disk = Disk::new((*db).clone(), Arc::new(Space::of(store)));
    let live = live::all(&disk).map_err(|error| error.what())?;
    let Some(head) = head else { return Ok(Vec::new()) };
    let mut damage = head.missing(&live);
    live::check_all(&disk, &live, &mut damage);
    Ok(damage)
}

fn remove_snapshots(store: &Path) -> Result<(), StoreError> {
    look::snapshots(store).map_err(io("open"))?.into_iter().try_for_each(fs::remove_file).map_err(io("open"))
}
