//! Connector `discourse`: what is said on a Discourse forum, by poll and by webhook, and replies under the right post.
//!
//! The list of all posts runs newest first and is walked down to the post known last; where to go on moves only when all
//! between are told. Posts seen lately are looked at again, for the list tells neither edits nor deletions. Whispers are the
//! staff's own and never public. It edits nothing, and answers no whisper.

mod api;
mod hook;
mod say;
mod shapes;
mod text;
mod walk;
mod watch;
mod wire;

use membrana_sdk::connector::{Change, Message, Page, Raw, Receipt, Sent};
use membrana_sdk::json;
use membrana_sdk::{Connector, Finding, NativeId, Result, Surroundings, finding_error, register_connector};
use serde::Deserialize;
use url::Url;

use api::Api;

/// The connector.
pub struct Discourse;

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
    #[serde(default)]
    pub(crate) private_categories: Vec<u64>,
    /// Of `base_url`, read once.
    #[serde(skip)]
    url: Option<Url>,
    #[serde(skip)]
    scope: String,
}

impl Section {
    fn read() -> Result<Self> {
        let mut section: Self = json::section("discourse")?;
        section.url = Url::parse(section.base()).ok();
        let scope = |url: &Url| Some(format!("{}{}", url.host_str()?, url.path().trim_end_matches('/')));
        section.scope = section.url.as_ref().and_then(scope).unwrap_or_default();
        Ok(section)
    }

    /// Without a slash at its end.
    pub(crate) fn base(&self) -> &str {
        self.base_url.trim_end_matches('/')
    }

    /// An id of this forum; what its ids are unique within is its host, and the path it lives under.
    pub(crate) fn native(&self, id: String) -> NativeId {
        NativeId { scope: self.scope.clone(), id }
    }

    pub(crate) fn url(&self) -> Option<&Url> {
        self.url.as_ref()
    }

    pub(crate) fn is_us(&self, username: &str) -> bool {
        username.to_lowercase() == self.username.to_lowercase()
    }
}

impl Connector for Discourse {
    fn validate(config: &str, _around: &Surroundings) -> Vec<Finding> {
        let section: Section = match serde_json::from_str(config) {
            Ok(section) => section,
            Err(error) => return vec![finding_error("", error, "write base_url = \"https://forum.example.org\" and username = \"support\"")],
        };
        let mut findings = Vec::new();
        let is_forum =
            |url: &Url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some() && url.query().is_none() && url.fragment().is_none();
        if !Url::parse(&section.base_url).is_ok_and(|url| is_forum(&url)) {
            let message = format!("`{}` is not a forum's address", section.base_url);
            findings.push(finding_error("base_url", message, "write https://forum.example.org"));
        }
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        if section.username.is_empty() || !section.username.chars().all(is_name) {
            let message = format!("`{}` is not a user name", section.username);
            findings.push(finding_error("username", message, "write the name of the account that the API key acts as, without @"));
        }
        findings
    }

    fn poll(cursor: Option<String>, max_items: u32, max_bytes: u32) -> Result<Page> {
        let section = Section::read()?;
        walk::poll(&section, &Api::new(&section), cursor.as_deref(), max_items, max_bytes)
    }

    fn receive(raw: Raw) -> Result<Vec<Change>> {
        let section = Section::read()?;
        hook::receive(&section, &Api::new(&section), &raw)
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

register_connector!(Discourse);

#[cfg(test)]
mod tests;
