//! Forms as `curl -d` sends them: `name=value&name=value`, percent-encoded.

/// A form's fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    pub(crate) fn read(body: &str) -> Self {
        let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
        let plain = |text: &str| decoded(&text.replace('+', " "), b'%');
        Self(pairs.map(|(name, value)| (plain(name), plain(value))).collect())
    }

    /// Empty is absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(crate) fn or<'f>(&'f self, name: &str, default: &'f str) -> &'f str {
        self.get(name).unwrap_or(default)
    }
}

/// With each `mark` and two hexadecimal digits as the byte that they name.
pub(crate) fn decoded(text: &str, mark: u8) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let hex = (*first == mark)
            .then(|| after.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(hex.unwrap_or(*first));
        if hex.is_some() {
            rest = after.get(2..).unwrap_or_default();
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Text inside HTML or XML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
