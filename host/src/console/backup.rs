//! A copy of the data folder, made beside a host at work: the store, then what lies beside it. A backup is a data folder itself, but for what
//! can be made again; it holds the company's tokens and what people said, and is for its owner's eyes alone.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwapOption;
use axum::Json as Answer;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::store::{Progress, StoreError, Verified, copy_folder, sync_folder};
use crate::telemetry::chain;

use super::{Desk, Refusal};

/// Beside the store in a data folder, where they are kept by whoever replaces each file whole. The audit log and the builds are copied by
/// whoever writes them.
const BESIDE: [&str; 2] = ["credentials", "budgets"];
/// Whoever may read it has the company's tokens.
const OWNER_ALONE: u32 = 0o700;

/// Makes backups of one data folder, one at a time.
pub struct Backups {
    data: PathBuf,
    turn: tokio::sync::Mutex<()>,
    under_way: ArcSwapOption<Progress>,
}

impl Backups {
    /// Of this data folder.
    pub fn of(data: &Path) -> Self {
        Self { data: data.to_owned(), turn: tokio::sync::Mutex::default(), under_way: ArcSwapOption::empty() }
    }
}

/// What a backup is to be called.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// A whole path on the host's machine; nothing is there yet.
    folder: PathBuf,
    /// Who orders it; kept in the audit log.
    #[serde(rename = "by")]
    _by: Option<String>,
}

/// Answers when the backup is whole and durable.
pub(super) async fn make(State(desk): State<Arc<Desk>>, wish: Result<Query<Wish>, QueryRejection>) -> Result<Answer<Json>, Refusal> {
    let wrong = |error: QueryRejection| Refusal::bad_request(error.body_text(), "say ?folder=/a/whole/path");
    let Query(Wish { folder, .. }) = wish.map_err(wrong)?;
    let Ok(_turn) = desk.backups.turn.try_lock() else {
        return Err(Refusal::conflict("a backup is being made", "wait for its end"));
    };
    let (of, wanted) = (Arc::clone(&desk), folder.clone());
    let part = apart(move || part_of(&of, &wanted)).await?;
    let progress = Arc::new(Progress::default());
    desk.backups.under_way.store(Some(Arc::clone(&progress)));
    let written = write(&desk, &part, progress).await;
    let to = folder.clone();
    let made = apart(move || {
        let Verified { n_entries, n_records, lost, .. } = written.inspect_err(|_| drop(fs::remove_dir_all(&part)))?;
        let finished = finish(&part, &to).inspect_err(|_| drop(fs::remove_dir_all(&part)));
        finished.map_err(|failure| cannot_write(&part, &failure))?;
        Ok(json!({ "folder": to, "entries": n_entries, "records": n_records, "lost": lost }))
    });
    let made = made.await;
    desk.backups.under_way.store(None);
    made.map(Answer)
}

/// Work on files, away from the threads that must not block.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    let cut_off = |_| Err(Refusal::unavailable("the backup was cut off", "look at the host's log"));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(cut_off)
}

/// How far the one under way is. Units: records.
pub(super) async fn progress(State(desk): State<Arc<Desk>>) -> Answer<Json> {
    let under_way = desk.backups.under_way.load_full();
    let count = |of: fn(&Progress) -> u64| under_way.as_deref().map(of);
    Answer(json!({
        "under_way": under_way.is_some(),
        "copied": count(|progress| progress.done.load(Ordering::Relaxed)),
        "of": count(|progress| progress.of.load(Ordering::Relaxed)),
    }))
}

/// Where it is written until it is whole: one that was broken off is never taken for a backup.
fn part_of(desk: &Desk, folder: &Path) -> Result<PathBuf, Refusal> {
    let shown = folder.display();
    let (true, Some(name), Some(parent)) = (folder.is_absolute(), folder.file_name(), folder.parent()) else {
        return Err(Refusal::bad_request(format!("`{shown}` is no whole path of a folder"), "write it from the root on, as /backups/monday"));
    };
    let data = fs::canonicalize(&desk.backups.data).unwrap_or_else(|_| desk.backups.data.clone());
    match fs::canonicalize(parent) {
        Ok(parent) if parent.starts_with(&data) => {
            return Err(Refusal::bad_request(
                format!("`{shown}` lies in the data folder itself"),
                "name a folder elsewhere, on another disk if there is one",
            ));
        }
        Ok(_) => {}
        Err(error) => return Err(Refusal::bad_request(format!("`{}` is no folder to write to: {error}", parent.display()), "make it first")),
    }
    if folder.symlink_metadata().is_ok() {
        return Err(Refusal::conflict(format!("`{shown}` is there already"), "name one that is not; a backup never replaces another"));
    }
    let mut part = name.to_owned();
    part.push(".part");
    let part = parent.join(part);
    match DirBuilder::new().mode(OWNER_ALONE).create(&part) {
        Ok(()) => Ok(part),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let message = format!("`{}` is there: what is left of a backup that was broken off, or something else", part.display());
            Err(Refusal::conflict(message, "look at it and remove it, or name another folder"))
        }
        Err(failure) => Err(cannot_write(&part, &failure)),
    }
}

/// What it holds. A file that is lost is lost in the store itself: all else is kept.
async fn write(desk: &Arc<Desk>, part: &Path, progress: Arc<Progress>) -> Result<Verified, Refusal> {
    let verified = desk.journal.store.backup(part, progress).await.map_err(|failure| match failure {
        StoreError::Full { .. } => Refusal::unavailable(
            format!("`{}` would take the room that the host works with: {}", part.display(), chain(&failure)),
            "write it to another disk, or free room",
        ),
        other => other.into(),
    })?;
    let of_store = |words: &String| words.replace(&*part.to_string_lossy(), &desk.backups.data.to_string_lossy());
    if !verified.damage.is_empty() {
        return Err(StoreError::damaged(verified.damage.iter().map(of_store).collect::<Vec<_>>().join("; ")).into());
    }
    let lost = verified.lost.iter().map(of_store).collect();
    let (of, into) = (Arc::clone(desk), part.to_owned());
    apart(move || copy_beside(&of, &into).map_err(|failure| cannot_write(&into, &failure))).await?;
    Ok(Verified { lost, ..verified })
}

fn copy_beside(desk: &Desk, into: &Path) -> io::Result<()> {
    for name in BESIDE {
        let folder = desk.backups.data.join(name);
        if folder.is_dir() {
            copy_folder(&folder, &into.join(name))?;
        }
    }
    desk.builds.copy(into)?;
    desk.audit.copy(into)
}

/// Durable, then under its name.
fn finish(part: &Path, folder: &Path) -> io::Result<()> {
    sync_folder(part)?;
    fs::rename(part, folder)?;
    folder.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all())
}

fn cannot_write(part: &Path, failure: &io::Error) -> Refusal {
    Refusal::unavailable(format!("the backup cannot be written to `{}`: {failure}", part.display()), "may the host write there, and is there room?")
}
