//! What a guest returned, on its way into the model. Nothing of it is trusted: sizes, counts and numbers are checked here.

use std::collections::HashSet;
use std::time::Duration;

use crate::egress::{StreamProtocol, StreamRequest};
use crate::model::{
    Annotation, Attachment, Author, Detail, Digest, Fault, Finding, Interaction, NativeId, Ours, Place, Severity, Timestamp, Value, Wanted,
};
use crate::plugin::shapes::{Allowance, Change, Page, Receipt, RuleDecision, Sent};

use super::{api::types, connect, decide, streaming};

/// Units: bytes.
const ID_MAX: usize = 1024;
const TEXT_MAX: usize = 1 << 20;
const WORD_MAX: usize = 4096;
const BODY_MAX: usize = 64 << 10;
const RAW_MAX: usize = 32 << 20;
const CURSOR_MAX: usize = 64 << 10;
const HEAD_MAX: usize = 64 << 10;
/// Counts.
const ATTRS_MAX: usize = 64;
const REFS_MAX: usize = 64;
const ATTACHMENTS_MAX: usize = 64;
const ANNOTATIONS_MAX: usize = 32;
/// Of one decision; further ones are not even read.
const ACTIONS_MAX: usize = 16;
const REASONS_MAX: usize = 32;
const CHANGES_MAX: usize = 4096;
const MESSAGE_MAX: usize = 500;
/// A plugin may ask to be left alone for so long.
const WAIT_MS_MAX: u64 = 24 * 3_600_000;
/// A month, the longest window that a network counts in.
const ALLOWANCE_MS_MAX: u64 = 31 * 24 * 3_600_000;

/// How long a stream may be silent before it counts as dead.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(1);
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(600);

/// What is wrong with an answer, in words.
type Checked<T> = Result<T, String>;

/// The fault of an answer that breaks the contract.
pub(in crate::plugin) fn broken(why: String) -> Fault {
    Fault::Permanent(Detail { code: "contract".to_owned(), message: why })
}

fn within(what: &str, text: String, max: usize) -> Checked<String> {
    if text.len() > max { Err(format!("{what} of {} bytes is over {max}", text.len())) } else { Ok(text) }
}

fn optional(what: &str, text: Option<String>, max: usize) -> Checked<Option<String>> {
    text.map(|text| within(what, text, max)).transpose()
}

fn at_most<T>(what: &str, list: Vec<T>, max: usize) -> Checked<Vec<T>> {
    if list.len() > max { Err(format!("{} {what} are over {max}", list.len())) } else { Ok(list) }
}

fn native(id: types::NativeId) -> Checked<NativeId> {
    if id.id.is_empty() {
        return Err("a native id is empty".to_owned());
    }
    Ok(NativeId { scope: within("scope of a native id", id.scope, ID_MAX)?, id: within("native id", id.id, ID_MAX)? })
}

fn natives(what: &str, ids: Vec<types::NativeId>) -> Checked<Vec<NativeId>> {
    at_most(what, ids, REFS_MAX)?.into_iter().map(native).collect()
}

fn attrs(attrs: Vec<(String, String)>) -> Checked<Vec<(String, String)>> {
    let each = at_most("attrs", attrs, ATTRS_MAX)?.into_iter();
    each.map(|(key, value)| Ok((within("key of attrs", key, ID_MAX)?, within("value of attrs", value, ID_MAX)?))).collect()
}

/// Cut to a bound and freed of control characters, so that it can be shown to an admin.
pub(in crate::plugin) fn shown(text: &str, max: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(max).collect()
}

pub(in crate::plugin) fn fault(fault: types::Fault) -> Fault {
    let detail = |d: types::Detail| Detail { code: shown(&d.code, 64), message: shown(&d.message, MESSAGE_MAX) };
    match fault {
        types::Fault::Config(d) => Fault::Config(detail(d)),
        types::Fault::Auth(d) => Fault::Auth(detail(d)),
        types::Fault::RateLimited((d, ms)) => Fault::RateLimited(detail(d), ms.min(WAIT_MS_MAX)),
        types::Fault::Transient(d) => Fault::Transient(detail(d)),
        types::Fault::Permanent(d) => Fault::Permanent(detail(d)),
        types::Fault::Unsupported(d) => Fault::Unsupported(detail(d)),
    }
}

pub(in crate::plugin) fn findings(findings: Vec<types::Finding>) -> Vec<Finding> {
    let severity = |severity| match severity {
        types::Severity::Error => Severity::Error,
        types::Severity::Warning => Severity::Warning,
        types::Severity::Info => Severity::Info,
    };
    let each = findings.into_iter().take(1000);
    each.map(|f| Finding {
        severity: severity(f.severity),
        key: shown(&f.key, 200),
        line: f.line,
        column: f.column,
        message: shown(&f.message, MESSAGE_MAX),
        cure: shown(&f.cure, MESSAGE_MAX),
    })
    .collect()
}

pub(in crate::plugin) fn annotations(lists: Vec<Vec<types::Annotation>>, n_items: usize) -> Checked<Vec<Vec<Annotation>>> {
    if lists.len() != n_items {
        return Err(format!("{} lists of annotations for {n_items} items", lists.len()));
    }
    lists.into_iter().map(|list| at_most("annotations", list, ANNOTATIONS_MAX)?.into_iter().map(annotation).collect()).collect()
}

fn annotation(said: types::Annotation) -> Checked<Annotation> {
    let value = match said.value {
        types::Value::Text(text) if said.key == "language" => Value::Text(tag(&within("text of an annotation", text, WORD_MAX)?)),
        types::Value::Text(text) => Value::Text(within("text of an annotation", text, WORD_MAX)?),
        types::Value::Number(number) if number.is_finite() => Value::Number(number),
        types::Value::Number(_) => return Err(format!("annotation `{}` is no finite number", shown(&said.key, 64))),
        types::Value::Boolean(flag) => Value::Boolean(flag),
        types::Value::Json(json) => Value::Json(checked_json("annotation", json, WORD_MAX)?),
    };
    let confidence = said.confidence.filter(|c| c.is_finite()).map(|c| c.clamp(0.0, 1.0));
    Ok(Annotation { key: within("key of an annotation", said.key, 128)?, value, confidence })
}

/// Many programs write `it_IT` for BCP 47's `it-IT`; who reads a tag looks for its main language before a `-`.
fn tag(language: &str) -> String {
    language.trim().replace('_', "-")
}

fn checked_json(what: &str, json: String, max: usize) -> Checked<String> {
    let json = within(what, json, max)?;
    serde_json::from_str::<serde::de::IgnoredAny>(&json).map_err(|error| format!("{what} is no JSON: {error}"))?;
    Ok(json)
}

pub(in crate::plugin) fn decisions(decisions: Vec<decide::Decision>, n_events: usize) -> Checked<Vec<RuleDecision>> {
    if decisions.len() != n_events {
        return Err(format!("{} decisions for {n_events} events", decisions.len()));
    }
    decisions.into_iter().map(decision).collect()
}

fn decision(decision: decide::Decision) -> Checked<RuleDecision> {
    let n_refused = decision.actions.len().saturating_sub(ACTIONS_MAX);
    let actions = decision.actions.into_iter().take(ACTIONS_MAX).map(|action| {
        let key = within("key of an action", action.key, 128)?;
        let kind = within("kind of an action", action.kind, 64)?;
        Ok(Wanted { key, kind, body: checked_json("body of an action", action.body, BODY_MAX)? })
    });
    let actions = actions.collect::<Checked<Vec<Wanted>>>()?;
    let mut keys = HashSet::new();
    if let Some(twice) = actions.iter().find(|wanted| !keys.insert(wanted.key.as_str())) {
        return Err(format!("two actions of one decision have the key `{}`", shown(&twice.key, 60)));
    }
    Ok(RuleDecision {
        actions,
        n_refused,
        row: decision.row.map(|row| shown(&row, 200)),
        reasons: decision.reasons.iter().take(REASONS_MAX).map(|reason| shown(reason, MESSAGE_MAX)).collect(),
    })
}

pub(in crate::plugin) fn page(page: connect::Page) -> Checked<Page> {
    Ok(Page {
        changes: changes(page.changes)?,
        cursor: within("cursor", page.cursor, CURSOR_MAX)?,
        more: page.more,
        backfill: page.backfill,
        next_poll: page.next_poll_ms.map(|ms| Duration::from_millis(ms.min(WAIT_MS_MAX))),
        allowance: page.allowance.and_then(allowance),
    })
}

/// What cannot be a share is no word on the limit.
fn allowance(said: connect::Allowance) -> Option<Allowance> {
    let resets_in = Duration::from_millis(said.resets_in_ms.min(ALLOWANCE_MS_MAX));
    said.left.is_finite().then(|| Allowance { left: said.left.clamp(0.0, 1.0), resets_in })
}

pub(in crate::plugin) fn changes(changes: Vec<connect::Change>) -> Checked<Vec<Change>> {
    Ok(at_most("changes", changes, CHANGES_MAX)?.into_iter().map(change_or_unreadable).collect())
}

/// A change that breaks the contract is set aside alone: one thing that the network sends must not keep the rest from coming
/// for ever. Where its native id is the breach, it is named by the digest of that.
fn change_or_unreadable(given: connect::Change) -> Change {
    let (named, head) = match &given {
        connect::Change::Upsert(about) => (Some(about.native.clone()), about.text.as_bytes()),
        connect::Change::Raw((id, body)) => (Some(id.clone()), body.as_slice()),
        connect::Change::Gone(id) => (Some(id.clone()), [].as_slice()),
        connect::Change::Unreadable((id, _, head)) => (Some(id.clone()), head.as_slice()),
        connect::Change::Note((_, json)) => (None, json.as_bytes()),
    };
    let head = head.get(..HEAD_MAX.min(head.len())).unwrap_or_default().to_vec();
    change(given).unwrap_or_else(|why| {
        let seed = named.as_ref().map(|id| [id.scope.as_bytes(), &[0], id.id.as_bytes()].concat()).unwrap_or_default();
        let unnamed = || NativeId { scope: "unusable".to_owned(), id: Digest::of(if seed.len() > 1 { &seed } else { &head }).to_string() };
        let native = named.and_then(|id| native(id).ok()).unwrap_or_else(unnamed);
        Change::Unreadable { native, reason: shown(&why, MESSAGE_MAX), head }
    })
}

fn change(change: connect::Change) -> Checked<Change> {
    Ok(match change {
        connect::Change::Upsert(about) => Change::Upsert(Box::new(interaction(about)?)),
        connect::Change::Raw((id, body)) if body.len() <= RAW_MAX => Change::Raw(native(id)?, body),
        connect::Change::Raw((_, body)) => return Err(format!("raw item of {} bytes is over {RAW_MAX}", body.len())),
        connect::Change::Gone(id) => Change::Gone(native(id)?),
        connect::Change::Unreadable((id, reason, mut head)) => {
            head.truncate(HEAD_MAX);
            Change::Unreadable { native: native(id)?, reason: shown(&reason, MESSAGE_MAX), head }
        }
        connect::Change::Note((kind, json)) => {
            Change::Note { kind: within("kind of a note", kind, 128)?, json: checked_json("note", json, WORD_MAX)? }
        }
    })
}

fn interaction(about: connect::Interaction) -> Checked<Interaction> {
    Ok(Interaction {
        native: native(about.native)?,
        aka: natives("aka", about.aka)?,
        kind: within("kind", about.kind, 64)?,
        visibility: within("visibility", about.visibility, 64)?,
        author: about.author.map(author).transpose()?,
        ours: match about.ours {
            connect::Ours::No => Ours::No,
            connect::Ours::Yes(key) => Ours::Yes(optional("action's key", key, 128)?),
        },
        automated: within("automated", about.automated, 64)?,
        conversation: about.conversation.map(native).transpose()?,
        parent: about.parent.map(native).transpose()?,
        refs: natives("refs", about.refs)?,
        subject: optional("subject", about.subject, WORD_MAX)?,
        text: within("text", about.text, TEXT_MAX)?,
        quoted: optional("quoted text", about.quoted, TEXT_MAX)?,
        language: optional("language", about.language, 64)?.map(|language| tag(&language)).filter(|tag| !tag.is_empty()),
        url: optional("url", about.url, WORD_MAX)?,
        attachments: at_most("attachments", about.attachments, ATTACHMENTS_MAX)?.into_iter().map(attachment).collect::<Checked<_>>()?,
        place: about.place.map(place).transpose()?,
        side: optional("side", about.side, 64)?,
        campaign: optional("campaign", about.campaign, ID_MAX)?,
        occurred: Timestamp(about.occurred),
        edited: about.edited.map(Timestamp),
        reply_context: optional("reply context", about.reply_context, WORD_MAX)?,
        attrs: attrs(about.attrs)?,
    })
}

fn author(author: connect::Author) -> Checked<Author> {
    let metrics = at_most("metrics", author.metrics, ATTRS_MAX)?.into_iter().filter(|(key, value)| key.len() <= 128 && value.is_finite());
    Ok(Author {
        native: native(author.native)?,
        handle: optional("handle", author.handle, ID_MAX)?,
        name: optional("name", author.name, ID_MAX)?,
        url: optional("url of an author", author.url, WORD_MAX)?,
        email: optional("email", author.email, ID_MAX)?,
        phone: optional("phone", author.phone, 64)?,
        assurance: optional("assurance", author.assurance, 64)?,
        automated: author.automated,
        metrics: metrics.collect(),
    })
}

fn attachment(attachment: types::Attachment) -> Checked<Attachment> {
    Ok(Attachment {
        name: optional("name of an attachment", attachment.name, ID_MAX)?,
        media_type: within("media type", attachment.media_type, 256)?,
        size: attachment.size,
        url: optional("url of an attachment", attachment.url, WORD_MAX)?,
        media_ref: optional("media ref", attachment.media_ref, ID_MAX)?,
    })
}

fn place(place: types::Place) -> Checked<Place> {
    let position = place.position.filter(|(lat, lon)| lat.abs() <= 90.0 && lon.abs() <= 180.0);
    Ok(Place { name: optional("name of a place", place.name, ID_MAX)?, native: place.native.map(native).transpose()?, position })
}

pub(in crate::plugin) fn receipt(receipt: connect::Receipt) -> Checked<Receipt> {
    Ok(Receipt { native: native(receipt.native)?, aka: natives("aka", receipt.aka)? })
}

pub(in crate::plugin) fn probed((sent, receipt_of): (connect::Sent, Option<connect::Receipt>)) -> Checked<(Sent, Option<Receipt>)> {
    let sent = match sent {
        connect::Sent::Yes => Sent::Yes,
        connect::Sent::No => Sent::No,
        connect::Sent::Unknown => Sent::Unknown,
    };
    Ok((sent, receipt_of.map(receipt).transpose()?))
}

pub(in crate::plugin) fn file(bytes: Vec<u8>, max: u32) -> Checked<Vec<u8>> {
    if bytes.len() > max as usize { Err(format!("a file of {} bytes is over {max}", bytes.len())) } else { Ok(bytes) }
}

pub(in crate::plugin) fn subscription(asked: streaming::Subscription) -> Checked<StreamRequest> {
    let protocol = StreamProtocol::parse(&asked.protocol);
    let header = |(name, value)| Ok((within("name of a header", name, ID_MAX)?, within("value of a header", value, WORD_MAX)?));
    Ok(StreamRequest {
        protocol: protocol.ok_or_else(|| format!("`{}` is no protocol of streams", shown(&asked.protocol, 64)))?,
        url: within("url of a stream", asked.url, WORD_MAX)?,
        headers: at_most("headers", asked.headers, ATTRS_MAX)?.into_iter().map(header).collect::<Checked<_>>()?,
        auth: optional("name of a credential", asked.auth, 64)?,
        keep_alive: Duration::from_millis(asked.keep_alive_ms.into()).clamp(KEEP_ALIVE_MIN, KEEP_ALIVE_MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: &str) -> types::NativeId {
        types::NativeId { scope: String::new(), id: id.to_owned() }
    }

    fn taken(changes: Vec<connect::Change>) -> Vec<Change> {
        page(connect::Page { changes, cursor: "c".to_owned(), more: false, backfill: false, next_poll_ms: None, allowance: None }).unwrap().changes
    }

    #[test]
    fn a_change_that_breaks_the_contract_is_set_aside_alone() {
        let long = "x".repeat(2000);
        let note = |json: &str| connect::Change::Note(("k".to_owned(), json.to_owned()));

        let changes = taken(vec![
            connect::Change::Gone(id("1")),
            connect::Change::Gone(id(&long)),
            connect::Change::Raw((id("2"), vec![7; RAW_MAX + 1])),
            note("{"),
            note("{}"),
        ]);

        assert_eq!(changes[0], Change::Gone(NativeId { scope: String::new(), id: "1".to_owned() }));
        assert!(matches!(&changes[1], Change::Unreadable { native, .. } if native.scope == "unusable" && native.id.len() < ID_MAX), "{changes:?}");
        assert!(matches!(&changes[2], Change::Unreadable { native, head, .. } if native.id == "2" && *head == [7; HEAD_MAX]));
        assert!(matches!(&changes[3], Change::Unreadable { reason, head, .. } if reason.contains("no JSON") && head == b"{"));
        assert!(matches!(&changes[4], Change::Note { .. }));
        assert_eq!(taken(vec![connect::Change::Gone(id(&long))])[0], changes[1], "the same again has the same name");
    }

    #[test]
    fn a_language_is_a_tag_of_bcp_47() {
        let about = connect::Interaction {
            native: id("1"),
            aka: Vec::new(),
            kind: "post".to_owned(),
            visibility: "public".to_owned(),
            author: None,
            ours: connect::Ours::No,
            automated: "no".to_owned(),
            conversation: None,
            parent: None,
            refs: Vec::new(),
            subject: None,
            text: "Ciao".to_owned(),
            quoted: None,
            language: Some("it_IT".to_owned()),
            url: None,
            attachments: Vec::new(),
            place: None,
            side: None,
            campaign: None,
            occurred: 0,
            edited: None,
            reply_context: None,
            attrs: Vec::new(),
        };
        let said = |key: &str| types::Annotation { key: key.to_owned(), value: types::Value::Text("zh_Hant_TW".to_owned()), confidence: None };

        let changes = taken(vec![connect::Change::Upsert(about)]);
        let told = annotations(vec![vec![said("language"), said("topic")]], 1).unwrap();

        assert!(matches!(changes.as_slice(), [Change::Upsert(about)] if about.language.as_deref() == Some("it-IT")), "{changes:?}");
        let told = told.concat().into_iter().map(|said| said.value).collect::<Vec<_>>();
        assert_eq!(told, ["zh-Hant-TW", "zh_Hant_TW"].map(|text| Value::Text(text.to_owned())));
    }

    #[test]
    fn a_page_that_breaks_the_contract_fails_whole() {
        let page_of = |cursor: String, n| connect::Page {
            changes: (0..n).map(|n| connect::Change::Gone(id(&format!("{n}-")))).collect(),
            cursor,
            more: false,
            backfill: false,
            next_poll_ms: None,
            allowance: None,
        };
        assert!(page(page_of("c".repeat(CURSOR_MAX + 1), 1)).is_err());
        assert!(page(page_of(String::new(), CHANGES_MAX + 1)).is_err());
    }
}
