//! Keys of the tree: one byte for the kind, four for the channel, then fixed-width ids. No outside bytes.

use crate::model::{ActionId, ConversationId, DeadId, ExchangeId, InteractionId, LineupId, Seq, TaskId, Timer, TimerKind, Timestamp};

/// What a key is about.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Kind {
    Meta = b'M',
    Name = b'N',
    Head = b'H',
    Record = b'C',
    Cursor = b'c',
    Tally = b'Y',
    Log = b'L',
    Results = b'A',
    Lineup = b'U',
    Decisions = b'D',
    Id = b'I',
    Conversation = b'V',
    Exchange = b'X',
    Action = b'O',
    ActionById = b'o',
    ActionDue = b'Q',
    Busy = b'B',
    Task = b'T',
    TaskById = b't',
    Timer = b'W',
    Retry = b'S',
    RetryDue = b's',
    Media = b'F',
    Dead = b'E',
    Raw = b'R',
    Once = b'K',
    OnceUntil = b'k',
    State = b'P',
}

/// Of what a channel's head counts: all but its name and the head itself, as they lie in the tree.
pub(super) const COUNTED: [Kind; 25] = [
    Kind::Results,
    Kind::Busy,
    Kind::Record,
    Kind::Decisions,
    Kind::Dead,
    Kind::Media,
    Kind::Id,
    Kind::Once,
    Kind::Log,
    Kind::Action,
    Kind::State,
    Kind::ActionDue,
    Kind::Raw,
    Kind::Retry,
    Kind::Task,
    Kind::Lineup,
    Kind::Conversation,
    Kind::Timer,
    Kind::Exchange,
    Kind::Tally,
    Kind::Cursor,
    Kind::OnceUntil,
    Kind::ActionById,
    Kind::RetryDue,
    Kind::TaskById,
];

/// Says whether a record under this key is never replaced, so that who writes one need not look for another.
pub(super) fn is_written_once(key: &[u8]) -> bool {
    const ONCE: [u8; 4] = [Kind::Log as u8, Kind::Results as u8, Kind::Decisions as u8, Kind::Raw as u8];
    key.first().is_some_and(|kind| ONCE.contains(kind))
}

pub(super) type Key = Vec<u8>;

fn key(kind: Kind, channel: u32, parts: &[&[u8]]) -> Key {
    let mut key = Vec::with_capacity(48);
    key.push(kind as u8);
    key.extend_from_slice(&channel.to_be_bytes());
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

pub(super) fn all(kind: Kind, channel: u32) -> Key {
    key(kind, channel, &[])
}

/// Everything of this kind lies before this key.
pub(super) fn end(kind: Kind) -> Key {
    vec![kind as u8 + 1]
}

pub(super) fn meta(name: &'static str) -> Key {
    let mut key = vec![Kind::Meta as u8];
    key.extend_from_slice(name.as_bytes());
    key
}

pub(super) fn log(channel: u32, seq: Seq) -> Key {
    key(Kind::Log, channel, &[&seq.0.to_be_bytes()])
}

/// A run over entries from `first` on; of results or of decisions. Its last byte says how many entries after the first it
/// reaches, so that who looks for one entry reads no run that cannot hold it.
pub(super) fn run(kind: Kind, channel: u32, first: Seq, last: Seq, run: u64) -> Key {
    let span = last.0.saturating_sub(first.0).min(0xff);
    key(kind, channel, &[&first.0.to_be_bytes(), &(run << 8 | span).to_be_bytes()])
}

/// No run over entries from `first` on lies before this key.
pub(super) fn runs_from(kind: Kind, channel: u32, first: Seq) -> Key {
    key(kind, channel, &[&first.0.to_be_bytes()])
}

/// Says whether a run may hold something of `from..=to`.
pub(super) fn is_run_over(key: &[u8], from: Seq, to: Seq) -> bool {
    let (Some(first), Some(run)) = (first_u64(key), second_u64(key)) else { return false };
    first <= to.0 && first.saturating_add(run & 0xff) >= from.0
}

pub(super) fn lineup(channel: u32, id: LineupId) -> Key {
    key(Kind::Lineup, channel, &[&id.0])
}

pub(super) fn id(channel: u32, id: InteractionId) -> Key {
    key(Kind::Id, channel, &[&id.0])
}

pub(super) fn conversation(channel: u32, id: ConversationId) -> Key {
    key(Kind::Conversation, channel, &[&id.0])
}

pub(super) fn exchange(channel: u32, id: ExchangeId) -> Key {
    key(Kind::Exchange, channel, &[&id.0])
}

pub(super) fn action(channel: u32, about: InteractionId, id: ActionId) -> Key {
    key(Kind::Action, channel, &[&about.0, &id.0])
}

pub(super) fn actions_about(channel: u32, about: InteractionId) -> Key {
    key(Kind::Action, channel, &[&about.0])
}

pub(super) fn action_by_id(channel: u32, id: ActionId) -> Key {
    key(Kind::ActionById, channel, &[&id.0])
}

pub(super) fn action_due(channel: u32, due: Timestamp, id: ActionId) -> Key {
    key(Kind::ActionDue, channel, &[&due.0.to_be_bytes(), &id.0])
}

pub(super) fn busy(channel: u32, exchange: ExchangeId, id: ActionId) -> Key {
    key(Kind::Busy, channel, &[&exchange.0, &id.0])
}

pub(super) fn busy_in(channel: u32, exchange: ExchangeId) -> Key {
    key(Kind::Busy, channel, &[&exchange.0])
}

pub(super) fn task(channel: u32, about: InteractionId, id: TaskId) -> Key {
    key(Kind::Task, channel, &[&about.0, &id.0])
}

pub(super) fn tasks_about(channel: u32, about: InteractionId) -> Key {
    key(Kind::Task, channel, &[&about.0])
}

pub(super) fn task_by_id(channel: u32, id: TaskId) -> Key {
    key(Kind::TaskById, channel, &[&id.0])
}

pub(super) fn timer(channel: u32, timer: &Timer) -> Key {
    let (kind, step) = match timer.kind {
        TimerKind::Escalate(step) => (0u8, step),
        TimerKind::Deadline => (1, 0),
    };
    key(Kind::Timer, channel, &[&timer.due.0.to_be_bytes(), &timer.task.0, &[kind], &step.to_be_bytes()])
}

/// Everything of this kind that is due up to and with `now` lies before this key.
pub(super) fn after(kind: Kind, channel: u32, prefix: &[u8], now: Timestamp) -> Key {
    key(kind, channel, &[prefix, &now.0.saturating_add(1).to_be_bytes()])
}

pub(super) fn retry(channel: u32, sink: [u8; 16], id: [u8; 16]) -> Key {
    key(Kind::Retry, channel, &[&sink, &id])
}

pub(super) fn retry_due(channel: u32, sink: [u8; 16], due: Timestamp, id: [u8; 16]) -> Key {
    key(Kind::RetryDue, channel, &[&sink, &due.0.to_be_bytes(), &id])
}

pub(super) fn media(channel: u32, about: InteractionId, index: u16) -> Key {
    key(Kind::Media, channel, &[&about.0, &index.to_be_bytes()])
}

pub(super) fn media_about(channel: u32, about: InteractionId) -> Key {
    key(Kind::Media, channel, &[&about.0])
}

pub(super) fn dead(channel: u32, id: DeadId) -> Key {
    key(Kind::Dead, channel, &[&id.0])
}

pub(super) fn raw(channel: u32, seq: u64) -> Key {
    key(Kind::Raw, channel, &[&seq.to_be_bytes()])
}

pub(super) fn once(channel: u32, id: [u8; 16]) -> Key {
    key(Kind::Once, channel, &[&id])
}

pub(super) fn once_until(channel: u32, until: u64, id: [u8; 16]) -> Key {
    key(Kind::OnceUntil, channel, &[&until.to_be_bytes(), &id])
}

pub(super) fn state(channel: u32, name: [u8; 16]) -> Key {
    key(Kind::State, channel, &[&name])
}

/// What a key is about, for an admin.
pub(super) fn words(key: &[u8]) -> String {
    let what = match key.first().copied().unwrap_or_default() {
        b'M' => return "the store's own record".to_owned(),
        b'N' => "the name",
        b'H' => "the head",
        b'C' => "the record",
        b'c' => "the cursor",
        b'Y' => "the counts",
        b'L' => "the log",
        b'A' => "the annotations",
        b'U' => "a lineup",
        b'D' => "the decisions",
        b'I' => "an interaction's record",
        b'V' => "a conversation",
        b'X' => "an exchange",
        b'O' | b'o' | b'Q' | b'B' => "an action",
        b'T' | b't' => "a task",
        b'W' => "a timer",
        b'S' | b's' => "an event to be tried again",
        b'F' => "an attachment",
        b'E' => "a dead letter",
        b'R' => "the raw log",
        b'K' | b'k' => "a delivery's id",
        b'P' => "the plugin's state",
        _ => "a record of unknown kind",
    };
    let channel = channel_of(key).unwrap_or_default();
    let place = match key.first() {
        Some(b'L' | b'A' | b'D' | b'R') => first_u64(key).map(|seq| format!(" from place {seq} on")).unwrap_or_default(),
        _ => String::new(),
    };
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{what} of channel number {channel}{place} (record {hex})")
}

/// The last 16 bytes of a key as an id.
pub(super) fn last_id(key: &[u8]) -> Option<[u8; 16]> {
    key.len().checked_sub(16).and_then(|from| key.get(from..)).and_then(|bytes| bytes.try_into().ok())
}

/// Whose it is.
pub(super) fn channel_of(key: &[u8]) -> Option<u32> {
    key.get(1..5).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes)
}

/// The eight bytes after kind and channel.
pub(super) fn first_u64(key: &[u8]) -> Option<u64> {
    key.get(5..13).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes)
}

/// The eight bytes after those.
pub(super) fn second_u64(key: &[u8]) -> Option<u64> {
    key.get(13..21).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_rises_as_it_lies_in_the_tree() {
        assert!(COUNTED.map(|kind| kind as u8).is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_run_is_read_only_for_entries_that_it_may_hold() {
        let key = run(Kind::Results, 1, Seq(100), Seq(120), 7);

        for (from, to, is_over) in [(90, 99, false), (90, 100, true), (110, 110, true), (120, 200, true), (121, 200, false)] {
            assert_eq!(is_run_over(&key, Seq(from), Seq(to)), is_over, "{from} to {to}");
        }
        assert!(key < run(Kind::Results, 1, Seq(100), Seq(100), 8), "a later run lies behind, however far it reaches");
    }
}
