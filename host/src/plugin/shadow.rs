//! A build that is asked beside the one in force, about the same and without effect: what it says is compared, and forgotten.
//!
//! The one in force is never held up: it answers first, and what the shadow has no room for is left out and counted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use serde_json::{Value as Json, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::{Annotation, Attachment, Digest, Fault, InteractionId, RawItem, Timestamp};

use super::agreement::{Agreement, Verdict, annotations, decided, not_understood, understood};
use super::generation::Generation;
use super::meter::Usage;
use super::pool::now;
use super::shapes::{AnalyzeBatch, AnalyzeItem, RuleEvent};
use super::state::PluginState;

/// Questions under way; each holds a copy of what it is about.
const QUESTIONS_MAX: usize = 4;
/// Calls whose times are kept, of each build: the first so many.
const TIMES_MAX: usize = 10_000;

/// Shadows begun in this process.
static N_BEGUN: AtomicU64 = AtomicU64::new(0);

/// How long a shadow goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Until so many items were asked about.
    Items(usize),
    /// So long.
    Time(Duration),
}

/// See the module.
pub struct Shadow {
    /// Of all shadows of this process.
    number: u64,
    /// Until it ends: a plugin that nobody asks must not hold its memory.
    new: ArcSwapOption<Generation>,
    digest: Digest,
    /// What it used, once it ended.
    used: OnceLock<Usage>,
    /// What it had used when its first question was answered. That call makes an instance and says nothing of the ones after it, so
    /// that times and CPU are measured from there on.
    warm: OnceLock<Usage>,
    old: Weak<Generation>,
    /// What the one in force had used when this began.
    before: Usage,
    length: Length,
    begun: Instant,
    /// Until it ended; none while it goes on.
    lasted: OnceLock<Duration>,
    n_left_out: AtomicUsize,
    room: Arc<Semaphore>,
    told: Mutex<Told>,
}

/// What was heard so far.
#[derive(Default)]
struct Told {
    agreement: Agreement,
    old_times: Vec<f64>,
    new_times: Vec<f64>,
}

/// What was asked about, where it is nobody else's.
pub(super) enum Question {
    Analysis(Batch),
    Decision(Vec<RuleEvent>),
    Raws(Row),
}

/// Raw items that were understood one after the other.
#[derive(Clone)]
pub(super) struct Row {
    /// Before the first of them.
    pub(super) state: PluginState,
    /// Those that are for the connector count.
    pub(super) raws: Arc<Vec<RawItem>>,
    /// So many of them, from the first on.
    pub(super) n_items: usize,
}

impl Row {
    fn items(&self) -> impl Iterator<Item = &RawItem> {
        self.raws.iter().filter(|raw| raw.origin.is_for_plugin()).take(self.n_items)
    }

    async fn ask(&self, generation: &Generation) -> Result<Vec<Verdict>, Fault> {
        let (mut state, mut said) = (self.state.clone(), Vec::with_capacity(self.n_items));
        // It may answer fewer at once than the build in force did.
        while said.len() < self.n_items {
            let n_left = self.n_items - said.len();
            let left = if said.is_empty() { Arc::clone(&self.raws) } else { Arc::new(self.items().skip(said.len()).cloned().collect()) };
            let called = generation.receive(state.clone(), left, || false).await;
            if called.is_empty() {
                break;
            }
            for one in called.into_iter().take(n_left) {
                state.write(&one.state);
                said.push(match one.result {
                    Ok(changes) => understood(&changes),
                    Err(fault) if fault.is_final() => not_understood(&fault),
                    Err(fault) => return Err(fault),
                });
            }
        }
        Ok(said)
    }
}

/// A batch of its own.
pub(super) struct Batch {
    channel: String,
    kind: String,
    items: Vec<Item>,
}

#[derive(Clone)]
struct Item {
    id: Option<InteractionId>,
    subject: Option<String>,
    text: String,
    language: Option<String>,
    occurred: Timestamp,
    earlier: Vec<Annotation>,
    author: Option<(String, Option<String>)>,
    attachments: Vec<Attachment>,
}

impl Batch {
    pub(super) fn of(batch: &AnalyzeBatch<'_>) -> Self {
        let item = |item: &AnalyzeItem<'_>| Item {
            id: item.id,
            subject: item.subject.map(str::to_owned),
            text: item.text.to_owned(),
            language: item.language.map(str::to_owned),
            occurred: item.occurred,
            earlier: item.earlier.iter().map(|said| (*said).clone()).collect(),
            author: item.author.clone(),
            attachments: item.attachments.to_vec(),
        };
        Self { channel: batch.channel.to_owned(), kind: batch.kind.to_owned(), items: batch.items.iter().map(item).collect() }
    }

    fn lent(&self) -> AnalyzeBatch<'_> {
        AnalyzeBatch { channel: &self.channel, kind: &self.kind, items: self.items.iter().map(Item::lent).collect() }
    }
}

impl Item {
    fn lent(&self) -> AnalyzeItem<'_> {
        AnalyzeItem {
            id: self.id,
            subject: self.subject.as_deref(),
            text: &self.text,
            language: self.language.as_deref(),
            occurred: self.occurred,
            earlier: self.earlier.iter().collect(),
            author: self.author.clone(),
            attachments: &self.attachments,
        }
    }
}

impl Question {
    fn len(&self) -> usize {
        match self {
            Self::Analysis(batch) => batch.items.len(),
            Self::Decision(events) => events.len(),
            Self::Raws(row) => row.n_items,
        }
    }

    /// What each thing is called: an interaction's id, or the place of a raw item.
    fn names(&self) -> Vec<String> {
        match self {
            Self::Analysis(batch) => batch.items.iter().map(|item| item.id.map(|id| id.to_string()).unwrap_or_default()).collect(),
            Self::Decision(events) => {
                let id = |event: &RuleEvent| event.interaction.as_ref().map(|about| about.id.clone()).unwrap_or_default();
                events.iter().map(id).collect()
            }
            Self::Raws(row) => row.items().map(|raw| format!("raw {}", raw.seq)).collect(),
        }
    }

    /// The same about one thing each.
    fn singly(&self) -> Vec<Self> {
        match self {
            Self::Analysis(Batch { channel, kind, items }) => {
                let alone = |item: &Item| Batch { channel: channel.clone(), kind: kind.clone(), items: vec![item.clone()] };
                items.iter().map(|item| Self::Analysis(alone(item))).collect()
            }
            Self::Decision(events) => events.iter().map(|event| Self::Decision(vec![event.clone()])).collect(),
            Self::Raws(row) => {
                let alone = |raw: &RawItem| Row { state: row.state.clone(), raws: Arc::new(vec![raw.clone()]), n_items: 1 };
                row.items().map(|raw| Self::Raws(alone(raw))).collect()
            }
        }
    }

    /// The answer, and how long it took from the plugin's turn on, as it is measured of the build in force.
    async fn ask(&self, generation: &Generation) -> (Result<Vec<Verdict>, Fault>, Duration) {
        let turn = match generation.turn().await {
            Ok(turn) => turn,
            Err(fault) => return (Err(fault), Duration::ZERO),
        };
        let begun = now();
        let answer = match self {
            Self::Analysis(batch) => {
                let said = generation.analyze_in(turn, &batch.lent()).await;
                said.map(|said| said.iter().map(|said| annotations(said)).collect())
            }
            Self::Decision(events) => {
                drop(turn);
                generation.decide(events.clone()).await.map(|decisions| decisions.iter().map(decided).collect())
            }
            Self::Raws(row) => {
                drop(turn);
                row.ask(generation).await
            }
        };
        (answer, begun.elapsed())
    }
}

impl Shadow {
    /// Of this new build, beside the one in force.
    pub fn new(new: Arc<Generation>, old: &Arc<Generation>, length: Length) -> Arc<Self> {
        Arc::new(Self {
            number: N_BEGUN.fetch_add(1, Ordering::Relaxed) + 1,
            digest: new.digest(),
            new: ArcSwapOption::new(Some(new)),
            used: OnceLock::new(),
            warm: OnceLock::new(),
            before: old.usage(),
            old: Arc::downgrade(old),
            length,
            begun: now(),
            lasted: OnceLock::new(),
            n_left_out: AtomicUsize::default(),
            room: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            told: Mutex::default(),
        })
    }

    /// Nothing is asked any more.
    pub fn end(&self) {
        _ = self.lasted.set(self.begun.elapsed());
        if let Some(new) = self.new.swap(None) {
            drop(self.used.set(new.usage()));
        }
    }

    /// Until it ended, or until now.
    fn elapsed(&self) -> Duration {
        self.lasted.get().copied().unwrap_or_else(|| self.begun.elapsed())
    }

    /// It went on for as long as it was to, beside the build that it began beside.
    fn is_complete(&self) -> bool {
        if self.old.strong_count() == 0 {
            return false;
        }
        match self.length {
            Length::Items(n) => self.told().agreement.n_asked() >= n,
            Length::Time(time) => self.elapsed() >= time,
        }
    }

    /// Whether it asks on; one whose build in force was replaced does not.
    pub fn has_ended(&self) -> bool {
        let is_over = matches!(self.length, Length::Time(time) if self.begun.elapsed() >= time);
        is_over || self.lasted.get().is_some() || self.old.strong_count() == 0
    }

    /// A place for one more question about so many items, if there is one.
    pub(super) fn room(&self, n_items: usize) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.room).try_acquire_owned().ok();
        if place.is_none() {
            self.n_left_out.fetch_add(n_items, Ordering::Relaxed);
        }
        place
    }

    /// Asks the new build in the background. `then` is what the one in force said, and `took` how long that took.
    pub(super) fn ask(self: &Arc<Self>, place: OwnedSemaphorePermit, question: Question, then: Vec<Verdict>, took: Duration) {
        let shadow = Arc::clone(self);
        #[expect(clippy::disallowed_methods, reason = "bounded in number by its place, in time by the plugin's limits")]
        tokio::spawn(async move {
            shadow.compare(&question, then, took).await;
            drop(place);
        });
    }

    async fn compare(&self, question: &Question, then: Vec<Verdict>, took: Duration) {
        let Some(new) = self.new.load_full() else { return };
        let is_warm = self.warm.get().is_some();
        let (answer, elapsed) = question.ask(&new).await;
        let names = question.names();
        if let Ok(now) = answer {
            let mut told = self.told();
            if is_warm {
                told.times(took, elapsed, question.len());
            } else {
                _ = self.warm.set(new.usage());
            }
            names.iter().zip(then.into_iter().zip(now)).for_each(|(name, (then, now))| told.agreement.note(name, Some(then), now));
        } else {
            // One by one, so that one bad item stands alone.
            for ((name, question), then) in names.iter().zip(question.singly()).zip(then) {
                match question.ask(&new).await.0 {
                    Ok(now) => now.into_iter().for_each(|now| self.told().agreement.note(name, Some(then.clone()), now)),
                    Err(fault) => self.told().agreement.failed(name, &fault),
                }
            }
        }
        if matches!(self.length, Length::Items(n) if self.told().agreement.n_asked() >= n) {
            self.end();
        }
    }

    /// What was heard so far.
    pub fn json(&self) -> Json {
        if self.has_ended() {
            self.end();
        }
        let is_complete = self.is_complete();
        let new = self.new.load_full().map(|new| new.usage()).or_else(|| self.used.get().cloned()).unwrap_or_else(|| self.before.clone());
        let old = self.old.upgrade().map(|old| old.usage());
        let told = self.told();
        let (old_p99, new_p99) = (p99(&told.old_times), p99(&told.new_times));
        let old_cpu = old.as_ref().map(|old| each(old.cpu.saturating_sub(self.before.cpu), old.items.saturating_sub(self.before.items)));
        let warm = self.warm.get().filter(|warm| new.items > warm.items);
        let new_cpu = warm.map(|warm| each(new.cpu.saturating_sub(warm.cpu), new.items.saturating_sub(warm.items)));
        let faults: u64 = new.faults.named().iter().map(|(_, n)| **n).sum();
        let mut json = json!({
            "state": if self.has_ended() { "ended" } else { "running" },
            "number": self.number,
            "complete": is_complete,
            "digest": self.digest.to_string(),
            "elapsed_ms": u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX),
            "left_out": self.n_left_out.load(Ordering::Relaxed),
            "faults": faults,
            "p99_us": { "old": old_p99, "new": new_p99 },
            "p99_ratio": new_p99.zip(old_p99).and_then(|(new, old)| ratio(new, old)),
            "cpu_us": { "old": old_cpu, "new": new_cpu },
            "cpu_ratio": new_cpu.zip(old_cpu).and_then(|(new, old)| ratio(new, old)),
            "memory_peak_bytes": { "old": old.map(|old| old.memory_peak), "new": new.memory_peak },
        });
        if let (Some(json), Json::Object(agreement)) = (json.as_object_mut(), told.agreement.json()) {
            json.extend(agreement);
        }
        json
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn times(&mut self, old: Duration, new: Duration, n_items: usize) {
        for (times, took) in [(&mut self.old_times, old), (&mut self.new_times, new)] {
            if times.len() < TIMES_MAX {
                times.push(each(took, n_items as u64));
            }
        }
    }
}

/// Of one item. Units: microseconds; 0 where there is none.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn each(time: Duration, n_items: u64) -> f64 {
    if n_items == 0 { 0.0 } else { (time.as_secs_f64() * 1e6 / n_items as f64 * 10.0).round() / 10.0 }
}

fn p99(times: &[f64]) -> Option<f64> {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) * 99 / 100).copied()
}

fn ratio(new: f64, old: f64) -> Option<f64> {
    (old > 0.0).then(|| (new / old * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RawOrigin;
    use crate::testing::{Scripted, detail, said, upsert};

    fn raw(seq: u64, body: &str) -> RawItem {
        RawItem { seq, received: Timestamp(1), origin: RawOrigin::Frame, body: body.as_bytes().to_vec() }
    }

    fn connector(other: &'static str) -> Arc<Generation> {
        let understand = move |raw: RawItem| match String::from_utf8_lossy(&raw.body).as_ref() {
            "refused" => Err(Fault::Permanent(detail("odd"))),
            "other" => Ok((vec![upsert(said("1", other))], Vec::new())),
            same => Ok((vec![upsert(said("1", same))], Vec::new())),
        };
        Scripted::default().receive(understand).generation("shop", "connector")
    }

    #[tokio::test]
    async fn a_connector_s_shadow_is_asked_about_the_same_raw_items_and_changes_nothing() {
        // given
        let (old, new) = (connector("this"), connector("that"));
        let shadow = Shadow::new(new, &old, Length::Items(4));
        old.cast(Arc::clone(&shadow));

        // when
        let raws = Arc::new(vec![raw(7, "same"), raw(8, "other"), raw(9, "refused"), raw(10, "same")]);
        let called = old.receive(PluginState::default(), raws, || false).await;

        // then
        assert_eq!(called.len(), 4);
        while !shadow.has_ended() {
            tokio::task::yield_now().await;
        }
        let told = shadow.json();
        assert_eq!((&told["asked"], &told["same"], &told["different"], &told["failed"]), (&json!(4), &json!(3), &json!(1), &json!(0)), "{told}");
        assert_eq!((&told["changes"][0]["now"], &told["changes"][0]["examples"]), (&json!("the same, with another text"), &json!(["raw 8"])));
        assert_eq!(told["complete"], json!(true));
        assert_eq!(
            (&told["p99_us"]["new"], &told["p99_ratio"], &told["cpu_ratio"]),
            (&Json::Null, &Json::Null, &Json::Null),
            "its first call alone is no measure"
        );
    }
}
