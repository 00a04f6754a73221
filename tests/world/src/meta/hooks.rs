//! Webhooks: what is pending, as one delivery of several entries and changes, signed over its bytes.

use std::net::SocketAddr;

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::state::{Network, Side};
use crate::http::{Answer, call};

/// How Instagram's changes are dressed; both are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// In a list of the entry's.
    Nested,
    /// In the entry itself.
    Flat,
}

/// Not told yet.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    side: Side,
    /// None: of a conversation.
    field: Option<&'static str>,
    value: Value,
    at: u64,
}

impl Pending {
    pub(super) fn field(side: Side, field: &'static str, value: Value, at: u64) -> Self {
        Self { side, field: Some(field), value, at }
    }

    pub(super) fn messaging(side: Side, value: Value, at: u64) -> Self {
        Self { side, field: None, value, at }
    }

    fn is_echo(&self) -> bool {
        self.value.pointer("/message/is_echo").is_some()
    }
}

impl Network {
    /// Changes have seconds, messages milliseconds.
    fn entries(side: Side, pending: &[&Pending], shape: Shape) -> Vec<Value> {
        let mut entries = Vec::new();
        let (fields, messages): (Vec<&&Pending>, Vec<&&Pending>) = pending.iter().partition(|pending| pending.field.is_some());
        let is_flat = shape == Shape::Flat && side == Side::Instagram;
        for some in fields.chunks(if is_flat { 1 } else { fields.len().div_ceil(2).max(1) }) {
            let Some(last) = some.last() else { continue };
            entries.push(if is_flat {
                json!({ "id": side.owner(), "time": last.at / 1000, "field": last.field, "value": last.value })
            } else {
                let changes: Vec<Value> = some.iter().map(|one| json!({ "field": one.field, "value": one.value })).collect();
                json!({ "id": side.owner(), "time": last.at / 1000, "changes": changes })
            });
        }
        for one in messages {
            entries.push(json!({ "id": side.owner(), "time": one.at, "messaging": [one.value] }));
        }
        entries
    }

    pub(super) fn deliveries(&mut self, shape: Shape) -> Vec<String> {
        let pending = std::mem::take(&mut self.pending);
        let of_side = |side: Side| {
            let mine: Vec<&Pending> = pending.iter().filter(|one| one.side == side).collect();
            (!mine.is_empty()).then(|| json!({ "object": side.object(), "entry": Self::entries(side, &mine, shape) }).to_string())
        };
        [Side::Messenger, Side::Instagram].into_iter().filter_map(of_side).collect()
    }

    /// The echoes that must be told before the answer, where somebody wants that: to whom, path, signature and body.
    pub(super) fn echo(&mut self) -> Option<(SocketAddr, String, String, String)> {
        let (to, path) = self.echo_to.clone()?;
        let at = self.pending.iter().position(Pending::is_echo)?;
        let echo = self.pending.remove(at);
        let body = json!({ "object": echo.side.object(), "entry": Self::entries(echo.side, &[&echo], Shape::Nested) }).to_string();
        Some((to, path, sign_hex(&self.app_secret, body.as_bytes()), body))
    }
}

pub(super) async fn deliver(to: SocketAddr, path: &str, signature: &str, body: &str) -> Result<Answer, String> {
    let headers = [("content-type", "application/json"), ("x-hub-signature-256", signature), ("user-agent", "facebookexternalua")];
    call(to, "POST", path, &headers, body.as_bytes()).await
}

/// `sha256=` and the hex of HMAC-SHA256 over the body.
pub fn sign_hex(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", hex_hmac(secret, body))
}

pub(super) fn hex_hmac(secret: &str, bytes: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(bytes);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
