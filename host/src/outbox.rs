//! Carries replies to their channel: claim durably, call, record the outcome as a fact in the log.
//!
//! One at a time per exchange, and only while the exchange stands where the reply was decided. It never decides what to say,
//! and it never sends again what may have gone out: an uncertain outcome is `unknown` until the network tells, or a person.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tracing::warn;

use crate::model::{
    Action, ActionState, ChannelName, DeadLetter, DeadSubject, Fact, Fault, Interaction, NativeId, NewEntry, ReplyTerms, Timestamp, Unfit,
};
use crate::plugin::{Called, Generation, Message, PluginState, Receipt, Sent, Target};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{AUTOMATIC_REPLIES_MAX, BAD_CREDENTIALS, ChannelStatus, Commit, Link, Resolved, StoreError, view};

/// A rush is sent in turns of about this, so that a pause and a stop are heard.
const TURN_MAX: Duration = Duration::from_secs(5);
/// Read at once.
const ACTIONS_MAX: usize = 64;
/// Calls for one action before it becomes a dead letter.
const ATTEMPTS_MAX: u32 = 8;
/// First wait after a refusal that time may mend; doubles up to an hour.
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// A network may ask for a longer pause, up to this.
const RATE_LIMIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Before an uncertain send is repeated where a repeat is the same post; doubles.
const REPEAT_MIN: Duration = Duration::from_secs(2);
/// Before it is looked for where it must be found: networks show what they took with a delay; doubles.
const PROBE_MIN: Duration = Duration::from_secs(30);
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
    pub plugin: Arc<Generation>,
    /// Its promise about repeats.
    pub class: SendClass,
    /// What the network takes.
    pub terms: Arc<ReplyTerms>,
    /// Until when nothing is sent: the credential, the configuration or the network's limit stops the whole channel. Can be lost.
    pub held_until: Mutex<Hold>,
}

/// Until when a channel's outbox is held.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hold {
    until: Timestamp,
    /// For a credential: a new login ends it sooner.
    is_for_credential: bool,
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
        if record.status.as_ref().is_some_and(|status| status.state == "paused") {
            return Ok(Turn::Idle);
        }
        let now = self.journal.clock.now();
        self.release_after_login(record.status.as_ref());
        let (mut after, mut has_worked, mut is_any_due, watch) = (None, false, false, self.journal.clock.stopwatch());
        // To the end of what is due: those that wait for others of their exchange must not hide the rest.
        loop {
            let due = self.journal.store.actions_due(&self.channel, now, after, ACTIONS_MAX).await?;
            let Some(last) = due.last().and_then(|action| action.next_look().map(|at| (at, action.id))) else { break };
            is_any_due = true;
            for action in due {
                let held_until = self.held_until();
                if held_until > now {
                    return Ok(Turn::Until(held_until));
                }
                has_worked |= self.work_on(action).await?;
                if watch.elapsed() > TURN_MAX {
                    return Ok(Turn::Worked);
                }
            }
            after = Some(last);
        }
        // Nothing is left that could tell whether sending works.
        if !is_any_due && record.status.is_some_and(|status| status.is_of_outbox()) {
            let mut commit = self.journal.begin(&self.channel);
            commit.status = Some(connected(commit.at));
            self.journal.commit(commit).await?;
        }
        Ok(if has_worked { Turn::Worked } else { Turn::Idle })
    }
}

fn connected(since: Timestamp) -> ChannelStatus {
    ChannelStatus { state: "connected".to_owned(), reason: None, since }
}

impl Outbox {
    fn held_until(&self) -> Timestamp {
        self.held_until.lock().unwrap_or_else(PoisonError::into_inner).until
    }

    fn hold(&self, until: Timestamp, is_for_credential: bool) {
        *self.held_until.lock().unwrap_or_else(PoisonError::into_inner) = Hold { until, is_for_credential };
    }

    /// Somebody logged in, or an admin says that it goes on.
    fn release_after_login(&self, status: Option<&ChannelStatus>) {
        let mut hold = self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        if hold.is_for_credential && status.is_none_or(|status| status.state != BAD_CREDENTIALS) {
            *hold = Hold::default();
        }
    }

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
        if store.must_wait(&self.channel, &action).await? {
            return Ok(false);
        }
        let exchange = store.exchange(&self.channel, action.exchange).await?;
        let is_pending = action.state == ActionState::Pending;
        if is_pending && exchange.version != action.exchange_version {
            return self.ask_again(action).await.map(|()| true);
        }
        if is_pending && action.is_automatic && exchange.n_automatic(self.journal.clock.now()) >= AUTOMATIC_REPLIES_MAX {
            return self.leave_to_person(action).await.map(|()| true);
        }
        if self.is_gone(&action).await? {
            return self.withdraw(action).await.map(|()| true);
        }
        let plugin = &self.plugin;
        let Some(content) = self.content(&action).await? else {
            return self.give_up(action, "what it answers cannot be read").await.map(|()| true);
        };
        if let Err(unfit) = self.terms.judge(&content, &action.text, action.is_automatic, self.journal.clock.now()) {
            return self.keep_back(action, &unfit).await.map(|()| true);
        }
        let message = message(&action, &content);
        let state = self.state().await?;
        let mut claim = self.journal.begin(&self.channel);
        let claimed = Action {
            state: ActionState::Claimed,
            revision: action.revision + 1,
            attempts: action.attempts + 1,
            digest: Some(plugin.digest()),
            ..action
        };
        claim.actions.push(claimed.clone());
        self.claim(claim).await?;
        self.call(plugin, state, claimed, message, ActionState::Retry).await.map(|()| true)
    }

    /// Only where the outcome will have room on the disk: without it nobody could tell what went out.
    async fn claim(&self, claim: Commit) -> Result<(), StoreError> {
        self.journal.store.health().await?;
        self.journal.commit(claim).await.map(|_| ())
    }

    /// Read before a claim, so that a store that cannot be read leaves nothing claimed.
    async fn state(&self) -> Result<PluginState, StoreError> {
        Ok(PluginState::new(self.journal.store.plugin_state(&self.channel).await?, 0))
    }

    /// `unsent` is what a refusal leaves: `retry`, or `reconciling` where an earlier call may have gone out all the same.
    async fn call(&self, plugin: &Generation, state: PluginState, action: Action, message: Message, unsent: ActionState) -> Result<(), StageError> {
        let Called { result, .. } = plugin.send(state, &action.id.to_string(), &message).await;
        match result {
            Ok(receipt) => self.sent(action, receipt).await,
            Err(fault) => self.refused(action, fault, unsent).await,
        }
    }

    /// Puts the question back to the rules: somebody spoke since it was decided.
    async fn ask_again(&self, action: Action) -> Result<(), StageError> {
        let mut commit = self.journal.begin(&self.channel);
        commit.entries.push(NewEntry::about(&action, Fact::ExchangeMoved { action: action.id }));
        let due = commit.at.plus(MOVED_WAIT);
        commit.actions.push(Action { due, revision: action.revision + 1, ..action });
        self.journal.commit(commit).await?;
        Ok(())
    }

    /// Enough automatic replies went out while this one waited: it becomes a draft.
    async fn leave_to_person(&self, action: Action) -> Result<(), StageError> {
        let mut commit = self.journal.begin(&self.channel);
        let error = Some(format!("{AUTOMATIC_REPLIES_MAX} automatic replies in the last hour: this one waits for a person"));
        let revision = action.revision + 1;
        commit.actions.push(Action { state: ActionState::AwaitingApproval, is_automatic: false, revision, error, ..action });
        self.commit_outcome(commit).await
    }

    /// The network would refuse it: another text is a person's to write, and what comes too late is over. Nothing went out yet.
    async fn keep_back(&self, action: Action, unfit: &Unfit) -> Result<(), StageError> {
        warn!(channel = %self.channel, action = %action.id, reason = %unfit, "A reply was kept back.");
        let mut commit = self.journal.begin(&self.channel);
        let error = Some(unfit.to_string());
        if unfit.is_of_text() {
            let revision = action.revision + 1;
            commit.actions.push(Action { state: ActionState::AwaitingApproval, is_automatic: false, revision, error, ..action });
        } else {
            self.settle(&mut commit, action, ActionState::Expired, None, error);
        }
        self.commit_outcome(commit).await
    }

    /// A deletion withdraws what was not sent.
    async fn withdraw(&self, action: Action) -> Result<(), StageError> {
        let mut commit = self.journal.begin(&self.channel);
        self.settle(&mut commit, action, ActionState::Withdrawn, None, Some("what it answers is gone".to_owned()));
        self.commit_outcome(commit).await
    }

    async fn sent(&self, action: Action, receipt: Receipt) -> Result<(), StageError> {
        let mut commit = self.journal.begin(&self.channel);
        for native in std::iter::once(&receipt.native).chain(&receipt.aka) {
            let id = self.journal.store.id_key().interaction(&self.channel, native);
            commit.links.push((id, Link::Action(action.interaction, action.id)));
        }
        if self.journal.store.channel(&self.channel).await?.status.is_some_and(|status| status.is_of_outbox()) {
            commit.status = Some(connected(commit.at));
        }
        self.settle(&mut commit, action, ActionState::Sent, Some(receipt.native), None);
        self.commit_outcome(commit).await
    }

    async fn refused(&self, action: Action, fault: Fault, unsent: ActionState) -> Result<(), StageError> {
        let now = self.journal.clock.now();
        let is_lost = matches!(fault.detail().code.as_str(), Fault::OUTCOME_UNKNOWN | "timeout" | "stopped" | "trap" | "cpu" | "memory" | "contract");
        if is_lost {
            return self.settle_unknown(action, &fault.to_string()).await;
        }
        let is_last = fault.is_final() || (matches!(fault, Fault::Transient(_)) && action.attempts >= ATTEMPTS_MAX);
        if is_last && unsent == ActionState::Reconciling {
            return self.hand_to_person(action, &format!("an earlier try may have gone out, and now: {fault}")).await;
        }
        let wait = match &fault {
            _ if is_last => return self.give_up(action, &fault.to_string()).await,
            Fault::Auth(_) => {
                let attempts = action.attempts.saturating_sub(1);
                return self.wait_for_login(Action { attempts, ..action }, &fault, unsent).await;
            }
            Fault::Config(_) => HELD_WAIT,
            Fault::RateLimited(_, ms) => Duration::from_millis(*ms).clamp(RETRY_MIN, RATE_LIMIT_MAX),
            Fault::Transient(_) | Fault::Permanent(_) | Fault::Unsupported(_) => doubled(RETRY_MIN, action.attempts.saturating_sub(1)),
        };
        // A refused credential and a rate limit are the channel's: it is held, and only real tries count.
        let is_asked_to_wait = !matches!(fault, Fault::Transient(_));
        let attempts = if is_asked_to_wait { action.attempts.saturating_sub(1) } else { action.attempts };
        let is_of_channel = is_asked_to_wait && fault.detail().code != Fault::ITEM_LATER;
        if is_of_channel {
            self.hold(now.plus(wait), false);
        }
        // The hold ends with a reload: whoever raises a budget need not wait for tomorrow.
        let own_wait = if is_of_channel { RETRY_MIN } else { wait };
        warn!(channel = %self.channel, action = %action.id, fault = fault.word(), code = fault.detail().code, "Send refused; will try again.");
        let mut commit = self.journal.begin(&self.channel);
        let revision = action.revision + 1;
        commit.actions.push(Action { state: unsent, due: now.plus(own_wait), error: Some(fault.to_string()), attempts, revision, ..action });
        self.commit_outcome(commit).await
    }

    /// A refused credential holds the channel, not the action, which is due as soon as the channel is free. The admin is told once.
    async fn wait_for_login(&self, action: Action, fault: &Fault, state: ActionState) -> Result<(), StageError> {
        let mut commit = self.journal.begin(&self.channel);
        self.hold(commit.at.plus(HELD_WAIT), true);
        let status = self.journal.store.channel(&self.channel).await?.status;
        if status.is_none_or(|status| status.state != BAD_CREDENTIALS) {
            warn!(channel = %self.channel, action = %action.id, code = fault.detail().code, "Credential refused; the outbox is held.");
            commit.status = Some(ChannelStatus::cannot_send(&fault.to_string(), commit.at));
        }
        let (due, revision) = (commit.at, action.revision + 1);
        commit.actions.push(Action { state, due, error: Some(fault.to_string()), revision, ..action });
        self.commit_outcome(commit).await
    }

    async fn settle_unknown(&self, action: Action, why: &str) -> Result<(), StageError> {
        warn!(channel = %self.channel, action = %action.id, "Outcome of a send is unknown; will look for it.");
        let mut commit = self.journal.begin(&self.channel);
        let first = if matches!(self.class, SendClass::ReadBack | SendClass::None) { PROBE_MIN } else { REPEAT_MIN };
        let due = commit.at.plus(doubled(first, action.attempts.saturating_sub(1)));
        self.settle(&mut commit, action, ActionState::Unknown, None, Some(why.to_owned()));
        commit.actions.iter_mut().for_each(|action| action.due = due);
        self.commit_outcome(commit).await
    }

    async fn give_up(&self, action: Action, why: &str) -> Result<(), StageError> {
        let mut commit = self.journal.begin(&self.channel);
        let key = self.journal.store.id_key();
        let plugin = &self.plugin;
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
        let plugin = &self.plugin;
        let Some(content) = self.content(&action).await? else {
            return self.hand_to_person(action, "what it answers cannot be read").await.map(|()| true);
        };
        let message = message(&action, &content);
        // Another build may derive another post of the same key: only looking for it is safe.
        let is_own_claim = action.digest.is_none_or(|digest| digest == plugin.digest());
        match self.class {
            _ if !is_own_claim => self.probe(plugin, action, message).await,
            SendClass::ClientId => self.repeat(plugin, action, message).await,
            SendClass::Key(window) if now.since_ms(action.created) < u64::try_from(window.as_millis()).unwrap_or(0) => {
                self.repeat(plugin, action, message).await
            }
            SendClass::Key(_) | SendClass::ReadBack => self.probe(plugin, action, message).await,
            SendClass::None => self.hand_to_person(action, "it may have gone out, and this network cannot tell").await,
        }
        .map(|()| true)
    }

    /// The same key is the same post, so sending again is safe.
    async fn repeat(&self, plugin: &Generation, action: Action, message: Message) -> Result<(), StageError> {
        let state = self.state().await?;
        let mut claim = self.journal.begin(&self.channel);
        let claimed = Action { state: ActionState::Claimed, revision: action.revision + 1, attempts: action.attempts + 1, ..action };
        if claimed.attempts > ATTEMPTS_MAX {
            return self.hand_to_person(claimed_back(claimed), "no clear answer after many tries").await;
        }
        claim.actions.push(claimed.clone());
        self.claim(claim).await?;
        self.call(plugin, state, claimed, message, ActionState::Reconciling).await
    }

    async fn probe(&self, plugin: &Generation, action: Action, message: Message) -> Result<(), StageError> {
        let state = self.state().await?;
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
            Err(fault @ Fault::Auth(_)) => self.wait_for_login(action, &fault, ActionState::Reconciling).await,
            Err(fault) if fault.is_final() || action.attempts >= ATTEMPTS_MAX => self.hand_to_person(action, &fault.to_string()).await,
            Err(fault) => {
                let mut commit = self.journal.begin(&self.channel);
                let due = commit.at.plus(doubled(PROBE_MIN, action.attempts));
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

    /// An own entry that answers the same thing, says the same and came after the claim: the echo that came before the answer.
    async fn own_entry_of(&self, action: &Action) -> Result<Option<NativeId>, StageError> {
        let store = &self.journal.store;
        let Some(conversation) = store.conversation(&self.channel, action.conversation).await? else { return Ok(None) };
        let taken: Vec<NativeId> = store.actions_about(&self.channel, action.interaction).await?.into_iter().filter_map(|a| a.native).collect();
        for (seq, _, is_ours) in conversation.recent.iter().rev() {
            let entries = if *is_ours && *seq > action.seq { store.read_log(&self.channel, *seq, 1).await? } else { Vec::new() };
            let Some(own) = entries.first().and_then(|entry| entry.new.body.content()) else { continue };
            if own.text.trim() == action.text.trim() && !taken.contains(&own.native) && self.answers(own, action).await? {
                return Ok(Some(own.native.clone()));
            }
        }
        Ok(None)
    }

    /// Says whether an own entry answers what the action answers, under any of its names.
    async fn answers(&self, own: &Interaction, action: &Action) -> Result<bool, StageError> {
        let Some(parent) = &own.parent else { return Ok(false) };
        let id = self.journal.store.id_key().interaction(&self.channel, parent);
        let resolved = self.journal.store.resolve(&self.channel, &[id]).await?;
        Ok(resolved.iter().any(|resolved| matches!(resolved, Resolved::Interaction(known) if known.id == action.interaction)))
    }

    fn settle(&self, commit: &mut Commit, action: Action, state: ActionState, native: Option<NativeId>, error: Option<String>) {
        let settled = Action { state, native: native.clone(), error, revision: action.revision + 1, due: commit.at, ..action };
        if state == ActionState::Sent {
            commit.replied.push((settled.exchange, settled.is_automatic));
        }
        commit.entries.push(NewEntry::about(&settled, Fact::ActionSettled { action: settled.id, state, native }));
        commit.actions.push(settled);
    }

    /// A conflict here means that an echo settled the action first: that is the outcome.
    async fn commit_outcome(&self, commit: Commit) -> Result<(), StageError> {
        match self.journal.commit(commit).await {
            Ok(_) | Err(StoreError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What goes out, made of the action and the revision it was decided on alone, so that a repeat is the same post.
    /// What it answers.
    async fn content(&self, action: &Action) -> Result<Option<Interaction>, StoreError> {
        let entry = view::content_as_of(self.journal.store.as_ref(), &self.channel, action.seq).await?;
        Ok(entry.and_then(|entry| entry.new.body.content().cloned()))
    }

    async fn is_gone(&self, action: &Action) -> Result<bool, StoreError> {
        let resolved = self.journal.store.resolve(&self.channel, &[action.interaction]).await?;
        Ok(resolved.iter().any(|resolved| matches!(resolved, Resolved::Interaction(known) if known.is_gone)))
    }
}

fn message(action: &Action, to: &Interaction) -> Message {
    Message {
        kind: "reply".to_owned(),
        is_automatic: action.is_automatic,
        text: action.text.clone(),
        to: Some(Target::of(to)),
        created: action.created,
        attrs: Vec::new(),
    }
}

fn doubled(first: Duration, n: u32) -> Duration {
    first.saturating_mul(2u32.saturating_pow(n)).min(RETRY_MAX)
}

fn claimed_back(action: Action) -> Action {
    // The claim was not written: the stored revision is one less.
    Action { revision: action.revision - 1, ..action }
}
