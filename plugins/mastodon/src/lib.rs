//! Connector `mastodon`: mentions of the company by the client API of Mastodon, and replies to them.
//!
//! Notifications are walked forward by `min_id`, which leaves no holes. Statuses seen lately are looked at again in turn, for
//! the API tells neither edits nor deletions to those who poll.

mod api;
mod say;
mod shapes;
mod watch;

use membrana_sdk::connector::{Change, Message, Page, Receipt, Sent};
use membrana_sdk::json;
use membrana_sdk::{Connector, Fault, Finding, NativeId, Result, Surroundings, finding_error, register_connector};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use url::Url;

use api::Api;
use shapes::{Account, Notification, Status};
use watch::Watched;

/// Notifications in one page of the API.
const PAGE: usize = 40;
/// Kept of what cannot be read.
const HEAD_BYTES: usize = 64 << 10;

/// The connector.
pub struct Mastodon;

/// Its section of the configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    pub(crate) base_url: String,
    #[serde(default)]
    first_fetch: Option<String>,
}

impl Section {
    fn read() -> Result<Self> {
        json::section("mastodon")
    }

    /// What local ids are unique within.
    pub(crate) fn host(&self) -> String {
        Url::parse(&self.base_url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// Where to go on.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cursor {
    min_id: String,
    /// History is still being walked.
    #[serde(default)]
    is_history: bool,
}

impl Connector for Mastodon {
    fn validate(config: &str, _around: &Surroundings) -> Vec<Finding> {
        let section: Section = match serde_json::from_str(config) {
            Ok(section) => section,
            Err(error) => return vec![finding_error("", error, "write base_url = \"https://mastodon.example\"")],
        };
        let is_url = Url::parse(&section.base_url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.path() == "/");
        if is_url {
            Vec::new()
        } else {
            vec![finding_error(
                "base_url",
                format!("`{}` is not a server's address", section.base_url),
                "write https://mastodon.example, without a path",
            )]
        }
    }

    fn poll(cursor: Option<String>, max_items: u32, _max_bytes: u32) -> Result<Page> {
        let section = Section::read()?;
        let api = Api::new(&section);
        let Some(mut cursor) = json::cursor::<Cursor>("mastodon", cursor.as_deref())? else { return begin(&section, &api) };
        let limit = PAGE.min(usize::try_from(max_items).unwrap_or(PAGE)).max(1);
        let mut page: Vec<Json> = api.get(&format!("/api/v1/notifications?types[]=mention&limit={limit}&min_id={}", cursor.min_id))?;
        // Newest first inside a page; a server that ignores `min_id` repeats what is known, which the host drops.
        page.reverse();
        let me = api.me()?;
        let mut watched = Watched::read();
        let changes = page.iter().enumerate().filter_map(|(n, json)| change(&section, &mut watched, &me, (&cursor.min_id, n), json));
        let mut changes: Vec<Change> = changes.collect();
        let last = page.iter().rev().find_map(Notification::of).map(|last| last.id);
        if last.is_none() && !page.is_empty() {
            return Err(Fault::transient("mastodon.malformed", "no notification has an id; where to go on cannot be told"));
        }
        let more = page.len() >= limit && last.as_ref().is_some_and(|last| *last != cursor.min_id);
        cursor.min_id = last.unwrap_or(cursor.min_id);
        let backfill = cursor.is_history;
        if !more {
            cursor.is_history = false;
            if !backfill {
                changes.extend(watched.look_again(&section, &api, &me));
            }
        }
        watched.keep();
        Ok(Page { changes, cursor: json::cursor_text("mastodon", &cursor)?, more, backfill, next_poll_ms: None, allowance: api.allowance() })
    }

    fn send(key: &str, message: &Message) -> Result<Receipt> {
        let section = Section::read()?;
        say::send(&section, &Api::new(&section), key, message)
    }

    fn probe(_key: &str, message: &Message) -> Result<(Sent, Option<Receipt>)> {
        let section = Section::read()?;
        say::probe(&section, &Api::new(&section), message)
    }
}

register_connector!(Mastodon);

/// What a notification says, if it says anything; one that cannot be read is set aside alone. `place` names it then.
fn change(section: &Section, watched: &mut Watched, me: &Account, place: (&str, usize), json: &Json) -> Option<Change> {
    let notification = Notification::of(json);
    let unreadable = |id: String, reason: &str| {
        let mut head = json.to_string().into_bytes();
        head.truncate(HEAD_BYTES);
        Some(Change::Unreadable((NativeId { scope: section.host(), id }, reason.to_owned(), head)))
    };
    let Some(notification) = notification else { return unreadable(format!("notification/{}+{}", place.0, place.1), "a notification without an id") };
    if notification.kind != "mention" || notification.status.is_null() {
        return None;
    }
    let Some(status) = Status::of(notification.status) else {
        return unreadable(format!("notification/{}", notification.id), "a mention without a usable status");
    };
    watched.add(&status);
    Some(Change::Upsert(shapes::interaction(section, &status, me)))
}

/// The first look: from now on, or from the beginning as history.
fn begin(section: &Section, api: &Api) -> Result<Page> {
    api.me()?;
    let is_history = section.first_fetch.as_deref() == Some("import");
    let newest: Vec<Json> = if is_history { Vec::new() } else { api.get("/api/v1/notifications?limit=1")? };
    let min_id = match newest.first() {
        None => "0".to_owned(),
        Some(newest) => Notification::of(newest).ok_or_else(|| Fault::transient("mastodon.malformed", "the newest notification has no id"))?.id,
    };
    let cursor = json::cursor_text("mastodon", &Cursor { min_id, is_history })?;
    Ok(Page { changes: Vec::new(), cursor, more: is_history, backfill: is_history, next_poll_ms: None, allowance: api.allowance() })
}

#[cfg(test)]
mod tests;
