//! What a guest may use: memory over all its instances, tables, processor time, log. On by default for every plugin.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wasmtime::ResourceLimiter;

use super::compiler::CompileLimits;
use super::manifest::{Kind, ManifestLimits};

/// Between two looks at a running guest.
pub(super) const TICK: Duration = Duration::from_millis(5);
/// Over all tables of an instance.
pub(super) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Of a component, each for itself; its tables as many as its instances.
const INSTANCES_MAX: usize = 64;
const MEMORIES_MAX: usize = 16;

/// Limits of one plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Over all memories of an instance. Units: bytes.
    pub memory_bytes: usize,
    /// Per call.
    pub cpu: Duration,
    /// Per call, waiting included.
    pub wall: Duration,
    /// Before it ever starts.
    pub compile: CompileLimits,
}

impl Limits {
    /// The host's own, by kind.
    pub fn of(kind: Kind) -> Self {
        let cpu = if kind == Kind::Connector { 2_000 } else { 1_000 };
        Self { memory_bytes: 64 << 20, cpu: Duration::from_millis(cpu), wall: Duration::from_secs(30), compile: CompileLimits::DEFAULT }
    }

    /// With what the manifest says, at most 128 MiB, 5 s, 60 s: a plugin does not raise its own limits at will.
    pub fn with_manifest(self, manifest: ManifestLimits) -> Self {
        let asked = self.with(manifest.memory_bytes, manifest.cpu_ms, manifest.wall_ms);
        Self {
            memory_bytes: asked.memory_bytes.min(128 << 20),
            cpu: asked.cpu.min(Duration::from_secs(5)),
            wall: asked.wall.min(Duration::from_secs(60)),
            ..asked
        }
    }

    /// With what an admin says, at most 512 MiB, 30 s, 120 s.
    pub fn with(self, memory_bytes: Option<usize>, cpu_ms: Option<u64>, wall_ms: Option<u64>) -> Self {
        Self {
            memory_bytes: memory_bytes.unwrap_or(self.memory_bytes).min(512 << 20),
            cpu: cpu_ms.map_or(self.cpu, Duration::from_millis).min(Duration::from_secs(30)),
            wall: wall_ms.map_or(self.wall, Duration::from_millis).min(Duration::from_secs(120)),
            ..self
        }
    }

    /// Shape: at least 2, so that a call that begins between two ticks gets its time.
    pub(super) fn ticks(&self) -> u64 {
        u64::try_from(self.cpu.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX).saturating_add(2)
    }
}

/// Why a guest was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Cpu,
    Memory,
    Tables,
}

/// What the memories of all guests of an engine hold together. Units: bytes.
pub(super) type Account = Arc<AtomicUsize>;

/// Sums memories and tables over a store.
#[derive(Debug)]
pub(super) struct Limiter {
    memory_max: usize,
    memory: usize,
    account: Account,
    elements: usize,
    /// What was asked for in vain.
    pub(super) over: Option<Stop>,
}

impl Limiter {
    pub(super) fn new(memory_max: usize, account: Account) -> Self {
        Self { memory_max, memory: 0, account, elements: 0, over: None }
    }

    /// Of all memories. Units: bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }
}

impl Drop for Limiter {
    /// It goes with its store, and the memories with them.
    fn drop(&mut self) {
        self.account.fetch_sub(self.memory, Ordering::Relaxed);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let sum = self.memory.saturating_add(desired.saturating_sub(current));
        if sum > self.memory_max {
            self.over = Some(Stop::Memory);
            return Err(wasmtime::Error::msg("memory limit reached"));
        }
        self.account.fetch_add(sum - self.memory, Ordering::Relaxed);
        self.memory = sum;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let sum = self.elements.saturating_add(desired.saturating_sub(current));
        if sum > TABLE_ELEMENTS_MAX {
            self.over = Some(Stop::Tables);
            return Err(wasmtime::Error::msg("table limit reached"));
        }
        self.elements = sum;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_admin_goes_beyond_what_a_manifest_may_ask_for() {
        let greedy = ManifestLimits { memory_bytes: Some(1 << 40), cpu_ms: Some(999_999), wall_ms: Some(999_999) };
        let asked = Limits::of(Kind::Connector).with_manifest(greedy);
        assert_eq!((asked.memory_bytes, asked.cpu, asked.wall), (128 << 20, Duration::from_secs(5), Duration::from_secs(60)));
        let granted = asked.with(Some(512 << 20), Some(30_000), None);
        assert_eq!((granted.memory_bytes, granted.cpu, granted.wall), (512 << 20, Duration::from_secs(30), Duration::from_secs(60)));
    }
}
