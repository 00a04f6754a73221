//! A configuration and the manifests of its plugins, put together and proved: what `check` shows and `run` puts in force.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::analysis::Analyzer;
use crate::config::{self, Channel, Config, Place, Plugin, Report, Severity, nearest};
use crate::console::{Section, Sections};
use crate::egress::{Budget, Door};
use crate::ingress::Hook;
use crate::media::Bounds;
use crate::model::{ChannelName, Digest, ReplyTerms};
use crate::outbox::SendClass;
use crate::plugin::{Asked, Builds, Generation, Kind, Limits, Load, Manifest, Surroundings, inspect, missing_grants};
use crate::rules::Rule;
use crate::sinks::{Secret, Target};
use crate::telemetry::chain;

use super::doors::Doors;
use super::{Found, Kit, doors, find, hooks};

/// Everything that a configuration needs, loaded.
pub struct Prepared {
    /// In file order.
    pub channels: Vec<PreparedChannel>,
    /// In file order.
    pub analyzers: Vec<Analyzer>,
    /// In file order.
    pub rules: Vec<Rule>,
    /// In file order.
    pub sinks: Vec<Arc<Target>>,
    /// Sections whose build `membrana swap` put in force.
    pub swapped: HashSet<String>,
}

impl Prepared {
    /// The build of this section.
    pub fn generation(&self, name: &str) -> Option<&Arc<Generation>> {
        let channel = self.channels.iter().find(|one| one.name == name).map(|one| &one.plugin);
        let analyzer = || self.analyzers.iter().find(|one| one.name == name).map(|one| &one.plugin);
        channel.or_else(analyzer).or_else(|| self.rules.iter().find(|one| one.name == name).map(|one| &one.plugin))
    }
}

/// One channel, loaded.
#[derive(Clone)]
pub struct PreparedChannel {
    /// Its name.
    pub name: String,
    /// What its identities belong to.
    pub network: String,
    /// Its connector.
    pub plugin: Arc<Generation>,
    /// Between two polls; none where it does not poll.
    pub pace: Option<Duration>,
    /// Units: bytes.
    pub state_quota: usize,
    /// The capability record, JSON.
    pub capabilities: Arc<str>,
    /// On what terms it carries a reply.
    pub terms: Arc<ReplyTerms>,
    /// Its promise about repeats; none where it cannot reply.
    pub class: Option<SendClass>,
    /// Where its webhooks come in, if it takes any.
    pub hook: Option<Arc<Hook>>,
    /// How much of its files is kept, and the way to their addresses; none where none are fetched.
    pub media: Option<(Bounds, Arc<Door>)>,
}

/// Loads every plugin and asks it about its section. `None` where an error was found; the report has all there are.
pub async fn prepare(config: &Config, kit: &Kit) -> (Option<Prepared>, Report) {
    let mut preparing = Preparing::new(config, kit);
    let (mut channels, mut analyzers, mut rules) = (Vec::new(), Vec::new(), Vec::new());
    for channel in &config.channels {
        channels.extend(preparing.channel(channel).await);
    }
    for analyzer in &config.analyzers {
        analyzers.extend(preparing.analyzer(analyzer).await);
    }
    for rule in &config.rules {
        rules.extend(preparing.rule(rule).await);
    }
    let sinks: Vec<Arc<Target>> = config.sinks.iter().filter_map(|sink| preparing.target(sink)).collect();
    let (mut report, swapped) = (preparing.report, preparing.swapped);
    report.sort();
    let prepared = (!report.has_errors()).then_some(Prepared { channels, analyzers, rules, sinks, swapped });
    (prepared, report)
}

/// One section, loaded.
pub enum One {
    /// A channel's.
    Channel(Box<PreparedChannel>),
    /// An analyzer's.
    Analyzer(Analyzer),
    /// A rule's.
    Rule(Rule),
}

impl One {
    pub(super) fn generation(&self) -> &Arc<Generation> {
        match self {
            Self::Channel(channel) => &channel.plugin,
            Self::Analyzer(analyzer) => &analyzer.plugin,
            Self::Rule(rule) => &rule.plugin,
        }
    }
}

/// Which file is loaded for a section.
pub enum Choice {
    /// The one that a swap put in force, else the one that the section names.
    InForce,
    /// The one that the section names.
    Configured,
    /// This one.
    File(Found),
    /// This one, without a way out.
    Apart(Found),
}

/// Loads one section with a file of choice. `None` where there is no such section, or with the mistakes in the report.
pub async fn prepare_one(config: &Config, kit: &Kit, name: &str, choice: Choice) -> (Option<One>, Report) {
    let mut preparing = Preparing { choice, ..Preparing::new(config, kit) };
    let mut one = None;
    if let Some(channel) = config.channels.iter().find(|channel| channel.plugin.name == name) {
        one = preparing.channel(channel).await.map(|channel| One::Channel(Box::new(channel)));
    } else if let Some(analyzer) = config.analyzers.iter().find(|analyzer| analyzer.plugin.name == name) {
        one = preparing.analyzer(analyzer).await.map(One::Analyzer);
    } else if let Some(rule) = config.rules.iter().find(|rule| rule.plugin.name == name) {
        one = preparing.rule(rule).await.map(One::Rule);
    }
    (one.filter(|_| !preparing.report.has_errors()), preparing.report)
}

/// A section's common part, by its name.
pub(super) fn section_named<'c>(config: &'c Config, name: &str) -> Option<&'c Plugin> {
    sections(config).find(|section| section.name == name)
}

/// The common parts of all sections that name a plugin, in file order by kind.
pub(super) fn sections(config: &Config) -> impl Iterator<Item = &Plugin> {
    let channels = config.channels.iter().map(|channel| &channel.plugin);
    channels.chain(config.analyzers.iter().map(|analyzer| &analyzer.plugin)).chain(config.rules.iter().map(|rule| &rule.plugin))
}

fn around(config: &Config) -> Surroundings {
    Surroundings {
        teams: config.teams.clone(),
        channels: config.channels.iter().map(|channel| channel.plugin.name.clone()).collect(),
        analyzers: config.analyzers.iter().map(|analyzer| analyzer.plugin.name.clone()).collect(),
        calendars: Vec::new(),
    }
}

struct Preparing<'a> {
    config: &'a Config,
    kit: &'a Kit,
    around: Surroundings,
    report: Report,
    choice: Choice,
    swapped: HashSet<String>,
}

impl<'a> Preparing<'a> {
    fn new(config: &'a Config, kit: &'a Kit) -> Self {
        Self { config, kit, around: around(config), report: Report::default(), choice: Choice::InForce, swapped: HashSet::new() }
    }

    async fn channel(&mut self, channel: &Channel) -> Option<PreparedChannel> {
        let generation = self.load(&channel.plugin, Kind::Connector, Some(channel)).await?;
        self.check_media(channel, &generation);
        let media = channel.media.map(|media| {
            let bounds = Bounds { keep: media.keep, file_bytes: media.file_bytes, total_bytes: media.total_bytes };
            (bounds, self.doors().of_media(&channel.plugin, media.file_bytes))
        });
        Some(PreparedChannel { media, ..prepared_channel(self.config, channel, generation) })
    }

    async fn analyzer(&mut self, analyzer: &config::Analyzer) -> Option<Analyzer> {
        let plugin = self.load(&analyzer.plugin, Kind::Analyzer, None).await?;
        let (wants, grant) = (&plugin.manifest().wants, &analyzer.plugin.grant);
        Some(Analyzer {
            name: analyzer.plugin.name.clone(),
            config: Digest::of(analyzer.plugin.config.to_string().as_bytes()),
            after: analyzer.after.clone(),
            wait: analyzer.wait,
            channels: analyzer.channels.iter().map(|name| ChannelName::from(name.as_str())).collect(),
            sees_authors: wants.personal_data && grant.personal_data,
            sees_attachments: wants.attachments && grant.attachments,
            plugin,
        })
    }

    async fn rule(&mut self, rule: &config::Rule) -> Option<Rule> {
        let plugin = self.load(&rule.plugin, Kind::Rule, None).await?;
        Some(Rule { name: rule.plugin.name.clone(), plugin })
    }

    fn file(&mut self, section: &Plugin) -> Option<Found> {
        if let Choice::File(chosen) | Choice::Apart(chosen) = &self.choice {
            return Some(chosen.clone());
        }
        let configured = find(&section.plugin, &self.config.host.plugins)
            .map_err(|(message, cure)| self.report.error(section.places.section(), message, cure))
            .ok()?;
        if matches!(self.choice, Choice::Configured) {
            return Some(configured);
        }
        match Builds::new(&self.config.host.data).in_force(&section.name, &section.plugin, &configured.bytes) {
            Ok(Some(bytes)) => {
                self.swapped.insert(section.name.clone());
                if *bytes == *configured.bytes {
                    return Some(configured);
                }
                let message = format!("`{}` runs the build that `membrana swap` put in force, not the one that `plugin` names", section.name);
                let cure = format!("`membrana history {0}` tells when and why; `membrana rollback {0}` goes back", section.name);
                self.report.add(Severity::Info, section.places.section(), message, cure);
                Some(Found { bytes, origin: "put in force by `membrana swap`".to_owned() })
            }
            Ok(None) => Some(configured),
            Err(error) => {
                let cure = if error.kind() == std::io::ErrorKind::PermissionDenied {
                    "let the user whom the host runs as read the data folder".to_owned()
                } else {
                    format!("the configured one goes on; to end this, move data/builds/{}.json away and swap it in again", section.name)
                };
                let message = format!("the build that was put in force for `{}` cannot be read: {error}", section.name);
                self.report.warning(section.places.section(), message, cure);
                Some(configured)
            }
        }
    }

    /// From the file to a generation, noting every mistake on the way.
    async fn load(&mut self, section: &Plugin, kind: Kind, channel: Option<&Channel>) -> Option<Arc<Generation>> {
        let place = section.places.section();
        if section.plugin.is_empty() {
            // That it is missing was told where the file was read.
            return None;
        }
        let found = self.file(section)?;
        let what = match &self.choice {
            Choice::File(file) | Choice::Apart(file) => file.origin.clone(),
            Choice::InForce | Choice::Configured => format!("plugin `{}` ({})", section.plugin, found.origin),
        };
        let inspection = match inspect(&found.bytes) {
            Ok(inspection) => inspection,
            Err(error) => {
                self.report.error(place, format!("{what}: {}", chain(&error)), error.cure());
                return None;
            }
        };
        let manifest = &inspection.manifest;
        if manifest.kind != kind {
            self.report.error(
                place,
                format!("{what} is of kind {}, not {}", manifest.kind.word(), kind.word()),
                format!("name it in a [[{}]] section", section_of(manifest.kind)),
            );
            return None;
        }
        let can_be_asked = self.check_config(section, manifest);
        let is_granted = self.check_grants(section, manifest, channel) & self.check_secrets(section, manifest);
        self.check_use(section, manifest, channel.is_some_and(|channel| channel.media.is_some()));
        if !can_be_asked {
            return None;
        }
        let granted = &section.limits;
        let mut limits = Limits::of(kind).with_manifest(manifest.limits).with(granted.memory_bytes, granted.cpu_ms, granted.wall_ms);
        limits.compile = limits.compile.with(granted.compile_memory_bytes, granted.compile_cpu_ms);
        let is_apart = matches!(self.choice, Choice::Apart(_));
        let load = Load {
            name: section.name.clone(),
            bytes: found.bytes,
            config: section.config.to_string(),
            door: if is_apart { None } else { self.doors().of_plugin(manifest, section) },
            limits,
            is_apart,
        };
        match self.kit.engine.load(load).await {
            Ok(generation) => self.validate(section, generation).await.filter(|_| is_granted),
            Err(error) => {
                self.report.error(place, format!("{what}: {}", chain(&error)), error.cure());
                None
            }
        }
    }

    /// The section against its schema; says whether the plugin can be asked about it.
    fn check_config(&mut self, section: &Plugin, manifest: &Manifest) -> bool {
        if !section.is_whole {
            return false;
        }
        let mistakes = manifest.check_config(&section.config);
        let file = if matches!(self.choice, Choice::File(_) | Choice::Apart(_)) { "FILE" } else { &section.plugin };
        let lists = format!("`membrana plugin inspect {file}` lists its keys");
        for mistake in &mistakes {
            if !mistake.message.is_empty() {
                let place = section.places.place(&mistake.key, 0, 0);
                self.report.error(place, format!("`{}`: {}", section.name, mistake.message), lists.clone());
                continue;
            }
            let written = section.places.written(&mistake.key);
            let near = nearest(&mistake.key, &manifest.config_keys());
            // A key that named a file is mended to one that does.
            let suffix = if written == mistake.key { "" } else { "_file" };
            let cure = near.map_or(lists.clone(), |near| format!("did you mean `{near}{suffix}`?"));
            self.report.error(section.places.key(&mistake.key), format!("`{}`: its `config` has no key `{written}`", section.name), cure);
        }
        mistakes.is_empty()
    }

    /// What it wants and is not granted, and webhooks that it cannot take.
    fn check_grants(&mut self, section: &Plugin, manifest: &Manifest, channel: Option<&Channel>) -> bool {
        let secrets: Vec<String> = section.secrets.keys().cloned().collect();
        let hook_secrets = channel.and_then(|channel| hooks::secrets_needed(channel, manifest));
        let asked = Asked {
            config: &section.config,
            http: &section.grant.http,
            net: &section.grant.net,
            private: &section.grant.private,
            personal_data: section.grant.personal_data,
            attachments: section.grant.attachments,
            secrets: &secrets,
            hook_secrets: hook_secrets.as_deref(),
        };
        let missing = missing_grants(manifest, &asked);
        let ingress = channel.and_then(|channel| channel.ingress.as_ref());
        for grant in &missing {
            let place = ingress.filter(|_| grant.is_for_webhooks).map_or_else(|| section.places.section(), |ingress| ingress.place.clone());
            self.report.error(place, format!("`{}` wants {}, which is not granted", section.name, grant.what), grant.cure.clone());
        }
        let wrong = channel.map(|channel| hooks::mistakes(&self.config.host, channel, manifest)).unwrap_or_default();
        let is_granted = missing.is_empty() && wrong.is_empty();
        for mistake in wrong {
            self.report.error(mistake.place, mistake.message, mistake.cure);
        }
        is_granted
    }

    /// Secrets that the plugin has no use for. A mistyped name is a mistake: it would leave the plugin without the one that is meant.
    fn check_secrets(&mut self, section: &Plugin, manifest: &Manifest) -> bool {
        let known: Vec<&str> = manifest.secrets_known().map(String::as_str).chain(hooks::secrets_known(manifest)).collect();
        let mut is_right = true;
        for name in section.secrets.keys().filter(|name| !known.contains(&name.as_str())) {
            let place = section.outer.key(&format!("secrets.{name}"));
            let message = format!("`{}`: plugin `{}` knows no secret `{name}`", section.name, section.plugin);
            match nearest(name, &known).filter(|near| !section.secrets.contains_key(*near)) {
                Some(near) => {
                    self.report.error(place, message, format!("did you mean `{near}`?"));
                    is_right = false;
                }
                None if known.is_empty() => self.report.warning(place, message, "leave `secrets` out"),
                None => self.report.warning(place, message, format!("it knows: {}", known.join(", "))),
            }
        }
        is_right
    }

    /// What is granted and never used. Files are fetched by the channel's own grants.
    fn check_use(&mut self, section: &Plugin, manifest: &Manifest, has_media: bool) {
        let (wants, grant) = (&manifest.wants, &section.grant);
        let (calls, connects) = (wants.http.is_some() || has_media, wants.net.is_some());
        let useless = [
            ("http", !grant.http.is_empty() && !calls),
            ("net", !grant.net.is_empty() && !connects),
            ("private", !grant.private.is_empty() && !calls && !connects),
            ("personal_data", grant.personal_data && !wants.personal_data),
            ("attachments", grant.attachments && !wants.attachments),
        ];
        for (key, _) in useless.into_iter().filter(|(_, is_useless)| *is_useless) {
            let message = format!("`{}`: plugin `{}` does not ask for what `{key}` grants", section.name, section.plugin);
            self.report.warning(section.outer.key(&format!("grant.{key}")), message, format!("leave `{key}` out of its `grant`"));
        }
    }

    /// A channel that keeps files, of a plugin that brings none.
    fn check_media(&mut self, channel: &Channel, generation: &Generation) {
        if channel.media.is_some() && generation.manifest().wants.http.is_none() && !generation.has_media() {
            let message = format!("`{}` has `media`, and plugin `{}` can bring no files", channel.plugin.name, channel.plugin.plugin);
            self.report.warning(channel.plugin.places.section(), message, "leave `media` out");
        }
    }

    fn doors(&self) -> Doors<'_> {
        Doors::new(&self.kit.egress, &self.kit.clock, &self.kit.renewals, &self.config.host.data)
    }

    /// A sink with its way out. A sink that could not be told anything is a mistake, never left out.
    fn target(&mut self, sink: &crate::config::Sink) -> Option<Arc<Target>> {
        if !sink.is_whole {
            return None;
        }
        let Some(door) = doors::of_sink(&self.kit.egress, &sink.url, &sink.private, &sink.secrets) else {
            let place = Place::file(&self.config.file);
            self.report.error(place, format!("sink `{}` cannot be reached at its `url`", sink.name), "write https://host/path");
            return None;
        };
        Some(Arc::new(Target {
            name: sink.name.clone(),
            url: sink.url.clone(),
            secrets: sink.secrets.iter().filter_map(|secret| Secret::parse(secret.expose()).ok()).collect(),
            events: sink.events.clone(),
            door,
            is_gone: AtomicBool::new(false),
        }))
    }

    /// What the plugin itself says of its section.
    async fn validate(&mut self, section: &Plugin, generation: Arc<Generation>) -> Option<Arc<Generation>> {
        match generation.validate(&self.around).await {
            Ok(findings) => {
                let is_sound = !findings.iter().any(|finding| finding.severity == Severity::Error);
                for finding in findings {
                    let place = section.places.place(&finding.key, finding.line, finding.column);
                    self.report.add(finding.severity, place, finding.message, finding.cure);
                }
                is_sound.then_some(generation)
            }
            Err(fault) => {
                self.report.error(
                    section.places.section(),
                    format!("`{}` could not check its section: {fault}", section.name),
                    "tell the plugin's author",
                );
                None
            }
        }
    }
}

fn section_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Connector => "channel",
        Kind::Analyzer => "analyzer",
        Kind::Rule => "rule",
    }
}

fn prepared_channel(config: &Config, channel: &Channel, generation: Arc<Generation>) -> PreparedChannel {
    let manifest = generation.manifest();
    let methods = manifest.wants.ingress.as_ref().map(|ingress| ingress.methods.clone()).unwrap_or_default();
    let hook = hooks::verifier(config, channel, manifest)
        .map(|verifier| Arc::new(Hook { channel: ChannelName::from(channel.plugin.name.as_str()), verifier, methods }));
    let class = manifest.send_class().map(|class| match class {
        "D" => SendClass::ClientId,
        "K" => SendClass::Key(manifest.key_window()),
        "R" => SendClass::ReadBack,
        _ => SendClass::None,
    });
    // Rules are shown what holds for this section.
    let (terms, mut capabilities) = (generation.reply_terms(), manifest.capabilities.clone());
    if let (Some(max), Some(reply)) = (terms.max_len, capabilities.get_mut("reply").and_then(serde_json::Value::as_object_mut)) {
        reply.insert("max_len".to_owned(), max.into());
    }
    PreparedChannel {
        name: channel.plugin.name.clone(),
        network: network_of(manifest, &channel.plugin.name),
        pace: manifest.polls().then_some(channel.poll),
        state_quota: manifest.state_quota(),
        capabilities: serde_json::Value::Object(capabilities).to_string().into(),
        terms: Arc::new(terms),
        class,
        hook,
        media: None,
        plugin: Arc::clone(&generation),
    }
}

/// What identities belong to: the network, or the channel alone where its ids mean nothing outside it.
fn network_of(manifest: &Manifest, channel: &str) -> String {
    let network = manifest.network.as_deref().unwrap_or_default();
    match manifest.capabilities.get("identity_scope").and_then(|scope| scope.as_str()) {
        Some("channel") => format!("{network}/{channel}"),
        _ => network.to_owned(),
    }
}

/// What surfaces show of a configuration; with builds where it is loaded.
pub fn sections_of(config: &Config, prepared: Option<&Prepared>) -> Sections {
    let section = |plugin: &Plugin| {
        let generation = prepared.and_then(|prepared| prepared.generation(&plugin.name));
        Section {
            name: plugin.name.clone(),
            plugin: plugin.plugin.clone(),
            digest: generation.map(|generation| generation.digest()),
            generation: generation.map(Arc::downgrade).unwrap_or_default(),
            hook: None,
            budget: None,
        }
    };
    let hook = |channel: &Channel| channel.ingress.is_some().then(|| hooks::url_of(&config.host, &channel.plugin.name));
    let budget = |channel: &Channel| (channel.plugin.budget != Budget::default()).then(|| (channel.plugin.budget, doors::budgets(&config.host.data)));
    let channel = |channel: &Channel| Section { hook: hook(channel), budget: budget(channel), ..section(&channel.plugin) };
    Sections {
        channels: config.channels.iter().map(channel).collect(),
        analyzers: config.analyzers.iter().map(|analyzer| section(&analyzer.plugin)).collect(),
        rules: config.rules.iter().map(|rule| section(&rule.plugin)).collect(),
        teams: config.teams.clone(),
        sinks: config.sinks.iter().map(|sink| sink.name.clone()).collect(),
    }
}
