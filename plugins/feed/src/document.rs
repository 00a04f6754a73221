//! A feed of any kind as one shape: RSS 0.9x to 2.0, RDF, CDF, Atom and JSON Feed, ill-formed or not.

use serde_json::Value as Json;
use url::Url;

use crate::markup::{Piece, Scanner, attribute, local, plain, unescape};

/// More items than any feed should carry.
const ITEMS_MAX: usize = 1000;
/// Units: bytes.
const TEXT_MAX: usize = 256 << 10;

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
    /// HTML or text of the content, the longer of content and summary.
    pub html: String,
    /// Who wrote it.
    pub author: Option<String>,
    /// As written.
    pub published: Option<String>,
    /// As written.
    pub updated: Option<String>,
    /// Where its comments are.
    pub comments: Option<String>,
    /// What it answers.
    pub in_reply_to: Option<String>,
    /// Address, media type and size of files.
    pub enclosures: Vec<(String, String, Option<u64>)>,
}

impl Item {
    /// What a reader sees.
    pub fn text(&self) -> String {
        plain(&self.html)
    }
}

/// Bytes as text: by byte order mark, by what HTTP says, by what the document says, else as UTF-8, else as Windows-1252.
pub fn decode(body: &[u8], content_type: Option<&str>) -> String {
    if let Some((encoding, skip)) = encoding_rs::Encoding::for_bom(body) {
        return encoding.decode_without_bom_handling(body.get(skip..).unwrap_or_default()).0.into_owned();
    }
    let head = String::from_utf8_lossy(body.get(..body.len().min(512)).unwrap_or_default()).replace('\0', "");
    let after = |text: &str, mark: &str| {
        let rest = text.split_once(mark)?.1.trim_start().trim_start_matches(['"', '\'']);
        Some(rest.split(['"', '\'', ';', ' ', '?', '>']).next()?.trim().to_owned())
    };
    let declared = head.trim_start().starts_with("<?xml").then(|| after(&head, "encoding=")).flatten();
    let told = content_type.and_then(|value| after(&value.to_ascii_lowercase(), "charset="));
    if let Ok(text) = std::str::from_utf8(body) {
        // Bytes that are UTF-8 are hardly ever anything else, whatever the labels say; but 7-bit encodings look like it, too.
        let is_escaped = [&told, &declared].into_iter().flatten().any(|label| label.to_ascii_lowercase().starts_with("iso-2022"));
        if !is_escaped && !body.contains(&0) {
            return text.to_owned();
        }
    }
    let wide = match body {
        [0, b'<', ..] => Some(encoding_rs::UTF_16BE),
        [b'<', 0, ..] => Some(encoding_rs::UTF_16LE),
        _ => None,
    };
    let labelled = || [told, declared].into_iter().flatten().find_map(|label| encoding_rs::Encoding::for_label(label.as_bytes()));
    let usable = labelled().filter(|encoding| *encoding != encoding_rs::UTF_8);
    wide.or(usable).unwrap_or(encoding_rs::WINDOWS_1252).decode_without_bom_handling(body).0.into_owned()
}

/// Reads a feed; `base` resolves relative addresses. `None`: this is no feed.
pub fn parse(text: &str, base: Option<&Url>) -> Option<Document> {
    let trimmed = text.trim_start_matches('\u{feff}').trim_start();
    if trimmed.starts_with('{') {
        return json_feed(trimmed);
    }
    let mut reader = Reader { base: base.cloned(), ..Reader::default() };
    let mut is_feed = false;
    for piece in Scanner::new(trimmed) {
        if let Piece::Open(name, ..) = piece {
            is_feed |= ["rss", "feed", "rdf", "channel", "item", "entry"].iter().any(|root| local(name).eq_ignore_ascii_case(root));
        }
        reader.take(piece);
    }
    reader.finish();
    is_feed.then_some(reader.document)
}

#[derive(Default)]
struct Reader {
    base: Option<Url>,
    document: Document,
    item: Option<Item>,
    /// The element whose text is being collected, how deep inside it we are, and what was collected.
    open: Option<(Field, u32, String)>,
    name: String,
    attributes: String,
    is_in_author: bool,
    is_in_source: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Title,
    Link,
    Content,
    Summary,
    Author,
    Published,
    Updated,
    Comments,
    Language,
    Generator,
}

fn field(name: &str, prefix: &str, is_in_author: bool) -> Option<Field> {
    Some(match (prefix, name) {
        ("media" | "itunes", "title" | "description" | "summary" | "author") => return None,
        (_, "guid" | "id") => Field::Id,
        (_, "title") => Field::Title,
        ("atom" | "atom10" | "" | "rss" | "rdf", "link") => Field::Link,
        ("content", "encoded") | ("xhtml", "body") | ("", "body" | "content" | "fullitem") | ("atom" | "a", "content") => Field::Content,
        (_, "description" | "summary" | "abstract" | "tagline") => Field::Summary,
        ("wfw", "commentrss") => Field::Comments,
        (_, "creator") => Field::Author,
        (_, "name") if is_in_author => Field::Author,
        (_, "author" | "managingeditor") => Field::Author,
        (_, "pubdate" | "published" | "issued" | "date" | "created") => Field::Published,
        (_, "updated" | "modified") => Field::Updated,
        (_, "language") => Field::Language,
        (_, "generator") => Field::Generator,
        _ => return None,
    })
}

impl Reader {
    fn take(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Open(name, attributes, is_empty) => self.opened(name, attributes, is_empty),
            Piece::Close(name) => self.closed(name),
            Piece::Text(text, is_raw) => {
                if let Some((field, depth, collected)) = &mut self.open
                    && collected.len() < TEXT_MAX
                {
                    let is_markup = *depth > 0 || is_html(*field, &self.attributes);
                    match (is_raw, is_markup) {
                        // Inside markup that is not escaped, text stays as it is; else entities are read once.
                        (true, _) => collected.push_str(text),
                        (false, true) if *depth > 0 || is_xhtml(&self.attributes) => collected.push_str(text),
                        (false, _) => collected.push_str(&unescape(text)),
                    }
                }
            }
        }
    }

    fn opened(&mut self, full: &str, attributes: &str, is_empty: bool) {
        let (prefix, name) = full.split_once(':').unwrap_or(("", full));
        let (prefix, name) = (prefix.to_ascii_lowercase(), name.to_ascii_lowercase());
        if matches!(name.as_str(), "item" | "entry") && prefix != "media" {
            self.finish();
            self.item = Some(Item { id: attribute(attributes, "about"), link: attribute(attributes, "href").map(|link| self.absolute(&link)), ..Item::default() });
            return;
        }
        if let Some((_, depth, collected)) = &mut self.open {
            // Markup inside a text that should have been escaped.
            if !is_empty && name == self.name {
                *depth += 1;
            }
            if collected.len() < TEXT_MAX {
                collected.push_str(&format!("<{full}{attributes}>"));
            }
            return;
        }
        match name.as_str() {
            "author" | "contributor" if prefix != "itunes" => self.is_in_author = name == "author",
            "source" => self.is_in_source = !is_empty,
            "enclosure" => self.enclosure(attributes, "url"),
            "in-reply-to" => {
                if let Some(item) = &mut self.item {
                    item.in_reply_to = attribute(attributes, "ref").or_else(|| attribute(attributes, "href"));
                }
            }
            _ => {}
        }
        if name == "link" && attribute(attributes, "href").is_some() {
            self.link(attributes);
            return;
        }
        if let Some(lang) = attribute(attributes, "lang").filter(|_| matches!(name.as_str(), "feed" | "rss")) {
            self.document.language = Some(lang);
        }
        let Some(found) = field(&name, &prefix, self.is_in_author).filter(|_| !is_empty && !self.is_in_source) else { return };
        (self.name, self.attributes) = (name, attributes.to_owned());
        self.open = Some((found, 0, String::new()));
    }

    fn closed(&mut self, full: &str) {
        let name = local(full).to_ascii_lowercase();
        if let Some((field, depth, collected)) = &mut self.open {
            if name == self.name && *depth == 0 {
                let (field, text) = (*field, std::mem::take(collected));
                self.open = None;
                self.set(field, &text);
                self.is_in_author &= name != "author";
                return;
            }
            if name == self.name {
                *depth -= 1;
            }
            if !matches!(name.as_str(), "item" | "entry" | "channel" | "feed") {
                collected.push_str(&format!("</{full}>"));
                return;
            }
            // The end of the item ends what was never closed in it.
            let (field, text) = (*field, std::mem::take(collected));
            self.open = None;
            self.set(field, &text);
        }
        match name.as_str() {
            "item" | "entry" => self.finish(),
            "author" | "contributor" => self.is_in_author = false,
            "source" => self.is_in_source = false,
            _ => {}
        }
    }

    fn absolute(&self, link: &str) -> String {
        let link = link.trim();
        self.base.as_ref().and_then(|base| base.join(link).ok()).map_or_else(|| link.to_owned(), String::from)
    }

    fn link(&mut self, attributes: &str) {
        let rel = attribute(attributes, "rel").unwrap_or_else(|| "alternate".to_owned());
        let href = attribute(attributes, "href").map(|href| self.absolute(&href));
        match (rel.as_str(), &mut self.item) {
            ("alternate", Some(item)) => item.link = item.link.take().or(href),
            ("alternate", None) => self.document.link = self.document.link.take().or(href),
            ("replies", Some(item)) => item.comments = href,
            ("enclosure", Some(_)) => self.enclosure(attributes, "href"),
            _ => {}
        }
    }

    fn enclosure(&mut self, attributes: &str, address: &str) {
        let found = attribute(attributes, address).map(|url| self.absolute(&url));
        let size = attribute(attributes, "length").and_then(|size| size.trim().parse().ok());
        let media = attribute(attributes, "type").unwrap_or_else(|| "application/octet-stream".to_owned());
        if let (Some(item), Some(url)) = (&mut self.item, found) {
            item.enclosures.push((url, media, size));
        }
    }

    fn set(&mut self, field: Field, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        let shown = || plain(text);
        let link = self.absolute(text);
        let Some(item) = &mut self.item else {
            match field {
                Field::Title => self.document.title = self.document.title.take().or_else(|| Some(shown())),
                Field::Language => self.document.language = Some(text.to_owned()),
                Field::Generator => self.document.generator = Some(text.to_owned()),
                Field::Link => self.document.link = self.document.link.take().or(Some(link)),
                _ => {}
            }
            return;
        };
        match field {
            Field::Id => item.id = Some(text.to_owned()),
            Field::Title => item.title = Some(shown()),
            Field::Link => item.link = item.link.take().or(Some(link)),
            Field::Content => item.html = text.to_owned(),
            Field::Summary if item.html.len() < text.len() => item.html = text.to_owned(),
            Field::Author => item.author = item.author.take().or_else(|| Some(shown())),
            Field::Published => item.published = Some(text.to_owned()),
            Field::Updated => item.updated = Some(text.to_owned()),
            Field::Comments => item.comments = Some(link),
            Field::Summary | Field::Language | Field::Generator => {}
        }
    }

    fn finish(&mut self) {
        if let Some((field, _, text)) = self.open.take() {
            self.set(field, &text);
        }
        self.is_in_source = false;
        if let Some(item) = self.item.take()
            && self.document.items.len() < ITEMS_MAX
        {
            self.document.items.push(item);
        }
    }
}

fn is_html(field: Field, attributes: &str) -> bool {
    matches!(field, Field::Content | Field::Summary) && is_xhtml(attributes)
}

fn is_xhtml(attributes: &str) -> bool {
    attribute(attributes, "type").is_some_and(|kind| kind.eq_ignore_ascii_case("xhtml") || kind.ends_with("+xml"))
}

fn json_feed(text: &str) -> Option<Document> {
    let feed: Json = serde_json::from_str(text).ok()?;
    let word = |of: &Json, key: &str| match of.get(key) {
        Some(Json::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Json::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let items = feed.get("items")?.as_array()?.iter().take(ITEMS_MAX).map(|item| Item {
        id: word(item, "id"),
        title: word(item, "title").map(|title| plain(&title)),
        link: word(item, "url"),
        html: word(item, "content_html").or_else(|| word(item, "content_text")).or_else(|| word(item, "summary")).unwrap_or_default(),
        author: item.pointer("/authors/0").or_else(|| item.get("author")).and_then(|author| word(author, "name")),
        published: word(item, "date_published"),
        updated: word(item, "date_modified"),
        ..Item::default()
    });
    Some(Document { title: word(&feed, "title"), language: word(&feed, "language"), link: word(&feed, "home_page_url"), items: items.collect(), generator: None })
}
