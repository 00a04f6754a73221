//! The host's binary under another name: cargo tells a package's tests only where that package's own binaries are.
//!
//! With `MEMBRANA_TEST_CLOCK` its time stands still, and each line of its input moves it on by so many milliseconds. With
//! `MEMBRANA_TEST_STORE` it is no host: it writes a store, `DIR`, or verifies one, `DIR ACKED`.

#[path = "../power.rs"]
mod power;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use membrana::clock::Clock;

fn main() -> ExitCode {
    if std::env::var_os("MEMBRANA_TEST_STORE").is_some() {
        return store(&std::env::args().collect::<Vec<_>>());
    }
    let is_moved = std::env::var_os("MEMBRANA_TEST_CLOCK").is_some();
    membrana::cli::run(if is_moved { moved_by_input() } else { Clock::system() })
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
        Err(failure) => {
            drop(std::io::Write::write_all(&mut std::io::stderr(), format!("{failure:#}\n").as_bytes()));
            ExitCode::FAILURE
        }
    }
}

fn moved_by_input() -> Clock {
    let clock = Clock::simulated(Clock::system().now());
    let moved = clock.clone();
    // Ends with the process.
    std::thread::spawn(move || {
        let lines = std::io::stdin().lines().map_while(Result::ok);
        lines.filter_map(|line| line.parse().ok()).for_each(|ms| moved.advance(Duration::from_millis(ms)));
    });
    clock
}
