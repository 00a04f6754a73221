//! Fields of what the network sends, one by one, cut to the bounds of the contract. Ids never pass through a float.

use membrana_sdk::Timestamp;
use membrana_sdk::text::cut;
use serde_json::Value as Json;

/// Units: bytes.
pub const ID_BYTES_MAX: usize = 512;
/// Units: bytes.
pub const NAME_BYTES_MAX: usize = 512;
/// Units: bytes.
pub const URL_BYTES_MAX: usize = 4096;
/// Units: bytes.
pub const TEXT_BYTES_MAX: usize = 512 << 10;
/// Units: bytes.
pub const WORD_BYTES_MAX: usize = 64;
/// A moment that is smaller counts seconds.
const MS_MIN: u64 = 100_000_000_000;

/// Empty where it is no text.
pub fn text(of: &Json, key: &str, bytes_max: usize) -> String {
    of.get(key).and_then(Json::as_str).map(|text| cut(text, bytes_max).to_owned()).unwrap_or_default()
}

/// What must not be cut: absent where it is too long.
pub fn whole(of: &Json, key: &str, bytes_max: usize) -> Option<String> {
    of.get(key).and_then(Json::as_str).filter(|text| !text.is_empty() && text.len() <= bytes_max).map(str::to_owned)
}

/// An id, as text or as a whole number.
pub fn id(of: &Json, key: &str) -> Option<String> {
    whole(of, key, ID_BYTES_MAX).or_else(|| of.get(key).and_then(Json::as_u64).map(|number| number.to_string()))
}

/// The id of an object inside: `{"parent":{"id":"…"}}`.
pub fn id_in(of: &Json, key: &str) -> Option<String> {
    id(of.get(key)?, "id")
}

/// Empty where it is no list.
pub fn list<'a>(of: &'a Json, key: &str) -> &'a [Json] {
    of.get(key).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The items of an edge that came with its node: `{"messages":{"data":[…]}}`.
pub fn edge<'a>(of: &'a Json, key: &str) -> &'a [Json] {
    of.get(key).map(|inner| list(inner, "data")).unwrap_or_default()
}

/// `2023-07-14T10:45:55+0000`, RFC 3339, or a number of seconds or milliseconds, as text or not. Units: milliseconds since 1970.
pub fn moment(of: &Json, key: &str) -> Option<Timestamp> {
    let value = of.get(key)?;
    if let Some(number) = value.as_u64() {
        return Some(in_ms(number));
    }
    let text = value.as_str()?;
    if let Ok(number) = text.parse() {
        return Some(in_ms(number));
    }
    let spelt = || jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%z", text).ok()?.to_timestamp().ok();
    let at = text.parse::<jiff::Timestamp>().ok().or_else(spelt)?;
    u64::try_from(at.as_millisecond()).ok()
}

/// Changes carry seconds, messages milliseconds. Units: milliseconds since 1970.
pub fn in_ms(number: u64) -> Timestamp {
    if number < MS_MIN { number.saturating_mul(1000) } else { number }
}

/// Words as they are compared: the network trims and folds blanks.
pub fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
