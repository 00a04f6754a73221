//! One pass of analyzers over some entries: cut into batches of one kind, called at once, halved where a batch fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use futures_util::stream::{self, StreamExt};

use crate::clock::{Clock, Stopwatch};
use crate::model::{Annotation, ChannelName, Detail, Entry, Fault, Interaction, LineupId, Results, Seq};
use crate::plugin::{AnalyzeBatch, AnalyzeItem, CallTurn, Generation};

use super::{Analyzer, Said, results};

/// Items in one call.
const ITEMS_MAX: usize = 64;
/// Text in one call; larger items go alone. Units: bytes.
const BYTES_MAX: usize = 256 << 10;

/// Longer than others can hold every instance of an analyzer.
const TURN_WAIT: Duration = Duration::from_secs(60);
/// So many late calls in one pass, and the analyzer is asked no more in it.
const LATE_MAX: usize = 2;

/// What the analyzers said so far of some entries.
pub(super) struct Pass<'a> {
    clock: &'a Clock,
    channel: &'a ChannelName,
    subjects: Vec<&'a Arc<Entry>>,
    said: Vec<Said>,
    /// How much of `said` is older than this pass.
    n_before: Vec<usize>,
    /// What was asked and not answered.
    pub(super) failed: Vec<Failed>,
}

/// One item that an analyzer did not answer; where the fault is final it stands alone.
pub(super) struct Failed {
    pub(super) analyzer: u8,
    pub(super) seq: Seq,
    pub(super) fault: Fault,
}

/// One analyzer, asked about some of a pass's entries.
pub(super) struct Asked<'a> {
    /// Its place in the lineup.
    pub(super) index: u8,
    pub(super) analyzer: &'a Analyzer,
    /// Those whose words it sees.
    pub(super) earlier: Vec<u8>,
    /// From a batch's first call on.
    pub(super) wait: Duration,
    /// Calls at once.
    pub(super) calls_max: usize,
    /// Places in the pass.
    pub(super) members: Vec<usize>,
}

/// How an analyzer did in a pass.
pub(super) struct Told {
    pub(super) index: u8,
    pub(super) n_answered: usize,
    /// Nothing came in time, or time may mend it.
    pub(super) n_waiting: usize,
}

type Answers = Vec<(usize, Result<Vec<Annotation>, Fault>)>;

impl<'a> Pass<'a> {
    pub(super) fn over(clock: &'a Clock, channel: &'a ChannelName, entries: impl Iterator<Item = &'a Arc<Entry>>) -> Self {
        let subjects: Vec<&Arc<Entry>> = entries.collect();
        let said = subjects.iter().map(|_| Vec::new()).collect();
        let n_before = vec![0; subjects.len()];
        Self { clock, channel, subjects, said, n_before, failed: Vec::new() }
    }

    /// What was said before this pass: seen by who comes `after`, and no result of it.
    pub(super) fn prefill(&mut self, words: impl Fn(&Entry) -> Said) {
        for ((said, n_before), entry) in self.said.iter_mut().zip(&mut self.n_before).zip(&self.subjects) {
            *said = words(entry);
            *n_before = said.len();
        }
    }

    /// Places of the entries that this is true of.
    pub(super) fn members(&self, is_wanted: impl Fn(&Entry) -> bool) -> Vec<usize> {
        self.subjects.iter().enumerate().filter(|(_, entry)| is_wanted(entry)).map(|(n, _)| n).collect()
    }

    /// Asks analyzers that do not see one another's words, at once.
    pub(super) async fn run(&mut self, asked: Vec<Asked<'_>>) -> Vec<Told> {
        let pass = &*self;
        let answers: Vec<(u8, Answers)> = join_all(asked.into_iter().map(|asked| async move { (asked.index, pass.ask(asked).await) })).await;
        answers.into_iter().map(|(index, answers)| self.note(index, answers)).collect()
    }

    /// Goes on without an analyzer.
    pub(super) fn skip(&mut self, index: u8) {
        self.said.iter_mut().for_each(|said| said.push((index, None)));
    }

    async fn ask(&self, asked: Asked<'_>) -> Answers {
        let generation = &asked.analyzer.plugin;
        let call = Call { pass: self, asked: &asked, generation, n_late: AtomicUsize::new(0) };
        let batches = stream::iter(call.batches()).map(|batch| call.begin(batch)).buffered(asked.calls_max);
        batches.collect::<Vec<Answers>>().await.into_iter().flatten().collect()
    }

    fn note(&mut self, index: u8, answers: Answers) -> Told {
        let mut told = Told { index, n_answered: 0, n_waiting: 0 };
        for (n, answer) in answers {
            let (Some(said), Some(entry)) = (self.said.get_mut(n), self.subjects.get(n)) else { continue };
            match answer {
                Ok(annotations) => {
                    told.n_answered += 1;
                    said.push((index, Some(annotations)));
                }
                Err(fault) => {
                    told.n_waiting += usize::from(!fault.is_final());
                    said.push((index, None));
                    self.failed.push(Failed { analyzer: index, seq: entry.seq, fault });
                }
            }
        }
        told
    }

    /// Nobody failed and nobody was late.
    pub(super) fn is_complete(&self) -> bool {
        self.said.iter().flatten().all(|(_, said)| said.is_some())
    }

    pub(super) fn into_results(self, lineup: LineupId) -> Results {
        let fresh = self.said.into_iter().zip(self.n_before).map(|(said, n_before)| said.into_iter().skip(n_before).collect());
        results(lineup, self.subjects.iter().map(|entry| entry.seq).zip(fresh))
    }
}

struct Call<'p, 'a> {
    pass: &'p Pass<'a>,
    asked: &'p Asked<'p>,
    generation: &'p Generation,
    n_late: AtomicUsize,
}

impl Call<'_, '_> {
    /// Neighbours of one kind together, bounded in number and bytes.
    fn batches(&self) -> Vec<Vec<usize>> {
        let mut batches: Vec<(&str, usize, Vec<usize>)> = Vec::new();
        for n in self.asked.members.iter().copied() {
            let Some(content) = self.pass.subjects.get(n).and_then(|entry| entry.new.body.content()) else { continue };
            let bytes = content.text.len();
            let open = batches.iter_mut().rev().take(4);
            let fits = |b: &&mut (&str, usize, Vec<usize>)| b.0 == content.kind && b.2.len() < ITEMS_MAX && b.1 + bytes <= BYTES_MAX;
            match open.into_iter().find(fits) {
                Some((_, sum, members)) => {
                    *sum += bytes;
                    members.push(n);
                }
                None => batches.push((&content.kind, bytes, vec![n])),
            }
        }
        batches.into_iter().map(|(_, _, members)| members).collect()
    }

    /// From here on the batch has its `wait`, together with its halves.
    async fn begin(&self, members: Vec<usize>) -> Answers {
        if self.n_late.load(Ordering::Relaxed) >= LATE_MAX {
            return members.into_iter().map(|n| (n, Err(late()))).collect();
        }
        // While others hold the analyzer's instances its time does not run: one channel's hang makes nothing of another late.
        match self.pass.clock.within(TURN_WAIT, self.generation.turn()).await {
            Some(Ok(turn)) => self.ask(turn, members, &self.pass.clock.stopwatch()).await,
            Some(Err(fault)) => members.into_iter().map(|n| (n, Err(fault.clone()))).collect(),
            None => {
                self.n_late.fetch_add(1, Ordering::Relaxed);
                members.into_iter().map(|n| (n, Err(late()))).collect()
            }
        }
    }

    /// Asks about a batch; where it fails for good, about each half, until the item at fault stands alone.
    fn ask<'c>(&'c self, turn: CallTurn, members: Vec<usize>, begun: &'c Stopwatch) -> BoxFuture<'c, Answers> {
        async move {
            match self.once(turn, &members, begun).await {
                Ok(lists) => members.into_iter().zip(lists.into_iter().map(Ok)).collect(),
                Err(fault) if fault.is_final() && members.len() > 1 => {
                    let (left, right) = members.split_at(members.len() / 2);
                    let (mut first, second) = (self.half(left, begun).await, self.half(right, begun).await);
                    first.extend(second);
                    first
                }
                Err(fault) => members.into_iter().map(|n| (n, Err(fault.clone()))).collect(),
            }
        }
        .boxed()
    }

    async fn half(&self, members: &[usize], begun: &Stopwatch) -> Answers {
        match self.pass.clock.within(self.left(begun), self.generation.turn()).await {
            Some(Ok(turn)) => self.ask(turn, members.to_vec(), begun).await,
            Some(Err(fault)) => members.iter().map(|n| (*n, Err(fault.clone()))).collect(),
            None => members.iter().map(|n| (*n, Err(late()))).collect(),
        }
    }

    /// Of the batch's `wait`.
    fn left(&self, begun: &Stopwatch) -> Duration {
        self.asked.wait.saturating_sub(begun.elapsed())
    }

    async fn once(&self, turn: CallTurn, members: &[usize], begun: &Stopwatch) -> Result<Vec<Vec<Annotation>>, Fault> {
        let contents: Vec<(usize, &Entry, &Interaction)> = members
            .iter()
            .filter_map(|n| self.pass.subjects.get(*n).map(|entry| (*n, entry.as_ref())))
            .filter_map(|(n, entry)| entry.new.body.content().map(|content| (n, entry, content)))
            .collect();
        let kind = contents.first().map(|(_, _, content)| content.kind.as_str()).unwrap_or_default();
        let items = contents.iter().map(|(n, entry, content)| self.item(*n, entry, content)).collect();
        let batch = AnalyzeBatch { channel: self.pass.channel.as_str(), kind, items };
        self.pass.clock.within(self.left(begun), self.generation.analyze_in(turn, &batch)).await.unwrap_or_else(|| {
            self.n_late.fetch_add(1, Ordering::Relaxed);
            Err(late())
        })
    }

    fn item<'i>(&'i self, n: usize, entry: &'i Entry, content: &'i Interaction) -> AnalyzeItem<'i> {
        let said = self.pass.said.get(n).map(Vec::as_slice).unwrap_or_default();
        let earlier: Vec<&Annotation> =
            said.iter().filter(|(by, _)| self.asked.earlier.contains(by)).filter_map(|(_, said)| said.as_ref()).flatten().collect();
        AnalyzeItem {
            id: entry.new.interaction,
            subject: content.subject.as_deref(),
            text: &content.text,
            language: content.language.as_deref().or_else(|| earlier.iter().find_map(|said| said.language())),
            occurred: content.occurred,
            earlier,
            author: self.author(entry, content),
            attachments: if self.asked.analyzer.sees_attachments { &content.attachments } else { &[] },
        }
    }

    fn author(&self, entry: &Entry, content: &Interaction) -> Option<(String, Option<String>)> {
        let author = content.author.as_ref().filter(|_| self.asked.analyzer.sees_authors)?;
        Some((entry.new.identity?.to_string(), author.handle.clone()))
    }
}

fn late() -> Fault {
    Fault::Transient(Detail { code: "late".to_owned(), message: "no answer within its `wait`".to_owned() })
}
