//! Commands about plugin files: build, inspect, list.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::{Value as Json, json};

use crate::app::{find, listed};
use crate::config::{self, Config};
use crate::plugin::{self, Inspection, Manifest, NO_COMPONENT};
use crate::telemetry::chain;

use super::call::Caller;
use super::outcome::{Failure, aside, put, put_json};
use super::show;

const IN_USE: &[(&str, &str)] = &[
    ("NAME", "/name"),
    ("KIND", "/kind"),
    ("VERSION", "/version"),
    ("USED BY", "/in_use/name"),
    ("CALLS", "/in_use/calls"),
    ("CPU MS", "/in_use/cpu_ms"),
    ("PEAK BYTES", "/in_use/memory_peak_bytes"),
    ("BYTES OUT", "/in_use/bytes_out"),
    ("BYTES IN", "/in_use/bytes_in"),
    ("FAILED", "/in_use/failed"),
    ("DENIED", "/in_use/denied"),
    ("BREAKER", "/in_use/breaker"),
    ("FROM", "/origin"),
];

const TARGET: &str = "wasm32-wasip2";

/// The folder of plugins of the configuration, or the default where there is none to read.
fn folder(file: &Path) -> PathBuf {
    folder_of(config::read_what_is_there(file, crate::app::process_env().as_ref()).0.as_ref(), file)
}

fn folder_of(config: Option<&Config>, file: &Path) -> PathBuf {
    match config {
        Some(config) => config.host.plugins.clone(),
        None => file.parent().map(|dir| dir.join("plugins")).unwrap_or_else(|| "plugins".into()),
    }
}

/// Builds a plugin for Wasm and embeds its manifest.
pub(super) fn build(dir: &Path, output: Option<&Path>, is_json: bool) -> Result<(), Failure> {
    let manifest_path = dir.join("plugin.toml");
    let text = std::fs::read_to_string(&manifest_path).map_err(|error| {
        Failure::failed(format!("cannot read `{}`: {error}", manifest_path.display()), "a plugin's folder holds Cargo.toml and plugin.toml")
    })?;
    let manifest = Manifest::parse(&text)
        .map_err(|error| Failure::failed(format!("{}: {}", manifest_path.display(), chain(&error)), "the SDK's README describes plugin.toml"))?;
    aside(format_args!("building {} for {TARGET}", manifest.name));
    let built = Command::new("cargo")
        .current_dir(dir)
        .args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .stderr(std::process::Stdio::inherit())
        .output();
    let built = built.map_err(|error| Failure::failed(format!("cannot start cargo: {error}"), "install Rust from https://rustup.rs"))?;
    if !built.status.success() {
        return Err(Failure::failed(
            "the plugin does not build",
            format!("cargo says above why; `can't find crate for core` there means: rustup target add {TARGET}"),
        ));
    }
    let component = artifact(&built.stdout)
        .ok_or_else(|| Failure::failed("cargo built no .wasm file", "add `crate-type = [\"cdylib\"]` to [lib] in Cargo.toml"))?;
    let bytes = std::fs::read(&component).map_err(|error| Failure::failed(format!("cannot read `{}`: {error}", component.display()), ""))?;
    let embedded =
        plugin::embed(&bytes, &text).map_err(|error| Failure::failed(chain(&error).to_string(), "build it with the SDK for wasm32-wasip2"))?;
    let inspection = plugin::inspect(&embedded)
        .map_err(|error| Failure::failed(chain(&error).to_string(), "register it with register_connector!, register_analyzer! or register_rule!"))?;
    let target = output.map_or_else(|| dir.join(format!("{}.wasm", manifest.name)), Path::to_owned);
    let temporary = target.with_extension("wasm.tmp");
    std::fs::write(&temporary, &embedded)
        .and_then(|()| std::fs::rename(&temporary, &target))
        .map_err(|error| Failure::failed(format!("cannot write `{}`: {error}", target.display()), ""))?;
    if is_json {
        let (manifest, digest) = (&inspection.manifest, inspection.digest.to_string());
        return put_json(json!({ "file": target, "name": manifest.name, "version": manifest.version, "size": inspection.size, "digest": digest }));
    }
    put(format_args!("{}  {} bytes  {}", target.display(), inspection.size, inspection.digest))
}

/// Compiles as the process of another host that this binary is; no log, no runtime: their memory would count.
pub(super) fn compile(memory_bytes: u64, cpu_s: u64) -> ExitCode {
    match plugin::compile_here(memory_bytes, cpu_s) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            aside(format_args!("{why}"));
            ExitCode::from(NO_COMPONENT)
        }
    }
}

/// The last `.wasm` file that cargo named.
fn artifact(messages: &[u8]) -> Option<PathBuf> {
    let text = String::from_utf8_lossy(messages);
    let files = text.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok()).flat_map(|message| {
        let names = message.get("filenames").and_then(Json::as_array).cloned().unwrap_or_default();
        names.into_iter().filter_map(|name| name.as_str().map(PathBuf::from)).collect::<Vec<_>>()
    });
    files.filter(|file| file.extension().is_some_and(|extension| extension == "wasm")).fold(None, |_, file| Some(file))
}

fn json_of(origin: &str, inspection: &Inspection) -> Json {
    let manifest = &inspection.manifest;
    let http = manifest.wants.http.as_ref();
    let net = manifest.wants.net.as_ref();
    json!({
        "name": manifest.name,
        "version": manifest.version,
        "kind": manifest.kind.word(),
        "contract": manifest.contract,
        "network": manifest.network,
        "summary": manifest.summary,
        "license": manifest.license,
        "origin": origin,
        "digest": inspection.digest.to_string(),
        "size": inspection.size,
        "imports": inspection.imports,
        "exports": inspection.exports,
        "wants": {
            "http": http.map(|http| &http.hosts),
            "net": net.map(|net| &net.endpoints),
            "secrets": manifest.secrets_known().collect::<Vec<_>>(),
            "ingress": manifest.wants.ingress.as_ref().map(|ingress| &ingress.verify),
            "personal_data": manifest.wants.personal_data,
            "attachments": manifest.wants.attachments,
            "state_bytes": manifest.state_quota(),
        },
        "stream": exports(inspection, "connector-stream"),
        "media": exports(inspection, "connector-media"),
        "config": manifest.config,
        "capabilities": manifest.capabilities,
    })
}

/// Says whether a connector has this ability besides.
fn exports(inspection: &Inspection, interface: &str) -> bool {
    let name = format!("membrana:plugin/{interface}@");
    inspection.exports.iter().any(|export| export.starts_with(&name))
}

/// What a plugin is and wants.
pub(super) fn inspect(file: &Path, name: &str, is_json: bool) -> Result<(), Failure> {
    let found = find(name, &folder(file)).map_err(|(message, cure)| Failure::failed(message, cure))?;
    let inspection = plugin::inspect(&found.bytes).map_err(|error| Failure::failed(format!("{name}: {}", chain(&error)), error.cure()))?;
    let told = json_of(&found.origin, &inspection);
    if is_json { put_json(told) } else { show::thing(&told) }
}

/// Plugins there are, with what they used where a host runs.
pub(super) async fn list(file: &Path, is_json: bool, limit: Option<usize>) -> Result<(), Failure> {
    let config = config::read_what_is_there(file, crate::app::process_env().as_ref()).0;
    let in_use = in_use(config.as_ref()).await;
    let mut rows = Vec::new();
    for (name, found) in listed(&folder_of(config.as_ref(), file)) {
        match plugin::inspect(&found.bytes) {
            Ok(inspection) => rows.push(json_of(&found.origin, &inspection)),
            Err(error) => aside(format_args!("warning: {name} ({}): {}", found.origin, chain(&error))),
        }
    }
    if let Some(in_use) = &in_use {
        for row in &mut rows {
            let uses = in_use.iter().filter(|one| one.get("digest") == row.get("digest")).cloned().collect();
            note_use(row, uses);
        }
        // A build that was swapped in, or a file elsewhere.
        let is_told = |one: &Json| rows.iter().any(|row| row.get("digest") == one.get("digest"));
        let others: Vec<&Json> = in_use.iter().filter(|one| !is_told(one)).collect();
        for one in others {
            let of = |key: &str| one.get(key).cloned().unwrap_or_default();
            rows.push(json!({ "name": of("plugin"), "kind": of("kind"), "version": of("version"), "digest": of("digest"), "in_use": [one] }));
        }
    }
    let limit = limit.unwrap_or(usize::MAX);
    rows.truncate(limit);
    if is_json {
        return rows.iter().try_for_each(put_json);
    }
    if in_use.is_none() {
        return show::table(&rows, &[("NAME", "/name"), ("KIND", "/kind"), ("VERSION", "/version"), ("SUMMARY", "/summary"), ("FROM", "/origin")]);
    }
    let each: Vec<Json> = rows.into_iter().flat_map(used).take(limit).collect();
    show::table(&each, IN_USE)
}

/// What each section's plugin used, where a host runs and answers.
async fn in_use(config: Option<&Config>) -> Option<Vec<Json>> {
    let caller = Caller::of_host(config?).await?;
    let mut uses = Vec::new();
    let mut keep = |line: &str| {
        uses.extend(serde_json::from_str::<Json>(line).ok());
        Ok(())
    };
    match caller.lines("GET", "/api/v1/plugins", None, &mut keep).await {
        Ok(()) => Some(uses),
        Err(failure) => {
            if let Failure::Failed(message, cure) = failure {
                aside(format_args!("warning: what the running plugins used is not known: {message}; {cure}"));
            }
            None
        }
    }
}

fn note_use(row: &mut Json, uses: Json) {
    if let Some(row) = row.as_object_mut() {
        row.insert("in_use".to_owned(), uses);
    }
}

/// A row for each section that uses it; one where none does.
fn used(row: Json) -> Vec<Json> {
    let uses = row.get("in_use").and_then(Json::as_array).cloned().unwrap_or_default();
    let with = |one: Option<&Json>| {
        let mut row = row.clone();
        note_use(&mut row, one.cloned().unwrap_or_default());
        row
    };
    if uses.is_empty() { vec![with(None)] } else { uses.iter().map(|one| with(Some(one))).collect() }
}
