//! The only reader of the time. Everything else takes a [`Clock`], so that tests move the time by hand.
//!
//! What waits for time to pass waits here, too: in a simulation (`ruled`) the same hand then decides who wakes and when.

#[cfg(test)]
mod ruled;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

#[cfg(test)]
pub use ruled::Ruled;

/// Tells the time. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Simulated(Arc<AtomicU64>),
    #[cfg(test)]
    Ruled(Arc<Ruled>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Clock::advance`].
    pub fn simulated(start: Timestamp) -> Self {
        Self(Source::Simulated(Arc::new(AtomicU64::new(start.0))))
    }

    /// A clock of a simulation: what it measures and what waits for it is simulated, too.
    #[cfg(test)]
    pub fn ruled(time: Arc<Ruled>) -> Self {
        Self(Source::Ruled(time))
    }

    /// Now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system's clock")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
            Source::Simulated(now) => Timestamp(now.load(Ordering::Acquire)),
            #[cfg(test)]
            Source::Ruled(time) => time.shown(),
        }
    }

    /// Moves a simulated clock on; the system's clock does not care.
    pub fn advance(&self, by: Duration) {
        if let Source::Simulated(now) = &self.0 {
            now.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::AcqRel);
        }
    }

    /// Puts a simulated clock back, as an admin or a time server may.
    #[cfg(test)]
    pub fn put_back(&self, by: Duration) {
        if let Source::Simulated(now) = &self.0 {
            now.fetch_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::AcqRel);
        }
    }

    /// Starts measuring how long something takes; outside a simulation measuring is never simulated.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system's clock")]
    pub fn stopwatch(&self) -> Stopwatch {
        match &self.0 {
            #[cfg(test)]
            Source::Ruled(time) => Stopwatch(Begun::Ruled(Arc::clone(time), time.now())),
            _ => Stopwatch(Begun::System(Instant::now())),
        }
    }

    /// Waits so long, by the machine's own clock however the time is moved. Cancel: safe.
    pub async fn sleep(&self, wait: Duration) {
        match &self.0 {
            #[cfg(test)]
            Source::Ruled(time) => time.sleep(wait).await,
            _ => tokio::time::sleep(wait).await,
        }
    }

    /// Waits for `work`, but no longer than this, measured as in [`Clock::sleep`]; `None` where it was not done. Cancel: as `work`.
    pub async fn within<T>(&self, wait: Duration, work: impl Future<Output = T>) -> Option<T> {
        match &self.0 {
            #[cfg(test)]
            Source::Ruled(time) => time.within(wait, work).await,
            _ => tokio::time::timeout(wait, work).await.ok(),
        }
    }
}

/// A wait of which nothing is stored. It is over in its time, and as soon as the clock was put back to before it began: whoever is set right
/// after it ran ahead must not wait for what it showed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wait {
    begun: Timestamp,
    until: Timestamp,
}

impl Wait {
    /// So long from now on.
    pub fn of(length: Duration, now: Timestamp) -> Self {
        Self { begun: now, until: now.plus(length) }
    }

    /// Its end, as long as it is not over.
    pub fn left(self, now: Timestamp) -> Option<Timestamp> {
        (self.begun <= now && now < self.until).then_some(self.until)
    }
}

/// Measures how long something takes.
#[derive(Debug, Clone)]
pub struct Stopwatch(Begun);

#[derive(Debug, Clone)]
enum Begun {
    System(Instant),
    #[cfg(test)]
    Ruled(Arc<Ruled>, Timestamp),
}

impl Stopwatch {
    /// Since it was started.
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Begun::System(begun) => begun.elapsed(),
            #[cfg(test)]
            Begun::Ruled(time, begun) => Duration::from_millis(time.now().since_ms(*begun)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_in_its_time_and_with_a_clock_that_is_put_back_behind_its_beginning() {
        let wait = Wait::of(Duration::from_millis(10), Timestamp(100));
        let left = [99, 100, 109, 110].map(|now| wait.left(Timestamp(now)));
        assert_eq!(left, [None, Some(Timestamp(110)), Some(Timestamp(110)), None]);
        assert_eq!(Wait::default().left(Timestamp(0)), None);
    }
}
