//! Replies, direct messages, hiding; and what happens when nobody knows whether they went out.

use membrana_sdk::connector::{Interaction, Sent};
use membrana_sdk::{Connector as _, Fault, testing};
use membrana_world::Next;

use super::stand::{Stand, answer, post_id, said, told};
use crate::X;

/// A post that mentions us, as it was read.
fn mention(stand: &Stand, author: &str, text: &str) -> Interaction {
    let cursor = stand.begun();
    stand.x.say(author, text, None);
    let (changes, _) = stand.all(&cursor, 100);
    said(&changes).into_iter().next_back().unwrap().clone()
}

#[test]
fn a_reply_stands_under_what_it_answers() {
    let stand = Stand::new("");
    let about = mention(&stand, "anna", "@acme is it open?");
    testing::with_host(|host| host.state_is_read_only = true);
    let receipt = X::send("k", &answer("reply", &about, "Yes, until 18:00 🙂")).unwrap();
    let [there] = &stand.x.answers(&about.native.id)[..] else { panic!() };
    assert_eq!((receipt.native, there.text.as_str(), there.author.as_str()), (post_id(&there.id), "Yes, until 18:00 🙂", "acme"));
    let asked = &stand.x.ledger().asked("POST /2/tweets")[0];
    let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(body, serde_json::json!({ "text": "Yes, until 18:00 🙂", "reply": { "in_reply_to_tweet_id": about.native.id } }));
}

#[test]
fn duplicate_side_effects_an_unknown_outcome_is_looked_for_before_a_retry() {
    let stand = Stand::new("");
    let about = mention(&stand, "anna", "@acme is it open?");
    let reply = answer("reply", &about, "Yes, see https://acme.example/opening-hours & ciao");
    for (next, sent) in [(Next::status(503), Sent::No), (Next::LoseAnswer, Sent::Yes)] {
        stand.x.next("POST /2/tweets", next);
        assert!(matches!(X::send("k", &reply), Err(Fault::Transient(detail)) if detail.code == "outcome-unknown"));
        let (found, receipt) = X::probe("k", &reply).unwrap();
        assert_eq!((found, receipt.is_some()), (sent, sent == Sent::Yes));
    }
    let [there] = &stand.x.answers(&about.native.id)[..] else { panic!("posted twice") };
    assert_eq!(X::probe("k", &reply).unwrap().1.unwrap().native, post_id(&there.id));
    // The same words elsewhere are not this reply.
    let other = Interaction { reply_context: Some(r#"{"post":"7","summoned":true}"#.to_owned()), ..about };
    assert_eq!(X::probe("k", &answer("reply", &other, "Yes, see https://acme.example/opening-hours & ciao")).unwrap().0, Sent::No);
}

#[test]
fn what_lies_behind_five_hundred_own_posts_stays_unknown() {
    let stand = Stand::new("");
    let about = mention(&stand, "anna", "@acme is it open?");
    let reply = answer("reply", &about, "Yes");
    assert_eq!(X::probe("k", &reply).unwrap(), (Sent::No, None));
    let say = |numbers: std::ops::Range<u32>| numbers.for_each(|n| drop(stand.x.say("acme", &format!("offer {n}"), None)));
    say(0..60);
    stand.x.next("GET /2/users/", Next::Twice);
    assert_eq!(X::probe("k", &reply).unwrap(), (Sent::No, None));
    say(60..450);
    assert_eq!(X::probe("k", &reply).unwrap(), (Sent::No, None));
    say(450..501);
    assert_eq!(X::probe("k", &reply).unwrap(), (Sent::Unknown, None));
    stand.x.next("GET /2/users/", Next::status(503));
    assert!(matches!(X::probe("k", &reply), Err(Fault::Transient(_))));
}

#[test]
fn a_duplicate_is_our_own_reply_or_never_goes_out() {
    let stand = Stand::new("");
    let about = mention(&stand, "anna", "@acme is it open?");
    let first = X::send("k", &answer("reply", &about, "Yes")).unwrap();
    // Whoever tried before had its answer lost.
    assert_eq!(X::send("k", &answer("reply", &about, "Yes")).unwrap().native, first.native);
    let other = mention(&stand, "bob", "@acme and on Sundays?");
    assert!(matches!(X::send("k2", &answer("reply", &other, "Yes")), Err(Fault::Permanent(detail)) if detail.code == "x.duplicate-post"));
    assert_eq!(stand.x.own().len(), 1);
}

#[test]
fn who_did_not_summon_us_gets_no_reply_and_the_reason_is_told() {
    let stand = Stand::new(r#""query":"acme""#);
    let about = mention(&stand, "anna", "acme without a sign in front");
    assert!(about.reply_context.as_ref().unwrap().contains(r#""summoned":false"#) && about.kind == "post");
    let reply = answer("reply", &about, "May we help?");
    assert!(matches!(X::send("k", &reply), Err(Fault::Permanent(detail)) if detail.code == "x.not-summoned"));
    assert!(stand.x.ledger().asked("POST /2/tweets").is_empty(), "no call is spent on it");
    testing::with_host(|host| host.config = stand.config(r#""answer_anyone":true"#));
    assert!(matches!(X::send("k", &reply), Err(Fault::Permanent(detail)) if detail.code == "x.not-summoned"));
    assert_eq!(stand.x.ledger().asked("POST /2/tweets").len(), 1);
}

#[test]
fn what_cannot_go_out_says_why() {
    let stand = Stand::new("");
    let about = mention(&stand, "anna", "@acme is it open?");
    let emoji = "👨‍👩‍👧‍👦".repeat(140);
    assert!(X::send("k", &answer("reply", &about, &emoji)).is_ok());
    assert!(
        matches!(X::send("k", &answer("reply", &about, &format!("{emoji}!"))), Err(Fault::Unsupported(detail)) if detail.message.contains("281"))
    );
    testing::with_host(|host| host.config = stand.config(r#""length_max":25000"#));
    stand.x.next("POST /2/tweets", Next::Answer { status: 403, headers: Vec::new(), body: r#"{"errors":[{"code":186,"message":"m"}]}"#.to_owned() });
    assert!(matches!(X::send("k", &answer("reply", &about, &format!("{emoji}!"))), Err(Fault::Permanent(detail)) if detail.code == "x.too-long"));
    stand.x.delete(&about.native.id);
    assert!(matches!(X::send("k", &answer("reply", &about, "Yes")), Err(Fault::Permanent(detail)) if detail.code == "x.gone"));
    assert!(matches!(X::send("k", &answer("post", &about, "Yes")), Err(Fault::Unsupported(_))));
    let protected = Interaction { visibility: "followers".to_owned(), ..about.clone() };
    assert!(matches!(X::send("k", &answer("reply", &protected, "Yes")), Err(Fault::Unsupported(detail)) if detail.message.contains("followers")));
    stand.x.next("POST /2/tweets", Next::status(401));
    assert!(matches!(X::send("k", &answer("reply", &about, "Yes")), Err(Fault::Auth(_))));
}

#[test]
fn a_direct_message_is_answered_in_private() {
    let stand = Stand::new("");
    let id = stand.x.write_to_us("anna", "my order 7 is late");
    let changes = X::receive(told(stand.x.activity_direct(&id))).unwrap();
    let about = said(&changes)[0];
    for kind in ["direct", "reply"] {
        let message = answer(kind, about, &format!("We look into it ({kind})"));
        stand.x.next("POST /2/dm_conversations", Next::LoseAnswer);
        assert!(matches!(X::send("k", &message), Err(Fault::Transient(detail)) if detail.code == "outcome-unknown"));
        let (sent, receipt) = X::probe("k", &message).unwrap();
        let there = stand.x.directs().last().unwrap().clone();
        assert_eq!((sent, receipt.unwrap().native.id, there.from.as_str(), there.to.as_str()), (Sent::Yes, there.id, "acme", "anna"));
    }
    assert!(stand.x.own().is_empty(), "nothing of it was said in public");
    let receipt = X::send("k", &answer("direct", about, "Found it")).unwrap();
    assert_eq!((receipt.native.scope.as_str(), X::probe("k", &answer("direct", about, "Never sent")).unwrap().0), ("dm", Sent::No));
}

#[test]
fn a_reply_under_our_own_post_can_be_hidden() {
    let stand = Stand::new("");
    let cursor = stand.begun();
    let ours = stand.x.say("acme", "Our offer", None);
    let spam = stand.x.say("eve", "@acme buy followers", Some(&ours));
    let (changes, _) = stand.all(&cursor, 100);
    let hide = answer("hide", said(&changes)[0], "");
    X::send("k", &hide).unwrap();
    assert!(stand.x.post(&spam).unwrap().is_hidden);
    assert_eq!(X::probe("k", &hide).unwrap().0, Sent::No, "to do it again is harmless");
    let elsewhere = mention(&stand, "eve", "@acme hello");
    assert!(matches!(X::send("k", &answer("hide", &elsewhere, "")), Err(Fault::Permanent(_))));
}
