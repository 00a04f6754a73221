//! `/hooks/{channel}`: the request as received, handed to ingress; 2xx only for what is durable.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tokio::time::timeout;

use crate::ingress::{Answer, BODY_BYTES_MAX, Incoming, Ingress};

/// A network that cannot be served now should come back after so long. Units: seconds.
const RETRY_AFTER_S: &str = "5";
/// From the head of a webhook to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn router(ingress: Arc<Ingress>) -> Router {
    Router::new().route("/hooks/{channel}", any(root)).route("/hooks/{channel}/{*rest}", any(below)).with_state(ingress)
}

async fn root(State(ingress): State<Arc<Ingress>>, Path(channel): Path<String>, request: Request) -> Response {
    accept(&ingress, &channel, "", request).await
}

async fn below(State(ingress): State<Arc<Ingress>>, Path((channel, rest)): Path<(String, String)>, request: Request) -> Response {
    accept(&ingress, &channel, &rest, request).await
}

async fn accept(ingress: &Ingress, channel: &str, rest: &str, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = match timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return (StatusCode::PAYLOAD_TOO_LARGE, format!("a webhook may have {BODY_BYTES_MAX} bytes at most\n")).into_response(),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n").into_response(),
    };
    let slash = if rest.is_empty() { "" } else { "/" };
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let headers = parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let incoming = Incoming {
        method: parts.method.as_str().to_owned(),
        path_with_query: format!("{slash}{rest}{query}"),
        headers: headers.collect(),
        body: body.into(),
    };
    answer(ingress.accept(channel, incoming).await)
}

fn answer(answer: Answer) -> Response {
    match answer {
        Answer::Accepted | Answer::Repeat => StatusCode::ACCEPTED.into_response(),
        Answer::NotFound => (StatusCode::NOT_FOUND, "no channel of this name takes webhooks\n").into_response(),
        Answer::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "this channel does not take webhooks by this method\n").into_response(),
        Answer::Unauthorized => (StatusCode::UNAUTHORIZED, "the signature is missing, wrong or too old\n").into_response(),
        Answer::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, RETRY_AFTER_S)], Body::from("not stored; try again\n")).into_response()
        }
    }
}
