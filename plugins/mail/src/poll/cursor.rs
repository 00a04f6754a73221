//! Where reading goes on, per mailbox, as JSON: UIDVALIDITY, the last UID handed over, and a stretch still to catch up.

use membrana_sdk::json;
use std::collections::BTreeMap;

use membrana_sdk::{Fault, Result};
use serde::{Deserialize, Serialize};

use crate::imap::Selected;
use crate::settings::{FirstFetch, Settings};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The whole cursor.
#[derive(Debug, Default, Serialize, Deserialize, PartialEq)]
pub(crate) struct Cursor {
    pub(crate) boxes: BTreeMap<String, Place>,
    /// Which mailbox comes first; moves on when a page was full, so that a large one holds up no other.
    #[serde(default)]
    pub(crate) turn: u32,
    /// Mailboxes that could not be opened last time; it was told once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) refused: Vec<String>,
}

/// Where one mailbox stands.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct Place {
    pub(crate) uid_validity: u32,
    /// All up to this one was handed over, or left out on purpose.
    pub(crate) uid: u32,
    /// CONDSTORE's HIGHESTMODSEQ when all was read: as long as it stands, nothing is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mod_seq: Option<u64>,
    /// When all was read last, rounded down to the hour so that an idle channel writes no cursor. Units: ms since 1970.
    pub(crate) drained_at: u64,
    /// When reading of this mailbox began; none in cursors of before. Units: ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) enabled_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) catch_up: Option<CatchUp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<Trouble>,
}

/// A mail at which reading broke off, the connection with it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq)]
pub(crate) struct Trouble {
    pub(crate) uid: u32,
    pub(crate) strikes: u32,
}

/// A stretch of old UIDs of which only the younger mails are wanted.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq)]
pub(crate) struct CatchUp {
    /// The last UID of it.
    pub(crate) to: u32,
    /// Units: ms since 1970; IMAP compares whole days.
    pub(crate) since: u64,
    /// History from before the channel was enabled.
    pub(crate) backfill: bool,
    /// What the mailbox took in before this moment is history. None: `backfill` says it for all. Units: ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) news_from: Option<u64>,
}

impl CatchUp {
    /// Whether a mail that arrived then is history.
    pub(crate) fn is_history(&self, arrived: Option<u64>) -> bool {
        self.backfill || self.news_from.zip(arrived).is_some_and(|(from, arrived)| arrived < from)
    }
}

impl Cursor {
    /// Errors: `permanent` where it is none of ours.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self> {
        Ok(json::cursor("mail", text)?.unwrap_or_default())
    }

    pub(crate) fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|_| Fault::permanent("mail.bad-cursor", "the cursor cannot be written"))
    }
}

impl Place {
    /// Where to go on in a mailbox as it was found: behind what is known, at its end, at the start of an import, or, when
    /// UIDVALIDITY changed, over what arrived since all was read last: SINCE knows whole days only, so what is older by the
    /// server's own clock comes as history. What was stored before is recognised by Message-ID and content.
    pub(crate) fn find(known: Option<Place>, selected: &Selected, settings: &Settings, now: u64) -> Self {
        match known {
            Some(place) if place.uid_validity == selected.uid_validity => place,
            Some(Place { catch_up: Some(CatchUp { backfill: true, .. }), enabled_at, .. }) => {
                Self { enabled_at, ..Self::start(selected, settings, now) }
            }
            Some(place) => {
                let oldest = now.saturating_sub(u64::from(settings.import_days) * DAY_MS);
                let unfinished = place.catch_up.map_or(u64::MAX, |stretch| stretch.news_from.unwrap_or(stretch.since));
                let news_from = place.drained_at.saturating_sub(HOUR_MS).min(unfinished);
                let stretch = CatchUp { to: last_uid(selected), since: news_from.max(oldest), backfill: false, news_from: Some(news_from) };
                Self { catch_up: Some(stretch), enabled_at: place.enabled_at, ..Self::at(selected, 0, place.drained_at) }
            }
            None => Self::start(selected, settings, now),
        }
    }

    fn start(selected: &Selected, settings: &Settings, now: u64) -> Self {
        let last = last_uid(selected);
        let enabled_at = Some(now);
        match settings.first_fetch {
            FirstFetch::Skip => Self { enabled_at, ..Self::at(selected, last, now) },
            FirstFetch::Import => {
                let since = now.saturating_sub(u64::from(settings.import_days) * DAY_MS);
                let stretch = CatchUp { to: last, since, backfill: true, news_from: None };
                Self { catch_up: Some(stretch), enabled_at, ..Self::at(selected, 0, now) }
            }
        }
    }

    fn at(selected: &Selected, uid: u32, drained_at: u64) -> Self {
        let drained_at = drained_at / HOUR_MS * HOUR_MS;
        Self { uid_validity: selected.uid_validity, uid, mod_seq: None, drained_at, enabled_at: None, catch_up: None, trouble: None }
    }

    /// Whether a mail that arrived then was there before the channel, wherever it was copied or moved from since: it keeps its date
    /// and gets a new UID. The server's clock may be an hour behind ours.
    pub(crate) fn is_history(&self, arrived: Option<u64>) -> bool {
        self.enabled_at.zip(arrived).is_some_and(|(from, arrived)| arrived < from.saturating_sub(HOUR_MS))
    }

    /// How often reading broke off at this mail.
    pub(crate) fn strikes_at(&self, uid: u32) -> u32 {
        self.trouble.filter(|trouble| trouble.uid == uid).map_or(0, |trouble| trouble.strikes)
    }

    /// Reading broke off at this mail.
    pub(crate) fn strike(&mut self, uid: u32) {
        self.trouble = Some(Trouble { uid, strikes: self.strikes_at(uid).saturating_add(1) });
    }

    /// All up to this mail is done with.
    pub(crate) fn passed(&mut self, uid: u32) {
        self.uid = uid;
        self.trouble = self.trouble.filter(|trouble| trouble.uid > uid);
    }

    /// Nothing can be new.
    pub(crate) fn is_at_end_of(&self, selected: &Selected) -> bool {
        let unchanged = self.mod_seq.is_some() && self.mod_seq == selected.mod_seq;
        self.catch_up.is_none() && (unchanged || self.uid >= last_uid(selected))
    }

    /// All was read.
    pub(crate) fn drained(&mut self, selected: &Selected, now: u64) {
        self.mod_seq = selected.mod_seq;
        self.drained_at = now / HOUR_MS * HOUR_MS;
    }
}

/// The highest UID that the mailbox may hold.
pub(crate) fn last_uid(selected: &Selected) -> u32 {
    selected.uid_next.unwrap_or(1).saturating_sub(1)
}

/// `2-Mar-2026`, as IMAP's SINCE wants it; a day earlier, because the server compares in its own time zone.
pub(crate) fn since_date(since_ms: u64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = i64::try_from(since_ms.saturating_sub(DAY_MS) / 1000).unwrap_or_default();
    let date = mail_parser::DateTime::from_timestamp(seconds);
    let month = MONTHS.get(usize::from(date.month).saturating_sub(1)).unwrap_or(&"Jan");
    format!("{}-{month}-{:04}", date.day, date.year)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_imap_wants_it() {
        assert_eq!(since_date(1_772_442_000_000), "1-Mar-2026");
        assert_eq!(since_date(0), "1-Jan-1970");
    }

    #[test]
    fn a_foreign_cursor_is_refused_and_an_empty_one_starts_anew() {
        assert!(matches!(Cursor::parse(Some("12")), Err(Fault::Permanent(_))));
        assert_eq!(Cursor::parse(Some("")), Ok(Cursor::default()));
    }
}
