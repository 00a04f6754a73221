//! Brings what the network holds into a channel's log: polls, hands raw items to the connector one by one, and commits what
//! comes back together with cursor and state.
//!
//! One call at a time per channel. A parser's trap costs one item, never the cursor; a fault that is not the item's makes the
//! channel wait. What is a repeat or a revision is decided in `batch`.

mod batch;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tracing::{debug, info, warn};

use crate::clock::Wait;
use crate::failpoint;
use crate::model::{ChannelName, DeadLetter, DeadSubject, Digest, EntryBody, Fault, Interaction, NativeId, NewRaw, RawItem, RawOrigin, Tally};
use crate::plugin::{Allowance, Called, Change, Generation, Page, PluginState};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{BAD_CREDENTIALS, ChannelRecord, ChannelStatus, Reader, StoreError};

use batch::Batch;

/// What was understood in about this is committed before more is.
const TURN_MAX: Duration = Duration::from_secs(5);
/// Raw items understood in one turn.
const RAW_ITEMS_MAX: usize = 256;
/// Units: bytes.
const RAW_BYTES_MAX: usize = 4 << 20;
/// What a poll is asked for.
const PAGE_ITEMS_MAX: u32 = 256;
/// Units: bytes.
const PAGE_BYTES_MAX: u32 = 4 << 20;
/// First wait after a fault that time may mend; doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_secs(2);
const WAIT_MAX: Duration = Duration::from_secs(600);
/// However long a network says that its limit lasts: what it says may be wrong, and a look costs one call.
const LIMIT_WAIT_MAX: Duration = Duration::from_secs(3600);
/// While the configuration or a credential is wrong, one look in a while tells whether it was mended outside.
const HELD_WAIT: Duration = Duration::from_secs(60);
/// What was unreadable and is met again inside this window makes no second letter. Units: milliseconds.
const UNREADABLE_ONCE_MS: u64 = 72 * 3_600_000;
/// With [`WAIT_MAX`] between them, about a day of a host that runs on: a start, a reload and a swap begin anew.
const PUT_OFF_MAX: u32 = 150;
/// `more` that brings nothing new, or does not move on, so many times in a row is a lie.
const VAIN_MORE_MAX: u32 = 3;
/// Cursors that are remembered while pages say `more`: a longer circle is not seen.
const CURSORS_MAX: usize = 64;
/// Below this share of a network's limit a channel slows; with nothing left it waits until the limit is whole again.
const SHARE_LEFT_MIN: f64 = 0.2;
const SLOWED: &str = "slowed down: little of the network's rate limit is left";
const LYING: &str = "the connector says that there is more and brings nothing new";
const CIRCLING: &str = "the connector says that there is more and does not move on: its cursor was here before";

/// The intake of one channel.
pub struct Intake {
    /// Where the logs are.
    pub journal: Journal,
    /// The channel.
    pub channel: ChannelName,
    /// What its identities belong to.
    pub network: String,
    /// Its connector.
    pub plugin: Arc<Generation>,
    /// Between two polls; none where the connector does not poll.
    pub pace: Option<Duration>,
    /// Units: bytes.
    pub state_quota: usize,
    /// What only this channel's intake touches.
    memory: Mutex<Memory>,
    /// Whether others asked for a poll: 0, or [`CATCH_UP`], or [`ORDERED`].
    asked: AtomicU8,
}

/// A stream stands again: what was said in between is to be fetched.
const CATCH_UP: u8 = 1;
/// An admin wants it now.
const ORDERED: u8 = 2;

/// What came of one raw item.
enum Received {
    /// Understood; with the keys that the call wrote.
    Changes(Vec<Change>, Vec<(String, Option<Vec<u8>>)>),
    /// Set aside, in words.
    Dead(String),
    /// The channel waits.
    Held(Fault),
}

/// What the intake remembers between turns; all of it can be lost.
#[derive(Default)]
struct Memory {
    state: Option<Arc<BTreeMap<String, Vec<u8>>>>,
    poll_rest: Wait,
    raw_rest: Wait,
    n_faults: u32,
    /// The raw item that could not be understood for now, and how often that was so.
    put_off: (u64, u32),
    /// That what came in by itself is understood mends nothing then.
    has_poll_failed: bool,
    n_vain_more: u32,
    /// Where the last pages led, since one that said no `more` or changed the state.
    cursors: VecDeque<Digest>,
    /// The last call was refused for its credential.
    is_refused: bool,
}

#[async_trait]
impl Work for Intake {
    fn stage(&self) -> &'static str {
        "intake"
    }

    fn channel(&self) -> &ChannelName {
        &self.channel
    }

    async fn turn(&self) -> Result<Turn, StageError> {
        let mut memory = self.memory.lock().await;
        let now = self.journal.clock.now();
        let record = self.journal.store.channel(&self.channel).await?;
        if record.status.as_ref().is_some_and(|status| status.state == "paused") {
            return Ok(Turn::Idle);
        }
        if self.plugin.condemned().is_some() {
            return Ok(self.journal.left_to_the_build_before());
        }
        // A new login, or an admin who says so, ends the waiting at once.
        if memory.is_refused && record.status.as_ref().is_none_or(|status| status.state != BAD_CREDENTIALS) {
            (memory.is_refused, memory.poll_rest, memory.raw_rest) = (false, Wait::default(), Wait::default());
        }
        let asked = self.asked.swap(0, Ordering::AcqRel);
        if asked == ORDERED || (asked == CATCH_UP && !memory.has_poll_failed) {
            memory.poll_rest = Wait::default();
        }
        let has_raw = record.position(&Reader::Raw) < record.raw_last;
        // What was handed over is understood before more is asked for, so that the raw log stays small.
        if has_raw {
            return match memory.raw_rest.left(now) {
                Some(until) => Ok(Turn::Until(until)),
                None => self.understand(&record, &mut memory).await,
            };
        }
        match (self.pace, memory.poll_rest.left(now)) {
            (None, _) => Ok(Turn::Idle),
            (Some(_), Some(until)) => Ok(Turn::Until(until)),
            (Some(pace), None) => self.poll(&record, &mut memory, pace).await,
        }
    }
}

impl Intake {
    /// The intake of this channel. `pace` is between two polls, none where the connector does not poll; `state_quota` in bytes.
    pub fn new(journal: Journal, channel: ChannelName, network: String, plugin: Arc<Generation>, pace: Option<Duration>, state_quota: usize) -> Self {
        Self { journal, channel, network, plugin, pace, state_quota, memory: Mutex::default(), asked: AtomicU8::new(0) }
    }

    /// Polls at the next turn, as an admin ordered.
    pub fn poll_now(&self) {
        self.ask(ORDERED);
    }

    /// Polls at the next turn, unless the channel waits after a poll that failed: then the next will do.
    pub fn catch_up(&self) {
        self.ask(CATCH_UP);
    }

    fn ask(&self, what: u8) {
        self.asked.fetch_max(what, Ordering::AcqRel);
        self.journal.ring(&self.channel);
    }

    async fn state(&self, memory: &mut Memory) -> Result<PluginState, StoreError> {
        if memory.state.is_none() {
            memory.state = Some(Arc::new(self.journal.store.plugin_state(&self.channel).await?));
        }
        Ok(PluginState::new(memory.state.clone().unwrap_or_default(), self.state_quota))
    }

    async fn poll(&self, record: &ChannelRecord, memory: &mut Memory, pace: Duration) -> Result<Turn, StageError> {
        let state = self.state(memory).await?;
        let Called { result, state } = self.plugin.poll(state, record.cursor.clone(), PAGE_ITEMS_MAX, PAGE_BYTES_MAX).await;
        if self.plugin.condemned().is_some() {
            return Ok(self.journal.left_to_the_build_before());
        }
        match result {
            Ok(page) => {
                let (more, next_poll, slowed) = (page.more, page.next_poll, page.allowance.map(slowed).unwrap_or_default());
                let is_lying = self.take_page(record, memory, page, state).await?;
                let wait = if more && !is_lying { Duration::ZERO } else { next_poll.unwrap_or(pace).max(pace) };
                let wait = wait.max(slowed);
                let until = self.journal.rest(&mut memory.poll_rest, wait);
                Ok(if wait.is_zero() { Turn::Worked } else { until })
            }
            Err(fault) => {
                let wait = self.wait_after(record, memory, &fault, pace.min(WAIT_MAX)).await?;
                memory.has_poll_failed = true;
                Ok(self.journal.rest(&mut memory.poll_rest, wait))
            }
        }
    }

    /// Commits a page with its cursor and state, all or nothing. Says whether its `more` is a lie.
    async fn take_page(
        &self,
        record: &ChannelRecord,
        memory: &mut Memory,
        page: Page,
        state: Vec<(String, Option<Vec<u8>>)>,
    ) -> Result<bool, StageError> {
        let mut batch = Batch::new(&self.journal, &self.channel, &self.network, &record.tally, self.pace.is_some());
        let (is_backfill, is_more) = (page.backfill, page.more);
        self.take(&mut batch, page.changes, is_backfill).await?;
        let mut commit = batch.finish();
        let n_new = commit.entries.len() + commit.raws.len();
        let is_new_cursor = record.cursor.as_deref() != Some(page.cursor.as_str());
        let to = Digest::of(page.cursor.as_bytes());
        let has_moved_state = memory.is_changed_by(&state);
        let is_circle = !has_moved_state && (!is_new_cursor || memory.cursors.contains(&to));
        let n_vain_more = if is_more && (n_new == 0 || is_circle) { memory.n_vain_more.saturating_add(1) } else { 0 };
        let is_lying = n_vain_more >= VAIN_MORE_MAX;
        let status = match (is_lying, is_backfill && is_more) {
            (true, _) => self.status_of(record, "degraded", Some(if n_new == 0 { LYING } else { CIRCLING })),
            (false, true) => self.status_of(record, "backfilling", None),
            (false, false) if page.allowance.is_some_and(|allowance| !slowed(allowance).is_zero()) => {
                self.status_of(record, "degraded", Some(SLOWED))
            }
            (false, false) => self.status_of(record, "connected", None),
        };
        if n_new > 0 || !commit.links.is_empty() || is_new_cursor || !state.is_empty() || status.is_some() {
            commit.cursor = Some(page.cursor);
            commit.state.clone_from(&state);
            commit.status = status;
            let n_filled = commit.tally.as_ref().map_or(0, |tally| n_filled(tally) - n_filled(&record.tally));
            failpoint::within("poll", self.journal.commit(commit)).await?;
            memory.remember(state.into_iter().collect());
            if n_filled > 0 {
                warn!(channel = %self.channel, n_filled, "Poll brought what no webhook had brought in time.");
            }
        }
        (memory.n_faults, memory.n_vain_more, memory.is_refused, memory.has_poll_failed) = (0, n_vain_more, false, false);
        if !is_more || has_moved_state {
            memory.cursors.clear();
        }
        memory.led_to(to);
        Ok(is_lying)
    }

    /// Hands raw items to the connector, one by one, and commits what came of all of them at once.
    async fn understand(&self, record: &ChannelRecord, memory: &mut Memory) -> Result<Turn, StageError> {
        let from = record.position(&Reader::Raw) + 1;
        let raws = Arc::new(self.journal.store.read_raw(&self.channel, from, RAW_ITEMS_MAX, RAW_BYTES_MAX).await?);
        if raws.is_empty() {
            // A way back leads to items that are kept no longer.
            let mut commit = self.journal.begin(&self.channel);
            commit.positions.push((Reader::Raw, record.raw_last));
            self.journal.commit(commit).await?;
            return Ok(Turn::Worked);
        }
        let mut batch = Batch::new(&self.journal, &self.channel, &self.network, &record.tally, self.pace.is_some());
        // What the calls wrote: kept once it is committed.
        let mut changed = BTreeMap::new();
        let (mut position, mut held, mut has_given_up) = (from - 1, None, false);
        let (generation, watch) = (&self.plugin, self.journal.clock.stopwatch());
        let is_late = move || watch.elapsed() > TURN_MAX;
        let mut answers = generation.receive(self.state(memory).await?, Arc::clone(&raws), is_late).await.into_iter();
        for raw in raws.iter() {
            let Some(received) = received(raw, &mut answers) else { break };
            let (received, is_over) = memory.patient(raw.seq, received);
            has_given_up |= is_over;
            match received {
                Received::Changes(changes, written) => {
                    let is_backfill = matches!(raw.origin, RawOrigin::Item { is_backfill: true, .. });
                    batch.received = Some(raw.received);
                    batch.is_pushed = matches!(raw.origin, RawOrigin::Webhook { .. } | RawOrigin::Frame);
                    let unreadable = self.take(&mut batch, changes, is_backfill).await?;
                    if !unreadable.is_empty() {
                        batch.commit.dead.push(self.letter(raw, unreadable.join("; "), generation.digest()));
                    }
                    changed.extend(written);
                }
                Received::Dead(reason) => {
                    batch.commit.dead.push(self.letter(raw, reason.clone(), generation.digest()));
                    let is_backfill =
                        matches!(raw.origin, RawOrigin::Item { is_backfill: true, .. } | RawOrigin::Unreadable { is_backfill: true, .. });
                    batch.other(EntryBody::Unreadable { native: native_of(raw), reason }, is_backfill);
                }
                Received::Held(fault) => {
                    held = Some(fault);
                    break;
                }
            }
            position = raw.seq;
        }
        if self.plugin.condemned().is_some() {
            return Ok(self.journal.left_to_the_build_before());
        }
        let mut commit = batch.finish();
        if position >= from {
            commit.state = changed.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            commit.positions.push((Reader::Raw, position));
            if held.is_none() && !has_given_up && !memory.has_poll_failed {
                commit.status = self.status_of(record, "connected", None);
                (memory.n_faults, memory.is_refused) = (0, false);
            }
            failpoint::within("receive", self.journal.commit(commit)).await?;
            memory.remember(changed);
        }
        let Some(fault) = held else { return Ok(Turn::Worked) };
        let wait = self.wait_after(record, memory, &fault, Duration::ZERO).await?;
        Ok(self.journal.rest(&mut memory.raw_rest, wait))
    }

    /// Takes changes in. What `poll` could not understand becomes a raw item, whose letter is written when its turn comes;
    /// what `receive` could not is in its raw item already: the reasons are given back.
    async fn take(&self, batch: &mut Batch<'_>, changes: Vec<Change>, is_backfill: bool) -> Result<Vec<String>, StoreError> {
        let interactions = changes.iter().filter_map(|change| match change {
            Change::Upsert(interaction) => Some(interaction.as_ref()),
            _ => None,
        });
        let gone = changes.iter().filter_map(|change| match change {
            Change::Gone(native) => Some(native),
            _ => None,
        });
        let (interactions, gone): (Vec<&Interaction>, Vec<&NativeId>) = (interactions.collect(), gone.collect());
        batch.prepare(interactions.into_iter(), gone.into_iter()).await?;
        let mut unreadable = Vec::new();
        for change in changes {
            match change {
                Change::Upsert(interaction) => batch.upsert(interaction, is_backfill).await?,
                Change::Gone(native) => batch.gone(&native).await?,
                // It was handed over once: once more, and it would be for ever.
                Change::Raw(native, _) if batch.received.is_some() && !batch.is_pushed => {
                    let reason = "what was handed over as `raw` is `raw` again".to_owned();
                    unreadable.push(reason.clone());
                    batch.other(EntryBody::Unreadable { native, reason }, is_backfill);
                }
                Change::Raw(native, body) => {
                    let origin = RawOrigin::Item { native, is_backfill };
                    batch.commit.raws.push(NewRaw { origin, body, received: None, once: None });
                }
                Change::Unreadable { native, reason, .. } if batch.received.is_some() => {
                    unreadable.push(reason.clone());
                    batch.other(EntryBody::Unreadable { native, reason }, is_backfill);
                }
                Change::Unreadable { native, reason, head } => {
                    // A rescan meets it again: one letter is enough.
                    let once = Some((format!("unreadable/{}/{}", native.scope, native.id), UNREADABLE_ONCE_MS));
                    let origin = RawOrigin::Unreadable { native, reason, is_backfill };
                    batch.commit.raws.push(NewRaw { origin, body: head, received: None, once });
                }
                Change::Note { kind, json } => batch.other(EntryBody::Note { kind, json }, is_backfill),
            }
        }
        Ok(unreadable)
    }

    fn letter(&self, raw: &RawItem, reason: String, digest: Digest) -> DeadLetter {
        DeadLetter {
            id: self.journal.store.id_key().dead(&self.channel, "intake", &raw.seq.to_string()),
            channel: self.channel.clone(),
            stage: "intake".to_owned(),
            subject: DeadSubject::Raw(raw.seq),
            plugin: Some(self.plugin.name().to_owned()),
            digest: Some(digest),
            reason,
            at: self.journal.clock.now(),
        }
    }

    /// How long the channel waits after a fault that is not an item's, and the state it is left in.
    async fn wait_after(&self, record: &ChannelRecord, memory: &mut Memory, fault: &Fault, wait_min: Duration) -> Result<Duration, StageError> {
        memory.n_faults = memory.n_faults.saturating_add(1);
        let growing = (WAIT_MIN * 2u32.saturating_pow(memory.n_faults.min(16) - 1)).min(WAIT_MAX);
        let (state, wait) = match fault {
            Fault::Config(_) => ("bad-config", HELD_WAIT),
            Fault::Auth(_) => (BAD_CREDENTIALS, HELD_WAIT),
            Fault::RateLimited(_, ms) => ("degraded", Duration::from_millis(*ms).clamp(WAIT_MIN, LIMIT_WAIT_MAX)),
            Fault::Transient(_) | Fault::Permanent(_) | Fault::Unsupported(_) => ("degraded", growing),
        };
        let wait = wait.max(wait_min);
        memory.is_refused = matches!(fault, Fault::Auth(_));
        let (channel, code, wait_ms) = (&self.channel, &fault.detail().code, wait.as_millis());
        // What only an admin can mend is told once, not at every look whether it was mended.
        let is_told = matches!(fault, Fault::Auth(_) | Fault::Config(_)) && record.status.as_ref().is_some_and(|old| old.state == state);
        if is_told {
            debug!(%channel, fault = fault.word(), code, wait_ms, "Channel still waits.");
        } else {
            warn!(%channel, fault = fault.word(), code, wait_ms, "Channel waits.");
        }
        self.leave(record, state, Some(&fault.to_string())).await?;
        Ok(wait)
    }

    async fn leave(&self, record: &ChannelRecord, state: &str, reason: Option<&str>) -> Result<(), StageError> {
        if let Some(status) = self.status_of(record, state, reason) {
            let mut commit = self.journal.begin(&self.channel);
            commit.status = Some(status);
            self.journal.commit_unheard(commit).await?;
        }
        Ok(())
    }

    /// A new status, where it is another than the stored one.
    fn status_of(&self, record: &ChannelRecord, state: &str, reason: Option<&str>) -> Option<ChannelStatus> {
        let old = record.status.as_ref();
        let is_same = old.is_some_and(|old| old.state == state && old.reason.as_deref() == reason);
        // That reading works does not mend that sending or the stream does not: they take that back themselves.
        let is_of_others = state == "connected" && old.is_some_and(|old| old.is_of_outbox() || old.is_of_stream());
        if is_same || is_of_others {
            return None;
        }
        info!(channel = %self.channel, state, "Channel changed its state.");
        Some(ChannelStatus { state: state.to_owned(), reason: reason.map(str::to_owned), since: self.journal.clock.now() })
    }
}

impl Memory {
    /// One item that is put off on and on must not hold all that comes after it. Says whether that is so. The network's own word, or
    /// something that an admin can mend, is waited for.
    fn patient(&mut self, seq: u64, received: Received) -> (Received, bool) {
        let Received::Held(fault @ Fault::Transient(_)) = received else { return (received, false) };
        let n_times = if self.put_off.0 == seq { self.put_off.1 } else { 0 };
        if n_times == PUT_OFF_MAX {
            return (Received::Dead(format!("{fault}; so it was {PUT_OFF_MAX} times, for about a day")), true);
        }
        self.put_off = (seq, n_times + 1);
        (Received::Held(fault), false)
    }

    /// Says whether these writes leave another state: some connectors keep there, and not in the cursor, how far they came.
    fn is_changed_by(&self, writes: &[(String, Option<Vec<u8>>)]) -> bool {
        let held = |key| self.state.as_ref().and_then(|state| state.get(key));
        writes.iter().any(|(key, value)| held(key) != value.as_ref())
    }

    fn led_to(&mut self, cursor: Digest) {
        if !self.cursors.contains(&cursor) {
            self.cursors.truncate(CURSORS_MAX - 1);
            self.cursors.push_front(cursor);
        }
    }

    fn remember(&mut self, changes: BTreeMap<String, Option<Vec<u8>>>) {
        let Some(state) = self.state.as_mut().filter(|_| !changes.is_empty()).map(Arc::make_mut) else { return };
        for (key, value) in changes {
            match value {
                Some(value) => state.insert(key, value),
                None => state.remove(&key),
            };
        }
    }
}

/// Things that polls brought in a webhook's place.
fn n_filled(tally: &Tally) -> u64 {
    tally.filled.map_or(0, |count| count.times)
}

/// How long the network is left alone, so that it never has to refuse.
fn slowed(allowance: Allowance) -> Duration {
    let lacking = 1.0 - (allowance.left / SHARE_LEFT_MIN).clamp(0.0, 1.0);
    allowance.resets_in.mul_f64(lacking).min(LIMIT_WAIT_MAX)
}

/// What came of a raw item; none where its turn did not come. `answers` are of those that the connector was asked about.
fn received(raw: &RawItem, answers: &mut impl Iterator<Item = Called<Vec<Change>>>) -> Option<Received> {
    if let RawOrigin::Unreadable { reason, .. } | RawOrigin::Lost { reason } = &raw.origin {
        return Some(Received::Dead(reason.clone()));
    }
    let Called { result, state } = answers.next()?;
    Some(match result {
        Ok(changes) => Received::Changes(changes, state),
        Err(fault) if fault.is_final() => Received::Dead(fault.to_string()),
        Err(fault) => Received::Held(fault),
    })
}

fn native_of(raw: &RawItem) -> NativeId {
    match &raw.origin {
        RawOrigin::Item { native, .. } | RawOrigin::Unreadable { native, .. } => native.clone(),
        RawOrigin::Webhook { .. } | RawOrigin::Frame | RawOrigin::Lost { .. } => NativeId { scope: "raw".to_owned(), id: raw.seq.to_string() },
    }
}
