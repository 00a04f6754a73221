//! Webhooks: believed only when signed, durable before the answer, once each.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use membrana_world::sign::{Hash, hmac_base64, hmac_hex, sha256_hex, twilio};
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

/// Sends far more than a webhook may have, to the end, before it looks for an answer, as most libraries do. Gives the status.
fn oversized(address: SocketAddr, path: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let body = "x".repeat(30 * membrana::ingress::BODY_BYTES_MAX);
    stream.write_all(format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in {line:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_signed_right_and_new_has_an_effect() {
    let mut host = Host::new(CONFIG, TABLE);
    host.start().await;
    host.until(&["channel", "list"], |all| all.iter().any(|channel| text(channel, "/state") == "connected")).await;
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
    for (n, body) in ["{\"id\":1}", "nonsense", "{\"no\":\"id\"}", "{\"id\":2}", "{\"no\":\"id-2\"}"].into_iter().enumerate() {
        assert_eq!(shop.post(&format!("evt-{n}"), Dress::Right, body).await.unwrap().status, 202);
    }
    for n in 0..6 {
        let body = format!("{{\"no\":\"id-3\",\"note\":\"version {n}\"}}");
        assert_eq!(shop.post(&format!("version-{n}"), Dress::Right, &body).await.unwrap().status, 202);
    }
    host.until(&["interaction", "list"], |all| all.len() == 2).await;
    let dead = host.until(&["dead", "list"], |dead| dead.len() == 9).await;
    let newest = host.list(&["dead", "list", "--limit", "1"]);
    assert!(newest.len() == 1 && dead.iter().all(|letter| text(letter, "/at") <= text(&newest[0], "/at")), "{newest:?} of {dead:?}");
    assert!(dead.iter().any(|letter| text(letter, "/reason").contains("no id at `/id`")), "{dead:?}");
    let without = dead.iter().filter(|letter| text(letter, "/reason").contains("no id at `/id`"));
    let without = without.min_by_key(|letter| letter["subject"]["raw"].as_u64()).unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&host.cli(&["dead", "show", text(without, "/id"), "--json"]).stdout).unwrap();
    let received = text(&shown, "/received/beginning");
    assert!(received.starts_with("{\"no\":\"id") && text(&shown, "/received/from") == "webhook, POST", "{shown}");
    assert_eq!(host.cli(&["dead", "show", text(without, "/id"), "--raw"]).stdout, received.as_bytes(), "as it was received");

    // The admin mends the mapping, and drives it again.
    host.configure(&CONFIG.replace("id = \"/id\"", "id = \"/no\""));
    host.signal("HUP");
    assert!(crate::harness::eventually(async || host.log().contains("is in force")).await, "{}", host.log());
    let redriven = host.cli(&["dead", "redrive", text(without, "/id")]);
    assert!(redriven.status.success(), "{}", String::from_utf8_lossy(&redriven.stderr));
    host.until(&["interaction", "list"], |all| all.len() == 3).await;
    host.until(&["dead", "list"], |dead| dead.len() == 8).await;

    // All that are left: one is understood now, and one never will be.
    let redrive_all = |plugin: &str| {
        let done = host.cli(&["dead", "redrive", "--all", "--plugin", plugin, "--json"]);
        serde_json::from_slice::<serde_json::Value>(&done.stdout).unwrap()
    };
    for order in [&["dead", "redrive", "--all", "--plugin", "nobody"][..], &["dead", "list", "--plugin", "nobody"]] {
        let refused = host.cli(order);
        assert_eq!(refused.status.code(), Some(1), "a slip is told");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("there are: shop"), "{refused:?}");
    }
    assert_eq!(redrive_all("shop"), serde_json::json!({ "redriven": 8, "left": 0 }));
    let is_in_order = |all: &[serde_json::Value]| all.len() == 5 && all.iter().any(|one| text(one, "/text") == "version 5");
    let all = host.until(&["interaction", "list"], is_in_order).await;
    assert!(["id", "id-2"].iter().all(|id| all.iter().any(|one| text(one, "/native/id") == *id)), "{all:?}");
    host.until(&["dead", "list", "--plugin", "shop"], |dead| dead.len() == 1).await;
    let at_once = async || call(host.address, "POST", "/api/v1/dead/redrive", &[], b"").await.unwrap().body;
    let (one, other) = tokio::join!(at_once(), at_once());
    assert!(host.list(&["dead", "list"]).len() <= 1, "two at once drive each letter once: {one} {other}");
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

/// Every network that pushes, on the connector that takes any JSON. Each channel has the secret `NEW`, and `OLD` until the rotation is over.
const NETWORKS: [&str; 9] = ["x", "meta", "discourse", "linkedin", "telegram", "websub", "zammad", "twilio", "form-secret"];
const NEW: &str = "new-push-secret";
const OLD: &str = "old-push-secret";
const TOKEN: &str = "verify-token-of-ours";
const PUBLIC: &str = "https://hooks.example.org/in";
const TOPIC: &str = "https://blog.example/feed?a=1&b=2";

fn networks() -> String {
    let mut config = format!("public_url = \"{PUBLIC}/\"\n");
    for scheme in NETWORKS {
        let more = if scheme == "websub" { format!(", topics = [\"{TOPIC}\"]") } else { String::new() };
        config += &format!(
            "[[channel]]\nname = \"{scheme}\"\nplugin = \"touchpoint\"\nconfig = {{ kind = \"checkin\", id = \"/id\", text = \"/note\" }}\n\
             ingress = {{ verify = \"{scheme}\"{more} }}\n\
             secrets = {{ webhook = [{{ file = \"new\" }}, {{ file = \"old\" }}], verify_token = {{ file = \"token\" }} }}\n"
        );
    }
    config + CONFIG
}

async fn host_of_networks() -> Host {
    let mut host = Host::new("", TABLE);
    for (name, secret) in [("new", NEW), ("old", OLD), ("token", TOKEN)] {
        host.write(name, secret);
    }
    host.configure(&networks());
    host.start().await;
    host
}

/// A delivery: what follows the channel's name, its headers, its body.
struct Delivery {
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// A delivery as this network makes it with this secret.
fn delivery(scheme: &str, secret: &str) -> Delivery {
    let body = format!(r#"{{"id":"{scheme}-1890000000000000002","note":"perché?"}}"#);
    let hex = |hash| hmac_hex(hash, secret, body.as_bytes());
    let (mut path, mut form) = (String::new(), None);
    let headers = match scheme {
        "x" => vec![("X-Twitter-Webhooks-Signature", format!("sha256={}", hmac_base64(Hash::Sha256, secret, body.as_bytes())))],
        "meta" => vec![("X-Hub-Signature-256", format!("sha256={}", hex(Hash::Sha256)))],
        "discourse" => {
            vec![("X-Discourse-Event-Signature", format!("sha256={}", hex(Hash::Sha256).to_uppercase())), ("X-Discourse-Event-Id", "7".to_owned())]
        }
        "linkedin" => vec![("X-LI-Signature", hmac_hex(Hash::Sha256, secret, format!("hmacsha256={body}").as_bytes()))],
        "telegram" => vec![("X-Telegram-Bot-Api-Secret-Token", secret.to_owned())],
        "websub" => vec![("X-Hub-Signature", format!("sha512={}", hex(Hash::Sha512)))],
        "zammad" => vec![("X-Hub-Signature", format!("sha1={}", hex(Hash::Sha1)))],
        "twilio" => {
            path = format!("/caf%C3%A9/status?a=%2F&bodySHA256={}", sha256_hex(body.as_bytes()));
            vec![("X-Twilio-Signature", twilio(secret, &format!("{PUBLIC}/hooks/twilio{path}"), &[]))]
        }
        _ => {
            form = Some(format!("checkin=%7B%7D&secret={secret}"));
            Vec::new()
        }
    };
    Delivery { path, headers, body: form.unwrap_or(body) }
}

async fn deliver(host: &Host, scheme: &str, delivery: &Delivery) -> u16 {
    let headers: Vec<(&str, &str)> = delivery.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let path = format!("/hooks/{scheme}{}", delivery.path);
    call(host.address, "POST", &path, &headers, delivery.body.as_bytes()).await.unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn each_network_is_believed_by_its_own_scheme_and_nobody_else_is() {
    let mut host = host_of_networks().await;
    for scheme in NETWORKS {
        let refused = if scheme == "websub" { 202 } else { 401 };
        assert_eq!(deliver(&host, scheme, &delivery(scheme, "of-somebody-else")).await, refused, "{scheme}, a wrong secret");
        let bare = Delivery { headers: Vec::new(), body: "{}".to_owned(), path: String::new() };
        assert_eq!(deliver(&host, scheme, &bare).await, refused, "{scheme}, no proof");
        if !["telegram", "form-secret"].contains(&scheme) {
            let mut rewritten = delivery(scheme, NEW);
            rewritten.body = rewritten.body.replace("\":\"", "\": \"");
            assert_eq!(deliver(&host, scheme, &rewritten).await, refused, "{scheme}, rewritten");
        }
        assert_eq!(deliver(&host, scheme, &delivery(scheme, NEW)).await, 200, "{scheme}");
        assert_eq!(deliver(&host, scheme, &delivery(scheme, OLD)).await / 100, 2, "{scheme}, the secret before");
    }
    let fields = [("MessageSid", "SM1"), ("From", "+39 02"), ("Body", "perché? 😀 a&b=c")];
    let sms = Delivery {
        path: String::new(),
        headers: vec![
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
            ("X-Twilio-Signature", twilio(NEW, &format!("{PUBLIC}/hooks/twilio"), &fields)),
        ],
        body: "From=%2B39+02&Body=perch%C3%A9%3F%20%F0%9F%98%80+a%26b%3Dc&MessageSid=SM1".to_owned(),
    };
    assert_eq!(deliver(&host, "twilio", &sms).await, 200, "a form");
    let ping = r#"{"ping":"OK"}"#.to_owned();
    let signature = format!("sha256={}", hmac_hex(Hash::Sha256, NEW, ping.as_bytes()));
    let ping = Delivery { path: String::new(), headers: vec![("X-Discourse-Event-Signature", signature)], body: ping };
    assert_eq!(deliver(&host, "discourse", &ping).await, 200, "a ping");

    // Each was stored once by its id, the forms are no JSON and set aside, and the ping left nothing.
    let all = host.until(&["interaction", "list"], |all| all.len() >= 8).await;
    let mut channels: Vec<&str> = all.iter().map(|one| text(one, "/channel")).collect();
    channels.sort_unstable();
    assert_eq!(channels, ["discourse", "linkedin", "meta", "telegram", "twilio", "websub", "x", "zammad"]);
    let dead = host.until(&["dead", "list"], |dead| dead.len() >= 3).await;
    assert_eq!(dead.len(), 3, "two of `form-secret`, one of `twilio`: {dead:?}");
    let metrics = call(host.address, "GET", "/metrics", &[], b"").await.unwrap().body;
    assert!(metrics.contains("membrana_webhooks_refused_total{channel=\"websub\"} 3"), "{metrics}");
    let hooks: Vec<String> = host.list(&["channel", "list"]).iter().map(|channel| text(channel, "/hook").to_owned()).collect();
    assert!(hooks.contains(&format!("{PUBLIC}/hooks/linkedin")), "{hooks:?}");

    assert_eq!(host.stop(), Some(0));
    let files = files_below(&host.dir().join("data"));
    let holds = |file: &std::path::Path, part: &str| std::fs::read(file).unwrap().windows(part.len()).any(|window| window == part.as_bytes());
    assert!(files.iter().any(|file| holds(file, "checkin=%7B%7D&secret=***************")), "the form is stored, and its secret masked");
    for secret in [NEW, OLD, TOKEN, "of-somebody-else"] {
        assert!(!host.log().contains(secret), "{}", host.log());
        assert_eq!(files.iter().find(|file| holds(file, secret)), None, "`{secret}` was stored");
    }
}

fn files_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn challenges_are_answered_by_the_host_also_while_the_store_is_busy() {
    let host = host_of_networks().await;
    let asked = async |channel: &str, query: &str| {
        let answer = tokio::time::timeout(Duration::from_secs(3), call(host.address, "GET", &format!("/hooks/{channel}?{query}"), &[], b"")).await;
        let answer = answer.expect("three seconds are what networks give").unwrap();
        (answer.status, answer.body)
    };
    // Large bodies, each a file and a commit of its own, for as long as the challenges are asked.
    let (address, is_over) = (host.address, Arc::new(AtomicBool::new(false)));
    let body = format!(r#"{{"id":"1","note":"{}"}}"#, "x".repeat(900_000));
    let signature = format!("sha256={}", hmac_hex(Hash::Sha256, NEW, body.as_bytes()));
    let mut busy = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (body, signature, is_over) = (body.clone(), signature.clone(), Arc::clone(&is_over));
        busy.spawn(async move {
            let mut n_taken = 0;
            while !is_over.load(Ordering::Relaxed) {
                let answer = call(address, "POST", "/hooks/meta", &[("X-Hub-Signature-256", &signature)], body.as_bytes()).await;
                n_taken += usize::from(answer.is_ok_and(|answer| answer.status == 200));
            }
            n_taken
        });
    }
    let code = "9b4507b3-9040-4669-9ca3-6b94edb50553";
    let topic = "https%3A%2F%2Fblog.example%2Ffeed%3Fa%3D1%26b%3D2";
    for _ in 0..5 {
        let token = format!(r#"{{"response_token":"sha256={}"}}"#, hmac_base64(Hash::Sha256, NEW, code.as_bytes()));
        assert_eq!(asked("x", &format!("crc_token={code}&nonce=1")).await, (200, token));
        let answer = format!(r#"{{"challengeCode":"{code}","challengeResponse":"{}"}}"#, hmac_hex(Hash::Sha256, NEW, code.as_bytes()));
        assert_eq!(asked("linkedin", &format!("challengeCode={code}")).await, (200, answer));
        let subscribe = format!("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={TOKEN}");
        assert_eq!(asked("meta", &subscribe).await, (200, "1158201444".to_owned()));
        assert_eq!(asked("meta", &subscribe.replace(TOKEN, "guess")).await.0, 403);
        let intent = format!("hub.mode=subscribe&hub.topic={topic}&hub.challenge=abc&hub.lease_seconds=864000");
        assert_eq!(asked("websub", &intent).await, (200, "abc".to_owned()));
        assert_eq!(asked("websub", &intent.replace("feed", "other")).await.0, 404);
    }
    assert_eq!(asked("x", "crc_token=%7B%22id%22%3A1%7D").await.0, 400, "what could be a delivery is not signed");
    assert_eq!(asked("telegram", "crc_token=1").await.0, 405);
    is_over.store(true, Ordering::Relaxed);
    assert!(busy.join_all().await.into_iter().sum::<usize>() >= 8, "the store was not busy");
    assert!(host.list(&["dead", "list"]).iter().all(|letter| text(letter, "/channel") != "x"), "no plugin saw a challenge");
    assert!(!host.log().contains(TOKEN), "{}", host.log());
}

#[test]
fn what_cannot_verify_webhooks_is_told_at_once_with_place_and_cure() {
    let channel = |name: &str, ingress: &str, secrets: &str| {
        format!("[[channel]]\nname = \"{name}\"\nplugin = \"touchpoint\"\nconfig = {{ kind = \"checkin\", id = \"/id\" }}\n{ingress}\n{secrets}\n")
    };
    let secrets = "secrets = { webhook = { env = \"SECRET\" } }";
    let config = [
        channel("a", "ingress = { verify = \"metaa\" }", secrets),
        channel("b", "ingress = { verify = \"meta\" }", secrets),
        channel("c", "ingress = { verify = \"x\" }", ""),
        channel("d", "ingress = { verify = \"twilio\" }", secrets),
        channel("e", "ingress = { verify = \"websub\" }", secrets),
        channel("f", "ingress = {}", secrets),
        channel("g", "ingress = { verify = \"x\", field = \"f\" }", secrets),
    ];
    let host = Host::new(&config.concat(), TABLE);
    let output = host.cli(&["check"]);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(3), "{said}");
    for (line, message, cure) in [
        (7, "there is no scheme \"metaa\"", "did you mean \"meta\"?"),
        (13, "`b` wants the secret `verify_token` to verify webhooks with", "add to its `secrets`: verify_token = { env = \"VERIFY_TOKEN\" }"),
        (19, "`c` wants the secret `webhook` to verify webhooks with", "add secrets = { webhook = { env = \"WEBHOOK\" } }"),
        (25, "`twilio` signs the address", "public_url = \"https://hooks.example.org\""),
        (31, "`websub` takes only topics that are named", "topics = [\"https://blog.example.org/feed\"]"),
        (37, "`f` does not say how its webhooks prove themselves", "ingress = { verify = \"standard-webhooks\" }"),
        (43, "`field` is for `form-secret` alone", "leave `field` out"),
    ] {
        let place = said.lines().position(|told| told.contains(&format!("membrana.toml:{line}:")) && told.contains(message));
        let place = place.unwrap_or_else(|| panic!("line {line}, `{message}`:\n{said}"));
        let help: String = said.lines().skip(place).take(3).collect();
        assert!(help.contains(cure), "`{cure}`:\n{said}");
    }
    assert_eq!(said.matches("error:").count(), 7, "each once, and nothing else:\n{said}");
}
