//! Files of messages: what is kept of them, and that nothing else is.

use std::io::Write as _;
use std::path::Path;

use super::*;
use crate::model::{Media, MediaCount, MediaOutcome, Sha256};

const ABOUT: InteractionId = InteractionId([1; 16]);

pub(super) fn file(about: InteractionId, index: u16, body: &[u8], until: u64) -> (Media, Vec<u8>) {
    let outcome = MediaOutcome::Stored { size: body.len() as u64, sha256: Sha256::of(body) };
    let media = Media { interaction: about, index, of: Digest([1; 32]), at: Timestamp(1), until: Timestamp(until), outcome };
    (media, body.to_vec())
}

pub(super) fn failed(about: InteractionId, index: u16, until: u64) -> (Media, Vec<u8>) {
    (Media { outcome: MediaOutcome::Failed("gone".to_owned()), ..file(about, index, b"", until).0 }, Vec::new())
}

pub(super) fn entry(body: EntryBody) -> NewEntry {
    NewEntry { interaction: Some(ABOUT), identity: None, conversation: None, exchange: None, is_backfill: false, body }
}

async fn commit(store: &dyn Store, change: impl FnOnce(&mut Commit)) {
    let mut commit = Commit::new(channel(), Timestamp(1));
    change(&mut commit);
    store.commit(commit).await.unwrap();
}

async fn kept(store: &dyn Store) -> Vec<(u16, Option<Vec<u8>>)> {
    let mut all = Vec::new();
    for media in store.media_about(&channel(), ABOUT).await.unwrap() {
        all.push((media.index, store.media_body(&channel(), ABOUT, media.index).await.unwrap()));
    }
    all
}

async fn count(store: &dyn Store) -> MediaCount {
    store.channel(&channel()).await.unwrap().media
}

async fn files_come_and_go(store: &dyn Store) {
    // A file of what is not stored is not kept.
    commit(store, |commit| commit.media.push(file(ABOUT, 0, b"early", 99))).await;
    assert_eq!(kept(store).await, []);

    // In the commit of its message, or later; the same place again replaces.
    commit(store, |commit| {
        commit.entries.push(entry(EntryBody::Arrived(said("x", ABOUT.0))));
        commit.media.push(file(ABOUT, 0, b"one", 10));
    })
    .await;
    commit(store, |commit| commit.media.extend([file(ABOUT, 0, b"uno", 20), file(ABOUT, 1, b"two", 30), failed(ABOUT, 2, 30)])).await;
    assert_eq!(kept(store).await, [(0, Some(b"uno".to_vec())), (1, Some(b"two".to_vec())), (2, None)]);
    assert_eq!(count(store).await, MediaCount { stored: 2, failed: 1, bytes: 6 });

    // What is removed and written in one commit is written.
    commit(store, |commit| {
        commit.media_gone.extend([(ABOUT, 0), (ABOUT, 1), (ABOUT, 9)]);
        commit.media.push(file(ABOUT, 1, b"dos", 30));
    })
    .await;
    assert_eq!(kept(store).await, [(1, Some(b"dos".to_vec())), (2, None)]);

    // Time takes what is past it.
    assert_eq!(store.drop_media(&channel(), Timestamp(29)).await.unwrap(), 0);
    commit(store, |commit| commit.media.push(file(ABOUT, 0, b"long", 31))).await;
    assert_eq!(store.drop_media(&channel(), Timestamp(30)).await.unwrap(), 2);
    assert_eq!((kept(store).await, count(store).await.bytes), (vec![(0, Some(b"long".to_vec()))], 4));

    // What is gone takes its files with it, and what comes too late is not kept.
    commit(store, |commit| {
        commit.entries.push(entry(EntryBody::Gone));
        commit.media.push(file(ABOUT, 1, b"late", 99));
    })
    .await;
    assert_eq!((kept(store).await, count(store).await), (vec![], MediaCount::default()));
}

#[tokio::test]
async fn every_store_keeps_files_as_long_as_their_message_and_their_time() {
    let dir = tempfile::tempdir().unwrap();
    files_come_and_go(&MemoryStore::default()).await;
    files_come_and_go(SledStore::open(dir.path()).unwrap().as_ref()).await;
    assert_eq!(names(dir.path()), Vec::<String>::new(), "no file is left over");
}

fn names(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir.join("media/1")).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn files_outlive_the_process_and_what_a_crash_left_over_does_not() {
    // given
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    commit(store.as_ref(), |commit| {
        commit.entries.push(entry(EntryBody::Arrived(said("x", ABOUT.0))));
        commit.media.extend([file(ABOUT, 0, b"one", 10), failed(ABOUT, 1, 10)]);
    })
    .await;
    drop(store);
    std::fs::write(dir.path().join("media/1/half"), b"ha").unwrap();

    // when
    let store = SledStore::open(dir.path()).unwrap();

    // then
    assert_eq!(kept(store.as_ref()).await, [(0, Some(b"one".to_vec())), (1, None)]);
    assert_eq!(count(store.as_ref()).await, MediaCount { stored: 1, failed: 1, bytes: 3 });
    assert_eq!(names(dir.path()).len(), 1);
    assert_sound(&store.verify().await.unwrap());
}

#[tokio::test]
async fn a_file_that_is_not_what_was_stored_is_never_given_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    commit(store.as_ref(), |commit| {
        commit.entries.push(entry(EntryBody::Arrived(said("x", ABOUT.0))));
        commit.media.push(file(ABOUT, 0, b"one", 10));
    })
    .await;

    std::fs::write(dir.path().join("media/1").join(&names(dir.path())[0]), b"two").unwrap();

    assert!(matches!(store.media_body(&channel(), ABOUT, 0).await, Err(StoreError::Damaged { .. })));
    let verified = store.verify().await.unwrap();
    assert!(verified.damage.is_empty() && verified.lost.len() == 1 && verified.lost[0].contains("not what was stored"), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_go_while_a_store_is_verified_are_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    commit(store.as_ref(), |commit| {
        commit.entries.push(entry(EntryBody::Arrived(said("x", ABOUT.0))));
        commit.media.extend([file(ABOUT, 0, b"one", 99), file(ABOUT, 1, b"two", 30)]);
    })
    .await;
    // The first file is a pipe: whoever reads it waits for what is written.
    let mut all = names(dir.path());
    all.sort();
    let pipe = dir.path().join("media/1").join(&all[0]);
    std::fs::remove_file(&pipe).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());

    let (verified, ()) = tokio::join!(store.verify(), async {
        let opened = tokio::task::spawn_blocking(move || std::fs::File::options().write(true).open(pipe));
        let mut written = tokio::time::timeout(std::time::Duration::from_secs(20), opened).await.expect("it is read").unwrap().unwrap();
        assert_eq!(store.drop_media(&channel(), Timestamp(30)).await.unwrap(), 1);
        assert_eq!(names(dir.path()).len(), 2, "it is still to be read");
        written.write_all(b"one").unwrap();
    });

    assert_sound(&verified.unwrap());
    assert_eq!(names(dir.path()).len(), 1, "nobody looks any more");
}
