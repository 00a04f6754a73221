//! What is remembered of a feed between polls: how to ask for what is new, and what was seen.
//!
//! 64 feeds with ten comment feeds each stay far below the quota; a comment feed that is no longer named is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use membrana_sdk::{Fault, NativeId, Result, state};
use serde::{Deserialize, Serialize};

/// Items remembered of one feed, and of one comment feed; those seen longest ago leave first. Twelve bytes each.
const SEEN_MAX: usize = 5_000;
const SEEN_OF_COMMENTS_MAX: usize = 1_000;
/// The bit of a content that says: it was there before the channel was enabled, and was never told.
const BEFORE_US: u32 = 1 << 31;
/// One slip of a server is no move: so many answers in a row must say the same.
const MOVES_MIN: u32 = 3;
/// Forgotten in one poll, at most.
const FORGOTTEN_MAX: u32 = 1000;

/// How a feed is asked. Times in milliseconds since 1970.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    /// It was read before.
    pub(crate) was_read: bool,
    pub(crate) etag: Option<String>,
    pub(crate) modified: Option<String>,
    /// Where the last answers said it is now, for good, and how many of them in a row.
    pub(crate) moved: Option<String>,
    pub(crate) n_moves: u32,
    /// Its first look was too long for one page: the rest is history, too.
    pub(crate) is_importing: bool,
    /// Not asked before.
    pub(crate) wait_until: u64,
    pub(crate) n_faults: u32,
    /// Code of the last fault, told once.
    pub(crate) fault: Option<String>,
    pub(crate) is_gone: bool,
    pub(crate) pace_ms: Option<u64>,
    pub(crate) comment_feeds: Vec<CommentFeed>,
}

/// Where comments are.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CommentFeed {
    pub(crate) url: String,
    /// The feed that named it.
    pub(crate) blog: String,
    /// Scope and id of the post that all of them answer; none where the feed is the site's.
    pub(crate) post: Option<(String, String)>,
    /// The post came after the channel was enabled, so whatever was said of it is news.
    pub(crate) is_news: bool,
}

impl CommentFeed {
    pub(crate) fn post(&self) -> Option<NativeId> {
        self.post.clone().map(|(scope, id)| NativeId { scope, id })
    }
}

impl Memory {
    pub(crate) fn of(url: &str) -> Self {
        state::get(&key("feed", url)).and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Where to ask instead, once the move is believed.
    pub(crate) fn settled_move(&self) -> Option<&str> {
        self.moved.as_deref().filter(|_| self.n_moves >= MOVES_MIN)
    }

    /// Counts what an answer said of a move; says whether that is worth keeping.
    pub(crate) fn follow_move(&mut self, moved: Option<String>) -> bool {
        let is_same = self.moved == moved;
        let n_moves = if moved.is_none() { 0 } else { if is_same { self.n_moves } else { 0 }.saturating_add(1).min(MOVES_MIN) };
        let is_news = !is_same || n_moves != self.n_moves;
        (self.moved, self.n_moves) = (moved, n_moves);
        is_news
    }

    pub(crate) fn keep(&self, url: &str) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(|error| Fault::transient("feed.state", error))?;
        state::set(&key("feed", url), &bytes).map_err(|why| Fault::config("feed.state", why))
    }
}

/// Forgets feeds that nobody names any more.
pub(crate) fn forget_all_but<'u>(urls: impl Iterator<Item = &'u str>) {
    let known: BTreeSet<String> = urls.map(|url| format!("{:016x}", hash(url))).collect();
    for kind in ["feed:", "seen:"] {
        for key in state::keys(kind, None, FORGOTTEN_MAX) {
            if key.strip_prefix(kind).is_some_and(|url| !known.contains(url)) {
                state::delete(&key);
            }
        }
    }
}

fn key(kind: &str, url: &str) -> String {
    format!("{kind}:{:016x}", hash(url))
}

/// Ids and contents seen, by when they were last in the feed.
pub(crate) struct Seen {
    pairs: Vec<(u64, u32)>,
    by_id: BTreeMap<u64, u32>,
    touched: Vec<(u64, u32)>,
    max: usize,
}

/// How an item stands to what was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    New,
    Changed,
    /// Changed, but it was there before the channel was enabled.
    OldChanged,
    Known,
}

impl Seen {
    pub(crate) fn of(url: &str, is_comments: bool) -> Self {
        let bytes = state::get(&key("seen", url)).unwrap_or_default();
        let pairs: Vec<_> = bytes
            .as_chunks::<12>()
            .0
            .iter()
            .map(|&[a, b, c, d, e, f, g, h, i, j, k, l]| (u64::from_le_bytes([a, b, c, d, e, f, g, h]), u32::from_le_bytes([i, j, k, l])))
            .collect();
        let by_id = pairs.iter().copied().collect();
        Self { pairs, by_id, touched: Vec::new(), max: if is_comments { SEEN_OF_COMMENTS_MAX } else { SEEN_MAX } }
    }

    pub(crate) fn standing(&self, id: u64, content: u32) -> Standing {
        match self.by_id.get(&id) {
            None => Standing::New,
            Some(known) if known & !BEFORE_US == content & !BEFORE_US => Standing::Known,
            Some(known) if known & BEFORE_US != 0 => Standing::OldChanged,
            Some(_) => Standing::Changed,
        }
    }

    /// Something was seen, and all of these are new.
    pub(crate) fn is_left_behind_by(&self, mut ids: impl Iterator<Item = u64>) -> bool {
        !self.by_id.is_empty() && ids.all(|id| !self.by_id.contains_key(&id))
    }

    /// It is in the feed now, and what is said of it is remembered; what was never told stays so.
    pub(crate) fn touch(&mut self, id: u64, content: u32, is_told: bool) {
        let was_before = self.by_id.get(&id).map(|known| known & BEFORE_US != 0);
        let is_before = was_before.unwrap_or(!is_told);
        let content = content & !BEFORE_US | if is_before { BEFORE_US } else { 0 };
        self.by_id.insert(id, content);
        self.touched.push((id, content));
    }

    pub(crate) fn keep(mut self, url: &str) -> Result<()> {
        // What the feed still holds stays longest, or a long-lived post would come again as new.
        let touched: BTreeMap<u64, u32> = self.touched.iter().copied().collect();
        self.pairs.retain(|(id, _)| !touched.contains_key(id));
        self.pairs.extend(self.touched.iter().filter(|(id, content)| touched.get(id) == Some(content)));
        let n_over = self.pairs.len().saturating_sub(self.max);
        let bytes: Vec<u8> =
            self.pairs.iter().skip(n_over).flat_map(|(id, content)| id.to_le_bytes().into_iter().chain(content.to_le_bytes())).collect();
        state::set(&key("seen", url), &bytes).map_err(|why| Fault::config("feed.state", why))
    }
}

/// FNV-1a: the same in every build and on every machine, for it is stored.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
