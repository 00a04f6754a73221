//! Puts together what is known of an interaction, from the trait alone: the same for every store.

use crate::model::{ChannelName, EntryBody, InteractionId, Timestamp, shown::InteractionView};

use super::{Known, Resolved, Store, StoreError};

/// How far back the entries about one interaction are followed to its arrival.
const REVISIONS_MAX: usize = 64;

/// Everything about one interaction; `None` where the channel does not have it, or only its deletion is left.
pub async fn interaction(store: &dyn Store, channel: &ChannelName, id: InteractionId) -> Result<Option<InteractionView>, StoreError> {
    match store.resolve(channel, &[id]).await?.into_iter().next() {
        Some(Resolved::Interaction(known)) => of_known(store, channel, &known).await,
        _ => Ok(None),
    }
}

/// As [`interaction`], for one already resolved.
pub async fn of_known(store: &dyn Store, channel: &ChannelName, known: &Known) -> Result<Option<InteractionView>, StoreError> {
    let (mut content, mut gone, mut received, mut decisions) = (None, None, Timestamp::default(), Vec::new());
    let mut next = Some(known.last);
    for _ in 0..REVISIONS_MAX {
        let Some(seq) = next else { break };
        let Some(entry) = store.read_log(channel, seq, 1).await?.into_iter().next().filter(|e| e.seq == seq) else { break };
        decisions.push(store.decisions(channel, seq, seq).await?);
        match &entry.new.body {
            EntryBody::Gone if content.is_none() => gone = Some(entry.at),
            EntryBody::Arrived(_) => received = entry.at,
            _ => {}
        }
        next = entry.previous;
        if content.is_none() && entry.new.body.content().is_some() {
            content = Some(entry);
        }
    }
    let Some(entry) = content else { return Ok(None) };
    let annotated = store.annotated(channel, entry.seq, entry.seq).await?.into_iter().next().map(|(_, said)| said).unwrap_or_default();
    Ok(Some(InteractionView {
        channel: channel.clone(),
        id: known.id,
        received: if received == Timestamp::default() { entry.at } else { received },
        entry,
        gone,
        annotated,
        decisions: decisions.into_iter().rev().flatten().collect(),
        actions: store.actions_about(channel, known.id).await?,
        tasks: store.tasks_about(channel, known.id).await?,
    }))
}
