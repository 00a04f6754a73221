//! Notifications, walked forward by `min_id` from the one known last. Some pages a poll; the rest with the next. The newest are
//! read again for a while: a server commits what comes at once in any order, and one with a lower id may still come.

use std::collections::VecDeque;

use membrana_sdk::connector::{Change, Page};
use membrana_sdk::json::{self, Body, Object};
use membrana_sdk::{Fault, NativeId, clock};
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::shapes::{self, Account, Status, id};
use crate::watch::Watched;
use crate::{Section, wire};

/// Notifications by which somebody speaks of us: a quote (since Mastodon 4.5) is a mention, whether it names us or not.
const SPOKEN: [&str; 2] = ["mention", "quote"];
/// Notifications in one page of the API.
const PAGE: usize = 40;
/// Pages in one poll.
const PAGES_MAX: usize = 6;
/// Read again, as long as one that the server commits late may come among them. Units of time: milliseconds.
const AGAIN: usize = 30;
const LATE_MS: u64 = 60_000;
/// Kept of what cannot be read. Units: bytes.
const HEAD_BYTES: usize = 64 << 10;
/// An interaction is about so long without its text. Units: bytes.
const REST_BYTES: usize = 1000;

/// Where to go on.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cursor {
    min_id: String,
    /// The newest, in the order in which they were seen: those behind the first one are read again.
    #[serde(default)]
    recent: VecDeque<String>,
    /// When the last of them was first seen; 0: long enough ago. Units: ms since 1970.
    #[serde(default)]
    seen: u64,
    /// More waits behind `min_id`.
    #[serde(default)]
    more: bool,
    /// History is still being walked.
    #[serde(default)]
    is_history: bool,
}

impl Cursor {
    fn note(&mut self, id: String) {
        if self.recent.contains(&id) {
            return;
        }
        self.recent.push_back(id);
        self.seen = clock::now().max(1);
        if self.recent.len() > AGAIN + 1 {
            self.recent.pop_front();
        }
    }
}

pub(crate) fn poll(section: &Section, api: &Api, cursor: Option<&str>, max_items: u32, max_bytes: u32) -> membrana_sdk::Result<Page> {
    let Some(mut cursor) = json::cursor::<Cursor>("mastodon", cursor)? else { return begin(section, api) };
    let backfill = cursor.is_history;
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX).max(1);
    let (n_items_max, n_bytes_max) = (number(max_items), number(max_bytes));
    let limit = PAGE.min(n_items_max);
    let newest = cursor.min_id.clone();
    if cursor.recent.is_empty() {
        cursor.recent.push_back(newest.clone());
    }
    let again = cursor.recent.front().filter(|_| cursor.seen > 0 && !cursor.more).cloned();
    let page = Notifications::ask(api, again.as_ref().unwrap_or(&newest), limit)?;
    let mut round = Round { section, me: api.me()?, watched: Watched::read(), changes: Vec::new(), n_bytes: 0 };
    // A page that ends among what is known has not shown what is new.
    let known: Vec<String> = cursor.recent.iter().filter(|id| **id != newest).cloned().collect();
    let more_of = |page: &Notifications| page.more() || page.last.as_ref().is_some_and(|last| known.contains(last));
    let mut more = more_of(&page);
    round.take(&mut cursor, page);
    for _ in 1..PAGES_MAX {
        let is_full = round.changes.len() + limit > n_items_max || round.n_bytes >= n_bytes_max;
        if !more || is_full || api.is_scarce() {
            break;
        }
        // What was read is told; the next poll meets the fault, if it lasts.
        let Ok(next) = Notifications::ask(api, &cursor.min_id, limit) else { break };
        more = more_of(&next);
        round.take(&mut cursor, next);
    }
    if !more {
        cursor.is_history = false;
        if again.is_some() && clock::now() >= cursor.seen.saturating_add(LATE_MS) {
            cursor.seen = 0;
        }
        if !backfill {
            round.changes.extend(round.watched.look_again(section, api, &round.me));
        }
    }
    cursor.more = more;
    round.watched.keep();
    let encoded = json::cursor_text("mastodon", &cursor)?;
    Ok(Page { changes: round.changes, cursor: encoded, more, backfill, next_poll_ms: None, allowance: api.allowance() })
}

/// The first look: from now on, or from the beginning as history.
fn begin(section: &Section, api: &Api) -> membrana_sdk::Result<Page> {
    api.me()?;
    let is_history = section.imports();
    let newest: Vec<Object<wire::Notification>> =
        if is_history { Vec::new() } else { api.get("/api/v1/notifications?limit=1&include_filtered=true")? };
    let min_id = match newest.first() {
        None => "0".to_owned(),
        Some(newest) => id_of(newest).ok_or_else(|| Fault::transient("mastodon.malformed", "the newest notification has no id"))?,
    };
    let cursor = json::cursor_text("mastodon", &Cursor { min_id, is_history, ..Cursor::default() })?;
    Ok(Page { changes: Vec::new(), cursor, more: is_history, backfill: is_history, next_poll_ms: None, allowance: api.allowance() })
}

fn id_of(notification: &Object<wire::Notification>) -> Option<String> {
    id(&notification.0.as_ref()?.id)
}

/// A page of them.
struct Notifications {
    /// What they are asked for behind.
    behind: String,
    /// Newest first.
    all: Vec<Object<wire::Notification>>,
    body: Body,
    /// The newest; none where there are none.
    last: Option<String>,
    is_whole: bool,
}

impl Notifications {
    fn ask(api: &Api, behind: &str, limit: usize) -> membrana_sdk::Result<Self> {
        // Those that the account's own policy sets aside (messages of strangers, by default) are spoken to us as well.
        let path = format!("/api/v1/notifications?types[]=mention&types[]=quote&include_filtered=true&limit={limit}&min_id={behind}");
        let (all, body) = api.get_with_body::<Vec<Object<wire::Notification>>>(&path)?;
        let last = all.iter().find_map(id_of);
        if last.is_none() && !all.is_empty() {
            return Err(Fault::transient("mastodon.malformed", "no notification has an id; where to go on cannot be told"));
        }
        Ok(Self { behind: behind.to_owned(), is_whole: all.len() >= limit, all, body, last })
    }

    /// Whether there may be more. A server that ignores `min_id` repeats what is known, which the host drops.
    fn more(&self) -> bool {
        self.is_whole && self.last.as_ref().is_some_and(|last| *last != self.behind)
    }
}

struct Round<'s> {
    section: &'s Section,
    me: Account,
    watched: Watched,
    changes: Vec<Change>,
    n_bytes: usize,
}

impl Round<'_> {
    /// Tells a page, and moves the cursor on.
    fn take(&mut self, cursor: &mut Cursor, page: Notifications) {
        let n_all = page.all.len();
        for id in page.all.iter().rev().filter_map(id_of) {
            cursor.note(id);
        }
        for (n, sent) in page.all.into_iter().rev().enumerate() {
            let change = self.change(sent).unwrap_or_else(|(native, reason)| {
                let named = native.unwrap_or_else(|| format!("notification/{}+{n}", page.behind));
                let head = page.body.head(&format!("/{}", n_all - 1 - n), HEAD_BYTES);
                Some(Change::Unreadable((NativeId { scope: self.section.host().to_owned(), id: named }, reason.to_owned(), head)))
            });
            self.changes.extend(change);
        }
        if let Some(last) = page.last {
            cursor.min_id = last;
        }
    }

    /// What a notification says, if it says anything. Errors: it cannot be read, with its name, if it has one, and the reason.
    fn change(&mut self, sent: Object<wire::Notification>) -> Result<Option<Change>, (Option<String>, &'static str)> {
        let sent = sent.0.unwrap_or_default();
        let id = id(&sent.id).ok_or((None, "a notification without an id"))?;
        let Some(status) = sent.status.filter(|_| sent.kind.text().is_some_and(|kind| SPOKEN.contains(&kind))) else { return Ok(None) };
        let status = status.0.and_then(Status::of);
        let status = status.ok_or_else(|| (Some(format!("notification/{id}")), "a mention without a usable status"))?;
        if !self.watched.add(&status) {
            return Ok(None);
        }
        let about = shapes::interaction(self.section, status, &self.me);
        self.n_bytes = self.n_bytes.saturating_add(about.text.len() + REST_BYTES);
        Ok(Some(Change::Upsert(about)))
    }
}
