//! `plugins/README.md` says what every plugin can do, and is written from the manifests.

use std::fmt::Write as _;
use std::path::Path;

use membrana::plugin::{Kind, Manifest};
use serde_json::{Map, Value as Json};

type Record = Map<String, Json>;

fn manifests() -> Vec<Manifest> {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let files = std::fs::read_dir(plugins).unwrap().map(|entry| entry.unwrap().path().join("plugin.toml"));
    let mut all: Vec<Manifest> =
        files.filter(|file| file.is_file()).map(|file| Manifest::parse(&std::fs::read_to_string(file).unwrap()).unwrap()).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn text<'r>(record: &'r Record, key: &str) -> &'r str {
    record.get(key).and_then(Json::as_str).unwrap_or("–")
}

fn words(value: Option<&Json>) -> String {
    let words: Vec<&str> = value.and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
    if words.is_empty() { "–".to_owned() } else { words.join(", ") }
}

fn yes_or_no(record: &Record, key: &str) -> &'static str {
    if record.get(key) == Some(&Json::Bool(true)) { "yes" } else { "no" }
}

fn span(seconds: u64) -> String {
    if seconds.is_multiple_of(86_400) { format!("{} d", seconds / 86_400) } else { format!("{} h", seconds / 3600) }
}

fn reply(record: &Record) -> String {
    let Some(reply) = record.get("reply").and_then(Json::as_object).filter(|_| record.contains_key("send_class")) else {
        return "none: the rule's text goes with the task".to_owned();
    };
    let number = |key: &str| reply.get(key).and_then(Json::as_u64);
    let mut parts = Vec::new();
    for audience in ["public", "private"] {
        parts.extend((reply.get(audience) == Some(&Json::Bool(true))).then(|| audience.to_owned()));
    }
    let unit = text(reply, "len_unit");
    parts.extend(number("max_len").map(|max| format!("≤ {max} {unit}")));
    parts.extend(number("private_max_len").map(|max| format!("in private ≤ {max}")));
    parts.extend(number("typical_len").map(|typical| format!("mostly ≤ {typical} {unit}")));
    parts.extend(number("window_s").map(|window| format!("within {}", span(window))));
    parts.extend(number("human_window_s").map(|window| format!("{} by a person", span(window))));
    parts.extend((reply.get("summoned_only") == Some(&Json::Bool(true))).then(|| "only who mentioned us".to_owned()));
    parts.join(", ")
}

fn promise(record: &Record) -> &'static str {
    match record.get("send_class").and_then(Json::as_str) {
        Some("D") => "the same post (our id)",
        Some("K") => "the same post (a key)",
        Some("R") => "looked for first",
        Some(_) => "a person looks",
        None => "–",
    }
}

fn written() -> String {
    let mut page = String::from(
        "# Plugins\nWhat comes with the host. This page is written from the manifests, `plugin.toml` beside each; after a change:\n`MEMBRANA_WRITE=1 cargo test --release --workspace --test all readme_of_the_plugins`\n\n## Connectors\n| plugin | what | comes in by | cursor | edits, deletions seen | a reply | a send that may have gone out |\n|---|---|---|---|---|---|---|\n",
    );
    let all = manifests();
    for one in all.iter().filter(|one| one.kind == Kind::Connector) {
        let record = &one.capabilities;
        let seen = format!("{}, {}", yes_or_no(record, "edits_visible"), yes_or_no(record, "deletes_visible"));
        let (arrive, cursor) = (words(record.get("arrive")), text(record, "cursor"));
        writeln!(page, "| `{}` | {} | {arrive} | {cursor} | {seen} | {} | {} |", one.name, one.summary, reply(record), promise(record)).unwrap();
    }
    for (kind, title) in [(Kind::Analyzer, "Analyzers"), (Kind::Rule, "Rules")] {
        write!(page, "\n## {title}\n| plugin | what |\n|---|---|\n").unwrap();
        for one in all.iter().filter(|one| one.kind == kind) {
            writeln!(page, "| `{}` | {} |", one.name, one.summary).unwrap();
        }
    }
    page
}

#[test]
fn the_readme_of_the_plugins_is_what_their_manifests_say() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/README.md");
    if std::env::var_os("MEMBRANA_WRITE").is_some() {
        std::fs::write(&file, written()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap_or_default(), written(), "write it anew: MEMBRANA_WRITE=1, see its head");
}
