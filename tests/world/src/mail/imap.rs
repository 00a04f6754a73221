//! IMAP4rev1 as far as a reader needs it, with CONDSTORE's HIGHESTMODSEQ. Source: RFC 3501, RFC 7162.

use std::io::Result;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::office::{Filed, Mailbox};
use super::wire::Wire;
use super::{Mail, Mishap, Shared};
use crate::server::locked;

struct Session {
    wire: Wire,
    office: Shared,
    is_known: bool,
    selected: Option<String>,
}

/// Serves one connection to its end.
pub(super) async fn serve(mut wire: Wire, office: Shared) -> Result<()> {
    if locked(&office).mishap(|mishap| (mishap == Mishap::Bye).then_some(())).is_some() {
        return wire.say("* BYE [UNAVAILABLE] down for a moment").await;
    }
    wire.say("* OK IMAP4rev1 ready").await?;
    let mut session = Session { wire, office, is_known: false, selected: None };
    loop {
        let line = session.wire.command().await?;
        let (tag, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        match word.to_ascii_uppercase().as_str() {
            "LOGOUT" => {
                session.wire.say("* BYE").await?;
                return session.wire.say(&format!("{tag} OK")).await;
            }
            "STARTTLS" if !session.wire.is_secure => {
                session.wire.say(&format!("{tag} OK begin")).await?;
                session.wire = session.wire.secured().await?;
            }
            word => {
                let answer = session.answer(word, rest).await?;
                session.wire.say(&format!("{tag} {answer}")).await?;
            }
        }
    }
}

impl Session {
    /// Untagged answers go out; the tagged one comes back.
    async fn answer(&mut self, word: &str, rest: &str) -> Result<String> {
        Ok(match word {
            "CAPABILITY" => {
                let starttls = if self.wire.is_secure { "" } else { " STARTTLS" };
                self.wire.say(&format!("* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR UIDPLUS CONDSTORE{starttls}")).await?;
                "OK".to_owned()
            }
            "NOOP" => "OK".to_owned(),
            "LOGIN" => self.log_in(&quoted(rest)),
            "AUTHENTICATE" => self.log_in(&plain(rest)),
            _ if !self.is_known => "NO [AUTHENTICATIONFAILED] log in first".to_owned(),
            "LIST" => {
                let names: Vec<String> = locked(&self.office).boxes.keys().cloned().collect();
                for name in names {
                    self.wire.say(&format!("* LIST (\\HasNoChildren) \"/\" \"{name}\"")).await?;
                }
                "OK".to_owned()
            }
            "SELECT" | "EXAMINE" => self.select(rest).await?,
            "UID" => {
                let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let Some(mailbox) = self.selected.as_ref().and_then(|name| locked(&self.office).boxes.get(name).cloned()) else {
                    return Ok("BAD select a mailbox first".to_owned());
                };
                match word.to_ascii_uppercase().as_str() {
                    "SEARCH" => self.search(&mailbox, rest).await?,
                    "FETCH" => self.fetch(&mailbox, rest).await?,
                    _ => "BAD unknown".to_owned(),
                }
            }
            _ => "BAD unknown".to_owned(),
        })
    }

    fn log_in(&mut self, words: &[String]) -> String {
        let known = [Mail::USER.to_owned(), locked(&self.office).password.clone()];
        self.is_known = words == known;
        if self.is_known { "OK".to_owned() } else { "NO [AUTHENTICATIONFAILED] wrong".to_owned() }
    }

    async fn select(&mut self, rest: &str) -> Result<String> {
        let name = quoted(rest).into_iter().next().unwrap_or_default();
        let Some(mailbox) = locked(&self.office).boxes.get(&name).cloned() else { return Ok("NO [NONEXISTENT] no such mailbox".to_owned()) };
        let Mailbox { uid_validity, uid_next, mod_seq, mails } = mailbox;
        self.wire.say(&format!("* {} EXISTS", mails.len())).await?;
        for code in [format!("UIDVALIDITY {uid_validity}"), format!("UIDNEXT {uid_next}"), format!("HIGHESTMODSEQ {mod_seq}")] {
            self.wire.say(&format!("* OK [{code}]")).await?;
        }
        self.selected = Some(name);
        Ok("OK [READ-ONLY]".to_owned())
    }

    async fn search(&mut self, mailbox: &Mailbox, criteria: &str) -> Result<String> {
        let words = quoted(criteria);
        let mut found: Vec<&Filed> = mailbox.mails.iter().collect();
        let mut rest = words.iter().map(String::as_str);
        while let Some(word) = rest.next() {
            match word.to_ascii_uppercase().as_str() {
                "ALL" => {}
                "UID" => {
                    let set = uids(rest.next().unwrap_or_default(), mailbox);
                    found.retain(|mail| set.contains(&mail.uid));
                }
                "SINCE" => {
                    let Some(day) = day(rest.next().unwrap_or_default()) else { return Ok("BAD no date".to_owned()) };
                    found.retain(|mail| jiff::tz::TimeZone::UTC.to_datetime(mail.at).date() >= day);
                }
                "HEADER" => {
                    let (name, part) = (rest.next().unwrap_or_default(), rest.next().unwrap_or_default());
                    found.retain(|mail| header_has(mail, name, part));
                }
                _ => return Ok("BAD this search is not known here".to_owned()),
            }
        }
        let list: String = found.iter().map(|mail| format!(" {}", mail.uid)).collect();
        self.wire.say(&format!("* SEARCH{list}")).await?;
        Ok("OK".to_owned())
    }

    async fn fetch(&mut self, mailbox: &Mailbox, rest: &str) -> Result<String> {
        let (set, items) = rest.split_once(' ').unwrap_or((rest, ""));
        let set = uids(set, mailbox);
        let items = items.trim_matches(['(', ')']).to_ascii_uppercase();
        for (n, mail) in mailbox.mails.iter().enumerate().filter(|(_, mail)| set.contains(&mail.uid)) {
            self.wire.write(format!("* {} FETCH (UID {}", n + 1, mail.uid).as_bytes()).await?;
            for item in items.split(' ') {
                match item {
                    "RFC822.SIZE" => self.wire.write(format!(" RFC822.SIZE {}", mail.bytes.len()).as_bytes()).await?,
                    "FLAGS" => self.wire.write(b" FLAGS ()").await?,
                    "INTERNALDATE" => self.wire.write(mail.at.strftime(" INTERNALDATE \"%d-%b-%Y %H:%M:%S +0000\"").to_string().as_bytes()).await?,
                    body if body.starts_with("BODY") => self.literal(mail, body).await?,
                    _ => {}
                }
            }
            self.wire.say(")").await?;
        }
        Ok("OK".to_owned())
    }

    /// `BODY.PEEK[]`, or a part of it: `BODY.PEEK[]<0.1024>`.
    async fn literal(&mut self, mail: &Filed, item: &str) -> Result<()> {
        let part = item.split_once('<').and_then(|(_, part)| part.trim_end_matches('>').split_once('.'));
        let part = part.and_then(|(from, n)| Some((from.parse::<usize>().ok()?, n.parse::<usize>().ok()?)));
        let (from, n) = part.unwrap_or((0, mail.bytes.len()));
        let bytes: Vec<u8> = mail.bytes.iter().skip(from).take(n).copied().collect();
        let name = part.map_or_else(|| "BODY[]".to_owned(), |(from, _)| format!("BODY[]<{from}>"));
        self.wire.write(format!(" {name} {{{}}}\r\n", bytes.len()).as_bytes()).await?;
        let cut = locked(&self.office).mishap(|mishap| if let Mishap::CutLiteral(after) = mishap { Some(after) } else { None });
        if let Some(after) = cut {
            self.wire.write(bytes.get(..after.min(bytes.len())).unwrap_or_default()).await?;
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        self.wire.write(&bytes).await
    }
}

/// `4,7:9,12:*`; a range that starts above the last UID means the last one, as the standard has it.
fn uids(set: &str, mailbox: &Mailbox) -> Vec<u32> {
    let last = mailbox.mails.last().map_or(0, |mail| mail.uid);
    let number = |text: &str| if text == "*" { last } else { text.parse().unwrap_or(0) };
    let ranges: Vec<(u32, u32)> = set
        .split(',')
        .map(|part| part.split_once(':').map_or((number(part), number(part)), |(a, b)| (number(a).min(number(b)), number(a).max(number(b)))))
        .collect();
    let all = mailbox.mails.iter().map(|mail| mail.uid);
    all.filter(|uid| ranges.iter().any(|(from, to)| from <= uid && uid <= to)).collect()
}

fn header_has(mail: &Filed, name: &str, part: &str) -> bool {
    let text = String::from_utf8_lossy(&mail.bytes).to_ascii_lowercase();
    let head = text.split_once("\r\n\r\n").map_or(text.as_str(), |(head, _)| head);
    let name = format!("{}:", name.to_ascii_lowercase());
    head.lines().any(|line| line.starts_with(&name) && line.contains(&part.to_ascii_lowercase()))
}

/// `1-Feb-1994`.
fn day(text: &str) -> Option<jiff::civil::Date> {
    jiff::civil::Date::strptime("%d-%b-%Y", text).ok()
}

/// Words, of which those in quotes may hold blanks.
fn quoted(text: &str) -> Vec<String> {
    let (mut words, mut word, mut is_inside, mut letters) = (Vec::new(), None::<String>, false, text.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                is_inside = !is_inside;
                word.get_or_insert_default();
            }
            '\\' if is_inside => word.get_or_insert_default().extend(letters.next()),
            ' ' if !is_inside => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

/// `PLAIN AHVzZXIAcGFzcw==` as user and password.
fn plain(text: &str) -> Vec<String> {
    let encoded = text.split(' ').nth(1).unwrap_or_default();
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    bytes.split(|byte| *byte == 0).skip(1).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}
