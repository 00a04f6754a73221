//! One response of an IMAP server: its lines and literals, read with bounds and cut into flat tokens. Only what this
//! connector asks for is understood; the rest is skipped by its brackets, so that an unknown item harms nobody.

use crate::wire::{Wire, WireError};

/// A response may carry many literals (a list of names); this connector asks for one.
const LITERALS_MAX: usize = 64;

/// How much one response may weigh.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Units: bytes, one line.
    pub(crate) line: usize,
    /// Units: bytes, one literal.
    pub(crate) literal: usize,
}

/// What a response is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Open,
    Close,
    /// A number, a flag, a name with its brackets (`BODY[]`), `NIL`.
    Atom(String),
    /// Quoted or literal.
    Text(Vec<u8>),
}

/// One response as it came.
#[derive(Debug, Default)]
pub(crate) struct Response {
    /// Each line up to its literal, and the literal, if one follows.
    pieces: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Response {
    /// Errors: `TooLong` over the limits; the connection is of no further use then.
    pub(crate) fn read(wire: &mut Wire, limits: Limits) -> Result<Self, WireError> {
        let mut response = Self::default();
        loop {
            let line = wire.line(limits.line)?;
            let Some(announced) = announced_literal(&line) else {
                response.pieces.push((line, None));
                return Ok(response);
            };
            if announced > limits.literal || response.pieces.len() >= LITERALS_MAX {
                return Err(WireError::TooLong);
            }
            let literal = wire.exact(announced)?;
            response.pieces.push((line, Some(literal)));
        }
    }

    /// The first line, for status responses.
    pub(crate) fn head(&self) -> String {
        self.pieces.first().map(|(line, _)| String::from_utf8_lossy(line).into_owned()).unwrap_or_default()
    }

    /// All of it in tokens, literals moved out.
    pub(crate) fn into_tokens(self) -> Vec<Token> {
        let mut tokens = Vec::new();
        for (line, literal) in self.pieces {
            let text = match (&literal, line.iter().rposition(|&b| b == b'{')) {
                (Some(_), Some(brace)) => line.get(..brace).unwrap_or_default(),
                _ => line.as_slice(),
            };
            cut_line(text, &mut tokens);
            tokens.extend(literal.map(Token::Text));
        }
        tokens
    }
}

/// `… {2048}` or `… {2048+}` at the end of a line.
fn announced_literal(line: &[u8]) -> Option<usize> {
    let inner = line.strip_suffix(b"}")?;
    let brace = inner.iter().rposition(|&byte| byte == b'{')?;
    let digits = inner.get(brace + 1..)?;
    let digits = digits.strip_suffix(b"+").unwrap_or(digits);
    if digits.is_empty() || digits.len() > 10 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn cut_line(line: &[u8], tokens: &mut Vec<Token>) {
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b' ' => after,
            b'(' => {
                tokens.push(Token::Open);
                after
            }
            b')' => {
                tokens.push(Token::Close);
                after
            }
            b'"' => {
                let (text, after) = quoted(after);
                tokens.push(Token::Text(text));
                after
            }
            _ => {
                let (atom, after) = rest.split_at(atom_length(rest));
                tokens.push(Token::Atom(String::from_utf8_lossy(atom).into_owned()));
                after
            }
        };
    }
}

fn quoted(after_quote: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut text = Vec::new();
    let mut rest = after_quote;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => break,
            b'\\' => {
                if let Some((&escaped, after)) = rest.split_first() {
                    text.push(escaped);
                    rest = after;
                }
            }
            _ => text.push(byte),
        }
    }
    (text, rest)
}

/// At least 1. A section in brackets belongs to its name, spaces and all.
fn atom_length(text: &[u8]) -> usize {
    let mut in_section = false;
    let end = text.iter().position(|&byte| {
        match byte {
            b'[' => in_section = true,
            b']' => in_section = false,
            _ => {}
        }
        !in_section && matches!(byte, b' ' | b'(' | b')' | b'"')
    });
    end.unwrap_or(text.len()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(line: &[u8]) -> Vec<Token> {
        let mut tokens = Vec::new();
        cut_line(line, &mut tokens);
        tokens
    }

    #[test]
    fn a_fetch_is_cut_into_its_tokens() {
        let atom = |text: &str| Token::Atom(text.to_owned());
        assert_eq!(
            tokens(br#"* 172 FETCH (UID 4391 FLAGS (\Seen) BODY[HEADER.FIELDS (DATE)] "a \"b\"")"#),
            [
                atom("*"),
                atom("172"),
                atom("FETCH"),
                Token::Open,
                atom("UID"),
                atom("4391"),
                atom("FLAGS"),
                Token::Open,
                atom("\\Seen"),
                Token::Close,
                atom("BODY[HEADER.FIELDS (DATE)]"),
                Token::Text(b"a \"b\"".to_vec()),
                Token::Close,
            ]
        );
    }

    #[test]
    fn garbage_is_cut_without_end_or_trap() {
        for line in [&b"\""[..], b"\"\\", b"[[[", b"((((", b")", b"\0\xff", b"{", b"a]b\"c"] {
            tokens(line);
        }
    }

    #[test]
    fn only_a_whole_number_announces_a_literal() {
        assert_eq!(announced_literal(b"* 1 FETCH (BODY[] {2048}"), Some(2048));
        assert_eq!(announced_literal(b"x {0+}"), Some(0));
        for line in [&b"x {}"[..], b"x {-1}", b"x {99999999999}", b"x {1} ", b"x 1}"] {
            assert_eq!(announced_literal(line), None);
        }
    }
}
