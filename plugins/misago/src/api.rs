//! Calls of the API, and what its answers mean as faults. Reading needs no account; writing needs a session, which is opened
//! for one post and forgotten with it. The host writes the password into the login; this plugin never sees it.

use std::cell::RefCell;

use membrana_sdk::http::{Request, Response, send};
use membrana_sdk::json::Body;
use membrana_sdk::limits::refused_ms;
use membrana_sdk::{Fault, Result};
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use crate::Section;

/// Of what a forum says for an admin to read. Units: characters.
const WORDS_MAX: usize = 300;
/// No more are kept of a session. Units: cookies, bytes each.
const COOKIES_MAX: usize = 8;
const COOKIE_BYTES_MAX: usize = 1024;
/// A forum that is away is asked again after this. Units: milliseconds.
const AWAY_MS: u64 = 60_000;
/// What Django calls the cookie that every change must repeat in a header.
const CSRF: &str = "csrftoken";

/// The forum's API.
pub(crate) struct Api {
    base: String,
    username: String,
    cookies: RefCell<Vec<(String, String)>>,
}

impl Api {
    pub(crate) fn new(section: &Section) -> Self {
        Self { base: section.base().to_owned(), username: section.username.clone(), cookies: RefCell::default() }
    }

    /// A GET whose answer is JSON of this shape; `None` where the thing is no longer there.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        Ok(self.get_with_body(path)?.map(|(shape, _)| shape))
    }

    /// As [`Api::get`], with the answer as it was sent.
    pub(crate) fn get_with_body<T: DeserializeOwned>(&self, path: &str) -> Result<Option<(T, Body)>> {
        let request = Request::new("GET", format!("{}{path}", self.base)).header("accept", "application/json");
        let answer = send(&request).map_err(|error| error.fault("misago"))?;
        match answer.status {
            404 | 410 => Ok(None),
            401 | 403 => Err(Fault::config("misago.closed", format!("the forum shows nothing to visitors: {}", words(&answer)))),
            _ => {
                let body = Body::new(read(answer)?.body);
                let path = path.split('?').next().unwrap_or_default();
                let shape = body.read().map_err(|error| Fault::transient("misago.malformed", format!("{path}: {error}")))?;
                Ok(Some((shape, body)))
            }
        }
    }

    /// Opens a session for the account of the configuration.
    fn log_in(&self) -> Result<()> {
        let page = send(&Request::new("GET", format!("{}/", self.base))).map_err(|error| error.fault("misago"))?;
        self.keep_cookies(&read(page)?);
        let login = json!({ "username": self.username, "password": "" });
        let request = self.change("/api/auth/", &login).auth("password");
        let answer = send(&request).map_err(|error| error.fault("misago"))?;
        match answer.status {
            200..=299 => {
                self.keep_cookies(&answer);
                Ok(())
            }
            400 | 401 | 403 => Err(Fault::auth("misago.login", format!("the forum does not let `{}` in: {}", self.username, words(&answer)))),
            _ => read(answer).map(drop),
        }
    }

    /// Writes a post, as the account. A lost answer is an unknown outcome.
    pub(crate) fn write<T: DeserializeOwned>(&self, path: &str, body: &Json) -> Result<T> {
        self.log_in().map_err(waiting)?;
        let answer = send(&self.change(path, body)).map_err(|error| error.fault_of_write("misago"))?;
        match answer.status {
            200..=299 => membrana_sdk::json::read(&answer.body).map_err(|error| Fault::outcome_unknown(format!("the answer: {error}"))),
            // What concerns no field is the guard against floods; the posts before this one were too near.
            400 if answer.text().contains("\"non_field_errors\"") => Err(Fault::transient("misago.flood", words(&answer))),
            400 | 403 => Err(Fault::permanent("misago.refused", format!("the forum refuses it: {}", words(&answer)))),
            404 | 410 => Err(Fault::permanent("misago.gone", "the thread that it answers is gone")),
            // A proxy may give up on a forum that posts all the same.
            500..=599 => Err(Fault::outcome_unknown(format!("the forum answers {}", answer.status))),
            _ => Err(read(answer).err().unwrap_or_else(|| Fault::outcome_unknown("the forum's answer is not understood"))),
        }
    }

    /// A POST as a browser of the forum would send it: Django compares cookie, header and, over TLS, where it comes from.
    fn change(&self, path: &str, body: &Json) -> Request {
        let cookies = self.cookies.borrow();
        let token = cookies.iter().find(|(name, _)| name == CSRF).map(|(_, value)| value.clone()).unwrap_or_default();
        let all: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Request::new("POST", format!("{}{path}", self.base))
            .header("accept", "application/json")
            .header("cookie", all.join("; "))
            .header("x-csrftoken", token)
            .header("referer", format!("{}/", self.base))
            .body("application/json", body.to_string())
    }

    /// A later value replaces an earlier one.
    fn keep_cookies(&self, answer: &Response) {
        let set = answer.headers.iter().filter(|(name, _)| name == "set-cookie");
        let pairs = set.filter_map(|(_, value)| value.split(';').next().unwrap_or_default().trim().split_once('='));
        let mut cookies = self.cookies.borrow_mut();
        for (name, value) in pairs.filter(|(name, value)| name.len() + value.len() <= COOKIE_BYTES_MAX) {
            cookies.retain(|(known, _)| known != name);
            if cookies.len() < COOKIES_MAX {
                cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}

/// Before anything was written: a forum that is away is so for every reply, and no try of one is counted.
fn waiting(fault: Fault) -> Fault {
    match fault {
        Fault::Transient(detail) => Fault::RateLimited((detail, AWAY_MS)),
        other => other,
    }
}

fn read(answer: Response) -> Result<Response> {
    match answer.status {
        200..=299 => Ok(answer),
        301 | 302 | 307 | 308 => Err(Fault::config("misago.moved", "the forum sends us to another address: write base_url as the browser shows it")),
        429 => Err(Fault::rate_limited("misago.limit", "the forum asks to wait", refused_ms(&answer))),
        400..=499 => Err(Fault::permanent("misago.refused", format!("the forum answers {}: {}", answer.status, words(&answer)))),
        status => Err(Fault::transient("misago.status", format!("the forum answers {status}"))),
    }
}

/// The forum's own words: `{"detail": "…"}`, or lists of them by field.
fn words(answer: &Response) -> String {
    let Ok(Json::Object(fields)) = serde_json::from_slice::<Json>(&answer.body) else { return String::new() };
    let said = fields.values().flat_map(|value| match value {
        Json::String(text) => vec![text.as_str()],
        Json::Array(texts) => texts.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    });
    said.collect::<Vec<_>>().join("; ").chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}
