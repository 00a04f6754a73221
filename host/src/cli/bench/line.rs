//! The whole way, as a host runs it: for each channel intake, two analyzers, catch-up, one rule, timers, outbox and a sink, on a
//! sled store with fsync.
//!
//! The sink is told `task.opened`, as a CRM is that has people act on it, by real signed HTTP to a receiver on loopback that
//! counts; its reader passes every entry. Replies are drafts: they are written to the outbox and wait there for a person, so
//! that no network's speed is measured.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::analysis::{Analysis, Analyzer, Analyzers, CatchUp};
use crate::app::find;
use crate::cli::outcome::Failure;
use crate::clock::{Clock, Stopwatch};
use crate::egress::{DoorConfig, Egress, HttpGrant, SystemResolver};
use crate::intake::Intake;
use crate::model::{ChannelName, Digest, Seq};
use crate::outbox::{Outbox, SendClass};
use crate::plugin::{Engine, Generation, Kind, Limits, Load, Manifest};
use crate::rules::{Rule, Rules, Timers};
use crate::sinks::{Secret, Sink, Target};
use crate::stage::{self, Journal, Work};
use crate::store::{Reader, SledStore, Store};

use super::crowd::{Crowd, REVIEW_EACH};
use super::native::{NativeAnalyzer, NativeRule, TABLE, Which};
use super::{Scratch, failed};

const SINK: &str = "crm";
const SECRET: &str = "whsec_YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmVuY2g=";
/// Between two looks at how far the readers came: far below what a slice takes.
const LOOK: Duration = Duration::from_millis(5);
/// While the readers stand still so long something is broken. Units: looks.
const STALLED: u32 = 6_000;
/// Entries checked at once.
const CHECKED: u64 = 1_000;

/// The three plugins that are compared: language, sentiment, the impact table.
pub(super) struct Judges {
    language: Arc<Generation>,
    sentiment: Arc<Generation>,
    table: Arc<Generation>,
}

impl Judges {
    /// The same plugins' code in the host's own: their manifests say what they are given.
    pub(super) fn native(like: &Self) -> Self {
        Self {
            language: Generation::native("language", like.language.manifest().clone(), NativeAnalyzer(Which::Language)),
            sentiment: Generation::native("sentiment", like.sentiment.manifest().clone(), NativeAnalyzer(Which::Sentiment)),
            table: Generation::native("impact", like.table.manifest().clone(), NativeRule),
        }
    }

    pub(super) async fn wasm(engine: &Arc<Engine>) -> Result<Self, Failure> {
        let load = async |name: &str, kind: Kind, config: String| {
            let found = find(name, Path::new("")).map_err(|(error, _)| failed(error))?;
            engine
                .load(Load { name: name.to_owned(), bytes: found.bytes, config, door: None, limits: Limits::of(kind), is_apart: false })
                .await
                .map_err(failed)
        };
        Ok(Self {
            language: load("language", Kind::Analyzer, "{}".to_owned()).await?,
            sentiment: load("sentiment", Kind::Analyzer, "{}".to_owned()).await?,
            table: load("impact-table", Kind::Rule, serde_json::json!({ "table": TABLE }).to_string()).await?,
        })
    }
}

const CROWD: &str = "name = \"crowd\"\nversion = \"0.1.0\"\nkind = \"connector\"\ncontract = \"0.1\"\nnetwork = \"bench\"\nsummary = \"baseline\"\nlicense = \"Apache-2.0\"\n";

/// What goes the whole way, and in what portions.
#[derive(Clone, Copy)]
pub(super) struct Portions {
    pub(super) n_total: u64,
    pub(super) n_channels: u64,
    /// Interactions in one page, and so in one commit of the intake.
    pub(super) page: u64,
}

/// A running line.
pub(super) struct Line {
    load: Portions,
    journal: Journal,
    channels: Vec<ChannelName>,
    n_told: Arc<AtomicU64>,
    watch: Stopwatch,
    stop: CancellationToken,
    stages: JoinSet<()>,
    // Last: removed when nothing holds it open any more.
    scratch: Option<Scratch>,
}

impl Line {
    /// Starts it; the crowd speaks at once.
    pub(super) async fn start(dir: &Path, judges: &Judges, load: Portions) -> Result<Self, Failure> {
        let scratch = Scratch::new(dir, "line")?;
        let mut line = Self::start_in(&scratch.0, judges, load).await?;
        line.scratch = Some(scratch);
        Ok(line)
    }

    /// As [`Line::start`], on a store in this very folder, which stays.
    pub(super) async fn start_in(dir: &Path, judges: &Judges, load: Portions) -> Result<Self, Failure> {
        let store = SledStore::open(dir).map_err(failed)? as Arc<dyn Store>;
        let journal = Journal::new(store, Clock::system());
        let (stop, mut stages, n_told) = (CancellationToken::new(), JoinSet::new(), Arc::new(AtomicU64::new(0)));
        let target = receiver(Arc::clone(&n_told), &mut stages, stop.clone()).await?;
        let analyzers =
            Arc::new(Analyzers::new(vec![analyzer("language", &judges.language, &[]), analyzer("sentiment", &judges.sentiment, &["language"])]));
        let rules = Arc::new(ArcSwap::from_pointee(vec![Rule { name: "impact".to_owned(), plugin: Arc::clone(&judges.table) }]));
        let channels: Vec<ChannelName> = (0..load.n_channels).map(|n| ChannelName::from(format!("crowd-{n}").as_str())).collect();
        let watch = Clock::system().stopwatch();
        for channel in &channels {
            let crowd = Crowd {
                store: Arc::clone(&journal.store),
                channel: channel.clone(),
                last_reader: Reader::Sink(SINK.to_owned()),
                n_total: load.n_total / load.n_channels,
                page: load.page,
                said: AtomicU64::new(0),
            };
            let plugin = Generation::native("crowd", Manifest::parse(CROWD).map_err(failed)?, crowd);
            for work in works(&journal, channel, &plugin, &analyzers, &rules, &target) {
                stages.spawn(stage::run(work, journal.clone(), stop.clone()));
            }
        }
        Ok(Self { load, journal, channels, n_told, watch, stop, stages, scratch: None })
    }

    /// Waits until the sink's readers have passed so many entries; seconds since the start.
    pub(super) async fn reach(&self, n_wanted: u64) -> Result<f64, Failure> {
        let (mut before, mut n_still) = (0, 0);
        loop {
            let n_through = self.n_through().await?;
            if n_through >= n_wanted {
                return Ok(self.watch.elapsed().as_secs_f64());
            }
            n_still = if n_through == before { n_still + 1 } else { 0 };
            if n_still > STALLED {
                return Err(failed(format!("the pipeline stands still at {n_through} of {n_wanted}")));
            }
            before = n_through;
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn n_through(&self) -> Result<u64, Failure> {
        let (mut sum, reader) = (0, Reader::Sink(SINK.to_owned()));
        for channel in &self.channels {
            sum += self.journal.store.channel(channel).await.map_err(failed)?.position(&reader);
        }
        Ok(sum)
    }

    /// Checks that all was done that the mix asks for, then stops. `n_looked_at` entries of each channel, the newest, are
    /// checked for their annotations.
    pub(super) async fn finish(mut self, n_looked_at: u64) -> Result<(), Failure> {
        let checked = self.check(n_looked_at).await;
        self.stop.cancel();
        while self.stages.join_next().await.is_some() {}
        self.journal.store.close().await.map_err(failed)?;
        checked
    }

    async fn check(&self, n_looked_at: u64) -> Result<(), Failure> {
        let (mut n_tasks, mut n_replies, mut n_dead) = (0, 0, 0);
        for channel in &self.channels {
            let (tasks, replies, dead) = self.count(channel).await?;
            (n_tasks, n_replies, n_dead) = (n_tasks + tasks, n_replies + replies, n_dead + dead);
            self.check_annotations(channel, n_looked_at).await?;
        }
        let (wanted, n_told) = (self.load.n_total / REVIEW_EACH, self.n_told.load(Ordering::Relaxed));
        if (n_tasks, n_replies, n_told, n_dead) == (wanted, wanted, wanted, 0) {
            return Ok(());
        }
        Err(failed(format!("of {wanted} wanted there are {n_tasks} tasks, {n_replies} replies and {n_told} events; {n_dead} dead letters")))
    }

    async fn count(&self, channel: &ChannelName) -> Result<(u64, u64, u64), Failure> {
        let (store, page) = (&self.journal.store, usize::try_from(CHECKED).unwrap_or(1));
        let (mut n_tasks, mut n_replies) = (0, 0);
        let mut after = None;
        loop {
            let tasks = store.tasks(channel, after, page).await.map_err(failed)?;
            n_tasks += tasks.len() as u64;
            let Some(last) = tasks.last() else { break };
            after = Some((last.interaction, last.id));
        }
        let mut after = None;
        loop {
            let actions = store.actions(channel, after, page).await.map_err(failed)?;
            n_replies += actions.iter().filter(|action| action.wanted.kind == "reply").count() as u64;
            let Some(last) = actions.last() else { break };
            after = Some((last.interaction, last.id));
        }
        let dead = store.dead_letters(channel, None, page).await.map_err(failed)?;
        Ok((n_tasks, n_replies, dead.len() as u64))
    }

    async fn check_annotations(&self, channel: &ChannelName, n_looked_at: u64) -> Result<(), Failure> {
        let last = self.load.n_total / self.load.n_channels;
        let mut from = last.saturating_sub(n_looked_at) + 1;
        while from <= last {
            let to = last.min(from + CHECKED - 1);
            let said = self.journal.store.annotated(channel, Seq(from), Seq(to)).await.map_err(failed)?;
            let is_whole = |key: &str| said.iter().all(|(_, said)| said.annotations.iter().any(|(_, _, one)| one.key == key));
            let n_missing = said.iter().filter(|(_, said)| !said.missing.is_empty()).count();
            if said.len() as u64 != to + 1 - from || n_missing > 0 || !is_whole("language") || !is_whole("sentiment") {
                return Err(failed(format!("annotations are missing in {channel}, entries {from} to {to}")));
            }
            from = to + 1;
        }
        Ok(())
    }
}

fn analyzer(name: &str, generation: &Arc<Generation>, after: &[&str]) -> Analyzer {
    Analyzer {
        name: name.to_owned(),
        plugin: Arc::clone(generation),
        config: Digest::of(b""),
        after: after.iter().map(|name| (*name).to_owned()).collect(),
        // Longer than by default: on a busy machine too all is to be done that is measured.
        wait: Duration::from_secs(60),
        channels: Vec::new(),
        sees_authors: false,
        sees_attachments: false,
    }
}

/// What a host runs for a channel that can reply.
fn works(
    journal: &Journal,
    channel: &ChannelName,
    plugin: &Arc<Generation>,
    analyzers: &Arc<Analyzers>,
    rules: &Arc<ArcSwap<Vec<Rule>>>,
    target: &Arc<Target>,
) -> [Arc<dyn Work>; 7] {
    let (journal, channel) = (|| journal.clone(), || channel.clone());
    [
        Arc::new(Intake::new(journal(), channel(), "bench".to_owned(), Arc::clone(plugin), Some(Duration::from_millis(1)), 0)),
        Arc::new(Analysis::new(journal(), channel(), Arc::clone(analyzers))),
        Arc::new(CatchUp::new(journal(), channel(), Arc::clone(analyzers))),
        Arc::new(Rules {
            journal: journal(),
            channel: channel(),
            rules: Arc::clone(rules),
            capabilities: "{}".into(),
            terms: Some(Arc::default()),
            teams: vec!["support".to_owned()].into(),
            strikes: Mutex::default(),
        }),
        Arc::new(Timers::new(journal(), channel())),
        Arc::new(Outbox {
            journal: journal(),
            channel: channel(),
            plugin: Arc::clone(plugin),
            class: SendClass::ClientId,
            terms: Arc::default(),
            held_until: Mutex::default(),
        }),
        Arc::new(Sink::new(journal(), channel(), Arc::clone(target))),
    ]
}

/// A receiver that counts, and the sink that tells it.
async fn receiver(n_told: Arc<AtomicU64>, tasks: &mut JoinSet<()>, stop: CancellationToken) -> Result<Arc<Target>, Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
    let url = format!("http://{}/", listener.local_addr().map_err(failed)?);
    let hear = async |State(n_told): State<Arc<AtomicU64>>| {
        n_told.fetch_add(1, Ordering::Relaxed);
        StatusCode::NO_CONTENT
    };
    let router = Router::new().route("/", post(hear)).with_state(n_told);
    tasks.spawn(async move {
        tokio::select! {
            served = axum::serve(listener, router) => drop(served),
            () = stop.cancelled() => {}
        }
    });
    let http = vec![HttpGrant::parse(&url).map_err(failed)?];
    let door = Egress::new(&[], Arc::new(SystemResolver)).map_err(failed)?.door(DoorConfig { http, ..DoorConfig::default() });
    Ok(Arc::new(Target {
        name: SINK.to_owned(),
        url,
        secrets: vec![Secret::parse(SECRET).map_err(failed)?],
        events: vec!["task.opened".to_owned()],
        door: Arc::new(door),
        is_gone: AtomicBool::new(false),
    }))
}
