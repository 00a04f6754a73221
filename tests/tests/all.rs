//! The built host as its users meet it: a process, a configuration, pretend networks. One binary, for each links anew.

#![expect(clippy::print_stdout, reason = "a test that is skipped says why")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![expect(clippy::disallowed_methods, reason = "tests wait in real time, and are set by the environment")]

#[path = "all/check.rs"]
mod check;
#[path = "all/examples.rs"]
mod examples;
#[path = "all/harness.rs"]
mod harness;
#[path = "all/hooks.rs"]
mod hooks;
#[path = "all/hostile.rs"]
mod hostile;
#[path = "all/kill.rs"]
mod kill;
#[path = "all/servers.rs"]
mod servers;
#[path = "all/story.rs"]
mod story;
#[path = "all/surfaces.rs"]
mod surfaces;
#[path = "all/tidy.rs"]
mod tidy;
