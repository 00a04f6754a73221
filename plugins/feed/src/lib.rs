//! Connector `feed`: posts and comments of blogs, by any kind of feed.
//!
//! What was seen is remembered by id, never by date, so that a post that a blog dates back still arrives; another content
//! under the same id is an edit. One bad feed never holds the others. A feed cannot be answered, and deletions cannot be
//! seen in it. Bounded by the page that the host asks for and by the constants of each file.

pub mod charset;
pub mod dates;
pub mod document;
mod fetch;
mod forum;
mod memory;
mod poll;
mod settings;
mod told;

use membrana_sdk::connector::{Message, Page, Receipt};
use membrana_sdk::{Connector, Fault, Finding, Result, Surroundings, register_connector};

use settings::Settings;

/// The connector.
pub struct Feed;

impl Connector for Feed {
    fn validate(config: &str, _around: &Surroundings) -> Vec<Finding> {
        settings::validate(config)
    }

    fn poll(cursor: Option<String>, max_items: u32, max_bytes: u32) -> Result<Page> {
        poll::poll(&Settings::load()?, cursor.as_deref(), max_items, max_bytes)
    }

    fn send(_key: &str, _message: &Message) -> Result<Receipt> {
        Err(Fault::unsupported("a feed cannot be answered"))
    }
}

register_connector!(Feed);

#[cfg(test)]
mod tests;
