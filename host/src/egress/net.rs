//! Byte streams: in clear, by TLS from the start, or by STARTTLS after the protocol's own command.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::credential::scrub;
use super::{Door, Failed};

/// Bytes given to a guest at once.
const READ_MAX: usize = 64 << 10;

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

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

enum Stream {
    Clear(TcpStream),
    Other(Box<dyn Io>),
    Gone,
}

/// An open stream.
pub struct Connection {
    door: Arc<Door>,
    host: String,
    stream: Stream,
    security: Security,
}

impl Door {
    /// Opens a stream to a granted host and port.
    pub async fn connect(self: &Arc<Self>, host: &str, port: u16, security: Security, within: Duration) -> Result<Connection, NetError> {
        if !self.config.net.iter().any(|grant| grant.allows(host, port)) {
            return Err(NetError::Denied(format!("add `grant = {{ net = [\"{host}:{port}\"] }}` to its section of membrana.toml")));
        }
        let stream = self.dial(host, port, within).await.map_err(|failed| match failed {
            Failed::Denied(why) => NetError::Denied(why),
            Failed::Dns(why) | Failed::Connect(why) => NetError::Io(why),
            Failed::Timeout => NetError::Timeout,
        })?;
        let mut connection = Connection { door: Arc::clone(self), host: host.to_owned(), stream: Stream::Clear(stream), security };
        if security == Security::Tls {
            connection.security = Security::StartTls;
            connection.upgrade(within).await?;
        }
        Ok(connection)
    }
}

impl Connection {
    /// The TLS handshake of STARTTLS. Bytes that came before it are lost with the old stream, as they must.
    pub async fn upgrade(&mut self, within: Duration) -> Result<(), NetError> {
        if self.security != Security::StartTls {
            return Err(NetError::Tls("this connection was not opened for an upgrade".to_owned()));
        }
        let Stream::Clear(stream) = std::mem::replace(&mut self.stream, Stream::Gone) else { return Err(NetError::Closed) };
        let secured = timeout(within, self.door.egress.tls.connect(&self.host, stream)).await.map_err(|_| NetError::Timeout)?;
        self.stream = Stream::Other(Box::new(secured.map_err(NetError::Tls)?));
        self.security = Security::Tls;
        Ok(())
    }

    /// Waits for at least one byte; an empty answer is the end.
    pub async fn read(&mut self, max: usize, within: Duration) -> Result<Vec<u8>, NetError> {
        let mut bytes = vec![0; max.clamp(1, READ_MAX)];
        let reading = async {
            match &mut self.stream {
                Stream::Clear(stream) => stream.read(&mut bytes).await,
                Stream::Other(stream) => stream.read(&mut bytes).await,
                Stream::Gone => Ok(0),
            }
        };
        let n = timeout(within, reading).await.map_err(|_| NetError::Timeout)?.map_err(broken)?;
        bytes.truncate(n);
        Ok(scrub(&self.door.config.credentials, bytes))
    }

    /// Writes all of it.
    pub async fn write(&mut self, bytes: &[u8], within: Duration) -> Result<(), NetError> {
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

    /// Writes prefix, the credential in `encoding`, suffix. Whoever asked never sees the bytes.
    pub async fn write_secret(&mut self, prefix: &[u8], credential: &str, encoding: &str, suffix: &[u8], within: Duration) -> Result<(), NetError> {
        let found = self.door.config.credentials.iter().find(|known| known.name == credential);
        let Some(encoded) = found.and_then(|known| known.encoded(encoding)) else {
            return Err(NetError::Denied(format!("no credential `{credential}` is configured for `{encoding}`")));
        };
        let line = zeroize::Zeroizing::new([prefix, &encoded, suffix].concat());
        self.write(&line, within).await
    }
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
