//! Small readings of text: places, durations, numbers, near misses. Pure; knows nothing of rows.

use std::ops::Range;

use toml::de::DeValue;

/// No deadline lies further off. Units: milliseconds.
const DURATION_MS_MAX: u64 = 3650 * 86_400_000;

/// Turns byte offsets into lines and columns; a table of a thousand rows has many places.
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// Shape: 1-based line and column; columns count characters, as the host's own do.
    pub(crate) fn place(&self, span: &Range<usize>) -> (u32, u32) {
        let line = self.starts.partition_point(|start| *start <= span.start).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..span.start).map_or(span.start - start, |before| before.chars().count()) + 1;
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }
}

/// Shape: finite; a table's `nan` would match everything.
pub(crate) fn number_of(value: &DeValue<'_>) -> Option<f64> {
    let number: f64 = match value {
        DeValue::Float(number) => number.as_str().parse().ok()?,
        DeValue::Integer(number) => i32::from_str_radix(number.as_str(), number.radix()).ok()?.into(),
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// `90s`, `30m`, `2h`, `1d`; more than nothing, at most ten years.
pub(crate) fn duration_ms(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    let ms = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(ms).filter(|ms| (1..=DURATION_MS_MAX).contains(ms))
}

/// The words in braces: `{author}`. Braces around anything but a word are text.
pub(crate) fn places_in(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_');
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(word, _)| word)).filter(is_word)
}

/// One letter more, less, or another; or two neighbours swapped.
pub(crate) fn is_near(word: &str, known: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (word.chars().collect(), known.chars().collect());
    let same_head = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let same_tail = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let longest = a.len().max(b.len());
    a.len().abs_diff(b.len()) <= 1 && same_head + same_tail + 2 >= longest && longest > 2
}

/// Says whether a row's word stands for what was found: case is nothing, and the language `en` holds `en-GB`.
pub(crate) fn is_same(key: &str, wanted: &str, found: &str) -> bool {
    let has_head = || found.get(..wanted.len()).is_some_and(|head| head.eq_ignore_ascii_case(wanted));
    let is_sub = key == "language" && found.as_bytes().get(wanted.len()) == Some(&b'-') && has_head();
    is_sub || wanted.eq_ignore_ascii_case(found)
}
