//! What all pretend networks have in common: a port of their own, a ledger, scripted failures.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What was asked, in order: method, path with query, headers.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Vec<String>>>);

impl Ledger {
    /// Each call as `METHOD /path?query`.
    pub fn calls(&self) -> Vec<String> {
        locked(&self.0).clone()
    }
}

/// How a server answers instead of what it should.
#[derive(Debug, Clone)]
pub struct Failing {
    /// HTTP's.
    pub status: u16,
    /// Such as `retry-after`.
    pub headers: Vec<(String, String)>,
    /// As sent.
    pub body: String,
}

#[derive(Clone, Default)]
pub(crate) struct Script {
    pub(crate) ledger: Ledger,
    pub(crate) failing: Arc<Mutex<VecDeque<Failing>>>,
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
        let script = Script::default();
        let router = router.layer(middleware::from_fn_with_state(script.clone(), scripted));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        #[expect(clippy::disallowed_methods, reason = "it ends when the server is dropped")]
        let task = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Self { address, script, task })
    }

    pub(crate) fn fail_next(&self, n: usize, failing: &Failing) {
        locked(&self.script.failing).extend(std::iter::repeat_n(failing.clone(), n));
    }
}

async fn scripted(State(script): State<Script>, request: Request, next: Next) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    locked(&script.ledger.0).push(line);
    let failing = locked(&script.failing).pop_front();
    let Some(failing) = failing else { return next.run(request).await };
    let mut response = failing.body.into_response();
    *response.status_mut() = StatusCode::from_u16(failing.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in failing.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<axum::http::HeaderName>(), value.parse()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
