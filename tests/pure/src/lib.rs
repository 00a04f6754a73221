//! Files of the host that decide without any IO, as they stand there: the model, the policy of egress, the state machine of the outbox.
//!
//! That this builds shows that they are pure, for nothing of the rest is here; and their own unit tests run in seconds, so that each
//! can be tried against mutants (`.ci/nightly mutants`). The folders are links into `host/src`.

#![expect(dead_code, reason = "who calls it is in the host")]

pub mod egress;
pub mod model;
pub mod outbox;
pub mod plugin;
