//! The plugin's section of the configuration, checked: every mistake at once, each with its cure.

use membrana_sdk::json;
use membrana_sdk::{Finding, Result, finding_error, finding_warning};
use serde::Deserialize;
use url::Url;

const URLS_MAX: usize = 64;
/// Units: bytes.
const URL_MAX: usize = 1000;

/// The section.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) urls: Vec<String>,
    first_fetch: String,
    /// Comment feeds are looked for.
    pub(crate) comments: bool,
    /// The posts are the company's own; comments never are.
    pub(crate) ours: bool,
    pace: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { urls: Vec::new(), first_fetch: "skip".to_owned(), comments: true, ours: false, pace: "channel".to_owned() }
    }
}

impl Settings {
    /// Errors: `config`, which `check` had told before.
    pub(crate) fn load() -> Result<Self> {
        json::section("feed")
    }

    /// What a feed holds at the first look is told, as history.
    pub(crate) fn is_import(&self) -> bool {
        self.first_fetch == "import"
    }

    /// What feeds say of their own pace is passed on.
    pub(crate) fn follows_pace(&self) -> bool {
        self.pace == "feed"
    }
}

pub(crate) fn validate(config: &str) -> Vec<Finding> {
    let settings: Settings = match serde_json::from_str(config) {
        Ok(settings) => settings,
        Err(error) => return vec![finding_error("", error, "see `membrana plugin inspect feed` for the keys")],
    };
    let mut findings = Vec::new();
    if settings.urls.is_empty() || settings.urls.len() > URLS_MAX {
        findings.push(finding_error(
            "urls",
            format!("{} feeds are not 1 to {URLS_MAX}", settings.urls.len()),
            "write urls = [\"https://blog.example.org/feed/\"]",
        ));
    }
    for (n, text) in settings.urls.iter().enumerate() {
        let is_feed = text.len() <= URL_MAX && Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_feed {
            findings.push(finding_error(&format!("urls[{n}]"), format!("`{text}` is not the address of a feed"), "write https://host/path"));
        } else if settings.urls.iter().take(n).any(|before| before == text) {
            findings.push(finding_warning(&format!("urls[{n}]"), format!("`{text}` is named twice"), "name each feed once"));
        }
    }
    for (key, value, words) in [("first_fetch", &settings.first_fetch, ["skip", "import"]), ("pace", &settings.pace, ["channel", "feed"])] {
        if !words.contains(&value.as_str()) {
            findings.push(finding_error(key, format!("`{value}` is unknown"), format!("use {} or {}", words[0], words[1])));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::validate;

    #[test]
    fn every_mistake_is_told_at_once() {
        assert_eq!(validate(r#"{"urls":["https://blog.example.org/feed/"],"first_fetch":"import"}"#), vec![]);
        let findings = validate(r#"{"urls":["ftp://x","http://x/","http://x/","no"],"first_fetch":"all","pace":"slow"}"#);
        let keys: Vec<_> = findings.iter().map(|finding| finding.key.as_str()).collect();
        assert_eq!(keys, ["urls[0]", "urls[2]", "urls[3]", "first_fetch", "pace"]);
        assert_eq!(validate("{}").len(), 1);
    }
}
