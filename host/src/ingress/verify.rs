//! How webhooks prove themselves. Over the bytes received, in constant time, with every live secret of a rotation.
//!
//! A scheme that signs no time bounds no replay. Then a repeat changes nothing, for intake knows an interaction by its native id.

mod challenge;
mod form;
mod hub;
mod mac;
#[cfg(test)]
mod tests;

use zeroize::Zeroizing;

use crate::model::{Scheme, Timestamp};

use super::Incoming;
use mac::{Hash, from_base64, is_same};

pub use challenge::Challenge;

/// How far a signed timestamp may be off. Units: seconds. Source: Standard Webhooks.
const SKEW_S_MAX: u64 = 300;
/// Shape: ids longer than this are refused, or not looked at where they are not signed.
const ID_BYTES_MAX: usize = 256;
/// Signatures looked at in one request.
const SIGNATURES_MAX: usize = 16;

/// What a scheme needs to know.
pub struct Setup<'a> {
    /// Which one.
    pub scheme: Scheme,
    /// All are live; the first answers challenges. For `standard-webhooks` `whsec_` and base64, or any text; for others text.
    pub secrets: Vec<&'a str>,
    /// `meta`: tokens that a subscriber of ours knows. All are live.
    pub verify_tokens: Vec<&'a str>,
    /// `websub`: what may be subscribed to.
    pub topics: Vec<String>,
    /// `form-secret`: the field that holds the secret.
    pub field: String,
    /// `twilio`: what the network calls this hook by.
    pub url: String,
}

/// A scheme with its live secrets.
pub struct Verifier {
    scheme: Scheme,
    secrets: Vec<Zeroizing<Vec<u8>>>,
    verify_tokens: Vec<Zeroizing<Vec<u8>>>,
    topics: Vec<String>,
    field: String,
    urls: Vec<String>,
}

/// What a request that proved itself is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A delivery; with its id where the scheme has one that can be relied on.
    Believed(Option<String>),
    /// Only a question whether we are there: nothing to store.
    Ping,
}

/// Why a request is not believed; no part of it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// A header that the scheme needs is not there, or not readable.
    #[error("header `{0}` is missing or malformed")]
    Header(&'static str),
    /// Signed too long ago, or in the future.
    #[error("timestamp is more than {SKEW_S_MAX} s off")]
    Stale,
    /// No live secret made this signature.
    #[error("signature does not match")]
    Signature,
    /// A hash that the scheme does not take.
    #[error("signature is made with a hash that is not taken")]
    Hash,
    /// What is signed does not cover the body.
    #[error("signature does not cover the body")]
    Uncovered,
    /// The field of the secret is not there exactly once.
    #[error("form does not name its secret exactly once")]
    Field,
}

impl Verifier {
    /// Puts a scheme in force.
    pub fn new(setup: Setup<'_>) -> Self {
        let scheme = setup.scheme;
        Self {
            scheme,
            secrets: setup.secrets.into_iter().map(|text| secret_of(scheme, text.trim())).collect(),
            verify_tokens: setup.verify_tokens.into_iter().map(|text| Zeroizing::new(text.trim().as_bytes().to_vec())).collect(),
            topics: setup.topics,
            field: setup.field,
            urls: form::urls_of(&setup.url),
        }
    }

    /// Which one.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Says whether to believe it.
    pub(super) fn verify(&self, incoming: &Incoming, now: Timestamp) -> Result<Verdict, Refusal> {
        match self.scheme {
            Scheme::None => Ok(Verdict::Believed(None)),
            Scheme::StandardWebhooks => self.standard_webhooks(incoming, now),
            Scheme::X => self.x(incoming),
            Scheme::Meta => self.labelled_hex(incoming, "x-hub-signature-256", &[Hash::Sha256]),
            Scheme::Discourse => self.discourse(incoming),
            Scheme::LinkedIn => self.linkedin(incoming),
            Scheme::Telegram => self.telegram(incoming),
            Scheme::WebSub => self.labelled_hex(incoming, "x-hub-signature", &[Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512]),
            Scheme::Zammad => self.labelled_hex(incoming, "x-hub-signature", &[Hash::Sha1]),
            Scheme::Twilio => self.twilio(incoming),
            Scheme::FormSecret => self.form_secret(incoming),
        }
    }

    /// Takes the secret out of what was believed, before anything is stored.
    pub(super) fn mask(&self, incoming: &mut Incoming) {
        if self.scheme == Scheme::FormSecret {
            self.mask_form_secret(incoming);
        }
    }

    fn standard_webhooks(&self, incoming: &Incoming, now: Timestamp) -> Result<Verdict, Refusal> {
        let id = header(incoming, "webhook-id").filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX).ok_or(Refusal::Header("webhook-id"))?;
        let stamp = header(incoming, "webhook-timestamp").ok_or(Refusal::Header("webhook-timestamp"))?;
        let at_s: u64 = stamp.parse().map_err(|_| Refusal::Header("webhook-timestamp"))?;
        if at_s.abs_diff(now.0 / 1000) > SKEW_S_MAX {
            return Err(Refusal::Stale);
        }
        let given = header(incoming, "webhook-signature").ok_or(Refusal::Header("webhook-signature"))?;
        let given: Vec<Vec<u8>> = given.split(' ').take(SIGNATURES_MAX).filter_map(|one| from_base64(one.strip_prefix("v1,")?)).collect();
        let head = format!("{id}.{stamp}.");
        let is_right = |secret: &[u8]| Hash::Sha256.makes_one_of(secret, &[head.as_bytes(), &incoming.body], &given);
        self.by_one_of_the_secrets(is_right).map(|()| Verdict::Believed(Some(id.to_owned())))
    }

    fn x(&self, incoming: &Incoming) -> Result<Verdict, Refusal> {
        let name = "x-twitter-webhooks-signature";
        let (hash, code) = header(incoming, name).and_then(mac::labelled).ok_or(Refusal::Header(name))?;
        if hash != Hash::Sha256 {
            return Err(Refusal::Hash);
        }
        let given = from_base64(code).ok_or(Refusal::Header(name))?;
        challenge::never_signed_by_us(&incoming.body)?;
        self.by_one_of_the_secrets(|secret| hash.is_made_by(secret, &[&incoming.body], &given)).map(|()| Verdict::Believed(None))
    }

    fn telegram(&self, incoming: &Incoming) -> Result<Verdict, Refusal> {
        let token = header(incoming, TELEGRAM_TOKEN).ok_or(Refusal::Header(TELEGRAM_TOKEN))?;
        self.by_one_of_the_secrets(|secret| is_same(secret, token.as_bytes())).map(|()| Verdict::Believed(None))
    }

    /// Asks each secret, also after one was right.
    fn by_one_of_the_secrets(&self, is_right: impl Fn(&[u8]) -> bool) -> Result<(), Refusal> {
        let is_by_one = self.secrets.iter().fold(false, |is_by_one, secret| is_by_one | is_right(secret));
        if is_by_one { Ok(()) } else { Err(Refusal::Signature) }
    }
}

/// Holds a secret itself: never kept.
pub(super) const TELEGRAM_TOKEN: &str = "x-telegram-bot-api-secret-token";

fn secret_of(scheme: Scheme, text: &str) -> Zeroizing<Vec<u8>> {
    let decoded = if scheme == Scheme::StandardWebhooks { text.strip_prefix("whsec_").and_then(from_base64) } else { None };
    Zeroizing::new(decoded.unwrap_or_else(|| text.as_bytes().to_vec()))
}

fn header<'a>(incoming: &'a Incoming, name: &str) -> Option<&'a str> {
    incoming.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}
