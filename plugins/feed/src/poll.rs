//! One round over the feeds, then over some comment feeds. What fails is told once, left alone for a while, and never
//! holds the rest; what does not fit into the page comes with the next.

use std::collections::BTreeSet;

use membrana_sdk::connector::{Change, Interaction, Page};
use membrana_sdk::{Fault, Result, clock};
use url::Url;

use crate::document::{Document, Item};
use crate::fetch::{Fetched, News, TIME_LEFT_MS, fetch};
use crate::memory::{CommentFeed, Memory, Seen, Standing, forget_all_but};
use crate::settings::Settings;
use crate::told::{Mark, Source};

/// Comment feeds of single posts: so many of a blog's newest, and so many asked in one poll.
const COMMENT_FEEDS_MAX: usize = 10;
const COMMENT_FETCHES_MAX: usize = 10;
/// After so much no further feed is read in one poll, so that its CPU budget holds. Units: bytes.
const READ_BYTES_MAX: usize = 4 << 20;
/// Units: milliseconds.
const FIRST_WAIT_MS: u64 = 60_000;
const LONGEST_FAULT_WAIT_MS: u64 = 900_000;
const LONGEST_PACE_MS: u64 = 3_600_000;
const GONE_WAIT_MS: u64 = 30 * 24 * 3_600_000;
/// Units: bytes.
const URL_MAX: usize = 1000;

pub(crate) fn poll(settings: &Settings, cursor: Option<&str>, max_items: u32, max_bytes: u32) -> Result<Page> {
    let mut round = Round::new(settings, max_items, max_bytes);
    let (first, first_comments) = turns(cursor, settings.urls.len());
    let mut failures = Vec::new();
    let mut turn = 0;
    for (n, url) in settings.urls.iter().enumerate().cycle().skip(first).take(settings.urls.len()) {
        match round.visit(url, None) {
            Ok(Visit::Done) => {}
            Ok(Visit::Later) => {
                turn = n;
                break;
            }
            Err(fault) => failures.push(fault),
        }
    }
    if failures.len() == settings.urls.len() {
        return Err(worst(failures));
    }
    let feeds: Vec<CommentFeed> =
        if settings.comments { settings.urls.iter().flat_map(|url| Memory::of(url).comment_feeds).collect() } else { Vec::new() };
    let mut comment_turn = first_comments;
    if !round.is_over {
        let start = first_comments % feeds.len().max(1);
        for feed in feeds.iter().cycle().skip(start).take(feeds.len().min(COMMENT_FETCHES_MAX)) {
            // A comment feed that cannot be read says nothing about the blog.
            if let Ok(Visit::Later) = round.visit(&feed.url, Some(feed)) {
                break;
            }
            comment_turn = comment_turn.wrapping_add(1) % feeds.len().max(1);
        }
    }
    forget_all_but(settings.urls.iter().map(String::as_str).chain(feeds.iter().map(|feed| feed.url.as_str())));
    let next_poll_ms = round.pace_ms.filter(|_| settings.follows_pace()).map(|pace| pace.min(LONGEST_PACE_MS));
    let more = round.is_over && !round.changes.is_empty();
    Ok(Page {
        changes: round.changes,
        cursor: format!("{turn} {comment_turn}"),
        more,
        backfill: round.backfill.unwrap_or(false),
        next_poll_ms,
        allowance: None,
    })
}

/// Where the last poll stopped: at which feed, and at which comment feed.
fn turns(cursor: Option<&str>, n_urls: usize) -> (usize, usize) {
    let mut numbers = cursor.unwrap_or_default().split(' ').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0) % n_urls.max(1), numbers.next().unwrap_or(0))
}

/// The fault of a channel none of whose feeds can be read: what time may mend goes before what an admin must.
fn worst(failures: Vec<Fault>) -> Fault {
    let soonest = failures.iter().filter_map(|fault| if let Fault::RateLimited((_, ms)) = fault { Some(*ms) } else { None }).min();
    let is_limited = failures.iter().all(|fault| matches!(fault, Fault::RateLimited(_)));
    let is_passing = |fault: &Fault| {
        matches!(fault, Fault::Transient(_))
            || matches!((fault, soonest), (Fault::RateLimited((_, ms)), Some(soonest)) if is_limited && *ms == soonest)
    };
    let at = failures.iter().position(is_passing).or_else(|| failures.iter().position(|fault| matches!(fault, Fault::RateLimited(_)))).unwrap_or(0);
    failures.into_iter().nth(at).unwrap_or_else(|| Fault::config("feed.no-feeds", "there is no feed to read"))
}

/// What came of one feed.
enum Visit {
    Done,
    /// The page is full, the time is over, or this feed belongs into a page of its own.
    Later,
}

struct Round<'a> {
    settings: &'a Settings,
    changes: Vec<Change>,
    n_items_max: usize,
    n_bytes: usize,
    n_bytes_max: usize,
    n_read: usize,
    /// Of the page, from its first item on: history and news never share one.
    backfill: Option<bool>,
    is_over: bool,
    pace_ms: Option<u64>,
}

impl<'a> Round<'a> {
    fn new(settings: &'a Settings, max_items: u32, max_bytes: u32) -> Self {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX).max(1);
        Self {
            settings,
            changes: Vec::new(),
            n_items_max: number(max_items),
            n_bytes: 0,
            n_bytes_max: number(max_bytes),
            n_read: 0,
            backfill: None,
            is_over: false,
            pace_ms: None,
        }
    }

    fn is_full(&self) -> bool {
        self.changes.len() >= self.n_items_max || self.n_bytes >= self.n_bytes_max
    }

    fn later(&mut self) -> Result<Visit> {
        self.is_over = true;
        Ok(Visit::Later)
    }

    fn visit(&mut self, url: &str, comments: Option<&CommentFeed>) -> Result<Visit> {
        if self.is_full() || clock::remaining_ms() < TIME_LEFT_MS || self.n_read >= READ_BYTES_MAX {
            return self.later();
        }
        let mut memory = Memory::of(url);
        let wait = memory.wait_until.saturating_sub(clock::now());
        if wait > 0 {
            return if memory.is_gone {
                Ok(Visit::Done)
            } else {
                Err(Fault::rate_limited("feed.waiting", format!("{url} failed before and is left alone"), wait))
            };
        }
        let is_history = memory.is_importing || !memory.was_read && self.settings.is_import() && !comments.is_some_and(|feed| feed.is_news);
        if self.backfill.is_some_and(|page| page != is_history) {
            return self.later();
        }
        match fetch(url, &memory) {
            Ok(Fetched::New(news)) => {
                (memory.n_faults, memory.fault, memory.is_gone, memory.wait_until) = (0, None, false, 0);
                self.take(url, comments, memory, *news, is_history)
            }
            Ok(Fetched::Unchanged(moved)) => {
                self.follow(memory.pace_ms);
                if memory.follow_move(moved) || memory.fault.is_some() {
                    (memory.n_faults, memory.fault) = (0, None);
                    memory.keep(url)?;
                }
                Ok(Visit::Done)
            }
            Ok(Fetched::Gone) => self.gone(url, comments, memory),
            Err(fault) => self.failed(url, comments, memory, fault),
        }
    }

    fn gone(&mut self, url: &str, comments: Option<&CommentFeed>, mut memory: Memory) -> Result<Visit> {
        if !memory.is_gone && comments.is_none() {
            self.note("feed.gone", &serde_json::json!({ "url": url }));
        }
        (memory.is_gone, memory.wait_until) = (true, clock::now().saturating_add(GONE_WAIT_MS));
        memory.comment_feeds.clear();
        memory.keep(url)?;
        Ok(Visit::Done)
    }

    fn failed(&mut self, url: &str, comments: Option<&CommentFeed>, mut memory: Memory, fault: Fault) -> Result<Visit> {
        let (code, message) = match &fault {
            Fault::Config(why)
            | Fault::Auth(why)
            | Fault::RateLimited((why, _))
            | Fault::Transient(why)
            | Fault::Permanent(why)
            | Fault::Unsupported(why) => (&why.code, &why.message),
        };
        if code == "feed.no-time" {
            return self.later();
        }
        if memory.fault.as_ref() != Some(code) && comments.is_none() {
            self.note("feed.unreadable", &serde_json::json!({ "url": url, "code": code, "message": message }));
        }
        let wait = match &fault {
            Fault::RateLimited((_, wait)) => *wait,
            _ => FIRST_WAIT_MS.saturating_mul(1 << memory.n_faults.min(6)).min(LONGEST_FAULT_WAIT_MS),
        };
        memory.fault = Some(code.clone());
        memory.follow_move(None);
        memory.n_faults = memory.n_faults.saturating_add(1);
        memory.wait_until = clock::now().saturating_add(wait);
        memory.keep(url)?;
        Err(fault)
    }

    fn note(&mut self, kind: &str, body: &serde_json::Value) {
        self.changes.push(Change::Note((kind.to_owned(), body.to_string())));
    }

    fn follow(&mut self, pace_ms: Option<u64>) {
        self.pace_ms = [self.pace_ms, pace_ms].into_iter().flatten().min();
    }

    fn take(&mut self, url: &str, comments: Option<&CommentFeed>, mut memory: Memory, news: News, is_history: bool) -> Result<Visit> {
        self.n_read = self.n_read.saturating_add(news.n_bytes);
        self.follow(news.document.pace_ms);
        let is_silent = !memory.was_read && !self.settings.is_import() && !comments.is_some_and(|feed| feed.is_news);
        let source = Source::new(url, &news.document, comments, self.settings.ours);
        let mut seen = Seen::of(url, comments.is_some());
        let (mut is_whole, mut arrived) = (true, BTreeSet::new());
        let items = first_of_each(&source);
        // A feed of one item always holds only what is new.
        let is_run_over = memory.was_read && items.len() > 1 && seen.is_left_behind_by(items.iter().map(|(_, mark)| mark.id));
        for (item, mark) in &items {
            let standing = seen.standing(mark.id, mark.content);
            // An edit of what was never told is no news: one change of a template would tell the whole blog.
            let is_told = !is_silent && !matches!(standing, Standing::Known | Standing::OldChanged);
            if is_told {
                if self.is_full() {
                    is_whole = false;
                    // What was seen before keeps its place; its change is told with the next page.
                    continue;
                }
                if standing == Standing::New && !is_history {
                    arrived.insert(mark.id);
                }
                self.tell(source.interaction(item, mark), is_history);
            }
            seen.touch(mark.id, mark.content, !is_silent);
        }
        seen.keep(url)?;
        if is_run_over {
            let reason = "all that the feed holds is new: what stood between this and the last look may not be in it any more";
            self.note("gap", &serde_json::json!({ "reason": reason, "url": url }));
        }
        if comments.is_none() && self.settings.comments {
            memory.comment_feeds = comment_feeds(&source, &items, &arrived, &memory.comment_feeds);
        }
        memory.was_read = true;
        memory.is_importing = is_history && !is_whole;
        memory.pace_ms = news.document.pace_ms;
        memory.follow_move(news.moved);
        // Without validators the next poll gets the whole document again.
        (memory.etag, memory.modified) = if is_whole { (news.etag, news.modified) } else { (None, None) };
        memory.keep(url)?;
        if is_whole { Ok(Visit::Done) } else { self.later() }
    }

    fn tell(&mut self, about: Interaction, is_history: bool) {
        self.n_bytes = self.n_bytes.saturating_add(about.text.len() + 1000);
        self.backfill = Some(is_history);
        self.changes.push(Change::Upsert(about));
    }
}

/// Oldest first, as they were said; where a feed gives several items one id, the newest alone.
fn first_of_each<'d>(source: &Source<'d>) -> Vec<(&'d Item, Mark)> {
    let mut ids = BTreeSet::new();
    let mut found: Vec<_> = source.document.items.iter().map(|item| (item, source.mark(item))).filter(|(_, mark)| ids.insert(mark.id)).collect();
    found.reverse();
    found
}

/// The feed of all comments where there is one, and those of the newest posts: the one holds only the last few of a busy
/// day, the others only some posts. `items` come oldest first.
fn comment_feeds(source: &Source<'_>, items: &[(&Item, Mark)], arrived: &BTreeSet<u64>, before: &[CommentFeed]) -> Vec<CommentFeed> {
    let is_usable = |url: &String| url.len() <= URL_MAX && Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    let site = source.document.comments.clone().or_else(|| of_wordpress(source.url, source.document)).filter(is_usable);
    let blog = || source.url.to_owned();
    let of_site = site.map(|url| CommentFeed { url, blog: blog(), post: None, is_news: false });
    let of_posts = items.iter().rev().filter_map(|(item, mark)| {
        let url = item.comments.clone().filter(is_usable)?;
        let was_news = before.iter().any(|feed| feed.url == url && feed.is_news);
        let post = Some((mark.native.scope.clone(), mark.native.id.clone()));
        Some(CommentFeed { url, blog: blog(), post, is_news: was_news || arrived.contains(&mark.id) })
    });
    of_site.into_iter().chain(of_posts.take(COMMENT_FEEDS_MAX)).collect()
}

fn of_wordpress(url: &str, document: &Document) -> Option<String> {
    document.generator.as_deref().filter(|generator| generator.contains("wordpress.org"))?;
    let here = Url::parse(url).ok()?;
    if url.contains("feed=rss2") {
        return Some(url.replace("feed=rss2", "feed=comments-rss2"));
    }
    // A feed of a category knows its site; a site behind another name is found by the feed's own address.
    let home = document.link.as_deref().and_then(|link| Url::parse(link).ok()).filter(|home| home.origin() == here.origin());
    match home {
        Some(home) => Some(format!("{}/comments/feed/", home.as_str().trim_end_matches('/'))),
        None => Some(format!("{}comments/feed/", url.strip_suffix("feed/").or_else(|| url.strip_suffix("feed"))?)),
    }
}
