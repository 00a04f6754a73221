//! Who may call the API and what for, and what callers may hold: tokens of three roles, guesses, slow and countless connections.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use membrana_world::{Dress, call};
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Host, text};
use crate::hooks::{CONFIG, TABLE, shop};

const ROLES: [&str; 3] = ["reader", "operator", "admin"];
/// Half-open requests at once.
const SLOW: usize = 1000;

/// A host with a token for each role, which is its name.
async fn host_with_roles() -> Host {
    let tokens: String = ROLES.iter().map(|role| format!("{role}_token = {{ file = \"{role}\" }}\n")).collect();
    let mut host = Host::new(&format!("{tokens}{CONFIG}"), TABLE);
    ROLES.iter().for_each(|role| host.write(role, role));
    host.start().await;
    host
}

async fn status(host: &Host, method: &str, path: &str, token: &str) -> u16 {
    call(host.address, method, path, &[("authorization", &format!("Bearer {token}"))], b"").await.unwrap().status
}

/// The same, as somebody at another address of this machine.
async fn status_from(host: &Host, from: &str, token: &str) -> u16 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0)).unwrap();
    let mut stream = socket.connect(host.address).await.unwrap();
    let request = format!("GET /api/v1/status HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in {answer:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_what_it_is_for_and_nothing_more() {
    let host = host_with_roles().await;
    let document = call(host.address, "GET", "/api/v1/openapi.json", &[("authorization", "Bearer reader")], b"").await.unwrap().body;
    let document: Json = serde_json::from_str(&document).unwrap();
    let mut n_asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let real: Vec<&str> = path.split('/').map(|part| if part.starts_with('{') { "0" } else { part }).collect();
        for (method, operation) in methods.as_object().unwrap() {
            let needed = ROLES.iter().position(|role| text(operation, "/description") == format!("For callers of the role {role}.")).unwrap();
            for (rank, role) in ROLES.iter().enumerate() {
                let status = status(&host, &method.to_uppercase(), &real.join("/"), role).await;
                let is_let_in = status != 401 && status != 403;
                assert_eq!(is_let_in, rank >= needed, "{role}: {method} {path}: {status}");
                n_asked += 1;
            }
        }
    }
    assert!(n_asked >= 80, "{n_asked}");
    for (method, path, needed) in [("POST", "/api/v1/plugins/shop/swap", 2), ("POST", "/api/v1/channels/shop/pause", 1), ("GET", "/metrics", 0)] {
        for (rank, role) in ROLES.iter().enumerate() {
            assert_eq!(status(&host, method, path, role).await == 403, rank < needed, "{role}: {method} {path}");
        }
    }
    let unknown = [("GET", "reader", 404), ("POST", "reader", 403), ("POST", "operator", 403), ("POST", "admin", 404)];
    for (method, role, expected) in unknown {
        assert_eq!(status(&host, method, "/api/v1/whatever", role).await, expected, "{method} {role}");
    }
    assert_eq!(status(&host, "GET", "/api/v1/status", "").await, 401);
    assert!(host.read("data/audit.log").lines().any(|line| line.contains(r#""role":"operator""#)));
    assert!(host.cli(&["channel", "resume", "shop"]).status.success(), "the command line shows the admin's");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_on_is_not_listened_to_and_nobody_else_is_held_up() {
    let host = host_with_roles().await;
    for n in 0..10 {
        assert_eq!(status(&host, "GET", "/api/v1/status", &format!("guess-{n}")).await, 401);
    }
    let shut_out = call(host.address, "GET", "/api/v1/status", &[("authorization", "Bearer admin")], b"").await.unwrap();
    assert_eq!(shut_out.status, 429, "a right token does not tell that it is one");
    assert!(shut_out.body.contains("try again in"), "{}", shut_out.body);
    assert_eq!(status_from(&host, "127.0.0.2", "admin").await, 200);
    assert_eq!(call(host.address, "GET", "/healthz", &[], b"").await.unwrap().status, 200);
    assert_eq!(shop(&host).post("evt-1", Dress::Right, r#"{"id":"1"}"#).await.unwrap().status, 202, "webhooks prove themselves in their own way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_slow_callers_hold_nobody_up_and_are_hung_up_on() {
    let mut host = Host::new(CONFIG, TABLE);
    host.start().await;
    let mut slow = Vec::with_capacity(SLOW);
    for n in 0..SLOW {
        let mut stream = TcpStream::connect(host.address).await.unwrap();
        let half = if n.is_multiple_of(2) {
            "POST /hooks/shop HTTP/1.1\r\nx-a: "
        } else {
            "POST /hooks/shop HTTP/1.1\r\nhost: a\r\ncontent-length: 900\r\n\r\n{"
        };
        stream.write_all(half.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let shop = shop(&host);
    for n in 0..200 {
        assert_eq!(shop.post(&format!("evt-{n}"), Dress::Right, &format!(r#"{{"id":"{n}"}}"#)).await.unwrap().status, 202);
    }
    host.until(&["interaction", "list"], |all| all.len() == 200).await;
    // Each is answered or not, and ends; those who hold their body back are told so.
    let mut told = 0;
    for mut stream in slow {
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "a slow caller is kept");
        told += usize::from(answer.starts_with(b"HTTP/1.1 408"));
    }
    assert!(told >= SLOW / 2, "{told}");
}

#[test]
fn tokens_that_make_no_sense_are_told_with_place_and_cure() {
    let host = Host::new("operator_token = { file = \"one\" }\n", "");
    host.write("one", "same");
    let told = host.cli(&["check"]);
    let words = String::from_utf8_lossy(&told.stderr).into_owned() + &String::from_utf8_lossy(&told.stdout);
    assert_eq!(told.status.code(), Some(3), "{words}");
    assert!(words.contains("nobody could give an admin's orders") && words.contains("membrana.toml:3:"), "{words}");

    host.configure("admin_token = { file = \"one\" }\nreader_token = { file = \"one\" }\n");
    let told = host.cli(&["check"]);
    let words = String::from_utf8_lossy(&told.stderr).into_owned() + &String::from_utf8_lossy(&told.stdout);
    assert_eq!(told.status.code(), Some(3), "{words}");
    assert!(words.contains("`reader_token` is the same as `admin_token`") && words.contains("membrana.toml:4:"), "{words}");
}
