//! Submission: STARTTLS before AUTH, AUTH before a mail. Source: RFC 6409, RFC 4954, RFC 3207.

use std::io::Result;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::wire::Wire;
use super::{Mail, Mishap, Shared};
use crate::server::locked;

/// Serves one connection to its end.
pub(super) async fn serve(mut wire: Wire, office: Shared) -> Result<()> {
    let (mut is_known, mut recipients) = (false, Vec::new());
    wire.say("220 mail.acme.example ESMTP").await?;
    loop {
        let line = wire.command().await?;
        let upper = line.to_ascii_uppercase();
        match upper.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" | "HELO" => {
                let offer = if wire.is_secure { "AUTH LOGIN PLAIN" } else { "STARTTLS" };
                wire.write(format!("250-mail.acme.example\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-PIPELINING\r\n250 {offer}\r\n").as_bytes()).await?;
            }
            "STARTTLS" if !wire.is_secure => {
                wire.say("220 2.0.0 begin").await?;
                wire = wire.secured().await?;
            }
            "AUTH" if wire.is_secure => {
                is_known = log_in(&mut wire, &line, &office).await?;
                wire.say(if is_known { "235 2.7.0 welcome" } else { "535 5.7.8 wrong" }).await?;
            }
            "MAIL" if !is_known => wire.say("530 5.7.0 log in first").await?,
            "MAIL" | "RSET" => {
                recipients.clear();
                wire.say("250 2.1.0 ok").await?;
            }
            "RCPT" => match locked_refusal(&office) {
                Some(code) => wire.say(&format!("{code} {}.2.1 not now", code / 100)).await?,
                None => {
                    recipients.extend(line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(to, _)| to.to_owned()));
                    wire.say("250 2.1.5 ok").await?;
                }
            },
            "DATA" if !recipients.is_empty() => {
                wire.say("354 go on").await?;
                let mail = data(&mut wire).await?;
                locked(&office).send(&recipients, &mail);
                recipients.clear();
                if locked(&office).mishap(|mishap| (mishap == Mishap::LoseAnswer).then_some(())).is_some() {
                    return Ok(());
                }
                wire.say("250 2.0.0 queued").await?;
            }
            "NOOP" => wire.say("250 2.0.0 ok").await?,
            "QUIT" => return wire.say("221 2.0.0 bye").await,
            _ => wire.say("503 5.5.1 not now").await?,
        }
    }
}

fn locked_refusal(office: &Shared) -> Option<u16> {
    locked(office).mishap(|mishap| if let Mishap::RefuseRecipient(code) = mishap { Some(code) } else { None })
}

async fn log_in(wire: &mut Wire, line: &str, office: &Shared) -> Result<bool> {
    let text = |encoded: &str| String::from_utf8(STANDARD.decode(encoded.trim()).unwrap_or_default()).unwrap_or_default();
    let mut words = line.split(' ').skip(1);
    let (user, password) = if words.next().is_some_and(|method| method.eq_ignore_ascii_case("LOGIN")) {
        wire.say("334 VXNlcm5hbWU6").await?;
        let user = text(&wire.secret().await?);
        wire.say("334 UGFzc3dvcmQ6").await?;
        (user, text(&wire.secret().await?))
    } else {
        let both = text(words.next().unwrap_or_default());
        let mut parts = both.split('\0').skip(1).map(str::to_owned);
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    };
    Ok(user == Mail::USER && password == locked(office).password)
}

/// Lines up to the dot, unstuffed.
async fn data(wire: &mut Wire) -> Result<Vec<u8>> {
    let mut mail = Vec::new();
    loop {
        let line = wire.bytes().await?;
        if line == b"." {
            return Ok(mail);
        }
        mail.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        mail.extend_from_slice(b"\r\n");
    }
}
