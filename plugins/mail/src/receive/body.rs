//! The text of a mail: which parts are read, in which charset, with `format=flowed` undone. Wrong declarations fall back
//! to what the bytes look like; reading never fails.

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{ContentType, Encoding, Message, MessagePart, MimeHeaders, PartType};
use membrana_sdk::text::cut;

use super::html;

/// More parts of text than this are not joined.
const PARTS_MAX: usize = 32;
/// Units: bytes of text, all parts together.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// All text that a reader would see, quotes and all. Shape: `\n` line ends, no control characters.
pub(crate) fn text(message: &Message<'_>) -> String {
    // Some programs send a blank part of plain text beside the HTML that says it all; a footer that a list or a scanner put under both is no
    // part of that choice.
    let mut plain_alone = message.text_body.iter().filter(|id| !message.html_body.contains(id)).peekable();
    let is_blank = |id: &u32| join(message, message.part(*id).into_iter()).trim().is_empty();
    let is_html_better = plain_alone.peek().is_some() && plain_alone.all(is_blank);
    let (first, second) = if is_html_better { (&message.html_body, &message.text_body) } else { (&message.text_body, &message.html_body) };
    for body in [first, second] {
        let text = join(message, body.iter().filter_map(|id| message.part(*id)));
        if !text.trim().is_empty() {
            return text;
        }
    }
    // A mail that was cut off: the parser does not count an unclosed part as text.
    let unclosed = message.parts.iter().filter(|part| {
        let is_file = part.content_disposition().is_some_and(ContentType::is_attachment) || part.attachment_name().is_some();
        part.is_encoding_problem && !is_file && part.content_type().is_none_or(|kind| kind.ctype() == "text")
    });
    join(message, unclosed.take(1))
}

fn join<'a>(message: &Message<'_>, parts: impl Iterator<Item = &'a MessagePart<'a>>) -> String {
    let mut out = String::new();
    for part in parts.take(PARTS_MAX) {
        let text = match &part.body {
            PartType::Text(text) => plain(message, part, text),
            PartType::Html(text) => html::to_text(&best_reading(message, part, text)),
            _ => continue,
        };
        if !out.is_empty() && !text.trim().is_empty() {
            out.push_str("\n\n");
        }
        out.push_str(&text);
        if out.len() > TEXT_BYTES_MAX {
            break;
        }
    }
    printable(&out)
}

fn plain(message: &Message<'_>, part: &MessagePart<'_>, parsed: &str) -> String {
    let text = best_reading(message, part, parsed);
    let kind = part.content_type();
    let says = |name: &str, value: &str| kind.and_then(|k| k.attribute(name)).is_some_and(|v| v.eq_ignore_ascii_case(value));
    if kind.is_some_and(|kind| kind.subtype() == Some("html")) {
        return html::to_text(&text);
    }
    if says("format", "flowed") { unflow(&text, says("delsp", "yes")) } else { text }
}

/// The parser's reading, or a better one where the declaration is evidently wrong.
fn best_reading(message: &Message<'_>, part: &MessagePart<'_>, parsed: &str) -> String {
    let declared = part.content_type().and_then(|kind| kind.attribute("charset")).unwrap_or_default().to_ascii_lowercase();
    let is_vague = matches!(declared.as_str(), "" | "us-ascii" | "ascii" | "iso-8859-1" | "latin1" | "windows-1252" | "cp1252")
        || charset_decoder(declared.as_bytes()).is_none();
    if parsed.is_ascii() && !parsed.contains('\u{1b}') || !is_vague && !parsed.contains('\u{fffd}') {
        return parsed.to_owned();
    }
    let bytes = part_bytes(message, part);
    if bytes.is_empty() {
        return parsed.to_owned();
    }
    if bytes.windows(2).any(|pair| matches!(pair, [0x1b, b'$' | b'('])) {
        return charset_decoder(b"iso-2022-jp").map_or_else(|| parsed.to_owned(), |decode| decode(&bytes));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => text.to_owned(),
        // A few broken bytes in a text that is UTF-8 otherwise.
        Err(_) if declared.starts_with("utf") && is_mostly_utf8(&bytes) => parsed.to_owned(),
        Err(_) if is_vague || declared.starts_with("utf") => {
            charset_decoder(b"windows-1252").map_or_else(|| parsed.to_owned(), |decode| decode(&bytes))
        }
        Err(_) => parsed.to_owned(),
    }
}

fn is_mostly_utf8(bytes: &[u8]) -> bool {
    let (mut whole, mut broken) = (0_usize, 0_usize);
    for chunk in bytes.utf8_chunks() {
        whole += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        broken += chunk.invalid().len();
    }
    whole > broken
}

/// What a file is, byte by byte: its text is in the charset of whoever wrote it.
pub(crate) fn bytes(message: &Message<'_>, part: &MessagePart<'_>) -> Vec<u8> {
    match part.body {
        PartType::Text(_) | PartType::Html(_) => part_bytes(message, part),
        _ => part.contents().to_vec(),
    }
}

fn part_bytes(message: &Message<'_>, part: &MessagePart<'_>) -> Vec<u8> {
    let range = part.offset_body as usize..part.offset_end as usize;
    let raw = message.raw_message.get(range).unwrap_or_default();
    match part.encoding {
        Encoding::None => Some(raw.to_vec()),
        Encoding::QuotedPrintable => quoted_printable_decode(raw),
        Encoding::Base64 => base64_decode(raw),
    }
    .unwrap_or_default()
}

/// Undoes soft line ends. Source: RFC 3676.
fn unflow(text: &str, delete_space: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut open_depth = None;
    for line in text.lines() {
        let content = line.trim_start_matches('>');
        let depth = line.len() - content.len();
        let content = content.strip_prefix(' ').unwrap_or(content);
        if open_depth != Some(depth) || content == "-- " {
            if !out.is_empty() {
                out.push('\n');
            }
            if depth > 0 {
                out.push_str(&">".repeat(depth.min(8)));
                out.push(' ');
            }
        }
        let is_soft = content.ends_with(' ') && content != "-- ";
        let kept = if is_soft && delete_space { content.trim_end_matches(' ') } else { content };
        out.push_str(kept);
        open_depth = is_soft.then_some(depth);
    }
    out
}

/// Line ends made `\n`, all other control characters dropped.
pub(crate) fn printable(text: &str) -> String {
    let (mut printable, mut from) = (String::with_capacity(text.len()), 0);
    for (at, sign) in text.match_indices(|c: char| c.is_control() && !matches!(c, '\n' | '\t')) {
        printable.push_str(text.get(from..at).unwrap_or_default());
        from = at + sign.len();
        if sign == "\r" && !text.get(from..).is_some_and(|rest| rest.starts_with('\n')) {
            printable.push('\n');
        }
    }
    printable.push_str(text.get(from..).unwrap_or_default());
    printable
}

/// `text/plain`, lower case.
pub(crate) fn media_type(kind: &ContentType<'_>) -> String {
    let whole = format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("octet-stream"));
    cut(&printable(&whole.to_lowercase()).replace('\n', ""), 128).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_line_ends_are_undone_by_depth() {
        assert_eq!(unflow("one \ntwo\n\n> a \n> b\n-- \nAnna", false), "one two\n\n> a b\n-- \nAnna");
        assert_eq!(unflow("東 \n京", true), "東京");
    }

    #[test]
    fn control_characters_do_not_pass() {
        assert_eq!(printable("a\0b\u{1b}[31m\r\nc\rd\u{85}"), "ab[31m\nc\nd");
    }
}
