//! What is a revision of something known, and what is the same thing told once more.

use super::*;

fn picture(url: &str) -> Attachment {
    Attachment { name: None, media_type: "image/png".to_owned(), size: None, url: Some(url.to_owned()), media_ref: None }
}

#[tokio::test]
async fn what_only_one_dress_has_is_not_compared() {
    // given the same post by webhook without its subject and with it
    let with_subject = Interaction { subject: Some("News".to_owned()), ..said("1", "hello") };

    // when
    let (_, words) = taken(vec![vec![upsert(said("1", "hello"))], vec![upsert(with_subject)], vec![upsert(said("1", "hello"))]]).await;

    // then
    assert_eq!(words, ["arrived"]);
}

#[tokio::test]
async fn a_picture_that_is_named_anew_is_no_edit() {
    let told = |kind: &str, n: usize, host: &str, edited: Option<Timestamp>| {
        let attachments = (0..n).map(|n| picture(&format!("https://{host}.example/{n}.png?oe={host}"))).collect();
        upsert(Interaction { kind: kind.to_owned(), attachments, edited, ..said("1", "look") })
    };
    for (kind, n, edited, expected) in [
        ("direct", 1, None, &["arrived"][..]),
        ("direct", 2, None, &["arrived"]),
        ("direct", 1, Some(Timestamp(9)), &["arrived", "edited"]),
        ("post", 1, None, &["arrived"]),
        ("post", 2, None, &["arrived", "edited"]),
        ("post", 1, Some(Timestamp(9)), &["arrived", "edited"]),
    ] {
        let pages = vec![vec![told(kind, 1, "a", None)], vec![told(kind, n, "b", edited)]];
        assert_eq!(taken(pages).await.1, expected, "{kind}: {n}, {edited:?}");
    }
}

/// What a webhook brings, and then a poll.
async fn pushed_then_polled(pushed: Vec<Interaction>, polled: Interaction) -> Stand {
    let stand = Stand::new("blog");
    let n_raws = pushed.len();
    let plugin = Scripted::default()
        .receive(move |raw| {
            Ok((usize::try_from(raw.seq).ok().and_then(|n| pushed.get(n - 1)).cloned().map(upsert).into_iter().collect(), Vec::new()))
        })
        .poll(move |_| Ok(page("1", vec![upsert(polled.clone())])));
    stand.push_raw(&vec!["pushed"; n_raws]).await;
    stand.run(&intake(&stand, plugin.generation("blog", "connector"), Some(Duration::from_secs(60)))).await;
    stand
}

#[tokio::test]
async fn a_picture_that_the_webhook_left_out_comes_with_the_poll() {
    let with_picture = Interaction { attachments: vec![picture("https://x.example/1.png")], ..said("1", "look") };
    let stand = pushed_then_polled(vec![said("1", "look")], with_picture).await;
    assert_eq!(stand.log().await.last().unwrap().new.body.content().unwrap().attachments.len(), 1);
}

#[tokio::test]
async fn what_a_webhook_s_edit_leaves_out_stays() {
    let whole =
        Interaction { attachments: vec![picture("https://x.example/1.png")], url: Some("https://x.example/1".to_owned()), ..said("1", "look") };
    let edit = Interaction { edited: Some(Timestamp(9)), ..said("1", "look here") };
    let stand = pushed_then_polled(vec![whole.clone(), edit.clone()], edit).await;

    let log = stand.log().await;
    let content = log.last().unwrap().new.body.content().unwrap();
    assert_eq!((log.len(), content.text.as_str(), &content.attachments, &content.url), (2, "look here", &whole.attachments, &whole.url));
}

#[tokio::test]
async fn our_own_words_go_on_the_exchange_of_whom_they_answer() {
    let anna = said("1", "broken");
    let own = |id: &str, parent: Option<&str>| Interaction { ours: Ours::Yes(None), parent: parent.map(native), ..said(id, "We are on it") };
    let (stand, _) = taken(vec![vec![upsert(anna), upsert(own("2", Some("1")))], vec![upsert(own("3", Some("2"))), upsert(own("4", None))]]).await;

    let told: Vec<_> = stand.log().await.iter().map(|entry| (entry.new.exchange.is_some(), entry.exchange_version)).collect();
    assert_eq!(told, [(true, Some(1)), (true, Some(2)), (true, Some(3)), (false, None)]);
}

#[tokio::test]
async fn a_later_edit_takes_a_picture_out_unless_webhooks_may_have_left_it_out() {
    let with_picture = upsert(Interaction { attachments: vec![picture("https://x.example/1.png")], ..said("1", "look") });
    let (stand, words) = taken(vec![vec![with_picture.clone()], vec![edited("1", "look", 9)], vec![edited("1", "look", 9)]]).await;
    assert_eq!(words, ["arrived", "edited"]);
    assert!(stand.log().await.last().unwrap().new.body.content().unwrap().attachments.is_empty());

    let stand = Stand::new("blog");
    let plugin =
        Scripted::default().receive(move |raw| Ok((vec![if raw.seq == 1 { with_picture.clone() } else { edited("1", "look", 9) }], Vec::new())));
    stand.push_raw(&["whole", "without"]).await;
    stand.run(&intake(&stand, plugin.generation("blog", "connector"), None)).await;
    assert_eq!(stand.log().await.len(), 1);
}

#[tokio::test]
async fn an_older_edit_is_a_repeat_and_a_deletion_is_ended_by_a_later_edit_alone() {
    let first = vec![edited("1", "a", 100)];
    let older = vec![edited("1", "b", 50)];
    let gone = vec![Change::Gone(native("1"))];
    let same_time = vec![edited("1", "c", 100)];
    let later = vec![edited("1", "d", 200)];

    let (_, words) = taken(vec![first, older, gone, same_time, later]).await;

    assert_eq!(words, ["arrived", "gone", "edited"]);
}

#[tokio::test]
async fn own_entries_never_revise() {
    let ours = |text: &str| upsert(Interaction { ours: Ours::Yes(None), ..said("1", text) });

    let (_, words) = taken(vec![vec![ours("a")], vec![ours("b")]]).await;

    assert_eq!(words, ["arrived"]);
}

#[tokio::test]
async fn an_edit_of_tomorrow_does_not_hide_those_until_then() {
    let tomorrow = edited("1", "b", START.0 + 86_400_000);

    let (_, words) = taken(vec![vec![upsert(said("1", "a"))], vec![tomorrow], vec![edited("1", "c", START.0)]]).await;

    // Both edits are of now: the later one differs and counts.
    assert_eq!(words, ["arrived", "edited", "edited"]);
}

#[tokio::test]
async fn what_is_edited_on_and_on_costs_one_entry_a_commit() {
    let storm = || (1..100).map(|n| edited("1", &n.to_string(), START.0 - 100 + n)).collect::<Vec<_>>();

    let (stand, words) = taken(vec![vec![upsert(said("1", "a"))], storm(), [storm(), vec![edited("1", "z", START.0)]].concat()]).await;

    assert_eq!(words, ["arrived", "edited", "edited"]);
    let last = stand.log().await.last().unwrap().new.body.content().unwrap().text.clone();
    assert_eq!(last, "z");

    // Taken back in their midst, it is told in order.
    let back = vec![edited("1", "b", START.0 - 9), Change::Gone(native("1")), edited("1", "c", START.0 - 5), edited("1", "d", START.0 - 4)];
    assert_eq!(taken(vec![vec![upsert(said("1", "a"))], back]).await.1, ["arrived", "edited", "gone", "edited"]);
}
