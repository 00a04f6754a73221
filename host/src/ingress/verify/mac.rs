//! Codes of authenticity and tokens, compared in constant time; and the texts that they come as.

use ring::digest::{SHA256, digest};
use ring::hmac::{Context, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512, Key};
use subtle::ConstantTimeEq;

/// Longer texts are no signature. Units: bytes; SHA-512 in hex has 128.
const SIGNATURE_BYTES_MAX: usize = 256;

/// What a code is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// As it stands before `=` in a header.
    pub(super) fn named(name: &str) -> Option<Self> {
        let known = [("sha1", Self::Sha1), ("sha256", Self::Sha256), ("sha384", Self::Sha384), ("sha512", Self::Sha512)];
        known.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, hash)| hash)
    }

    /// HMAC over these parts, one after the other.
    pub(super) fn mac(self, secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => HMAC_SHA256,
            Self::Sha384 => HMAC_SHA384,
            Self::Sha512 => HMAC_SHA512,
        };
        let mut mac = Context::with_key(&Key::new(algorithm, secret));
        parts.iter().for_each(|part| mac.update(part));
        mac.sign().as_ref().to_vec()
    }

    /// Says whether `given` is the whole code over these parts. A part of one is none.
    pub(super) fn is_made_by(self, secret: &[u8], parts: &[&[u8]], given: &[u8]) -> bool {
        given.ct_eq(&self.mac(secret, parts)).into()
    }

    /// The same of several codes; the parts are gone through once.
    pub(super) fn makes_one_of(self, secret: &[u8], parts: &[&[u8]], given: &[Vec<u8>]) -> bool {
        let made = self.mac(secret, parts);
        given.iter().any(|given| given.ct_eq(&made).into())
    }
}

/// Equality of secrets; what it takes tells neither where they differ nor how long they are.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    digest(&SHA256, one).as_ref().ct_eq(digest(&SHA256, other).as_ref()).into()
}

/// Says whether the bytes have this SHA-256.
pub(super) fn has_sha256(bytes: &[u8], given: &[u8]) -> bool {
    given.ct_eq(digest(&SHA256, bytes).as_ref()).into()
}

/// `sha256=…` into its hash and its code's text.
pub(super) fn labelled(text: &str) -> Option<(Hash, &str)> {
    let (name, code) = text.trim().split_once('=')?;
    Some((Hash::named(name)?, code))
}

/// Bytes of hex in either case. Shape: not empty.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if text.is_empty() || text.len() > SIGNATURE_BYTES_MAX || !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.last()?)?)).collect()
}

/// As the networks that sign in hex write it: lower case.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of base64 with its padding. Shape: not empty.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let text = text.trim();
    if text.is_empty() || text.len() > SIGNATURE_BYTES_MAX {
        return None;
    }
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: RFC 2202, RFC 4231, test case 2 of each.
    #[test]
    fn codes_are_those_of_the_standards() {
        let (secret, said) = (b"Jefe".as_slice(), b"what do ya want for nothing?".as_slice());
        let codes = [
            (Hash::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (Hash::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (Hash::Sha384, "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649"),
            (
                Hash::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ];
        for (hash, code) in codes {
            assert_eq!(to_hex(&hash.mac(secret, &[said])), code);
            let (one, rest) = said.split_at(7);
            assert!(hash.is_made_by(secret, &[one, rest], &from_hex(&code.to_uppercase()).unwrap()), "{hash:?} in parts");
            assert!(!hash.is_made_by(secret, &[said], &from_hex(code.get(..20).unwrap()).unwrap()), "{hash:?}, cut");
        }
    }

    #[test]
    fn what_is_no_code_is_read_as_none() {
        for text in ["", "a", "abc", "zz", "+1", "0x", "è0", &"ab".repeat(200)] {
            assert_eq!(from_hex(text), None, "{text}");
        }
        for text in ["", "?", "AAA", "A=", &"AAAA".repeat(100)] {
            assert_eq!(from_base64(text), None, "{text}");
        }
        assert_eq!(labelled("md5=00"), None);
        assert_eq!(labelled("00"), None);
        assert_eq!(labelled(" SHA256=aa="), Some((Hash::Sha256, "aa=")));
    }
}
