//! The named networks through Wasm and the whole host: the same complaint on each, judged by the same table, answered where it stands.

use std::time::{SystemTime, UNIX_EPOCH};

use membrana_world::{ACCOUNT, Discourse, Meta, PAGE, Shape, US, X};

use crate::harness::{Host, eventually, text};

const COMPLAINT: &str = "my parcel never came and nobody answers. This is a terrible service and I am very angry.";
const ANSWER: &str = "We are sorry. We are on it.";

const REST: &str = "[[analyzer]]\nname = \"language\"\nplugin = \"language\"\n[[analyzer]]\nname = \"sentiment\"\nplugin = \"sentiment\"\nafter = [\"language\"]\n[[rule]]\nname = \"impact\"\nplugin = \"impact-table\"\nconfig = { table_file = \"impact.toml\" }\n[[team]]\nname = \"support\"\n";

fn config(x: &X, meta: &Meta, forum: &Discourse) -> String {
    let channel = |name: &str, plugin: &str, url: &str, config: &str, secrets: &str, more: &str| {
        format!(
            "[[channel]]\nname = \"{name}\"\nplugin = \"{plugin}\"\npoll = \"1s\"\nconfig = {{ base_url = \"{url}\", {config} }}\nsecrets = {{ {secrets} }}\ngrant = {{ http = [\"{url}\"] }}\n{more}"
        )
    };
    let file = |key: &str| format!("{key} = {{ file = \"{key}\" }}");
    let (of_meta, hooks) = (["page_token", "app_secret", "verify_token"].map(file).join(", "), "ingress = { verify = \"meta\" }\n");
    [
        channel("acme-x", "x", &x.url(), "first_fetch = \"skip\"", &[file("app_token"), file("user_token")].join(", "), ""),
        channel("acme-page", "facebook", &meta.url(), &format!("page = \"{PAGE}\""), &of_meta, hooks),
        channel("acme-ig", "instagram", &meta.url(), &format!("account = \"{ACCOUNT}\", page = \"{PAGE}\""), &of_meta, hooks),
        channel("acme-forum", "discourse", &forum.url(), "username = \"acme\"", &file("api_key"), ""),
        REST.to_owned(),
    ]
    .concat()
}

fn table() -> String {
    format!(
        "[[row]]\nname = \"complaint\"\nwhen = {{ sentiment = {{ max = -0.2 }} }}\nresponsible = \"support\"\nwithin = \"2h\"\nreply = {{ mode = \"send\", text = {{ en = \"{ANSWER}\" }} }}\n[[row]]\nname = \"everything else\"\n"
    )
}

pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_complaint_is_answered_on_every_network_by_the_same_table() {
    // given
    let (x, meta) = (X::start("app", "user", now_ms()).await.unwrap(), Meta::start("page", "app-secret").await.unwrap());
    let forum = Discourse::start("key", "acme").await.unwrap();
    let (news, medium) = (meta.post(US, "Our new parcel shop is open."), meta.medium("Our new parcel shop"));
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
    let under_picture = meta.comment("ann", &medium, COMPLAINT);
    let topic = forum.open("ann", "Where is my parcel?", COMPLAINT);
    let sent = host.until(&["outbox", "list"], |all| all.len() == 4 && all.iter().all(|action| text(action, "/state") == "sent")).await;

    // then
    assert_eq!(sent.iter().map(|action| text(action, "/text")).collect::<Vec<_>>(), [ANSWER; 4]);
    assert_eq!(x.answers(&tweet).len(), 1, "X");
    assert_eq!(meta.answers(&comment), [ANSWER], "the Page");
    assert_eq!(meta.answers(&under_picture), [ANSWER], "Instagram");
    let own = forum.own();
    assert!(own.len() == 1 && own[0].topic == topic.id, "the forum: {own:?}");
    let all = host.list(&["interaction", "list"]);
    let decided = |channel: &str| all.iter().filter(|one| text(one, "/channel") == channel && text(one, "/decisions/0/row") == "complaint").count();
    assert_eq!(["acme-x", "acme-page", "acme-ig", "acme-forum"].map(decided), [1; 4], "{all:#?}");

    // The webhooks tell of the comments again, and what the company said comes back: neither is news.
    for answer in meta.deliver(host.address, "/hooks/acme-page", Shape::Nested).await.unwrap() {
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let is_read = async || {
        host.list(&["channel", "list"]).iter().all(|channel| channel.pointer("/behind/intake").and_then(serde_json::Value::as_u64) == Some(0))
    };
    assert!(eventually(is_read).await, "{}", host.log());
    let all = host.list(&["interaction", "list"]);
    let others = |channel: &str| all.iter().filter(|one| text(one, "/channel") == channel && one.pointer("/own") != Some(&true.into())).count();
    assert_eq!(["acme-x", "acme-page", "acme-ig", "acme-forum"].map(others), [1; 4], "{all:#?}");
    assert_eq!((host.list(&["outbox", "list"]).len(), host.list(&["dead", "list"]).len()), (4, 0));
    assert_eq!(host.stop(), Some(0));
}

fn metered(x: &X, budget: &str) -> String {
    let url = x.url();
    format!(
        "[[channel]]\nname = \"acme-x\"\nplugin = \"x\"\npoll = \"1s\"\nconfig = {{ base_url = \"{url}\" }}\nsecrets = {{ app_token = {{ file = \"app\" }}, user_token = {{ file = \"user\" }} }}\ngrant = {{ http = [\"{url}\"] }}\nbudget = {{ {budget} }}\n{REST}"
    )
}

/// A host on X with this budget, a mention that came in, and the id of the draft that answers it.
async fn drafted(x: &X, budget: &str, reply: &str) -> (Host, String, String) {
    let mut host = Host::new(&metered(x, budget), &table().replace("mode = \"send\"", reply));
    host.write("app", "app");
    host.write("user", "user");
    host.start().await;
    host.until(&["channel", "list"], |all| text(&all[0], "/state") == "connected").await;
    let mention = x.say("ann", &format!("@acme {COMPLAINT}"), None);
    let drafts = host.until(&["outbox", "list"], |all| all.len() == 1).await;
    let draft = text(&drafts[0], "/id").to_owned();
    (host, mention, draft)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_is_warned_of_stops_the_channel_and_what_waits_goes_out_when_it_is_raised() {
    // given
    let x = X::start("app", "user", now_ms()).await.unwrap();
    let (mut host, mention, draft) = drafted(&x, "calls = 10", "mode = \"draft\", review = [\"support\"]").await;

    // when: the polls spend it
    let spent = host.until(&["channel", "list"], |all| !text(&all[0], "/budget/resumes_at").is_empty()).await;
    let n_calls = x.ledger().calls().len();
    assert!(host.cli(&["outbox", "approve", &draft, "--as", "support"]).status.success());
    host.until(&["outbox", "list"], |all| text(&all[0], "/state") == "retry").await;

    // then: no call goes out, and it says until when
    assert_eq!((n_calls, x.ledger().calls().len(), x.answers(&mention).len()), (10, 10, 0));
    assert_eq!(spent[0]["budget"]["calls"], serde_json::json!({ "spent": 10, "of": 10 }), "{spent:#?}");
    assert!(text(&spent[0], "/budget/resumes_at").contains("T00:00:00"), "{spent:#?}");
    assert_eq!(host.log().matches("80 % of the day's budget is spent.").count(), 1, "{}", host.log());

    host.configure(&metered(&x, "calls = 10000"));
    host.signal("HUP");
    host.until(&["outbox", "list"], |all| text(&all[0], "/state") == "sent").await;
    assert_eq!(x.answers(&mention).len(), 1);
    let late = x.say("bob", &format!("@acme {COMPLAINT}"), None);
    host.until(&["interaction", "list"], |all| all.iter().any(|one| text(one, "/native/id") == late)).await;
    assert!(host.list(&["channel", "list"])[0]["budget"]["resumes_at"].is_null());
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_surely_too_long_is_refused_to_whoever_approves_it() {
    let x = X::start("app", "user", now_ms()).await.unwrap();
    let (host, mention, draft) = drafted(&x, "calls = 10000", "mode = \"draft\"").await;
    let approve = |text_of_it: &str| host.cli(&["outbox", "approve", &draft, "--text", text_of_it]);

    let refused = approve(&"so sorry ".repeat(40));

    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("this network takes 280") && said.contains("--text"), "{said}");
    assert_eq!(text(&host.list(&["outbox", "list"])[0], "/state"), "awaiting-approval", "it waits for a shorter one");
    assert!(approve("So sorry!").status.success());
    host.until(&["outbox", "list"], |all| text(&all[0], "/state") == "sent").await;
    assert_eq!(x.answers(&mention).len(), 1);
}
