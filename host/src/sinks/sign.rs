//! Standard Webhooks signatures. Source: the Standard Webhooks specification, symmetric `v1` scheme.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac::{Context, HMAC_SHA256, Key};
use zeroize::Zeroizing;

/// A signing secret. Prints as `***`.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// A secret in the wrong form.
#[derive(Debug, thiserror::Error)]
#[error("a Standard Webhooks secret is `whsec_` and base64 of 24 to 64 bytes")]
pub struct SecretError;

impl Secret {
    /// Reads `whsec_…`.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.trim().strip_prefix("whsec_").ok_or(SecretError)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| SecretError)?;
        if (24..=64).contains(&bytes.len()) { Ok(Self(Zeroizing::new(bytes))) } else { Err(SecretError) }
    }

    /// The signature of one message by this secret. Shape: 32 bytes.
    pub fn sign(&self, id: &str, at_s: u64, body: &[u8]) -> Vec<u8> {
        let mut mac = Context::with_key(&Key::new(HMAC_SHA256, &self.0));
        mac.update(format!("{id}.{at_s}.").as_bytes());
        mac.update(body);
        mac.sign().as_ref().to_vec()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The header's value: one signature a secret, so that a receiver may rotate.
pub(super) fn signature(secrets: &[Secret], id: &str, at_s: u64, body: &[u8]) -> String {
    let each = secrets.iter().map(|secret| format!("v1,{}", STANDARD.encode(secret.sign(id, at_s, body))));
    each.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_s_example_is_signed_alike() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();

        let value = signature(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);

        assert_eq!(value, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(format!("{secret:?}"), "***");
        assert!(Secret::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_err());
    }
}
