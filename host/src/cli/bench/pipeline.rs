//! The whole way at full speed: intake, two analyzers, one rule, with fsync; through Wasm against the same code native.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::analysis::{Analysis, Analyzer, Analyzers};
use crate::app::find;
use crate::cli::outcome::Failure;
use crate::clock::Clock;
use crate::intake::{Intake, Memory};
use crate::model::{Author, ChannelName, Digest, Fault, Interaction, NativeId, Ours, Timestamp};
use crate::plugin::{Change, Engine, EngineConfig, Generation, Kind, Limits, Load, Manifest, Native, Page, Slot};
use crate::rules::{Rule, Rules};
use crate::stage::{self, Journal, Work};
use crate::store::{Reader, SledStore, Store};

use super::native::{NativeAnalyzer, NativeRule, TABLE, TEXTS, Which};
use super::{Figure, Scratch, failed};

const INTERACTIONS: u64 = 60_000;
const CHANNELS: u64 = 2;
/// Source: the plan's bars.
const BAR: f64 = 0.75;

/// Says something new as often as it is asked: 30 % replies, 20 % new authors, 5 % reviews, which get a task.
struct Crowd(AtomicU64);

impl Native for Crowd {
    fn poll(&self, _cursor: Option<String>, items_max: u32) -> Result<Page, Fault> {
        let from = self.0.fetch_add(items_max.into(), Ordering::Relaxed);
        let to = (from + u64::from(items_max)).min(INTERACTIONS / CHANNELS);
        let changes = (from..to).map(|n| Change::Upsert(Box::new(said(n)))).collect();
        Ok(Page { changes, cursor: to.to_string(), more: to < INTERACTIONS / CHANNELS, backfill: false, next_poll: Some(Duration::from_secs(3600)) })
    }
}

fn said(n: u64) -> Interaction {
    let native = |id: String| NativeId { scope: String::new(), id };
    let text = TEXTS.get(usize::try_from(n % 4).unwrap_or(0)).copied().unwrap_or_default();
    let author = if n.is_multiple_of(5) { n } else { n % 500 };
    Interaction {
        native: native(format!("https://social.example/statuses/{n}")),
        aka: Vec::new(),
        kind: if n % 20 == 7 { "review" } else { "mention" }.to_owned(),
        visibility: "public".to_owned(),
        author: Some(Author {
            native: native(format!("https://social.example/users/{author}")),
            handle: Some(format!("@user{author}@social.example")),
            name: Some(format!("User {author}")),
            url: None,
            email: None,
            phone: None,
            assurance: None,
            automated: false,
            metrics: vec![("followers".to_owned(), 12.0)],
        }),
        ours: Ours::No,
        automated: "no".to_owned(),
        conversation: None,
        parent: (n % 10 < 3 && n > 10).then(|| native(format!("https://social.example/statuses/{}", n - 7))),
        refs: Vec::new(),
        subject: None,
        text: text.to_owned(),
        quoted: None,
        language: None,
        url: None,
        attachments: Vec::new(),
        place: None,
        side: None,
        campaign: None,
        occurred: Timestamp(1_790_000_000_000 + n),
        edited: None,
        reply_context: None,
        attrs: Vec::new(),
    }
}

fn manifest(name: &str, kind: &str) -> Result<Manifest, Failure> {
    Manifest::parse(&format!("name = \"{name}\"\nversion = \"0.1.0\"\nkind = \"{kind}\"\ncontract = \"0.1\"\nnetwork = \"bench\"\nsummary = \"baseline\"\nlicense = \"Apache-2.0\"\n")).map_err(failed)
}

/// The three plugins that are compared: language, sentiment, the impact table.
struct Judges {
    language: Arc<Generation>,
    sentiment: Arc<Generation>,
    table: Arc<Generation>,
}

fn native() -> Result<Judges, Failure> {
    Ok(Judges {
        language: Generation::native("language", manifest("language", "analyzer")?, NativeAnalyzer(Which::Language)),
        sentiment: Generation::native("sentiment", manifest("sentiment", "analyzer")?, NativeAnalyzer(Which::Sentiment)),
        table: Generation::native("impact", manifest("impact-table", "rule")?, NativeRule),
    })
}

async fn wasm(engine: &Arc<Engine>) -> Result<Judges, Failure> {
    let load = async |name: &str, kind: Kind, config: String| {
        let found = find(name, std::path::Path::new("")).map_err(|(error, _)| failed(error))?;
        engine.load(Load { name: name.to_owned(), bytes: found.bytes, config, door: None, limits: Limits::of(kind) }).await.map_err(failed)
    };
    Ok(Judges {
        language: load("language", Kind::Analyzer, "{}".to_owned()).await?,
        sentiment: load("sentiment", Kind::Analyzer, "{}".to_owned()).await?,
        table: load("impact-table", Kind::Rule, serde_json::json!({ "table": TABLE }).to_string()).await?,
    })
}

/// Interactions a second, from the first poll to the last decision.
async fn run(judges: &Judges) -> Result<f64, Failure> {
    let scratch = Scratch::new("pipeline")?;
    let store = SledStore::open(&scratch.0).map_err(failed)?;
    let journal = Journal::new(Arc::clone(&store) as Arc<dyn Store>, Clock::system());
    let analyzer = |name: &str, generation: &Arc<Generation>, after: &[&str]| Analyzer {
        name: name.to_owned(),
        plugin: Arc::new(Slot::new(Arc::clone(generation))),
        config: Digest::of(b""),
        after: after.iter().map(|name| (*name).to_owned()).collect(),
        wait: Duration::from_secs(10),
        channels: Vec::new(),
        sees_authors: false,
        sees_attachments: false,
    };
    let analyzers =
        Arc::new(Analyzers::new(vec![analyzer("language", &judges.language, &[]), analyzer("sentiment", &judges.sentiment, &["language"])]));
    let rules = Arc::new(ArcSwap::from_pointee(vec![Rule { name: "impact".to_owned(), plugin: Arc::new(Slot::new(Arc::clone(&judges.table))) }]));
    let (stop, watch) = (CancellationToken::new(), Clock::system().stopwatch());
    let mut stages = tokio::task::JoinSet::new();
    let channels: Vec<ChannelName> = (0..CHANNELS).map(|n| ChannelName::from(format!("crowd-{n}").as_str())).collect();
    for channel in &channels {
        let crowd = Generation::native("crowd", manifest("crowd", "connector")?, Crowd(AtomicU64::new(0)));
        let (journal, channel) = (journal.clone(), channel.clone());
        let works: [Arc<dyn Work>; 3] = [
            Arc::new(Intake {
                journal: journal.clone(),
                channel: channel.clone(),
                network: "bench".to_owned(),
                plugin: Arc::new(Slot::new(crowd)),
                pace: Some(Duration::from_secs(1)),
                state_quota: 0,
                memory: tokio::sync::Mutex::new(Memory::default()),
            }),
            Arc::new(Analysis::new(journal.clone(), channel.clone(), Arc::clone(&analyzers))),
            Arc::new(Rules { journal: journal.clone(), channel, rules: Arc::clone(&rules), capabilities: "{}".into(), can_reply: false }),
        ];
        for work in works {
            stages.spawn(stage::run(work, journal.clone(), stop.clone()));
        }
    }
    for channel in &channels {
        let mut bell = journal.listen(channel);
        while store.channel(channel).await.map_err(failed)?.position(&Reader::Rules) < INTERACTIONS / CHANNELS {
            bell.changed().await.map_err(failed)?;
        }
    }
    let seconds = watch.elapsed().as_secs_f64();
    stop.cancel();
    while stages.join_next().await.is_some() {}
    store.close().await.map_err(failed)?;
    Ok(f64::from(u32::try_from(INTERACTIONS).unwrap_or(u32::MAX)) / seconds)
}

pub(super) async fn measure() -> Result<Vec<Figure>, Failure> {
    let engine = Engine::new(EngineConfig { cache_dir: None, clock: Clock::system(), workers: 2 }).map_err(failed)?;
    let (native, wasm) = (native()?, wasm(&engine).await?);
    let first = run(&native).await?;
    let through = run(&wasm).await?;
    let second = run(&native).await?;
    let again = run(&wasm).await?;
    let noise = first.max(second) / first.min(second);
    Ok(vec![Figure::at_least("pipeline.rate", through.max(again), first.max(second), "interactions/s", noise, BAR)])
}
