//! Replies: to those addressed, never to more people than could read what is answered.

use membrana_sdk::connector::{Message, Receipt, Sent};
use membrana_sdk::json::Object;
use membrana_sdk::{Fault, NativeId, Result};
use serde_json::{Value as Json, json};

use crate::api::Api;
use crate::shapes::{ReplyContext, Status, no_wider_than, plain};
use crate::{Section, wire};

/// Every server allows so many; beyond it the server is asked. Units: characters.
const LENGTH_SURE: u64 = 400;
/// What Mastodon allows where a server does not say.
const LENGTH_DEFAULT: u64 = 500;
/// What an address counts where a server does not say.
const URL_LENGTH: u64 = 23;
/// A server that is away is asked again after this. Units: milliseconds.
const AWAY_MS: u64 = 60_000;
/// U+2060: as wide as nothing, and behind an `@` it makes it no mention.
const JOINER: char = '\u{2060}';
/// Own statuses looked through for one that may have gone out.
const LOOKED_THROUGH: u32 = 20;
/// The server's clock may be behind ours by so much. Units: milliseconds.
const SKEW_MS: u64 = 600_000;

fn context(message: &Message) -> Result<ReplyContext> {
    let target = message.to.as_ref().ok_or_else(|| Fault::unsupported("a post that answers nothing"))?;
    let context = target.reply_context.as_deref().and_then(|text| serde_json::from_str(text).ok());
    context.ok_or_else(|| Fault::permanent("mastodon.no-context", "it is not known what this answers"))
}

impl ReplyContext {
    /// Whoever is named in a private answer reads it: of a public post that is its author alone.
    fn whom(&self, kind: &str) -> Vec<String> {
        if kind != "direct" || self.visibility == "direct" {
            return self.accts.clone();
        }
        self.author.iter().chain(self.accts.first()).take(1).filter(|acct| !acct.is_empty()).cloned().collect()
    }
}

/// With the names of those addressed in front, where they are not there yet.
fn addressed(text: &str, accts: &[String]) -> String {
    let missing: Vec<String> = accts.iter().filter(|acct| !mentions(text, acct)).map(|acct| format!("@{acct} ")).collect();
    format!("{}{text}", missing.concat())
}

/// Whether the text names exactly this account: `@annabella` does not name `ann`.
fn mentions(text: &str, acct: &str) -> bool {
    signs(text).any(|(_, from)| names(from, acct))
}

/// What follows each `@` that may begin a mention, and where. Source: `MENTION_RE` of mastodon/mastodon `app/models/account.rb`.
fn signs(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let begins = |at: usize| !text.get(..at).unwrap_or_default().ends_with(|c: char| is_word(c) || matches!(c, '@' | '/' | '='));
    text.match_indices('@').filter(move |(at, _)| begins(*at)).filter_map(|(at, sign)| Some((at, text.get(at + sign.len()..)?)))
}

fn names(from: &str, acct: &str) -> bool {
    let Some((name, after)) = from.split_at_checked(acct.len()) else { return false };
    let mut after = after.chars();
    let ends = match after.next() {
        None => true,
        Some('.' | '-') => !after.next().is_some_and(is_word),
        Some(c) => !is_word(c) && c != '@',
    };
    ends && name.to_lowercase() == acct.to_lowercase()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The text as it goes out, those addressed in front excepted. Whoever a private status names reads it: where no person looked at it, it
/// names nobody else, whatever a stranger is called whose name a rule put there.
fn said(message: &Message, context: &ReplyContext) -> String {
    let mut text = message.text.clone();
    if !message.automatic || visibility(message, context) != "direct" {
        return text;
    }
    let whom = context.whom(&message.kind);
    let others = signs(&message.text).filter(|(_, from)| !whom.iter().any(|acct| names(from, acct)));
    for (at, _) in others.collect::<Vec<_>>().into_iter().rev() {
        text.insert(at + 1, JOINER);
    }
    text
}

fn visibility(message: &Message, context: &ReplyContext) -> &'static str {
    if message.kind == "direct" { "direct" } else { no_wider_than(&context.visibility) }
}

/// What a server takes. Units: characters.
struct Lengths {
    most: u64,
    of_url: u64,
}

impl Lengths {
    /// As the server tells, in the new way or the old; else as Mastodon has it.
    fn ask(api: &Api) -> Result<Self> {
        for path in ["/api/v2/instance", "/api/v1/instance"] {
            let instance: Json = match api.get(path) {
                Ok(instance) => instance,
                // Nothing is said of its length by a server that is away, and no try counts.
                Err(Fault::Transient(detail)) if detail.code == "mastodon.unreachable" => return Err(Fault::RateLimited((detail, AWAY_MS))),
                Err(Fault::Permanent(_) | Fault::Transient(_)) => continue,
                Err(fault) => return Err(fault),
            };
            let number = |pointer: &str| instance.pointer(pointer).and_then(Json::as_u64).filter(|number| *number > 0);
            if let Some(most) = number("/configuration/statuses/max_characters").or_else(|| number("/max_toot_chars")) {
                return Ok(Self { most, of_url: number("/configuration/statuses/characters_reserved_per_url").unwrap_or(URL_LENGTH) });
            }
        }
        Ok(Self { most: LENGTH_DEFAULT, of_url: URL_LENGTH })
    }
}

/// As Mastodon counts: an address is as long as every other, and of a remote mention only the local part counts.
fn length(text: &str, of_url: u64) -> u64 {
    let chars = |text: &str| u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    let of_word = |word: &str| match word.find("https://").or_else(|| word.find("http://")) {
        Some(at) => chars(word.get(..at).unwrap_or_default()) + of_url,
        None => chars(&local_part(word)),
    };
    text.split_inclusive(char::is_whitespace).map(|word| of_word(word.trim_end()) + chars(word) - chars(word.trim_end())).sum()
}

/// `@anna@other.test,` as `@anna`; any other word as it is.
fn local_part(word: &str) -> String {
    match word.strip_prefix('@').and_then(|name| name.split_once('@')) {
        Some((local, domain)) if !local.is_empty() && domain.contains('.') => {
            let end = domain.trim_end_matches(|c: char| !c.is_alphanumeric());
            format!("@{local}{}", domain.get(end.len()..).unwrap_or_default())
        }
        _ => word.to_owned(),
    }
}

pub(crate) fn send(section: &Section, api: &Api, key: &str, message: &Message) -> Result<Receipt> {
    if !matches!(message.kind.as_str(), "reply" | "direct") {
        return Err(Fault::unsupported("anything but a reply"));
    }
    let context = context(message)?;
    let whom = context.whom(&message.kind);
    if message.kind == "direct" && whom.is_empty() {
        return Err(Fault::unsupported("a private answer to nobody: it is not known who wrote what it answers"));
    }
    let text = addressed(&said(message, &context), &whom);
    if length(&text, URL_LENGTH) > LENGTH_SURE {
        let lengths = Lengths::ask(api)?;
        let n_chars = length(&text, lengths.of_url);
        if n_chars > lengths.most {
            return Err(Fault::unsupported(&format!("a reply of {n_chars} characters, its mentions included; this server takes {}", lengths.most)));
        }
    }
    let visibility = visibility(message, &context);
    let language = message.to.as_ref().and_then(|target| target.language.clone());
    let mut body = json!({ "status": text, "in_reply_to_id": context.id, "visibility": visibility });
    if let (Some(language), Some(object)) = (language, body.as_object_mut()) {
        object.insert("language".to_owned(), Json::from(language));
    }
    let status: Object<wire::Status> = api.post("/api/v1/statuses", key, &body)?;
    let status = status.0.and_then(Status::of).ok_or_else(|| Fault::outcome_unknown("the server answers without a status"))?;
    Ok(receipt(section, &status))
}

fn receipt(section: &Section, status: &Status) -> Receipt {
    let native = status.native(section);
    let local = NativeId { scope: section.host().to_owned(), id: status.id.clone() };
    Receipt { aka: Some(local).filter(|local| *local != native).into_iter().collect(), native, url: status.url.clone(), attrs: Vec::new() }
}

/// Words as they are compared: the server shows a remote mention by its local part.
fn words(text: &str) -> String {
    text.split_whitespace().map(local_part).collect::<Vec<_>>().join(" ")
}

pub(crate) fn probe(section: &Section, api: &Api, message: &Message) -> Result<(Sent, Option<Receipt>)> {
    let context = context(message)?;
    let me = api.me()?;
    let own: Vec<Object<wire::Status>> = api.get(&format!("/api/v1/accounts/{}/statuses?limit={LOOKED_THROUGH}", me.id))?;
    let wanted = words(&said(message, &context));
    let is_it = |status: &Status| status.in_reply_to_id.as_deref() == Some(context.id.as_str()) && words(&plain(&status.content)).ends_with(&wanted);
    let is_whole = own.len() < usize::try_from(LOOKED_THROUGH).unwrap_or(0);
    let own: Vec<Status> = own.into_iter().filter_map(|status| Status::of(status.0?)).collect();
    // Newest first: what is beyond those looked through is older still.
    let is_past = own.last().and_then(Status::created).is_some_and(|oldest| oldest < message.created.saturating_sub(SKEW_MS));
    match own.iter().find(|status| is_it(status)) {
        Some(status) => Ok((Sent::Yes, Some(receipt(section, status)))),
        None => Ok((if is_whole || is_past { Sent::No } else { Sent::Unknown }, None)),
    }
}
