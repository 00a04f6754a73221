//! Tells the intent of each line of standard input, for the accuracy command.

use std::io::{BufRead as _, Write as _};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        writeln!(out, "{}", membrana_intent::intent(&line?, None, None).map_or("-", |(intent, _)| intent.word()))?;
    }
    Ok(())
}
