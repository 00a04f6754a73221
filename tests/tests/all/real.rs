//! Real servers, started by scripts beside the repository: each in a state folder of its own, so that tests run side by side.
//!
//! Where there is no script, a test is skipped and says so. Where there is one, a server that does not start is a failure.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use membrana_world::call;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::harness::note;

/// Scripts install what is missing: one after another, for package managers do not like company.
static INSTALL: Mutex<()> = Mutex::new(());

/// A real server; stopped when dropped.
pub(crate) struct Server {
    script: PathBuf,
    /// What the script is told by the environment.
    settings: Vec<(&'static str, String)>,
    state: TempDir,
    values: BTreeMap<String, String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.run(&self.script, "stop"));
        // A blog or a forum brings its own database, by a script of its own.
        for database in ["mariadb", "postgres"] {
            if self.state.path().join(database).is_dir() {
                drop(self.run(&self.script.with_file_name(format!("{database}.sh")), "stop"));
            }
        }
    }
}

impl Server {
    /// `None`, with the reason said, where there is no script for it.
    pub(crate) fn start(name: &str) -> Option<Self> {
        Self::start_with(name, Vec::new())
    }

    /// The same, with settings for the script.
    pub(crate) fn start_with(name: &str, settings: Vec<(&'static str, String)>) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/servers").join(format!("{name}.sh"));
        if !script.is_file() {
            note(format_args!("skipped: {name}: there is no {}", script.display()));
            return None;
        }
        let state = tempfile::Builder::new().prefix("mb").tempdir().unwrap();
        // Servers give up their rights and must still pass through.
        std::fs::set_permissions(state.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut server = Self { script, settings, state, values: BTreeMap::new() };
        let one_at_a_time = INSTALL.lock().unwrap_or_else(PoisonError::into_inner);
        let output = server.run(&server.script, "start");
        drop(one_at_a_time);
        let said = String::from_utf8_lossy(&output.stdout);
        server.values = said.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let is_up = output.status.success() && !server.values.is_empty();
        assert!(is_up, "{name} does not start: {said}{}", String::from_utf8_lossy(&output.stderr));
        Some(server)
    }

    fn run(&self, script: &Path, command: &str) -> Output {
        let settings = self.settings.iter().map(|(name, value)| (*name, value.as_str()));
        Command::new("bash").arg(script).arg(command).env("MEMBRANA_SERVERS", self.state.path()).envs(settings).output().unwrap()
    }

    /// The script's own check, which plays a small story.
    pub(crate) fn check(&self) {
        let played = self.run(&self.script, "check");
        assert!(played.status.success(), "{}", String::from_utf8_lossy(&played.stderr));
    }

    /// What it printed under this key.
    pub(crate) fn value(&self, key: &str) -> &str {
        self.values.get(key).map(String::as_str).unwrap_or_default()
    }

    /// A file of its state, such as a log.
    pub(crate) fn file(&self, path: &str) -> String {
        std::fs::read_to_string(self.state.path().join(path)).unwrap_or_default()
    }
}

/// A dialogue by lines: what is sent, and what the answer must begin with.
pub(crate) fn talk(port: &str, lines: &[(&[u8], &str)]) -> String {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (mut reader, mut all) = (BufReader::new(stream.try_clone().unwrap()), String::new());
    for (send, wanted) in lines {
        stream.write_all(send).unwrap();
        loop {
            let mut line = Vec::new();
            let ended = reader.read_until(b'\n', &mut line);
            assert!(ended.as_ref().is_ok_and(|n| *n > 0), "{ended:?} after {:?}; so far:\n{all}", String::from_utf8_lossy(send));
            let line = String::from_utf8_lossy(&line).into_owned();
            all.push_str(&line);
            if line.starts_with(wanted) {
                break;
            }
        }
    }
    all
}

/// Gives a mail, as it is, to the server of the one who is written to.
pub(crate) fn deliver(port: &str, from: &str, mail: &[u8]) {
    let (from, data) = (format!("MAIL FROM:<{from}>\r\n"), [mail, b"\r\n.\r\n"].concat());
    let lines: [(&[u8], &str); 7] = [
        (b"", "220 "),
        (b"EHLO test\r\n", "250 "),
        (from.as_bytes(), "250 "),
        (b"RCPT TO:<support@acme.test>\r\n", "250 "),
        (b"DATA\r\n", "354 "),
        (&data, "250 "),
        (b"QUIT\r\n", "221 "),
    ];
    talk(port, &lines);
}

/// An ordinary mail to support, from `Marco Rossi`.
pub(crate) fn mail(from: &str, id: &str, subject: &str, text: &str) -> Vec<u8> {
    format!("From: Marco Rossi <{from}>\r\nTo: support@acme.test\r\nSubject: {subject}\r\nMessage-ID: <{id}>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}").into_bytes()
}

/// Everything in the mailbox of this user; empty where it has none yet.
pub(crate) fn mailbox(server: &Server, user: &str) -> String {
    let login = format!("a LOGIN {user} {}\r\n", server.value("PASS"));
    let lines: [(&[u8], &str); 5] = [
        (b"", "* OK"),
        (login.as_bytes(), "a OK"),
        (b"b SELECT INBOX\r\n", "b OK"),
        (b"c UID FETCH 1:* BODY[]\r\n", "c OK"),
        (b"d LOGOUT\r\n", "d OK"),
    ];
    talk(server.value("IMAP_PORT"), &lines)
}

/// The section of a mail channel on this server. Its password lies in the file `password`.
pub(crate) fn mail_channel(server: &Server) -> String {
    let (imap, submission) = (server.value("IMAPS_PORT"), server.value("SUBMISSION_PORT"));
    format!(
        r#"
[[channel]]
name = "support-mail"
plugin = "mail"
poll = "1s"
config = {{ imap = "localhost:{imap}", smtp = "localhost:{submission}", user = "support", from = "Acme <support@acme.test>" }}
secrets = {{ password = {{ file = "password" }} }}
grant = {{ net = ["localhost:{imap}", "localhost:{submission}"], private = ["127.0.0.0/8", "::1/128"] }}
"#
    )
}

/// An account of a fediverse server, as its own client sees it.
pub(crate) struct Account {
    base: String,
    /// Its bearer token.
    pub(crate) token: String,
}

impl Account {
    /// Logs in.
    pub(crate) async fn enter(base: &str, user: &str, password: &str) -> Self {
        let mut account = Self { base: base.to_owned(), token: String::new() };
        let page = account.ask("POST", "/oauth/x-snac-get-token", &format!("login={user}&passwd={}", encoded(password))).await;
        let is_token = |word: &&str| word.len() >= 20 && word.chars().all(|c| c.is_ascii_hexdigit());
        account.token = page.split(|c: char| !c.is_ascii_alphanumeric()).find(is_token).unwrap_or_default().to_owned();
        assert!(!account.token.is_empty(), "{user} cannot log in: {page}");
        account
    }

    async fn ask(&self, method: &str, path: &str, form: &str) -> String {
        let address = self.base.trim_start_matches("http://").parse().unwrap();
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        call(address, method, path, &headers, form.as_bytes()).await.unwrap().body
    }

    /// What an address answers.
    pub(crate) async fn get(&self, path: &str) -> Json {
        let body = self.ask("GET", path, "").await;
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// Whether its server knows this status.
    pub(crate) async fn knows(&self, status: &str) -> bool {
        self.ask("GET", &format!("/api/v1/statuses/{status}"), "").await.starts_with('{')
    }

    /// Answers a status; gives the new one.
    pub(crate) async fn answer(&self, status: &str, text: &str) -> Json {
        let form = format!("status={}&visibility=public&in_reply_to_id={status}", encoded(text));
        serde_json::from_str(&self.ask("POST", "/api/v1/statuses", &form).await).unwrap()
    }
}

/// As forms write it.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The section of a channel on this fediverse server. Its token lies in the file `token`.
pub(crate) fn mastodon_channel(base: &str) -> String {
    format!(
        "[[channel]]\nname = \"acme-masto\"\nplugin = \"mastodon\"\npoll = \"1s\"\nconfig = {{ base_url = \"{base}\" }}\nsecrets = {{ token = {{ file = \"token\" }} }}\ngrant = {{ http = [\"{base}\"] }}\n"
    )
}

/// A real blog's REST API, as its administrator uses it.
pub(crate) struct WordPress {
    base: String,
    login: String,
}

impl WordPress {
    pub(crate) fn of(server: &Server) -> Self {
        use base64::Engine as _;
        let login = format!("{}:{}", server.value("WP_USER"), server.value("WP_APP_PASSWORD"));
        Self { base: server.value("BLOG").to_owned(), login: base64::engine::general_purpose::STANDARD.encode(login) }
    }

    async fn create(&self, what: &str, body: Json) -> Json {
        let address = self.base.trim_start_matches("http://").parse().unwrap();
        let login = format!("Basic {}", self.login);
        let headers = [("authorization", login.as_str()), ("content-type", "application/json")];
        let answer = call(address, "POST", &format!("/wp-json/wp/v2/{what}"), &headers, body.to_string().as_bytes()).await.unwrap();
        assert_eq!(answer.status, 201, "{what}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Publishes a post; gives its number.
    pub(crate) async fn post(&self, title: &str, html: &str) -> u64 {
        let post = self.create("posts", serde_json::json!({ "title": title, "content": html, "status": "publish" })).await;
        post["id"].as_u64().unwrap()
    }

    /// Publishes a comment of this name.
    pub(crate) async fn comment(&self, post: u64, name: &str, text: &str) {
        let body = serde_json::json!({ "post": post, "author_name": name, "author_email": "anna@customers.test", "content": text });
        self.create("comments", body).await;
    }

    /// A comment by the form that visitors use. Gives the status of the answer, a redirect where it was taken.
    pub(crate) async fn form(&self, post: u64, name: &str, text: &str) -> u16 {
        let address = self.base.trim_start_matches("http://").parse().unwrap();
        let (name, text) = (encoded(name), encoded(text));
        let form = format!("author={name}&email=anna%40customers.test&comment={text}&comment_post_ID={post}&comment_parent=0");
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        call(address, "POST", "/wp-comments-post.php", &headers, form.as_bytes()).await.unwrap().status
    }

    /// The section of a channel on this blog.
    pub(crate) fn channel(&self) -> String {
        format!(
            "[[channel]]\nname = \"blog\"\nplugin = \"feed\"\npoll = \"1s\"\nconfig = {{ urls = [\"{base}/feed/\"] }}\ngrant = {{ http = [\"{base}\"] }}\n",
            base = self.base
        )
    }
}

/// What the judge of webhooks wrote down, each with its verdict.
pub(crate) async fn verdicts(server: &Server) -> Vec<Json> {
    let address = server.value("HOOK").trim_start_matches("http://").parse().unwrap();
    let log = call(address, "GET", "/log", &[], b"").await.unwrap().body;
    serde_json::from_str(&log).unwrap()
}

/// A member of a Misago forum, as their browser acts.
pub(crate) struct Member {
    address: String,
    cookies: BTreeMap<String, String>,
}

impl Member {
    /// Logs in.
    pub(crate) fn enter(base: &str, user: &str, password: &str) -> Self {
        let mut member = Self { address: base.trim_start_matches("http://").to_owned(), cookies: BTreeMap::new() };
        member.ask("GET", "/", "");
        let login = serde_json::json!({ "username": user, "password": password }).to_string();
        member.ask("POST", "/api/auth/", &login);
        assert!(member.cookies.contains_key("sessionid"), "{user} cannot log in");
        member
    }

    /// One exchange, after which the forum hangs up.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> String {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let token = self.cookies.get("csrftoken").map(String::as_str).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\ncookie: {}\r\nx-csrftoken: {token}\r\n\r\n",
            self.address,
            body.len(),
            cookies.join("; ")
        );
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let answer = std::io::read_to_string(stream).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let set = head.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        let pairs = set.filter_map(|(_, value)| value.split(';').next().unwrap_or_default().trim().split_once('='));
        self.cookies.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        body.to_owned()
    }

    /// Opens a thread; gives its number.
    pub(crate) fn open(&mut self, title: &str, text: &str) -> u64 {
        let body = serde_json::json!({ "category": 3, "title": title, "post": text }).to_string();
        let answer = self.ask("POST", "/api/threads/", &body);
        let thread: Json = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        thread["id"].as_u64().unwrap_or_else(|| panic!("no thread: {answer}"))
    }

    /// What stands in a thread, in order.
    pub(crate) fn posts(&mut self, thread: u64) -> Vec<Json> {
        let answer = self.ask("GET", &format!("/api/threads/{thread}/posts/"), "");
        let page: Json = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        page["post_set"]["results"].as_array().cloned().unwrap_or_default()
    }
}

/// The section of a channel on this forum. Its password lies in the file `password`.
pub(crate) fn misago_channel(base: &str) -> String {
    format!(
        "[[channel]]\nname = \"acme-forum\"\nplugin = \"misago\"\npoll = \"1s\"\nconfig = {{ base_url = \"{base}\", username = \"support\" }}\nsecrets = {{ password = {{ file = \"password\" }} }}\ngrant = {{ http = [\"{base}\"] }}\n"
    )
}
