//! Analyzer `language`: annotation `language`, a BCP 47 tag, where a text has enough letters to tell.
//!
//! What a network wraps around words (addresses, mentions, hashtags' signs) is left out first, for it is English to any
//! detector. It looks at the first 4 KiB: more says nothing new.

use std::borrow::Cow;

use membrana_sdk::analyzer::{Batch, Item};
use membrana_sdk::{Analyzer, Annotation, Result, Value, register_analyzer};
use whichlang::{Lang, detect_language};

/// Units: bytes.
const LOOKED_AT_MAX: usize = 4096;
/// Shorter texts could be anything.
const LETTERS_MIN: usize = 3;
/// Longer texts the detector tells apart by itself, sisters too.
const SHORT_WORDS_MAX: usize = 8;
/// Of so few words in plain letters the detector guesses at random, and always names a language.
const FEW_WORDS_MAX: usize = 4;

/// The analyzer.
pub struct Language;

impl Analyzer for Language {
    fn analyze(batch: &Batch) -> Result<Vec<Vec<Annotation>>> {
        Ok(batch.items.iter().map(annotations).collect())
    }
}

register_analyzer!(Language);

fn annotations(item: &Item) -> Vec<Annotation> {
    let subject = item.subject.as_deref().filter(|_| item.text.len() < 40);
    let whole = match subject {
        Some(subject) => Cow::Owned(format!("{subject} {}", item.text)),
        None => Cow::Borrowed(item.text.as_str()),
    };
    language(&whole).map(|tag| Annotation { key: "language".to_owned(), value: Value::Text(tag.to_owned()), confidence: None }).into_iter().collect()
}

/// The language of a text; none where it has too few letters.
pub fn language(text: &str) -> Option<&'static str> {
    let text = head(text, LOOKED_AT_MAX);
    let words = words_of(text);
    let (mut n_letters, mut n_strange) = (0_usize, 0_usize);
    for letter in words.chars().filter(|c| c.is_alphabetic()) {
        n_letters += 1;
        n_strange += strangeness(letter);
    }
    // The detector names one of its own languages whatever it sees.
    if n_letters < LETTERS_MIN || n_strange * 5 > n_letters {
        return None;
    }
    let found = detect_language(&words);
    let are_sisters = matches!(found, Lang::Ita | Lang::Spa | Lang::Por);
    let shown: Vec<&str> = words.split_whitespace().take(SHORT_WORDS_MAX + 1).collect();
    let named = Some(shown.as_slice()).filter(|shown| shown.len() <= SHORT_WORDS_MAX).and_then(voted);
    if shown.len() <= FEW_WORDS_MAX && words.chars().all(is_plain) {
        // `es` and `um` are German too.
        let named = named.filter(|tag| are_sisters || matches!(*tag, "it" | "en"));
        return named.or_else(|| is_steady(&shown, found).then(|| tag(found)));
    }
    Some(named.filter(|_| are_sisters).unwrap_or_else(|| tag(found)))
}

/// Of many languages: a letter of ASCII, a quotation mark, an emoji.
fn is_plain(c: char) -> bool {
    c.is_ascii() || !c.is_alphanumeric() && !matches!(c, '¿' | '¡')
}

/// Whether a few words stay of one language whichever of them is left out. A lone word never does.
fn is_steady(shown: &[&str], found: Lang) -> bool {
    let without = |left_out: usize| -> String {
        let rest: Vec<&str> = shown.iter().enumerate().filter(|(n, _)| *n != left_out).map(|(_, word)| *word).collect();
        rest.join(" ")
    };
    shown.len() > 1 && (0..shown.len()).all(|n| detect_language(&without(n)) == found)
}

/// A letter of no language that is offered here: Greek, Hebrew, Thai and others. Of Cyrillic a few letters say that it is not
/// Russian, and each counts for the many beside it.
fn strangeness(letter: char) -> usize {
    match (u32::from(letter), letter) {
        (0x370..=0x3ff | 0x530..=0x5ff | 0x700..=0x74f | 0x780..=0x7ff | 0x980..=0x10ff | 0x1200..=0x18af | 0x1f00..=0x1fff, _) => 1,
        (_, 'є' | 'і' | 'ї' | 'ґ' | 'ј' | 'љ' | 'њ' | 'ћ' | 'ђ' | 'џ' | 'ў' | 'Є' | 'І' | 'Ї' | 'Ґ' | 'Ј') => 5,
        _ => 0,
    }
}

/// Little words: by letters alone the sisters Italian, Spanish and Portuguese are told apart only in longer texts, and of a few words
/// nothing is.
const LITTLE_WORDS: [(&str, &[&str]); 4] = [
    (
        "it",
        &[
            "niente", "ancora", "che", "è", "il", "gli", "di", "sono", "ho", "più", "anche", "molto", "grazie", "ciao", "mai", "perché", "della",
            "non", "questo", "cosa", "sempre", "tutto", "bene", "pessimo", "pessima", "ottimo", "ottima", "dove",
        ],
    ),
    (
        "es",
        &[
            "el", "los", "las", "y", "es", "muy", "pero", "qué", "gracias", "hola", "nada", "pésimo", "todavía", "está", "usted", "siempre", "todo",
            "bien", "del",
        ],
    ),
    (
        "pt",
        &[
            "o", "os", "não", "é", "uma", "um", "com", "muito", "obrigado", "obrigada", "olá", "ainda", "nada", "péssimo", "tudo", "bem", "sempre",
            "está", "isso",
        ],
    ),
    (
        "en",
        &[
            "the", "my", "your", "you", "it", "this", "that", "and", "are", "not", "what", "where", "why", "how", "when", "with", "very", "never",
            "still", "again", "our", "any", "have", "has", "they", "from", "thanks", "thank", "please", "hello", "bad", "good", "great", "worst",
            "awful",
        ],
    ),
];

/// The language that more of the little words name than any other.
fn voted(shown: &[&str]) -> Option<&'static str> {
    let mut votes = LITTLE_WORDS.map(|(tag, _)| (0_usize, tag));
    for shown in shown {
        let word = shown.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        for ((_, list), vote) in LITTLE_WORDS.iter().zip(&mut votes) {
            vote.0 += usize::from(list.contains(&word.as_str()));
        }
    }
    votes.sort_unstable_by(|a, b| b.cmp(a));
    let [(most, tag), (next, _), ..] = votes;
    (most > next).then_some(tag)
}

/// The longest start of at most `bytes` bytes that ends between characters.
fn head(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// The words alone: no addresses, no mentions, and one blank for whatever stands between ASCII letters. Each sign counts for the
/// detector, and a blank before `!` or `?` is French to it: three of them made a French text of "Pessimo!!!". Signs that are not
/// ASCII stay, for `¿` and `。` tell something.
fn words_of(text: &str) -> String {
    let is_noise = |word: &str| word.starts_with('@') || word.contains("://") || word.starts_with("www.");
    let mut words = String::with_capacity(text.len());
    for shown in text.split_whitespace().filter(|word| !is_noise(word)) {
        for part in shown.split(|c: char| c.is_ascii() && !c.is_ascii_alphabetic() && c != '\'').filter(|part| !part.is_empty()) {
            if !words.is_empty() {
                words.push(' ');
            }
            words.push_str(part);
        }
    }
    words
}

fn tag(lang: Lang) -> &'static str {
    match lang {
        Lang::Ara => "ar",
        Lang::Cmn => "zh",
        Lang::Deu => "de",
        Lang::Eng => "en",
        Lang::Fra => "fr",
        Lang::Hin => "hi",
        Lang::Ita => "it",
        Lang::Jpn => "ja",
        Lang::Kor => "ko",
        Lang::Nld => "nl",
        Lang::Por => "pt",
        Lang::Rus => "ru",
        Lang::Spa => "es",
        Lang::Swe => "sv",
        Lang::Tur => "tr",
        Lang::Vie => "vi",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_of_several_languages_are_told_apart() {
        let cases = [
            ("Ho pagato due volte la bolletta e nessuno risponde, che vergogna!", "it"),
            ("I have been waiting for my parcel for three weeks now.", "en"),
            ("Ich warte seit drei Wochen auf mein Paket.", "de"),
            ("Hola, ¿cuánto cuesta la fibra de 1 Gbps?", "es"),
            ("Где моя посылка? Я жду уже неделю.", "ru"),
            ("Ancora niente, pessimo.", "it"),
            ("Todavía nada, pésimo.", "es"),
            ("Ainda nada, péssimo.", "pt"),
            ("@acme https://social.example/x Non funziona più niente da ieri sera", "it"),
        ];
        for (text, expected) in cases {
            assert_eq!(language(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn signs_and_digits_say_nothing_of_the_language() {
        for (text, expected) in [
            ("Il vostro servizio è pessimo!!!", "it"),
            ("My order never arrived!!!!", "en"),
            ("Where is my refund?!?!?!?!", "en"),
            ("I want my money back ... (order #4471-22) !!!", "en"),
            ("Je n'ai toujours rien reçu !!!", "fr"),
        ] {
            assert_eq!(language(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn of_a_few_words_it_says_what_is_sure() {
        let cases = [
            ("Bad service", Some("en")),
            ("@acme awful terrible disgrace, shame", Some("en")),
            ("I'm not happy 😡", Some("en")),
            ("Non funziona!", Some("it")),
            ("Pacco mai arrivato", Some("it")),
            ("Muchas gracias", Some("es")),
            ("Ich liebe es", Some("de")),
            ("¡Vergüenza!", Some("es")),
            ("Terrible. Avoid.", None),
            ("SCAM!!!", None),
            ("Vergogna", None),
            ("Ladri", None),
            ("Delusione totale", None),
            ("No problem", None),
        ];
        for (text, expected) in cases {
            assert_eq!(language(text), expected, "{text}");
        }
    }

    #[test]
    fn it_abstains_where_there_is_nothing_to_read() {
        for text in [
            "",
            "🙂🙂🙂",
            "42 - 17",
            "@acme https://a.example/b",
            "\0\0\0",
            "ok",
            "Πού είναι το πακέτο μου;",
            "สินค้าของฉันอยู่ที่ไหน",
            "Де моя посилка? Її ще немає.",
        ] {
            assert_eq!(language(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_megabyte_is_cut_between_characters() {
        let text = "perché la bolletta è così alta? ".repeat(40_000);
        assert_eq!(language(&text), Some("it"));
    }
}
