//! The analysis and its catch-up pass, with analyzers that fail as they are told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::model::{Annotation, Digest, EntryBody, Fact, Fault, Seq, Value};
use crate::plugin::Generation;
use crate::stage::{StageError, Turn};
use crate::store::{OFF, Reader, StoreError};
use crate::testing::{Scripted, Stand, detail, said};

use super::{Analysis, Analyzer, Analyzers, CatchUp, Rerun, missing_reader};

fn analyzer(name: &str, plugin: Arc<Generation>, after: &[&str]) -> Analyzer {
    Analyzer {
        name: name.to_owned(),
        plugin,
        config: Digest::of(b""),
        after: after.iter().map(|name| (*name).to_owned()).collect(),
        wait: Duration::from_secs(10),
        channels: Vec::new(),
        sees_authors: false,
        sees_attachments: false,
    }
}

fn word(key: &str) -> Vec<Annotation> {
    vec![Annotation { key: key.to_owned(), value: Value::Boolean(true), confidence: None }]
}

/// What the analyzer `mood` does at each call: nothing, one fault after the other, then answers.
struct Mood {
    faults: Mutex<Vec<Fault>>,
    texts: Mutex<Vec<String>>,
    n_calls: AtomicUsize,
}

/// `language`, which always answers, and `mood`, which comes after it and fails first as it is told.
fn lineup(faults: Vec<Fault>) -> (Arc<Analyzers>, Arc<Mood>) {
    let mood = Arc::new(Mood { faults: Mutex::new(faults), texts: Mutex::default(), n_calls: AtomicUsize::new(0) });
    let language = Scripted::default().analyze(|texts| Ok(texts.iter().map(|_| word("language")).collect()));
    let told = Arc::clone(&mood);
    let script = Scripted::default().analyze(move |texts| {
        told.n_calls.fetch_add(1, Ordering::Relaxed);
        let mut faults = told.faults.lock().unwrap();
        if !faults.is_empty() {
            return Err(faults.remove(0));
        }
        told.texts.lock().unwrap().extend(texts.iter().cloned());
        Ok(texts.iter().map(|_| word("mood")).collect())
    });
    let language = analyzer("language", language.generation("language", "analyzer"), &[]);
    (Arc::new(Analyzers::new(vec![analyzer("mood", script.generation("mood", "analyzer"), &["language"]), language])), mood)
}

fn transient(n: usize) -> Vec<Fault> {
    (0..n).map(|_| Fault::Transient(detail("busy"))).collect()
}

async fn missing(stand: &Stand) -> Vec<String> {
    let annotated = stand.store().annotated(&stand.channel, Seq(1), Seq(99)).await.unwrap();
    annotated.into_iter().flat_map(|(_, said)| said.missing).collect()
}

fn stages(stand: &Stand, analyzers: &Arc<Analyzers>) -> (Analysis, CatchUp) {
    (
        Analysis::new(stand.journal.clone(), stand.channel.clone(), Arc::clone(analyzers)),
        CatchUp::new(stand.journal.clone(), stand.channel.clone(), Arc::clone(analyzers)),
    )
}

#[tokio::test]
async fn a_late_answer_sees_the_words_it_comes_after_and_is_told_where_it_was_missed() {
    // given an item decided without its mood
    let (stand, (analyzers, mood)) = (Stand::new("blog"), lineup(transient(1)));
    let (analysis, catch_up) = stages(&stand, &analyzers);
    stand.arrive(vec![said("1", "hello")]).await;
    stand.run(&analysis).await;
    assert_eq!(missing(&stand).await, ["mood"]);
    stand.decide("1", 1, &["mood"]).await;

    // when
    stand.advance(Duration::from_secs(31));
    stand.run(&catch_up).await;

    // then
    assert_eq!(*mood.texts.lock().unwrap(), ["hello [language]"]);
    assert_eq!(missing(&stand).await, [""; 0]);
    let last = stand.log().await.last().unwrap().new.body.clone();
    assert_eq!(last, EntryBody::Fact(Fact::AnnotationLate { analyzer: "mood".to_owned() }));
}

#[tokio::test]
async fn a_late_answer_is_told_also_where_a_rule_could_decide_only_when_it_was_asked_again() {
    for is_decided in [true, false] {
        // given an item that an analyzer and the rule failed at, about which the rule was asked again
        let (stand, (analyzers, _)) = (Stand::new("blog"), lineup(transient(1)));
        let (analysis, catch_up) = stages(&stand, &analyzers);
        stand.arrive(vec![said("1", "hello")]).await;
        stand.run(&analysis).await;
        stand.move_reader(Reader::Rules, 1).await;
        let mut again = stand.journal.begin(&stand.channel);
        again.entries.push(stand.entry("1", EntryBody::Fact(Fact::AskedAgain)));
        stand.journal.commit(again).await.unwrap();
        stand.run(&analysis).await;
        if is_decided {
            stand.decide("1", 2, &["mood"]).await;
        }

        // when
        stand.advance(Duration::from_secs(31));
        stand.run(&catch_up).await;

        // then it is told, too, while it might be deciding
        let last = stand.log().await.last().unwrap().new.body.clone();
        assert_eq!(last, EntryBody::Fact(Fact::AnnotationLate { analyzer: "mood".to_owned() }), "decided: {is_decided}");
    }
}

#[tokio::test]
async fn a_rerun_leaves_to_the_catch_up_pass_what_it_still_has_to_tell() {
    // given an item that was decided without its mood, and an order to ask for all moods again
    let (stand, (analyzers, _)) = (Stand::new("blog"), lineup(transient(1)));
    let (analysis, catch_up) = stages(&stand, &analyzers);
    stand.arrive(vec![said("1", "hello")]).await;
    stand.run(&analysis).await;
    stand.move_reader(Reader::Rules, 1).await;
    stand.move_reader(Reader::rerun("mood"), 0).await;

    // when the rerun comes first
    stand.run(&Rerun::new(stand.journal.clone(), stand.channel.clone(), Arc::clone(&analyzers))).await;
    assert_eq!(missing(&stand).await, ["mood"]);
    stand.advance(Duration::from_secs(31));
    stand.run(&catch_up).await;

    // then
    assert_eq!(missing(&stand).await, [""; 0]);
}

#[tokio::test]
async fn a_trickle_of_news_does_not_keep_the_catch_up_pass_waiting() {
    // given an item without its mood
    let (stand, (analyzers, mood)) = (Stand::new("blog"), lineup(transient(1)));
    let (analysis, catch_up) = stages(&stand, &analyzers);
    stand.arrive(vec![said("first", "hello")]).await;
    stand.run(&analysis).await;
    assert_eq!(missing(&stand).await, ["mood"]);

    // when another one comes each twenty seconds
    for n in 2..=3 {
        stand.advance(Duration::from_secs(20));
        stand.arrive(vec![said(&n.to_string(), "more")]).await;
        stand.run(&analysis).await;
        stand.move_reader(Reader::Rules, n).await;
        stand.run(&catch_up).await;
    }

    // then
    assert_eq!(missing(&stand).await, [""; 0]);
    assert!(mood.texts.lock().unwrap().contains(&"hello [language]".to_owned()));
}

#[tokio::test]
async fn the_catch_up_pass_stays_behind_the_rules() {
    // given an item that the rules did not see yet
    let (stand, (analyzers, mood)) = (Stand::new("blog"), lineup(transient(1)));
    let (analysis, catch_up) = stages(&stand, &analyzers);
    stand.arrive(vec![said("1", "hello")]).await;
    stand.run(&analysis).await;

    // when
    stand.advance(Duration::from_secs(31));
    let rest = stand.run(&catch_up).await;

    // then
    assert_eq!((rest, mood.n_calls.load(Ordering::Relaxed)), (Turn::Idle, 1));
}

#[tokio::test]
async fn the_catch_up_pass_waits_for_what_time_may_mend_within_a_bound() {
    for (n_faults, is_mended) in [(3, true), (99, false)] {
        // given
        let (stand, (analyzers, mood)) = (Stand::new("blog"), lineup(transient(n_faults)));
        let (analysis, catch_up) = stages(&stand, &analyzers);
        stand.arrive(vec![said("1", "hello")]).await;
        stand.run(&analysis).await;
        stand.move_reader(Reader::Rules, 1).await;

        // when it is asked again and again
        stand.advance(Duration::from_secs(31));
        for _ in 0..20 {
            if let Turn::Until(at) = stand.run(&catch_up).await {
                assert_eq!(stand.record().await.position(&missing_reader()), 0, "it holds");
                stand.advance(Duration::from_millis(at.since_ms(stand.journal.clock.now())));
            }
        }

        // then
        assert_eq!(stand.record().await.position(&missing_reader()), 1);
        assert_eq!(missing(&stand).await.is_empty(), is_mended);
        assert_eq!(stand.dead().await.is_empty(), is_mended, "given up is a letter");
        assert!(mood.n_calls.load(Ordering::Relaxed) < 10);
    }
}

#[tokio::test]
async fn a_letter_is_written_again_while_it_fails_and_taken_back_once_mended() {
    // given an item that traps the analyzer, in the analysis and in the catch-up pass
    let trap = || Fault::Permanent(detail("trap"));
    let (stand, (analyzers, _)) = (Stand::new("blog"), lineup(vec![trap(), trap()]));
    let (analysis, catch_up) = stages(&stand, &analyzers);
    stand.arrive(vec![said("1", "hello")]).await;
    stand.run(&analysis).await;
    let first = stand.dead().await;
    stand.move_reader(Reader::Rules, 1).await;
    stand.advance(Duration::from_secs(31));
    stand.run(&catch_up).await;
    let second = stand.dead().await;
    assert_eq!((first.len(), second.len()), (1, 1));
    assert!(second[0].at > first[0].at, "it was written again");

    // when an admin sets the pass back
    stand.move_reader(missing_reader(), 0).await;
    stand.run(&catch_up).await;

    // then
    assert_eq!(stand.dead().await.len(), 0);
    assert_eq!(missing(&stand).await, [""; 0]);
}

#[tokio::test]
async fn a_pass_set_back_during_the_analysis_stays_set_back() {
    // given one item done, and an admin who sets the pass back while the next is looked at
    let stand = Stand::new("blog");
    let (journal, channel) = (stand.journal.clone(), stand.channel.clone());
    let script = Scripted::default().analyze(move |texts| {
        if texts == ["two"] {
            let mut order = journal.begin(&channel);
            order.positions.push((missing_reader(), 0));
            futures_util::FutureExt::now_or_never(journal.commit(order)).unwrap().unwrap();
        }
        Ok(texts.iter().map(|_| word("mood")).collect())
    });
    let analyzers = Arc::new(Analyzers::new(vec![analyzer("mood", script.generation("mood", "analyzer"), &[])]));
    let (analysis, _) = stages(&stand, &analyzers);
    stand.arrive(vec![said("1", "one")]).await;
    stand.run(&analysis).await;
    assert_eq!(stand.record().await.position(&missing_reader()), 1);

    // when
    stand.arrive(vec![said("2", "two")]).await;
    let first = stand.turn(&analysis).await;
    stand.run(&analysis).await;

    // then
    assert!(matches!(first, Err(StageError::Store(StoreError::Conflict(_)))));
    assert_eq!(stand.record().await.position(&missing_reader()), 0);
    assert_eq!(stand.record().await.position(&Reader::Analysis), 2);
}

#[tokio::test]
async fn an_analyzer_that_never_answers_is_left_alone_for_a_while_and_hides_nothing() {
    // given
    let (stand, (analyzers, mood)) = (Stand::new("blog"), lineup(transient(99)));
    let (analysis, _) = stages(&stand, &analyzers);

    // when
    for n in 1..=5 {
        stand.arrive(vec![said(&n.to_string(), "hello")]).await;
        stand.run(&analysis).await;
    }

    // then
    assert_eq!(mood.n_calls.load(Ordering::Relaxed), 2, "two turns taught it");
    let annotated = stand.store().annotated(&stand.channel, Seq(1), Seq(5)).await.unwrap();
    assert!(annotated.iter().all(|(_, said)| said.missing == ["mood"] && said.annotations.len() == 1));
    stand.advance(Duration::from_secs(11));
    stand.arrive(vec![said("6", "hello")]).await;
    stand.run(&analysis).await;
    assert_eq!(mood.n_calls.load(Ordering::Relaxed), 3, "then it is asked once more");
}

/// What `mood` said of each item.
async fn moods(stand: &Stand) -> Vec<Vec<String>> {
    let annotated = stand.store().annotated(&stand.channel, Seq(1), Seq(99)).await.unwrap();
    let of_mood = |annotations: Vec<(String, Digest, Annotation)>| annotations.into_iter().filter(|(by, ..)| by == "mood");
    annotated.into_iter().map(|(_, said)| of_mood(said.annotations).map(|(.., one)| one.key).collect()).collect()
}

#[tokio::test]
async fn what_is_stored_is_asked_again_of_the_build_in_force_and_no_other_word_changes() {
    // given three items, and a build that says otherwise
    let (stand, (analyzers, _)) = (Stand::new("blog"), lineup(Vec::new()));
    let (analysis, _) = stages(&stand, &analyzers);
    stand.arrive(vec![said("1", "one"), said("2", "two"), said("3", "three")]).await;
    stand.run(&analysis).await;
    let texts = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&texts);
    let (faults, n_entries) = (Arc::new(Mutex::new(transient(1))), stand.log().await.len());
    let better = Scripted::default().analyze(move |texts| {
        if let Some(fault) = faults.lock().unwrap().pop() {
            return Err(fault);
        }
        heard.lock().unwrap().extend(texts.iter().cloned());
        Ok(texts.iter().map(|_| word("better")).collect())
    });
    analyzers.replace(&analyzer("mood", better.generation("mood", "analyzer"), &["language"]));
    let rerun = Rerun::new(stand.journal.clone(), stand.channel.clone(), Arc::clone(&analyzers));
    assert_eq!(stand.run(&rerun).await, Turn::Idle, "nobody ordered it");

    // when it is asked again about all but the first, and does not answer at once
    stand.move_reader(Reader::rerun("mood"), 1).await;
    assert!(matches!(stand.run(&rerun).await, Turn::Until(_)));
    assert_eq!(moods(&stand).await, [["mood"], ["mood"], ["mood"]], "its old words stay");
    for _ in 0..2 {
        stand.advance(Duration::from_secs(31));
        stand.run(&rerun).await;
    }

    // then
    assert_eq!(moods(&stand).await, [["mood"], ["better"], ["better"]]);
    assert_eq!(*texts.lock().unwrap(), ["two [language]", "three [language]"]);
    assert_eq!(stand.record().await.position(&Reader::rerun("mood")), OFF);
    assert_eq!((missing(&stand).await, stand.log().await.len()), (Vec::new(), n_entries), "the rules are not asked again");
}

#[tokio::test]
async fn what_was_taken_back_is_read_by_no_late_analyzer() {
    let (stand, (analyzers, mood)) = (Stand::new("blog"), lineup(transient(1)));
    let (analysis, catch_up) = stages(&stand, &analyzers);
    stand.arrive(vec![said("1", "regretted"), said("2", "kept")]).await;
    stand.run(&analysis).await;
    let mut gone = stand.journal.begin(&stand.channel);
    gone.entries.push(stand.entry("1", EntryBody::Gone));
    stand.journal.commit(gone).await.unwrap();
    stand.move_reader(Reader::Rules, 3).await;
    stand.run(&analysis).await;

    stand.advance(Duration::from_secs(31));
    stand.run(&catch_up).await;
    stand.move_reader(Reader::rerun("mood"), 0).await;
    stand.run(&Rerun::new(stand.journal.clone(), stand.channel.clone(), Arc::clone(&analyzers))).await;

    assert_eq!(*mood.texts.lock().unwrap(), ["kept [language]", "kept [language]"]);
    assert_eq!(stand.record().await.position(&missing_reader()), 3);
}

#[tokio::test]
async fn an_order_that_is_taken_back_meanwhile_stands() {
    let (stand, (analyzers, mood)) = (Stand::new("blog"), lineup(Vec::new()));
    let (analysis, _) = stages(&stand, &analyzers);
    stand.arrive((0..100).map(|n| said(&n.to_string(), "again")).collect()).await;
    stand.run(&analysis).await;
    let rerun = Rerun::new(stand.journal.clone(), stand.channel.clone(), Arc::clone(&analyzers));
    stand.move_reader(Reader::rerun("mood"), 0).await;
    stand.turn(&rerun).await.unwrap();
    let n_calls = mood.n_calls.load(Ordering::Relaxed);
    stand.move_reader(Reader::rerun("mood"), OFF).await;
    stand.advance(Duration::from_secs(31));
    assert_eq!(stand.run(&rerun).await, Turn::Idle);
    assert_eq!(mood.n_calls.load(Ordering::Relaxed), n_calls);
}
