//! On what terms a network carries a reply: judged here before anything is sent, so that a refusal is never the network's to give.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use unicode_segmentation::UnicodeSegmentation as _;

use super::{Interaction, Timestamp};

/// By this attribute a connector says that the author called upon the company, where the kind alone does not say it.
pub const SUMMONED_ATTR: &str = "summoned";
/// What an address counts where lengths are weighted. Source: X.
const URL_WEIGHT: usize = 23;

/// The `reply` of a connector's capability record. Keys that are not here are the connector's own business.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ReplyTerms {
    /// `false`: what was said in public cannot be answered.
    pub public: Option<bool>,
    /// `false`: what was said in private cannot be answered.
    pub private: Option<bool>,
    /// From what is answered. Units: seconds.
    pub window_s: Option<u64>,
    /// The longer window of what a person wrote. Units: seconds.
    pub human_window_s: Option<u64>,
    /// As `window_s`, of what was said in private; absent: the same.
    pub private_window_s: Option<u64>,
    /// Likewise of what a person wrote.
    pub private_human_window_s: Option<u64>,
    /// In `len_unit`.
    pub max_len: Option<usize>,
    /// JSON Pointer of the key of the section that says another `max_len`.
    pub max_len_config: Option<String>,
    /// Of what is said in private; absent: the same.
    pub private_max_len: Option<usize>,
    /// How the network counts.
    #[serde(default)]
    pub len_unit: LengthUnit,
    /// The author must have mentioned the company.
    #[serde(default)]
    pub summoned_only: bool,
}

/// How a network counts the length of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LengthUnit {
    /// Unicode scalar values.
    #[default]
    Chars,
    /// Of UTF-8.
    Bytes,
    /// Of UTF-16.
    Utf16,
    /// What a reader sees as one.
    Graphemes,
    /// Most of Latin counts 1, all else and an emoji 2, an address 23. Source: X's configuration 3.
    Weighted,
}

/// Why the network would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// A person can shorten it.
    TooLong {
        /// What it has.
        length: usize,
        /// What the network takes.
        max: usize,
        /// Of both.
        unit: LengthUnit,
    },
    /// It comes too late.
    Closed(Duration),
    /// The author did not call upon the company.
    NotSummoned,
    /// Not in public, or not in private.
    Audience(&'static str),
}

impl Unfit {
    /// Another text would do.
    pub fn is_of_text(&self) -> bool {
        matches!(self, Self::TooLong { .. })
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length, max, unit } => write!(f, "the text has {length} {}, and this network takes {max}", unit.word()),
            Self::Closed(window) => write!(f, "this network takes a reply within {} only", span(*window)),
            Self::NotSummoned => f.write_str("this network takes a reply only where the author mentioned us"),
            Self::Audience(audience) => write!(f, "this network takes no reply to what was said in {audience}"),
        }
    }
}

impl LengthUnit {
    fn word(self) -> &'static str {
        match self {
            Self::Chars | Self::Graphemes => "characters",
            Self::Bytes => "bytes",
            Self::Utf16 => "UTF-16 units",
            Self::Weighted => "weighted characters",
        }
    }

    /// How long a text is.
    pub fn measure(self, text: &str) -> usize {
        match self {
            Self::Chars => text.chars().count(),
            Self::Bytes => text.len(),
            Self::Utf16 => text.encode_utf16().count(),
            Self::Graphemes => text.graphemes(true).count(),
            Self::Weighted => text.split_inclusive(char::is_whitespace).map(weighted).sum(),
        }
    }
}

impl ReplyTerms {
    /// Judges a reply to `about`, which `now` would go out.
    pub fn judge(&self, about: &Interaction, text: &str, is_automatic: bool, now: Timestamp) -> Result<(), Unfit> {
        let (audience, is_open) = if about.visibility == "direct" { ("private", self.private) } else { ("public", self.public) };
        if is_open == Some(false) {
            return Err(Unfit::Audience(audience));
        }
        if self.summoned_only && !is_summoned(about) {
            return Err(Unfit::NotSummoned);
        }
        let (window_s, human_window_s) = match audience {
            "private" => (self.private_window_s.or(self.window_s), self.private_human_window_s.or(self.human_window_s)),
            _ => (self.window_s, self.human_window_s),
        };
        let window_s = if is_automatic { window_s } else { human_window_s.or(window_s) };
        if let Some(window) = window_s.map(Duration::from_secs).filter(|window| about.occurred.plus(*window) <= now) {
            return Err(Unfit::Closed(window));
        }
        let max_len = if audience == "private" { self.private_max_len.or(self.max_len) } else { self.max_len };
        let Some(max) = max_len else { return Ok(()) };
        let length = self.len_unit.measure(text);
        if length > max { Err(Unfit::TooLong { length, max, unit: self.len_unit }) } else { Ok(()) }
    }
}

fn is_summoned(about: &Interaction) -> bool {
    matches!(about.kind.as_str(), "mention" | "direct") || about.attrs.iter().any(|(key, value)| key == SUMMONED_ATTR && value == "yes")
}

fn weighted(word: &str) -> usize {
    let bare = word.trim_end();
    if bare.starts_with("https://") || bare.starts_with("http://") {
        return URL_WEIGHT + word.chars().count() - bare.chars().count();
    }
    let of_grapheme = |grapheme: &str| if grapheme.chars().all(is_light) { grapheme.chars().count() } else { 2 };
    word.graphemes(true).map(of_grapheme).sum()
}

fn is_light(c: char) -> bool {
    matches!(u32::from(c), 0..=0x10ff | 0x2000..=0x200d | 0x2010..=0x201f | 0x2032..=0x2037)
}

/// `24 h`, `7 days`.
fn span(window: Duration) -> String {
    match window.as_secs() {
        s if s >= 172_800 && s.is_multiple_of(86_400) => format!("{} days", s / 86_400),
        s if s >= 3_600 && s.is_multiple_of(3_600) => format!("{} h", s / 3_600),
        s if s.is_multiple_of(60) => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_counts_in_its_own_way() {
        let family = "👨‍👩‍👧";
        for (unit, text, expected) in [
            (LengthUnit::Chars, family, 5),
            (LengthUnit::Bytes, family, 18),
            (LengthUnit::Utf16, family, 8),
            (LengthUnit::Graphemes, family, 1),
            (LengthUnit::Weighted, family, 2),
            (LengthUnit::Weighted, "però", 4),
            (LengthUnit::Weighted, "申し訳", 6),
            (LengthUnit::Weighted, "see https://acme.example/a/very/long/address now", 31),
            (LengthUnit::Weighted, "http://acme.example/a/very/long/address\n\n", 25),
            (LengthUnit::Weighted, "https://acme.example/a/very/long/address", 23),
            (LengthUnit::Weighted, "\u{2010}\u{2032}\u{2000}\u{2050}", 5),
            (LengthUnit::Weighted, "", 0),
        ] {
            assert_eq!(unit.measure(text), expected, "{unit:?} {text}");
        }
    }

    fn about(kind: &str, visibility: &str) -> Interaction {
        serde_json::from_value(serde_json::json!({
            "native": { "scope": "s", "id": "1" }, "aka": [], "kind": kind, "visibility": visibility, "author": null, "ours": "No", "automated": "no",
            "conversation": null, "reply_context": null, "parent": null, "refs": [], "subject": null, "text": "?", "quoted": null, "language": null,
            "url": null, "attachments": [], "place": null, "side": null, "campaign": null, "occurred": 1000, "edited": null, "attrs": [],
        }))
        .unwrap()
    }

    /// What is said of a reply of five letters, so many seconds after what it answers.
    fn judged(terms: &ReplyTerms, visibility: &str, is_automatic: bool, after_s: u64) -> Result<(), Unfit> {
        terms.judge(&about("post", visibility), "salve", is_automatic, Timestamp(1000 + after_s * 1000))
    }

    #[test]
    fn a_closed_audience_takes_nothing_and_the_other_everything() {
        let (no_public, no_private) =
            (ReplyTerms { public: Some(false), ..ReplyTerms::default() }, ReplyTerms { private: Some(false), ..ReplyTerms::default() });
        assert_eq!(judged(&no_public, "public", true, 0), Err(Unfit::Audience("public")));
        assert_eq!(judged(&no_private, "direct", true, 0), Err(Unfit::Audience("private")));
        assert_eq!((judged(&no_public, "direct", true, 0), judged(&no_private, "public", true, 0)), (Ok(()), Ok(())));
        assert_eq!(judged(&ReplyTerms { public: Some(true), ..ReplyTerms::default() }, "public", true, 0), Ok(()));
    }

    #[test]
    fn each_audience_and_each_writer_has_its_own_window_which_ends_to_the_second() {
        let terms = ReplyTerms {
            window_s: Some(10),
            human_window_s: Some(20),
            private_window_s: Some(30),
            private_human_window_s: Some(40),
            ..ReplyTerms::default()
        };
        for (visibility, is_automatic, window_s) in [("public", true, 10), ("public", false, 20), ("direct", true, 30), ("direct", false, 40)] {
            assert_eq!(judged(&terms, visibility, is_automatic, window_s - 1), Ok(()), "{visibility} {is_automatic}");
            let closed = Err(Unfit::Closed(Duration::from_secs(window_s)));
            assert_eq!(judged(&terms, visibility, is_automatic, window_s), closed, "{visibility} {is_automatic}");
        }
        let of_all = ReplyTerms { window_s: Some(10), ..ReplyTerms::default() };
        assert_eq!(
            judged(&of_all, "direct", false, 10),
            Err(Unfit::Closed(Duration::from_secs(10))),
            "what has no window of its own has that of all"
        );
    }

    #[test]
    fn a_text_may_be_as_long_as_its_audience_takes_and_no_longer() {
        let terms = ReplyTerms { max_len: Some(5), private_max_len: Some(4), ..ReplyTerms::default() };
        assert_eq!(judged(&terms, "public", true, 0), Ok(()));
        let long = Unfit::TooLong { length: 5, max: 4, unit: LengthUnit::Chars };
        assert_eq!(judged(&terms, "direct", true, 0), Err(long.clone()));
        assert!(long.is_of_text() && !Unfit::NotSummoned.is_of_text() && !Unfit::Closed(Duration::ZERO).is_of_text());
        assert!(judged(&ReplyTerms { max_len: Some(4), ..ReplyTerms::default() }, "direct", true, 0).is_err(), "without its own it has that of all");
    }

    #[test]
    fn where_the_author_must_have_called_upon_us_a_mention_a_message_or_the_attribute_does() {
        let terms = ReplyTerms { summoned_only: true, ..ReplyTerms::default() };
        let judged = |about: Interaction| terms.judge(&about, "salve", true, Timestamp(1000));
        assert_eq!(judged(about("post", "public")), Err(Unfit::NotSummoned));
        assert_eq!((judged(about("mention", "public")), judged(about("direct", "direct"))), (Ok(()), Ok(())));
        for (key, value, is_summoned) in [(SUMMONED_ATTR, "yes", true), (SUMMONED_ATTR, "no", false), ("other", "yes", false)] {
            let attrs = vec![(key.to_owned(), value.to_owned())];
            assert_eq!(judged(Interaction { attrs, ..about("post", "public") }).is_ok(), is_summoned, "{key} {value}");
        }
    }

    #[test]
    fn each_reason_says_itself_in_a_sentence() {
        let long = |unit| Unfit::TooLong { length: 9, max: 8, unit }.to_string();
        for (unit, word) in [
            (LengthUnit::Chars, "characters"),
            (LengthUnit::Graphemes, "characters"),
            (LengthUnit::Bytes, "bytes"),
            (LengthUnit::Utf16, "UTF-16 units"),
            (LengthUnit::Weighted, "weighted characters"),
        ] {
            assert_eq!(long(unit), format!("the text has 9 {word}, and this network takes 8"));
        }
        for (s, words) in
            [(604_800, "7 days"), (172_800, "2 days"), (86_400, "24 h"), (176_400, "49 h"), (3_600, "1 h"), (5_400, "90 min"), (90, "90 s")]
        {
            assert_eq!(span(Duration::from_secs(s)), words);
        }
        assert_eq!(Unfit::Closed(Duration::from_secs(60)).to_string(), "this network takes a reply within 1 min only");
        assert_eq!(Unfit::NotSummoned.to_string(), "this network takes a reply only where the author mentioned us");
        assert_eq!(Unfit::Audience("private").to_string(), "this network takes no reply to what was said in private");
    }
}
