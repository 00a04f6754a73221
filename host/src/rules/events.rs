//! What a rule is told of an entry: the content in force, what was said of it, what was claimed, and how the exchange stands.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::json;

use crate::model::{
    Action, ActionState, Annotated, ChannelName, Claimed, ConversationId, Entry, EntryBody, ExchangeId, Fact, Interaction, InteractionId, Seq, Task,
    Timestamp,
};
use crate::plugin::{RuleEvent, RuleExchange, RuleInteraction};
use crate::stage::Journal;
use crate::store::{Exchange, Resolved, StoreError, view};

/// An automatic reply counts against the cap for so long. Units: milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// One entry that the rules are asked about.
pub(super) struct Asked {
    pub(super) entry: Arc<Entry>,
    pub(super) content: Arc<Interaction>,
    pub(super) interaction: InteractionId,
    pub(super) conversation: ConversationId,
    pub(super) exchange_id: ExchangeId,
    pub(super) exchange: Exchange,
    pub(super) received: Timestamp,
    pub(super) missing: Vec<String>,
    pub(super) actions: Vec<Action>,
    pub(super) tasks: Vec<Task>,
    pub(super) is_redecision: bool,
    pub(super) event: RuleEvent,
}

/// Puts questions together for one channel.
pub(super) struct Questions<'a> {
    pub(super) journal: &'a Journal,
    pub(super) channel: &'a ChannelName,
    pub(super) capabilities: &'a Arc<str>,
}

struct Kind {
    name: &'static str,
    is_redecision: bool,
    body: String,
}

impl Questions<'_> {
    /// One per entry that concerns a rule; own messages, notes and what nobody understood do not.
    pub(super) async fn about(&self, entries: &[Arc<Entry>]) -> Result<Vec<Asked>, StoreError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(Vec::new()) };
        let said = self.journal.store.annotated(self.channel, first.seq, last.seq).await?;
        let mut said: HashMap<Seq, Annotated> = said.into_iter().collect();
        let mut asked = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(kind) = kind_of(&entry.new.body) else { continue };
            asked.extend(self.question(entry, kind, said.remove(&entry.seq)).await?);
        }
        Ok(asked)
    }

    async fn question(&self, entry: &Arc<Entry>, kind: Kind, said: Option<Annotated>) -> Result<Option<Asked>, StoreError> {
        let (Some(interaction), Some(conversation)) = (entry.new.interaction, entry.new.conversation) else { return Ok(None) };
        let exchange_id = entry.new.exchange.unwrap_or_else(|| self.journal.store.id_key().exchange(conversation, entry.new.identity));
        let store = self.journal.store.as_ref();
        let is_new = entry.previous.is_none();
        let (content, received, annotated) = match entry.new.body.content() {
            Some(content) if is_new => (Arc::new(content.clone()), entry.at, said.unwrap_or_default()),
            _ => {
                let Some(view) = self.in_force(interaction).await? else { return Ok(None) };
                let content = view.entry.new.body.content().cloned().map(Arc::new);
                let Some(content) = content else { return Ok(None) };
                (content, view.received, view.annotated)
            }
        };
        if content.is_ours() {
            return Ok(None);
        }
        let (actions, tasks) = if is_new {
            (Vec::new(), Vec::new())
        } else {
            (store.actions_about(self.channel, interaction).await?, store.tasks_about(self.channel, interaction).await?)
        };
        let is_root = conversation.0 == interaction.0;
        let exchange = if is_new && is_root { first_exchange() } else { store.exchange(self.channel, exchange_id).await? };
        let missing = annotated.missing.clone();
        let event = self.event(entry, kind.name, &kind.body, interaction, &content, received, annotated, &actions, &exchange);
        Ok(Some(Asked {
            entry: Arc::clone(entry),
            content,
            interaction,
            conversation,
            exchange_id,
            exchange,
            received,
            missing,
            actions,
            tasks,
            is_redecision: kind.is_redecision,
            event,
        }))
    }

    async fn in_force(&self, interaction: InteractionId) -> Result<Option<crate::model::shown::InteractionView>, StoreError> {
        let store = self.journal.store.as_ref();
        match store.resolve(self.channel, &[interaction]).await?.into_iter().next() {
            Some(Resolved::Interaction(known)) => view::of_known(store, self.channel, &known).await,
            _ => Ok(None),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one record put together from what its caller just read")]
    fn event(
        &self,
        entry: &Entry,
        kind: &str,
        body: &str,
        id: InteractionId,
        content: &Interaction,
        received: Timestamp,
        annotated: Annotated,
        actions: &[Action],
        exchange: &Exchange,
    ) -> RuleEvent {
        let now = self.journal.clock.now();
        let recent = exchange.automatic_replies.iter().filter(|at| now.since_ms(**at) < HOUR_MS).count();
        RuleEvent {
            kind: kind.to_owned(),
            at: entry.at,
            interaction: Some(RuleInteraction {
                id: id.to_string(),
                channel: self.channel.as_str().to_owned(),
                kind: content.kind.clone(),
                visibility: content.visibility.clone(),
                subject: content.subject.clone(),
                text: content.text.clone(),
                language: content.language.clone(),
                automated: content.automated.clone(),
                identity: entry.new.identity.map(|identity| identity.to_string()).unwrap_or_default(),
                author_name: content.author.as_ref().and_then(|author| author.name.clone().or_else(|| author.handle.clone())),
                author_metrics: content.author.as_ref().map(|author| author.metrics.clone()).unwrap_or_default(),
                place: content.place.clone(),
                occurred: content.occurred,
                received,
                backfill: entry.new.is_backfill,
                attrs: content.attrs.clone(),
                annotations: annotated.annotations.into_iter().map(|(_, _, said)| said).collect(),
                missing: annotated.missing,
            }),
            done: actions.iter().filter(|a| !a.state.is_open() && a.state != ActionState::Withdrawn).map(claimed).collect(),
            capabilities: Arc::clone(self.capabilities),
            exchange: Some(RuleExchange {
                version: u32::try_from(exchange.version).unwrap_or(u32::MAX),
                automatic_replies_last_hour: u32::try_from(recent).unwrap_or(u32::MAX),
            }),
            conversation: None,
            body: body.to_owned(),
        }
    }
}

fn first_exchange() -> Exchange {
    Exchange { version: 1, automatic_replies: Vec::new() }
}

fn claimed(action: &Action) -> Claimed {
    Claimed { wanted: action.wanted.clone(), rule: action.rule.clone(), state: action.state }
}

/// Facts that a rule hears of, by name; those that only count add to what was decided and withdraw nothing.
fn kind_of(body: &EntryBody) -> Option<Kind> {
    let (name, is_redecision, body) = match body {
        EntryBody::Arrived(_) => ("interaction.arrived", true, json!({})),
        EntryBody::Edited(_) => ("interaction.edited", true, json!({})),
        EntryBody::Gone => ("interaction.gone", true, json!({})),
        EntryBody::Fact(Fact::AnnotationLate { analyzer }) => ("annotation.late", true, json!({ "analyzer": analyzer })),
        EntryBody::Fact(Fact::AskedAgain) => ("interaction.arrived", true, json!({})),
        EntryBody::Fact(Fact::ExchangeMoved { action }) => ("exchange.moved", true, json!({ "by": "author", "action": action.to_string() })),
        EntryBody::Fact(Fact::ActionSettled { action, state, .. }) => {
            ("action.settled", false, json!({ "action": action.to_string(), "state": state.word() }))
        }
        EntryBody::Fact(Fact::TaskClosed { task, .. }) => ("task.done", false, json!({ "task": task.to_string() })),
        EntryBody::Fact(_) | EntryBody::Unreadable { .. } | EntryBody::Note { .. } => return None,
    };
    Some(Kind { name, is_redecision, body: body.to_string() })
}
