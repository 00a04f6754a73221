//! Orders an analyzer to be asked again about what is stored, and tells how far it came.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{Path, State};
use serde_json::{Value as Json, json};

use crate::model::{ChannelName, Seq, Timestamp, shown};
use crate::store::{OFF, Reader, Store, StoreError};

use super::lists::Narrow;
use super::{Desk, Refusal};

/// Of all channels, from a moment on; or from further back, where an order from there is under way.
pub(super) async fn begin(State(desk): State<Arc<Desk>>, Path(name): Path<String>, narrow: Narrow) -> Result<Answer<Json>, Refusal> {
    known(&desk, &name)?;
    narrow.has_only(&["since"])?;
    let since = narrow.since()?;
    for channel in enabled(&desk) {
        let record = desk.journal.store.channel(&channel).await?;
        let position = last_before(desk.journal.store.as_ref(), &channel, record.last, since).await?;
        // One that is under way, from further back, is not cut short.
        let under_way = record.positions.get(&Reader::rerun(&name)).copied().unwrap_or(OFF);
        order(&desk, &channel, &name, position.min(under_way)).await?;
    }
    progress(State(desk), Path(name)).await
}

/// What was asked again so far stays.
pub(super) async fn stop(State(desk): State<Arc<Desk>>, Path(name): Path<String>) -> Result<Answer<Json>, Refusal> {
    known(&desk, &name)?;
    for channel in enabled(&desk) {
        order(&desk, &channel, &name, OFF).await?;
    }
    progress(State(desk), Path(name)).await
}

/// Entries that it is still to be asked about.
pub(super) async fn progress(State(desk): State<Arc<Desk>>, Path(name): Path<String>) -> Result<Answer<Json>, Refusal> {
    known(&desk, &name)?;
    let mut channels = Vec::new();
    for channel in enabled(&desk) {
        let record = desk.journal.store.channel(&channel).await?;
        let position = record.positions.get(&Reader::rerun(&name)).copied().unwrap_or(OFF);
        let left = record.position(&Reader::Analysis).saturating_sub(position);
        if left > 0 {
            channels.push(json!({ "channel": channel.as_str(), "left": left }));
        }
    }
    let left: u64 = channels.iter().filter_map(|channel| channel.get("left").and_then(Json::as_u64)).sum();
    Ok(Answer(json!({ "name": name, "left": left, "channels": channels })))
}

async fn order(desk: &Desk, channel: &ChannelName, name: &str, position: u64) -> Result<(), Refusal> {
    let mut commit = desk.journal.begin(channel);
    commit.positions.push((Reader::rerun(name), position));
    desk.journal.commit(commit).await?;
    Ok(())
}

fn known(desk: &Desk, name: &str) -> Result<(), Refusal> {
    let sections = desk.sections.load();
    if sections.analyzers.iter().any(|section| section.name == name) {
        return Ok(());
    }
    let known: Vec<&str> = sections.analyzers.iter().map(|section| section.name.as_str()).collect();
    Err(Refusal::not_found(format!("there is no analyzer `{name}`; others are not asked again"), shown::there_are(&known)))
}

fn enabled(desk: &Desk) -> Vec<ChannelName> {
    desk.sections.load().channels.iter().map(|section| ChannelName::from(section.name.as_str())).collect()
}

/// The last entry that came before a moment; 0 where there is none. A log grows in time.
async fn last_before(store: &dyn Store, channel: &ChannelName, last: Seq, since: Timestamp) -> Result<u64, StoreError> {
    let (mut low, mut high) = (0, last.0);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let entry = store.read_log(channel, Seq(middle), 1).await?;
        if entry.first().is_some_and(|entry| entry.at < since) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Ok(low)
}
