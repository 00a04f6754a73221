//! Webhooks of both kinds, and lines of streams.

use membrana_sdk::connector::{Change, Origin, Ours, Raw};
use membrana_sdk::{Connector as _, Fault, NativeId};
use serde_json::json;

use super::stand::{NOW_MS, Stand, notes, post_id, said, told};
use crate::X;

fn receive(body: impl Into<Vec<u8>>) -> Vec<Change> {
    X::receive(told(body)).unwrap()
}

#[test]
fn webhooks_race_into_duplicates_nowhere_every_way_in_gives_one_name() {
    let stand = Stand::new("");
    let cursor = stand.begun();
    let id = stand.x.say("anna", "@acme broken again, è vero", None);
    let (polled, _) = stand.all(&cursor, 100);
    let ways = [
        stand.x.account_activity("acme", &[&id]),
        stand.x.account_activity("acme-italia", &[&id]),
        stand.x.activity("post.mention.create", &id),
        stand.x.activity("post.create", &id),
    ];
    for body in ways {
        let changes = receive(body.clone());
        let ([one], [polled]) = (&said(&changes)[..], &said(&polled)[..]) else { panic!("{body}") };
        assert_eq!((&one.native, &one.text, one.occurred, &one.ours), (&post_id(&id), &polled.text, polled.occurred, &Ours::No), "{body}");
        assert_eq!(one.author.as_ref().unwrap().native, polled.author.as_ref().unwrap().native);
        assert_eq!(one.author.as_ref().unwrap().handle.as_deref(), Some("@anna"));
        assert!(one.reply_context.as_ref().unwrap().contains(r#""summoned":true"#));
    }
}

#[test]
fn old_objects_are_read_by_their_text_ids_and_long_texts() {
    let stand = Stand::new("");
    let parent = stand.x.say("acme", "hello", None);
    let long = format!("@acme {}", "lungo ".repeat(60).trim());
    let id = stand.x.say("anna", &long, Some(&parent));
    let body = stand.x.account_activity("acme", &[&id, &parent]);
    assert!(body.contains("\"truncated\":true") && body.contains("May 02 10:00:00 +0000 2026"));
    let changes = receive(body);
    let [one, own] = &said(&changes)[..] else { panic!("{changes:?}") };
    assert_eq!((one.native.id.as_str(), one.text.as_str(), one.occurred), (id.as_str(), long.as_str(), NOW_MS));
    assert_eq!((one.kind.as_str(), one.parent.as_ref(), &own.ours), ("reply", Some(&post_id(&parent)), &Ours::Yes(None)));
}

#[test]
fn whoever_reposts_says_nothing_and_asks_nothing_of_us() {
    let stand = Stand::new(r#""answer_anyone":true"#);
    let (whole, short) = ("@acme la bolletta è sbagliata, e nessuno mi risponde", "RT @anna: @acme la bolletta è…");
    let acme = json!({ "username": "acme", "screen_name": "acme", "id": stand.x.account("acme"), "id_str": stand.x.account("acme") });
    let v2 = |list: &str, kind: &str, included: serde_json::Value| {
        let post =
            json!({ "id": "1900", "text": short, "author_id": "77", list: [{ "type": kind, "id": "1800" }], "entities": { "mentions": [acme] } });
        json!({ "data": post, "includes": included })
    };
    let old = json!({ "id_str": "1800", "full_text": whole, "user": { "id_str": "78" }, "quoted_status_id_str": "1700" });
    let activity = json!({ "id_str": "1900", "text": short, "user": { "id_str": "77" }, "entities": { "user_mentions": [acme] },
        "retweeted_status": old, "quoted_status_id_str": "1700", "quoted_status": { "id_str": "1700", "text": "offers" } });
    let known = |name: &str| json!({ name: [{ "id": "1800", "text": whole }] });
    for (body, quoted) in [
        (v2("referenced_tweets", "retweeted", known("tweets")), whole),
        (v2("referenced_posts", "reposted", known("posts")), whole),
        (v2("referenced_tweets", "retweeted", json!({})), short),
        (json!({ "for_user_id": "42", "tweet_create_events": [activity] }), whole),
    ] {
        let changes = receive(body.to_string());
        let [one] = &said(&changes)[..] else { panic!("{body}: {changes:?}") };
        assert_eq!((one.kind.as_str(), one.text.as_str(), one.quoted.as_deref()), ("share", "", Some(quoted)), "{body}");
        assert!(one.reply_context.as_ref().unwrap().contains(r#""summoned":false"#), "{body}");
        assert!(one.attrs.iter().all(|(key, _)| key != "summoned") && one.attrs.contains(&("x.reposts".to_owned(), "1800".to_owned())));
    }
}

#[test]
fn a_deletion_by_either_webhook_takes_the_post_back_also_where_it_comes_before_it() {
    for n in 0..2 {
        let stand = Stand::new("");
        let id = stand.x.say("anna", "@acme oops", None);
        let late = stand.x.account_activity("acme", &[&id]);
        let body = if n == 0 { stand.x.account_activity_deletion(&id, "anna") } else { stand.x.activity_deletion(&id, "anna") };
        assert_eq!(receive(body), [Change::Gone(post_id(&id))]);
        assert_eq!(receive(late), []);
    }
}

#[test]
fn direct_messages_come_in_both_wrappings() {
    let stand = Stand::new("");
    let id = stand.x.write_to_us("anna", "hello &amp; goodbye");
    let ours = stand.x.write_by_hand("anna", "hi");
    for body in [stand.x.account_activity_direct(&id), stand.x.activity_direct(&id)] {
        let changes = receive(body);
        let [one] = &said(&changes)[..] else { panic!("{changes:?}") };
        assert_eq!(
            (&one.native, one.kind.as_str(), one.visibility.as_str(), one.text.as_str()),
            (&NativeId { scope: "dm".to_owned(), id: id.clone() }, "direct", "direct", "hello & goodbye")
        );
        assert_eq!((one.occurred, one.author.as_ref().unwrap().handle.as_deref()), (NOW_MS, Some("@anna")));
        assert!(one.conversation.as_ref().unwrap().id.contains(&stand.x.account("anna")));
    }
    let changes = receive(stand.x.activity_direct(&ours));
    let [one] = &said(&changes)[..] else { panic!("{changes:?}") };
    assert_eq!((&one.ours, one.reply_context.as_ref().unwrap().contains(&stand.x.account("anna"))), (&Ours::Yes(None), true));
}

#[test]
fn what_is_not_understood_is_kept_and_never_an_error() {
    let stand = Stand::new("");
    let event = |kind: &str, payload: serde_json::Value| {
        json!({ "data": { "event_uuid": "-27", "event_type": kind, "payload": payload, "filter": {} } }).to_string()
    };
    for (body, kind) in [
        (stand.x.account_activity_revocation(), "x.revoked"),
        (event("oauth.revoke", json!({})), "x.revoked"),
        (event("like.create", json!({ "id": "1" })), "x.like.create"),
        (event("telepathy.create", json!({ "thought": "a".repeat(9000) })), "unknown-kind"),
        (json!({ "for_user_id": "1", "block_events": [{}] }).to_string(), "unknown-kind"),
        (json!({ "for_user_id": "1", "favorite_events": [{ "id": "a" }] }).to_string(), "x.like"),
        (json!({ "for_user_id": "1", "follow_events": [{ "type": "unfollow" }] }).to_string(), "x.unfollow"),
        (json!({ "errors": [{ "title": "operational-disconnect", "disconnect_type": "UpstreamOperationalDisconnect" }] }).to_string(), "x.stream"),
    ] {
        let changes = receive(body.clone());
        assert!(matches!(notes(&changes, kind)[..], [note] if note.len() <= 4096), "{body}: {changes:?}");
    }
    let chat = receive(event("chat.received", json!({ "encoded_event": "CwACAAAA" })));
    assert!(matches!(&chat[..], [Change::Unreadable((native, _, head))] if native.id == "-27" && String::from_utf8_lossy(head).contains("CwACAAAA")));
    let odd = receive(json!({ "for_user_id": "1", "tweet_create_events": [{ "id": 1.9e18 }, null] }).to_string());
    assert!(matches!(odd[..], [Change::Unreadable(_), Change::Unreadable(_)]));
    assert_eq!((receive("\r\n"), receive("{}")), (Vec::new(), Vec::new()));
    for rubbish in ["<html>", "[]", "\u{0}"] {
        assert!(matches!(X::receive(told(rubbish)), Err(Fault::Permanent(detail)) if detail.code == "x.malformed"));
    }
    assert!(matches!(X::receive(Raw { origin: Origin::Item(post_id("1")), body: b"{}".to_vec(), received: NOW_MS }), Err(Fault::Permanent(_))));
}

#[test]
fn a_frame_of_the_stream_is_a_post_with_what_it_refers_to() {
    let stand = Stand::new("");
    let frame = json!({
        "data": { "id": "1890000000000000002", "text": "@acme again", "author_id": "77", "created_at": "2026-05-02T10:00:01.000Z", "lang": "qme",
            "conversation_id": "1890000000000000001", "referenced_tweets": [{ "type": "quoted", "id": "5" }], "edit_history_tweet_ids": ["1890000000000000002"],
            "attachments": { "media_keys": ["3_1", "7_2"] } },
        "includes": { "users": [{ "id": "77", "name": "Ann", "username": "ann", "protected": true }], "tweets": [{ "id": "5", "text": "the offer", "author_id": stand.x.account("acme") }],
            "media": [{ "media_key": "7_2", "type": "video", "variants": [{ "content_type": "application/x-mpegURL", "url": "https://v/1.m3u8" },
                { "content_type": "video/mp4", "bit_rate": 832_000, "url": "https://v/1.mp4" }, { "content_type": "video/mp4", "bit_rate": 2_176_000, "url": "https://v/2.mp4" }] }] },
        "matching_rules": [{ "id": "1", "tag": "membrana" }],
    });
    let changes = receive(frame.to_string());
    let [one] = &said(&changes)[..] else { panic!("{changes:?}") };
    assert_eq!(
        (one.occurred, one.kind.as_str(), one.quoted.as_deref(), one.visibility.as_str()),
        (NOW_MS + 1000, "mention", Some("the offer"), "followers")
    );
    assert_eq!((one.language.as_deref(), one.url.as_deref()), (None, Some("https://x.com/ann/status/1890000000000000002")));
    let files: Vec<(&str, Option<&str>)> = one.attachments.iter().map(|file| (file.media_type.as_str(), file.url.as_deref())).collect();
    assert_eq!(files, [("application/octet-stream", None), ("video/mp4", Some("https://v/2.mp4"))]);
}

#[test]
fn a_boundless_post_is_cut_to_the_contract() {
    let _stand = Stand::new("");
    let long = |n: usize| "è".repeat(n);
    let frame = json!({
        "data": { "id": "1", "text": long(1 << 20), "author_id": "7", "lang": long(99), "edit_history_tweet_ids": (0..500).map(|n| n.to_string()).collect::<Vec<_>>(),
            "attachments": { "media_keys": (0..500).map(|n| n.to_string()).collect::<Vec<_>>() } },
        "includes": { "users": [{ "id": "7", "name": long(9000), "username": long(9000), "public_metrics": { "followers_count": -1 } }] },
    });
    let changes = receive(frame.to_string());
    let one = said(&changes)[0];
    assert!(one.text.len() <= 256 << 10 && one.aka.len() <= 64 && one.attachments.len() <= 64);
    let author = one.author.as_ref().unwrap();
    assert!(author.name.as_ref().unwrap().len() <= 1024 && author.handle.is_none() && author.metrics.is_empty() && one.language.is_none());
    // A history that leaves out the post itself still names it.
    assert!(one.aka.iter().chain([&one.native]).any(|native| native.id == "1"));
}
