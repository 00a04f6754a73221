//! How a command ends: what is said, and the exit code.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::app::process_env;
use crate::config::{Report, nearest};
use crate::store::StoreError;

use super::Cli;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// It failed: a sentence and the next step.
    Failed(String, String),
    /// The configuration has mistakes.
    Config(Report),
    /// Whoever read the output has gone; there is nothing more to say.
    Closed,
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
            other => {
                let cure = match &other {
                    crate::app::AppError::Listen { .. } => "is another membrana running? end it, or set another `listen` in [host]",
                    crate::app::AppError::Store(StoreError::InUse(_)) => "end the other host, or give this one its own `data` in [host]",
                    crate::app::AppError::Store(error) => cure_of(error),
                    _ => "",
                };
                Self::failed(crate::telemetry::chain(&other).to_string(), cure)
            }
        }
    }
}

/// What to do where the store cannot be opened.
pub(super) fn cure_of(error: &StoreError) -> &'static str {
    match error {
        StoreError::Full { .. } => "make room on the disk of the data folder",
        StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => "make room on the disk of the data folder",
        _ => "`membrana verify` reads the whole store and names what is damaged",
    }
}

/// Lines of the answer, for people. Errors: it could not be written; a closed pipe ends the command quietly.
pub(super) fn put(lines: impl std::fmt::Display) -> Result<(), Failure> {
    written(writeln!(std::io::stdout(), "{}", harmless(&lines.to_string())))
}

/// A line of the answer, for programs. Errors: as of [`put`].
pub(super) fn put_json(line: impl std::fmt::Display) -> Result<(), Failure> {
    written(writeln!(std::io::stdout(), "{}", escaped(&line.to_string())))
}

/// Bytes of the answer, as they are. Errors: as of [`put`].
pub(super) fn put_bytes(bytes: &[u8]) -> Result<(), Failure> {
    written(std::io::stdout().write_all(bytes).and_then(|()| std::io::stdout().flush()))
}

/// What is buffered goes out. Errors: as of [`put`].
pub(super) fn flush() -> Result<(), Failure> {
    written(std::io::stdout().flush())
}

fn written(done: std::io::Result<()>) -> Result<(), Failure> {
    done.map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::Closed,
        _ => Failure::failed(format!("cannot write the output: {error}"), "is the disk full?"),
    })
}

/// `1 channel`, `2 channels`.
pub(super) fn counted(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// A line of a story for whoever watches, in colours; a closed pipe is no failure.
#[cfg(any(feature = "demo", feature = "bench"))]
pub(super) fn say(line: impl std::fmt::Display) {
    drop(writeln!(anstream::stdout(), "{line}"));
}

/// Lines beside the output.
pub(super) fn aside(lines: impl std::fmt::Display) {
    drop(writeln!(std::io::stderr(), "{}", harmless(&lines.to_string())));
}

/// Without what could move the terminal's cursor, or is not seen; lines stay lines.
fn harmless(lines: &str) -> String {
    lines.chars().map(|c| if is_hidden(c) && c != '\n' { ' ' } else { c }).collect()
}

/// A text on one line, without what could move the terminal's cursor, or is not seen.
pub(super) fn on_one_line(text: &str) -> String {
    harmless(text).replace('\n', " ")
}

/// JSON that says the same in signs that can be seen. What it escapes can stand in a text alone.
fn escaped(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        if is_hidden(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| line.push_str(&format!("\\u{unit:04x}")));
        } else {
            line.push(c);
        }
    }
    line
}

/// What a terminal obeys; and what nobody sees: it ends a line, or turns the direction of what follows, and so what a line seems to say. Those
/// that join what is seen, as in emoji and Indian scripts, are shown.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0001}')
}

/// Tells what went wrong, and gives the exit code.
pub(super) fn report(failure: &Failure, is_json: bool) -> ExitCode {
    match failure {
        Failure::Closed => return ExitCode::SUCCESS,
        Failure::Failed(message, cure) if is_json => {
            let told = json!({ "error": { "message": message, "cure": cure } }).to_string();
            drop(writeln!(std::io::stderr(), "{}", escaped(&told)));
        }
        Failure::Failed(message, cure) => {
            aside(format_args!("error: {message}"));
            if !cure.is_empty() {
                aside(format_args!("  help: {cure}"));
            }
        }
        Failure::Config(report) if is_json => report.findings.iter().for_each(|finding| drop(put_json(finding.json()))),
        Failure::Config(report) => {
            aside(report.to_string().trim_end());
            aside(format_args!("{} in the configuration", counted(report.errors().count(), "mistake")));
        }
    }
    ExitCode::from(if matches!(failure, Failure::Config(_)) { 3 } else { 1 })
}

/// What the arguments lack, or the help that they ask for: as of [`report`].
pub(super) fn report_usage(mut error: clap::Error, is_json: bool) -> ExitCode {
    let is_hidden = |name: &String| Cli::command().find_subcommand(name).is_some_and(|command| command.is_hide_set());
    for kind in [ContextKind::ValidSubcommand, ContextKind::SuggestedSubcommand] {
        let seen = match error.remove(kind) {
            Some(ContextValue::Strings(names)) => ContextValue::Strings(names.into_iter().filter(|name| !is_hidden(name)).collect()),
            Some(ContextValue::String(name)) if is_hidden(&name) => continue,
            Some(other) => other,
            None => continue,
        };
        error.insert(kind, seen);
    }
    if !is_json || !error.use_stderr() {
        error.exit();
    }
    let text = error.render().to_string();
    let (message, cure) = text.trim().split_once("\n\n").unwrap_or((text.trim(), ""));
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let cure = if cure.trim().is_empty() { "`membrana --help` tells what there is" } else { cure.trim() };
    _ = report(&Failure::failed(message, cure), true);
    ExitCode::from(2)
}

/// What is logged: a level, or levels of parts of the host (`info,membrana::outbox=debug`).
const LOG: &str = "MEMBRANA_LOG";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A mistyped level would be taken for the name of a part, of which there is none.
fn filter_of(text: &str) -> Option<EnvFilter> {
    let is_slip = |word: &str| !LEVELS.contains(&word.to_ascii_lowercase().as_str()) && nearest(&word.to_ascii_lowercase(), &LEVELS).is_some();
    if text.split(',').map(str::trim).any(is_slip) { None } else { EnvFilter::try_new(text).ok() }
}

/// Logs go to standard error; `MEMBRANA_LOG` sets what, JSON where nobody watches.
pub(super) fn set_up_log(is_host: bool) {
    let default = if is_host { "info" } else { "error" };
    let filter = process_env()(LOG).and_then(|text| {
        let read = filter_of(&text);
        if read.is_none() {
            aside(format_args!(
                "warning: {LOG} is `{text}`, which is nothing to log by; {default} is logged\n  help: write error, warn, info, debug or trace"
            ));
        }
        read
    });
    let filter = filter.unwrap_or_else(|| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let done = if std::io::stderr().is_terminal() { builder.try_init() } else { builder.json().flatten_event(true).try_init() };
    if let Err(error) = done {
        aside(format_args!("warning: no log: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_nothing_to_log_by() {
        for text in ["debug", "INFO", "info,membrana::outbox=debug", "membrana", ""] {
            assert!(filter_of(text).is_some(), "{text}");
        }
        for text in ["debgu", "warn,tarce", "membrana=debgu", "=="] {
            assert!(filter_of(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_a_terminal_obeys_or_nobody_sees_is_blank_to_people_and_escaped_to_programs() {
        let text = "a\u{1b}[2J\u{7f}b\u{9b}c\u{202e}d\u{e0001}\ne 👩\u{200d}🔧";
        assert_eq!(harmless(text), "a [2J b c d \ne 👩\u{200d}🔧");
        assert_eq!(on_one_line(text), "a [2J b c d  e 👩\u{200d}🔧");
        let line = escaped(&json!({ "text": text }).to_string());
        assert!(line.contains("\\u007fb\\u009bc\\u202ed\\udb40\\udc01") && !line.chars().any(is_hidden), "{line}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["text"], text);
    }
}
