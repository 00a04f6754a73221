//! The stages of the configuration in force: begun together, ended in order, and one channel's alone where its build is replaced.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::analysis::{Analysis, Analyzers, CatchUp, Rerun};
use crate::ingress::{Hook, Streaming};
use crate::intake::Intake;
use crate::media::Media;
use crate::model::ChannelName;
use crate::outbox::Outbox;
use crate::plugin::Generation;
use crate::rules::{Rules, RulesInForce, Timers};
use crate::sinks::{Sink, Target};
use crate::stage::{self, Journal, Work};

use super::{Prepared, PreparedChannel};

/// Stages are given so long to end the turn they are in: longer than the longest call, so that no send is cut off.
const STOP_WAIT: Duration = Duration::from_secs(130);

/// What runs.
pub(super) struct Running {
    journal: Journal,
    around: Around,
    /// In file order.
    channels: Vec<RunningChannel>,
}

/// What all channels share.
struct Around {
    analyzers: Arc<Analyzers>,
    rules: Arc<RulesInForce>,
    sinks: Vec<Arc<Target>>,
    teams: Arc<[String]>,
}

/// One channel's stages.
struct RunningChannel {
    prepared: PreparedChannel,
    intake: Arc<Intake>,
    stages: Stages,
}

/// Tasks that end together.
struct Stages {
    stop: CancellationToken,
    tasks: JoinSet<()>,
    /// Which task is which stage of which channel.
    names: HashMap<tokio::task::Id, String>,
}

impl Running {
    /// Nothing runs.
    pub(super) fn nothing(journal: Journal) -> Self {
        let around = Around { analyzers: Arc::new(Analyzers::new(Vec::new())), rules: Arc::default(), sinks: Vec::new(), teams: Arc::default() };
        Self { journal, around, channels: Vec::new() }
    }

    /// Begins everything.
    pub(super) fn begin(journal: Journal, prepared: Prepared, teams: Arc<[String]>) -> Self {
        let Prepared { channels, analyzers, rules, sinks, .. } = prepared;
        let around = Around { analyzers: Arc::new(Analyzers::new(analyzers)), rules: Arc::new(ArcSwap::from_pointee(rules)), sinks, teams };
        let channels = channels.into_iter().map(|channel| around.begin(&journal, channel)).collect();
        Self { journal, around, channels }
    }

    /// Ends everything; each stage ends the turn that it is in.
    pub(super) async fn halt(&mut self) {
        let channels = std::mem::take(&mut self.channels);
        channels.iter().for_each(|channel| channel.stages.stop.cancel());
        join_all(channels.into_iter().map(|channel| channel.stages.end())).await;
    }

    /// The build of this name that is in force.
    pub(super) fn generation(&self, name: &str) -> Option<Arc<Generation>> {
        let channel = self.channels.iter().find(|channel| channel.prepared.name == name).map(|channel| Arc::clone(&channel.prepared.plugin));
        let rule = || self.around.rules.load().iter().find(|rule| rule.name == name).map(|rule| Arc::clone(&rule.plugin));
        channel.or_else(|| self.around.analyzers.generation(name)).or_else(rule)
    }

    /// A channel as it was prepared.
    pub(super) fn channel(&self, name: &str) -> Option<PreparedChannel> {
        self.channels.iter().map(|channel| &channel.prepared).find(|channel| channel.name == name).cloned()
    }

    /// What all channels are analysed by.
    pub(super) fn analyzers(&self) -> &Analyzers {
        &self.around.analyzers
    }

    /// What is decided by.
    pub(super) fn rules(&self) -> &RulesInForce {
        &self.around.rules
    }

    /// Ends one channel's stages, and no other's. Webhooks are made durable meanwhile.
    pub(super) async fn end(&mut self, name: &str) -> Option<usize> {
        let place = self.channels.iter().position(|channel| channel.prepared.name == name)?;
        let channel = self.channels.remove(place);
        channel.stages.stop.cancel();
        channel.stages.end().await;
        Some(place)
    }

    /// Begins one channel's stages where others were ended.
    pub(super) fn begin_at(&mut self, place: usize, channel: PreparedChannel) {
        let channel = self.around.begin(&self.journal, channel);
        self.channels.insert(place.min(self.channels.len()), channel);
    }

    /// In file order.
    pub(super) fn intakes(&self) -> Vec<Arc<Intake>> {
        self.channels.iter().map(|channel| Arc::clone(&channel.intake)).collect()
    }

    /// In file order.
    pub(super) fn hooks(&self) -> Vec<Arc<Hook>> {
        self.channels.iter().filter_map(|channel| channel.prepared.hook.clone()).collect()
    }
}

impl Around {
    fn begin(&self, journal: &Journal, prepared: PreparedChannel) -> RunningChannel {
        let name = ChannelName::from(prepared.name.as_str());
        let (network, plugin) = (prepared.network.clone(), Arc::clone(&prepared.plugin));
        let intake = Arc::new(Intake::new(journal.clone(), name.clone(), network, plugin, prepared.pace, prepared.state_quota));
        let stages = Stages::begin(self.works(journal, &name, &prepared, &intake), journal);
        RunningChannel { prepared, intake, stages }
    }

    fn works(&self, journal: &Journal, channel: &ChannelName, prepared: &PreparedChannel, intake: &Arc<Intake>) -> Vec<Arc<dyn Work>> {
        let (journal, channel) = (|| journal.clone(), || channel.clone());
        let plugin = || Arc::clone(&prepared.plugin);
        let mut works: Vec<Arc<dyn Work>> = vec![Arc::clone(intake) as Arc<dyn Work>];
        if prepared.plugin.has_stream() {
            let intake = Arc::clone(intake);
            works.push(Arc::new(Streaming::new(journal(), channel(), plugin(), Box::new(move || intake.catch_up()))));
        }
        works.push(Arc::new(Analysis::new(journal(), channel(), Arc::clone(&self.analyzers))));
        works.push(Arc::new(CatchUp::new(journal(), channel(), Arc::clone(&self.analyzers))));
        works.push(Arc::new(Rerun::new(journal(), channel(), Arc::clone(&self.analyzers))));
        works.push(Arc::new(Rules {
            journal: journal(),
            channel: channel(),
            rules: Arc::clone(&self.rules),
            capabilities: Arc::clone(&prepared.capabilities),
            terms: prepared.class.map(|_| Arc::clone(&prepared.terms)),
            teams: Arc::clone(&self.teams),
            strikes: Mutex::default(),
        }));
        if let Some((bounds, door)) = &prepared.media {
            works.push(Arc::new(Media::new(journal(), channel(), plugin(), Arc::clone(door), *bounds)));
        }
        works.push(Arc::new(Timers::new(journal(), channel())));
        if let Some(class) = prepared.class {
            let terms = Arc::clone(&prepared.terms);
            works.push(Arc::new(Outbox { journal: journal(), channel: channel(), plugin: plugin(), class, terms, held_until: Mutex::default() }));
        }
        works.extend(self.sinks.iter().map(|target| Arc::new(Sink::new(journal(), channel(), Arc::clone(target))) as Arc<dyn Work>));
        works
    }
}

impl Stages {
    fn begin(works: Vec<Arc<dyn Work>>, journal: &Journal) -> Self {
        let (stop, mut tasks, mut names) = (CancellationToken::new(), JoinSet::new(), HashMap::new());
        for work in works {
            let name = format!("{} of {}", work.stage(), work.channel());
            names.insert(tasks.spawn(stage::run(work, journal.clone(), stop.clone())).id(), name);
        }
        Self { stop, tasks, names }
    }

    async fn end(self) {
        end(self.tasks, self.names).await;
    }
}

/// Waits for tasks, within a bound; who is late is named and ended.
pub(super) async fn end(mut tasks: JoinSet<()>, mut names: HashMap<tokio::task::Id, String>) {
    let all = async {
        while let Some(ended) = tasks.join_next_with_id().await {
            let id = ended.as_ref().map_or_else(|failure| failure.id(), |(id, ())| *id);
            let name = names.remove(&id).unwrap_or_default();
            if let Err(failure) = ended {
                error!(error = %failure, name, "A task ended badly.");
            }
        }
    };
    if tokio::time::timeout(STOP_WAIT, all).await.is_err() {
        let late = names.into_values().collect::<Vec<_>>().join(", ");
        warn!(late, "Tasks did not end in time and were stopped.");
        tasks.shutdown().await;
    }
}
