//! One record of a channel's log, and of its raw log before it is understood.

use serde::{Deserialize, Serialize};

use super::{Action, ActionId, ActionState, ConversationId, ExchangeId, IdentityId, Interaction, InteractionId, NativeId, Seq, TaskId, Timestamp};

/// One record of a channel's log. Immutable once committed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place.
    pub seq: Seq,
    /// When it was appended, by the host's clock.
    pub at: Timestamp,
    /// The entry before it about the same interaction.
    pub previous: Option<Seq>,
    /// The version of its exchange once it was appended; none where it has no exchange.
    pub exchange_version: Option<u64>,
    /// What was appended.
    pub new: NewEntry,
}

/// What a stage appends; the store adds sequence, time and predecessor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewEntry {
    /// What it is about; none for notes and things nobody understood.
    pub interaction: Option<InteractionId>,
    /// Whose words these are, or whom a fact concerns.
    pub identity: Option<IdentityId>,
    /// The thread.
    pub conversation: Option<ConversationId>,
    /// Whom we would answer where.
    pub exchange: Option<ExchangeId>,
    /// From before the channel was enabled: analysed and counted, no action.
    pub is_backfill: bool,
    /// What happened.
    pub body: EntryBody,
}

impl NewEntry {
    /// A fact about what an action answers.
    pub fn about(action: &Action, fact: Fact) -> Self {
        Self {
            interaction: Some(action.interaction),
            identity: action.identity,
            conversation: Some(action.conversation),
            exchange: Some(action.exchange),
            is_backfill: false,
            body: EntryBody::Fact(fact),
        }
    }

    /// Says whether the files of what it brings are fetched, where the channel keeps files: those of others, and no history.
    pub fn wants_media(&self) -> bool {
        !self.is_backfill && self.body.content().is_some_and(|content| !content.is_ours() && !content.attachments.is_empty())
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EntryBody {
    /// First seen. Own messages come here too, with `ours`.
    Arrived(Box<Interaction>),
    /// Another revision of the same interaction.
    Edited(Box<Interaction>),
    /// Its author or the network took it back.
    Gone,
    /// The plugin could not understand it; the raw item keeps its bytes.
    Unreadable {
        /// Which.
        native: NativeId,
        /// In words.
        reason: String,
    },
    /// Delivery states, gaps, revocations: an open kind and a JSON body of at most 4 KiB.
    Note {
        /// Open, dotted.
        kind: String,
        /// JSON.
        json: String,
    },
    /// What the company did.
    Fact(Fact),
}

/// The attribute of an interaction that waited in the raw log: when it was received. Units: milliseconds since 1970.
pub const RECEIVED_ATTR: &str = "membrana.received";

impl Entry {
    /// When what it brings was received: before it was appended, where it waited in the raw log.
    pub fn received(&self) -> Timestamp {
        let attrs = self.new.body.content().map(|content| content.attrs.as_slice()).unwrap_or_default();
        let said = attrs.iter().rev().find(|(name, _)| name == RECEIVED_ATTR).and_then(|(_, value)| value.parse().ok());
        said.map_or(self.at, |received| Timestamp(received).min(self.at))
    }
}

impl EntryBody {
    /// The interaction's content, where the entry brings one.
    pub fn content(&self) -> Option<&Interaction> {
        match self {
            EntryBody::Arrived(interaction) | EntryBody::Edited(interaction) => Some(interaction),
            _ => None,
        }
    }

    /// Says whether what a rule answers to it replaces what that rule decided before; else it only adds.
    pub fn is_decided_anew(&self) -> bool {
        !matches!(self, EntryBody::Fact(Fact::ActionSettled { .. } | Fact::TaskClosed { .. }))
    }
}

/// An entry that did not come from the network: what the company does comes back through the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// A step of a task's escalation came due.
    TaskEscalated {
        /// Which task.
        task: TaskId,
        /// Which step of its chain, from 0.
        step: u16,
    },
    /// A task's deadline passed while it was open.
    TaskOverdue {
        /// Which task.
        task: TaskId,
    },
    /// Somebody closed a task.
    TaskClosed {
        /// Which task.
        task: TaskId,
        /// Who, as the admin surface knows them.
        by: String,
    },
    /// An action of the outbox reached a state that does not change by itself.
    ActionSettled {
        /// Which action.
        action: ActionId,
        /// `sent`, `dead`, `unknown`, `human`, `rejected`.
        state: ActionState,
        /// What the network calls it.
        native: Option<NativeId>,
    },
    /// Somebody approved the content with this fingerprint.
    ActionApproved {
        /// Which action.
        action: ActionId,
        /// Who.
        by: String,
        /// Of the text that goes out. See [`super::Action::fingerprint`].
        fingerprint: String,
    },
    /// The exchange moved while a reply of ours waited: decide again.
    ExchangeMoved {
        /// The reply that waited.
        action: ActionId,
    },
    /// An analyzer answered after the item was decided without it.
    AnnotationLate {
        /// Its name.
        analyzer: String,
    },
    /// An admin asked the rules again about an item that one of them could not decide.
    AskedAgain,
}

/// Where raw bytes came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RawOrigin {
    /// A webhook, verified.
    Webhook {
        /// Upper case.
        method: String,
        /// What follows `/hooks/{channel}`, with its query.
        path_with_query: String,
        /// Without credentials and signatures' secrets; lower-case names.
        headers: Vec<(String, String)>,
    },
    /// A frame of a stream.
    Frame,
    /// What `poll` handed over unparsed.
    Item {
        /// Its native id.
        native: NativeId,
        /// From before the channel was enabled.
        is_backfill: bool,
    },
    /// What `poll` could not understand: its first bytes are kept, for a person and for another try.
    Unreadable {
        /// Its native id.
        native: NativeId,
        /// In words.
        reason: String,
        /// From before the channel was enabled.
        is_backfill: bool,
    },
    /// What is read in the place of an item whose bytes the disk no longer holds; never stored.
    Lost {
        /// In words.
        reason: String,
    },
}

impl RawOrigin {
    /// Says whether the connector is asked what it means: not where it is known that this is no use.
    pub fn is_for_plugin(&self) -> bool {
        match self {
            Self::Webhook { .. } | Self::Frame | Self::Item { .. } => true,
            Self::Unreadable { .. } | Self::Lost { .. } => false,
        }
    }

    /// As what the same bytes are given to `receive` once more; `None` where there are none.
    pub fn again(self) -> Option<Self> {
        match self {
            Self::Unreadable { native, is_backfill, .. } => Some(Self::Item { native, is_backfill }),
            Self::Lost { .. } => None,
            other => Some(other),
        }
    }
}

/// What is appended to a raw log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRaw {
    /// Where from.
    pub origin: RawOrigin,
    /// As received.
    pub body: Vec<u8>,
    /// When it was received, where that was not now: it is put back on its way.
    pub received: Option<Timestamp>,
    /// The network's id of the delivery and how long a repeat of it is ignored. Units: milliseconds.
    pub once: Option<(String, u64)>,
}

/// One record of a raw log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawItem {
    /// Its place in the channel's raw log, from 1.
    pub seq: u64,
    /// When it became durable.
    pub received: Timestamp,
    /// Where from.
    pub origin: RawOrigin,
    /// As received.
    pub body: Vec<u8>,
}
