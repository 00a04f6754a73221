//! Several feeds in one round: what fails, moves, waits and does not fit.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use membrana_sdk::connector::{Change, Interaction, Ours, Page};
use membrana_sdk::http::{HttpError, Response};
use membrana_sdk::{Connector as _, Fault, testing};

use crate::Feed;

/// Status, headers, body; the status 0 stands for "not granted".
type Answer = (u16, Vec<(String, String)>, String);

#[derive(Default)]
struct Pages {
    by_url: BTreeMap<String, Answer>,
    asked: Vec<String>,
}

/// A little web whose pages can be changed while it is polled.
#[derive(Clone)]
struct Web(Rc<RefCell<Pages>>);

impl Web {
    fn install(config: &str) -> Self {
        let web = Self(Rc::default());
        let pages = web.clone();
        testing::Host::with_config(config)
            .on_http(move |request| {
                pages.0.borrow_mut().asked.push(request.url.clone());
                match pages.0.borrow().by_url.get(&request.url).cloned() {
                    Some((0, ..)) => Err(HttpError::Denied("https://elsewhere.test".to_owned())),
                    Some((status, headers, body)) => Ok(Response { status, headers, body: body.into_bytes() }),
                    None => Err(HttpError::Timeout),
                }
            })
            .install();
        web
    }

    fn serve(&self, url: &str, status: u16, headers: &[(&str, &str)], body: &str) {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.0.borrow_mut().by_url.insert(url.to_owned(), (status, headers, body.to_owned()));
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut().asked)
    }
}

fn rss(items: &[(&str, &str)]) -> String {
    let items: String = items.iter().map(|(guid, text)| format!("<item><guid>{guid}</guid><description>{text}</description></item>")).collect();
    format!("<rss><channel><title>Blog</title><ttl>15</ttl>{items}</channel></rss>")
}

fn poll(cursor: &mut Option<String>, max_items: u32) -> Result<Page, Fault> {
    let page = Feed::poll(cursor.clone(), max_items, 1 << 20)?;
    *cursor = Some(page.cursor.clone());
    Ok(page)
}

fn said(page: &Page) -> Vec<&Interaction> {
    page.changes.iter().filter_map(|change| if let Change::Upsert(about) = change { Some(about) } else { None }).collect()
}

fn ids(page: &Page) -> Vec<&str> {
    said(page).into_iter().map(|about| about.native.id.as_str()).collect()
}

fn notes(page: &Page) -> Vec<&str> {
    page.changes.iter().filter_map(|change| if let Change::Note((kind, _)) = change { Some(kind.as_str()) } else { None }).collect()
}

fn later(ms: u64) {
    testing::with_host(|host| host.now += ms);
}

#[test]
fn one_bad_feed_holds_no_other_and_is_told_once() {
    let web = Web::install(r#"{"urls":["http://bad.test/","http://good.test/"],"first_fetch":"import","comments":false}"#);
    web.serve("http://bad.test/", 200, &[], "<html>no feed</html>");
    web.serve("http://good.test/", 200, &[], &rss(&[("g1", "a")]));
    let mut cursor = None;
    let page = poll(&mut cursor, 9).unwrap();
    assert_eq!((ids(&page), notes(&page)), (vec!["g1"], vec!["feed.unreadable"]));
    web.asked();

    web.serve("http://good.test/", 200, &[], &rss(&[("g2", "b"), ("g1", "a")]));
    let page = poll(&mut cursor, 9).unwrap();
    assert_eq!((ids(&page), notes(&page), web.asked()), (vec!["g2"], vec![], vec!["http://good.test/".to_owned()]), "it is left alone");

    later(120_000);
    assert!(notes(&poll(&mut cursor, 9).unwrap()).is_empty(), "the same fault is not told again");
    later(3_600_000);
    web.serve("http://bad.test/", 200, &[], &rss(&[("b1", "c")]));
    let page = poll(&mut cursor, 9).unwrap();
    assert_eq!((ids(&page), page.backfill), (vec!["b1"], true), "its first look comes when it can be read");
}

#[test]
fn feeds_that_all_ask_for_patience_get_the_shortest() {
    let web = Web::install(r#"{"urls":["http://a.test/","http://b.test/"]}"#);
    web.serve("http://a.test/", 429, &[("retry-after", "600")], "");
    web.serve("http://b.test/", 503, &[("retry-after", "60")], "");
    assert!(matches!(poll(&mut None, 9).unwrap_err(), Fault::RateLimited((_, 60_000))));
    testing::with_host(|host| host.state.clear());
    web.serve("http://b.test/", 500, &[], "");
    assert!(matches!(poll(&mut None, 9).unwrap_err(), Fault::Transient(_)));
}

#[test]
fn history_stays_history_over_several_pages_and_never_shares_one_with_news() {
    let web = Web::install(r#"{"urls":["http://a.test/","http://b.test/"],"first_fetch":"import","comments":false}"#);
    web.serve("http://a.test/", 200, &[], &rss(&[("a1", "x")]));
    web.serve("http://b.test/", 500, &[], "");
    let mut cursor = None;
    poll(&mut cursor, 9).unwrap();

    web.serve("http://a.test/", 200, &[], &rss(&[("a2", "news"), ("a1", "x")]));
    web.serve("http://b.test/", 200, &[], &rss(&[("b3", "x"), ("b2", "x"), ("b1", "x")]));
    later(3_600_000);
    let mut told = Vec::new();
    for _ in 0..4 {
        let page = poll(&mut cursor, 2).unwrap();
        told.push((ids(&page).join(" "), page.backfill, page.more));
    }
    let told: Vec<_> = told.iter().map(|(ids, backfill, more)| (ids.as_str(), *backfill, *more)).collect();
    assert_eq!(told, [("a2", false, true), ("b1 b2", true, true), ("b3", true, true), ("", false, false)]);
}

#[test]
fn comments_of_a_new_post_are_news_from_the_first_on() {
    let post = |n: u32| {
        format!(
            "<item><title>{n}</title><guid isPermaLink=\"false\">p{n}</guid><link>http://a.test/{n}</link><wfw:commentRss>http://a.test/{n}/feed</wfw:commentRss></item>"
        )
    };
    let web = Web::install(r#"{"urls":["http://a.test/"],"ours":true}"#);
    web.serve("http://a.test/", 200, &[], &format!("<rss><channel>{}</channel></rss>", post(1)));
    web.serve("http://a.test/1/feed", 200, &[], &rss(&[("c1", "old")]));
    web.serve("http://a.test/2/feed", 200, &[], "<feed><entry><id>c2</id><content>first!</content><thr:in-reply-to ref='c0'/></entry></feed>");
    let mut cursor = None;
    assert!(poll(&mut cursor, 9).unwrap().changes.is_empty());

    web.serve("http://a.test/", 200, &[], &format!("<rss><channel>{}{}</channel></rss>", post(2), post(1)));
    let page = poll(&mut cursor, 9).unwrap();
    assert_eq!((ids(&page), page.backfill), (vec!["p2", "c2"], false));
    let (post, comment) = (said(&page)[0], said(&page)[1]);
    assert_eq!((post.ours.clone(), comment.ours.clone(), comment.kind.as_str()), (Ours::Yes(None), Ours::No, "comment"));
    assert_eq!(comment.parent.as_ref().map(|parent| parent.id.as_str()), Some("c0"));
    assert_eq!(comment.refs, std::slice::from_ref(&post.native), "the post as it was told");

    web.serve("http://a.test/", 200, &[], &rss(&[]));
    poll(&mut cursor, 9).unwrap();
    poll(&mut cursor, 9).unwrap();
    assert_eq!(testing::with_host(|host| host.state.len()), 2, "what nobody names is forgotten");
}

#[test]
fn a_feed_that_has_run_over_is_a_gap_told_once() {
    // given
    let web = Web::install(r#"{"urls":["http://a.test/"],"first_fetch":"import"}"#);
    let blog = |n: u32| {
        format!("<rss><channel><item><guid isPermaLink='false'>p{n}</guid><wfw:commentRss>http://a.test/c</wfw:commentRss></item></channel></rss>")
    };
    web.serve("http://a.test/", 200, &[], &blog(1));
    web.serve("http://a.test/c", 200, &[], &rss(&[]));
    let mut cursor = None;
    let mut round = |max_items| {
        let page = poll(&mut cursor, max_items).unwrap();
        let gap = |change: &Change| if let Change::Note((kind, body)) = change { Some(format!("{kind} {body}")) } else { None };
        (ids(&page).join(" "), page.changes.iter().filter_map(gap).collect::<Vec<_>>())
    };
    assert_eq!(round(9), ("p1".to_owned(), vec![]), "a first look loses nothing");
    web.serve("http://a.test/c", 200, &[], &rss(&[("c1", "x")]));
    assert_eq!(round(9), ("c1".to_owned(), vec![]), "nor does a feed that was empty");

    // when
    web.serve("http://a.test/c", 200, &[], &rss(&[("c4", "x"), ("c3", "x")]));
    let (first, rest) = (round(1), round(9));

    // then
    assert_eq!((first.0.as_str(), rest), ("c3", ("c4".to_owned(), vec![])));
    assert!(
        matches!(first.1.as_slice(), [gap] if gap.starts_with("gap {") && gap.contains("http://a.test/c") && gap.contains("reason")),
        "{first:?}"
    );
    web.serve("http://a.test/", 200, &[], &blog(2));
    assert_eq!(round(9), ("p2".to_owned(), vec![]), "one lone item may be all that the feed ever holds");
    let two = blog(3).replace("</channel>", "<item><guid isPermaLink='false'>p4</guid></item></channel>");
    web.serve("http://a.test/", 200, &[], &two);
    assert!(matches!(round(9).1.as_slice(), [gap] if gap.contains(r#""url":"http://a.test/""#)), "of the feed itself, too");
    assert_eq!(round(9), (String::new(), vec![]));
}

#[test]
fn a_move_for_good_is_remembered_and_another_is_not() {
    let web = Web::install(r#"{"urls":["http://a.test/"],"first_fetch":"import","comments":false}"#);
    web.serve("http://a.test/", 301, &[("location", "/b")], "");
    web.serve("http://a.test/b", 302, &[("location", "http://a.test/c")], "");
    web.serve("http://a.test/c", 200, &[], &rss(&[("g", "x")]));
    let mut cursor = None;
    assert_eq!(ids(&poll(&mut cursor, 9).unwrap()), ["g"]);
    web.asked();
    poll(&mut cursor, 9).unwrap();
    assert_eq!(web.asked(), ["http://a.test/", "http://a.test/b", "http://a.test/c"], "once may be a slip");
    poll(&mut cursor, 9).unwrap();
    web.asked();
    poll(&mut cursor, 9).unwrap();
    assert_eq!(web.asked(), ["http://a.test/b", "http://a.test/c"]);

    web.serve("http://a.test/", 200, &[], &rss(&[("back", "y")]));
    web.serve("http://a.test/b", 404, &[], "");
    assert_eq!(ids(&poll(&mut cursor, 9).unwrap()), ["back"], "the configured address has the last word");
    web.serve("http://a.test/b", 500, &[], "");
    web.asked();
    poll(&mut cursor, 9).unwrap();
    assert_eq!(web.asked(), ["http://a.test/"]);
    web.serve("http://a.test/", 301, &[("location", "/b")], "");

    testing::with_host(|host| host.state.clear());
    web.serve("http://a.test/b", 0, &[], "");
    let Fault::Config(why) = poll(&mut cursor, 9).unwrap_err() else { panic!("a move to a place that is not granted") };
    assert!(why.message.contains("moved to http://a.test/b"), "{}", why.message);

    testing::with_host(|host| host.state.clear());
    web.serve("http://a.test/b", 301, &[("location", "/")], "");
    web.asked();
    assert!(matches!(poll(&mut cursor, 9).unwrap_err(), Fault::Transient(_)));
    assert!(web.asked().len() <= 6, "a circle ends");
}

#[test]
fn what_the_contract_bounds_is_bounded_and_an_id_is_told_once() {
    let web = Web::install(r#"{"urls":["http://a.test/"],"first_fetch":"import","comments":false,"pace":"feed"}"#);
    let long = "è".repeat(3000);
    let item = |id: &str| {
        format!(
            "<item><guid>{id}</guid><title>{long}</title><author>{long}</author><link>http://a.test/{long}</link><description>{}</description></item>",
            "x ".repeat(1 << 20)
        )
    };
    let items =
        [item(&long), item(&format!("{long}2")), "<item><guid>twice</guid></item><item><guid>twice</guid><title>older</title></item>".to_owned()]
            .concat();
    web.serve("http://a.test/", 200, &[], &format!("<rss><channel><title>{long}</title><ttl>15</ttl>{items}</channel></rss>"));
    let page = Feed::poll(None, 9, 4 << 20).unwrap();
    assert_eq!((said(&page).len(), page.next_poll_ms), (3, Some(900_000)));
    for about in said(&page) {
        let place = about.place.as_ref().and_then(|place| place.name.as_ref()).unwrap();
        assert!(
            about.native.id.len() <= 1024 && about.text.len() <= 1 << 20 && place.len() <= 1024 && about.aka.iter().all(|aka| aka.id.len() <= 1024)
        );
    }
    assert_ne!(said(&page)[1].native, said(&page)[2].native, "long ids stay apart");
    assert!(Feed::poll(None, 9, 4 << 20).unwrap().changes.is_empty());
}

#[test]
fn hostile_feeds_cost_no_more_than_their_length() {
    let web = Web::install(r#"{"urls":["http://a.test/","http://b.test/"],"first_fetch":"import","comments":false}"#);
    let item = "<rss><channel><item><guid>g</guid><description>";
    let laughs =
        "<!DOCTYPE rss [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]><rss><item><guid>&b;</guid><title>&b;</title></item></rss>";
    web.serve("http://b.test/", 200, &[], &rss(&[]));
    for body in [
        laughs.to_owned(),
        format!("<rss><item {}", "a='b' ".repeat(1 << 17)),
        format!("<rss><item title=\"{}", "x".repeat(10 << 20)),
        format!("{item}{}", "&lt;b&gt;".repeat(1 << 17)),
        format!("{item}{}", "<b>".repeat(1 << 17)),
        format!("{item}{}", "<description>".repeat(1 << 17)),
        format!("{item}{}", "&".repeat(1 << 17)),
        format!("{item}{}", "<!--".repeat(1 << 17)),
        format!("{item}{}", "&lt;!-- ".repeat(1 << 17)),
        format!("{item}{}", "<![CDATA[".repeat(1 << 17)),
        format!("<rss>{}", "<item><guid>".repeat(1 << 17)),
        format!("{{\"items\":{}", "[".repeat(1 << 17)),
        "\0".repeat(1 << 20),
        "<rss><channel><item><guid>half</gu".to_owned(),
        String::new(),
    ] {
        testing::with_host(|host| host.state.clear());
        web.serve("http://a.test/", 200, &[], &body);
        let page = Feed::poll(None, 2000, 64 << 20).unwrap();
        assert!(
            said(&page).iter().all(|about| about.text.len() <= 1 << 20 && !about.native.id.contains("haha")),
            "{}",
            body.get(..80).unwrap_or(&body)
        );
    }
}
