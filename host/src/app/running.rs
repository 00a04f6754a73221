//! The stages of the configuration in force: begun together, ended in order, and one channel's alone where its build is replaced.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::analysis::{Analysis, Analyzers, CatchUp, Rerun};
use crate::clock::Stopwatch;
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
    /// Those that go by what its connector is; another build has others.
    own: Stages,
    /// Those that go on whatever build is in force.
    beside: Stages,
}

/// Tasks that end together.
struct Stages {
    stop: CancellationToken,
    tasks: JoinSet<()>,
    /// Which task is which stage of which channel.
    names: HashMap<tokio::task::Id, String>,
    /// By the stages' names.
    seats: HashMap<&'static str, Seat>,
}

/// Of one stage of one channel: the task that holds it runs, and leaves behind when it ended.
type Seat = Arc<tokio::sync::Mutex<Option<Stopwatch>>>;

/// The stages of one build that take over from those of another.
pub(super) struct Handover {
    old: Stages,
    /// How long each stage stood empty; closed once all are taken.
    gaps: mpsc::Receiver<Duration>,
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
        let mut stages: Vec<Stages> = channels.into_iter().flat_map(|channel| [channel.own, channel.beside]).collect();
        stages.iter().for_each(|stages| stages.stop.cancel());
        join_all(stages.iter_mut().map(Stages::end)).await;
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

    /// Ends those stages of one channel that go by its connector, and no other's. Webhooks are made durable meanwhile.
    pub(super) async fn end(&mut self, name: &str) {
        if let Some(channel) = self.channels.iter_mut().find(|channel| channel.prepared.name == name) {
            channel.own.end().await;
        }
    }

    /// Puts another build of its connector in a channel's place: each stage goes over to it as soon as the turn that it is in has ended,
    /// and waits for no other stage. `None`: there is no such channel.
    pub(super) fn replace(&mut self, new: PreparedChannel) -> Option<Handover> {
        let channel = self.channels.iter_mut().find(|channel| channel.prepared.name == new.name)?;
        let (intake, works) = self.around.own(&self.journal, &new);
        let (own, gaps) = Stages::begin(works, &self.journal, channel.own.seats.clone());
        let old = std::mem::replace(&mut channel.own, own);
        old.stop.cancel();
        (channel.prepared, channel.intake) = (new, intake);
        Some(Handover { old, gaps })
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
        let (intake, works) = self.own(journal, &prepared);
        // Nothing stood here before.
        let (own, _) = Stages::begin(works, journal, HashMap::new());
        let (beside, _) = Stages::begin(self.beside(journal, &prepared), journal, HashMap::new());
        RunningChannel { prepared, intake, own, beside }
    }

    fn own(&self, journal: &Journal, prepared: &PreparedChannel) -> (Arc<Intake>, Vec<Arc<dyn Work>>) {
        let (journal, channel) = (|| journal.clone(), || ChannelName::from(prepared.name.as_str()));
        let plugin = || Arc::clone(&prepared.plugin);
        let intake = Arc::new(Intake::new(journal(), channel(), prepared.network.clone(), plugin(), prepared.pace, prepared.state_quota));
        let mut works: Vec<Arc<dyn Work>> = vec![Arc::clone(&intake) as Arc<dyn Work>];
        if prepared.plugin.has_stream() {
            let intake = Arc::clone(&intake);
            works.push(Arc::new(Streaming::new(journal(), channel(), plugin(), Box::new(move || intake.catch_up()))));
        }
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
        if let Some(class) = prepared.class {
            let terms = Arc::clone(&prepared.terms);
            works.push(Arc::new(Outbox { journal: journal(), channel: channel(), plugin: plugin(), class, terms, held_until: Mutex::default() }));
        }
        (intake, works)
    }

    fn beside(&self, journal: &Journal, prepared: &PreparedChannel) -> Vec<Arc<dyn Work>> {
        let (journal, channel) = (|| journal.clone(), || ChannelName::from(prepared.name.as_str()));
        let mut works: Vec<Arc<dyn Work>> = vec![
            Arc::new(Analysis::new(journal(), channel(), Arc::clone(&self.analyzers))),
            Arc::new(CatchUp::new(journal(), channel(), Arc::clone(&self.analyzers))),
            Arc::new(Rerun::new(journal(), channel(), Arc::clone(&self.analyzers))),
            Arc::new(Timers::new(journal(), channel())),
        ];
        works.extend(self.sinks.iter().map(|target| Arc::new(Sink::new(journal(), channel(), Arc::clone(target))) as Arc<dyn Work>));
        works
    }
}

impl Stages {
    /// Each begins once its seat is left; `before`: the seats of those that are replaced. Gives for how long each was empty, too.
    fn begin(works: Vec<Arc<dyn Work>>, journal: &Journal, before: HashMap<&'static str, Seat>) -> (Self, mpsc::Receiver<Duration>) {
        let (stop, mut tasks, mut names, mut seats) = (CancellationToken::new(), JoinSet::new(), HashMap::new(), before.clone());
        let (tell, gaps) = mpsc::channel(works.len().max(1));
        for work in works {
            let name = format!("{} of {}", work.stage(), work.channel());
            let seat = before.get(work.stage()).cloned().unwrap_or_default();
            seats.insert(work.stage(), Arc::clone(&seat));
            names.insert(tasks.spawn(seated(seat, tell.clone(), work, journal.clone(), stop.clone())).id(), name);
        }
        (Self { stop, tasks, names, seats }, gaps)
    }

    /// Each ends the turn that it is in.
    async fn end(&mut self) {
        self.stop.cancel();
        end(std::mem::take(&mut self.tasks), std::mem::take(&mut self.names)).await;
    }
}

/// Runs a stage once its seat is left, and tells for how long that was empty.
async fn seated(seat: Seat, tell: mpsc::Sender<Duration>, work: Arc<dyn Work>, journal: Journal, stop: CancellationToken) {
    let mut left = tokio::select! {
        left = seat.lock() => left,
        () = stop.cancelled() => return,
    };
    let gap = left.take().map(|left| left.elapsed()).unwrap_or_default();
    // Nobody listens where nothing is replaced.
    tell.try_send(gap).ok();
    drop(tell);
    let clock = journal.clock.clone();
    stage::run(work, journal, stop).await;
    *left = Some(clock.stopwatch());
}

impl Handover {
    /// Waits until all have gone over. For so long the one that waited longest took no turn.
    pub(super) async fn done(mut self) -> Duration {
        self.old.end().await;
        let mut longest = Duration::ZERO;
        while let Some(gap) = self.gaps.recv().await {
            longest = longest.max(gap);
        }
        longest
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::stage::{StageError, Turn};
    use crate::testing::Stand;

    /// A stage whose turns wait for leave.
    struct Held {
        stage: &'static str,
        channel: ChannelName,
        leave: Semaphore,
        n_begun: AtomicUsize,
        n_ended: AtomicUsize,
    }

    impl Held {
        fn new(stage: &'static str, stand: &Stand) -> Arc<Self> {
            let (leave, channel) = (Semaphore::new(0), stand.channel.clone());
            Arc::new(Self { stage, channel, leave, n_begun: AtomicUsize::new(0), n_ended: AtomicUsize::new(0) })
        }

        async fn has_begun(&self) {
            let begun = async {
                while self.n_begun.load(Ordering::SeqCst) == 0 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), begun).await.expect("it begins");
        }
    }

    #[async_trait]
    impl Work for Held {
        fn stage(&self) -> &'static str {
            self.stage
        }

        fn channel(&self) -> &ChannelName {
            &self.channel
        }

        async fn turn(&self) -> Result<Turn, StageError> {
            self.n_begun.fetch_add(1, Ordering::SeqCst);
            self.leave.acquire().await.unwrap().forget();
            self.n_ended.fetch_add(1, Ordering::SeqCst);
            Ok(Turn::Idle)
        }
    }

    #[tokio::test]
    async fn each_stage_goes_over_when_its_own_turn_has_ended_and_none_has_two_at_once() {
        let stand = Stand::new("blog");
        let [slow, quick, new_slow, new_quick] = ["outbox", "intake", "outbox", "intake"].map(|stage| Held::new(stage, &stand));
        let works = |pair: [&Arc<Held>; 2]| pair.map(|held| Arc::clone(held) as Arc<dyn Work>).to_vec();
        let (old, _) = Stages::begin(works([&slow, &quick]), &stand.journal, HashMap::new());
        slow.has_begun().await;
        quick.has_begun().await;

        let (mut new, gaps) = Stages::begin(works([&new_slow, &new_quick]), &stand.journal, old.seats.clone());
        old.stop.cancel();
        tokio::join!(Handover { old, gaps }.done(), async {
            quick.leave.add_permits(1);
            new_quick.has_begun().await;
            assert_eq!((quick.n_ended.load(Ordering::SeqCst), slow.n_ended.load(Ordering::SeqCst)), (1, 0), "the intake waits for no send");
            assert_eq!(new_slow.n_begun.load(Ordering::SeqCst), 0, "a send of the old build is under way");

            slow.leave.add_permits(1);
            new_slow.has_begun().await;
            assert_eq!(slow.n_ended.load(Ordering::SeqCst), 1);
        });
        [&new_slow, &new_quick].into_iter().for_each(|held| held.leave.add_permits(2));
        new.end().await;
        for seat in new.seats.values() {
            assert!(seat.lock().await.is_some(), "whoever takes over can tell since when nobody was there");
        }
    }
}
