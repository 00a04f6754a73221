//! What can go wrong with a store, in words.

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed an action or task first; read again.
    #[error("{0} was changed by somebody else meanwhile")]
    Conflict(String),
    /// Another process holds the data.
    #[error("the store in `{0}` is in use by another process")]
    InUse(String),
    /// Written by a newer build; untouched.
    #[error("the store has format {found}, this build reads up to {known}; use the newer build")]
    NewerFormat {
        /// On disk.
        found: u32,
        /// Of this build.
        known: u32,
    },
    /// Cannot be opened or read.
    #[error("the store is damaged: {what}{}{cure}", if cure.is_empty() { "" } else { "; " })]
    Damaged {
        /// What is wrong with it.
        what: String,
        /// The next step; may be empty.
        cure: String,
    },
    /// The disk said no; nothing of the call is acknowledged.
    #[error("cannot {step} the store")]
    Io {
        /// `open`, `copy`, `write`, `sync`, `read`.
        step: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its disk has too little room; it heals by itself when some is freed. Nothing of the call is acknowledged.
    #[error("the disk of the store is nearly full: {free} bytes are free, and {least} are the least to go on with")]
    Full {
        /// Units: bytes.
        free: u64,
        /// Units: bytes.
        least: u64,
    },
    /// It was closed, or stopped after a failed write or sync.
    #[error("the store is closed: {0}")]
    Closed(String),
    /// A record over its bound.
    #[error("{what} of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Units: bytes.
        size: usize,
        /// Units: bytes.
        limit: usize,
    },
}

impl StoreError {
    /// Without a next step that could be named here.
    pub fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), cure: String::new() }
    }

    /// In words, without the next step: for whoever names another, or lists many.
    pub fn what(&self) -> String {
        match self {
            Self::Damaged { what, .. } => what.clone(),
            other => other.to_string(),
        }
    }
}
