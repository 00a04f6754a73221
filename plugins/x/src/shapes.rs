//! Fields of what X sends, read with care: anybody may fill them, and both generations of names are about. What is missing, null
//! or of another type is absent, and everything is cut to the bounds of the contract.

use membrana_sdk::text::cut;
use serde_json::Value as Json;

use crate::ids::is_id;

/// Units: bytes. The contract allows 1 KiB for names, 4 KiB for addresses, subject, notes and reply context.
pub(crate) const NAME_BYTES_MAX: usize = 512;
pub(crate) const URL_BYTES_MAX: usize = 4096;
pub(crate) const TEXT_BYTES_MAX: usize = 256 << 10;
pub(crate) const WORD_BYTES_MAX: usize = 64;
const NOTE_BYTES_MAX: usize = 4096;
const HEAD_BYTES_MAX: usize = 64 << 10;

/// None where it is no text.
pub(crate) fn text<'j>(of: &'j Json, key: &str, bytes_max: usize) -> Option<&'j str> {
    of.get(key).and_then(Json::as_str).map(|text| cut(text, bytes_max))
}

/// What must not be cut: absent where it is too long or empty.
pub(crate) fn whole<'j>(of: &'j Json, key: &str, bytes_max: usize) -> Option<&'j str> {
    of.get(key).and_then(Json::as_str).filter(|text| !text.is_empty() && text.len() <= bytes_max)
}

/// `id_str` before `id`; a number is no id, for the old API rounds it.
pub(crate) fn id(of: &Json, key: &str) -> Option<String> {
    id_in(of, key).map(str::to_owned)
}

/// As [`id`], where it stands.
pub(crate) fn id_in<'j>(of: &'j Json, key: &str) -> Option<&'j str> {
    let text = |key: &str| of.get(key).and_then(Json::as_str).filter(|text| is_id(text));
    text(&format!("{key}_str")).or_else(|| text(key))
}

/// The first of these keys that is there: the new name and the old one.
pub(crate) fn either<'j>(of: &'j Json, keys: [&str; 2]) -> &'j Json {
    keys.into_iter().find_map(|key| of.get(key).filter(|value| !value.is_null())).unwrap_or(&Json::Null)
}

pub(crate) fn items(of: &Json) -> &[Json] {
    of.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn list<'j>(of: &'j Json, key: &str) -> &'j [Json] {
    of.get(key).map(items).unwrap_or_default()
}

/// Some deliveries wrap what they include in `{"data": …}`.
pub(crate) fn unwrapped(json: &Json) -> &Json {
    json.get("data").filter(|data| data.is_object()).unwrap_or(json)
}

/// A count that may come as text; finite and not negative.
pub(crate) fn count(of: &Json, keys: [&str; 2]) -> Option<f64> {
    let value = either(of, keys);
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).filter(|count| count.is_finite() && *count >= 0.0)
}

/// What X escapes in a text.
pub(crate) fn plain(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// A tag of BCP 47; none where X could not tell, or says that there are no words.
pub(crate) fn language(tag: &str) -> Option<String> {
    match tag {
        "in" => Some("id".to_owned()),
        "iw" => Some("he".to_owned()),
        "ji" => Some("yi".to_owned()),
        "und" | "zxx" | "art" | "mis" | "mul" => None,
        // `qme`, `qht` and their like are X's own: media, tags.
        tag if tag.starts_with('q') && tag.len() == 3 => None,
        tag => Some(tag.to_owned()).filter(|tag| (2..=35).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')),
    }
}

/// A note's body: the whole JSON where it fits, else its beginning as text.
pub(crate) fn note_body(json: &Json) -> String {
    let body = json.to_string();
    if body.len() <= NOTE_BYTES_MAX {
        return body;
    }
    // Escaped, each byte may take six.
    serde_json::json!({ "head": cut(&body, NOTE_BYTES_MAX / 8) }).to_string()
}

/// The first bytes of what cannot be read.
pub(crate) fn head(bytes: &[u8]) -> Vec<u8> {
    bytes.get(..HEAD_BYTES_MAX.min(bytes.len())).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rounded_number_is_no_id() {
        let json = serde_json::json!({ "id": 1_924_463_837_586_088_000_u64, "id_str": "1924463837586087936", "user_id": 7, "b": "x" });
        assert_eq!((id(&json, "id").as_deref(), id(&json, "user_id"), id(&json, "b")), (Some("1924463837586087936"), None, None));
    }

    #[test]
    fn languages_are_told_only_where_x_knows_them() {
        let tags = ["it", "zh-TW", "in", "und", "qme", "", "x\u{0}"].map(language);
        assert_eq!(tags, [Some("it".to_owned()), Some("zh-TW".to_owned()), Some("id".to_owned()), None, None, None, None]);
    }

    #[test]
    fn notes_stay_within_the_contract() {
        let long = serde_json::json!({ "detail": "\u{1}\"".repeat(20_000) });
        assert!(note_body(&long).len() <= NOTE_BYTES_MAX && note_body(&long).contains("head"));
        assert_eq!(cut("èè", 3), "è");
    }
}
