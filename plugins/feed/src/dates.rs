//! Dates as feeds write them: RFC 3339 and its relatives, and mail's form with the liberties that people take.

use jiff::civil::{Date, DateTime};
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::tz::Offset;

/// A longer text is no date. Units: bytes.
const DATE_MAX: usize = 64;

/// Units: milliseconds since 1970; `None` where it is no date, or before 1970.
pub fn moment(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.len() > DATE_MAX || !text.is_ascii() {
        return None;
    }
    let upper = text.to_ascii_uppercase();
    let at = iso(&upper).or_else(|| mail(text))?;
    u64::try_from(at.as_millisecond()).ok()
}

fn iso(text: &str) -> Option<jiff::Timestamp> {
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let (clock, offset) = split_offset(text);
    let (day, time) = clock.split_once(['T', ' ']).unwrap_or((clock, ""));
    let day = day.parse::<Date>().ok().or_else(|| day_of(day))?;
    let at: DateTime = match time.trim() {
        "" => day.at(0, 0, 0, 0),
        time => day.to_datetime(time.parse().ok()?),
    };
    offset.to_timestamp(at).ok()
}

/// `2003-12-31T10:14+01:00` → the clock and the offset; no offset is UTC.
fn split_offset(text: &str) -> (&str, Offset) {
    if let Some(clock) = text.strip_suffix('Z') {
        return (clock, Offset::UTC);
    }
    let Some(at) = text.find('T').or_else(|| text.find(' ')).and_then(|from| text.get(from..)?.rfind(['+', '-']).map(|at| at + from)) else {
        return (text, Offset::UTC);
    };
    let (clock, written) = text.split_at(at);
    (clock, numeric(written).unwrap_or(Offset::UTC))
}

/// `+0130`, `-01:30`, `+1`.
fn numeric(written: &str) -> Option<Offset> {
    let (sign, digits) = written.split_at_checked(1)?;
    let digits = digits.replace(':', "");
    let (hours, minutes) = if digits.len() > 2 { digits.split_at_checked(digits.len() - 2)? } else { (digits.as_str(), "0") };
    let seconds = hours.parse::<i32>().ok().filter(|h| *h < 24)? * 3600 + minutes.parse::<i32>().ok().filter(|m| *m < 60)? * 60;
    Offset::from_seconds(if sign == "-" { -seconds } else { seconds }).ok()
}

/// `2003`, `2003-12`, `20031231`, `2003-335`, `03-12-31`.
fn day_of(text: &str) -> Option<Date> {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &str| part.parse::<i16>().ok();
    match parts.as_slice() {
        [year] if year.len() == 4 => Date::new(number(year)?, 1, 1).ok(),
        [day] if day.len() == 8 => Date::new(number(day.get(..4)?)?, day.get(4..6)?.parse().ok()?, day.get(6..)?.parse().ok()?).ok(),
        [year, month] if month.len() <= 2 => Date::new(number(year)?, month.parse().ok()?, 1).ok(),
        [year, ordinal] if ordinal.len() == 3 => Date::new(number(year)?, 1, 1).ok()?.with().day_of_year(number(ordinal)?).build().ok(),
        [year, month, day] if year.len() == 2 => Date::new(full_year(number(year)?), month.parse().ok()?, day.parse().ok()?).ok(),
        [year, month, day] if year.len() == 4 => Date::new(number(year)?, month.parse().ok()?, day.parse().ok()?).ok(),
        _ => None,
    }
}

fn full_year(year: i16) -> i16 {
    match year {
        0..=68 => year + 2000,
        69..=99 => year + 1900,
        _ => year,
    }
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// RFC 822 and asctime: words and numbers in about this order, weekday or not, seconds or not, zone or not.
fn mail(text: &str) -> Option<jiff::Timestamp> {
    if let Ok(at) = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text) {
        return Some(at);
    }
    let lower = text.to_ascii_lowercase();
    let (mut month, mut numbers, mut time, mut offset) = (None, Vec::new(), None, None);
    for word in lower.split([' ', ',', '\t', '\n', '\r']).filter(|word| !word.is_empty()).take(10) {
        let named = word.get(..3).and_then(|head| MONTHS.iter().position(|known| *known == head));
        if word.contains(':') && time.is_none() && !word.starts_with(['+', '-']) {
            time = Some(word);
        } else if let (Some(found), true) = (named, month.is_none()) {
            month = i8::try_from(found + 1).ok();
        } else if let (Ok(number), true) = (word.parse::<i16>(), numbers.len() < 2 && !word.starts_with(['+', '-'])) {
            numbers.push((number, word.len()));
        } else if let (Some((day, rest)), true) = (word.split_once('-'), month.is_none()) {
            // 31-dec-2003
            let (name, year) = rest.split_once('-')?;
            month = MONTHS.iter().position(|known| name.starts_with(known)).and_then(|found| i8::try_from(found + 1).ok());
            numbers = vec![(day.parse().ok()?, day.len()), (year.parse().ok()?, year.len())];
        } else {
            offset = zone(word).or(offset);
        }
    }
    let [(one, one_length), (other, _)] = numbers.as_slice() else { return None };
    let (day, year) = if *one_length == 4 { (*other, *one) } else { (*one, *other) };
    let date = Date::new(full_year(year), month?, i8::try_from(day).ok()?).ok()?;
    let mut parts = time.unwrap_or("0").split([':', '.']).map(|part| part.parse::<i8>().ok());
    let at = DateTime::from_parts(
        date,
        jiff::civil::Time::new(parts.next()??, parts.next().flatten().unwrap_or(0), parts.next().flatten().unwrap_or(0).min(59), 0).ok()?,
    );
    offset.unwrap_or(Offset::UTC).to_timestamp(at).ok()
}

/// Source: RFC 822 §5.1, and the names that people use beside.
fn zone(word: &str) -> Option<Offset> {
    let word = word.trim_matches(['(', ')']);
    let word = word.strip_prefix("gmt").or_else(|| word.strip_prefix("utc")).filter(|rest| !rest.is_empty()).unwrap_or(word);
    if word.starts_with(['+', '-']) {
        return numeric(word);
    }
    let hours = match word {
        "gmt" | "utc" | "ut" | "z" | "wet" => 0,
        "cet" | "met" | "bst" => 1,
        "cest" | "eet" => 2,
        "msk" | "eest" => 3,
        "jst" | "kst" => 9,
        "ast" | "edt" => -4,
        "adt" => -3,
        "est" | "cdt" | "et" => -5,
        "cst" | "mdt" | "ct" => -6,
        "mst" | "pdt" | "mt" => -7,
        "pst" | "pt" => -8,
        _ => return None,
    };
    Offset::from_hours(hours).ok()
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn dates_are_read_in_every_dress() {
        let noon = Some(1_072_872_840_000);
        for text in [
            "2003-12-31T12:14:00Z",
            "2003-12-31t12:14z",
            "2003-12-31 12:14:00",
            "2003-12-31T13:14+01:00",
            "Wed, 31 Dec 2003 12:14:00 GMT",
            "Wed, 31 Dec 03 07:14 EST",
            "31 December 2003 13:14 +0100",
            "Thu, 31 Dec 2003 12:14:00 UTC",
            "Wed Dec 31 12:14:00 2003",
            "31-Dec-2003 12:14:00 GMT",
        ] {
            assert_eq!(moment(text), noon, "{text}");
        }
        assert_eq!((moment("2003-12"), moment("20031231")), (Some(1_070_236_800_000), Some(1_072_828_800_000)));
        for text in ["", "yesterday", "31 31 31", "0000-00-00T00:00:00Z", "2003-13-01", "-", "+", "99999999999999", "Wed, 99 Dec 2003 99:99:99 X"] {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}
