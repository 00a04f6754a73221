//! JSON Feed 1 and 1.1; wrong types are passed over, and a text that cannot be is mended.

use membrana_sdk::text::cut;
use serde_json::Value as Json;
use url::Url;

use super::{Body, Document, FILES_MAX, File, ITEMS_MAX, Item, TEXT_MAX, Writer, absolute};
use membrana_markup::tidy;

pub(super) fn read(text: &str, base: Option<&Url>) -> Option<Document> {
    let feed: Json = membrana_sdk::json::read(text.as_bytes()).ok()?;
    let items = feed.get("items")?.as_array()?.iter().take(ITEMS_MAX);
    Some(Document {
        title: word(&feed, "title").map(|title| tidy(&title)),
        language: word(&feed, "language"),
        link: word(&feed, "home_page_url").map(|link| absolute(base, &link)),
        items: items.filter(|item| item.is_object()).map(|found| item(found, base)).collect(),
        ..Document::default()
    })
}

fn item(item: &Json, base: Option<&Url>) -> Item {
    let said = |key: &str, is_html| word(item, key).map(|text| Body { text: cut(&text, TEXT_MAX).to_owned(), is_html });
    let author = item.pointer("/authors/0").or_else(|| item.get("author"));
    let files = item.get("attachments").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    Item {
        id: word(item, "id"),
        title: word(item, "title").map(|title| tidy(&title)),
        link: word(item, "url").or_else(|| word(item, "external_url")).map(|link| absolute(base, &link)),
        is_link_foreign: word(item, "url").is_none(),
        body: said("content_html", true).or_else(|| said("content_text", false)).or_else(|| said("summary", false)).unwrap_or_default(),
        author: author.map(|author| Writer { name: word(author, "name"), email: None, url: word(author, "url") }).unwrap_or_default(),
        language: word(item, "language"),
        published: word(item, "date_published"),
        updated: word(item, "date_modified"),
        files: files.iter().filter_map(|found| file(found, base)).take(FILES_MAX).collect(),
        comments: None,
        in_reply_to: None,
    }
}

fn file(found: &Json, base: Option<&Url>) -> Option<File> {
    let size = found.get("size_in_bytes").and_then(Json::as_u64);
    Some(File {
        url: absolute(base, &word(found, "url")?),
        media_type: word(found, "mime_type").unwrap_or_else(|| "application/octet-stream".to_owned()),
        size,
    })
}

fn word(of: &Json, key: &str) -> Option<String> {
    match of.get(key) {
        Some(Json::String(text)) if !text.trim().is_empty() => Some(text.clone()),
        Some(Json::Number(number)) => Some(number.to_string()),
        _ => None,
    }
}
