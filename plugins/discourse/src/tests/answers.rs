//! Scripted answers.

use membrana_sdk::connector::{Change, Origin, Ours, Raw, RequestHead, Sent};
use membrana_sdk::http::{HttpError, Response};
use membrana_sdk::{Connector as _, Fault, testing};
use serde_json::json;

use super::{CONFIG, answer, list, native, poll, post, reply, said, server, server_of};
use crate::Discourse;

const KNOWN: &str = r#"{"known":99,"start":99,"floor":0}"#;
const CONTEXT: &str = r#"{"topic":5,"number":2}"#;
/// 2026-11-24T10:00:00Z.
const AT: u64 = 1_795_514_400_000;

#[test]
fn a_post_is_read_to_the_field() {
    let quoted = "[quote=\"bob, post:1, topic:5\"]\nprima\n[/quote]\nNon \u{0}va.";
    server(move |_| {
        answer(200, list(&[post(101, 3, &json!({ "reply_to_post_number": "2", "raw": quoted })), post(100, 1, &json!({})), post(99, 2, &json!({}))]))
    });
    let page = poll(KNOWN);
    let all = said(&page.changes);
    assert_eq!(all.len(), 2);
    let (first, third) = (all[0], all[1]);
    assert_eq!((first.kind.as_str(), first.native.clone(), first.parent.clone()), ("post", native("post/100"), None));
    assert_eq!(first.aka, [native("topic/5/1"), native("topic/5")]);
    assert_eq!((third.kind.as_str(), third.parent.clone(), third.conversation.clone()), ("reply", Some(native("post/99")), Some(native("topic/5"))));
    assert_eq!((third.text.as_str(), third.quoted.as_deref(), third.subject.as_deref()), ("Non va.", Some("prima"), Some("Bolletta")));
    assert_eq!((third.url.as_deref(), third.occurred, third.edited), (Some("https://forum.test/t/bolletta/5/3"), AT, None));
    let author = third.author.as_ref().unwrap();
    assert_eq!((author.native.clone(), author.handle.as_deref(), author.name.as_deref()), (native("7"), Some("@anna"), Some("Anna")));
    assert_eq!((third.visibility.as_str(), third.ours.clone(), page.more), ("public", Ours::No, false));
}

#[test]
fn a_reply_to_nothing_in_particular_answers_the_first_post_and_cooked_stands_for_raw() {
    server(|_| {
        answer(200, list(&[post(100, 4, &json!({ "raw": null, "cooked": "<p>Perch&eacute;?<br>Boh</p>", "username": "SUPPORT", "user_id": -2 }))]))
    });
    let page = poll(KNOWN);
    let one = said(&page.changes)[0];
    assert_eq!((one.parent.clone(), one.text.as_str()), (Some(native("topic/5/1")), "Perché?\nBoh"));
    assert_eq!((one.ours.clone(), one.automated.as_str()), (Ours::Yes(None), "bot"));
}

#[test]
fn a_forum_that_began_empty_does_not_tell_what_was_there() {
    server(|_| answer(200, list(&[])));
    let page = Discourse::poll(None, 100, 1 << 20).unwrap();
    assert!(page.changes.is_empty() && !page.more, "{}", page.cursor);
    let state = page.cursor;
    server(|_| {
        answer(
            200,
            list(&[post(10, 2, &json!({ "created_at": "2099-01-01T00:00:00Z" })), post(9, 1, &json!({ "created_at": "2020-01-01T00:00:00Z" }))]),
        )
    });
    let page = poll(&state);
    assert_eq!((said(&page.changes).len(), page.more), (1, false));
    assert!(page.cursor.contains("\"known\":10"), "{}", page.cursor);
}

#[test]
fn empty_windows_of_an_old_forum_are_no_end_and_an_endless_emptiness_is_one() {
    // Ids 300 and 101: what lies between is not ours to see.
    let posts = |before: Option<u64>| [300_u64, 101].into_iter().filter(move |id| before.is_none_or(|before| *id <= before && *id + 50 > before));
    let calls = server(move |request| {
        let before = request.url.split_once("before=").and_then(|(_, id)| id.parse().ok());
        answer(200, list(&posts(before).map(|id| post(id, 1, &json!({}))).collect::<Vec<_>>()))
    });
    let (mut cursor, mut ids) = (r#"{"known":90,"start":0,"floor":0}"#.to_owned(), Vec::new());
    for _ in 0..5 {
        let page = poll(&cursor);
        ids.extend(said(&page.changes).iter().map(|one| one.native.id.clone()));
        cursor = page.cursor;
    }
    assert_eq!(ids, ["post/101", "post/300"]);
    assert!(cursor.contains("\"known\":300") && calls.borrow().len() < 20, "{cursor} {}", calls.borrow().len());
}

#[test]
fn ids_above_two_to_the_53_stay_what_they_are() {
    let id = (1_u64 << 53) + 1;
    server(move |_| answer(200, list(&[post(id, 2, &json!({ "reply_to_post_number": 1 }))])));
    let page = poll(&format!(r#"{{"known":{},"start":0,"floor":0}}"#, id - 1));
    assert_eq!(said(&page.changes)[0].native.id, "post/9007199254740993");
    assert!(page.cursor.contains("9007199254740993"), "{}", page.cursor);
}

#[test]
fn an_odd_post_is_set_aside_and_the_rest_arrives() {
    let odd = [
        json!({ "cooked": "no id" }),
        json!({ "id": 103 }),
        post(102, 2, &json!({ "post_type": 9 })),
        post(101, 2, &json!({ "post_type": 3 })),
        post(100, 2, &json!({})),
    ];
    server(move |_| answer(200, list(&odd)));
    let page = poll(KNOWN);
    let [Change::Upsert(good), Change::Note((kind, body)), Change::Unreadable((one, ..)), Change::Unreadable((other, ..))] = page.changes.as_slice()
    else {
        panic!("{:?}", page.changes)
    };
    assert_eq!((good.native.id.as_str(), kind.as_str(), body.contains("post_type/9")), ("post/100", "unknown-kind", true));
    assert_eq!((one.id.as_str(), other.id.as_str()), ("post/103", "posts/before-0+0"));
    assert!(page.cursor.contains("\"known\":103"), "{}", page.cursor);
}

#[test]
fn a_page_is_no_longer_than_the_host_asks_and_nothing_is_lost() {
    server(|request| {
        let before = request.url.split_once("before=").map_or(u64::MAX, |(_, id)| id.parse().unwrap());
        answer(200, list(&(100..130).rev().filter(|id| *id < before).map(|id| post(id, 2, &json!({}))).collect::<Vec<_>>()))
    });
    let (mut cursor, mut ids, mut rounds) = (KNOWN.to_owned(), Vec::new(), 0);
    loop {
        let page = Discourse::poll(Some(cursor), 7, 1 << 20).unwrap();
        assert!(page.changes.len() <= 7);
        ids.extend(said(&page.changes).iter().map(|one| one.native.id.clone()));
        (cursor, rounds) = (page.cursor, rounds + 1);
        if !page.more {
            break;
        }
        assert!(cursor.contains("\"known\":99"), "not before all are told: {cursor}");
    }
    ids.sort();
    assert_eq!((ids.len(), rounds), (30, 5));
    ids.dedup();
    assert_eq!(ids.len(), 30);
}

#[test]
fn what_was_committed_late_below_a_later_post_arrives() {
    server(
        |request| {
            if request.url.contains("/posts/") { answer(500, "") } else { answer(200, list(&[post(102, 2, &json!({})), post(100, 1, &json!({}))])) }
        },
    );
    let page = poll(KNOWN);
    assert_eq!(said(&page.changes).len(), 2);
    let state = testing::with_host(|host| host.state.clone());
    server(|_| answer(200, list(&[post(102, 2, &json!({})), post(101, 3, &json!({})), post(100, 1, &json!({}))])));
    testing::with_host(|host| host.state = state);
    assert_eq!(said(&poll(&page.cursor).changes).iter().map(|one| one.native.id.as_str()).collect::<Vec<_>>(), ["post/101"]);
}

#[test]
fn what_the_forum_says_becomes_the_right_fault() {
    let is_unknown = |fault: &Fault| matches!(fault, Fault::Transient(detail) if detail.code == "outcome-unknown");
    let send = || Discourse::send("k", &reply(CONTEXT, "Ci dispiace", AT)).unwrap_err();
    let read = || Discourse::poll(Some(KNOWN.to_owned()), 9, 1 << 20).unwrap_err();
    server(|_| Err(HttpError::Timeout));
    assert!(is_unknown(&send()) && matches!(read(), Fault::Transient(_)));
    server(|_| Err(HttpError::Connect("refused".to_owned())));
    assert!(matches!(send(), Fault::RateLimited((detail, 60_000)) if detail.code == "discourse.unreachable"));
    server(|_| answer(502, "<html>Bad gateway"));
    assert!(is_unknown(&send()) && matches!(read(), Fault::Transient(_)));
    server(|_| answer(503, r#"{"errors":["…"],"error_type":"read_only"}"#));
    assert!(matches!(send(), Fault::Transient(detail) if detail.code == "discourse.read-only"));
    server(|_| answer(200, "<html>"));
    assert!(is_unknown(&send()) && matches!(read(), Fault::Transient(_)));
    server(|_| answer(403, r#"{"errors":["…"],"error_type":"invalid_access"}"#));
    assert!(matches!(send(), Fault::Auth(_)) && matches!(read(), Fault::Auth(_)), "the key is bad");
    server(|request| if request.method == "POST" { answer(403, r#"{"errors":["closed"]}"#) } else { answer(200, list(&[])) });
    assert!(matches!(send(), Fault::Permanent(detail) if detail.message.contains("closed")), "the key is good");
    server(|_| answer(404, "{}"));
    assert!(matches!(send(), Fault::Permanent(_)) && matches!(read(), Fault::Transient(_)));
    server(|_| answer(301, ""));
    assert!(matches!(read(), Fault::Config(_)));
    server(|request| {
        if request.method == "POST" { answer(422, r#"{"action":"create_post","errors":["Il corpo è troppo corto"]}"#) } else { answer(404, "{}") }
    });
    assert!(matches!(send(), Fault::Permanent(detail) if detail.message.contains("troppo corto")));
}

#[test]
fn rate_limits_are_not_hammered() {
    let limited = |headers: &'static [(&'static str, &'static str)], body: &'static str| {
        server(move |_| {
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Ok(Response { status: 429, headers, body: body.as_bytes().to_vec() })
        });
        match Discourse::poll(Some(KNOWN.to_owned()), 9, 1 << 20) {
            Err(Fault::RateLimited((_, wait))) => wait,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(limited(&[("retry-after", "7")], r#"{"extras":{"wait_seconds":7,"time_left":"7 seconds"}}"#), 7_000);
    assert_eq!(limited(&[("retry-after", "3")], r#"{"extras":{"wait_seconds":40}}"#), 40_000);
    assert_eq!(limited(&[], r#"{"extras":{"wait_seconds":12.5}}"#), 13_000);
    assert_eq!(limited(&[], "<html>Too many"), 60_000);
}

#[test]
fn a_reply_goes_under_the_right_post() {
    let calls = server(|_| answer(200, post(120, 9, &json!({ "username": "support", "reply_to_post_number": 2 })).to_string()));
    let receipt = Discourse::send("k", &reply(CONTEXT, "Ci dispiace", AT)).unwrap();
    assert_eq!((receipt.native, receipt.aka, receipt.url.as_deref()), (native("post/120"), Vec::new(), Some("https://forum.test/t/bolletta/5/9")));
    let sent = calls.borrow()[0].clone();
    let body: serde_json::Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(body, json!({ "raw": "Ci dispiace", "topic_id": 5, "reply_to_post_number": 2 }));
    assert_eq!((sent.auth.as_deref(), sent.headers.contains(&("api-username".to_owned(), "Support".to_owned()))), (Some("api_key"), true));
    let whisper = r#"{"topic":5,"number":2,"is_whisper":true}"#;
    assert!(matches!(Discourse::send("k", &reply(whisper, "x", AT)), Err(Fault::Unsupported(_))));
    server(|_| answer(200, r#"{"success":true,"action":"enqueued","pending_post":{"id":3}}"#));
    assert_eq!(Discourse::send("k", &reply(CONTEXT, "x", AT)).unwrap().native, native("pending/3"));
}

#[test]
fn an_unknown_outcome_stays_unknown_where_the_topic_cannot_tell() {
    let probe = || Discourse::probe("k", &reply(CONTEXT, "Ci *dispiace*", AT)).unwrap();
    server(|_| answer(404, "{}"));
    assert_eq!(probe().0, Sent::Unknown);
    let topic = |own: serde_json::Value| {
        server(move |request| {
            let posts = request.url.contains("/posts.json").then(|| vec![own.clone()]);
            answer(200, json!({ "post_stream": { "posts": posts, "stream": [120] } }).to_string())
        });
    };
    let own = |more: serde_json::Value| {
        let mut own = post(120, 9, &json!({ "username": "support", "reply_to_post_number": 2 }));
        own.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        own
    };
    topic(own(json!({ "raw": "Ci  *dispiace*\n" })));
    assert_eq!(probe().1.unwrap().native, native("post/120"));
    topic(own(json!({ "raw": "Altro" })));
    assert_eq!(probe().0, Sent::No);
    topic(own(json!({ "raw": null, "cooked": "<p>Ci <em>dispiace</em></p>" })));
    assert_eq!(probe().0, Sent::Unknown, "Markdown cannot be compared with HTML");
    topic(own(json!({ "raw": "Ci *dispiace*", "created_at": "2026-11-23T10:00:00Z" })));
    assert_eq!(probe().0, Sent::No, "that was yesterday's reply");
    topic(own(json!({ "raw": "Ci *dispiace*", "reply_to_post_number": 3 })));
    assert_eq!(probe().0, Sent::No, "that stands under another post");
}

fn hook(event: &str, body: &serde_json::Value) -> Raw {
    let headers = vec![("x-discourse-event".to_owned(), event.to_owned())];
    let head = RequestHead { method: "POST".to_owned(), path_with_query: String::new(), headers };
    Raw { origin: Origin::Webhook(head), body: body.to_string().into_bytes(), received: AT + 5_000 }
}

#[test]
fn a_whisper_is_never_public() {
    server(|_| answer(500, ""));
    let whisper = json!({ "post": post(100, 3, &json!({ "post_type": 4, "topic_archetype": "regular" })) });
    let changes = Discourse::receive(hook("post_created", &whisper)).unwrap();
    assert_eq!((said(&changes)[0].visibility.as_str(), said(&changes)[0].side.as_deref()), ("direct", Some("inside")));
    let private = json!({ "post": post(100, 3, &json!({ "topic_archetype": "private_message" })) });
    assert_eq!(said(&Discourse::receive(hook("post_created", &private)).unwrap())[0].visibility, "direct");
    let unsaid = json!({ "post": post(100, 3, &json!({ "category_id": null })) });
    assert_eq!(said(&Discourse::receive(hook("post_created", &unsaid)).unwrap())[0].visibility, "direct");
    server_of(&CONFIG.replace('}', r#","private_categories":[4]}"#), |_| answer(500, ""));
    let staff = json!({ "post": post(100, 3, &json!({ "topic_archetype": "regular" })) });
    assert_eq!(said(&Discourse::receive(hook("post_created", &staff)).unwrap())[0].visibility, "followers");
}

#[test]
fn a_webhook_is_understood_by_its_header() {
    let body = json!({ "post": post(100, 3, &json!({})) });
    let there = post(100, 3, &json!({})).to_string();
    server(move |_| answer(200, &there));
    assert!(Discourse::receive(hook("post_destroyed", &body)).unwrap().is_empty(), "an honest delivery under another header deletes nothing");
    server(|_| answer(404, ""));
    assert!(matches!(Discourse::receive(hook("post_destroyed", &body)).unwrap().as_slice(), [Change::Gone(id)] if *id == native("post/100")));
    let back = Discourse::receive(hook("post_recovered", &body)).unwrap();
    assert_eq!(said(&back)[0].edited, Some(AT + 5_000), "a later edit revives what was gone");
    let withdrawn = json!({ "post": post(100, 3, &json!({ "user_deleted": true })) });
    assert!(matches!(Discourse::receive(hook("post_edited", &withdrawn)).unwrap().as_slice(), [Change::Gone(_)]));
    let action = json!({ "post": post(100, 3, &json!({ "post_type": 3 })) });
    assert!(Discourse::receive(hook("post_created", &action)).unwrap().is_empty());
    assert!(Discourse::receive(hook("ping", &json!({ "ping": "OK" }))).unwrap().is_empty());
    let topic = Discourse::receive(hook("topic_created", &json!({ "topic": { "id": 5, "title": "x".repeat(9_000) } }))).unwrap();
    assert!(
        matches!(topic.as_slice(), [Change::Note((kind, body))] if kind == "discourse.topic_created" && body.contains("\"id\":5") && body.len() <= 4096)
    );
    let liked = Discourse::receive(hook("post_liked", &json!({ "like": { "post": { "id": 5 } } }))).unwrap();
    assert!(matches!(liked.as_slice(), [Change::Note((kind, _))] if kind == "discourse.post_liked"));
    for event in ["post_teleported", "séance_held"] {
        let odd = Discourse::receive(hook(event, &body)).unwrap();
        assert!(matches!(odd.as_slice(), [Change::Note((kind, body))] if kind == "unknown-kind" && !body.contains("cooked")), "{odd:?}");
    }
    for (event, body) in [("", &body), ("post_created", &json!({ "post": { "id": 1 } }))] {
        let mut raw = hook(event, body);
        if let (Origin::Webhook(head), true) = (&mut raw.origin, event.is_empty()) {
            head.headers.clear();
        }
        assert!(matches!(Discourse::receive(raw), Err(Fault::Permanent(_))), "`{event}` is set aside alone");
    }
}

#[test]
fn every_mistake_of_the_section_is_told() {
    let around = membrana_sdk::Surroundings { teams: Vec::new(), channels: Vec::new(), analyzers: Vec::new(), calendars: Vec::new() };
    assert_eq!(Discourse::validate(CONFIG, &around), vec![]);
    assert_eq!(Discourse::validate(r#"{"base_url":"https://forum.test/sub/","username":"a.b-c_d"}"#, &around), vec![]);
    let keys = |config: &str| Discourse::validate(config, &around).into_iter().map(|finding| finding.key).collect::<Vec<_>>();
    assert_eq!(keys(r#"{"base_url":"forum.test","username":"@a b"}"#), ["base_url", "username"]);
    assert_eq!(keys("{}"), [""]);
}
