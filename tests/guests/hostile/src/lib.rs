//! An analyzer that misbehaves as its configuration says; with `built`, as `HOSTILE_BUILD` said when it was compiled.

mod raw;

use membrana_sdk::analyzer::Batch;
use membrana_sdk::http::{self, HttpError, Request};
use membrana_sdk::{Analyzer, Annotation, Fault, Result, Value, config, log, register_analyzer};

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longer than any call may take.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// More than the host copies in one call, as lists or as annotations.
const MILLION: usize = 1_000_000;

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
        let config = config::json();
        // What the tests write: `{"mode":"..."}`, and for those that call out a `url` behind it.
        let configured = config.split('"').nth(3).unwrap_or_default();
        let mode = if configured == "built" { BUILD.unwrap_or("well") } else { configured };
        let says = |word| batch.items.iter().any(|item| item.text.contains(word));
        let all = |value: f64| batch.items.iter().map(|_| vec![annotation("mood", Value::Number(value))]).collect();
        Ok(match mode {
            "count" => Vec::new(),
            "number" => all(f64::NAN),
            "tenth" => {
                assert!(!batch.items.iter().any(|item| item.text.ends_with('7')), "on purpose");
                all(1.0)
            }
            "best" => all(3.0),
            "better" => all(2.0),
            "calls" => {
                if says("sleep") {
                    std::thread::sleep(FOR_EVER);
                }
                assert!(!says("poison"), "on purpose");
                let n_calls = f64::from(CALLS.fetch_add(1, Ordering::Relaxed) + 1);
                batch.items.iter().map(|_| vec![annotation("calls", Value::Number(n_calls))]).collect()
            }
            "million-lists" => vec![Vec::new(); MILLION],
            "million-annotations" => vec![vec![annotation("", Value::Boolean(true)); MILLION]],
            "aliased-strings" => {
                let once = Box::leak(vec![b'a'; 1 << 20].into_boxed_slice());
                vec![(0..100).map(|_| annotation("", Value::Text(raw::alias(once)))).collect()]
            }
            "claimed-string" => vec![vec![annotation("", Value::Text(raw::claim_of_4_gib()))]],
            "wrong-utf8" => vec![vec![annotation("", Value::Text(raw::no_utf8()))]],
            "wild-pointer" => vec![vec![annotation("", Value::Text(raw::out_of_bounds()))]],
            "drip" => {
                let url = config.split('"').nth(7).unwrap_or_default();
                return Err(match http::send(&Request::new("GET", url)) {
                    Ok(answer) => Fault::permanent("answered", answer.status.to_string()),
                    Err(HttpError::Timeout) => Fault::transient("timeout", "the guest was told"),
                    Err(error) => Fault::permanent("http", error.words()),
                });
            }
            "calls-out" => {
                let url = config.split('"').nth(7).unwrap_or_default();
                loop {
                    drop(black_box(http::send(&Request::new("GET", url))));
                }
            }
            _ => {
                misbehave(if says("spin") { "loop" } else { mode }, batch.items.len() as u64);
                assert!(!says("poison"), "on purpose");
                all(1.0)
            }
        })
    }
}

fn annotation(key: &str, value: Value) -> Annotation {
    Annotation { key: key.to_owned(), value, confidence: None }
}

/// What needs no answer: most of it never returns.
fn misbehave(mode: &str, n_items: u64) {
    match mode {
        "loop" => {
            let mut n = 0u64;
            loop {
                n = black_box(n.wrapping_add(1));
            }
        }
        "bulk" => {
            let mut bytes = vec![0u8; 4 << 20];
            loop {
                black_box(&mut bytes).fill(7);
            }
        }
        "recursion" => _ = black_box(deeper(0)),
        "tiny-calls" => loop {
            drop(black_box(config::json()));
        },
        "trap" => panic!("on purpose"),
        "exit" => std::process::exit(0),
        "memory" => {
            let mut all = Vec::new();
            loop {
                all.push(black_box(vec![7u8; 1 << 20]));
            }
        }
        "log" => (0..10_000).for_each(|_| log::info("\u{1b}[31mflood\n".repeat(20))),
        "slow" => (0..n_items * 1_000_000).for_each(|n| _ = black_box(n)),
        "sleep" => std::thread::sleep(FOR_EVER),
        "pollables" => (0..100_000).for_each(|_| raw::leak_a_pollable()),
        "handles" => (0..10_000).for_each(|_| raw::leak_a_stream()),
        // From the next call on: the host asks for memory for what it hands over.
        "re-enter" => raw::call_out_of_the_allocator(),
        _ => {}
    }
}

#[expect(unconditional_recursion, reason = "on purpose")]
fn deeper(n: u64) -> u64 {
    black_box(deeper(black_box(n) + 1)) + 1
}

register_analyzer!(Hostile);
