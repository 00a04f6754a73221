//! Mistakes as an admin reads them: `file:line:column: error: what`, and the cure.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use crate::model::Severity;

/// Where something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which file.
    pub file: PathBuf,
    /// From 1; 0: the file as a whole.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

impl Place {
    /// A file as a whole.
    pub fn file(file: &Path) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 { write!(f, ":{}:{}", self.line, self.column) } else { Ok(()) }
    }
}

/// One thing to say about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
    /// The next step.
    pub cure: String,
}

/// Everything there is to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the file.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Adds an error.
    pub fn error(&mut self, place: Place, message: impl Into<String>, cure: impl Into<String>) {
        self.add(Severity::Error, place, message, cure);
    }

    /// Adds a warning.
    pub fn warning(&mut self, place: Place, message: impl Into<String>, cure: impl Into<String>) {
        self.add(Severity::Warning, place, message, cure);
    }

    /// Adds a finding.
    pub fn add(&mut self, severity: Severity, place: Place, message: impl Into<String>, cure: impl Into<String>) {
        self.findings.push(Finding { severity, place, message: message.into(), cure: cure.into() });
    }

    /// Says whether the configuration must be refused.
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// Why it must be.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error)
    }

    /// Takes in another report.
    pub fn extend(&mut self, other: Report) {
        self.findings.extend(other.findings);
    }

    /// By file, line and column.
    pub fn sort(&mut self) {
        self.findings.sort_by(|a, b| (&a.place.file, a.place.line, a.place.column).cmp(&(&b.place.file, b.place.line, b.place.column)));
    }
}

/// The word for a severity.
pub(super) fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{}: {}: {}", finding.place, word(finding.severity), finding.message)?;
            if !finding.cure.is_empty() {
                writeln!(f, "  help: {}", finding.cure)?;
            }
        }
        Ok(())
    }
}

/// One finding as JSON shows it.
#[derive(Serialize)]
struct Shown<'a> {
    severity: &'static str,
    file: String,
    line: u32,
    column: u32,
    message: &'a str,
    cure: &'a str,
}

impl Finding {
    /// One object.
    pub fn json(&self) -> serde_json::Value {
        let shown = Shown {
            severity: word(self.severity),
            file: self.place.file.display().to_string(),
            line: self.place.line,
            column: self.place.column,
            message: &self.message,
            cure: &self.cure,
        };
        serde_json::to_value(shown).unwrap_or_default()
    }
}
