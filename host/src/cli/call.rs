//! One call of the API: by HTTP where a host holds the store, else in process on the store itself.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tower::ServiceExt as _;

use crate::app::{process_env, sections_of};
use crate::clock::Clock;
use crate::config::{self, Secret};
use crate::console::{Desk, api};
use crate::stage::Journal;
use crate::store::{SledStore, Store, StoreError};
use crate::telemetry::chain;

use super::outcome::Failure;

/// Units: bytes of one line of a list.
const LINE_MAX: usize = 16 << 20;

/// Who answers calls.
pub(super) enum Caller {
    InProcess(Router, Arc<SledStore>),
    Host(std::net::SocketAddr, Option<Secret>),
}

impl Caller {
    /// Opens the store, or finds the host that holds it.
    pub(super) async fn open(file: &Path) -> Result<Self, Failure> {
        let (config, _) = config::read(file, process_env().as_ref()).map_err(Failure::Config)?;
        match SledStore::open(&config.host.data) {
            Ok(store) => {
                let journal = Journal::new(Arc::clone(&store) as Arc<dyn Store>, Clock::system());
                let desk = Desk { journal, sections: ArcSwap::from_pointee(sections_of(&config, None)), poll: None, token: None };
                Ok(Self::InProcess(api(Arc::new(desk)), store))
            }
            Err(StoreError::InUse(_)) => Ok(Self::Host(config.host.listen, config.host.admin_token)),
            Err(error) => Err(Failure::failed(chain(&error).to_string(), "")),
        }
    }

    /// One call; `each` gets every line of the answer as it comes.
    pub(super) async fn lines(&self, method: &str, path: &str, body: Option<Json>, each: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        let wrong = |error: String| Failure::failed(error, "");
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if let Self::Host(_, Some(token)) = self {
            request = request.header("authorization", format!("Bearer {}", token.expose()));
        }
        let request = request.body(Body::from(bytes)).map_err(|error| wrong(error.to_string()))?;
        let (head, body) = match self {
            Self::InProcess(router, _) => router.clone().oneshot(request).await.unwrap_or_default().into_parts(),
            Self::Host(address, _) => {
                let (head, body) = send(*address, request).await?.into_parts();
                (head, Body::new(body))
            }
        };
        let is_ok = head.status.is_success();
        let (mut stream, mut rest) = (body.into_data_stream(), Vec::new());
        while let Some(chunk) = stream.next().await {
            rest.extend_from_slice(&chunk.map_err(|error| wrong(format!("the answer broke off: {error}")))?);
            while let (true, Some(end)) = (is_ok, rest.iter().position(|byte| *byte == b'\n')) {
                let line: Vec<u8> = rest.drain(..=end).collect();
                each(String::from_utf8_lossy(&line).trim_end());
            }
            if rest.len() > LINE_MAX {
                return Err(wrong("the answer has a line that is too long".to_owned()));
            }
        }
        let rest = String::from_utf8_lossy(&rest).into_owned();
        if !is_ok {
            return Err(refused(head.status, &rest));
        }
        if !rest.trim().is_empty() {
            each(rest.trim_end());
        }
        Ok(())
    }

    /// A call whose answer is one object.
    pub(super) async fn thing(&self, method: &str, path: &str, body: Option<Json>) -> Result<Json, Failure> {
        let mut answer = Json::Null;
        self.lines(method, path, body, &mut |line| answer = serde_json::from_str(line).unwrap_or_default()).await?;
        Ok(answer)
    }

    /// Lets go of the store.
    pub(super) async fn close(self) -> Result<(), Failure> {
        match self {
            Self::InProcess(_, store) => store.close().await.map_err(|error| Failure::failed(chain(&error).to_string(), "")),
            Self::Host(..) => Ok(()),
        }
    }
}

async fn send(address: std::net::SocketAddr, request: Request<Body>) -> Result<hyper::Response<hyper::body::Incoming>, Failure> {
    let unreachable = |error: String| {
        Failure::failed(
            format!("a host holds the store, but does not answer on {address}: {error}"),
            "is `listen` in membrana.toml that of the running host?",
        )
    };
    let stream = tokio::net::TcpStream::connect(address).await.map_err(|error| unreachable(error.to_string()))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(error.to_string()))?;
    // Ends with the connection; its error comes back through the request.
    #[expect(clippy::disallowed_methods, reason = "it ends with the connection")]
    tokio::spawn(async move { drop(connection.await) });
    sender.send_request(request.map(|body| body.boxed_unsync())).await.map_err(|error| unreachable(error.to_string()))
}

fn refused(status: StatusCode, body: &str) -> Failure {
    let answer: Json = serde_json::from_str(body).unwrap_or_default();
    let word = |key: &str| answer.pointer(&format!("/error/{key}")).and_then(Json::as_str).unwrap_or_default().to_owned();
    let message = if word("message").is_empty() { format!("the host answers {status}") } else { word("message") };
    Failure::failed(message, word("cure"))
}
