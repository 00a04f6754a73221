//! Which events an entry makes, and what they say.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::model::shown::{self, InteractionView};
use crate::model::{ActionState, Annotated, ChannelName, Decision, Entry, EntryBody, Fact, InteractionId, Seq, Timestamp};
use crate::stage::Journal;
use crate::store::{StoreError, view};

/// Every event there is.
pub const EVENTS: [&str; 9] = [
    "interaction.received",
    "interaction.edited",
    "interaction.gone",
    "task.opened",
    "task.changed",
    "task.done",
    "task.escalated",
    "action.sent",
    "action.failed",
];

/// One thing to tell.
#[derive(Debug, Clone)]
pub struct Event {
    /// Derived from channel, sequence, event, rule and action key: a retry or a redo has the same.
    pub id: String,
    /// One of [`EVENTS`].
    pub name: &'static str,
    /// The entry it derives from.
    pub seq: Seq,
    /// When the entry was appended.
    pub at: Timestamp,
    /// What it is about: an interaction's, task's or action's id.
    pub subject: String,
    /// Events of one conversation belong together.
    pub partition: Option<String>,
    /// The body.
    pub data: Json,
}

/// The events of these consecutive entries that are wanted, in order.
pub(super) async fn of(
    journal: &Journal,
    channel: &ChannelName,
    entries: &[Arc<Entry>],
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Event>, StoreError> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(Vec::new()) };
    let mut decisions: HashMap<Seq, Vec<Decision>> = HashMap::new();
    for decision in journal.store.decisions(channel, first.seq, last.seq).await? {
        decisions.entry(decision.seq).or_default().push(decision);
    }
    let tells_arrivals = is_wanted("interaction.received");
    let said = if tells_arrivals { journal.store.annotated(channel, first.seq, last.seq).await? } else { Vec::new() };
    let mut said: HashMap<Seq, Annotated> = said.into_iter().collect();
    let mut events = Vec::new();
    for entry in entries {
        let Some(interaction) = entry.new.interaction else { continue };
        let decided = decisions.remove(&entry.seq).unwrap_or_default();
        let teller = Teller { journal, channel, entry, interaction };
        let names: Vec<(&'static str, Option<&Decision>)> = teller.names(&decided).into_iter().filter(|(name, _)| is_wanted(name)).collect();
        if names.is_empty() {
            continue;
        }
        let view = teller.view(&decided, said.remove(&entry.seq)).await?;
        events.extend(names.into_iter().filter_map(|(name, decision)| teller.event(name, decision, view.as_ref())));
    }
    Ok(events)
}

struct Teller<'a> {
    journal: &'a Journal,
    channel: &'a ChannelName,
    entry: &'a Arc<Entry>,
    interaction: InteractionId,
}

impl Teller<'_> {
    fn names<'d>(&self, decided: &'d [Decision]) -> Vec<(&'static str, Option<&'d Decision>)> {
        let mut names: Vec<(&'static str, Option<&Decision>)> = Vec::new();
        match &self.entry.new.body {
            EntryBody::Arrived(content) if !content.is_ours() => names.push(("interaction.received", None)),
            EntryBody::Edited(_) => names.push(("interaction.edited", None)),
            EntryBody::Gone => names.push(("interaction.gone", None)),
            EntryBody::Fact(Fact::TaskEscalated { .. }) => names.push(("task.escalated", None)),
            EntryBody::Fact(Fact::TaskOverdue { .. }) => names.push(("task.changed", None)),
            EntryBody::Fact(Fact::TaskClosed { .. }) => names.push(("task.done", None)),
            EntryBody::Fact(Fact::ActionSettled { state: ActionState::Sent, .. }) => names.push(("action.sent", None)),
            EntryBody::Fact(Fact::ActionSettled { .. }) => names.push(("action.failed", None)),
            _ => {}
        }
        let assigned = decided.iter().filter(|d| d.actions.iter().any(|a| a.kind == "assign"));
        let task = if matches!(self.entry.new.body, EntryBody::Arrived(_)) { "task.opened" } else { "task.changed" };
        names.extend(assigned.map(|decision| (task, Some(decision))));
        names
    }

    /// Everything known of the interaction; for a plain arrival what this batch already read is enough.
    async fn view(&self, decided: &[Decision], said: Option<Annotated>) -> Result<Option<InteractionView>, StoreError> {
        let is_plain = matches!(self.entry.new.body, EntryBody::Arrived(_)) && decided.iter().all(|d| d.actions.is_empty());
        if !is_plain {
            return view::interaction(self.journal.store.as_ref(), self.channel, self.interaction).await;
        }
        Ok(Some(InteractionView {
            channel: self.channel.clone(),
            id: self.interaction,
            entry: Arc::clone(self.entry),
            received: self.entry.at,
            gone: None,
            annotated: said.unwrap_or_default(),
            decisions: decided.to_vec(),
            actions: Vec::new(),
            tasks: Vec::new(),
        }))
    }

    fn event(&self, name: &'static str, decision: Option<&Decision>, view: Option<&InteractionView>) -> Option<Event> {
        let rule = decision.map_or("", |d| d.rule.as_str());
        let (subject, data) = match (&self.entry.new.body, decision) {
            (_, Some(decision)) => {
                let task = view?.tasks.iter().find(|task| task.rule == decision.rule)?;
                (task.id.to_string(), json!({ "task": shown::task(task), "interaction": view?.json() }))
            }
            (EntryBody::Fact(Fact::TaskEscalated { task, .. } | Fact::TaskOverdue { task } | Fact::TaskClosed { task, .. }), None) => {
                let task = view?.tasks.iter().find(|t| t.id == *task)?;
                (task.id.to_string(), json!({ "task": shown::task(task) }))
            }
            (EntryBody::Fact(Fact::ActionSettled { action, .. }), None) => {
                let action = view?.actions.iter().find(|a| a.id == *action)?;
                (action.id.to_string(), json!({ "action": shown::action(action) }))
            }
            (EntryBody::Gone, None) => (
                self.interaction.to_string(),
                json!({ "interaction": { "id": self.interaction.to_string(), "gone_at": shown::rfc3339(self.entry.at) } }),
            ),
            _ => (self.interaction.to_string(), json!({ "interaction": view?.json() })),
        };
        Some(Event {
            id: self.journal.store.id_key().event(self.channel, self.entry.seq, name, rule),
            name,
            seq: self.entry.seq,
            at: self.entry.at,
            subject,
            partition: self.entry.new.conversation.map(|c| c.to_string()),
            data,
        })
    }
}
