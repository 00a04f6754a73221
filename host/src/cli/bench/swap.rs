//! 500 swaps under load, of an analyzer and a connector by turns: for how long each takes no calls, and that every item is answered by one of
//! the builds.
//!
//! Two builds of each take each other's place through the API, as an admin would order it, while signed webhooks come in at 1,000 a second.
//! The baseline is the same load without a swap.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use membrana_world::{Shop, call};
use serde_json::Value as Json;

use crate::app::{App, find, process_env};
use crate::cli::outcome::{Failure, aside};
use crate::clock::Clock;
use crate::plugin::with_version;

use super::figure::{Bar, in_turns, median};
use super::webhook::{EVENTS, SECRET, p99, paced, post};
use super::{Figure, Scratch, failed};

const SWAPS: usize = 500;
/// Between the beginnings of two swaps: as many as are wanted in the time that the load takes.
const PACE: Duration = Duration::from_millis(20);
const CONFIG: &str = "[[analyzer]]\nname = \"words\"\nplugin = \"sentiment\"\n";
/// Units: milliseconds. Source: the plan's bars.
const BAR_PAUSE: Bar = Bar::AtMost(1.0);
/// Of what was said, what has its answer.
const BAR_ANSWERED: Bar = Bar::AtLeast(1.0);
/// A swap reads, writes and starts a plugin on the same two cores; more than this can only be a stage that stood still.
const BAR_ACK: Bar = Bar::AtMost(10.0);
const ROUNDS_MAX: usize = 3;
/// For what was said to be analysed, at most. Units: looks, 50 ms apart.
const LOOKS: u32 = 1200;

/// What one run came to.
struct Run {
    /// Until a webhook is acknowledged. Units: milliseconds.
    ack_p99: f64,
    /// Items with exactly one answer each.
    n_answered: usize,
    pauses: Pauses,
}

/// Units: milliseconds.
#[derive(Default)]
struct Pauses {
    of_analyzer: Vec<f64>,
    of_connector: Vec<f64>,
}

/// Two builds that take each other's place under one name of the configuration.
struct Pair {
    name: &'static str,
    builds: [Vec<u8>; 2],
}

impl Pair {
    fn of(name: &'static str, plugin: &str) -> Result<Self, Failure> {
        let found = find(plugin, Path::new("")).map_err(|(error, _)| failed(error))?;
        let next = with_version(&found.bytes, "0.1.1").map_err(failed)?;
        Ok(Self { name, builds: [next, found.bytes.to_vec()] })
    }

    /// The `n`th swap, from 0. Units: milliseconds of pause.
    async fn swap(&self, address: SocketAddr, n: usize) -> Result<f64, Failure> {
        let [next, found] = &self.builds;
        let build = if n.is_multiple_of(2) { next } else { found };
        let path = format!("/api/v1/plugins/{}/swap?by=bench", self.name);
        let answer = call(address, "POST", &path, &[("host", "localhost")], build).await.map_err(failed)?;
        let act: Json = serde_json::from_str(&answer.body).map_err(failed)?;
        let pause = act.get("pause_us").and_then(Json::as_f64).ok_or_else(|| failed(format!("swap {n} of `{}` was refused: {act}", self.name)))?;
        Ok(pause / 1000.0)
    }
}

async fn run(dir: &Path, n_swaps: usize) -> Result<Run, Failure> {
    let scratch = Scratch::new(dir, "swap")?;
    let file = scratch.0.join("membrana.toml");
    std::fs::write(&file, format!("{}{CONFIG}", super::webhook::CONFIG)).map_err(failed)?;
    std::fs::write(scratch.0.join("secret"), SECRET).map_err(failed)?;
    let app = App::start(&file, process_env(), Clock::system()).await?;
    let Some(address) = app.addresses().first().copied() else { return Err(failed("no address")) };
    let shop = Shop { address, path: "/hooks/shop".to_owned(), secret: SECRET.to_owned() };
    let (analyzer, connector) = (Pair::of("words", "sentiment")?, Pair::of("shop", "touchpoint")?);
    let swaps = async {
        let (mut pauses, mut pace) = (Pauses::default(), tokio::time::interval(PACE));
        for n in 0..n_swaps / 2 {
            pace.tick().await;
            pauses.of_analyzer.push(analyzer.swap(address, n).await?);
            pace.tick().await;
            pauses.of_connector.push(connector.swap(address, n).await?);
        }
        Ok::<_, Failure>(pauses)
    };
    let (load, pauses) = tokio::join!(paced(|n| post(shop.clone(), n)), swaps);
    let n_answered = answered(address).await;
    app.stop().await;
    Ok(Run { ack_p99: load?.p99, n_answered: n_answered?, pauses: pauses? })
}

/// Waits until all was analysed; how many have exactly one answer.
async fn answered(address: SocketAddr) -> Result<usize, Failure> {
    let mut n_answered = 0;
    for _ in 0..LOOKS {
        let list = call(address, "GET", "/api/v1/interactions", &[("host", "localhost")], b"").await.map_err(failed)?;
        let all: Vec<Json> = list.body.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let by = |one: &Json| {
            let said = one.get("annotations").and_then(Json::as_array).cloned().unwrap_or_default();
            let mut digests: Vec<Json> = said.into_iter().filter_map(|word| word.get("digest").cloned()).collect();
            digests.dedup();
            digests.len()
        };
        n_answered = all.iter().filter(|one| by(one) == 1).count();
        if n_answered >= EVENTS as usize {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(n_answered)
}

pub(super) async fn measure(dir: &Path) -> Result<Vec<Figure>, Failure> {
    let (mut pauses, mut answers) = (Pauses::default(), Vec::new());
    let swapping = async || {
        let run = run(dir, SWAPS).await?;
        pauses.of_analyzer.extend(run.pauses.of_analyzer);
        pauses.of_connector.extend(run.pauses.of_connector);
        answers.push(run.n_answered);
        Ok(run.ack_p99)
    };
    let arms = in_turns("swap.ack-p99", BAR_ACK, ROUNDS_MAX, swapping, async || run(dir, 0).await.map(|run| run.ack_p99)).await?;
    for (what, pauses) in [("pause", &pauses.of_analyzer), ("connector-pause", &pauses.of_connector)] {
        let (n_swaps, longest) = (pauses.len(), pauses.iter().copied().fold(0.0, f64::max));
        aside(format_args!("swap.{what}: {n_swaps} swaps, median {:.4} ms, longest {longest:.4} ms", median(pauses)));
    }
    let fewest = answers.iter().copied().min().unwrap_or(0);
    let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    Ok(vec![
        Figure::absolute("swap.pause-p99", p99(pauses.of_analyzer), 1.0, "ms", 1.0, BAR_PAUSE),
        Figure::absolute("swap.connector-pause-p99", p99(pauses.of_connector), 1.0, "ms", 1.0, BAR_PAUSE),
        Figure::ratio("swap.answered", count(fewest), f64::from(EVENTS), "items", 1.0, BAR_ANSWERED),
        arms.figure("swap.ack-p99", "ms", BAR_ACK),
    ])
}
