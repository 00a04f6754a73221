//! A CRM that is told events, and checks every signature itself.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use serde_json::Value as Json;

use crate::door::Next;
use crate::server::{Ahead, Ledger, Server, locked};
use crate::shop::sign;
use crate::trouble::{Manner, Trouble};

/// One event as it came.
#[derive(Debug, Clone)]
pub struct Told {
    /// `webhook-id`, which is the event's id.
    pub id: String,
    /// `ce-type`.
    pub kind: String,
    /// Its signature is right.
    pub is_signed: bool,
    /// The body.
    pub data: Json,
}

type Shared = Arc<Mutex<Vec<Told>>>;

/// See the module.
pub struct Crm {
    server: Server,
    told: Shared,
    secret: String,
    time: Ahead,
}

impl Crm {
    /// Starts a CRM that shares `secret` (`whsec_…`) with the host.
    pub async fn start(secret: &str) -> std::io::Result<Self> {
        let (told, time) = (Shared::default(), Ahead::default());
        let router = Router::new().route("/hooks", post(hear)).with_state((Arc::clone(&told), secret.to_owned()));
        let server = Server::start_as(Manner::Plain, Some(time.clock()), router).await?;
        Ok(Self { server, told, secret: secret.to_owned(), time })
    }

    /// Moves its clock on.
    pub fn advance(&self, by: Duration) {
        self.time.advance(by);
    }

    /// Where it is told.
    pub fn url(&self) -> String {
        format!("{}/hooks", self.server.url())
    }

    /// The secret it shares.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Everything it was told, repeats included.
    pub fn told(&self) -> Vec<Told> {
        locked(&self.told).clone()
    }

    /// What was asked of it, as it came.
    pub fn ledger(&self) -> Ledger {
        self.server.script.ledger.clone()
    }

    /// What happens when it is told next.
    pub fn next(&self, next: Next) {
        self.server.next("", next);
    }

    /// From now on this goes wrong; none: nothing. Gives what went wrong until now.
    pub fn trouble(&self, trouble: Option<Trouble>) -> Option<Trouble> {
        self.server.trouble(trouble)
    }
}

async fn hear(State((told, secret)): State<(Shared, String)>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
    let expected = sign(&secret, &id, &at, &body);
    let is_signed = header("webhook-signature").split(' ').any(|one| one == expected);
    locked(&told).push(Told { id, kind: header("ce-type"), is_signed, data: serde_json::from_slice(&body).unwrap_or_default() });
    if is_signed { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED }
}
