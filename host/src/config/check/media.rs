//! `media` of a channel: that the files of its messages are fetched, and how much of them is kept.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::super::Media;
use super::super::shape::{Table, what};
use super::Checker;

const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);
/// Of one file, by itself and at most: a file is whole in memory for a moment. Units: bytes.
const FILE_BYTES: u64 = 10 << 20;
const FILE_BYTES_MAX: u64 = 32 << 20;
/// Of all files of a channel. Units: bytes.
const TOTAL_BYTES: u64 = 1 << 30;

impl Checker<'_> {
    pub(super) fn media(&mut self, table: &mut Table<'_, '_>) -> Option<Media> {
        let value = table.value("media")?;
        let DeValue::Table(inner) = value.get_ref() else {
            self.reading.error(
                &value.span(),
                format!("`media` is {}", what(value.get_ref())),
                "write media = { keep = \"30d\", file_bytes = 10485760 }",
            );
            return None;
        };
        let mut inner = Table::new("media", inner, self.reading.lines.place(&value.span()));
        let keep = inner.duration(&mut self.reading, "keep", KEEP);
        let file_bytes = inner.number(&mut self.reading, "file_bytes").unwrap_or(FILE_BYTES);
        let total_bytes = inner.number(&mut self.reading, "total_bytes").unwrap_or(TOTAL_BYTES);
        if file_bytes > FILE_BYTES_MAX {
            let span = inner.value("file_bytes").map_or(0..0, Spanned::span);
            self.reading.error(&span, format!("`file_bytes` is {file_bytes}"), format!("write at most file_bytes = {FILE_BYTES_MAX}"));
        }
        inner.finish(&mut self.reading);
        let file_bytes = u32::try_from(file_bytes.min(FILE_BYTES_MAX)).unwrap_or(u32::MAX);
        Some(Media { keep, file_bytes, total_bytes })
    }
}
