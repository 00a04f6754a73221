//! The questions by which networks find out whether an address is ours. Answered here and now, from memory alone: nothing of them
//! is stored, no plugin sees them, and a store that is busy delays none.

use std::borrow::Cow;

use serde_json::json;
use url::form_urlencoded::parse;

use crate::model::Scheme;

use super::mac::{Hash, is_same, to_hex};
use super::{Refusal, Verifier};

/// What is sent back or signed has at most so many bytes.
const CHALLENGE_BYTES_MAX: usize = 1024;
/// Parameters looked at.
const PARAMETERS_MAX: usize = 32;

/// What a challenge is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// 200: this text.
    Text(String),
    /// 200: this JSON.
    Json(String),
    /// 200 and nothing: something was told, not asked.
    Heard,
    /// 400: too long, or not what this network asks.
    Malformed,
    /// 403: it does not know the verify token.
    Forbidden,
    /// 404: nobody here wants this topic.
    UnknownTopic,
}

impl Verifier {
    /// The answer to a `GET` with this query, where it is a challenge of this scheme.
    pub fn challenge(&self, query: &str) -> Option<Challenge> {
        let parameters: Vec<(Cow<'_, str>, Cow<'_, str>)> = parse(query.as_bytes()).take(PARAMETERS_MAX).collect();
        let named = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref());
        match self.scheme {
            Scheme::X => named("crc_token").map(|token| self.signed(token, |code| json!({ "response_token": format!("sha256={}", base64(code)) }))),
            Scheme::LinkedIn => {
                named("challengeCode").map(|token| self.signed(token, |code| json!({ "challengeCode": token, "challengeResponse": to_hex(code) })))
            }
            Scheme::Meta => {
                let is_one = ["hub.mode", "hub.challenge", "hub.verify_token"].iter().any(|name| named(name).is_some());
                is_one.then(|| self.meta_challenge(named("hub.mode"), named("hub.verify_token"), named("hub.challenge")))
            }
            Scheme::WebSub => named("hub.mode").map(|mode| self.intent(mode, named("hub.topic"), named("hub.challenge"))),
            _ => None,
        }
    }

    /// Signs what was sent, by the first secret. Anybody may ask for that, so nothing is signed that could be taken for a delivery.
    fn signed(&self, token: &str, answer: impl Fn(&[u8]) -> serde_json::Value) -> Challenge {
        match self.secrets.first() {
            Some(secret) if is_token(token.as_bytes()) => Challenge::Json(answer(&Hash::Sha256.mac(secret, &[token.as_bytes()])).to_string()),
            _ => Challenge::Malformed,
        }
    }

    fn meta_challenge(&self, mode: Option<&str>, token: Option<&str>, challenge: Option<&str>) -> Challenge {
        let token = token.unwrap_or_default().as_bytes();
        let is_known = self.verify_tokens.iter().fold(false, |is_known, known| is_known | is_same(known, token));
        if mode != Some("subscribe") || !is_known {
            return Challenge::Forbidden;
        }
        echo(challenge)
    }

    /// What is wanted may be subscribed to; what is not wanted may be unsubscribed from; nothing else, or a stranger could end a
    /// subscription, or begin one. Source: WebSub, 5.2 and 5.3.
    fn intent(&self, mode: &str, topic: Option<&str>, challenge: Option<&str>) -> Challenge {
        let is_wanted = topic.is_some_and(|topic| self.topics.iter().any(|wanted| wanted == topic));
        match (mode, is_wanted) {
            ("denied", true) => Challenge::Heard,
            ("subscribe", true) => echo(challenge),
            ("unsubscribe", false) if topic.is_some() => echo(challenge),
            _ => Challenge::UnknownTopic,
        }
    }
}

fn echo(challenge: Option<&str>) -> Challenge {
    match challenge {
        Some(text) if !text.is_empty() && text.len() <= CHALLENGE_BYTES_MAX => Challenge::Text(text.to_owned()),
        _ => Challenge::Malformed,
    }
}

/// Shape: what networks send to be signed: printable ASCII, short, no JSON.
fn is_token(bytes: &[u8]) -> bool {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !br#"{}[]"<>\"#.contains(byte);
    !bytes.is_empty() && bytes.len() <= CHALLENGE_BYTES_MAX && bytes.iter().all(is_plain)
}

/// X and LinkedIn sign deliveries as we sign their challenges, with the same secret: whatever could have been a challenge proves
/// nothing. No delivery of theirs is of that shape, for those are JSON objects.
pub(super) fn never_signed_by_us(body: &[u8]) -> Result<(), Refusal> {
    if body.is_empty() || is_token(body) { Err(Refusal::Signature) } else { Ok(()) }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
