//! The ways in which webhooks prove themselves, by the names that manifests and `membrana.toml` give them. What each means is in
//! `ingress/verify`; a plugin only names one.

use serde::{Deserialize, Serialize};

/// A way in which webhooks prove themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// HMAC-SHA256 over id, timestamp and body; what any sender of ours should use.
    StandardWebhooks,
    /// X: challenged by `crc_token`, signed by the consumer secret.
    X,
    /// Facebook, Instagram, WhatsApp: challenged by `hub.challenge` with a verify token, signed by the app's secret.
    Meta,
    /// A forum's own secret.
    Discourse,
    /// Challenged by `challengeCode`, signed by the client's secret.
    #[serde(rename = "linkedin")]
    LinkedIn,
    /// A token that both sides know, in a header.
    Telegram,
    /// Hubs of feeds: intent is verified by topic, content is signed.
    #[serde(rename = "websub")]
    WebSub,
    /// A trigger's own secret.
    Zammad,
    /// Signed over our public URL and the form's fields.
    Twilio,
    /// A secret in a field of the form that is posted.
    FormSecret,
    /// Everybody may send; must be written out, and is warned of.
    None,
}

impl Scheme {
    /// Every scheme, the recommended one first.
    pub const ALL: [Scheme; 11] = [
        Self::StandardWebhooks,
        Self::X,
        Self::Meta,
        Self::Discourse,
        Self::LinkedIn,
        Self::Telegram,
        Self::WebSub,
        Self::Zammad,
        Self::Twilio,
        Self::FormSecret,
        Self::None,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::StandardWebhooks => "standard-webhooks",
            Self::X => "x",
            Self::Meta => "meta",
            Self::Discourse => "discourse",
            Self::LinkedIn => "linkedin",
            Self::Telegram => "telegram",
            Self::WebSub => "websub",
            Self::Zammad => "zammad",
            Self::Twilio => "twilio",
            Self::FormSecret => "form-secret",
            Self::None => "none",
        }
    }

    /// The scheme of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.name() == name)
    }
}

impl std::fmt::Display for Scheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_and_configuration_use_the_same_names() {
        for scheme in Scheme::ALL {
            assert_eq!(serde_json::to_value(scheme).unwrap(), scheme.name());
            assert_eq!(Scheme::named(scheme.name()), Some(scheme));
        }
        assert_eq!(Scheme::named("standard-webhook"), None);
    }
}
