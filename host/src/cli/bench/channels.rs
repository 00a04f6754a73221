//! What one item costs: 10,000 of each network, in the network's own form, from where its connector meets them to the durable commit.
//!
//! Counted is the processor time of all threads, user and system, but for the one that plays the networks: plain HTTP from loopback,
//! the connector in its sandbox with its limits on, dedupe and threading, sled with fsync. A connector that lives by polling is polled,
//! page after page; one that lives by webhooks is given them from the raw log, as mail is. What comes before that is not counted: TLS, a
//! webhook's proof and its own commit (`webhook.ack`), the fetching of mails; nor what comes after, from analysis to sinks (`pipeline`).
//!
//! How much comes at once is the network's: [`items`] says how much of what.

mod cpu;
mod items;
mod network;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::app::{Prepared, PreparedChannel, examine, process_env};
use crate::cli::outcome::{Failure, aside};
use crate::clock::Clock;
use crate::intake::Intake;
use crate::model::{ChannelName, NewRaw};
use crate::stage::{Journal, Turn, Work as _};
use crate::store::{SledStore, Store};

use super::figure::{Bar, median, spread};
use super::{Figure, Scratch, failed};
use cpu::Cpu;
use items::ITEMS;
use network::Network;

/// Source: the plan's bars. Units: microseconds.
const BAR_US: Bar = Bar::AtMost(150.0);
/// No connector costs more than twice what the fastest does.
const BAR: Bar = Bar::AtMost(2.0);
const ROUNDS: usize = 3;
/// Far more than any takes.
const TURNS_MAX: usize = 5_000;
/// Raw items in one commit before the watch starts.
const RAWS: usize = 500;
/// Good for all of them.
const SECRET: &str = "whsec_YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmVuY2g=";
const NAMES: [&str; 9] = ["x", "mastodon", "discourse", "misago", "feed", "facebook", "instagram", "mail", "touchpoint"];

fn config(url: &str) -> String {
    let channel = |name: &str, config: &str, secrets: &[&str], more: &str| {
        let secrets: Vec<String> = secrets.iter().map(|key| format!("{key} = {{ file = \"secret\" }}")).collect();
        let secrets = secrets.join(", ");
        format!("[[channel]]\nname = \"{name}\"\nplugin = \"{name}\"\nconfig = {{ {config} }}\nsecrets = {{ {secrets} }}\n{more}\n")
    };
    let granted = format!("grant = {{ http = [\"{url}\"] }}");
    let at = |more: &str| format!("base_url = \"{url}\", {more}");
    let feeds: Vec<String> = (0..items::FEEDS).map(|n| format!("\"{url}{}\"", items::feed_path(n))).collect();
    [
        "[host]\nlisten = \"127.0.0.1:0\"\n".to_owned(),
        channel("x", &at("first_fetch = \"import\""), &["app_token", "user_token"], &granted),
        channel("mastodon", &at("first_fetch = \"import\""), &["token"], &granted),
        channel("discourse", &at("username = \"acme\", first_fetch = \"import\""), &["api_key"], &granted),
        channel("misago", &at("username = \"acme\", first_fetch = \"import\""), &["password"], &granted),
        channel("feed", &format!("urls = [{}], comments = false, first_fetch = \"import\"", feeds.join(", ")), &[], &granted),
        channel("facebook", &at(&format!("page = \"{}\"", items::PAGE)), &["page_token", "app_secret"], &granted),
        channel("instagram", &at(&format!("account = \"{}\"", items::ACCOUNT)), &["page_token", "app_secret"], &granted),
        channel(
            "mail",
            "imap = \"127.0.0.1:9\", user = \"acme\", from = \"Acme <support@acme.example>\"",
            &["password"],
            "grant = { net = [\"127.0.0.1:9\"] }",
        ),
        channel("touchpoint", items::TOUCHPOINT, &["webhook"], "ingress = { verify = \"standard-webhooks\" }"),
    ]
    .concat()
}

/// Microseconds of processor time an item.
async fn once(dir: &Path, channel: &PreparedChannel, network: &Network) -> Result<f64, Failure> {
    let scratch = Scratch::new(dir, &channel.name)?;
    let journal = Journal::new(SledStore::open(&scratch.0).map_err(failed)? as Arc<dyn Store>, Clock::system());
    let name = ChannelName::from(channel.name.as_str());
    let shown = items::of(&channel.name, journal.clock.now());
    network.show(shown.pages);
    let is_handed = !shown.raws.is_empty();
    for raws in shown.raws.chunks(RAWS) {
        let raws = raws.iter().map(|(origin, body)| NewRaw { origin: origin.clone(), body: body.clone(), received: None, once: None }).collect();
        journal.store.commit_raw(&name, journal.clock.now(), raws).await.map_err(failed)?;
    }
    let (plugin, pace) = (Arc::clone(&channel.plugin), (!is_handed).then_some(Duration::from_millis(1)));
    let intake = Intake::new(journal.clone(), name.clone(), channel.network.clone(), plugin, pace, channel.state_quota);
    let before = Cpu::read(&network.thread)?;
    let taken = take_all(&intake).await;
    let spent = Cpu::read(&network.thread)?.since(&before);
    journal.store.close().await.map_err(failed)?;
    taken.map(|()| spent.as_secs_f64() * 1e6 / f64::from(ITEMS))
}

async fn take_all(intake: &Intake) -> Result<(), Failure> {
    for _ in 0..TURNS_MAX {
        let turn = intake.turn().await.map_err(failed)?;
        let record = intake.journal.store.channel(&intake.channel).await.map_err(failed)?;
        if record.last.0 >= u64::from(ITEMS) {
            let n_dead = intake.journal.store.dead_letters(&intake.channel, None, 1).await.map_err(failed)?.len();
            let is_right = record.last.0 == u64::from(ITEMS) && n_dead == 0;
            return if is_right { Ok(()) } else { Err(failed(format!("{}: {} entries, {n_dead} dead", intake.channel, record.last))) };
        }
        let state = record.status.map(|status| (status.state, status.reason));
        match (turn, state) {
            (_, Some((state, reason))) if state != "connected" && state != "backfilling" => {
                return Err(failed(format!("{} is {state}: {}", intake.channel, reason.unwrap_or_default())));
            }
            (Turn::Idle, _) => return Err(failed(format!("{} stands still at {}", intake.channel, record.last))),
            (Turn::Until(_), _) => intake.poll_now(),
            (Turn::Worked, _) => {}
        }
    }
    Err(failed(format!("{} does not come to an end", intake.channel)))
}

async fn prepared(scratch: &Scratch, network: &Network) -> Result<Prepared, Failure> {
    let file = scratch.0.join("membrana.toml");
    std::fs::write(&file, config(&network.url)).map_err(failed)?;
    std::fs::write(scratch.0.join("secret"), SECRET).map_err(failed)?;
    let (ready, report) = examine(&file, &process_env(), Clock::system()).await.map_err(failed)?;
    let wrong = || report.findings.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("; ");
    ready.map(|(_, _, prepared)| prepared).ok_or_else(|| failed(wrong()))
}

pub(super) async fn measure(dir: &Path) -> Result<Vec<Figure>, Failure> {
    let scratch = Scratch::new(dir, "channels")?;
    let network = Network::start()?;
    let prepared = prepared(&scratch, &network).await?;
    let mut costs: Vec<(&str, Vec<f64>)> = NAMES.map(|name| (name, Vec::new())).to_vec();
    for round in 1..=ROUNDS {
        for (name, costs) in &mut costs {
            let channel = prepared.channels.iter().find(|channel| channel.name == *name).ok_or_else(|| failed(format!("no channel {name}")))?;
            costs.push(once(dir, channel, &network).await?);
            aside(format_args!("channels.{name}: round {round}: {:.1} us/item", costs.last().copied().unwrap_or(f64::NAN)));
        }
    }
    let fastest = costs.iter().map(|(_, costs)| median(costs)).fold(f64::INFINITY, f64::min);
    let figures = costs.iter().flat_map(|(name, costs)| {
        let (cost, noise) = (median(costs), spread(costs));
        [
            Figure::ratio(&format!("channels.{name}"), cost, fastest, "us/item", noise, BAR),
            Figure::absolute(&format!("channels.{name}-us"), cost, fastest, "us/item", noise, BAR_US),
        ]
    });
    Ok(figures.collect())
}
