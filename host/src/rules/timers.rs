//! Fires timers: a deadline or a step of an escalation becomes a fact in its channel's log, in the commit that deletes it.

use async_trait::async_trait;

use super::timers_of;
use crate::model::{ActionState, ChannelName, EntryBody, Fact, NewEntry, TaskState, Timer, TimerKind};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{Commit, Resolved};

/// Timers fired in one turn.
const TIMERS_MAX: usize = 64;

/// The timers of one channel.
pub struct Timers {
    /// Where they are.
    pub journal: Journal,
    /// The channel.
    pub channel: ChannelName,
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
    /// A task closed meanwhile, or a deadline that a person's reply met, only loses its timer: an automatic one promises an answer.
    async fn fire(&self, timer: Timer, commit: &mut Commit) -> Result<(), StageError> {
        let store = &self.journal.store;
        let task = store.task(&self.channel, timer.task).await?.filter(|task| matches!(task.state, TaskState::Open | TaskState::Waiting));
        // One that was decided anew meanwhile has other timers.
        let task = task.filter(|task| timers_of(task).contains(&timer));
        let kind = timer.kind;
        commit.timers_gone.push(timer);
        let Some(mut task) = task else { return Ok(()) };
        let fact = match kind {
            TimerKind::Escalate(step) => {
                task.escalated.push(step);
                task.revision += 1;
                commit.tasks.push(task.clone());
                Fact::TaskEscalated { task: task.id, step }
            }
            TimerKind::Deadline => {
                let actions = store.actions_about(&self.channel, task.interaction).await?;
                if task.is_overdue || actions.iter().any(|action| action.state == ActionState::Sent && !action.is_automatic) {
                    return Ok(());
                }
                // Compared and set, so that a task that is closed or decided anew meanwhile is not told as overdue.
                task.is_overdue = true;
                task.revision += 1;
                commit.tasks.push(task.clone());
                Fact::TaskOverdue { task: task.id }
            }
        };
        let conversation = store.resolve(&self.channel, &[task.interaction]).await?.into_iter().find_map(|resolved| match resolved {
            Resolved::Interaction(known) => Some(known.conversation),
            _ => None,
        });
        commit.entries.push(NewEntry {
            interaction: Some(task.interaction),
            identity: None,
            conversation,
            exchange: None,
            is_backfill: false,
            body: EntryBody::Fact(fact),
        });
        Ok(())
    }
}
