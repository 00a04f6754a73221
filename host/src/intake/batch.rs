//! One batch of changes on its way into a channel's log: what is a repeat, what a revision, which thread it belongs to.
//!
//! The decisions are made against the store and against what the same batch already holds; nothing is written here.
//! Bounded by the page that the connector returned.

use std::collections::HashMap;

use crate::model::{
    ActionId, ActionState, ChannelName, ConversationId, EntryBody, ExchangeId, Fact, IdKey, IdentityId, Interaction, InteractionId, NativeId,
    NewEntry, OCCURRED_CLAMPED, Ours, RECEIVED_ATTR, Seq, Tally, Timestamp,
};
use crate::stage::Journal;
use crate::store::{Commit, Known, Link, Resolved, StoreError};

/// No network is older: what claims to be has no date. 1990-01-01T00:00:00Z.
const OCCURRED_MIN: Timestamp = Timestamp(631_152_000_000);
/// Waited longer in the raw log than this: it is said when it was received. Units: milliseconds.
const WAITED_MS: u64 = 1_000;
/// Where there are polls, what is known by so much later overtook it: longer than a webhook waits for one under way. Units: milliseconds.
const OVERTAKEN_MS: u64 = 300_000;
/// Ancestors without a sight of them that one interaction leaves a mark for; longer threads meet by nearer ones.
const UNSEEN_MARKS_MAX: usize = 16;

/// Collects a commit's entries.
pub(super) struct Batch<'a> {
    journal: &'a Journal,
    key: &'a IdKey,
    channel: &'a ChannelName,
    network: &'a str,
    /// What the ids stand for once this batch is committed.
    known: HashMap<InteractionId, Resolved>,
    /// Where revisions inside this batch find whom they concern.
    placed: HashMap<InteractionId, Placed>,
    /// Revisions that this batch holds, by their place among its entries.
    revised: HashMap<InteractionId, usize>,
    /// When what this batch holds last of an interaction was received.
    came: HashMap<InteractionId, Timestamp>,
    /// What is stored by so much later overtook what is taken in. Units: milliseconds.
    overtaken_ms: u64,
    /// What goes to the store.
    pub(super) commit: Commit,
    /// When the raw item was received that is being taken in; none for a poll's page.
    pub(super) received: Option<Timestamp>,
    /// It came by itself: a webhook, or a frame of a stream.
    pub(super) is_pushed: bool,
    /// What is counted of the channel, before this batch and with it.
    counted: (&'a Tally, Tally),
}

#[derive(Clone, Copy)]
struct Placed {
    identity: Option<IdentityId>,
    exchange: Option<ExchangeId>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(journal: &'a Journal, channel: &'a ChannelName, network: &'a str, tally: &'a Tally, is_polled: bool) -> Self {
        Self {
            journal,
            key: journal.store.id_key(),
            channel,
            network,
            known: HashMap::new(),
            placed: HashMap::new(),
            revised: HashMap::new(),
            came: HashMap::new(),
            // What did not wait does not say when it was received.
            overtaken_ms: if is_polled { OVERTAKEN_MS } else { WAITED_MS },
            commit: journal.begin(channel),
            received: None,
            is_pushed: false,
            counted: (tally, tally.clone()),
        }
    }

    /// What goes to the store.
    pub(super) fn finish(mut self) -> Commit {
        let (before, now) = self.counted;
        self.commit.tally = (*before != now).then_some(now);
        self.commit
    }

    /// Looks up every id that these interactions name, in one call.
    pub(super) async fn prepare(
        &mut self,
        interactions: impl Iterator<Item = &Interaction>,
        gone: impl Iterator<Item = &NativeId>,
    ) -> Result<(), StoreError> {
        let (key, channel) = (self.key, self.channel);
        let mut ids: Vec<InteractionId> = gone.map(|native| key.interaction(channel, native)).collect();
        for interaction in interactions {
            ids.extend(names_of(interaction).map(|native| key.interaction(channel, native)));
            if let Ours::Yes(Some(action)) = &interaction.ours {
                ids.extend(action.parse::<ActionId>().ok().map(|action| InteractionId(action.0)));
            }
        }
        ids.retain(|id| !self.known.contains_key(id));
        ids.sort_unstable();
        ids.dedup();
        let resolved = self.journal.store.resolve(channel, &ids).await?;
        self.known.extend(ids.into_iter().zip(resolved));
        Ok(())
    }

    /// Takes an interaction in: an arrival, a revision, an echo or a repeat.
    pub(super) async fn upsert(&mut self, mut interaction: Box<Interaction>, is_backfill: bool) -> Result<(), StoreError> {
        self.date(&mut interaction);
        if self.is_pushed {
            self.counted.1.push(&interaction);
        }
        let id = self.id(&interaction.native);
        if let Some(known) = self.stored(&interaction) {
            return self.revise(known, interaction).await;
        }
        if self.settle_by_echo(&interaction).await? {
            return Ok(());
        }
        if self.received.is_none() && !is_backfill {
            self.counted.1.poll(&interaction, self.commit.at);
        }
        let conversation = self.thread(id, &interaction).await?;
        let identity = interaction.author.as_ref().map(|author| self.key.identity(self.network, &author.native));
        let exchange = match interaction.is_ours() {
            true => self.answered_by(&interaction).await?,
            false => Some(self.key.exchange(conversation, identity)),
        };
        self.remember(id, &interaction, conversation, is_backfill);
        self.placed.insert(id, Placed { identity, exchange });
        self.append(Some(id), identity, Some(conversation), exchange, is_backfill, EntryBody::Arrived(interaction));
        Ok(())
    }

    /// No network's clock runs ahead of ours: a date of tomorrow would hide every edit until then. What has an impossible date is
    /// dated by when it was received, and says so. What waited in the raw log says when it was received.
    fn date(&self, interaction: &mut Interaction) {
        let now = self.received.unwrap_or(self.commit.at);
        // These are the host's own words.
        interaction.attrs.retain(|(name, _)| !name.starts_with("membrana."));
        if interaction.occurred > now || interaction.occurred < OCCURRED_MIN {
            interaction.occurred = now;
            interaction.attrs.push((OCCURRED_CLAMPED.to_owned(), "true".to_owned()));
        }
        if interaction.edited.is_some_and(|edited| edited > now) {
            interaction.edited = Some(now);
            interaction.attrs.push(("membrana.edited-clamped".to_owned(), "true".to_owned()));
        }
        if let Some(received) = self.waited() {
            interaction.attrs.push((RECEIVED_ATTR.to_owned(), received.0.to_string()));
        }
    }

    /// Takes a deletion in. One of something never seen, or gone already, is nothing.
    pub(super) async fn gone(&mut self, native: &NativeId) -> Result<(), StoreError> {
        let Some(Resolved::Interaction(known)) = self.known.get(&self.id(native)).cloned() else { return Ok(()) };
        if known.is_gone || self.is_overtaken(&known).await? {
            return Ok(());
        }
        let Placed { identity, exchange } = self.place_of(&known).await?;
        self.know(Known { is_gone: true, ..known.clone() });
        self.revised.remove(&known.id);
        self.append(Some(known.id), identity, Some(known.conversation), exchange, known.is_backfill, EntryBody::Gone);
        Ok(())
    }

    /// Takes in what is about no interaction.
    pub(super) fn other(&mut self, body: EntryBody, is_backfill: bool) {
        if let EntryBody::Note { kind, json } = &body {
            self.counted.1.note(kind, json, self.commit.at);
        }
        self.append(None, None, None, None, is_backfill, body);
    }

    fn append(
        &mut self,
        interaction: Option<InteractionId>,
        identity: Option<IdentityId>,
        conversation: Option<ConversationId>,
        exchange: Option<ExchangeId>,
        is_backfill: bool,
        body: EntryBody,
    ) {
        self.commit.entries.push(NewEntry { interaction, identity, conversation, exchange, is_backfill, body });
    }

    fn id(&self, native: &NativeId) -> InteractionId {
        self.key.interaction(self.channel, native)
    }

    fn resolved(&self, native: &NativeId) -> &Resolved {
        self.known.get(&self.id(native)).unwrap_or(&Resolved::Unknown)
    }

    /// The same thing under any of its names.
    fn stored(&self, interaction: &Interaction) -> Option<Known> {
        std::iter::once(&interaction.native).chain(&interaction.aka).find_map(|native| match self.resolved(native) {
            Resolved::Interaction(known) => Some(known.clone()),
            _ => None,
        })
    }

    /// A revision, unless nothing that both dresses have differs, or it is older than what is stored, or our own. Where polls alone bring it
    /// there is one dress, and what a later edit does not have was taken out.
    async fn revise(&mut self, known: Known, mut interaction: Box<Interaction>) -> Result<(), StoreError> {
        self.rename_known(&known, &interaction);
        let is_later = interaction.edited > known.edited;
        // What is pushed may be pushed again, after the edit that overtook it: without a date it is taken for what it was at first.
        let is_older = interaction.edited < known.edited && (interaction.edited.is_some() || self.is_pushed);
        let is_whole = is_later && !self.counted.1.has_pushed(&interaction.kind);
        let is_same = self.is_same(&known, &interaction, is_whole).await?;
        let is_repeat = is_same && !known.is_gone;
        if is_repeat || is_older || (known.is_gone && !is_later) || interaction.is_ours() {
            return Ok(());
        }
        // A poll tells of the present. What is pushed may come late, or again: a deletion is ended by what was changed after it.
        let is_outdated = known.is_gone && self.is_pushed && interaction.edited <= self.came_at(&known).await?;
        if is_outdated || (!is_later || known.is_gone) && self.is_overtaken(&known).await? {
            return Ok(());
        }
        if self.counted.1.has_pushed(&interaction.kind) {
            self.fill(&known, &mut interaction).await?;
        }
        let Placed { identity, exchange } = self.place_of(&known).await?;
        let fingerprint = interaction.fingerprint();
        self.know(Known { fingerprint, edited: interaction.edited.max(known.edited), is_gone: false, ..known.clone() });
        let body = EntryBody::Edited(interaction);
        // Edited on and on, it costs one entry a commit: what nobody saw before it was overtaken concerns nobody.
        if let Some(overtaken) = self.revised.get(&known.id).and_then(|at| self.commit.entries.get_mut(*at)) {
            overtaken.body = body;
        } else {
            self.revised.insert(known.id, self.commit.entries.len());
            self.append(Some(known.id), identity, Some(known.conversation), exchange, known.is_backfill, body);
        }
        Ok(())
    }

    /// Says whether it is the same thing once more. Networks name files anew each time: with no later edit, as many files are the same
    /// ones, and in private, where webhook and poll count them differently, any are. Files that a poll alone knows of are news.
    async fn is_same(&self, known: &Known, interaction: &Interaction, is_whole: bool) -> Result<bool, StoreError> {
        let (stored, told) = (known.fingerprint, interaction.fingerprint());
        if is_whole {
            return Ok(told == stored);
        }
        if !told.without_attachments().is_repeat_of(stored) {
            return Ok(false);
        }
        if !told.has_attachments() || interaction.kind == "direct" && interaction.edited.is_none() {
            return Ok(true);
        }
        if !stored.has_attachments() {
            return Ok(self.is_pushed);
        }
        if told.is_repeat_of(stored) || interaction.edited > known.edited {
            return Ok(told.is_repeat_of(stored));
        }
        Ok(self.content_of(known).await?.is_none_or(|content| content.attachments.len() == interaction.attachments.len()))
    }

    /// A webhook may leave out what a poll told, and a poll what a webhook did: what an edit does not say anew stays.
    async fn fill(&self, known: &Known, interaction: &mut Interaction) -> Result<(), StoreError> {
        let lacks = interaction.attachments.is_empty() || interaction.url.is_none() || interaction.subject.is_none();
        let Some(before) = (if lacks { self.content_of(known).await? } else { None }) else { return Ok(()) };
        if interaction.attachments.is_empty() {
            interaction.attachments.clone_from(&before.attachments);
        }
        interaction.url = interaction.url.take().or_else(|| before.url.clone());
        interaction.subject = interaction.subject.take().or_else(|| before.subject.clone());
        Ok(())
    }

    /// The content in force, in this batch or before it.
    async fn content_of(&self, known: &Known) -> Result<Option<Box<Interaction>>, StoreError> {
        let mut held = self.commit.entries.iter().rev().filter(|entry| entry.interaction == Some(known.id));
        if let Some(content) = held.find_map(|entry| entry.body.content()) {
            return Ok(Some(Box::new(content.clone())));
        }
        let entries = self.journal.store.read_log(self.channel, known.latest, 1).await?;
        Ok(entries.first().and_then(|latest| latest.new.body.content()).map(|content| Box::new(content.clone())))
    }

    /// Says whether what is known came after what is taken in: that was set aside, and is put back on its way.
    async fn is_overtaken(&self, known: &Known) -> Result<bool, StoreError> {
        let Some(received) = self.waited() else { return Ok(false) };
        let after_ms = if self.came.contains_key(&known.id) { 1 } else { self.overtaken_ms };
        Ok(self.came_at(known).await?.is_some_and(|came| came.since_ms(received) >= after_ms))
    }

    /// When what is known was received: in this batch, or before.
    async fn came_at(&self, known: &Known) -> Result<Option<Timestamp>, StoreError> {
        if let Some(came) = self.came.get(&known.id) {
            return Ok(Some(*came));
        }
        let entries = self.journal.store.read_log(self.channel, known.latest, 1).await?;
        Ok(entries.first().map(|latest| latest.received()))
    }

    /// When what is taken in was received, where that is some time ago.
    fn waited(&self) -> Option<Timestamp> {
        self.received.filter(|received| self.commit.at.since_ms(*received) >= WAITED_MS)
    }

    /// A repeat or a revision may bring names that were not known: they stand for the same thing from now on.
    fn rename_known(&mut self, known: &Known, interaction: &Interaction) {
        for native in std::iter::once(&interaction.native).chain(&interaction.aka) {
            let name = self.id(native);
            match self.known.get(&name) {
                Some(Resolved::Interaction(_) | Resolved::Action(..)) => continue,
                Some(Resolved::Ancestor(conversation)) if *conversation != known.conversation => {
                    let other = *conversation;
                    self.join(other, known.conversation);
                }
                _ => {}
            }
            self.commit.links.push((name, Link::Interaction(known.id)));
            self.known.insert(name, Resolved::Interaction(known.clone()));
        }
    }

    /// Whom an interaction concerns that is stored, or stands earlier in this batch.
    async fn place_of(&self, known: &Known) -> Result<Placed, StoreError> {
        if let Some(placed) = self.placed.get(&known.id) {
            return Ok(*placed);
        }
        let entries = self.journal.store.read_log(self.channel, known.latest, 1).await?;
        let entry = entries.first().map(|entry| &entry.new);
        Ok(Placed { identity: entry.and_then(|e| e.identity), exchange: entry.and_then(|e| e.exchange) })
    }

    /// Which exchange our own words go on: that of what they answer.
    async fn answered_by(&self, own: &Interaction) -> Result<Option<ExchangeId>, StoreError> {
        match own.parent.as_ref().map(|parent| self.resolved(parent)) {
            Some(Resolved::Interaction(known)) => Ok(self.place_of(known).await?.exchange),
            Some(Resolved::Action(_, id)) => Ok(self.journal.store.action(self.channel, *id).await?.map(|action| action.exchange)),
            _ => Ok(None),
        }
    }

    /// An own entry that names its action's key, or the native id of a receipt, settles that action and is no news. What stands under a
    /// receipt's id is our own word, whoever the connector takes for its author: else a rule would answer itself.
    async fn settle_by_echo(&mut self, interaction: &Interaction) -> Result<bool, StoreError> {
        let by_key = match &interaction.ours {
            Ours::Yes(Some(key)) => key.parse::<ActionId>().ok().filter(|id| self.known.contains_key(&InteractionId(id.0))),
            _ => None,
        };
        let names = std::iter::once(&interaction.native).chain(interaction.aka.iter().filter(|_| interaction.is_ours()));
        let by_receipt = names.into_iter().find_map(|native| match self.resolved(native) {
            Resolved::Action(_, action) => Some(*action),
            _ => None,
        });
        let Some(id) = by_receipt.or(by_key) else { return Ok(false) };
        let Some(mut action) = self.journal.store.action(self.channel, id).await? else { return Ok(false) };
        if action.state.is_under_way() && !self.commit.actions.iter().any(|a| a.id == id) {
            action.state = ActionState::Sent;
            action.native = Some(interaction.native.clone());
            action.error = None;
            action.revision += 1;
            let fact = Fact::ActionSettled { action: id, state: ActionState::Sent, native: action.native.clone() };
            self.append(Some(action.interaction), action.identity, Some(action.conversation), Some(action.exchange), false, EntryBody::Fact(fact));
            self.commit.replied.push((action.exchange, action.is_automatic));
            for native in std::iter::once(&interaction.native).chain(&interaction.aka) {
                let name = self.id(native);
                self.commit.links.push((name, Link::Action(action.interaction, id)));
                // What follows in this batch may answer it.
                self.known.insert(name, Resolved::Action(action.interaction, id));
            }
            self.commit.actions.push(action);
        }
        Ok(true)
    }

    /// Which conversation an arrival belongs to: that of any ancestor, seen or not (JWZ), else one of its own root.
    /// Subjects never join.
    async fn thread(&mut self, id: InteractionId, interaction: &Interaction) -> Result<ConversationId, StoreError> {
        let ancestors: Vec<InteractionId> = ancestors_of(interaction).map(|native| self.id(native)).filter(|a| *a != id).collect();
        let mut found: Vec<ConversationId> = Vec::new();
        // Others may have named it as their ancestor by any of its names.
        let own: Vec<InteractionId> = std::iter::once(id).chain(interaction.aka.iter().map(|native| self.id(native))).collect();
        for name in own.into_iter().chain(ancestors.iter().copied()) {
            let conversation = match self.known.get(&name) {
                Some(Resolved::Interaction(known)) => Some(known.conversation),
                Some(Resolved::Ancestor(conversation)) => Some(*conversation),
                Some(Resolved::Action(about, _)) => self.conversation_of(*about).await?,
                _ => None,
            };
            found.extend(conversation.filter(|c| !found.contains(c)));
        }
        let conversation = found.first().copied().unwrap_or_else(|| {
            let root = interaction.conversation.as_ref().map(|native| self.id(native));
            self.key.conversation(root.or(ancestors.last().copied()).unwrap_or(id))
        });
        for other in found.into_iter().skip(1) {
            self.join(other, conversation);
        }
        let is_unseen = |a: &InteractionId| matches!(self.known.get(a), None | Some(Resolved::Unknown));
        let mut unseen: Vec<InteractionId> = ancestors.into_iter().filter(is_unseen).collect();
        if unseen.len() > UNSEEN_MARKS_MAX {
            // The nearest, and the last: the root.
            unseen.drain(UNSEEN_MARKS_MAX - 1..unseen.len() - 1);
        }
        for ancestor in unseen {
            self.commit.links.push((ancestor, Link::Ancestor(conversation)));
            self.known.insert(ancestor, Resolved::Ancestor(conversation));
        }
        Ok(conversation)
    }

    async fn conversation_of(&self, interaction: InteractionId) -> Result<Option<ConversationId>, StoreError> {
        let resolved = self.journal.store.resolve(self.channel, &[interaction]).await?;
        Ok(resolved.into_iter().find_map(|resolved| match resolved {
            Resolved::Interaction(known) => Some(known.conversation),
            _ => None,
        }))
    }

    /// Two conversations turned out to be one.
    fn join(&mut self, from: ConversationId, into: ConversationId) {
        self.commit.merges.push((from, into));
        for resolved in self.known.values_mut() {
            match resolved {
                Resolved::Interaction(known) if known.conversation == from => known.conversation = into,
                Resolved::Ancestor(conversation) if *conversation == from => *conversation = into,
                _ => {}
            }
        }
    }

    fn remember(&mut self, id: InteractionId, interaction: &Interaction, conversation: ConversationId, is_backfill: bool) {
        for native in &interaction.aka {
            let other = self.id(native);
            if other != id {
                self.commit.links.push((other, Link::Interaction(id)));
            }
        }
        let known = Known {
            id,
            latest: Seq(0),
            last: Seq(0),
            fingerprint: interaction.fingerprint(),
            edited: interaction.edited,
            is_gone: false,
            is_backfill,
            conversation,
        };
        for native in std::iter::once(&interaction.native).chain(&interaction.aka) {
            self.known.insert(self.id(native), Resolved::Interaction(known.clone()));
        }
        self.came.insert(id, self.received.unwrap_or(self.commit.at));
    }

    fn know(&mut self, known: Known) {
        self.came.insert(known.id, self.received.unwrap_or(self.commit.at));
        for resolved in self.known.values_mut() {
            if matches!(resolved, Resolved::Interaction(other) if other.id == known.id) {
                *resolved = Resolved::Interaction(known.clone());
            }
        }
    }
}

/// Every native id that an interaction mentions.
fn names_of(interaction: &Interaction) -> impl Iterator<Item = &NativeId> {
    std::iter::once(&interaction.native).chain(&interaction.aka).chain(ancestors_of(interaction))
}

/// Nearest first, the root last.
fn ancestors_of(interaction: &Interaction) -> impl Iterator<Item = &NativeId> {
    interaction.parent.iter().chain(&interaction.refs).chain(&interaction.conversation)
}
