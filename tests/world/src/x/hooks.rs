//! Webhooks of both kinds, signed as X signs them, rightly or wrongly.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::show::{self, Wish};
use super::state::Direct;
use super::{US, X, write};
use crate::http::{Answer, call};
use crate::server::locked;
use crate::shop::Dress;

/// Where X delivers to.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Of the host.
    pub address: SocketAddr,
    /// `/hooks/CHANNEL`.
    pub path: String,
    /// The consumer's secret.
    pub secret: String,
}

impl Hook {
    /// Posts a delivery. A stale one is a right one: these signatures carry no time. Errors: in words.
    pub async fn post(&self, dress: Dress, body: &str) -> Result<Answer, String> {
        let other = format!("{}, but wrong", self.secret);
        let signature = sign(if dress == Dress::Wrong { &other } else { &self.secret }, body.as_bytes());
        let mut headers = vec![("content-type", "application/json")];
        if dress != Dress::Missing {
            headers.push(("x-twitter-webhooks-signature", signature.as_str()));
        }
        call(self.address, "POST", &self.path, &headers, body.as_bytes()).await
    }

    /// Asks for the proof that the secret is known, and says whether it was given. Errors: in words.
    pub async fn challenge(&self, token: &str) -> Result<bool, String> {
        let answer = call(self.address, "GET", &format!("{}?crc_token={token}", self.path), &[], b"").await?;
        let told: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        Ok(answer.status == 200 && told.get("response_token").and_then(Value::as_str) == Some(&sign(&self.secret, token.as_bytes())))
    }
}

/// `sha256=` and base64 of HMAC-SHA256.
pub(super) fn sign(secret: &str, bytes: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(bytes);
    format!("sha256={}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// Bodies of deliveries.
impl X {
    /// Account activity: these posts, for this subscribed account.
    pub fn account_activity(&self, for_user: &str, ids: &[&str]) -> String {
        let network = locked(&self.network);
        let posts: Vec<Value> = ids.iter().filter_map(|id| network.find(id)).map(|post| show::old(&network, post)).collect();
        json!({ "for_user_id": network.id_of(for_user), "user_has_blocked": false, "tweet_create_events": posts }).to_string()
    }

    /// Account activity: a post was deleted.
    pub fn account_activity_deletion(&self, id: &str, author: &str) -> String {
        let network = locked(&self.network);
        let status = json!({ "id": id, "user_id": network.id_of(author) });
        let event = json!({ "status": status, "timestamp_ms": network.now.to_string() });
        json!({ "for_user_id": network.id_of(US), "tweet_delete_events": [event] }).to_string()
    }

    /// Account activity: a direct message.
    pub fn account_activity_direct(&self, id: &str) -> String {
        let network = locked(&self.network);
        let Some(one) = network.directs.iter().find(|one| one.id == id) else { return String::new() };
        let user = |name: &str| json!({ "id": network.id_of(name), "name": name, "screen_name": name, "followers_count": 12 });
        let users = json!({ network.id_of(&one.from): user(&one.from), network.id_of(&one.to): user(&one.to) });
        let event = old_direct(one, &network.id_of(&one.from), &network.id_of(&one.to));
        json!({ "for_user_id": network.id_of(US), "direct_message_events": [event], "users": users, "apps": {} }).to_string()
    }

    /// Account activity: the account takes its consent back.
    pub fn account_activity_revocation(&self) -> String {
        let network = locked(&self.network);
        let at = show::written(network.now);
        json!({ "user_event": { "revoke": { "date_time": at, "target": { "app_id": "13090192" }, "source": { "user_id": network.id_of(US) } } } })
            .to_string()
    }

    /// Activity: a post, by its event's type (`post.mention.create`).
    pub fn activity(&self, event_type: &str, id: &str) -> String {
        let network = locked(&self.network);
        let Some(post) = network.find(id) else { return String::new() };
        let mut all = show::answer(&network, &[post], &Wish::whole(true));
        let includes = all.remove("includes").unwrap_or_else(|| json!({}));
        let mut payload = show::shown(&network, post, &Wish::whole(true));
        if let Some(fields) = payload.as_object_mut() {
            fields.insert("in_reply_to_tweet_id".to_owned(), json!(post.answers));
            fields.insert("public_metrics".to_owned(), json!({ "like_count": 0, "like_count_str": "0" }));
        }
        event(event_type, &network.id_of(US), &payload, &includes)
    }

    /// Activity: a post was deleted.
    pub fn activity_deletion(&self, id: &str, author: &str) -> String {
        let network = locked(&self.network);
        let payload = json!({ "id": id, "author_id": network.id_of(author) });
        event("post.delete", &network.id_of(author), &payload, &json!({ "users": [{ "data": network.user(author) }] }))
    }

    /// Activity: a direct message.
    pub fn activity_direct(&self, id: &str) -> String {
        let network = locked(&self.network);
        let Some(one) = network.directs.iter().find(|one| one.id == id) else { return String::new() };
        let users =
            json!({ network.id_of(&one.from): { "data": network.user(&one.from) }, network.id_of(&one.to): { "data": network.user(&one.to) } });
        let old = old_direct(one, &network.id_of(&one.from), &network.id_of(&one.to));
        let kind = if one.from == US { "dm.sent" } else { "dm.received" };
        event(kind, &network.id_of(US), &json!({ "direct_message_events": [old], "users": users }), &json!({}))
    }

    /// Somebody else's answer to a direct message, as the company writes by hand. Gives its id.
    pub fn write_by_hand(&self, to: &str, text: &str) -> String {
        write::direct(&mut locked(&self.network), US, to, text)
    }
}

fn event(kind: &str, user: &str, payload: &Value, includes: &Value) -> String {
    let data = json!({
        "event_uuid": "-2781149976877970683", "filter": { "user_id": user }, "event_type": kind, "tag": "membrana", "payload": payload,
        "includes": includes,
    });
    json!({ "data": data }).to_string()
}

fn old_direct(one: &Direct, from: &str, to: &str) -> Value {
    json!({
        "type": "message_create", "id": one.id, "created_timestamp": one.at.to_string(),
        "message_create": { "target": { "recipient_id": to }, "sender_id": from, "message_data": { "text": one.text, "entities": {} } },
    })
}
