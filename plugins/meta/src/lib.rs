//! What the connectors of Meta's networks share: calls of the Graph API and what its errors mean, paging, webhooks, messages
//! and the second look at what was seen lately. Facebook and Instagram add what only they have.
//!
//! Nothing a network sends is trusted: each item is read alone, and what is missing, null or of another type is absent.
//! Source: developers.facebook.com, Graph API, Messenger Platform, Instagram Platform, Webhooks.

mod faults;
pub mod graph;
pub mod hooks;
pub mod latest;
pub mod messages;
pub mod read;
pub mod remembered;
pub mod say;
pub mod shape;
pub mod walk;
pub mod watch;

pub use faults::REFUSED;

#[cfg(test)]
mod tests;
