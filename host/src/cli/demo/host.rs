//! The host of the demo: its files, its process, and what its API answers.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use membrana_world::{Blog, Crm, call};
use serde_json::Value as Json;

use crate::cli::outcome::Failure;
use crate::clock::Clock;

use super::SECRET;

/// Whatever takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

const TABLE: &str = r#"# The impact table of the demo: the first row that matches decides.
version = "2026-11"

[[row]]
name = "complaint in public"
when = { intent = ["complaint"], sentiment = { max = -0.2 }, visibility = ["public"], language = ["it", "en"] }
responsible = "support"
consulted = ["logistics"]
informed = ["marketing"]
within = "2h"
escalate = [{ after = "1h", to = "support-lead" }]
reply = { mode = "draft", review = ["legal"], text = { it = "Ciao {author}, ci dispiace. Ci stiamo lavorando.", en = "Hi {author}, we are sorry. We are on it." } }

[[row]]
name = "question in public"
when = { intent = ["question", "request"], visibility = ["public"] }
responsible = "marketing"
within = "1d"

[[row]]
name = "check-in at the shop"
when = { kind = ["checkin"] }
responsible = "shops"
within = "1d"

[[row]]
name = "everything else"
"#;

/// See the module.
pub(super) struct DemoHost {
    pub(super) address: SocketAddr,
    dir: PathBuf,
    process: Option<Child>,
}

impl Drop for DemoHost {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            super::line(&format!("the demo's host may still run: {error}"));
        }
    }
}

impl DemoHost {
    /// Writes configuration and table.
    pub(super) fn new(dir: &Path, blog: &Blog, crm: &Crm) -> std::io::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        std::fs::write(dir.join("impact.toml"), TABLE)?;
        std::fs::write(dir.join("secret"), SECRET)?;
        std::fs::write(dir.join("membrana.toml"), config(address, blog, crm))?;
        Ok(Self { address, dir: dir.to_owned(), process: None })
    }

    /// Starts the process; gives the time until it could take webhooks.
    pub(super) async fn start(&mut self) -> Result<Duration, Failure> {
        let failed = |error: std::io::Error| Failure::failed(format!("the demo's host does not start: {error}"), "see demo-data/log");
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join("log")).map_err(failed)?;
        let file = self.dir.join("membrana.toml");
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.arg("--config").arg(file).arg("run").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let watch = Clock::system().stopwatch();
        self.process = Some(command.spawn().map_err(failed)?);
        let address = self.address;
        self.until("it is ready", async || call(address, "GET", "/readyz", &[], b"").await.is_ok_and(|answer| answer.status == 200).then_some(()))
            .await?;
        Ok(watch.elapsed())
    }

    /// kill -9.
    pub(super) fn kill(&mut self) -> std::io::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.kill()?;
        process.wait().map(|_| ())
    }

    /// Waits until `look` finds something.
    pub(super) async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> Result<T, Failure> {
        let watch = Clock::system().stopwatch();
        while watch.elapsed() < PATIENCE {
            if let Some(found) = look().await {
                return Ok(found);
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(Failure::failed(format!("waited {} s until {what}, in vain", PATIENCE.as_secs()), format!("see {}", self.dir.join("log").display())))
    }

    /// A list of the API.
    pub(super) async fn list(&self, path: &str) -> Vec<Json> {
        let answer = call(self.address, "GET", &format!("/api/v1/{path}"), &[], b"").await;
        let body = answer.map(|answer| answer.body).unwrap_or_default();
        body.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// An order to the API; says whether it was carried out.
    pub(super) async fn order(&self, path: &str) -> bool {
        call(self.address, "POST", &format!("/api/v1/{path}"), &[], b"").await.is_ok_and(|answer| answer.status == 200)
    }

    /// One line a channel.
    pub(super) async fn channels(&self) -> Result<Vec<String>, Failure> {
        let is_there = async || {
            let all = self.list("channels").await;
            let blog = all.iter().find(|channel| text(channel, "/name") == "blog")?;
            (text(blog, "/state") == "connected").then_some(all.clone())
        };
        let all = self.until("the blog is connected", is_there).await?;
        Ok(all
            .iter()
            .map(|channel| {
                format!(
                    "{:8} {:12} {}",
                    text(channel, "/name"),
                    text(channel, "/plugin"),
                    text(channel, "/state").replace("waiting", "waits for signed webhooks")
                )
            })
            .collect())
    }
}

/// A text inside a JSON value.
pub(super) fn text<'j>(json: &'j Json, pointer: &str) -> &'j str {
    json.pointer(pointer).and_then(Json::as_str).unwrap_or_default()
}

fn config(address: SocketAddr, blog: &Blog, crm: &Crm) -> String {
    format!(
        r#"# The configuration of the demo. `membrana --config demo-data/membrana.toml status` works while it runs.
[host]
listen = "{address}"

[[channel]]
name = "blog"
plugin = "feed"
poll = "1s"
config = {{ urls = ["{blog}/feed/"] }}
grant = {{ http = ["{blog}"] }}

[[channel]]
name = "shop"
plugin = "touchpoint"
config = {{ kind = "checkin", id = "/order/id", text = "/note", author_id = "/customer/id", author_name = "/customer/name" }}
ingress = {{ verify = "standard-webhooks" }}
secrets = {{ webhook = {{ file = "secret" }} }}

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
after = ["language", "sentiment"]

[[rule]]
name = "impact"
plugin = "impact-table"
config = {{ table_file = "impact.toml" }}

[[team]]
name = "support"
[[team]]
name = "support-lead"
[[team]]
name = "logistics"
[[team]]
name = "marketing"
[[team]]
name = "legal"
[[team]]
name = "shops"

[[sink]]
name = "crm"
url = "{crm}"
secret = {{ file = "secret" }}
"#,
        blog = blog.url(),
        crm = crm.url(),
    )
}
