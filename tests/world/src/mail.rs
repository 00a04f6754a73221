//! A mail provider: the company's mailboxes by IMAP, submission by SMTP, and everybody else's mailboxes to look into.
//!
//! IMAP by TLS on one port, in clear with STARTTLS on another; submission with STARTTLS. What is submitted is filed in `Sent`
//! and lands in the mailbox of whom it is for. By hand: `curl -d 'from=…&subject=…&text=…' …/mail`, and `GET /mailbox/ADDRESS`.

mod imap;
mod office;
mod smtp;
mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::dice::Dice;
use crate::form::{Form, decoded};
use crate::server::{Server, locked};
pub use office::Letter;
use office::Office;
use wire::Wire;

type Shared = Arc<Mutex<Office>>;

/// What goes wrong next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// IMAP: the connection ends after so many bytes of the next mail that is fetched.
    CutLiteral(usize),
    /// IMAP: the next connection is greeted with BYE.
    Bye,
    /// SMTP: the next recipient is answered with this code.
    RefuseRecipient(u16),
    /// SMTP: the next mail is delivered, and the connection ends without an answer to the final dot.
    LoseAnswer,
}

/// See the module.
pub struct Mail {
    /// IMAP by TLS.
    pub imap: SocketAddr,
    /// IMAP in clear, with STARTTLS.
    pub imap_clear: SocketAddr,
    /// Submission, with STARTTLS.
    pub smtp: SocketAddr,
    /// The certificate to trust, PEM; for `localhost` and `127.0.0.1`.
    pub ca: String,
    door: Server,
    office: Shared,
    _listeners: JoinSet<()>,
}

impl Mail {
    /// The company's address.
    pub const ADDRESS: &str = "support@acme.example";
    /// Its login name.
    pub const USER: &str = "support";

    /// Starts a provider where the company logs in with this password. Errors: no port, or no certificate.
    pub async fn start(password: &str) -> std::io::Result<Self> {
        let office = Arc::new(Mutex::new(Office::new(password)));
        let (tls, ca) = certificate()?;
        let mut listeners = JoinSet::new();
        let imap = listen(&mut listeners, &office, &tls, Kind::ImapTls).await?;
        let imap_clear = listen(&mut listeners, &office, &tls, Kind::Imap).await?;
        let smtp = listen(&mut listeners, &office, &tls, Kind::Smtp).await?;
        let router = Router::new().route("/mail", post(write)).route("/mailbox/{address}", get(mailbox)).with_state(Arc::clone(&office));
        Ok(Self { imap, imap_clear, smtp, ca, door: Server::start(router).await?, office, _listeners: listeners })
    }

    /// Where letters can be written by hand.
    pub fn door(&self) -> SocketAddr {
        self.door.address
    }

    /// Puts a mail into the company's INBOX; gives its UID.
    pub fn deliver(&self, letter: &Letter) -> u32 {
        self.deliver_raw(letter.to_string().as_bytes())
    }

    /// As [`Mail::deliver`], whatever the bytes are.
    pub fn deliver_raw(&self, mail: &[u8]) -> u32 {
        locked(&self.office).file("INBOX", mail.to_vec())
    }

    /// Takes a mail out of the INBOX.
    pub fn expunge(&self, uid: u32) {
        locked(&self.office).expunge("INBOX", uid);
    }

    /// The INBOX is built anew: all its mails get new UIDs under another UIDVALIDITY.
    pub fn bump_uid_validity(&self) {
        locked(&self.office).bump("INBOX");
    }

    /// What goes wrong next.
    pub fn next(&self, mishap: Mishap) {
        locked(&self.office).mishaps.push(mishap);
    }

    /// From now on mishaps come by dice, also such as make a client wait for minutes; none: no more of them.
    pub fn trouble(&self, seed: Option<u64>, has_long_waits: bool) {
        locked(&self.office).trouble = seed.map(|seed| (Dice::new(seed), has_long_waits));
    }

    /// What lies in somebody's mailbox, as it came.
    pub fn received(&self, address: &str) -> Vec<String> {
        locked(&self.office).received(address)
    }

    /// What a reader shows of a mail that is one text, in quoted-printable or as it is.
    pub fn text(mail: &str) -> String {
        let (head, body) = mail.split_once("\r\n\r\n").unwrap_or((mail, ""));
        let is_encoded = head.to_ascii_lowercase().contains("content-transfer-encoding: quoted-printable");
        let text = if is_encoded { decoded(&body.replace("=\r\n", ""), b'=') } else { body.to_owned() };
        text.replace("\r\n", "\n")
    }

    /// What clients said to IMAP and SMTP, line by line, without passwords and mails.
    pub fn lines(&self) -> Vec<String> {
        locked(&self.office).lines.clone()
    }
}

/// A form: `from`, `subject`, `text`, `answers` (a Message-ID).
async fn write(State(office): State<Shared>, body: String) -> Response {
    let form = Form::read(&body);
    let Some(text) = form.get("text") else { return (StatusCode::BAD_REQUEST, "send text=…\n").into_response() };
    let mut office = locked(&office);
    let letter = Letter {
        from: form.or("from", "You <you@customers.example>").to_owned(),
        subject: form.or("subject", "A question").to_owned(),
        id: format!("by-hand-{}@customers.example", office.n_filed),
        answers: form.get("answers").map(str::to_owned).into_iter().collect(),
        text: text.to_owned(),
        ..Letter::default()
    };
    office.file("INBOX", letter.to_string().into_bytes());
    (StatusCode::CREATED, format!("<{}>\n", letter.id)).into_response()
}

async fn mailbox(State(office): State<Shared>, Path(address): Path<String>) -> String {
    locked(&office).received(&address).join("\n-----\n")
}

/// Its own authority, for this run alone.
fn certificate() -> std::io::Result<(TlsAcceptor, String)> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).map_err(std::io::Error::other)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key))
        .map_err(std::io::Error::other)?;
    Ok((TlsAcceptor::from(Arc::new(config)), cert.pem()))
}

#[derive(Clone, Copy)]
enum Kind {
    ImapTls,
    Imap,
    Smtp,
}

async fn listen(listeners: &mut JoinSet<()>, office: &Shared, tls: &TlsAcceptor, kind: Kind) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let (office, tls) = (Arc::clone(office), tls.clone());
    listeners.spawn(async move {
        let mut sessions = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            sessions.spawn(serve(kind, stream, Arc::clone(&office), tls.clone()));
            while sessions.try_join_next().is_some() {}
        }
    });
    Ok(address)
}

/// A session ends as its client ends it; what went wrong there is no business of the provider.
async fn serve(kind: Kind, stream: TcpStream, office: Shared, tls: TlsAcceptor) {
    let wire = Wire::new(stream, tls, Arc::clone(&office));
    drop(match kind {
        Kind::ImapTls => match wire.secured().await {
            Ok(wire) => imap::serve(wire, office).await,
            Err(error) => Err(error),
        },
        Kind::Imap => imap::serve(wire, office).await,
        Kind::Smtp => smtp::serve(wire, office).await,
    });
}

#[cfg(test)]
mod tests;
