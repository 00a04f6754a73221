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
                let lower = text.to_ascii_lowercase();
                let n_known = |language| Reading::of(language, text, &lower).words.iter().filter(|word| word.known.is_some()).count();
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

/// A word that no list has.
static UNKNOWN: Entry = Entry { weight: None, boost: 0.0, negates: false, contrasts: false, begins_phrase: false };

struct Word<'t> {
    lower: Cow<'t, str>,
    is: &'static Entry,
    negates: bool,
    is_capitals: bool,
    /// Its own weight, in any of its forms.
    known: Option<f64>,
    ends_sentence: bool,
}

const LETTER: u8 = 1;
const BLANK: u8 = 2;
const CAPITAL: u8 = 3;
const EXCLAMATION: u8 = 4;
const QUESTION: u8 = 5;
/// The first byte of a character that is not ASCII; those that follow it say nothing.
const WIDE: u8 = 6;

/// What a byte of a text is.
static CLASSES: [u8; 256] = classes();

#[expect(clippy::indexing_slicing, reason = "every byte is below 256, and it runs when it is compiled")]
const fn classes() -> [u8; 256] {
    let mut all = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        all[byte] = match byte {
            0x09..=0x0d | 0x20 => BLANK,
            0x41..=0x5a => CAPITAL,
            0x30..=0x39 | 0x61..=0x7a => LETTER,
            0x21 => EXCLAMATION,
            0x3f => QUESTION,
            0xc0..=0xff => WIDE,
            _ => 0,
        };
        byte += 1;
    }
    all
}

/// What one pass over a text's bytes finds: each further pass costs as much again, inside Wasm more than elsewhere.
#[derive(Default)]
struct Reading<'t> {
    words: Vec<Word<'t>>,
    emojis: f64,
    n_exclamations: u32,
    n_questions: u32,
    /// A letter, a digit, or a sign that may be an emoji.
    says_something: bool,
}

impl<'t> Reading<'t> {
    /// `lower` is `shown` in ASCII's lower case: the same bytes at the same places.
    fn of(language: Language, shown: &'t str, lower: &'t str) -> Self {
        // About as many as there will be: growing piece by piece costs more than the room.
        let mut reading = Self { words: Vec::with_capacity(shown.len() / 6 + 4), ..Self::default() };
        let (mut start, mut case) = (0, Case::Lower);
        for (at, byte) in shown.bytes().enumerate() {
            let class = CLASSES.get(usize::from(byte)).copied().unwrap_or(0);
            reading.says_something |= class == LETTER || class == CAPITAL;
            match class {
                LETTER | 0 => {}
                BLANK => {
                    reading.word(language, shown.get(start..at), lower.get(start..at), case);
                    (start, case) = (at + 1, Case::Lower);
                }
                CAPITAL => case = case.max(Case::Ascii),
                EXCLAMATION => reading.n_exclamations += 1,
                QUESTION => reading.n_questions += 1,
                _ => {
                    let Some(c) = shown.get(at..).and_then(|rest| rest.chars().next()) else { continue };
                    if c.is_whitespace() {
                        reading.word(language, shown.get(start..at), lower.get(start..at), case);
                        (start, case) = (at + c.len_utf8(), Case::Lower);
                    } else {
                        case = if c.is_uppercase() || c == '’' { Case::Wide } else { case };
                        reading.emojis += if c > '\u{2000}' { emoji_weight(c) } else { 0.0 };
                        reading.says_something |= c > '\u{2000}' || c.is_alphanumeric();
                    }
                }
            }
        }
        reading.word(language, shown.get(start..), lower.get(start..), case);
        reading
    }

    fn word(&mut self, language: Language, shown: Option<&'t str>, lower: Option<&'t str>, case: Case) {
        if let (Some(shown), Some(lower)) = (shown.filter(|shown| !shown.is_empty()), lower) {
            self.words.push(word_of(language, shown, lower, case));
        }
    }

    fn emphasis(&self) -> f64 {
        let questions = match self.n_questions {
            0 | 1 => 0.0,
            2 => 0.36,
            3 => 0.54,
            _ => 0.96,
        };
        f64::from(self.n_exclamations.min(4)) * 0.292 + questions
    }
}

/// How a text feels; `None` where it has no word at all.
pub fn score(language: Language, text: &str) -> Option<f64> {
    // Once for the whole text: a text of its own for each word that has a capital costs more than all the rest.
    let lower = text.to_ascii_lowercase();
    let reading = Reading::of(language, text, &lower);
    if !reading.says_something {
        return None;
    }
    let words = &reading.words;
    let n_capitals = words.iter().filter(|word| word.is_capitals).count();
    let is_mixed = n_capitals > 0 && n_capitals < words.len();
    let mut weights: Vec<f64> = (0..words.len()).map(|n| weight(language, words, n, is_mixed)).collect();
    contrast(words, &mut weights);
    let sum: f64 = weights.iter().sum::<f64>() + reading.emojis;
    let sum = if sum > 0.0 {
        sum + reading.emphasis()
    } else if sum < 0.0 {
        sum - reading.emphasis()
    } else {
        0.0
    };
    Some((sum / (sum * sum + ALPHA).sqrt()).clamp(-1.0, 1.0))
}

/// What letters a word has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Case {
    Lower,
    /// Capitals, of ASCII alone.
    Ascii,
    /// Others, or an apostrophe that is not ASCII's.
    Wide,
}

/// Punctuation around a word goes, but an emoticon stays as it is.
fn word_of<'t>(language: Language, shown: &'t str, lower: &'t str, case: Case) -> Word<'t> {
    let (kept, ends_sentence) = if is_bare(lower) { (lower, false) } else { (bared(lower), shown.ends_with(['.', '!', '?', '…'])) };
    let lower = if case == Case::Wide { Cow::Owned(kept.to_lowercase().replace('’', "'")) } else { Cow::Borrowed(kept) };
    let lexicon = language.lexicon();
    let is = lexicon.words.get(&*lower).unwrap_or(&UNKNOWN);
    // A search for a text is dear inside Wasm, and few words have an apostrophe.
    let is_not = || language == Language::English && lower.as_bytes().contains(&b'\'') && lower.contains("n't");
    let negates = is.negates || is_not();
    let known = is.weight.or_else(|| if language == Language::Italian { of_form(lexicon, &lower) } else { None });
    Word { is_capitals: case != Case::Lower && is_capitals(shown), lower, is, negates, known, ends_sentence }
}

/// Most words have no punctuation to lose.
fn is_bare(shown: &str) -> bool {
    let is_letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    is_letter(shown.as_bytes().first()) && is_letter(shown.as_bytes().last())
}

fn bared(shown: &str) -> &str {
    let bare = shown.trim_matches(|c: char| c.is_ascii_punctuation() || matches!(c, '«' | '»' | '“' | '”' | '‘' | '’' | '…'));
    if bare.chars().nth(2).is_none() && !bare.chars().any(char::is_alphanumeric) { shown } else { bare }
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
    if word.negates && language == Language::Italian {
        return 0.0;
    }
    let mut weight = weight;
    if is_mixed && word.is_capitals {
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
        if language == Language::English && before.is.boost == 0.0 && before.known.is_some() && !before.negates {
            continue;
        }
        let mut boost = before.is.boost;
        if boost != 0.0 && is_mixed && before.is_capitals {
            boost += CAPITALS.copysign(boost);
        }
        weight += (boost * damping).copysign(boost * weight);
        if before.negates && !(is_negated && language == Language::Italian) {
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

fn emoji_weight(c: char) -> f64 {
    let mut buffer = [0; 4];
    emoji().get(&*c.encode_utf8(&mut buffer)).copied().unwrap_or(0.0)
}
