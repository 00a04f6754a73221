//! VADER's rules over one text, with the words of each language.

use std::cmp::Ordering;

use crate::guess::{Guess, guess};
use crate::lexicon::{Lexicon, Roles, english, italian};
use crate::reading::{Reading, Word};

/// A strengthening word before; a weakening one takes as much away. Source: VADER.
const BOOST: f64 = 0.293;
/// A word in capitals among others that are not.
const CAPITALS: f64 = 0.733;
/// A negation turns a weight round, and down.
const NEGATION: f64 = -0.74;
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
        let primary = tag.split(['-', '_']).next()?;
        [("en", Self::English), ("it", Self::Italian)]
            .into_iter()
            .find(|(known, _)| primary.eq_ignore_ascii_case(known))
            .map(|(_, language)| language)
    }

    /// Where nobody told it.
    pub(crate) fn guessed(text: &str) -> Option<Self> {
        match guess(text) {
            Guess::Italian => Some(Self::Italian),
            Guess::English => Some(Self::English),
            Guess::Other => None,
            Guess::Unclear => {
                let [italian, english] = [Self::Italian, Self::English].map(|language| Reading::of(language, text));
                match italian.n_known().cmp(&english.n_known()) {
                    Ordering::Greater => Some(Self::Italian),
                    Ordering::Less => Some(Self::English),
                    // Emojis are of every language: "@acme 😡😡😡".
                    Ordering::Equal => (english.emojis != 0.0).then_some(Self::English),
                }
            }
        }
    }

    pub(crate) fn lexicon(self) -> &'static Lexicon {
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

/// How a text feels; `None` where it has no word at all.
pub fn score(language: Language, text: &str) -> Option<f64> {
    let reading = Reading::of(language, text);
    if !reading.says_something {
        return None;
    }
    let sum = (0..reading.words.len()).map(|n| weight(&reading, n) * share(&reading, n)).sum::<f64>() + reading.emojis;
    let sum = if sum > 0.0 {
        sum + emphasis(&reading)
    } else if sum < 0.0 {
        sum - emphasis(&reading)
    } else {
        0.0
    };
    Some((sum / (sum * sum + ALPHA).sqrt()).clamp(-1.0, 1.0))
}

fn emphasis(reading: &Reading<'_>) -> f64 {
    let questions = match reading.n_questions {
        0 | 1 => 0.0,
        2 => 0.36,
        3 => 0.54,
        _ => 0.96,
    };
    f64::from(reading.n_exclamations.min(4)) * 0.292 + questions
}

/// What stands before a contrast counts half, what comes after half as much again.
fn share(reading: &Reading<'_>, n: usize) -> f64 {
    match reading.contrast.map(|contrast| n.cmp(&contrast)) {
        Some(Ordering::Less) => 0.5,
        Some(Ordering::Greater) => 1.5,
        Some(Ordering::Equal) | None => 1.0,
    }
}

fn weight(reading: &Reading<'_>, n: usize) -> f64 {
    let Reading { language, words, .. } = reading;
    let Some(word) = words.get(n) else { return 0.0 };
    if word.is.boost != 0.0 && *language == Language::English {
        return 0.0;
    }
    let of_pair = if word.is.ends_phrase { of_pair(reading, n) } else { None };
    let Some(mut weight) = of_pair.or(word.known) else { return 0.0 };
    // A negation that is itself in the list counts by what it negates.
    if word.negates && *language == Language::Italian {
        return 0.0;
    }
    if *language == Language::English {
        match no(reading, n) {
            No::Denies => return 0.0,
            No::IsDenied => weight *= NEGATION,
            No::IsAbsent => {}
        }
    }
    let is_mixed = reading.n_capitals > 0 && reading.n_capitals < words.len();
    if is_mixed && word.is_capitals {
        weight += CAPITALS.copysign(weight);
    }
    // A phrase of two was weighed with its negation; in Italian two negations are one: "non è mai stato gentile".
    let (first, mut is_negated) = if of_pair.is_some() { (2, true) } else { (1, false) };
    for (distance, damping) in [(1, 1.0), (2, 0.95), (3, 0.9)].into_iter().filter(|(distance, _)| *distance >= first) {
        let Some(before) = n.checked_sub(distance).and_then(|at| words.get(at)) else { break };
        // VADER reaches over a full stop; in Italian that turned "nessuno risponde. Vergogna!" into praise.
        if *language == Language::Italian && before.ends_sentence {
            break;
        }
        if *language == Language::English && before.is.boost == 0.0 && before.known.is_some() && !before.negates {
            continue;
        }
        let mut boost = before.is.boost;
        if boost != 0.0 && is_mixed && before.is_capitals {
            boost += CAPITALS.copysign(boost);
        }
        weight += (boost * damping).copysign(boost * weight);
        if negates(reading, n - distance) && !(is_negated && *language == Language::Italian) {
            weight *= NEGATION;
            is_negated = true;
        }
    }
    weight
}

/// A negation with a phrase of its own that is no blame is spent: "senza dubbio il migliore", "nessun problema, ottimi".
fn negates(reading: &Reading<'_>, at: usize) -> bool {
    let is_spent = || reading.language == Language::Italian && of_pair(reading, at + 1).is_some_and(|weight| weight >= 0.0);
    reading.words.get(at).is_some_and(|word| word.negates) && !is_spent()
}

/// What the English `no`, which has a weight of its own, does to a weighed word.
enum No {
    /// It is that `no`, and counts by what it denies.
    Denies,
    IsDenied,
    IsAbsent,
}

/// Source: VADER; but a `no` that ends its clause denies nothing ("No, it is great"), and one denies no more than what it comes to first
/// ("No complaints, great service").
fn no(reading: &Reading<'_>, n: usize) -> No {
    let at = |n: usize| reading.words.get(n);
    let before = |distance: usize| n.checked_sub(distance).and_then(at);
    let is_no = |word: &&Word<'_>| word.is_one_of(&["no"]) && !word.ends_clause;
    if at(n).is_some_and(|word| word.is_one_of(&["no"])) {
        let denies = at(n).filter(is_no).is_some() && at(n + 1).is_some_and(|next| next.known.is_some() && !next.is_one_of(&["no"]));
        return if denies { No::Denies } else { No::IsAbsent };
    }
    let is_linked = before(1).is_some_and(|word| word.is_one_of(&["or", "nor"]));
    let reaches = |distance: usize| {
        let is_first = is_linked || (1..distance).filter_map(before).all(|between| between.known.is_none());
        before(distance).filter(is_no).is_some() && is_first
    };
    if reaches(1) || reaches(2) || is_linked && reaches(3) { No::IsDenied } else { No::IsAbsent }
}

/// The weight of a word together with the one before it.
fn of_pair(reading: &Reading<'_>, n: usize) -> Option<f64> {
    let before = n.checked_sub(1).and_then(|before| reading.words.get(before)).filter(|before| before.is.begins_phrase)?;
    reading.lexicon.phrases.get(before.with(reading.words.get(n)?).as_slice()).copied()
}
