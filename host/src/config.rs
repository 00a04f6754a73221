//! `membrana.toml`: from the file's shape to checked values, with the place of every mistake and its cure.
//!
//! Every mistake is told at once. What a plugin's section means is the plugin's business: it is kept as JSON, with the place
//! of each key, so that the plugin's findings can be shown where they are.

mod check;
mod places;
mod report;
mod secret;
mod shape;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::egress::Budget;
use crate::model::{Role, Scheme};

pub use places::Places;
pub use report::{Finding, Place, Report, Severity};
pub use secret::Secret;
pub use shape::{duration, nearest};

/// What `membrana init` writes.
pub const DEFAULT: &str = include_str!("config/default.toml");
/// Its impact table.
pub const DEFAULT_TABLE: &str = include_str!("config/default-impact.toml");

/// A configuration that holds together.
#[derive(Debug)]
pub struct Config {
    /// The file.
    pub file: PathBuf,
    /// Every file that it names and that is read: secrets, certificates, tables. They may be gone.
    pub files: Vec<PathBuf>,
    /// `[host]`.
    pub host: Host,
    /// In file order.
    pub channels: Vec<Channel>,
    /// In file order.
    pub analyzers: Vec<Analyzer>,
    /// In file order.
    pub rules: Vec<Rule>,
    /// Names.
    pub teams: Vec<String>,
    /// In file order.
    pub sinks: Vec<Sink>,
}

/// `[host]`.
#[derive(Debug)]
pub struct Host {
    /// False where `data` or `listen` may not be as meant: defaults stand in for what could not be read.
    pub is_sound: bool,
    /// Where its keys are.
    pub places: Places,
    /// Folder of the store.
    pub data: PathBuf,
    /// API, console and, unless `hooks_listen` is set, webhooks.
    pub listen: SocketAddr,
    /// Webhooks alone.
    pub hooks_listen: Option<SocketAddr>,
    /// What networks call us by.
    pub public_url: Option<String>,
    /// Searched before the bundled plugins.
    pub plugins: PathBuf,
    /// Contents of extra trust roots.
    pub ca_pem: Vec<Vec<u8>>,
    /// What callers of the API show, the role that may most first; the first is sent, all are taken.
    pub tokens: Vec<(Role, Secret)>,
    /// How long raw items are kept.
    pub raw_keep: Duration,
    /// How long dead letters are kept.
    pub dead_keep: Duration,
}

/// What every plugin's section has.
#[derive(Debug)]
pub struct Plugin {
    /// Unique over channels, analyzers and rules.
    pub name: String,
    /// Bundled name, or a path to a `.wasm` file.
    pub plugin: String,
    /// Its own part, files read in.
    pub config: serde_json::Value,
    /// False where a part of the section could not be read: what is missing then tells nothing.
    pub is_whole: bool,
    /// By name; the first of a list is used, all are live.
    pub secrets: BTreeMap<String, Vec<Secret>>,
    /// What it may do.
    pub grant: Grant,
    /// An admin's limits.
    pub limits: Limits,
    /// Channels: what may be spent on calls in a day.
    pub budget: Budget,
    /// Where the keys of its own part are.
    pub places: Places,
    /// Where the keys of the whole section are.
    pub outer: Places,
}

/// `[[channel]]`.
#[derive(Debug)]
pub struct Channel {
    /// The connector.
    pub plugin: Plugin,
    /// Between two polls.
    pub poll: Duration,
    /// It takes webhooks.
    pub ingress: Option<Ingress>,
    /// The files of its messages are fetched.
    pub media: Option<Media>,
}

/// `media` of a channel: the files of its messages are fetched and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Media {
    /// From when a file was fetched.
    pub keep: Duration,
    /// Of one file. Units: bytes.
    pub file_bytes: u32,
    /// Of all files of the channel. Units: bytes.
    pub total_bytes: u64,
}

/// `ingress` of a channel: how its webhooks prove themselves. What is secret lies in the channel's `secrets`.
#[derive(Debug)]
pub struct Ingress {
    /// False where a part of it could not be read: what is missing then tells nothing.
    pub is_whole: bool,
    /// None: the only one that the plugin can live with.
    pub verify: Option<Scheme>,
    /// `form-secret`: the field that holds the secret.
    pub field: Option<String>,
    /// `websub`: what may be subscribed to. Empty: what the plugin's manifest names.
    pub topics: Vec<String>,
    /// Where it is written; `verify` where that is.
    pub place: Place,
}

/// `[[analyzer]]`.
#[derive(Debug)]
pub struct Analyzer {
    /// The analyzer.
    pub plugin: Plugin,
    /// Empty: all.
    pub channels: Vec<String>,
    /// Those whose annotations it sees.
    pub after: Vec<String>,
    /// Before an item goes on without it.
    pub wait: Duration,
}

/// `[[rule]]`.
#[derive(Debug)]
pub struct Rule {
    /// The rule.
    pub plugin: Plugin,
}

/// `[[sink]]`.
#[derive(Debug)]
pub struct Sink {
    /// Its name.
    pub name: String,
    /// Where events go.
    pub url: String,
    /// `whsec_…`; the first signs.
    pub secrets: Vec<Secret>,
    /// Ranges its name may resolve into.
    pub private: Vec<String>,
    /// Names or `*`.
    pub events: Vec<String>,
    /// False where its `url` is none, which was told.
    pub is_whole: bool,
}

/// What an admin allows a plugin.
#[derive(Debug, Default)]
pub struct Grant {
    /// `scheme://host[:port][/path-prefix]`.
    pub http: Vec<String>,
    /// `host:port`.
    pub net: Vec<String>,
    /// CIDR.
    pub private: Vec<String>,
    /// Identity and handle of authors.
    pub personal_data: bool,
    /// Attachments.
    pub attachments: bool,
}

/// Limits that an admin sets.
#[derive(Debug, Default, Clone, Copy)]
pub struct Limits {
    /// Units: bytes.
    pub memory_bytes: Option<usize>,
    /// Per call.
    pub cpu_ms: Option<u64>,
    /// Per call.
    pub wall_ms: Option<u64>,
    /// Of the process that compiles it; default 768 MiB, at most 4 GiB. Units: bytes.
    pub compile_memory_bytes: Option<u64>,
    /// Of processor time, to compile it once; default 30 s, at most 10 min. Units: ms, in whole seconds.
    pub compile_cpu_ms: Option<u64>,
}

/// Reads and checks a configuration. `env` finds environment variables.
/// Errors: the report, where it holds at least one error; warnings alone come with the configuration.
pub fn read(file: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<(Config, Report), Report> {
    match read_what_is_there(file, env) {
        (Some(config), report) if !report.has_errors() => Ok((config, report)),
        (_, report) => Err(report),
    }
}

/// Reads as much as can be read beside the mistakes, so that what follows can be checked as well. `None`: there is no file.
pub fn read_what_is_there(file: &Path, env: &dyn Fn(&str) -> Option<String>) -> (Option<Config>, Report) {
    let mut report = Report::default();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            let cure = match error.kind() {
                std::io::ErrorKind::PermissionDenied => "let this user read it, or repeat this as the user whom the host runs as",
                std::io::ErrorKind::IsADirectory => "name a file: `--config FILE`",
                std::io::ErrorKind::InvalidData => "write it in UTF-8",
                _ => "`membrana init` writes one; `--config FILE` names another",
            };
            report.error(Place::file(file), format!("cannot read the configuration: {error}"), cure);
            return (None, report);
        }
    };
    let config = check::config(file, &text, env, &mut report);
    (Some(config), report)
}

#[cfg(test)]
mod tests;
