//! Which events an entry makes, and what they say.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::model::shown::{self, InteractionView};
use crate::model::{ActionState, Annotated, ChannelName, Decision, Entry, EntryBody, Fact, InteractionId, Seq, Task, Timestamp};
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

/// Says whether this event tells what somebody said.
pub(super) fn tells_content(event: &str) -> bool {
    matches!(event, "interaction.received" | "interaction.edited")
}

/// One thing to tell.
#[derive(Debug, Clone)]
pub struct Event {
    /// Derived from channel, sequence, event, rule and the last restore: a retry or a redo has the same.
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
    let tells_tasks = is_wanted("task.opened") || is_wanted("task.changed");
    let said = if tells_arrivals { journal.store.annotated(channel, first.seq, last.seq).await? } else { Vec::new() };
    let mut said: HashMap<Seq, Annotated> = said.into_iter().collect();
    let mut events = Vec::new();
    for entry in entries {
        let Some(interaction) = entry.new.interaction else { continue };
        let decided = decisions.remove(&entry.seq).unwrap_or_default();
        let teller = Teller { journal, channel, entry, interaction };
        let name = teller.name().filter(|name| is_wanted(name));
        // A decision may have opened, changed or withdrawn a task; which, the tasks tell.
        let may_touch_tasks = !decided.is_empty() && (tells_tasks && (!teller.is_arrival() || decided.iter().any(assigns)));
        if name.is_none() && !may_touch_tasks {
            continue;
        }
        let Some(view) = teller.view(&decided, said.remove(&entry.seq)).await? else { continue };
        events.extend(name.and_then(|name| teller.event(name, None, &view)));
        if may_touch_tasks {
            let tasks = teller.tasks(&decided, &view).into_iter().filter(|(name, _)| is_wanted(name));
            events.extend(tasks.filter_map(|(name, task)| teller.event(name, Some(task), &view)));
        }
    }
    Ok(events)
}

fn assigns(decision: &Decision) -> bool {
    decision.actions.iter().any(|action| action.kind == "assign")
}

/// A rule may have opened another task about the same interaction since.
fn opens(decision: &Decision, task: &Task) -> bool {
    decision.actions.iter().any(|action| action.kind == "assign" && action.key == task.key)
}

struct Teller<'a> {
    journal: &'a Journal,
    channel: &'a ChannelName,
    entry: &'a Arc<Entry>,
    interaction: InteractionId,
}

impl Teller<'_> {
    fn is_arrival(&self) -> bool {
        matches!(self.entry.new.body, EntryBody::Arrived(_))
    }

    /// What the entry itself tells. An outcome that is uncertain, or that a person chose, is no failure.
    fn name(&self) -> Option<&'static str> {
        match &self.entry.new.body {
            EntryBody::Arrived(content) if !content.is_ours() => Some("interaction.received"),
            EntryBody::Edited(_) => Some("interaction.edited"),
            EntryBody::Gone => Some("interaction.gone"),
            EntryBody::Fact(Fact::TaskEscalated { .. }) => Some("task.escalated"),
            EntryBody::Fact(Fact::TaskOverdue { .. }) => Some("task.changed"),
            EntryBody::Fact(Fact::TaskClosed { .. }) => Some("task.done"),
            EntryBody::Fact(Fact::ActionSettled { state: ActionState::Sent, .. }) => Some("action.sent"),
            EntryBody::Fact(Fact::ActionSettled { state: ActionState::Dead, .. }) => Some("action.failed"),
            _ => None,
        }
    }

    /// What the decisions on this entry did to tasks. One that they left as it was is not told, and one that was changed
    /// again since is told there.
    fn tasks<'v>(&self, decided: &[Decision], view: &'v InteractionView) -> Vec<(&'static str, &'v Task)> {
        let mut told: Vec<(&'static str, &Task)> = Vec::new();
        for task in &view.tasks {
            let decision = decided.iter().find(|decision| decision.rule == task.rule && opens(decision, task));
            // Decided again in the moment in which it was opened, it was told by the decision before.
            let is_first = |at| {
                let is_before = |other: &Decision| (&other.rule, other.at) == (&task.rule, at) && other.seq < self.entry.seq && opens(other, task);
                !view.decisions.iter().any(is_before)
            };
            let is_opened = decision.is_some_and(|decision| self.is_arrival() || (task.opened == decision.at && is_first(decision.at)));
            let name = match (is_opened, task.seq == self.entry.seq) {
                (true, _) => "task.opened",
                (false, true) => "task.changed",
                (false, false) => continue,
            };
            if !told.iter().any(|(other_name, other)| *other_name == name && other.rule == task.rule) {
                told.push((name, task));
            }
        }
        told
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
            received: self.entry.received(),
            gone: None,
            media: view::media(self.journal.store.as_ref(), self.channel, self.interaction, self.entry).await?,
            annotated: said.unwrap_or_default(),
            decisions: decided.to_vec(),
            actions: Vec::new(),
            tasks: Vec::new(),
        }))
    }

    fn event(&self, name: &'static str, changed: Option<&Task>, view: &InteractionView) -> Option<Event> {
        let rule = changed.map_or("", |task| task.rule.as_str());
        let (subject, data) = match (&self.entry.new.body, changed) {
            (_, Some(task)) => (task.id.to_string(), json!({ "task": shown::task(task), "interaction": view.json() })),
            (EntryBody::Fact(Fact::TaskEscalated { task, .. } | Fact::TaskOverdue { task } | Fact::TaskClosed { task, .. }), None) => {
                let task = view.tasks.iter().find(|t| t.id == *task)?;
                (task.id.to_string(), json!({ "task": shown::task(task) }))
            }
            (EntryBody::Fact(Fact::ActionSettled { action, .. }), None) => {
                let action = view.actions.iter().find(|a| a.id == *action)?;
                (action.id.to_string(), json!({ "action": shown::action(action) }))
            }
            (EntryBody::Gone, None) => (
                self.interaction.to_string(),
                json!({ "interaction": { "id": self.interaction.to_string(), "gone_at": shown::rfc3339(self.entry.at) } }),
            ),
            _ => (self.interaction.to_string(), json!({ "interaction": view.json() })),
        };
        let restored = self.journal.store.restored_before(self.channel, self.entry.seq);
        Some(Event {
            id: self.journal.store.id_key().event(self.channel, self.entry.seq, restored, name, rule),
            name,
            seq: self.entry.seq,
            at: self.entry.at,
            subject,
            partition: self.entry.new.conversation.map(|c| c.to_string()),
            data,
        })
    }
}
