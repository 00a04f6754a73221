//! The raw log: small bodies in the tree, large ones as files that are durable before the record that names them.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{DeadLetter, DeadSubject, Digest, NewRaw, RawItem, RawOrigin, Timestamp};
use crate::store::{Reader, StoreError};

use super::disk::{Disk, Writes, decode, encode};
use super::keys::{self, Kind};
use super::live::{Live, page};

/// Larger bodies become files. Units: bytes.
const INLINE_MAX: usize = 64 << 10;
/// Items dropped in one call.
const DROP_MAX: usize = 1024;

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
    File(Digest),
}

fn io(step: &'static str) -> impl Fn(std::io::Error) -> StoreError {
    move |source| StoreError::Io { step, source }
}

fn path_of(dir: &Path, channel: u32, seq: u64, digest: Digest) -> PathBuf {
    let name: String = digest.to_string().chars().take(16).collect();
    dir.join(channel.to_string()).join(format!("{seq:020}-{name}"))
}

/// Writes one item at place `seq`.
pub(super) fn write(writes: &mut Writes, dir: &Path, channel: u32, seq: u64, at: Timestamp, raw: NewRaw) -> Result<(), StoreError> {
    let body = if raw.body.len() <= INLINE_MAX {
        Body::Inline(raw.body)
    } else {
        let digest = Digest::of(&raw.body);
        write_file(&path_of(dir, channel, seq, digest), &raw.body).map_err(io("write"))?;
        Body::File(digest)
    };
    writes.put_parts(&keys::raw(channel, seq), &encode(&Stored { received: at, origin: raw.origin, body })?, 0);
    Ok(())
}

fn write_file(path: &Path, body: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = File::create(path)?;
    file.write_all(body)?;
    file.sync_all()?;
    File::open(folder)?.sync_all()?;
    folder.parent().map_or(Ok(()), |above| File::open(above)?.sync_all())
}

/// Items from place `from` on, at least one where there is one.
pub(super) fn read(disk: &Disk, dir: &Path, channel: u32, from: u64, items_max: usize, bytes_max: usize) -> Result<Vec<RawItem>, StoreError> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    for item in disk.scan(&keys::raw(channel, from), keys::raw(channel, u64::MAX)).take(items_max) {
        let (key, body) = item?;
        let seq = keys::first_u64(&key).unwrap_or(0);
        let Stored { received, origin, body } = decode(&key, &body)?;
        let body = match body {
            Body::Inline(body) => body,
            Body::File(digest) => read_file(&path_of(dir, channel, seq, digest), digest)?,
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
    let body = fs::read(path).map_err(io("read"))?;
    if Digest::of(&body) == digest { Ok(body) } else { Err(StoreError::Damaged(format!("raw body `{}` is not what was stored", path.display()))) }
}

/// Drops what was received before, was read, and no dead letter names.
pub(super) fn drop_before(disk: &Disk, dir: &Path, live: &Live, before: Timestamp) -> Result<u64, StoreError> {
    let channel = live.number;
    let letters: Vec<DeadLetter> = page(disk, &keys::all(Kind::Dead, channel), None, usize::MAX)?;
    let named: Vec<u64> = letters.iter().filter_map(|letter| if let DeadSubject::Raw(seq) = letter.subject { Some(seq) } else { None }).collect();
    let position = live.lock().record.position(&Reader::Raw);
    let (mut writes, mut files, mut n_dropped) = (Writes::default(), Vec::new(), 0);
    for item in disk.scan(&keys::raw(channel, 0), keys::raw(channel, position.saturating_add(1))).take(DROP_MAX) {
        let (key, body) = item?;
        let seq = keys::first_u64(&key).unwrap_or(0);
        let Stored { received, body, .. } = decode(&key, &body)?;
        if seq > position || received >= before || named.contains(&seq) {
            continue;
        }
        writes.remove_parts(&key, disk.n_parts(&key)?);
        if let Body::File(digest) = body {
            files.push(path_of(dir, channel, seq, digest));
        }
        n_dropped += 1;
    }
    disk.apply(writes)?;
    for file in files {
        // A file left behind costs space, nothing else.
        drop(fs::remove_file(file));
    }
    Ok(n_dropped)
}

/// Reads every body once.
pub(super) fn verify(disk: &Disk, dir: &Path, live: &Live, damage: &mut Vec<String>) -> Result<(), StoreError> {
    for item in disk.scan_prefix(&keys::all(Kind::Raw, live.number), None) {
        let checked = item.and_then(|(key, body)| match decode::<Stored>(&key, &body)?.body {
            Body::Inline(_) => Ok(()),
            Body::File(digest) => read_file(&path_of(dir, live.number, keys::first_u64(&key).unwrap_or(0), digest), digest).map(|_| ()),
        });
        if let Err(error) = checked {
            damage.push(format!("channel {}: raw log: {error}", live.name));
        }
    }
    Ok(())
}
