//! Ways out that were refused to plugins, in the audit log: for each build at most one record a look, with how many they were.

use std::time::Duration;

use tracing::error;

use crate::plugin::Denied;

use super::Desk;

/// Denials, of plugins and of callers, are told at most once in so long, with how many they were, so that they fill no disk.
pub const DENIALS_PAUSE: Duration = Duration::from_secs(60);

/// Keeps what was refused since the last look. What cannot be kept is left for the next, which may tell it twice: better than not at all.
pub async fn keep_denials(desk: &Desk, denied: &Denied) {
    for ((section, digest), n) in denied.take() {
        if let Err(failure) = desk.audit.refused(desk.journal.clock.now(), &section, digest, n).await {
            error!(error = %failure, plugin = section, "That ways out were refused to a plugin cannot be kept in the audit log.");
            denied.add((section, digest), n);
        }
    }
}
