//! A store that is written until the power goes, and what must be in it afterwards; see `tests/all/disk.rs`.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use membrana::model::{ChannelName, EntryBody, NewEntry, NewRaw, RawOrigin, Seq, Timestamp};
use membrana::store::{Commit, SledStore, Store};

/// Every so many deliveries one is so large that it becomes a file. Units: bytes.
const LARGE_EACH: u64 = 16;
const LARGE: usize = 100_000;
const SMALL: usize = 300;
const READ_AT_ONCE: usize = 1000;

fn channel() -> ChannelName {
    ChannelName::from("shop")
}

fn body(n: u64) -> Vec<u8> {
    let size = if n.is_multiple_of(LARGE_EACH) { LARGE } else { SMALL };
    let mut body = n.to_string().into_bytes();
    body.resize(size, b'.');
    body
}

/// Goes on from what is there: a delivery and an entry at a time, and says `ACK n` once both are durable.
pub(crate) async fn write(dir: &Path) -> anyhow::Result<()> {
    let store = SledStore::open(dir)?;
    let mut n = store.channel(&channel()).await?.last.0;
    loop {
        n += 1;
        let raw = NewRaw { origin: RawOrigin::Frame, body: body(n), received: None, once: None };
        store.commit_raw(&channel(), Timestamp(n), vec![raw]).await?;
        let mut commit = Commit::new(channel(), Timestamp(n));
        let note = EntryBody::Note { kind: "n".to_owned(), json: n.to_string() };
        commit.entries.push(NewEntry { interaction: None, identity: None, conversation: None, exchange: None, is_backfill: false, body: note });
        store.commit(commit).await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "ACK {n}")?;
        out.flush()?;
    }
}

/// Errors: what is missing of the first `acked`, or damaged.
pub(crate) async fn verify(dir: &Path, acked: u64) -> anyhow::Result<()> {
    let store = SledStore::open(dir)?;
    let verified = store.verify().await?;
    ensure!(verified.is_sound(), "{verified:?}");
    let (mut next, mut found) = (1, Vec::new());
    loop {
        let raws = store.read_raw(&channel(), next, READ_AT_ONCE, usize::MAX).await?;
        let Some(last) = raws.last() else { break };
        next = last.seq + 1;
        // A delivery whose entry did not become durable was written again after the start that followed.
        found.extend(raws.into_iter().map(|raw| raw.body));
    }
    found.dedup();
    for n in 1..=acked {
        let entry = store.read_log(&channel(), Seq(n), 1).await?.into_iter().next().context("the log is too short")?;
        ensure!(matches!(&entry.new.body, EntryBody::Note { json, .. } if *json == n.to_string()), "entry {n} is another");
        let place = usize::try_from(n - 1)?;
        ensure!(found.get(place) == Some(&body(n)), "delivery {n} is not there");
    }
    Ok(())
}
