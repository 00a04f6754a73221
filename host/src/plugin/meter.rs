//! What a generation did since it was loaded, and whether a build on trial is worse than the one before.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::model::Fault;

use super::Kind;

/// Faults that the host saw, whatever the guest says.
const SEEN: [&str; 4] = ["trap", "cpu", "memory", "contract"];

/// Fewer items that failed say nothing of a build: one that a stranger wrote to make it fail must not be enough.
const FAILED_MIN: u64 = 3;
/// Of its items; a build before that had more is allowed twice as much.
const FAILED_SHARE_MAX: f64 = 0.05;
/// Fewer items say nothing of a build's speed.
const ITEMS_MIN: u64 = 256;
/// Times the time of the build before, an item.
const SLOWER_MAX: f64 = 3.0;
/// Builds that were asked about so many times more items in a call cannot be compared by time.
const FULLER_MAX: f64 = 2.0;

/// Counts calls while they are made.
#[derive(Default)]
pub(super) struct Meter {
    calls: AtomicU64,
    items: AtomicU64,
    failed: AtomicU64,
    failed_maybe: AtomicU64,
    /// Units: microseconds.
    busy: AtomicU64,
    trial: OnceLock<Trial>,
}

/// What was counted. Since the generation was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    calls: u64,
    /// Items, events, or calls where a call is about one thing; those of a call that failed for good are asked again, each alone in
    /// the end, and count then.
    items: u64,
    /// Of these, those that the host saw fail.
    failed: u64,
    /// Of these, those whose failure may be others' doing: the guest said so itself, or did not answer in time.
    failed_maybe: u64,
    /// In the guest, waits of its own included.
    busy: Duration,
}

struct Trial {
    before: Counts,
    kind: Kind,
    is_condemned: AtomicBool,
    is_over: AtomicBool,
    why: OnceLock<String>,
}

/// One call on its way; one that is given up counts as late.
pub(super) struct Count<'m> {
    meter: &'m Meter,
    n_items: usize,
    is_done: bool,
}

impl Count<'_> {
    pub(super) fn end(mut self, fault: Option<&Fault>) {
        self.is_done = true;
        match fault {
            None => self.meter.note(self.n_items, None),
            // Its items are asked again.
            Some(fault) if fault.is_final() && self.n_items > 1 => self.meter.note(0, None),
            // One cause, however many it was asked about.
            Some(fault) => self.meter.note(1, Some(SEEN.contains(&fault.detail().code.as_str()))),
        }
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.meter.note(1, Some(false));
        }
    }
}

impl Meter {
    /// A call about so many items begins.
    pub(super) fn begin(&self, n_items: usize) -> Count<'_> {
        Count { meter: self, n_items, is_done: false }
    }

    /// A guest ran for so long.
    pub(super) fn ran(&self, time: Duration) {
        self.busy.fetch_add(u64::try_from(time.as_micros()).unwrap_or(0), Ordering::Relaxed);
    }

    /// `failed`: whether it is surely the guest's doing.
    fn note(&self, n_items: usize, failed: Option<bool>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.items.fetch_add(n_items as u64, Ordering::Relaxed);
        if let Some(is_sure) = failed {
            let failed = if is_sure { &self.failed } else { &self.failed_maybe };
            failed.fetch_add(1, Ordering::Relaxed);
        }
        let Some(trial) = self.trial.get().filter(|trial| !trial.is_over.load(Ordering::Relaxed)) else { return };
        if let Some(why) = trial.judge(&self.counts()) {
            drop(trial.why.set(why));
            trial.is_condemned.store(true, Ordering::Release);
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            calls: self.calls.load(Ordering::Relaxed),
            items: self.items.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            failed_maybe: self.failed_maybe.load(Ordering::Relaxed),
            busy: Duration::from_micros(self.busy.load(Ordering::Relaxed)),
        }
    }

    /// From now on it is compared with what the build before did.
    pub(super) fn put_on_trial(&self, before: Counts, kind: Kind) {
        let (is_condemned, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        drop(self.trial.set(Trial { before, kind, is_condemned, is_over, why: OnceLock::new() }));
    }

    /// Why it is worse, once it is known.
    pub(super) fn condemned(&self) -> Option<&str> {
        let is_condemned = |trial: &&Trial| trial.is_condemned.load(Ordering::Acquire) && !trial.is_over.load(Ordering::Relaxed);
        self.trial.get().filter(is_condemned)?.why.get().map(String::as_str)
    }

    /// Ends the trial.
    pub(super) fn acquit(&self) {
        if let Some(trial) = self.trial.get() {
            trial.is_over.store(true, Ordering::Relaxed);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2^52")]
impl Counts {
    /// What a connector returns, and when, is mostly its network's doing.
    fn n_failed(&self, kind: Kind) -> u64 {
        self.failed + if kind == Kind::Connector { 0 } else { self.failed_maybe }
    }

    fn share(&self, kind: Kind) -> f64 {
        if self.items == 0 { 0.0 } else { self.n_failed(kind) as f64 / self.items as f64 }
    }

    /// Seconds an item, and items a call.
    fn pace(&self) -> Option<(f64, f64)> {
        (self.items >= ITEMS_MIN).then(|| (self.busy.as_secs_f64() / self.items as f64, self.items as f64 / self.calls.max(1) as f64))
    }
}

impl Trial {
    fn judge(&self, new: &Counts) -> Option<String> {
        let n_failed = new.n_failed(self.kind);
        if n_failed >= FAILED_MIN && new.share(self.kind) > FAILED_SHARE_MAX + 2.0 * self.before.share(self.kind) {
            return Some(format!("it failed at {n_failed} of {} items", new.items));
        }
        if self.kind == Kind::Connector {
            return None;
        }
        let ((time, fullness), (time_before, fullness_before)) = (new.pace()?, self.before.pace()?);
        let is_alike = (1.0 / FULLER_MAX..=FULLER_MAX).contains(&(fullness / fullness_before));
        let times = time / time_before;
        (is_alike && times > SLOWER_MAX).then(|| format!("it takes {times:.1} times as long as the build before"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Detail;

    fn detail(code: &str) -> Detail {
        Detail { code: code.to_owned(), message: String::new() }
    }

    fn fault(code: &str) -> Fault {
        Fault::Permanent(detail(code))
    }

    fn on_trial(kind: Kind, before: Counts) -> Meter {
        let meter = Meter::default();
        meter.put_on_trial(before, kind);
        meter
    }

    fn before(items: u64, failed: u64) -> Counts {
        Counts { calls: items / 10, items, failed, busy: Duration::from_micros(items * 10), ..Counts::default() }
    }

    #[test]
    fn three_of_few_items_that_fail_condemn_a_build_and_two_do_not() {
        let meter = on_trial(Kind::Analyzer, Counts::default());
        for n in 0..3 {
            assert_eq!(meter.condemned(), None, "{n}");
            meter.begin(1).end(Some(&fault("trap")));
        }
        assert_eq!(meter.condemned(), Some("it failed at 3 of 3 items"));
        meter.acquit();
        meter.begin(1).end(Some(&fault("trap")));
        assert_eq!(meter.condemned(), None);
    }

    #[test]
    fn a_build_is_allowed_what_the_one_before_did_too() {
        let fails = |meter: &Meter| {
            for n in 0..100 {
                meter.begin(1).end((n % 10 == 9).then(|| fault("cpu")).as_ref());
            }
            meter.condemned().is_some()
        };
        assert!(fails(&on_trial(Kind::Rule, before(1000, 0))), "one of ten fails");
        assert!(!fails(&on_trial(Kind::Rule, before(1000, 40))));
    }

    #[test]
    fn one_item_that_fails_whoever_it_is_asked_with_is_one_item() {
        let meter = on_trial(Kind::Analyzer, before(1000, 0));
        for n_items in [64, 32, 16, 8, 4, 2, 1] {
            meter.begin(n_items).end(Some(&fault("trap")));
            meter.begin(n_items).end(None);
        }
        let counts = meter.counts();
        assert_eq!((meter.condemned(), counts.failed, counts.items), (None, 1, 128));
    }

    #[test]
    fn what_is_late_is_one_failure_however_many_it_was_asked_about() {
        let meter = on_trial(Kind::Analyzer, before(1000, 0));
        meter.begin(64).end(Some(&Fault::Transient(detail("timeout"))));
        drop(meter.begin(64));
        assert_eq!((meter.condemned(), meter.counts().failed_maybe), (None, 2));
    }

    #[test]
    fn what_a_network_refuses_or_delays_is_not_its_connector_s_fault() {
        let (connector, analyzer) = (on_trial(Kind::Connector, Counts::default()), on_trial(Kind::Analyzer, Counts::default()));
        for meter in [&connector, &analyzer] {
            (0..10).for_each(|_| meter.begin(1).end(Some(&fault("busy"))));
            (0..10).for_each(|_| drop(meter.begin(1)));
        }
        assert_eq!((connector.condemned(), analyzer.condemned().is_some()), (None, true));
        (0..20).for_each(|_| connector.begin(1).end(Some(&fault("trap"))));
        assert!(connector.condemned().is_some());
    }

    #[test]
    fn a_slower_build_is_condemned_once_enough_is_known_of_calls_that_are_alike() {
        let judged = |kind: Kind, us: u64, n_items: usize| {
            let meter = on_trial(kind, before(1000, 0));
            for n in 0..300 / n_items {
                assert!(meter.condemned().is_none() || n * n_items > 200);
                meter.ran(Duration::from_micros(us * n_items as u64));
                meter.begin(n_items).end(None);
            }
            meter.condemned().map(str::to_owned)
        };
        assert_eq!(judged(Kind::Analyzer, 50, 10).as_deref(), Some("it takes 5.0 times as long as the build before"));
        assert_eq!(judged(Kind::Analyzer, 20, 10), None, "twice as long is the admin's to judge");
        assert_eq!(judged(Kind::Analyzer, 50, 1), None, "calls about one item each take longer");
        assert_eq!(judged(Kind::Connector, 50, 10), None, "a network may have become slower");
    }
}
