//! What refusals of X mean. It words them in three ways: `application/problem+json`, the old `errors[].code`, and plain HTTP.
//!
//! The monthly cap comes as a 429 too, and is no wait of 15 minutes.

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use membrana_sdk::http::Response;
use membrana_sdk::limits::{refused_ms, until_midnight_ms, wait_ms};
use membrana_sdk::text::cut;
use membrana_sdk::{Fault, Result, clock};
use serde_json::Value as Json;

use crate::shapes::list;

const DAY_MS: u64 = 86_400_000;
/// What does not let us through is asked again after this. Units: milliseconds.
const BLOCKED_MS: u64 = 300_000;
/// Kept of what X says. Units: bytes.
const WORDS_BYTES_MAX: usize = 300;
/// Where X tells of the limits of a day, on what writes.
const DAYS: [&str; 2] = ["x-app-limit-24hour-", "x-user-limit-24hour-"];

/// What a call is for: a refusal of a post is the post's, of a read the token's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Call {
    Read,
    Write,
}

/// What X says of a refusal.
#[derive(Debug, Default)]
pub(crate) struct Problem {
    /// The last part of the `type`: `usage-capped`.
    slug: String,
    /// Of the old API; 0 where there is none.
    code: u64,
    /// Everything it says, lower case.
    pub(crate) all: String,
    /// For an admin.
    pub(crate) words: String,
}

impl Problem {
    pub(crate) fn of(answer: &Response) -> Self {
        let json: Json = serde_json::from_slice(&answer.body).unwrap_or(Json::Null);
        let errors = list(&json, "errors");
        let said = |key: &str| json.get(key).or_else(|| errors.first()?.get(key));
        let text = |key: &str| said(key).and_then(Json::as_str).unwrap_or_default();
        let first = errors.first().and_then(|error| error.get("message")).and_then(Json::as_str);
        let words = [first.unwrap_or_default(), text("detail"), text("message"), text("title")].into_iter().find(|text| !text.is_empty());
        // A page of a proxy is not worth an admin's time.
        let words = words.map_or_else(|| format!("status {}", answer.status), |words| cut(words, WORDS_BYTES_MAX).to_owned());
        let slug = text("type").rsplit('/').next().unwrap_or_default().to_owned();
        let code = said("code").and_then(Json::as_u64).unwrap_or(0);
        let all = if json.is_null() { String::new() } else { cut(&answer.text(), 16 << 10).to_lowercase() };
        Self { slug, code, all, words }
    }

    fn says(&self, any: &[&str]) -> bool {
        any.iter().any(|word| self.all.contains(word))
    }

    pub(crate) fn is_about(&self, parameter: &str) -> bool {
        self.all.contains(parameter)
    }

    fn is_capped(&self) -> bool {
        self.slug == "usage-capped" || self.says(&["usagecapexceeded", "usage-capped", "creditsdepleted"])
    }
}

/// Errors: what the status and the words of the answer mean.
pub(crate) fn judged(answer: Response, call: Call) -> Result<Response> {
    if (200..=299).contains(&answer.status) {
        return Ok(answer);
    }
    let problem = Problem::of(&answer);
    if problem.is_capped() || answer.status == 402 {
        let why = format!("the plan with X is used up: {}", problem.words);
        return Err(Fault::rate_limited("x.usage-capped", why, capped_ms(&problem)));
    }
    Err(match answer.status {
        // 88 comes with other statuses as well.
        429 => Fault::rate_limited("x.limit", "X asks to wait", limited_ms(&answer)),
        _ if problem.code == 88 => Fault::rate_limited("x.limit", "X asks to wait", limited_ms(&answer)),
        401 => Fault::auth("x.token", format!("X does not take the token: {}", problem.words)),
        // Without a word of X it is a firewall in front of it: it concerns every call, and no post of ours.
        403 if problem.all.is_empty() => Fault::rate_limited("x.blocked", "something in front of X answers 403", BLOCKED_MS),
        403 if call == Call::Write => forbidden(&problem),
        403 => Fault::auth("x.forbidden", format!("X does not let this token read: {}", problem.words)),
        404 | 410 => Fault::permanent("x.gone", "what it is about is gone"),
        400 if problem.code == 186 => too_long(),
        400..=499 => Fault::permanent("x.refused", format!("X answers {}: {}", answer.status, problem.words)),
        // A proxy may give up on a server that posts all the same.
        status if call == Call::Write => Fault::outcome_unknown(format!("X answers {status}")),
        status => Fault::transient("x.status", format!("X answers {status}")),
    })
}

/// What is not allowed, by the words of X: it has one status for all of it.
fn forbidden(problem: &Problem) -> Fault {
    let words = &problem.words;
    match problem.code {
        186 => return too_long(),
        187 => return duplicate(words),
        385 => return Fault::permanent("x.gone", "what it is about is gone, or is not shown to us"),
        64 | 326 => return Fault::auth("x.account", format!("X has locked or suspended the account: {words}")),
        89 => return Fault::auth("x.token", format!("X does not take the token: {words}")),
        _ => {}
    }
    if problem.says(&["duplicate"]) {
        duplicate(words)
    } else if problem.says(&["not-summoned", "summoned", "mentioned or quoted", "not been mentioned", "mentioned or otherwise engaged"]) {
        not_summoned(words)
    } else if problem.says(&["oauth2-permissions", "oauth1-permissions", "permissions-", "scope", "unsupported-authentication"]) {
        Fault::auth("x.scope", format!("the token lacks a scope (tweet.write, dm.write or tweet.moderate.write): {words}"))
    } else {
        Fault::permanent("x.forbidden", format!("X forbids it: {words}"))
    }
}

fn too_long() -> Fault {
    Fault::permanent("x.too-long", "X finds the post too long")
}

fn duplicate(words: &str) -> Fault {
    Fault::permanent(DUPLICATE, format!("X has this very post already: {words}"))
}

/// Of the fault that says so.
pub(crate) const DUPLICATE: &str = "x.duplicate-post";

/// X allows a reply only to who mentioned or quoted the account.
pub(crate) fn not_summoned(words: &str) -> Fault {
    Fault::permanent("x.not-summoned", format!("its author neither mentioned nor quoted us, so X allows no reply: {words}"))
}

/// The longest of what the headers say, those of a day only where nothing is left of it. Units: milliseconds.
fn limited_ms(answer: &Response) -> u64 {
    let of_day = |family: &&&str| answer.header(&format!("{family}remaining")).is_some_and(|left| left.trim() == "0");
    let days = DAYS.iter().filter(of_day).filter_map(|family| answer.header(&format!("{family}reset")));
    let now = answer.answered_at();
    days.filter_map(|text| wait_ms(text, now)).max().unwrap_or(0).max(refused_ms(answer))
}

/// Until the month is over, and asked again after a day: a cap may be raised. Units: milliseconds.
fn capped_ms(problem: &Problem) -> u64 {
    if problem.says(&["daily"]) {
        return until_midnight_ms("UTC0").min(DAY_MS);
    }
    let month = || {
        let now = Timestamp::from_millisecond(i64::try_from(clock::now()).ok()?).ok()?;
        let next = TimeZone::UTC.to_datetime(now).date().last_of_month().tomorrow().ok()?;
        let first = TimeZone::UTC.to_timestamp(next.to_datetime(Time::midnight())).ok()?;
        u64::try_from(first.as_millisecond() - now.as_millisecond()).ok()
    };
    month().unwrap_or(DAY_MS).min(DAY_MS)
}

#[cfg(test)]
mod tests {
    use membrana_sdk::testing::with_host;

    use super::*;

    fn fault(status: u16, call: Call, headers: &[(&str, &str)], body: &str) -> Fault {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        judged(Response { status, headers, body: body.as_bytes().to_vec() }, call).unwrap_err()
    }

    fn at(moment: &str) -> u64 {
        let now = u64::try_from(moment.parse::<Timestamp>().unwrap().as_millisecond()).unwrap();
        with_host(|host| host.now = now);
        now
    }

    #[test]
    fn rate_limits_hammered_every_reset_is_in_unix_seconds() {
        let now = at("2026-05-02T10:00:00Z") / 1000;
        let reset = (now + 840).to_string();
        let long = (now + 50_000).to_string();
        let window = [("x-rate-limit-limit", "300"), ("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", reset.as_str())];
        assert!(matches!(fault(429, Call::Read, &window, "{}"), Fault::RateLimited((_, 840_000))));
        let day = [("x-user-limit-24hour-remaining", "0"), ("x-user-limit-24hour-reset", long.as_str()), window[2]];
        assert!(matches!(fault(429, Call::Write, &day, "{}"), Fault::RateLimited((_, 50_000_000))));
        let some_left = [("x-user-limit-24hour-remaining", "9"), day[1], window[2]];
        assert!(matches!(fault(429, Call::Write, &some_left, "{}"), Fault::RateLimited((_, 840_000))));
        let legacy = r#"{"errors":[{"code":88,"message":"Rate limit exceeded"}]}"#;
        assert!(matches!(fault(400, Call::Write, &window, legacy), Fault::RateLimited((detail, 840_000)) if detail.code == "x.limit"));
    }

    #[test]
    fn a_used_up_month_is_no_wait_of_a_quarter_of_an_hour() {
        let body = r#"{"title":"UsageCapExceeded","period":"Monthly","detail":"Usage cap exceeded","type":"https://api.x.com/2/problems/usage-capped","status":429}"#;
        for (now, body, hours) in [
            ("2026-05-02T10:00:00Z", body.to_owned(), 24),
            ("2026-05-31T22:00:00Z", body.to_owned(), 2),
            ("2026-12-31T23:00:00Z", body.to_owned(), 1),
            ("2026-05-02T10:00:00Z", body.replace("Monthly", "Daily"), 14),
        ] {
            let reset = (at(now) / 1000 + 900).to_string();
            let fault = fault(429, Call::Read, &[("x-rate-limit-reset", &reset)], &body);
            assert!(
                matches!(&fault, Fault::RateLimited((detail, ms)) if detail.code == "x.usage-capped" && *ms == hours * 3_600_000),
                "{now}: {fault:?}"
            );
        }
    }

    #[test]
    fn a_firewall_in_front_of_x_says_nothing_of_a_post() {
        for (call, body) in [(Call::Write, "<html>Attention required!"), (Call::Read, "")] {
            let fault = fault(403, call, &[], body);
            assert!(matches!(&fault, Fault::RateLimited((detail, 300_000)) if detail.code == "x.blocked"), "{fault:?}");
        }
    }

    #[test]
    fn a_refusal_is_the_token_s_the_post_s_or_the_moment_s() {
        let problem = |detail: &str, slug: &str| {
            format!(r#"{{"title":"Forbidden","detail":"{detail}","type":"https://api.x.com/2/problems/{slug}","status":403}}"#)
        };
        let legacy = |code: u32| format!(r#"{{"errors":[{{"code":{code},"message":"m"}}]}}"#);
        for (status, call, body, code) in [
            (401, Call::Read, "{}".to_owned(), "x.token"),
            (403, Call::Read, problem("no", "client-forbidden"), "x.forbidden"),
            (403, Call::Write, problem("You are not allowed to create a Tweet with duplicate content.", "x"), "x.duplicate-post"),
            (403, Call::Write, legacy(187), "x.duplicate-post"),
            (403, Call::Write, legacy(186), "x.too-long"),
            (403, Call::Write, legacy(326), "x.account"),
            (403, Call::Write, problem("You have not been mentioned or quoted by the author.", "client-forbidden"), "x.not-summoned"),
            (403, Call::Write, problem("Your client is not permitted", "oauth2-permissions"), "x.scope"),
            (403, Call::Write, problem("no", "client-forbidden"), "x.forbidden"),
            (404, Call::Write, "{}".to_owned(), "x.gone"),
            (503, Call::Write, "<html>".to_owned(), "outcome-unknown"),
            (503, Call::Read, "<html>".to_owned(), "x.status"),
        ] {
            let fault = fault(status, call, &[], &body);
            let (Fault::Auth(detail) | Fault::Permanent(detail) | Fault::Transient(detail)) = &fault else { panic!("{body}: {fault:?}") };
            assert_eq!(detail.code, code, "{body}");
            assert!(!detail.message.contains('<'), "{}", detail.message);
        }
    }
}
