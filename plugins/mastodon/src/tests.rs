//! A server's answers, good and bad.

use std::cell::RefCell;
use std::rc::Rc;

use membrana_sdk::connector::{Change, Interaction, Message, Target};
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
fn the_first_look_starts_at_now_unless_history_is_wanted() {
    server(|_| answer(200, r#"[{"id":"42","type":"follow"}]"#));
    let page = Mastodon::poll(None, 40, 0).unwrap();
    assert!(page.changes.is_empty() && page.cursor.contains("42"));
    testing::with_host(|host| host.config = r#"{"base_url":"https://social.test","first_fetch":"import"}"#.to_owned());
    let page = Mastodon::poll(None, 40, 0).unwrap();
    assert!(page.more && page.backfill && page.cursor.contains("\"0\""));
}

#[test]
fn edits_and_deletions_are_found_by_looking_again() {
    let now = Rc::new(RefCell::new((200, status("10", "<p>prima</p>", "null"))));
    let served = Rc::clone(&now);
    server(move |request| {
        if request.url.contains("/notifications") {
            let list = if request.url.ends_with("min_id=7") {
                format!(r#"[{{"id":"8","type":"mention","status":{}}}]"#, status("10", "<p>prima</p>", "null"))
            } else {
                "[]".to_owned()
            };
            return answer(200, list);
        }
        let (code, body) = served.borrow().clone();
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
        serde_json::json!({ "status": "@anna@other.test Ciao, ci dispiace.", "in_reply_to_id": "10", "visibility": "unlisted", "language": "it" })
    );
    assert!(sent.headers.contains(&("idempotency-key".to_owned(), "key-1".to_owned())));
    assert_eq!(sent.auth.as_deref(), Some("token"));
}

#[test]
fn a_reply_too_long_is_refused_before_it_is_sent() {
    let calls = server(|_| answer(200, r#"{"configuration":{"statuses":{"max_characters":420}}}"#));
    assert!(matches!(Mastodon::send("k", &reply(&"x".repeat(500))), Err(Fault::Permanent(detail)) if detail.code == "mastodon.too-long"));
    assert!(calls.borrow().iter().all(|call| call.method == "GET"));
}

#[test]
fn what_the_server_says_becomes_the_right_fault() {
    let is_unknown = |fault: &Fault| matches!(fault, Fault::Transient(detail) if detail.code == "outcome-unknown");
    server(|_| Err(HttpError::Timeout));
    assert!(is_unknown(&Mastodon::send("k", &reply("x")).unwrap_err()));
    server(|_| Err(HttpError::Connect("refused".to_owned())));
    assert!(matches!(Mastodon::send("k", &reply("x")), Err(Fault::Transient(detail)) if detail.code == "mastodon.unreachable"));
    server(|_| answer(200, "<html>"));
    assert!(is_unknown(&Mastodon::send("k", &reply("x")).unwrap_err()));
    assert!(matches!(Mastodon::poll(Some(CURSOR.to_owned()), 40, 0), Err(Fault::Transient(_))));
    server(|_| answer(401, "{}"));
    assert!(matches!(Mastodon::poll(Some(CURSOR.to_owned()), 40, 0), Err(Fault::Auth(_))));
    server(|_| {
        Ok(Response { status: 429, headers: vec![("x-ratelimit-reset".to_owned(), "2026-06-01T00:00:00.000Z".to_owned())], body: Vec::new() })
    });
    assert!(matches!(Mastodon::poll(Some(CURSOR.to_owned()), 40, 0), Err(Fault::RateLimited(_))));
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
    assert_eq!((sent, receipt.unwrap().aka[0].id.as_str()), (membrana_sdk::connector::Sent::Yes, "20"));
    assert_eq!(Mastodon::probe("k", &reply("Something else")).unwrap().0, membrana_sdk::connector::Sent::No);
}
