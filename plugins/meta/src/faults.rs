//! What an answer means. Nearly every error has HTTP's 400, so that the code in the body decides.
//! Source: Graph API, "Handle errors"; Messenger Platform and Instagram Messaging, error codes.

use membrana_sdk::http::Response;
use membrana_sdk::text::cut;
use membrana_sdk::{Fault, Result};
use serde_json::Value as Json;

use crate::graph::{Call, usage};
use crate::read::text;

/// Where a throttled call does not say how long. Units: minutes.
const THROTTLED_MIN: u64 = 60;
/// After "temporarily blocked": whoever goes on is blocked for good. Units: milliseconds.
const BLOCKED_MS: u64 = 24 * 3_600_000;
/// The code of what is not permitted.
pub const REFUSED: &str = "meta.permission";
/// Of the network's own words, what an admin sees. Units: bytes.
const WORDS_BYTES_MAX: usize = 200;

/// The answer's JSON. Errors: as the code says.
pub(crate) fn judged(answer: &Response, call: Call) -> Result<Json> {
    let body = membrana_sdk::json::read::<Json>(&answer.body).ok();
    if let Some(error) = body.as_ref().and_then(|body| body.get("error")).filter(|error| error.is_object()) {
        return Err(fault(error, answer, call));
    }
    match (answer.status, body) {
        (200..=299, Some(body)) => Ok(body),
        (200..=299, None) => Err(uncertain(call, "meta.malformed", "the answer is no JSON")),
        (429, _) => Err(throttled(answer, "HTTP 429")),
        (401, _) => Err(Fault::auth("meta.token", "the network does not accept the token")),
        (status @ 500.., _) => Err(uncertain(call, "meta.status", &format!("the network answers {status}"))),
        (404 | 410, _) => Err(Fault::permanent("meta.gone", "what it is about is gone")),
        (status, _) => Err(Fault::permanent("meta.refused", format!("the network answers {status}"))),
    }
}

/// Of what may have been done all the same, the outcome is unknown.
fn uncertain(call: Call, code: &str, words: &str) -> Fault {
    match call {
        Call::Read => Fault::transient(code, words),
        Call::Write => Fault::outcome_unknown(words),
    }
}

fn fault(error: &Json, answer: &Response, call: Call) -> Fault {
    let number = |key: &str| error.get(key).and_then(Json::as_u64).unwrap_or(0);
    let (code, subcode) = (number("code"), number("error_subcode"));
    let is_transient = error.get("is_transient").and_then(Json::as_bool).unwrap_or(false);
    let said = text(error, "message", WORDS_BYTES_MAX);
    let words = cut(&format!("code {code}/{subcode}: {said}"), 2 * WORDS_BYTES_MAX).to_owned();
    match (code, subcode) {
        (102 | 190, _) => Fault::auth(token_code(subcode), format!("the token no longer works ({words}); log in again")),
        (4 | 17 | 32 | 341 | 613 | 80_000..=80_014, _) => throttled(answer, &words),
        (368, _) => Fault::rate_limited("meta.blocked", format!("the network blocks what is sent for a while ({words})"), BLOCKED_MS),
        (10, 2_018_278 | 2_534_022) => Fault::permanent("meta.window-closed", "the time in which the network takes a message is over"),
        (551, _) => Fault::permanent("meta.unavailable-person", "this person cannot receive messages now"),
        (10_900, _) => Fault::permanent("meta.already-replied", "a comment takes one private reply, and has it"),
        (506, _) => uncertain(call, "meta.duplicate", "the network has the same text already"),
        (1 | 2, _) => uncertain(call, "meta.service", &words),
        _ if is_transient => uncertain(call, "meta.service", &words),
        (3 | 10 | 200..=299, _) if call == Call::Read => Fault::auth(REFUSED, format!("a permission is missing ({words})")),
        (3 | 10 | 200..=299, _) => Fault::permanent(REFUSED, format!("the network does not permit it ({words})")),
        (100, 33) | (803, _) => Fault::permanent("meta.gone", "it does not exist, or the token may not see it"),
        (100, _) if said.contains("appsecret_proof") => Fault::auth("meta.proof", "this app demands a proof of its secret with each call"),
        _ if answer.status >= 500 => uncertain(call, "meta.status", &words),
        _ => Fault::permanent("meta.refused", words),
    }
}

fn token_code(subcode: u64) -> &'static str {
    match subcode {
        458 => "meta.token-app-removed",
        459 => "meta.token-checkpoint",
        460 => "meta.token-password-changed",
        463 => "meta.token-expired",
        464 => "meta.token-unconfirmed",
        467 => "meta.token-invalid",
        _ => "meta.token",
    }
}

fn throttled(answer: &Response, words: &str) -> Fault {
    let minutes = usage(answer).map(|usage| usage.minutes).filter(|minutes| *minutes > 0).unwrap_or(THROTTLED_MIN);
    Fault::rate_limited("meta.throttled", format!("too many calls ({words})"), minutes.saturating_mul(60_000))
}

/// Says whether a permission is missing: for the one thing that was read, or for all of its kind.
pub(crate) fn is_refused(fault: &Fault) -> bool {
    matches!(fault, Fault::Auth(detail) if detail.code == REFUSED)
}

/// Says whether a fault means that the one thing asked for is gone.
pub(crate) fn is_gone(fault: &Fault) -> bool {
    matches!(fault, Fault::Permanent(detail) if detail.code == "meta.gone")
}
