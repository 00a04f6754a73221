//! Another build of a plugin in force on a running host, and the way back.
//!
//! A build is prepared beside the one in force: read, judged, compiled, started and asked about its section. Only then it takes
//! its place. Turns under way end with the build that they began with; the next ones are the new build's. What a connector has is kept for
//! the way back ahead of it; on that way its channel ends its turns first, so that what it had then can be brought back.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::config::{Config, Plugin, Report};
use crate::console::{self, Ordered, Redriven, Refusal, Swaps, Wish};
use crate::model::{ChannelName, DeadLetter, Digest};
use crate::plugin::{Act, Aside, Generation, IN_FORCE, ITSELF, Length, Shadow, inspect};
use crate::rules::Rule;
use crate::store::{Reader, StoreError};
use crate::telemetry::chain;

use super::prepare::{Choice, One, Prepared, prepare_one, section_named, sections};
use super::{Found, House, InForce, PreparedChannel, Running, find};

/// Between two looks at a build on trial; four times as long after each way back that failed.
const LOOK: Duration = Duration::from_millis(50);
/// So many ways back that fail, and the build stays.
const FAILURES_MAX: u32 = 5;

/// What the desk orders by.
pub(super) struct Swapper(pub(super) Weak<House>);

#[async_trait]
impl Swaps for Swapper {
    async fn swap(&self, name: &str, bytes: Bytes, ordered: Ordered) -> Result<Act, Refusal> {
        let (house, name) = (self.house()?, name.to_owned());
        apart(&house, async |house: Arc<House>| {
            let is_on_trial = !ordered.stays;
            let (act, generation) = house.swap(&name, bytes, ordered).await?;
            if is_on_trial {
                house.begin_trial(name, generation);
            }
            Ok(act)
        })
        .await
    }

    async fn roll_back(&self, name: &str, ordered: Ordered) -> Result<Act, Refusal> {
        let (house, name) = (self.house()?, name.to_owned());
        apart(&house, async move |house: Arc<House>| house.roll_back(&name, ordered, None).await).await
    }

    async fn shadow(&self, name: &str, bytes: Bytes, length: Length, is_another: bool) -> Result<Arc<Shadow>, Refusal> {
        self.house()?.shadow(name, bytes, length, is_another).await
    }

    fn shadow_of(&self, name: &str) -> Result<Arc<Shadow>, Refusal> {
        let house = self.house()?;
        named(&house.in_force.load().config, name)?;
        let cast = house.shadows.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let cure = format!("begin one with `membrana swap {name} FILE --shadow 5000`");
        cast.ok_or_else(|| Refusal::not_found(format!("no build was tried beside `{name}` since the host began"), cure))
    }
}

impl Swapper {
    fn house(&self) -> Result<Arc<House>, Refusal> {
        self.0.upgrade().ok_or_else(stopping)
    }
}

fn stopping() -> Refusal {
    Refusal::conflict("the host is stopping", "start it again, then repeat the order")
}

/// An order is carried out to its end whether or not who gave it still listens: half of one would be a channel without stages.
async fn apart<T: Send + 'static, F: Future<Output = Result<T, Refusal>> + Send + 'static>(
    house: &Arc<House>,
    order: impl FnOnce(Arc<House>) -> F,
) -> Result<T, Refusal> {
    let (tell, told) = oneshot::channel();
    let work = order(Arc::clone(house));
    house.spawn(async move {
        // Nobody may listen any more.
        drop(tell.send(work.await));
    });
    told.await.unwrap_or_else(|_| Err(stopping()))
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
    /// A build of another plugin will do.
    is_another: bool,
    act: Act,
}

impl Order<'_> {
    fn section(&self) -> Result<&Plugin, Refusal> {
        named(&self.in_force.config, self.name)
    }

    /// What the section names, as it lies there now.
    fn configured(&self) -> Result<Found, Refusal> {
        find(&self.section()?.plugin, &self.in_force.config.host.plugins).map_err(|(message, cure)| Refusal::conflict(message, cure))
    }
}

impl House {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work);
    }

    /// Builds that were swapped in a short while before a restart or a reload. `before`: what ran until then, and knows what the builds before
    /// them did.
    pub(super) fn go_on_with_trials(self: &Arc<Self>, running: &Running, before: &HashMap<String, Arc<Generation>>) {
        for section in sections(&self.in_force.load().config) {
            let (Some(generation), Ok(record)) = (running.generation(&section.name), self.desk.builds.record(&section.name)) else { continue };
            if record.is_on_trial(generation.digest(), self.journal.clock.now()) {
                match before.get(&section.name).filter(|before| before.digest() == generation.digest()) {
                    Some(before) => generation.go_on_with_trial_of(before),
                    None => generation.put_on_trial(None),
                }
                self.begin_trial(section.name.clone(), Arc::clone(&generation));
            }
            // The host may have ended between the way back and this.
            if let Some(condemned) = record.went_back_from().filter(|condemned| *condemned != generation.digest().to_string()) {
                let (house, name, condemned) = (Arc::clone(self), section.name.clone(), condemned.to_owned());
                self.spawn(async move { house.redrive_all_of(&name, &condemned).await });
            }
        }
    }

    /// Until another build is in force, or it proved itself: one that proves worse than the one before it goes back by itself.
    fn begin_trial(self: &Arc<Self>, name: String, generation: Arc<Generation>) {
        let (house, stop) = (Arc::downgrade(self), self.stop.clone());
        let until = self.desk.builds.record(&name).ok().and_then(|record| record.trial_until(generation.digest()));
        self.spawn(async move {
            let mut n_failures = 0;
            while Arc::strong_count(&generation) > 1 {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK * 2u32.saturating_pow(n_failures * 2)) => {}
                }
                let Some(house) = house.upgrade() else { return };
                let Some(why) = generation.condemned() else {
                    if until.is_some_and(|until| house.journal.clock.now() >= until) {
                        return generation.acquit();
                    }
                    continue;
                };
                warn!(plugin = name, digest = %generation.digest(), why, "A new build is worse than the one before, which is put in force again.");
                let ordered = Ordered { by: ITSELF.to_owned(), reason: Some(why.to_owned()), stays: false, is_another: false };
                let Err(refusal) = house.roll_back(&name, ordered, Some(generation.digest())).await else {
                    return house.redrive_all_of(&name, &generation.digest().to_string()).await;
                };
                n_failures += 1;
                error!(plugin = name, error = %refusal, n_failures, "The build before cannot be put in force.");
                if n_failures == FAILURES_MAX {
                    // Worse than a bad build is one of which nothing is kept.
                    generation.acquit();
                    error!(plugin = name, cure = %refusal.cure, "The worse build stays in force, and what it says is kept.");
                    return;
                }
            }
        });
    }

    /// What a build (hex) set aside under this name, to be tried by the one in force.
    async fn redrive_all_of(&self, name: &str, digest: &str) {
        let is_its = |letter: &DeadLetter| letter.plugin.as_deref() == Some(name) && letter.digest.is_some_and(|its| its.to_string() == digest);
        match console::redrive_all(&self.desk, Wish::ByItself, is_its).await {
            Ok(Redriven { n_redriven: 0, n_left: 0 }) => {}
            Ok(Redriven { n_redriven, n_left }) => info!(n_redriven, n_left, "What the worse build set aside is tried again."),
            Err(refusal) => error!(error = %refusal, "What the worse build set aside stays in the dead letters."),
        }
    }

    /// Prepares the build as for a swap, and has it asked beside the one in force.
    async fn shadow(&self, name: &str, bytes: Bytes, length: Length, is_another: bool) -> Result<Arc<Shadow>, Refusal> {
        let in_force = self.in_force.load_full();
        named(&in_force.config, name)?;
        if !is_another {
            self.is_of_the_same(name, &bytes).await?;
        }
        let file = Found { bytes: Arc::from(&bytes[..]), origin: "the file given".to_owned() };
        let (one, report) = prepare_one(&in_force.config, &in_force.kit, name, Choice::Apart(file)).await;
        let one = one.ok_or_else(|| refused(name, &report))?;
        // A connector is asked about raw items alone, most of which it needs no network for.
        if !matches!(one, One::Channel(_)) && one.generation().manifest().wants.http.is_some() {
            let cure = "swap it, with `membrana rollback` as the way back";
            return Err(Refusal::conflict(format!("the build for `{name}` calls out by http, which a shadow must not"), cure));
        }
        let old = self.running.lock().await.generation(name).ok_or_else(|| overtaken(name))?;
        let shadow = Shadow::new(Arc::clone(one.generation()), &old, length);
        let mut shadows = self.shadows.lock().unwrap_or_else(PoisonError::into_inner);
        if shadows.get(name).is_some_and(|before| !before.has_ended()) {
            let cure = format!("wait for its end, or end it: DELETE /api/v1/plugins/{name}/shadow");
            return Err(Refusal::conflict(format!("another build for `{name}` is asked beside the one in force"), cure));
        }
        shadows.insert(name.to_owned(), Arc::clone(&shadow));
        old.cast(Arc::clone(&shadow));
        drop(shadows);
        info!(plugin = name, digest = %one.generation().digest(), "A build is asked beside the one in force.");
        Ok(shadow)
    }

    /// Another plugin in its place is a slip, until somebody says that it is meant. What is no plugin is told when it is prepared.
    async fn is_of_the_same(&self, name: &str, bytes: &[u8]) -> Result<(), Refusal> {
        let (old, new) = (self.running.lock().await.generation(name), inspect(bytes).map(|inspection| inspection.manifest));
        match (old.as_ref().map(|old| old.manifest()), new) {
            (Some(old), Ok(new)) if old.kind == new.kind && old.name != new.name => {
                let message = format!("`{name}` runs plugin `{}`, and this file is plugin `{}` {}", old.name, new.name, new.version);
                let cure = format!("name a build of `{}`; where another plugin is meant, add --another (?another=true)", old.name);
                Err(Refusal::conflict(message, cure))
            }
            _ => Ok(()),
        }
    }

    async fn swap(&self, name: &str, bytes: Bytes, ordered: Ordered) -> Result<(Act, Arc<Generation>), Refusal> {
        let order = self.order(name, "swap", Some(Digest::of(&bytes)), ordered).await?;
        if order.act.from == order.act.to {
            return Err(Refusal::conflict(format!("this build is in force for `{name}` already"), "nothing is to be done"));
        }
        let configured = order.configured()?;
        let record = self.desk.builds.record(name).map_err(|error| unreadable(name, &error))?;
        let (plugin, configured_digest) = (&order.section()?.plugin, Digest::of(&configured.bytes));
        if !record.leads_back_to(plugin, configured_digest, &order.act.from) {
            return Err(if record.is_unread(plugin, configured_digest, &order.act.from) { unread(name) } else { changed(name) });
        }
        let bytes: Arc<[u8]> = Arc::from(&bytes[..]);
        let file = Found { bytes: Arc::clone(&bytes), origin: "the file given".to_owned() };
        self.carry_out(order, Choice::File(file), Step::Swap(&bytes, Digest::of(&configured.bytes))).await
    }

    /// `only`: where this build is in force, and not another one that somebody put there meanwhile.
    async fn roll_back(&self, name: &str, ordered: Ordered, only: Option<Digest>) -> Result<Act, Refusal> {
        let mut order = self.order(name, "rollback", None, ordered).await?;
        if only.is_some_and(|only| only.to_string() != order.act.from) {
            return Err(overtaken(name));
        }
        let Some(back) = self.desk.builds.back(name).map_err(|error| unreadable(name, &error))? else {
            let message = format!("`{name}` runs the build that the configuration names: there is no way back from it");
            let cure = format!("`membrana history {name}` tells what was in force; swap to a file with `membrana swap`");
            return Err(Refusal::conflict(message, cure));
        };
        let (choice, to) = match back.bytes {
            Some(bytes) => (Choice::File(Found { bytes: Arc::clone(&bytes), origin: "the build before".to_owned() }), Digest::of(&bytes)),
            None => (Choice::Configured, Digest::of(&order.configured()?.bytes)),
        };
        if to.to_string() != back.digest {
            return Err(changed(name));
        }
        order.act.to = back.digest;
        self.carry_out(order, choice, Step::Back).await.map(|(act, _)| act)
    }

    async fn order<'a>(&self, name: &'a str, act: &str, to: Option<Digest>, ordered: Ordered) -> Result<Order<'a>, Refusal> {
        let in_force = self.in_force.load_full();
        named(&in_force.config, name)?;
        let from = self.running.lock().await.generation(name).map(|generation| generation.digest().to_string()).unwrap_or_default();
        let Ordered { by, reason, stays, is_another } = ordered;
        let (at, act, outcome) = (self.journal.clock.now(), act.to_owned(), IN_FORCE.to_owned());
        let to = to.map(|to| to.to_string()).unwrap_or_default();
        Ok(Order { in_force, name, is_another, act: Act { at, act, by, reason, from, to, outcome, stays, pause_us: None } })
    }

    /// Prepares the build, puts it in force, or notes why not.
    async fn carry_out(&self, mut order: Order<'_>, choice: Choice, step: Step<'_>) -> Result<(Act, Arc<Generation>), Refusal> {
        let done = self.try_to(&mut order, choice, step).await;
        let Order { name, mut act, .. } = order;
        match done {
            Ok(generation) => {
                info!(plugin = name, act = act.act, from = act.from, to = act.to, by = act.by, pause_us = act.pause_us, "Another build is in force.");
                Ok((act, generation))
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

    async fn try_to(&self, order: &mut Order<'_>, choice: Choice, step: Step<'_>) -> Result<Arc<Generation>, Refusal> {
        if let (Step::Swap(bytes, _), false) = (&step, order.is_another) {
            self.is_of_the_same(order.name, bytes).await?;
        }
        let (one, report) = tokio::select! {
            prepared = prepare_one(&order.in_force.config, &order.in_force.kit, order.name, choice) => prepared,
            () = self.stop.cancelled() => return Err(stopping()),
        };
        let one = one.ok_or_else(|| refused(order.name, &report))?;
        let mut running = self.running.lock().await;
        if !Arc::ptr_eq(&order.in_force, &self.in_force.load_full()) {
            return Err(Refusal::conflict("the configuration was read again meanwhile", "repeat the order"));
        }
        let before = running.generation(order.name).filter(|before| before.digest().to_string() == order.act.from);
        let before = before.ok_or_else(|| overtaken(order.name))?;
        let generation = Arc::clone(one.generation());
        if matches!(step, Step::Swap(..)) && !order.act.stays {
            generation.put_on_trial(Some(&before));
        }
        match one {
            One::Channel(channel) => self.replace_channel(&mut running, order, *channel, step).await?,
            One::Analyzer(analyzer) => {
                self.keep(order, &step, None)?;
                let pause = self.journal.clock.stopwatch();
                running.analyzers().replace(&analyzer);
                order.act.pause_us = u64::try_from(pause.elapsed().as_micros()).ok();
            }
            One::Rule(rule) => {
                self.keep(order, &step, None)?;
                let pause = self.journal.clock.stopwatch();
                let replaced = |one: &Rule| if one.name == rule.name { rule.clone() } else { one.clone() };
                running.rules().rcu(|rules| rules.iter().map(replaced).collect::<Vec<_>>());
                order.act.pause_us = u64::try_from(pause.elapsed().as_micros()).ok();
            }
        }
        self.show_build(order.name, &generation);
        Ok(generation)
    }

    /// From its return on the change is durable.
    fn keep(&self, order: &Order<'_>, step: &Step<'_>, aside: Option<&Aside>) -> Result<(), Refusal> {
        let builds = &self.desk.builds;
        let done = match step {
            Step::Swap(bytes, configured) => builds.push(order.name, &order.section()?.plugin, *configured, bytes, aside, order.act.clone()),
            Step::Back => builds.pop(order.name, order.act.clone()),
        };
        done.map_err(|error| not_durable(&error))
    }

    /// Keeps what the connector has and goes over to the new build; or ends its turns, brings back what it had and begins again, with the
    /// build that was in force where that cannot be made durable.
    async fn replace_channel(&self, running: &mut Running, order: &mut Order<'_>, new: PreparedChannel, step: Step<'_>) -> Result<(), Refusal> {
        let gone = || Refusal::conflict(format!("channel `{}` does not run", order.name), "look at the host's log");
        let old = running.channel(order.name).ok_or_else(gone)?;
        if old.network != new.network {
            let message = format!("its identities belong to `{}`, and those of the build in force to `{}`", new.network, old.network);
            return Err(Refusal::conflict(message, "give it a channel of its own in the configuration"));
        }
        let channel = ChannelName::from(order.name);
        let (pause, done) = match step {
            Step::Swap(..) => {
                // What its turns still come to until they end is met again after a way back, as what comes later is.
                let (record, state) = self.journal.store.channel_and_state(&channel).await?;
                // A cut of power must not leave the store behind what is kept of it.
                self.journal.store.settle().await?;
                let aside = Aside { raw: record.position(&Reader::Raw), cursor: record.cursor, state: state.into_iter().collect() };
                self.keep(order, &step, Some(&aside))?;
                let generation = Arc::clone(&new.plugin);
                let handover = running.replace(new).ok_or_else(gone)?;
                self.show(running);
                self.show_build(order.name, &generation);
                (handover.done().await, Ok(()))
            }
            Step::Back => {
                let pause = self.journal.clock.stopwatch();
                running.end(order.name).await;
                let done = self.go_back(order, &channel).await;
                running.replace(if done.is_ok() { new } else { old }).ok_or_else(gone)?.done().await;
                self.show(running);
                (pause.elapsed(), done)
            }
        };
        order.act.pause_us = u64::try_from(pause.as_micros()).ok();
        done
    }

    async fn go_back(&self, order: &Order<'_>, channel: &ChannelName) -> Result<(), Refusal> {
        // Before the record says so: a crash in between leaves the newer build with what it began with.
        let back = self.desk.builds.back(order.name).map_err(|error| unreadable(order.name, &error))?;
        if let Some(aside) = back.and_then(|back| back.aside) {
            self.bring_back(channel, aside).await?;
        }
        self.keep(order, &Step::Back, None)
    }

    /// What came in since is met again, and known.
    async fn bring_back(&self, channel: &ChannelName, aside: Aside) -> Result<(), StoreError> {
        let now = self.journal.store.plugin_state(channel).await?;
        let mut commit = self.journal.begin(channel);
        commit.is_cursor_gone = aside.cursor.is_none();
        commit.cursor = aside.cursor;
        // Webhooks that the newer build read are read again, as far as they are still kept; a backup may hold fewer than had come.
        let last = self.journal.store.channel(channel).await?.raw_last;
        commit.positions.push((Reader::Raw, aside.raw.min(last)));
        let foreign = now.into_keys().filter(|key| !aside.state.iter().any(|(known, _)| known == key));
        commit.state = foreign.map(|key| (key, None)).collect();
        commit.state.extend(aside.state.into_iter().map(|(key, value)| (key, Some(value))));
        self.journal.commit(commit).await?;
        Ok(())
    }

    /// Lets go of the builds that were tried beside one that is in force no more, or for long enough.
    pub(super) fn end_shadows(&self) {
        let config = &self.in_force.load().config;
        self.shadows.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, shadow| {
            if shadow.has_ended() {
                shadow.end();
            }
            section_named(config, name).is_some()
        });
    }

    fn show_build(&self, name: &str, generation: &Arc<Generation>) {
        self.desk.sections.rcu(|sections| {
            let mut sections = sections.as_ref().clone();
            let all = sections.channels.iter_mut().chain(&mut sections.analyzers).chain(&mut sections.rules);
            all.filter(|section| section.name == name).for_each(|section| {
                (section.digest, section.generation) = (Some(generation.digest()), Arc::downgrade(generation));
            });
            sections
        });
    }

    /// Where the configuration names another build than what was swapped over, it is in force, and the history says so. What was loaded
    /// decides, not what lies there by now.
    pub(super) fn end_builds(&self, config: &Config, prepared: &Prepared) {
        for section in sections(config).filter(|section| !prepared.swapped.contains(&section.name)) {
            if self.desk.builds.record(&section.name).is_ok_and(|record| record.is_as_configured()) {
                continue;
            }
            let Some(loaded) = prepared.generation(&section.name) else { continue };
            let ended = self.desk.builds.end(&section.name, &section.plugin, loaded.digest(), self.journal.clock.now());
            if let Err(error) = ended {
                error!(plugin = section.name, error = %chain(&error), "The history of builds cannot be written.");
            }
        }
    }
}

fn named<'c>(config: &'c Config, name: &str) -> Result<&'c Plugin, Refusal> {
    let known = || sections(config).map(|section| section.name.as_str());
    section_named(config, name).ok_or_else(|| Refusal::no_such_plugin(name, known()))
}

/// All that is wrong with a build, in one refusal.
fn refused(name: &str, report: &Report) -> Refusal {
    let errors: Vec<_> = report.errors().collect();
    let message = errors.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("; ");
    let cure = errors.first().map(|finding| finding.cure.clone()).unwrap_or_default();
    Refusal::conflict(if message.is_empty() { format!("`{name}` cannot be loaded") } else { message }, cure)
}

fn overtaken(name: &str) -> Refusal {
    Refusal::conflict(format!("another build of `{name}` was put in force meanwhile"), "look at it, then repeat the order")
}

/// The way back would lead to a build that never ran.
fn changed(name: &str) -> Refusal {
    let message = format!("the file that the section of `{name}` names was changed since it was loaded, so that no way would lead back");
    Refusal::conflict(message, "put the old file back, or read the configuration again (SIGHUP): then the changed file is in force")
}

fn unread(name: &str) -> Refusal {
    let message = format!("the build that was put in force for `{name}` could not be read when the host started; the configured one runs");
    Refusal::conflict(message, format!("go back from it first: membrana rollback {name}"))
}

fn not_durable(error: &io::Error) -> Refusal {
    Refusal::unavailable(format!("the change cannot be made durable: {error}"), "is the folder `data` writable, and its disk full?")
}

fn unreadable(name: &str, error: &io::Error) -> Refusal {
    let cure = format!("move data/builds/{name}.json away: then the configured build is in force after a restart, and there is no way back");
    Refusal::conflict(format!("the record of the builds of `{name}` cannot be read: {error}"), cure)
}
