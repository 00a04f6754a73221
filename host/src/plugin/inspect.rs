//! What a plugin is and wants, read from the file without compiling it; and what of that the admin did not grant.

use serde_json::Value as Json;
use wasmparser::{Parser, Payload};

use crate::model::Digest;

use super::manifest::{Manifest, section};
use super::{Kind, PluginError};

/// A plugin file, read.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Interfaces it imports.
    pub imports: Vec<String>,
    /// Interfaces it exports.
    pub exports: Vec<String>,
    /// Of the file.
    pub digest: Digest,
    /// Units: bytes.
    pub size: usize,
}

/// Reads a plugin file. Nothing is compiled or run.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, PluginError> {
    let text = section(bytes)?.ok_or_else(|| {
        PluginError::Manifest("the component has none; build it with `membrana plugin build`, which embeds `plugin.toml`".to_owned())
    })?;
    let manifest = Manifest::parse(&text)?;
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0u32);
    for payload in Parser::new(0).parse_all(bytes) {
        let broken = |error: wasmparser::BinaryReaderError| PluginError::NotAComponent(error.to_string());
        match payload.map_err(broken)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(names) if depth == 0 => {
                for name in names {
                    imports.push(name.map_err(broken)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(names) if depth == 0 => {
                for name in names {
                    exports.push(name.map_err(broken)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    let wanted = format!("membrana:plugin/{}@", manifest.kind.word());
    if !exports.iter().any(|name| name.starts_with(&wanted)) {
        let found = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
        return Err(PluginError::Contract(format!("its manifest says `{}`, but it exports {found}", manifest.kind.word())));
    }
    Ok(Inspection { manifest, imports, exports, digest: Digest::of(bytes), size: bytes.len() })
}

/// What an admin's section grants, as written.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The plugin's section.
    pub config: &'a Json,
    /// `grant.http`.
    pub http: &'a [String],
    /// `grant.net`.
    pub net: &'a [String],
    /// `grant.personal_data`.
    pub personal_data: bool,
    /// `grant.attachments`.
    pub attachments: bool,
    /// Names of the section's `secrets`.
    pub secrets: &'a [String],
    /// `ingress.verify`, if there is an `[ingress]`.
    pub verify: Option<&'a str>,
}

/// A wish that the admin did not grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingGrant {
    /// In words.
    pub what: String,
    /// The line to add.
    pub line: String,
}

/// Every required wish that is not granted, with the line that grants it.
pub fn missing_grants(manifest: &Manifest, asked: &Asked<'_>) -> Vec<MissingGrant> {
    let mut missing = Vec::new();
    let wants = &manifest.wants;
    if let Some(http) = wants.http.as_ref().filter(|http| !http.optional) {
        for url in resolved(&http.hosts, asked.config) {
            if !asked.http.iter().any(|grant| covers(grant, &url)) {
                let origin = origin_of(&url);
                missing.push(MissingGrant { what: format!("to call {origin} by HTTP"), line: format!("grant = {{ http = [\"{origin}\"] }}") });
            }
        }
    }
    if let Some(net) = wants.net.as_ref().filter(|net| !net.optional) {
        for endpoint in resolved(&net.endpoints, asked.config) {
            if !asked.net.contains(&endpoint) {
                missing.push(MissingGrant { what: format!("to connect to {endpoint}"), line: format!("grant = {{ net = [\"{endpoint}\"] }}") });
            }
        }
    }
    if manifest.kind == Kind::Analyzer && wants.personal_data && !asked.personal_data {
        missing.push(MissingGrant { what: "to see who wrote".to_owned(), line: "grant = { personal_data = true }".to_owned() });
    }
    if manifest.kind == Kind::Analyzer && wants.attachments && !asked.attachments {
        missing.push(MissingGrant { what: "to see attachments".to_owned(), line: "grant = { attachments = true }".to_owned() });
    }
    let http = wants.http.iter().flat_map(|http| http.credentials.values());
    let net = wants.net.iter().flat_map(|net| net.credentials.values());
    for credential in http.chain(net).filter(|credential| !credential.optional) {
        if !asked.secrets.contains(&credential.secret) {
            missing.push(secret_of(&credential.secret));
        }
    }
    // One that polls as well can do without webhooks; the others would never hear of anything.
    if let (Some(ingress), None, false) = (&wants.ingress, asked.verify, manifest.polls()) {
        let scheme = ingress.verify.first().map_or("none", String::as_str);
        missing.push(MissingGrant { what: "to take webhooks".to_owned(), line: format!("ingress = {{ verify = \"{scheme}\" }}") });
    }
    if let (Some(ingress), Some(verify)) = (&wants.ingress, asked.verify) {
        if !ingress.verify.is_empty() && !ingress.verify.iter().any(|scheme| scheme == verify) {
            let schemes = ingress.verify.join("`, `");
            missing.push(MissingGrant {
                what: format!("webhooks verified by `{schemes}`, not by `{verify}`"),
                line: format!("ingress = {{ verify = \"{}\" }}", ingress.verify.first().map_or("none", String::as_str)),
            });
        }
        if verify != "none"
            && let Some(secret) = ingress.secret.as_ref().filter(|secret| !asked.secrets.contains(secret))
        {
            missing.push(secret_of(secret));
        }
    }
    missing.dedup();
    missing
}

fn secret_of(name: &str) -> MissingGrant {
    let variable = name.to_ascii_uppercase().replace('-', "_");
    MissingGrant { what: format!("the secret `{name}`"), line: format!("secrets = {{ {name} = {{ env = \"{variable}\" }} }}") }
}

/// Wishes with `config:/pointer` replaced by the value there; what is not configured is not wished.
fn resolved(wishes: &[String], config: &Json) -> Vec<String> {
    let mut all = Vec::new();
    for wish in wishes {
        match wish.strip_prefix("config:").map(|pointer| config.pointer(pointer)) {
            None if wish == "any" => {}
            None => all.push(wish.clone()),
            Some(Some(Json::String(one))) => all.push(one.clone()),
            Some(Some(Json::Array(many))) => all.extend(many.iter().filter_map(Json::as_str).map(str::to_owned)),
            Some(_) => {}
        }
    }
    all
}

fn origin_of(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

fn covers(grant: &str, url: &str) -> bool {
    match (url::Url::parse(grant), url::Url::parse(url)) {
        (Ok(grant), Ok(url)) => grant.origin() == url.origin() && url.path().starts_with(grant.path().trim_end_matches('/')),
        _ => grant == url,
    }
}
