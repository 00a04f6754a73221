//! `membrana bench`: every promise of speed as a ratio to a baseline of the same run, with an A/A run to show the noise.
//!
//! | bench | part | figures |
//! |---|---|---|
//! | boundary | boundary.analyzer | an analyzer through Wasm against the same code native |
//! | pipeline | pipeline.rate | the whole way through Wasm against the same way native |
//! | | pipeline.million | rate at 100,000 and at 1 million stored, memory there |
//! | | pipeline.singles | memory at 1 million that arrived one by one |
//! | webhook | webhook.ack | p99 until acknowledged at 1,000/s against the bare commit, and the rate reached |
//! | | webhook.slow | p99 until acknowledged beside 1,000 half-open requests, against none |
//! | swap | swap.calls | 500 swaps under load: how long the plugin takes no calls, and that none is lost |
//! | neighbour | neighbour.calls | what plugins that never answer cost the others' calls |
//! | channels | channels.cpu | what one item of each connector costs, against the cheapest |
//! | start | start.warm | ten plugins from the cache against compiling them |
//! | | start.memory | memory of a plugin that is loaded and idle |
//! | restart | restart.100k | until the store answers after a kill, disk and memory an interaction, at 100,000 stored |
//! | | restart.5m | the same at 5 million: half an hour, and some 20 GB of disk; run by its own name alone |
//!
//! Each part runs in a process of its own, so that one that fails costs no other's figures and leaves it no memory. A bar that
//! begins with `ratio` decides the exit code; the others are the plan's absolute bars, good for a quiet machine of two cores.

mod boundary;
mod channels;
mod crowd;
mod figure;
mod line;
mod memory;
mod million;
mod native;
mod neighbour;
mod pipeline;
mod restart;
mod start;
mod swap;
mod webhook;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value as Json;
use tokio::signal::unix::{SignalKind, signal};

use super::outcome::{Failure, aside, say};
use super::show;
use figure::Figure;

/// What the command line takes: benches, their parts, and what `start` calls itself by.
pub(super) const NAMES: [&str; 24] = [
    "boundary",
    "pipeline",
    "webhook",
    "swap",
    "neighbour",
    "channels",
    "start",
    "start.memory",
    "start.warm",
    "boundary.analyzer",
    "webhook.ack",
    "webhook.slow",
    "swap.calls",
    "neighbour.calls",
    "channels.cpu",
    "pipeline.rate",
    "pipeline.million",
    "pipeline.singles",
    "restart",
    "restart.100k",
    "restart.5m",
    start::FILL,
    "restart.100k.fill",
    "restart.5m.fill",
];

/// What can be measured: a bench and its parts, quickest first.
const PARTS: [(&str, &str); 12] = [
    ("start", "start.memory"),
    ("start", "start.warm"),
    ("boundary", "boundary.analyzer"),
    ("webhook", "webhook.ack"),
    ("webhook", "webhook.slow"),
    ("swap", "swap.calls"),
    ("neighbour", "neighbour.calls"),
    ("channels", "channels.cpu"),
    ("restart", "restart.100k"),
    ("pipeline", "pipeline.rate"),
    ("pipeline", "pipeline.million"),
    ("pipeline", "pipeline.singles"),
];

/// A part that is measured by its own name alone.
const LONG: &str = "restart.5m";

/// Measures one bench, one part, or all. `dir` is where stores are laid: it should be on a disk.
pub(super) async fn run(name: Option<&str>, dir: &Path, is_json: bool) -> Result<(), Failure> {
    let wanted: Vec<&str> = PARTS.iter().filter(|(bench, part)| name.is_none_or(|name| name == *bench || name == *part)).map(|(_, p)| *p).collect();
    warn_of_memory(dir);
    let (figures, broken) = match (wanted.as_slice(), name) {
        ([], Some(start::FILL)) => return start::fill(dir).await,
        ([], Some(name)) if name == restart::FEW.fill => return restart::fill(&restart::FEW, dir).await,
        ([], Some(name)) if name == restart::MANY.fill => return restart::fill(&restart::MANY, dir).await,
        ([], Some(LONG)) => (here(LONG, dir).await?.iter().map(Figure::json).collect(), Vec::new()),
        ([], _) => return Err(unknown(name.unwrap_or_default())),
        ([part], _) => (here(part, dir).await?.iter().map(Figure::json).collect(), Vec::new()),
        (parts, _) => apart(parts, dir),
    };
    print(&figures, is_json)?;
    let against = figures.iter().filter(|figure| figure::decides_against(figure));
    let mut wrong: Vec<String> = against.map(|figure| format!("{} does not hold: {}", text(figure, "/name"), text(figure, "/bar"))).collect();
    wrong.extend(broken);
    if wrong.is_empty() { Ok(()) } else { Err(Failure::failed(wrong.join("; "), "measure again on a quiet machine")) }
}

fn unknown(name: &str) -> Failure {
    let parts: Vec<&str> = PARTS.iter().map(|(_, part)| *part).collect();
    Failure::failed(
        format!("there is no bench `{name}`"),
        format!("benches: boundary, pipeline, webhook, swap, neighbour, channels, restart, start; parts: {}, {LONG}", parts.join(", ")),
    )
}

/// In this process. Ctrl-C or a signal to end ends it, and what it laid on the disk goes.
async fn here(part: &str, dir: &Path) -> Result<Vec<Figure>, Failure> {
    let measured = async {
        match part {
            "boundary.analyzer" => boundary::measure().await,
            "pipeline.rate" => pipeline::measure(dir).await,
            "pipeline.million" => million::in_pages(dir).await,
            "pipeline.singles" => million::one_by_one(dir).await,
            "webhook.ack" => webhook::measure(dir).await,
            "webhook.slow" => webhook::beside_slow_callers(dir).await,
            "swap.calls" => swap::measure(dir).await,
            "neighbour.calls" => neighbour::measure().await,
            "channels.cpu" => channels::measure(dir).await,
            "start.memory" => start::memory(dir).await,
            "restart.100k" => restart::measure(&restart::FEW, dir).await,
            LONG => restart::measure(&restart::MANY, dir).await,
            _ => start::warm(dir).await,
        }
    };
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate()).map_err(failed)?, signal(SignalKind::interrupt()).map_err(failed)?);
    let stopped = || Err(Failure::failed("the bench was stopped", ""));
    tokio::select! {
        figures = measured => figures,
        _ = terminate.recv() => stopped(),
        _ = interrupt.recv() => stopped(),
    }
}

/// Each part in a process of its own. Gives the figures, and which parts gave none.
fn apart(parts: &[&str], dir: &Path) -> (Vec<Json>, Vec<String>) {
    let (mut figures, mut broken) = (Vec::new(), Vec::new());
    for part in parts {
        aside(format_args!("measuring {part} ..."));
        match one_apart(part, dir) {
            Ok(some) if !some.is_empty() => figures.extend(some),
            Ok(_) => broken.push(format!("{part} gave no figure")),
            Err(error) => broken.push(format!("{part} cannot run: {error}")),
        }
    }
    (figures, broken)
}

fn one_apart(part: &str, dir: &Path) -> std::io::Result<Vec<Json>> {
    let itself = std::env::current_exe()?;
    let output = Command::new(itself).args(["--json", "bench", part, "--dir"]).arg(dir).stderr(Stdio::inherit()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn print(figures: &[Json], is_json: bool) -> Result<(), Failure> {
    if is_json {
        figures.iter().for_each(say);
        return Ok(());
    }
    let columns = [
        ("NAME", "/name"),
        ("VALUE", "/value"),
        ("UNIT", "/unit"),
        ("BASELINE", "/baseline"),
        ("RATIO", "/ratio"),
        ("A/A", "/noise"),
        ("BAR", "/bar"),
        ("HOLDS", "/holds"),
    ];
    show::table(figures, &columns)
}

fn text<'j>(json: &'j Json, pointer: &str) -> &'j str {
    json.pointer(pointer).and_then(Json::as_str).unwrap_or_default()
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("the bench cannot run: {error}"), "")
}

/// In a file system that lies in memory an fsync costs nothing, and every figure with a store in it would lie.
fn warn_of_memory(dir: &Path) {
    let Ok(dir) = dir.canonicalize() else { return };
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let nearest = mounts.filter(|(place, _)| dir.starts_with(place)).max_by_key(|(place, _)| place.len());
    if nearest.is_some_and(|(_, kind)| matches!(kind, "tmpfs" | "ramfs")) {
        aside(format_args!("warning: `{}` lies in memory, where fsync costs nothing; give a folder on a disk with --dir", dir.display()));
    }
}

/// A folder for one run, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path, name: &str) -> Result<Self, Failure> {
        let path = dir.join(format!("membrana-bench-{name}-{}", std::process::id()));
        // What a killed run of the same number left would be measured as well.
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).map_err(|error| failed(format!("`{}`: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            aside(format_args!("warning: `{}` stays: {error}", self.0.display()));
        }
    }
}
