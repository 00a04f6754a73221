//! Webhooks, signed over the bytes that are sent. What happened stands in a header alone.

use std::net::SocketAddr;

use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;

use super::state::Forum;
use crate::http::{Answer, call};

/// One delivery; sent again it is the same.
#[derive(Debug, Clone)]
pub struct DiscourseHook {
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// As signed.
    pub body: String,
}

impl DiscourseHook {
    /// Posts it. Errors: in words.
    pub async fn post(&self, address: SocketAddr, path: &str) -> Result<Answer, String> {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        call(address, "POST", path, &headers, self.body.as_bytes()).await
    }

    /// With a signature of other bytes.
    #[must_use]
    pub fn signed_wrongly(mut self) -> Self {
        for (name, value) in &mut self.headers {
            if name == "x-discourse-event-signature" {
                *value = sign("another secret", &self.body);
            }
        }
        self
    }
}

/// `sha256=` and hex.
fn sign(secret: &str, body: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

impl Forum {
    pub(super) fn webhook(&mut self, event: &str, post: u64, secret: &str) -> DiscourseHook {
        let body = json!({ "post": self.find(post).map(|post| self.in_webhook(post)) }).to_string();
        self.delivery("post", event, body, secret)
    }

    pub(super) fn delivery(&mut self, kind: &str, event: &str, body: String, secret: &str) -> DiscourseHook {
        let id = self.fresh_event().to_string();
        let signature = sign(secret, &body);
        let pairs = [
            ("content-type", "application/json"),
            ("x-discourse-instance", "https://forum.example"),
            ("x-discourse-event-id", id.as_str()),
            ("x-discourse-event-type", kind),
            ("x-discourse-event", event),
            ("x-discourse-event-signature", signature.as_str()),
        ];
        let headers = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        DiscourseHook { headers, body }
    }
}
