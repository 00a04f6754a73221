//! What can be read: search, mentions, timelines, posts by id, rules, and direct messages.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::show::{self, Wish, written};
use super::state::{Network, Post, REACH_MS, moment_of};
use super::{Asked, US, answered, problem};

/// X shows no more mentions than these.
const MENTIONS_REACH: usize = 800;
/// What a token begins with: it must have 16 signs.
const TOKEN: &str = "b26v89c19zqg8o3f";

fn option<'q>(query: &'q Asked, name: &str) -> Option<&'q str> {
    query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// A parameter that X does not take.
fn invalid(parameter: &str, why: &str) -> Response {
    let detail = format!("One or more parameters to your request was invalid: '{parameter}' {why}");
    problem(StatusCode::BAD_REQUEST, "invalid-request", "Invalid Request", &detail)
}

/// Which part of a list is wanted.
struct Part {
    since: u64,
    start: u64,
    /// Exclusive.
    until: u64,
    n: usize,
}

impl Part {
    /// Errors: the answer to what is out of range; `reach` is how far back the list goes, `now` beside it. Units: ms.
    fn of(query: &Asked, least: usize, now: u64, reach: Option<u64>) -> Result<Self, Box<Response>> {
        let n = option(query, "max_results").map_or(Some(10), |text| text.parse().ok());
        let n = n.filter(|n| (least..=100).contains(n)).ok_or_else(|| invalid("max_results", "is out of range"))?;
        let since = option(query, "since_id").map_or(Some(0), |text| text.parse().ok()).ok_or_else(|| invalid("since_id", "is no id"))?;
        let oldest = reach.map_or(0, |reach| now.saturating_sub(reach));
        if since > 0 && moment_of(since) < oldest {
            return Err(Box::new(invalid("since_id", &format!("must be a tweet id created after {}", written(oldest)))));
        }
        let moment = |text: &str| text.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
        let start = option(query, "start_time").map_or(Some(0), moment).ok_or_else(|| invalid("start_time", "is no moment"))?;
        if start > 0 && start < oldest {
            return Err(Box::new(invalid("start_time", &format!("must be on or after {}", written(oldest)))));
        }
        let token = option(query, "next_token").or_else(|| option(query, "pagination_token"));
        let until = token.map_or(Some(u64::MAX), |token| token.strip_prefix(TOKEN)?.parse().ok());
        let until = until.ok_or_else(|| invalid("next_token", "is not valid"))?;
        Ok(Self { since, start: start.max(oldest), until, n })
    }

    fn holds(&self, post: &Post) -> bool {
        let id = post.id.parse::<u64>().unwrap_or(0);
        id > self.since && id < self.until && post.at >= self.start
    }
}

/// Newest first, older versions left out.
fn page(network: &Network, query: &Asked, part: &Part, reach: usize, is_wanted: impl Fn(&Post) -> bool) -> Response {
    let mut all: Vec<&Post> = network.posts.iter().filter(|post| !post.is_replaced && is_wanted(post)).collect();
    all.sort_by_key(|post| std::cmp::Reverse(post.id.parse::<u64>().unwrap_or(0)));
    all.truncate(reach);
    all.retain(|post| part.holds(post));
    let shown: Vec<&Post> = all.iter().take(part.n).copied().collect();
    let mut answer = show::answer(network, &shown, &Wish::of(query));
    let mut meta = Map::from_iter([("result_count".to_owned(), shown.len().into())]);
    if let (Some(newest), Some(oldest)) = (shown.first(), shown.last()) {
        meta.insert("newest_id".to_owned(), newest.id.clone().into());
        meta.insert("oldest_id".to_owned(), oldest.id.clone().into());
        if all.len() > shown.len() {
            meta.insert("next_token".to_owned(), format!("{TOKEN}{}", oldest.id).into());
        }
    }
    answer.insert("meta".to_owned(), meta.into());
    answered(StatusCode::OK, &answer.into())
}

pub(super) fn search(network: &Network, query: &Asked) -> Response {
    let Some(wanted) = option(query, "query").filter(|wanted| !wanted.trim().is_empty() && !wanted.contains("((")) else {
        return invalid("query", "has a mistake");
    };
    match Part::of(query, 10, network.now, Some(REACH_MS)) {
        Ok(part) => page(network, query, &part, usize::MAX, |post| matches(network, wanted, post)),
        Err(refused) => *refused,
    }
}

pub(super) fn mentions(network: &Network, id: &str, query: &Asked) -> Response {
    let Some(name) = network.name_of(id).map(str::to_owned) else { return not_there("user") };
    match Part::of(query, 5, network.now, None) {
        Ok(part) => page(network, query, &part, MENTIONS_REACH, |post| post.author != name && network.summons(post, &name)),
        Err(refused) => *refused,
    }
}

pub(super) fn timeline(network: &Network, id: &str, query: &Asked) -> Response {
    let Some(name) = network.name_of(id).map(str::to_owned) else { return not_there("user") };
    match Part::of(query, 5, network.now, None) {
        Ok(part) => page(network, query, &part, 3200, |post| post.author == name),
        Err(refused) => *refused,
    }
}

fn not_there(what: &str) -> Response {
    problem(StatusCode::NOT_FOUND, "resource-not-found", "Not Found Error", &format!("there is no such {what}"))
}

/// By ids; those that are gone are told in `errors`.
pub(super) fn posts(network: &Network, query: &Asked) -> Response {
    let ids: Vec<&str> = option(query, "ids").unwrap_or_default().split(',').filter(|id| !id.is_empty()).collect();
    if ids.is_empty() || ids.len() > 100 {
        return invalid("ids", "must be 1 to 100");
    }
    let there: Vec<&Post> = ids.iter().filter_map(|id| network.find(id)).collect();
    let mut answer = show::answer(network, &there, &Wish::of(query));
    let missing: Vec<Value> = ids.iter().filter(|id| network.find(id).is_none()).map(|id| show::not_found(id, "ids")).collect();
    if !missing.is_empty()
        && let Some(errors) = answer.entry("errors").or_insert_with(|| json!([])).as_array_mut()
    {
        errors.extend(missing);
    }
    answered(StatusCode::OK, &answer.into())
}

pub(super) fn rules(network: &Network) -> Response {
    let mut answer = json!({ "meta": { "sent": written(network.now), "result_count": network.rules.len() } });
    if let (false, Some(fields)) = (network.rules.is_empty(), answer.as_object_mut()) {
        fields.insert("data".to_owned(), network.rules.iter().map(super::write::shown).collect());
    }
    answered(StatusCode::OK, &answer)
}

pub(super) fn directs(network: &Network, with: &str, query: &Asked) -> Response {
    let Some(other) = network.name_of(with).map(str::to_owned) else { return not_there("user") };
    let n = option(query, "max_results").and_then(|text| text.parse().ok()).unwrap_or(100_usize).clamp(1, 100);
    let ours = |from: &str, to: &str| (from == US && to == other) || (from == other && to == US);
    let said: Vec<Value> =
        network.directs.iter().rev().filter(|one| ours(&one.from, &one.to)).take(n).map(|one| super::write::event(network, one)).collect();
    let mut answer = json!({ "meta": { "result_count": said.len() } });
    if let (false, Some(fields)) = (said.is_empty(), answer.as_object_mut()) {
        fields.insert("data".to_owned(), said.into());
    }
    answered(StatusCode::OK, &answer)
}

/// What a query finds: `OR` between groups of words that all must be there, `-` for what must not; brackets are passed over.
fn matches(network: &Network, query: &str, post: &Post) -> bool {
    let plain = query.replace(['(', ')'], " ");
    plain.split(" OR ").any(|group| group.split_whitespace().all(|term| holds(network, term, post)))
}

fn holds(network: &Network, term: &str, post: &Post) -> bool {
    let text = post.text.to_lowercase();
    match (term.strip_prefix('-'), term.split_once(':')) {
        (Some(term), _) => !holds(network, term, post),
        (_, Some(("from", name))) => post.author == name,
        (_, Some(("conversation_id", id))) => network.conversation_of(post) == id,
        (_, Some(("is", "reply"))) => post.answers.is_some(),
        (_, Some(("is", _))) => false,
        (_, Some(("lang", lang))) => post.lang == lang,
        _ => text.contains(&term.trim_matches('"').to_lowercase()),
    }
}

/// What the stream tells of a post, if a rule matches.
pub(super) fn line(network: &Network, post: &Post) -> Option<String> {
    let matching = network.rules.iter().filter(|rule| matches(network, &rule.value, post));
    let rules: Vec<Value> = matching.map(|rule| json!({ "id": rule.id, "tag": rule.tag })).collect();
    if rules.is_empty() {
        return None;
    }
    let wish = Wish::whole(true);
    let mut all = show::answer(network, &[post], &wish);
    all.insert("data".to_owned(), show::shown(network, post, &wish));
    all.insert("matching_rules".to_owned(), rules.into());
    Some(Value::from(all).to_string())
}
