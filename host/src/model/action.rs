//! Decisions and what follows from them: actions of the outbox, tasks of teams, timers.

use serde::{Deserialize, Serialize};

use super::{ActionId, ChannelName, ConversationId, Digest, ExchangeId, IdentityId, InteractionId, LineupId, NativeId, Seq, TaskId, Timestamp};

/// An action as a rule asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Stable over re-decisions of this rule on this interaction: `reply`, `assign`, `note:1`.
    pub key: String,
    /// Open: `reply assign note`.
    pub kind: String,
    /// JSON, checked against the kind's schema.
    pub body: String,
}

/// An action already claimed, as a rule sees it: its content is fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// What was asked for.
    pub wanted: Wanted,
    /// Which rule asked.
    pub rule: String,
    /// Where it stands.
    pub state: ActionState,
}

/// What one rule answered to one entry, with its reasons. Unique by (channel, sequence, rule).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The entry that asked.
    pub seq: Seq,
    /// What it is about.
    pub interaction: InteractionId,
    /// The rule's name in the configuration.
    pub rule: String,
    /// Its build.
    pub digest: Digest,
    /// The row that decided.
    pub row: Option<String>,
    /// In words, for a person.
    pub reasons: Vec<String>,
    /// What it asked for and got, in order.
    pub actions: Vec<Wanted>,
    /// What it asked for and did not get, each with the reason.
    pub dropped: Vec<(Wanted, String)>,
    /// Analyzers that had no answer when it was decided.
    pub missing: Vec<String>,
    /// The lineups whose runs it read.
    pub lineups: Vec<LineupId>,
    /// When.
    pub at: Timestamp,
}

/// Body of an action of kind `reply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplyBody {
    /// Whether it waits for a person.
    pub mode: ReplyMode,
    /// Teams of which one must approve a draft; empty: anybody may.
    #[serde(default)]
    pub review: Vec<String>,
    /// What is said.
    pub text: String,
    /// BCP 47.
    #[serde(default)]
    pub language: Option<String>,
}

/// Whether a reply waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplyMode {
    /// Waits for `outbox approve`.
    Draft,
    /// Goes out by itself.
    Send,
}

/// Body of an action of kind `assign`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// Exactly one team is responsible.
    pub team: String,
    /// To the first reply, from when it was received. Units: milliseconds.
    #[serde(default)]
    pub within_ms: Option<u64>,
    /// Asked for facts.
    #[serde(default)]
    pub consulted: Vec<String>,
    /// Told.
    #[serde(default)]
    pub informed: Vec<String>,
    /// In order.
    #[serde(default)]
    pub escalate: Vec<Escalation>,
    /// For the team: why, or the text that the channel could not carry.
    #[serde(default)]
    pub note: Option<String>,
}

/// One step of an escalation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// From the opening of the task. Units: milliseconds.
    pub after_ms: u64,
    /// Which team.
    pub to: String,
}

/// Where an action of the outbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionState {
    /// A draft that nobody approved yet.
    AwaitingApproval,
    /// Due at `due`.
    Pending,
    /// Durable before the call: from here on the content is fixed.
    Claimed,
    /// The network took it.
    Sent,
    /// The network surely did nothing; again at `due`.
    Retry,
    /// It may have gone out.
    Unknown,
    /// Being looked for.
    Reconciling,
    /// A person must look.
    Human,
    /// Given up.
    Dead,
    /// A person said no.
    Rejected,
    /// Decided again, and no longer wanted.
    Withdrawn,
    /// Too late.
    Expired,
    /// Must not be done to this person now.
    Suppressed,
}

impl ActionState {
    /// Every state.
    pub const ALL: [Self; 13] = [
        Self::AwaitingApproval,
        Self::Pending,
        Self::Claimed,
        Self::Sent,
        Self::Retry,
        Self::Unknown,
        Self::Reconciling,
        Self::Human,
        Self::Dead,
        Self::Rejected,
        Self::Withdrawn,
        Self::Expired,
        Self::Suppressed,
    ];

    /// The glossary's word.
    pub fn word(self) -> &'static str {
        match self {
            ActionState::AwaitingApproval => "awaiting-approval",
            ActionState::Pending => "pending",
            ActionState::Claimed => "claimed",
            ActionState::Sent => "sent",
            ActionState::Retry => "retry",
            ActionState::Unknown => "unknown",
            ActionState::Reconciling => "reconciling",
            ActionState::Human => "human",
            ActionState::Dead => "dead",
            ActionState::Rejected => "rejected",
            ActionState::Withdrawn => "withdrawn",
            ActionState::Expired => "expired",
            ActionState::Suppressed => "suppressed",
        }
    }

    /// Nobody claimed it yet: deciding again may replace or withdraw it.
    pub fn is_open(self) -> bool {
        matches!(self, ActionState::AwaitingApproval | ActionState::Pending)
    }

    /// Claimed, settled or given up: deciding again leaves it as it is.
    pub fn is_fixed(self) -> bool {
        !self.is_open() && self != ActionState::Withdrawn
    }

    /// Claimed and not settled: it holds its exchange.
    pub fn is_under_way(self) -> bool {
        matches!(self, ActionState::Claimed | ActionState::Retry | ActionState::Unknown | ActionState::Reconciling | ActionState::Human)
    }
}

/// One action of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Hash of interaction, rule and key.
    pub id: ActionId,
    /// Where it goes out.
    pub channel: ChannelName,
    /// What it is about.
    pub interaction: InteractionId,
    /// The revision of the interaction it was decided on.
    pub seq: Seq,
    /// The thread.
    pub conversation: ConversationId,
    /// Whom it answers where.
    pub exchange: ExchangeId,
    /// The exchange's version it was decided on.
    pub exchange_version: u64,
    /// The person answered.
    pub identity: Option<IdentityId>,
    /// Which rule asked.
    pub rule: String,
    /// What it asked for; `kind` is `reply`.
    pub wanted: Wanted,
    /// The text to go out; a person may have edited a draft's.
    pub text: String,
    /// A person edited the draft: deciding again does not replace it.
    pub is_edited: bool,
    /// Nobody looked at it before it goes out.
    pub is_automatic: bool,
    /// Teams of which one must approve.
    pub review: Vec<String>,
    /// Where it stands.
    pub state: ActionState,
    /// Rises by one with every change: changes compare and set it.
    pub revision: u64,
    /// Calls made.
    pub attempts: u32,
    /// When it is next worked on.
    pub due: Timestamp,
    /// When it was decided, and from the first call on that it may have gone out by, when that was: networks' records are dated with it.
    pub created: Timestamp,
    /// What the network calls it.
    pub native: Option<NativeId>,
    /// The last failure, in words.
    pub error: Option<String>,
    /// The build that claimed it.
    pub digest: Option<Digest>,
}

/// No build has this digest.
const NOBODY: Digest = Digest([0; 32]);

impl Action {
    /// Names the text as it stands, so that an approval cannot meet another one. Shape: 16 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let hash = blake3::hash(self.text.as_bytes());
        hash.to_hex().chars().take(16).collect()
    }

    /// When the outbox must look at it next, if at all. A claim found again is looked at first.
    pub fn next_look(&self) -> Option<Timestamp> {
        match self.state {
            ActionState::Claimed => Some(Timestamp(0)),
            ActionState::Pending | ActionState::Retry | ActionState::Unknown | ActionState::Reconciling => Some(self.due),
            _ => None,
        }
    }

    /// As it stands where a person approved it, with another text where they gave one.
    pub fn approved(self, text: Option<String>, now: Timestamp) -> Self {
        let text = text.filter(|text| *text != self.text);
        let (is_edited, revision) = (self.is_edited || text.is_some(), self.revision + 1);
        let text = text.unwrap_or(self.text);
        Self { state: ActionState::Pending, is_automatic: false, is_edited, text, due: now, revision, ..self }
    }

    /// As it stands where a backup was put in place: since that was made it may have gone out, claimed by nobody knows which build, so that no
    /// build takes a repeat of it for the same post. What was given up stays so, until somebody wants it again.
    pub fn in_doubt(self, now: Timestamp) -> Self {
        let error = Some("a backup was put in place: it may have gone out since that was made".to_owned());
        let state = if self.state == ActionState::Dead { ActionState::Dead } else { ActionState::Unknown };
        Self { state, revision: self.revision + 1, due: now, error, digest: Some(NOBODY), ..self }
    }

    /// It is one of those, and nobody found it out there yet.
    pub fn is_in_doubt(&self) -> bool {
        self.digest == Some(NOBODY)
    }

    /// On its way out by itself, or waiting for its outcome: those behind it in its exchange wait.
    pub fn is_on_its_way(&self) -> bool {
        self.state == ActionState::Pending || self.state.is_under_way()
    }

    /// Its rank among those of its exchange, the first first: what has begun is brought to its end, then the oldest. It is a total order, or
    /// two might wait for each other.
    pub fn rank(&self) -> (bool, Seq, ActionId) {
        (!self.state.is_under_way(), self.seq, self.id)
    }
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// Somebody must act.
    Open,
    /// For somebody else's answer.
    Waiting,
    /// Closed.
    Done,
    /// Decided again, and no longer wanted.
    Withdrawn,
}

impl TaskState {
    /// The glossary's word.
    pub fn word(self) -> &'static str {
        match self {
            TaskState::Open => "open",
            TaskState::Waiting => "waiting",
            TaskState::Done => "done",
            TaskState::Withdrawn => "withdrawn",
        }
    }

    /// Every state.
    pub const ALL: [Self; 4] = [Self::Open, Self::Waiting, Self::Done, Self::Withdrawn];
}

/// Something a team must do by a deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// As its action's.
    pub id: TaskId,
    /// Where the interaction is.
    pub channel: ChannelName,
    /// What it is about.
    pub interaction: InteractionId,
    /// The revision it was last decided on.
    pub seq: Seq,
    /// Which rule asked.
    pub rule: String,
    /// Its key of the assignment.
    pub key: String,
    /// The row that decided.
    pub row: Option<String>,
    /// What it asked for.
    pub assignment: Assignment,
    /// Where it stands.
    pub state: TaskState,
    /// When it was opened.
    pub opened: Timestamp,
    /// The deadline.
    pub due: Option<Timestamp>,
    /// Steps of the escalation that fired, by index.
    pub escalated: Vec<u16>,
    /// The deadline passed while it was open.
    pub is_overdue: bool,
    /// Rises by one with every change: changes compare and set it.
    pub revision: u64,
}

/// Something that happens by itself at a time. Deleted in the commit that brings its fact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timer {
    /// When.
    pub due: Timestamp,
    /// Which channel's log gets the fact.
    pub channel: ChannelName,
    /// The task concerned.
    pub task: TaskId,
    /// What happens.
    pub kind: TimerKind,
}

/// What a timer brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TimerKind {
    /// A step of the escalation, by index.
    Escalate(u16),
    /// The deadline.
    Deadline,
}
