//! The built host as its users meet it: a process, a configuration, pretend networks. One binary, for each links anew.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![expect(clippy::indexing_slicing, clippy::panic, reason = "what is not as wanted fails the test")]
#![expect(clippy::disallowed_methods, reason = "tests wait in real time, and are set by the environment")]

#[path = "all/admin.rs"]
mod admin;
#[path = "all/backtest.rs"]
mod backtest;
#[path = "all/backup.rs"]
mod backup;
#[path = "all/bad_input.rs"]
mod bad_input;
#[path = "all/bench.rs"]
mod bench;
#[path = "all/chaos.rs"]
mod chaos;
#[path = "all/check.rs"]
mod check;
#[path = "all/confinement.rs"]
mod confinement;
#[path = "all/connectors.rs"]
mod connectors;
#[path = "all/contracts.rs"]
mod contracts;
#[path = "all/counts.rs"]
mod counts;
#[path = "all/demo.rs"]
mod demo;
#[path = "all/disk.rs"]
mod disk;
#[path = "all/engine.rs"]
mod engine;
#[path = "all/everywhere.rs"]
mod everywhere;
#[path = "all/evidence.rs"]
mod evidence;
#[path = "all/examples.rs"]
mod examples;
#[path = "all/failpoints.rs"]
mod failpoints;
#[path = "all/harness.rs"]
mod harness;
#[path = "all/hooks.rs"]
mod hooks;
#[path = "all/hostile.rs"]
mod hostile;
#[path = "all/kill.rs"]
mod kill;
#[path = "all/letters.rs"]
mod letters;
#[path = "all/load.rs"]
mod load;
#[path = "all/logins.rs"]
mod logins;
#[path = "all/media.rs"]
mod media;
#[path = "all/networks.rs"]
mod networks;
#[path = "all/planted.rs"]
mod planted;
#[path = "all/real.rs"]
mod real;
#[path = "all/replies.rs"]
mod replies;
#[path = "all/servers.rs"]
mod servers;
#[path = "all/shadow.rs"]
mod shadow;
#[path = "all/story.rs"]
mod story;
#[path = "all/streams.rs"]
mod streams;
#[path = "all/surfaces.rs"]
mod surfaces;
#[path = "all/swaps.rs"]
mod swaps;
#[path = "all/tidy.rs"]
mod tidy;
#[path = "all/torture.rs"]
mod torture;
