//! A start after a kill, by how much is stored: how long until the store answers, and what an interaction takes on disk and in memory.
//!
//! Another process takes the whole way with native plugins until all is through, and dies in the middle of its work; then this one opens
//! what it left. The baseline is a start after a stop.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::outcome::{Failure, aside};
use crate::clock::Clock;
use crate::model::Seq;
use crate::plugin::{Engine, EngineConfig};
use crate::store::{SledStore, Store, StoreError};

use super::figure::{Bar, median, spread};
use super::line::{Judges, Line, Portions};
use super::memory::resident_mb;
use super::{Figure, Scratch, failed};

/// How much is stored, and what a start may take then.
pub(super) struct Size {
    /// Of the part.
    pub(super) name: &'static str,
    /// Of what fills the store for it.
    pub(super) fill: &'static str,
    n_total: u64,
    /// Units: seconds. Source: the plan's bars.
    bar: Bar,
}

pub(super) const FEW: Size = Size { name: "restart.100k", fill: "restart.100k.fill", n_total: 100_000, bar: Bar::AtMost(2.0) };
pub(super) const MANY: Size = Size { name: "restart.5m", fill: "restart.5m.fill", n_total: 5_000_000, bar: Bar::AtMost(10.0) };
/// What is stored against what is live of it. Source: the plan's bars.
const DISK: Bar = Bar::AtMost(3.0);
/// Units: megabytes. Source: the plan's bar at a million, which a start after five must keep, too.
const MEMORY: Bar = Bar::AtMost(1024.0);
/// Starts after a kill: each opens the same files.
const ROUNDS: usize = 3;
const PAGE: u64 = 256;
const N_CHANNELS: u64 = 4;
/// Progress is told each time so many are through.
const STEP: u64 = 500_000;
/// A store that was closed is free after so many looks at the latest.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Newest entries that a start reads before it counts as done.
const FIRST_READ: usize = 20;
const MB: f64 = 1_048_576.0;

/// Takes so many the whole way, and dies.
pub(super) async fn fill(size: &Size, dir: &Path) -> Result<(), Failure> {
    let engine = Engine::new(EngineConfig { cache_dir: None, compiler: None, clock: Clock::system(), workers: 2 }).map_err(failed)?;
    let judges = Judges::native(&Judges::wasm(&engine).await?);
    let line = Line::start_in(dir, &judges, Portions { n_total: size.n_total, n_channels: N_CHANNELS, page: PAGE }).await?;
    for step in (STEP..size.n_total).step_by(usize::try_from(STEP).unwrap_or(usize::MAX)) {
        aside(format_args!("{}: {step} through after {:.0} s", size.name, line.reach(step).await?));
    }
    line.reach(size.n_total).await?;
    std::process::abort()
}

pub(super) async fn measure(size: &Size, dir: &Path) -> Result<Vec<Figure>, Failure> {
    let scratch = Scratch::new(dir, "restart")?;
    let (filled, itself) = (scratch.0.join("filled"), std::env::current_exe().map_err(failed)?);
    std::fs::create_dir(&filled).map_err(failed)?;
    let died = Command::new(itself).args(["bench", size.fill, "--dir"]).arg(&filled).status().map_err(failed)?;
    if died.code().is_some() {
        return Err(failed("the store cannot be filled"));
    }
    let (mut killed, mut stopped, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let copy = scratch.0.join("copy");
        drop(std::fs::remove_dir_all(&copy));
        crate::store::copy_folder(&filled, &copy).map_err(failed)?;
        let before = resident_mb()?;
        let (seconds, store) = open(&copy).await?;
        killed.push(seconds);
        memory.push(resident_mb()? - before);
        store.close().await.map_err(failed)?;
        drop(store);
        let (seconds, store) = open(&copy).await?;
        stopped.push(seconds);
        store.close().await.map_err(failed)?;
    }
    let (_, store) = open(&filled).await?;
    let n_total = f64::from(u32::try_from(size.n_total).unwrap_or(u32::MAX));
    let (on_disk, live) =
        (counted(bytes_in(&filled.join("store")).map_err(failed)?) / n_total, counted(store.live_bytes().map_err(failed)?) / n_total);
    store.close().await.map_err(failed)?;
    let noise = spread(&killed).max(spread(&stopped));
    let memory = memory.first().copied().unwrap_or(f64::NAN);
    Ok(vec![
        Figure::absolute(size.name, median(&killed), median(&stopped), "s", noise, size.bar),
        Figure::ratio(&format!("{}.disk", size.name), on_disk, live, "bytes an interaction", 1.0, DISK),
        Figure::absolute(&format!("{}.memory", size.name), memory, n_total * live / MB, "MB", 1.0, MEMORY),
    ])
}

/// Until the store answers. Units: seconds.
async fn open(dir: &Path) -> Result<(f64, Arc<SledStore>), Failure> {
    // What sled's own threads still hold of a store that was closed is no part of a start.
    let mut tries = 0;
    let (watch, store) = loop {
        let watch = Clock::system().stopwatch();
        match SledStore::open(dir) {
            Err(StoreError::InUse(_)) if tries < LOCK_TRIES => tokio::time::sleep(LOCK_PAUSE).await,
            opened => break (watch, opened.map_err(failed)?),
        }
        tries += 1;
    };
    for channel in store.channels().await.map_err(failed)? {
        if store.read_log_back(&channel, Seq(u64::MAX), FIRST_READ).await.map_err(failed)?.is_empty() {
            return Err(failed(format!("{channel} is empty")));
        }
    }
    Ok((watch.elapsed().as_secs_f64(), store))
}

/// What the files of a folder take. Units: bytes.
fn bytes_in(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        bytes += if file.file_type()?.is_dir() { bytes_in(&file.path())? } else { 512 * file.metadata()?.blocks() };
    }
    Ok(bytes)
}

#[expect(clippy::cast_precision_loss, reason = "a figure needs no more digits")]
fn counted(n: u64) -> f64 {
    n as f64
}
