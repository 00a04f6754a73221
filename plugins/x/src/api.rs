//! Calls of the API: who asks, what the headers say is left, and whose token it is.

use std::cell::Cell;

use membrana_sdk::connector::Allowance;
use membrana_sdk::http::{HttpError, Request, Response, send};
use membrana_sdk::{Fault, Result, clock, state};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::Section;
use crate::faults::{Call, Problem, judged};
use crate::shapes::{NAME_BYTES_MAX, id, whole};

/// How long it is believed whose token it is. Units: milliseconds.
const ME_MS: u64 = 86_400_000;
/// Where that is kept.
const ME_KEY: &str = "me";

/// Whose credential a call carries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Who {
    /// The app's: what anybody may read.
    App,
    /// The account's: its mentions, what it writes.
    User,
}

impl Who {
    pub(crate) fn credential(self) -> &'static str {
        match self {
            Who::App => "app",
            Who::User => "user",
        }
    }
}

/// The company's account.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Me {
    pub(crate) id: String,
    pub(crate) username: String,
    base: String,
    at: u64,
}

/// What a read brings.
#[derive(Debug)]
pub(crate) enum Read {
    Answer(Json),
    /// 400: a parameter is not what X takes.
    Refused(Problem),
}

pub(crate) struct Api {
    base: String,
    allowance: Cell<Option<Allowance>>,
}

impl Api {
    pub(crate) fn new(section: &Section) -> Self {
        Self { base: section.base_url.trim_end_matches('/').to_owned(), allowance: Cell::new(None) }
    }

    /// How much of the tightest limit is left, of those that were told.
    pub(crate) fn allowance(&self) -> Option<Allowance> {
        self.allowance.get()
    }

    /// A GET whose answer is JSON.
    pub(crate) fn read(&self, who: Who, path: &str) -> Result<Read> {
        let request = Request::new("GET", format!("{}{path}", self.base)).auth(who.credential());
        let answer = self.sent(&request).map_err(|error| error.fault("x"))?;
        if answer.status == 400 {
            return Ok(Read::Refused(Problem::of(&answer)));
        }
        let answer = judged(answer, Call::Read).inspect_err(|fault| {
            if matches!(fault, Fault::Auth(_)) {
                // The next token may be somebody else's.
                state::delete(ME_KEY);
            }
        })?;
        decoded(path, &answer).map(Read::Answer).map_err(|error| Fault::transient("x.malformed", error))
    }

    /// As [`Api::read`], where a refused parameter is our own mistake.
    pub(crate) fn get(&self, who: Who, path: &str) -> Result<Json> {
        match self.read(who, path)? {
            Read::Answer(json) => Ok(json),
            Read::Refused(problem) => Err(Fault::permanent("x.refused", problem.words)),
        }
    }

    /// A call that changes something. A lost answer is an unknown outcome.
    pub(crate) fn write(&self, who: Who, method: &str, path: &str, body: &Json) -> Result<Json> {
        let request = Request::new(method, format!("{}{path}", self.base)).auth(who.credential()).body("application/json", body.to_string());
        let answer = self.sent(&request).map_err(|error| error.fault_of_write("x"))?;
        decoded(path, &judged(answer, Call::Write)?).map_err(Fault::outcome_unknown)
    }

    fn sent(&self, request: &Request) -> Result<Response, HttpError> {
        let answer = send(request)?;
        if let Some(told) = Allowance::of(&answer) {
            self.allowance.set(Some(self.allowance.get().map_or(told, |known| known.or_tighter(told))));
        }
        Ok(answer)
    }

    /// Whose token it is; asked once a day. What was known stands in where X does not answer.
    pub(crate) fn me(&self) -> Result<Me> {
        let known = state::get(ME_KEY).and_then(|bytes| serde_json::from_slice::<Me>(&bytes).ok()).filter(|me| me.base == self.base);
        if let Some(me) = known.as_ref().filter(|me| clock::now().saturating_sub(me.at) < ME_MS) {
            return Ok(me.clone());
        }
        let json = match (self.get(Who::User, "/2/users/me"), known) {
            (Ok(json), _) => json,
            (Err(Fault::RateLimited(_) | Fault::Transient(_) | Fault::Permanent(_)), Some(me)) => return Ok(me),
            // Whatever waits for the name is not at fault.
            (Err(Fault::Permanent(detail)), None) => return Err(Fault::Transient(detail)),
            (Err(fault), _) => return Err(fault),
        };
        let data = json.get("data").unwrap_or(&Json::Null);
        let id = id(data, "id").ok_or_else(|| Fault::transient("x.malformed", "/2/users/me: no id"))?;
        let username = whole(data, "username", NAME_BYTES_MAX).unwrap_or_default().to_owned();
        let me = Me { id, username, base: self.base.clone(), at: clock::now() };
        if let Ok(bytes) = serde_json::to_vec(&me) {
            // `send` may only read; then it is asked again next time.
            drop(state::set(ME_KEY, &bytes));
        }
        Ok(me)
    }
}

fn decoded(path: &str, answer: &Response) -> Result<Json, String> {
    let path = path.split('?').next().unwrap_or_default();
    membrana_sdk::json::read(&answer.body).map_err(|error| format!("{path}: {error}"))
}
