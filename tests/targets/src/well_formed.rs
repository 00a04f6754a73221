//! What a connector may return, after the contract (`wit/0.1/connector.wit`): a change over a bound is set aside by the host and lost to
//! the rules, so no connector may make one of what a network sends.

use membrana_sdk::connector::{Author, Change, Interaction, Page};
use membrana_sdk::{Attachment, Fault, NativeId};

/// Units: bytes.
const ID_MAX: usize = 1024;
const TEXT_MAX: usize = 1 << 20;
const WORD_MAX: usize = 4096;
const CURSOR_MAX: usize = 64 << 10;
const HEAD_MAX: usize = 64 << 10;
/// Counts.
const LIST_MAX: usize = 64;
const CHANGES_MAX: usize = 4096;

pub(crate) fn page(page: &Page) {
    assert!(page.cursor.len() <= CURSOR_MAX, "a cursor of {} bytes", page.cursor.len());
    assert!(page.allowance.as_ref().is_none_or(|allowance| (0.0..=1.0).contains(&allowance.left)), "{:?}", page.allowance);
    changes(&page.changes);
}

pub(crate) fn changes(changes: &[Change]) {
    assert!(changes.len() <= CHANGES_MAX, "{} changes", changes.len());
    changes.iter().for_each(change);
}

pub(crate) fn fault(fault: &Fault) {
    let (Fault::Config(detail)
    | Fault::Auth(detail)
    | Fault::RateLimited((detail, _))
    | Fault::Transient(detail)
    | Fault::Permanent(detail)
    | Fault::Unsupported(detail)) = fault;
    assert!(!detail.code.is_empty() && detail.code.len() <= 64 && !detail.message.is_empty(), "{fault:?}");
}

fn change(change: &Change) {
    match change {
        Change::Upsert(about) => interaction(about),
        Change::Raw((id, _)) | Change::Gone(id) => native(id),
        Change::Unreadable((id, reason, head)) => {
            native(id);
            assert!(!reason.is_empty() && head.len() <= HEAD_MAX, "{change:?}");
        }
        Change::Note((kind, json)) => {
            within("kind of a note", kind, 128);
            within("note", json, WORD_MAX);
            assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{json}");
        }
    }
}

fn interaction(about: &Interaction) {
    native(&about.native);
    for ids in [&about.aka, &about.refs] {
        at_most("names", ids);
        ids.iter().for_each(native);
    }
    about.conversation.iter().chain(&about.parent).for_each(native);
    within("kind", &about.kind, 64);
    within("visibility", &about.visibility, 64);
    within("automated", &about.automated, 64);
    within("text", &about.text, TEXT_MAX);
    optional("subject", about.subject.as_ref(), WORD_MAX);
    optional("quoted", about.quoted.as_ref(), TEXT_MAX);
    optional("language", about.language.as_ref(), 64);
    optional("url", about.url.as_ref(), WORD_MAX);
    optional("reply context", about.reply_context.as_ref(), WORD_MAX);
    optional("campaign", about.campaign.as_ref(), ID_MAX);
    about.author.iter().for_each(author);
    at_most("attachments", &about.attachments);
    about.attachments.iter().for_each(attachment);
    at_most("attrs", &about.attrs);
    for (key, value) in &about.attrs {
        within("key of attrs", key, ID_MAX);
        within("value of attrs", value, ID_MAX);
    }
    if let Some(place) = &about.place {
        optional("name of a place", place.name.as_ref(), ID_MAX);
        place.native.iter().for_each(native);
    }
}

fn author(author: &Author) {
    native(&author.native);
    for text in [&author.handle, &author.name, &author.email] {
        optional("author", text.as_ref(), ID_MAX);
    }
    optional("url of an author", author.url.as_ref(), WORD_MAX);
    optional("phone", author.phone.as_ref(), 64);
    optional("assurance", author.assurance.as_ref(), 64);
    at_most("metrics", &author.metrics);
}

fn attachment(file: &Attachment) {
    optional("name of a file", file.name.as_ref(), ID_MAX);
    within("media type", &file.media_type, 256);
    optional("url of a file", file.url.as_ref(), WORD_MAX);
    optional("media ref", file.media_ref.as_ref(), ID_MAX);
}

fn native(id: &NativeId) {
    assert!(!id.id.is_empty(), "a native id is empty");
    within("native id", &id.id, ID_MAX);
    within("scope", &id.scope, ID_MAX);
}

fn within(what: &str, text: &str, max: usize) {
    assert!(text.len() <= max, "{what} of {} bytes is over {max}", text.len());
}

fn optional(what: &str, text: Option<&String>, max: usize) {
    text.into_iter().for_each(|text| within(what, text, max));
}

fn at_most<T>(what: &str, list: &[T]) {
    assert!(list.len() <= LIST_MAX, "{} {what} are over {LIST_MAX}", list.len());
}
