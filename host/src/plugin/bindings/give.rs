//! The model's words on their way into a guest.

use crate::model::{Annotation, Attachment, Author, Claimed, NativeId, Place, RawItem, RawOrigin, Value, Wanted};
use crate::plugin::shapes::{AnalyzeBatch, AnalyzeItem, Message, RuleEvent, RuleInteraction, Surroundings, Target};

use super::{analyze, api::types, connect, decide};

fn native(id: NativeId) -> types::NativeId {
    types::NativeId { scope: id.scope, id: id.id }
}

pub(in crate::plugin) fn surroundings(around: &Surroundings) -> types::Surroundings {
    types::Surroundings {
        teams: around.teams.clone(),
        channels: around.channels.clone(),
        analyzers: around.analyzers.clone(),
        calendars: around.calendars.clone(),
    }
}

fn attachment(attachment: &Attachment) -> types::Attachment {
    types::Attachment {
        name: attachment.name.clone(),
        media_type: attachment.media_type.clone(),
        size: attachment.size,
        url: attachment.url.clone(),
        media_ref: attachment.media_ref.clone(),
    }
}

fn annotation(said: Annotation) -> types::Annotation {
    let value = match said.value {
        Value::Text(text) => types::Value::Text(text),
        Value::Number(number) => types::Value::Number(number),
        Value::Boolean(flag) => types::Value::Boolean(flag),
        Value::Json(json) => types::Value::Json(json),
    };
    types::Annotation { key: said.key, value, confidence: said.confidence }
}

fn place(place: Place) -> types::Place {
    types::Place { name: place.name, native: place.native.map(native), position: place.position }
}

fn author(author: Author) -> connect::Author {
    connect::Author {
        native: native(author.native),
        handle: author.handle,
        name: author.name,
        url: author.url,
        email: author.email,
        phone: author.phone,
        assurance: author.assurance,
        automated: author.automated,
        metrics: author.metrics,
    }
}

pub(in crate::plugin) fn raw(raw: &RawItem) -> connect::Raw {
    let origin = match &raw.origin {
        RawOrigin::Webhook { method, path_with_query, headers } => connect::Origin::Webhook(connect::RequestHead {
            method: method.clone(),
            path_with_query: path_with_query.clone(),
            headers: headers.clone(),
        }),
        // What is lost is never given.
        RawOrigin::Frame | RawOrigin::Lost { .. } => connect::Origin::Frame,
        RawOrigin::Item { native: id, .. } | RawOrigin::Unreadable { native: id, .. } => connect::Origin::Item(native(id.clone())),
    };
    connect::Raw { origin, body: raw.body.clone(), received: raw.received.0 }
}

pub(in crate::plugin) fn message(message: &Message) -> connect::Message {
    connect::Message {
        kind: message.kind.clone(),
        automatic: message.is_automatic,
        text: message.text.clone(),
        to: message.to.clone().map(target),
        created: message.created.0,
        attrs: message.attrs.clone(),
    }
}

fn target(target: Target) -> connect::Target {
    connect::Target {
        native: native(target.native),
        author: target.author.map(author),
        reply_context: target.reply_context,
        visibility: target.visibility,
        subject: target.subject,
        language: target.language,
    }
}

pub(in crate::plugin) fn batch(batch: &AnalyzeBatch<'_>) -> analyze::Batch {
    analyze::Batch { channel: batch.channel.to_owned(), kind: batch.kind.to_owned(), items: batch.items.iter().map(item).collect() }
}

fn item(item: &AnalyzeItem<'_>) -> analyze::Item {
    analyze::Item {
        subject: item.subject.map(str::to_owned),
        text: item.text.to_owned(),
        language: item.language.map(str::to_owned),
        occurred: item.occurred.0,
        context: context(item),
    }
}

fn context(item: &AnalyzeItem<'_>) -> Option<analyze::Context> {
    let is_empty = item.earlier.is_empty() && item.author.is_none() && item.attachments.is_empty();
    (!is_empty).then(|| analyze::Context {
        earlier: item.earlier.iter().map(|said| annotation((*said).clone())).collect(),
        author: item.author.clone(),
        attachments: item.attachments.iter().map(attachment).collect(),
    })
}

pub(in crate::plugin) fn event(event: RuleEvent) -> decide::Event {
    decide::Event {
        kind: event.kind,
        at: event.at.0,
        interaction: event.interaction.map(interaction),
        done: event.done.into_iter().map(claimed).collect(),
        capabilities: event.capabilities.to_string(),
        exchange: event
            .exchange
            .map(|exchange| decide::Exchange { version: exchange.version, automatic_replies_last_hour: exchange.automatic_replies_last_hour }),
        conversation: event.conversation.map(|conversation| decide::Conversation {
            id: conversation.id,
            count: conversation.count,
            recent: conversation.recent.into_iter().map(|(who, at, text)| (who, at.0, text)).collect(),
            open_tasks: conversation.open_tasks,
        }),
        person: None,
        body: event.body,
    }
}

fn interaction(about: RuleInteraction) -> decide::Interaction {
    decide::Interaction {
        id: about.id,
        channel: about.channel,
        kind: about.kind,
        visibility: about.visibility,
        subject: about.subject,
        text: about.text,
        language: about.language,
        automated: about.automated,
        identity: about.identity,
        author_name: about.author_name,
        author_handle: about.author_handle,
        author_metrics: about.author_metrics,
        place: about.place.map(place),
        side: about.side,
        campaign: about.campaign,
        occurred: about.occurred.0,
        received: about.received.0,
        backfill: about.backfill,
        attrs: about.attrs,
        annotations: about.annotations.into_iter().map(annotation).collect(),
        missing: about.missing,
    }
}

fn claimed(claimed: Claimed) -> decide::Claimed {
    let Wanted { key, kind, body } = claimed.wanted;
    decide::Claimed { action: decide::Action { key, kind, body }, rule: claimed.rule, state: claimed.state.word().to_owned() }
}
