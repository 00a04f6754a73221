//! What networks say of their rate limits, in every unit that they say it in, as one type: how much is left, and for how long.
//!
//! | said by | as |
//! |---|---|
//! | X | `x-rate-limit-limit`, `-remaining`, `-reset`: seconds since 1970 |
//! | Mastodon, Vimeo | `X-RateLimit-*`, reset: an ISO 8601 instant |
//! | Reddit | `x-ratelimit-used`, `-remaining` (a fraction), `-reset`: seconds left; or prose with status 200: [`prose_ms`] |
//! | Bluesky | `RateLimit-*`, reset: seconds since 1970 |
//! | Tumblr | `X-Ratelimit-Perhour-*`, `-Perday-*`, reset: seconds left |
//! | Discourse, Telegram and most others | `Retry-After`, or seconds in the body: [`seconds_ms`] |
//! | Meta | per cent used, and minutes until it is over: [`Allowance::used`] |
//! | YouTube | nothing: the quota is whole again at midnight in California: [`until_midnight_ms`] |

use jiff::Timestamp as Instant;
use jiff::civil::Time;
use jiff::tz::TimeZone;

pub use crate::connector::Allowance;
use crate::http::Response;
use crate::{Timestamp, clock};

/// A number that is smaller counts seconds from now, a larger one seconds since 1970.
const EPOCH_S_MIN: f64 = 1_000_000_000.0;
/// What a network asks for that does not say how long.
const LATER_MS: u64 = 60_000;
/// No network means less.
const SOONEST_MS: u64 = 1_000;
/// Where networks begin the names of their headers, and what they put between the parts.
const FAMILIES: [&str; 5] = ["x-rate-limit-", "x-ratelimit-", "ratelimit-", "x-ratelimit-perhour-", "x-ratelimit-perday-"];
/// YouTube's and Google's day. Source: POSIX form of America/Los_Angeles since 2007.
pub const PACIFIC: &str = "PST8PDT,M3.2.0,M11.1.0";

impl Allowance {
    /// From a share that is used. Units: per cent, milliseconds.
    pub fn used(per_cent: f64, resets_in_ms: u64) -> Self {
        Self { left: (1.0 - per_cent / 100.0).clamp(0.0, 1.0), resets_in_ms }
    }

    /// The tightest of what the headers of an answer say; none where they say nothing that can be understood.
    pub fn of(answer: &Response) -> Option<Self> {
        FAMILIES.iter().filter_map(|family| Self::of_family(answer, family)).reduce(Self::or_tighter)
    }

    /// Whichever leaves less.
    pub fn or_tighter(self, other: Self) -> Self {
        if other.left < self.left { other } else { self }
    }

    fn of_family(answer: &Response, family: &str) -> Option<Self> {
        let number = |part: &str| answer.header(&format!("{family}{part}"))?.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
        let remaining = number("remaining")?;
        let limit = number("limit").or_else(|| Some(number("used")? + remaining)).filter(|limit| *limit > 0.0)?;
        let resets_in_ms = wait_ms(answer.header(&format!("{family}reset"))?, answer.answered_at())?;
        Some(Self { left: (remaining / limit).clamp(0.0, 1.0), resets_in_ms })
    }
}

/// Seconds from now, seconds since 1970, an ISO instant or a date of HTTP, as milliseconds from now; none where it is nothing of these.
/// `now`: by the clock of who says it, [`Response::answered_at`].
pub fn wait_ms(text: &str, now: Timestamp) -> Option<u64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        let from_now = if number >= EPOCH_S_MIN { number - seconds(now) } else { number };
        return number.is_finite().then(|| seconds_ms(from_now));
    }
    let by_http = || jiff::fmt::rfc2822::parse(text).ok().map(|at| at.timestamp());
    let at = text.parse::<Instant>().ok().or_else(by_http)?;
    Some(u64::try_from(at.as_millisecond()).unwrap_or(0).saturating_sub(now))
}

/// Seconds as a network's JSON tells them, rounded up; nothing for what is past. Units: milliseconds.
pub fn seconds_ms(seconds: f64) -> u64 {
    std::time::Duration::try_from_secs_f64(seconds.max(0.0).ceil()).map_or(u64::MAX, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
}

/// `you are doing that too much. try again in 9 minutes.` Units: milliseconds.
pub fn prose_ms(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.windows(2).find_map(|pair| {
        let &[number, unit] = pair else { return None };
        let number: u64 = number.parse().ok()?;
        let unit_ms = match unit.to_ascii_lowercase().trim_end_matches('s') {
            "millisecond" => 1,
            "second" | "sec" => 1_000,
            "minute" | "min" => 60_000,
            "hour" => 3_600_000,
            "day" => 86_400_000,
            _ => return None,
        };
        Some(number.saturating_mul(unit_ms))
    })
}

/// Until the day is over where `zone`, in POSIX form, is: [`PACIFIC`], `UTC0`. Units: milliseconds.
pub fn until_midnight_ms(zone: &str) -> u64 {
    let midnight = || {
        let (now, zone) = (Instant::from_millisecond(i64::try_from(clock::now()).ok()?).ok()?, TimeZone::posix(zone).ok()?);
        let tomorrow = zone.to_timestamp(zone.to_datetime(now).date().tomorrow().ok()?.to_datetime(Time::midnight())).ok()?;
        u64::try_from(tomorrow.as_millisecond() - now.as_millisecond()).ok()
    };
    midnight().unwrap_or(86_400_000)
}

/// How long to wait after a 429: the longest of what the headers say, else a minute; a window that something is left of is not what
/// refused. Units: milliseconds.
pub fn refused_ms(answer: &Response) -> u64 {
    let is_left =
        |family: &str| answer.header(&format!("{family}remaining")).is_some_and(|left| left.trim().parse::<f64>().is_ok_and(|left| left > 0.0));
    let resets = FAMILIES.iter().filter(|family| !is_left(family)).filter_map(|family| answer.header(&format!("{family}reset")));
    let now = answer.answered_at();
    let said = answer.header("retry-after").into_iter().chain(resets).filter_map(|text| wait_ms(text, now)).max();
    said.unwrap_or(LATER_MS).max(SOONEST_MS)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
fn seconds(now: Timestamp) -> f64 {
    now as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_host;

    /// 2026-05-02T10:00:00Z.
    const NOW_MS: u64 = 1_777_716_000_000;

    fn at(now: u64) {
        with_host(|host| host.now = now);
    }

    fn answer(headers: &[(&str, &str)]) -> Response {
        at(NOW_MS);
        Response { status: 429, headers: headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(), body: Vec::new() }
    }

    #[test]
    fn every_network_s_headers_say_the_same_thing() {
        for headers in [
            [("x-rate-limit-limit", "300"), ("x-rate-limit-remaining", "75"), ("x-rate-limit-reset", "1777716090")],
            [("x-ratelimit-limit", "300"), ("x-ratelimit-remaining", "75"), ("x-ratelimit-reset", "2026-05-02T10:01:30.000Z")],
            [("x-ratelimit-used", "225"), ("x-ratelimit-remaining", "75.0"), ("x-ratelimit-reset", "90")],
            [("ratelimit-limit", "3000"), ("ratelimit-remaining", "750"), ("ratelimit-reset", "1777716090")],
            [("x-ratelimit-perday-limit", "5000"), ("x-ratelimit-perday-remaining", "1250"), ("x-ratelimit-perday-reset", "90")],
        ] {
            let told = Allowance::of(&answer(&headers)).unwrap();
            assert!((told.left - 0.25).abs() < 1e-9 && told.resets_in_ms == 90_000, "{headers:?}: {told:?}");
        }
    }

    #[test]
    fn the_tightest_of_several_counts_and_rubbish_does_not() {
        let both = answer(&[
            ("x-ratelimit-perhour-limit", "1000"),
            ("x-ratelimit-perhour-remaining", "900"),
            ("x-ratelimit-perhour-reset", "60"),
            ("x-ratelimit-perday-limit", "5000"),
            ("x-ratelimit-perday-remaining", "50"),
            ("x-ratelimit-perday-reset", "7200"),
        ]);
        assert_eq!(Allowance::of(&both), Some(Allowance { left: 0.01, resets_in_ms: 7_200_000 }));
        for rubbish in ["", "-1", "NaN", "inf", "many"] {
            let headers = [("x-rate-limit-limit", "300"), ("x-rate-limit-remaining", rubbish), ("x-rate-limit-reset", "1777716090")];
            assert_eq!(Allowance::of(&answer(&headers)), None, "{rubbish}");
        }
        assert_eq!(Allowance::used(97.0, 300_000).or_tighter(Allowance::used(28.0, 0)), Allowance::used(97.0, 300_000));
        assert!(Allowance::used(412.0, 0).left.abs() < f64::EPSILON);
    }

    #[test]
    fn a_refusal_says_how_long_in_whatever_unit() {
        for (headers, expected) in [
            (&[("retry-after", "7")][..], 7_000),
            (&[("retry-after", "Sat, 02 May 2026 10:02:00 GMT")][..], 120_000),
            (&[("retry-after", "3"), ("x-rate-limit-reset", "1777716900")][..], 900_000),
            (&[("x-rate-limit-reset", "1777715000")][..], 1_000),
            (&[("retry-after", "0.2")][..], 1_000),
            (&[("retry-after", "soon")][..], 60_000),
            (&[][..], 60_000),
        ] {
            assert_eq!(refused_ms(&answer(headers)), expected, "{headers:?}");
        }
        assert_eq!(prose_ms("you are doing that too much. try again in 9 minutes."), Some(540_000));
        assert_eq!(prose_ms("Too Many Requests: retry after 5 seconds"), Some(5_000));
        assert_eq!(prose_ms("try again later"), None);
    }

    #[test]
    fn a_network_s_moments_are_in_its_own_time_unless_that_is_absurd() {
        // Three minutes ahead, three behind, and a day off.
        for (date, reset, expected) in [
            ("Sat, 02 May 2026 10:03:00 GMT", "1777716183", 3_000),
            ("Sat, 02 May 2026 09:57:00 GMT", "1777715823", 3_000),
            ("Fri, 01 May 2026 10:00:00 GMT", "1777716003", 3_000),
            ("soon", "1777716003", 3_000),
        ] {
            let answer = answer(&[("date", date), ("x-rate-limit-limit", "300"), ("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", reset)]);
            assert_eq!(refused_ms(&answer), expected, "{date}");
            assert_eq!(Allowance::of(&answer).map(|told| told.resets_in_ms), Some(expected), "{date}");
        }
        let (hour, day) = ("x-ratelimit-perhour-", "x-ratelimit-perday-");
        let names = [hour, day].map(|family| ["limit", "remaining", "reset"].map(|part| format!("{family}{part}")));
        let said = [["1000", "0", "600"], ["5000", "4000", "70000"]];
        let both: Vec<(&str, &str)> = names.iter().flatten().map(String::as_str).zip(said.iter().flatten().copied()).collect();
        assert_eq!(refused_ms(&answer(&both)), 600_000, "the day is not used up");
        assert_eq!(refused_ms(&answer(&[("date", "Sat, 02 May 2026 10:03:00 GMT"), ("retry-after", "Sat, 02 May 2026 10:03:05 GMT")])), 5_000);
    }

    #[test]
    fn a_day_ends_at_midnight_where_the_network_lives_summer_time_and_all() {
        for (now, zone, hours) in [
            ("2026-05-02T10:00:00Z", PACIFIC, 21),
            ("2026-01-02T10:00:00Z", PACIFIC, 22),
            // The clocks go forward on that day, and back on this.
            ("2026-03-08T08:00:00Z", PACIFIC, 23),
            ("2026-11-01T07:00:00Z", PACIFIC, 25),
            ("2026-05-02T10:00:00Z", "UTC0", 14),
        ] {
            let now: Instant = now.parse().unwrap();
            at(u64::try_from(now.as_millisecond()).unwrap());
            assert_eq!(until_midnight_ms(zone), hours * 3_600_000, "{now} {zone}");
        }
    }
}
