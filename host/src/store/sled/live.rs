//! A channel as it is held in memory: where it stands, its newest entries, its lineups. All of it is also on disk.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::{
    Action, ActionId, Annotated, ChannelName, ConversationId, Decision, Entry, InteractionId, Lineup, LineupId, Results, Seq, Timestamp,
};
use crate::store::{ChannelRecord, ChannelStatus, Conversation, Known, Link, Reader, Resolved, SinkRetry, StoreError, in_force};

use super::disk::{Disk, Writes, checksum, decode, encode, failed, opened};
use super::head::{Channels, Head};
use super::keys::{self, Key, Kind};

/// Newest entries kept decoded, for the stages that follow the log's end.
const TAIL_ENTRIES: usize = 2048;
const TAIL_BYTES: usize = 4 << 20;
/// Records that are counted before commits get their turn.
const COUNT_STEP: usize = 1024;
/// Entries that one run may cover.
pub(super) const RUN_SPAN: u64 = 128;

/// One channel.
pub(super) struct Live {
    pub(super) number: u32,
    pub(super) name: ChannelName,
    inner: Mutex<Inner>,
}

/// What changes with each commit.
#[derive(Default)]
pub(super) struct Inner {
    pub(super) record: ChannelRecord,
    pub(super) head: Head,
    /// Where records are being counted: how far, and what was found up to there.
    pass: Option<Pass>,
    pub(super) next_run: u64,
    pub(super) lineups: HashMap<LineupId, Arc<Lineup>>,
    tail: VecDeque<(Arc<Entry>, usize)>,
    tail_bytes: usize,
}

#[derive(Debug, Default)]
struct Pass {
    to: Key,
    found: Head,
    /// What commits did meanwhile to records up to there, where these are copied.
    changed: Option<Copied>,
}

/// Records as they lie in the tree; none where one was removed.
pub(super) type Copied = Vec<(Key, Option<Vec<u8>>)>;

/// Takes records that are copied, in any order but that of one key.
pub(super) type Copy<'c> = &'c mut dyn FnMut(Copied) -> Result<(), StoreError>;

/// The channel's record on disk; the cursor lies beside it, for it may be large, and the tally, for it seldom changes.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct StoredRecord {
    pub(super) last: Seq,
    pub(super) raw_last: u64,
    pub(super) next_run: u64,
    pub(super) positions: BTreeMap<Reader, u64>,
    pub(super) status: Option<ChannelStatus>,
}

/// What lies under an id.
#[derive(Serialize, Deserialize)]
pub(super) enum Stored {
    Known(Known),
    Link(Link),
}

/// What lies under an action's place in its exchange.
#[derive(Serialize, Deserialize)]
pub(super) struct Queued {
    pub(super) seq: Seq,
    pub(super) is_under_way: bool,
}

/// What lies under a conversation's id.
#[derive(Serialize, Deserialize)]
pub(super) enum Thread {
    Record(Conversation),
    Alias(ConversationId),
}

/// One entry on disk, as lies in a segment.
#[derive(Serialize, Deserialize)]
pub(super) struct Envelope {
    /// Of the entry's encoding.
    pub(super) format: u8,
    /// What it is sealed with; 0: not sealed.
    pub(super) key_id: u32,
    /// Encoded.
    pub(super) entry: Vec<u8>,
}

/// One entry, straight from the disk.
pub(super) fn entry_at(disk: &Disk, channel: u32, seq: Seq) -> Result<Option<Arc<Entry>>, StoreError> {
    let Some(start) = disk.last_at(&keys::log(channel, seq), 5)? else { return Ok(None) };
    let Some((key, body)) = disk.scan(&start, keys::log(channel, seq.next())).next().transpose()? else { return Ok(None) };
    Ok(segment_of(&key, &body)?.into_iter().find(|entry| entry.seq == seq).map(Arc::new))
}

/// Every channel on disk.
pub(super) fn all(disk: &Disk) -> Result<Channels, StoreError> {
    let mut all = HashMap::new();
    for item in disk.tree.scan_prefix([Kind::Name as u8]).keys() {
        let key = item.map_err(failed("open"))?;
        let number = keys::channel_of(&key);
        let (Some(number), Some(name)) = (number, disk.get(&key)?) else { continue };
        let name = ChannelName::from(String::from_utf8_lossy(&name).as_ref());
        let live = Live::new(number, name.clone());
        if let Some(stored) = disk.get_parts_as::<StoredRecord>(&keys::all(Kind::Record, number))? {
            let cursor = disk.get_parts_as::<String>(&keys::all(Kind::Cursor, number))?;
            let tally = disk.get_parts_as(&keys::all(Kind::Tally, number))?.unwrap_or_default();
            let StoredRecord { last, raw_last, next_run, positions, status } = stored;
            let mut inner = live.lock();
            inner.record = ChannelRecord { last, raw_last, cursor, positions, status, tally, ..ChannelRecord::default() };
            inner.next_run = next_run;
        }
        live.lock().head = disk.get_as(&keys::all(Kind::Head, number))?.unwrap_or_default();
        all.insert(name, Arc::new(live));
    }
    Ok(all)
}

/// Reads every record of these channels once, and names what is damaged, missing or too old. Gives how many entries and records there are.
pub(super) fn check_all(disk: &Disk, channels: &Channels, damage: &mut Vec<String>) -> (u64, u64) {
    let (mut n_entries, mut n_records) = (0, 0);
    for live in channels.values() {
        n_records += live.check(disk, damage);
        n_entries += live.verify(disk, damage);
    }
    let numbers = disk.numbers().inspect_err(|error| damage.push(error.what())).unwrap_or_default();
    for number in numbers.into_iter().filter(|number| channels.values().all(|live| live.number != *number)) {
        // A name may be newer than the list.
        match disk.get(&keys::all(Kind::Name, number)) {
            Ok(Some(_)) => {}
            Ok(None) => damage.push(format!("channel number {number} has records and has lost its name")),
            Err(error) => damage.push(error.what()),
        }
    }
    (n_entries, n_records)
}

/// Records under this prefix, after `after`.
pub(super) fn page<T: DeserializeOwned>(disk: &Disk, prefix: &[u8], after: Option<Key>, items_max: usize) -> Result<Vec<T>, StoreError> {
    disk.scan_prefix(prefix, after).take(items_max).map(|item| item.and_then(|(key, body)| decode(&key, &body))).collect()
}

/// What one step of counting read.
#[derive(Default)]
struct Step {
    copied: Copied,
    /// Where to go on.
    next: Option<Key>,
}

impl Live {
    pub(super) fn new(number: u32, name: ChannelName) -> Self {
        Self { number, name, inner: Mutex::default() }
    }

    /// Also held while a record of several parts is read that commits may change: it would come back half old, half new.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read_log(&self, disk: &Disk, from: Seq, items_max: usize) -> Result<Vec<Arc<Entry>>, StoreError> {
        let last = {
            let inner = self.lock();
            if inner.tail.front().is_some_and(|(first, _)| first.seq <= from) || from > inner.record.last {
                let skip = inner.tail.partition_point(|(entry, _)| entry.seq < from);
                return Ok(inner.tail.iter().skip(skip).take(items_max).map(|(entry, _)| Arc::clone(entry)).collect());
            }
            inner.record.last
        };
        let start = disk.last_at(&keys::log(self.number, from), 5)?.unwrap_or_else(|| keys::log(self.number, from));
        let mut entries = Vec::new();
        for segment in disk.scan(&start, keys::log(self.number, last.next())) {
            let (key, body) = segment?;
            entries.extend(segment_of(&key, &body)?.into_iter().filter(|entry| entry.seq >= from && entry.seq <= last).map(Arc::new));
            if entries.len() >= items_max {
                break;
            }
        }
        entries.truncate(items_max);
        Ok(entries)
    }

    pub(super) fn read_log_back(&self, disk: &Disk, before: Seq, items_max: usize) -> Result<Vec<Arc<Entry>>, StoreError> {
        let last = self.lock().record.last;
        let end = before.0.min(last.next().0);
        let n_wanted = u64::try_from(items_max).unwrap_or(u64::MAX).min(end.saturating_sub(1));
        let from = Seq(end - n_wanted);
        let mut entries = self.read_log(disk, Seq(from.0.max(1)), usize::try_from(n_wanted).unwrap_or(usize::MAX))?;
        entries.retain(|entry| entry.seq.0 < end);
        entries.reverse();
        Ok(entries)
    }

    pub(super) fn resolve(&self, disk: &Disk, id: InteractionId) -> Result<Resolved, StoreError> {
        Ok(match disk.get_as::<Stored>(&keys::id(self.number, id))? {
            None => Resolved::Unknown,
            Some(Stored::Known(known)) => Resolved::Interaction(self.with_alias(disk, known)?),
            Some(Stored::Link(Link::Ancestor(conversation))) => Resolved::Ancestor(self.alias(disk, conversation)?),
            Some(Stored::Link(Link::Action(about, action))) => Resolved::Action(about, action),
            Some(Stored::Link(Link::Interaction(other))) => match disk.get_as::<Stored>(&keys::id(self.number, other))? {
                Some(Stored::Known(known)) => Resolved::Interaction(self.with_alias(disk, known)?),
                _ => Resolved::Unknown,
            },
        })
    }

    fn with_alias(&self, disk: &Disk, mut known: Known) -> Result<Known, StoreError> {
        known.conversation = self.alias(disk, known.conversation)?;
        Ok(known)
    }

    /// Merges point at live conversations, so chains are short.
    fn alias(&self, disk: &Disk, mut id: ConversationId) -> Result<ConversationId, StoreError> {
        while let Some(Thread::Alias(next)) = disk.get_as::<Thread>(&keys::conversation(self.number, id))? {
            id = next;
        }
        Ok(id)
    }

    pub(super) fn conversation(&self, disk: &Disk, id: ConversationId) -> Result<Option<Conversation>, StoreError> {
        let id = self.alias(disk, id)?;
        Ok(match disk.get_as::<Thread>(&keys::conversation(self.number, id))? {
            Some(Thread::Record(record)) => Some(record),
            _ => None,
        })
    }

    /// Runs that may say something of `from..=to`, in the order they were made.
    fn runs<T: DeserializeOwned>(&self, disk: &Disk, kind: Kind, from: Seq, to: Seq) -> Result<Vec<T>, StoreError> {
        let start = keys::runs_from(kind, self.number, Seq(from.0.saturating_sub(RUN_SPAN)));
        let end = keys::runs_from(kind, self.number, to.next());
        let mut runs: Vec<(u64, T)> = Vec::new();
        for item in disk.scan_where(&start, end, |key| keys::is_run_over(key, from, to)) {
            let (key, body) = item?;
            runs.push((keys::second_u64(&key).unwrap_or(0), decode(&key, &body)?));
        }
        runs.sort_by_key(|(run, _)| *run);
        Ok(runs.into_iter().map(|(_, run)| run).collect())
    }

    pub(super) fn annotated(&self, disk: &Disk, from: Seq, to: Seq) -> Result<Vec<(Seq, Annotated)>, StoreError> {
        let runs: Vec<Results> = self.runs(disk, Kind::Results, from, to)?;
        let mut lineups: HashMap<LineupId, Arc<Lineup>> = HashMap::new();
        for run in &runs {
            if let (false, Some(lineup)) = (lineups.contains_key(&run.lineup), self.lineup(disk, run.lineup)?) {
                lineups.insert(run.lineup, lineup);
            }
        }
        Ok(in_force(runs.iter().map(|run| (lineups.get(&run.lineup).map(Arc::as_ref), run)), from, to))
    }

    fn lineup(&self, disk: &Disk, id: LineupId) -> Result<Option<Arc<Lineup>>, StoreError> {
        if let Some(lineup) = self.lock().lineups.get(&id) {
            return Ok(Some(Arc::clone(lineup)));
        }
        let Some(lineup) = disk.get_parts_as::<Lineup>(&keys::lineup(self.number, id))?.map(Arc::new) else { return Ok(None) };
        self.lock().lineups.insert(id, Arc::clone(&lineup));
        Ok(Some(lineup))
    }

    pub(super) fn decisions(&self, disk: &Disk, from: Seq, to: Seq) -> Result<Vec<Decision>, StoreError> {
        let mut all: BTreeMap<Seq, Vec<Decision>> = BTreeMap::new();
        for decision in self.runs::<Vec<Decision>>(disk, Kind::Decisions, from, to)?.into_iter().flatten() {
            if (from..=to).contains(&decision.seq) {
                let list = all.entry(decision.seq).or_default();
                list.retain(|old| old.rule != decision.rule);
                list.push(decision);
            }
        }
        Ok(all.into_values().flatten().collect())
    }

    pub(super) fn actions_due(
        &self,
        disk: &Disk,
        now: Timestamp,
        after: Option<(Timestamp, ActionId)>,
        items_max: usize,
    ) -> Result<Vec<Action>, StoreError> {
        let _whole = self.lock();
        let mut from = keys::all(Kind::ActionDue, self.number);
        if let Some((due, id)) = after {
            // The smallest key behind it.
            from = keys::action_due(self.number, due, id);
            from.push(0);
        }
        let to = keys::after(Kind::ActionDue, self.number, &[], now);
        let mut due = Vec::new();
        for key in disk.keys(from.clone(), to.max(from)).take(items_max) {
            let key = key?;
            let (Some(id), Some(about)) = (keys::last_id(&key), disk.get_as::<InteractionId>(&key)?) else { continue };
            due.extend(disk.get_parts_as::<Action>(&keys::action(self.number, about, ActionId(id)))?);
        }
        Ok(due)
    }

    pub(super) fn must_wait(&self, disk: &Disk, action: &Action) -> Result<bool, StoreError> {
        let _whole = self.lock();
        for item in disk.tree.scan_prefix(keys::busy_in(self.number, action.exchange)) {
            let (key, _) = item.map_err(failed("read"))?;
            let (Some(id), Some(Queued { seq, is_under_way })) = (keys::last_id(&key), disk.get_as::<Queued>(&key)?) else { continue };
            if id != action.id.0 && (!is_under_way, seq, ActionId(id)) < action.rank() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn retries_due(&self, disk: &Disk, sink: &str, now: Timestamp, items_max: usize) -> Result<Vec<SinkRetry>, StoreError> {
        let _whole = self.lock();
        let hash = short(sink);
        let from = keys::retry_due(self.number, hash, Timestamp(0), [0; 16]);
        let mut due = Vec::new();
        for key in disk.keys(from, keys::after(Kind::RetryDue, self.number, &hash, now)).take(items_max) {
            let Some(id) = keys::last_id(&key?) else { continue };
            due.extend(disk.get_parts_as::<SinkRetry>(&keys::retry(self.number, hash, id))?);
        }
        due.sort_by(|a: &SinkRetry, b: &SinkRetry| (a.due, &a.id).cmp(&(b.due, &b.id)));
        Ok(due)
    }

    /// Reads every record once, beside commits that go on, and compares them with the head. Gives how many there are.
    pub(super) fn check(&self, disk: &Disk, damage: &mut Vec<String>) -> u64 {
        let counted = self.count(disk, &mut |error| damage.push(format!("channel {}: {}", self.name, error.what())), None);
        let what = match &counted {
            Ok((found, wanted)) => wanted.damage(found),
            Err(error) => Some(error.what()),
        };
        damage.extend(what.map(|what| format!("channel {}: {what}", self.name)));
        counted.map_or(0, |(found, _)| found.n_records)
    }

    /// Of a store that an older build wrote: gives the channel its first head.
    pub(super) fn begin_head(&self, disk: &Disk) -> Result<(), StoreError> {
        let (head, _) = self.count(disk, &mut |_| {}, None)?;
        let mut writes = Writes::default();
        writes.put(keys::all(Kind::Head, self.number), &encode(&head)?);
        disk.apply(writes)?;
        self.lock().head = head;
        Ok(())
    }

    /// What its records come to, and what they should, at one moment; `each` is told of those whose checksum is wrong. `copy` gets every
    /// record, and has the channel as it is at that moment.
    pub(super) fn count(&self, disk: &Disk, each: &mut impl FnMut(StoreError), mut copy: Option<Copy<'_>>) -> Result<(Head, Head), StoreError> {
        self.lock().pass = Some(Pass { changed: copy.as_ref().map(|_| Copied::new()), ..Pass::default() });
        let passed = self.pass_over(disk, each, &mut copy);
        // Also of one that failed: else commits would go on noting what nobody takes.
        let (pass, head) = {
            let mut inner = self.lock();
            (inner.pass.take().unwrap_or_default(), inner.head)
        };
        passed?;
        if let Some(copy) = copy {
            copy(pass.changed.unwrap_or_default())?;
            let mut own = Writes::default();
            own.put(keys::all(Kind::Name, self.number), self.name.as_str().as_bytes());
            own.put(keys::all(Kind::Head, self.number), &encode(&head)?);
            copy(own.into_records())?;
        }
        Ok((pass.found, head))
    }

    fn pass_over(&self, disk: &Disk, each: &mut impl FnMut(StoreError), copy: &mut Option<Copy<'_>>) -> Result<(), StoreError> {
        for kind in keys::COUNTED {
            let mut from = Some(keys::all(kind, self.number));
            while let Some(key) = from {
                let step = self.count_some(disk, kind, key, each)?;
                from = step.next;
                if let Some(copy) = copy {
                    copy(step.copied)?;
                }
            }
        }
        Ok(())
    }

    /// A step of it.
    fn count_some(&self, disk: &Disk, kind: Kind, from: Key, each: &mut impl FnMut(StoreError)) -> Result<Step, StoreError> {
        let end = keys::all(kind, self.number.saturating_add(1));
        let mut inner = self.lock();
        let Some(pass) = &mut inner.pass else { return Ok(Step::default()) };
        let (mut n_read, mut step) = (0, Step { copied: pass.changed.as_mut().map(std::mem::take).unwrap_or_default(), next: None });
        for item in disk.tree.range(from..end.clone()).take(COUNT_STEP) {
            let (key, value) = item.map_err(failed("read"))?;
            if let Err(error) = opened(&key, &value) {
                each(error);
            }
            pass.found.note(None, Some(checksum(&value)));
            pass.to = key.to_vec();
            n_read += 1;
            if pass.changed.is_some() {
                step.copied.push((key.to_vec(), Some(value.to_vec())));
            }
        }
        if n_read == COUNT_STEP {
            // The smallest key behind it.
            step.next = Some([pass.to.as_slice(), &[0]].concat());
        } else {
            pass.to = end;
        }
        Ok(step)
    }

    /// Counts entries, and names gaps between them.
    pub(super) fn verify(&self, disk: &Disk, damage: &mut Vec<String>) -> u64 {
        // What is appended while it is read is none of its business.
        let last = self.lock().record.last;
        let (mut n_entries, mut expected) = (0, Seq(1));
        for segment in disk.scan_prefix(&keys::all(Kind::Log, self.number), None) {
            let entries = match segment.and_then(|(key, body)| segment_of(&key, &body)) {
                Ok(entries) => entries,
                Err(error) => {
                    damage.push(format!("channel {}: after sequence {}: {}", self.name, expected.0 - 1, error.what()));
                    continue;
                }
            };
            for entry in entries.into_iter().filter(|entry| entry.seq <= last) {
                if entry.seq != expected {
                    damage.push(format!("channel {}: sequences {expected} to {} are missing", self.name, entry.seq.0.saturating_sub(1)));
                }
                expected = entry.seq.next();
                n_entries += 1;
            }
        }
        if expected != last.next() {
            damage.push(format!("channel {}: sequences {expected} to {last} are missing", self.name));
        }
        n_entries
    }
}

impl Inner {
    /// Applies a commit's writes, and what they make of the head, all or nothing. They are durable after the next sync.
    pub(super) fn apply(&mut self, disk: &Disk, channel: u32, mut writes: Writes) -> Result<(), StoreError> {
        let (mut head, mut found, mut changed) = (self.head, self.pass.as_ref().map(|pass| pass.found), Copied::new());
        head.n_commits += 1;
        for change in disk.changes(&writes) {
            let (key, before, after) = change?;
            head.note(before, after);
            if let (Some(pass), Some(found)) = (self.pass.as_ref().filter(|pass| *key <= pass.to), &mut found) {
                found.note(before, after);
                if pass.changed.is_some() {
                    changed.push((key.clone(), writes.value(key)));
                }
            }
        }
        writes.put_beside(keys::all(Kind::Head, channel), &encode(&head)?);
        disk.apply(writes)?;
        self.head = head;
        if let (Some(pass), Some(found)) = (&mut self.pass, found) {
            pass.found = found;
            pass.changed.iter_mut().for_each(|all| all.append(&mut changed));
        }
        Ok(())
    }

    /// Keeps a new entry at hand.
    pub(super) fn push(&mut self, entry: Arc<Entry>, bytes: usize) {
        self.tail_bytes += bytes;
        self.tail.push_back((entry, bytes));
        while self.tail.len() > TAIL_ENTRIES || (self.tail_bytes > TAIL_BYTES && self.tail.len() > 1) {
            self.tail_bytes -= self.tail.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }
}

fn segment_of(key: &[u8], body: &[u8]) -> Result<Vec<Entry>, StoreError> {
    let envelopes: Vec<Envelope> = decode(key, body)?;
    envelopes
        .into_iter()
        .map(|envelope| match envelope {
            Envelope { format: 1, key_id: 0, entry } => decode(key, &entry),
            Envelope { format, key_id, .. } => {
                Err(StoreError::damaged(format!("an entry has encoding {format} and key {key_id}, unknown to this build")))
            }
        })
        .collect()
}

/// 16 bytes that stand for a name from outside.
pub(super) fn short(name: &str) -> [u8; 16] {
    let mut id = [0; 16];
    blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut id);
    id
}
