//! The API: who may call, how often, and what is answered.

use std::sync::MutexGuard;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Shared;
use super::state::{Forum, Kind};
use crate::server::locked;

/// Posts in one page of the list.
const PAGE: usize = 50;
/// Posts that a topic shows at first.
const CHUNK: usize = 20;
/// Of a body. Units: characters.
const SHORTEST: usize = 5;
const LONGEST: usize = 32_000;

type Refused = Box<Response>;

fn refusal(status: StatusCode, kind: &str, error: &str) -> Response {
    (status, Json(json!({ "errors": [error], "error_type": kind }))).into_response()
}

fn not_found() -> Response {
    refusal(StatusCode::NOT_FOUND, "not_found", "The requested URL or resource could not be found.")
}

/// A validation's words.
fn invalid(error: &str) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "action": "create_post", "errors": [error] }))).into_response()
}

/// Errors: the answer to who has no key that acts as the account, or has called too often.
fn admitted<'f>(forum: &'f Shared, headers: &HeaderMap) -> Result<MutexGuard<'f, Forum>, Refused> {
    let mut forum = locked(forum);
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    if header("api-key") != forum.key || header("api-username").to_lowercase() != forum.username.to_lowercase() {
        let error = "You are not permitted to view the requested resource. The API username or key is invalid.";
        return Err(Box::new(refusal(StatusCode::FORBIDDEN, "invalid_access", error)));
    }
    match forum.count_call() {
        None => Ok(forum),
        Some(wait) => {
            let extras = json!({ "wait_seconds": wait, "time_left": format!("{wait} seconds") });
            let error = format!("You've performed this action too many times. Please wait {wait} seconds before trying again.");
            let body = json!({ "errors": [error], "error_type": "rate_limit", "extras": extras });
            Err(Box::new((StatusCode::TOO_MANY_REQUESTS, [("retry-after", wait.to_string())], Json(body)).into_response()))
        }
    }
}

fn number(text: &str) -> Option<u64> {
    text.strip_suffix(".json").unwrap_or(text).parse().ok()
}

pub(super) async fn latest(State(forum): State<Shared>, headers: HeaderMap, Query(query): Query<Vec<(String, String)>>) -> Response {
    let forum = match admitted(&forum, &headers) {
        Ok(forum) => forum,
        Err(refused) => return *refused,
    };
    let before = query.iter().find(|(name, _)| name == "before").and_then(|(_, value)| number(value)).filter(|before| *before > 0);
    let public = forum.posts.iter().rev().filter(|post| post.kind == Kind::Regular && !post.is_deleted && forum.is_listed(post.topic));
    let page = public.filter(|post| before.is_none_or(|before| post.id < before)).take(PAGE);
    Json(json!({ "latest_posts": page.map(|post| forum.in_list(post)).collect::<Vec<_>>() })).into_response()
}

pub(super) async fn single(State(forum): State<Shared>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let forum = match admitted(&forum, &headers) {
        Ok(forum) => forum,
        Err(refused) => return *refused,
    };
    let post = number(&id).and_then(|id| forum.find(id)).filter(|post| !post.is_deleted);
    post.map_or_else(not_found, |post| Json(forum.alone(post)).into_response())
}

pub(super) async fn topic(State(forum): State<Shared>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let forum = match admitted(&forum, &headers) {
        Ok(forum) => forum,
        Err(refused) => return *refused,
    };
    number(&id).and_then(|id| forum.topic(id, CHUNK)).map_or_else(not_found, |topic| Json(topic).into_response())
}

pub(super) async fn topic_posts(
    State(forum): State<Shared>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let forum = match admitted(&forum, &headers) {
        Ok(forum) => forum,
        Err(refused) => return *refused,
    };
    let Some(id) = number(&id).filter(|id| forum.topic(*id, 0).is_some()) else { return not_found() };
    let wanted: Vec<u64> = query.iter().filter(|(name, _)| name == "post_ids[]").filter_map(|(_, value)| number(value)).collect();
    let with_raw = query.iter().any(|(name, value)| name == "include_raw" && value == "true");
    let posts = forum.posts.iter().filter(|post| post.topic == id && !post.is_deleted && wanted.contains(&post.id));
    let shown: Vec<Value> = posts.map(|post| forum.in_topic(post, with_raw)).collect();
    Json(json!({ "post_stream": { "posts": shown }, "id": id })).into_response()
}

pub(super) async fn create(State(forum): State<Shared>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let mut forum = match admitted(&forum, &headers) {
        Ok(forum) => forum,
        Err(refused) => return *refused,
    };
    let raw = body.get("raw").and_then(Value::as_str).unwrap_or_default().trim();
    let Some(topic) = body.get("topic_id").and_then(Value::as_u64) else { return invalid("Title can't be blank") };
    if forum.topic(topic, 0).is_none() {
        return refusal(StatusCode::FORBIDDEN, "invalid_access", "You are not permitted to view the requested resource.");
    }
    match raw.chars().count() {
        0..SHORTEST => return invalid(&format!("Body is too short (minimum is {SHORTEST} characters)")),
        SHORTEST..=LONGEST => {}
        _ => return invalid(&format!("Body is limited to {LONGEST} characters")),
    }
    if forum.is_too_similar(raw) {
        return invalid("Body is too similar to what you recently posted");
    }
    let reply_to = body.get("reply_to_post_number").and_then(Value::as_u64);
    let username = forum.username.clone();
    let id = forum.add(&username, topic, reply_to, raw, Kind::Regular);
    forum.find(id).map_or_else(not_found, |post| Json(forum.created(post)).into_response())
}
