//! One call of the API: by HTTP where a host holds the store, else in process on the store itself.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{Method, Request, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::app::{address_of_host, data_folder, nobody_works_on, process_env, sections_of};
use crate::clock::Clock;
use crate::config::{self, Config, Report, Secret, Severity};
use crate::console::{Audit, Backups, Desk, Guesses, api};
use crate::model::IdKey;
use crate::plugin::Builds;
use crate::stage::Journal;
use crate::store::{MemoryStore, SledStore, Store, StoreError};
use crate::telemetry::chain;

use super::outcome::{Failure, aside, cure_of};

/// Units: bytes of one line of a list.
const LINE_MAX: usize = 16 << 20;
/// Other commands hold the store for a moment each; a command looks so often, for about five seconds, whether it is its turn.
const TURNS: u32 = 100;
/// After so many it says that it waits.
const TURNS_QUIET: u32 = 20;
/// Between two looks.
const TURN_PAUSE: Duration = Duration::from_millis(50);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Until the answer begins.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A build is compiled, and a channel's turns end, before this answer begins.
const SWAP_TIMEOUT: Duration = Duration::from_secs(600);
/// The whole store is read or copied, or every dead letter driven again, before this answer begins.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// What a command wants, where no host ever ran on the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// There is nothing to see, and nothing is made.
    Look,
    /// It is the wrong folder.
    Judge,
    /// A store is begun, as a host would.
    Order,
}

/// Who answers calls.
pub(super) enum Caller {
    InProcess(Router, Arc<dyn Store>),
    /// There is none, and no store.
    Nobody(Router),
    Host(SocketAddr, Option<Secret>),
}

impl Caller {
    /// Opens the store, or finds the host that holds it. Who is no host of this data folder is shown no token.
    pub(super) async fn open(file: &Path, purpose: Purpose) -> Result<Self, Failure> {
        let config = what_is_needed(file)?;
        let data = &config.host.data;
        for turn in 0..TURNS {
            let opened = match SledStore::is_begun(data) {
                Ok(true) => {
                    // Opening it may take long.
                    nobody_works_on(data);
                    SledStore::open(data)
                }
                Ok(false) => match Self::without_store(&config, purpose).await? {
                    Some(caller) => return Ok(caller),
                    None => SledStore::open(data),
                },
                Err(source) => Err(StoreError::Io { step: "open", source }),
            };
            match opened {
                Ok(store) => return Ok(Self::InProcess(router_on(&config, Arc::clone(&store) as Arc<dyn Store>), store)),
                Err(StoreError::InUse(_)) => {}
                Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
                    if nobody_works_on(data) {
                        return Err(not_ours(data));
                    }
                    // Where its host listens can often not be seen, either.
                    let address = address_of_host(data).unwrap_or(config.host.listen);
                    return Self::at(&config, address).await.ok_or_else(|| not_ours(data));
                }
                // It says itself what to do, and `verify` could say no more.
                Err(error @ StoreError::Damaged { .. }) => return Err(Failure::failed(chain(&error).to_string(), "")),
                Err(error) => return Err(Failure::failed(chain(&error).to_string(), cure_of(&error))),
            }
            if let Some(host) = Self::of_host(&config).await {
                return Ok(host);
            }
            if turn == TURNS_QUIET {
                aside(format_args!("another command works on the store in `{}`; this one waits for its turn", data.display()));
            }
            tokio::time::sleep(TURN_PAUSE).await;
        }
        Err(Failure::failed(
            format!("another command or host holds the store in `{}`, and no host says there where it listens", data.display()),
            "wait for the other command to end, or look whether a host hangs",
        ))
    }

    /// Where no host ever ran on the data folder: who answers on `listen` runs on another one, if it is a host. None: a store is to be begun.
    async fn without_store(config: &Config, purpose: Purpose) -> Result<Option<Self>, Failure> {
        let (data, address) = (&config.host.data, reachable(config.host.listen));
        let is_answered = is_answered(address).await;
        match purpose {
            Purpose::Look if is_answered && config.host.tokens.is_empty() => {
                aside(format_args!("no host ran on the data folder `{}` yet; this is told by the one on {address}", data.display()));
                Ok(Some(Self::Host(address, None)))
            }
            // Whoever that is, is shown no token.
            _ if is_answered => Err(another_host(data, address)),
            Purpose::Look => {
                aside(format_args!("no host ran on the data folder `{}` yet, and none answers on {address}", data.display()));
                Ok(Some(Self::Nobody(router_on(config, Arc::new(MemoryStore::new(IdKey([0; 32])))))))
            }
            Purpose::Judge => Err(not_begun(data)),
            Purpose::Order => make_data_folder(config).map(|()| None),
        }
    }

    /// The host that answers there.
    async fn at(config: &Config, address: SocketAddr) -> Option<Self> {
        let address = reachable(address);
        is_answered(address).await.then(|| Self::Host(address, token_of(config)))
    }

    /// No host runs on a store that is there.
    pub(super) fn is_in_process(&self) -> bool {
        matches!(self, Self::InProcess(..))
    }

    /// The host that works on the data folder, if one answers. The file may have been edited since it started: it says itself where it listens.
    pub(super) async fn of_host(config: &Config) -> Option<Self> {
        if nobody_works_on(&config.host.data) {
            return None;
        }
        Self::at(config, address_of_host(&config.host.data)?).await
    }

    /// One call; `each` gets every line of the answer as it comes, and ends it by an error.
    pub(super) async fn lines(
        &self,
        method: &str,
        path: &str,
        body: Option<Bytes>,
        each: &mut dyn FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut lines = self.open_lines(method, path, body).await?;
        while let Some(line) = lines.next().await? {
            each(&line)?;
        }
        Ok(())
    }

    /// One call, whose answer is read line by line as fast as it is asked for. Errors: it was refused.
    pub(super) async fn open_lines(&self, method: &str, path: &str, body: Option<Bytes>) -> Result<Lines, Failure> {
        let (head, body) = self.ask(method, path, body).await?;
        let mut lines = Lines { stream: body.into_data_stream(), rest: Vec::new() };
        if head.status.is_success() {
            return Ok(lines);
        }
        while lines.read_on().await? {}
        Err(refused(head.status, &String::from_utf8_lossy(&lines.rest)))
    }

    /// A call whose answer is bytes; `each` gets them as they come.
    pub(super) async fn bytes(&self, path: &str, each: &mut dyn FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        let (head, body) = self.ask("GET", path, None).await?;
        let (mut stream, mut refusal) = (body.into_data_stream(), Vec::new());
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(broken_off)?;
            if head.status.is_success() {
                each(&chunk)?;
            } else if refusal.len() < LINE_MAX {
                refusal.extend_from_slice(&chunk);
            }
        }
        if head.status.is_success() { Ok(()) } else { Err(refused(head.status, &String::from_utf8_lossy(&refusal))) }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Bytes>) -> Result<(axum::http::response::Parts, Body), Failure> {
        let wrong = |error: String| Failure::failed(error, "");
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if let Self::Host(_, Some(token)) = self {
            request = request.header("authorization", format!("Bearer {}", token.expose()));
        }
        let request = request.body(Body::from(body.unwrap_or_default())).map_err(|error| wrong(error.to_string()))?;
        Ok(match self {
            Self::InProcess(router, _) | Self::Nobody(router) => router.clone().oneshot(request).await.unwrap_or_default().into_parts(),
            Self::Host(address, _) => {
                let (head, body) = send(*address, request).await?.into_parts();
                (head, Body::new(body))
            }
        })
    }

    /// A call whose answer is one object.
    pub(super) async fn thing(&self, method: &str, path: &str, body: Option<Bytes>) -> Result<Json, Failure> {
        let mut answer = Json::Null;
        let mut keep = |line: &str| {
            answer = serde_json::from_str(line).unwrap_or_default();
            Ok(())
        };
        self.lines(method, path, body, &mut keep).await?;
        Ok(answer)
    }

    /// Lets go of the store.
    pub(super) async fn close(self) -> Result<(), Failure> {
        match self {
            Self::InProcess(_, store) => store.close().await.map_err(|error| Failure::failed(chain(&error).to_string(), "")),
            Self::Nobody(_) | Self::Host(..) => Ok(()),
        }
    }
}

/// The API on this store, as the configuration names it.
fn router_on(config: &Config, store: Arc<dyn Store>) -> Router {
    api(Arc::new(Desk {
        journal: Journal::new(store, Clock::system()),
        sections: ArcSwap::from_pointee(sections_of(config, None)),
        poll: None,
        refused: ArcSwapOption::empty(),
        builds: Builds::new(&config.host.data),
        audit: Audit::new(&config.host.data),
        backups: Backups::of(&config.host.data),
        redriving: tokio::sync::Mutex::default(),
        swaps: None,
        tokens: ArcSwap::default(),
        guesses: Guesses::default(),
    }))
}

/// The lines of an answer.
pub(super) struct Lines {
    stream: BodyDataStream,
    rest: Vec<u8>,
}

impl Lines {
    /// The next one, without its end.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            if !self.read_on().await? {
                let rest = std::mem::take(&mut self.rest);
                return Ok(Some(String::from_utf8_lossy(&rest).trim_end().to_owned()).filter(|line| !line.trim().is_empty()));
            }
        }
    }

    /// Says whether there was more.
    async fn read_on(&mut self) -> Result<bool, Failure> {
        let Some(chunk) = self.stream.next().await else { return Ok(false) };
        self.rest.extend_from_slice(&chunk.map_err(broken_off)?);
        if self.rest.len() > LINE_MAX {
            return Err(Failure::failed("the answer has a line that is too long", ""));
        }
        Ok(true)
    }
}

/// Where the store is and how the host is called. Other mistakes are the host's business: they are mentioned, no more.
pub(super) fn what_is_needed(file: &Path) -> Result<Config, Failure> {
    let (config, mut report) = config::read_what_is_there(file, process_env().as_ref());
    let Some(config) = config.filter(|config| config.host.is_sound) else { return Err(Failure::Config(report)) };
    report.findings.retain(|finding| finding.severity == Severity::Error);
    if let Some(first) = report.findings.first() {
        let n_more = report.findings.len() - 1;
        let more = if n_more == 0 { String::new() } else { format!(" (and {n_more} more)") };
        aside(format_args!("warning: {}: {}{more}; `membrana check` tells all", first.place, first.message));
    }
    Ok(config)
}

/// As a host would at its start.
pub(super) fn make_data_folder(config: &Config) -> Result<(), Failure> {
    let mut report = Report::default();
    data_folder(config, &mut report);
    if report.has_errors() { Err(Failure::Config(report)) } else { Ok(()) }
}

fn another_host(data: &Path, address: SocketAddr) -> Failure {
    let message = format!("no host ran on the data folder `{}` yet, and one that runs on another answers on {address}", data.display());
    Failure::failed(message, "set `data` in [host] as it was when that one started; or give this one a `listen` of its own")
}

fn not_begun(data: &Path) -> Failure {
    let message = format!("no host ran on the data folder `{}` yet", data.display());
    Failure::failed(message, "`membrana run` begins one; if one ran, is `data` in [host] still the same?")
}

fn not_ours(data: &Path) -> Failure {
    let message = format!("the data folder `{}` may not be read by this user, and no host answers", data.display());
    Failure::failed(message, "repeat it as the user whom the host runs as: `sudo -u USER membrana …`")
}

fn token_of(config: &Config) -> Option<Secret> {
    config.host.tokens.first().map(|(_, token)| token.clone())
}

async fn is_answered(address: SocketAddr) -> bool {
    timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await.is_ok_and(|tried| tried.is_ok())
}

/// A host that listens on every address is called on this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())),
        _ => address,
    }
}

async fn send(address: SocketAddr, request: Request<Body>) -> Result<hyper::Response<hyper::body::Incoming>, Failure> {
    let unreachable = |error: String| {
        let cure = "look at the host's log; where it hangs, end it and start it again";
        Failure::failed(format!("the host on {address} does not answer: {error}"), cure)
    };
    let patience = match request.uri().path().rsplit('/').next() {
        _ if request.method() == Method::GET => HEAD_TIMEOUT,
        Some("verify" | "redrive" | "backup") => VERIFY_TIMEOUT,
        Some("swap" | "rollback" | "shadow") => SWAP_TIMEOUT,
        _ => HEAD_TIMEOUT,
    };
    let late = |seconds: Duration| unreachable(format!("nothing within {} s", seconds.as_secs()));
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await.map_err(|_| late(CONNECT_TIMEOUT))?;
    let stream = connected.map_err(|error| unreachable(error.to_string()))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(error.to_string()))?;
    // Ends with the connection; its error comes back through the request.
    #[expect(clippy::disallowed_methods, reason = "it ends with the connection")]
    tokio::spawn(async move { drop(connection.await) });
    let answered = timeout(patience, sender.send_request(request.map(|body| body.boxed_unsync()))).await;
    answered.map_err(|_| late(patience))?.map_err(|error| unreachable(error.to_string()))
}

fn broken_off(error: axum::Error) -> Failure {
    Failure::failed(format!("the answer broke off: {error}"), "")
}

fn refused(status: StatusCode, body: &str) -> Failure {
    let answer: Json = serde_json::from_str(body).unwrap_or_default();
    let word = |key: &str| answer.pointer(&format!("/error/{key}")).and_then(Json::as_str).unwrap_or_default().to_owned();
    let message = if word("message").is_empty() { format!("the host answers {status}") } else { word("message") };
    Failure::failed(message, word("cure"))
}
