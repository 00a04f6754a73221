//! What the networks send: 10,000 items of each, in the shapes of their APIs and webhooks, as many at once as they send in life.
//!
//! | channel | how it comes |
//! |---|---|
//! | x | mentions, 100 a page, with their authors and what they answer |
//! | mastodon | notifications, 40 a page, which is its largest that all servers know |
//! | discourse | the list of posts, 50 a page, each as written and as shown |
//! | misago | 25 threads a page of the list, 20 posts a page of a thread |
//! | feed | ten blogs of 25 new posts each, above the newest that was there before |
//! | facebook, instagram | webhooks of ten entries: comments, and on the Page messages too |
//! | mail | mails of some 3 KB, text and HTML, as IMAP gives them |
//! | touchpoint | a webhook for each |
//!
//! The text is 240 bytes on average; 30 % answer something, 20 % come from new authors, as everywhere in these benches.

mod forums;
mod people;
mod pushed;

use serde_json::Value as Json;

use crate::cli::bench::native::TEXTS;
use crate::model::{RawOrigin, Timestamp, shown};

use super::network::Pages;

/// Of each network.
pub(super) const ITEMS: u32 = 10_000;
/// Blogs of the channel `feed`.
pub(super) const FEEDS: u32 = 10;
/// Of the Page.
pub(super) const PAGE: &str = "24577871820615455";
/// Of the Instagram account.
pub(super) const ACCOUNT: &str = "17841405309211844";
/// How the shop's events are mapped.
pub(super) const TOUCHPOINT: &str = "kind = \"checkin\", id = \"/order/id\", text = \"/note\", author_id = \"/customer/id\", \
    author_name = \"/customer/name\", author_email = \"/customer/email\", occurred_at = \"/at\", place_name = \"/shop/name\", attrs = { \"shop.total\" = \"/order/total\" }";
/// Between two items. Units: milliseconds. All are younger than what an import goes back to.
const STEP_MS: u64 = 100_000;

/// What there is of one network.
#[derive(Default)]
pub(super) struct Sent {
    /// To be asked for.
    pub(super) pages: Pages,
    /// In the raw log.
    pub(super) raws: Vec<(RawOrigin, Vec<u8>)>,
}

pub(super) fn of(channel: &str, now: Timestamp) -> Sent {
    let asked = |pages| Sent { pages, raws: Vec::new() };
    let all = All { now };
    match channel {
        "x" => asked(people::x(all)),
        "mastodon" => asked(people::mastodon(all)),
        "discourse" => asked(forums::discourse(all)),
        "misago" => asked(forums::misago(all)),
        "feed" => asked(forums::feed(all)),
        "facebook" => pushed::facebook(all),
        "instagram" => pushed::instagram(all),
        "mail" => pushed::mail(all),
        _ => pushed::touchpoint(all),
    }
}

pub(super) fn feed_path(n: u32) -> String {
    format!("/feed/{n}")
}

/// All items, the last one now.
#[derive(Clone, Copy)]
struct All {
    now: Timestamp,
}

/// One of them.
#[derive(Clone, Copy)]
struct Item {
    n: u32,
    at: Timestamp,
    text: &'static str,
    author: u32,
    /// What it answers.
    parent: Option<u32>,
}

impl All {
    fn item(self, n: u32) -> Item {
        Item {
            n,
            at: Timestamp(self.now.0.saturating_sub(u64::from(ITEMS - n) * STEP_MS)),
            text: TEXTS.get(usize::try_from(n).unwrap_or(0) % TEXTS.len()).copied().unwrap_or_default(),
            author: if n.is_multiple_of(5) { 1_000 + n } else { n % 500 },
            parent: (n % 10 < 3 && n >= 10).then(|| n - 7),
        }
    }

    /// From `from` on, so many, rising.
    fn some(self, from: u32, n: u32) -> impl DoubleEndedIterator<Item = Item> {
        (from..(from + n).min(ITEMS)).map(move |n| self.item(n))
    }
}

impl Item {
    fn rfc3339(self) -> String {
        shown::rfc3339(self.at)
    }

    /// By a pattern of jiff's.
    fn written(self, pattern: &str) -> String {
        let at = i64::try_from(self.at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
        at.strftime(pattern).to_string()
    }

    fn name(self) -> String {
        format!("User {}", self.author)
    }

    fn username(self) -> String {
        format!("user{}", self.author)
    }

    fn html(self) -> String {
        format!("<p>{}</p>", self.text.replace(", ", ",<br />\n"))
    }
}

fn bytes(json: &Json) -> axum::body::Bytes {
    json.to_string().into_bytes().into()
}
