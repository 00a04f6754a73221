//! What the API sends, as it is used, and as an interaction: each item is read alone, what is missing, null or of another type
//! is absent, and everything is cut to the bounds of the contract.

use membrana_sdk::connector::{Author, Interaction, Ours};
use membrana_sdk::json::Field;
use membrana_sdk::{Attachment, NativeId};
use serde::{Deserialize, Serialize};

use crate::{Section, wire};

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
    /// The author and those whom the post names, without us.
    pub(crate) accts: Vec<String>,
    /// The author; empty where that is us, or not known.
    #[serde(default)]
    pub(crate) author: Option<String>,
    /// Of what is answered, in the words of the API.
    pub(crate) visibility: String,
}

/// Empty where it is no text.
fn text(field: Field, bytes_max: usize) -> String {
    within(field.into_text().unwrap_or_default(), bytes_max)
}

fn within(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// What must not be cut: absent where it is too long.
fn whole(field: Field, bytes_max: usize) -> Option<String> {
    field.into_text().filter(|text| text.len() <= bytes_max)
}

/// Ids are text, and numbers on some servers.
pub(crate) fn id(field: &Field) -> Option<String> {
    let text = field.text().filter(|text| text.len() <= LOCAL_ID_BYTES_MAX).map(str::to_owned);
    text.or_else(|| field.whole().map(|number| number.to_string()))
}

impl Account {
    /// None where it is none.
    pub(crate) fn of(sent: wire::Account) -> Option<Self> {
        Some(Self {
            id: id(&sent.id)?,
            acct: whole(sent.acct, ACCT_BYTES_MAX).unwrap_or_default(),
            url: whole(sent.url, URL_BYTES_MAX).unwrap_or_default(),
            display_name: text(sent.display_name, NAME_BYTES_MAX),
            bot: sent.bot.flag(),
            followers_count: sent.followers_count.number().filter(|count| count.is_finite() && *count >= 0.0).unwrap_or(0.0),
        })
    }
}

impl Status {
    /// None where it is none.
    pub(crate) fn of(sent: wire::Status) -> Option<Self> {
        let mentioned = sent.mentions.0.into_iter().flatten().take(4 * ACCTS_MAX).filter_map(|one| whole(one.0?.acct, ACCT_BYTES_MAX));
        Some(Self {
            id: id(&sent.id)?,
            uri: whole(sent.uri, ID_BYTES_MAX).unwrap_or_default(),
            url: whole(sent.url, URL_BYTES_MAX),
            created_at: text(sent.created_at, WORD_BYTES_MAX),
            edited_at: whole(sent.edited_at, WORD_BYTES_MAX),
            in_reply_to_id: id(&sent.in_reply_to_id),
            visibility: text(sent.visibility, WORD_BYTES_MAX),
            language: whole(sent.language, WORD_BYTES_MAX),
            content: text(sent.content, HTML_BYTES_MAX),
            spoiler_text: text(sent.spoiler_text, SUBJECT_BYTES_MAX),
            account: sent.account.0.and_then(Account::of).unwrap_or_default(),
            mentioned: mentioned.collect(),
            media: sent.media_attachments.0.into_iter().flatten().take(MEDIA_MAX).map(|one| media(one.0.unwrap_or_default())).collect(),
        })
    }

    /// Units: milliseconds since 1970.
    pub(crate) fn created(&self) -> Option<u64> {
        moment(&self.created_at)
    }

    /// Says whether a file of it is still being processed.
    pub(crate) fn is_coming(&self) -> bool {
        self.media.iter().any(|file| file.url.is_none())
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
        let author = if self.account.acct == me.acct { String::new() } else { self.account.acct.clone() };
        let mut accts: Vec<String> = Vec::new();
        for acct in std::iter::once(&self.account.acct).chain(&self.mentioned) {
            if !acct.is_empty() && *acct != me.acct && accts.len() < ACCTS_MAX && !accts.contains(acct) {
                accts.push(acct.clone());
            }
        }
        let mut context = ReplyContext { id: self.id.clone(), accts, author: Some(author), visibility: self.visibility.clone() };
        loop {
            let text = serde_json::to_string(&context).ok()?;
            if text.len() <= CONTEXT_BYTES_MAX {
                return Some(text);
            }
            context.accts.pop()?;
        }
    }
}

/// The visibility of an answer, in the words of the API: as wide as what it answers, the narrowest in doubt. The followers who read a
/// `private` answer would be ours, not those of whom it answers.
pub(crate) fn no_wider_than(visibility: &str) -> &'static str {
    match visibility {
        "public" => "public",
        "unlisted" => "unlisted",
        _ => "direct",
    }
}

/// By its address; a status without a usable one has its local id.
pub(crate) fn native(section: &Section, uri: &str, local: &str) -> NativeId {
    match uri {
        "" => NativeId { scope: section.host().to_owned(), id: local.to_owned() },
        uri => NativeId { scope: String::new(), id: uri.to_owned() },
    }
}

fn media(sent: wire::Media) -> Attachment {
    let kind = text(sent.kind, WORD_BYTES_MAX);
    let media_type = if kind.is_empty() { "unknown".to_owned() } else { kind };
    Attachment { name: None, media_type, size: None, url: whole(sent.url, URL_BYTES_MAX), media_ref: None }
}

/// A status as everybody's word.
pub(crate) fn interaction(section: &Section, status: Status, me: &Account) -> Interaction {
    let local = |id: String| NativeId { scope: section.host().to_owned(), id };
    let visibility = status.audience();
    let is_own = !status.account.id.is_empty() && status.account.id == me.id;
    let (occurred, edited) = (moment(&status.created_at), status.edited_at.as_deref().and_then(moment));
    let (native, reply_context) = (status.native(section), status.reply_context(me));
    Interaction {
        aka: Some(local(status.id)).filter(|id| *id != native).into_iter().collect(),
        native,
        kind: if visibility == "direct" { "direct" } else { "mention" }.to_owned(),
        visibility: visibility.to_owned(),
        ours: if is_own { Ours::Yes(None) } else { Ours::No },
        automated: if status.account.bot { "bot" } else { "no" }.to_owned(),
        author: author(status.account, section.host()),
        conversation: None,
        parent: status.in_reply_to_id.map(local),
        refs: Vec::new(),
        subject: Some(status.spoiler_text).filter(|text| !text.is_empty()),
        text: within(plain(&status.content), TEXT_BYTES_MAX),
        quoted: None,
        language: status.language,
        url: status.url,
        attachments: status.media,
        place: None,
        side: None,
        campaign: None,
        occurred: occurred.unwrap_or_else(membrana_sdk::clock::now),
        edited,
        reply_context,
        attrs: Vec::new(),
    }
}

/// None where nothing names the account.
fn author(account: Account, host: &str) -> Option<Author> {
    let at = if account.acct.contains('@') { String::new() } else { format!("@{host}") };
    let handle = Some(format!("@{}{at}", account.acct)).filter(|_| !account.acct.is_empty());
    let id = Some(&account.url).filter(|url| !url.is_empty() && url.len() <= ID_BYTES_MAX).or(handle.as_ref())?.clone();
    let named = Some(account.display_name).filter(|name| !name.is_empty());
    let name = named.or_else(|| account.acct.split('@').next().filter(|name| !name.is_empty()).map(str::to_owned));
    Some(Author {
        native: NativeId { scope: String::new(), id },
        handle,
        name,
        url: Some(account.url).filter(|url| !url.is_empty()),
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
    let text = membrana_markup::unescape(&text).replace('\u{a0}', " ");
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}
