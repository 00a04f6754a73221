//! Webhooks, nested and flat; what is not known is told by its names and is no error to the network.

use membrana_meta::graph::Graph;
use membrana_meta::hooks::{self, Event, What};
use membrana_meta::latest::Latest;
use membrana_meta::read::{id, id_in};
use membrana_meta::shape::{Context, note, thing, unknown, unreadable};
use membrana_sdk::connector::{Change, Interaction, Raw};
use membrana_sdk::{Fault, Result, Timestamp};
use serde_json::{Value as Json, json};

use crate::Section;
use crate::shapes::{COMMENT_FIELDS, MEDIA_FIELDS, Me, comment, medium};

pub(crate) fn hear(section: &Section, graph: &Graph, raw: &Raw) -> Result<Vec<Change>> {
    let body = hooks::body(&raw.body)?;
    let mut latest = Latest::read();
    let mut changes = Vec::new();
    for event in hooks::events(&body, raw.received) {
        changes.extend(change(section, graph, &event, &mut latest)?);
    }
    latest.keep();
    Ok(changes)
}

fn change(section: &Section, graph: &Graph, event: &Event<'_>, latest: &mut Latest) -> Result<Option<Change>> {
    if !event.owner.is_empty() && event.owner != section.account {
        return Ok(Some(note("meta.elsewhere", &json!({ "object": event.object, "id": event.owner }))));
    }
    Ok(match &event.what {
        What::Messaging(json) => section.inbox(graph).heard(json, event.at, latest),
        What::Field(field, value) if matches!(field.as_str(), "comments" | "live_comments") => Some(commented(section, graph, value, event.at)?),
        What::Field(field, value) if field == "mentions" => Some(mentioned(section, graph, value, event.at)?),
        // Of messages, some subscriptions have the same as a field.
        What::Field(field, value) if value.get("sender").is_some() && field.starts_with("messag") => {
            section.inbox(graph).heard(value, event.at, latest)
        }
        What::Field(field, value) => Some(unknown(&event.object, field, value)),
        What::Odd(json) => Some(unknown(&event.object, "", json)),
    })
}

fn commented(section: &Section, graph: &Graph, value: &Json, at: Timestamp) -> Result<Change> {
    let me = Me::ask(section, graph)?;
    let about = comment(&me, value, id_in(value, "media"), None, Some(at));
    Ok(about.map_or_else(|| unreadable(value, &section.account, &format!("comment/{at}"), "a comment without an id"), Change::Upsert))
}

/// The webhook says only where: what was said is read. Errors: what the read brings, so that the channel waits; gone is gone.
fn mentioned(section: &Section, graph: &Graph, value: &Json, at: Timestamp) -> Result<Change> {
    let (media, comment_id) = (id(value, "media_id"), id(value, "comment_id"));
    let Some(native) = comment_id.clone().or_else(|| media.clone()) else {
        return Ok(unreadable(value, &section.account, &format!("mention/{at}"), "a mention without an id"));
    };
    let (edge, fields) = match &comment_id {
        Some(comment) => ("mentioned_comment", format!("mentioned_comment.comment_id({comment}){{{COMMENT_FIELDS},media}}")),
        None => ("mentioned_media", format!("mentioned_media.media_id({native}){{{MEDIA_FIELDS}}}")),
    };
    if !membrana_meta::messages::is_id(&native) {
        return Ok(unreadable(value, &section.account, &format!("mention/{at}"), "a mention whose id is none"));
    }
    let me = Me::ask(section, graph)?;
    let answer = graph.get(&[&section.account], &[("fields", &fields)]);
    let answer = match answer.map_err(|fault| graph.of_one(fault, &[&section.account], "tags", &[("limit", "1")])) {
        Ok(answer) => answer,
        Err(Fault::Permanent(detail)) => return Ok(note("meta.mention-lost", &json!({ "id": native, "code": detail.code }))),
        Err(fault) => return Err(fault),
    };
    let told = answer.get(edge).unwrap_or(&Json::Null);
    let about = match (&comment_id, media) {
        (Some(_), media) => {
            let media = id_in(told, "media").or(media);
            let context = media.clone().map(|media| Context::Mention { media, comment: Some(native.clone()) });
            comment(&me, told, media, None, Some(at)).map(|about| Interaction {
                kind: "mention".to_owned(),
                reply_context: context.and_then(|context| context.to_text()),
                ..about
            })
        }
        (None, _) => medium(&me, told, true),
    };
    Ok(about.map_or_else(|| note("meta.mention-lost", &json!({ "id": thing(native).id })), Change::Upsert))
}
