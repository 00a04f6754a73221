//! What is decided again, and when: by whom an exchange moved, what is settled, and times that a clock or a queue shifted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::world::{World, echoes, fault, nothing, receipt, said, sends, wants};
use crate::model::{ActionState, EntryBody, Fact, Fault, Interaction, Ours, RECEIVED_ATTR, ReplyTerms, Task, TaskState, Timestamp};
use crate::outbox::SendClass;

#[tokio::test]
async fn who_spoke_last_is_asked_of_the_exchange_and_not_of_all_who_talk_there() {
    // Where all stand below the first post, nobody can tell whom an answer is for.
    for (answered, spoke_last) in [("hers", "own"), ("his", "author"), ("topic", "own")] {
        // given a draft for Anna in a thread in which Bob talks, too
        let world = World::new(SendClass::None);
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        world.decide(move |event| {
            if event.kind == "exchange.moved" {
                heard.lock().unwrap().push(event.body.clone());
            }
            let is_first = event.interaction.as_ref().is_some_and(|about| about.text == "one");
            Ok(if is_first { wants(&[("reply", json!({ "mode": "draft", "text": "Ciao" }))]) } else { nothing() })
        });
        world.append_by("carla", "topic", "topic", EntryBody::Arrived(Box::new(said("topic", None, "a topic")))).await;
        world.says("one", Some("topic"), "one").await;
        world.settle().await;
        world.says("hers", Some("topic"), "two").await;
        world.append_by("bob", "his", "topic", EntryBody::Arrived(Box::new(said("his", Some("topic"), "me too")))).await;

        // when somebody of ours answers one of them by hand, and Bob goes on
        let own = Interaction { ours: Ours::Yes(None), ..said("own", Some(answered), "We are on it") };
        world.append_by("acme", "own", "topic", EntryBody::Arrived(Box::new(own))).await;
        world.append_by("bob", "more", "topic", EntryBody::Arrived(Box::new(said("more", Some("own"), "thanks")))).await;
        world.settle().await;
        world.approve("one", None).await;
        world.settle().await;

        // then
        let told = told.lock().unwrap();
        assert!(matches!(&told[..], [body] if body.contains(&format!("\"by\":\"{spoke_last}\""))), "{answered}: {told:?}");
    }
}

#[tokio::test]
async fn what_was_sent_long_ago_is_not_judged_anew() {
    // given a reply that went out in its window, and a task that its team closed
    let terms = ReplyTerms { window_s: Some(86_400), ..ReplyTerms::default() };
    let world = World::with_terms(SendClass::None, terms);
    world.decide(|_| Ok(wants(&[("assign", json!({ "team": "support" })), ("reply", json!({ "mode": "send", "text": "Ciao" }))])));
    world.says("1", None, "one").await;
    world.settle().await;
    assert_eq!(world.action("1").await.state, ActionState::Sent);
    let mut commit = world.journal.begin(&world.channel);
    let open = world.task("1").await;
    commit.tasks.push(Task { state: TaskState::Done, revision: open.revision + 1, ..open });
    world.journal.commit(commit).await.unwrap();

    // when the rules are asked again, long after the window
    world.wait(2 * 86_400).await;
    world.append("1", None, EntryBody::Edited(Box::new(said("1", None, "one!")))).await;
    world.settle().await;

    // then
    let task = world.task("1").await;
    assert_eq!((task.state, task.assignment.note), (TaskState::Done, None));
}

#[tokio::test]
async fn a_deadline_counts_from_the_receipt_also_where_it_was_understood_later() {
    let world = World::new(SendClass::None);
    world.decide(|_| Ok(wants(&[("assign", json!({ "team": "support", "within_ms": 7_200_000 }))])));
    let now = world.journal.clock.now();
    let received = Timestamp(now.0 - 3_600_000);
    let attrs = vec![(RECEIVED_ATTR.to_owned(), received.0.to_string())];
    world.append("1", None, EntryBody::Arrived(Box::new(Interaction { attrs, ..said("1", None, "one") }))).await;
    world.settle().await;
    assert_eq!(world.task("1").await.due, Some(Timestamp(now.0 + 3_600_000)));
}

#[tokio::test]
async fn a_task_that_a_clock_opened_which_ran_ahead_comes_due_when_the_clock_is_right() {
    const YEARS: i64 = 10 * 365 * 86_400;
    let world = World::new(SendClass::None);
    world.decide(|event| {
        let body = json!({ "team": "support", "within_ms": 60_000, "escalate": [{ "after_ms": 30_000, "to": "lead" }] });
        Ok(if event.kind == "interaction.arrived" { wants(&[("assign", body)]) } else { nothing() })
    });
    world.settle().await;
    world.jump(YEARS).await;
    world.says("1", None, "one").await;
    world.settle().await;
    world.jump(-YEARS).await;
    let due = world.task("1").await.due;
    world.wait(500).await;
    assert_eq!(world.task("1").await.due, due, "the clock may be wrong now, and not before");
    for _ in 0..4 {
        world.wait(100).await;
    }
    let n_overdue = world.n_facts(|fact| matches!(fact, Fact::TaskOverdue { .. })).await;
    assert_eq!((n_overdue, world.n_facts(|fact| matches!(fact, Fact::TaskEscalated { .. })).await), (1, 1));
}

#[tokio::test]
async fn what_stands_behind_items_that_no_rule_can_take_is_asked_about_when_the_rule_is_asked_again() {
    // given a rule that fails on some items, and is left alone for it
    let world = World::new(SendClass::None);
    let is_rested = Arc::new(AtomicBool::new(false));
    let has_rested = Arc::clone(&is_rested);
    world.decide(move |event| {
        let text = event.interaction.as_ref().map(|about| about.text.clone()).unwrap_or_default();
        match text.as_str() {
            "bomb" => Err(Fault::Permanent(fault("cpu"))),
            "late" if !has_rested.load(Ordering::Relaxed) => Err(Fault::RateLimited(fault(Fault::BREAKER), 1000)),
            _ => echoes(event),
        }
    });
    for (name, text) in [("1", "fine"), ("2", "bomb"), ("3", "bomb"), ("4", "late"), ("5", "late")] {
        world.says(name, None, text).await;
    }

    // when
    world.settle().await;
    assert_eq!(world.texts(), ["re: fine"], "what was answered is decided");
    is_rested.store(true, Ordering::Relaxed);
    world.settle().await;

    // then
    assert_eq!(world.texts(), ["re: fine", "re: late", "re: late"]);
    assert_eq!(world.journal.store.dead_letters(&world.channel, None, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_another_reply_became_is_no_proof_that_this_one_went_out() {
    // given a reply that is out, and another one with the same words whose outcome nobody knows
    let world = World::new(SendClass::ReadBack);
    world.decide(|event| Ok(if event.kind == "action.settled" { nothing() } else { sends("Ciao") }));
    world.says("1", None, "one").await;
    world.settle().await;
    world.fails([Fault::Transient(fault("timeout"))]);
    world.says("2", None, "two").await;
    world.settle().await;
    assert_eq!(world.action("2").await.state, ActionState::Unknown);

    // when the network finds the first for it
    *world.network.finds.lock().unwrap() = Some(receipt(&world.action("1").await.id.to_string()));
    for _ in 0..5 {
        world.wait(60).await;
    }

    // then
    assert_eq!(world.action("2").await.state, ActionState::Human);
}

#[tokio::test]
async fn what_another_reply_became_is_no_proof_either_where_its_echo_came_before_its_receipt() {
    // given a reply that is out and was told by the network first, and one with the same words in its thread whose outcome nobody knows
    let world = World::new(SendClass::ReadBack);
    world.decide(|event| Ok(if event.kind == "action.settled" { nothing() } else { sends("Ciao") }));
    world.fails([Fault::Transient(fault("timeout"))]);
    world.says("1", None, "one").await;
    world.settle().await;
    let out = receipt(&world.action("1").await.id.to_string());
    let own = Interaction { native: out.native.clone(), ours: Ours::Yes(None), ..said("own", Some("1"), "Ciao") };
    world.append(&out.native.id, Some("1"), EntryBody::Arrived(Box::new(own))).await;
    world.wait(60).await;
    assert_eq!(world.action("1").await.native.as_ref(), Some(&out.native));
    world.fails([Fault::Transient(fault("timeout"))]);
    world.says("2", Some("1"), "two").await;
    world.settle().await;
    assert_eq!(world.action("2").await.state, ActionState::Unknown);

    // when the network finds the first for it
    *world.network.finds.lock().unwrap() = Some(out);
    for _ in 0..5 {
        world.wait(60).await;
    }

    // then
    assert_eq!(world.action("2").await.state, ActionState::Human);
}
