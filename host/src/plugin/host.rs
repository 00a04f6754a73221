//! What guests may call: log, config, clock, state, and the way out through the channel's door. Everything is bounded, and
//! nothing secret goes in.

mod out;
mod wasi;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{debug, error, info, trace, warn};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::clock::Clock;
use crate::egress::Door;
use crate::model::Digest;

use super::bindings::api;
use super::bindings::take::shown;
use super::denied::Denied;
use super::limits::{Account, Limiter, Limits, Stop};
use super::manifest::Kind;
use super::meter::Meter;
use super::state::PluginState;

pub use out::Conn;

/// Units: bytes.
const KEY_MAX: usize = 256;
const VALUE_MAX: usize = 64 << 10;
const KEYS_MAX: u32 = 1000;
/// Per second and plugin. Units: bytes.
const LOG_RATE: usize = 64 << 10;
/// What a line costs beside its message: time and fields. Units: bytes.
const LOG_LINE_COST: usize = 200;
/// Units: characters.
const LOG_LINE_MAX: usize = 2048;

/// Who a guest is, and what it was given; the same for all instances of a generation.
pub(super) struct Who {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) version: String,
    pub(super) digest: Digest,
    pub(super) config: String,
    pub(super) door: Option<Arc<Door>>,
    pub(super) clock: Clock,
    pub(super) limits: Limits,
    pub(super) memory: Account,
    pub(super) log: LogQuota,
    pub(super) meter: Arc<Meter>,
    /// Where it is told; none: nowhere.
    pub(super) denied: Option<Arc<Denied>>,
}

impl Who {
    /// A way out was refused.
    pub(super) fn denied(&self) {
        self.meter.denied();
        if let Some(denied) = &self.denied {
            denied.add((self.name.clone(), self.digest), 1);
        }
    }
}

/// One instance's side of the host.
pub(super) struct HostState {
    pub(super) who: Arc<Who>,
    pub(super) limiter: Limiter,
    pub(super) ticks_left: u64,
    /// With fewer left the call has taken far longer than usual.
    pub(super) gives_way_below: u64,
    pub(super) stop: Option<Stop>,
    deadline: Instant,
    call: &'static str,
    state: PluginState,
    n_connections: usize,
    waits: Waits,
    table: ResourceTable,
    wasi: WasiCtx,
}

/// Time that a guest waited for others. Units: microseconds.
#[derive(Default)]
struct Waits(AtomicU64);

/// One wait; it counts also where the call is ended in its middle.
struct Waiting<'w>(&'w Waits, Instant);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(u64::try_from(self.1.elapsed().as_micros()).unwrap_or(0), Ordering::Relaxed);
    }
}

impl Waits {
    async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let _waiting = Waiting(self, now());
        work.await
    }
}

/// What a plugin may still write into the log in this second, over all its instances.
#[derive(Debug)]
pub(super) struct LogQuota(Mutex<Window>);

#[derive(Debug)]
struct Window {
    since: Instant,
    used: usize,
    n_dropped: u64,
}

impl Default for LogQuota {
    fn default() -> Self {
        Self(Mutex::new(Window { since: now(), used: 0, n_dropped: 0 }))
    }
}

impl LogQuota {
    /// Says whether so many bytes may be written; and how many lines the last window dropped, once, when a new one begins.
    fn admit(&self, bytes: usize) -> (bool, u64) {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut n_dropped = 0;
        if window.since.elapsed() > Duration::from_secs(1) {
            n_dropped = window.n_dropped;
            *window = Window { since: now(), used: 0, n_dropped: 0 };
        }
        window.used = window.used.saturating_add(bytes);
        let is_admitted = window.used <= LOG_RATE;
        window.n_dropped += u64::from(!is_admitted);
        (is_admitted, n_dropped)
    }
}

impl HostState {
    pub(super) fn new(who: Arc<Who>, resources_max: usize) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(resources_max);
        Self {
            limiter: Limiter::new(who.limits.memory_bytes, Arc::clone(&who.memory)),
            ticks_left: 0,
            gives_way_below: 0,
            stop: None,
            deadline: now(),
            call: "start",
            state: PluginState::default(),
            n_connections: 0,
            waits: Waits::default(),
            table,
            wasi: wasi::context(who.kind, &who.clock),
            who,
        }
    }

    /// Before a call.
    pub(super) fn begin(&mut self, call: &'static str, state: PluginState, deadline: Instant) {
        self.ticks_left = self.who.limits.ticks();
        self.gives_way_below = self.ticks_left.saturating_sub(self.who.meter.ticks_granted());
        self.stop = None;
        self.deadline = deadline;
        self.call = call;
        self.state = state;
    }

    /// After a call that succeeded: what it changed.
    pub(super) fn end(&mut self) -> Vec<(String, Option<Vec<u8>>)> {
        std::mem::take(&mut self.state).into_changes()
    }

    /// What the call used: ticks in which the guest ran, and how long it waited for others since this was asked last.
    pub(super) fn used(&self) -> (u64, Duration) {
        (self.who.limits.ticks().saturating_sub(self.ticks_left), Duration::from_micros(self.waits.0.swap(0, Ordering::Relaxed)))
    }

    /// Connections that the guest holds.
    pub(super) fn n_connections(&self) -> usize {
        self.n_connections
    }

    /// All worlds share one linker: what another kind may not use ends its call. Errors: a trap.
    fn only_connectors(&self, what: &str) -> wasmtime::Result<()> {
        if self.who.kind == Kind::Connector {
            return Ok(());
        }
        Err(wasmtime::Error::msg(format!("`{what}` is for connectors alone")))
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(now())
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
        let who = &self.who;
        let (is_admitted, n_dropped) = who.log.admit(message.len().saturating_add(LOG_LINE_COST));
        if n_dropped > 0 {
            warn!(plugin = who.name, n_dropped, "Plugin wrote more than its share of the log.");
        }
        if !is_admitted {
            return Ok(());
        }
        let message = shown(&message, LOG_LINE_MAX);
        let digest = who.digest.to_string();
        let (plugin, plugin_version, digest, call) = (who.name.as_str(), &who.version, digest.get(..12).unwrap_or_default(), self.call);
        // A connector has the name of its channel.
        let channel = (who.kind == Kind::Connector).then_some(plugin);
        match level {
            api::log::Level::Trace => trace!(target: "plugin", channel, plugin, plugin_version, digest, call, "{message}"),
            api::log::Level::Debug => debug!(target: "plugin", channel, plugin, plugin_version, digest, call, "{message}"),
            api::log::Level::Info => info!(target: "plugin", channel, plugin, plugin_version, digest, call, "{message}"),
            api::log::Level::Warn => warn!(target: "plugin", channel, plugin, plugin_version, digest, call, "{message}"),
            api::log::Level::Error => error!(target: "plugin", channel, plugin, plugin_version, digest, call, "{message}"),
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
        self.only_connectors("clock")?;
        Ok(self.who.clock.now().0)
    }

    async fn remaining_ms(&mut self) -> wasmtime::Result<u64> {
        self.only_connectors("clock")?;
        Ok(u64::try_from(self.remaining().as_millis()).unwrap_or(u64::MAX))
    }
}

impl api::state::Host for HostState {
    async fn get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        self.only_connectors("state")?;
        Ok(self.state.get(&key).map(<[u8]>::to_vec))
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), String>> {
        self.only_connectors("state")?;
        if key.is_empty() || key.len() > KEY_MAX || value.len() > VALUE_MAX {
            return Ok(Err(format!("a key has 1 to {KEY_MAX} bytes, a value at most {VALUE_MAX}")));
        }
        Ok(self.state.set(key, value))
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<()> {
        self.only_connectors("state")?;
        self.state.delete(key);
        Ok(())
    }

    async fn keys(&mut self, prefix: String, after: Option<String>, limit: u32) -> wasmtime::Result<Vec<String>> {
        self.only_connectors("state")?;
        Ok(self.state.keys(&prefix, after.as_deref(), usize::try_from(limit.min(KEYS_MAX)).unwrap_or(0)))
    }
}
