//! The catch-up pass: asks once more for what is missing, and tells the rules where an item was decided without it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::clock::Wait;
use crate::model::{Annotated, Annotation, ChannelName, Entry, EntryBody, Fact, NewEntry, Results, ResultsOf, Seq};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{Commit, Reader, view};

use super::batches::{Asked, Pass};
use super::{Analyzer, Analyzers, Said, earlier_of, is_analysed, is_condemned, letter, letter_id, lineup_of, missing_reader, not_gone};

/// An analyzer that failed gets this long to recover; longer each time that it fails again.
const REST: Duration = Duration::from_secs(30);
/// While time may mend what an analyzer lacks, the pass waits for it so many times: about a quarter of an hour.
pub(super) const HOLDS_MAX: u32 = 5;
/// A late answer may take this long; the plugin's own limit is usually shorter.
pub(super) const WAIT: Duration = Duration::from_secs(60);
/// Entries looked at in one turn.
pub(super) const ENTRIES_MAX: usize = 64;

/// The catch-up pass of one channel.
pub struct CatchUp {
    /// Where the log is.
    journal: Journal,
    /// The channel.
    channel: ChannelName,
    /// Who looks.
    analyzers: Arc<Analyzers>,
    held: Mutex<Held>,
}

/// What a pass over stored entries waits for; all of it can be lost.
#[derive(Default)]
pub(super) struct Held {
    pub(super) rest: Wait,
    pub(super) n_times: u32,
}

impl Held {
    /// An analyzer did not answer once more.
    pub(super) fn again(&mut self, journal: &Journal) -> Turn {
        self.n_times += 1;
        journal.rest(&mut self.rest, REST * 2u32.saturating_pow(self.n_times - 1))
    }
}

impl CatchUp {
    /// Of this channel.
    pub fn new(journal: Journal, channel: ChannelName, analyzers: Arc<Analyzers>) -> Self {
        Self { journal, channel, analyzers, held: Mutex::default() }
    }
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
        let mut held = self.held.lock().await;
        let now = self.journal.clock.now();
        if let Some(until) = held.rest.left(now) {
            return Ok(Turn::Until(until));
        }
        let record = self.journal.store.channel(&self.channel).await?;
        let position = record.position(&missing_reader());
        // Behind the rules: what they did not decide yet they decide with what is found here, and nobody need be told.
        let reach = record.position(&Reader::Analysis).min(record.position(&Reader::Rules));
        if position >= reach {
            return Ok(Turn::Idle);
        }
        let n_entries = usize::try_from(reach - position).unwrap_or(ENTRIES_MAX).min(ENTRIES_MAX);
        let mut entries = self.journal.store.read_log(&self.channel, Seq(position + 1), n_entries).await?;
        let rests_until = |entry: &Arc<Entry>| Wait::of(REST, entry.at).left(now);
        if let Some(until) = entries.first().and_then(rests_until) {
            return Ok(Turn::Until(until));
        }
        entries.truncate(entries.iter().take_while(|entry| rests_until(entry).is_none()).count());
        let (Some(first), Some(last)) = (entries.first().map(|entry| entry.seq), entries.last().map(|entry| entry.seq)) else {
            return Ok(Turn::Idle);
        };
        let annotated: HashMap<Seq, Annotated> = self.journal.store.annotated(&self.channel, first, last).await?.into_iter().collect();
        let missed = entries.into_iter().filter(|entry| annotated.get(&entry.seq).is_some_and(|said| !said.missing.is_empty())).collect();
        let entries = not_gone(&self.journal, &self.channel, missed).await?;
        let analyzers = self.analyzers.current();
        if is_condemned(&analyzers) {
            return Ok(self.journal.left_to_the_build_before());
        }
        let pass = self.ask(&analyzers, &entries, &annotated).await;
        if is_condemned(&analyzers) {
            return Ok(self.journal.left_to_the_build_before());
        }
        let waits_from = pass.failed.iter().filter(|failed| !failed.fault.is_final()).map(|failed| failed.seq).min();
        let holds_at = waits_from.filter(|_| held.n_times < HOLDS_MAX).map(|seq| seq.0.saturating_sub(1));
        let mut commit = self.journal.begin(&self.channel);
        self.note(&mut commit, &analyzers, &entries, pass, holds_at.is_some()).await?;
        let done = holds_at.unwrap_or(last.0);
        commit.expected.push((missing_reader(), position));
        commit.positions.push((missing_reader(), done));
        self.journal.commit(commit).await?;
        if holds_at.is_none() {
            *held = Held::default();
            return Ok(Turn::Worked);
        }
        if done > position {
            held.n_times = 0;
        }
        Ok(held.again(&self.journal))
    }
}

impl CatchUp {
    /// Each analyzer about what lacks its word, with the words of others that it comes `after`.
    async fn ask<'a>(&'a self, analyzers: &[Analyzer], entries: &'a [Arc<Entry>], annotated: &HashMap<Seq, Annotated>) -> Pass<'a> {
        let missing = |entry: &Entry| annotated.get(&entry.seq).map(|said| said.missing.as_slice()).unwrap_or_default();
        let mut pass =
            Pass::over(&self.journal.clock, &self.channel, entries.iter().filter(|entry| is_analysed(entry) && !missing(entry).is_empty()));
        pass.prefill(|entry| annotated.get(&entry.seq).map(|said| words(analyzers, said)).unwrap_or_default());
        for (index, analyzer) in (0u8..).zip(analyzers) {
            let members = pass.members(|entry| missing(entry).contains(&analyzer.name));
            if !members.is_empty() {
                let earlier = earlier_of(analyzers, analyzer);
                // One call at a time: whoever hangs here must not take the turns of what is new.
                pass.run(vec![Asked { index, analyzer, earlier, wait: WAIT, calls_max: 1, members }]).await;
            }
        }
        pass
    }

    /// Results, late facts, letters of what fails again; letters of what was mended are taken back.
    async fn note(
        &self,
        commit: &mut Commit,
        analyzers: &[Analyzer],
        entries: &[Arc<Entry>],
        mut pass: Pass<'_>,
        is_held: bool,
    ) -> Result<(), StageError> {
        for failed in pass.failed.drain(..).filter(|failed| failed.fault.is_final() || !is_held) {
            commit.dead.extend(letter(&self.journal, &self.channel, analyzers, &failed));
        }
        let lineup = lineup_of(analyzers);
        let answered = answered(pass.into_results(lineup.id));
        for ResultsOf { seq, said } in &answered.of {
            let Some(entry) = entries.iter().find(|entry| entry.seq == *seq) else { continue };
            for analyzer in said.iter().filter_map(|(index, _)| analyzers.get(usize::from(*index))) {
                commit.dead_gone.push(letter_id(&self.journal, &self.channel, &analyzer.name, *seq));
                commit.entries.extend(self.late(entry, &analyzer.name).await?);
            }
        }
        if !answered.of.is_empty() {
            (commit.lineup, commit.results) = (Some(lineup), vec![answered]);
        }
        Ok(())
    }

    /// A fact, only for an item that was decided with that annotation missing.
    async fn late(&self, entry: &Entry, analyzer: &str) -> Result<Option<NewEntry>, StageError> {
        let Some(about) = entry.new.interaction else { return Ok(None) };
        let is_missed = view::is_missed(self.journal.store.as_ref(), &self.channel, about, analyzer).await?;
        let body = EntryBody::Fact(Fact::AnnotationLate { analyzer: analyzer.to_owned() });
        Ok(is_missed.then(|| NewEntry { body, ..entry.new.clone() }))
    }
}

/// What is in force, by place in the lineup.
pub(super) fn words(analyzers: &[Analyzer], said: &Annotated) -> Said {
    let of = |name: &str| -> Vec<Annotation> { said.annotations.iter().filter(|(by, _, _)| by == name).map(|(_, _, one)| one.clone()).collect() };
    (0u8..)
        .zip(analyzers)
        .map(|(index, analyzer)| (index, of(&analyzer.name)))
        .filter(|(_, words)| !words.is_empty())
        .map(|(n, w)| (n, Some(w)))
        .collect()
}

/// Only what was answered.
pub(super) fn answered(results: Results) -> Results {
    let said = |of: ResultsOf| ResultsOf { seq: of.seq, said: of.said.into_iter().filter(|(_, said)| said.is_some()).collect() };
    let of = results.of.into_iter().map(said).filter(|of| !of.said.is_empty());
    Results { lineup: results.lineup, of: of.collect() }
}
