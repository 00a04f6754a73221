//! What a rule is told of an entry: the content as it stood then, what was said of it, what was claimed, and how exchange and
//! conversation stand, as far as some rule's `view` asks for them.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::model::{
    Action, Annotated, ChannelName, Claimed, ConversationId, Entry, EntryBody, ExchangeId, Fact, IdentityId, Interaction, InteractionId, LineupId,
    NativeId, Seq, Task, TaskState, Timestamp,
};
use crate::plugin::{RuleConversation, RuleEvent, RuleExchange, RuleInteraction, View};
use crate::stage::Journal;
use crate::store::{Exchange, Resolved, StoreError, view};

/// Last entries of a conversation that a rule may ask for.
const HISTORY_MAX: usize = 16;
/// Tasks named with a conversation.
const OPEN_TASKS_MAX: usize = 16;

/// One entry that the rules are asked about.
pub(super) struct Asked {
    pub(super) entry: Arc<Entry>,
    pub(super) content: Content,
    pub(super) interaction: InteractionId,
    pub(super) conversation: ConversationId,
    pub(super) exchange_id: ExchangeId,
    pub(super) exchange: Exchange,
    pub(super) received: Timestamp,
    pub(super) missing: Vec<String>,
    pub(super) lineups: Vec<LineupId>,
    pub(super) actions: Vec<Action>,
    pub(super) tasks: Vec<Task>,
    pub(super) is_redecision: bool,
    pub(super) is_gone: bool,
    pub(super) event: RuleEvent,
}

/// Content where it lies: entries are shared, and a copy of every text would cost more than all else here.
pub(super) struct Content(Arc<Entry>);

impl Content {
    fn of(entry: &Arc<Entry>) -> Option<Self> {
        entry.new.body.content().map(|_| Self(Arc::clone(entry)))
    }

    /// Always there: only an entry with content is taken.
    pub(super) fn get(&self) -> Option<&Interaction> {
        self.0.new.body.content()
    }
}

impl Asked {
    /// The event as a rule with this view sees it.
    pub(super) fn event_for(&self, view: View) -> RuleEvent {
        let mut event = self.event.clone();
        event.exchange = event.exchange.filter(|_| view.exchange);
        event.conversation = event.conversation.filter(|_| view.conversation || view.history > 0);
        if let Some(conversation) = &mut event.conversation {
            conversation.recent.truncate(usize::from(view.history));
        }
        event
    }
}

/// Puts questions together for one channel.
pub(super) struct Questions<'a> {
    pub(super) journal: &'a Journal,
    pub(super) channel: &'a ChannelName,
    pub(super) capabilities: &'a Arc<str>,
    /// What any of the rules asks for.
    pub(super) view: View,
}

struct Kind {
    name: &'static str,
    is_redecision: bool,
    body: Json,
}

/// The interaction as it stood when the entry was appended.
struct Then {
    content: Content,
    received: Timestamp,
    annotated: Annotated,
    is_gone: bool,
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
        let Some(then) = self.then(entry, interaction, said).await? else { return Ok(None) };
        // What is gone stays gone, whatever is found out about it later.
        let kind = if then.is_gone && kind.is_redecision { Kind { name: "interaction.gone", is_redecision: true, body: json!({}) } } else { kind };
        let Some(content) = then.content.get().filter(|content| !content.is_ours()) else { return Ok(None) };
        let (actions, tasks) = if is_new {
            (Vec::new(), Vec::new())
        } else {
            (store.actions_about(self.channel, interaction).await?, store.tasks_about(self.channel, interaction).await?)
        };
        let mut body = kind.body;
        if let (EntryBody::Fact(_), true, Some(body)) = (&entry.new.body, kind.is_redecision && !then.is_gone, body.as_object_mut()) {
            body.insert("by".to_owned(), self.spoke_last(entry, content, conversation).await?.into());
        }
        let exchange = self.exchange(entry, exchange_id, is_new && conversation.0 == interaction.0).await?;
        let now = self.journal.clock.now();
        let event = RuleEvent {
            kind: kind.name.to_owned(),
            at: entry.at,
            interaction: Some(self.shown(entry, interaction, content, &then)),
            done: actions.iter().filter(|action| action.state.is_fixed()).map(claimed).collect(),
            capabilities: Arc::clone(self.capabilities),
            exchange: Some(RuleExchange {
                version: u32::try_from(exchange.version).unwrap_or(u32::MAX),
                automatic_replies_last_hour: u32::try_from(exchange.n_automatic(now)).unwrap_or(u32::MAX),
            }),
            conversation: self.conversation(entry, conversation).await?,
            body: body.to_string(),
        };
        Ok(Some(Asked {
            entry: Arc::clone(entry),
            content: then.content,
            interaction,
            conversation,
            exchange_id,
            exchange,
            received: then.received,
            missing: then.annotated.missing,
            lineups: then.annotated.lineups,
            actions,
            tasks,
            is_redecision: kind.is_redecision,
            is_gone: then.is_gone,
            event,
        }))
    }

    async fn then(&self, entry: &Arc<Entry>, interaction: InteractionId, said: Option<Annotated>) -> Result<Option<Then>, StoreError> {
        if let (Some(content), None) = (Content::of(entry), entry.previous) {
            return Ok(Some(Then { content, received: entry.received(), annotated: said.unwrap_or_default(), is_gone: false }));
        }
        let view = view::as_of(self.journal.store.as_ref(), self.channel, interaction, entry.seq).await?;
        Ok(view.and_then(|view| {
            let content = Content::of(&view.entry)?;
            Some(Then { content, received: view.received, annotated: view.annotated, is_gone: view.gone.is_some() })
        }))
    }

    /// Who spoke last in the exchange: the author, or somebody of the company who answered without us. What others say in the
    /// conversation, and what they are answered, is not of it.
    async fn spoke_last(&self, entry: &Entry, content: &Interaction, id: ConversationId) -> Result<&'static str, StoreError> {
        let store = self.journal.store.as_ref();
        let Some(thread) = store.conversation(self.channel, id).await? else { return Ok("author") };
        for (seq, identity, is_ours) in thread.recent.iter().rev().filter(|(seq, ..)| *seq < entry.seq) {
            if !is_ours && *identity == entry.new.identity {
                break;
            }
            let own = if *is_ours { store.read_log(self.channel, *seq, 1).await?.into_iter().next() } else { None };
            let Some(own) = own else { continue };
            let is_for_another = self.answers_another(&own, entry.new.identity, content.parent.as_ref(), id).await?;
            if !is_for_another && !view::is_an_action_s(store, self.channel, &thread, &own).await? {
                return Ok("own");
            }
        }
        Ok("author")
    }

    /// Says whether what was said there surely stands below what another identity said: not below what all of the thread stand below, nor
    /// what our author stands below, too.
    async fn answers_another(
        &self,
        own: &Entry,
        than: Option<IdentityId>,
        above: Option<&NativeId>,
        thread: ConversationId,
    ) -> Result<bool, StoreError> {
        let store = &self.journal.store;
        let parent = own.new.body.content().and_then(|content| content.parent.as_ref());
        let Some(parent) = parent.filter(|parent| Some(*parent) != above) else { return Ok(false) };
        let known = store.resolve(self.channel, &[store.id_key().interaction(self.channel, parent)]).await?;
        let Some(Resolved::Interaction(known)) = known.first() else { return Ok(false) };
        if known.id.0 == thread.0 {
            return Ok(false);
        }
        let placed = store.read_log(self.channel, known.latest, 1).await?;
        Ok(placed.first().is_some_and(|entry| entry.new.identity != than))
    }

    /// With the version that the entry brought: what came after it has a question of its own.
    async fn exchange(&self, entry: &Entry, id: ExchangeId, is_first: bool) -> Result<Exchange, StoreError> {
        if is_first {
            return Ok(Exchange { version: 1, automatic_replies: Vec::new() });
        }
        let now = self.journal.store.exchange(self.channel, id).await?;
        Ok(Exchange { version: entry.exchange_version.unwrap_or(now.version), ..now })
    }

    async fn conversation(&self, entry: &Entry, id: ConversationId) -> Result<Option<RuleConversation>, StoreError> {
        if !self.view.conversation && self.view.history == 0 {
            return Ok(None);
        }
        let store = self.journal.store.as_ref();
        let Some(found) = store.conversation(self.channel, id).await? else {
            return Ok(Some(RuleConversation { id: id.to_string(), count: 1, recent: Vec::new(), open_tasks: Vec::new() }));
        };
        let (mut recent, mut open_tasks) = (Vec::new(), Vec::new());
        for (seq, identity, is_ours) in found.recent.iter().rev().filter(|(seq, ..)| *seq < entry.seq).take(HISTORY_MAX) {
            let Some(member) = store.read_log(self.channel, *seq, 1).await?.into_iter().next().filter(|member| member.seq == *seq) else { continue };
            let who = if *is_ours { "own".to_owned() } else { identity.map(|identity| identity.to_string()).unwrap_or_default() };
            let text = member.new.body.content().map(|content| content.text.clone()).unwrap_or_default();
            recent.push((who, member.at, text));
            if let Some(interaction) = member.new.interaction {
                let tasks = store.tasks_about(self.channel, interaction).await?;
                open_tasks.extend(tasks.iter().filter(|task| task.state == TaskState::Open).map(|task| task.id.to_string()));
            }
        }
        open_tasks.truncate(OPEN_TASKS_MAX);
        Ok(Some(RuleConversation { id: found.id.to_string(), count: u32::try_from(found.count).unwrap_or(u32::MAX), recent, open_tasks }))
    }

    fn shown(&self, entry: &Entry, id: InteractionId, content: &Interaction, then: &Then) -> RuleInteraction {
        let Then { received, annotated, .. } = then;
        RuleInteraction {
            id: id.to_string(),
            channel: self.channel.as_str().to_owned(),
            kind: content.kind.clone(),
            visibility: content.visibility.clone(),
            subject: content.subject.clone(),
            text: content.text.clone(),
            language: content.language.clone().or_else(|| annotated.annotations.iter().find_map(|(_, _, said)| said.language().map(str::to_owned))),
            automated: content.automated.clone(),
            identity: entry.new.identity.map(|identity| identity.to_string()).unwrap_or_default(),
            author_name: content.author.as_ref().and_then(|author| author.name.clone().or_else(|| author.handle.clone())),
            author_handle: content.author.as_ref().and_then(|author| author.handle.clone()),
            author_metrics: content.author.as_ref().map(|author| author.metrics.clone()).unwrap_or_default(),
            place: content.place.clone(),
            side: content.side.clone(),
            campaign: content.campaign.clone(),
            occurred: content.occurred,
            received: *received,
            backfill: entry.new.is_backfill,
            attrs: content.attrs.clone(),
            annotations: annotated.annotations.iter().map(|(_, _, said)| said.clone()).collect(),
            missing: annotated.missing.clone(),
        }
    }
}

fn claimed(action: &Action) -> Claimed {
    Claimed { wanted: action.wanted.clone(), rule: action.rule.clone(), state: action.state }
}

/// What a rule hears of, by name.
fn kind_of(body: &EntryBody) -> Option<Kind> {
    let (name, json) = match body {
        EntryBody::Arrived(_) => ("interaction.arrived", json!({})),
        EntryBody::Edited(_) => ("interaction.edited", json!({})),
        EntryBody::Gone => ("interaction.gone", json!({})),
        EntryBody::Fact(Fact::AnnotationLate { analyzer }) => ("annotation.late", json!({ "analyzer": analyzer })),
        EntryBody::Fact(Fact::AskedAgain) => ("interaction.arrived", json!({})),
        EntryBody::Fact(Fact::ExchangeMoved { action }) => ("exchange.moved", json!({ "action": action.to_string() })),
        EntryBody::Fact(Fact::ActionSettled { action, state, .. }) => {
            ("action.settled", json!({ "action": action.to_string(), "state": state.word() }))
        }
        EntryBody::Fact(Fact::TaskClosed { task, .. }) => ("task.done", json!({ "task": task.to_string() })),
        EntryBody::Fact(_) | EntryBody::Unreadable { .. } | EntryBody::Note { .. } => return None,
    };
    Some(Kind { name, is_redecision: body.is_decided_anew(), body: json })
}
