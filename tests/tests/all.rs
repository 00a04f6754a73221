//! The built host as its users meet it: a process, a configuration, pretend networks. One binary, for each links anew.

#[path = "all/check.rs"]
mod check;
#[path = "all/harness.rs"]
mod harness;
#[path = "all/hooks.rs"]
mod hooks;
#[path = "all/kill.rs"]
mod kill;
#[path = "all/servers.rs"]
mod servers;
#[path = "all/story.rs"]
mod story;
#[path = "all/tidy.rs"]
mod tidy;
