//! RSS, RDF, CDF and Atom by one reader of tags, which asks for no order, no namespace and no end.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use membrana_sdk::text::cut;
use url::Url;

use super::{Body, Document, FILES_MAX, File, ITEMS_MAX, Item, TEXT_MAX, Writer, absolute};
use membrana_markup::{Piece, Scanner, attribute, is_html, local, plain, tidy, tidy_lines, unescape};

/// `None`: this is no feed.
pub(super) fn read(text: &str, base: Option<&Url>) -> Option<Document> {
    let mut reader = Reader { base: base.cloned(), ..Reader::default() };
    let (mut is_first, mut is_feed) = (true, false);
    for piece in Scanner::new(text) {
        if let Piece::Open(name, ..) = piece {
            if is_first && name.eq_ignore_ascii_case("html") {
                return None;
            }
            is_first = false;
            is_feed |= ["rss", "feed", "rdf", "channel", "item", "entry"].iter().any(|root| local(name).eq_ignore_ascii_case(root));
        }
        reader.take(piece);
    }
    reader.finish();
    is_feed.then_some(reader.document)
}

#[derive(Default)]
struct Reader {
    document: Document,
    item: Option<Item>,
    /// Of the document, and of the item where it has its own.
    base: Option<Url>,
    item_base: Option<Url>,
    is_atom: bool,
    /// The element whose text is being collected.
    open: Option<Open>,
    /// Only where the item has no title of its own.
    media_title: Option<String>,
    has_content: bool,
    is_in_author: bool,
    /// An element that speaks of something else: a picture, the feed an item came from.
    aside: Option<String>,
    period_ms: Option<u64>,
}

struct Open {
    field: Field,
    name: String,
    dress: Dress,
    /// Elements stand in it.
    has_markup: bool,
    /// How deep inside elements of the same name.
    depth: u32,
    text: String,
}

/// What a text is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dress {
    Text,
    Html,
    /// Markup that is not escaped: its entities are read with it.
    Xhtml,
    /// And whether it is HTML inside.
    Base64(bool),
    /// Nobody says.
    Guess,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Title,
    MediaTitle,
    Link,
    Content,
    Summary,
    Author,
    Email,
    Page,
    Published,
    Updated,
    Comments,
    Language,
    Generator,
    Minutes,
    Period,
    Frequency,
}

fn field(prefix: &str, name: &str, is_in_author: bool) -> Option<Field> {
    Some(match (prefix, name) {
        ("media", "title") => Field::MediaTitle,
        ("media" | "itunes" | "psc" | "geo" | "thr", _) => return None,
        ("sy", "updateperiod") => Field::Period,
        ("sy", "updatefrequency") => Field::Frequency,
        (_, "guid" | "id") => Field::Id,
        (_, "title") => Field::Title,
        ("atom" | "atom10" | "" | "rss" | "rdf", "link") => Field::Link,
        ("content", "encoded") | ("xhtml", "body") | ("", "body" | "content" | "fullitem") | ("atom" | "a", "content") => Field::Content,
        (_, "description" | "summary" | "abstract" | "tagline") => Field::Summary,
        ("wfw", "commentrss") => Field::Comments,
        (_, "name") if is_in_author => Field::Author,
        (_, "email") if is_in_author => Field::Email,
        (_, "uri" | "url" | "homepage") if is_in_author => Field::Page,
        (_, "author" | "managingeditor" | "creator") => Field::Author,
        (_, "pubdate" | "published" | "issued" | "date" | "created") => Field::Published,
        (_, "updated" | "modified") => Field::Updated,
        (_, "language") => Field::Language,
        (_, "generator") => Field::Generator,
        ("", "ttl") => Field::Minutes,
        _ => return None,
    })
}

impl Reader {
    fn take(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Open(name, attributes, is_empty) => self.opened(name, attributes, is_empty),
            Piece::Close(name) => self.closed(name),
            Piece::Text(text, is_raw) => {
                let Some(open) = &mut self.open else { return };
                let text = cut(text, TEXT_MAX.saturating_sub(open.text.len()));
                // Entities are read once: here, or with the markup that they stand in.
                match (is_raw, open.dress) {
                    (true, _) | (false, Dress::Xhtml) => open.text.push_str(text),
                    (false, _) => open.text.push_str(&unescape(text)),
                }
            }
        }
    }

    fn opened(&mut self, full: &str, attributes: &str, is_empty: bool) {
        let (prefix, name) = full.split_once(':').unwrap_or(("", full));
        let (prefix, name) = (prefix.to_ascii_lowercase(), name.to_ascii_lowercase());
        if matches!(name.as_str(), "item" | "entry") && prefix != "media" {
            self.begin(attributes);
            return;
        }
        if let Some(open) = &mut self.open {
            // Markup inside a text that should have been escaped.
            open.has_markup = true;
            if !is_empty && name == open.name {
                open.depth += 1;
            }
            if open.text.len().saturating_add(full.len()).saturating_add(attributes.len()) < TEXT_MAX {
                open.text.push_str(&format!("<{full}{attributes}>"));
            }
            return;
        }
        match name.as_str() {
            "feed" | "rss" | "channel" | "rdf" => self.root(&name, attributes),
            "source" | "image" | "textinput" if !is_empty && self.aside.is_none() => self.aside = Some(name),
            _ if self.aside.is_some() => {}
            "author" if prefix != "itunes" => self.author(&name, attributes, is_empty),
            "enclosure" => self.file(attributes, "url"),
            "in-reply-to" => {
                if let Some(item) = &mut self.item {
                    item.in_reply_to = attribute(attributes, "ref").or_else(|| attribute(attributes, "href"));
                }
            }
            "link" if attribute(attributes, "href").is_some() => self.link(attributes),
            _ if !is_empty => {
                if let Some(field) = field(&prefix, &name, self.is_in_author) {
                    self.collect(field, name, attributes);
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, attributes: &str) {
        self.finish();
        self.item_base = attribute(attributes, "base").and_then(|base| self.base.as_ref()?.join(&base).ok());
        let link = attribute(attributes, "href").map(|link| self.absolute(&link));
        // The date is where CDF has it.
        let updated = attribute(attributes, "lastmod");
        self.item = Some(Item { id: attribute(attributes, "about"), language: attribute(attributes, "lang"), link, updated, ..Item::default() });
    }

    fn root(&mut self, name: &str, attributes: &str) {
        self.is_atom |= name == "feed";
        self.document.language = attribute(attributes, "lang").or_else(|| self.document.language.take());
        if let Some(base) = attribute(attributes, "base").and_then(|base| match &self.base {
            Some(known) => known.join(&base).ok(),
            None => Url::parse(&base).ok(),
        }) {
            self.base = Some(base);
        }
    }

    /// An element that holds others in Atom, and text in RSS.
    fn author(&mut self, name: &str, attributes: &str, is_empty: bool) {
        self.is_in_author = !is_empty;
        if !is_empty && !self.is_atom {
            self.collect(Field::Author, name.to_owned(), attributes);
        }
    }

    fn collect(&mut self, field: Field, name: String, attributes: &str) {
        if let (Some(lang), Some(item)) = (attribute(attributes, "lang"), &mut self.item) {
            item.language = item.language.take().or(Some(lang));
        }
        self.open = Some(Open { field, name, dress: self.dress(field, attributes), has_markup: false, depth: 0, text: String::new() });
    }

    fn dress(&self, field: Field, attributes: &str) -> Dress {
        if !matches!(field, Field::Title | Field::MediaTitle | Field::Content | Field::Summary) {
            return Dress::Text;
        }
        let kind = attribute(attributes, "type").map(|kind| kind.trim().to_ascii_lowercase());
        if attribute(attributes, "mode").is_some_and(|mode| mode.eq_ignore_ascii_case("base64")) {
            return Dress::Base64(kind.is_some_and(|kind| kind.contains("html")));
        }
        match kind.as_deref() {
            Some("xhtml") => Dress::Xhtml,
            Some("html" | "text/html") => Dress::Html,
            Some("text" | "text/plain" | "plain") => Dress::Text,
            Some(kind) if kind.ends_with("+xml") || kind.ends_with("/xml") => Dress::Xhtml,
            Some(kind) if self.is_atom && kind.contains('/') && !kind.starts_with("text/") => Dress::Base64(false),
            Some(_) => Dress::Guess,
            None if self.is_atom => Dress::Text,
            None => Dress::Guess,
        }
    }

    fn closed(&mut self, full: &str) {
        let name = local(full).to_ascii_lowercase();
        if let Some(open) = &mut self.open {
            if name == open.name && open.depth > 0 {
                open.depth -= 1;
            } else if name == open.name {
                self.collected();
                self.is_in_author &= name != "author";
                return;
            }
            if !matches!(name.as_str(), "item" | "entry" | "channel" | "feed") {
                if open.text.len().saturating_add(full.len()) < TEXT_MAX {
                    open.text.push_str(&format!("</{full}>"));
                }
                return;
            }
            // The end of the item ends what was never closed in it.
            self.collected();
        }
        match name.as_str() {
            "item" | "entry" => self.finish(),
            "author" => self.is_in_author = false,
            _ if self.aside.as_ref() == Some(&name) => self.aside = None,
            _ => {}
        }
    }

    fn absolute(&self, link: &str) -> String {
        absolute(self.item_base.as_ref().or(self.base.as_ref()), link)
    }

    fn link(&mut self, attributes: &str) {
        let rel = attribute(attributes, "rel").unwrap_or_else(|| "alternate".to_owned());
        let href = attribute(attributes, "href").map(|href| self.absolute(&href)).filter(|href| !href.is_empty());
        let is_feed = attribute(attributes, "type").is_none_or(|kind| kind.contains("xml") || kind.contains("json"));
        match (rel.as_str(), &mut self.item) {
            ("alternate", Some(item)) => item.link = item.link.take().or(href),
            ("alternate", None) => self.document.link = self.document.link.take().or(href),
            ("replies", Some(item)) if is_feed => item.comments = item.comments.take().or(href),
            ("replies", None) if is_feed => self.document.comments = self.document.comments.take().or(href),
            ("enclosure", Some(_)) => self.file(attributes, "href"),
            _ => {}
        }
    }

    fn file(&mut self, attributes: &str, address: &str) {
        let found = attribute(attributes, address).map(|url| self.absolute(&url));
        let size = attribute(attributes, "length").and_then(|size| size.trim().parse().ok());
        let media_type = attribute(attributes, "type").unwrap_or_else(|| "application/octet-stream".to_owned());
        if let (Some(item), Some(url)) = (&mut self.item, found)
            && item.files.len() < FILES_MAX
        {
            item.files.push(File { url, media_type, size });
        }
    }

    fn collected(&mut self) {
        let Some(Open { field, dress, text, has_markup, .. }) = self.open.take() else { return };
        let (dress, text) = match dress {
            Dress::Base64(_) => (dress, undone(&text).unwrap_or(text)),
            Dress::Text if has_markup => (Dress::Html, text),
            _ => (dress, text),
        };
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        if self.item.is_some() { self.of_item(field, dress, text) } else { self.of_document(field, dress, text) }
    }

    fn of_document(&mut self, field: Field, dress: Dress, text: &str) {
        let link = matches!(field, Field::Link | Field::Comments).then(|| self.absolute(text));
        let document = &mut self.document;
        match field {
            Field::Title => document.title = document.title.take().or_else(|| Some(shown(dress, text))),
            Field::Language => document.language = Some(text.to_owned()),
            Field::Generator => document.generator = Some(cut(text, 200).to_owned()),
            Field::Link => document.link = document.link.take().or(link),
            Field::Comments => document.comments = document.comments.take().or(link),
            Field::Minutes => document.pace_ms = text.parse::<u32>().ok().map(|minutes| u64::from(minutes) * 60_000),
            Field::Period => self.period_ms = period(text),
            Field::Frequency => {
                let times = text.parse::<u64>().unwrap_or(1).max(1);
                self.period_ms = Some(self.period_ms.unwrap_or(86_400_000) / times);
            }
            _ => {}
        }
    }

    fn of_item(&mut self, field: Field, dress: Dress, text: &str) {
        let link = matches!(field, Field::Link | Field::Comments | Field::Page).then(|| self.absolute(text));
        let Some(item) = &mut self.item else { return };
        match field {
            Field::Id => item.id = Some(text.to_owned()),
            Field::Title => item.title = item.title.take().or_else(|| Some(shown(dress, text))).filter(|title| !title.is_empty()),
            Field::MediaTitle => self.media_title = Some(shown(dress, text)),
            Field::Link => item.link = item.link.take().or(link),
            Field::Content | Field::Summary => {
                if field == Field::Content || !self.has_content && item.body.text.is_empty() {
                    item.body = body(dress, text);
                }
                self.has_content |= field == Field::Content;
            }
            Field::Author if self.is_in_author && self.is_atom => item.author.name = item.author.name.take().or_else(|| Some(tidy(text))),
            Field::Author => item.author.fill(Writer::of(&plain(text))),
            Field::Email => item.author.email = item.author.email.take().or_else(|| Some(text.to_owned())),
            Field::Page => item.author.url = item.author.url.take().or(link),
            Field::Published => item.published = Some(text.to_owned()),
            Field::Updated => item.updated = Some(text.to_owned()),
            Field::Comments => item.comments = link,
            Field::Language => item.language = Some(text.to_owned()),
            Field::Generator | Field::Minutes | Field::Period | Field::Frequency => {}
        }
    }

    fn finish(&mut self) {
        self.collected();
        (self.aside, self.is_in_author, self.has_content, self.item_base) = (None, false, false, None);
        let media_title = self.media_title.take();
        if let Some(period) = self.period_ms.take() {
            self.document.pace_ms = self.document.pace_ms.max(Some(period));
        }
        if let Some(mut item) = self.item.take()
            && self.document.items.len() < ITEMS_MAX
        {
            item.title = item.title.or(media_title);
            self.document.items.push(item);
        }
    }
}

/// A title as a reader sees it.
fn shown(dress: Dress, text: &str) -> String {
    let is_markup = match dress {
        Dress::Text | Dress::Base64(false) => false,
        Dress::Html | Dress::Xhtml | Dress::Base64(true) => true,
        Dress::Guess => is_html(text),
    };
    tidy(&if is_markup { plain(text) } else { tidy_lines(text) })
}

fn body(dress: Dress, text: &str) -> Body {
    let is_html = match dress {
        Dress::Base64(false) | Dress::Guess | Dress::Text => is_html(text),
        Dress::Html | Dress::Xhtml | Dress::Base64(true) => true,
    };
    Body { text: text.to_owned(), is_html }
}

fn undone(text: &str) -> Option<String> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
    );
    let letters: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    String::from_utf8(LENIENT.decode(letters).ok()?).ok()
}

/// Source: RSS 1.0 module Syndication. Units: milliseconds.
fn period(text: &str) -> Option<u64> {
    let hours = match text.to_ascii_lowercase().as_str() {
        "hourly" => 1,
        "daily" => 24,
        "weekly" => 24 * 7,
        "monthly" => 24 * 30,
        "yearly" => 24 * 365,
        _ => return None,
    };
    Some(hours * 3_600_000)
}
