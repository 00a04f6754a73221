//! Rules that ask for more than they may have, and rules that answer machines: through the whole pipeline of a built host, what goes out
//! is counted where it arrives.

use std::net::SocketAddr;
use std::sync::Mutex;

use membrana_world::{Dress, call};
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::harness::{Host, text};
use crate::hooks::{CONFIG, TABLE, shop};

const ACTIONS: [&str; 2] = ["outbox", "list"];
/// Between the fields of what the bot hears.
const FIELD: &str = "\u{1f}";
/// To one person in one conversation, in an hour.
const AUTOMATIC_MAX: usize = 3;

fn rule(mode: &str) -> String {
    format!("[[rule]]\nname = \"mad\"\nplugin = \"{}\"\nconfig = {{ mode = \"{mode}\" }}\n", hostile::rule().display())
}

/// The network of two bots: each says into it what the outbox gives it, under the name of its channel.
struct Network {
    listener: TcpListener,
    /// Who said something, in order.
    said: Arc<Mutex<Vec<String>>>,
}

impl Network {
    async fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), said: Arc::default() }
    }

    /// A bot's channel.
    fn channel(&self, name: &str) -> String {
        let (plugin, origin) = (hostile::connector().display(), format!("http://{}", self.listener.local_addr().unwrap()));
        let config = format!("config = {{ mode = \"bot\", url = \"{origin}/{name}\" }}\ngrant = {{ http = [\"{origin}\"] }}");
        format!("[[channel]]\nname = \"{name}\"\nplugin = \"{plugin}\"\n{config}\ningress = {{ verify = \"none\" }}\n")
    }

    /// From now on it answers; what one bot says the other one hears at once, where `is_across`.
    fn open(self, host: SocketAddr, is_across: bool) -> Arc<Mutex<Vec<String>>> {
        let said = Arc::clone(&self.said);
        tokio::spawn(async move {
            while let Ok((stream, _)) = self.listener.accept().await {
                tokio::spawn(serve(stream, host, is_across, Arc::clone(&self.said)));
            }
        });
        said
    }
}

async fn serve(mut stream: TcpStream, host: SocketAddr, is_across: bool, said: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let who = head.split(['/', ' ']).nth(2).unwrap_or_default().to_owned();
        let id = {
            let mut said = said.lock().unwrap();
            said.push(who.clone());
            format!("{who}-{}", said.len())
        };
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{id}", id.len()).as_bytes()).await?;
        if is_across {
            let other = if who == "a" { "b" } else { "a" };
            hear(host, other, &[&id, &who, &String::from_utf8_lossy(&body)]).await;
        }
    }
}

/// Tells a bot what was said, or what is gone.
async fn hear(host: SocketAddr, channel: &str, fields: &[&str]) {
    let told = call(host, "POST", &format!("/hooks/{channel}"), &[], fields.join(FIELD).as_bytes()).await.unwrap();
    assert_eq!(told.status, 202, "{}", told.body);
}

fn in_state<'a>(actions: &'a [Json], state: &str) -> Vec<&'a Json> {
    actions.iter().filter(|action| text(action, "/state") == state).collect()
}

/// What the rule's latest decision on the only word of the shop came to.
async fn decision(host: &Host) -> Json {
    let of_rule = |all: &[Json]| all.first().and_then(|one| one["decisions"].as_array()?.iter().find(|decision| decision["rule"] == "mad").cloned());
    let all = host.until(&["interaction", "list"], |all| of_rule(all).is_some()).await;
    of_rule(&all).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_thousand_actions_sixteen_are_taken_and_the_rest_is_told() {
    let mut host = Host::new(&format!("{}{CONFIG}", rule("many")), TABLE);
    host.start().await;
    assert_eq!(shop(&host).post("evt-1", Dress::Right, "{\"id\":1,\"note\":\"x\"}").await.unwrap().status, 202);

    let decided = decision(&host).await;

    assert_eq!(decided["actions"].as_array().map(Vec::len), Some(16), "{decided}");
    assert_eq!(decided["reasons"], serde_json::json!(["9984 more actions were refused: one decision has no more than 16"]));
    assert!(host.list(&["dead", "list"]).is_empty());
    assert_eq!(host.list(&["task", "list"]).len(), 1, "the other rule is heard");
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_granted_is_denied_each_for_itself_and_the_record_of_it_stays() {
    let mut host = Host::new(&format!("{}{CONFIG}", rule("beyond")), TABLE);
    host.start().await;
    assert_eq!(shop(&host).post("evt-1", Dress::Right, "{\"id\":1,\"note\":\"x\"}").await.unwrap().status, 202);

    let decided = decision(&host).await;

    assert_eq!(decided["actions"], serde_json::json!([]));
    let reason = |key: &str| decided["dropped"].as_array().unwrap().iter().find(|one| one["key"] == key).map(|one| text(one, "/reason").to_owned());
    for (key, expected) in [
        ("team", "there is no team `nobody`"),
        ("informed", "there is no team `nobody`"),
        ("escalation", "there is no team `nobody`"),
        ("reviewer", "there is no team `nobody`"),
        ("elsewhere", "unknown field `channel`"),
        ("post", "actions of kind `post` are not known to this host"),
        ("sink", "actions of kind `sink` are not known to this host"),
        ("reply", "this channel cannot carry a reply; its text goes with the task"),
    ] {
        assert!(reason(key).is_some_and(|reason| reason.contains(expected)), "{key}: {decided}");
    }
    assert!(host.list(&ACTIONS).is_empty());
    let tasks = host.list(&["task", "list"]);
    assert_eq!((tasks.len(), text(&tasks[0], "/team")), (1, "shops"), "the other rule's: {tasks:?}");
    host.kill();
    host.start().await;
    assert_eq!(decision(&host).await, decided);
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_bots_that_answer_each_other_end_after_three_replies_each() {
    let network = Network::new().await;
    let mut host = Host::new(&format!("{}{}{}", network.channel("a"), network.channel("b"), rule("answers")), TABLE);
    let said = network.open(host.address, true);
    host.start().await;

    hear(host.address, "a", &["kick-off", "b", "Good morning."]).await;

    let is_left_to_a_person = |actions: &[Json]| !in_state(actions, "awaiting-approval").is_empty();
    let is_over = |actions: &[Json]| is_left_to_a_person(actions) && in_state(actions, "sent").len() + 1 == actions.len();
    let actions = host.until(&ACTIONS, is_over).await;
    let sent = |channel: &str| in_state(&actions, "sent").iter().filter(|action| text(action, "/channel") == channel).count();
    assert_eq!((sent("a"), sent("b"), actions.len()), (AUTOMATIC_MAX, AUTOMATIC_MAX, 2 * AUTOMATIC_MAX + 1), "{actions:?}");
    assert_eq!(*said.lock().unwrap(), ["a", "b", "a", "b", "a", "b"]);
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_word_is_not_answered_even_if_the_connector_takes_it_for_another_s() {
    let network = Network::new().await;
    let mut host = Host::new(&format!("{}{}", network.channel("a"), rule("answers")), TABLE);
    let said = network.open(host.address, false);
    host.start().await;
    hear(host.address, "a", &["1", "anna", "Where is my parcel?"]).await;
    host.until(&ACTIONS, |actions| in_state(actions, "sent").len() == 1).await;

    hear(host.address, "a", &["a-1", "somebody", "Thank you."]).await;
    // What comes after it is understood after it.
    hear(host.address, "a", &["2", "bob", "And mine?"]).await;

    host.until(&ACTIONS, |actions| in_state(actions, "sent").len() == 2).await;
    let all = host.list(&["interaction", "list", "--own"]);
    let mut ids: Vec<&str> = all.iter().map(|one| text(one, "/native/id")).collect();
    ids.sort_unstable();
    assert_eq!((ids, said.lock().unwrap().len()), (vec!["1", "2"], 2));
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_reacts_to_its_own_reply_is_refused_once_and_that_is_all() {
    let network = Network::new().await;
    let mut host = Host::new(&format!("{}{}", network.channel("a"), rule("reacts")), TABLE);
    let said = network.open(host.address, false);
    host.start().await;

    hear(host.address, "a", &["1", "anna", "Where is my parcel?"]).await;

    let refusals = |all: &[Json]| {
        let decisions = all.iter().filter_map(|one| one["decisions"].as_array()).flatten();
        decisions.filter(|decision| text(decision, "/dropped/0/reason").contains("came first")).count()
    };
    host.until(&["interaction", "list"], |all| refusals(all) == 1).await;
    // Gone and told again, it has nothing new to react to either.
    hear(host.address, "a", &["gone", "1"]).await;
    hear(host.address, "a", &["2", "bob", "And mine?"]).await;
    host.until(&ACTIONS, |actions| in_state(actions, "sent").len() == 2).await;
    assert_eq!((host.list(&ACTIONS).len(), said.lock().unwrap().len()), (2, 2));
    assert_eq!(host.stop(), Some(0));
}
