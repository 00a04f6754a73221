//! Rows and reasons, as an admin would meet them.

use membrana_sdk::rule::{Decision, Event, Exchange, Interaction};
use membrana_sdk::{Annotation, Rule as _, Surroundings, Value, testing};

use crate::ImpactTable;

mod validate;

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
responsible = "support"
within = "1d"
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
            author_handle: None,
            author_metrics: Vec::new(),
            side: None,
            campaign: None,
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

fn decide(event: Event) -> Decision {
    decide_by(TABLE, event)
}

fn decide_by(table: &str, event: Event) -> Decision {
    testing::Host::with_config(serde_json::json!({ "table": table }).to_string()).install();
    ImpactTable::decide(&[event]).unwrap().remove(0)
}

fn keys(decision: &Decision) -> Vec<&str> {
    decision.actions.iter().map(|action| action.key.as_str()).collect()
}

#[test]
fn the_first_matching_row_decides_and_says_why() {
    let decision = decide(event("complaint", -0.78));
    assert_eq!(decision.row.as_deref(), Some("complaint in public"));
    assert!(decision.reasons.contains(&"intent is complaint".to_owned()), "{:?}", decision.reasons);
    assert!(decision.reasons.contains(&"sentiment -0.78 is under -0.2".to_owned()), "{:?}", decision.reasons);
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
    assert_eq!(keys(&decision), ["assign"], "a failed analyzer hides no complaint, and answers none");
    assert!(decision.actions[0].body.contains(r#""team":"support""#) && decision.actions[0].body.contains("7200000"));
    assert!(decision.reasons.iter().any(|reason| reason.contains("might have matched")), "{:?}", decision.reasons);
}

#[test]
fn machines_own_answers_and_floods_get_no_automatic_reply() {
    let mut machine = event("thanks", 0.5);
    machine.interaction.as_mut().unwrap().automated = "auto-reply".to_owned();
    assert_eq!(keys(&decide(machine)), ["assign"]);

    for kind in ["exchange.moved", "annotation.late", "interaction.arrived"] {
        let mut own = event("thanks", 0.5);
        (own.kind, own.body) = (kind.to_owned(), r#"{"by":"own"}"#.to_owned());
        assert_eq!(keys(&decide(own)), ["assign"], "{kind}");
    }

    let mut author = event("thanks", 0.5);
    (author.kind, author.body) = ("exchange.moved".to_owned(), r#"{"by":"author"}"#.to_owned());
    assert_eq!(keys(&decide(author)), ["assign", "reply"]);

    let mut flood = event("thanks", 0.5);
    flood.exchange = Some(Exchange { version: 9, automatic_replies_last_hour: 3 });
    let capped = decide(flood);
    assert!(capped.actions[1].body.contains("draft"));
    assert!(capped.reasons.iter().any(|reason| reason.contains("waits for a person")), "{:?}", capped.reasons);
}

#[test]
fn an_account_is_known_by_its_handle_and_not_by_the_name_that_it_took() {
    let table =
        TABLE.replacen("[[row]]", "[[row]]\nname = \"vip\"\nwhen = { author = [\"@Boss@acme.example\"] }\nresponsible = \"support\"\n[[row]]", 1);
    for (handle, name, is_vip) in [
        (Some("@boss@acme.example"), "Anna", true),
        (Some("boss@acme.example"), "Anna", true),
        (Some("@eve@evil.example"), "@Boss@acme.example", false),
        (None, "@boss@acme.example", true),
    ] {
        let mut event = event("thanks", 0.5);
        let about = event.interaction.as_mut().unwrap();
        (about.author_handle, about.author_name) = (handle.map(str::to_owned), Some(name.to_owned()));
        let row = decide_by(&table, event).row;
        assert_eq!(row.as_deref() == Some("vip"), is_vip, "{handle:?} {name}");
    }
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
fn facts_that_need_no_decision_get_none() {
    for kind in ["interaction.gone", "action.settled", "task.done", "something.new"] {
        let mut fact = event("complaint", -0.9);
        fact.kind = kind.to_owned();
        let decision = decide(fact);
        assert_eq!((decision.row, decision.actions.len(), decision.reasons.len()), (None, 0, 1), "{kind}");
    }
}

/// A `when`, whether the usual event matches it, and what the decision says of it.
const PREDICATES: [(&str, bool, &str); 22] = [
    ("intent = [\"question\", \"complaint\"]", true, "intent is complaint"),
    ("intent = [\"question\"]", false, ""),
    ("sentiment = { max = -0.78 }", true, "sentiment -0.78 is at -0.78"),
    ("sentiment = { max = -0.79 }", false, ""),
    ("sentiment = { min = -1, max = 0 }", true, "sentiment -0.78 is between -1 and 0"),
    ("sentiment = { min = -0.9 }", true, "sentiment -0.78 is over -0.9"),
    ("channel = [\"acme-masto\"]", true, "channel is acme-masto"),
    ("kind = [\"post\"]", false, ""),
    ("kind = \"mention\"", true, "kind is mention"),
    ("visibility = [\"public\"]", true, "visibility is public"),
    ("language = [\"it\"]", true, "language is it-IT"),
    ("language = [\"i\"]", false, ""),
    ("automated = [\"no\"]", true, "automated is no"),
    ("side = [\"outside\"]", true, "side is outside"),
    ("side = [\"inside\"]", false, ""),
    ("author = [\"AN\\nNA\"]", true, "the author is named in the row"),
    ("author = [\"bob\"]", false, ""),
    ("annotation = { urgent = [\"true\"] }", true, "urgent is true"),
    ("annotation = { toxicity = { max = 0.5 } }", true, "toxicity 0.25 is under 0.5"),
    ("annotation = { toxicity = [\"0.25\"] }", false, ""),
    ("annotation = { broken = { max = 1 } }", false, ""),
    ("annotation = { topic = [\"billing\"] }", false, ""),
];

#[test]
fn each_predicate_matches_what_it_says_and_gives_its_reason() {
    for (when, is_match, reason) in PREDICATES {
        let table = format!("[[row]]\nname = \"x\"\nwhen = {{ {when} }}\n[[row]]\nname = \"rest\"\n");
        let mut event = event("complaint", -0.78);
        let said = |key: &str, value| Annotation { key: key.to_owned(), value, confidence: None };
        let more = [said("urgent", Value::Boolean(true)), said("toxicity", Value::Number(0.25)), said("broken", Value::Number(f64::NAN))];
        event.interaction.as_mut().unwrap().annotations.extend(more);
        let decision = decide_by(&table, event);
        assert_eq!(decision.row.as_deref(), Some(if is_match { "x" } else { "rest" }), "{when}");
        assert!(reason.is_empty() || decision.reasons == [reason], "{when}: {:?}", decision.reasons);
    }
}

#[test]
fn a_doubt_is_told_only_where_nothing_else_kept_the_row_from_matching() {
    let mut quiet = event("complaint", -0.78);
    let about = quiet.interaction.as_mut().unwrap();
    about.annotations.retain(|said| said.key != "sentiment");
    about.missing = vec!["sentiment".to_owned(), "intent".to_owned()];
    about.visibility = "direct".to_owned();
    assert_eq!(decide(quiet.clone()).reasons, ["this row matches everything"]);

    quiet.interaction.as_mut().unwrap().visibility = "public".to_owned();
    let looked_at = "row \"complaint in public\" might have matched and nobody else is responsible: support looks at it";
    let said = "row \"complaint in public\" passed over: no `sentiment`, for sentiment did not answer";
    assert_eq!(decide(quiet.clone()).reasons, ["this row matches everything", looked_at, said]);

    quiet.interaction.as_mut().unwrap().backfill = true;
    assert_eq!(keys(&decide(quiet.clone())), [""; 0], "history opens no task");
    let about = quiet.interaction.as_mut().unwrap();
    about.backfill = false;
    about.annotations.iter_mut().filter(|said| said.key == "intent").for_each(|said| said.value = Value::Text("thanks".to_owned()));
    assert_eq!(keys(&decide(quiet)), ["assign", "reply"], "a row that has somebody stands for itself");
}

#[test]
fn what_may_be_a_complaint_is_not_answered_by_another_row_without_a_person() {
    let table = "version = \"1\"\n[[row]]\nname = \"complaint\"\nwhen = { intent = [\"complaint\"] }\nresponsible = \"support\"\n[[row]]\nname = \"rest\"\nresponsible = \"support\"\nreply = { mode = \"send\", text = { en = \"Thank you!\" } }\n";
    let mut unheard = event("complaint", -0.9);
    let about = unheard.interaction.as_mut().unwrap();
    about.annotations.retain(|said| said.key != "intent");
    assert!(decide_by(table, unheard.clone()).actions[1].body.contains(r#""mode":"send""#), "nobody was to say it");

    unheard.interaction.as_mut().unwrap().missing = vec!["intent".to_owned()];
    let decision = decide_by(table, unheard);
    assert!(decision.actions[1].body.contains(r#""mode":"draft""#), "{decision:?}");
    assert!(decision.reasons.iter().any(|why| why.contains("\"complaint\" might have matched")), "{decision:?}");
}

#[test]
fn what_may_be_spam_is_not_answered_without_a_person_and_is_nobody_s_task() {
    let spam = "version = \"1\"\n[[row]]\nname = \"spam\"\nwhen = { intent = [\"spam\"] }\n";
    let welcome = "[[row]]\nname = \"welcome\"\nresponsible = \"support\"\nreply = { mode = \"send\", text = { en = \"Welcome!\" } }\n";
    let mut unheard = event("spam", 0.0);
    let about = unheard.interaction.as_mut().unwrap();
    about.annotations.retain(|said| said.key != "intent");
    about.missing = vec!["intent".to_owned()];

    let decision = decide_by(&format!("{spam}{welcome}"), unheard.clone());
    assert!(decision.actions[1].body.contains(r#""mode":"draft""#), "{decision:?}");
    assert!(decision.reasons.iter().any(|why| why.contains("\"spam\" might have matched")), "{decision:?}");

    let complaint = "[[row]]\nname = \"complaint\"\nwhen = { intent = [\"complaint\"] }\nresponsible = \"legal\"\n";
    let rest = "[[row]]\nname = \"rest\"\n";
    assert_eq!(keys(&decide_by(&format!("{spam}{rest}"), unheard.clone())), [""; 0]);
    assert!(decide_by(&format!("{spam}{complaint}{rest}"), unheard).actions[0].body.contains("legal"), "it stands in for the row that has somebody");
}

#[test]
fn where_there_is_no_reply_none_is_said_to_wait_for_a_person() {
    // `validate` refuses such a table; a decision must not depend on that.
    let table = "[[row]]\nname = \"complaint\"\nwhen = { intent = [\"complaint\"] }\nresponsible = \"support\"\n[[row]]\nname = \"rest\"\nresponsible = \"support\"\nreply = { mode = \"send\", text = {} }\n";
    let mut unheard = event("complaint", -0.9);
    unheard.exchange = Some(Exchange { version: 9, automatic_replies_last_hour: 3 });
    let about = unheard.interaction.as_mut().unwrap();
    about.annotations.retain(|said| said.key != "intent");
    about.missing = vec!["intent".to_owned()];
    let decision = crate::decide::decision(&crate::table::read(table).0, &unheard);
    assert_eq!(keys(&decision), ["assign"]);
    assert!(decision.reasons.iter().all(|why| !why.contains("waits for a person")), "{decision:?}");
}

#[test]
fn a_reply_that_names_reviewers_is_never_sent_without_them() {
    // `validate` refuses such a table; a decision must not depend on that.
    let table = TABLE.replace("mode = \"draft\"", "mode = \"send\"");
    assert!(decide_by(&table, event("complaint", -0.9)).actions[1].body.contains(r#""mode":"draft""#));
}

#[test]
fn why_a_row_matched_comes_before_the_doubts_and_they_are_bounded() {
    let rows: String = (0..100).map(|n| format!("[[row]]\nname = \"{n}\"\nwhen = {{ annotation = {{ topic = [\"{n}\"] }} }}\n")).collect();
    let mut quiet = event("complaint", -0.78);
    quiet.interaction.as_mut().unwrap().missing = vec!["topics".to_owned()];
    let decision = decide_by(&format!("{rows}[[row]]\nname = \"rest\"\n"), quiet);
    assert_eq!(decision.reasons.first().map(String::as_str), Some("this row matches everything"));
    assert_eq!(decision.reasons.len(), 9);
}

/// The item's language, and the words of the reply.
const LANGUAGES: [(Option<&str>, &str); 7] = [
    (Some("it"), "Ciao"),
    (Some("it-CH"), "Ciao"),
    (Some("PT-br"), "Oi"),
    (Some("pt"), "Oi"),
    (Some("pt-PT"), "Oi"),
    (Some("de"), "Hi"),
    (None, "Hi"),
];

#[test]
fn a_reply_speaks_the_language_of_the_item_else_english() {
    let texts = "{ it = \"Ciao\", en = \"Hi\", pt-BR = \"Oi\" }";
    let table = format!("[[row]]\nname = \"x\"\nresponsible = \"support\"\nreply = {{ mode = \"send\", text = {texts} }}\n");
    for (language, words) in LANGUAGES {
        let mut event = event("thanks", 0.5);
        let about = event.interaction.as_mut().unwrap();
        about.annotations.clear();
        about.language = language.map(str::to_owned);
        let body: serde_json::Value = serde_json::from_str(&decide_by(&table, event).actions[1].body).unwrap();
        assert_eq!(body["text"], words, "{language:?}");
    }
}

/// An author's name, a subject, and the reply to them.
const FILLED: [(Option<&str>, Option<&str>, &str); 5] = [
    (Some("Anna"), Some("Late"), "Hi Anna, about Late on acme-masto {x} {"),
    (None, None, "Hi, about on acme-masto {x} {"),
    (Some("{subject}"), Some("{author}{channel}"), "Hi {subject}, about {author}{channel} on acme-masto {x} {"),
    (Some("A\u{202e}n\u{0}na\r\nBcc: x"), Some("\u{200b}"), "Hi AnnaBcc: x, about on acme-masto {x} {"),
    (Some("👩‍🚒 Zoë"), Some("…"), "Hi 👩‍🚒 Zoë, about … on acme-masto {x} {"),
];

#[test]
fn places_are_filled_once_with_tamed_values() {
    let text = "Hi {author}, about {subject} on {channel} {x} {";
    let table = format!("[[row]]\nname = \"x\"\nresponsible = \"support\"\nreply = {{ mode = \"send\", text = \"{text}\" }}\n");
    for (author, subject, wanted) in FILLED {
        let mut event = event("thanks", 0.5);
        let about = event.interaction.as_mut().unwrap();
        (about.author_name, about.subject) = (author.map(str::to_owned), subject.map(str::to_owned));
        let body: serde_json::Value = serde_json::from_str(&decide_by(&table, event).actions[1].body).unwrap();
        assert_eq!(body["text"], wanted);
    }
}

/// What a stranger is called, and what of it stands in a reply; `~` is the word joiner.
const OBEYED: [(&str, &str); 9] = [
    ("@tips@news.example", "@~tips@~news.~example"),
    ("Eve \u{FF20}boss \u{FF03}ad #ad $ACME", "Eve \u{FF20}~boss \u{FF03}~ad #~ad $~ACME"),
    ("Eve @", "Eve @~"),
    ("[Gratis](https://evil.example)", "Gratis(https:~/~/~evil.~example)"),
    ("Eve evil.example www.evil.example", "Eve evil.~example www.~evil.~example"),
    ("evil.[x](y)com", "evil.~x(y)com"),
    ("<img src=x> **Eve** `x` \\", "img src=x Eve x "),
    ("&#64;tips &commat;tips", "&~#~64;tips &~commat;tips"),
    ("Re: Mr. J. Smith & Co, 12.50", "Re: Mr. J. Smith & Co, 12.50"),
];

#[test]
fn a_stranger_s_name_is_obeyed_by_no_network() {
    for place in ["author", "subject"] {
        let table = format!("[[row]]\nname = \"x\"\nresponsible = \"support\"\nreply = {{ mode = \"send\", text = \"{{{place}}}\" }}\n");
        for (value, wanted) in OBEYED {
            let mut event = event("thanks", 0.5);
            let about = event.interaction.as_mut().unwrap();
            (about.author_name, about.subject) = (Some(value.to_owned()), Some(value.to_owned()));
            let body: serde_json::Value = serde_json::from_str(&decide_by(&table, event).actions[1].body).unwrap();
            assert_eq!(body["text"].as_str().map(|text| text.replace('\u{2060}', "~")).as_deref(), Some(wanted), "{place}");
        }
    }
}

#[test]
fn no_reply_outgrows_an_action_s_body() {
    let text = "{author}".repeat(1000);
    let table = format!("[[row]]\nname = \"x\"\nresponsible = \"support\"\nreply = {{ mode = \"send\", text = \"{text}\" }}\n");
    let mut event = event("thanks", 0.5);
    event.interaction.as_mut().unwrap().author_name = Some("🦀".repeat(500));
    assert!(decide_by(&table, event).actions[1].body.len() < 64 << 10);
}

#[test]
fn bodies_have_exactly_the_host_s_keys() {
    let decision = decide_by(&TABLE.replace("consulted =", "note = \"look\"\nconsulted ="), event("complaint", -0.9));
    let keys_of = |body: &str| serde_json::from_str::<serde_json::Map<_, _>>(body).unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let bodies: Vec<(&str, String)> = decision.actions.iter().map(|action| (action.key.as_str(), keys_of(&action.body))).collect();
    let wanted = [("assign", "consulted escalate informed note team within_ms"), ("reply", "language mode review text"), ("note:1", "text")];
    assert_eq!(bodies, wanted.map(|(key, keys)| (key, keys.to_owned())));
}

#[test]
fn the_same_events_bring_the_same_decisions() {
    let events: Vec<Event> = ["complaint", "thanks", "question"].iter().map(|intent| event(intent, -0.5)).collect();
    testing::Host::with_config(serde_json::json!({ "table": TABLE }).to_string()).install();
    let first = format!("{:?}", ImpactTable::decide(&events).unwrap());
    for _ in 0..3 {
        assert_eq!(format!("{:?}", ImpactTable::decide(&events).unwrap()), first);
    }
}

#[test]
fn a_changed_table_is_in_force_at_once() {
    assert_eq!(decide(event("thanks", 0.5)).row.as_deref(), Some("thanks"));
    assert_eq!(decide_by("[[row]]\nname = \"all\"\n", event("thanks", 0.5)).row.as_deref(), Some("all"));
}
