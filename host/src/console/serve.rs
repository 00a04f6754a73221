//! Serves HTTP/1 with bounds on what a caller may hold: connections, the time to say what it wants, the time to end. A connection carries
//! one request at a time, so their number bounds the requests under way, too.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, warn};

/// Open at once. Callers beyond are told to come again.
const CONNECTIONS_MAX: usize = 4096;
/// Callers who are just being told; those beyond are hung up on.
const TELLING_MAX: usize = 64;
/// For one of them to hear it.
const TELLING_TIMEOUT: Duration = Duration::from_secs(1);
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-type: text/plain; charset=utf-8\r\n\
content-length: 27\r\nconnection: close\r\n\r\ntoo many callers; try again\n";
/// For the head of a request, and for the next one on the same connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// However busy a connection is: a caller that never reads its answers must not keep it.
const CONNECTION_MAX: Duration = Duration::from_secs(600);
/// Requests under way may end in this time when the host stops.
const GRACE: Duration = Duration::from_secs(10);
/// After the machine refused to accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who calls: the address at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// Serves until it is told to stop, then lets requests under way end.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let (places, telling) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Arc::new(Semaphore::new(TELLING_MAX)));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    let (router, stop) = (router.clone(), stop.clone());
                    connections.spawn(async move {
                        connection(stream, Peer(peer.ip()), router, &stop).await;
                        drop(place);
                    });
                } else if let Ok(place) = Arc::clone(&telling).try_acquire_owned() {
                    connections.spawn(async move {
                        tell_to_come_again(stream).await;
                        drop(place);
                    });
                }
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

/// Says so without waiting for what is wanted.
async fn tell_to_come_again(mut stream: TcpStream) {
    let told = async {
        stream.write_all(BUSY).await?;
        stream.shutdown().await?;
        // To hang up while something lies unread would take the answer back.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    drop(tokio::time::timeout(TELLING_TIMEOUT, told).await);
}

async fn connection(stream: TcpStream, peer: Peer, router: Router, stop: &CancellationToken) {
    // Small answers must not wait for the caller's acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "A connection stays with Nagle's algorithm.");
    }
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request)
    });
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
