//! Mistakes of a table, each with its place and cure.

use membrana_sdk::{Fault, Rule as _, Severity, testing};

use super::{TABLE, around, event};
use crate::ImpactTable;

#[test]
fn a_good_table_only_says_which_rows_before_the_last_count() {
    let said = |table: &str| -> Vec<String> {
        let config = serde_json::json!({ "table": table }).to_string();
        ImpactTable::validate(&config, &around()).into_iter().map(|finding| finding.message).collect()
    };
    assert_eq!(said(TABLE), Vec::<String>::new());
    let counting = "[[row]]\nname = \"spam\"\nwhen = { intent = [\"other\"] }\n[[row]]\nname = \"everything else\"";
    assert_eq!(said(&TABLE.replace("[[row]]\nname = \"everything else\"", counting)), ["row \"spam\" only counts"]);
}

#[test]
fn columns_count_characters() {
    assert_eq!(crate::words::Lines::new("a\nèè x").place(&(7..8)), (2, 4));
}

/// A change of the good table, a part of what is said, and its line.
const MISTAKES: [(&str, &str, &str, u32); 38] = [
    ("intent = [\"complaint\"]", "intent = [\"complain\"]", "no intent is \"complain\"", 5),
    ("visibility = [\"public\"]", "visibility = [\"pubic\"]", "no visibility is \"pubic\"", 5),
    ("visibility = [\"public\"]", "kind = [\"coment\"]", "no kind is \"coment\"", 5),
    ("visibility = [\"public\"]", "side = [\"indoors\"]", "no side is \"indoors\"", 5),
    ("visibility = [\"public\"]", "automated = [\"auto_reply\"]", "no automated is \"auto_reply\"", 5),
    ("language = [\"it\", \"en\"]", "language = [\"english\", \"it\"]", "no language is \"english\"", 5),
    ("language = [\"it\", \"en\"]", "language = [\"pt_BR\"]", "no language is \"pt_BR\"", 5),
    ("it = \"Ciao", "italiano = \"Ciao", "\"italiano\", so no answer is chosen", 10),
    ("max = -0.2", "max = -2", "no `sentiment` lies there", 5),
    ("max = -0.2", "min = 1.5", "no `sentiment` lies there", 5),
    ("intent = [\"complaint\"]", "intent = [\"complaint\"], annotation = { intent = [\"thanks\"] }", "never matches: what it asks of `intent`", 5),
    ("max = -0.2 }", "max = -0.2 }, annotation = { sentiment = { min = 0.1 } }", "never matches: what it asks of `sentiment`", 5),
    ("Hi {author}", "Hi {autor}", "`{autor}` would be sent as it stands", 10),
    ("Ciao {author}", "Ciao {nome} {}", "`{nome}` would be sent as it stands", 10),
    ("responsible = \"support\"\nwithin", "within", "`within`, `reply` and nobody responsible", 11),
    ("consulted = [\"logistics\"]", "consulted = [\"logistic\"]", "no team \"logistic\"", 7),
    ("within = \"2h\"", "within = \"2h\"\ninformed = [\"suport\"]", "no team \"suport\"", 9),
    ("to = \"support-lead\"", "to = \"boss\"", "no team \"boss\"", 9),
    ("review = [\"legal\"]", "review = [\"leagl\"]", "no team \"leagl\"", 10),
    ("after = \"1h\"", "after = \"0h\"", "not a duration", 9),
    ("within = \"2h\"", "within = \"99999d\"", "not a duration", 8),
    ("max = -0.2", "max = nan", "`max` is not a number", 5),
    ("max = -0.2", "max = -0.2, min = 0.5", "no number is over", 5),
    ("sentiment = { max = -0.2 }", "sentiment = { }", "says nothing", 5),
    ("sentiment = { max = -0.2 }", "sentiment = [\"bad\"]", "not a word", 5),
    ("intent = [\"complaint\"]", "intent = { max = 1 }", "is not a list", 5),
    ("intent = [\"complaint\"]", "annotation = { topic = [\"x\"] }", "no analyzer is named after `topic`", 5),
    ("it = \"Ciao {author}, ci dispiace.\"", "it = \"\"", "`text` has 0 bytes", 10),
    ("version", "versio", "the table has no key `versio`", 2),
    ("responsible = \"support\"", "responsible = \"suport\"", "no team \"suport\"", 6),
    ("within = \"2h\"", "within = \"2 hours\"", "not a duration", 8),
    ("mode = \"draft\"", "mode = \"send\"", "sent without them", 10),
    ("when = { intent = [\"thanks\", \"praise\"] }", "", "never reached", 17),
    ("[[row]]\nname = \"everything else\"\n", "", "last row has a `when`", 11),
    ("sentiment = { max", "sentimnt = { max", "no key `sentimnt`", 5),
    ("name = \"thanks\"", "name = \"complaint in public\"", "two rows", 11),
    ("visibility = [\"public\"]", "visibility = []", "empty list", 5),
    ("visibility = [\"public\"]", "channel = [\"acme-mast\"]", "no channel", 5),
];

#[test]
fn every_mistake_has_a_line_and_a_cure() {
    for (good, bad, message, line) in MISTAKES {
        assert!(TABLE.contains(good), "{good}");
        let config = serde_json::json!({ "table": TABLE.replace(good, bad) }).to_string();
        let findings = ImpactTable::validate(&config, &around());
        let found = findings.iter().find(|finding| finding.message.contains(message));
        let found = found.unwrap_or_else(|| panic!("{bad}: wanted `{message}`, got {findings:#?}"));
        assert_eq!((found.line, found.key.as_str(), found.cure.is_empty()), (line, "table_file", false), "{bad}: {findings:#?}");
    }
}

/// An earlier row's `when`, a later row's, and whether the later is never reached.
const REACH: [(&str, &str, bool); 10] = [
    ("kind = [\"post\", \"reply\"]", "kind = [\"reply\"]", true),
    ("kind = [\"reply\"]", "kind = [\"post\", \"reply\"]", false),
    ("kind = [\"reply\"]", "kind = [\"Reply\"], visibility = [\"public\"]", true),
    ("kind = [\"reply\"], visibility = [\"public\"]", "kind = [\"reply\"]", false),
    ("sentiment = { max = -0.2 }", "sentiment = { min = -1.0, max = -0.5 }", true),
    ("sentiment = { max = -0.5 }", "sentiment = { max = -0.2 }", false),
    ("sentiment = { max = -0.2 }", "sentiment = { min = -0.5 }", false),
    ("language = [\"en\"]", "language = [\"en-GB\"]", true),
    ("language = [\"en-GB\"]", "language = [\"en\"]", false),
    ("annotation = { intent = [\"thanks\"] }", "intent = [\"thanks\"]", true),
];

#[test]
fn a_row_that_an_earlier_one_covers_is_told() {
    for (earlier, later, is_covered) in REACH {
        let table = format!("[[row]]\nname = \"a\"\nwhen = {{ {earlier} }}\n[[row]]\nname = \"b\"\nwhen = {{ {later} }}\n[[row]]\nname = \"c\"\n");
        let findings = ImpactTable::validate(&serde_json::json!({ "table": table }).to_string(), &around());
        let told: Vec<u32> = findings.iter().filter(|finding| finding.message.contains("never reached")).map(|finding| finding.line).collect();
        assert_eq!(told, if is_covered { vec![4] } else { Vec::new() }, "{earlier} | {later}");
    }
}

/// Earlier rows' `when`, the last one's, and whether it is never reached.
const TOGETHER: [(&[&str], &str, bool); 9] = [
    (&["kind = [\"post\"]", "kind = [\"reply\"]"], "kind = [\"post\", \"reply\"]", true),
    (&["kind = [\"post\"]", "kind = [\"reply\"]"], "kind = [\"post\", \"mail\"]", false),
    (&["kind = [\"post\"]", "kind = [\"reply\"]"], "kind = [\"post\", \"reply\"], intent = [\"thanks\"]", true),
    (&["kind = [\"post\"], intent = [\"thanks\"]", "kind = [\"reply\"]"], "kind = [\"post\", \"reply\"]", false),
    (&["sentiment = { max = 0 }", "sentiment = { min = 0 }"], "sentiment = { min = -0.5, max = 0.5 }", true),
    (&["sentiment = { max = 0 }", "sentiment = { min = 0.1 }"], "sentiment = { min = -0.5, max = 0.5 }", false),
    (&["sentiment = { min = -1, max = 0 }", "sentiment = { min = 0, max = 1 }"], "sentiment = { min = -2 }", true),
    (&["sentiment = { max = 0.1 }", "sentiment = { min = 0.2 }"], "sentiment = { min = 0.1, max = 0.1 }", true),
    (&["annotation = { price = { max = 9 } }", "annotation = { price = { min = 9, max = 20 } }"], "annotation = { price = { min = 1 } }", false),
];

#[test]
fn a_row_that_earlier_ones_share_out_is_told() {
    for (earlier, last, is_covered) in TOGETHER {
        let rows: String =
            earlier.iter().chain([&last]).enumerate().map(|(n, when)| format!("[[row]]\nname = \"{n}\"\nwhen = {{ {when} }}\n")).collect();
        let told = errors(&format!("{rows}[[row]]\nname = \"rest\"\n"));
        assert_eq!(told.iter().any(|(_, message)| message.contains("\"2\" is never reached")), is_covered, "{earlier:?} | {last}: {told:?}");
    }
}

#[test]
fn rows_that_ask_the_same_and_have_events_in_common_are_named() {
    let said = |first: &str, second: &str| {
        let row = |name: &str, when: &str, team: &str| {
            format!("[[row]]\nname = \"{name}\"\nwhen = {{ {when} }}\nresponsible = \"{team}\"\nwithin = \"1h\"\n")
        };
        let table = format!("{}{}[[row]]\nname = \"rest\"\n", row("a", first, "support"), row("b", second, "legal"));
        let findings = ImpactTable::validate(&serde_json::json!({ "table": table }).to_string(), &around());
        findings.iter().filter(|finding| finding.message.contains("in common")).map(|finding| finding.severity).collect::<Vec<_>>()
    };
    assert_eq!(said("sentiment = { max = 0.2 }", "sentiment = { min = 0.1 }"), [Severity::Info]);
    assert_eq!(said("sentiment = { max = 0.2 }", "sentiment = { min = 0.3 }"), []);
    assert_eq!(
        said("intent = [\"thanks\"]", "visibility = [\"public\"]"),
        [],
        "rows that ask other questions always meet: that is what order is for"
    );
    assert_eq!(said("kind = [\"post\"]", "kind = [\"post\", \"reply\"]"), [], "an exception before the rule is meant");
}

fn errors(table: &str) -> Vec<(u32, String)> {
    let findings = ImpactTable::validate(&serde_json::json!({ "table": table }).to_string(), &around());
    findings.into_iter().filter(|finding| finding.severity == Severity::Error).map(|finding| (finding.line, finding.message)).collect()
}

#[test]
fn one_mistake_is_told_once() {
    for bad in ["sentimnt = { max = -0.2 }", "visibility = []", "annotation = 1", "sentiment = { max = nan }", "kind = { max = 1 }"] {
        let table =
            format!("[[row]]\nname = \"a\"\nwhen = {{ {bad} }}\n[[row]]\nname = \"b\"\nwhen = {{ kind = [\"post\"] }}\n[[row]]\nname = \"c\"\n");
        assert_eq!(errors(&table).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3], "{bad}: {:?}", errors(&table));
    }
    let last = errors("[[row]]\nname = \"a\"\nwhen = 1\n");
    assert_eq!(last.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3], "{last:?}");
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_lines() {
    let table = TABLE.replace("responsible", "responsable").replace("\"2h\"", "\"soon\"").replace("\"legal\"", "\"leagl\"");
    let lines: Vec<u32> = errors(&table).iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [3, 6, 8, 10, 11, 14]);
}

#[test]
fn broken_toml_is_told_everywhere_it_is_broken_and_nothing_is_guessed() {
    let told = errors("version = \n[[row]]\nname = \"a\nwhen = {}\n[[row]\nname = \"c\"\n");
    let lines: Vec<u32> = told.iter().map(|(line, _)| *line).collect();
    assert!(lines.len() >= 3 && lines.starts_with(&[1, 3]) && lines.contains(&5), "{told:?}");
    assert!(told.iter().all(|(_, message)| !message.contains("last row") && !message.contains("no row")), "{told:?}");
    assert_eq!(errors(""), [(1, "the table has no row".to_owned())]);
}

#[test]
fn nothing_outside_brings_the_rule_down() {
    let strange =
        ["\u{0}", "row = 1", "row = [1]", "[row]", "[[row]]", "[[row]]\nescalate = [1, {}]\nreply = 3\nname = 1\nwhen = 2", "a.b.c = 1", "[[row.x]]"];
    for table in strange {
        assert!(!errors(table).is_empty(), "{table}");
    }
    assert!(!errors(&"[".repeat(10_000)).is_empty());
    assert!(!errors(&format!("x = {}", "[".repeat(100_000))).is_empty());
    for config in ["", "null", "{}", "[]", "{\"table\":1}"] {
        assert_eq!(ImpactTable::validate(config, &around()).len(), 1, "{config}");
        testing::Host::with_config(config).install();
        assert!(matches!(ImpactTable::decide(&[event("thanks", 0.1)]), Err(Fault::Config(_))), "{config}");
    }
}

#[test]
fn a_table_has_at_most_a_thousand_rows_and_findings() {
    let rows =
        |n: usize| (0..n).map(|n| format!("[[row]]\nname = \"{n}\"\nwhen = {{ kind = [\"{n}\"] }}\nresponsible = \"nobody\"\n")).collect::<String>();
    assert!(errors(&rows(1001)).iter().any(|(line, message)| *line == 1 && message == "1001 rows"));
    let config = serde_json::json!({ "table": rows(1000) }).to_string();
    let findings = ImpactTable::validate(&config, &around());
    assert_eq!(findings.len(), 1000);
    assert!(findings.iter().all(|finding| finding.severity == Severity::Error), "a cut keeps the errors");
}
