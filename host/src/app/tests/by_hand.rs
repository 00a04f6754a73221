//! What somebody of the company says on the network itself, beside what goes out through the host.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::world::{World, nothing, receipt, said, sends, wants};
use crate::model::{ActionState, EntryBody, Fact, Fault, Interaction, NewEntry, Ours, ReplyTerms, Task, TaskState};
use crate::outbox::SendClass;
use crate::plugin::{RuleDecision, RuleEvent};

impl World {
    /// A colleague answers Anna in the network's own app.
    async fn answers_by_hand(&self, name: &str, parent: &str, root: &str) {
        let own = Interaction { ours: Ours::Yes(None), ..said(name, Some(parent), "We are on it") };
        self.append_by("acme", name, root, EntryBody::Arrived(Box::new(own))).await;
        self.settle().await;
    }

    async fn fact_about(&self, name: &str, fact: Fact) {
        let mut commit = self.journal.begin(&self.channel);
        commit.entries.push(NewEntry::about(&self.action(name).await, fact));
        self.journal.commit(commit).await.unwrap();
        self.settle().await;
    }
}

/// As the impact table: no reply where one of ours spoke last.
fn unless_answered(event: &RuleEvent, mode: &str) -> RuleDecision {
    let is_answered = event.body.contains("\"by\":\"own\"");
    if is_answered || event.kind == "action.settled" { nothing() } else { wants(&[("reply", json!({ "mode": mode, "text": "Ciao" }))]) }
}

#[tokio::test]
async fn an_answer_by_hand_ends_the_draft_beside_it_and_meets_the_deadline() {
    // given a task with a deadline, and a draft
    let world = World::new(SendClass::None);
    world.decide(|event| {
        let task = wants(&[("assign", json!({ "team": "support", "within_ms": 600_000 }))]);
        let reply = unless_answered(event, "draft");
        Ok(RuleDecision { actions: [task.actions, reply.actions].concat(), ..reply })
    });
    world.says("1", None, "one").await;
    world.settle().await;

    // when a colleague answers on the network, and somebody approves the draft
    world.answers_by_hand("own", "1", "1").await;
    world.approve("1", None).await;
    world.wait(60).await;
    world.wait(900).await;

    // then
    assert_eq!((world.action("1").await.state, world.texts()), (ActionState::Withdrawn, Vec::new()));
    assert_eq!(world.n_facts(|fact| matches!(fact, Fact::TaskOverdue { .. })).await, 0);
}

#[tokio::test]
async fn what_was_withdrawn_for_an_answer_by_hand_stays_so_whatever_is_found_out_later() {
    for later in [Fact::AnnotationLate { analyzer: "sentiment".to_owned() }, Fact::AskedAgain] {
        let world = World::new(SendClass::None);
        world.decide(|event| Ok(unless_answered(event, "draft")));
        world.says("1", None, "one").await;
        world.settle().await;
        world.answers_by_hand("own", "1", "1").await;
        world.approve("1", None).await;
        world.wait(60).await;

        world.decide(|event| Ok(unless_answered(event, "send")));
        world.fact_about("1", later).await;
        assert_eq!((world.action("1").await.state, world.texts()), (ActionState::Withdrawn, Vec::new()));

        // What she says after it is a new question.
        world.append("1", None, EntryBody::Edited(Box::new(said("1", None, "one!")))).await;
        world.wait(60).await;
        assert_eq!(world.texts(), ["Ciao"]);
    }
}

#[tokio::test]
async fn the_echo_of_a_reply_that_came_before_its_receipt_is_no_answer_by_hand() {
    // given two drafts in one thread, both approved; the first is told by the network before its receipt comes
    let world = World::new(SendClass::ReadBack);
    world.decide(|event| Ok(unless_answered(event, "draft")));
    world.says("1", None, "one").await;
    world.says("2", Some("1"), "two").await;
    world.settle().await;
    world.fails([Fault::Transient(super::world::fault("timeout"))]);
    world.approve("1", None).await;
    world.settle().await;
    let out = receipt(&world.action("1").await.id.to_string());
    let own = Interaction { native: out.native.clone(), ours: Ours::Yes(None), ..said("own", Some("1"), "Ciao") };
    world.append_by("acme", &out.native.id, "1", EntryBody::Arrived(Box::new(own))).await;
    world.wait(60).await;
    assert_eq!(world.action("1").await.state, ActionState::Sent);

    // when
    world.approve("2", None).await;
    for _ in 0..5 {
        world.wait(60).await;
    }

    // then
    assert_eq!((world.action("2").await.state, world.texts()), (ActionState::Sent, vec!["Ciao".to_owned()]));
}

#[tokio::test]
async fn a_closed_task_stays_closed_when_the_reply_beside_it_can_go_out_no_more() {
    // given a draft that nobody approved, and a task that its team closed
    let terms = ReplyTerms { window_s: Some(86_400), ..ReplyTerms::default() };
    let world = World::with_terms(SendClass::None, terms);
    world.decide(|_| Ok(wants(&[("assign", json!({ "team": "support" })), ("reply", json!({ "mode": "draft", "text": "Ciao" }))])));
    world.says("1", None, "one").await;
    world.settle().await;
    let mut commit = world.journal.begin(&world.channel);
    let open = world.task("1").await;
    commit.tasks.push(Task { state: TaskState::Done, revision: open.revision + 1, ..open });
    world.journal.commit(commit).await.unwrap();

    // when an analyzer catches up after the window
    world.wait(2 * 86_400).await;
    world.fact_about("1", Fact::AnnotationLate { analyzer: "mood".to_owned() }).await;

    // then
    assert_eq!(world.task("1").await.state, TaskState::Done);
}

#[tokio::test]
async fn what_only_adds_makes_no_second_reply_beside_an_open_draft_and_no_second_team_responsible() {
    let world = World::new(SendClass::None);
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    world.decide(move |event| {
        heard.lock().unwrap().push(event.kind.clone());
        let mut wanted = wants(&[("assign", json!({ "team": "support" })), ("reply", json!({ "mode": "draft", "text": "Ciao" }))]);
        if event.kind == "task.done" {
            wanted = RuleDecision { actions: [sends("again").actions, wants(&[("assign", json!({ "team": "lead" }))]).actions].concat(), ..wanted };
            wanted.actions.iter_mut().for_each(|action| action.key.push('2'));
        }
        Ok(wanted)
    });
    world.says("1", None, "one").await;
    world.settle().await;
    let task = world.task("1").await;

    world.fact_about("1", Fact::TaskClosed { task: task.id, by: String::new() }).await;

    assert_eq!(told.lock().unwrap().last().map(String::as_str), Some("task.done"));
    assert_eq!((world.texts(), world.actions().await.len()), (Vec::new(), 1));
    let tasks = world.journal.store.tasks_about(&world.channel, world.id("1")).await.unwrap();
    assert_eq!(tasks.iter().map(|task| task.assignment.team.as_str()).collect::<Vec<_>>(), ["support"]);
}
