//! What a membrana plugin in Rust is written with: one trait a kind, plain types, and the host's services.
//!
//! A plugin is a `cdylib` with one type that implements [`Connector`], [`Analyzer`] or [`Rule`] and one `register_*!` line.
//! Every call may run in a fresh instance: what must survive a call goes into [`state`]; a `static` is a cache at most.
//! Off Wasm the same code runs in unit tests against [`testing`].

#![warn(missing_docs)]

mod bindings;
mod errors;
#[cfg(any(all(feature = "heap", target_family = "wasm", not(target_feature = "atomics")), test))]
mod heap;
#[cfg(feature = "json")]
pub mod json;
mod kinds;
#[cfg(feature = "limits")]
pub mod limits;
#[cfg(feature = "json")]
pub mod notes;
mod services;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod text;

pub use errors::{Result, finding_error, finding_info, finding_warning};
pub use kinds::{Analyzer, Connector, Media, Rule, Stream};
pub use services::{clock, config, http, log, net, state};

pub use bindings::everything::membrana::plugin::types::{
    Annotation, Attachment, Attrs, Detail, Fault, Finding, NativeId, Place, Severity, Surroundings, Timestamp, Value,
};

/// What connectors take and give.
pub mod connector {
    pub use crate::bindings::connector::exports::membrana::plugin::connector::{
        Allowance, Author, Change, Interaction, Message, Origin, Ours, Page, Raw, Receipt, RequestHead, Sent, Target,
    };
    pub use crate::bindings::stream::exports::membrana::plugin::connector_stream::Subscription;
}

/// What analyzers take.
pub mod analyzer {
    pub use crate::bindings::analyzer::exports::membrana::plugin::analyzer::{Batch, Context, Item};
}

/// What rules take and give.
pub mod rule {
    pub use crate::bindings::rule::exports::membrana::plugin::rule::{Action, Claimed, Conversation, Decision, Event, Exchange, Interaction, Person};
}

#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::{analyzer, connector, media, rule, stream};
    pub use crate::kinds::Exported;
}
