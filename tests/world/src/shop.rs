//! A shop that signs what it posts: rightly, wrongly, too late, or twice.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::http::{Answer, call};
use crate::server::now_ms;

/// How an event is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dress {
    /// As it should be.
    Right,
    /// By another secret.
    Wrong,
    /// An hour ago.
    Stale,
    /// Not at all.
    Missing,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Shop {
    /// Of the host.
    pub address: SocketAddr,
    /// `/hooks/CHANNEL`.
    pub path: String,
    /// `whsec_…`.
    pub secret: String,
}

impl Shop {
    /// Posts an event with this id. Errors: in words.
    pub async fn post(&self, id: &str, dress: Dress, body: &str) -> Result<Answer, String> {
        self.post_at(now_ms() / 1000, id, dress, body).await
    }

    /// As [`Shop::post`], at this moment. Units: seconds since 1970.
    pub async fn post_at(&self, now: u64, id: &str, dress: Dress, body: &str) -> Result<Answer, String> {
        let at = if dress == Dress::Stale { now.saturating_sub(3600) } else { now }.to_string();
        let other = format!("whsec_{}", STANDARD.encode([9; 32]));
        let secret = if dress == Dress::Wrong { &other } else { &self.secret };
        let signature = sign(secret, id, &at, body.as_bytes());
        let mut headers = vec![("content-type", "application/json"), ("webhook-id", id), ("webhook-timestamp", at.as_str())];
        if dress != Dress::Missing {
            headers.push(("webhook-signature", &signature));
        }
        call(self.address, "POST", &self.path, &headers, body.as_bytes()).await
    }
}

/// Standard Webhooks, symmetric: `v1,` and base64 of HMAC-SHA256 over id, timestamp and body.
pub(crate) fn sign(secret: &str, id: &str, at: &str, body: &[u8]) -> String {
    let key = secret.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else { return String::new() };
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}
