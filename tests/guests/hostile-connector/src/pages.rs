//! Pages that no honest connector would bring.

use std::hash::{BuildHasher as _, RandomState};

use membrana_sdk::connector::{Change, Interaction, Page};
use membrana_sdk::{clock, state};

use crate::{item, native};

/// Edits of one thing in one page.
const STORM: u64 = 1_000;
/// How far a connector comes that keeps its place in its state.
const PLACES: u8 = 10;
/// 9999-12-31T23:59:59Z. Units: milliseconds since 1970.
const LAST_MOMENT: u64 = 253_402_300_799_000;

/// None where the mode is no page.
pub(crate) fn page(mode: &str, cursor: Option<String>) -> Option<Page> {
    let came = cursor.as_deref().unwrap_or_default();
    let n = came.parse::<u64>().unwrap_or(0);
    let (changes, cursor, more) = match mode {
        "page-stands-still" => (vec![said("1", "the same")], "here".to_owned(), true),
        "page-advances-in-vain" => (vec![said("1", "the same")], (n + 1).to_string(), true),
        "page-never-advances" => (vec![fresh()], "here".to_owned(), true),
        "page-goes-back" => (vec![fresh()], if came == "a" { "b" } else { "a" }.to_owned(), true),
        "page-keeps-its-place" => (vec![fresh()], "here".to_owned(), keep_place() < PLACES),
        "page-repeats" => (vec![said("1", "once"), said("2", "once"), said("1", "once"), said("1", "once")], (n + 1).to_string(), false),
        "page-dates" => (vec![at("first", 0), at("last", LAST_MOMENT), at("now", clock::now())], "here".to_owned(), false),
        "page-storm" => (storm(n), (n + 1).to_string(), false),
        _ => (many(mode.strip_prefix("page-of-")?.parse().ok()?), "here".to_owned(), true),
    };
    Some(Page { changes, cursor, more, backfill: false, next_poll_ms: Some(0), allowance: None })
}

fn said(id: &str, text: &str) -> Change {
    Change::Upsert(Interaction { text: text.to_owned(), ..item(native(id), clock::now()) })
}

fn at(id: &str, occurred: u64) -> Change {
    Change::Upsert(Interaction { text: id.to_owned(), ..item(native(id), occurred) })
}

/// One further.
fn keep_place() -> u8 {
    let place = state::get("place").and_then(|place| place.first().copied()).unwrap_or(0).saturating_add(1);
    state::set("place", &[place]).map_or(PLACES, |()| place)
}

fn many(n_changes: u64) -> Vec<Change> {
    (0..n_changes).map(|n| Change::Gone(native(&n.to_string()))).collect()
}

/// What nobody ever saw.
fn fresh() -> Change {
    said(&RandomState::new().hash_one(0).to_string(), "new")
}

/// One thing; from the second page on edited again and again.
fn storm(n_page: u64) -> Vec<Change> {
    let texts =
        if n_page == 0 { vec!["as it was said".to_owned()] } else { (1..=STORM).map(|edit| format!("edit {edit} of page {n_page}")).collect() };
    texts.iter().map(|text| said("1", text)).collect()
}
