//! What is remembered of a feed between polls: how to ask for what is new, and what was seen.

use membrana_sdk::{Fault, Result, state};
use serde::{Deserialize, Serialize};

use crate::document::Item;

/// Items remembered of one feed; the oldest leave first. Twelve bytes each.
const SEEN_MAX: usize = 5_000;

/// How a feed is asked.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) etag: Option<String>,
    pub(crate) modified: Option<String>,
    pub(crate) moved: Option<String>,
    pub(crate) is_gone: bool,
    pub(crate) comment_feeds: Vec<String>,
}

impl Memory {
    /// `None`: never read.
    pub(crate) fn of(url: &str) -> Option<Self> {
        serde_json::from_slice(&state::get(&key("feed", url))?).ok()
    }

    pub(crate) fn keep(&self, url: &str) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(|error| Fault::transient("feed.state", error))?;
        state::set(&key("feed", url), &bytes).map_err(|why| Fault::config("feed.state", why))
    }
}

fn key(kind: &str, url: &str) -> String {
    format!("{kind}:{:016x}", hash(url))
}

/// Ids and contents seen, oldest first.
pub(crate) struct Seen(Vec<(u64, u32)>);

impl Seen {
    pub(crate) fn of(url: &str) -> Self {
        let bytes = state::get(&key("seen", url)).unwrap_or_default();
        let pairs = bytes.as_chunks::<12>().0.iter().map(|&[a, b, c, d, e, f, g, h, i, j, k, l]| {
            (u64::from_le_bytes([a, b, c, d, e, f, g, h]), u32::from_le_bytes([i, j, k, l]))
        });
        Self(pairs.collect())
    }

    pub(crate) fn add(&mut self, id: u64, content: u32) {
        self.0.retain(|(known, _)| *known != id);
        self.0.push((id, content));
        let n_over = self.0.len().saturating_sub(SEEN_MAX);
        self.0.drain(..n_over);
    }

    pub(crate) fn keep(&self, url: &str) -> Result<()> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|(id, content)| id.to_le_bytes().into_iter().chain(content.to_le_bytes())).collect();
        state::set(&key("seen", url), &bytes).map_err(|why| Fault::config("feed.state", why))
    }
}

/// The id of an item that is new or changed, with what is remembered of it; `None` where it is known as it is.
pub(crate) fn news_of(seen: &Seen, item: &Item) -> Option<(String, u64, u32)> {
    let text = item.text();
    let title = item.title.as_deref().unwrap_or_default();
    let id = item.id.clone().or_else(|| item.link.clone()).unwrap_or_else(|| format!("{:016x}", hash(&format!("{title}\0{text}"))));
    let content = u32::try_from(hash(&format!("{title}\0{text}")) >> 32).unwrap_or(0);
    let number = hash(&id);
    let is_known = seen.0.iter().any(|(known, before)| *known == number && *before == content);
    (!is_known).then(|| (id.chars().take(1000).collect(), number, content))
}

/// FNV-1a: the same in every build and on every machine, for it is stored.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
