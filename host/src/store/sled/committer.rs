//! One thread that makes what was written durable, for all who wait at once; raw items it writes itself, those of a channel that wait
//! at once together: each write of its own costs sled two writes to the file, whatever its size.
//!
//! sled's own flush does not fsync: after it the host syncs the file itself. A failed sync is final, as a failed write is: nothing is
//! acknowledged any more, for nobody can tell what the disk holds.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tracing::error;

use crate::failpoint;
use crate::model::Timestamp;
use crate::store::StoreError;

use super::disk::Disk;
use super::live::Live;
use super::raws::Laid;
use super::txn;

/// Who waits at once; more wait for a place.
const WAITERS_MAX: usize = 1024;

type Waiter<T> = oneshot::Sender<Result<T, StoreError>>;

/// Of each raw item its place; none where it was there before.
type Places = Vec<Option<u64>>;

/// What somebody waits for.
enum Asked {
    /// That all written before is durable.
    Sync(Waiter<()>),
    /// That these are written and durable.
    Raws(Arc<Live>, Delivery, Waiter<Places>),
}

/// Raw items that came at one moment.
pub(super) struct Delivery {
    pub(super) at: Timestamp,
    pub(super) raws: Vec<Laid>,
}

/// See the module.
pub(super) struct Committer {
    queue: Mutex<Option<Sender<Asked>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    disk: Disk,
}

impl Committer {
    pub(super) fn start(disk: Disk, db: sled::Db, file: File) -> Result<Self, StoreError> {
        Self::over(disk, move || flush(&db, &file))
    }

    /// With another way to sync, so that a test can let it fail.
    fn over(disk: Disk, flush: impl FnMut() -> Result<(), String> + Send + 'static) -> Result<Self, StoreError> {
        let (queue, waiting) = channel(WAITERS_MAX);
        let written = disk.clone();
        let run = move || serve(&written, flush, waiting);
        let thread =
            std::thread::Builder::new().name("store-commit".to_owned()).spawn(run).map_err(|source| StoreError::Io { step: "open", source })?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)), disk })
    }

    /// Returns when everything written before the call is durable.
    pub(super) async fn sync(&self) -> Result<(), StoreError> {
        self.ask(Asked::Sync).await
    }

    /// As [`Committer::sync`], on a thread that may block.
    pub(super) fn sync_here(&self) -> Result<(), StoreError> {
        let (done, wait) = oneshot::channel();
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        queue.ok_or_else(stopping)?.blocking_send(Asked::Sync(done)).map_err(|_| stopping())?;
        wait.blocking_recv().unwrap_or_else(|_| Err(stopping()))
    }

    /// Writes raw items of a channel; returns when they are durable.
    pub(super) async fn raws(&self, live: Arc<Live>, delivery: Delivery) -> Result<Places, StoreError> {
        self.ask(|waiter| Asked::Raws(live, delivery, waiter)).await
    }

    async fn ask<T>(&self, asked: impl FnOnce(Waiter<T>) -> Asked) -> Result<T, StoreError> {
        let (done, wait) = oneshot::channel();
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        queue.ok_or_else(stopping)?.send(asked(done)).await.map_err(|_| stopping())?;
        wait.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Says whether a sync can succeed.
    pub(super) fn health(&self) -> Result<(), StoreError> {
        self.disk.usable()?;
        let is_open = self.queue.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if is_open { Ok(()) } else { Err(stopping()) }
    }

    /// Serves who waits, then ends the thread.
    pub(super) fn stop(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            error!("The thread that commits ended badly.");
        }
    }
}

impl Drop for Committer {
    /// The thread holds the store's lock; who opens it next must not find it held.
    fn drop(&mut self) {
        self.stop();
    }
}

fn stopping() -> StoreError {
    StoreError::Closed("the host is stopping".to_owned())
}

/// Who waits, and what for: those of one channel beside each other.
#[derive(Default)]
struct Group {
    syncs: Vec<Waiter<()>>,
    raws: BTreeMap<u32, Row>,
}

struct Row {
    live: Arc<Live>,
    deliveries: Vec<Delivery>,
    waiters: Vec<Waiter<Places>>,
}

impl Group {
    fn push(&mut self, asked: Asked) {
        match asked {
            Asked::Sync(waiter) => self.syncs.push(waiter),
            Asked::Raws(live, delivery, waiter) => {
                let new = Row { live: Arc::clone(&live), deliveries: Vec::new(), waiters: Vec::new() };
                let row = self.raws.entry(live.number).or_insert(new);
                row.deliveries.push(delivery);
                row.waiters.push(waiter);
            }
        }
    }
}

fn serve(disk: &Disk, mut flush: impl FnMut() -> Result<(), String>, mut waiting: Receiver<Asked>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut group = Group::default();
        group.push(first);
        for next in std::iter::from_fn(|| waiting.try_recv().ok()).take(WAITERS_MAX) {
            group.push(next);
        }
        let rows = group.raws.into_values().map(|row| {
            let places = disk.usable().and_then(|()| txn::commit_raws(disk, &row.live, row.deliveries));
            (places, row.waiters)
        });
        let rows: Vec<_> = rows.collect();
        if disk.usable().is_ok()
            && let Err(why) = failpoint::across("store", "sync", &mut flush)
        {
            disk.give_up(why);
        }
        // Who no longer waits needs no answer.
        group.syncs.into_iter().for_each(|waiter| drop(waiter.send(disk.usable())));
        for (places, waiters) in rows {
            answer(disk.usable().and(places), waiters);
        }
    }
}

/// To each its places, or to all why there are none.
fn answer(places: Result<Vec<Places>, StoreError>, waiters: Vec<Waiter<Places>>) {
    match places {
        Ok(places) => waiters.into_iter().zip(places).for_each(|(waiter, places)| drop(waiter.send(Ok(places)))),
        Err(error) => waiters.into_iter().for_each(|waiter| drop(waiter.send(Err(alike(&error))))),
    }
}

/// One failure of many: an error of the system cannot be cloned.
fn alike(error: &StoreError) -> StoreError {
    match error {
        StoreError::Io { step, source } => StoreError::Io { step, source: std::io::Error::new(source.kind(), source.to_string()) },
        StoreError::Closed(why) => StoreError::Closed(why.clone()),
        StoreError::Full { free, least } => StoreError::Full { free: *free, least: *least },
        other => StoreError::damaged(other.what()),
    }
}

fn flush(db: &sled::Db, file: &File) -> Result<(), String> {
    db.flush().map_err(|error| format!("flush: {error}"))?;
    file.sync_data().map_err(|error| format!("fsync: {error}"))
}

#[cfg(test)]
mod tests {
    use crate::store::sled::space::Space;

    use super::*;

    #[tokio::test]
    async fn a_failed_sync_is_final_and_tells_in_the_health() {
        // given a disk that fails once and would be well again
        let mut n_calls = 0;
        let db = sled::Config::new().temporary(true).open().unwrap();
        let disk = Disk::new((*db).clone(), Arc::new(Space::of(std::path::Path::new("."))));
        let committer = Committer::over(disk, move || {
            n_calls += 1;
            if n_calls == 2 { Err("fsync: no".to_owned()) } else { Ok(()) }
        })
        .unwrap();

        // when
        let (first, second, third) = (committer.sync().await, committer.sync().await, committer.sync().await);

        // then
        assert!(first.is_ok());
        assert!(matches!(second, Err(StoreError::Closed(_))));
        assert!(matches!(third, Err(StoreError::Closed(_))), "nobody can tell what the disk holds");
        assert!(matches!(committer.health(), Err(StoreError::Closed(why)) if why.contains("fsync")));
    }
}
