//! Builds the rooms from the configuration, runs the stages, reloads, and stops in order.
//!
//! A reload is all or nothing: the new configuration is prepared beside the running one, proved to load, and only then put in
//! force; a mistake leaves the last good one running.

mod doors;
mod files;
mod hooks;
mod housekeeping;
mod login;
mod prepare;
mod running;
mod swap;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::config::{self, Config, Finding, Report, Severity};
use crate::console::{self, Audit, Desk, Polled, RefusedConfig, Token};
use crate::egress::{Egress, EgressError, Renewals, SystemResolver};
use crate::ingress::Ingress;
use crate::intake::Intake;
use crate::model::{ChannelName, shown};
use crate::plugin::{Builds, Engine, EngineConfig, Generation, PluginError, Shadow, THIS_BINARY};
use crate::stage::Journal;
use crate::store::{OFF, Reader, SledStore, Store, StoreError};
use crate::telemetry::chain;

pub use files::{Found, find, listed};
pub use login::{LoginPlace, Wrong, login_place};
pub use prepare::{Choice, One, Prepared, PreparedChannel, prepare, prepare_one, sections_of};

use housekeeping::{Keep, Rounds};
use prepare::sections;
use running::Running;

/// Another command may hold the store for a moment; a start tries so often for about five seconds.
const STORE_TRIES: u32 = 50;
/// Between two tries.
const STORE_PAUSE: Duration = Duration::from_millis(100);
/// In the data folder: where the host that runs on it listens.
const ADDRESS_FILE: &str = "listening";

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
    /// It was told to stop meanwhile.
    #[error("the host is stopping")]
    Stopping,
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
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
#[derive(Clone)]
pub struct Kit {
    /// The plugin engine.
    pub engine: Arc<Engine>,
    /// The way out.
    pub egress: Arc<Egress>,
    /// The time.
    pub clock: Clock,
    /// Renewals of the tokens of all logins, which outlive the configuration.
    pub renewals: Arc<Renewals>,
}

impl Kit {
    /// For this configuration, on this clock.
    pub fn new(config: &Config, clock: Clock) -> Result<Self, AppError> {
        let workers = std::thread::available_parallelism().map_or(2, |n| n.get()).min(8);
        let cache_dir = config.host.data.join("compiled");
        // Without a cache it is only slower; that the folder cannot be written, or is to be made, is told by `data_folder`.
        drop(std::fs::create_dir(&cache_dir));
        let cache_dir = cache_dir.is_dir().then_some(cache_dir);
        let engine = Engine::new(EngineConfig { cache_dir, compiler: Some(THIS_BINARY.into()), clock: clock.clone(), workers })?;
        let egress = Egress::new(&config.host.ca_pem, Arc::new(SystemResolver))?;
        Ok(Self { engine, egress, clock, renewals: Arc::default() })
    }
}

/// Makes the data folder, for nobody else to read, and notes where it cannot be written.
pub fn data_folder(config: &Config, report: &mut Report) {
    let data = &config.host.data;
    let make = || match std::fs::DirBuilder::new().mode(0o700).create(data) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    };
    // Several commands may look at once.
    let probe = data.join(format!(".writable-{}", std::process::id()));
    let parent = data.parent().map_or(Ok(()), std::fs::create_dir_all);
    let tried = parent.and_then(|()| make()).and_then(|()| std::fs::write(&probe, b"")).and_then(|()| std::fs::remove_file(&probe));
    if let Err(error) = tried {
        let message = format!("cannot write to the data folder `{}`: {error}", data.display());
        report.error(config.host.places.place("data", 0, 0), message, "set `data` in [host] to a folder that membrana may write");
    }
}

/// Reads, loads and asks everything; all mistakes of all of it are in the report. `None` for what cannot be put in force.
pub async fn examine(file: &Path, env: &Env, clock: Clock) -> Result<(Option<(Config, Kit, Prepared)>, Report), AppError> {
    let (config, mut report) = config::read_what_is_there(file, env.as_ref());
    let Some(config) = config else { return Ok((None, report)) };
    data_folder(&config, &mut report);
    let kit = Kit::new(&config, clock)?;
    let (prepared, findings) = prepare(&config, &kit).await;
    // A plugin may have been asked about its section in a way that took a token; whoever only checks ends now.
    kit.renewals.settle().await;
    report.extend(findings);
    report.sort();
    let prepared = prepared.filter(|_| !report.has_errors());
    Ok((prepared.map(|prepared| (config, kit, prepared)), report))
}

/// Where the host that runs on this folder listens, as far as it says.
pub fn address_of_host(data: &Path) -> Option<std::net::SocketAddr> {
    std::fs::read_to_string(data.join(ADDRESS_FILE)).ok()?.trim().parse().ok()
}

/// Says whether nobody works on the store in this folder. What a host noted there that was killed is forgotten then: whoever listens where it did
/// is a stranger.
pub fn nobody_works_on(data: &Path) -> bool {
    let Ok(alone) = SledStore::keep_others_out(data) else { return false };
    if alone.is_some() {
        // Where it may not be removed, whoever may does.
        drop(std::fs::remove_file(data.join(ADDRESS_FILE)));
    }
    true
}

/// Opens the store, which may take long; waits a moment where another command holds it.
async fn open_store(data: &Path) -> Result<Arc<SledStore>, StoreError> {
    nobody_works_on(data);
    for _ in 1..STORE_TRIES {
        match SledStore::open(data) {
            Err(StoreError::InUse(_)) => tokio::time::sleep(STORE_PAUSE).await,
            other => return other,
        }
    }
    SledStore::open(data)
}

/// Into the log, each by its severity.
pub fn log_findings(report: &Report) {
    for finding in &report.findings {
        let (place, cure) = (&finding.place, finding.cure.as_str());
        match finding.severity {
            Severity::Error => error!(%place, cure, "{}", finding.message),
            Severity::Warning => warn!(%place, cure, "{}", finding.message),
            Severity::Info => info!(%place, cure, "{}", finding.message),
        }
    }
}

/// A running host.
pub struct App {
    house: Arc<House>,
    servers: JoinSet<()>,
    stop: CancellationToken,
    addresses: Vec<std::net::SocketAddr>,
}

/// What runs, and what it runs by.
struct House {
    file: PathBuf,
    env: Env,
    journal: Journal,
    ingress: Arc<Ingress>,
    desk: Arc<Desk>,
    intakes: Arc<ArcSwap<Vec<Arc<Intake>>>>,
    in_force: ArcSwap<InForce>,
    /// Files that the last configuration read named, in force or refused.
    named: Mutex<Vec<PathBuf>>,
    /// Held by whoever changes what runs.
    running: tokio::sync::Mutex<Running>,
    /// The last build that was tried beside each section's, by name.
    shadows: Mutex<HashMap<String, Arc<Shadow>>>,
    /// Orders that are carried out, and trials of builds.
    tasks: Mutex<JoinSet<()>>,
    /// Ends the trials, and what is being prepared.
    stop: CancellationToken,
}

/// The configuration that runs.
struct InForce {
    config: Config,
    kit: Kit,
}

impl App {
    /// Starts everything that the configuration says, on this clock. Returns when webhooks can be taken.
    pub async fn start(file: &Path, env: Env, clock: Clock) -> Result<Self, AppError> {
        let (ready, report) = examine(file, &env, clock).await?;
        let Some((config, kit, prepared)) = ready else { return Err(AppError::Config(report)) };
        log_findings(&report);
        // An address that is taken must end the start before anything is polled or sent.
        let mut listeners = vec![bind(config.host.listen).await?];
        if let Some(address) = config.host.hooks_listen {
            listeners.push(bind(address).await?);
        }
        let addresses: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let store = open_store(&config.host.data).await?;
        note_address(&config.host.data, addresses.first());
        let journal = Journal::new(store as Arc<dyn Store>, kit.clock.clone());
        let house = House::new(file, env, journal, config, kit);
        house.begin_sinks(&prepared).await?;
        house.begin_media(&prepared).await?;
        house.put_in_force(&mut *house.running.lock().await, prepared, &HashMap::new());
        let mut app = Self { house, servers: JoinSet::new(), stop: CancellationToken::new(), addresses };
        app.serve(listeners);
        app.keep_house();
        app.keep_denials();
        Ok(app)
    }

    /// Where it listens: API first, webhooks' own address second where there is one.
    pub fn addresses(&self) -> &[std::net::SocketAddr] {
        &self.addresses
    }

    /// The files that the configuration was read from, in force or refused.
    pub fn files(&self) -> Vec<PathBuf> {
        let named = self.house.named.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(&self.house.file).chain(named.iter()).cloned().collect()
    }

    /// Reads the configuration again. Errors: the report; what ran goes on running, all of it, and the surfaces tell.
    pub async fn reload(&self) -> Result<(), AppError> {
        let done = self.house.reload().await;
        let refused = done.as_ref().err().map(|error| {
            let mistakes = match error {
                AppError::Config(report) => report.errors().map(Finding::json).collect(),
                other => vec![serde_json::json!({ "message": chain(other).to_string(), "cure": "look at the host's log" })],
            };
            Arc::new(RefusedConfig { at: shown::rfc3339(self.house.journal.clock.now()), mistakes })
        });
        self.house.desk.refused.store(refused);
        done
    }

    /// It is about to stop: what is being prepared is prepared no further.
    pub fn is_to_stop(&self) {
        self.house.stop.cancel();
    }

    /// Stops in order: no more webhooks, stages end their turn, the store closes.
    pub async fn stop(self) {
        self.is_to_stop();
        self.stop.cancel();
        running::end(self.servers, HashMap::new()).await;
        let tasks = std::mem::take(&mut *self.house.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        running::end(tasks, HashMap::new()).await;
        self.house.running.lock().await.halt().await;
        let kit = self.house.in_force.load().kit.clone();
        console::keep_denials(&self.house.desk, kit.engine.denied()).await;
        // While the store is held: who opens it next notes its own.
        forget_address(&self.house.in_force.load().config.host.data);
        let ((), closed) = tokio::join!(kit.renewals.end(), self.house.journal.store.close());
        if let Err(failure) = closed {
            error!(error = %chain(&failure), "The store did not close well.");
        }
    }

    fn serve(&mut self, listeners: Vec<TcpListener>) {
        let (desk, ingress, with_hooks) = (&self.house.desk, &self.house.ingress, listeners.len() == 1);
        let mut routers = vec![console::router(Arc::clone(desk), Arc::clone(ingress), with_hooks)];
        routers.push(console::hooks(Arc::clone(ingress)));
        for (listener, router) in listeners.into_iter().zip(routers) {
            self.servers.spawn(console::serve(listener, router, self.stop.clone()));
        }
    }

    fn keep_denials(&mut self) {
        let (desk, engine, stop) = (Arc::clone(&self.house.desk), Arc::clone(&self.house.in_force.load().kit.engine), self.stop.clone());
        let work = async move {
            while !stop.is_cancelled() {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(console::DENIALS_PAUSE) => console::keep_denials(&desk, engine.denied()).await,
                }
            }
        };
        self.servers.spawn(work);
    }

    fn keep_house(&mut self) {
        let (house, stop) = (Arc::downgrade(&self.house), self.stop.clone());
        let work = async move {
            let mut rounds = Rounds::new();
            while let Some(house) = house.upgrade() {
                let keep = keep_of(&house.in_force.load().config);
                rounds.go(&house.journal, keep, &house.desk.redriving).await;
                house.end_shadows();
                drop(house);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(housekeeping::PAUSE) => {}
                }
            }
        };
        self.servers.spawn(work);
    }
}

impl House {
    fn new(file: &Path, env: Env, journal: Journal, config: Config, kit: Kit) -> Arc<Self> {
        let ingress = Arc::new(Ingress::new(journal.clone()));
        let intakes: Arc<ArcSwap<Vec<Arc<Intake>>>> = Arc::default();
        Arc::new_cyclic(|house: &Weak<Self>| Self {
            file: file.to_owned(),
            env,
            ingress,
            desk: Arc::new(Desk {
                journal: journal.clone(),
                sections: ArcSwap::default(),
                poll: Some(poll_by(Arc::clone(&intakes))),
                refused: ArcSwapOption::empty(),
                builds: Builds::new(&config.host.data),
                audit: Audit::new(&config.host.data),
                backups: console::Backups::of(&config.host.data),
                redriving: tokio::sync::Mutex::default(),
                swaps: Some(Box::new(swap::Swapper(Weak::clone(house)))),
                tokens: ArcSwap::from_pointee(tokens_of(&config)),
                guesses: console::Guesses::default(),
            }),
            intakes,
            tasks: Mutex::default(),
            shadows: Mutex::default(),
            stop: CancellationToken::new(),
            named: Mutex::new(config.files.clone()),
            running: tokio::sync::Mutex::new(Running::nothing(journal.clone())),
            in_force: ArcSwap::from_pointee(InForce { config, kit }),
            journal,
        })
    }

    async fn reload(self: &Arc<Self>) -> Result<(), AppError> {
        let (config, mut report) = config::read_what_is_there(&self.file, self.env.as_ref());
        let Some(config) = config else { return Err(AppError::Config(report)) };
        *self.named.lock().unwrap_or_else(PoisonError::into_inner) = config.files.clone();
        let mut running = self.running.lock().await;
        let before = self.in_force.load_full();
        refuse_what_needs_a_restart(&before.config, &config, &mut report);
        let kit = kit_for(&before, &config)?;
        let (prepared, findings) = tokio::select! {
            prepared = prepare(&config, &kit) => prepared,
            () = self.stop.cancelled() => return Err(AppError::Stopping),
        };
        report.extend(findings);
        report.sort();
        let Some(prepared) = prepared.filter(|_| !report.has_errors()) else { return Err(AppError::Config(report)) };
        log_findings(&report);
        self.begin_sinks(&prepared).await?;
        self.begin_media(&prepared).await?;
        let before = sections(&before.config).filter_map(|section| Some((section.name.clone(), running.generation(&section.name)?))).collect();
        running.halt().await;
        self.desk.tokens.store(Arc::new(tokens_of(&config)));
        self.in_force.store(Arc::new(InForce { config, kit }));
        self.put_in_force(&mut running, prepared, &before);
        self.desk.audit.reloaded(self.journal.clock.now()).await;
        info!("The configuration was read again and is in force.");
        Ok(())
    }

    /// A sink that is new to a channel is told what comes from now on, not what lies in the log.
    async fn begin_sinks(&self, prepared: &Prepared) -> Result<(), StoreError> {
        for channel in &prepared.channels {
            let name = ChannelName::from(channel.name.as_str());
            let record = self.journal.store.channel(&name).await?;
            let readers = prepared.sinks.iter().map(|sink| Reader::Sink(sink.name.clone()));
            let new: Vec<Reader> = readers.filter(|reader| !record.positions.contains_key(reader)).collect();
            if new.is_empty() {
                continue;
            }
            let mut commit = self.journal.begin(&name);
            commit.positions.extend(new.into_iter().map(|reader| (reader, record.position(&Reader::Rules))));
            self.journal.commit(commit).await?;
        }
        Ok(())
    }

    /// Of a channel that keeps files from now on, those that come from now on are fetched; of one that keeps them no longer, none.
    async fn begin_media(&self, prepared: &Prepared) -> Result<(), StoreError> {
        let mut names = self.journal.store.channels().await?;
        names.extend(prepared.channels.iter().map(|channel| ChannelName::from(channel.name.as_str())));
        names.sort_unstable();
        names.dedup();
        for name in names {
            let record = self.journal.store.channel(&name).await?;
            let is_wanted = prepared.channels.iter().any(|channel| channel.name == name.as_str() && channel.media.is_some());
            let position = match (is_wanted, record.positions.get(&Reader::Media).copied()) {
                (true, None | Some(OFF)) => record.last.0,
                (false, Some(position)) if position != OFF => OFF,
                _ => continue,
            };
            let mut commit = self.journal.begin(&name);
            commit.positions.push((Reader::Media, position));
            self.journal.commit(commit).await?;
        }
        Ok(())
    }

    /// `before`: the builds that ran until now.
    fn put_in_force(self: &Arc<Self>, running: &mut Running, prepared: Prepared, before: &HashMap<String, Arc<Generation>>) {
        let in_force = self.in_force.load();
        self.end_builds(&in_force.config, &prepared);
        self.desk.sections.store(Arc::new(sections_of(&in_force.config, Some(&prepared))));
        *running = Running::begin(self.journal.clone(), prepared, in_force.config.teams.clone().into());
        self.show(running);
        self.go_on_with_trials(running, before);
        self.end_shadows();
    }

    /// Lets what comes from outside find who runs.
    fn show(&self, running: &Running) {
        self.ingress.set(running.hooks());
        self.intakes.store(Arc::new(running.intakes()));
    }
}

/// Keys that a running host cannot follow.
fn refuse_what_needs_a_restart(before: &Config, config: &Config, report: &mut Report) {
    let (now, host) = (&before.host, &config.host);
    let hooks = |address: Option<std::net::SocketAddr>| address.map_or_else(|| "not set".to_owned(), |address| address.to_string());
    let keys = [
        ("data", now.data == host.data, now.data.display().to_string()),
        ("listen", now.listen == host.listen, now.listen.to_string()),
        ("hooks_listen", now.hooks_listen == host.hooks_listen, hooks(now.hooks_listen)),
    ];
    for (key, is_same, was) in keys {
        if !is_same {
            let message = format!("`{key}` cannot change while the host runs; in force: {was}");
            report.error(host.places.place(key, 0, 0), message, "restart to change it, or set it back");
        }
    }
}

/// The parts for a new configuration: those there are, with a new way out where the trust roots differ.
fn kit_for(before: &InForce, config: &Config) -> Result<Kit, AppError> {
    let kit = before.kit.clone();
    let is_same = before.config.host.ca_pem == config.host.ca_pem;
    let egress = if is_same { kit.egress } else { Egress::new(&config.host.ca_pem, Arc::new(SystemResolver))? };
    Ok(Kit { egress, ..kit })
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|source| AppError::Listen { address, source })
}

/// For commands in other terminals: the address may be edited meanwhile, or its port be any.
fn note_address(data: &Path, address: Option<&std::net::SocketAddr>) {
    let Some(address) = address else { return };
    if let Err(failure) = std::fs::write(data.join(ADDRESS_FILE), format!("{address}\n")) {
        warn!(error = %chain(&failure), "Where the host listens could not be noted; commands in other terminals do not find it.");
    }
}

fn forget_address(data: &Path) {
    if let Err(failure) = std::fs::remove_file(data.join(ADDRESS_FILE)) {
        warn!(error = %chain(&failure), "The note of where the host listens stays.");
    }
}

fn tokens_of(config: &Config) -> Vec<Token> {
    config.host.tokens.iter().map(|(role, secret)| Token::new(*role, secret.expose())).collect()
}

fn keep_of(config: &Config) -> Keep {
    Keep { raw: config.host.raw_keep, dead: config.host.dead_keep }
}

fn poll_by(intakes: Arc<ArcSwap<Vec<Arc<Intake>>>>) -> console::PollNow {
    Box::new(move |channel| {
        let found = intakes.load().iter().find(|intake| intake.channel == *channel).cloned();
        let Some(intake) = found else { return Polled::NotEnabled };
        if intake.pace.is_none() {
            return Polled::WebhookOnly;
        }
        intake.poll_now();
        Polled::Asked
    })
}
