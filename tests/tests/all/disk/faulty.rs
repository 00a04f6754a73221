//! A disk whose writes end short, or find it full now and then.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Host, note, text};
use crate::hooks::{CONFIG, shop};

use super::{TABLE, post, run};

/// Each so many-th write of the store. Disks that are full: each alone, from the first on and in the midst of work.
const EACH: [(u32, u32); 6] = [(1, 40), (2, 25), (3, 60), (7, 1), (20, 1), (50, 1)];
/// Events sent to each host.
const EVENTS: usize = 120;

/// Put before the C library of a process. Errors: why it cannot be built, in words.
fn library(dir: &Path) -> Result<PathBuf, String> {
    let (source, library) = (dir.join("faulty.c"), dir.join("faulty.so"));
    std::fs::write(&source, include_str!("faulty.c")).unwrap();
    run(Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl"))?;
    Ok(library)
}

/// Sends until it is told to come again, and gives the numbers that were acknowledged.
async fn send(host: &Host, from: usize) -> Vec<usize> {
    let (shop, mut acked) = (shop(host), Vec::new());
    for n in from..from + EVENTS {
        match post(&shop, n).await {
            Some((202, _)) => acked.push(n),
            Some((503, Some(_))) => break,
            other => panic!("event {n} is answered {other:?}\n{}", host.log()),
        }
    }
    acked
}

async fn is_all_there(host: &Host, acked: &[usize], what: &str) {
    let all = host.until(&["interaction", "list"], |all| all.len() >= acked.len()).await;
    for n in acked {
        assert_eq!(all.iter().filter(|one| text(one, "/native/id") == format!("o{n}")).count(), 1, "{what}: o{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_at_each_so_many_th_write_loses_nothing_that_was_acknowledged() {
    for (each, from) in EACH {
        let mut host = Host::new(CONFIG, TABLE);
        let library = match library(host.dir()) {
            Ok(library) => library,
            Err(why) => return note(format_args!("skipped: {why}")),
        };
        let what = format!("each {each}th write from the {from}th on");
        host.set("LD_PRELOAD", library.display());
        host.set("FAULTY_FULL", each);
        host.set("FAULTY_FROM", from);
        host.spawn();
        let acked = if host.is_ready_or_ends().await { send(&host, 0).await } else { Vec::new() };
        assert!(acked.len() < EVENTS, "{what}: nothing fails");
        host.kill();

        // when the disk has room
        host.unset();
        host.start().await;
        is_all_there(&host, &acked, &what).await;
        assert_eq!(post(&shop(&host), EVENTS).await.unwrap().0, 202, "{what}");
        assert_eq!(host.stop(), Some(0));
        let verified = host.cli(&["verify", "--json"]);
        assert!(verified.status.success(), "{what}: {}", String::from_utf8_lossy(&verified.stdout));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_end_short_are_written_to_their_end() {
    for each in [1, 3] {
        let mut host = Host::new(CONFIG, TABLE);
        let library = match library(host.dir()) {
            Ok(library) => library,
            Err(why) => return note(format_args!("skipped: {why}")),
        };
        host.set("LD_PRELOAD", library.display());
        host.set("FAULTY_SHORT", each);
        host.start().await;
        let acked = send(&host, 0).await;
        assert_eq!(acked.len(), EVENTS, "each {each}th: a short write is no failure: {}", host.log());
        host.kill();

        host.unset();
        host.start().await;
        is_all_there(&host, &acked, &format!("each {each}th")).await;
        assert_eq!(host.stop(), Some(0));
        assert!(host.cli(&["verify"]).status.success());
    }
}
