//! The mail connector: mailboxes by IMAP, replies by SMTP submission.
//!
//! `poll` only fetches: each mail is handed over as raw bytes, and `receive` understands them one by one, so that a
//! hostile mail costs itself and nothing else. The files that a mail encloses are fetched when they are asked for, one by one. It never changes a mailbox: no flag, no deletion, no copy in `Sent`.
//! Bounded by the page that the host asks for, by `max_message_bytes`, and by the constants of each file.

mod address;
mod imap;
mod media;
mod poll;
mod receive;
mod send;
mod settings;
#[cfg(test)]
mod stand_in;
mod truncated;
mod wire;

use membrana_sdk::connector::{Change, Message, Page, Raw, Receipt, Sent};
use membrana_sdk::{Connector, Finding, Media, Result, Surroundings, register_connector, register_media};

use settings::Settings;

/// The connector of the network `mail`.
pub struct Mail;

impl Connector for Mail {
    fn validate(config: &str, _around: &Surroundings) -> Vec<Finding> {
        settings::validate(config)
    }

    fn poll(cursor: Option<String>, max_items: u32, max_bytes: u32) -> Result<Page> {
        poll::poll(&*Settings::load()?, cursor.as_deref(), max_items, max_bytes)
    }

    fn receive(raw: Raw) -> Result<Vec<Change>> {
        receive::receive(&*Settings::load()?, &raw)
    }

    fn send(key: &str, message: &Message) -> Result<Receipt> {
        send::send(&*Settings::load()?, key, message)
    }

    fn probe(key: &str, message: &Message) -> Result<(Sent, Option<Receipt>)> {
        send::probe(&*Settings::load()?, key, message)
    }
}

impl Media for Mail {
    fn fetch(media_ref: &str, max_bytes: u32) -> Result<Vec<u8>> {
        media::fetch(&*Settings::load()?, media_ref, max_bytes)
    }
}

register_connector!(Mail);
register_media!(Mail);
