//! Compiled components on disk, so that a host starts at once. A file is believed only under this machine's own key: loading
//! machine code that somebody else wrote would be no sandbox at all.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tracing::warn;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::model::Digest;

use super::PluginError;

const MAC_BYTES: usize = 32;
/// Compiled forms that are kept: each build that is tried leaves one.
const FORMS_MAX: usize = 256;

/// A folder of compiled components.
pub(super) struct Cache {
    dir: PathBuf,
    key: [u8; 32],
}

impl Cache {
    /// Opens the folder and its key, made at first use and readable by this user alone.
    pub(super) fn open(dir: &Path) -> Result<Self, PluginError> {
        let fail = |step: &'static str| move |source| PluginError::Cache { step, source };
        fs::create_dir_all(dir).map_err(fail("create"))?;
        let path = dir.join("key");
        let key = match fs::read(&path).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
            Some(key) => key,
            None => {
                let mut key = [0; 32];
                getrandom::fill(&mut key).map_err(|error| PluginError::Engine(error.to_string()))?;
                let temporary = dir.join(format!("key.{}", std::process::id()));
                let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).map_err(fail("write"))?;
                file.write_all(&key).and_then(|()| file.sync_all()).map_err(fail("write"))?;
                fs::rename(&temporary, &path).map_err(fail("write"))?;
                key
            }
        };
        Ok(Self { dir: dir.to_owned(), key })
    }

    fn path(&self, digest: Digest, engine: u64) -> PathBuf {
        self.dir.join(format!("{digest}-{engine:016x}.cwasm"))
    }

    fn mac(&self, digest: Digest, engine: u64, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&digest.0).update(&engine.to_le_bytes()).update(code);
        hasher.finalize()
    }

    /// The compiled form of the component with this digest, for this very engine.
    pub(super) fn load(&self, engine: &Engine, digest: Digest, engine_hash: u64) -> Option<Component> {
        let bytes = fs::read(self.path(digest, engine_hash)).ok()?;
        let (mac, code) = bytes.split_at_checked(MAC_BYTES)?;
        let given = blake3::Hash::from_bytes(mac.try_into().ok()?);
        if self.mac(digest, engine_hash, code) != given {
            warn!(%digest, "Compiled plugin in the cache is not ours or damaged; compiling anew.");
            return None;
        }
        match believe(engine, code) {
            Ok(component) => Some(component),
            Err(error) => {
                warn!(%digest, %error, "Compiled plugin in the cache does not fit; compiling anew.");
                None
            }
        }
    }

    /// Keeps a compiled form; failing costs time at the next start, nothing else.
    pub(super) fn keep(&self, code: &[u8], digest: Digest, engine_hash: u64) {
        let path = self.path(digest, engine_hash);
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let mac = self.mac(digest, engine_hash, code);
        let written = fs::write(&temporary, [mac.as_bytes().as_slice(), code].concat()).and_then(|()| fs::rename(&temporary, &path));
        if let Err(error) = written.and_then(|()| self.tidy()) {
            warn!(%digest, %error, "Cannot keep the compiled plugin; the next start compiles it again.");
        }
    }

    /// What was kept longest ago goes, and is compiled again where it is still needed. What cannot be removed is tried again with the next.
    fn tidy(&self) -> std::io::Result<()> {
        let dated = |file: std::io::Result<fs::DirEntry>| {
            let file = file.ok()?;
            file.path().extension()?;
            Some((file.metadata().ok()?.modified().ok()?, file.path()))
        };
        let mut kept: Vec<_> = fs::read_dir(&self.dir)?.filter_map(dated).collect();
        kept.sort();
        let n_over = kept.len().saturating_sub(FORMS_MAX);
        kept.into_iter().take(n_over).for_each(|(_, path)| drop(fs::remove_file(path)));
        Ok(())
    }
}

/// Loads machine code that was compiled a moment ago, or that [`Cache::keep`] kept.
#[expect(unsafe_code, reason = "the one place: machine code is loaded only from our own compiler, or after its keyed digest was checked")]
pub(super) fn believe(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are what wasmtime's own compiler wrote, in this process, in its child, or for `keep` of a host with the same key.
    unsafe { Component::deserialize(engine, code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_forms_the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let digest = |n: usize| Digest::of(&n.to_le_bytes());
        for n in 0..FORMS_MAX + 9 {
            cache.keep(b"code", digest(n), 1);
        }
        let n_kept = (0..FORMS_MAX + 9).filter(|n| cache.path(digest(*n), 1).exists()).count();
        assert_eq!((n_kept, cache.path(digest(FORMS_MAX + 8), 1).exists()), (FORMS_MAX, true));
        assert!(Cache::open(folder.path()).unwrap().key == cache.key, "the key stays");
    }
}
