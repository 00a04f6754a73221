//! How the API says no: a status, a stable code, a sentence and the next step.

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::error;

use crate::model::{Role, shown};
use crate::store::StoreError;
use crate::telemetry::chain;

/// An answer that is not what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// HTTP's word.
    pub status: StatusCode,
    /// Stable, for machines.
    pub code: &'static str,
    /// What is the matter.
    pub message: String,
    /// The next step.
    pub cure: String,
    /// When to come again. Units: seconds.
    retry_after_s: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), cure: cure.into(), retry_after_s: None }
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", message, cure)
    }

    /// No section has this name.
    pub fn no_such_plugin<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.collect();
        Self::not_found(format!("there is no channel, analyzer or rule `{name}`"), shown::there_are(&known))
    }

    /// The call is wrong in itself.
    pub fn bad_request(message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message, cure)
    }

    /// The call is right, and does not fit what is.
    pub fn conflict(message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message, cure)
    }

    /// It may go well later.
    pub fn unavailable(message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message, cure)
    }

    /// A mistake of ours.
    pub(super) fn broken() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "broken", "the host stumbled over this request", "look at the host's log, and report it")
    }

    pub(super) fn unauthorized(cure: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "the API needs a valid token", cure)
    }

    /// A role that does not go so far; `enough` is the one to show a token of.
    pub(super) fn beyond(role: Role, needed: Role, enough: Role) -> Self {
        let message = format!("this is for the role {}, and the token shown is of the role {}", needed.word(), role.word());
        Self::new(StatusCode::FORBIDDEN, "forbidden", message, format!("show the `{}` of `[host]`", enough.token_key()))
    }

    /// Too many wrong tokens came from there.
    pub(super) fn too_many_guesses(left_ms: u64) -> Self {
        let left_s = left_ms.div_ceil(1000);
        let message = "too many wrong tokens came from this address";
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", message, format!("try again in {left_s} s with a right one"));
        Self { retry_after_s: Some(left_s), ..refusal }
    }

    pub(super) fn forbidden(cure: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "without `admin_token` only this machine may call the API", cure)
    }
}

impl From<StoreError> for Refusal {
    fn from(failure: StoreError) -> Self {
        match &failure {
            StoreError::Conflict(what) => {
                Self::conflict(format!("{what} was changed by somebody else meanwhile"), "look at it again and repeat the order")
            }
            StoreError::Full { .. } => {
                Self::unavailable(chain(&failure).to_string(), "free room on the disk of the data folder; the host goes on by itself")
            }
            _ => {
                error!(error = %chain(&failure), "The store failed a call of the API.");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store",
                    chain(&failure).to_string(),
                    "look at the host's log; `membrana verify` checks the store",
                )
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message, "cure": self.cure } });
        let mut answer = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}

pub(super) async fn no_such_method() -> Refusal {
    let message = "this path is not called by this method";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", message, "see /api/v1/openapi.json")
}

pub(super) async fn no_such_path() -> Refusal {
    Refusal::not_found("there is nothing at this path", "see /api/v1/openapi.json")
}
