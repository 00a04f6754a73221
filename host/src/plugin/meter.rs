//! What a generation did and used since it was loaded, whether it is left alone for a while, and whether a build on trial is worse than
//! the one before.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tracing::warn;

use crate::model::{Detail, Fault};

use super::Kind;
use super::breaker::{Breaker, BreakerState, Health};
use super::limits::TICK;

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
/// A build that was asked about so many times fewer items in a call pays more for each and cannot be compared by time. More items in a
/// call are its own slowness: they pile up behind it, and cost less each.
const EMPTIER_MAX: f64 = 2.0;

/// Times the ticks that a plugin's calls usually take: a call that takes more gives way to the others. Units: ticks, the first.
const GRANTED_MIN: u64 = 4;
const GRANTED_FACTOR: u64 = 4;

/// Counts calls while they are made.
pub(super) struct Meter {
    name: String,
    kind: Kind,
    breaker: Breaker,
    calls: AtomicU64,
    items: AtomicU64,
    failed: AtomicU64,
    failed_maybe: AtomicU64,
    faults: Faults<AtomicU64>,
    denied: AtomicU64,
    memory_peak: AtomicUsize,
    /// Units: microseconds.
    cpu: AtomicU64,
    /// Likewise.
    waited: AtomicU64,
    /// In which the longest of the calls that were answered lately ran. Units: ticks.
    usual: AtomicU64,
    gave_way: AtomicU64,
    trial: OnceLock<Trial>,
}

/// Calls that failed, by what the host saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults<N = u64> {
    /// The guest ended itself.
    pub trap: N,
    /// Its processor time was used up.
    pub cpu: N,
    /// It wanted more memory than its limit.
    pub memory: N,
    /// No answer in time.
    pub timeout: N,
    /// An answer that the contract does not allow.
    pub contract: N,
    /// The guest said so itself: its network refused, or it cannot do that.
    pub own: N,
}

/// What a plugin used since it was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Calls that ended.
    pub calls: u64,
    /// Items or events they were about; 1 where a call is about one thing.
    pub items: u64,
    /// In the guest, without what it waited for.
    pub cpu: Duration,
    /// For its network, inside its calls.
    pub waited: Duration,
    /// The most that one instance held after a call. Units: bytes.
    pub memory_peak: usize,
    /// Calls that failed.
    pub faults: Faults,
    /// Calls that took far longer than usual and gave way to the others.
    pub gave_way: u64,
    /// Ways out that were refused: not granted, or not public.
    pub denied: u64,
    /// Whether calls are let through.
    pub breaker: BreakerState,
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
    /// In which the longest of the last calls ran. Units: ticks.
    usual: u64,
}

struct Trial {
    before: Counts,
    is_condemned: AtomicBool,
    is_over: AtomicBool,
    why: OnceLock<String>,
}

/// One call on its way; one that is given up counts as late.
pub(super) struct Count<'m> {
    meter: &'m Meter,
    n_items: usize,
    is_probe: bool,
    is_done: bool,
}

impl Count<'_> {
    pub(super) fn end(mut self, fault: Option<&Fault>) {
        self.is_done = true;
        let is_asked_again = fault.is_some_and(Fault::is_final) && self.n_items > 1;
        let is_seen = fault.map(|fault| SEEN.contains(&fault.detail().code.as_str()));
        match fault {
            None => self.meter.note(self.n_items, None),
            Some(_) if is_asked_again => self.meter.note(0, None),
            // One cause, however many it was asked about.
            Some(_) => self.meter.note(1, is_seen),
        }
        // Late about many at once on a busy machine says nothing of one.
        let health = fault.map_or(Health::Well, |fault| self.meter.health(fault.detail(), self.n_items > 1));
        self.meter.judge(self.is_probe, health, fault);
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.meter.note(1, Some(false));
            self.meter.faults.timeout.fetch_add(1, Ordering::Relaxed);
            // Who gave it up may have been in a hurry, or is stopping.
            self.meter.judge(self.is_probe, Health::Unknown, None);
        }
    }
}

impl Meter {
    pub(super) fn new(name: String, kind: Kind) -> Self {
        Self {
            name,
            kind,
            breaker: Breaker::default(),
            calls: AtomicU64::default(),
            items: AtomicU64::default(),
            failed: AtomicU64::default(),
            failed_maybe: AtomicU64::default(),
            faults: Faults::default(),
            denied: AtomicU64::default(),
            memory_peak: AtomicUsize::default(),
            cpu: AtomicU64::default(),
            waited: AtomicU64::default(),
            usual: AtomicU64::default(),
            gave_way: AtomicU64::default(),
            trial: OnceLock::default(),
        }
    }

    /// A call about so many items begins. Errors: the plugin is left alone for now.
    pub(super) fn begin(&self, n_items: usize) -> Result<Count<'_>, Fault> {
        match self.breaker.admit() {
            Ok(is_probe) => Ok(Count { meter: self, n_items, is_probe, is_done: false }),
            Err(left) => {
                let message = format!("it failed call after call and is left alone for {} s more", left.as_secs() + 1);
                let wait_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
                Err(Fault::RateLimited(Detail { code: Fault::BREAKER.to_owned(), message }, wait_ms))
            }
        }
    }

    /// What a fault says of the plugin. What costs the others nothing, a trap or a wrong answer, may be one message's doing: it is
    /// found and set aside, and the plugin asked on.
    fn health(&self, detail: &Detail, is_of_many: bool) -> Health {
        match detail.code.as_str() {
            _ if is_of_many => Health::Unknown,
            "cpu" | "memory" => Health::Struck,
            // A network's silence is no connector's doing.
            "timeout" if self.kind != Kind::Connector => Health::Struck,
            "trap" | "contract" | "timeout" | "stopped" => Health::Unknown,
            _ => Health::Well,
        }
    }

    fn judge(&self, is_probe: bool, health: Health, fault: Option<&Fault>) {
        if let Some(fault) = fault {
            self.faults.of(&fault.detail().code).fetch_add(1, Ordering::Relaxed);
        }
        if let Some(rest) = self.breaker.note(is_probe, health) {
            let (plugin, rest_s) = (self.name.as_str(), rest.as_secs());
            warn!(plugin, rest_s, "Plugin failed call after call and is left alone for a while.");
        }
    }

    /// A guest's call took so long, waited for others so long of it, and ran in so many ticks. What is over these it stood in line for a
    /// core.
    pub(super) fn ran(&self, time: Duration, waited: Duration, ticks: u64) {
        let waited = waited.min(time);
        let ran = (time - waited).min(TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX).saturating_add(1)));
        self.cpu.fetch_add(micros(ran), Ordering::Relaxed);
        self.waited.fetch_add(micros(waited), Ordering::Relaxed);
    }

    /// A call that ran in so many ticks was answered.
    pub(super) fn answered_within(&self, ticks: u64) {
        let usual = self.usual.load(Ordering::Relaxed);
        let now = ticks.max(usual - usual.div_ceil(8));
        if now != usual {
            self.usual.store(now, Ordering::Relaxed);
        }
    }

    /// A call that runs in more ticks than these takes far longer than usual.
    pub(super) fn ticks_granted(&self) -> u64 {
        GRANTED_MIN.max(self.usual.load(Ordering::Relaxed).saturating_mul(GRANTED_FACTOR))
    }

    /// An instance holds so many bytes.
    pub(super) fn holds(&self, memory: usize) {
        self.memory_peak.fetch_max(memory, Ordering::Relaxed);
    }

    /// A call gives way to the others.
    pub(super) fn gives_way(&self) {
        self.gave_way.fetch_add(1, Ordering::Relaxed);
    }

    /// A way out was refused.
    pub(super) fn denied(&self) {
        self.denied.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn usage(&self) -> Usage {
        let Counts { calls, items, .. } = self.counts();
        Usage {
            calls,
            items,
            cpu: Duration::from_micros(self.cpu.load(Ordering::Relaxed)),
            waited: Duration::from_micros(self.waited.load(Ordering::Relaxed)),
            memory_peak: self.memory_peak.load(Ordering::Relaxed),
            faults: self.faults.read(),
            gave_way: self.gave_way.load(Ordering::Relaxed),
            denied: self.denied.load(Ordering::Relaxed),
            breaker: self.breaker.look(),
        }
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
        if let Some(why) = trial.judge(&self.counts(), self.kind) {
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
            busy: Duration::from_micros(self.cpu.load(Ordering::Relaxed) + self.waited.load(Ordering::Relaxed)),
            usual: self.usual.load(Ordering::Relaxed),
        }
    }

    /// From now on it is compared with what the build before did, and granted what that usually took.
    pub(super) fn put_on_trial(&self, before: Counts) {
        self.usual.fetch_max(before.usual, Ordering::Relaxed);
        let (is_condemned, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        drop(self.trial.set(Trial { before, is_condemned, is_over, why: OnceLock::new() }));
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

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(0)
}

impl Faults<AtomicU64> {
    fn of(&self, code: &str) -> &AtomicU64 {
        match code {
            "trap" => &self.trap,
            "cpu" => &self.cpu,
            "memory" => &self.memory,
            "timeout" => &self.timeout,
            "contract" => &self.contract,
            _ => &self.own,
        }
    }

    fn read(&self) -> Faults {
        let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Faults {
            trap: of(&self.trap),
            cpu: of(&self.cpu),
            memory: of(&self.memory),
            timeout: of(&self.timeout),
            contract: of(&self.contract),
            own: of(&self.own),
        }
    }
}

impl<N> Faults<N> {
    /// Each with its word for surfaces.
    pub fn named(&self) -> [(&'static str, &N); 6] {
        [
            ("trap", &self.trap),
            ("cpu", &self.cpu),
            ("memory", &self.memory),
            ("timeout", &self.timeout),
            ("contract", &self.contract),
            ("own", &self.own),
        ]
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
    fn judge(&self, new: &Counts, kind: Kind) -> Option<String> {
        let n_failed = new.n_failed(kind);
        if n_failed >= FAILED_MIN && new.share(kind) > FAILED_SHARE_MAX + 2.0 * self.before.share(kind) {
            return Some(format!("it failed at {n_failed} of {} items", new.items));
        }
        if kind == Kind::Connector {
            return None;
        }
        let ((time, fullness), (time_before, fullness_before)) = (new.pace()?, self.before.pace()?);
        let is_fair = fullness * EMPTIER_MAX >= fullness_before;
        let times = time / time_before;
        (is_fair && times > SLOWER_MAX).then(|| format!("it takes {times:.1} times as long as the build before"))
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

    /// A call that ended so, where the breaker let it through.
    fn end(meter: &Meter, n_items: usize, fault: Option<&Fault>) {
        if let Ok(count) = meter.begin(n_items) {
            count.end(fault);
        }
    }

    fn on_trial(kind: Kind, before: Counts) -> Meter {
        let meter = Meter::new("words".to_owned(), kind);
        meter.put_on_trial(before);
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
            end(&meter, 1, Some(&fault("trap")));
        }
        assert_eq!(meter.condemned(), Some("it failed at 3 of 3 items"));
        meter.acquit();
        end(&meter, 1, Some(&fault("trap")));
        assert_eq!(meter.condemned(), None);
    }

    #[test]
    fn a_build_is_allowed_what_the_one_before_did_too() {
        let fails = |meter: &Meter| {
            for n in 0..100 {
                end(meter, 1, (n % 10 == 9).then(|| fault("cpu")).as_ref());
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
            end(&meter, n_items, Some(&fault("trap")));
            end(&meter, n_items, None);
        }
        let counts = meter.counts();
        assert_eq!((meter.condemned(), counts.failed, counts.items), (None, 1, 128));
    }

    #[test]
    fn what_is_late_is_one_failure_however_many_it_was_asked_about() {
        let meter = on_trial(Kind::Analyzer, before(1000, 0));
        end(&meter, 64, Some(&Fault::Transient(detail("timeout"))));
        drop(meter.begin(64));
        assert_eq!((meter.condemned(), meter.counts().failed_maybe), (None, 2));
    }

    #[test]
    fn what_a_network_refuses_or_delays_is_not_its_connector_s_fault() {
        let (connector, analyzer) = (on_trial(Kind::Connector, Counts::default()), on_trial(Kind::Analyzer, Counts::default()));
        for meter in [&connector, &analyzer] {
            (0..10).for_each(|_| end(meter, 1, Some(&fault("busy"))));
            (0..10).for_each(|_| drop(meter.begin(1)));
        }
        assert_eq!((connector.condemned(), analyzer.condemned().is_some()), (None, true));
        (0..20).for_each(|_| end(&connector, 1, Some(&fault("trap"))));
        assert!(connector.condemned().is_some());
    }

    #[test]
    fn a_slower_build_is_condemned_once_enough_is_known_of_calls_that_are_alike() {
        let judged = |kind: Kind, us: u64, n_items: usize| {
            let meter = on_trial(kind, before(1000, 0));
            for n in 0..300 / n_items {
                assert!(meter.condemned().is_none() || n * n_items > 200);
                meter.ran(Duration::from_micros(us * n_items as u64), Duration::ZERO, u64::MAX);
                end(&meter, n_items, None);
            }
            meter.condemned().map(str::to_owned)
        };
        assert_eq!(judged(Kind::Analyzer, 50, 10).as_deref(), Some("it takes 5.0 times as long as the build before"));
        assert_eq!(judged(Kind::Analyzer, 20, 10), None, "twice as long is the admin's to judge");
        assert!(judged(Kind::Analyzer, 50, 30).is_some(), "items pile up behind a slow build");
        assert_eq!(judged(Kind::Analyzer, 50, 1), None, "calls about one item each take longer");
        assert_eq!(judged(Kind::Connector, 50, 10), None, "a network may have become slower");
    }

    #[test]
    fn what_fails_item_after_item_is_left_alone_and_what_is_halved_is_not_counted_thrice() {
        let meter = Meter::new("words".to_owned(), Kind::Analyzer);
        [64, 32, 16, 8, 4, 2].into_iter().for_each(|n_items| end(&meter, n_items, Some(&fault("cpu"))));
        assert_eq!(meter.usage().breaker, BreakerState::Closed, "the item at fault was not found yet");
        (0..3).for_each(|_| end(&meter, 1, Some(&fault("cpu"))));
        let refused = meter.begin(1).err().expect("it is left alone");
        assert!(matches!(&refused, Fault::RateLimited(detail, 1..=1000) if detail.code == Fault::BREAKER), "{refused}");
        let usage = meter.usage();
        assert_eq!((usage.calls, usage.faults), (9, Faults { cpu: 9, ..Faults::default() }), "a call that was not made is not counted");
    }

    #[test]
    fn a_connector_is_left_alone_for_what_it_costs_and_not_for_what_its_network_sends() {
        let meter = Meter::new("shop".to_owned(), Kind::Connector);
        for code in ["trap", "timeout", "busy", "contract", "stopped"] {
            (0..4).for_each(|_| end(&meter, 1, Some(&fault(code))));
            assert_eq!(meter.usage().breaker, BreakerState::Closed, "{code}");
        }
        (0..3).for_each(|_| end(&meter, 1, Some(&fault("memory"))));
        assert!(matches!(meter.usage().breaker, BreakerState::Open(_)));
    }

    #[test]
    fn time_that_was_waited_for_others_is_no_processor_time() {
        let meter = Meter::new("shop".to_owned(), Kind::Connector);
        meter.ran(Duration::from_millis(900), Duration::from_millis(880), 4);
        meter.ran(Duration::from_millis(900), Duration::ZERO, 0);
        [1 << 20, 3 << 20, 2 << 20].into_iter().for_each(|bytes| meter.holds(bytes));
        let usage = meter.usage();
        assert_eq!(
            (usage.cpu, usage.waited, usage.memory_peak),
            (Duration::from_millis(25), Duration::from_millis(880), 3 << 20),
            "nor is time in which another had the core"
        );
    }

    #[test]
    fn what_a_plugin_is_granted_follows_what_its_answered_calls_took_and_is_inherited() {
        let meter = Meter::new("words".to_owned(), Kind::Analyzer);
        assert_eq!(meter.ticks_granted(), GRANTED_MIN);
        meter.answered_within(40);
        assert_eq!(meter.ticks_granted(), 160);
        meter.answered_within(0);
        assert_eq!(meter.ticks_granted(), 140, "one short call does not undo it");
        let next = Meter::new("words".to_owned(), Kind::Analyzer);
        next.put_on_trial(meter.counts());
        assert_eq!(next.ticks_granted(), 140);
        (0..40).for_each(|_| meter.answered_within(0));
        assert_eq!(meter.ticks_granted(), GRANTED_MIN);
    }
}
