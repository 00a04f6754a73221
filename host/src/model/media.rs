//! What became of the bytes of an attachment. The bytes themselves lie in the store.

use serde::{Deserialize, Serialize};

use super::{Attachment, Digest, InteractionId, Sha256, Timestamp};

/// What became of one attachment. One without a record was not asked for, or waits to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// Whose.
    pub interaction: InteractionId,
    /// Its place among the attachments, from 0.
    pub index: u16,
    /// As the attachment was described: after an edit another may stand in this place.
    pub of: Digest,
    /// When this was found.
    pub at: Timestamp,
    /// From then on nothing of it is kept.
    pub until: Timestamp,
    /// What became of it.
    pub outcome: MediaOutcome,
}

/// See [`Media`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaOutcome {
    /// Its bytes are in the store.
    Stored {
        /// Units: bytes.
        size: u64,
        /// Of the bytes.
        sha256: Sha256,
    },
    /// They never will be; why, in words. Shape: at most 500 characters.
    Failed(String),
}

impl MediaOutcome {
    /// Units: bytes that it holds in the store.
    pub fn size(&self) -> u64 {
        match self {
            Self::Stored { size, .. } => *size,
            Self::Failed(_) => 0,
        }
    }
}

/// How an attachment's bytes stand, for who looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaState {
    /// It will be fetched.
    Pending,
    /// It was, or never will be.
    Settled(MediaOutcome),
}

impl MediaState {
    /// The word that surfaces show.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Settled(MediaOutcome::Stored { .. }) => "stored",
            Self::Settled(MediaOutcome::Failed(_)) => "failed",
        }
    }
}

/// How many files a channel has, as they lie in the store now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MediaCount {
    /// Files.
    pub stored: u64,
    /// Those that could not be had.
    pub failed: u64,
    /// Of all files. Units: bytes.
    pub bytes: u64,
}

impl MediaCount {
    /// With this one as well.
    pub fn add(&mut self, outcome: &MediaOutcome) {
        *self.of(outcome) += 1;
        self.bytes += outcome.size();
    }

    /// Without this one, which was counted.
    pub fn remove(&mut self, outcome: &MediaOutcome) {
        *self.of(outcome) -= 1;
        self.bytes -= outcome.size();
    }

    fn of(&mut self, outcome: &MediaOutcome) -> &mut u64 {
        match outcome {
            MediaOutcome::Stored { .. } => &mut self.stored,
            MediaOutcome::Failed(_) => &mut self.failed,
        }
    }
}

impl Attachment {
    /// Of its description, not of its bytes.
    pub fn digest(&self) -> Digest {
        Digest::of(format!("{self:?}").as_bytes())
    }
}
