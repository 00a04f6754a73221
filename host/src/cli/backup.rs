//! `membrana backup` and `membrana restore`.

use std::fs::{self, File};
use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::app::{nobody_works_on, process_env};
use crate::clock::Clock;
use crate::console::Audit;
use crate::model::{Action, ActionState, ChannelName, Timestamp, shown};
use crate::store::{Commit, SledStore, Store, StoreError, Verified, copy_folder, sync_folder};
use crate::telemetry::chain;

use super::call::{Caller, Purpose, make_data_folder, what_is_needed};
use super::outcome::{Failure, aside, put, put_json};
use super::things::with_query;

/// Between two words of how far it is.
const PROGRESS: Duration = Duration::from_secs(5);
/// Actions looked at, and written, at once.
const PAGE: usize = 256;

/// Makes a backup and tells of it.
pub(super) async fn make(file: &Path, is_json: bool, folder: &Path) -> Result<(), Failure> {
    let folder = std::path::absolute(folder).map_err(|error| Failure::failed(error.to_string(), ""))?;
    let caller = Caller::open(file, Purpose::Judge).await?;
    let made = watched(&caller, &folder).await;
    caller.close().await?;
    let made = made?;
    if is_json {
        return put_json(made);
    }
    let count = |key: &str| made.get(key).and_then(Json::as_u64).unwrap_or_default();
    put(format_args!("`{}` is a backup: {} entries in {} records, read whole once.", folder.display(), count("entries"), count("records")))?;
    let lost = made.get("lost").and_then(Json::as_array);
    tell_of_lost(lost.map_or(0, Vec::len), lost.and_then(|lost| lost.first()).and_then(Json::as_str))?;
    put(format_args!("To go back to it: stop the host, then `membrana restore {}`.", folder.display()))
}

/// Of files that were lost already when the backup was made.
fn tell_of_lost(n_lost: usize, first: Option<&str>) -> Result<(), Failure> {
    let Some(first) = first else { return Ok(()) };
    let more = and_more(n_lost);
    put(format_args!("Not in it, for the store itself has lost it: {first}{more} (`membrana verify` names all); all else is there."))
}

/// After the first of so many.
fn and_more(n: usize) -> String {
    if n > 1 { format!(", and {} more", n - 1) } else { String::new() }
}

/// Tells a terminal how far it is.
async fn watched(caller: &Caller, folder: &Path) -> Result<Json, Failure> {
    const PATH: &str = "/api/v1/backup";
    let order = with_query(PATH, [("folder", folder.to_str().map(str::to_owned)), ("by", process_env()("USER"))]);
    let mut made = pin!(caller.thing("POST", &order, None));
    loop {
        tokio::select! {
            made = &mut made => return made,
            () = tokio::time::sleep(PROGRESS), if std::io::stderr().is_terminal() => {
                // It may be too busy to say so.
                let Ok(so_far) = caller.thing("GET", PATH, None).await else { continue };
                let count = |key: &str| so_far.get(key).and_then(Json::as_u64).unwrap_or_default();
                match count("copied").min(count("of")) {
                    copied if copied < count("of") => aside(format_args!("{copied} of {} records are copied", count("of"))),
                    _ => aside("the copy is read once"),
                }
            }
        }
    }
}

/// Puts a backup in the place of the data folder.
pub(super) async fn restore(file: &Path, is_json: bool, folder: &Path, clock: Clock) -> Result<(), Failure> {
    let config = what_is_needed(file)?;
    make_data_folder(&config)?;
    let data = fs::canonicalize(&config.host.data).or_else(|_| std::path::absolute(&config.host.data));
    let data = data.map_err(|error| Failure::failed(error.to_string(), ""))?;
    if !folder.join("store").join("db").is_file() {
        return Err(Failure::failed(format!("`{}` holds no backup", folder.display()), "name a folder that `membrana backup` wrote"));
    }
    if folder.extension().is_some_and(|end| end == "part") {
        return Err(Failure::failed(format!("`{}` is of a backup that was broken off", folder.display()), "restore one that was made whole"));
    }
    // A medium that cannot be locked is in nobody's use.
    let source = match SledStore::keep_others_out(folder) {
        Err(StoreError::InUse(_)) => {
            let message = format!("`{}` is in use: a host works on it, or another `restore`", folder.display());
            return Err(Failure::failed(message, "make a backup with `membrana backup FOLDER`, and restore that"));
        }
        locked => locked.ok(),
    };
    let me = rustix::process::geteuid().as_raw();
    if fs::metadata(&data).is_ok_and(|before| before.uid() != me) {
        let message = format!("`{}` belongs to another user, who could not read what you restore", data.display());
        return Err(Failure::failed(message, "restore it as the user whom the host runs as: `sudo -u USER membrana restore …`"));
    }
    nobody_works_on(&data);
    let alone = SledStore::keep_others_out(&data).map_err(|failure| in_words(&failure))?;
    let now = clock.now();
    let new = beside(&data, "restoring");
    if new.exists() {
        let message = format!("`{}` is there: what is left of a restore that was broken off, or something else", new.display());
        return Err(Failure::failed(message, "look at it and remove it, then restore again"));
    }
    let (from, into) = (folder.to_owned(), new.clone());
    let copied = tokio::task::spawn_blocking(move || copy_folder(&from, &into)).await;
    drop(source);
    let prepared = match copied {
        Ok(Ok(())) => prepare(&new, folder, now).await,
        Ok(Err(failure)) => Err(Failure::failed(format!("cannot copy the backup: {failure}"), "may it be read, and is there room?")),
        Err(failure) => Err(Failure::failed(failure.to_string(), "")),
    };
    // Only until the two are exchanged: from there on what was there may lie under this name.
    let restored = prepared.inspect_err(|_| drop(fs::remove_dir_all(&new)))?;
    let kept = put_in_place(&new, &data, now, alone)?;
    tell(is_json, &data, &restored, kept.as_deref())
}

/// What is in place.
struct Restored {
    verified: Verified,
    /// What is wrong with the chain of the audit log, in words.
    audit_damage: Vec<String>,
    /// Replies that may have gone out since.
    n_uncertain: usize,
}

/// Reads the copy of the backup in `folder` whole, and marks what may have happened since.
async fn prepare(new: &Path, folder: &Path, now: Timestamp) -> Result<Restored, Failure> {
    // It is found in the copy, which is gone by the time that this is read.
    let named = |what: &str| what.replace(&*new.to_string_lossy(), &folder.to_string_lossy());
    let damaged = |what: &str| {
        Failure::failed(format!("the backup `{}` is damaged: {}", folder.display(), named(what)), "restore another one; nothing was changed")
    };
    let store = SledStore::open(new).map_err(|failure| match failure {
        StoreError::Damaged { what, .. } => damaged(&what),
        other => in_words(&other),
    })?;
    let mut verified = store.verify().await.map_err(|failure| in_words(&failure))?;
    if let Some(first) = verified.damage.first() {
        return Err(damaged(&format!("{first}{}", if verified.damage.len() > 1 { ", and more" } else { "" })));
    }
    let n_uncertain = doubt(store.as_ref(), now).await.map_err(|failure| in_words(&failure))?;
    store.mark_restored(now).await.map_err(|failure| in_words(&failure))?;
    store.close().await.map_err(|failure| in_words(&failure))?;
    verified.lost = verified.lost.iter().map(|what| named(what)).collect();
    let audit = Audit::new(new);
    let (_, audit_damage) = audit.verify().await.map_err(|failure| cannot(&failure))?;
    audit.restored(now, process_env()("USER")).await.map_err(|failure| cannot(&failure))?;
    sync_folder(new).map_err(|failure| cannot(&failure))?;
    Ok(Restored { verified, audit_damage, n_uncertain })
}

/// What was about to go out may have gone out since the backup was made: it is looked up, or is a person's.
async fn doubt(store: &SledStore, now: Timestamp) -> Result<usize, StoreError> {
    let mut n_uncertain = 0;
    for channel in store.channels().await? {
        let mut after = None;
        loop {
            let page = store.actions(&channel, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.interaction, last.id));
            let doubted: Vec<Action> = page.into_iter().filter_map(|action| doubted(action, now)).collect();
            n_uncertain += doubted.iter().filter(|action| action.state == ActionState::Unknown).count();
            commit(store, &channel, now, doubted).await?;
        }
    }
    Ok(n_uncertain)
}

fn doubted(action: Action, now: Timestamp) -> Option<Action> {
    match action.state {
        ActionState::Pending | ActionState::Claimed | ActionState::Retry | ActionState::Dead => Some(action.in_doubt(now)),
        ActionState::AwaitingApproval => {
            let error = Some("a backup was put in place: it may have been approved, and gone out, since that was made".to_owned());
            Some(Action { error, revision: action.revision + 1, ..action })
        }
        _ => None,
    }
}

async fn commit(store: &SledStore, channel: &ChannelName, now: Timestamp, actions: Vec<Action>) -> Result<(), StoreError> {
    if actions.is_empty() {
        return Ok(());
    }
    let mut commit = Commit::new(channel.clone(), now);
    commit.actions = actions;
    store.commit(commit).await.map(drop)
}

/// Gives where what was there is kept.
fn put_in_place(new: &Path, data: &Path, now: Timestamp, alone: Option<File>) -> Result<Option<PathBuf>, Failure> {
    let cannot = |failure: &std::io::Error| match failure.kind() {
        std::io::ErrorKind::ResourceBusy | std::io::ErrorKind::CrossesDevices => Failure::failed(
            format!("`{}` cannot be put aside: {failure}", data.display()),
            "where it is a mount point, set `data` in [host] to a folder inside it, and restore again",
        ),
        _ => cannot(failure),
    };
    if let Ok(before) = fs::metadata(data) {
        // Who may read it stays as it was.
        fs::set_permissions(new, before.permissions()).map_err(|failure| cannot(&failure))?;
    }
    // Where there was no store before, a host may have begun one meanwhile.
    let alone = match alone {
        None => SledStore::keep_others_out(data).map_err(|failure| in_words(&failure))?,
        alone => alone,
    };
    let kept = data.exists().then(|| beside(data, &format!("before-{}", shown::rfc3339(now).replace(':', ""))));
    match &kept {
        Some(kept) => match exchange(new, data) {
            // A file system that cannot.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => fs::rename(data, kept).and_then(|()| fs::rename(new, data)),
            exchanged => exchanged.and_then(|()| fs::rename(new, kept)),
        },
        None => fs::rename(new, data),
    }
    .map_err(|failure| cannot(&failure))?;
    drop(alone);
    let parent = data.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all());
    parent.map_err(|failure| cannot(&failure))?;
    Ok(kept)
}

/// At once, so that whoever starts in this moment finds the one or the other.
fn exchange(new: &Path, data: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::renameat_with(rustix::fs::CWD, new, rustix::fs::CWD, data, rustix::fs::RenameFlags::EXCHANGE)?)
}

fn beside(data: &Path, end: &str) -> PathBuf {
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{end}"));
    data.with_file_name(name)
}

fn in_words(failure: &StoreError) -> Failure {
    let cure = match failure {
        StoreError::InUse(_) => "stop the host first; a backup is put in place while nobody works on the data",
        StoreError::NewerFormat { .. } => "restore it with the build that wrote it, or a newer one",
        _ => "nothing was changed",
    };
    Failure::failed(chain(failure).to_string(), cure)
}

fn cannot(failure: &std::io::Error) -> Failure {
    Failure::failed(format!("the backup cannot be put in place: {failure}"), "may this user write beside the data folder, and is there room?")
}

fn tell(is_json: bool, data: &Path, restored: &Restored, kept: Option<&Path>) -> Result<(), Failure> {
    let Restored { verified, audit_damage, n_uncertain } = restored;
    if is_json {
        return put_json(json!({
            "data": data, "entries": verified.n_entries, "records": verified.n_records, "uncertain": n_uncertain, "lost": verified.lost, "audit": audit_damage, "kept": kept,
        }));
    }
    put(format_args!(
        "`{}` is as in the backup: {} entries in {} records, read whole once.",
        data.display(),
        verified.n_entries,
        verified.n_records
    ))?;
    for (what, found) in [("The backup lacks what its store names", &verified.lost), ("The backup's audit log was edited", audit_damage)] {
        if let Some(first) = found.first() {
            put(format_args!("{what}: {first}{} (`membrana verify` names all); all else is there.", and_more(found.len())))?;
        }
    }
    if let Some(kept) = kept {
        put(format_args!("What was there is kept in `{}`; remove it when you need it no more.", kept.display()))?;
    }
    if *n_uncertain > 0 {
        put(format_args!(
            "{} may have gone out since: each is looked up on its network, or waits for a person (`membrana outbox list --state human`).",
            if *n_uncertain == 1 { "1 reply".to_owned() } else { format!("{n_uncertain} replies") }
        ))?;
    }
    put(
        "Automatic replies to what was said until now wait for a person. Where a network renewed its tokens since, log in again: `membrana channel login`.",
    )?;
    put("Start the host: `membrana run`.")
}
