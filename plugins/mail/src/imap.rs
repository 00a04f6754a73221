//! An IMAP session that only reads: login, EXAMINE, search, fetch. Every command is by UID; sequence numbers are never
//! trusted. Bounded by [`Limits`] and by the number of responses to one command.
//! Source: RFC 3501, RFC 9051, RFC 7162 (CONDSTORE).

mod login;
mod response;
mod structure;
mod utf7;

use membrana_sdk::{Fault, Result};

pub(crate) use response::Limits;
use response::{Response, Token};

use crate::truncated::File;
use crate::wire::{Wire, WireError};

const LINE: Limits = Limits { line: 64 << 10, literal: 64 << 10 };
/// A search over a window of a million UIDs at most.
const SEARCH: Limits = Limits { line: 12 << 20, literal: 1 << 10 };
const RESPONSES_MAX: usize = 100_000;

/// What EXAMINE tells of a mailbox.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Selected {
    pub(crate) uid_validity: u32,
    /// None where the server does not tell.
    pub(crate) uid_next: Option<u32>,
    pub(crate) exists: u32,
    /// None without CONDSTORE.
    pub(crate) mod_seq: Option<u64>,
}

/// What is known of a mail before it is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) uid: u32,
    pub(crate) bytes: u64,
    /// INTERNALDATE: when the mailbox took it in. Units: ms since 1970; none where the server tells none.
    pub(crate) arrived: Option<u64>,
}

/// Which bytes of a mail are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// So many from its start.
    Beginning(u32),
    /// Up to the blank line.
    Headers,
}

/// What became of fetching one mail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    Bytes(Vec<u8>),
    /// Expunged in between.
    Gone,
    /// The server says no for this one; its words are not kept, they may quote the mail.
    Refused,
    /// The server sends more than it had announced: the connection is of no further use.
    Overlong,
}

/// A session after login.
pub(crate) struct Imap {
    wire: Wire,
    tags: u32,
    capabilities: Vec<String>,
    /// The server hung up, or what it says cannot be followed any more.
    lost: bool,
}

/// The tagged end of a command.
struct Done {
    status: String,
    /// Inside the brackets, upper case: `UNAVAILABLE`.
    code: String,
    text: String,
}

impl Imap {
    pub(crate) fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }

    /// Whether the session is of no further use.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Opens a mailbox for reading. Errors: `config` where it does not exist.
    pub(crate) fn examine(&mut self, mailbox: &str) -> Result<Selected> {
        let condstore = if self.has("CONDSTORE") || self.has("QRESYNC") { " (CONDSTORE)" } else { "" };
        let command = format!("EXAMINE {}{condstore}", quote(&utf7::encode(mailbox)));
        let mut selected = Selected::default();
        let done = self.run(&command, LINE, |response| learn(&mut selected, &response.head()))?;
        if done.status != "OK" {
            return Err(done.refusal("imap.no-mailbox", "a mailbox cannot be opened; compare `mailbox` with the names on the server"));
        }
        if selected.uid_validity == 0 {
            return Err(Fault::config("imap.no-uidvalidity", "the server gives no UIDVALIDITY; its mails cannot be told apart"));
        }
        if selected.uid_next.is_none() {
            let last = if selected.exists == 0 { None } else { self.weights("*")?.unwrap_or_default().iter().map(|w| w.uid).max() };
            selected.uid_next = Some(last.unwrap_or(0).saturating_add(1));
        }
        Ok(selected)
    }

    /// UIDs that match, in order. A range whose start lies above the last UID is swapped by the server: filter the answer.
    pub(crate) fn search(&mut self, criteria: &str) -> Result<Vec<u32>> {
        let mut uids = Vec::new();
        let done = self.run(&format!("UID SEARCH {criteria}"), SEARCH, |response| {
            let head = response.head();
            let mut words = head.split_ascii_whitespace();
            if words.next() == Some("*") && words.next().is_some_and(|w| w.eq_ignore_ascii_case("SEARCH")) {
                uids.extend(words.map_while(|word| word.parse::<u32>().ok()).filter(|uid| *uid > 0));
            }
        })?;
        done.must_be_ok("imap.search-refused", "the server refuses to search")?;
        uids.sort_unstable();
        uids.dedup();
        Ok(uids)
    }

    /// Sizes and arrivals of the mails in a set, as the server announces them; none where it refuses the set.
    pub(crate) fn weights(&mut self, set: &str) -> Result<Option<Vec<Weight>>> {
        let mut weights = Vec::new();
        let done = self.run(&format!("UID FETCH {set} (UID RFC822.SIZE INTERNALDATE)"), LINE, |response| {
            let items = fetch_items(response.into_tokens());
            if let (Some(uid), Some(bytes)) = (number(&items, "UID"), number(&items, "RFC822.SIZE")) {
                let arrived = arrival(&items);
                weights.extend(u32::try_from(uid).ok().map(|uid| Weight { uid, bytes, arrived }));
            }
        })?;
        match done.status.as_str() {
            "OK" => Ok(Some(weights)),
            "NO" if !done.is_flooded() => Ok(None),
            _ => Err(done.passing("imap.fetch-refused", "the server refuses to tell sizes")),
        }
    }

    /// The files that a mail carries, as far as the server knows its structure.
    pub(crate) fn files(&mut self, uid: u32) -> Result<Vec<File>> {
        let mut files = Vec::new();
        self.run(&format!("UID FETCH {uid} (UID BODYSTRUCTURE)"), LINE, |response| {
            if files.is_empty() {
                files = structure::files(&response.into_tokens());
            }
        })?;
        Ok(files)
    }

    /// Some or all of one mail. Its flags stay as they are.
    pub(crate) fn mail(&mut self, uid: u32, part: Part, bytes_max: u32) -> Result<Fetched> {
        let part = match part {
            Part::Whole => "[]".to_owned(),
            Part::Beginning(bytes) => format!("[]<0.{bytes}>"),
            Part::Headers => "[HEADER]".to_owned(),
        };
        let limits = Limits { literal: bytes_max as usize, ..LINE };
        let mut found = None;
        let outcome = self.converse(&format!("UID FETCH {uid} (UID BODY.PEEK{part})"), limits, |response| {
            let items = fetch_items(response.into_tokens());
            if number(&items, "UID") == Some(uid.into()) {
                found = found.take().or_else(|| body(items));
            }
        });
        match outcome {
            Err(WireError::TooLong) => Ok(Fetched::Overlong),
            Err(error) => Err(error.fault("imap")),
            Ok(done) if done.is_passing() || done.is_flooded() => Err(done.refusal("imap.fetch-refused", "the server cannot fetch now")),
            Ok(done) => Ok(match found {
                Some(bytes) => Fetched::Bytes(bytes),
                None if done.status == "OK" => Fetched::Gone,
                None => Fetched::Refused,
            }),
        }
    }

    /// Says goodbye; what the server thinks of it does not matter any more.
    pub(crate) fn logout(mut self) {
        self.tags += 1;
        if self.wire.write(format!("m{} LOGOUT\r\n", self.tags).as_bytes()).is_ok() {
            self.wire.allow_silence(2_000);
            while self.wire.line(LINE.line).is_ok_and(|line| line.starts_with(b"*")) {}
        }
    }

    fn run(&mut self, command: &str, limits: Limits, each: impl FnMut(Response)) -> Result<Done> {
        self.converse(command, limits, each).map_err(|error| error.fault("imap"))
    }

    fn converse(&mut self, command: &str, limits: Limits, each: impl FnMut(Response)) -> Result<Done, WireError> {
        let tag = self.next_tag();
        let sent = self.wire.write(format!("{tag} {command}\r\n").as_bytes());
        self.lost |= sent.is_err();
        sent?;
        self.until(&tag, limits, each)
    }

    fn next_tag(&mut self) -> String {
        self.tags += 1;
        format!("m{}", self.tags)
    }

    /// Reads to the tagged end; a BYE ends it too.
    fn until(&mut self, tag: &str, limits: Limits, each: impl FnMut(Response)) -> Result<Done, WireError> {
        let outcome = self.read_until(tag, limits, each);
        self.lost |= !matches!(&outcome, Ok(done) if done.status != "BYE");
        outcome
    }

    fn read_until(&mut self, tag: &str, limits: Limits, mut each: impl FnMut(Response)) -> Result<Done, WireError> {
        for _ in 0..RESPONSES_MAX {
            let response = Response::read(&mut self.wire, limits)?;
            let head = response.head();
            let (first, rest) = head.split_once(' ').unwrap_or((&head, ""));
            if first == tag || (first == "*" && rest.get(..4).is_some_and(|w| w.eq_ignore_ascii_case("BYE "))) {
                return Ok(Done::parse(rest));
            }
            match first {
                "*" => each(response),
                // Only a refused token is asked about: the server tells why, and waits for an empty answer.
                "+" => self.wire.write(b"\r\n")?,
                _ => {}
            }
        }
        Err(WireError::TooLong)
    }
}

impl Done {
    fn parse(rest: &str) -> Self {
        let (status, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let code = text.strip_prefix('[').and_then(|t| t.split_once(']')).map_or("", |(code, _)| code);
        Self { status: status.to_ascii_uppercase(), code: code.to_ascii_uppercase(), text: text.to_lowercase() }
    }

    /// A refusal that time heals.
    fn is_passing(&self) -> bool {
        let code = self.code.split(' ').next().unwrap_or_default();
        self.status == "BYE" || matches!(code, "UNAVAILABLE" | "INUSE" | "LIMIT" | "SERVERBUG" | "THROTTLED" | "OVERQUOTA")
    }

    fn is_flooded(&self) -> bool {
        ["too many", "rate limit", "throttl", "try again later"].iter().any(|words| self.text.contains(words))
    }

    fn refusal(&self, code: &str, message: &str) -> Fault {
        match self.status.as_str() {
            _ if self.is_flooded() => Fault::rate_limited("imap.throttled", "the server asks for fewer requests", 60_000),
            _ if self.is_passing() => Fault::transient("imap.unavailable", "the server is not available now"),
            _ => Fault::config(code, message),
        }
    }

    /// As [`Done::refusal`], where no configuration can be at fault.
    fn passing(&self, code: &str, message: &str) -> Fault {
        if self.is_flooded() || self.is_passing() { self.refusal(code, message) } else { Fault::transient(code, message) }
    }

    fn must_be_ok(&self, code: &str, message: &str) -> Result<()> {
        if self.status == "OK" { Ok(()) } else { Err(self.passing(code, message)) }
    }

    /// A NO to a login that blames user or password; other codes name what time heals, whatever the server calls it.
    fn blames_the_password(&self) -> bool {
        let code = self.code.split(' ').next().unwrap_or_default();
        self.status == "NO" && matches!(code, "" | "AUTHENTICATIONFAILED" | "AUTHORIZATIONFAILED" | "EXPIRED" | "ALERT" | "WEBALERT" | "CONTACTADMIN")
    }
}

fn learn(selected: &mut Selected, head: &str) {
    let mut words = head.split_ascii_whitespace().skip(1);
    if let (Some(count), Some("EXISTS")) = (words.next(), words.next().map(str::to_ascii_uppercase).as_deref()) {
        selected.exists = count.parse().unwrap_or(0);
    }
    let coded = head.split_once('[').and_then(|(_, code)| code.split_once(']')).map(|(code, _)| code);
    let Some((name, value)) = coded.and_then(|code| code.split_once(' ')) else { return };
    match name.to_ascii_uppercase().as_str() {
        "UIDVALIDITY" => selected.uid_validity = value.parse().unwrap_or(0),
        "UIDNEXT" => selected.uid_next = value.parse().ok(),
        "HIGHESTMODSEQ" => selected.mod_seq = value.parse().ok(),
        _ => {}
    }
}

type Items = Vec<(String, Token)>;

/// Names and values at the top level of `* n FETCH (…)`; a value in brackets of its own is skipped.
fn fetch_items(tokens: Vec<Token>) -> Items {
    let mut tokens = tokens.into_iter().skip(2);
    let mut items = Items::new();
    if !matches!(tokens.next(), Some(Token::Atom(word)) if word.eq_ignore_ascii_case("FETCH")) {
        return items;
    }
    let (mut depth, mut name) = (0_u32, None::<String>);
    for token in tokens {
        match token {
            Token::Open => depth += 1,
            Token::Close => {
                depth = depth.saturating_sub(1);
                if depth == 1 {
                    name = None;
                }
            }
            Token::Atom(word) if depth == 1 && name.is_none() => name = Some(word.to_ascii_uppercase()),
            value if depth == 1 => items.extend(name.take().map(|name| (name, value))),
            _ => {}
        }
    }
    items
}

fn number(items: &Items, name: &str) -> Option<u64> {
    items.iter().find(|(known, _)| known == name).and_then(|(_, value)| match value {
        Token::Atom(digits) => digits.parse().ok(),
        _ => None,
    })
}

/// `"17-Jul-1996 02:44:25 -0700"`.
fn arrival(items: &Items) -> Option<u64> {
    let (_, value) = items.iter().find(|(known, _)| known == "INTERNALDATE")?;
    let Token::Text(text) = value else { return None };
    let text = String::from_utf8_lossy(text).trim().replacen('-', " ", 2);
    let date = mail_parser::DateTime::parse_rfc822(&text).filter(mail_parser::DateTime::is_valid)?;
    u64::try_from(date.to_timestamp()).ok()?.checked_mul(1000)
}

fn body(items: Items) -> Option<Vec<u8>> {
    items.into_iter().find(|(name, _)| name.starts_with("BODY[")).map(|(_, value)| match value {
        Token::Text(bytes) => bytes,
        _ => Vec::new(),
    })
}

/// An IMAP quoted string. Shape: the settings have refused control characters.
pub(crate) fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
