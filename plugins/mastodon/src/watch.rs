//! Statuses seen lately, looked at again in turn: was one edited, or taken back?

use membrana_sdk::connector::Change;
use membrana_sdk::{Fault, NativeId, Result, state};
use serde::{Deserialize, Serialize};

use crate::Section;
use crate::api::Api;
use crate::shapes::{Account, Status, interaction};

/// Statuses remembered; the oldest leave first.
const WATCHED_MAX: usize = 200;
/// Looked at in one poll.
const LOOKS: usize = 5;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Watched {
    statuses: Vec<One>,
    next: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct One {
    id: String,
    uri: String,
    edited: Option<String>,
}

impl Watched {
    pub(crate) fn read() -> Self {
        state::get("watched").and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    pub(crate) fn keep(&self) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(|error| Fault::transient("mastodon.state", error))?;
        state::set("watched", &bytes).map_err(|why| Fault::config("mastodon.state", why))
    }

    pub(crate) fn add(&mut self, status: &Status) {
        self.statuses.retain(|one| one.id != status.id);
        self.statuses.push(One { id: status.id.clone(), uri: status.uri.clone(), edited: status.edited_at.clone() });
        let n_over = self.statuses.len().saturating_sub(WATCHED_MAX);
        self.statuses.drain(..n_over);
    }

    /// What became of the next few.
    pub(crate) fn look_again(&mut self, section: &Section, api: &Api, me: &Account) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        let mut gone = Vec::new();
        for n in 0..LOOKS.min(self.statuses.len()) {
            let at = (self.next + n) % self.statuses.len();
            let Some(one) = self.statuses.get_mut(at) else { continue };
            match api.get_if_there::<Status>(&format!("/api/v1/statuses/{}", one.id))? {
                None => {
                    changes.push(Change::Gone(NativeId { scope: String::new(), id: one.uri.clone() }));
                    gone.push(one.id.clone());
                }
                Some(status) if status.edited_at != one.edited => {
                    one.edited.clone_from(&status.edited_at);
                    changes.push(Change::Upsert(interaction(section, &status, me)));
                }
                Some(_) => {}
            }
        }
        self.next = (self.next + LOOKS) % self.statuses.len().max(1);
        self.statuses.retain(|one| !gone.contains(&one.id));
        Ok(changes)
    }
}
