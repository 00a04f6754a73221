//! What each section's plugin used since its build is in force.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value as Json, json};

use crate::plugin::{BreakerState, Generation, Usage};

use super::lists::all_lines;
use super::{Desk, Section, Sections};

/// One section whose plugin is in force.
pub(super) struct InUse {
    pub(super) section: Section,
    pub(super) generation: Arc<Generation>,
}

/// In the file's order: channels, analyzers, rules. Nothing where no host runs.
pub(super) fn in_use(sections: &Sections) -> Vec<InUse> {
    let of = |section: &Section| Some(InUse { section: section.clone(), generation: section.generation.upgrade()? });
    sections.all().filter_map(of).collect()
}

/// In the file's order.
pub(super) async fn list(State(desk): State<Arc<Desk>>) -> Response {
    all_lines(in_use(&desk.sections.load()).iter().map(InUse::json).collect())
}

impl InUse {
    fn json(&self) -> Json {
        let (manifest, usage) = (self.generation.manifest(), self.generation.usage());
        let Usage { calls, items, memory_peak, faults, gave_way, denied, breaker, .. } = usage;
        let (bytes_out, bytes_in) = self.generation.door().map_or((0, 0), |door| door.traffic());
        let wait_ms = match breaker {
            BreakerState::Open(left) => Some(millis(left)),
            BreakerState::Closed | BreakerState::HalfOpen => None,
        };
        json!({
            "name": self.section.name,
            "kind": manifest.kind.word(),
            "plugin": self.section.plugin,
            "version": manifest.version,
            "digest": self.generation.digest().to_string(),
            "calls": calls,
            "items": items,
            "cpu_ms": millis(usage.cpu),
            "waited_ms": millis(usage.waited),
            "memory_peak_bytes": memory_peak,
            "faults": faults.named().into_iter().map(|(word, n)| (word.to_owned(), json!(n))).collect::<Map<_, _>>(),
            "failed": faults.named().into_iter().map(|(_, n)| n).sum::<u64>(),
            "gave_way": gave_way,
            "denied": denied,
            "bytes_out": bytes_out,
            "bytes_in": bytes_in,
            "breaker": breaker.word(),
            "breaker_wait_ms": wait_ms,
        })
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
