//! One commit: checked against what is stored, put together as one batch, applied at once under the channel's lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::{
    Action, ConversationId, Decision, Entry, EntryBody, ExchangeId, IdentityId, InteractionId, NewEntry, Results, ResultsOf, Seq, Task, Timestamp,
};
use crate::store::{Commit, Committed, Conversation, Exchange, Known, Link, SinkRetry, StoreError, check_commit, next_status};

use super::committer::Delivery;
use super::disk::{Disk, VALUE_MAX, Writes, encode};
use super::keys::{self, Key, Kind};
use super::live::{Envelope, Inner, Live, Queued, RUN_SPAN, Stored, StoredRecord, Thread, short};
use super::media::{self, Shelf};
use super::raws::{self, Laid};

/// A segment is closed before it passes this. Units: bytes.
const SEGMENT_MAX: usize = VALUE_MAX - 256;
/// Delivery ids past their window that one commit cleans up.
const ONCE_CLEANED: usize = 64;

/// Writes a commit. It is durable after the next sync; the files that are named have no record then.
pub(super) fn commit(
    disk: &Disk,
    live: &Live,
    mut commit: Commit,
    raws: Vec<Laid>,
    media: Vec<media::Laid>,
) -> Result<(Committed, Vec<String>), StoreError> {
    let mut inner = live.lock();
    check_commit(&inner.record, &commit)?;
    let mut txn = Txn::new(disk, live.number, &inner, commit.at);
    for action in std::mem::take(&mut commit.actions) {
        txn.action(action)?;
    }
    for task in std::mem::take(&mut commit.tasks) {
        txn.task(task)?;
    }
    for (from, into) in std::mem::take(&mut commit.merges) {
        txn.merge(from, into)?;
    }
    for (id, link) in std::mem::take(&mut commit.links) {
        txn.link(id, link)?;
    }
    // Before the entries: the fact of a reply that went out bears the version that it brought.
    for (exchange, is_automatic) in std::mem::take(&mut commit.replied) {
        txn.reply(exchange, is_automatic)?;
    }
    let first = txn.last.next();
    for entry in std::mem::take(&mut commit.entries) {
        txn.append(entry)?;
    }
    if !raws.is_empty() {
        txn.forget_old_ids()?;
    }
    for raw in raws {
        txn.raw(raw)?;
    }
    txn.media(media, std::mem::take(&mut commit.media_gone))?;
    txn.rare(&mut commit)?;
    let lineup = commit.lineup.map(Arc::new).filter(|lineup| !inner.lineups.contains_key(&lineup.id));
    if let Some(lineup) = &lineup {
        txn.put_parts(&keys::lineup(live.number, lineup.id), lineup.as_ref())?;
    }
    for results in commit.results {
        txn.results(results)?;
    }
    txn.decisions(commit.decisions)?;
    if let Some(cursor) = &commit.cursor {
        txn.put_parts(&keys::all(Kind::Cursor, live.number), cursor)?;
    }
    if let Some(tally) = &commit.tally {
        txn.put_parts(&keys::all(Kind::Tally, live.number), tally)?;
    }
    txn.segments()?;
    txn.overlay()?;
    let mut record = inner.record.clone();
    record.positions.extend(commit.positions);
    record.cursor = commit.cursor.or(record.cursor).filter(|_| !commit.is_cursor_gone);
    record.tally = commit.tally.unwrap_or(record.tally);
    record.status = next_status(record.status, commit.status, commit.is_order);
    (record.last, record.raw_last, record.media) = (txn.last, txn.raw_last, txn.shelf.count);
    txn.record(&record)?;
    let Txn { writes, entries, next_run, last, raw_last, shelf, .. } = txn;
    inner.apply(disk, live.number, writes)?;
    inner.record = record;
    inner.next_run = next_run;
    inner.lineups.extend(lineup.map(|lineup| (lineup.id, lineup)));
    for (entry, bytes) in entries {
        inner.push(entry, bytes);
    }
    Ok((Committed { first, last, raw_last }, shelf.forgotten))
}

/// Writes raw items of several deliveries, in their order. They are durable after the next sync.
pub(super) fn commit_raws(disk: &Disk, live: &Live, deliveries: Vec<Delivery>) -> Result<Vec<Vec<Option<u64>>>, StoreError> {
    let mut inner = live.lock();
    let at = deliveries.iter().map(|delivery| delivery.at).max().unwrap_or_default();
    let mut txn = Txn::new(disk, live.number, &inner, at);
    txn.forget_old_ids()?;
    let mut places = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        txn.at = delivery.at;
        places.push(delivery.raws.into_iter().map(|raw| txn.raw(raw)).collect::<Result<Vec<_>, _>>()?);
    }
    let mut record = inner.record.clone();
    record.raw_last = txn.raw_last;
    txn.record(&record)?;
    let Txn { writes, .. } = txn;
    inner.apply(disk, live.number, writes)?;
    inner.record = record;
    Ok(places)
}

struct Txn<'a> {
    disk: &'a Disk,
    channel: u32,
    at: Timestamp,
    writes: Writes,
    last: Seq,
    raw_last: u64,
    next_run: u64,
    /// What this commit appends, with its encoded size.
    entries: Vec<(Arc<Entry>, usize)>,
    encoded: Vec<(Seq, Vec<u8>)>,
    ids: HashMap<InteractionId, Option<Stored>>,
    threads: HashMap<ConversationId, Option<Thread>>,
    exchanges: HashMap<ExchangeId, Option<Exchange>>,
    once: HashMap<[u8; 16], u64>,
    /// How many parts values have that this commit wrote: the disk does not know yet.
    n_parts: HashMap<Key, u16>,
    shelf: Shelf<'a>,
}

impl<'a> Txn<'a> {
    fn new(disk: &'a Disk, channel: u32, inner: &Inner, at: Timestamp) -> Self {
        Self {
            disk,
            channel,
            at,
            writes: Writes::default(),
            last: inner.record.last,
            raw_last: inner.record.raw_last,
            next_run: inner.next_run,
            entries: Vec::new(),
            encoded: Vec::new(),
            ids: HashMap::new(),
            threads: HashMap::new(),
            exchanges: HashMap::new(),
            once: HashMap::new(),
            n_parts: HashMap::new(),
            shelf: Shelf::new(disk, channel, inner.record.media),
        }
    }

    /// Timers, retries, dead letters and the plugin's state: what most commits lack.
    fn rare(&mut self, commit: &mut Commit) -> Result<(), StoreError> {
        for timer in std::mem::take(&mut commit.timers_gone) {
            self.writes.remove(keys::timer(self.channel, &timer));
        }
        for timer in std::mem::take(&mut commit.timers_set) {
            self.writes.put(keys::timer(self.channel, &timer), &encode(&timer)?);
        }
        for (sink, id) in std::mem::take(&mut commit.sink_retries_gone) {
            self.retry_gone(&sink, &id)?;
        }
        // The last word on an event counts: its place among those due is looked up on disk.
        let retries = std::mem::take(&mut commit.sink_retries).into_iter().map(|retry| ((retry.sink.clone(), retry.id.clone()), retry));
        for retry in retries.collect::<BTreeMap<_, _>>().into_values() {
            self.retry(retry)?;
        }
        for id in std::mem::take(&mut commit.dead_gone) {
            self.remove_parts(&keys::dead(self.channel, id))?;
        }
        for letter in std::mem::take(&mut commit.dead) {
            self.put_parts(&keys::dead(self.channel, letter.id), &letter)?;
        }
        for (name, value) in std::mem::take(&mut commit.state) {
            let key = keys::state(self.channel, short(&name));
            match value {
                Some(value) => self.put_parts(&key, &(name, value))?,
                None => self.remove_parts(&key)?,
            }
        }
        Ok(())
    }

    fn put_parts<T: serde::Serialize>(&mut self, key: &[u8], record: &T) -> Result<(), StoreError> {
        let n_before = self.n_parts(key)?;
        let n_parts = self.writes.put_parts(key, &encode(record)?, n_before);
        self.n_parts.insert(key.to_vec(), n_parts);
        Ok(())
    }

    fn remove_parts(&mut self, key: &[u8]) -> Result<(), StoreError> {
        let n_before = self.n_parts(key)?;
        self.writes.remove_parts(key, n_before);
        self.n_parts.insert(key.to_vec(), 0);
        Ok(())
    }

    /// As this commit left it, else as it lies on disk.
    fn n_parts(&self, key: &[u8]) -> Result<u16, StoreError> {
        self.n_parts.get(key).map_or_else(|| self.disk.n_parts(key), |n_parts| Ok(*n_parts))
    }

    fn stored(&mut self, id: InteractionId) -> Result<&mut Option<Stored>, StoreError> {
        Ok(match self.ids.entry(id) {
            std::collections::hash_map::Entry::Occupied(found) => found.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => free.insert(self.disk.get_as(&keys::id(self.channel, id))?),
        })
    }

    fn known(&mut self, id: InteractionId) -> Result<Option<&mut Known>, StoreError> {
        Ok(match self.stored(id)? {
            Some(Stored::Known(known)) => Some(known),
            _ => None,
        })
    }

    fn thread(&mut self, id: ConversationId) -> Result<&mut Option<Thread>, StoreError> {
        Ok(match self.threads.entry(id) {
            std::collections::hash_map::Entry::Occupied(found) => found.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => free.insert(self.disk.get_as(&keys::conversation(self.channel, id))?),
        })
    }

    fn alias(&mut self, mut id: ConversationId) -> Result<ConversationId, StoreError> {
        while let Some(Thread::Alias(next)) = self.thread(id)? {
            id = *next;
        }
        Ok(id)
    }

    fn exchange(&mut self, id: ExchangeId) -> Result<&mut Option<Exchange>, StoreError> {
        Ok(match self.exchanges.entry(id) {
            std::collections::hash_map::Entry::Occupied(found) => found.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => free.insert(self.disk.get_as(&keys::exchange(self.channel, id))?),
        })
    }

    fn action(&mut self, action: Action) -> Result<(), StoreError> {
        let key = keys::action(self.channel, action.interaction, action.id);
        let old: Option<Action> = self.disk.get_parts_as(&key)?;
        if old.as_ref().map_or(0, |old| old.revision) + 1 != action.revision {
            return Err(StoreError::Conflict(format!("action {}", action.id)));
        }
        match &old {
            None => self.writes.put(keys::action_by_id(self.channel, action.id), &encode(&action.interaction)?),
            Some(old) => {
                if let Some(due) = old.next_look() {
                    self.writes.remove(keys::action_due(self.channel, due, old.id));
                }
                if old.is_on_its_way() {
                    self.writes.remove(keys::busy(self.channel, old.exchange, old.id));
                }
            }
        }
        if let Some(due) = action.next_look() {
            self.writes.put(keys::action_due(self.channel, due, action.id), &encode(&action.interaction)?);
        }
        if action.is_on_its_way() {
            let queued = Queued { seq: action.seq, is_under_way: action.state.is_under_way() };
            self.writes.put(keys::busy(self.channel, action.exchange, action.id), &encode(&queued)?);
        }
        self.put_parts(&key, &action)
    }

    fn task(&mut self, task: Task) -> Result<(), StoreError> {
        let key = keys::task(self.channel, task.interaction, task.id);
        let stored = self.disk.get_parts_as::<Task>(&key)?.map_or(0, |old| old.revision);
        if stored + 1 != task.revision {
            return Err(StoreError::Conflict(format!("task {}", task.id)));
        }
        if stored == 0 {
            self.writes.put(keys::task_by_id(self.channel, task.id), &encode(&task.interaction)?);
        }
        self.put_parts(&key, &task)
    }

    /// A name never hides an interaction of its own, and a mark for what nobody saw yet hides nothing.
    fn link(&mut self, id: InteractionId, link: Link) -> Result<(), StoreError> {
        let stored = self.stored(id)?;
        let is_kept = match stored {
            Some(Stored::Known(_)) => true,
            Some(Stored::Link(_)) => matches!(link, Link::Ancestor(_)),
            _ => false,
        };
        if !is_kept {
            *stored = Some(Stored::Link(link));
        }
        Ok(())
    }

    fn append(&mut self, new: NewEntry) -> Result<(), StoreError> {
        let seq = self.last.next();
        self.last = seq;
        let mut previous = None;
        if let Some(id) = new.interaction {
            previous = self.known(id)?.map(|known| known.last);
            self.note_known(seq, id, &new)?;
            self.note_conversation(seq, id, &new)?;
            self.note_exchange(id, &new)?;
        }
        let exchange_version = match new.exchange {
            Some(exchange) => Some(self.exchange(exchange)?.as_ref().map_or(1, |record| record.version)),
            None => None,
        };
        let entry = Entry { seq, at: self.at, previous, exchange_version, new };
        let encoded = encode(&entry)?;
        self.entries.push((Arc::new(entry), encoded.len() + 512));
        self.encoded.push((seq, encoded));
        Ok(())
    }

    fn note_known(&mut self, seq: Seq, id: InteractionId, new: &NewEntry) -> Result<(), StoreError> {
        let stored = self.stored(id)?;
        match (&new.body, stored.as_mut()) {
            (EntryBody::Arrived(content), _) => *stored = Some(Stored::Known(Known::first(id, seq, content, new))),
            (body, Some(Stored::Known(known))) => known.follow(seq, body),
            _ => {}
        }
        if matches!(new.body, EntryBody::Gone) {
            self.shelf.forget(&mut self.writes, id)?;
        }
        Ok(())
    }

    fn media(&mut self, written: Vec<media::Laid>, gone: Vec<(InteractionId, u16)>) -> Result<(), StoreError> {
        gone.into_iter().try_for_each(|place| self.shelf.remove(&mut self.writes, place))?;
        for laid in written {
            if self.known(laid.about())?.is_some_and(|known| !known.is_gone) {
                self.shelf.put(&mut self.writes, laid)?;
            } else {
                self.shelf.forgotten.extend(laid.name());
            }
        }
        Ok(())
    }

    fn note_conversation(&mut self, seq: Seq, id: InteractionId, new: &NewEntry) -> Result<(), StoreError> {
        let (EntryBody::Arrived(content), Some(conversation)) = (&new.body, new.conversation) else { return Ok(()) };
        let conversation = self.alias(conversation)?;
        if self.thread(conversation)?.is_none() {
            if conversation.0 == id.0 {
                return Ok(());
            }
            let first = self.implicit(conversation)?;
            *self.thread(conversation)? = Some(Thread::Record(first));
        }
        if let Some(Thread::Record(record)) = self.thread(conversation)? {
            record.count += 1;
            record.recent.push((seq, new.identity, content.is_ours()));
            record.trim();
        }
        Ok(())
    }

    /// A conversation without a record: its root alone, where that is stored.
    fn implicit(&mut self, id: ConversationId) -> Result<Conversation, StoreError> {
        let first = self.first_member(InteractionId(id.0))?;
        Ok(Conversation { id, count: u64::from(first.is_some()), recent: first.into_iter().collect() })
    }

    fn first_member(&mut self, root: InteractionId) -> Result<Option<(Seq, Option<IdentityId>, bool)>, StoreError> {
        let Some(mut seq) = self.known(root)?.map(|known| known.last) else { return Ok(None) };
        loop {
            let Some(entry) = self.entry(seq)? else { return Ok(None) };
            if let EntryBody::Arrived(content) = &entry.new.body {
                return Ok(Some((entry.seq, entry.new.identity, content.is_ours())));
            }
            let Some(previous) = entry.previous else { return Ok(None) };
            seq = previous;
        }
    }

    fn entry(&self, seq: Seq) -> Result<Option<Arc<Entry>>, StoreError> {
        if let Some((entry, _)) = self.entries.iter().find(|(entry, _)| entry.seq == seq) {
            return Ok(Some(Arc::clone(entry)));
        }
        super::live::entry_at(self.disk, self.channel, seq)
    }

    fn note_exchange(&mut self, id: InteractionId, new: &NewEntry) -> Result<(), StoreError> {
        let (true, Some(exchange)) = (new.body.content().is_some(), new.exchange) else { return Ok(()) };
        let is_first = matches!(new.body, EntryBody::Arrived(_)) && new.conversation.is_some_and(|c| c.0 == id.0);
        let record = self.exchange(exchange)?;
        match record {
            Some(record) => record.version += 1,
            None if is_first => {}
            None => *record = Some(Exchange { version: 2, automatic_replies: Vec::new() }),
        }
        Ok(())
    }

    fn merge(&mut self, from: ConversationId, into: ConversationId) -> Result<(), StoreError> {
        let (from, into) = (self.alias(from)?, self.alias(into)?);
        if from == into {
            return Ok(());
        }
        let old = self.record_of(from)?;
        let mut record = self.record_of(into)?;
        record.count += old.count;
        record.recent.extend(old.recent);
        record.trim();
        *self.thread(into)? = Some(Thread::Record(record));
        *self.thread(from)? = Some(Thread::Alias(into));
        Ok(())
    }

    fn record_of(&mut self, id: ConversationId) -> Result<Conversation, StoreError> {
        match self.thread(id)?.take() {
            Some(Thread::Record(record)) => Ok(record),
            _ => self.implicit(id),
        }
    }

    fn reply(&mut self, exchange: ExchangeId, is_automatic: bool) -> Result<(), StoreError> {
        let at = self.at;
        let record = self.exchange(exchange)?.get_or_insert(Exchange { version: 1, automatic_replies: Vec::new() });
        record.reply(at, is_automatic);
        Ok(())
    }

    fn raw(&mut self, raw: Laid) -> Result<Option<u64>, StoreError> {
        if let Some((id, window)) = &raw.once {
            let hash = short(id);
            let stored = match self.once.get(&hash) {
                Some(until) => Some(*until),
                None => self.disk.get_as::<u64>(&keys::once(self.channel, hash))?,
            };
            if stored.is_some_and(|until| until > self.at.0) {
                return Ok(None);
            }
            let until = self.at.0.saturating_add(*window);
            self.once.insert(hash, until);
            self.writes.put(keys::once(self.channel, hash), &encode(&until)?);
            self.writes.put(keys::once_until(self.channel, until, hash), &[]);
        }
        self.raw_last += 1;
        raws::write(&mut self.writes, self.channel, self.raw_last, self.at, raw)?;
        Ok(Some(self.raw_last))
    }

    fn forget_old_ids(&mut self) -> Result<(), StoreError> {
        let (from, to) = (keys::all(Kind::OnceUntil, self.channel), keys::after(Kind::OnceUntil, self.channel, &[], self.at));
        for key in self.disk.keys(from, to).take(ONCE_CLEANED) {
            let key = key?;
            if let Some(id) = keys::last_id(&key) {
                self.writes.remove(keys::once(self.channel, id));
            }
            self.writes.remove(key.to_vec());
        }
        Ok(())
    }

    fn retry_gone(&mut self, sink: &str, id: &str) -> Result<(), StoreError> {
        let (sink, id) = (short(sink), short(id));
        let key = keys::retry(self.channel, sink, id);
        if let Some(old) = self.disk.get_parts_as::<SinkRetry>(&key)? {
            self.writes.remove(keys::retry_due(self.channel, sink, old.due, id));
        }
        self.remove_parts(&key)
    }

    fn retry(&mut self, retry: SinkRetry) -> Result<(), StoreError> {
        self.retry_gone(&retry.sink, &retry.id)?;
        let (sink, id) = (short(&retry.sink), short(&retry.id));
        self.writes.put(keys::retry_due(self.channel, sink, retry.due, id), &[]);
        self.put_parts(&keys::retry(self.channel, sink, id), &retry)
    }

    /// One run, cut so that each piece spans few entries and few bytes.
    fn results(&mut self, results: Results) -> Result<(), StoreError> {
        let lineup = results.lineup;
        let size = |of: &ResultsOf| 16 + of.said.iter().flat_map(|(_, said)| said).flatten().map(|one| 32 + one.key.len()).sum::<usize>();
        for of in pieces(results.of, |of| of.seq, size) {
            let Some(key) = self.next_run(Kind::Results, of.iter().map(|of| of.seq)) else { continue };
            self.writes.put_parts(&key, &encode(&Results { lineup, of })?, 0);
        }
        Ok(())
    }

    fn decisions(&mut self, decisions: Vec<Decision>) -> Result<(), StoreError> {
        let size = |d: &Decision| 160 + d.reasons.iter().map(String::len).sum::<usize>() + d.actions.iter().map(|a| a.body.len() + 32).sum::<usize>();
        for piece in pieces(decisions, |decision| decision.seq, size) {
            let Some(key) = self.next_run(Kind::Decisions, piece.iter().map(|decision| decision.seq)) else { continue };
            self.writes.put_parts(&key, &encode(&piece)?, 0);
        }
        Ok(())
    }

    /// The key of a run over these entries; none where there are none.
    fn next_run(&mut self, kind: Kind, of: impl Iterator<Item = Seq> + Clone) -> Option<Vec<u8>> {
        let (first, last) = (of.clone().min()?, of.max()?);
        self.next_run += 1;
        Some(keys::run(kind, self.channel, first, last, self.next_run))
    }

    /// Packs the new entries into segments.
    fn segments(&mut self) -> Result<(), StoreError> {
        let (mut open, mut bytes, mut first): (Vec<Envelope>, usize, Option<Seq>) = (Vec::new(), 0, None);
        for (seq, entry) in std::mem::take(&mut self.encoded) {
            let size = entry.len() + 8;
            if bytes + size > SEGMENT_MAX {
                self.segment(first.take(), &std::mem::take(&mut open))?;
                bytes = 0;
            }
            first.get_or_insert(seq);
            bytes += size;
            open.push(Envelope { format: 1, key_id: 0, entry });
        }
        self.segment(first, &open)
    }

    fn segment(&mut self, first: Option<Seq>, envelopes: &[Envelope]) -> Result<(), StoreError> {
        let Some(first) = first else { return Ok(()) };
        self.writes.put_parts(&keys::log(self.channel, first), &encode(&envelopes)?, 0);
        Ok(())
    }

    /// Writes what this commit changed of ids, conversations and exchanges.
    fn overlay(&mut self) -> Result<(), StoreError> {
        for (id, stored) in std::mem::take(&mut self.ids) {
            if let Some(stored) = stored {
                self.writes.put(keys::id(self.channel, id), &encode(&stored)?);
            }
        }
        for (id, thread) in std::mem::take(&mut self.threads) {
            if let Some(thread) = thread {
                self.writes.put(keys::conversation(self.channel, id), &encode(&thread)?);
            }
        }
        for (id, exchange) in std::mem::take(&mut self.exchanges) {
            if let Some(exchange) = exchange {
                self.writes.put(keys::exchange(self.channel, id), &encode(&exchange)?);
            }
        }
        Ok(())
    }

    fn record(&mut self, record: &crate::store::ChannelRecord) -> Result<(), StoreError> {
        let stored = StoredRecord {
            last: record.last,
            raw_last: record.raw_last,
            next_run: self.next_run,
            positions: record.positions.clone(),
            status: record.status.clone(),
        };
        self.put_parts(&keys::all(Kind::Record, self.channel), &stored)
    }
}

/// Cuts a list so that each piece spans few entries and few bytes.
fn pieces<T>(items: Vec<T>, seq: impl Fn(&T) -> Seq, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut all: Vec<Vec<T>> = Vec::new();
    let (mut bytes, mut low, mut high) = (0, u64::MAX, 0);
    for item in items {
        let (at, more) = (seq(&item).0, size(&item));
        let is_full = bytes + more > SEGMENT_MAX || high.max(at).saturating_sub(low.min(at)) >= RUN_SPAN;
        match all.last_mut().filter(|_| !is_full) {
            Some(open) => open.push(item),
            None => {
                all.push(vec![item]);
                (bytes, low, high) = (0, u64::MAX, 0);
            }
        }
        bytes += more;
        (low, high) = (low.min(at), high.max(at));
    }
    all
}
