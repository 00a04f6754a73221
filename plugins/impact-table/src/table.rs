//! The table's shape, and its reading: every mistake is noted with its place, and reading goes on.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::words::{Lines, duration_ms, is_near, number_of};

/// More rows than anybody can keep in mind.
pub(crate) const ROWS_MAX: usize = 1000;
/// A table of that many full rows. Units: bytes.
const TABLE_MAX: usize = 4 << 20;
/// Teams, words or steps in one list.
const LIST_MAX: usize = 64;
/// What a reply or a note says; an action's body must fit the host's 64 KiB however it is escaped. Units: bytes.
const TEXT_MAX: usize = 8192;

/// The whole table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    /// It ends before the text does: the TOML is broken or too long.
    pub(crate) is_cut: bool,
}

/// One row.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// Absent: matches everything.
    pub(crate) when: Option<Vec<Predicate>>,
    /// Its `when` has a mistake, so that what it would match is not known.
    pub(crate) is_doubtful: bool,
    pub(crate) responsible: Option<Named>,
    pub(crate) consulted: Vec<Named>,
    pub(crate) informed: Vec<Named>,
    pub(crate) within_ms: Option<u64>,
    pub(crate) escalate: Vec<(u64, Named)>,
    pub(crate) reply: Option<Reply>,
    pub(crate) note: Option<String>,
}

/// A name with its place.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) is_sent: bool,
    pub(crate) review: Vec<Named>,
    /// By language.
    pub(crate) text: Vec<(String, String)>,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// One condition on one key.
#[derive(Debug)]
pub(crate) struct Predicate {
    pub(crate) key: String,
    /// It is an annotation's key, not a field of the interaction.
    pub(crate) is_annotation: bool,
    pub(crate) test: Test,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// What must hold.
#[derive(Debug, PartialEq)]
pub(crate) enum Test {
    /// One of these.
    Any(Vec<String>),
    /// Between these, both included.
    Range(f64, f64),
}

/// Fields of an interaction that a row may ask of; `language`, `intent` and `sentiment` are annotations.
const FIELDS: [&str; 6] = ["channel", "kind", "visibility", "author", "automated", "side"];
const ANNOTATIONS: [&str; 3] = ["intent", "sentiment", "language"];

/// How bad a mistake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    Error,
    Warning,
    Info,
}

/// One thing to say.
#[derive(Debug)]
pub(crate) struct Mistake {
    pub(crate) weight: Weight,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) message: String,
    pub(crate) cure: String,
}

impl Mistake {
    pub(crate) fn is_error(&self) -> bool {
        self.weight == Weight::Error
    }
}

/// Reads a table with all its mistakes.
pub(crate) fn read(text: &str) -> (Table, Vec<Mistake>) {
    let mut reader = Reader { text, lines: Lines::new(text), mistakes: Vec::new() };
    let table = reader.table();
    (table, reader.mistakes)
}

struct Reader<'t> {
    text: &'t str,
    lines: Lines<'t>,
    mistakes: Vec<Mistake>,
}

/// A table's key and value, with their places.
type Pair<'p, 'i> = (&'p Spanned<toml::de::DeString<'i>>, &'p Spanned<DeValue<'i>>);

impl Reader<'_> {
    fn place(&self, span: &Range<usize>) -> (u32, u32) {
        self.lines.place(span)
    }

    fn error(&mut self, span: &Range<usize>, message: impl Into<String>, cure: impl Into<String>) {
        let (line, column) = self.place(span);
        self.mistakes.push(Mistake { weight: Weight::Error, line, column, message: message.into(), cure: cure.into() });
    }

    fn table(&mut self) -> Table {
        let mut table = Table::default();
        let text = self.text;
        if text.len() > TABLE_MAX {
            table.is_cut = true;
            self.error(&(0..0), format!("the table has {} bytes", text.len()), format!("a table may have {TABLE_MAX} bytes"));
            return table;
        }
        let (root, broken) = DeTable::parse_recoverable(text);
        if !broken.is_empty() {
            // What the parser makes of the rest is a guess: rows read from it would bring mistakes that nobody made.
            table.is_cut = true;
            for error in broken {
                self.error(&error.span().unwrap_or(0..0), error.message(), "see https://toml.io for how TOML is written");
            }
            return table;
        }
        for (key, value) in root.get_ref() {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("version", DeValue::String(_)) => {}
                ("version", _) => self.error(&value.span(), "`version` is not a text", "write version = \"2026-11\""),
                ("row", DeValue::Array(rows)) => {
                    if rows.len() > ROWS_MAX {
                        table.is_cut = true;
                        self.error(&value.span(), format!("{} rows", rows.len()), format!("a table may have {ROWS_MAX} rows"));
                    }
                    for row in rows.iter().take(ROWS_MAX) {
                        match row.get_ref() {
                            DeValue::Table(inner) => table.rows.push(self.row(inner, &row.span())),
                            _ => self.error(&row.span(), "a row is not a table", "write [[row]] and its keys below"),
                        }
                    }
                }
                _ => self.unknown("the table", (key, value), &["version", "row"]),
            }
        }
        table
    }

    fn unknown(&mut self, what: &str, (key, _): Pair<'_, '_>, known: &[&str]) {
        let word = key.get_ref();
        let near = known.iter().find(|known| is_near(word, known));
        let cure = near.map_or_else(|| format!("known keys: {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
        self.error(&key.span(), format!("{what} has no key `{word}`"), cure);
    }

    fn row(&mut self, table: &DeTable<'_>, span: &Range<usize>) -> Row {
        let (line, column) = self.place(span);
        let mut row = Row { line, column, ..Row::default() };
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "name" => row.name = self.text("name", value).unwrap_or_default(),
                "when" => {
                    let n_before = self.mistakes.len();
                    row.when = Some(self.when(value));
                    row.is_doubtful = self.mistakes.len() > n_before;
                }
                "responsible" => row.responsible = self.named("responsible", value),
                "consulted" => row.consulted = self.names("consulted", value),
                "informed" => row.informed = self.names("informed", value),
                "within" => row.within_ms = self.duration("within", value),
                "escalate" => row.escalate = self.escalate(value),
                "reply" => row.reply = self.reply(value),
                "note" => row.note = self.said("note", value),
                _ => self.unknown(
                    "a row",
                    (key, value),
                    &["name", "when", "responsible", "consulted", "informed", "within", "escalate", "reply", "note"],
                ),
            }
        }
        if row.name.is_empty() {
            self.error(span, "a row has no `name`", "write name = \"complaint in public\"; decisions and tasks show it");
        }
        row
    }

    fn text(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        if let DeValue::String(text) = value.get_ref() {
            return Some(text.to_string());
        }
        self.error(&value.span(), format!("`{key}` is not a text"), format!("write {key} = \"…\""));
        None
    }

    /// A text that goes out or to the team.
    fn said(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let text = self.text(key, value)?;
        if text.trim().is_empty() || text.len() > TEXT_MAX {
            self.error(&value.span(), format!("`{key}` has {} bytes", text.len()), format!("write 1 to {TEXT_MAX} bytes"));
        }
        Some(text)
    }

    fn bound(&mut self, key: &str, n_items: usize, value: &Spanned<DeValue<'_>>) {
        if n_items > LIST_MAX {
            self.error(&value.span(), format!("`{key}` has {n_items} items"), format!("a list may have {LIST_MAX}"));
        }
    }

    fn named(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Named> {
        let name = self.text(key, value)?;
        let (line, column) = self.place(&value.span());
        Some(Named { name, line, column })
    }

    fn names(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Vec<Named> {
        match value.get_ref() {
            DeValue::Array(items) => {
                self.bound(key, items.len(), value);
                items.iter().take(LIST_MAX).filter_map(|item| self.named(key, item)).collect()
            }
            _ => {
                self.error(&value.span(), format!("`{key}` is not a list"), format!("write {key} = [\"…\"]"));
                Vec::new()
            }
        }
    }

    fn duration(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<u64> {
        let text = self.text(key, value)?;
        let found = duration_ms(&text);
        if found.is_none() {
            self.error(
                &value.span(),
                format!("`{key}` is \"{text}\", not a duration"),
                "write a number and a unit, at most ten years: \"90s\", \"30m\", \"2h\", \"1d\"",
            );
        }
        found
    }

    fn escalate(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<(u64, Named)> {
        let DeValue::Array(items) = value.get_ref() else {
            self.error(&value.span(), "`escalate` is not a list", "write escalate = [{ after = \"1h\", to = \"support-lead\" }]");
            return Vec::new();
        };
        self.bound("escalate", items.len(), value);
        let mut steps = Vec::new();
        for item in items.iter().take(LIST_MAX) {
            let DeValue::Table(step) = item.get_ref() else {
                self.error(&item.span(), "a step of `escalate` is not a table", "write { after = \"1h\", to = \"support-lead\" }");
                continue;
            };
            let (mut after, mut to) = (None, None);
            for (key, value) in step {
                match key.get_ref().as_ref() {
                    "after" => after = self.duration("after", value),
                    "to" => to = self.named("to", value),
                    _ => self.unknown("a step of `escalate`", (key, value), &["after", "to"]),
                }
            }
            match (after, to) {
                (Some(after), Some(to)) => steps.push((after, to)),
                _ => self.error(&item.span(), "a step of `escalate` needs `after` and `to`", "write { after = \"1h\", to = \"support-lead\" }"),
            }
        }
        steps
    }

    fn reply(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Reply> {
        let DeValue::Table(table) = value.get_ref() else {
            self.error(&value.span(), "`reply` is not a table", "write reply = { mode = \"draft\", text = { en = \"…\" } }");
            return None;
        };
        let (line, column) = self.place(&value.span());
        let mut reply = Reply { is_sent: false, review: Vec::new(), text: Vec::new(), line, column };
        let mut has_mode = false;
        for (key, value) in table {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("mode", DeValue::String(mode)) if mode == "draft" || mode == "send" => (has_mode, reply.is_sent) = (true, mode == "send"),
                ("mode", _) => self.error(
                    &value.span(),
                    "`mode` is neither \"draft\" nor \"send\"",
                    "write mode = \"draft\"; a draft waits for `outbox approve`",
                ),
                ("review", _) => reply.review = self.names("review", value),
                ("text", DeValue::String(_)) => reply.text.extend(self.said("text", value).map(|text| ("en".to_owned(), text))),
                ("text", DeValue::Table(texts)) => {
                    self.bound("text", texts.len(), value);
                    for (language, text) in texts.iter().take(LIST_MAX) {
                        reply.text.extend(self.said("text", text).map(|text| (language.get_ref().to_lowercase(), text)));
                    }
                }
                ("text", _) => {
                    self.error(&value.span(), "`text` is neither a text nor a table by language", "write text = { en = \"…\", it = \"…\" }")
                }
                _ => self.unknown("a reply", (key, value), &["mode", "review", "text"]),
            }
        }
        if !has_mode {
            self.error(&value.span(), "a reply has no `mode`", "write mode = \"draft\" or mode = \"send\"");
        }
        if reply.text.is_empty() {
            self.error(&value.span(), "a reply has no `text`", "write text = { en = \"…\" }");
        }
        Some(reply)
    }

    fn when(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<Predicate> {
        let mut predicates = Vec::new();
        let DeValue::Table(table) = value.get_ref() else {
            self.error(&value.span(), "`when` is not a table", "write when = { intent = [\"complaint\"] }");
            return predicates;
        };
        for (key, value) in table {
            let word = key.get_ref().as_ref();
            match value.get_ref() {
                DeValue::Table(inner) if word == "annotation" => {
                    self.bound("annotation", inner.len(), value);
                    for (key, value) in inner.iter().take(LIST_MAX) {
                        predicates.extend(self.predicate(key.get_ref(), value, true));
                    }
                }
                _ if word == "annotation" => self.error(&value.span(), "`annotation` is not a table", "write annotation = { topic = [\"billing\"] }"),
                _ if FIELDS.contains(&word) || ANNOTATIONS.contains(&word) => {
                    predicates.extend(self.predicate(word, value, ANNOTATIONS.contains(&word)))
                }
                _ => {
                    let known: Vec<&str> = ANNOTATIONS.into_iter().chain(FIELDS).chain(["annotation"]).collect();
                    self.unknown("`when`", (key, value), &known);
                }
            }
        }
        if table.is_empty() {
            self.error(&value.span(), "`when` is empty", "leave it out for a row that matches everything");
        }
        predicates
    }

    fn predicate(&mut self, key: &str, value: &Spanned<DeValue<'_>>, is_annotation: bool) -> Option<Predicate> {
        let (line, column) = self.place(&value.span());
        let test = match value.get_ref() {
            DeValue::Array(_) | DeValue::String(_) if key == "sentiment" => {
                self.error(&value.span(), "`sentiment` is a number from -1 to 1, not a word", "write sentiment = { max = -0.2 }");
                return None;
            }
            DeValue::Array(items) => {
                self.bound(key, items.len(), value);
                Test::Any(items.iter().take(LIST_MAX).filter_map(|item| self.text(key, item)).collect())
            }
            DeValue::String(one) => Test::Any(vec![one.to_string()]),
            DeValue::Boolean(flag) if is_annotation && !["intent", "language", "sentiment"].contains(&key) => Test::Any(vec![flag.to_string()]),
            DeValue::Table(range) if is_annotation && key != "intent" && key != "language" => self.range(range, value),
            _ => {
                self.error(&value.span(), format!("`{key}` is not a list"), format!("write {key} = [\"…\"]"));
                return None;
            }
        };
        if matches!(test, Test::Range(min, max) if key == "sentiment" && min <= max && (min > 1.0 || max < -1.0)) {
            self.error(&value.span(), "no `sentiment` lies there: it is a number from -1 to 1", "write sentiment = { max = -0.2 }");
        }
        if matches!(value.get_ref(), DeValue::Array(items) if items.is_empty()) {
            self.error(&value.span(), format!("`{key}` is an empty list, which nothing matches"), "name at least one, or leave the key out");
        }
        Some(Predicate { key: key.to_owned(), is_annotation, test, line, column })
    }

    fn range(&mut self, range: &DeTable<'_>, value: &Spanned<DeValue<'_>>) -> Test {
        let (mut min, mut max) = (f64::NEG_INFINITY, f64::INFINITY);
        for (bound, number) in range {
            match (bound.get_ref().as_ref(), number_of(number.get_ref())) {
                ("min", Some(number)) => min = number,
                ("max", Some(number)) => max = number,
                ("min" | "max", None) => {
                    self.error(&number.span(), format!("`{}` is not a number", bound.get_ref()), "write { min = -1.0, max = -0.2 }")
                }
                _ => self.unknown("a range", (bound, number), &["min", "max"]),
            }
        }
        if range.is_empty() {
            self.error(&value.span(), "a range without `min` and `max` says nothing", "write { max = -0.2 }");
        }
        if min > max {
            self.error(&value.span(), format!("no number is over {min} and under {max}"), "swap `min` and `max`");
        }
        Test::Range(min, max)
    }
}
