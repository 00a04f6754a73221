//! What must survive a restart and be read by nobody else: sealed on disk under this host's own key, replaced as a whole.
//!
//! A new content is durable (file, name and folder) before [`Vault::seal`] returns. The key lies beside it, readable by this user
//! alone: it guards copies and backups of single files, not against who can read the whole folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::failpoint;

/// Format and version, in clear.
const HEAD: &[u8] = b"membrana sealed 1\n";
/// Units: bytes. Tokens are small.
const CONTENT_MAX: u64 = 256 << 10;
const KEY_BYTES: usize = 32;

/// Why something sealed cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum SealError {
    /// The disk.
    #[error("cannot {step} `{path}`")]
    Io {
        /// `read`, `write`, …
        step: &'static str,
        /// Of what.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another key's, another name's, or damaged.
    #[error("`{0}` cannot be opened with this host's key")]
    Foreign(String),
}

/// What was sealed, in clear; wiped when dropped.
pub(super) type Content = Zeroizing<Vec<u8>>;

/// Says whether a file is still the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { inode: metadata.ino(), seconds: metadata.mtime(), nanoseconds: metadata.mtime_nsec() }
    }
}

/// One sealed file. All calls block.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Vault {
    folder: PathBuf,
    /// Of the file, without a suffix.
    name: String,
    /// What it is sealed to: a file put in another's place is not opened.
    label: String,
}

impl std::fmt::Display for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.label.replace('\n', "/"))
    }
}

impl Vault {
    /// The file for this label in this folder; nothing is read or made yet.
    pub(super) fn new(folder: &Path, label: &str) -> Self {
        let hash = blake3::hash(label.as_bytes()).to_hex();
        Self { folder: folder.to_owned(), name: hash.chars().take(32).collect(), label: label.to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.sealed", self.name))
    }

    /// Of the file that is there now.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        fs::metadata(self.path()).ok().map(|metadata| Stamp::of(&metadata))
    }

    /// The content and the stamp it was read under; none where nothing was sealed yet.
    pub(super) fn open(&self) -> Result<Option<(Stamp, Content)>, SealError> {
        let path = self.path();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let stamp = Stamp::of(&file.metadata().map_err(failed("read", &path))?);
        let mut bytes = Vec::new();
        io::Read::by_ref(&mut file).take(CONTENT_MAX).read_to_end(&mut bytes).map_err(failed("read", &path))?;
        let foreign = || SealError::Foreign(path.display().to_string());
        let (nonce, mut content) = bytes
            .strip_prefix(HEAD)
            .and_then(|rest| rest.split_at_checked(NONCE_LEN))
            .map(|(nonce, content)| (nonce, Zeroizing::new(content.to_vec())))
            .ok_or_else(foreign)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| foreign())?;
        let n_plain = self.key()?.open_in_place(nonce, Aad::from(self.label.as_bytes()), &mut content).map_err(|_| foreign())?.len();
        content.truncate(n_plain);
        Ok(Some((stamp, content)))
    }

    /// Replaces the content. Errors: the old one stays.
    pub(super) fn seal(&self, content: &[u8]) -> Result<Stamp, SealError> {
        let path = self.path();
        let no_luck = || failed("seal", &path)(io::Error::other("no random numbers"));
        self.make_folder()?;
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| no_luck())?;
        let mut sealed = Zeroizing::new(content.to_vec());
        let label = Aad::from(self.label.as_bytes());
        self.key()?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), label, &mut *sealed)
            .map_err(|_| failed("seal", &path)(io::Error::other("too long")))?;
        let temporary = self.folder.join(format!("{}.{}.tmp", self.name, std::process::id()));
        let write = || -> io::Result<Stamp> {
            let mut file = owned(&temporary)?;
            file.write_all(&[HEAD, &nonce, &sealed].concat())?;
            file.sync_all()?;
            let stamp = Stamp::of(&file.metadata()?);
            fs::rename(&temporary, &path)?;
            File::open(&self.folder)?.sync_all()?;
            Ok(stamp)
        };
        failpoint::across("file", "token", write).map_err(failed("write", &path))
    }

    /// Held by whoever is about to replace the content, in this process or another; released when dropped. None: somebody has it.
    pub(super) fn lock(&self) -> Result<Option<File>, SealError> {
        self.make_folder()?;
        let path = self.folder.join(format!("{}.lock", self.name));
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
        }
    }

    fn make_folder(&self) -> Result<(), SealError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(failed("create", &self.folder))
    }

    /// Made at first use; two processes that make it at once agree on the first.
    fn key(&self) -> Result<LessSafeKey, SealError> {
        let path = self.folder.join("key");
        let no_luck = || failed("make", &path)(io::Error::other("no random numbers"));
        if !path.exists() {
            let mut fresh = Zeroizing::new([0; KEY_BYTES]);
            getrandom::fill(fresh.as_mut_slice()).map_err(|_| no_luck())?;
            let temporary = self.folder.join(format!("key.{}.{}.tmp", std::process::id(), self.name));
            let made = owned(&temporary).and_then(|mut file| {
                file.write_all(fresh.as_slice())?;
                file.sync_all()?;
                match fs::hard_link(&temporary, &path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                    _ => fs::remove_file(&temporary).and_then(|()| File::open(&self.folder)?.sync_all()),
                }
            });
            made.map_err(failed("make", &path))?;
        }
        let bytes = Zeroizing::new(fs::read(&path).map_err(failed("read", &path))?);
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|_| SealError::Foreign(path.display().to_string()))?;
        Ok(LessSafeKey::new(unbound))
    }
}

/// A file of this user alone.
fn owned(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn failed(step: &'static str, path: &Path) -> impl Fn(io::Error) -> SealError + use<> {
    let path = path.display().to_string();
    move |source| SealError::Io { step, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_read_again_by_its_own_label_and_key_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("credentials");
        let vault = Vault::new(&folder, "masto/token");
        assert!(vault.open().unwrap().is_none() && vault.stamp().is_none());

        let first = vault.seal(b"first-secret").unwrap();
        let second = vault.seal(b"second-secret").unwrap();

        assert_ne!(first, second, "a change is seen");
        let (stamp, content) = Vault::new(&folder, "masto/token").open().unwrap().unwrap();
        assert_eq!((stamp, content.as_slice(), vault.stamp()), (second, b"second-secret".as_slice(), Some(second)));
        for file in fs::read_dir(&folder).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "{:?}", file.file_name());
            let bytes = fs::read(file.path()).unwrap();
            assert!(!bytes.windows(6).any(|part| part == b"secret"), "{:?}", file.file_name());
        }

        let other = Vault::new(&folder, "other/token");
        fs::copy(vault.path(), other.path()).unwrap();
        assert!(matches!(other.open(), Err(SealError::Foreign(_))), "put in another's place");
        fs::write(folder.join("key"), [7; KEY_BYTES]).unwrap();
        assert!(matches!(vault.open(), Err(SealError::Foreign(_))), "another key");
        fs::write(vault.path(), b"").unwrap();
        assert!(matches!(vault.open(), Err(SealError::Foreign(_))), "damaged");
    }

    #[test]
    fn one_at_a_time_may_replace_it() {
        let dir = tempfile::tempdir().unwrap();
        let (vault, other) = (Vault::new(dir.path(), "a"), Vault::new(dir.path(), "a"));
        let held = vault.lock().unwrap();
        assert!(held.is_some() && other.lock().unwrap().is_none());
        drop(held);
        assert!(other.lock().unwrap().is_some());
    }
}
