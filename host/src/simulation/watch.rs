//! What no commit may do, looked for before each is applied, and the line that the trace keeps of it.

use std::collections::BTreeSet;

use super::disk::at_once;
use crate::model::{Action, ActionState, EntryBody, Fact, InteractionId, TaskState, Timestamp};
use crate::store::{Commit, MemoryStore, Resolved, Store as _};

/// Everything that is wrong with a commit, by what was stored before it.
pub(super) fn wrongs(store: &MemoryStore, commit: &Commit, now: Timestamp) -> Vec<String> {
    let mut wrongs = Vec::new();
    cursor(store, commit, &mut wrongs);
    arrivals(store, commit, &mut wrongs);
    for action in &commit.actions {
        self::action(store, commit, action, &mut wrongs);
    }
    for entry in &commit.entries {
        if let EntryBody::Fact(fact) = &entry.body {
            timer(store, commit, fact, now, &mut wrongs);
        }
    }
    wrongs
}

fn cursor(store: &MemoryStore, commit: &Commit, wrongs: &mut Vec<String>) {
    let record = at_once(store.channel(&commit.channel)).unwrap();
    let place = |cursor: Option<&String>| cursor.and_then(|cursor| cursor.parse::<u64>().ok()).unwrap_or(0);
    if commit.cursor.is_some() && place(commit.cursor.as_ref()) < place(record.cursor.as_ref()) {
        wrongs.push(format!("the cursor of {} goes back from {:?} to {:?}", commit.channel, record.cursor, commit.cursor));
    }
    let back = commit.positions.iter().find(|(reader, to)| *to < record.position(reader));
    wrongs.extend(back.map(|(reader, to)| format!("{reader:?} of {} goes back to {to}", commit.channel)));
}

fn arrivals(store: &MemoryStore, commit: &Commit, wrongs: &mut Vec<String>) {
    let mut arrived = BTreeSet::new();
    for entry in commit.entries.iter().filter(|entry| matches!(entry.body, EntryBody::Arrived(_))) {
        let id = entry.interaction.unwrap_or(InteractionId([0; 16]));
        let known = at_once(store.resolve(&commit.channel, &[id])).unwrap();
        let is_known = known.iter().any(|known| matches!(known, Resolved::Interaction(_)));
        if is_known || !arrived.insert(id) {
            wrongs.push(format!("{id} of {} arrives twice", commit.channel));
        }
    }
}

/// What may become of an action, and that its content is fixed once it was claimed.
fn action(store: &MemoryStore, commit: &Commit, new: &Action, wrongs: &mut Vec<String>) {
    use ActionState as S;
    let Some(old) = at_once(store.action(&commit.channel, new.id)).unwrap() else {
        if !matches!(new.state, S::Pending | S::AwaitingApproval) {
            wrongs.push(format!("action {} begins as {}", new.id, new.state.word()));
        }
        return;
    };
    let is_fixed = !old.state.is_open() && old.state != S::Withdrawn;
    if is_fixed && (&old.text, &old.wanted, old.seq, old.interaction) != (&new.text, &new.wanted, new.seq, new.interaction) {
        wrongs.push(format!("action {} changes its content while it is {}", new.id, old.state.word()));
    }
    let may = match old.state {
        S::AwaitingApproval => matches!(new.state, S::AwaitingApproval | S::Pending | S::Rejected | S::Withdrawn),
        S::Pending => matches!(new.state, S::Pending | S::AwaitingApproval | S::Claimed | S::Withdrawn | S::Expired | S::Dead),
        S::Withdrawn => new.state.is_open(),
        S::Claimed => matches!(new.state, S::Sent | S::Retry | S::Unknown | S::Reconciling | S::Human | S::Dead),
        S::Retry => {
            matches!(new.state, S::Retry | S::Claimed | S::Sent | S::Unknown | S::Dead | S::Human | S::Withdrawn | S::Expired | S::AwaitingApproval)
        }
        S::Unknown | S::Reconciling => matches!(new.state, S::Unknown | S::Claimed | S::Reconciling | S::Retry | S::Sent | S::Human),
        S::Human => matches!(new.state, S::Sent | S::Rejected | S::Retry),
        S::Dead => new.state == S::Retry,
        S::Sent | S::Rejected | S::Expired | S::Suppressed => false,
    };
    if !may {
        wrongs.push(format!("action {} turns from {} to {}", new.id, old.state.word(), new.state.word()));
    }
    if new.state == S::Claimed {
        let others = at_once(store.actions(&commit.channel, None, usize::MAX)).unwrap();
        let other = others.iter().find(|other| other.exchange == new.exchange && other.id != new.id && may_be_out(other.state));
        wrongs.extend(other.map(|other| format!("action {} is claimed while {} of its exchange is {}", new.id, other.id, other.state.word())));
    }
}

/// Nobody can tell yet whether it went out.
fn may_be_out(state: ActionState) -> bool {
    matches!(state, ActionState::Claimed | ActionState::Unknown | ActionState::Reconciling)
}

/// A deadline or a step comes when it is due, once, and of a task that is open.
fn timer(store: &MemoryStore, commit: &Commit, fact: &Fact, now: Timestamp, wrongs: &mut Vec<String>) {
    let (Fact::TaskOverdue { task: id } | Fact::TaskEscalated { task: id, .. }) = fact else { return };
    let Some(task) = at_once(store.task(&commit.channel, *id)).unwrap() else {
        wrongs.push(format!("a timer fires of task {id}, which is not there"));
        return;
    };
    let (has_fired, due) = match fact {
        Fact::TaskEscalated { step, .. } => {
            let after = task.assignment.escalate.get(usize::from(*step)).map(|step| step.after_ms);
            (task.escalated.contains(step), after.map(|ms| Timestamp(task.opened.0 + ms)))
        }
        _ => (task.is_overdue, task.due),
    };
    if has_fired || task.state != TaskState::Open || due.is_none_or(|due| due > now) {
        wrongs.push(format!("{fact:?} comes when it must not: the task is {}, due {due:?}, fired before: {has_fired}", task.state.word()));
    }
}

/// One line about a commit.
pub(super) fn line(commit: &Commit) -> String {
    let mut parts = vec![format!("{} commits", commit.channel)];
    for entry in &commit.entries {
        let about = entry.interaction.map(|id| id.to_string()).unwrap_or_default();
        parts.push(match &entry.body {
            EntryBody::Arrived(said) => format!("arrived {} `{}`", said.native.id, said.text),
            EntryBody::Edited(said) => format!("edited {} `{}`", said.native.id, said.text),
            EntryBody::Gone => format!("gone {about}"),
            EntryBody::Unreadable { native, .. } => format!("unreadable {}", native.id),
            EntryBody::Note { kind, .. } => format!("note {kind}"),
            EntryBody::Fact(fact) => format!("fact {fact:?}"),
        });
    }
    for action in &commit.actions {
        parts.push(format!("action {} {} try {} due {}", action.id, action.state.word(), action.attempts, action.due.0));
    }
    for task in &commit.tasks {
        parts.push(format!("task {} {} overdue {} escalated {:?}", task.id, task.state.word(), task.is_overdue, task.escalated));
    }
    parts.push(match &commit.cursor {
        Some(cursor) => format!("cursor {cursor} positions {:?}", commit.positions),
        None => format!("positions {:?}", commit.positions),
    });
    for decision in &commit.decisions {
        parts.push(format!("decided {} by {}: {} dropped {:?}", decision.seq, decision.rule, decision.actions.len(), decision.dropped));
    }
    let (n_results, n_media) = (commit.results.iter().map(|results| results.of.len()).sum::<usize>(), commit.media.len());
    let n_dead = (commit.dead.len(), commit.dead_gone.len());
    let n_retries = (commit.sink_retries.len(), commit.sink_retries_gone.len());
    parts.push(format!(
        "results {n_results} media {n_media} dead {n_dead:?} retries {n_retries:?} status {:?}",
        commit.status.as_ref().map(|s| &s.state)
    ));
    parts.join(" ")
}
