//! Brings what the network holds into a channel's log: polls, hands raw items to the connector one by one, and commits what
//! comes back together with cursor and state.
//!
//! One call at a time per channel. A parser's trap costs one item, never the cursor; a fault that is not the item's makes the
//! channel wait. What is a repeat or a revision is decided in `batch`.

mod batch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::model::{ChannelName, DeadLetter, DeadSubject, Digest, EntryBody, Fault, Interaction, NativeId, NewRaw, RawItem, RawOrigin, Timestamp};
use crate::plugin::{Called, Change, Page, PluginState, Slot};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{ChannelRecord, ChannelStatus, Reader, StoreError};

use batch::Batch;

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
/// While the configuration or a credential is wrong, one look in a while tells whether it was mended outside.
const HELD_WAIT: Duration = Duration::from_secs(60);
/// `more` that brings nothing new so many times in a row is a lie.
const EMPTY_MORE_MAX: u32 = 3;

/// The intake of one channel.
pub struct Intake {
    /// Where the logs are.
    pub journal: Journal,
    /// The channel.
    pub channel: ChannelName,
    /// What its identities belong to.
    pub network: String,
    /// Its connector.
    pub plugin: Arc<Slot>,
    /// Between two polls; none where the connector does not poll.
    pub pace: Option<Duration>,
    /// Units: bytes.
    pub state_quota: usize,
    /// What only this channel's intake touches.
    pub memory: Mutex<Memory>,
}

/// What the intake remembers between turns; all of it can be lost.
#[derive(Default)]
pub struct Memory {
    state: Option<Arc<BTreeMap<String, Vec<u8>>>>,
    next_poll: Timestamp,
    next_raw: Timestamp,
    n_faults: u32,
    n_empty_more: u32,
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
        let has_raw = record.position(&Reader::Raw) < record.raw_last;
        if has_raw && memory.next_raw <= now {
            return self.understand(&record, &mut memory).await;
        }
        let Some(pace) = self.pace else {
            return Ok(if has_raw { Turn::Until(memory.next_raw) } else { Turn::Idle });
        };
        // What was handed over is understood before more is asked for, so that the raw log stays small.
        if has_raw || memory.next_poll > now {
            return Ok(Turn::Until(if has_raw { memory.next_raw } else { memory.next_poll }));
        }
        self.poll(&record, &mut memory, pace).await
    }
}

impl Intake {
    /// Polls at the next turn.
    pub async fn poll_now(&self) {
        self.memory.lock().await.next_poll = Timestamp::default();
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
        let Called { result, state } = self.plugin.current().poll(state, record.cursor.clone(), PAGE_ITEMS_MAX, PAGE_BYTES_MAX).await;
        match result {
            Ok(page) => {
                let (more, next_poll) = (page.more, page.next_poll);
                let n_new = self.take_page(record, memory, page, state).await?;
                memory.n_empty_more = if more && n_new == 0 { memory.n_empty_more + 1 } else { 0 };
                let is_lying = memory.n_empty_more >= EMPTY_MORE_MAX;
                let wait = if more && !is_lying { Duration::ZERO } else { next_poll.unwrap_or(pace).max(pace) };
                memory.next_poll = self.journal.clock.now().plus(wait);
                if is_lying {
                    self.leave(record, "degraded", Some("the connector says that there is more and brings nothing new")).await?;
                }
                Ok(if wait.is_zero() { Turn::Worked } else { Turn::Until(memory.next_poll) })
            }
            Err(fault) => {
                let wait = self.wait_after(record, memory, &fault).await?;
                memory.next_poll = self.journal.clock.now().plus(wait.max(pace.min(WAIT_MAX)));
                Ok(Turn::Until(memory.next_poll))
            }
        }
    }

    /// Commits a page with its cursor and state, all or nothing.
    async fn take_page(
        &self,
        record: &ChannelRecord,
        memory: &mut Memory,
        page: Page,
        state: Vec<(String, Option<Vec<u8>>)>,
    ) -> Result<usize, StageError> {
        let mut batch = Batch::new(&self.journal, &self.channel, &self.network);
        let (is_backfill, is_more) = (page.backfill, page.more);
        self.take(&mut batch, page.changes, is_backfill).await?;
        let mut commit = batch.commit;
        let n_new = commit.entries.len() + commit.raws.len();
        let is_new_cursor = record.cursor.as_deref() != Some(page.cursor.as_str());
        let status = self.status_of(record, if is_backfill && is_more { "backfilling" } else { "connected" }, None);
        if n_new > 0 || is_new_cursor || !state.is_empty() || status.is_some() {
            commit.cursor = Some(page.cursor);
            commit.state.clone_from(&state);
            commit.status = status;
            self.journal.commit(commit).await?;
            memory.remember(state);
        }
        memory.n_faults = 0;
        Ok(n_new)
    }

    /// Hands raw items to the connector, one by one, and commits what came of all of them at once.
    async fn understand(&self, record: &ChannelRecord, memory: &mut Memory) -> Result<Turn, StageError> {
        let from = record.position(&Reader::Raw) + 1;
        let raws = self.journal.store.read_raw(&self.channel, from, RAW_ITEMS_MAX, RAW_BYTES_MAX).await?;
        let mut batch = Batch::new(&self.journal, &self.channel, &self.network);
        let (mut position, mut changed, mut held) = (from - 1, Vec::new(), None);
        let generation = self.plugin.current();
        for raw in raws {
            let state = self.state(memory).await?;
            let Called { result, state } = generation.receive(state, &raw).await;
            match result {
                Ok(changes) => {
                    let is_backfill = matches!(raw.origin, RawOrigin::Item { is_backfill: true, .. });
                    self.take(&mut batch, changes, is_backfill).await?;
                    memory.remember(state.clone());
                    changed.extend(state);
                }
                Err(fault) if fault.is_final() => {
                    batch.commit.dead.push(self.letter(&raw, &fault, generation.digest()));
                    batch.other(EntryBody::Unreadable { native: native_of(&raw), reason: fault.to_string() }, false);
                }
                Err(fault) => {
                    held = Some(fault);
                    break;
                }
            }
            position = raw.seq;
        }
        let mut commit = batch.commit;
        if position >= from {
            commit.state = changed;
            commit.positions.push((Reader::Raw, position));
            if held.is_none() {
                commit.status = self.status_of(record, "connected", None);
            }
            if let Err(error) = self.journal.commit(commit).await {
                // What the calls changed was not committed: read it again.
                memory.state = None;
                return Err(error.into());
            }
        }
        let Some(fault) = held else { return Ok(Turn::Worked) };
        let wait = self.wait_after(record, memory, &fault).await?;
        memory.next_raw = self.journal.clock.now().plus(wait);
        Ok(Turn::Until(memory.next_raw))
    }

    async fn take(&self, batch: &mut Batch<'_>, changes: Vec<Change>, is_backfill: bool) -> Result<(), StoreError> {
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
        for change in changes {
            match change {
                Change::Upsert(interaction) => batch.upsert(interaction, is_backfill).await?,
                Change::Gone(native) => batch.gone(&native).await?,
                Change::Raw(native, body) => {
                    let origin = RawOrigin::Item { native, is_backfill };
                    batch.commit.raws.push(NewRaw { origin, body, once: None });
                }
                Change::Unreadable { native, reason, .. } => batch.other(EntryBody::Unreadable { native, reason }, is_backfill),
                Change::Note { kind, json } => batch.other(EntryBody::Note { kind, json }, is_backfill),
            }
        }
        Ok(())
    }

    fn letter(&self, raw: &RawItem, fault: &Fault, digest: Digest) -> DeadLetter {
        DeadLetter {
            id: self.journal.store.id_key().dead(&self.channel, "intake", &raw.seq.to_string()),
            channel: self.channel.clone(),
            stage: "intake".to_owned(),
            subject: DeadSubject::Raw(raw.seq),
            plugin: Some(self.plugin.current().name().to_owned()),
            digest: Some(digest),
            reason: fault.to_string(),
            at: self.journal.clock.now(),
        }
    }

    /// How long the channel waits after a fault that is not an item's, and the state it is left in.
    async fn wait_after(&self, record: &ChannelRecord, memory: &mut Memory, fault: &Fault) -> Result<Duration, StageError> {
        memory.n_faults = memory.n_faults.saturating_add(1);
        let growing = (WAIT_MIN * 2u32.saturating_pow(memory.n_faults.min(16) - 1)).min(WAIT_MAX);
        let (state, wait) = match fault {
            Fault::Config(_) => ("bad-config", HELD_WAIT),
            Fault::Auth(_) => ("bad-credentials", HELD_WAIT),
            Fault::RateLimited(_, ms) => ("degraded", Duration::from_millis(*ms).clamp(WAIT_MIN, 6 * WAIT_MAX)),
            Fault::Transient(_) | Fault::Permanent(_) | Fault::Unsupported(_) => ("degraded", growing),
        };
        warn!(channel = %self.channel, fault = fault.word(), code = fault.detail().code, wait_ms = wait.as_millis(), "Channel waits.");
        self.leave(record, state, Some(&fault.to_string())).await?;
        Ok(wait)
    }

    async fn leave(&self, record: &ChannelRecord, state: &str, reason: Option<&str>) -> Result<(), StageError> {
        if let Some(status) = self.status_of(record, state, reason) {
            let mut commit = self.journal.begin(&self.channel);
            commit.status = Some(status);
            self.journal.store.commit(commit).await?;
        }
        Ok(())
    }

    /// A new status, where it is another than the stored one.
    fn status_of(&self, record: &ChannelRecord, state: &str, reason: Option<&str>) -> Option<ChannelStatus> {
        let is_same = record.status.as_ref().is_some_and(|old| old.state == state && old.reason.as_deref() == reason);
        if is_same {
            return None;
        }
        info!(channel = %self.channel, state, "Channel changed its state.");
        Some(ChannelStatus { state: state.to_owned(), reason: reason.map(str::to_owned), since: self.journal.clock.now() })
    }
}

impl Memory {
    fn remember(&mut self, changes: Vec<(String, Option<Vec<u8>>)>) {
        let Some(state) = self.state.as_mut().filter(|_| !changes.is_empty()).map(Arc::make_mut) else { return };
        for (key, value) in changes {
            match value {
                Some(value) => state.insert(key, value),
                None => state.remove(&key),
            };
        }
    }
}

fn native_of(raw: &RawItem) -> NativeId {
    match &raw.origin {
        RawOrigin::Item { native, .. } => native.clone(),
        RawOrigin::Webhook { .. } | RawOrigin::Frame => NativeId { scope: "raw".to_owned(), id: raw.seq.to_string() },
    }
}
