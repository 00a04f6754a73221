//! Threads and posts as the API sends them, as far as they are used.

use membrana_sdk::json::{Field, List, Object};
use serde::Deserialize;

/// A page of the list of threads.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Threads {
    pub(crate) results: List<Object<Thread>>,
    pub(crate) next: Field,
}

/// A thread, with some of its posts where they were asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Thread {
    pub(crate) id: Field,
    pub(crate) title: Field,
    pub(crate) last_post: Field,
    pub(crate) last_post_on: Field,
    pub(crate) pages: Field,
    pub(crate) replies: Field,
    pub(crate) weight: Field,
    pub(crate) post_set: Object<Posts>,
}

/// A page of posts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Posts {
    pub(crate) results: List<Object<Post>>,
}

/// A post.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Post {
    pub(crate) id: Field,
    pub(crate) poster: Object<Poster>,
    pub(crate) poster_name: Field,
    pub(crate) content: Field,
    pub(crate) posted_on: Field,
    pub(crate) updated_on: Field,
    pub(crate) edits: Field,
    pub(crate) is_event: Field,
    pub(crate) is_hidden: Field,
    pub(crate) is_unapproved: Field,
    pub(crate) url: Object<Addresses>,
}

/// Who wrote a post; none of it where the account was closed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Poster {
    pub(crate) id: Field,
    pub(crate) username: Field,
    pub(crate) real_name: Field,
    pub(crate) url: Field,
}

/// Where a post stands.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Addresses {
    pub(crate) index: Field,
}
