//! The price of the sandbox: one analyzer, the same batches, native and through Wasm, limits on.

use membrana_sdk::Analyzer as _;
use membrana_sentiment::Sentiment;

use crate::app::find;
use crate::cli::outcome::Failure;
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::plugin::{AnalyzeBatch, AnalyzeItem, Engine, EngineConfig, Generation, Kind, Limits, Load};

use super::native::{TEXTS, batch};
use super::{Figure, failed};

const ITEMS: usize = 64;
const BATCHES: usize = 150;
/// The best of so many rounds counts: noise only ever adds.
const ROUNDS: usize = 7;

/// Nanoseconds an item.
fn best(rounds: impl Iterator<Item = f64>) -> f64 {
    rounds.fold(f64::INFINITY, f64::min)
}

fn items() -> AnalyzeBatch<'static> {
    let item = |n: usize| AnalyzeItem {
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

#[expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^52")]
fn each(watch: crate::clock::Stopwatch) -> f64 {
    watch.elapsed().as_secs_f64() * 1e9 / (ITEMS * BATCHES) as f64
}

fn native() -> f64 {
    let (clock, items) = (Clock::system(), batch(&items()));
    let round = || {
        let watch = clock.stopwatch();
        for _ in 0..BATCHES {
            std::hint::black_box(Sentiment::analyze(std::hint::black_box(&items))).ok();
        }
        each(watch)
    };
    best((0..ROUNDS).map(|_| round()))
}

async fn through_wasm(generation: &Generation) -> Result<f64, Failure> {
    let (clock, items) = (Clock::system(), items());
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let watch = clock.stopwatch();
        for _ in 0..BATCHES {
            std::hint::black_box(generation.analyze(&items).await.map_err(failed)?);
        }
        least = least.min(each(watch));
    }
    Ok(least)
}

pub(super) async fn measure() -> Result<Vec<Figure>, Failure> {
    let engine = Engine::new(EngineConfig { cache_dir: None, clock: Clock::system(), workers: 2 }).map_err(failed)?;
    let found = find("sentiment", std::path::Path::new("")).map_err(|(error, _)| failed(error))?;
    let load = Load { name: "sentiment".to_owned(), bytes: found.bytes, config: "{}".to_owned(), door: None, limits: Limits::of(Kind::Analyzer) };
    let generation = engine.load(load).await.map_err(failed)?;
    let first = native();
    let wasm = through_wasm(&generation).await?;
    let again = native();
    let noise = first.max(again) / first.min(again);
    Ok(vec![Figure::at_most("boundary.analyzer", wasm, first.min(again), "ns/item", noise, 2.3)])
}
