//! Puts together what is known of an interaction, from the trait alone: the same for every store.

use std::collections::HashSet;
use std::sync::Arc;

use crate::model::{Action, ChannelName, Entry, EntryBody, InteractionId, MediaState, Ours, Seq, shown::InteractionView};

use super::{Conversation, Known, Reader, Resolved, Store, StoreError};

/// How far back the entries about one interaction are followed to its arrival.
const ENTRIES_MAX: usize = 256;

/// Everything about one interaction; `None` where the channel does not have it, or only its deletion is left.
pub async fn interaction(store: &dyn Store, channel: &ChannelName, id: InteractionId) -> Result<Option<InteractionView>, StoreError> {
    match store.resolve(channel, &[id]).await?.into_iter().next() {
        Some(Resolved::Interaction(known)) => of_known(store, channel, &known).await,
        _ => Ok(None),
    }
}

/// As [`interaction`], for one already resolved.
pub async fn of_known(store: &dyn Store, channel: &ChannelName, known: &Known) -> Result<Option<InteractionView>, StoreError> {
    match as_of(store, channel, known.id, known.last).await? {
        // So many facts came since that the walk back ended before the content.
        None if !known.is_gone => as_of(store, channel, known.id, known.latest).await,
        view => Ok(view),
    }
}

/// An interaction as it stood when entry `seq`, which is about it, was appended: its content and what was said of that. What
/// was decided since, its actions and its tasks are as they stand now.
pub async fn as_of(store: &dyn Store, channel: &ChannelName, id: InteractionId, seq: Seq) -> Result<Option<InteractionView>, StoreError> {
    let (mut content, mut gone, mut received, mut decisions) = (None, None, None, Vec::new());
    let mut next = Some(seq);
    for _ in 0..ENTRIES_MAX {
        let Some(entry) = entry_at(store, channel, next).await? else { break };
        decisions.push(store.decisions(channel, entry.seq, entry.seq).await?);
        match &entry.new.body {
            EntryBody::Gone if content.is_none() => gone = Some(entry.at),
            EntryBody::Arrived(_) => received = Some(entry.received()),
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
        id,
        received: received.unwrap_or_else(|| entry.received()),
        // Nothing is kept of what was taken back.
        media: if gone.is_none() { media(store, channel, id, &entry).await? } else { Vec::new() },
        entry,
        gone,
        annotated,
        decisions: decisions.into_iter().rev().flatten().collect(),
        actions: store.actions_about(channel, id).await?,
        tasks: store.tasks_about(channel, id).await?,
    }))
}

/// How the bytes of each attachment of this content stand, in their order; none where nobody asked for them.
pub async fn media(store: &dyn Store, channel: &ChannelName, id: InteractionId, entry: &Entry) -> Result<Vec<Option<MediaState>>, StoreError> {
    let attachments = entry.new.body.content().map(|content| content.attachments.as_slice()).unwrap_or_default();
    if attachments.is_empty() {
        return Ok(Vec::new());
    }
    let kept = store.media_about(channel, id).await?;
    let position = store.channel(channel).await?.positions.get(&Reader::Media).copied();
    let is_asked = entry.new.wants_media() && position.is_some_and(|position| position < entry.seq.0);
    let state = |(index, attachment): (u16, &crate::model::Attachment)| {
        let record = kept.iter().find(|record| record.index == index && record.of == attachment.digest());
        record.map(|record| MediaState::Settled(record.outcome.clone())).or(is_asked.then_some(MediaState::Pending))
    };
    Ok((0..).zip(attachments).map(state).collect())
}

/// The entry whose content was in force when entry `seq` was appended; `None` where there was none yet.
pub async fn content_as_of(store: &dyn Store, channel: &ChannelName, seq: Seq) -> Result<Option<Arc<Entry>>, StoreError> {
    newest_from(store, channel, seq, |entry| entry.new.body.content().is_some()).await
}

/// The newest entry about an interaction that is wanted; `None` where none is among the newest.
pub async fn newest_about(
    store: &dyn Store,
    channel: &ChannelName,
    id: InteractionId,
    is_wanted: impl Fn(&Entry) -> bool,
) -> Result<Option<Arc<Entry>>, StoreError> {
    match store.resolve(channel, &[id]).await?.into_iter().next() {
        Some(Resolved::Interaction(known)) => newest_from(store, channel, known.last, is_wanted).await,
        _ => Ok(None),
    }
}

/// The actions about what stands last in a conversation.
pub async fn actions_in(store: &dyn Store, channel: &ChannelName, conversation: &Conversation) -> Result<Vec<Action>, StoreError> {
    let mut actions = Vec::new();
    for (seq, ..) in conversation.recent.iter().filter(|(_, _, is_ours)| !is_ours) {
        let entry = entry_at(store, channel, Some(*seq)).await?;
        if let Some(about) = entry.and_then(|entry| entry.new.interaction) {
            actions.extend(store.actions_about(channel, about).await?);
        }
    }
    Ok(actions)
}

/// Says whether somebody of ours answered this by hand, on the network, since it was said.
pub async fn is_answered_by_hand(store: &dyn Store, channel: &ChannelName, known: &Known) -> Result<bool, StoreError> {
    let exchange = entry_at(store, channel, Some(known.latest)).await?.and_then(|entry| entry.new.exchange);
    let Some(conversation) = store.conversation(channel, known.conversation).await? else { return Ok(false) };
    for (seq, ..) in conversation.recent.iter().filter(|(seq, _, is_ours)| *is_ours && *seq > known.latest) {
        let Some(own) = entry_at(store, channel, Some(*seq)).await? else { continue };
        let is_of_exchange = own.new.exchange.is_some() && own.new.exchange == exchange;
        let is_by_hand = own.new.body.content().is_some_and(|content| matches!(content.ours, Ours::Yes(None)));
        if is_of_exchange && is_by_hand && !is_an_action_s(store, channel, &conversation, &own).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Says whether an entry of ours is what one of our actions became: an echo that came before the receipt stands in the log by itself.
pub async fn is_an_action_s(store: &dyn Store, channel: &ChannelName, thread: &Conversation, own: &Entry) -> Result<bool, StoreError> {
    let Some(content) = own.new.body.content() else { return Ok(false) };
    let actions = actions_in(store, channel, thread).await?;
    Ok(actions.iter().filter_map(|action| action.native.as_ref()).any(|native| content.native == *native || content.aka.contains(native)))
}

/// Says whether a rule decided last about an interaction without this analyzer's word, or may be about to: it is told, once that is there.
/// About what was taken back nothing is missed.
pub async fn is_missed(store: &dyn Store, channel: &ChannelName, id: InteractionId, analyzer: &str) -> Result<bool, StoreError> {
    // Read first: what is decided meanwhile is found below.
    let decided = store.channel(channel).await?.position(&Reader::Rules);
    let Some(Resolved::Interaction(known)) = store.resolve(channel, &[id]).await?.into_iter().next() else { return Ok(false) };
    if known.is_gone {
        return Ok(false);
    }
    if known.last.0 > decided {
        return Ok(true);
    }
    let (mut next, mut rules) = (Some(known.last), HashSet::new());
    for _ in 0..ENTRIES_MAX {
        let Some(entry) = entry_at(store, channel, next).await? else { break };
        next = entry.previous;
        if !entry.new.body.is_decided_anew() {
            continue;
        }
        for decision in store.decisions(channel, entry.seq, entry.seq).await? {
            if rules.insert(decision.rule) && decision.missing.iter().any(|name| name == analyzer) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Which of these interactions were taken back.
pub async fn gone(store: &dyn Store, channel: &ChannelName, ids: &[InteractionId]) -> Result<HashSet<InteractionId>, StoreError> {
    let resolved = store.resolve(channel, ids).await?;
    let is_gone = |resolved: &Resolved| matches!(resolved, Resolved::Interaction(known) if known.is_gone);
    Ok(ids.iter().zip(&resolved).filter(|(_, resolved)| is_gone(resolved)).map(|(id, _)| *id).collect())
}

/// From entry `seq` back over those about the same interaction.
async fn newest_from(
    store: &dyn Store,
    channel: &ChannelName,
    seq: Seq,
    is_wanted: impl Fn(&Entry) -> bool,
) -> Result<Option<Arc<Entry>>, StoreError> {
    let mut next = Some(seq);
    for _ in 0..ENTRIES_MAX {
        let Some(entry) = entry_at(store, channel, next).await? else { return Ok(None) };
        if is_wanted(&entry) {
            return Ok(Some(entry));
        }
        next = entry.previous;
    }
    Ok(None)
}

async fn entry_at(store: &dyn Store, channel: &ChannelName, seq: Option<Seq>) -> Result<Option<Arc<Entry>>, StoreError> {
    let Some(seq) = seq else { return Ok(None) };
    Ok(store.read_log(channel, seq, 1).await?.into_iter().next().filter(|entry| entry.seq == seq))
}
