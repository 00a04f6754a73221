//! One thread that makes what was written durable, for all who wait at once.
//!
//! sled's own flush does not fsync: after it the host syncs the file itself. A failed sync is final: nothing is acknowledged
//! any more, for nobody can tell what the disk holds.

use std::fs::File;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tracing::error;

use crate::store::StoreError;

/// Who waits at once; more wait for a place.
const WAITERS_MAX: usize = 1024;

type Waiter = oneshot::Sender<Result<(), String>>;

/// See the module.
pub(super) struct Committer {
    queue: Mutex<Option<Sender<Waiter>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    broken: Arc<OnceLock<String>>,
}

impl Committer {
    pub(super) fn start(db: sled::Db, file: File) -> Result<Self, StoreError> {
        Self::over(move || flush(&db, &file))
    }

    /// With another way to sync, so that a test can let it fail.
    fn over(flush: impl FnMut() -> Result<(), String> + Send + 'static) -> Result<Self, StoreError> {
        let (queue, waiting) = channel(WAITERS_MAX);
        let broken = Arc::new(OnceLock::new());
        let told = Arc::clone(&broken);
        let run = move || serve(flush, waiting, &told);
        let thread =
            std::thread::Builder::new().name("store-commit".to_owned()).spawn(run).map_err(|source| StoreError::Io { step: "open", source })?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)), broken })
    }

    /// Returns when everything written before the call is durable.
    pub(super) async fn sync(&self) -> Result<(), StoreError> {
        let (done, wait) = oneshot::channel();
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(queue) = queue else { return Err(stopping()) };
        queue.send(done).await.map_err(|_| stopping())?;
        drop(queue);
        match wait.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(StoreError::Closed(why)),
            Err(_) => Err(stopping()),
        }
    }

    /// Says whether a sync can succeed.
    pub(super) fn health(&self) -> Result<(), StoreError> {
        if let Some(why) = self.broken.get() {
            return Err(StoreError::Closed(why.clone()));
        }
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

fn serve(mut flush: impl FnMut() -> Result<(), String>, mut waiting: Receiver<Waiter>, broken: &OnceLock<String>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut group = vec![first];
        while let Ok(next) = waiting.try_recv() {
            group.push(next);
        }
        if broken.get().is_none()
            && let Err(why) = flush()
        {
            error!(error = why.as_str(), "Sync failed: the store takes nothing more. Check the disk and start again.");
            broken.get_or_init(|| why);
        }
        let answer = broken.get().cloned().map_or(Ok(()), Err);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_sync_is_final_and_tells_in_the_health() {
        // given a disk that fails once and would be well again
        let mut n_calls = 0;
        let committer = Committer::over(move || {
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
