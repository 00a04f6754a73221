//! The store without a disk: the model that the durable one is compared with, and what stages are tested on.
//!
//! Written for plainness: everything is scanned, nothing is indexed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::model::{
    Action, ActionId, Annotated, ChannelName, ConversationId, DeadId, DeadLetter, DeadSubject, Decision, Entry, EntryBody, ExchangeId, IdKey,
    IdentityId, InteractionId, Lineup, LineupId, Media, MediaCount, MediaOutcome, NewEntry, NewRaw, RawItem, Results, Seq, Task, TaskId, Timer,
    Timestamp,
};

use super::{
    ChannelRecord, Commit, Committed, Conversation, Exchange, Known, Link, Progress, Reader, Resolved, SinkRetry, Store, StoreError, Verified,
    check_commit, in_force, next_status,
};

/// See the module.
pub struct MemoryStore {
    key: IdKey,
    channels: Mutex<BTreeMap<ChannelName, Channel>>,
    n_settled: AtomicU32,
}

#[derive(Debug, Clone, Default)]
struct Channel {
    record: ChannelRecord,
    log: Vec<Arc<Entry>>,
    raws: BTreeMap<u64, RawItem>,
    once: BTreeMap<String, Timestamp>,
    known: BTreeMap<InteractionId, Known>,
    links: BTreeMap<InteractionId, Link>,
    aliases: BTreeMap<ConversationId, ConversationId>,
    conversations: BTreeMap<ConversationId, Conversation>,
    exchanges: BTreeMap<ExchangeId, Exchange>,
    lineups: BTreeMap<LineupId, Lineup>,
    results: Vec<Results>,
    decisions: BTreeMap<Seq, Vec<Decision>>,
    actions: BTreeMap<(InteractionId, ActionId), Action>,
    tasks: BTreeMap<(InteractionId, TaskId), Task>,
    timers: BTreeSet<Timer>,
    retries: BTreeMap<(String, String), SinkRetry>,
    media: BTreeMap<(InteractionId, u16), (Media, Vec<u8>)>,
    dead: BTreeMap<DeadId, DeadLetter>,
    state: BTreeMap<String, Vec<u8>>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(IdKey([7; 32]))
    }
}

impl MemoryStore {
    /// An empty store with a key of its own.
    pub fn new(key: IdKey) -> Self {
        Self { key, channels: Mutex::default(), n_settled: AtomicU32::new(0) }
    }

    /// How often somebody waited for what was read to be durable.
    pub fn n_settled(&self) -> u32 {
        self.n_settled.load(Ordering::Relaxed)
    }

    /// A store that holds the same and goes its own way from here.
    #[cfg(test)]
    pub fn fork(&self) -> Self {
        Self { key: self.key.clone(), channels: Mutex::new(self.all().clone()), n_settled: AtomicU32::new(0) }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<ChannelName, Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, channel: &ChannelName, read: impl FnOnce(&Channel) -> T) -> T {
        let all = self.all();
        match all.get(channel) {
            Some(found) => read(found),
            None => read(&Channel::default()),
        }
    }
}

impl Channel {
    fn alias(&self, mut id: ConversationId) -> ConversationId {
        while let Some(next) = self.aliases.get(&id) {
            id = *next;
        }
        id
    }

    fn known(&self, id: InteractionId) -> Option<Known> {
        self.known.get(&id).map(|known| Known { conversation: self.alias(known.conversation), ..known.clone() })
    }

    fn resolve(&self, id: InteractionId) -> Resolved {
        if let Some(known) = self.known(id) {
            return Resolved::Interaction(known);
        }
        match self.links.get(&id) {
            Some(Link::Interaction(other)) => self.known(*other).map_or(Resolved::Unknown, Resolved::Interaction),
            Some(Link::Ancestor(conversation)) => Resolved::Ancestor(self.alias(*conversation)),
            Some(Link::Action(about, action)) => Resolved::Action(*about, *action),
            None => Resolved::Unknown,
        }
    }

    fn check(&self, commit: &Commit) -> Result<(), StoreError> {
        check_commit(&self.record, commit)?;
        for action in &commit.actions {
            let stored = self.actions.get(&(action.interaction, action.id)).map_or(0, |a| a.revision);
            if stored + 1 != action.revision {
                return Err(StoreError::Conflict(format!("action {}", action.id)));
            }
        }
        for task in &commit.tasks {
            let stored = self.tasks.get(&(task.interaction, task.id)).map_or(0, |t| t.revision);
            if stored + 1 != task.revision {
                return Err(StoreError::Conflict(format!("task {}", task.id)));
            }
        }
        Ok(())
    }

    fn append(&mut self, at: Timestamp, new: NewEntry) {
        let seq = self.record.last.next();
        self.record.last = seq;
        let previous = new.interaction.and_then(|id| self.known.get(&id)).map(|known| known.last);
        if let Some(id) = new.interaction {
            self.note_known(seq, id, &new);
            self.note_conversation(seq, id, &new);
            self.note_exchange(id, &new);
        }
        let exchange_version = new.exchange.map(|exchange| self.exchanges.get(&exchange).map_or(1, |record| record.version));
        self.log.push(Arc::new(Entry { seq, at, previous, exchange_version, new }));
    }

    fn note_known(&mut self, seq: Seq, id: InteractionId, new: &NewEntry) {
        match (&new.body, self.known.get_mut(&id)) {
            (EntryBody::Arrived(content), _) => {
                let known = Known::first(id, seq, content, new);
                self.known.insert(id, known);
            }
            (body, Some(known)) => known.follow(seq, body),
            (_, None) => {}
        }
        if matches!(new.body, EntryBody::Gone) {
            self.media.retain(|(about, _), _| *about != id);
        }
    }

    fn media(&mut self, written: Vec<(Media, Vec<u8>)>, gone: &[(InteractionId, u16)]) {
        gone.iter().for_each(|place| drop(self.media.remove(place)));
        for (media, body) in written {
            if self.known.get(&media.interaction).is_some_and(|known| !known.is_gone) {
                self.media.insert((media.interaction, media.index), (media, body));
            }
        }
        self.count_media();
    }

    fn count_media(&mut self) {
        self.record.media = MediaCount::default();
        self.media.values().for_each(|(media, _)| self.record.media.add(&media.outcome));
    }

    fn note_conversation(&mut self, seq: Seq, id: InteractionId, new: &NewEntry) {
        let (EntryBody::Arrived(content), Some(conversation)) = (&new.body, new.conversation) else { return };
        let conversation = self.alias(conversation);
        let member = (seq, new.identity, content.is_ours());
        if !self.conversations.contains_key(&conversation) {
            if conversation.0 == id.0 {
                return;
            }
            let first = self.first_member(conversation);
            self.conversations
                .insert(conversation, Conversation { id: conversation, count: first.iter().count() as u64, recent: first.into_iter().collect() });
        }
        if let Some(record) = self.conversations.get_mut(&conversation) {
            record.count += 1;
            record.recent.push(member);
            record.trim();
        }
    }

    /// The root, where it is stored, as a member.
    fn first_member(&self, conversation: ConversationId) -> Option<(Seq, Option<IdentityId>, bool)> {
        let root = InteractionId(conversation.0);
        self.known.get(&root)?;
        let entry = self.log.iter().find(|entry| entry.new.interaction == Some(root) && matches!(entry.new.body, EntryBody::Arrived(_)))?;
        Some((entry.seq, entry.new.identity, entry.new.body.content().is_some_and(|c| c.is_ours())))
    }

    fn note_exchange(&mut self, id: InteractionId, new: &NewEntry) {
        let (true, Some(exchange)) = (new.body.content().is_some(), new.exchange) else { return };
        let is_first = matches!(new.body, EntryBody::Arrived(_)) && new.conversation.is_some_and(|c| c.0 == id.0);
        match self.exchanges.get_mut(&exchange) {
            Some(record) => record.version += 1,
            None if is_first => {}
            None => {
                self.exchanges.insert(exchange, Exchange { version: 2, automatic_replies: Vec::new() });
            }
        }
    }

    fn merge(&mut self, from: ConversationId, into: ConversationId) {
        let (from, into) = (self.alias(from), self.alias(into));
        if from == into {
            return;
        }
        let implicit = |channel: &Self, id| {
            let first = channel.first_member(id);
            Conversation { id, count: first.iter().count() as u64, recent: first.into_iter().collect() }
        };
        let old = self.conversations.remove(&from).unwrap_or_else(|| implicit(self, from));
        let mut record = self.conversations.remove(&into).unwrap_or_else(|| implicit(self, into));
        record.count += old.count;
        record.recent.extend(old.recent);
        record.trim();
        self.conversations.insert(into, record);
        self.aliases.insert(from, into);
    }

    fn replied(&mut self, at: Timestamp, exchange: ExchangeId, is_automatic: bool) {
        let record = self.exchanges.entry(exchange).or_insert(Exchange { version: 1, automatic_replies: Vec::new() });
        record.reply(at, is_automatic);
    }

    fn raw(&mut self, at: Timestamp, raw: NewRaw) -> Option<u64> {
        if let Some((id, window)) = raw.once {
            if self.once.get(&id).is_some_and(|until| *until > at) {
                return None;
            }
            self.once.insert(id, Timestamp(at.0.saturating_add(window)));
        }
        self.record.raw_last += 1;
        let seq = self.record.raw_last;
        self.raws.insert(seq, RawItem { seq, received: raw.received.unwrap_or(at), origin: raw.origin, body: raw.body });
        Some(seq)
    }

    fn apply(&mut self, commit: Commit) -> Committed {
        let first = self.record.last.next();
        for (from, into) in commit.merges {
            self.merge(from, into);
        }
        for (id, link) in commit.links {
            let is_mark = matches!(link, Link::Ancestor(_));
            self.links.entry(id).and_modify(|stored| *stored = if is_mark { *stored } else { link }).or_insert(link);
        }
        for (exchange, is_automatic) in commit.replied {
            self.replied(commit.at, exchange, is_automatic);
        }
        for entry in commit.entries {
            self.append(commit.at, entry);
        }
        for raw in commit.raws {
            self.raw(commit.at, raw);
        }
        self.record.cursor = commit.cursor.or_else(|| self.record.cursor.take().filter(|_| !commit.is_cursor_gone));
        self.record.status = next_status(self.record.status.take(), commit.status, commit.is_order);
        self.record.tally = commit.tally.unwrap_or_else(|| std::mem::take(&mut self.record.tally));
        self.record.positions.extend(commit.positions);
        for (key, value) in commit.state {
            match value {
                Some(value) => self.state.insert(key, value),
                None => self.state.remove(&key),
            };
        }
        self.lineups.extend(commit.lineup.map(|lineup| (lineup.id, lineup)));
        self.results.extend(commit.results);
        for decision in commit.decisions {
            let list = self.decisions.entry(decision.seq).or_default();
            list.retain(|old| old.rule != decision.rule);
            list.push(decision);
        }
        self.actions.extend(commit.actions.into_iter().map(|action| ((action.interaction, action.id), action)));
        self.tasks.extend(commit.tasks.into_iter().map(|task| ((task.interaction, task.id), task)));
        self.timers.retain(|timer| !commit.timers_gone.contains(timer));
        self.timers.extend(commit.timers_set);
        commit.sink_retries_gone.iter().for_each(|id| drop(self.retries.remove(id)));
        self.retries.extend(commit.sink_retries.into_iter().map(|retry| ((retry.sink.clone(), retry.id.clone()), retry)));
        self.media(commit.media, &commit.media_gone);
        commit.dead_gone.iter().for_each(|id| drop(self.dead.remove(id)));
        self.dead.extend(commit.dead.into_iter().map(|letter| (letter.id, letter)));
        Committed { first, last: self.record.last, raw_last: self.record.raw_last }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn id_key(&self) -> &IdKey {
        &self.key
    }

    async fn channels(&self) -> Result<Vec<ChannelName>, StoreError> {
        Ok(self.all().keys().cloned().collect())
    }

    async fn channel(&self, channel: &ChannelName) -> Result<ChannelRecord, StoreError> {
        Ok(self.read(channel, |c| c.record.clone()))
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let mut all = self.all();
        let channel = all.entry(commit.channel.clone()).or_default();
        channel.check(&commit)?;
        Ok(channel.apply(commit))
    }

    async fn commit_raw(&self, channel: &ChannelName, at: Timestamp, raws: Vec<NewRaw>) -> Result<Vec<Option<u64>>, StoreError> {
        let mut all = self.all();
        let channel = all.entry(channel.clone()).or_default();
        Ok(raws.into_iter().map(|raw| channel.raw(at, raw)).collect())
    }

    async fn read_raw(&self, channel: &ChannelName, from: u64, items_max: usize, bytes_max: usize) -> Result<Vec<RawItem>, StoreError> {
        Ok(self.read(channel, |c| {
            let mut bytes = 0usize;
            let mut items = Vec::new();
            for raw in c.raws.range(from..).map(|(_, raw)| raw).take(items_max) {
                bytes += raw.body.len();
                if !items.is_empty() && bytes > bytes_max {
                    break;
                }
                items.push(raw.clone());
            }
            items
        }))
    }

    async fn drop_raw(&self, channel: &ChannelName, before: Timestamp) -> Result<u64, StoreError> {
        let mut all = self.all();
        let Some(c) = all.get_mut(channel) else { return Ok(0) };
        let read = c.record.position(&Reader::Raw);
        let named: Vec<u64> = c.dead.values().filter_map(|d| if let DeadSubject::Raw(seq) = d.subject { Some(seq) } else { None }).collect();
        let n_before = c.raws.len();
        c.raws.retain(|seq, raw| raw.received >= before || *seq > read || named.contains(seq));
        Ok((n_before - c.raws.len()) as u64)
    }

    async fn media_about(&self, channel: &ChannelName, interaction: InteractionId) -> Result<Vec<Media>, StoreError> {
        Ok(self.read(channel, |c| c.media.values().filter(|(media, _)| media.interaction == interaction).map(|(media, _)| media.clone()).collect()))
    }

    async fn media_body(&self, channel: &ChannelName, interaction: InteractionId, index: u16) -> Result<Option<Vec<u8>>, StoreError> {
        let is_stored = |(media, _): &&(Media, Vec<u8>)| matches!(media.outcome, MediaOutcome::Stored { .. });
        Ok(self.read(channel, |c| c.media.get(&(interaction, index)).filter(is_stored).map(|(_, body)| body.clone())))
    }

    async fn drop_media(&self, channel: &ChannelName, now: Timestamp) -> Result<u64, StoreError> {
        let mut all = self.all();
        let Some(c) = all.get_mut(channel) else { return Ok(0) };
        let n_before = c.media.len();
        c.media.retain(|_, (media, _)| media.until > now);
        c.count_media();
        Ok((n_before - c.media.len()) as u64)
    }

    async fn read_log(&self, channel: &ChannelName, from: Seq, items_max: usize) -> Result<Vec<Arc<Entry>>, StoreError> {
        Ok(self.read(channel, |c| c.log.iter().filter(|entry| entry.seq >= from).take(items_max).cloned().collect()))
    }

    async fn read_log_back(&self, channel: &ChannelName, before: Seq, items_max: usize) -> Result<Vec<Arc<Entry>>, StoreError> {
        Ok(self.read(channel, |c| c.log.iter().rev().filter(|entry| entry.seq < before).take(items_max).cloned().collect()))
    }

    async fn resolve(&self, channel: &ChannelName, ids: &[InteractionId]) -> Result<Vec<Resolved>, StoreError> {
        Ok(self.read(channel, |c| ids.iter().map(|id| c.resolve(*id)).collect()))
    }

    async fn annotated(&self, channel: &ChannelName, from: Seq, to: Seq) -> Result<Vec<(Seq, Annotated)>, StoreError> {
        Ok(self.read(channel, |c| in_force(c.results.iter().map(|run| (c.lineups.get(&run.lineup), run)), from, to)))
    }

    async fn decisions(&self, channel: &ChannelName, from: Seq, to: Seq) -> Result<Vec<Decision>, StoreError> {
        if from > to {
            return Ok(Vec::new());
        }
        Ok(self.read(channel, |c| c.decisions.range(from..=to).flat_map(|(_, list)| list.clone()).collect()))
    }

    async fn exchange(&self, channel: &ChannelName, exchange: ExchangeId) -> Result<Exchange, StoreError> {
        Ok(self.read(channel, |c| c.exchanges.get(&exchange).cloned()).unwrap_or(Exchange { version: 1, automatic_replies: Vec::new() }))
    }

    async fn conversation(&self, channel: &ChannelName, conversation: ConversationId) -> Result<Option<Conversation>, StoreError> {
        Ok(self.read(channel, |c| c.conversations.get(&c.alias(conversation)).cloned()))
    }

    async fn action(&self, channel: &ChannelName, id: ActionId) -> Result<Option<Action>, StoreError> {
        Ok(self.read(channel, |c| c.actions.values().find(|action| action.id == id).cloned()))
    }

    async fn task(&self, channel: &ChannelName, id: TaskId) -> Result<Option<Task>, StoreError> {
        Ok(self.read(channel, |c| c.tasks.values().find(|task| task.id == id).cloned()))
    }

    async fn actions_about(&self, channel: &ChannelName, interaction: InteractionId) -> Result<Vec<Action>, StoreError> {
        Ok(self.read(channel, |c| c.actions.values().filter(|action| action.interaction == interaction).cloned().collect()))
    }

    async fn tasks_about(&self, channel: &ChannelName, interaction: InteractionId) -> Result<Vec<Task>, StoreError> {
        Ok(self.read(channel, |c| c.tasks.values().filter(|task| task.interaction == interaction).cloned().collect()))
    }

    async fn actions_due(
        &self,
        channel: &ChannelName,
        now: Timestamp,
        after: Option<(Timestamp, ActionId)>,
        items_max: usize,
    ) -> Result<Vec<Action>, StoreError> {
        let place = |action: &Action| action.next_look().map(|due| (due, action.id));
        let is_due = |action: &&Action| place(action).is_some_and(|at| at.0 <= now && after.is_none_or(|after| at > after));
        let mut due: Vec<Action> = self.read(channel, |c| c.actions.values().filter(is_due).cloned().collect());
        due.sort_by_key(place);
        due.truncate(items_max);
        Ok(due)
    }

    async fn must_wait(&self, channel: &ChannelName, action: &Action) -> Result<bool, StoreError> {
        let is_before = |other: &Action| other.is_on_its_way() && other.exchange == action.exchange && other.rank() < action.rank();
        Ok(self.read(channel, |c| c.actions.values().any(|other| other.id != action.id && is_before(other))))
    }

    async fn timers_due(&self, channel: &ChannelName, now: Timestamp, items_max: usize) -> Result<Vec<Timer>, StoreError> {
        Ok(self.read(channel, |c| c.timers.iter().filter(|timer| timer.due <= now).take(items_max).cloned().collect()))
    }

    async fn sink_retries_due(&self, channel: &ChannelName, sink: &str, now: Timestamp, items_max: usize) -> Result<Vec<SinkRetry>, StoreError> {
        let mut due: Vec<SinkRetry> = self.read(channel, |c| c.retries.values().filter(|r| r.sink == sink && r.due <= now).cloned().collect());
        due.sort_by(|a, b| (a.due, &a.id).cmp(&(b.due, &b.id)));
        due.truncate(items_max);
        Ok(due)
    }

    async fn actions(&self, channel: &ChannelName, after: Option<(InteractionId, ActionId)>, items_max: usize) -> Result<Vec<Action>, StoreError> {
        Ok(self
            .read(channel, |c| c.actions.iter().filter(|(key, _)| after.is_none_or(|a| **key > a)).take(items_max).map(|(_, a)| a.clone()).collect()))
    }

    async fn tasks(&self, channel: &ChannelName, after: Option<(InteractionId, TaskId)>, items_max: usize) -> Result<Vec<Task>, StoreError> {
        Ok(self
            .read(channel, |c| c.tasks.iter().filter(|(key, _)| after.is_none_or(|a| **key > a)).take(items_max).map(|(_, t)| t.clone()).collect()))
    }

    async fn dead_letters(&self, channel: &ChannelName, after: Option<DeadId>, items_max: usize) -> Result<Vec<DeadLetter>, StoreError> {
        Ok(self.read(channel, |c| c.dead.iter().filter(|(id, _)| after.is_none_or(|a| **id > a)).take(items_max).map(|(_, d)| d.clone()).collect()))
    }

    async fn channel_and_state(&self, channel: &ChannelName) -> Result<(ChannelRecord, BTreeMap<String, Vec<u8>>), StoreError> {
        Ok(self.read(channel, |c| (c.record.clone(), c.state.clone())))
    }

    async fn verify(&self) -> Result<Verified, StoreError> {
        let n_entries = self.all().values().map(|c| c.log.len() as u64).sum();
        Ok(Verified { n_entries, n_records: n_entries, ..Verified::default() })
    }

    async fn backup(&self, _into: &Path, _progress: Arc<Progress>) -> Result<Verified, StoreError> {
        Err(StoreError::Closed("what is kept in memory alone has no backup".to_owned()))
    }

    async fn settle(&self) -> Result<(), StoreError> {
        self.n_settled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn health(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
