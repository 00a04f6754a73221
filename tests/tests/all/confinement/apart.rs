//! A world of its own for one test: a process in which every address that there is leads back to this machine, so that a connection to
//! anywhere at all is seen, with the address that was dialled.
//!
//! The test runs again inside namespaces of the kernel (a user's and a network's, which need no rights), with the hostile connector, a
//! resolver that says what the test wants, and servers on a few ports that count whoever comes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use membrana::clock::Clock;
use membrana::egress::{Credential, DoorConfig, Egress, HostPort, HttpGrant, Inject, Resolver, Secret};
use membrana::model::{RawItem, RawOrigin, Timestamp};
use membrana::plugin::{Change, Engine, EngineConfig, Generation, Load, PluginState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{LIMITS, eventually, hostile, mode, note};

/// Set inside, to the hostile connector's file.
const INSIDE: &str = "MEMBRANA_TEST_APART";
const NAMESPACES: [&str; 5] = ["--user", "--map-root-user", "--net", "sh", "-c"];
const EVERYWHERE: &str = "ip link set lo up && ip route add local default dev lo && ip -6 route add local default dev lo && exec \"$0\" \"$@\"";
/// Between the fields of what the guest is asked for.
const FIELD: &str = "\u{1f}";
/// HTTP is spoken there, and where the others are, too.
pub(super) const WEB: u16 = 80;
/// Every line comes back.
pub(super) const LINES: u16 = 143;
const OTHERS: [u16; 2] = [443, 8080];
/// What may go to `granted.example` and `mail.example`; each dress of it is another text.
pub(super) const TOKEN: &str = "t0p/s3cret \"~x";
/// Names that the door opens to, and where they lead, one answer after the other; the last one stays.
const NAMES: [(&str, &[&str]); 6] = [
    ("granted.example", &["93.184.216.34"]),
    ("second.example", &["93.184.216.35"]),
    ("mail.example", &["93.184.216.36"]),
    ("rebinds-http.example", &["93.184.216.37", "127.0.0.1"]),
    ("rebinds-net.example", &["93.184.216.37", "::1"]),
    ("rebinds-stream.example", &["93.184.216.37", "169.254.169.254"]),
];
/// Likewise, but nobody may go where they lead.
pub(super) const HIDDEN: [(&str, &[&str]); 22] = [
    ("loopback.example", &["127.0.0.1"]),
    ("loopback-all.example", &["127.255.255.254"]),
    ("loopback-6.example", &["::1"]),
    ("mapped.example", &["::ffff:127.0.0.1"]),
    ("mapped-private.example", &["::ffff:10.0.0.1"]),
    ("compatible.example", &["::127.0.0.1"]),
    ("nat64.example", &["64:ff9b::7f00:1"]),
    ("nat64-metadata.example", &["64:ff9b::a9fe:a9fe"]),
    ("nat64-local.example", &["64:ff9b:1::808:808"]),
    ("six-to-four.example", &["2002:7f00:1::"]),
    ("teredo.example", &["2001:0:1::"]),
    ("metadata.example", &["169.254.169.254"]),
    ("link-local.example", &["fe80::1"]),
    ("unique-local.example", &["fd00:ec2::254"]),
    ("carrier.example", &["100.64.0.1"]),
    ("private.example", &["10.0.0.1"]),
    ("nowhere.example", &["0.0.0.0"]),
    ("nowhere-6.example", &["::"]),
    ("broadcast.example", &["255.255.255.255"]),
    ("good-then-bad.example", &["93.184.216.34 127.0.0.1"]),
    ("bad-then-good.example", &["127.0.0.1 93.184.216.34"]),
    ("good-then-bad-6.example", &["2606:4700::1111 ::ffff:169.254.169.254"]),
];

/// Runs `body` inside; outside it runs the test of this name again, inside. Skipped where the kernel does not allow it.
pub(super) fn apart(test: &str, body: impl AsyncFnOnce(Apart)) {
    if let Some(guest) = std::env::var_os(INSIDE) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(async { body(Apart::new(guest.into()).await).await });
    }
    let can = Command::new("unshare").args(NAMESPACES).args([EVERYWHERE, "true"]).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        return note(format_args!("skipped: {test} needs `unshare`, `ip` and a kernel that lets everybody have namespaces"));
    }
    let mut again = Command::new("unshare");
    again.args(NAMESPACES).arg(EVERYWHERE).arg(std::env::current_exe().unwrap());
    again.args(["--exact", &format!("confinement::exfiltration::{test}"), "--nocapture"]).env(INSIDE, hostile::connector());
    let output = again.output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complained}");
}

/// What the servers saw.
#[derive(Default)]
struct Seen {
    /// Addresses that were dialled.
    came: Mutex<Vec<SocketAddr>>,
    /// Requests, their bodies included.
    requests: Mutex<Vec<String>>,
}

/// A resolver that lies as it is told to, and remembers what it was asked.
#[derive(Default)]
struct Names {
    answers: Mutex<BTreeMap<String, VecDeque<Vec<IpAddr>>>>,
    asked: Mutex<BTreeSet<String>>,
}

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, host: &str, _port: u16) -> std::io::Result<Vec<IpAddr>> {
        self.asked.lock().unwrap().insert(host.to_owned());
        let mut names = self.answers.lock().unwrap();
        let answers = names.get_mut(&host.to_ascii_lowercase()).ok_or(std::io::ErrorKind::NotFound)?;
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Ok(answer.unwrap_or_default())
    }
}

/// The hostile connector where everything can be reached, with a door that opens to some of it.
pub(super) struct Apart {
    seen: Arc<Seen>,
    names: Arc<Names>,
    guest: Arc<Generation>,
    _engine: Arc<Engine>,
}

impl Apart {
    async fn new(guest: PathBuf) -> Self {
        let (seen, names) = (Arc::<Seen>::default(), Arc::<Names>::default());
        for port in OTHERS.into_iter().chain([WEB, LINES]) {
            let listener = TcpListener::bind(("::", port)).await.unwrap();
            tokio::spawn(listen(listener, port, Arc::clone(&seen)));
        }
        for (name, answers) in NAMES.iter().chain(&HIDDEN) {
            let parsed = answers.iter().map(|list| list.split(' ').map(|address| address.parse().unwrap()).collect());
            names.answers.lock().unwrap().insert((*name).to_owned(), parsed.collect());
        }
        let egress = Egress::new(&[], Arc::clone(&names) as Arc<dyn Resolver>).unwrap();
        let engine = Engine::new(EngineConfig { cache_dir: None, compiler: None, clock: Clock::system(), workers: 2 }).unwrap();
        let (bytes, door) = (std::fs::read(guest).unwrap().into(), Some(Arc::new(egress.door(opened()))));
        let load = Load { name: "mad".to_owned(), bytes, config: mode("out"), door, limits: LIMITS, is_apart: false };
        Self { seen, names, guest: engine.load(load).await.unwrap(), _engine: engine }
    }

    /// Sends the guest out, and gives what came of it.
    pub(super) async fn go(&self, fields: &[&str]) -> String {
        let raw = RawItem { seq: 1, received: Timestamp(0), origin: RawOrigin::Frame, body: fields.join(FIELD).into_bytes() };
        let called = self.guest.receive(PluginState::default(), Arc::new(vec![raw]), || false).await;
        match called.into_iter().next().unwrap().result.unwrap().into_iter().next() {
            Some(Change::Upsert(told)) => told.text,
            other => panic!("{other:?}"),
        }
    }

    /// GET, without a credential.
    pub(super) async fn get(&self, url: &str) -> String {
        self.go(&["http", "GET", url, "", ""]).await
    }

    /// Opens a stream that the guest asks for, as the host does, and gives its first frame, or why there is none.
    pub(super) async fn open(&self, protocol: &str, url: &str, auth: &str, headers: &[&str]) -> String {
        let cursor = [&["stream", protocol, url, auth], headers].concat().join(FIELD);
        let request = self.guest.open(PluginState::default(), Some(cursor)).await.unwrap();
        match self.guest.door().unwrap().stream(request).await {
            Ok(mut stream) => format!("{:?}", stream.next().await),
            Err(error) => error.to_string(),
        }
    }

    /// Every address that was dialled so far; the test's own call to each port is the last there, and is left out.
    pub(super) async fn dialled(&self) -> Vec<SocketAddr> {
        let ports: Vec<u16> = OTHERS.into_iter().chain([WEB, LINES]).collect();
        for port in &ports {
            let own = SocketAddr::new(IpAddr::from([127, 0, 0, 77]), *port);
            drop(TcpStream::connect(own).await.unwrap());
            let is_seen = async || self.seen.came.lock().unwrap().contains(&own);
            assert!(eventually(is_seen).await, "port {port} is deaf");
        }
        let mut came = self.seen.came.lock().unwrap();
        came.retain(|address| address.ip() != IpAddr::from([127, 0, 0, 77]));
        came.clone()
    }

    /// Every request as it came, with its body.
    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// Names that were looked up.
    pub(super) fn asked(&self) -> BTreeSet<String> {
        self.names.asked.lock().unwrap().clone()
    }
}

/// What the admin of this world grants.
fn opened() -> DoorConfig {
    let names = || NAMES.iter().chain(&HIDDEN).map(|(name, _)| name);
    let origin = |name: &str| HttpGrant::parse(&format!("http://{name}")).unwrap();
    let secret = || vec![Secret::new(TOKEN)];
    let mail = HostPort::parse(&format!("plain://mail.example:{LINES}")).unwrap();
    DoorConfig {
        http: names().map(|name| origin(name)).collect(),
        net: names().map(|name| HostPort::parse(&format!("{name}:{LINES}")).unwrap()).chain([mail.clone()]).collect(),
        credentials: vec![
            Credential::plain("token", secret(), Inject::Bearer, vec![origin("granted.example")], Vec::new()),
            Credential::plain("password", secret(), Inject::Write, Vec::new(), vec![mail]),
        ],
        ..DoorConfig::default()
    }
}

/// Every text in which a server may send the token back.
pub(super) fn dresses() -> [String; 5] {
    let (form, url) = ("t0p%2Fs3cret+%22%7Ex", "t0p%2Fs3cret%20%22~x");
    [TOKEN.to_owned(), STANDARD.encode(TOKEN), form.to_owned(), url.to_owned(), TOKEN.replace('"', "\\\"")]
}

async fn listen(listener: TcpListener, port: u16, seen: Arc<Seen>) {
    while let Ok((stream, _)) = listener.accept().await {
        let to = stream.local_addr().unwrap();
        seen.came.lock().unwrap().push(SocketAddr::new(to.ip().to_canonical(), to.port()));
        let seen = Arc::clone(&seen);
        tokio::spawn(async move { if port == LINES { parrot(stream).await } else { serve(stream, &seen).await } });
    }
}

/// Sends every line back, two bytes at a time.
async fn parrot(mut stream: TcpStream) -> std::io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.push(stream.read_u8().await?);
        if line.ends_with(b"\n") {
            for piece in std::mem::take(&mut line).chunks(2) {
                stream.write_all(piece).await?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

async fn serve(mut stream: TcpStream, seen: &Seen) -> std::io::Result<()> {
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&request).into_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        seen.requests.lock().unwrap().push(format!("{head}{}", String::from_utf8_lossy(&body)));
        let path = head.split(' ').nth(1).unwrap_or_default();
        let token = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap_or("nobody");
        for piece in answer(path, token) {
            stream.write_all(&piece).await?;
        }
        if path == "/close" {
            return Ok(());
        }
    }
}

fn answer(path: &str, token: &str) -> Vec<Vec<u8>> {
    let whole = |head: &str, body: String| vec![format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()];
    match path.rsplit_once('/').unwrap_or_default() {
        ("/moved", status) => whole(&format!("{status} Elsewhere\r\nlocation: http://other.example/"), String::new()),
        (_, "close") => whole("200 OK\r\nconnection: close", "ok".to_owned()),
        (_, "echo") => whole(&format!("200 OK\r\nx-echo: a {token} b"), format!("you are {token}, are you not")),
        (_, "dresses") => whole("200 OK", dresses().join(" and ")),
        (_, "chunks") => {
            let mut pieces = vec![b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec()];
            let text = format!("you are {token}, are you not");
            pieces.extend(text.as_bytes().chunks(3).map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()));
            pieces.push(b"0\r\n\r\n".to_vec());
            pieces
        }
        (_, "events") => vec![format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: you are {token}\n\n").into_bytes()],
        _ => whole("200 OK", "ok".to_owned()),
    }
}
