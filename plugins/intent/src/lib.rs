//! Analyzer `intent`: what somebody wants who writes in English or Italian, in one word, with a confidence.
//!
//! Cue phrases, each with a weight, summed over the text; a question mark and what the sentiment analyzer said add to it.

mod cues;

use membrana_sdk::analyzer::{Batch, Item};
use membrana_sdk::{Analyzer, Annotation, Result, Value, register_analyzer};

use cues::CUES;
pub use cues::Intent;

/// Units: bytes looked at; more says nothing new.
const LOOKED_AT_MAX: usize = 16 << 10;
/// Below this nothing is clear enough.
const WEIGHT_MIN: f32 = 0.8;

/// The analyzer.
pub struct Intents;

impl Analyzer for Intents {
    fn analyze(batch: &Batch) -> Result<Vec<Vec<Annotation>>> {
        Ok(batch.items.iter().map(|item| said(item).into_iter().collect()).collect())
    }
}

register_analyzer!(Intents);

fn said(item: &Item) -> Option<Annotation> {
    let sentiment = item.earlier.iter().find_map(|said| match said.value {
        Value::Number(number) if said.key == "sentiment" => Some(number),
        _ => None,
    });
    let whole = match &item.subject {
        Some(subject) => format!("{subject}. {}", item.text),
        None => item.text.clone(),
    };
    let (intent, confidence) = intent(&whole, sentiment)?;
    Some(Annotation { key: "intent".to_owned(), value: Value::Text(intent.word().to_owned()), confidence: Some(confidence) })
}

/// What a text wants, and how clearly; `None` where it has no letter. `sentiment` is in [-1, 1].
pub fn intent(text: &str, sentiment: Option<f64>) -> Option<(Intent, f32)> {
    let end = (0..=LOOKED_AT_MAX.min(text.len())).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
    let words = plain(text.get(..end).unwrap_or_default());
    if !words.chars().any(char::is_alphabetic) {
        return None;
    }
    let mut weights = [0.0f32; Intent::ALL.len()];
    let mut add = |intent: Intent, weight: f32| {
        if let Some(slot) = weights.get_mut(intent as usize) {
            *slot += weight;
        }
    };
    for (phrase, intent, weight) in CUES {
        if words.contains(phrase) {
            add(*intent, *weight);
        }
    }
    if text.contains('?') {
        add(Intent::Question, 1.0);
    }
    match sentiment {
        Some(feeling) if feeling <= -0.3 => add(Intent::Complaint, 0.9),
        Some(feeling) if feeling >= 0.5 => add(Intent::Praise, 0.5),
        _ => {}
    }
    let sum: f32 = weights.iter().sum();
    let (best, weight) = Intent::ALL.into_iter().zip(weights).fold((Intent::Other, 0.0), |best, next| if next.1 > best.1 { next } else { best });
    if weight < WEIGHT_MIN { Some((Intent::Other, 0.5)) } else { Some((best, (weight / sum).clamp(0.0, 1.0))) }
}

/// Lower case, one space between words and around the whole, no punctuation but apostrophes.
fn plain(text: &str) -> String {
    let mut words = String::with_capacity(text.len() + 2);
    words.push(' ');
    for c in text.chars() {
        let c = if c == '’' { '\'' } else { c };
        if c.is_alphanumeric() || c == '\'' {
            words.extend(c.to_lowercase());
        } else if !words.ends_with(' ') {
            words.push(' ');
        }
    }
    if !words.ends_with(' ') {
        words.push(' ');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_texts_that_mean_it() {
        for (text, expected) in [
            ("Ho pagato due volte la bolletta e nessuno mi risponde. Vergogna!", Intent::Complaint),
            ("My order arrived broken and nobody answers the phone", Intent::Complaint),
            ("A che ora aprite domani?", Intent::Question),
            ("Will the invoices still come by post?", Intent::Question),
            ("Potete mandarmi una copia della fattura, per favore", Intent::Request),
            ("Please send me the contract again", Intent::Request),
            ("Dovreste aggiungere il pagamento con carta", Intent::Suggestion),
            ("It would be great if you added a dark mode", Intent::Suggestion),
            ("Servizio eccellente, complimenti a tutti", Intent::Praise),
            ("Best support I ever had, I love it", Intent::Praise),
            ("Grazie mille per l'aiuto", Intent::Thanks),
            ("Thank you so much!", Intent::Thanks),
            ("Vorrei acquistare due abbonamenti", Intent::Purchase),
            ("How much does it cost? I want to buy one", Intent::Purchase),
            ("Voglio disdire il contratto", Intent::Churn),
            ("Cancel my subscription, I am switching to another provider", Intent::Churn),
            ("Vi invio il mio curriculum per la posizione di magazziniere", Intent::Application),
            ("Are you hiring? I attach my CV", Intent::Application),
            ("Domani è martedì", Intent::Other),
        ] {
            assert_eq!(intent(text, None).map(|(intent, _)| intent), Some(expected), "{text}");
        }
    }

    #[test]
    fn nothing_said_is_nothing_wanted() {
        assert_eq!(intent(" \0 … 😀", None), None);
        assert_eq!(intent("", Some(-0.9)), None);
        assert!(intent(&"boh ".repeat(300_000), None).is_some());
    }

    #[test]
    fn a_bad_feeling_makes_a_complaint_of_what_is_unclear() {
        assert_eq!(intent("Di nuovo al buio.", Some(-0.6)).map(|(intent, _)| intent), Some(Intent::Complaint));
        assert_eq!(intent("Di nuovo al buio.", None).map(|(intent, _)| intent), Some(Intent::Other));
    }
}
