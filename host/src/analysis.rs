//! Runs the lineup over a channel's log, in batches, and commits what was said beside it.
//!
//! A failing or slow analyzer never hides an item: after its `wait` the item goes on with that annotation missing, and the
//! catch-up pass asks once more. An item that traps an analyzer is found by halving the batch and set aside alone.

mod batches;
mod catch_up;
mod rerun;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tracing::warn;

use crate::clock::Wait;
use crate::model::{
    Annotation, ChannelName, DeadId, DeadLetter, DeadSubject, Digest, Entry, InteractionId, Lineup, LineupId, LineupMember, Results, ResultsOf, Seq,
};
use crate::plugin::Generation;
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{Reader, StoreError, view};

pub use catch_up::CatchUp;
pub use rerun::Rerun;

use batches::{Asked, Failed, Pass, Told};

/// Entries read in one turn.
const ENTRIES_MAX: usize = 512;
/// Calls to one analyzer at once: its two instances at work, and the next two ready.
const CALLS_MAX: usize = 4;
/// An analyzer that answers nothing in so many turns on end is left alone for a while, longer each time.
const SILENT_TURNS_MAX: u32 = 2;
const REST_MIN: Duration = Duration::from_secs(10);
const REST_MAX: Duration = Duration::from_secs(300);

/// One configured analyzer.
#[derive(Clone)]
pub struct Analyzer {
    /// Its name.
    pub name: String,
    /// Its build in force.
    pub plugin: Arc<Generation>,
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

    /// Puts another build of one of them in force; turns under way end with the one they began with.
    pub fn replace(&self, analyzer: &Analyzer) {
        let replaced = |one: &Analyzer| if one.name == analyzer.name { analyzer.clone() } else { one.clone() };
        self.0.rcu(|all| all.iter().map(replaced).collect::<Vec<_>>());
    }

    /// The build of this name that is in force.
    pub fn generation(&self, name: &str) -> Option<Arc<Generation>> {
        self.0.load().iter().find(|analyzer| analyzer.name == name).map(|analyzer| Arc::clone(&analyzer.plugin))
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
        analyzers.iter().map(|a| LineupMember { name: a.name.clone(), digest: a.plugin.digest(), config: a.config }).collect();
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
    journal: Journal,
    channel: ChannelName,
    analyzers: Arc<Analyzers>,
    /// By name and build.
    patience: Mutex<HashMap<(String, Digest), Patience>>,
}

/// An analyzer that answered nothing in several turns on end is not waited for in each; all of it can be lost.
#[derive(Default, Clone, Copy)]
struct Patience {
    n_turns: u32,
    rest: Wait,
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
        let mut pass = Pass::over(&self.journal.clock, &self.channel, entries.iter().filter(|entry| is_analysed(entry)));
        if is_condemned(&analyzers) {
            return Ok(self.journal.left_to_the_build_before());
        }
        self.ask(&analyzers, &mut pass).await;
        if is_condemned(&analyzers) {
            return Ok(self.journal.left_to_the_build_before());
        }
        let mut commit = self.journal.begin(&self.channel);
        let is_complete = pass.is_complete();
        for failed in pass.failed.drain(..).filter(|failed| failed.fault.is_final()) {
            commit.dead.extend(letter(&self.journal, &self.channel, &analyzers, &failed));
        }
        let lineup = lineup_of(&analyzers);
        let results = pass.into_results(lineup.id);
        if !results.of.is_empty() {
            (commit.lineup, commit.results) = (Some(lineup), vec![results]);
        }
        commit.positions.push((Reader::Analysis, last.0));
        if is_complete && record.position(&missing_reader()) == position {
            // An admin may have set the pass back meanwhile.
            commit.expected.push((missing_reader(), position));
            commit.positions.push((missing_reader(), last.0));
        }
        self.journal.commit(commit).await?;
        Ok(Turn::Worked)
    }
}

impl Analysis {
    /// Of this channel.
    pub fn new(journal: Journal, channel: ChannelName, analyzers: Arc<Analyzers>) -> Self {
        Self { journal, channel, analyzers, patience: Mutex::default() }
    }

    /// Round by round: those that come `after` nobody who is still to be asked, at once.
    async fn ask(&self, analyzers: &[Analyzer], pass: &mut Pass<'_>) {
        let mut waiting: Vec<(u8, &Analyzer)> = (0u8..).zip(analyzers).filter(|(_, a)| a.looks_at(&self.channel)).collect();
        while !waiting.is_empty() {
            let names: Vec<&str> = waiting.iter().map(|(_, a)| a.name.as_str()).collect();
            let is_free = |a: &Analyzer| !a.after.iter().any(|name| *name != a.name && names.contains(&name.as_str()));
            let (mut free, mut rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, a)| is_free(a));
            if free.is_empty() {
                // A cycle, which the configuration refuses.
                std::mem::swap(&mut free, &mut rest);
            }
            waiting = rest;
            let mut asked = Vec::new();
            for (index, analyzer) in free {
                let (earlier, members) = (earlier_of(analyzers, analyzer), pass.members(|_| true));
                if self.is_given_up(analyzer) {
                    pass.skip(index);
                } else if !members.is_empty() {
                    asked.push(Asked { index, analyzer, earlier, wait: analyzer.wait, calls_max: CALLS_MAX, members });
                }
            }
            for told in pass.run(asked).await {
                self.learn(analyzers, &told);
            }
        }
    }

    fn is_given_up(&self, analyzer: &Analyzer) -> bool {
        let now = self.journal.clock.now();
        self.patience().get(&(analyzer.name.clone(), analyzer.plugin.digest())).is_some_and(|patience| patience.rest.left(now).is_some())
    }

    fn learn(&self, analyzers: &[Analyzer], told: &Told) {
        let Some(analyzer) = analyzers.get(usize::from(told.index)) else { return };
        let (name, key) = (analyzer.name.as_str(), (analyzer.name.clone(), analyzer.plugin.digest()));
        let mut all = self.patience();
        if told.n_answered > 0 || told.n_waiting == 0 {
            all.remove(&key);
            return;
        }
        let patience = all.entry(key).or_default();
        patience.n_turns += 1;
        if let Some(n_times) = patience.n_turns.checked_sub(SILENT_TURNS_MAX) {
            let rest = (REST_MIN * 2u32.saturating_pow(n_times)).min(REST_MAX);
            patience.rest = Wait::of(rest, self.journal.clock.now());
            let (channel, rest_s) = (&self.channel, rest.as_secs());
            warn!(%channel, plugin = name, rest_s, "Analyzer does not answer: items go on without it for a while, and are caught up later.");
        }
    }

    fn patience(&self) -> MutexGuard<'_, HashMap<(String, Digest), Patience>> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places of those whose words an analyzer sees.
fn earlier_of(analyzers: &[Analyzer], analyzer: &Analyzer) -> Vec<u8> {
    analyzers.iter().zip(0u8..).filter(|(a, _)| analyzer.after.contains(&a.name)).map(|(_, n)| n).collect()
}

fn letter_id(journal: &Journal, channel: &ChannelName, analyzer: &str, seq: Seq) -> DeadId {
    journal.store.id_key().dead(channel, "analysis", &format!("{analyzer}/{seq}"))
}

fn letter(journal: &Journal, channel: &ChannelName, analyzers: &[Analyzer], failed: &Failed) -> Option<DeadLetter> {
    let analyzer = analyzers.get(usize::from(failed.analyzer))?;
    Some(DeadLetter {
        id: letter_id(journal, channel, &analyzer.name, failed.seq),
        channel: channel.clone(),
        stage: "analysis".to_owned(),
        subject: DeadSubject::Entry(failed.seq),
        plugin: Some(analyzer.name.clone()),
        digest: Some(analyzer.plugin.digest()),
        reason: failed.fault.to_string(),
        at: journal.clock.now(),
    })
}

/// A build that proved worse than the one before is about to be replaced: what it said is asked again.
fn is_condemned(analyzers: &[Analyzer]) -> bool {
    analyzers.iter().any(|analyzer| analyzer.plugin.condemned().is_some())
}

/// Content of others; what we said ourselves is not judged.
fn is_analysed(entry: &Entry) -> bool {
    entry.new.body.content().is_some_and(|content| !content.is_ours())
}

/// What was taken back is nobody's to read again, whoever asks late.
async fn not_gone(journal: &Journal, channel: &ChannelName, mut entries: Vec<Arc<Entry>>) -> Result<Vec<Arc<Entry>>, StoreError> {
    let about: Vec<InteractionId> = entries.iter().filter(|entry| is_analysed(entry)).filter_map(|entry| entry.new.interaction).collect();
    let gone = view::gone(journal.store.as_ref(), channel, &about).await?;
    entries.retain(|entry| entry.new.interaction.is_none_or(|id| !gone.contains(&id)));
    Ok(entries)
}

/// Per analyzer by index what it said, or that it failed.
type Said = Vec<(u8, Option<Vec<Annotation>>)>;

fn results(lineup: LineupId, of: impl Iterator<Item = (Seq, Said)>) -> Results {
    Results { lineup, of: of.filter(|(_, said)| !said.is_empty()).map(|(seq, said)| ResultsOf { seq, said }).collect() }
}
