//! The whole way at full speed, through Wasm, against the same way with the plugins' code native: same store, same fsync.

use std::path::Path;

use crate::cli::outcome::Failure;
use crate::clock::Clock;
use crate::plugin::{Engine, EngineConfig};

use super::figure::{Bar, in_turns};
use super::line::{Judges, Line, Portions};
use super::{Figure, failed};

const PORTIONS: Portions = Portions { n_total: 60_000, n_channels: 2, page: 256 };
/// Source: the plan's bars.
const BAR: Bar = Bar::AtLeast(0.75);
const ROUNDS_MAX: usize = 7;

/// Interactions a second, from the first poll until the sink's readers have passed the last entry.
async fn run(dir: &Path, judges: &Judges) -> Result<f64, Failure> {
    let line = Line::start(dir, judges, PORTIONS).await?;
    let seconds = line.reach(PORTIONS.n_total).await?;
    line.finish(PORTIONS.n_total).await?;
    Ok(f64::from(u32::try_from(PORTIONS.n_total).unwrap_or(u32::MAX)) / seconds)
}

pub(super) async fn measure(dir: &Path) -> Result<Vec<Figure>, Failure> {
    let engine = Engine::new(EngineConfig { cache_dir: None, compiler: None, clock: Clock::system(), workers: 2 }).map_err(failed)?;
    let wasm = Judges::wasm(&engine).await?;
    let native = Judges::native(&wasm);
    let arms = in_turns("pipeline.rate", BAR, ROUNDS_MAX, async || run(dir, &wasm).await, async || run(dir, &native).await).await?;
    Ok(vec![arms.figure("pipeline.rate", "interactions/s", BAR)])
}
