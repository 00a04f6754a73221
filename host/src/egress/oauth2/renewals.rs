//! What a host has to bring to its end although nobody waits for it: renewals of tokens under way, and new tokens that could not be
//! sealed yet. It outlives a reload of the configuration, which makes [`Tokens`](super::Tokens) anew.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::task::TaskTracker;
use tracing::error;

use super::super::sealed::{Stamp, Vault};
use super::Held;

/// Longer than one renewal takes, with its wait for another process and the call.
const END_WAIT: Duration = Duration::from_secs(60);

/// The renewals of all logins of a host. One for each process.
#[derive(Debug, Default)]
pub struct Renewals {
    under_way: TaskTracker,
    /// None begins any more.
    is_ending: AtomicBool,
    unsealed: Mutex<HashMap<Vault, Unsealed>>,
}

/// Tokens that the network gave and the disk did not take: nobody may use them before it does.
struct Unsealed {
    /// The file whose tokens they take the place of; with another one there they are of no use.
    replaces: Option<Stamp>,
    held: Held,
}

impl std::fmt::Debug for Unsealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unsealed(***)")
    }
}

impl Renewals {
    /// Runs to its end whatever becomes of its caller.
    pub(super) async fn run<T: Send + 'static>(&self, renewal: impl Future<Output = T> + Send + 'static) -> Option<T> {
        self.under_way.spawn(renewal).await.ok()
    }

    /// What has not asked the network yet is not to.
    pub(super) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    pub(super) fn note_unsealed(&self, vault: &Vault, replaces: Option<Stamp>, held: Held) {
        self.lock().insert(vault.clone(), Unsealed { replaces, held });
    }

    pub(super) fn unsealed(&self, vault: &Vault, now_there: Option<Stamp>) -> Option<Held> {
        self.lock().get(vault).filter(|unsealed| unsealed.replaces == now_there).map(|unsealed| unsealed.held.clone())
    }

    pub(super) fn sealed(&self, vault: &Vault) {
        self.lock().remove(vault);
    }

    /// Waits for those under way, within a bound.
    pub async fn settle(&self) {
        self.under_way.close();
        if tokio::time::timeout(END_WAIT, self.under_way.wait()).await.is_err() {
            error!("A renewal of tokens did not end in time; its account may have to log in again.");
        }
        self.under_way.reopen();
    }

    /// For a host that stops: waits for those under way, seals what could not be sealed before, and tells of each account that has to log
    /// in again.
    pub async fn end(&self) {
        self.is_ending.store(true, Ordering::Release);
        self.settle().await;
        let unsealed = std::mem::take(&mut *self.lock());
        let sealing = tokio::task::spawn_blocking(move || unsealed.into_iter().for_each(|(vault, unsealed)| seal_late(&vault, &unsealed)));
        if tokio::time::timeout(END_WAIT, sealing).await.is_err() {
            error!("New tokens could not be sealed in time; their accounts may have to log in again.");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vault, Unsealed>> {
        self.unsealed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where nobody logged in meanwhile.
fn seal_late(vault: &Vault, unsealed: &Unsealed) {
    let Ok(Some(_turn)) = vault.lock() else {
        error!(tokens = %vault, "New tokens are lost: another process holds their file. Log in again with `membrana channel login`.");
        return;
    };
    if vault.stamp() == unsealed.replaces
        && let Err(failure) = vault.seal(&unsealed.held.sealed_form())
    {
        error!(error = %failure, tokens = %vault, "New tokens are lost: they could not be sealed. Log in again with `membrana channel login`.");
    }
}
