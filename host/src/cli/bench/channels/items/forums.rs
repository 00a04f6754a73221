//! Forums and blogs: Discourse, Misago, WordPress. Source: docs.discourse.org, Misago's source, RSS 2.0 as WordPress writes it.

use serde_json::{Value as Json, json};

use crate::cli::bench::channels::network::Pages;

use super::{All, FEEDS, ITEMS, Item, bytes, feed_path};

const DISCOURSE_PAGE: u32 = 50;
/// Posts of a topic.
const TOPIC: u32 = 20;
/// Posts of a thread, two pages of it.
const THREAD: u32 = 40;
const THREAD_PAGE: u32 = 20;
/// Threads in a page of the list.
const THREADS: u32 = 25;
/// New posts of a blog each time that it is read.
const EDITION: u32 = 25;

pub(super) fn discourse(all: All) -> Pages {
    let page = |n: u32| {
        let from = ITEMS - (n + 1) * DISCOURSE_PAGE;
        let posts: Vec<Json> = all.some(from, DISCOURSE_PAGE).rev().map(forum_post).collect();
        // Ids count from 1: what lies below the page before.
        let on = if n == 0 { String::new() } else { (from + DISCOURSE_PAGE + 1).to_string() };
        (format!("/posts.json#{on}"), vec![bytes(&json!({ "latest_posts": posts }))])
    };
    (0..ITEMS / DISCOURSE_PAGE).map(page).collect()
}

fn forum_post(item: Item) -> Json {
    let (topic, number) = (item.n / TOPIC + 1, item.n % TOPIC + 1);
    let title = format!("Where is parcel {topic}, and who answers?");
    let mut post = json!({
        "id": item.n + 1, "name": item.name(), "username": item.username(), "avatar_template": "/user_avatar/forum.example/user/{size}/12_2.png",
        "created_at": item.rfc3339(), "cooked": item.html(), "post_number": number, "post_type": 1, "posts_count": TOPIC, "updated_at": item.rfc3339(),
        "reply_count": 0, "reply_to_post_number": (item.parent.is_some() && number > 7).then(|| number - 7), "quote_count": 0, "incoming_link_count": 0,
        "reads": 4, "readers_count": 3, "score": 0.8, "yours": false, "topic_id": topic, "topic_slug": format!("where-is-parcel-{topic}"),
        "topic_title": title, "topic_html_title": title, "category_id": 4, "display_username": item.name(), "primary_group_name": null,
        "flair_name": null, "flair_url": null, "flair_bg_color": null, "flair_color": null, "flair_group_id": null, "badges_granted": [],
        "version": 1, "can_edit": false, "can_delete": false, "can_recover": false, "can_see_hidden_post": false, "can_wiki": false,
        "user_title": null, "raw": item.text, "excerpt": item.text, "truncated": false,
    });
    let more = json!({
        "bookmarked": false, "actions_summary": [{ "id": 2, "can_act": true }], "moderator": false, "admin": false, "staff": false,
        "user_id": item.author + 10, "hidden": false, "trust_level": 1, "deleted_at": null, "user_deleted": false, "edit_reason": null,
        "can_view_edit_history": true, "wiki": false, "reviewable_id": null, "reviewable_score_count": 0, "reviewable_score_pending_count": 0,
        "post_url": format!("/t/where-is-parcel-{topic}/{topic}/{number}"), "can_accept_answer": false, "accepted_answer": false,
    });
    if let (Some(fields), Json::Object(more)) = (post.as_object_mut(), more) {
        fields.extend(more);
    }
    post
}

pub(super) fn misago(all: All) -> Pages {
    let mut pages = Pages::new();
    for n in 0..ITEMS / THREAD / THREADS {
        // Ids count from 1, and a list goes on by what its last post lies below.
        let top = ITEMS - n * THREADS * THREAD;
        let next = top - THREADS * THREAD;
        let threads: Vec<Json> = (0..THREADS).map(|k| thread(all, top / THREAD - 1 - k)).collect();
        let page = json!({ "results": threads, "subcategories": [], "next": (next > 0).then_some(next) });
        pages.insert(format!("/api/threads/#{}", if n == 0 { String::new() } else { top.to_string() }), vec![bytes(&page)]);
    }
    for id in 0..ITEMS / THREAD {
        for page in 0..THREAD / THREAD_PAGE {
            let posts: Vec<Json> = all.some(id * THREAD + page * THREAD_PAGE, THREAD_PAGE).map(|item| thread_post(id, item)).collect();
            let mut shown = thread(all, id);
            if let Some(fields) = shown.as_object_mut() {
                fields.insert("post_set".to_owned(), json!({ "results": posts, "count": THREAD, "page": page + 1, "pages": THREAD / THREAD_PAGE }));
            }
            pages.insert(format!("/api/threads/{}/posts/#{}", id + 1, page + 1), vec![bytes(&shown)]);
        }
    }
    pages
}

fn thread(all: All, id: u32) -> Json {
    let last = all.item(id * THREAD + THREAD - 1);
    let number = id + 1;
    let url = format!("/t/where-is-my-parcel/{number}/");
    json!({
        "id": number, "category": { "id": 3, "name": "Help", "slug": "help" }, "title": format!("Where is parcel {number}?"), "replies": THREAD - 1,
        "has_unapproved_posts": false, "started_on": all.item(id * THREAD).rfc3339(), "last_post_on": last.rfc3339(), "last_post_is_event": false,
        "last_post": last.n + 1, "last_poster_name": last.username(), "is_unapproved": false, "is_hidden": false, "is_closed": false, "weight": 0,
        "pages": THREAD / THREAD_PAGE, "is_new": false, "is_read": true, "path": [{ "id": 3, "name": "Help" }],
        "url": { "index": url, "last_post": format!("{url}last/"), "new_post": format!("{url}new/") },
        "api": { "index": format!("/api/threads/{number}/"), "posts": format!("/api/threads/{number}/posts/") },
    })
}

fn thread_post(thread: u32, item: Item) -> Json {
    let (id, username) = (item.n + 1, item.username());
    let avatars: Vec<Json> = [400, 200, 150, 100, 64, 50, 30]
        .iter()
        .map(|size| json!({ "size": size, "url": format!("/media/avatars/aa/bb/{username}-{size}.png") }))
        .collect();
    json!({
        "id": id, "poster": {
            "id": item.author + 10, "username": username, "real_name": null, "avatars": avatars, "title": null, "joined_on": "2022-11-07T00:00:00Z",
            "rank": { "id": 2, "name": "Members", "slug": "members", "css_class": null, "is_tab": false }, "posts": 12, "threads": 2,
            "url": format!("/u/{username}/{}/", item.author + 10), "signature": null, "is_followed": false, "is_blocked": false,
        },
        "poster_name": username, "content": item.html(), "attachments": null, "posted_on": item.written("%Y-%m-%dT%H:%M:%S.%fZ"),
        "updated_on": item.written("%Y-%m-%dT%H:%M:%S.%fZ"), "hidden_on": null, "edits": 0, "last_editor_name": null, "is_event": false,
        "is_hidden": false, "is_unapproved": false, "is_protected": false, "is_new": false, "is_read": true, "is_liked": false, "likes": 0,
        "acl": { "can_reply": true, "can_edit": false, "can_see_protected": false, "can_hide": false, "can_like": true },
        "url": { "index": format!("/t/where-is-my-parcel/{}/post/{id}/", thread + 1) },
        "api": { "index": format!("/api/threads/{}/posts/{id}/", thread + 1), "likes": format!("/api/threads/{}/posts/{id}/likes/", thread + 1) },
    })
}

/// Each blog's editions, one after the other.
pub(super) fn feed(all: All) -> Pages {
    let begins = |blog: u32, n: u32| (n * FEEDS + blog) * EDITION;
    let known = move |blog: u32, n: u32| n.checked_sub(1).map(|before| begins(blog, before) + EDITION - 1);
    let editions = move |blog: u32| (0..ITEMS / FEEDS / EDITION).map(move |n| edition(all, blog, begins(blog, n), known(blog, n)).into());
    (0..FEEDS).map(|blog| (format!("{}#", feed_path(blog)), editions(blog).collect())).collect()
}

/// Its new posts, from this one on, above the newest of the edition before.
fn edition(all: All, blog: u32, from: u32, known: Option<u32>) -> Vec<u8> {
    let head = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><rss version=\"2.0\" xmlns:content=\"http://purl.org/rss/1.0/modules/content/\" \
         xmlns:dc=\"http://purl.org/dc/elements/1.1/\" xmlns:slash=\"http://purl.org/rss/1.0/modules/slash/\">\n<channel>\n<title>Blog {blog}</title>\
         \n<link>https://blog{blog}.example</link>\n<description>News</description>\n<language>it-IT</language>\n\
         <generator>https://wordpress.org/?v=6.8</generator>\n"
    );
    let known = known.into_iter().flat_map(|n| all.some(n, 1));
    let items: String = all.some(from, EDITION).rev().chain(known).map(|item| post(blog, item)).collect();
    format!("{head}{items}</channel>\n</rss>\n").into_bytes()
}

fn post(blog: u32, item: Item) -> String {
    let (n, at) = (item.n, item.written("%a, %d %b %Y %H:%M:%S +0000"));
    let (author, text, html) = (item.name(), item.text, item.html());
    format!(
        "\t<item>\n\t\t<title>Parcel {n} &#8211; the story</title>\n\t\t<link>https://blog{blog}.example/2026/11/parcel-{n}/</link>\n\
         \t\t<comments>https://blog{blog}.example/2026/11/parcel-{n}/#respond</comments>\n\t\t<dc:creator><![CDATA[{author}]]></dc:creator>\n\
         \t\t<pubDate>{at}</pubDate>\n\t\t<category><![CDATA[Parcels]]></category>\n\t\t<category><![CDATA[News]]></category>\n\
         \t\t<guid isPermaLink=\"false\">https://blog{blog}.example/?p={n}</guid>\n\t\t<description><![CDATA[<p>{text} [&#8230;]</p>]]></description>\n\
         \t\t<content:encoded><![CDATA[\n{html}\n]]></content:encoded>\n\t\t<slash:comments>0</slash:comments>\n\t</item>\n"
    )
}
