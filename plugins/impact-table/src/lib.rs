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

use std::cell::RefCell;
use std::rc::Rc;

use membrana_sdk::rule::{Decision, Event};
use membrana_sdk::{Fault, Finding, Result, Rule, Surroundings, finding_error, register_rule};

use table::Table;

/// The rule.
pub struct ImpactTable;

thread_local! {
    /// The table last read, with the section it was read from.
    static READ: RefCell<Option<(String, Rc<Table>)>> = const { RefCell::new(None) };
}

impl Rule for ImpactTable {
    fn validate(config: &str, around: &Surroundings) -> Vec<Finding> {
        match text_of(config) {
            Some(text) => lint::findings(&text, around),
            None => vec![finding_error("table_file", "there is no table", "write table_file = \"impact.toml\"")],
        }
    }

    fn decide(events: &[Event]) -> Result<Vec<Decision>> {
        let table = in_force(membrana_sdk::config::json())?;
        Ok(events.iter().map(|event| decide::decision(&table, event)).collect())
    }
}

register_rule!(ImpactTable);

fn text_of(config: &str) -> Option<String> {
    let section: serde_json::Value = serde_json::from_str(config).ok()?;
    section.get("table")?.as_str().map(str::to_owned)
}

fn in_force(config: String) -> Result<Rc<Table>> {
    READ.with_borrow_mut(|read| {
        if let Some((_, table)) = read.as_ref().filter(|(of, _)| *of == config) {
            return Ok(Rc::clone(table));
        }
        let text = text_of(&config).ok_or_else(|| Fault::config("impact-table.no-table", "the section has no table"))?;
        let (table, mistakes) = table::read(&text);
        if let Some(first) = mistakes.iter().find(|mistake| mistake.is_error()) {
            return Err(Fault::config("impact-table.invalid", format!("line {}: {}", first.line, first.message)));
        }
        let table = Rc::new(table);
        *read = Some((config, Rc::clone(&table)));
        Ok(table)
    })
}

#[cfg(test)]
mod tests;
