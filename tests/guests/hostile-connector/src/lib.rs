//! A connector that misbehaves as its configuration says.

use membrana_sdk::connector::{Change, Interaction, Ours, Page, Raw};
use membrana_sdk::{Attachment, Connector, Fault, Finding, Media, NativeId, Result, Surroundings, register_connector, register_media};

struct Hostile;

/// Loops, traps or eats memory where the configuration says so; true where it says to lie.
fn misbehave(function: &str) -> bool {
    let config = membrana_sdk::config::json();
    let is = |how: &str| config.contains(&format!("{function}-{how}"));
    if is("loop") {
        let mut n = 0u64;
        loop {
            n = std::hint::black_box(n.wrapping_add(1));
        }
    }
    assert!(!is("trap"), "on purpose");
    if is("memory") {
        let mut all = Vec::new();
        loop {
            all.push(std::hint::black_box(vec![7u8; 1 << 20]));
        }
    }
    is("lie")
}

/// No id, no kind, said in the year 292278994, and longer than anything may be.
fn lie() -> Change {
    Change::Upsert(Interaction {
        native: NativeId { scope: "\u{0}".to_owned(), id: String::new() },
        aka: vec![NativeId { scope: String::new(), id: "x".repeat(100_000) }; 4],
        kind: String::new(),
        visibility: "everybody, I swear".to_owned(),
        author: None,
        ours: Ours::Yes(Some("not-a-key".to_owned())),
        automated: "maybe".to_owned(),
        conversation: None,
        parent: None,
        refs: Vec::new(),
        subject: None,
        text: "\u{1b}[31m".repeat(1000),
        quoted: None,
        language: Some("klingon-as-it-is-spoken-on-the-outer-worlds-of-the-empire".to_owned()),
        url: Some("javascript:alert(1)".to_owned()),
        attachments: Vec::new(),
        place: None,
        side: None,
        campaign: None,
        occurred: u64::MAX,
        edited: Some(u64::MAX),
        reply_context: Some("y".repeat(100_000)),
        attrs: Vec::new(),
    })
}

impl Connector for Hostile {
    fn validate(_config: &str, _around: &Surroundings) -> Vec<Finding> {
        Vec::new()
    }

    fn poll(cursor: Option<String>, max_items: u32, _max_bytes: u32) -> Result<Page> {
        let changes = if misbehave("poll") { vec![lie(); max_items as usize + 10] } else { Vec::new() };
        let more = !changes.is_empty();
        Ok(Page { changes, cursor: cursor.unwrap_or_default(), more, backfill: false, next_poll_ms: Some(0), allowance: None })
    }

    fn receive(raw: Raw) -> Result<Vec<Change>> {
        if membrana_sdk::config::json().contains("fetch-") {
            return Ok(vec![with_a_file(&raw)]);
        }
        if misbehave("receive") { Ok(vec![lie()]) } else { Err(Fault::permanent("hostile", "it understands nothing")) }
    }
}

impl Media for Hostile {
    fn fetch(media_ref: &str, max_bytes: u32) -> Result<Vec<u8>> {
        if misbehave("fetch") { Ok(vec![7; max_bytes as usize + 1]) } else { Ok(media_ref.as_bytes().to_vec()) }
    }
}

/// An honest word with a file that only this plugin can fetch.
fn with_a_file(raw: &Raw) -> Change {
    let Change::Upsert(lie) = lie() else { unreachable!() };
    let file = Attachment { name: None, media_type: "image/png".to_owned(), size: None, url: None, media_ref: Some("file".to_owned()) };
    Change::Upsert(Interaction {
        native: NativeId { scope: String::new(), id: "1".to_owned() },
        aka: Vec::new(),
        kind: "post".to_owned(),
        visibility: "public".to_owned(),
        ours: Ours::No,
        automated: "no".to_owned(),
        text: String::from_utf8_lossy(&raw.body).into_owned(),
        language: None,
        url: None,
        attachments: vec![file],
        occurred: raw.received,
        edited: None,
        reply_context: None,
        ..lie
    })
}

register_connector!(Hostile);
register_media!(Hostile);
