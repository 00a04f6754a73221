//! Asks an analyzer once more about what is stored, with the build that is in force now: ordered by an admin, resumed after a restart,
//! at half of one call's time at most. What was decided stays.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tracing::info;

use crate::model::{Annotated, ChannelName, Entry, Seq, Timestamp};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{Commit, OFF, Reader};

use super::batches::{Asked, Pass};
use super::catch_up::{answered, words};
use super::{Analyzer, Analyzers, earlier_of, is_analysed, is_condemned, lineup_of};

/// Entries looked at in one turn.
const ENTRIES_MAX: usize = 64;
/// An answer may take this long; the plugin's own limit is usually shorter.
const WAIT: Duration = Duration::from_secs(60);
/// An analyzer that does not answer gets this long to recover; longer each time.
const REST: Duration = Duration::from_secs(30);
/// After so many rests its old words stay, and the pass goes on.
const HOLDS_MAX: u32 = 5;

/// The passes of one channel, one after the other.
pub struct Rerun {
    journal: Journal,
    channel: ChannelName,
    analyzers: Arc<Analyzers>,
    held: Mutex<Held>,
}

/// What the next turn waits for; all of it can be lost.
#[derive(Default)]
struct Held {
    until: Timestamp,
    n_times: u32,
}

#[async_trait]
impl Work for Rerun {
    fn stage(&self) -> &'static str {
        "rerun"
    }

    fn channel(&self) -> &ChannelName {
        &self.channel
    }

    async fn turn(&self) -> Result<Turn, StageError> {
        let mut held = self.held.lock().await;
        if held.until > self.journal.clock.now() {
            return Ok(Turn::Until(held.until));
        }
        let record = self.journal.store.channel(&self.channel).await?;
        let analyzers = self.analyzers.current();
        let ordered = (0u8..).zip(analyzers.iter()).find_map(|(index, analyzer)| {
            let position = record.positions.get(&Reader::rerun(&analyzer.name)).filter(|position| **position != OFF)?;
            Some((index, analyzer, *position))
        });
        let Some((index, analyzer, position)) = ordered else { return Ok(Turn::Idle) };
        let reach = if analyzer.looks_at(&self.channel) { record.position(&Reader::Analysis) } else { 0 };
        let n_entries = usize::try_from(reach.saturating_sub(position)).unwrap_or(ENTRIES_MAX).min(ENTRIES_MAX);
        let entries = self.journal.store.read_log(&self.channel, Seq(position.saturating_add(1)), n_entries).await?;
        let (Some(first), Some(last)) = (entries.first().filter(|_| n_entries > 0), entries.last()) else {
            self.journal.commit(self.moved(analyzer, position, OFF)).await?;
            info!(channel = %self.channel, plugin = analyzer.name.as_str(), "Everything that was to be asked again was asked.");
            return Ok(Turn::Worked);
        };
        if is_condemned(&analyzers) {
            return Ok(self.journal.left_to_the_build_before());
        }
        let watch = self.journal.clock.stopwatch();
        let annotated = self.journal.store.annotated(&self.channel, first.seq, last.seq).await?.into_iter().collect();
        let pass = self.ask(&analyzers, index, analyzer, &entries, &annotated).await;
        if is_condemned(&analyzers) {
            return Ok(self.journal.left_to_the_build_before());
        }
        if held.n_times < HOLDS_MAX && pass.failed.iter().any(|failed| !failed.fault.is_final()) {
            let until = self.journal.clock.now().plus(REST * 2u32.saturating_pow(held.n_times));
            *held = Held { until, n_times: held.n_times + 1 };
            return Ok(Turn::Until(until));
        }
        let (mut commit, lineup) = (self.moved(analyzer, position, last.seq.0), lineup_of(&analyzers));
        let results = answered(pass.into_results(lineup.id));
        if !results.of.is_empty() {
            (commit.lineup, commit.results) = (Some(lineup), vec![results]);
        }
        self.journal.commit(commit).await?;
        *held = Held { until: self.journal.clock.now().plus(watch.elapsed()), n_times: 0 };
        Ok(Turn::Until(held.until))
    }
}

impl Rerun {
    /// Of this channel.
    pub fn new(journal: Journal, channel: ChannelName, analyzers: Arc<Analyzers>) -> Self {
        Self { journal, channel, analyzers, held: Mutex::default() }
    }

    /// It sees the words of those that it comes `after`, as they are in force.
    async fn ask<'a>(
        &'a self,
        analyzers: &[Analyzer],
        index: u8,
        analyzer: &Analyzer,
        entries: &'a [Arc<Entry>],
        annotated: &HashMap<Seq, Annotated>,
    ) -> Pass<'a> {
        let mut pass = Pass::over(&self.channel, entries.iter().filter(|entry| is_analysed(entry)));
        pass.prefill(|entry| {
            let said = annotated.get(&entry.seq).map(|said| words(analyzers, said)).unwrap_or_default();
            said.into_iter().filter(|(by, _)| *by != index).collect()
        });
        let members = pass.members(|_| true);
        let earlier = earlier_of(analyzers, analyzer);
        pass.run(vec![Asked { index, analyzer, earlier, wait: WAIT, calls_max: 1, members }]).await;
        pass
    }

    /// An order that was given, or taken back, meanwhile stands.
    fn moved(&self, analyzer: &Analyzer, from: u64, to: u64) -> Commit {
        let mut commit = self.journal.begin(&self.channel);
        let reader = Reader::rerun(&analyzer.name);
        commit.expected.push((reader.clone(), from));
        commit.positions.push((reader, to));
        commit
    }
}
