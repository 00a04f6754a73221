//! Connections that stay: what a network pushes, frame by frame, through the same door as every call.
//!
//! Time, bytes and silence are capped. A frame is given as received, freed of secrets and of the framing alone.

mod frames;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::credential::Scrub;
use super::http::{HttpError, HttpRequest};
use super::oauth2::Refused;
use super::{Door, Io, Secret};
use frames::Frames;

pub use frames::Frame;

/// A connection must be open after this, its token renewed on the way.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Larger frames are cut. Units: bytes; as a webhook's body.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// How the frames of a stream are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamProtocol {
    /// Server-sent events: a frame is an event's lines. Source: WHATWG HTML, 9.2.
    Sse,
    /// A frame is a line that is not empty.
    NdJson,
    /// A frame is a message. Source: RFC 6455.
    WebSocket,
}

impl StreamProtocol {
    /// `sse`, `ndjson`, `websocket`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "sse" => Some(Self::Sse),
            "ndjson" => Some(Self::NdJson),
            "websocket" => Some(Self::WebSocket),
            _ => None,
        }
    }
}

/// What a stream is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRequest {
    /// How frames are told apart.
    pub protocol: StreamProtocol,
    /// Absolute; `ws` and `wss` are judged as `http` and `https`.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// Name of a credential.
    pub auth: Option<String>,
    /// Silence after which it counts as dead.
    pub keep_alive: Duration,
}

/// Why a stream does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// No connection, or none that is granted.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Only a new login mends it; in words.
    #[error("{0}")]
    BadCredentials(String),
    /// The network answered with something else than a stream.
    #[error("the network answers {status}")]
    Status {
        /// HTTP's.
        status: u16,
        /// Where it says when to come back.
        retry_after: Option<Duration>,
    },
}

/// Why an open stream ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamEnd {
    /// Nothing came, not even a sign of life.
    #[error("silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// The network closed it.
    #[error("closed by the network")]
    Closed,
    /// Cut off, or not what it should be.
    #[error("{0}")]
    Broken(String),
}

/// An open stream.
pub struct Stream {
    source: Source,
    /// When anything last came.
    heard: Instant,
    keep_alive: Duration,
    /// No answer may show what the connection was opened with.
    scrub: Scrub,
}

enum Source {
    /// The sender keeps the connection.
    Http(Incoming, Frames, #[expect(dead_code, reason = "dropped with the body, not before")] SendRequest<http_body_util::Full<Bytes>>),
    /// With whether it was asked for a sign of life since it was last heard.
    WebSocket(Box<WebSocketStream<Box<dyn Io>>>, bool),
}

impl Door {
    /// Opens a stream to a granted origin. A token that the network refuses is renewed once.
    pub async fn stream(&self, request: StreamRequest) -> Result<Stream, StreamError> {
        let deadline = Instant::now() + OPEN_TIMEOUT;
        let call = as_call(&request);
        let open = |token: Option<Secret>| {
            let call = call.clone();
            let request = &request;
            async move {
                let opened = timeout_at(deadline, self.open_once(request, call, token.as_ref())).await;
                opened.unwrap_or(Err(HttpError::Timeout.into()))
            }
        };
        let Some((credential, tokens)) = self.with_tokens(&call) else { return open(None).await };
        let is_refused = |opened: &Result<Stream, StreamError>| matches!(opened, Err(StreamError::Status { status: 401, .. }));
        credential.with_token(tokens, deadline, open, is_refused).await.unwrap_or_else(|refused| Err(refused.into()))
    }

    async fn open_once(&self, request: &StreamRequest, call: HttpRequest, token: Option<&Secret>) -> Result<Stream, StreamError> {
        let url = self.granted(&call)?;
        if let Some(Err(left)) = self.charge(&call, &url) {
            return Err(StreamError::Status { status: 429, retry_after: Some(left) });
        }
        let outgoing = self.prepare(call, token, url.clone())?;
        let io = self.reach(&url, Instant::now() + OPEN_TIMEOUT).await?;
        let source = match request.protocol {
            StreamProtocol::WebSocket => open_websocket(outgoing.map(|_| ()), &url, io).await?,
            StreamProtocol::Sse | StreamProtocol::NdJson => open_http(outgoing, io, request.protocol).await?,
        };
        let scrub = Scrub::of(&self.config.credentials);
        Ok(Stream { source, heard: Instant::now(), keep_alive: request.keep_alive, scrub })
    }
}

impl From<Refused> for StreamError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Nobody(why) | Refused::Dead(why) => Self::BadCredentials(why),
            Refused::Denied(why) => Self::Http(HttpError::Denied(why)),
            Refused::Later(why) => Self::Http(HttpError::Connect(why)),
            Refused::Useless => Self::Status { status: 401, retry_after: None },
        }
    }
}

fn as_call(request: &StreamRequest) -> HttpRequest {
    let url = match request.url.split_once("://") {
        Some(("ws", rest)) => format!("http://{rest}"),
        Some(("wss", rest)) => format!("https://{rest}"),
        _ => request.url.clone(),
    };
    let (headers, auth) = (request.headers.clone(), request.auth.clone());
    HttpRequest { method: "GET".to_owned(), url, headers, body: Vec::new(), auth, timeout: None }
}

async fn open_http(outgoing: hyper::Request<http_body_util::Full<Bytes>>, io: Box<dyn Io>, protocol: StreamProtocol) -> Result<Source, StreamError> {
    let mut sender = super::http::handshake(io).await?;
    let answer = sender.send_request(outgoing).await.map_err(|error| HttpError::Protocol(error.to_string()))?;
    let status = answer.status().as_u16();
    if status != 200 {
        return Err(StreamError::Status { status, retry_after: retry_after(answer.headers()) });
    }
    Ok(Source::Http(answer.into_body(), Frames::new(protocol == StreamProtocol::Sse), sender))
}

async fn open_websocket(mut outgoing: hyper::Request<()>, url: &url::Url, io: Box<dyn Io>) -> Result<Source, StreamError> {
    let broken = |error: &dyn std::fmt::Display| StreamError::Http(HttpError::Protocol(error.to_string()));
    let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
    let place = url::Url::parse(&format!("{scheme}{}", url.as_str().trim_start_matches(url.scheme()))).map_err(|error| broken(&error))?;
    let path = outgoing.uri().to_string();
    let authority = place.host_str().unwrap_or_default();
    let absolute = format!("{scheme}://{authority}{path}");
    *outgoing.uri_mut() = absolute.parse().map_err(|error| broken(&error))?;
    let key = generate_key().parse().map_err(|error| broken(&error))?;
    let headers = outgoing.headers_mut();
    headers.insert("connection", http::HeaderValue::from_static("Upgrade"));
    headers.insert("upgrade", http::HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-version", http::HeaderValue::from_static("13"));
    headers.insert("sec-websocket-key", key);
    let bounds = WebSocketConfig::default().max_message_size(Some(FRAME_BYTES_MAX)).max_frame_size(Some(FRAME_BYTES_MAX));
    match client_async_with_config(outgoing, io, Some(bounds)).await {
        Ok((stream, _)) => Ok(Source::WebSocket(Box::new(stream), false)),
        Err(WsError::Http(answer)) => Err(StreamError::Status { status: answer.status().as_u16(), retry_after: retry_after(answer.headers()) }),
        Err(error) => Err(broken(&error)),
    }
}

/// Whole seconds only; a date is for who speaks the network's language.
fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    headers.get("retry-after")?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

impl Stream {
    /// The next frame. Cancel: safe. Errors: it is over.
    pub async fn next(&mut self) -> Result<Frame, StreamEnd> {
        let frame = loop {
            match &mut self.source {
                Source::Http(body, frames, _) => {
                    if let Some(frame) = frames.take() {
                        break frame;
                    }
                    let end = self.heard + self.keep_alive;
                    match timeout_at(end, body.frame()).await {
                        Err(_) => return Err(StreamEnd::Silent(self.keep_alive)),
                        Ok(None) => return Err(StreamEnd::Closed),
                        Ok(Some(Err(error))) => return Err(StreamEnd::Broken(error.to_string())),
                        Ok(Some(Ok(part))) => {
                            self.heard = Instant::now();
                            frames.arrived(&part.into_data().unwrap_or_default());
                        }
                    }
                }
                Source::WebSocket(socket, is_asked) => {
                    // Many servers say nothing of their own: half of the silence is theirs, then they are asked.
                    let end = self.heard + if *is_asked { self.keep_alive } else { self.keep_alive / 2 };
                    match timeout_at(end, socket.next()).await {
                        Err(_) if *is_asked => return Err(StreamEnd::Silent(self.keep_alive)),
                        Err(_) => {
                            *is_asked = true;
                            let asked = timeout_at(self.heard + self.keep_alive, socket.send(Message::Ping(Bytes::new()))).await;
                            match asked {
                                Err(_) => return Err(StreamEnd::Silent(self.keep_alive)),
                                Ok(Err(error)) => return Err(StreamEnd::Broken(error.to_string())),
                                Ok(Ok(())) => {}
                            }
                        }
                        Ok(None | Some(Ok(Message::Close(_)))) => return Err(StreamEnd::Closed),
                        Ok(Some(Err(error))) => return Err(StreamEnd::Broken(error.to_string())),
                        Ok(Some(Ok(message))) => {
                            (self.heard, *is_asked) = (Instant::now(), false);
                            if message.is_text() || message.is_binary() {
                                break Frame::Whole(message.into_data().to_vec());
                            }
                        }
                    }
                }
            }
        };
        Ok(self.clean(frame))
    }

    fn clean(&self, frame: Frame) -> Frame {
        match frame {
            Frame::Whole(bytes) => Frame::Whole(self.scrub.bytes(bytes)),
            Frame::Cut(head) => Frame::Cut(self.scrub.bytes(head)),
        }
    }
}
