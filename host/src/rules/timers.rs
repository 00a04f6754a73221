//! Fires timers: a deadline or a step of an escalation becomes a fact in its channel's log, in the commit that deletes it.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::timers_of;
use crate::clock::Wait;
use crate::model::{ActionState, ChannelName, EntryBody, Fact, NewEntry, Task, TaskState, Timer, TimerKind, Timestamp};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{Commit, Resolved, view};

/// Timers fired in one turn.
const TIMERS_MAX: usize = 64;
/// A clock that is set back by less changes no date.
const CLOCK_SLACK: Duration = Duration::from_secs(60);
/// A clock that was set back, or that a start finds, may be the wrong one itself for so long.
const CLOCK_TRIAL: Duration = Duration::from_secs(600);
/// Looked through for what a clock that ran ahead dated, at most.
const AHEAD_MAX: usize = 100_000;

/// The timers of one channel.
pub struct Timers {
    journal: Journal,
    channel: ChannelName,
    /// Can be lost.
    watched: Mutex<Watched>,
}

/// Whether the clock was set back.
#[derive(Default)]
struct Watched {
    /// When this worked last.
    latest: Option<Timestamp>,
    /// Until what a clock that ran ahead dated is dated anew.
    trial: Option<Wait>,
}

#[async_trait]
impl Work for Timers {
    fn stage(&self) -> &'static str {
        "timers"
    }

    fn channel(&self) -> &ChannelName {
        &self.channel
    }

    async fn turn(&self) -> Result<Turn, StageError> {
        let now = self.journal.clock.now();
        if self.is_on_trial_no_more(now) {
            self.date_anew(now).await?;
            self.watched().trial = None;
        }
        let due = self.journal.store.timers_due(&self.channel, now, TIMERS_MAX).await?;
        // One task's steps must see each other's revision, so each is a commit of its own; timers are rare.
        let n_due = due.len();
        for timer in due {
            let mut commit = self.journal.begin(&self.channel);
            self.fire(timer, &mut commit).await?;
            self.journal.commit(commit).await?;
        }
        Ok(if n_due > 0 { Turn::Worked } else { Turn::Idle })
    }
}

impl Timers {
    /// Of this channel.
    pub fn new(journal: Journal, channel: ChannelName) -> Self {
        Self { journal, channel, watched: Mutex::default() }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether the clock that this began with, or that was set back, has stood for a while.
    fn is_on_trial_no_more(&self, now: Timestamp) -> bool {
        let mut watched = self.watched();
        if watched.latest.is_none_or(|latest| now.plus(CLOCK_SLACK) < latest) {
            watched.trial = Some(Wait::of(CLOCK_TRIAL, now));
        }
        watched.latest = Some(now);
        watched.trial.is_some_and(|trial| trial.left(now).is_none())
    }

    /// A task that a clock which ran ahead opened counts from now on: its timers would else come when the clock gets there.
    async fn date_anew(&self, now: Timestamp) -> Result<(), StageError> {
        let mut seen = HashSet::new();
        for timer in self.journal.store.timers_due(&self.channel, Timestamp(u64::MAX), AHEAD_MAX).await? {
            if timer.due <= now || !seen.insert(timer.task) {
                continue;
            }
            let Some(old) = self.journal.store.task(&self.channel, timer.task).await? else { continue };
            if old.state != TaskState::Open || old.opened <= now.plus(CLOCK_SLACK) {
                continue;
            }
            let due = old.assignment.within_ms.map(|ms| now.plus(Duration::from_millis(ms)));
            let task = Task { opened: now, due, revision: old.revision + 1, ..old.clone() };
            let mut commit = self.journal.begin(&self.channel);
            commit.timers_gone.extend(timers_of(&old));
            commit.timers_set.extend(timers_of(&task));
            commit.tasks.push(task);
            self.journal.commit(commit).await?;
        }
        Ok(())
    }

    /// A task closed meanwhile, or a deadline that a person's reply met, only loses its timer: an automatic one promises an answer.
    async fn fire(&self, timer: Timer, commit: &mut Commit) -> Result<(), StageError> {
        let store = &self.journal.store;
        let task = store.task(&self.channel, timer.task).await?.filter(|task| matches!(task.state, TaskState::Open | TaskState::Waiting));
        // One that was decided anew meanwhile has other timers.
        let task = task.filter(|task| timers_of(task).contains(&timer));
        let kind = timer.kind;
        commit.timers_gone.push(timer);
        let Some(mut task) = task else { return Ok(()) };
        let known = store.resolve(&self.channel, &[task.interaction]).await?.into_iter().find_map(|resolved| match resolved {
            Resolved::Interaction(known) => Some(known),
            _ => None,
        });
        let fact = match kind {
            TimerKind::Escalate(step) => {
                task.escalated.push(step);
                task.revision += 1;
                commit.tasks.push(task.clone());
                Fact::TaskEscalated { task: task.id, step }
            }
            TimerKind::Deadline => {
                let actions = store.actions_about(&self.channel, task.interaction).await?;
                let is_answered = actions.iter().any(|action| action.state == ActionState::Sent && !action.is_automatic);
                let is_answered_there = match &known {
                    Some(known) => view::is_answered_by_hand(store.as_ref(), &self.channel, known).await?,
                    None => false,
                };
                if task.is_overdue || is_answered || is_answered_there {
                    return Ok(());
                }
                // Compared and set, so that a task that is closed or decided anew meanwhile is not told as overdue.
                task.is_overdue = true;
                task.revision += 1;
                commit.tasks.push(task.clone());
                Fact::TaskOverdue { task: task.id }
            }
        };
        commit.entries.push(NewEntry {
            interaction: Some(task.interaction),
            identity: None,
            conversation: known.map(|known| known.conversation),
            exchange: None,
            is_backfill: false,
            body: EntryBody::Fact(fact),
        });
        Ok(())
    }
}
