//! The whole way through Wasm until a million interactions are stored: how fast it still is, and how much memory it takes.
//!
//! Arriving in pages of 256 the rate of the slice before 100,000 and of that before 1 million is told; arriving one by one, a
//! commit each on 50 channels, so that group commit has something to group, the memory alone.

use std::path::Path;

use crate::cli::outcome::{Failure, aside};
use crate::clock::Clock;
use crate::plugin::{Engine, EngineConfig};

use super::figure::{Bar, spread};
use super::line::{Judges, Line, Portions};
use super::memory::resident_mb;
use super::{Figure, failed};

const MILLION: u64 = 1_000_000;
const FIRST: u64 = 100_000;
/// A rate is that of two slices of this size, and they show its noise.
const SLICE: u64 = 20_000;
/// Progress is told each time so many are through.
const STEP: u64 = 100_000;
/// Entries of each channel that are checked for their annotations at the end.
const LOOKED_AT: u64 = 10_000;
/// Source: the plan's bars.
const RATE_AT_FIRST: Bar = Bar::AtLeast(20_000.0);
const RATE_AT_MILLION: Bar = Bar::AtLeast(15_000.0);
/// Units: megabytes.
const MEMORY: Bar = Bar::AtMost(1024.0);

async fn line(dir: &Path, portions: Portions) -> Result<Line, Failure> {
    let engine = Engine::new(EngineConfig { cache_dir: None, compiler: None, clock: Clock::system(), workers: 2 }).map_err(failed)?;
    Line::start(dir, &Judges::wasm(&engine).await?, portions).await
}

/// How fast the two slices before `end` go through. Units: interactions a second.
async fn rates_before(line: &Line, end: u64) -> Result<[f64; 2], Failure> {
    let (start, middle, end) = (line.reach(end - 2 * SLICE).await?, line.reach(end - SLICE).await?, line.reach(end).await?);
    let slice = f64::from(u32::try_from(SLICE).unwrap_or(u32::MAX));
    Ok([slice / (middle - start), slice / (end - middle)])
}

fn mean(rates: [f64; 2]) -> f64 {
    2.0 / rates.iter().map(|rate| 1.0 / rate).sum::<f64>()
}

/// Fills up to shortly before the million.
async fn fill(line: &Line, name: &str, from: u64) -> Result<(), Failure> {
    for step in (from..MILLION).step_by(usize::try_from(STEP).unwrap_or(usize::MAX)) {
        let seconds = line.reach(step).await?;
        aside(format_args!("{name}: {step} through after {seconds:.0} s, {:.0} MB", resident_mb()?));
    }
    Ok(())
}

pub(super) async fn in_pages(dir: &Path) -> Result<Vec<Figure>, Failure> {
    let line = line(dir, Portions { n_total: MILLION, n_channels: 2, page: 256 }).await?;
    let at_first = rates_before(&line, FIRST).await?;
    let memory_first = resident_mb()?;
    fill(&line, "pipeline.million", 2 * STEP).await?;
    let at_million = rates_before(&line, MILLION).await?;
    let memory = resident_mb()?;
    line.finish(LOOKED_AT).await?;
    let (first, million) = (mean(at_first), mean(at_million));
    Ok(vec![
        Figure::absolute("pipeline.rate-at-100k", first, million, "interactions/s", spread(&at_first), RATE_AT_FIRST),
        Figure::absolute("pipeline.rate-at-1m", million, first, "interactions/s", spread(&at_million), RATE_AT_MILLION),
        Figure::absolute("pipeline.memory-at-1m", memory, memory_first, "MB", 1.0, MEMORY),
    ])
}

pub(super) async fn one_by_one(dir: &Path) -> Result<Vec<Figure>, Failure> {
    let line = line(dir, Portions { n_total: MILLION, n_channels: 50, page: 1 }).await?;
    line.reach(FIRST).await?;
    let memory_first = resident_mb()?;
    fill(&line, "pipeline.singles", FIRST).await?;
    line.reach(MILLION).await?;
    let memory = resident_mb()?;
    line.finish(LOOKED_AT).await?;
    Ok(vec![Figure::absolute("pipeline.memory-at-1m-singles", memory, memory_first, "MB", 1.0, MEMORY)])
}
