//! HTML to text: what a reader would see, with quotes as `>` lines. Linear in the input, whatever the input; nothing is
//! fetched, no style is obeyed. Entities are left to the mail parser's table.

use mail_parser::decoders::html::html_to_text as decode_entity;

/// Text beyond this is not kept.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// A longer tag is a data URL; its end is sought without regard to quotation marks.
const TAG_BYTES_MAX: usize = 16 << 10;
/// Bytes that may be read in vain over one document.
const WASTE_MAX: usize = 1 << 20;
const QUOTE_DEPTH_MAX: u32 = 5;
const ENTITY_BYTES_MAX: usize = 32;

/// Shape: lines end with `\n`; at most about 1 MiB.
pub(crate) fn to_text(html: &str) -> String {
    let mut page = Page { out: String::new(), depth: 0, breaks: 0, space: false, preformatted: 0 };
    let mut waste = 0;
    let mut rest = html;
    while let Some(c) = rest.chars().next() {
        if page.out.len() > TEXT_BYTES_MAX {
            break;
        }
        rest = match c {
            '<' => tag(rest, &mut page, &mut waste),
            '&' => entity(rest, &mut page),
            _ => {
                let end = rest.find(['<', '&']).unwrap_or(rest.len());
                page.text(rest.get(..end).unwrap_or_default());
                rest.get(end..).unwrap_or_default()
            }
        };
    }
    page.out
}

struct Page {
    out: String,
    depth: u32,
    /// Line ends owed before the next text.
    breaks: u32,
    space: bool,
    preformatted: u32,
}

impl Page {
    fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '\n' if self.preformatted > 0 => self.breaks += 1,
                '\r' => {}
                ' ' | '\t' | '\n' | '\u{c}' if self.preformatted == 0 => self.space = true,
                _ => self.character(c),
            }
        }
    }

    fn character(&mut self, c: char) {
        if self.breaks > 0 || self.out.is_empty() {
            let ends = if self.out.is_empty() { 0 } else { self.breaks.min(2) };
            for _ in 0..ends {
                self.out.push('\n');
            }
            for _ in 0..self.depth.min(QUOTE_DEPTH_MAX) {
                self.out.push_str("> ");
            }
        } else if self.space {
            self.out.push(' ');
        }
        (self.breaks, self.space) = (0, false);
        self.out.push(c);
    }

    fn at_least(&mut self, breaks: u32) {
        self.breaks = self.breaks.max(breaks);
    }

    fn element(&mut self, name: &str, closes: bool) {
        match name {
            "br" => self.breaks += 1,
            "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "ul" | "ol" | "table" | "hr" => self.at_least(2),
            "div" | "tr" | "section" | "article" | "header" | "footer" | "center" | "address" | "dt" | "dd" | "title" => self.at_least(1),
            "blockquote" => {
                self.at_least(2);
                self.depth = if closes { self.depth.saturating_sub(1) } else { self.depth.saturating_add(1) };
            }
            "pre" => {
                self.at_least(1);
                self.preformatted = if closes { self.preformatted.saturating_sub(1) } else { self.preformatted.saturating_add(1) };
            }
            "li" => {
                self.at_least(1);
                if !closes {
                    self.text("-");
                    self.space = true;
                }
            }
            "td" | "th" => self.space = true,
            _ => {}
        }
    }
}

/// Takes one tag, comment or element without text from the front; answers what follows.
fn tag<'a>(rest: &'a str, page: &mut Page, waste: &mut usize) -> &'a str {
    if rest.starts_with("<!--") {
        return rest.split_once("-->").map_or("", |(_, after)| after);
    }
    let inside = rest.get(1..).unwrap_or_default();
    let closes = inside.starts_with('/');
    let named = inside.trim_start_matches('/');
    let length = named.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(named.len());
    let name = named.get(..length.min(16)).unwrap_or_default().to_ascii_lowercase();
    if name.is_empty() && !inside.starts_with(['!', '?', '/']) {
        page.text("<");
        return inside;
    }
    let after = inside.get(tag_length(inside, waste)..).unwrap_or_default();
    match name.as_str() {
        "script" | "style" | "title" | "noscript" | "template" | "svg" if !closes => behind_element(after, &name),
        _ => {
            page.element(&name, closes);
            after
        }
    }
}

/// Up to and with the `>` that ends the tag, quoted ones passed over.
fn tag_length(inside: &str, waste: &mut usize) -> usize {
    let mut quote = None;
    if *waste < WASTE_MAX {
        for (at, byte) in inside.bytes().enumerate().take(TAG_BYTES_MAX) {
            match (byte, quote) {
                (b'>', None) => return at + 1,
                (b'"' | b'\'', None) => quote = Some(byte),
                (_, Some(open)) if open == byte => quote = None,
                _ => {}
            }
        }
        *waste += inside.len().min(TAG_BYTES_MAX);
    }
    inside.find('>').map_or(inside.len(), |at| at + 1)
}

/// Past `</name …>`; the end of the document where it never comes.
fn behind_element<'a>(rest: &'a str, name: &str) -> &'a str {
    let mut rest = rest;
    while let Some((_, after)) = rest.split_once("</") {
        if after.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
            return after.split_once('>').map_or("", |(_, after)| after);
        }
        rest = after;
    }
    ""
}

fn entity<'a>(rest: &'a str, page: &mut Page) -> &'a str {
    let end = rest.bytes().take(ENTITY_BYTES_MAX).position(|byte| byte == b';').map(|at| at + 1);
    let named = end.and_then(|end| rest.get(..end)).filter(|name| {
        let inner = name.trim_matches(['&', ';']);
        !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'#')
    });
    let Some(named) = named else {
        page.text("&");
        return rest.get(1..).unwrap_or_default();
    };
    match named {
        "&nbsp;" | "&#160;" | "&#xa0;" | "&#xA0;" => page.space = true,
        "&shy;" | "&zwnj;" | "&zwj;" | "&#8203;" | "&#8204;" => {}
        // The decoder drops brackets as empty tags.
        "&lt;" | "&#60;" => page.character('<'),
        "&gt;" | "&#62;" => page.character('>'),
        "&amp;" | "&#38;" => page.character('&'),
        _ => page.text(&decode_entity(named)),
    }
    rest.get(named.len()..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::to_text;

    #[test]
    fn what_a_reader_sees_is_kept() {
        let html = "<html><head><style>p{}</style><title>x</title></head><body><p>Perch&eacute; <b>no</b>?</p>\n<p>a&nbsp;&lt;b&gt; &amp; c</p><ul><li>uno<li>due</ul>1 < 2</body>";
        assert_eq!(to_text(html), "Perché no?\n\na <b> & c\n\n- uno\n- due\n\n1 < 2");
    }

    #[test]
    fn quotes_become_marked_lines() {
        let html = "<div>Grazie.</div><div class=gmail_quote>Il giorno ha scritto:<br><blockquote title=\"a > b\">Uno<br>due<blockquote>tre</blockquote></blockquote></div>";
        assert_eq!(to_text(html), "Grazie.\nIl giorno ha scritto:\n\n> Uno\n> due\n\n> > tre");
    }

    #[test]
    fn hostile_markup_costs_no_more_than_its_length() {
        for piece in ["<", "<a \"", "<!--", "&", "<style>", "</", "<blockquote>", "<a ' >"] {
            assert!(to_text(&piece.repeat(200_000)).len() <= 2 << 20, "{piece}");
        }
        assert_eq!(to_text("<script>alert(1)"), "");
    }
}
