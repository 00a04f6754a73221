//! The durable store: one sled tree under the rules that its tests taught. Values of 4 KiB at most, a checksum each, the
//! host's own fsync, a format version. See `sled/keys.rs` for what lies where.

mod backup;
mod committer;
mod disk;
mod head;
mod keys;
mod live;
mod look;
mod media;
mod opening;
mod raws;
mod restores;
mod space;
mod txn;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::failpoint;
use crate::model::{
    Action, ActionId, Annotated, ChannelName, ConversationId, DeadId, DeadLetter, Decision, Entry, ExchangeId, IdKey, InteractionId, Media, NewRaw,
    RawItem, Seq, Task, TaskId, Timer, Timestamp,
};

use super::{ChannelRecord, Commit, Committed, Conversation, Exchange, Progress, Resolved, SinkRetry, Store, StoreError, Verified};

use backup::Bin;
use committer::{Committer, Delivery};
use disk::{Disk, Writes, failed};
use head::{Channels, Durable, Keeper};
use keys::Kind;
use live::Live;
use raws::Laid;
use restores::Restores;
use space::Space;

/// What this build writes and reads.
const FORMAT: u32 = 2;

/// See the module.
pub struct SledStore {
    db: sled::Db,
    disk: Disk,
    key: IdKey,
    raw_dir: PathBuf,
    media_dir: PathBuf,
    sled_dir: PathBuf,
    keeper: Keeper,
    committer: Arc<Committer>,
    live: Arc<Mutex<Channels>>,
    /// Where files go that no record names any more.
    bin: Arc<Bin>,
    /// Raw files as they were when it was opened, until the first dropping, which removes those that no record names.
    found_files: Mutex<raws::Files>,
    restores: Restores,
    /// Held by whoever reads everything: two at once would count into each other.
    reading: Arc<tokio::sync::Mutex<()>>,
}

impl SledStore {
    /// Opens or makes the store in this folder. Errors: [`StoreError::InUse`] where another process holds it,
    /// [`StoreError::NewerFormat`]; [`StoreError::Damaged`] where it cannot be read or lacks what was durable. What is left behind then:
    /// see `sled/opening.rs`.
    pub fn open(dir: &Path) -> Result<Arc<Self>, StoreError> {
        let io = |step| move |source| StoreError::Io { step, source };
        let (sled_dir, raw_dir, media_dir) = (opening::folder(dir), dir.join("raw"), dir.join("media"));
        [&sled_dir, &raw_dir, &media_dir].into_iter().try_for_each(std::fs::create_dir_all).map_err(io("open"))?;
        let head = Durable::read(dir)?;
        if head.is_none() {
            opening::is_new(dir, &[&raw_dir, &media_dir])?;
        }
        let db = opening::open(dir, head.as_ref())?;
        let disk = Disk::new((*db).clone(), Arc::new(Space::of(dir)));
        let format = format_of(&disk)?;
        let live = live::all(&disk)?;
        let missing = head.map(|head| head.missing(&live)).unwrap_or_default();
        if !missing.is_empty() {
            return Err(opening::damaged(dir, &missing, opening::WayOn::Headless));
        }
        let key = id_key(&disk, format.is_none() && live.is_empty())?;
        bring_up(&disk, format, &live)?;
        failpoint::across("open", "settle", || db.flush()).map_err(failed("open"))?;
        for folder in [dir, &sled_dir, &raw_dir, &media_dir] {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("sync"))?;
        }
        let file = File::open(sled_dir.join("db")).map_err(io("open"))?;
        file.sync_all().map_err(io("sync"))?;
        let committer = Arc::new(Committer::start(disk.clone(), db.clone(), file)?);
        live.values().try_for_each(|live| media::take_stock(&disk, &media_dir, live))?;
        let tip = look::tip(&sled_dir).map_err(io("open"))?;
        let live = Arc::new(Mutex::new(live));
        let keeper = Keeper::start(dir, Arc::clone(&live), Arc::clone(&committer), tip)?;
        let restores = Restores::read(&disk)?;
        let found_files = Mutex::new(raws::listed(&raw_dir).map_err(io("open"))?);
        let (bin, reading) = Default::default();
        Ok(Arc::new(Self { db, disk, key, raw_dir, media_dir, sled_dir, keeper, committer, live, bin, found_files, restores, reading }))
    }

    /// Says whether a store was ever made in this folder, whatever is left of it. Errors: that cannot be seen.
    pub fn is_begun(dir: &Path) -> std::io::Result<bool> {
        for part in ["store", "head", "raw", "media"] {
            if dir.join(part).try_exists()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Keeps other processes out of the store in this folder, if there is one, until what is returned is dropped. Errors:
    /// [`StoreError::InUse`].
    pub fn keep_others_out(dir: &Path) -> Result<Option<File>, StoreError> {
        opening::lock(&opening::folder(dir))
    }

    /// From now on it is one that was put in place of what was there. It is closed afterwards.
    pub async fn mark_restored(&self, now: Timestamp) -> Result<(), StoreError> {
        let channels = self.all().clone();
        Restores::read(&self.disk)?.note(&self.disk, &channels, now)?;
        self.committer.sync().await
    }

    fn all(&self) -> MutexGuard<'_, Channels> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self, channel: &ChannelName) -> Option<Arc<Live>> {
        self.all().get(channel).cloned()
    }

    /// The channel, with a number of its own from its first commit on.
    fn live(&self, channel: &ChannelName) -> Result<Arc<Live>, StoreError> {
        let mut all = self.all();
        if let Some(live) = all.get(channel) {
            return Ok(Arc::clone(live));
        }
        let number = all.values().map(|live| live.number).max().map_or(1, |n| n + 1);
        let mut writes = Writes::default();
        writes.put(keys::all(Kind::Name, number), channel.as_str().as_bytes());
        self.disk.apply(writes)?;
        let live = Arc::new(Live::new(number, channel.clone()));
        all.insert(channel.clone(), Arc::clone(&live));
        Ok(live)
    }
}

impl SledStore {
    /// Lays bodies out; large ones away from the threads that must not block, and before the channel is locked.
    async fn lay(&self, live: &Live, raws: Vec<NewRaw>) -> Result<Vec<Laid>, StoreError> {
        let number = live.number;
        if !raws.iter().any(raws::is_large) {
            return raws::lay(&self.raw_dir, number, raws);
        }
        let dir = self.raw_dir.clone();
        blocking(move || raws::lay(&dir, number, raws)).await
    }

    /// As [`SledStore::lay`], of files of messages.
    async fn lay_media(&self, live: &Live, media: Vec<(Media, Vec<u8>)>) -> Result<Vec<media::Laid>, StoreError> {
        if media.is_empty() {
            return Ok(Vec::new());
        }
        let (dir, number) = (self.media_dir.clone(), live.number);
        blocking(move || media::lay(&dir, number, media)).await
    }
}

/// Work on files, away from the threads that must not block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|failure| {
        Err(if failure.is_panic() {
            StoreError::damaged("sled panicked at what it read")
        } else {
            StoreError::Closed("the host is stopping".to_owned())
        })
    })
}

/// What only a bench asks.
#[cfg(feature = "bench")]
impl SledStore {
    /// What is stored and not replaced, keys and all. Units: bytes.
    pub fn live_bytes(&self) -> Result<u64, StoreError> {
        let sizes = self.disk.tree.iter().map(|item| item.map(|(key, value)| (key.len() + value.len()) as u64).map_err(failed("read")));
        sizes.sum()
    }
}

/// What only tests do to a store.
#[cfg(test)]
impl SledStore {
    pub(super) fn write_format(&self, format: u32) -> Result<(), StoreError> {
        let mut writes = Writes::default();
        writes.put(keys::meta("format"), &format.to_le_bytes());
        self.disk.apply(writes)?;
        self.db.flush().map(|_| ()).map_err(failed("write"))
    }

    /// As a build of format 1 would have left it.
    pub(super) fn forget_heads(&self) -> Result<(), StoreError> {
        let heads: Vec<_> = self.disk.tree.scan_prefix([Kind::Head as u8]).keys().collect::<Result<_, _>>().map_err(failed("read"))?;
        heads.into_iter().try_for_each(|head| self.disk.tree.remove(head).map(|_| ())).map_err(failed("write"))?;
        self.write_format(1)
    }

    /// Everything in the tree.
    pub(super) fn records(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let records = self.disk.tree.iter().map_while(Result::ok);
        records.map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    }

    /// Flips a bit of every segment of this channel's log, and forgets what is held in memory.
    pub(super) fn damage_log(&self, number: u32) -> Result<(), StoreError> {
        for item in self.disk.tree.scan_prefix(keys::all(Kind::Log, number)) {
            let (key, value) = item.map_err(failed("read"))?;
            let mut value = value.to_vec();
            value.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1);
            self.disk.tree.insert(key, value).map_err(failed("write"))?;
        }
        Ok(())
    }
}

fn bytes_of(raws: &[NewRaw]) -> usize {
    raws.iter().map(|raw| raw.body.len()).sum()
}

/// The files of items just laid out, in their order.
fn files_of(raws: &[Laid]) -> Vec<Option<PathBuf>> {
    raws.iter().map(|raw| raw.path.clone()).collect()
}

/// Errors: [`StoreError::NewerFormat`]. Gives what the store has; none where it is new.
fn format_of(disk: &Disk) -> Result<Option<u32>, StoreError> {
    let found = disk.get(&keys::meta("format"))?.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(u32::from_le_bytes);
    match found {
        Some(found) if found > FORMAT => Err(StoreError::NewerFormat { found, known: FORMAT }),
        found => Ok(found),
    }
}

/// Brings the store to this build's format.
fn bring_up(disk: &Disk, found: Option<u32>, live: &Channels) -> Result<(), StoreError> {
    if found == Some(FORMAT) {
        return Ok(());
    }
    // Format 1 had no heads.
    live.values().try_for_each(|live| live.begin_head(disk))?;
    let mut writes = Writes::default();
    writes.put(keys::meta("format"), &FORMAT.to_le_bytes());
    disk.apply(writes)
}

/// The key of the store; a new one where it has nothing in it yet.
fn id_key(disk: &Disk, is_new: bool) -> Result<IdKey, StoreError> {
    let key = keys::meta("id-key");
    if let Some(bytes) = disk.get(&key)?.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
        return Ok(IdKey(bytes));
    }
    if !is_new {
        return Err(StoreError::damaged("the key that all ids are made with is lost"));
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::damaged(format!("no random numbers: {error}")))?;
    let mut writes = Writes::default();
    writes.put(key, &bytes);
    disk.apply(writes)?;
    Ok(IdKey(bytes))
}

#[async_trait]
impl Store for SledStore {
    fn id_key(&self) -> &IdKey {
        &self.key
    }

    async fn channels(&self) -> Result<Vec<ChannelName>, StoreError> {
        let mut names: Vec<ChannelName> = self.all().keys().cloned().collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn channel(&self, channel: &ChannelName) -> Result<ChannelRecord, StoreError> {
        Ok(self.found(channel).map(|live| live.lock().record.clone()).unwrap_or_default())
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let mut commit = commit;
        self.disk.usable()?;
        let live = self.live(&commit.channel)?;
        let bytes = bytes_of(&commit.raws) + commit.media.iter().map(|(_, body)| body.len()).sum::<usize>();
        let _held = self.disk.space.hold(bytes)?;
        let raws = self.lay(&live, std::mem::take(&mut commit.raws)).await?;
        let media = self.lay_media(&live, std::mem::take(&mut commit.media)).await?;
        let (files, names) = (files_of(&raws), media.iter().filter_map(media::Laid::name).collect());
        // After a failed write nobody can tell whether there is a record that names them.
        let (committed, forgotten) = txn::commit(&self.disk, &live, commit, raws, media).inspect_err(|_| {
            if self.disk.usable().is_ok() {
                self.bin.take(files.into_iter().flatten());
                self.bin.take(media::paths(&self.media_dir, live.number, names));
            }
        })?;
        self.committer.sync().await?;
        self.bin.take(media::paths(&self.media_dir, live.number, forgotten));
        Ok(committed)
    }

    async fn commit_raw(&self, channel: &ChannelName, at: Timestamp, raws: Vec<NewRaw>) -> Result<Vec<Option<u64>>, StoreError> {
        self.disk.usable()?;
        let live = self.live(channel)?;
        let _held = self.disk.space.begin_with(bytes_of(&raws))?;
        let raws = self.lay(&live, raws).await?;
        let files = files_of(&raws);
        let written = self.committer.raws(live, Delivery { at, raws }).await;
        // As there, after a failed sync.
        let places = written.inspect_err(|_| {
            if self.committer.health().is_ok() {
                self.bin.take(files.iter().flatten().cloned());
            }
        })?;
        // A delivery seen before keeps the file that it came with first.
        self.bin.take(files.into_iter().zip(&places).filter(|(_, place)| place.is_none()).filter_map(|(file, _)| file));
        Ok(places)
    }

    async fn read_raw(&self, channel: &ChannelName, from: u64, items_max: usize, bytes_max: usize) -> Result<Vec<RawItem>, StoreError> {
        let Some(live) = self.found(channel) else { return Ok(Vec::new()) };
        raws::read(&self.disk, &self.raw_dir, live.number, from, items_max, bytes_max)
    }

    async fn drop_raw(&self, channel: &ChannelName, before: Timestamp) -> Result<u64, StoreError> {
        let Some(live) = self.found(channel) else { return Ok(0) };
        let (mut n_dropped, mut from) = (0, Some(0));
        while let Some(place) = from {
            let step = raws::drop_before(&self.disk, &self.raw_dir, &live, before, place)?;
            n_dropped += step.n_dropped;
            from = step.next;
            if step.n_dropped > 0 {
                self.committer.sync().await?;
            }
            self.bin.take(step.files);
            tokio::task::yield_now().await;
        }
        let found = self.found_files.lock().unwrap_or_else(PoisonError::into_inner).remove(&live.number);
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            let (disk, dir) = (self.disk.clone(), self.raw_dir.clone());
            self.bin.take(blocking(move || raws::unnamed(&disk, &dir, live.number, found)).await?);
        }
        Ok(n_dropped)
    }

    async fn media_about(&self, channel: &ChannelName, interaction: InteractionId) -> Result<Vec<Media>, StoreError> {
        self.found(channel).map_or(Ok(Vec::new()), |live| media::about(&self.disk, live.number, interaction))
    }

    async fn media_body(&self, channel: &ChannelName, interaction: InteractionId, index: u16) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(live) = self.found(channel) else { return Ok(None) };
        let (disk, dir) = (self.disk.clone(), self.media_dir.clone());
        blocking(move || media::body(&disk, &dir, live.number, interaction, index)).await
    }

    async fn drop_media(&self, channel: &ChannelName, now: Timestamp) -> Result<u64, StoreError> {
        let Some(live) = self.found(channel) else { return Ok(0) };
        let mut n_dropped = 0;
        loop {
            let (names, n_more) = media::drop_until(&self.disk, &live, now)?;
            if n_more == 0 {
                return Ok(n_dropped);
            }
            n_dropped += n_more as u64;
            self.committer.sync().await?;
            self.bin.take(media::paths(&self.media_dir, live.number, names));
        }
    }

    async fn read_log(&self, channel: &ChannelName, from: Seq, items_max: usize) -> Result<Vec<Arc<Entry>>, StoreError> {
        self.found(channel).map_or(Ok(Vec::new()), |live| live.read_log(&self.disk, from, items_max))
    }

    async fn read_log_back(&self, channel: &ChannelName, before: Seq, items_max: usize) -> Result<Vec<Arc<Entry>>, StoreError> {
        self.found(channel).map_or(Ok(Vec::new()), |live| live.read_log_back(&self.disk, before, items_max))
    }

    async fn resolve(&self, channel: &ChannelName, ids: &[InteractionId]) -> Result<Vec<Resolved>, StoreError> {
        let Some(live) = self.found(channel) else { return Ok(vec![Resolved::Unknown; ids.len()]) };
        ids.iter().map(|id| live.resolve(&self.disk, *id)).collect()
    }

    async fn annotated(&self, channel: &ChannelName, from: Seq, to: Seq) -> Result<Vec<(Seq, Annotated)>, StoreError> {
        self.found(channel).map_or(Ok(Vec::new()), |live| live.annotated(&self.disk, from, to))
    }

    async fn decisions(&self, channel: &ChannelName, from: Seq, to: Seq) -> Result<Vec<Decision>, StoreError> {
        self.found(channel).map_or(Ok(Vec::new()), |live| live.decisions(&self.disk, from, to))
    }

    async fn exchange(&self, channel: &ChannelName, exchange: ExchangeId) -> Result<Exchange, StoreError> {
        let first = Exchange { version: 1, automatic_replies: Vec::new() };
        let Some(live) = self.found(channel) else { return Ok(first) };
        Ok(self.disk.get_as(&keys::exchange(live.number, exchange))?.unwrap_or(first))
    }

    async fn conversation(&self, channel: &ChannelName, conversation: ConversationId) -> Result<Option<Conversation>, StoreError> {
        self.found(channel).map_or(Ok(None), |live| live.conversation(&self.disk, conversation))
    }

    async fn action(&self, channel: &ChannelName, id: ActionId) -> Result<Option<Action>, StoreError> {
        let Some(live) = self.found(channel) else { return Ok(None) };
        let _whole = live.lock();
        let Some(about) = self.disk.get_as::<InteractionId>(&keys::action_by_id(live.number, id))? else { return Ok(None) };
        self.disk.get_parts_as(&keys::action(live.number, about, id))
    }

    async fn task(&self, channel: &ChannelName, id: TaskId) -> Result<Option<Task>, StoreError> {
        let Some(live) = self.found(channel) else { return Ok(None) };
        let _whole = live.lock();
        let Some(about) = self.disk.get_as::<InteractionId>(&keys::task_by_id(live.number, id))? else { return Ok(None) };
        self.disk.get_parts_as(&keys::task(live.number, about, id))
    }

    async fn actions_about(&self, channel: &ChannelName, interaction: InteractionId) -> Result<Vec<Action>, StoreError> {
        let Some(live) = self.found(channel) else { return Ok(Vec::new()) };
        let _whole = live.lock();
        live::page(&self.disk, &keys::actions_about(live.number, interaction), None, usize::MAX)
    }

    async fn tasks_about(&self, channel: &ChannelName, interaction: InteractionId) -> Result<Vec<Task>, StoreError> {
        let Some(live) = self.found(channel) else { return Ok(Vec::new()) };
        let _whole = live.lock();
        live::page(&self.disk, &keys::tasks_about(live.number, interaction), None, usize::MAX)
    }

    async fn actions_due(
        &self,
        channel: &ChannelName,
        now: Timestamp,
        after: Option<(Timestamp, ActionId)>,
        items_max: usize,
    ) -> Result<Vec<Action>, StoreError> {
        self.found(channel).map_or(Ok(Vec::new()), |live| live.actions_due(&self.disk, now, after, items_max))
    }

    async fn must_wait(&self, channel: &ChannelName, action: &Action) -> Result<bool, StoreError> {
        self.found(channel).map_or(Ok(false), |live| live.must_wait(&self.disk, action))
    }

    async fn timers_due(&self, channel: &ChannelName, now: Timestamp, items_max: usize) -> Result<Vec<Timer>, StoreError> {
        let Some(live) = self.found(channel) else { return Ok(Vec::new()) };
        let (from, to) = (keys::all(Kind::Timer, live.number), keys::after(Kind::Timer, live.number, &[], now));
        let due = self.disk.keys(from, to).take(items_max).map(|key| {
            let key = key?;
            self.disk.get_as::<Timer>(&key)
        });
        due.filter_map(Result::transpose).collect()
    }

    async fn sink_retries_due(&self, channel: &ChannelName, sink: &str, now: Timestamp, items_max: usize) -> Result<Vec<SinkRetry>, StoreError> {
        self.found(channel).map_or(Ok(Vec::new()), |live| live.retries_due(&self.disk, sink, now, items_max))
    }

    async fn actions(&self, channel: &ChannelName, after: Option<(InteractionId, ActionId)>, items_max: usize) -> Result<Vec<Action>, StoreError> {
        let Some(live) = self.found(channel) else { return Ok(Vec::new()) };
        let _whole = live.lock();
        let after = after.map(|(about, id)| keys::action(live.number, about, id));
        live::page(&self.disk, &keys::all(Kind::Action, live.number), after, items_max)
    }

    async fn tasks(&self, channel: &ChannelName, after: Option<(InteractionId, TaskId)>, items_max: usize) -> Result<Vec<Task>, StoreError> {
        let Some(live) = self.found(channel) else { return Ok(Vec::new()) };
        let _whole = live.lock();
        let after = after.map(|(about, id)| keys::task(live.number, about, id));
        live::page(&self.disk, &keys::all(Kind::Task, live.number), after, items_max)
    }

    async fn dead_letters(&self, channel: &ChannelName, after: Option<DeadId>, items_max: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let Some(live) = self.found(channel) else { return Ok(Vec::new()) };
        let _whole = live.lock();
        live::page(&self.disk, &keys::all(Kind::Dead, live.number), after.map(|id| keys::dead(live.number, id)), items_max)
    }

    async fn channel_and_state(&self, channel: &ChannelName) -> Result<(ChannelRecord, BTreeMap<String, Vec<u8>>), StoreError> {
        let Some(live) = self.found(channel) else { return Ok(Default::default()) };
        let whole = live.lock();
        let pairs: Vec<(String, Vec<u8>)> = live::page(&self.disk, &keys::all(Kind::State, live.number), None, usize::MAX)?;
        Ok((whole.record.clone(), pairs.into_iter().collect()))
    }

    async fn verify(&self) -> Result<Verified, StoreError> {
        // Until the last record is counted, whether or not who asked still waits.
        let alone = Arc::clone(&self.reading).lock_owned().await;
        let (disk, raw_dir, media_dir, channels) = (self.disk.clone(), self.raw_dir.clone(), self.media_dir.clone(), self.all().clone());
        // A file that is dropped meanwhile is not one that is lost.
        let held = self.bin.hold();
        blocking(move || {
            // Dropped in this order: the next one's hold on the bin must not be this one's.
            let _until_the_end = (held, alone);
            let mut found = Verified::default();
            (found.n_entries, found.n_records) = live::check_all(&disk, &channels, &mut found.damage);
            for live in channels.values() {
                raws::verify(&disk, &raw_dir, live, &mut found);
                media::verify(&disk, &media_dir, live, &mut found);
            }
            Ok(found)
        })
        .await
    }

    async fn backup(&self, into: &Path, progress: Arc<Progress>) -> Result<Verified, StoreError> {
        let alone = Arc::clone(&self.reading).lock_owned().await;
        let (channels, files) = (self.all().clone(), [self.raw_dir.clone(), self.media_dir.clone()]);
        let source = backup::Source { disk: self.disk.clone(), channels, files, bin: Arc::clone(&self.bin) };
        let dir = into.to_owned();
        let copy = blocking(move || {
            let _alone = alone;
            source.write(&dir, &progress)?;
            Self::open(&dir)
        })
        .await?;
        let verified = copy.verify().await?;
        copy.close().await?;
        Ok(verified)
    }

    fn restored(&self) -> Option<Timestamp> {
        self.restores.newest()
    }

    fn restored_before(&self, channel: &ChannelName, seq: Seq) -> Option<Timestamp> {
        self.restores.before(channel, seq)
    }

    async fn settle(&self) -> Result<(), StoreError> {
        self.committer.sync().await
    }

    async fn health(&self) -> Result<(), StoreError> {
        self.committer.health()?;
        self.disk.space.begin()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.keeper.stop();
        let durable = self.keeper.lay_out();
        self.committer.sync().await?;
        self.committer.stop();
        // Not by sled's own threads: one of them could still hold the store, and its lock, when this returns.
        let db = self.db.clone();
        blocking(move || db.flush().map(drop).map_err(failed("sync"))).await?;
        File::open(self.sled_dir.join("db")).and_then(|file| file.sync_all()).map_err(raws::io("sync"))?;
        let tip = look::tip(&self.sled_dir).map_err(raws::io("read"))?;
        let length = look::length(&self.sled_dir).map_err(raws::io("read"))?;
        self.keeper.write_last(durable, tip, length);
        Ok(())
    }
}
