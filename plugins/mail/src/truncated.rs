//! The mark of a mail of which only the beginning was fetched. `poll` puts it in front as a line of its own, `receive`
//! takes it off again: raw bytes are all that passes between the two. A sender who forges it gains an attribute.

use serde::{Deserialize, Serialize};

const MARK: &[u8] = b"X-Membrana-Truncated: ";
const LINE_BYTES_MAX: usize = 64 << 10;

/// What is known of the part that is missing.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Truncated {
    /// Of the whole mail; none where the server did not tell.
    pub(crate) bytes: Option<u64>,
    /// Empty where the server did not tell.
    pub(crate) files: Vec<File>,
}

/// A file that a mail carries, as the server describes it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) name: Option<String>,
    /// Lower case.
    pub(crate) media_type: String,
    pub(crate) bytes: Option<u64>,
}

impl Truncated {
    /// The beginning of a mail behind its mark.
    pub(crate) fn mark(&self, beginning: &[u8]) -> Vec<u8> {
        let told = serde_json::to_vec(self).ok().filter(|json| json.len() <= LINE_BYTES_MAX);
        let json = told.unwrap_or_else(|| br#"{"bytes":null,"files":[]}"#.to_vec());
        [MARK, json.as_slice(), b"\r\n", beginning].concat()
    }

    /// The mark of a mail, if it has one, and the mail without it.
    pub(crate) fn unmark(raw: &[u8]) -> (Option<Self>, &[u8]) {
        let Some(rest) = raw.strip_prefix(MARK) else { return (None, raw) };
        let line = rest.get(..LINE_BYTES_MAX + 2).unwrap_or(rest);
        let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else { return (None, raw) };
        match serde_json::from_slice(rest.get(..end).unwrap_or_default()) {
            Ok(truncated) => (Some(truncated), rest.get(end + 2..).unwrap_or_default()),
            Err(_) => (None, raw),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_off_as_it_was_put_on() {
        let file = File { name: Some("foto è.jpg".to_owned()), media_type: "image/jpeg".to_owned(), bytes: Some(9) };
        let truncated = Truncated { bytes: Some(12 << 20), files: vec![file] };
        let marked = truncated.mark(b"Subject: x\r\n\r\ny");
        assert_eq!(Truncated::unmark(&marked), (Some(truncated), b"Subject: x\r\n\r\ny".as_slice()));
    }

    #[test]
    fn what_only_looks_like_a_mark_is_part_of_the_mail() {
        for raw in [&b"Subject: x\r\n\r\ny"[..], b"X-Membrana-Truncated: ", b"X-Membrana-Truncated: [\r\nSubject: x", b""] {
            assert_eq!(Truncated::unmark(raw), (None, raw));
        }
    }
}
