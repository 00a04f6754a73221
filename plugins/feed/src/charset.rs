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
    let told = content_type.and_then(|value| label(&value.to_ascii_lowercase(), "charset"));
    let stated = [told, declared(body)].into_iter().flatten();
    // A document that can be read byte by byte is not in two-byte units, whatever it says.
    let stated: Vec<&Encoding> = stated
        .filter_map(|label| Encoding::for_label_no_replacement(label.replace("windows_", "windows-").as_bytes()))
        .filter(|encoding| *encoding != UTF_16BE && *encoding != UTF_16LE)
        .collect();
    let first = stated.first().copied().unwrap_or(UTF_8);
    let other = stated.into_iter().find(|encoding| *encoding != UTF_8);
    match other {
        // Seven-bit encodings look like UTF-8.
        Some(encoding) if encoding == first && !encoding.is_ascii_compatible() => {
            without_nul(encoding.decode_without_bom_handling(body).0.into_owned())
        }
        // Bytes that are UTF-8 are hardly ever anything else; of two labels the one that may be true is believed.
        Some(encoding) if std::str::from_utf8(body).is_err() && (first != UTF_8 || !is_mostly_utf8(body)) => {
            without_nul(encoding.decode_without_bom_handling(body).0.into_owned())
        }
        _ => mended(body),
    }
}

/// What the document says of itself, as XML or as HTML.
fn declared(body: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(body.get(..body.len().min(HEAD_MAX)).unwrap_or_default()).to_ascii_lowercase();
    let is_xml = head.trim_start().starts_with("<?xml");
    let head = if is_xml { head.split("?>").next().unwrap_or_default() } else { &head };
    label(head, if is_xml { "encoding" } else { "charset" })
}

fn label(text: &str, mark: &str) -> Option<String> {
    let rest = text.split(mark).skip(1).find_map(|rest| rest.trim_start().strip_prefix('='))?;
    let rest = rest.trim_start().trim_start_matches(['"', '\'']).trim_start();
    Some(rest.split(['"', '\'', ';', ' ', '?', '>']).next()?.trim().to_owned())
}

fn is_mostly_utf8(body: &[u8]) -> bool {
    let n_wide = |chunk: &str| chunk.chars().filter(|c| !c.is_ascii()).count();
    let (n_good, n_bad) = body.utf8_chunks().fold((0, 0), |(good, bad), chunk| (good + n_wide(chunk.valid()), bad + chunk.invalid().len()));
    n_bad <= n_good
}

/// Mostly UTF-8: what does not fit is read as Windows-1252. Hardly ever UTF-8: all of it is.
fn mended(body: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(body) {
        return without_nul(text.to_owned());
    }
    if !is_mostly_utf8(body) {
        return without_nul(WINDOWS_1252.decode_without_bom_handling(body).0.into_owned());
    }
    let mut text = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        text.push_str(&WINDOWS_1252.decode_without_bom_handling(chunk.invalid()).0);
    }
    without_nul(text)
}

fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "") } else { text }
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
    fn of_two_labels_the_one_that_fits_is_believed() {
        let russian = b"<?xml version=\"1.0\" encoding = \" windows-1251 \"?><rss>\xcf\xf0\xe8\xe2\xe5\xf2</rss>";
        assert!(decode(russian, Some("text/xml; charset = utf-8")).contains("Привет"));
        assert!(decode(b"<?xml encoding='iso-2022-kr'?><rss>caff\xe8</rss>", None).contains("caffè"), "no label turns all of it into one mark");
    }

    #[test]
    fn one_wrong_byte_leaves_the_rest_as_it_was() {
        let body = [b"<rss>perch\xe9 \x00".as_slice(), "così".as_bytes()].concat();
        assert_eq!(decode(&body, Some("text/xml; charset=utf-8")), "<rss>perché così");
    }
}
