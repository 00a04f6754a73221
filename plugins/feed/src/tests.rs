//! Feeds as blogs serve them, and as they should not.

mod forums;
mod identity;
mod rounds;

use std::cell::RefCell;
use std::rc::Rc;

use membrana_sdk::connector::{Change, Interaction, Page};
use membrana_sdk::http::Response;
use membrana_sdk::{Connector as _, Fault, testing};

use crate::Feed;
use crate::document::parse;

const RSS: &str = r#"<?xml version="1.0"?><rss version="2.0" xmlns:wfw="http://wellformedweb.org/CommentAPI/"><channel><title>Acme &amp; Co</title><language>it</language>
<item><title>Due</title><link>/2</link><guid>g2</guid><pubDate>Tue, 24 Nov 2026 10:00:00 +0100</pubDate><description><![CDATA[<p>Perch&eacute;?</p>]]></description></item>
<item><title>Uno</title><link>http://blog.test/1</link><guid>g1</guid><description>a &lt;b&gt;b&lt;/b&gt;</description></item>
</channel></rss>"#;

/// A blog whose answer can be changed while it is polled.
type Blog = Rc<RefCell<(u16, String, Vec<(String, String)>)>>;

fn blog(config: &str, body: &str) -> Blog {
    let blog: Blog = Rc::new(RefCell::new((200, body.to_owned(), Vec::new())));
    let answer = Rc::clone(&blog);
    testing::Host::with_config(config)
        .on_http(move |request| {
            let (status, body, headers) = answer.borrow().clone();
            let is_known = request.headers.iter().any(|(name, value)| name == "if-none-match" && headers.iter().any(|(_, etag)| etag == value));
            Ok(Response { status: if is_known { 304 } else { status }, headers, body: body.into_bytes() })
        })
        .install();
    blog
}

const IMPORT: &str = r#"{"urls":["http://blog.test/feed"],"first_fetch":"import"}"#;
const SKIP: &str = r#"{"urls":["http://blog.test/feed"]}"#;

fn poll() -> Page {
    Feed::poll(None, 256, 1 << 20).unwrap()
}

fn said(page: &Page) -> Vec<&Interaction> {
    page.changes.iter().filter_map(|change| if let Change::Upsert(about) = change { Some(about) } else { None }).collect()
}

#[test]
fn history_is_imported_as_history_and_then_only_news_come() {
    let blog = blog(IMPORT, RSS);
    let page = poll();
    let posts = said(&page);
    assert!(page.backfill && !page.more);
    assert_eq!(posts.iter().map(|post| post.native.id.as_str()).collect::<Vec<_>>(), ["g1", "g2"], "oldest first");
    assert_eq!((posts[1].text.as_str(), posts[1].subject.as_deref(), posts[1].language.as_deref()), ("Perché?", Some("Due"), Some("it")));
    assert_eq!((posts[1].url.as_deref(), posts[0].text.as_str()), (Some("http://blog.test/2"), "a b"));
    assert_eq!(posts[1].occurred, 1_795_510_800_000);
    assert!(said(&poll()).is_empty());

    blog.borrow_mut().1 = RSS.replace("<channel>", "<channel><item><title>Tre</title><guid>g3</guid></item>");
    let page = poll();
    assert_eq!((said(&page)[0].native.id.as_str(), page.backfill), ("g3", false));
}

#[test]
fn by_default_only_what_comes_after_the_first_look_is_told() {
    let blog = blog(SKIP, RSS);
    assert!(poll().changes.is_empty());
    blog.borrow_mut().1 = RSS.replace("a &lt;b&gt;b", "changed &lt;b&gt;b");
    assert!(poll().changes.is_empty(), "an edit of what was there before is no news");
    let third = "<channel><item><guid>g3</guid><description>new</description></item>";
    blog.borrow_mut().1 = RSS.replace("a &lt;b&gt;b", "changed again").replace("<channel>", third);
    assert_eq!(said(&poll())[0].native.id, "g3");
    blog.borrow_mut().1 = RSS.replace("a &lt;b&gt;b", "and again").replace("<channel>", &third.replace("new", "newer"));
    let page = poll();
    assert_eq!(said(&page).iter().map(|about| about.text.as_str()).collect::<Vec<_>>(), ["newer"], "an edit of news is told");
}

#[test]
fn an_unchanged_feed_is_not_read_twice() {
    let blog = blog(IMPORT, RSS);
    blog.borrow_mut().2 = vec![("etag".to_owned(), "\"1\"".to_owned())];
    poll();
    blog.borrow_mut().1 = "would not parse".to_owned();
    assert!(poll().changes.is_empty());
}

#[test]
fn a_feed_that_changed_in_this_second_is_read_again() {
    let blog = blog(IMPORT, RSS);
    let at = |second: u32| ("date".to_owned(), format!("Tue, 24 Nov 2026 10:00:{second:02} GMT"));
    let changed = ("last-modified".to_owned(), "Tue, 24 Nov 2026 10:00:00 GMT".to_owned());
    blog.borrow_mut().2 = vec![("etag".to_owned(), "\"same\"".to_owned()), changed.clone(), at(0)];
    poll();
    blog.borrow_mut().1 = RSS.replace("<channel>", "<channel><item><title>Tre</title><guid>g3</guid></item>");
    blog.borrow_mut().2[2] = at(9);
    assert_eq!(said(&poll())[0].native.id, "g3");
    blog.borrow_mut().1 = "would not parse".to_owned();
    assert!(poll().changes.is_empty(), "now its validators are believed");
}

#[test]
fn a_page_holds_what_was_asked_for_and_the_rest_comes_next() {
    blog(IMPORT, RSS);
    let first = Feed::poll(None, 1, 1 << 20).unwrap();
    let second = Feed::poll(None, 1, 1 << 20).unwrap();
    assert_eq!((said(&first)[0].native.id.as_str(), said(&second)[0].native.id.as_str()), ("g1", "g2"));
}

#[test]
fn what_servers_say_becomes_the_right_fault() {
    let blog = blog(IMPORT, RSS);
    for (status, is) in [
        (401, (|fault| matches!(fault, Fault::Auth(_))) as fn(&Fault) -> bool),
        (404, |fault| matches!(fault, Fault::Config(_))),
        (429, |fault| matches!(fault, Fault::RateLimited((_, 300_000)))),
        (500, |fault| matches!(fault, Fault::Transient(_))),
    ] {
        blog.borrow_mut().0 = status;
        // A fault keeps no state.
        testing::with_host(|host| host.state.clear());
        assert!(is(&Feed::poll(None, 9, 9).unwrap_err()), "{status}");
    }
    testing::with_host(|host| host.state.clear());
    blog.borrow_mut().0 = 200;
    blog.borrow_mut().1 = "<html><body>not a feed</body></html>".to_owned();
    assert!(matches!(Feed::poll(None, 9, 9).unwrap_err(), Fault::Transient(_)));
    testing::with_host(|host| host.state.clear());
    blog.borrow_mut().0 = 410;
    assert!(matches!(poll().changes.as_slice(), [Change::Note((kind, _))] if kind == "feed.gone"));
}

#[test]
fn comments_of_wordpress_answer_their_post() {
    let posts = RSS.replace("<language>", "<generator>https://wordpress.org/?v=6.8</generator><language>");
    let comments = "<rss><channel><item><title>By: Anna</title><link>http://blog.test/1#comment-5</link><guid>http://blog.test/?p=1#comment-5</guid><dc:creator>Anna</dc:creator><content:encoded><![CDATA[<p>Bello!</p>]]></content:encoded></item></channel></rss>";
    testing::Host::with_config(r#"{"urls":["http://blog.test/feed/"],"first_fetch":"import"}"#)
        .on_http(move |request| {
            let body = if request.url == "http://blog.test/comments/feed/" { comments.to_owned() } else { posts.clone() };
            Ok(Response { status: 200, headers: Vec::new(), body: body.into_bytes() })
        })
        .install();
    let page = poll();
    let comment = said(&page)[2];
    assert_eq!((comment.kind.as_str(), comment.text.as_str()), ("comment", "Bello!"));
    assert_eq!(comment.parent.as_ref().map(|parent| parent.id.as_str()), Some("http://blog.test/1"));
    assert_eq!(comment.author.as_ref().and_then(|author| author.name.as_deref()), Some("Anna"));
}

#[test]
fn half_of_a_pair_in_a_json_feed_costs_a_sign_and_not_the_feed() {
    let json = r#"{"items":[{"id":"1","content_text":"cut \ud83d"},{"id":"2","content_text":"whole \ud83d\ude00"}]}"#;
    let feed = parse(json, None).unwrap();
    assert_eq!(feed.items.iter().map(|item| item.text()).collect::<Vec<_>>(), ["cut \u{fffd}", "whole 😀"]);
}

#[test]
fn every_kind_of_feed_is_read() {
    let atom = r#"<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en"><title>T</title><entry><id>tag:x,1</id><title type="html">A &amp;amp; B</title><link rel="alternate" href="/a"/><updated>2026-11-24T09:00:00Z</updated><content type="xhtml"><div><p>Hello <b>there</b> &amp; you</p></div></content><author><name>Bob</name></author></entry></feed>"#;
    let rdf = r#"<rdf:RDF xmlns:rdf="x"><channel><title>T</title></channel><item rdf:about="http://x.test/1"><title>R</title><link>http://x.test/1</link><dc:creator>Eve</dc:creator></item></rdf:RDF>"#;
    let json = r#"{"version":"https://jsonfeed.org/version/1.1","title":"T","items":[{"id":7,"content_html":"<p>J</p>","url":"http://x.test/7"}]}"#;
    let base = url::Url::parse("http://x.test/feed").unwrap();
    let first = |text: &str| parse(text, Some(&base)).unwrap().items.remove(0);
    let entry = first(atom);
    assert_eq!((entry.id.as_deref(), entry.title.as_deref(), entry.link.as_deref()), (Some("tag:x,1"), Some("A & B"), Some("http://x.test/a")));
    assert_eq!((entry.text().as_str(), entry.author.name.as_deref()), ("Hello there & you", Some("Bob")));
    assert_eq!((first(rdf).id.as_deref(), first(rdf).author.name.as_deref()), (Some("http://x.test/1"), Some("Eve")));
    assert_eq!((first(json).id.as_deref(), first(json).text().as_str()), (Some("7"), "J"));
}

#[test]
fn hostile_documents_end_in_an_answer() {
    let deep = format!("<rss><item><description>{}", "<b>".repeat(200_000));
    let endless = format!("<rss {}", "a=\"".repeat(200_000));
    for text in [deep.as_str(), &endless, "<", "<rss><item><title>&", "<![CDATA[", "{\"items\":", "\0\0\0", "<rss><item><guid>x</guid><title>"] {
        drop(parse(text, None));
    }
    let cut = parse("<rss><channel><item><guid>x</guid><title>half a ti", None).unwrap();
    assert_eq!(cut.items[0].title.as_deref(), Some("half a ti"));
}
