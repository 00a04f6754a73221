//! The durable memory: a log per channel and the records beside it. Domain-shaped, so that an SQL engine can honour it.
//!
//! A commit is one channel's, atomic and durable when the call returns. The store allots sequences; nobody else appends.
//! It deliberately decides nothing: what is a repeat, who owns a task and when to retry is the stages' business.

mod error;
mod memory;
mod rules;
mod sled;
#[cfg(test)]
mod tests;
pub mod view;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::model::{
    Action, ActionId, Annotated, ChannelName, ConversationId, DeadId, DeadLetter, Decision, Entry, ExchangeId, Fingerprint, IdKey, IdentityId,
    InteractionId, Lineup, Media, MediaCount, NewEntry, NewRaw, RawItem, Results, Seq, Tally, Task, TaskId, Timer, Timestamp,
};

pub use error::StoreError;
pub use memory::MemoryStore;
pub use sled::SledStore;

use rules::{check_commit, in_force, next_status};

/// Everything that must outlive the process. All lists have a bound given by the caller.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The key that ids are hashed with; random per store, never changed.
    fn id_key(&self) -> &IdKey;

    /// Names of channels that have any record, sorted.
    async fn channels(&self) -> Result<Vec<ChannelName>, StoreError>;

    /// Where a channel stands. A channel never seen is empty, not an error.
    async fn channel(&self, channel: &ChannelName) -> Result<ChannelRecord, StoreError>;

    /// Makes everything in `commit` durable, or nothing.
    /// Errors: [`StoreError::Conflict`] where an expected revision or position is another by now, or one commit writes the
    /// same action or task twice; nothing is written then.
    /// Cancel: not safe to rely on; the commit may or may not happen, atomically.
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError>;

    /// Makes raw items durable in order. Shape: one answer per item: its place, or `None` for a delivery seen inside its window.
    async fn commit_raw(&self, channel: &ChannelName, at: Timestamp, raws: Vec<NewRaw>) -> Result<Vec<Option<u64>>, StoreError>;

    /// Raw items from place `from` on, rising; at least one where there is one, then up to `bytes_max`.
    async fn read_raw(&self, channel: &ChannelName, from: u64, items_max: usize, bytes_max: usize) -> Result<Vec<RawItem>, StoreError>;

    /// Drops raw items received before `before` that the reader `raw` has passed and no dead letter names.
    async fn drop_raw(&self, channel: &ChannelName, before: Timestamp) -> Result<u64, StoreError>;

    /// What became of an interaction's attachments, by their place.
    async fn media_about(&self, channel: &ChannelName, interaction: InteractionId) -> Result<Vec<Media>, StoreError>;

    /// The bytes of one attachment, where they are stored. Errors: [`StoreError::Damaged`] where they are not what was stored.
    async fn media_body(&self, channel: &ChannelName, interaction: InteractionId, index: u16) -> Result<Option<Vec<u8>>, StoreError>;

    /// Drops files that are kept no longer, and what is known of them.
    async fn drop_media(&self, channel: &ChannelName, now: Timestamp) -> Result<u64, StoreError>;

    /// Entries from `from` on, rising.
    async fn read_log(&self, channel: &ChannelName, from: Seq, items_max: usize) -> Result<Vec<Arc<Entry>>, StoreError>;

    /// Entries before `before`, newest first; `Seq(u64::MAX)` starts at the end.
    async fn read_log_back(&self, channel: &ChannelName, before: Seq, items_max: usize) -> Result<Vec<Arc<Entry>>, StoreError>;

    /// What each id stands for, same order.
    async fn resolve(&self, channel: &ChannelName, ids: &[InteractionId]) -> Result<Vec<Resolved>, StoreError>;

    /// What is in force of each entry in `from..=to`, same order as the entries that have results; entries without are absent.
    async fn annotated(&self, channel: &ChannelName, from: Seq, to: Seq) -> Result<Vec<(Seq, Annotated)>, StoreError>;

    /// Decisions on entries in `from..=to`, rising, in file order within one entry.
    async fn decisions(&self, channel: &ChannelName, from: Seq, to: Seq) -> Result<Vec<Decision>, StoreError>;

    /// An exchange; one without a record has version 1 and no replies.
    async fn exchange(&self, channel: &ChannelName, exchange: ExchangeId) -> Result<Exchange, StoreError>;

    /// A conversation, its alias followed; `None` while it has one member only.
    async fn conversation(&self, channel: &ChannelName, conversation: ConversationId) -> Result<Option<Conversation>, StoreError>;

    /// One action, wherever it stands.
    async fn action(&self, channel: &ChannelName, id: ActionId) -> Result<Option<Action>, StoreError>;

    /// One task, wherever it stands.
    async fn task(&self, channel: &ChannelName, id: TaskId) -> Result<Option<Task>, StoreError>;

    /// All actions about one interaction, by id.
    async fn actions_about(&self, channel: &ChannelName, interaction: InteractionId) -> Result<Vec<Action>, StoreError>;

    /// All tasks about one interaction, by id.
    async fn tasks_about(&self, channel: &ChannelName, interaction: InteractionId) -> Result<Vec<Task>, StoreError>;

    /// Actions of this channel whose [`Action::next_look`] is not after `now`, by it and id; those after `after` alone.
    async fn actions_due(
        &self,
        channel: &ChannelName,
        now: Timestamp,
        after: Option<(Timestamp, ActionId)>,
        items_max: usize,
    ) -> Result<Vec<Action>, StoreError>;

    /// Says whether another action of its exchange that is on its way ranks before it.
    async fn must_wait(&self, channel: &ChannelName, action: &Action) -> Result<bool, StoreError>;

    /// Timers of this channel with `due <= now`, by due.
    async fn timers_due(&self, channel: &ChannelName, now: Timestamp, items_max: usize) -> Result<Vec<Timer>, StoreError>;

    /// Events that sink `sink` must try again with `due <= now`, by due.
    async fn sink_retries_due(&self, channel: &ChannelName, sink: &str, now: Timestamp, items_max: usize) -> Result<Vec<SinkRetry>, StoreError>;

    /// Actions of a channel after `after`, by (interaction, id).
    async fn actions(&self, channel: &ChannelName, after: Option<(InteractionId, ActionId)>, items_max: usize) -> Result<Vec<Action>, StoreError>;

    /// Tasks of a channel after `after`, by (interaction, id).
    async fn tasks(&self, channel: &ChannelName, after: Option<(InteractionId, TaskId)>, items_max: usize) -> Result<Vec<Task>, StoreError>;

    /// Dead letters of a channel after `after`, by id.
    async fn dead_letters(&self, channel: &ChannelName, after: Option<DeadId>, items_max: usize) -> Result<Vec<DeadLetter>, StoreError>;

    /// The whole private state of a channel's plugin.
    async fn plugin_state(&self, channel: &ChannelName) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        self.channel_and_state(channel).await.map(|(_, state)| state)
    }

    /// A channel's record and the state of its plugin, of one moment.
    async fn channel_and_state(&self, channel: &ChannelName) -> Result<(ChannelRecord, BTreeMap<String, Vec<u8>>), StoreError>;

    /// Reads everything once and names what is damaged.
    async fn verify(&self) -> Result<Verified, StoreError>;

    /// Writes what is stored into this folder, beside commits that go on: each channel as it is at one moment. The folder is a data folder
    /// then, and was opened and read whole once. Errors: [`StoreError::Damaged`], of the store or of the copy; [`StoreError::Full`] where the
    /// copy would take the room that the host works with.
    async fn backup(&self, into: &Path, progress: Arc<Progress>) -> Result<Verified, StoreError>;

    /// When it was put in place from a backup, if it was: what the networks sent until then may have been answered by what is lost.
    fn restored(&self) -> Option<Timestamp> {
        None
    }

    /// When it was put in place last before this entry was written: an entry that is lost may have stood at its place.
    fn restored_before(&self, _channel: &ChannelName, _seq: Seq) -> Option<Timestamp> {
        None
    }

    /// Returns when everything that a reader could see before the call is durable: what leaves the host waits for it.
    async fn settle(&self) -> Result<(), StoreError>;

    /// Says whether something new can be begun; cheap. Errors: [`StoreError::Closed`] after a failed write or sync, or a stop;
    /// [`StoreError::Full`] while its disk has too little room: what was begun may still be committed.
    async fn health(&self) -> Result<(), StoreError>;

    /// Makes everything durable and closes; later calls fail.
    async fn close(&self) -> Result<(), StoreError>;
}

/// One channel's changes, all or nothing.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Whose.
    pub channel: ChannelName,
    /// The lease this writer holds; 0 on an embedded store.
    pub epoch: u64,
    /// When, by the host's clock: the entries' `at`.
    pub at: Timestamp,
    /// Appended in order.
    pub entries: Vec<NewEntry>,
    /// Ids that stand for something else from now on.
    pub links: Vec<(InteractionId, Link)>,
    /// Conversations that turned out to be one: the first becomes an alias of the second.
    pub merges: Vec<(ConversationId, ConversationId)>,
    /// The connector's cursor.
    pub cursor: Option<String>,
    /// The cursor is taken away.
    pub is_cursor_gone: bool,
    /// The plugin's state: key and value, `None` deletes.
    pub state: Vec<(String, Option<Vec<u8>>)>,
    /// Raw items handed over by `poll`, appended to the raw log.
    pub raws: Vec<NewRaw>,
    /// Readers that moved on.
    pub positions: Vec<(Reader, u64)>,
    /// Where readers that somebody else may set back must stand, else nothing is written.
    pub expected: Vec<(Reader, u64)>,
    /// Records a lineup that results name; writing the same again is free.
    pub lineup: Option<Lineup>,
    /// New runs.
    pub results: Vec<Results>,
    /// New decisions.
    pub decisions: Vec<Decision>,
    /// Actions written; `revision` is the new one, and 1 less is what must be stored (0: absent).
    pub actions: Vec<Action>,
    /// Tasks written, like actions.
    pub tasks: Vec<Task>,
    /// An automatic reply went out at `at` in these exchanges, or another reply (`false`).
    pub replied: Vec<(ExchangeId, bool)>,
    /// Timers set.
    pub timers_set: Vec<Timer>,
    /// Timers removed; absent ones are fine.
    pub timers_gone: Vec<Timer>,
    /// Sink events to be tried again, replacing what has the same id.
    pub sink_retries: Vec<SinkRetry>,
    /// Sink events delivered or given up: sink and id.
    pub sink_retries_gone: Vec<(String, String)>,
    /// What became of attachments, with their bytes where they are stored; the same place again replaces. Of an interaction that
    /// is gone nothing is kept: its `Gone` takes all files with it, and one that comes later is dropped.
    pub media: Vec<(Media, Vec<u8>)>,
    /// Attachments of which nothing is kept any more, before those are written; absent ones are fine.
    pub media_gone: Vec<(InteractionId, u16)>,
    /// Things set aside; the same id again replaces.
    pub dead: Vec<DeadLetter>,
    /// Dead letters taken back.
    pub dead_gone: Vec<DeadId>,
    /// Says in what state an admin or a fault left the channel. What a stage says never ends a pause.
    pub status: Option<ChannelStatus>,
    /// What is counted of the channel, as it is from now on.
    pub tally: Option<Tally>,
    /// An admin orders this status: only so a channel leaves `paused`.
    pub is_order: bool,
}

impl Commit {
    /// A commit that changes nothing yet.
    pub fn new(channel: ChannelName, at: Timestamp) -> Self {
        Self {
            channel,
            epoch: 0,
            at,
            entries: Vec::new(),
            links: Vec::new(),
            merges: Vec::new(),
            cursor: None,
            is_cursor_gone: false,
            state: Vec::new(),
            raws: Vec::new(),
            positions: Vec::new(),
            expected: Vec::new(),
            lineup: None,
            results: Vec::new(),
            decisions: Vec::new(),
            actions: Vec::new(),
            tasks: Vec::new(),
            replied: Vec::new(),
            timers_set: Vec::new(),
            timers_gone: Vec::new(),
            sink_retries: Vec::new(),
            sink_retries_gone: Vec::new(),
            media: Vec::new(),
            media_gone: Vec::new(),
            dead: Vec::new(),
            dead_gone: Vec::new(),
            status: None,
            tally: None,
            is_order: false,
        }
    }
}

/// What a commit was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The place of the first entry appended; meaningless where none was.
    pub first: Seq,
    /// The last place of the channel's log now.
    pub last: Seq,
    /// The last place of the channel's raw log now.
    pub raw_last: u64,
}

/// Who reads a channel's log, or its raw log, and how far it came.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reader {
    /// Intake in the raw log.
    Raw,
    /// The analysis: everything up to here has its results, or is missing them for good.
    Analysis,
    /// The rules.
    Rules,
    /// A sink, by name.
    Sink(String),
    /// One pass over what is stored: `missing`, or `rerun/ANALYZER`.
    CatchUp(String),
    /// The files of messages: every attachment up to here has its record or needs none. [`OFF`] where none are fetched.
    Media,
}

/// The position of a reader that has nothing to read: files that are not fetched any more, a pass that is over.
pub const OFF: u64 = u64::MAX;

/// No name in a configuration has a `/`.
const RERUN: &str = "rerun/";

impl Reader {
    /// The pass that asks this analyzer again about what is stored.
    pub fn rerun(analyzer: &str) -> Self {
        Self::CatchUp(format!("{RERUN}{analyzer}"))
    }

    /// Whom it asks again, where it is such a pass.
    pub fn asks_again(&self) -> Option<&str> {
        if let Self::CatchUp(pass) = self { pass.strip_prefix(RERUN) } else { None }
    }
}

/// Where a channel stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelRecord {
    /// The last place of its log; 0 where it is empty.
    pub last: Seq,
    /// The last place of its raw log.
    pub raw_last: u64,
    /// The connector's cursor.
    pub cursor: Option<String>,
    /// How far each reader came: the last place it is done with.
    pub positions: BTreeMap<Reader, u64>,
    /// In what state it was left.
    pub status: Option<ChannelStatus>,
    /// What was counted of it.
    pub tally: Tally,
    /// Its files.
    pub media: MediaCount,
}

impl ChannelRecord {
    /// How far this reader came; 0 where it never read.
    pub fn position(&self, reader: &Reader) -> u64 {
        self.positions.get(reader).copied().unwrap_or(0)
    }
}

/// In what state a channel is, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// `connected backfilling degraded bad-config bad-credentials paused`.
    pub state: String,
    /// In words, for an admin.
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

/// The state of a channel whose credential is refused.
pub const BAD_CREDENTIALS: &str = "bad-credentials";
/// How the reason begins where it was a send that was refused.
const CANNOT_SEND: &str = "cannot send: ";
/// How it begins where the stream is down, whatever a poll brings.
const NO_STREAM: &str = "no stream: ";

impl ChannelStatus {
    /// Sends are refused for their credential.
    pub fn cannot_send(why: &str, since: Timestamp) -> Self {
        Self { state: BAD_CREDENTIALS.to_owned(), reason: Some(format!("{CANNOT_SEND}{why}")), since }
    }

    /// The stream does not open; polls may go well meanwhile.
    pub fn no_stream(why: &str, since: Timestamp) -> Self {
        Self { state: "degraded".to_owned(), reason: Some(format!("{NO_STREAM}{why}")), since }
    }

    /// Only the stream knows when it is over.
    pub fn is_of_stream(&self) -> bool {
        self.state == "degraded" && self.reason.as_deref().is_some_and(|reason| reason.starts_with(NO_STREAM))
    }

    /// Only the outbox knows when it is over.
    pub fn is_of_outbox(&self) -> bool {
        self.state == BAD_CREDENTIALS && self.reason.as_deref().is_some_and(|reason| reason.starts_with(CANNOT_SEND))
    }
}

/// What an id stands for, besides an interaction of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// Another native id of this interaction.
    Interaction(InteractionId),
    /// An ancestor that nobody saw yet, known to belong to this conversation.
    Ancestor(ConversationId),
    /// What our own action became on the network; with the interaction it is about.
    Action(InteractionId, ActionId),
}

/// What an id resolves to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// Never heard of.
    Unknown,
    /// An interaction, links of other names followed.
    Interaction(Known),
    /// An ancestor that nobody saw yet.
    Ancestor(ConversationId),
    /// What our own action became.
    Action(InteractionId, ActionId),
}

/// What is kept of every interaction, beside the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its id.
    pub id: InteractionId,
    /// The latest entry that brought content, or took it back.
    pub latest: Seq,
    /// The latest entry about it of any kind.
    pub last: Seq,
    /// Of the latest content; a part that a revision lacks keeps its earlier value.
    pub fingerprint: Fingerprint,
    /// The latest `edited`.
    pub edited: Option<Timestamp>,
    /// It was taken back.
    pub is_gone: bool,
    /// It arrived as backfill.
    pub is_backfill: bool,
    /// The thread, aliases followed.
    pub conversation: ConversationId,
}

/// Whom we answer where, and how often we did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// Rises with each entry by that identity and each reply of ours; 1 for the first entry.
    pub version: u64,
    /// The last automatic replies. Shape: at most 8, oldest first.
    pub automatic_replies: Vec<Timestamp>,
}

/// More in one exchange within [`AUTOMATIC_WINDOW_MS`] wait for a person: two machines must not talk to each other.
pub const AUTOMATIC_REPLIES_MAX: usize = 3;
/// Units: milliseconds.
const AUTOMATIC_WINDOW_MS: u64 = 3_600_000;

impl Exchange {
    /// Automatic replies that count against [`AUTOMATIC_REPLIES_MAX`] now.
    pub fn n_automatic(&self, now: Timestamp) -> usize {
        // What is dated far ahead was so by a clock that ran ahead.
        let is_near = |at: &&Timestamp| now.since_ms(**at) < AUTOMATIC_WINDOW_MS && at.since_ms(now) < AUTOMATIC_WINDOW_MS;
        self.automatic_replies.iter().filter(is_near).count()
    }
}

/// A thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its id, aliases followed.
    pub id: ConversationId,
    /// Entries with content.
    pub count: u64,
    /// The last of them: place, identity, whether it is ours. Shape: at most 16, newest last.
    pub recent: Vec<(Seq, Option<IdentityId>, bool)>,
}

/// An event that a sink refused for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkRetry {
    /// Which sink.
    pub sink: String,
    /// The event's own id, constant over retries.
    pub id: String,
    /// The entry it derives from.
    pub seq: Seq,
    /// Which of the entry's events.
    pub event: String,
    /// Calls made, but for those that the receiver answered with when to come again.
    pub attempts: u32,
    /// When to try again.
    pub due: Timestamp,
    /// When it was first tried.
    pub first: Timestamp,
}

/// What `verify` found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Entries read.
    pub n_entries: u64,
    /// All records read.
    pub n_records: u64,
    /// What is damaged or missing of the records, each with channel and range, in words.
    pub damage: Vec<String>,
    /// Bodies and attachments whose file is gone or another, likewise. Nothing else is lost with one.
    pub lost: Vec<String>,
}

impl Verified {
    /// Everything is as it was stored.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.lost.is_empty()
    }
}

/// How far a long work came.
#[derive(Debug, Default)]
pub struct Progress {
    /// Records done.
    pub done: AtomicU64,
    /// Records there were at the beginning.
    pub of: AtomicU64,
}

/// Copies a file; of one that goes meanwhile there is no copy. It blocks.
pub(crate) fn copy_file(from: &Path, into: &Path) -> std::io::Result<()> {
    match fs::copy(from, into) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Copies a folder, over file systems too, with what each may be read by, as of [`copy_file`]. It blocks.
pub fn copy_folder(from: &Path, into: &Path) -> std::io::Result<()> {
    fs::create_dir_all(into)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let target = into.join(file.file_name());
        if file.file_type()?.is_dir() {
            copy_folder(&file.path(), &target)?;
        } else {
            copy_file(&file.path(), &target)?;
        }
    }
    // Its owner may write to the copy whatever was so with the original.
    let mode = fs::metadata(from)?.permissions().mode() | OWNER;
    fs::set_permissions(into, fs::Permissions::from_mode(mode))
}

/// Of a folder: its owner may do all with it.
const OWNER: u32 = 0o700;

/// Makes a folder and all that lies in it durable. It blocks.
pub fn sync_folder(folder: &Path) -> std::io::Result<()> {
    for file in fs::read_dir(folder)? {
        let file = file?;
        if file.file_type()?.is_dir() {
            sync_folder(&file.path())?;
        } else {
            File::open(file.path())?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}
