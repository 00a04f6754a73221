//! Lines over a connection that may become TLS in the middle.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::Shared;
use crate::server::locked;

/// A client that says more in one line is no client of ours. Units: bytes.
const LINE_BYTES_MAX: usize = 64 << 10;

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub(super) struct Wire {
    stream: Box<dyn Io>,
    read: Vec<u8>,
    tls: TlsAcceptor,
    office: Shared,
    pub(super) is_secure: bool,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, tls: TlsAcceptor, office: Shared) -> Self {
        Self { stream: Box::new(stream), read: Vec::new(), tls, office, is_secure: false }
    }

    /// TLS from here on.
    pub(super) async fn secured(self) -> Result<Self> {
        let stream = self.tls.accept(self.stream).await?;
        Ok(Self { stream: Box::new(stream), read: Vec::new(), is_secure: true, ..self })
    }

    /// One line without its end, as it is.
    pub(super) async fn bytes(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.read.drain(..=end).collect();
                line.truncate(line.len() - if line.ends_with(b"\r\n") { 2 } else { 1 });
                return Ok(line);
            }
            if self.read.len() > LINE_BYTES_MAX {
                return Err(ErrorKind::InvalidData.into());
            }
            let mut more = [0; 4096];
            match self.stream.read(&mut more).await? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => self.read.extend_from_slice(more.get(..n).unwrap_or_default()),
            }
        }
    }

    /// A command, noted down unless it carries a secret.
    pub(super) async fn command(&mut self) -> Result<String> {
        let line = self.secret().await?;
        let upper = line.to_ascii_uppercase();
        let cut = ["LOGIN ", "AUTHENTICATE ", "AUTH PLAIN "].iter().find_map(|word| upper.find(word).map(|at| at + word.len()));
        let shown = line.get(..cut.unwrap_or(line.len())).unwrap_or_default();
        locked(&self.office).lines.push(shown.to_owned());
        Ok(line)
    }

    /// A line that is not noted down.
    pub(super) async fn secret(&mut self) -> Result<String> {
        String::from_utf8(self.bytes().await?).map_err(|error| Error::new(ErrorKind::InvalidData, error))
    }

    pub(super) async fn say(&mut self, line: &str) -> Result<()> {
        self.write(format!("{line}\r\n").as_bytes()).await
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }
}
