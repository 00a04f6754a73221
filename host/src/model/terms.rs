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
            (LengthUnit::Weighted, "", 0),
        ] {
            assert_eq!(unit.measure(text), expected, "{unit:?} {text}");
        }
    }
}
