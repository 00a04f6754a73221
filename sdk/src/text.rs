//! Texts within the bounds of the contract.

/// The beginning of a text, whole characters, at most so many bytes.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}
