//! Secrets: named by file or environment variable, never written out, never empty.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::DeValue;

use super::super::secret::Secret;
use super::super::shape::{Table, what};
use super::Checker;

/// Secrets that anybody who reaches the host may try. The others are tried at somebody else's door.
const GUESSED: [&str; 4] = ["webhook", "admin_token", "operator_token", "reader_token"];
/// Units: bytes.
const STRONG_BYTES_MIN: usize = 16;

impl Checker<'_> {
    pub(super) fn secrets(&mut self, value: Option<&Spanned<DeValue<'_>>>) -> BTreeMap<String, Vec<Secret>> {
        let Some(value) = value else { return BTreeMap::new() };
        let DeValue::Table(table) = value.get_ref() else {
            self.reading.error(&value.span(), format!("`secrets` is {}", what(value.get_ref())), "write secrets = { token = { env = \"NAME\" } }");
            return BTreeMap::new();
        };
        table.iter().map(|(key, value)| (key.get_ref().to_string(), self.secrets_of(key.get_ref(), value))).collect()
    }

    /// `{ env = "NAME" }`, `{ file = "path" }`, or a list of them.
    pub(super) fn secrets_of(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Vec<Secret> {
        match value.get_ref() {
            DeValue::Array(items) if items.is_empty() => {
                self.reading.error(&value.span(), format!("the list of secrets `{key}` is empty"), format!("write {key} = [{{ env = \"NAME\" }}]"));
                Vec::new()
            }
            DeValue::Array(items) => items.iter().filter_map(|item| self.secret(key, item)).collect(),
            _ => self.secret(key, value).into_iter().collect(),
        }
    }

    fn secret(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Secret> {
        let DeValue::Table(table) = value.get_ref() else {
            self.reading.error(
                &value.span(),
                format!("the secret `{key}` is written out here"),
                format!("keep it outside: {key} = {{ env = \"NAME\" }} or {key} = {{ file = \"path\" }}"),
            );
            return None;
        };
        let mut table = Table::new("a secret", table, self.reading.lines.place(&value.span()));
        let (env, file) = (table.text(&mut self.reading, "env"), table.text(&mut self.reading, "file"));
        table.finish(&mut self.reading);
        match (env, file) {
            (Some(name), None) => {
                let Some(text) = (self.env)(name.get_ref()) else {
                    self.reading.error(
                        &name.span(),
                        format!("the environment variable {} is not set", name.get_ref()),
                        format!("export {}=… before starting membrana", name.get_ref()),
                    );
                    return None;
                };
                self.filled(key, &name, format!("the environment variable {}", name.get_ref()), &text)
            }
            (None, Some(name)) => {
                let (text, path) = self.file(&name.span(), name.get_ref())?;
                self.filled(key, &name, format!("the secret's file `{}`", path.display()), &text)
            }
            _ => {
                self.reading.error(
                    &value.span(),
                    format!("the secret `{key}` says neither or both of `env` and `file`"),
                    format!("write {key} = {{ env = \"NAME\" }}"),
                );
                None
            }
        }
    }

    /// An empty secret would open the door to everybody, and a short one to who tries long enough.
    fn filled(&mut self, key: &str, name: &Spanned<String>, source: String, text: &str) -> Option<Secret> {
        if text.trim().is_empty() {
            self.reading.error(&name.span(), format!("{source} is empty"), "put the secret in; an empty one would let everybody in");
            return None;
        }
        if GUESSED.contains(&key) && text.trim().len() < STRONG_BYTES_MIN {
            let place = self.reading.lines.place(&name.span());
            let message = format!("{source} has under {STRONG_BYTES_MIN} bytes, which can be guessed");
            self.reading.report.warning(place, message, "put a random one in, as `openssl rand -hex 32` makes it");
        }
        Some(Secret::new(text))
    }
}
