//! What all pretend networks that speak HTTP have in common: a port of their own, a ledger of what was asked, and the side door.
//!
//! By hand: `POST /_ctl/next` with a form (`do=answer status=503 retry-after=1 body=…`, `do=cut after=20`, `do=delay ms=500`,
//! `do=lose`, `do=unheard`, `do=twice`, `do=reordered`, `do=unknown-field`; `at=POST /path` waits for such a request), and `GET /_ctl/asked`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next as Inner};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::door::{Next, answered, by_hand, halved, torn};
use crate::trouble::{Manner, Trouble, http_date};

/// Longer bodies are not kept, and refused.
const BODY_BYTES_MAX: usize = 8 << 20;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET`, `POST`, …
    pub method: String,
    /// With its query.
    pub path: String,
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// As text.
    pub body: String,
}

impl Asked {
    /// `METHOD /path?query`.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The first header of this name; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What was asked, in order.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Vec<Asked>>>);

impl Ledger {
    /// Each request as `METHOD /path?query`.
    pub fn calls(&self) -> Vec<String> {
        locked(&self.0).iter().map(Asked::line).collect()
    }

    /// Each request whose [`Asked::line`] begins so.
    pub fn asked(&self, line: &str) -> Vec<Asked> {
        locked(&self.0).iter().filter(|asked| asked.line().starts_with(line)).cloned().collect()
    }
}

#[derive(Clone, Default)]
pub(crate) struct Script {
    pub(crate) ledger: Ledger,
    /// What waits for which request, by the beginning of its line.
    next: Arc<Mutex<Vec<(String, Next)>>>,
    manner: Manner,
    trouble: Arc<Mutex<Option<Trouble>>>,
    /// None: the machine's.
    clock: Option<NetworkClock>,
}

/// The machine's clock, but for what tests move it on.
#[derive(Clone, Default)]
pub(crate) struct Ahead(Arc<AtomicU64>);

impl Ahead {
    /// Units: ms since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        now_ms() + self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap_or(0), Ordering::Relaxed);
    }

    pub(crate) fn clock(&self) -> NetworkClock {
        let this = self.clone();
        Arc::new(move || this.now_ms())
    }
}

/// Units: ms since 1970.
pub(crate) type NetworkClock = Arc<dyn Fn() -> u64 + Send + Sync>;

impl Script {
    /// What happens to this request: as ordered, else as the trouble has it.
    fn fate(&self, asked: &Asked) -> Option<Next> {
        let ordered = self.take(&asked.line());
        let now = self.clock.as_ref().map_or_else(now_ms, |clock| clock());
        ordered.or_else(|| locked(&self.trouble).as_mut()?.next(self.manner, asked, now))
    }

    fn take(&self, line: &str) -> Option<Next> {
        let mut waiting = locked(&self.next);
        let at = waiting.iter().position(|(wanted, _)| line.starts_with(wanted.as_str()))?;
        Some(waiting.remove(at).1)
    }
}

/// A running server; ends when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) script: Script,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(router: Router) -> std::io::Result<Self> {
        Self::start_as(Manner::Plain, None, router).await
    }

    /// One that refuses as this network does, and has a clock of its own.
    pub(crate) async fn start_as(manner: Manner, clock: Option<NetworkClock>, router: Router) -> std::io::Result<Self> {
        let script = Script { manner, clock, ..Script::default() };
        let router = router.layer(middleware::from_fn_with_state(script.clone(), scripted));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        #[expect(clippy::disallowed_methods, reason = "it ends when the server is dropped")]
        let task = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Self { address, script, task })
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What happens at the next request whose line (`METHOD /path?query`) begins with `at`.
    pub(crate) fn next(&self, at: &str, next: Next) {
        locked(&self.script.next).push((at.to_owned(), next));
    }

    /// From now on this goes wrong; none: nothing. Gives what went wrong until now.
    pub(crate) fn trouble(&self, trouble: Option<Trouble>) -> Option<Trouble> {
        std::mem::replace(&mut *locked(&self.script.trouble), trouble)
    }
}

/// What every pretend network shows of its server.
macro_rules! front {
    ($network:ty) => {
        impl $network {
            /// Where it is.
            pub fn address(&self) -> std::net::SocketAddr {
                self.server.address
            }

            /// `http://127.0.0.1:PORT`.
            pub fn url(&self) -> String {
                self.server.url()
            }

            /// What was asked of it.
            pub fn ledger(&self) -> $crate::Ledger {
                self.server.script.ledger.clone()
            }

            /// What happens at the next request whose line begins with `at`.
            pub fn next(&self, at: &str, next: $crate::Next) {
                self.server.next(at, next);
            }

            /// From now on this goes wrong; none: nothing. Gives what went wrong until now.
            pub fn trouble(&self, trouble: Option<$crate::Trouble>) -> Option<$crate::Trouble> {
                self.server.trouble(trouble)
            }
        }
    };
}
pub(crate) use front;

async fn scripted(State(script): State<Script>, request: Request, inner: Inner) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    if let Some(order) = asked.path.strip_prefix("/_ctl/") {
        return side_door(&script, order, &asked);
    }
    let next = script.fate(&asked);
    locked(&script.ledger.0).push(asked);
    let mut answer = fated(next, Request::from_parts(parts, Body::from(body)), inner).await;
    if let Some(Ok(date)) = script.clock.as_ref().map(|clock| http_date(clock()).parse()) {
        answer.headers_mut().insert("date", date);
    }
    answer
}

async fn fated(next: Option<Next>, request: Request, inner: Inner) -> Response {
    match next {
        None => halved(inner.run(request).await).await,
        Some(Next::Answer { status, headers, body }) => answered(status, &headers, body),
        Some(Next::Unheard) => Response::new(torn(Bytes::new())),
        Some(Next::Delay(wait)) => {
            tokio::time::sleep(wait.min(Duration::from_secs(600))).await;
            inner.run(request).await
        }
        Some(other) => other.doctor(inner.run(request).await).await,
    }
}

fn side_door(script: &Script, order: &str, asked: &Asked) -> Response {
    match (order, asked.method.as_str()) {
        ("next", "POST") => match by_hand(&asked.body) {
            Ok((at, next)) => {
                locked(&script.next).push((at, next));
                (StatusCode::CREATED, "so be it\n").into_response()
            }
            Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
        },
        ("asked", "GET") => {
            let all = locked(&script.ledger.0).clone();
            let line = |asked: &Asked| json!({ "method": asked.method, "path": asked.path, "headers": asked.headers, "body": asked.body });
            all.iter().map(|asked| format!("{}\n", line(asked))).collect::<String>().into_response()
        }
        _ => (StatusCode::NOT_FOUND, "the side door knows POST /_ctl/next and GET /_ctl/asked\n").into_response(),
    }
}

/// The machine's clock. Units: ms since 1970.
#[expect(clippy::disallowed_methods, reason = "networks have the real time")]
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
