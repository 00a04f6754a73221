//! The main job under load: four channels against real servers, three analyzers, the impact table, and the CRM's judges.
//!
//! Every sender keeps sending until the time is over; then each message must be found once with what was said and decided of it,
//! each reply at its sender, each event at the CRM. What the two fediverse servers give up handing to each other, and say so, is not
//! ours: as many may be missing beyond them. Skipped, and said so, where the real servers are not there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use membrana_world::{Dress, Shop};
use serde_json::Value as Json;
use tokio::task::JoinSet;

use crate::harness::{Host, SECRET, eventually, note, text, within};
use crate::hooks::shop;
use crate::real::{Account, Server, WordPress, deliver, mail, mail_channel, mailbox, mastodon_channel, verdicts};

/// More by hand: `MEMBRANA_LOAD_S=600`. Units: seconds.
const LOAD_S: u64 = 60;
/// Customers who write mails, so that replies lie in several mailboxes.
const CUSTOMERS: usize = 5;
/// For what one fediverse server has for the other to come there.
const HANDING_OVER: Duration = Duration::from_secs(90);
/// Senders of signed webhooks.
const TILLS: usize = 4;

const TABLE: &str = r#"
[[row]]
name = "mail"
when = { kind = ["mail"] }
responsible = "support"
within = "2h"
reply = { mode = "send", text = { it = "Ciao {author}, ci stiamo lavorando.", en = "Hi {author}, we are on it." } }
[[row]]
name = "mention"
when = { kind = ["mention"] }
responsible = "support"
within = "2h"
reply = { mode = "draft", review = ["support"], text = { it = "Pratica aperta", en = "We opened a case" } }
[[row]]
name = "comment"
when = { kind = ["comment"] }
responsible = "press"
within = "1d"
[[row]]
name = "complaint in a shop"
when = { kind = ["checkin"], intent = ["complaint"], sentiment = { max = -0.2 } }
responsible = "shops"
within = "1d"
[[row]]
name = "everything else"
"#;

const REST: &str = r#"
[[channel]]
name = "shop"
plugin = "touchpoint"
config = { kind = "checkin", id = "/id", text = "/note" }
ingress = { verify = "standard-webhooks" }
secrets = { webhook = { env = "SECRET" } }
[[analyzer]]
name = "language"
plugin = "language"
[[analyzer]]
name = "sentiment"
plugin = "sentiment"
after = ["language"]
[[analyzer]]
name = "intent"
plugin = "intent"
after = ["language"]
[[rule]]
name = "impact"
plugin = "impact-table"
config = { table_file = "impact.toml" }
[[team]]
name = "support"
[[team]]
name = "press"
[[team]]
name = "shops"
"#;

/// A text that all three analyzers have something to say of.
const COMPLAINT: &str = "È una vergogna, ho pagato due volte la bolletta e nessuno mi risponde. Sono furioso.";
const PRAISE: &str = "The staff was very friendly and the shop is wonderful, thank you so much!";

/// What was sent: a mark that is in it and nowhere else, and how it must be found.
#[derive(Debug, Clone)]
struct Sent {
    mark: String,
    channel: &'static str,
    row: &'static str,
    /// What a reply will name: a Message-ID, or a status on the sender's server.
    to: String,
}

impl Sent {
    fn new(kind: &str, n: usize, channel: &'static str, row: &'static str) -> Self {
        Self { mark: format!("{kind}-{n:06}"), channel, row, to: String::new() }
    }
}

struct Servers {
    mail: Server,
    snac: Server,
    blog: Server,
    judge: Server,
}

impl Servers {
    fn start() -> Option<Self> {
        Some(Self { mail: Server::start("mail")?, snac: Server::start("snac")?, blog: Server::start("wordpress")?, judge: Server::start("webhook")? })
    }
}

/// When to send the next one, until the time is over.
struct Pace {
    is_over: Arc<AtomicBool>,
    pause: Duration,
    n: usize,
}

impl Pace {
    fn new(is_over: &Arc<AtomicBool>, pause_ms: u64) -> Self {
        Self { is_over: Arc::clone(is_over), pause: Duration::from_millis(pause_ms), n: 0 }
    }

    /// The number of the next one, from 1.
    async fn next(&mut self) -> Option<usize> {
        tokio::time::sleep(self.pause).await;
        self.n += 1;
        (!self.is_over.load(Ordering::Relaxed)).then_some(self.n)
    }
}

async fn mails(port: String, mut pace: Pace) -> Vec<Sent> {
    let mut all = Vec::new();
    while let Some(n) = pace.next().await {
        let sent = Sent::new("mail", n, "support-mail", "mail");
        let (from, id) = (format!("customer{}@customers.test", n % CUSTOMERS), format!("{}@customers.test", sent.mark));
        let letter = mail(&from, &id, &format!("Bolletta {n}"), &format!("{COMPLAINT}\r\n\r\nPratica {}", sent.mark));
        let port = port.clone();
        tokio::task::spawn_blocking(move || deliver(&port, &from, &letter)).await.unwrap();
        all.push(Sent { to: id, ..sent });
    }
    all
}

async fn mentions(anna: Arc<Account>, to: String, mut pace: Pace) -> Vec<Sent> {
    let mut all = Vec::new();
    while let Some(n) = pace.next().await {
        let sent = Sent::new("mention", n, "acme-masto", "mention");
        let status = anna.answer(&to, &format!("{COMPLAINT} Pratica {}", sent.mark)).await;
        all.push(Sent { to: text(&status, "/id").to_owned(), ..sent });
    }
    all
}

/// A post, then comments on it. Slow enough for what a feed holds: the last ten.
async fn posts(blog: WordPress, mut pace: Pace) -> Vec<Sent> {
    let (mut all, mut post) = (Vec::new(), 0);
    while let Some(n) = pace.next().await {
        if n % 4 == 1 {
            let sent = Sent::new("post", n, "blog", "everything else");
            post = blog.post(&format!("Novità {n}"), &format!("<p>{PRAISE} {}</p>", sent.mark)).await;
            all.push(sent);
        } else {
            let sent = Sent::new("comment", n, "blog", "comment");
            blog.comment(post, "Anna Bianchi", &format!("{COMPLAINT} Pratica {}", sent.mark)).await;
            all.push(sent);
        }
    }
    all
}

async fn till(shop: Shop, till: usize, mut pace: Pace) -> Vec<Sent> {
    let mut all = Vec::new();
    while let Some(n) = pace.next().await {
        let (note, row) = if n % 5 == 0 { (COMPLAINT, "complaint in a shop") } else { (PRAISE, "everything else") };
        let sent = Sent::new(&format!("till{till}"), n, "shop", row);
        let body = format!("{{\"id\":\"{}\",\"note\":\"{note} {}\"}}", sent.mark, sent.mark);
        assert_eq!(shop.post(&sent.mark, Dress::Right, &body).await.unwrap().status, 202, "{}", sent.mark);
        all.push(sent);
    }
    all
}

/// Approves whatever waits for it, as the reviewing team does all day.
fn approve_all(host: &Host) {
    for action in host.list(&["outbox", "list"]) {
        if text(&action, "/state") == "awaiting-approval" {
            // It may have been replaced in between; the next round sees the new one.
            host.cli(&["outbox", "approve", text(&action, "/id"), "--as", "support"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_channels_under_load_lose_nothing_and_answer_everybody() {
    let Some(servers) = Servers::start() else { return };
    let seconds = std::env::var("MEMBRANA_LOAD_S").ok().and_then(|n| n.parse().ok()).unwrap_or(LOAD_S);
    let ours = servers.snac.value("SNAC_A");
    let support = Account::enter(ours, "support", servers.snac.value("PW_A")).await;
    let anna = Arc::new(Account::enter(servers.snac.value("SNAC_B"), "anna", servers.snac.value("PW_B")).await);
    // The script's own story, before the channel is enabled: support answers anna.
    servers.snac.check();
    let answered = anna.get("/api/v1/notifications").await;
    let answered = answered.as_array().unwrap().iter().find(|one| text(one, "/type") == "mention").unwrap().clone();
    let wordpress = WordPress::of(&servers.blog);

    let sink = format!("[[sink]]\nname = \"crm\"\nurl = \"{}/ok\"\nsecret = {{ env = \"SECRET\" }}\n", servers.judge.value("HOOK"));
    let channels = [mail_channel(&servers.mail), mastodon_channel(ours), wordpress.channel()].concat();
    let mut host = Host::new(&format!("ca_files = [\"{}\"]\n{channels}{REST}{sink}", servers.mail.value("CA")), TABLE);
    assert_eq!(servers.judge.value("HOOK_SECRET"), SECRET);
    host.write("password", servers.mail.value("PASS"));
    host.write("token", &support.token);
    host.start().await;
    let is_ready = async || {
        let n_connected = host.list(&["channel", "list"]).iter().filter(|channel| text(channel, "/state") == "connected").count();
        n_connected >= 4 && servers.blog.file("wordpress/log").contains("GET /comments/feed/")
    };
    assert!(eventually(is_ready).await, "{:?}\n{}", host.list(&["channel", "list"]), host.log());

    let (is_over, mut senders) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    senders.spawn(mails(servers.mail.value("SMTP_PORT").to_owned(), Pace::new(&is_over, 700)));
    senders.spawn(mentions(Arc::clone(&anna), text(&answered, "/status/id").to_owned(), Pace::new(&is_over, 2000)));
    senders.spawn(posts(wordpress, Pace::new(&is_over, 1500)));
    for n in 0..TILLS {
        senders.spawn(till(shop(&host), n, Pace::new(&is_over, 80)));
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        approve_all(&host);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let sent: Vec<Sent> = senders.join_all().await.into_iter().flatten().collect();
    let n_of = |channel: &str| sent.iter().filter(|one| one.channel == channel).count();
    let n_of_mentions = n_of("acme-masto");
    note(format_args!(
        "load, {seconds} s: {} mails, {} mentions, {} posts and comments, {} check-ins",
        n_of("support-mail"),
        n_of_mentions,
        n_of("blog"),
        n_of("shop")
    ));

    let sent = handed_over(&servers, &support, sent).await;
    assert!(2 * sent.iter().filter(|one| one.channel == "acme-masto").count() >= n_of_mentions, "most mentions are lost between the two servers");
    let all = each_is_found_once(&host, &sent).await;
    replies_lie_at_their_senders(&host, &servers, &sent).await;
    mentions_are_answered(&host, &servers, [&support, &anna], &sent).await;
    the_crm_was_told(&host, &servers.judge, &all).await;
    assert_eq!(host.list(&["dead", "list"]), Vec::<Json>::new());
    assert_eq!(host.stop(), Some(0));
}

/// What this one of the two snac servers gave up handing to the other: with what the script sets it tries once, and says so.
fn n_given_up(servers: &Servers, instance: &str) -> usize {
    servers.snac.file(&format!("snac/{instance}.log")).matches("output message: error").count()
}

/// What either server says that went wrong between them.
fn trouble_of(servers: &Servers) -> String {
    let is_trouble = |line: &&str| ["error", "giving up", "requeue", "dropp", "retry", "refus"].iter().any(|word| line.contains(word));
    let of = |instance: &str| {
        let log = servers.snac.file(&format!("snac/{instance}.log"));
        log.lines().filter(is_trouble).map(|line| format!("{instance}: {line}\n")).collect::<String>()
    };
    of("a") + &of("b")
}

/// What was sent, without the mentions that anna's server gave up handing to support's.
async fn handed_over(servers: &Servers, support: &Account, sent: Vec<Sent>) -> Vec<Sent> {
    let (mut there, mut lost) = (Vec::new(), Vec::new());
    for one in sent {
        let is_there = one.channel != "acme-masto" || eventually(async || support.knows(&one.to).await).await;
        if is_there { there.push(one) } else { lost.push(one) }
    }
    assert!(lost.len() <= n_given_up(servers, "b"), "{lost:?}\n{}", trouble_of(servers));
    there
}

/// What was sent by its marks: exactly once, analysed by all three, decided by the row that it must.
async fn each_is_found_once(host: &Host, sent: &[Sent]) -> Vec<Json> {
    let is_theirs = |one: &&Json| one["own"] != Json::Bool(true);
    let all = host
        .until(&["interaction", "list"], |all| {
            let theirs = all.iter().filter(is_theirs);
            theirs.clone().count() >= sent.len() && theirs.clone().all(|one| !text(one, "/decisions/0/row").is_empty())
        })
        .await;
    let theirs: Vec<Json> = all.iter().filter(is_theirs).cloned().collect();
    let mut found: BTreeMap<&str, Vec<&Json>> = BTreeMap::new();
    for one in &theirs {
        let mark = text(one, "/text").split_whitespace().last().unwrap_or_default();
        found.entry(mark).or_default().push(one);
    }
    for one in sent {
        let given = found.remove(one.mark.as_str()).unwrap_or_default();
        assert_eq!(given.len(), 1, "{one:?} is found so often: {given:?}");
        let keys: Vec<&str> = given[0]["annotations"].as_array().into_iter().flatten().map(|said| text(said, "/key")).collect();
        assert!(["language", "sentiment", "intent"].iter().all(|key| keys.contains(key)), "{one:?} has only {keys:?}: {}", given[0]);
        assert_eq!((text(given[0], "/decisions/0/row"), text(given[0], "/channel")), (one.row, one.channel), "{}", given[0]);
        assert_eq!(given[0]["missing"], serde_json::json!([]), "{}", given[0]);
    }
    assert!(found.is_empty(), "nothing else is there: {found:?}");
    theirs
}

/// snac declares every status English, whatever it says: the table then answers in English.
fn is_reply(text: &str) -> bool {
    ["Pratica aperta", "We opened a case"].iter().any(|reply| text.contains(reply))
}

async fn replies_lie_at_their_senders(host: &Host, servers: &Servers, sent: &[Sent]) {
    let replied = async || {
        approve_all(host);
        let waiting: Vec<Json> = host.list(&["outbox", "list"]).into_iter().filter(|action| text(action, "/state") != "sent").collect();
        waiting.is_empty()
    };
    assert!(eventually(replied).await, "{:?}\n{}", host.list(&["outbox", "list"]), host.log());

    let mut letters = String::new();
    let to_of = |channel: &'static str| sent.iter().filter(move |one| one.channel == channel).map(|one| one.to.as_str());
    let n_replies = |letters: &str, to: &str| letters.matches(&format!("In-Reply-To: <{to}>")).count();
    let delivered = async || {
        letters = (0..CUSTOMERS).map(|n| mailbox(&servers.mail, &format!("customer{n}"))).collect();
        to_of("support-mail").all(|to| n_replies(&letters, to) > 0)
    };
    assert!(eventually(delivered).await, "not every mail has its reply");
    for to in to_of("support-mail") {
        assert_eq!(n_replies(&letters, to), 1, "{to}");
    }
}

/// Each mention has one answer on support's server, and on anna's where support's did not give up handing it over.
async fn mentions_are_answered(host: &Host, servers: &Servers, [support, anna]: [&Account; 2], sent: &[Sent]) {
    let answers = async |account: &Account, to: &str| {
        // snac's id of a status is a time, which each server takes of its own, and the hash of its address, which alone it looks for.
        let context = account.get(&format!("/api/v1/statuses/{to}/context")).await;
        let below = context["descendants"].as_array().cloned().unwrap_or_default();
        let hash = |id: &str| id.get(10..).unwrap_or_default().to_owned();
        below.iter().filter(|one| hash(text(one, "/in_reply_to_id")) == hash(to) && is_reply(text(one, "/content"))).count()
    };
    let mentions: Vec<&Sent> = sent.iter().filter(|one| one.channel == "acme-masto").collect();
    for one in &mentions {
        assert_eq!(answers(support, &one.to).await, 1, "{one:?}: {:?}\n{}", host.list(&["outbox", "list"]), host.log());
    }
    let mut n_answers = Vec::new();
    let are_there = async || {
        n_answers.clear();
        for one in &mentions {
            n_answers.push(answers(anna, &one.to).await);
        }
        n_answers.iter().filter(|n| **n == 0).count() <= n_given_up(servers, "a")
    };
    let are_there = within(HANDING_OVER, Duration::from_secs(1), are_there).await;
    let n_each: Vec<(&str, usize)> = mentions.iter().map(|one| one.mark.as_str()).zip(n_answers.iter().copied()).collect();
    assert!(are_there && n_answers.iter().all(|n| *n <= 1), "{n_each:?}\n{}", trouble_of(servers));
}

async fn the_crm_was_told(host: &Host, judge: &Server, all: &[Json]) {
    let received = |judged: &[Json]| -> usize {
        let mut ids: Vec<&str> = judged
            .iter()
            .filter(|one| text(one, "/cloudevent/type") == "it.membrana.interaction.received.v1")
            .map(|one| text(one, "/cloudevent/id"))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids.len()
    };
    let mut judged = Vec::new();
    let all_told = async || {
        judged = verdicts(judge).await;
        received(&judged) >= all.len()
    };
    assert!(eventually(all_told).await, "{} of {} were told\n{}", received(&judged), all.len(), host.log());
    assert_eq!(received(&judged), all.len(), "one event each");
    let mut said: BTreeMap<&str, &str> = BTreeMap::new();
    for verdict in &judged {
        assert_eq!(text(verdict, "/signature"), "ok", "{verdict}");
        assert!(verdict["cloudevent"].is_object(), "{verdict}");
        let before = said.entry(text(verdict, "/headers/webhook-id")).or_insert(text(verdict, "/body"));
        assert_eq!(*before, text(verdict, "/body"), "told again in the same words");
    }
    for kind in ["task.opened", "action.sent"] {
        assert!(judged.iter().any(|one| text(one, "/cloudevent/type") == format!("it.membrana.{kind}.v1")), "no {kind}");
    }
}
