//! The audit log: each line a digest and a record that names the digest before it, and beside it the head, which names the last.

use membrana::model::Digest;
use serde::Deserialize;

use super::{Evidence, Found, Wrong};

/// What is judged of a record.
#[derive(Deserialize)]
struct Record {
    n: u64,
    what: String,
    before: String,
    status: Option<u16>,
}

/// Tells of the first line of each break.
pub(super) fn judge(evidence: &Evidence, found: Found<'_>) {
    let (lines, head) = &evidence.audit;
    let (mut n, mut digest, mut n_done) = (0, String::new(), 0);
    for (place, line) in (1..).zip(lines) {
        let Some((own, record)) = line.split_once(' ').and_then(|(own, json)| Some((own, record(own, json)?))) else {
            found(Wrong::AuditBroken, format!("line {place} is not what was written"));
            continue;
        };
        if record.n != n + 1 || record.before != digest {
            found(Wrong::AuditBroken, format!("line {place} does not follow record {n}"));
        }
        n_done += usize::from(record.what == "done" && record.status.is_some_and(|status| status < 300));
        (n, digest) = (record.n, own.to_owned());
    }
    // A host that died between a record and its head left the head one behind.
    let known = head.trim().split_once(' ').and_then(|(known, of)| Some((known.parse::<u64>().ok()?, of)));
    let is_whole = known.map_or(lines.len() < 2, |(known, of)| known + 1 == n || (known == n && of == digest));
    if !is_whole {
        found(Wrong::AuditBroken, format!("it ends with record {n}, its head says `{}`", head.trim()));
    }
    if n_done < evidence.n_orders {
        found(Wrong::OrderLost, format!("{n_done} of {} orders are there", evidence.n_orders));
    }
}

/// One whose digest is right.
fn record(own: &str, json: &str) -> Option<Record> {
    serde_json::from_str(json).ok().filter(|_| Digest::of(json.as_bytes()).to_string() == own)
}
