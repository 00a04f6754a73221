//! What a post says, without what it quotes of others: from Markdown as it was written, or from the HTML that is shown.

use membrana_markup::{parted, plain};
use membrana_sdk::text::cut;

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
        let (said, quoted) = parted(raw, "[quote", "]", "[/quote]");
        Self::of(&readable(&said), &readable(&quoted))
    }

    /// From what readers are shown: `<aside class="quote">…</aside>` is a quotation.
    pub(crate) fn of_cooked(cooked: &str) -> Self {
        let (said, quoted) = parted(cooked, "<aside class=\"quote", ">", "</aside>");
        Self::of(&plain(&said), &plain(&quoted))
    }

    fn of(text: &str, quoted: &str) -> Self {
        let quoted = Some(cut(quoted.trim(), TEXT_BYTES_MAX).to_owned()).filter(|quoted| !quoted.is_empty());
        Self { text: cut(text.trim(), TEXT_BYTES_MAX).to_owned(), quoted }
    }
}

/// Without what no reader sees.
fn readable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
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
