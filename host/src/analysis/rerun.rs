//! Asks an analyzer once more about what is stored, with the build that is in force now: ordered by an admin, resumed after a restart,
//! at half of one call's time at most. What was decided stays.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::model::{Annotated, ChannelName, Entry, Seq};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{Commit, OFF, Reader};

use super::batches::{Asked, Pass};
use super::catch_up::{ENTRIES_MAX, HOLDS_MAX, Held, WAIT, answered, words};
use super::{Analyzer, Analyzers, earlier_of, is_analysed, is_condemned, lineup_of, missing_reader, not_gone};

/// The passes of one channel, one after the other.
pub struct Rerun {
    journal: Journal,
    channel: ChannelName,
    analyzers: Arc<Analyzers>,
    held: Mutex<Held>,
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
        if let Some(until) = held.rest.left(self.journal.clock.now()) {
            return Ok(Turn::Until(until));
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
        let (Some(first), Some(last)) = (entries.first().map(|entry| entry.seq).filter(|_| n_entries > 0), entries.last().map(|entry| entry.seq))
        else {
            self.journal.commit(self.moved(analyzer, position, OFF)).await?;
            info!(channel = %self.channel, plugin = analyzer.name.as_str(), "Everything that was to be asked again was asked.");
            return Ok(Turn::Worked);
        };
        if is_condemned(&analyzers) {
            return Ok(self.journal.left_to_the_build_before());
        }
        let watch = self.journal.clock.stopwatch();
        let annotated = self.journal.store.annotated(&self.channel, first, last).await?.into_iter().collect();
        let entries = not_gone(&self.journal, &self.channel, entries).await?;
        let pass = self.ask(&analyzers, index, analyzer, &entries, &annotated, record.position(&missing_reader())).await;
        if is_condemned(&analyzers) {
            return Ok(self.journal.left_to_the_build_before());
        }
        if held.n_times < HOLDS_MAX && pass.failed.iter().any(|failed| !failed.fault.is_final()) {
            return Ok(held.again(&self.journal));
        }
        if let Some(failed) = pass.failed.first() {
            let (plugin, n_failed, reason) = (analyzer.name.as_str(), pass.failed.len(), failed.fault.to_string());
            warn!(channel = %self.channel, plugin, n_failed, reason, "What was asked again was not answered; what was said before stays.");
        }
        let (mut commit, lineup) = (self.moved(analyzer, position, last.0), lineup_of(&analyzers));
        let results = answered(pass.into_results(lineup.id));
        if !results.of.is_empty() {
            (commit.lineup, commit.results) = (Some(lineup), vec![results]);
        }
        self.journal.commit(commit).await?;
        held.n_times = 0;
        Ok(self.journal.rest(&mut held.rest, watch.elapsed()))
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
        owed_from: u64,
    ) -> Pass<'a> {
        let mut pass = Pass::over(&self.journal.clock, &self.channel, entries.iter().filter(|entry| is_analysed(entry)));
        pass.prefill(|entry| {
            let said = annotated.get(&entry.seq).map(|said| words(analyzers, said)).unwrap_or_default();
            said.into_iter().filter(|(by, _)| *by != index).collect()
        });
        // What the catch-up pass has still to look at it tells of, when it is found: nobody is told of what is found here.
        let is_owed = |entry: &Entry| entry.seq.0 > owed_from && annotated.get(&entry.seq).is_some_and(|said| said.missing.contains(&analyzer.name));
        let members = pass.members(|entry| !is_owed(entry));
        if !members.is_empty() {
            let earlier = earlier_of(analyzers, analyzer);
            pass.run(vec![Asked { index, analyzer, earlier, wait: WAIT, calls_max: 1, members }]).await;
        }
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
