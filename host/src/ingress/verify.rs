//! How webhooks prove themselves. Over the bytes received, in constant time, with every live secret of a rotation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::model::Timestamp;

use super::Incoming;

/// How far a signed timestamp may be off. Units: seconds. Source: Standard Webhooks.
const SKEW_S_MAX: u64 = 300;
/// Shape: ids longer than this are refused.
const ID_BYTES_MAX: usize = 256;
/// Signatures looked at in one request.
const SIGNATURES_MAX: usize = 16;

/// A way to prove oneself, by its name in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `standard-webhooks`: HMAC-SHA256 over id, timestamp and body.
    StandardWebhooks,
    /// `none`: everybody may send; must be written out, and is warned of.
    None,
}

impl Scheme {
    /// Every scheme by name.
    pub const ALL: [(&'static str, Scheme); 2] = [("standard-webhooks", Scheme::StandardWebhooks), ("none", Scheme::None)];

    /// The scheme of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, scheme)| *scheme)
    }
}

/// A scheme with its live secrets.
pub struct Verifier {
    scheme: Scheme,
    secrets: Vec<Zeroizing<Vec<u8>>>,
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
}

impl Verifier {
    /// Shape of a secret: `whsec_` and base64, or any other text, taken as it is.
    pub fn new<'a>(scheme: Scheme, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let secrets = secrets.into_iter().map(|text| {
            let decoded = text.trim().strip_prefix("whsec_").and_then(|b64| STANDARD.decode(b64).ok());
            Zeroizing::new(decoded.unwrap_or_else(|| text.trim().as_bytes().to_vec()))
        });
        Self { scheme, secrets: secrets.collect() }
    }

    /// Says whether to believe it; with the delivery's id where the scheme signs one.
    pub(super) fn verify(&self, incoming: &Incoming, now: Timestamp) -> Result<Option<String>, Refusal> {
        match self.scheme {
            Scheme::None => Ok(None),
            Scheme::StandardWebhooks => self.standard_webhooks(incoming, now).map(Some),
        }
    }

    fn standard_webhooks(&self, incoming: &Incoming, now: Timestamp) -> Result<String, Refusal> {
        let id = header(incoming, "webhook-id").filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX).ok_or(Refusal::Header("webhook-id"))?;
        let stamp = header(incoming, "webhook-timestamp").ok_or(Refusal::Header("webhook-timestamp"))?;
        let at_s: u64 = stamp.parse().map_err(|_| Refusal::Header("webhook-timestamp"))?;
        if at_s.abs_diff(now.0 / 1000) > SKEW_S_MAX {
            return Err(Refusal::Stale);
        }
        let given = header(incoming, "webhook-signature").ok_or(Refusal::Header("webhook-signature"))?;
        let given: Vec<Vec<u8>> =
            given.split(' ').take(SIGNATURES_MAX).filter_map(|one| one.strip_prefix("v1,")).filter_map(|b64| STANDARD.decode(b64).ok()).collect();
        for secret in &self.secrets {
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { continue };
            mac.update(format!("{id}.{stamp}.").as_bytes());
            mac.update(&incoming.body);
            let expected = mac.finalize().into_bytes();
            if given.iter().any(|signature| bool::from(signature.ct_eq(&expected))) {
                return Ok(id.to_owned());
            }
        }
        Err(Refusal::Signature)
    }
}

fn header<'a>(incoming: &'a Incoming, name: &str) -> Option<&'a str> {
    incoming.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NOW: Timestamp = Timestamp(1_614_265_330_000);

    fn incoming(id: &str, at: &str, signature: &str, body: &str) -> Incoming {
        let headers = [("webhook-id", id), ("webhook-timestamp", at), ("webhook-signature", signature)];
        Incoming {
            method: "POST".to_owned(),
            path_with_query: String::new(),
            headers: headers.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn only_the_right_signature_over_these_bytes_is_believed() {
        let verifier = Verifier::new(Scheme::StandardWebhooks, ["another", SECRET]);
        let (id, at, good) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let body = r#"{"test": 2432232314}"#;
        let both = format!("v1,AAAA v2,xyz {good}");

        let cases = [
            (incoming(id, at, good, body), Ok(Some(id.to_owned()))),
            (incoming(id, at, &both, body), Ok(Some(id.to_owned()))),
            (incoming(id, at, good, r#"{"test":2432232314}"#), Err(Refusal::Signature)),
            (incoming(id, at, "v1,AAAA", body), Err(Refusal::Signature)),
            (incoming(id, at, "rubbish", body), Err(Refusal::Signature)),
            (incoming("other", at, good, body), Err(Refusal::Signature)),
            (incoming(id, "1614264000", good, body), Err(Refusal::Stale)),
            (incoming(id, "now", good, body), Err(Refusal::Header("webhook-timestamp"))),
            (incoming("", at, good, body), Err(Refusal::Header("webhook-id"))),
            (incoming(id, at, "", body), Err(Refusal::Header("webhook-signature"))),
        ];

        for (n, (request, expected)) in cases.into_iter().enumerate() {
            assert_eq!(verifier.verify(&request, NOW), expected, "case {n}");
        }
    }
}
