//! From tables to checked values: names, references, grants, secrets. Goes on after each mistake.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Map, Value as Json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::places::{Lines, Places};
use super::secret::Secret;
use super::shape::{Reading, Table, nearest, what};
use super::{Analyzer, Channel, Config, Grant, Host, Limits, Place, Plugin, Report, Rule, Sink};

/// Units: bytes.
const FILE_MAX: u64 = 1 << 20;
const EVENTS: [&str; 10] = [
    "*",
    "interaction.received",
    "interaction.edited",
    "interaction.gone",
    "task.opened",
    "task.changed",
    "task.done",
    "task.escalated",
    "action.sent",
    "action.failed",
];
const SCHEMES: [&str; 2] = ["standard-webhooks", "none"];

/// Looks up an environment variable.
type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

struct Checker<'r> {
    reading: Reading<'r>,
    dir: PathBuf,
    env: Env<'r>,
    /// Names of channels, analyzers and rules, with where they stand.
    names: BTreeMap<String, Place>,
}

/// Everything that the file says; `None` where it is no TOML at all.
pub(super) fn config(file: &Path, text: &str, env: Env<'_>, report: &mut Report) -> Option<Config> {
    let lines = Lines::new(file, text);
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let place = lines.place(&error.span().unwrap_or(0..0));
            report.error(place, error.message().to_owned(), "see https://toml.io for how TOML is written");
            return None;
        }
    };
    let dir = file.parent().map(Path::to_owned).unwrap_or_default();
    let mut checker = Checker { reading: Reading { lines: &lines, report }, dir, env, names: BTreeMap::new() };
    let place = Place { file: file.to_owned(), line: 1, column: 1 };
    let mut table = Table::new("membrana.toml", root.get_ref(), place);
    let host = checker.host(table.value("host"));
    let channels = checker.sections(table.value("channel"), "[[channel]]", Checker::channel);
    let analyzers = checker.sections(table.value("analyzer"), "[[analyzer]]", Checker::analyzer);
    let rules = checker.sections(table.value("rule"), "[[rule]]", Checker::rule);
    let teams = checker.sections(table.value("team"), "[[team]]", Checker::team);
    let sinks = checker.sections(table.value("sink"), "[[sink]]", Checker::sink);
    table.finish(&mut checker.reading);
    checker.references(&channels, &analyzers);
    let mut seen_sinks: Vec<&str> = Vec::new();
    for sink in &sinks {
        if seen_sinks.contains(&sink.name.as_str()) {
            checker.reading.report.error(Place::file(file), format!("two sinks are named `{}`", sink.name), "give each its own name");
        }
        seen_sinks.push(&sink.name);
    }
    report.sort();
    Some(Config { file: file.to_owned(), host: host?, channels, analyzers, rules, teams, sinks })
}

impl Checker<'_> {
    fn host(&mut self, value: Option<&Spanned<DeValue<'_>>>) -> Option<Host> {
        let empty = DeTable::default();
        let (table, place) = match value.map(|v| (v.get_ref(), self.reading.lines.place(&v.span()))) {
            Some((DeValue::Table(table), place)) => (table, place),
            Some((other, place)) => {
                self.reading.report.error(place, format!("`host` is {}, not a table", what(other)), "write [host] and its keys below");
                return None;
            }
            None => (&empty, self.reading.lines.place(&(0..0))),
        };
        let mut table = Table::new("[host]", table, place);
        let data = self.path(&mut table, "data", "data");
        let plugins = self.path(&mut table, "plugins", "plugins");
        let listen = self.address(&mut table, "listen").or_else(|| "127.0.0.1:7700".parse().ok());
        let hooks_listen = self.address(&mut table, "hooks_listen");
        let public_url = table.text(&mut self.reading, "public_url").map(|url| self.url(url));
        let mut ca_pem = Vec::new();
        for name in table.texts(&mut self.reading, "ca_files") {
            ca_pem.extend(self.file(&name.span(), name.get_ref()).map(|(text, _)| text.into_bytes()));
        }
        let admin_token = table.value("admin_token").and_then(|value| self.secrets_of("admin_token", value).into_iter().next());
        let raw_keep = table.duration(&mut self.reading, "raw_keep", Duration::from_secs(72 * 3600));
        let listen = listen?;
        if !listen.ip().is_loopback() && admin_token.is_none() {
            let place = table.value("listen").map_or_else(|| self.reading.lines.place(&(0..0)), |value| self.reading.lines.place(&value.span()));
            self.reading.report.error(
                place,
                format!("`listen` is {listen}, which others can reach, and there is no `admin_token`"),
                "add admin_token = { env = \"MEMBRANA_ADMIN_TOKEN\" } to [host], or listen on 127.0.0.1",
            );
        }
        table.finish(&mut self.reading);
        Some(Host { data, listen, hooks_listen, public_url, plugins, ca_pem, admin_token, raw_keep })
    }

    fn path(&mut self, table: &mut Table<'_, '_>, key: &'static str, default: &str) -> PathBuf {
        let text = table.text(&mut self.reading, key).map_or_else(|| default.to_owned(), Spanned::into_inner);
        self.dir.join(text)
    }

    fn address(&mut self, table: &mut Table<'_, '_>, key: &'static str) -> Option<SocketAddr> {
        let text = table.text(&mut self.reading, key)?;
        text.get_ref()
            .parse()
            .map_err(|_| {
                self.reading.error(
                    &text.span(),
                    format!("`{key}` is \"{}\", not an address", text.get_ref()),
                    format!("write {key} = \"127.0.0.1:7700\""),
                )
            })
            .ok()
    }

    fn url(&mut self, text: Spanned<String>) -> String {
        if !url::Url::parse(text.get_ref()).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            self.reading.error(&text.span(), format!("\"{}\" is not a URL", text.get_ref()), "write https://host/path");
        }
        text.into_inner()
    }

    /// Reads each table of an array of tables.
    fn sections<T>(
        &mut self,
        value: Option<&Spanned<DeValue<'_>>>,
        name: &'static str,
        read: impl Fn(&mut Self, &mut Table<'_, '_>, Place) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = value else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.reading.error(&value.span(), format!("{name} is {}", what(value.get_ref())), format!("write {name} with two brackets"));
            return Vec::new();
        };
        let mut all = Vec::new();
        for item in items {
            let DeValue::Table(table) = item.get_ref() else {
                self.reading.error(&item.span(), format!("{name} holds {}", what(item.get_ref())), format!("write {name} and its keys below"));
                continue;
            };
            let place = self.reading.lines.place(&item.span());
            let mut table = Table::new(name, table, place.clone());
            all.extend(read(self, &mut table, place));
            table.finish(&mut self.reading);
        }
        all
    }

    fn channel(&mut self, table: &mut Table<'_, '_>, place: Place) -> Option<Channel> {
        let plugin = self.plugin(table, place);
        let poll = table.duration(&mut self.reading, "poll", Duration::from_secs(60));
        if poll < Duration::from_secs(1) {
            let place = self.reading.lines.place(&table.value("poll").map_or(0..0, Spanned::span));
            self.reading.report.error(place, format!("`poll` is {} ms", poll.as_millis()), "poll at most once a second: poll = \"1s\"");
        }
        let verify = self.ingress(table, plugin.as_ref());
        Some(Channel { plugin: plugin?, poll, verify })
    }

    fn ingress(&mut self, table: &mut Table<'_, '_>, plugin: Option<&Plugin>) -> Option<String> {
        let value = table.value("ingress")?;
        let DeValue::Table(inner) = value.get_ref() else {
            self.reading.error(
                &value.span(),
                format!("`ingress` is {}", what(value.get_ref())),
                "write ingress = { verify = \"standard-webhooks\" }",
            );
            return None;
        };
        let mut inner = Table::new("ingress", inner, self.reading.lines.place(&value.span()));
        let verify = inner.required(&mut self.reading, "verify", "write verify = \"standard-webhooks\"; \"none\" lets everybody in");
        inner.finish(&mut self.reading);
        let verify = verify?;
        if !SCHEMES.contains(&verify.get_ref().as_str()) {
            let cure = nearest(verify.get_ref(), &SCHEMES)
                .map_or_else(|| format!("schemes: {}", SCHEMES.join(", ")), |near| format!("did you mean \"{near}\"?"));
            self.reading.error(&verify.span(), format!("there is no scheme \"{}\"", verify.get_ref()), cure);
            return None;
        }
        if verify.get_ref() == "none" {
            let place = self.reading.lines.place(&verify.span());
            self.reading.report.warning(
                place,
                "webhooks of this channel are believed without a signature",
                "use \"standard-webhooks\" where the sender can sign",
            );
        } else if plugin.is_some_and(|plugin| !plugin.secrets.contains_key("webhook")) {
            let place = self.reading.lines.place(&verify.span());
            self.reading.report.error(
                place,
                "there is no secret to verify webhooks with",
                "add secrets = { webhook = { env = \"WEBHOOK_SECRET\" } }",
            );
        }
        Some(verify.into_inner())
    }

    fn analyzer(&mut self, table: &mut Table<'_, '_>, place: Place) -> Option<Analyzer> {
        let plugin = self.plugin(table, place);
        let texts = |list: Vec<Spanned<String>>| list.into_iter().map(Spanned::into_inner).collect();
        let channels = texts(table.texts(&mut self.reading, "channels"));
        let after = texts(table.texts(&mut self.reading, "after"));
        let wait = table.duration(&mut self.reading, "wait", Duration::from_secs(10));
        Some(Analyzer { plugin: plugin?, channels, after, wait })
    }

    fn rule(&mut self, table: &mut Table<'_, '_>, place: Place) -> Option<Rule> {
        self.plugin(table, place).map(|plugin| Rule { plugin })
    }

    fn team(&mut self, table: &mut Table<'_, '_>, _place: Place) -> Option<String> {
        let name = table.required(&mut self.reading, "name", "write name = \"support\"")?;
        self.name_shape(&name);
        Some(name.into_inner())
    }

    fn sink(&mut self, table: &mut Table<'_, '_>, _place: Place) -> Option<Sink> {
        let name = table.required(&mut self.reading, "name", "write name = \"crm\"");
        let url = table.required(&mut self.reading, "url", "write url = \"https://crm.example.org/hooks\"").map(|url| self.url(url));
        let secrets = table.value("secret").map(|value| (self.secrets_of("secret", value), value.span()));
        if secrets.is_none() {
            self.reading.report.error(
                self.reading.lines.place(&name.as_ref().map_or(0..0, Spanned::span)),
                "a sink needs a `secret` to sign with",
                "add secret = { env = \"CRM_SECRET\" }, holding whsec_ and base64",
            );
        }
        let (secrets, span) = secrets.unwrap_or_default();
        for secret in &secrets {
            let decoded = secret.expose().strip_prefix("whsec_").and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
            if !decoded.is_some_and(|bytes| (24..=64).contains(&bytes.len())) {
                self.reading.error(
                    &span,
                    "the secret is not `whsec_` and base64 of 24 to 64 bytes",
                    "make one: echo whsec_$(openssl rand -base64 32)",
                );
            }
        }
        let private = self.ranges(table, "private");
        let mut events: Vec<String> = Vec::new();
        for event in table.texts(&mut self.reading, "events") {
            if !EVENTS.contains(&event.get_ref().as_str()) {
                let cure = nearest(event.get_ref(), &EVENTS)
                    .map_or_else(|| format!("events: {}", EVENTS.join(", ")), |near| format!("did you mean \"{near}\"?"));
                self.reading.error(&event.span(), format!("there is no event \"{}\"", event.get_ref()), cure);
            }
            events.push(event.into_inner());
        }
        if events.is_empty() {
            events.push("*".to_owned());
        }
        Some(Sink { name: name?.into_inner(), url: url?, secrets, private, events })
    }

    fn ranges(&mut self, table: &mut Table<'_, '_>, key: &'static str) -> Vec<String> {
        let mut ranges = Vec::new();
        for range in table.texts(&mut self.reading, key) {
            if let Err(error) = crate::egress::Cidr::parse(range.get_ref()) {
                self.reading.error(&range.span(), format!("\"{}\" is no range of addresses", range.get_ref()), error.cure);
            }
            ranges.push(range.into_inner());
        }
        ranges
    }

    /// What channels, analyzers and rules have in common.
    fn plugin(&mut self, table: &mut Table<'_, '_>, place: Place) -> Option<Plugin> {
        let name = table.required(&mut self.reading, "name", "write name = \"support-mail\"");
        let plugin = table.required(&mut self.reading, "plugin", "write plugin = \"mail\", or the path of a .wasm file");
        if let Some(name) = &name {
            self.name_shape(name);
            let here = self.reading.lines.place(&name.span());
            if let Some(first) = self.names.insert(name.get_ref().clone(), here) {
                self.reading.error(
                    &name.span(),
                    format!("the name `{}` is taken ({first})", name.get_ref()),
                    "names are unique over channels, analyzers and rules",
                );
            }
        }
        let mut places = Places::new(place);
        let config = match table.value("config").map(|value| (value.get_ref(), value.span())) {
            Some((DeValue::Table(inner), _)) => {
                places.collect("", inner, self.reading.lines);
                self.own_config(inner, &mut places)
            }
            Some((other, span)) => {
                self.reading.error(&span, format!("`config` is {}, not a table", what(other)), "write config = { key = \"value\" }");
                Json::Object(Map::new())
            }
            None => Json::Object(Map::new()),
        };
        let secrets = self.secrets(table.value("secrets"));
        let grant = self.grant(table.value("grant"));
        let limits = self.limits(table.value("limits"));
        Some(Plugin { name: name?.into_inner(), plugin: self.plugin_path(plugin?), config, secrets, grant, limits, places })
    }

    fn plugin_path(&self, plugin: Spanned<String>) -> String {
        let text = plugin.into_inner();
        if text.ends_with(".wasm") { self.dir.join(text).display().to_string() } else { text }
    }

    fn name_shape(&mut self, name: &Spanned<String>) {
        let text = name.get_ref();
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > 32 || text.starts_with('-') || !text.chars().all(is_word) {
            self.reading.error(&name.span(), format!("\"{text}\" is no name"), "use 1 to 32 of a-z, 0-9 and `-`, beginning with a letter or digit");
        }
    }

    /// As JSON; `x_file` becomes `x` with the file's text.
    fn own_config(&mut self, table: &DeTable<'_>, places: &mut Places) -> Json {
        let mut config = Map::new();
        for (key, value) in table {
            match (key.get_ref().strip_suffix("_file"), value.get_ref()) {
                (Some(short), DeValue::String(name)) => {
                    if let Some((text, path)) = self.file(&value.span(), name) {
                        config.insert(short.to_owned(), Json::from(text));
                        places.name_file(key.get_ref(), path.clone());
                        places.name_file(short, path);
                    }
                }
                (_, value) => {
                    config.insert(key.get_ref().to_string(), json(value));
                }
            }
        }
        Json::Object(config)
    }

    fn file(&mut self, span: &Range<usize>, name: &str) -> Option<(String, PathBuf)> {
        let path = self.dir.join(name);
        let size = std::fs::metadata(&path).map(|meta| meta.len()).unwrap_or(0);
        if size > FILE_MAX {
            self.reading.error(span, format!("`{name}` has {size} bytes"), format!("a file may have {FILE_MAX} bytes at most"));
            return None;
        }
        match std::fs::read_to_string(&path) {
            Ok(text) => Some((text, path)),
            Err(error) => {
                self.reading.error(span, format!("cannot read `{}`: {error}", path.display()), "paths are relative to the folder of membrana.toml");
                None
            }
        }
    }

    fn secrets(&mut self, value: Option<&Spanned<DeValue<'_>>>) -> BTreeMap<String, Vec<Secret>> {
        let Some(value) = value else { return BTreeMap::new() };
        let DeValue::Table(table) = value.get_ref() else {
            self.reading.error(&value.span(), format!("`secrets` is {}", what(value.get_ref())), "write secrets = { token = { env = \"NAME\" } }");
            return BTreeMap::new();
        };
        table.iter().map(|(key, value)| (key.get_ref().to_string(), self.secrets_of(key.get_ref(), value))).collect()
    }

    /// `{ env = "NAME" }`, `{ file = "path" }`, or a list of them.
    fn secrets_of(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Vec<Secret> {
        match value.get_ref() {
            DeValue::Array(items) => items.iter().filter_map(|item| self.secret(key, item)).collect(),
            _ => self.secret(key, value).into_iter().collect(),
        }
    }

    fn secret(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Secret> {
        let DeValue::Table(table) = value.get_ref() else {
            self.reading.error(
                &value.span(),
                format!("the secret `{key}` is written out here"),
                format!("keep it outside: {key} = {{ env = \"NAME\" }} or {key} = {{ file = \"path\" }}"),
            );
            return None;
        };
        let mut table = Table::new("a secret", table, self.reading.lines.place(&value.span()));
        let (env, file) = (table.text(&mut self.reading, "env"), table.text(&mut self.reading, "file"));
        table.finish(&mut self.reading);
        match (env, file) {
            (Some(name), None) => {
                let found = (self.env)(name.get_ref()).filter(|text| !text.is_empty());
                if found.is_none() {
                    self.reading.error(
                        &name.span(),
                        format!("the environment variable {} is not set", name.get_ref()),
                        format!("export {}=… before starting membrana", name.get_ref()),
                    );
                }
                found.map(|text| Secret::new(&text))
            }
            (None, Some(name)) => self.file(&name.span(), name.get_ref()).map(|(text, _)| Secret::new(&text)),
            _ => {
                self.reading.error(
                    &value.span(),
                    format!("the secret `{key}` says neither or both of `env` and `file`"),
                    format!("write {key} = {{ env = \"NAME\" }}"),
                );
                None
            }
        }
    }

    fn grant(&mut self, value: Option<&Spanned<DeValue<'_>>>) -> Grant {
        let Some(value) = value else { return Grant::default() };
        let DeValue::Table(table) = value.get_ref() else {
            self.reading.error(&value.span(), format!("`grant` is {}", what(value.get_ref())), "write grant = { http = [\"https://host\"] }");
            return Grant::default();
        };
        let mut table = Table::new("grant", table, self.reading.lines.place(&value.span()));
        let (mut http, mut net) = (Vec::new(), Vec::new());
        for text in table.texts(&mut self.reading, "http") {
            if let Err(error) = crate::egress::HttpGrant::parse(text.get_ref()) {
                self.reading.error(&text.span(), format!("\"{}\" cannot be granted", text.get_ref()), error.cure);
            }
            http.push(text.into_inner());
        }
        for text in table.texts(&mut self.reading, "net") {
            if let Err(error) = crate::egress::HostPort::parse(text.get_ref()) {
                self.reading.error(&text.span(), format!("\"{}\" cannot be granted", text.get_ref()), error.cure);
            }
            net.push(text.into_inner());
        }
        let private = self.ranges(&mut table, "private");
        let grant = Grant {
            http,
            net,
            private,
            personal_data: table.flag(&mut self.reading, "personal_data"),
            attachments: table.flag(&mut self.reading, "attachments"),
        };
        table.finish(&mut self.reading);
        grant
    }

    fn limits(&mut self, value: Option<&Spanned<DeValue<'_>>>) -> Limits {
        let Some(value) = value else { return Limits::default() };
        let DeValue::Table(table) = value.get_ref() else {
            self.reading.error(
                &value.span(),
                format!("`limits` is {}", what(value.get_ref())),
                "write limits = { memory_bytes = 67108864, cpu_ms = 1000, wall_ms = 30000 }",
            );
            return Limits::default();
        };
        let mut table = Table::new("limits", table, self.reading.lines.place(&value.span()));
        let limits = Limits {
            memory_bytes: table.number(&mut self.reading, "memory_bytes").and_then(|n| usize::try_from(n).ok()),
            cpu_ms: table.number(&mut self.reading, "cpu_ms"),
            wall_ms: table.number(&mut self.reading, "wall_ms"),
        };
        table.finish(&mut self.reading);
        limits
    }

    /// Names that sections say of each other.
    fn references(&mut self, channels: &[Channel], analyzers: &[Analyzer]) {
        let channel_names: Vec<&str> = channels.iter().map(|channel| channel.plugin.name.as_str()).collect();
        let analyzer_names: Vec<&str> = analyzers.iter().map(|analyzer| analyzer.plugin.name.as_str()).collect();
        for analyzer in analyzers {
            let place = analyzer.plugin.places.section();
            let lists = [("channels", "channel", &analyzer.channels, &channel_names), ("after", "analyzer", &analyzer.after, &analyzer_names)];
            for (key, kind, named, known) in lists {
                for name in named.iter().filter(|name| !known.contains(&name.as_str())) {
                    let cure =
                        nearest(name, known).map_or_else(|| format!("there are: {}", known.join(", ")), |near| format!("did you mean \"{near}\"?"));
                    self.reading.report.error(
                        place.clone(),
                        format!("`{key}` of analyzer `{}` names the {kind} \"{name}\", which does not exist", analyzer.plugin.name),
                        cure,
                    );
                }
            }
        }
        if let Some(name) = cycle(analyzers) {
            let place = self.names.get(&name).cloned().unwrap_or_else(|| self.reading.lines.place(&(0..0)));
            self.reading.report.error(place, format!("analyzer `{name}` comes `after` itself"), "break the circle of `after`");
        }
    }
}

/// An analyzer that waits for itself, if there is one.
fn cycle(analyzers: &[Analyzer]) -> Option<String> {
    let after = |name: &str| analyzers.iter().find(|a| a.plugin.name == name).map(|a| a.after.as_slice()).unwrap_or_default();
    analyzers
        .iter()
        .map(|a| &a.plugin.name)
        .find(|start| {
            let (mut seen, mut open): (Vec<&str>, Vec<&String>) = (Vec::new(), after(start).iter().collect());
            while let Some(name) = open.pop() {
                if name == *start {
                    return true;
                }
                if !seen.contains(&name.as_str()) {
                    seen.push(name);
                    open.extend(after(name));
                }
            }
            false
        })
        .cloned()
}

fn json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => Json::from(text.as_ref()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).map_or(Json::Null, Json::from),
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Json::Null, Json::from),
        DeValue::Boolean(flag) => Json::from(*flag),
        DeValue::Datetime(date) => Json::from(date.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => Json::Object(table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref()))).collect()),
    }
}
