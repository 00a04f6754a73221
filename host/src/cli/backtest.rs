//! `membrana backtest`: an analyzer or a rule asked about what is stored, without any effect, and what it says otherwise than was said
//! then. It reads by the API, so it works beside a running host and without one; the plugin runs in this process.

mod stored;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value as Json, json};

use crate::analysis::Analyzer;
use crate::app::{Choice, Kit, One, find, prepare_one, process_env};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::model::{Annotation, Attachment, Fault, shown};
use crate::plugin::{Agreement, AnalyzeBatch, RuleDecision, Verdict, annotations, decided, was_decided};
use crate::rules::Rule;

use super::call::{Caller, Purpose};
use super::outcome::{Failure, aside, put, put_json};
use super::show;
use super::things::with_query;
use stored::Stored;

/// Interactions in one call.
const BATCH: usize = 64;
/// Between two words of how far it is. Units: interactions.
const PROGRESS: usize = 10_000;

/// What the command line takes.
pub(super) struct Wish {
    pub(super) name: String,
    pub(super) candidate: Option<String>,
    pub(super) channel: Option<String>,
    pub(super) since: Option<String>,
    pub(super) limit: Option<usize>,
}

/// Who is asked.
enum Candidate {
    Analyzer(Analyzer),
    Rule(Rule, HashMap<String, Arc<str>>),
}

/// Reads, asks, and tells.
pub(super) async fn run(file: &Path, is_json: bool, wish: Wish) -> Result<(), Failure> {
    let (config, choice) = choose(file, wish.candidate.as_deref())?;
    let kit = Kit::new(&config, Clock::system())?;
    let candidate = load(&config, &kit, &wish.name, choice).await?;
    let mut backtest = Backtest { candidate, waiting: Vec::new(), agreement: Agreement::default() };
    let caller = Caller::open(file, Purpose::Judge).await?;
    let limit = wish.limit.map(|n| n.to_string());
    let path = with_query("/api/v1/interactions", [("channel", wish.channel), ("since", wish.since), ("limit", limit)]);
    let read = backtest.over(&caller, &path).await;
    caller.close().await?;
    // What was heard before it broke off is told, too.
    if read.is_ok() || backtest.agreement.n_asked() > 0 {
        backtest.tell(&wish.name, is_json)?;
    }
    read
}

/// Whose section is asked, and with which file.
fn choose(file: &Path, candidate: Option<&str>) -> Result<(Config, Choice), Failure> {
    let other = candidate.filter(|candidate| Path::new(candidate).extension().is_some_and(|extension| extension == "toml")).map(PathBuf::from);
    let (config, _) = config::read(other.as_deref().unwrap_or(file), process_env().as_ref()).map_err(Failure::Config)?;
    match candidate {
        Some(candidate) if other.is_none() => {
            let found = find(candidate, &config.host.plugins).map_err(|(message, cure)| Failure::failed(message, cure))?;
            Ok((config, Choice::File(found)))
        }
        _ => Ok((config, Choice::InForce)),
    }
}

async fn load(config: &Config, kit: &Kit, name: &str, choice: Choice) -> Result<Candidate, Failure> {
    let (one, report) = prepare_one(config, kit, name, choice).await;
    match one {
        _ if report.has_errors() => Err(Failure::Config(report)),
        Some(One::Analyzer(analyzer)) if analyzer.plugin.manifest().wants.http.is_some() => Err(Failure::failed(
            format!("`{name}` calls out by http, about everything that is stored"),
            "only what has no effect is asked about the past",
        )),
        Some(One::Analyzer(analyzer)) => Ok(Candidate::Analyzer(analyzer)),
        Some(One::Rule(rule)) => Ok(Candidate::Rule(rule, capabilities(config))),
        Some(One::Channel(_)) => Err(Failure::failed(format!("`{name}` is a channel"), "analyzers and rules are asked about what is stored")),
        None => {
            let analyzers = config.analyzers.iter().map(|analyzer| &analyzer.plugin);
            let known: Vec<&str> = analyzers.chain(config.rules.iter().map(|rule| &rule.plugin)).map(|section| section.name.as_str()).collect();
            Err(Failure::failed(format!("there is no analyzer or rule `{name}`"), shown::there_are(&known)))
        }
    }
}

/// The capability record of each channel, JSON.
fn capabilities(config: &Config) -> HashMap<String, Arc<str>> {
    let record = |plugin: &str| {
        let found = find(plugin, &config.host.plugins).ok()?;
        let manifest = crate::plugin::inspect(&found.bytes).ok()?.manifest;
        Some(Arc::from(Json::Object(manifest.capabilities).to_string()))
    };
    config.channels.iter().filter_map(|channel| Some((channel.plugin.name.clone(), record(&channel.plugin.plugin)?))).collect()
}

struct Backtest {
    candidate: Candidate,
    waiting: Vec<Stored>,
    agreement: Agreement,
}

impl Backtest {
    async fn over(&mut self, caller: &Caller, path: &str) -> Result<(), Failure> {
        let mut lines = caller.open_lines("GET", path, None).await?;
        while let Some(line) = lines.next().await? {
            let one = serde_json::from_str(&line).map_err(|error| Failure::failed(format!("an interaction cannot be read: {error}"), ""))?;
            self.take(one).await?;
        }
        self.ask().await
    }

    /// What is gone was decided anew when it went: nothing can be compared.
    async fn take(&mut self, one: Stored) -> Result<(), Failure> {
        if one.gone_at.is_some() || !self.is_for_it(&one) {
            self.agreement.n_skipped += 1;
            return Ok(());
        }
        // Analyzers are asked about one channel and kind at a time.
        let is_apart = matches!(self.candidate, Candidate::Analyzer(_))
            && self.waiting.first().is_some_and(|first| (&first.channel, &first.kind) != (&one.channel, &one.kind));
        if is_apart || self.waiting.len() == BATCH {
            self.ask().await?;
        }
        self.waiting.push(one);
        Ok(())
    }

    fn is_for_it(&self, one: &Stored) -> bool {
        match &self.candidate {
            Candidate::Analyzer(analyzer) => analyzer.channels.is_empty() || analyzer.channels.iter().any(|name| name.as_str() == one.channel),
            Candidate::Rule(..) => true,
        }
    }

    async fn ask(&mut self) -> Result<(), Failure> {
        let waiting = std::mem::take(&mut self.waiting);
        let n_before = self.agreement.n_asked();
        self.halve(&waiting).await?;
        let n_asked = self.agreement.n_asked();
        if n_asked / PROGRESS > n_before / PROGRESS {
            aside(format_args!("{n_asked} asked ..."));
        }
        Ok(())
    }

    /// Asks about these; about each half where that fails, so that one bad item stands alone.
    fn halve<'a>(&'a mut self, some: &'a [Stored]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let Some(first) = some.first() else { return Ok(()) };
            match self.candidate.answers(some).await {
                Ok(verdicts) => {
                    some.iter().zip(verdicts).for_each(|(one, (then, now))| self.agreement.note(&one.id, then, now));
                    Ok(())
                }
                Err(fault) if fault.detail().code == Fault::BREAKER => {
                    Err(Failure::failed(format!("the plugin failed call after call: {fault}"), "mend it first; nothing was changed"))
                }
                Err(fault) if some.len() == 1 => {
                    self.agreement.failed(&first.id, &fault);
                    Ok(())
                }
                Err(_) => {
                    let (one, other) = some.split_at(some.len() / 2);
                    self.halve(one).await?;
                    self.halve(other).await
                }
            }
        })
    }

    fn tell(&self, name: &str, is_json: bool) -> Result<(), Failure> {
        let (kind, digest) = match &self.candidate {
            Candidate::Analyzer(analyzer) => ("analyzer", analyzer.plugin.digest()),
            Candidate::Rule(rule, _) => ("rule", rule.plugin.digest()),
        };
        let told = self.agreement.json();
        if is_json {
            let mut whole = json!({ "name": name, "kind": kind, "digest": digest.to_string() });
            if let (Some(whole), Some(told)) = (whole.as_object_mut(), told.as_object()) {
                whole.extend(told.clone());
            }
            return put_json(whole);
        }
        show::differences(&told)?;
        put(format_args!("{name}, build {:.12}: {}", digest.to_string(), self.agreement))
    }
}

impl Candidate {
    /// What was said of each then, if anything, and what is said now.
    async fn answers(&self, some: &[Stored]) -> Result<Vec<(Option<Verdict>, Verdict)>, Fault> {
        match self {
            Self::Rule(rule, capabilities) => {
                let of = |one: &Stored| capabilities.get(&one.channel).cloned().unwrap_or_else(|| Arc::from("{}"));
                let decisions: Vec<RuleDecision> = rule.plugin.decide(some.iter().map(|one| one.event(&of(one))).collect()).await?;
                let then = |one: &Stored| {
                    // What follows up an own action names no row.
                    let then = one.decisions.iter().rev().find(|decision| decision.rule == rule.name && decision.row.is_some())?;
                    Some(was_decided(then.row.as_deref(), &[then.actions.as_slice(), &then.dropped].concat()))
                };
                Ok(some.iter().map(then).zip(decisions.iter().map(decided)).collect())
            }
            Self::Analyzer(analyzer) => {
                let Some(first) = some.first() else { return Ok(Vec::new()) };
                let earlier: Vec<Vec<Annotation>> = some.iter().map(|one| one.said_by(&analyzer.after)).collect();
                let files: Vec<Vec<Attachment>> =
                    some.iter().map(|one| if analyzer.sees_attachments { one.attachments() } else { Vec::new() }).collect();
                let items = some.iter().zip(&earlier).zip(&files).map(|((one, earlier), files)| one.item(earlier, analyzer.sees_authors, files));
                let batch = AnalyzeBatch { channel: &first.channel, kind: &first.kind, items: items.collect() };
                let said = analyzer.plugin.analyze(&batch).await?;
                let itself = [analyzer.name.clone()];
                // Who said nothing may have had nothing to say, or was not asked: that is not told.
                let then = |(one, now): (&Stored, &Vec<Annotation>)| {
                    let then = one.said_by(&itself);
                    (!then.is_empty() || now.is_empty() && !one.missing.contains(&analyzer.name)).then(|| annotations(&then))
                };
                Ok(some.iter().zip(&said).map(|(one, now)| (then((one, now)), annotations(now))).collect())
            }
        }
    }
}
