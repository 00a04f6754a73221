//! A connector that misbehaves as its configuration says; with `built` it counts, and a later build than `HOSTILE_BUILD` said when
//! it was compiled leaves what it cannot go on with.

mod bot;
mod out;
mod pages;

use membrana_sdk::connector::{Change, Interaction, Message, Ours, Page, Raw, Receipt, Subscription};
use membrana_sdk::net::{Connection, Security};
use membrana_sdk::{
    Attachment, Connector, Fault, Finding, Media, NativeId, Result, Stream, Surroundings, clock, register_connector, register_media, register_stream,
    state,
};

/// Between the fields of what a test asks for.
const FIELD: char = '\u{1f}';

struct Hostile;

/// A text of the configuration.
fn setting(name: &str) -> String {
    let config = membrana_sdk::config::json();
    config.split(&format!("\"{name}\":\"")).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
}

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

/// Writes into its state until it is refused.
fn fill_the_state() -> Result<Page> {
    let value = vec![7; 60_000];
    let refused = (0..100_000).find_map(|n| state::set(&format!("key-{n}"), &value).err().map(|why| (n, why)));
    let (n, why) = refused.unwrap_or_default();
    Err(Fault::permanent("state", format!("after {n}: {why}")))
}

/// Opens connections until it is refused, and closes none.
fn hoard_connections() -> Result<Page> {
    let port = setting("port").parse().unwrap_or(0);
    for n in 0..1000 {
        match Connection::connect("127.0.0.1", port, Security::Plain, 5_000) {
            Ok(connection) => std::mem::forget(connection),
            Err(refused) => return Err(Fault::permanent("net", format!("after {n}: {}", refused.words()))),
        }
    }
    Err(Fault::permanent("net", "a thousand"))
}

/// What this build is like.
const BUILD: &str = match option_env!("HOSTILE_BUILD") {
    Some(build) => build,
    None => "count-a",
};

/// One item a poll, numbered by the cursor; what another build left in its state is none of its own to read.
fn count(cursor: Option<String>) -> Result<Page> {
    if state::get("build").is_some_and(|had| had.as_slice() > BUILD.as_bytes()) {
        return Err(Fault::config("state", "it was left by a later build"));
    }
    state::set("build", BUILD.as_bytes()).map_err(|why| Fault::permanent("state", why))?;
    let n = cursor.and_then(|cursor| cursor.parse::<u64>().ok()).unwrap_or(0) + 1;
    let item = Interaction { text: format!("item {n}"), ..item(native(&n.to_string()), clock::now()) };
    Ok(Page { changes: vec![Change::Upsert(item)], cursor: n.to_string(), more: false, backfill: false, next_poll_ms: None, allowance: None })
}

fn native(id: &str) -> NativeId {
    NativeId { scope: String::new(), id: id.to_owned() }
}

/// An item that says nothing.
fn item(native: NativeId, occurred: u64) -> Interaction {
    Interaction {
        native,
        aka: Vec::new(),
        kind: "post".to_owned(),
        visibility: "public".to_owned(),
        author: None,
        ours: Ours::No,
        automated: "no".to_owned(),
        conversation: None,
        parent: None,
        refs: Vec::new(),
        subject: None,
        text: String::new(),
        quoted: None,
        language: None,
        url: None,
        attachments: Vec::new(),
        place: None,
        side: None,
        campaign: None,
        occurred,
        edited: None,
        reply_context: None,
        attrs: Vec::new(),
    }
}

/// No id, no kind, said in the year 292278994, and longer than anything may be.
fn lie() -> Change {
    Change::Upsert(Interaction {
        aka: vec![NativeId { scope: String::new(), id: "x".repeat(100_000) }; 4],
        kind: String::new(),
        visibility: "everybody, I swear".to_owned(),
        ours: Ours::Yes(Some("not-a-key".to_owned())),
        automated: "maybe".to_owned(),
        text: "\u{1b}[31m".repeat(1000),
        language: Some("klingon-as-it-is-spoken-on-the-outer-worlds-of-the-empire".to_owned()),
        url: Some("javascript:alert(1)".to_owned()),
        edited: Some(u64::MAX),
        reply_context: Some("y".repeat(100_000)),
        ..item(NativeId { scope: "\u{0}".to_owned(), id: String::new() }, u64::MAX)
    })
}

impl Connector for Hostile {
    fn validate(_config: &str, _around: &Surroundings) -> Vec<Finding> {
        Vec::new()
    }

    fn poll(cursor: Option<String>, max_items: u32, _max_bytes: u32) -> Result<Page> {
        let config = membrana_sdk::config::json();
        if config.contains("built") {
            return count(cursor);
        }
        if config.contains("poll-fills-state") {
            return fill_the_state();
        }
        if config.contains("poll-hoards") {
            return hoard_connections();
        }
        if let Some(page) = pages::page(&setting("mode"), cursor.clone()) {
            return Ok(page);
        }
        let changes = if misbehave("poll") { vec![lie(); max_items as usize + 10] } else { Vec::new() };
        let more = !changes.is_empty();
        Ok(Page { changes, cursor: cursor.unwrap_or_default(), more, backfill: false, next_poll_ms: Some(0), allowance: None })
    }

    fn receive(raw: Raw) -> Result<Vec<Change>> {
        if membrana_sdk::config::json().contains("fetch-") {
            return Ok(vec![with_a_file(&raw)]);
        }
        match setting("mode").as_str() {
            "out" => return Ok(vec![out::go(&raw)]),
            "bot" => return bot::heard(&raw),
            _ => {}
        }
        if misbehave("receive") { Ok(vec![lie()]) } else { Err(Fault::permanent("hostile", "it understands nothing")) }
    }

    fn send(key: &str, message: &Message) -> Result<Receipt> {
        bot::say(key, message)
    }
}

impl Stream for Hostile {
    fn open(cursor: Option<String>) -> Result<Subscription> {
        cursor.as_deref().and_then(out::subscription).ok_or_else(|| Fault::unsupported("streams"))
    }
}

impl Media for Hostile {
    fn fetch(media_ref: &str, max_bytes: u32) -> Result<Vec<u8>> {
        if misbehave("fetch") { Ok(vec![7; max_bytes as usize + 1]) } else { Ok(media_ref.as_bytes().to_vec()) }
    }
}

/// An honest word with a file that only this plugin can fetch.
fn with_a_file(raw: &Raw) -> Change {
    let file = Attachment { name: None, media_type: "image/png".to_owned(), size: None, url: None, media_ref: Some("file".to_owned()) };
    let text = String::from_utf8_lossy(&raw.body).into_owned();
    Change::Upsert(Interaction { text, attachments: vec![file], ..item(native("1"), raw.received) })
}

register_connector!(Hostile);
register_stream!(Hostile);
register_media!(Hostile);
