//! What a generation did and used since it was loaded, whether it is left alone for a while, and whether a build on trial is worse than
//! the one before.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
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
/// Items that failed are told apart up to so many.
const FAILED_KNOWN_MAX: usize = 256;
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
    /// What it answers, and when, depends on others, too.
    calls_out: bool,
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
    /// One item is one failure, however often it is asked about.
    failed: Mutex<HashSet<u64>>,
    is_condemned: AtomicBool,
    is_over: AtomicBool,
    why: OnceLock<String>,
}

/// What a call is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    n_items: usize,
    /// Of one item alone: tells it from others.
    item: Option<u64>,
}

impl About {
    pub(super) fn one(item: u64) -> Self {
        Self { n_items: 1, item: Some(item) }
    }
}

impl From<usize> for About {
    fn from(n_items: usize) -> Self {
        Self { n_items, item: None }
    }
}

/// One call on its way; one that is given up counts as late.
pub(super) struct Count<'m> {
    meter: &'m Meter,
    about: About,
    is_probe: bool,
    is_done: bool,
}

impl Count<'_> {
    pub(super) fn end(mut self, fault: Option<&Fault>) {
        self.is_done = true;
        let are_many = self.about.n_items > 1;
        // Events for a rule are asked about in halves whatever the fault.
        let is_asked_again = are_many && fault.is_some_and(|fault| fault.is_final() || self.meter.kind == Kind::Rule);
        let is_seen = fault.map(|fault| SEEN.contains(&fault.detail().code.as_str()));
        match fault {
            None => self.meter.note(self.about.n_items, None),
            Some(_) if is_asked_again || self.has_failed_before() => self.meter.note(0, None),
            // One cause, however many it was asked about.
            Some(_) => self.meter.note(1, is_seen),
        }
        // Late about many at once on a busy machine says nothing of one.
        let health = fault.map_or(Health::Well, |fault| self.meter.health(fault.detail(), are_many));
        self.meter.judge(self.is_probe, health, fault);
    }

    /// Since the trial began.
    fn has_failed_before(&self) -> bool {
        let (Some(item), Some(trial)) = (self.about.item, self.meter.trial.get()) else { return false };
        let mut failed = trial.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() < FAILED_KNOWN_MAX { !failed.insert(item) } else { failed.contains(&item) }
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            if self.has_failed_before() {
                self.meter.note(0, None);
            } else {
                self.meter.note(1, Some(false));
            }
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
            calls_out: kind == Kind::Connector,
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

    /// Of a plugin that asks others by itself, where it does.
    pub(super) fn calling_out(self, calls_out: bool) -> Self {
        Self { calls_out: self.calls_out || calls_out, ..self }
    }

    /// A call begins. Errors: the plugin is left alone for now.
    pub(super) fn begin(&self, about: impl Into<About>) -> Result<Count<'_>, Fault> {
        match self.breaker.admit() {
            Ok(is_probe) => Ok(Count { meter: self, about: about.into(), is_probe, is_done: false }),
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
        if let Some(why) = trial.judge(&self.counts(), self.calls_out) {
            trial.condemn(why);
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
        drop(self.trial.set(Trial { before, failed: Mutex::default(), is_condemned, is_over, why: OnceLock::new() }));
    }

    /// The trial goes on that the same build was on under the configuration before, with what is known already.
    pub(super) fn go_on_from(&self, before: &Self) {
        self.put_on_trial(before.trial.get().map(|trial| trial.before.clone()).unwrap_or_default());
        if let (Some(trial), Some(why)) = (self.trial.get(), before.condemned()) {
            trial.condemn(why.to_owned());
        }
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
    /// What a plugin returns that calls out, and when, is mostly its network's doing.
    fn n_failed(&self, calls_out: bool) -> u64 {
        self.failed + if calls_out { 0 } else { self.failed_maybe }
    }

    fn share(&self, calls_out: bool) -> f64 {
        if self.items == 0 { 0.0 } else { self.n_failed(calls_out) as f64 / self.items as f64 }
    }

    /// Seconds an item, and items a call.
    fn pace(&self) -> Option<(f64, f64)> {
        (self.items >= ITEMS_MIN).then(|| (self.busy.as_secs_f64() / self.items as f64, self.items as f64 / self.calls.max(1) as f64))
    }
}

impl Trial {
    fn condemn(&self, why: String) {
        drop(self.why.set(why));
        self.is_condemned.store(true, Ordering::Release);
    }

    fn judge(&self, new: &Counts, calls_out: bool) -> Option<String> {
        let n_failed = new.n_failed(calls_out);
        if n_failed >= FAILED_MIN && new.share(calls_out) > FAILED_SHARE_MAX + 2.0 * self.before.share(calls_out) {
            return Some(format!("it failed at {n_failed} of {} items", new.items));
        }
        if calls_out {
            return None;
        }
        let ((time, fullness), (time_before, fullness_before)) = (new.pace()?, self.before.pace()?);
        let is_fair = fullness * EMPTIER_MAX >= fullness_before;
        let times = time / time_before;
        (is_fair && times > SLOWER_MAX).then(|| format!("it takes {times:.1} times as long as the build before"))
    }
}

#[cfg(test)]
mod tests;
