//! A post as the API and the webhooks send it, as far as it is used.

use membrana_sdk::json::Field;
use serde::Deserialize;

/// A post.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Post {
    pub(crate) id: Field,
    pub(crate) topic_id: Field,
    pub(crate) topic_title: Field,
    pub(crate) topic_archetype: Field,
    pub(crate) category_id: Field,
    pub(crate) post_number: Field,
    pub(crate) reply_to_post_number: Field,
    pub(crate) post_type: Field,
    pub(crate) post_url: Field,
    pub(crate) version: Field,
    pub(crate) created_at: Field,
    pub(crate) updated_at: Field,
    pub(crate) deleted_at: Field,
    pub(crate) user_deleted: Field,
    pub(crate) hidden: Field,
    pub(crate) user_id: Field,
    pub(crate) username: Field,
    pub(crate) name: Field,
    pub(crate) staff: Field,
    pub(crate) raw: Field,
    pub(crate) cooked: Field,
}
