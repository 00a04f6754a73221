//! One event against the table: the first row that matches, why, and what follows.

use membrana_sdk::rule::{Action, Decision, Event, Interaction};
use membrana_sdk::{Annotation, Value};
use serde::Serialize;
use serde_json::Value as Json;

use crate::bodies::{AssignBody, NoteBody, ReplyBody, names};
use crate::table::{Predicate, Reply, Row, Table, Test};
use crate::words::is_same;

/// More automatic replies to one person in one conversation within an hour wait for a person.
const AUTOMATIC_REPLIES_MAX: u32 = 3;
/// A value put into a reply's text. Units: characters.
const VALUE_MAX: usize = 80;
/// A filled text takes no further values beyond this. Units: bytes.
const FILLED_MAX: usize = 9_000;
/// U+2060, as wide as nothing.
const JOINER: char = '\u{2060}';
/// Rows passed over for want of an annotation that one decision names; the host keeps 32 reasons.
const DOUBTS_MAX: usize = 8;

/// What the table says of an event.
pub(crate) fn decision(table: &Table, event: &Event) -> Decision {
    let Some(about) = &event.interaction else { return silent("the event is about no interaction") };
    match event.kind.as_str() {
        "interaction.arrived" | "interaction.edited" | "annotation.late" | "exchange.moved" => {}
        "interaction.gone" => return silent("it was taken back: nothing is left to do"),
        other => return silent(&format!("{other} needs no decision")),
    }
    let (mut doubts, mut in_doubt) = (Vec::new(), Vec::new());
    for row in &table.rows {
        match verdict(row, about) {
            Verdict::Matches => {
                let mut decision = act(row, event, about, in_doubt.first().copied());
                if row.responsible.is_none() && !about.backfill {
                    stand_in(&mut decision, &in_doubt);
                }
                decision.reasons.extend(doubts);
                return decision;
            }
            Verdict::Unknown(predicate) => {
                in_doubt.push(row);
                if doubts.len() < DOUBTS_MAX {
                    doubts.push(doubt(row, predicate, about));
                }
            }
            Verdict::Differs => {}
        }
    }
    let mut decision = silent("no row matches");
    decision.reasons.extend(doubts);
    decision
}

/// An analyzer that fails must not hide a complaint: where the row that matches would only count, the first with somebody responsible
/// that might have matched gives its task. It answers nothing, for that it does not know enough.
fn stand_in(decision: &mut Decision, in_doubt: &[&Row]) {
    let Some((doubtful, responsible)) = in_doubt.iter().find_map(|row| Some((row, row.responsible.as_ref()?))) else { return };
    decision.actions.extend(action("assign", "assign", &AssignBody::of(doubtful, responsible)));
    decision.reasons.push(format!("row \"{}\" might have matched and nobody else is responsible: {} looks at it", doubtful.name, responsible.name));
}

fn silent(why: &str) -> Decision {
    Decision { actions: Vec::new(), row: None, reasons: vec![why.to_owned()] }
}

enum Verdict<'t> {
    Matches,
    Differs,
    /// All that is known fits; this one asks for what an analyzer did not say in time.
    Unknown(&'t Predicate),
}

fn verdict<'t>(row: &'t Row, about: &Interaction) -> Verdict<'t> {
    let mut verdict = Verdict::Matches;
    for predicate in row.when.iter().flatten() {
        match holds(predicate, about) {
            Some(true) => {}
            None if predicate.is_annotation && !about.missing.is_empty() => verdict = Verdict::Unknown(predicate),
            Some(false) | None => return Verdict::Differs,
        }
    }
    verdict
}

/// None: nobody said anything of it.
fn holds(predicate: &Predicate, about: &Interaction) -> Option<bool> {
    let key = predicate.key.as_str();
    match &predicate.test {
        Test::Any(wanted) if key == "author" && !predicate.is_annotation => Some(wanted.iter().any(|one| is_author(one, about))),
        Test::Any(wanted) => text_of(predicate, about).map(|found| wanted.iter().any(|one| is_same(key, one, found))),
        // Written so that a number that is none lies in no range.
        Test::Range(min, max) => number_of(about, key).map(|found| found >= *min && found <= *max),
    }
}

/// By the host's id or the handle; by the name, which anybody may take, where the network has no handles.
fn is_author(one: &str, about: &Interaction) -> bool {
    let shown = match &about.author_handle {
        Some(handle) => Some(handle.trim_start_matches('@')),
        None => about.author_name.as_deref(),
    };
    let wanted = if about.author_handle.is_some() { one.trim_start_matches('@') } else { one };
    one.eq_ignore_ascii_case(&about.identity) || shown.is_some_and(|shown| wanted.eq_ignore_ascii_case(shown))
}

/// A predicate that holds, in words.
fn reason(predicate: &Predicate, about: &Interaction) -> String {
    let key = predicate.key.as_str();
    match &predicate.test {
        Test::Any(_) if key == "author" && !predicate.is_annotation => "the author is named in the row".to_owned(),
        Test::Any(_) => format!("{key} is {}", shown(text_of(predicate, about).unwrap_or_default())),
        Test::Range(min, max) => {
            let found = number_of(about, key).unwrap_or_default();
            let word = |bound: f64, beyond: &'static str| if found.total_cmp(&bound).is_eq() { "at" } else { beyond };
            match (min.is_finite(), max.is_finite()) {
                (false, true) => format!("{key} {found:.2} is {} {max}", word(*max, "under")),
                (true, false) => format!("{key} {found:.2} is {} {min}", word(*min, "over")),
                _ => format!("{key} {found:.2} is between {min} and {max}"),
            }
        }
    }
}

/// The row might have matched: an admin should see which analyzer kept it from it. By convention an analyzer is named after
/// what it says; where none of the missing is, it may have been any of them.
fn doubt(row: &Row, predicate: &Predicate, about: &Interaction) -> String {
    let key = &predicate.key;
    let named: Vec<&str> = about.missing.iter().filter(|name| name.contains(key.as_str())).map(String::as_str).collect();
    let who = if named.is_empty() { about.missing.iter().take(4).map(String::as_str).collect() } else { named };
    format!("row \"{}\" passed over: no `{key}`, for {} did not answer", row.name, who.join(", "))
}

fn text_of<'a>(predicate: &Predicate, about: &'a Interaction) -> Option<&'a str> {
    match predicate.key.as_str() {
        "channel" if !predicate.is_annotation => Some(&about.channel),
        "kind" if !predicate.is_annotation => Some(&about.kind),
        "visibility" if !predicate.is_annotation => Some(&about.visibility),
        "automated" if !predicate.is_annotation => Some(&about.automated),
        "side" if !predicate.is_annotation => Some(side_of(about)),
        "language" => language_of(about),
        key => annotation(about, key).and_then(|said| match &said.value {
            Value::Text(text) => Some(text.as_str()),
            Value::Boolean(flag) => Some(if *flag { "true" } else { "false" }),
            Value::Number(_) | Value::Json(_) => None,
        }),
    }
}

/// Absent is `outside`.
fn side_of(about: &Interaction) -> &str {
    about.side.as_deref().unwrap_or("outside")
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
fn language_of(about: &Interaction) -> Option<&str> {
    let told = || annotation(about, "language").and_then(|said| if let Value::Text(text) = &said.value { Some(text.as_str()) } else { None });
    about.language.as_deref().or_else(told)
}

/// `in_doubt`: the first earlier row that might have matched, also one that only counts: it may be spam.
fn act(row: &Row, event: &Event, about: &Interaction, in_doubt: Option<&Row>) -> Decision {
    let mut actions = Vec::new();
    let mut reasons: Vec<String> = row.when.iter().flatten().map(|predicate| reason(predicate, about)).collect();
    if reasons.is_empty() {
        reasons.push("this row matches everything".to_owned());
    }
    if about.backfill {
        reasons.push("from before the channel was enabled: it only counts".to_owned());
        return Decision { actions, row: Some(row.name.clone()), reasons };
    }
    let Some(responsible) = &row.responsible else { return Decision { actions, row: Some(row.name.clone()), reasons } };
    actions.extend(action("assign", "assign", &AssignBody::of(row, responsible)));
    if let Some(reply) = &row.reply {
        actions.extend(answer(reply, event, about, in_doubt, &mut reasons));
    }
    if let Some(text) = &row.note {
        actions.extend(action("note:1", "note", &NoteBody { text }));
    }
    Decision { actions, row: Some(row.name.clone()), reasons }
}

fn answer(reply: &Reply, event: &Event, about: &Interaction, in_doubt: Option<&Row>, reasons: &mut Vec<String>) -> Option<Action> {
    if about.automated != "no" {
        reasons.push(format!("no reply: a machine wrote it ({})", about.automated));
        return None;
    }
    if is_answered_by_us(&event.body) {
        reasons.push("no reply: somebody of ours answered".to_owned());
        return None;
    }
    let (language, text) = in_language(reply, language_of(about))?;
    let recent = event.exchange.as_ref().map_or(0, |exchange| exchange.automatic_replies_last_hour);
    let is_capped = reply.is_sent && recent >= AUTOMATIC_REPLIES_MAX;
    if is_capped {
        reasons.push(format!("{recent} automatic replies in the last hour: this one waits for a person"));
    }
    // "Thank you!" must not go out by itself under what may be a complaint.
    let doubtful = in_doubt.filter(|_| reply.is_sent);
    reasons.extend(doubtful.map(|row| format!("row \"{}\" might have matched: the reply waits for a person", row.name)));
    let is_at_once = reply.is_sent && !is_capped && doubtful.is_none() && reply.review.is_empty();
    let mode = if is_at_once { "send" } else { "draft" };
    action("reply", "reply", &ReplyBody { language, mode, review: names(&reply.review), text: &filled(text, about) })
}

fn is_answered_by_us(body: &str) -> bool {
    let body: Json = serde_json::from_str(body).unwrap_or_default();
    body.get("by").and_then(Json::as_str) == Some("own")
}

/// None: never, for such a body is text, numbers and lists.
fn action(key: &str, kind: &str, body: &impl Serialize) -> Option<Action> {
    let body = serde_json::to_string(body).ok()?;
    Some(Action { key: key.to_owned(), kind: kind.to_owned(), body })
}

/// The text in this language, in its main language or any of that, in English, or the first.
fn in_language<'r>(reply: &'r Reply, language: Option<&str>) -> Option<(&'r str, &'r str)> {
    let wanted = language.unwrap_or("en").to_lowercase();
    let main_of = |tag: &str| tag.split('-').next().unwrap_or_default().to_owned();
    let find = |tag: &str| reply.text.iter().find(|(of, _)| of == tag);
    let find_any = |main: &str| find(main).or_else(|| reply.text.iter().find(|(of, _)| main_of(of) == main));
    let found = find(&wanted).or_else(|| find_any(&main_of(&wanted))).or_else(|| find_any("en")).or_else(|| reply.text.first())?;
    Some((&found.0, &found.1))
}

/// Each place is filled once: what a stranger wrote is never looked through for further places.
fn filled(text: &str, about: &Interaction) -> String {
    let author = plain(about.author_name.as_deref().unwrap_or_default());
    let subject = plain(about.subject.as_deref().unwrap_or_default());
    let places = [("{author}", author.as_str()), ("{subject}", subject.as_str()), ("{channel}", about.channel.as_str())];
    let (mut filled, mut rest) = (String::with_capacity(text.len() + 64), text);
    while let Some((before, from)) = rest.find('{').and_then(|at| rest.split_at_checked(at)) {
        filled.push_str(before);
        let place = places.iter().find_map(|(place, value)| from.strip_prefix(place).map(|after| (after, *value)));
        let (after, value) = place.unwrap_or_else(|| (from.strip_prefix('{').unwrap_or_default(), "{"));
        // A value that is not known leaves no gap behind: "Hi {author}," becomes "Hi,".
        if value.is_empty() && filled.ends_with(' ') {
            filled.pop();
        }
        if filled.len() + value.len() <= FILLED_MAX {
            filled.push_str(value);
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// What a stranger wrote, for a text of ours: networks obey what stands there. It names nobody (a private answer would be read by whom it
/// names), is no tag and no address, and formats nothing. A word joiner is seen by no reader, and no network lets it follow such a sign.
/// Source: `MENTION_RE` of mastodon/mastodon `app/models/account.rb`; twitter/twitter-text `regex.rb`; CommonMark §2.5 and §6.3.
fn plain(value: &str) -> String {
    let is_markup = |c: &char| matches!(c, '[' | ']' | '<' | '>' | '*' | '`' | '\\');
    let value = shown(value.trim());
    let mut signs = value.chars().filter(|c| !is_markup(c)).peekable();
    let mut plain = String::with_capacity(value.len());
    while let Some(sign) = signs.next() {
        plain.push(sign);
        let next = signs.peek();
        let is_obeyed = match sign {
            // What follows the value is the table's own text, and may begin with a letter.
            '@' | '\u{FF20}' | '#' | '\u{FF03}' | '$' | '&' | ':' | '/' => next.is_none_or(|next| !next.is_whitespace()),
            // `evil.example` is an address on X and in forums; `12.50` is not.
            '.' => next.is_some_and(|next| next.is_alphabetic()),
            _ => false,
        };
        if is_obeyed {
            plain.push(JOINER);
        }
    }
    plain
}

/// What a stranger wrote, on one line, of bounded length, without what turns the direction of writing or hides.
fn shown(value: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
    };
    value.chars().filter(|c| !is_hidden(*c)).take(VALUE_MAX).collect()
}
