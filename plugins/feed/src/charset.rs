//! Bytes to text, whatever the labels say. Never fails: what cannot be read becomes what it most likely was.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Where a declaration may stand. Units: bytes.
const HEAD_MAX: usize = 1024;

/// Bytes as text: by byte order mark, as UTF-8 where they are, by what HTTP says, by what the document says; a byte that
/// does not fit into UTF-8 is read as Windows-1252, alone.
pub fn decode(body: &[u8], content_type: Option<&str>) -> String {
    if let Some((encoding, skip)) = Encoding::for_bom(body) {
        let behind = body.get(skip..).unwrap_or_default();
        return if encoding == UTF_8 { mended(behind) } else { without_nul(encoding.decode_without_bom_handling(behind).0.into_owned()) };
    }
    let wide = match body {
        [0, b'<' | b'{', 0, ..] => Some(UTF_16BE),
        [b'<' | b'{', 0, _, 0, ..] => Some(UTF_16LE),
        _ => None,
    };
    if let Some(encoding) = wide {
        return without_nul(encoding.decode_without_bom_handling(body).0.into_owned());
    }
    let told = content_type.and_then(|value| label(&value.to_ascii_lowercase(), "charset="));
    let stated = [told, declared(body)].into_iter().flatten();
    // A document that can be read byte by byte is not in two-byte units, whatever it says.
    let stated = stated
        .filter_map(|label| Encoding::for_label(label.replace("windows_", "windows-").as_bytes()))
        .find(|encoding| *encoding != UTF_16BE && *encoding != UTF_16LE);
    match stated {
        // Seven-bit encodings look like UTF-8.
        Some(encoding) if !encoding.is_ascii_compatible() => without_nul(encoding.decode_without_bom_handling(body).0.into_owned()),
        // Bytes that are UTF-8 are hardly ever anything else.
        Some(encoding) if encoding != UTF_8 && std::str::from_utf8(body).is_err() => {
            without_nul(encoding.decode_without_bom_handling(body).0.into_owned())
        }
        _ => mended(body),
    }
}

/// What the document says of itself, as XML or as HTML.
fn declared(body: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(body.get(..body.len().min(HEAD_MAX)).unwrap_or_default()).to_ascii_lowercase();
    let is_xml = head.trim_start().starts_with("<?xml");
    label(&head, if is_xml { "encoding=" } else { "charset=" })
}

fn label(text: &str, mark: &str) -> Option<String> {
    let rest = text.split_once(mark)?.1.trim_start().trim_start_matches(['"', '\'']);
    Some(rest.split(['"', '\'', ';', ' ', '?', '>']).next()?.trim().to_owned())
}

/// Mostly UTF-8: what does not fit is read as Windows-1252. Hardly ever UTF-8: all of it is.
fn mended(body: &[u8]) -> String {
    let n_wide = |chunk: &str| chunk.chars().filter(|c| !c.is_ascii()).count();
    let (n_good, n_bad) = body.utf8_chunks().fold((0, 0), |(good, bad), chunk| (good + n_wide(chunk.valid()), bad + chunk.invalid().len()));
    if n_bad > n_good {
        return without_nul(WINDOWS_1252.decode_without_bom_handling(body).0.into_owned());
    }
    let mut text = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        text.push_str(&WINDOWS_1252.decode_without_bom_handling(chunk.invalid()).0);
    }
    without_nul(text)
}

fn without_nul(mut text: String) -> String {
    text.retain(|c| c != '\0');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_charsets_are_read_as_meant() {
        assert!(decode(b"<?xml version=\"1.0\" encoding=\"utf-8\"?><rss>perch\xe9</rss>", Some("text/xml; charset=utf-8")).contains("perché"));
        assert!(decode("<rss>perché</rss>".as_bytes(), Some("text/xml; charset=iso-8859-1")).contains("perché"));
        assert!(decode(b"<?xml version='1.0' encoding='iso-8859-2'?><rss>\xb1</rss>", None).contains('ą'));
        assert!(decode("<?xml version='1.0' encoding='utf-16'?><rss>perché</rss>".as_bytes(), None).contains("perché"));
        let wide: Vec<u8> = "<rss>é</rss>".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(decode(&wide, None).contains("<rss>é"));
    }

    #[test]
    fn one_wrong_byte_leaves_the_rest_as_it_was() {
        let body = [b"<rss>perch\xe9 \x00".as_slice(), "così".as_bytes()].concat();
        assert_eq!(decode(&body, Some("text/xml; charset=utf-8")), "<rss>perché così");
    }
}
