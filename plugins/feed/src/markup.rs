//! A scanner for markup as it is found, not as it should be: tags, text and nothing else. It never fails, never recurses and
//! never expands an entity that a document defines.

use std::borrow::Cow;

/// One piece of markup.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece<'t> {
    /// `<name key="value">`; the last says `/>`.
    Open(&'t str, &'t str, bool),
    /// `</name>`.
    Close(&'t str),
    /// Text with its entities, or the inside of CDATA (`true`).
    Text(&'t str, bool),
}

/// Cuts a document into pieces.
pub(crate) struct Scanner<'t> {
    rest: &'t str,
}

impl<'t> Scanner<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { rest: text }
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
                self.until("-->");
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
        let (mut quote, mut end) = (None, self.rest.len());
        for (at, c) in self.rest.char_indices() {
            match (quote, c) {
                (None, '"' | '\'') => quote = Some(c),
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
        }
        let (inside, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix('>').unwrap_or(rest);
        let (inside, is_empty) = inside.strip_suffix('/').map_or((inside, false), |inside| (inside, true));
        let (name, attributes) = inside.split_at(inside.find(|c: char| c.is_whitespace()).unwrap_or(inside.len()));
        Piece::Open(name, attributes, is_empty)
    }
}

/// The value of an attribute, its entities read.
pub(crate) fn attribute(attributes: &str, name: &str) -> Option<String> {
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
pub(crate) fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

/// Named characters that texts of the web use without defining them.
const NAMED: [(&str, &str); 40] = [
    ("amp", "&"), ("lt", "<"), ("gt", ">"), ("quot", "\""), ("apos", "'"), ("nbsp", "\u{a0}"), ("hellip", "…"), ("mdash", "—"), ("ndash", "–"),
    ("lsquo", "‘"), ("rsquo", "’"), ("ldquo", "“"), ("rdquo", "”"), ("laquo", "«"), ("raquo", "»"), ("bull", "•"), ("middot", "·"),
    ("copy", "©"), ("reg", "®"), ("trade", "™"), ("euro", "€"), ("pound", "£"), ("deg", "°"), ("agrave", "à"), ("aacute", "á"), ("egrave", "è"),
    ("eacute", "é"), ("igrave", "ì"), ("iacute", "í"), ("ograve", "ò"), ("oacute", "ó"), ("ugrave", "ù"), ("uacute", "ú"), ("auml", "ä"),
    ("ouml", "ö"), ("uuml", "ü"), ("szlig", "ß"), ("ccedil", "ç"), ("ntilde", "ñ"), ("acirc", "â"),
];

/// Reads entities once. What is no entity stays as it is.
pub(crate) fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let name = after.split_once(';').map(|(name, _)| name).filter(|name| name.len() <= 10);
        match name.and_then(character) {
            Some(found) => {
                out.push_str(&found);
                rest = after.split_once(';').map_or("", |(_, rest)| rest);
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn character(name: &str) -> Option<String> {
    if let Some(number) = name.strip_prefix('#') {
        let code = number.strip_prefix(['x', 'X']).map_or_else(|| number.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())?;
        return char::from_u32(windows(code)).filter(|c| *c != '\0').map(String::from);
    }
    NAMED.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
}

/// Numbers 128 to 159 are written by software that means Windows-1252.
fn windows(code: u32) -> u32 {
    match u8::try_from(code) {
        Ok(byte @ 128..=159) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(&[byte]).0.chars().next().map_or(code, u32::from),
        _ => code,
    }
}

/// Tags that begin a new line.
const BLOCKS: [&str; 14] = ["p", "div", "br", "li", "ul", "ol", "tr", "h1", "h2", "h3", "h4", "blockquote", "pre", "section"];
/// Tags whose inside is not text.
const HIDDEN: [&str; 4] = ["script", "style", "head", "template"];

/// What a reader sees of a piece of HTML.
pub(crate) fn plain(html: &str) -> String {
    let (mut out, mut hidden) = (String::new(), None::<&str>);
    for piece in Scanner::new(html) {
        match piece {
            Piece::Open(name, ..) if hidden.is_none() => {
                hidden = HIDDEN.into_iter().find(|known| name.eq_ignore_ascii_case(known));
                if BLOCKS.iter().any(|known| name.eq_ignore_ascii_case(known)) {
                    out.push('\n');
                }
            }
            Piece::Close(name) if hidden.is_some_and(|open| name.eq_ignore_ascii_case(open)) => hidden = None,
            Piece::Close(name) if name.eq_ignore_ascii_case("p") => out.push('\n'),
            Piece::Text(text, is_raw) if hidden.is_none() => out.push_str(&if is_raw { Cow::Borrowed(text) } else { unescape(text) }),
            _ => {}
        }
    }
    let lines = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_becomes_what_a_reader_sees() {
        assert_eq!(plain("<p>Perch&eacute;?</p><script>alert(1)</script><p>a<br>b &lt;c&gt; &#8217; &#146;</p>"), "Perché?\na\nb <c> ’ ’");
        assert_eq!(plain("1 < 2 & 3"), "1 < 2 & 3");
    }

    #[test]
    fn entities_of_the_document_s_own_making_are_not_expanded() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><x>&b;</x>";
        let texts: Vec<_> = Scanner::new(bomb).filter_map(|piece| if let Piece::Text(text, _) = piece { Some(unescape(text).into_owned()) } else { None }).collect();
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
}
