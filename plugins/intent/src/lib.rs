//! Analyzer `intent`: what somebody wants who writes in English or Italian, in one word, with a confidence.
//!
//! Cue phrases of the text's language, each with a weight, summed; a question mark and what the sentiment analyzer said add
//! to it. A text in another language gets no answer. It reads the first 16 KiB and remembers nothing.

mod cues;
#[path = "../../language/src/guess.rs"]
mod guess;

use membrana_sdk::analyzer::{Batch, Item};
use membrana_sdk::{Analyzer, Annotation, Result, Value, register_analyzer};

use cues::Cues;
pub use cues::Intent;
use guess::{Guess, guess};

/// Units: bytes looked at; more says nothing new.
const LOOKED_AT_MAX: usize = 16 << 10;
/// Below this nothing is clear enough.
const WEIGHT_MIN: f32 = 0.8;
/// So many words without one of Italian, of English or of a cue are in some other language.
const WORDS_OF_OTHER_MIN: usize = 6;

/// The analyzer.
pub struct Intents;

impl Analyzer for Intents {
    fn analyze(batch: &Batch) -> Result<Vec<Vec<Annotation>>> {
        Ok(batch.items.iter().map(|item| said(item).into_iter().collect()).collect())
    }
}

register_analyzer!(Intents);

fn said(item: &Item) -> Option<Annotation> {
    let sentiment = match item.earlier("sentiment") {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    };
    let whole = match &item.subject {
        Some(subject) => format!("{subject}. {}", item.text),
        None => item.text.clone(),
    };
    let (intent, confidence) = intent(&whole, item.language.as_deref(), sentiment)?;
    Some(Annotation { key: "intent".to_owned(), value: Value::Text(intent.word().to_owned()), confidence: Some(confidence) })
}

/// What a text wants, and how clearly; `None` where it has no letter or is neither Italian nor English. `language` is a
/// BCP 47 tag, guessed where it is absent; `sentiment` is in [-1, 1].
pub fn intent(text: &str, language: Option<&str>, sentiment: Option<f64>) -> Option<(Intent, f32)> {
    let text = text.get(..text.floor_char_boundary(LOOKED_AT_MAX)).unwrap_or_default();
    let plain = plain(text);
    if !plain.chars().any(char::is_alphabetic) {
        return None;
    }
    let (lists, is_sure): (&[&Cues], bool) = match language.map_or_else(|| guess(text), named) {
        Guess::Italian => (&[Cues::italian()], true),
        Guess::English => (&[Cues::english()], true),
        Guess::Unclear => (&[Cues::italian(), Cues::english()], false),
        Guess::Other => return None,
    };
    let words: Vec<&str> = plain.split(' ').filter(|word| !word.is_empty()).collect();
    let mut weights = [0.0f32; Intent::ALL.len()];
    let mut add = |intent: Intent, weight: f32| {
        if let Some(slot) = weights.get_mut(intent as usize) {
            *slot += weight;
        }
    };
    for list in lists {
        list.found(&words, &mut add);
    }
    if words.iter().any(|word| is_order(word)) {
        add(Intent::Request, 1.4);
    }
    // The `?` of an address asks nothing.
    if text.split_whitespace().any(|word| word.contains('?') && !word.contains("://")) {
        add(Intent::Question, 0.9);
    }
    match sentiment {
        Some(feeling) if feeling <= -0.3 => add(Intent::Complaint, 0.9),
        Some(feeling) if feeling >= 0.5 => add(Intent::Praise, 0.5),
        _ => {}
    }
    let sum: f32 = weights.iter().sum();
    let (best, weight) = Intent::ALL.into_iter().zip(weights).fold((Intent::Other, 0.0), |best, next| if next.1 > best.1 { next } else { best });
    match weight < WEIGHT_MIN {
        true if is_sure || words.len() < WORDS_OF_OTHER_MIN => Some((Intent::Other, 0.5)),
        true => None,
        false => Some((best, (weight / sum).clamp(0.0, 1.0))),
    }
}

/// By BCP 47 tag.
fn named(tag: &str) -> Guess {
    match tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "it" => Guess::Italian,
        "en" => Guess::English,
        _ => Guess::Other,
    }
}

/// An Italian order to several people: `mandatemi`, `fateci`.
fn is_order(word: &str) -> bool {
    word.len() > 7 && ["atemi", "etemi", "itemi", "ateci", "eteci", "iteci", "atemelo", "atemela"].iter().any(|end| word.ends_with(end))
}

/// Lower case, one space between words, no punctuation but apostrophes, no addresses and no handles.
fn plain(text: &str) -> String {
    let mut words = String::with_capacity(text.len() + 1);
    let is_noise = |word: &str| word.contains("://") || word.starts_with("www.") || word.starts_with('@');
    for word in text.split_whitespace().filter(|word| !is_noise(word)) {
        for c in word.chars().map(|c| if c == '’' { '\'' } else { c }) {
            if c.is_alphanumeric() || c == '\'' {
                words.extend(c.to_lowercase());
            } else if !words.ends_with(' ') {
                words.push(' ');
            }
        }
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
            assert_eq!(intent(text, None, None).map(|(intent, _)| intent), Some(expected), "{text}");
        }
    }

    #[test]
    fn nothing_said_is_nothing_wanted() {
        assert_eq!(intent(" \0 … 😀", None, None), None);
        assert_eq!(intent("", None, Some(-0.9)), None);
        assert!(intent(&"non so boh ".repeat(100_000), None, None).is_some());
    }

    #[test]
    fn a_bad_feeling_makes_a_complaint_of_what_is_unclear() {
        assert_eq!(intent("Di nuovo al buio.", None, Some(-0.6)).map(|(intent, _)| intent), Some(Intent::Complaint));
        assert_eq!(intent("Di nuovo al buio.", None, None).map(|(intent, _)| intent), Some(Intent::Other));
    }
    #[test]
    fn an_address_asks_nothing_and_a_word_is_no_part_of_another() {
        let intent_of = |text: &str| intent(text, Some("it"), None).map(|(intent, _)| intent);
        assert_eq!(intent_of("Ho letto https://acme.example/?id=7"), Some(Intent::Other));
        assert_eq!(intent("See https://acme.example/?please=refund", Some("en"), None).map(|(intent, _)| intent), Some(Intent::Other));
        assert_eq!(intent_of("Lo scambio di figurine è domani"), Some(Intent::Other), "a swap is no scam");
        assert_eq!(intent("The scammer state", Some("en"), None).map(|(intent, _)| intent), Some(Intent::Other));
    }

    #[test]
    fn a_handle_wants_nothing() {
        for text in ["@complaints_acme hello there, see you tomorrow", "@the_best_pizza hello there", "@disdetta ci vediamo domani"] {
            assert_eq!(intent(text, None, None).map(|(intent, _)| intent), Some(Intent::Other), "{text}");
        }
        assert_eq!(intent("@acme", None, None), None);
    }

    #[test]
    fn what_is_denied_is_no_complaint() {
        for (text, expected) in [
            ("No problem at all, thanks!", Intent::Thanks),
            ("No complaints, great service", Intent::Praise),
            ("no issues so far", Intent::Other),
            ("Nessun problema, grazie", Intent::Thanks),
            ("Senza disservizi, bravi", Intent::Praise),
            ("No answer, and my problem is still there", Intent::Complaint),
        ] {
            assert_eq!(intent(text, None, None).map(|(intent, _)| intent), Some(expected), "{text}");
        }
    }

    #[test]
    fn ordinary_words_give_nothing_away() {
        for (text, expected) in [
            ("Buongiorno, allego la foto richiesta. Vi saluto cordialmente", Intent::Other),
            ("Vi lascio il mio numero di telefono, chiamatemi domani", Intent::Request),
            ("I'm leaving you five stars", Intent::Praise),
            ("Grazie al vostro team", Intent::Thanks),
            ("Complimenti al vostro team!", Intent::Praise),
            ("Complimenti alla vostra squadra!", Intent::Praise),
            ("Good job!", Intent::Praise),
            ("Nice job team", Intent::Praise),
            ("Great job at the counter today", Intent::Praise),
            ("It was a pleasure to work with you", Intent::Other),
            ("Any vacancies this weekend for two people?", Intent::Question),
            ("My purchase never arrived", Intent::Complaint),
            ("How much longer do I have to wait for my parcel?", Intent::Question),
            ("Vorrei sottoscrivere un reclamo", Intent::Complaint),
            ("I have no idea when my parcel arrives", Intent::Other),
            ("Non ho idea di quando arrivi il pacco", Intent::Other),
            ("In attesa di un vostro riscontro", Intent::Other),
            ("Cordiali saluti", Intent::Other),
        ] {
            assert_eq!(intent(text, None, None).map(|(intent, _)| intent), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_languages_get_no_answer() {
        for (text, language) in [
            ("Ich möchte meinen Vertrag kündigen und das ist nicht lustig", None),
            ("Quiero cancelar mi contrato porque no funciona nada", None),
            ("Я хочу расторгнуть договор с вашей компанией прямо сейчас", None),
            ("Grazie", Some("de")),
        ] {
            assert_eq!(intent(text, language, None), None, "{text}");
        }
        assert!(intent("Grazie", Some("it-CH"), None).is_some());
    }
}
