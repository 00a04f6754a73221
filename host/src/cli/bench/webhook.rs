//! Webhooks at 1,000 a second: the time until a signed event is on disk and acknowledged, against the same commits without HTTP.
//!
//! Each call starts at its planned instant, whether or not those before have ended, and its time counts from that instant: a
//! host that stalls is charged for all who wait meanwhile. The host, its connector and those who call share the machine.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use membrana_world::{Dress, Shop};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::app::App;
use crate::cli::outcome::Failure;
use crate::clock::Clock;
use crate::model::{ChannelName, NewRaw, RawOrigin};
use crate::store::{SledStore, Store};

use super::figure::{Bar, in_turns, median, spread};
use super::{Figure, Scratch, failed};

/// Ten seconds.
pub(super) const EVENTS: u32 = 10_000;
/// Between two events: 1,000 a second.
const PACE: Duration = Duration::from_millis(1);
/// Units: a second.
const PLANNED: f64 = 1000.0;
/// Units: milliseconds. Source: the plan's bars.
const BAR_MS: Bar = Bar::AtMost(100.0);
/// By HTTP there is more: a connection each, a signature, and the connector's own work and commits on the same two cores, so
/// several times the bare commit is expected. Ten times as much again can only be a queue. A guess by reason: a busy machine,
/// the only one it was measured on yet, cannot keep the pace at all, which `webhook.rate` says.
const BAR: Bar = Bar::AtMost(20.0);
/// Under it the host does not keep up, and no latency means anything.
const BAR_RATE: Bar = Bar::AtLeast(0.95);
const ROUNDS_MAX: usize = 4;
/// Half-open requests, as of an attack that is called slowloris. The host hangs up on each after as long as a run takes.
const SLOW: usize = 1000;
/// Beside them, against none. Source: the plan's bars.
const BAR_SLOW: Bar = Bar::AtMost(2.0);
pub(super) const SECRET: &str = "whsec_YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmVuY2g=";
pub(super) const CONFIG: &str = "[host]\nlisten = \"127.0.0.1:0\"\n[[channel]]\nname = \"shop\"\nplugin = \"touchpoint\"\nconfig = { kind = \"checkin\", id = \"/id\", text = \"/note\" }\ningress = { verify = \"standard-webhooks\" }\nsecrets = { webhook = { file = \"secret\" } }\n";

/// What one run came to.
pub(super) struct Paced {
    /// Units: milliseconds.
    pub(super) p99: f64,
    /// Answers a second.
    rate: f64,
}

pub(super) fn p99(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(f64::INFINITY)
}

/// Calls at their planned instants; one that fails fails the run.
pub(super) async fn paced<T: Future<Output = Result<(), String>> + Send + 'static>(call: impl Fn(u32) -> T) -> Result<Paced, Failure> {
    let begin = Instant::now();
    let mut calls = JoinSet::new();
    for n in 0..EVENTS {
        let planned = begin + PACE * n;
        sleep_until(planned).await;
        let call = call(n);
        calls.spawn(async move { call.await.map(|()| planned.elapsed().as_secs_f64() * 1000.0) });
    }
    let mut times = Vec::new();
    while let Some(done) = calls.join_next().await {
        times.push(done.map_err(failed)?.map_err(failed)?);
    }
    Ok(Paced { p99: p99(times), rate: f64::from(EVENTS) / begin.elapsed().as_secs_f64() })
}

fn body(n: u32) -> String {
    format!("{{\"id\":\"order-{n}\",\"note\":\"{}\"}}", super::native::TEXTS.first().copied().unwrap_or_default())
}

/// One event. Errors: it is not acknowledged, in words.
pub(super) async fn post(shop: Shop, n: u32) -> Result<(), String> {
    let answer = shop.post(&format!("evt-{n}"), Dress::Right, &body(n)).await?;
    if answer.status == 202 { Ok(()) } else { Err(format!("status {}", answer.status)) }
}

/// Opens requests and never ends their heads.
async fn half_open(address: SocketAddr, n: usize) -> Result<Vec<TcpStream>, Failure> {
    let mut all = Vec::with_capacity(n);
    for _ in 0..n {
        let mut stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.write_all(b"POST /hooks/shop HTTP/1.1\r\nx-slow: ").await.map_err(failed)?;
        all.push(stream);
    }
    Ok(all)
}

async fn over_http(dir: &Path, n_slow: usize) -> Result<Paced, Failure> {
    let scratch = Scratch::new(dir, "webhook")?;
    let file = scratch.0.join("membrana.toml");
    std::fs::write(&file, CONFIG).map_err(failed)?;
    std::fs::write(scratch.0.join("secret"), SECRET).map_err(failed)?;
    let app = App::start(&file, crate::app::process_env(), Clock::system()).await?;
    let Some(address) = app.addresses().first().copied() else { return Err(failed("no address")) };
    let shop = Shop { address, path: "/hooks/shop".to_owned(), secret: SECRET.to_owned() };
    let slow = half_open(address, n_slow).await?;
    let measured = paced(|n| post(shop.clone(), n)).await;
    drop(slow);
    app.stop().await;
    measured
}

async fn bare(dir: &Path) -> Result<f64, Failure> {
    let scratch = Scratch::new(dir, "bare")?;
    let store = SledStore::open(&scratch.0).map_err(failed)?;
    let (clock, channel) = (Clock::system(), ChannelName::from("shop"));
    let measured = paced(|n| {
        let (store, channel, at) = (Arc::clone(&store), channel.clone(), clock.now());
        async move {
            let raw = NewRaw { origin: RawOrigin::Frame, body: body(n).into_bytes(), received: None, once: Some((format!("evt-{n}"), 60_000)) };
            store.commit_raw(&channel, at, vec![raw]).await.map(|_| ()).map_err(|error| error.to_string())
        }
    });
    let measured = measured.await;
    store.close().await.map_err(failed)?;
    measured.map(|run| run.p99)
}

pub(super) async fn measure(dir: &Path) -> Result<Vec<Figure>, Failure> {
    let mut rates = Vec::new();
    let http = async || {
        let Paced { p99, rate } = over_http(dir, 0).await?;
        rates.push(rate);
        Ok(p99)
    };
    let arms = in_turns("webhook.ack-p99", BAR, ROUNDS_MAX, http, async || bare(dir).await).await?;
    let (value, baseline) = (median(&arms.ours), median(&arms.baseline));
    Ok(vec![
        arms.figure("webhook.ack-p99", "ms", BAR),
        Figure::absolute("webhook.ack-p99-ms", value, baseline, "ms", arms.noise(), BAR_MS),
        Figure::ratio("webhook.rate", median(&rates), PLANNED, "1/s", spread(&rates), BAR_RATE),
    ])
}

pub(super) async fn beside_slow_callers(dir: &Path) -> Result<Vec<Figure>, Failure> {
    let p99 = async |n_slow| over_http(dir, n_slow).await.map(|run| run.p99);
    let arms = in_turns("webhook.slow-p99", BAR_SLOW, ROUNDS_MAX, async || p99(SLOW).await, async || p99(0).await).await?;
    Ok(vec![arms.figure("webhook.slow-p99", "ms", BAR_SLOW)])
}
