//! Every order that is given over the API, every caller who was not let in, and ways out that were refused to plugins: a line each in
//! `audit.log` of the data folder, durable before the order is carried out. A line is a digest and the JSON that it is of; the JSON names
//! the digest of the line before, so that an edited or missing line is found (`membrana verify`). `audit.head` holds the last digest, so
//! that a missing end is found too.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tracing::{error, warn};

use crate::clock::Wait;
use crate::failpoint;
use crate::model::{Digest, Role, Timestamp, shown};

use super::{DENIALS_PAUSE, Desk, Refusal};

/// Of an order's body that is looked into for who gives it. Units: bytes.
const BODY_MAX: usize = 64 << 10;
/// Of a name or a path that is kept. Units: bytes.
const WORDS_MAX: usize = 300;
/// No line is longer. Units: bytes.
const LINE_MAX: u64 = 8 << 10;

/// The chain of records in one data folder.
pub struct Audit {
    log: PathBuf,
    head: PathBuf,
    chain: Mutex<Chain>,
    /// Who wanted to read, and who wanted to order: the one must not hide the other.
    denied: Mutex<[Denied; 2]>,
}

#[derive(Default)]
struct Chain {
    /// Opened with the first record.
    file: Option<File>,
    last: Head,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Head {
    n: u64,
    digest: String,
}

#[derive(Default)]
struct Denied {
    told: Wait,
    n_untold: u64,
}

#[derive(Serialize, Deserialize)]
struct Record {
    /// From 1, one more each.
    n: u64,
    at: String,
    /// `ordered`, `done`, `denied`.
    what: String,
    /// Method and path of the call.
    act: String,
    /// Who gave the order, in the caller's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// The role of the caller; none where the command line gave the order without a host.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    /// Digest of the order's body, where it is a small one.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// What was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Of what is done: the record of the order. Of callers who were denied: how many more since the last that was told. Of plugins: how often.
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<u64>,
    /// Digest of the record before; empty for the first.
    before: String,
}

impl Record {
    fn new(at: Timestamp, what: &str, act: String) -> Self {
        let what = what.to_owned();
        Self { n: 0, at: shown::rfc3339(at), what, act, by: None, role: None, body: None, status: None, of: None, before: String::new() }
    }
}

/// Keeps an order before it is carried out, and what came of it. Errors: what cannot be kept is not carried out.
pub(super) async fn keep(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    // To verify changes nothing, and must work where nothing can be written.
    if matches!(*request.method(), Method::GET | Method::HEAD) || request.uri().path() == "/api/v1/verify" {
        return next.run(request).await;
    }
    let act = match folder_of(request.uri()) {
        Some(folder) => cut(&format!("{} {folder}", act_of(request.method(), request.uri()))),
        None => act_of(request.method(), request.uri()),
    };
    let role = request.extensions().get::<Role>().map(|role| role.word().to_owned());
    let (request, by, body) = match looked_into(request).await {
        Ok(known) => known,
        Err(refusal) => return refusal.into_response(),
    };
    let ordered = Record { by, role, body, ..Record::new(desk.journal.clock.now(), "ordered", act.clone()) };
    let of = match desk.audit.append(ordered).await {
        Ok(n) => n,
        Err(failure) => {
            error!(error = %failure, "An order cannot be kept in the audit log, so it is not carried out.");
            return Refusal::unavailable(format!("the audit log cannot be written: {failure}"), "is the data folder writable, and its disk full?")
                .into_response();
        }
    };
    let order = async move {
        let answer = failpoint::within("order", next.run(request)).await;
        let done = Record { status: Some(answer.status().as_u16()), of: Some(of), ..Record::new(desk.journal.clock.now(), "done", act) };
        if let Err(failure) = desk.audit.append(done).await {
            error!(error = %failure, "What came of an order cannot be kept in the audit log.");
        }
        answer
    };
    // Whether or not who gave it still listens.
    #[expect(clippy::disallowed_methods, reason = "it ends with the order")]
    let answer = tokio::spawn(order).await;
    answer.unwrap_or_else(|_| Refusal::unavailable("the order was not carried out to its end", "look at the host's log").into_response())
}

/// Keeps that somebody was not let in.
pub(super) async fn denied(desk: &Desk, method: &Method, uri: &Uri, status: u16) {
    let now = desk.journal.clock.now();
    let is_order = !matches!(*method, Method::GET | Method::HEAD);
    let Some(n_untold) = desk.audit.may_tell(is_order, now) else { return };
    let record = Record { status: Some(status), of: (n_untold > 0).then_some(n_untold), ..Record::new(now, "denied", act_of(method, uri)) };
    if let Err(failure) = desk.audit.append(record).await {
        error!(error = %failure, "A caller who was not let in cannot be kept in the audit log.");
    }
}

fn act_of(method: &Method, uri: &Uri) -> String {
    cut(&format!("{method} {}", uri.path()))
}

/// Where a copy of all that is kept goes.
fn folder_of(uri: &Uri) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    pairs.find(|(key, _)| key == "folder").map(|(_, folder)| folder.into_owned())
}

fn cut(words: &str) -> String {
    words
        .chars()
        .scan(0, |bytes, c| {
            (*bytes + c.len_utf8() <= WORDS_MAX).then(|| {
                *bytes += c.len_utf8();
                c
            })
        })
        .collect()
}

/// Who gives an order, and the digest of its body, where that is small.
async fn looked_into(request: Request) -> Result<(Request, Option<String>, Option<String>), Refusal> {
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let by = url::form_urlencoded::parse(query).find(|(key, _)| key == "by").map(|(_, by)| cut(&by));
    if length_of(request.headers()).is_none_or(|bytes| bytes == 0 || bytes > BODY_MAX) {
        return Ok((request, by, None));
    }
    let (parts, body) = request.into_parts();
    let body = tokio::time::timeout(super::orders::BODY_TIMEOUT, to_bytes(body, BODY_MAX)).await;
    let wrong = || Refusal::bad_request("the body of the order did not come", "send it whole, and in time");
    let bytes = body.map_err(|_| wrong())?.map_err(|_| wrong())?;
    let by = by.or_else(|| Some(cut(serde_json::from_slice::<Json>(&bytes).ok()?.get("by")?.as_str()?)));
    let digest = Digest::of(&bytes).to_string();
    Ok((Request::from_parts(parts, Body::from(bytes)), by, Some(digest)))
}

fn length_of(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl Audit {
    /// Of the data folder; nothing is read or written before the first record.
    pub fn new(data: &Path) -> Arc<Self> {
        Arc::new(Self { log: data.join("audit.log"), head: data.join("audit.head"), chain: Mutex::default(), denied: Mutex::default() })
    }

    /// Keeps that the configuration was read again and is in force.
    pub async fn reloaded(self: &Arc<Self>, at: Timestamp) {
        if let Err(failure) = self.append(Record::new(at, "done", "reload".to_owned())).await {
            error!(error = %failure, "That the configuration was read again cannot be kept in the audit log.");
        }
    }

    /// Keeps that so many ways out were refused to a plugin.
    pub(super) async fn refused(self: &Arc<Self>, at: Timestamp, plugin: &str, digest: Digest, n: u64) -> io::Result<u64> {
        let act = cut(&format!("ways out of the plugin of {plugin}, build {digest}"));
        self.append(Record { of: Some(n), ..Record::new(at, "denied", act) }).await
    }

    /// Keeps that a backup was put in the place of what was there.
    pub async fn restored(self: &Arc<Self>, at: Timestamp, by: Option<String>) -> io::Result<u64> {
        self.append(Record { by, ..Record::new(at, "done", "restore".to_owned()) }).await
    }

    /// Copies it into another data folder, as it is between two records. It blocks.
    pub(super) fn copy(&self, into: &Path) -> io::Result<()> {
        let _chain = self.chain();
        for file in [&self.log, &self.head].into_iter().filter(|file| file.exists()) {
            fs::copy(file, into.join(file.file_name().unwrap_or_default()))?;
        }
        Ok(())
    }

    /// Gives the record's number. It is durable then.
    async fn append(self: &Arc<Self>, record: Record) -> io::Result<u64> {
        let audit = Arc::clone(self);
        tokio::task::spawn_blocking(move || audit.append_now(record)).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn append_now(&self, mut record: Record) -> io::Result<u64> {
        let mut chain = self.chain();
        if chain.file.is_none() {
            (chain.file, chain.last) = self.open().map(|(file, last)| (Some(file), last))?;
        }
        record.n = chain.last.n + 1;
        record.before.clone_from(&chain.last.digest);
        let n = record.n;
        let json = serde_json::to_string(&record)?;
        let last = Head { n, digest: Digest::of(json.as_bytes()).to_string() };
        let Some(file) = &mut chain.file else { return Err(io::Error::other("it is not open")) };
        let line = format!("{} {json}\n", last.digest);
        let written = failpoint::across("file", "audit", || file.write_all(line.as_bytes()).and_then(|()| file.sync_data()));
        if let Err(failure) = written {
            // What is on disk now is looked at again before the next record.
            chain.file = None;
            return Err(failure);
        }
        let temporary = self.head.with_extension("head.tmp");
        chain.last = last.clone();
        fs::write(&temporary, format!("{n} {}\n", last.digest)).and_then(|()| fs::rename(&temporary, &self.head))?;
        Ok(n)
    }

    /// How many denials were not told before this one; none where it is not to be told either.
    fn may_tell(&self, is_order: bool, now: Timestamp) -> Option<u64> {
        let mut denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        let [reads, orders] = &mut *denied;
        let denied = if is_order { orders } else { reads };
        if denied.told.left(now).is_some() {
            denied.n_untold += 1;
            return None;
        }
        Some(std::mem::replace(denied, Denied { told: Wait::of(DENIALS_PAUSE, now), n_untold: 0 }).n_untold)
    }

    /// The log, to go on behind its last whole line; where the head knows of later ones, behind those, so that the hole stays seen.
    fn open(&self) -> io::Result<(File, Head)> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(&self.log)?;
        let bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(bytes.saturating_sub(LINE_MAX)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        let whole = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let tail = String::from_utf8_lossy(end.get(whole..).unwrap_or_default()).into_owned();
        if let Some(last) = head_of(&tail) {
            // A whole record that lost its end of line.
            file.write_all(b"\n")?;
            return Ok((file, last));
        }
        if whole < end.len() {
            warn!(bytes = end.len() - whole, "The audit log ends in the middle of a record that nobody was told of; it is cut off.");
            file.set_len(bytes - (end.len() - whole) as u64)?;
        }
        let text = String::from_utf8_lossy(end.get(..whole).unwrap_or_default()).into_owned();
        let last = text.lines().last().and_then(head_of).unwrap_or_default();
        let known = self.known_head();
        // As many: where the digests differ the last line was edited, and what follows must not hide it.
        Ok((file, if known.n >= last.n { known } else { last }))
    }

    fn known_head(&self) -> Head {
        let text = fs::read_to_string(&self.head).unwrap_or_default();
        let parsed = text.trim().split_once(' ').and_then(|(n, digest)| Some(Head { n: n.parse().ok()?, digest: digest.to_owned() }));
        parsed.unwrap_or_default()
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with the chain, in words, and how many records it has.
    pub async fn verify(self: &Arc<Self>) -> io::Result<(u64, Vec<String>)> {
        let audit = Arc::clone(self);
        tokio::task::spawn_blocking(move || audit.verify_now()).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn verify_now(&self) -> io::Result<(u64, Vec<String>)> {
        let (mut n_records, mut damage, mut last) = (0, Vec::new(), Head::default());
        // As it stands now: nobody who gives an order waits until all of it is read.
        let (known, log) = {
            let _chain = self.chain();
            let log = match File::open(&self.log) {
                Ok(log) => Some((log.metadata()?.len(), log)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            (self.known_head(), log)
        };
        let lines = log.into_iter().flat_map(|(bytes, log)| BufReader::new(log.take(bytes)).split(b'\n'));
        for (number, line) in (1u64..).zip(lines) {
            n_records += 1;
            let Some((record, head)) = record_of(&String::from_utf8_lossy(&line?)) else {
                damage.push(format!("audit.log:{number}: the line is not what was written"));
                continue;
            };
            if (record.n, &record.before) != (last.n + 1, &last.digest) {
                damage.push(format!(
                    "audit.log:{number}: record {} does not follow record {}: what was between them is missing or edited",
                    record.n, last.n
                ));
            }
            last = head;
        }
        if known == Head::default() && last.n > 1 {
            damage.push("audit.log: its `audit.head` is missing or cannot be read, so nobody can tell whether its end is there".to_owned());
        }
        if known.n > last.n || (known.n == last.n && known.digest != last.digest) {
            damage.push(format!("audit.log: it ends with record {}, and record {} was written", last.n, known.n));
        }
        Ok((n_records, damage))
    }
}

/// A line whose digest is right.
fn record_of(line: &str) -> Option<(Record, Head)> {
    let (digest, json) = line.split_once(' ')?;
    let record: Record = serde_json::from_str(json).ok().filter(|_| Digest::of(json.as_bytes()).to_string() == digest)?;
    let n = record.n;
    Some((record, Head { n, digest: digest.to_owned() }))
}

fn head_of(line: &str) -> Option<Head> {
    record_of(line).map(|(_, head)| head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(n_records: u64) -> (tempfile::TempDir, Arc<Audit>) {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::new(folder.path());
        for n in 1..=n_records {
            let record = Record { by: Some("anna".to_owned()), ..Record::new(Timestamp(n), "ordered", format!("POST /api/v1/tasks/{n}/close")) };
            assert_eq!(audit.append_now(record).unwrap(), n);
        }
        (folder, audit)
    }

    fn edited(folder: &tempfile::TempDir, edit: impl Fn(Vec<String>) -> Vec<String>) -> Vec<String> {
        let log = folder.path().join("audit.log");
        let lines = fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
        fs::write(&log, edit(lines).iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        Audit::new(folder.path()).verify_now().unwrap().1
    }

    #[test]
    fn a_chain_goes_on_over_restarts_and_is_sound() {
        let (folder, _) = folder_with(3);
        let again = Audit::new(folder.path());
        assert_eq!(again.append_now(Record::new(Timestamp(9), "done", "POST /".to_owned())).unwrap(), 4);
        assert_eq!(again.verify_now().unwrap(), (4, Vec::new()));
        let nothing = tempfile::tempdir().unwrap();
        assert_eq!(Audit::new(nothing.path()).verify_now().unwrap(), (0, Vec::new()));
    }

    #[test]
    fn an_edited_a_missing_and_a_moved_record_are_found_also_at_the_end() {
        let without = |n: usize| {
            move |mut lines: Vec<String>| {
                lines.remove(n);
                lines
            }
        };
        for (place, part) in [(0, "record 2 does not follow record 0"), (1, "record 3 does not follow record 1"), (2, "it ends with record 2")] {
            let damage = edited(&folder_with(3).0, without(place));
            assert!(damage.len() == 1 && damage[0].contains(part), "{place}: {damage:?}");
        }
        let damage = edited(&folder_with(3).0, |lines| lines.iter().map(|line| line.replace("tasks/2", "tasks/7")).collect());
        assert!(damage[0].contains("audit.log:2: the line is not what was written"), "{damage:?}");
        let damage = edited(&folder_with(3).0, |mut lines| {
            lines.swap(0, 1);
            lines
        });
        assert_eq!(damage.len(), 3, "{damage:?}");
        let damage = edited(&folder_with(3).0, |_| Vec::new());
        assert!(damage[0].contains("it ends with record 0, and record 3 was written"), "{damage:?}");
    }

    #[test]
    fn a_hole_at_the_end_stays_seen_when_it_goes_on() {
        let (folder, _) = folder_with(3);
        edited(&folder, |lines| lines.into_iter().take(1).collect());
        let again = Audit::new(folder.path());
        assert_eq!(again.append_now(Record::new(Timestamp(9), "ordered", "POST /".to_owned())).unwrap(), 4);
        let damage = again.verify_now().unwrap().1;
        assert!(damage.len() == 1 && damage[0].contains("record 4 does not follow record 1"), "{damage:?}");
    }

    #[test]
    fn an_edited_end_stays_seen_when_it_goes_on_and_a_head_that_cannot_be_written_breaks_nothing() {
        let (folder, _) = folder_with(3);
        let laundered = |line: &String| {
            let json = line.split_once(' ').unwrap().1.replace("tasks/3", "tasks/7");
            format!("{} {json}", Digest::of(json.as_bytes()))
        };
        edited(&folder, |lines| lines.iter().map(laundered).collect());
        let again = Audit::new(folder.path());
        again.append_now(Record::new(Timestamp(9), "ordered", "POST /".to_owned())).unwrap();
        assert!(!again.verify_now().unwrap().1.is_empty());

        let (folder, audit) = folder_with(1);
        fs::create_dir(folder.path().join("audit.head.tmp")).unwrap();
        assert!(audit.append_now(Record::new(Timestamp(2), "ordered", "POST /".to_owned())).is_err());
        fs::remove_dir(folder.path().join("audit.head.tmp")).unwrap();
        assert_eq!(audit.append_now(Record::new(Timestamp(3), "ordered", "POST /".to_owned())).unwrap(), 3);
        assert_eq!(audit.verify_now().unwrap(), (3, Vec::new()));
    }

    #[test]
    fn a_log_without_its_head_is_told_and_a_lost_end_of_line_costs_no_record() {
        let (folder, audit) = folder_with(3);
        let log = fs::read_to_string(&audit.log).unwrap();
        fs::write(&audit.log, log.trim_end()).unwrap();
        let again = Audit::new(folder.path());
        assert_eq!(again.append_now(Record::new(Timestamp(9), "ordered", "POST /".to_owned())).unwrap(), 4);
        assert_eq!(again.verify_now().unwrap(), (4, Vec::new()));
        fs::remove_file(&audit.head).unwrap();
        assert!(again.verify_now().unwrap().1[0].contains("audit.head"));
    }

    #[test]
    fn a_record_that_was_cut_off_by_a_crash_is_no_damage() {
        let (folder, _) = folder_with(2);
        let mut log = OpenOptions::new().append(true).open(folder.path().join("audit.log")).unwrap();
        log.write_all(b"0123 {\"n\":3,\"at").unwrap();
        let again = Audit::new(folder.path());
        assert_eq!(again.append_now(Record::new(Timestamp(9), "ordered", "POST /".to_owned())).unwrap(), 3);
        assert_eq!(again.verify_now().unwrap(), (3, Vec::new()));
    }

    #[test]
    fn who_knocks_on_and_on_is_told_once_a_minute() {
        let audit = Audit::new(Path::new("/nowhere"));
        let told = [1_000, 1_200, 60_900, 61_000].map(|at| audit.may_tell(false, Timestamp(at)));
        assert_eq!(told, [Some(0), None, None, Some(2)]);
        assert_eq!(audit.may_tell(true, Timestamp(1_300)), Some(0), "an order is told all the same");
        assert_eq!(audit.may_tell(false, Timestamp(900)), Some(0), "a clock that was put back tells nothing");
    }
}
