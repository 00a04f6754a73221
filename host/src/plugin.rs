//! The plugin engine: from one file to calls that cannot hurt the host.
//!
//! A file is read and judged before anything is compiled; compiled code is kept under this machine's key; every call has a
//! budget of time, memory and bytes. What a guest returns is checked in `bindings::take`; no type of the contract leaves here.

mod agreement;
mod bindings;
mod breaker;
mod builds;
mod cache;
mod compiler;
mod credentials;
mod denied;
mod engine;
mod generation;
mod grants;
#[expect(unreachable_pub, reason = "the generated bindings re-export the connection type")]
mod host;
mod inspect;
mod lanes;
mod limits;
mod manifest;
mod meter;
mod pool;
mod seal;
mod shadow;
mod shapes;
mod state;

pub use agreement::{Agreement, Verdict, annotations, decided, was_decided};
pub use breaker::BreakerState;
pub use builds::{Act, Aside, Back, Builds, IN_FORCE, ITSELF};
pub use compiler::{CompileLimits, CompileStop, NO_COMPONENT, THIS_BINARY, compile_here};
pub use credentials::{WantsCredential, WantsOauth1, WantsOauth2};
pub use denied::{Build, Denied};
pub use engine::{Engine, EngineConfig, Load};
pub use generation::{CallTurn, Generation, Native};
pub use grants::{Asked, MissingGrant, Wished, missing_grants};
pub use inspect::{FILE_BYTES_MAX, Inspection, inspect};
pub use limits::Limits;
#[cfg(any(feature = "demo", feature = "bench"))]
pub use manifest::with_version;
pub use manifest::{Kind, Manifest, View, embed};
pub use meter::{Faults, Usage};
pub use shadow::{Length, Shadow};
pub use shapes::{
    Allowance, AnalyzeBatch, AnalyzeItem, Called, Change, Message, Page, Receipt, RuleConversation, RuleDecision, RuleEvent, RuleExchange,
    RuleInteraction, Sent, Surroundings, Target,
};

pub use state::PluginState;

use crate::model::Fault;

/// Why a plugin is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// Not a Wasm component at all, or a damaged one.
    #[error("not a plugin: {0}")]
    NotAComponent(String),
    /// The manifest is missing or wrong.
    #[error("manifest: {0}")]
    Manifest(String),
    /// It does not export what its kind must.
    #[error("it does not fit the contract: {0}; rebuild it with the SDK of this version")]
    Contract(String),
    /// Compiling it was ended.
    #[error("compiling it was ended")]
    Compile(#[source] CompileStop),
    /// It does not start, or not within its limits.
    #[error("its export `{export}` cannot be started: {fault}")]
    Start {
        /// What its kind must export.
        export: String,
        /// As of a call.
        fault: Fault,
    },
    /// The engine itself.
    #[error("cannot start the plugin engine: {0}")]
    Engine(String),
    /// The folder of compiled plugins.
    #[error("cannot {step} the folder of compiled plugins")]
    Cache {
        /// `create`, `write`.
        step: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl PluginError {
    /// The next step of whoever named the file.
    pub fn cure(&self) -> &'static str {
        match self {
            Self::NotAComponent(_) => "name a file that `membrana plugin build` wrote, or one of `membrana plugin list`",
            Self::Compile(_) => {
                "use another build of it; if you trust this one, give it more by `compile_memory_bytes` and `compile_cpu_ms` in `limits` of its section"
            }
            Self::Start { fault, .. } if matches!(fault.detail().code.as_str(), "cpu" | "memory" | "timeout") => {
                "use another build of it; if you trust this one, give it more by `limits` in its section"
            }
            Self::Start { .. } => "use a build for this version of membrana",
            Self::Manifest(_) | Self::Contract(_) => "build it again with `membrana plugin build`, which names what is wrong with it",
            Self::Engine(_) | Self::Cache { .. } => "is the folder `data` writable, and its disk full?",
        }
    }
}
