//! Word lists, read once.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;

/// Words by weight.
pub(crate) type Words = FxHashMap<&'static str, f64>;

static ENGLISH: OnceLock<Words> = OnceLock::new();
static ITALIAN: OnceLock<Words> = OnceLock::new();
static EMOJI: OnceLock<Words> = OnceLock::new();

fn read(text: &'static str) -> Words {
    text.lines().filter_map(|line| line.split_once('\t')).filter_map(|(word, weight)| Some((word, weight.parse().ok()?))).collect()
}

pub(crate) fn english() -> &'static Words {
    ENGLISH.get_or_init(|| read(include_str!("../data/en.tsv")))
}

pub(crate) fn italian() -> &'static Words {
    ITALIAN.get_or_init(|| {
        let mut words = read(include_str!("../data/it.tsv"));
        // What customers say of companies, which a list for newspapers lacks or weighs otherwise.
        words.extend(read(include_str!("../data/it-service.tsv")));
        words
    })
}

/// First words of Italian phrases of two.
pub(crate) fn italian_firsts() -> &'static FxHashMap<&'static str, ()> {
    static FIRSTS: OnceLock<FxHashMap<&'static str, ()>> = OnceLock::new();
    FIRSTS.get_or_init(|| italian().keys().filter_map(|phrase| phrase.split_once(' ')).map(|(first, _)| (first, ())).collect())
}

/// Stems that are shorter say too little. Units: bytes.
const STEM_MIN: usize = 4;

/// Italian words without their last vowel, each with the weight of its first form in the order of a dictionary.
pub(crate) fn italian_stems() -> &'static Words {
    static STEMS: OnceLock<Words> = OnceLock::new();
    STEMS.get_or_init(|| {
        let mut stems = Words::default();
        for end in ['o', 'e', 'a', 'i'] {
            for (word, weight) in italian() {
                if let Some(stem) = word.strip_suffix(end).filter(|stem| stem.len() >= STEM_MIN && !stem.contains(' ')) {
                    stems.entry(stem).or_insert(*weight);
                }
            }
        }
        stems
    })
}

pub(crate) fn emoji() -> &'static Words {
    EMOJI.get_or_init(|| {
        let mut all = read(include_str!("../data/emoji.tsv"));
        // Their descriptions say "pouting" and "symbols on mouth", which no list weighs; others are newer.
        all.extend([("😡", -2.5), ("🤬", -3.0), ("😤", -1.8), ("😠", -2.3), ("🤢", -2.5), ("🤮", -3.0), ("🙄", -1.5), ("👎", -2.0)]);
        all.extend([("👍", 1.8), ("🙏", 0.8), ("💪", 1.2), ("🔥", 1.0), ("🥰", 2.8), ("🎉", 1.8)]);
        all
    })
}
