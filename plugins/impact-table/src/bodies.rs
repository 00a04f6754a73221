//! Bodies of actions, as `wit/0.1/rule.wit` names their keys.
//!
//! Keys stay in this order: the host compares bodies byte by byte to tell an action that is asked for again from a new one.

use serde::Serialize;

use crate::table::{Named, Row};

/// Body of an `assign`.
#[derive(Serialize)]
pub(crate) struct AssignBody<'r> {
    consulted: Vec<&'r str>,
    escalate: Vec<Step<'r>>,
    informed: Vec<&'r str>,
    note: Option<&'r str>,
    team: &'r str,
    within_ms: Option<u64>,
}

#[derive(Serialize)]
struct Step<'r> {
    after_ms: u64,
    to: &'r str,
}

impl<'r> AssignBody<'r> {
    /// What a row asks of the one team that is responsible.
    pub(crate) fn of(row: &'r Row, responsible: &'r Named) -> Self {
        Self {
            consulted: names(&row.consulted),
            escalate: row.escalate.iter().map(|(after_ms, to)| Step { after_ms: *after_ms, to: &to.name }).collect(),
            informed: names(&row.informed),
            note: None,
            team: &responsible.name,
            within_ms: row.within_ms,
        }
    }
}

/// Body of a `reply`.
#[derive(Serialize)]
pub(crate) struct ReplyBody<'r> {
    pub(crate) language: &'r str,
    pub(crate) mode: &'r str,
    pub(crate) review: Vec<&'r str>,
    pub(crate) text: &'r str,
}

/// Body of a `note`.
#[derive(Serialize)]
pub(crate) struct NoteBody<'r> {
    pub(crate) text: &'r str,
}

/// The names alone.
pub(crate) fn names(list: &[Named]) -> Vec<&str> {
    list.iter().map(|named| named.name.as_str()).collect()
}
