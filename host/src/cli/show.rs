//! JSON for people: tables of lists, indented keys of single things.

use comfy_table::{Cell, ContentArrangement, Table, presets};
use serde_json::Value as Json;

use super::outcome::say;

/// Units: characters.
const CELL_MAX: usize = 60;

/// Columns by JSON pointer.
pub(super) fn table(rows: &[Json], columns: &[(&str, &str)]) {
    if rows.is_empty() {
        say("nothing");
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(title, _)| Cell::new(title)));
    for row in rows {
        table.add_row(columns.iter().map(|(_, pointer)| Cell::new(cell(row.pointer(pointer)))));
    }
    for line in table.to_string().lines() {
        say(line.trim_end());
    }
}

fn cell(value: Option<&Json>) -> String {
    let text = word(value.unwrap_or(&Json::Null));
    let mut short: String = text.chars().take(CELL_MAX).collect();
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
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Keys and values, nested ones indented.
pub(super) fn thing(value: &Json) {
    nested(value, 0);
}

fn nested(value: &Json, depth: usize) {
    let Some(object) = value.as_object() else {
        say(format_args!("{:depth$}{}", "", word(value)));
        return;
    };
    for (key, value) in object {
        match value {
            Json::Object(inner) if !inner.is_empty() => {
                say(format_args!("{:depth$}{key}", ""));
                nested(value, depth + 2);
            }
            Json::Array(items) if items.iter().any(Json::is_object) => {
                say(format_args!("{:depth$}{key}", ""));
                for item in items {
                    nested(item, depth + 2);
                    say("");
                }
            }
            Json::Null => {}
            Json::Array(items) if items.is_empty() => {}
            Json::Object(_) => {}
            other => say(format_args!("{:depth$}{key:14} {}", "", word(other))),
        }
    }
}
