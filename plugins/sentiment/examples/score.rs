//! Scores lines of standard input, for the accuracy command: `LANGUAGE<tab>TEXT` in, a number or `-` out.

use std::io::{BufRead as _, Write as _};

use membrana_sentiment::{Language, score};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (language, text) = line.split_once('\t').unwrap_or(("en", &line));
        match Language::of(language).and_then(|language| score(language, text)) {
            Some(number) => writeln!(out, "{number:.4}")?,
            None => writeln!(out, "-")?,
        }
    }
    Ok(())
}
