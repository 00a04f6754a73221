//! A look at sled's log that changes nothing, before sled reads it: at its recovery sled overwrites with zeros whatever it takes for the
//! rest of a write that was cut off, and one wrong bit can make the whole log such a rest. It asks one thing: would sled pass over
//! something that was written whole?
//!
//! It knows the form of sled 0.34's files, which the pinned version cannot change, and of pages nothing: their checksums are looked at when
//! they are read. What lies before the newest snapshot is looked at no further than the heads of its segments. Bound: the log since the last
//! start is read once, as sled's own recovery does.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Units: bytes.
const SEGMENT: usize = 512 << 10;
/// In front of each segment: a checksum, its place in the log, and how far the log was durable.
const HEAD: usize = 20;
/// No message begins in so many last bytes of a segment.
const MESSAGE_HEAD_MAX: usize = 32;
/// What a number is turned over by in a segment's head, so that zeros are no head.
const TURNED: u64 = 0x7fff_ffff_ffff_ffff;
/// Kinds of messages; 0 is what was never written.
const CAP: u8 = 2;
const MANIFEST: u8 = 3;
const LAST_KIND: u8 = 11;

/// What a look found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Of the log's file. Units: bytes.
    pub(super) length: u64,
    /// Up to where the log can be read: a place that only rises while a store is used.
    pub(super) tip: u64,
    /// What sled would pass over. A crash can leave it as well as damage.
    pub(super) odd: Option<Odd>,
}

/// What is odd about a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Odd {
    /// In words.
    pub(super) why: String,
    /// What sled may overwrite lies at this place or behind it.
    pub(super) from: u64,
}

impl Odd {
    pub(super) fn anywhere(why: String) -> Self {
        Self { why, from: 0 }
    }
}

/// Looks at a folder of sled's. One without a log has nothing to see.
pub(super) fn at(dir: &Path) -> io::Result<Seen> {
    let file = match File::open(dir.join("db")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Seen::default()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let (from, mut odd) = match snapshots(dir)?.pop() {
        None => (0, None),
        Some(path) => match stable_of(&fs::read(&path)?) {
            Some(stable) => (stable, None),
            None => (0, Some(Odd::anywhere(format!("its snapshot `{}` is damaged", path.display())))),
        },
    };
    let mut log = Log { file, from: from - from % SEGMENT as u64, segments: BTreeMap::new(), stable: from };
    odd = odd.or(log.read_heads()?);
    let (tip, broken) = log.walk()?;
    Ok(Seen { length, tip: tip.max(from), odd: odd.or(broken) })
}

/// Of the log's file. Units: bytes.
pub(super) fn length(dir: &Path) -> io::Result<u64> {
    Ok(fs::metadata(dir.join("db"))?.len())
}

/// Up to where the log can be read, by its newest segment alone.
pub(super) fn tip(dir: &Path) -> io::Result<u64> {
    let mut log = Log { file: File::open(dir.join("db"))?, from: 0, segments: BTreeMap::new(), stable: 0 };
    log.read_heads()?;
    let last = log.segments.pop_last();
    log.segments = last.into_iter().collect();
    Ok(log.walk()?.0)
}

/// Copies what sled may overwrite from this place on, and all snapshots, into a folder that is not there yet: the rest of the log is a
/// hole in the copy, so that each byte lies where it lay.
pub(super) fn copy_from(dir: &Path, place: u64, into: &Path) -> io::Result<()> {
    fs::create_dir_all(into)?;
    for snapshot in snapshots(dir)? {
        let name = snapshot.file_name().unwrap_or_default();
        fs::copy(&snapshot, into.join(name))?;
    }
    let (from, to) = (File::open(dir.join("db"))?, File::create(into.join("db"))?);
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut bytes = vec![0; SEGMENT];
    for offset in (0..length).step_by(SEGMENT) {
        let n_read = read(&from, &mut bytes, offset)?;
        let segment = bytes.get(..n_read).unwrap_or_default();
        let is_before = segment.first_chunk().and_then(place_of).is_some_and(|(at, _)| at + (SEGMENT as u64) <= place);
        if !is_before {
            to.write_all_at(segment, offset)?;
        }
    }
    to.sync_all()
}

/// Snapshots, the newest last.
pub(super) fn snapshots(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for file in fs::read_dir(dir)? {
        let file = file?;
        if file.file_name().to_string_lossy().starts_with("snap.") {
            found.push(file.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Up to where a snapshot knows the log; `None` where it is damaged.
fn stable_of(snapshot: &[u8]) -> Option<u64> {
    let (body, tail) = snapshot.split_at_checked(snapshot.len().checked_sub(12)?)?;
    let crc = u32::from_le_bytes(*tail.last_chunk()?);
    let shifted = i64::from_le_bytes(*body.first_chunk()?);
    (crc == crc32fast::hash(body)).then(|| u64::try_from(shifted.saturating_sub(1)).unwrap_or(0))
}

struct Log {
    file: File,
    /// Segments before this place are known by the snapshot.
    from: u64,
    /// Where in the file each segment begins, by its place in the log.
    segments: BTreeMap<u64, u64>,
    /// How far the log was durable when its newest segment was begun.
    stable: u64,
}

impl Log {
    /// Gives what is odd about the heads.
    fn read_heads(&mut self) -> io::Result<Option<Odd>> {
        let mut odd = None;
        let length = self.file.metadata()?.len();
        for offset in (0..length).step_by(SEGMENT) {
            let mut head = [0; HEAD];
            if read(&self.file, &mut head, offset)? < HEAD {
                continue;
            }
            match place_of(&head) {
                Some((place, stable)) if place >= self.from => {
                    self.stable = self.stable.max(stable);
                    if self.segments.insert(place, offset).is_some() {
                        odd = Some(Odd::anywhere(format!("two of its segments are for the same place {place}")));
                    }
                }
                Some(_) => {}
                None if head == [0; HEAD] && self.is_blank(offset)? => {}
                None => odd = Some(Odd::anywhere(format!("the head of its segment at byte {offset} is damaged"))),
            }
        }
        Ok(odd)
    }

    fn is_blank(&self, offset: u64) -> io::Result<bool> {
        Ok(self.segment(offset)?.iter().all(|byte| *byte == 0))
    }

    fn segment(&self, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; SEGMENT];
        let n_read = read(&self.file, &mut bytes, offset)?;
        bytes.truncate(n_read);
        Ok(bytes)
    }

    /// Reads messages up to the end. Gives where that is, and what is odd on the way.
    fn walk(&self) -> io::Result<(u64, Option<Odd>)> {
        let (mut odd, mut tip, mut promised) = (None, 0, 0);
        let last = self.segments.last_key_value().map_or(0, |(place, _)| *place);
        let mut expected = self.stable - self.stable % SEGMENT as u64;
        for (place, offset) in &self.segments {
            if *place >= expected {
                if *place != expected && odd.is_none() {
                    odd = Some(Odd { why: format!("its log lacks what lies between places {expected} and {place}"), from: expected });
                }
                expected = place + SEGMENT as u64;
            }
            let bytes = self.segment(*offset)?;
            let walked = walk(&bytes, place / SEGMENT as u64);
            let goes_on = *place != last || has_message(&bytes, walked.end, place / SEGMENT as u64);
            if !walked.is_whole && goes_on && odd.is_none() {
                let why = format!("its log breaks off at byte {} and goes on behind it", offset + walked.end as u64);
                odd = Some(Odd { why, from: *place });
            }
            promised = promised.max(walked.promised);
            tip = place + walked.end as u64;
        }
        // The last byte of the batch that ends the log is the one before the tip.
        if promised > 0 && promised >= tip && odd.is_none() {
            odd = Some(Odd { why: format!("its log ends at place {tip}, in the middle of a commit"), from: tip });
        }
        Ok((tip, odd))
    }
}

/// How far one segment can be read.
struct Walked {
    end: usize,
    /// It was filled, or closed.
    is_whole: bool,
    /// Where the last batch that begins in it ends.
    promised: u64,
}

fn walk(bytes: &[u8], number: u64) -> Walked {
    let mut walked = Walked { end: HEAD, is_whole: false, promised: 0 };
    while walked.end <= SEGMENT - MESSAGE_HEAD_MAX {
        let Some((kind, n_head, n_body)) = message(bytes, walked.end, number) else { return walked };
        if kind == CAP {
            break;
        }
        if kind == MANIFEST {
            let body = bytes.get(walked.end + n_head..).and_then(|rest| rest.first_chunk());
            walked.promised = body.map_or(0, |place| u64::from_le_bytes(*place));
        }
        walked.end += n_head + n_body;
    }
    walked.is_whole = true;
    walked
}

/// Says whether a whole message of this segment lies behind this byte. What an older use of the segment left is of another number.
fn has_message(bytes: &[u8], from: usize, number: u64) -> bool {
    (from + 1..bytes.len()).any(|at| {
        let kind = bytes.get(at + 4).copied().unwrap_or_default();
        (1..=LAST_KIND).contains(&kind) && message(bytes, at, number).is_some()
    })
}

/// The message that begins here: its kind, and the bytes of its head and of its body. `None` where there is none that is whole.
fn message(bytes: &[u8], at: usize, number: u64) -> Option<(u8, usize, usize)> {
    let rest = bytes.get(at..)?;
    let (crc, kind) = (u32::from_le_bytes(*rest.first_chunk()?), *rest.get(4)?);
    let (n_body, n) = varint(rest.get(5..)?)?;
    let (of, m) = varint(rest.get(5 + n..)?)?;
    let (_, k) = varint(rest.get(5 + n + m..)?)?;
    let (n_head, n_body) = (5 + n + m + k, usize::try_from(n_body).ok()?);
    if of != number || !(1..=LAST_KIND).contains(&kind) || n_body > SEGMENT {
        return None;
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(rest.get(n_head..n_head + n_body)?);
    hasher.update(rest.get(4..n_head)?);
    (hasher.finalize() ^ u32::MAX == crc).then_some((kind, n_head, n_body))
}

/// A number, and how many bytes it takes.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let byte = |n: usize| bytes.get(n).copied().map(u64::from);
    Some(match *bytes.first()? {
        small @ 0..=240 => (u64::from(small), 1),
        two @ 241..=248 => (240 + 256 * (u64::from(two) - 241) + byte(1)?, 2),
        249 => (2288 + 256 * byte(1)? + byte(2)?, 3),
        long => {
            let n = usize::from(long) - 247;
            let mut whole = [0; 8];
            whole.get_mut(..n)?.copy_from_slice(bytes.get(1..=n)?);
            (u64::from_le_bytes(whole), n + 1)
        }
    })
}

/// Of a segment's head: its place, and how far the log was durable. `None` where its checksum is wrong.
fn place_of(head: &[u8; HEAD]) -> Option<(u64, u64)> {
    let crc = u32::from_le_bytes(*head.first_chunk()?) ^ u32::MAX;
    let turned = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes) ^ TURNED);
    let (place, stable) = (turned(head.get(4..12)?)?, turned(head.get(12..20)?)?);
    // The first segment was begun when nothing was durable: -1.
    (crc == crc32fast::hash(head.get(4..20)?)).then_some((place, if stable > TURNED { 0 } else { stable }))
}

/// As many bytes as there are.
fn read(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut n_read = 0;
    while n_read < into.len() {
        match file.read_at(into.get_mut(n_read..).unwrap_or_default(), offset + n_read as u64)? {
            0 => break,
            n => n_read += n,
        }
    }
    Ok(n_read)
}
