//! The JSON that API, command line and sinks show: one shape of an interaction, an action and a task everywhere.
//!
//! Times are RFC 3339 in UTC; what is absent is null.

use serde_json::{Map, Value as Json, json};

use super::{
    Action, Annotated, Attachment, Author, ChannelName, DeadLetter, DeadSubject, Decision, Entry, EntryBody, IdentityId, Interaction, InteractionId,
    MediaOutcome, MediaState, NativeId, RawItem, RawOrigin, Seq, Task, Timestamp, Value,
};

/// Of bytes that are shown for a person to recognise. Units: characters.
const BEGINNING_MAX: usize = 2000;

/// For whoever named a section that there is not: those there are.
pub fn there_are(known: &[&str]) -> String {
    if known.is_empty() { "there is none yet; add its section to membrana.toml".to_owned() } else { format!("there are: {}", known.join(", ")) }
}

/// An interaction with all that is known of it.
#[derive(Debug, Clone)]
pub struct InteractionView {
    /// Where it was said.
    pub channel: ChannelName,
    /// Its id.
    pub id: InteractionId,
    /// The entry that brought the content in force.
    pub entry: std::sync::Arc<Entry>,
    /// When it was first received.
    pub received: Timestamp,
    /// When it was taken back.
    pub gone: Option<Timestamp>,
    /// How the bytes of each attachment stand, in their order; none where nobody asked for them. Shape: may be shorter.
    pub media: Vec<Option<MediaState>>,
    /// What analyzers said.
    pub annotated: Annotated,
    /// What was decided, latest entry last.
    pub decisions: Vec<Decision>,
    /// Its actions in the outbox.
    pub actions: Vec<Action>,
    /// Its tasks.
    pub tasks: Vec<Task>,
}

impl InteractionView {
    /// The shape that surfaces promise.
    pub fn json(&self) -> Json {
        let Some(content) = self.entry.new.body.content() else { return Json::Null };
        json!({
            "id": self.id.to_string(),
            "revision": self.entry.seq.0,
            "channel": self.channel.as_str(),
            "kind": content.kind,
            "native": native(&content.native),
            "url": content.url,
            "conversation": self.entry.new.conversation.map(|c| c.to_string()),
            "parent": content.parent.as_ref().map(native),
            "author": content.author.as_ref().map(|a| author(a, self.entry.new.identity)),
            "own": content.is_ours(),
            "automated": content.automated,
            "visibility": content.visibility,
            "subject": content.subject,
            "text": content.text,
            "quoted": content.quoted,
            "language": self.language(content),
            "occurred_at": rfc3339(content.occurred),
            "received_at": rfc3339(self.received),
            "edited_at": content.edited.map(rfc3339),
            "gone_at": self.gone.map(rfc3339),
            "backfill": self.entry.new.is_backfill,
            "place": content.place.as_ref().map(|p| json!({ "name": p.name, "position": p.position.map(|(lat, lon)| [lat, lon]) })),
            "side": content.side,
            "campaign": content.campaign,
            "attachments": (0..).zip(&content.attachments).map(|(n, one)| attachment(one, self.media.get(n).and_then(Option::as_ref))).collect::<Vec<_>>(),
            "attrs": content.attrs.iter().map(|(k, v)| (k.clone(), Json::from(v.as_str()))).collect::<Map<_, _>>(),
            "annotations": self.annotated.annotations.iter().map(|(analyzer, digest, said)| json!({
                "analyzer": analyzer, "digest": digest.to_string(), "key": said.key, "value": value(&said.value), "confidence": said.confidence,
            })).collect::<Vec<_>>(),
            "missing": self.annotated.missing,
            "decisions": self.decisions.iter().map(|d| self.decision(d)).collect::<Vec<_>>(),
        })
    }

    /// As declared, else as an analyzer told.
    fn language<'a>(&'a self, content: &'a Interaction) -> Option<&'a str> {
        let told = self.annotated.annotations.iter().find_map(|(_, _, said)| match &said.value {
            Value::Text(text) if said.key == "language" => Some(text.as_str()),
            _ => None,
        });
        content.language.as_deref().or(told)
    }

    /// What the latest decision of a rule asked for is shown as it stands now, what an earlier one did as it was asked.
    fn decision(&self, decision: &Decision) -> Json {
        let is_latest = !self.decisions.iter().any(|other| other.rule == decision.rule && other.seq > decision.seq);
        let live = |kind: &str, key: &str| match kind {
            _ if !is_latest => None,
            "reply" => self.actions.iter().find(|a| a.rule == decision.rule && a.wanted.key == key).map(action),
            "assign" => self.tasks.iter().find(|t| t.rule == decision.rule).map(task),
            _ => None,
        };
        let actions = decision.actions.iter().map(|w| {
            let mut shown = live(&w.kind, &w.key).unwrap_or_else(|| json!({ "key": w.key, "kind": w.kind }));
            if let Some(shown) = shown.as_object_mut() {
                shown.insert("body".to_owned(), body(&w.body));
            }
            shown
        });
        json!({
            "rule": decision.rule,
            "digest": decision.digest.to_string(),
            "row": decision.row,
            "reasons": decision.reasons,
            "missing": decision.missing,
            "at": rfc3339(decision.at),
            "actions": actions.collect::<Vec<_>>(),
            "dropped": decision.dropped.iter().map(|(w, why)| json!({ "key": w.key, "kind": w.kind, "body": body(&w.body), "reason": why })).collect::<Vec<_>>(),
        })
    }
}

/// An action as surfaces show it.
pub fn action(action: &Action) -> Json {
    json!({
        "id": action.id.to_string(),
        "key": action.wanted.key,
        "kind": action.wanted.kind,
        "channel": action.channel.as_str(),
        "interaction": action.interaction.to_string(),
        "rule": action.rule,
        "text": action.text,
        "fingerprint": action.fingerprint(),
        "state": action.state.word(),
        "automatic": action.is_automatic,
        "review": action.review,
        "attempts": action.attempts,
        "created_at": rfc3339(action.created),
        "due_at": rfc3339(action.due),
        "native_id": action.native.as_ref().map(|n| n.id.as_str()),
        "error": action.error,
    })
}

/// A task as surfaces show it.
pub fn task(task: &Task) -> Json {
    let steps = task.assignment.escalate.iter().zip(0u16..).map(|(step, n)| {
        let at = task.opened.plus(std::time::Duration::from_millis(step.after_ms));
        json!({ "to": step.to, "at": rfc3339(at), "fired": task.escalated.contains(&n) })
    });
    json!({
        "id": task.id.to_string(),
        "kind": "assign",
        "key": task.key,
        "team": task.assignment.team,
        "assignee": null,
        "channel": task.channel.as_str(),
        "interaction": task.interaction.to_string(),
        "rule": task.rule,
        "row": task.row,
        "state": task.state.word(),
        "opened_at": rfc3339(task.opened),
        "due_at": task.due.map(rfc3339),
        "escalations": steps.collect::<Vec<_>>(),
        "consulted": task.assignment.consulted,
        "informed": task.assignment.informed,
        "note": task.assignment.note,
    })
}

/// A dead letter as surfaces show it.
pub fn dead_letter(letter: &DeadLetter) -> Json {
    let subject = match &letter.subject {
        DeadSubject::Raw(seq) => json!({ "raw": seq }),
        DeadSubject::Entry(Seq(seq)) => json!({ "entry": seq }),
        DeadSubject::Action(id) => json!({ "action": id.to_string() }),
        DeadSubject::Event { seq: Seq(seq), event, id } => json!({ "entry": seq, "event": event, "event_id": id }),
    };
    json!({
        "id": letter.id.to_string(),
        "channel": letter.channel.as_str(),
        "stage": letter.stage,
        "subject": subject,
        "plugin": letter.plugin,
        "digest": letter.digest.map(|d| d.to_string()),
        "reason": letter.reason,
        "at": rfc3339(letter.at),
    })
}

/// What was received, with its beginning as text.
pub fn raw_item(raw: &RawItem) -> Json {
    let from = match &raw.origin {
        RawOrigin::Webhook { method, .. } => format!("webhook, {method}"),
        RawOrigin::Frame => "stream".to_owned(),
        RawOrigin::Item { native, .. } => format!("poll, as `{}`", native.id),
        RawOrigin::Unreadable { native, .. } => format!("poll, as `{}`, of which the first bytes are kept", native.id),
        RawOrigin::Lost { reason } => format!("lost: {reason}"),
    };
    // Four bytes make a character at most.
    let beginning = raw.body.get(..raw.body.len().min(BEGINNING_MAX * 4)).unwrap_or_default();
    let beginning: String = String::from_utf8_lossy(beginning).chars().take(BEGINNING_MAX).collect();
    json!({ "received_at": rfc3339(raw.received), "from": from, "bytes": raw.body.len(), "beginning": beginning })
}

/// What kind of entry it is, in one word.
pub fn entry_word(body: &EntryBody) -> &'static str {
    match body {
        EntryBody::Arrived(_) => "arrived",
        EntryBody::Edited(_) => "edited",
        EntryBody::Gone => "gone",
        EntryBody::Unreadable { .. } => "unreadable",
        EntryBody::Note { .. } => "note",
        EntryBody::Fact(_) => "fact",
    }
}

/// Shape: `2026-11-24T12:00:03.120Z`; moments that no calendar holds are shown as the nearest that one does.
pub fn rfc3339(at: Timestamp) -> String {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    let moment = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    format!("{moment:.3}")
}

fn native(id: &NativeId) -> Json {
    json!({ "scope": id.scope, "id": id.id })
}

fn attachment(attachment: &Attachment, state: Option<&MediaState>) -> Json {
    let (stored, reason) = match state {
        Some(MediaState::Settled(MediaOutcome::Stored { size, sha256 })) => (Some((*size, sha256.to_string())), None),
        Some(MediaState::Settled(MediaOutcome::Failed(reason))) => (None, Some(reason.as_str())),
        Some(MediaState::Pending) | None => (None, None),
    };
    json!({
        "name": attachment.name,
        "media_type": attachment.media_type,
        "size": stored.as_ref().map(|(size, _)| *size).or(attachment.size),
        "url": attachment.url,
        "state": state.map(MediaState::word),
        "reason": reason,
        "sha256": stored.map(|(_, sha256)| sha256),
    })
}

fn author(author: &Author, identity: Option<IdentityId>) -> Json {
    json!({
        "identity": identity.map(|i| i.to_string()),
        "native_id": author.native.id,
        "handle": author.handle,
        "name": author.name,
        "email": author.email,
        "url": author.url,
        "automated": author.automated,
        "metrics": author.metrics.iter().map(|(k, v)| (k.clone(), Json::from(*v))).collect::<Map<_, _>>(),
    })
}

/// An annotation's value as JSON.
pub fn value(value: &Value) -> Json {
    match value {
        Value::Text(text) => Json::from(text.as_str()),
        Value::Number(number) => Json::from(*number),
        Value::Boolean(flag) => Json::from(*flag),
        Value::Json(text) => body(text),
    }
}

fn body(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or(Json::Null)
}
