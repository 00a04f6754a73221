//! Webhooks, as the pretend network delivers them and as others were met.

use membrana_sdk::connector::{Change, Ours};
use membrana_sdk::{Connector as _, testing};
use membrana_world::{Side, US};
use serde_json::{Value, json};

use super::{World, answer_to, receive, said, scripted, texts};
use crate::Facebook;

fn quiet() {
    scripted(|request| panic!("nothing is asked: {}", request.url));
}

fn feed(values: &[Value]) -> String {
    let changes: Vec<Value> = values.iter().map(|value| json!({ "field": "feed", "value": value })).collect();
    json!({ "object": "page", "entry": [{ "id": "7", "time": 1_795_514_400, "changes": changes }] }).to_string()
}

fn comment(verb: &str, message: &str) -> Value {
    json!({ "item": "comment", "verb": verb, "post_id": "7_10", "comment_id": "10_55", "parent_id": "7_10", "created_time": 1_795_514_000,
        "from": { "id": "10150", "name": "Ann" }, "message": message })
}

#[test]
fn not_only_the_first_change_of_the_first_entry_is_heard_and_a_poll_names_the_same() {
    let world = World::start("");
    let first = world.poll(None);
    world.advance(1_000);
    let post = world.meta.post("bea", "bravi");
    let comments: Vec<String> = (0..4).map(|n| world.meta.comment("anna", &post, &format!("e {n}"))).collect();
    world.meta.comment("ivo", &comments[0], "risposta");
    for n in 0..2 {
        world.meta.message(Side::Messenger, "anna", &format!("messaggio {n}"));
    }
    let heard = world.hear();
    assert_eq!(texts(&heard), ["bravi", "e 0", "e 1", "e 2", "e 3", "risposta", "messaggio 0", "messaggio 1"]);
    let polled = world.poll(Some(&first.cursor)).changes;
    for about in said(&heard) {
        let same = said(&polled).into_iter().find(|other| other.native == about.native).unwrap();
        assert_eq!((&same.text, &same.parent, &same.conversation, &same.kind), (&about.text, &about.parent, &about.conversation, &about.kind));
        assert_eq!(
            (same.author.as_ref().map(|a| &a.native), same.occurred / 1000),
            (about.author.as_ref().map(|a| &a.native), about.occurred / 1000)
        );
    }
    assert_eq!(said(&heard)[5].refs.len(), 1, "an answer to a comment knows the post above");
    assert_eq!(said(&heard)[1].parent.as_ref().unwrap().id, post, "`parent_id` = `post_id` is no answer");
}

#[test]
fn files_that_a_webhook_names_are_taken_in_once_each() {
    quiet();
    let heard = |item: &str, files: &Value| {
        let mut value = json!({ "item": item, "verb": "add", "post_id": "7_10", "comment_id": "10_55", "created_time": 1_795_514_000 });
        value.as_object_mut().unwrap().extend(files.as_object().unwrap().clone());
        let changes = receive(&feed(&[value])).unwrap();
        let files = said(&changes)[0].attachments.iter().map(|file| format!("{} {}", file.media_type, file.url.as_deref().unwrap_or("-")));
        files.collect::<Vec<_>>()
    };
    let (one, two) = ("https://scontent.test/1.jpg", "https://scontent.test/2.mp4");
    assert_eq!(heard("comment", &json!({ "photo": one })), [format!("image/* {one}")]);
    assert_eq!(heard("comment", &json!({ "video": two, "link": "https://news.test/" })), [format!("video/* {two}")]);
    assert_eq!(heard("photo", &json!({ "link": one, "photos": [one, 7, "", "ftp://x"] })), [format!("image/* {one}")]);
    assert_eq!(heard("video", &json!({ "link": two })), [format!("video/* {two}")]);
    assert_eq!(heard("status", &json!({ "photos": [one, two] })), [format!("image/* {one}"), format!("image/* {two}")]);
    let told = json!({ "photo": one, "attachment": { "type": "photo", "url": one } });
    assert_eq!(heard("comment", &told), [format!("image/* {one}")]);
    assert_eq!(heard("share", &json!({ "link": "https://news.test/" })).len(), 0, "what is shared is no file");
}

#[test]
fn verbs_become_revision_gone_and_note() {
    quiet();
    let heard = |verb: &str| receive(&feed(&[comment(verb, "testo")])).unwrap().remove(0);
    assert!(matches!(heard("add"), Change::Upsert(about) if about.edited.is_none() && about.occurred == 1_795_514_000_000));
    for verb in ["edited", "edit"] {
        assert!(matches!(heard(verb), Change::Upsert(about) if about.edited == Some(1_795_514_400_000)), "{verb}");
    }
    assert!(matches!(heard("hide"), Change::Note((kind, body)) if kind == "meta.hidden" && body.contains("10_55")));
    assert!(matches!(heard("unhide"), Change::Note((kind, _)) if kind == "meta.unhidden"));
    assert!(matches!(heard("remove"), Change::Gone(id) if id.id == "10_55" && id.scope.is_empty()));
}

#[test]
fn deliveries_out_of_order_undo_nothing() {
    quiet();
    assert_eq!(texts(&receive(&feed(&[comment("edited", "dopo")])).unwrap()), ["dopo"]);
    assert!(receive(&feed(&[comment("add", "prima")])).unwrap().is_empty(), "the older word comes too late");
    assert_eq!(receive(&feed(&[comment("remove", "")])).unwrap().len(), 1);
    assert!(receive(&feed(&[comment("add", "prima")])).unwrap().is_empty(), "what is gone does not come back");
    assert_eq!(receive(&feed(&[comment("remove", "")])).unwrap().len(), 1, "a repeat is the host's to drop");
}

#[test]
fn a_strict_schema_never_disables_the_subscription() {
    quiet();
    let odd = [
        json!({}),
        json!([]),
        json!("ping"),
        json!({ "object": "page" }),
        json!({ "object": "page", "entry": [{}] }),
        json!({ "object": "page", "entry": [{ "id": "7", "time": "soon", "changes": "none" }] }),
        json!({ "object": "page", "entry": [{ "id": "7", "changes": [{ "field": "page_about_story" }, { "field": "leadgen", "value": null }] }] }),
        json!({ "object": "page", "entry": [{ "id": "7", "messaging": [{ "sender": null, "new_thing": {} }, 7] }] }),
        json!({ "object": "page", "entry": [{ "id": 7, "changes": [{ "field": "feed", "value": { "item": "hologram", "verb": "add" } }] }] }),
        json!({ "object": "page", "entry": [{ "id": "8", "changes": [{ "field": "feed", "value": comment("add", "x") }] }] }),
        json!({ "object": "page", "entry": [{ "id": "7", "changes": [{ "field": "feed", "value": comment("admire", "x") }] }] }),
    ];
    for body in odd {
        let changes = receive(&body.to_string()).unwrap();
        assert!(
            changes.iter().all(|change| matches!(change, Change::Note((kind, _)) if kind == "unknown-kind" || kind == "meta.elsewhere")),
            "{body}: {changes:?}"
        );
    }
    let mixed = feed(&[json!({ "item": "hologram" }), json!({ "item": "comment", "verb": "add" }), comment("add", "e il resto arriva")]);
    let changes = receive(&mixed).unwrap();
    let [Change::Note(_), Change::Unreadable((_, reason, _)), Change::Upsert(about)] = changes.as_slice() else { panic!("{changes:?}") };
    assert!(reason.contains("without an id") && about.text == "e il resto arriva");
    assert!(receive("<html>").is_err(), "no JSON is a dead letter");
}

#[test]
fn an_unknown_thing_is_told_by_its_names_never_by_its_content() {
    quiet();
    let changes = receive(&feed(&[json!({ "item": "hologram", "verb": "beam", "message": "il mio segreto", "from": { "name": "Ann" } })])).unwrap();
    let [Change::Note((kind, body))] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(kind, "unknown-kind");
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), json!({ "kind": "page/feed/hologram/beam" }));
}

#[test]
fn a_missing_from_is_somebody_and_not_us() {
    let world = World::start("");
    let post = world.meta.post(US, "avviso");
    let first = world.poll(None);
    world.advance(1_000);
    assert_eq!(world.hear().len(), 1);
    world.meta.comment("", &post, "chi sono?");
    for changes in [world.hear(), world.poll(Some(&first.cursor)).changes] {
        let about = said(&changes)[0];
        assert_eq!((about.text.as_str(), &about.author, &about.ours), ("chi sono?", &None, &Ours::No));
    }
}

#[test]
fn own_replies_come_back_as_ours_by_their_key_even_before_the_answer() {
    let world = World::start("");
    let first = world.poll(None);
    world.advance(1_000);
    world.meta.message(Side::Messenger, "anna", "ciao");
    let asked = world.hear();
    assert!(first.changes.is_empty());
    // Another stand-in plays the host that the echo is delivered to, while the call is still open.
    let host = world.runtime.block_on(membrana_world::Meta::start("x", "y")).unwrap();
    world.meta.echoes_first(host.address(), "/hooks/page");
    let receipt = Facebook::send("action-7", &answer_to(said(&asked)[0], "reply", "Ciao Anna", true)).unwrap();
    let delivered = host.ledger().asked("POST /hooks/page");
    assert_eq!(delivered.len(), 1);
    assert_eq!(delivered[0].header("x-hub-signature-256"), Some(world.meta.signature(&delivered[0].body).as_str()));
    let echo = receive(&delivered[0].body).unwrap();
    let echo = said(&echo)[0];
    assert_eq!((&echo.native, &echo.ours), (&receipt.native, &Ours::Yes(Some("action-7".to_owned()))));
    assert_eq!(echo.conversation, said(&asked)[0].conversation, "both sides are in one conversation");
    assert!(echo.reply_context.is_none());
}

#[test]
fn messages_of_every_kind_are_heard() {
    quiet();
    let messaging = |rest: Value| {
        let mut event = json!({ "sender": { "id": "10150" }, "recipient": { "id": "7" }, "timestamp": 1_795_514_400_123_u64 });
        event.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        receive(&json!({ "object": "page", "entry": [{ "id": "7", "time": 1_795_514_400_500_u64, "messaging": [event] }] }).to_string())
            .unwrap()
            .remove(0)
    };
    let image = json!({ "type": "image", "payload": { "url": "https://cdn.test/1.jpg" } });
    let Change::Upsert(about) =
        messaging(json!({ "message": { "mid": "m_1", "text": "guarda", "attachments": [image], "reply_to": { "mid": "m_0" } } }))
    else {
        panic!("a message")
    };
    assert_eq!((about.native.scope.as_str(), about.native.id.as_str(), about.occurred), ("7", "m_1", 1_795_514_400_123));
    assert_eq!((about.parent.unwrap().id.as_str(), about.attachments[0].url.as_deref()), ("m_0", Some("https://cdn.test/1.jpg")));
    assert!(
        matches!(messaging(json!({ "message_edit": { "mid": "m_1", "text": "riguarda", "num_edit": 1 } })), Change::Upsert(about) if about.edited.is_some())
    );
    assert!(
        matches!(messaging(json!({ "postback": { "title": "Comincia", "payload": "START" } })), Change::Upsert(about) if about.text == "Comincia")
    );
    for (kind, body) in
        [("read", json!({ "watermark": 1 })), ("delivery", json!({ "mids": ["m_1"] })), ("reaction", json!({ "mid": "m_1", "emoji": "❤" }))]
    {
        assert!(matches!(messaging(json!({ kind: body })), Change::Note((told, _)) if told == format!("meta.{kind}")), "{kind}");
    }
    assert!(matches!(messaging(json!({ "message": { "mid": "m_1", "is_deleted": true } })), Change::Gone(id) if id.scope == "7" && id.id == "m_1"));
}

#[test]
fn mentions_and_recommendations_are_heard() {
    quiet();
    let change = |field: &str, value: Value| {
        let body = json!({ "object": "page", "entry": [{ "id": "7", "time": 1_795_514_400, "field": field, "value": value }] });
        receive(&body.to_string()).unwrap().remove(0)
    };
    let mention = change(
        "mention",
        json!({ "item": "post", "verb": "add", "post_id": "9_1", "sender_id": 10_150_000_000_000_001_u64, "sender_name": "Ann", "message": "@Acme" }),
    );
    assert!(matches!(mention, Change::Upsert(about) if about.kind == "mention" && about.author.as_ref().unwrap().native.id == "10150000000000001"));
    let rating = change(
        "ratings",
        json!({ "item": "rating", "verb": "add", "open_graph_story_id": "55", "reviewer_id": "1", "review_text": "lenti", "recommendation_type": "NEGATIVE" }),
    );
    assert!(matches!(rating, Change::Upsert(about) if about.kind == "review" && about.attrs[0].1 == "negative"));
}

#[test]
fn ids_keep_every_digit() {
    quiet();
    let value = json!({ "item": "comment", "verb": "add", "post_id": 18_446_744_073_709_551_615_u64, "comment_id": "9007199254740993_9223372036854775809", "message": "x" });
    let changes = receive(&feed(&[value])).unwrap();
    let about = said(&changes)[0];
    assert_eq!(
        (about.native.id.as_str(), about.parent.as_ref().unwrap().id.as_str()),
        ("9007199254740993_9223372036854775809", "18446744073709551615")
    );
}

#[test]
fn what_was_said_lately_stays_small() {
    quiet();
    let many: Vec<Value> = (0..900)
        .map(|n| json!({ "item": "comment", "verb": "edited", "post_id": "7_1", "comment_id": format!("{}_{n}", "9".repeat(400)), "message": "x" }))
        .collect();
    assert_eq!(receive(&feed(&many)).unwrap().len(), 900);
    let n_bytes = testing::with_host(|host| host.state["latest"].len());
    assert!(n_bytes > 10_000 && n_bytes <= 48 << 10, "{n_bytes}");
}
