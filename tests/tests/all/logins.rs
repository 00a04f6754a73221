//! Logins through the built host: a person says yes, the host keeps the tokens fresh, and a login that is taken back loses nothing.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Stdio};

use membrana_world::{Mastodon, Oauth, call};
use serde_json::Value as Json;

use crate::harness::{Host, eventually, text};

pub(crate) const CLIENT_SECRET: &str = "cl1ent-s3cret-of-acme";
const ACTIONS: [&str; 2] = ["outbox", "list"];
const TABLE: &str = "[[row]]\nname = \"mention\"\nwhen = { kind = [\"mention\"] }\nresponsible = \"support\"\nwithin = \"2h\"\nreply = { mode = \"draft\", review = [\"support\"], text = { it = \"Ciao {author}.\", en = \"Hi {author}.\" } }\n[[row]]\nname = \"everything else\"\n";

/// A host whose channel has an application and no login yet.
fn host(masto: &Mastodon) -> Host {
    let config = format!(
        "[[channel]]\nname = \"acme-masto\"\nplugin = \"mastodon\"\npoll = \"1s\"\nconfig = {{ base_url = \"{url}\" }}\nsecrets = {{ client_id = {{ file = \"id\" }}, client_secret = {{ file = \"secret\" }} }}\ngrant = {{ http = [\"{url}\"] }}\n[[analyzer]]\nname = \"language\"\nplugin = \"language\"\n[[rule]]\nname = \"impact\"\nplugin = \"impact-table\"\nconfig = {{ table_file = \"impact.toml\" }}\n[[team]]\nname = \"support\"\n",
        url = masto.url()
    );
    let host = Host::new(&config, TABLE);
    host.write("id", "acme-app");
    host.write("secret", CLIENT_SECRET);
    host
}

/// `channel login`, under way.
struct Login {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
    /// What the person opens.
    open: String,
}

impl Login {
    fn begin(host: &Host, more: &[&str]) -> Self {
        let arguments = [["channel", "login", "acme-masto", "--no-browser", "--json"].as_slice(), more].concat();
        let mut process = host.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let told: Json = serde_json::from_str(&line).unwrap_or_default();
        Self { process, output, open: text(&told, "/open").to_owned() }
    }

    /// The person looks at the network's page and answers; gives where the network sends the browser.
    async fn answered(&self, masto: &Mastodon) -> String {
        let path = self.open.strip_prefix(&masto.url()).unwrap();
        let page = call(masto.address(), "GET", path, &[], b"").await.unwrap();
        assert_eq!(page.status, 302, "{} {}", self.open, page.body);
        page.body
    }

    /// Exit code, the last line, and what was said beside.
    fn end(mut self) -> (Option<i32>, Json, String) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let ended = self.process.wait_with_output().unwrap();
        (ended.status.code(), serde_json::from_str(&line).unwrap_or_default(), String::from_utf8_lossy(&ended.stderr).into_owned())
    }
}

/// The browser follows the network's answer.
async fn follow(location: &str) {
    let (address, path) = location.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let address: SocketAddr = address.parse().unwrap();
    let page = call(address, "GET", &format!("/{path}"), &[], b"").await.unwrap();
    assert!(page.status == 200 && page.body.contains("can be closed"), "{page:?}");
}

/// A person says yes for `acme-masto`.
pub(crate) async fn log_in(host: &Host, masto: &Mastodon) {
    let login = Login::begin(host, &[]);
    follow(&login.answered(masto).await).await;
    let (code, told, said) = login.end();
    assert_eq!((code, told["logged_in"].as_bool(), told["renewed_by_host"].as_bool()), (Some(0), Some(true), Some(true)), "{told} {said}");
}

fn in_state(state: &str) -> impl Fn(&[Json]) -> bool {
    move |all| matches!(all, [one] if text(one, "/state") == state)
}

/// Lines of the log that tell of a refused credential.
fn n_told(host: &Host) -> usize {
    host.log().lines().filter(|line| line.contains("WARN") && (line.contains("Channel waits.") || line.contains("Credential refused"))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_taken_back_holds_the_outbox_and_the_next_one_lets_it_go_once() {
    let oauth = Oauth::new("acme-app", Some(CLIENT_SECRET));
    let masto = Mastodon::with_logins(&oauth).await.unwrap();
    let mut host = host(&masto);
    host.start().await;
    let waiting = host.until(&["channel", "list"], in_state("bad-credentials")).await;
    assert!(text(&waiting[0], "/reason").contains("membrana channel login acme-masto"), "{waiting:?}");
    assert!(masto.ledger().calls().is_empty(), "the network is not asked without a token");

    log_in(&host, &masto).await;
    host.until(&["channel", "list"], in_state("connected")).await;
    let is_polled = async || masto.ledger().asked("GET /api/v1/notifications").len() > 1;
    assert!(eventually(is_polled).await, "{}", host.log());
    let post = masto.say("anna@people.example", "@acme Ho pagato due volte la bolletta e nessuno mi risponde.", "public", None);
    let drafts = host.until(&ACTIONS, in_state("awaiting-approval")).await;
    let id = text(&drafts[0], "/id").to_owned();

    // A token that ran out is renewed and nobody notices.
    let n_tokens = || masto.ledger().asked("POST /oauth/token").len();
    assert_eq!(n_tokens(), 1);
    oauth.expire();
    assert!(eventually(async || n_tokens() == 2).await, "{}", host.log());
    assert_eq!(text(&host.list(&["channel", "list"])[0], "/state"), "connected");
    assert_eq!(n_told(&host), 1, "{}", host.log());

    // A login that is taken back: everything waits, nothing is lost.
    oauth.revoke();
    host.until(&["channel", "list"], in_state("bad-credentials")).await;
    assert!(host.cli(&["outbox", "approve", &id, "--as", "support"]).status.success());
    let held = host.until(&ACTIONS, in_state("retry")).await;
    assert!(text(&held[0], "/error").contains("auth") && host.list(&["dead", "list"]).is_empty(), "{held:?}");
    assert_eq!((n_told(&host), masto.own().len()), (2, 0), "told once more, for it is another refusal:\n{}", host.log());
    host.kill();
    host.start().await;
    host.until(&ACTIONS, in_state("retry")).await;

    log_in(&host, &masto).await;
    host.until(&ACTIONS, in_state("sent")).await;
    host.until(&["channel", "list"], in_state("connected")).await;
    assert_eq!((masto.answers(&post).len(), masto.own().len()), (1, 1), "delivered, and once");
    assert_eq!((oauth.n_reused(), host.list(&["task", "list"]).len()), (0, 1));
    nothing_secret_is_told(&host, &oauth);
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pasted_token_that_is_refused_is_told_once_and_mended_by_another_one_and_a_reload() {
    let masto = Mastodon::start("the-right-token").await.unwrap();
    let url = masto.url();
    let config = format!(
        "[[channel]]\nname = \"acme-masto\"\nplugin = \"mastodon\"\npoll = \"1s\"\nconfig = {{ base_url = \"{url}\" }}\nsecrets = {{ token = {{ file = \"token\" }} }}\ngrant = {{ http = [\"{url}\"] }}\n"
    );
    let mut host = Host::new(&config, TABLE);
    host.write("token", "the-wrong-token");
    host.start().await;
    host.until(&["channel", "list"], in_state("bad-credentials")).await;
    // A look on demand finds it refused again, and says nothing new.
    let n_asked = || masto.ledger().calls().len();
    let before = n_asked();
    assert!(host.cli(&["channel", "poll", "acme-masto"]).status.success());
    assert!(eventually(async || n_asked() > before).await, "{}", host.log());
    assert_eq!(n_told(&host), 1, "{}", host.log());

    host.write("token", "the-right-token");
    host.signal("HUP");

    host.until(&["channel", "list"], in_state("connected")).await;
    assert!(!host.log().contains("the-right-token") && !host.log().contains("the-wrong-token"));
    let no_login = host.cli(&["channel", "login", "acme-masto", "--no-browser"]);
    let said = String::from_utf8_lossy(&no_login.stderr).into_owned();
    assert!(no_login.status.code() == Some(1) && said.contains("no secret `client_id`") && said.contains("CLIENT_ID"), "{said}");
}

fn nothing_secret_is_told(host: &Host, oauth: &Oauth) {
    let mut told = host.log();
    for arguments in [["channel", "list"], ["outbox", "list"], ["interaction", "export"]] {
        told.push_str(&String::from_utf8_lossy(&host.cli(&[arguments.as_slice(), &["--json"]].concat()).stdout));
    }
    for file in std::fs::read_dir(host.dir().join("data/credentials")).unwrap() {
        told.push_str(&String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap()));
    }
    let tokens = oauth.tokens();
    assert!(tokens.len() >= 3, "{tokens:?}");
    for secret in tokens.iter().map(String::as_str).chain([CLIENT_SECRET]) {
        assert!(!told.contains(secret), "{secret} in:\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_fails_says_why_and_what_to_do() {
    let oauth = Oauth::new("acme-app", Some(CLIENT_SECRET));
    let masto = Mastodon::with_logins(&oauth).await.unwrap();
    let host = host(&masto);

    oauth.denies(true);
    let login = Login::begin(&host, &[]);
    follow(&login.answered(&masto).await).await;
    let (code, _, said) = login.end();
    assert!(code == Some(1) && said.contains("was denied in the browser"), "{said}");

    oauth.denies(false);
    let login = Login::begin(&host, &[]);
    let location = login.answered(&masto).await;
    follow(&location.replace("state=", "state=x")).await;
    let (code, _, said) = login.end();
    assert!(code == Some(1) && said.contains("its `state` is another"), "{said}");

    host.write("secret", "another secret");
    let login = Login::begin(&host, &[]);
    follow(&login.answered(&masto).await).await;
    let (code, _, said) = login.end();
    assert!(code == Some(1) && said.contains("(invalid_client)") && !said.contains("another secret"), "{said}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, _, said) = Login::begin(&host, &["--port", &port]).end();
    assert!(code == Some(1) && said.contains("cannot listen on") && said.contains("--port"), "{said}");
    let (code, _, said) = Login::begin(&host, &["--credential", "other"]).end();
    assert!(code == Some(1) && said.contains("--credential: token"), "{said}");
    let unknown = host.cli(&["channel", "login", "nobody", "--no-browser"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there are: acme-masto"), "{unknown:?}");
    assert!(!host.dir().join("data/credentials").join("key").exists(), "nothing was kept");
}
