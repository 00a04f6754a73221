//! What analyzers say of interactions, and the lineup that was in force when they said it.

use serde::{Deserialize, Serialize};

use super::{Digest, LineupId, Seq};

/// A value of an annotation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Text.
    Text(String),
    /// A finite number.
    Number(f64),
    /// Yes or no.
    Boolean(bool),
    /// A JSON document. Shape: at most 4 KiB.
    Json(String),
}

/// One thing that an analyzer says of an interaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Annotation {
    /// Open, dotted: `sentiment`, `language`, `intent`, `topic`.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Shape: 0.0 to 1.0.
    pub confidence: Option<f32>,
}

impl Annotation {
    /// The BCP 47 tag, where this tells the language.
    pub fn language(&self) -> Option<&str> {
        match &self.value {
            Value::Text(tag) if self.key == "language" => Some(tag),
            _ => None,
        }
    }
}

/// The analyzers in force, immutable: results name it, so that it stays clear which build said what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineup {
    /// Hash of the members.
    pub id: LineupId,
    /// In the order of the configuration. Shape: at most 64.
    pub members: Vec<LineupMember>,
}

/// One analyzer of a lineup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineupMember {
    /// The name in the configuration.
    pub name: String,
    /// Of the component.
    pub digest: Digest,
    /// Of its section of the configuration.
    pub config: Digest,
}

/// What one run of a lineup, or of a part of it, said of consecutive or scattered entries of one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Whose words these are.
    pub lineup: LineupId,
    /// One per entry that was looked at, rising by sequence.
    pub of: Vec<ResultsOf>,
}

/// What was said of one entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultsOf {
    /// The entry.
    pub seq: Seq,
    /// Per member of the lineup, by its index: its annotations (empty = it abstained), or `None` where it failed or was late.
    pub said: Vec<(u8, Option<Vec<Annotation>>)>,
}

/// What is in force of one entry: per analyzer the highest run that answered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Annotated {
    /// Analyzer's name, its digest, its annotation; in the lineup's order.
    pub annotations: Vec<(String, Digest, Annotation)>,
    /// Names of analyzers that no run has an answer of.
    pub missing: Vec<String>,
    /// The lineups whose runs are in force here.
    pub lineups: Vec<LineupId>,
}
