//! JSON for people: tables of lists, indented keys of single things, the host at a glance, the story of an interaction.

use comfy_table::{Cell, ContentArrangement, Table, presets};
use serde_json::Value as Json;

use crate::console::REFUSED_MAX;

use super::outcome::{Failure, on_one_line, put};

/// Units: characters.
const CELL_MAX: usize = 60;
/// What a person must read to act is never cut; these columns stand last.
const WHOLE: [&str; 3] = ["/reason", "/error", "/outcome"];

/// Digests are told apart by their beginning.
const DIGESTS: [&str; 2] = ["/from", "/to"];
const DIGEST_MAX: usize = 12;

type Shown = Result<(), Failure>;

/// Columns by JSON pointer, in which `-` is the last item of a list.
pub(super) fn table(rows: &[Json], columns: &[(&str, &str)]) -> Shown {
    if rows.is_empty() {
        return put("nothing");
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(title, _)| Cell::new(title)));
    for row in rows {
        table.add_row(columns.iter().map(|(_, pointer)| Cell::new(cell(found(row, pointer), pointer))));
    }
    table.to_string().lines().try_for_each(|line| put(line.trim_end()))
}

fn found<'j>(row: &'j Json, pointer: &str) -> Option<&'j Json> {
    match pointer.split_once("/-") {
        None => row.pointer(pointer),
        Some((list, rest)) => row.pointer(list).and_then(Json::as_array).and_then(|items| items.last()).and_then(|last| last.pointer(rest)),
    }
}

fn cell(value: Option<&Json>, pointer: &str) -> String {
    let text = word(value.unwrap_or(&Json::Null));
    if DIGESTS.contains(&pointer) {
        return text.chars().take(DIGEST_MAX).collect();
    }
    let mut short: String = text.chars().take(if WHOLE.contains(&pointer) { usize::MAX } else { CELL_MAX }).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// A value on one line, freed of what could move the terminal's cursor.
fn word(value: &Json) -> String {
    let text = match value {
        Json::Null => "-".to_owned(),
        Json::String(text) => text.clone(),
        Json::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => items.iter().map(word).collect::<Vec<_>>().join(", "),
        Json::Array(items) if items.iter().all(|item| tallied(item).is_some()) => items.iter().filter_map(tallied).collect::<Vec<_>>().join(", "),
        other => tallied(other).unwrap_or_else(|| other.to_string()),
    };
    on_one_line(&text)
}

/// What was counted, and how often: `hologram 3`.
fn tallied(value: &Json) -> Option<String> {
    let times = value.get("times")?;
    let what = value.get("kind").or_else(|| value.get("reason")).and_then(Json::as_str);
    Some(what.map_or_else(|| times.to_string(), |what| format!("{what} {times}")))
}

/// Keys and values, nested ones indented.
pub(super) fn thing(value: &Json) -> Shown {
    nested(value, 0)
}

fn nested(value: &Json, depth: usize) -> Shown {
    let Some(object) = value.as_object() else {
        return put(format_args!("{:depth$}{}", "", word(value)));
    };
    for (key, value) in object {
        // A manifest's own words are keys, too.
        let key = on_one_line(key);
        match value {
            Json::Object(inner) if !inner.is_empty() => {
                put(format_args!("{:depth$}{key}", ""))?;
                nested(value, depth + 2)?;
            }
            Json::Array(items) if items.iter().any(Json::is_object) => {
                put(format_args!("{:depth$}{key}", ""))?;
                for item in items {
                    nested(item, depth + 2)?;
                    put("")?;
                }
            }
            Json::Null => {}
            Json::Array(items) if items.is_empty() => {}
            Json::Object(_) => {}
            other => put(format_args!("{:depth$}{key:14} {}", "", word(other)))?,
        }
    }
    Ok(())
}

/// The host at a glance.
pub(super) fn status(status: &Json, channels: &[(&str, &str)]) -> Shown {
    let is_running = status.get("running") == Some(&Json::Bool(true));
    put(format_args!("membrana {}, {}", at(status, "/version"), if is_running { "running" } else { "no host runs" }))?;
    if let Some(refused) = status.get("refused").filter(|refused| !refused.is_null()) {
        put(format_args!("the configuration read at {} was refused, and the one before stays in force:", at(refused, "/at")))?;
        for mistake in items(refused, "/mistakes") {
            let place = mistake.get("file").map(|file| format!("{}:{}: ", word(file), at(mistake, "/line"))).unwrap_or_default();
            put(format_args!("  {place}{}", at(mistake, "/message")))?;
        }
    }
    if let Some(trouble) = status.get("store").and_then(Json::as_str) {
        put(format_args!("the store takes nothing now, and webhooks are told to come again: {trouble}"))?;
    }
    put("")?;
    table(items(status, "/channels"), channels)?;
    for channel in items(status, "/channels") {
        if channel.get("reason").is_some_and(|reason| !reason.is_null()) {
            put(format_args!("{}: {}", at(channel, "/name"), at(channel, "/reason")))?;
        }
        if channel.pointer("/build/swapped") == Some(&Json::Bool(true)) {
            put(format_args!("{}: runs {}", at(channel, "/name"), swapped(channel)))?;
        }
    }
    put("")?;
    for (title, pointer) in [("tasks", "/waiting/tasks"), ("drafts", "/waiting/drafts"), ("dead", "/waiting/dead")] {
        put(format_args!("{title:10} {}", at(status, pointer)))?;
    }
    for (title, pointer) in [("analyzers", "/analyzers"), ("rules", "/rules"), ("teams", "/teams"), ("sinks", "/sinks")] {
        let names: Vec<String> = items(status, pointer).iter().map(at_a_glance).collect();
        put(format_args!("{title:10} {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") }))?;
    }
    Ok(())
}

/// A name, with what is out of the ordinary about it.
fn at_a_glance(item: &Json) -> String {
    let name = item.get("name").map_or_else(|| word(item), word);
    let is_any = |key: &str| item.get(key).and_then(Json::as_u64) > Some(0);
    let mut told = Vec::new();
    if item.pointer("/build/swapped") == Some(&Json::Bool(true)) {
        told.push(format!("runs {}", swapped(item)));
    }
    if is_any("behind") {
        told.push(format!("not told yet of {} entries", at(item, "/behind")));
    }
    if is_any("refused") {
        let is_counted = item.get("refused").and_then(Json::as_u64) < Some(REFUSED_MAX as u64);
        let n_refused = if is_counted { at(item, "/refused") } else { format!("over {}", REFUSED_MAX - 1) };
        told.push(format!("{n_refused} events refused, which wait to be told again"));
    }
    if told.is_empty() { name } else { format!("{name} ({})", told.join("; ")) }
}

fn swapped(section: &Json) -> String {
    format!("{} {} by `membrana swap`", at(section, "/build/plugin"), at(section, "/build/version"))
}

/// What was said, what was found in it, what was decided and why, what became of it.
pub(super) fn story(told: &Json) -> Shown {
    let said = told.get("interaction").unwrap_or(&Json::Null);
    let author = [said.pointer("/author/name"), said.pointer("/author/handle")].into_iter().flatten().find(|name| !name.is_null());
    put(format_args!(
        "{} by {} on {}, {}",
        at(said, "/kind"),
        author.map_or_else(|| "somebody".to_owned(), word),
        at(said, "/channel"),
        at(said, "/received_at")
    ))?;
    put(format_args!("  \"{}\"", at(said, "/text")))?;
    for note in items(said, "/annotations") {
        put(format_args!("found: {} {} (by {})", at(note, "/key"), at(note, "/value"), at(note, "/analyzer")))?;
    }
    if !items(said, "/missing").is_empty() {
        put(format_args!("not known: {}", at(said, "/missing")))?;
    }
    for decision in items(said, "/decisions") {
        put(format_args!("decided by {}: {}", at(decision, "/rule"), at(decision, "/row")))?;
        items(decision, "/reasons").iter().try_for_each(|reason| put(format_args!("  because {}", word(reason))))?;
    }
    for task in items(told, "/tasks") {
        put(format_args!("task {}: {}, due {}, {}", at(task, "/id"), at(task, "/team"), at(task, "/due_at"), at(task, "/state")))?;
    }
    for action in items(told, "/actions") {
        put(format_args!("{} {}: {}", at(action, "/kind"), at(action, "/id"), at(action, "/state")))?;
        put(format_args!("  \"{}\"", at(action, "/text")))?;
        why_it_waits(action).into_iter().try_for_each(|why| put(format_args!("  {why}")))?;
    }
    put("what happened:")?;
    items(told, "/story").iter().try_for_each(|step| put(format_args!("  {}  {}", at(step, "/at"), at(step, "/what"))))
}

/// Why a reply did not go out, or not yet: for whom it waits, and what speaks against it.
fn why_it_waits(action: &Json) -> Vec<String> {
    let (id, review) = (at(action, "/id"), items(action, "/review"));
    let whom = if review.is_empty() { "anybody".to_owned() } else { review.iter().map(word).collect::<Vec<_>>().join(" or ") };
    let next = match action.pointer("/state").and_then(Json::as_str) {
        Some("awaiting-approval") => Some(format!("waits for {whom}: `membrana outbox approve {id}`, or `reject`")),
        Some("human") => Some(format!("waits for somebody to look whether it went out: then `membrana outbox retry {id}`, or `reject`")),
        Some("retry") => Some(format!("is tried again at {}", at(action, "/due_at"))),
        Some("unknown" | "reconciling") => Some(format!("may have gone out, and is looked for at {}", at(action, "/due_at"))),
        _ => None,
    };
    let because = action.pointer("/error").filter(|error| !error.is_null()).map(|error| format!("because {}", word(error)));
    because.into_iter().chain(next).collect()
}

/// A change of the build in force, in a sentence.
pub(super) fn act(act: &Json) -> Shown {
    let digest = |pointer: &str| at(act, pointer).chars().take(DIGEST_MAX).collect::<String>();
    let (name, from, to, outcome) = (at(act, "/name"), digest("/from"), digest("/to"), at(act, "/outcome"));
    if outcome != "in force" {
        return put(format_args!("`{name}` stays with build {from}: {outcome}"));
    }
    let pause = act.pointer("/pause_us").and_then(Json::as_u64).map(|us| format!(" after a pause of {us} µs")).unwrap_or_default();
    let back = if at(act, "/act") == "swap" { format!("`membrana rollback {name}` goes back, ") } else { String::new() };
    put(format_args!("`{name}` runs build {to}{pause}, in the place of {from}; {back}`membrana history {name}` tells all"))
}

fn at(value: &Json, pointer: &str) -> String {
    word(value.pointer(pointer).unwrap_or(&Json::Null))
}

fn items<'j>(value: &'j Json, pointer: &str) -> &'j [Json] {
    value.pointer(pointer).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// In what two builds differ, and what one of them failed at.
pub(super) fn differences(report: &Json) -> Shown {
    let rows = |key: &str| report.get(key).and_then(Json::as_array).cloned().unwrap_or_default();
    let (changes, failures) = (rows("changes"), rows("failures"));
    if !changes.is_empty() {
        table(&changes, &[("TIMES", "/times"), ("THEN", "/then"), ("NOW", "/now"), ("FOR EXAMPLE", "/examples/0")])?;
    }
    if !failures.is_empty() {
        table(&failures, &[("TIMES", "/times"), ("FAULT", "/fault"), ("FOR EXAMPLE", "/examples/0")])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_a_reason_is_not() {
        let long = "why ".repeat(CELL_MAX);
        let value = Json::from(long.as_str());
        assert_eq!(cell(Some(&value), "/text").chars().count(), CELL_MAX + 1);
        assert_eq!(cell(Some(&value), "/reason"), long);
    }

    #[test]
    fn a_sink_is_told_with_what_waits_for_it() {
        let told = |refused: Json| at_a_glance(&serde_json::json!({ "name": "crm", "behind": 0, "refused": refused }));
        assert_eq!(told(Json::from(0)), "crm");
        assert_eq!(told(Json::from(7)), "crm (7 events refused, which wait to be told again)");
        assert_eq!(told(Json::from(1001)), "crm (over 1000 events refused, which wait to be told again)");
    }

    #[test]
    fn why_a_reply_did_not_go_out_is_said_with_what_to_do() {
        let draft = serde_json::json!({ "id": "7", "state": "awaiting-approval", "review": ["legal", "press"], "error": "the text is long" });
        assert_eq!(why_it_waits(&draft), ["because the text is long", "waits for legal or press: `membrana outbox approve 7`, or `reject`"]);
        let late = serde_json::json!({ "id": "7", "state": "expired", "review": [], "error": "this network takes a reply within 24 h only" });
        assert_eq!(why_it_waits(&late), ["because this network takes a reply within 24 h only"]);
        let sent = serde_json::json!({ "id": "7", "state": "sent", "review": [], "error": null });
        assert_eq!(why_it_waits(&sent), Vec::<String>::new());
    }
}
