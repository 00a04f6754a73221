//! In which order the replies of one exchange go out.

use serde_json::json;

use super::world::{World, echoes, fault, nothing, sends, wants};
use crate::model::{Action, ActionState, Fault};
use crate::outbox::SendClass;

#[tokio::test]
async fn an_older_reply_of_an_exchange_goes_first_and_each_goes_once() {
    let world = World::new(SendClass::None);
    world.decide(echoes);
    world.fails([Fault::Transient(fault("busy"))]);
    world.says("1", None, "one").await;
    world.settle().await;
    world.says("2", Some("1"), "two").await;
    world.settle().await;
    assert_eq!(world.texts(), Vec::<String>::new(), "the first waits for its second try, and the second for the first");

    for _ in 0..20 {
        world.wait(10).await;
    }
    assert_eq!(world.texts(), ["re: one", "re: two"]);
}

#[tokio::test]
async fn a_draft_that_is_approved_behind_a_later_reply_that_has_begun_goes_out_after_it() {
    let world = World::new(SendClass::None);
    world.decide(|event| {
        if event.kind == "action.settled" {
            return Ok(nothing());
        }
        let is_first = event.interaction.as_ref().is_some_and(|about| about.text == "one");
        let text = event.interaction.as_ref().map(|about| format!("re: {}", about.text)).unwrap_or_default();
        Ok(if is_first { wants(&[("reply", json!({ "mode": "draft", "text": text }))]) } else { sends(&text) })
    });
    world.says("1", None, "one").await;
    world.settle().await;
    world.fails([Fault::Transient(fault("busy"))]);
    world.says("2", Some("1"), "two").await;
    world.settle().await;
    let (draft, begun) = (world.action("1").await, world.action("2").await);
    assert_eq!((draft.state, begun.state), (ActionState::AwaitingApproval, ActionState::Retry));

    let (mut commit, revision) = (world.journal.begin(&world.channel), draft.revision + 1);
    let exchange_version = world.journal.store.exchange(&world.channel, draft.exchange).await.unwrap().version;
    commit.actions.push(Action { state: ActionState::Pending, due: commit.at, exchange_version, revision, ..draft });
    world.journal.commit(commit).await.unwrap();
    for _ in 0..20 {
        world.wait(10).await;
    }
    assert_eq!(world.texts(), ["re: two", "re: one"]);
}
