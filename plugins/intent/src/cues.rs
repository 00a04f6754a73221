//! The words for what people want, and the phrases that give it away, by language. Written for this analyzer.
//!
//! A phrase begins and ends where words do; `*` at its end leaves the last word open, a lone `*` stands for any word.
//! `!` at its beginning passes over what is denied: "no problem".
//! The lists are read once; a text is looked through once, for each word only at the phrases that begin like it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// What somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Something is wrong.
    Complaint,
    /// Wants to know.
    Question,
    /// Wants something done.
    Request,
    /// Has an idea.
    Suggestion,
    /// Likes it.
    Praise,
    /// Is grateful.
    Thanks,
    /// Wants to buy.
    Purchase,
    /// Wants to leave.
    Churn,
    /// Wants a job.
    Application,
    /// None of these.
    Other,
}

impl Intent {
    /// In the order of the vocabulary.
    pub const ALL: [Intent; 10] = [
        Intent::Complaint,
        Intent::Question,
        Intent::Request,
        Intent::Suggestion,
        Intent::Praise,
        Intent::Thanks,
        Intent::Purchase,
        Intent::Churn,
        Intent::Application,
        Intent::Other,
    ];

    /// As annotations say it.
    pub fn word(self) -> &'static str {
        match self {
            Intent::Complaint => "complaint",
            Intent::Question => "question",
            Intent::Request => "request",
            Intent::Suggestion => "suggestion",
            Intent::Praise => "praise",
            Intent::Thanks => "thanks",
            Intent::Purchase => "purchase",
            Intent::Churn => "churn",
            Intent::Application => "application",
            Intent::Other => "other",
        }
    }
}

/// Words that deny what follows them.
const DENIALS: [&str; 6] = ["no", "nessun", "nessuna", "senza", "without", "zero"];

/// A phrase that gives an intent away.
struct Cue {
    words: Vec<&'static str>,
    /// Not where it is denied.
    is_deniable: bool,
    intent: Intent,
    weight: f32,
    /// Its place in the list, by which it counts once.
    n: usize,
}

/// The phrases of one language.
pub(crate) struct Cues {
    by_head: BTreeMap<[u8; 2], Vec<Cue>>,
    n_cues: usize,
}

impl Cues {
    pub(crate) fn italian() -> &'static Self {
        static CUES: OnceLock<Cues> = OnceLock::new();
        CUES.get_or_init(|| Self::read(include_str!("../data/it.tsv")))
    }

    pub(crate) fn english() -> &'static Self {
        static CUES: OnceLock<Cues> = OnceLock::new();
        CUES.get_or_init(|| Self::read(include_str!("../data/en.tsv")))
    }

    /// Lines of `INTENT<tab>WEIGHT<tab>PHRASE|PHRASE`.
    fn read(text: &'static str) -> Self {
        let mut cues = Self { by_head: BTreeMap::new(), n_cues: 0 };
        for line in text.lines() {
            let mut columns = line.split('\t');
            let intent = columns.next().and_then(|word| Intent::ALL.into_iter().find(|intent| intent.word() == word));
            let weight = columns.next().and_then(|weight| weight.parse().ok());
            let (Some(intent), Some(weight), Some(phrases)) = (intent, weight, columns.next()) else { continue };
            for phrase in phrases.split('|') {
                let (is_deniable, phrase) = phrase.strip_prefix('!').map_or((false, phrase), |phrase| (true, phrase));
                let words = phrase.split(' ').collect();
                let cue = Cue { words, is_deniable, intent, weight, n: cues.n_cues };
                cues.n_cues += 1;
                cues.by_head.entry(head_of(phrase)).or_default().push(cue);
            }
        }
        cues
    }

    /// Every phrase that the words hold, once.
    pub(crate) fn found(&self, words: &[&str], mut say: impl FnMut(Intent, f32)) {
        let mut was_found = vec![false; self.n_cues];
        for at in 0..words.len() {
            let rest = words.get(at..).unwrap_or_default();
            let Some(first) = rest.first() else { break };
            let is_denied = at.checked_sub(1).and_then(|before| words.get(before)).is_some_and(|word| DENIALS.contains(word));
            let fits = |cue: &&Cue| cue.is_at(rest) && !(is_denied && cue.is_deniable);
            for cue in self.by_head.get(&head_of(first)).into_iter().flatten().filter(fits) {
                if let Some(was_found) = was_found.get_mut(cue.n)
                    && !std::mem::replace(was_found, true)
                {
                    say(cue.intent, cue.weight);
                }
            }
        }
    }
}

impl Cue {
    fn is_at(&self, words: &[&str]) -> bool {
        let fits = |wanted: &str, found: &str| wanted.strip_suffix('*').map_or(wanted == found, |stem| found.starts_with(stem));
        self.words.len() <= words.len() && self.words.iter().zip(words).all(|(wanted, found)| fits(wanted, found))
    }
}

/// What phrases are sorted by: no phrase is shorter than two bytes.
fn head_of(word: &str) -> [u8; 2] {
    let mut bytes = word.bytes();
    [bytes.next().unwrap_or(b' '), bytes.next().unwrap_or(b' ')]
}
