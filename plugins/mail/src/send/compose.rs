//! The mail that answers: built from key and message alone, so that a repeat is the same to the byte. A line end in
//! anything that becomes a header is refused, never repaired: somebody tried something.
//! Source: RFC 5322, RFC 2047, RFC 2045 (quoted-printable), RFC 3834 (automatic answers).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use membrana_sdk::connector::{Message, Target};
use membrana_sdk::{Fault, Result};

use crate::address::{Address, is_safe};
use crate::receive::context::{ReplyContext, trim_middle};
use crate::receive::ids;

const REFERENCES_MAX: usize = 20;
/// Units: bytes of text inside one encoded word; 75 characters are allowed for all of it.
const WORD_BYTES: usize = 42;
const QP_LINE: usize = 75;
const TEXT_BYTES_MAX: usize = 256 << 10;

/// A mail ready to leave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) from: String,
    pub(crate) to: String,
    /// In brackets.
    pub(crate) message_id: String,
    /// CRLF line ends, not yet dot-stuffed.
    pub(crate) bytes: Vec<u8>,
}

/// Errors: `permanent` where there is nobody who may be answered, or a header would be broken; `unsupported` for kinds
/// other than `reply`.
pub(crate) fn compose(from: &Address, key: &str, message: &Message) -> Result<Outgoing> {
    if !matches!(message.kind.as_str(), "reply" | "direct") {
        return Err(Fault::unsupported("send of anything but a reply"));
    }
    let target = message.to.as_ref().ok_or_else(|| Fault::permanent("mail.no-recipient", "the reply names nothing that it answers"))?;
    if message.text.len() > TEXT_BYTES_MAX {
        return Err(Fault::permanent("mail.too-long", format!("a reply has at most {TEXT_BYTES_MAX} bytes")));
    }
    let context = context(target)?;
    let to = recipient(&context, from, message.automatic)?;
    let message_id = ids::derived(key, &from.domain());
    let mut head = Head::default();
    head.add("From", &mailbox(from)?)?;
    head.add("To", &mailbox(&to)?)?;
    head.add("Subject", &words(&reply_subject(&context.subject))?)?;
    head.add("Date", &date(message.created))?;
    head.add("Message-ID", &message_id)?;
    // What is not ASCII would need a server that takes it; most do not.
    if let Some(parent) = Some(context.message_id.as_str()).filter(|id| !id.is_empty() && id.is_ascii()) {
        let mut references = context.references.clone();
        references.retain(|id| id != parent && id.is_ascii());
        references.push(parent.to_owned());
        trim_middle(&mut references, REFERENCES_MAX);
        head.add("In-Reply-To", parent)?;
        head.add("References", &references.join("\r\n "))?;
    }
    if message.automatic {
        head.add("Auto-Submitted", "auto-replied")?;
        head.add("X-Auto-Response-Suppress", "All")?;
    }
    head.add("MIME-Version", "1.0")?;
    head.add("Content-Type", "text/plain; charset=utf-8")?;
    head.add("Content-Transfer-Encoding", "quoted-printable")?;
    let bytes = format!("{}\r\n{}", head.0, quoted_printable(&message.text)).into_bytes();
    Ok(Outgoing { from: from.address.clone(), to: to.address, message_id, bytes })
}

/// Made by `receive`; an older or foreign interaction has the author's address at least.
fn context(target: &Target) -> Result<ReplyContext> {
    if let Some(text) = &target.reply_context {
        return serde_json::from_str(text).map_err(|_| Fault::permanent("mail.bad-context", "the reply's context is not this plugin's"));
    }
    let author = target.author.as_ref().and_then(|author| author.email.clone().map(|to| (to, author.name.clone())));
    let (to, name) = author.ok_or_else(|| Fault::permanent("mail.no-recipient", "the mail that is answered names nobody to answer"))?;
    let message_id = Some(&target.native).filter(|id| id.scope.is_empty() && id.id.starts_with('<')).map(|id| id.id.clone());
    let subject = target.subject.clone().unwrap_or_default();
    Ok(ReplyContext { to, name, subject, message_id: message_id.unwrap_or_default(), ..ReplyContext::default() })
}

fn recipient(context: &ReplyContext, from: &Address, automatic: bool) -> Result<Address> {
    refuse_line_ends(&context.to)?;
    let to = Address { name: context.name.clone(), address: context.to.clone() };
    if !is_safe(&to.address) {
        return Err(Fault::permanent("mail.no-recipient", "the mail that is answered has no usable address"));
    }
    let is_machine = !matches!(context.automated.as_str(), "" | "no");
    let is_daemon = matches!(to.local_part().as_str(), "mailer-daemon" | "postmaster");
    // What a person decided to answer may be a form's mail, or a list's; a server's report never is.
    if context.automated == "bounce" || is_daemon || automatic && context.null_return {
        return Err(Fault::permanent("mail.null-return", "a report of a mail server is never answered"));
    }
    if automatic && is_machine {
        return Err(Fault::permanent("mail.automated", format!("nothing automatic answers automated mail ({})", context.automated)));
    }
    if to.key() == from.key() {
        return Err(Fault::permanent("mail.own-address", "the reply would come back to the channel itself"));
    }
    Ok(to)
}

#[derive(Default)]
struct Head(String);

impl Head {
    /// Folded lines are this file's own; any other line end is refused.
    fn add(&mut self, name: &str, value: &str) -> Result<()> {
        for line in value.split("\r\n ") {
            refuse_line_ends(line)?;
        }
        self.0.push_str(&format!("{name}: {value}\r\n"));
        Ok(())
    }
}

fn refuse_line_ends(value: &str) -> Result<()> {
    if value.contains(['\r', '\n', '\0']) {
        return Err(Fault::permanent("mail.header-injection", "a value with a line end was about to become a header"));
    }
    Ok(())
}

/// `Re: ` once, whatever stood before in whatever language.
fn reply_subject(subject: &str) -> String {
    let mut bare = subject.trim();
    while let Some((prefix, rest)) = bare.split_once([':', '：']) {
        let prefix = prefix.trim().to_lowercase();
        let word = prefix.split(['[', '(']).next().unwrap_or_default().trim();
        if !REPLIES.contains(&word) || prefix.len() > 12 {
            break;
        }
        bare = rest.trim_start();
    }
    format!("Re: {bare}").trim_end().to_owned()
}

const REPLIES: &[&str] = &["re", "r", "rif", "aw", "antw", "antwort", "sv", "vs", "odp", "ref", "resp", "rép", "rv", "ynt", "回复", "答复"];

fn mailbox(address: &Address) -> Result<String> {
    match &address.name {
        None => Ok(address.address.clone()),
        Some(name) if name.bytes().all(|b| (b' '..=b'~').contains(&b)) => {
            Ok(format!("\"{}\" <{}>", name.replace('\\', "\\\\").replace('"', "\\\""), address.address))
        }
        Some(name) => Ok(format!("{} <{}>", words(name)?, address.address)),
    }
}

/// Encoded words where the text is not plain ASCII, folded by characters.
fn words(text: &str) -> Result<String> {
    refuse_line_ends(text)?;
    let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && !text.contains("=?");
    if plain && text.len() <= 900 {
        return Ok(text.to_owned());
    }
    let mut out: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if word.len() + c.len_utf8() > WORD_BYTES {
            out.push(encoded_word(&word));
            word.clear();
        }
        word.push(c);
    }
    out.push(encoded_word(&word));
    Ok(out.join("\r\n "))
}

fn encoded_word(text: &str) -> String {
    format!("=?utf-8?B?{}?=", STANDARD.encode(text))
}

fn date(created_ms: u64) -> String {
    mail_parser::DateTime::from_timestamp(i64::try_from(created_ms / 1000).unwrap_or_default()).to_rfc822()
}

/// Shape: CRLF line ends, at most 76 characters a line, ends with one line end.
fn quoted_printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let unix = text.replace("\r\n", "\n").replace('\r', "\n");
    for line in unix.trim_end_matches('\n').split('\n') {
        let mut width = 0;
        let last = line.len().saturating_sub(1);
        for (at, byte) in line.bytes().enumerate() {
            let literal = matches!(byte, b'!'..=b'<' | b'>'..=b'~') || matches!(byte, b' ' | b'\t') && at != last;
            let piece = if literal { char::from(byte).to_string() } else { format!("={byte:02X}") };
            if width + piece.len() > QP_LINE {
                out.push_str("=\r\n");
                width = 0;
            }
            width += piece.len();
            out.push_str(&piece);
        }
        out.push_str("\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn re_stands_once_before_a_subject() {
        for subject in ["Aiuto", "Re: Aiuto", "R: Re: Aiuto", "AW: RE[2]: Aiuto", "re: Re : Aiuto"] {
            assert_eq!(reply_subject(subject), "Re: Aiuto", "{subject}");
        }
        assert_eq!(reply_subject("Ref 12: x"), "Re: Ref 12: x");
        assert_eq!(reply_subject(""), "Re:");
    }

    #[test]
    fn long_foreign_subjects_are_folded_by_characters() {
        let folded = words(&"è già così ".repeat(20)).unwrap();
        assert!(folded.split("\r\n ").all(|word| word.len() <= 75 && word.starts_with("=?utf-8?B?")));
    }

    #[test]
    fn quoted_printable_lines_are_short_and_end_without_blanks() {
        let text = format!("{} \nè=\t\n.", "x".repeat(200));
        let encoded = quoted_printable(&text);
        assert!(encoded.split("\r\n").all(|line| line.len() <= 76 && !line.ends_with(' ')));
        assert!(encoded.ends_with("=C3=A8=3D=09\r\n.\r\n"));
    }
}
