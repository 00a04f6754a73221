//! Rule `impact-table`: the first row that matches says who is responsible, by when, and what is answered.
//!
//! The table is the admin's TOML file. It is read once for each text; a decision carries the row and its reasons in words.
//! It never looks at a message's text and asks nobody: same event and same table, same decision. Bounds: 1,000 rows, 4 MiB.

mod bodies;
mod decide;
mod lint;
mod reach;
mod table;
mod words;

use membrana_sdk::rule::{Decision, Event};
use membrana_sdk::{Fault, Finding, Result, Rule, Surroundings, config, finding_error, register_rule};

use table::Table;

/// The rule.
pub struct ImpactTable;

impl Rule for ImpactTable {
    fn validate(config: &str, around: &Surroundings) -> Vec<Finding> {
        match text_of(config) {
            Some(text) => lint::findings(&text, around),
            None => vec![finding_error("table_file", "there is no table", "write table_file = \"impact.toml\"")],
        }
    }

    fn decide(events: &[Event]) -> Result<Vec<Decision>> {
        let table = config::read_once(in_force)?;
        Ok(events.iter().map(|event| decide::decision(&table, event)).collect())
    }
}

register_rule!(ImpactTable);

fn text_of(config: &str) -> Option<String> {
    let section: serde_json::Value = serde_json::from_str(config).ok()?;
    section.get("table")?.as_str().map(str::to_owned)
}

fn in_force(config: &str) -> Result<Table> {
    let text = text_of(config).ok_or_else(|| Fault::config("impact-table.no-table", "the section has no table"))?;
    let (table, mistakes) = table::read(&text);
    match mistakes.iter().find(|mistake| mistake.is_error()) {
        Some(first) => Err(Fault::config("impact-table.invalid", format!("line {}: {}", first.line, first.message))),
        None => Ok(table),
    }
}

#[cfg(test)]
mod tests;
