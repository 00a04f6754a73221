//! What a post says, without what it quotes of others: from Markdown as it was written, or from the HTML that is shown.

use membrana_markup::markdown::{unescaped, unjoined};
use membrana_markup::{parted, parted_by_hand, plain};
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
    /// From Markdown: `[quote="anna, post:2, topic:5"]…[/quote]` is a quotation, and so are lines that begin with `>`.
    pub(crate) fn of_raw(raw: &str) -> Self {
        let (said, quoted) = parted(raw, "[quote", "]", "[/quote]");
        let (said, by_hand) = parted_by_lines(&readable(&said));
        Self::of(&said, &format!("{}{by_hand}", unescaped(&readable(&quoted))))
    }

    /// From what readers are shown: `<aside class="quote">…</aside>` is a quotation, and so is a `<blockquote>`.
    pub(crate) fn of_cooked(cooked: &str) -> Self {
        let (said, quoted) = parted(cooked, "<aside class=\"quote", ">", "</aside>");
        let (said, by_hand) = parted_by_hand(said);
        Self::of(&unjoined(plain(&said)), &unjoined(plain(&(quoted + &by_hand))))
    }

    fn of(text: &str, quoted: &str) -> Self {
        let quoted = Some(cut(quoted.trim(), TEXT_BYTES_MAX).to_owned()).filter(|quoted| !quoted.is_empty());
        Self { text: cut(text.trim(), TEXT_BYTES_MAX).to_owned(), quoted }
    }
}

/// What is said, and what is quoted by hand, outside of code; where all is quoted, it is what is said.
fn parted_by_lines(text: &str) -> (String, String) {
    let (mut said, mut quoted, mut fence) = (String::new(), String::new(), None);
    for line in text.lines() {
        let marks = line.trim_start();
        if fence.is_none() && marks.starts_with('>') {
            quoted.push_str(&unescaped(marks.trim_start_matches(['>', ' '])));
            quoted.push('\n');
            continue;
        }
        fence = match fence {
            // Marks that are closed on their line are code in a line.
            None => ["```", "~~~"].into_iter().find(|fence| marks.starts_with(fence) && !marks.trim_start_matches('`').contains('`')),
            open => open.filter(|open| !marks.starts_with(open)),
        };
        said.push_str(&if fence.is_none() { unescaped(line) } else { line.into() });
        said.push('\n');
    }
    if said.trim().is_empty() { (unescaped(text).into_owned(), String::new()) } else { (said, quoted) }
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
    fn what_is_quoted_by_hand_is_not_said() {
        let parts = |words: Words| (words.text, words.quoted.unwrap_or_default());
        let both = |said: &str, quoted: &str| (said.to_owned(), quoted.to_owned());
        let raw = "> Siete ladri!\n>> prima\n\nNo, sono gentili.\n```\n> codice\n```\n  > altro";
        assert_eq!(parts(Words::of_raw(raw)), both("No, sono gentili.\n```\n> codice\n```", "Siete ladri!\nprima\naltro"));
        assert_eq!(parts(Words::of_raw("[quote]a[/quote]\nb\n> c")), both("b", "a\nc"));
        assert_eq!(parts(Words::of_raw("```a```\n> b\n\\*c\\*")), both("```a```\n*c*", "b"));
        assert_eq!(parts(Words::of_raw("> Siete\n> ladri!")), both("> Siete\n> ladri!", ""), "nothing else is said");
        let cooked = "<blockquote><p>Siete ladri!</p><blockquote><p>prima</p></blockquote></blockquote><p>No, sono gentili.</p>";
        assert_eq!(parts(Words::of_cooked(cooked)), both("No, sono gentili.", "Siete ladri!\nprima"));
        assert_eq!(parts(Words::of_cooked("<blockquote><p>Siete ladri!</p></blockquote>")), both("Siete ladri!", ""));
    }

    #[test]
    fn a_quotation_that_is_never_closed_is_text_and_a_flood_of_marks_costs_little() {
        assert_eq!(Words::of_raw("[quote]a").text, "[quote]a");
        assert_eq!(Words::of_raw(&"[quote]".repeat(50_000)).quoted, None);
        assert_eq!(Words::of_raw(&"[quote]a[/quote]".repeat(50_000)).text, "");
        assert!(Words::of_raw(&"è".repeat(1 << 20)).text.len() <= TEXT_BYTES_MAX);
    }
}
