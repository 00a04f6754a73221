//! Damage of every file of a store: it is refused, or named by `verify`, or nothing is lost. Nothing panics, nothing hangs, and a refusal
//! leaves the log as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::*;

/// More by hand: `MEMBRANA_DAMAGES=500`.
const CASES: u64 = 60;
/// For one case; each takes some tens of milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);
const COMMITS: u64 = 50;
/// Units: bytes.
const PAGE: usize = 4096;
/// Of sled's log. Units: bytes.
const SEGMENT: usize = 512 << 10;

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files(dir: &Path) -> Files {
    let (mut found, mut open) = (Files::new(), vec![dir.to_owned()]);
    while let Some(folder) = open.pop() {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn lay_out(files: &Files, dir: &Path) {
    for (name, bytes) in files {
        std::fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        std::fs::write(dir.join(name), bytes).unwrap();
    }
}

/// All that a store holds.
#[derive(PartialEq)]
pub(super) struct Contents {
    records: Vec<(Vec<u8>, Vec<u8>)>,
    bodies: Files,
}

pub(super) fn contents(store: &SledStore, dir: &Path) -> Contents {
    let mut bodies = files(dir);
    bodies.retain(|name, _| name.starts_with("raw") || name.starts_with("media"));
    Contents { records: store.records(), bodies }
}

/// A store that was opened twice and used both times, and then was stopped, or killed once its head had told of all.
async fn used(is_killed: bool) -> (Files, Contents) {
    let (dir, mut dice) = (tempfile::tempdir().unwrap(), Dice(77));
    for n in 0..2 {
        let store = SledStore::open(dir.path()).unwrap();
        for at in 1..=COMMITS {
            let commit = random_commit(&mut dice, store.as_ref(), n * COMMITS + at).await;
            store.commit(commit).await.unwrap();
        }
        if n == 0 || !is_killed {
            store.close().await.unwrap();
        } else {
            let all = format!("\"commits\":{}", 2 * COMMITS);
            while !std::fs::read_to_string(dir.path().join("head")).unwrap().contains(&all) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    let template = files(dir.path());
    let store = SledStore::open(dir.path()).unwrap();
    let whole = contents(&store, dir.path());
    assert_sound(&store.verify().await.unwrap());
    (template, whole)
}

/// Damages one file; says how.
fn damage(dice: &mut Dice, files: &mut Files) -> String {
    // Half of all in sled's log, which is the most of it and the worst.
    let log = files.keys().find(|name| name.ends_with("store/db")).cloned().unwrap();
    let names: Vec<PathBuf> = files.keys().cloned().collect();
    let name = if dice.roll(2) == 0 { log } else { names[usize::try_from(dice.roll(names.len() as u64)).unwrap()].clone() };
    let bytes = files.get_mut(&name).unwrap();
    let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    if written.is_empty() {
        return format!("{}: nothing in it", name.display());
    }
    let at = written[usize::try_from(dice.roll(written.len() as u64)).unwrap()];
    let how = match dice.roll(4) {
        0 | 1 => {
            let bit = dice.roll(8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} turned")
        }
        2 => {
            let from = at - at % PAGE;
            let to = bytes.len().min(from + PAGE);
            bytes[from..to].fill(0);
            "a page zeroed".to_owned()
        }
        _ => {
            bytes.truncate(at);
            "cut off".to_owned()
        }
    };
    format!("{} at byte {at}: {how}", name.display())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Refused,
    Named,
    Harmless,
}

/// Opens and reads what was damaged. Errors: what is wrong with how the store took it.
async fn judge_damaged(damaged: &Files, whole: &Contents, is_killed: bool) -> Result<Verdict, String> {
    let dir = tempfile::tempdir().unwrap();
    lay_out(damaged, dir.path());
    let store = match SledStore::open(dir.path()) {
        Ok(store) => store,
        Err(StoreError::Damaged { .. } | StoreError::Io { .. }) => {
            return is_evidence_left(damaged, &files(dir.path()), is_killed).map(|()| Verdict::Refused);
        }
        Err(other) => return Err(format!("it is refused for another reason: {other}")),
    };
    match store.verify().await {
        Err(_) => Ok(Verdict::Named),
        Ok(verified) if !verified.is_sound() => Ok(Verdict::Named),
        Ok(_) if contents(&store, dir.path()) == *whole => Ok(Verdict::Harmless),
        Ok(_) => Err("something is lost, and nobody says so".to_owned()),
    }
}

/// After a kill the last message may look like one that was cut off: sled turns it into zeros.
fn is_evidence_left(before: &Files, after: &Files, is_killed: bool) -> Result<(), String> {
    for (name, bytes) in before {
        let is_log = name.ends_with("store/db");
        let is_derived = !is_log && name.starts_with("store");
        let moved = if name.ends_with("head") { after.get(Path::new("head.damaged")) } else { None };
        let left = after.get(name).or(moved).map(Vec::as_slice).unwrap_or_default();
        let is_same = left == bytes;
        let is_zeroed =
            || left.len() >= bytes.len() && left.iter().zip(bytes.iter().chain(std::iter::repeat(&0))).all(|(now, then)| now == then || *now == 0);
        if !(is_same || is_derived || is_log && is_killed && is_zeroed()) {
            return Err(format!("the refusal changed `{}`", name.display()));
        }
    }
    Ok(())
}

/// Many cases on one template. Gives how many ended how.
fn many(seeds: std::ops::Range<u64>, is_killed: bool) -> BTreeMap<Verdict, u64> {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (template, whole) = runtime().block_on(used(is_killed));
    let whole = Arc::new(whole);
    let mut ended = BTreeMap::new();
    for seed in seeds {
        let mut damaged = template.clone();
        let how = damage(&mut Dice(seed * 7919), &mut damaged);
        let (done, wait) = mpsc::channel();
        let whole = Arc::clone(&whole);
        let case = std::thread::spawn(move || done.send(runtime().block_on(judge_damaged(&damaged, &whole, is_killed))));
        let verdict = wait.recv_timeout(PATIENCE).unwrap_or_else(|late| Err(format!("it hangs or panics: {late}")));
        match verdict {
            Ok(verdict) => *ended.entry(verdict).or_default() += 1,
            Err(wrong) => panic!("seed {seed}{}: {how}: {wrong}", if is_killed { " (killed)" } else { "" }),
        }
        drop(case);
    }
    ended
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the long form is set by the environment")]
fn whatever_is_damaged_is_refused_or_named_or_costs_nothing() {
    let n_cases = std::env::var("MEMBRANA_DAMAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(CASES);
    for is_killed in [false, true] {
        let ended = many(1..n_cases / 2 + 1, is_killed);
        println!("{} damages to a store {}: {ended:?}", n_cases / 2, if is_killed { "that was killed" } else { "at rest" });
        assert!(ended.contains_key(&Verdict::Harmless) && ended.len() > 1, "{ended:?}");
    }
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_refused_as_it_is() {
    let log = Path::new("store/db");
    for is_killed in [false, true] {
        let (template, whole) = used(is_killed).await;
        let length = template[log].len();
        for at in (SEGMENT / 2..length).step_by(SEGMENT / 2).flat_map(|half| [half - 9, half, half + 9]) {
            let mut damaged = template.clone();
            damaged.get_mut(log).unwrap().truncate(at);

            let verdict = judge_damaged(&damaged, &whole, is_killed).await;

            let told = if is_killed { " (killed)" } else { "" };
            verdict.unwrap_or_else(|wrong| panic!("cut off at byte {at} of {length}{told}: {wrong}"));
        }
    }
}

#[tokio::test]
async fn commits_that_were_durable_and_are_lost_are_named_by_channel_and_range() {
    // given a head that knows more than the store
    let dir = tempfile::tempdir().unwrap();
    closed_store(dir.path()).await;
    let early = files(dir.path());
    let store = SledStore::open(dir.path()).unwrap();
    store.commit_raw(&channel(), Timestamp(9), vec![raw(b"x"), raw(b"x")]).await.unwrap();
    store.commit_raw(&ChannelName::from("shop"), Timestamp(9), vec![raw(b"x")]).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let head = std::fs::read(dir.path().join("head")).unwrap();
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    lay_out(&early, dir.path());
    std::fs::write(dir.path().join("head"), &head).unwrap();
    let before = files(dir.path());

    // when
    let refused = SledStore::open(dir.path()).err().unwrap().to_string();

    // then
    assert!(refused.contains("channel blog: the last 1 of 3 commits are lost, with raw items 3 to 4"), "{refused}");
    assert!(refused.contains("channel shop is lost, with 0 entries and 1 raw items") && refused.contains("head.lost"), "{refused}");
    assert!(before == files(dir.path()), "all is as it was");

    // and who wants to go on without goes on
    std::fs::rename(dir.path().join("head"), dir.path().join("head.lost")).unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    assert_eq!(store.read_raw(&channel(), 1, 9, 999_999).await.unwrap().len(), 2);
}

pub(super) fn raw(body: &[u8]) -> NewRaw {
    NewRaw { origin: RawOrigin::Frame, body: body.to_vec(), received: None, once: None }
}

#[tokio::test]
async fn what_sled_may_overwrite_is_kept_where_nobody_can_tell_whether_it_was_durable() {
    // given a log that goes on behind a wrong bit, and a head that is older than both
    let dir = tempfile::tempdir().unwrap();
    closed_store(dir.path()).await;
    let (head, early) = (std::fs::read(dir.path().join("head")).unwrap(), files(dir.path()));
    let store = SledStore::open(dir.path()).unwrap();
    for _ in 0..20 {
        store.commit_raw(&channel(), Timestamp(9), vec![raw(b"something that is said")]).await.unwrap();
    }
    drop(store);
    std::fs::write(dir.path().join("head"), &head).unwrap();
    let (log, db) = (Path::new("store/db"), dir.path().join("store/db"));
    let mut bytes = std::fs::read(&db).unwrap();
    let begin = early[log].iter().zip(&bytes).take_while(|(old, new)| old == new).count();
    bytes[begin + 40] ^= 1;
    std::fs::write(&db, &bytes).unwrap();

    // when it happens more often than is kept
    for _ in 0..10 {
        std::fs::write(dir.path().join("head"), &head).unwrap();
        std::fs::write(&db, &bytes).unwrap();
        drop(SledStore::open(dir.path()).unwrap());
    }

    // then the last ones are there
    let names: BTreeSet<String> =
        files(dir.path()).keys().filter_map(|name| Some(name.components().next()?.as_os_str().to_str()?.to_owned())).collect();
    let odd: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("store.odd-")).collect();
    assert_eq!(odd, ["000003", "000004", "000005", "000006", "000007", "000008", "000009", "000010"]);
    let kept = files(dir.path()).into_iter().find(|(name, _)| name.to_string_lossy().starts_with("store.odd-") && name.ends_with("db"));
    let (_, kept) = kept.expect("it is kept");
    assert!(kept[begin..] == bytes[begin..], "byte for byte where it lay");
    assert!(std::fs::read(&db).unwrap()[begin..] != bytes[begin..], "sled overwrote it");
}

#[tokio::test]
async fn a_refusal_names_no_way_on_where_there_is_none() {
    // given settings of sled's that it opens nothing by
    let dir = tempfile::tempdir().unwrap();
    closed_store(dir.path()).await;
    let conf = dir.path().join("store/conf");
    let text = std::fs::read(&conf).unwrap();
    let text = String::from_utf8_lossy(&text[..text.len() - 4]).replace("524288", "262144");
    std::fs::write(conf, [text.as_bytes(), &crc32fast::hash(text.as_bytes()).to_le_bytes()].concat()).unwrap();

    let refused = SledStore::open(dir.path()).err().unwrap().to_string();

    assert!(refused.contains("channel blog is lost, with 2 entries and 2 raw items"), "{refused}");
    assert!(refused.contains("membrana restore BACKUP") && !refused.contains("head.lost"), "{refused}");
}

#[tokio::test]
async fn files_without_a_store_are_no_new_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    store.commit_raw(&channel(), Timestamp(9), vec![raw(&[b'x'; 100_000])]).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    std::fs::remove_file(dir.path().join("head")).unwrap();

    let refused = SledStore::open(dir.path()).err().unwrap().to_string();

    assert!(refused.contains("holds files of messages") && refused.contains("raw.lost"), "{refused}");
    std::fs::rename(dir.path().join("raw"), dir.path().join("raw.lost")).unwrap();
    assert!(SledStore::open(dir.path()).is_ok(), "who orders it begins anew");
}

#[tokio::test]
async fn records_are_counted_beside_commits_that_go_on() {
    let (dir, mut dice) = (tempfile::tempdir().unwrap(), Dice(5));
    let store = SledStore::open(dir.path()).unwrap();
    for at in 1..=40 {
        let commit = random_commit(&mut dice, store.as_ref(), at).await;
        let (committed, verified) = tokio::join!(store.commit(commit), store.verify());
        committed.unwrap();
        assert_sound(&verified.unwrap());
    }
}

#[tokio::test]
async fn a_store_of_the_format_before_gets_its_heads() {
    let dir = tempfile::tempdir().unwrap();
    closed_store(dir.path()).await;
    let store = SledStore::open(dir.path()).unwrap();
    store.forget_heads().unwrap();
    store.close().await.unwrap();
    drop(store);
    std::fs::remove_file(dir.path().join("head")).unwrap();

    let store = SledStore::open(dir.path()).unwrap();

    assert_sound(&store.verify().await.unwrap());
}
