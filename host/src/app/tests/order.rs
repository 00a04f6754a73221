//! In which order the replies of one exchange go out.

use serde_json::json;

use super::world::{World, echoes, fault, nothing, sends, wants};
use crate::model::{ActionState, Fact, Fault};
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

    world.approve("1", None).await;
    for _ in 0..20 {
        world.wait(10).await;
    }
    assert_eq!(world.texts(), ["re: two", "re: one"]);
}

#[tokio::test]
async fn rules_that_do_not_answer_are_asked_once_for_each_time_that_somebody_spoke() {
    let world = World::new(SendClass::None);
    world.decide(|event| match event.kind.as_str() {
        "exchange.moved" => Err(Fault::Permanent(fault("trap"))),
        _ if event.interaction.as_ref().is_some_and(|about| about.text == "one") => {
            Ok(wants(&[("reply", json!({ "mode": "draft", "text": "Ciao" }))]))
        }
        _ => Ok(nothing()),
    });
    world.says("1", None, "one").await;
    world.says("2", Some("1"), "two").await;
    world.settle().await;
    world.approve("1", None).await;
    for (n, name) in [(1, "3"), (2, "4"), (3, "5")] {
        for _ in 0..20 {
            world.wait(40).await;
        }
        assert_eq!(world.n_facts(|fact| matches!(fact, Fact::ExchangeMoved { .. })).await, n, "before {name}");
        world.says(name, Some("1"), name).await;
    }
    for _ in 0..5 {
        world.wait(40).await;
    }
    world.decide(|event| Ok(if event.kind == "exchange.moved" { sends("Ciao") } else { nothing() }));
    world.wait(40).await;
    assert_eq!(world.texts(), [""; 0], "they were asked not long ago");
    world.wait(3600).await;
    assert_eq!(world.texts(), ["Ciao"], "they may have been mended since");
}

#[tokio::test]
async fn a_reply_that_a_clock_put_off_which_ran_ahead_goes_out_when_the_clock_is_right() {
    let world = World::new(SendClass::None);
    world.decide(echoes);
    world.jump(10 * 365 * 86_400).await;
    world.fails([Fault::Transient(fault("busy"))]);
    world.says("1", None, "one").await;
    world.settle().await;
    assert_eq!(world.action("1").await.state, ActionState::Retry);

    world.jump(-10 * 365 * 86_400).await;
    assert_eq!(world.texts(), ["re: one"]);
}
