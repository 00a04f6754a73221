//! How the demo looks: colour and symbols where the terminal has them, plain text where not, 100 columns.

use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::time::Duration;

use crate::cli::outcome::say;

const COLUMNS: usize = 100;
const INDENT: &str = "   ";
/// Between two scenes.
const BREATH: Duration = Duration::from_secs(3);

/// A scene begins.
pub(super) fn title(text: &str) {
    let bold = anstyle::Style::new().bold();
    let (first, rest) = wrapped(&drawn(text), COLUMNS);
    say(format_args!("\n{bold}{first}{bold:#}"));
    rest.iter().for_each(|more| say(format_args!("{INDENT}{bold}{more}{bold:#}")));
}

/// Whoever watches reads what was told before it goes on; a pipe waits for nothing.
pub(super) async fn breathe() {
    if std::io::stdout().is_terminal() {
        tokio::time::sleep(BREATH).await;
    }
}

/// Something went as it should.
pub(super) fn good(text: &str) {
    let green = anstyle::AnsiColor::Green.on_default();
    let (first, rest) = wrapped(&drawn(text), COLUMNS - INDENT.len() - 2);
    say(format_args!("{INDENT}{green}{}{green:#} {first}", drawn("✓")));
    rest.iter().for_each(|more| say(format_args!("{INDENT}  {more}")));
}

/// Something is told.
pub(super) fn line(text: &str) {
    let (first, rest) = wrapped(&drawn(text), COLUMNS - INDENT.len());
    say(format_args!("{INDENT}{first}"));
    rest.iter().for_each(|more| say(format_args!("{INDENT}  {more}")));
}

/// A command to copy: never broken.
pub(super) fn command(text: &str) {
    say(format_args!("{INDENT}{text}"));
}

/// The first line, and those after it, which have two columns less; all begin with the text's own blanks. Words stay whole; what
/// one line holds keeps its blanks.
fn wrapped(text: &str, columns: usize) -> (String, Vec<String>) {
    if text.chars().count() <= columns {
        return (text.to_owned(), Vec::new());
    }
    let words = text.trim_start_matches(' ');
    let indent = " ".repeat(text.len() - words.len());
    let columns = columns.saturating_sub(indent.len());
    let mut lines: Vec<String> = vec![String::new()];
    for word in words.split(' ') {
        let width = if lines.len() == 1 { columns } else { columns - 2 };
        match lines.last_mut() {
            Some(last) if last.is_empty() => last.push_str(word),
            Some(last) if last.chars().count() + 1 + word.chars().count() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.iter_mut().for_each(|line| *line = format!("{indent}{}", line.trim_end()));
    let first = lines.remove(0);
    (first, lines)
}

/// With symbols, or without where they would be question marks.
fn drawn(text: &str) -> String {
    if has_symbols() { text.to_owned() } else { plain(text) }
}

fn plain(text: &str) -> String {
    const PLAIN: [(&str, &str); 11] = [
        ("①", "1."),
        ("②", "2."),
        ("③", "3."),
        ("④", "4."),
        ("⑤", "5."),
        ("⑥", "6."),
        ("⑦", "7."),
        ("✓", "+"),
        ("→", "->"),
        ("·", "|"),
        ("…", "..."),
    ];
    PLAIN.iter().fold(text.to_owned(), |text, (symbol, instead)| text.replace(symbol, instead))
}

fn has_symbols() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| std::io::stdout().is_terminal() && is_utf8())
}

/// As the C library decides: the first of the three that is set.
#[expect(clippy::disallowed_methods, reason = "the terminal's locale is told by the environment alone")]
fn is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(|name| std::env::var(name).ok()).find(|value| !value.is_empty());
    locale.is_some_and(|locale| locale.to_uppercase().replace('-', "").contains("UTF8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_symbols_have_plain_forms() {
        let (first, rest) = wrapped("one two three four", 9);
        assert_eq!((first.as_str(), rest), ("one two", vec!["three".to_owned(), "four".to_owned()]));
        assert_eq!(wrapped("  one two three", 9), ("  one two".to_owned(), vec!["  three".to_owned()]));
        assert_eq!(plain("① a → b · ✓…"), "1. a -> b | +...");
        assert_eq!(plain("①②③④⑤⑥⑦"), "1.2.3.4.5.6.7.");
    }
}
