//! Analyzer `sentiment`: annotation `sentiment`, a number in [-1, 1], for English and Italian; it abstains elsewhere.
//!
//! Word weights and rules after VADER (Hutto and Gilbert 2014): negation, intensity, capitals, contrast, emphasis. Where
//! nobody told the language, the little words do, and where there are none, the weighed ones; emojis alone are read, too.

use std::borrow::Cow;

#[path = "../../language/src/guess.rs"]
mod guess;
mod hash;
mod lexicon;
mod reading;
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
    // What is wrong often stands in a mail's subject alone.
    let whole = match item.subject.as_deref().filter(|subject| !subject.trim().is_empty()) {
        Some(subject) => Cow::Owned(format!("{subject}. {}", item.text)),
        None => Cow::Borrowed(item.text.as_str()),
    };
    let text = whole.get(..whole.floor_char_boundary(LOOKED_AT_MAX)).unwrap_or_default();
    let language = match item.language.as_deref() {
        Some(tag) => Language::of(tag)?,
        None => Language::guessed(text)?,
    };
    let number = score(language, text)?;
    Some(Annotation { key: "sentiment".to_owned(), value: Value::Number((number * 1000.0).round() / 1000.0), confidence: None })
}

#[cfg(test)]
mod tests;
