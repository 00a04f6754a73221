//! What `send` needs to answer a mail, as the JSON of `reply-context`: at most 4 KiB, made here and read there.

use serde::{Deserialize, Serialize};

const CONTEXT_BYTES_MAX: usize = 4096;
const REFERENCES_MAX: usize = 20;

/// How to answer one mail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplyContext {
    /// Reply-To, else From.
    pub(crate) to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) subject: String,
    pub(crate) message_id: String,
    /// Oldest first, as the header has them.
    #[serde(default)]
    pub(crate) references: Vec<String>,
    /// As classified; empty or `no` for a person's mail.
    #[serde(default)]
    pub(crate) automated: String,
    /// The mail had the null return path: nobody may be answered.
    #[serde(default)]
    pub(crate) null_return: bool,
}

impl ReplyContext {
    /// Shape: at most 4 KiB; what is too much is left out from the middle of `references`, then the name.
    pub(crate) fn text(mut self) -> Option<String> {
        trim_middle(&mut self.references, REFERENCES_MAX);
        loop {
            let text = serde_json::to_string(&self).ok()?;
            if text.len() <= CONTEXT_BYTES_MAX {
                return Some(text);
            }
            match self.references.len() {
                0 if self.name.is_some() => self.name = None,
                0 if !self.subject.is_empty() => self.subject = String::new(),
                0 => return None,
                count => trim_middle(&mut self.references, count - 1),
            }
        }
    }
}

/// Keeps the first and the last ones.
pub(crate) fn trim_middle(references: &mut Vec<String>, max: usize) {
    while references.len() > max {
        let at = usize::from(references.len() > 1);
        references.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_stays_under_its_limit_and_keeps_both_ends() {
        let references: Vec<String> = (0..64).map(|n| format!("<{n}.{}@example.org>", "\\".repeat(200))).collect();
        let context = ReplyContext { to: "a@b.c".to_owned(), message_id: "<m@b.c>".to_owned(), references: references.clone(), ..Default::default() };
        let text = context.text().unwrap();
        let back: ReplyContext = serde_json::from_str(&text).unwrap();
        assert!(text.len() <= CONTEXT_BYTES_MAX);
        assert_eq!((back.references.first(), back.references.last()), (references.first(), references.last()));
    }
}
