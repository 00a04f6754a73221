//! Faults and findings without ceremony. A fault drives retry and the channel's state; a finding tells an admin a mistake.

use crate::{Detail, Fault, Finding, Severity};

/// What every fallible call of a plugin answers.
pub type Result<T, E = Fault> = core::result::Result<T, E>;

impl Fault {
    /// The configuration is wrong: the channel stops until it changes. `code` is stable (`mail.no-mailbox`), `message` is for an admin.
    pub fn config(code: &str, message: impl core::fmt::Display) -> Self {
        Fault::Config(detail(code, message))
    }

    /// A credential is missing, expired or refused.
    pub fn auth(code: &str, message: impl core::fmt::Display) -> Self {
        Fault::Auth(detail(code, message))
    }

    /// Not before `wait_ms` milliseconds from now.
    pub fn rate_limited(code: &str, message: impl core::fmt::Display, wait_ms: u64) -> Self {
        Fault::RateLimited((detail(code, message), wait_ms))
    }

    /// This item not before `wait_ms` milliseconds from now; the rest of the channel need not wait for it.
    pub fn item_later(message: impl core::fmt::Display, wait_ms: u64) -> Self {
        Fault::RateLimited((detail("item-later", message), wait_ms))
    }

    /// Try again later: network, time-out, 5xx.
    pub fn transient(code: &str, message: impl core::fmt::Display) -> Self {
        Fault::Transient(detail(code, message))
    }

    /// A send whose outcome cannot be told: it may have gone out. Never retried blindly.
    pub fn outcome_unknown(message: impl core::fmt::Display) -> Self {
        Fault::Transient(detail("outcome-unknown", message))
    }

    /// Never try this input again: it becomes a dead letter.
    pub fn permanent(code: &str, message: impl core::fmt::Display) -> Self {
        Fault::Permanent(detail(code, message))
    }

    /// This plugin cannot do `what` at all.
    pub fn unsupported(what: &str) -> Self {
        Fault::Unsupported(detail("unsupported", what))
    }
}

fn detail(code: &str, message: impl core::fmt::Display) -> Detail {
    Detail { code: code.to_owned(), message: message.to_string() }
}

/// A mistake that keeps the configuration from loading. `key` names the place in the plugin's section (`urls[2]`).
pub fn finding_error(key: &str, message: impl core::fmt::Display, cure: impl core::fmt::Display) -> Finding {
    finding(Severity::Error, key, &message, &cure)
}

/// A likely mistake; the configuration loads.
pub fn finding_warning(key: &str, message: impl core::fmt::Display, cure: impl core::fmt::Display) -> Finding {
    finding(Severity::Warning, key, &message, &cure)
}

/// Something an admin should know, without anything being wrong.
pub fn finding_info(key: &str, message: impl core::fmt::Display, cure: impl core::fmt::Display) -> Finding {
    finding(Severity::Info, key, &message, &cure)
}

fn finding(severity: Severity, key: &str, message: &dyn core::fmt::Display, cure: &dyn core::fmt::Display) -> Finding {
    Finding { severity, key: key.to_owned(), line: 0, column: 0, message: message.to_string(), cure: cure.to_string() }
}

impl Finding {
    /// The same finding at a place inside the file that the key names. Units: 1-based line and column.
    pub fn at(mut self, line: u32, column: u32) -> Self {
        (self.line, self.column) = (line, column);
        self
    }
}
