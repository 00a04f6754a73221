//! Italian, English or something else, by the little words: for analyzers that run where nobody told the language. Cheap
//! and cautious; what it cannot tell stays unclear. The analyzer `language` knows far more, and does not use this.

/// What a text seems to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guess {
    /// `it`.
    Italian,
    /// `en`.
    English,
    /// Neither of them.
    Other,
    /// Too few words that say it.
    Unclear,
}

/// Words looked at.
const WORDS_MAX: usize = 200;

const ITALIAN: &[&str] = &[
    "il", "lo", "gli", "di", "da", "della", "delle", "del", "dei", "al", "alla", "nel", "nella", "sul", "con", "per", "che", "è", "e", "non", "mi",
    "ti", "ci", "vi", "si", "sono", "ho", "ha", "hanno", "avete", "siete", "sei", "perché", "quando", "ma", "più", "anche", "questo", "questa",
    "molto", "grazie", "ancora", "vostro", "vostra", "vorrei", "mai", "già", "dal", "dove", "cosa", "tutto", "una", "un", "la",
];
const ENGLISH: &[&str] = &[
    "the", "of", "to", "and", "is", "are", "was", "were", "i'm", "i'd", "you", "my", "your", "it", "it's", "for", "with", "on", "have", "has", "had",
    "not", "this", "that", "be", "we", "they", "does", "did", "can", "could", "would", "please", "thanks", "at", "from", "an", "what", "when", "how",
    "don't", "doesn't", "just", "all", "been",
];
/// Of Spanish, Portuguese, French and German; some are words of Italian too, and count for both.
const OTHERS: &[&str] = &[
    "el", "los", "las", "y", "es", "muy", "pero", "qué", "por", "para", "una", "un", "la", "que", "mi", "nada", "porque", "está", "não", "os", "as",
    "uma", "com", "muito", "é", "um", "le", "les", "des", "du", "et", "est", "je", "vous", "pas", "une", "pour", "nous", "der", "die", "das", "und",
    "ist", "nicht", "ich", "sie", "ein", "eine", "mit", "den", "auf", "wir", "het", "een", "niet", "och", "att", "det",
];

/// What the little words of a text say.
pub(crate) fn guess(text: &str) -> Guess {
    let (mut italian, mut english, mut others) = (0_u32, 0_u32, 0_u32);
    for shown in text.split_whitespace().filter(|word| !word.starts_with('@')).take(WORDS_MAX) {
        let word = shown.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase().replace('’', "'");
        let word = word.as_str();
        // Hardly a letter of either is beyond Latin's own.
        if word.chars().any(|c| c.is_alphabetic() && u32::from(c) > 0x24f || "ñßøåłćšğ".contains(c)) {
            others += 2;
        }
        let is_elided = ["l'", "un'", "dell'", "all'", "nell'", "c'è", "dov'è", "quell'"].iter().any(|head| word.starts_with(head));
        italian += u32::from(is_elided || ITALIAN.contains(&word));
        english += u32::from(ENGLISH.contains(&word));
        others += u32::from(OTHERS.contains(&word));
    }
    match italian.max(english).max(others) {
        0 => Guess::Unclear,
        most if italian == most && english < most && others < most => Guess::Italian,
        most if english == most && italian < most && others < most => Guess::English,
        most if others == most && italian < most && english < most => Guess::Other,
        _ => Guess::Unclear,
    }
}
