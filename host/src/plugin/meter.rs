//! What a generation did since it was loaded, and whether a new one is worse than the one before.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::model::Fault;

/// Faults that the host found, whatever the guest says.
const FOUND: [&str; 5] = ["trap", "cpu", "memory", "timeout", "contract"];
/// Faults that the guest returned.
const RETURNED: &str = "returned";

/// Fewer items that failed say nothing of a build: one that a stranger wrote to make it fail must not be enough.
const FAILED_MIN: u64 = 3;
/// Of its items; a build before that had more is allowed twice as much.
const FAILED_SHARE_MAX: f64 = 0.05;
/// Fewer items say nothing of a build's speed.
const ITEMS_MIN: u64 = 256;
/// Times the time of the build before, an item.
const SLOWER_MAX: f64 = 3.0;

/// Counts calls while they are made.
#[derive(Default)]
pub(super) struct Meter {
    calls: AtomicU64,
    items: AtomicU64,
    /// Units: microseconds.
    busy: AtomicU64,
    faults: Mutex<BTreeMap<&'static str, u64>>,
    failed: AtomicU64,
    failed_as_returned: AtomicU64,
    probation: OnceLock<Probation>,
}

/// What was counted. Since the generation was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls made.
    pub calls: u64,
    /// Items, events, or calls where a call is about one thing; those of a call that failed for good are asked again, each alone in
    /// the end, and count then.
    pub items: u64,
    /// Of these, those that the host saw fail.
    pub failed: u64,
    /// Of these, those that the guest itself said fail.
    pub failed_as_returned: u64,
    /// In the guest, waits of its own included.
    pub busy: Duration,
    /// Calls that failed: `trap cpu memory timeout contract`, and `returned` where the guest said so itself.
    pub faults: BTreeMap<&'static str, u64>,
}

struct Probation {
    before: Counts,
    /// What a connector returns is mostly its network's doing.
    is_blamed_for_returned: bool,
    is_condemned: AtomicBool,
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
        let is_asked_again = self.n_items > 1 && fault.is_some_and(Fault::is_final);
        self.meter.note(if is_asked_again { 0 } else { self.n_items }, fault.map(kind_of));
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.meter.note(self.n_items, Some("timeout"));
        }
    }
}

fn kind_of(fault: &Fault) -> &'static str {
    let code = fault.detail().code.as_str();
    FOUND.into_iter().find(|found| *found == code).unwrap_or(RETURNED)
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

    fn note(&self, n_items: usize, fault: Option<&'static str>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.items.fetch_add(n_items as u64, Ordering::Relaxed);
        if let Some(kind) = fault {
            let failed = if kind == RETURNED { &self.failed_as_returned } else { &self.failed };
            failed.fetch_add(n_items as u64, Ordering::Relaxed);
            *self.faults.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
        }
        let Some(probation) = self.probation.get() else { return };
        if let Some(why) = probation.judge(&self.counts()) {
            drop(probation.why.set(why));
            probation.is_condemned.store(true, Ordering::Release);
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            calls: self.calls.load(Ordering::Relaxed),
            items: self.items.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            failed_as_returned: self.failed_as_returned.load(Ordering::Relaxed),
            busy: Duration::from_micros(self.busy.load(Ordering::Relaxed)),
            faults: self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// From now on it is compared with what the build before did.
    pub(super) fn watch(&self, before: Counts, is_blamed_for_returned: bool) {
        let probation = Probation { before, is_blamed_for_returned, is_condemned: AtomicBool::new(false), why: OnceLock::new() };
        drop(self.probation.set(probation));
    }

    /// Why it is worse, once it is known.
    pub(super) fn condemned(&self) -> Option<&str> {
        let probation = self.probation.get().filter(|probation| probation.is_condemned.load(Ordering::Acquire))?;
        probation.why.get().map(String::as_str)
    }
}

impl Counts {
    fn n_failed(&self, with_returned: bool) -> u64 {
        self.failed + if with_returned { self.failed_as_returned } else { 0 }
    }

    fn share(&self, with_returned: bool) -> f64 {
        if self.items == 0 { 0.0 } else { self.n_failed(with_returned) as f64 / self.items as f64 }
    }

    /// Units: seconds an item.
    fn pace(&self) -> Option<f64> {
        (self.items >= ITEMS_MIN).then(|| self.busy.as_secs_f64() / self.items as f64)
    }
}

impl Probation {
    fn judge(&self, new: &Counts) -> Option<String> {
        let (n_failed, share) = (new.n_failed(self.is_blamed_for_returned), new.share(self.is_blamed_for_returned));
        let share_max = FAILED_SHARE_MAX + 2.0 * self.before.share(self.is_blamed_for_returned);
        if n_failed >= FAILED_MIN && share > share_max {
            return Some(format!("it failed at {n_failed} of {} items", new.items));
        }
        let times = new.pace()? / self.before.pace().filter(|pace| *pace > 0.0)?;
        (times > SLOWER_MAX).then(|| format!("it takes {times:.1} times as long as the build before"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Detail;

    fn fault(code: &str) -> Fault {
        Fault::Permanent(Detail { code: code.to_owned(), message: String::new() })
    }

    fn watched(is_blamed_for_returned: bool, before: Counts) -> Meter {
        let meter = Meter::default();
        meter.watch(before, is_blamed_for_returned);
        meter
    }

    fn before(items: u64, failed: u64) -> Counts {
        Counts { items, failed, busy: Duration::from_micros(items * 10), ..Counts::default() }
    }

    #[test]
    fn three_of_few_items_that_fail_condemn_a_build_and_two_do_not() {
        let meter = watched(true, Counts::default());
        for n in 0..3 {
            assert_eq!(meter.condemned(), None, "{n}");
            meter.begin(1).end(Some(&fault("trap")));
        }
        assert_eq!(meter.condemned(), Some("it failed at 3 of 3 items"));
    }

    #[test]
    fn a_build_is_allowed_what_the_one_before_did_too() {
        let fails = |meter: &Meter| {
            for n in 0..100 {
                meter.begin(1).end((n % 10 == 9).then(|| fault("cpu")).as_ref());
            }
            meter.condemned().is_some()
        };
        assert!(fails(&watched(true, before(1000, 0))), "one of ten fails");
        assert!(!fails(&watched(true, before(1000, 40))));
    }

    #[test]
    fn one_item_that_fails_whoever_it_is_asked_with_is_one_item() {
        let meter = watched(true, before(1000, 0));
        for n_items in [64, 32, 16, 8, 4, 2, 1] {
            meter.begin(n_items).end(Some(&fault("trap")));
            meter.begin(n_items).end(None);
        }
        let counts = meter.counts();
        assert_eq!((meter.condemned(), counts.failed, counts.items, counts.faults), (None, 1, 128, BTreeMap::from([("trap", 7)])));
    }

    #[test]
    fn what_a_network_refuses_is_not_its_connector_s_fault() {
        let (connector, analyzer) = (watched(false, Counts::default()), watched(true, Counts::default()));
        for meter in [&connector, &analyzer] {
            (0..10).for_each(|_| meter.begin(1).end(Some(&fault("busy"))));
        }
        assert_eq!((connector.condemned(), analyzer.condemned().is_some()), (None, true));
        assert_eq!(connector.counts().faults, BTreeMap::from([(RETURNED, 10)]));
    }

    #[test]
    fn a_slower_build_is_condemned_once_enough_is_known() {
        let pace = |us: u64| {
            let meter = watched(true, before(1000, 0));
            for n in 0..30 {
                assert!(meter.condemned().is_none() || n > 20);
                meter.ran(Duration::from_micros(us * 10));
                meter.begin(10).end(None);
            }
            meter.condemned().map(str::to_owned)
        };
        assert_eq!(pace(20), None, "twice as long is the admin's to judge");
        assert_eq!(pace(50).as_deref(), Some("it takes 5.0 times as long as the build before"));
    }

    #[test]
    fn a_call_that_is_given_up_was_late() {
        let meter = Meter::default();
        drop(meter.begin(4));
        assert_eq!((meter.counts().items, meter.counts().faults), (4, BTreeMap::from([("timeout", 1)])));
    }
}
