//! The smallest blocking HTTP client: for code that is called without a runtime, as a plugin is.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer with its head.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// HTTP's.
    pub status: u16,
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// As received.
    pub body: Vec<u8>,
}

/// One request on a connection of its own. Errors: in words; also where the answer was cut.
pub fn fetch(to: SocketAddr, method: &str, path: &str, headers: &[(String, String)], body: &[u8]) -> Result<Fetched, String> {
    let mut stream = TcpStream::connect(to).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).map_err(|error| error.to_string())?;
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("{method} {path} HTTP/1.0\r\nhost: {to}\r\ncontent-length: {}\r\n{more}\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).map_err(|error| error.to_string())?;
    let at = all.windows(4).position(|four| four == b"\r\n\r\n").ok_or("the answer has no head")?;
    let (head, body) = all.split_at(at);
    let head = String::from_utf8_lossy(head).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("the answer has no status")?;
    let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()));
    let headers: Vec<(String, String)> = head.lines().skip(1).filter_map(pair).collect();
    let body = body.get(4..).unwrap_or_default().to_vec();
    let announced = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse::<usize>().ok());
    if announced.is_some_and(|announced| announced != body.len()) {
        return Err("the answer was cut".to_owned());
    }
    Ok(Fetched { status, headers, body })
}
