//! JSON where every connector has it: its section, its cursor, and lists in its state. `plugin` begins the codes of faults, as in
//! `mastodon.section`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Fault, Result, config};

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
