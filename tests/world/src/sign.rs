//! What networks sign with. Nothing here is shared with the host, whose own reading of it is judged by this one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// The hash of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// Twilio, Zammad, old hubs.
    Sha1,
    /// Nearly everybody.
    Sha256,
    /// Hubs.
    Sha384,
    /// Hubs.
    Sha512,
}

/// HMAC in lower-case hex.
pub fn hmac_hex(hash: Hash, secret: &str, said: &[u8]) -> String {
    hex(&code(hash, secret.as_bytes(), said))
}

/// HMAC in base64, padded.
pub fn hmac_base64(hash: Hash, secret: &str, said: &[u8]) -> String {
    STANDARD.encode(code(hash, secret.as_bytes(), said))
}

/// SHA-256 in lower-case hex, without any secret.
pub fn sha256_hex(said: &[u8]) -> String {
    hex(&Sha256::digest(said))
}

/// Twilio's: over the address and the fields as they are meant, not as they are written in the form.
pub fn twilio(token: &str, url: &str, fields: &[(&str, &str)]) -> String {
    let mut fields = fields.to_vec();
    fields.sort_unstable();
    let said = fields.into_iter().fold(url.to_owned(), |said, (name, value)| said + name + value);
    hmac_base64(Hash::Sha1, token, said.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn code(hash: Hash, secret: &[u8], said: &[u8]) -> Vec<u8> {
    macro_rules! by {
        ($hash:ty) => {
            Hmac::<$hash>::new_from_slice(secret).map(|mac| mac.chain_update(said).finalize().into_bytes().to_vec()).unwrap_or_default()
        };
    }
    match hash {
        Hash::Sha1 => by!(Sha1),
        Hash::Sha256 => by!(Sha256),
        Hash::Sha384 => by!(Sha384),
        Hash::Sha512 => by!(Sha512),
    }
}
