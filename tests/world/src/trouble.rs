//! Trouble: by dice, what goes wrong with each request, in the words and the units of each network, until it is calm again.
//!
//! A refusal lasts as long as it says, for whoever asks; what may already have been done is the most frequent trouble of a write.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::dice::Dice;
use crate::door::Next;
use crate::server::Asked;

/// A refusal, at least and at most. Units: milliseconds.
const REFUSED_MS_MIN: u64 = 1_000;
const REFUSED_MS_MAX: u64 = 3_000;
/// Units: milliseconds.
const SLOW_MS_MAX: u64 = 400;
/// Of an answer that is cut, this much arrives at most. Units: bytes.
const CUT_BYTES_MAX: u64 = 60;

/// How a network says no.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    /// By HTTP alone.
    #[default]
    Plain,
    X,
    Meta,
    Discourse,
    Mastodon,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Woe {
    /// Too many calls.
    Limited,
    /// The token is taken no more, for a while.
    Expired,
    /// A page of HTML with 503.
    Down,
    /// The connection ends, and nothing was done.
    Unheard,
    /// It is done, and the answer ends in its body.
    Cut,
    /// It is done, and nothing is answered.
    Lost,
    /// What is listed comes twice.
    Twice,
    /// What is listed comes the other way round.
    Reordered,
    /// It takes a while.
    Slow,
}

/// Of a hundred requests, so many of each kind: of reads and of writes.
const SHARES: [(Woe, u64, u64); 8] = [
    (Woe::Limited, 3, 5),
    (Woe::Down, 4, 6),
    (Woe::Unheard, 3, 6),
    (Woe::Cut, 3, 12),
    (Woe::Lost, 3, 12),
    (Woe::Twice, 5, 0),
    (Woe::Reordered, 5, 0),
    (Woe::Slow, 3, 3),
];
/// Of a hundred requests, on so many the token expires, where long waits are allowed.
const EXPIRED_SHARE: u64 = 3;

/// The trouble of one network.
#[derive(Debug, Clone)]
pub struct Trouble {
    dice: Dice,
    has_long_waits: bool,
    /// Units: milliseconds.
    refused_ms_max: u64,
    /// What is refused until when, by the network's clock.
    refuses: Option<(Woe, u64)>,
    dealt: BTreeMap<Woe, usize>,
}

impl Trouble {
    /// Trouble that falls the same for the same seed and requests. It ends by itself within seconds.
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), has_long_waits: false, refused_ms_max: REFUSED_MS_MAX, refuses: None, dealt: BTreeMap::new() }
    }

    /// Also what makes a host wait for a minute: expired tokens, and limits in Meta's unit.
    #[must_use]
    pub fn with_long_waits(mut self) -> Self {
        self.has_long_waits = true;
        self
    }

    /// Refusals last up to this, by the network's clock.
    #[must_use]
    pub fn lasting(mut self, refused: Duration) -> Self {
        self.refused_ms_max = u64::try_from(refused.as_millis()).unwrap_or(u64::MAX).max(REFUSED_MS_MIN + 1);
        self
    }

    /// Says whether a host may have to wait for minutes.
    pub fn has_long_waits(&self) -> bool {
        self.has_long_waits
    }

    /// How often each kind happened.
    pub fn dealt(&self) -> &BTreeMap<Woe, usize> {
        &self.dealt
    }

    /// What happens to this request; `now_ms` is the network's clock.
    pub(crate) fn next(&mut self, manner: Manner, asked: &Asked, now_ms: u64) -> Option<Next> {
        if asked.path.starts_with("/oauth/") {
            // A refresh token works once: whoever loses that answer must log in again, on every network.
            return None;
        }
        let woe = self.woe(manner, asked.method == "GET", now_ms)?;
        *self.dealt.entry(woe).or_default() += 1;
        Some(match woe {
            Woe::Limited | Woe::Expired => {
                let left_s = self.refuses.map_or(0, |(_, until)| until.saturating_sub(now_ms).div_ceil(1000));
                let (status, headers, body) =
                    if woe == Woe::Limited { limited(manner, left_s, now_ms, self.dice.below(3)) } else { expired(manner, self.dice.below(2) == 0) };
                Next::Answer { status, headers, body }
            }
            Woe::Down => down(manner, self.dice.below(2) == 0),
            Woe::Unheard => Next::Unheard,
            Woe::Cut => Next::CutBody(usize::try_from(1 + self.dice.below(CUT_BYTES_MAX)).unwrap_or(1)),
            Woe::Lost => Next::LoseAnswer,
            Woe::Twice => Next::Twice,
            Woe::Reordered => Next::Reordered,
            Woe::Slow => Next::Delay(Duration::from_millis(self.dice.below(SLOW_MS_MAX))),
        })
    }

    fn woe(&mut self, manner: Manner, is_read: bool, now_ms: u64) -> Option<Woe> {
        if let Some((woe, _)) = self.refuses.filter(|(_, until)| *until > now_ms) {
            return Some(woe);
        }
        let is_token = manner != Manner::Plain && self.has_long_waits && self.dice.below(100) < EXPIRED_SHARE;
        let mut fall = self.dice.below(100);
        let by_share = SHARES.iter().find_map(|(woe, of_reads, of_writes)| {
            let share = if is_read { *of_reads } else { *of_writes };
            let is_it = fall < share;
            fall = fall.saturating_sub(share);
            is_it.then_some(*woe)
        });
        let woe = if is_token { Some(Woe::Expired) } else { by_share }?;
        match woe {
            Woe::Limited if manner == Manner::Meta && !self.has_long_waits => return None,
            Woe::Limited | Woe::Expired => {
                let lasts_ms = REFUSED_MS_MIN + self.dice.below(self.refused_ms_max - REFUSED_MS_MIN);
                self.refuses = Some((woe, now_ms + lasts_ms));
            }
            _ => {}
        }
        Some(woe)
    }
}

type Said = (u16, Vec<(String, String)>, String);

fn said<const N: usize>(status: u16, headers: [(&str, String); N], body: &Json) -> Said {
    let headers = headers.map(|(name, value)| (name.to_owned(), value));
    (status, [headers.to_vec(), vec![("content-type".to_owned(), "application/json".to_owned())]].concat(), body.to_string())
}

/// A date as HTTP has it.
pub(crate) fn http_date(ms: u64) -> String {
    instant(ms).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

pub(crate) fn instant(ms: u64) -> jiff::Timestamp {
    i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default()
}

/// Each in its own signals and its own unit; `way` picks one of three.
fn limited(manner: Manner, wait_s: u64, now_ms: u64, way: u64) -> Said {
    let until_ms = now_ms + wait_s * 1000;
    match manner {
        Manner::X => {
            let body = match way {
                0 => json!({ "errors": [{ "code": 88, "message": "Rate limit exceeded" }] }),
                _ => json!({ "title": "Too Many Requests", "detail": "Too Many Requests", "type": "about:blank", "status": 429 }),
            };
            let reset = until_ms.div_ceil(1000).to_string();
            let headers = [("x-rate-limit-limit", "300".to_owned()), ("x-rate-limit-remaining", "0".to_owned()), ("x-rate-limit-reset", reset)];
            said(429, headers, &body)
        }
        Manner::Meta => {
            let code = [4, 32, 80_001].get(usize::try_from(way).unwrap_or(0)).copied().unwrap_or(4);
            // Minutes are its smallest unit: what it refuses is taken again sooner than it says.
            let used = json!({ "call_count": 100, "total_cputime": 25, "total_time": 25, "type": "pages", "estimated_time_to_regain_access": wait_s.div_ceil(60) });
            let error = json!({ "message": format!("(#{code}) Application request limit reached"), "type": "OAuthException", "is_transient": true, "code": code });
            said(400, [("x-business-use-case-usage", json!({ (crate::PAGE): [used] }).to_string())], &json!({ "error": error }))
        }
        Manner::Discourse => {
            let error = format!("You've performed this action too many times. Please wait {wait_s} seconds before trying again.");
            let extras = json!({ "wait_seconds": wait_s, "time_left": format!("{wait_s} seconds") });
            let body = json!({ "errors": [error], "error_type": "rate_limit", "extras": extras });
            match way {
                0 => said(429, [], &body),
                1 => said(429, [("retry-after", wait_s.to_string())], &body),
                _ => said(429, [("retry-after", http_date(until_ms))], &json!({ "errors": ["Slow down"] })),
            }
        }
        Manner::Mastodon => {
            let reset = format!("{:.6}", instant(until_ms));
            let headers = [("x-ratelimit-limit", "300".to_owned()), ("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", reset)];
            said(429, headers, &json!({ "error": "Too many requests" }))
        }
        Manner::Plain => match way {
            0 => said(429, [("retry-after", http_date(until_ms))], &json!({})),
            1 => said(503, [("retry-after", wait_s.to_string())], &json!({})),
            _ => said(429, [("retry-after", wait_s.to_string())], &json!({})),
        },
    }
}

/// `is_revoked`: somebody took the permission back, where the network tells that apart.
fn expired(manner: Manner, is_revoked: bool) -> Said {
    match manner {
        Manner::X => said(401, [], &json!({ "title": "Unauthorized", "detail": "Unauthorized", "type": "about:blank", "status": 401 })),
        Manner::Meta => {
            let (subcode, message) = if is_revoked { (458, "The user has not authorized application") } else { (463, "Session has expired") };
            let error = json!({ "message": format!("Error validating access token: {message}"), "type": "OAuthException", "code": 190, "error_subcode": subcode });
            said(400, [], &json!({ "error": error }))
        }
        Manner::Discourse => {
            let error = "You are not permitted to view the requested resource. The API username or key is invalid.";
            said(403, [], &json!({ "errors": [error], "error_type": "invalid_access" }))
        }
        Manner::Mastodon => said(401, [], &json!({ "error": "The access token is invalid" })),
        Manner::Plain => said(401, [], &json!({})),
    }
}

/// A proxy's page, or Meta's own words for the same.
fn down(manner: Manner, is_own: bool) -> Next {
    if manner == Manner::Meta && is_own {
        let error = json!({ "message": "An unexpected error has occurred. Please retry your request later.", "type": "OAuthException", "is_transient": true, "code": 2 });
        let (status, headers, body) = said(500, [], &json!({ "error": error }));
        return Next::Answer { status, headers, body };
    }
    let body = "<!DOCTYPE html><html><head><title>503</title></head><body><center><h1>Service Unavailable</h1></center></body></html>";
    Next::Answer { status: 503, headers: vec![("content-type".to_owned(), "text/html; charset=utf-8".to_owned())], body: body.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str) -> Asked {
        Asked { method: method.to_owned(), path: "/a".to_owned(), headers: Vec::new(), body: String::new() }
    }

    fn falls(seed: u64) -> (String, BTreeMap<Woe, usize>) {
        let mut trouble = Trouble::new(seed);
        let all = (0..400).map(|n| format!("{:?}", trouble.woe(Manner::Meta, n % 2 == 0, n * 100))).collect();
        (all, trouble.dealt.clone())
    }

    #[test]
    fn the_same_seed_brings_the_same_trouble() {
        assert_eq!(falls(7), falls(7));
        assert_ne!(falls(7).0, falls(8).0);
    }

    #[test]
    fn a_refusal_lasts_for_everybody_and_logins_are_spared() {
        let mut trouble = Trouble::new(1);
        let now = 1_777_716_000_000;
        trouble.refuses = Some((Woe::Limited, now + 1));
        for method in ["GET", "POST"] {
            let next = trouble.next(Manner::X, &asked(method), now);
            assert!(
                matches!(&next, Some(Next::Answer { status: 429, headers, .. }) if headers.iter().any(|(name, _)| name == "x-rate-limit-reset")),
                "{next:?}"
            );
        }
        assert!(trouble.next(Manner::X, &Asked { path: "/oauth/token".to_owned(), ..asked("POST") }, 0).is_none());
        assert_eq!(trouble.dealt().get(&Woe::Limited), Some(&2));
    }

    #[test]
    fn each_network_names_the_moment_in_its_own_unit() {
        let now = 1_777_716_000_000;
        let header = |manner, way, name: &str| {
            let (_, headers, body) = limited(manner, 3, now, way);
            headers.into_iter().find(|(known, _)| known == name).map_or(body, |(_, value)| value)
        };
        assert_eq!(header(Manner::X, 0, "x-rate-limit-reset"), "1777716003");
        assert_eq!(header(Manner::Mastodon, 0, "x-ratelimit-reset"), "2026-05-02T10:00:03.000000Z");
        assert_eq!(header(Manner::Plain, 0, "retry-after"), "Sat, 02 May 2026 10:00:03 GMT");
        assert!(header(Manner::Discourse, 0, "retry-after").contains("\"wait_seconds\":3"));
        assert!(header(Manner::Meta, 0, "x-business-use-case-usage").contains("\"estimated_time_to_regain_access\":1"));
    }
}
