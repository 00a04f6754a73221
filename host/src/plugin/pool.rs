//! Instances of one generation: reused for speed, thrown away after so many calls, so much time, or any trap.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;
use wasmtime::component::InstancePre;
use wasmtime::{Store, Trap, UpdateDeadline};

use crate::model::{Detail, Fault};

use super::bindings::{analyzer::AnalyzerPlugin, analyzer::AnalyzerPluginPre};
use super::bindings::{connector::ConnectorPlugin, connector::ConnectorPluginIndices, fetching, streaming};
use super::bindings::{rule::RulePlugin, rule::RulePluginPre};
use super::host::{HostState, Who};
use super::lanes;
use super::limits::{Stop, TABLE_ELEMENTS_MAX};
use super::manifest::{CONTRACT, Kind};

/// An instance serves so many calls at most.
const CALLS_MAX: u32 = 10_000;
/// And lives so long at most.
const AGE_MAX: Duration = Duration::from_secs(600);
/// Copied from the guest in one call or answer. Units: bytes.
const FUEL: usize = 4 << 20;
/// A page of `poll` may hold two raw mails at their limit of 32 MiB.
const FUEL_CONNECTOR: usize = 72 << 20;
/// Resources that an instance holds, of the host and of its own.
const HANDLES_MAX: usize = 1024;

/// Ready to instantiate; every export of its kind was looked up.
pub(super) enum Prepared {
    Connector(ConnectorPre),
    Analyzer(AnalyzerPluginPre<HostState>),
    Rule(RulePluginPre<HostState>),
}

/// The exports of one instance.
pub(super) enum Exports {
    Connector(Connector),
    Analyzer(AnalyzerPlugin),
    Rule(RulePlugin),
}

/// A connector, with what it may export besides.
pub(super) struct ConnectorPre {
    pre: InstancePre<HostState>,
    plugin: ConnectorPluginIndices,
    stream: Option<streaming::GuestIndices>,
    media: Option<fetching::GuestIndices>,
}

/// One instance of it.
pub(super) struct Connector {
    pub(super) plugin: ConnectorPlugin,
    pub(super) stream: Option<streaming::Guest>,
    pub(super) media: Option<fetching::Guest>,
}

impl ConnectorPre {
    fn new(pre: InstancePre<HostState>) -> wasmtime::Result<Self> {
        let exports = |interface: &str| {
            let name = format!("membrana:plugin/{interface}@{CONTRACT}.0");
            pre.component().get_export_index(None, name).is_some()
        };
        let (has_stream, has_media) = (exports("connector-stream"), exports("connector-media"));
        Ok(Self {
            plugin: ConnectorPluginIndices::new(&pre)?,
            stream: has_stream.then(|| streaming::GuestIndices::new(&pre)).transpose()?,
            media: has_media.then(|| fetching::GuestIndices::new(&pre)).transpose()?,
            pre,
        })
    }

    async fn instantiate(&self, store: &mut Store<HostState>) -> wasmtime::Result<Connector> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        Ok(Connector {
            plugin: self.plugin.load(&mut *store, &instance)?,
            stream: self.stream.as_ref().map(|stream| stream.load(&mut *store, &instance)).transpose()?,
            media: self.media.as_ref().map(|media| media.load(&mut *store, &instance)).transpose()?,
        })
    }
}

impl Prepared {
    pub(super) fn new(kind: Kind, pre: InstancePre<HostState>) -> wasmtime::Result<Self> {
        Ok(match kind {
            Kind::Connector => Self::Connector(ConnectorPre::new(pre)?),
            Kind::Analyzer => Self::Analyzer(AnalyzerPluginPre::new(pre)?),
            Kind::Rule => Self::Rule(RulePluginPre::new(pre)?),
        })
    }

    /// Says whether it is a connector with a stream.
    pub(super) fn has_stream(&self) -> bool {
        matches!(self, Self::Connector(ConnectorPre { stream: Some(_), .. }))
    }

    /// Says whether it is a connector that fetches files.
    pub(super) fn has_media(&self) -> bool {
        matches!(self, Self::Connector(ConnectorPre { media: Some(_), .. }))
    }

    async fn instantiate(&self, store: &mut Store<HostState>) -> wasmtime::Result<Exports> {
        Ok(match self {
            Self::Connector(pre) => Exports::Connector(pre.instantiate(store).await?),
            Self::Analyzer(pre) => Exports::Analyzer(pre.instantiate_async(store).await?),
            Self::Rule(pre) => Exports::Rule(pre.instantiate_async(store).await?),
        })
    }
}

/// One instance with its memory.
pub(super) struct Instance {
    pub(super) store: Store<HostState>,
    pub(super) exports: Exports,
    n_calls: u32,
    born: Instant,
}

impl Instance {
    fn is_young(&self) -> bool {
        self.born.elapsed() < AGE_MAX
    }
}

/// All instances of a generation.
pub(super) struct Pool {
    engine: wasmtime::Engine,
    prepared: Prepared,
    who: Arc<Who>,
    idle: Mutex<Vec<Instance>>,
    permits: Arc<Semaphore>,
}

impl Pool {
    pub(super) fn new(engine: wasmtime::Engine, prepared: Prepared, who: Arc<Who>, size: usize) -> Self {
        Self { engine, prepared, who, idle: Mutex::new(Vec::new()), permits: Arc::new(Semaphore::new(size)) }
    }

    pub(super) fn who(&self) -> &Who {
        &self.who
    }

    /// What instances are made of.
    pub(super) fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// Waits for a turn; calls beyond the pool's size queue here.
    pub(super) async fn turn(&self) -> Result<OwnedSemaphorePermit, Fault> {
        Arc::clone(&self.permits).acquire_owned().await.map_err(|_| transient("stopped", "the plugin is being stopped"))
    }

    /// An idle instance that is not too old, or a new one, which must stand by the deadline.
    pub(super) async fn take(&self, deadline: Instant) -> Result<Instance, Fault> {
        let idle = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(Instance::is_young);
            idle.pop()
        };
        match idle {
            Some(instance) => Ok(instance),
            None => self.start(deadline).await,
        }
    }

    async fn start(&self, deadline: Instant) -> Result<Instance, Fault> {
        let mut state = HostState::new(Arc::clone(&self.who), HANDLES_MAX);
        state.begin("start", super::PluginState::default(), deadline);
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_max_component_handles(HANDLES_MAX);
        store.set_hostcall_fuel(if self.who.kind == Kind::Connector { FUEL_CONNECTOR } else { FUEL });
        store.epoch_deadline_callback(|mut context| {
            let state = context.data_mut();
            if state.ticks_left == 0 {
                state.stop = Some(Stop::Cpu);
                return Ok(UpdateDeadline::Interrupt);
            }
            state.ticks_left -= 1;
            if state.ticks_left < state.gives_way_below {
                state.gives_way_below = 0;
                state.who.meter.gives_way();
                lanes::give_way();
            }
            Ok(UpdateDeadline::Yield(1))
        });
        store.set_epoch_deadline(1);
        match timeout_at(deadline.into(), self.prepared.instantiate(&mut store)).await {
            Ok(Ok(exports)) => Ok(Instance { store, exports, n_calls: 0, born: now() }),
            Ok(Err(error)) => Err(self.fault(&mut store, &error)),
            Err(_) => Err(self.late()),
        }
    }

    /// When a call that begins now must have ended.
    pub(super) fn deadline(&self) -> Instant {
        now() + self.who.limits.wall
    }

    /// The fault of a call that did not end in time.
    pub(super) fn late(&self) -> Fault {
        transient("timeout", &format!("no answer within {} ms", self.who.limits.wall.as_millis()))
    }

    /// After a call that ended well. One that still holds a connection ends here, and the connection with it.
    pub(super) fn give_back(&self, mut instance: Instance) {
        instance.n_calls += 1;
        let is_idle = instance.store.data().n_connections() == 0;
        if is_idle && instance.n_calls < CALLS_MAX && instance.is_young() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
        }
    }

    /// What a trap means.
    pub(super) fn fault(&self, store: &mut Store<HostState>, error: &wasmtime::Error) -> Fault {
        let state = store.data_mut();
        state.stop = state.limiter.over.or(state.stop);
        let limits = self.who.limits;
        match (state.stop, error.downcast_ref::<Trap>()) {
            (Some(Stop::Cpu), _) => permanent("cpu", format!("stopped after its {} ms of processor time", limits.cpu.as_millis())),
            (Some(Stop::Memory), _) => permanent("memory", format!("stopped at its limit of {} MiB of memory", limits.memory_bytes >> 20)),
            (Some(Stop::Tables), _) => permanent("memory", format!("stopped at its limit of {TABLE_ELEMENTS_MAX} elements of tables")),
            (None, Some(trap)) => permanent("trap", trap.to_string()),
            (None, None) => permanent("trap", why(error)),
        }
    }
}

/// All causes but where in the guest it was, which is many lines.
fn why(error: &wasmtime::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).filter(|cause| !cause.contains('\n')).collect();
    super::bindings::take::shown(&causes.join(": "), 300)
}

fn permanent(code: &str, message: String) -> Fault {
    Fault::Permanent(Detail { code: code.to_owned(), message })
}

pub(super) fn transient(code: &str, message: &str) -> Fault {
    Fault::Transient(Detail { code: code.to_owned(), message: message.to_owned() })
}

#[expect(clippy::disallowed_methods, reason = "ages and times of guests are measured, never simulated")]
pub(super) fn now() -> Instant {
    Instant::now()
}
