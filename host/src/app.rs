//! Builds the rooms from the configuration, runs the stages, reloads, and stops in order.
//!
//! A reload is all or nothing: the new configuration is prepared beside the running one, proved to load, and only then put in
//! force; a mistake leaves the last good one running.

mod doors;
mod files;
mod prepare;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::analysis::{Analysis, Analyzers, CatchUp};
use crate::clock::Clock;
use crate::config::{self, Config, Report};
use crate::console::{self, Desk, Token};
use crate::egress::{Egress, EgressError, SystemResolver};
use crate::ingress::{Hook, Ingress};
use crate::intake::{Intake, Memory};
use crate::model::ChannelName;
use crate::outbox::Outbox;
use crate::plugin::{Engine, EngineConfig, PluginError};
use crate::rules::{Rules, Timers};
use crate::sinks::Sink;
use crate::stage::{self, Journal, Work};
use crate::store::{SledStore, Store, StoreError};
use crate::telemetry::chain;

pub use files::{Found, find, listed};
pub use prepare::{Prepared, PreparedChannel, prepare, sections_of};

/// Between two rounds of housekeeping.
const HOUSEKEEPING: Duration = Duration::from_secs(600);
/// Stages are given so long to end the turn they are in.
const STOP_WAIT: Duration = Duration::from_secs(40);

/// Why a host does not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration has mistakes.
    #[error("the configuration has mistakes")]
    Config(Report),
    /// The store.
    #[error("cannot open the store")]
    Store(#[from] StoreError),
    /// The plugin engine.
    #[error("cannot start the plugin engine")]
    Plugin(#[from] PluginError),
    /// Trust roots.
    #[error("cannot prepare the way out")]
    Egress(#[from] EgressError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}; is another membrana running?")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Finds environment variables.
pub type Env = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The process's own environment.
#[expect(clippy::disallowed_methods, reason = "handed to `config`, which alone asks it")]
pub fn process_env() -> Env {
    Arc::new(|name| std::env::var(name).ok())
}

/// The parts that checking and running share.
pub struct Kit {
    /// The plugin engine.
    pub engine: Arc<Engine>,
    /// The way out.
    pub egress: Arc<Egress>,
    /// The time.
    pub clock: Clock,
}

impl Kit {
    /// For this configuration.
    pub fn new(config: &Config) -> Result<Self, AppError> {
        let clock = Clock::system();
        let workers = std::thread::available_parallelism().map_or(2, |n| n.get()).min(8);
        let cache_dir = Some(config.host.data.join("compiled"));
        let engine = Engine::new(EngineConfig { cache_dir, clock: clock.clone(), workers })?;
        let egress = Egress::new(&config.host.ca_pem, Arc::new(SystemResolver))?;
        Ok(Self { engine, egress, clock })
    }
}

/// A running host.
pub struct App {
    file: PathBuf,
    env: Env,
    kit: Kit,
    journal: Journal,
    ingress: Arc<Ingress>,
    desk: Arc<Desk>,
    intakes: Arc<ArcSwap<Vec<Arc<Intake>>>>,
    running: Mutex<Running>,
    servers: Mutex<JoinSet<()>>,
    stop: CancellationToken,
    addresses: Vec<std::net::SocketAddr>,
}

/// The stages of the configuration in force.
#[derive(Default)]
struct Running {
    stop: CancellationToken,
    stages: JoinSet<()>,
}

impl App {
    /// Starts everything that the configuration says. Returns when webhooks can be taken.
    pub async fn start(file: &Path, env: Env) -> Result<Self, AppError> {
        let (config, mut report) = config::read(file, env.as_ref()).map_err(AppError::Config)?;
        let store = SledStore::open(&config.host.data)?;
        let kit = Kit::new(&config)?;
        let (prepared, findings) = prepare(&config, &kit).await;
        report.extend(findings);
        let Some(prepared) = prepared else { return Err(AppError::Config(report)) };
        for finding in &report.findings {
            warn!(place = %finding.place, "{}", finding.message);
        }
        let journal = Journal::new(store as Arc<dyn Store>, kit.clock.clone());
        let ingress = Arc::new(Ingress::new(journal.clone()));
        let intakes: Arc<ArcSwap<Vec<Arc<Intake>>>> = Arc::default();
        let pollable = Arc::clone(&intakes);
        let poll: console::PollNow = Box::new(move |channel| {
            let found = pollable.load().iter().find(|intake| intake.channel == *channel).cloned();
            let Some(intake) = found else { return false };
            #[expect(clippy::disallowed_methods, reason = "it only waits for the call under way, which has a bound")]
            tokio::spawn(async move { intake.poll_now().await });
            true
        });
        let token = config.host.admin_token.as_ref().map(|secret| Token::new(secret.expose()));
        let desk = Arc::new(Desk { journal: journal.clone(), sections: ArcSwap::default(), poll: Some(poll), token });
        let mut app = Self {
            file: file.to_owned(),
            env,
            kit,
            journal,
            ingress,
            desk,
            intakes,
            running: Mutex::default(),
            servers: Mutex::default(),
            stop: CancellationToken::new(),
            addresses: Vec::new(),
        };
        app.put_in_force(&config, prepared);
        app.serve(&config).await?;
        app.keep_house(config.host.raw_keep);
        Ok(app)
    }

    /// Where it listens: API first, webhooks' own address second where there is one.
    pub fn addresses(&self) -> &[std::net::SocketAddr] {
        &self.addresses
    }

    /// Reads the configuration again. Errors: the report; what ran goes on running.
    pub async fn reload(&self) -> Result<(), AppError> {
        let (config, mut report) = config::read(&self.file, self.env.as_ref()).map_err(AppError::Config)?;
        let (prepared, findings) = prepare(&config, &self.kit).await;
        report.extend(findings);
        let Some(prepared) = prepared else { return Err(AppError::Config(report)) };
        self.halt().await;
        self.put_in_force(&config, prepared);
        info!("The configuration was read again and is in force.");
        Ok(())
    }

    /// Stops in order: no more webhooks, stages end their turn, the store closes.
    pub async fn stop(self) {
        self.stop.cancel();
        let servers = std::mem::take(&mut *self.servers.lock().unwrap_or_else(PoisonError::into_inner));
        end(servers).await;
        self.halt().await;
        if let Err(failure) = self.journal.store.close().await {
            error!(error = %chain(&failure), "The store did not close well.");
        }
    }

    async fn halt(&self) {
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        running.stop.cancel();
        end(running.stages).await;
    }

    fn put_in_force(&self, config: &Config, prepared: Prepared) {
        let stop = CancellationToken::new();
        let sections = sections_of(config, Some(&prepared));
        let Prepared { channels, analyzers, rules, sinks } = prepared;
        let (analyzers, rules) = (Arc::new(Analyzers::new(analyzers)), Arc::new(ArcSwap::from_pointee(rules)));
        let teams: Arc<[String]> = config.teams.clone().into();
        let mut works: Vec<Arc<dyn Work>> = Vec::new();
        let mut intakes: Vec<Arc<Intake>> = Vec::new();
        let mut hooks: Vec<Hook> = Vec::new();
        for prepared in channels {
            let (journal, channel) = (self.journal.clone(), ChannelName::from(prepared.name.as_str()));
            let intake = Arc::new(Intake {
                journal: journal.clone(),
                channel: channel.clone(),
                network: prepared.network,
                plugin: Arc::clone(&prepared.plugin),
                pace: prepared.pace,
                state_quota: prepared.state_quota,
                memory: tokio::sync::Mutex::new(Memory::default()),
            });
            intakes.push(Arc::clone(&intake));
            works.push(intake);
            works.push(Arc::new(Analysis::new(journal.clone(), channel.clone(), Arc::clone(&analyzers))));
            works.push(Arc::new(CatchUp::new(journal.clone(), channel.clone(), Arc::clone(&analyzers))));
            works.push(Arc::new(Rules {
                journal: journal.clone(),
                channel: channel.clone(),
                rules: Arc::clone(&rules),
                capabilities: prepared.capabilities,
                can_reply: prepared.class.is_some(),
                teams: Arc::clone(&teams),
                strikes: Mutex::default(),
            }));
            works.push(Arc::new(Timers { journal: journal.clone(), channel: channel.clone() }));
            if let Some(class) = prepared.class {
                let (journal, channel, plugin) = (journal.clone(), channel.clone(), prepared.plugin);
                works.push(Arc::new(Outbox { journal, channel, plugin, class, held_until: Mutex::default() }));
            }
            for target in &sinks {
                works.push(Arc::new(Sink::new(journal.clone(), channel.clone(), Arc::clone(target))));
            }
            hooks.extend(prepared.verifier.map(|verifier| Hook { channel, verifier, methods: prepared.methods }));
        }
        self.ingress.set(hooks);
        self.intakes.store(Arc::new(intakes));
        self.desk.sections.store(Arc::new(sections));
        let mut stages = JoinSet::new();
        for work in works {
            stages.spawn(stage::run(work, self.journal.clone(), stop.clone()));
        }
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Running { stop, stages };
    }

    async fn serve(&mut self, config: &Config) -> Result<(), AppError> {
        let with_hooks = config.host.hooks_listen.is_none();
        let all = console::router(Arc::clone(&self.desk), Arc::clone(&self.ingress), with_hooks);
        self.listen(config.host.listen, all).await?;
        if let Some(address) = config.host.hooks_listen {
            self.listen(address, console::hooks(Arc::clone(&self.ingress))).await?;
        }
        Ok(())
    }

    async fn listen(&mut self, address: std::net::SocketAddr, router: axum::Router) -> Result<(), AppError> {
        let listener = TcpListener::bind(address).await.map_err(|source| AppError::Listen { address, source })?;
        self.addresses.push(listener.local_addr().unwrap_or(address));
        let server = console::serve(listener, router, self.stop.clone());
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).spawn(server);
        Ok(())
    }

    fn keep_house(&self, raw_keep: Duration) {
        let (journal, stop) = (self.journal.clone(), self.stop.clone());
        let work = async move {
            while !stop.is_cancelled() {
                let keep_ms = u64::try_from(raw_keep.as_millis()).unwrap_or(u64::MAX);
                let before = crate::model::Timestamp(journal.clock.now().0.saturating_sub(keep_ms));
                for channel in journal.store.channels().await.unwrap_or_default() {
                    match journal.store.drop_raw(&channel, before).await {
                        Ok(0) => {}
                        Ok(n_dropped) => info!(%channel, n_dropped, "Raw items past their time were dropped."),
                        Err(failure) => warn!(%channel, error = %chain(&failure), "Raw items past their time stay."),
                    }
                }
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(HOUSEKEEPING) => {}
                }
            }
        };
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).spawn(work);
    }
}

/// Waits for tasks, within a bound; who is late is ended.
async fn end(mut tasks: JoinSet<()>) {
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            if let Err(failure) = ended {
                error!(error = %failure, "A task ended badly.");
            }
        }
    };
    if tokio::time::timeout(STOP_WAIT, all).await.is_err() {
        warn!("Tasks did not end in time and were stopped.");
        tasks.shutdown().await;
    }
}
