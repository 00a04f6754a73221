//! `/hooks/{channel}`: challenges answered, everything else handed to ingress as received; 2xx only for what is durable.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tokio::time::timeout;

use crate::ingress::{Answer, BODY_BYTES_MAX, Challenge, Incoming, Ingress};

/// A network that cannot be served now should come back after so long. Units: seconds.
const RETRY_AFTER_S: &str = "5";
/// From the head of a webhook to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn router(ingress: Arc<Ingress>) -> Router {
    Router::new().route("/hooks/{channel}", any(root)).route("/hooks/{channel}/{*rest}", any(below)).with_state(ingress)
}

async fn root(State(ingress): State<Arc<Ingress>>, Path(channel): Path<String>, request: Request) -> Response {
    accept(&ingress, &channel, request).await
}

async fn below(State(ingress): State<Arc<Ingress>>, Path((channel, _)): Path<(String, String)>, request: Request) -> Response {
    accept(&ingress, &channel, request).await
}

async fn accept(ingress: &Ingress, channel: &str, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(challenge) = ingress.challenge(channel, parts.method.as_str(), parts.uri.query().unwrap_or_default()) {
        return told(challenge);
    }
    let body = match timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return (StatusCode::PAYLOAD_TOO_LARGE, format!("a webhook may have {BODY_BYTES_MAX} bytes at most\n")).into_response(),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n").into_response(),
    };
    let headers = parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let incoming = Incoming {
        method: parts.method.as_str().to_owned(),
        path_with_query: below_channel(&parts.uri),
        headers: headers.collect(),
        body: body.into(),
    };
    answer(ingress.accept(channel, incoming).await)
}

/// What follows `/hooks/{channel}`, byte for byte: a path that was decoded is not the one that was signed.
fn below_channel(uri: &Uri) -> String {
    let path = uri.path().strip_prefix("/hooks/").unwrap_or_default();
    let path = path.split_once('/').map(|(_, rest)| format!("/{rest}")).unwrap_or_default();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    path + &query
}

fn told(challenge: Challenge) -> Response {
    // What somebody sent is sent back: no browser may take it for a page.
    let plain = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    match challenge {
        Challenge::Text(text) => (plain, text).into_response(),
        Challenge::Json(text) => ([(CONTENT_TYPE, "application/json"), (X_CONTENT_TYPE_OPTIONS, "nosniff")], text).into_response(),
        Challenge::Heard => StatusCode::OK.into_response(),
        Challenge::Malformed => (StatusCode::BAD_REQUEST, "this is no challenge that is answered here\n").into_response(),
        Challenge::Forbidden => (StatusCode::FORBIDDEN, "the verify token is missing or wrong\n").into_response(),
        Challenge::UnknownTopic => (StatusCode::NOT_FOUND, "this topic is not subscribed to\n").into_response(),
    }
}

fn answer(answer: Answer) -> Response {
    match answer {
        Answer::Received => StatusCode::OK.into_response(),
        Answer::Accepted | Answer::Repeat | Answer::Ignored => StatusCode::ACCEPTED.into_response(),
        Answer::NotFound => (StatusCode::NOT_FOUND, "no channel of this name takes webhooks\n").into_response(),
        Answer::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "this channel does not take webhooks by this method\n").into_response(),
        Answer::Unauthorized => (StatusCode::UNAUTHORIZED, "the signature is missing, wrong or too old\n").into_response(),
        Answer::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, RETRY_AFTER_S)], Body::from("not stored; try again\n")).into_response()
        }
    }
}
