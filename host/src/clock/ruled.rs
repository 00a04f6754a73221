//! Time that one hand rules: it stands still until it is moved, and whoever waits for it is woken by that and by nothing else.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::{Either, select};

use crate::model::Timestamp;

/// See the module.
#[derive(Debug)]
pub struct Ruled {
    /// Never goes back.
    now: AtomicU64,
    /// How far ahead of it the host's clock was put.
    ahead_ms: AtomicU64,
    /// The latest that the host's clock showed before it was put elsewhere.
    latest: AtomicU64,
    /// By when they are due and in which order they came.
    waiting: Mutex<BTreeMap<(u64, u64), Waker>>,
    n_waited: AtomicU64,
}

impl Ruled {
    /// Time that stands still here.
    pub fn new(start: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            now: AtomicU64::new(start.0),
            ahead_ms: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            waiting: Mutex::default(),
            n_waited: AtomicU64::new(0),
        })
    }

    /// The true time.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Relaxed))
    }

    /// What the host's clock shows.
    pub fn shown(&self) -> Timestamp {
        Timestamp(self.now().0 + self.ahead_ms.load(Ordering::Relaxed))
    }

    /// The latest that the host's clock ever showed.
    pub fn latest(&self) -> Timestamp {
        Timestamp(self.latest.load(Ordering::Relaxed)).max(self.shown())
    }

    /// Puts the host's clock so far ahead of the true time; less than before puts it back.
    pub fn put_ahead(&self, by: Duration) {
        self.latest.fetch_max(self.shown().0, Ordering::Relaxed);
        self.ahead_ms.store(by.as_millis() as u64, Ordering::Relaxed);
    }

    /// When the next of those that wait is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.waiting().keys().next().map(|(due, _)| Timestamp(*due))
    }

    /// Moves the time on and wakes who is due by then.
    pub fn move_to(&self, to: Timestamp) {
        self.now.fetch_max(to.0, Ordering::Relaxed);
        let mut waiting = self.waiting();
        let later = waiting.split_off(&(to.0 + 1, 0));
        let due = std::mem::replace(&mut *waiting, later);
        drop(waiting);
        due.into_values().for_each(Waker::wake);
    }

    /// Waits so long.
    pub fn sleep(self: &Arc<Self>, wait: Duration) -> impl Future<Output = ()> + Send + use<> {
        Sleep { time: Arc::clone(self), due: self.now().plus(wait), place: None }
    }

    /// Waits for `work`, but no longer than this.
    pub async fn within<T>(self: &Arc<Self>, wait: Duration, work: impl Future<Output = T>) -> Option<T> {
        match select(pin!(work), pin!(self.sleep(wait))).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<(u64, u64), Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Sleep {
    time: Arc<Ruled>,
    due: Timestamp,
    place: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.time.now() >= self.due {
            return Poll::Ready(());
        }
        let place = self.place.unwrap_or_else(|| self.time.n_waited.fetch_add(1, Ordering::Relaxed));
        self.place = Some(place);
        self.time.waiting().insert((self.due.0, place), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.time.waiting().remove(&(self.due.0, place));
        }
    }
}
