//! The only thread: who has the next turn, when time moves and how far, and when the host ends, is the dice's to say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};

use super::host::Scene;
use super::judge;
use super::planted::Planted;
use super::world::{Owner, Trace};
use crate::model::Timestamp;
use crate::testing::START;

/// Whoever is not done after so many turns never will be.
const STEPS_MAX: u64 = 500_000;
/// Likewise, so long after the last trouble: an event that is refused on and on is given up after three days. Units: milliseconds.
const CALM_MAX_MS: u64 = 10 * 86_400_000;
/// While a call is under way to its network, nobody's machine sleeps. Units: milliseconds.
const LEAP_WHILE_CALLING_MAX: u64 = 20_000;

/// What became of one seed.
pub(super) struct Outcome {
    pub(super) wrongs: Vec<String>,
    pub(super) trace: Trace,
    pub(super) n_steps: u64,
    pub(super) n_crashes: u64,
    pub(super) lasted: Duration,
}

/// Plays one seed to its end.
pub(super) fn play(seed: u64, planted: Option<Planted>) -> Outcome {
    let mut play = Play { scene: Arc::new(Scene::new(seed, planted)), tasks: Vec::new(), n_steps: 0, n_crashes: 0, next_crash: 0, calm_at: START };
    play.begin();
    while play.step() {}
    let world = Arc::clone(&play.scene.world);
    let mut wrongs = world.wrongs();
    if wrongs.is_empty() {
        wrongs = judge::wrongs(&play.scene);
    }
    // Whoever holds the host and is held by it goes.
    world.host_runs(None);
    play.tasks.clear();
    drop(world.take_begun());
    let lasted = Duration::from_millis(world.now().since_ms(START));
    Outcome { wrongs, trace: world.take_trace(), n_steps: play.n_steps, n_crashes: play.n_crashes, lasted }
}

struct Play {
    scene: Arc<Scene>,
    tasks: Vec<Task>,
    n_steps: u64,
    n_crashes: u64,
    /// At which step the host ends.
    next_crash: u64,
    calm_at: Timestamp,
}

struct Task {
    owner: Owner,
    name: String,
    future: BoxFuture<'static, ()>,
    bell: Arc<Bell>,
}

/// Rung where a task may go on.
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Play {
    fn begin(&mut self) {
        let world = &self.scene.world;
        self.calm_at = Timestamp(START.0 + 3_600_000 + world.below(7 * 3_600_000));
        self.next_crash = world.below(4_000);
        self.scene.start();
        for network in &self.scene.networks {
            let (network, n_said, lasts_s) = (Arc::clone(network), 10 + world.below(25), self.calm_at.since_ms(START) / 1000);
            let name = format!("people of {}", network.channel);
            let people = async move {
                for _ in 0..n_said {
                    network.world.pass(0, 2 * lasts_s / n_said).await;
                    let at = network.happen();
                    network.deliver(at);
                }
            };
            world.begin(Owner::Others, name, people.boxed());
        }
        world.begin(Owner::Others, "weather".to_owned(), weather(Arc::clone(&self.scene)).boxed());
    }

    /// One turn of somebody, or one move of the time. Says whether it goes on.
    fn step(&mut self) -> bool {
        let world = Arc::clone(&self.scene.world);
        for (owner, name, future) in world.take_begun() {
            self.tasks.push(Task { owner, name, future, bell: Arc::new(Bell(AtomicBool::new(true))) });
        }
        self.n_steps += 1;
        if self.n_steps > STEPS_MAX || world.wrongs().len() > 20 {
            world.wrong(format!("no end: {:?}", judge::unfinished(&self.scene)));
            return false;
        }
        // Where something is written and not durable yet there is most to lose.
        if self.n_steps >= self.next_crash && !world.is_calm() && (self.scene.disk.is_writing() || world.chance(1)) {
            self.crash();
            // Now and then while it comes back.
            self.next_crash = self.n_steps + if world.chance(20) { world.below(300) } else { 500 + world.below(12_000) };
            return true;
        }
        let ready: Vec<usize> = (0..self.tasks.len()).filter(|at| self.tasks[*at].bell.0.load(Ordering::Relaxed)).collect();
        if ready.is_empty() {
            return self.pass_time();
        }
        let at = ready[world.below(ready.len() as u64) as usize];
        world.chose(at as u64);
        let task = &mut self.tasks[at];
        task.bell.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.bell));
        if task.future.poll_unpin(&mut Context::from_waker(&waker)).is_ready() {
            drop(self.tasks.swap_remove(at));
        }
        true
    }

    fn pass_time(&mut self) -> bool {
        let world = Arc::clone(&self.scene.world);
        if world.is_calm() {
            let others = self.tasks.iter().find(|task| task.owner == Owner::Others).map(|task| task.name.clone());
            let Some(left) = others.or_else(|| judge::unfinished(&self.scene)) else { return false };
            if world.now().since_ms(self.calm_at) > CALM_MAX_MS {
                world.wrong(format!("never quiet: {left}"));
                return false;
            }
        } else if world.now() >= self.calm_at {
            self.calm();
            return true;
        }
        let Some(next) = world.time.next() else {
            world.wrong("nobody waits for anything".to_owned());
            return false;
        };
        let leap = match (world.is_calm(), world.below(100)) {
            (false, 0..=29) => 0,
            (false, 30..=69) => world.below(2_000),
            (false, 70..=89) => world.below(60_000),
            (false, 90..=98) => world.below(600_000),
            (false, _) => world.below(3_600_000),
            (true, 0..=19) => 0,
            (true, _) => world.below(1_800_000),
        };
        let leap = if world.is_calling() { leap.min(LEAP_WHILE_CALLING_MAX) } else { leap };
        // Else whatever takes a moment takes an hour each time.
        let leap = if world.is_busy() && world.chance(95) { 0 } else { leap };
        world.time.move_to(Timestamp(next.0.max(world.now().0) + leap));
        true
    }

    /// As after `kill -9`: nothing is left but the disk. It is begun again after a while.
    fn crash(&mut self) {
        let (scene, world) = (Arc::clone(&self.scene), Arc::clone(&self.scene.world));
        self.n_crashes += 1;
        world.host_runs(None);
        self.tasks.retain(|task| task.owner == Owner::Others && !task.name.starts_with("start"));
        scene.disk.crash();
        let again = async move {
            let most_s = if scene.world.chance(70) { 5 } else { 1200 };
            scene.world.pass(0, most_s).await;
            scene.world.tell("start");
            scene.start();
        };
        world.begin(Owner::Others, "start".to_owned(), again.boxed());
    }

    /// Nothing fails any more.
    fn calm(&mut self) {
        let scene = Arc::clone(&self.scene);
        scene.world.calm_down();
        scene.networks.iter().for_each(|network| network.mend());
        scene.crm.mend();
        // A sink that was told never to come again is asked anew by the next start only.
        self.crash();
    }
}

/// What lasts for a while, and befalls one of them.
async fn weather(scene: Arc<Scene>) {
    let world = &scene.world;
    let mut ahead = Duration::ZERO;
    while !world.is_calm() {
        world.pass(60, 3600).await;
        if world.is_calm() {
            return;
        }
        match world.below(8) {
            0..=3 => scene.networks[world.below(scene.networks.len() as u64) as usize].fail(),
            4 => scene.crm.fail(),
            5 => {
                world.tell("the disk is full");
                scene.disk.fill(true);
                world.pass(10, 1200).await;
                world.tell("the disk has room");
                scene.disk.fill(false);
            }
            6 => {
                // Back by less than makes a repeat another post: half of the shortest window for keys.
                let by = Duration::from_millis(world.below(1_800_000));
                ahead = if world.chance(40) { ahead.saturating_sub(by) } else { ahead + by * 4 };
                world.tell(format!("the host's clock is ahead by {ahead:?}"));
                world.time.put_ahead(ahead);
            }
            _ => {}
        }
    }
}
