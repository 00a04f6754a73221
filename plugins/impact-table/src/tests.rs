//! Rows, reasons and mistakes, as an admin would meet them.

use membrana_sdk::rule::{Event, Exchange, Interaction};
use membrana_sdk::{Annotation, Rule as _, Surroundings, Value, testing};

use crate::ImpactTable;

const TABLE: &str = r#"
version = "2026-11"
[[row]]
name = "complaint in public"
when = { intent = ["complaint"], sentiment = { max = -0.2 }, visibility = ["public"], language = ["it", "en"] }
responsible = "support"
consulted = ["logistics"]
within = "2h"
escalate = [{ after = "1h", to = "support-lead" }]
reply = { mode = "draft", review = ["legal"], text = { it = "Ciao {author}, ci dispiace.", en = "Hi {author}, we are sorry." } }
[[row]]
name = "thanks"
when = { intent = ["thanks", "praise"] }
reply = { mode = "send", text = { en = "Thank you!" } }
[[row]]
name = "everything else"
"#;

fn around() -> Surroundings {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Surroundings {
        teams: list(&["support", "support-lead", "logistics", "legal"]),
        channels: list(&["acme-masto"]),
        analyzers: list(&["language", "intent", "sentiment"]),
        calendars: Vec::new(),
    }
}

fn event(intent: &str, sentiment: f64) -> Event {
    let said = |key: &str, value| Annotation { key: key.to_owned(), value, confidence: None };
    Event {
        kind: "interaction.arrived".to_owned(),
        at: 1,
        interaction: Some(Interaction {
            id: "1".to_owned(),
            channel: "acme-masto".to_owned(),
            kind: "mention".to_owned(),
            visibility: "public".to_owned(),
            subject: None,
            text: "…".to_owned(),
            language: None,
            automated: "no".to_owned(),
            identity: String::new(),
            author_name: Some("An\nna".to_owned()),
            author_metrics: Vec::new(),
            place: None,
            occurred: 1,
            received: 1,
            backfill: false,
            attrs: Vec::new(),
            annotations: vec![
                said("intent", Value::Text(intent.to_owned())),
                said("sentiment", Value::Number(sentiment)),
                said("language", Value::Text("it-IT".to_owned())),
            ],
            missing: Vec::new(),
        }),
        done: Vec::new(),
        capabilities: "{}".to_owned(),
        exchange: Some(Exchange { version: 1, automatic_replies_last_hour: 0 }),
        conversation: None,
        person: None,
        body: "{}".to_owned(),
    }
}

fn decide(event: Event) -> membrana_sdk::rule::Decision {
    testing::Host::with_config(serde_json::json!({ "table": TABLE }).to_string()).install();
    ImpactTable::decide(&[event]).unwrap().remove(0)
}

#[test]
fn the_first_matching_row_decides_and_says_why() {
    let decision = decide(event("complaint", -0.78));
    assert_eq!(decision.row.as_deref(), Some("complaint in public"));
    assert!(decision.reasons.contains(&"intent is complaint".to_owned()), "{:?}", decision.reasons);
    assert!(decision.reasons.contains(&"sentiment -0.78 is not over -0.2".to_owned()), "{:?}", decision.reasons);
    let bodies: Vec<serde_json::Value> = decision.actions.iter().map(|action| serde_json::from_str(&action.body).unwrap()).collect();
    assert_eq!(bodies[0]["within_ms"], 7_200_000);
    assert_eq!(bodies[0]["escalate"][0]["to"], "support-lead");
    assert_eq!(bodies[1]["text"], "Ciao Anna, ci dispiace.");
    assert_eq!((bodies[1]["mode"].as_str(), bodies[1]["review"][0].as_str()), (Some("draft"), Some("legal")));
}

#[test]
fn what_no_row_names_falls_to_the_last() {
    let decision = decide(event("question", 0.1));
    assert_eq!((decision.row.as_deref(), decision.actions.len()), (Some("everything else"), 0));
}

#[test]
fn a_missing_analyzer_is_named_in_the_reasons() {
    let mut silent = event("complaint", -0.78);
    if let Some(about) = silent.interaction.as_mut() {
        about.annotations.retain(|said| said.key != "sentiment");
        about.missing.push("sentiment".to_owned());
    }
    let decision = decide(silent);
    assert_eq!(decision.row.as_deref(), Some("everything else"));
    assert!(decision.reasons.iter().any(|reason| reason.contains("sentiment did not answer")), "{:?}", decision.reasons);
}

#[test]
fn machines_own_answers_and_floods_get_no_automatic_reply() {
    let mut machine = event("thanks", 0.5);
    machine.interaction.as_mut().unwrap().automated = "auto-reply".to_owned();
    assert!(decide(machine).actions.is_empty());

    let mut own = event("thanks", 0.5);
    (own.kind, own.body) = ("exchange.moved".to_owned(), r#"{"by":"own"}"#.to_owned());
    assert!(decide(own).actions.is_empty());

    let mut flood = event("thanks", 0.5);
    flood.exchange = Some(Exchange { version: 9, automatic_replies_last_hour: 3 });
    assert!(decide(flood).actions[0].body.contains("draft"));
}

#[test]
fn history_and_deletions_ask_for_nothing() {
    let mut old = event("complaint", -0.9);
    old.interaction.as_mut().unwrap().backfill = true;
    assert!(decide(old).actions.is_empty());
    let mut gone = event("complaint", -0.9);
    gone.kind = "interaction.gone".to_owned();
    assert!(decide(gone).actions.is_empty());
}

#[test]
fn a_good_table_only_says_which_rows_count() {
    let config = serde_json::json!({ "table": TABLE }).to_string();
    let findings = ImpactTable::validate(&config, &around());
    let words: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(words, ["row \"everything else\" only counts"]);
}

/// A change of the good table, a part of what is said, and its line.
const MISTAKES: [(&str, &str, &str, u32); 9] = [
    ("responsible = \"support\"", "responsible = \"suport\"", "no team \"suport\"", 6),
    ("within = \"2h\"", "within = \"2 hours\"", "not a duration", 8),
    ("mode = \"draft\"", "mode = \"send\"", "sent without them", 10),
    ("when = { intent = [\"thanks\", \"praise\"] }", "", "never reached", 15),
    ("[[row]]\nname = \"everything else\"\n", "", "last row has a `when`", 11),
    ("sentiment = { max", "sentimnt = { max", "no key `sentimnt`", 5),
    ("name = \"thanks\"", "name = \"complaint in public\"", "two rows", 11),
    ("visibility = [\"public\"]", "visibility = []", "empty list", 5),
    ("visibility = [\"public\"]", "channel = [\"acme-mast\"]", "no channel", 5),
];

#[test]
fn every_mistake_has_a_line_and_a_cure() {
    for (good, bad, message, line) in MISTAKES {
        let config = serde_json::json!({ "table": TABLE.replace(good, bad) }).to_string();
        let findings = ImpactTable::validate(&config, &around());
        let found = findings.iter().find(|finding| finding.message.contains(message));
        let found = found.unwrap_or_else(|| panic!("{bad}: wanted `{message}`, got {findings:#?}"));
        assert_eq!((found.line, found.key.as_str(), found.cure.is_empty()), (line, "table_file", false), "{bad}: {findings:#?}");
    }
}
