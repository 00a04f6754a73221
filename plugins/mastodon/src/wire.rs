//! What the API sends, as far as it is used. Other servers than Mastodon speak it too, and anybody may fill its fields.

use membrana_sdk::json::{Field, List, Object};
use serde::Deserialize;

/// A notification.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Notification {
    pub(crate) id: Field,
    #[serde(rename = "type")]
    pub(crate) kind: Field,
    /// None where it is gone already.
    pub(crate) status: Option<Object<Status>>,
}

/// A status.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) id: Field,
    pub(crate) uri: Field,
    pub(crate) url: Field,
    pub(crate) created_at: Field,
    pub(crate) edited_at: Field,
    pub(crate) in_reply_to_id: Field,
    pub(crate) visibility: Field,
    pub(crate) language: Field,
    pub(crate) content: Field,
    pub(crate) spoiler_text: Field,
    pub(crate) account: Object<Account>,
    pub(crate) mentions: List<Object<Mention>>,
    pub(crate) media_attachments: List<Object<Media>>,
}

/// Who wrote a status, or whose a token is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Account {
    pub(crate) id: Field,
    pub(crate) acct: Field,
    pub(crate) url: Field,
    pub(crate) display_name: Field,
    pub(crate) bot: Field,
    pub(crate) followers_count: Field,
}

/// Somebody whom a status names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Mention {
    pub(crate) acct: Field,
}

/// A picture or the like.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Media {
    #[serde(rename = "type")]
    pub(crate) kind: Field,
    pub(crate) url: Field,
}
