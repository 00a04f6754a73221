//! The door against a resolver that lies and servers that do: what is not granted gets no connection at all.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;

/// Names and what they resolve to, one answer a time; the last one stays.
#[derive(Default)]
struct Lying(Mutex<BTreeMap<String, VecDeque<Vec<IpAddr>>>>);

#[async_trait]
impl Resolver for Lying {
    async fn resolve(&self, host: &str, _port: u16) -> std::io::Result<Vec<IpAddr>> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = names.get_mut(host).ok_or(std::io::ErrorKind::NotFound)?;
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Ok(answer.unwrap_or_default())
    }
}

/// What a server does with a connection.
#[derive(Clone, Copy)]
enum Manner {
    /// Says this after the end of the request's head.
    Says(&'static str),
    /// Sends the request's head back.
    Echoes,
    /// Announces this many bytes, or sends them in chunks.
    Floods { bytes: usize, is_chunked: bool },
    /// Never says a word.
    Silent,
    /// One byte at a time, for ever.
    Drips,
    /// Repeats every line, like a confused mail server.
    Parrots,
}

/// A server on loopback that counts who came.
struct Server {
    address: SocketAddr,
    n_came: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, n_came, mut tasks) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)), JoinSet::new());
        let counted = Arc::clone(&n_came);
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                served.spawn(serve(stream, manner));
            }
        });
        Self { address, n_came, _tasks: tasks }
    }

    fn came(&self) -> usize {
        self.n_came.load(Ordering::SeqCst)
    }

    fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/", self.address.port())
    }
}

async fn serve(mut stream: TcpStream, manner: Manner) {
    let mut seen = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        seen.push(byte);
        if let (Manner::Parrots, b'\n') = (manner, byte) {
            drop(stream.write_all(&std::mem::take(&mut seen)).await);
        }
        if seen.ends_with(b"\r\n\r\n") {
            answer(&mut stream, manner, &String::from_utf8_lossy(&seen)).await;
            seen.clear();
        }
    }
}

async fn answer(stream: &mut TcpStream, manner: Manner, head: &str) {
    let text = match manner {
        Manner::Says(text) => text.to_owned(),
        Manner::Echoes => format!("HTTP/1.1 200 OK\r\nx-seen: {}\r\ncontent-length: {}\r\n\r\n{head}", head.len(), head.len()),
        Manner::Floods { bytes, is_chunked: false } => format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n{}", "x".repeat(bytes)),
        Manner::Floods { bytes, is_chunked: true } => {
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x1_0000));
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(bytes / 0x1_0000))
        }
        Manner::Silent | Manner::Parrots => String::new(),
        Manner::Drips => {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await);
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            String::new()
        }
    };
    drop(stream.write_all(text.as_bytes()).await);
}

/// A door to these, with the token `t0psecret` for `a.example`.
fn door(server: &Server, http: &[&str], private: &[&str], names: &[(&str, &[&str])]) -> Arc<Door> {
    let port = server.address.port();
    let resolver = Lying::default();
    for (name, answers) in names {
        let parsed = answers.iter().map(|list| list.split(' ').map(|address| address.parse().unwrap()).collect());
        resolver.0.lock().unwrap().insert((*name).to_owned(), parsed.collect());
    }
    let grants =
        |hosts: &[&str]| -> Vec<HttpGrant> { hosts.iter().map(|host| HttpGrant::parse(&format!("http://{host}:{port}")).unwrap()).collect() };
    let token = Credential::plain("token", vec![Secret::new("t0psecret")], Inject::Bearer, grants(&["a.example"]), Vec::new());
    let endpoint = HostPort::parse(&format!("a.example:{port}")).unwrap();
    let password =
        Credential { name: "password".to_owned(), inject: Inject::Write, origins: Vec::new(), endpoints: vec![endpoint.clone()], ..token.clone() };
    let config = DoorConfig {
        http: grants(http),
        net: vec![endpoint, HostPort::parse(&format!("b.example:{port}")).unwrap()],
        private: private.iter().map(|range| Cidr::parse(range).unwrap()).collect(),
        credentials: vec![token, password],
        ..DoorConfig::default()
    };
    Arc::new(Egress::new(&[], Arc::new(resolver)).unwrap().door(config))
}

const LOOPBACK: &[&str] = &["127.0.0.0/8"];
const SOON: Duration = Duration::from_secs(5);

fn get(url: String) -> HttpRequest {
    HttpRequest { method: "GET".to_owned(), url, headers: Vec::new(), body: Vec::new(), auth: None, timeout: Some(SOON) }
}

#[tokio::test]
async fn no_form_of_an_address_reaches_what_is_not_granted() {
    let server = Server::start(Manner::Says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    let names: [(&str, &[&str]); 6] = [
        ("a.example", &["127.0.0.1"]),
        ("mapped.example", &["::ffff:127.0.0.1"]),
        ("nat64.example", &["64:ff9b::7f00:1"]),
        ("sixtofour.example", &["2002:7f00:1::"]),
        ("mixed.example", &["93.184.216.34 127.0.0.1"]),
        ("meta.example", &["169.254.169.254"]),
    ];
    let granted: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    let door = door(&server, &granted, &[], &names);

    for host in &granted {
        let refused = door.http(get(server.url(host))).await;
        assert!(matches!(&refused, Err(HttpError::Denied(why)) if why.contains("not public")), "{host}: {refused:?}");
    }
    let forms = ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]", "[::1]", "localhost", "a.example@127.0.0.1"];
    for host in forms {
        let refused = door.http(get(server.url(host))).await;
        assert!(matches!(refused, Err(HttpError::Denied(_))), "{host}: {refused:?}");
    }
    for host in ["127.0.0.1", "2130706433", "b.example.evil", "a.example"] {
        let refused = door.connect(host, server.address.port(), Security::Plain, SOON).await;
        assert!(matches!(refused, Err(NetError::Denied(_))), "{host}");
    }

    assert_eq!(server.came(), 0);
}

#[tokio::test]
async fn a_name_that_moves_after_its_check_is_checked_again() {
    let server = Server::start(Manner::Says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")).await;
    let door = door(&server, &["a.example"], &["127.0.0.1/32"], &[("a.example", &["127.0.0.1", "127.0.0.2"])]);

    assert_eq!(door.http(get(server.url("a.example"))).await.unwrap().status, 200);
    let refused = door.http(get(server.url("a.example"))).await;

    assert!(matches!(refused, Err(HttpError::Denied(_))), "{refused:?}");
    assert_eq!(server.came(), 1);
}

#[tokio::test]
async fn every_checked_address_is_tried() {
    let server = Server::start(Manner::Says("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let door = door(&server, &["a.example"], LOOPBACK, &[("a.example", &["127.9.9.9 127.0.0.1"])]);
    assert_eq!(door.http(get(server.url("a.example"))).await.unwrap().status, 204);
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let other = Server::start(Manner::Silent).await;
    let server = Server::start(Manner::Says("HTTP/1.1 302 Found\r\nlocation: http://b.example/\r\ncontent-length: 0\r\n\r\n")).await;
    let door = door(&server, &["a.example"], LOOPBACK, &[("a.example", &["127.0.0.1"]), ("b.example", &["127.0.0.1"])]);

    let answer = door.http(get(server.url("a.example"))).await.unwrap();

    assert_eq!((answer.status, server.came(), other.came()), (302, 1, 0));
}

#[tokio::test]
async fn headers_of_the_host_are_the_host_s_own() {
    let server = Server::start(Manner::Echoes).await;
    let door = door(&server, &["a.example"], LOOPBACK, &[("a.example", &["127.0.0.1"])]);
    let mut request = get(server.url("a.example"));
    for name in ["Host", "Accept-Encoding", "Transfer-Encoding", "Proxy-Authorization", "Connection"] {
        request.headers.push((name.to_owned(), "spoofed".to_owned()));
    }

    let seen = String::from_utf8(door.http(request.clone()).await.unwrap().body).unwrap();
    request.headers = vec![("x".to_owned(), "y\r\nhost: evil".to_owned())];
    let injected = door.http(request.clone()).await;
    request.headers.clear();
    request.method = "TRACE".to_owned();

    assert!(!seen.contains("spoofed") && seen.contains(&format!("host: a.example:{}", server.address.port())), "{seen}");
    assert!(matches!(injected, Err(HttpError::Protocol(_))), "{injected:?}");
    assert!(matches!(door.http(request).await, Err(HttpError::Denied(_))));
}

#[tokio::test]
async fn a_body_over_the_cap_is_refused_by_length_and_by_chunks() {
    for (bytes, is_chunked) in [(9 << 20, false), (9 << 20, true)] {
        let server = Server::start(Manner::Floods { bytes, is_chunked }).await;
        let door = door(&server, &["a.example"], LOOPBACK, &[("a.example", &["127.0.0.1"])]);
        assert_eq!(door.http(get(server.url("a.example"))).await, Err(HttpError::TooLarge(8 << 20)));
    }
}

#[tokio::test]
async fn a_server_that_is_silent_or_drips_costs_its_time_and_no_more() {
    for manner in [Manner::Silent, Manner::Drips] {
        let server = Server::start(manner).await;
        let door = door(&server, &["a.example"], LOOPBACK, &[("a.example", &["127.0.0.1"])]);
        let request = HttpRequest { timeout: Some(Duration::from_millis(200)), ..get(server.url("a.example")) };
        assert_eq!(door.http(request).await, Err(HttpError::Timeout));
    }
}

#[tokio::test]
async fn what_was_never_written_is_no_timeout() {
    // given
    let server = Server::start(Manner::Silent).await;
    let port = server.address.port();
    let grants = ["http", "https"].map(|scheme| HttpGrant::parse(&format!("{scheme}://127.0.0.1:{port}")).unwrap());
    let door = Egress::new(&[], Arc::new(SystemResolver)).unwrap().door(DoorConfig { http: grants.to_vec(), ..DoorConfig::default() });
    let ask = |scheme: &str| HttpRequest {
        method: "POST".to_owned(),
        timeout: Some(Duration::from_millis(200)),
        ..get(format!("{scheme}://127.0.0.1:{port}/"))
    };

    // when
    let no_handshake = door.http(ask("https")).await;
    let others = door.connections.acquire_many(u32::try_from(CONNECTIONS_MAX).unwrap()).await.unwrap();
    let no_place = door.http(ask("http")).await;
    drop(others);
    let no_answer = door.http(ask("http")).await;

    // then
    assert!(matches!(&no_handshake, Err(HttpError::Tls(why)) if why.contains("in time")), "{no_handshake:?}");
    assert!(matches!(&no_place, Err(HttpError::Connect(why)) if why.contains("stayed in use")), "{no_place:?}");
    assert_eq!((no_answer, server.came()), (Err(HttpError::Timeout), 2));
}

#[tokio::test]
async fn a_credential_goes_to_its_host_alone_and_does_not_come_back() {
    let server = Server::start(Manner::Echoes).await;
    let door = door(&server, &["a.example", "b.example"], LOOPBACK, &[("a.example", &["127.0.0.1"]), ("b.example", &["127.0.0.1"])]);
    let with_token = |host| HttpRequest { auth: Some("token".to_owned()), ..get(server.url(host)) };

    let refused = door.http(with_token("b.example")).await;
    assert!(matches!(&refused, Err(HttpError::Denied(why)) if why.contains("bound")), "{refused:?}");
    assert_eq!(server.came(), 0);
    let answer = door.http(with_token("a.example")).await.unwrap();

    let seen = String::from_utf8(answer.body).unwrap();
    assert!(seen.contains("authorization: Bearer *********\r\n"), "{seen}");
    let announced = answer.headers.iter().find(|(name, _)| name == "x-seen").map(|(_, value)| value.clone());
    assert_eq!(announced, Some(seen.len().to_string()), "what was announced stays true");
}

#[tokio::test]
async fn an_echoed_password_is_masked_byte_by_byte_and_a_later_mail_is_not() {
    let server = Server::start(Manner::Parrots).await;
    let door = door(&server, &[], LOOPBACK, &[("a.example", &["127.0.0.1"]), ("b.example", &["127.0.0.1"])]);
    let port = server.address.port();
    let mut other = door.connect("b.example", port, Security::Plain, SOON).await.unwrap();
    let refused = other.write_secret(b"PASS ", "password", "raw", b"\r\n", SOON).await;
    assert!(matches!(&refused, Err(NetError::Denied(why)) if why.contains("bound")), "{refused:?}");
    let mut connection = door.connect("a.example", port, Security::Plain, SOON).await.unwrap();
    assert!(connection.write_secret(b"PASS ", "token", "raw", b"\r\n", SOON).await.is_err(), "one for HTTP is never written");

    connection.write_secret(b"PASS ", "password", "quoted", b"\r\n", SOON).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\n") {
        said.extend(connection.read(1, SOON).await.unwrap());
    }
    assert_eq!(said, b"PASS \"*********\"\r\n");

    connection.write_secret(b"AUTH PLAIN ", "password", "sasl-plain:anna", b"\r\n", SOON).await.unwrap();
    let said = connection.read(999, SOON).await.unwrap();
    assert_eq!(said, [b"AUTH PLAIN ".as_slice(), &b"*".repeat(20), b"\r\n"].concat());

    for _ in 0..2 {
        connection.write(b"NOOP\r\n", SOON).await.unwrap();
        assert_eq!(connection.read(999, SOON).await.unwrap(), b"NOOP\r\n");
    }
    connection.write(b"it is t0psecret\r\n", SOON).await.unwrap();
    assert_eq!(connection.read(999, SOON).await.unwrap(), b"it is t0psecret\r\n");
    let late = connection.write_secret(b"PASS ", "password", "raw", b"\r\n", SOON).await;
    assert!(matches!(late, Err(NetError::Denied(_))), "{late:?}");
}
