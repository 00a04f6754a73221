//! Compiles and links: from a file's bytes to a generation that is proved to start.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinError;
use wasmtime::Config;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

use crate::clock::Clock;
use crate::egress::Door;
use crate::model::Digest;

use super::bindings::host::Everything;
use super::cache::{self, Cache};
use super::compiler::{self, CompileLimits};
use super::denied::Denied;
use super::generation::Generation;
use super::host::{HostState, LogQuota, Who};
use super::lanes::Lanes;
use super::limits::{Account, TICK};
use super::meter::Meter;
use super::pool::{Pool, Prepared};
use super::{Kind, Limits, PluginError, inspect};

/// Of one generation at once: while a connector waits in `poll`, `send` and `probe` go on. That `poll` and `receive` come one
/// at a time is intake's doing.
const INSTANCES: usize = 2;

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Where compiled plugins are kept; none: nowhere.
    pub cache_dir: Option<PathBuf>,
    /// The binary that compiles in a process of its own, which is one that calls [`crate::cli::run`]; none: compiled in this process.
    pub compiler: Option<PathBuf>,
    /// What guests read.
    pub clock: Clock,
    /// Threads that guests run on, and as many again for calls that take long.
    pub workers: usize,
}

/// The engine: one a process.
pub struct Engine {
    inner: wasmtime::Engine,
    linker: Linker<HostState>,
    cache: Option<Cache>,
    compiler: Option<PathBuf>,
    clock: Clock,
    hash: u64,
    memory: Account,
    lanes: Lanes,
    denied: Arc<Denied>,
}

/// What is loaded, and with what.
pub struct Load {
    /// Its name in the configuration.
    pub name: String,
    /// The plugin's file.
    pub bytes: Arc<[u8]>,
    /// Its section, JSON.
    pub config: String,
    /// Its way out, if it has one.
    pub door: Option<Arc<Door>>,
    /// What it may use; the manifest's own limits are applied before an admin's.
    pub limits: Limits,
    /// Tried beside the build in force and given no way out: that it was refused one is no news.
    pub is_apart: bool,
}

impl Engine {
    /// Starts the engine: its own threads for guests, and the ticker that counts their time.
    pub fn new(config: EngineConfig) -> Result<Arc<Self>, PluginError> {
        let failed = |error: wasmtime::Error| PluginError::Engine(error.to_string());
        let inner = wasmtime::Engine::new(&wasmtime_config()).map_err(failed)?;
        let mut linker = Linker::new(&inner);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(failed)?;
        Everything::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).map_err(failed)?;
        let cache = config.cache_dir.as_deref().map(Cache::open).transpose()?;
        let lanes = Lanes::new(config.workers).map_err(|error| PluginError::Engine(error.to_string()))?;
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(inner.precompile_compatibility_hash());
        tick(&inner)?;
        Ok(Arc::new(Self {
            inner,
            linker,
            cache,
            compiler: config.compiler,
            clock: config.clock,
            hash,
            memory: Account::default(),
            lanes,
            denied: Arc::default(),
        }))
    }

    /// Reads, compiles, links and starts a plugin once. It is proved to work, not yet in force.
    pub async fn load(self: &Arc<Self>, load: Load) -> Result<Arc<Generation>, PluginError> {
        let inspection = inspect(&load.bytes)?;
        let manifest = inspection.manifest;
        check_imports(manifest.kind, &inspection.imports)?;
        let (component, pre) = self.compile(Arc::clone(&load.bytes), inspection.digest, load.limits.compile).await?;
        let who = Arc::new(Who {
            name: load.name.clone(),
            kind: manifest.kind,
            version: manifest.version.clone(),
            digest: inspection.digest,
            config: load.config,
            door: load.door,
            clock: self.clock.clone(),
            limits: load.limits,
            memory: Arc::clone(&self.memory),
            log: LogQuota::default(),
            meter: Arc::new(Meter::new(load.name.clone(), manifest.kind).calling_out(manifest.wants.http.is_some())),
            denied: (!load.is_apart).then(|| Arc::clone(&self.denied)),
        });
        let prepared = Prepared::new(manifest.kind, pre).map_err(|error| PluginError::Contract(chain(&error)))?;
        drop(component);
        let pool = Pool::new(self.inner.clone(), prepared, who, INSTANCES);
        let generation = Arc::new(Generation::new(Arc::clone(self), load.name, inspection.digest, manifest, pool));
        generation.try_once().await?;
        Ok(generation)
    }

    /// What the memories of all guests hold together, idle instances included. Units: bytes.
    pub fn guest_memory_bytes(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Ways out that were refused to its guests.
    pub fn denied(&self) -> &Denied {
        &self.denied
    }

    async fn compile(
        self: &Arc<Self>,
        bytes: Arc<[u8]>,
        digest: Digest,
        limits: CompileLimits,
    ) -> Result<(Component, InstancePre<HostState>), PluginError> {
        let engine = Arc::clone(self);
        let work = move || {
            let cached = engine.cache.as_ref().and_then(|cache| cache.load(&engine.inner, digest, engine.hash));
            let component = match cached {
                Some(component) => component,
                None => {
                    let code = match &engine.compiler {
                        Some(program) => compiler::compile(program, &bytes, limits)?,
                        None => engine.inner.precompile_component(&bytes).map_err(|error| PluginError::NotAComponent(chain(&error)))?,
                    };
                    if let Some(cache) = &engine.cache {
                        cache.keep(&code, digest, engine.hash);
                    }
                    cache::believe(&engine.inner, &code).map_err(|error| PluginError::Engine(chain(&error)))?
                }
            };
            let pre = engine.linker.instantiate_pre(&component).map_err(|error| PluginError::Contract(chain(&error)))?;
            Ok((component, pre))
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| PluginError::Engine(error.to_string()))?
    }

    /// Runs a call where guests run. Errors: it panicked, or the engine is stopping.
    pub(super) async fn run<T: Send + 'static>(&self, call: impl Future<Output = T> + Send + 'static) -> Result<T, JoinError> {
        self.lanes.run(call).await
    }
}

/// The same where code is compiled and where it runs.
pub(super) fn wasmtime_config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.async_stack_size(2 << 20);
    config.max_wasm_stack(1 << 20);
    config.async_stack_zeroing(true);
    config.concurrency_support(false);
    config.wasm_memory64(false);
    config.wasm_gc(false);
    config
}

/// Refuses what another kind's world has: linking alone would let it in, for all worlds share one linker.
fn check_imports(kind: Kind, imports: &[String]) -> Result<(), PluginError> {
    let foreign: &[&str] = match kind {
        Kind::Connector => &[],
        Kind::Analyzer => &["clock", "state", "net"],
        Kind::Rule => &["clock", "state", "net", "http"],
    };
    let found = imports.iter().find(|import| {
        let name = import.strip_prefix("membrana:plugin/").and_then(|name| name.split('@').next());
        name.is_some_and(|name| foreign.contains(&name))
    });
    match found {
        Some(import) => Err(PluginError::Contract(format!("it imports {import}, which is not for a plugin of kind {}", kind.word()))),
        None => Ok(()),
    }
}

/// Counts time for all guests until the engine is dropped.
fn tick(engine: &wasmtime::Engine) -> Result<(), PluginError> {
    let weak = engine.weak();
    let count = move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    std::thread::Builder::new().name("guest-ticker".to_owned()).spawn(count).map(|_| ()).map_err(|error| PluginError::Engine(error.to_string()))
}

/// An error of wasmtime with all its causes.
pub(super) fn chain(error: &wasmtime::Error) -> String {
    format!("{error:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_another_kind_s_world_is_refused_by_name() {
        let imports = |names: &[&str]| names.iter().map(|name| format!("membrana:plugin/{name}@0.1.0")).collect::<Vec<_>>();
        for (kind, foreign) in [(Kind::Analyzer, "clock"), (Kind::Analyzer, "net"), (Kind::Rule, "http"), (Kind::Rule, "state")] {
            let refused = check_imports(kind, &imports(&["types", "log", foreign])).unwrap_err().to_string();
            assert!(refused.contains(foreign), "{refused}");
        }
        assert!(check_imports(Kind::Analyzer, &imports(&["types", "log", "config", "http"])).is_ok());
        assert!(check_imports(Kind::Connector, &imports(&["clock", "state", "net", "http"])).is_ok());
    }
}
