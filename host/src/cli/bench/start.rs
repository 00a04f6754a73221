//! A warm start: ten plugins from the cache of compiled code, against compiling them.

use crate::app::listed;
use crate::cli::outcome::Failure;
use crate::clock::Clock;
use crate::plugin::{Engine, EngineConfig, Limits, Load, inspect};

use super::{Figure, Scratch, failed};

const PLUGINS: usize = 10;
/// Units: milliseconds.
const BAR_MS: f64 = 200.0;

/// Loads ten plugins one after another; milliseconds from an engine's birth to the last proved start.
async fn once(dir: &std::path::Path) -> Result<f64, Failure> {
    let all = listed(std::path::Path::new(""));
    let watch = Clock::system().stopwatch();
    let engine = Engine::new(EngineConfig { cache_dir: Some(dir.to_owned()), clock: Clock::system(), workers: 2 }).map_err(failed)?;
    let mut loaded = Vec::new();
    for (name, found) in all.iter().cycle().take(PLUGINS) {
        let kind = inspect(&found.bytes).map_err(failed)?.manifest.kind;
        let load = Load { name: name.clone(), bytes: found.bytes.clone(), config: "{}".to_owned(), door: None, limits: Limits::of(kind) };
        loaded.push(engine.load(load).await.map_err(failed)?);
    }
    Ok(watch.elapsed().as_secs_f64() * 1000.0)
}

pub(super) async fn measure() -> Result<Vec<Figure>, Failure> {
    let scratch = Scratch::new("start")?;
    let cold = once(&scratch.0).await?;
    let (first, second) = (once(&scratch.0).await?, once(&scratch.0).await?);
    Ok(vec![Figure::under("start.warm", first.min(second), cold, "ms", first.max(second) / first.min(second), BAR_MS)])
}
