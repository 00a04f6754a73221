//! The named networks through Wasm and the whole host: the same complaint on each, judged by the same table, answered where it stands.

use std::time::{SystemTime, UNIX_EPOCH};

use membrana_world::{Discourse, Meta, PAGE, Shape, US, X};

use crate::harness::{Host, eventually, text};

const COMPLAINT: &str = "my parcel never came and nobody answers. This is a terrible service and I am very angry.";
const ANSWER: &str = "We are sorry. We are on it.";

fn config(x: &X, meta: &Meta, forum: &Discourse) -> String {
    let channel = |name: &str, plugin: &str, url: &str, config: &str, secrets: &str, more: &str| {
        format!(
            "[[channel]]\nname = \"{name}\"\nplugin = \"{plugin}\"\npoll = \"1s\"\nconfig = {{ base_url = \"{url}\", {config} }}\nsecrets = {{ {secrets} }}\ngrant = {{ http = [\"{url}\"] }}\n{more}"
        )
    };
    let file = |key: &str| format!("{key} = {{ file = \"{key}\" }}");
    [
        channel("acme-x", "x", &x.url(), "first_fetch = \"skip\"", &[file("app_token"), file("user_token")].join(", "), ""),
        channel(
            "acme-page",
            "facebook",
            &meta.url(),
            &format!("page = \"{PAGE}\""),
            &[file("page_token"), file("app_secret"), file("verify_token")].join(", "),
            "ingress = { verify = \"meta\" }\n",
        ),
        channel("acme-forum", "discourse", &forum.url(), "username = \"acme\"", &file("api_key"), ""),
        "[[analyzer]]\nname = \"language\"\nplugin = \"language\"\n[[analyzer]]\nname = \"sentiment\"\nplugin = \"sentiment\"\nafter = [\"language\"]\n[[rule]]\nname = \"impact\"\nplugin = \"impact-table\"\nconfig = { table_file = \"impact.toml\" }\n[[team]]\nname = \"support\"\n".to_owned(),
    ]
    .concat()
}

fn table() -> String {
    format!(
        "[[row]]\nname = \"complaint\"\nwhen = {{ sentiment = {{ max = -0.2 }} }}\nresponsible = \"support\"\nwithin = \"2h\"\nreply = {{ mode = \"send\", text = {{ en = \"{ANSWER}\" }} }}\n[[row]]\nname = \"everything else\"\n"
    )
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_complaint_is_answered_on_every_network_by_the_same_table() {
    // given
    let (x, meta) = (X::start("app", "user", now_ms()).await.unwrap(), Meta::start("page", "app-secret").await.unwrap());
    let forum = Discourse::start("key", "acme").await.unwrap();
    let news = meta.post(US, "Our new parcel shop is open.");
    let mut host = Host::new(&config(&x, &meta, &forum), &table());
    for (name, secret) in [
        ("app_token", "app"),
        ("user_token", "user"),
        ("page_token", "page"),
        ("app_secret", "app-secret"),
        ("verify_token", "v"),
        ("api_key", "key"),
    ] {
        host.write(name, secret);
    }
    host.start().await;
    host.until(&["channel", "list"], |all| all.iter().all(|channel| text(channel, "/state") == "connected")).await;

    // when; the Page's clock stands where it was set
    meta.advance((now_ms() + 1000).saturating_sub(meta.now()));
    let tweet = x.say("ann", &format!("@acme {COMPLAINT}"), None);
    let comment = meta.comment("Ann", &news, COMPLAINT);
    let topic = forum.open("ann", "Where is my parcel?", COMPLAINT);
    let sent = host.until(&["outbox", "list"], |all| all.len() == 3 && all.iter().all(|action| text(action, "/state") == "sent")).await;

    // then
    assert_eq!(sent.iter().map(|action| text(action, "/text")).collect::<Vec<_>>(), [ANSWER; 3]);
    assert_eq!(x.answers(&tweet).len(), 1, "X");
    assert_eq!(meta.answers(&comment), [ANSWER], "the Page");
    let own = forum.own();
    assert!(own.len() == 1 && own[0].topic == topic.id, "the forum: {own:?}");
    let all = host.list(&["interaction", "list"]);
    let decided = |channel: &str| all.iter().filter(|one| text(one, "/channel") == channel && text(one, "/decisions/0/row") == "complaint").count();
    assert_eq!(["acme-x", "acme-page", "acme-forum"].map(decided), [1, 1, 1], "{all:#?}");

    // The webhook tells of the comment again, and what the company said comes back: neither is news.
    let n_before = all.len();
    for answer in meta.deliver(host.address, "/hooks/acme-page", Shape::Nested).await.unwrap() {
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let is_read = async || {
        host.list(&["channel", "list"]).iter().all(|channel| channel.pointer("/behind/intake").and_then(serde_json::Value::as_u64) == Some(0))
    };
    assert!(eventually(is_read).await, "{}", host.log());
    let others = host
        .list(&["interaction", "list"])
        .iter()
        .filter(|one| text(one, "/channel") == "acme-page" && one.pointer("/own") != Some(&true.into()))
        .count();
    assert_eq!(others, 1, "{n_before}");
    assert_eq!((host.list(&["outbox", "list"]).len(), host.list(&["dead", "list"]).len()), (3, 0));
    assert_eq!(host.stop(), Some(0));
}
