//! Dedupe, echo, threads and faults, on the store in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::model::{ActionState, Attachment, EntryBody, Fact, Fault, Interaction, Ours, RawOrigin, Tally, Timestamp};
use crate::plugin::{Allowance, Change, Generation, Page};
use crate::stage::Turn;
use crate::store::{ChannelStatus, Reader, Resolved};
use crate::testing::{START, Scripted, Stand, detail, native, page, said, upsert};

use super::Intake;

mod edits;
mod raws;

fn intake(stand: &Stand, plugin: Arc<Generation>, pace: Option<Duration>) -> Intake {
    Intake::new(stand.journal.clone(), stand.channel.clone(), "test".to_owned(), plugin, pace, 1 << 20)
}

/// Polls these pages, one a turn, then empty ones.
fn polls(stand: &Stand, pages: Vec<Vec<Change>>) -> Intake {
    let n_polled = AtomicUsize::new(0);
    let plugin = Scripted::default().poll(move |_| {
        let n = n_polled.fetch_add(1, Ordering::Relaxed);
        let changes = pages.get(n).cloned().unwrap_or_default();
        Ok(Page { more: n + 1 < pages.len(), ..page(&n.to_string(), changes) })
    });
    intake(stand, plugin.generation("blog", "connector"), Some(Duration::from_secs(60)))
}

fn edited(id: &str, text: &str, at: u64) -> Change {
    upsert(Interaction { edited: Some(Timestamp(at)), ..said(id, text) })
}

async fn taken(pages: Vec<Vec<Change>>) -> (Stand, Vec<&'static str>) {
    let stand = Stand::new("blog");
    stand.run(&polls(&stand, pages)).await;
    let words = stand.log().await.iter().map(|entry| crate::model::shown::entry_word(&entry.new.body)).collect();
    (stand, words)
}

#[tokio::test]
async fn a_date_that_cannot_be_is_that_of_the_receipt_and_says_so() {
    for (occurred, is_clamped) in [(0, true), (START.0 - 1, false), (253_402_300_799_000, true)] {
        let (stand, _) = taken(vec![vec![upsert(Interaction { occurred: Timestamp(occurred), ..said("1", "a") })]]).await;

        let log = stand.log().await;
        let stored = log[0].new.body.content().unwrap();
        assert_eq!(stored.occurred, if is_clamped { START } else { Timestamp(occurred) });
        assert_eq!(stored.attrs.iter().any(|(name, _)| name == "membrana.occurred-clamped"), is_clamped, "{occurred}");
    }
}

#[tokio::test]
async fn a_name_that_a_repeat_brings_is_good_for_a_deletion() {
    // given
    let again = Interaction { aka: vec![native("uri:1")], ..said("1", "a") };

    // when
    let (_, words) = taken(vec![vec![upsert(said("1", "a"))], vec![upsert(again)], vec![Change::Gone(native("uri:1"))]]).await;

    // then
    assert_eq!(words, ["arrived", "gone"]);
}

/// A mail as the mail connector tells it: a UID, its bare Message-ID among its ancestors, and one of its own beside.
fn mail(id: &str, refs: &[&str]) -> Interaction {
    let refs = refs.iter().chain([&id]).map(|id| native(&format!("<{id}>"))).collect();
    Interaction { aka: vec![native(&format!("<{id}>#hash"))], refs, ..said(&format!("uid-{id}"), id) }
}

async fn conversations(pages: Vec<Vec<Change>>) -> Vec<crate::model::ConversationId> {
    let (stand, _) = taken(pages).await;
    let ids: Vec<_> = stand.log().await.iter().filter_map(|entry| entry.new.interaction).collect();
    let resolved = stand.store().resolve(&stand.channel, &ids).await.unwrap();
    let conversation = |resolved| match resolved {
        Resolved::Interaction(known) => known.conversation,
        other => panic!("{other:?}"),
    };
    resolved.into_iter().map(conversation).collect()
}

#[tokio::test]
async fn a_reply_joins_its_root_in_either_order() {
    let (root, reply) = (upsert(mail("root", &[])), upsert(mail("reply", &["root"])));
    for pages in [vec![vec![root.clone()], vec![reply.clone()]], vec![vec![reply.clone()], vec![root.clone()]], vec![vec![reply, root]]] {
        let found = conversations(pages).await;

        assert_eq!(found.len(), 2);
        assert_eq!(found[0], found[1], "one thread");
    }
}

#[tokio::test]
async fn a_root_known_by_another_of_its_names_joins_the_reply_that_came_first() {
    // given a reply that names the root by its URI
    let reply = Interaction { parent: Some(native("uri:root")), ..said("2", "me too") };
    let root = Interaction { aka: vec![native("uri:root")], ..said("1", "hello") };

    // when
    let found = conversations(vec![vec![upsert(reply)], vec![upsert(root)]]).await;

    // then
    assert_eq!(found[0], found[1]);
}

#[tokio::test]
async fn a_mail_that_names_two_threads_makes_them_one() {
    let both = Interaction { refs: vec![native("<a>"), native("<b>"), native("<both>")], ..mail("both", &[]) };

    let found = conversations(vec![vec![upsert(mail("a", &[])), upsert(mail("b", &[]))], vec![upsert(both)]]).await;

    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|conversation| *conversation == found[0]));
}

#[tokio::test]
async fn several_calls_of_one_turn_may_write_the_same_key() {
    // given a connector that keeps a long word, then a short one, then forgets another
    let stand = Stand::new("blog");
    let plugin = Scripted::default().receive(|raw| {
        let kept = match raw.body.as_slice() {
            b"1" => vec![("k".to_owned(), Some(vec![7; 20_000])), ("new".to_owned(), Some(vec![1]))],
            _ => vec![("k".to_owned(), Some(vec![8])), ("new".to_owned(), None)],
        };
        Ok((Vec::new(), kept))
    });
    let intake = intake(&stand, plugin.generation("blog", "connector"), None);

    // when
    stand.push_raw(&["1", "2"]).await;
    stand.run(&intake).await;

    // then
    let state = stand.store().plugin_state(&stand.channel).await.unwrap();
    assert_eq!(state.into_iter().collect::<Vec<_>>(), [("k".to_owned(), vec![8])]);
}

#[tokio::test]
async fn auth_config_and_transient_faults_hold_the_channel_and_a_trap_costs_its_item() {
    type Broken = fn() -> Fault;
    let faults: [(Broken, &str); 3] = [
        (|| Fault::Auth(detail("login")), "bad-credentials"),
        (|| Fault::Config(detail("url")), "bad-config"),
        (|| Fault::Transient(detail("net")), "degraded"),
    ];
    for (fault, state) in faults {
        // given
        let (stand, n_calls) = (Stand::new("blog"), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&n_calls);
        let plugin = Scripted::default().receive(move |raw| match (raw.body.as_slice(), counted.fetch_add(1, Ordering::Relaxed)) {
            (b"trap", _) => Err(Fault::Permanent(detail("trap"))),
            (_, 1) => Err(fault()),
            (body, _) => Ok((vec![upsert(said(&String::from_utf8_lossy(body), "x"))], Vec::new())),
        });
        let intake = intake(&stand, plugin.generation("blog", "connector"), None);

        // when
        stand.push_raw(&["trap", "a", "b"]).await;
        let rest = stand.run(&intake).await;

        // then
        assert!(matches!(rest, Turn::Until(at) if at > START), "it waits");
        assert_eq!(stand.state().await, state);
        assert_eq!(stand.dead().await.len(), 1, "the trap is set aside alone");
        stand.advance(Duration::from_secs(3600));
        stand.run(&intake).await;
        assert_eq!(stand.state().await, "connected");
        assert_eq!(stand.log().await.len(), 3, "nothing is lost: {state}");
    }
}

#[tokio::test]
async fn a_refused_credential_is_looked_at_once_a_minute_and_a_login_ends_it_at_once() {
    // given
    let (stand, n_polled) = (Stand::new("blog"), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&n_polled);
    let plugin = Scripted::default().poll(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        0..3 => Err(Fault::Auth(detail("login"))),
        n => Ok(page(&n.to_string(), Vec::new())),
    });
    let intake = intake(&stand, plugin.generation("blog", "connector"), Some(Duration::from_secs(1)));
    stand.run(&intake).await;
    let told = stand.record().await.status;
    for _ in 0..2 {
        stand.advance(Duration::from_secs(59));
        stand.run(&intake).await;
        stand.advance(Duration::from_secs(1));
        stand.run(&intake).await;
    }
    assert_eq!((n_polled.load(Ordering::Relaxed), stand.record().await.status), (3, told), "a look a minute, told once");

    // when
    let mut login = stand.journal.begin(&stand.channel);
    login.status = Some(ChannelStatus { state: "connected".to_owned(), reason: None, since: login.at });
    stand.journal.commit(login).await.unwrap();
    stand.run(&intake).await;

    // then
    assert_eq!((n_polled.load(Ordering::Relaxed), stand.state().await.as_str()), (4, "connected"));
}

#[tokio::test]
async fn what_comes_in_by_itself_does_not_hide_that_polls_are_refused() {
    let (stand, is_mended) = (Stand::new("blog"), Arc::new(AtomicBool::new(false)));
    let mended = Arc::clone(&is_mended);
    let plugin = Scripted::default()
        .poll(move |_| if mended.load(Ordering::Relaxed) { Ok(page("1", Vec::new())) } else { Err(Fault::Auth(detail("login"))) })
        .receive(|raw| Ok((vec![upsert(said(&raw.seq.to_string(), "pushed"))], Vec::new())));
    let intake = intake(&stand, plugin.generation("blog", "connector"), Some(Duration::from_secs(1)));
    stand.run(&intake).await;
    let told = stand.record().await.status;

    stand.push_raw(&["pushed"]).await;
    stand.run(&intake).await;

    assert_eq!((stand.log().await.len(), stand.record().await.status), (1, told));
    is_mended.store(true, Ordering::Relaxed);
    stand.advance(Duration::from_secs(60));
    stand.run(&intake).await;
    assert_eq!(stand.state().await, "connected");
}

#[tokio::test]
async fn a_way_back_to_what_is_kept_no_longer_goes_on_with_what_comes() {
    // given three items that were read, of which none is kept
    let stand = Stand::new("blog");
    let plugin =
        Scripted::default().poll(|_| Ok(page("1", Vec::new()))).receive(|raw| Ok((vec![upsert(said(&raw.seq.to_string(), "pushed"))], Vec::new())));
    let intake = intake(&stand, plugin.generation("blog", "connector"), Some(Duration::from_secs(60)));
    stand.push_raw(&["1", "2", "3"]).await;
    stand.run(&intake).await;
    stand.store().drop_raw(&stand.channel, Timestamp(u64::MAX)).await.unwrap();

    // when
    stand.move_reader(Reader::Raw, 1).await;

    // then it is read to its end, and polls go on
    assert!(matches!(stand.run(&intake).await, Turn::Until(_)));
    stand.push_raw(&["4"]).await;
    stand.run(&intake).await;
    assert_eq!((stand.record().await.position(&Reader::Raw), stand.log().await.len()), (4, 4));
}

#[tokio::test]
async fn a_clock_that_ran_ahead_and_is_set_right_keeps_no_poll_waiting() {
    let (stand, n_polled) = (Stand::new("blog"), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&n_polled);
    let plugin = Scripted::default().poll(move |_| Ok(page(&counted.fetch_add(1, Ordering::Relaxed).to_string(), Vec::new())));
    let intake = intake(&stand, plugin.generation("blog", "connector"), Some(Duration::from_secs(60)));
    stand.run(&intake).await;

    stand.journal.clock.put_back(Duration::from_secs(30 * 86_400));
    stand.run(&intake).await;
    stand.advance(Duration::from_secs(59));
    stand.run(&intake).await;
    assert_eq!(n_polled.load(Ordering::Relaxed), 2, "at once, and then at its pace");
}

#[tokio::test]
async fn an_answer_beside_the_echo_that_it_answers_joins_its_conversation() {
    let stand = Stand::new("blog");
    stand.arrive(vec![said("1", "where is it?")]).await;
    let mut commit = stand.journal.begin(&stand.channel);
    let action = crate::testing::claimed(&stand, "1");
    commit.actions.push(action.clone());
    stand.journal.commit(commit).await.unwrap();
    let echo = Interaction { ours: Ours::Yes(Some(action.id.to_string())), ..said("note-1", "on its way") };
    let answer = Interaction { parent: Some(native("note-1")), ..said("2", "thanks") };

    stand.run(&polls(&stand, vec![vec![upsert(echo), upsert(answer)]])).await;

    let resolved = stand.store().resolve(&stand.channel, &[stand.id("note-1"), stand.id("2"), stand.id("1")]).await.unwrap();
    let [Resolved::Action(_, by), Resolved::Interaction(answer), Resolved::Interaction(asked)] = &resolved[..] else { panic!("{resolved:?}") };
    assert_eq!((*by, answer.conversation), (action.id, asked.conversation));
}

#[tokio::test]
async fn that_reading_works_does_not_hide_that_sending_is_refused() {
    let stand = Stand::new("blog");
    let mut refused = stand.journal.begin(&stand.channel);
    refused.status = Some(ChannelStatus::cannot_send("auth (scope): no", refused.at));
    stand.journal.commit(refused).await.unwrap();

    stand.run(&polls(&stand, vec![vec![upsert(said("1", "hello"))]])).await;

    assert_eq!((stand.state().await.as_str(), stand.log().await.len()), ("bad-credentials", 1));
}

#[tokio::test]
async fn what_a_poll_cannot_read_keeps_its_bytes_and_is_a_letter() {
    // given
    let broken = || Change::Unreadable { native: native("9"), reason: "no header".to_owned(), head: b"\xff\xfe".to_vec() };
    let stand = Stand::new("mail");

    // when it is met twice
    stand.run(&polls(&stand, vec![vec![broken()], vec![broken(), upsert(said("1", "a"))]])).await;

    // then
    let dead = stand.dead().await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].reason, "no header");
    let raw = stand.store().read_raw(&stand.channel, 1, 9, 999).await.unwrap();
    assert_eq!(raw[0].body, b"\xff\xfe");
    let again = raw[0].origin.clone().again();
    assert_eq!(again, Some(RawOrigin::Item { native: native("9"), is_backfill: false }), "a re-drive gives it to `receive`");
    let words: Vec<_> = stand.log().await.iter().map(|entry| crate::model::shown::entry_word(&entry.new.body)).collect();
    assert_eq!(words, ["unreadable", "arrived"]);
}

#[tokio::test]
async fn a_pause_that_comes_during_a_poll_holds() {
    // given an admin who pauses while the network is asked
    let stand = Stand::new("blog");
    let journal = stand.journal.clone();
    let channel = stand.channel.clone();
    let plugin = Scripted::default().poll(move |_| {
        let mut order = journal.begin(&channel);
        order.status = Some(ChannelStatus { state: "paused".to_owned(), reason: None, since: order.at });
        order.is_order = true;
        futures_util::FutureExt::now_or_never(journal.commit(order)).unwrap().unwrap();
        Ok(page("1", vec![upsert(said("1", "a"))]))
    });

    // when
    stand.turn(&intake(&stand, plugin.generation("blog", "connector"), Some(Duration::from_secs(60)))).await.unwrap();

    // then
    assert_eq!(stand.state().await, "paused");
    assert_eq!(stand.log().await.len(), 1, "what was polled is not lost");
}

#[tokio::test]
async fn a_connector_that_lies_of_more_changes_its_state_once() {
    // given
    let stand = Stand::new("blog");
    let plugin = Scripted::default().poll(|_| Ok(Page { more: true, ..page("same", Vec::new()) }));
    let intake = intake(&stand, plugin.generation("blog", "connector"), Some(Duration::from_secs(60)));

    // when
    stand.run(&intake).await;
    let first = stand.record().await.status.unwrap();
    stand.advance(Duration::from_secs(61));
    stand.run(&intake).await;

    // then
    assert_eq!(first.state, "degraded");
    assert_eq!(stand.record().await.status.unwrap(), first, "it does not flap");
}

#[tokio::test]
async fn what_waited_in_the_raw_log_says_when_it_was_received() {
    // given
    let stand = Stand::new("shop");
    let plugin = Scripted::default().receive(|_| Ok((vec![upsert(said("1", "a"))], Vec::new())));
    stand.push_raw(&["x"]).await;

    // when
    stand.advance(Duration::from_secs(7200));
    stand.run(&intake(&stand, plugin.generation("shop", "connector"), None)).await;

    // then
    let log = stand.log().await;
    assert_eq!((log[0].at.since_ms(START), log[0].received()), (7_200_000, START));
}

#[tokio::test]
async fn an_echo_settles_its_action_by_key_and_by_receipt() {
    for by_key in [true, false] {
        // given an action under way
        let stand = Stand::new("blog");
        let mut commit = stand.journal.begin(&stand.channel);
        let action = crate::testing::claimed(&stand, "1");
        if !by_key {
            commit.links.push((stand.id("note-1"), crate::store::Link::Action(action.interaction, action.id)));
        }
        commit.actions.push(action.clone());
        stand.journal.commit(commit).await.unwrap();

        // when the network shows it to us
        let echo = Interaction { ours: Ours::Yes(by_key.then(|| action.id.to_string())), ..said("note-1", "sorry") };
        stand.run(&polls(&stand, vec![vec![upsert(echo.clone())], vec![upsert(echo)]])).await;

        // then
        let stored = stand.store().action(&stand.channel, action.id).await.unwrap().unwrap();
        assert_eq!((stored.state, stored.native), (ActionState::Sent, Some(native("note-1"))));
        let log = stand.log().await;
        assert_eq!(log.len(), 1, "it is told once, and is no news of its own");
        assert!(matches!(log[0].new.body, EntryBody::Fact(Fact::ActionSettled { state: ActionState::Sent, .. })));
    }
}

#[tokio::test]
async fn what_stands_under_a_receipt_s_id_is_ours_whatever_the_connector_says() {
    let stand = Stand::new("blog");
    let mut commit = stand.journal.begin(&stand.channel);
    let action = crate::testing::claimed(&stand, "1");
    commit.links.push((stand.id("note-1"), crate::store::Link::Action(action.interaction, action.id)));
    commit.actions.push(action);
    stand.journal.commit(commit).await.unwrap();
    let about_it = Interaction { aka: vec![native("note-1")], ..said("2", "another's, of the same name beside its own") };

    stand.run(&polls(&stand, vec![vec![upsert(said("note-1", "sorry")), upsert(about_it)]])).await;

    let log = stand.log().await;
    let stored: Vec<&str> = log.iter().filter_map(|entry| entry.new.body.content()).map(|content| content.native.id.as_str()).collect();
    assert_eq!(stored, ["2"]);
}

#[tokio::test]
async fn a_channel_slows_before_its_network_refuses() {
    for (left, expected_s) in [(1.0, 60), (0.2, 60), (0.1, 450), (0.0, 900)] {
        // given
        let (stand, n_polled) = (Stand::new("blog"), Arc::new(AtomicU64::new(0)));
        let (counted, allowance) = (Arc::clone(&n_polled), Allowance { left, resets_in: Duration::from_secs(900) });
        let plugin = Scripted::default().poll(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(Page { allowance: Some(allowance), ..page("same", Vec::new()) })
        });
        let intake = intake(&stand, plugin.generation("blog", "connector"), Some(Duration::from_secs(60)));

        // when
        stand.run(&intake).await;
        let status = stand.record().await.status.unwrap();
        stand.advance(Duration::from_secs(expected_s - 1));
        stand.run(&intake).await;
        let too_early = n_polled.load(Ordering::Relaxed);
        stand.advance(Duration::from_secs(1));
        stand.run(&intake).await;

        // then
        assert_eq!((too_early, n_polled.load(Ordering::Relaxed)), (1, 2), "{left} left");
        assert_eq!(status.state, if expected_s > 60 { "degraded" } else { "connected" }, "{left} left");
    }
}

#[tokio::test]
async fn a_stream_that_stands_again_is_caught_up_with_by_one_poll_unless_the_network_asked_to_wait() {
    // given
    let stand = Stand::new("live");
    let n_polled = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_polled);
    let plugin = Scripted::default().poll(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => Ok(page("c", Vec::new())),
        _ => Err(Fault::RateLimited(detail("limit"), 60_000)),
    });
    let intake = intake(&stand, plugin.generation("live", "connector"), Some(Duration::from_secs(3600)));
    stand.run(&intake).await;

    // when
    intake.catch_up();
    stand.run(&intake).await;
    stand.run(&intake).await;
    assert_eq!(n_polled.load(Ordering::Relaxed), 2, "once, an hour before the pace");
    stand.advance(Duration::from_secs(3600));
    stand.run(&intake).await;
    intake.catch_up();
    stand.run(&intake).await;

    // then
    assert_eq!(n_polled.load(Ordering::Relaxed), 3, "the limit is kept");
    intake.poll_now();
    stand.run(&intake).await;
    assert_eq!(n_polled.load(Ordering::Relaxed), 4, "an admin's order is not");
}

#[tokio::test]
async fn what_a_webhook_should_have_brought_and_a_poll_did_is_a_gap_that_was_filled() {
    // given a webhook that came, one that did not, and a kind that nobody knows
    let stand = Stand::new("page");
    let at = |ms: u64| Timestamp(START.0 + ms);
    let plugin = Scripted::default()
        .receive(move |_| {
            let note = Change::Note { kind: "unknown-kind".to_owned(), json: r#"{"kind":"hologram"}"#.to_owned() };
            Ok((vec![upsert(said("told", "a")), note], Vec::new()))
        })
        .poll(move |_| Ok(page("1", vec![upsert(said("told", "a")), upsert(Interaction { occurred: at(1), ..said("missed", "b") })])));
    let intake = intake(&stand, plugin.generation("page", "connector"), Some(Duration::from_secs(60)));

    // when
    stand.push_raw(&["x"]).await;
    stand.turn(&intake).await.unwrap();
    stand.advance(Duration::from_secs(30));
    stand.run(&intake).await;
    let first = stand.record().await.tally;
    stand.advance(Duration::from_secs(60));
    stand.run(&intake).await;

    // then
    let tally = stand.record().await.tally;
    assert_eq!((tally.filled.map(|count| (count.times, count.last)), tally.unknown["hologram"].times), (Some((1, at(30_000))), 1));
    assert_eq!(first, tally, "the same again is none");
}

#[test]
fn only_what_a_webhook_should_have_brought_by_now_is_a_gap() {
    let at = |ms: u64| Timestamp(START.0 + ms);
    let of = |kind: &str, ms: u64| Interaction { kind: kind.to_owned(), occurred: at(ms), ..said("1", "a") };
    let polled = |about: Interaction, looked: u64| {
        let mut tally = Tally::default();
        tally.push(&of("comment", 1_000));
        tally.poll(&about, at(looked));
        tally.filled.map_or(0, |count| count.times)
    };
    assert_eq!(polled(of("comment", 2_000), 12_000), 1);
    assert_eq!(polled(of("comment", 2_000), 11_999), 0, "it may still come");
    assert_eq!(polled(of("comment", 999), 60_000), 0, "nobody listened yet");
    assert_eq!(polled(of("direct", 2_000), 60_000), 0, "webhooks bring none of these");
    assert_eq!(polled(Interaction { ours: Ours::Yes(None), ..of("comment", 2_000) }, 60_000), 0);
}
