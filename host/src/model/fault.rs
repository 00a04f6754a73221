//! Faults and findings: how a plugin fails, and what it finds wrong in a configuration. One list everywhere.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A plugin's failure; it drives retry and the channel's state and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The configuration is wrong: the channel stops until it changes.
    Config(Detail),
    /// A credential is missing, expired or refused.
    Auth(Detail),
    /// Not before so many milliseconds from now.
    RateLimited(Detail, u64),
    /// Try again later.
    Transient(Detail),
    /// Never try this input again. A trap is this, too, with the code `trap`.
    Permanent(Detail),
    /// The plugin cannot do that at all.
    Unsupported(Detail),
}

/// Which fault and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// Stable, for machines.
    pub code: String,
    /// For an admin: one sentence, no secret, no personal data.
    pub message: String,
}

impl Fault {
    /// The code of a send whose outcome cannot be told.
    pub const OUTCOME_UNKNOWN: &'static str = "outcome-unknown";

    /// The code of a `rate-limited` that is about this item alone, such as a mail server's greylisting of one recipient.
    pub const ITEM_LATER: &'static str = "item-later";

    /// The code of a `rate-limited` that the host says: the plugin failed call after call and was not asked.
    pub const BREAKER: &'static str = "breaker";

    /// What happened.
    pub fn detail(&self) -> &Detail {
        match self {
            Fault::Config(d) | Fault::Auth(d) | Fault::RateLimited(d, _) | Fault::Transient(d) | Fault::Permanent(d) | Fault::Unsupported(d) => d,
        }
    }

    /// The glossary's word for the variant.
    pub fn word(&self) -> &'static str {
        match self {
            Fault::Config(_) => "config",
            Fault::Auth(_) => "auth",
            Fault::RateLimited(..) => "rate-limited",
            Fault::Transient(_) => "transient",
            Fault::Permanent(_) => "permanent",
            Fault::Unsupported(_) => "unsupported",
        }
    }

    /// Says whether this input can never succeed.
    pub fn is_final(&self) -> bool {
        matches!(self, Fault::Permanent(_) | Fault::Unsupported(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Detail { code, message } = self.detail();
        write!(f, "{} ({code}): {message}", self.word())
    }
}

/// A mistake that a plugin found in its section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Key of the section (`table_file`, `urls[2]`).
    pub key: String,
    /// 1-based place inside the file that the key names; 0 where it concerns the key itself.
    pub line: u32,
    /// As `line`.
    pub column: u32,
    /// What is wrong, with the value.
    pub message: String,
    /// The next step.
    pub cure: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// A likely mistake.
    Warning,
    /// Good to know.
    Info,
}
