//! X (Twitter), API v2, with state: search and mentions by `since_id` and `next_token`, posts, direct messages, rules and the
//! filtered stream, windows of 15 minutes on a clock that tests move, and webhooks of both kinds.
//!
//! The company is `@acme`. Answers hold only what was asked for, as the OpenAPI of 2.167 has it; webhooks and the stream still
//! speak the older names, as X's do.

mod hooks;
mod read;
mod show;
mod state;
mod write;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};

use crate::server::{Server, front, locked};
use crate::trouble::Manner;
pub use hooks::Hook;
use state::Network;
pub use state::{Direct, Post};

/// The company's account.
const US: &str = "acme";
/// Silence after which the stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

type Shared = Arc<Mutex<Network>>;
type Asked = Vec<(String, String)>;

/// See the module.
pub struct X {
    server: Server,
    network: Shared,
}

front!(X);

impl X {
    /// Starts a server that knows these tokens as the app's and the company's account's, at this moment. Units: ms since 1970.
    pub async fn start(app_token: &str, user_token: &str, now_ms: u64) -> std::io::Result<Self> {
        let mut network = Network::new(app_token, user_token, now_ms);
        network.account_id(US);
        let network = Arc::new(Mutex::new(network));
        let router = Router::new().fallback(asked).with_state(Arc::clone(&network));
        let clock = Arc::clone(&network);
        Ok(Self { server: Server::start_as(Manner::X, Some(Arc::new(move || locked(&clock).now)), router).await?, network })
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        locked(&self.network).now += u64::try_from(by.as_millis()).unwrap_or(0);
    }

    /// Units: ms since 1970.
    pub fn now_ms(&self) -> u64 {
        locked(&self.network).now
    }

    /// How many calls a window of 15 minutes has, for requests whose line begins so.
    pub fn limit(&self, at: &str, calls: u32) {
        locked(&self.network).limits.insert(at.to_owned(), calls);
    }

    /// Says whether the month's cap is used up.
    pub fn cap(&self, is_capped: bool) {
        locked(&self.network).is_capped = is_capped;
    }

    /// The id of an account, which is made where there is none of that name.
    pub fn account(&self, name: &str) -> String {
        locked(&self.network).account_id(name)
    }

    /// Somebody posts; `answers` is a post's id. The stream tells of it where a rule matches. Gives the post's id.
    pub fn say(&self, author: &str, text: &str, answers: Option<&str>) -> String {
        self.published(|network| Some(network.add(author, text, answers, None)))
    }

    /// Somebody quotes a post.
    pub fn quote(&self, author: &str, text: &str, quotes: &str) -> String {
        self.published(|network| Some(network.add(author, text, None, Some(quotes))))
    }

    /// The author edits: a new post in the old one's place. Gives the new id.
    pub fn edit(&self, id: &str, text: &str) -> String {
        self.published(|network| network.edit(id, text))
    }

    fn published(&self, make: impl FnOnce(&mut Network) -> Option<Post>) -> String {
        let mut network = locked(&self.network);
        let Some(post) = make(&mut network) else { return String::new() };
        if let Some(line) = read::line(&network, &post) {
            // Nobody may be listening.
            drop(network.lines.send(Some(line)));
        }
        post.id
    }

    /// The author deletes a post with all its versions.
    pub fn delete(&self, id: &str) {
        locked(&self.network).delete(id);
    }

    /// Puts pictures on a post.
    pub fn attach(&self, id: &str, keys: &[&str]) {
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        locked(&self.network).posts.iter_mut().filter(|post| post.id == id).for_each(|post| post.media.clone_from(&keys));
    }

    /// X stops showing a post to whoever asks for what refers to it.
    pub fn withhold(&self, id: &str) {
        locked(&self.network).withheld.insert(id.to_owned());
    }

    /// Somebody writes a direct message to the company. Gives its id.
    pub fn write_to_us(&self, from: &str, text: &str) -> String {
        write::direct(&mut locked(&self.network), from, US, text)
    }

    /// What stands under a post, in order.
    pub fn answers(&self, id: &str) -> Vec<Post> {
        locked(&self.network).posts.iter().filter(|post| post.answers.as_deref() == Some(id)).cloned().collect()
    }

    /// Everything that the company posted.
    pub fn own(&self) -> Vec<Post> {
        locked(&self.network).posts.iter().filter(|post| post.author == US).cloned().collect()
    }

    /// A post, as it stands.
    pub fn post(&self, id: &str) -> Option<Post> {
        locked(&self.network).find(id).cloned()
    }

    /// All direct messages, in order.
    pub fn directs(&self) -> Vec<Direct> {
        locked(&self.network).directs.clone()
    }

    /// Values and tags of the stream's rules, in order.
    pub fn rules(&self) -> Vec<(String, String)> {
        locked(&self.network).rules.iter().map(|rule| (rule.value.clone(), rule.tag.clone().unwrap_or_default())).collect()
    }

    /// A rule that somebody else made.
    pub fn add_rule(&self, value: &str, tag: &str) {
        write::rule(&mut locked(&self.network), value, Some(tag));
    }

    /// A line of the stream, as it stands here; empty: the sign of life.
    pub fn stream_line(&self, line: &str) {
        drop(locked(&self.network).lines.send(Some(line.to_owned())));
    }

    /// Ends the stream.
    pub fn cut_stream(&self) {
        drop(locked(&self.network).lines.send(None));
    }
}

/// Who may ask.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Anybody,
    App,
    User,
}

async fn asked(State(network): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, Query(query): Query<Asked>, body: String) -> Response {
    let path: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    let line = format!("{method} {}", uri.path());
    let body: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let mut state = locked(&network);
    let who = match (method.as_str(), path.as_slice()) {
        ("GET", ["2", "tweets", "search", "stream", ..]) | ("POST", ["2", "tweets", "search", ..]) => Who::App,
        ("POST" | "PUT", _) | ("GET", ["2", "users", "me"] | ["2", "dm_conversations", ..]) => Who::User,
        _ => Who::Anybody,
    };
    if let Some(refused) = refused(&state, &headers, who) {
        return refused;
    }
    let allowed = state.counted(&line);
    let answer = match &allowed {
        Some(allowed) if allowed.is_over => refusal(StatusCode::TOO_MANY_REQUESTS, 88, "Too Many Requests", "Rate limit exceeded"),
        _ if state.is_capped && method == Method::GET => capped(),
        _ => routed(&network, &mut state, &method, &path, &query, &body),
    };
    with_limit(answer, allowed)
}

fn routed(shared: &Shared, network: &mut MutexGuard<'_, Network>, method: &Method, path: &[&str], query: &Asked, body: &Value) -> Response {
    match (method.as_str(), path) {
        ("GET", ["2", "tweets", "search", "recent"]) => read::search(network, query),
        ("GET", ["2", "tweets", "search", "stream"]) => stream_of(shared, network),
        ("GET", ["2", "tweets", "search", "stream", "rules"]) => read::rules(network),
        ("POST", ["2", "tweets", "search", "stream", "rules"]) => write::rules(network, body),
        ("GET", ["2", "tweets"]) => read::posts(network, query),
        ("POST", ["2", "tweets"]) => write::post(network, body),
        ("PUT", ["2", "tweets", id, "hidden"]) => write::hide(network, id, body),
        ("GET", ["2", "users", "me"]) => answered(StatusCode::OK, &json!({ "data": network.user(US) })),
        ("GET", ["2", "users", id, "mentions"]) => read::mentions(network, id, query),
        ("GET", ["2", "users", id, "tweets"]) => read::timeline(network, id, query),
        ("POST", ["2", "dm_conversations", "with", id, "messages"]) => write::message(network, id, body),
        ("GET", ["2", "dm_conversations", "with", id, "dm_events"]) => read::directs(network, id, query),
        _ => problem(StatusCode::NOT_FOUND, "resource-not-found", "Not Found Error", "no such path"),
    }
}

fn refused(network: &Network, headers: &HeaderMap, who: Who) -> Option<Response> {
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Bearer "));
    let is_app = bearer == Some(network.app_token.as_str());
    let is_user = bearer == Some(network.user_token.as_str());
    match who {
        _ if !is_app && !is_user => Some(refusal(StatusCode::UNAUTHORIZED, 89, "Unauthorized", "Unauthorized")),
        Who::User if !is_user => Some(refusal(StatusCode::FORBIDDEN, 220, "Unsupported Authentication", "a user's token is needed")),
        Who::App if !is_app => Some(refusal(StatusCode::FORBIDDEN, 220, "Unsupported Authentication", "the app's token is needed")),
        _ => None,
    }
}

fn answered(status: StatusCode, body: &Value) -> Response {
    (status, [("content-type", "application/json")], body.to_string()).into_response()
}

/// An error in the form that the document calls `Error`, with the words of a problem beside it.
fn refusal(status: StatusCode, code: u32, title: &str, detail: &str) -> Response {
    let body = json!({ "code": code, "message": detail, "title": title, "detail": detail, "type": "about:blank", "status": status.as_u16() });
    answered(status, &body)
}

/// Of one of the kinds that the document lists.
fn problem(status: StatusCode, slug: &str, title: &str, detail: &str) -> Response {
    let mut body = json!({ "type": format!("https://api.x.com/2/problems/{slug}"), "title": title, "detail": detail, "status": status.as_u16() });
    if let (true, Some(fields)) = (slug == "resource-not-found", body.as_object_mut()) {
        fields.insert("resource_type".to_owned(), "tweet".into());
    }
    (status, [("content-type", "application/problem+json")], body.to_string()).into_response()
}

fn capped() -> Response {
    let detail = "Usage cap exceeded: Monthly product cap";
    let body = json!({
        "code": 429, "message": detail, "title": "UsageCapExceeded", "detail": detail, "period": "Monthly", "scope": "Product",
        "type": "https://api.x.com/2/problems/usage-capped", "status": 429,
    });
    answered(StatusCode::TOO_MANY_REQUESTS, &body)
}

fn with_limit(mut answer: Response, allowed: Option<state::Allowed>) -> Response {
    let Some(allowed) = allowed else { return answer };
    let told = [("limit", u64::from(allowed.limit)), ("remaining", u64::from(allowed.remaining)), ("reset", allowed.reset)];
    for (name, value) in told {
        if let Ok(name) = format!("x-rate-limit-{name}").parse::<axum::http::HeaderName>() {
            answer.headers_mut().insert(name, HeaderValue::from(value));
        }
    }
    answer
}

/// One connection at a time; none without a rule.
fn stream_of(shared: &Shared, network: &Network) -> Response {
    if network.rules.is_empty() {
        return refusal(StatusCode::CONFLICT, 409, "Rule Configuration", "no rule");
    }
    if network.lines.receiver_count() > 0 {
        let body =
            json!({ "code": 429, "message": "too many connections", "title": "ConnectionException", "connection_issue": "TooManyConnections" });
        return answered(StatusCode::TOO_MANY_REQUESTS, &body);
    }
    let lines = network.lines.subscribe();
    let kept = Arc::clone(shared);
    let body = stream::unfold((lines, kept), |(mut lines, kept)| async move {
        let line = match tokio::time::timeout(KEEP_ALIVE, lines.recv()).await {
            Err(_) => String::new(),
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None) | Err(_)) => return None,
        };
        Some((Ok::<_, std::io::Error>(Bytes::from(format!("{line}\r\n"))), (lines, kept)))
    });
    ([("content-type", "application/json")], Body::from_stream(body)).into_response()
}

#[cfg(test)]
mod tests;
