//! Ways out that were refused, counted by who asked for them: over reloads and swaps, so that a build that is gone by now is told of, too.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::Digest;

/// A section's name and the build that it ran.
pub type Build = (String, Digest);

/// See the module. One for each engine.
#[derive(Debug, Default)]
pub struct Denied(Mutex<HashMap<Build, u64>>);

impl Denied {
    /// So many more.
    pub fn add(&self, build: Build, n: u64) {
        *self.lock().entry(build).or_default() += n;
    }

    /// All since the last time.
    pub fn take(&self) -> HashMap<Build, u64> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Build, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
