//! What an admin orders: each order is one commit, compared and set against what the admin saw.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::StatusCode;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::time::timeout;

use crate::model::{
    Action, ActionState, ChannelName, DeadLetter, DeadSubject, Entry, EntryBody, Fact, InteractionId, NewEntry, NewRaw, Task, TaskState, shown,
};
use crate::rules::timers_of;
use crate::store::{ChannelStatus, Commit, Reader, SinkRetry, view};

use super::lists::Narrow;
use super::read::{find_action, find_dead, find_raw, find_task, gone};
use super::{Desk, Polled, Refusal, openapi};

/// Who is recorded where the caller does not say.
const SOMEBODY: &str = "admin";

/// Dead letters read at once.
const PAGE: usize = 256;
/// For the body of an order.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(10);

type Done = Result<Answer<Json>, Refusal>;

/// Body of an order; an empty body is one, too.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// The team that orders.
    by: Option<String>,
    /// Another text than the one that waits, or that the network did not take.
    text: Option<String>,
    /// Of the text that was read: another one is not approved.
    fingerprint: Option<String>,
    /// Why.
    reason: Option<String>,
}

impl FromRequest<Arc<Desk>> for Order {
    type Rejection = Refusal;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Result<Self, Refusal> {
        let wrong = |error: String| Refusal::bad_request(format!("the body of the order: {error}"), "send {\"by\": \"TEAM\"} or nothing");
        let body = timeout(BODY_TIMEOUT, Bytes::from_request(request, desk)).await;
        let body = body.map_err(|_| wrong("it did not come in time".to_owned()))?.map_err(|rejection| wrong(rejection.body_text()))?;
        if body.is_empty() {
            return Ok(Self::default());
        }
        let order: Self = serde_json::from_slice(&body).map_err(|error| wrong(error.to_string()))?;
        order.check(&desk.sections.load().teams)?;
        Ok(order)
    }
}

impl Order {
    /// A team that does not exist, and a reply without words, are slips.
    fn check(&self, teams: &[String]) -> Result<(), Refusal> {
        if let Some(by) = self.by.as_ref().filter(|by| !teams.contains(by)) {
            return Err(Refusal::bad_request(
                format!("there is no team `{by}`"),
                shown::there_are(&teams.iter().map(String::as_str).collect::<Vec<_>>()),
            ));
        }
        if self.text.as_ref().is_some_and(|text| text.trim().is_empty()) {
            return Err(Refusal::bad_request("`text` is empty", "write the reply, leave `text` out, or reject the draft"));
        }
        Ok(())
    }

    /// Refuses what the order of this name in the API does not know: it would do something else than was meant.
    fn is_of(&self, name: &str) -> Result<(), Refusal> {
        let (keys, given) =
            (openapi::keys_of(name), [("by", &self.by), ("text", &self.text), ("fingerprint", &self.fingerprint), ("reason", &self.reason)]);
        match given.iter().find(|(key, value)| value.is_some() && !keys.contains(key)) {
            Some((key, _)) => Err(Refusal::bad_request(format!("`{key}` is not for this order"), format!("it knows: {}", keys.join(", ")))),
            None => Ok(()),
        }
    }

    fn by(&self) -> String {
        self.by.clone().unwrap_or_else(|| SOMEBODY.to_owned())
    }
}

/// Holds a channel: nothing is polled, understood or sent; webhooks are still made durable.
pub(super) async fn pause(State(desk): State<Arc<Desk>>, Path(name): Path<String>, order: Order) -> Done {
    order.is_of("pauseChannel")?;
    let reason = order.reason.clone().unwrap_or_else(|| format!("paused by {}", order.by()));
    set_state(&desk, &name, "paused", Some(reason)).await
}

/// Lets it go on from where it stood.
pub(super) async fn resume(State(desk): State<Arc<Desk>>, Path(name): Path<String>) -> Done {
    set_state(&desk, &name, "connected", None).await
}

fn not_enabled(name: &str) -> Refusal {
    Refusal::conflict(format!("channel `{name}` is not enabled"), "add its [[channel]] section and reload")
}

async fn set_state(desk: &Desk, name: &str, state: &str, reason: Option<String>) -> Done {
    let channel = desk.channel(name).await?;
    if desk.poll.is_some() && desk.sections.load().channels.iter().all(|section| section.name != name) {
        return Err(not_enabled(name));
    }
    let mut commit = desk.journal.begin(&channel);
    commit.status = Some(ChannelStatus { state: state.to_owned(), reason, since: commit.at });
    commit.is_order = true;
    desk.journal.commit(commit).await?;
    Ok(Answer(json!({ "name": name, "state": state })))
}

/// Asks the network now instead of at the next turn.
pub(super) async fn poll(State(desk): State<Arc<Desk>>, Path(name): Path<String>) -> Done {
    let channel = desk.channel(&name).await?;
    let status = desk.journal.store.channel(&channel).await?.status;
    if status.is_some_and(|status| status.state == "paused") {
        return Err(Refusal::conflict(format!("channel `{name}` is paused"), format!("membrana channel resume {name}")));
    }
    match &desk.poll {
        None => Err(Refusal::conflict("no host runs here", "start one with `membrana run`; it polls by itself")),
        Some(poll) => match poll(&channel) {
            Polled::Asked => Ok(Answer(json!({ "name": name, "polled": true }))),
            Polled::NotEnabled => Err(not_enabled(&name)),
            Polled::WebhookOnly => {
                Err(Refusal::conflict(format!("channel `{name}` is not polled: its network calls us"), format!("post to /hooks/{name}")))
            }
        },
    }
}

/// Closes a task.
pub(super) async fn close_task(State(desk): State<Arc<Desk>>, Path(id): Path<String>, order: Order) -> Done {
    order.is_of("closeTask")?;
    let task = find_task(&desk, &id).await?;
    if !matches!(task.state, TaskState::Open | TaskState::Waiting) {
        return Err(Refusal::conflict(format!("task `{id}` is {}", task.state.word()), "only open tasks can be closed"));
    }
    let mut commit = desk.journal.begin(&task.channel);
    commit.timers_gone.extend(timers_of(&task));
    let done = Task { state: TaskState::Done, revision: task.revision + 1, ..task };
    commit.entries.push(fact(&desk, &done.channel, done.interaction, Fact::TaskClosed { task: done.id, by: order.by() }).await?);
    commit.tasks.push(done.clone());
    desk.journal.commit(commit).await?;
    Ok(Answer(shown::task(&done)))
}

/// Lets a draft go out; by one of the reviewing teams where the rule names some.
pub(super) async fn approve(State(desk): State<Arc<Desk>>, Path(id): Path<String>, order: Order) -> Done {
    order.is_of("approveAction")?;
    let action = find_action(&desk, &id).await?;
    if action.state == ActionState::Human {
        has_its_text(&action, &order)?;
        return seen(&desk, action).await;
    }
    waits(&action)?;
    let by = reviewer(&desk, &action, &order, "approve")?;
    if order.fingerprint.as_ref().is_some_and(|read| *read != action.fingerprint()) {
        return Err(Refusal::conflict(format!("the text of action `{id}` is another by now"), "read it again, then approve"));
    }
    is_taken(&desk, &action, &order, "approve").await?;
    let mut commit = desk.journal.begin(&action.channel);
    let approved = action.approved(order.text, commit.at);
    commit.entries.push(NewEntry::about(&approved, Fact::ActionApproved { action: approved.id, by, fingerprint: approved.fingerprint() }));
    commit.actions.push(approved.clone());
    desk.journal.commit(commit).await?;
    Ok(Answer(shown::action(&approved)))
}

/// Who orders: one of the reviewing teams, where the rule names some. Those that a running host knows no more bind nobody; without a host a
/// slip in the file might be why.
fn reviewer(desk: &Desk, action: &Action, order: &Order, command: &str) -> Result<String, Refusal> {
    let (by, sections, is_running) = (order.by(), desk.sections.load(), desk.poll.is_some());
    let teams: Vec<&str> = action.review.iter().filter(|team| !is_running || sections.teams.contains(team)).map(String::as_str).collect();
    let text = if order.text.is_some() { " --text '…'" } else { "" };
    match teams.first() {
        Some(first) if !teams.contains(&by.as_str()) => Err(Refusal::conflict(
            format!("this reply is to be reviewed by `{}`, not by `{by}`", teams.join("`, `")),
            format!("membrana outbox {command} {} --as {first}{text}", action.id),
        )),
        _ => Ok(by),
    }
}

/// What the network would surely refuse is refused here, to whom can change it. Without a host its terms are not known, and the outbox asks
/// for another text.
async fn is_taken(desk: &Desk, action: &Action, order: &Order, command: &str) -> Result<(), Refusal> {
    let name = action.channel.as_str();
    let section = desk.sections.load().channels.iter().find(|section| section.name == name).map(|section| section.generation.upgrade());
    if desk.poll.is_some() && section.is_none() {
        return Err(not_enabled(name));
    }
    let Some(plugin) = section.flatten() else { return Ok(()) };
    if plugin.manifest().send_class().is_none() {
        let message = format!("channel `{name}` carries no replies: its plugin is `{}`", plugin.manifest().name);
        return Err(Refusal::conflict(message, "answer in another way, and reject the draft"));
    }
    let about = view::interaction(desk.journal.store.as_ref(), &action.channel, action.interaction).await?;
    let Some(content) = about.as_ref().and_then(|about| about.entry.new.body.content()) else { return Ok(()) };
    let judged = plugin.reply_terms().judge(content, order.text.as_ref().unwrap_or(&action.text), false, desk.journal.clock.now());
    judged.map_err(|unfit| {
        let (id, by) = (action.id, order.by.as_ref().map(|by| format!(" --as {by}")).unwrap_or_default());
        let cure = match action.state {
            _ if unfit.is_of_text() => format!("membrana outbox {command} {id}{by} --text 'a shorter one'"),
            ActionState::AwaitingApproval => format!("membrana outbox reject {id}{by}, and answer in another way"),
            _ => "leave it as it is, and answer in another way".to_owned(),
        };
        Refusal::conflict(unfit.to_string(), cure)
    })
}

/// An uncertain one gets no other text.
fn has_its_text(action: &Action, order: &Order) -> Result<(), Refusal> {
    let cure = match action.state {
        ActionState::Human => "look on the network; then `outbox approve` says that it is there, and `reject` that it is not".to_owned(),
        ActionState::Dead if action.is_in_doubt() => format!("membrana outbox retry {} looks for it first", action.id),
        _ => return Ok(()),
    };
    if order.text.is_none() {
        return Ok(());
    }
    Err(Refusal::conflict(format!("action `{}` may be out there with the text that it has", action.id), cure))
}

/// A person saw an uncertain one on the network: it went out.
async fn seen(desk: &Desk, action: Action) -> Done {
    let mut commit = desk.journal.begin(&action.channel);
    let sent = Action { state: ActionState::Sent, revision: action.revision + 1, error: None, ..action };
    commit.replied.push((sent.exchange, sent.is_automatic));
    commit.entries.push(NewEntry::about(&sent, Fact::ActionSettled { action: sent.id, state: ActionState::Sent, native: None }));
    commit.actions.push(sent.clone());
    desk.journal.commit(commit).await?;
    Ok(Answer(shown::action(&sent)))
}

/// Keeps a draft from going out, or a reply that was not tried yet; or says of an uncertain one that it is settled without: its exchange
/// goes on.
pub(super) async fn reject(State(desk): State<Arc<Desk>>, Path(id): Path<String>, order: Order) -> Done {
    order.is_of("rejectAction")?;
    let action = find_action(&desk, &id).await?;
    // Whether an uncertain one is out there is nothing that is reviewed.
    let by = if action.state == ActionState::Human {
        order.by()
    } else {
        if action.state != ActionState::Pending {
            waits(&action)?;
        }
        reviewer(&desk, &action, &order, "reject")?
    };
    let mut commit = desk.journal.begin(&action.channel);
    let error = Some(order.reason.map_or_else(|| format!("rejected by {by}"), |reason| format!("rejected by {by}: {reason}")));
    let rejected = Action { state: ActionState::Rejected, revision: action.revision + 1, error, ..action };
    commit.entries.push(NewEntry::about(&rejected, Fact::ActionSettled { action: rejected.id, state: ActionState::Rejected, native: None }));
    commit.actions.push(rejected.clone());
    desk.journal.commit(commit).await?;
    Ok(Answer(shown::action(&rejected)))
}

fn waits(action: &Action) -> Result<(), Refusal> {
    if action.state == ActionState::AwaitingApproval {
        return Ok(());
    }
    Err(Refusal::conflict(
        format!("action `{}` is {}", action.id, action.state.word()),
        "only drafts that await approval, and `human` ones, can be approved or rejected; what was not tried yet can be rejected",
    ))
}

/// Sends again what a person looked at: dead, or uncertain and surely not out; with another text where the network did not take that one.
pub(super) async fn retry(State(desk): State<Arc<Desk>>, Path(id): Path<String>, order: Order) -> Done {
    order.is_of("retryAction")?;
    let mut action = find_action(&desk, &id).await?;
    may_be_tried_again(&action)?;
    let mut commit = desk.journal.begin(&action.channel);
    commit.dead_gone.push(desk.journal.store.id_key().dead(&action.channel, "outbox", &action.id.to_string()));
    has_its_text(&action, &order)?;
    if order.text.is_some() {
        let by = reviewer(&desk, &action, &order, "retry")?;
        is_taken(&desk, &action, &order, "retry").await?;
        action = Action { revision: action.revision, ..action.approved(order.text, commit.at) };
        commit.entries.push(NewEntry::about(&action, Fact::ActionApproved { action: action.id, by, fingerprint: action.fingerprint() }));
    }
    let again = tried_again(action, Wish::Ordered, &mut commit);
    desk.journal.commit(commit).await?;
    Ok(Answer(shown::action(&again)))
}

fn may_be_tried_again(action: &Action) -> Result<(), Refusal> {
    if matches!(action.state, ActionState::Dead | ActionState::Human | ActionState::Retry) {
        return Ok(());
    }
    Err(Refusal::conflict(
        format!("action `{}` is {}", action.id, action.state.word()),
        "only `dead`, `human` and `retry` actions can be tried again",
    ))
}

/// What was given up before a backup that was put in place is looked for first: it may have been tried again since, and gone out.
fn tried_again(action: Action, wish: Wish, commit: &mut Commit) -> Action {
    let is_looked_for = action.state == ActionState::Dead && action.is_in_doubt();
    let state = match wish {
        _ if is_looked_for => ActionState::Unknown,
        Wish::Ordered => ActionState::Retry,
        Wish::ByItself => ActionState::Pending,
    };
    let again = Action { state, attempts: 0, due: commit.at, revision: action.revision + 1, error: None, ..action };
    commit.actions.push(again.clone());
    again
}

/// Puts what was set aside back on its way; it becomes a dead letter again if it fails again.
pub(super) async fn redrive(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Done {
    let _turn = desk.redriving.lock().await;
    let letter = find_dead(&desk, &id).await?;
    redrive_one(&desk, Wish::Ordered, &letter).await?;
    Ok(Answer(json!({ "id": id, "redriven": true })))
}

/// As [`redrive`], of all letters that are meant.
pub(super) async fn redrive_some(State(desk): State<Arc<Desk>>, narrow: Narrow) -> Done {
    narrow.has_only(&["channel", "plugin"])?;
    narrow.knows_plugin(&desk).await?;
    if let Some(name) = narrow.channel() {
        desk.channel(name).await?;
    }
    let Redriven { n_redriven, n_left } = redrive_all(&desk, Wish::Ordered, |letter| narrow.takes(letter)).await?;
    Ok(Answer(json!({ "redriven": n_redriven, "left": n_left })))
}

/// What came of several letters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Redriven {
    /// Back on their way.
    pub n_redriven: usize,
    /// Left where they are: what they are about is no longer kept, or has no way any more, or somebody was faster.
    pub n_left: usize,
}

/// Who wants it redriven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Somebody who looked at it: what was decided stands.
    Ordered,
    /// The host itself, after a way back: replies are judged as if they had never been claimed, for much may have been said since.
    ByItself,
}

/// Puts all letters that this is true of back on their way; those that are written meanwhile are not meant.
pub async fn redrive_all(desk: &Desk, wish: Wish, is_wanted: impl Fn(&DeadLetter) -> bool) -> Result<Redriven, Refusal> {
    let _turn = desk.redriving.lock().await;
    let (store, mut done) = (&desk.journal.store, Redriven::default());
    for channel in store.channels().await? {
        // All of them before the first is driven: one that fails again at once is a new one.
        let (mut letters, mut after) = (Vec::new(), None);
        loop {
            let page = store.dead_letters(&channel, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            letters.extend(page.into_iter().filter(&is_wanted));
        }
        // In the order in which it came.
        letters.sort_by_key(|letter| letter.subject.place());
        for letter in &letters {
            match redrive_one(desk, wish, letter).await {
                Ok(()) => done.n_redriven += 1,
                Err(refusal) if matches!(refusal.status, StatusCode::NOT_FOUND | StatusCode::CONFLICT) => done.n_left += 1,
                Err(refusal) => return Err(refusal),
            }
        }
    }
    Ok(done)
}

async fn redrive_one(desk: &Desk, wish: Wish, letter: &DeadLetter) -> Result<(), Refusal> {
    has_a_way(desk, letter)?;
    let mut commit = desk.journal.begin(&letter.channel);
    commit.dead_gone.push(letter.id);
    match &letter.subject {
        DeadSubject::Raw(place) => commit.raws.push(raw_again(desk, letter, *place).await?),
        DeadSubject::Entry(seq) => {
            let entries = desk.journal.store.read_log(&letter.channel, *seq, 1).await?;
            let Some(entry) = entries.first().filter(|entry| entry.seq == *seq) else { return Err(gone(letter)) };
            match analyzer_of(letter) {
                Some(analyzer) => owed(desk, entry, analyzer, &mut commit).await?,
                None => commit.entries.push(NewEntry { body: EntryBody::Fact(Fact::AskedAgain), ..entry.new.clone() }),
            }
        }
        DeadSubject::Action(action) => {
            let action = find_action(desk, &action.to_string()).await?;
            may_be_tried_again(&action)?;
            tried_again(action, wish, &mut commit);
        }
        DeadSubject::Event { seq, event, id } => {
            let sink = sink_of(letter).unwrap_or_default().to_owned();
            let (due, first) = (commit.at, commit.at);
            commit.sink_retries.push(SinkRetry { sink, id: id.clone(), seq: *seq, event: event.clone(), attempts: 0, due, first });
        }
    }
    desk.journal.commit(commit).await?;
    Ok(())
}

/// The catch-up pass asks for what an analyzer owes. What it said meanwhile, when it was asked again by an order, the rules are told here.
async fn owed(desk: &Desk, entry: &Entry, analyzer: &str, commit: &mut Commit) -> Result<(), Refusal> {
    let (store, seq) = (desk.journal.store.as_ref(), entry.seq);
    let said = store.annotated(&commit.channel, seq, seq).await?;
    if said.iter().all(|(_, said)| said.missing.iter().any(|name| name == analyzer)) {
        let (record, reader) = (store.channel(&commit.channel).await?, Reader::CatchUp("missing".to_owned()));
        commit.positions.push((reader.clone(), record.position(&reader).min(seq.0.saturating_sub(1))));
        return Ok(());
    }
    let Some(about) = entry.new.interaction else { return Ok(()) };
    if view::is_missed(store, &commit.channel, about, analyzer).await? {
        let body = EntryBody::Fact(Fact::AnnotationLate { analyzer: analyzer.to_owned() });
        commit.entries.push(NewEntry { body, ..entry.new.clone() });
    }
    Ok(())
}

/// An event whose sink or channel the configuration names no more would be told to nobody, and an analyzer that it names no more is not asked.
fn has_a_way(desk: &Desk, letter: &DeadLetter) -> Result<(), Refusal> {
    let (sections, channel) = (desk.sections.load(), letter.channel.as_str());
    if let Some(analyzer) = analyzer_of(letter).filter(|analyzer| sections.analyzers.iter().all(|section| section.name != *analyzer)) {
        let cure = "add its [[analyzer]] section again and reload";
        return Err(Refusal::conflict(format!("analyzer `{analyzer}` is not there any more"), cure));
    }
    let Some(sink) = sink_of(letter) else { return Ok(()) };
    if sections.channels.iter().all(|section| section.name != channel) {
        return Err(not_enabled(channel));
    }
    if sections.sinks.iter().all(|known| known != sink) {
        return Err(Refusal::conflict(format!("sink `{sink}` is not there any more"), "add its [[sink]] section again and reload"));
    }
    Ok(())
}

fn analyzer_of(letter: &DeadLetter) -> Option<&str> {
    letter.plugin.as_deref().filter(|_| letter.stage == "analysis")
}

fn sink_of(letter: &DeadLetter) -> Option<&str> {
    letter.stage.strip_prefix("sink:")
}

/// The bytes once more, at the end of the raw log.
async fn raw_again(desk: &Desk, letter: &DeadLetter, place: u64) -> Result<NewRaw, Refusal> {
    let raw = find_raw(desk, letter, place).await?;
    let origin = raw.origin.again().ok_or_else(|| gone(letter))?;
    Ok(NewRaw { origin, body: raw.body, received: Some(raw.received), once: None })
}

/// A fact about an interaction, with whom and what thread it concerns.
async fn fact(desk: &Desk, channel: &ChannelName, interaction: InteractionId, fact: Fact) -> Result<NewEntry, Refusal> {
    let store = desk.journal.store.as_ref();
    let about = view::interaction(store, channel, interaction).await?;
    let new = about.as_ref().map(|view| &view.entry.new);
    Ok(NewEntry {
        interaction: Some(interaction),
        identity: new.and_then(|new| new.identity),
        conversation: new.and_then(|new| new.conversation),
        exchange: new.and_then(|new| new.exchange),
        is_backfill: false,
        body: EntryBody::Fact(fact),
    })
}
