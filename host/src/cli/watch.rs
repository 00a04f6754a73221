//! Tells when the files of the configuration were written anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Between two looks. A change counts once a second look finds it as the first did: an editor may be in the middle of it.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// When a file was last written, and its bytes; none where it cannot be looked at.
type Stamp = Option<(SystemTime, u64)>;

/// The files as they were last read, and those that were seen otherwise.
#[derive(Default)]
pub(super) struct Watch {
    read: BTreeMap<PathBuf, Stamp>,
    changed: BTreeMap<PathBuf, Stamp>,
}

impl Watch {
    /// They are about to be read: what is written from now on is another change.
    pub(super) fn begin(files: Vec<PathBuf>) -> Self {
        Self { read: files.into_iter().map(|file| (file.clone(), stamp(&file))).collect(), changed: BTreeMap::new() }
    }

    /// Says whether they are to be read again. A file that was not among them has just been read.
    pub(super) fn look(&mut self, files: Vec<PathBuf>) -> bool {
        let mut changed = BTreeMap::new();
        for file in files {
            let now = stamp(&file);
            if *self.read.entry(file.clone()).or_insert(now) != now {
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

    #[test]
    fn a_change_counts_once_it_has_settled_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["membrana.toml", "impact.toml"].map(|name| dir.path().join(name));
        let write = |n: usize, text: &str| std::fs::write(&files[n], text).unwrap();
        write(0, "a");
        let mut watch = Watch::begin(files.to_vec());
        assert!(!watch.look(files.to_vec()) && !watch.look(files.to_vec()));
        write(0, "ab");
        assert!(!watch.look(files.to_vec()));
        write(0, "abc");
        assert!(!watch.look(files.to_vec()), "it is still being written");
        assert!(watch.look(files.to_vec()));
        watch = Watch::begin(files.to_vec());
        assert!(!watch.look(files.to_vec()));
        write(1, "a file that was not there");
        assert!(!watch.look(files.to_vec()) && watch.look(files.to_vec()));
    }
}
