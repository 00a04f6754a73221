//! What a channel could not bring, counted and shown: kinds that nobody knows, and what came without its webhook.

use membrana_world::{Discourse, Dress, Meta, PAGE, Shape, US, X, XHook, call, sign_hex};
use serde_json::{Value as Json, json};

use crate::harness::{Host, eventually, text};

fn config(x: &X, meta: &Meta, forum: &Discourse) -> String {
    let channel = |name: &str, plugin: &str, url: &str, config: &str, secrets: &[&str], verify: &str| {
        let secrets: Vec<String> = secrets.iter().map(|key| format!("{key} = {{ file = \"{key}\" }}")).collect();
        format!(
            "[[channel]]\nname = \"{name}\"\nplugin = \"{plugin}\"\npoll = \"1h\"\nconfig = {{ base_url = \"{url}\", {config} }}\nsecrets = {{ {} }}\n\
             grant = {{ http = [\"{url}\"] }}\ningress = {{ verify = \"{verify}\" }}\n",
            secrets.join(", ")
        )
    };
    [
        channel("acme-x", "x", &x.url(), "mentions = true", &["app_token", "user_token", "webhook"], "x"),
        channel(
            "acme-page",
            "facebook",
            &meta.url(),
            &format!("page = \"{PAGE}\", first_fetch = \"import\""),
            &["page_token", "app_secret", "verify_token"],
            "meta",
        ),
        channel("acme-forum", "discourse", &forum.url(), "username = \"acme\"", &["api_key", "webhook"], "discourse"),
    ]
    .concat()
}

const SECRETS: [(&str, &str); 7] = [
    ("app_token", "app"),
    ("user_token", "user"),
    ("page_token", "page"),
    ("app_secret", "app-secret"),
    ("verify_token", "verify"),
    ("api_key", "key"),
    ("webhook", "hook-secret"),
];

async fn started(x: &X, meta: &Meta, forum: &Discourse) -> Host {
    let mut host = Host::new(&config(x, meta, forum), "[[row]]\nname = \"everything\"\n");
    SECRETS.iter().for_each(|(name, secret)| host.write(name, secret));
    host.start().await;
    host.until(&["channel", "list"], |all| all.iter().all(|channel| text(channel, "/state") == "connected")).await;
    host
}

/// What others said.
fn heard(all: &[Json]) -> usize {
    all.iter().filter(|one| one.pointer("/own") == Some(&json!(false))).count()
}

fn of<'j>(all: &'j [Json], name: &str) -> &'j Json {
    all.iter().find(|channel| text(channel, "/name") == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_nobody_knows_is_taken_counted_and_shown() {
    // given
    let now = u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let (x, meta) = (X::start("app", "user", now).await.unwrap(), Meta::start("page", "app-secret").await.unwrap());
    let forum = Discourse::start("key", "acme").await.unwrap();
    let mut host = started(&x, &meta, &forum).await;

    // when
    let hook = XHook { address: host.address, path: "/hooks/acme-x".to_owned(), secret: "hook-secret".to_owned() };
    let of_x =
        [json!({ "for_user_id": "1", "hologram_events": [{}] }).to_string(), json!({ "data": { "event_type": "telepathy.create" } }).to_string()];
    for body in &of_x {
        assert_eq!(hook.post(Dress::Right, body).await.unwrap().status, 200);
    }
    for n in 0..2 {
        let change = json!({ "field": "feed", "value": { "item": "hologram", "verb": "beam", "post_id": n } });
        let body = json!({ "object": "page", "entry": [{ "id": PAGE, "time": now / 1000, "changes": [change] }] }).to_string();
        let signature = sign_hex("app-secret", body.as_bytes());
        let answer = call(host.address, "POST", "/hooks/acme-page", &[("x-hub-signature-256", &signature)], body.as_bytes()).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    let odd = forum.other_webhook("seance", "seance_held", r#"{"seance":{"id":5}}"#, "hook-secret");
    assert_eq!(odd.post(host.address, "/hooks/acme-forum").await.unwrap().status / 100, 2);

    // then
    let kinds = |channel: &Json| -> Vec<(String, u64)> {
        let unknown = channel.pointer("/unknown").and_then(Json::as_array).cloned().unwrap_or_default();
        unknown.iter().map(|one| (text(one, "/kind").to_owned(), one["times"].as_u64().unwrap())).collect()
    };
    let all = host.until(&["channel", "list"], |all| all.iter().map(|one| kinds(one).len()).sum::<usize>() == 4).await;
    let told = |kind: &str, times| (kind.to_owned(), times);
    assert_eq!(kinds(of(&all, "acme-x")), [told("hologram_events", 1), told("telepathy.create", 1)]);
    assert_eq!(kinds(of(&all, "acme-forum")), [told("seance_held", 1)]);
    host.until(&["channel", "list"], |all| kinds(of(all, "acme-page")) == [told("page/feed/hologram/beam", 2)]).await;
    assert_eq!(host.list(&["dead", "list"]).len(), 0);
    let metrics = call(host.address, "GET", "/metrics", &[], b"").await.unwrap().body;
    assert!(metrics.contains("membrana_unknown_kinds_total{channel=\"acme-page\",kind=\"page/feed/hologram/beam\"} 2"), "{metrics}");

    // Since ever: also after the host was killed, and without one.
    host.kill();
    assert_eq!(kinds(of(&host.list(&["channel", "list"]), "acme-forum")), [told("seance_held", 1)]);
    let shown = String::from_utf8(host.cli(&["channel", "list"]).stdout).unwrap();
    assert!(shown.contains("page/feed/hologram/beam 2") && shown.contains("hologram_events 1, telepathy.create 1"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_never_came_is_found_by_the_poll_and_counted() {
    // given a Page whose clock is far behind, and a comment that its webhook told
    let now = u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let (x, meta) = (X::start("app", "user", now).await.unwrap(), Meta::start("page", "app-secret").await.unwrap());
    let forum = Discourse::start("key", "acme").await.unwrap();
    meta.advance((now - 3_600_000).saturating_sub(meta.now()));
    let mut host = started(&x, &meta, &forum).await;
    let news = meta.post(US, "Our new parcel shop is open.");
    meta.comment("Ann", &news, "Where is it?");
    let deliver = async |n: usize| {
        for answer in meta.deliver(host.address, "/hooks/acme-page", Shape::Nested).await.unwrap() {
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        host.until(&["interaction", "list"], |all| heard(all) == n).await;
    };
    deliver(1).await;

    // when one is lost on its way, and one comes
    meta.advance(60_000);
    meta.comment("Bob", &news, "Nobody told you of this.");
    meta.forget();
    meta.advance(60_000);
    meta.comment("Cleo", &news, "But of this.");
    deliver(2).await;
    let polled = host.cli(&["channel", "poll", "acme-page"]);
    assert!(polled.status.success(), "{}", String::from_utf8_lossy(&polled.stderr));

    // then
    let all = host.until(&["channel", "list"], |all| of(all, "acme-page").pointer("/gaps/filled/times") == Some(&json!(1))).await;
    assert_eq!(of(&all, "acme-page").pointer("/gaps/lost"), Some(&json!([])));
    assert!(eventually(async || heard(&host.list(&["interaction", "list"])) == 3).await);
    let is_told = async || host.log().contains("Poll brought what no webhook had brought in time.");
    assert!(eventually(is_told).await, "{}", host.log());
    let metrics = call(host.address, "GET", "/metrics", &[], b"").await.unwrap().body;
    assert!(metrics.contains("membrana_gaps_total{channel=\"acme-page\",gap=\"filled\"} 1"), "{metrics}");
    assert_eq!(host.stop(), Some(0));
}
