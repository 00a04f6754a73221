//! One page of new mails from all mailboxes. Sizes come before bodies; of what is over the limit only the beginning is
//! read. A mail at which the server hangs up, or takes too long, is asked for again a few times, then by less and less of
//! it, and never stands in the way of the rest; nor does a mailbox that cannot be opened.

mod cursor;
#[cfg(test)]
mod tests;

use membrana_sdk::connector::{Change, Page};
use membrana_sdk::{Fault, NativeId, Result, clock, log};

use crate::imap::{Fetched, Imap, Part, Selected, Weight};
use crate::settings::Settings;
use crate::truncated::Truncated;
use cursor::{CatchUp, Cursor, Place, last_uid, since_date};

/// How many UIDs the first search of a poll spans; four times as many after each empty one, for UIDs have holes.
const WINDOW: u32 = 5_000;
const WINDOW_MAX: u32 = 1_000_000;
const WINDOWS_MAX: u32 = 64;
/// Sizes asked for in one command.
const WEIGHTS_MAX: usize = 200;
/// Of a mail that cannot be read. Units: bytes.
const HEAD_BYTES: u32 = 64 << 10;
/// Of a mail over the limit: room for its text before the files. Units: bytes.
const BEGINNING_BYTES: u32 = 256 << 10;
/// No further mail is begun with less time than this.
const TIME_LEFT_MS: u64 = 8_000;
/// Failures at one mail: so often it is asked for whole, then once by its beginning, then by its headers.
const STRIKES_MAX: u32 = 3;
/// Between two tries at a mail that fails.
const STRUCK_WAIT_MS: u64 = 30_000;
/// New sessions in one poll, each after a mailbox that broke the one before.
const SESSIONS_MAX: u32 = 2;

/// New mails behind the cursor, unparsed. Errors: only where no mailbox could be read and nothing is in hand.
pub(crate) fn poll(settings: &Settings, cursor: Option<&str>, max_items: u32, max_bytes: u32) -> Result<Page> {
    let mut cursor = Cursor::parse(cursor)?;
    cursor.boxes.retain(|name, _| settings.mailboxes.contains(name));
    cursor.refused.retain(|name| settings.mailboxes.contains(name));
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
        at: None,
        sessions: 0,
        next_poll_ms: None,
    };
    reader.read_all(&mut cursor)?;
    let Reader { imap, changes, backfill, more, broken, next_poll_ms, .. } = reader;
    if !broken && !imap.is_lost() {
        imap.logout();
    }
    Ok(Page { changes, cursor: cursor.text()?, more, backfill: backfill.unwrap_or(false), next_poll_ms, allowance: None })
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
    /// The mail that is being asked for: what goes wrong now is laid at its door.
    at: Option<u32>,
    sessions: u32,
    next_poll_ms: Option<u64>,
}

/// What a mailbox's turn came to.
#[derive(PartialEq)]
enum Step {
    GoOn,
    PageIsFull,
}

impl Reader<'_> {
    fn is_over(&self) -> bool {
        self.is_broken() || self.changes.len() >= self.max_items || self.bytes >= self.bytes_max.into() || clock::remaining_ms() < TIME_LEFT_MS
    }

    fn is_broken(&self) -> bool {
        self.broken || self.imap.is_lost()
    }

    /// Each mailbox in its turn; the trouble of one is not the others'.
    fn read_all(&mut self, cursor: &mut Cursor) -> Result<()> {
        let names = &self.settings.mailboxes;
        let first = cursor.turn as usize % names.len().max(1);
        let (mut n_read, mut trouble, mut refused) = (0_usize, None::<Fault>, Vec::new());
        for name in names.iter().cycle().skip(first).take(names.len()) {
            if self.is_over() {
                self.more = true;
                break;
            }
            let mut place = cursor.boxes.remove(name);
            let outcome = self.read(name, &mut place);
            n_read += usize::from(outcome.is_ok());
            let fault = outcome.err();
            if let Some(fault @ Fault::Config(_)) = fault {
                refused.push(name.clone());
                trouble = trouble.or(Some(fault));
            } else if let Some(fault) = fault {
                let is_struck = self.stumble(&mut place, &fault);
                n_read += usize::from(is_struck);
                trouble = trouble.or(Some(fault));
                cursor.turn = cursor.turn.wrapping_add(1);
            }
            cursor.boxes.extend(place.map(|place| (name.clone(), place)));
            if trouble.is_some() && self.is_broken() && !self.reconnect() {
                break;
            }
        }
        match trouble {
            Some(fault) if n_read == 0 && self.changes.is_empty() => return Err(fault),
            // A mailbox that cannot be opened is told by a note.
            Some(Fault::Config(_)) | None => {}
            Some(fault) => log::warn(format!("A mailbox is left for later: {}.", code_of(&fault))),
        }
        if self.more {
            cursor.turn = cursor.turn.wrapping_add(1);
        }
        self.tell_refused(cursor, refused);
        Ok(())
    }

    /// What went wrong, and nothing in hand: the mail at fault gets its strike. Answers whether there was one.
    fn stumble(&mut self, place: &mut Option<Place>, fault: &Fault) -> bool {
        let at = self.at.take();
        if !self.changes.is_empty() {
            self.more = true;
            return false;
        }
        let wait_ms = if let Fault::RateLimited((_, wait_ms)) = fault { *wait_ms } else { STRUCK_WAIT_MS };
        self.next_poll_ms = Some(self.next_poll_ms.unwrap_or(0).max(wait_ms));
        match (place, at) {
            (Some(place), Some(uid)) if !matches!(fault, Fault::RateLimited(_)) => {
                place.strike(uid);
                true
            }
            _ => false,
        }
    }

    /// A new session for the mailboxes that are left, unless there is something in hand that must not wait for it.
    fn reconnect(&mut self) -> bool {
        self.sessions += 1;
        if !self.changes.is_empty() || self.sessions > SESSIONS_MAX || self.settings.mailboxes.len() < 2 || clock::remaining_ms() < TIME_LEFT_MS {
            return false;
        }
        match Imap::open(self.settings) {
            Ok(imap) => {
                (self.imap, self.broken) = (imap, false);
                true
            }
            Err(_) => false,
        }
    }

    /// That a mailbox cannot be opened is told once, until it can be again.
    fn tell_refused(&mut self, cursor: &mut Cursor, mut refused: Vec<String>) {
        refused.sort();
        for name in refused.iter().filter(|name| !cursor.refused.contains(name)) {
            let json =
                serde_json::json!({ "mailbox": name, "reason": "the mailbox cannot be opened; compare `mailbox` with the names on the server" });
            self.changes.push(Change::Note(("gap".to_owned(), json.to_string())));
        }
        cursor.refused = refused;
    }

    fn read(&mut self, mailbox: &str, known: &mut Option<Place>) -> Result<()> {
        let selected = self.imap.examine(mailbox)?;
        let now = clock::now();
        let found = Place::find(known.take(), &selected, self.settings, now);
        let place = known.insert(found);
        let scope = format!("{mailbox};{}", selected.uid_validity);
        let mut step = Step::GoOn;
        if let Some(stretch) = place.catch_up {
            step = self.stretch(place, &scope, stretch.to, Some(stretch))?;
            if step == Step::GoOn {
                place.catch_up = None;
            }
        }
        if step == Step::GoOn && !place.is_at_end_of(&selected) {
            step = self.stretch(place, &scope, last_uid(&selected), None)?;
        }
        match step {
            Step::GoOn => self.end(place, &selected, now),
            Step::PageIsFull => self.more = true,
        }
        Ok(())
    }

    fn end(&self, place: &mut Place, selected: &Selected, now: u64) {
        place.uid = place.uid.max(last_uid(selected));
        place.drained(selected, now);
    }

    /// Hands over the mails behind `place.uid` up to `to`, moving `place.uid` with them.
    fn stretch(&mut self, place: &mut Place, scope: &str, to: u32, catch_up: Option<CatchUp>) -> Result<Step> {
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
            } else if self.hand_over(place, scope, &uids, catch_up)? == Step::PageIsFull {
                return Ok(Step::PageIsFull);
            }
            place.passed(end);
        }
        Ok(Step::PageIsFull)
    }

    fn hand_over(&mut self, place: &mut Place, scope: &str, uids: &[u32], catch_up: Option<CatchUp>) -> Result<Step> {
        // After trouble one by one, so that it is known which mail it is.
        let width = if place.trouble.is_some() { 1 } else { WEIGHTS_MAX.min(self.max_items) };
        for chunk in uids.chunks(width) {
            let weights = self.weights(place, chunk)?;
            for &uid in chunk {
                let weight = weights.iter().find(|weight| weight.uid == uid).copied();
                let too_much = weight.is_some_and(|w| !self.changes.is_empty() && self.bytes.saturating_add(w.bytes) > self.bytes_max.into());
                if self.is_over() || too_much {
                    return Ok(Step::PageIsFull);
                }
                if let Some(weight) = weight {
                    let is_history = place.is_history(weight.arrived) || catch_up.is_some_and(|stretch| stretch.is_history(weight.arrived));
                    if *self.backfill.get_or_insert(is_history) != is_history {
                        return Ok(Step::PageIsFull);
                    }
                    self.at = Some(uid);
                    self.take(scope, weight, place.strikes_at(uid))?;
                    self.at = None;
                }
                place.passed(uid);
            }
        }
        Ok(Step::GoOn)
    }

    /// Sizes of a set; where the server refuses it as a whole, of each one alone, and 0 for the one that it refuses.
    fn weights(&mut self, place: &Place, chunk: &[u32]) -> Result<Vec<Weight>> {
        let unknown = |uid| Weight { uid, bytes: 0, arrived: None };
        self.at = chunk.first().copied();
        if let [uid] = chunk
            && place.strikes_at(*uid) >= STRIKES_MAX
        {
            return Ok(vec![unknown(*uid)]);
        }
        let set = chunk.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let mut weights = self.imap.weights(&set)?;
        if weights.is_none() {
            let mut each = Vec::new();
            for &uid in chunk {
                self.at = Some(uid);
                match self.imap.weights(&uid.to_string())? {
                    Some(one) => each.extend(one),
                    None => each.push(unknown(uid)),
                }
            }
            weights = Some(each);
        }
        self.at = None;
        Ok(weights.unwrap_or_default())
    }

    fn take(&mut self, scope: &str, weight: Weight, strikes: u32) -> Result<()> {
        let native = NativeId { scope: scope.to_owned(), id: weight.uid.to_string() };
        let limit = self.settings.message_bytes_max;
        if strikes > STRIKES_MAX {
            // The last try: whatever comes of it, the mail is done with.
            let head = self.imap.mail(weight.uid, Part::Headers, HEAD_BYTES).unwrap_or(Fetched::Gone);
            self.keep_head(native, format!("the server fails {strikes} times to hand this mail over"), head);
            return Ok(());
        }
        if strikes == STRIKES_MAX || weight.bytes > limit.into() {
            return self.take_beginning(native, weight, strikes);
        }
        // The first mail of a page may be larger than the page, or it could never be handed over.
        match self.imap.mail(weight.uid, Part::Whole, self.settings.whole_bytes_max())? {
            Fetched::Bytes(bytes) => self.hand(native, bytes),
            Fetched::Gone => {}
            Fetched::Refused => self.keep_head(native, "the server refuses to hand this mail over".to_owned(), Fetched::Gone),
            Fetched::Overlong => self.keep_head(native, "the mail is longer than the server had announced".to_owned(), Fetched::Overlong),
        }
        Ok(())
    }

    /// A mail too large or too slow: what it says stands before what it encloses.
    fn take_beginning(&mut self, native: NativeId, weight: Weight, strikes: u32) -> Result<()> {
        let files = if strikes == 0 { self.imap.files(weight.uid)? } else { Vec::new() };
        match self.imap.mail(weight.uid, Part::Beginning(BEGINNING_BYTES), BEGINNING_BYTES)? {
            // All of it, after all.
            Fetched::Bytes(bytes) if weight.bytes == 0 && bytes.len() < BEGINNING_BYTES as usize => self.hand(native, bytes),
            Fetched::Bytes(bytes) => {
                let truncated = Truncated { bytes: Some(weight.bytes).filter(|bytes| *bytes > 0), files };
                self.hand(native, truncated.mark(&bytes));
            }
            Fetched::Gone => {}
            head @ (Fetched::Refused | Fetched::Overlong) => self.keep_head(native, "the server refuses to hand this mail over".to_owned(), head),
        }
        Ok(())
    }

    fn hand(&mut self, native: NativeId, bytes: Vec<u8>) {
        self.bytes += bytes.len() as u64;
        self.changes.push(Change::Raw((native, bytes)));
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

fn code_of(fault: &Fault) -> &str {
    match fault {
        Fault::Config(d) | Fault::Auth(d) | Fault::Transient(d) | Fault::Permanent(d) | Fault::Unsupported(d) | Fault::RateLimited((d, _)) => &d.code,
    }
}
