//! Word lists, read once into one table a language: a word is looked up once, for all that it may be.

use std::sync::OnceLock;

use crate::hash::WordMap;

/// Stems that are shorter say too little. Units: bytes.
pub(crate) const STEM_MIN: usize = 4;

/// What is known of a word.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Entry {
    /// How it feels.
    pub(crate) weight: Option<f64>,
    /// What it adds to what follows.
    pub(crate) boost: f64,
    pub(crate) negates: bool,
    pub(crate) contrasts: bool,
    /// A phrase of two in the list begins with it.
    pub(crate) begins_phrase: bool,
    /// A phrase of two in the list ends with it.
    pub(crate) ends_phrase: bool,
}

/// The little words of a language.
pub(crate) struct Roles {
    pub(crate) more: &'static [&'static str],
    pub(crate) less: &'static [&'static str],
    pub(crate) negations: &'static [&'static str],
    pub(crate) contrasts: &'static [&'static str],
    /// See [`Entry::boost`].
    pub(crate) boost: f64,
}

/// All that is known of a language.
pub(crate) struct Lexicon {
    pub(crate) words: WordMap<&'static [u8], Entry>,
    /// Two words with a blank between.
    pub(crate) phrases: WordMap<&'static [u8], f64>,
    /// Words without their last vowel, each with the weight of its first form in the order of a dictionary; empty in English.
    pub(crate) stems: WordMap<&'static [u8], f64>,
}

fn read(text: &'static str) -> impl Iterator<Item = (&'static str, f64)> {
    text.lines().filter_map(|line| line.split_once('\t')).filter_map(|(word, weight)| Some((word, weight.parse().ok()?)))
}

impl Lexicon {
    fn of(lists: &[&'static str], roles: &Roles) -> Self {
        let (mut words, mut phrases) = (WordMap::<&[u8], Entry>::default(), WordMap::default());
        for (word, weight) in lists.iter().flat_map(|list| read(list)) {
            match word.split_once(' ') {
                Some((first, second)) => {
                    words.entry(first.as_bytes()).or_default().begins_phrase = true;
                    words.entry(second.as_bytes()).or_default().ends_phrase = true;
                    phrases.insert(word.as_bytes(), weight);
                }
                None => words.entry(word.as_bytes()).or_default().weight = Some(weight),
            }
        }
        roles.less.iter().for_each(|word| words.entry(word.as_bytes()).or_default().boost = -roles.boost);
        roles.more.iter().for_each(|word| words.entry(word.as_bytes()).or_default().boost = roles.boost);
        roles.negations.iter().for_each(|word| words.entry(word.as_bytes()).or_default().negates = true);
        roles.contrasts.iter().for_each(|word| words.entry(word.as_bytes()).or_default().contrasts = true);
        Self { words, phrases, stems: WordMap::default() }
    }

    fn with_stems(mut self) -> Self {
        for end in [b"o", b"e", b"a", b"i"] {
            for (word, entry) in &self.words {
                if let (Some(stem), Some(weight)) = (word.strip_suffix(end).filter(|stem| stem.len() >= STEM_MIN), entry.weight) {
                    self.stems.entry(stem).or_insert(weight);
                }
            }
        }
        self
    }
}

pub(crate) fn english(roles: &Roles) -> &'static Lexicon {
    static ENGLISH: OnceLock<Lexicon> = OnceLock::new();
    ENGLISH.get_or_init(|| Lexicon::of(&[include_str!("../data/en.tsv")], roles))
}

pub(crate) fn italian(roles: &Roles) -> &'static Lexicon {
    static ITALIAN: OnceLock<Lexicon> = OnceLock::new();
    // The second: what customers say of companies, which a list for newspapers lacks or weighs otherwise.
    ITALIAN.get_or_init(|| Lexicon::of(&[include_str!("../data/it.tsv"), include_str!("../data/it-service.tsv")], roles).with_stems())
}

pub(crate) fn emoji() -> &'static WordMap<&'static str, f64> {
    static EMOJI: OnceLock<WordMap<&'static str, f64>> = OnceLock::new();
    EMOJI.get_or_init(|| {
        let mut all: WordMap<_, _> = read(include_str!("../data/emoji.tsv")).collect();
        // Their descriptions say "pouting" and "symbols on mouth", which no list weighs; others are newer.
        all.extend([("😡", -2.5), ("🤬", -3.0), ("😤", -1.8), ("😠", -2.3), ("🤢", -2.5), ("🤮", -3.0), ("🙄", -1.5), ("👎", -2.0)]);
        all.extend([("👍", 1.8), ("🙏", 0.8), ("💪", 1.2), ("🔥", 1.0), ("🥰", 2.8), ("🎉", 1.8)]);
        all
    })
}
