//! Ids, which are numbers of any length kept as text, and the moments that they and X's dates tell.

use std::cmp::Ordering;

use jiff::Timestamp;

/// When X began to count. Units: ms since 1970. Source: the layout of snowflake ids.
const EPOCH_MS: u64 = 1_288_834_974_657;
/// Older posts have small ids that tell no time.
const SNOWFLAKE_MIN: u64 = 1_000_000_000_000_000;
/// What an id may take. Units: bytes.
const ID_BYTES_MAX: usize = 64;

/// Compares as numbers: `9` is before `10`, and nothing is too long.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// The newer of two ids.
pub(crate) fn newer(a: Option<String>, b: Option<String>) -> Option<String> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if compare(&a, &b) == Ordering::Less { b } else { a }),
        (a, b) => a.or(b),
    }
}

pub(crate) fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= ID_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// When an id was given out; none for ids that do not tell. Units: ms since 1970.
pub(crate) fn moment_of(id: &str) -> Option<u64> {
    id.parse::<u64>().ok().filter(|id| *id >= SNOWFLAKE_MIN).map(|id| (id >> 22) + EPOCH_MS)
}

/// RFC 3339, the old `Mon May 19 14:01:46 +0000 2025`, or milliseconds since 1970 as text. Units: ms since 1970.
pub(crate) fn moment(text: &str) -> Option<u64> {
    if is_id(text) {
        return text.parse().ok();
    }
    let old = || jiff::fmt::strtime::parse("%a %b %d %H:%M:%S %z %Y", text).ok()?.to_timestamp().ok();
    let at = text.parse::<Timestamp>().ok().or_else(old)?;
    u64::try_from(at.as_millisecond()).ok()
}

/// RFC 3339 in whole seconds, as X wants it.
pub(crate) fn written(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(0);
    Timestamp::from_second(seconds).map(|at| at.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_compared_as_numbers_of_any_length() {
        for (a, b) in [("9", "10"), ("9007199254740992", "9007199254740993"), ("18446744073709551615", "18446744073709551616"), ("007", "8")] {
            assert_eq!((compare(a, b), compare(b, a), compare(a, a)), (Ordering::Less, Ordering::Greater, Ordering::Equal), "{a} {b}");
            assert_eq!(newer(Some(a.to_owned()), Some(b.to_owned())).as_deref(), Some(b));
        }
        assert!(is_id("1890000000000000001") && !is_id("") && !is_id("-2781149976877970683") && !is_id("1e9"));
    }

    #[test]
    fn every_way_to_write_a_moment_is_read() {
        assert_eq!(moment("2026-05-02T10:00:01.000Z"), Some(1_777_716_001_000));
        assert_eq!(moment("Mon May 19 14:01:46 +0000 2025"), Some(1_747_663_306_000));
        assert_eq!(moment("1784928224372"), Some(1_784_928_224_372));
        assert_eq!(moment("yesterday"), None);
        // The post that X's documentation shows, of 2021-01-06T18:40:40Z.
        assert_eq!(moment_of("1346889436626259968").map(written).as_deref(), Some("2021-01-06T18:40:40Z"));
        assert_eq!((moment_of("20"), written(1_777_716_001_999)), (None, "2026-05-02T10:00:01Z".to_owned()));
    }
}
