//! JSON where every connector has it: its section, its cursor, lists in its state, and what networks send. `plugin` begins the codes of
//! faults, as in `mastodon.section`.

mod fields;

use std::cell::OnceCell;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Fault, Result, config};

pub use fields::{Field, List, Object};

/// The plugin's own section. Errors: `config`, where it has another shape.
pub fn section<T: DeserializeOwned>(plugin: &str) -> Result<T> {
    serde_json::from_str(&config::json()).map_err(|error| Fault::config(&format!("{plugin}.section"), error))
}

/// The cursor that the last poll left; none at the very first. Errors: `permanent` where it is none of the plugin's: to begin anew would
/// leave a gap in silence.
pub fn cursor<T: DeserializeOwned>(plugin: &str, text: Option<&str>) -> Result<Option<T>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let bad = |_| Fault::permanent(&format!("{plugin}.bad-cursor"), "the stored cursor is not this plugin's");
    serde_json::from_str(text).map(Some).map_err(bad)
}

/// JSON as networks send it. Half of a surrogate pair, which JavaScript writes and no text can hold, and bytes that are no UTF-8 are
/// read as U+FFFD, and of a key that stands twice the last counts: one bad text must not hold a page for ever. Errors: it is no JSON of
/// this shape.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(bytes).or_else(|_| T::deserialize(tree(bytes)?))
}

fn tree(bytes: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(bytes).or_else(|error| match mended(&String::from_utf8_lossy(bytes)) {
        mended if mended.as_bytes() == bytes => Err(error),
        mended => serde_json::from_str(&mended),
    })
}

/// An answer whose things are read into a shape, while what none of it fits is still to be had as it was sent.
#[derive(Debug, Default)]
pub struct Body {
    bytes: Vec<u8>,
    /// Made for the first thing that is odd; most answers have none.
    tree: OnceCell<Value>,
}

impl Body {
    /// The body of an answer.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, tree: OnceCell::new() }
    }

    /// As [`read`].
    pub fn read<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        read(&self.bytes)
    }

    /// What stands at an RFC 6901 pointer, as JSON, cut to so many bytes.
    pub fn head(&self, pointer: &str, bytes_max: usize) -> Vec<u8> {
        let tree = self.tree.get_or_init(|| tree(&self.bytes).unwrap_or_default());
        let mut head = tree.pointer(pointer).map(Value::to_string).unwrap_or_default().into_bytes();
        head.truncate(bytes_max);
        head
    }
}

/// The same, each half of a pair that stands alone replaced.
fn mended(json: &str) -> String {
    let (mut whole, mut rest) = (String::with_capacity(json.len()), json);
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        whole.push_str(before);
        let n = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                whole.push('\u{fffd}');
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            (Some(_), _) => 6,
            // The sign behind it belongs to it, above all another backslash.
            (None, _) => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (kept, after) = escape.split_at(n);
        whole.push_str(kept);
        rest = after;
    }
    whole + rest
}

/// The number in `\u1234`.
fn unit(escape: &str) -> Option<u16> {
    let hex = escape.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(hex, 16).ok()
}

/// A cursor as [`cursor`] reads it.
pub fn cursor_text<T: Serialize>(plugin: &str, cursor: &T) -> Result<String> {
    serde_json::to_string(cursor).map_err(|error| Fault::transient(&format!("{plugin}.cursor"), error))
}

/// A list as a value of the state, within so many bytes: the first, which are the oldest, leave it until it fits.
pub fn newest_within<T: Serialize>(items: &mut Vec<T>, bytes_max: usize) -> Vec<u8> {
    loop {
        let bytes = serde_json::to_vec(items).unwrap_or_default();
        if bytes.len() <= bytes_max {
            return bytes;
        }
        items.drain(..items.len().div_ceil(8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_pair_and_wrong_bytes_cost_a_sign_and_not_the_page() {
        let read = |bytes: &[u8]| read::<Vec<String>>(bytes).map(|all| all.concat());
        for (json, expected) in [
            (r#"["a\\ud83d","\ud83d\ude00"]"#, "a\\ud83d😀"),
            (r#"["a\ud800b","\udc00","\ud83d\ud83d\ude00","\\","\n"]"#, "a\u{fffd}b\u{fffd}\u{fffd}😀\\\n"),
            (r#"["\ud800\u0041","\ud8"]"#, ""),
        ] {
            assert_eq!(read(json.as_bytes()).unwrap_or_default(), expected, "{json}");
        }
        assert_eq!(read(b"[\"caf\xe9\"]").unwrap(), "caf\u{fffd}");
        assert!(read(b"<html>").is_err() && read(b"[\"\\").is_err() && read("[\"\\é".as_bytes()).is_err());
    }

    #[test]
    fn what_is_odd_is_to_be_had_as_it_was_sent() {
        let body = Body::new(br#"{"all":[1,{"a":"\ud83d","b":[]}]}"#.to_vec());
        assert_eq!(body.read::<List<Field>>().unwrap(), List(None));
        assert_eq!(String::from_utf8(body.head("/all/1", 99)).unwrap(), "{\"a\":\"\u{fffd}\",\"b\":[]}");
        assert_eq!((body.head("/all/1", 3), body.head("/all/2", 99)), (b"{\"a".to_vec(), Vec::new()));
    }

    #[test]
    fn a_list_loses_its_oldest_until_it_fits() {
        let mut items: Vec<u32> = (100..200).collect();
        assert_eq!(newest_within(&mut items, 401).len(), 401, "all of it fits");
        let bytes = newest_within(&mut items, 100);
        assert!(bytes.len() <= 100 && items.last() == Some(&199) && items.len() > 15, "{items:?}");
        assert_eq!(newest_within(&mut vec!["x".repeat(50)], 10), b"[]");
    }

    #[test]
    fn a_cursor_of_somebody_else_is_told_and_none_is_the_first() {
        assert_eq!(cursor::<u64>("x", None).unwrap(), None);
        assert_eq!(cursor::<u64>("x", Some("")).unwrap(), None);
        assert_eq!(cursor::<u64>("x", Some(&cursor_text("x", &7_u64).unwrap())).unwrap(), Some(7));
        assert!(matches!(cursor::<u64>("x", Some("{}")), Err(Fault::Permanent(detail)) if detail.code == "x.bad-cursor"));
    }
}
