//! Calls of the API, and what its answers mean as faults.

use membrana_sdk::http::{HttpError, Request, Response, send};
use membrana_sdk::{Fault, Result, clock, state};
use serde::de::DeserializeOwned;

use crate::Section;
use crate::shapes::Account;

/// A server that says "later" without a time. Units: milliseconds.
const LATER_MS: u64 = 60_000;

pub(crate) struct Api {
    base: String,
}

impl Api {
    pub(crate) fn new(section: &Section) -> Self {
        Self { base: section.base_url.trim_end_matches('/').to_owned() }
    }

    /// A GET whose answer is JSON of this shape.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = self.call(Request::new("GET", format!("{}{path}", self.base)))?;
        decoded(path, &answer)
    }

    /// As [`Api::get`]; `None` where the thing is no longer there.
    pub(crate) fn get_if_there<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let request = Request::new("GET", format!("{}{path}", self.base)).auth("token");
        let answer = send(&request).map_err(|error| lost(&error))?;
        match answer.status {
            404 | 410 => Ok(None),
            _ => decoded(path, &judged(answer)?).map(Some),
        }
    }

    /// A POST with a key that makes a repeat the same post. A lost answer is an unknown outcome.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, key: &str, body: &serde_json::Value) -> Result<T> {
        let request = Request::new("POST", format!("{}{path}", self.base)).auth("token").header("idempotency-key", key);
        let request = request.body("application/json", body.to_string());
        let answer = send(&request).map_err(|error| match error {
            HttpError::Timeout | HttpError::Protocol(_) | HttpError::TooLarge(_) => Fault::outcome_unknown(error.words()),
            _ => lost(&error),
        })?;
        let answer = judged(answer)?;
        serde_json::from_slice(&answer.body).map_err(|error| Fault::outcome_unknown(format!("{path}: {error}")))
    }

    fn call(&self, request: Request) -> Result<Response> {
        judged(send(&request.auth("token")).map_err(|error| lost(&error))?)
    }

    /// Whose token it is; asked once, then remembered.
    pub(crate) fn me(&self) -> Result<Account> {
        if let Some(known) = state::get("me").and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(known);
        }
        let me: Account = self.get("/api/v1/accounts/verify_credentials")?;
        let bytes = serde_json::to_vec(&me).map_err(|error| Fault::transient("mastodon.state", error))?;
        // `send` may only read; then it is asked again next time.
        drop(state::set("me", &bytes));
        Ok(me)
    }
}

fn lost(error: &HttpError) -> Fault {
    match error {
        HttpError::Denied(_) => Fault::config("mastodon.denied", error.words()),
        _ => Fault::transient("mastodon.unreachable", error.words()),
    }
}

fn judged(answer: Response) -> Result<Response> {
    let words = || answer.text().chars().take(200).collect::<String>();
    match answer.status {
        200..=299 => Ok(answer),
        401 | 403 => Err(Fault::auth(
            "mastodon.token",
            format!(
                "the server answers {}: is the token valid, with the scopes read:notifications, read:statuses and write:statuses?",
                answer.status
            ),
        )),
        429 => Err(Fault::rate_limited("mastodon.limit", "the server asks to wait", wait_ms(&answer))),
        404 | 410 => Err(Fault::permanent("mastodon.gone", "what it is about is gone")),
        400..=499 => Err(Fault::permanent("mastodon.refused", format!("the server answers {}: {}", answer.status, words()))),
        status => Err(Fault::transient("mastodon.status", format!("the server answers {status}"))),
    }
}

/// `X-RateLimit-Reset` is a moment, `Retry-After` a number of seconds.
fn wait_ms(answer: &Response) -> u64 {
    let reset = answer.header("x-ratelimit-reset").and_then(|text| text.trim().parse::<jiff::Timestamp>().ok());
    let until = reset.and_then(|at| u64::try_from(at.as_millisecond()).ok()).map(|at| at.saturating_sub(clock::now()));
    let after = answer.header("retry-after").and_then(|text| text.trim().parse::<u64>().ok()).map(|s| s.saturating_mul(1000));
    until.or(after).unwrap_or(LATER_MS)
}

fn decoded<T: DeserializeOwned>(path: &str, answer: &Response) -> Result<T> {
    let path = path.split('?').next().unwrap_or_default();
    serde_json::from_slice(&answer.body).map_err(|error| Fault::transient("mastodon.malformed", format!("{path}: {error}")))
}
