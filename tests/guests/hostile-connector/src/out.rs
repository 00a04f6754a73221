//! Goes wherever a test sends it, by every way that a guest has, and tells what came of it.

use std::net::{TcpStream, UdpSocket};

use membrana_sdk::connector::{Change, Interaction, Raw, Subscription};
use membrana_sdk::http::{self, Request, Response};
use membrana_sdk::net::{Connection, NetError, Security};

use crate::{FIELD, item, native};

/// For a connection. Units: milliseconds.
const PATIENCE_MS: u32 = 5_000;
/// Read from a stream at once: what a server echoes comes in pieces. Units: bytes.
const PIECE: u32 = 3;

/// The body names way and place; the text of the item is what came of it.
pub(crate) fn go(raw: &Raw) -> Change {
    let asked = String::from_utf8_lossy(&raw.body);
    let fields: Vec<&str> = asked.split(FIELD).collect();
    let text = match fields.as_slice() {
        ["http", method, url, auth, body, headers @ ..] => call(method, url, auth, body, headers),
        ["net", host, port, credential] => speak(host, port.parse().unwrap_or(0), credential).unwrap_or_else(|error| error.words()),
        ["tcp", place] => TcpStream::connect(place).map_or_else(|error| error.to_string(), |_| "connected".to_owned()),
        ["udp", place] => {
            let sent = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"hello", place));
            sent.map_or_else(|error| error.to_string(), |_| "sent".to_owned())
        }
        _ => "nobody knows that way".to_owned(),
    };
    Change::Upsert(Interaction { text, ..item(native("out"), raw.received) })
}

fn call(method: &str, url: &str, auth: &str, body: &str, headers: &[&str]) -> String {
    let mut request = Request::new(method, url);
    request.headers = pairs(headers);
    request.auth = Some(auth.to_owned()).filter(|auth| !auth.is_empty());
    request.body = body.as_bytes().to_vec();
    let told = |answer: Response| {
        let headers: String = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        format!("{}\n{headers}\n{}", answer.status, answer.text())
    };
    http::send(&request).map_or_else(|error| error.words(), told)
}

/// Says a line, or a credential, and reads what comes back, a few bytes at a time.
fn speak(host: &str, port: u16, credential: &str) -> Result<String, NetError> {
    let connection = Connection::connect(host, port, Security::Plain, PATIENCE_MS)?;
    if credential.is_empty() {
        connection.write(b"hello\r\n")?;
    } else {
        connection.write_secret(b"a LOGIN mallory ", credential, "raw", b"\r\n")?;
    }
    let mut said = Vec::new();
    while !said.ends_with(b"\n") {
        let piece = connection.read(PIECE, PATIENCE_MS)?;
        if piece.is_empty() {
            break;
        }
        said.extend(piece);
    }
    Ok(format!("said {}", String::from_utf8_lossy(&said)))
}

/// What the host is to open, where the cursor names it.
pub(crate) fn subscription(cursor: &str) -> Option<Subscription> {
    let fields: Vec<&str> = cursor.split(FIELD).collect();
    let ["stream", protocol, url, auth, headers @ ..] = fields.as_slice() else { return None };
    let auth = Some((*auth).to_owned()).filter(|auth| !auth.is_empty());
    let (protocol, url) = ((*protocol).to_owned(), (*url).to_owned());
    Some(Subscription { protocol, url, headers: pairs(headers), auth, keep_alive_ms: PATIENCE_MS })
}

fn pairs(headers: &[&str]) -> Vec<(String, String)> {
    headers.chunks(2).map(|pair| (pair[0].to_owned(), pair.get(1).copied().unwrap_or_default().to_owned())).collect()
}
