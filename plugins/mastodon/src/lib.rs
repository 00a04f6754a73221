//! Connector `mastodon`: mentions of the company by the client API of Mastodon, and replies to them.
//!
//! Notifications are walked forward by `min_id`. Statuses seen lately are looked at again in turn, for
//! the API tells neither edits nor deletions to those who poll.

mod api;
mod say;
mod shapes;
mod walk;
mod watch;
mod wire;

use membrana_sdk::connector::{Message, Page, Receipt, Sent};
use membrana_sdk::json;
use membrana_sdk::{Connector, Finding, Result, Surroundings, finding_error, register_connector};
use serde::Deserialize;
use url::Url;

use api::Api;

/// The connector.
pub struct Mastodon;

/// Its section of the configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    pub(crate) base_url: String,
    #[serde(default)]
    first_fetch: Option<String>,
    /// Of `base_url`.
    #[serde(skip)]
    host: String,
}

impl Section {
    fn read() -> Result<Self> {
        let mut section: Self = json::section("mastodon")?;
        section.host = Url::parse(&section.base_url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        Ok(section)
    }

    /// What local ids are unique within.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn imports(&self) -> bool {
        self.first_fetch.as_deref() == Some("import")
    }
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

    fn poll(cursor: Option<String>, max_items: u32, max_bytes: u32) -> Result<Page> {
        let section = Section::read()?;
        walk::poll(&section, &Api::new(&section), cursor.as_deref(), max_items, max_bytes)
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

#[cfg(test)]
mod tests;
