//! The list of threads, walked from the newest last post down to the one known last; of each thread that moved, its pages from
//! the last one up. What is known moves only when all is told, and one walk behind: a thread that moves in the middle of a
//! walk is read again from there, and what was told before is a repeat to the host.

use std::collections::BTreeMap;

use membrana_sdk::connector::{Change, Page};
use membrana_sdk::json::{self, Body, Object};
use membrana_sdk::{Fault, Result, clock};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::Api;
use crate::seen::Seen;
use crate::shapes::{Post, Thread};
use crate::{Section, wire};

/// Calls in one poll; no further one is begun with less time. Units of time: milliseconds.
const CALLS_MAX: usize = 20;
const TIME_LEFT_MS: u64 = 10_000;
/// A page of posts is seldom longer, events among them.
const PAGE: usize = 40;
/// Polls in which a thread could not be read: then it is given up.
const STRIKES_MAX: u32 = 3;
/// Pages at a thread's end that are looked through for posts that waited for a moderator.
const LATE_PAGES: u64 = 3;
/// Threads in one page of the list.
const THREADS_MAX: usize = 200;
const DAY_MS: u64 = 86_400_000;
const IMPORT_DAYS: u64 = 30;
/// Kept of what cannot be read. Units: bytes.
const HEAD_BYTES: usize = 64 << 10;

/// Where to go on.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cursor {
    /// The last post of all when the last walk began.
    known: u64,
    /// The same of the walk before: posts up to it were told.
    deep: u64,
    /// In the first walk, and in the one behind it, nothing older is told. Units: ms since 1970.
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
    /// Where the list goes on; none: it is at its end.
    list: Option<u64>,
    /// Pages of threads that are to be read.
    queue: Vec<Turn>,
}

/// A page of a thread, and what of it was told already: posts from `below` on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Turn {
    thread: u64,
    page: u64,
    #[serde(default)]
    below: Option<u64>,
    /// By how many posts the thread grew that are not told yet.
    #[serde(default)]
    late: u64,
    /// Polls in a row in which it could not be read.
    #[serde(default)]
    strikes: u32,
}

impl Cursor {
    fn is_below_floor(&self, at: Option<u64>) -> bool {
        at.is_some_and(|at| at < self.floor)
    }
}

pub(crate) fn poll(section: &Section, api: &Api, cursor: Option<&str>, max_items: u32, max_bytes: u32) -> Result<Page> {
    let Some(mut cursor) = json::cursor::<Cursor>("misago", cursor)? else { return begin(section, api) };
    let backfill = cursor.is_history;
    let mut round = Round::new(section, max_items, max_bytes);
    let mut walk = match cursor.walk.take() {
        Some(walk) => walk,
        None => Walk { top: cursor.known, list: Some(0), queue: Vec::new() },
    };
    let (mut struck, mut n_read) = (Vec::new(), 0);
    for n in 0..CALLS_MAX {
        let is_over = n > 0 && (round.is_full() || clock::remaining_ms() < TIME_LEFT_MS);
        if is_over || walk.queue.is_empty() && walk.list.is_none() {
            break;
        }
        match walk.queue.pop() {
            None => read_list(api, &cursor, &mut walk, &mut round.seen)?,
            Some(turn) => match round.read_posts(api, &cursor, turn) {
                Ok(next) => {
                    n_read += 1;
                    walk.queue.extend(next.map(|next| Turn { strikes: 0, ..next }));
                }
                Err(fault) if !is_of_thread(&fault) => return Err(fault),
                Err(fault) => {
                    if n == 0 {
                        // A forum that is down shows no list either: no thread is to blame then.
                        threads(api, 0)?;
                    }
                    struck.push((turn, fault));
                }
            },
        }
    }
    // Where several cannot be read and none can, it is none of them.
    if n_read == 0 && struck.len() > 1 {
        return Err(struck.swap_remove(0).1);
    }
    let struck: Vec<Turn> = struck.into_iter().filter_map(|(turn, fault)| round.strike(turn, &fault)).collect();
    let more = !walk.queue.is_empty() || walk.list.is_some();
    // The queue is taken from its end: what was struck waits behind the others, and for the next poll.
    walk.queue.splice(0..0, struck);
    if !walk.queue.is_empty() || walk.list.is_some() {
        cursor.walk = Some(walk);
    } else {
        (cursor.deep, cursor.known, cursor.is_history) = (cursor.known, walk.top, false);
    }
    let encoded = json::cursor_text("misago", &cursor)?;
    Ok(Page { changes: round.done(), cursor: encoded, more, backfill, next_poll_ms: None, allowance: None })
}

/// Time, or whoever looks after the forum, may mend it: it need not concern the whole of it.
fn is_of_thread(fault: &Fault) -> bool {
    matches!(fault, Fault::Transient(_) | Fault::Permanent(_) | Fault::Config(_))
}

/// The first look: from now on, or the last days as history.
fn begin(section: &Section, api: &Api) -> Result<Page> {
    let is_history = section.first_fetch.as_deref() == Some("import");
    let days = if is_history { section.import_days.unwrap_or(IMPORT_DAYS) } else { 1 };
    let (threads, _) = threads(api, 0)?;
    let newest = threads.iter().map(|thread| thread.last_post).max().unwrap_or(0);
    let known = if is_history { 0 } else { newest };
    let floor = clock::now().saturating_sub(days.saturating_mul(DAY_MS));
    Seen::begin(known).keep();
    let cursor = json::cursor_text("misago", &Cursor { known, deep: known, floor, is_history, walk: None })?;
    Ok(Page { changes: Vec::new(), cursor, more: is_history, backfill: is_history, next_poll_ms: None, allowance: None })
}

/// A page of the list, and where it goes on. A list that begins behind its end is none.
fn threads(api: &Api, start: u64) -> Result<(Vec<Thread>, Option<u64>)> {
    let path = if start == 0 { "/api/threads/".to_owned() } else { format!("/api/threads/?start={start}") };
    let Some(sent) = api.get::<Object<wire::Threads>>(&path)? else {
        // No forum is without a list: something stands in front of it.
        return if start == 0 { Err(Fault::transient("misago.no-list", "threads: there is no list")) } else { Ok((Vec::new(), None)) };
    };
    let wire::Threads { results, next } = sent.0.unwrap_or_default();
    let Some(results) = results.0 else {
        return Err(Fault::transient("misago.malformed", "threads: no list of threads"));
    };
    let threads = results.iter().take(THREADS_MAX).filter_map(|thread| Thread::of(thread.0.as_ref()?)).collect();
    Ok((threads, next.whole().filter(|next| start == 0 || *next < start)))
}

/// Queues what moved or grew; the list ends where it reaches what is known. Pinned threads stand on top, whatever their age.
fn read_list(api: &Api, cursor: &Cursor, walk: &mut Walk, seen: &mut Seen) -> Result<()> {
    let Some(start) = walk.list else { return Ok(()) };
    let (threads, next) = threads(api, start)?;
    walk.top = threads.iter().map(|thread| thread.last_post).max().filter(|_| start == 0).unwrap_or(0).max(walk.top);
    let is_known = |thread: &Thread| thread.last_post <= cursor.known || cursor.known == 0 && cursor.is_below_floor(thread.last_on);
    let is_end = threads.iter().any(|thread| !thread.is_pinned && is_known(thread));
    let grown = if start == 0 { seen.grown(&threads, cursor.known) } else { BTreeMap::new() };
    let moved = threads.iter().filter(|thread| !is_known(thread) || grown.contains_key(&thread.id));
    let turn = |thread: &Thread| {
        let late = grown.get(&thread.id).copied().unwrap_or(0);
        Turn { thread: thread.id, page: thread.pages, below: None, late, strikes: 0 }
    };
    walk.queue = moved.map(turn).collect();
    walk.list = next.filter(|_| !is_end);
    Ok(())
}

/// The posts of a page of a thread, as they were sent; none where it is gone.
pub(crate) fn posts(api: &Api, thread: u64, page: u64) -> Result<Option<Vec<Object<wire::Post>>>> {
    Ok(page_of(api, thread, page)?.map(|page| page.posts))
}

/// A page of a thread.
struct Shown {
    thread: Thread,
    posts: Vec<Object<wire::Post>>,
    body: Body,
}

fn page_of(api: &Api, thread: u64, page: u64) -> Result<Option<Shown>> {
    let path = format!("/api/threads/{thread}/posts/?page={page}");
    let Some((sent, body)) = api.get_with_body::<Object<wire::Thread>>(&path)? else { return Ok(None) };
    let sent = sent.0.unwrap_or_default();
    match (Thread::of(&sent), sent.post_set.0.and_then(|set| set.results.0)) {
        (Some(thread), Some(posts)) => Ok(Some(Shown { thread, posts, body })),
        _ => Err(Fault::transient("misago.malformed", "posts: no thread with a list of posts")),
    }
}

struct Round<'s> {
    section: &'s Section,
    /// With the number of each post.
    told: Vec<(u64, Change)>,
    seen: Seen,
    n_items_max: usize,
    n_bytes: usize,
    n_bytes_max: usize,
}

impl<'s> Round<'s> {
    fn new(section: &'s Section, max_items: u32, max_bytes: u32) -> Self {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX).max(1);
        Self { section, told: Vec::new(), seen: Seen::read(), n_items_max: number(max_items), n_bytes: 0, n_bytes_max: number(max_bytes) }
    }

    /// A page more would be too much.
    fn is_full(&self) -> bool {
        self.told.len() + PAGE > self.n_items_max || self.n_bytes >= self.n_bytes_max
    }

    /// Tells what is new on a page, newest first; what is to be read of this thread then, if anything.
    fn read_posts(&mut self, api: &Api, cursor: &Cursor, turn: Turn) -> Result<Option<Turn>> {
        let Some(Shown { thread, posts, body }) = page_of(api, turn.thread, turn.page)? else {
            // The thread lost its last pages since the list was read, or is gone.
            let first = if turn.page > 1 { page_of(api, turn.thread, 1)? } else { None };
            return Ok(first.map(|first| Turn { page: first.thread.pages.min(turn.page - 1).max(1), below: None, ..turn }));
        };
        let is_post = |sent: &&wire::Post| sent.id.whole().is_some() && !sent.is_event.flag();
        let first = posts.iter().filter_map(|sent| sent.0.as_ref()).find(is_post).and_then(|sent| sent.id.whole()).filter(|_| turn.page == 1);
        let (mut is_end, mut late) = (turn.page <= 1, turn.late);
        for (at, sent) in posts.into_iter().enumerate().rev() {
            let sent = sent.0.unwrap_or_default();
            let Some(number) = sent.id.whole() else {
                self.unreadable(turn, &body, at);
                continue;
            };
            if turn.below.is_some_and(|below| number >= below) {
                continue;
            }
            let is_known = number <= cursor.deep;
            is_end = is_end || is_known;
            if is_known && !self.seen.is_missing(number) {
                continue;
            }
            if self.told.len() >= self.n_items_max {
                // What lies below comes with the next poll.
                return Ok(Some(Turn { below: Some(number.saturating_add(1)), late, ..turn }));
            }
            match Post::of(sent).filter(|post| !post.is_event) {
                // No post was told one walk behind, so that all of a thread that moves looks new.
                Some(post) if cursor.deep == 0 && cursor.is_below_floor(post.posted) => is_end = true,
                Some(post) if is_known && !Seen::may_have_waited(post.posted) => {}
                Some(post) => {
                    self.tell(&post, &thread, first == Some(post.id));
                    late = late.saturating_sub(u64::from(self.seen.add(number)));
                }
                None => {}
            }
        }
        // What waited may stand above what was told since.
        is_end = is_end && (late == 0 || turn.page <= 1 || thread.pages.saturating_sub(turn.page) + 1 >= LATE_PAGES);
        Ok((!is_end).then(|| Turn { page: turn.page.saturating_sub(1), below: None, late, ..turn }))
    }

    /// A thread that cannot be read is asked for again in the next polls, then given up, which is noted.
    fn strike(&mut self, turn: Turn, fault: &Fault) -> Option<Turn> {
        let strikes = turn.strikes.saturating_add(1);
        if strikes < STRIKES_MAX {
            return Some(Turn { strikes, ..turn });
        }
        let gap = json!({ "reason": "a thread cannot be read", "thread": turn.thread, "answer": fault.to_string() });
        self.told.push((u64::MAX, Change::Note(("gap".to_owned(), gap.to_string()))));
        None
    }

    fn tell(&mut self, post: &Post, thread: &Thread, is_first: bool) {
        if post.is_hidden() {
            self.told.push((post.id, Change::Gone(post.native(self.section))));
            return;
        }
        let about = post.interaction(self.section, thread, is_first);
        self.n_bytes = self.n_bytes.saturating_add(about.text.len() + 1000);
        self.told.push((post.id, Change::Upsert(about)));
    }

    fn unreadable(&mut self, turn: Turn, body: &Body, at: usize) {
        let head = body.head(&format!("/post_set/results/{at}"), HEAD_BYTES);
        let native = self.section.native(format!("thread/{}/page/{}", turn.thread, turn.page));
        self.told.push((u64::MAX, Change::Unreadable((native, "a post without an id".to_owned(), head))));
    }

    /// Oldest first, as they were said.
    fn done(mut self) -> Vec<Change> {
        self.seen.keep();
        self.told.sort_by_key(|(number, _)| *number);
        self.told.into_iter().map(|(_, change)| change).collect()
    }
}
