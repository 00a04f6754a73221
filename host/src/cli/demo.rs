//! `membrana demo`: a real host on pretend networks, told as it happens. Every time and figure is measured.
//!
//! The host is a process of its own with a configuration of its own, so that it can be killed honestly and played with after.

mod complaints;
mod config;
mod host;
mod look;
mod mad;
mod rush;
mod scenes;
mod summary;
mod swap;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use membrana_world::{Blog, Crm, Discourse, ForumTopic, Mail, Mastodon, Meta, Shape, US, X};
use tokio::signal::unix::{SignalKind, signal};

use host::DemoHost;
use look::{line, title};
use scenes::Scenes;

use super::outcome::Failure;
use crate::clock::Clock;

/// Shared with the pretend Meta, the pretend shop and the pretend CRM, on this machine alone.
const SECRET: &str = "whsec_ZGVtby1kZW1vLWRlbW8tZGVtby1kZW1vLWRlbW8=";
/// Of the company at the pretend networks.
const PASSWORD: &str = "demo-demo-demo";
/// Tells a folder of ours from anybody else's.
const MARKER: &str = ".membrana-demo";

/// Calls in a quarter of an hour that the pretend X takes: its clock moves with the story alone, so that a real limit would never end.
const X_CALLS: u32 = 1_000_000;

/// The pretend networks.
pub(super) struct World {
    x: X,
    meta: Meta,
    forum: Discourse,
    masto: Mastodon,
    mail: Mail,
    blog: Blog,
    crm: Crm,
    /// What the company said on its Page.
    news: String,
    /// What the forum talks about.
    topic: ForumTopic,
}

impl World {
    /// With what was said before the company had membrana.
    async fn start() -> std::io::Result<Self> {
        const NEWS: &str = "From this month on you get one invoice for everything.";
        let x = X::start(PASSWORD, PASSWORD, Clock::system().now().0).await?;
        for path in ["GET /2/users/", "GET /2/tweets/search/recent"] {
            x.limit(path, X_CALLS);
        }
        let (meta, forum) = (Meta::start(PASSWORD, SECRET).await?, Discourse::start(PASSWORD, US).await?);
        let news = meta.post(US, NEWS);
        // What happened before is told already.
        drop(meta.deliveries(Shape::Nested));
        let topic = forum.open("nina", "The new invoices", "Has anybody got the new invoice yet?");
        let (mail, blog) = (Mail::start(PASSWORD).await?, Blog::start().await?);
        blog.post("Our new invoices", "Acme", &format!("<p>{NEWS}</p>"));
        mail.deliver(&complaints::first_letter());
        let (masto, crm) = (Mastodon::start(PASSWORD).await?, Crm::start(SECRET).await?);
        Ok(Self { x, meta, forum, masto, mail, blog, crm, news, topic })
    }

    /// Two of the networks have clocks of their own.
    fn keep_time(&self) {
        let now = Clock::system().now().0;
        self.x.advance(Duration::from_millis(now.saturating_sub(self.x.now_ms())));
        self.meta.advance(now.saturating_sub(self.meta.now()));
    }
}

/// Where the demo keeps its files.
fn folder() -> PathBuf {
    PathBuf::from("demo-data")
}

/// Tells the story; then stays, unless `is_once` or nobody watches. Errors: where the story was not as it should be.
pub(super) async fn run(is_once: bool) -> Result<(), Failure> {
    let scenes = tokio::select! {
        told = story() => told?,
        stopped = told_to_stop() => return stopped.and(Err(Failure::failed("stopped before the story ended", ""))),
    };
    if is_once || !std::io::stdout().is_terminal() {
        return Ok(());
    }
    scenes.your_turn();
    told_to_stop().await
}

/// Ctrl-C, `kill`, or a terminal that is closed: the host must not outlive the demo.
async fn told_to_stop() -> Result<(), Failure> {
    let mut ends = signal(SignalKind::terminate()).map_err(cannot_start)?;
    let mut hangs_up = signal(SignalKind::hangup()).map_err(cannot_start)?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done.map_err(cannot_start),
        _ = ends.recv() => Ok(()),
        _ = hangs_up.recv() => Ok(()),
    }
}

fn cannot_start(error: std::io::Error) -> Failure {
    Failure::failed(format!("the demo cannot start: {error}"), "is the folder writable, and loopback reachable?")
}

async fn story() -> Result<Scenes, Failure> {
    let dir = folder();
    clear(&dir)?;
    let world = World::start().await.map_err(cannot_start)?;
    let mut host = DemoHost::new(&dir, &world).map_err(cannot_start)?;
    line("starting a host: its plugins are compiled for this machine, once…");
    let started = host.start().await?;
    let channels = host.channels().await?;
    title(&host.banner(&dir).await);
    line(&format!("host started in {:.1} s, plugins compiled; its channels:", started.as_secs_f64()));
    channels.iter().for_each(|channel| line(channel));
    let mut scenes = Scenes { host, world };
    scenes.tell().await?;
    Ok(scenes)
}

/// Only a folder that an earlier demo made is removed. Errors: it holds what is not ours.
fn clear(dir: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("cannot prepare `{}`: {error}", dir.display()), "is the folder writable?");
    let marker = dir.join(MARKER);
    if marker.is_file() {
        std::fs::remove_dir_all(dir).map_err(failed)?;
    }
    std::fs::create_dir_all(dir).map_err(failed)?;
    if std::fs::read_dir(dir).map_err(failed)?.next().is_some() {
        return Err(Failure::failed(
            format!("`{}` is not empty, and no earlier demo made it", dir.display()),
            "move it away, or start the demo in another folder",
        ));
    }
    let mut file = std::fs::File::create(marker).map_err(failed)?;
    file.write_all(b"made by `membrana demo`; removed by the next one\n").map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_of_an_earlier_demo_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let ours = dir.path().join("ours");
        clear(&ours).unwrap();
        std::fs::write(ours.join("log"), "x").unwrap();
        clear(&ours).unwrap();
        assert!(!ours.join("log").exists());

        let theirs = dir.path().join("theirs");
        std::fs::create_dir(&theirs).unwrap();
        std::fs::write(theirs.join("thesis.txt"), "x").unwrap();
        assert!(matches!(clear(&theirs), Err(Failure::Failed(message, _)) if message.contains("not empty")));
        assert!(theirs.join("thesis.txt").exists() && !theirs.join(MARKER).exists());
    }
}
