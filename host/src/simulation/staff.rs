//! The people of the company: they read drafts, look at what is uncertain, close tasks, and hold a channel for a while.
//!
//! Their orders are commits like those of the console, compared and set; who is late is told so and looks again.

use std::sync::Arc;

use super::network::Network;
use crate::model::{Action, ActionId, ActionState, EntryBody, Fact, InteractionId, NewEntry, Task, TaskId, TaskState};
use crate::outbox::SendClass;
use crate::rules::timers_of;
use crate::stage::Journal;
use crate::store::{ChannelStatus, Commit, StoreError};

/// Looked at in one round.
const LIST_MAX: usize = 200;

/// One desk: a channel's.
pub(super) async fn work(network: Arc<Network>, journal: Journal) {
    let desk = Desk { network, journal };
    loop {
        desk.network.world.pass(60, 1200).await;
        // Whoever was slower than a stage looks again in the next round.
        drop(desk.round().await);
    }
}

struct Desk {
    network: Arc<Network>,
    journal: Journal,
}

impl Desk {
    fn commit(&self) -> Commit {
        self.journal.begin(&self.network.channel)
    }

    async fn round(&self) -> Result<(), StoreError> {
        let (world, channel) = (&self.network.world, &self.network.channel);
        for action in self.journal.store.actions(channel, None::<(InteractionId, ActionId)>, LIST_MAX).await? {
            match action.state {
                ActionState::AwaitingApproval if world.chance(50) => self.read(action).await?,
                ActionState::Human if !self.network.is_landing(&action.id.to_string()) => self.look(action).await?,
                ActionState::Dead if world.chance(10) => self.again(action).await?,
                _ => {}
            }
        }
        for task in self.journal.store.tasks(channel, None::<(InteractionId, TaskId)>, LIST_MAX).await? {
            if task.state == TaskState::Open && world.chance(10) {
                self.close(task).await?;
            }
        }
        if world.trouble(5) {
            self.status("paused").await?;
            world.pass(60, 3600).await;
        }
        let status = self.journal.store.channel(channel).await?.status;
        if status.is_some_and(|status| status.state == "paused") {
            self.status("connected").await?;
        }
        Ok(())
    }

    async fn read(&self, draft: Action) -> Result<(), StoreError> {
        let mut commit = self.commit();
        let revision = draft.revision + 1;
        let said = match self.network.world.below(4) {
            0 => Action { state: ActionState::Rejected, revision, ..draft },
            1 => {
                let text = format!("{}, edited", draft.text);
                Action { state: ActionState::Pending, is_automatic: false, is_edited: true, text, due: commit.at, revision, ..draft }
            }
            _ => Action { state: ActionState::Pending, is_automatic: false, due: commit.at, revision, ..draft },
        };
        commit.entries.push(match said.state {
            ActionState::Rejected => NewEntry::about(&said, Fact::ActionSettled { action: said.id, state: said.state, native: None }),
            _ => NewEntry::about(&said, Fact::ActionApproved { action: said.id, by: "lead".to_owned(), fingerprint: said.fingerprint() }),
        });
        commit.actions.push(said);
        self.journal.commit(commit).await.map(drop)
    }

    /// An uncertain one is there, or it is not.
    async fn look(&self, action: Action) -> Result<(), StoreError> {
        let is_there = self.network.n_posts().contains_key(&action.id.to_string());
        if !is_there && self.network.world.chance(50) {
            return self.again(action).await;
        }
        let mut commit = self.commit();
        let state = if is_there { ActionState::Sent } else { ActionState::Rejected };
        let settled = Action { state, revision: action.revision + 1, ..action };
        if is_there {
            commit.replied.push((settled.exchange, settled.is_automatic));
        }
        commit.entries.push(NewEntry::about(&settled, Fact::ActionSettled { action: settled.id, state, native: None }));
        commit.actions.push(settled);
        self.journal.commit(commit).await.map(drop)
    }

    /// Only who looked whether it is there tries it again where the network makes two of it.
    async fn again(&self, action: Action) -> Result<(), StoreError> {
        let key = action.id.to_string();
        let is_there = self.network.n_posts().contains_key(&key) || self.network.is_landing(&key);
        if is_there && self.network.class != SendClass::ClientId {
            return Ok(());
        }
        let mut commit = self.commit();
        commit.dead_gone.push(self.journal.store.id_key().dead(&action.channel, "outbox", &key));
        commit.actions.push(Action { state: ActionState::Retry, attempts: 0, due: commit.at, revision: action.revision + 1, ..action });
        self.journal.commit(commit).await.map(drop)
    }

    async fn close(&self, task: Task) -> Result<(), StoreError> {
        let mut commit = self.commit();
        commit.timers_gone.extend(timers_of(&task));
        let done = Task { state: TaskState::Done, revision: task.revision + 1, ..task };
        commit.entries.push(NewEntry {
            interaction: Some(done.interaction),
            identity: None,
            conversation: None,
            exchange: None,
            is_backfill: false,
            body: EntryBody::Fact(Fact::TaskClosed { task: done.id, by: "lead".to_owned() }),
        });
        commit.tasks.push(done);
        self.journal.commit(commit).await.map(drop)
    }

    async fn status(&self, state: &str) -> Result<(), StoreError> {
        let mut commit = self.commit();
        commit.status = Some(ChannelStatus { state: state.to_owned(), reason: None, since: commit.at });
        commit.is_order = true;
        self.journal.commit(commit).await.map(drop)
    }
}
