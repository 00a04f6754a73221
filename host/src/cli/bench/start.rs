//! A warm start: ten plugins from the cache of compiled code, against compiling them; and what a plugin weighs that is idle.
//!
//! Eight plugins are bundled, so two of the ten are loaded twice, under two names: a generation of its own each time, but in
//! the cold arm the second load of the two finds the first one's code in the cache. Ten starts, eight compilations.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::app::listed;
use crate::cli::outcome::Failure;
use crate::clock::Clock;
use crate::plugin::{Engine, EngineConfig, Generation, Limits, Load, inspect};

use super::figure::{Bar, in_turns};
use super::memory::resident_mb;
use super::{Figure, Scratch, failed};

/// The part that only fills a cache, for [`memory`].
pub(super) const FILL: &str = "start.fill";
const PLUGINS: u32 = 10;
/// Units: milliseconds. Source: the plan's bars.
const BAR_MS: Bar = Bar::AtMost(200.0);
/// Source: measured 0.008, busy or quiet; a start that compiles even one of the ten again is at 0.1.
const BAR: Bar = Bar::AtMost(0.05);
const ROUNDS_MAX: usize = 5;
/// Units: megabytes a plugin. Source: the plan's bars.
const BAR_MB: Bar = Bar::AtMost(8.0);

/// Loads ten plugins one after another, each proved by a first start.
async fn load_all(cache: &Path) -> Result<Vec<Arc<Generation>>, Failure> {
    let all = listed(Path::new(""));
    let engine =
        Engine::new(EngineConfig { cache_dir: Some(cache.to_owned()), compiler: None, clock: Clock::system(), workers: 2 }).map_err(failed)?;
    let mut loaded = Vec::new();
    for (n, (name, found)) in (0..PLUGINS).zip(all.iter().cycle()) {
        let kind = inspect(&found.bytes).map_err(failed)?.manifest.kind;
        let bytes = Arc::clone(&found.bytes);
        let load = Load { name: format!("{name}-{n}"), bytes, config: "{}".to_owned(), door: None, limits: Limits::of(kind), is_apart: false };
        loaded.push(engine.load(load).await.map_err(failed)?);
    }
    Ok(loaded)
}

/// Milliseconds from an engine's birth to the last proved start.
async fn once(cache: &Path) -> Result<f64, Failure> {
    let watch = Clock::system().stopwatch();
    load_all(cache).await?;
    Ok(watch.elapsed().as_secs_f64() * 1000.0)
}

pub(super) async fn warm(dir: &Path) -> Result<Vec<Figure>, Failure> {
    let scratch = Scratch::new(dir, "start")?;
    once(&scratch.0).await?;
    let warm = async || once(&scratch.0).await;
    let cold = async || {
        let empty = Scratch::new(dir, "cold")?;
        once(&empty.0).await
    };
    let arms = in_turns("start.warm", BAR, ROUNDS_MAX, warm, cold).await?;
    let (value, baseline) = (super::figure::median(&arms.ours), super::figure::median(&arms.baseline));
    Ok(vec![arms.figure("start.warm", "ms", BAR), Figure::absolute("start.warm-ms", value, baseline, "ms", arms.noise(), BAR_MS)])
}

/// Resident memory that ten loaded plugins add, each with the one instance of its proof idle. Another process compiles them,
/// for what compiling leaves free in this one's heap would hide what they take.
pub(super) async fn memory(dir: &Path) -> Result<Vec<Figure>, Failure> {
    let scratch = Scratch::new(dir, "memory")?;
    let itself = std::env::current_exe().map_err(failed)?;
    let filled = Command::new(itself).args(["bench", FILL, "--dir"]).arg(&scratch.0).status().map_err(failed)?;
    if !filled.success() {
        return Err(failed("the cache cannot be filled"));
    }
    let before = resident_mb()?;
    let first = load_all(&scratch.0).await?;
    let between = resident_mb()?;
    let second = load_all(&scratch.0).await?;
    let after = resident_mb()?;
    drop((first, second));
    // The second ten share an engine's worth of code pages with nobody either: their growth is the noise.
    let (one, other) = ((between - before) / f64::from(PLUGINS), (after - between) / f64::from(PLUGINS));
    let noise = (one / other).max(other / one);
    Ok(vec![Figure::absolute("start.memory-idle", one.max(other), before, "MB/plugin", noise, BAR_MB)])
}

/// Compiles all into the cache in this folder.
pub(super) async fn fill(cache: &Path) -> Result<(), Failure> {
    load_all(cache).await.map(drop)
}
