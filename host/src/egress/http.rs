//! HTTP out: one request, one answer, within its bounds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant as Deadline, timeout_at};
use url::Url;

use super::credential::{Outgoing, Scrub, Withheld};
use super::oauth2::{Refused, Tokens};
use super::{CONNECT_TIMEOUT, CONNECTIONS_MAX, Credential, Door, Failed, Io, Secret};

/// Units: bytes.
const REQUEST_MAX: usize = 1 << 20;
const RESPONSE_MAX: usize = 8 << 20;
const HEADERS_MAX: usize = 100;
/// From resolving to the last byte.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that nobody uses is kept so long, and so many of them.
const IDLE_MAX: Duration = Duration::from_secs(10);
const IDLE_KEPT: usize = 4;
/// What only the host may say. A compressed answer could carry a secret past the host's eyes, so none is asked for.
const HOST_HEADERS: [&str; 10] =
    ["host", "connection", "keep-alive", "transfer-encoding", "te", "trailer", "content-length", "upgrade", "expect", "accept-encoding"];
/// Only the host says it, and it says `bad-credentials`: this answer is the host's own, the network was not asked.
const OWN_HEADER: &str = "x-membrana";
/// One is a tunnel, the other sends back what the host added.
const METHODS_NEVER: [&str; 2] = ["CONNECT", "TRACE"];

/// One request.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// Upper case.
    pub method: String,
    /// Absolute.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// Units: bytes, at most 1 MiB.
    pub body: Vec<u8>,
    /// Name of a credential.
    pub auth: Option<String>,
    /// At most the host's own 30 s.
    pub timeout: Option<Duration>,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// HTTP's.
    pub status: u16,
    /// Lower-case names, in order, repeated where repeated.
    pub headers: Vec<(String, String)>,
    /// Decoded of its transfer encoding alone.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Not granted; with the line that grants it.
    #[error("not granted: {0}")]
    Denied(String),
    /// No whole answer in time to what was written, or begun. It may have arrived.
    #[error("no answer in time")]
    Timeout,
    /// Units: bytes.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// No such name.
    #[error("{0}")]
    Dns(String),
    /// Nobody listens, or not in time. Nothing was sent.
    #[error("cannot connect to {0}")]
    Connect(String),
    /// No trust, or no TLS, or not in time. Nothing was sent.
    #[error("tls: {0}")]
    Tls(String),
    /// Not HTTP, or cut off.
    #[error("http: {0}")]
    Protocol(String),
}

/// Connections kept for the next request.
#[derive(Default)]
pub(super) struct Idle(Mutex<Vec<Kept>>);

/// Its origin, since when nobody used it, and the connection.
type Kept = (String, Instant, SendRequest<Full<Bytes>>);

impl Idle {
    fn take(&self, origin: &str) -> Option<SendRequest<Full<Bytes>>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, since, sender)| since.elapsed() < IDLE_MAX && !sender.is_closed());
        let at = kept.iter().position(|(of, _, sender)| of == origin && sender.is_ready())?;
        Some(kept.swap_remove(at).2)
    }

    /// `n_free`: connections that the door may still have.
    fn keep(&self, origin: String, sender: SendRequest<Full<Bytes>>, n_free: usize) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < IDLE_KEPT.min(n_free + 1) && !sender.is_closed() {
            kept.push((origin, now(), sender));
        }
    }

    /// Before another connection is opened: those that nobody uses, too, count among the door's.
    pub(super) fn make_room(&self, n_free: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).truncate(n_free);
    }
}

/// As a network would answer that has had enough for today, so that every connector knows what it means.
fn over_budget(left: Duration) -> HttpResponse {
    let headers = vec![("retry-after".to_owned(), left.as_secs().max(1).to_string()), ("x-membrana".to_owned(), "budget".to_owned())];
    HttpResponse { status: 429, headers, body: b"the channel's budget of the day is spent".to_vec() }
}

#[expect(clippy::disallowed_methods, reason = "how long a connection idles is measured, never simulated")]
fn now() -> Instant {
    Instant::now()
}

impl Door {
    /// Sends a request to a granted origin. Redirects are answers like any other. A credential that only a new login can mend is
    /// answered by the host itself: 401, with the header `x-membrana: bad-credentials`.
    pub async fn http(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        #[cfg(test)]
        if let Some(pretend) = &self.config.pretend {
            self.granted(&request)?;
            return pretend(request).await;
        }
        let deadline = deadline_of(&request);
        let turn = timeout_at(deadline, self.connections.acquire()).await.ok().and_then(Result::ok);
        let no_turn = || HttpError::Connect(format!("the network: the {CONNECTIONS_MAX} connections at once stayed in use"));
        let _turn = turn.ok_or_else(no_turn)?;
        match self.with_tokens(&request) {
            Some((credential, tokens)) => self.authorised(request, credential, tokens, deadline).await,
            None => self.exchange(request, None, deadline).await,
        }
    }

    /// As [`Door::http`] where no credential has tokens.
    pub(super) async fn without_tokens(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let deadline = deadline_of(&request);
        self.exchange(request, None, deadline).await
    }

    /// The credential that a request names, where its tokens are needed: a request that is refused anyway costs no refresh.
    pub(super) fn with_tokens(&self, request: &HttpRequest) -> Option<(&Credential, &Arc<Tokens>)> {
        let credential = self.config.credentials.iter().find(|known| Some(&known.name) == request.auth.as_ref())?;
        let tokens = credential.tokens.as_ref()?;
        let url = self.granted(request).ok()?;
        credential.is_for(&url).then_some((credential, tokens))
    }

    async fn authorised(
        &self,
        request: HttpRequest,
        credential: &Credential,
        tokens: &Arc<Tokens>,
        deadline: Deadline,
    ) -> Result<HttpResponse, HttpError> {
        let ask = |token: Option<Secret>| {
            let request = request.clone();
            async move { self.exchange(request, token.as_ref(), deadline).await }
        };
        let is_refused = |answer: &Result<HttpResponse, HttpError>| matches!(answer, Ok(HttpResponse { status: 401, .. }));
        credential.with_token(tokens, deadline, ask, is_refused).await.unwrap_or_else(Refused::answered)
    }

    /// The deadline is kept step by step: whether anything was written when it passed decides whether it may have arrived.
    async fn exchange(&self, request: HttpRequest, token: Option<&Secret>, deadline: Deadline) -> Result<HttpResponse, HttpError> {
        let url = self.granted(&request)?;
        if let Some(Err(left)) = self.charge(&request, &url) {
            return Ok(over_budget(left));
        }
        let origin = url.origin().ascii_serialization();
        let outgoing = self.prepare(request, token, url.clone())?;
        if let Some(mut sender) = self.idle.take(&origin) {
            // A connection that the server closed meanwhile refuses before anything is written; else the outcome is uncertain, which
            // matters only where asking twice is not the same as asking once. Source: RFC 9110 §9.2.2.
            match timeout_at(deadline, sender.try_send_request(outgoing.clone())).await {
                Err(_) => return Err(HttpError::Timeout),
                Ok(Ok(answer)) => return self.finish(answer, origin, sender, deadline).await,
                Ok(Err(mut error)) => {
                    if error.take_message().is_none() && !outgoing.method().is_safe() {
                        return Err(HttpError::Protocol(error.into_error().to_string()));
                    }
                }
            }
        }
        self.idle.make_room(self.connections.available_permits());
        let mut sender = handshake(self.reach(&url, deadline).await?).await?;
        let answer = timeout_at(deadline, sender.send_request(outgoing)).await.map_err(|_| HttpError::Timeout)?;
        let answer = answer.map_err(|error| HttpError::Protocol(error.to_string()))?;
        self.finish(answer, origin, sender, deadline).await
    }

    /// Counts the call, where it is counted. Errors: how long the budget stays spent.
    pub(super) fn charge(&self, request: &HttpRequest, url: &Url) -> Option<Result<(), Duration>> {
        self.config.meter.as_ref().map(|meter| meter.charge(&request.method, url.path()))
    }

    pub(super) fn granted(&self, request: &HttpRequest) -> Result<Url, HttpError> {
        let url = Url::parse(&request.url).map_err(|error| HttpError::Denied(format!("the URL cannot be read: {error}")))?;
        let origin = url.origin().ascii_serialization();
        if !url.username().is_empty() || url.password().is_some() {
            return Err(HttpError::Denied("a URL with user or password is never called".to_owned()));
        }
        if !self.config.http.iter().any(|grant| grant.allows(&url)) {
            return Err(HttpError::Denied(format!(
                "add `grant = {{ http = [\"{origin}\"] }}` to its section of membrana.toml; where it is granted, its manifest does not want it"
            )));
        }
        if METHODS_NEVER.iter().any(|never| never.eq_ignore_ascii_case(&request.method)) {
            return Err(HttpError::Denied(format!("method {} is never used", request.method)));
        }
        let is_foreign = !self.config.methods.is_empty() && !self.config.methods.contains(&request.method);
        if is_foreign {
            return Err(HttpError::Denied(format!("the manifest does not want method {}", request.method)));
        }
        let most = self.config.request_max.unwrap_or(REQUEST_MAX);
        if request.body.len() > most {
            return Err(HttpError::TooLarge(most as u64));
        }
        Ok(url)
    }

    pub(super) fn prepare(&self, mut request: HttpRequest, token: Option<&Secret>, mut url: Url) -> Result<hyper::Request<Full<Bytes>>, HttpError> {
        let mut headers: Vec<(String, String)> = request.headers;
        headers.retain(|(name, _)| !HOST_HEADERS.contains(&name.to_ascii_lowercase().as_str()) && !name.to_ascii_lowercase().starts_with("proxy-"));
        if headers.len() > HEADERS_MAX {
            return Err(HttpError::Protocol(format!("more than {HEADERS_MAX} headers")));
        }
        if let Some(name) = &request.auth {
            // A part of an answer could hold a part of a secret.
            headers.retain(|(name, _)| !name.eq_ignore_ascii_case("range"));
            let credential = self.config.credentials.iter().find(|known| known.name == *name);
            let mut outgoing = Outgoing { method: &request.method, body: &request.body, url: &mut url, headers: &mut headers };
            let applied = credential.map_or(Err(Withheld::NotConfigured), |credential| credential.apply(token, &mut outgoing));
            applied.map_err(|why| HttpError::Denied(self.withheld(name, why, &url.origin().ascii_serialization())))?;
            if let Some(credential) = credential {
                request.body = credential.fill(request.body).map_err(HttpError::Protocol)?;
            }
        }
        let authority =
            url.port().map_or_else(|| url.host_str().unwrap_or_default().to_owned(), |port| format!("{}:{port}", url.host_str().unwrap_or_default()));
        let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let mut builder = hyper::Request::builder().method(request.method.as_str()).uri(path).header("host", authority);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
            builder = builder.header("user-agent", concat!("membrana/", env!("CARGO_PKG_VERSION")));
        }
        for (name, value) in &headers {
            builder = builder.header(name.as_str(), value.as_str());
        }
        // Refuses line breaks in names and values.
        builder.body(Full::new(Bytes::from(request.body))).map_err(|error| HttpError::Protocol(error.to_string()))
    }

    /// Why a credential did not go out, with the next step.
    pub(super) fn withheld(&self, name: &str, why: Withheld, place: &str) -> String {
        match why {
            Withheld::NotConfigured => format!("credential `{name}` is not configured for this; add it to `secrets` of its section"),
            Withheld::OtherHost => format!("credential `{name}` is bound to other hosts than {place}; its manifest says to which"),
        }
    }

    /// A connection to the place of this URL, with TLS where it is named. Nothing of a request is written: it never fails by `Timeout`.
    pub(super) async fn reach(&self, url: &Url, deadline: Deadline) -> Result<Box<dyn Io>, HttpError> {
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(0));
        let within = deadline.saturating_duration_since(Deadline::now());
        let stream = self.dial(host, port, within).await.map_err(|failed| match failed {
            Failed::Denied(why) => HttpError::Denied(why),
            Failed::Dns(why) => HttpError::Dns(why),
            Failed::Connect(why) => HttpError::Connect(why),
            Failed::Timeout => HttpError::Connect(format!("{host}:{port}: no connection in time")),
        })?;
        if url.scheme() == "https" {
            let until = deadline.min(Deadline::now() + CONNECT_TIMEOUT);
            let secured = timeout_at(until, self.egress.tls.connect(host, stream)).await;
            let secured = secured.unwrap_or_else(|_| Err(format!("{host}: no handshake in time")));
            return Ok(Box::new(secured.map_err(HttpError::Tls)?));
        }
        Ok(Box::new(stream))
    }

    async fn finish(
        &self,
        answer: hyper::Response<hyper::body::Incoming>,
        origin: String,
        sender: SendRequest<Full<Bytes>>,
        deadline: Deadline,
    ) -> Result<HttpResponse, HttpError> {
        let (head, body) = answer.into_parts();
        let max = self.config.answer_max.unwrap_or(RESPONSE_MAX);
        let body = timeout_at(deadline, Limited::new(body, max).collect()).await.map_err(|_| HttpError::Timeout)?.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() { HttpError::TooLarge(max as u64) } else { HttpError::Protocol(error.to_string()) }
        })?;
        self.idle.keep(origin, sender, self.connections.available_permits());
        let scrub = Scrub::of(&self.config.credentials);
        let headers = head
            .headers
            .iter()
            .filter(|(name, _)| name.as_str() != OWN_HEADER)
            .map(|(name, value)| (scrub.text(name.as_str().to_owned()), scrub.text(String::from_utf8_lossy(value.as_bytes()).into_owned())));
        Ok(HttpResponse { status: head.status.as_u16(), headers: headers.collect(), body: scrub.bytes(body.to_bytes().to_vec()) })
    }
}

fn deadline_of(request: &HttpRequest) -> Deadline {
    Deadline::now() + request.timeout.unwrap_or(TIMEOUT).min(TIMEOUT)
}

impl Refused {
    /// As the guest sees it: nothing was sent.
    fn answered(self) -> Result<HttpResponse, HttpError> {
        match self {
            Refused::Nobody(why) | Refused::Dead(why) => Ok(HttpResponse {
                status: 401,
                headers: vec![
                    (OWN_HEADER.to_owned(), "bad-credentials".to_owned()),
                    ("content-type".to_owned(), "text/plain; charset=utf-8".to_owned()),
                ],
                body: why.into_bytes(),
            }),
            Refused::Denied(why) => Err(HttpError::Denied(why)),
            Refused::Later(why) => Err(HttpError::Connect(why)),
            Refused::Useless => Err(HttpError::Connect(String::new())),
        }
    }
}

pub(super) async fn handshake(io: Box<dyn Io>) -> Result<SendRequest<Full<Bytes>>, HttpError> {
    let (sender, connection) =
        http1::Builder::new().max_headers(HEADERS_MAX).handshake(TokioIo::new(io)).await.map_err(|error| HttpError::Protocol(error.to_string()))?;
    // Ends with the connection; its error comes back through the request.
    #[expect(clippy::disallowed_methods, reason = "it ends with the connection")]
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::egress::{DoorConfig, Egress, HttpGrant, SystemResolver};

    /// Answers one request a connection as if more were welcome, then closes at the second. Source: snac 2.75 does so.
    async fn closes_after_one(listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = [0; 4096];
            if stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
                drop(stream.read(&mut bytes).await);
            }
        }
    }

    #[tokio::test]
    async fn a_kept_connection_that_was_closed_costs_a_second_try_where_that_is_safe() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let mut server = tokio::task::JoinSet::new();
        server.spawn(closes_after_one(listener));
        let config = DoorConfig { http: vec![HttpGrant::parse(&origin).unwrap()], ..DoorConfig::default() };
        let door = Egress::new(&[], Arc::new(SystemResolver)).unwrap().door(config);
        let ask = |method: &str| HttpRequest {
            method: method.to_owned(),
            url: format!("{origin}/"),
            headers: Vec::new(),
            body: Vec::new(),
            auth: None,
            timeout: None,
        };

        for _ in 0..4 {
            assert_eq!(door.http(ask("GET")).await.unwrap().body, b"hi");
        }
        assert!(matches!(door.http(ask("POST")).await, Err(HttpError::Protocol(_))), "it may have arrived");
        assert_eq!(door.http(ask("POST")).await.unwrap().body, b"hi");
    }
}
