//! Rules, outbox and timers together on a memory store and a simulated clock, with a rule and a network that do as told.

mod again;
mod by_hand;
mod order;
mod world;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::model::{
    Action, ActionState, Digest, EntryBody, Fact, Fault, Interaction, LengthUnit, ReplyTerms, SUMMONED_ATTR, Seq, Task, TaskState, Timestamp, Unfit,
};
use crate::outbox::SendClass;
use crate::store::ChannelStatus;

use world::{World, echoes, fault, nothing, said, sends, wants};

#[tokio::test]
async fn a_rule_that_fails_on_an_edit_keeps_its_task_and_its_reply() {
    let world = World::new(SendClass::None);
    world.decide(|_| Ok(wants(&[("assign", json!({ "team": "support" })), ("reply", json!({ "mode": "draft", "text": "Ciao" }))])));
    world.says("1", None, "vergogna").await;
    world.settle().await;

    world.decide(|_| Err(Fault::Permanent(fault("trap"))));
    world.append("1", None, EntryBody::Edited(Box::new(said("1", None, "vergogna!")))).await;
    world.settle().await;

    assert_eq!(world.task("1").await.state, TaskState::Open);
    assert_eq!(world.action("1").await.state, ActionState::AwaitingApproval);
    assert_eq!(world.journal.store.dead_letters(&world.channel, None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_fault_that_passes_holds_the_channel_for_a_while_only() {
    let world = World::new(SendClass::None);
    world.decide(|_| Err(Fault::Transient(fault("timeout"))));
    world.says("1", None, "vergogna").await;

    let mut n_held = 0;
    while !world.settle().await.is_empty() {
        n_held += 1;
        assert!(n_held < 20, "a rule that never answers must not hold a channel for ever");
    }

    assert!(n_held > 1);
    assert_eq!(world.journal.store.dead_letters(&world.channel, None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_decided_before_somebody_spoke_again_is_decided_again() {
    let world = World::new(SendClass::None);
    world.decide(|event| {
        let version = event.exchange.map_or(0, |exchange| exchange.version);
        Ok(if event.kind == "action.settled" { nothing() } else { sends(&format!("{} at {version}", event.kind)) })
    });
    world.fails([Fault::RateLimited(fault("slow"), 60_000)]);
    world.says("0", None, "hold the channel").await;
    world.settle().await;
    world.says("1", Some("0"), "one").await;
    world.settle().await;
    world.says("2", Some("0"), "two").await;
    world.settle().await;

    for _ in 0..30 {
        world.wait(40).await;
    }

    let texts = world.texts();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[1..].iter().all(|text| text.starts_with("exchange.moved")), "{texts:?}");
}

#[tokio::test]
async fn a_fourth_automatic_reply_in_an_hour_waits_for_a_person() {
    let world = World::new(SendClass::None);
    world.decide(echoes);
    for n in 0..5 {
        world.says(&n.to_string(), (n > 0).then_some("0"), &format!("m{n}")).await;
    }
    for _ in 0..20 {
        world.wait(40).await;
    }

    let states: Vec<ActionState> = world.actions().await.iter().map(|action| action.state).collect();
    assert_eq!(states.iter().filter(|state| **state == ActionState::Sent).count(), 3, "{states:?}");
    assert_eq!(states.iter().filter(|state| **state == ActionState::AwaitingApproval).count(), 2, "{states:?}");
    assert_eq!(world.texts().len(), 3);
}

#[tokio::test]
async fn what_is_to_be_reviewed_is_never_sent_unseen() {
    let world = World::new(SendClass::None);
    world.decide(|_| Ok(wants(&[("reply", json!({ "mode": "send", "review": ["support"], "text": "Ciao" }))])));
    world.says("1", None, "one").await;
    world.settle().await;

    assert_eq!(world.action("1").await.state, ActionState::AwaitingApproval);
    assert!(world.texts().is_empty());
}

#[tokio::test]
async fn what_the_network_would_refuse_waits_for_a_person_and_goes_out_once_it_fits() {
    let world = World::with_terms(SendClass::None, ReplyTerms { max_len: Some(5), ..ReplyTerms::default() });
    world.decide(|_| Ok(sends("sorry!")));
    world.says("1", None, "one").await;
    world.settle().await;
    let kept = world.action("1").await;
    assert_eq!((kept.state, kept.error.as_deref()), (ActionState::AwaitingApproval, Some("the text has 6 characters, and this network takes 5")));

    for (text, expected) in [("sorry…", ActionState::AwaitingApproval), ("sorry", ActionState::Sent)] {
        world.approve("1", Some(text)).await;
        world.settle().await;
        assert_eq!(world.action("1").await.state, expected, "{text}");
    }
    assert_eq!(world.texts(), ["sorry"]);
}

#[tokio::test]
async fn a_reply_that_comes_too_late_is_the_team_s_to_give_another_way() {
    let terms = || ReplyTerms { window_s: Some(60), ..ReplyTerms::default() };
    let says = async |world: &World| {
        let said = Interaction { occurred: Timestamp(1_000_000_000), ..said("1", None, "one") };
        world.append("1", None, EntryBody::Arrived(Box::new(said))).await;
        world.settle().await;
    };
    // given one that is decided too late, with a team
    let world = World::with_terms(SendClass::None, terms());
    world.decide(|_| Ok(wants(&[("reply", json!({ "mode": "send", "text": "Ciao" })), ("assign", json!({ "team": "support" }))])));
    world.journal.clock.advance(Duration::from_secs(600));
    says(&world).await;
    // then
    let note = world.task("1").await.assignment.note.unwrap();
    assert!(note.contains("within 1 min only") && note.contains("Ciao"), "{note}");
    assert!(world.actions().await.is_empty() && world.texts().is_empty());

    // given one whose time runs out while it waits for the network
    let world = World::with_terms(SendClass::None, ReplyTerms { window_s: Some(3_000_000), ..terms() });
    world.decide(|_| Ok(sends("Ciao")));
    world.fails(vec![Fault::Transient(fault("busy")); 3]);
    says(&world).await;
    assert_eq!(world.action("1").await.state, ActionState::Retry);
    world.wait(4_000_000).await;
    // then
    let late = world.action("1").await;
    assert_eq!((late.state, late.error.is_some()), (ActionState::Expired, true));
    assert!(world.texts().is_empty());
}

#[tokio::test]
async fn nothing_automatic_answers_a_machine() {
    let world = World::new(SendClass::None);
    world.decide(echoes);
    let auto = Interaction { automated: "auto-reply".to_owned(), ..said("1", None, "I am out of office") };
    world.append("1", None, EntryBody::Arrived(Box::new(auto))).await;
    world.settle().await;

    assert!(world.actions().await.is_empty() && world.texts().is_empty());
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_never_a_second_post() {
    for class in [SendClass::Key(Duration::from_secs(3600)), SendClass::ReadBack, SendClass::ClientId] {
        let world = World::new(class);
        world.decide(echoes);
        *world.network.takes_anyway.lock().unwrap() = true;
        world.fails([Fault::Transient(fault(Fault::OUTCOME_UNKNOWN))]);
        world.says("1", None, "one").await;
        world.settle().await;
        assert_eq!(world.action("1").await.state, ActionState::Unknown, "{class:?}");

        world.wait(60).await;
        assert_eq!(world.action("1").await.state, ActionState::Sent, "{class:?}");
        assert_eq!(world.texts(), ["re: one"], "{class:?}");
    }
    let world = World::new(SendClass::None);
    world.decide(echoes);
    world.fails([Fault::Transient(fault("timeout"))]);
    world.says("1", None, "one").await;
    world.settle().await;
    world.wait(60).await;
    assert_eq!(world.action("1").await.state, ActionState::Human, "a network that cannot tell leaves it to a person");
}

#[tokio::test]
async fn what_another_build_may_have_sent_is_looked_for_and_not_sent_by_this_one() {
    for class in [SendClass::ClientId, SendClass::Key(Duration::from_secs(3600))] {
        let world = World::new(class);
        world.decide(echoes);
        *world.network.takes_anyway.lock().unwrap() = true;
        world.fails([Fault::Transient(fault(Fault::OUTCOME_UNKNOWN)), Fault::Transient(fault("asked to send again"))]);
        world.says("1", None, "one").await;
        world.settle().await;
        let unknown = world.action("1").await;
        let mut commit = world.journal.begin(&world.channel);
        commit.actions.push(Action { digest: Some(Digest::of(b"the build before")), revision: unknown.revision + 1, ..unknown });
        world.journal.commit(commit).await.unwrap();

        world.wait(60).await;
        assert_eq!((world.action("1").await.state, world.texts()), (ActionState::Sent, vec!["re: one".to_owned()]), "{class:?}");
        assert_eq!(world.network.script.lock().unwrap().len(), 1, "{class:?}: it was sent again");
    }
}

#[tokio::test]
async fn a_crash_between_claim_and_outcome_is_unknown() {
    let world = World::new(SendClass::ReadBack);
    world.decide(|_| Ok(wants(&[("reply", json!({ "mode": "draft", "text": "Ciao" }))])));
    world.says("1", None, "one").await;
    world.settle().await;
    let draft = world.action("1").await;
    let mut commit = world.journal.begin(&world.channel);
    commit.actions.push(Action { state: ActionState::Claimed, revision: draft.revision + 1, ..draft });
    world.journal.commit(commit).await.unwrap();

    world.settle().await;
    assert_eq!(world.action("1").await.state, ActionState::Unknown);
    world.wait(60).await;
    assert_eq!(world.texts(), ["Ciao"], "it was proved absent, so it is sent");
}

#[tokio::test]
async fn a_deletion_withdraws_what_was_not_sent() {
    let world = World::new(SendClass::None);
    world.decide(|event| if event.kind == "interaction.gone" { Ok(nothing()) } else { echoes(event) });
    world.fails([Fault::Transient(fault("busy"))]);
    world.says("1", None, "one").await;
    world.settle().await;
    assert_eq!(world.action("1").await.state, ActionState::Retry);
    world.append("1", None, EntryBody::Gone).await;
    for _ in 0..5 {
        world.wait(40).await;
    }

    assert_eq!(world.action("1").await.state, ActionState::Withdrawn);
    assert!(world.texts().is_empty());
    assert!(world.journal.store.dead_letters(&world.channel, None, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_rule_that_reacts_to_every_end_of_a_reply_is_not_asked_for_ever() {
    // given a rule that answers whatever becomes of a reply with another one, under a key of its own
    let world = World::new(SendClass::None);
    world.decide(|event| {
        let mut decision = sends("again");
        decision.actions[0].key = format!("{} {}", event.kind, event.body);
        Ok(decision)
    });
    world.fails([Fault::Transient(fault("busy"))]);
    world.says("1", None, "one").await;
    world.settle().await;

    // when what it answers is gone before it went out
    world.append("1", None, EntryBody::Gone).await;
    world.wait(40).await;

    // then it is withdrawn, and what the rule wants then is refused
    assert_eq!(world.n_facts(|fact| matches!(fact, Fact::ActionSettled { .. })).await, 1);
    let decisions = world.journal.store.decisions(&world.channel, Seq(1), Seq(99)).await.unwrap();
    let last = decisions.last().unwrap();
    assert_eq!((world.actions().await.len(), last.dropped.len(), last.dropped[0].1.as_str()), (1, 1, "what it answers is gone"));
    assert!(world.texts().is_empty());
}

#[tokio::test]
async fn a_refused_credential_holds_the_whole_outbox() {
    let world = World::new(SendClass::None);
    world.decide(echoes);
    world.fails([Fault::Auth(fault("expired"))]);
    for n in 0..9 {
        world.says(&n.to_string(), None, "x").await;
    }
    world.settle().await;
    assert_eq!(world.actions().await.iter().filter(|action| action.attempts > 0 || action.error.is_some()).count(), 1, "one login, not nine");

    world.wait(61).await;
    assert_eq!(world.texts().len(), 9);
}

#[tokio::test]
async fn a_refused_credential_is_told_once_and_a_login_lets_everything_go_at_once() {
    let world = World::new(SendClass::None);
    world.decide(echoes);
    world.fails((0..20).map(|_| Fault::Auth(fault("expired"))));
    for n in 0..3 {
        world.says(&n.to_string(), None, "x").await;
    }
    world.settle().await;
    let status = world.status().await;
    assert_eq!(status.state, "bad-credentials");
    for _ in 0..12 {
        world.wait(61).await;
    }
    assert_eq!(world.network.script.lock().unwrap().len(), 20 - 13, "one look a minute");
    assert_eq!(world.status().await, status, "told once");
    assert!(world.actions().await.iter().all(|action| action.attempts == 0), "nothing nears its death");

    // The admin logs in; nothing else happens, no minute passes.
    world.network.script.lock().unwrap().clear();
    let mut commit = world.journal.begin(&world.channel);
    commit.status = Some(ChannelStatus { state: "connected".to_owned(), reason: None, since: commit.at });
    world.journal.commit(commit).await.unwrap();
    world.settle().await;
    assert_eq!(world.texts().len(), 3);
}

#[tokio::test]
async fn what_only_sending_finds_refused_is_ended_by_a_send_or_when_nothing_is_left_to_send() {
    for is_rejected in [false, true] {
        let world = World::new(SendClass::None);
        world.decide(echoes);
        world.fails([Fault::Auth(fault("scope"))]);
        world.says("1", None, "x").await;
        world.settle().await;
        assert!(world.status().await.is_of_outbox());
        if is_rejected {
            let action = world.action("1").await;
            let mut commit = world.journal.begin(&world.channel);
            commit.actions.push(Action { state: ActionState::Rejected, revision: action.revision + 1, ..action });
            world.journal.commit(commit).await.unwrap();
        }

        world.wait(61).await;

        assert_eq!(world.status().await.state, "connected");
        assert_eq!(world.texts().len(), usize::from(!is_rejected));
    }
}

#[tokio::test]
async fn stuck_exchanges_do_not_hide_the_others() {
    let world = World::new(SendClass::None);
    world.decide(echoes);
    world.fails([Fault::Transient(fault("timeout"))]);
    world.says("0", None, "stuck").await;
    world.settle().await;
    world.wait(60).await;
    assert_eq!(world.action("0").await.state, ActionState::Human);
    for n in 1..100 {
        world.says(&format!("s{n}"), Some("0"), "behind it").await;
    }
    world.says("free", None, "another exchange").await;
    world.settle().await;

    assert_eq!(world.texts(), ["re: another exchange"]);
}

#[tokio::test]
async fn a_deadline_passes_once_and_steps_fire_once() {
    let world = World::new(SendClass::None);
    world.decide(|event| {
        let note = event.interaction.as_ref().map(|about| about.text.clone());
        Ok(wants(&[("assign", json!({ "team": "support", "within_ms": 60_000, "escalate": [{ "after_ms": 30_000, "to": "lead" }], "note": note }))]))
    });
    world.says("1", None, "one").await;
    world.settle().await;
    world.wait(120).await;
    world.append("1", None, EntryBody::Edited(Box::new(said("1", None, "another note")))).await;
    world.wait(120).await;

    assert_eq!(world.n_facts(|fact| matches!(fact, Fact::TaskOverdue { .. })).await, 1);
    assert_eq!(world.n_facts(|fact| matches!(fact, Fact::TaskEscalated { .. })).await, 1);
    assert_eq!(world.task("1").await.assignment.note.as_deref(), Some("another note"));
}

/// An hour is also what a change to or from summer time is where a clock is set by local time.
#[tokio::test]
async fn whatever_the_clock_does_each_deadline_and_each_step_comes_once() {
    const HOUR: i64 = 3600;
    for jump in [HOUR, -HOUR, 24 * HOUR, -24 * HOUR, 3653 * 24 * HOUR, -30 * 24 * HOUR] {
        for is_corrected in [true, false] {
            let world = World::new(SendClass::None);
            world.decide(|_| {
                let body = json!({ "team": "support", "within_ms": 60_000, "escalate": [{ "after_ms": 30_000, "to": "lead" }] });
                Ok(wants(&[("assign", body)]))
            });
            world.says("1", None, "one").await;
            world.settle().await;
            world.jump(jump).await;
            if is_corrected {
                world.jump(-jump).await;
            } else if jump < 0 {
                world.wait(jump.unsigned_abs()).await;
            }
            for _ in 0..4 {
                world.wait(40).await;
            }
            let n_facts = (
                world.n_facts(|fact| matches!(fact, Fact::TaskOverdue { .. })).await,
                world.n_facts(|fact| matches!(fact, Fact::TaskEscalated { .. })).await,
            );
            assert_eq!(n_facts, (1, 1), "{jump} s, corrected: {is_corrected}");
        }
    }
}

#[tokio::test]
async fn a_person_s_words_outlive_a_new_decision() {
    let world = World::new(SendClass::None);
    world.decide(|event| {
        let text = event.interaction.as_ref().map(|about| about.text.clone()).unwrap_or_default();
        Ok(wants(&[("reply", json!({ "mode": "draft", "text": format!("re: {text}") }))]))
    });
    world.says("1", None, "one").await;
    world.settle().await;
    world.approve("1", Some("in my own words")).await;
    world.append("1", None, EntryBody::Edited(Box::new(said("1", None, "ONE")))).await;
    for _ in 0..5 {
        world.wait(40).await;
    }

    assert_eq!(world.texts(), ["in my own words"]);
}

#[tokio::test]
async fn unknown_teams_and_second_replies_are_dropped_and_said_so() {
    let world = World::new(SendClass::None);
    world.decide(|_| {
        let mut decision = wants(&[
            ("assign", json!({ "team": "nobody" })),
            ("note", json!({ "txt": "?" })),
            ("reply", json!({ "mode": "draft", "text": "first" })),
            ("reply", json!({ "mode": "draft", "text": "second" })),
        ]);
        decision.actions[3].key = "reply:2".to_owned();
        Ok(decision)
    });
    world.says("1", None, "one").await;
    world.settle().await;

    let decisions = world.journal.store.decisions(&world.channel, Seq(1), Seq(9)).await.unwrap();
    let why: Vec<&str> = decisions[0].dropped.iter().map(|(_, why)| why.as_str()).collect();
    assert!(why[0].contains("no team `nobody`") && why[1].contains("body of a note") && why[2].contains("came first"), "{why:?}");
    assert_eq!(world.actions().await.len(), 1);
}

#[tokio::test]
async fn a_rule_sees_the_conversation_that_its_view_asks_for() {
    let world = World::new(SendClass::None);
    type Seen = Vec<(u32, Vec<String>)>;
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let sink = Arc::clone(&seen);
    world.decide(move |event| {
        let conversation = event.conversation.clone().unwrap();
        sink.lock().unwrap().push((conversation.count, conversation.recent.into_iter().map(|(_, _, text)| text).collect()));
        Ok(nothing())
    });
    for (name, parent) in [("0", None), ("1", Some("0")), ("2", Some("0")), ("3", Some("0"))] {
        world.says(name, parent, name).await;
        world.settle().await;
    }

    assert_eq!(seen.lock().unwrap().last(), Some(&(4, vec!["2".to_owned(), "1".to_owned()])));
}

#[tokio::test]
async fn two_replies_of_one_key_are_one_reply() {
    let world = World::new(SendClass::None);
    world.decide(|_| Ok(wants(&[("reply", json!({ "mode": "draft", "text": "a" })), ("reply", json!({ "mode": "draft", "text": "b" }))])));
    world.says("1", None, "one").await;
    assert!(world.settle().await.is_empty());

    assert_eq!(world.action("1").await.text, "a");
    let decisions = world.journal.store.decisions(&world.channel, Seq(1), Seq(9)).await.unwrap();
    assert!(decisions[0].dropped[0].1.contains("second reply"), "{decisions:?}");
}

#[tokio::test]
async fn an_automatic_reply_does_not_meet_the_deadline_and_a_person_s_does() {
    for (mode, n_overdue) in [("send", 1), ("draft", 0)] {
        let world = World::new(SendClass::None);
        world.decide(move |event| {
            let reply = json!({ "mode": mode, "text": "Ciao" });
            let wanted = wants(&[("assign", json!({ "team": "support", "within_ms": 60_000 })), ("reply", reply)]);
            Ok(if event.kind == "action.settled" { nothing() } else { wanted })
        });
        world.says("1", None, "one").await;
        world.settle().await;
        if world.action("1").await.state == ActionState::AwaitingApproval {
            world.approve("1", None).await;
        }
        world.settle().await;
        world.wait(120).await;

        assert_eq!(world.texts(), ["Ciao"]);
        assert_eq!(world.n_facts(|fact| matches!(fact, Fact::TaskOverdue { .. })).await, n_overdue, "{mode}");
    }
}

#[tokio::test]
async fn another_assignment_opens_a_closed_task_again_and_the_same_does_not() {
    let world = World::new(SendClass::None);
    world.decide(|event| {
        let team = if event.interaction.as_ref().is_some_and(|about| about.text.contains("vergogna")) { "lead" } else { "support" };
        Ok(wants(&[("assign", json!({ "team": team }))]))
    });
    world.says("1", None, "grazie").await;
    world.settle().await;
    let task = world.task("1").await;
    let mut commit = world.journal.begin(&world.channel);
    commit.tasks.push(Task { state: TaskState::Done, revision: task.revision + 1, ..task });
    world.journal.commit(commit).await.unwrap();

    world.append("1", None, EntryBody::Edited(Box::new(said("1", None, "grazie!")))).await;
    world.settle().await;
    assert_eq!(world.task("1").await.state, TaskState::Done);

    world.append("1", None, EntryBody::Edited(Box::new(said("1", None, "che vergogna")))).await;
    world.settle().await;
    let task = world.task("1").await;
    assert_eq!((task.state, task.assignment.team.as_str()), (TaskState::Open, "lead"));
}

#[tokio::test]
async fn what_is_gone_stays_gone_whatever_is_found_out_later() {
    let world = World::new(SendClass::None);
    world.decide(|event| {
        let wanted = wants(&[("reply", json!({ "mode": "draft", "text": "Ciao" })), ("assign", json!({ "team": "support" }))]);
        Ok(if event.kind == "interaction.gone" { nothing() } else { wanted })
    });
    world.says("1", None, "one").await;
    world.settle().await;
    world.append("1", None, EntryBody::Gone).await;
    world.settle().await;
    let withdrawn = async || (world.action("1").await.state, world.task("1").await.state);
    assert_eq!(withdrawn().await, (ActionState::Withdrawn, TaskState::Withdrawn));

    for fact in
        [Fact::AnnotationLate { analyzer: "sentiment".to_owned() }, Fact::AskedAgain, Fact::ExchangeMoved { action: world.action("1").await.id }]
    {
        world.append("1", None, EntryBody::Fact(fact.clone())).await;
        world.settle().await;
        assert_eq!(withdrawn().await, (ActionState::Withdrawn, TaskState::Withdrawn), "{fact:?}");
    }
}

#[test]
fn a_reply_is_judged_before_the_network_would_refuse_it() {
    let terms = ReplyTerms {
        public: Some(true),
        private: Some(false),
        window_s: Some(86_400),
        human_window_s: Some(604_800),
        private_window_s: None,
        private_human_window_s: None,
        max_len: Some(5),
        max_len_config: None,
        private_max_len: None,
        len_unit: LengthUnit::Chars,
        summoned_only: true,
    };
    let mut about = said("1", None, "hello");
    (about.occurred, about.kind) = (Timestamp(0), "post".to_owned());
    let hours = |hours: u64| Timestamp(hours * 3_600_000);
    assert_eq!(terms.judge(&about, "sorry", true, hours(1)), Err(Unfit::NotSummoned));
    about.attrs.push((SUMMONED_ATTR.to_owned(), "yes".to_owned()));
    assert_eq!(terms.judge(&about, "sorry", true, hours(1)), Ok(()));
    assert_eq!(terms.judge(&about, "sorry!", true, hours(1)).unwrap_err().to_string(), "the text has 6 characters, and this network takes 5");
    assert_eq!(terms.judge(&about, "sorry", true, hours(24)).unwrap_err().to_string(), "this network takes a reply within 24 h only");
    assert_eq!(terms.judge(&about, "sorry", false, hours(24)), Ok(()), "a person has more time");
    assert_eq!(terms.judge(&about, "sorry", false, hours(168)).unwrap_err().to_string(), "this network takes a reply within 7 days only");
    about.visibility = "direct".to_owned();
    assert_eq!(terms.judge(&about, "sorry", true, hours(1)), Err(Unfit::Audience("private")));
    assert_eq!(ReplyTerms::default().judge(&about, &"x".repeat(100_000), true, hours(9_999)), Ok(()));
}
