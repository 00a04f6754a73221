//! A host that dies at every place that it knows of, one after the other, on one store: each place is reached, and at the end the judge
//! finds every promise kept.
//!
//! In simulated time: what waits for half a minute comes at once. People write before each life, and what a life left undone is the next
//! one's, so that every place is also met while the host takes up the work of one that died.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use membrana::failpoint;
use membrana_tests::judge::{Evidence, Posted, Said, judge};
use membrana_world::{Blog, Crm, Discourse, Dress, Mastodon, Next, Oauth, X, call};

use crate::everywhere::{mark, mark_in, now_ms};
use crate::evidence::{damage, judged, of_crm, of_store, words};
use crate::harness::{Host, SECRET, note, text};
use crate::hooks::shop;
use crate::logins::{CLIENT_SECRET, log_in};
use crate::planted;
use crate::swaps::built;

/// Between two looks, and how much simulated time passes meanwhile.
const STEP: Duration = Duration::from_millis(20);
const PASSES: Duration = Duration::from_secs(1);
/// A place that is not reached in this is not reached; the first start compiles all plugins, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// All comes to its end in this.
const CALM: Duration = Duration::from_secs(60);
const TABLE: &str = r#"
[[row]]
name = "asked"
when = { channel = ["acme-masto", "acme-forum"] }
responsible = "support"
within = "2h"
escalate = [{ after = "1m", to = "lead" }]
reply = { mode = "send", text = { en = "Hi {author}, we are on it." } }
[[row]]
name = "everything else"
responsible = "support"
within = "1d"
escalate = [{ after = "1m", to = "lead" }]
"#;
const WORDS: &str = "I am still waiting for the parcel that you promised me last week, and nobody answers the phone. Case";
const ANSWERED: [&str; 2] = ["acme-masto", "acme-forum"];
/// They exist only on a store that is new.
const FIRST: &str = "commit.host";

/// A small company and its networks.
struct Company {
    blog: Blog,
    masto: Mastodon,
    forum: Discourse,
    /// Nobody says anything there.
    x: X,
    oauth: Oauth,
    crm: Crm,
    host: Host,
    said: Vec<Said>,
    /// On the forum: topic and what was said there.
    topics: Vec<(u64, String)>,
    /// On the other one: id and what was said.
    statuses: Vec<(String, String)>,
    /// Of the shop, not acknowledged yet.
    unsure: VecDeque<usize>,
    n_orders: usize,
    /// Builds of one analyzer, the one to be swapped in next first.
    builds: VecDeque<PathBuf>,
}

impl Company {
    async fn new() -> Self {
        let oauth = Oauth::new("acme-app", Some(CLIENT_SECRET));
        let (blog, masto, forum) =
            (Blog::start().await.unwrap(), Mastodon::with_logins(&oauth).await.unwrap(), Discourse::start("key", "acme").await.unwrap());
        let x = X::start("app", "user", now_ms()).await.unwrap();
        forum.limit(1_000_000);
        masto.upload("parcel.png", b"\x89PNG\r\n\x1a\n and more");
        let crm = Crm::start(SECRET).await.unwrap();
        let builds: VecDeque<PathBuf> = ["better", "well"].map(|like| built("hostile", like)).into();
        let channel = |name: &str, plugin: &str, url: &str, more: &str| {
            format!("[[channel]]\nname = \"{name}\"\nplugin = \"{plugin}\"\npoll = \"5s\"\ngrant = {{ http = [\"{url}\"] }}\n{more}\n")
        };
        let (at_blog, at_masto, at_forum, at_x) = (blog.url(), masto.url(), forum.url(), x.url());
        let config = [
            channel("blog", "feed", &at_blog, &format!("config = {{ urls = [\"{at_blog}/feed/\"], comments = false }}")),
            channel("acme-masto", "mastodon", &at_masto, &format!("config = {{ base_url = \"{at_masto}\" }}\nsecrets = {{ client_id = {{ file = \"id\" }}, client_secret = {{ file = \"secret\" }} }}\nmedia = {{ file_bytes = 1000 }}")),
            channel("acme-forum", "discourse", &at_forum, &format!("config = {{ base_url = \"{at_forum}\", username = \"acme\" }}\nsecrets = {{ api_key = {{ file = \"key\" }} }}")),
            channel("acme-x", "x", &at_x, &format!("config = {{ base_url = \"{at_x}\", stream = true, rules = [\"acme\"] }}\nsecrets = {{ app_token = {{ file = \"app\" }}, user_token = {{ file = \"user\" }} }}")),
            "[[channel]]\nname = \"shop\"\nplugin = \"touchpoint\"\nconfig = { kind = \"checkin\", id = \"/id\", text = \"/note\" }\ningress = { verify = \"standard-webhooks\" }\nsecrets = { webhook = { env = \"SECRET\" } }\n".to_owned(),
            format!("[[analyzer]]\nname = \"language\"\nplugin = \"language\"\n[[analyzer]]\nname = \"mood\"\nplugin = \"{}\"\nconfig = {{ mode = \"built\" }}\n", builds[1].display()),
            "[[rule]]\nname = \"impact\"\nplugin = \"impact-table\"\nconfig = { table_file = \"impact.toml\" }\n[[team]]\nname = \"support\"\n[[team]]\nname = \"lead\"\n".to_owned(),
            format!("[[sink]]\nname = \"crm\"\nurl = \"{}\"\nsecret = {{ env = \"SECRET\" }}\n", crm.url()),
        ];
        let mut host = Host::new(&config.concat(), TABLE);
        [("id", "acme-app"), ("secret", CLIENT_SECRET), ("key", "key"), ("app", "app"), ("user", "user")]
            .iter()
            .for_each(|(name, secret)| host.write(name, secret));
        host.simulate_clock();
        Self {
            blog,
            masto,
            forum,
            x,
            oauth,
            crm,
            host,
            said: Vec::new(),
            topics: Vec::new(),
            statuses: Vec::new(),
            unsure: VecDeque::new(),
            n_orders: 0,
            builds,
        }
    }

    /// A step of time, for all.
    fn pass(&self) {
        self.host.advance(PASSES);
        self.masto.advance(PASSES);
        self.forum.advance(PASSES.as_secs());
        self.x.advance(PASSES);
        self.crm.advance(PASSES);
        self.blog.advance(PASSES);
    }

    /// Waits, in steps of time, until something holds; says whether it did in time.
    async fn until(&mut self, patience: Duration, mut holds: impl AsyncFnMut(&mut Self) -> bool) -> bool {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if holds(self).await {
                return true;
            }
            self.pass();
            tokio::time::sleep(STEP).await;
        }
        false
    }

    /// Somebody new writes on every channel, and writes again on one of them.
    fn say(&mut self) {
        let note = |company: &mut Self, channel: &str, exchange: &str| {
            let name = mark(company.said.len() + 1);
            company.said.push(Said {
                channel: channel.to_owned(),
                exchange: exchange.to_owned(),
                is_acknowledged: channel != "shop",
                wants_task: true,
                wants_reply: ANSWERED.contains(&channel),
                name: name.clone(),
            });
            name
        };
        let who = format!("p{}", self.said.len());
        note(self, "shop", &who);
        self.unsure.push_back(self.said.len() - 1);
        let name = note(self, "blog", &who);
        self.blog.post("News", &who, &format!("<p>{WORDS} {name}</p>"));
        let name = note(self, "acme-forum", &who);
        let topic = self.forum.open(&who, &format!("Where is my parcel {name}?"), &format!("{WORDS} {name}"));
        self.topics.push((topic.id, name));
        let (first, second) = (note(self, "acme-masto", &who), note(self, "acme-masto", &who));
        let acct = format!("{who}@people.example");
        let id = self.masto.show(&acct, &format!("@acme {WORDS} {first}"), &["/media/parcel.png"]);
        let again = self.masto.say(&acct, &format!("@acme {WORDS} {second}"), "public", Some(&id));
        self.statuses.extend([(id, first), (again, second)]);
    }

    /// Tells the host of what the shop has and nobody acknowledged, until it does.
    async fn push(&mut self) {
        while let Some(n) = self.unsure.front().copied() {
            let (name, at_s) = (self.said[n].name.clone(), self.now_ms() / 1000);
            let body = format!("{{\"id\":\"{name}\",\"note\":\"{WORDS} {name}\"}}");
            let answer = shop(&self.host).post_at(at_s, &format!("evt-{name}"), Dress::Right, &body).await;
            if !answer.is_ok_and(|answer| answer.status == 202) {
                return;
            }
            self.said[n].is_acknowledged = true;
            self.unsure.pop_front();
        }
    }

    fn now_ms(&self) -> u64 {
        now_ms() + self.host.ahead_ms()
    }

    /// An admin orders something that changes nothing.
    async fn order(&mut self) {
        let answer = call(self.host.address, "POST", "/api/v1/channels/blog/resume", &[], b"").await;
        self.n_orders += usize::from(answer.is_ok_and(|answer| answer.status == 200));
    }

    /// A life that ends at this place.
    async fn die_at(&mut self, place: &str) {
        let is_first = place.starts_with(FIRST);
        if !is_first {
            self.say();
        }
        match place.split(':').next().unwrap() {
            "open.copy" | "open.put" | "open.keep" => {
                // A start that died after it removed the one before has written none.
                assert!(self.host.cli(&["verify"]).status.success());
                self.spoil_snapshot();
            }
            "file.token" => self.oauth.expire(),
            // It is not there: no poll brings it back before anybody looks for it.
            "call.probe" | "commit.reconcile" => self.forum.next("POST /posts.json", Next::Unheard),
            _ => {}
        }
        self.host.arm(Some(place));
        self.host.spawn();
        let reached = self.until(PATIENCE, async |company| {
            company.push().await;
            if place.starts_with("commit.order") || place.starts_with("file.audit") {
                company.order().await;
            } else if place.starts_with("file.build") && is_ready(&company.host).await {
                company.swap();
            } else if place.starts_with("commit.rerun") && is_ready(&company.host).await {
                company.n_orders += usize::from(company.host.cli(&["rerun", "mood"]).status.success());
            }
            company.host.has_died()
        });
        assert!(reached.await, "{place} is not reached\n{}", self.host.log());
        self.host.arm(None);
        if place.starts_with("file.token") {
            // What was renewed and not kept is gone, and a person must log in.
            self.live().await;
            log_in(&self.host, &self.masto).await;
            self.host.kill();
        }
    }

    /// A life without an end.
    async fn live(&mut self) {
        self.host.arm(None);
        self.host.start().await;
    }

    /// Asks for another build of an analyzer; whether or not it comes to its end.
    fn swap(&mut self) {
        let build = self.builds[0].clone();
        let ordered = self.host.cli(&["swap", "mood", build.to_str().unwrap(), "--stays"]);
        if ordered.status.success() {
            self.n_orders += 1;
            self.builds.rotate_left(1);
        }
    }

    /// What sled wrote down of its log is cut off, as a disk may leave it: the log itself is whole.
    fn spoil_snapshot(&self) {
        let folder = self.host.dir().join("data/store");
        let mut n_spoiled = 0;
        for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
            if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap.")) {
                let bytes = std::fs::read(&file).unwrap();
                std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
                n_spoiled += 1;
            }
        }
        assert!(n_spoiled > 0, "there is no snapshot to spoil");
    }

    fn evidence(&self) -> Evidence {
        let of_forum = self.forum.own().into_iter().map(|own| {
            let answered = self.topics.iter().find(|(topic, _)| *topic == own.topic && own.reply_to.unwrap_or(1) == 1);
            Posted { channel: "acme-forum".to_owned(), answers: answered.map(|(_, name)| name.clone()).unwrap_or_default() }
        });
        let of_masto = self.masto.own().into_iter().map(|own| {
            let answered = self.statuses.iter().find(|(id, _)| Some(id) == own.in_reply_to.as_ref());
            Posted { channel: "acme-masto".to_owned(), answers: answered.map(|(_, name)| name.clone()).unwrap_or_default() }
        });
        let ledger = self.masto.ledger();
        let asked = ledger.asked("GET /api/v1/notifications?");
        let places = asked.iter().filter_map(|asked| asked.line().rsplit_once("min_id=")?.1.parse().ok());
        Evidence {
            said: self.said.clone(),
            posts: of_forum.chain(of_masto).collect(),
            asked: [("acme-masto".to_owned(), forward(places))].into(),
            n_orders: self.n_orders,
            told: of_crm(&self.crm, &[]).told,
            kinds: of_crm(&self.crm, &["interaction.received", "task.opened", "task.escalated"]).kinds,
            ..of_store(&self.host, self.now_ms(), |one| mark_in(text(one, "/text")))
        }
    }
}

/// Places without those from which the newest are read again, which never step back themselves.
fn forward(places: impl Iterator<Item = u64>) -> Vec<u64> {
    let (mut newest, mut again) = (0, 0);
    let mut is_forward = |place: &u64| {
        let is_again = (again..newest).contains(place);
        if is_again {
            again = *place
        } else {
            newest = *place
        }
        !is_again
    };
    places.filter(|place| is_forward(place)).collect()
}

async fn is_ready(host: &Host) -> bool {
    call(host.address, "GET", "/readyz", &[], b"").await.is_ok_and(|answer| answer.status == 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_dies_at_any_place_keeps_every_promise() {
    // given a host that was connected once
    let (mut company, begun) = (Company::new().await, Instant::now());
    let (first, others): (Vec<String>, Vec<String>) = failpoint::names().partition(|name| name.starts_with(FIRST));
    for place in &first {
        company.die_at(place).await;
    }
    company.live().await;
    log_in(&company.host, &company.masto).await;
    let is_connected = async |company: &mut Company| {
        let channels = company.host.list(&["channel", "list"]);
        channels.iter().all(|one| text(one, "/name") == "shop" || text(one, "/state") == "connected")
            && company.masto.ledger().asked("GET /api/v1/notifications").len() > 1
    };
    assert!(company.until(CALM, is_connected).await, "{}", company.host.log());
    company.host.kill();

    // when
    for place in &others {
        let since = Instant::now();
        company.die_at(place).await;
        note(format_args!("{place}: {} ms", since.elapsed().as_millis()));
    }

    // then
    company.live().await;
    let mut left = Vec::new();
    let is_clean = company.until(CALM, async |company| {
        company.push().await;
        left = judge(&company.evidence());
        left.is_empty()
    });
    let is_clean = is_clean.await;
    assert!(is_clean, "{}\n{}", words(&left), company.host.log());
    assert_eq!(company.host.list(&["dead", "list"]), Vec::<serde_json::Value>::new());
    assert_eq!(company.host.stop(), Some(0));
    let evidence = Evidence { damage: damage(&company.host), ..company.evidence() };
    judged(&evidence, company.host.dir()).unwrap();
    planted::each_planted_fault_is_found(&evidence);
    note(format_args!("{} places, {} said, {} s", first.len() + others.len(), evidence.said.len(), begun.elapsed().as_secs()));
}
