//! What must hold once all is quiet, by the ledgers of the networks and of the CRM against the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::disk::{at_once, least_position};
use super::host::{CRM, Scene};
use super::network::{Arrival, Item, Network};
use crate::model::{
    Action, ActionState, ChannelName, DeadSubject, Entry, EntryBody, Fact, InteractionId, MediaOutcome, Ours, Seq, TaskState, Timestamp,
};
use crate::store::{MemoryStore, Reader, Resolved, Store as _, view};
use crate::testing::native;

/// What is still to be done, in words; none: all is quiet.
pub(super) fn unfinished(scene: &Scene) -> Option<String> {
    scene.networks.iter().find_map(|network| unfinished_on(scene, network))
}

fn unfinished_on(scene: &Scene, network: &Network) -> Option<String> {
    let (store, channel) = (scene.disk.seen(), &network.channel);
    let record = at_once(store.channel(channel)).unwrap();
    let least = least_position(&record, CRM);
    if least < record.last.0 || record.position(&Reader::Media) < record.last.0 || record.position(&Reader::Raw) < record.raw_last {
        return Some(format!("{channel}: readers stand at {:?} of {}, {}", record.positions, record.last, record.raw_last));
    }
    let place = record.cursor.and_then(|cursor| cursor.parse::<usize>().ok()).unwrap_or(0);
    if network.arrival != Arrival::Pushed && place < network.n_shown() {
        return Some(format!("{channel}: the cursor stands at {place} of {}", network.n_shown()));
    }
    let is_waiting = |action: &&Action| action.next_look().is_some() || matches!(action.state, ActionState::Human | ActionState::AwaitingApproval);
    if let Some(action) = actions(&store, channel).iter().find(is_waiting) {
        return Some(format!("{channel}: action {} is {} since {} tries, due {}", action.id, action.state.word(), action.attempts, action.due.0));
    }
    let timers = at_once(store.timers_due(channel, Timestamp(u64::MAX), usize::MAX)).unwrap();
    let retries = at_once(store.sink_retries_due(channel, CRM, Timestamp(u64::MAX), usize::MAX)).unwrap();
    (!timers.is_empty() || !retries.is_empty()).then(|| format!("{channel}: {} timers and {} retries wait", timers.len(), retries.len()))
}

/// Everything that is wrong in the end.
pub(super) fn wrongs(scene: &Scene) -> Vec<String> {
    let mut wrongs = Vec::new();
    for network in &scene.networks {
        let store = scene.disk.seen();
        let log = at_once(store.read_log(&network.channel, Seq(1), usize::MAX)).unwrap();
        let case = Case { store, network, log };
        let mut found = Vec::new();
        case.nothing_is_lost(&mut found);
        case.nothing_is_made_up(&mut found);
        case.every_reply_is_there_once(&mut found);
        case.everything_is_judged(&mut found);
        case.every_deadline_came(&mut found);
        case.the_crm_knows(scene, &mut found);
        wrongs.extend(found.into_iter().map(|wrong| format!("{}: {wrong}", network.channel)));
    }
    wrongs
}

fn actions(store: &MemoryStore, channel: &ChannelName) -> Vec<Action> {
    at_once(store.actions(channel, None, usize::MAX)).unwrap()
}

struct Case<'a> {
    store: Arc<MemoryStore>,
    network: &'a Network,
    log: Vec<Arc<Entry>>,
}

impl Case<'_> {
    fn id(&self, item: &Item) -> InteractionId {
        self.store.id_key().interaction(&self.network.channel, &native(&item.id))
    }

    fn is_gone_after(&self, entry: &Entry) -> bool {
        let mut later = self.log.iter().filter(|later| later.seq > entry.seq && later.new.interaction == entry.new.interaction);
        later.any(|later| later.new.body == EntryBody::Gone)
    }

    /// Whatever the network showed, or had acknowledged, is stored as it stands there.
    fn nothing_is_lost(&self, wrongs: &mut Vec<String>) {
        let ledger = self.network.ledger();
        let is_pushed = self.network.arrival == Arrival::Pushed;
        let acked: BTreeMap<usize, &Item> = ledger.acked.iter().map(|(at, item)| (*at, item)).collect();
        for (at, item) in ledger.items.iter().enumerate().filter(|(_, item)| item.ours == Ours::No) {
            let Some(promised) = (if is_pushed { acked.get(&at).copied() } else { Some(item) }) else { continue };
            let id = self.id(item);
            let stored = at_once(self.store.resolve(&self.network.channel, &[id])).unwrap().pop();
            let Some(Resolved::Interaction(known)) = stored else {
                // What was taken back before anybody looked was never seen.
                if !item.is_gone {
                    wrongs.push(format!("{} `{}` is lost", item.id, item.text));
                }
                continue;
            };
            if promised.is_gone != known.is_gone && !(is_pushed && item.is_gone) {
                wrongs.push(format!("{} is gone there: {}, here: {}", item.id, item.is_gone, known.is_gone));
            }
            let content = at_once(view::content_as_of(self.store.as_ref(), &self.network.channel, known.last)).unwrap();
            let text = content.as_ref().and_then(|entry| entry.new.body.content()).map(|said| said.text.clone()).unwrap_or_default();
            let is_right = text == item.text || (is_pushed && text >= promised.text) || item.is_gone;
            if !is_right {
                wrongs.push(format!("{} reads `{}` there and `{text}` here", item.id, item.text));
            }
        }
    }

    fn nothing_is_made_up(&self, wrongs: &mut Vec<String>) {
        let ledger = self.network.ledger();
        let said: BTreeSet<&str> = ledger.items.iter().map(|item| item.id.as_str()).collect();
        for content in self.log.iter().filter_map(|entry| entry.new.body.content()) {
            if !said.contains(content.native.id.as_str()) {
                wrongs.push(format!("nobody said {} `{}`", content.native.id, content.text));
            }
        }
    }

    /// What is sent is there once, as it was claimed; what is not sent is not there; nobody posted what was not decided.
    fn every_reply_is_there_once(&self, wrongs: &mut Vec<String>) {
        let actions = actions(&self.store, &self.network.channel);
        let posts = self.network.ledger().posts.clone();
        for action in &actions {
            let there: Vec<_> = posts.iter().filter(|post| post.key == action.id.to_string()).collect();
            let is_sent = action.state == ActionState::Sent;
            if is_sent != (there.len() == 1) {
                wrongs.push(format!("action {} is {} and {} posts are there", action.id, action.state.word(), there.len()));
            }
            let is_other = |post: &&&super::network::Post| {
                post.text != action.text || self.store.id_key().interaction(&self.network.channel, &native(&post.to)) != action.interaction
            };
            wrongs
                .extend(there.iter().find(is_other).map(|post| format!("action {} says `{}` and `{}` is there", action.id, action.text, post.text)));
        }
        let known: BTreeSet<String> = actions.iter().map(|action| action.id.to_string()).collect();
        wrongs.extend(posts.iter().filter(|post| !known.contains(&post.key)).map(|post| format!("nobody decided {}", post.key)));
    }

    /// Each thing that was said was analysed, or is named in a letter, or was taken back; decided once; and its file was fetched.
    fn everything_is_judged(&self, wrongs: &mut Vec<String>) {
        let channel = &self.network.channel;
        let last = Seq(self.log.len() as u64);
        let judged: BTreeMap<Seq, _> = at_once(self.store.annotated(channel, Seq(1), last)).unwrap().into_iter().collect();
        let decisions = at_once(self.store.decisions(channel, Seq(1), last)).unwrap();
        let letters = at_once(self.store.dead_letters(channel, None, usize::MAX)).unwrap();
        let has_letter = |stage: &str, seq: Seq| letters.iter().any(|letter| letter.stage == stage && letter.subject == DeadSubject::Entry(seq));
        for entry in &self.log {
            let Some(content) = entry.new.body.content().filter(|content| !content.is_ours()) else { continue };
            let said = judged.get(&entry.seq);
            let is_missing = said.is_none_or(|said| !said.missing.is_empty() || said.annotations.is_empty());
            if is_missing && !has_letter("analysis", entry.seq) && !self.is_gone_after(entry) {
                wrongs.push(format!("entry {} `{}` has no word of an analyzer and no letter", entry.seq, content.text));
            }
            let n_decided = decisions.iter().filter(|decision| decision.seq == entry.seq).count();
            if n_decided != 1 && !has_letter("rules", entry.seq) {
                wrongs.push(format!("entry {} `{}` is decided {n_decided} times", entry.seq, content.text));
            }
        }
        for known in self.known() {
            let media = at_once(self.store.media_about(channel, known)).unwrap();
            wrongs.extend(media.iter().find(|media| matches!(&media.outcome, MediaOutcome::Failed(_))).map(|media| format!("{media:?}")));
        }
    }

    fn known(&self) -> BTreeSet<InteractionId> {
        self.log.iter().filter_map(|entry| entry.new.interaction).collect()
    }

    /// The store watched each that came; none may be left out.
    fn every_deadline_came(&self, wrongs: &mut Vec<String>) {
        let tasks = at_once(self.store.tasks(&self.network.channel, None, usize::MAX)).unwrap();
        for task in tasks.iter().filter(|task| task.state == TaskState::Open) {
            let actions = at_once(self.store.actions_about(&self.network.channel, task.interaction)).unwrap();
            let is_answered = actions.iter().any(|action| action.state == ActionState::Sent && !action.is_automatic);
            if task.due.is_some() && !task.is_overdue && !is_answered {
                wrongs.push(format!("the deadline of task {} never came", task.id));
            }
            if task.escalated.len() != task.assignment.escalate.len() {
                wrongs.push(format!("task {} was escalated {:?}", task.id, task.escalated));
            }
        }
    }

    /// Each event was told at least once, under one id; and nothing was told that is not so.
    fn the_crm_knows(&self, scene: &Scene, wrongs: &mut Vec<String>) {
        let channel = self.network.channel.as_str();
        let letters = at_once(self.store.dead_letters(&self.network.channel, None, usize::MAX)).unwrap();
        let given_up: BTreeSet<&str> = letters
            .iter()
            .filter_map(|letter| match &letter.subject {
                DeadSubject::Event { id, .. } => Some(id.as_str()),
                _ => None,
            })
            .collect();
        let heard: Vec<_> = scene.crm.heard().into_iter().filter(|heard| heard.channel == channel).collect();
        let taken: BTreeSet<(u64, &str)> = heard.iter().filter(|heard| heard.is_taken).map(|heard| (heard.seq, heard.name.as_str())).collect();
        for entry in &self.log {
            let Some(name) = event_of(&entry.new.body) else { continue };
            let id = self.store.id_key().event(&self.network.channel, entry.seq, None, name, "");
            // One that did not arrive is not told again once its author took it back.
            let is_let_go = matches!(name, "interaction.received" | "interaction.edited") && self.is_gone_after(entry);
            if !taken.contains(&(entry.seq.0, name)) && !given_up.contains(id.as_str()) && !is_let_go {
                wrongs.push(format!("{name} of entry {} was never told", entry.seq));
            }
        }
        let mut of: BTreeMap<&str, (u64, &str, &str)> = BTreeMap::new();
        let mut ids: BTreeMap<(u64, &str, &str), &str> = BTreeMap::new();
        for told in &heard {
            let what = (told.seq, told.name.as_str(), told.subject.as_str());
            if *of.entry(&told.id).or_insert(what) != what || *ids.entry(what).or_insert(&told.id) != told.id {
                wrongs.push(format!("{what:?} is told under more than one id, or its id of more than that"));
            }
            let entry = usize::try_from(told.seq).ok().and_then(|seq| self.log.get(seq.checked_sub(1)?));
            let is_so = entry.is_some_and(|entry| is_of(entry, told.name.as_str(), &told.subject));
            if !is_so {
                wrongs.push(format!("{} of entry {} about {} was told, and is not so", told.name, told.seq, told.subject));
            }
        }
    }
}

/// What the entry itself tells.
fn event_of(body: &EntryBody) -> Option<&'static str> {
    Some(match body {
        EntryBody::Arrived(content) if !content.is_ours() => "interaction.received",
        EntryBody::Edited(_) => "interaction.edited",
        EntryBody::Gone => "interaction.gone",
        EntryBody::Fact(Fact::TaskEscalated { .. }) => "task.escalated",
        EntryBody::Fact(Fact::TaskOverdue { .. }) => "task.changed",
        EntryBody::Fact(Fact::TaskClosed { .. }) => "task.done",
        EntryBody::Fact(Fact::ActionSettled { state: ActionState::Sent, .. }) => "action.sent",
        EntryBody::Fact(Fact::ActionSettled { state: ActionState::Dead, .. }) => "action.failed",
        _ => return None,
    })
}

fn is_of(entry: &Entry, name: &str, subject: &str) -> bool {
    // What a decision on the entry did to a task is about that.
    let is_of_task = matches!(name, "task.opened" | "task.changed");
    let own = match &entry.new.body {
        EntryBody::Fact(Fact::TaskEscalated { task, .. } | Fact::TaskOverdue { task } | Fact::TaskClosed { task, .. }) => Some(task.to_string()),
        EntryBody::Fact(Fact::ActionSettled { action, .. }) => Some(action.to_string()),
        _ => entry.new.interaction.map(|id| id.to_string()),
    };
    is_of_task || (event_of(&entry.new.body) == Some(name) && own.as_deref() == Some(subject))
}
