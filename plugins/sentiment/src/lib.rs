//! Analyzer `sentiment`: annotation `sentiment`, a number in [-1, 1], for English and Italian; it abstains elsewhere.
//!
//! Word weights and rules after VADER (Hutto and Gilbert 2014): negation, intensity, capitals, contrast, emphasis.

mod lexicon;
mod rules;

use membrana_sdk::analyzer::{Batch, Item};
use membrana_sdk::{Analyzer, Annotation, Result, Value, register_analyzer};

pub use rules::{Language, score};

/// Units: bytes looked at; more says nothing new.
const LOOKED_AT_MAX: usize = 16 << 10;

/// The analyzer.
pub struct Sentiment;

impl Analyzer for Sentiment {
    fn analyze(batch: &Batch) -> Result<Vec<Vec<Annotation>>> {
        Ok(batch.items.iter().map(|item| said(item).into_iter().collect()).collect())
    }
}

register_analyzer!(Sentiment);

fn said(item: &Item) -> Option<Annotation> {
    let told = item.earlier.iter().find_map(|said| match &said.value {
        Value::Text(tag) if said.key == "language" => Some(tag.as_str()),
        _ => None,
    });
    let language = Language::of(item.language.as_deref().or(told)?)?;
    let end = (0..=LOOKED_AT_MAX.min(item.text.len())).rev().find(|n| item.text.is_char_boundary(*n)).unwrap_or(0);
    let number = score(language, item.text.get(..end).unwrap_or_default())?;
    Some(Annotation { key: "sentiment".to_owned(), value: Value::Number((number * 1000.0).round() / 1000.0), confidence: None })
}

#[cfg(test)]
mod tests;
