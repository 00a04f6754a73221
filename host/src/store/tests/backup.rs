//! A backup is made beside commits that go on, and is a store like any other.

use std::path::Path;

use super::damage::{contents, raw};
use super::*;
use crate::store::Progress;

/// Commits while a backup is made, each with a body that is a file of its own.
const COMMITS: u64 = 60;

async fn backup(store: &SledStore, into: &Path) -> Result<Verified, StoreError> {
    std::fs::create_dir(into).unwrap();
    store.backup(into, Arc::new(Progress::default())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_made_while_commits_go_on_has_each_channel_as_it_was_at_one_moment() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, mut dice) = (SledStore::open(dir.path()).unwrap(), Dice(11));
    for at in 1..=COMMITS {
        let commit = random_commit(&mut dice, store.as_ref(), at).await;
        store.commit(commit).await.unwrap();
        store.commit_raw(&ChannelName::from("shop"), Timestamp(at), vec![raw(&[7; 90_000])]).await.unwrap();
    }
    let before = store.channel(&channel()).await.unwrap();

    // when it is written to all the while, and what it names is removed
    let writing = async {
        for at in COMMITS + 1..=3 * COMMITS {
            let commit = random_commit(&mut dice, store.as_ref(), at).await;
            store.commit(commit).await.unwrap();
            store.drop_raw(&ChannelName::from("shop"), Timestamp(at - COMMITS)).await.unwrap();
        }
    };
    let into = to.path().join("a");
    let (verified, ()) = tokio::join!(backup(&store, &into), writing);

    // then it is whole, and as the store was at a moment in between
    assert_sound(&verified.unwrap());
    let copy = opened_again(&into);
    let (then, now) = (copy.channel(&channel()).await.unwrap(), store.channel(&channel()).await.unwrap());
    assert!(before.last <= then.last && then.last <= now.last && before.last < now.last, "{:?} {:?} {:?}", before.last, then.last, now.last);
    let n_then = usize::try_from(then.last.0).unwrap();
    assert_eq!(copy.read_log(&channel(), Seq(1), usize::MAX).await.unwrap(), store.read_log(&channel(), Seq(1), n_then).await.unwrap());
    assert_eq!(copy.id_key().0, store.id_key().0, "the same names for the same things");
    // and what was to be removed meanwhile is
    let left = std::fs::read_dir(dir.path().join("raw")).unwrap().flatten().flat_map(|channel| std::fs::read_dir(channel.path()).unwrap());
    let n_named = store.read_raw(&ChannelName::from("shop"), 1, usize::MAX, usize::MAX).await.unwrap().len();
    let n_large = store.read_raw(&channel(), 1, usize::MAX, usize::MAX).await.unwrap().iter().filter(|item| item.body.len() > 65_536).count();
    assert_eq!(left.count(), n_named + n_large);
}

#[tokio::test]
async fn a_backup_of_a_store_at_rest_is_the_same_store() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, mut dice) = (SledStore::open(dir.path()).unwrap(), Dice(12));
    for at in 1..=COMMITS {
        let commit = random_commit(&mut dice, store.as_ref(), at).await;
        store.commit(commit).await.unwrap();
    }

    backup(&store, &to.path().join("a")).await.unwrap();

    let copy = opened_again(&to.path().join("a"));
    assert!(contents(&copy, &to.path().join("a")) == contents(&store, dir.path()));
    // and goes on as one
    let commit = random_commit(&mut dice, copy.as_ref(), COMMITS + 1).await;
    copy.commit(commit).await.unwrap();
    assert_sound(&copy.verify().await.unwrap());
}

#[tokio::test]
async fn what_is_damaged_is_no_backup() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    closed_store(dir.path()).await;
    let store = opened_again(dir.path());
    store.damage_log(1).unwrap();

    let refused = backup(&store, &to.path().join("a")).await.unwrap_err().to_string();

    assert!(
        refused.contains("channel blog") && refused.contains("the log of channel number 1 from place 1 on") && refused.contains("wrong checksum"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_lost_file_is_named_and_keeps_nothing_else_out_of_a_backup() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    closed_store(dir.path()).await;
    let store = opened_again(dir.path());
    let files: Vec<_> = std::fs::read_dir(dir.path().join("raw/1")).unwrap().flatten().collect();
    std::fs::remove_file(files[0].path()).unwrap();

    let into = to.path().join("a");
    let verified = backup(&store, &into).await.unwrap();

    assert!(verified.damage.is_empty() && verified.lost.len() == 1 && verified.lost[0].contains("no longer there"), "{verified:?}");
    let copy = opened_again(&into);
    assert_eq!(copy.read_log(&channel(), Seq(1), 9).await.unwrap(), store.read_log(&channel(), Seq(1), 9).await.unwrap());
    let raws = copy.read_raw(&channel(), 1, 9, usize::MAX).await.unwrap();
    assert_eq!(raws.iter().map(|raw| matches!(raw.origin, RawOrigin::Lost { .. })).filter(|is_lost| *is_lost).count(), 1);
    assert_eq!(raws.len(), 2);
}

#[tokio::test]
async fn after_a_backup_that_fails_the_next_one_is_made() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    closed_store(dir.path()).await;
    let store = opened_again(dir.path());
    // A folder is there where sled would lay its log.
    std::fs::create_dir_all(to.path().join("a/store/db")).unwrap();
    assert!(store.backup(&to.path().join("a"), Arc::new(Progress::default())).await.is_err());
    assert_sound(&store.verify().await.unwrap());
    assert!(backup(&store, &to.path().join("b")).await.is_ok(), "the next one is made");
}

#[tokio::test]
async fn what_follows_a_restore_is_known_by_its_place_however_many_there_were_and_whatever_the_clock_showed() {
    let (dir, shop) = (tempfile::tempdir().unwrap(), ChannelName::from("shop"));
    let said = async |store: &SledStore, at: u64| {
        let mut commit = Commit::new(channel(), Timestamp(at));
        commit.entries.push(super::media::entry(EntryBody::Arrived(super::said("x", [1; 16]))));
        store.commit(commit).await.unwrap();
    };
    let mut store = SledStore::open(dir.path()).unwrap();
    assert_eq!((store.restored(), store.restored_before(&channel(), Seq(1))), (None, None));
    for (at, restored_at) in [(1_000, 2_000), (2_500, 9_000), (3_000, 100)] {
        said(&store, at).await;
        store.mark_restored(Timestamp(restored_at)).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        store = opened_again(dir.path());
    }

    let before = |seq| store.restored_before(&channel(), Seq(seq)).map(|at| at.0);
    // The third was made by a clock that was behind: it is later than the second all the same.
    assert_eq!([1, 2, 3, 4].map(before), [None, Some(2_000), Some(9_000), Some(9_001)]);
    assert_eq!((store.restored(), store.restored_before(&shop, Seq(1))), (Some(Timestamp(9_001)), Some(Timestamp(9_001))));
}
