//! Connector `feed`: posts and comments of blogs, by any kind of feed.
//!
//! What was seen is remembered by id, never by date, so that a post that a blog dates back still arrives; another content
//! under the same id is an edit. One bad feed never holds the others.

pub mod document;
mod markup;
mod memory;

use membrana_sdk::connector::{Author, Change, Interaction, Message, Ours, Page, Receipt};
use membrana_sdk::http::{HttpError, Request, Response, send};
use membrana_sdk::{Attachment, Connector, Fault, Finding, NativeId, Result, Surroundings, finding_error, register_connector};
use serde::Deserialize;
use url::Url;

use document::{Document, Item, decode, parse};
use memory::{Memory, Seen, news_of};

/// A feed's address may move so many times in one fetch.
const HOPS_MAX: usize = 5;
/// Comment feeds of single posts that are read; the newest posts'.
const COMMENT_FEEDS_MAX: usize = 10;
/// A reply context, a title and the like. Units: characters.
const TITLE_MAX: usize = 500;
/// A server that says "later" without a time. Units: milliseconds.
const LATER_MS: u64 = 300_000;

/// The connector.
pub struct Feed;

/// Its section of the configuration.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Section {
    urls: Vec<String>,
    first_fetch: String,
    comments: bool,
    ours: bool,
}

impl Default for Section {
    fn default() -> Self {
        Self { urls: Vec::new(), first_fetch: "skip".to_owned(), comments: true, ours: false }
    }
}

/// What one fetch brought.
enum Fetched {
    New(Box<Document>, Memory),
    Unchanged,
    Gone,
}

/// What is being collected for one page.
struct Collecting {
    changes: Vec<Change>,
    max: usize,
    more: bool,
}

impl Connector for Feed {
    fn validate(config: &str, _around: &Surroundings) -> Vec<Finding> {
        let section: Section = match serde_json::from_str(config) {
            Ok(section) => section,
            Err(error) => return vec![finding_error("", error, "see `membrana plugin inspect feed` for the keys")],
        };
        let mut findings = Vec::new();
        if section.urls.is_empty() {
            findings.push(finding_error("urls", "there is no feed to read", "write urls = [\"https://blog.example.org/feed/\"]"));
        }
        for (n, text) in section.urls.iter().enumerate() {
            if !Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
                findings.push(finding_error(&format!("urls[{n}]"), format!("`{text}` is not the address of a feed"), "write https://host/path"));
            }
        }
        findings
    }

    fn poll(_cursor: Option<String>, max_items: u32, _max_bytes: u32) -> Result<Page> {
        let section: Section = serde_json::from_str(&membrana_sdk::config::json()).map_err(|error| Fault::config("feed.section", error))?;
        let mut page = Collecting { changes: Vec::new(), max: usize::try_from(max_items).unwrap_or(64).max(1), more: false };
        let (mut failures, mut comment_feeds) = (Vec::new(), Vec::new());
        let is_import = section.first_fetch == "import";
        for url in &section.urls {
            let is_first = Memory::of(url).is_none();
            match read(url, &section, None, is_import, &mut page) {
                Ok(found) => comment_feeds.extend(found),
                Err(fault) => failures.push(fault),
            }
            // History goes into a page of its own, for the page is marked as a whole.
            if is_first && is_import && !page.changes.is_empty() {
                return Ok(Page { changes: page.changes, cursor: "1".to_owned(), more: true, backfill: true, next_poll_ms: None });
            }
        }
        if failures.len() == section.urls.len()
            && let Some(first) = failures.into_iter().next()
        {
            return Err(first);
        }
        if section.comments {
            for url in comment_feeds {
                let is_first = Memory::of(&url).is_none();
                // A comment feed that cannot be read says nothing about the blog.
                drop(read(&url, &section, Some(&url), is_import, &mut page));
                if is_first && is_import && !page.changes.is_empty() {
                    return Ok(Page { changes: page.changes, cursor: "1".to_owned(), more: true, backfill: true, next_poll_ms: None });
                }
            }
        }
        Ok(Page { changes: page.changes, cursor: "1".to_owned(), more: page.more, backfill: false, next_poll_ms: None })
    }

    fn send(_key: &str, _message: &Message) -> Result<Receipt> {
        Err(Fault::unsupported("a feed cannot be answered"))
    }
}

register_connector!(Feed);

/// Reads one feed into the page; gives the comment feeds that it names, or named when it was last read.
fn read(url: &str, section: &Section, comments_of: Option<&str>, is_import: bool, page: &mut Collecting) -> Result<Vec<String>> {
    let memory = Memory::of(url);
    let is_first = memory.is_none();
    let mut memory = memory.unwrap_or_default();
    let named = memory.comment_feeds.clone();
    let (document, mut fresh) = match fetch(url, &memory)? {
        Fetched::New(document, fresh) => (document, fresh),
        Fetched::Unchanged => return Ok(named),
        Fetched::Gone => {
            memory.is_gone = true;
            memory.keep(url)?;
            page.changes.push(Change::Note(("feed.gone".to_owned(), serde_json::json!({ "url": url }).to_string())));
            return Ok(Vec::new());
        }
    };
    let mut seen = Seen::of(url);
    let mut is_whole = true;
    // Oldest first, as they were said.
    for item in document.items.iter().rev() {
        let Some((news, id, content)) = news_of(&seen, item) else { continue };
        if is_first && !is_import {
            seen.add(id, content);
            continue;
        }
        if page.changes.len() >= page.max {
            is_whole = false;
            continue;
        }
        seen.add(id, content);
        page.changes.push(Change::Upsert(interaction(url, &document, item, news, section, comments_of)));
    }
    seen.keep(url)?;
    fresh.comment_feeds = if comments_of.is_none() { comment_feeds(url, &document) } else { Vec::new() };
    if !is_whole {
        // Without them the next poll gets the whole document again.
        (fresh.etag, fresh.modified) = (None, None);
        page.more = true;
    }
    fresh.keep(url)?;
    Ok(fresh.comment_feeds)
}

fn fetch(url: &str, memory: &Memory) -> Result<Fetched> {
    if memory.is_gone {
        return Ok(Fetched::Unchanged);
    }
    let mut fresh = Memory { moved: memory.moved.clone(), ..Memory::default() };
    let mut at = memory.moved.clone().unwrap_or_else(|| url.to_owned());
    let mut is_permanent = true;
    for _ in 0..HOPS_MAX {
        let mut request = Request::new("GET", at.as_str()).header("accept", "application/atom+xml, application/rss+xml, application/feed+json, application/xml;q=0.9, */*;q=0.5");
        if let Some(etag) = &memory.etag {
            request = request.header("if-none-match", etag.as_str());
        }
        if let Some(modified) = &memory.modified {
            request = request.header("if-modified-since", modified.as_str());
        }
        let answer = send(&request).map_err(|error| unreachable_feed(&at, &error))?;
        match answer.status {
            200 => return document_of(&at, &answer, fresh),
            304 => return Ok(Fetched::Unchanged),
            410 => return Ok(Fetched::Gone),
            301 | 302 | 303 | 307 | 308 => {
                let target = answer.header("location").and_then(|to| Url::parse(&at).ok()?.join(to).ok());
                let Some(target) = target else { return Err(Fault::transient("feed.redirect", format!("{at} leads nowhere"))) };
                is_permanent &= matches!(answer.status, 301 | 308);
                at = target.into();
                if is_permanent {
                    fresh.moved = Some(at.clone());
                }
            }
            401 | 403 => return Err(Fault::auth("feed.forbidden", format!("{at} answers {}", answer.status))),
            429 | 503 => {
                let wait = answer.header("retry-after").and_then(|value| value.trim().parse::<u64>().ok()).map_or(LATER_MS, |s| s.saturating_mul(1000));
                return Err(Fault::rate_limited("feed.later", format!("{at} answers {}", answer.status), wait));
            }
            404 => return Err(Fault::config("feed.not-found", format!("{at} answers 404: is the address right?"))),
            other => return Err(Fault::transient("feed.status", format!("{at} answers {other}"))),
        }
    }
    Err(Fault::transient("feed.redirect", format!("{url} moves more than {HOPS_MAX} times")))
}

fn unreachable_feed(url: &str, error: &HttpError) -> Fault {
    match error {
        HttpError::Denied(_) => Fault::config("feed.denied", format!("{url}: {}", error.words())),
        _ => Fault::transient("feed.unreachable", format!("{url}: {}", error.words())),
    }
}

fn document_of(url: &str, answer: &Response, mut fresh: Memory) -> Result<Fetched> {
    let text = decode(&answer.body, answer.header("content-type"));
    let document = parse(&text, Url::parse(url).ok().as_ref()).ok_or_else(|| Fault::transient("feed.no-feed", format!("{url} is no feed")))?;
    fresh.etag = answer.header("etag").map(str::to_owned);
    fresh.modified = answer.header("last-modified").map(str::to_owned);
    Ok(Fetched::New(Box::new(document), fresh))
}

/// WordPress has one feed of all comments; others name one a post.
fn comment_feeds(url: &str, document: &Document) -> Vec<String> {
    let is_wordpress = document.generator.as_deref().is_some_and(|generator| generator.contains("wordpress.org"));
    let site = is_wordpress.then(|| url.strip_suffix("feed/").or_else(|| url.strip_suffix("feed"))).flatten();
    match site {
        Some(site) => vec![format!("{site}comments/feed/")],
        None => document.items.iter().filter_map(|item| item.comments.clone()).take(COMMENT_FEEDS_MAX).collect(),
    }
}

fn interaction(url: &str, document: &Document, item: &Item, id: String, section: &Section, comments_of: Option<&str>) -> Interaction {
    let is_comment = comments_of.is_some();
    let scope = if id.contains("://") || id.starts_with("urn:") || id.starts_with("tag:") { String::new() } else { url.to_owned() };
    let native = |id: &str| NativeId { scope: String::new(), id: id.chars().take(1000).collect() };
    let native_id = NativeId { scope, id };
    let link_of_post = item.link.as_deref().and_then(|link| link.split_once('#')).map(|(post, _)| post.to_owned());
    let parent = is_comment.then(|| item.in_reply_to.clone().or(link_of_post)).flatten();
    let published = item.published.as_deref().and_then(moment);
    let updated = item.updated.as_deref().and_then(moment);
    let occurred = published.or(updated).unwrap_or_else(membrana_sdk::clock::now);
    Interaction {
        aka: item.link.iter().filter(|link| **link != native_id.id).map(|link| native(link)).collect(),
        native: native_id,
        kind: if is_comment { "comment" } else { "post" }.to_owned(),
        visibility: "public".to_owned(),
        author: item.author.as_ref().map(|name| author(url, name)),
        ours: if section.ours && !is_comment { Ours::Yes(None) } else { Ours::No },
        automated: "no".to_owned(),
        conversation: None,
        parent: parent.as_deref().map(native),
        refs: Vec::new(),
        subject: item.title.as_ref().filter(|_| !is_comment).map(|title| title.chars().take(TITLE_MAX).collect()),
        text: item.text(),
        quoted: None,
        language: document.language.as_ref().filter(|tag| tag.len() <= 35).map(|tag| tag.replace('_', "-")),
        url: item.link.clone().filter(|link| link.len() <= 2000),
        attachments: item.enclosures.iter().take(16).map(attachment).collect(),
        place: None,
        side: None,
        campaign: None,
        occurred,
        edited: updated.filter(|updated| *updated > occurred),
        reply_context: None,
        attrs: document.title.iter().map(|title| ("feed.title".to_owned(), title.chars().take(200).collect())).collect(),
    }
}

/// A feed knows writers by name alone, so a name is one writer per site.
fn author(url: &str, name: &str) -> Author {
    let site = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let name: String = name.chars().take(200).collect();
    Author {
        native: NativeId { scope: site, id: name.clone() },
        handle: None,
        name: Some(name),
        url: None,
        email: None,
        phone: None,
        assurance: None,
        automated: false,
        metrics: Vec::new(),
    }
}

fn attachment((url, media_type, size): &(String, String, Option<u64>)) -> Attachment {
    Attachment { name: None, media_type: media_type.chars().take(100).collect(), size: *size, url: Some(url.chars().take(2000).collect()), media_ref: None }
}

/// RFC 3339 or mail's form, with or without a time. Units: milliseconds since 1970.
fn moment(text: &str) -> Option<u64> {
    let text = text.trim();
    let at: Option<jiff::Timestamp> = text.parse().ok().or_else(|| {
        let zoned = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok();
        zoned.or_else(|| jiff::tz::Offset::UTC.to_timestamp(text.parse::<jiff::civil::DateTime>().ok()?).ok())
    });
    u64::try_from(at?.as_millisecond()).ok()
}

#[cfg(test)]
mod tests;
