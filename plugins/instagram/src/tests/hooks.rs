//! Webhooks, nested and flat.

use membrana_sdk::connector::{Change, Ours};
use membrana_sdk::{Connector as _, Fault};
use membrana_world::{ACCOUNT, Next, Shape, Side, US};
use serde_json::json;

use super::{World, answer_to, code, named, receive, said, texts};
use crate::Instagram;

#[test]
fn nested_and_flat_say_the_same_and_a_poll_too() {
    for shape in [Shape::Nested, Shape::Flat] {
        let world = World::start("");
        let medium = world.meta.medium("foto");
        let first = world.poll(None);
        world.advance(1_000);
        let top = world.meta.comment("anna", &medium, "uno");
        world.meta.comment("bea", &top, "due");
        world.meta.comment(US, &medium, "noi");
        world.meta.message(Side::Instagram, "ivo", "tre");
        let heard = world.hear(shape);
        assert_eq!(texts(&heard), ["due", "noi", "tre", "uno"], "{shape:?}");
        assert_eq!((&named(&heard, "noi").ours, &named(&heard, "uno").ours), (&Ours::Yes(None), &Ours::No));
        let polled = world.poll(Some(&first.cursor)).changes;
        for about in said(&heard) {
            let same = named(&polled, &about.text);
            assert_eq!(
                (&same.native, &same.parent, &same.conversation, &same.ours),
                (&about.native, &about.parent, &about.conversation, &about.ours)
            );
            assert_eq!(same.author.as_ref().map(|author| &author.native), about.author.as_ref().map(|author| &author.native));
        }
    }
}

#[test]
fn what_a_mention_says_is_read_and_answered_where_it_stands() {
    let world = World::start("");
    let medium = world.meta.tag("anna", "guardate @acme");
    let comment = world.meta.comment("bea", &medium, "@acme che dite?");
    let heard = world.hear(Shape::Nested);
    assert_eq!(texts(&heard), ["@acme che dite?", "guardate @acme"]);
    assert!(said(&heard).iter().all(|about| about.kind == "mention"));
    let asked = named(&heard, "@acme che dite?");
    assert_eq!((asked.native.id.as_str(), asked.conversation.as_ref().unwrap().id.as_str()), (comment.as_str(), medium.as_str()));
    let reply = answer_to(asked, "reply", "Grazie!", true);
    Instagram::send("k", &reply).unwrap();
    assert_eq!(world.meta.answers(&comment), ["Grazie!"]);
    let sent = world.meta.ledger().asked(&format!("POST /v23.0/{ACCOUNT}/mentions")).remove(0);
    assert!(sent.body.contains(&medium) && sent.body.contains(&comment));
    assert!(matches!(Instagram::probe("k", &reply), Err(Fault::Unsupported(_))), "it cannot be read there");
    Instagram::send("k2", &answer_to(named(&heard, "guardate @acme"), "reply", "Bello!", true)).unwrap();
    assert_eq!(world.meta.answers(&medium), ["Bello!"]);
}

#[test]
fn a_mention_waits_for_the_network_and_one_that_is_gone_holds_nobody() {
    let world = World::start("");
    let medium = world.meta.tag("anna", "guardate @acme");
    let body = world.meta.deliveries(Shape::Flat).remove(0);
    world.meta.next("GET ", Next::status(503));
    assert!(matches!(receive(&body), Err(Fault::Transient(_))), "the channel waits, the raw item stays");
    assert_eq!(texts(&receive(&body).unwrap()), ["guardate @acme"]);
    world.meta.delete(&medium);
    assert!(matches!(receive(&body).unwrap().as_slice(), [Change::Note((kind, _))] if kind == "meta.mention-lost"));
}

#[test]
fn a_mention_that_we_may_not_read_holds_nobody_unless_none_can_be_read() {
    let world = World::start("");
    world.meta.tag("anna", "guardate @acme");
    let body = world.meta.deliveries(Shape::Flat).remove(0);
    world.refuse(&["mentioned_media".to_owned()]);
    assert!(matches!(receive(&body).unwrap().as_slice(), [Change::Note((kind, _))] if kind == "meta.mention-lost"));
    world.refuse(&["mentioned_media".to_owned(), "/tags".to_owned()]);
    assert!(matches!(receive(&body), Err(Fault::Auth(_))));
}

#[test]
fn own_messages_come_back_as_ours() {
    let world = World::start("");
    world.meta.message(Side::Instagram, "ivo", "salve");
    let heard = world.hear(Shape::Nested);
    let receipt = Instagram::send("k", &answer_to(said(&heard)[0], "reply", "Buongiorno", true)).unwrap();
    let echo = world.hear(Shape::Nested);
    assert_eq!((&named(&echo, "Buongiorno").native, &named(&echo, "Buongiorno").ours), (&receipt.native, &Ours::Yes(None)));
    let sent = world.meta.ledger().asked("POST ").remove(0);
    assert!(!sent.body.contains("metadata"), "only Messenger takes it");
    let mid = said(&heard)[0].native.id.clone();
    world.meta.delete(&mid);
    assert!(matches!(world.hear(Shape::Nested).as_slice(), [Change::Gone(id)] if id.id == mid && id.scope == ACCOUNT));
}

#[test]
fn what_is_not_known_is_no_error() {
    let world = World::start("");
    let entry = |rest: serde_json::Value| json!({ "object": "instagram", "entry": [rest] }).to_string();
    for body in [
        entry(json!({ "id": ACCOUNT, "field": "story_insights", "value": { "media_id": "1", "exits": 1 } })),
        entry(json!({ "id": ACCOUNT, "changes": [{ "field": "comments" }] })),
        entry(json!({ "id": ACCOUNT })),
        entry(json!({ "id": "1", "field": "comments", "value": { "id": "5", "text": "altrui" } })),
    ] {
        assert!(matches!(receive(&body).unwrap().as_slice(), [Change::Note(_)]), "{body}");
    }
    let mixed = json!({ "object": "instagram", "entry": [{ "id": ACCOUNT, "time": 1_795_514_400, "changes": [
        { "field": "comments", "value": { "text": "senza id" } }, { "field": "mentions", "value": {} }, { "field": "mentions", "value": { "media_id": "1){x" } },
        { "field": "comments", "value": { "id": "5", "text": "e il resto arriva", "from": { "id": "9", "username": "ann" }, "media": { "id": "1" } } } ] }] });
    let changes = receive(&mixed.to_string()).unwrap();
    let [Change::Unreadable(_), Change::Unreadable(_), Change::Unreadable(_), Change::Upsert(about)] = changes.as_slice() else {
        panic!("{changes:?}")
    };
    assert_eq!((about.text.as_str(), about.occurred), ("e il resto arriva", 1_795_514_400_000));
    assert!(world.meta.ledger().calls().iter().all(|line| !line.contains("){x")), "an id is no way into a query");
    assert_eq!(code(&receive("no json").unwrap_err()), "meta.no-json");
}

#[test]
fn who_is_known_by_name_alone_is_somebody_and_we_are_we() {
    let world = World::start("");
    world.meta.person("anna");
    let body = json!({ "object": "instagram", "entry": [{ "id": ACCOUNT, "time": 1_795_514_400, "changes": [
        { "field": "comments", "value": { "id": "5", "text": "a", "username": "anna", "media": { "id": "1" } } },
        { "field": "comments", "value": { "id": "6", "text": "b", "username": US, "media": { "id": "1" } } },
        { "field": "comments", "value": { "id": "7", "text": "c", "media": { "id": "1" } } } ] }] });
    let changes = receive(&body.to_string()).unwrap();
    let author = named(&changes, "a").author.as_ref().unwrap();
    assert_eq!((author.native.scope.as_str(), author.handle.as_deref()), (format!("{ACCOUNT}#username").as_str(), Some("@anna")));
    assert_eq!((&named(&changes, "b").ours, &named(&changes, "c").author), (&Ours::Yes(None), &None));
}
