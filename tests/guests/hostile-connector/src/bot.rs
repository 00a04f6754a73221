//! The automatic side of a conversation: hears what a webhook brings as the word of a person, and says through a server of the test what
//! the outbox gives it.

use membrana_sdk::connector::{Author, Change, Interaction, Message, Raw, Receipt};
use membrana_sdk::http::{self, Request};
use membrana_sdk::{Fault, Result};

use crate::{FIELD, item, native, setting};

/// Id, author and text: all in one thread, and nothing of it ours.
pub(crate) fn heard(raw: &Raw) -> Result<Vec<Change>> {
    let body = String::from_utf8_lossy(&raw.body);
    let fields: Vec<&str> = body.split(FIELD).collect();
    let ["gone", id] = fields.as_slice() else {
        let [id, author, text] = fields.as_slice() else { return Err(Fault::permanent("bot", "three fields, or two")) };
        let (conversation, author) = (Some(native("thread")), Some(author_of(author)));
        return Ok(vec![Change::Upsert(Interaction { text: (*text).to_owned(), conversation, author, ..item(native(id), raw.received) })]);
    };
    Ok(vec![Change::Gone(native(id))])
}

/// Its answer is the id of what was said.
pub(crate) fn say(_key: &str, message: &Message) -> Result<Receipt> {
    let request = Request::new("POST", setting("url")).body("text/plain", message.text.as_bytes());
    let answer = http::send(&request).map_err(|error| error.fault_of_write("bot"))?;
    Ok(Receipt { native: native(&answer.text()), aka: Vec::new(), url: None, attrs: Vec::new() })
}

fn author_of(name: &str) -> Author {
    Author {
        native: native(name),
        handle: None,
        name: Some(name.to_owned()),
        url: None,
        email: None,
        phone: None,
        assurance: None,
        automated: false,
        metrics: Vec::new(),
    }
}
