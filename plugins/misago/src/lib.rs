//! Connector `misago`: threads and posts of a Misago forum by its JSON API, and replies in the thread.
//!
//! The list of threads runs by their last post, newest first; it is walked down to the post known last, and of each thread
//! that moved or grew its last pages are read. Misago's threads are flat: who answers whom is not told. It sees neither edits
//! nor deletions, and no private threads.

mod api;
mod say;
mod seen;
mod shapes;
mod walk;
mod wire;

use membrana_sdk::connector::{Message, Page, Receipt, Sent};
use membrana_sdk::json;
use membrana_sdk::{Connector, Finding, NativeId, Result, Surroundings, finding_error, register_connector};
use serde::Deserialize;
use url::Url;

use api::Api;

/// The connector.
pub struct Misago;

/// Its section of the configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    base_url: String,
    pub(crate) username: String,
    #[serde(default)]
    first_fetch: Option<String>,
    #[serde(default)]
    import_days: Option<u64>,
    /// Of `base_url`.
    #[serde(skip)]
    host: String,
}

impl Section {
    fn read() -> Result<Self> {
        let mut section: Self = json::section("misago")?;
        section.host = Url::parse(&section.base_url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        Ok(section)
    }

    /// Without a slash at its end.
    pub(crate) fn base(&self) -> &str {
        self.base_url.trim_end_matches('/')
    }

    /// An id of this forum.
    pub(crate) fn native(&self, id: String) -> NativeId {
        NativeId { scope: self.host.clone(), id }
    }

    pub(crate) fn is_us(&self, username: &str) -> bool {
        username.to_lowercase() == self.username.to_lowercase()
    }
}

impl Connector for Misago {
    fn validate(config: &str, _around: &Surroundings) -> Vec<Finding> {
        let section: Section = match serde_json::from_str(config) {
            Ok(section) => section,
            Err(error) => return vec![finding_error("", error, "write base_url = \"https://forum.example.org\" and username = \"support\"")],
        };
        let mut findings = Vec::new();
        if !Url::parse(&section.base_url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.path() == "/") {
            let message = format!("`{}` is not a forum's address", section.base_url);
            findings.push(finding_error("base_url", message, "write https://forum.example.org, without a path"));
        }
        if section.username.is_empty() || section.username.contains('@') {
            let message = format!("`{}` is not a user name", section.username);
            findings.push(finding_error("username", message, "write the name of the account that answers, not its address"));
        }
        findings
    }

    fn poll(cursor: Option<String>, max_items: u32, max_bytes: u32) -> Result<Page> {
        let section = Section::read()?;
        walk::poll(&section, &Api::new(&section), cursor.as_deref(), max_items, max_bytes)
    }

    fn send(_key: &str, message: &Message) -> Result<Receipt> {
        let section = Section::read()?;
        say::send(&section, &Api::new(&section), message)
    }

    fn probe(_key: &str, message: &Message) -> Result<(Sent, Option<Receipt>)> {
        let section = Section::read()?;
        say::probe(&section, &Api::new(&section), message)
    }
}

register_connector!(Misago);

#[cfg(test)]
mod tests;
