//! What all of one simulation share: its dice, its time, its trace, and what was found wrong. One seed decides everything.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use membrana_world::Dice;

use super::planted::Planted;
use crate::clock::Ruled;
use crate::model::Timestamp;
use crate::stage::Journal;
use crate::testing::START;

/// Whose a task is: the host's end with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Host,
    Others,
}

/// A task that is to begin.
pub(super) type Begun = (Owner, String, BoxFuture<'static, ()>);

/// See the module.
pub(super) struct World {
    pub(super) time: Arc<Ruled>,
    /// A defect that somebody planted, to see whether it is found.
    pub(super) planted: Option<Planted>,
    dice: Mutex<Dice>,
    trace: Mutex<Trace>,
    wrongs: Mutex<Vec<String>>,
    begun: Mutex<Vec<Begun>>,
    is_calm: AtomicBool,
    /// Calls of a network that did not come back yet: the world does not leap over them.
    n_calling: AtomicUsize,
    /// Whoever is at something that takes time, and does not merely wait for its next turn.
    n_busy: AtomicUsize,
    /// Of the host that runs, if one does.
    journal: Mutex<Option<Journal>>,
}

/// One line an event, and the digest of all of them and of every choice between them.
#[derive(Default)]
pub(super) struct Trace {
    pub(super) lines: Vec<String>,
    digest: blake3::Hasher,
}

impl Trace {
    pub(super) fn digest(&self) -> String {
        self.digest.finalize().to_hex().chars().take(16).collect()
    }
}

impl World {
    pub(super) fn new(seed: u64, planted: Option<Planted>) -> Arc<Self> {
        Arc::new(Self {
            time: Ruled::new(START),
            planted,
            dice: Mutex::new(Dice::new(seed)),
            trace: Mutex::default(),
            wrongs: Mutex::default(),
            begun: Mutex::default(),
            is_calm: AtomicBool::new(false),
            n_calling: AtomicUsize::new(0),
            n_busy: AtomicUsize::new(0),
            journal: Mutex::default(),
        })
    }

    /// 0 to `end`, without it.
    pub(super) fn below(&self, end: u64) -> u64 {
        locked(&self.dice).below(end)
    }

    pub(super) fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// As [`World::chance`], while there is trouble.
    pub(super) fn trouble(&self, percent: u64) -> bool {
        !self.is_calm() && self.chance(percent)
    }

    pub(super) fn has(&self, planted: Planted) -> bool {
        self.planted == Some(planted)
    }

    pub(super) fn is_calm(&self) -> bool {
        self.is_calm.load(Ordering::Relaxed)
    }

    pub(super) fn calm_down(&self) {
        self.is_calm.store(true, Ordering::Relaxed);
        self.tell("calm");
    }

    pub(super) fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// One line of the trace.
    pub(super) fn tell(&self, what: impl AsRef<str>) {
        let line = format!("{:>10} {}", self.now().since_ms(START), what.as_ref());
        let mut trace = locked(&self.trace);
        trace.digest.update(line.as_bytes());
        trace.lines.push(line);
    }

    /// A choice too small for a line.
    pub(super) fn chose(&self, what: u64) {
        locked(&self.trace).digest.update(&what.to_le_bytes());
    }

    /// Something that must never be.
    pub(super) fn wrong(&self, what: String) {
        self.tell(format!("WRONG {what}"));
        locked(&self.wrongs).push(what);
    }

    pub(super) fn wrongs(&self) -> Vec<String> {
        locked(&self.wrongs).clone()
    }

    pub(super) fn take_trace(&self) -> Trace {
        std::mem::take(&mut *locked(&self.trace))
    }

    /// Begins a task at the scheduler's next step.
    pub(super) fn begin(&self, owner: Owner, name: String, task: BoxFuture<'static, ()>) {
        locked(&self.begun).push((owner, name, task));
    }

    pub(super) fn take_begun(&self) -> Vec<Begun> {
        std::mem::take(&mut *locked(&self.begun))
    }

    /// Something takes its time: none, a turn of the others, a moment, seldom half a minute.
    pub(super) async fn lag(&self) {
        match self.below(100) {
            0..=39 => {}
            40..=84 => Pause(false).await,
            85..=98 => self.take(1 + self.below(300)).await,
            _ if self.is_calm() => Pause(false).await,
            _ => self.take(500 + self.below(25_000)).await,
        }
    }

    async fn take(&self, ms: u64) {
        let _busy = Counted::one_more(&self.n_busy);
        self.time.sleep(Duration::from_millis(ms)).await;
    }

    /// Waits for a while between these, in seconds.
    pub(super) async fn pass(&self, least_s: u64, most_s: u64) {
        let wait_ms = least_s * 1000 + self.below((most_s - least_s) * 1000 + 1);
        self.time.sleep(Duration::from_millis(wait_ms)).await;
    }

    /// A host runs with this, or none does.
    pub(super) fn host_runs(&self, journal: Option<Journal>) {
        *locked(&self.journal) = journal;
    }

    pub(super) fn journal(&self) -> Option<Journal> {
        locked(&self.journal).clone()
    }

    pub(super) fn is_calling(&self) -> bool {
        self.n_calling.load(Ordering::Relaxed) > 0
    }

    /// Somebody is at work that takes time.
    pub(super) fn is_busy(&self) -> bool {
        self.n_busy.load(Ordering::Relaxed) > 0
    }

    /// On the way to a network or back.
    pub(super) async fn travel(&self) {
        let _calling = Counted::one_more(&self.n_calling);
        self.lag().await;
    }
}

/// One that counts until it is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn one_more(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets the others have a turn.
pub(super) struct Pause(pub(super) bool);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
