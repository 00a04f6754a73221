//! One interaction as the API tells it, made again what analyzers and rules are asked about.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::model::{Annotation, Attachment, Place, Timestamp, Value};
use crate::plugin::{AnalyzeItem, RuleEvent, RuleExchange, RuleInteraction};

#[derive(Debug, Deserialize)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) channel: String,
    pub(super) kind: String,
    pub(super) visibility: String,
    pub(super) subject: Option<String>,
    pub(super) text: String,
    pub(super) language: Option<String>,
    pub(super) automated: String,
    pub(super) author: Option<Author>,
    pub(super) gone_at: Option<String>,
    pub(super) missing: Vec<String>,
    pub(super) decisions: Vec<Decision>,
    occurred_at: String,
    received_at: String,
    backfill: bool,
    place: Option<Where>,
    side: Option<String>,
    campaign: Option<String>,
    attrs: BTreeMap<String, String>,
    annotations: Vec<Said>,
    attachments: Vec<File>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Author {
    identity: Option<String>,
    handle: Option<String>,
    name: Option<String>,
    metrics: BTreeMap<String, f64>,
}

#[derive(Debug, Deserialize)]
struct Where {
    name: Option<String>,
    position: Option<(f64, f64)>,
}

#[derive(Debug, Deserialize)]
struct Said {
    analyzer: String,
    key: String,
    value: Json,
    confidence: Option<f32>,
}

#[derive(Debug, Deserialize)]
struct File {
    name: Option<String>,
    media_type: String,
    size: Option<u64>,
    url: Option<String>,
}

/// What a rule decided then; see `model::shown`.
#[derive(Debug, Deserialize)]
pub(super) struct Decision {
    pub(super) rule: String,
    pub(super) row: Option<String>,
    pub(super) actions: Vec<Json>,
    pub(super) dropped: Vec<Json>,
}

fn moment(text: &str) -> Timestamp {
    Timestamp(text.parse().map_or(0, |at: jiff::Timestamp| u64::try_from(at.as_millisecond()).unwrap_or(0)))
}

impl Said {
    fn annotation(&self) -> Annotation {
        let value = match &self.value {
            Json::String(text) => Value::Text(text.clone()),
            Json::Bool(flag) => Value::Boolean(*flag),
            Json::Number(number) => Value::Number(number.as_f64().unwrap_or(0.0)),
            other => Value::Json(other.to_string()),
        };
        Annotation { key: self.key.clone(), value, confidence: self.confidence }
    }
}

impl Stored {
    /// What these analyzers said of it.
    pub(super) fn said_by(&self, names: &[String]) -> Vec<Annotation> {
        self.annotations.iter().filter(|said| names.contains(&said.analyzer)).map(Said::annotation).collect()
    }

    pub(super) fn attachments(&self) -> Vec<Attachment> {
        let attachment = |file: &File| Attachment {
            name: file.name.clone(),
            media_type: file.media_type.clone(),
            size: file.size,
            url: file.url.clone(),
            media_ref: None,
        };
        self.attachments.iter().map(attachment).collect()
    }

    /// What a rule hears first of it, with what is known of it now. How its exchange stood then is not kept: it is its first word here.
    pub(super) fn event(&self, capabilities: &Arc<str>) -> RuleEvent {
        let (received, author) = (moment(&self.received_at), self.author.as_ref());
        RuleEvent {
            kind: "interaction.arrived".to_owned(),
            at: received,
            interaction: Some(RuleInteraction {
                id: self.id.clone(),
                channel: self.channel.clone(),
                kind: self.kind.clone(),
                visibility: self.visibility.clone(),
                subject: self.subject.clone(),
                text: self.text.clone(),
                language: self.language.clone(),
                automated: self.automated.clone(),
                identity: author.and_then(|author| author.identity.clone()).unwrap_or_default(),
                author_name: author.and_then(|author| author.name.clone().or_else(|| author.handle.clone())),
                author_handle: author.and_then(|author| author.handle.clone()),
                author_metrics: author.map(|author| author.metrics.clone().into_iter().collect()).unwrap_or_default(),
                place: self.place.as_ref().map(|place| Place { name: place.name.clone(), native: None, position: place.position }),
                side: self.side.clone(),
                campaign: self.campaign.clone(),
                occurred: moment(&self.occurred_at),
                received,
                backfill: self.backfill,
                attrs: self.attrs.clone().into_iter().collect(),
                annotations: self.annotations.iter().map(Said::annotation).collect(),
                missing: self.missing.clone(),
            }),
            done: Vec::new(),
            capabilities: Arc::clone(capabilities),
            exchange: Some(RuleExchange { version: 1, automatic_replies_last_hour: 0 }),
            conversation: None,
            body: "{}".to_owned(),
        }
    }

    /// As the host asks an analyzer that comes after others. `earlier` is what those said.
    pub(super) fn item<'s>(&'s self, earlier: &'s [Annotation], sees_authors: bool, attachments: &'s [Attachment]) -> AnalyzeItem<'s> {
        let is_told = |language: &str| self.annotations.iter().any(|said| said.key == "language" && said.value.as_str() == Some(language));
        let declared = self.language.as_deref().filter(|language| !is_told(language));
        let author = self.author.as_ref().filter(|_| sees_authors);
        AnalyzeItem {
            id: None,
            subject: self.subject.as_deref(),
            text: &self.text,
            language: declared.or_else(|| earlier.iter().find_map(Annotation::language)),
            occurred: moment(&self.occurred_at),
            earlier: earlier.iter().collect(),
            author: author.and_then(|author| Some((author.identity.clone()?, author.handle.clone()))),
            attachments,
        }
    }
}
