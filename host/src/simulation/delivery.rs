//! Webhooks: each change is sent until it is acknowledged or the network gives up; some are lost on the way, some come twice.

use std::sync::Arc;

use futures_util::future::FutureExt as _;
use tokio::sync::oneshot;

use super::network::{Arrival, Item, Network};
use super::world::Owner;
use crate::model::{NewRaw, RawOrigin};

/// A network tries so often where nobody reads it otherwise, and so often where pages make up for it.
const TRIES: u64 = 40;
const TRIES_OF_BOTH: u64 = 3;
/// As the host's: a delivery's id is known for three days. Units: milliseconds.
const ONCE_WINDOW_MS: u64 = 72 * 3_600_000;

/// Begins to tell the host of a change.
pub(super) fn begin(network: &Arc<Network>, at: usize) {
    let Some(item) = network.item(at) else { return };
    let (network, world) = (Arc::clone(network), Arc::clone(&network.world));
    let name = format!("delivery of {} on {}", item.id, network.channel);
    world.begin(Owner::Others, name, async move { deliver(&network, at, item).await }.boxed());
}

async fn deliver(network: &Network, at: usize, item: Item) {
    let world = &network.world;
    let id = format!("{}.{:?}.{}", item.id, item.edited.map(|at| at.0), item.is_gone);
    let is_garbled = world.trouble(5) && network.arrival == Arrival::Both;
    let tries = if network.arrival == Arrival::Both { world.below(TRIES_OF_BOTH) } else { TRIES };
    for n in 0..tries {
        world.pass(0, 2 + n * 60).await;
        if world.trouble(15) {
            continue;
        }
        let body = if is_garbled { "garbled".to_owned() } else { format!("item:{at}") };
        if !call(network, &id, body).await {
            continue;
        }
        network.ledger().acked.push((at, item.clone()));
        // What was heard is said again.
        if !world.trouble(20) {
            return;
        }
    }
}

/// Says whether the host acknowledged it and the answer came through.
async fn call(network: &Network, id: &str, body: String) -> bool {
    let world = &network.world;
    let (answer, answered) = oneshot::channel();
    let origin = RawOrigin::Webhook { method: "POST".to_owned(), path_with_query: String::new(), headers: Vec::new() };
    let raw = NewRaw { origin, body: body.into_bytes(), received: None, once: Some((id.to_owned(), ONCE_WINDOW_MS)) };
    let Some(journal) = world.journal() else { return false };
    let channel = network.channel.clone();
    let handled = async move {
        let at = journal.clock.now();
        let is_durable = journal.commit_raw(&channel, at, vec![raw]).await.is_ok();
        // The network may have hung up.
        answer.send(is_durable).unwrap_or_default();
    };
    world.begin(Owner::Host, format!("webhook {id}"), handled.boxed());
    let is_heard = answered.await.unwrap_or(false);
    world.lag().await;
    is_heard && !world.trouble(10)
}
