//! A feed of any kind as one shape: RSS 0.9x to 2.0, RDF, CDF, Atom and JSON Feed, ill-formed or not.
//!
//! Bounded by the number of items and the size of each text; no recursion in XML, no entity of a document's own making.

mod json;
mod xml;

use url::Url;

use membrana_markup::{plain, tidy_lines};

/// More items than any feed should carry.
const ITEMS_MAX: usize = 1000;
/// Units: bytes.
const TEXT_MAX: usize = 256 << 10;
const FILES_MAX: usize = 16;

/// A feed.
#[derive(Debug, Default, Clone)]
pub struct Document {
    /// Its title.
    pub title: Option<String>,
    /// BCP 47, as declared.
    pub language: Option<String>,
    /// What made it.
    pub generator: Option<String>,
    /// Of the site.
    pub link: Option<String>,
    /// The feed of all comments, where it names one.
    pub comments: Option<String>,
    /// How long it asks to be left alone. Units: milliseconds.
    pub pace_ms: Option<u64>,
    /// In the document's order.
    pub items: Vec<Item>,
}

/// One post or comment.
#[derive(Debug, Default, Clone)]
pub struct Item {
    /// `guid`, `id`, `rdf:about`.
    pub id: Option<String>,
    /// As plain text.
    pub title: Option<String>,
    /// Absolute where the base is known.
    pub link: Option<String>,
    /// The link leads to what the item speaks of, not to the item.
    pub is_link_foreign: bool,
    /// The content, else the summary.
    pub body: Body,
    /// Who wrote it.
    pub author: Writer,
    /// BCP 47, as declared.
    pub language: Option<String>,
    /// As written.
    pub published: Option<String>,
    /// As written.
    pub updated: Option<String>,
    /// The feed of its comments.
    pub comments: Option<String>,
    /// What it answers.
    pub in_reply_to: Option<String>,
    /// Files that come with it, at most 16.
    pub files: Vec<File>,
}

/// What an item says.
#[derive(Debug, Default, Clone)]
pub struct Body {
    /// Markup or text.
    pub text: String,
    /// Markup.
    pub is_html: bool,
}

/// Who wrote an item.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Writer {
    /// As shown.
    pub name: Option<String>,
    /// As stated.
    pub email: Option<String>,
    /// Their page.
    pub url: Option<String>,
}

/// A file that comes with an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Absolute where the base is known.
    pub url: String,
    /// As declared.
    pub media_type: String,
    /// Units: bytes.
    pub size: Option<u64>,
}

impl Item {
    /// What a reader sees.
    pub fn text(&self) -> String {
        if self.body.is_html { plain(&self.body.text) } else { tidy_lines(&self.body.text) }
    }
}

impl Writer {
    /// RSS writes `ada@example.org (Ada)`, `Ada <ada@example.org>`, or either half.
    fn of(text: &str) -> Self {
        let text = text.trim();
        let (outer, inner) =
            text.split_once(['(', '<']).map_or((text, ""), |(outer, inner)| (outer.trim(), inner.trim_end_matches([')', '>']).trim()));
        let is_email = |text: &str| text.contains('@') && !text.contains(char::is_whitespace);
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let (name, email) = match (is_email(outer), is_email(inner)) {
            (true, _) => (some(inner).or_else(|| some(outer.split('@').next().unwrap_or_default())), some(outer)),
            (false, true) => (some(outer), some(inner)),
            (false, false) => (some(text), None),
        };
        Self { name, email, url: None }
    }

    fn fill(&mut self, from: Self) {
        self.name = self.name.take().or(from.name);
        self.email = self.email.take().or(from.email);
        self.url = self.url.take().or(from.url);
    }
}

/// Reads a feed; `base` resolves relative addresses. `None`: this is no feed.
pub fn parse(text: &str, base: Option<&Url>) -> Option<Document> {
    let trimmed = text.trim_start_matches('\u{feff}').trim_start();
    if trimmed.starts_with('{') { json::read(trimmed, base) } else { xml::read(trimmed, base) }
}

fn absolute(base: Option<&Url>, link: &str) -> String {
    let link = link.trim();
    base.and_then(|base| base.join(link).ok()).map_or_else(|| link.to_owned(), String::from)
}
