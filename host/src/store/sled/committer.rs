//! One thread that makes what was written durable, for all who wait at once.
//!
//! sled's own flush does not fsync: after it the host syncs the file itself. A failed sync is final: nothing is acknowledged
//! any more, for nobody can tell what the disk holds.

use std::fs::File;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use tracing::error;

use crate::store::StoreError;

type Waiter = oneshot::Sender<Result<(), String>>;

/// See the module.
pub(super) struct Committer {
    queue: Mutex<Option<Sender<Waiter>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Committer {
    pub(super) fn start(db: sled::Db, file: File) -> Result<Self, StoreError> {
        let (queue, waiting) = channel();
        let run = move || serve(&db, &file, &waiting);
        let thread =
            std::thread::Builder::new().name("store-commit".to_owned()).spawn(run).map_err(|source| StoreError::Io { step: "open", source })?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    /// Returns when everything written before the call is durable.
    pub(super) async fn sync(&self) -> Result<(), StoreError> {
        let (done, wait) = oneshot::channel();
        let sent = match &*self.queue.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(queue) => queue.send(done).is_ok(),
            None => false,
        };
        if !sent {
            return Err(StoreError::Closed("the host is stopping".to_owned()));
        }
        match wait.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(StoreError::Closed(why)),
            Err(_) => Err(StoreError::Closed("the host is stopping".to_owned())),
        }
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

fn serve(db: &sled::Db, file: &File, waiting: &Receiver<Waiter>) {
    let mut broken: Option<String> = None;
    while let Ok(first) = waiting.recv() {
        let group: Vec<Waiter> = std::iter::once(first).chain(waiting.try_iter()).collect();
        if broken.is_none() {
            broken = flush(db, file).err();
            if let Some(why) = &broken {
                error!(error = why.as_str(), "Sync failed: the store takes nothing more. Check the disk and start again.");
            }
        }
        let answer = broken.clone().map_or(Ok(()), Err);
        for waiter in group {
            // Who no longer waits needs no answer.
            drop(waiter.send(answer.clone()));
        }
    }
}

fn flush(db: &sled::Db, file: &File) -> Result<(), String> {
    db.flush().map_err(|error| format!("flush: {error}"))?;
    file.sync_data().map_err(|error| format!("fsync: {error}"))
}
