//! What one build said against what another says of the same: counted, and each way in which they differ with examples.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Value as Json, json};

use crate::model::{Annotation, Fault, Value};

use super::{Change, RuleDecision};

/// Ids told with a difference.
const EXAMPLES: usize = 5;
/// Different differences told; more are counted together.
const CHANGES: usize = 200;
/// Words of one answer that are told. Units: bytes.
const WORDS_MAX: usize = 500;

/// One answer, in words that can be compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Verdict {
    words: String,
    /// What is beneath the words, where that is too long to be told: checksums by name.
    parts: BTreeMap<String, u32>,
}

impl Verdict {
    fn of(words: impl Into<String>) -> Self {
        Self::with_parts(words.into(), BTreeMap::new())
    }

    /// Words that are too long to be told go beneath as well.
    fn with_parts(mut words: String, mut parts: BTreeMap<String, u32>) -> Self {
        if words.len() > WORDS_MAX {
            parts.insert("rest".to_owned(), crc32fast::hash(words.as_bytes()));
            words.truncate(words.floor_char_boundary(WORDS_MAX));
            words.push('…');
        }
        Self { words, parts }
    }

    /// How two that differ are told: where the words are the same, by what is beneath them.
    fn against(&self, now: &Self) -> (String, String) {
        if self.words != now.words {
            return (self.words.clone(), now.words.clone());
        }
        let names: BTreeSet<&String> = self.parts.keys().chain(now.parts.keys()).collect();
        let others: BTreeSet<&str> =
            names.into_iter().filter(|name| self.parts.get(*name) != now.parts.get(*name)).map(|name| name.trim_start_matches(NUMBERS)).collect();
        (self.words.clone(), format!("the same, with another {}", others.into_iter().collect::<Vec<_>>().join(", ")))
    }
}

/// What begins a part's name: the place of its change among those of one raw item.
const NUMBERS: [char; 11] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '.'];

/// How a connector understands a raw item: what kinds of things it tells, and beneath them every field.
pub(super) fn understood(changes: &[Change]) -> Verdict {
    let (mut words, mut parts) = (Vec::with_capacity(changes.len()), BTreeMap::new());
    for (n, change) in changes.iter().enumerate() {
        let (word, fields) = match change {
            Change::Upsert(interaction) => (interaction.kind.clone(), serde_json::to_value(interaction).unwrap_or_default()),
            Change::Raw(native, body) => ("a raw item".to_owned(), json!({ "native": native, "body": body })),
            Change::Gone(native) => ("gone".to_owned(), json!({ "native": native })),
            Change::Unreadable { native, .. } => ("unreadable".to_owned(), json!({ "native": native })),
            Change::Note { kind, json: body } => (format!("note {kind}"), json!({ "body": body })),
        };
        words.push(word);
        let fields = fields.as_object().into_iter().flatten();
        parts.extend(fields.map(|(name, value)| (format!("{n}.{name}"), crc32fast::hash(value.to_string().as_bytes()))));
    }
    Verdict::with_parts(if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }, parts)
}

/// What a connector says of a raw item that it will never understand.
pub(super) fn not_understood(fault: &Fault) -> Verdict {
    Verdict::of(format!("not understood: {fault}"))
}

/// What a rule decides: the row, who is responsible, and whether a reply waits for a person. Texts are not compared, for a person may have
/// written another one.
pub fn decided(decision: &RuleDecision) -> Verdict {
    let words = decision.actions.iter().filter_map(|action| {
        let body: Json = serde_json::from_str(&action.body).unwrap_or_default();
        asked(&action.kind, body.get("team"), body.get("mode").map(|mode| mode == "send"))
    });
    with_row(decision.row.as_deref(), words.collect())
}

/// The same of a decision that is stored: its row, and what was asked for, granted or not, as `model::shown` shows it.
pub fn was_decided(row: Option<&str>, actions: &[Json]) -> Verdict {
    let words = actions.iter().filter_map(|action| {
        let kind = action.get("kind").and_then(Json::as_str).unwrap_or_default();
        let body = action.get("body")?;
        asked(kind, body.get("team"), body.get("mode").map(|mode| mode == "send"))
    });
    with_row(row, words.collect())
}

fn asked(kind: &str, team: Option<&Json>, is_sent: Option<bool>) -> Option<String> {
    match kind {
        "assign" => Some(format!("to {}", team.and_then(Json::as_str).unwrap_or("nobody"))),
        "reply" if is_sent == Some(true) => Some("reply".to_owned()),
        "reply" => Some("draft".to_owned()),
        _ => None,
    }
}

fn with_row(row: Option<&str>, mut words: Vec<String>) -> Verdict {
    words.sort_unstable();
    words.insert(0, row.unwrap_or("no row").to_owned());
    Verdict::of(words.join(", "))
}

/// What an analyzer says, whatever the order and however sure it is.
pub fn annotations(said: &[Annotation]) -> Verdict {
    let mut words: Vec<String> = said.iter().map(|one| format!("{} {}", one.key, word(&one.value))).collect();
    words.sort_unstable();
    Verdict::of(if words.is_empty() { "nothing".to_owned() } else { words.join(", ") })
}

fn word(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Json(text) => text.clone(),
        Value::Boolean(flag) => flag.to_string(),
        // Zero has one sign.
        Value::Number(number) => match format!("{number:.2}") {
            zero if zero == "-0.00" => "0.00".to_owned(),
            text => text,
        },
    }
}

#[derive(Debug, Clone, Default)]
struct Seen {
    times: usize,
    examples: Vec<String>,
}

impl Seen {
    fn note(&mut self, id: &str) {
        self.times += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(id.to_owned());
        }
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Agreement {
    /// Gone, or of channels that it does not look at.
    pub n_skipped: usize,
    n_same: usize,
    /// Nothing was said of them then.
    n_new: usize,
    n_different: usize,
    n_failed: usize,
    changes: BTreeMap<(String, String), Seen>,
    failures: BTreeMap<String, Seen>,
}

impl Agreement {
    /// Compared, new, or failed.
    pub fn n_asked(&self) -> usize {
        self.n_same + self.n_new + self.n_different + self.n_failed
    }

    /// Of one thing: what was said then, if anything, and what is said now.
    pub fn note(&mut self, id: &str, then: Option<Verdict>, now: Verdict) {
        match then {
            None => self.n_new += 1,
            Some(then) if then == now => self.n_same += 1,
            Some(then) => {
                self.n_different += 1;
                let change = then.against(&now);
                if self.changes.len() < CHANGES || self.changes.contains_key(&change) {
                    self.changes.entry(change).or_default().note(id);
                } else {
                    let other = || "another".to_owned();
                    self.changes.entry((other(), other())).or_default().note(id);
                }
            }
        }
    }

    /// Of one thing nothing is said now.
    pub fn failed(&mut self, id: &str, fault: &Fault) {
        self.n_failed += 1;
        let words = fault.to_string();
        let key = if self.failures.len() < CHANGES || self.failures.contains_key(&words) { words } else { "another".to_owned() };
        self.failures.entry(key).or_default().note(id);
    }

    /// Of those of which something was said before, the share of which the same is said now; none where there are none. To fail at one is
    /// to say something else.
    pub fn share(&self) -> Option<f64> {
        let n_compared = self.n_same + self.n_different + self.n_failed;
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let share = self.n_same as f64 / n_compared as f64;
        (n_compared > 0).then_some((share * 10_000.0).floor() / 10_000.0)
    }

    /// The most frequent difference first.
    pub fn json(&self) -> Json {
        let mut changes: Vec<_> = self.changes.iter().collect();
        changes.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.times));
        let change =
            |((then, now), seen): (&(String, String), &Seen)| json!({ "then": then, "now": now, "times": seen.times, "examples": seen.examples });
        let failure = |(fault, seen): (&String, &Seen)| json!({ "fault": fault, "times": seen.times, "examples": seen.examples });
        json!({
            "asked": self.n_asked(),
            "agreement": self.share(),
            "same": self.n_same,
            "different": self.n_different,
            "new": self.n_new,
            "failed": self.n_failed,
            "skipped": self.n_skipped,
            "changes": changes.into_iter().map(change).collect::<Vec<_>>(),
            "failures": self.failures.iter().map(failure).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} asked: {} the same, {} different", self.n_asked(), self.n_same, self.n_different)?;
        for (n, words) in [(self.n_new, "of which nothing was said then"), (self.n_failed, "failed"), (self.n_skipped, "left out")] {
            if n > 0 {
                write!(f, ", {n} {words}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Detail, Wanted};

    fn wanted(kind: &str, body: Json) -> Wanted {
        Wanted { key: kind.to_owned(), kind: kind.to_owned(), body: body.to_string() }
    }

    #[test]
    fn a_decision_is_the_same_in_the_rule_s_words_and_as_it_stands() {
        let actions = vec![
            wanted("reply", json!({ "mode": "send", "text": "Hi" })),
            wanted("assign", json!({ "team": "support", "within_ms": 1 })),
            wanted("note", json!({ "text": "x" })),
        ];
        let now = decided(&RuleDecision { actions, row: Some("praise".to_owned()), reasons: Vec::new(), n_refused: 0 });
        let then = |reply: Json| {
            let task = json!({ "kind": "assign", "due_at": null, "body": { "team": "support" } });
            was_decided(Some("praise"), &[task, reply])
        };
        assert_eq!(then(json!({ "kind": "reply", "automatic": false, "text": "Hello", "body": { "mode": "send" } })), now);
        assert_ne!(then(json!({ "kind": "reply", "body": { "mode": "draft" } })), now);
        assert_ne!(then(json!({ "kind": "note" })), now);
    }

    #[test]
    fn differences_are_counted_with_examples_and_the_most_frequent_comes_first() {
        let verdict = |text: &str| Verdict::of(text);
        let mut agreement = Agreement::default();
        agreement.note("1", Some(verdict("a")), verdict("a"));
        agreement.note("2", None, verdict("a"));
        agreement.note("3", Some(verdict("a")), verdict("b"));
        (4..14).for_each(|n| agreement.note(&n.to_string(), Some(verdict("c")), verdict("b")));
        agreement.failed("14", &Fault::Permanent(Detail { code: "trap".to_owned(), message: "unreachable".to_owned() }));
        assert_eq!((Agreement::default().share(), agreement.share()), (None, Some(0.0769)));
        let told = agreement.json();
        assert_eq!(
            (told["asked"].as_u64(), told["same"].as_u64(), told["different"].as_u64(), told["new"].as_u64()),
            (Some(14), Some(1), Some(11), Some(1))
        );
        assert_eq!((&told["changes"][0]["then"], &told["changes"][0]["times"]), (&json!("c"), &json!(10)));
        assert_eq!(told["changes"][0]["examples"].as_array().map(Vec::len), Some(EXAMPLES));
        assert_eq!(told["failures"][0]["examples"], json!(["14"]));
        assert_eq!(agreement.to_string(), "14 asked: 1 the same, 11 different, 1 of which nothing was said then, 1 failed");
    }

    #[test]
    fn what_a_connector_understands_is_compared_to_the_last_field() {
        let said = |text: &str| Change::Upsert(Box::new(crate::testing::said("1", text)));
        let mut agreement = Agreement::default();
        agreement.note("1", Some(understood(&[said("a")])), understood(&[said("a")]));
        agreement.note("2", Some(understood(&[said("a")])), understood(&[said("b")]));
        agreement.note("3", Some(understood(&[said("a")])), understood(&[]));
        let told = agreement.json();
        assert_eq!((told["same"].as_u64(), told["different"].as_u64()), (Some(1), Some(2)));
        let words = |n: usize| (told["changes"][n]["then"].as_str().unwrap().to_owned(), told["changes"][n]["now"].as_str().unwrap().to_owned());
        let mut all = [words(0), words(1)];
        all.sort();
        let pair = |then: &str, now: &str| (then.to_owned(), now.to_owned());
        assert_eq!(all, [pair("post", "nothing"), pair("post", "the same, with another text")]);
    }

    #[test]
    fn annotations_are_compared_whatever_their_order_and_numbers_to_two_places() {
        let said = |key: &str, value: Value| Annotation { key: key.to_owned(), value, confidence: Some(0.5) };
        let one = [said("sentiment", Value::Number(-0.301)), said("language", Value::Text("it".to_owned()))];
        let other = [said("language", Value::Text("it".to_owned())), said("sentiment", Value::Number(-0.3))];
        assert_eq!(annotations(&one), annotations(&other));
        assert_ne!(annotations(&one), annotations(&[]));
        assert_eq!(annotations(&[said("s", Value::Number(-0.0))]), annotations(&[said("s", Value::Number(0.0))]));
        assert_eq!(annotations(&[said("s", Value::Number(-0.004))]), annotations(&[said("s", Value::Number(0.004))]));
        let long = |end: &str| annotations(&[said("words", Value::Text(format!("{}{end}", "è".repeat(2000))))]);
        assert!(long("a").words.len() < 2 * WORDS_MAX && long("a") != long("b"), "cut, and compared whole");
    }
}
