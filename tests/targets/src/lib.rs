//! Whatever comes from outside, as functions of bytes: each asserts what must hold whatever the bytes are.
//!
//! libFuzzer calls them (`tests/fuzz`), and so does a plain test with the corpus beside them (`tests/corpus.rs`). The rooms of the host
//! that are tried are links into `host/src`, so that nothing here waits for the engine.

// `--lib` asks for unit tests here, too; those of the host run with the host.
#![cfg(not(test))]
#![expect(dead_code, reason = "who else calls it is in the host")]
#![expect(unexpected_cfgs, reason = "the host has features that this has not")]
#![expect(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "a target tells by a panic")]

pub mod clock;
pub mod config;
mod connectors;
mod documents;
pub mod egress;
pub mod failpoint;
pub mod ingress;
pub mod model;
pub mod plugin;
mod records;
mod sections;
pub mod telemetry;
mod well_formed;

/// Something that takes what comes from outside.
pub type Target = fn(&[u8]);

/// Every target by its name, which is its folder in the corpus.
pub const TARGETS: [(&str, Target); 16] = [
    ("config", sections::config),
    ("cursor", connectors::cursor),
    ("discourse", connectors::discourse),
    ("egress", sections::egress),
    ("feed", documents::feed),
    ("mail", documents::mail),
    ("manifest", sections::manifest),
    ("mastodon", connectors::mastodon),
    ("meta", connectors::meta),
    ("misago", connectors::misago),
    ("plugin", sections::plugin),
    ("record", records::record),
    ("table", documents::table),
    ("touchpoint", connectors::touchpoint),
    ("webhook", ingress::webhook),
    ("x", connectors::x),
];

/// Calls one of them.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of this name");
    target(data);
}
