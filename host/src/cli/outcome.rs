//! How a command ends: what is said, and the exit code.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::config::Report;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// It failed: a sentence and the next step.
    Failed(String, String),
    /// The configuration has mistakes.
    Config(Report),
}

impl Failure {
    pub(super) fn failed(message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Failed(message.into(), cure.into())
    }
}

impl From<crate::app::AppError> for Failure {
    fn from(error: crate::app::AppError) -> Self {
        match error {
            crate::app::AppError::Config(report) => Self::Config(report),
            other => Self::failed(crate::telemetry::chain(&other).to_string(), ""),
        }
    }
}

/// A line for whoever reads; a closed pipe is no failure.
pub(super) fn say(line: impl std::fmt::Display) {
    drop(writeln!(anstream::stdout(), "{line}"));
}

/// A line beside the output.
pub(super) fn aside(line: impl std::fmt::Display) {
    drop(writeln!(anstream::stderr(), "{line}"));
}

/// Tells what went wrong, and gives the exit code.
pub(super) fn report(failure: &Failure, is_json: bool) -> ExitCode {
    match failure {
        Failure::Failed(message, cure) if is_json => aside(json!({ "error": { "message": message, "cure": cure } })),
        Failure::Failed(message, cure) => {
            aside(format_args!("error: {message}"));
            if !cure.is_empty() {
                aside(format_args!("  help: {cure}"));
            }
        }
        Failure::Config(report) if is_json => report.findings.iter().for_each(|finding| say(finding.json())),
        Failure::Config(report) => {
            drop(write!(anstream::stderr(), "{report}"));
            let n_errors = report.findings.iter().filter(|f| f.severity == crate::config::Severity::Error).count();
            aside(format_args!("{n_errors} mistake{} in the configuration", if n_errors == 1 { "" } else { "s" }));
        }
    }
    ExitCode::from(if matches!(failure, Failure::Config(_)) { 3 } else { 1 })
}

/// Logs go to standard error; `MEMBRANA_LOG` sets what, JSON where nobody watches.
pub(super) fn set_up_log(is_host: bool) {
    let default = if is_host { "info" } else { "error" };
    let filter = EnvFilter::try_from_env("MEMBRANA_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let done = if std::io::stderr().is_terminal() { builder.try_init() } else { builder.json().flatten_event(true).try_init() };
    if let Err(error) = done {
        aside(format_args!("warning: no log: {error}"));
    }
}
