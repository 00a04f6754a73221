//! VADER's rules over one text, with the words of each language.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::guess::{Guess, guess};
use crate::lexicon::{Entry, Lexicon, Roles, STEM_MIN, emoji, english, italian};

/// A strengthening word before; a weakening one takes as much away. Source: VADER.
const BOOST: f64 = 0.293;
/// A word in capitals among others that are not.
const CAPITALS: f64 = 0.733;
/// A negation turns a weight round, and down.
const NEGATION: f64 = -0.74;
/// `-issimo`.
const SUPERLATIVE: f64 = 1.3;
/// About the largest sum that is expected.
const ALPHA: f64 = 15.0;

/// Languages that have a word list here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `en`.
    English,
    /// `it`.
    Italian,
}

impl Language {
    /// By BCP 47 tag.
    pub fn of(tag: &str) -> Option<Self> {
        match tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "en" => Some(Self::English),
            "it" => Some(Self::Italian),
            _ => None,
        }
    }

    /// Where nobody told it.
    pub(crate) fn guessed(text: &str) -> Option<Self> {
        match guess(text) {
            Guess::Italian => Some(Self::Italian),
            Guess::English => Some(Self::English),
            Guess::Other => None,
            Guess::Unclear => {
                let n_known = |language| text.split_whitespace().filter(|shown| word_of(language, shown).known.is_some()).count();
                match n_known(Self::Italian).cmp(&n_known(Self::English)) {
                    Ordering::Greater => Some(Self::Italian),
                    Ordering::Less => Some(Self::English),
                    Ordering::Equal => None,
                }
            }
        }
    }

    fn lexicon(self) -> &'static Lexicon {
        match self {
            Self::English => english(&Roles { more: &MORE_EN, less: &LESS_EN, negations: &NEGATIONS_EN, contrasts: &["but"], boost: BOOST }),
            Self::Italian => italian(&Roles { more: &MORE_IT, less: &LESS_IT, negations: &NEGATIONS_IT, contrasts: &CONTRASTS_IT, boost: BOOST }),
        }
    }
}

const CONTRASTS_IT: [&str; 4] = ["ma", "però", "tuttavia", "purtroppo"];
const NEGATIONS_EN: [&str; 30] = [
    "aint", "arent", "cannot", "cant", "couldnt", "didnt", "doesnt", "dont", "hadnt", "hasnt", "havent", "isnt", "mustnt", "neither", "never",
    "none", "nope", "nor", "not", "nothing", "nowhere", "shouldnt", "wasnt", "werent", "without", "wont", "wouldnt", "rarely", "seldom", "despite",
];
const NEGATIONS_IT: [&str; 11] = ["non", "mai", "né", "senza", "nessuno", "nessuna", "nessun", "niente", "nulla", "neanche", "nemmeno"];
const MORE_EN: [&str; 45] = [
    "absolutely",
    "amazingly",
    "awfully",
    "completely",
    "considerably",
    "deeply",
    "effing",
    "enormously",
    "entirely",
    "especially",
    "exceptionally",
    "extreme",
    "extremely",
    "flippin",
    "fricking",
    "frickin",
    "fully",
    "fuckin",
    "fucking",
    "greatly",
    "hella",
    "highly",
    "hugely",
    "incredible",
    "incredibly",
    "intensely",
    "major",
    "more",
    "most",
    "particularly",
    "purely",
    "quite",
    "really",
    "remarkably",
    "so",
    "substantially",
    "thoroughly",
    "total",
    "totally",
    "tremendously",
    "uber",
    "unbelievably",
    "utterly",
    "very",
    "utter",
];
const LESS_EN: [&str; 17] = [
    "almost",
    "barely",
    "hardly",
    "kinda",
    "kindof",
    "less",
    "little",
    "marginally",
    "occasionally",
    "partly",
    "scarcely",
    "slight",
    "slightly",
    "somewhat",
    "sorta",
    "sortof",
    "kind-of",
];
const MORE_IT: [&str; 18] = [
    "molto",
    "davvero",
    "veramente",
    "assolutamente",
    "completamente",
    "totalmente",
    "tanto",
    "troppo",
    "così",
    "estremamente",
    "proprio",
    "sempre",
    "super",
    "decisamente",
    "incredibilmente",
    "più",
    "tutto",
    "parecchio",
];
const LESS_IT: [&str; 8] = ["poco", "abbastanza", "quasi", "leggermente", "appena", "meno", "piuttosto", "parzialmente"];

struct Word<'t> {
    shown: &'t str,
    lower: Cow<'t, str>,
    is: Entry,
    /// Its own weight, in any of its forms.
    known: Option<f64>,
    ends_sentence: bool,
}

/// How a text feels; `None` where it has no word at all.
pub fn score(language: Language, text: &str) -> Option<f64> {
    let words: Vec<Word<'_>> = text.split_whitespace().map(|shown| word_of(language, shown)).collect();
    if !text.chars().any(char::is_alphanumeric) && !text.chars().any(|c| u32::from(c) > 0x2000) {
        return None;
    }
    let n_capitals = words.iter().filter(|word| is_capitals(word.shown)).count();
    let is_mixed = n_capitals > 0 && n_capitals < words.len();
    let mut weights: Vec<f64> = (0..words.len()).map(|n| weight(language, &words, n, is_mixed)).collect();
    contrast(&words, &mut weights);
    let emojis = emojis(text);
    let sum: f64 = weights.iter().sum::<f64>() + emojis;
    let emphasis = emphasis(text);
    let sum = if sum > 0.0 {
        sum + emphasis
    } else if sum < 0.0 {
        sum - emphasis
    } else {
        0.0
    };
    Some((sum / (sum * sum + ALPHA).sqrt()).clamp(-1.0, 1.0))
}

/// Punctuation around a word goes, but an emoticon stays as it is.
fn word_of(language: Language, shown: &str) -> Word<'_> {
    let bare = shown.trim_matches(|c: char| c.is_ascii_punctuation() || matches!(c, '«' | '»' | '“' | '”' | '‘' | '’' | '…'));
    let kept = if bare.chars().nth(2).is_none() && !bare.chars().any(char::is_alphanumeric) { shown } else { bare };
    let kept = if kept.is_empty() { shown } else { kept };
    let is_plain = kept.chars().all(|c| !c.is_uppercase() && c != '’');
    let lower = if is_plain { Cow::Borrowed(kept) } else { Cow::Owned(kept.to_lowercase().replace('’', "'")) };
    let lexicon = language.lexicon();
    let mut is = lexicon.words.get(&*lower).copied().unwrap_or_default();
    is.negates |= language == Language::English && lower.contains("n't");
    let known = is.weight.or_else(|| if language == Language::Italian { of_form(lexicon, &lower) } else { None });
    Word { shown: kept, lower, is, known, ends_sentence: shown.ends_with(['.', '!', '?', '…']) }
}

fn is_capitals(word: &str) -> bool {
    word.chars().any(char::is_alphabetic) && !word.chars().any(char::is_lowercase)
}

fn weight(language: Language, words: &[Word<'_>], n: usize, is_mixed: bool) -> f64 {
    let Some(word) = words.get(n) else { return 0.0 };
    if word.is.boost != 0.0 && language == Language::English {
        return 0.0;
    }
    let before = n.checked_sub(1).and_then(|before| words.get(before)).filter(|before| before.is.begins_phrase);
    let of_pair = before.and_then(|before| language.lexicon().phrases.get(format!("{} {}", before.lower, word.lower).as_str()));
    let Some(weight) = of_pair.copied().or(word.known) else { return 0.0 };
    // A negation that is itself in the list counts by what it negates.
    if word.is.negates && language == Language::Italian {
        return 0.0;
    }
    let mut weight = weight;
    if is_mixed && is_capitals(word.shown) {
        weight += CAPITALS.copysign(weight);
    }
    // A phrase of two was weighed with its negation; in Italian two negations are one: "non è mai stato gentile".
    let (first, mut is_negated) = if of_pair.is_some() { (2, true) } else { (1, false) };
    for (distance, damping) in [(1, 1.0), (2, 0.95), (3, 0.9)].into_iter().filter(|(distance, _)| *distance >= first) {
        let Some(before) = n.checked_sub(distance).and_then(|at| words.get(at)) else { break };
        // VADER reaches over a full stop; in Italian that turned "nessuno risponde. Vergogna!" into praise.
        if language == Language::Italian && before.ends_sentence {
            break;
        }
        if language == Language::English && before.is.boost == 0.0 && before.known.is_some() && !before.is.negates {
            continue;
        }
        let mut boost = before.is.boost;
        if boost != 0.0 && is_mixed && is_capitals(before.shown) {
            boost += CAPITALS.copysign(boost);
        }
        weight += (boost * damping).copysign(boost * weight);
        if before.is.negates && !(is_negated && language == Language::Italian) {
            weight *= NEGATION;
            is_negated = true;
        }
    }
    weight
}

/// The weight of an Italian word that the list has in another form: most stand there once.
fn of_form(lexicon: &Lexicon, word: &str) -> Option<f64> {
    let bare = word.split_once('\'').map_or(word, |(_, rest)| rest);
    let elided = || lexicon.words.get(bare).filter(|_| bare.len() < word.len()).and_then(|entry| entry.weight);
    elided().or_else(|| inflected(lexicon, bare))
}

fn inflected(lexicon: &Lexicon, word: &str) -> Option<f64> {
    let bare = word.strip_suffix(['o', 'a', 'i', 'e']).filter(|bare| bare.len() >= STEM_MIN)?;
    // `sporco`, but `sporche`.
    let stem = bare.strip_suffix('h').unwrap_or(bare);
    let superlative = || stem.strip_suffix("issim").and_then(|stem| lexicon.stems.get(stem)).map(|weight| weight * SUPERLATIVE);
    lexicon.stems.get(stem).copied().or_else(superlative)
}

/// What stands before a contrast counts half, what comes after half as much again.
fn contrast(words: &[Word<'_>], weights: &mut [f64]) {
    let Some(at) = words.iter().position(|word| word.is.contrasts) else { return };
    for (n, weight) in weights.iter_mut().enumerate() {
        if n != at {
            *weight *= if n < at { 0.5 } else { 1.5 };
        }
    }
}

fn emojis(text: &str) -> f64 {
    let known = emoji();
    let mut buffer = [0; 4];
    text.chars().filter(|c| u32::from(*c) > 0x2000).filter_map(|c| known.get(&*c.encode_utf8(&mut buffer))).sum()
}

fn emphasis(text: &str) -> f64 {
    let n_exclamations = u8::try_from(text.matches('!').count().min(4)).unwrap_or(4);
    let n_questions = text.matches('?').count();
    let questions = match n_questions {
        0 | 1 => 0.0,
        2 => 0.36,
        3 => 0.54,
        _ => 0.96,
    };
    f64::from(n_exclamations) * 0.292 + questions
}
