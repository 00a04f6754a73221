//! Where keys of a plugin's section are, so that a plugin's findings show up in the right line of the right file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::Place;

/// Turns byte offsets into lines and columns, which count characters, as editors do.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    file: PathBuf,
    text: String,
    starts: Vec<usize>,
}

impl Lines {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        let starts = std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.to_owned(), text: text.to_owned(), starts }
    }

    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        let line = self.starts.partition_point(|start| *start <= span.start).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..span.start).map_or(span.start - start, |before| before.chars().count()) + 1;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place { file: self.file.clone(), line: count(line), column: count(column) }
    }
}

/// Places of one section's keys.
#[derive(Debug, Clone)]
pub struct Places {
    section: Place,
    keys: BTreeMap<String, Place>,
    /// Places of the keys themselves, not of their values.
    names: BTreeMap<String, Place>,
    /// Keys as they are written, by what the plugin calls them: `table` is `table_file`.
    written: BTreeMap<String, String>,
    /// Files that keys with the suffix `_file` named.
    files: BTreeMap<String, PathBuf>,
}

impl Places {
    pub(super) fn new(section: Place) -> Self {
        Self { section, keys: BTreeMap::new(), names: BTreeMap::new(), written: BTreeMap::new(), files: BTreeMap::new() }
    }

    pub(super) fn collect(&mut self, path: &str, table: &DeTable<'_>, lines: &Lines) {
        for (key, value) in table {
            let path = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            self.keys.insert(path.clone(), lines.place(&value.span()));
            self.names.insert(path.clone(), lines.place(&key.span()));
            self.descend(&path, value.get_ref(), lines);
        }
    }

    fn descend(&mut self, path: &str, value: &DeValue<'_>, lines: &Lines) {
        match value {
            DeValue::Table(table) => self.collect(path, table, lines),
            DeValue::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    let path = format!("{path}[{n}]");
                    self.keys.insert(path.clone(), lines.place(&item.span()));
                    self.descend(&path, item.get_ref(), lines);
                }
            }
            _ => {}
        }
    }

    pub(super) fn name_file(&mut self, key: &str, file: PathBuf) {
        self.files.insert(key.to_owned(), file);
    }

    /// The plugin knows the key `short` for what is written as `written`.
    pub(super) fn rename(&mut self, short: &str, written: &str) {
        for places in [&mut self.keys, &mut self.names] {
            if let Some(place) = places.get(written).cloned() {
                places.insert(short.to_owned(), place);
            }
        }
        self.written.insert(short.to_owned(), written.to_owned());
    }

    /// A key as the file has it.
    pub fn written<'k>(&'k self, key: &'k str) -> &'k str {
        self.written.get(key).map_or(key, String::as_str)
    }

    /// Where a key itself stands, not its value.
    pub fn key(&self, key: &str) -> Place {
        self.names.get(key).cloned().unwrap_or_else(|| self.place(key, 0, 0))
    }

    /// The section's own place.
    pub fn section(&self) -> Place {
        self.section.clone()
    }

    /// Where a key is, or the nearest key above it. `line` and `column` over 0 lie in the file that the key names.
    pub fn place(&self, key: &str, line: u32, column: u32) -> Place {
        if let Some(file) = self.files.get(key).filter(|_| line > 0) {
            return Place { file: file.clone(), line, column };
        }
        let mut path = key;
        loop {
            if let Some(place) = self.keys.get(path) {
                return place.clone();
            }
            match path.rfind(['.', '[']).and_then(|at| path.get(..at)) {
                Some(above) if !above.is_empty() => path = above,
                _ => return self.section.clone(),
            }
        }
    }
}
