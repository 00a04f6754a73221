//! Dead letters: what could not be handled, set aside alone, with the reason and a way back.

use serde::{Deserialize, Serialize};

use super::{ActionId, ChannelName, DeadId, Digest, Seq, Timestamp};

/// One thing set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Hash of channel, stage and subject: the same failure twice is one letter.
    pub id: DeadId,
    /// Where it came from.
    pub channel: ChannelName,
    /// Which stage gave up: `intake`, `analysis`, `rules`, `outbox`, `sink:NAME`.
    pub stage: String,
    /// What was given up on.
    pub subject: DeadSubject,
    /// The plugin's name in the configuration, if one was at fault.
    pub plugin: Option<String>,
    /// Its build.
    pub digest: Option<Digest>,
    /// In words, for an admin; no personal data.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// What a dead letter is about. The thing itself stays where it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeadSubject {
    /// An item of the channel's raw log.
    Raw(u64),
    /// An entry of the channel's log.
    Entry(Seq),
    /// An action of the outbox.
    Action(ActionId),
    /// An event for a sink.
    Event {
        /// The entry it derives from.
        seq: Seq,
        /// Which of the entry's events.
        event: String,
        /// The event's own id.
        id: String,
    },
}

impl DeadSubject {
    /// Its place in the log that it stands in, of those that do.
    pub fn place(&self) -> u64 {
        match self {
            Self::Raw(place) => *place,
            Self::Entry(seq) | Self::Event { seq, .. } => seq.0,
            Self::Action(_) => 0,
        }
    }
}
