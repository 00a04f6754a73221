//! `faults==0 && agreement>=0.98 && p99_ratio<=1.5`: what must hold of a shadow's report for its build to be promoted.

use std::fmt;
use std::str::FromStr;

use serde_json::Value as Json;

/// Keys of the report that can be named.
const KEYS: [&str; 9] = ["agreement", "faults", "p99_ratio", "cpu_ratio", "asked", "same", "different", "failed", "left_out"];
type Comparison = fn(&f64, &f64) -> bool;

/// Longer ones first, for one begins with the other.
const SIGNS: [(&str, Comparison); 5] = [("==", f64::eq), (">=", f64::ge), ("<=", f64::le), (">", f64::gt), ("<", f64::lt)];

/// See the module.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Condition {
    text: String,
    clauses: Vec<Clause>,
}

#[derive(Debug, Clone)]
struct Clause {
    text: String,
    key: &'static str,
    holds: Comparison,
    bound: f64,
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let clauses = text.split("&&").map(|clause| Clause::parse(clause.trim())).collect::<Result<_, _>>()?;
        Ok(Self { text: text.trim().to_owned(), clauses })
    }
}

impl Clause {
    fn parse(text: &str) -> Result<Self, String> {
        let found = SIGNS.iter().find_map(|(sign, holds)| Some((text.split_once(sign)?, holds)));
        let Some(((key, bound), holds)) = found else {
            return Err(format!("`{text}` is no condition; write one like agreement>=0.98, and several with && between them"));
        };
        let Some(key) = KEYS.into_iter().find(|known| *known == key.trim()) else {
            return Err(format!("`{}` is nothing that a report tells; there are: {}", key.trim(), KEYS.join(", ")));
        };
        let bound: f64 = bound.trim().parse().map_err(|_| format!("`{}` is no number", bound.trim()))?;
        if !bound.is_finite() || key == "agreement" && !(0.0..=1.0).contains(&bound) {
            return Err(format!("`{text}` can never be judged: agreement is a share from 0 to 1, like 0.98, and every bound is a number"));
        }
        Ok(Self { text: text.to_owned(), key, holds: *holds, bound })
    }
}

impl Condition {
    /// The first clause that does not hold, with what the report tells.
    pub(super) fn unmet(&self, report: &Json) -> Option<String> {
        self.clauses.iter().find_map(|clause| match report.get(clause.key).and_then(Json::as_f64) {
            Some(value) if (clause.holds)(&value, &clause.bound) => None,
            Some(value) => Some(format!("{} is {value}, and {} is wanted", clause.key, clause.text)),
            None => Some(format!("{} is not known, and {} is wanted", clause.key, clause.text)),
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_clause_must_hold_and_what_is_not_known_does_not() {
        let condition: Condition = "faults==0 && agreement>=0.98&&p99_ratio <= 1.5".parse().unwrap();
        let report = |faults: u32, agreement: f64, ratio: Json| json!({ "faults": faults, "agreement": agreement, "p99_ratio": ratio });
        assert_eq!(condition.unmet(&report(0, 0.98, json!(1.5))), None);
        assert_eq!(condition.unmet(&report(0, 0.97, json!(1.0))).as_deref(), Some("agreement is 0.97, and agreement>=0.98 is wanted"));
        assert_eq!(condition.unmet(&report(1, 1.0, json!(1.0))).as_deref(), Some("faults is 1, and faults==0 is wanted"));
        assert_eq!(condition.unmet(&report(0, 1.0, Json::Null)).as_deref(), Some("p99_ratio is not known, and p99_ratio <= 1.5 is wanted"));
    }

    #[test]
    fn what_is_no_condition_is_told_with_the_cure() {
        let cases = [
            ("agreement", "is no condition"),
            ("mood>=1", "there are: agreement"),
            ("faults==none", "is no number"),
            ("", "is no condition"),
            ("agreement>=98", "a share from 0 to 1"),
            ("p99_ratio<=nan", "every bound is a number"),
        ];
        for (wrong, words) in cases {
            let told = wrong.parse::<Condition>().unwrap_err();
            assert!(told.contains(words), "{wrong}: {told}");
        }
    }
}
