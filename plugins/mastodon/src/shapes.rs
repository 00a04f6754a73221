//! What the API sends, as far as it is used, and as an interaction.

use membrana_sdk::connector::{Author, Interaction, Ours};
use membrana_sdk::{Attachment, NativeId};
use serde::{Deserialize, Serialize};

use crate::Section;

/// Of an account.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) acct: String,
    #[serde(default)]
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) display_name: String,
    #[serde(default)]
    pub(crate) bot: bool,
    #[serde(default)]
    pub(crate) followers_count: f64,
}

/// Of a notification; kinds that are not known are passed over.
#[derive(Debug, Deserialize)]
pub(crate) struct Notification {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) status: Option<Status>,
}

/// Of a status.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Status {
    pub(crate) id: String,
    pub(crate) uri: String,
    #[serde(default)]
    pub(crate) url: Option<String>,
    #[serde(default)]
    pub(crate) created_at: String,
    #[serde(default)]
    pub(crate) edited_at: Option<String>,
    #[serde(default)]
    pub(crate) in_reply_to_id: Option<String>,
    #[serde(default)]
    pub(crate) visibility: Option<String>,
    #[serde(default)]
    pub(crate) language: Option<String>,
    #[serde(default)]
    pub(crate) content: String,
    #[serde(default)]
    pub(crate) spoiler_text: Option<String>,
    #[serde(default)]
    pub(crate) account: Account,
    #[serde(default)]
    pub(crate) mentions: Vec<Mention>,
    #[serde(default)]
    pub(crate) media_attachments: Vec<Media>,
}

/// Of an account that is named in a status.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Mention {
    #[serde(default)]
    pub(crate) acct: String,
}

/// Of an attachment.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Media {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    url: Option<String>,
}

/// What a reply will need.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReplyContext {
    pub(crate) id: String,
    pub(crate) accts: Vec<String>,
    pub(crate) visibility: String,
}

/// A status as everybody's word.
pub(crate) fn interaction(section: &Section, status: &Status, me: &Account) -> Interaction {
    let local = |id: &str| NativeId { scope: section.host(), id: id.to_owned() };
    let visibility = match status.visibility.as_deref() {
        Some("private") => "followers",
        Some("unlisted") => "unlisted",
        Some("direct") => "direct",
        _ => "public",
    };
    let is_own = status.account.id == me.id;
    let others = status.mentions.iter().map(|mention| mention.acct.clone()).filter(|acct| *acct != me.acct && !acct.is_empty());
    let accts: Vec<String> = std::iter::once(status.account.acct.clone()).chain(others).take(10).collect();
    let context = ReplyContext { id: status.id.clone(), accts, visibility: status.visibility.clone().unwrap_or_else(|| "public".to_owned()) };
    let (occurred, edited) = (moment(&status.created_at), status.edited_at.as_deref().and_then(moment));
    Interaction {
        native: NativeId { scope: String::new(), id: status.uri.clone() },
        aka: vec![local(&status.id)],
        kind: if visibility == "direct" { "direct" } else { "mention" }.to_owned(),
        visibility: visibility.to_owned(),
        author: Some(author(&status.account, &section.host())),
        ours: if is_own { Ours::Yes(None) } else { Ours::No },
        automated: if status.account.bot { "bot" } else { "no" }.to_owned(),
        conversation: None,
        parent: status.in_reply_to_id.as_deref().map(local),
        refs: Vec::new(),
        subject: status.spoiler_text.clone().filter(|text| !text.is_empty()),
        text: plain(&status.content),
        quoted: None,
        language: status.language.clone(),
        url: status.url.clone(),
        attachments: status
            .media_attachments
            .iter()
            .take(16)
            .map(|media| Attachment { name: None, media_type: media.kind.clone(), size: None, url: media.url.clone(), media_ref: None })
            .collect(),
        place: None,
        side: None,
        campaign: None,
        occurred: occurred.unwrap_or_else(membrana_sdk::clock::now),
        edited,
        reply_context: serde_json::to_string(&context).ok(),
        attrs: Vec::new(),
    }
}

fn author(account: &Account, host: &str) -> Author {
    let handle = if account.acct.contains('@') { format!("@{}", account.acct) } else { format!("@{}@{host}", account.acct) };
    let id = if account.url.is_empty() { handle.clone() } else { account.url.clone() };
    Author {
        native: NativeId { scope: String::new(), id },
        handle: Some(handle),
        name: Some(account.display_name.clone()).filter(|name| !name.is_empty()).or_else(|| account.acct.split('@').next().map(str::to_owned)),
        url: Some(account.url.clone()).filter(|url| !url.is_empty()),
        email: None,
        phone: None,
        assurance: None,
        automated: account.bot,
        metrics: vec![("followers".to_owned(), account.followers_count)],
    }
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
