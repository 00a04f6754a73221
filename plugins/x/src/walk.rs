//! Search and mentions, walked from the newest back to where the last walk began.
//!
//! All pages of a walk are asked with the same `since_id`; it moves to the first page's newest only with the last page. The cursor
//! holds the walk, so whoever begins again with an old cursor asks the same again, and nothing lies behind it.

use membrana_sdk::connector::{Change, Page};
use membrana_sdk::json;
use membrana_sdk::{Fault, Result, clock, log};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::api::{Api, Read, Who};
use crate::faults::Problem;
use crate::ids::{is_id, moment, moment_of, newer, written};
use crate::post::{Includes, Own, Post};
use crate::revisions::Revisions;
use crate::shapes::{WORD_BYTES_MAX, head, id, list, note_body, text, whole};
use crate::watch::Watched;
use crate::{Section, rules};

/// X's largest page.
const PAGE_MAX: u32 = 100;
/// How far back X searches, with a margin for the way there. Units: milliseconds.
const REACH_MS: u64 = 7 * 86_400_000 - 600_000;
/// An id older than that is given up while X still takes it, where nothing came after it. Units: milliseconds.
const SINCE_MS_MAX: u64 = 5 * 86_400_000;
/// How late X may show a post: what was just searched is searched again by so much. Units: milliseconds.
const LAG_MS: u64 = 600_000;
/// X shows no more mentions than these.
const MENTIONS_REACH: u32 = 800;
/// A source that fails so often in a row beside one that works is told of.
const FAILURES_TOLD: u32 = 5;
/// Problems told of a page, and how long a token may be. Units of the latter: bytes.
const PROBLEMS_MAX: usize = 20;
pub(crate) const TOKEN_BYTES_MAX: usize = 1024;

/// Where to go on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Cursor {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    search: Option<Walk>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mentions: Option<Walk>,
}

/// Of one source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Walk {
    /// Everything up to this id is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Everything up to this moment is, where there is no such id. RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    /// The newest of the first page of the walk under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    newest: Option<String>,
    /// Its next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// It goes through what was there before the channel was.
    is_history: bool,
    /// When its first page was asked. Units: ms since 1970.
    begun: u64,
    /// Posts it brought so far.
    n_walked: u32,
    /// Times in a row that the source failed.
    n_failed: u32,
}

/// Where posts come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Source {
    Search,
    Mentions,
}

impl Source {
    fn word(self) -> &'static str {
        match self {
            Source::Search => "search",
            Source::Mentions => "mentions",
        }
    }

    /// X's smallest page.
    fn page_min(self) -> u32 {
        match self {
            Source::Search => 10,
            Source::Mentions => 5,
        }
    }

    fn who(self) -> Who {
        match self {
            Source::Search => Who::App,
            Source::Mentions => Who::User,
        }
    }

    /// What X takes nothing of.
    fn refused(self, problem: &Problem) -> Fault {
        match self {
            Source::Search => Fault::config("x.query", format!("X does not take the query: {}", problem.words)),
            Source::Mentions => Fault::permanent("x.refused", &problem.words),
        }
    }

    fn path(self, ctx: &Context<'_>, walk: &Walk, n: u32) -> String {
        let n = n.clamp(self.page_min(), PAGE_MAX);
        let (begin, token) = match self {
            Source::Search => {
                let query = ctx.section.query.as_deref().unwrap_or_default();
                (format!("/2/tweets/search/recent?query={}&sort_order=recency", encoded(query)), "next_token")
            }
            Source::Mentions => (format!("/2/users/{}/mentions?", ctx.own.ids.first().map_or("", String::as_str)), "pagination_token"),
        };
        let options = [("since_id", &walk.since), ("start_time", &walk.start), (token, &walk.next)];
        let options: String = options.iter().filter_map(|(key, value)| Some(format!("&{key}={}", encoded(value.as_deref()?)))).collect();
        format!("{begin}&max_results={n}{options}&{}", ctx.section.fields()).replace("?&", "?")
    }
}

/// For a query of an address.
pub(crate) fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

struct Context<'c> {
    section: &'c Section,
    api: &'c Api,
    own: &'c Own,
}

impl Cursor {
    fn walk(&mut self, source: Source) -> &mut Option<Walk> {
        match source {
            Source::Search => &mut self.search,
            Source::Mentions => &mut self.mentions,
        }
    }

    fn is_history(&self) -> bool {
        [&self.search, &self.mentions].into_iter().flatten().any(|walk| walk.is_history)
    }
}

/// What one page of one source brings.
struct Step {
    changes: Vec<Change>,
    walk: Walk,
    more: bool,
}

/// One page of each source; while one goes through history, of that one alone, for a page is history as a whole.
pub(crate) fn poll(section: &Section, cursor: Option<&str>, max_items: u32) -> Result<Page> {
    let api = Api::new(section);
    let mut cursor = json::cursor::<Cursor>("x", cursor)?.unwrap_or_default();
    if section.stream {
        keep_rules(section, &api)?;
    }
    let own = section.own(&api, &[])?;
    let ctx = Context { section, api: &api, own: &own };
    let mut revisions = Revisions::read();
    let mut sources = section.sources();
    let fresh = begin(&ctx, &mut cursor, &sources)?;
    let backfill = cursor.is_history();
    sources.retain(|source| !fresh.contains(source));
    sources.retain(|source| !backfill || cursor.walk(*source).as_ref().is_some_and(|walk| walk.is_history));
    let n_each = max_items / u32::try_from(sources.len().max(1)).unwrap_or(1);
    let mut outcome = Outcome::default();
    for source in sources {
        let Some(walk) = cursor.walk(source).as_mut() else { continue };
        match step(&ctx, &mut revisions, source, walk, n_each) {
            Ok(step) => {
                *walk = Walk { n_failed: 0, ..step.walk };
                outcome.changes.extend(step.changes);
                outcome.more |= step.more;
                outcome.n_worked += 1;
            }
            Err(fault) => outcome.failed(source, walk, fault)?,
        }
    }
    revisions.keep();
    if section.look_again {
        let may_ask = !outcome.more && !backfill;
        let gone = Watched::after(&outcome.changes, may_ask, &api);
        outcome.changes.extend(gone);
    }
    let cursor = json::cursor_text("x", &cursor)?;
    outcome.page(cursor, backfill, &api)
}

/// What the sources brought together.
#[derive(Default)]
struct Outcome {
    changes: Vec<Change>,
    more: bool,
    n_worked: u32,
    /// The first that failed.
    fault: Option<Fault>,
    /// The longest that one asks to wait. Units: milliseconds.
    wait_ms: Option<u64>,
}

impl Outcome {
    /// One source in trouble does not hold the other; it is told of where that lasts.
    /// Errors: what a person must mend.
    fn failed(&mut self, source: Source, walk: &mut Walk, fault: Fault) -> Result<()> {
        if let Fault::Auth(_) | Fault::Config(_) = fault {
            return Err(fault);
        }
        if let Fault::RateLimited((_, ms)) = &fault {
            self.wait_ms = self.wait_ms.max(Some(*ms));
        }
        walk.n_failed = walk.n_failed.saturating_add(1);
        let (Fault::RateLimited((detail, _)) | Fault::Transient(detail) | Fault::Permanent(detail) | Fault::Unsupported(detail)) = &fault else {
            return Err(fault);
        };
        log::warn(format!("Source `{}` failed, {} times in a row: {}.", source.word(), walk.n_failed, detail.code));
        if walk.n_failed == FAILURES_TOLD {
            let body = json!({ "source": source.word(), "code": detail.code, "message": detail.message, "times": walk.n_failed });
            self.changes.push(Change::Note(("x.source-failing".to_owned(), note_body(&body))));
        }
        self.fault.get_or_insert(fault);
        Ok(())
    }

    /// Errors: of the first source that failed, where none worked.
    fn page(self, cursor: String, backfill: bool, api: &Api) -> Result<Page> {
        if self.n_worked == 0
            && let Some(fault) = self.fault
        {
            return Err(fault);
        }
        // One that must wait would be asked again with the other at once.
        let more = self.more && self.wait_ms.is_none();
        let next_poll_ms = self.wait_ms.map(|ms| ms.min(86_400_000));
        Ok(Page { changes: self.changes, cursor, more, backfill, next_poll_ms, allowance: api.allowance() })
    }
}

/// Rules that cannot be looked at now keep nobody from polling. Errors: what a person must mend.
fn keep_rules(section: &Section, api: &Api) -> Result<()> {
    match rules::keep_in_step(section, api) {
        Err(fault @ (Fault::Auth(_) | Fault::Config(_))) => Err(fault),
        Err(_) => {
            log::warn("Rules of the stream could not be looked at; will try again.");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// The first look of sources that are new: from now on, or from the beginning as history. Gives those that were looked at.
fn begin(ctx: &Context<'_>, cursor: &mut Cursor, sources: &[Source]) -> Result<Vec<Source>> {
    let now = clock::now();
    let mut fresh = Vec::new();
    for &source in sources {
        if cursor.walk(source).is_some() {
            continue;
        }
        let mut walk = Walk { is_history: ctx.section.is_history_wanted(), begun: now, ..Walk::default() };
        if !walk.is_history {
            let json = match ctx.api.read(source.who(), &source.path(ctx, &walk, source.page_min()))? {
                Read::Answer(json) => json,
                Read::Refused(problem) => return Err(source.refused(&problem)),
            };
            walk.since = newest_of(&json);
            walk.start = walk.since.is_none().then(|| written(now.saturating_sub(LAG_MS)));
            fresh.push(source);
        }
        *cursor.walk(source) = Some(walk);
    }
    Ok(fresh)
}

fn step(ctx: &Context<'_>, revisions: &mut Revisions, source: Source, walk: &Walk, n: u32) -> Result<Step> {
    let mut walk = walk.clone();
    if walk.next.is_none() {
        walk.begun = clock::now();
        walk.n_walked = 0;
    }
    match ctx.api.read(source.who(), &source.path(ctx, &walk, n))? {
        Read::Answer(json) => Ok(taken(ctx, revisions, source, walk, &json)),
        Read::Refused(problem) => mended(source, walk, &problem),
    }
}

/// A page: its posts, oldest first, and where the walk stands after it.
fn taken(ctx: &Context<'_>, revisions: &mut Revisions, source: Source, mut walk: Walk, json: &Json) -> Step {
    let includes = Includes::of(json.get("includes"));
    let posts = list(json, "data");
    let mut changes: Vec<Change> = posts.iter().rev().filter_map(|post| change(ctx, revisions, source, post, &includes)).collect();
    changes.extend(list(json, "errors").iter().take(PROBLEMS_MAX).map(|error| Change::Note(("x.partial".to_owned(), note_body(error)))));
    walk.n_walked = walk.n_walked.saturating_add(u32::try_from(posts.len()).unwrap_or(u32::MAX));
    if walk.next.is_none() {
        walk.newest = newest_of(json);
    }
    walk.next = json.get("meta").and_then(|meta| whole(meta, "next_token", TOKEN_BYTES_MAX)).map(str::to_owned);
    let more = walk.next.is_some();
    if !more {
        changes.extend(finished(source, &mut walk));
    }
    Step { changes, walk, more }
}

/// The last page is through: only now the next walk may stop where this one began.
fn finished(source: Source, walk: &mut Walk) -> Option<Change> {
    let is_cut = source == Source::Mentions && walk.n_walked >= MENTIONS_REACH && (walk.since.is_some() || walk.start.is_some());
    let gap = is_cut.then(|| gap(source, walk.since.as_deref().and_then(moment_of), None, "X shows 800 mentions at most"));
    let quiet_since = walk.begun.saturating_sub(LAG_MS);
    match walk.newest.take() {
        Some(newest) => {
            walk.since = newer(walk.since.take(), Some(newest));
            walk.start = None;
        }
        // X takes no id of long ago: where nothing came after it, the moment says as much.
        None if walk.since.as_deref().and_then(moment_of).is_some_and(|at| walk.begun.saturating_sub(at) > SINCE_MS_MAX) => {
            walk.since = None;
            walk.start = Some(written(quiet_since));
        }
        None => {
            let start = walk.start.take().map(|start| moment(&start).unwrap_or(0).max(quiet_since));
            walk.start = start.map(written);
        }
    }
    walk.is_history = false;
    walk.n_walked = 0;
    gap
}

/// The walk again, from where X still reaches. Errors: `config` or `permanent` where it is something else that X does not take.
fn mended(source: Source, walk: Walk, problem: &Problem) -> Result<Step> {
    let restarted = |walk: Walk, changes: Vec<Change>| Ok(Step { changes, walk: Walk { next: None, newest: None, ..walk }, more: true });
    if walk.next.is_some() && (problem.is_about("next_token") || problem.is_about("pagination_token")) {
        return restarted(walk, Vec::new());
    }
    let is_since = walk.since.is_some() && problem.is_about("since_id");
    let is_start = walk.start.is_some() && problem.is_about("start_time");
    if is_since || is_start {
        let from = walk.since.as_deref().and_then(moment_of).or_else(|| walk.start.as_deref().and_then(moment));
        let to = clock::now().saturating_sub(REACH_MS);
        let gap = gap(source, from, Some(to), "X does not reach back to where the channel stood");
        return restarted(Walk { since: None, start: Some(written(to)), ..walk }, vec![gap]);
    }
    Err(source.refused(problem))
}

/// What may be missing, and why.
fn gap(source: Source, from: Option<u64>, to: Option<u64>, why: &str) -> Change {
    let body = json!({ "source": source.word(), "from": from.map(written), "to": to.map(written), "reason": why });
    Change::Note(("gap".to_owned(), note_body(&body)))
}

/// One that cannot be read is set aside alone.
fn change(ctx: &Context<'_>, revisions: &mut Revisions, source: Source, json: &Json, includes: &Includes<'_>) -> Option<Change> {
    match Post::of(json, includes, ctx.own) {
        Some(post) => revisions.taken(post),
        None => {
            let named = id(json, "id").unwrap_or_else(|| format!("{}+{}", source.word(), clock::now()));
            let bytes = head(json.to_string().as_bytes());
            Some(Change::Unreadable((crate::post::native(&named), "a post without an id or a text".to_owned(), bytes)))
        }
    }
}

/// As the page says, else as its posts do; none of an empty page.
fn newest_of(json: &Json) -> Option<String> {
    let told = json.get("meta").and_then(|meta| text(meta, "newest_id", WORD_BYTES_MAX)).filter(|id| is_id(id)).map(str::to_owned);
    told.or_else(|| list(json, "data").iter().filter_map(|post| id(post, "id")).fold(None, |newest, id| newer(newest, Some(id))))
}
