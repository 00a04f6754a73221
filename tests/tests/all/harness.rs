//! A host as a process in a folder of its own, and what it answers on the command line.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;

/// A secret in the form of Standard Webhooks.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Whatever takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(40);

/// A host's folder, and its process while it runs.
pub(crate) struct Host {
    dir: TempDir,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    process: Option<Child>,
    /// Its time stands still but for [`Host::advance`].
    is_simulated: bool,
    /// Set in its environment, and in no command's beside it.
    environment: Vec<(&'static str, String)>,
    /// How far its simulated time was moved. Units: milliseconds.
    ahead_ms: AtomicU64,
    /// Where the next process dies.
    failpoint: Option<String>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Host {
    /// A folder with this configuration (`[host]` is written for it) and this impact table; nothing runs yet.
    pub(crate) fn new(config: &str, table: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (ahead_ms, environment) = (AtomicU64::new(0), Vec::new());
        let host = Self { dir, address, process: None, is_simulated: false, environment, ahead_ms, failpoint: None };
        host.write("impact.toml", table);
        host.configure(config);
        host
    }

    /// Writes the configuration anew.
    pub(crate) fn configure(&self, config: &str) {
        self.write("membrana.toml", format!("[host]\nlisten = \"{}\"\n{config}", self.address));
    }

    /// A file of its folder.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    /// Writes a file of its folder.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.dir.path().join(name), content).unwrap();
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A command in its folder, with its secrets.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_membrana-under-test"));
        command.current_dir(self.dir.path()).args(arguments).env("SECRET", SECRET).env_remove("MEMBRANA_LOG");
        command
    }

    /// Starts it and waits for nothing.
    pub(crate) fn spawn(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = self.command(&["run"]);
        if self.is_simulated {
            command.env("MEMBRANA_TEST_CLOCK", self.ahead_ms().to_string()).stdin(Stdio::piped());
        }
        if let Some(place) = &self.failpoint {
            command.env("MEMBRANA_TEST_FAILPOINT", place);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.process = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// From the next start on its environment has this.
    pub(crate) fn set(&mut self, name: &'static str, value: impl std::fmt::Display) {
        self.environment.push((name, value.to_string()));
    }

    /// From the next start on its environment has nothing that was set.
    pub(crate) fn unset(&mut self) {
        self.environment.clear();
    }

    /// From the next start on its time stands still but for [`Host::advance`].
    pub(crate) fn simulate_clock(&mut self) {
        self.is_simulated = true;
    }

    pub(crate) fn is_simulated(&self) -> bool {
        self.is_simulated
    }

    /// Moves a simulated clock on.
    pub(crate) fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
        let mut input = self.process.as_ref().unwrap().stdin.as_ref().unwrap();
        let told = writeln!(input, "{}", by.as_millis());
        assert!(told.is_ok() || self.failpoint.is_some(), "{told:?}\n{}", self.log());
    }

    /// How far its simulated time was moved, over all its lives. Units: milliseconds.
    pub(crate) fn ahead_ms(&self) -> u64 {
        self.ahead_ms.load(Ordering::Relaxed)
    }

    /// The next process dies at this place, `NAME` or `NAME@N`; none: it lives.
    pub(crate) fn arm(&mut self, place: Option<&str>) {
        self.failpoint = place.map(str::to_owned);
    }

    /// Says whether its process died where it was armed to.
    pub(crate) fn has_died(&mut self) -> bool {
        let Some(ended) = self.process.as_mut().and_then(|process| process.try_wait().unwrap()) else { return false };
        assert_eq!(ended.signal(), Some(9), "{ended}\n{}", self.log());
        self.process = None;
        true
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        self.spawn();
        let address = self.address;
        let is_ready = async || membrana_world::call(address, "GET", "/readyz", &[], b"").await.is_ok_and(|answer| answer.status == 200);
        assert!(eventually(is_ready).await, "the host does not start:\n{}", self.log());
    }

    /// Waits until a host that was spawned answers, or has ended by itself; says whether it answers.
    pub(crate) async fn is_ready_or_ends(&mut self) -> bool {
        let (address, process) = (self.address, self.process.as_mut().unwrap());
        let mut is_ready = false;
        let settled = eventually(async || {
            is_ready = membrana_world::call(address, "GET", "/healthz", &[], b"").await.is_ok();
            is_ready || process.try_wait().unwrap().is_some()
        });
        assert!(settled.await, "the host neither answers nor ends:\n{}", self.log());
        is_ready
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// As a power cut would, for the process.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// The id of its process.
    pub(crate) fn process(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// What its process holds in memory. Units: bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.as_ref().unwrap().id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Asks it to stop and waits for its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.process.take().unwrap().wait().unwrap().code()
    }

    /// Runs a command beside it, or alone.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A list, as `--json` prints it.
    pub(crate) fn list(&self, arguments: &[&str]) -> Vec<Json> {
        let output = self.cli(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until a list is as wanted, and gives it.
    pub(crate) async fn until(&self, arguments: &[&str], is_wanted: impl Fn(&[Json]) -> bool) -> Vec<Json> {
        let mut last = Vec::new();
        let done = eventually(async || {
            last = self.list(arguments);
            is_wanted(&last)
        });
        assert!(done.await, "{arguments:?} stays at {}\n{}", serde_json::to_string_pretty(&last).unwrap(), self.log());
        last
    }
}

/// Waits until something holds; says whether it did in time.
pub(crate) async fn eventually(holds: impl AsyncFnMut() -> bool) -> bool {
    within(PATIENCE, Duration::from_millis(50), holds).await
}

/// As [`eventually`], with another patience and pause between two looks.
pub(crate) async fn within(patience: Duration, pause: Duration, mut holds: impl AsyncFnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        if holds().await {
            return true;
        }
        tokio::time::sleep(pause).await;
    }
    false
}

/// A text inside a JSON value.
pub(crate) fn text<'j>(json: &'j Json, pointer: &str) -> &'j str {
    json.pointer(pointer).and_then(Json::as_str).unwrap_or_default()
}

/// Says something that is seen in a passing run too: libtest keeps what `println!` prints to itself.
pub(crate) fn note(what: std::fmt::Arguments<'_>) {
    let mut beside = std::io::stderr();
    writeln!(beside, "{what}").unwrap();
}
