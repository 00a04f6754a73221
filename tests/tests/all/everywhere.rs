//! All networks at once, a host that is connected to each of them, and what people say there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use membrana_world::{
    ACCOUNT, Blog, Crm, Discourse, Dress, LONE, Letter, Mail, Mastodon, Meta, Oauth, PAGE, Shape, Side, Trouble, US, Woe, X, XHook,
};

use crate::harness::{Host, SECRET, eventually, text};
use crate::hooks::shop;
use crate::logins::{CLIENT_SECRET, log_in};

/// The networks' clocks are off by minutes. Units: milliseconds.
const X_AHEAD_MS: u64 = 180_000;
const META_BEHIND_MS: u64 = 240_000;
/// Units: seconds.
const FORUM_AHEAD_S: u64 = 120;
// No words: the host masks secrets in answers, and what people are called must not be masked with them.
const APP: &str = "AAAA-app-1";
const USER: &str = "AAAA-user-1";
const PAGE_TOKEN: &str = "EAAB-page-1";
const APP_SECRET: &str = "5ec-of-app-1";
const VERIFY: &str = "v3rify-1";
const KEY: &str = "key-of-acme-1";
const CLIENT_ID: &str = "cl1ent-of-acme-1";
const PASSWORD: &str = "passw0rd-1";
const HOOK_SECRET: &str = "s3cret-of-hooks";
/// Channels on which everybody is answered.
pub(crate) const ANSWERED: [&str; 6] = ["acme-x", "acme-page", "acme-instagram", "acme-forum", "acme-masto", "acme-mail"];
/// Channels on which nobody is.
pub(crate) const UNANSWERED: [&str; 2] = ["blog", "shop"];

fn table() -> String {
    format!(
        "[[row]]\nname = \"asked\"\nwhen = {{ channel = {ANSWERED:?} }}\nresponsible = \"support\"\nwithin = \"2h\"\nreply = {{ mode = \"send\", text = {{ en = \"Hi {{author}}, we are on it.\" }} }}\n[[row]]\nname = \"everything else\"\n"
    )
}

pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// All networks.
pub(crate) struct World {
    pub(crate) x: X,
    pub(crate) meta: Meta,
    pub(crate) forum: Discourse,
    pub(crate) masto: Mastodon,
    pub(crate) oauth: Oauth,
    pub(crate) mail: Mail,
    pub(crate) blog: Blog,
    pub(crate) crm: Crm,
    /// A post of the Page, and a medium of the account, that people comment on.
    pub(crate) news: String,
    pub(crate) medium: String,
    /// Of the machine's clock. Units: milliseconds.
    ahead_ms: AtomicU64,
}

impl World {
    pub(crate) async fn start() -> Self {
        let oauth = Oauth::new(CLIENT_ID, Some(CLIENT_SECRET));
        let x = X::start(APP, USER, now_ms() + X_AHEAD_MS).await.unwrap();
        // The windows of its own are another test's matter.
        ["GET /2/users/", "GET /2/users/me", "POST /2/tweets"].iter().for_each(|at| x.limit(at, 1_000_000));
        let meta = Meta::start(PAGE_TOKEN, APP_SECRET).await.unwrap();
        meta.advance(now_ms() - META_BEHIND_MS - meta.now());
        let forum = Discourse::start(KEY, "acme").await.unwrap();
        forum.limit(1_000_000);
        forum.advance(FORUM_AHEAD_S);
        let (news, medium) = (meta.post(US, "Our new parcel shop is open."), meta.medium("Our new parcel shop"));
        meta.deliveries(Shape::Nested);
        Self {
            masto: Mastodon::with_logins(&oauth).await.unwrap(),
            mail: Mail::start(PASSWORD).await.unwrap(),
            blog: Blog::start().await.unwrap(),
            crm: Crm::start(SECRET).await.unwrap(),
            x,
            meta,
            forum,
            oauth,
            news,
            medium,
            ahead_ms: AtomicU64::new(0),
        }
    }

    fn config(&self) -> String {
        let file = |key: &str| format!("{key} = {{ file = \"{key}\" }}");
        let channel = |name: &str, plugin: &str, url: &str, config: &str, secrets: &[&str], verify: &str| {
            let ingress = if verify.is_empty() { String::new() } else { format!("ingress = {{ verify = \"{verify}\" }}\n") };
            let secrets: Vec<String> = secrets.iter().map(|key| file(key)).collect();
            format!(
                "[[channel]]\nname = \"{name}\"\nplugin = \"{plugin}\"\npoll = \"1s\"\nconfig = {{ base_url = \"{url}\"{config} }}\nsecrets = {{ {} }}\ngrant = {{ http = [\"{url}\"] }}\n{ingress}",
                secrets.join(", ")
            )
        };
        let (meta, page) = (self.meta.url(), format!(", page = \"{PAGE}\""));
        let of_meta = ["page_token", "app_secret", "verify_token"];
        let account = format!("{page}, account = \"{ACCOUNT}\"");
        let (mail, blog) = (&self.mail, self.blog.url());
        [
            "ca_files = [\"ca.pem\"]\n".to_owned(),
            channel("acme-x", "x", &self.x.url(), "", &["app_token", "user_token", "webhook"], "x"),
            channel("acme-page", "facebook", &meta, &page, &of_meta, "meta"),
            channel("acme-instagram", "instagram", &meta, &account, &of_meta, "meta"),
            channel("acme-forum", "discourse", &self.forum.url(), ", username = \"acme\"", &["api_key", "webhook"], "discourse"),
            channel("acme-masto", "mastodon", &self.masto.url(), "", &["client_id", "client_secret"], ""),
            format!(
                "[[channel]]\nname = \"acme-mail\"\nplugin = \"mail\"\npoll = \"1s\"\nconfig = {{ imap = \"{imap}\", smtp = \"{smtp}\", user = \"support\", from = \"Acme <{us}>\", sent_mailbox = \"Sent\" }}\nsecrets = {{ password = {{ file = \"password\" }} }}\ngrant = {{ net = [\"{imap}\", \"{smtp}\"] }}\n",
                imap = mail.imap,
                smtp = mail.smtp,
                us = Mail::ADDRESS
            ),
            format!(
                "[[channel]]\nname = \"blog\"\nplugin = \"feed\"\npoll = \"1s\"\nconfig = {{ urls = [\"{blog}/feed/\", \"{blog}/comments/feed/\"], comments = false }}\ngrant = {{ http = [\"{blog}\"] }}\n"
            ),
            "[[channel]]\nname = \"shop\"\nplugin = \"touchpoint\"\nconfig = { kind = \"checkin\", id = \"/id\", text = \"/note\", occurred_at = \"/at\" }\ningress = { verify = \"standard-webhooks\" }\nsecrets = { webhook = { env = \"SECRET\" } }\n".to_owned(),
            "[[analyzer]]\nname = \"language\"\nplugin = \"language\"\n[[rule]]\nname = \"impact\"\nplugin = \"impact-table\"\nconfig = { table_file = \"impact.toml\" }\n[[team]]\nname = \"support\"\n".to_owned(),
            format!("[[sink]]\nname = \"crm\"\nurl = \"{}\"\nsecret = {{ env = \"SECRET\" }}\n", self.crm.url()),
        ]
        .concat()
    }

    /// A host on all of it, connected.
    pub(crate) async fn host(&self) -> Host {
        self.connected(Host::new(&self.config(), &table())).await
    }

    /// The same, whose time stands still but for [`World::pass`].
    pub(crate) async fn simulated_host(&self) -> Host {
        let mut host = Host::new(&self.config(), &table());
        host.simulate_clock();
        self.connected(host).await
    }

    async fn connected(&self, mut host: Host) -> Host {
        let secrets = [("app_token", APP), ("user_token", USER), ("webhook", HOOK_SECRET), ("page_token", PAGE_TOKEN), ("app_secret", APP_SECRET)];
        let more = [("verify_token", VERIFY), ("api_key", KEY), ("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET), ("password", PASSWORD)];
        secrets.iter().chain(&more).for_each(|(name, secret)| host.write(name, secret));
        host.write("ca.pem", &self.mail.ca);
        host.start().await;
        log_in(&host, &self.masto).await;
        let is_connected = async || not_connected(&host).is_empty() && !self.masto.ledger().asked("GET /api/v1/notifications").is_empty();
        assert!(eventually(is_connected).await, "{:?}\n{}", not_connected(&host), host.log());
        host
    }

    /// Units: ms since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        now_ms() + self.ahead_ms.load(Ordering::Relaxed)
    }

    /// So much passed on the machine's clock: on the networks' clocks, and on a simulated one of the host, it is `rate` times that.
    pub(crate) fn pass(&self, host: &Host, passed: Duration, rate: u32) {
        let (all, more) = (passed * rate, passed * (rate - 1));
        self.x.advance(all);
        self.meta.advance(u64::try_from(all.as_millis()).unwrap());
        self.masto.advance(more);
        self.blog.advance(more);
        self.crm.advance(more);
        let before = self.ahead_ms.fetch_add(u64::try_from(more.as_millis()).unwrap(), Ordering::Relaxed);
        self.forum.advance(self.ahead_ms.load(Ordering::Relaxed) / 1000 - before / 1000);
        if host.is_simulated() {
            host.advance(all);
        }
    }

    /// Trouble on all networks, each with dice of its own, dressed so; none: calm. Gives what happened until now.
    pub(crate) fn trouble(&self, seed: Option<u64>, dressed: impl Fn(Trouble) -> Trouble) -> BTreeMap<Woe, usize> {
        let of = |n: u64| seed.map(|seed| dressed(Trouble::new(seed.wrapping_add(n))));
        self.mail.trouble(seed.map(|seed| seed.wrapping_add(7)), of(7).is_some_and(|trouble| trouble.has_long_waits()));
        let before =
            [self.x.trouble(of(1)), self.meta.trouble(of(2)), self.forum.trouble(of(3)), self.masto.trouble(of(4)), self.blog.trouble(of(5))];
        let mut dealt = BTreeMap::new();
        for (woe, n) in before.iter().flatten().flat_map(Trouble::dealt) {
            *dealt.entry(*woe).or_default() += n;
        }
        dealt
    }

    /// Somebody writes on a channel. Gives what the network calls it.
    pub(crate) async fn say(&self, host: &Host, channel: &str, n: usize, said: &str) -> String {
        let who = format!("p{n}");
        match channel {
            "acme-x" => self.x.say(&who, &format!("@acme {said}"), None),
            "acme-page" if n.is_multiple_of(3) => self.meta.message(Side::Messenger, &who, said),
            "acme-page" => self.meta.comment(&who, &self.news, said),
            "acme-instagram" if n.is_multiple_of(3) => self.meta.message(Side::Instagram, &who, said),
            "acme-instagram" => self.meta.comment(&who, &self.medium, said),
            "acme-forum" => self.forum.open(&who, &format!("Where is my parcel {n}?"), said).post.to_string(),
            "acme-masto" => self.masto.say(&format!("{who}@people.example"), &format!("@acme {said}"), "public", None),
            "acme-mail" => {
                let letter = Letter {
                    from: format!("P{n} <{who}@customers.example>"),
                    subject: format!("Parcel {n}"),
                    id: format!("m{n}@customers.example"),
                    text: said.to_owned(),
                    ..Letter::default()
                };
                self.mail.deliver(&letter).to_string()
            }
            "blog" if n.is_multiple_of(4) => self.blog.post(&format!("News {n}"), &who, &format!("<p>{said}</p>")),
            "blog" => self.blog.comment(&who, said),
            _ => {
                let (shop, body) = (shop(host), format!("{{\"id\":\"{who}\",\"note\":{}}}", serde_json::Value::from(said)).replace(LONE, "\\ud800"));
                for _ in 0..=usize::from(n.is_multiple_of(3)) {
                    let answer = shop.post_at(self.now_ms() / 1000, &format!("evt-{n}"), Dress::Right, &body).await.unwrap();
                    assert_eq!(answer.status, 202, "{n}");
                }
                who
            }
        }
    }

    /// How often a network holds a reply to what was said.
    pub(crate) fn n_replies(&self, said: &Said) -> usize {
        let who = format!("p{}", said.n);
        match said.channel {
            "acme-x" => self.x.answers(&said.id).len(),
            "acme-page" | "acme-instagram" if said.n.is_multiple_of(3) => self.meta.sent(&who).len(),
            "acme-page" | "acme-instagram" => self.meta.answers(&said.id).len(),
            "acme-forum" => self.forum.own().iter().filter(|own| own.raw.starts_with(&format!("Hi P{},", said.n))).count(),
            "acme-masto" => self.masto.answers(&said.id).len(),
            "acme-mail" => self.mail.received(&format!("{who}@customers.example")).len(),
            _ => 0,
        }
    }

    /// The body and the way of each webhook that is due, of what was said since the last time.
    pub(crate) fn hooks(&self, fresh: &[Said]) -> Vec<Delivery> {
        let of_x = |said: &Said| Delivery::X(self.x.account_activity("acme", &[&said.id]));
        let mut all: Vec<Delivery> = fresh.iter().filter(|said| said.channel == "acme-x").map(of_x).collect();
        let of_forum = |said: &Said| Delivery::Forum(said.id.parse().unwrap());
        all.extend(fresh.iter().filter(|said| said.channel == "acme-forum").map(of_forum));
        all.extend(self.meta.deliveries(Shape::Nested).into_iter().map(Delivery::Meta));
        all
    }

    pub(crate) async fn deliver(&self, host: &Host, delivery: &Delivery) {
        let answer = match delivery {
            Delivery::X(body) => {
                let hook = XHook { address: host.address, path: "/hooks/acme-x".to_owned(), secret: HOOK_SECRET.to_owned() };
                hook.post(Dress::Right, body).await
            }
            Delivery::Forum(post) => self.forum.webhook("post_created", *post, HOOK_SECRET).post(host.address, "/hooks/acme-forum").await,
            Delivery::Meta(body) => {
                let path = if body.contains("\"object\":\"page\"") { "/hooks/acme-page" } else { "/hooks/acme-instagram" };
                self.meta.deliver_body(host.address, path, body).await
            }
        };
        let answer = answer.unwrap();
        assert!((200..300).contains(&answer.status), "{delivery:?}: {answer:?}");
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Delivery {
    X(String),
    Forum(u64),
    Meta(String),
}

/// What somebody said.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) n: usize,
    pub(crate) channel: &'static str,
    /// What the network calls it.
    pub(crate) id: String,
}

/// In its text, and nowhere else.
pub(crate) fn mark(n: usize) -> String {
    format!("c{n:06}")
}

/// The last word.
pub(crate) fn mark_in(text: &str) -> String {
    text.split_whitespace().last().unwrap_or_default().to_owned()
}

pub(crate) fn not_connected(host: &Host) -> Vec<String> {
    let channels = host.list(&["channel", "list"]);
    // Nobody polls the shop.
    let others = channels.iter().filter(|one| text(one, "/name") != "shop" && text(one, "/state") != "connected");
    others.map(|one| format!("{}: {} ({})", text(one, "/name"), text(one, "/state"), text(one, "/reason"))).collect()
}
