//! Scripted answers: what they mean, and what is made of boundless ones.

use std::cell::Cell;
use std::rc::Rc;

use membrana_sdk::connector::{Change, Sent};
use membrana_sdk::http::{HttpError, Response};
use membrana_sdk::{Connector as _, Fault, Surroundings};
use serde_json::json;

use super::{answer_to, code, receive, said, scripted, texts};
use crate::Facebook;

const CURSOR: &str = r#"{"feed":{"since":1795510000000},"conversations":{"since":1795510000000},"floor":1795510000000}"#;

fn response(status: u16, body: &str) -> Result<Response, HttpError> {
    Ok(Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() })
}

fn error(code: u64, subcode: u64) -> String {
    json!({ "error": { "message": "(#1) words", "type": "OAuthException", "code": code, "error_subcode": subcode, "fbtrace_id": "x" } }).to_string()
}

fn comment() -> membrana_sdk::connector::Interaction {
    let body = json!({ "object": "page", "entry": [{ "id": "7", "time": 1_795_514_400, "changes": [{ "field": "feed", "value": {
        "item": "comment", "verb": "add", "post_id": "7_10", "comment_id": "10_55", "from": { "id": "1", "name": "Ann" }, "message": "?" } }] }] });
    let changes = receive(&body.to_string()).unwrap();
    said(&changes)[0].clone()
}

#[test]
fn codes_decide_and_not_the_status() {
    for (number, subcode, on_read, on_send) in [
        (1, 0, "meta.service", "outcome-unknown"),
        (2, 0, "meta.service", "outcome-unknown"),
        (4, 0, "meta.throttled", "meta.throttled"),
        (17, 0, "meta.throttled", "meta.throttled"),
        (32, 0, "meta.throttled", "meta.throttled"),
        (341, 0, "meta.throttled", "meta.throttled"),
        (613, 0, "meta.throttled", "meta.throttled"),
        (80_001, 0, "meta.throttled", "meta.throttled"),
        (80_014, 0, "meta.throttled", "meta.throttled"),
        (102, 0, "meta.token", "meta.token"),
        (190, 0, "meta.token", "meta.token"),
        (190, 458, "meta.token-app-removed", "meta.token-app-removed"),
        (190, 460, "meta.token-password-changed", "meta.token-password-changed"),
        (190, 463, "meta.token-expired", "meta.token-expired"),
        (10, 0, "meta.permission", "meta.permission"),
        (200, 0, "meta.permission", "meta.permission"),
        (299, 0, "meta.permission", "meta.permission"),
        (10, 2_018_278, "meta.window-closed", "meta.window-closed"),
        (10, 2_534_022, "meta.window-closed", "meta.window-closed"),
        (551, 0, "meta.unavailable-person", "meta.unavailable-person"),
        (100, 33, "meta.gone", "meta.gone"),
        (803, 0, "meta.gone", "meta.gone"),
        (100, 0, "meta.refused", "meta.refused"),
        (506, 0, "meta.duplicate", "outcome-unknown"),
        (368, 0, "meta.blocked", "meta.blocked"),
        (99_999, 0, "meta.refused", "meta.refused"),
    ] {
        for status in [400, 403, 200] {
            scripted(move |_| response(status, &error(number, subcode)));
            assert_eq!(code(&Facebook::poll(Some(CURSOR.to_owned()), 100, 0).unwrap_err()), on_read, "{number}/{subcode} by {status}");
            assert_eq!(
                code(&Facebook::send("k", &answer_to(&comment(), "reply", "x", true)).unwrap_err()),
                on_send,
                "{number}/{subcode} by {status}"
            );
        }
    }
}

#[test]
fn a_permission_that_is_missing_concerns_the_token_on_reads_and_the_one_thing_on_sends() {
    scripted(|_| response(403, &error(200, 0)));
    assert!(matches!(Facebook::poll(Some(CURSOR.to_owned()), 100, 0), Err(Fault::Auth(_))));
    assert!(matches!(Facebook::send("k", &answer_to(&comment(), "reply", "x", true)), Err(Fault::Permanent(_))));
}

#[test]
fn no_answer_and_no_json_are_later_on_reads_and_unknown_on_sends() {
    for (answer, on_send) in [
        (Err(HttpError::Timeout), "outcome-unknown"),
        (Err(HttpError::Protocol("cut".to_owned())), "outcome-unknown"),
        (Err(HttpError::Connect("refused".to_owned())), "meta.unreachable"),
        (response(502, "<html>"), "outcome-unknown"),
        (response(200, "<html>"), "outcome-unknown"),
        (response(200, "{}"), "outcome-unknown"),
    ] {
        scripted(move |_| answer.clone());
        let fault = Facebook::send("k", &answer_to(&comment(), "reply", "x", true)).unwrap_err();
        assert_eq!(code(&fault), on_send);
        assert_eq!(matches!(fault, Fault::RateLimited(_)), on_send == "meta.unreachable", "no try is counted where nothing was sent");
    }
    for answer in [Err(HttpError::Timeout), response(502, "<html>"), response(200, "<html>")] {
        scripted(move |_| answer.clone());
        assert!(matches!(Facebook::poll(Some(CURSOR.to_owned()), 100, 0), Err(Fault::Transient(_))));
    }
}

#[test]
fn a_throttle_without_a_word_on_time_is_an_hour() {
    scripted(|_| response(400, &error(4, 0)));
    assert!(matches!(Facebook::poll(Some(CURSOR.to_owned()), 100, 0), Err(Fault::RateLimited((_, 3_600_000)))));
}

#[test]
fn texts_are_measured_before_anything_is_sent() {
    let calls = scripted(|_| response(200, r#"{"message_id":"m_1","recipient_id":"1","id":"1_1"}"#));
    let private = |n: usize| Facebook::send("k", &answer_to(&comment(), "direct", &"è".repeat(n), true));
    membrana_sdk::testing::with_host(|host| host.now = 1_795_514_400_000);
    assert!(private(2_000).is_ok());
    assert!(matches!(private(2_001), Err(Fault::Unsupported(_))));
    assert!(matches!(Facebook::send("k", &answer_to(&comment(), "reply", &"x".repeat(8_001), true)), Err(Fault::Unsupported(_))));
    assert!(matches!(Facebook::send("k", &answer_to(&comment(), "post", "x", true)), Err(Fault::Unsupported(_))));
    assert_eq!(calls.borrow().len(), 1);
    let manifest = include_str!("../../plugin.toml");
    assert!(manifest.contains("\nmax_len = 8000\nprivate_max_len = 2000\n"), "the host measures alike");
}

#[test]
fn an_own_looking_text_of_nobody_is_no_proof() {
    scripted(|_| response(200, r#"{"data":[{"id":"10_99","message":"Sì","created_time":"2099-01-01T00:00:00+0000"}]}"#));
    assert_eq!(Facebook::probe("k", &answer_to(&comment(), "reply", "Sì", true)).unwrap(), (Sent::Unknown, None));
}

#[test]
fn a_list_that_goes_on_nobody_knows_where_is_not_taken_for_its_end() {
    scripted(|_| response(200, r#"{"data":[],"paging":{"next":"https://graph.facebook.com/v23.0/7/feed?access_token=x"}}"#));
    assert_eq!(code(&Facebook::poll(Some(CURSOR.to_owned()), 100, 0).unwrap_err()), "meta.malformed");
}

#[test]
fn a_place_that_the_network_no_longer_knows_begins_the_walk_anew() {
    scripted(|request| match &request.url {
        url if url.contains("stale") => response(400, &error(100, 0)),
        url if url.contains("/feed") => response(200, r#"{"data":[{"id":"7_2","created_time":"2026-11-24T10:00:00+0000","message":"buono"}]}"#),
        _ => response(200, r#"{"data":[]}"#),
    });
    let stale = CURSOR.replacen("000}", r#"000,"next":[["after","stale"]]}"#, 2);
    let first = Facebook::poll(Some(stale), 100, 0).unwrap();
    assert!(first.changes.is_empty() && !first.more && !first.cursor.contains("stale"), "{first:?}");
    let second = Facebook::poll(Some(first.cursor), 100, 0).unwrap();
    assert_eq!((texts(&second.changes), second.more), (vec!["buono"], false));
}

#[test]
fn a_walk_that_is_cut_twice_ends_with_a_gap_and_an_import_does_not_end_before() {
    scripted(|request| match &request.url {
        url if url.contains("after=2") => response(400, &error(100, 0)),
        url if url.contains("/feed") => response(
            200,
            r#"{"data":[{"id":"7_2","created_time":"2026-11-24T10:00:00+0000","message":"buono"}],"paging":{"next":"https://graph.facebook.com/v23.0/7/feed?after=2"}}"#,
        ),
        _ => response(200, r#"{"data":[]}"#),
    });
    membrana_sdk::testing::with_host(|host| host.config = host.config.replacen('{', r#"{"first_fetch":"import","#, 1));
    let (mut cursor, mut all) = (None, Vec::new());
    for _ in 0..10 {
        let page = Facebook::poll(cursor, 100, 0).unwrap();
        all.extend(page.changes);
        assert!(page.backfill);
        cursor = Some(page.cursor);
        if !page.more {
            break;
        }
    }
    assert_eq!(texts(&all), ["buono"]);
    let gaps = all.iter().filter(|change| matches!(change, Change::Note((kind, _)) if kind == "gap"));
    assert_eq!(gaps.count(), 1, "{all:?}");
    assert!(!Facebook::poll(cursor, 100, 0).unwrap().backfill);
}

#[test]
fn a_post_whose_comments_cannot_be_read_keeps_no_other_waiting() {
    let is_well = Rc::new(Cell::new(false));
    let seen = Rc::clone(&is_well);
    scripted(move |request| {
        let post = |id: &str| format!(r#"{{"id":"7_{id}","created_time":"2026-11-24T10:00:00+0000","message":"post"}}"#);
        let said = |id: &str| format!(r#"{{"data":[{{"id":"{id}_5","created_time":"2026-11-24T11:00:00+0000","message":"of {id}"}}]}}"#);
        match &request.url {
            url if url.contains("/feed") => response(200, &format!(r#"{{"data":[{},{},{}]}}"#, post("3"), post("2"), post("1"))),
            url if url.contains("/7_1/comments") && !seen.get() => response(500, "{}"),
            url if url.contains("/7_2/comments") && !seen.get() => response(400, &error(100, 0)),
            url => match ["1", "2", "3"].into_iter().find(|id| url.contains(&format!("/7_{id}/comments"))) {
                Some(id) => response(200, &said(id)),
                None => response(200, r#"{"data":[]}"#),
            },
        }
    });
    let first = Facebook::poll(Some(CURSOR.to_owned()), 100, 0).unwrap();
    assert_eq!((texts(&first.changes), first.more), (vec!["post", "post", "post", "of 3"], false));
    is_well.set(true);
    let second = Facebook::poll(Some(first.cursor), 100, 0).unwrap();
    let mut found = texts(&second.changes);
    found.sort_unstable();
    assert_eq!(found, ["of 1", "of 2"]);
}

#[test]
fn a_post_that_an_import_gives_up_comes_back_neither_as_new_nor_as_unread() {
    let is_well = Rc::new(Cell::new(false));
    let seen = Rc::clone(&is_well);
    scripted(move |request| {
        let since: u64 = request.url.split("since=").nth(1).and_then(|rest| rest.split('&').next()?.parse().ok()).unwrap_or(0);
        match &request.url {
            url if url.contains("/7_2/comments") && !seen.get() => response(400, &error(100, 0)),
            url if url.contains("/7_2/comments") && since < 1_795_518_000 => {
                response(200, r#"{"data":[{"id":"2_5","created_time":"2026-11-24T11:00:00+0000","message":"vecchio"}]}"#)
            }
            url if url.contains("/feed") => response(200, r#"{"data":[{"id":"7_2","created_time":"2026-11-24T10:00:00+0000","message":"post"}]}"#),
            _ => response(200, r#"{"data":[]}"#),
        }
    });
    membrana_sdk::testing::with_host(|host| {
        host.config = host.config.replacen('{', r#"{"first_fetch":"import","#, 1);
        host.now = 1_795_600_000_000;
    });
    let first = Facebook::poll(None, 100, 0).unwrap();
    assert_eq!((texts(&first.changes), first.changes.len(), first.more), (vec!["post"], 2, false), "{first:?}");
    let second = Facebook::poll(Some(first.cursor), 100, 0).unwrap();
    is_well.set(true);
    let third = Facebook::poll(Some(second.cursor.clone()), 100, 0).unwrap();
    assert!(second.changes.is_empty() && third.changes.is_empty(), "{second:?} {third:?}");
}

#[test]
fn an_odd_item_is_set_aside_and_the_rest_arrives() {
    scripted(|request| {
        let feed = r#"{"data":[{"id":"7_2","created_time":"2026-11-24T10:00:00+0000","message":"buono","from":{"id":"1"}},{"message":"senza id"},{"id":"7_3","created_time":"ieri"},null]}"#;
        response(200, if request.url.contains("/feed") { feed } else { r#"{"data":[]}"# })
    });
    let page = Facebook::poll(Some(CURSOR.to_owned()), 100, 0).unwrap();
    assert_eq!(page.changes.iter().filter(|change| matches!(change, Change::Unreadable(_))).count(), 3);
    assert_eq!(super::texts(&page.changes), ["buono"]);
}

#[test]
fn a_boundless_post_is_cut_to_the_contract() {
    let long = |n: usize| "è".repeat(n);
    let post = json!({ "id": "7_2", "created_time": "2026-11-24T10:00:00+0000", "message": long(1 << 20), "permalink_url": long(9_000),
        "from": { "id": "1", "name": long(9_000) }, "parent_id": long(9_000),
        "attachments": { "data": (0..200).map(|n| json!({ "type": "photo", "url": format!("https://x.test/{n}") })).collect::<Vec<_>>() } });
    let feed = json!({ "data": [post] }).to_string();
    scripted(move |request| response(200, if request.url.contains("/feed") { &feed } else { r#"{"data":[]}"# }));
    let page = Facebook::poll(Some(CURSOR.to_owned()), 100, 0).unwrap();
    let one = said(&page.changes)[0];
    assert!(one.text.len() <= 1 << 20 && one.text.starts_with('è') && one.url.is_none() && one.parent.is_none());
    assert!(one.attachments.len() <= 64 && one.author.as_ref().unwrap().name.is_none());
}

#[test]
fn a_foreign_cursor_is_no_silent_start_at_now() {
    scripted(|_| response(200, r#"{"data":[]}"#));
    assert!(matches!(Facebook::poll(Some("7".to_owned()), 100, 0), Err(Fault::Permanent(_))));
}

#[test]
fn mistakes_in_the_section_are_told_with_their_cure() {
    let around = Surroundings { teams: Vec::new(), channels: Vec::new(), analyzers: Vec::new(), calendars: Vec::new() };
    let keys = |config: &str| Facebook::validate(config, &around).into_iter().map(|finding| finding.key).collect::<Vec<_>>();
    assert!(keys(r#"{"page":"7","base_url":"https://graph.facebook.com"}"#).is_empty());
    assert_eq!(keys(r#"{"page":"my page","base_url":"graph"}"#), ["page", "base_url"]);
    assert_eq!(keys("{}"), [""]);
}

#[test]
fn conversations_are_left_alone_where_the_section_says_so() {
    let calls = scripted(|_| response(200, r#"{"data":[]}"#));
    for (config, n_asked) in [
        (r#"{"page":"7","base_url":"https://graph.facebook.com"}"#, 1),
        (r#"{"page":"7","base_url":"https://graph.facebook.com","messages":false}"#, 0),
    ] {
        membrana_sdk::testing::with_host(|host| config.clone_into(&mut host.config));
        calls.borrow_mut().clear();
        Facebook::poll(Some(CURSOR.to_owned()), 100, 0).unwrap();
        assert_eq!(calls.borrow().iter().filter(|call| call.url.contains("/conversations?")).count(), n_asked, "{config}");
        assert!(calls.borrow().iter().all(|call| call.url.starts_with("https://graph.facebook.com/v23.0/7/")));
    }
}

#[test]
fn posts_that_wait_and_are_forgotten_are_told() {
    let posts: Vec<_> = (0..400).map(|n| json!({ "id": format!("7_{n}"), "newest": 5, "visited": 0, "put_off": 5 })).collect();
    scripted(|_| response(200, r#"{"data":[]}"#));
    membrana_sdk::testing::with_host(|host| host.state.insert("posts".to_owned(), serde_json::to_vec(&posts).unwrap()));
    let page = Facebook::poll(Some(CURSOR.to_owned()), 100, 0).unwrap();
    assert!(matches!(page.changes.as_slice(), [Change::Note((kind, body))] if kind == "gap" && body.contains(r#""posts":50"#)), "{page:?}");
}

#[test]
fn half_of_the_limit_used_means_fewer_visits_and_nearly_all_none() {
    for (per_cent, n_visits) in [(10, 10), (60, 2), (95, 0)] {
        let posts: Vec<_> = (0..12).map(|n| json!({ "id": format!("7_{n}"), "newest": 1_795_510_000_000_u64, "visited": 5 })).collect();
        let calls = scripted(move |_| {
            let used = json!({ "call_count": per_cent, "total_time": 1, "total_cputime": 1 }).to_string();
            Ok(Response { status: 200, headers: vec![("x-app-usage".to_owned(), used)], body: br#"{"data":[]}"#.to_vec() })
        });
        membrana_sdk::testing::with_host(|host| host.state.insert("posts".to_owned(), serde_json::to_vec(&posts).unwrap()));
        Facebook::poll(Some(CURSOR.to_owned()), 100, 0).unwrap();
        assert_eq!(calls.borrow().iter().filter(|call| call.url.contains("/comments?")).count(), n_visits, "{per_cent}");
    }
}
