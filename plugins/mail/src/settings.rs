//! The plugin's section of the configuration: JSON shape → checked value, every mistake told at once with its cure.

use std::rc::Rc;

use membrana_sdk::net::Security;
use membrana_sdk::{Fault, Finding, Result, finding_error, finding_info, finding_warning};
use serde::Deserialize;

use crate::address::Address;

const MAILBOXES_MAX: usize = 32;
const MESSAGE_BYTES_DEFAULT: u32 = 10 << 20;
/// With what servers announce too little of it stays under the 32 MiB that the host takes for one raw item.
const MESSAGE_BYTES_MAX: u32 = 28 << 20;
const MESSAGE_BYTES_MIN: u32 = 64 << 10;
const IMPORT_DAYS_DEFAULT: u32 = 30;
const IMPORT_DAYS_MAX: u32 = 3650;

/// Where to connect, and how it is protected.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) security: Security,
}

/// What the first poll of a mailbox does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstFetch {
    Skip,
    Import,
}

/// What the secret `password` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    Password,
    /// An access token of OAuth 2.
    Token,
}

/// The checked section.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) imap: Endpoint,
    /// None: the channel only listens.
    pub(crate) smtp: Option<Endpoint>,
    pub(crate) user: String,
    pub(crate) login: Login,
    /// Some where `smtp` is.
    pub(crate) from: Option<Address>,
    /// 1 to 32, distinct.
    pub(crate) mailboxes: Vec<String>,
    pub(crate) sent_mailbox: Option<String>,
    /// Whose Authentication-Results are believed.
    pub(crate) auth_server: Option<String>,
    pub(crate) first_fetch: FirstFetch,
    pub(crate) import_days: u32,
    pub(crate) message_bytes_max: u32,
}

impl Settings {
    /// Errors: `config` with the first mistake, which `check` had told before.
    pub(crate) fn load() -> Result<Rc<Self>> {
        membrana_sdk::config::read_once(|json| {
            read(json).map_err(|findings| {
                let first = findings.first().map(|f| format!("`{}`: {}", f.key, f.message));
                Fault::config("mail.bad-config", first.unwrap_or_else(|| "the section cannot be read".to_owned()))
            })
        })
    }
}

impl Settings {
    /// Of a mail that is fetched whole: what the server announces and what it sends differ by line ends on some. Units: bytes.
    pub(crate) fn whole_bytes_max(&self) -> u32 {
        self.message_bytes_max.saturating_add(self.message_bytes_max / 8)
    }
}

/// Every mistake, and what an admin should know.
pub(crate) fn validate(json: &str) -> Vec<Finding> {
    let settings = match read(json) {
        Ok(settings) => settings,
        Err(findings) => return findings,
    };
    let mut findings = Vec::new();
    for (key, endpoint) in [("imap_tls", Some(&settings.imap)), ("smtp_tls", settings.smtp.as_ref())] {
        let Some(endpoint) = endpoint else { continue };
        if endpoint.security == Security::Plain && !is_loopback(&endpoint.host) {
            findings.push(finding_warning(key, "the password crosses the network in clear", "use `implicit` or `starttls`"));
        }
    }
    if settings.smtp.is_none() {
        findings.push(finding_info("smtp", "no submission server: replies cannot be sent", "set `smtp` and `from` to reply"));
    }
    findings
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "::1") || host.starts_with("127.")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    imap: Option<String>,
    imap_tls: Option<String>,
    smtp: Option<String>,
    smtp_tls: Option<String>,
    user: Option<String>,
    login: Option<String>,
    from: Option<String>,
    mailbox: Option<serde_json::Value>,
    sent_mailbox: Option<String>,
    auth_server: Option<String>,
    first_fetch: Option<String>,
    import_days: Option<u32>,
    max_message_bytes: Option<u32>,
}

fn read(json: &str) -> Result<Settings, Vec<Finding>> {
    let shape: Shape = serde_json::from_str(json)
        .map_err(|e| vec![finding_error("", format!("the section cannot be read: {e}"), "compare with the README of the plugin")])?;
    let mut wrong = Vec::new();
    let imap = shape.imap.as_deref().map(|at| endpoint("imap", at, shape.imap_tls.as_deref(), Security::Tls, &mut wrong));
    let smtp = shape.smtp.as_deref().map(|at| endpoint("smtp", at, shape.smtp_tls.as_deref(), Security::Starttls, &mut wrong));
    if imap.is_none() {
        wrong.push(finding_error("imap", "`imap` is missing", "add `imap = \"imap.example.org:993\"`"));
    }
    let user = shape.user.filter(|user| !user.is_empty() && !user.chars().any(char::is_control));
    if user.is_none() {
        wrong.push(finding_error("user", "`user` is missing or not printable", "add the login name: `user = \"support\"`"));
    }
    let login = login(shape.login.as_deref(), &mut wrong);
    let from = shape.from.as_deref().and_then(Address::parse);
    if let (None, Some(text)) = (&from, &shape.from) {
        wrong.push(finding_error("from", format!("`{text}` is no address"), "write `Acme <support@example.org>`"));
    } else if from.is_none() && smtp.is_some() {
        wrong.push(finding_error("from", "`from` is missing", "add `from = \"Acme <support@example.org>\"`"));
    }
    let mailboxes = mailboxes(shape.mailbox.as_ref(), &mut wrong);
    let first_fetch = first_fetch(shape.first_fetch.as_deref(), &mut wrong);
    let import_days = within("import_days", shape.import_days, IMPORT_DAYS_DEFAULT, 1, IMPORT_DAYS_MAX, &mut wrong);
    let bytes = (shape.max_message_bytes, MESSAGE_BYTES_DEFAULT);
    let message_bytes_max = within("max_message_bytes", bytes.0, bytes.1, MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX, &mut wrong);
    match (imap.flatten(), smtp.map(|s| s.ok_or(())).transpose(), user) {
        (Some(imap), Ok(smtp), Some(user)) if wrong.is_empty() => Ok(Settings {
            imap,
            smtp,
            user,
            login,
            from,
            mailboxes,
            sent_mailbox: shape.sent_mailbox,
            auth_server: shape.auth_server,
            first_fetch,
            import_days,
            message_bytes_max,
        }),
        _ => Err(wrong),
    }
}

fn endpoint(key: &str, at: &str, tls: Option<&str>, default: Security, wrong: &mut Vec<Finding>) -> Option<Endpoint> {
    let security = match tls {
        None => Some(default),
        Some("implicit") => Some(Security::Tls),
        Some("starttls") => Some(Security::Starttls),
        Some("plain") => Some(Security::Plain),
        Some(other) => {
            wrong.push(finding_error(&format!("{key}_tls"), format!("`{other}` is no kind of protection"), "use implicit, starttls or plain"));
            None
        }
    };
    let place = at.rsplit_once(':').and_then(|(host, port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
        (!host.is_empty()).then(|| (host.to_owned(), port))
    });
    if place.is_none() {
        wrong.push(finding_error(
            key,
            format!("`{at}` is not `host:port`"),
            format!("write `{key} = \"{key}.example.org:{}\"`", if key == "imap" { 993 } else { 587 }),
        ));
    }
    let (host, port) = place?;
    Some(Endpoint { host, port, security: security? })
}

fn mailboxes(value: Option<&serde_json::Value>, wrong: &mut Vec<Finding>) -> Vec<String> {
    let names: Option<Vec<String>> = match value {
        None => Some(vec!["INBOX".to_owned()]),
        Some(serde_json::Value::String(name)) => Some(vec![name.clone()]),
        Some(serde_json::Value::Array(names)) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    };
    let mut names = names.unwrap_or_default();
    names.sort();
    names.dedup();
    let printable = |name: &String| !name.is_empty() && name.len() <= 200 && !name.chars().any(char::is_control);
    if names.is_empty() || names.len() > MAILBOXES_MAX || !names.iter().all(printable) {
        let cure = format!("name one mailbox, or a list of at most {MAILBOXES_MAX}: `mailbox = [\"INBOX\", \"Support\"]`");
        wrong.push(finding_error("mailbox", "`mailbox` names no mailbox, too many, or one that is not printable", cure));
    }
    names
}

fn login(value: Option<&str>, wrong: &mut Vec<Finding>) -> Login {
    match value {
        None | Some("password") => Login::Password,
        Some("xoauth2") => Login::Token,
        Some(other) => {
            wrong.push(finding_error("login", format!("`{other}` is no way to log in"), "use password or xoauth2"));
            Login::Password
        }
    }
}

fn first_fetch(value: Option<&str>, wrong: &mut Vec<Finding>) -> FirstFetch {
    match value {
        None | Some("skip") => FirstFetch::Skip,
        Some("import") => FirstFetch::Import,
        Some(other) => {
            wrong.push(finding_error("first_fetch", format!("`{other}` is no way to start"), "use skip or import"));
            FirstFetch::Skip
        }
    }
}

fn within(key: &str, value: Option<u32>, default: u32, min: u32, max: u32, wrong: &mut Vec<Finding>) -> u32 {
    let value = value.unwrap_or(default);
    if !(min..=max).contains(&value) {
        wrong.push(finding_error(key, format!("{value} is outside {min} to {max}"), format!("leave it out for {default}")));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_documentation_has_no_finding() {
        let json = r#"{"imap":"imap.example.org:993","imap_tls":"implicit","smtp":"smtp.example.org:587","smtp_tls":"starttls",
            "user":"support","from":"Acme <support@example.org>","mailbox":"INBOX"}"#;
        assert_eq!(validate(json), vec![]);
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let json = r#"{"imap":"imap.example.org","smtp":"smtp.example.org:0","smtp_tls":"ssl","from":"nobody","login":"ntlm","mailbox":[],
            "first_fetch":"all","import_days":0,"max_message_bytes":1}"#;
        let mut keys: Vec<String> = validate(json).into_iter().map(|f| f.key).collect();
        keys.sort();
        assert_eq!(keys, ["first_fetch", "from", "imap", "import_days", "login", "mailbox", "max_message_bytes", "smtp", "smtp_tls", "user"]);
    }

    #[test]
    fn a_password_in_clear_is_warned_of_except_on_loopback() {
        let section = |host: &str| format!(r#"{{"imap":"{host}:143","imap_tls":"plain","user":"u"}}"#);
        let warned = |json: String| validate(&json).iter().any(|f| f.key == "imap_tls");
        assert!(warned(section("imap.example.org")));
        assert!(!warned(section("127.0.0.1")));
    }
}
