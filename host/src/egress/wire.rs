//! What passes over a stream around a login: when a credential may be written, and how an echo of it is masked.
//!
//! Two things are told apart. An honest server may send a credential back in its answer, a bad guest may try to read it so:
//! that echo is masked by as many `*`, whichever way the guest cuts its reads. And a mail that holds the same word must arrive
//! as it was sent: so masking ends after [`ECHO_BYTES`], or sooner, with the answer to the second line after the credential's
//! own. The sooner end holds only while the guest speaks a line and waits for its answer; who writes ahead could stretch the
//! echo past it. A credential that went into a text (a mail's body) comes back on another connection, beyond any mask:
//! so it is written early in the conversation or never.

use zeroize::Zeroizing;

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
    /// Answers since the beginning, the handshake, or the last credential.
    answers: u32,
    /// The guest wrote more than one line before an answer, since the beginning or the handshake.
    is_ahead: bool,
    before_bytes: usize,
}

impl Wire {
    /// Bytes came; none: the end.
    pub(super) fn arrived(&mut self, bytes: &[u8]) {
        self.is_ended |= bytes.is_empty();
        self.unread.extend_from_slice(bytes);
        self.mask();
        if self.awaited > 0 && bytes.contains(&b'\n') {
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
        self.before_bytes = self.before_bytes.saturating_add(bytes.len());
    }

    /// Errors: why not, in words.
    pub(super) fn may_write_secret(&self) -> Result<(), &'static str> {
        let answers_max = if self.n_secrets == 0 { BEFORE_ANSWERS } else { ECHO_ANSWERS };
        if self.n_secrets >= SECRETS_MAX {
            Err("it was written often enough over this connection")
        } else if self.is_ahead {
            Err("it is written only where every line before it was answered")
        } else if self.answers > answers_max || (self.n_secrets == 0 && self.before_bytes > BEFORE_BYTES) {
            Err("it is written only at the beginning of a conversation")
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
    }

    /// After the TLS handshake: a new conversation.
    pub(super) fn restart(&mut self) {
        (self.awaited, self.answers, self.is_ahead, self.before_bytes) = (0, 0, false, 0);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn logged_in(secret: &str) -> Wire {
        let mut wire = Wire::default();
        let echo = || Zeroizing::new(secret.as_bytes().to_vec());
        wire.may_write_secret().unwrap();
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
        assert!(wire.may_write_secret().is_err());
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
        assert!(wire.may_write_secret().is_ok());
        wire.written(b"DATA\r\n");
        wire.arrived(b"354 x\r\n");
        assert!(wire.may_write_secret().is_err());

        let mut wire = logged_in("secret");
        for _ in 1..SECRETS_MAX {
            assert!(wire.may_write_secret().is_ok());
            wire.secret_written(b"secret", Vec::new());
        }
        assert!(wire.may_write_secret().is_err());
    }
}
