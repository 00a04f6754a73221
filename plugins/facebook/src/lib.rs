//! Connector `facebook`: what is said on a Page and to it, by poll and by webhook, and answers to it.
//!
//! Webhooks bring most of it; the same poll, slower, fills what they left out. Times and cursors are walked as the Graph API
//! has them; an own message's echo is known by the key that went along with it.

mod hear;
mod poll;
mod posts;
mod say;
mod shapes;

use membrana_meta::graph::Graph;
use membrana_meta::messages::{Inbox, Platform, is_id};
use membrana_sdk::connector::{Change, Message, Origin, Page, Raw, Receipt, Sent};
use membrana_sdk::json;
use membrana_sdk::{Connector, Fault, Finding, Result, Surroundings, finding_error, register_connector};
use serde::Deserialize;

/// The connector.
pub struct Facebook;

/// Its section of the configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    pub(crate) page: String,
    base_url: String,
    #[serde(default = "version")]
    version: String,
    #[serde(default = "yes")]
    pub(crate) messages: bool,
    #[serde(default)]
    first_fetch: Option<String>,
}

fn version() -> String {
    "v23.0".to_owned()
}

fn yes() -> bool {
    true
}

impl Section {
    fn read() -> Result<Self> {
        json::section("facebook")
    }

    fn graph(&self) -> Result<Graph> {
        Graph::new(&self.base_url, &self.version)
    }

    pub(crate) fn imports(&self) -> bool {
        self.first_fetch.as_deref() == Some("import")
    }

    pub(crate) fn inbox<'a>(&'a self, graph: &'a Graph) -> Inbox<'a> {
        Inbox { graph, owner: &self.page, node: &self.page, platform: Platform::Messenger }
    }
}

impl Connector for Facebook {
    fn validate(config: &str, _around: &Surroundings) -> Vec<Finding> {
        let section: Section = match serde_json::from_str(config) {
            Ok(section) => section,
            Err(error) => return vec![finding_error("", error, "write base_url = \"https://graph.facebook.com\" and page = \"the Page's id\"")],
        };
        let mut findings = Vec::new();
        if !is_id(&section.page) {
            findings.push(finding_error("page", format!("`{}` is not a Page's id", section.page), "write the number under About, Page transparency"));
        }
        if section.graph().is_err() {
            findings.push(finding_error("base_url", format!("`{}` is not an address", section.base_url), "write https://graph.facebook.com"));
        }
        findings
    }

    fn poll(cursor: Option<String>, max_items: u32, _max_bytes: u32) -> Result<Page> {
        let section = Section::read()?;
        poll::poll(&section, &section.graph()?, cursor.as_deref(), max_items)
    }

    fn receive(raw: Raw) -> Result<Vec<Change>> {
        if !matches!(raw.origin, Origin::Webhook(_)) {
            return Err(Fault::unsupported("anything but webhooks"));
        }
        let section = Section::read()?;
        hear::hear(&section, &section.graph()?, &raw)
    }

    fn send(key: &str, message: &Message) -> Result<Receipt> {
        let section = Section::read()?;
        say::send(&section, &section.graph()?, key, message)
    }

    fn probe(_key: &str, message: &Message) -> Result<(Sent, Option<Receipt>)> {
        let section = Section::read()?;
        say::probe(&section, &section.graph()?, message)
    }
}

register_connector!(Facebook);

#[cfg(test)]
mod tests;
