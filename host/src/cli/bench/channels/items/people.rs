//! Networks of people: X and Mastodon. Source: docs.x.com, docs.joinmastodon.org.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use crate::cli::bench::channels::network::Pages;
use crate::model::Timestamp;

use super::{All, ITEMS, Item, bytes};

/// Of X and of Mastodon.
const X_PAGE: u32 = 100;
const MASTODON_PAGE: u32 = 40;
/// When X began to count. Units: ms since 1970.
const EPOCH_MS: u64 = 1_288_834_974_657;
/// The company's own account.
const US: &str = "1500000000000000042";

pub(super) fn x(all: All) -> Pages {
    let mut pages = Pages::from([("/2/users/me#".to_owned(), vec![bytes(&json!({ "data": { "id": US, "name": "Acme", "username": "acme" } }))])]);
    for n in 0..ITEMS / X_PAGE {
        let from = ITEMS - (n + 1) * X_PAGE;
        let posts: Vec<Item> = all.some(from, X_PAGE).rev().collect();
        let authors: BTreeSet<u32> = posts.iter().map(|item| item.author).collect();
        let answered: Vec<Json> = posts.iter().filter_map(|item| item.parent).map(|parent| x_post(all.item(parent))).collect();
        let (newest, oldest) = (posts.first().map(|item| snowflake(*item)), posts.last().map(|item| snowflake(*item)));
        let mut page = json!({
            "data": posts.iter().map(|item| x_post(*item)).collect::<Vec<_>>(),
            "includes": { "users": authors.into_iter().map(x_user).collect::<Vec<_>>(), "posts": answered },
            "meta": { "newest_id": newest, "oldest_id": oldest, "result_count": posts.len() },
        });
        if let (Some(meta), true) = (page.get_mut("meta").and_then(Json::as_object_mut), from > 0) {
            meta.insert("next_token".to_owned(), token(n + 1).into());
        }
        let on = if n == 0 { String::new() } else { token(n) };
        pages.insert(format!("/2/users/{US}/mentions#{on}"), vec![bytes(&page)]);
    }
    pages
}

fn token(n: u32) -> String {
    format!("7140dibdnow9c7btw4b{n:05}")
}

fn snowflake(item: Item) -> String {
    (((item.at.0 - EPOCH_MS) << 22) + u64::from(item.n % 4096)).to_string()
}

fn x_user(author: u32) -> Json {
    json!({
        "id": (1_500_000_000_000_001_000 + u64::from(author)).to_string(), "name": format!("User {author}"), "username": format!("user{author}"),
        "protected": false, "verified": false, "verified_type": "none",
        "public_metrics": { "followers_count": 12, "following_count": 7, "post_count": 90, "listed_count": 1, "like_count": 5, "media_count": 3 },
    })
}

fn x_post(item: Item) -> Json {
    let id = snowflake(item);
    let parent =
        item.parent.map(|parent| snowflake(Item { n: parent, at: Timestamp(item.at.0 - u64::from(item.n - parent) * super::STEP_MS), ..item }));
    let mut post = json!({
        "id": id, "text": format!("@acme {}", item.text), "author_id": (1_500_000_000_000_001_000 + u64::from(item.author)).to_string(),
        "created_at": item.rfc3339(), "conversation_id": parent.clone().unwrap_or_else(|| id.clone()), "lang": if item.n.is_multiple_of(2) { "it" } else { "en" },
        "entities": { "mentions": [{ "start": 0, "end": 5, "username": "acme", "id": US }] }, "edit_history_post_ids": [id],
    });
    if let (Some(fields), Some(parent)) = (post.as_object_mut(), parent) {
        fields.insert("referenced_posts".to_owned(), json!([{ "type": "replied_to", "id": parent }]));
        fields.insert("in_reply_to_user_id".to_owned(), US.into());
    }
    post
}

pub(super) fn mastodon(all: All) -> Pages {
    let me = account(&all.item(0), "acme");
    let mut pages = Pages::from([("/api/v1/accounts/verify_credentials#".to_owned(), vec![bytes(&me)])]);
    for from in (0..ITEMS).step_by(MASTODON_PAGE as usize) {
        // Newest first inside a page.
        let page: Json = all.some(from, MASTODON_PAGE).rev().map(notification).collect();
        pages.insert(format!("/api/v1/notifications#{from}"), vec![bytes(&page)]);
    }
    pages
}

fn notification(item: Item) -> Json {
    let acct = format!("{}@social.example", item.username());
    json!({
        "id": (item.n + 1).to_string(), "type": "mention", "created_at": item.rfc3339(), "group_key": format!("ungrouped-{}", item.n + 1),
        "account": account(&item, &acct), "status": status(item, &acct),
    })
}

fn status(item: Item, acct: &str) -> Json {
    let (name, id) = (item.username(), 110_000_000_000_000_000 + u64::from(item.n));
    let mention =
        "<span class=\"h-card\" translate=\"no\"><a href=\"https://mastodon.example/@acme\" class=\"u-url mention\">@<span>acme</span></a></span>";
    json!({
        "id": id.to_string(), "created_at": item.rfc3339(), "in_reply_to_id": item.parent.map(|parent| (110_000_000_000_000_000 + u64::from(parent)).to_string()),
        "in_reply_to_account_id": item.parent.map(|_| "14715"), "sensitive": false, "spoiler_text": "", "visibility": "public", "language": "it",
        "uri": format!("https://social.example/users/{name}/statuses/{id}"), "url": format!("https://social.example/@{name}/{id}"),
        "replies_count": 0, "reblogs_count": 0, "favourites_count": 0, "quotes_count": 0, "edited_at": null, "favourited": false, "reblogged": false,
        "muted": false, "bookmarked": false, "content": format!("<p>{mention} {}</p>", item.text), "filtered": [], "reblog": null,
        "account": account(&item, acct), "media_attachments": [],
        "mentions": [{ "id": "14715", "username": "acme", "url": "https://mastodon.example/@acme", "acct": "acme" }],
        "tags": [], "emojis": [], "card": null, "poll": null,
    })
}

fn account(item: &Item, acct: &str) -> Json {
    let name = acct.split('@').next().unwrap_or_default();
    let picture = |kind: &str| format!("https://files.mastodon.example/cache/accounts/{kind}/109/302/436/original/2a36d0a0f7c5a4d1.png");
    json!({
        "id": (109_000_000_000_000_000 + u64::from(item.author)).to_string(), "username": name, "acct": acct, "display_name": item.name(), "locked": false,
        "bot": false, "discoverable": true, "indexable": false, "group": false, "created_at": "2022-11-07T00:00:00.000Z",
        "note": "<p>Cyclist, mother of two, customer of too many companies. Opinions are mine.</p>",
        "url": format!("https://social.example/@{name}"), "uri": format!("https://social.example/users/{name}"),
        "avatar": picture("avatars"), "avatar_static": picture("avatars"), "header": picture("headers"), "header_static": picture("headers"),
        "followers_count": 212, "following_count": 180, "statuses_count": 1_840, "last_status_at": "2026-11-24", "hide_collections": false,
        "emojis": [], "fields": [{ "name": "Web", "value": "<a href=\"https://user.example\" rel=\"nofollow\">user.example</a>", "verified_at": null }],
    })
}
