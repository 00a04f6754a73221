//! What every store does alike with records that follow from others.

use std::collections::BTreeMap;

use crate::model::{
    Annotated, Annotation, Digest, EntryBody, Fingerprint, Interaction, InteractionId, Lineup, LineupId, NewEntry, Results, Seq, Timestamp,
};

use super::{Conversation, Exchange, Known};

/// Members of a conversation that its record names.
pub(super) const RECENT_KEPT: usize = 16;
/// Automatic replies that an exchange remembers.
pub(super) const AUTOMATIC_REPLIES_KEPT: usize = 8;

impl Known {
    /// Of an arrival.
    pub(super) fn first(id: InteractionId, seq: Seq, content: &Interaction, new: &NewEntry) -> Self {
        Self {
            id,
            latest: seq,
            last: seq,
            fingerprint: content.fingerprint(),
            edited: content.edited,
            is_gone: false,
            is_backfill: new.is_backfill,
            conversation: new.conversation.unwrap_or(crate::model::ConversationId(id.0)),
        }
    }

    /// After one more entry about it.
    pub(super) fn follow(&mut self, seq: Seq, body: &EntryBody) {
        self.last = seq;
        match body {
            EntryBody::Edited(content) => {
                self.latest = seq;
                self.fingerprint = over(self.fingerprint, content.fingerprint());
                self.edited = content.edited.max(self.edited);
                self.is_gone = false;
            }
            EntryBody::Gone => {
                self.latest = seq;
                self.is_gone = true;
            }
            _ => {}
        }
    }
}

/// A part that the revision lacks keeps its earlier value.
fn over(old: Fingerprint, new: Fingerprint) -> Fingerprint {
    let mut parts = old.0;
    for (part, new) in parts.iter_mut().zip(new.0) {
        if new != 0 {
            *part = new;
        }
    }
    Fingerprint(parts)
}

impl Conversation {
    pub(super) fn trim(&mut self) {
        self.recent.sort_by_key(|(seq, _, _)| *seq);
        let n_over = self.recent.len().saturating_sub(RECENT_KEPT);
        self.recent.drain(..n_over);
    }
}

impl Exchange {
    pub(super) fn reply(&mut self, at: Timestamp, is_automatic: bool) {
        self.version += 1;
        if is_automatic {
            self.automatic_replies.push(at);
            let n_over = self.automatic_replies.len().saturating_sub(AUTOMATIC_REPLIES_KEPT);
            self.automatic_replies.drain(..n_over);
        }
    }
}

/// One analyzer's say on one item: its place in the lineup, its build, the lineup, and the words of the highest run that answered.
type Say = (u8, Digest, LineupId, Option<Vec<Annotation>>);

/// What is in force of each entry in `from..=to`, from runs in rising order.
pub(super) fn in_force<'a>(runs: impl Iterator<Item = (Option<&'a Lineup>, &'a Results)>, from: Seq, to: Seq) -> Vec<(Seq, Annotated)> {
    let mut all: BTreeMap<Seq, BTreeMap<&str, Say>> = BTreeMap::new();
    for (lineup, run) in runs {
        let Some(lineup) = lineup else { continue };
        for of in run.of.iter().filter(|of| (from..=to).contains(&of.seq)) {
            let says = all.entry(of.seq).or_default();
            for (index, said) in &of.said {
                let Some(member) = lineup.members.get(usize::from(*index)) else { continue };
                let has_answer = says.get(member.name.as_str()).is_some_and(|(.., said)| said.is_some());
                if said.is_some() || !has_answer {
                    says.insert(&member.name, (*index, member.digest, lineup.id, said.clone()));
                }
            }
        }
    }
    all.into_iter().map(|(seq, says)| (seq, annotated(says))).collect()
}

fn annotated(says: BTreeMap<&str, Say>) -> Annotated {
    let mut says: Vec<(&str, Say)> = says.into_iter().collect();
    says.sort_by_key(|(_, (index, ..))| *index);
    let mut all = Annotated::default();
    for (name, (_, digest, lineup, said)) in says {
        if !all.lineups.contains(&lineup) {
            all.lineups.push(lineup);
        }
        match said {
            Some(said) => all.annotations.extend(said.into_iter().map(|one| (name.to_owned(), digest, one))),
            None => all.missing.push(name.to_owned()),
        }
    }
    all
}
