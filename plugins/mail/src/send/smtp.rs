//! One mail by SMTP submission. Everything up to the final dot is surely not sent if it fails; after the dot only the
//! server's own answer tells, and silence is an unknown outcome.
//! Source: RFC 5321, RFC 6409, RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 6531 (SMTPUTF8).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use membrana_sdk::{Fault, Result, clock};

use super::compose::Outgoing;
use crate::address::domain_of;
use crate::settings::{Endpoint, Login, Settings};
use crate::wire::{Wire, WireError, must_upgrade};

/// What [`Fault::outcome_unknown`] is called.
const OUTCOME_UNKNOWN: &str = "outcome-unknown";
const LINE_BYTES: usize = 4 << 10;
const LINES_MAX: usize = 100;
/// The message is not begun with less time than this.
const TIME_LEFT_MS: u64 = 5_000;
/// A server may scan the mail before it answers the final dot.
const FINAL_SILENCE_MS: u64 = 300_000;

/// A server that says "later", or does not answer, is asked again after this: greylisting and a restart both take minutes.
/// The host does not count such tries. Units: milliseconds.
const LATER_MS: u64 = 5 * 60_000;
/// Refusals that say nothing of other mails: a recipient that is greylisted, a message that is scanned again.
const OF_ONE_MAIL: [&str; 2] = ["smtp.recipient-refused", "smtp.message-refused"];
/// Stages at which nothing of one mail is known yet but its sender, which is the same for all.
const OF_THE_ACCOUNT: [&str; 3] = ["smtp.no-ehlo", "smtp.no-starttls", "smtp.sender-refused"];
/// What Gmail and Exchange Online say, at whichever stage, of an account that has sent all it may for some hours.
/// Source: support.google.com/a/answer/3726730; Microsoft, non-delivery reports in Exchange Online.
const USED_UP: [&str; 4] = ["5.4.5", "5.1.90", "5.7.232", "5.7.233"];
/// It is asked again after this. Units: milliseconds.
const USED_UP_MS: u64 = 3_600_000;
/// Of the sender, also where it is said once the recipient or the mail is there: no usable address, an account that is blocked, one that may
/// not write as `from`. Source: RFC 3463 §3.2; Microsoft, as above.
const NOT_AS_SENDER: [&str; 8] = ["5.1.7", "5.1.8", "5.2.252", "5.7.60", "5.7.501", "5.7.502", "5.7.503", "5.7.705"];
/// Postfix by default says it of the sender only once it knows the recipient. Source: postconf(5), `smtpd_delay_reject`.
const NOT_OWNED: &str = "553 5.7.1";
/// An action this old is tried a last few times. Units: milliseconds.
const PATIENCE_MS: u64 = 5 * 86_400_000;

/// Submits the mail of an action made at `created`. Errors: where the mail surely did not leave, the fault that fits; else `outcome-unknown`.
pub(crate) fn submit(settings: &Settings, endpoint: &Endpoint, mail: &Outgoing, created: u64) -> Result<()> {
    let is_patient = clock::now() < created.saturating_add(PATIENCE_MS);
    attempt(settings, endpoint, mail).map_err(|fault| match fault {
        Fault::Transient(detail) if is_patient && OF_ONE_MAIL.contains(&detail.code.as_str()) => Fault::item_later(detail.message, LATER_MS),
        Fault::Transient(detail) if is_patient && detail.code != OUTCOME_UNKNOWN => Fault::RateLimited((detail, LATER_MS)),
        other => other,
    })
}

fn attempt(settings: &Settings, endpoint: &Endpoint, mail: &Outgoing) -> Result<()> {
    let name = domain_of(&mail.from);
    let name = if name.is_ascii() { name } else { "localhost".to_owned() };
    let mut smtp = Smtp::open(endpoint, name)?;
    smtp.log_in(settings)?;
    smtp.envelope(mail)?;
    if clock::remaining_ms() < TIME_LEFT_MS {
        return Err(Fault::transient("smtp.no-time", "too little time was left to send"));
    }
    smtp.ask("DATA", 354, "smtp.data-refused")?;
    smtp.wire.write(&stuffed(&mail.bytes)).map_err(|error| error.fault("smtp"))?;
    smtp.finish()
}

struct Smtp {
    wire: Wire,
    /// What EHLO says of us.
    name: String,
    /// Upper case, from EHLO.
    offers: Vec<String>,
}

/// The last line of an answer.
struct Answer {
    code: u16,
    lines: Vec<String>,
}

impl Smtp {
    fn open(endpoint: &Endpoint, name: String) -> Result<Self> {
        let wire = Wire::connect(endpoint).map_err(|error| error.fault("smtp"))?;
        let mut smtp = Self { wire, name, offers: Vec::new() };
        let greeting = smtp.answer().map_err(|error| error.fault("smtp"))?;
        if greeting.code != 220 {
            return Err(Fault::transient("smtp.no-greeting", format!("the server greets with {}", greeting.code)));
        }
        smtp.hello()?;
        if must_upgrade(endpoint) {
            if !smtp.has("STARTTLS") {
                let message = "the server offers no STARTTLS; nothing was sent in clear. Use `smtp_tls = \"implicit\"`, or find who took it away";
                return Err(Fault::config("smtp.no-starttls", message));
            }
            smtp.ask("STARTTLS", 220, "smtp.no-starttls")?;
            smtp.wire.upgrade().map_err(|error| error.fault("smtp"))?;
            smtp.hello()?;
        }
        Ok(smtp)
    }

    fn has(&self, extension: &str) -> bool {
        self.offers.iter().any(|offer| offer.split(' ').next() == Some(extension))
    }

    fn hello(&mut self) -> Result<()> {
        let answer = self.ask(&format!("EHLO {}", self.name), 250, "smtp.no-ehlo")?;
        self.offers = answer.lines.iter().skip(1).map(|line| line.to_ascii_uppercase()).collect();
        Ok(())
    }

    /// LOGIN where it is offered, else PLAIN; without AUTH the server trusts the network.
    fn log_in(&mut self, settings: &Settings) -> Result<()> {
        let user = &settings.user;
        let methods: Vec<String> = self.offers.iter().filter_map(|offer| offer.strip_prefix("AUTH").map(str::to_owned)).collect();
        let offered = |method: &str| methods.iter().any(|list| list.split([' ', '=']).any(|word| word == method));
        if methods.is_empty() {
            return Ok(());
        }
        let refused = |answer: Answer| if answer.code == 235 { Ok(()) } else { Err(answer.login_fault()) };
        if settings.login == Login::Token {
            return if offered("XOAUTH2") {
                self.show_token(user)
            } else {
                Err(Fault::config("smtp.no-xoauth2", "the server takes no access token"))
            };
        }
        if offered("LOGIN") {
            self.challenge("AUTH LOGIN")?;
            self.challenge(&STANDARD.encode(user))?;
            let sent = self.wire.write_secret(b"", "base64");
            return sent.and_then(|()| self.answer()).map_err(|error| error.fault("smtp")).and_then(refused);
        }
        if offered("PLAIN") {
            let sent = self.wire.write_secret(b"AUTH PLAIN ", &format!("sasl-plain:{user}"));
            return sent.and_then(|()| self.answer()).map_err(|error| error.fault("smtp")).and_then(refused);
        }
        Err(Fault::config("smtp.no-auth", "the server offers neither AUTH LOGIN nor AUTH PLAIN; is TLS missing (`smtp_tls`)?"))
    }

    fn show_token(&mut self, user: &str) -> Result<()> {
        let sent = self.wire.write_secret(b"AUTH XOAUTH2 ", &format!("xoauth2:{user}"));
        let mut answer = sent.and_then(|()| self.answer()).map_err(|error| error.fault("smtp"))?;
        if answer.code == 334 {
            // The server tells why not, and waits for an empty answer.
            answer = self.exchange("").map_err(|error| error.fault("smtp"))?;
        }
        if answer.code == 235 { Ok(()) } else { Err(answer.login_fault()) }
    }

    fn challenge(&mut self, line: &str) -> Result<()> {
        let answer = self.exchange(line).map_err(|error| error.fault("smtp"))?;
        if answer.code == 334 { Ok(()) } else { Err(answer.login_fault()) }
    }

    fn envelope(&mut self, mail: &Outgoing) -> Result<()> {
        let mut options = String::new();
        if !mail.from.is_ascii() || !mail.to.is_ascii() {
            if !self.has("SMTPUTF8") {
                return Err(Fault::permanent("smtp.no-utf8", "the server takes no address beyond ASCII"));
            }
            options.push_str(" SMTPUTF8");
            options.push_str(if self.has("8BITMIME") { " BODY=8BITMIME" } else { "" });
        }
        self.ask(&format!("MAIL FROM:<{}>{options}", mail.from), 250, "smtp.sender-refused")?;
        let answer = self.exchange(&format!("RCPT TO:<{}>", mail.to)).map_err(|error| error.fault("smtp"))?;
        if (250..=252).contains(&answer.code) { Ok(()) } else { Err(answer.fault("smtp.recipient-refused")) }
    }

    /// The dot, and what comes of it.
    fn finish(mut self) -> Result<()> {
        self.wire.allow_silence(FINAL_SILENCE_MS);
        let answer = self.wire.write(b".\r\n").and_then(|()| self.answer());
        let answer = answer.map_err(|error| Fault::outcome_unknown(format!("after the final dot: {}", error.words())))?;
        match answer.code {
            200..=299 => {
                self.wire.allow_silence(1_000);
                // It is sent; how the goodbye goes changes nothing.
                drop(self.exchange("QUIT"));
                Ok(())
            }
            400..=599 => Err(answer.fault("smtp.message-refused")),
            code => Err(Fault::outcome_unknown(format!("the server answers {code} to the final dot"))),
        }
    }

    fn ask(&mut self, command: &str, expected: u16, code: &str) -> Result<Answer> {
        let answer = self.exchange(command).map_err(|error| error.fault("smtp"))?;
        if answer.code == expected { Ok(answer) } else { Err(answer.fault(code)) }
    }

    fn exchange(&mut self, command: &str) -> Result<Answer, WireError> {
        self.wire.write(format!("{command}\r\n").as_bytes())?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Answer, WireError> {
        let mut lines = Vec::new();
        while lines.len() < LINES_MAX {
            let line = String::from_utf8_lossy(&self.wire.line(LINE_BYTES)?).into_owned();
            let code = line.get(..3).and_then(|digits| digits.parse().ok()).unwrap_or(0);
            let is_last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if is_last || code == 0 {
                return Ok(Answer { code, lines });
            }
        }
        Err(WireError::TooLong)
    }
}

impl Answer {
    /// The server's words may name people: only its numbers are told.
    fn numbers(&self) -> String {
        let text = self.lines.last().map(String::as_str).unwrap_or_default();
        let enhanced =
            text.split(' ').next().filter(|word| word.len() <= 11 && word.contains('.') && word.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
        enhanced.map_or_else(|| self.code.to_string(), |enhanced| format!("{} {enhanced}", self.code))
    }

    /// A refusal of one mail is final. One of everything that this account sends holds the others, or each of them would be lost.
    fn fault(&self, code: &str) -> Fault {
        let numbers = self.numbers();
        let is = |known: &[&str]| numbers.split_once(' ').is_some_and(|(_, enhanced)| known.contains(&enhanced));
        match self.code {
            530 | 534 | 535 | 538 => self.login_fault(),
            500..=599 if is(&USED_UP) => {
                Fault::rate_limited(code, format!("the account has sent as much as its provider allows: {numbers}"), USED_UP_MS)
            }
            // A parameter of this mail's alone, as SMTPUTF8.
            555 => Fault::permanent(code, format!("the server refuses with {numbers}")),
            500..=599 if OF_THE_ACCOUNT.contains(&code) || is(&NOT_AS_SENDER) || NOT_OWNED == numbers => {
                Fault::config(code, format!("the server refuses with {numbers} whatever is sent; may `user` write as `from`, and from here?"))
            }
            500..=599 => Fault::permanent(code, format!("the server refuses with {numbers}")),
            _ => Fault::transient(code, format!("the server answers {numbers}")),
        }
    }

    fn login_fault(&self) -> Fault {
        let numbers = self.numbers();
        match self.code {
            500..=599 => {
                Fault::auth("smtp.login-refused", format!("the submission server refuses the user, or the password or token, with {numbers}"))
            }
            _ => Fault::transient("smtp.login-failed", format!("the submission server answers the login with {numbers}")),
        }
    }
}

/// Lines that begin with a dot get another. Shape: CRLF line ends, ends with one.
fn stuffed(mail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len() + 64);
    for line in mail.split_inclusive(|&byte| byte == b'\n') {
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}
