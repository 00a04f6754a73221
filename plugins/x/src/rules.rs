//! Rules of the filtered stream, which belong to the app and not to a stream: those with this channel's tag are kept as the
//! configuration has them, the others are left alone.

use membrana_sdk::{Fault, Result, clock, state};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::Section;
use crate::api::{Api, Who};
use crate::shapes::{list, text, whole};

const PATH: &str = "/2/tweets/search/stream/rules";
const KEY: &str = "rules";
/// X's page.
const PAGES_MAX: usize = 4;
/// Rules that are as they should be are looked at again so often: somebody else may change them. Units: milliseconds.
const LOOK_MS: u64 = 3_600_000;
/// Of one call. Source: X's limits of rules.
const VALUE_BYTES_MAX: usize = 4096;

/// A rule as X has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) value: String,
    pub(crate) tag: String,
}

/// What must change for the rules to be as wanted.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Diff {
    /// Values.
    pub(crate) add: Vec<String>,
    /// Ids.
    pub(crate) delete: Vec<String>,
}

/// Compares by value. A value that stands under another's tag does what is wanted already, and X takes none twice; of ours,
/// what is not wanted or stands twice goes.
pub(crate) fn diff(wanted: &[String], standing: &[Rule], tag: &str) -> Diff {
    let mut diff = Diff::default();
    for value in wanted {
        if !diff.add.contains(value) && !standing.iter().any(|rule| rule.value == *value) {
            diff.add.push(value.clone());
        }
    }
    for (at, rule) in standing.iter().enumerate().filter(|(_, rule)| rule.tag == tag) {
        let is_again = standing.iter().take(at).any(|earlier| earlier.value == rule.value);
        if is_again || !wanted.contains(&rule.value) {
            diff.delete.push(rule.id.clone());
        }
    }
    diff
}

/// The body that adds these.
pub(crate) fn add_body(values: &[String], tag: &str) -> Json {
    json!({ "add": values.iter().map(|value| json!({ "value": value, "tag": tag })).collect::<Vec<_>>() })
}

/// The body that takes these away.
pub(crate) fn delete_body(ids: &[String]) -> Json {
    json!({ "delete": { "ids": ids } })
}

/// What was in step, and when.
#[derive(Serialize, Deserialize, PartialEq)]
struct InStep {
    wanted: Vec<String>,
    tag: String,
    at: u64,
}

/// Makes the rules as the section wants them; asks nothing where that was done within the hour.
/// Errors: of the calls; `config` where X finds a rule wrong.
pub(crate) fn keep_in_step(section: &Section, api: &Api) -> Result<()> {
    let (wanted, tag) = (section.stream_rules(), section.tag());
    let known = state::get(KEY).and_then(|bytes| serde_json::from_slice::<InStep>(&bytes).ok());
    if known.is_some_and(|known| known.wanted == wanted && known.tag == tag && clock::now().saturating_sub(known.at) < LOOK_MS) {
        return Ok(());
    }
    let diff = diff(&wanted, &standing(api)?, tag);
    // Old rules go first: there may be room for no more.
    if !diff.delete.is_empty() {
        api.write(Who::App, "POST", PATH, &delete_body(&diff.delete)).map_err(known_outcome)?;
    }
    if !diff.add.is_empty() {
        let answer = api.write(Who::App, "POST", PATH, &add_body(&diff.add, tag)).map_err(known_outcome)?;
        refused(&answer)?;
    }
    let in_step = InStep { wanted, tag: tag.to_owned(), at: clock::now() };
    if let Ok(bytes) = serde_json::to_vec(&in_step) {
        // Else it is looked at again next time.
        drop(state::set(KEY, &bytes));
    }
    Ok(())
}

/// Says whether the rules were ever made as wanted.
pub(crate) fn are_in_step() -> bool {
    state::get(KEY).is_some()
}

/// Rules are compared before each change, so an outcome that is not known is no harm.
fn known_outcome(fault: Fault) -> Fault {
    match fault {
        Fault::Transient(detail) => Fault::transient("x.rules", detail.message),
        Fault::Permanent(detail) => Fault::config("x.rules", detail.message),
        other => other,
    }
}

/// A 200 may have left some rules out.
fn refused(answer: &Json) -> Result<()> {
    let serious = list(answer, "errors").iter().find(|error| text(error, "title", 64) != Some("DuplicateRule"));
    let Some(error) = serious else { return Ok(()) };
    let words = ["detail", "title"].into_iter().find_map(|key| text(error, key, 200)).unwrap_or("no reason given");
    Err(Fault::config("x.rules", format!("X does not take a rule of the stream: {words}")))
}

fn standing(api: &Api) -> Result<Vec<Rule>> {
    let mut all = Vec::new();
    let mut next: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let path = next.map_or_else(|| PATH.to_owned(), |token| format!("{PATH}?pagination_token={}", crate::walk::encoded(&token)));
        let answer = api.get(Who::App, &path)?;
        all.extend(list(&answer, "data").iter().filter_map(rule));
        next = answer.pointer("/meta/next_token").and_then(Json::as_str).map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    Ok(all)
}

fn rule(json: &Json) -> Option<Rule> {
    let tag = text(json, "tag", VALUE_BYTES_MAX).unwrap_or_default().to_owned();
    Some(Rule { id: whole(json, "id", 64)?.to_owned(), value: whole(json, "value", VALUE_BYTES_MAX)?.to_owned(), tag })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str, value: &str, tag: &str) -> Rule {
        Rule { id: id.to_owned(), value: value.to_owned(), tag: tag.to_owned() }
    }

    #[test]
    fn only_what_differs_changes_and_others_rules_stay() {
        let wanted = ["@acme", "acme -is:retweet", "shared", "@acme"].map(str::to_owned);
        let standing = [
            rule("1", "@acme", "membrana"),
            rule("2", "old", "membrana"),
            rule("3", "theirs", "other"),
            rule("4", "shared", "other"),
            rule("5", "@acme", "membrana"),
        ];
        let diff = diff(&wanted, &standing, "membrana");
        assert_eq!(diff, Diff { add: vec!["acme -is:retweet".to_owned()], delete: vec!["2".to_owned(), "5".to_owned()] });
        assert_eq!(add_body(&diff.add, "membrana"), json!({ "add": [{ "value": "acme -is:retweet", "tag": "membrana" }] }));
        assert_eq!(delete_body(&diff.delete), json!({ "delete": { "ids": ["2", "5"] } }));
    }

    #[test]
    fn a_rule_that_x_refuses_is_the_admin_s_to_mend() {
        let duplicate = json!({ "errors": [{ "title": "DuplicateRule", "value": "x" }] });
        let wrong = json!({ "errors": [{ "title": "UnprocessableEntity", "detail": "no viable alternative" }] });
        assert!(refused(&duplicate).is_ok());
        assert!(matches!(refused(&wrong), Err(Fault::Config(detail)) if detail.message.contains("no viable alternative")));
    }
}
