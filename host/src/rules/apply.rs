//! From what the rules ask to what is done: pure, so that a redo, a backtest and a test give the same answer.
//!
//! Keys are stable over re-decisions: same key and content is kept, another content replaces what nobody claimed, an absent
//! key is withdrawn. From the first claim on an action is fixed.

use std::time::Duration;

use serde::Deserialize;

use crate::model::{
    Action, ActionId, ActionState, Assignment, ChannelName, ConversationId, Decision, Digest, Entry, ExchangeId, IdKey, IdentityId, Interaction,
    InteractionId, LineupId, OCCURRED_CLAMPED, ReplyBody, ReplyMode, ReplyTerms, Task, TaskId, TaskState, Timer, TimerKind, Timestamp, Wanted,
};
use crate::store::{AUTOMATIC_REPLIES_MAX, Commit, Exchange};

/// What one rule answered.
pub(super) struct Answer {
    /// Its name in the configuration.
    pub(super) rule: String,
    /// Its build.
    pub(super) digest: Digest,
    /// The row that decided.
    pub(super) row: Option<String>,
    /// In words.
    pub(super) reasons: Vec<String>,
    /// What it asks for.
    pub(super) actions: Vec<Wanted>,
    /// Further ones that were too many.
    pub(super) n_refused: usize,
}

/// What came of asking one rule.
pub(super) enum Verdict {
    Answer(Answer),
    /// It could not answer, by name: what it wanted before stands.
    Failed(String),
}

/// Body of an action of kind `note`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoteBody {
    #[expect(dead_code, reason = "only its shape is checked; the decision keeps the body")]
    text: String,
}

/// What the answers are about.
pub(super) struct Subject<'a> {
    pub(super) key: &'a IdKey,
    pub(super) channel: &'a ChannelName,
    /// The entry that asked.
    pub(super) entry: &'a Entry,
    /// The content in force.
    pub(super) content: &'a Interaction,
    pub(super) interaction: InteractionId,
    pub(super) conversation: ConversationId,
    pub(super) exchange_id: ExchangeId,
    pub(super) identity: Option<IdentityId>,
    pub(super) exchange: &'a Exchange,
    /// When the interaction was first received.
    pub(super) received: Timestamp,
    /// Analyzers without an answer.
    pub(super) missing: &'a [String],
    /// Whose runs were read.
    pub(super) lineups: &'a [LineupId],
    /// On what terms the channel carries a reply; none where it carries none.
    pub(super) terms: Option<&'a ReplyTerms>,
    /// The answer replaces what was decided before; else it only adds.
    pub(super) is_redecision: bool,
    /// Its author or the network took it back.
    pub(super) is_gone: bool,
    /// What stands about this interaction.
    pub(super) actions: &'a [Action],
    pub(super) tasks: &'a [Task],
    /// Teams there are.
    pub(super) teams: &'a [String],
    /// See [`crate::store::Store::restored`].
    pub(super) restored: Option<Timestamp>,
    pub(super) now: Timestamp,
}

/// Writes what follows from the rules' verdicts, in their order, into `commit`.
pub(super) fn apply(subject: &Subject<'_>, verdicts: Vec<Verdict>, commit: &mut Commit) {
    let mut round = Round { subject, commit, reply_by: None, assigned_by: None, kept_actions: Vec::new(), kept_tasks: Vec::new() };
    // What only adds takes nothing back: what is open keeps its place, too.
    let stands = |action: &&Action| !subject.is_redecision && action.state.is_open();
    let fixed = subject.actions.iter().find(|action| action.state.is_fixed()).or_else(|| subject.actions.iter().find(stands));
    round.reply_by = fixed.map(|a| (a.rule.clone(), a.wanted.key.clone()));
    let open = subject.tasks.iter().find(|task| !subject.is_redecision && matches!(task.state, TaskState::Open | TaskState::Waiting));
    round.assigned_by = open.map(|task| (task.rule.clone(), task.key.clone()));
    for verdict in verdicts {
        match verdict {
            Verdict::Answer(answer) => round.answer(answer),
            Verdict::Failed(rule) => round.stands(&rule),
        }
    }
    if subject.is_redecision {
        round.withdraw_the_rest();
    }
}

struct Round<'a, 'c> {
    subject: &'a Subject<'a>,
    commit: &'c mut Commit,
    /// Rule and key of the reply that holds the place.
    reply_by: Option<(String, String)>,
    /// Likewise of the assignment.
    assigned_by: Option<(String, String)>,
    kept_actions: Vec<ActionId>,
    kept_tasks: Vec<TaskId>,
}

impl Round<'_, '_> {
    /// What a rule wanted that cannot be asked now stays as it is, and holds its place.
    fn stands(&mut self, rule: &str) {
        for action in self.subject.actions.iter().filter(|action| action.rule == rule && action.state.is_open()) {
            self.kept_actions.push(action.id);
            self.reply_by.get_or_insert_with(|| (rule.to_owned(), action.wanted.key.clone()));
        }
        for task in self.subject.tasks.iter().filter(|task| task.rule == rule && matches!(task.state, TaskState::Open | TaskState::Waiting)) {
            self.kept_tasks.push(task.id);
            self.assigned_by.get_or_insert_with(|| (rule.to_owned(), task.key.clone()));
        }
    }

    fn answer(&mut self, answer: Answer) {
        let Answer { rule, digest, row, mut reasons, actions, n_refused } = answer;
        if n_refused > 0 {
            reasons.push(format!("{n_refused} more actions were refused: one decision has no more than {}", actions.len()));
        }
        let (mut granted, mut dropped, mut unsendable) = (Vec::new(), Vec::new(), None);
        let mut assignment = None;
        let has_task = actions.iter().any(|wanted| wanted.kind == "assign");
        for wanted in actions {
            let verdict = match wanted.kind.as_str() {
                _ if self.subject.entry.new.is_backfill => Err("from before the channel was enabled".to_owned()),
                "reply" => self.reply(&rule, &wanted, has_task, &mut unsendable, &mut reasons),
                "assign" => self.may_assign(&rule, &wanted).map(|parsed| assignment = Some((wanted.clone(), parsed))),
                "note" => serde_json::from_str::<NoteBody>(&wanted.body).map(drop).map_err(|e| format!("body of a note: {e}")),
                other => Err(format!("actions of kind `{other}` are not known to this host")),
            };
            match verdict {
                Ok(()) => granted.push(wanted),
                Err(why) => dropped.push((wanted, why)),
            }
        }
        if let Some((wanted, mut parsed)) = assignment {
            if let Some(text) = unsendable {
                let before = parsed.note.take().map(|note| format!("{note}\n")).unwrap_or_default();
                parsed.note = Some(format!("{before}{text}"));
            }
            self.assign(&rule, row.as_deref(), &wanted, parsed);
        }
        // A fact that asks for nothing is in the log already; only what changes something is a decision.
        if !self.subject.is_redecision && granted.is_empty() && dropped.is_empty() {
            return;
        }
        self.commit.decisions.push(Decision {
            seq: self.subject.entry.seq,
            interaction: self.subject.interaction,
            rule,
            digest,
            row,
            reasons,
            actions: granted,
            dropped,
            missing: self.subject.missing.to_vec(),
            lineups: self.subject.lineups.to_vec(),
            at: self.subject.now,
        });
    }

    /// `has_task`: a team is told at the same time, so that what cannot go out reaches somebody.
    fn reply(
        &mut self,
        rule: &str,
        wanted: &Wanted,
        has_task: bool,
        unsendable: &mut Option<String>,
        reasons: &mut Vec<String>,
    ) -> Result<(), String> {
        let body: ReplyBody = serde_json::from_str(&wanted.body).map_err(|e| format!("body of a reply: {e}"))?;
        self.are_teams(body.review.iter())?;
        let mine = (rule.to_owned(), wanted.key.clone());
        if let Some((first, key)) = self.reply_by.as_ref().filter(|first| **first != mine) {
            return Err(format!("the reply `{key}` of `{first}` came first"));
        }
        // Else who answers every end of a reply with another one would go on for ever: the outbox withdraws what answers nothing.
        if self.subject.is_gone {
            return Err("what it answers is gone".to_owned());
        }
        let id = self.subject.key.action(self.subject.interaction, rule, &wanted.key);
        if self.kept_actions.contains(&id) {
            return Err(format!("a second reply with the key `{}`", wanted.key));
        }
        let old = self.subject.actions.iter().find(|action| action.id == id);
        if old.is_some_and(|old| old.state.is_fixed() && old.state != ActionState::Expired) {
            // Its content is fixed, and what a reply may be by now is no matter.
            self.reply_by = Some(mine);
            self.kept_actions.push(id);
            return Ok(());
        }
        let Some(terms) = self.subject.terms else {
            *unsendable = Some(format!("This channel cannot carry a reply. Suggested text: {}", body.text));
            return Err("this channel cannot carry a reply; its text goes with the task".to_owned());
        };
        let unfit = terms.judge(self.subject.content, &body.text, body.mode == ReplyMode::Send, self.subject.now).err();
        if let Some(unfit) = unfit.as_ref().filter(|unfit| !unfit.is_of_text() && has_task) {
            *unsendable = Some(format!("No reply can go out: {unfit}. Suggested text: {}", body.text));
            return Err(format!("{unfit}; its text goes with the task"));
        }
        let is_machine = self.subject.content.automated != "no";
        if is_machine && body.mode == ReplyMode::Send {
            return Err(format!("nothing automatic answers what a machine wrote (`{}`)", self.subject.content.automated));
        }
        self.reply_by = Some(mine);
        self.kept_actions.push(id);
        let mode = match &unfit {
            None => self.mode(&body, reasons),
            Some(unfit) => {
                reasons.push(format!("{unfit}: the reply waits for a person"));
                ReplyMode::Draft
            }
        };
        let error = unfit.map(|unfit| unfit.to_string());
        match old {
            None => {
                let action = Action { error, ..self.fresh(id, rule, wanted, body, mode) };
                self.commit.actions.push(action);
            }
            Some(old) if !old.state.is_fixed() => self.renew(old, wanted, body, mode, error),
            Some(_) => {}
        }
        Ok(())
    }

    /// What is to be reviewed, and what follows enough automatic replies to this person here, waits for a person.
    fn mode(&self, body: &ReplyBody, reasons: &mut Vec<String>) -> ReplyMode {
        if body.mode == ReplyMode::Draft {
            return ReplyMode::Draft;
        }
        if !body.review.is_empty() {
            reasons.push(format!("to be reviewed by {}: it waits for that", body.review.join(", ")));
            return ReplyMode::Draft;
        }
        let is_dated_by_us = self.subject.content.attrs.iter().any(|(name, _)| name == OCCURRED_CLAMPED);
        if self.subject.restored.is_some_and(|restored| is_dated_by_us || self.subject.content.occurred <= restored) {
            reasons
                .push("a backup was put in place since this was said, so it may have been answered already: the reply waits for a person".to_owned());
            return ReplyMode::Draft;
        }
        if self.subject.exchange.n_automatic(self.subject.now) >= AUTOMATIC_REPLIES_MAX {
            reasons.push(format!("{AUTOMATIC_REPLIES_MAX} automatic replies in the last hour: this one waits for a person"));
            return ReplyMode::Draft;
        }
        ReplyMode::Send
    }

    fn fresh(&self, id: ActionId, rule: &str, wanted: &Wanted, body: ReplyBody, mode: ReplyMode) -> Action {
        let subject = self.subject;
        Action {
            id,
            channel: subject.channel.clone(),
            interaction: subject.interaction,
            seq: subject.entry.seq,
            conversation: subject.conversation,
            exchange: subject.exchange_id,
            exchange_version: subject.exchange.version,
            identity: subject.identity,
            rule: rule.to_owned(),
            wanted: wanted.clone(),
            text: body.text,
            is_edited: false,
            is_automatic: mode == ReplyMode::Send,
            review: body.review,
            state: state_of(mode),
            revision: 1,
            attempts: 0,
            due: subject.now,
            created: subject.now,
            native: None,
            error: None,
            digest: None,
        }
    }

    /// Same content: kept, with the exchange's new version. Other content: replaced, unless a person edited it. What was to go
    /// out by itself and no longer may is another content.
    fn renew(&mut self, old: &Action, wanted: &Wanted, body: ReplyBody, mode: ReplyMode, error: Option<String>) {
        let subject = self.subject;
        let is_held_now = mode == ReplyMode::Draft && old.is_automatic;
        let is_same = old.wanted == *wanted && old.state != ActionState::Withdrawn && !is_held_now;
        if is_same && old.exchange_version == subject.exchange.version {
            return;
        }
        let mut action = old.clone();
        action.revision += 1;
        action.exchange_version = subject.exchange.version;
        action.due = subject.now;
        let is_kept_by_person = old.is_edited && old.state.is_open();
        if !(is_same || is_kept_by_person) {
            action.seq = subject.entry.seq;
            action.wanted = wanted.clone();
            action.text = body.text;
            action.review = body.review;
            action.is_edited = false;
            action.is_automatic = mode == ReplyMode::Send;
            action.state = state_of(mode);
            action.error = error;
        }
        self.commit.actions.push(action);
    }

    fn may_assign(&mut self, rule: &str, wanted: &Wanted) -> Result<Assignment, String> {
        let body: Assignment = serde_json::from_str(&wanted.body).map_err(|e| format!("body of an assignment: {e}"))?;
        let mine = (rule.to_owned(), wanted.key.clone());
        if let Some((first, key)) = self.assigned_by.as_ref().filter(|first| **first != mine) {
            return Err(format!("the assignment `{key}` of `{first}` came first"));
        }
        let named = std::iter::once(&body.team).chain(&body.consulted).chain(&body.informed).chain(body.escalate.iter().map(|step| &step.to));
        self.are_teams(named)?;
        self.assigned_by = Some(mine);
        Ok(body)
    }

    /// Errors: in words; nobody could ever take up what goes to a team that is not there.
    fn are_teams<'t>(&self, mut named: impl Iterator<Item = &'t String>) -> Result<(), String> {
        let unknown = named.find(|team| !self.subject.teams.contains(team));
        unknown.map_or(Ok(()), |team| Err(format!("there is no team `{team}`")))
    }

    /// An open task is replaced in place: its opening time stays, its timers follow the new content.
    fn assign(&mut self, rule: &str, row: Option<&str>, wanted: &Wanted, assignment: Assignment) {
        let subject = self.subject;
        let id = subject.key.task(subject.key.action(subject.interaction, rule, &wanted.key));
        self.kept_tasks.push(id);
        let old = subject.tasks.iter().find(|task| task.id == id);
        // A closed task is opened again by another assignment only: what was asked for then is done, whatever the note says of the reply now.
        let is_same = |task: &Task| {
            let note = if task.state == TaskState::Done { &assignment.note } else { &task.assignment.note };
            Assignment { note: note.clone(), ..task.assignment.clone() } == assignment
        };
        if old.is_some_and(|task| task.state != TaskState::Withdrawn && is_same(task)) {
            return;
        }
        let live = old.filter(|task| task.state == TaskState::Open);
        let due = assignment.within_ms.map(|ms| subject.received.min(subject.now).plus(Duration::from_millis(ms)));
        let task = Task {
            id,
            channel: subject.channel.clone(),
            interaction: subject.interaction,
            seq: subject.entry.seq,
            rule: rule.to_owned(),
            row: row.map(str::to_owned),
            key: wanted.key.clone(),
            // Steps that fired stay fired while the chain is the same; the same deadline passes once.
            escalated: live.filter(|task| task.assignment.escalate == assignment.escalate).map(|task| task.escalated.clone()).unwrap_or_default(),
            is_overdue: live.is_some_and(|task| task.is_overdue && task.due == due),
            due,
            assignment,
            state: TaskState::Open,
            opened: live.map_or(subject.now, |task| task.opened),
            revision: old.map_or(1, |task| task.revision + 1),
        };
        if let Some(old) = old {
            self.commit.timers_gone.extend(timers_of(old));
        }
        self.commit.timers_set.extend(timers_of(&task));
        self.commit.tasks.push(task);
    }

    fn withdraw_the_rest(&mut self) {
        for action in self.subject.actions {
            if action.state.is_open() && !self.kept_actions.contains(&action.id) {
                let mut gone = action.clone();
                gone.state = ActionState::Withdrawn;
                gone.revision += 1;
                self.commit.actions.push(gone);
            }
        }
        for task in self.subject.tasks {
            if matches!(task.state, TaskState::Open | TaskState::Waiting) && !self.kept_tasks.contains(&task.id) {
                self.commit.timers_gone.extend(timers_of(task));
                let mut gone = task.clone();
                gone.state = TaskState::Withdrawn;
                // So that a sink sees which entry withdrew it.
                gone.seq = self.subject.entry.seq;
                gone.revision += 1;
                self.commit.tasks.push(gone);
            }
        }
    }
}

fn state_of(mode: ReplyMode) -> ActionState {
    match mode {
        ReplyMode::Draft => ActionState::AwaitingApproval,
        ReplyMode::Send => ActionState::Pending,
    }
}

/// The timers that an open task has: its deadline and the steps of its escalation that did not fire yet.
pub(crate) fn timers_of(task: &Task) -> Vec<Timer> {
    let timer = |due, kind| Timer { due, channel: task.channel.clone(), task: task.id, kind };
    let steps = task.assignment.escalate.iter().zip(0u16..).filter(|(_, step)| !task.escalated.contains(step));
    let escalations = steps.map(|(step, n)| timer(task.opened.plus(Duration::from_millis(step.after_ms)), TimerKind::Escalate(n)));
    let deadline = task.due.filter(|_| !task.is_overdue);
    deadline.into_iter().map(|due| timer(due, TimerKind::Deadline)).chain(escalations).collect()
}
