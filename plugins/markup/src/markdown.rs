//! Plain text as Markdown that shows the same words, and Markdown without its escapes. Nothing else of it is understood.

use std::borrow::Cow;

/// Stands behind an `@` that shall call nobody: names are looked for where escapes are gone already. No reader sees it.
pub const JOINER: char = '\u{2060}';

/// What ends an address that stands in a text.
const ENDS: [char; 8] = ['\\', '`', '*', '[', ']', '<', '>', '"'];

/// A text as Markdown that shows it: `marks` are escaped everywhere but in addresses, `heads` and the numbers of lists where a
/// line begins, and nobody is called by an `@`. Shape: no mark is a head.
pub fn escaped(text: &str, marks: &str, heads: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    for (n, line) in text.lines().enumerate() {
        if n > 0 {
            out.push('\n');
        }
        // Indented, it would be code.
        let line = line.trim_start();
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = line.get(..line.len() - rest.len()).unwrap_or_default();
        out.push_str(number);
        if if number.is_empty() { rest.starts_with(|c| heads.contains(c)) } else { rest.starts_with(['.', ')']) } {
            out.push('\\');
        }
        escape(&mut out, number.chars().next_back(), rest, marks);
    }
    out
}

fn escape(out: &mut String, before: Option<char>, text: &str, marks: &str) {
    let (mut before, mut rest) = (before, text);
    while let Some(c) = rest.chars().next() {
        let length = address(rest).unwrap_or(c.len_utf8());
        let (piece, after) = rest.split_at(length);
        if marks.contains(c) {
            out.push('\\');
        }
        out.push_str(piece);
        let is_call = c == '@' && !before.is_some_and(char::is_alphanumeric) && after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if is_call {
            out.push(JOINER);
        }
        (before, rest) = (piece.chars().next_back(), after);
    }
}

/// The bytes of an address with which a text begins: escaped, it would lead elsewhere.
fn address(text: &str) -> Option<usize> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    host.starts_with(char::is_alphanumeric).then(|| text.find(|c: char| c.is_whitespace() || ENDS.contains(&c)).unwrap_or(text.len()))
}

/// What readers are shown, without what [`escaped`] puts behind an `@`.
pub fn unjoined(text: String) -> String {
    if text.contains(JOINER) { text.replace(JOINER, "") } else { text }
}

/// Markdown without its escapes, also where code has them, and without what [`escaped`] puts behind an `@`.
pub fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', JOINER]) {
        return Cow::Borrowed(text);
    }
    let (mut out, mut all) = (String::with_capacity(text.len()), text.chars().peekable());
    while let Some(c) = all.next() {
        let next = if c == '\\' { all.next_if(char::is_ascii_punctuation) } else { None };
        let c = next.unwrap_or(c);
        out.push(c);
        if c == '@' {
            all.next_if_eq(&JOINER);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: &str = "\\`*_[]<~&|";
    const HEADS: &str = "#>-+=";

    fn of(text: &str) -> String {
        escaped(text, MARKS, HEADS)
    }

    #[test]
    fn what_markdown_would_take_is_shown() {
        assert_eq!(of("Scrivi <codice cliente> nell'oggetto"), "Scrivi \\<codice cliente> nell'oggetto");
        assert_eq!(of("Ciao [Gratis](https://evil.example)!"), "Ciao \\[Gratis\\](https://evil.example)!");
        assert_eq!(of("# uno\n- due\n  3. tre\n4) x\n12 ore, -5 % + 1\r\n\n---"), "\\# uno\n\\- due\n3\\. tre\n4\\) x\n12 ore, -5 % + 1\n\n\\---");
        assert_eq!(of("> *a* __b__ `c` ~~d~~ &lt; e\\f"), "\\> \\*a\\* \\_\\_b\\_\\_ \\`c\\` \\~\\~d\\~\\~ \\&lt; e\\\\f");
        assert_eq!(of("    2026\n=="), "2026\n\\==");
    }

    #[test]
    fn addresses_stay_what_they_are_and_nobody_is_called() {
        let same = "Vai su https://acme.example/a_b_c?x=1&y=~2 o scrivi a info@acme.example: (http://acme.example/@acme_it)";
        assert_eq!(of(same), same);
        assert_eq!(of("Ciao @staff, (@here) @ te"), "Ciao @\u{2060}staff, (@\u{2060}here) @ te");
        assert_eq!(of("https://@staff _@all"), "https://@\u{2060}staff \\_@\u{2060}all");
    }

    #[test]
    fn what_was_escaped_reads_as_before() {
        let text = "# <a> *b* [c](https://d.example/e_f) @staff\n1. \\* C:\\dir &amp; info@acme.example";
        assert_eq!(unescaped(&of(text)), text);
        assert_eq!(unescaped("niente"), "niente");
        assert_eq!(unescaped("\\ \\"), "\\ \\");
    }
}
