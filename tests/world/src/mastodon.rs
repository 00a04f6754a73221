//! A Mastodon server that keeps state: the client API as the company's app uses it, and doors for the pretend people.
//!
//! The company is `@acme`; everybody else lives on servers elsewhere and writes by `POST /post` (a form), as a newcomer may.
//! Source: docs.joinmastodon.org, methods and entities.

mod people;
mod state;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::oauth::Oauth;
use crate::server::{Server, front, locked};
use crate::trouble::Manner;
pub use state::Post;
use state::{Network, Said};

/// Of the API. Units: characters.
const LENGTH_MAX: usize = 500;
/// Where the company's account lives.
pub(crate) const DOMAIN: &str = "social.example";
/// The company's account.
const US: &str = "acme";

type Shared = Arc<Mutex<Network>>;

/// See the module.
pub struct Mastodon {
    server: Server,
    network: Shared,
}

front!(Mastodon);

impl Mastodon {
    /// Starts a server that knows this token as the company's.
    pub async fn start(token: &str) -> std::io::Result<Self> {
        Self::start_over(Network::new(token), Router::new()).await
    }

    /// Starts a server where the company logs in; it takes these tokens and no others.
    pub async fn with_logins(oauth: &Oauth) -> std::io::Result<Self> {
        let mut network = Network::new("");
        network.logins = Some(oauth.clone());
        Self::start_over(network, oauth.router()).await
    }

    async fn start_over(network: Network, more: Router) -> std::io::Result<Self> {
        let clock = network.time.clock();
        let network = Arc::new(Mutex::new(network));
        let router = Router::new()
            .route("/api/v2/instance", get(instance))
            .route("/api/v1/accounts/verify_credentials", get(verify_credentials))
            .route("/api/v1/accounts/{id}/statuses", get(account_statuses))
            .route("/api/v1/notifications", get(notifications))
            .route("/api/v1/statuses", post(publish))
            .route("/api/v1/statuses/{id}", get(status).delete(take_back))
            .route("/api/v1/statuses/{id}/context", get(context))
            .route("/", get(people::timeline))
            .route("/post", post(people::post))
            .route("/edit", post(people::edit))
            .route("/delete", post(people::delete))
            .route("/media/{name}", get(picture))
            .with_state(Arc::clone(&network))
            .merge(more);
        Ok(Self { server: Server::start_as(Manner::Mastodon, Some(clock), router).await?, network })
    }

    /// Moves its clock on.
    pub fn advance(&self, by: Duration) {
        locked(&self.network).time.advance(by);
    }

    /// Somebody elsewhere (`anna@people.example`) says something; `answers` is a status's id. Gives the new status's id.
    pub fn say(&self, acct: &str, text: &str, visibility: &str, answers: Option<&str>) -> String {
        locked(&self.network).add(Said { acct, text, visibility, answers, language: None })
    }

    /// As [`Mastodon::say`] in public, with pictures: where each is, be it here (`/media/NAME`) or elsewhere.
    pub fn show(&self, acct: &str, text: &str, pictures: &[&str]) -> String {
        let mut network = locked(&self.network);
        let id = network.add(Said { acct, text, visibility: "public", answers: None, language: None });
        let all = pictures.iter().map(|at| if at.starts_with('/') { format!("{}{at}", self.url()) } else { (*at).to_owned() });
        network.pictures.insert(id.clone(), all.collect());
        id
    }

    /// Puts a file where `/media/NAME` finds it.
    pub fn upload(&self, name: &str, bytes: &[u8]) {
        locked(&self.network).files.insert(name.to_owned(), bytes.to_vec());
    }

    /// Marks an account as a machine's.
    pub fn is_bot(&self, acct: &str) {
        locked(&self.network).bots.insert(acct.to_owned());
    }

    /// The author edits a status.
    pub fn edit(&self, id: &str, text: &str) {
        locked(&self.network).edit(id, text);
    }

    /// The author deletes a status.
    pub fn delete(&self, id: &str) {
        locked(&self.network).statuses.retain(|status| status.id != id);
    }

    /// Tells the company of a status as if it were a mention, as some servers do of one's own.
    pub fn notify(&self, id: &str) {
        locked(&self.network).notify(id);
    }

    /// What stands on the network under a status, in order.
    pub fn answers(&self, id: &str) -> Vec<Post> {
        locked(&self.network).below(id)
    }

    /// Everything the company said.
    pub fn own(&self) -> Vec<Post> {
        locked(&self.network).statuses.iter().filter(|status| status.acct == US).cloned().collect()
    }
}

/// An error as the API words it.
fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

fn not_found() -> Response {
    refusal(StatusCode::NOT_FOUND, "Record not found")
}

/// Errors: the answer to who has no valid token.
fn admitted<'n>(network: &'n Shared, headers: &HeaderMap) -> Result<std::sync::MutexGuard<'n, Network>, Box<Response>> {
    let network = locked(network);
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    match bearer.strip_prefix("Bearer ") {
        Some(token) if network.admits(token) => Ok(network),
        Some(_) => Err(Box::new(refusal(StatusCode::UNAUTHORIZED, "The access token is invalid"))),
        None => Err(Box::new(refusal(StatusCode::UNAUTHORIZED, "This method requires an authenticated user"))),
    }
}

async fn instance() -> Json<Value> {
    let statuses = json!({ "max_characters": LENGTH_MAX, "max_media_attachments": 4, "characters_reserved_per_url": 23 });
    Json(json!({ "domain": DOMAIN, "title": "Social", "version": "4.4.0", "configuration": { "statuses": statuses } }))
}

async fn verify_credentials(State(network): State<Shared>, headers: HeaderMap) -> Response {
    match admitted(&network, &headers) {
        Ok(network) => Json(network.account(US)).into_response(),
        Err(refused) => *refused,
    }
}

async fn account_statuses(
    State(network): State<Shared>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let network = match admitted(&network, &headers) {
        Ok(network) => network,
        Err(refused) => return *refused,
    };
    let limit = asked(&query, "limit").and_then(|text| text.parse().ok()).unwrap_or(20_usize).min(40);
    let of_account = network.statuses.iter().rev().filter(|status| network.account_id(&status.acct) == id);
    Json(of_account.take(limit).map(|status| network.status(status)).collect::<Vec<_>>()).into_response()
}

fn asked<'q>(query: &'q [(String, String)], name: &str) -> Option<&'q str> {
    query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// `min_id`: the page immediately after; `since_id`: the newest above; both newest first inside.
async fn notifications(State(network): State<Shared>, headers: HeaderMap, Query(query): Query<Vec<(String, String)>>) -> Response {
    let network = match admitted(&network, &headers) {
        Ok(network) => network,
        Err(refused) => return *refused,
    };
    let limit = asked(&query, "limit").and_then(|text| text.parse().ok()).unwrap_or(40_usize).clamp(1, 80);
    let id = |name: &str| asked(&query, name).and_then(|text| text.parse::<u64>().ok());
    let (min, since, max) = (id("min_id"), id("since_id"), id("max_id"));
    let above = min.or(since).unwrap_or(0);
    let all = network.notifications.iter().filter(|(id, _)| *id > above && max.is_none_or(|max| *id < max));
    // A notification outlives its status as one without.
    let page: Vec<&(u64, String)> = if min.is_some() {
        let next: Vec<_> = all.take(limit).collect();
        next.into_iter().rev().collect()
    } else {
        all.rev().take(limit).collect()
    };
    let link = |rel: &str, name: &str, id: u64| format!("<http://{DOMAIN}/api/v1/notifications?limit={limit}&{name}={id}>; rel=\"{rel}\"");
    let links = page.last().zip(page.first()).map(|(last, first)| format!("{}, {}", link("next", "max_id", last.0), link("prev", "min_id", first.0)));
    let shown: Vec<Value> = page.iter().filter_map(|(id, status)| network.notification(*id, status)).collect();
    let mut response = Json(shown).into_response();
    if let Some(value) = links.and_then(|links| links.parse().ok()) {
        response.headers_mut().insert("link", value);
    }
    response
}

/// The same `Idempotency-Key` gives the same status again.
async fn publish(State(network): State<Shared>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let mut network = match admitted(&network, &headers) {
        Ok(network) => network,
        Err(refused) => return *refused,
    };
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
    if let Some(known) = key.as_ref().and_then(|key| network.keys.get(key)).and_then(|id| network.find(id)) {
        return Json(network.status(known)).into_response();
    }
    let said = text("status").unwrap_or_default();
    if said.trim().is_empty() {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, "Validation failed: Text can't be blank");
    }
    if said.chars().count() > LENGTH_MAX {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, &format!("Validation failed: Text character limit of {LENGTH_MAX} exceeded"));
    }
    let answers = text("in_reply_to_id");
    if answers.is_some_and(|id| network.find(id).is_none()) {
        return not_found();
    }
    let id = network.add(Said { acct: US, text: said, visibility: text("visibility").unwrap_or("public"), answers, language: text("language") });
    network.keys.extend(key.map(|key| (key, id.clone())));
    network.find(&id).map_or_else(not_found, |status| Json(network.status(status)).into_response())
}

/// Whoever knows the address may have it.
async fn picture(State(network): State<Shared>, Path(name): Path<String>) -> Response {
    match locked(&network).files.get(&name) {
        Some(bytes) => ([("content-type", "image/png")], bytes.clone()).into_response(),
        None => not_found(),
    }
}

async fn status(State(network): State<Shared>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    match admitted(&network, &headers) {
        Ok(network) => network.find(&id).map_or_else(not_found, |status| Json(network.status(status)).into_response()),
        Err(refused) => *refused,
    }
}

async fn take_back(State(network): State<Shared>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let mut network = match admitted(&network, &headers) {
        Ok(network) => network,
        Err(refused) => return *refused,
    };
    let Some(own) = network.find(&id).filter(|status| status.acct == US).map(|own| network.status(own)) else { return not_found() };
    network.statuses.retain(|status| status.id != id);
    Json(own).into_response()
}

async fn context(State(network): State<Shared>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let network = match admitted(&network, &headers) {
        Ok(network) => network,
        Err(refused) => return *refused,
    };
    if network.find(&id).is_none() {
        return not_found();
    }
    let shown = |posts: Vec<Post>| posts.iter().map(|status| network.status(status)).collect::<Vec<_>>();
    Json(json!({ "ancestors": shown(network.above(&id)), "descendants": shown(network.below(&id)) })).into_response()
}

#[cfg(test)]
mod tests;
