//! The only door out. What a plugin or a sink may reach is granted by the admin; everything else is refused before a packet leaves.
//!
//! A name is resolved once, every address is checked, and the connection goes to the address that was checked. Time and bytes
//! are capped, redirects are returned, credentials are added here and scrubbed from what comes back.

mod address;
mod body;
mod credential;
mod grant;
mod http;
mod meter;
mod net;
mod oauth1;
mod oauth2;
mod sealed;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod traffic;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
#[cfg(test)]
use futures_util::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{timeout, timeout_at};

pub use address::Cidr;
pub use credential::{Credential, FIELDS, HEADER_WORDS, Inject, Secret};
pub use grant::{GrantError, HostPort, HttpGrant};
pub use http::{HttpError, HttpRequest, HttpResponse};
pub use meter::{Budget, Meter, Price, Spent, Tariff};
pub use net::{Connection, NetError, Security};
pub use oauth1::{Signer, encoded as percent_encoded};
pub use oauth2::{Client, ClientAuth, LoggedIn, Login, LoginError, Renewals, Tokens};
pub use stream::{Frame, Stream, StreamEnd, StreamError, StreamProtocol, StreamRequest};
pub use tls::check_roots;

use tls::Tls;
use traffic::{Counted, Traffic};

/// A connection must stand after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections of a guest through one door: under way, held open, or kept for the next request.
const CONNECTIONS_MAX: usize = 6;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Finds the addresses of a name. Tests bring their own.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// Every address of `host`.
    async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Vec<IpAddr>>;
}

/// The machine's own resolver.
#[derive(Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.map(|address| address.ip()).collect())
    }
}

/// What all doors share: trust roots and the resolver.
pub struct Egress {
    tls: Tls,
    resolver: Arc<dyn Resolver>,
}

/// Why egress cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// A file of `ca_files` is no certificate.
    #[error("trust roots: {0}")]
    Roots(String),
}

/// What one door opens to.
#[derive(Default)]
pub struct DoorConfig {
    /// Origins that may be called.
    pub http: Vec<HttpGrant>,
    /// Upper case; empty: any.
    pub methods: Vec<String>,
    /// Streams that may be opened.
    pub net: Vec<HostPort>,
    /// Ranges that names may resolve into although they are not public.
    pub private: Vec<Cidr>,
    /// Of a request's body, where it is another than 1 MiB. Units: bytes.
    pub request_max: Option<usize>,
    /// Of an answer's body, where it is another than the host's own 8 MiB. Units: bytes.
    pub answer_max: Option<usize>,
    /// Counts what calls cost, and ends them where the day's budget ends.
    pub meter: Option<Arc<Meter>>,
    /// What is added for the guest.
    pub credentials: Vec<Credential>,
    /// Answers what is granted in the place of whoever is out there.
    #[cfg(test)]
    pub pretend: Option<Pretend>,
}

/// What a test answers requests with.
#[cfg(test)]
pub type Pretend = Box<dyn Fn(HttpRequest) -> BoxFuture<'static, Result<HttpResponse, HttpError>> + Send + Sync>;

/// One way out, for one channel, plugin or sink.
pub struct Door {
    egress: Arc<Egress>,
    config: DoorConfig,
    connections: Arc<Semaphore>,
    idle: http::Idle,
    traffic: Arc<Traffic>,
}

impl Egress {
    /// `extra_ca_pem`: PEM files that are trusted beside the machine's own roots.
    pub fn new(extra_ca_pem: &[Vec<u8>], resolver: Arc<dyn Resolver>) -> Result<Arc<Self>, EgressError> {
        Ok(Arc::new(Self { tls: Tls::new(extra_ca_pem)?, resolver }))
    }

    /// A door that opens to what `config` says and to nothing else.
    pub fn door(self: &Arc<Self>, config: DoorConfig) -> Door {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Door { egress: Arc::clone(self), config, connections, idle: http::Idle::default(), traffic: Arc::default() }
    }
}

/// A connection, with TLS or without.
trait Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Io for T {}

/// Why no connection stands.
enum Failed {
    Denied(String),
    Dns(String),
    Connect(String),
    Timeout,
}

impl Door {
    /// Bytes that went out and that came in since the door was made, at the socket.
    pub fn traffic(&self) -> (u64, u64) {
        (self.traffic.sent.load(Ordering::Relaxed), self.traffic.received.load(Ordering::Relaxed))
    }

    /// A TCP connection to a checked address of `host`. A literal address was granted as such, so it needs no `private`.
    async fn dial(&self, host: &str, port: u16, within: Duration) -> Result<Counted, Failed> {
        let deadline = tokio::time::Instant::now() + within.min(CONNECT_TIMEOUT);
        let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        let addresses = match literal {
            Some(address) => vec![address],
            None => {
                let found = timeout_at(deadline, self.egress.resolver.resolve(host, port)).await.map_err(|_| Failed::Timeout)?;
                let found = found.map_err(|error| Failed::Dns(format!("`{host}` cannot be resolved: {error}")))?;
                self.check(host, found)?
            }
        };
        let mut failed = Failed::Dns(format!("`{host}` has no address"));
        for (n_before, address) in addresses.iter().take(ADDRESSES_MAX).enumerate() {
            // Each of those that are left has its share of the time: a first one that is silent must not eat it all.
            let n_left = u32::try_from(addresses.len().min(ADDRESSES_MAX) - n_before).unwrap_or(1);
            let share = deadline.saturating_duration_since(tokio::time::Instant::now()) / n_left;
            match timeout(share, TcpStream::connect(SocketAddr::new(*address, port))).await {
                Ok(Ok(stream)) => {
                    // Without it small requests wait for the other side's acknowledgement.
                    stream.set_nodelay(true).map_err(|error| Failed::Connect(error.to_string()))?;
                    return Ok(Counted { stream, traffic: Arc::clone(&self.traffic) });
                }
                Ok(Err(error)) => failed = Failed::Connect(format!("{host}:{port}: {error}")),
                Err(_) => failed = Failed::Timeout,
            }
        }
        Err(failed)
    }

    /// One address that is not allowed refuses the name: else a name with two addresses would get in by luck.
    fn check(&self, host: &str, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, Failed> {
        for address in &addresses {
            if !address::is_public(*address) && !self.config.private.iter().any(|range| range.contains(*address)) {
                return Err(Failed::Denied(format!(
                    "`{host}` resolves to {address}, which is not public; if that is right, add `private = [\"{address}/{}\"]` to its grant",
                    if address.is_ipv4() { 32 } else { 128 }
                )));
            }
        }
        Ok(addresses)
    }
}
