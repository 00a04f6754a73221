//! Ways out that were refused to plugins, in the audit log: for each build at most one record a look, with how many they were.

use std::collections::HashMap;
use std::time::Duration;

use tracing::error;

use crate::model::Digest;

use super::Desk;
use super::plugins::in_use;

/// Between two looks.
pub const DENIALS_PAUSE: Duration = Duration::from_secs(60);

/// What was kept already.
#[derive(Default)]
pub struct Denials {
    by_build: HashMap<(String, Digest), u64>,
}

impl Denials {
    /// Keeps what was refused since the last look.
    pub async fn keep(&mut self, desk: &Desk) {
        for one in in_use(&desk.sections.load()) {
            let build = (one.section.name, one.generation.digest());
            let n_denied = one.generation.usage().denied;
            let n_kept = self.by_build.get(&build).copied().unwrap_or(0);
            // A build that was loaded again counts from nothing.
            let n_new = if n_denied < n_kept { n_denied } else { n_denied - n_kept };
            if n_new == 0 {
                continue;
            }
            match desk.audit.refused(desk.journal.clock.now(), &build.0, build.1, n_new).await {
                Ok(_) => drop(self.by_build.insert(build, n_denied)),
                Err(failure) => {
                    error!(error = %failure, plugin = build.0, "That ways out were refused to a plugin cannot be kept in the audit log.");
                }
            }
        }
    }
}
