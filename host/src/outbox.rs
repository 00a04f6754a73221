//! Carries replies to their channel: claim durably, call, record the outcome as a fact in the log.
//!
//! One at a time per exchange, and only while the exchange stands where the reply was decided. It never decides what to say,
//! and it never sends again what may have gone out: an uncertain outcome is `unknown` until the network tells, or a person.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracing::warn;

use crate::model::{
    Action, ActionState, ChannelName, DeadLetter, DeadSubject, EntryBody, Fact, Fault, Interaction, InteractionId, NativeId, NewEntry, Timestamp,
};
use crate::plugin::{Called, Generation, Message, PluginState, Receipt, Sent, Slot, Target};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{Commit, Link, Resolved, StoreError};

/// Looked at in one turn.
const ACTIONS_MAX: usize = 64;
/// Calls for one action before it becomes a dead letter.
const ATTEMPTS_MAX: u32 = 8;
/// First wait after a refusal that time may mend; doubles up to an hour.
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// How long the rules are given to look at an exchange that moved, before the question is put again.
const MOVED_WAIT: Duration = Duration::from_secs(30);
/// While a credential or the configuration is wrong, the channel's outbox is held so long between two tries.
const HELD_WAIT: Duration = Duration::from_secs(60);

/// The outbox of one channel.
pub struct Outbox {
    /// Where actions and outcomes are durable.
    pub journal: Journal,
    /// The channel.
    pub channel: ChannelName,
    /// Its connector.
    pub plugin: Arc<Slot>,
    /// Its promise about repeats.
    pub class: SendClass,
}

/// What a connector can promise about a send that may have gone out. See the manifest's `send_class`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendClass {
    /// The client chooses the network's id: a repeat is the same post.
    ClientId,
    /// The network remembers keys for so long.
    Key(Duration),
    /// It can be looked for.
    ReadBack,
    /// Neither.
    None,
}

#[async_trait]
impl Work for Outbox {
    fn stage(&self) -> &'static str {
        "outbox"
    }

    fn channel(&self) -> &ChannelName {
        &self.channel
    }

    async fn turn(&self) -> Result<Turn, StageError> {
        let record = self.journal.store.channel(&self.channel).await?;
        if record.status.is_some_and(|status| status.state == "paused") {
            return Ok(Turn::Idle);
        }
        let now = self.journal.clock.now();
        let due = self.journal.store.actions_due(&self.channel, now, ACTIONS_MAX).await?;
        let mut has_worked = false;
        for action in due {
            has_worked |= self.work_on(action).await?;
        }
        Ok(if has_worked { Turn::Worked } else { Turn::Idle })
    }
}

impl Outbox {
    async fn work_on(&self, action: Action) -> Result<bool, StageError> {
        match action.state {
            ActionState::Pending | ActionState::Retry => self.send(action).await,
            // Found claimed here means that the process ended between claim and outcome.
            ActionState::Claimed => self.settle_unknown(action, "the host ended during the call").await.map(|()| true),
            ActionState::Unknown | ActionState::Reconciling => self.reconcile(action).await,
            _ => Ok(false),
        }
    }

    async fn send(&self, action: Action) -> Result<bool, StageError> {
        let store = &self.journal.store;
        if store.exchange_is_busy(&self.channel, action.exchange, action.id).await? {
            return Ok(false);
        }
        let exchange = store.exchange(&self.channel, action.exchange).await?;
        if action.state == ActionState::Pending && exchange.version != action.exchange_version {
            return self.ask_again(action).await.map(|()| true);
        }
        let plugin = self.plugin.current();
        let Some(message) = self.message(&action).await? else {
            return self.give_up(action, "what it answers is gone").await.map(|()| true);
        };
        let mut claim = self.journal.begin(&self.channel);
        let claimed = Action {
            state: ActionState::Claimed,
            revision: action.revision + 1,
            attempts: action.attempts + 1,
            digest: Some(plugin.digest()),
            ..action
        };
        claim.actions.push(claimed.clone());
        self.journal.commit(claim).await?;
        self.call(&plugin, claimed, message).await.map(|()| true)
    }

    async fn call(&self, plugin: &Generation, action: Action, message: Message) -> Result<(), StageError> {
        let state = PluginState::new(self.journal.store.plugin_state(&self.channel).await?, 0);
        let Called { result, .. } = plugin.send(state, &action.id.to_string(), &message).await;
        match result {
            Ok(receipt) => self.sent(action, receipt).await,
            Err(fault) => self.refused(action, fault).await,
        }
    }

    /// Puts the question back to the rules: somebody spoke since it was decided.
    async fn ask_again(&self, action: Action) -> Result<(), StageError> {
        let mut commit = self.journal.begin(&self.channel);
        commit.entries.push(about(&action, Fact::ExchangeMoved { action: action.id }));
        let due = commit.at.plus(MOVED_WAIT);
        commit.actions.push(Action { due, revision: action.revision + 1, ..action });
        self.journal.commit(commit).await?;
        Ok(())
    }

    async fn sent(&self, action: Action, receipt: Receipt) -> Result<(), StageError> {
        let mut commit = self.journal.begin(&self.channel);
        for native in std::iter::once(&receipt.native).chain(&receipt.aka) {
            let id = self.journal.store.id_key().interaction(&self.channel, native);
            commit.links.push((id, Link::Action(action.interaction, action.id)));
        }
        self.settle(&mut commit, action, ActionState::Sent, Some(receipt.native), None);
        self.commit_outcome(commit).await
    }

    async fn refused(&self, action: Action, fault: Fault) -> Result<(), StageError> {
        let now = self.journal.clock.now();
        let is_lost = matches!(fault.detail().code.as_str(), Fault::OUTCOME_UNKNOWN | "timeout" | "trap" | "cpu" | "memory" | "contract");
        if is_lost {
            return self.settle_unknown(action, &fault.to_string()).await;
        }
        let wait = match &fault {
            Fault::Permanent(_) | Fault::Unsupported(_) => return self.give_up(action, &fault.to_string()).await,
            Fault::Config(_) | Fault::Auth(_) => HELD_WAIT,
            Fault::RateLimited(_, ms) => Duration::from_millis(*ms).clamp(RETRY_MIN, RETRY_MAX),
            Fault::Transient(_) if action.attempts >= ATTEMPTS_MAX => return self.give_up(action, &fault.to_string()).await,
            Fault::Transient(_) => (RETRY_MIN * 2u32.saturating_pow(action.attempts.saturating_sub(1))).min(RETRY_MAX),
        };
        // A held outbox and a rate limit are not the action's fault: only real tries count.
        let attempts = if matches!(fault, Fault::Transient(_)) { action.attempts } else { action.attempts.saturating_sub(1) };
        warn!(channel = %self.channel, action = %action.id, fault = fault.word(), code = fault.detail().code, "Send refused; will try again.");
        let mut commit = self.journal.begin(&self.channel);
        let revision = action.revision + 1;
        commit.actions.push(Action { state: ActionState::Retry, due: now.plus(wait), error: Some(fault.to_string()), attempts, revision, ..action });
        self.commit_outcome(commit).await
    }

    async fn settle_unknown(&self, action: Action, why: &str) -> Result<(), StageError> {
        warn!(channel = %self.channel, action = %action.id, "Outcome of a send is unknown; will look for it.");
        let mut commit = self.journal.begin(&self.channel);
        self.settle(&mut commit, action, ActionState::Unknown, None, Some(why.to_owned()));
        self.commit_outcome(commit).await
    }

    async fn give_up(&self, action: Action, why: &str) -> Result<(), StageError> {
        let mut commit = self.journal.begin(&self.channel);
        let key = self.journal.store.id_key();
        let plugin = self.plugin.current();
        commit.dead.push(DeadLetter {
            id: key.dead(&self.channel, "outbox", &action.id.to_string()),
            channel: self.channel.clone(),
            stage: "outbox".to_owned(),
            subject: DeadSubject::Action(action.id),
            plugin: Some(plugin.name().to_owned()),
            digest: Some(plugin.digest()),
            reason: why.to_owned(),
            at: commit.at,
        });
        self.settle(&mut commit, action, ActionState::Dead, None, Some(why.to_owned()));
        self.commit_outcome(commit).await
    }

    /// Looks for what may have gone out: in our own log first, then as far as the send class allows.
    async fn reconcile(&self, action: Action) -> Result<bool, StageError> {
        if let Some(native) = self.own_entry_of(&action).await? {
            self.sent(action, Receipt { native, aka: Vec::new() }).await?;
            return Ok(true);
        }
        let now = self.journal.clock.now();
        let plugin = self.plugin.current();
        let Some(message) = self.message(&action).await? else {
            return self.hand_to_person(action, "what it answers is gone").await.map(|()| true);
        };
        match self.class {
            SendClass::ClientId => self.repeat(&plugin, action, message).await,
            SendClass::Key(window) if now.since_ms(action.created) < u64::try_from(window.as_millis()).unwrap_or(0) => {
                self.repeat(&plugin, action, message).await
            }
            SendClass::Key(_) | SendClass::ReadBack => self.probe(&plugin, action, message).await,
            SendClass::None => self.hand_to_person(action, "it may have gone out, and this network cannot tell").await,
        }
        .map(|()| true)
    }

    /// The same key is the same post, so sending again is safe.
    async fn repeat(&self, plugin: &Generation, action: Action, message: Message) -> Result<(), StageError> {
        let mut claim = self.journal.begin(&self.channel);
        let claimed = Action { state: ActionState::Claimed, revision: action.revision + 1, attempts: action.attempts + 1, ..action };
        if claimed.attempts > ATTEMPTS_MAX {
            return self.hand_to_person(claimed_back(claimed), "no clear answer after many tries").await;
        }
        claim.actions.push(claimed.clone());
        self.journal.commit(claim).await?;
        self.call(plugin, claimed, message).await
    }

    async fn probe(&self, plugin: &Generation, action: Action, message: Message) -> Result<(), StageError> {
        let state = PluginState::new(self.journal.store.plugin_state(&self.channel).await?, 0);
        let Called { result, .. } = plugin.probe(state, &action.id.to_string(), &message).await;
        match result {
            Ok((Sent::Yes, Some(receipt))) => self.sent(action, receipt).await,
            Ok((Sent::No, _)) => {
                let mut commit = self.journal.begin(&self.channel);
                let revision = action.revision + 1;
                commit.actions.push(Action { state: ActionState::Retry, due: commit.at, revision, ..action });
                self.commit_outcome(commit).await
            }
            Ok((Sent::Yes, None)) => {
                let mut commit = self.journal.begin(&self.channel);
                self.settle(&mut commit, action, ActionState::Sent, None, None);
                self.commit_outcome(commit).await
            }
            Ok((Sent::Unknown, _)) => self.hand_to_person(action, "it may have gone out; the network does not tell").await,
            Err(fault) if fault.is_final() || action.attempts >= ATTEMPTS_MAX => self.hand_to_person(action, &fault.to_string()).await,
            Err(fault) => {
                let mut commit = self.journal.begin(&self.channel);
                let due = commit.at.plus((RETRY_MIN * 2u32.saturating_pow(action.attempts)).min(RETRY_MAX));
                let (attempts, revision) = (action.attempts + 1, action.revision + 1);
                let error = Some(fault.to_string());
                commit.actions.push(Action { state: ActionState::Reconciling, due, attempts, revision, error, ..action });
                self.commit_outcome(commit).await
            }
        }
    }

    async fn hand_to_person(&self, action: Action, why: &str) -> Result<(), StageError> {
        let mut commit = self.journal.begin(&self.channel);
        self.settle(&mut commit, action, ActionState::Human, None, Some(why.to_owned()));
        self.commit_outcome(commit).await
    }

    /// An own entry in the same conversation that says the same and came after the claim: the echo that came before the answer.
    async fn own_entry_of(&self, action: &Action) -> Result<Option<NativeId>, StageError> {
        let store = &self.journal.store;
        let Some(conversation) = store.conversation(&self.channel, action.conversation).await? else { return Ok(None) };
        for (seq, _, is_ours) in conversation.recent.iter().rev() {
            let entries = if *is_ours && *seq > action.seq { store.read_log(&self.channel, *seq, 1).await? } else { Vec::new() };
            if let Some(own) = entries.first().and_then(|entry| entry.new.body.content())
                && own.text.trim() == action.text.trim()
            {
                return Ok(Some(own.native.clone()));
            }
        }
        Ok(None)
    }

    fn settle(&self, commit: &mut Commit, action: Action, state: ActionState, native: Option<NativeId>, error: Option<String>) {
        let settled = Action { state, native: native.clone(), error, revision: action.revision + 1, due: commit.at, ..action };
        if state == ActionState::Sent {
            commit.replied.push((settled.exchange, settled.is_automatic));
        }
        commit.entries.push(about(&settled, Fact::ActionSettled { action: settled.id, state, native }));
        commit.actions.push(settled);
    }

    /// A conflict here means that an echo settled the action first: that is the outcome.
    async fn commit_outcome(&self, commit: Commit) -> Result<(), StageError> {
        match self.journal.commit(commit).await {
            Ok(_) | Err(StoreError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What goes out, made of the action and the revision it was decided on; none where that is gone.
    async fn message(&self, action: &Action) -> Result<Option<Message>, StoreError> {
        let Some((interaction, received)) = self.content(action.interaction).await? else { return Ok(None) };
        Ok(Some(Message {
            kind: "reply".to_owned(),
            is_automatic: action.is_automatic,
            text: action.text.clone(),
            to: Some(Target::of(&interaction)),
            created: action.created.max(received),
            attrs: Vec::new(),
        }))
    }

    async fn content(&self, id: InteractionId) -> Result<Option<(Box<Interaction>, Timestamp)>, StoreError> {
        let store = &self.journal.store;
        let Some(Resolved::Interaction(known)) = store.resolve(&self.channel, &[id]).await?.into_iter().next() else { return Ok(None) };
        if known.is_gone {
            return Ok(None);
        }
        let entries = store.read_log(&self.channel, known.latest, 1).await?;
        Ok(entries.first().and_then(|entry| entry.new.body.content().map(|content| (Box::new(content.clone()), entry.at))))
    }
}

fn claimed_back(action: Action) -> Action {
    // The claim was not written: the stored revision is one less.
    Action { revision: action.revision - 1, ..action }
}

fn about(action: &Action, fact: Fact) -> NewEntry {
    NewEntry {
        interaction: Some(action.interaction),
        identity: action.identity,
        conversation: Some(action.conversation),
        exchange: Some(action.exchange),
        is_backfill: false,
        body: EntryBody::Fact(fact),
    }
}
