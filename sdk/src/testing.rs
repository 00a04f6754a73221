//! A host for unit tests off Wasm: set what the host would answer, call the plugin, look at what it did.
//! Everything is per thread; [`Host::install`] replaces what was there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::connector::{Interaction, Message, Target};
use crate::http::{HttpError, Request, Response};
use crate::net::{NetError, Security};

type HttpHandler = Box<dyn FnMut(&Request) -> Result<Response, HttpError>>;

/// What the host would say.
pub struct Host {
    /// The plugin's section, JSON.
    pub config: String,
    /// Units: milliseconds since 1970.
    pub now: u64,
    /// What is in the channel's state.
    pub state: BTreeMap<String, Vec<u8>>,
    /// `send` and `probe` may only read.
    pub state_is_read_only: bool,
    /// Credentials by name, for `write_secret`.
    pub secrets: BTreeMap<String, String>,
    /// Lines logged.
    pub logged: Vec<String>,
    http: Option<HttpHandler>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            config: "{}".to_owned(),
            now: 1_780_000_000_000,
            state: BTreeMap::new(),
            state_is_read_only: false,
            secrets: BTreeMap::new(),
            logged: Vec::new(),
            http: None,
        }
    }
}

impl Host {
    /// A host with this section of the configuration.
    pub fn with_config(config: impl Into<String>) -> Self {
        Self { config: config.into(), ..Self::default() }
    }

    /// Answers HTTP requests.
    pub fn on_http(mut self, handler: impl FnMut(&Request) -> Result<Response, HttpError> + 'static) -> Self {
        self.http = Some(Box::new(handler));
        self
    }

    /// Makes this the thread's host.
    pub fn install(self) {
        HOST.with_borrow_mut(|host| *host = self);
    }
}

/// An item with this text and nothing else.
pub fn item(text: &str) -> crate::analyzer::Item {
    crate::analyzer::Item { subject: None, text: text.to_owned(), language: None, occurred: 0, context: None }
}

/// An answer to this by a person, made now by the host's clock.
pub fn answer(to: &Interaction, kind: &str, text: &str) -> Message {
    let target = Target {
        native: to.native.clone(),
        author: to.author.clone(),
        reply_context: to.reply_context.clone(),
        visibility: to.visibility.clone(),
        subject: None,
        language: None,
    };
    let created = with_host(|host| host.now);
    Message { kind: kind.to_owned(), automatic: false, text: text.to_owned(), to: Some(target), created, attrs: Vec::new() }
}

/// Looks at, or changes, the thread's host.
pub fn with_host<R>(look: impl FnOnce(&mut Host) -> R) -> R {
    HOST.with_borrow_mut(look)
}

thread_local!(static HOST: RefCell<Host> = RefCell::new(Host::default()));

pub(crate) mod log {
    pub(crate) fn write(level: crate::log::Level, message: &str) {
        super::with_host(|host| host.logged.push(format!("{level:?}: {message}")));
    }
}

pub(crate) mod config {
    pub(crate) fn json() -> String {
        super::with_host(|host| host.config.clone())
    }
}

pub(crate) mod clock {
    pub(crate) fn now() -> u64 {
        super::with_host(|host| host.now)
    }
    pub(crate) fn remaining_ms() -> u64 {
        30_000
    }
}

pub(crate) mod state {
    use super::with_host;

    pub(crate) fn get(key: &str) -> Option<Vec<u8>> {
        with_host(|host| host.state.get(key).cloned())
    }
    pub(crate) fn set(key: &str, value: &[u8]) -> Result<(), String> {
        with_host(|host| {
            if host.state_is_read_only {
                return Err("this call may only read state".to_owned());
            }
            host.state.insert(key.to_owned(), value.to_vec());
            Ok(())
        })
    }
    pub(crate) fn delete(key: &str) {
        with_host(|host| host.state.remove(key));
    }
    pub(crate) fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Vec<String> {
        with_host(|host| {
            let matching = host.state.keys().filter(|key| key.starts_with(prefix) && after.is_none_or(|a| key.as_str() > a));
            matching.take(limit.min(1000) as usize).cloned().collect()
        })
    }
}

pub(crate) mod http {
    use super::{HttpError, Request, Response, with_host};

    pub(crate) fn send(request: &Request) -> Result<Response, HttpError> {
        // Taken out for the call, so that the handler may look at the host.
        let Some(mut handler) = with_host(|host| host.http.take()) else {
            return Err(HttpError::Denied(format!("no handler installed for {}", request.url)));
        };
        let answer = handler(request);
        with_host(|host| host.http = Some(handler));
        answer
    }
}

/// A plain TCP connection; `Tls` and `upgrade` stay plain, for stand-ins on loopback.
pub struct Connection(RefCell<TcpStream>);

impl Connection {
    /// Connects within `timeout_ms`.
    pub fn connect(host: &str, port: u16, _security: Security, timeout_ms: u32) -> Result<Self, NetError> {
        let address = format!("{host}:{port}").parse().map_err(|_| NetError::Io("tests connect to addresses".to_owned()))?;
        let wait = Duration::from_millis(timeout_ms.max(1).into());
        let stream = TcpStream::connect_timeout(&address, wait).map_err(|e| NetError::Io(e.to_string()))?;
        Ok(Self(RefCell::new(stream)))
    }

    /// Does nothing.
    pub fn upgrade(&self) -> Result<(), NetError> {
        Ok(())
    }

    /// Waits for at least one byte; an empty list is the end of the stream.
    pub fn read(&self, max: u32, timeout_ms: u32) -> Result<Vec<u8>, NetError> {
        let mut stream = self.0.borrow_mut();
        let wait = Duration::from_millis(timeout_ms.max(1).into());
        stream.set_read_timeout(Some(wait)).map_err(|e| NetError::Io(e.to_string()))?;
        let mut buffer = vec![0; max.clamp(1, 65_536) as usize];
        match stream.read(&mut buffer) {
            Ok(n) => {
                buffer.truncate(n);
                Ok(buffer)
            }
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => Err(NetError::Timeout),
            Err(e) => Err(NetError::Io(e.to_string())),
        }
    }

    /// Writes all.
    pub fn write(&self, data: &[u8]) -> Result<(), NetError> {
        self.0.borrow_mut().write_all(data).map_err(|e| NetError::Io(e.to_string()))
    }

    /// Writes prefix, the credential from [`Host::secrets`] (only the encodings `raw`, `quoted` and the rest as-is), suffix.
    pub fn write_secret(&self, prefix: &[u8], credential: &str, encoding: &str, suffix: &[u8]) -> Result<(), NetError> {
        let secret = with_host(|host| host.secrets.get(credential).cloned()).ok_or_else(|| NetError::Denied(credential.to_owned()))?;
        let encoded = if encoding == "quoted" { format!("\"{secret}\"") } else { secret };
        self.write(&[prefix, encoded.as_bytes(), suffix].concat())
    }
}
