//! Serves HTTP/1 with bounds on what a caller may hold: connections, the time to say what it wants, the time to end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Open at once; further callers wait in the listener's queue.
const CONNECTIONS_MAX: usize = 1024;
/// For the head of a request, and for the next one on the same connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// However busy a connection is: a caller that never reads its answers must not keep it.
const CONNECTION_MAX: Duration = Duration::from_secs(600);
/// Requests under way may end in this time when the host stops.
const GRACE: Duration = Duration::from_secs(10);
/// After the machine refused to accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is told to stop, then lets requests under way end.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    connection(stream, router, &stop).await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "A connection cannot be accepted.");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        warn!("Requests did not end in time and were cut off.");
    }
}

async fn connection(stream: TcpStream, router: Router, stop: &CancellationToken) {
    // Small answers must not wait for the caller's acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "A connection stays with Nagle's algorithm.");
    }
    let service = TowerToHyperService::new(router);
    let serving = http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
        () = tokio::time::sleep(CONNECTION_MAX) => {
            // What is under way may end; a caller that takes nothing is cut off.
            serving.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, serving.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => return debug!("A connection was open too long and was cut off."),
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "A connection ended badly.");
    }
}
