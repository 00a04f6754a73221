//! Metrics in the text form that Prometheus reads, put together from the store when they are asked for. Like the API they need
//! the admin's token where one is set. Tasks and actions are not counted here: that would read them all.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::ingress::Ingress;
use crate::model::{ChannelName, MediaCount, Tally};
use crate::plugin::BreakerState;

use super::plugins::{InUse, in_use};
use super::read::{behind, state_of};
use super::{Desk, Refusal};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfChannel {
    channel: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReader {
    channel: String,
    reader: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    channel: String,
    kind: String,
}

/// `filled`, or `lost`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfGap {
    channel: String,
    gap: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    channel: String,
    state: String,
}

/// `stored`, or `failed`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFiles {
    channel: String,
    state: &'static str,
}

/// `name` is its section's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPlugin {
    name: String,
    kind: &'static str,
}

/// `fault`: `trap`, `cpu`, `memory`, `timeout`, `contract`, `own`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFault {
    name: String,
    kind: &'static str,
    fault: &'static str,
}

/// `direction`: `out`, or `in`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBytes {
    name: String,
    kind: &'static str,
    direction: &'static str,
}

/// Dead letters read at once.
const PAGE: usize = 256;
/// More are not counted.
const DEAD_MAX: usize = 65_536;

type PerChannel = Family<OfChannel, Gauge<u64, AtomicU64>>;

/// `/metrics`.
pub(super) async fn text(State((desk, ingress)): State<(Arc<Desk>, Arc<Ingress>)>) -> Result<Response, Refusal> {
    let (entries, raw, dead) = (PerChannel::default(), PerChannel::default(), PerChannel::default());
    let lag = Family::<OfReader, Gauge<u64, AtomicU64>>::default();
    let (unknown, gaps) = (Family::<OfKind, Counter>::default(), Family::<OfGap, Counter>::default());
    let (files, file_bytes) = (Family::<OfFiles, Gauge<u64, AtomicU64>>::default(), PerChannel::default());
    let states = Family::<OfState, Gauge<u64, AtomicU64>>::default();
    let sections = desk.sections.load();
    for name in desk.channels().await? {
        let section = sections.channels.iter().find(|section| section.name == name.as_str());
        let record = desk.journal.store.channel(&name).await?;
        let channel = name.as_str().to_owned();
        entries.get_or_create(&OfChannel { channel: channel.clone() }).set(record.last.0);
        raw.get_or_create(&OfChannel { channel: channel.clone() }).set(record.raw_last);
        let n_dead = n_dead(&desk, &name).await?;
        dead.get_or_create(&OfChannel { channel: channel.clone() }).set(n_dead);
        // Nobody reads on what was removed.
        for (reader, n) in behind(&record, &sections.sinks).into_iter().filter(|_| section.is_some()) {
            lag.get_or_create(&OfReader { channel: channel.clone(), reader }).set(n);
        }
        if record.media != MediaCount::default() {
            for (state, n) in [("stored", record.media.stored), ("failed", record.media.failed)] {
                files.get_or_create(&OfFiles { channel: channel.clone(), state }).set(n);
            }
            file_bytes.get_or_create(&OfChannel { channel: channel.clone() }).set(record.media.bytes);
        }
        count(&channel, &record.tally, &unknown, &gaps);
        states.get_or_create(&OfState { channel, state: state_of(&record, section).to_owned() }).set(1);
    }
    let refused = Family::<OfChannel, Counter>::default();
    for (channel, n_refused) in ingress.refused() {
        refused.get_or_create(&OfChannel { channel: channel.as_str().to_owned() }).inc_by(n_refused);
    }
    let mut registry = Registry::with_prefix("membrana");
    registry.register("log_entries", "Entries in a channel's log", entries);
    registry.register("raw_items", "Items ever appended to a channel's raw log", raw);
    registry.register("dead_letters", "Items set aside that wait for a person", dead);
    registry.register("reader_lag", "Records that a reader of a channel has not done yet", lag);
    registry.register("channel_state", "1 for the state that a channel is in", states);
    registry.register("unknown_kinds", "Payloads of a kind that the connector does not know, since ever", unknown);
    registry.register("gaps", "What a poll brought in a webhook's place (filled), and stretches out of reach (lost), since ever", gaps);
    registry.register("media_files", "Attachments whose bytes are kept (stored), and those that could not be had (failed)", files);
    registry.register("media_bytes", "Bytes of the files that a channel keeps", file_bytes);
    registry.register("webhooks_refused", "Webhooks that did not prove themselves, since the start", refused);
    let store_refuses = Gauge::<u64, AtomicU64>::default();
    store_refuses.set(u64::from(desk.journal.store.health().await.is_err()));
    registry.register("store_refuses", "1 where the store takes nothing: its disk is nearly full, or it failed", store_refuses);
    let config_refused = Gauge::<u64, AtomicU64>::default();
    config_refused.set(u64::from(desk.refused.load().is_some()));
    registry.register("config_refused", "1 where the configuration was edited and refused, and the one before stays in force", config_refused);
    register_plugins(&mut registry, &in_use(&desk.sections.load()));
    let mut body = String::new();
    // Writing to a string cannot fail.
    if encode(&mut body, &registry).is_err() {
        body.clear();
    }
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], body).into_response())
}

/// Since the build is in force: a swap and a reload begin anew, as a restart does.
fn register_plugins(registry: &mut Registry, in_use: &[InUse]) {
    let (calls, items, denied) =
        (Family::<OfPlugin, Counter>::default(), Family::<OfPlugin, Counter>::default(), Family::<OfPlugin, Counter>::default());
    let (cpu, waited) = (Family::<OfPlugin, Counter<f64, AtomicU64>>::default(), Family::<OfPlugin, Counter<f64, AtomicU64>>::default());
    let (memory, open) = (Family::<OfPlugin, Gauge<u64, AtomicU64>>::default(), Family::<OfPlugin, Gauge<u64, AtomicU64>>::default());
    let (failed, bytes) = (Family::<OfFault, Counter>::default(), Family::<OfBytes, Counter>::default());
    for one in in_use {
        let (name, kind, usage) = (|| one.section.name.clone(), one.generation.manifest().kind.word(), one.generation.usage());
        let labels = || OfPlugin { name: name(), kind };
        calls.get_or_create(&labels()).inc_by(usage.calls);
        items.get_or_create(&labels()).inc_by(usage.items);
        denied.get_or_create(&labels()).inc_by(usage.denied);
        cpu.get_or_create(&labels()).inc_by(usage.cpu.as_secs_f64());
        waited.get_or_create(&labels()).inc_by(usage.waited.as_secs_f64());
        memory.get_or_create(&labels()).set(u64::try_from(usage.memory_peak).unwrap_or(u64::MAX));
        open.get_or_create(&labels()).set(u64::from(usage.breaker != BreakerState::Closed));
        for (fault, n) in usage.faults.named() {
            failed.get_or_create(&OfFault { name: name(), kind, fault }).inc_by(*n);
        }
        if let Some((sent, received)) = one.generation.door().map(|door| door.traffic()) {
            for (direction, n) in [("out", sent), ("in", received)] {
                bytes.get_or_create(&OfBytes { name: name(), kind, direction }).inc_by(n);
            }
        }
    }
    registry.register("plugin_calls", "Calls of a plugin that ended", calls);
    registry.register("plugin_items", "Items and events that a plugin was asked about", items);
    registry.register("plugin_cpu_seconds", "Time in a plugin, without what it waited for", cpu);
    registry.register("plugin_waited_seconds", "Time that a plugin waited for its network", waited);
    registry.register("plugin_memory_peak_bytes", "The most memory that one instance of a plugin held after a call", memory);
    registry.register("plugin_faults", "Calls of a plugin that failed", failed);
    registry.register("plugin_denied", "Ways out that were refused to a plugin", denied);
    registry.register("plugin_bytes", "Bytes that passed through a plugin's door, at the socket", bytes);
    registry.register("plugin_breaker_open", "1 where a plugin failed call after call and is left alone", open);
}

fn count(channel: &str, tally: &Tally, unknown: &Family<OfKind, Counter>, gaps: &Family<OfGap, Counter>) {
    for (kind, count) in &tally.unknown {
        unknown.get_or_create(&OfKind { channel: channel.to_owned(), kind: kind.clone() }).inc_by(count.times);
    }
    let lost = tally.lost.values().map(|count| count.times).sum();
    for (gap, times) in [("filled", tally.filled.map_or(0, |count| count.times)), ("lost", lost)] {
        gaps.get_or_create(&OfGap { channel: channel.to_owned(), gap }).inc_by(times);
    }
}

/// Dead letters of a channel, as many as one scrape may read.
async fn n_dead(desk: &Desk, channel: &ChannelName) -> Result<u64, Refusal> {
    let (mut n_found, mut after) = (0, None);
    while n_found < DEAD_MAX {
        let page = desk.journal.store.dead_letters(channel, after, PAGE).await?;
        n_found += page.len();
        after = page.last().map(|letter| letter.id);
        if page.len() < PAGE {
            break;
        }
    }
    Ok(u64::try_from(n_found).unwrap_or(u64::MAX))
}
