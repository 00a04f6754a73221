//! What was handed over once and is understood later: put off, handed over again, told twice, caught up with.

use super::*;
use crate::model::NewRaw;

#[tokio::test]
async fn what_is_put_off_on_and_on_is_set_aside_at_last_and_what_comes_after_it_arrives() {
    // given a webhook that never can be understood, and does not say so
    let (stand, n_asked) = (Stand::new("forum"), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&n_asked);
    let plugin = Scripted::default().receive(move |raw| match raw.body.as_slice() {
        b"never" => {
            counted.fetch_add(1, Ordering::Relaxed);
            Err(Fault::Transient(detail("timeout")))
        }
        _ => Ok((vec![upsert(said("2", "b"))], Vec::new())),
    });
    let intake = intake(&stand, plugin.generation("forum", "connector"), None);
    stand.push_raw(&["never", "later"]).await;

    // when
    while stand.dead().await.is_empty() {
        if let Turn::Until(at) = stand.run(&intake).await {
            stand.advance(Duration::from_millis(at.since_ms(stand.journal.clock.now())));
        }
        assert!(n_asked.load(Ordering::Relaxed) <= 151, "it is held for ever");
    }

    // then
    assert!(stand.dead().await[0].reason.contains("150 times"), "{:?}", stand.dead().await);
    assert!(stand.journal.clock.now().since_ms(START) > 80_000_000, "an outage of hours costs nothing");
    assert!(stand.log().await.iter().any(|entry| entry.new.body.content().is_some()), "what came after it");
    assert_eq!(stand.state().await, "connected");
}

#[tokio::test]
async fn what_is_handed_over_as_raw_may_not_be_handed_over_again() {
    // given a connector that parses nothing and hands everything on
    let (stand, n_asked) = (Stand::new("mail"), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&n_asked);
    let plugin = Scripted::default().receive(move |raw| {
        counted.fetch_add(1, Ordering::Relaxed);
        let part = |name: &str| Change::Raw(native(name), raw.body.clone());
        Ok((vec![part("a"), part("b")], Vec::new()))
    });
    let intake = intake(&stand, plugin.generation("mail", "connector"), None);
    stand.push_raw(&["parts"]).await;

    // when
    for _ in 0..8 {
        stand.run(&intake).await;
    }

    // then the webhook gave two parts, and each part was asked about once
    assert_eq!(n_asked.load(Ordering::Relaxed), 3);
    let dead = stand.dead().await;
    assert!(dead.len() == 2 && dead.iter().all(|letter| letter.reason.contains("`raw` again")), "{dead:?}");
}

#[tokio::test]
async fn a_first_version_that_is_pushed_again_undoes_no_edit() {
    let stand = Stand::new("page");
    let plugin = Scripted::default()
        .receive(|raw| Ok((vec![if raw.body == b"edit" { edited("1", "second", 9) } else { upsert(said("1", "first")) }], Vec::new())));
    let intake = intake(&stand, plugin.generation("page", "connector"), None);
    stand.push_raw(&["first", "edit", "again"]).await;

    stand.run(&intake).await;

    let log = stand.log().await;
    assert_eq!((log.len(), log[1].new.body.content().unwrap().text.as_str()), (2, "second"));
}

#[tokio::test]
async fn what_is_put_back_on_its_way_keeps_its_time_and_undoes_nothing_that_came_after_it() {
    let stand = Stand::new("shop");
    let plugin = Scripted::default().receive(|raw| {
        let said_of = |id: &str| upsert(said(id, &String::from_utf8_lossy(&raw.body)));
        Ok((if raw.body == b"other" { vec![said_of("2")] } else { vec![said_of("1")] }, Vec::new()))
    });
    let intake = intake(&stand, plugin.generation("shop", "connector"), None);
    stand.advance(Duration::from_secs(3600));
    stand.push_raw(&["second"]).await;
    stand.run(&intake).await;

    // when what was received before it is put back, after it
    let again = |body: &[u8]| NewRaw { origin: RawOrigin::Frame, body: body.to_vec(), received: Some(START), once: None };
    let now = stand.journal.clock.now();
    stand.journal.commit_raw(&stand.channel, now, vec![again(b"first"), again(b"other")]).await.unwrap();
    stand.run(&intake).await;

    let log = stand.log().await;
    let texts: Vec<&str> = log.iter().filter_map(|entry| entry.new.body.content()).map(|content| content.text.as_str()).collect();
    assert_eq!((texts, log[1].received()), (vec!["second", "other"], START));
}

#[tokio::test]
async fn a_stream_that_stands_again_is_caught_up_with_also_while_something_that_came_is_put_off() {
    // given a channel whose next poll is an hour away, and a frame that is put off once
    let (stand, n_polled, n_asked) = (Stand::new("live"), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (polled, asked) = (Arc::clone(&n_polled), Arc::clone(&n_asked));
    let plugin = Scripted::default()
        .poll(move |_| {
            polled.fetch_add(1, Ordering::Relaxed);
            Ok(page("c", Vec::new()))
        })
        .receive(
            move |_| if asked.fetch_add(1, Ordering::Relaxed) == 0 { Err(Fault::Transient(detail("net"))) } else { Ok((Vec::new(), Vec::new())) },
        );
    let intake = intake(&stand, plugin.generation("live", "connector"), Some(Duration::from_secs(3600)));
    stand.run(&intake).await;
    stand.push_raw(&["frame"]).await;
    stand.run(&intake).await;

    // when
    intake.catch_up();
    stand.run(&intake).await;
    stand.advance(Duration::from_secs(60));
    stand.run(&intake).await;

    // then
    assert_eq!((n_asked.load(Ordering::Relaxed), n_polled.load(Ordering::Relaxed)), (2, 2));
}

/// Webhooks of a shop: a text, with `@` and so many seconds after the start where it says that it was edited then; `gone` takes it back.
fn hears(stand: &Stand) -> Intake {
    let plugin = Scripted::default().receive(|raw| {
        let body = String::from_utf8_lossy(&raw.body).into_owned();
        let change = match body.split_once('@') {
            Some((text, seconds)) => edited("1", text, START.0 + seconds.parse::<u64>().unwrap() * 1000),
            None if body == "gone" => Change::Gone(native("1")),
            None => upsert(said("1", &body)),
        };
        Ok((vec![change], Vec::new()))
    });
    intake(stand, plugin.generation("shop", "connector"), None)
}

/// Puts a webhook on its way that was received so many seconds after the start.
async fn push_of(stand: &Stand, seconds: u64, body: &str) {
    let received = Some(Timestamp(START.0 + seconds * 1000));
    let raw = NewRaw { origin: RawOrigin::Frame, body: body.as_bytes().to_vec(), received, once: None };
    stand.journal.commit_raw(&stand.channel, stand.journal.clock.now(), vec![raw]).await.unwrap();
}

async fn texts(stand: &Stand) -> Vec<String> {
    stand.log().await.iter().map(|entry| entry.new.body.content().map_or("gone".to_owned(), |content| content.text.clone())).collect()
}

#[tokio::test]
async fn what_is_put_back_or_pushed_late_ends_no_deletion_and_a_recovery_after_it_does() {
    for (edit, received, is_back) in [("edit@300", 300, false), ("edit@300", 3700, false), ("back@3650", 3660, true)] {
        for is_one_batch in [false, true] {
            // given what was taken back an hour after it was said
            let stand = Stand::new("shop");
            let intake = hears(&stand);
            push_of(&stand, 0, "post").await;
            stand.run(&intake).await;
            stand.advance(Duration::from_secs(3600));
            push_of(&stand, 3600, "gone").await;
            if !is_one_batch {
                stand.run(&intake).await;
            }

            // when
            stand.advance(Duration::from_secs(100));
            push_of(&stand, received, edit).await;
            stand.run(&intake).await;

            // then
            let expected = if is_back { &["post", "gone", "back"][..] } else { &["post", "gone"] };
            assert_eq!(texts(&stand).await, expected, "{edit}, received at {received}, in one batch: {is_one_batch}");
        }
    }
}

#[tokio::test]
async fn what_is_put_back_undoes_no_webhook_that_came_soon_after_it() {
    for is_one_batch in [false, true] {
        let stand = Stand::new("shop");
        let intake = hears(&stand);
        stand.advance(Duration::from_secs(120));
        push_of(&stand, 120, "second").await;
        if !is_one_batch {
            stand.run(&intake).await;
        }
        stand.advance(Duration::from_secs(86_400));
        push_of(&stand, 0, "first").await;
        push_of(&stand, 0, "gone").await;
        stand.run(&intake).await;
        assert_eq!(texts(&stand).await, ["second"], "in one batch: {is_one_batch}");
    }
}

#[tokio::test]
async fn what_waited_for_a_poll_under_way_is_newer_than_what_that_brought() {
    let stand = Stand::new("forum");
    let plugin =
        Scripted::default().poll(|_| Ok(page("c", vec![upsert(said("1", "old"))]))).receive(|_| Ok((vec![upsert(said("1", "new"))], Vec::new())));
    let intake = intake(&stand, plugin.generation("forum", "connector"), Some(Duration::from_secs(3600)));
    stand.advance(Duration::from_secs(100));
    stand.run(&intake).await;
    push_of(&stand, 50, "new").await;
    stand.run(&intake).await;
    assert_eq!(texts(&stand).await, ["old", "new"]);
}
