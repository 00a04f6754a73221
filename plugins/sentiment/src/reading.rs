//! A text as the words that the rules weigh.

use std::borrow::Cow;

use crate::lexicon::{Entry, Lexicon, STEM_MIN, emoji};
use crate::rules::Language;

/// `-issimo`.
const SUPERLATIVE: f64 = 1.3;

/// Room for nearly every word. Units: bytes.
const WORD_MAX: usize = 32;

/// A word that no list has.
static UNKNOWN: Entry = Entry { weight: None, boost: 0.0, negates: false, contrasts: false, begins_phrase: false, ends_phrase: false };

/// A word as it stands in a text.
pub(crate) struct Word<'t> {
    /// Without the punctuation around it, as written.
    text: &'t str,
    case: Case,
    pub(crate) is: &'static Entry,
    pub(crate) negates: bool,
    pub(crate) is_capitals: bool,
    /// Its own weight, in any of its forms.
    pub(crate) known: Option<f64>,
    pub(crate) ends_sentence: bool,
    /// At a comma or the like, too.
    pub(crate) ends_clause: bool,
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

impl Case {
    /// As the word lists write it. Most words are written so, and go no further.
    #[inline]
    fn folded<'w>(self, word: &'w str, room: &'w mut [u8; WORD_MAX]) -> Cow<'w, [u8]> {
        match self {
            Self::Lower => Cow::Borrowed(word.as_bytes()),
            Self::Ascii => lowered(word, room),
            Self::Wide => widely_lowered(word),
        }
    }
}

#[inline(never)]
fn lowered<'r>(word: &str, room: &'r mut [u8; WORD_MAX]) -> Cow<'r, [u8]> {
    let Some(room) = room.get_mut(..word.len()) else { return widely_lowered(word) };
    room.iter_mut().zip(word.bytes()).for_each(|(to, byte)| *to = byte.to_ascii_lowercase());
    Cow::Borrowed(room)
}

#[inline(never)]
fn widely_lowered<'w>(word: &str) -> Cow<'w, [u8]> {
    Cow::Owned(word.to_lowercase().replace('’', "'").into_bytes())
}

impl Word<'_> {
    /// Words of ASCII alone.
    pub(crate) fn is_one_of(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.text.eq_ignore_ascii_case(word))
    }

    /// This word and another, as the word lists write a phrase.
    pub(crate) fn with(&self, next: &Self) -> Vec<u8> {
        [self, next].map(|word| word.case.folded(word.text, &mut [0; WORD_MAX]).into_owned()).join(&b' ')
    }
}

/// Eight times this byte.
const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// What eight bytes of a text tell: the top bit of each byte that does.
#[derive(Clone, Copy)]
struct Eight {
    /// A blank, or any control character.
    blanks: u64,
    /// All that does more than to go on with a word: those, `!`, `?`, `'`, capitals, and what is not ASCII.
    telling: u64,
}

impl Eight {
    /// No sum carries over into the next byte, for none is over 0xff.
    fn of(bytes: [u8; 8]) -> Self {
        let eight = u64::from_le_bytes(bytes);
        let low = eight & each(0x7f);
        let is_over = |byte: u8| low + each(0x80 - byte - 1);
        let is_not = |byte: u8| (low ^ each(byte)) + each(0x7f);
        let is_capital = is_over(b'A' - 1) & !is_over(b'Z');
        let is_plain = is_over(b'!') & is_not(b'?') & is_not(b'\'') & !is_capital & !eight;
        Self { blanks: !(is_over(b' ') | eight) & each(0x80), telling: !is_plain & each(0x80) }
    }
}

/// What one pass over a text finds, eight bytes at a time: each further pass costs as much again, inside Wasm more than elsewhere, where
/// each turn of a loop is counted.
pub(crate) struct Reading<'t> {
    pub(crate) language: Language,
    pub(crate) lexicon: &'static Lexicon,
    text: &'t str,
    pub(crate) words: Vec<Word<'t>>,
    pub(crate) n_capitals: usize,
    /// The first word of contrast.
    pub(crate) contrast: Option<usize>,
    pub(crate) emojis: f64,
    pub(crate) n_exclamations: u32,
    pub(crate) n_questions: u32,
    /// A letter, a digit, or a sign that may be an emoji.
    pub(crate) says_something: bool,
    /// Of the word that is being read.
    start: usize,
    case: Case,
    has_apostrophe: bool,
    /// One for all words: one each costs more than all the rest.
    room: [u8; WORD_MAX],
}

impl<'t> Reading<'t> {
    /// Reads all of it.
    pub(crate) fn of(language: Language, text: &'t str) -> Self {
        let mut reading = Self {
            language,
            lexicon: language.lexicon(),
            text,
            // About as many as there will be: growing piece by piece costs more than the room.
            words: Vec::with_capacity(text.len() / 6 + 4),
            n_capitals: 0,
            contrast: None,
            emojis: 0.0,
            n_exclamations: 0,
            n_questions: 0,
            says_something: false,
            start: 0,
            case: Case::Lower,
            has_apostrophe: false,
            room: [0; WORD_MAX],
        };
        let (eights, rest) = text.as_bytes().as_chunks::<8>();
        let mut last = [b'.'; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        for (n, eight) in eights.iter().chain([&last]).enumerate() {
            let Eight { blanks, mut telling } = Eight::of(*eight);
            while telling != 0 {
                let at = n * 8 + telling.trailing_zeros() as usize / 8;
                let others = telling & (telling - 1);
                if blanks & (telling ^ others) != 0 {
                    reading.word(at);
                    reading.start = at + 1;
                } else {
                    reading.sign(at);
                }
                telling = others;
            }
        }
        reading.word(text.len());
        reading
    }

    /// Words that the list weighs.
    pub(crate) fn n_known(&self) -> usize {
        self.words.iter().filter(|word| word.known.is_some()).count()
    }

    fn sign(&mut self, at: usize) {
        match self.text.as_bytes().get(at).copied().unwrap_or_default() {
            b'A'..=b'Z' => self.case = self.case.max(Case::Ascii),
            b'!' => self.n_exclamations += 1,
            b'?' => self.n_questions += 1,
            b'\'' => self.has_apostrophe = true,
            _ => self.wide(at),
        }
    }

    /// A character that is not ASCII, where its first byte is.
    fn wide(&mut self, at: usize) {
        let Some(c) = self.text.get(at..).and_then(|rest| rest.chars().next()) else { return };
        if c.is_whitespace() {
            self.word(at);
            self.start = at + c.len_utf8();
            return;
        }
        if c.is_uppercase() || c == '’' {
            self.case = Case::Wide;
        }
        self.has_apostrophe |= c == '’';
        if c > '\u{2000}' {
            self.emojis += emoji_weight(c);
            self.says_something = true;
        }
    }

    /// A word ends here.
    fn word(&mut self, end: usize) {
        if let Some(shown) = self.text.get(self.start..end).filter(|shown| !shown.is_empty()) {
            let word = self.word_of(shown);
            self.n_capitals += usize::from(word.is_capitals);
            if word.is.contrasts && self.contrast.is_none() {
                self.contrast = Some(self.words.len());
            }
            self.words.push(word);
        }
        (self.case, self.has_apostrophe) = (Case::Lower, false);
    }

    fn word_of(&mut self, shown: &'t str) -> Word<'t> {
        let is_bare = is_bare(shown);
        let text = if is_bare { shown } else { bared(shown) };
        let ends_sentence = !is_bare && shown.ends_with(['.', '!', '?', '…']);
        let ends_clause = ends_sentence || !is_bare && shown.ends_with([',', ';', ':']);
        self.says_something = self.says_something || text.chars().any(char::is_alphanumeric);
        let (case, lexicon) = (self.case, self.lexicon);
        let folded = case.folded(text, &mut self.room);
        // "@best" may be our own name.
        let is_handle = shown.starts_with('@');
        let is = lexicon.words.get(&*folded).filter(|_| !is_handle).unwrap_or(&UNKNOWN);
        let negates = is.negates || self.has_apostrophe && self.language == Language::English && folded.windows(3).any(|three| three == b"n't");
        let known = match self.language {
            Language::Italian if is.weight.is_none() && !is_handle => of_form(lexicon, &folded, self.has_apostrophe),
            _ => is.weight,
        };
        Word { text, case, is, negates, is_capitals: case != Case::Lower && is_capitals(shown), known, ends_sentence, ends_clause }
    }
}

/// Most words have no punctuation to lose.
fn is_bare(shown: &str) -> bool {
    let is_letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    is_letter(shown.as_bytes().first()) && is_letter(shown.as_bytes().last())
}

#[inline(never)]
fn bared(shown: &str) -> &str {
    let bare = shown.trim_matches(|c: char| c.is_ascii_punctuation() || matches!(c, '«' | '»' | '“' | '”' | '‘' | '’' | '…'));
    if bare.chars().nth(2).is_none() && !bare.chars().any(char::is_alphanumeric) { shown } else { bare }
}

#[inline(never)]
fn is_capitals(word: &str) -> bool {
    word.chars().any(char::is_alphabetic) && !word.chars().any(char::is_lowercase)
}

/// The weight of an Italian word that the list has in another form: most stand there once.
fn of_form(lexicon: &Lexicon, word: &[u8], has_apostrophe: bool) -> Option<f64> {
    let elided = if has_apostrophe { word.iter().position(|byte| *byte == b'\'').and_then(|at| word.get(at + 1..)) } else { None };
    let Some(rest) = elided else { return inflected(lexicon, word) };
    lexicon.words.get(rest).and_then(|entry| entry.weight).or_else(|| inflected(lexicon, rest))
}

fn inflected(lexicon: &Lexicon, word: &[u8]) -> Option<f64> {
    let (b'o' | b'a' | b'i' | b'e', bare) = word.split_last()? else { return None };
    if bare.len() < STEM_MIN {
        return None;
    }
    // `sporco`, but `sporche`.
    let stem = bare.strip_suffix(b"h").unwrap_or(bare);
    let superlative = || stem.strip_suffix(b"issim").and_then(|stem| lexicon.stems.get(stem)).map(|weight| weight * SUPERLATIVE);
    lexicon.stems.get(stem).copied().or_else(superlative)
}

fn emoji_weight(c: char) -> f64 {
    let mut buffer = [0; 4];
    emoji().get(&*c.encode_utf8(&mut buffer)).copied().unwrap_or(0.0)
}
