//! What a caller of the API may do.

/// Each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look at everything.
    Reader,
    /// A team's daily work: tasks, drafts, dead letters, holding and asking a channel, verifying.
    Operator,
    /// What runs: another build, asking an analyzer again about all that is stored.
    Admin,
}

impl Role {
    /// Every role, the one that may most first.
    pub const ALL: [Role; 3] = [Self::Admin, Self::Operator, Self::Reader];

    /// As surfaces show it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The key of its token in `[host]`.
    pub fn token_key(self) -> &'static str {
        match self {
            Self::Reader => "reader_token",
            Self::Operator => "operator_token",
            Self::Admin => "admin_token",
        }
    }
}
