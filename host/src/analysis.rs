//! Runs the lineup over a channel's log, in batches, and commits what was said beside it.
//!
//! A failing or slow analyzer never hides an item: after its `wait` the item goes on with that annotation missing, and the
//! catch-up pass asks once more. An item that traps an analyzer is found by halving the batch and set aside alone.

mod batches;
mod catch_up;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;

use crate::model::{Annotation, ChannelName, DeadLetter, DeadSubject, Digest, Entry, Lineup, LineupId, LineupMember, Results, ResultsOf, Seq};
use crate::plugin::Slot;
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::Reader;

pub use catch_up::CatchUp;

use batches::Failed;

/// Entries read in one turn.
const ENTRIES_MAX: usize = 512;

/// One configured analyzer.
pub struct Analyzer {
    /// Its name.
    pub name: String,
    /// Its build in force.
    pub plugin: Arc<Slot>,
    /// Of its section of the configuration.
    pub config: Digest,
    /// Names of those whose annotations it sees.
    pub after: Vec<String>,
    /// From an item's first call on, before it goes on without.
    pub wait: Duration,
    /// Channels it looks at; empty: all.
    pub channels: Vec<ChannelName>,
    /// It sees identity and handle of authors.
    pub sees_authors: bool,
    /// It sees attachments.
    pub sees_attachments: bool,
}

impl Analyzer {
    fn looks_at(&self, channel: &ChannelName) -> bool {
        self.channels.is_empty() || self.channels.contains(channel)
    }
}

/// The analyzers in force for all channels, in the order they run: none before one it comes `after`.
pub struct Analyzers(ArcSwap<Vec<Analyzer>>);

impl Analyzers {
    /// Puts these in force.
    pub fn new(analyzers: Vec<Analyzer>) -> Self {
        Self(ArcSwap::from_pointee(in_order(analyzers)))
    }

    /// Puts others in force; batches under way end with those they began with.
    pub fn set(&self, analyzers: Vec<Analyzer>) {
        self.0.store(Arc::new(in_order(analyzers)));
    }

    fn current(&self) -> Arc<Vec<Analyzer>> {
        self.0.load_full()
    }
}

/// Stable: those that wait for nobody keep the file's order. A cycle, which the configuration refuses, keeps it too.
fn in_order(mut waiting: Vec<Analyzer>) -> Vec<Analyzer> {
    let mut ordered: Vec<Analyzer> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let is_free = |a: &Analyzer| a.after.iter().all(|name| !waiting.iter().any(|w| w.name == *name && w.name != a.name));
        let next = waiting.iter().position(is_free).unwrap_or(0);
        ordered.push(waiting.remove(next));
    }
    ordered
}

/// The immutable record of who is in force, named by what it holds.
fn lineup_of(analyzers: &[Analyzer]) -> Lineup {
    let members: Vec<LineupMember> =
        analyzers.iter().map(|a| LineupMember { name: a.name.clone(), digest: a.plugin.current().digest(), config: a.config }).collect();
    let mut hasher = blake3::Hasher::new();
    for member in &members {
        hasher.update(member.name.as_bytes()).update(&[0]).update(&member.digest.0).update(&member.config.0);
    }
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    Lineup { id: LineupId(id), members }
}

/// The analysis of one channel.
pub struct Analysis {
    /// Where the log is.
    pub journal: Journal,
    /// The channel.
    pub channel: ChannelName,
    /// Who looks.
    pub analyzers: Arc<Analyzers>,
}

/// Reader of the catch-up pass over what is missing.
fn missing_reader() -> Reader {
    Reader::CatchUp("missing".to_owned())
}

#[async_trait]
impl Work for Analysis {
    fn stage(&self) -> &'static str {
        "analysis"
    }

    fn channel(&self) -> &ChannelName {
        &self.channel
    }

    async fn turn(&self) -> Result<Turn, StageError> {
        let record = self.journal.store.channel(&self.channel).await?;
        let position = record.position(&Reader::Analysis);
        if position >= record.last.0 {
            return Ok(Turn::Idle);
        }
        let entries = self.journal.store.read_log(&self.channel, Seq(position + 1), ENTRIES_MAX).await?;
        let Some(last) = entries.last().map(|entry| entry.seq) else { return Ok(Turn::Idle) };
        let analyzers = self.analyzers.current();
        let mut pass = batches::Pass::over(&self.channel, entries.iter().filter(|entry| is_analysed(entry)));
        for (n, analyzer) in (0u8..).zip(analyzers.iter()).filter(|(_, a)| a.looks_at(&self.channel)) {
            let earlier = analyzers.iter().zip(0u8..).filter(|(a, _)| analyzer.after.contains(&a.name)).map(|(_, n)| n);
            pass.run(n, analyzer, &earlier.collect::<Vec<u8>>(), analyzer.wait).await;
        }
        let mut commit = self.journal.begin(&self.channel);
        let is_complete = pass.is_complete();
        for failed in pass.failed.drain(..) {
            commit.dead.extend(self.letter(&analyzers, &failed));
        }
        let lineup = lineup_of(&analyzers);
        let results = pass.into_results(lineup.id);
        if !results.of.is_empty() {
            (commit.lineup, commit.results) = (Some(lineup), vec![results]);
        }
        commit.positions.push((Reader::Analysis, last.0));
        if is_complete && record.position(&missing_reader()) == position {
            commit.positions.push((missing_reader(), last.0));
        }
        self.journal.commit(commit).await?;
        Ok(Turn::Worked)
    }
}

impl Analysis {
    fn letter(&self, analyzers: &[Analyzer], failed: &Failed) -> Option<DeadLetter> {
        let analyzer = analyzers.get(usize::from(failed.analyzer))?;
        let key = self.journal.store.id_key();
        Some(DeadLetter {
            id: key.dead(&self.channel, "analysis", &format!("{}/{}", analyzer.name, failed.seq)),
            channel: self.channel.clone(),
            stage: "analysis".to_owned(),
            subject: DeadSubject::Entry(failed.seq),
            plugin: Some(analyzer.name.clone()),
            digest: Some(analyzer.plugin.current().digest()),
            reason: failed.fault.to_string(),
            at: self.journal.clock.now(),
        })
    }
}

/// Content of others; what we said ourselves is not judged.
fn is_analysed(entry: &Entry) -> bool {
    entry.new.body.content().is_some_and(|content| !content.is_ours())
}

/// Per analyzer by index what it said, or that it failed.
type Said = Vec<(u8, Option<Vec<Annotation>>)>;

fn results(lineup: LineupId, of: impl Iterator<Item = (Seq, Said)>) -> Results {
    Results { lineup, of: of.filter(|(_, said)| !said.is_empty()).map(|(seq, said)| ResultsOf { seq, said }).collect() }
}
