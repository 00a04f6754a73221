//! The manifest that is embedded in a plugin: what it is, what it wants, what it can do. See `sdk/README.md` for the file.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use wasm_encoder::{CustomSection, Encode, Section};
use wasmparser::{Parser, Payload};

use super::PluginError;

/// Where the manifest lies in a component.
pub const SECTION: &str = "membrana:manifest";
/// The version of the contract that this host speaks.
pub(super) const CONTRACT: &str = "0.1";
/// Units: bytes.
const MANIFEST_BYTES_MAX: usize = 256 << 10;
const STATE_BYTES_DEFAULT: usize = 256 << 10;
const STATE_BYTES_MAX: usize = 16 << 20;

/// What kind of plugin it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Speaks to one network.
    Connector,
    /// Says something of interactions.
    Analyzer,
    /// Decides what is done.
    Rule,
}

impl Kind {
    /// The glossary's word.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Connector => "connector",
            Kind::Analyzer => "analyzer",
            Kind::Rule => "rule",
        }
    }
}

/// A plugin's `plugin.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Shape: `[a-z0-9-]{1,32}`.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// Which world it exports.
    pub kind: Kind,
    /// The version of the contract it was built against.
    pub contract: String,
    /// Connectors: what identities belong to.
    pub network: Option<String>,
    /// One line.
    pub summary: String,
    /// SPDX.
    pub license: String,
    /// JSON Schema of its section.
    #[serde(default = "any_object")]
    pub config: serde_json::Value,
    /// What it asks for.
    #[serde(default)]
    pub wants: Wants,
    /// Below the host's own.
    #[serde(default)]
    pub limits: ManifestLimits,
    /// Rules: what an event brings.
    #[serde(default)]
    pub view: View,
    /// Connectors: the capability record.
    #[serde(default)]
    pub capabilities: serde_json::Map<String, serde_json::Value>,
}

/// What a plugin asks for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wants {
    /// Units: bytes.
    pub state_bytes: Option<usize>,
    /// Analyzers: identity and handle of authors.
    #[serde(default)]
    pub personal_data: bool,
    /// Analyzers: attachments.
    #[serde(default)]
    pub attachments: bool,
    /// HTTP.
    pub http: Option<WantsHttp>,
    /// Byte streams.
    pub net: Option<WantsNet>,
    /// Webhooks.
    pub ingress: Option<WantsIngress>,
}

/// HTTP that a plugin asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantsHttp {
    /// URLs, `config:/pointer`, or `any`.
    pub hosts: Vec<String>,
    /// Upper case; empty: any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Loads without the grant.
    #[serde(default)]
    pub optional: bool,
    /// By the name that `auth` gives.
    #[serde(default)]
    pub credentials: BTreeMap<String, WantsCredential>,
}

/// Byte streams that a plugin asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantsNet {
    /// `host:port` or `config:/pointer`.
    pub endpoints: Vec<String>,
    /// Loads without the grant.
    #[serde(default)]
    pub optional: bool,
    /// By the name that `write-secret` gives.
    #[serde(default)]
    pub credentials: BTreeMap<String, WantsCredential>,
}

/// A credential that the host adds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantsCredential {
    /// Key of the section's `secrets`.
    pub secret: String,
    /// `bearer`, `basic`, `header:NAME`, `query:NAME`; absent for `net`.
    pub inject: Option<String>,
    /// Loads without the secret.
    #[serde(default)]
    pub optional: bool,
}

/// Webhooks that a plugin asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantsIngress {
    /// Upper case; empty: any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Schemes it can live with.
    #[serde(default)]
    pub verify: Vec<String>,
    /// Key of the channel's `secrets`.
    #[serde(default)]
    pub secret: Option<String>,
}

/// Limits that a plugin sets for itself.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestLimits {
    /// Units: bytes.
    pub memory_bytes: Option<usize>,
    /// Per call.
    pub cpu_ms: Option<u64>,
    /// Per call.
    pub wall_ms: Option<u64>,
}

/// What a rule's event brings.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// How the exchange stands.
    #[serde(default)]
    pub exchange: bool,
    /// How the conversation stands.
    #[serde(default)]
    pub conversation: bool,
    /// Last entries of the conversation.
    #[serde(default)]
    pub history: u8,
    /// Who it is, across networks.
    #[serde(default)]
    pub person: bool,
}

fn any_object() -> serde_json::Value {
    serde_json::json!({ "type": "object" })
}

impl View {
    /// What either asks for.
    pub fn or(self, other: Self) -> Self {
        Self {
            exchange: self.exchange || other.exchange,
            conversation: self.conversation || other.conversation,
            history: self.history.max(other.history),
            person: self.person || other.person,
        }
    }
}

impl Manifest {
    /// Reads `plugin.toml`. Errors name the place.
    pub fn parse(text: &str) -> Result<Self, PluginError> {
        if text.len() > MANIFEST_BYTES_MAX {
            return Err(PluginError::Manifest(format!("{} bytes are over the limit of {MANIFEST_BYTES_MAX}", text.len())));
        }
        let manifest: Self = toml::from_str(text).map_err(|error| PluginError::Manifest(error.to_string()))?;
        manifest.check().map_err(PluginError::Manifest)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || self.name.len() > 32 || !self.name.chars().all(is_name) {
            return Err(format!("`name` is `{}`: write 1 to 32 of a-z, 0-9 and `-`", self.name));
        }
        if self.contract != CONTRACT {
            return Err(format!("`contract` is `{}`, this host speaks {CONTRACT}: rebuild the plugin with its SDK", self.contract));
        }
        if self.kind == Kind::Connector && self.network.is_none() {
            return Err("a connector needs `network`: what its identities belong to".to_owned());
        }
        if self.wants.state_bytes.is_some_and(|bytes| bytes > STATE_BYTES_MAX) {
            return Err(format!("`wants.state_bytes` is over {STATE_BYTES_MAX}"));
        }
        jsonschema::validator_for(&self.config).map(|_| ()).map_err(|error| format!("`config` is not a JSON Schema: {error}"))
    }

    /// Units: bytes.
    pub fn state_quota(&self) -> usize {
        self.wants.state_bytes.unwrap_or(STATE_BYTES_DEFAULT)
    }

    /// The promise about repeated sends: `D`, `K`, `R` or `N`; none where the connector cannot reply.
    pub fn send_class(&self) -> Option<&str> {
        self.capabilities.get("send_class").and_then(serde_json::Value::as_str)
    }

    /// Class K: how long the network remembers a key.
    pub fn key_window(&self) -> Duration {
        Duration::from_secs(self.capabilities.get("key_window_s").and_then(serde_json::Value::as_u64).unwrap_or(0))
    }

    /// Says whether the connector is asked by `poll`.
    pub fn polls(&self) -> bool {
        let arrive = self.capabilities.get("arrive").and_then(serde_json::Value::as_array);
        arrive.is_some_and(|ways| ways.iter().any(|way| way == "poll"))
    }

    /// What is wrong with this section, one for each key.
    pub fn check_config(&self, config: &serde_json::Value) -> Vec<ConfigMistake> {
        let Ok(schema) = jsonschema::validator_for(&self.config) else { return Vec::new() };
        schema.iter_errors(config).flat_map(|error| mistakes_of(&error)).collect()
    }

    /// The keys that its section may have.
    pub fn config_keys(&self) -> Vec<&str> {
        let properties = self.config.get("properties").and_then(serde_json::Value::as_object);
        properties.into_iter().flat_map(|properties| properties.keys()).map(String::as_str).collect()
    }
}

/// One thing that a section's schema does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigMistake {
    /// Its path: `urls[2]`.
    pub key: String,
    /// In words; empty where nobody knows the key.
    pub message: String,
}

fn mistakes_of(error: &jsonschema::ValidationError<'_>) -> Vec<ConfigMistake> {
    let path = key_of(&error.instance_path().to_string());
    match error.kind() {
        jsonschema::error::ValidationErrorKind::AdditionalProperties { unexpected } => {
            let below = |key: &String| if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            unexpected.iter().map(|key| ConfigMistake { key: below(key), message: String::new() }).collect()
        }
        _ => vec![ConfigMistake { key: path, message: error.to_string() }],
    }
}

/// `/urls/2` as `urls[2]`.
fn key_of(pointer: &str) -> String {
    let mut key = String::new();
    for part in pointer.split('/').skip(1) {
        match part.parse::<usize>() {
            Ok(index) => key.push_str(&format!("[{index}]")),
            Err(_) if key.is_empty() => key.push_str(part),
            Err(_) => key.push_str(&format!(".{part}")),
        }
    }
    key
}

/// Appends the manifest to a component, in place of one that is there. Errors: it is no component, or the manifest is wrong.
pub fn embed(component: &[u8], manifest: &str) -> Result<Vec<u8>, PluginError> {
    Manifest::parse(manifest)?;
    if section(component)?.is_some() {
        return Err(PluginError::NotAComponent("it has a manifest already; embed it into the file that the compiler wrote".to_owned()));
    }
    let mut bytes = component.to_vec();
    let custom = CustomSection { name: SECTION.into(), data: manifest.as_bytes().into() };
    bytes.push(custom.id());
    custom.encode(&mut bytes);
    Ok(bytes)
}

/// The manifest's text inside a component, if there is one.
pub(super) fn section(bytes: &[u8]) -> Result<Option<String>, PluginError> {
    if !Parser::is_component(bytes) {
        return Err(PluginError::NotAComponent("the file is no Wasm component (a core module or something else)".to_owned()));
    }
    let mut depth = 0u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| PluginError::NotAComponent(error.to_string()))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(custom) if depth == 0 && custom.name() == SECTION => {
                let text = std::str::from_utf8(custom.data()).map_err(|_| PluginError::Manifest("it is no UTF-8".to_owned()))?;
                return Ok(Some(text.to_owned()));
            }
            _ => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "name = \"x\"\nversion = \"0.1.0\"\nkind = \"analyzer\"\ncontract = \"0.1\"\nsummary = \"s\"\nlicense = \"Apache-2.0\"\n";

    #[test]
    fn a_manifest_is_found_again_after_embedding() {
        let component = [0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00];
        let embedded = embed(&component, MANIFEST).unwrap();
        assert_eq!(section(&embedded).unwrap().as_deref(), Some(MANIFEST));
        assert!(embed(&embedded, MANIFEST).is_err(), "twice is refused");
    }

    #[test]
    fn a_wrong_manifest_says_what_is_wrong() {
        for (bad, needle) in [
            (MANIFEST.replace("0.1\"\ns", "9.9\"\ns"), "9.9"),
            (MANIFEST.replace("\"x\"", "\"X!\""), "X!"),
            (format!("{MANIFEST}colour = 1\n"), "colour"),
            (MANIFEST.replace("analyzer", "connector"), "network"),
        ] {
            let error = Manifest::parse(&bad).unwrap_err().to_string();
            assert!(error.contains(needle), "{error}");
        }
    }

    #[test]
    fn a_core_module_is_refused() {
        assert!(matches!(section(b"\0asm\x01\0\0\0"), Err(PluginError::NotAComponent(_))));
        assert!(matches!(section(b"hello"), Err(PluginError::NotAComponent(_))));
    }
}
