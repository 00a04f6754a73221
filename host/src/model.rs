//! The words of the house as types: interactions, entries, annotations, decisions, actions, tasks. No IO, no time, no locks.
//!
//! Everything here is plain data that any room may read. Invariants that need a store are kept by `store`.

mod action;
mod annotation;
mod dead;
mod entry;
mod fault;
mod ids;
mod interaction;
mod media;
mod role;
mod scheme;
pub mod shown;
mod tally;
mod terms;

pub use action::{Action, ActionState, Assignment, Claimed, Decision, Escalation, ReplyBody, ReplyMode, Task, TaskState, Timer, TimerKind, Wanted};
pub use annotation::{Annotated, Annotation, Lineup, LineupMember, Results, ResultsOf, Value};
pub use dead::{DeadLetter, DeadSubject};
pub use entry::{Entry, EntryBody, Fact, NewEntry, NewRaw, RECEIVED_ATTR, RawItem, RawOrigin};
pub use fault::{Detail, Fault, Finding, Severity};
pub use ids::{
    ActionId, ChannelName, ConversationId, DeadId, Digest, ExchangeId, IdKey, IdentityId, InteractionId, LineupId, Seq, Sha256, TaskId, Timestamp,
};
pub use interaction::{Attachment, Author, Automated, Fingerprint, Interaction, NativeId, OCCURRED_CLAMPED, Ours, Place};
pub use media::{Media, MediaCount, MediaOutcome, MediaState};
pub use role::Role;
pub use scheme::Scheme;
pub use tally::{Count, Tally};
pub use terms::{LengthUnit, ReplyTerms, SUMMONED_ATTR, Unfit};
