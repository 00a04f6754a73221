//! What plugins that never answer cost the others: how many calls a good analyzer answers beside one, and beside four, against how many
//! it answers alone, and how long one call takes.
//!
//! All cores are kept busy by those who ask the good one, as fast as it answers. Whoever asks a bad one asks again at once, and waits as
//! long as its breaker says, as the stages do. The first seconds, in which each bad one is found out, are told apart from those after. Each
//! stretch is held against what the good one did alone just before and after: what else slows the machine for a while meets both.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::find;
use crate::cli::outcome::{Failure, aside};
use crate::clock::Clock;
use crate::model::{Fault, Timestamp};
use crate::plugin::{AnalyzeBatch, AnalyzeItem, Engine, EngineConfig, Generation, Kind, Limits, Load};

use super::figure::{Arms, Bar, spread};
use super::native::TEXTS;
use super::webhook::p99;
use super::{Figure, failed};

/// Before the watch starts.
const WARM: Duration = Duration::from_secs(1);
/// Alone, the first beside, and the one after.
const STRETCH: Duration = Duration::from_secs(10);
/// Of the good one, side by side: more than there are cores.
const ASKERS: usize = 4;
/// Items in a call.
const ITEMS: usize = 8;
const ROUNDS: usize = 5;
const FOUR: usize = 4;
/// Calls a second, against those alone. Source: the plan's bars.
const BAR_FIRST: Bar = Bar::AtLeast(0.9);
const BAR_AFTER: Bar = Bar::AtLeast(0.98);
/// Likewise, of one call's time.
const BAR_P99: Bar = Bar::AtMost(2.0);

fn items() -> AnalyzeBatch<'static> {
    let item = |text: &'static str| AnalyzeItem {
        id: None,
        subject: None,
        text,
        language: Some("en"),
        occurred: Timestamp(1),
        earlier: Vec::new(),
        author: None,
        attachments: &[],
    };
    AnalyzeBatch { channel: "bench", kind: "mention", items: TEXTS.iter().copied().cycle().take(ITEMS).map(item).collect() }
}

async fn load(engine: &Arc<Engine>, name: String, bytes: Arc<[u8]>) -> Result<Arc<Generation>, Failure> {
    engine.load(Load { name, bytes, config: "{}".to_owned(), door: None, limits: Limits::of(Kind::Analyzer), is_apart: false }).await.map_err(failed)
}

/// Asks until it is told to stop; how long each call took. Units: milliseconds.
async fn ask_the_good_one(good: Arc<Generation>, stop: CancellationToken) -> Result<Vec<f64>, Fault> {
    let (clock, items, mut times) = (Clock::system(), items(), Vec::new());
    while !stop.is_cancelled() {
        let watch = clock.stopwatch();
        good.analyze(&items).await?;
        times.push(watch.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(times)
}

/// Asks without an end.
async fn ask_a_bad_one(bad: Arc<Generation>) {
    let mut items = items();
    items.items.truncate(1);
    loop {
        if let Err(Fault::RateLimited(_, wait_ms)) = bad.analyze(&items).await {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
    }
}

/// One stretch.
struct Stretch {
    /// Calls answered a second.
    rate: f64,
    /// Of one call. Units: milliseconds.
    p99: f64,
}

async fn stretch(good: &Arc<Generation>, length: Duration) -> Result<Stretch, Failure> {
    let (stop, mut askers, watch) = (CancellationToken::new(), JoinSet::new(), Clock::system().stopwatch());
    for _ in 0..ASKERS {
        askers.spawn(ask_the_good_one(Arc::clone(good), stop.clone()));
    }
    tokio::time::sleep(length).await;
    stop.cancel();
    let mut times = Vec::new();
    while let Some(done) = askers.join_next().await {
        times.extend(done.map_err(failed)?.map_err(failed)?);
    }
    let n_calls = f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX));
    Ok(Stretch { rate: n_calls / watch.elapsed().as_secs_f64(), p99: p99(times) })
}

/// The good one, and bad ones that nobody asks yet.
struct Company {
    good: Arc<Generation>,
    bad: Vec<Arc<Generation>>,
}

impl Company {
    async fn of(n_bad: usize) -> Result<Self, Failure> {
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let engine = Engine::new(EngineConfig { cache_dir: None, compiler: None, clock: Clock::system(), workers }).map_err(failed)?;
        let found = find("sentiment", std::path::Path::new("")).map_err(|(error, _)| failed(error))?;
        let good = load(&engine, "good".to_owned(), found.bytes).await?;
        let mut bad = Vec::new();
        for n in 0..n_bad {
            bad.push(load(&engine, format!("bad-{n}"), Arc::from(membrana_bundle::MAD)).await?);
        }
        Ok(Self { good, bad })
    }

    async fn alone(&self) -> Result<Stretch, Failure> {
        stretch(&self.good, WARM).await?;
        stretch(&self.good, STRETCH).await
    }

    /// The first stretch beside them and the one after.
    async fn together(self) -> Result<[Stretch; 2], Failure> {
        let mut askers = JoinSet::new();
        for bad in self.bad {
            askers.spawn(ask_a_bad_one(bad));
        }
        let stretches = [stretch(&self.good, STRETCH).await?, stretch(&self.good, STRETCH).await?];
        askers.shutdown().await;
        Ok(stretches)
    }
}

/// Beside so many bad ones, in the first stretch or in the one after; each beside what was reached alone around it.
#[derive(Default)]
struct Rounds {
    rates: Arms,
    p99s: Arms,
}

impl Rounds {
    fn add(&mut self, beside: &Stretch, [before, after]: [&Stretch; 2]) {
        self.rates.add(beside.rate, f64::midpoint(before.rate, after.rate));
        self.p99s.add(beside.p99, f64::midpoint(before.p99, after.p99));
    }
}

pub(super) async fn measure() -> Result<Vec<Figure>, Failure> {
    let mut runs = Vec::new();
    for round in 1..=ROUNDS {
        for n_bad in [1, FOUR] {
            let company = Company::of(n_bad).await?;
            let (alone, beside) = (company.alone().await?, company.together().await?);
            let told = std::iter::once(&alone).chain(&beside).map(|one| format!("{:.0}/s, p99 {:.2} ms", one.rate, one.p99));
            aside(format_args!("neighbour: round {round}, alone, then beside {n_bad}: {}", told.collect::<Vec<_>>().join("; ")));
            runs.push((n_bad, alone, beside));
        }
    }
    let last = Company::of(0).await?.alone().await?;
    let alone: Vec<&Stretch> = runs.iter().map(|(_, alone, _)| alone).chain([&last]).collect();
    let mut told: [[Rounds; 2]; 2] = Default::default();
    for ((n_bad, _, beside), around) in runs.iter().zip(alone.array_windows()) {
        let [one, four] = &mut told;
        for (rounds, stretch) in if *n_bad == 1 { one } else { four }.iter_mut().zip(beside) {
            rounds.add(stretch, *around);
        }
    }
    let [[one, one_after], [four, four_after]] = &told;
    let spread_of = |value: fn(&Stretch) -> f64| spread(&alone.iter().map(|stretch| value(stretch)).collect::<Vec<_>>());
    let (noise, noise_p99) = (spread_of(|stretch| stretch.rate), spread_of(|stretch| stretch.p99));
    let rate = |name: &str, of: &Rounds, bar| of.rates.paired(name, "calls/s", noise, bar);
    let time = |name: &str, of: &Rounds| of.p99s.paired(name, "ms", noise_p99, BAR_P99);
    Ok(vec![
        rate("neighbour.one-first", one, BAR_FIRST),
        rate("neighbour.one-after", one_after, BAR_AFTER),
        rate("neighbour.four-first", four, BAR_FIRST),
        rate("neighbour.four-after", four_after, BAR_FIRST),
        time("neighbour.one-p99", one),
        time("neighbour.four-p99", four),
    ])
}
