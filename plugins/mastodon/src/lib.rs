//! Connector `mastodon`: mentions of the company by the client API of Mastodon, and replies to them.
//!
//! Notifications are walked forward by `min_id`, which leaves no holes. Statuses seen lately are looked at again in turn, for
//! the API tells neither edits nor deletions to those who poll.

mod api;
mod say;
mod shapes;
mod watch;

use membrana_sdk::connector::{Change, Message, Page, Receipt, Sent};
use membrana_sdk::{Connector, Fault, Finding, Result, Surroundings, finding_error, register_connector};
use serde::{Deserialize, Serialize};
use url::Url;

use api::Api;
use shapes::Notification;
use watch::Watched;

/// Notifications in one page of the API.
const PAGE: usize = 40;

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
        serde_json::from_str(&membrana_sdk::config::json()).map_err(|error| Fault::config("mastodon.section", error))
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
        let Some(mut cursor) = cursor.and_then(|text| serde_json::from_str::<Cursor>(&text).ok()) else { return begin(&section, &api) };
        let limit = PAGE.min(usize::try_from(max_items).unwrap_or(PAGE)).max(1);
        let mut page: Vec<Notification> = api.get(&format!("/api/v1/notifications?types[]=mention&limit={limit}&min_id={}", cursor.min_id))?;
        // Newest first inside a page; a server that ignores `min_id` repeats what is known, which the host drops.
        page.reverse();
        let more = page.len() >= limit && page.last().is_some_and(|last| last.id != cursor.min_id);
        if let Some(last) = page.last() {
            last.id.clone_into(&mut cursor.min_id);
        }
        let me = api.me()?;
        let mut watched = Watched::read();
        let mut changes = Vec::new();
        for status in page.iter().filter(|one| one.kind == "mention").filter_map(|one| one.status.as_ref()) {
            watched.add(status);
            changes.push(Change::Upsert(shapes::interaction(&section, status, &me)));
        }
        let backfill = cursor.is_history;
        if !more {
            cursor.is_history = false;
            if !backfill {
                changes.extend(watched.look_again(&section, &api, &me)?);
            }
        }
        watched.keep()?;
        Ok(Page { changes, cursor: encoded(&cursor)?, more, backfill, next_poll_ms: None })
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

/// The first look: from now on, or from the beginning as history.
fn begin(section: &Section, api: &Api) -> Result<Page> {
    api.me()?;
    let is_history = section.first_fetch.as_deref() == Some("import");
    let newest: Vec<Notification> = if is_history { Vec::new() } else { api.get("/api/v1/notifications?limit=1")? };
    let min_id = newest.into_iter().next().map_or_else(|| "0".to_owned(), |newest| newest.id);
    Ok(Page { changes: Vec::new(), cursor: encoded(&Cursor { min_id, is_history })?, more: is_history, backfill: is_history, next_poll_ms: None })
}

fn encoded(cursor: &Cursor) -> Result<String> {
    serde_json::to_string(cursor).map_err(|error| Fault::transient("mastodon.cursor", error))
}

#[cfg(test)]
mod tests;
