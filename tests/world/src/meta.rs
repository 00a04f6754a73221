//! The Graph API of one Page and the Instagram account that is linked to it, as far as people say something there: state, errors,
//! windows and webhooks. Time stands still but for [`Meta::advance`].
//!
//! Calls are taken as query, form or JSON, so that Meta's own libraries can be pointed at it.
//! Source: developers.facebook.com, Graph API, Messenger Platform, Instagram Platform, Webhooks.

mod fetch;
mod hooks;
mod reads;
mod state;
mod writes;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::http::Answer;
use crate::server::{Server, front, locked};
use crate::trouble::Manner;
pub use fetch::{Fetched, fetch};
use hooks::hex_hmac;
pub use hooks::{Shape, sign_hex};
use state::Network;
pub use state::{ACCOUNT, PAGE, Side, US};

/// Longer bodies are refused.
const BODY_BYTES_MAX: usize = 1 << 20;

type Shared = Arc<Mutex<Network>>;

/// See the module.
pub struct Meta {
    server: Server,
    network: Shared,
}

front!(Meta);

impl Meta {
    /// Starts a network that knows this token, and an app of this secret.
    pub async fn start(token: &str, app_secret: &str) -> std::io::Result<Self> {
        let network = Arc::new(Mutex::new(Network::new(token, app_secret)));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&network));
        let clock = Arc::clone(&network);
        let server = Server::start_as(Manner::Meta, Some(Arc::new(move || locked(&clock).now)), router).await?;
        locked(&network).base = server.url();
        Ok(Self { server, network })
    }

    fn net(&self) -> MutexGuard<'_, Network> {
        locked(&self.network)
    }

    /// The network's clock. Units: milliseconds since 1970.
    pub fn now(&self) -> u64 {
        self.net().now
    }

    /// Time goes on by so many milliseconds.
    pub fn advance(&self, ms: u64) {
        self.net().now += ms;
    }

    /// The id by which the Page and the account know this person.
    pub fn person(&self, name: &str) -> String {
        self.net().person(name)
    }

    /// Somebody, or [`US`], writes on the Page. Gives the post's id.
    pub fn post(&self, who: &str, text: &str) -> String {
        self.net().post(who, text)
    }

    /// We publish on Instagram. Gives the medium's id.
    pub fn medium(&self, text: &str) -> String {
        self.net().medium(US, text)
    }

    /// Somebody publishes on Instagram and tags us. Gives the medium's id.
    pub fn tag(&self, who: &str, text: &str) -> String {
        self.net().medium(who, text)
    }

    /// Somebody comments on a post, a medium or a comment; `who` may be empty: the network withholds it. Gives the comment's id.
    pub fn comment(&self, who: &str, under: &str, text: &str) -> String {
        self.net().comment(who, under, text)
    }

    /// Its author edits what stands there under this id.
    pub fn edit(&self, id: &str, text: &str) {
        self.net().edit(id, text);
    }

    /// What stands there under this id is removed, by its author or the network.
    pub fn delete(&self, id: &str) {
        self.net().remove(id);
    }

    /// A moderator hides or shows a comment.
    pub fn hide(&self, id: &str, is_hidden: bool) {
        self.net().hide(id, is_hidden);
    }

    /// Says whether a comment is hidden.
    pub fn is_hidden(&self, id: &str) -> bool {
        self.net().find(id).is_some_and(|item| item.is_hidden)
    }

    /// Somebody writes to us. Gives the message's id.
    pub fn message(&self, side: Side, who: &str, text: &str) -> String {
        self.net().message(side, who, text, false)
    }

    /// What is pending gets lost on its way: nobody will be told.
    pub fn forget(&self) {
        self.net().pending.clear();
    }

    /// What we said under a post, medium or comment, in order.
    pub fn answers(&self, under: &str) -> Vec<String> {
        let net = self.net();
        net.items.iter().filter(|item| item.who == US && item.parent.as_deref() == Some(under)).map(|item| item.text.clone()).collect()
    }

    /// What we wrote to this person, in order.
    pub fn sent(&self, name: &str) -> Vec<String> {
        self.net().mails.iter().filter(|mail| mail.who == name && mail.is_ours).map(|mail| mail.text.clone()).collect()
    }

    /// The token dies after so many more calls (code 190, subcode 463).
    pub fn expires_after(&self, n_calls: u64) {
        self.net().calls_left = Some(n_calls);
    }

    /// A new login: this token counts from now on.
    pub fn renew(&self, token: &str) {
        let mut net = self.net();
        token.clone_into(&mut net.token);
        net.calls_left = None;
    }

    /// Every call must prove that the app's secret is known.
    pub fn demands_proof(&self) {
        self.net().demands_proof = true;
    }

    /// So much of the limits is used. Units: per cent; minutes until a throttled call is taken again.
    pub fn used(&self, per_cent: u64, minutes: u64) {
        self.net().usage = Some((per_cent, minutes));
    }

    /// The next calls are refused with code 4.
    pub fn throttle(&self, n_calls: u64) {
        self.net().n_throttled = n_calls;
    }

    /// Between two pages of a list comes an empty one.
    pub fn has_holes(&self) {
        self.net().has_holes = true;
    }

    /// We send no more for now (code 368).
    pub fn blocks(&self, is_blocked: bool) {
        self.net().is_blocked = is_blocked;
    }

    /// This person cannot receive messages (code 551).
    pub fn shuns(&self, name: &str) {
        self.net().shunning.insert(name.to_owned());
    }

    /// Everything that is pending, as bodies to be delivered, one an object.
    pub fn deliveries(&self, shape: Shape) -> Vec<String> {
        self.net().deliveries(shape)
    }

    /// `X-Hub-Signature-256` of a body.
    pub fn signature(&self, body: &str) -> String {
        sign_hex(&self.net().app_secret, body.as_bytes())
    }

    /// Delivers everything pending. Errors: in words.
    pub async fn deliver(&self, to: SocketAddr, path: &str, shape: Shape) -> Result<Vec<Answer>, String> {
        let mut answers = Vec::new();
        for body in self.deliveries(shape) {
            answers.push(self.deliver_body(to, path, &body).await?);
        }
        Ok(answers)
    }

    /// Delivers this body, signed. Errors: in words.
    pub async fn deliver_body(&self, to: SocketAddr, path: &str, body: &str) -> Result<Answer, String> {
        let signature = self.signature(body);
        hooks::deliver(to, path, &signature, body).await
    }

    /// From now on an echo is delivered there before the call that causes it is answered.
    pub fn echoes_first(&self, to: SocketAddr, path: &str) {
        self.net().echo_to = Some((to, path.to_owned()));
    }

    /// Asks whether this address wants our webhooks. Gives the answer, which should be `challenge`. Errors: in words.
    pub async fn handshake(&self, to: SocketAddr, path: &str, verify_token: &str, challenge: &str) -> Result<Answer, String> {
        let path = format!("{path}?hub.mode=subscribe&hub.verify_token={verify_token}&hub.challenge={challenge}");
        crate::http::call(to, "GET", &path, &[], b"").await
    }
}

/// A call, whatever form it came in.
pub(crate) struct Call {
    method: Method,
    version: String,
    path: Vec<String>,
    params: Map<String, Value>,
}

impl Call {
    fn text(&self, key: &str) -> Option<&str> {
        self.params.get(key).and_then(Value::as_str)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.params.get(key).and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()))
    }
}

/// What the API refuses.
#[derive(Debug)]
pub(crate) struct Refusal(u64, u64, &'static str);

fn refused(Refusal(code, subcode, message): &Refusal) -> Response {
    let mut error = json!({ "message": format!("(#{code}) {message}"), "type": "OAuthException", "code": code, "fbtrace_id": "AbCdEf0123" });
    if let Some(error) = error.as_object_mut().filter(|_| *subcode > 0) {
        error.insert("error_subcode".to_owned(), json!(subcode));
    }
    (StatusCode::BAD_REQUEST, axum::Json(json!({ "error": error }))).into_response()
}

async fn answer(State(network): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    let Some(call) = read(parts.method, &parts.uri, &parts.headers, &body) else { return refused(&Refusal(2500, 0, "Unknown path components")) };
    let outcome = admitted(&network, &call, &parts.headers).and_then(|()| {
        let mut net = locked(&network);
        match call.method {
            Method::GET => reads::read(&net, &call),
            Method::POST => writes::post(&mut net, &call),
            Method::DELETE => writes::delete(&mut net, &call),
            _ => Err(Refusal(100, 0, "Unsupported request")),
        }
    });
    let echo = locked(&network).echo();
    if let Some((to, path, signature, body)) = echo {
        drop(hooks::deliver(to, &path, &signature, &body).await);
    }
    let mut response = match outcome {
        Ok(json) => axum::Json(json).into_response(),
        Err(refusal) => refused(&refusal),
    };
    for (name, value) in locked(&network).usage_headers() {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn read(method: Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Option<Call> {
    let mut parts = uri.path().split('/').filter(|part| !part.is_empty()).map(str::to_owned);
    let version = parts.next().filter(|version| version.starts_with('v'))?;
    let pairs = |uri: &Uri| Query::<Vec<(String, String)>>::try_from_uri(uri).map(|Query(pairs)| pairs).unwrap_or_default();
    let mut params: Map<String, Value> = pairs(uri).into_iter().map(|(key, value)| (key, Value::from(value))).collect();
    let is_json = headers.get("content-type").and_then(|value| value.to_str().ok()).is_some_and(|kind| kind.contains("json"));
    if is_json {
        params.extend(serde_json::from_slice::<Map<String, Value>>(body).ok()?);
    } else if let Ok(form) = format!("/?{}", String::from_utf8_lossy(body)).parse::<Uri>() {
        // Objects inside a form are JSON.
        let inner =
            |value: String| if value.starts_with('{') { serde_json::from_str(&value).unwrap_or(Value::from(value)) } else { Value::from(value) };
        params.extend(pairs(&form).into_iter().map(|(key, value)| (key, inner(value))));
    }
    Some(Call { method, version, path: parts.collect(), params })
}

/// Whose token it is, and whether the limits allow it.
fn admitted(network: &Shared, call: &Call, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut net = locked(network);
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Bearer "));
    let token = bearer.or_else(|| call.text("access_token")).ok_or(Refusal(2500, 0, "An active access token must be used to query information"))?;
    if token != net.token {
        return Err(Refusal(190, 467, "Error validating access token"));
    }
    if net.calls_left == Some(0) {
        return Err(Refusal(190, 463, "Error validating access token: Session has expired"));
    }
    net.calls_left = net.calls_left.map(|left| left - 1);
    let proof = call.text("appsecret_proof");
    if proof.map_or(net.demands_proof, |proof| proof != hex_hmac(&net.app_secret, token.as_bytes())) {
        return Err(Refusal(100, 0, "API calls from the server require an appsecret_proof argument"));
    }
    if net.n_throttled > 0 {
        net.n_throttled -= 1;
        return Err(Refusal(4, 0, "Application request limit reached"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
