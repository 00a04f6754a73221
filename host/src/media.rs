//! Fetches the files of messages, of the channels that keep them: after the message was stored, and never in its way.
//!
//! It reads the log from its own position and settles every attachment: its bytes are in the store, or the reason is why they
//! never will be. What waits to be tried again is held in memory; the position stays before it, so that a restart finds it
//! again. One fetch at a time per channel. Files that are taken back or too old are the store's business.

mod fetch;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tracing::info;

use crate::clock::Wait;
use crate::egress::Door;
use crate::model::{Attachment, ChannelName, Entry, EntryBody, Fault, InteractionId, Media as Record, MediaOutcome, Seq, Sha256, Timestamp};
use crate::plugin::Generation;
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{ChannelRecord, Commit, Reader, Resolved, StoreError};

/// Files of one interaction that are fetched.
const FILES_MAX: usize = 16;
/// Entries looked at in one turn.
const ENTRIES_MAX: usize = 64;
/// Attachments that wait at once; the log is read no further meanwhile.
const WAITING_MAX: usize = 256;
/// However often it failed, so long after it arrived an attachment is given up. Units: milliseconds.
const AGE_MAX_MS: u64 = 24 * 3_600_000;
/// First wait after such a failure; doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_secs(5);
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// While the configuration or a credential is wrong, one look in a while tells whether it was mended outside.
const HELD_WAIT: Duration = Duration::from_secs(60);
/// Of a reason. Units: characters.
const REASON_MAX: usize = 500;

/// How much is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// From when a file was fetched.
    pub keep: Duration,
    /// Of one file. Units: bytes.
    pub file_bytes: u32,
    /// Of all files of the channel. Units: bytes.
    pub total_bytes: u64,
}

/// The files of one channel.
pub struct Media {
    journal: Journal,
    channel: ChannelName,
    plugin: Arc<Generation>,
    door: Arc<Door>,
    bounds: Bounds,
    memory: Mutex<Memory>,
}

/// What it knows between turns; all of it can be lost.
#[derive(Default)]
struct Memory {
    /// Up to here the log was looked at.
    read: u64,
    /// Shape: ascending by entry.
    waiting: Vec<Wanted>,
    /// The network wants to be left alone, or a credential is refused.
    rest: Wait,
}

impl Memory {
    /// All but what the network asked for: the log is looked at again from what is committed.
    fn forget(&mut self) {
        *self = Self { rest: self.rest, ..Self::default() };
    }
}

/// An attachment that is to be fetched.
#[derive(Debug, Clone)]
struct Wanted {
    seq: Seq,
    arrived: Timestamp,
    interaction: InteractionId,
    index: u16,
    attachment: Attachment,
    n_tries: u32,
    rest: Wait,
}

impl Media {
    /// `door` is the host's own way to plain URLs: what the channel is granted, and no credential.
    pub fn new(journal: Journal, channel: ChannelName, plugin: Arc<Generation>, door: Arc<Door>, bounds: Bounds) -> Self {
        Self { journal, channel, plugin, door, bounds, memory: Mutex::default() }
    }

    /// Looks at entries that nobody looked at yet. Says whether there were some.
    async fn look(&self, record: &ChannelRecord, memory: &mut Memory) -> Result<bool, StoreError> {
        if memory.waiting.len() >= WAITING_MAX {
            return Ok(false);
        }
        let from = memory.read.max(record.position(&Reader::Media)).saturating_add(1);
        let entries = self.journal.store.read_log(&self.channel, Seq(from), ENTRIES_MAX).await?;
        if entries.is_empty() {
            return Ok(false);
        }
        let mut commit = self.journal.begin(&self.channel);
        for entry in entries {
            if let Err(failure) = self.note(&entry, memory, &mut commit).await {
                // What was found in the entries before it is not committed: they are looked at again.
                memory.forget();
                return Err(failure);
            }
            memory.read = entry.seq.0;
            if memory.waiting.len() >= WAITING_MAX {
                break;
            }
        }
        self.commit(record, memory, commit, None).await?;
        Ok(true)
    }

    /// What one entry means for the files of its interaction.
    async fn note(&self, entry: &Entry, memory: &mut Memory, commit: &mut Commit) -> Result<(), StoreError> {
        let Some(id) = entry.new.interaction else { return Ok(()) };
        let attachments = match &entry.new.body {
            EntryBody::Arrived(content) if content.attachments.is_empty() => return Ok(()),
            EntryBody::Arrived(content) | EntryBody::Edited(content) => &content.attachments,
            EntryBody::Gone => {
                memory.waiting.retain(|wanted| wanted.interaction != id);
                return Ok(());
            }
            _ => return Ok(()),
        };
        memory.waiting.retain(|wanted| wanted.interaction != id);
        let known = self.journal.store.resolve(&self.channel, &[id]).await?;
        if !known.iter().any(|known| matches!(known, Resolved::Interaction(known) if known.latest == entry.seq)) {
            // A later entry is about what is there now.
            return Ok(());
        }
        let kept = self.journal.store.media_about(&self.channel, id).await?;
        let is_of = |record: &Record| attachments.get(usize::from(record.index)).is_some_and(|now| now.digest() == record.of);
        commit.media_gone.extend(kept.iter().filter(|record| !is_of(record)).map(|record| (id, record.index)));
        if !entry.new.wants_media() || commit.at > entry.at.plus(self.bounds.keep) {
            return Ok(());
        }
        for (index, attachment) in (0..).zip(attachments) {
            if kept.iter().any(|record| record.index == index && is_of(record)) {
                continue;
            }
            let (arrived, attachment) = (entry.at, attachment.clone());
            let wanted = Wanted { seq: entry.seq, arrived, interaction: id, index, attachment, n_tries: 0, rest: Wait::default() };
            match self.hopeless(&wanted) {
                Some(reason) => commit.media.push((self.record(&wanted, MediaOutcome::Failed(reason)), Vec::new())),
                None => memory.waiting.push(wanted),
            }
        }
        Ok(())
    }

    /// Why it is of no use to ask for it.
    fn hopeless(&self, wanted: &Wanted) -> Option<String> {
        let Attachment { size, url, media_ref, .. } = &wanted.attachment;
        if usize::from(wanted.index) >= FILES_MAX {
            return Some(format!("of one message no more than {FILES_MAX} files are fetched"));
        }
        if let Some(size) = size.filter(|size| *size > self.bounds.file_bytes.into()) {
            return Some(self.too_large(&format!("{size} bytes")));
        }
        let has_way = url.is_some() || (media_ref.is_some() && self.plugin.has_media());
        (!has_way).then(|| "the connector gives no way to fetch it".to_owned())
    }

    fn too_large(&self, size: &str) -> String {
        format!("too large: {size}, and `file_bytes` of the channel's `media` is {}", self.bounds.file_bytes)
    }

    /// Tries one attachment.
    async fn attempt(&self, record: &ChannelRecord, memory: &mut Memory, wanted: &Wanted) -> Result<(), StoreError> {
        let full = || format!("the channel's media are full: {} bytes of its `total_bytes`, {}", record.media.bytes, self.bounds.total_bytes);
        let fetched = if record.media.bytes >= self.bounds.total_bytes { Ok(None) } else { self.fetch(&wanted.attachment).await.map(Some) };
        let (outcome, body) = match fetched {
            Ok(Some(body)) if record.media.bytes.saturating_add(body.len() as u64) <= self.bounds.total_bytes => {
                (MediaOutcome::Stored { size: body.len() as u64, sha256: Sha256::of(&body) }, body)
            }
            Ok(_) => (MediaOutcome::Failed(full()), Vec::new()),
            Err(fault) => match self.given_up(memory, wanted, &fault) {
                Some(reason) => (MediaOutcome::Failed(reason), Vec::new()),
                None => return Ok(()),
            },
        };
        let mut commit = self.journal.begin(&self.channel);
        commit.media.push((self.record(wanted, outcome), body));
        self.commit(record, memory, commit, Some(wanted)).await
    }

    /// Why it is not tried again after this; none: it waits, alone or with the whole channel.
    fn given_up(&self, memory: &mut Memory, wanted: &Wanted, fault: &Fault) -> Option<String> {
        let (now, code) = (self.journal.clock.now(), &fault.detail().code);
        let growing = (WAIT_MIN * 2u32.saturating_pow(wanted.n_tries.min(16))).min(WAIT_MAX);
        let is_of_item = matches!(fault, Fault::Transient(_)) || code == Fault::ITEM_LATER;
        let wait = match fault {
            Fault::Config(_) | Fault::Auth(_) => HELD_WAIT,
            Fault::RateLimited(_, ms) => Duration::from_millis(*ms).clamp(growing, WAIT_MAX),
            Fault::Transient(_) | Fault::Permanent(_) | Fault::Unsupported(_) => growing,
        };
        let n_tries = wanted.n_tries + u32::from(is_of_item);
        let is_over = now.since_ms(wanted.arrived) > AGE_MAX_MS;
        if fault.is_final() || is_over {
            let tried = if fault.is_final() { "" } else { ", for a day" };
            info!(channel = %self.channel, interaction = %wanted.interaction, fault = fault.word(), code, "File not fetched; its message stands.");
            return Some(format!("{fault}{tried}"));
        }
        if is_of_item {
            let it = memory.waiting.iter_mut().filter(|other| (other.interaction, other.index) == (wanted.interaction, wanted.index));
            it.for_each(|it| (it.n_tries, it.rest) = (n_tries, Wait::of(wait, now)));
        } else {
            memory.rest = Wait::of(wait, now);
        }
        None
    }

    fn record(&self, wanted: &Wanted, outcome: MediaOutcome) -> Record {
        let at = self.journal.clock.now();
        let outcome = match outcome {
            MediaOutcome::Failed(reason) => MediaOutcome::Failed(reason.chars().take(REASON_MAX).collect()),
            stored @ MediaOutcome::Stored { .. } => stored,
        };
        Record { interaction: wanted.interaction, index: wanted.index, of: wanted.attachment.digest(), at, until: at.plus(self.bounds.keep), outcome }
    }

    /// Makes durable what was settled, and how far all is. What is not, is found again by reading from the position.
    async fn commit(&self, record: &ChannelRecord, memory: &mut Memory, mut commit: Commit, settled: Option<&Wanted>) -> Result<(), StoreError> {
        let is_settled = |one: &Wanted| settled.is_some_and(|settled| (settled.interaction, settled.index) == (one.interaction, one.index));
        let first = memory.waiting.iter().find(|wanted| !is_settled(wanted));
        let (before, position) = (record.position(&Reader::Media), first.map_or(memory.read, |wanted| wanted.seq.0.saturating_sub(1)));
        if position == before && commit.media.is_empty() && commit.media_gone.is_empty() {
            return Ok(());
        }
        commit.expected.push((Reader::Media, before));
        commit.positions.push((Reader::Media, position));
        let done = self.journal.commit(commit).await;
        match &done {
            Ok(_) => memory.waiting.retain(|wanted| !is_settled(wanted)),
            Err(_) => memory.forget(),
        }
        done.map(|_| ())
    }
}

#[async_trait]
impl Work for Media {
    fn stage(&self) -> &'static str {
        "media"
    }

    fn channel(&self) -> &ChannelName {
        &self.channel
    }

    async fn turn(&self) -> Result<Turn, StageError> {
        let mut memory = self.memory.lock().await;
        let record = self.journal.store.channel(&self.channel).await?;
        if record.status.as_ref().is_some_and(|status| status.state == "paused") {
            return Ok(Turn::Idle);
        }
        if self.look(&record, &mut memory).await? {
            return Ok(Turn::Worked);
        }
        let now = self.journal.clock.now();
        let Some(next) = memory.waiting.iter().min_by_key(|wanted| wanted.rest.left(now)).cloned() else { return Ok(Turn::Idle) };
        if let Some(until) = memory.rest.left(now).max(next.rest.left(now)) {
            return Ok(Turn::Until(until));
        }
        self.attempt(&record, &mut memory, &next).await?;
        Ok(Turn::Worked)
    }
}
