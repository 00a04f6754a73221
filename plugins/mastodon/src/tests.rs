//! A server's answers, good and bad.

use std::cell::RefCell;
use std::rc::Rc;

use membrana_sdk::connector::{Change, Interaction, Message, Sent, Target};
use membrana_sdk::http::{HttpError, Request, Response};
use membrana_sdk::{Connector as _, Fault, NativeId, testing};

use crate::Mastodon;

const CONFIG: &str = r#"{"base_url":"https://social.test"}"#;
const CURSOR: &str = r#"{"min_id":"7"}"#;

fn status(id: &str, content: &str, edited: &str) -> String {
    format!(
        r#"{{"id":"{id}","uri":"https://other.test/s/{id}","created_at":"2026-11-24T10:00:00.000Z","edited_at":{edited},"in_reply_to_id":"5","visibility":"unlisted","language":"it","content":"{content}","account":{{"id":"9","acct":"anna@other.test","url":"https://other.test/@anna","display_name":"Anna","followers_count":12}},"mentions":[{{"acct":"acme"}},{{"acct":"bob"}}]}}"#
    )
}

fn answer(status: u16, body: impl Into<String>) -> Result<Response, HttpError> {
    Ok(Response { status, headers: Vec::new(), body: body.into().into_bytes() })
}

/// Calls made, as `METHOD path`.
type Calls = Rc<RefCell<Vec<Request>>>;

fn server(mut answers: impl FnMut(&Request) -> Result<Response, HttpError> + 'static) -> Calls {
    let calls = Calls::default();
    let kept = Rc::clone(&calls);
    testing::Host::with_config(CONFIG)
        .on_http(move |request| {
            kept.borrow_mut().push(request.clone());
            if request.url.ends_with("/verify_credentials") { answer(200, r#"{"id":"1","acct":"acme"}"#) } else { answers(request) }
        })
        .install();
    calls
}

fn said(changes: &[Change]) -> Vec<&Interaction> {
    changes.iter().filter_map(|change| if let Change::Upsert(about) = change { Some(about) } else { None }).collect()
}

#[test]
fn mentions_come_oldest_first_and_the_cursor_moves_on() {
    server(|request| {
        if request.url.contains("/notifications") {
            let (a, b) =
                (status("11", "<p>Seconda</p>", "null"), status("10", "<p><span>@<b>acme</b></span> ciao &amp; grazie<br>a tutti</p>", "null"));
            answer(
                200,
                format!(
                    r#"[{{"id":"9","type":"mention","status":{a}}},{{"id":"9x","type":"severed_relationships"}},{{"id":"8","type":"mention","status":{b}}}]"#
                ),
            )
        } else {
            answer(200, status("10", "<p>@acme ciao</p>", "null"))
        }
    });
    let page = Mastodon::poll(Some(CURSOR.to_owned()), 40, 0).unwrap();
    let all = said(&page.changes);
    assert_eq!(all.iter().map(|one| one.text.as_str()).collect::<Vec<_>>(), ["@acme ciao & grazie\na tutti", "Seconda"]);
    let first = all[0];
    assert_eq!((first.native.id.as_str(), first.kind.as_str(), first.visibility.as_str()), ("https://other.test/s/10", "mention", "unlisted"));
    assert_eq!(first.parent, Some(NativeId { scope: "social.test".to_owned(), id: "5".to_owned() }));
    assert_eq!(first.author.as_ref().unwrap().handle.as_deref(), Some("@anna@other.test"));
    assert!(page.cursor.contains("\"9\"") && !page.more && !page.backfill);
}

#[test]
fn entities_are_read_by_name_and_by_number() {
    // Source: GoToSocial writes quotes as numbers.
    let html = "<p>&#34;L&#039;ordine&#34; non c&#8217;&egrave;&nbsp;pi&#xf9; &amp;lt;</p>";
    assert_eq!(crate::shapes::plain(html), "\"L'ordine\" non c’è più &lt;");
}

#[test]
fn the_first_look_starts_at_now_unless_history_is_wanted() {
    server(|_| answer(200, r#"[{"id":"42","type":"follow"}]"#));
    let page = Mastodon::poll(None, 40, 0).unwrap();
    assert!(page.changes.is_empty() && page.cursor.contains("42"));
    testing::with_host(|host| host.config = r#"{"base_url":"https://social.test","first_fetch":"import"}"#.to_owned());
    let page = Mastodon::poll(None, 40, 0).unwrap();
    assert!(page.more && page.backfill && page.cursor.contains("\"0\""));
}

#[test]
fn one_that_was_committed_after_a_later_one_is_found() {
    let there = Rc::new(RefCell::new(vec![8, 10]));
    let served = Rc::clone(&there);
    server(move |request| {
        let Some((_, behind)) = request.url.split_once("min_id=") else { return answer(500, "") };
        let behind: u32 = behind.parse().unwrap();
        let one = |id: &u32| format!(r#"{{"id":"{id}","type":"mention","status":{}}}"#, status(&format!("s{id}"), "x", "null"));
        let mut all: Vec<String> = served.borrow().iter().filter(|id| **id > behind).take(40).map(one).collect();
        all.reverse();
        answer(200, format!("[{}]", all.join(",")))
    });
    let poll = |cursor: String, wanted: &[u32]| {
        let page = Mastodon::poll(Some(cursor), 40, 0).unwrap();
        let ids: Vec<String> = wanted.iter().map(|id| format!("https://other.test/s/s{id}")).collect();
        assert_eq!(said(&page.changes).iter().map(|one| &one.native.id).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
        page.cursor
    };
    let cursor = poll(CURSOR.to_owned(), &[8, 10]);
    there.borrow_mut().insert(1, 9);
    // A moment later nothing is settled yet, a minute later it is.
    let cursor = poll(poll(cursor, &[9]), &[]);
    testing::with_host(|host| host.now += 60_000);
    let cursor = poll(poll(cursor, &[]), &[]);
    // Of exactly a page, the newest are, too.
    there.borrow_mut().extend((11..51).filter(|id| *id != 49).chain([51]));
    let page = Mastodon::poll(Some(cursor), 500, 1 << 20).unwrap();
    assert_eq!((said(&page.changes).len(), page.more), (40, false));
    there.borrow_mut().insert(41, 49);
    poll(page.cursor, &[49]);
}

#[test]
fn a_file_that_the_server_names_anew_is_no_edit_and_one_that_comes_late_is_told_once() {
    // given a photo that is processed, then cached, then dropped from the cache of the server
    let addresses = ["null", "\"https://files.test/1.jpg\"", "\"https://social.test/media_proxy/1/original\""];
    let turn = Rc::new(RefCell::new(0));
    let served = Rc::clone(&turn);
    server(move |request| {
        let media = format!(r#""media_attachments":[{{"type":"image","url":{}}}],"content""#, addresses[*served.borrow()]);
        let now = status("10", "ciao", "null").replace(r#""content""#, &media);
        if request.url.contains("/notifications") { answer(200, format!("[{}]", mention(8, &now))) } else { answer(200, now) }
    });
    let mut cursor = r#"{"min_id":"7","recent":["7"],"seen":1780000000000}"#.to_owned();

    // when
    let told: Vec<Vec<Option<String>>> = [0, 0, 1, 1, 2, 2]
        .into_iter()
        .map(|now| {
            *turn.borrow_mut() = now;
            let page = Mastodon::poll(Some(std::mem::take(&mut cursor)), 40, 0).unwrap();
            cursor = page.cursor;
            said(&page.changes).iter().map(|one| one.attachments[0].url.clone()).collect()
        })
        .collect();

    // then
    assert_eq!(told, [vec![None], vec![], vec![Some("https://files.test/1.jpg".to_owned())], vec![], vec![], vec![]]);
}

#[test]
fn edits_and_deletions_are_found_by_looking_again() {
    let now = Rc::new(RefCell::new((200, status("10", "<p>prima</p>", "null"))));
    let served = Rc::clone(&now);
    server(move |request| {
        let (code, body) = served.borrow().clone();
        if request.url.contains("/notifications") {
            let is_there = request.url.ends_with("min_id=7") && code == 200;
            return answer(200, if is_there { format!(r#"[{{"id":"8","type":"mention","status":{body}}}]"#) } else { "[]".to_owned() });
        }
        answer(code, body)
    });
    let first = Mastodon::poll(Some(CURSOR.to_owned()), 40, 0).unwrap();
    *now.borrow_mut() = (200, status("10", "<p>dopo</p>", "\"2026-11-24T11:00:00.000Z\""));
    let second = Mastodon::poll(Some(first.cursor), 40, 0).unwrap();
    assert_eq!((said(&second.changes)[0].text.as_str(), said(&second.changes)[0].edited), ("dopo", Some(1_795_518_000_000)));
    now.borrow_mut().0 = 404;
    let third = Mastodon::poll(Some(second.cursor), 40, 0).unwrap();
    assert!(matches!(third.changes.as_slice(), [Change::Gone(id)] if id.id == "https://other.test/s/10"));
}

fn reply(text: &str) -> Message {
    let context = r#"{"id":"10","accts":["anna@other.test","bob"],"visibility":"unlisted"}"#.to_owned();
    let target = Target {
        native: NativeId { scope: String::new(), id: "x".to_owned() },
        author: None,
        reply_context: Some(context),
        visibility: "unlisted".to_owned(),
        subject: None,
        language: Some("it".to_owned()),
    };
    Message { kind: "reply".to_owned(), automatic: true, text: text.to_owned(), to: Some(target), created: 1, attrs: Vec::new() }
}

#[test]
fn a_reply_names_whom_it_answers_and_is_no_wider_than_what_it_answers() {
    let calls = server(|_| answer(200, status("20", "<p>x</p>", "null")));
    let receipt = Mastodon::send("key-1", &reply("Ciao, ci dispiace.")).unwrap();
    assert_eq!((receipt.native.id.as_str(), receipt.aka[0].id.as_str()), ("https://other.test/s/20", "20"));
    let sent = calls.borrow().last().unwrap().clone();
    let body: serde_json::Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({ "status": "@anna@other.test @bob Ciao, ci dispiace.", "in_reply_to_id": "10", "visibility": "unlisted", "language": "it" })
    );
    assert!(sent.headers.contains(&("idempotency-key".to_owned(), "key-1".to_owned())));
    assert_eq!(sent.auth.as_deref(), Some("token"));
}

#[test]
fn a_private_answer_to_a_public_post_names_its_author_alone() {
    let calls = server(|_| answer(200, status("20", "<p>x</p>", "null")));
    let sent = |message: &Message| {
        Mastodon::send("k", message).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&calls.borrow().last().unwrap().body).unwrap();
        (body["status"].as_str().unwrap().to_owned(), body["visibility"].as_str().unwrap().to_owned())
    };
    let mut message = Message { kind: "direct".to_owned(), ..reply("In privato") };
    assert_eq!(sent(&message), ("@anna@other.test In privato".to_owned(), "direct".to_owned()));
    let mut of = |author: &str, visibility: &str| {
        let context = format!(r#"{{"id":"10","accts":["anna@other.test","bob"],"author":"{author}","visibility":"{visibility}"}}"#);
        message.to.as_mut().unwrap().reply_context = Some(context);
        message.clone()
    };
    assert_eq!(sent(&of("bob", "public")).0, "@bob In privato");
    assert_eq!(sent(&of("bob", "direct")).0, "@anna@other.test @bob In privato", "who was in a private talk stays in it");
    assert!(matches!(Mastodon::send("k", &of("", "public")), Err(Fault::Unsupported(_))), "to nobody");
}

#[test]
fn a_private_answer_that_no_person_saw_names_nobody_else() {
    let posted = std::rc::Rc::new(std::cell::RefCell::new(String::new()));
    let kept = posted.clone();
    server(move |request| {
        if request.method == "POST" {
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            *kept.borrow_mut() = body["status"].as_str().unwrap().to_owned();
            return answer(200, status("20", "<p>x</p>", "null"));
        }
        let own = status("20", &kept.borrow(), "null").replace("\"in_reply_to_id\":\"5\"", "\"in_reply_to_id\":\"10\"");
        answer(200, format!("[{own}]"))
    });
    let text = "Hello @tips@news.example, @BOB, @bob@x.test. Write to care@acme.test!";
    let mut message = reply(text);
    let mut sent = |visibility: &str, automatic: bool| {
        message.automatic = automatic;
        let context = format!(r#"{{"id":"10","accts":["anna@other.test","bob"],"author":"anna@other.test","visibility":"{visibility}"}}"#);
        message.to.as_mut().unwrap().reply_context = Some(context);
        Mastodon::send("k", &message).unwrap();
        assert_eq!(Mastodon::probe("k", &message).unwrap().0, Sent::Yes, "it is found as it went out");
        posted.borrow().replace('\u{2060}', "~")
    };
    let tamed = "@anna@other.test Hello @~tips@news.example, @BOB, @~bob@x.test. Write to care@acme.test!";
    assert_eq!((sent("direct", true).as_str(), sent("private", true).as_str()), (tamed, tamed));
    let whole = format!("@anna@other.test {text}");
    assert_eq!((sent("public", true), sent("direct", false)), (whole.clone(), whole), "everybody reads it, or a person meant it");
}

#[test]
fn a_reply_too_long_is_refused_before_it_is_sent() {
    let calls = server(|_| answer(200, r#"{"configuration":{"statuses":{"max_characters":420}}}"#));
    assert!(matches!(Mastodon::send("k", &reply(&"x".repeat(500))), Err(Fault::Unsupported(detail)) if detail.message.contains("takes 420")));
    assert!(calls.borrow().iter().all(|call| call.method == "GET"));
}

#[test]
fn what_the_server_says_becomes_the_right_fault() {
    let is_unknown = |fault: &Fault| matches!(fault, Fault::Transient(detail) if detail.code == "outcome-unknown");
    server(|_| Err(HttpError::Timeout));
    assert!(is_unknown(&Mastodon::send("k", &reply("x")).unwrap_err()));
    server(|_| Err(HttpError::Connect("refused".to_owned())));
    for text in ["x".to_owned(), "x".repeat(600)] {
        let refused = Mastodon::send("k", &reply(&text));
        assert!(matches!(&refused, Err(Fault::RateLimited((detail, 60_000))) if detail.code == "mastodon.unreachable"), "{refused:?}");
    }
    server(|_| answer(200, "<html>"));
    assert!(is_unknown(&Mastodon::send("k", &reply("x")).unwrap_err()));
    assert!(matches!(Mastodon::poll(Some(CURSOR.to_owned()), 40, 0), Err(Fault::Transient(_))));
    server(|_| answer(401, "{}"));
    assert!(matches!(Mastodon::poll(Some(CURSOR.to_owned()), 40, 0), Err(Fault::Auth(_))));
    server(|_| {
        let headers = vec![("x-membrana".to_owned(), "bad-credentials".to_owned())];
        Ok(Response { status: 401, headers, body: b"log in: membrana channel login acme-masto".to_vec() })
    });
    for refused in [Mastodon::poll(Some(CURSOR.to_owned()), 40, 0).map(|_| ()), Mastodon::send("k", &reply("x")).map(|_| ())] {
        assert!(matches!(&refused, Err(Fault::Auth(detail)) if detail.message.contains("channel login acme-masto")), "{refused:?}");
    }
    server(|_| {
        Ok(Response { status: 429, headers: vec![("x-ratelimit-reset".to_owned(), "2026-06-01T00:00:00.000Z".to_owned())], body: Vec::new() })
    });
    assert!(matches!(Mastodon::poll(Some(CURSOR.to_owned()), 40, 0), Err(Fault::RateLimited(_))));
    server(|_| answer(502, "<html>"));
    assert!(is_unknown(&Mastodon::send("k", &reply("x")).unwrap_err()));
    server(|_| answer(403, r#"{"error":"This action is outside the authorized scopes"}"#));
    assert!(matches!(Mastodon::send("k", &reply("x")), Err(Fault::Auth(_))));
    for words in ["Your login is currently disabled", "Your login is missing a confirmed e-mail address", "Your login is currently pending approval"]
    {
        server(move |_| answer(403, format!(r#"{{"error":"{words}"}}"#)));
        assert!(matches!(Mastodon::send("k", &reply("x")), Err(Fault::Auth(detail)) if detail.message.contains(words)), "{words}");
    }
    server(|_| answer(403, "<html>Attention required!"));
    assert!(matches!(Mastodon::send("k", &reply("x")), Err(Fault::RateLimited((_, 300_000)))), "a firewall says nothing of this reply");
    assert!(matches!(Mastodon::poll(Some(CURSOR.to_owned()), 40, 0), Err(Fault::RateLimited((_, 300_000)))));
    server(|_| answer(403, r#"{"error":"This action is not allowed"}"#));
    assert!(matches!(Mastodon::send("k", &reply("x")), Err(Fault::Permanent(_))));
    server(|_| answer(502, "<html>"));
    assert!(matches!(Mastodon::poll(Some(CURSOR.to_owned()), 40, 0), Err(Fault::Transient(_))));
}

#[test]
fn a_reply_that_may_have_gone_out_is_looked_for() {
    server(|_| {
        let own =
            status("20", "<p><span>@anna</span> Ciao, ci dispiace.</p>", "null").replace("\"in_reply_to_id\":\"5\"", "\"in_reply_to_id\":\"10\"");
        answer(200, format!("[{own}]"))
    });
    let (sent, receipt) = Mastodon::probe("k", &reply("Ciao,  ci dispiace.")).unwrap();
    assert_eq!((sent, receipt.unwrap().aka[0].id.as_str()), (Sent::Yes, "20"));
    assert_eq!(Mastodon::probe("k", &reply("Something else")).unwrap().0, Sent::No);
}

#[test]
fn an_account_with_many_posts_proves_an_absence_where_the_oldest_one_is_older_than_the_reply() {
    // given twenty posts of 10:00
    server(|_| answer(200, format!("[{}]", (0..20).map(|id| status(&id.to_string(), "altro", "null")).collect::<Vec<_>>().join(","))));
    let posted = 1_795_514_400_000;

    // when
    let sent = |created: u64| Mastodon::probe("k", &Message { created, ..reply("Ciao") }).unwrap().0;

    // then
    assert_eq!((sent(posted + 600_001), sent(posted + 600_000)), (Sent::No, Sent::Unknown), "the clocks may differ by ten minutes");
}

/// A server whose page of notifications is this; statuses are answered by `looks`.
fn page_of(page: String, mut looks: impl FnMut() -> Result<Response, HttpError> + 'static) -> Calls {
    server(move |request| if request.url.contains("/notifications") { answer(200, page.clone()) } else { looks() })
}

fn mention(id: u32, status: &str) -> String {
    format!(r#"{{"id":"{id}","type":"mention","status":{status}}}"#)
}

#[test]
fn an_odd_notification_is_set_aside_and_the_rest_arrives() {
    let odd = [
        r#"{"type":"mention"}"#.to_owned(),
        mention(11, r#"{"uri":"https://x.test/1"}"#),
        mention(10, "null"),
        mention(9, r#"{"id":99,"uri":null,"content":null,"account":{"id":"9","acct":null,"display_name":null,"bot":null},"mentions":null}"#),
        mention(8, &status("10", "ciao", "null")),
    ];
    page_of(format!("[{}]", odd.join(",")), || answer(200, "{}"));
    let page = Mastodon::poll(Some(CURSOR.to_owned()), 40, 0).unwrap();
    let [Change::Upsert(ciao), Change::Upsert(bare), Change::Unreadable((native, _, head)), Change::Unreadable(_)] = page.changes.as_slice() else {
        panic!("{:?}", page.changes)
    };
    assert_eq!((ciao.text.as_str(), bare.native.id.as_str(), bare.author.is_none()), ("ciao", "99", true));
    assert_eq!(native.id, "notification/11");
    assert!(String::from_utf8_lossy(head).contains("https://x.test/1"));
    assert!(page.cursor.contains("11"));
}

#[test]
fn who_quotes_us_is_heard_once_also_where_we_are_named() {
    let (quote, both) = (status("10", "guardate qui", "null"), status("11", "@acme guardate", "null"));
    let quoted = |id: u32, status: &str| mention(id, status).replace("mention", "quote");
    let page = [quoted(10, &both), mention(9, &both), quoted(8, &quote)].join(",");
    let calls = page_of(format!("[{page}]"), || answer(500, ""));
    let page = Mastodon::poll(Some(CURSOR.to_owned()), 40, 0).unwrap();
    let heard: Vec<_> = said(&page.changes).iter().map(|one| (one.text.as_str(), one.kind.as_str())).collect();
    assert_eq!(heard, [("guardate qui", "mention"), ("@acme guardate", "mention")]);
    assert!(calls.borrow()[0].url.contains("types[]=mention&types[]=quote&"), "{}", calls.borrow()[0].url);
}

#[test]
fn what_was_not_said_to_be_public_is_not() {
    let unsaid = status("10", "ciao", "null").replace(r#""visibility":"unlisted","#, "");
    let unknown = status("11", "ciao", "null").replace("unlisted", "mutuals_only");
    page_of(format!("[{},{}]", mention(9, &unknown), mention(8, &unsaid)), || answer(200, "{}"));
    for one in said(&Mastodon::poll(Some(CURSOR.to_owned()), 40, 0).unwrap().changes) {
        assert_eq!(one.visibility, "followers");
        assert_eq!(answered(one, "reply").1, "direct");
    }
}

/// The text and the visibility of an answer to this.
fn answered(one: &Interaction, kind: &str) -> (String, String) {
    let calls = server(|_| answer(200, status("20", "<p>x</p>", "null")));
    let mut message = Message { kind: kind.to_owned(), ..reply("Ciao") };
    message.to.as_mut().unwrap().reply_context.clone_from(&one.reply_context);
    Mastodon::send("k", &message).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&calls.borrow().last().unwrap().body).unwrap();
    (body["status"].as_str().unwrap().to_owned(), body["visibility"].as_str().unwrap().to_owned())
}

#[test]
fn our_followers_do_not_read_what_answers_a_post_for_the_followers_of_somebody_else() {
    // given
    let private = status("10", "ciao", "null").replace("unlisted", "private");
    page_of(format!("[{}]", mention(8, &private)), || answer(200, "{}"));
    let page = Mastodon::poll(Some(CURSOR.to_owned()), 40, 0).unwrap();
    let one = said(&page.changes)[0];

    // when
    let (reply, direct) = (answered(one, "reply"), answered(one, "direct"));

    // then
    assert_eq!((one.visibility.as_str(), reply), ("followers", ("@anna@other.test @bob Ciao".to_owned(), "direct".to_owned())));
    assert_eq!(direct, ("@anna@other.test Ciao".to_owned(), "direct".to_owned()), "no bystander reads a private answer");
}

#[test]
fn a_boundless_status_is_cut_to_the_contract() {
    let long = |n: usize| "è".repeat(n);
    let json = serde_json::json!({
        "id": "10", "uri": format!("https://x.test/{}", long(9_000)), "url": format!("https://x.test/{}", long(9_000)), "content": long(2 << 20),
        "spoiler_text": long(9_000), "language": long(90), "visibility": "public", "in_reply_to_id": long(900),
        "account": { "id": "9", "acct": long(9_000), "url": format!("https://x.test/{}", long(9_000)), "display_name": long(9_000), "followers_count": -1 },
        "mentions": (0..500).map(|n| serde_json::json!({ "acct": format!("{n}{}", "\\".repeat(300)) })).collect::<Vec<_>>(),
        "media_attachments": [{ "type": long(900), "url": long(9_000) }],
    });
    page_of(format!("[{}]", mention(8, &json.to_string())), || answer(200, "{}"));
    let page = Mastodon::poll(Some(CURSOR.to_owned()), 40, 0).unwrap();
    let one = said(&page.changes)[0];
    assert_eq!((one.native.scope.as_str(), one.native.id.as_str(), one.aka.len()), ("social.test", "10", 0));
    assert!(one.text.len() <= 128 << 10 && one.text.starts_with('è'));
    assert!(one.subject.as_ref().unwrap().len() <= 4096 && one.reply_context.as_ref().unwrap().len() <= 4096);
    assert!(one.language.is_none() && one.url.is_none() && one.parent.is_none() && one.author.is_none());
    assert!(one.attachments[0].media_type.len() <= 256 && one.attachments[0].url.is_none());
}

#[test]
fn a_second_look_that_fails_costs_nothing_and_a_limit_ends_it() {
    for (code, n_looks) in [(403, 3), (500, 3), (429, 1)] {
        let page = (8..11).map(|id| mention(id, &status(&id.to_string(), "ciao", "null"))).collect::<Vec<_>>().join(",");
        let calls = page_of(format!("[{page}]"), move || answer(code, "{}"));
        assert_eq!(said(&Mastodon::poll(Some(CURSOR.to_owned()), 40, 0).unwrap().changes).len(), 3, "{code}");
        assert_eq!(calls.borrow().iter().filter(|call| call.url.contains("/statuses/")).count(), n_looks, "{code}");
    }
}

#[test]
fn no_second_look_is_taken_where_few_calls_are_left() {
    let calls = server(|_| {
        let body = format!("[{}]", mention(8, &status("10", "ciao", "null"))).into_bytes();
        Ok(Response { status: 200, headers: limited(12), body })
    });
    assert_eq!(Mastodon::poll(Some(CURSOR.to_owned()), 40, 0).unwrap().changes.len(), 1);
    assert!(calls.borrow().iter().all(|call| !call.url.contains("/statuses/")));
}

#[test]
fn what_is_watched_stays_small_and_an_idle_poll_writes_nothing() {
    let long = |id: u32| status(&id.to_string(), "ciao", "null").replace("/s/", &format!("/{}/", "x".repeat(900)));
    let page = (100..180).map(|id| mention(id, &long(id))).collect::<Vec<_>>().join(",");
    page_of(format!("[{page}]"), || answer(500, ""));
    Mastodon::poll(Some(CURSOR.to_owned()), 40, 0).unwrap();
    let before = testing::with_host(|host| host.state.clone());
    assert!(before["watched"].len() <= 48 << 10 && before["watched"].len() > 30 << 10, "{}", before["watched"].len());
    testing::with_host(|host| host.state_is_read_only = true);
    assert!(Mastodon::poll(Some(CURSOR.to_owned()), 40, 0).is_ok());
    server(|request| if request.url.contains("/notifications") { answer(200, "[]") } else { answer(500, "") });
    testing::with_host(|host| host.state = before.clone());
    let page = Mastodon::poll(Some(CURSOR.to_owned()), 40, 0).unwrap();
    assert_eq!((page.changes.len(), testing::with_host(|host| host.state.clone() == before), page.cursor.contains("\"7\"")), (0, true, true));
    assert!(testing::with_host(|host| host.logged.is_empty()));
}

#[test]
fn a_foreign_cursor_is_no_silent_start_at_now() {
    server(|_| answer(200, "[]"));
    assert!(matches!(Mastodon::poll(Some("7".to_owned()), 40, 0), Err(Fault::Permanent(_))));
}

#[test]
fn whose_token_it_is_is_asked_again_each_day_and_after_a_refusal() {
    let calls = server(|_| answer(200, "[]"));
    let asked = |calls: &Calls| calls.borrow().iter().filter(|call| call.url.ends_with("/verify_credentials")).count();
    for (hours, n_asked) in [(0, 1), (1, 1), (25, 2)] {
        testing::with_host(|host| host.now = 1_780_000_000_000 + hours * 3_600_000);
        Mastodon::poll(Some(CURSOR.to_owned()), 40, 0).unwrap();
        assert_eq!(asked(&calls), n_asked, "{hours}");
    }
    let state = testing::with_host(|host| host.state.clone());
    server(|_| answer(401, "{}"));
    testing::with_host(|host| host.state = state);
    assert!(matches!(Mastodon::poll(Some(CURSOR.to_owned()), 40, 0), Err(Fault::Auth(_))));
    assert!(testing::with_host(|host| !host.state.contains_key("me")));
}

fn sent_text(text: &str) -> String {
    let calls = server(|_| answer(200, status("20", "<p>x</p>", "null")));
    Mastodon::send("k", &reply(text)).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&calls.borrow().last().unwrap().body).unwrap();
    body["status"].as_str().unwrap().to_owned()
}

#[test]
fn those_addressed_are_named_once_each_and_by_their_whole_name() {
    assert_eq!(sent_text("Ciao @bobby"), "@anna@other.test @bob Ciao @bobby");
    assert_eq!(sent_text("@Anna@other.test, @bob: ciao"), "@Anna@other.test, @bob: ciao");
    assert_eq!(sent_text("x@bob @bob@else.test @anna@other.test.de"), "@anna@other.test @bob x@bob @bob@else.test @anna@other.test.de");
}

#[test]
fn only_replies_are_sent() {
    server(|_| answer(200, status("20", "<p>x</p>", "null")));
    assert!(matches!(Mastodon::send("k", &Message { kind: "post".to_owned(), ..reply("x") }), Err(Fault::Unsupported(_))));
}

#[test]
fn length_is_counted_as_the_server_counts_it() {
    let limits = |old: bool| {
        server(move |request| match request.url.as_str() {
            url if url.contains("/v2/instance") && old => answer(404, "{}"),
            url if url.contains("instance") => {
                answer(200, r#"{"configuration":{"statuses":{"max_characters":450,"characters_reserved_per_url":23}}}"#)
            }
            _ => answer(200, status("20", "<p>x</p>", "null")),
        })
    };
    // `@anna @bob ` and an address of 23, whatever they are written as.
    let fits = format!("https://acme.test/{} {}", "x".repeat(300), "y".repeat(450 - 11 - 24));
    for old in [false, true] {
        limits(old);
        assert!(Mastodon::send("k", &reply(&fits)).is_ok());
        assert!(matches!(Mastodon::send("k", &reply(&format!("{fits}z"))), Err(Fault::Unsupported(_))));
    }
}

#[test]
fn every_way_to_say_later_is_understood() {
    let now_s = 1_780_000_000_u64;
    for (headers, expected) in [
        (vec![("retry-after", "120".to_owned())], 120_000),
        (vec![("retry-after", "1".to_owned())], 1_000),
        (vec![("retry-after", "Thu, 28 May 2026 20:27:40 GMT".to_owned())], 1_780_000_060_000 - now_s * 1000),
        (vec![("x-ratelimit-reset", (now_s + 90).to_string())], 90_000),
        (vec![("x-ratelimit-reset", "2026-05-28T20:28:10.000Z".to_owned()), ("retry-after", "30".to_owned())], 90_000),
        (vec![("x-ratelimit-reset", "2026-05-28T20:27:00.000Z".to_owned()), ("retry-after", "30".to_owned())], 30_000),
        (vec![("retry-after", "soon".to_owned())], 60_000),
    ] {
        let given: Vec<(String, String)> = headers.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        server(move |_| Ok(Response { status: 429, headers: given.clone(), body: Vec::new() }));
        let fault = Mastodon::poll(Some(CURSOR.to_owned()), 40, 0).unwrap_err();
        assert!(matches!(fault, Fault::RateLimited((_, wait)) if wait == expected), "{headers:?}: {fault:?}");
    }
}

#[test]
fn a_reply_that_names_people_itself_is_found_again() {
    server(|_| {
        let own = status("20", "<p>Ciao <span>@anna</span>, ecco</p>", "null").replace("\"in_reply_to_id\":\"5\"", "\"in_reply_to_id\":\"10\"");
        answer(200, format!("[{own}]"))
    });
    assert_eq!(Mastodon::probe("k", &reply("Ciao @anna@other.test, ecco")).unwrap().0, Sent::Yes);
}

fn limited(remaining: u32) -> Vec<(String, String)> {
    let headers =
        [("x-ratelimit-limit", "300"), ("x-ratelimit-remaining", &remaining.to_string()), ("x-ratelimit-reset", "2026-06-01T00:00:00.000Z")];
    headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

#[test]
fn a_poll_takes_several_pages_and_a_fault_on_the_way_costs_none_of_them() {
    // given four pages of 40, of which the third is refused at first
    let n_refused = Rc::new(RefCell::new(0));
    let refused = Rc::clone(&n_refused);
    let calls = server(move |request| {
        let from: u32 = request.url.rsplit_once("min_id=").and_then(|(_, id)| id.parse().ok()).unwrap_or(0);
        if from == 80 && refused.replace(1) == 0 {
            return answer(503, "");
        }
        let page = (from..(from + 40).min(130)).rev().map(|id| mention(id + 1, &status(&(id + 1).to_string(), "ciao", "null")));
        answer(200, format!("[{}]", page.collect::<Vec<_>>().join(",")))
    });
    let cursor = r#"{"min_id":"0","is_history":true}"#;

    // when
    let first = Mastodon::poll(Some(cursor.to_owned()), 256, 4 << 20).unwrap();
    let second = Mastodon::poll(Some(first.cursor.clone()), 256, 4 << 20).unwrap();

    // then
    let numbers = |changes: &[Change]| said(changes).iter().filter_map(|one| one.aka[0].id.parse().ok()).collect::<Vec<u32>>();
    assert_eq!((numbers(&first.changes), first.more, first.backfill), ((1..=80).collect(), true, true));
    assert_eq!((numbers(&second.changes), second.more, second.backfill), ((81..=130).collect(), false, true));
    let pages = calls.borrow().iter().filter(|call| call.url.contains("/notifications")).count();
    assert_eq!(pages, 5, "no page is read twice, but for the refused one");
    testing::with_host(|host| host.state.clear());
    let few = Mastodon::poll(Some(cursor.to_owned()), 79, 4 << 20).unwrap();
    assert_eq!(few.changes.len(), 40, "no more than asked for");
}
