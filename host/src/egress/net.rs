//! Byte streams: in clear, by TLS from the start, or by STARTTLS after the protocol's own command. A credential is written
//! early or never, under TLS unless the admin said otherwise, and an echo of it is masked (see `wire`).

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{timeout, timeout_at};

use super::credential::{Withheld, echoes};
use super::traffic::Counted;
use super::wire::{Taken, Wire};
use super::{CONNECTIONS_MAX, Door, Failed, Io};

/// Bytes given to a guest at once.
const READ_MAX: usize = 64 << 10;
/// In one connection, each way.
const TOTAL_MAX: u64 = 64 << 20;

/// How a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// In clear, for good.
    Plain,
    /// TLS from the first byte.
    Tls,
    /// In clear until [`Connection::upgrade`].
    StartTls,
}

/// Why a stream fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// Not granted; with the line that grants it.
    #[error("not granted: {0}")]
    Denied(String),
    /// Nothing in time.
    #[error("no answer in time")]
    Timeout,
    /// The other side is gone.
    #[error("the connection is closed")]
    Closed,
    /// No trust, or no TLS.
    #[error("tls: {0}")]
    Tls(String),
    /// Anything else.
    #[error("{0}")]
    Io(String),
}

enum Stream {
    Clear(Counted),
    Other(Box<dyn Io>),
    Gone,
}

/// An open stream.
pub struct Connection {
    door: Arc<Door>,
    host: String,
    port: u16,
    stream: Stream,
    security: Security,
    /// A secret may go over it as it is: this machine, or the admin said so.
    is_clear_allowed: bool,
    wire: Wire,
    n_read: u64,
    n_written: u64,
    /// Its place among the door's connections.
    _turn: OwnedSemaphorePermit,
}

impl Door {
    /// Opens a stream to a granted host and port.
    pub async fn connect(self: &Arc<Self>, host: &str, port: u16, security: Security, within: Duration) -> Result<Connection, NetError> {
        let is_granted = self.config.net.iter().any(|grant| grant.allows(host, port));
        let is_granted_in_clear = self.config.net.iter().any(|grant| grant.is_plain && grant.allows(host, port));
        if !is_granted {
            return Err(NetError::Denied(format!(
                "add `grant = {{ net = [\"{host}:{port}\"] }}` to its section of membrana.toml; where it is granted, its manifest does not want it"
            )));
        }
        let too_many = |_| NetError::Denied(format!("more than {CONNECTIONS_MAX} connections at once"));
        let turn = Arc::clone(&self.connections).try_acquire_owned().map_err(too_many)?;
        self.idle.make_room(self.connections.available_permits());
        let stream = self.dial(host, port, within).await.map_err(|failed| match failed {
            Failed::Denied(why) => NetError::Denied(why),
            Failed::Dns(why) | Failed::Connect(why) => NetError::Io(why),
            Failed::Timeout => NetError::Timeout,
        })?;
        let is_local = stream.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
        let mut connection = Connection {
            door: Arc::clone(self),
            host: host.to_owned(),
            port,
            stream: Stream::Clear(stream),
            security,
            is_clear_allowed: is_local || is_granted_in_clear,
            wire: Wire::default(),
            n_read: 0,
            n_written: 0,
            _turn: turn,
        };
        if security == Security::Tls {
            connection.security = Security::StartTls;
            connection.upgrade(within).await?;
        }
        Ok(connection)
    }
}

impl Connection {
    /// The TLS handshake of STARTTLS. Errors: bytes that came before it and nobody read are an injection.
    pub async fn upgrade(&mut self, within: Duration) -> Result<(), NetError> {
        if self.security != Security::StartTls {
            return Err(NetError::Tls("this connection was not opened for an upgrade".to_owned()));
        }
        if self.wire.has_unread() {
            return Err(NetError::Tls("the server spoke before the handshake".to_owned()));
        }
        let Stream::Clear(stream) = std::mem::replace(&mut self.stream, Stream::Gone) else { return Err(NetError::Closed) };
        let secured = timeout(within, self.door.egress.tls.connect(&self.host, stream)).await.map_err(|_| NetError::Timeout)?;
        self.stream = Stream::Other(Box::new(secured.map_err(NetError::Tls)?));
        self.security = Security::Tls;
        self.wire.restart();
        Ok(())
    }

    /// Waits for at least one byte; an empty answer is the end. What may be the beginning of an echo waits for its end.
    pub async fn read(&mut self, max: usize, within: Duration) -> Result<Vec<u8>, NetError> {
        let deadline = tokio::time::Instant::now() + within;
        let max = max.clamp(1, READ_MAX);
        loop {
            match self.wire.take(max) {
                Taken::Bytes(bytes) => return Ok(bytes),
                Taken::End => return Ok(Vec::new()),
                Taken::Nothing => {}
            }
            let mut bytes = vec![0; READ_MAX];
            let reading = async {
                match &mut self.stream {
                    Stream::Clear(stream) => stream.read(&mut bytes).await,
                    Stream::Other(stream) => stream.read(&mut bytes).await,
                    Stream::Gone => Ok(0),
                }
            };
            let n = timeout_at(deadline, reading).await.map_err(|_| NetError::Timeout)?.map_err(broken)?;
            bytes.truncate(n);
            self.n_read = capped(self.n_read, n)?;
            self.wire.arrived(&bytes);
        }
    }

    /// Writes all of it.
    pub async fn write(&mut self, bytes: &[u8], within: Duration) -> Result<(), NetError> {
        self.n_written = capped(self.n_written, bytes.len())?;
        self.wire.written(bytes);
        let writing = async {
            match &mut self.stream {
                Stream::Clear(stream) => {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
                Stream::Other(stream) => {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
                Stream::Gone => Err(std::io::ErrorKind::NotConnected.into()),
            }
        };
        timeout(within, writing).await.map_err(|_| NetError::Timeout)?.map_err(broken)
    }

    /// Writes prefix, the credential in `encoding`, suffix. Whoever asked never sees the bytes. Errors: `Denied` where the
    /// credential is not for this host, the stream is in clear, or the conversation is past its login; nothing was written.
    pub async fn write_secret(&mut self, prefix: &[u8], credential: &str, encoding: &str, suffix: &[u8], within: Duration) -> Result<(), NetError> {
        if matches!(self.stream, Stream::Clear(_)) && !self.is_clear_allowed {
            let (host, port) = (&self.host, self.port);
            return Err(NetError::Denied(format!(
                "credential `{credential}` would go in clear; use TLS, or allow it by `plain://{host}:{port}` in `net` of its grant"
            )));
        }
        self.wire.may_write_secret(prefix, suffix).map_err(|why| NetError::Denied(format!("credential `{credential}`: {why}")))?;
        let door = Arc::clone(&self.door);
        let found = door.config.credentials.iter().find(|known| known.name == credential).ok_or(Withheld::NotConfigured);
        let written = found.and_then(|known| Ok((known, known.written(&self.host, self.port, encoding)?)));
        let place = format!("{}:{}", self.host, self.port);
        let (known, encoded) = written.map_err(|why| NetError::Denied(door.withheld(credential, why, &place)))?;
        self.wire.secret_written(&encoded, echoes(known));
        let line = zeroize::Zeroizing::new([prefix, &encoded, suffix].concat());
        self.write(&line, within).await
    }
}

fn capped(before: u64, n: usize) -> Result<u64, NetError> {
    let sum = before.saturating_add(n as u64);
    if sum > TOTAL_MAX { Err(NetError::Io(format!("more than {} MiB over one connection", TOTAL_MAX >> 20))) } else { Ok(sum) }
}

fn broken(error: std::io::Error) -> NetError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof
        | std::io::ErrorKind::ConnectionReset
        | std::io::ErrorKind::BrokenPipe
        | std::io::ErrorKind::NotConnected => NetError::Closed,
        _ => NetError::Io(error.to_string()),
    }
}
