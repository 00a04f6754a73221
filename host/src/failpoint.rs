//! Places at which a host under test is told to die, as `kill -9` would have it: before and after each durable commit, each call that has
//! an effect, and what the store does beneath.
//!
//! Nothing here decides what happens next. Only the binary of the tests arms a place, and the host's own never does: there a place costs
//! one load, beside a commit, a file or a call of a guest, the cheapest of which takes a thousand times as long. So what is tested is, to
//! the instruction, what is released. A commit is named by the stage whose turn it is, so that a new one has its places by itself.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// What a host can be told to die before or after. Shape: `KIND.NAME`.
pub const STEPS: [&str; 35] = [
    // Commits, by the stage or who else has the turn; `raw` is what ingress keeps of a webhook or a stream.
    "commit.raw",
    "commit.receive",
    "commit.poll",
    "commit.analysis",
    "commit.rerun",
    "commit.rules",
    "commit.timers",
    "commit.claim",
    "commit.outbox",
    "commit.reconcile",
    "commit.sinks",
    "commit.media",
    "commit.order",
    "commit.host",
    // Calls of a plugin, and of the CRM.
    "call.validate",
    "call.open",
    "call.poll",
    "call.receive",
    "call.analyze",
    "call.decide",
    "call.send",
    "call.probe",
    "call.tell",
    // The store: a group of writes is synced; then how it is opened.
    "store.sync",
    "store.head",
    "open.look",
    "open.copy",
    "open.keep",
    "open.put",
    "open.sled",
    "open.settle",
    // Files beside the tree.
    "file.body",
    "file.build",
    "file.token",
    "file.audit",
];

/// On which side of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Nothing of it happened yet.
    Before,
    /// It happened, and nobody was told.
    After,
}

struct Armed {
    step: String,
    side: Side,
    /// It dies when this comes to nothing.
    left: AtomicU64,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

tokio::task_local! {
    static TURN: &'static str;
}

/// The names of all places. Shape: `KIND.NAME:before` and `KIND.NAME:after`.
pub fn names() -> impl Iterator<Item = String> {
    STEPS.iter().flat_map(|step| ["before", "after"].map(|side| format!("{step}:{side}")))
}

/// Tells this process to die when it comes by this place for the `n`-th time, counted from 1. Says whether there is such a place, and
/// none was named before.
pub fn arm(name: &str, n: u64) -> bool {
    let Some((step, side)) = name.split_once(':').filter(|_| names().any(|known| known == name)) else { return false };
    let side = if side == "before" { Side::Before } else { Side::After };
    ARMED.set(Armed { step: step.to_owned(), side, left: AtomicU64::new(n) }).is_ok()
}

/// A place is passed.
pub fn pass(kind: &str, name: &str, side: Side) {
    let Some(armed) = ARMED.get() else { return };
    let is_it = armed.side == side && armed.step.split_once('.') == Some((kind, name));
    if is_it && armed.left.fetch_sub(1, Ordering::Relaxed) == 1 && kill_process(getpid(), Signal::KILL).is_err() {
        std::process::abort();
    }
}

/// A step with its two places.
pub async fn around<T>(kind: &str, name: &str, work: impl Future<Output = T>) -> T {
    pass(kind, name, Side::Before);
    let done = work.await;
    pass(kind, name, Side::After);
    done
}

/// As [`around`], of what blocks.
pub fn across<T>(kind: &str, name: &str, work: impl FnOnce() -> T) -> T {
    pass(kind, name, Side::Before);
    let done = work();
    pass(kind, name, Side::After);
    done
}

/// Commits in here are named so.
pub async fn within<T>(turn: &'static str, work: impl Future<Output = T>) -> T {
    TURN.scope(turn, work).await
}

/// Whose turn it is; `host` where it is no stage's.
pub fn turn() -> &'static str {
    TURN.try_with(|turn| *turn).unwrap_or("host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_place_that_is_there_can_be_armed_and_commits_are_named_by_the_turn_they_are_in() {
        assert!(names().all(|name| name.split_once('.').is_some_and(|(_, rest)| rest.ends_with(":before") || rest.ends_with(":after"))));
        assert!(!arm("commit.nobody:before", 1) && !arm("commit.raw", 1) && !arm("commit.raw:during", 1));
        // Not armed, it is passed.
        pass("commit", "raw", Side::Before);

        let inner = within("outbox", async { (turn(), within("claim", async { turn() }).await, turn()) });
        assert_eq!((inner.await, turn()), (("outbox", "claim", "outbox"), "host"));
    }
}
