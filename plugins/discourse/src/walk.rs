//! The list of all posts, walked from the newest down to the one known last. Only when all between are told does what is
//! known move, so that a cut costs a repeat and never a hole. Some pages a poll; the rest with the next.

use std::collections::BTreeSet;

use membrana_sdk::connector::{Change, Page};
use membrana_sdk::json::{self, Body, List, Object};
use membrana_sdk::{Fault, Result, clock};
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::hook::unknown_type;
use crate::shapes::{Post, Sort, number};
use crate::watch::{Places, Watched};
use crate::{Section, wire};

/// Pages of the list in one poll; no further one is begun with less time. Units of time: milliseconds.
const PAGES_MAX: usize = 4;
const TIME_LEFT_MS: u64 = 10_000;
/// Ids that a page looks back over on forums of before 2020, where it may be empty in the middle of the list.
const WINDOW: u64 = 50;
/// So many empty windows are the end.
const EMPTY_MAX: u32 = 5;
const DAY_MS: u64 = 86_400_000;
const IMPORT_DAYS: u64 = 30;
/// Kept of what cannot be read. Units: bytes.
const HEAD_BYTES: usize = 64 << 10;

/// Where to go on.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cursor {
    /// All posts up to this one were told, or are older than what is wanted.
    known: u64,
    /// What was there at the first look.
    start: u64,
    /// As long as nothing is known, nothing older is told. Units: ms since 1970.
    floor: u64,
    #[serde(default)]
    is_history: bool,
    #[serde(default)]
    walk: Option<Walk>,
}

/// A walk that is not at its end.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Walk {
    /// What will be known then.
    top: u64,
    /// What the next page lies below.
    before: u64,
    #[serde(default)]
    n_empty: u32,
}

impl Cursor {
    fn is_too_old(&self, post: &Post) -> bool {
        self.known == 0 && post.created.is_some_and(|created| created < self.floor)
    }
}

pub(crate) fn poll(section: &Section, api: &Api, cursor: Option<&str>, max_items: u32, max_bytes: u32) -> Result<Page> {
    let Some(mut cursor) = json::cursor::<Cursor>("discourse", cursor)? else { return begin(section, api) };
    let backfill = cursor.is_history;
    let mut round = Round::new(section, max_items, max_bytes);
    for n in 0..PAGES_MAX {
        if n > 0 && (round.is_full() || clock::remaining_ms() < TIME_LEFT_MS) {
            break;
        }
        let mut page = page(api, cursor.walk.as_ref().map(|walk| walk.before))?;
        let is_newest = cursor.walk.is_none();
        round.take(&mut cursor, &mut page);
        if is_newest && !backfill {
            round.look_again(api, page, cursor.walk.is_some());
        }
        if cursor.walk.is_none() {
            cursor.is_history = false;
            break;
        }
    }
    let (more, encoded) = (cursor.walk.is_some(), json::cursor_text("discourse", &cursor)?);
    Ok(Page { changes: round.done(), cursor: encoded, more, backfill, next_poll_ms: None, allowance: None })
}

/// The first look: from now on, or the last days as history.
fn begin(section: &Section, api: &Api) -> Result<Page> {
    let is_history = section.first_fetch.as_deref() == Some("import");
    let days = if is_history { section.import_days.unwrap_or(IMPORT_DAYS) } else { 1 };
    let newest = page(api, None)?.numbers().max().unwrap_or(0);
    let start = if is_history { 0 } else { newest };
    let cursor = Cursor { known: start, start, floor: clock::now().saturating_sub(days.saturating_mul(DAY_MS)), is_history, walk: None };
    Ok(Page {
        changes: Vec::new(),
        cursor: json::cursor_text("discourse", &cursor)?,
        more: is_history,
        backfill: is_history,
        next_poll_ms: None,
        allowance: None,
    })
}

/// A page of the list.
struct Listed {
    /// Newest first, whatever order the forum has them in; what has no id comes first.
    posts: Vec<One>,
    body: Body,
}

/// What stands in a page.
struct One {
    /// Where in the answer.
    at: usize,
    number: Option<u64>,
    /// None where it is none, or was told.
    post: Option<Post>,
}

impl Listed {
    fn numbers(&self) -> impl Iterator<Item = u64> {
        self.posts.iter().filter_map(|one| one.number)
    }
}

/// The list as it is sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sent {
    latest_posts: List<Object<wire::Post>>,
}

fn page(api: &Api, before: Option<u64>) -> Result<Listed> {
    let path = before.map_or_else(|| "/posts.json".to_owned(), |before| format!("/posts.json?before={before}"));
    let (sent, body) = api.get_with_body::<Object<Sent>>(&path)?;
    let Some(sent) = sent.0.and_then(|sent| sent.latest_posts.0) else {
        return Err(Fault::transient("discourse.malformed", "posts.json: no list of posts"));
    };
    let one = |(at, sent): (usize, Object<wire::Post>)| {
        let sent = sent.0.unwrap_or_default();
        One { at, number: number(&sent.id), post: Post::of(sent) }
    };
    let mut posts: Vec<One> = sent.into_iter().enumerate().map(one).collect();
    if !posts.is_empty() && posts.iter().all(|one| one.number.is_none()) {
        return Err(Fault::transient("discourse.malformed", "posts.json: no post has an id; where to go on cannot be told"));
    }
    posts.sort_by_key(|one| std::cmp::Reverse(one.number.unwrap_or(u64::MAX)));
    Ok(Listed { posts, body })
}

struct Round<'s> {
    section: &'s Section,
    /// Newest first.
    told: Vec<Change>,
    looked: Vec<Change>,
    watched: Watched,
    /// Of what the pages show.
    places: Places,
    /// To be watched, newest first.
    fresh: Vec<(Post, &'static str)>,
    n_items_max: usize,
    n_bytes: usize,
    n_bytes_max: usize,
}

impl<'s> Round<'s> {
    fn new(section: &'s Section, max_items: u32, max_bytes: u32) -> Self {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX).max(1);
        let (n_items_max, n_bytes_max) = (number(max_items), number(max_bytes));
        let (told, looked, fresh) = (Vec::new(), Vec::new(), Vec::new());
        let places = Places::default();
        Self { section, told, looked, watched: Watched::read(), places, fresh, n_items_max, n_bytes: 0, n_bytes_max }
    }

    fn is_full(&self) -> bool {
        self.told.len() + self.looked.len() >= self.n_items_max || self.n_bytes >= self.n_bytes_max
    }

    /// Tells what is new on a page, and moves the walk on: to its end where the page reaches what is known.
    fn take(&mut self, cursor: &mut Cursor, page: &mut Listed) {
        let (top, before, n_empty) = match &cursor.walk {
            Some(walk) => (walk.top, Some(walk.before), walk.n_empty),
            None => (page.numbers().max().unwrap_or(cursor.known).max(cursor.known), None, 0),
        };
        self.places.learn(self.section, page.posts.iter().filter_map(|one| one.post.as_ref()));
        let (mut lowest, mut is_end) = (None, page.posts.is_empty() && before.is_none());
        for (n, one) in page.posts.iter_mut().enumerate() {
            let Some(number) = one.number else {
                self.unreadable(format!("posts/before-{}+{n}", before.unwrap_or(0)), "a post without an id", &page.body, one.at);
                continue;
            };
            if number <= cursor.known {
                is_end = true;
                break;
            }
            // Forums of before 2020 show what `before` names once more.
            if before.is_some_and(|before| number >= before) {
                continue;
            }
            if self.is_full() {
                break;
            }
            lowest = Some(number);
            match one.post.take() {
                Some(post) if cursor.is_too_old(&post) => {
                    one.post = Some(post);
                    is_end = true;
                    break;
                }
                Some(post) => one.post = self.tell(post),
                None => self.unreadable(format!("post/{number}"), "a post without its place in a topic", &page.body, one.at),
            }
        }
        // Full before its first post, a page is asked for again.
        let is_stuck = lowest.is_none() && !self.is_full();
        let n_empty = if is_stuck { n_empty + 1 } else { 0 };
        let next = lowest.or_else(|| before.map(|before| if is_stuck { before.saturating_sub(WINDOW - 1) } else { before }));
        match next.filter(|next| !is_end && *next > cursor.known.saturating_add(1) && n_empty < EMPTY_MAX) {
            Some(before) => cursor.walk = Some(Walk { top, before, n_empty }),
            None => (cursor.known, cursor.walk) = (top, None),
        }
    }

    /// Gives back what is not watched from now on.
    fn tell(&mut self, post: Post) -> Option<Post> {
        match post.sort() {
            Sort::Said if !post.is_gone => {
                let visibility = post.visibility(self.section);
                if !post.is_withheld() {
                    self.n_bytes = self.n_bytes.saturating_add(post.words.text.len() + 1000);
                    self.told.push(Change::Upsert(post.interaction(self.section, visibility)));
                }
                self.fresh.push((post, visibility));
                return None;
            }
            Sort::Said | Sort::Action => {}
            Sort::Unknown(kind) => self.told.push(unknown_type(kind)),
        }
        Some(post)
    }

    fn unreadable(&mut self, id: String, reason: &str, body: &Body, at: usize) {
        let head = body.head(&format!("/latest_posts/{at}"), HEAD_BYTES);
        self.told.push(Change::Unreadable((self.section.native(id), reason.to_owned(), head)));
    }

    /// What the newest page shows of posts known already: edits, and some that were committed late, below a later one.
    fn look_again(&mut self, api: &Api, page: Listed, is_walking: bool) {
        let shown: Vec<u64> = page.numbers().collect();
        let fresh: BTreeSet<u64> = self.fresh.iter().map(|(post, _)| post.id).collect();
        for post in page.posts.into_iter().filter_map(|one| one.post).filter(|post| !fresh.contains(&post.id)) {
            if self.is_full() {
                return;
            }
            if let Some(change) = self.watched.compare(self.section, &post) {
                self.looked.push(change);
            } else if !is_walking && self.watched.overlooked(&post) {
                self.tell(post);
            }
        }
        if !is_walking {
            let lowest = shown.iter().min().copied();
            let n_left = self.n_items_max.saturating_sub(self.told.len() + self.looked.len());
            self.looked.extend(self.watched.look_again(self.section, api, &shown, lowest, n_left));
        }
    }

    /// Oldest first, as they were said.
    fn done(mut self) -> Vec<Change> {
        self.watched.add(self.fresh.iter().map(|(post, visibility)| (post, *visibility)));
        self.watched.keep();
        self.told.reverse();
        self.told.extend(self.looked);
        let mut places = self.watched.places(self.section);
        places.join(self.places);
        for change in &mut self.told {
            if let Change::Upsert(about) = change {
                places.name_parent(self.section, about);
            }
        }
        self.told
    }
}
