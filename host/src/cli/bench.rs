//! `membrana bench`: every promise of speed as a ratio to a baseline of the same run, with an A/A run to show the noise.

mod boundary;
mod native;
mod pipeline;
mod start;
mod webhook;

use serde_json::json;

use super::outcome::{Failure, say};
use super::show;

/// What can be measured.
pub(super) const NAMES: [&str; 4] = ["boundary", "pipeline", "webhook", "start"];

/// One figure.
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    baseline: f64,
    /// `value` against `baseline`.
    ratio: f64,
    /// How far two runs of the same thing were apart, as a ratio.
    noise: f64,
    bar: String,
    holds: bool,
}

impl Figure {
    /// The value may be at most so many times its baseline.
    fn at_most(name: &str, value: f64, baseline: f64, unit: &'static str, noise: f64, bar: f64) -> Self {
        let ratio = value / baseline;
        Self { name: name.to_owned(), value, unit, baseline, ratio, noise, bar: format!("ratio <= {bar}"), holds: ratio <= bar }
    }

    /// The value must be at least such a part of its baseline.
    fn at_least(name: &str, value: f64, baseline: f64, unit: &'static str, noise: f64, bar: f64) -> Self {
        let ratio = value / baseline;
        Self { name: name.to_owned(), value, unit, baseline, ratio, noise, bar: format!("ratio >= {bar}"), holds: ratio >= bar }
    }

    /// The value itself has a bar; its baseline is told beside it.
    fn under(name: &str, value: f64, baseline: f64, unit: &'static str, noise: f64, most: f64) -> Self {
        Self { name: name.to_owned(), value, unit, baseline, ratio: value / baseline, noise, bar: format!("<= {most} {unit}"), holds: value <= most }
    }

    fn json(&self) -> serde_json::Value {
        let round = |number: f64| (number * 1000.0).round() / 1000.0;
        json!({ "name": self.name, "value": round(self.value), "unit": self.unit, "baseline": round(self.baseline), "ratio": round(self.ratio), "noise": round(self.noise), "bar": self.bar, "holds": self.holds })
    }
}

/// Measures one thing, or all.
pub(super) async fn run(name: Option<&str>, is_json: bool) -> Result<(), Failure> {
    let names: Vec<&str> = match name {
        None => NAMES.to_vec(),
        Some(name) if NAMES.contains(&name) => vec![name],
        Some(other) => return Err(Failure::failed(format!("there is no bench `{other}`"), format!("benches: {}", NAMES.join(", ")))),
    };
    let mut figures = Vec::new();
    for name in names {
        super::outcome::aside(format_args!("measuring {name} ..."));
        figures.extend(match name {
            "boundary" => boundary::measure().await?,
            "pipeline" => pipeline::measure().await?,
            "webhook" => webhook::measure().await?,
            _ => start::measure().await?,
        });
    }
    let rows: Vec<serde_json::Value> = figures.iter().map(Figure::json).collect();
    if is_json {
        rows.iter().for_each(say);
    } else {
        show::table(
            &rows,
            &[
                ("NAME", "/name"),
                ("VALUE", "/value"),
                ("UNIT", "/unit"),
                ("BASELINE", "/baseline"),
                ("RATIO", "/ratio"),
                ("A/A", "/noise"),
                ("BAR", "/bar"),
                ("HOLDS", "/holds"),
            ],
        )?;
    }
    match figures.iter().find(|figure| !figure.holds) {
        Some(figure) => Err(Failure::failed(format!("{} does not hold: {}", figure.name, figure.bar), "measure again on a quiet machine")),
        None => Ok(()),
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("the bench cannot run: {error}"), "")
}

/// A folder for one bench, removed at the end.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self, Failure> {
        let dir = std::env::temp_dir().join(format!("membrana-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(failed)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is in the system's folder for what may go.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
