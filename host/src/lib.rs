//! membrana: a host that loads sandboxed connectors, analyzers and rules, and stands between a company and its public.
//!
//! `ARCHITECTURE.md` is the map; the rooms below stand in reading order.

#![warn(missing_docs)]

pub mod analysis;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod egress;
pub mod failpoint;
pub mod ingress;
pub mod intake;
pub mod media;
pub mod model;
pub mod outbox;
pub mod plugin;
pub mod rules;
#[cfg(test)]
mod simulation;
pub mod sinks;
pub mod stage;
pub mod store;
pub mod telemetry;
#[cfg(test)]
pub mod testing;

/// Of every binary that links this crate: what is tested is what is shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
