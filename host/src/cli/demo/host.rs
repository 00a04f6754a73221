//! The host of the demo: its files, its process, and what its API answers.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use membrana_world::call;
use serde_json::Value as Json;

use crate::cli::outcome::{Failure, counted};
use crate::clock::Clock;

use super::config::{MAD, TABLE, config};
use super::{PASSWORD, SECRET, World};

/// Whatever takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

/// See the module.
pub(super) struct DemoHost {
    pub(super) address: SocketAddr,
    dir: PathBuf,
    process: Option<Child>,
    config: String,
}

impl Drop for DemoHost {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            super::look::line(&format!("the demo's host may still run: {error}"));
        }
    }
}

impl DemoHost {
    /// Writes configuration, table and what they name.
    pub(super) fn new(dir: &Path, world: &World) -> std::io::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = config(address, world);
        for (name, content) in
            [("impact.toml", TABLE), ("secret", SECRET), ("password", PASSWORD), ("ca.pem", &world.mail.ca), ("membrana.toml", &config)]
        {
            std::fs::write(dir.join(name), content)?;
        }
        std::fs::write(dir.join("mad.wasm"), membrana_bundle::MAD)?;
        Ok(Self { address, dir: dir.to_owned(), process: None, config })
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

    /// Writes the configuration anew, with or without the analyzer that goes mad, and has it read as an admin would: SIGHUP.
    pub(super) async fn reload(&self, is_mad: bool) -> Result<Duration, Failure> {
        let failed = |error: std::io::Error| Failure::failed(format!("cannot reload: {error}"), "see demo-data/log");
        let extra = if is_mad { MAD } else { "" };
        std::fs::write(self.dir.join("membrana.toml"), format!("{}{extra}", self.config)).map_err(failed)?;
        let id = self.process.as_ref().map(Child::id).unwrap_or_default();
        let watch = Clock::system().stopwatch();
        Command::new("sh").arg("-c").arg(format!("kill -HUP {id}")).status().map_err(failed)?;
        let is_read = async || {
            let status = self.status().await?;
            let has_mad = status.pointer("/analyzers").and_then(Json::as_array)?.iter().any(|one| text(one, "/name") == "mood");
            (has_mad == is_mad).then_some(())
        };
        self.until("the configuration is read again", is_read).await?;
        Ok(watch.elapsed())
    }

    async fn status(&self) -> Option<Json> {
        let answer = call(self.address, "GET", "/api/v1/status", &[], b"").await.ok()?;
        serde_json::from_str(&answer.body).ok()
    }

    /// What runs here, in a line.
    pub(super) async fn banner(&self, dir: &Path) -> String {
        let status = self.status().await.unwrap_or_default();
        let count = |thing: &str| counted(status.get(format!("{thing}s")).and_then(Json::as_array).map_or(0, Vec::len), thing);
        format!(
            "membrana {}  {} · {} · {} · store: {} (sled)  http://{}",
            env!("CARGO_PKG_VERSION"),
            count("channel"),
            count("analyzer"),
            count("rule"),
            dir.display(),
            self.address
        )
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
    pub(super) async fn order(&self, path: &str, body: &str) -> bool {
        call(self.address, "POST", &format!("/api/v1/{path}"), &[], body.as_bytes()).await.is_ok_and(|answer| answer.status == 200)
    }

    /// One line a channel, once all that poll are connected and have read what was there before.
    pub(super) async fn channels(&self) -> Result<Vec<String>, Failure> {
        let n_channels = self.config.matches("[[channel]]").count();
        let is_there = async || {
            let all = self.list("channels").await;
            let is_up = |channel: &Json| text(channel, "/plugin") == "touchpoint" || text(channel, "/state") == "connected";
            (all.len() == n_channels && all.iter().all(is_up)).then_some(all)
        };
        let all = self.until("the channels are connected", is_there).await?;
        let is_imported = async || (!self.list("interactions?channel=support-mail").await.is_empty()).then_some(());
        self.until("the mails of yesterday are read", is_imported).await?;
        Ok(all.iter().map(channel_line).collect())
    }
}

fn channel_line(channel: &Json) -> String {
    let (plugin, state) = (text(channel, "/plugin"), text(channel, "/state"));
    let how = match plugin {
        "mail" => " (IMAP, TLS)",
        "facebook" => ", tells by signed webhooks",
        "touchpoint" => " for signed webhooks",
        _ => "",
    };
    format!("{:14} {plugin:12} {state}{how}", text(channel, "/name"))
}

/// A text inside a JSON value.
pub(super) fn text<'j>(json: &'j Json, pointer: &str) -> &'j str {
    json.pointer(pointer).and_then(Json::as_str).unwrap_or_default()
}
