//! Bounds a mail before it is parsed: headers of megabytes and mails within mails within mails are cut, so that memory
//! and stack stay bounded whatever comes in.

use std::borrow::Cow;

use memchr::memchr_iter;

const HEADER_BYTES_MAX: usize = 256 << 10;
/// Multiparts and enclosed mails, counted over the whole mail.
const CONTAINERS_MAX: usize = 100;
/// How far behind `Content-Type:` the type is looked for.
const TYPE_BYTES: usize = 80;

/// The mail, or as much of it as is safe to parse.
pub(crate) fn tame(raw: &[u8]) -> Cow<'_, [u8]> {
    let blank = raw.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let raw = raw.get(blank..).unwrap_or_default();
    let raw = raw.get(..containers_end(raw)).unwrap_or(raw);
    let head_end = header_end(raw);
    if head_end <= HEADER_BYTES_MAX {
        return Cow::Borrowed(raw);
    }
    let kept = raw.get(..HEADER_BYTES_MAX).unwrap_or_default();
    let line_end = kept.iter().rposition(|&byte| byte == b'\n').map_or(kept.len(), |at| at + 1);
    let mut cut = kept.get(..line_end).unwrap_or_default().to_vec();
    cut.extend_from_slice(b"\r\n\r\n");
    cut.extend_from_slice(raw.get(head_end..).unwrap_or_default());
    Cow::Owned(cut)
}

/// Where the body starts; the length where there is none.
fn header_end(raw: &[u8]) -> usize {
    let mut ends = memchr_iter(b'\n', raw).filter_map(|at| match raw.get(at + 1..)? {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    });
    ends.next().unwrap_or(raw.len())
}

/// Where the first container too many starts.
fn containers_end(raw: &[u8]) -> usize {
    const NAME: &[u8] = b"content-type:";
    let mut containers = 0;
    for at in std::iter::once(0).chain(memchr_iter(b'\n', raw).map(|end| end + 1)) {
        let line = raw.get(at..).unwrap_or_default();
        if line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
            let rest = line.get(NAME.len()..).unwrap_or_default();
            let kind = rest.get(..TYPE_BYTES.min(rest.len())).unwrap_or_default().trim_ascii_start();
            let is = |name: &[u8]| kind.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name));
            containers += usize::from(is(b"multipart/") || is(b"message/"));
            if containers > CONTAINERS_MAX {
                return at;
            }
        }
    }
    raw.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_mail_is_left_alone() {
        let raw = b"From: a@b.c\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nhi\r\n--x--\r\n";
        assert!(matches!(tame(raw), Cow::Borrowed(same) if same == raw));
    }

    #[test]
    fn a_header_of_megabytes_is_cut_and_the_body_stays() {
        let raw = format!("From: a@b.c\r\nX-Big: {}\r\nSubject: lost\r\n\r\nbody", "y ".repeat(1 << 20));
        let tamed = tame(raw.as_bytes());
        assert!(tamed.len() < HEADER_BYTES_MAX + 64);
        assert!(tamed.ends_with(b"\r\n\r\nbody"));
    }

    #[test]
    fn mails_within_mails_end_somewhere() {
        let raw = "Content-Type: message/rfc822\r\n\r\n".repeat(100_000);
        assert!(tame(raw.as_bytes()).len() < 40 * CONTAINERS_MAX);
    }
}
