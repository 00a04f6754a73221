//! Calls of the API, and what its answers mean as faults.

use std::cell::Cell;

use membrana_sdk::http::{HttpError, Request, Response, send};
use membrana_sdk::json::{Body, Object};
use membrana_sdk::limits::{Allowance, refused_ms};
use membrana_sdk::{Fault, Result, clock, state};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::shapes::Account;
use crate::{Section, wire};

/// No call that can wait is begun with less time, or with less left of the server's limit. Units of time: milliseconds.
const TIME_LEFT_MS: u64 = 10_000;
const SHARE_LEFT: f64 = 0.1;
/// How long it is believed whose token it is. Units: milliseconds.
const ME_MS: u64 = 86_400_000;

/// What does not let us through is asked again after this. Units: milliseconds.
const BLOCKED_MS: u64 = 300_000;
/// Of an account that is disabled, not confirmed, or not approved yet. Source: mastodon/mastodon `app/controllers/api/base_controller.rb`.
const OF_THE_ACCOUNT: [&str; 3] = ["login", "confirmed", "approval"];

pub(crate) struct Api {
    base: String,
    allowance: Cell<Option<Allowance>>,
}

/// Whose token it was, and when that was asked.
#[derive(Serialize, Deserialize)]
struct Me {
    account: Account,
    base: String,
    at: u64,
}

/// What a call is for: a refusal of a post is the post's, of a read the token's.
#[derive(Clone, Copy, PartialEq)]
enum Call {
    Read,
    Post,
}

impl Api {
    pub(crate) fn new(section: &Section) -> Self {
        Self { base: section.base_url.trim_end_matches('/').to_owned(), allowance: Cell::new(None) }
    }

    /// How much of the server's limit is left, as it said last.
    pub(crate) fn allowance(&self) -> Option<Allowance> {
        self.allowance.get()
    }

    /// Little is left of the time, or of the server's limit: what can wait should.
    pub(crate) fn is_scarce(&self) -> bool {
        clock::remaining_ms() < TIME_LEFT_MS || self.allowance().is_some_and(|allowance| allowance.left < SHARE_LEFT)
    }

    /// A GET whose answer is JSON of this shape.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        Ok(self.get_with_body(path)?.0)
    }

    /// As [`Api::get`], with the answer as it was sent.
    pub(crate) fn get_with_body<T: DeserializeOwned>(&self, path: &str) -> Result<(T, Body)> {
        let body = Body::new(self.call(Request::new("GET", format!("{}{path}", self.base)))?.body);
        Ok((decoded(path, &body)?, body))
    }

    /// As [`Api::get`]; `None` where the thing is no longer there.
    pub(crate) fn get_if_there<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let request = Request::new("GET", format!("{}{path}", self.base)).auth("token");
        let answer = self.sent(&request).map_err(|error| error.fault("mastodon"))?;
        match answer.status {
            404 | 410 => Ok(None),
            // Of one thing: its author blocks us, say.
            403 => Err(Fault::permanent("mastodon.forbidden", "the server does not show it")),
            _ => decoded(path, &Body::new(judged(answer, Call::Read)?.body)).map(Some),
        }
    }

    /// A POST with a key that makes a repeat the same post. A lost answer is an unknown outcome.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, key: &str, body: &serde_json::Value) -> Result<T> {
        let request = Request::new("POST", format!("{}{path}", self.base)).auth("token").header("idempotency-key", key);
        let request = request.body("application/json", body.to_string());
        let answer = self.sent(&request).map_err(|error| error.fault_of_write("mastodon"))?;
        let answer = judged(answer, Call::Post)?;
        membrana_sdk::json::read(&answer.body).map_err(|error| Fault::outcome_unknown(format!("{path}: {error}")))
    }

    fn call(&self, request: Request) -> Result<Response> {
        let answer = judged(self.sent(&request.auth("token")).map_err(|error| error.fault("mastodon"))?, Call::Read);
        if matches!(answer, Err(Fault::Auth(_))) {
            // The next token may be somebody else's.
            state::delete("me");
        }
        answer
    }

    fn sent(&self, request: &Request) -> Result<Response, HttpError> {
        let answer = send(request)?;
        self.allowance.set(Allowance::of(&answer).or(self.allowance.get()));
        Ok(answer)
    }

    /// Whose token it is; asked once a day.
    pub(crate) fn me(&self) -> Result<Account> {
        let known = state::get("me").and_then(|bytes| serde_json::from_slice::<Me>(&bytes).ok());
        if let Some(me) = known.filter(|me| me.base == self.base && clock::now().saturating_sub(me.at) < ME_MS) {
            return Ok(me.account);
        }
        let sent: Object<wire::Account> = self.get("/api/v1/accounts/verify_credentials")?;
        let account = sent.0.and_then(Account::of).ok_or_else(|| Fault::transient("mastodon.malformed", "verify_credentials: no account"))?;
        let me = Me { account, base: self.base.clone(), at: clock::now() };
        let bytes = serde_json::to_vec(&me).map_err(|error| Fault::transient("mastodon.state", error))?;
        // `send` may only read; then it is asked again next time.
        drop(state::set("me", &bytes));
        Ok(me.account)
    }
}

fn judged(answer: Response, call: Call) -> Result<Response> {
    let words = || answer.text().chars().take(200).collect::<String>();
    let says = |any: &[&str]| any.iter().any(|word| answer.text().to_lowercase().contains(word));
    match answer.status {
        200..=299 => Ok(answer),
        // The host's own word: it has no token that the server would take.
        401 if answer.header("x-membrana").is_some() => Err(Fault::auth("mastodon.login", words())),
        // A firewall in front of it, say: it concerns every call, and no post of ours.
        403 if serde_json::from_slice::<serde::de::IgnoredAny>(&answer.body).is_err() => {
            Err(Fault::rate_limited("mastodon.blocked", "something in front of the server answers 403", BLOCKED_MS))
        }
        403 if call == Call::Post && says(&OF_THE_ACCOUNT) => {
            Err(Fault::auth("mastodon.account", format!("the server lets the account do nothing: {}", words())))
        }
        403 if call == Call::Post && !says(&["scope"]) => Err(Fault::permanent("mastodon.forbidden", format!("the server forbids it: {}", words()))),
        401 | 403 => Err(Fault::auth(
            "mastodon.token",
            format!(
                "the server answers {}: is the token valid, with the scopes read:notifications, read:statuses and write:statuses?",
                answer.status
            ),
        )),
        429 => Err(Fault::rate_limited("mastodon.limit", "the server asks to wait", refused_ms(&answer))),
        404 | 410 => Err(Fault::permanent("mastodon.gone", "what it is about is gone")),
        400..=499 => Err(Fault::permanent("mastodon.refused", format!("the server answers {}: {}", answer.status, words()))),
        // A proxy may give up on a server that posts all the same.
        status if call == Call::Post => Err(Fault::outcome_unknown(format!("the server answers {status}"))),
        status => Err(Fault::transient("mastodon.status", format!("the server answers {status}"))),
    }
}

fn decoded<T: DeserializeOwned>(path: &str, body: &Body) -> Result<T> {
    let path = path.split('?').next().unwrap_or_default();
    body.read().map_err(|error| Fault::transient("mastodon.malformed", format!("{path}: {error}")))
}
