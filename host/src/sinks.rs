//! Tells the company's systems what happened: CloudEvents 1.0 in binary mode, signed by Standard Webhooks.
//!
//! Each sink is one more reader of each channel's log, behind the rules. A refused event leaves the reader as a retry record
//! with its id, so that one refusal does not stop the rest; while nobody answers at all the reader waits where it is.
//! Redirects are failures, never followed.

mod events;
mod sign;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, StreamExt};
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::clock::Wait;
use crate::egress::{Door, HttpError, HttpRequest};
use crate::failpoint;
use crate::model::{ChannelName, DeadLetter, DeadSubject, Entry, InteractionId, Seq, Timestamp, shown};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{Commit, Reader, SinkRetry, StoreError, view};

pub use events::{EVENTS, Event};
pub use sign::{Secret, SecretError};

/// Entries read in one turn.
const ENTRIES_MAX: usize = 256;
/// Events on their way at once, per channel and sink.
const IN_FLIGHT_MAX: usize = 6;
/// Retries looked through for those that a clock dated which ran ahead.
const RETRIES_MAX: usize = 1000;
/// Between two such looks that find none; a clock that is put back ends it.
const LOOK_AHEAD_PAUSE: Duration = Duration::from_secs(60);
/// A turn is about this long, so that a stop and a reload need not wait for a slow receiver.
const TURN_MAX: Duration = Duration::from_secs(5);
/// A receiver has so long to answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// While nobody takes anything, the reader looks again after this; doubles up to [`HOLD_MAX`].
const HOLD_MIN: Duration = Duration::from_secs(2);
const HOLD_MAX: Duration = Duration::from_secs(60);
/// While everything is refused it waits so often, about two minutes; then each event goes its own way, so that a few that
/// will never be taken do not hold the rest.
const REFUSED_HOLDS_MAX: u32 = 6;
/// A receiver that says "at once" is not asked at once. Units: milliseconds.
const RETRY_AFTER_MIN_MS: u64 = 1_000;
/// Nothing waits for longer, by the schedule neither.
const RETRY_AFTER_MAX_MS: u64 = 86_400_000;
/// Source: the retry schedule of the Standard Webhooks specification.
const SCHEDULE_S: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// A receiver may say itself when it is asked again, as often as it likes, for so long: the schedule's whole time, about three days.
/// Units: milliseconds.
const ASKED_MS_MAX: u64 = 272_105_000;

/// One sink, as configured.
pub struct Target {
    /// Its name.
    pub name: String,
    /// Where events go.
    pub url: String,
    /// What they are signed with; the first signs, all are sent.
    pub secrets: Vec<Secret>,
    /// Which events: names, or `*`.
    pub events: Vec<String>,
    /// The way out.
    pub door: Arc<Door>,
    /// The receiver answered 410: nothing more is sent until the configuration is read again.
    pub is_gone: AtomicBool,
}

/// One sink's reader of one channel.
pub struct Sink {
    /// Where events come from.
    pub journal: Journal,
    /// The channel.
    pub channel: ChannelName,
    /// The sink.
    pub target: Arc<Target>,
    memory: Mutex<Memory>,
}

/// What a reader remembers between turns; all of it can be lost.
#[derive(Default)]
struct Memory {
    rest: Wait,
    looked_ahead: Wait,
    n_holds: u32,
    is_readers_turn: bool,
}

enum Outcome {
    Delivered,
    /// Nobody answered.
    Unreachable(String),
    /// Answered, and may take it later. Units: milliseconds to wait, where the answer says so.
    Refused(String, Option<u64>),
    /// Will never take it.
    Never(String),
}

#[async_trait]
impl Work for Sink {
    fn stage(&self) -> &'static str {
        "sinks"
    }

    fn channel(&self) -> &ChannelName {
        &self.channel
    }

    async fn turn(&self) -> Result<Turn, StageError> {
        if self.target.is_gone.load(Ordering::Relaxed) {
            return Ok(Turn::Idle);
        }
        let mut memory = self.memory.lock().await;
        if let Some(until) = memory.rest.left(self.journal.clock.now()) {
            return Ok(Turn::Until(until));
        }
        // By turns: a pile of retries must not keep back what is new, nor the other way round.
        memory.is_readers_turn = !memory.is_readers_turn;
        if memory.is_readers_turn {
            match self.read_on(&mut memory).await? {
                Turn::Idle => self.retry_due(&mut memory).await,
                other => Ok(other),
            }
        } else {
            match self.retry_due(&mut memory).await? {
                Turn::Idle => self.read_on(&mut memory).await,
                other => Ok(other),
            }
        }
    }
}

impl Sink {
    /// This sink's reader of this channel.
    pub fn new(journal: Journal, channel: ChannelName, target: Arc<Target>) -> Self {
        Self { journal, channel, target, memory: Mutex::default() }
    }

    async fn read_on(&self, memory: &mut Memory) -> Result<Turn, StageError> {
        let record = self.journal.store.channel(&self.channel).await?;
        let reader = Reader::Sink(self.target.name.clone());
        let (from, to) = (record.position(&reader) + 1, record.position(&Reader::Rules));
        if from > to {
            return Ok(Turn::Idle);
        }
        let n_entries = usize::try_from(to - from + 1).unwrap_or(usize::MAX).min(ENTRIES_MAX);
        let entries = self.journal.store.read_log(&self.channel, Seq(from), n_entries).await?;
        let Some(mut last) = entries.last().map(|entry| entry.seq) else { return Ok(Turn::Idle) };
        let events = events::of(&self.journal, &self.channel, &entries, |event| self.target.wants(event)).await?;
        if !events.is_empty() {
            // What was read may not be durable yet: after a crash another entry would have its place, and the event its id.
            self.journal.store.settle().await?;
        }
        let outcomes = match self.deliver_all(&events, memory.n_holds).await {
            Ok(outcomes) => outcomes,
            Err((why, named_ms)) => return Ok(self.hold(memory, &why, named_ms)),
        };
        memory.n_holds = 0;
        let mut commit = self.journal.begin(&self.channel);
        // A receiver that takes its time is not told everything in one turn: where that ends, the next one begins.
        if let Some(left) = events.get(outcomes.len()) {
            last = Seq(left.seq.0 - 1);
        }
        for (event, outcome) in events.iter().zip(outcomes).filter(|(event, _)| event.seq <= last) {
            self.note_outcome(&mut commit, event, outcome, None);
        }
        commit.positions.push((reader, last.0));
        self.journal.commit_unheard(commit).await?;
        Ok(Turn::Worked)
    }

    /// Nobody takes anything: the reader waits where it is, longer each time, and as long as the receiver asks for.
    fn hold(&self, memory: &mut Memory, why: &str, named_ms: Option<u64>) -> Turn {
        let wait = (HOLD_MIN * 2u32.saturating_pow(memory.n_holds)).min(HOLD_MAX).max(Duration::from_millis(named_ms.unwrap_or(0)));
        memory.n_holds = memory.n_holds.saturating_add(1);
        let (sink, channel, wait_s, attempt) = (&self.target.name, &self.channel, wait.as_secs(), memory.n_holds);
        warn!(%sink, %channel, attempt, wait_s, error = why, "Receiver takes nothing; the reader waits.");
        self.journal.rest(&mut memory.rest, wait)
    }

    async fn retry_due(&self, memory: &mut Memory) -> Result<Turn, StageError> {
        let retries = self.due(memory, self.journal.clock.now()).await?;
        if retries.is_empty() {
            return Ok(Turn::Idle);
        }
        let mut commit = self.journal.begin(&self.channel);
        let (mut events, mut of) = (Vec::new(), Vec::new());
        for retry in retries {
            let entries = self.journal.store.read_log(&self.channel, retry.seq, 1).await?;
            let found = events::of(&self.journal, &self.channel, &entries, |event| event == retry.event).await?;
            let is_taken_back = events::tells_content(&retry.event) && self.is_gone(&entries).await?;
            match found.into_iter().find(|event| event.id == retry.id && !is_taken_back) {
                Some(event) => {
                    events.push(event);
                    of.push(retry);
                }
                // What it told is no longer so; there is nothing left to tell.
                None => commit.sink_retries_gone.push((retry.sink, retry.id)),
            }
        }
        let outcomes = self.deliver_some(&events).await;
        for ((event, outcome), retry) in events.iter().zip(outcomes).zip(&of) {
            self.note_outcome(&mut commit, event, outcome, Some(retry));
        }
        self.journal.commit_unheard(commit).await?;
        Ok(Turn::Worked)
    }

    async fn due(&self, memory: &mut Memory, now: Timestamp) -> Result<Vec<SinkRetry>, StoreError> {
        let until = async |until, n| self.journal.store.sink_retries_due(&self.channel, &self.target.name, until, n).await;
        let due = until(now, IN_FLIGHT_MAX).await?;
        if !due.is_empty() || memory.looked_ahead.left(now).is_some() {
            return Ok(due);
        }
        // What is put off for longer than anything is was dated by a clock that ran ahead.
        let longest = now.plus(Duration::from_millis(RETRY_AFTER_MAX_MS));
        let all = until(Timestamp(u64::MAX), RETRIES_MAX).await?.into_iter();
        let ahead: Vec<SinkRetry> = all.filter(|retry| retry.due > longest).take(IN_FLIGHT_MAX).collect();
        if ahead.is_empty() {
            memory.looked_ahead = Wait::of(LOOK_AHEAD_PAUSE, now);
        }
        Ok(ahead)
    }

    /// What the entry is about was taken back since.
    async fn is_gone(&self, entries: &[Arc<Entry>]) -> Result<bool, StoreError> {
        let about: Vec<InteractionId> = entries.iter().filter_map(|entry| entry.new.interaction).collect();
        Ok(!view::gone(self.journal.store.as_ref(), &self.channel, &about).await?.is_empty())
    }

    /// The first few tell whether anybody listens. Those of the first entry at least, and what follows in about [`TURN_MAX`]. Errors: why
    /// nothing more was sent; the reader stays.
    async fn deliver_all(&self, events: &[Event], n_holds: u32) -> Result<Vec<Outcome>, (String, Option<u64>)> {
        let (first, rest) = events.split_at(events.len().min(IN_FLIGHT_MAX));
        let mut outcomes = self.deliver_some(first).await;
        if let Some(why) = taken_by_nobody(&outcomes, n_holds) {
            return Err(why);
        }
        let (begun, watch) = (events.first().map(|event| event.seq), self.journal.clock.stopwatch());
        for some in rest.chunks(IN_FLIGHT_MAX) {
            if watch.elapsed() > TURN_MAX && some.first().map(|event| event.seq) != begun {
                break;
            }
            outcomes.extend(self.deliver_some(some).await);
        }
        Ok(outcomes)
    }

    async fn deliver_some(&self, events: &[Event]) -> Vec<Outcome> {
        let calls: Vec<BoxFuture<'_, Outcome>> = events.iter().map(|event| self.deliver(event).boxed()).collect();
        stream::iter(calls).buffered(IN_FLIGHT_MAX).collect().await
    }

    async fn deliver(&self, event: &Event) -> Outcome {
        let now = self.journal.clock.now();
        let body = event.data.to_string().into_bytes();
        let request = HttpRequest {
            method: "POST".to_owned(),
            url: self.target.url.clone(),
            headers: self.headers(event, now.0 / 1000, &body),
            body,
            auth: None,
            timeout: Some(TIMEOUT),
        };
        match failpoint::around("call", "tell", self.target.door.http(request)).await {
            Err(error @ HttpError::TooLarge(_)) => Outcome::Never(error.to_string()),
            Err(error @ (HttpError::Denied(_) | HttpError::Dns(_) | HttpError::Connect(_) | HttpError::Tls(_))) => {
                Outcome::Unreachable(error.to_string())
            }
            // It may have arrived: this event alone is sent again.
            Err(error) => Outcome::Refused(error.to_string(), None),
            Ok(answer) => match answer.status {
                200..=299 => Outcome::Delivered,
                410 => {
                    self.target.is_gone.store(true, Ordering::Relaxed);
                    warn!(sink = %self.target.name, channel = %self.channel, "Receiver answered 410: sink disabled until the configuration is read again.");
                    Outcome::Refused("the receiver answered 410 (gone)".to_owned(), None)
                }
                // Source: Standard Webhooks: whatever is no 2xx is sent again on the schedule.
                status => Outcome::Refused(format!("status {status}"), retry_after_ms(&answer.headers, now)),
            },
        }
    }

    fn headers(&self, event: &Event, at_s: u64, body: &[u8]) -> Vec<(String, String)> {
        let signature = sign::signature(&self.target.secrets, &event.id, at_s, body);
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("ce-specversion", "1.0".to_owned()),
            ("ce-id", event.id.clone()),
            ("ce-source", format!("/membrana/{}", self.channel)),
            ("ce-type", format!("it.membrana.{}.v1", event.name)),
            ("ce-time", shown::rfc3339(event.at)),
            ("ce-sequence", format!("{:020}", event.seq.0)),
            ("ce-subject", event.subject.clone()),
            ("webhook-id", event.id.clone()),
            ("webhook-timestamp", at_s.to_string()),
            ("webhook-signature", signature),
        ];
        headers.extend(event.partition.clone().map(|partition| ("ce-partitionkey", partition)));
        headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn note_outcome(&self, commit: &mut Commit, event: &Event, outcome: Outcome, retry: Option<&SinkRetry>) {
        let (sink, now) = (&self.target.name, commit.at);
        let (before, first) = retry.map_or((0, now), |r| (r.attempts, r.first.min(now)));
        let (why, wait_ms) = match outcome {
            Outcome::Delivered => {
                commit.sink_retries_gone.extend(retry.map(|r| (sink.clone(), r.id.clone())));
                return;
            }
            Outcome::Unreachable(why) => (why, None),
            Outcome::Refused(why, wait_ms) => (why, wait_ms),
            Outcome::Never(why) => return self.give_up(commit, event, &why, retry),
        };
        // Nine of "in a second" must not end what nine on the schedule may: a try that the receiver names the end of does not count.
        let is_asked = wait_ms.is_some() && now.since_ms(first) < ASKED_MS_MAX;
        let attempts = if is_asked { before } else { before + 1 };
        let step = usize::try_from(before).ok().and_then(|n| SCHEDULE_S.get(n)).map(|wait_s| wait_s * 1000);
        let Some(wait_ms) = wait_ms.filter(|_| is_asked).or(step) else {
            return self.give_up(commit, event, &format!("{why}, after {attempts} tries"), retry);
        };
        info!(sink = %sink, channel = %self.channel, event = event.name, attempt = attempts, error = %why, "Event refused; will try again.");
        let due = now.plus(Duration::from_millis(wait_ms));
        commit.sink_retries.push(SinkRetry {
            sink: sink.clone(),
            id: event.id.clone(),
            seq: event.seq,
            event: event.name.to_owned(),
            attempts,
            due,
            first,
        });
    }

    fn give_up(&self, commit: &mut Commit, event: &Event, why: &str, retry: Option<&SinkRetry>) {
        let stage = format!("sink:{}", self.target.name);
        commit.sink_retries_gone.extend(retry.map(|r| (r.sink.clone(), r.id.clone())));
        commit.dead.push(DeadLetter {
            id: self.journal.store.id_key().dead(&self.channel, &stage, &event.id),
            channel: self.channel.clone(),
            stage,
            subject: DeadSubject::Event { seq: event.seq, event: event.name.to_owned(), id: event.id.clone() },
            plugin: None,
            digest: None,
            reason: why.to_owned(),
            at: commit.at,
        });
    }
}

impl Target {
    fn wants(&self, event: &str) -> bool {
        self.events.iter().any(|wanted| wanted == "*" || wanted == event)
    }
}

/// Why the reader waits, if it does: nobody was reached, or several events in a row are all refused for now. With the longest wait that was
/// asked for. Units: milliseconds.
fn taken_by_nobody(outcomes: &[Outcome], n_holds: u32) -> Option<(String, Option<u64>)> {
    let (mut n_unreachable, mut why, mut named_ms) = (0, None, None);
    for outcome in outcomes {
        match outcome {
            Outcome::Delivered | Outcome::Never(_) => return None,
            Outcome::Unreachable(reason) => {
                n_unreachable += 1;
                why = Some(reason.clone());
            }
            Outcome::Refused(reason, wait_ms) => {
                why = why.or(Some(reason.clone()));
                named_ms = named_ms.max(*wait_ms);
            }
        }
    }
    let is_refused = outcomes.len() > 1 && n_holds < REFUSED_HOLDS_MAX;
    why.filter(|_| n_unreachable == outcomes.len() || is_refused).map(|why| (why, named_ms))
}

/// `Retry-After` in seconds or as a date, within bounds.
fn retry_after_ms(headers: &[(String, String)], now: Timestamp) -> Option<u64> {
    let value = headers.iter().find(|(name, _)| name == "retry-after").map(|(_, value)| value.trim())?;
    let ms = match value.parse::<u64>() {
        Ok(seconds) => seconds.saturating_mul(1000),
        Err(_) => {
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
            Timestamp(u64::try_from(date.as_millisecond()).ok()?).since_ms(now)
        }
    };
    Some(ms.clamp(RETRY_AFTER_MIN_MS, RETRY_AFTER_MAX_MS))
}
