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
        words.extend(ITALIAN_OF_SERVICE);
        words
    })
}

/// First words of Italian phrases of two.
pub(crate) fn italian_firsts() -> &'static FxHashMap<&'static str, ()> {
    static FIRSTS: OnceLock<FxHashMap<&'static str, ()>> = OnceLock::new();
    FIRSTS.get_or_init(|| italian().keys().filter_map(|phrase| phrase.split_once(' ')).map(|(first, _)| (first, ())).collect())
}

pub(crate) fn emoji() -> &'static Words {
    EMOJI.get_or_init(|| {
        let mut all = read(include_str!("../data/emoji.tsv"));
        // Their descriptions say "pouting" and "symbols on mouth", which no list weighs.
        all.extend([("😡", -2.5), ("🤬", -3.0)]);
        all
    })
}

/// What customers say of companies, which a list for newspapers lacks or weighs otherwise.
const ITALIAN_OF_SERVICE: [(&str, f64); 64] = [
    ("vergogna", -3.5),
    ("vergognoso", -3.5),
    ("vergognosa", -3.5),
    ("pessimo", -3.5),
    ("pessima", -3.5),
    ("pessimi", -3.5),
    ("schifo", -3.5),
    ("schifoso", -3.5),
    ("scandaloso", -3.2),
    ("scandalosa", -3.2),
    ("truffa", -3.5),
    ("truffatori", -3.8),
    ("ladri", -3.5),
    ("disservizio", -2.8),
    ("disservizi", -2.8),
    ("disastro", -3.2),
    ("disastroso", -3.2),
    ("inaccettabile", -3.0),
    ("inammissibile", -3.0),
    ("delusione", -2.6),
    ("deluso", -2.6),
    ("delusa", -2.6),
    ("deludente", -2.6),
    ("rotto", -2.0),
    ("rotta", -2.0),
    ("guasto", -2.2),
    ("guasta", -2.2),
    ("ritardo", -1.8),
    ("ritardi", -1.8),
    ("lento", -1.6),
    ("lenta", -1.6),
    ("lentissimo", -2.4),
    ("incompetenti", -3.0),
    ("maleducati", -3.0),
    ("maleducato", -3.0),
    ("scortese", -2.6),
    ("scortesi", -2.6),
    ("arrabbiato", -2.6),
    ("arrabbiata", -2.6),
    ("furioso", -3.2),
    ("stufo", -2.4),
    ("stufa", -2.4),
    ("peggio", -2.2),
    ("peggiore", -2.8),
    ("errore", -1.6),
    ("errori", -1.6),
    ("reclamo", -1.6),
    ("caro", -1.2),
    ("ottimo", 3.2),
    ("ottima", 3.2),
    ("ottimi", 3.2),
    ("eccellente", 3.4),
    ("perfetto", 3.0),
    ("perfetta", 3.0),
    ("gentilissimi", 3.2),
    ("gentili", 2.4),
    ("gentile", 2.2),
    ("cortesi", 2.4),
    ("veloce", 1.8),
    ("velocissimi", 2.6),
    ("puntuali", 2.0),
    ("complimenti", 3.0),
    ("soddisfatto", 2.6),
    ("consigliatissimo", 3.2),
];
