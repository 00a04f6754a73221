//! One pass of analyzers over some entries: cut into batches of one kind, called at once, halved where a batch fails.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use tokio::time::{Instant, timeout_at};

use crate::model::{Annotation, ChannelName, Detail, Entry, Fault, Interaction, LineupId, Results, Seq};
use crate::plugin::{AnalyzeBatch, AnalyzeItem, Generation};

use super::{Analyzer, Said, results};

/// Items in one call.
const ITEMS_MAX: usize = 64;
/// Text in one call; larger items go alone. Units: bytes.
const BYTES_MAX: usize = 256 << 10;

/// What the analyzers said so far of some entries.
pub(super) struct Pass<'a> {
    channel: &'a ChannelName,
    subjects: Vec<&'a Arc<Entry>>,
    said: Vec<Said>,
    /// Items that fail alone, too.
    pub(super) failed: Vec<Failed>,
}

/// One item that an analyzer cannot handle.
pub(super) struct Failed {
    pub(super) analyzer: u8,
    pub(super) seq: Seq,
    pub(super) fault: Fault,
}

type Answers = Vec<(usize, Result<Vec<Annotation>, Fault>)>;

impl<'a> Pass<'a> {
    pub(super) fn over(channel: &'a ChannelName, entries: impl Iterator<Item = &'a Arc<Entry>>) -> Self {
        let subjects: Vec<&Arc<Entry>> = entries.collect();
        let said = subjects.iter().map(|_| Vec::new()).collect();
        Self { channel, subjects, said, failed: Vec::new() }
    }

    /// Asks one analyzer about every entry. `earlier` are those whose words it sees.
    pub(super) async fn run(&mut self, index: u8, analyzer: &Analyzer, earlier: &[u8], wait: Duration) {
        let generation = analyzer.plugin.current();
        let call = Call { pass: self, analyzer, generation: &generation, earlier, deadline: Instant::now() + wait };
        let answers: Vec<Answers> = join_all(call.batches().into_iter().map(|batch| call.ask(batch))).await;
        for (n, answer) in answers.into_iter().flatten() {
            let (Some(said), Some(entry)) = (self.said.get_mut(n), self.subjects.get(n)) else { continue };
            match answer {
                Ok(annotations) => said.push((index, Some(annotations))),
                Err(fault) => {
                    said.push((index, None));
                    if fault.is_final() {
                        self.failed.push(Failed { analyzer: index, seq: entry.seq, fault });
                    }
                }
            }
        }
    }

    /// Nobody failed and nobody was late.
    pub(super) fn is_complete(&self) -> bool {
        self.said.iter().flatten().all(|(_, said)| said.is_some())
    }

    pub(super) fn into_results(self, lineup: LineupId) -> Results {
        results(lineup, self.subjects.iter().map(|entry| entry.seq).zip(self.said))
    }
}

struct Call<'p, 'a> {
    pass: &'p Pass<'a>,
    analyzer: &'p Analyzer,
    generation: &'p Generation,
    earlier: &'p [u8],
    deadline: Instant,
}

impl Call<'_, '_> {
    /// Neighbours of one kind together, bounded in number and bytes.
    fn batches(&self) -> Vec<Vec<usize>> {
        let mut batches: Vec<(&str, usize, Vec<usize>)> = Vec::new();
        for (n, entry) in self.pass.subjects.iter().enumerate() {
            let Some(content) = entry.new.body.content() else { continue };
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

    /// Asks about a batch; where it fails for good, about each half, until the item at fault stands alone.
    fn ask(&self, members: Vec<usize>) -> BoxFuture<'_, Answers> {
        async move {
            match self.once(&members).await {
                Ok(lists) => members.into_iter().zip(lists.into_iter().map(Ok)).collect(),
                Err(fault) if fault.is_final() && members.len() > 1 => {
                    let (left, right) = members.split_at(members.len() / 2);
                    let (mut first, second) = (self.ask(left.to_vec()).await, self.ask(right.to_vec()).await);
                    first.extend(second);
                    first
                }
                Err(fault) => members.into_iter().map(|n| (n, Err(fault.clone()))).collect(),
            }
        }
        .boxed()
    }

    async fn once(&self, members: &[usize]) -> Result<Vec<Vec<Annotation>>, Fault> {
        let contents: Vec<(usize, &Entry, &Interaction)> = members
            .iter()
            .filter_map(|n| self.pass.subjects.get(*n).map(|entry| (*n, entry.as_ref())))
            .filter_map(|(n, entry)| entry.new.body.content().map(|content| (n, entry, content)))
            .collect();
        let kind = contents.first().map(|(_, _, content)| content.kind.as_str()).unwrap_or_default();
        let items = contents.iter().map(|(n, entry, content)| self.item(*n, entry, content)).collect();
        let batch = AnalyzeBatch { channel: self.pass.channel.as_str(), kind, items };
        match timeout_at(self.deadline, self.generation.analyze(&batch)).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::Transient(Detail { code: "late".to_owned(), message: "no answer within its `wait`".to_owned() })),
        }
    }

    fn item<'i>(&'i self, n: usize, entry: &'i Entry, content: &'i Interaction) -> AnalyzeItem<'i> {
        let said = self.pass.said.get(n).map(Vec::as_slice).unwrap_or_default();
        let earlier = said.iter().filter(|(by, _)| self.earlier.contains(by)).filter_map(|(_, said)| said.as_ref()).flatten().collect();
        AnalyzeItem {
            subject: content.subject.as_deref(),
            text: &content.text,
            language: content.language.as_deref(),
            occurred: content.occurred,
            earlier,
            author: self.author(entry, content),
            attachments: if self.analyzer.sees_attachments { &content.attachments } else { &[] },
        }
    }

    fn author(&self, entry: &Entry, content: &Interaction) -> Option<(String, Option<String>)> {
        let author = content.author.as_ref().filter(|_| self.analyzer.sees_authors)?;
        Some((entry.new.identity?.to_string(), author.handle.clone()))
    }
}
