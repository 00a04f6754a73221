//! Carries replies to their channel: claim durably, call, record the outcome as a fact in the log.
//!
//! One at a time per exchange, and only while the exchange stands where the reply was decided. It never decides what to say,
//! and it never sends again what may have gone out: an uncertain outcome is `unknown` until the network tells, or a person. What
//! becomes of an action is decided in `outcome.rs`; here the facts are found, the calls made and the outcome committed.

mod outcome;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use tracing::warn;

use crate::clock::Wait;
use crate::failpoint;
use crate::model::{
    Action, ActionId, ActionState, ChannelName, DeadLetter, DeadSubject, Entry, EntryBody, Fact, Fault, Interaction, InteractionId, NativeId,
    NewEntry, ReplyTerms, Timestamp,
};
use crate::plugin::{Generation, Message, PluginState, Receipt, Sent, Target};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{AUTOMATIC_REPLIES_MAX, BAD_CREDENTIALS, ChannelStatus, Commit, Link, Reader, Resolved, StoreError, view};
use outcome::{Before, HoldFor, Outcome, RATE_LIMIT_MAX, Search};

pub use outcome::SendClass;

/// A rush is sent in turns of about this, so that a pause and a stop are heard.
const TURN_MAX: Duration = Duration::from_secs(5);
/// Rules that failed when they were asked about an exchange that moved are asked again after so long.
const ASK_AGAIN_WAIT: Duration = Duration::from_secs(3600);
/// Read at once.
const ACTIONS_MAX: usize = 64;

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

/// The connector's state, for all calls of one turn: what another build, whose intake may have taken over meanwhile, makes of it this one may
/// not understand.
type Held = OnceCell<PluginState>;

/// Until when a channel's outbox is held.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hold {
    rest: Wait,
    /// For a credential: a new login ends it sooner.
    is_for_credential: bool,
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
        let (mut until, mut after) = (now, None);
        let held = Held::default();
        let (mut has_worked, mut is_any_due, watch) = (false, false, self.journal.clock.stopwatch());
        // To the end of what is due: those that wait for others of their exchange must not hide the rest.
        loop {
            let due = self.journal.store.actions_due(&self.channel, until, after, ACTIONS_MAX).await?;
            let Some(last) = due.last().and_then(|action| action.next_look().map(|at| (at, action.id))) else {
                if until > now {
                    break;
                }
                // What is put off for longer than anything is was dated by a clock that ran ahead.
                (until, after) = (Timestamp(u64::MAX), Some((now.plus(RATE_LIMIT_MAX), ActionId([u8::MAX; 16]))));
                continue;
            };
            is_any_due = true;
            for action in due {
                if let Some(until) = self.held_until(now) {
                    return Ok(Turn::Until(until));
                }
                has_worked |= self.work_on(action, &held).await?;
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
    fn held_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.held_until.lock().unwrap_or_else(PoisonError::into_inner).rest.left(now)
    }

    /// Somebody logged in, or an admin says that it goes on.
    fn release_after_login(&self, status: Option<&ChannelStatus>) {
        let mut hold = self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        if hold.is_for_credential && status.is_none_or(|status| status.state != BAD_CREDENTIALS) {
            *hold = Hold::default();
        }
    }

    async fn work_on(&self, action: Action, held: &Held) -> Result<bool, StageError> {
        match action.state {
            ActionState::Pending | ActionState::Retry => self.send(action, held).await,
            // Found claimed here means that the process ended between claim and outcome.
            ActionState::Claimed => self.become_of(outcome::after_crash(&action, self.class), action).await,
            ActionState::Unknown | ActionState::Reconciling => failpoint::within("reconcile", self.search(action, held)).await,
            _ => Ok(false),
        }
    }

    async fn send(&self, action: Action, held: &Held) -> Result<bool, StageError> {
        let store = &self.journal.store;
        if store.must_wait(&self.channel, &action).await? {
            return Ok(false);
        }
        let (content, now) = (self.content(&action).await?, self.journal.clock.now());
        let exchange = store.exchange(&self.channel, action.exchange).await?;
        let before = Before {
            content: content.as_ref(),
            is_gone: self.is_gone(&action).await?,
            version: exchange.version,
            n_automatic: exchange.n_automatic(now),
            n_automatic_max: AUTOMATIC_REPLIES_MAX,
        };
        match outcome::may_claim(&action, &before, &self.terms, now) {
            Ok(content) => self.call(action, content, held).await,
            Err(Outcome::AskAgain) if self.is_asked(&action, exchange.version).await? => Ok(false),
            Err(instead) => self.become_of(instead, action).await,
        }
    }

    /// The rules were asked about it since somebody spoke last: as long as they do not answer, asking again only makes the log longer.
    async fn is_asked(&self, action: &Action, version: u64) -> Result<bool, StoreError> {
        let is_about_it = |entry: &Entry| matches!(entry.new.body, EntryBody::Fact(Fact::ExchangeMoved { action: asked }) if asked == action.id);
        let asked = view::newest_about(self.journal.store.as_ref(), &self.channel, action.interaction, is_about_it).await?;
        let Some(asked) = asked.filter(|asked| asked.exchange_version == Some(version)) else { return Ok(false) };
        let answered = self.journal.store.channel(&self.channel).await?.position(&Reader::Rules);
        // One that failed may have been mended since.
        let is_answer_waited_for = answered < asked.seq.0 || Wait::of(ASK_AGAIN_WAIT, asked.at).left(self.journal.clock.now()).is_some();
        Ok(is_answer_waited_for)
    }

    /// Claims and calls.
    async fn call(&self, action: Action, content: &Interaction, held: &Held) -> Result<bool, StageError> {
        let (state, may_be_out) = (self.state(held).await?, outcome::may_be_out(&action));
        let mut claim = self.journal.begin(&self.channel);
        let claimed = outcome::claimed(action, self.plugin.digest(), claim.at);
        let message = message(&claimed, content);
        claim.actions.push(claimed.clone());
        self.claim(claim).await?;
        let outcome = match self.plugin.send(state, &claimed.id.to_string(), &message).await.result {
            Ok(receipt) => Outcome::Sent(Some(receipt)),
            Err(fault) => {
                let outcome = outcome::after_refusal(&claimed, may_be_out, self.class, &fault);
                // Of a credential the admin is told once, below.
                if matches!(&outcome, Outcome::Again { hold, .. } if hold.is_none_or(|hold| !hold.is_for_credential)) {
                    let (word, code) = (fault.word(), &fault.detail().code);
                    warn!(channel = %self.channel, action = %claimed.id, fault = word, code, "Send refused; will try again.");
                }
                outcome
            }
        };
        self.become_of(outcome, claimed).await
    }

    /// Only where the outcome will have room on the disk: without it nobody could tell what went out.
    async fn claim(&self, claim: Commit) -> Result<(), StoreError> {
        self.journal.store.health().await?;
        failpoint::within("claim", self.journal.commit(claim)).await.map(|_| ())
    }

    /// Read before a claim, so that a store that cannot be read leaves nothing claimed.
    async fn state(&self, held: &Held) -> Result<PluginState, StoreError> {
        let read = async || Ok(PluginState::new(self.journal.store.plugin_state(&self.channel).await?, 0));
        held.get_or_try_init(read).await.cloned()
    }

    /// Looks for what may have gone out: in our own log first, then as far as the send class allows.
    async fn search(&self, action: Action, held: &Held) -> Result<bool, StageError> {
        if let Some(native) = self.own_entry_of(&action).await? {
            return self.become_of(Outcome::Sent(Some(Receipt { native, aka: Vec::new() })), action).await;
        }
        let Some(content) = self.content(&action).await? else {
            return self.become_of(outcome::unreadable(ActionState::Human), action).await;
        };
        match outcome::search(&action, self.class, self.plugin.digest(), self.journal.clock.now()) {
            Ok(Search::Repeat) => self.call(action, &content, held).await,
            Ok(Search::Probe) => {
                let (message, state) = (message(&action, &content), self.state(held).await?);
                let found = self.plugin.probe(state, &action.id.to_string(), &message).await.result;
                let found = if self.is_another_s(&action, &found).await? { Ok((Sent::Unknown, None)) } else { found };
                self.become_of(outcome::after_probe(&action, found), action).await
            }
            Err(instead) => self.become_of(instead, action).await,
        }
    }

    /// Under all its names.
    fn ids_of(&self, receipt: &Receipt) -> Vec<InteractionId> {
        let key = self.journal.store.id_key();
        std::iter::once(&receipt.native).chain(&receipt.aka).map(|native| key.interaction(&self.channel, native)).collect()
    }

    /// Says whether what was found is what another action became: the same words under the same post are no proof.
    async fn is_another_s(&self, action: &Action, found: &Result<(Sent, Option<Receipt>), Fault>) -> Result<bool, StoreError> {
        let Ok((Sent::Yes, Some(receipt))) = found else { return Ok(false) };
        let store = &self.journal.store;
        let known = store.resolve(&self.channel, &self.ids_of(receipt)).await?;
        if known.iter().any(|known| matches!(known, Resolved::Action(_, other) if *other != action.id)) {
            return Ok(true);
        }
        // An echo that came before the receipt stands in the log as an entry of its own: whose it is tell the actions beside this one.
        let Some(conversation) = store.conversation(&self.channel, action.conversation).await? else { return Ok(false) };
        let names = |native: &NativeId| *native == receipt.native || receipt.aka.contains(native);
        let beside = view::actions_in(store.as_ref(), &self.channel, &conversation).await?;
        Ok(beside.iter().any(|other| other.id != action.id && other.native.as_ref().is_some_and(names)))
    }

    /// Commits what becomes of an action, with all that follows from it. A conflict means that an echo settled it first: that is the outcome.
    async fn become_of(&self, outcome: Outcome, action: Action) -> Result<bool, StageError> {
        let mut commit = self.journal.begin(&self.channel);
        let applied = outcome.applied(action, commit.at);
        commit.entries.extend(outcome.fact(&applied).map(|fact| NewEntry::about(&applied, fact)));
        match outcome {
            Outcome::Sent(receipt) => self.sent(&mut commit, &applied, receipt).await?,
            Outcome::Settled(ActionState::Dead, why, _) => commit.dead.push(self.letter(&applied, why, commit.at)),
            Outcome::Settled(ActionState::Unknown, ..) => {
                warn!(channel = %self.channel, action = %applied.id, "Outcome of a send is unknown; will look for it.");
            }
            Outcome::Draft(reason) | Outcome::Settled(ActionState::Expired, reason, _) => {
                warn!(channel = %self.channel, action = %applied.id, reason, "A reply was kept back.");
            }
            Outcome::Again { hold: Some(hold), why, .. } => self.hold(&mut commit, hold, why).await?,
            _ => {}
        }
        commit.actions.push(applied);
        match self.journal.commit(commit).await {
            Ok(_) | Err(StoreError::Conflict(_)) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    async fn sent(&self, commit: &mut Commit, action: &Action, receipt: Option<Receipt>) -> Result<(), StageError> {
        let ids = receipt.iter().flat_map(|receipt| self.ids_of(receipt));
        commit.links.extend(ids.map(|id| (id, Link::Action(action.interaction, action.id))));
        if self.journal.store.channel(&self.channel).await?.status.is_some_and(|status| status.is_of_outbox()) {
            commit.status = Some(connected(commit.at));
        }
        commit.replied.push((action.exchange, action.is_automatic));
        Ok(())
    }

    fn letter(&self, action: &Action, reason: String, at: Timestamp) -> DeadLetter {
        DeadLetter {
            id: self.journal.store.id_key().dead(&self.channel, "outbox", &action.id.to_string()),
            channel: self.channel.clone(),
            stage: "outbox".to_owned(),
            subject: DeadSubject::Action(action.id),
            plugin: Some(self.plugin.name().to_owned()),
            digest: Some(self.plugin.digest()),
            reason,
            at,
        }
    }

    /// Of a refused credential the admin is told once.
    async fn hold(&self, commit: &mut Commit, hold: HoldFor, why: Option<String>) -> Result<(), StageError> {
        let HoldFor { wait, is_for_credential } = hold;
        *self.held_until.lock().unwrap_or_else(PoisonError::into_inner) = Hold { rest: Wait::of(wait, commit.at), is_for_credential };
        let status = self.journal.store.channel(&self.channel).await?.status;
        if is_for_credential && status.is_none_or(|status| status.state != BAD_CREDENTIALS) {
            warn!(channel = %self.channel, "Credential refused; the outbox is held.");
            commit.status = Some(ChannelStatus::cannot_send(&why.unwrap_or_default(), commit.at));
        }
        Ok(())
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

    /// What it answers.
    async fn content(&self, action: &Action) -> Result<Option<Interaction>, StoreError> {
        let entry = view::content_as_of(self.journal.store.as_ref(), &self.channel, action.seq).await?;
        Ok(entry.and_then(|entry| entry.new.body.content().cloned()))
    }

    async fn is_gone(&self, action: &Action) -> Result<bool, StoreError> {
        Ok(!view::gone(self.journal.store.as_ref(), &self.channel, &[action.interaction]).await?.is_empty())
    }
}

/// What goes out, made of the action and the revision it was decided on alone, so that a repeat is the same post.
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
