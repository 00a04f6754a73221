//! A pretend X on loopback, and a host whose requests go there.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use membrana_sdk::connector::{Change, Interaction, Message, Origin, Page, Raw};
use membrana_sdk::http::{HttpError, Request, Response};
use membrana_sdk::{Connector as _, NativeId, testing};
use tokio::runtime::{Builder, Runtime};

use crate::X;

/// 2026-05-02T10:00:00Z.
pub(super) const NOW_MS: u64 = 1_777_716_000_000;

/// The network runs as long as this lives.
pub(super) struct Stand {
    pub(super) x: membrana_world::X,
    _runtime: Runtime,
}

impl Stand {
    /// `more` of the section, as JSON fields.
    pub(super) fn new(more: &str) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let x = runtime.block_on(membrana_world::X::start("app-1", "user-1", NOW_MS)).unwrap();
        let stand = Self { x, _runtime: runtime };
        stand.host(more);
        stand
    }

    /// A host without memory.
    pub(super) fn host(&self, more: &str) {
        let address = self.x.address();
        testing::Host::with_config(self.config(more)).on_http(move |request| over_tcp(address, request)).install();
        self.sync();
    }

    pub(super) fn config(&self, more: &str) -> String {
        let comma = if more.is_empty() { "" } else { "," };
        format!(r#"{{"base_url":"{}"{comma}{more}}}"#, self.x.url())
    }

    /// The host's clock is the network's.
    pub(super) fn sync(&self) {
        let now = self.x.now_ms();
        testing::with_host(|host| host.now = now);
    }

    pub(super) fn poll(&self, cursor: &str, max_items: u32) -> Page {
        self.sync();
        X::poll(Some(cursor.to_owned()), max_items, 1 << 20).unwrap()
    }

    /// The cursor of a channel that has just begun.
    pub(super) fn begun(&self) -> String {
        self.poll("", 100).cursor
    }

    /// Polls until there is no more; gives everything and the last cursor.
    pub(super) fn all(&self, cursor: &str, max_items: u32) -> (Vec<Change>, String) {
        let (mut changes, mut cursor) = (Vec::new(), cursor.to_owned());
        for _ in 0..50 {
            let page = self.poll(&cursor, max_items);
            changes.extend(page.changes);
            cursor = page.cursor;
            if !page.more {
                return (changes, cursor);
            }
        }
        panic!("it never ends: {cursor}");
    }
}

pub(super) fn said(changes: &[Change]) -> Vec<&Interaction> {
    changes.iter().filter_map(|change| if let Change::Upsert(about) = change { Some(about) } else { None }).collect()
}

pub(super) fn texts(changes: &[Change]) -> Vec<&str> {
    said(changes).iter().map(|one| one.text.as_str()).collect()
}

pub(super) fn notes<'c>(changes: &'c [Change], kind: &str) -> Vec<&'c str> {
    let of_kind = |change: &'c Change| if let Change::Note((known, body)) = change { (known == kind).then_some(body.as_str()) } else { None };
    changes.iter().filter_map(of_kind).collect()
}

pub(super) fn post_id(id: &str) -> NativeId {
    NativeId { scope: String::new(), id: id.to_owned() }
}

pub(super) fn told(body: impl Into<Vec<u8>>) -> Raw {
    Raw { origin: Origin::Frame, body: body.into(), received: NOW_MS }
}

/// What answers an interaction.
pub(super) fn answer(kind: &str, to: &Interaction, text: &str) -> Message {
    Message { automatic: true, created: NOW_MS, ..testing::answer(to, kind, text) }
}

/// HTTP/1.0: the answer ends with the connection.
fn over_tcp(address: SocketAddr, request: &Request) -> Result<Response, HttpError> {
    let broken = |error: std::io::Error| HttpError::Protocol(error.to_string());
    let path = request.url.split_once(&address.to_string()).map(|(_, path)| path).unwrap();
    let token = match request.auth.as_deref() {
        Some("app") => "app-1",
        Some("user") => "user-1",
        other => panic!("no credential of the manifest: {other:?}"),
    };
    let headers: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "{} {path} HTTP/1.0\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n{headers}\r\n",
        request.method,
        request.body.len()
    );
    let mut stream = TcpStream::connect(address).map_err(|error| HttpError::Connect(error.to_string()))?;
    stream.write_all(&[head.as_bytes(), &request.body].concat()).map_err(broken)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map_err(broken)?;
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| HttpError::Protocol("no head".to_owned()))?;
    let (head, body) = (String::from_utf8_lossy(&bytes[..at]).into_owned(), bytes[at + 4..].to_vec());
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).unwrap();
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse::<usize>().ok());
    if length.is_some_and(|length| length != body.len()) {
        return Err(HttpError::Protocol("cut".to_owned()));
    }
    Ok(Response { status, headers, body })
}
