//! Single things: status, an interaction with its story, a task, an action, a dead letter.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, Response};
use serde_json::{Value as Json, json};

use crate::egress::{Budget, Spent};
use crate::model::{
    Action, ActionId, ChannelName, Count, DeadId, DeadLetter, DeadSubject, EntryBody, Fact, InteractionId, RawItem, Task, TaskId, Timestamp, shown,
};
use crate::store::{ChannelRecord, OFF, Reader, Resolved, view};
use crate::telemetry::chain;

use super::lists::{Narrow, all_lines};
use super::{Desk, Refusal, Section};

/// How far back the story of one interaction is told.
const STORY_MAX: usize = 64;
/// Dead letters looked through for one id, a page.
const PAGE: usize = 256;
/// Events of one sink that wait to be told again: more are only said to be more.
pub const REFUSED_MAX: usize = 1001;

type Found = Result<Answer<Json>, Refusal>;

/// The host in one object.
pub(super) async fn status(State(desk): State<Arc<Desk>>) -> Found {
    let mut channels = Vec::new();
    for name in desk.channels().await? {
        channels.push(channel_json(&desk, &name).await?);
    }
    let sections = desk.sections.load();
    let plugin = |section: &Section| {
        let (build, digest) = (build_json(&desk, section), section.digest.map(|digest| digest.to_string()));
        json!({ "name": section.name, "plugin": section.plugin, "digest": digest, "build": build })
    };
    let mut sinks = Vec::new();
    for sink in &sections.sinks {
        sinks.push(sink_json(&desk, sink).await?);
    }
    Ok(Answer(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "running": desk.poll.is_some(),
        "refused": desk.refused.load().as_deref(),
        "store": desk.journal.store.health().await.err().map(|failure| chain(&failure).to_string()),
        "channels": channels,
        "analyzers": sections.analyzers.iter().map(plugin).collect::<Vec<_>>(),
        "rules": sections.rules.iter().map(plugin).collect::<Vec<_>>(),
        "teams": sections.teams,
        "sinks": sinks,
    })))
}

/// What runs under a section's name; null where no host runs.
fn build_json(desk: &Desk, section: &Section) -> Json {
    let (Some(digest), Some(generation)) = (section.digest, section.generation.upgrade()) else { return Json::Null };
    let manifest = generation.manifest();
    let is_swapped = desk.builds.record(&section.name).is_ok_and(|record| record.is_swapped(digest));
    json!({ "plugin": manifest.name, "version": manifest.version, "swapped": is_swapped })
}

/// What a sink was not told yet, over all channels that are enabled.
async fn sink_json(desk: &Desk, sink: &str) -> Result<Json, Refusal> {
    let (mut n_behind, mut n_refused) = (0, 0);
    for section in &desk.sections.load().channels {
        let channel = ChannelName::from(section.name.as_str());
        let record = desk.journal.store.channel(&channel).await?;
        n_behind += record.last.0.saturating_sub(record.position(&Reader::Sink(sink.to_owned())));
        let left = REFUSED_MAX - n_refused;
        n_refused += desk.journal.store.sink_retries_due(&channel, sink, Timestamp(u64::MAX), left).await?.len();
    }
    Ok(json!({ "name": sink, "behind": n_behind, "refused": n_refused }))
}

/// By name.
pub(super) async fn channels(State(desk): State<Arc<Desk>>, narrow: Narrow) -> Result<Response, Refusal> {
    narrow.has_only(&["limit"])?;
    let mut channels = Vec::new();
    for name in desk.channels().await?.into_iter().take(narrow.limit()) {
        channels.push(channel_json(&desk, &name).await?);
    }
    Ok(all_lines(channels))
}

async fn channel_json(desk: &Desk, name: &ChannelName) -> Result<Json, Refusal> {
    let record = desk.journal.store.channel(name).await?;
    let sections = desk.sections.load();
    let section = sections.channels.iter().find(|section| section.name == name.as_str());
    Ok(json!({
        "name": name.as_str(),
        "plugin": section.map(|section| section.plugin.as_str()),
        "digest": section.and_then(|section| section.digest).map(|digest| digest.to_string()),
        "build": section.map(|section| build_json(desk, section)),
        "hook": section.and_then(|section| section.hook.as_deref()),
        "state": state_of(&record, section),
        "reason": record.status.as_ref().and_then(|status| status.reason.as_deref()),
        "since": record.status.as_ref().map(|status| shown::rfc3339(status.since)),
        "budget": section.and_then(|section| section.budget.as_ref()).map(|(budget, dir)| budget_json(budget, dir, name, desk.journal.clock.now())),
        "entries": record.last.0,
        "unknown": counts_json("kind", &record.tally.unknown),
        "gaps": {
            "filled": record.tally.filled.map(|count| json!({ "times": count.times, "last_at": shown::rfc3339(count.last) })),
            "lost": counts_json("reason", &record.tally.lost),
        },
        "media": { "stored": record.media.stored, "failed": record.media.failed, "bytes": record.media.bytes },
        "behind": behind(&record, &sections.sinks),
    }))
}

/// The state that a channel is in, for all surfaces. What was removed is in none that it was left in; what only takes webhooks has nobody to
/// wait for.
pub(super) fn state_of<'r>(record: &'r ChannelRecord, section: Option<&Section>) -> &'r str {
    let Some(section) = section else { return "removed" };
    match &record.status {
        Some(status) => status.state.as_str(),
        None if section.generation.upgrade().is_some_and(|running| !running.manifest().polls()) => "connected",
        None => "waiting",
    }
}

/// Counted since ever; `what` names the words.
fn counts_json(what: &str, counts: &BTreeMap<String, Count>) -> Vec<Json> {
    counts.iter().map(|(word, count)| json!({ what: word, "times": count.times, "last_at": shown::rfc3339(count.last) })).collect()
}

/// What was spent today of what; with `resumes_at` once nothing more is left of it.
fn budget_json(budget: &Budget, dir: &FilePath, channel: &ChannelName, now: Timestamp) -> Json {
    let spent = Spent::read(dir, channel.as_str(), now);
    let of = |spent: Json, of: Json| if of.is_null() { Json::Null } else { json!({ "spent": spent, "of": of }) };
    json!({
        "calls": of(json!(spent.calls), json!(budget.calls)),
        "units": of(json!(spent.units), json!(budget.units)),
        "money": of(json!(spent.money), json!(budget.money)),
        "resumes_at": (budget.share(&spent) >= 1.0).then(|| shown::rfc3339(Timestamp(spent.ends))),
    })
}

/// Per reader, how many records it has not done yet.
pub(super) fn behind(record: &ChannelRecord, sinks: &[String]) -> BTreeMap<String, u64> {
    let mut behind = BTreeMap::from([("intake".to_owned(), record.raw_last.saturating_sub(record.position(&Reader::Raw)))]);
    let mut note = |name: String, reader: &Reader| behind.insert(name, record.last.0.saturating_sub(record.position(reader)));
    note("analysis".to_owned(), &Reader::Analysis);
    note("rules".to_owned(), &Reader::Rules);
    if record.positions.get(&Reader::Media).is_some_and(|position| *position != OFF) {
        note("media".to_owned(), &Reader::Media);
    }
    for (reader, position) in &record.positions {
        if let Some(analyzer) = reader.asks_again().filter(|_| *position != OFF) {
            note(format!("rerun:{analyzer}"), reader);
        }
    }
    for sink in sinks {
        note(format!("sink:{sink}"), &Reader::Sink(sink.clone()));
    }
    behind
}

/// With annotations and decisions.
pub(super) async fn interaction(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Found {
    let (_, found) = find_interaction(&desk, &id).await?;
    Ok(Answer(found.json()))
}

pub(super) async fn find_interaction(desk: &Desk, id: &str) -> Result<(ChannelName, shown::InteractionView), Refusal> {
    let id: InteractionId = parse(id)?;
    for channel in desk.journal.store.channels().await? {
        if let Some(found) = view::interaction(desk.journal.store.as_ref(), &channel, id).await? {
            return Ok((channel, found));
        }
    }
    Err(Refusal::not_found(format!("there is no interaction `{id}`"), "`membrana interaction list` shows ids"))
}

/// The interaction, its actions and tasks, and everything that happened to it, oldest first.
pub(super) async fn explain(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Found {
    let (channel, found) = find_interaction(&desk, &id).await?;
    let store = &desk.journal.store;
    let known = store.resolve(&channel, &[found.id]).await?;
    let mut next = known.iter().find_map(|resolved| match resolved {
        Resolved::Interaction(known) => Some(known.last),
        _ => None,
    });
    let mut story = Vec::new();
    while let (Some(seq), true) = (next, story.len() < STORY_MAX) {
        let Some(entry) = store.read_log(&channel, seq, 1).await?.into_iter().next().filter(|entry| entry.seq == seq) else { break };
        story.push(json!({ "sequence": seq.0, "at": shown::rfc3339(entry.at), "what": what(&entry.new.body) }));
        next = entry.previous;
    }
    story.reverse();
    Ok(Answer(json!({
        "interaction": found.json(),
        "story": story,
        "tasks": found.tasks.iter().map(shown::task).collect::<Vec<_>>(),
        "actions": found.actions.iter().map(shown::action).collect::<Vec<_>>(),
    })))
}

/// In words.
fn what(body: &EntryBody) -> String {
    match body {
        EntryBody::Fact(Fact::TaskEscalated { step, .. }) => format!("task escalated, step {}", step + 1),
        EntryBody::Fact(Fact::TaskOverdue { .. }) => "task overdue".to_owned(),
        EntryBody::Fact(Fact::TaskClosed { by, .. }) => format!("task closed by {by}"),
        EntryBody::Fact(Fact::ActionSettled { state, .. }) => format!("reply {}", state.word()),
        EntryBody::Fact(Fact::ActionApproved { by, .. }) => format!("reply approved by {by}"),
        EntryBody::Fact(Fact::ExchangeMoved { .. }) => "somebody spoke while a reply waited: decided again".to_owned(),
        EntryBody::Fact(Fact::AnnotationLate { analyzer }) => format!("late answer of `{analyzer}`: decided again"),
        EntryBody::Fact(Fact::AskedAgain) => "an admin asked the rules again".to_owned(),
        other => shown::entry_word(other).to_owned(),
    }
}

/// One task.
pub(super) async fn task(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Found {
    Ok(Answer(shown::task(&find_task(&desk, &id).await?)))
}

pub(super) async fn find_task(desk: &Desk, id: &str) -> Result<Task, Refusal> {
    let id: TaskId = parse(id)?;
    for channel in desk.journal.store.channels().await? {
        if let Some(task) = desk.journal.store.task(&channel, id).await? {
            return Ok(task);
        }
    }
    Err(Refusal::not_found(format!("there is no task `{id}`"), "`membrana task list` shows ids"))
}

/// One action of the outbox.
pub(super) async fn action(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Found {
    Ok(Answer(shown::action(&find_action(&desk, &id).await?)))
}

pub(super) async fn find_action(desk: &Desk, id: &str) -> Result<Action, Refusal> {
    let id: ActionId = parse(id)?;
    for channel in desk.journal.store.channels().await? {
        if let Some(action) = desk.journal.store.action(&channel, id).await? {
            return Ok(action);
        }
    }
    Err(Refusal::not_found(format!("there is no action `{id}`"), "`membrana outbox list` shows ids"))
}

/// One dead letter, with what was received where it is about that and that is still kept.
pub(super) async fn dead(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Found {
    let letter = find_dead(&desk, &id).await?;
    let mut told = shown::dead_letter(&letter);
    if let (DeadSubject::Raw(place), Some(told)) = (&letter.subject, told.as_object_mut()) {
        let raw = find_raw(&desk, &letter, *place).await.ok();
        told.insert("received".to_owned(), raw.as_ref().map_or(Json::Null, shown::raw_item));
    }
    Ok(Answer(told))
}

/// What a dead letter is about, as it was received. Errors: it is kept no longer.
pub(super) async fn find_raw(desk: &Desk, letter: &DeadLetter, place: u64) -> Result<RawItem, Refusal> {
    let raws = desk.journal.store.read_raw(&letter.channel, place, 1, 0).await?;
    raws.into_iter().next().filter(|raw| raw.seq == place).ok_or_else(|| gone(letter))
}

pub(super) fn gone(letter: &DeadLetter) -> Refusal {
    Refusal::not_found(format!("what dead letter `{}` is about is no longer kept", letter.id), "raw items are kept for `raw_keep` of [host]")
}

pub(super) async fn find_dead(desk: &Desk, id: &str) -> Result<DeadLetter, Refusal> {
    let id: DeadId = parse(id)?;
    for channel in desk.journal.store.channels().await? {
        let mut after = None;
        loop {
            let page = desk.journal.store.dead_letters(&channel, after, PAGE).await?;
            let (is_last, next) = (page.len() < PAGE, page.last().map(|letter| letter.id));
            if let Some(letter) = page.into_iter().find(|letter| letter.id == id) {
                return Ok(letter);
            }
            if is_last {
                break;
            }
            after = next;
        }
    }
    Err(Refusal::not_found(format!("there is no dead letter `{id}`"), "`membrana dead list` shows ids"))
}

/// Reads the whole store once, and the audit log.
pub(super) async fn verify(State(desk): State<Arc<Desk>>) -> Found {
    let mut found = desk.journal.store.verify().await?;
    let unreadable =
        |error: std::io::Error| Refusal::unavailable(format!("the audit log cannot be read: {error}"), "look at `audit.log` in the data folder");
    let (n_audited, broken) = desk.audit.verify().await.map_err(unreadable)?;
    found.damage.append(&mut found.lost);
    found.damage.extend(broken);
    Ok(Answer(json!({
        "entries": found.n_entries,
        "records": found.n_records,
        "audit": n_audited,
        "damage": found.damage,
        "sound": found.damage.is_empty(),
    })))
}

/// The process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// The store answers, so that webhooks can be taken.
pub(super) async fn readyz(State(desk): State<Arc<Desk>>) -> Result<&'static str, (StatusCode, String)> {
    match desk.journal.store.health().await {
        Ok(()) => Ok("ready\n"),
        Err(failure) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", chain(&failure)))),
    }
}

/// Where to go from here.
pub(super) async fn front() -> Html<&'static str> {
    Html(include_str!("front.html"))
}

fn parse<T: std::str::FromStr>(id: &str) -> Result<T, Refusal>
where
    T::Err: std::fmt::Display,
{
    id.parse().map_err(|error: T::Err| Refusal::bad_request(error.to_string(), "the lists show ids"))
}
