//! Defects that are planted on purpose: a simulation that finds none of them would find none of ours.

/// One defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planted {
    /// A commit that was acknowledged lacks an arrival.
    LostEntry,
    /// Commits and webhooks are acknowledged before they are durable.
    EarlyAck,
    /// A crash tears a commit: its positions are there and its entries are not.
    TornCommit,
    /// A cursor goes back.
    CursorBack,
    /// Timers are not kept.
    LostTimer,
    /// Refused events are not kept.
    LostRetry,
    /// Some actions are never due.
    HiddenAction,
    /// Replies of one exchange do not wait for one another.
    NoOrder,
    /// The networks do not know a key again.
    ForgottenKey,
    /// Whoever looks for a post does not see it.
    BlindProbe,
    /// The outbox takes a network that knows nothing for one that knows its posts by the client's id.
    WrongClass,
    /// A connector tells what nobody said.
    Phantom,
    /// A connector leaves out what was edited.
    LostEdit,
    /// A decision is not kept, nor what follows from it.
    LostDecision,
}

impl Planted {
    pub(super) const ALL: [Self; 14] = [
        Self::LostEntry,
        Self::EarlyAck,
        Self::TornCommit,
        Self::CursorBack,
        Self::LostTimer,
        Self::LostRetry,
        Self::HiddenAction,
        Self::NoOrder,
        Self::ForgottenKey,
        Self::BlindProbe,
        Self::WrongClass,
        Self::Phantom,
        Self::LostEdit,
        Self::LostDecision,
    ];
}
