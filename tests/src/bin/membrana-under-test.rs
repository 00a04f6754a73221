//! The host's binary under another name: cargo tells a package's tests only where that package's own binaries are.
//!
//! With `MEMBRANA_TEST_CLOCK` its time stands still, so many milliseconds ahead, and each line of its input moves it on by so many. With
//! `MEMBRANA_TEST_FAILPOINT`, `NAME` or `NAME@N`, it dies there, the first or the N-th time. With `MEMBRANA_TEST_STORE` it is no host: it
//! writes a store, `DIR`, or verifies one, `DIR ACKED`.

#[path = "../power.rs"]
mod power;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use membrana::clock::Clock;
use membrana::failpoint;

fn main() -> ExitCode {
    if std::env::var_os("MEMBRANA_TEST_STORE").is_some() {
        return store(&std::env::args().collect::<Vec<_>>());
    }
    let wished = |name: &str| std::env::var_os(name).and_then(|value| value.into_string().ok());
    if let Some(place) = wished("MEMBRANA_TEST_FAILPOINT") {
        let (name, n) = place.split_once('@').unwrap_or((&place, "1"));
        if !n.parse().is_ok_and(|n| failpoint::arm(name, n)) {
            return told(&anyhow::anyhow!("there is no failpoint `{place}`"));
        }
    }
    let ahead = wished("MEMBRANA_TEST_CLOCK").map(|ms| Duration::from_millis(ms.parse().unwrap_or(0)));
    membrana::cli::run(ahead.map_or_else(Clock::system, moved_by_input))
}

fn store(arguments: &[String]) -> ExitCode {
    let done = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from).and_then(|runtime| match arguments {
        [_, dir] => runtime.block_on(power::write(Path::new(dir))),
        // Nothing was acknowledged: -1.
        [_, dir, acked] => runtime.block_on(power::verify(Path::new(dir), acked.parse().unwrap_or(0))),
        _ => Err(anyhow::anyhow!("DIR, or DIR ACKED")),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => told(&failure),
    }
}

fn told(failure: &anyhow::Error) -> ExitCode {
    drop(std::io::Write::write_all(&mut std::io::stderr(), format!("{failure:#}\n").as_bytes()));
    ExitCode::FAILURE
}

fn moved_by_input(ahead: Duration) -> Clock {
    let clock = Clock::simulated(Clock::system().now().plus(ahead));
    let moved = clock.clone();
    // Ends with the process.
    std::thread::spawn(move || {
        let lines = std::io::stdin().lines().map_while(Result::ok);
        lines.filter_map(|line| line.parse().ok()).for_each(|ms| moved.advance(Duration::from_millis(ms)));
    });
    clock
}
