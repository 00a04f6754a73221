//! Says whether a host kept its promises, from the evidence of a run: `membrana-judge FILE`, which is JSON as in `judge::Evidence`.
//!
//! A line for each promise that was not kept. Exit codes: 0 all were kept, 1 some were not, 2 the evidence cannot be read.

use std::io::Write as _;
use std::process::ExitCode;

use membrana_tests::judge::{Evidence, judge};

fn main() -> ExitCode {
    let path = std::env::args_os().nth(1).unwrap_or_default();
    let read = std::fs::read(&path).map_err(anyhow::Error::from).and_then(|bytes| Ok(serde_json::from_slice::<Evidence>(&bytes)?));
    let evidence = match read {
        Ok(evidence) => evidence,
        Err(failure) => {
            drop(writeln!(std::io::stderr(), "cannot read the evidence `{}`: {failure:#}", path.display()));
            return ExitCode::from(2);
        }
    };
    let breaches = judge(&evidence);
    breaches.iter().for_each(|breach| drop(writeln!(std::io::stdout(), "{breach}")));
    if breaches.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
