//! How much room the store's disk has left: what would begin is refused while there is still enough to end what was begun.
//!
//! sled must not meet a full disk: its error is final, and every later call gets it until the store is opened again, which a process
//! that serves cannot do. So nothing begins below one mark, and what was begun, as the outcome of a reply that went out, may be written
//! down to a lower one. It heals by itself: the system is asked anew each time, or, while there is plenty, some times a second: a look
//! costs some microseconds, and a webhook has two.
//! What it cannot prevent is another program that takes all the room between a look and the write that follows: then the store takes
//! nothing more, says so in its health, and a start with room opens it again.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracing::{error, info};

use crate::store::StoreError;

/// Nothing begins with less: a webhook, a turn of a stage. Units: bytes.
const BEGIN_MIN: u64 = 64 << 20;
/// Once refused, so much must be free before anything begins again, so that it is told once. Units: bytes.
const RESUME_MIN: u64 = 80 << 20;
/// What was begun is written down to this: what is left is sled's own, for what it has not written yet. Units: bytes.
const END_MIN: u64 = 32 << 20;
/// A backup leaves so much. Units: bytes.
const SPARE_MIN: u64 = 256 << 20;
/// A look that finds twice as much is good for a while: in that time no writes take half of it away. Units: bytes.
const PLENTY_MIN: u64 = 4 << 30;
const GOOD_FOR: Duration = Duration::from_millis(50);
/// sled writes a value about so often, until its page is written anew.
const WRITTEN_TIMES: u64 = 2;

/// Says how many bytes are free.
type Look = Box<dyn Fn() -> io::Result<u64> + Send + Sync>;

/// See the module.
pub(super) struct Space {
    look: Look,
    begun: Instant,
    /// Until when the last look is good, since `begun`. Units: milliseconds.
    good_until: AtomicU64,
    /// Bytes of bodies that are being written.
    pending: AtomicU64,
    is_full: AtomicBool,
}

/// Room for bodies that are being written, until this is dropped.
pub(super) struct Held<'a> {
    space: &'a Space,
    bytes: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.space.pending.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Space {
    /// Of the file system that this folder lies on.
    pub(super) fn of(dir: &Path) -> Self {
        let dir = dir.to_owned();
        Self::over(Box::new(move || Ok(rustix::fs::statvfs(&dir).map(|found| found.f_bavail.saturating_mul(found.f_frsize))?)))
    }

    pub(super) fn over(look: Look) -> Self {
        Self { look, begun: now(), good_until: AtomicU64::new(0), pending: AtomicU64::new(0), is_full: AtomicBool::new(false) }
    }

    /// What cannot be known must not hold anybody up: the write itself will tell. At least so much, where a look found plenty just now.
    fn free(&self) -> u64 {
        let since = self.begun.elapsed();
        if since.as_millis() < u128::from(self.good_until.load(Ordering::Relaxed)) {
            return PLENTY_MIN;
        }
        let free = (self.look)().unwrap_or(u64::MAX);
        if free >= 2 * PLENTY_MIN {
            let until = (since + GOOD_FOR).as_millis();
            self.good_until.store(u64::try_from(until).unwrap_or(0), Ordering::Relaxed);
        }
        free
    }

    /// Says whether there is room for what nobody waits for. Errors: [`StoreError::Full`], well before anything else is refused.
    pub(super) fn to_spare(&self) -> Result<(), StoreError> {
        let free = self.free();
        if free < SPARE_MIN { Err(StoreError::Full { free, least: SPARE_MIN }) } else { Ok(()) }
    }

    /// Says whether something may begin; tells the log when that changes. Errors: [`StoreError::Full`].
    pub(super) fn begin(&self) -> Result<(), StoreError> {
        let free = self.free();
        let least = if self.is_full.load(Ordering::Relaxed) { RESUME_MIN } else { BEGIN_MIN };
        let is_full = free < least;
        match (self.is_full.swap(is_full, Ordering::Relaxed), is_full) {
            (false, true) => {
                error!(free, least, "The disk of the store is nearly full: webhooks are refused and nothing is begun until there is room.");
            }
            (true, false) => info!(free, "The disk of the store has room again; all goes on."),
            _ => {}
        }
        if is_full { Err(StoreError::Full { free, least }) } else { Ok(()) }
    }

    /// Room for bodies of something that begins. Errors: [`StoreError::Full`].
    pub(super) fn begin_with(&self, bytes: usize) -> Result<Held<'_>, StoreError> {
        self.begin()?;
        self.hold(bytes)
    }

    /// Room for bodies of what was begun. Errors: [`StoreError::Full`].
    pub(super) fn hold(&self, bytes: usize) -> Result<Held<'_>, StoreError> {
        let bytes = (bytes as u64).saturating_mul(WRITTEN_TIMES);
        self.pending.fetch_add(bytes, Ordering::Relaxed);
        let held = Held { space: self, bytes };
        if bytes > 0 {
            self.room(0)?;
        }
        Ok(held)
    }

    /// Says whether so many bytes of what was begun may be written. Errors: [`StoreError::Full`].
    pub(super) fn room(&self, bytes: usize) -> Result<(), StoreError> {
        let taken = self.pending.load(Ordering::Relaxed).saturating_add((bytes as u64).saturating_mul(WRITTEN_TIMES));
        let free = self.free().saturating_sub(taken);
        if free < END_MIN { Err(StoreError::Full { free, least: END_MIN }) } else { Ok(()) }
    }
}

#[expect(clippy::disallowed_methods, reason = "how old a look is, is measured, never simulated")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A disk with so much room, in MiB.
    fn disk(mib: u64) -> (Arc<AtomicU64>, Space) {
        let free = Arc::new(AtomicU64::new(mib << 20));
        let look = Arc::clone(&free);
        (free, Space::over(Box::new(move || Ok(look.load(Ordering::Relaxed)))))
    }

    #[test]
    fn what_begins_is_refused_before_what_ends_and_goes_on_when_there_is_room() {
        let (free, space) = disk(65);
        assert!(space.begin().is_ok());
        for (mib, begins, ends) in [(63, false, true), (33, false, true), (31, false, false), (0, false, false), (79, false, true), (80, true, true)]
        {
            free.store(mib << 20, Ordering::Relaxed);
            assert_eq!((space.begin().is_ok(), space.room(1).is_ok()), (begins, ends), "{mib} MiB");
        }
        free.store(65 << 20, Ordering::Relaxed);
        assert!(space.begin().is_ok(), "having gone on it needs no more than at first");
    }

    #[test]
    fn bodies_under_way_take_their_room_until_they_are_written() {
        let (_, space) = disk(70);
        let one = space.begin_with(10 << 20);
        assert!(one.is_ok());
        assert!(matches!(space.begin_with(10 << 20), Err(StoreError::Full { .. })), "20 MiB of 70 are held, 20 more leave too little");
        drop(one);
        assert!(space.begin_with(10 << 20).is_ok());
    }

    #[test]
    fn while_there_is_plenty_one_look_is_good_for_a_moment_and_near_the_end_each_is_taken() {
        for (mib, is_plenty) in [(70, false), (1 << 20, true)] {
            let n_looks = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&n_looks);
            let space = Space::over(Box::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok(mib << 20)
            }));
            for _ in 0..2000 {
                assert!(space.begin().is_ok() && space.room(1).is_ok());
            }
            let n_most = if is_plenty { 1 + space.begun.elapsed().as_millis() / GOOD_FOR.as_millis() } else { 4000 };
            let n_looks = u128::from(n_looks.load(Ordering::Relaxed));
            assert!(n_looks <= n_most && (is_plenty || n_looks == 4000), "{mib} MiB: {n_looks} looks");
        }
    }

    #[test]
    fn a_disk_that_cannot_be_asked_holds_nobody_up() {
        let space = Space::over(Box::new(|| Err(io::Error::other("no"))));
        assert!(space.begin().is_ok() && space.room(1).is_ok());
    }
}
