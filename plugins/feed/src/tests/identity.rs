//! Whose item is it, and which: links that several share, ids that mean something elsewhere, writers that claim to be somebody.

use std::collections::BTreeMap;

use membrana_sdk::connector::{Change, Interaction};
use membrana_sdk::http::{HttpError, Response};
use membrana_sdk::{Connector as _, testing};

use crate::Feed;

/// Everything that one poll of these pages tells, as history.
fn told(feed: &str, pages: &[(&str, &str)]) -> Vec<Interaction> {
    let pages: BTreeMap<String, String> = pages.iter().map(|(url, body)| ((*url).to_owned(), (*body).to_owned())).collect();
    testing::Host::with_config(serde_json::json!({ "urls": [feed], "first_fetch": "import" }).to_string())
        .on_http(move |request| {
            let body = pages.get(&request.url).cloned().ok_or(HttpError::Timeout)?;
            Ok(Response { status: 200, headers: Vec::new(), body: body.into_bytes() })
        })
        .install();
    let changes = Feed::poll(None, 256, 1 << 20).unwrap().changes;
    changes.into_iter().filter_map(|change| if let Change::Upsert(about) = change { Some(about) } else { None }).collect()
}

fn aka(about: &Interaction) -> Vec<(&str, &str)> {
    about.aka.iter().map(|aka| (aka.scope.as_str(), aka.id.as_str())).collect()
}

fn native(about: &Interaction) -> (&str, &str) {
    (&about.native.scope, &about.native.id)
}

#[test]
fn two_items_with_one_link_stay_two() {
    let rss = "<rss><channel><link>http://a.test/home</link>
        <item><guid isPermaLink='false'>e1</guid><link>http://a.test/show</link></item>
        <item><guid isPermaLink='false'>e2</guid><link>http://a.test/show</link></item>
        <item><guid isPermaLink='false'>e3</guid><link>http://a.test/home</link></item>
        <item><guid isPermaLink='false'>e4</guid><link>http://other.test/article</link></item>
        <item><guid isPermaLink='false'>e5</guid><link>http://www.a.test/5</link></item></channel></rss>";
    let told = told("http://a.test/feed", &[("http://a.test/feed", rss)]);
    assert_eq!(told.iter().map(aka).collect::<Vec<_>>(), [vec![("", "http://www.a.test/5")], vec![], vec![], vec![], vec![]]);
}

#[test]
fn two_items_without_an_id_and_with_one_link_stay_two() {
    let item = |title: &str| format!("<item><title>{title}</title><link>http://a.test/changes</link></item>");
    let rss = format!("<rss><channel>{}{}<item><title>3</title><link>http://a.test/3</link></item></channel></rss>", item("1"), item("2"));
    let told = told("http://a.test/feed", &[("http://a.test/feed", &rss)]);
    assert_eq!(told.len(), 3);
    assert_eq!(native(&told[0]), ("", "http://a.test/3"));
}

#[test]
fn a_link_to_what_a_post_speaks_of_is_not_the_post() {
    let json = r#"{"items":[{"id":"1","external_url":"http://a.test/article","content_text":"x"},{"external_url":"http://a.test/b","title":"y"}]}"#;
    let told = told("http://a.test/feed", &[("http://a.test/feed", json)]);
    assert_eq!((told.len(), aka(&told[1]), told[1].url.as_deref()), (2, vec![], Some("http://a.test/article")));
    assert_eq!(native(&told[1]), ("http://a.test/feed", "1"));
    assert_ne!(native(&told[0]).1, "http://a.test/b");
}

const BLOG: &str = "<rss><channel><language>it</language><item><guid isPermaLink='false'>1</guid><link>http://a.test/p</link>
    <wfw:commentRss>http://a.test/p/feed</wfw:commentRss></item></channel></rss>";

#[test]
fn a_comment_that_links_its_bare_post_is_not_the_post() {
    let comments = "<feed><entry><id>1</id><link href='http://a.test/p'/><content>Hello</content>
        <author><name>Eve</name><uri>http://acme.test/ceo</uri></author></entry>
        <entry><id>2</id><link href='http://a.test/p'/><content xml:lang='en'>Yes</content><thr:in-reply-to ref='1'/></entry></feed>";
    let told = told("http://a.test/feed", &[("http://a.test/feed", BLOG), ("http://a.test/p/feed", comments)]);
    let (post, answer, comment) = (&told[0], &told[1], &told[2]);
    assert_eq!((native(post), native(comment)), (("http://a.test/feed", "1"), ("http://a.test/feed#comments", "1")));
    assert_eq!((aka(post), aka(comment)), (vec![("", "http://a.test/p")], vec![]));
    assert_eq!(comment.parent.as_ref(), Some(&post.native));
    assert!(answer.parent.as_ref() == Some(&post.native) || answer.refs.contains(&post.native), "{answer:?}");
    let author = comment.author.as_ref().unwrap();
    assert_eq!((author.native.scope.as_str(), author.native.id.as_str()), ("a.test", "http://acme.test/ceo"), "a claim counts on this site alone");
    assert_eq!((post.language.as_deref(), comment.language.as_deref(), answer.language.as_deref()), (Some("it"), None, Some("en")));
}

#[test]
fn ids_of_another_host_count_in_this_blog_alone() {
    let rss = "<rss><channel><item><guid>http://a.test/1</guid></item><item><guid>http://b.test/1</guid></item>
        <item><guid>urn:uuid:7</guid></item></channel></rss>";
    let told = told("http://a.test/feed", &[("http://a.test/feed", rss)]);
    let scopes: Vec<&str> = told.iter().map(|about| about.native.scope.as_str()).collect();
    assert_eq!(scopes, ["http://a.test/feed", "http://a.test/feed", ""]);
}

#[test]
fn links_that_lead_out_of_the_web_are_left_out() {
    let rss = "<rss><channel><item><guid isPermaLink='false'>1</guid><link>javascript:alert(1)</link>
        <enclosure url='file:///etc/passwd' type='text/plain'/><enclosure url='/a.mp3' type='audio/mpeg'/></item></channel></rss>";
    let told = told("http://a.test/feed", &[("http://a.test/feed", rss)]);
    assert_eq!(told[0].url, None);
    assert_eq!(told[0].attachments.iter().map(|file| file.url.as_deref()).collect::<Vec<_>>(), [Some("http://a.test/a.mp3")]);
}

#[test]
fn comments_of_a_busy_day_are_read_by_post_too() {
    let blog = BLOG.replace("<language>", "<generator>https://wordpress.org/?v=6.8</generator><language>");
    let comment = |n: u32| format!("<rss><channel><item><guid>http://a.test/p#c{n}</guid><link>http://a.test/p#c{n}</link></item></channel></rss>");
    let told = told(
        "http://a.test/feed/",
        &[("http://a.test/feed/", &blog), ("http://a.test/comments/feed/", &comment(2)), ("http://a.test/p/feed", &comment(1))],
    );
    let ids: Vec<&str> = told.iter().map(|about| about.native.id.as_str()).collect();
    assert_eq!(ids, ["1", "http://a.test/p#c2", "http://a.test/p#c1"]);
    assert!(told[1..].iter().all(|comment| comment.native.scope.is_empty()), "both feeds mean the same by an id");
}
