//! Commands about the host itself: init, check, run.

use std::io::Write as _;
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::app::{App, AppError, Kit, prepare, process_env};
use crate::config::{self, DEFAULT, DEFAULT_TABLE, Report};

use super::outcome::{Failure, aside, say};

/// Writes the commented files; never over one that is there.
pub(super) fn init(file: &Path) -> Result<(), Failure> {
    let table = file.parent().map(|dir| dir.join("impact.toml")).unwrap_or_else(|| "impact.toml".into());
    for (path, text) in [(file, DEFAULT), (table.as_path(), DEFAULT_TABLE)] {
        let mut opened = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| {
            Failure::failed(format!("cannot write `{}`: {error}", path.display()), "move it away first, or name another file with --config")
        })?;
        opened.write_all(text.as_bytes()).map_err(|error| Failure::failed(format!("cannot write `{}`: {error}", path.display()), ""))?;
        say(format_args!("wrote {}", path.display()));
    }
    say("next: edit the addresses, then `membrana check` and `membrana run`");
    Ok(())
}

/// Loads everything and tells all there is to tell.
pub(super) async fn check(file: &Path, is_json: bool) -> Result<(), Failure> {
    let (config, mut report) = match config::read(file, process_env().as_ref()) {
        Ok(read) => read,
        Err(report) => return Err(Failure::Config(report)),
    };
    let kit = Kit::new(&config)?;
    let (prepared, findings) = prepare(&config, &kit).await;
    report.extend(findings);
    if prepared.is_none() {
        return Err(Failure::Config(report));
    }
    tell(&report, is_json);
    if !is_json {
        say(format_args!(
            "ok: {} channels, {} analyzers, {} rules, {} teams, {} sinks",
            config.channels.len(),
            config.analyzers.len(),
            config.rules.len(),
            config.teams.len(),
            config.sinks.len()
        ));
    }
    Ok(())
}

fn tell(report: &Report, is_json: bool) {
    if is_json {
        report.findings.iter().for_each(|finding| say(finding.json()));
    } else {
        drop(write!(anstream::stdout(), "{report}"));
    }
}

/// Runs until a signal ends it.
pub(super) async fn run(file: &Path) -> Result<(), Failure> {
    let app = App::start(file, process_env()).await?;
    for address in app.addresses() {
        info!(%address, "Listening.");
    }
    aside(format_args!(
        "membrana {} is running; http://{}",
        env!("CARGO_PKG_VERSION"),
        app.addresses().first().map(ToString::to_string).unwrap_or_default()
    ));
    let no_signal = |error: std::io::Error| Failure::failed(format!("cannot wait for signals: {error}"), "");
    let (mut hang_up, mut terminate, mut interrupt) = (
        signal(SignalKind::hangup()).map_err(no_signal)?,
        signal(SignalKind::terminate()).map_err(no_signal)?,
        signal(SignalKind::interrupt()).map_err(no_signal)?,
    );
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => match app.reload().await {
                Ok(()) => {}
                Err(AppError::Config(report)) => {
                    for finding in &report.findings {
                        error!(place = %finding.place, cure = finding.cure, "{}", finding.message);
                    }
                    error!("The new configuration was refused; the last good one stays in force.");
                }
                Err(other) => error!(error = %crate::telemetry::chain(&other), "The new configuration was refused; the last good one stays in force."),
            },
        }
    }
    info!("Stopping.");
    app.stop().await;
    Ok(())
}
