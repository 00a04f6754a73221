//! Posts seen lately, looked at again: was one edited, or taken back? The newest page of the list shows most edits for
//! nothing, and what is missing from it is suspected; of the older ones some are drawn by lot. A second look is a favour:
//! whatever goes wrong with it, the page goes on.

use std::collections::HashMap;

use membrana_sdk::connector::{Change, Interaction};
use membrana_sdk::json::{self, Object};
use membrana_sdk::text::cut;
use membrana_sdk::{Fault, clock, log, state};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::api::Api;
use crate::shapes::{self, Post};
use crate::{Section, wire};

/// Posts remembered; the oldest leave first.
const WATCHED_MAX: usize = 200;
/// The host takes 64 KiB a value.
const BYTES_MAX: usize = 48 << 10;
const TITLE_BYTES_MAX: usize = 200;
/// Looked at in one poll, and how many of them may be suspects.
const LOOKS: usize = 3;
const SUSPECTS: usize = 2;
/// Few edit or delete what is older. Units: milliseconds.
const AGE_MS_MAX: u64 = 14 * 86_400_000;
/// No look is begun with less time. Units: milliseconds.
const TIME_LEFT_MS: u64 = 10_000;

/// What is watched, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    posts: Vec<One>,
    /// As it is in the state; what did not change is not written.
    stored: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct One {
    id: u64,
    /// 0: not known, as of all that an older version watched.
    #[serde(default)]
    topic: u64,
    #[serde(default)]
    number: u64,
    version: u64,
    updated: Option<u64>,
    /// A single post is shown without its category and its topic's title.
    visibility: String,
    title: Option<String>,
    /// When it was first seen. Units: ms since 1970.
    seen: u64,
}

impl One {
    /// What is withheld stays as it was told, which is by no version if it never was, until it is shown.
    fn differs(&self, post: &Post) -> bool {
        !post.is_withheld() && (self.version, self.updated) != (post.version, post.updated)
    }

    /// The post as it is now.
    fn now(&mut self, section: &Section, post: &Post) -> Change {
        (self.topic, self.number, self.version, self.updated) = (post.topic, post.number, post.version, post.updated);
        let mut about = post.interaction(section, &self.visibility);
        about.subject = about.subject.or_else(|| self.title.clone());
        Change::Upsert(about)
    }
}

/// Which post stands where, as far as it was seen lately.
#[derive(Debug, Default)]
pub(crate) struct Places(HashMap<String, u64>);

impl Places {
    pub(crate) fn learn<'p>(&mut self, section: &Section, posts: impl Iterator<Item = &'p Post>) {
        self.0.extend(posts.filter(|post| post.number > 1).map(|post| (post.place(section).id, post.id)));
    }

    /// What others know counts more.
    pub(crate) fn join(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The parent by the post's own id; one that was not seen lately keeps its place for a name.
    pub(crate) fn name_parent(&self, section: &Section, about: &mut Interaction) {
        if let Some(id) = about.parent.as_ref().and_then(|parent| self.0.get(&parent.id)) {
            about.parent = Some(shapes::post(section, *id));
        }
    }
}

impl Watched {
    /// Where what is watched stands.
    pub(crate) fn places(&self, section: &Section) -> Places {
        // The first post is called by its place. Of two in one place the later one stands there.
        let known = self.posts.iter().filter(|one| one.number > 1);
        Places(known.map(|one| (shapes::place(section, one.topic, one.number).id, one.id)).collect())
    }

    /// What cannot be read is forgotten.
    pub(crate) fn read() -> Self {
        let stored = state::get("watched").unwrap_or_default();
        Self { posts: serde_json::from_slice(&stored).unwrap_or_default(), stored }
    }

    /// Never fails: without it an edit is overlooked, no more.
    pub(crate) fn keep(&mut self) {
        let bytes = json::newest_within(&mut self.posts, BYTES_MAX);
        let is_same = bytes == self.stored || self.posts.is_empty() && self.stored.is_empty();
        if !is_same && state::set("watched", &bytes).is_err() {
            log::warn("What was seen lately cannot be remembered; edits and deletions may be overlooked.");
        }
    }

    pub(crate) fn add<'p>(&mut self, posts: impl Iterator<Item = (&'p Post, &'static str)>) {
        let seen = clock::now();
        self.posts.extend(posts.map(|(post, visibility)| {
            let title = post.title.as_deref().map(|title| cut(title, TITLE_BYTES_MAX).to_owned());
            let (topic, number, visibility) = (post.topic, post.number, visibility.to_owned());
            let (version, updated) = if post.is_withheld() { (0, None) } else { (post.version, post.updated) };
            One { id: post.id, topic, number, version, updated, visibility, title, seen }
        }));
        // Of one post what was seen last, which stands behind.
        self.posts.reverse();
        self.posts.sort_by_key(|one| std::cmp::Reverse(one.id));
        self.posts.dedup_by_key(|one| one.id);
        self.posts.truncate(WATCHED_MAX);
        self.posts.reverse();
    }

    /// A post that was seen, where it is another now.
    pub(crate) fn compare(&mut self, section: &Section, post: &Post) -> Option<Change> {
        let at = self.posts.iter().position(|one| one.id == post.id)?;
        if post.is_gone {
            self.posts.remove(at);
            return Some(Change::Gone(post.native(section)));
        }
        let one = self.posts.get_mut(at).filter(|one| one.differs(post))?;
        post.visibility(section).clone_into(&mut one.visibility);
        Some(one.now(section, post))
    }

    /// One between those that were seen, that was not: its transaction ended after theirs.
    pub(crate) fn overlooked(&self, post: &Post) -> bool {
        self.posts.first().is_some_and(|oldest| oldest.id < post.id) && self.posts.iter().all(|one| one.id != post.id)
    }

    /// What became of a few; `shown` are those of the newest page, from `lowest` on.
    pub(crate) fn look_again(&mut self, section: &Section, api: &Api, shown: &[u64], lowest: Option<u64>, n_max: usize) -> Vec<Change> {
        let (mut changes, mut gone, mut kept) = (Vec::new(), Vec::new(), None);
        for at in self.chosen(shown, lowest).into_iter().take(n_max) {
            if clock::remaining_ms() < TIME_LEFT_MS {
                break;
            }
            let Some(one) = self.posts.get_mut(at) else { continue };
            match api.get_if_there::<Object<wire::Post>>(&format!("/posts/{}.json", one.id)) {
                Ok(None) => gone.push(one.id),
                Ok(Some(sent)) => match sent.0.and_then(Post::of).filter(|post| post.id == one.id) {
                    Some(post) if post.is_gone => gone.push(one.id),
                    Some(post) if one.differs(&post) => changes.push(one.now(section, &post)),
                    Some(post) if lowest.is_some_and(|lowest| post.id >= lowest) => kept = Some(post),
                    _ => {}
                },
                // What concerns the forum or the key concerns the others too.
                Err(Fault::RateLimited(_) | Fault::Auth(_) | Fault::Config(_)) => break,
                Err(_) => {}
            }
        }
        // To the staff the answers of a deleted topic look as ever, but are missing from the list.
        if let Some((post, others)) = kept.and_then(|post| Some((post.id, posts_of_deleted(api, post.topic)?))) {
            gone.extend(self.posts.iter().map(|one| one.id).filter(|id| *id == post || others.contains(id)));
            gone.sort_unstable();
            gone.dedup();
        }
        changes.extend(gone.iter().map(|id| Change::Gone(shapes::post(section, *id))));
        self.posts.retain(|one| !gone.contains(&one.id));
        changes
    }

    /// Places of suspects, and of some older ones drawn by the clock, so that no turn must be remembered.
    fn chosen(&self, shown: &[u64], lowest: Option<u64>) -> Vec<usize> {
        let now = clock::now();
        let lowest = lowest.unwrap_or(0);
        let is_suspect = |one: &One| one.id >= lowest && !shown.contains(&one.id);
        let mut chosen: Vec<usize> =
            self.posts.iter().enumerate().filter(|(_, one)| is_suspect(one)).map(|(at, _)| at).rev().take(SUSPECTS).collect();
        let is_young = |one: &One| one.id < lowest && now.saturating_sub(one.seen) <= AGE_MS_MAX;
        let mut places: Vec<usize> = self.posts.iter().enumerate().filter(|(_, one)| is_young(one)).map(|(at, _)| at).collect();
        let mut dice = now;
        while chosen.len() < LOOKS && !places.is_empty() {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(dice >> 33).unwrap_or(0) % places.len();
            chosen.push(places.swap_remove(at));
        }
        chosen
    }
}

/// What stands in a topic that is deleted; whatever goes wrong, it is not.
fn posts_of_deleted(api: &Api, topic: u64) -> Option<Vec<u64>> {
    let shown = api.get_if_there::<Json>(&format!("/t/{topic}.json")).ok()??;
    shown.get("deleted_at").filter(|at| !at.is_null())?;
    Some(shapes::stream(&shown).unwrap_or_default())
}
