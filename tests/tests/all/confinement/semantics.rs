//! Connectors whose pages are well formed and make no sense, through the whole pipeline of a built host whose time stands still: what is
//! kept of them, what the channel is told as, and that no other one waits.

use std::time::Duration;

use membrana_world::{Dress, call};
use serde_json::Value as Json;

use super::*;
use crate::harness::{Host, text, within};
use crate::hooks::{CONFIG, shop};

const TABLE: &str = "[[row]]\nname = \"everything\"\nresponsible = \"shops\"\nwithin = \"1d\"\n";
/// Between two polls.
const PACE: Duration = Duration::from_secs(1);
/// What a page of the right shape needs, however long it is.
const LIMITS: &str = "limits = { memory_bytes = 134217728, cpu_ms = 5000, wall_ms = 60000 }";
const VAIN: &str = "the connector says that there is more and brings nothing new";
const CIRCLE: &str = "the connector says that there is more and does not move on: its cursor was here before";

/// A host with the shop and a channel of the hostile connector, whose pages are of this mode.
async fn with_pages(mode: &str) -> Host {
    let plugin = hostile::connector().display();
    let channel = format!("[[channel]]\nname = \"mad\"\nplugin = \"{plugin}\"\npoll = \"1s\"\nconfig = {{ mode = \"page-{mode}\" }}\n{LIMITS}\n");
    let mut host = Host::new(&format!("{channel}{CONFIG}"), TABLE);
    host.simulate_clock();
    host.start().await;
    host
}

fn of_mad(all: &[Json]) -> Vec<&Json> {
    all.iter().filter(|one| text(one, "/channel") == "mad").collect()
}

/// Waits until the channel is in this state for this reason.
async fn is_told(host: &Host, state: &str, reason: &str) {
    let is =
        |all: &[Json]| all.iter().any(|one| text(one, "/name") == "mad" && text(one, "/state") == state && text(one, "/reason").contains(reason));
    host.until(&["channel", "list"], is).await;
}

/// Waits until the channel's items are as wanted, and gives them.
async fn items(host: &Host, are_wanted: impl Fn(&[&Json]) -> bool) -> Vec<Json> {
    let all = host.until(&["interaction", "list"], |all| are_wanted(&of_mad(all))).await;
    of_mad(&all).into_iter().cloned().collect()
}

/// Entries of the channel's log.
fn entries(host: &Host) -> u64 {
    let channels = host.list(&["channel", "list"]);
    channels.iter().find(|one| one["name"] == "mad").and_then(|one| one["entries"].as_u64()).unwrap()
}

/// Calls of the connector so far.
async fn calls(host: &Host) -> u64 {
    let uses = call(host.address, "GET", "/api/v1/plugins", &[], b"").await.unwrap().body;
    let mut uses = uses.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    uses.find(|one| one["name"] == "mad").and_then(|one| one["calls"].as_u64()).unwrap_or(0)
}

/// Polls once more, and waits until it is done. A turn that is about to end may take the moved time for the present: then it is moved again.
async fn one_more_poll(host: &Host) {
    let before = calls(host).await;
    for _ in 0..10 {
        host.advance(PACE);
        if within(Duration::from_secs(4), Duration::from_millis(50), async || calls(host).await > before).await {
            return;
        }
    }
    panic!("no poll comes: {}", host.log());
}

/// Somebody writes to the shop and is decided upon, whatever the other channel does.
async fn shop_is_served(host: &Host) {
    assert_eq!(shop(host).post("evt-1", Dress::Right, "{\"id\":1,\"note\":\"x\"}").await.unwrap().status, 202);
    let is_decided = |all: &[Json]| all.iter().any(|one| text(one, "/channel") == "shop" && text(one, "/decisions/0/row") == "everything");
    host.until(&["interaction", "list"], is_decided).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_that_is_a_lie_three_times_degrades_the_channel_and_slows_it_to_its_pace() {
    for (mode, n_first, n_each, reason) in
        [("stands-still", 1, 0, VAIN), ("advances-in-vain", 1, 0, VAIN), ("never-advances", 4, 1, CIRCLE), ("goes-back", 5, 1, CIRCLE)]
    {
        let mut host = with_pages(mode).await;
        is_told(&host, "degraded", reason).await;
        assert_eq!(items(&host, |items| items.len() >= n_first).await.len(), n_first, "{mode}");
        shop_is_served(&host).await;
        for n in 1..=3 {
            one_more_poll(&host).await;
            let n_items = n_first + n * n_each;
            assert_eq!(items(&host, |items| items.len() >= n_items).await.len(), n_items, "{mode}: one page a pace");
        }
        is_told(&host, "degraded", reason).await;
        assert_eq!(host.stop(), Some(0), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_keeps_its_place_in_its_state_moves_on_under_the_same_cursor() {
    let mut host = with_pages("keeps-its-place").await;
    items(&host, |items| items.len() == 10).await;
    is_told(&host, "connected", "").await;
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_comes_again_within_a_page_and_over_pages_is_one_item() {
    let mut host = with_pages("repeats").await;
    items(&host, |items| items.len() == 2).await;
    for _ in 0..3 {
        one_more_poll(&host).await;
    }
    shop_is_served(&host).await;
    assert_eq!(entries(&host), 2, "nothing else is in its log");
    assert_eq!(host.list(&["task", "list"]).len(), 3);
    is_told(&host, "connected", "").await;
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_that_cannot_be_is_that_of_the_receipt_and_says_so() {
    let mut host = with_pages("dates").await;
    let all = items(&host, |items| items.len() == 3).await;
    for (id, is_clamped) in [("first", true), ("last", true), ("now", false)] {
        let one = all.iter().find(|one| text(one, "/native/id") == id).unwrap();
        assert_eq!(text(one, "/occurred_at"), text(one, "/received_at"), "{one}");
        assert_eq!(one["attrs"].get("membrana.occurred-clamped").is_some(), is_clamped, "{one}");
    }
    one_more_poll(&host).await;
    shop_is_served(&host).await;
    assert_eq!(entries(&host), 3, "told again, it is no edit");
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_more_than_may_be_is_refused_whole() {
    for (mode, reason) in [("of-5000", "(contract)"), ("of-100000", "(trap)"), ("of-1000000", "(memory)")] {
        let mut host = with_pages(mode).await;
        is_told(&host, "degraded", reason).await;
        shop_is_served(&host).await;
        assert!(items(&host, |_| true).await.is_empty(), "{mode}");
        assert_eq!(host.stop(), Some(0), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_edits_costs_one_entry_a_page_and_its_last_word_stands() {
    let mut host = with_pages("storm").await;
    items(&host, |items| items.len() == 1).await;
    for n in 1..=3 {
        one_more_poll(&host).await;
        let word = format!("edit 1000 of page {n}");
        let all = items(&host, |items| items.iter().any(|one| text(one, "/text") == word)).await;
        assert_eq!((all.len(), entries(&host)), (1, n + 1));
    }
    shop_is_served(&host).await;
    let is_decided = |all: &[&Json]| all[0]["decisions"].as_array().is_some_and(|decisions| decisions.len() == 4);
    items(&host, is_decided).await;
    assert_eq!(host.list(&["task", "list"]).len(), 2, "the same task for it all along, and the shop's");
    assert_eq!(host.stop(), Some(0));
}
