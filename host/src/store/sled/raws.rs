//! The raw log: small bodies in the tree, large ones as files that are durable before the record that names them.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failpoint;
use crate::model::{DeadLetter, DeadSubject, Digest, NewRaw, RawItem, RawOrigin, Timestamp};
use crate::store::{Reader, StoreError, Verified};

use super::disk::{Disk, Writes, decode, encode};
use super::keys::{self, Kind};
use super::live::{Live, page};

/// Larger bodies become files. Units: bytes.
const INLINE_MAX: usize = 64 << 10;
/// Items looked at in one step of dropping.
const DROP_STEP: usize = 1024;

/// One item on disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    received: Timestamp,
    origin: RawOrigin,
    body: Body,
}

#[derive(Serialize, Deserialize)]
enum Body {
    Inline(Vec<u8>),
    File {
        /// Of the whole body.
        digest: Digest,
        /// Tells files of equal bodies apart, so that each item drops its own.
        token: u64,
    },
}

/// An item whose body lies where it will be read: large ones are files already, durable before the record that names them.
pub(super) struct Laid {
    pub(super) once: Option<(String, u64)>,
    received: Option<Timestamp>,
    origin: RawOrigin,
    body: Body,
    /// Of its file, if it has one.
    pub(super) path: Option<PathBuf>,
}

pub(super) fn io(step: &'static str) -> impl Fn(std::io::Error) -> StoreError {
    move |source| StoreError::Io { step, source }
}

fn path_of(dir: &Path, channel: u32, digest: Digest, token: u64) -> PathBuf {
    let name: String = digest.to_string().chars().take(16).collect();
    dir.join(channel.to_string()).join(format!("{name}-{token:016x}"))
}

/// Says whether laying it out writes a file.
pub(super) fn is_large(raw: &NewRaw) -> bool {
    raw.body.len() > INLINE_MAX
}

/// Lays bodies out. It blocks where one of them is large.
pub(super) fn lay(dir: &Path, channel: u32, raws: Vec<NewRaw>) -> Result<Vec<Laid>, StoreError> {
    let has_files = raws.iter().any(is_large);
    let folder = dir.join(channel.to_string());
    if has_files {
        fs::create_dir_all(&folder).map_err(io("write"))?;
    }
    let mut laid = Vec::with_capacity(raws.len());
    for raw in raws {
        match lay_one(dir, channel, raw) {
            Ok(one) => laid.push(one),
            Err(failure) => {
                laid.into_iter().filter_map(|laid: Laid| laid.path).for_each(|path| drop(fs::remove_file(path)));
                return Err(failure);
            }
        }
    }
    if has_files {
        File::open(&folder).and_then(|folder| folder.sync_all()).and_then(|()| File::open(dir)?.sync_all()).map_err(io("sync"))?;
    }
    Ok(laid)
}

fn lay_one(dir: &Path, channel: u32, raw: NewRaw) -> Result<Laid, StoreError> {
    let (is_large, NewRaw { origin, body, received, once }) = (is_large(&raw), raw);
    if !is_large {
        return Ok(Laid { once, received, origin, body: Body::Inline(body), path: None });
    }
    let mut token = [0; 8];
    getrandom::fill(&mut token).map_err(|error| StoreError::damaged(format!("no random numbers: {error}")))?;
    let (digest, token) = (Digest::of(&body), u64::from_le_bytes(token));
    let path = path_of(dir, channel, digest, token);
    write_file(&path, &body).map_err(io("write"))?;
    Ok(Laid { once, received, origin, body: Body::File { digest, token }, path: Some(path) })
}

/// Durable when it returns; nothing is left of one that cannot be written whole.
pub(super) fn write_file(path: &Path, body: &[u8]) -> std::io::Result<()> {
    let write = || File::create(path).and_then(|mut file| file.write_all(body).and_then(|()| file.sync_all()));
    let written = failpoint::across("file", "body", write);
    written.inspect_err(|_| drop(fs::remove_file(path)))
}

/// Writes one item at place `seq`.
pub(super) fn write(writes: &mut Writes, channel: u32, seq: u64, at: Timestamp, laid: Laid) -> Result<(), StoreError> {
    let Laid { origin, body, received, .. } = laid;
    let received = received.unwrap_or(at);
    writes.put_parts(&keys::raw(channel, seq), &encode(&Stored { received, origin, body })?, 0);
    Ok(())
}

/// Items from place `from` on, at least one where there is one.
pub(super) fn read(disk: &Disk, dir: &Path, channel: u32, from: u64, items_max: usize, bytes_max: usize) -> Result<Vec<RawItem>, StoreError> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    for item in disk.scan(&keys::raw(channel, from), keys::raw(channel, u64::MAX)).take(items_max) {
        let (key, body) = item?;
        let seq = keys::first_u64(&key).unwrap_or(0);
        let Stored { received, origin, body } = decode(&key, &body)?;
        let (origin, body) = match body {
            Body::Inline(body) => (origin, body),
            Body::File { digest, token } => match read_file(&path_of(dir, channel, digest, token), digest) {
                Ok(body) => (origin, body),
                // One lost file must not hold what stands behind it.
                Err(StoreError::Damaged { what: reason, .. }) => (RawOrigin::Lost { reason }, Vec::new()),
                Err(error) => return Err(error),
            },
        };
        bytes += body.len();
        if !items.is_empty() && bytes > bytes_max {
            break;
        }
        items.push(RawItem { seq, received, origin, body });
    }
    Ok(items)
}

fn read_file(path: &Path, digest: Digest) -> Result<Vec<u8>, StoreError> {
    match fs::read(path) {
        Ok(body) if Digest::of(&body) == digest => Ok(body),
        Ok(_) => Err(StoreError::damaged(format!("raw body `{}` is not what was stored", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(StoreError::damaged(format!("raw body `{}` is no longer there", path.display())))
        }
        Err(error) => Err(io("read")(error)),
    }
}

/// One step of dropping.
pub(super) struct Dropped {
    pub(super) n_dropped: u64,
    /// Of records that are removed: to go once that is durable, for a record without its file is damage.
    pub(super) files: Vec<PathBuf>,
    /// Where to go on; none at the end, or where nothing old was left.
    pub(super) next: Option<u64>,
}

/// Drops what was received before, was read, and no dead letter names, from place `from` on.
pub(super) fn drop_before(disk: &Disk, dir: &Path, live: &Live, before: Timestamp, from: u64) -> Result<Dropped, StoreError> {
    let channel = live.number;
    // Before the letters: whoever moved the position here had written its letters with it.
    let position = live.lock().record.position(&Reader::Raw);
    let letters: Vec<DeadLetter> = page(disk, &keys::all(Kind::Dead, channel), None, usize::MAX)?;
    let named: HashSet<u64> = letters.iter().filter_map(|letter| if let DeadSubject::Raw(seq) = letter.subject { Some(seq) } else { None }).collect();
    let (mut writes, mut files, mut n_dropped, mut n_seen, mut n_old, mut last) = (Writes::default(), Vec::new(), 0, 0, 0, 0);
    for item in disk.scan(&keys::raw(channel, from), keys::raw(channel, position.saturating_add(1))).take(DROP_STEP) {
        let (key, body) = item?;
        let seq = keys::first_u64(&key).unwrap_or(0);
        let Stored { received, body, .. } = decode(&key, &body)?;
        (last, n_seen) = (seq, n_seen + 1);
        if seq > position || received >= before {
            continue;
        }
        n_old += 1;
        if named.contains(&seq) {
            continue;
        }
        writes.remove_parts(&key, disk.n_parts(&key)?);
        if let Body::File { digest, token } = body {
            files.push(path_of(dir, channel, digest, token));
        }
        n_dropped += 1;
    }
    if n_dropped > 0 {
        live.lock().apply(disk, channel, writes)?;
    }
    let has_more = n_seen == DROP_STEP && n_old > 0;
    Ok(Dropped { n_dropped, files, next: has_more.then(|| last.saturating_add(1)) })
}

/// Files by the number of their channel.
pub(super) type Files = HashMap<u32, HashSet<PathBuf>>;

/// Those that are there. Before anything is laid out.
pub(super) fn listed(dir: &Path) -> std::io::Result<Files> {
    let mut files = Files::new();
    for channel in fs::read_dir(dir)? {
        let channel = channel?;
        let Some(number) = channel.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let of_channel = fs::read_dir(channel.path())?.map(|file| file.map(|file| file.path()));
        files.insert(number, of_channel.collect::<Result<_, _>>()?);
    }
    Ok(files)
}

/// Of these files those that no record names: a crash left them. It reads the whole raw log of the channel.
pub(super) fn unnamed(disk: &Disk, dir: &Path, channel: u32, mut files: HashSet<PathBuf>) -> Result<HashSet<PathBuf>, StoreError> {
    for item in disk.scan_prefix(&keys::all(Kind::Raw, channel), None) {
        let (key, body) = item?;
        if let Body::File { digest, token } = decode::<Stored>(&key, &body)?.body {
            files.remove(&path_of(dir, channel, digest, token));
        }
    }
    Ok(files)
}

/// Reads every body once.
pub(super) fn verify(disk: &Disk, dir: &Path, live: &Live, found: &mut Verified) {
    let tell = |error: StoreError| format!("channel {}: raw log: {}", live.name, error.what());
    for item in disk.scan_prefix(&keys::all(Kind::Raw, live.number), None) {
        match item.and_then(|(key, body)| decode::<Stored>(&key, &body)) {
            Ok(Stored { body: Body::Inline(_), .. }) => {}
            Ok(Stored { body: Body::File { digest, token }, .. }) => {
                found.lost.extend(read_file(&path_of(dir, live.number, digest, token), digest).err().map(tell));
            }
            Err(error) => found.damage.push(tell(error)),
        }
    }
}
