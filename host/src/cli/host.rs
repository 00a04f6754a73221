//! Commands about the host itself: init, check, run.

use std::io::Write as _;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use crate::app::{App, AppError, examine, log_findings, process_env};
use crate::clock::Clock;
use crate::config::{DEFAULT, DEFAULT_TABLE};

use super::outcome::{Failure, aside, counted, put, put_json};
use super::watch::{LOOK, Watch};

/// Writes the commented files; never over one that is there, and both or none.
pub(super) fn init(file: &Path, is_json: bool) -> Result<(), Failure> {
    let folder = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    let table = folder.map_or_else(|| "impact.toml".into(), |dir| dir.join("impact.toml"));
    let files = [(file, DEFAULT), (table.as_path(), DEFAULT_TABLE)];
    if let Some((taken, _)) = files.iter().find(|(path, _)| path.symlink_metadata().is_ok()) {
        let message = format!("`{}` is there already; nothing was written", taken.display());
        return Err(Failure::failed(message, "move it away first, or name a file in another folder with --config"));
    }
    let failed = |path: &Path, error: std::io::Error| Failure::failed(format!("cannot write `{}`: {error}", path.display()), "");
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    }
    for (path, text) in files {
        let mut opened = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| failed(path, error))?;
        opened.write_all(text.as_bytes()).map_err(|error| failed(path, error))?;
        if !is_json {
            put(format_args!("wrote {}", path.display()))?;
        }
    }
    if is_json {
        return put_json(json!({ "wrote": [file, table] }));
    }
    put("next: edit the addresses, then `membrana check` and `membrana run`")
}

/// Loads everything and tells all there is to tell.
pub(super) async fn check(file: &Path, is_json: bool, clock: Clock) -> Result<(), Failure> {
    let (ready, report) = examine(file, &process_env(), clock).await?;
    let Some((config, ..)) = ready else { return Err(Failure::Config(report)) };
    if is_json {
        return report.findings.iter().try_for_each(|finding| put_json(finding.json()));
    }
    report.to_string().lines().try_for_each(put)?;
    put(format_args!(
        "ok: {}, {}, {}, {}, {}",
        counted(config.channels.len(), "channel"),
        counted(config.analyzers.len(), "analyzer"),
        counted(config.rules.len(), "rule"),
        counted(config.teams.len(), "team"),
        counted(config.sinks.len(), "sink")
    ))
}

/// A connection takes a file, and many systems allow a process 1024 by default.
const FILES_WANTED: u64 = 16_384;

/// As far as whoever starts it may. Where that is not far the host refuses to accept connections sooner, and says so.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = FILES_WANTED.min(limit.maximum.unwrap_or(u64::MAX));
    if limit.current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit })
    {
        warn!(%error, "The number of files that may be open cannot be raised.");
    }
}

/// Runs until a signal ends it.
pub(super) async fn run(file: &Path, clock: Clock) -> Result<(), Failure> {
    allow_many_files();
    // From the first moment on: a signal that nobody waits for would end the process in the middle.
    let no_signal = |error: std::io::Error| Failure::failed(format!("cannot wait for signals: {error}"), "");
    let (mut hang_up, mut terminate, mut interrupt) = (
        signal(SignalKind::hangup()).map_err(no_signal)?,
        signal(SignalKind::terminate()).map_err(no_signal)?,
        signal(SignalKind::interrupt()).map_err(no_signal)?,
    );
    // From before it is read on: what is written while plugins are compiled is another change.
    let mut watch = Watch::begin(vec![file.to_owned()], clock.now());
    let app = tokio::select! {
        started = App::start(file, process_env(), clock.clone()) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    for address in app.addresses() {
        info!(%address, "Listening.");
    }
    aside(format_args!(
        "membrana {} is running; http://{}",
        env!("CARGO_PKG_VERSION"),
        app.addresses().first().map(ToString::to_string).unwrap_or_default()
    ));
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => {}
            _ = looks.tick() => if !watch.look(app.files()) { continue },
        }
        // Before they are read: what is written meanwhile is another change.
        watch = Watch::begin(app.files(), clock.now());
        let mut reloading = std::pin::pin!(reload(&app));
        tokio::select! {
            () = &mut reloading => continue,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // What is halted already begins again first.
        app.is_to_stop();
        reloading.await;
        break;
    }
    info!("Stopping.");
    app.stop().await;
    Ok(())
}

async fn reload(app: &App) {
    let refused = "The new configuration was refused; the last good one stays in force.";
    match app.reload().await {
        Ok(()) => {}
        Err(AppError::Config(report)) => {
            log_findings(&report);
            error!("{refused}");
        }
        Err(AppError::Stopping) => {}
        Err(other) => error!(error = %crate::telemetry::chain(&other), "{refused}"),
    }
}
