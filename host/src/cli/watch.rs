//! Tells when the files of the configuration were written anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::model::Timestamp;

/// Between two looks. A change counts once a second look finds it as the first did: an editor may be in the middle of it.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// When a file was last written, and its bytes; none where it cannot be looked at.
type Stamp = Option<(SystemTime, u64)>;

/// The files as they were last read, and those that were seen otherwise.
pub(super) struct Watch {
    begun: SystemTime,
    read: BTreeMap<PathBuf, Stamp>,
    changed: BTreeMap<PathBuf, Stamp>,
}

impl Watch {
    /// They are about to be read: what is written from now on is another change.
    pub(super) fn begin(files: Vec<PathBuf>, now: Timestamp) -> Self {
        let read = files.into_iter().map(|file| (file.clone(), stamp(&file))).collect();
        Self { begun: SystemTime::UNIX_EPOCH + Duration::from_millis(now.0), read, changed: BTreeMap::new() }
    }

    /// Says whether they are to be read again. A file that was not among them was read since, and written before that unless its date says
    /// otherwise.
    pub(super) fn look(&mut self, files: Vec<PathBuf>) -> bool {
        let mut changed = BTreeMap::new();
        for file in files {
            let now = stamp(&file);
            let first = now.filter(|(written, _)| *written < self.begun);
            if *self.read.entry(file.clone()).or_insert(first) != now {
                changed.insert(file, now);
            }
        }
        // One that is written on and on holds up no other.
        let is_settled = changed.iter().any(|(file, stamp)| self.changed.get(file) == Some(stamp));
        self.changed = changed;
        is_settled
    }
}

fn stamp(file: &Path) -> Stamp {
    let found = std::fs::metadata(file).ok()?;
    Some((found.modified().ok()?, found.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long before the tests write.
    const NOW: Timestamp = Timestamp(1_000_000_000_000);

    #[test]
    fn a_change_counts_once_it_has_settled_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["membrana.toml", "impact.toml"].map(|name| dir.path().join(name));
        let write = |n: usize, text: &str| std::fs::write(&files[n], text).unwrap();
        write(0, "a");
        let mut watch = Watch::begin(files.to_vec(), NOW);
        assert!(!watch.look(files.to_vec()) && !watch.look(files.to_vec()));
        write(0, "ab");
        assert!(!watch.look(files.to_vec()));
        write(0, "abc");
        assert!(!watch.look(files.to_vec()), "it is still being written");
        assert!(watch.look(files.to_vec()));
        watch = Watch::begin(files.to_vec(), NOW);
        assert!(!watch.look(files.to_vec()));
        write(1, "a file that was not there");
        assert!(!watch.look(files.to_vec()) && watch.look(files.to_vec()));
    }

    #[test]
    fn what_is_written_while_the_file_that_names_it_is_read_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["membrana.toml", "old.toml", "impact.toml"].map(|name| dir.path().join(name));
        let before = SystemTime::UNIX_EPOCH + Duration::from_millis(NOW.0 - 1);
        for file in &files {
            std::fs::File::create(file).unwrap().set_modified(before).unwrap();
        }
        let mut watch = Watch::begin(files[..1].to_vec(), NOW);
        std::fs::write(&files[2], "later").unwrap();
        assert!(!watch.look(files[..2].to_vec()) && !watch.look(files[..2].to_vec()), "one that was there before was read as it is");
        assert!(!watch.look(files.to_vec()) && watch.look(files.to_vec()));
    }
}
