//! One fetch of one feed: validators, moves, and what a server's answer means.

use membrana_sdk::http::{HttpError, Request, Response, send};
use membrana_sdk::{Fault, Result, clock};
use url::Url;

use crate::charset::decode;
use crate::dates::moment;
use crate::document::{Document, parse};
use crate::memory::Memory;

const HOPS_MAX: usize = 5;
/// A server that says "later" without a time, and the longest that is believed. Units: milliseconds.
const LATER_MS: u64 = 300_000;
const LATER_MS_MAX: u64 = 24 * 3_600_000;
const TIMEOUT_MS: u32 = 10_000;
/// No request is begun with less time than this.
pub(crate) const TIME_LEFT_MS: u64 = 12_000;
/// More than any feed needs, and all that the host hands over.
const BODY_MAX: usize = 8 << 20;
/// WordPress makes its validators from the second of the last change: what comes later in that second changes neither.
/// Units: milliseconds.
const SETTLED_MS: u64 = 3_000;
/// Longer validators are not kept. Units: bytes.
const VALIDATOR_MAX: usize = 1000;
const ACCEPT: &str = "application/atom+xml, application/rss+xml, application/feed+json, application/xml;q=0.9, */*;q=0.5";

/// What one fetch brought.
pub(crate) enum Fetched {
    New(Box<News>),
    /// With where it is now, for good.
    Unchanged(Option<String>),
    Gone,
}

/// A feed that was sent whole.
pub(crate) struct News {
    pub(crate) document: Document,
    pub(crate) n_bytes: usize,
    pub(crate) etag: Option<String>,
    pub(crate) modified: Option<String>,
    pub(crate) moved: Option<String>,
}

/// Asks for what is new since `memory`.
pub(crate) fn fetch(url: &str, memory: &Memory) -> Result<Fetched> {
    let Some(moved) = memory.settled_move() else { return follow(url, url, memory) };
    match follow(url, moved, memory) {
        done @ (Ok(Fetched::New(_) | Fetched::Unchanged(_)) | Err(Fault::RateLimited(_))) => done,
        // Where it had moved to may be what is wrong: the admin's own address has the last word.
        _ => follow(url, url, memory),
    }
}

fn follow(url: &str, start: &str, memory: &Memory) -> Result<Fetched> {
    let mut at = start.to_owned();
    let mut moved = (start != url).then(|| start.to_owned());
    let mut is_permanent = true;
    for _ in 0..=HOPS_MAX {
        if clock::remaining_ms() < TIME_LEFT_MS {
            return Err(Fault::transient("feed.no-time", format!("no time was left for {at}")));
        }
        let answer = send(&request(&at, memory)).map_err(|error| unreachable_feed(url, &at, &error))?;
        match answer.status {
            200 => return news(&at, &answer, moved),
            304 => return Ok(Fetched::Unchanged(moved)),
            410 => return Ok(Fetched::Gone),
            301 | 302 | 303 | 307 | 308 => {
                let target = answer.header("location").and_then(|to| Url::parse(&at).ok()?.join(to).ok());
                let target = target.filter(|target| matches!(target.scheme(), "http" | "https"));
                let Some(target) = target else { return Err(Fault::transient("feed.redirect", format!("{at} leads nowhere"))) };
                is_permanent &= matches!(answer.status, 301 | 308);
                at = target.into();
                if is_permanent {
                    moved = Some(at.clone());
                }
            }
            status => return Err(refused(&at, status, &answer)),
        }
    }
    Err(Fault::transient("feed.redirect", format!("{url} moves more than {HOPS_MAX} times")))
}

fn request(at: &str, memory: &Memory) -> Request {
    let mut request = Request::new("GET", at).header("accept", ACCEPT);
    request.timeout_ms = Some(TIMEOUT_MS);
    for (name, value) in [("if-none-match", &memory.etag), ("if-modified-since", &memory.modified)] {
        if let Some(value) = value {
            request = request.header(name, value.as_str());
        }
    }
    request
}

fn unreachable_feed(url: &str, at: &str, error: &HttpError) -> Fault {
    let words = error.words();
    match error {
        HttpError::Denied(_) if at == url => Fault::config("feed.denied", format!("{at}: {words}")),
        HttpError::Denied(_) => Fault::config("feed.denied", format!("{url} moved to {at}: {words}")),
        HttpError::TooLarge(_) => Fault::transient("feed.too-large", format!("{at}: {words}")),
        _ => Fault::transient("feed.unreachable", format!("{at}: {words}")),
    }
}

fn refused(at: &str, status: u16, answer: &Response) -> Fault {
    let said = format!("{at} answers {status}");
    match status {
        401 | 403 => Fault::auth("feed.forbidden", said),
        404 => Fault::config("feed.not-found", format!("{said}: is the address right?")),
        429 => Fault::rate_limited("feed.later", said, later(answer).unwrap_or(LATER_MS)),
        503 if answer.header("retry-after").is_some() => Fault::rate_limited("feed.later", said, later(answer).unwrap_or(LATER_MS)),
        _ => Fault::transient("feed.status", said),
    }
}

/// Seconds or a date. Units: milliseconds.
fn later(answer: &Response) -> Option<u64> {
    let value = answer.header("retry-after")?.trim();
    let wait = value.parse::<u64>().ok().map(|seconds| seconds.saturating_mul(1000));
    wait.or_else(|| Some(moment(value)?.saturating_sub(answer.answered_at()))).map(|wait| wait.clamp(1000, LATER_MS_MAX))
}

fn news(at: &str, answer: &Response, moved: Option<String>) -> Result<Fetched> {
    if answer.body.len() > BODY_MAX {
        return Err(Fault::transient("feed.too-large", format!("{at}: {} bytes are over {BODY_MAX}", answer.body.len())));
    }
    let text = decode(&answer.body, answer.header("content-type"));
    let document = parse(&text, Url::parse(at).ok().as_ref()).ok_or_else(|| Fault::transient("feed.no-feed", format!("{at} is no feed")))?;
    let changed = answer.header("last-modified").and_then(moment);
    let now = answer.header("date").and_then(moment).unwrap_or_else(clock::now);
    let is_settled = changed.is_none_or(|changed| now.saturating_sub(changed) >= SETTLED_MS);
    let kept = |name: &str| answer.header(name).filter(|value| is_settled && value.len() <= VALIDATOR_MAX).map(str::to_owned);
    let moved = moved.filter(|moved| moved.len() <= VALIDATOR_MAX);
    Ok(Fetched::New(Box::new(News { document, n_bytes: answer.body.len(), etag: kept("etag"), modified: kept("last-modified"), moved })))
}
