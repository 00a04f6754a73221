//! An analyzer that misbehaves as its configuration says; with `built`, as `HOSTILE_BUILD` said when it was compiled.

use membrana_sdk::analyzer::Batch;
use membrana_sdk::{Analyzer, Annotation, Result, Value, register_analyzer};

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longer than any call may take.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Calls of this instance.
static CALLS: AtomicU32 = AtomicU32::new(0);

/// What this build is like.
const BUILD: Option<&str> = option_env!("HOSTILE_BUILD");

/// Runs when an instance starts.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    if BUILD == Some("start-trap") {
        std::process::abort();
    }
}

struct Hostile;

impl Analyzer for Hostile {
    fn analyze(batch: &Batch) -> Result<Vec<Vec<Annotation>>> {
        let config = membrana_sdk::config::json();
        let config = if config.contains("built") { BUILD.unwrap_or("well").to_owned() } else { config };
        let good = |key: &str, number| vec![Annotation { key: key.to_owned(), value: Value::Number(number), confidence: None }];
        if config.contains("loop") {
            let mut n = 0u64;
            loop {
                n = std::hint::black_box(n.wrapping_add(1));
            }
        } else if config.contains("trap") {
            panic!("on purpose");
        } else if config.contains("memory") {
            let mut all = Vec::new();
            loop {
                all.push(std::hint::black_box(vec![7u8; 1 << 20]));
            }
        } else if config.contains("count") {
            Ok(Vec::new())
        } else if config.contains("number") {
            Ok(batch.items.iter().map(|_| good("mood", f64::NAN)).collect())
        } else if config.contains("log") {
            for _ in 0..10_000 {
                membrana_sdk::log::info("\u{1b}[31mflood\n".repeat(20));
            }
            Ok(batch.items.iter().map(|_| good("mood", 1.0)).collect())
        } else if config.contains("tenth") {
            assert!(!batch.items.iter().any(|item| item.text.ends_with('7')), "on purpose");
            Ok(batch.items.iter().map(|_| good("mood", 1.0)).collect())
        } else if config.contains("slow") {
            (0..batch.items.len() as u64 * 200_000).for_each(|n| drop(std::hint::black_box(n)));
            Ok(batch.items.iter().map(|_| good("mood", 1.0)).collect())
        } else if config.contains("best") {
            Ok(batch.items.iter().map(|_| good("mood", 3.0)).collect())
        } else if config.contains("better") {
            Ok(batch.items.iter().map(|_| good("mood", 2.0)).collect())
        } else if config.contains("calls") {
            let has = |word| batch.items.iter().any(|item| item.text.contains(word));
            if has("sleep") {
                std::thread::sleep(FOR_EVER);
            }
            assert!(!has("poison"), "on purpose");
            let n_calls = f64::from(CALLS.fetch_add(1, Ordering::Relaxed) + 1);
            Ok(batch.items.iter().map(|_| good("calls", n_calls)).collect())
        } else {
            assert!(!batch.items.iter().any(|item| item.text.contains("poison")), "on purpose");
            Ok(batch.items.iter().map(|_| good("mood", 1.0)).collect())
        }
    }
}

register_analyzer!(Hostile);
