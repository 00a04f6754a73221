//! The host's binary under another name: cargo tells a package's tests only where that package's own binaries are.
//!
//! With `MEMBRANA_TEST_CLOCK` its time stands still, and each line of its input moves it on by so many milliseconds.

use std::time::Duration;

use membrana::clock::Clock;

fn main() -> std::process::ExitCode {
    let is_moved = std::env::var_os("MEMBRANA_TEST_CLOCK").is_some();
    membrana::cli::run(if is_moved { moved_by_input() } else { Clock::system() })
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
