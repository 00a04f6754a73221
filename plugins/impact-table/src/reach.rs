//! Which events a row can see at all, judged by form: what earlier rows take away, alone or together, and what a row forbids
//! itself. A row whose `when` has a mistake takes nothing and is taken by nothing, so that one mistake is told once.

use crate::table::{Predicate, Row, Test};
use crate::words::is_same;

/// Says whether `first` matches everything that `row` matches: every condition of `first` is weaker.
pub(crate) fn covers(first: &Row, row: &Row) -> bool {
    if first.is_doubtful || row.is_doubtful {
        return false;
    }
    let narrower = row.when.as_deref().unwrap_or_default();
    first.when.iter().flatten().all(|wide| narrower.iter().any(|narrow| is_weaker(wide, narrow)))
}

/// The rows that together take all of `row`, each a part of one condition, and the condition's key.
pub(crate) fn shared_cover<'r>(earlier: &'r [Row], row: &'r Row) -> Option<(Vec<&'r Row>, &'r str)> {
    if row.is_doubtful {
        return None;
    }
    let narrower = row.when.as_deref().unwrap_or_default();
    narrower.iter().find_map(|split| {
        let part = |first: &'r Row| {
            let (same, others): (Vec<&Predicate>, Vec<&Predicate>) = first.when.iter().flatten().partition(|wide| is_about(wide, split));
            let is_wider = others.iter().all(|wide| narrower.iter().any(|narrow| is_weaker(wide, narrow)));
            if let [one] = same.as_slice() { (is_wider && !first.is_doubtful).then_some((first, &one.test)) } else { None }
        };
        let parts: Vec<(&Row, &Test)> = earlier.iter().filter_map(part).collect();
        let rows = taken_by(&split.key, &split.test, &parts)?;
        Some((rows, split.key.as_str()))
    })
}

fn taken_by<'r>(key: &str, test: &Test, parts: &[(&'r Row, &Test)]) -> Option<Vec<&'r Row>> {
    let mut rows: Vec<&Row> = Vec::new();
    match test {
        Test::Any(words) => {
            for word in words {
                let takes = |test: &Test| matches!(test, Test::Any(wide) if wide.iter().any(|wide| is_same(key, wide, word)));
                rows.push(parts.iter().find(|(_, test)| takes(test))?.0);
            }
        }
        Test::Range(min, max) => {
            let (mut from, end) = if key == "sentiment" { (min.max(-1.0), max.min(1.0)) } else { (*min, *max) };
            let mut is_begun = false;
            while !is_begun || from < end {
                // Of those that begin no later, the one that goes furthest; both bounds are included.
                let reach = parts.iter().filter_map(|(row, test)| match test {
                    Test::Range(low, high) if *low <= from && *high >= from => Some((*row, *high)),
                    _ => None,
                });
                let (row, high) =
                    reach.fold(None, |best: Option<(&Row, f64)>, next| if best.is_none_or(|best| next.1 > best.1) { Some(next) } else { best })?;
                if is_begun && high <= from {
                    return None;
                }
                rows.push(row);
                (from, is_begun) = (high, true);
            }
        }
    }
    rows.dedup_by_key(|row| row.line);
    Some(rows)
}

/// The first two conditions of a row that never hold together.
pub(crate) fn contradiction(row: &Row) -> Option<&Predicate> {
    let all = row.when.as_deref().unwrap_or_default();
    let clash = |n: usize, one: &&Predicate| all.iter().take(n).any(|before| is_about(before, one) && !meet(&before.key, &before.test, &one.test));
    all.iter().enumerate().find(|(n, one)| clash(*n, one)).map(|(_, one)| one)
}

/// Two rows that ask the same questions and of which neither holds the other, though both hold something: which of them
/// decides that hangs on their order alone.
pub(crate) fn overlaps(first: &Row, row: &Row) -> bool {
    let (Some(one), Some(other)) = (&first.when, &row.when) else { return false };
    let asks_same = one.len() == other.len() && one.iter().all(|a| other.iter().any(|b| is_about(a, b) && meet(&a.key, &a.test, &b.test)));
    asks_same && !first.is_doubtful && !row.is_doubtful && !covers(first, row) && !covers(row, first)
}

fn is_about(one: &Predicate, other: &Predicate) -> bool {
    one.key == other.key && one.is_annotation == other.is_annotation
}

fn meet(key: &str, one: &Test, other: &Test) -> bool {
    match (one, other) {
        (Test::Any(one), Test::Any(other)) => one.iter().any(|a| other.iter().any(|b| is_same(key, a, b) || is_same(key, b, a))),
        (Test::Range(a, b), Test::Range(c, d)) => a <= d && c <= b,
        // What is a word is no number.
        _ => false,
    }
}

fn is_weaker(wide: &Predicate, narrow: &Predicate) -> bool {
    if !is_about(wide, narrow) {
        return false;
    }
    match (&wide.test, &narrow.test) {
        (Test::Any(wide_words), Test::Any(words)) => words.iter().all(|word| wide_words.iter().any(|wide_word| is_same(&wide.key, wide_word, word))),
        (Test::Range(a, b), Test::Range(c, d)) => a <= c && b >= d,
        _ => false,
    }
}
