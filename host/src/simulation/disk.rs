//! A store that a crash tears: what was committed can be read at once, as on sled, and is durable later, in the order it was written.
//!
//! Every call is a point at which the others have a turn, or the host ends. After a crash there is what was durable, and of what was
//! written since as much as the dice say. What no commit may ever do is looked for at each.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::future::FutureExt as _;

use super::planted::Planted;
use super::watch;
use super::world::{World, locked};
use crate::model::{
    Action, ActionId, Annotated, ChannelName, ConversationId, DeadId, DeadLetter, Decision, Entry, EntryBody, ExchangeId, IdKey, InteractionId,
    Media, NewRaw, RawItem, Seq, Task, TaskId, Timer, Timestamp,
};
use crate::store::{
    ChannelRecord, Commit, Committed, Conversation, Exchange, MemoryStore, Progress, Reader, Resolved, SinkRetry, Store, StoreError, Verified,
};

/// See the module.
pub(super) struct Disk {
    world: Arc<World>,
    key: IdKey,
    state: Mutex<State>,
}

struct State {
    /// What the host reads.
    seen: Arc<MemoryStore>,
    /// What outlives it.
    durable: MemoryStore,
    /// Between the two, oldest first.
    written: VecDeque<Written>,
    /// Writes ever, and how many of them are durable.
    n_written: u64,
    n_durable: u64,
    is_full: bool,
    /// A planted defect that happens once did.
    has_slipped: bool,
}

#[derive(Clone)]
enum Written {
    Commit(Box<Commit>),
    Raws(ChannelName, Timestamp, Vec<NewRaw>),
}

impl Written {
    fn onto(self, store: &MemoryStore) -> Result<Outcome, StoreError> {
        match self {
            Self::Commit(commit) => at_once(store.commit(*commit)).map(Outcome::Committed),
            Self::Raws(channel, at, raws) => at_once(store.commit_raw(&channel, at, raws)).map(Outcome::Placed),
        }
    }
}

enum Outcome {
    Committed(Committed),
    Placed(Vec<Option<u64>>),
}

/// The store in memory never waits.
pub(super) fn at_once<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("the store in memory waits for nothing")
}

impl Disk {
    pub(super) fn new(world: Arc<World>) -> Arc<Self> {
        let (seen, durable) = (Arc::new(MemoryStore::default()), MemoryStore::default());
        let key = seen.id_key().clone();
        let state = State { seen, durable, written: VecDeque::new(), n_written: 0, n_durable: 0, is_full: false, has_slipped: false };
        Arc::new(Self { world, key, state: Mutex::new(state) })
    }

    /// What the host reads now, for who looks on.
    pub(super) fn seen(&self) -> Arc<MemoryStore> {
        Arc::clone(&locked(&self.state).seen)
    }

    /// How an action stands that outlives the host.
    pub(super) fn durable_action(&self, channel: &ChannelName, id: ActionId) -> Option<Action> {
        at_once(locked(&self.state).durable.action(channel, id)).ok().flatten()
    }

    pub(super) fn fill(&self, is_full: bool) {
        locked(&self.state).is_full = is_full;
    }

    /// Something is written that a crash may take.
    pub(super) fn is_writing(&self) -> bool {
        !locked(&self.state).written.is_empty()
    }

    /// The host ended: what is left.
    pub(super) fn crash(&self) {
        let mut state = locked(&self.state);
        let n_written = state.written.len() as u64;
        let n_kept = self.world.below(n_written + 1);
        self.world.tell(format!("crash, {n_kept} of {n_written} writes under way are kept"));
        state.sync(n_kept);
        if self.world.has(Planted::TornCommit) {
            let torn = state.written.iter_mut();
            torn.for_each(|written| {
                if let Written::Commit(torn) = written {
                    torn.entries.clear()
                }
            });
            state.sync(n_written);
        }
        state.written.clear();
        state.n_durable = state.n_written;
        state.seen = Arc::new(state.durable.fork());
        state.is_full = false;
    }

    fn write(&self, written: Written) -> Result<(Outcome, u64), StoreError> {
        let mut state = locked(&self.state);
        let outcome = written.clone().onto(&state.seen)?;
        state.written.push_back(written);
        state.n_written += 1;
        Ok((outcome, state.n_written))
    }

    /// Everything written so far is durable, together: commits wait for one sync.
    async fn sync(&self, place: u64) {
        if self.world.has(Planted::EarlyAck) {
            return;
        }
        self.world.lag().await;
        let mut state = locked(&self.state);
        let n = place.saturating_sub(state.n_durable);
        state.sync(n);
    }

    /// What a planted defect makes of a commit.
    fn slip(&self, commit: &mut Commit) {
        let mut state = locked(&self.state);
        match self.world.planted {
            Some(Planted::LostEntry) if !state.has_slipped && self.world.chance(20) => {
                let arrival = commit.entries.iter().position(|entry| matches!(entry.body, EntryBody::Arrived(_)));
                if let Some(at) = arrival {
                    drop(commit.entries.remove(at));
                    state.has_slipped = true;
                }
            }
            Some(Planted::LostDecision) if !state.has_slipped && !commit.decisions.is_empty() => {
                commit.decisions.clear();
                (commit.actions, commit.tasks, commit.timers_set) = Default::default();
                state.has_slipped = true;
            }
            Some(Planted::LostTimer) => commit.timers_set.clear(),
            Some(Planted::LostRetry) => commit.sink_retries.clear(),
            Some(Planted::CursorBack) if !state.has_slipped && self.world.chance(10) => {
                let back = commit.cursor.as_ref().and_then(|cursor| cursor.parse::<u64>().ok()).filter(|cursor| *cursor > 3);
                if let Some(cursor) = back {
                    commit.cursor = Some((cursor - 3).to_string());
                    state.has_slipped = true;
                }
            }
            _ => {}
        }
    }
}

impl State {
    fn sync(&mut self, n: u64) {
        for written in self.written.drain(..(n as usize).min(self.written.len())) {
            written.onto(&self.durable).map(drop).expect("what was written once can be written again");
            self.n_durable += 1;
        }
    }
}

const FULL: StoreError = StoreError::Full { free: 1, least: 2 };

macro_rules! torn {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*) => {
        #[async_trait]
        impl Store for Disk {
            fn id_key(&self) -> &IdKey {
                &self.key
            }

            async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
                self.world.lag().await;
                self.slip(&mut commit);
                let (told, wrongs) = (watch::line(&commit), watch::wrongs(&self.seen(), &commit, self.world.time.latest()));
                let (outcome, place) = self.write(Written::Commit(Box::new(commit)))?;
                self.world.tell(told);
                wrongs.into_iter().for_each(|wrong| self.world.wrong(wrong));
                self.sync(place).await;
                let Outcome::Committed(committed) = outcome else { unreachable!("a commit has a commit's outcome") };
                Ok(committed)
            }

            async fn commit_raw(&self, channel: &ChannelName, at: Timestamp, raws: Vec<NewRaw>) -> Result<Vec<Option<u64>>, StoreError> {
                self.world.lag().await;
                if locked(&self.state).is_full {
                    return Err(FULL);
                }
                let (outcome, place) = self.write(Written::Raws(channel.clone(), at, raws))?;
                self.sync(place).await;
                let Outcome::Placed(places) = outcome else { unreachable!("raw items have places") };
                Ok(places)
            }

            async fn settle(&self) -> Result<(), StoreError> {
                let place = locked(&self.state).n_written;
                self.sync(place).await;
                Ok(())
            }

            async fn health(&self) -> Result<(), StoreError> {
                if locked(&self.state).is_full { Err(FULL) } else { Ok(()) }
            }

            async fn actions_due(
                &self,
                channel: &ChannelName,
                now: Timestamp,
                after: Option<(Timestamp, ActionId)>,
                items_max: usize,
            ) -> Result<Vec<Action>, StoreError> {
                self.world.lag().await;
                let mut due = self.seen().actions_due(channel, now, after, items_max).await?;
                due.retain(|action| !self.world.has(Planted::HiddenAction) || action.id.0.first().is_some_and(|byte| byte % 4 > 0));
                Ok(due)
            }

            async fn must_wait(&self, channel: &ChannelName, action: &Action) -> Result<bool, StoreError> {
                self.world.lag().await;
                Ok(self.seen().must_wait(channel, action).await? && !self.world.has(Planted::NoOrder))
            }

            $(async fn $name(&self, $($arg: $ty),*) -> Result<$out, StoreError> {
                self.world.lag().await;
                self.seen().$name($($arg),*).await
            })*
        }
    };
}

torn! {
    channels() -> Vec<ChannelName>;
    channel(channel: &ChannelName) -> ChannelRecord;
    read_raw(channel: &ChannelName, from: u64, items_max: usize, bytes_max: usize) -> Vec<RawItem>;
    drop_raw(channel: &ChannelName, before: Timestamp) -> u64;
    media_about(channel: &ChannelName, interaction: InteractionId) -> Vec<Media>;
    media_body(channel: &ChannelName, interaction: InteractionId, index: u16) -> Option<Vec<u8>>;
    drop_media(channel: &ChannelName, now: Timestamp) -> u64;
    read_log(channel: &ChannelName, from: Seq, items_max: usize) -> Vec<Arc<Entry>>;
    read_log_back(channel: &ChannelName, before: Seq, items_max: usize) -> Vec<Arc<Entry>>;
    resolve(channel: &ChannelName, ids: &[InteractionId]) -> Vec<Resolved>;
    annotated(channel: &ChannelName, from: Seq, to: Seq) -> Vec<(Seq, Annotated)>;
    decisions(channel: &ChannelName, from: Seq, to: Seq) -> Vec<Decision>;
    exchange(channel: &ChannelName, exchange: ExchangeId) -> Exchange;
    conversation(channel: &ChannelName, conversation: ConversationId) -> Option<Conversation>;
    action(channel: &ChannelName, id: ActionId) -> Option<Action>;
    task(channel: &ChannelName, id: TaskId) -> Option<Task>;
    actions_about(channel: &ChannelName, interaction: InteractionId) -> Vec<Action>;
    tasks_about(channel: &ChannelName, interaction: InteractionId) -> Vec<Task>;
    timers_due(channel: &ChannelName, now: Timestamp, items_max: usize) -> Vec<Timer>;
    sink_retries_due(channel: &ChannelName, sink: &str, now: Timestamp, items_max: usize) -> Vec<SinkRetry>;
    actions(channel: &ChannelName, after: Option<(InteractionId, ActionId)>, items_max: usize) -> Vec<Action>;
    tasks(channel: &ChannelName, after: Option<(InteractionId, TaskId)>, items_max: usize) -> Vec<Task>;
    dead_letters(channel: &ChannelName, after: Option<DeadId>, items_max: usize) -> Vec<DeadLetter>;
    channel_and_state(channel: &ChannelName) -> (ChannelRecord, BTreeMap<String, Vec<u8>>);
    verify() -> Verified;
    backup(into: &Path, progress: Arc<Progress>) -> Verified;
    close() -> ();
}

/// How far the analysis, the rules, the sink and the catching up came, at the least.
pub(super) fn least_position(record: &ChannelRecord, sink: &str) -> u64 {
    let readers = [Reader::Analysis, Reader::Rules, Reader::Sink(sink.to_owned()), Reader::CatchUp("missing".to_owned())];
    readers.iter().map(|reader| record.position(reader)).min().unwrap_or(0)
}
