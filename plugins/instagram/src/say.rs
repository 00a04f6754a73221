//! Answers: under the top comment, for a third level does not exist; under a mention; one private reply; a message while it is
//! taken; and hiding.

use membrana_meta::graph::Graph;
use membrana_meta::messages::person_of;
use membrana_meta::say::{Place, context, hidden, look_for, made, receipt, within};
use membrana_meta::shape::{Context, thing};
use membrana_sdk::connector::{Message, Receipt, Sent};
use membrana_sdk::{Fault, Result};
use serde_json::{Value as Json, json};

use crate::Section;
use crate::shapes::Me;

/// Of a comment. Units: characters.
const COMMENT_CHARS_MAX: usize = 2_200;

pub(crate) fn send(section: &Section, graph: &Graph, key: &str, message: &Message) -> Result<Receipt> {
    let inbox = section.inbox(graph);
    match (message.kind.as_str(), context(message)?) {
        ("reply" | "direct", Context::Message { person, at }) => inbox.send(key, message, &person, at),
        ("direct", Context::Comment { id, at, .. }) => inbox.reply_in_private(key, message, &id, at),
        ("reply", Context::Comment { top, .. }) => say(graph, &[&top, "replies"], &json!({ "message": message.text }), message),
        ("reply", Context::Mention { media, comment }) => {
            let mut body = json!({ "media_id": media, "message": message.text });
            if let (Some(comment), Some(body)) = (comment, body.as_object_mut()) {
                body.insert("comment_id".to_owned(), Json::from(comment));
            }
            say(graph, &[&section.account, "mentions"], &body, message)
        }
        ("hide", Context::Comment { id, .. }) => {
            graph.post(&[&id], &[("hide", "true")], &json!({}))?;
            Ok(hidden(&section.account, &id))
        }
        (kind, _) => Err(Fault::unsupported(&format!("`{kind}` in answer to this"))),
    }
}

fn say(graph: &Graph, at: &[&str], body: &Json, message: &Message) -> Result<Receipt> {
    within(message.text.chars().count(), COMMENT_CHARS_MAX, "characters")?;
    Ok(receipt(thing(made(&graph.post(at, &[], body)?, "id")?)))
}

/// Answers under the same comment, or the conversation, are read for our own text.
pub(crate) fn probe(section: &Section, graph: &Graph, message: &Message) -> Result<(Sent, Option<Receipt>)> {
    match (message.kind.as_str(), context(message)?) {
        ("reply" | "direct", Context::Message { person, .. }) => section.inbox(graph).probe(message, &person),
        ("direct", Context::Comment { .. }) => match person_of(message) {
            Some(person) => section.inbox(graph).probe(message, &person),
            None => Ok((Sent::Unknown, None)),
        },
        ("reply", Context::Comment { top, .. }) => {
            let me = Me::ask(section, graph)?;
            let query = [("fields", "id,text,timestamp,username,from"), ("limit", "100")];
            let place = Place { at: &[&top, "replies"], query: &query, text: "text", time: "timestamp", is_newest_first: false };
            let (sent, found) = look_for(graph, &place, message, |json| me.said(json))?;
            Ok((sent, found.map(|id| receipt(thing(id)))))
        }
        // What stands under other people's media cannot be read.
        ("reply", Context::Mention { .. }) => Err(Fault::unsupported("a look under somebody else's media")),
        ("hide", Context::Comment { id, .. }) => {
            let json = graph.get(&[&id], &[("fields", "id,hidden")])?;
            Ok(match json.get("hidden").and_then(Json::as_bool) {
                Some(true) => (Sent::Yes, Some(hidden(&section.account, &id))),
                Some(false) => (Sent::No, None),
                None => (Sent::Unknown, None),
            })
        }
        (kind, _) => Err(Fault::unsupported(&format!("`{kind}` in answer to this"))),
    }
}
