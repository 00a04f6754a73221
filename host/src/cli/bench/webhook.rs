//! Webhooks at 1,000 a second: the time until a signed event is on disk and acknowledged, against the same commits without HTTP.

use std::sync::Arc;
use std::time::Duration;

use membrana_world::{Dress, Shop};

use crate::app::App;
use crate::cli::outcome::Failure;
use crate::clock::Clock;
use crate::model::{ChannelName, NewRaw, RawOrigin};
use crate::store::{SledStore, Store};

use super::{Figure, Scratch, failed};

const EVENTS: u64 = 4_000;
/// Between two events: 1,000 a second.
const PACE: Duration = Duration::from_millis(1);
/// Units: milliseconds.
const BAR_MS: f64 = 100.0;
const SECRET: &str = "whsec_YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmVuY2g=";
const CONFIG: &str = "[host]\nlisten = \"127.0.0.1:0\"\n[[channel]]\nname = \"shop\"\nplugin = \"touchpoint\"\nconfig = { kind = \"checkin\", id = \"/id\", text = \"/note\" }\ningress = { verify = \"standard-webhooks\" }\nsecrets = { webhook = { file = \"secret\" } }\n";

fn p99(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(f64::INFINITY)
}

/// Starts one call every millisecond, whether or not the one before has ended.
async fn paced<T: Future<Output = Result<(), String>> + Send + 'static>(call: impl Fn(u64) -> T) -> Result<f64, Failure> {
    let mut ticks = tokio::time::interval(PACE);
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..EVENTS {
        ticks.tick().await;
        let (watch, call) = (Clock::system().stopwatch(), call(n));
        calls.spawn(async move { call.await.map(|()| watch.elapsed().as_secs_f64() * 1000.0) });
    }
    let mut times = Vec::new();
    while let Some(done) = calls.join_next().await {
        times.push(done.map_err(failed)?.map_err(failed)?);
    }
    Ok(p99(times))
}

fn body(n: u64) -> String {
    format!("{{\"id\":\"order-{n}\",\"note\":\"{}\"}}", super::native::TEXTS.first().copied().unwrap_or_default())
}

async fn over_http() -> Result<f64, Failure> {
    let scratch = Scratch::new("webhook")?;
    let file = scratch.0.join("membrana.toml");
    std::fs::write(&file, CONFIG).map_err(failed)?;
    std::fs::write(scratch.0.join("secret"), SECRET).map_err(failed)?;
    let app = App::start(&file, crate::app::process_env()).await?;
    let Some(address) = app.addresses().first().copied() else { return Err(failed("no address")) };
    let shop = Shop { address, path: "/hooks/shop".to_owned(), secret: SECRET.to_owned() };
    let measured = paced(|n| {
        let shop = shop.clone();
        async move {
            let answer = shop.post(&format!("evt-{n}"), Dress::Right, &body(n)).await?;
            if answer.status == 202 { Ok(()) } else { Err(format!("status {}", answer.status)) }
        }
    });
    let measured = measured.await;
    app.stop().await;
    measured
}

async fn bare() -> Result<f64, Failure> {
    let scratch = Scratch::new("bare")?;
    let store = SledStore::open(&scratch.0).map_err(failed)?;
    let (clock, channel) = (Clock::system(), ChannelName::from("shop"));
    let measured = paced(|n| {
        let (store, channel, at) = (Arc::clone(&store), channel.clone(), clock.now());
        async move {
            let raw = NewRaw { origin: RawOrigin::Frame, body: body(n).into_bytes(), once: Some((format!("evt-{n}"), 60_000)) };
            store.commit_raw(&channel, at, vec![raw]).await.map(|_| ()).map_err(|error| error.to_string())
        }
    });
    let measured = measured.await;
    store.close().await.map_err(failed)?;
    measured
}

pub(super) async fn measure() -> Result<Vec<Figure>, Failure> {
    let (first, http, second) = (bare().await?, over_http().await?, bare().await?);
    Ok(vec![Figure::under("webhook.ack-p99", http, first.min(second), "ms", first.max(second) / first.min(second), BAR_MS)])
}
