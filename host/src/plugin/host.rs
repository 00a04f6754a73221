//! What guests may call: log, config, clock, state, and the way out through the channel's door. Everything is bounded, and
//! nothing secret goes in.

mod out;
mod wasi;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, error, info, trace, warn};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::clock::Clock;
use crate::egress::Door;

use super::bindings::api;
use super::bindings::take::shown;
use super::limits::{Limiter, Limits, Stop};
use super::manifest::Kind;
use super::shapes::PluginState;

pub use out::Conn;

/// Units: bytes.
const KEY_MAX: usize = 256;
const VALUE_MAX: usize = 64 << 10;
const KEYS_MAX: u32 = 1000;
/// Per second and plugin. Units: bytes.
const LOG_RATE: usize = 64 << 10;
const LOG_LINE_MAX: usize = 2048;

/// Who a guest is, and what it was given; the same for all instances of a generation.
pub(super) struct Who {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) digest: String,
    pub(super) config: String,
    pub(super) door: Option<Arc<Door>>,
    pub(super) clock: Clock,
    pub(super) limits: Limits,
}

/// One instance's side of the host.
pub(super) struct HostState {
    pub(super) who: Arc<Who>,
    pub(super) limiter: Limiter,
    pub(super) ticks_left: u64,
    pub(super) stop: Option<Stop>,
    deadline: Instant,
    state: PluginState,
    changed: BTreeMap<String, Option<Vec<u8>>>,
    log: LogQuota,
    table: ResourceTable,
    wasi: WasiCtx,
}

struct LogQuota {
    since: Instant,
    used: usize,
    n_dropped: u64,
}

impl HostState {
    pub(super) fn new(who: Arc<Who>) -> Self {
        Self {
            limiter: Limiter::new(who.limits.memory_bytes),
            ticks_left: 0,
            stop: None,
            deadline: now(),
            state: PluginState::default(),
            changed: BTreeMap::new(),
            log: LogQuota { since: now(), used: 0, n_dropped: 0 },
            table: ResourceTable::new(),
            wasi: wasi::context(who.kind),
            who,
        }
    }

    /// Before a call.
    pub(super) fn begin(&mut self, state: PluginState) {
        self.ticks_left = self.who.limits.ticks();
        self.stop = None;
        self.deadline = now() + self.who.limits.wall;
        self.state = state;
        self.changed.clear();
    }

    /// After a call that succeeded: what it changed.
    pub(super) fn end(&mut self) -> Vec<(String, Option<Vec<u8>>)> {
        self.state = PluginState::default();
        std::mem::take(&mut self.changed).into_iter().collect()
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(now())
    }

    fn size_of_state(&self) -> usize {
        self.state.stored.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

#[expect(clippy::disallowed_methods, reason = "budgets of calls are measured, never simulated")]
fn now() -> Instant {
    Instant::now()
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl api::types::Host for HostState {}

impl api::log::Host for HostState {
    async fn write(&mut self, level: api::log::Level, message: String) -> wasmtime::Result<()> {
        if self.log.since.elapsed() > Duration::from_secs(1) {
            if self.log.n_dropped > 0 {
                warn!(plugin = self.who.name, n_dropped = self.log.n_dropped, "Plugin wrote more than its share of the log.");
            }
            self.log = LogQuota { since: now(), used: 0, n_dropped: 0 };
        }
        self.log.used = self.log.used.saturating_add(message.len());
        if self.log.used > LOG_RATE {
            self.log.n_dropped += 1;
            return Ok(());
        }
        let message = shown(&message, LOG_LINE_MAX);
        let (plugin, digest) = (self.who.name.as_str(), self.who.digest.get(..12).unwrap_or_default());
        match level {
            api::log::Level::Trace => trace!(target: "plugin", plugin, digest, "{message}"),
            api::log::Level::Debug => debug!(target: "plugin", plugin, digest, "{message}"),
            api::log::Level::Info => info!(target: "plugin", plugin, digest, "{message}"),
            api::log::Level::Warn => warn!(target: "plugin", plugin, digest, "{message}"),
            api::log::Level::Error => error!(target: "plugin", plugin, digest, "{message}"),
        }
        Ok(())
    }
}

impl api::config::Host for HostState {
    async fn json(&mut self) -> wasmtime::Result<String> {
        Ok(self.who.config.clone())
    }
}

impl api::clock::Host for HostState {
    async fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.who.clock.now().0)
    }

    async fn remaining_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::try_from(self.remaining().as_millis()).unwrap_or(u64::MAX))
    }
}

impl api::state::Host for HostState {
    async fn get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.state.stored.get(&key).cloned())
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), String>> {
        if self.state.quota == 0 {
            return Ok(Err("this call may only read".to_owned()));
        }
        if key.is_empty() || key.len() > KEY_MAX || value.len() > VALUE_MAX {
            return Ok(Err(format!("a key has 1 to {KEY_MAX} bytes, a value at most {VALUE_MAX}")));
        }
        let before = self.state.stored.get(&key).map_or(0, |old| key.len() + old.len());
        if self.size_of_state() - before + key.len() + value.len() > self.state.quota {
            return Ok(Err(format!("the quota of {} bytes is used up", self.state.quota)));
        }
        self.changed.insert(key.clone(), Some(value.clone()));
        self.state.stored.insert(key, value);
        Ok(Ok(()))
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<()> {
        if self.state.quota > 0 && self.state.stored.remove(&key).is_some() {
            self.changed.insert(key, None);
        }
        Ok(())
    }

    async fn keys(&mut self, prefix: String, after: Option<String>, limit: u32) -> wasmtime::Result<Vec<String>> {
        let limit = usize::try_from(limit.min(KEYS_MAX)).unwrap_or(0);
        let keys = self.state.stored.keys().filter(|key| key.starts_with(&prefix) && after.as_ref().is_none_or(|after| *key > after));
        Ok(keys.take(limit).cloned().collect())
    }
}
