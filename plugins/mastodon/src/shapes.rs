//! What the API sends, as far as it is used, and as an interaction. Other servers than Mastodon speak it too, and anybody
//! may fill its fields: each item is read alone, what is missing, null or of another type is absent, and everything is cut
//! to the bounds of the contract.

use membrana_sdk::connector::{Author, Interaction, Ours};
use membrana_sdk::text::cut;
use membrana_sdk::{Attachment, NativeId};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::Section;

/// Units: bytes. The contract allows 1 KiB for ids and names, 4 KiB for addresses, subject and reply context.
const ID_BYTES_MAX: usize = 1024;
const LOCAL_ID_BYTES_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 512;
const ACCT_BYTES_MAX: usize = 320;
const URL_BYTES_MAX: usize = 4096;
const SUBJECT_BYTES_MAX: usize = 1000;
const TEXT_BYTES_MAX: usize = 128 << 10;
const HTML_BYTES_MAX: usize = 512 << 10;
const CONTEXT_BYTES_MAX: usize = 4096;
const WORD_BYTES_MAX: usize = 64;
/// Counts.
const ACCTS_MAX: usize = 10;
const MEDIA_MAX: usize = 16;

/// Of an account.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) acct: String,
    pub(crate) url: String,
    pub(crate) display_name: String,
    pub(crate) bot: bool,
    pub(crate) followers_count: f64,
}

/// Of a notification; kinds that are not known are passed over.
#[derive(Debug)]
pub(crate) struct Notification<'j> {
    pub(crate) id: String,
    pub(crate) kind: String,
    /// What the server sent of the status; null where it is gone already.
    pub(crate) status: &'j Json,
}

/// Of a status.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) id: String,
    pub(crate) uri: String,
    pub(crate) url: Option<String>,
    created_at: String,
    pub(crate) edited_at: Option<String>,
    pub(crate) in_reply_to_id: Option<String>,
    visibility: String,
    language: Option<String>,
    pub(crate) content: String,
    spoiler_text: String,
    account: Account,
    mentioned: Vec<String>,
    media: Vec<Attachment>,
}

/// What a reply will need.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReplyContext {
    pub(crate) id: String,
    pub(crate) accts: Vec<String>,
    pub(crate) visibility: String,
}

/// Empty where it is no text.
fn text(of: &Json, key: &str, bytes_max: usize) -> String {
    of.get(key).and_then(Json::as_str).map(|text| cut(text, bytes_max).to_owned()).unwrap_or_default()
}

/// What must not be cut: absent where it is too long.
fn whole(of: &Json, key: &str, bytes_max: usize) -> Option<String> {
    of.get(key).and_then(Json::as_str).filter(|text| !text.is_empty() && text.len() <= bytes_max).map(str::to_owned)
}

/// Ids are text, and numbers on some servers.
fn id(of: &Json, key: &str) -> Option<String> {
    whole(of, key, LOCAL_ID_BYTES_MAX).or_else(|| of.get(key).and_then(Json::as_u64).map(|number| number.to_string()))
}

fn list<'a>(of: &'a Json, key: &str) -> &'a [Json] {
    of.get(key).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

impl Account {
    /// None where it is none.
    pub(crate) fn of(json: &Json) -> Option<Self> {
        let count = json.get("followers_count").and_then(Json::as_f64).filter(|count| count.is_finite() && *count >= 0.0);
        Some(Self {
            id: id(json, "id")?,
            acct: whole(json, "acct", ACCT_BYTES_MAX).unwrap_or_default(),
            url: whole(json, "url", URL_BYTES_MAX).unwrap_or_default(),
            display_name: text(json, "display_name", NAME_BYTES_MAX),
            bot: json.get("bot").and_then(Json::as_bool).unwrap_or(false),
            followers_count: count.unwrap_or(0.0),
        })
    }
}

impl<'j> Notification<'j> {
    /// None where it is none.
    pub(crate) fn of(json: &'j Json) -> Option<Self> {
        let status = json.get("status").unwrap_or(&Json::Null);
        Some(Self { id: id(json, "id")?, kind: text(json, "type", WORD_BYTES_MAX), status })
    }
}

impl Status {
    /// None where it is none.
    pub(crate) fn of(json: &Json) -> Option<Self> {
        Some(Self {
            id: id(json, "id")?,
            uri: whole(json, "uri", ID_BYTES_MAX).unwrap_or_default(),
            url: whole(json, "url", URL_BYTES_MAX),
            created_at: text(json, "created_at", WORD_BYTES_MAX),
            edited_at: whole(json, "edited_at", WORD_BYTES_MAX),
            in_reply_to_id: id(json, "in_reply_to_id"),
            visibility: text(json, "visibility", WORD_BYTES_MAX),
            language: whole(json, "language", WORD_BYTES_MAX),
            content: text(json, "content", HTML_BYTES_MAX),
            spoiler_text: text(json, "spoiler_text", SUBJECT_BYTES_MAX),
            account: json.get("account").and_then(Account::of).unwrap_or_default(),
            mentioned: list(json, "mentions").iter().take(4 * ACCTS_MAX).filter_map(|one| whole(one, "acct", ACCT_BYTES_MAX)).collect(),
            media: list(json, "media_attachments").iter().take(MEDIA_MAX).map(media).collect(),
        })
    }

    /// Its name on the network; an address of more than the contract allows is none.
    pub(crate) fn native(&self, section: &Section) -> NativeId {
        native(section, &self.uri, &self.id)
    }

    /// In the words of the contract. What is not known was not said to everybody.
    fn audience(&self) -> &'static str {
        match self.visibility.as_str() {
            "public" => "public",
            "unlisted" => "unlisted",
            "direct" => "direct",
            _ => "followers",
        }
    }

    fn reply_context(&self, me: &Account) -> Option<String> {
        let mut accts: Vec<String> = Vec::new();
        for acct in std::iter::once(&self.account.acct).chain(&self.mentioned) {
            if !acct.is_empty() && *acct != me.acct && accts.len() < ACCTS_MAX && !accts.contains(acct) {
                accts.push(acct.clone());
            }
        }
        let mut context = ReplyContext { id: self.id.clone(), accts, visibility: no_wider_than(&self.visibility).to_owned() };
        loop {
            let text = serde_json::to_string(&context).ok()?;
            if text.len() <= CONTEXT_BYTES_MAX {
                return Some(text);
            }
            context.accts.pop()?;
        }
    }
}

/// The visibility of an answer, in the words of the API: as wide as what it answers, the narrowest in doubt.
pub(crate) fn no_wider_than(visibility: &str) -> &'static str {
    match visibility {
        "public" => "public",
        "unlisted" => "unlisted",
        "private" => "private",
        _ => "direct",
    }
}

/// By its address; a status without a usable one has its local id.
pub(crate) fn native(section: &Section, uri: &str, local: &str) -> NativeId {
    match uri {
        "" => NativeId { scope: section.host(), id: local.to_owned() },
        uri => NativeId { scope: String::new(), id: uri.to_owned() },
    }
}

fn media(json: &Json) -> Attachment {
    let kind = text(json, "type", WORD_BYTES_MAX);
    let media_type = if kind.is_empty() { "unknown".to_owned() } else { kind };
    Attachment { name: None, media_type, size: None, url: whole(json, "url", URL_BYTES_MAX), media_ref: None }
}

/// A status as everybody's word.
pub(crate) fn interaction(section: &Section, status: &Status, me: &Account) -> Interaction {
    let local = |id: &str| NativeId { scope: section.host(), id: id.to_owned() };
    let visibility = status.audience();
    let is_own = !status.account.id.is_empty() && status.account.id == me.id;
    let (occurred, edited) = (moment(&status.created_at), status.edited_at.as_deref().and_then(moment));
    let native = status.native(section);
    Interaction {
        aka: Some(local(&status.id)).filter(|id| *id != native).into_iter().collect(),
        native,
        kind: if visibility == "direct" { "direct" } else { "mention" }.to_owned(),
        visibility: visibility.to_owned(),
        author: author(&status.account, &section.host()),
        ours: if is_own { Ours::Yes(None) } else { Ours::No },
        automated: if status.account.bot { "bot" } else { "no" }.to_owned(),
        conversation: None,
        parent: status.in_reply_to_id.as_deref().map(local),
        refs: Vec::new(),
        subject: Some(status.spoiler_text.clone()).filter(|text| !text.is_empty()),
        text: cut(&plain(&status.content), TEXT_BYTES_MAX).to_owned(),
        quoted: None,
        language: status.language.clone(),
        url: status.url.clone(),
        attachments: status.media.clone(),
        place: None,
        side: None,
        campaign: None,
        occurred: occurred.unwrap_or_else(membrana_sdk::clock::now),
        edited,
        reply_context: status.reply_context(me),
        attrs: Vec::new(),
    }
}

/// None where nothing names the account.
fn author(account: &Account, host: &str) -> Option<Author> {
    let at = if account.acct.contains('@') { String::new() } else { format!("@{host}") };
    let handle = Some(format!("@{}{at}", account.acct)).filter(|_| !account.acct.is_empty());
    let id = Some(account.url.clone()).filter(|url| !url.is_empty() && url.len() <= ID_BYTES_MAX).or_else(|| handle.clone())?;
    Some(Author {
        native: NativeId { scope: String::new(), id },
        handle,
        name: [account.display_name.as_str(), account.acct.split('@').next().unwrap_or_default()]
            .into_iter()
            .find(|name| !name.is_empty())
            .map(str::to_owned),
        url: Some(account.url.clone()).filter(|url| !url.is_empty()),
        email: None,
        phone: None,
        assurance: None,
        automated: account.bot,
        metrics: vec![("followers".to_owned(), account.followers_count)],
    })
}

/// Units: milliseconds since 1970.
fn moment(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok()
}

/// The server's own, sanitised HTML as text.
pub(crate) fn plain(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        let (tag, next) = after.split_once('>').unwrap_or((after, ""));
        if tag.starts_with("br") || tag.starts_with("/p") || tag.starts_with("li") {
            text.push('\n');
        }
        rest = next;
    }
    text.push_str(rest);
    for (entity, character) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&apos;", "'"), ("&nbsp;", " "), ("&amp;", "&")] {
        text = text.replace(entity, character);
    }
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}
