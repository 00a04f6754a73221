//! One event against the table: the first row that matches, why, and what follows.

use membrana_sdk::rule::{Action, Decision, Event, Interaction};
use membrana_sdk::{Annotation, Value};
use serde_json::{Value as Json, json};

use crate::table::{Predicate, Reply, Row, Table, Test};

/// More automatic replies to one person in one conversation within an hour wait for a person.
const AUTOMATIC_REPLIES_MAX: u32 = 3;
/// A value put into a reply's text. Units: characters.
const VALUE_MAX: usize = 80;

/// What the table says of an event.
pub(crate) fn decision(table: &Table, event: &Event) -> Decision {
    let Some(about) = &event.interaction else { return silent("the event is about no interaction") };
    match event.kind.as_str() {
        "interaction.arrived" | "interaction.edited" | "annotation.late" | "exchange.moved" => {}
        "interaction.gone" => return silent("it was taken back: nothing is left to do"),
        other => return silent(&format!("{other} needs no decision")),
    }
    let mut reasons = Vec::new();
    for row in &table.rows {
        match matched(row, about) {
            Ok(why) => {
                reasons.extend(why);
                return act(row, event, about, reasons);
            }
            Err(Some(doubt)) => reasons.push(format!("row \"{}\" passed over: {doubt}", row.name)),
            Err(None) => {}
        }
    }
    reasons.push("no row matches".to_owned());
    Decision { actions: Vec::new(), row: None, reasons }
}

fn silent(why: &str) -> Decision {
    Decision { actions: Vec::new(), row: None, reasons: vec![why.to_owned()] }
}

/// Why a row matches; else the doubt that kept it from matching, where that is worth saying.
fn matched(row: &Row, about: &Interaction) -> Result<Vec<String>, Option<String>> {
    let mut reasons = Vec::new();
    for predicate in row.when.iter().flatten() {
        reasons.push(holds(predicate, about)?);
    }
    if reasons.is_empty() {
        reasons.push("this row matches everything".to_owned());
    }
    Ok(reasons)
}

fn holds(predicate: &Predicate, about: &Interaction) -> Result<String, Option<String>> {
    let key = predicate.key.as_str();
    match &predicate.test {
        Test::Any(wanted) => {
            let found = text_of(predicate, about).ok_or_else(|| doubt(predicate, about))?;
            let is_one = wanted.iter().any(|one| same(key, one, &found));
            if is_one { Ok(format!("{key} is {found}")) } else { Err(None) }
        }
        Test::Range(min, max) => {
            let found = number_of(about, key).ok_or_else(|| doubt(predicate, about))?;
            if found < *min || found > *max {
                return Err(None);
            }
            Ok(match (min.is_finite(), max.is_finite()) {
                (false, true) => format!("{key} {found:.2} is not over {max}"),
                (true, false) => format!("{key} {found:.2} is not under {min}"),
                _ => format!("{key} {found:.2} is between {min} and {max}"),
            })
        }
    }
}

/// An analyzer that did not answer is worth a word: the row might have matched.
fn doubt(predicate: &Predicate, about: &Interaction) -> Option<String> {
    (predicate.is_annotation && !about.missing.is_empty()).then(|| format!("no `{}`, for {} did not answer", predicate.key, about.missing.join(", ")))
}

/// `en` holds `en-GB`.
fn same(key: &str, wanted: &str, found: &str) -> bool {
    let is_sub = key == "language" && found.get(..wanted.len()).is_some_and(|head| head.eq_ignore_ascii_case(wanted)) && found.as_bytes().get(wanted.len()) == Some(&b'-');
    is_sub || wanted.eq_ignore_ascii_case(found)
}

fn text_of(predicate: &Predicate, about: &Interaction) -> Option<String> {
    match predicate.key.as_str() {
        "channel" if !predicate.is_annotation => Some(about.channel.clone()),
        "kind" if !predicate.is_annotation => Some(about.kind.clone()),
        "visibility" if !predicate.is_annotation => Some(about.visibility.clone()),
        "automated" if !predicate.is_annotation => Some(about.automated.clone()),
        "language" => language_of(about),
        key => annotation(about, key).and_then(|said| match &said.value {
            Value::Text(text) => Some(text.clone()),
            Value::Boolean(flag) => Some(flag.to_string()),
            Value::Number(_) | Value::Json(_) => None,
        }),
    }
}

fn annotation<'a>(about: &'a Interaction, key: &str) -> Option<&'a Annotation> {
    about.annotations.iter().find(|said| said.key == key)
}

fn number_of(about: &Interaction, key: &str) -> Option<f64> {
    match annotation(about, key)?.value {
        Value::Number(number) => Some(number),
        _ => None,
    }
}

/// As declared, else as told by an analyzer.
fn language_of(about: &Interaction) -> Option<String> {
    let told = || annotation(about, "language").and_then(|said| if let Value::Text(text) = &said.value { Some(text.clone()) } else { None });
    about.language.clone().or_else(told)
}

fn act(row: &Row, event: &Event, about: &Interaction, mut reasons: Vec<String>) -> Decision {
    let mut actions = Vec::new();
    if about.backfill {
        reasons.push("from before the channel was enabled: it only counts".to_owned());
        return Decision { actions, row: Some(row.name.clone()), reasons };
    }
    if let Some(responsible) = &row.responsible {
        let names = |list: &[crate::table::Named]| list.iter().map(|named| named.name.clone()).collect::<Vec<_>>();
        let body = json!({
            "team": responsible.name,
            "within_ms": row.within_ms,
            "consulted": names(&row.consulted),
            "informed": names(&row.informed),
            "escalate": row.escalate.iter().map(|(after, to)| json!({ "after_ms": after, "to": to.name })).collect::<Vec<_>>(),
            "note": Json::Null,
        });
        actions.push(Action { key: "assign".to_owned(), kind: "assign".to_owned(), body: body.to_string() });
    }
    if let Some(reply) = &row.reply {
        actions.extend(answer(reply, event, about, &mut reasons));
    }
    if let Some(note) = &row.note {
        actions.push(Action { key: "note:1".to_owned(), kind: "note".to_owned(), body: json!({ "text": note }).to_string() });
    }
    Decision { actions, row: Some(row.name.clone()), reasons }
}

fn answer(reply: &Reply, event: &Event, about: &Interaction, reasons: &mut Vec<String>) -> Option<Action> {
    if about.automated != "no" {
        reasons.push(format!("no reply: a machine wrote it ({})", about.automated));
        return None;
    }
    let moved: Json = serde_json::from_str(&event.body).unwrap_or_default();
    if event.kind == "exchange.moved" && moved.get("by").and_then(Json::as_str) == Some("own") {
        reasons.push("no reply: somebody of ours answered".to_owned());
        return None;
    }
    let recent = event.exchange.as_ref().map_or(0, |exchange| exchange.automatic_replies_last_hour);
    let is_capped = reply.is_sent && recent >= AUTOMATIC_REPLIES_MAX;
    if is_capped {
        reasons.push(format!("{recent} automatic replies in the last hour: this one waits for a person"));
    }
    let (language, text) = in_language(reply, language_of(about).as_deref())?;
    let body = json!({
        "mode": if reply.is_sent && !is_capped { "send" } else { "draft" },
        "review": reply.review.iter().map(|team| team.name.clone()).collect::<Vec<_>>(),
        "text": filled(text, about),
        "language": language,
    });
    Some(Action { key: "reply".to_owned(), kind: "reply".to_owned(), body: body.to_string() })
}

/// The text in this language, in its main language, in English, or the first.
fn in_language<'r>(reply: &'r Reply, language: Option<&str>) -> Option<(&'r str, &'r str)> {
    let wanted = language.unwrap_or("en").to_lowercase();
    let main = wanted.split('-').next().unwrap_or_default().to_owned();
    let find = |tag: &str| reply.text.iter().find(|(of, _)| of == tag);
    let found = find(&wanted).or_else(|| find(&main)).or_else(|| find("en")).or_else(|| reply.text.first())?;
    Some((&found.0, &found.1))
}

fn filled(text: &str, about: &Interaction) -> String {
    let clean = |value: &str| value.chars().filter(|c| !c.is_control()).take(VALUE_MAX).collect::<String>();
    let author = about.author_name.as_deref().map(clean).unwrap_or_default();
    let filled = text.replace("{subject}", &clean(about.subject.as_deref().unwrap_or_default())).replace("{channel}", &about.channel);
    // A name that is not known leaves no gap behind: "Hi {author}," becomes "Hi,".
    if author.trim().is_empty() { filled.replace(" {author}", "").replace("{author}", "") } else { filled.replace("{author}", author.trim()) }
}
