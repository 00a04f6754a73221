//! Reads tables key by key: what is missing, of the wrong type or unknown is noted with its place, and reading goes on.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::places::{Lines, Places};
use super::{Place, Report};

/// A table that is being read; what was not asked for at the end is unknown.
pub(super) struct Table<'t, 'i> {
    table: &'t DeTable<'i>,
    place: Place,
    name: &'t str,
    known: Vec<&'static str>,
    /// The file has a mistake in here: what is missing may be what is broken.
    is_broken: bool,
}

/// What reading needs everywhere.
pub(super) struct Reading<'r> {
    pub(super) lines: &'r Lines,
    pub(super) report: &'r mut Report,
}

impl Reading<'_> {
    pub(super) fn error(&mut self, span: &Range<usize>, message: impl Into<String>, cure: impl Into<String>) {
        let place = self.lines.place(span);
        self.report.error(place, message, cure);
    }
}

impl<'t, 'i> Table<'t, 'i> {
    pub(super) fn new(name: &'t str, table: &'t DeTable<'i>, place: Place) -> Self {
        Self { table, place, name, known: Vec::new(), is_broken: false }
    }

    /// Missing keys are not told.
    pub(super) fn broken(self, is_broken: bool) -> Self {
        Self { is_broken, ..self }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Where all its keys are.
    pub(super) fn places(&self, lines: &Lines) -> Places {
        let mut places = Places::new(self.place.clone());
        places.collect("", self.table, lines);
        places
    }

    /// A value of any type.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// A text; `cure` says how it is written where it is none.
    pub(super) fn text(&mut self, reading: &mut Reading<'_>, key: &'static str) -> Option<Spanned<String>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Spanned::new(value.span(), text.to_string())),
            other => {
                reading.error(&value.span(), format!("`{key}` is {}, not a text", what(other)), format!("write {key} = \"…\""));
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, reading: &mut Reading<'_>, key: &'static str, cure: &str) -> Option<Spanned<String>> {
        if self.table.get(key).is_none() {
            self.known.push(key);
            if !self.is_broken {
                reading.report.error(self.place.clone(), format!("{} has no `{key}`", self.name), cure);
            }
            return None;
        }
        self.text(reading, key)
    }

    pub(super) fn flag(&mut self, reading: &mut Reading<'_>, key: &'static str) -> bool {
        let Some(value) = self.value(key) else { return false };
        if let DeValue::Boolean(flag) = value.get_ref() {
            return *flag;
        }
        reading.error(&value.span(), format!("`{key}` is {}, not true or false", what(value.get_ref())), format!("write {key} = true"));
        false
    }

    pub(super) fn number(&mut self, reading: &mut Reading<'_>, key: &'static str) -> Option<u64> {
        let value = self.value(key)?;
        let DeValue::Integer(written) = value.get_ref() else {
            reading.error(&value.span(), format!("`{key}` is {}, not a whole number", what(value.get_ref())), format!("write {key} = 1000"));
            return None;
        };
        match integer(written) {
            None => reading.error(&value.span(), format!("`{key}` is larger than any number"), format!("write {key} = 1000")),
            Some(number @ ..=0) => {
                reading.error(&value.span(), format!("`{key}` is {number}"), format!("write a number over 0, or leave `{key}` out"))
            }
            Some(number) => return u64::try_from(number).ok(),
        }
        None
    }

    /// An amount of money.
    pub(super) fn amount(&mut self, reading: &mut Reading<'_>, key: &'static str) -> Option<f64> {
        let value = self.value(key)?;
        let amount = match value.get_ref() {
            DeValue::Integer(number) => integer(number).and_then(|number| number.to_string().parse().ok()),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => None,
        };
        let amount = amount.filter(|amount: &f64| amount.is_finite() && *amount > 0.0);
        if amount.is_none() {
            reading.error(&value.span(), format!("`{key}` is {}, not an amount over 0", what(value.get_ref())), format!("write {key} = 5.0"));
        }
        amount
    }

    pub(super) fn texts(&mut self, reading: &mut Reading<'_>, key: &'static str) -> Vec<Spanned<String>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            reading.error(&value.span(), format!("`{key}` is {}, not a list", what(value.get_ref())), format!("write {key} = [\"…\"]"));
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => texts.push(Spanned::new(item.span(), text.to_string())),
                other => reading.error(&item.span(), format!("`{key}` holds {}, not a text", what(other)), format!("write {key} = [\"…\"]")),
            }
        }
        texts
    }

    pub(super) fn duration(&mut self, reading: &mut Reading<'_>, key: &'static str, default: Duration) -> Duration {
        let Some(text) = self.text(reading, key) else { return default };
        let read = duration(text.get_ref());
        if read == Some(Duration::ZERO) {
            reading.error(&text.span(), format!("`{key}` is \"{}\"", text.get_ref()), "write more than nothing, or leave it out for the default");
        }
        read.unwrap_or_else(|| {
            reading.error(
                &text.span(),
                format!("`{key}` is \"{}\", not a duration", text.get_ref()),
                "write a number and a unit: \"30s\", \"10m\", \"2h\", \"1d\"",
            );
            default
        })
    }

    /// Notes what nobody asked for, with the nearest known key.
    pub(super) fn finish(self, reading: &mut Reading<'_>) {
        for (key, _) in self.table {
            if !self.known.contains(&key.get_ref().as_ref()) {
                let cure = match nearest(key.get_ref(), &self.known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known keys: {}", self.known.join(", ")),
                };
                reading.error(&key.span(), format!("{} has no key `{}`", self.name, key.get_ref()), cure);
            }
        }
    }
}

/// A whole number, however it is written: `16`, `0x10`, `1_000`. None: it is larger than TOML's.
pub(super) fn integer(written: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(written.as_str(), written.radix()).ok()
}

/// A value's type in words.
pub(super) fn what(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// `30s`, `10m`, `2h`, `1d`, `250ms`.
pub fn duration(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().ok()?;
    let ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(ms).map(Duration::from_millis)
}

/// The known word that is at most two letters away.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let best = known.iter().map(|candidate| (distance(word, candidate), *candidate)).min()?;
    (best.0 <= 2 && best.0 * 2 < word.len().max(best.1.len())).then_some(best.1)
}

/// Letters to change, add or drop (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut next = vec![i + 1];
        for ((j, y), above) in b.iter().enumerate().zip(row.windows(2)) {
            let (diagonal, up) = (above.first().copied().unwrap_or(0), above.last().copied().unwrap_or(0));
            let left = next.get(j).copied().unwrap_or(0);
            next.push((diagonal + usize::from(x != *y)).min(up + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
