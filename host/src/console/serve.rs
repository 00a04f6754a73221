//! Serves HTTP/1 with bounds on what a caller may hold: connections, the time to say what it wants, the time to take its answer. A connection
//! carries one request at a time, so their number bounds the requests under way, too.

use std::convert::Infallible;
use std::io::IoSlice;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, error, warn};

use super::Refusal;

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
/// For a caller to take some more of its answer. However long that takes to make, nobody is cut off for it.
const STALL_MAX: Duration = Duration::from_secs(60);
/// For a caller that is refused while it still sends to hear why.
const LINGER_MAX: Duration = Duration::from_secs(5);
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
    let (mut connections, mut is_told) = (JoinSet::new(), false);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                is_told = false;
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
                if !std::mem::replace(&mut is_told, true) {
                    warn!(%error, "Connections cannot be accepted; trying on.");
                }
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

/// A stream that tells whether its reader takes what is written, and that is hung up on only once its reader had time to read.
struct Felt {
    stream: TcpStream,
    pulse: Arc<Pulse>,
    stop: CancellationToken,
    /// Until when what still comes in is thrown away, once nothing more goes out.
    lingering: Option<Pin<Box<Sleep>>>,
}

/// Of a stream.
#[derive(Default)]
struct Pulse {
    /// Writes that wait, and have waited since that many others went through; 0 where none waits.
    waiting: AtomicU64,
    n_written: AtomicU64,
}

impl Felt {
    fn note(&self, written: &Poll<std::io::Result<usize>>) {
        let n_written = self.pulse.n_written.fetch_add(u64::from(written.is_ready()), Ordering::Relaxed);
        self.pulse.waiting.store(if written.is_pending() { n_written + 1 } else { 0 }, Ordering::Relaxed);
    }
}

impl AsyncRead for Felt {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Felt {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// To hang up while something lies unread would take the answer back from a caller that is refused while it still sends.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let Self { stream, stop, lingering, .. } = &mut *self;
        if lingering.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
            if stop.is_cancelled() {
                return Poll::Ready(Ok(()));
            }
        }
        let lingering = lingering.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_MAX)));
        let mut unread = [0; 4096];
        while lingering.as_mut().poll(context).is_pending() {
            let mut into = ReadBuf::new(&mut unread);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut into))?;
            if into.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

async fn connection(stream: TcpStream, peer: Peer, router: Router, stop: &CancellationToken) {
    // Small answers must not wait for the caller's acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "A connection stays with Nagle's algorithm.");
    }
    let pulse = Arc::new(Pulse::default());
    let felt = Felt { stream, pulse: Arc::clone(&pulse), stop: stop.clone(), lingering: None };
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer_of(router, request).await) }
    });
    let serving = http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).serve_connection(TokioIo::new(felt), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
        () = stalled(&pulse) => return debug!("A caller did not take its answer and was cut off."),
    };
    if let Err(error) = ended {
        debug!(%error, "A connection ended badly.");
    }
}

/// Returns when one write waited too long.
async fn stalled(pulse: &Pulse) {
    let mut before = 0;
    loop {
        let waiting = pulse.waiting.load(Ordering::Relaxed);
        if waiting != 0 && waiting == before {
            return;
        }
        before = waiting;
        tokio::time::sleep(STALL_MAX).await;
    }
}

/// A mistake of ours costs the request, and is answered.
async fn answer_of(router: Router, request: Request<Incoming>) -> Response {
    let called = format!("{} {}", request.method(), request.uri().path());
    match AssertUnwindSafe(router.oneshot(request)).catch_unwind().await {
        Ok(Ok(answer)) => answer,
        Err(_) => {
            error!(called, "A request of the API panicked.");
            Refusal::broken().into_response()
        }
    }
}
