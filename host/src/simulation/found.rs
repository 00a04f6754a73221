//! What the simulation found in the outbox, each as a small test of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::network::because;
use crate::model::{Action, ActionState, Fault, ReplyTerms};
use crate::outbox::{Outbox, SendClass};
use crate::plugin::{Receipt, Sent};
use crate::testing::{Scripted, Stand, claimed, native, said};

/// The first try went out and its answer was lost; the repeat is refused with this. How the reply stands then, and in three hours.
async fn refused_again(class: SendClass, fault: Fault) -> (ActionState, ActionState, usize) {
    // given
    let stand = Stand::new("page");
    stand.arrive(vec![said("1", "where is it?")]).await;
    let action = Action { state: ActionState::Pending, revision: 1, attempts: 0, ..claimed(&stand, "1") };
    let mut commit = stand.journal.begin(&stand.channel);
    commit.actions.push(action.clone());
    stand.journal.commit(commit).await.unwrap();
    let n_sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_sent);
    let there = Receipt { native: native("p0"), aka: Vec::new() };
    let plugin = Scripted::default()
        .send(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Fault::Transient(because("timeout"))),
            _ => Err(fault.clone()),
        })
        .probe(move |_| Ok((Sent::Yes, Some(there.clone()))))
        .generation("page", "connector");
    let (journal, channel, terms) = (stand.journal.clone(), stand.channel.clone(), Arc::new(ReplyTerms::default()));
    let outbox = Outbox { journal, channel, plugin, class, terms, held_until: Mutex::default() };
    let state = async || stand.store().action(&stand.channel, action.id).await.unwrap().unwrap().state;

    // when
    stand.run(&outbox).await;
    stand.advance(Duration::from_secs(5));
    stand.run(&outbox).await;
    let then = state().await;
    stand.advance(Duration::from_secs(3 * 3600));
    stand.run(&outbox).await;
    (then, state().await, n_sent.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_repeat_that_is_refused_does_not_say_that_the_first_try_did_not_go_out() {
    let window = SendClass::Key(Duration::from_secs(3600));
    for class in [SendClass::ClientId, window] {
        let told = refused_again(class, Fault::Permanent(because("unwanted"))).await;
        assert_eq!(told, (ActionState::Human, ActionState::Human, 2), "a person looks; it is not taken for dead");
    }
    let told = refused_again(window, Fault::RateLimited(because("limit"), 2 * 3_600_000)).await;
    assert_eq!(told, (ActionState::Reconciling, ActionState::Sent, 2), "once the network forgot the key, it is looked for and not sent again");
}
