//! Hostile components, each with its exact outcome: the fault that it gets, its memory given back, and a plugin beside it that
//! answers as if it were alone. Here the engine in this process; in `pipeline`, `semantics` and
//! `actions` the built host, which names the plugin; in `exfiltration` every way out.

#[path = "confinement/actions.rs"]
mod actions;
#[path = "confinement/apart.rs"]
mod apart;
#[path = "confinement/calls.rs"]
mod calls;
#[path = "confinement/compiling.rs"]
mod compiling;
#[path = "confinement/exfiltration.rs"]
mod exfiltration;
#[path = "confinement/outside.rs"]
mod outside;
#[path = "confinement/pipeline.rs"]
mod pipeline;
#[path = "confinement/semantics.rs"]
mod semantics;
#[path = "confinement/starts.rs"]
mod starts;

use std::sync::Arc;
use std::time::{Duration, Instant};

use membrana::clock::Clock;
use membrana::egress::Door;
use membrana::model::{Annotation, Fault, Timestamp};
use membrana::plugin::{AnalyzeBatch, AnalyzeItem, CompileLimits, Engine, EngineConfig, Generation, Limits, Load, PluginError};

use crate::harness::{eventually, note};
use crate::hostile::{self, built};

/// What most of them get. Whoever is stopped by its processor time is so long before its wall time, however busy the machine.
const LIMITS: Limits =
    Limits { memory_bytes: 16 << 20, cpu: Duration::from_millis(200), wall: Duration::from_secs(10), compile: CompileLimits::DEFAULT };
/// Asked of the good plugin while the other one is at work.
const ASKED_BESIDE: usize = 20;

type Answer = Result<Vec<Vec<Annotation>>, Fault>;

/// An engine with a good plugin in it.
struct Yard {
    engine: Arc<Engine>,
    good: Arc<Generation>,
    /// What it says alone.
    alone: Answer,
    /// What it holds. Units: bytes.
    held: usize,
}

impl Yard {
    async fn new() -> Self {
        let engine = Engine::new(EngineConfig { cache_dir: None, compiler: None, clock: Clock::system(), workers: 2 }).unwrap();
        let bytes = std::fs::read(built()).unwrap().into();
        let load = Load { name: "good".to_owned(), bytes, config: mode("well"), door: None, limits: LIMITS, is_apart: false };
        let good = engine.load(load).await.unwrap();
        let alone = ask(&good, "fine").await;
        assert!(alone.is_ok(), "{alone:?}");
        let held = engine.guest_memory_bytes();
        assert!(held > 0);
        Self { engine, good, alone, held }
    }

    /// Loads the hostile analyzer.
    async fn load(&self, config: String, limits: Limits, door: Option<Door>) -> Arc<Generation> {
        self.try_load(std::fs::read(built()).unwrap(), config, limits, door).await.unwrap()
    }

    async fn try_load(&self, bytes: Vec<u8>, config: String, limits: Limits, door: Option<Door>) -> Result<Arc<Generation>, PluginError> {
        let door = door.map(Arc::new);
        self.engine.load(Load { name: "mad".to_owned(), bytes: bytes.into(), config, door, limits, is_apart: false }).await
    }

    /// Asks the hostile one once, and the good one meanwhile.
    async fn ask(&self, mad: &Generation, text: &str) -> Answer {
        let begun = Instant::now();
        let beside = async {
            for _ in 0..ASKED_BESIDE {
                assert_eq!(ask(&self.good, "fine").await, self.alone);
            }
        };
        let asked = async {
            let answer = ask(mad, text).await;
            (answer, begun.elapsed())
        };
        let ((answer, elapsed), ()) = tokio::join!(asked, beside);
        note(format_args!("{}: {} ms", answer.as_ref().err().map(ToString::to_string).unwrap_or_default(), elapsed.as_millis()));
        answer
    }

    /// What the hostile ones held is given back, and the good one answers as alone.
    async fn is_whole(&self, case: &str) {
        let held = || self.engine.guest_memory_bytes();
        assert!(eventually(async || held() == self.held).await, "{case}: {} bytes are held, not {}", held(), self.held);
        assert_eq!(ask(&self.good, "fine").await, self.alone, "{case}");
    }

    /// The good one goes, too.
    async fn close(self) {
        let Self { engine, good, .. } = self;
        drop(good);
        assert!(eventually(async || engine.guest_memory_bytes() == 0).await, "{} bytes are left", engine.guest_memory_bytes());
    }
}

fn mode(mode: &str) -> String {
    format!("{{\"mode\":\"{mode}\"}}")
}

async fn ask(generation: &Generation, text: &str) -> Answer {
    let item =
        AnalyzeItem { id: None, subject: None, text, language: None, occurred: Timestamp(0), earlier: Vec::new(), author: None, attachments: &[] };
    generation.analyze(&AnalyzeBatch { channel: "shop", kind: "checkin", items: vec![item] }).await
}

/// It failed for good, with this code and these words.
fn is_permanent(fault: &Fault, code: &str, says: &str) -> bool {
    matches!(fault, Fault::Permanent(why) if why.code == code && why.message.contains(says))
}
