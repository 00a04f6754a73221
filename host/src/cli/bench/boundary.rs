//! The price of the sandbox: one analyzer (lexicon sentiment), asked by the same call about the same batches of 64, through Wasm with
//! its limits on and as the same code native. Both arms begin with what the host holds and end with what it keeps.
//!
//! All of it runs on one guest thread, two calls in flight as the analysis keeps them, so that no time is counted in which that
//! thread waits for the next call; the native code runs on one thread likewise. A round is many short runs, of which the one at the
//! fastest tenth counts: what else the machine does only ever adds, and a call that changes threads meets it more often than one that
//! does not. Over the rounds medians count, as everywhere. The plan aims at 2.0 and fails over 2.3.
//!
//! Told beside: the bare function, on items that stand in its own types before the watch starts.

use futures_util::stream::{self, StreamExt as _};
use membrana_sdk::Analyzer as _;
use membrana_sentiment::Sentiment;

use crate::app::find;
use crate::cli::outcome::{Failure, aside};
use crate::clock::{Clock, Stopwatch};
use crate::model::Timestamp;
use crate::plugin::{AnalyzeBatch, AnalyzeItem, Engine, EngineConfig, Generation, Kind, Limits, Load};

use super::figure::{Bar, in_turns, median};
use super::native::{NativeAnalyzer, TEXTS, Which, batch};
use super::{Figure, failed};

const ITEMS: usize = 64;
/// Batches in one run: a few milliseconds.
const BATCHES: usize = 25;
/// Calls at once.
const IN_FLIGHT: usize = 2;
/// Runs in one round.
const RUNS: usize = 60;
const ROUNDS_MAX: usize = 9;
/// Source: the plan's bars.
const BAR: Bar = Bar::AtMost(2.3);

fn items() -> AnalyzeBatch<'static> {
    let item = |n: usize| AnalyzeItem {
        id: None,
        subject: None,
        text: TEXTS.get(n % TEXTS.len()).copied().unwrap_or_default(),
        language: Some(if n.is_multiple_of(2) { "it" } else { "en" }),
        occurred: Timestamp(1),
        earlier: Vec::new(),
        author: None,
        attachments: &[],
    };
    AnalyzeBatch { channel: "bench", kind: "mention", items: (0..ITEMS).map(item).collect() }
}

/// Nanoseconds an item.
#[expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^52")]
fn each(watch: Stopwatch) -> f64 {
    watch.elapsed().as_secs_f64() * 1e9 / (ITEMS * BATCHES) as f64
}

fn fastest_tenth(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs.get(runs.len() / 10).copied().unwrap_or(f64::NAN)
}

/// The function alone, without the call around it.
fn bare(clock: &Clock, items: &membrana_sdk::analyzer::Batch) -> f64 {
    let run = |_| {
        let watch = clock.stopwatch();
        for _ in 0..BATCHES {
            std::hint::black_box(Sentiment::analyze(std::hint::black_box(items))).ok();
        }
        each(watch)
    };
    fastest_tenth((0..RUNS).map(run).collect())
}

async fn through(clock: &Clock, generation: &Generation, items: &AnalyzeBatch<'_>) -> Result<f64, Failure> {
    let mut runs = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let watch = clock.stopwatch();
        let calls = stream::iter(0..BATCHES).map(|_| generation.analyze(items)).buffered(IN_FLIGHT);
        let answers: Vec<_> = calls.collect().await;
        for answer in answers {
            std::hint::black_box(answer.map_err(failed)?);
        }
        runs.push(each(watch));
    }
    Ok(fastest_tenth(runs))
}

pub(super) async fn measure() -> Result<Vec<Figure>, Failure> {
    let clock = Clock::system();
    let engine = Engine::new(EngineConfig { cache_dir: None, compiler: None, clock: clock.clone(), workers: 1 }).map_err(failed)?;
    let found = find("sentiment", std::path::Path::new("")).map_err(|(error, _)| failed(error))?;
    let load = Load {
        name: "sentiment".to_owned(),
        bytes: found.bytes,
        config: "{}".to_owned(),
        door: None,
        limits: Limits::of(Kind::Analyzer),
        is_apart: false,
    };
    let wasm = engine.load(load).await.map_err(failed)?;
    let native = Generation::native("sentiment", wasm.manifest().clone(), NativeAnalyzer(Which::Sentiment));
    let items = items();
    let (ours, baseline) = (async || through(&clock, &wasm, &items).await, async || through(&clock, &native, &items).await);
    let arms = in_turns("boundary.analyzer", BAR, ROUNDS_MAX, ours, baseline).await?;
    let (bare, ours) = (bare(&clock, &batch(&items)), median(&arms.ours));
    aside(format_args!("boundary.analyzer: the bare function {bare:.3} ns/item; against that, {:.3}", ours / bare));
    Ok(vec![arms.figure("boundary.analyzer", "ns/item", BAR)])
}
