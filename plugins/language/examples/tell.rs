//! Tells the language of each line of standard input, for the accuracy command.

use std::io::{BufRead as _, Write as _};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        writeln!(out, "{}", membrana_language::language(&line?).unwrap_or("-"))?;
    }
    Ok(())
}
