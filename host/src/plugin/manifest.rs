//! The manifest that is embedded in a plugin: what it is, what it wants, what it can do. See `sdk/README.md` for the file.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use wasmparser::{Parser, Payload};

use crate::egress::Tariff;
use crate::model::{ReplyTerms, Scheme};

use super::PluginError;
use super::credentials::{self, WantsCredential};
use super::seal::{SEAL, SECTION, sealed};

/// The version of the contract that this host speaks.
pub(super) const CONTRACT: &str = "0.1";
/// Units: bytes.
const MANIFEST_BYTES_MAX: usize = 256 << 10;
/// Of the schema of a section: values in it, patterns among them, and how large one may become. Units: the last in bytes.
const SCHEMA_VALUES_MAX: usize = 4096;
const PATTERNS_MAX: usize = 64;
const PATTERN_BYTES_MAX: usize = 256 << 10;
/// Steps of one look for one pattern.
const BACKTRACK_MAX: usize = 100_000;
const STATE_BYTES_DEFAULT: usize = 256 << 10;
const STATE_BYTES_MAX: usize = 16 << 20;
/// Promises about repeated sends.
const SEND_CLASSES: [&str; 4] = ["D", "K", "R", "N"];

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
    /// At most what a manifest may ask for; an admin may set others.
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

/// Webhooks that a plugin asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantsIngress {
    /// Upper case; empty: any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Schemes it can live with; empty: any.
    #[serde(default)]
    pub verify: Vec<Scheme>,
    /// Key of the channel's `secrets`; absent: `webhook`.
    #[serde(default)]
    pub secret: Option<String>,
    /// `websub`: what may be subscribed to: URLs, or `config:/pointer`.
    #[serde(default)]
    pub topics: Vec<String>,
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
        if !is_version(&self.version) {
            return Err(format!("`version` is `{}`: write a semantic version like 0.1.0", self.version));
        }
        if let Some(class) = self.capabilities.get("send_class").filter(|class| !SEND_CLASSES.iter().any(|known| *class == known)) {
            return Err(format!("`capabilities.send_class` is {class}: write one of \"{}\", or leave it out", SEND_CLASSES.join("\", \"")));
        }
        self.read_reply_terms()?;
        self.read_tariff()?;
        self.check_kind()?;
        credentials::check(self)?;
        self.schema().map(drop)
    }

    /// What judges its section. It comes from a stranger and is used in the host: it may not take long.
    fn schema(&self) -> Result<jsonschema::Validator, String> {
        let (mut n_values, mut n_patterns) = (0, 0);
        look_over(&self.config, &mut n_values, &mut n_patterns)?;
        if n_values > SCHEMA_VALUES_MAX {
            return Err(format!("`config` has more than {SCHEMA_VALUES_MAX} values"));
        }
        if n_patterns > PATTERNS_MAX {
            return Err(format!("`config` has more than {PATTERNS_MAX} patterns"));
        }
        let bounded = jsonschema::PatternOptions::fancy_regex().size_limit(PATTERN_BYTES_MAX).backtrack_limit(BACKTRACK_MAX);
        let made = jsonschema::options().with_pattern_options(bounded).build(&self.config);
        made.map_err(|error| format!("`config` is not a JSON Schema: {error}"))
    }

    /// What is there must be for this kind of plugin.
    fn check_kind(&self) -> Result<(), String> {
        let (wants, kind) = (&self.wants, self.kind);
        let only = [
            ("wants.net", wants.net.is_some(), kind == Kind::Connector),
            ("wants.ingress", wants.ingress.is_some(), kind == Kind::Connector),
            ("wants.state_bytes", wants.state_bytes.is_some(), kind == Kind::Connector),
            ("wants.http", wants.http.is_some(), kind != Kind::Rule),
            ("wants.personal_data", wants.personal_data, kind == Kind::Analyzer),
            ("wants.attachments", wants.attachments, kind == Kind::Analyzer),
        ];
        let foreign = only.into_iter().find(|(_, is_there, is_allowed)| *is_there && !is_allowed);
        foreign.map_or(Ok(()), |(key, ..)| Err(format!("`{key}` is not for a plugin of kind {}: leave it out", kind.word())))
    }

    /// Units: bytes.
    pub fn state_quota(&self) -> usize {
        self.wants.state_bytes.unwrap_or(STATE_BYTES_DEFAULT)
    }

    /// The promise about repeated sends: `D`, `K`, `R` or `N`; none where the connector cannot reply.
    pub fn send_class(&self) -> Option<&str> {
        self.capabilities.get("send_class").and_then(serde_json::Value::as_str)
    }

    /// On what terms replies are carried by a section with this configuration; checked when the manifest is read.
    pub fn reply_terms(&self, config: &serde_json::Value) -> ReplyTerms {
        let terms = self.read_reply_terms().unwrap_or_default();
        let configured = terms.max_len_config.as_ref().and_then(|pointer| config.pointer(pointer)?.as_u64());
        ReplyTerms { max_len: configured.and_then(|max| usize::try_from(max).ok()).or(terms.max_len), ..terms }
    }

    fn read_reply_terms(&self) -> Result<ReplyTerms, String> {
        let Some(reply) = self.capabilities.get("reply") else { return Ok(ReplyTerms::default()) };
        ReplyTerms::deserialize(reply).map_err(|error| format!("`capabilities.reply`: {error}"))
    }

    /// What its calls cost; checked when the manifest is read.
    pub fn tariff(&self) -> Tariff {
        self.read_tariff().unwrap_or_default()
    }

    fn read_tariff(&self) -> Result<Tariff, String> {
        let Some(cost) = self.capabilities.get("cost") else { return Ok(Tariff::default()) };
        let tariff = Tariff::deserialize(cost).map_err(|error| error.to_string());
        tariff.and_then(|tariff| tariff.check().map(|()| tariff)).map_err(|error| format!("`capabilities.cost`: {error}"))
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
        let Ok(schema) = self.schema() else { return Vec::new() };
        let known = self.config_keys();
        if known.is_empty() && self.config.get("additionalProperties") == Some(&serde_json::Value::Bool(false)) {
            // Of a schema without properties the validator names the value that is too much, and not its key.
            let keys = config.as_object().into_iter().flat_map(|config| config.keys());
            return keys.map(|key| ConfigMistake { key: key.clone(), message: String::new() }).collect();
        }
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

/// Counts what a schema is made of. Errors: it refers to a part of itself, which could multiply its work without end.
fn look_over(schema: &serde_json::Value, n_values: &mut usize, n_patterns: &mut usize) -> Result<(), String> {
    *n_values += 1;
    match schema {
        serde_json::Value::Array(items) => items.iter().try_for_each(|item| look_over(item, n_values, n_patterns)),
        serde_json::Value::Object(keys) => keys.iter().try_for_each(|(key, value)| {
            if ["$ref", "$dynamicRef", "$recursiveRef"].contains(&key.as_str()) {
                return Err(format!("`config` uses `{key}`: write out what it refers to"));
            }
            *n_patterns += match (key.as_str(), value) {
                ("pattern", serde_json::Value::String(_)) => 1,
                ("patternProperties", serde_json::Value::Object(by)) => by.len(),
                _ => 0,
            };
            look_over(value, n_values, n_patterns)
        }),
        _ => Ok(()),
    }
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

/// Source: semver.org 2.0.0, without its rule on leading zeros of pre-releases.
fn is_version(text: &str) -> bool {
    let core_end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at(core_end);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
    let is_tail = rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-+.".contains(&b)) && rest.len() != 1;
    core.split('.').count() == 3 && core.split('.').all(is_number) && is_tail
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

/// Appends the manifest to a component, with a digest of both. Errors: it is no component, it has a manifest, or the manifest is wrong.
pub fn embed(component: &[u8], manifest: &str) -> Result<Vec<u8>, PluginError> {
    Manifest::parse(manifest)?;
    if section(component)?.is_some() {
        return Err(PluginError::NotAComponent("it has a manifest already; embed it into the file that the compiler wrote".to_owned()));
    }
    Ok(sealed(component, manifest))
}

/// The same component as another version: what the demo and the bench swap in.
#[cfg(any(feature = "demo", feature = "bench"))]
pub fn with_version(file: &[u8], version: &str) -> Result<Vec<u8>, PluginError> {
    let text = embedded(file)?;
    let n_component = file.len().saturating_sub(sealed(&[], &text).len());
    let line = |line: &str| if line.starts_with("version = ") { format!("version = \"{version}\"\n") } else { format!("{line}\n") };
    embed(file.get(..n_component).unwrap_or_default(), &text.lines().map(line).collect::<String>())
}

/// The manifest's text inside a plugin's file, once the digest that it carries fits the file. Errors: none there, an older build's, or
/// a file that was changed since.
pub(super) fn embedded(bytes: &[u8]) -> Result<String, PluginError> {
    let refused = |why: &str| PluginError::Manifest(why.to_owned());
    let text = section(bytes)?.ok_or_else(|| refused("the component has none"))?;
    let without_seal = text.strip_prefix(SEAL).and_then(|rest| rest.split_once('\n'));
    let (_, manifest) = without_seal.ok_or_else(|| refused("it carries no digest of the file, as older builds do"))?;
    // Sealing it anew also sees what was appended, and a digest that was touched itself.
    let n_component = bytes.len().saturating_sub(sealed(&[], manifest).len());
    if sealed(bytes.get(..n_component).unwrap_or_default(), manifest) != bytes {
        return Err(refused("the file was changed or damaged since it was built: its digest does not fit"));
    }
    Ok(manifest.to_owned())
}

/// The text of the manifest's section, if there is one.
fn section(bytes: &[u8]) -> Result<Option<String>, PluginError> {
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

    const COMPONENT: [u8; 8] = [0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00];

    #[test]
    fn a_schema_that_could_work_without_end_is_refused() {
        let level = |n: usize| format!("\"$defs\".a{n}.allOf = [{{ \"$ref\" = \"#/$defs/a{}\" }}, {{ \"$ref\" = \"#/$defs/a{}\" }}]\n", n + 1, n + 1);
        let patterns: String = (0..=PATTERNS_MAX).map(|n| format!("properties.p{n} = {{ type = \"string\", pattern = \"^x{n}$\" }}\n")).collect();
        let values = format!("enum = [{}]\n", "1,".repeat(SCHEMA_VALUES_MAX));
        for (schema, why) in [
            ((0..40).map(level).collect::<String>(), "uses `$ref`"),
            (patterns, "patterns"),
            (values, "values"),
            ("properties.p = { type = \"string\", pattern = \"(\\\\p{L}{50}){50}\" }\n".to_owned(), "not a JSON Schema"),
        ] {
            let told = Manifest::parse(&format!("{MANIFEST}[config]\ntype = \"object\"\n{schema}")).unwrap_err().to_string();
            assert!(told.contains(why), "{told}");
        }
        let usual = format!("{MANIFEST}[config]\ntype = \"object\"\nproperties.p = {{ type = \"string\", pattern = \"^[0-9]+$\" }}\n");
        let manifest = Manifest::parse(&usual).unwrap();
        assert_eq!(manifest.check_config(&serde_json::json!({ "p": "x" })).len(), 1);
        assert!(manifest.check_config(&serde_json::json!({ "p": "12" })).is_empty());
    }

    #[test]
    fn the_length_of_a_reply_is_the_section_s_where_it_says_so() {
        let manifest =
            Manifest::parse(&format!("{MANIFEST}[capabilities]\nreply = {{ max_len = 280, max_len_config = \"/length_max\" }}\n")).unwrap();
        for (config, max) in [("{}", 280), ("{\"length_max\": 25000}", 25_000), ("{\"length_max\": -1}", 280)] {
            let terms = manifest.reply_terms(&serde_json::from_str(config).unwrap());
            assert_eq!(terms.max_len, Some(max), "{config}");
        }
    }

    #[test]
    fn a_manifest_is_found_again_after_embedding() {
        for extra in ["", &"#".repeat(40), &"#".repeat(20_000)] {
            let manifest = format!("{MANIFEST}{extra}");
            let plugin = embed(&COMPONENT, &manifest).unwrap();
            assert_eq!(embedded(&plugin).unwrap(), manifest);
            assert!(embed(&plugin, MANIFEST).is_err(), "twice is refused");
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_is_seen() {
        let plugin = embed(&COMPONENT, MANIFEST).unwrap();
        for place in 0..plugin.len() {
            for bit in 0..8 {
                let mut flipped = plugin.clone();
                flipped[place] ^= 1 << bit;
                assert!(embedded(&flipped).is_err(), "byte {place}, bit {bit}");
            }
        }
        assert!(embedded(&plugin[..plugin.len() - 1]).is_err(), "cut");
        assert!(embedded(&[plugin.as_slice(), &[0, 2, 1, b'x']].concat()).is_err(), "one more section");
    }

    #[test]
    fn a_build_without_a_digest_is_refused_with_the_cure() {
        let mut older = COMPONENT.to_vec();
        let section = wasm_encoder::CustomSection { name: SECTION.into(), data: MANIFEST.as_bytes().into() };
        wasm_encoder::ComponentSection::append_to_component(&section, &mut older);
        let refused = embedded(&older).unwrap_err();
        assert!(refused.to_string().contains("no digest") && refused.cure().contains("membrana plugin build"), "{refused}");
    }

    #[test]
    fn a_wrong_manifest_says_what_is_wrong() {
        for (bad, needle) in [
            (MANIFEST.replace("0.1\"\ns", "9.9\"\ns"), "9.9"),
            (MANIFEST.replace("\"x\"", "\"X!\""), "X!"),
            (format!("{MANIFEST}colour = 1\n"), "colour"),
            (MANIFEST.replace("analyzer", "connector"), "network"),
            (MANIFEST.replace("\"0.1.0\"", "\"1.0\""), "semantic version"),
            (format!("{MANIFEST}[wants.net]\nendpoints = []\n"), "wants.net"),
            (format!("{MANIFEST}[wants.ingress]\nverify = [\"twitter\"]\n"), "`standard-webhooks`, `x`, `meta`"),
            (format!("{MANIFEST}[capabilities]\nsend_class = \"X\"\n"), "send_class"),
            (
                format!("{MANIFEST}[wants.http]\nhosts = [\"https://a.example\"]\n[wants.http.credentials.t]\nsecret = \"t\"\ninject = \"cookie\"\n"),
                "cookie",
            ),
            (format!("{MANIFEST}[wants.http]\nhosts = [\"any\"]\n[wants.http.credentials.t]\nsecret = \"t\"\n"), "bound to no host"),
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
