//! What a host has to bring to its end although nobody waits for it: renewals of tokens under way, and what came of those that could
//! not be kept yet. It outlives a reload of the configuration, which makes [`Tokens`](super::Tokens) anew.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::task::TaskTracker;
use tracing::error;

use super::super::sealed::{Stamp, Vault};
use super::Held;

/// Longer than a renewal takes with all its waits.
const END_WAIT: Duration = Duration::from_secs(60);

/// See the module. One a host.
#[derive(Debug, Default)]
pub struct Renewals {
    under_way: TaskTracker,
    unkept: Mutex<HashMap<Vault, Unkept>>,
}

/// Tokens that the network gave and the disk did not take: nobody may use them before it does.
struct Unkept {
    /// Of the file whose tokens they replace; with another one there they are of no use.
    instead_of: Option<Stamp>,
    held: Held,
}

impl std::fmt::Debug for Unkept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unkept(***)")
    }
}

impl Renewals {
    /// Runs to its end whatever becomes of its caller.
    pub(super) async fn run<T: Send + 'static>(&self, renewal: impl Future<Output = T> + Send + 'static) -> Option<T> {
        self.under_way.spawn(renewal).await.ok()
    }

    pub(super) fn note_unkept(&self, vault: &Vault, instead_of: Option<Stamp>, held: Held) {
        self.lock().insert(vault.clone(), Unkept { instead_of, held });
    }

    pub(super) fn unkept(&self, vault: &Vault, now_there: Option<Stamp>) -> Option<Held> {
        self.lock().get(vault).filter(|unkept| unkept.instead_of == now_there).map(|unkept| unkept.held.clone())
    }

    pub(super) fn kept(&self, vault: &Vault) {
        self.lock().remove(vault);
    }

    /// Waits for those under way, within a bound; tells of each account that has to log in again.
    pub async fn end(&self) {
        self.under_way.close();
        if tokio::time::timeout(END_WAIT, self.under_way.wait()).await.is_err() {
            error!("A renewal of tokens did not end in time; its account may have to log in again.");
        }
        for vault in self.lock().keys() {
            error!(tokens = %vault, "New tokens were never kept: the disk did not take them; log in again with `membrana channel login`.");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vault, Unkept>> {
        self.unkept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
