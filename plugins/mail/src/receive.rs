//! One raw mail → one interaction. Never fails on what a mail holds: an empty, broken or hostile one is still somebody's
//! mail and arrives with what could be read.

mod assurance;
mod automated;
mod body;
mod bounce;
pub(crate) mod context;
mod html;
pub(crate) mod ids;
mod ours;
mod quote;
mod tame;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use mail_parser::{Addr, DateTime, Header, HeaderName, Message, MessageParser, MessagePart, MimeHeaders};
use membrana_sdk::connector::{Author, Change, Interaction, Origin, Ours, Raw};
use membrana_sdk::text::cut;
use membrana_sdk::{Attachment, Attrs, Fault, NativeId, Result};

use crate::address::Address;
use crate::media;
use crate::settings::Settings;
use crate::truncated::Truncated;
use assurance::Assurance;
use context::ReplyContext;

const TEXT_BYTES_MAX: usize = 128 << 10;
const QUOTED_BYTES_MAX: usize = 64 << 10;
const SUBJECT_BYTES_MAX: usize = 1000;
const ATTACHMENTS_MAX: usize = 64;
const FILE_NAME_BYTES_MAX: usize = 255;
const MEDIA_TYPE_BYTES_MAX: usize = 128;
const ATTR_BYTES_MAX: usize = 1000;
const DAY_MS: u64 = 86_400_000;
/// No mail is older than the first one.
const OLDEST_MS: u64 = 31_536_000_000;

/// Reads the headers that anything is made of; of the others only where they are. To read the trace that servers leave costs a sixth of the
/// rest.
static PARSER: LazyLock<MessageParser> = LazyLock::new(|| {
    let headers = MessageParser::new().with_mime_headers().with_date_headers().with_address_headers().with_message_ids();
    headers.header_text(HeaderName::Subject)
});

/// Understands what `poll` handed over. Errors: `unsupported` for anything that is no mail of a mailbox.
pub(crate) fn receive(settings: &Settings, raw: &Raw) -> Result<Vec<Change>> {
    let Origin::Item(native) = &raw.origin else { return Err(Fault::unsupported("receive of a webhook or a stream")) };
    let (truncated, body) = Truncated::unmark(&raw.body);
    let bytes = tame::tame(body);
    let parsed = PARSER.parse(bytes.as_ref()).filter(|message| !message.parts.is_empty());
    let Some(message) = parsed else {
        return Ok(vec![Change::Upsert(without_headers(native, &bytes, raw.received))]);
    };
    let mail = Mail::read(settings, &message, &bytes, native, truncated);
    let mut changes: Vec<Change> = delivery_note(settings, &mail).into_iter().collect();
    changes.insert(0, Change::Upsert(mail.interaction(native, raw.received)));
    Ok(changes)
}

/// The bytes of one file of a mail, counted as its attachments are.
pub(crate) fn file(raw: &[u8], n: usize) -> Option<Vec<u8>> {
    let bytes = tame::tame(raw);
    let message = PARSER.parse(bytes.as_ref())?;
    files(&message).nth(n).map(|part| body::bytes(&message, part))
}

/// A parsed mail with what several fields depend on.
struct Mail<'a> {
    message: &'a Message<'a>,
    id: String,
    /// Tells it from another mail of the same id.
    mark: String,
    /// Who speaks: From, or Reply-To where a form writes under an address of ours.
    from: Option<Address>,
    is_form: bool,
    automated: &'static str,
    assurance: Assurance,
    ours: bool,
    /// Our own address.
    we: Option<String>,
    report: Option<bounce::Report>,
    truncated: Option<Truncated>,
}

impl<'a> Mail<'a> {
    fn read(settings: &Settings, message: &'a Message<'a>, bytes: &[u8], native: &NativeId, truncated: Option<Truncated>) -> Self {
        let from = [message.from(), message.sender()].into_iter().flatten().find_map(first_usable);
        let id = ids::own_id(Some(message), bytes);
        let automated = automated::classify(message, from.as_ref());
        let domain = from.as_ref().map(Address::domain).unwrap_or_default();
        let assurance = assurance::of(message, &domain, settings.auth_server.as_deref());
        // Somebody else who writes under our address must not be taken for us: what is ours is not analysed.
        let we_and_from = settings.from.as_ref().zip(from.as_ref());
        let ours = assurance != Assurance::Failed
            && automated != "bounce"
            && we_and_from.is_some_and(|(we, from)| ours::is_ours(settings, message, native, &id, we, from));
        let speaks = |to: &Address| !ours && we_and_from.is_some_and(|(we, from)| ours::is_form(we, from, to, automated));
        let customer = message.reply_to().and_then(first_usable).filter(speaks);
        let is_form = customer.is_some();
        // Whatever was proven, it was not the customer's address.
        let assurance = if is_form { Assurance::Stated } else { assurance };
        let from = customer.or(from);
        let mut report = (automated == "bounce").then(|| bounce::report(message)).flatten();
        if let (Some(report), Some(we)) = (report.as_mut().filter(|report| report.about.is_none()), &settings.from) {
            report.about = ids::ancestors(message, &id).parent.filter(|parent| ids::is_derived(parent, &we.domain()));
        }
        let mark = ids::with_content(&id, message, bytes);
        let we = settings.from.as_ref().map(Address::key);
        Self { message, id, mark, from, is_form, automated, assurance, ours, we, report, truncated }
    }

    /// Anybody may write the Message-ID of another's mail, and some forms give all of theirs the same: alone it names a
    /// mail only where it is one of ours, or made from the mail. As an ancestor it still joins what answers it.
    fn names(&self, ancestors: &mut ids::Ancestors) -> Vec<NativeId> {
        let is_own = self.ours && self.from.as_ref().is_some_and(|we| ids::is_derived(&self.id, &we.domain()));
        if is_own || ids::is_made_up(&self.id) {
            return vec![ids::native(self.id.as_str())];
        }
        ancestors.put_first(self.id.clone());
        vec![ids::native(self.mark.as_str())]
    }

    fn interaction(&self, native: &NativeId, received: u64) -> Interaction {
        let message = self.message;
        let mut ancestors = ids::ancestors(message, &self.id);
        if ancestors.parent.is_none() {
            ancestors.parent = self.report.as_ref().and_then(|report| report.about.clone());
        }
        let split = quote::split(&body::text(message));
        let reply_context = self.reply_context(&ancestors);
        let aka = self.names(&mut ancestors);
        Interaction {
            native: native.clone(),
            aka,
            kind: "mail".to_owned(),
            visibility: "direct".to_owned(),
            author: self.from.as_ref().map(|from| self.author(from)),
            ours: if self.ours { Ours::Yes(None) } else { Ours::No },
            automated: self.automated.to_owned(),
            conversation: None,
            reply_context,
            parent: ancestors.parent.map(ids::native),
            refs: ancestors.refs.into_iter().map(ids::native).collect(),
            subject: message.subject().map(one_line).filter(|subject| !subject.is_empty()),
            text: cut(&split.visible, TEXT_BYTES_MAX).to_owned(),
            quoted: split.quoted.map(|quoted| cut(&quoted, QUOTED_BYTES_MAX).to_owned()),
            language: language(message),
            url: None,
            attachments: self.attachments(native),
            place: None,
            side: None,
            campaign: None,
            occurred: occurred(message, received),
            edited: None,
            attrs: self.attrs(native),
        }
    }

    fn author(&self, from: &Address) -> Author {
        let assurance = if self.assurance == Assurance::Authenticated { "authenticated" } else { "stated" };
        Author {
            native: ids::native(from.key()),
            handle: Some(from.key()),
            name: from.name.clone(),
            url: None,
            email: Some(from.key()),
            phone: None,
            assurance: Some(assurance.to_owned()),
            // The form is a machine; whoever filled it in is none.
            automated: !self.is_form && matches!(self.automated, "bounce" | "bot" | "notification"),
            metrics: Vec::new(),
        }
    }

    fn reply_context(&self, ancestors: &ids::Ancestors) -> Option<String> {
        if self.ours {
            return None;
        }
        // A list or a forwarder that puts our own address there means that we are to answer whoever wrote.
        let is_other = |to: &Address| self.we.as_ref().is_none_or(|we| *we != to.key());
        let to = self.message.reply_to().and_then(first_usable).filter(is_other).or_else(|| self.from.clone())?;
        let mut references: Vec<String> = ancestors.parent.iter().chain(&ancestors.refs).cloned().collect();
        references.reverse();
        let context = ReplyContext {
            name: to.name,
            to: to.address,
            subject: self.message.subject().map(one_line).unwrap_or_default(),
            message_id: self.id.clone(),
            references,
            automated: self.automated.to_owned(),
            null_return: trace(self.message, "Return-Path").is_some_and(|path| path.trim() == "<>"),
        };
        context.text()
    }

    /// Of a mail whose end is missing the server's list is better than what the beginning shows. It is too large to be fetched for
    /// its files.
    fn attachments(&self, native: &NativeId) -> Vec<Attachment> {
        let Some(truncated) = &self.truncated else {
            let with_ref = |(n, file)| Attachment { media_ref: media::reference(native, n), ..file };
            return (0..).zip(attachments(self.message)).map(with_ref).collect();
        };
        if truncated.files.is_empty() {
            return attachments(self.message).into_iter().map(|file| Attachment { size: None, ..file }).collect();
        }
        let file = |file: &crate::truncated::File| Attachment {
            name: file.name.as_deref().and_then(file_name),
            media_type: cut(&file.media_type, MEDIA_TYPE_BYTES_MAX).to_owned(),
            size: file.bytes,
            url: None,
            media_ref: None,
        };
        truncated.files.iter().take(ATTACHMENTS_MAX).map(file).collect()
    }

    fn attrs(&self, native: &NativeId) -> Attrs {
        let mut attrs = Attrs::new();
        let mut add = |key: &str, value: Option<String>| {
            attrs.extend(value.filter(|value| !value.is_empty()).map(|value| (key.to_owned(), cut(&value, ATTR_BYTES_MAX).to_owned())));
        };
        add("mail.mailbox", native.scope.rsplit_once(';').map(|(mailbox, _)| mailbox.to_owned()));
        let to = self.message.to().into_iter().chain(self.message.cc()).flat_map(|list| list.iter().take(16).filter_map(Address::of));
        add("mail.to", Some(to.map(|address| address.key()).take(16).collect::<Vec<_>>().join(", ")));
        add("mail.list", header_raw(self.message, "List-Id").map(one_line));
        let truncated = self.truncated.as_ref().map(|t| t.bytes.map_or_else(|| "true".to_owned(), |bytes| bytes.to_string()));
        add("mail.truncated", truncated);
        add("mail.bounce-recipient", self.report.as_ref().and_then(|report| report.recipient.clone()));
        add("mail.bounce-action", self.report.as_ref().and_then(|report| report.action.clone()));
        add("mail.bounce-status", self.report.as_ref().and_then(|report| report.status.clone()));
        attrs
    }
}

/// A bounce of what we sent is news about that action too.
fn delivery_note(settings: &Settings, mail: &Mail<'_>) -> Option<Change> {
    let (we, report) = (settings.from.as_ref()?, mail.report.as_ref()?);
    let about = report.about.as_ref().filter(|id| ids::is_derived(id, &we.domain()))?;
    let json = serde_json::json!({
        "native": { "scope": "", "id": about },
        "state": report.action.as_deref().unwrap_or("failed"),
        "status": report.status,
        "recipient": report.recipient,
    });
    Some(Change::Note(("delivery".to_owned(), json.to_string())))
}

/// Bytes in which not even a header was found.
fn without_headers(native: &NativeId, bytes: &[u8], received: u64) -> Interaction {
    let text = body::printable(&String::from_utf8_lossy(bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes)));
    Interaction {
        native: native.clone(),
        aka: vec![ids::native(ids::own_id(None, bytes))],
        kind: "mail".to_owned(),
        visibility: "direct".to_owned(),
        author: None,
        ours: Ours::No,
        automated: "no".to_owned(),
        conversation: None,
        parent: None,
        refs: Vec::new(),
        subject: None,
        text: text.trim().to_owned(),
        quoted: None,
        language: None,
        url: None,
        attachments: Vec::new(),
        place: None,
        side: None,
        campaign: None,
        occurred: received,
        edited: None,
        reply_context: None,
        attrs: Attrs::new(),
    }
}

/// The first line of those that servers put in front on the way: our own server's.
fn trace<'m>(message: &'m Message<'_>, name: &str) -> Option<&'m str> {
    raw(message, message.headers().iter().find(|header| header.name.as_str().eq_ignore_ascii_case(name))?)
}

/// The last header of this name. The parser's own search makes a name of the text first, each time.
fn named<'m>(message: &'m Message<'_>, name: &str) -> Option<&'m Header<'m>> {
    message.headers().iter().rev().find(|header| header.name.as_str().eq_ignore_ascii_case(name))
}

/// As it was written, where that is UTF-8.
fn raw<'m>(message: &'m Message<'_>, header: &Header<'_>) -> Option<&'m str> {
    let range = header.offset_start as usize..header.offset_end as usize;
    std::str::from_utf8(message.raw_message.get(range)?).ok()
}

fn header_raw<'m>(message: &'m Message<'_>, name: &str) -> Option<&'m str> {
    raw(message, named(message, name)?)
}

fn first_usable(list: &mail_parser::Address<'_>) -> Option<Address> {
    list.iter().take(16).find_map(|address: &Addr<'_>| Address::of(address))
}

fn one_line(text: &str) -> String {
    let flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    cut(&flat.split_whitespace().collect::<Vec<_>>().join(" "), SUBJECT_BYTES_MAX).to_owned()
}

/// The first tag of Content-Language, if it looks like one.
fn language(message: &Message<'_>) -> Option<String> {
    let declared = header_raw(message, "Content-Language")?.split(',').next()?.trim();
    let mut parts = declared.split('-');
    let primary = parts.next().is_some_and(|tag| (2..=3).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphabetic()));
    let rest = parts.all(|tag| (1..=8).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric()));
    (primary && rest && declared.len() <= 35).then(|| declared.to_owned())
}

fn files<'a>(message: &'a Message<'a>) -> impl Iterator<Item = &'a MessagePart<'a>> {
    message.attachments().filter(|part| !part.is_multipart()).take(ATTACHMENTS_MAX)
}

fn attachments(message: &Message<'_>) -> Vec<Attachment> {
    let described = files(message).map(|part| Attachment {
        name: part.attachment_name().and_then(file_name),
        media_type: part
            .content_type()
            .map_or_else(|| if part.is_message() { "message/rfc822".to_owned() } else { "text/plain".to_owned() }, body::media_type),
        size: Some(part.len() as u64),
        url: None,
        media_ref: None,
    });
    described.collect()
}

/// One line, without the folders of whoever sent it.
fn file_name(written: &str) -> Option<String> {
    let line = one_line(written);
    let file = line.rsplit(['/', '\\']).next().unwrap_or_default();
    Some(cut(file, FILE_NAME_BYTES_MAX).to_owned()).filter(|name| !name.is_empty())
}

/// The date that the mail bears, if it can be, but no later than our server received it; else when we did.
fn occurred(message: &Message<'_>, received: u64) -> u64 {
    let at = |date: &DateTime| date.is_valid().then(|| u64::try_from(date.to_timestamp()).ok()?.checked_mul(1000)).flatten();
    let possible = |at: &u64| (OLDEST_MS..=received.saturating_add(DAY_MS)).contains(at);
    let dated = message.date().and_then(at).filter(possible);
    // A line of trace ends with its date.
    let line = trace(message, "Received").and_then(|line| DateTime::parse_rfc822(line.rsplit_once(';')?.1));
    let arrived = line.as_ref().and_then(at).filter(possible);
    dated.into_iter().chain(arrived).min().unwrap_or(received).min(received)
}
