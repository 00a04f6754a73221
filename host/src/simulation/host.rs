//! The host of the simulation: the stages as the app puts them together, over whatever the disk holds, and the people at its desk.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures_util::future::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::crm::{Crm, URL};
use super::disk::Disk;
use super::network::{Arrival, Network};
use super::planted::Planted;
use super::plugins::{Analyzer, Connector, Rule};
use super::staff;
use super::world::{Owner, World};
use crate::analysis::{Analysis, Analyzer as Configured, Analyzers, CatchUp};
use crate::clock::Clock;
use crate::egress::{DoorConfig, Egress, SystemResolver};
use crate::intake::Intake;
use crate::media::{Bounds, Media};
use crate::model::{ChannelName, Digest, ReplyTerms};
use crate::outbox::{Outbox, SendClass};
use crate::rules::{Rule as InForce, Rules, Timers};
use crate::sinks::{Secret, Sink, Target};
use crate::stage::{self, Journal, StageError, Turn, Work};
use crate::store::{Store, StoreError};
use crate::testing::in_the_place_of;

/// The sink's name.
pub(super) const CRM: &str = "crm";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STATE_QUOTA: usize = 1 << 16;
const BOUNDS: Bounds = Bounds { keep: Duration::from_secs(90 * 86_400), file_bytes: 1000, total_bytes: 1_000_000 };

/// Everything outside the host, and its disk.
pub(super) struct Scene {
    pub(super) world: Arc<World>,
    pub(super) disk: Arc<Disk>,
    pub(super) networks: Vec<Arc<Network>>,
    pub(super) crm: Arc<Crm>,
}

impl Scene {
    pub(super) fn new(seed: u64, planted: Option<Planted>) -> Self {
        let world = World::new(seed, planted);
        let (disk, crm) = (Disk::new(Arc::clone(&world)), Crm::new(&world));
        let network = |name: &str, class, arrival| Network::new(&world, &disk, name, class, arrival);
        let networks = vec![
            network("forum", SendClass::ReadBack, Arrival::Polled),
            network("page", SendClass::Key(Duration::from_secs(3600)), Arrival::Both),
            network("sky", SendClass::ClientId, Arrival::Polled),
            network("shop", SendClass::None, Arrival::Pushed),
        ];
        Self { world, disk, networks, crm }
    }

    /// Begins a host on what the disk holds. It knows nothing else.
    pub(super) fn start(&self) {
        let journal = Journal::new(Arc::clone(&self.disk) as Arc<dyn Store>, Clock::ruled(Arc::clone(&self.world.time)));
        self.world.host_runs(Some(journal.clone()));
        let analyzer = |name: &str, after: &[&str]| Configured {
            name: name.to_owned(),
            plugin: in_the_place_of(name, "analyzer", Analyzer(Arc::clone(&self.world))),
            config: Digest::of(name.as_bytes()),
            after: after.iter().map(|name| (*name).to_owned()).collect(),
            wait: Duration::from_secs(10),
            channels: Vec::new(),
            sees_authors: false,
            sees_attachments: false,
        };
        let analyzers = Arc::new(Analyzers::new(vec![analyzer("mood", &[]), analyzer("intent", &["mood"])]));
        let rule = InForce { name: "impact".to_owned(), plugin: in_the_place_of("impact", "rule", Rule(Arc::clone(&self.world))) };
        let rules = Arc::new(ArcSwap::from_pointee(vec![rule]));
        let target = Arc::new(Target {
            name: CRM.to_owned(),
            url: URL.to_owned(),
            secrets: vec![Secret::parse(SECRET).unwrap()],
            events: vec!["*".to_owned()],
            door: Arc::new(self.crm.door()),
            is_gone: AtomicBool::new(false),
        });
        let around = Around { journal: journal.clone(), analyzers, rules, target };
        let stop = CancellationToken::new();
        for work in self.networks.iter().flat_map(|network| around.works(network)) {
            let name = format!("{} of {}", work.stage(), work.channel());
            let work = Arc::new(Watched { work, world: Arc::clone(&self.world) });
            self.world.begin(Owner::Host, name, stage::run(work, journal.clone(), stop.clone()).boxed());
        }
        for network in &self.networks {
            self.world.begin(Owner::Host, format!("staff of {}", network.channel), staff::work(Arc::clone(network), journal.clone()).boxed());
        }
    }
}

struct Around {
    journal: Journal,
    analyzers: Arc<Analyzers>,
    rules: Arc<ArcSwap<Vec<InForce>>>,
    target: Arc<Target>,
}

impl Around {
    /// As `app::running` puts them together.
    fn works(&self, network: &Arc<Network>) -> Vec<Arc<dyn Work>> {
        let (journal, channel) = (|| self.journal.clone(), || network.channel.clone());
        let plugin = in_the_place_of(network.channel.as_str(), "connector", Connector(Arc::clone(network)));
        let pace = match network.arrival {
            Arrival::Polled => Some(Duration::from_secs(30)),
            Arrival::Both => Some(Duration::from_secs(600)),
            Arrival::Pushed => None,
        };
        // One network takes a reply for a while only.
        let window_s = (network.arrival == Arrival::Polled).then_some(6 * 3600);
        let terms = Arc::new(ReplyTerms { window_s, ..ReplyTerms::default() });
        let class = if network.world.has(Planted::WrongClass) { SendClass::ClientId } else { network.class };
        let door = Egress::new(&[], Arc::new(SystemResolver)).expect("no roots are added").door(DoorConfig::default());
        vec![
            Arc::new(Intake::new(journal(), channel(), "test".to_owned(), Arc::clone(&plugin), pace, STATE_QUOTA)),
            Arc::new(Analysis::new(journal(), channel(), Arc::clone(&self.analyzers))),
            Arc::new(CatchUp::new(journal(), channel(), Arc::clone(&self.analyzers))),
            Arc::new(Rules {
                journal: journal(),
                channel: channel(),
                rules: Arc::clone(&self.rules),
                capabilities: "{}".into(),
                terms: Some(Arc::clone(&terms)),
                teams: ["support".to_owned(), "lead".to_owned()].into(),
                strikes: Mutex::default(),
            }),
            Arc::new(Media::new(journal(), channel(), Arc::clone(&plugin), Arc::new(door), BOUNDS)),
            Arc::new(Timers::new(journal(), channel())),
            Arc::new(Outbox { journal: journal(), channel: channel(), plugin, class, terms, held_until: Mutex::default() }),
            Arc::new(Sink::new(journal(), channel(), Arc::clone(&self.target))),
        ]
    }
}

/// A stage whose turns are looked at: none may panic, and none may fail for a reason that nobody gave it.
struct Watched {
    work: Arc<dyn Work>,
    world: Arc<World>,
}

#[async_trait]
impl Work for Watched {
    fn stage(&self) -> &'static str {
        self.work.stage()
    }

    fn channel(&self) -> &ChannelName {
        self.work.channel()
    }

    async fn turn(&self) -> Result<Turn, StageError> {
        let turn = std::panic::AssertUnwindSafe(self.work.turn()).catch_unwind().await.unwrap_or_else(|_| Err(StageError::Panicked(String::new())));
        let (stage, channel) = (self.stage(), self.channel());
        match &turn {
            Ok(Turn::Idle | Turn::Until(_)) => {}
            Ok(Turn::Worked) => self.world.tell(format!("turn of {stage} of {channel}: worked")),
            Err(StageError::Other(_) | StageError::Store(StoreError::Conflict(_) | StoreError::Full { .. })) => {
                self.world.tell(format!("turn of {stage} of {channel}: {turn:?}"));
            }
            Err(failure) => self.world.wrong(format!("a turn of {stage} of {channel} fails: {failure}")),
        }
        turn
    }
}
