//! Reads a folder of feeds through the plugin's own parser, for `tests/judges/feeds.py` to compare with another reader.
//!
//! One JSON object a line: `file title entries[{id, title, published, updated}]`, times in milliseconds since 1970;
//! `entries` is null where the file is no feed. A file may state HTTP headers in a comment, `Header: name: value`, as
//! the test files of feedparser do.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use membrana_feed::charset::decode;
use membrana_feed::dates::moment;
use membrana_feed::document::parse;
use serde_json::json;

fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args().nth(1).map(PathBuf::from) else {
        return Err(std::io::Error::other("name the folder of feeds"));
    };
    let mut files = Vec::new();
    gather(&folder, &mut files)?;
    files.sort();
    let mut out = std::io::stdout().lock();
    for file in files {
        let body = std::fs::read(&file)?;
        let document = parse(&decode(&body, header(&body, "content-type").as_deref()), None);
        let name = file.strip_prefix(&folder).unwrap_or(&file).to_string_lossy().into_owned();
        let entries = document.as_ref().map(|document| {
            let entry = |item: &membrana_feed::document::Item| {
                json!({ "id": item.id, "title": item.title, "published": item.published.as_deref().and_then(moment), "updated": item.updated.as_deref().and_then(moment) })
            };
            document.items.iter().map(entry).collect::<Vec<_>>()
        });
        writeln!(out, "{}", json!({ "file": name, "title": document.and_then(|document| document.title), "entries": entries }))?;
    }
    Ok(())
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, files)?;
        } else if path.extension().is_some_and(|kind| kind == "xml" || kind == "json") {
            files.push(path);
        }
    }
    Ok(())
}

/// What the file says it would be served with.
fn header(body: &[u8], name: &str) -> Option<String> {
    let head = String::from_utf8_lossy(body.get(..body.len().min(2048)).unwrap_or_default()).into_owned();
    head.lines().find_map(|line| {
        let (key, value) = line.trim().strip_prefix("Header:")?.trim().split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}
