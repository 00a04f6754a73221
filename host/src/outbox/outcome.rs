//! What becomes of an action: every decision of the outbox, and the action as it stands afterwards. Pure: no store, no clock, no call;
//! `tests/pure` builds this file without the host to show it.
//!
//! A claim whose end nobody heard is `unknown`, and from then on until it is settled the action may be out there: it goes out again only
//! where that is the same post, or once the network has proved that it is not there.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::model::{Action, ActionState, Digest, Fact, Fault, Interaction, ReplyTerms, Timestamp};
use crate::plugin::{Receipt, Sent};

/// Calls for one action before it becomes a dead letter.
const ATTEMPTS_MAX: u32 = 8;
/// First wait after a refusal that time may mend; doubles up to an hour.
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// A network may ask for a longer pause, up to this: nothing is put off for longer.
pub(super) const RATE_LIMIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Before an uncertain send is repeated where a repeat is the same post; doubles.
const REPEAT_MIN: Duration = Duration::from_secs(2);
/// Before it is looked for where it must be found: networks show what they took with a delay; doubles.
const PROBE_MIN: Duration = Duration::from_secs(30);
/// Once the rules were asked about an exchange that moved, before the action is looked at again.
const MOVED_WAIT: Duration = Duration::from_secs(30);
/// While a credential or the configuration is wrong, the channel's outbox is held so long between two tries.
const HELD_WAIT: Duration = Duration::from_secs(60);
/// Codes of calls that were cut off: whether anything went out, nobody knows.
const LOST: [&str; 7] = [Fault::OUTCOME_UNKNOWN, "timeout", "stopped", "trap", "cpu", "memory", "contract"];

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

/// What becomes of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Somebody spoke since it was decided: the rules look again, and nothing changes meanwhile.
    AskAgain,
    /// A person decides, for this reason. Nothing went out.
    Draft(String),
    /// It is worked on again: in `retry` where surely nothing went out, in `reconciling` where that is not known.
    Again {
        /// One of those two.
        state: ActionState,
        /// From now.
        wait: Duration,
        /// Calls that count.
        attempts: u32,
        /// The failure, where there was one.
        why: Option<String>,
        /// Where it is the whole channel's.
        hold: Option<HoldFor>,
    },
    /// The rules are told that it stands so, for this reason; `unknown` is looked at after the wait, the others are over.
    Settled(ActionState, String, Duration),
    /// It is out there, under these names where they are known.
    Sent(Option<Receipt>),
}

/// What holds everything in a channel's outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HoldFor {
    /// From now.
    pub(super) wait: Duration,
    /// A new login ends it sooner.
    pub(super) is_for_credential: bool,
}

/// What is known before an action is claimed.
pub(super) struct Before<'a> {
    /// What it answers, where that can be read.
    pub(super) content: Option<&'a Interaction>,
    /// What it answers was taken back.
    pub(super) is_gone: bool,
    /// The exchange's version now.
    pub(super) version: u64,
    /// Automatic replies in the exchange of late, and how many may be.
    pub(super) n_automatic: usize,
    pub(super) n_automatic_max: usize,
}

/// How an action that may be out there is found out about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// By sending it again: the same key is the same post.
    Repeat,
    /// By looking for it.
    Probe,
}

impl Outcome {
    /// The action as it stands afterwards.
    pub(super) fn applied(&self, action: Action, now: Timestamp) -> Action {
        let revision = action.revision + 1;
        match self.clone() {
            Self::AskAgain => Action { due: now.plus(MOVED_WAIT), revision, ..action },
            Self::Draft(why) => {
                let digest = if action.is_in_doubt() { None } else { action.digest };
                Action { state: ActionState::AwaitingApproval, is_automatic: false, error: Some(why), digest, revision, ..action }
            }
            Self::Again { state, wait, attempts, why, .. } => {
                Action { state, due: now.plus(wait), attempts, error: why.or(action.error), revision, ..action }
            }
            Self::Settled(state, why, wait) => Action { state, due: now.plus(wait), error: Some(why), native: None, revision, ..action },
            Self::Sent(receipt) => {
                let native = receipt.map(|receipt| receipt.native);
                Action { state: ActionState::Sent, due: now, error: None, native, revision, ..action }
            }
        }
    }

    /// What the rules are told of it, once applied.
    pub(super) fn fact(&self, applied: &Action) -> Option<Fact> {
        match self {
            Self::AskAgain => Some(Fact::ExchangeMoved { action: applied.id }),
            Self::Draft(_) | Self::Again { .. } => None,
            Self::Settled(..) | Self::Sent(_) => {
                Some(Fact::ActionSettled { action: applied.id, state: applied.state, native: applied.native.clone() })
            }
        }
    }
}

/// The action as it is made durable before a call by this build.
pub(super) fn claimed(action: Action, build: Digest, now: Timestamp) -> Action {
    let (revision, attempts) = (action.revision + 1, action.attempts + 1);
    // What may be out there is repeated as it was.
    let created = if may_be_out(&action) { action.created } else { now };
    Action { state: ActionState::Claimed, revision, attempts, created, digest: Some(build), ..action }
}

/// Says whether it was handed over, and nobody knows what became of it.
pub(super) fn may_be_out(action: &Action) -> bool {
    matches!(action.state, ActionState::Unknown | ActionState::Reconciling)
}

/// Before an action of which surely nothing went out is claimed: what it answers. Errors: what becomes of it instead.
pub(super) fn may_claim<'a>(action: &Action, before: &Before<'a>, terms: &ReplyTerms, now: Timestamp) -> Result<&'a Interaction, Outcome> {
    if action.is_in_doubt() {
        return Err(Outcome::Draft("a backup was put in place since this was decided, and it is not out there: does it still hold?".to_owned()));
    }
    // Once it was claimed, the rules cannot replace it any more.
    let is_fresh = action.state == ActionState::Pending;
    if is_fresh && before.version != action.exchange_version {
        return Err(Outcome::AskAgain);
    }
    if is_fresh && action.is_automatic && before.n_automatic >= before.n_automatic_max {
        let n = before.n_automatic_max;
        return Err(Outcome::Draft(format!("{n} automatic replies in the last hour: this one waits for a person")));
    }
    if before.is_gone {
        return Err(over(ActionState::Withdrawn, "what it answers is gone"));
    }
    let content = before.content.ok_or_else(|| unreadable(ActionState::Dead))?;
    // Another text is a person's to write, and what comes too late is over.
    terms
        .judge(content, &action.text, action.is_automatic, now)
        .map(|()| content)
        .map_err(|unfit| if unfit.is_of_text() { Outcome::Draft(unfit.to_string()) } else { over(ActionState::Expired, &unfit.to_string()) })
}

/// The process ended between claim and outcome.
pub(super) fn after_crash(claimed: &Action, class: SendClass) -> Outcome {
    unknown(claimed, class, "the host ended during the call")
}

/// A send was refused. `may_be_out`: an earlier one may have gone out.
pub(super) fn after_refusal(claimed: &Action, may_be_out: bool, class: SendClass, fault: &Fault) -> Outcome {
    let (code, why) = (fault.detail().code.as_str(), fault.to_string());
    if LOST.contains(&code) {
        return unknown(claimed, class, &why);
    }
    let is_tried_enough = matches!(fault, Fault::Transient(_)) && claimed.attempts >= ATTEMPTS_MAX;
    if fault.is_final() || is_tried_enough {
        return over(if may_be_out { ActionState::Human } else { ActionState::Dead }, &why);
    }
    let state = if may_be_out { ActionState::Reconciling } else { ActionState::Retry };
    again(state, fault, claimed.attempts.saturating_sub(1), RETRY_MIN)
}

/// After a fault that passes. `n_before`: tries before this one. `first`: the first wait where the network asks for none.
fn again(state: ActionState, fault: &Fault, n_before: u32, first: Duration) -> Outcome {
    let wait = match fault {
        Fault::RateLimited(_, ms) => Duration::from_millis(*ms).clamp(RETRY_MIN, RATE_LIMIT_MAX),
        Fault::Auth(_) | Fault::Config(_) => HELD_WAIT,
        _ => doubled(first, n_before),
    };
    // A refused credential and a rate limit are the channel's: it is held, and only real tries count.
    let is_asked_to_wait = !matches!(fault, Fault::Transient(_));
    let attempts = if is_asked_to_wait { n_before } else { n_before + 1 };
    let is_for_credential = matches!(fault, Fault::Auth(_));
    let hold = (is_asked_to_wait && fault.detail().code != Fault::ITEM_LATER).then_some(HoldFor { wait, is_for_credential });
    let own_wait = match hold {
        // It is due as soon as the channel is free.
        Some(HoldFor { is_for_credential: true, .. }) => Duration::ZERO,
        // The hold ends with a reload: whoever raises a budget need not wait for tomorrow.
        Some(_) => first,
        None => wait,
    };
    Outcome::Again { state, wait: own_wait, attempts, why: Some(fault.to_string()), hold }
}

/// How this build finds out about what may be out there. Errors: it cannot.
pub(super) fn search(action: &Action, class: SendClass, build: Digest, now: Timestamp) -> Result<Search, Outcome> {
    // Another build may derive another post of the same key: only looking for it is safe.
    let is_own_claim = action.digest.is_none_or(|digest| digest == build);
    let is_same_post = is_own_claim
        && match class {
            SendClass::ClientId => true,
            // Half of what the network says: the clock may have been put back by as much since.
            SendClass::Key(window) => action.created <= now && u128::from(now.since_ms(action.created)) < window.as_millis() / 2,
            SendClass::ReadBack | SendClass::None => false,
        };
    if is_same_post && action.attempts >= ATTEMPTS_MAX {
        return Err(over(ActionState::Human, "no clear answer after many tries"));
    }
    match class {
        _ if is_same_post => Ok(Search::Repeat),
        SendClass::None if is_own_claim => Err(over(ActionState::Human, "it may have gone out, and this network cannot tell")),
        _ => Ok(Search::Probe),
    }
}

/// It was looked for.
pub(super) fn after_probe(action: &Action, found: Result<(Sent, Option<Receipt>), Fault>) -> Outcome {
    match found {
        Ok((Sent::Yes, receipt)) => Outcome::Sent(receipt),
        Ok((Sent::No, _)) if action.attempts >= ATTEMPTS_MAX => {
            over(ActionState::Human, "it was sent many times without a clear answer, and is not there")
        }
        Ok((Sent::No, _)) => Outcome::Again { state: ActionState::Retry, wait: Duration::ZERO, attempts: action.attempts, why: None, hold: None },
        Ok((Sent::Unknown, _)) => over(ActionState::Human, "it may have gone out; the network does not tell"),
        Err(fault) if fault.is_final() || matches!(fault, Fault::Transient(_)) && action.attempts >= ATTEMPTS_MAX => {
            over(ActionState::Human, &fault.to_string())
        }
        Err(fault) => again(ActionState::Reconciling, &fault, action.attempts, PROBE_MIN),
    }
}

/// What it answers is not there any more.
pub(super) fn unreadable(state: ActionState) -> Outcome {
    over(state, "what it answers cannot be read")
}

fn over(state: ActionState, why: &str) -> Outcome {
    Outcome::Settled(state, why.to_owned(), Duration::ZERO)
}

fn unknown(claimed: &Action, class: SendClass, why: &str) -> Outcome {
    let first = if matches!(class, SendClass::ReadBack | SendClass::None) { PROBE_MIN } else { REPEAT_MIN };
    Outcome::Settled(ActionState::Unknown, why.to_owned(), doubled(first, claimed.attempts.saturating_sub(1)))
}

fn doubled(first: Duration, n: u32) -> Duration {
    first.saturating_mul(2u32.saturating_pow(n)).min(RETRY_MAX)
}
