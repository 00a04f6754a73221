//! The one durable loop that every stage is: claim, do, commit, woken by a bell and by a slow tick.
//!
//! One task per (stage, channel), so that a channel in trouble holds no other. Nothing is handed from stage to stage but
//! through the store: a lost wake-up or a crash costs time, never work.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::clock::{Clock, Wait};
use crate::failpoint;
use crate::model::{ChannelName, NewRaw, Timestamp};
use crate::store::{Commit, Committed, Store, StoreError};
use crate::telemetry::chain;

/// Between two looks for work that no bell announced.
const TICK: Duration = Duration::from_secs(1);
/// First wait after a failed turn; doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Between two looks whether a build that proved worse than the one before is replaced.
const CONDEMNED_WAIT: Duration = Duration::from_millis(50);
/// Commits that found something changed under them are done again at once, so many times in a row.
const CONFLICTS_MAX: u32 = 8;

/// The store, the time, and the bells that tell stages of a channel that something was committed.
#[derive(Clone)]
pub struct Journal {
    /// What is durable.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Clock,
    bells: Arc<Mutex<HashMap<ChannelName, watch::Sender<u64>>>>,
}

impl Journal {
    /// A journal over this store.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock, bells: Arc::default() }
    }

    /// A commit for this channel, dated now.
    pub fn begin(&self, channel: &ChannelName) -> Commit {
        Commit::new(channel.clone(), self.clock.now())
    }

    /// Makes it durable, then wakes the channel's stages.
    pub async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let channel = commit.channel.clone();
        let committed = self.commit_unheard(commit).await?;
        self.ring(&channel);
        Ok(committed)
    }

    /// Makes durable what no stage waits for.
    pub async fn commit_unheard(&self, commit: Commit) -> Result<Committed, StoreError> {
        failpoint::around("commit", failpoint::turn(), self.store.commit(commit)).await
    }

    /// Makes raw items durable, then wakes the channel's intake.
    pub async fn commit_raw(&self, channel: &ChannelName, at: Timestamp, raws: Vec<NewRaw>) -> Result<Vec<Option<u64>>, StoreError> {
        let places = failpoint::around("commit", "raw", self.store.commit_raw(channel, at, raws)).await?;
        self.ring(channel);
        Ok(places)
    }

    /// Wakes all stages of a channel.
    pub fn ring(&self, channel: &ChannelName) {
        self.bell(channel).send_modify(|n| *n = n.wrapping_add(1));
    }

    /// The end of a turn of a build that proved worse than the one before: what it said is not kept, for the one that is about to take
    /// its place says it again.
    pub fn left_to_the_build_before(&self) -> Turn {
        Turn::Until(self.clock.now().plus(CONDEMNED_WAIT))
    }

    /// From now on it rests so long.
    pub fn rest(&self, rest: &mut Wait, length: Duration) -> Turn {
        let now = self.clock.now();
        *rest = Wait::of(length, now);
        Turn::Until(now.plus(length))
    }

    /// The bell of a channel, to wait on.
    pub fn listen(&self, channel: &ChannelName) -> watch::Receiver<u64> {
        self.bell(channel).subscribe()
    }

    fn bell(&self, channel: &ChannelName) -> watch::Sender<u64> {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.entry(channel.clone()).or_insert_with(|| watch::Sender::new(0)).clone()
    }
}

/// What one turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Something was done; look again at once.
    Worked,
    /// Nothing to do until the bell rings.
    Idle,
    /// Nothing to do until the bell rings or this moment.
    Until(Timestamp),
}

/// One stage's work on one channel.
#[async_trait]
pub trait Work: Send + Sync + 'static {
    /// The stage's name in logs.
    fn stage(&self) -> &'static str;

    /// The channel served.
    fn channel(&self) -> &ChannelName;

    /// Does one bounded piece of work. Called again at once after [`Turn::Worked`]; an error backs off, doubling.
    async fn turn(&self) -> Result<Turn, StageError>;
}

/// Why a turn failed. Plugin faults are data and never come here.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The store said no.
    #[error("cannot use the store")]
    Store(#[from] StoreError),
    /// Something else that time may mend, in words.
    #[error("{0}")]
    Other(String),
    /// A mistake of ours; the stage goes on with the next turn.
    #[error("panicked: {0}")]
    Panicked(String),
}

/// Runs a stage on a channel until it is told to stop. A turn under way is finished first.
pub async fn run(work: Arc<dyn Work>, journal: Journal, stop: CancellationToken) {
    let mut bell = journal.listen(work.channel());
    let mut backoff = BACKOFF_MIN;
    let mut conflicts = 0;
    while !stop.is_cancelled() {
        // On a full disk nothing begins, and what was begun has ended; the store has told.
        if matches!(journal.store.health().await, Err(StoreError::Full { .. })) {
            rest(&journal.clock, &stop, TICK).await;
            continue;
        }
        bell.mark_unchanged();
        let wait = match caught(work.as_ref()).await {
            Ok(Turn::Worked) => {
                (backoff, conflicts) = (BACKOFF_MIN, 0);
                // Gives way to the other channels on this thread.
                tokio::task::yield_now().await;
                continue;
            }
            Ok(Turn::Idle) => TICK,
            Ok(Turn::Until(due)) => Duration::from_millis(due.since_ms(journal.clock.now())).min(TICK),
            Err(StageError::Store(StoreError::Conflict(_))) if conflicts < CONFLICTS_MAX => {
                conflicts += 1;
                continue;
            }
            Err(failure) => {
                report(work.as_ref(), &failure);
                rest(&journal.clock, &stop, backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
                continue;
            }
        };
        (backoff, conflicts) = (BACKOFF_MIN, 0);
        tokio::select! {
            () = stop.cancelled() => {}
            _ = bell.changed() => {}
            () = journal.clock.sleep(wait) => {}
        }
    }
}

/// One turn; a panic costs the turn and never the stage.
async fn caught(work: &dyn Work) -> Result<Turn, StageError> {
    AssertUnwindSafe(failpoint::within(work.stage(), work.turn())).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
        Err(StageError::Panicked(text.unwrap_or_else(|| "for an unknown reason".to_owned())))
    })
}

async fn rest(clock: &Clock, stop: &CancellationToken, wait: Duration) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = clock.sleep(wait) => {}
    }
}

fn report(work: &dyn Work, failure: &StageError) {
    let (stage, channel) = (work.stage(), work.channel());
    match failure {
        StageError::Store(StoreError::Full { .. }) => debug!(stage, %channel, error = %chain(failure), "Turn could not be kept; will try again."),
        StageError::Store(_) | StageError::Panicked(_) => error!(stage, %channel, error = %chain(failure), "Turn failed; will try again."),
        StageError::Other(_) => warn!(stage, %channel, error = %chain(failure), "Turn failed; will try again."),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::testing::Stand;

    struct Clumsy {
        channel: ChannelName,
        n_turns: AtomicU32,
        stop: CancellationToken,
    }

    #[async_trait]
    impl Work for Clumsy {
        fn stage(&self) -> &'static str {
            "clumsy"
        }

        fn channel(&self) -> &ChannelName {
            &self.channel
        }

        async fn turn(&self) -> Result<Turn, StageError> {
            let n_turns = self.n_turns.fetch_add(1, Ordering::Relaxed);
            assert!(n_turns > 0, "the first turn stumbles");
            self.stop.cancel();
            Ok(Turn::Idle)
        }
    }

    #[tokio::test]
    async fn a_panic_costs_a_turn_and_never_the_stage() {
        // given
        let (stand, stop) = (Stand::new("blog"), CancellationToken::new());
        let work = Arc::new(Clumsy { channel: stand.channel.clone(), n_turns: AtomicU32::new(0), stop: stop.clone() });

        // when
        let stage = run(Arc::clone(&work) as Arc<dyn Work>, stand.journal.clone(), stop);
        tokio::time::timeout(Duration::from_secs(20), stage).await.expect("the stage ends when it is told to, not before");

        // then
        assert_eq!(work.n_turns.load(Ordering::Relaxed), 2);
    }
}
