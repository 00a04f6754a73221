//! `membrana demo`: a real host on pretend networks, told as it happens. Every time and figure is measured.
//!
//! The host is a process of its own with a configuration of its own, so that it can be killed honestly and played with after.

mod host;
mod scenes;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use membrana_world::{Blog, Crm};

use host::DemoHost;
use scenes::Scenes;

use super::outcome::{Failure, say};

/// Shared with the pretend shop and the pretend CRM, on this machine alone.
const SECRET: &str = "whsec_ZGVtby1kZW1vLWRlbW8tZGVtby1kZW1vLWRlbW8=";

/// Where the demo keeps its files.
fn folder() -> PathBuf {
    PathBuf::from("demo-data")
}

/// Tells the story; then stays, unless `is_once` or nobody watches.
pub(super) async fn run(is_once: bool) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::failed(format!("the demo cannot start: {error}"), "is the folder writable, and loopback reachable?");
    let dir = folder();
    clear(&dir).map_err(failed)?;
    let (blog, crm) = (Blog::start().await.map_err(failed)?, Crm::start(SECRET).await.map_err(failed)?);
    blog.post("Our new invoices", "Acme", "<p>From this month on you get one invoice for everything.</p>");
    let mut host = DemoHost::new(&dir, &blog, &crm).map_err(failed)?;
    title(&format!("membrana {}   a company's blog, its shop, its CRM; store: {} (sled)", env!("CARGO_PKG_VERSION"), dir.display()));
    let started = host.start().await?;
    say(format_args!("  host started in {} ms on http://{}", started.as_millis(), host.address));
    for channel in host.channels().await? {
        say(format_args!("  {channel}"));
    }
    let mut scenes = Scenes { host, blog, crm };
    scenes.tell().await?;
    let is_watched = std::io::stdout().is_terminal();
    if is_once || !is_watched {
        return Ok(());
    }
    scenes.your_turn();
    tokio::signal::ctrl_c().await.map_err(failed)
}

/// Only a folder that an earlier demo made is removed.
fn clear(dir: &Path) -> std::io::Result<()> {
    let marker = dir.join(".membrana-demo");
    if marker.is_file() {
        std::fs::remove_dir_all(dir)?;
    }
    std::fs::create_dir_all(dir)?;
    std::fs::File::create(marker)?.write_all(b"made by `membrana demo`; removed by the next one\n")
}

fn title(text: &str) {
    let bold = anstyle::Style::new().bold();
    say(format_args!("\n{bold}{text}{bold:#}"));
}

fn good(text: &str) {
    let green = anstyle::AnsiColor::Green.on_default();
    say(format_args!("   {green}✓{green:#} {text}"));
}

fn line(text: &str) {
    say(format_args!("   {text}"));
}
