//! Against real servers, started by scripts beside the repository where they are; elsewhere each says that it was skipped.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use membrana_world::{Blog, call};
use serde_json::Value as Json;

use crate::harness::{Host, SECRET, eventually, text};

/// A real server; stopped when dropped.
struct Server {
    script: PathBuf,
    values: BTreeMap<String, String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(Command::new("bash").arg(&self.script).arg("stop").output());
    }
}

impl Server {
    /// `None`, with the reason printed, where it cannot be had.
    fn start(name: &str) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/servers").join(format!("{name}.sh"));
        if !script.is_file() {
            println!("skipped: {name}: there is no {}", script.display());
            return None;
        }
        let output = Command::new("bash").arg(&script).arg("start").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let values: BTreeMap<String, String> =
            said.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        if !output.status.success() || values.is_empty() {
            println!("skipped: {name} does not start: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Some(Self { script, values })
    }

    fn value(&self, key: &str) -> &str {
        self.values.get(key).map(String::as_str).unwrap_or_default()
    }
}

/// A dialogue by lines: what is sent, and what the answer must begin with.
fn talk(port: &str, lines: &[(&str, &str)]) -> String {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let (mut reader, mut all) = (BufReader::new(stream.try_clone().unwrap()), String::new());
    for (send, wanted) in lines {
        stream.write_all(send.as_bytes()).unwrap();
        loop {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).unwrap() > 0, "closed after {send:?}; so far:\n{all}");
            all.push_str(&line);
            if line.starts_with(wanted) {
                break;
            }
        }
    }
    all
}

fn mail_to_support(port: &str, n: u32, text: &str) {
    let mail = format!(
        "From: Marco Rossi <marco@acme.test>\r\nTo: support@acme.test\r\nSubject: Bolletta {n}\r\nMessage-ID: <m{n}@acme.test>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n.\r\n"
    );
    talk(
        port,
        &[
            ("", "220 "),
            ("EHLO test\r\n", "250 "),
            ("MAIL FROM:<marco@acme.test>\r\n", "250 "),
            ("RCPT TO:<support@acme.test>\r\n", "250 "),
            ("DATA\r\n", "354 "),
            (&mail, "250 "),
            ("QUIT\r\n", "221 "),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_answered_in_its_thread() {
    let Some(server) = Server::start("mail") else { return };
    let (imap, submission) = (server.value("IMAPS_PORT"), server.value("SUBMISSION_PORT"));
    let config = format!(
        r#"
ca_files = ["{ca}"]
[[channel]]
name = "support-mail"
plugin = "mail"
poll = "1s"
config = {{ imap = "localhost:{imap}", smtp = "localhost:{submission}", user = "support", from = "Acme <support@acme.test>" }}
secrets = {{ password = {{ file = "password" }} }}
grant = {{ net = ["localhost:{imap}", "localhost:{submission}"], private = ["127.0.0.0/8", "::1/128"] }}
[[analyzer]]
name = "language"
plugin = "language"
[[rule]]
name = "impact"
plugin = "impact-table"
config = {{ table_file = "impact.toml" }}
[[team]]
name = "support"
"#,
        ca = server.value("CA")
    );
    let table = "[[row]]\nname = \"mail\"\nwhen = { kind = [\"mail\"], language = [\"it\"] }\nresponsible = \"support\"\nwithin = \"2h\"\nreply = { mode = \"send\", text = { it = \"Ciao {author}, ci stiamo lavorando.\" } }\n[[row]]\nname = \"everything else\"\n";
    let mut host = Host::new(&config, table);
    host.write("password", server.value("PASS"));
    host.start().await;
    let is_connected = async || host.list(&["channel", "list"]).iter().any(|channel| text(channel, "/state") == "connected");
    assert!(eventually(is_connected).await, "{}", host.log());

    mail_to_support(server.value("SMTP_PORT"), 1, "Ho pagato due volte la bolletta e nessuno mi risponde.\r\n\r\n> vecchia citazione");
    let actions = host.until(&["outbox", "list"], |actions| actions.iter().any(|action| text(action, "/state") == "sent")).await;
    let all = host.list(&["interaction", "list"]);
    assert_eq!(
        (all.len(), text(&all[0], "/text"), text(&all[0], "/quoted")),
        (1, "Ho pagato due volte la bolletta e nessuno mi risponde.", "> vecchia citazione")
    );
    assert_eq!(text(&actions[0], "/text"), "Ciao Marco Rossi, ci stiamo lavorando.");

    let read = [
        ("", "* OK"),
        ("a LOGIN marco secret\r\n", "a OK"),
        ("b SELECT INBOX\r\n", "b OK"),
        ("c FETCH * BODY[]\r\n", "c OK"),
        ("d LOGOUT\r\n", "d OK"),
    ];
    let answer = talk(server.value("IMAP_PORT"), &read);
    for part in [
        "Subject: Re: Bolletta 1",
        "In-Reply-To: <m1@acme.test>",
        "References: <m1@acme.test>",
        "Auto-Submitted: auto-replied",
        "Ciao Marco Rossi, ci stiamo lavorando.",
    ] {
        assert!(answer.contains(part), "`{part}` is missing in the reply:\n{answer}");
    }
    assert!(host.list(&["dead", "list"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crm_s_judges_accept_every_event() {
    let Some(server) = Server::start("webhook") else { return };
    assert_eq!(server.value("HOOK_SECRET"), SECRET);
    let blog = Blog::start().await.unwrap();
    let config = format!(
        "[[channel]]\nname = \"blog\"\nplugin = \"feed\"\npoll = \"1s\"\nconfig = {{ urls = [\"{blog}/feed/\"] }}\ngrant = {{ http = [\"{blog}\"] }}\n[[sink]]\nname = \"crm\"\nurl = \"{hook}/ok\"\nsecret = {{ env = \"SECRET\" }}\n[[rule]]\nname = \"impact\"\nplugin = \"impact-table\"\nconfig = {{ table_file = \"impact.toml\" }}\n[[team]]\nname = \"press\"\n",
        blog = blog.url(),
        hook = server.value("HOOK")
    );
    let mut host = Host::new(
        &config,
        "[[row]]\nname = \"post\"\nwhen = { kind = [\"post\"] }\nresponsible = \"press\"\nwithin = \"1d\"\n[[row]]\nname = \"everything else\"\n",
    );
    host.start().await;
    assert!(eventually(async || blog.ledger().calls().len() > 1).await);
    blog.post("Perché?", "Anna", "<p>Un post con accenti: è così.</p>");
    let address = server.value("HOOK").trim_start_matches("http://").parse().unwrap();
    let mut judged: Vec<Json> = Vec::new();
    let is_judged = async || {
        let log = call(address, "GET", "/log", &[], b"").await.map(|answer| answer.body).unwrap_or_default();
        judged = serde_json::from_str(&log).unwrap_or_default();
        judged.len() >= 2
    };
    assert!(eventually(is_judged).await, "{}", host.log());
    for verdict in &judged {
        assert_eq!(text(verdict, "/signature"), "ok", "{verdict}");
        assert!(verdict["cloudevent"].is_object(), "{verdict}");
    }
}

/// A form posted to snac; the answer's body.
async fn snac(base: &str, method: &str, path: &str, token: &str, form: &str) -> String {
    let address = base.trim_start_matches("http://").parse().unwrap();
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    call(address, method, path, &headers, form.as_bytes()).await.unwrap().body
}

async fn snac_token(base: &str, user: &str, password: &str) -> String {
    let page = snac(base, "POST", "/oauth/x-snac-get-token", "", &format!("login={user}&passwd={password}")).await;
    page.split(|c: char| !c.is_ascii_alphanumeric())
        .find(|word| word.len() >= 20 && word.chars().all(|c| c.is_ascii_hexdigit()))
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mention_on_the_fediverse_is_answered_there() {
    let Some(server) = Server::start("snac") else { return };
    let (ours, theirs) = (server.value("SNAC_A").to_owned(), server.value("SNAC_B").to_owned());
    let token = snac_token(&ours, "support", server.value("PW_A")).await;
    let anna = snac_token(&theirs, "anna", server.value("PW_B")).await;
    assert!(!token.is_empty() && !anna.is_empty());
    let config = format!(
        "[[channel]]\nname = \"acme-masto\"\nplugin = \"mastodon\"\npoll = \"1s\"\nconfig = {{ base_url = \"{ours}\" }}\nsecrets = {{ token = {{ file = \"token\" }} }}\ngrant = {{ http = [\"{ours}\"] }}\n[[rule]]\nname = \"impact\"\nplugin = \"impact-table\"\nconfig = {{ table_file = \"impact.toml\" }}\n[[team]]\nname = \"support\"\n"
    );
    let table = "[[row]]\nname = \"mention\"\nwhen = { kind = [\"mention\"] }\nresponsible = \"support\"\nwithin = \"2h\"\nreply = { mode = \"draft\", review = [\"support\"], text = { en = \"Pratica aperta\" } }\n[[row]]\nname = \"everything else\"\n";
    let mut host = Host::new(&config, table);
    host.write("token", &token);
    host.start().await;
    let is_connected = async || host.list(&["channel", "list"]).iter().any(|channel| text(channel, "/state") == "connected");
    assert!(eventually(is_connected).await, "{}", host.log());

    // The script's own check plays a conversation: its last word is anna's "Grazie!" to support.
    let played = Command::new("bash").arg(&server.script).arg("check").output().unwrap();
    assert!(played.status.success(), "{}", String::from_utf8_lossy(&played.stderr));
    let drafts = host.until(&["outbox", "list"], |actions| !actions.is_empty()).await;
    assert_eq!(text(&drafts[0], "/state"), "awaiting-approval");
    let all = host.list(&["interaction", "list"]);
    assert!(text(&all[0], "/text").contains("Grazie!"), "{all:?}");
    let refused = host.cli(&["outbox", "approve", text(&drafts[0], "/id"), "--as", "marketing"]);
    assert!(!refused.status.success(), "only the reviewing team may approve");
    assert!(host.cli(&["outbox", "approve", text(&drafts[0], "/id"), "--as", "support"]).status.success());
    host.until(&["outbox", "list"], |actions| text(&actions[0], "/state") == "sent").await;
    let has_answer = async || snac(&theirs, "GET", "/api/v1/notifications", &anna, "").await.contains("Pratica aperta");
    assert!(eventually(has_answer).await, "anna sees no answer\n{}", host.log());
}
