//! Lines and counted bytes over the host's connection, for IMAP and SMTP alike. Every wait ends with the call's own time;
//! no line and no block is longer than its caller allows.

use membrana_sdk::net::{Connection, NetError, Security};
use membrana_sdk::{Fault, Result, clock};

use crate::settings::Endpoint;

const READ_BYTES: u32 = 64 << 10;
const CONNECT_MS: u32 = 15_000;
/// A server that says nothing for this long is gone.
const SILENCE_MS: u64 = 30_000;
/// Left to the call for its answer to the host.
const RESERVE_MS: u64 = 1_000;

/// Why a conversation cannot go on.
#[derive(Debug)]
pub(crate) enum WireError {
    Net(NetError),
    /// The other side hung up.
    Closed,
    /// More than the caller allows.
    TooLong,
}

impl WireError {
    /// In words for an admin.
    pub(crate) fn words(&self) -> String {
        match self {
            WireError::Net(error) => error.words(),
            WireError::Closed => "the server hung up".to_owned(),
            WireError::TooLong => "the server's answer is over the limit".to_owned(),
        }
    }

    /// As a fault of the protocol `name`, lower case.
    pub(crate) fn fault(&self, name: &str) -> Fault {
        match self {
            WireError::Net(NetError::Denied(_)) => Fault::config(&format!("{name}.denied"), self.words()),
            WireError::Net(_) => Fault::transient(&format!("{name}.connection"), self.words()),
            WireError::Closed => Fault::transient(&format!("{name}.closed"), self.words()),
            WireError::TooLong => Fault::transient(&format!("{name}.too-long"), self.words()),
        }
    }
}

impl From<NetError> for WireError {
    fn from(error: NetError) -> Self {
        WireError::Net(error)
    }
}

/// A connection with what was read and not yet asked for.
pub(crate) struct Wire {
    connection: Connection,
    read: Vec<u8>,
    /// Where in `read` the unused part starts.
    at: usize,
    silence_ms: u64,
}

impl Wire {
    pub(crate) fn connect(endpoint: &Endpoint) -> Result<Self, WireError> {
        let connection = Connection::connect(&endpoint.host, endpoint.port, endpoint.security, CONNECT_MS)?;
        Ok(Self { connection, read: Vec::new(), at: 0, silence_ms: SILENCE_MS })
    }

    /// How long a read may stay without a byte from here on.
    pub(crate) fn allow_silence(&mut self, silence_ms: u64) {
        self.silence_ms = silence_ms;
    }

    /// TLS from here on. Errors: bytes that came in clear before the handshake are an injection.
    pub(crate) fn upgrade(&mut self) -> Result<(), WireError> {
        if self.at < self.read.len() {
            return Err(WireError::Net(NetError::Tls("the server spoke before the handshake".to_owned())));
        }
        Ok(self.connection.upgrade()?)
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), WireError> {
        Ok(self.connection.write(bytes)?)
    }

    pub(crate) fn write_secret(&self, prefix: &[u8], encoding: &str) -> Result<(), WireError> {
        Ok(self.connection.write_secret(prefix, "password", encoding, b"\r\n")?)
    }

    /// One line without its end. Errors: `TooLong` over `bytes_max`.
    pub(crate) fn line(&mut self, bytes_max: usize) -> Result<Vec<u8>, WireError> {
        let mut searched = self.at;
        loop {
            let unseen = self.read.get(searched..).unwrap_or_default();
            if let Some(found) = unseen.iter().position(|&byte| byte == b'\n') {
                let end = searched + found;
                let mut line = self.read.get(self.at..end).unwrap_or_default().to_vec();
                self.at = end + 1;
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            if self.read.len() - self.at > bytes_max {
                return Err(WireError::TooLong);
            }
            let behind = self.read.len() - self.at;
            self.fill()?;
            searched = self.at + behind;
        }
    }

    /// Exactly `count` bytes; the caller has checked that they fit.
    pub(crate) fn exact(&mut self, count: usize) -> Result<Vec<u8>, WireError> {
        let mut block = Vec::with_capacity(count);
        loop {
            let wanted = count - block.len();
            let have = self.read.get(self.at..).unwrap_or_default();
            let taken = have.get(..wanted.min(have.len())).unwrap_or_default();
            block.extend_from_slice(taken);
            self.at += taken.len();
            if block.len() == count {
                return Ok(block);
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), WireError> {
        self.read.drain(..self.at);
        self.at = 0;
        let left = clock::remaining_ms().saturating_sub(RESERVE_MS).min(self.silence_ms);
        if left == 0 {
            return Err(WireError::Net(NetError::Timeout));
        }
        let bytes = self.connection.read(READ_BYTES, u32::try_from(left).unwrap_or(u32::MAX))?;
        if bytes.is_empty() {
            return Err(WireError::Closed);
        }
        self.read.extend_from_slice(&bytes);
        Ok(())
    }
}

/// Whether the connection starts in clear and must be upgraded.
pub(crate) fn must_upgrade(endpoint: &Endpoint) -> bool {
    endpoint.security == Security::Starttls
}
