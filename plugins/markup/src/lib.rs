//! Markup as it is found, not as it should be: tags, text and nothing else, for every connector that is sent HTML or XML. It
//! never fails, never recurses and never expands an entity that a document defines; its work is linear in the text.

#![warn(missing_docs)]

mod entities;
pub mod markdown;

use std::borrow::Cow;

use entities::has_entity;
pub use entities::unescape;

/// One piece of markup.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece<'t> {
    /// `<name key="value">`; the last says `/>`.
    Open(&'t str, &'t str, bool),
    /// `</name>`.
    Close(&'t str),
    /// Text with its entities, or the inside of CDATA (`true`).
    Text(&'t str, bool),
}

/// Cuts a document into pieces.
pub struct Scanner<'t> {
    rest: &'t str,
    /// No comment is closed from here on, so the end of one is not looked for again.
    no_comment_ends: bool,
}

impl<'t> Scanner<'t> {
    /// Begins at the front.
    pub fn new(text: &'t str) -> Self {
        Self { rest: text, no_comment_ends: false }
    }

    /// Passes over everything up to the end of an element whose inside is no markup: `if(a<b)` opens nothing.
    fn skip_to_close(&mut self, name: &str) {
        let close = format!("</{name}");
        let at = self.rest.as_bytes().windows(close.len()).position(|found| found.eq_ignore_ascii_case(close.as_bytes()));
        self.rest = at.and_then(|at| self.rest.get(at..)).unwrap_or_default();
        self.until(">");
    }

    fn until(&mut self, end: &str) -> &'t str {
        let (inside, rest) = self.rest.split_once(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        inside
    }
}

impl<'t> Iterator for Scanner<'t> {
    type Item = Piece<'t>;

    fn next(&mut self) -> Option<Piece<'t>> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let Some(tag) = self.rest.strip_prefix('<') else {
                let end = self.rest.find('<').unwrap_or(self.rest.len());
                let (text, rest) = self.rest.split_at(end);
                self.rest = rest;
                return Some(Piece::Text(text, false));
            };
            if let Some(data) = tag.strip_prefix("![CDATA[") {
                self.rest = data;
                return Some(Piece::Text(self.until("]]>"), true));
            }
            if let Some(comment) = tag.strip_prefix("!--") {
                self.rest = comment;
                self.comment();
            } else if tag.starts_with('!') {
                self.rest = tag;
                self.declaration();
            } else if let Some(instruction) = tag.strip_prefix('?') {
                self.rest = instruction;
                self.until(">");
            } else if let Some(name) = tag.strip_prefix('/') {
                self.rest = name;
                return Some(Piece::Close(self.until(">").trim()));
            } else if tag.starts_with(|c: char| c.is_alphabetic() || c == '_') {
                self.rest = tag;
                return Some(self.open());
            } else {
                // A lone `<` is text.
                self.rest = tag;
                return Some(Piece::Text("<", true));
            }
        }
    }
}

impl<'t> Scanner<'t> {
    /// One that is never closed hides itself, not the rest.
    fn comment(&mut self) {
        self.no_comment_ends = self.no_comment_ends || !self.rest.contains("-->");
        self.until(if self.no_comment_ends { ">" } else { "-->" });
    }

    /// A DOCTYPE with its inner subset, which is never read.
    fn declaration(&mut self) {
        let end = self.rest.find(['[', '>']).unwrap_or(self.rest.len());
        let is_subset = self.rest.get(end..).is_some_and(|rest| rest.starts_with('['));
        self.until(if is_subset { "]" } else { ">" });
        if is_subset {
            self.until(">");
        }
    }

    fn open(&mut self) -> Piece<'t> {
        let (mut quote, mut end, mut is_value) = (None, self.rest.len(), false);
        for (at, c) in self.rest.char_indices() {
            match (quote, c) {
                // Elsewhere it is a slip.
                (None, '"' | '\'') if is_value => quote = Some(c),
                (Some(open), c) if c == open => quote = None,
                (None, '>') => {
                    end = at;
                    break;
                }
                // A quote that nobody closed ends with the next tag.
                (Some(_), '<') => {
                    end = at;
                    break;
                }
                _ => {}
            }
            is_value = c == '=' || is_value && c.is_whitespace();
        }
        let (inside, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix('>').unwrap_or(rest);
        let (inside, is_empty) = inside.strip_suffix('/').map_or((inside, false), |inside| (inside, true));
        let (name, attributes) = inside.split_at(inside.find(|c: char| c.is_whitespace()).unwrap_or(inside.len()));
        Piece::Open(name, attributes, is_empty)
    }
}

/// The value of an attribute, its entities read.
pub fn attribute(attributes: &str, name: &str) -> Option<String> {
    let mut rest = attributes.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let after = after.trim_start();
        let Some(value) = after.strip_prefix('=') else {
            rest = if key.is_empty() { after.get(1..).unwrap_or_default() } else { after };
            continue;
        };
        let value = value.trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, after) = match quote {
            Some(quote) => value.get(1..).and_then(|inside| inside.split_once(quote)).unwrap_or((value, "")),
            None => value.split_at(value.find(char::is_whitespace).unwrap_or(value.len())),
        };
        if local(key).eq_ignore_ascii_case(name) || key.eq_ignore_ascii_case(name) {
            return Some(unescape(value).into_owned());
        }
        rest = after.trim_start();
    }
    None
}

/// A name without its prefix.
pub fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

/// Tags that begin a new line.
const BLOCKS: [&str; 14] = ["p", "div", "br", "li", "ul", "ol", "tr", "h1", "h2", "h3", "h4", "blockquote", "pre", "section"];
/// Tags whose inside is not text.
const HIDDEN: [&str; 4] = ["script", "style", "head", "template"];

/// Tags by which a text that does not say what it is shows that it is HTML, beside the blocks.
const INLINE: [&str; 20] =
    ["a", "abbr", "b", "big", "cite", "code", "del", "em", "font", "h5", "h6", "i", "img", "ins", "q", "small", "span", "strong", "sub", "sup"];

/// Does a text that may be either mean to be HTML?
pub fn is_html(text: &str) -> bool {
    let is_known = |name: &str| {
        BLOCKS
            .iter()
            .chain(&INLINE)
            .chain(&HIDDEN)
            .chain(&["table", "td", "u", "tt", "iframe", "video", "figure"])
            .any(|known| name.eq_ignore_ascii_case(known))
    };
    has_entity(text)
        || text.contains('<') && Scanner::new(text).any(|piece| matches!(piece, Piece::Open(name, ..) | Piece::Close(name) if is_known(name)))
}

/// A text without what no reader sees: controls, and white space beyond one blank.
pub fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    tidy_onto(&mut out, text);
    out
}

/// A text that is no markup, line by line.
pub fn tidy_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let end = out.len();
        if end > 0 {
            out.push('\n');
        }
        let begin = out.len();
        tidy_onto(&mut out, line);
        if out.len() == begin {
            out.truncate(end);
        }
    }
    out
}

/// As [`tidy`], behind what is there.
fn tidy_onto(out: &mut String, text: &str) {
    let begin = out.len();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if out.len() > begin {
            out.push(' ');
        }
        out.push_str(word);
    }
}

/// What a reader sees of a piece of HTML.
pub fn plain(html: &str) -> String {
    let (mut out, mut scanner) = (String::with_capacity(html.len()), Scanner::new(html));
    while let Some(piece) = scanner.next() {
        match piece {
            Piece::Open(name, _, false) if HIDDEN.iter().any(|known| name.eq_ignore_ascii_case(known)) => scanner.skip_to_close(name),
            Piece::Open(name, ..) if BLOCKS.iter().any(|known| name.eq_ignore_ascii_case(known)) => out.push('\n'),
            Piece::Close(name) if name.eq_ignore_ascii_case("p") => out.push('\n'),
            Piece::Text(text, is_raw) => out.push_str(&if is_raw { Cow::Borrowed(text) } else { unescape(text) }),
            _ => {}
        }
    }
    tidy_lines(&out)
}

/// What stands outside of the marks and what inside, as quotations do: marks may stand inside of others, and one that is never
/// closed marks nothing. An opening mark reaches from `open` to `end`.
pub fn parted(text: &str, open: &str, end: &str, close: &str) -> (String, String) {
    let (mut outside, mut inside, mut rest) = (String::new(), String::new(), text);
    while let Some(at) = rest.find(open) {
        let (before, marked) = (rest.get(..at).unwrap_or_default(), rest.get(at..).unwrap_or_default());
        let Some(length) = balanced(marked, open, close) else { break };
        outside.push_str(before);
        if !before.ends_with('\n') {
            outside.push('\n');
        }
        let whole = marked.get(..length).unwrap_or_default();
        let head = whole.find(end).map_or(0, |at| at + end.len());
        let inner = whole.get(head..whole.len() - close.len()).unwrap_or_default();
        inside.push_str(inner);
        inside.push('\n');
        rest = marked.get(length..).unwrap_or_default();
    }
    outside.push_str(rest);
    (outside, inside)
}

/// As [`parted`], of what is quoted by hand as `<blockquote>…</blockquote>`; where all is quoted, it is what is said.
pub fn parted_by_hand(html: String) -> (String, String) {
    if !html.contains("<blockquote") {
        return (html, String::new());
    }
    let (said, quoted) = parted(&html, "<blockquote", ">", "</blockquote>");
    if plain(&said).is_empty() { (html, String::new()) } else { (said, quoted) }
}

/// Up to and with the mark that closes the first.
fn balanced(text: &str, open: &str, close: &str) -> Option<usize> {
    let (mut depth, mut at, mut closes) = (0_usize, 0, text.find(close)?);
    loop {
        if let Some(opens) = text.get(at..closes)?.find(open) {
            (depth, at) = (depth + 1, at + opens + open.len());
            continue;
        }
        (depth, at) = (depth.saturating_sub(1), closes + close.len());
        if depth == 0 {
            return Some(at);
        }
        closes = at + text.get(at..)?.find(close)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_becomes_what_a_reader_sees() {
        assert_eq!(plain("<p>Perch&eacute;?</p><script>alert(1)</script><p>a<br>b &lt;c&gt; &#8217; &#146;</p>"), "Perché?\na\nb <c> ’ ’");
        assert_eq!(plain("1 < 2 & 3"), "1 < 2 & 3");
        assert_eq!(plain("a<script>if(a<b){x='</p>'}</SCRIPT ><p>Text</p><style>p>b{}</style>!<script>never closed <p>x"), "a\nText\n!");
    }

    #[test]
    fn what_no_reader_sees_is_one_blank_or_nothing() {
        assert_eq!(tidy(" a\u{0}\u{85}b \t\n c\u{a0}d "), "a b c d");
        assert_eq!(tidy_lines("\n \r\na  b\r\n\u{0}\n c\n\n"), "a b\nc");
        assert_eq!((tidy(" \u{0}"), tidy_lines("")), (String::new(), String::new()));
    }

    #[test]
    fn entities_of_the_document_s_own_making_are_not_expanded() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><x>&b;</x>";
        let texts: Vec<_> =
            Scanner::new(bomb).filter_map(|piece| if let Piece::Text(text, _) = piece { Some(unescape(text).into_owned()) } else { None }).collect();
        assert!(texts.concat().contains("&b;"), "{texts:?}");
        assert!(!texts.concat().contains("aaaaaaaa"));
    }

    #[test]
    fn attributes_are_read_in_any_dress() {
        let all = " rel='alternate' href=\"/a?x&amp;y\" checked TYPE=text/html";
        assert_eq!(attribute(all, "href").as_deref(), Some("/a?x&y"));
        assert_eq!(attribute(all, "type").as_deref(), Some("text/html"));
        assert_eq!(attribute(all, "rel").as_deref(), Some("alternate"));
        assert_eq!(attribute(all, "nothing"), None);
    }

    #[test]
    fn quotations_are_parted_at_the_cost_of_their_length() {
        let both = |outside: &str, inside: &str| (outside.to_owned(), inside.to_owned());
        assert_eq!(parted("a[q x]b[q]c[/q][/q]d", "[q", "]", "[/q]"), both("a\nd", "b[q]c[/q]\n"));
        assert_eq!(parted("a[q]b", "[q", "]", "[/q]"), both("a[q]b", ""));
        let n = 200_000;
        assert_eq!(parted(&format!("{}{}", "[q]".repeat(n), "[/q]".repeat(n - 1)), "[q", "]", "[/q]").1, "");
        assert_eq!(parted(&"[q]a[/q]".repeat(n), "[q", "]", "[/q]").1.len(), 2 * n);
    }
}
