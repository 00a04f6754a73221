//! What passes over a stream around a login: when a credential may be written, and how an echo of it is masked.
//!
//! Two things are told apart. An honest server may send a credential back in its answer, a bad guest may try to read it so:
//! that echo is masked by as many `*`, whichever way the guest cuts its reads. And a mail that holds the same word must arrive
//! as it was sent: so masking ends after [`ECHO_BYTES`], or sooner, with the answer to the second line after the credential's
//! own. The sooner end holds only while the guest speaks a line and waits for its answer; who writes ahead could stretch the
//! echo past it. A credential that went into a text (a mail's body) comes back on another connection, beyond any mask:
//! so it is written early in the conversation, in a line that logs in ([`is_login`]), while nothing else was spoken of
//! ([`leads_to_login`]), or never: whoever has an account on the same server could make a mail of it, an address, or the name of a
//! mailbox, and read it there.

use zeroize::{Zeroize as _, Zeroizing};

/// Masked after each credential, at most. Units: bytes.
const ECHO_BYTES: usize = 8 << 10;
/// The credential's own line is answered, and two more.
const ECHO_ANSWERS: u32 = 3;
/// Credentials written over one connection.
const SECRETS_MAX: u32 = 4;
/// Before the first credential, from the beginning or from the TLS handshake. Units: bytes.
const BEFORE_BYTES: usize = 4 << 10;
/// Likewise. SMTP's longest way to a password: EHLO, AUTH LOGIN, the user's name. One more would be a mail's DATA.
const BEFORE_ANSWERS: u32 = 3;
/// How an answer begins that asks for more: IMAP's and POP's `+`, SMTP's 334, NNTP's 383.
const ASKS: [u8; 2] = [b'+', b'3'];
/// A line of the guest's before a login or in it is no longer. Units: bytes. Source: RFC 5321 §4.5.3.1.4.
const LINE_BYTES: usize = 512;

/// What `take` gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Bytes(Vec<u8>),
    /// Read on.
    Nothing,
    /// The other side ended the stream and all of it was taken.
    End,
}

/// The state of one stream.
#[derive(Default)]
pub(super) struct Wire {
    /// Arrived and not taken.
    unread: Vec<u8>,
    /// So many bytes of `unread` are masked, or need no mask.
    clean: usize,
    is_ended: bool,
    /// Everything that an echo may look like.
    echoes: Vec<Zeroizing<Vec<u8>>>,
    /// Bytes that may still hold an echo, counted from `clean`; none: nothing is masked.
    window: usize,
    n_secrets: u32,
    /// Lines written and not answered.
    awaited: usize,
    /// How the answer to them begins, as far as it came.
    answer: Option<u8>,
    /// Answers since the beginning, the handshake, or the last credential.
    answers: u32,
    /// The guest wrote more than one line before an answer, since the beginning or the handshake.
    is_ahead: bool,
    before_bytes: usize,
    /// The guest wrote a line that belongs to no login, since the beginning or the handshake.
    is_elsewhere: bool,
    /// The beginning of the line that the guest is writing.
    line: Zeroizing<Vec<u8>>,
    /// Lines that the login which the guest began still asks for; the last one is the credential.
    n_asked: u8,
    /// The line that is written next holds a credential: it is the host's own.
    is_credential: bool,
}

impl Wire {
    /// Bytes came; none: the end.
    pub(super) fn arrived(&mut self, bytes: &[u8]) {
        self.is_ended |= bytes.is_empty();
        self.unread.extend_from_slice(bytes);
        self.mask();
        if self.awaited > 0 {
            self.answer = self.answer.or(bytes.first().copied());
        }
        if self.awaited > 0 && bytes.contains(&b'\n') {
            if !self.answer.is_some_and(|first| ASKS.contains(&first)) {
                self.n_asked = 0;
            }
            self.awaited = 0;
            self.answers = self.answers.saturating_add(1);
        }
        let is_held = self.clean < self.unread.len();
        if self.n_secrets > 0 && self.answers >= ECHO_ANSWERS && !self.is_ahead && !is_held {
            self.window = 0;
        }
    }

    /// At most `max` of what can be given away.
    pub(super) fn take(&mut self, max: usize) -> Taken {
        let n = self.clean.min(max);
        if n > 0 {
            self.clean -= n;
            return Taken::Bytes(self.unread.drain(..n).collect());
        }
        if self.is_ended { Taken::End } else { Taken::Nothing }
    }

    /// The guest wrote.
    pub(super) fn written(&mut self, bytes: &[u8]) {
        let n_lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
        self.is_ahead |= n_lines > 1 || (n_lines > 0 && self.awaited > 0);
        self.awaited += n_lines;
        if n_lines > 0 {
            self.answer = None;
        }
        self.before_bytes = self.before_bytes.saturating_add(bytes.len());
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = LINE_BYTES.saturating_sub(self.line.len());
            self.line.reserve_exact(room);
            self.line.extend(piece.iter().take(room));
            if piece.ends_with(b"\n") {
                self.line_written();
                self.line.zeroize();
            }
        }
    }

    /// What the line that ended says of where the conversation is.
    fn line_written(&mut self) {
        let n_asked = std::mem::take(&mut self.n_asked);
        if std::mem::take(&mut self.is_credential) {
            return;
        }
        // What was not kept whole cannot be judged.
        let whole = std::str::from_utf8(&self.line).ok().filter(|line| line.ends_with('\n'));
        let words: Option<Vec<&str>> = whole.map(|line| line.split_ascii_whitespace().collect());
        self.is_elsewhere |= !words.as_ref().is_some_and(|words| leads_to_login(words, n_asked > 0));
        self.n_asked = words.and_then(|words| lines_asked_by(&words)).unwrap_or_else(|| n_asked.saturating_sub(1));
    }

    /// Between these. Errors: why not, in words.
    pub(super) fn may_write_secret(&self, prefix: &[u8], suffix: &[u8]) -> Result<(), &'static str> {
        let is_in_line = self.line.is_empty() && suffix == b"\r\n" && if prefix.is_empty() { self.n_asked == 1 } else { is_login(prefix) };
        let answers_max = if self.n_secrets == 0 { BEFORE_ANSWERS } else { ECHO_ANSWERS };
        if self.n_secrets >= SECRETS_MAX {
            Err("it was written often enough over this connection")
        } else if self.is_ahead || self.awaited > 0 {
            Err("it is written only where every line before it was answered")
        } else if self.is_elsewhere || self.answers > answers_max || (self.n_secrets == 0 && self.before_bytes > BEFORE_BYTES) {
            Err("it is written only at the beginning of a conversation")
        } else if !is_in_line {
            Err(
                "it is written only in a line that logs in, such as `TAG LOGIN USER `, `AUTH PLAIN ` or `PASS ` before it and the line's end behind it",
            )
        } else {
            Ok(())
        }
    }

    /// A credential is about to be written in this form. `echoes`: what else may come back.
    pub(super) fn secret_written(&mut self, encoded: &[u8], echoes: Vec<Zeroizing<Vec<u8>>>) {
        let quoted = encoded.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\""));
        self.echoes.push(Zeroizing::new(quoted.unwrap_or(encoded).to_vec()));
        self.echoes.extend(echoes);
        self.echoes.retain(|echo| echo.len() >= 4);
        self.echoes.sort_by_key(|echo| std::cmp::Reverse(echo.len()));
        self.echoes.dedup();
        self.window = ECHO_BYTES;
        self.n_secrets += 1;
        self.answers = 0;
        self.is_credential = true;
    }

    /// After the TLS handshake: a new conversation.
    pub(super) fn restart(&mut self) {
        (self.awaited, self.answers, self.is_ahead, self.before_bytes) = (0, 0, false, 0);
        (self.answer, self.is_elsewhere, self.n_asked) = (None, false, 0);
        self.line.zeroize();
    }

    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Masks what arrived and decides how much of it can be given away.
    fn mask(&mut self) {
        let Some(fresh) = self.unread.get_mut(self.clean..) else { return };
        for echo in &self.echoes {
            super::credential::mask(fresh, echo, self.window);
        }
        let end = fresh.len().min(self.window);
        // A tail may be the beginning of an echo whose rest is still on its way.
        let held = (0..end).find(|&at| self.echoes.iter().any(|echo| fresh.get(at..).is_some_and(|tail| echo.starts_with(tail))));
        let free = match held {
            Some(at) if self.is_ended => {
                if let Some(tail) = fresh.get_mut(at..).filter(|tail| tail.len() >= 4) {
                    tail.fill(b'*');
                }
                fresh.len()
            }
            Some(at) => at,
            None => fresh.len(),
        };
        self.clean += free;
        self.window = self.window.saturating_sub(free);
    }
}

/// Mechanisms that ask for one line, where none came with them. Source: RFC 4616, Google's XOAUTH2 protocol.
const MECHANISMS: [&str; 2] = ["PLAIN", "XOAUTH2"];

/// How many lines the server asks for after a line of these words, if it begins a login. Source: RFC 4954, RFC 9051 §6.2.2.
fn lines_asked_by(words: &[&str]) -> Option<u8> {
    let mechanism = match words {
        [auth, mechanism] if auth.eq_ignore_ascii_case("AUTH") => mechanism,
        [tag, authenticate, mechanism] if is_tag(tag) && authenticate.eq_ignore_ascii_case("AUTHENTICATE") => mechanism,
        _ => return None,
    };
    if mechanism.eq_ignore_ascii_case("LOGIN") {
        return Some(2);
    }
    MECHANISMS.iter().any(|known| known.eq_ignore_ascii_case(mechanism)).then_some(1)
}

/// A line that a server may be told before a login or in it: it says who asks, asks what the server can do, or answers what a login
/// asks for (`is_asked`), which is one word. None of them begins a text or a literal. Source: as [`is_login`]'s, RFC 2449, RFC 2971.
fn leads_to_login(words: &[&str], is_asked: bool) -> bool {
    let said = |at: usize, known: &[&str]| words.get(at).is_some_and(|word| known.iter().any(|known| known.eq_ignore_ascii_case(word)));
    let is_literal = words.last().is_some_and(|word| word.ends_with('}'));
    let of_mail = said(0, &["EHLO", "HELO", "LHLO", "USER", "PASS", "AUTH"]);
    let of_imap = said(1, &["CAPABILITY", "ID", "NOOP", "STARTTLS", "LOGIN", "AUTHENTICATE"]);
    let of_news = (said(0, &["AUTHINFO"]) && said(1, &["USER", "PASS"])) || (said(0, &["MODE"]) && said(1, &["READER"]));
    let of_one_word = said(0, &["*", "CAPA", "CAPABILITIES", "NOOP", "STARTTLS", "STLS"]);
    !is_literal && (of_mail || of_imap || of_news || words.len() < 2 && (words.is_empty() || is_asked || of_one_word))
}

/// The beginning of a line whose end is a credential for the server and nobody else. Source: RFC 9051 §6.2, RFC 4954, RFC 1939, RFC 4643.
fn is_login(prefix: &[u8]) -> bool {
    let Some(line) = std::str::from_utf8(prefix).ok().and_then(|prefix| prefix.strip_suffix(' ')) else { return false };
    let words: Vec<&str> = line.splitn(3, ' ').collect();
    match words.as_slice() {
        [pass] => pass.eq_ignore_ascii_case("PASS"),
        [info, pass] if info.eq_ignore_ascii_case("AUTHINFO") => pass.eq_ignore_ascii_case("PASS"),
        [tag, login, user] if login.eq_ignore_ascii_case("LOGIN") => is_tag(tag) && is_one_word(user),
        words => lines_asked_by(words) == Some(1),
    }
}

fn is_tag(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// An atom, or a quoted text, of IMAP: the next word is another one.
fn is_one_word(text: &str) -> bool {
    let Some(quoted) = text.strip_prefix('"') else {
        return !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"(){}%*\"\\".contains(&byte));
    };
    let mut signs = quoted.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '"' => return signs.next().is_none(),
            '\\' if !matches!(signs.next(), Some('"' | '\\')) => return false,
            '\r' | '\n' => return false,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged_in(secret: &str) -> Wire {
        let mut wire = Wire::default();
        let echo = || Zeroizing::new(secret.as_bytes().to_vec());
        wire.may_write_secret(b"PASS ", b"\r\n").unwrap();
        wire.secret_written(format!("\"{secret}\"").as_bytes(), vec![echo()]);
        wire.written(format!("a LOGIN x \"{secret}\"\r\n").as_bytes());
        wire
    }

    fn all(wire: &mut Wire, max: usize) -> String {
        let mut said = Vec::new();
        while let Taken::Bytes(bytes) = wire.take(max) {
            assert!(bytes.len() <= max);
            said.extend(bytes);
        }
        String::from_utf8(said).unwrap()
    }

    #[test]
    fn an_echo_is_masked_however_it_is_cut() {
        for cut in 1..12 {
            let mut wire = logged_in("hunter2");
            let mut said = String::new();
            for part in b"a BAD LOGIN x \"hunter2\" hunter\r\n".chunks(cut) {
                wire.arrived(part);
                said += &all(&mut wire, 1);
            }
            assert_eq!(said, "a BAD LOGIN x \"*******\" hunter\r\n", "cut at {cut}");
        }
    }

    #[test]
    fn the_end_gives_no_part_of_an_echo_away() {
        let mut wire = logged_in("hunter2");

        wire.arrived(b"BAD hunter");
        assert_eq!(all(&mut wire, 99), "BAD ");
        wire.arrived(b"");

        assert_eq!(all(&mut wire, 99), "******");
        assert_eq!(wire.take(1), Taken::End);
    }

    #[test]
    fn a_mail_that_holds_the_password_arrives_as_it_was_sent() {
        let mut wire = logged_in("secret");
        wire.arrived(b"a OK logged in, secret\r\n");
        for line in ["b CAPABILITY\r\n", "c SELECT INBOX\r\n"] {
            wire.written(line.as_bytes());
            wire.arrived(b"x OK\r\n");
        }
        assert_eq!(all(&mut wire, 999), "a OK logged in, ******\r\nx OK\r\nx OK\r\n");

        wire.written(b"d UID FETCH 1 BODY[]\r\n");
        wire.arrived(b"* 1 FETCH (BODY[] {17}\r\nit is no secret\r\n)\r\n");

        assert_eq!(all(&mut wire, 999), "* 1 FETCH (BODY[] {17}\r\nit is no secret\r\n)\r\n");
    }

    #[test]
    fn who_writes_ahead_is_masked_for_longer_and_gets_no_second_credential() {
        let mut wire = logged_in("secret");
        for _ in 0..20 {
            wire.written(b"b NOOP\r\nc NOOP\r\n");
            wire.arrived(b"b OK\r\n");
        }
        wire.arrived(b"z BAD secret\r\n");
        assert!(all(&mut wire, 9999).ends_with("z BAD ******\r\n"));
        assert!(wire.may_write_secret(b"PASS ", b"\r\n").is_err());
        wire.arrived(&[b'.'; ECHO_BYTES]);
        wire.arrived(b"secret");
        assert!(all(&mut wire, 99_999).ends_with(".secret"), "a window has an end");
    }

    #[test]
    fn a_credential_is_written_at_the_beginning_or_never() {
        let mut wire = Wire::default();
        for _ in 0..BEFORE_ANSWERS {
            wire.written(b"EHLO x\r\n");
            wire.arrived(b"250 x\r\n");
        }
        assert!(wire.may_write_secret(b"PASS ", b"\r\n").is_ok());
        wire.written(b"DATA\r\n");
        wire.arrived(b"354 x\r\n");
        assert!(wire.may_write_secret(b"PASS ", b"\r\n").is_err());

        let mut wire = logged_in("secret");
        assert!(wire.may_write_secret(b"PASS ", b"\r\n").is_err(), "its line is not answered yet");
        wire.arrived(b"a NO\r\n");
        for _ in 1..SECRETS_MAX {
            assert!(wire.may_write_secret(b"PASS ", b"\r\n").is_ok());
            wire.secret_written(b"secret", Vec::new());
        }
        assert!(wire.may_write_secret(b"PASS ", b"\r\n").is_err());
    }

    #[test]
    fn a_credential_is_written_in_a_line_that_logs_in_or_never() {
        let spoken = |lines: &[&[u8]]| {
            let mut wire = Wire::default();
            for line in lines {
                wire.written(line);
                wire.arrived(b"+ x\r\n");
            }
            wire
        };
        for prefix in ["a1 LOGIN anna ", "a LOGIN \"an \\\"na\" ", "a authenticate plain ", "AUTH PLAIN ", "auth xoauth2 ", "PASS ", "AUTHINFO PASS "]
        {
            assert!(spoken(&[]).may_write_secret(prefix.as_bytes(), b"\r\n").is_ok(), "{prefix}");
        }
        let steps: [&[&[u8]]; 3] = [&[b"AUTH LOGIN\r\n", b"YW5uYQ==\r\n"], &[b"AUTH PLA", b"IN\r\n"], &[b"a AUTHENTICATE XOAUTH2\r\n"]];
        for lines in steps {
            assert!(spoken(lines).may_write_secret(b"", b"\r\n").is_ok(), "{lines:?}");
        }

        let elsewhere = [
            "b CREATE ",
            "RCPT TO:<",
            "x\r\nDATA\r\n\r\n",
            "a LOGIN anna \"x\" ",
            "a LOGIN \"anna\\\" ",
            "a LOGIN \"x\\\nb CREATE y\" ",
            "a LOGIN {4} ",
            "a b LOGIN anna ",
            "AUTH ",
            "PASS x ",
            "NOOP ",
            "",
        ];
        for prefix in elsewhere {
            assert!(spoken(&[]).may_write_secret(prefix.as_bytes(), b"\r\n").is_err(), "{prefix:?}");
        }
        assert!(spoken(&[]).may_write_secret(b"RCPT TO:<", b"@evil.example>\r\n").is_err());
        assert!(spoken(&[]).may_write_secret(b"PASS ", b" x\r\n").is_err(), "nothing stands behind it");
        let begun: [&[&[u8]]; 4] =
            [&[b"AUTH LOGIN\r\n"], &[b"AUTH PLAIN\r\n", b"x\r\n"], &[b"b CREATE {6}\r\n"], &[b"AUTH LOGIN\r\n", b"YQ==\r\n", b"DATA\r\n"]];
        for lines in begun {
            assert!(spoken(lines).may_write_secret(b"", b"\r\n").is_err(), "{lines:?}");
        }
        let mut wire = spoken(&[]);
        wire.written(b"b CREATE ");
        assert!(wire.may_write_secret(b"PASS ", b"\r\n").is_err(), "the line has begun");
    }

    #[test]
    fn a_credential_goes_into_no_text_that_a_line_before_it_began() {
        let may = |lines: &[(&str, &str)], prefix: &[u8]| {
            let mut wire = Wire::default();
            wire.arrived(b"* OK\r\n");
            for (line, answer) in lines {
                wire.written(line.as_bytes());
                wire.arrived(answer.as_bytes());
            }
            wire.may_write_secret(prefix, b"\r\n").is_ok()
        };
        let logins: [&[(&str, &str)]; 5] = [
            &[("a CAPABILITY\r\n", "* CAPABILITY X\r\na OK\r\n"), ("b ID (\"name\" \"membrana\")\r\n", "b OK\r\n")],
            &[("EHLO [127.0.0.1]\r\n", "250 x\r\n"), ("AUTH PLAIN\r\n", "504 no\r\n")],
            &[("a AUTHENTICATE XOAUTH2\r\n", "+ \r\n"), ("\r\n", "a NO\r\n")],
            &[("CAPA\r\n", "+OK\r\n"), ("USER anna\r\n", "+OK\r\n")],
            &[("MODE READER\r\n", "200 x\r\n"), ("AUTHINFO USER anna\r\n", "381 x\r\n")],
        ];
        for lines in logins {
            assert!(may(lines, b"PASS "), "{lines:?}");
        }
        let texts: [&[(&str, &str)]; 9] = [
            &[("AUTHINFO USER x\r\n", "381 x\r\n"), ("AUTH LOGIN\r\n", "500 x\r\n"), ("POST\r\n", "340 x\r\n")],
            &[("a LOGIN mallory x\r\n", "a OK\r\n"), ("b APPEND INBOX {200}\r\n", "+ \r\n")],
            &[("b ID (\"name\" {40}\r\n", "+ \r\n")],
            &[("a AUTHENTICATE LOGIN\r\n", "a BAD\r\n"), ("b APPEND INBOX {40}\r\n", "+ \r\n")],
            &[("AUTH LOGIN\r\n", "500 x\r\n"), ("POST\r\n", "340 x\r\n")],
            &[("POST\r\n", "340 x\r\n")],
            &[("MAIL FROM:<a@x.example>\r\n", "250 x\r\n"), ("RCPT TO:<b@x.example>\r\n", "250 x\r\n")],
            &[("MAIL FROM:<a@x.example>\r\n", "250 x\r\n"), ("DATA\r\n", "")],
            &[("EHLO x\r\n", "")],
        ];
        for lines in texts {
            assert!(!may(lines, b"PASS ") && !may(lines, b""), "{lines:?}");
        }
        let asks: [&[(&str, &str)]; 2] = [
            &[("EHLO x\r\n", "250 x\r\n"), ("AUTH LOGIN\r\n", "334 VXNlcm5hbWU6\r\n"), ("YW5uYQ==\r\n", "334 UGFzc3dvcmQ6\r\n")],
            &[("a CAPABILITY\r\n", "* CAPABILITY X\r\na OK\r\n"), ("b AUTHENTICATE PLAIN\r\n", "+ \r\n")],
        ];
        for lines in asks {
            assert!(may(lines, b""), "{lines:?}");
        }
        let long = format!("EHLO {} x\r\n", "x".repeat(LINE_BYTES));
        assert!(!may(&[(long.as_str(), "250 x\r\n")], b"PASS "), "what was not seen whole");
        let mut wire = Wire::default();
        wire.secret_written(&[b'x'; LINE_BYTES], Vec::new());
        wire.written(format!("a AUTHENTICATE XOAUTH2 {}\r\n", "x".repeat(LINE_BYTES)).as_bytes());
        wire.arrived(b"a NO\r\n");
        assert!(wire.may_write_secret(b"b LOGIN anna ", b"\r\n").is_ok(), "a long line of the host's own");
        let mut wire = Wire::default();
        wire.written(b"b APPEND INBOX {40}\r\nPA");
        wire.restart();
        assert!(wire.may_write_secret(b"PASS ", b"\r\n").is_ok(), "a handshake begins anew");
    }
}
