//! A network that pushes over a connection: what comes by it, what is said while it is down, and that it comes back.

use std::time::{SystemTime, UNIX_EPOCH};

use membrana_world::X;

use crate::harness::{Host, eventually, text};

fn config(x: &X) -> String {
    let url = x.url();
    format!(
        "[[channel]]\nname = \"acme-x\"\nplugin = \"x\"\npoll = \"1h\"\nconfig = {{ base_url = \"{url}\", stream = true, rules = [\"acme\"] }}\n\
         secrets = {{ app_token = {{ file = \"app_token\" }}, user_token = {{ file = \"user_token\" }} }}\ngrant = {{ http = [\"{url}\"] }}\n"
    )
}

fn n_connects(x: &X) -> usize {
    x.ledger().asked("GET /2/tweets/search/stream?").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_stream_tells_and_what_is_said_while_it_is_down_both_arrive_once() {
    // given
    let now_ms = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let x = X::start("app", "user", now_ms).await.unwrap();
    let mut host = Host::new(&config(&x), "");
    host.write("app_token", "app");
    host.write("user_token", "user");
    host.start().await;
    let is_open = async || n_connects(&x) == 1 && x.rules() == [("acme".to_owned(), "membrana".to_owned())];
    assert!(eventually(is_open).await, "{}", host.log());
    // The catch-up poll that follows a connection comes before anything is said.
    let is_caught_up = async || x.ledger().asked("GET /2/users/1/mentions").len() + x.ledger().asked("GET /2/users/").len() >= 2;
    assert!(eventually(is_caught_up).await, "{:?}", x.ledger().calls());

    // when; polls come once an hour: only the stream can have brought it
    x.say("ann", "acme by stream", None);
    x.stream_line("not json");
    let first = host.until(&["interaction", "list"], |all| all.len() == 1).await;
    x.cut_stream();
    x.say("bob", "@acme said while nobody listened", None);
    let is_back = async || n_connects(&x) == 2;
    assert!(eventually(is_back).await, "{}", host.log());
    x.say("cleo", "acme once more", None);
    let all = host.until(&["interaction", "list"], |all| all.len() >= 3).await;

    // then
    assert_eq!(text(&first[0], "/text"), "acme by stream");
    let mut texts: Vec<&str> = all.iter().map(|one| text(one, "/text")).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["@acme said while nobody listened", "acme by stream", "acme once more"]);
    assert_eq!(host.list(&["dead", "list"]).len(), 1, "the frame that is no JSON is kept, and is in nobody's way");
    assert_eq!(text(&host.list(&["channel", "list"])[0], "/state"), "connected");
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_refused_degrades_the_channel_and_polls_go_on() {
    // given
    let now_ms = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let x = X::start("app", "user", now_ms).await.unwrap();
    x.limit("GET /2/tweets/search/stream", 0);
    let mut host = Host::new(&config(&x).replace("\"1h\"", "\"1s\""), "");
    host.write("app_token", "app");
    host.write("user_token", "user");

    // when
    host.start().await;
    host.until(&["channel", "list"], |all| text(&all[0], "/state") == "degraded").await;
    x.say("ann", "@acme by poll", None);

    // then
    host.until(&["interaction", "list"], |all| all.len() == 1).await;
    let channel = &host.list(&["channel", "list"])[0];
    assert_eq!(
        (text(channel, "/state"), text(channel, "/reason")),
        ("degraded", "no stream: rate-limited (stream-refused): the network answers 429")
    );
    assert_eq!(host.stop(), Some(0));
}
