//! Calls of the API, and what its answers mean as faults.

use std::cell::Cell;

use membrana_sdk::http::{HttpError, Request, Response, send};
use membrana_sdk::json::Body;
use membrana_sdk::limits::{refused_ms, seconds_ms};
use membrana_sdk::{Fault, Result, clock};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value as Json;

use crate::Section;

/// Of what a forum says for an admin to read. Units: characters.
const WORDS_MAX: usize = 300;

/// The forum's API, as one of its accounts.
pub(crate) struct Api {
    base: String,
    username: String,
    ahead_ms: Cell<i64>,
}

/// What became of a post.
pub(crate) enum Posted {
    /// It stands there, or waits for a moderator.
    Taken(Json),
    /// 422, with the forum's words.
    Refused(String),
}

impl Api {
    pub(crate) fn new(section: &Section) -> Self {
        Self { base: section.base().to_owned(), username: section.username.clone(), ahead_ms: Cell::new(0) }
    }

    /// A moment of ours by the forum's clock, as its last answer had it. Units: ms since 1970.
    pub(crate) fn by_its_clock(&self, at: u64) -> u64 {
        at.saturating_add_signed(self.ahead_ms.get())
    }

    /// A GET whose answer is JSON of this shape.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        Ok(self.get_with_body(path)?.0)
    }

    /// As [`Api::get`], with the answer as it was sent.
    pub(crate) fn get_with_body<T: DeserializeOwned>(&self, path: &str) -> Result<(T, Body)> {
        let answer = read(self.sent(Request::new("GET", self.url(path))).map_err(|error| error.fault("discourse"))?)?;
        let body = Body::new(answer.body);
        Ok((decoded(path, &body)?, body))
    }

    /// As [`Api::get`]; `None` where the thing is no longer there.
    pub(crate) fn get_if_there<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let answer = self.sent(Request::new("GET", self.url(path))).map_err(|error| error.fault("discourse"))?;
        match answer.status {
            404 | 410 => Ok(None),
            403 => Err(self.forbidden(&answer)),
            _ => decoded(path, &Body::new(read(answer)?.body)).map(Some),
        }
    }

    /// Writes a post. A lost answer is an unknown outcome.
    pub(crate) fn write(&self, body: &Json) -> Result<Posted> {
        let request = Request::new("POST", self.url("/posts.json")).body("application/json", body.to_string());
        let answer = self.sent(request).map_err(|error| error.fault_of_write("discourse"))?;
        match answer.status {
            200..=299 => {
                membrana_sdk::json::read(&answer.body).map(Posted::Taken).map_err(|error| Fault::outcome_unknown(format!("the answer: {error}")))
            }
            422 => Ok(Posted::Refused(words(&answer))),
            403 => Err(self.forbidden(&answer)),
            404 | 410 => Err(Fault::permanent("discourse.gone", "the topic that it answers is gone")),
            // The forum says that it writes nothing now.
            503 if answer.text().contains("\"read_only\"") => Err(Fault::transient("discourse.read-only", "the forum is read only for now")),
            // A proxy may give up on a forum that posts all the same.
            500..=599 => Err(Fault::outcome_unknown(format!("the forum answers {}", answer.status))),
            _ => Err(read(answer).err().unwrap_or_else(|| Fault::outcome_unknown("the forum's answer is not understood"))),
        }
    }

    /// A wrong key and what this account may not do or see are refused by the same words: whoever may read anything has a good key.
    fn forbidden(&self, answer: &Response) -> Fault {
        match self.get::<IgnoredAny>("/posts.json") {
            Err(fault @ (Fault::Auth(_) | Fault::RateLimited(_) | Fault::Transient(_))) => fault,
            _ => Fault::permanent("discourse.forbidden", format!("the forum forbids it: {}", words(answer))),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn sent(&self, request: Request) -> Result<Response, HttpError> {
        let request = request.auth("api_key").header("api-username", self.username.clone()).header("accept", "application/json");
        let answer = send(&request)?;
        self.ahead_ms.set(answer.answered_at().cast_signed().saturating_sub(clock::now().cast_signed()));
        Ok(answer)
    }
}

/// What an answer means where nothing was to be changed.
fn read(answer: Response) -> Result<Response> {
    match answer.status {
        200..=299 => Ok(answer),
        301 | 302 | 307 | 308 => {
            Err(Fault::config("discourse.moved", "the forum sends us to another address: write base_url as the browser shows it"))
        }
        401 | 403 => Err(Fault::auth(
            "discourse.key",
            format!("the forum answers {}: is the API key valid, and may it act as this user? {}", answer.status, words(&answer)),
        )),
        429 => Err(Fault::rate_limited("discourse.limit", "the forum asks to wait", wait_ms(&answer))),
        400 | 405..=428 | 430..=499 => Err(Fault::permanent("discourse.refused", format!("the forum answers {}: {}", answer.status, words(&answer)))),
        status => Err(Fault::transient("discourse.status", format!("the forum answers {status}"))),
    }
}

/// The longer of header and body. Units: milliseconds.
fn wait_ms(answer: &Response) -> u64 {
    let body = serde_json::from_slice::<Json>(&answer.body).ok();
    let in_body = body.as_ref().and_then(|json| json.pointer("/extras/wait_seconds")).and_then(Json::as_f64).map(seconds_ms);
    match (answer.header("retry-after"), in_body) {
        (None, Some(wait)) => wait.max(1_000),
        (_, in_body) => refused_ms(answer).max(in_body.unwrap_or(0)),
    }
}

/// The forum's own words, never a page of HTML.
fn words(answer: &Response) -> String {
    let json = serde_json::from_slice::<Json>(&answer.body).ok();
    let errors = json.as_ref().and_then(|json| json.get("errors")).and_then(Json::as_array);
    let said = errors.map(|errors| errors.iter().filter_map(Json::as_str).collect::<Vec<_>>().join("; "));
    said.unwrap_or_default().chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}

fn decoded<T: DeserializeOwned>(path: &str, body: &Body) -> Result<T> {
    let path = path.split('?').next().unwrap_or_default();
    body.read().map_err(|error| Fault::transient("discourse.malformed", format!("{path}: {error}")))
}
