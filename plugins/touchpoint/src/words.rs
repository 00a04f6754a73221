//! Small readings of JSON: words, numbers, times, near misses. Pure; knows nothing of interactions.

use serde_json::Value;

/// A text, number or flag as text; absent where it is null, empty or a structure.
pub(crate) fn word(event: &Value, pointer: &str, max: usize) -> Option<String> {
    let text = match event.pointer(pointer)? {
        Value::String(text) => {
            let text = text.trim();
            text.get(..text.floor_char_boundary(max)).unwrap_or_default().to_owned()
        }
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

/// Shape: finite.
pub(crate) fn number(event: &Value, pointer: &str) -> Option<f64> {
    word(event, pointer, 64)?.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Units: milliseconds since 1970; numbers below 10^11 are seconds. A date or time without a zone is taken for UTC.
pub(crate) fn moment(value: &Value) -> Option<u64> {
    let whole = |number: u64| if number < 100_000_000_000 { number.saturating_mul(1000) } else { number };
    match value {
        Value::Number(number) => number.as_u64().map(whole),
        Value::String(text) => {
            let text = text.trim();
            let digits = text.split_once('.').map_or(text, |(digits, _)| digits);
            let civil = || jiff::tz::Offset::UTC.to_timestamp(text.parse().ok()?).ok();
            let stamp = || u64::try_from(text.parse().ok().or_else(civil)?.as_millisecond()).ok();
            // Eight digits are a day: as seconds they would be in 1970.
            let seconds = || digits.parse().ok().map(whole);
            if text.len() == 8 { stamp().or_else(seconds) } else { seconds().or_else(stamp) }
        }
        _ => None,
    }
}

/// The same JSON with every number that a machine would round, as the text it was written as: `12.50` and ids of thirty
/// digits. A feature of the JSON reader does the same, but for every crate of the build.
pub(crate) fn digits_kept(json: &[u8]) -> Vec<u8> {
    let (mut kept, mut rest, mut is_text) = (Vec::with_capacity(json.len() + 16), json, false);
    while let Some((&byte, after)) = rest.split_first() {
        if is_text && byte == b'\\' {
            let (escaped, after) = rest.split_at(rest.len().min(2));
            kept.extend_from_slice(escaped);
            rest = after;
        } else if !is_text && (byte == b'-' || byte.is_ascii_digit()) {
            let end = rest.iter().position(|byte| !byte.is_ascii_digit() && !b"+-.eE".contains(byte)).unwrap_or(rest.len());
            let (number, after) = rest.split_at(end);
            let is_rounded = number.len() > 18 || number.iter().any(|byte| b".eE".contains(byte));
            let quote: &[u8] = if is_rounded && serde_json::from_slice::<Value>(number).is_ok() { b"\"" } else { b"" };
            for part in [quote, number, quote] {
                kept.extend_from_slice(part);
            }
            rest = after;
        } else {
            is_text ^= byte == b'"';
            kept.push(byte);
            rest = after;
        }
    }
    kept
}

/// One letter more, less, or another; or two neighbours swapped.
pub(crate) fn is_near(word: &str, known: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (word.chars().collect(), known.chars().collect());
    let same_head = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let same_tail = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    a.len().abs_diff(b.len()) <= 1 && same_head + same_tail + 2 >= a.len().max(b.len()) && a.len().max(b.len()) > 2
}

/// FNV-1a: the same in every build and on every machine, for it names what was set aside.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_with_and_without_a_zone() {
        let noon = Some(1_795_521_600_000);
        for text in ["2026-11-24T12:00:00Z", "2026-11-24T13:00:00+01:00", "2026-11-24 12:00:00", "1795521600", "1795521600000", "1795521600.5"] {
            assert_eq!(moment(&text.into()), noon, "{text}");
        }
        for text in ["2026-11-24", "20261124"] {
            assert_eq!(moment(&text.into()), Some(1_795_478_400_000), "{text}");
        }
        assert_eq!(moment(&"yesterday".into()), None);
    }

    #[test]
    fn digits_stay_as_they_were_written() {
        let kept = |json: &str| String::from_utf8(digits_kept(json.as_bytes())).unwrap();
        assert_eq!(
            kept(r#"{"a":12.50,"b":7,"c":"x\"1.0","d":[-1e3,18446744073709551616]}"#),
            r#"{"a":"12.50","b":7,"c":"x\"1.0","d":["-1e3","18446744073709551616"]}"#
        );
        for broken in ["1.", "--1.0", "\"\\", "01.5", "{", "1e999"] {
            assert_eq!(serde_json::from_str::<Value>(&kept(broken)).is_ok(), serde_json::from_str::<Value>(broken).is_ok(), "{broken}");
        }
    }
}
