//! A forum's answers, good and bad; and a real forum, where there is one.

mod real;

use std::cell::RefCell;
use std::rc::Rc;

use membrana_sdk::connector::{Change, Interaction, Message, Page, Sent, Target};
use membrana_sdk::http::{HttpError, Request, Response};
use membrana_sdk::{Connector as _, Fault, NativeId, testing};
use serde_json::{Value as Json, json};

use crate::Misago;

const CONFIG: &str = r#"{"base_url":"https://forum.test","username":"support"}"#;
/// 2026-11-24T10:00:00Z.
const AT: u64 = 1_795_514_400_000;

fn answer(status: u16, body: &Json) -> Result<Response, HttpError> {
    Ok(Response { status, headers: Vec::new(), body: body.to_string().into_bytes() })
}

fn post(id: u64, content: &str) -> Json {
    json!({
        "id": id, "poster": { "id": 7, "username": "anna", "real_name": null, "url": "/u/anna/7/" }, "poster_name": "anna", "content": format!("<p>{content}</p>"),
        "posted_on": "2026-11-24T10:00:00.123456Z", "updated_on": "2026-11-24T10:00:00.123456Z", "edits": 0, "is_event": false, "is_hidden": false,
        "is_unapproved": false, "url": { "index": format!("/t/bolletta/1/post/{id}/") },
    })
}

fn thread(id: u64, last_post: u64, pages: u64) -> Json {
    json!({ "id": id, "title": "Bolletta", "last_post": last_post, "last_post_on": "2026-11-24T10:00:00Z", "pages": pages, "weight": 0 })
}

fn page(id: u64, posts: &[Json]) -> Json {
    let mut page = thread(id, 0, 1);
    page.as_object_mut().unwrap().insert("post_set".to_owned(), json!({ "results": posts }));
    page
}

fn post_of(id: u64, content: &str, year: u32) -> Json {
    let mut post = post(id, content);
    post.as_object_mut().unwrap().insert("posted_on".to_owned(), json!(format!("{year}-11-24T10:00:00Z")));
    post
}

fn texts(page: &Page) -> Vec<&str> {
    said(&page.changes).into_iter().map(|about| about.text.as_str()).collect()
}

type Calls = Rc<RefCell<Vec<Request>>>;

fn server(mut answers: impl FnMut(&Request) -> Result<Response, HttpError> + 'static) -> Calls {
    let calls = Calls::default();
    let kept = Rc::clone(&calls);
    testing::Host::with_config(CONFIG)
        .on_http(move |request| {
            kept.borrow_mut().push(request.clone());
            answers(request)
        })
        .install();
    calls
}

fn said(changes: &[Change]) -> Vec<&Interaction> {
    changes.iter().filter_map(|change| if let Change::Upsert(about) = change { Some(about) } else { None }).collect()
}

fn native(id: &str) -> NativeId {
    NativeId { scope: "forum.test".to_owned(), id: id.to_owned() }
}

fn reply(thread: u64, text: &str, created: u64) -> Message {
    let target = Target {
        native: native("post/1"),
        author: None,
        reply_context: Some(format!(r#"{{"thread":{thread}}}"#)),
        visibility: "public".to_owned(),
        subject: None,
        language: None,
    };
    Message { kind: "reply".to_owned(), automatic: true, text: text.to_owned(), to: Some(target), created, attrs: Vec::new() }
}

#[test]
fn a_thread_and_its_answers_are_read_to_the_field() {
    let aside = "<aside class=\"quote-block\"><div class=\"quote-heading\">bob</div><blockquote class=\"quote-body\"><p>prima</p></blockquote></aside>Perch&eacute;?";
    server(move |request| match request.url.as_str() {
        "https://forum.test/api/threads/" => answer(200, &json!({ "results": [thread(1, 12, 1)], "next": null })),
        _ => answer(
            200,
            &page(
                1,
                &[post(10, "Ciao"), json!({ "id": 11, "is_event": true }), post(12, aside), json!({ "id": 13, "is_hidden": true, "content": "x" })],
            ),
        ),
    });
    let told = Misago::poll(Some(r#"{"known":9,"deep":9,"floor":0}"#.to_owned()), 100, 1 << 20).unwrap();
    let all = said(&told.changes);
    assert_eq!((all.len(), told.more), (2, false));
    assert_eq!((all[0].kind.as_str(), all[0].aka.clone(), all[0].parent.clone()), ("post", vec![native("thread/1")], None));
    assert_eq!(
        (all[1].kind.as_str(), all[1].parent.clone(), all[1].conversation.clone()),
        ("reply", Some(native("thread/1")), Some(native("thread/1")))
    );
    assert_eq!((all[1].text.as_str(), all[1].quoted.as_deref(), all[1].subject.as_deref()), ("Perché?", Some("bob\nprima"), Some("Bolletta")));
    assert_eq!((all[1].url.as_deref(), all[1].occurred, all[1].edited), (Some("https://forum.test/t/bolletta/1/post/12/"), AT + 123, None));
    let author = all[1].author.as_ref().unwrap();
    assert_eq!(
        (author.native.clone(), author.handle.as_deref(), author.url.as_deref()),
        (native("7"), Some("@anna"), Some("https://forum.test/u/anna/7/"))
    );
    assert!(matches!(told.changes.last(), Some(Change::Gone(id)) if *id == native("post/13")));
    assert!(told.cursor.contains("\"known\":12") && told.cursor.contains("\"deep\":9"), "{}", told.cursor);
}

#[test]
fn what_is_quoted_by_hand_is_not_said() {
    server(move |request| match request.url.as_str() {
        "https://forum.test/api/threads/" => answer(200, &json!({ "results": [thread(1, 11, 1)], "next": null })),
        _ => {
            let quote = "</p><blockquote><p>Siete ladri!</p></blockquote><p>";
            answer(200, &page(1, &[post(10, &format!("Ciao{quote}No, sono gentili.")), post(11, quote)]))
        }
    });
    let told = Misago::poll(Some(r#"{"known":9,"deep":9,"floor":0}"#.to_owned()), 100, 1 << 20).unwrap();
    let all: Vec<_> = said(&told.changes).into_iter().map(|one| (one.text.as_str(), one.quoted.as_deref())).collect();
    assert_eq!(all, [("Ciao\nNo, sono gentili.", Some("Siete ladri!")), ("Siete ladri!", None)]);
}

#[test]
fn a_thread_that_lost_its_last_page_is_read_before_it_and_a_list_that_is_gone_is_no_empty_list() {
    server(|request| match request.url.as_str() {
        "https://forum.test/api/threads/" => answer(200, &json!({ "results": [thread(1, 30, 3)], "next": null })),
        url if url.ends_with("page=3") => answer(404, &json!({})),
        url if url.ends_with("page=1") => {
            let mut first = page(1, &[post(8, "older")]);
            first.as_object_mut().unwrap().insert("pages".to_owned(), json!(2));
            answer(200, &first)
        }
        url if url.ends_with("page=2") => answer(200, &page(1, &[post(9, "known"), post(20, "Ciao")])),
        _ => answer(500, &json!({})),
    });
    let cursor = || Some(r#"{"known":9,"deep":9,"floor":0}"#.to_owned());
    let told = Misago::poll(cursor(), 100, 1 << 20).unwrap();
    assert_eq!(said(&told.changes).iter().map(|about| about.text.as_str()).collect::<Vec<_>>(), ["Ciao"]);

    let calls = server(|request| match request.url.as_str() {
        "https://forum.test/api/threads/" => answer(200, &json!({ "results": [thread(1, 30, 300)], "next": null })),
        _ => answer(404, &json!({})),
    });
    let told = Misago::poll(cursor(), 100, 1 << 20).unwrap();
    assert_eq!((told.changes.len(), told.more, calls.borrow().len()), (0, false, 3), "one that is gone costs two looks");

    server(|_| answer(404, &json!({})));
    assert!(matches!(Misago::poll(cursor(), 100, 1 << 20), Err(Fault::Transient(detail)) if detail.code == "misago.no-list"));
}

#[test]
fn an_interrupted_fetch_repeats_and_never_leaves_a_hole() {
    // Two long threads, pages of ten; the second one moves while the walk is on its way.
    let last = Rc::new(RefCell::new(1_360_u64));
    let now = Rc::clone(&last);
    server(move |request| {
        let newest = *now.borrow();
        if let Some(rest) = request.url.split_once("/posts/?page=").map(|(_, page)| page) {
            let (id, number): (u64, u64) = (if request.url.contains("/threads/1/") { 1 } else { 2 }, rest.parse().unwrap());
            let end = if id == 1 { 1_360 } else { newest };
            let all = (1_001..=end).filter(|post| post % 2 == id % 2);
            let on_page = all.skip(usize::try_from(number - 1).unwrap() * 10).take(10);
            return answer(200, &page(id, &on_page.map(|id| post(id, "x")).collect::<Vec<_>>()));
        }
        let pages = |last: u64| (last - 1_000).div_ceil(20);
        let mut list = vec![thread(2, newest, pages(newest)), thread(1, 1_359, pages(1_360))];
        list.sort_by_key(|one| std::cmp::Reverse(one["last_post"].as_u64()));
        answer(200, &json!({ "results": list, "next": null }))
    });
    let (mut cursor, mut ids) = (r#"{"known":1000,"deep":1000,"floor":0}"#.to_owned(), Vec::new());
    for round in 0..12 {
        let page = Misago::poll(Some(cursor), 100, 1 << 20).unwrap();
        assert!(page.changes.len() <= 100);
        ids.extend(said(&page.changes).iter().map(|one| one.native.id.clone()));
        cursor = page.cursor;
        if round == 1 {
            *last.borrow_mut() = 1_380;
        }
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 180 + 190);
    assert!(cursor.contains("\"known\":1380"), "{cursor}");
    let quiet = Misago::poll(Some(cursor), 100, 1 << 20).unwrap();
    assert!(quiet.changes.is_empty() && !quiet.more);
}

#[test]
fn a_thread_that_moves_after_an_import_brings_no_post_from_before_the_import() {
    // given
    let n_posts = Rc::new(RefCell::new(2_usize));
    let served = Rc::clone(&n_posts);
    server(move |request| {
        let n_posts = *served.borrow();
        if request.url.ends_with("page=1") {
            return answer(200, &page(1, &[post_of(1, "old", 2019), post_of(2, "old", 2020)]));
        }
        if request.url.ends_with("page=2") {
            return answer(200, &page(1, &[post(3, "young"), post(4, "new")][..n_posts - 1]));
        }
        answer(200, &json!({ "results": [thread(1, 1 + n_posts as u64, 2)], "next": null }))
    });
    testing::with_host(|host| {
        host.now = AT + 1000;
        host.config = CONFIG.replace('}', r#","first_fetch":"import"}"#);
    });
    let begun = Misago::poll(None, 100, 1 << 20).unwrap();
    let imported = Misago::poll(Some(begun.cursor), 100, 1 << 20).unwrap();
    assert_eq!((texts(&imported), imported.backfill), (vec!["young"], true));

    // when
    *n_posts.borrow_mut() += 1;
    let news = Misago::poll(Some(imported.cursor), 100, 1 << 20).unwrap();

    // then
    assert_eq!((texts(&news), news.backfill), (vec!["young", "new"], false), "what was told before is a repeat");
}

/// A forum that shows these posts, of these threads, two a page: what waits for a moderator is not among them.
fn forum_of(posts: &Rc<RefCell<Vec<(u64, u64)>>>) -> Calls {
    let posts = Rc::clone(posts);
    let calls = server(move |request| {
        let posts = posts.borrow();
        let of = |thread: u64| posts.iter().filter(move |(_, of)| *of == thread).map(|(id, _)| *id).collect::<Vec<_>>();
        let head = |id: u64| {
            let all = of(id);
            let mut head = thread(id, *all.iter().max().unwrap(), all.len().div_ceil(2) as u64);
            head["replies"] = json!(all.len() - 1);
            head
        };
        let Some((id, at)) = request.url.trim_start_matches("https://forum.test/api/threads/").split_once("/posts/?page=") else {
            let mut heads: Vec<Json> = [1, 2, 3].into_iter().filter(|id| !of(*id).is_empty()).map(head).collect();
            heads.sort_by_key(|head| std::cmp::Reverse(head["last_post"].as_u64()));
            return answer(200, &json!({ "results": heads, "next": null }));
        };
        let (id, at) = (id.parse().unwrap(), at.parse::<usize>().unwrap());
        let mut all = of(id);
        all.sort_unstable();
        let shown: Vec<Json> = all.chunks(2).nth(at - 1).unwrap().iter().map(|id| post(*id, &format!("p{id}"))).collect();
        let mut page = head(id);
        page["post_set"] = json!({ "results": shown });
        answer(200, &page)
    });
    testing::with_host(|host| host.now = AT + 60_000);
    calls
}

#[test]
fn what_waited_for_a_moderator_is_told_when_it_is_let_through() {
    // given
    let posts = Rc::new(RefCell::new(vec![(10, 1), (11, 2), (12, 2)]));
    let calls = forum_of(&posts);
    let mut cursor = Misago::poll(None, 100, 1 << 20).unwrap().cursor;
    let mut polled = |more: &[(u64, u64)]| {
        posts.borrow_mut().extend(more);
        let page = Misago::poll(Some(cursor.clone()), 100, 1 << 20).unwrap();
        cursor.clone_from(&page.cursor);
        texts(&page).join(" ")
    };
    assert_eq!(polled(&[(14, 2), (15, 2), (16, 1), (18, 2), (19, 2), (21, 1)]), "p14 p15 p16 p18 p19 p21");

    // when, then
    assert_eq!(polled(&[(17, 1), (22, 1)]), "p16 p17 p21 p22", "below another answer; what was told one walk ago is a repeat");
    polled(&[]);
    assert_eq!((polled(&[]), polled(&[(13, 2)])), (String::new(), "p13".to_owned()), "in a thread that does not move, pages above its end");
    let n_calls = calls.borrow().len();
    assert_eq!((polled(&[]), polled(&[])), (String::new(), String::new()));
    assert_eq!(calls.borrow().len(), n_calls + 2, "and once");
    assert_eq!(polled(&[(20, 3)]), "p20", "a thread that waited as a whole");
    testing::with_host(|host| host.now = AT + 8 * 86_400_000);
    assert_eq!(
        (polled(&[(30, 3)]), polled(&[]), polled(&[(25, 3)])),
        ("p30".to_owned(), String::new(), String::new()),
        "what is older was moved here"
    );
}

/// A forum with two threads: the first answers so, the list too where it is down.
fn forum_with_a_bad_thread(status: u16, is_down: bool) {
    server(move |request| match request.url.trim_start_matches("https://forum.test/api/threads/") {
        "" if !is_down => answer(200, &json!({ "results": [thread(2, 12, 1), thread(1, 11, 1)], "next": null })),
        "2/posts/?page=1" if !is_down => answer(200, &page(2, &[post(12, "Ciao")])),
        _ => answer(status, &json!({})),
    });
}

#[test]
fn a_thread_that_cannot_be_read_holds_no_other_and_is_given_up_as_a_gap() {
    for status in [500, 403, 400] {
        // given
        forum_with_a_bad_thread(status, false);
        let mut cursor = r#"{"known":9,"deep":9,"floor":0}"#.to_owned();
        let mut poll = || {
            let told = Misago::poll(Some(cursor.clone()), 100, 1 << 20).unwrap();
            cursor.clone_from(&told.cursor);
            told
        };

        // when
        let (first, second, third, fourth) = (poll(), poll(), poll(), poll());

        // then
        assert_eq!((texts(&first), first.changes.len(), first.more), (vec!["Ciao"], 1, false), "{status}");
        assert_eq!((second.changes.len(), second.more), (0, false), "{status}");
        let [Change::Note((kind, body))] = third.changes.as_slice() else { panic!("{status}: {:?}", third.changes) };
        assert!(kind == "gap" && body.contains(r#""thread":1"#) && body.contains("reason"), "{status}: {body}");
        assert!(third.cursor.contains(r#""known":12"#) && third.cursor.contains(r#""walk":null"#), "{}", third.cursor);
        assert_eq!((fourth.changes.len(), fourth.cursor.contains(r#""walk":null"#)), (0, true), "{status}");
    }
}

#[test]
fn a_forum_that_is_down_or_asks_to_wait_costs_no_thread_its_turn() {
    // given
    forum_with_a_bad_thread(500, false);
    let first = Misago::poll(Some(r#"{"known":9,"deep":9,"floor":0}"#.to_owned()), 100, 1 << 20).unwrap();
    let poll = || Misago::poll(Some(first.cursor.clone()), 100, 1 << 20);

    // when, then
    forum_with_a_bad_thread(500, true);
    assert!(matches!(poll(), Err(Fault::Transient(_))));
    forum_with_a_bad_thread(429, false);
    assert!(matches!(poll(), Err(Fault::RateLimited(_))));
}

/// A forum that lets in, and answers a post so.
fn forum(status: u16, body: Json) -> Calls {
    server(move |request| {
        let cookie = |text: &str| vec![("set-cookie".to_owned(), text.to_owned())];
        match (request.method.as_str(), request.url.trim_start_matches("https://forum.test")) {
            ("GET", "/") => Ok(Response { status: 200, headers: cookie("csrftoken=one; Path=/"), body: Vec::new() }),
            ("POST", "/api/auth/") => {
                let headers = [cookie("csrftoken=two; Path=/"), cookie(" sessionid=s; HttpOnly")].concat();
                Ok(Response { status: 200, headers, body: b"{}".to_vec() })
            }
            _ => answer(status, &body),
        }
    })
}

#[test]
fn a_reply_is_written_in_a_session_whose_password_the_plugin_never_sees() {
    let calls = forum(200, post(20, "Ci dispiace"));
    let receipt = Misago::send("k", &reply(1, "Ci dispiace", AT)).unwrap();
    assert_eq!((receipt.native, receipt.url.as_deref()), (native("post/20"), Some("https://forum.test/t/bolletta/1/post/20/")));
    let calls = calls.borrow();
    let header = |at: usize, name: &str| calls[at].headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap();
    assert_eq!(
        (calls[1].auth.as_deref(), String::from_utf8_lossy(&calls[1].body).into_owned()),
        (Some("password"), r#"{"password":"","username":"support"}"#.to_owned())
    );
    assert_eq!(
        (header(1, "x-csrftoken"), header(1, "cookie"), header(1, "referer")),
        ("one".to_owned(), "csrftoken=one".to_owned(), "https://forum.test/".to_owned())
    );
    assert_eq!((header(2, "x-csrftoken"), header(2, "cookie")), ("two".to_owned(), "csrftoken=two; sessionid=s".to_owned()));
    assert_eq!((calls[2].auth.as_deref(), calls[2].body.as_slice()), (None, br#"{"post":"Ci dispiace"}"#.as_slice()));
    assert!(testing::with_host(|host| host.state.is_empty()), "a session is not kept");
}

#[test]
fn a_reply_is_shown_as_it_is_written_and_calls_nobody() {
    let text = "Scrivi <codice cliente>, [Gratis](https://evil.example/a_b) e !(https://evil.example)\n- @staff *mai*";
    let calls = forum(200, post(20, "x"));
    Misago::send("k", &reply(1, text, AT)).unwrap();
    let sent: Json = serde_json::from_slice(&calls.borrow()[2].body).unwrap();
    let written = "Scrivi <codice cliente>, \\[Gratis\\](https://evil.example/a_b) e \\!(https://evil.example)\n\\- @\u{2060}staff \\*mai\\*";
    assert_eq!(sent["post"], json!(written));
    let shown = "Scrivi &lt;codice cliente&gt;, [Gratis](<a>https://evil.example/a_b</a>) e !(<a>https://evil.example</a>)<br>- @\u{2060}staff *mai*";
    let mut own = post(20, shown);
    own["poster"] = json!({ "id": 1, "username": "Support" });
    let page = page(1, &[own]);
    server(move |_| answer(200, &page));
    assert_eq!(Misago::probe("k", &reply(1, text, AT)).unwrap().0, Sent::Yes, "and is found again");
}

#[test]
fn what_the_forum_says_becomes_the_right_fault() {
    let is_unknown = |fault: &Fault| matches!(fault, Fault::Transient(detail) if detail.code == "outcome-unknown");
    let send = || Misago::send("k", &reply(1, "x", AT)).unwrap_err();
    let read = || Misago::poll(None, 9, 1 << 20).unwrap_err();
    forum(502, json!("<html>"));
    assert!(is_unknown(&send()) && matches!(read(), Fault::Transient(_)));
    forum(200, json!([]));
    assert!(is_unknown(&send()) && matches!(read(), Fault::Transient(_)));
    forum(403, json!({ "detail": "This thread is closed." }));
    assert!(matches!(send(), Fault::Permanent(detail) if detail.message.contains("closed")));
    assert!(matches!(read(), Fault::Config(_)));
    forum(400, json!({ "non_field_errors": ["You can't post so quickly."] }));
    assert!(matches!(send(), Fault::Transient(detail) if detail.code == "misago.flood"));
    forum(404, json!({}));
    assert!(matches!(send(), Fault::Permanent(detail) if detail.code == "misago.gone"));
    server(
        |request| {
            if request.method == "POST" { answer(400, &json!({ "__all__": ["Login or password is incorrect."] })) } else { answer(200, &json!({})) }
        },
    );
    assert!(matches!(send(), Fault::Auth(detail) if detail.message.contains("incorrect")));
    server(|_| Err(HttpError::Timeout));
    assert!(matches!(send(), Fault::RateLimited((detail, 60_000)) if detail.code == "misago.unreachable"), "no outage costs a reply");
}

#[test]
fn a_reply_that_may_have_gone_out_is_looked_for() {
    let probe = |posts: &[Json]| {
        let page = page(1, posts);
        server(move |_| answer(200, &page));
        Misago::probe("k", &reply(1, "Ci  dispiace", AT)).unwrap()
    };
    let own = |id: u64, text: &str, day: u32| {
        let mut own = post(id, text);
        let fields = own.as_object_mut().unwrap();
        fields.insert("poster".to_owned(), json!({ "id": 1, "username": "Support" }));
        fields.insert("posted_on".to_owned(), json!(format!("2026-11-{day}T10:00:05Z")));
        own
    };
    let (sent, receipt) = probe(&[post(10, "Ciao"), own(11, "Ci dispiace", 24)]);
    assert_eq!((sent, receipt.unwrap().native), (Sent::Yes, native("post/11")));
    assert_eq!(probe(&[post(10, "Ciao"), own(11, "Ci dispiace", 23)]).0, Sent::No, "that was yesterday's");
    assert_eq!(probe(&[post(10, "Ciao"), own(11, "Altro", 24)]).0, Sent::Unknown, "Markdown is not what is shown of it");
    server(|_| answer(404, &json!({})));
    assert_eq!(Misago::probe("k", &reply(1, "x", AT)).unwrap().0, Sent::Unknown);
}
