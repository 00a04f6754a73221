//! Connector `instagram`: comments on an account's media, mentions elsewhere and messages, by poll and by webhook, and answers.
//!
//! Comments come newest first and cannot be asked for by time: a medium is read again where the number of its comments has
//! changed, and in turn. What a mention says must be asked for, since the webhook does not tell.

mod hear;
mod media;
mod poll;
mod say;
mod shapes;

use membrana_meta::graph::Graph;
use membrana_meta::messages::{Inbox, Platform, is_id};
use membrana_sdk::connector::{Change, Message, Origin, Page, Raw, Receipt, Sent};
use membrana_sdk::json;
use membrana_sdk::{Connector, Fault, Finding, Result, Surroundings, finding_error, register_connector};
use serde::Deserialize;

/// The connector.
pub struct Instagram;

/// Its section of the configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    pub(crate) account: String,
    #[serde(default)]
    page: Option<String>,
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
        json::section("instagram")
    }

    fn graph(&self) -> Result<Graph> {
        Graph::new(&self.base_url, &self.version)
    }

    pub(crate) fn imports(&self) -> bool {
        self.first_fetch.as_deref() == Some("import")
    }

    /// Conversations hang on the Page where there is one.
    pub(crate) fn inbox<'a>(&'a self, graph: &'a Graph) -> Inbox<'a> {
        let node = self.page.as_deref().unwrap_or(&self.account);
        Inbox { graph, owner: &self.account, node, platform: Platform::Instagram }
    }
}

impl Connector for Instagram {
    fn validate(config: &str, _around: &Surroundings) -> Vec<Finding> {
        let section: Section = match serde_json::from_str(config) {
            Ok(section) => section,
            Err(error) => {
                return vec![finding_error(
                    "",
                    error,
                    "write base_url = \"https://graph.facebook.com\" and account = \"the professional account's id\"",
                )];
            }
        };
        let mut findings = Vec::new();
        for (key, id) in [("account", Some(&section.account)), ("page", section.page.as_ref())] {
            if id.is_some_and(|id| !is_id(id)) {
                findings.push(finding_error(key, "this is not an id of Meta's", "write the number that Meta Business Suite shows"));
            }
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

register_connector!(Instagram);

#[cfg(test)]
mod tests;
