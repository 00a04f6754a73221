//! Another build of a plugin in force on a running host, and the way back.
//!
//! A build is prepared beside the one in force: read, judged, compiled, started and asked about its section. Only then it takes
//! its place. Turns under way end with the build that they began with. Analyzers and rules are replaced between two turns; a
//! connector's channel ends its turns first, so that what it has can be kept for the way back, and no other channel waits.

use std::io;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tracing::{error, info, warn};

use crate::config::{Config, Plugin, Report, Severity};
use crate::console::{self, Refusal, Swaps, Why};
use crate::model::{ChannelName, Digest};
use crate::plugin::{Act, Aside, IN_FORCE, ITSELF};
use crate::store::StoreError;
use crate::telemetry::chain;

use super::prepare::{Choice, One, prepare_one, section_named, sections};
use super::{Found, House, InForce, PreparedChannel, Running, find};

/// Between two looks at a new build.
const LOOK: Duration = Duration::from_millis(50);

/// What the desk orders by.
pub(super) struct Swapper(pub(super) Weak<House>);

#[async_trait]
impl Swaps for Swapper {
    async fn swap(&self, name: &str, bytes: Bytes, why: Why) -> Result<Act, Refusal> {
        let house = self.house()?;
        let act = house.swap(name, bytes, why).await?;
        house.watch(name).await;
        Ok(act)
    }

    async fn roll_back(&self, name: &str, why: Why) -> Result<Act, Refusal> {
        self.house()?.roll_back(name, why).await
    }
}

impl Swapper {
    fn house(&self) -> Result<Arc<House>, Refusal> {
        self.0.upgrade().ok_or_else(|| Refusal::conflict("the host is stopping", "start it again, then repeat the order"))
    }
}

/// What makes a change durable.
enum Step<'a> {
    /// This build, over the configured one of this digest.
    Swap(&'a [u8], Digest),
    /// The build before.
    Back,
}

/// An order on its way.
struct Order<'a> {
    in_force: Arc<InForce>,
    name: &'a str,
    act: Act,
    /// It is not compared with the build before.
    stays: bool,
}

impl House {
    /// Until another build is in force: one that proves worse than the one before it goes back by itself.
    async fn watch(self: &Arc<Self>, name: &str) {
        let Some(generation) = self.running.lock().await.generation(name) else { return };
        let (house, name) = (Arc::downgrade(self), name.to_owned());
        let work = async move {
            while Arc::strong_count(&generation) > 1 {
                tokio::time::sleep(LOOK).await;
                let Some(why) = generation.condemned() else { continue };
                let Some(house) = house.upgrade() else { return };
                warn!(plugin = name, digest = %generation.digest(), why, "A new build is worse than the one before, which is put in force again.");
                let why = Why { by: ITSELF.to_owned(), reason: Some(why.to_owned()), stays: false };
                match house.roll_back(&name, why).await {
                    Ok(_) => return house.redrive_all_of(generation.digest()).await,
                    Err(refusal) => error!(plugin = name, error = %refusal, "The build before cannot be put in force."),
                }
            }
        };
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        while watches.try_join_next().is_some() {}
        watches.spawn(work);
    }

    /// What a build set aside, to be tried by the one in force.
    async fn redrive_all_of(&self, digest: Digest) {
        let redriven = console::redrive_all(&self.desk, |letter| letter.digest == Some(digest)).await;
        match redriven {
            Ok(n_letters) => info!(n_letters, "What the worse build set aside is tried again."),
            Err(refusal) => error!(error = %refusal, "What the worse build set aside stays in the dead letters."),
        }
    }

    async fn swap(&self, name: &str, bytes: Bytes, why: Why) -> Result<Act, Refusal> {
        let order = self.order(name, "swap", Digest::of(&bytes), why).await?;
        let section = section_of(&order.in_force.config, name)?;
        if order.act.from == order.act.to {
            return Err(Refusal::conflict(format!("this build is in force for `{name}` already"), "nothing is to be done"));
        }
        let configured = find(&section.plugin, &order.in_force.config.host.plugins).map_err(|(message, cure)| Refusal::conflict(message, cure))?;
        let bytes: Arc<[u8]> = Arc::from(&bytes[..]);
        let file = Found { bytes: Arc::clone(&bytes), origin: "the file given".to_owned() };
        self.carry_out(order, Choice::File(file), Step::Swap(&bytes, Digest::of(&configured.bytes))).await
    }

    async fn roll_back(&self, name: &str, why: Why) -> Result<Act, Refusal> {
        let mut order = self.order(name, "rollback", Digest::of(b""), why).await?;
        let section = section_of(&order.in_force.config, name)?;
        let back = self.desk.builds.back(name).map_err(|error| unreadable(name, &error))?;
        let Some(back) = back else {
            let message = format!("`{name}` runs the build that the configuration names: there is no way back from it");
            return Err(Refusal::conflict(
                message,
                format!("`membrana history {name}` tells what was in force; swap to a file with `membrana swap`"),
            ));
        };
        let (choice, to) = match back.bytes {
            Some(bytes) => (Choice::File(Found { bytes: Arc::clone(&bytes), origin: "the build before".to_owned() }), Digest::of(&bytes)),
            None => {
                let found = find(&section.plugin, &order.in_force.config.host.plugins).map_err(|(message, cure)| Refusal::conflict(message, cure))?;
                (Choice::Configured, Digest::of(&found.bytes))
            }
        };
        order.act.to = to.to_string();
        self.carry_out(order, choice, Step::Back).await
    }

    async fn order<'a>(&self, name: &'a str, act: &str, to: Digest, why: Why) -> Result<Order<'a>, Refusal> {
        let in_force = self.in_force.load_full();
        section_of(&in_force.config, name)?;
        let from = self.running.lock().await.generation(name).map(|generation| generation.digest().to_string()).unwrap_or_default();
        let Why { by, reason, stays } = why;
        let (at, act, outcome) = (self.journal.clock.now(), act.to_owned(), IN_FORCE.to_owned());
        Ok(Order { in_force, name, act: Act { at, act, by, reason, from, to: to.to_string(), outcome, pause_us: None }, stays })
    }

    /// Prepares the build, puts it in force, or notes why not.
    async fn carry_out(&self, mut order: Order<'_>, choice: Choice, step: Step<'_>) -> Result<Act, Refusal> {
        let done = self.try_to(&mut order, choice, step).await;
        let Order { name, mut act, .. } = order;
        match done {
            Ok(()) => {
                info!(plugin = name, act = act.act, from = act.from, to = act.to, by = act.by, pause_us = act.pause_us, "Another build is in force.");
                Ok(act)
            }
            Err(refusal) => {
                act.outcome = format!("refused: {refusal}");
                info!(plugin = name, act = act.act, from = act.from, to = act.to, by = act.by, "Another build was refused.");
                if let Err(error) = self.desk.builds.note(name, act) {
                    error!(plugin = name, error = %chain(&error), "The history of builds cannot be written.");
                }
                Err(refusal)
            }
        }
    }

    async fn try_to(&self, order: &mut Order<'_>, choice: Choice, step: Step<'_>) -> Result<(), Refusal> {
        let (one, report) = prepare_one(&order.in_force.config, &order.in_force.kit, order.name, choice).await;
        let one = one.ok_or_else(|| refused(order.name, &report))?;
        let mut running = self.running.lock().await;
        if !Arc::ptr_eq(&order.in_force, &self.in_force.load_full()) {
            return Err(Refusal::conflict("the configuration was read again meanwhile", "repeat the order"));
        }
        let now = running.generation(order.name).map(|generation| generation.digest().to_string()).unwrap_or_default();
        if now != order.act.from {
            return Err(Refusal::conflict(
                format!("another build of `{}` was put in force meanwhile", order.name),
                "look at it, then repeat the order",
            ));
        }
        if let (Step::Swap(..), false, Some(before)) = (&step, order.stays, running.generation(order.name)) {
            one.generation().watch(&before);
        }
        let to = match one {
            One::Channel(channel) => self.replace_channel(&mut running, order, *channel, step).await?,
            One::Analyzer(analyzer) => {
                self.keep(order, &step, None)?;
                let watch = self.journal.clock.stopwatch();
                running.analyzers().replace(&analyzer);
                order.act.pause_us = u64::try_from(watch.elapsed().as_micros()).ok();
                analyzer.plugin.digest()
            }
            One::Rule(rule) => {
                self.keep(order, &step, None)?;
                let watch = self.journal.clock.stopwatch();
                let replaced = |one: &crate::rules::Rule| if one.name == rule.name { rule.clone() } else { one.clone() };
                running.rules().rcu(|rules| rules.iter().map(replaced).collect::<Vec<_>>());
                order.act.pause_us = u64::try_from(watch.elapsed().as_micros()).ok();
                rule.plugin.digest()
            }
        };
        self.show_digest(order.name, to);
        Ok(())
    }

    /// From its return on the change is durable.
    fn keep(&self, order: &Order<'_>, step: &Step<'_>, aside: Option<&Aside>) -> Result<(), Refusal> {
        let builds = &self.desk.builds;
        let done = match step {
            Step::Swap(bytes, configured) => {
                let section = section_of(&order.in_force.config, order.name)?;
                builds.push(order.name, &section.plugin, *configured, bytes, aside, order.act.clone())
            }
            Step::Back => builds.pop(order.name, order.act.clone()),
        };
        done.map_err(|error| {
            Refusal::unavailable(format!("the change cannot be made durable: {error}"), "is the folder `data` writable, and its disk full?")
        })
    }

    /// Ends the channel's turns, keeps or brings back what its connector has, and begins again; with the old build where that
    /// cannot be made durable.
    async fn replace_channel(&self, running: &mut Running, order: &mut Order<'_>, new: PreparedChannel, step: Step<'_>) -> Result<Digest, Refusal> {
        let gone = || Refusal::conflict(format!("channel `{}` does not run", order.name), "look at the host's log");
        let old = running.channel(order.name).ok_or_else(gone)?;
        if old.network != new.network {
            let message = format!("its identities belong to `{}`, and those of the build in force to `{}`", new.network, old.network);
            return Err(Refusal::conflict(message, "give it a channel of its own in the configuration"));
        }
        let watch = self.journal.clock.stopwatch();
        let place = running.end(order.name).await.ok_or_else(gone)?;
        let done = self.hand_over(order, &step).await;
        let digest = new.plugin.digest();
        running.begin_at(place, if done.is_ok() { new } else { old });
        order.act.pause_us = u64::try_from(watch.elapsed().as_micros()).ok();
        self.show(running);
        done.map(|()| digest)
    }

    async fn hand_over(&self, order: &Order<'_>, step: &Step<'_>) -> Result<(), Refusal> {
        let channel = ChannelName::from(order.name);
        match step {
            Step::Swap(..) => {
                let aside = self.aside(&channel).await?;
                self.keep(order, step, Some(&aside))
            }
            Step::Back => {
                // Before the record says so: a crash in between leaves the newer build with what it began with.
                let back = self.desk.builds.back(order.name).map_err(|error| unreadable(order.name, &error))?;
                if let Some(aside) = back.and_then(|back| back.aside) {
                    self.bring_back(&channel, aside).await?;
                }
                self.keep(order, step, None)
            }
        }
    }

    async fn aside(&self, channel: &ChannelName) -> Result<Aside, StoreError> {
        let (record, state) = (self.journal.store.channel(channel).await?, self.journal.store.plugin_state(channel).await?);
        Ok(Aside { cursor: record.cursor, state: state.into_iter().collect() })
    }

    /// What came in since is met again, and known.
    async fn bring_back(&self, channel: &ChannelName, aside: Aside) -> Result<(), StoreError> {
        let now = self.journal.store.plugin_state(channel).await?;
        let mut commit = self.journal.begin(channel);
        commit.cursor = aside.cursor;
        let foreign = now.into_keys().filter(|key| !aside.state.iter().any(|(known, _)| known == key));
        commit.state = foreign.map(|key| (key, None)).collect();
        commit.state.extend(aside.state.into_iter().map(|(key, value)| (key, Some(value))));
        self.journal.commit(commit).await?;
        Ok(())
    }

    fn show_digest(&self, name: &str, digest: Digest) {
        self.desk.sections.rcu(|sections| {
            let mut sections = sections.as_ref().clone();
            let all = sections.channels.iter_mut().chain(&mut sections.analyzers).chain(&mut sections.rules);
            all.filter(|section| section.name == name).for_each(|section| section.digest = Some(digest));
            sections
        });
    }

    /// Where the configuration names another build than what was swapped over, it is in force, and the history says so.
    pub(super) fn end_builds(&self, config: &Config) {
        for section in sections(config) {
            let Ok(found) = find(&section.plugin, &config.host.plugins) else { continue };
            let ended = self.desk.builds.end(&section.name, &section.plugin, Digest::of(&found.bytes), self.journal.clock.now());
            if let Err(error) = ended {
                error!(plugin = section.name, error = %chain(&error), "The history of builds cannot be written.");
            }
        }
    }
}

fn section_of<'c>(config: &'c Config, name: &str) -> Result<&'c Plugin, Refusal> {
    section_named(config, name).ok_or_else(|| {
        let known: Vec<&str> = sections(config).map(|section| section.name.as_str()).collect();
        Refusal::not_found(format!("there is no channel, analyzer or rule `{name}`"), format!("there are: {}", known.join(", ")))
    })
}

/// All that is wrong with a build, in one refusal.
fn refused(name: &str, report: &Report) -> Refusal {
    let errors: Vec<_> = report.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    let message = errors.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("; ");
    let cure = errors.first().map(|finding| finding.cure.clone()).unwrap_or_default();
    Refusal::conflict(if message.is_empty() { format!("`{name}` cannot be loaded") } else { message }, cure)
}

fn unreadable(name: &str, error: &io::Error) -> Refusal {
    Refusal::conflict(format!("the way back of `{name}` cannot be read: {error}"), "swap to a file with `membrana swap`")
}
