//! The catch-up pass: asks once more for what is missing, and tells the rules where an item was decided without it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::{ChannelName, Entry, EntryBody, Fact, NewEntry, Results, ResultsOf, Seq};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::Reader;

use super::{Analyzers, batches::Pass, is_analysed, lineup_of, missing_reader};

/// An analyzer that failed gets this long to recover.
const REST: Duration = Duration::from_secs(30);
/// A late answer may take this long; the plugin's own limit is usually shorter.
const WAIT: Duration = Duration::from_secs(60);
/// Entries looked at in one turn.
const ENTRIES_MAX: usize = 64;

/// The catch-up pass of one channel.
pub struct CatchUp {
    /// Where the log is.
    pub journal: Journal,
    /// The channel.
    pub channel: ChannelName,
    /// Who looks.
    pub analyzers: Arc<Analyzers>,
}

#[async_trait]
impl Work for CatchUp {
    fn stage(&self) -> &'static str {
        "catch-up"
    }

    fn channel(&self) -> &ChannelName {
        &self.channel
    }

    async fn turn(&self) -> Result<Turn, StageError> {
        let record = self.journal.store.channel(&self.channel).await?;
        let (position, analysed) = (record.position(&missing_reader()), record.position(&Reader::Analysis));
        if position >= analysed {
            return Ok(Turn::Idle);
        }
        let n_entries = usize::try_from(analysed - position).unwrap_or(ENTRIES_MAX).min(ENTRIES_MAX);
        let entries = self.journal.store.read_log(&self.channel, Seq(position + 1), n_entries).await?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(Turn::Idle) };
        let due = last.at.plus(REST);
        if due > self.journal.clock.now() {
            return Ok(Turn::Until(due));
        }
        let annotated = self.journal.store.annotated(&self.channel, first.seq, last.seq).await?;
        let mut commit = self.journal.begin(&self.channel);
        let analyzers = self.analyzers.current();
        for (n, analyzer) in (0u8..).zip(analyzers.iter()) {
            let lacks = |entry: &&Arc<Entry>| annotated.iter().any(|(seq, said)| *seq == entry.seq && said.missing.contains(&analyzer.name));
            let mut pass = Pass::over(&self.channel, entries.iter().filter(|entry| is_analysed(entry)).filter(lacks));
            pass.run(n, analyzer, &[], WAIT).await;
            let lineup = lineup_of(&analyzers);
            let answered = answered(pass.into_results(lineup.id));
            if answered.of.is_empty() {
                continue;
            }
            for ResultsOf { seq, .. } in &answered.of {
                if let Some(entry) = entries.iter().find(|entry| entry.seq == *seq) {
                    commit.entries.extend(self.late(entry, &analyzer.name).await?);
                }
            }
            commit.lineup = Some(lineup);
            commit.results.push(answered);
        }
        commit.positions.push((missing_reader(), last.seq.0));
        self.journal.commit(commit).await?;
        Ok(Turn::Worked)
    }
}

impl CatchUp {
    /// A fact, only for an item that was decided with that annotation missing.
    async fn late(&self, entry: &Entry, analyzer: &str) -> Result<Option<NewEntry>, StageError> {
        let decisions = self.journal.store.decisions(&self.channel, entry.seq, entry.seq).await?;
        let was_missed = decisions.iter().any(|decision| decision.missing.iter().any(|name| name == analyzer));
        let body = EntryBody::Fact(Fact::AnnotationLate { analyzer: analyzer.to_owned() });
        Ok(was_missed.then(|| NewEntry { body, ..entry.new.clone() }))
    }
}

fn answered(results: Results) -> Results {
    let of = results.of.into_iter().filter(|of| of.said.iter().any(|(_, said)| said.is_some()));
    Results { lineup: results.lineup, of: of.collect() }
}
