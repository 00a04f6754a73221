//! Deterministic simulation: the stages as the app puts them together, over a store that crashes tear, with networks, a CRM and people
//! who do what people do, on one thread and in pretend time. One seed decides everything: whose turn it is at each point where
//! somebody waits, when time moves and how far, what fails and how, when the host ends. The same seed is the same story, line by line.
//!
//! While there is trouble, what no commit and no call may ever do is looked for (`watch`, `network`). Then trouble ends, time goes on
//! until all is quiet, and the ledgers of the networks and of the CRM are held against the log (`judge`). What of it is found by
//! planting defects, one by one (`planted`). The engine, the doors and sled are left out: they have tests of their own; and a sink that tells what is not
//! durable yet is found by its own test, for here what it tells is durable before it comes so far.
//!
//! `MEMBRANA_SIM_SEEDS`: how many seeds; `MEMBRANA_SEED`: this one alone, twice. A seed that fails is printed with the command that
//! plays it again, and leaves its trace in the folder for temporary files.

mod crm;
mod delivery;
mod disk;
mod found;
mod host;
mod judge;
mod network;
mod planted;
mod plugins;
mod scheduler;
mod staff;
mod watch;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use planted::Planted;
use scheduler::{Outcome, play};

/// Seeds of every change.
const SEEDS: u64 = 200;
/// Of these, one in so many is played twice.
const TWICE: u64 = 20;
/// A planted defect is found within so many seeds.
const SEEDS_OF_PLANTED: u64 = 100;
const TEST: &str = "whatever_fails_and_whenever_the_host_ends_the_promises_hold";

#[expect(clippy::disallowed_methods, reason = "which seeds to play")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Leaves the trace in a file, and says how to see it again.
fn report(seed: u64, outcome: &Outcome) -> String {
    let path = std::env::temp_dir().join(format!("membrana-simulation-{seed}.trace"));
    let is_written = std::fs::write(&path, outcome.trace.lines.join("\n"));
    let wrongs = outcome.wrongs.iter().take(5).cloned().collect::<Vec<_>>().join("\n  ");
    format!(
        "seed {seed}:\n  {wrongs}\n  again: MEMBRANA_SEED={seed} cargo test --release --workspace --lib {TEST}\n  trace: {} ({is_written:?})",
        path.display()
    )
}

/// Plays seeds on two threads; none of them knows of another.
fn play_all(seeds: std::ops::Range<u64>, judge: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            judge(seed);
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
}

#[test]
fn whatever_fails_and_whenever_the_host_ends_the_promises_hold() {
    let seeds = match setting("MEMBRANA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("MEMBRANA_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let (failures, is_one) = (Mutex::new(Vec::new()), seeds.end - seeds.start == 1);
    let sums = Mutex::new((0, 0, 0));
    play_all(seeds, |seed| {
        let outcome = play(seed, None);
        if !outcome.wrongs.is_empty() {
            world::locked(&failures).push(report(seed, &outcome));
        }
        let mut sums = world::locked(&sums);
        *sums = (sums.0 + outcome.n_steps, sums.1 + outcome.n_crashes, sums.2 + outcome.lasted.as_secs() / 3600);
        drop(sums);
        if is_one || seed % TWICE == 0 {
            let again = play(seed, None);
            let differs = outcome.trace.lines.iter().zip(&again.trace.lines).find(|(first, second)| first != second);
            if differs.is_some() || outcome.trace.digest() != again.trace.digest() {
                world::locked(&failures).push(format!("seed {seed} is played twice and differs: {differs:#?}"));
            }
        }
    });
    let (n_steps, n_crashes, hours) = *world::locked(&sums);
    println!("simulation: {n_steps} turns, {n_crashes} crashes, {hours} hours");
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} seeds fail:\n{}", failures.len(), failures.into_iter().take(5).collect::<Vec<_>>().join("\n"));
}

#[test]
fn every_defect_that_is_planted_is_found() {
    let missed = Mutex::new(Vec::new());
    play_all(0..Planted::ALL.len() as u64, |n| {
        let planted = Planted::ALL[n as usize];
        let found = (0..SEEDS_OF_PLANTED).find_map(|seed| play(seed, Some(planted)).wrongs.into_iter().next().map(|wrong| (seed, wrong)));
        match found {
            Some((seed, wrong)) => println!("{planted:?}: found by seed {seed}: {wrong}"),
            None => world::locked(&missed).push(planted),
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "nobody finds {missed:?}");
}
