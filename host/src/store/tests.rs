//! One contract for every store: the same operations, the same answers, over restarts without a goodbye.

use std::sync::Arc;

use crate::model::{
    Action, ActionId, ActionState, Annotation, Assignment, ChannelName, ConversationId, DeadId, DeadLetter, DeadSubject, Decision, Digest, EntryBody,
    ExchangeId, IdKey, IdentityId, Interaction, InteractionId, Lineup, LineupId, LineupMember, NativeId, NewEntry, NewRaw, Ours, RawOrigin, Results,
    ResultsOf, Seq, Task, TaskId, TaskState, Timer, TimerKind, Timestamp, Value, Wanted,
};

mod backup;
mod damage;
mod media;

use super::{ChannelStatus, Commit, Link, MemoryStore, Reader, SinkRetry, SledStore, Store, StoreError, Verified};

/// A small generator, so that a failure can be repeated by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn id(&mut self, kind: u8, sides: u64) -> [u8; 16] {
        let mut id = [kind; 16];
        id[15] = u8::try_from(self.roll(sides)).unwrap();
        id
    }
}

#[track_caller]
fn assert_sound(verified: &Verified) {
    assert!(verified.is_sound(), "{verified:?}");
}

fn channel() -> ChannelName {
    ChannelName::from("blog")
}

fn said(text: &str, id: [u8; 16]) -> Box<Interaction> {
    Box::new(Interaction {
        native: NativeId { scope: String::new(), id: format!("{id:?}") },
        aka: Vec::new(),
        kind: "post".to_owned(),
        visibility: "public".to_owned(),
        author: None,
        ours: Ours::No,
        automated: "no".to_owned(),
        conversation: None,
        parent: None,
        refs: Vec::new(),
        subject: None,
        text: text.to_owned(),
        quoted: None,
        language: None,
        url: None,
        attachments: Vec::new(),
        place: None,
        side: None,
        campaign: None,
        occurred: Timestamp(1),
        edited: None,
        reply_context: None,
        attrs: Vec::new(),
    })
}

fn action(dice: &mut Dice, about: InteractionId, id: ActionId, revision: u64) -> Action {
    let states =
        [ActionState::Pending, ActionState::Claimed, ActionState::Retry, ActionState::Sent, ActionState::AwaitingApproval, ActionState::Unknown];
    Action {
        id,
        channel: channel(),
        interaction: about,
        seq: Seq(1 + dice.roll(3)),
        conversation: ConversationId(about.0),
        exchange: ExchangeId(dice.id(9, 3)),
        exchange_version: 1,
        identity: None,
        rule: "impact".to_owned(),
        wanted: Wanted { key: "reply".to_owned(), kind: "reply".to_owned(), body: "{}".to_owned() },
        text: "x".repeat(usize::try_from(dice.roll(9000)).unwrap()),
        is_edited: false,
        is_automatic: false,
        review: Vec::new(),
        state: states[usize::try_from(dice.roll(6)).unwrap()],
        revision,
        attempts: 0,
        due: Timestamp(dice.roll(50)),
        created: Timestamp(1),
        native: None,
        error: None,
        digest: None,
    }
}

fn task(dice: &mut Dice, about: InteractionId, id: TaskId, revision: u64) -> Task {
    Task {
        id,
        channel: channel(),
        interaction: about,
        seq: Seq(1),
        rule: "impact".to_owned(),
        key: "assign".to_owned(),
        row: None,
        assignment: Assignment {
            team: "support".to_owned(),
            within_ms: Some(dice.roll(9)),
            consulted: Vec::new(),
            informed: Vec::new(),
            escalate: Vec::new(),
            note: None,
        },
        state: TaskState::Open,
        opened: Timestamp(1),
        due: None,
        escalated: Vec::new(),
        is_overdue: false,
        revision,
    }
}

/// One random commit on what `store` holds now.
async fn random_commit(dice: &mut Dice, store: &dyn Store, at: u64) -> Commit {
    let channel = channel();
    let mut commit = Commit::new(channel.clone(), Timestamp(at));
    let last = store.channel(&channel).await.unwrap().last;
    for _ in 0..dice.roll(6) {
        let id = InteractionId(dice.id(1, 30));
        let text = "w".repeat(usize::try_from(dice.roll(3) * dice.roll(3) * 1500).unwrap());
        let body = match dice.roll(6) {
            0..3 => EntryBody::Arrived(said(&text, id.0)),
            3 => EntryBody::Edited(said(&text, id.0)),
            4 => EntryBody::Gone,
            _ => EntryBody::Note { kind: "x".to_owned(), json: "{}".to_owned() },
        };
        // An id arrives once; what does not exist is not edited.
        let is_known = matches!(store.resolve(&channel, &[id]).await.unwrap()[0], super::Resolved::Interaction(_))
            || commit.entries.iter().any(|e| e.interaction == Some(id));
        if is_known == matches!(body, EntryBody::Arrived(_)) {
            continue;
        }
        let conversation = Some(ConversationId(if dice.roll(2) == 0 { id.0 } else { dice.id(1, 30) }));
        commit.entries.push(NewEntry {
            interaction: Some(id),
            identity: Some(IdentityId(dice.id(3, 4))),
            conversation,
            exchange: Some(ExchangeId(dice.id(9, 3))),
            is_backfill: false,
            body,
        });
    }
    sprinkle(dice, &mut commit);
    let id = ActionId(dice.id(4, 6));
    let revision = store.action(&commit.channel, id).await.unwrap().map_or(0, |action| action.revision);
    let owner = InteractionId([id.0[15]; 16]);
    commit.actions.push(action(dice, owner, id, revision + 1));
    let id = TaskId(dice.id(5, 4));
    let revision = store.task(&commit.channel, id).await.unwrap().map_or(0, |task| task.revision);
    commit.tasks.push(task(dice, InteractionId([id.0[15]; 16]), id, revision + 1));
    if last.0 > 0 {
        judge(dice, &mut commit, last.0);
    }
    commit
}

/// Up to three of what most commits lack; so the same key may be written twice in one commit.
fn sprinkle(dice: &mut Dice, commit: &mut Commit) {
    for _ in 0..1 + dice.roll(3) {
        let kind = dice.roll(15);
        one_more(dice, commit, kind);
        if dice.roll(2) == 0 {
            one_more(dice, commit, kind);
        }
    }
}

fn one_more(dice: &mut Dice, commit: &mut Commit, kind: u64) {
    let (channel, at) = (channel(), commit.at.0);
    let about = InteractionId(dice.id(1, 30));
    match kind {
        0 => commit.links.push((InteractionId(dice.id(2, 9)), Link::Interaction(about))),
        1 => commit.links.push((InteractionId(dice.id(2, 9)), Link::Ancestor(ConversationId(about.0)))),
        2 => commit.merges.push((ConversationId(dice.id(1, 30)), ConversationId(dice.id(1, 30)))),
        3 => commit.state.push((format!("k{}", dice.roll(3)), (dice.roll(3) > 0).then(|| vec![7; usize::try_from(dice.roll(9000)).unwrap()]))),
        4 => commit.cursor = Some("c".repeat(usize::try_from(dice.roll(9000)).unwrap())),
        5 => commit.replied.push((ExchangeId(dice.id(9, 3)), dice.roll(2) == 0)),
        6 => commit.raws.push(NewRaw {
            origin: RawOrigin::Frame,
            body: vec![1; usize::try_from(dice.roll(100_000)).unwrap()],
            received: None,
            once: None,
        }),
        7 => commit.timers_set.push(Timer { due: Timestamp(dice.roll(50)), channel, task: TaskId(dice.id(5, 4)), kind: TimerKind::Escalate(1) }),
        8 => commit.dead.push(DeadLetter {
            id: DeadId(dice.id(6, 5)),
            channel,
            stage: "rules".to_owned(),
            subject: DeadSubject::Entry(Seq(1)),
            plugin: None,
            digest: None,
            reason: "r".to_owned(),
            at: Timestamp(at),
        }),
        9 => commit.sink_retries.push(SinkRetry {
            sink: "crm".to_owned(),
            id: format!("e{}", dice.roll(4)),
            seq: Seq(1),
            event: "x".to_owned(),
            attempts: 1,
            due: Timestamp(dice.roll(50)),
            first: Timestamp(1),
        }),
        10 => {
            (0..dice.roll(60)).for_each(|n| commit.tally.get_or_insert_default().note("gap", &format!("{{\"reason\":\"{n:0>90}\"}}"), Timestamp(at)))
        }
        11 => commit.status = Some(ChannelStatus { state: "connected".to_owned(), reason: None, since: Timestamp(at) }),
        12 => {
            let (index, until) = (u16::try_from(dice.roll(3)).unwrap(), dice.roll(50));
            let body = vec![9; usize::try_from(dice.roll(9000)).unwrap()];
            commit.media.push(if dice.roll(3) > 0 { media::file(about, index, &body, until) } else { media::failed(about, index, until) });
        }
        13 => commit.media_gone.push((about, u16::try_from(dice.roll(3)).unwrap())),
        _ => commit.positions.push((Reader::Rules, dice.roll(40))),
    }
}

fn judge(dice: &mut Dice, commit: &mut Commit, last: u64) {
    let member = |name: &str| LineupMember { name: name.to_owned(), digest: Digest([1; 32]), config: Digest([2; 32]) };
    let lineup = Lineup { id: LineupId([8; 16]), members: vec![member("language"), member("mood")] };
    let word = || Annotation { key: "language".to_owned(), value: Value::Text("it".to_owned()), confidence: None };
    let from = 1 + dice.roll(last);
    let of = (from..=last.min(from + dice.roll(200)))
        .map(|seq| ResultsOf { seq: Seq(seq), said: vec![(0, Some(vec![word()])), (1, (dice.roll(2) == 0).then(Vec::new))] });
    commit.results.push(Results { lineup: lineup.id, of: of.collect() });
    commit.lineup = Some(lineup);
    commit.decisions.push(Decision {
        seq: Seq(from),
        interaction: InteractionId([1; 16]),
        rule: format!("rule{}", dice.roll(2)),
        digest: Digest([3; 32]),
        row: Some(format!("row{}", dice.roll(9))),
        reasons: vec!["because".repeat(usize::try_from(dice.roll(200)).unwrap())],
        actions: Vec::new(),
        dropped: Vec::new(),
        missing: Vec::new(),
        lineups: Vec::new(),
        at: commit.at,
    });
}

/// Every question that a stage may ask.
async fn compare(a: &dyn Store, b: &dyn Store) {
    let c = channel();
    let end = Seq(u64::MAX);
    assert_eq!(a.channel(&c).await.unwrap(), b.channel(&c).await.unwrap());
    assert_eq!(a.channels().await.unwrap(), b.channels().await.unwrap());
    for from in [1, 5, 17] {
        assert_eq!(a.read_log(&c, Seq(from), 40).await.unwrap(), b.read_log(&c, Seq(from), 40).await.unwrap());
        assert_eq!(a.read_log_back(&c, Seq(from * 7), 9).await.unwrap(), b.read_log_back(&c, Seq(from * 7), 9).await.unwrap());
        assert_eq!(a.annotated(&c, Seq(from), Seq(from + 30)).await.unwrap(), b.annotated(&c, Seq(from), Seq(from + 30)).await.unwrap());
    }
    assert_eq!(a.read_log_back(&c, end, 9).await.unwrap(), b.read_log_back(&c, end, 9).await.unwrap());
    assert_eq!(a.decisions(&c, Seq(1), Seq(10_000)).await.unwrap(), b.decisions(&c, Seq(1), Seq(10_000)).await.unwrap());
    let ids: Vec<InteractionId> = (0..30)
        .flat_map(|n| {
            [1, 2].map(|kind| {
                let mut id = [kind; 16];
                id[15] = n;
                InteractionId(id)
            })
        })
        .collect();
    assert_eq!(a.resolve(&c, &ids).await.unwrap(), b.resolve(&c, &ids).await.unwrap());
    for id in &ids {
        assert_eq!(a.conversation(&c, ConversationId(id.0)).await.unwrap(), b.conversation(&c, ConversationId(id.0)).await.unwrap());
        assert_eq!(a.media_about(&c, *id).await.unwrap(), b.media_about(&c, *id).await.unwrap());
        assert_eq!(a.media_body(&c, *id, 1).await.unwrap(), b.media_body(&c, *id, 1).await.unwrap());
    }
    for n in 0..6 {
        let with = |kind: u8| {
            let mut id = [kind; 16];
            id[15] = n;
            id
        };
        assert_eq!(a.exchange(&c, ExchangeId(with(9))).await.unwrap(), b.exchange(&c, ExchangeId(with(9))).await.unwrap());
        assert_eq!(a.action(&c, ActionId(with(4))).await.unwrap(), b.action(&c, ActionId(with(4))).await.unwrap());
        assert_eq!(a.actions_about(&c, InteractionId([n; 16])).await.unwrap(), b.actions_about(&c, InteractionId([n; 16])).await.unwrap());
        assert_eq!(a.tasks_about(&c, InteractionId([n; 16])).await.unwrap(), b.tasks_about(&c, InteractionId([n; 16])).await.unwrap());
    }
    let now = Timestamp(25);
    assert_eq!(a.actions_due(&c, now, None, 50).await.unwrap(), b.actions_due(&c, now, None, 50).await.unwrap());
    let page = a.actions_due(&c, now, None, 2).await.unwrap();
    let after = page.last().and_then(|action| action.next_look().map(|due| (due, action.id)));
    assert_eq!(a.actions_due(&c, now, after, 50).await.unwrap(), b.actions_due(&c, now, after, 50).await.unwrap());
    for action in a.actions(&c, None, 50).await.unwrap() {
        assert_eq!(a.must_wait(&c, &action).await.unwrap(), b.must_wait(&c, &action).await.unwrap(), "{action:?}");
    }
    assert_eq!(a.timers_due(&c, now, 50).await.unwrap(), b.timers_due(&c, now, 50).await.unwrap());
    assert_eq!(a.sink_retries_due(&c, "crm", now, 50).await.unwrap(), b.sink_retries_due(&c, "crm", now, 50).await.unwrap());
    assert_eq!(a.actions(&c, None, 4).await.unwrap(), b.actions(&c, None, 4).await.unwrap());
    assert_eq!(a.tasks(&c, None, 3).await.unwrap(), b.tasks(&c, None, 3).await.unwrap());
    assert_eq!(a.dead_letters(&c, None, 4).await.unwrap(), b.dead_letters(&c, None, 4).await.unwrap());
    assert_eq!(a.channel_and_state(&c).await.unwrap(), b.channel_and_state(&c).await.unwrap());
    assert_eq!(a.read_raw(&c, 1, 9, 200_000).await.unwrap(), b.read_raw(&c, 1, 9, 200_000).await.unwrap());
}

/// Once the threads of the one that was dropped have ended.
fn opened_again(dir: &std::path::Path) -> Arc<SledStore> {
    loop {
        match SledStore::open(dir) {
            Err(StoreError::InUse(_)) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

#[tokio::test]
async fn both_stores_answer_alike_over_restarts() {
    for seed in 1..=3 {
        let dir = tempfile::tempdir().unwrap();
        let (mut dice, model) = (Dice(seed), MemoryStore::new(IdKey([7; 32])));
        let mut store = SledStore::open(dir.path()).unwrap();
        for at in 1..=120 {
            let commit = random_commit(&mut dice, &model, at).await;
            let (a, b) = (model.commit(commit.clone()).await.unwrap(), store.commit(commit).await.unwrap());
            assert_eq!(a, b, "seed {seed}, commit {at}");
            if at % 30 == 0 {
                compare(&model, store.as_ref()).await;
                drop(store);
                store = opened_again(dir.path());
                compare(&model, store.as_ref()).await;
            }
        }
        let verified = store.verify().await.unwrap();
        assert_sound(&verified);
        assert_eq!(verified.n_entries, model.channel(&channel()).await.unwrap().last.0);
        let blobs = dir.path().join("store/blobs");
        assert!(!blobs.exists() || std::fs::read_dir(blobs).unwrap().next().is_none(), "no value may be so large that sled makes it a file");
    }
}

async fn contract(store: &dyn Store) {
    let mut dice = Dice(5);
    let id = ActionId([4; 16]);
    let mut first = Commit::new(channel(), Timestamp(1));
    first.actions.push(action(&mut dice, InteractionId([1; 16]), id, 1));
    store.commit(first.clone()).await.unwrap();
    // The same revision again: somebody was faster.
    first.entries.push(NewEntry { interaction: None, identity: None, conversation: None, exchange: None, is_backfill: false, body: EntryBody::Gone });
    assert!(matches!(store.commit(first).await, Err(StoreError::Conflict(_))));
    assert_eq!(store.channel(&channel()).await.unwrap().last, Seq(0), "a conflict writes nothing");

    let mut twice = Commit::new(channel(), Timestamp(1));
    twice.actions.extend([1, 2].map(|revision| action(&mut dice, InteractionId([2; 16]), ActionId([9; 16]), revision)));
    assert!(matches!(store.commit(twice).await, Err(StoreError::Conflict(_))), "one commit writes an action once");

    let raw = |id: &str| NewRaw { origin: RawOrigin::Frame, body: b"x".to_vec(), received: None, once: Some((id.to_owned(), 100)) };
    assert_eq!(store.commit_raw(&channel(), Timestamp(10), vec![raw("a"), raw("a"), raw("b")]).await.unwrap(), [Some(1), None, Some(2)]);
    assert_eq!(store.commit_raw(&channel(), Timestamp(100), vec![raw("a")]).await.unwrap(), [None]);
    assert_eq!(store.commit_raw(&channel(), Timestamp(110), vec![raw("a")]).await.unwrap(), [Some(3)], "past its window");

    let mut read = Commit::new(channel(), Timestamp(120));
    read.positions.push((Reader::Raw, 2));
    store.commit(read).await.unwrap();
    assert_eq!(store.drop_raw(&channel(), Timestamp(1000)).await.unwrap(), 2, "what was not read stays");
    assert_eq!(store.read_raw(&channel(), 1, 9, 99).await.unwrap().len(), 1);
    holds(store).await;
}

/// A pause that only an order ends, and a position that somebody set back.
async fn holds(store: &dyn Store) {
    let status = |state: &str, is_order: bool| {
        let mut commit = Commit::new(channel(), Timestamp(130));
        commit.status = Some(ChannelStatus { state: state.to_owned(), reason: None, since: Timestamp(130) });
        commit.is_order = is_order;
        commit
    };
    let state = async || store.channel(&channel()).await.unwrap().status.unwrap().state;
    store.commit(status("paused", true)).await.unwrap();
    store.commit(status("connected", false)).await.unwrap();
    assert_eq!(state().await, "paused", "no stage ends a pause");
    store.commit(status("connected", true)).await.unwrap();
    assert_eq!(state().await, "connected");

    let reader = Reader::CatchUp("missing".to_owned());
    let moved = |expected: u64, to: u64| {
        let mut commit = Commit::new(channel(), Timestamp(140));
        commit.expected.push((reader.clone(), expected));
        commit.positions.push((reader.clone(), to));
        commit
    };
    store.commit(moved(0, 5)).await.unwrap();
    assert!(matches!(store.commit(moved(4, 9)).await, Err(StoreError::Conflict(_))));
    assert_eq!(store.channel(&channel()).await.unwrap().position(&reader), 5);
}

/// More old raw items than one step looks at; what a letter names stays, and what stands behind it goes.
async fn drops_all_that_is_old(store: &dyn Store) {
    let raws = || (0..1500).map(|_| NewRaw { origin: RawOrigin::Frame, body: b"x".to_vec(), received: None, once: None }).collect::<Vec<_>>();
    store.commit_raw(&channel(), Timestamp(10), raws()).await.unwrap();
    store.commit_raw(&channel(), Timestamp(10), raws()).await.unwrap();
    let mut read = Commit::new(channel(), Timestamp(20));
    read.positions.push((Reader::Raw, 3000));
    for place in 1..=1100 {
        let id = store.id_key().dead(&channel(), "intake", &place.to_string());
        read.dead.push(DeadLetter {
            id,
            channel: channel(),
            stage: "intake".to_owned(),
            subject: DeadSubject::Raw(place),
            plugin: None,
            digest: None,
            reason: "r".to_owned(),
            at: Timestamp(20),
        });
    }
    store.commit(read).await.unwrap();

    let n_dropped = store.drop_raw(&channel(), Timestamp(1000)).await.unwrap();

    assert_eq!(n_dropped, 1900);
    assert_eq!(store.read_raw(&channel(), 1, 9999, 9999).await.unwrap().len(), 1100);
}

#[tokio::test]
async fn old_raw_items_go_however_many_they_are() {
    let dir = tempfile::tempdir().unwrap();
    drops_all_that_is_old(&MemoryStore::default()).await;
    drops_all_that_is_old(SledStore::open(dir.path()).unwrap().as_ref()).await;
}

#[tokio::test]
async fn every_store_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    contract(&MemoryStore::default()).await;
    contract(SledStore::open(dir.path()).unwrap().as_ref()).await;
}

#[tokio::test]
async fn a_store_in_use_and_one_of_a_newer_build_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    assert!(matches!(SledStore::open(dir.path()), Err(StoreError::InUse(_))));
    store.close().await.unwrap();
    assert!(matches!(store.commit(Commit::new(channel(), Timestamp(1))).await, Err(StoreError::Closed(_))));
    assert!(matches!(store.health().await, Err(StoreError::Closed(_))));
    store.as_ref().write_format(7).unwrap();
    drop(store);
    for _ in 0..2 {
        assert!(matches!(SledStore::open(dir.path()), Err(StoreError::NewerFormat { found: 7, known: 2 })), "and it stays as it is");
    }
}

/// A store with two entries and a large raw item, closed.
async fn closed_store(dir: &std::path::Path) {
    let store = SledStore::open(dir).unwrap();
    for n in 1..=2 {
        let mut commit = Commit::new(channel(), Timestamp(n));
        let body = EntryBody::Note { kind: "x".to_owned(), json: "{}".to_owned() };
        commit.entries.push(NewEntry { interaction: None, identity: None, conversation: None, exchange: None, is_backfill: false, body });
        commit.raws.push(NewRaw { origin: RawOrigin::Frame, body: vec![1; 100_000], received: None, once: None });
        store.commit(commit).await.unwrap();
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_truncated_snapshot_is_put_aside_and_the_log_itself_read() {
    // given
    let dir = tempfile::tempdir().unwrap();
    closed_store(dir.path()).await;
    let files = std::fs::read_dir(dir.path().join("store")).unwrap().flatten();
    let snapshots: Vec<_> = files.filter(|file| file.file_name().to_string_lossy().starts_with("snap.")).collect();
    for snapshot in &snapshots {
        std::fs::File::options().write(true).open(snapshot.path()).unwrap().set_len(9).unwrap();
    }

    // when
    let store = SledStore::open(dir.path()).unwrap();

    // then
    assert_eq!(store.read_log(&channel(), Seq(1), 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_damaged_record_is_named_with_its_place_and_the_next_step() {
    // given
    let dir = tempfile::tempdir().unwrap();
    closed_store(dir.path()).await;
    let store = SledStore::open(dir.path()).unwrap();
    store.damage_log(1).unwrap();

    // when
    let failure = store.read_log(&channel(), Seq(1), 9).await.unwrap_err().to_string();
    let verified = store.verify().await.unwrap();

    // then
    assert!(failure.contains("the log of channel number 1 from place 1 on"), "{failure}");
    assert!(failure.contains("`membrana verify`"), "{failure}");
    assert!(!verified.damage.is_empty());
}

#[tokio::test]
async fn a_lost_raw_file_holds_nothing_that_stands_behind_it() {
    // given
    let dir = tempfile::tempdir().unwrap();
    closed_store(dir.path()).await;
    let store = SledStore::open(dir.path()).unwrap();
    let whole = store.read_raw(&channel(), 1, 9, 999_999).await.unwrap();
    assert_eq!(whole.iter().map(|raw| raw.body.len()).collect::<Vec<_>>(), [100_000, 100_000]);
    let files: Vec<_> = std::fs::read_dir(dir.path().join("raw/1")).unwrap().flatten().collect();
    assert_eq!(files.len(), 2, "equal bodies have a file each");

    // when one is cut
    std::fs::write(files[0].path(), b"cut").unwrap();

    // then
    let raws = store.read_raw(&channel(), 1, 9, 999_999).await.unwrap();
    assert_eq!(raws.iter().filter(|raw| matches!(raw.origin, RawOrigin::Lost { .. })).count(), 1);
    assert_eq!(raws.len(), 2);
}

#[tokio::test]
async fn raw_files_that_a_crash_left_go_and_those_that_are_named_or_new_stay() {
    // given one of a body whose record never became durable
    let dir = tempfile::tempdir().unwrap();
    closed_store(dir.path()).await;
    let left = dir.path().join("raw/1/0011223344556677-8899aabbccddeeff");
    std::fs::write(&left, b"of nobody").unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    store
        .commit_raw(&channel(), Timestamp(9), vec![NewRaw { origin: RawOrigin::Frame, body: vec![3; 70_000], received: None, once: None }])
        .await
        .unwrap();
    let n_raws = store.read_raw(&channel(), 1, 9, usize::MAX).await.unwrap().len();

    assert_eq!(store.drop_raw(&channel(), Timestamp(0)).await.unwrap(), 0);

    assert!(!left.exists());
    assert_eq!((n_raws, std::fs::read_dir(dir.path().join("raw/1")).unwrap().count()), (3, 3));
    assert_sound(&store.verify().await.unwrap());
}

#[tokio::test]
async fn commits_wait_together_for_one_sync() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    let calls = (0..50).map(|n| {
        let store = Arc::clone(&store);
        async move {
            store
                .commit_raw(
                    &ChannelName::from(format!("c{}", n % 5).as_str()),
                    Timestamp(n),
                    vec![NewRaw { origin: RawOrigin::Frame, body: vec![0; 300], received: None, once: None }],
                )
                .await
        }
    });
    for call in futures_util::future::join_all(calls).await {
        assert!(call.unwrap()[0].is_some());
    }
    assert_eq!(store.channels().await.unwrap().len(), 5);
}

#[tokio::test]
async fn deliveries_at_once_have_each_its_own_place_and_their_repeats_none() {
    let (dir, channel) = (tempfile::tempdir().unwrap(), channel());
    let store = SledStore::open(dir.path()).unwrap();
    let raw =
        |n: u64| NewRaw { origin: RawOrigin::Frame, body: n.to_le_bytes().to_vec(), received: None, once: Some((format!("id-{}", n % 40), 100)) };
    let calls = (0..60).map(|n| store.commit_raw(&channel, Timestamp(n % 3), vec![raw(n)]));
    let calls = futures_util::future::join_all(calls).await;
    let places: Vec<Option<u64>> = calls.into_iter().flat_map(|call| call.unwrap()).collect();
    drop(store);

    let mut given: Vec<u64> = places.iter().copied().flatten().collect();
    given.sort_unstable();
    assert_eq!(given, (1..=40).collect::<Vec<_>>());
    let store = SledStore::open(dir.path()).unwrap();
    let stored = store.read_raw(&channel, 1, 99, usize::MAX).await.unwrap();
    assert_eq!(stored.len(), 40);
    for item in stored {
        let n = u64::from_le_bytes(item.body.try_into().unwrap());
        assert_eq!(places[usize::try_from(n).unwrap()], Some(item.seq), "who was told a place finds its own item there");
        assert_eq!(item.received, Timestamp(n % 3), "each is dated as it came");
    }
}
