//! Webhooks: believed only when signed, durable before the answer, once each.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use membrana_world::{Dress, Shop, call};

use crate::harness::{Host, SECRET, text};

pub(crate) const CONFIG: &str = r#"
[[channel]]
name = "shop"
plugin = "touchpoint"
config = { kind = "checkin", id = "/id", text = "/note" }
ingress = { verify = "standard-webhooks" }
secrets = { webhook = { env = "SECRET" } }
[[rule]]
name = "impact"
plugin = "impact-table"
config = { table_file = "impact.toml" }
[[team]]
name = "shops"
"#;

pub(crate) const TABLE: &str =
    "[[row]]\nname = \"check-in\"\nwhen = { kind = [\"checkin\"] }\nresponsible = \"shops\"\nwithin = \"1d\"\n[[row]]\nname = \"everything else\"\n";

pub(crate) fn shop(host: &Host) -> Shop {
    Shop { address: host.address, path: "/hooks/shop".to_owned(), secret: SECRET.to_owned() }
}

/// Sends one byte more than a webhook may have, and no more: who sends on may miss the answer. Gives the status.
fn oversized(address: SocketAddr, path: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let body = "x".repeat(membrana::ingress::BODY_BYTES_MAX + 1);
    stream.write_all(format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 99000000\r\n\r\n{body}").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in {line:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_signed_right_and_new_has_an_effect() {
    let mut host = Host::new(CONFIG, TABLE);
    host.start().await;
    let shop = shop(&host);
    let body = r#"{"id":"order-1","note":"Where is my parcel?"}"#;
    for (dress, status) in [(Dress::Wrong, 401), (Dress::Missing, 401), (Dress::Stale, 401), (Dress::Right, 202)] {
        assert_eq!(shop.post("evt-1", dress, body).await.unwrap().status, status, "{dress:?}");
    }
    // Another order under the same event's id: nothing but the window of ids can hold it back.
    assert_eq!(shop.post("evt-1", Dress::Right, r#"{"id":"order-2","note":"Another one"}"#).await.unwrap().status, 202);
    assert_eq!(shop.post("evt-2", Dress::Right, r#"{"id":"order-3","note":"The last one"}"#).await.unwrap().status, 202);
    let is_decided = |all: &[serde_json::Value]| all.len() >= 2 && all.iter().all(|one| text(one, "/decisions/0/row") == "check-in");
    let all = host.until(&["interaction", "list"], is_decided).await;
    let mut ids: Vec<&str> = all.iter().map(|one| text(one, "/native/id")).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["order-1", "order-3"]);

    assert_eq!(oversized(host.address, "/hooks/shop"), 413);
    assert_eq!(call(host.address, "POST", "/hooks/nobody", &[], b"{}").await.unwrap().status, 404);
    assert_eq!(call(host.address, "GET", "/hooks/shop", &[], b"").await.unwrap().status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_understood_is_set_aside_alone_and_can_be_driven_again() {
    let mut host = Host::new(CONFIG, TABLE);
    host.start().await;
    let shop = shop(&host);
    for (n, body) in ["{\"id\":1}", "nonsense", "{\"no\":\"id\"}", "{\"id\":2}"].into_iter().enumerate() {
        assert_eq!(shop.post(&format!("evt-{n}"), Dress::Right, body).await.unwrap().status, 202);
    }
    host.until(&["interaction", "list"], |all| all.len() == 2).await;
    let dead = host.until(&["dead", "list"], |dead| dead.len() == 2).await;
    assert!(dead.iter().any(|letter| text(letter, "/reason").contains("no id at `/id`")), "{dead:?}");

    // The admin mends the mapping, and drives it again.
    host.configure(&CONFIG.replace("id = \"/id\"", "id = \"/no\""));
    host.signal("HUP");
    assert!(crate::harness::eventually(async || host.log().contains("is in force")).await, "{}", host.log());
    let letter = dead.iter().find(|letter| text(letter, "/reason").contains("no id")).unwrap();
    let redriven = host.cli(&["dead", "redrive", text(letter, "/id")]);
    assert!(redriven.status.success(), "{}", String::from_utf8_lossy(&redriven.stderr));
    host.until(&["interaction", "list"], |all| all.iter().any(|one| text(one, "/native/id") == "id")).await;
    host.until(&["dead", "list"], |dead| dead.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_closed_to_other_sites_and_describes_itself() {
    let mut host = Host::new(CONFIG, TABLE);
    host.start().await;
    let get = async |path: &str, headers: &[(&str, &str)]| call(host.address, "GET", path, headers, b"").await.unwrap();
    assert_eq!(get("/healthz", &[]).await.status, 200);
    assert!(get("/api/v1/openapi.json", &[]).await.body.contains("\"3.1.0\""));
    assert!(get("/metrics", &[]).await.body.contains("# EOF"));
    assert_eq!(get("/api/v1/status", &[("origin", "https://evil.example")]).await.status, 403);
    assert_eq!(get("/api/v1/interactions/xyz", &[]).await.status, 400);
    let unknown = get(&format!("/api/v1/tasks/{}", "0".repeat(32)), &[]).await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("task list"), "the next step is named: {}", unknown.body);
}
