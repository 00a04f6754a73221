//! `/hooks/{channel}`: challenges answered, everything else handed to ingress as received; 2xx only for what is durable.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::ingress::{Answer, BODY_BYTES_MAX, Challenge, Incoming, Ingress};

/// A network that cannot be served now should come back after so long. Units: seconds.
const RETRY_AFTER_S: &str = "5";
/// From the head of a webhook to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Bodies that are on their way or being made durable, all together. Callers beyond are told to come again. Units: bytes.
const BODIES_BYTES_MAX: usize = 256 << 20;

/// What the handlers work on.
struct Hooks {
    ingress: Arc<Ingress>,
    /// What bodies may still take. Units: bytes.
    room: Semaphore,
}

pub(super) fn router(ingress: Arc<Ingress>) -> Router {
    let hooks = Arc::new(Hooks { ingress, room: Semaphore::new(BODIES_BYTES_MAX) });
    Router::new().route("/hooks/{channel}", any(root)).route("/hooks/{channel}/{*rest}", any(below)).with_state(hooks)
}

async fn root(State(hooks): State<Arc<Hooks>>, Path(channel): Path<String>, request: Request) -> Response {
    accept(&hooks, &channel, request).await
}

async fn below(State(hooks): State<Arc<Hooks>>, Path((channel, _)): Path<(String, String)>, request: Request) -> Response {
    accept(&hooks, &channel, request).await
}

/// Why a body was not taken.
#[derive(Debug, PartialEq, Eq)]
enum Untaken {
    TooLarge,
    TooSlow,
    NoRoom,
    Broken,
}

impl IntoResponse for Untaken {
    fn into_response(self) -> Response {
        match self {
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, format!("a webhook may have {BODY_BYTES_MAX} bytes at most\n")).into_response(),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n").into_response(),
            Self::NoRoom => come_again("too much comes at once; try again\n"),
            Self::Broken => (StatusCode::BAD_REQUEST, "the body broke off\n").into_response(),
        }
    }
}

fn come_again(why: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, RETRY_AFTER_S)], why).into_response()
}

/// The whole body, and the room that it takes until the caller is answered. A slow caller takes only what it has sent.
async fn taken(mut body: Body, room: &Semaphore) -> Result<(Vec<u8>, Option<SemaphorePermit<'_>>), Untaken> {
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(Untaken::TooLarge);
    }
    let (mut bytes, mut place) = (Vec::new(), None::<SemaphorePermit<'_>>);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Untaken::Broken)?.into_data() else { continue };
        if bytes.len() + data.len() > BODY_BYTES_MAX {
            return Err(Untaken::TooLarge);
        }
        let more = u32::try_from(data.len()).ok().and_then(|n| room.try_acquire_many(n).ok()).ok_or(Untaken::NoRoom)?;
        match &mut place {
            Some(place) => place.merge(more),
            None => place = Some(more),
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, place))
}

async fn accept(hooks: &Hooks, channel: &str, request: Request) -> Response {
    let Hooks { ingress, room } = hooks;
    let (parts, body) = request.into_parts();
    if let Some(challenge) = ingress.challenge(channel, parts.method.as_str(), parts.uri.query().unwrap_or_default()) {
        return told(challenge);
    }
    if let Err(refused) = ingress.takes(channel, parts.method.as_str()) {
        return answer(refused);
    }
    let (body, _place) = match timeout(BODY_TIMEOUT, taken(body, room)).await.unwrap_or(Err(Untaken::TooSlow)) {
        Ok(taken) => taken,
        Err(untaken) => return untaken.into_response(),
    };
    let headers = parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let incoming =
        Incoming { method: parts.method.as_str().to_owned(), path_with_query: below_channel(&parts.uri), headers: headers.collect(), body };
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
        Answer::MethodNotAllowed(taken) => {
            (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, taken)], "this channel does not take webhooks by this method\n").into_response()
        }
        Answer::Unauthorized => (StatusCode::UNAUTHORIZED, "the signature is missing, wrong or too old\n").into_response(),
        Answer::Unavailable => come_again("not stored; try again\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_is_not_taken_is_told_those_that_are() {
        let refused = answer(Answer::MethodNotAllowed("GET, POST".to_owned()));
        assert_eq!((refused.status().as_u16(), refused.headers()[ALLOW].as_bytes()), (405, &b"GET, POST"[..]));
    }

    #[tokio::test]
    async fn a_body_takes_its_room_until_it_is_let_go_and_none_is_taken_beyond() {
        let room = Semaphore::new(BODY_BYTES_MAX + 10);
        let full = taken(Body::from(vec![b'a'; BODY_BYTES_MAX]), &room).await.unwrap();
        assert_eq!((full.0.len(), room.available_permits()), (BODY_BYTES_MAX, 10));
        assert_eq!(taken(Body::from(vec![b'a'; 11]), &room).await.unwrap_err(), Untaken::NoRoom);
        assert!(taken(Body::from(vec![b'a'; 10]), &room).await.is_ok());
        drop(full);
        assert_eq!(room.available_permits(), BODY_BYTES_MAX + 10, "also by who was refused");
        assert_eq!(taken(Body::from(vec![b'a'; BODY_BYTES_MAX + 1]), &room).await.unwrap_err(), Untaken::TooLarge);
        assert_eq!(taken(Body::empty(), &room).await.unwrap().0, Vec::<u8>::new());
    }
}
