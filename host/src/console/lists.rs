//! Lists, as one JSON object a line, streamed: nothing large is collected first, so that a list of millions needs no memory.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::model::{
    Action, ActionId, ActionState, ChannelName, DeadId, DeadLetter, Entry, EntryBody, InteractionId, Seq, Task, TaskId, TaskState, Timestamp, shown,
};
use crate::store::{Store, StoreError, view};

use super::{Desk, Refusal};

/// Records read at once.
const PAGE: usize = 128;

/// Records that are put in order.
const SORTED_MAX: usize = 1000;

/// What a list may be narrowed by.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Narrow {
    /// One channel.
    channel: Option<String>,
    /// At most so many.
    limit: Option<usize>,
    /// Interactions: a kind.
    kind: Option<String>,
    /// Interactions: received at or after this moment, RFC 3339.
    since: Option<String>,
    /// Interactions: our own as well.
    #[serde(default)]
    own: bool,
    /// Tasks and actions: a state.
    state: Option<String>,
    /// Tasks: a team.
    team: Option<String>,
    /// Dead letters: the plugin at fault, by its name in the configuration.
    plugin: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Narrow {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let read = Query::<Self>::from_request_parts(parts, state).await;
        let wrong = |error: QueryRejection| Refusal::bad_request(error.body_text(), "/api/v1/openapi.json names what a list may be narrowed by");
        read.map(|Query(narrow)| narrow).map_err(wrong)
    }
}

impl Narrow {
    /// Refuses what an order or a list does not know: it would do, or show, more than was meant.
    pub(super) fn has_only(&self, keys: &[&str]) -> Result<(), Refusal> {
        let given = [
            ("channel", self.channel.is_some()),
            ("limit", self.limit.is_some()),
            ("kind", self.kind.is_some()),
            ("since", self.since.is_some()),
            ("own", self.own),
            ("state", self.state.is_some()),
            ("team", self.team.is_some()),
            ("plugin", self.plugin.is_some()),
        ];
        match given.iter().find(|(key, is_given)| *is_given && !keys.contains(key)) {
            Some((key, _)) => Err(Refusal::bad_request(format!("`{key}` is not for this"), format!("it knows: {}", keys.join(", ")))),
            None => Ok(()),
        }
    }

    pub(super) fn channel(&self) -> Option<&str> {
        self.channel.as_deref()
    }

    /// Refuses a plugin of which there can be no dead letter.
    pub(super) async fn knows_plugin(&self, desk: &Desk) -> Result<(), Refusal> {
        let (Some(plugin), sections) = (&self.plugin, desk.sections.load()) else { return Ok(()) };
        if sections.names().any(|known| known == plugin) {
            return Ok(());
        }
        // Those of a section that is gone by now may be left.
        let any = Self { plugin: self.plugin.clone(), ..Self::default() };
        if is_any(desk, Of::Dead(any)).await? { Ok(()) } else { Err(Refusal::no_such_plugin(plugin, sections.names())) }
    }

    /// Refuses a team that has no task and can get none.
    async fn knows_team(&self, desk: &Desk) -> Result<(), Refusal> {
        let (sections, team) = (desk.sections.load(), self.team.clone());
        let teams: Vec<&str> = sections.teams.iter().map(String::as_str).collect();
        let known = Self::known("team", self.team.as_ref(), &teams);
        // The tasks of one that is gone by now stay its own.
        if known.is_err() && is_any(desk, Of::Tasks { state: None, team }).await? { Ok(()) } else { known }
    }

    /// Says whether it is one of those meant.
    pub(super) fn takes(&self, letter: &DeadLetter) -> bool {
        let is = |wanted: &Option<String>, word: Option<&str>| wanted.as_deref().is_none_or(|wanted| Some(wanted) == word);
        is(&self.channel, Some(letter.channel.as_str())) && is(&self.plugin, letter.plugin.as_deref())
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(usize::MAX)
    }

    /// Refuses a word that can match nothing.
    fn known(key: &str, word: Option<&String>, known: &[&str]) -> Result<(), Refusal> {
        match word {
            Some(word) if !known.contains(&word.as_str()) => {
                Err(Refusal::bad_request(format!("`{key}` is `{word}`, which there is not"), shown::there_are(known)))
            }
            _ => Ok(()),
        }
    }

    async fn channels(&self, desk: &Desk) -> Result<Vec<ChannelName>, Refusal> {
        match &self.channel {
            Some(name) => Ok(vec![desk.channel(name).await?]),
            None => desk.channels().await,
        }
    }

    pub(super) fn since(&self) -> Result<Timestamp, Refusal> {
        let Some(text) = &self.since else { return Ok(Timestamp::default()) };
        let day = || text.parse::<jiff::civil::Date>().ok().filter(|day| day.to_string() == *text);
        let of_day = || jiff::tz::TimeZone::UTC.to_timestamp(day()?.at(0, 0, 0, 0)).ok();
        let moment = text.parse().ok().or_else(of_day).ok_or_else(|| {
            Refusal::bad_request(format!("`since` is no time: `{text}`"), "write one like 2026-11-24T12:00:00Z, or a day like 2026-11-24")
        })?;
        Ok(Timestamp(u64::try_from(moment.as_millisecond()).unwrap_or(0)))
    }
}

/// Newest first over all channels.
pub(super) async fn interactions(State(desk): State<Arc<Desk>>, narrow: Narrow) -> Result<Response, Refusal> {
    narrow.has_only(&["channel", "limit", "kind", "since", "own"])?;
    let (channels, since) = (narrow.channels(&desk).await?, narrow.since()?);
    let store = Arc::clone(&desk.journal.store);
    let heads = channels.into_iter().map(Head::new).collect();
    let merge = Merge { store, heads, since, own: narrow.own, kind: narrow.kind };
    Ok(lines(stream::unfold(merge, Merge::next), narrow.limit))
}

/// The logs of several channels, read backwards and merged by time.
struct Merge {
    store: Arc<dyn Store>,
    heads: Vec<Head>,
    since: Timestamp,
    own: bool,
    kind: Option<String>,
}

struct Head {
    channel: ChannelName,
    before: Seq,
    read: VecDeque<Arc<Entry>>,
    is_done: bool,
}

impl Head {
    fn new(channel: ChannelName) -> Self {
        Self { channel, before: Seq(u64::MAX), read: VecDeque::new(), is_done: false }
    }

    async fn fill(&mut self, store: &dyn Store, merge: &Wanted<'_>) -> Result<(), StoreError> {
        while self.read.is_empty() && !self.is_done {
            let entries = store.read_log_back(&self.channel, self.before, PAGE).await?;
            let oldest = entries.last().map(|entry| (entry.seq, entry.at));
            self.is_done = oldest.is_none_or(|(seq, at)| seq.0 <= 1 || at < merge.since);
            self.before = oldest.map_or(Seq(0), |(seq, _)| seq);
            self.read.extend(entries.into_iter().filter(|entry| merge.takes(entry)));
        }
        Ok(())
    }
}

struct Wanted<'a> {
    since: Timestamp,
    own: bool,
    kind: Option<&'a str>,
}

impl Wanted<'_> {
    fn takes(&self, entry: &Entry) -> bool {
        let EntryBody::Arrived(content) = &entry.new.body else { return false };
        entry.at >= self.since && (self.own || !content.is_ours()) && self.kind.is_none_or(|kind| kind == content.kind)
    }
}

impl Merge {
    async fn next(mut self) -> Option<(Result<Json, StoreError>, Self)> {
        loop {
            match self.newest().await {
                Ok(None) => return None,
                Ok(Some((channel, id))) => match view::interaction(self.store.as_ref(), &channel, id).await {
                    Ok(Some(found)) => return Some((Ok(found.json()), self)),
                    Ok(None) => {}
                    Err(failure) => return Some((Err(failure), self)),
                },
                Err(failure) => return Some((Err(failure), self)),
            }
        }
    }

    async fn newest(&mut self) -> Result<Option<(ChannelName, InteractionId)>, StoreError> {
        let wanted = Wanted { since: self.since, own: self.own, kind: self.kind.as_deref() };
        for head in &mut self.heads {
            head.fill(self.store.as_ref(), &wanted).await?;
        }
        let newest = self.heads.iter_mut().filter(|head| !head.read.is_empty()).max_by_key(|head| head.read.front().map(|entry| entry.at));
        let Some(head) = newest else { return Ok(None) };
        let entry = head.read.pop_front();
        Ok(entry.and_then(|entry| entry.new.interaction).map(|id| (head.channel.clone(), id)))
    }
}

/// What is open first, by deadline, where so many are asked for; all of them come channel by channel.
pub(super) async fn tasks(State(desk): State<Arc<Desk>>, narrow: Narrow) -> Result<Response, Refusal> {
    Narrow::known("state", narrow.state.as_ref(), &TaskState::ALL.map(TaskState::word))?;
    narrow.has_only(&["channel", "limit", "state", "team"])?;
    narrow.knows_team(&desk).await?;
    let channels = narrow.channels(&desk).await?;
    let (state, team) = (narrow.state.clone(), narrow.team.clone());
    Pages::new(&desk, channels, Of::Tasks { state, team }).listed(narrow.limit).await
}

/// As [`rank`] has them where so many are asked for; all of them come channel by channel.
pub(super) async fn actions(State(desk): State<Arc<Desk>>, narrow: Narrow) -> Result<Response, Refusal> {
    Narrow::known("state", narrow.state.as_ref(), &ActionState::ALL.map(ActionState::word))?;
    narrow.has_only(&["channel", "limit", "state"])?;
    let channels = narrow.channels(&desk).await?;
    let of = Of::Actions { state: narrow.state.clone() };
    Pages::new(&desk, channels, of).listed(narrow.limit).await
}

/// The newest first where so many are asked for; all of them come channel by channel.
pub(super) async fn dead(State(desk): State<Arc<Desk>>, narrow: Narrow) -> Result<Response, Refusal> {
    narrow.has_only(&["channel", "limit", "plugin"])?;
    narrow.knows_plugin(&desk).await?;
    let (channels, limit) = (narrow.channels(&desk).await?, narrow.limit);
    Pages::new(&desk, channels, Of::Dead(narrow)).listed(limit).await
}

/// Says whether there is one, on any channel.
async fn is_any(desk: &Desk, of: Of) -> Result<bool, Refusal> {
    let first = pin!(Pages::new(desk, desk.channels().await?, of).stream()).next().await;
    Ok(first.transpose()?.is_some())
}

/// Of what is put in order the lowest comes first.
type Rank = (u8, u64, u64);

/// What needs a person, then what is under way, the oldest first; what is settled, the newest first.
fn rank(action: &Action) -> Rank {
    use ActionState::{AwaitingApproval, Claimed, Dead, Human, Pending, Reconciling, Retry, Unknown};
    match action.state {
        AwaitingApproval | Human | Dead => (0, action.created.0, 0),
        Pending | Claimed | Retry | Unknown | Reconciling => (1, action.created.0, 0),
        _ => (2, u64::MAX - action.created.0, 0),
    }
}

/// Pages of one kind of record, channel after channel.
struct Pages {
    store: Arc<dyn Store>,
    channels: VecDeque<ChannelName>,
    after: After,
    of: Of,
}

enum Of {
    Tasks { state: Option<String>, team: Option<String> },
    Actions { state: Option<String> },
    Dead(Narrow),
}

enum After {
    Start,
    Task(InteractionId, TaskId),
    Action(InteractionId, ActionId),
    Dead(DeadId),
}

impl Pages {
    fn new(desk: &Desk, channels: Vec<ChannelName>, of: Of) -> Self {
        Self { store: Arc::clone(&desk.journal.store), channels: channels.into(), after: After::Start, of }
    }

    fn stream(self) -> impl Stream<Item = Result<Json, StoreError>> {
        stream::unfold(self, Self::next).flat_map(|page| {
            let items: Vec<Result<Json, StoreError>> = match page {
                Ok(items) => items.into_iter().map(|(_, item)| Ok(item)).collect(),
                Err(failure) => vec![Err(failure)],
            };
            stream::iter(items)
        })
    }

    /// In order where so many are asked for.
    async fn listed(self, limit: Option<usize>) -> Result<Response, Refusal> {
        match limit.filter(|limit| *limit <= SORTED_MAX) {
            Some(limit) => Ok(all_lines(self.first(limit).await?)),
            None => Ok(lines(self.stream(), limit)),
        }
    }

    async fn first(self, limit: usize) -> Result<Vec<Json>, StoreError> {
        let (mut pages, mut first) = (self, Vec::new());
        while let Some((page, rest)) = pages.next().await {
            first.extend(page?);
            first.sort_by_key(|(rank, _)| *rank);
            first.truncate(limit);
            pages = rest;
        }
        Ok(first.into_iter().map(|(_, item)| item).collect())
    }

    async fn next(mut self) -> Option<(Result<Vec<(Rank, Json)>, StoreError>, Self)> {
        let channel = self.channels.front().cloned()?;
        match self.page(&channel).await {
            Ok((n_read, items)) => {
                if n_read < PAGE {
                    self.channels.pop_front();
                    self.after = After::Start;
                }
                Some((Ok(items), self))
            }
            Err(failure) => {
                self.channels.clear();
                Some((Err(failure), self))
            }
        }
    }

    /// How many were read, and those of them that are wanted.
    async fn page(&mut self, channel: &ChannelName) -> Result<(usize, Vec<(Rank, Json)>), StoreError> {
        let is = |wanted: &Option<String>, word: &str| wanted.as_deref().is_none_or(|wanted| wanted == word);
        match &self.of {
            Of::Tasks { state, team } => {
                let after = if let After::Task(about, id) = self.after { Some((about, id)) } else { None };
                let read = self.store.tasks(channel, after, PAGE).await?;
                self.after = read.last().map_or(After::Start, |task| After::Task(task.interaction, task.id));
                let wanted = read.iter().filter(|task| is(state, task.state.word()) && is(team, &task.assignment.team));
                let is_over = |task: &Task| !matches!(task.state, TaskState::Open | TaskState::Waiting);
                let ranked = wanted.map(|task| ((u8::from(is_over(task)), task.due.map_or(u64::MAX, |due| due.0), 0), shown::task(task)));
                Ok((read.len(), ranked.collect()))
            }
            Of::Actions { state } => {
                let after = if let After::Action(about, id) = self.after { Some((about, id)) } else { None };
                let read = self.store.actions(channel, after, PAGE).await?;
                self.after = read.last().map_or(After::Start, |action| After::Action(action.interaction, action.id));
                let wanted = read.iter().filter(|action| is(state, action.state.word()));
                let ranked = wanted.map(|action| (rank(action), shown::action(action)));
                Ok((read.len(), ranked.collect()))
            }
            Of::Dead(narrow) => {
                let after = if let After::Dead(id) = self.after { Some(id) } else { None };
                let read = self.store.dead_letters(channel, after, PAGE).await?;
                self.after = read.last().map_or(After::Start, |letter| After::Dead(letter.id));
                let wanted = read.iter().filter(|letter| narrow.takes(letter));
                let rank = |letter: &DeadLetter| (0, u64::MAX - letter.at.0, u64::MAX - letter.subject.place());
                Ok((read.len(), wanted.map(|letter| (rank(letter), shown::dead_letter(letter))).collect()))
            }
        }
    }
}

/// Few enough to be collected first.
pub(super) fn all_lines(items: Vec<Json>) -> Response {
    lines(stream::iter(items.into_iter().map(Ok)), None)
}

/// One JSON object a line.
fn lines(items: impl Stream<Item = Result<Json, StoreError>> + Send + 'static, limit: Option<usize>) -> Response {
    let body = items.take(limit.unwrap_or(usize::MAX)).map(|item| item.map(|json| Bytes::from(format!("{json}\n"))));
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response()
}
