//! From tables to checked values: names, references, grants, secrets. Goes on after each mistake.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value as Json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::places::{Lines, Places};
use super::shape::{Reading, Table, integer, nearest, what};
use super::{Analyzer, Channel, Config, Grant, Host, Limits, Place, Plugin, Report, Rule, Secret};
use crate::egress::Budget;
use crate::model::{Role, shown};

mod ingress;
mod media;
mod secrets;
mod sink;

/// Units: bytes.
const FILE_MAX: u64 = 1 << 20;
/// Where the host listens by itself.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7700);

/// Looks up an environment variable.
type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

struct Checker<'r> {
    reading: Reading<'r>,
    dir: PathBuf,
    env: Env<'r>,
    /// Names of channels, analyzers and rules, with where they stand.
    names: BTreeMap<String, Place>,
    /// Files that it names, as far as they were asked for.
    files: Vec<PathBuf>,
    broken: Broken,
}

/// Where the file is no TOML, and where its sections begin. Shape: both ascending; bytes.
struct Broken {
    at: Vec<usize>,
    starts: Vec<usize>,
}

impl Broken {
    /// Says whether a mistake of the file's form lies in the section that begins at `start`.
    fn touches(&self, start: usize) -> bool {
        let end = self.starts.iter().find(|next| **next > start).copied().unwrap_or(usize::MAX);
        self.at.iter().any(|at| (start..end).contains(at))
    }
}

/// Everything that the file says, as far as it can be read.
pub(super) fn config(file: &Path, text: &str, env: Env<'_>, report: &mut Report) -> Config {
    let lines = Lines::new(file, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    let broken = broken(&errors, root.get_ref(), &lines, report);
    let n_broken = report.findings.len();
    let dir = file.parent().map(Path::to_owned).unwrap_or_default();
    let mut checker = Checker { reading: Reading { lines: &lines, report }, dir, env, names: BTreeMap::new(), files: Vec::new(), broken };
    let place = Place { file: file.to_owned(), line: 1, column: 1 };
    let mut table = Table::new("membrana.toml", root.get_ref(), place);
    let host_value = table.value("host");
    let mut host = checker.host(host_value);
    let channels = checker.sections(table.value("channel"), "[[channel]]", Checker::channel);
    let analyzers = checker.sections(table.value("analyzer"), "[[analyzer]]", Checker::analyzer);
    let rules = checker.sections(table.value("rule"), "[[rule]]", Checker::rule);
    let teams = checker.sections(table.value("team"), "[[team]]", Checker::team);
    let teams = checker.once("teams", teams);
    let sinks = checker.sections(table.value("sink"), "[[sink]]", Checker::sink);
    let sinks = checker.sinks(sinks);
    let n_before = checker.reading.report.findings.len();
    table.finish(&mut checker.reading);
    // An unknown table may be a mistyped [host].
    host.is_sound &= host_value.is_some() || checker.reading.report.findings.len() == n_before;
    checker.references(&channels, &analyzers);
    let files = checker.files;
    // What else a broken line seems to say follows from its being broken.
    let broken_lines: Vec<u32> = report.findings.iter().take(n_broken).map(|finding| finding.place.line).collect();
    let mut n_seen = 0;
    report.findings.retain(|finding| {
        n_seen += 1;
        n_seen <= n_broken || finding.place.file != file || !broken_lines.contains(&finding.place.line)
    });
    report.sort();
    Config { file: file.to_owned(), files, host, channels, analyzers, rules, teams, sinks }
}

/// Tells what is no TOML, one mistake a line: the rest of a broken line follows from its first.
fn broken(errors: &[toml::de::Error], root: &DeTable<'_>, lines: &Lines, report: &mut Report) -> Broken {
    let mut at: Vec<usize> = Vec::new();
    let mut seen = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let place = lines.place(&span);
        at.push(span.start);
        if !seen.contains(&place.line) {
            seen.push(place.line);
            report.error(place, error.message().to_owned(), "see https://toml.io for how TOML is written");
        }
    }
    let mut starts: Vec<usize> = Vec::new();
    for value in root.values() {
        match value.get_ref() {
            DeValue::Table(_) => starts.push(value.span().start),
            DeValue::Array(items) => starts.extend(items.iter().map(|item| item.span().start)),
            _ => {}
        }
    }
    starts.sort_unstable();
    Broken { at, starts }
}

impl Checker<'_> {
    fn host(&mut self, value: Option<&Spanned<DeValue<'_>>>) -> Host {
        let empty = DeTable::default();
        let span = value.map_or(0..0, Spanned::span);
        let place = self.reading.lines.place(&span);
        let (table, is_table) = match value.map(Spanned::get_ref) {
            Some(DeValue::Table(table)) => (table, true),
            Some(other) => {
                self.reading.report.error(place.clone(), format!("`host` is {}, not a table", what(other)), "write [host] and its keys below");
                (&empty, false)
            }
            None => (&empty, true),
        };
        let mut places = Places::new(place.clone());
        places.collect("", table, self.reading.lines);
        let mut table = Table::new("[host]", table, place).broken(self.broken.touches(span.start));
        let mut is_sound = is_table && !table.is_broken();
        let n_before = self.reading.report.findings.len();
        let data = self.path(&mut table, "data", "data");
        let listen = self.address(&mut table, "listen").unwrap_or(LISTEN);
        is_sound &= self.reading.report.findings.len() == n_before;
        let plugins = self.path(&mut table, "plugins", "plugins");
        let hooks_listen = self.address(&mut table, "hooks_listen");
        let public_url = table.text(&mut self.reading, "public_url").map(|url| self.public_url(url));
        let ca_pem = self.trust_roots(&mut table);
        let (has_admin, tokens) = self.tokens(&mut table, &places);
        let raw_keep = table.duration(&mut self.reading, "raw_keep", Duration::from_secs(72 * 3600));
        let dead_keep = table.duration(&mut self.reading, "dead_keep", Duration::from_secs(90 * 24 * 3600));
        if !listen.ip().is_loopback() && !has_admin {
            self.reading.report.error(
                places.place("listen", 0, 0),
                format!("`listen` is {listen}, which others can reach, and there is no `admin_token`"),
                "add admin_token = { env = \"MEMBRANA_ADMIN_TOKEN\" } to [host], or listen on 127.0.0.1",
            );
        }
        if is_sound && let Some(hooks) = hooks_listen.filter(|hooks| is_taken(listen, *hooks)) {
            self.reading.report.error(
                places.place("hooks_listen", 0, 0),
                format!("`hooks_listen` is {hooks}, where `listen` is {listen}: the port is taken"),
                "give webhooks a port of their own, or leave `hooks_listen` out: they then come in on `listen`",
            );
        }
        let n_before = self.reading.report.findings.len();
        table.finish(&mut self.reading);
        // An unknown key may be a mistyped `data`.
        is_sound &= self.reading.report.findings.len() == n_before;
        Host { is_sound, places, data, listen, hooks_listen, public_url, plugins, ca_pem, tokens, raw_keep, dead_keep }
    }

    /// Whether an admin's token is named at all; and all there are.
    fn tokens(&mut self, table: &mut Table<'_, '_>, places: &Places) -> (bool, Vec<(Role, Secret)>) {
        let (mut named, mut tokens) = (Vec::new(), Vec::<(Role, Secret)>::new());
        for role in Role::ALL {
            let key = role.token_key();
            let Some(value) = table.value(key) else { continue };
            for token in self.secrets_of(key, value) {
                if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
                    let cure = "write letters, digits and signs of ASCII alone, as `openssl rand -hex 32` does";
                    self.reading.error(&value.span(), format!("`{key}` holds blanks or signs that no header can carry"), cure);
                    continue;
                }
                let like = tokens.iter().find(|(other, known)| *other != role && known.expose() == token.expose());
                if let Some((other, _)) = like {
                    let message = format!("`{key}` is the same as `{}`", other.token_key());
                    self.reading.error(&value.span(), message, format!("give each role a token of its own: who shows this one is {}", other.word()));
                }
                tokens.push((role, token));
            }
            named.push(role);
        }
        let has_admin = named.contains(&Role::Admin);
        if let (false, Some(role)) = (has_admin, named.first()) {
            self.reading.report.error(
                places.place(role.token_key(), 0, 0),
                format!("there is a `{}` and no `admin_token`, so that nobody could give an admin's orders", role.token_key()),
                "add admin_token = { env = \"MEMBRANA_ADMIN_TOKEN\" } to [host]",
            );
        }
        (has_admin, tokens)
    }

    fn trust_roots(&mut self, table: &mut Table<'_, '_>) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for name in table.texts(&mut self.reading, "ca_files") {
            let Some((text, _)) = self.file(&name.span(), name.get_ref()) else { continue };
            if let Err(error) = crate::egress::check_roots(text.as_bytes()) {
                self.reading.error(&name.span(), format!("`{}`: {error}", name.get_ref()), "name a PEM file with -----BEGIN CERTIFICATE-----");
                continue;
            }
            all.push(text.into_bytes());
        }
        all
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

    /// Paths are put behind it.
    fn public_url(&mut self, text: Spanned<String>) -> String {
        if url::Url::parse(text.get_ref()).is_ok_and(|url| url.query().is_some() || url.fragment().is_some()) {
            let message = format!("`public_url` is \"{}\", behind which no path can stand", text.get_ref());
            self.reading.error(&text.span(), message, "write it without `?` and `#`: https://host/path");
        }
        self.url(text)
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
            let mut table = Table::new(name, table, place.clone()).broken(self.broken.touches(item.span().start));
            all.extend(read(self, &mut table, place));
            table.finish(&mut self.reading);
        }
        all
    }

    fn channel(&mut self, table: &mut Table<'_, '_>, place: Place) -> Option<Channel> {
        let mut plugin = self.plugin(table, place, ("support-mail", "mail"));
        let budget = self.budget(table);
        if let Some(plugin) = &mut plugin {
            plugin.budget = budget;
        }
        let poll = table.duration(&mut self.reading, "poll", Duration::from_secs(60));
        if poll > Duration::ZERO && poll < Duration::from_secs(1) {
            let place = self.reading.lines.place(&table.value("poll").map_or(0..0, Spanned::span));
            self.reading.report.error(place, format!("`poll` is {} ms", poll.as_millis()), "poll at most once a second: poll = \"1s\"");
        }
        let (ingress, media) = (self.ingress(table), self.media(table));
        Some(Channel { plugin: plugin?, poll, ingress, media })
    }

    fn budget(&mut self, table: &mut Table<'_, '_>) -> Budget {
        let Some(value) = table.value("budget") else { return Budget::default() };
        let DeValue::Table(inner) = value.get_ref() else {
            self.reading.error(&value.span(), format!("`budget` is {}", what(value.get_ref())), "write budget = { calls = 10000, money = 5.0 }");
            return Budget::default();
        };
        let mut inner = Table::new("budget", inner, self.reading.lines.place(&value.span()));
        let reading = &mut self.reading;
        let budget = Budget { calls: inner.number(reading, "calls"), units: inner.number(reading, "units"), money: inner.amount(reading, "money") };
        inner.finish(&mut self.reading);
        budget
    }

    fn analyzer(&mut self, table: &mut Table<'_, '_>, place: Place) -> Option<Analyzer> {
        let plugin = self.plugin(table, place, ("mood", "sentiment"));
        let texts = |list: Vec<Spanned<String>>| list.into_iter().map(Spanned::into_inner).collect();
        let channels = texts(table.texts(&mut self.reading, "channels"));
        let after = texts(table.texts(&mut self.reading, "after"));
        let wait = table.duration(&mut self.reading, "wait", Duration::from_secs(10));
        Some(Analyzer { plugin: plugin?, channels, after, wait })
    }

    fn rule(&mut self, table: &mut Table<'_, '_>, place: Place) -> Option<Rule> {
        self.plugin(table, place, ("impact", "impact-table")).map(|plugin| Rule { plugin })
    }

    fn team(&mut self, table: &mut Table<'_, '_>, _place: Place) -> Option<Spanned<String>> {
        let name = table.required(&mut self.reading, "name", "write name = \"support\"")?;
        self.name_shape(&name);
        Some(name)
    }

    /// Each name once; `things` says of what.
    fn once(&mut self, things: &str, names: Vec<Spanned<String>>) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for name in names {
            if all.contains(name.get_ref()) {
                self.reading.error(&name.span(), format!("two {things} are named `{}`", name.get_ref()), "give each its own name, or leave one out");
            } else {
                all.push(name.into_inner());
            }
        }
        all
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

    /// What channels, analyzers and rules have in common. `like`: a name and a plugin, for cures.
    fn plugin(&mut self, table: &mut Table<'_, '_>, place: Place, like: (&str, &str)) -> Option<Plugin> {
        let name = table.required(&mut self.reading, "name", &format!("write name = \"{}\"", like.0));
        let plugin = table.required(&mut self.reading, "plugin", &format!("write plugin = \"{}\", or the path of a .wasm file", like.1));
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
        let (mut places, outer) = (Places::new(place), table.places(self.reading.lines));
        let mut is_whole = !table.is_broken();
        let config = match table.value("config").map(|value| (value.get_ref(), value.span())) {
            Some((DeValue::Table(inner), _)) => {
                places.collect("", inner, self.reading.lines);
                self.own_config(inner, &mut places, &mut is_whole)
            }
            Some((other, span)) => {
                self.reading.error(&span, format!("`config` is {}, not a table", what(other)), "write config = { key = \"value\" }");
                is_whole = false;
                Json::Object(Map::new())
            }
            None => Json::Object(Map::new()),
        };
        let secrets = self.secrets(table.value("secrets"));
        let grant = self.grant(table.value("grant"));
        let limits = self.limits(table.value("limits"));
        // Without a plugin the section still has its name, which others may say; without a name it is judged all the same.
        let name = name.map_or_else(|| plugin.as_ref().map(|plugin| plugin.get_ref().clone()), |name| Some(name.into_inner()))?;
        let plugin = plugin.map(|plugin| self.plugin_path(plugin)).unwrap_or_default();
        Some(Plugin { name, plugin, config, is_whole, secrets, grant, limits, budget: Budget::default(), places, outer })
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
    fn own_config(&mut self, table: &DeTable<'_>, places: &mut Places, is_whole: &mut bool) -> Json {
        let mut config = Map::new();
        for (key, value) in table {
            match (key.get_ref().strip_suffix("_file"), value.get_ref()) {
                (Some(short), DeValue::String(_)) if table.contains_key(short) => {
                    *is_whole = false;
                    self.reading.error(&key.span(), format!("there are both `{short}` and `{}`", key.get_ref()), "leave one of them out");
                }
                (Some(short), DeValue::String(name)) => match self.file(&value.span(), name) {
                    Some((text, path)) => {
                        config.insert(short.to_owned(), Json::from(text));
                        places.name_file(key.get_ref(), path.clone());
                        places.name_file(short, path);
                        places.rename(short, key.get_ref());
                    }
                    None => *is_whole = false,
                },
                (_, value) => {
                    config.insert(key.get_ref().to_string(), json(value));
                }
            }
        }
        Json::Object(config)
    }

    fn file(&mut self, span: &Range<usize>, name: &str) -> Option<(String, PathBuf)> {
        let path = self.dir.join(name);
        self.files.push(path.clone());
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
                "write limits = { memory_bytes = 67108864, cpu_ms = 1000, wall_ms = 30000, compile_memory_bytes = 805306368, compile_cpu_ms = 30000 }",
            );
            return Limits::default();
        };
        let mut table = Table::new("limits", table, self.reading.lines.place(&value.span()));
        let limits = Limits {
            memory_bytes: table.number(&mut self.reading, "memory_bytes").and_then(|n| usize::try_from(n).ok()),
            cpu_ms: table.number(&mut self.reading, "cpu_ms"),
            wall_ms: table.number(&mut self.reading, "wall_ms"),
            compile_memory_bytes: table.number(&mut self.reading, "compile_memory_bytes"),
            compile_cpu_ms: table.number(&mut self.reading, "compile_cpu_ms"),
        };
        table.finish(&mut self.reading);
        limits
    }

    /// Names that sections say of each other.
    fn references(&mut self, channels: &[Channel], analyzers: &[Analyzer]) {
        let channel_names: Vec<&str> = channels.iter().map(|channel| channel.plugin.name.as_str()).collect();
        let analyzer_names: Vec<&str> = analyzers.iter().map(|analyzer| analyzer.plugin.name.as_str()).collect();
        for analyzer in analyzers {
            let lists = [("channels", "channel", &analyzer.channels, &channel_names), ("after", "analyzer", &analyzer.after, &analyzer_names)];
            for (key, kind, named, known) in lists {
                for (n, name) in named.iter().enumerate().filter(|(_, name)| !known.contains(&name.as_str())) {
                    let place = analyzer.plugin.outer.place(&format!("{key}[{n}]"), 0, 0);
                    let cure = nearest(name, known).map_or_else(|| shown::there_are(known), |near| format!("did you mean \"{near}\"?"));
                    self.reading.report.error(
                        place,
                        format!("`{key}` of analyzer `{}` names the {kind} \"{name}\", which does not exist", analyzer.plugin.name),
                        cure,
                    );
                }
            }
        }
        if let Some(first) = analyzers.get(ANALYZERS_MAX) {
            let message = format!("there are {} analyzers, of at most {ANALYZERS_MAX}", analyzers.len());
            self.reading.report.error(first.plugin.places.section(), message, "leave out those that no rule needs");
        }
        if let Some(name) = cycle(analyzers) {
            let place = self.names.get(&name).cloned().unwrap_or_else(|| self.reading.lines.place(&(0..0)));
            self.reading.report.error(place, format!("analyzer `{name}` comes `after` itself"), "break the circle of `after`");
        }
    }
}

/// Says whether who listens on `one` leaves no room for `other`: its port, on this address or on all of the machine's.
fn is_taken(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |all: SocketAddr, one: SocketAddr| all.ip().is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    one.port() == other.port() && one.port() != 0 && (one.ip() == other.ip() || covers(one, other) || covers(other, one))
}

/// Their places in the store are single bytes.
const ANALYZERS_MAX: usize = 255;

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
        DeValue::Integer(number) => integer(number).map_or(Json::Null, Json::from),
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Json::Null, Json::from),
        DeValue::Boolean(flag) => Json::from(*flag),
        DeValue::Datetime(date) => Json::from(date.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => Json::Object(table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref()))).collect()),
    }
}
