//! From a socket to a logged-in session: greeting, TLS, capabilities, login. STARTTLS that is asked for and not offered
//! ends the session: nothing is sent in clear that the admin did not allow.

use membrana_sdk::{Fault, Result};

use super::{Done, Imap, LINE, quote};
use crate::settings::{Login, Settings};
use crate::wire::{Wire, must_upgrade};

impl Imap {
    /// Connects and logs in. Errors: `auth` where the server refuses the password, else by what went wrong.
    pub(crate) fn open(settings: &Settings) -> Result<Self> {
        let wire = Wire::connect(&settings.imap).map_err(|error| error.fault("imap"))?;
        let mut imap = Self { wire, tags: 0, capabilities: Vec::new(), lost: false };
        let preauthenticated = imap.greeting()?;
        if must_upgrade(&settings.imap) {
            imap.start_tls()?;
        }
        imap.learn_capabilities()?;
        if !preauthenticated {
            imap.log_in(settings)?;
            imap.learn_capabilities()?;
        }
        Ok(imap)
    }

    fn greeting(&mut self) -> Result<bool> {
        let line = self.wire.line(LINE.line).map_err(|error| error.fault("imap"))?;
        let head = String::from_utf8_lossy(&line).into_owned();
        let done = Done::parse(head.strip_prefix("* ").unwrap_or_default());
        match done.status.as_str() {
            "OK" => Ok(false),
            "PREAUTH" => Ok(true),
            "BYE" => Err(done.refusal("imap.bye", "the server refuses the connection")),
            _ => Err(Fault::config("imap.no-imap", "what answers is no IMAP server; check host, port and `imap_tls`")),
        }
    }

    fn start_tls(&mut self) -> Result<()> {
        let done = self.run("STARTTLS", LINE, |_| {})?;
        if done.status != "OK" {
            let message = "the server offers no STARTTLS; nothing was sent in clear. Use `imap_tls = \"implicit\"`, or find who took it away";
            return Err(Fault::config("imap.no-starttls", message));
        }
        self.wire.upgrade().map_err(|error| error.fault("imap"))
    }

    fn learn_capabilities(&mut self) -> Result<()> {
        let mut known = Vec::new();
        let done = self.run("CAPABILITY", LINE, |response| {
            let head = response.head().to_ascii_uppercase();
            if let Some(list) = head.strip_prefix("* CAPABILITY ") {
                known.extend(list.split_ascii_whitespace().map(str::to_owned));
            }
        })?;
        done.must_be_ok("imap.no-capability", "the server does not tell what it can do")?;
        self.capabilities = known;
        Ok(())
    }

    fn log_in(&mut self, settings: &Settings) -> Result<()> {
        let user = &settings.user;
        let tag = self.next_tag();
        let sent = if settings.login == Login::Token {
            if !(self.has("AUTH=XOAUTH2") && self.has("SASL-IR")) {
                return Err(Fault::config("imap.no-xoauth2", "the server takes no access token; use `login = \"password\"`"));
            }
            self.wire.write_secret(format!("{tag} AUTHENTICATE XOAUTH2 ").as_bytes(), &format!("xoauth2:{user}"))
        } else if self.has("LOGINDISABLED") {
            if !(self.has("AUTH=PLAIN") && self.has("SASL-IR")) {
                let message = "the server accepts no password on this connection; use TLS (`imap_tls`)";
                return Err(Fault::config("imap.login-disabled", message));
            }
            let prefix = format!("{tag} AUTHENTICATE PLAIN ");
            self.wire.write_secret(prefix.as_bytes(), &format!("sasl-plain:{user}"))
        } else {
            let prefix = format!("{tag} LOGIN {} ", quote(user));
            self.wire.write_secret(prefix.as_bytes(), "quoted")
        };
        let done = sent.and_then(|()| self.until(&tag, LINE, |_| {})).map_err(|error| error.fault("imap"))?;
        match done.status.as_str() {
            "OK" => Ok(()),
            // Some servers say NO for a flood as well: that is not the password's fault.
            _ if done.is_flooded() || done.is_passing() => Err(done.refusal("", "")),
            _ if done.blames_the_password() => Err(Fault::auth("imap.login-refused", "the IMAP server refuses the user, or the password or token")),
            "NO" => Err(Fault::transient("imap.login-failed", "the IMAP server cannot log anybody in now")),
            _ => Err(Fault::config("imap.login-bad", "the IMAP server does not understand the login")),
        }
    }
}
