//! Every target with its corpus, and with what a few changes make of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![expect(clippy::indexing_slicing, reason = "what is not as wanted fails the test")]

use std::path::{Path, PathBuf};

use membrana_targets::TARGETS;

/// Changed copies of each seed; `MEMBRANA_CHANGED` says how many, and `.ci/nightly fuzz` goes on from here.
const CHANGED: usize = 200;

fn seeds(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
}

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n.max(1)
    }

    /// With a few bytes cut, doubled, turned or put elsewhere.
    fn changed(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut data = seed.to_vec();
        for _ in 0..=self.below(4) {
            let (from, to) = (self.below(data.len() + 1), self.below(data.len() + 1));
            let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 64));
            match self.below(4) {
                0 => drop(data.drain(from..to)),
                1 => data = [&data[..to], &data[from..]].concat(),
                2 => data[from..to].iter_mut().for_each(|byte| *byte = byte.wrapping_add(1)),
                _ => data.insert(from, b"\0\"{}[]<>&%/.:;=0-\n\xff"[self.below(19)]),
            }
        }
        data
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long a test goes on is set by the environment")]
fn whatever_comes_from_outside_is_taken_or_refused_and_nothing_breaks() {
    let n_changed = std::env::var("MEMBRANA_CHANGED").ok().and_then(|n| n.parse().ok()).unwrap_or(CHANGED);
    let mut broken = Vec::new();
    for (name, target) in TARGETS {
        let (seeds, mut dice) = (seeds(name), Dice(7));
        assert!(seeds.len() >= 3, "{name} has {} seeds", seeds.len());
        for (file, seed) in seeds {
            let changed: Vec<Vec<u8>> = (0..n_changed).map(|_| dice.changed(&seed)).collect();
            let breaks = |data: &&Vec<u8>| std::panic::catch_unwind(|| target(data)).is_err();
            broken.extend(std::iter::once(&seed).chain(&changed).find(breaks).map(|data| format!("{}: {}", file.display(), data.escape_ascii())));
        }
    }
    assert!(broken.is_empty(), "a target breaks on what came of\n{}", broken.join("\n"));
}
