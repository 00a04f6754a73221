//! What a post says, without what it quotes of others: from Markdown as it was written, or from the HTML that is shown.

use membrana_markup::plain;

/// Of text and quotation. The contract allows 1 MiB. Units: bytes.
const TEXT_BYTES_MAX: usize = 512 << 10;

/// A post's words.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Words {
    pub(crate) text: String,
    pub(crate) quoted: Option<String>,
}

impl Words {
    /// From Markdown: `[quote="anna, post:2, topic:5"]…[/quote]` is a quotation.
    pub(crate) fn of_raw(raw: &str) -> Self {
        let (said, quoted) = parted(raw, "[quote", "[/quote]", |inside| inside.find(']').map_or(0, |at| at + 1));
        Self::of(&readable(&said), &readable(&quoted))
    }

    /// From what readers are shown: `<aside class="quote">…</aside>` is a quotation.
    pub(crate) fn of_cooked(cooked: &str) -> Self {
        let (said, quoted) = parted(cooked, "<aside class=\"quote", "</aside>", |inside| inside.find('>').map_or(0, |at| at + 1));
        Self::of(&plain(&said), &plain(&quoted))
    }

    fn of(text: &str, quoted: &str) -> Self {
        let quoted = Some(cut(quoted.trim(), TEXT_BYTES_MAX).to_owned()).filter(|quoted| !quoted.is_empty());
        Self { text: cut(text.trim(), TEXT_BYTES_MAX).to_owned(), quoted }
    }
}

/// What stands outside and what inside of the marks; one that is never closed marks nothing. `head` is how long an opening
/// mark is from `open` on.
fn parted(text: &str, open: &str, close: &str, head: impl Fn(&str) -> usize) -> (String, String) {
    let (mut outside, mut inside, mut rest) = (String::new(), String::new(), text);
    while let Some(at) = rest.find(open) {
        let (before, marked) = (rest.get(..at).unwrap_or_default(), rest.get(at..).unwrap_or_default());
        let Some(length) = balanced(marked, open, close) else { break };
        outside.push_str(before);
        if !before.ends_with('\n') {
            outside.push('\n');
        }
        let whole = marked.get(..length).unwrap_or_default();
        let inner = whole.get(head(whole)..whole.len() - close.len()).unwrap_or_default();
        inside.push_str(inner);
        inside.push('\n');
        rest = marked.get(length..).unwrap_or_default();
    }
    outside.push_str(rest);
    (outside, inside)
}

/// Up to and with the mark that closes the first.
fn balanced(text: &str, open: &str, close: &str) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        let rest = text.get(at..)?;
        let closes = rest.find(close)?;
        match rest.find(open).filter(|opens| *opens < closes) {
            Some(opens) => (depth, at) = (depth + 1, at + opens + open.len()),
            None => (depth, at) = (depth.saturating_sub(1), at + closes + close.len()),
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Without what no reader sees.
fn readable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// The longest prefix of at most `bytes_max` bytes that ends at a character.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_told_apart() {
        let raw = "Ciao!\n[quote=\"anna, post:2, topic:5\"]\nprima [quote]dentro[/quote]\n[/quote]\nNo, \u{0}non va.";
        let words = Words::of_raw(raw);
        assert_eq!((words.text.as_str(), words.quoted.as_deref()), ("Ciao!\n\nNo, non va.", Some("prima [quote]dentro[/quote]")));
        let cooked = "<p>Ciao!</p><aside class=\"quote no-group\" data-post=\"2\"><blockquote><p>prima</p></blockquote></aside><p>No &amp; poi</p>";
        let words = Words::of_cooked(cooked);
        assert_eq!((words.text.as_str(), words.quoted.as_deref()), ("Ciao!\nNo & poi", Some("prima")));
    }

    #[test]
    fn a_quotation_that_is_never_closed_is_text_and_a_flood_of_marks_costs_little() {
        assert_eq!(Words::of_raw("[quote]a").text, "[quote]a");
        assert_eq!(Words::of_raw(&"[quote]".repeat(50_000)).quoted, None);
        assert_eq!(Words::of_raw(&"[quote]a[/quote]".repeat(50_000)).text, "");
        assert!(Words::of_raw(&"è".repeat(1 << 20)).text.len() <= TEXT_BYTES_MAX);
    }
}
