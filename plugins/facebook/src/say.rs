//! Answers: a comment under a post or a comment, one private reply to a comment, a message while it is taken, and hiding.

use membrana_meta::graph::Graph;
use membrana_meta::messages::person_of;
use membrana_meta::read::id_in;
use membrana_meta::say::{Place, context, hidden, look_for, made, receipt, within};
use membrana_meta::shape::{Context, thing};
use membrana_sdk::connector::{Message, Receipt, Sent};
use membrana_sdk::{Fault, Result};
use serde_json::{Value as Json, json};

use crate::Section;

/// Of a comment. Units: characters.
const COMMENT_CHARS_MAX: usize = 8_000;

pub(crate) fn send(section: &Section, graph: &Graph, key: &str, message: &Message) -> Result<Receipt> {
    let inbox = section.inbox(graph);
    match (message.kind.as_str(), context(message)?) {
        ("reply" | "direct", Context::Message { person, at }) => inbox.send(key, message, &person, at),
        ("direct", Context::Comment { id, at, .. }) => inbox.reply_in_private(key, message, &id, at),
        ("reply", Context::Comment { id, .. } | Context::Post { id }) => comment(graph, &id, message),
        ("hide", Context::Comment { id, .. }) => {
            graph.post(&[&id], &[], &json!({ "is_hidden": true }))?;
            Ok(hidden(&section.page, &id))
        }
        (kind, _) => Err(Fault::unsupported(&format!("`{kind}` in answer to this"))),
    }
}

fn comment(graph: &Graph, under: &str, message: &Message) -> Result<Receipt> {
    within(message.text.chars().count(), COMMENT_CHARS_MAX, "characters")?;
    let answer = graph.post(&[under, "comments"], &[], &json!({ "message": message.text }))?;
    Ok(receipt(thing(made(&answer, "id")?)))
}

/// Comments under the same parent, or the conversation, are read for our own text.
pub(crate) fn probe(section: &Section, graph: &Graph, message: &Message) -> Result<(Sent, Option<Receipt>)> {
    match (message.kind.as_str(), context(message)?) {
        ("reply" | "direct", Context::Message { person, .. }) => section.inbox(graph).probe(message, &person),
        ("direct", Context::Comment { .. }) => match person_of(message) {
            Some(person) => section.inbox(graph).probe(message, &person),
            None => Ok((Sent::Unknown, None)),
        },
        // An answer to an answer stands under the comment above both.
        ("reply", Context::Comment { top, .. } | Context::Post { id: top }) => look_under(section, graph, &top, message),
        ("hide", Context::Comment { id, .. }) => {
            let json = graph.get(&[&id], &[("fields", "id,is_hidden")])?;
            Ok(match json.get("is_hidden").and_then(Json::as_bool) {
                Some(true) => (Sent::Yes, Some(hidden(&section.page, &id))),
                Some(false) => (Sent::No, None),
                None => (Sent::Unknown, None),
            })
        }
        (kind, _) => Err(Fault::unsupported(&format!("`{kind}` in answer to this"))),
    }
}

fn look_under(section: &Section, graph: &Graph, parent: &str, message: &Message) -> Result<(Sent, Option<Receipt>)> {
    let place = Place {
        at: &[parent, "comments"],
        query: &[("filter", "toplevel"), ("order", "reverse_chronological"), ("fields", "id,from,message,created_time"), ("limit", "100")],
        text: "message",
        time: "created_time",
        is_newest_first: true,
    };
    let (sent, found) = look_for(graph, &place, message, |json| id_in(json, "from").map(|from| from == section.page))?;
    Ok((sent, found.map(|id| receipt(thing(id)))))
}
