//! One page of new mails from all mailboxes. Sizes come before bodies; what is over the limit, or refused by the server,
//! is kept by its head and never stands in the way of the rest.

mod cursor;
#[cfg(test)]
mod tests;

use membrana_sdk::connector::{Change, Page};
use membrana_sdk::{NativeId, Result, clock};

use crate::imap::{Fetched, Imap, Selected, Weight};
use crate::settings::Settings;
use cursor::{CatchUp, Cursor, Place, last_uid, since_date};

/// How many UIDs the first search of a poll spans; four times as many after each empty one, for UIDs have holes.
const WINDOW: u32 = 5_000;
const WINDOW_MAX: u32 = 1_000_000;
const WINDOWS_MAX: u32 = 64;
/// Sizes asked for in one command.
const WEIGHTS_MAX: usize = 200;
const HEAD_BYTES: u32 = 64 << 10;
/// No further mail is begun with less time than this.
const TIME_LEFT_MS: u64 = 8_000;

/// New mails behind the cursor, unparsed.
pub(crate) fn poll(settings: &Settings, cursor: Option<&str>, max_items: u32, max_bytes: u32) -> Result<Page> {
    let mut cursor = Cursor::parse(cursor)?;
    cursor.boxes.retain(|name, _| settings.mailboxes.contains(name));
    let mut reader = Reader {
        imap: Imap::open(settings)?,
        settings,
        changes: Vec::new(),
        bytes: 0,
        max_items: max_items.max(1) as usize,
        bytes_max: max_bytes,
        backfill: None,
        more: false,
        broken: false,
    };
    let first = cursor.turn as usize % settings.mailboxes.len().max(1);
    for name in settings.mailboxes.iter().cycle().skip(first).take(settings.mailboxes.len()) {
        if reader.is_over() {
            reader.more = true;
            break;
        }
        let place = reader.read(name, cursor.boxes.get(name).cloned())?;
        cursor.boxes.insert(name.clone(), place);
    }
    if reader.more {
        cursor.turn = cursor.turn.wrapping_add(1);
    }
    let Reader { imap, changes, backfill, more, broken, .. } = reader;
    if !broken {
        imap.logout();
    }
    Ok(Page { changes, cursor: cursor.text()?, more, backfill: backfill.unwrap_or(false), next_poll_ms: None })
}

struct Reader<'a> {
    imap: Imap,
    settings: &'a Settings,
    changes: Vec<Change>,
    bytes: u64,
    max_items: usize,
    bytes_max: u32,
    /// Of the page, from its first change on: history and news never share one.
    backfill: Option<bool>,
    more: bool,
    /// The connection is of no further use.
    broken: bool,
}

/// What a mailbox's turn came to.
#[derive(PartialEq)]
enum Step {
    GoOn,
    PageIsFull,
}

impl Reader<'_> {
    fn is_over(&self) -> bool {
        self.broken || self.changes.len() >= self.max_items || self.bytes >= self.bytes_max.into() || clock::remaining_ms() < TIME_LEFT_MS
    }

    fn read(&mut self, mailbox: &str, known: Option<Place>) -> Result<Place> {
        let selected = self.imap.examine(mailbox)?;
        let now = clock::now();
        let mut place = Place::find(known, &selected, self.settings, now);
        let scope = format!("{mailbox};{}", selected.uid_validity);
        let mut step = Step::GoOn;
        if let Some(stretch) = place.catch_up {
            step = self.stretch(&mut place, &scope, stretch.to, Some(stretch))?;
            if step == Step::GoOn {
                place.catch_up = None;
            }
        }
        if step == Step::GoOn && !place.is_at_end_of(&selected) {
            step = self.stretch(&mut place, &scope, last_uid(&selected), None)?;
        }
        match step {
            Step::GoOn => self.end(&mut place, &selected, now),
            Step::PageIsFull => self.more = true,
        }
        Ok(place)
    }

    fn end(&self, place: &mut Place, selected: &Selected, now: u64) {
        place.uid = place.uid.max(last_uid(selected));
        place.drained(selected, now);
    }

    /// Hands over the mails behind `place.uid` up to `to`, moving `place.uid` with them.
    fn stretch(&mut self, place: &mut Place, scope: &str, to: u32, catch_up: Option<CatchUp>) -> Result<Step> {
        let backfill = catch_up.is_some_and(|stretch| stretch.backfill);
        let since = catch_up.map(|stretch| format!(" SINCE {}", since_date(stretch.since))).unwrap_or_default();
        let mut width = WINDOW;
        for _ in 0..WINDOWS_MAX {
            if place.uid >= to {
                return Ok(Step::GoOn);
            }
            if self.is_over() {
                return Ok(Step::PageIsFull);
            }
            let from = place.uid.saturating_add(1);
            let end = place.uid.saturating_add(width).min(to);
            let mut uids = self.imap.search(&format!("UID {from}:{end}{since}"))?;
            uids.retain(|uid| (from..=end).contains(uid));
            if uids.is_empty() {
                width = width.saturating_mul(4).min(WINDOW_MAX);
            } else if self.backfill.unwrap_or(backfill) != backfill {
                return Ok(Step::PageIsFull);
            } else {
                self.backfill = Some(backfill);
                if self.hand_over(place, scope, &uids)? == Step::PageIsFull {
                    return Ok(Step::PageIsFull);
                }
            }
            place.uid = end;
        }
        Ok(Step::PageIsFull)
    }

    fn hand_over(&mut self, place: &mut Place, scope: &str, uids: &[u32]) -> Result<Step> {
        for chunk in uids.chunks(WEIGHTS_MAX.min(self.max_items)) {
            let set = chunk.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            let weights = self.imap.weights(&set)?;
            for &uid in chunk {
                let weight = weights.iter().find(|weight| weight.uid == uid);
                let too_much = weight.is_some_and(|w| !self.changes.is_empty() && self.bytes.saturating_add(w.bytes) > self.bytes_max.into());
                if self.is_over() || too_much {
                    return Ok(Step::PageIsFull);
                }
                if let Some(weight) = weight {
                    self.take(scope, *weight)?;
                }
                place.uid = uid;
            }
        }
        Ok(Step::GoOn)
    }

    fn take(&mut self, scope: &str, weight: Weight) -> Result<()> {
        let native = NativeId { scope: scope.to_owned(), id: weight.uid.to_string() };
        // The first mail of a page may be larger than the page, or it could never be handed over.
        let limit = self.settings.message_bytes_max;
        if weight.bytes > limit.into() {
            let reason = format!("a mail of {} bytes is over the limit of {limit}", weight.bytes);
            let head = self.imap.mail(weight.uid, Some(HEAD_BYTES), HEAD_BYTES)?;
            self.keep_head(native, reason, head);
            return Ok(());
        }
        // What the server announces and what it sends differ by line ends on some.
        match self.imap.mail(weight.uid, None, limit.saturating_add(limit / 8))? {
            Fetched::Bytes(bytes) => {
                self.bytes += bytes.len() as u64;
                self.changes.push(Change::Raw((native, bytes)));
            }
            Fetched::Gone => {}
            Fetched::Refused => self.keep_head(native, "the server refuses to hand this mail over".to_owned(), Fetched::Gone),
            Fetched::Overlong => self.keep_head(native, "the mail is longer than the server had announced".to_owned(), Fetched::Overlong),
        }
        Ok(())
    }

    fn keep_head(&mut self, native: NativeId, reason: String, head: Fetched) {
        self.broken |= head == Fetched::Overlong;
        let head = match head {
            Fetched::Bytes(bytes) => bytes,
            _ => Vec::new(),
        };
        self.bytes += head.len() as u64;
        self.changes.push(Change::Unreadable((native, reason, head)));
    }
}
