//! `membrana bench` as a script meets it: one object a figure, an exit code that the ratios decide, nothing left behind.

use serde_json::Value as Json;

use crate::harness::{Host, text};

/// Of every figure, sorted.
const KEYS: [&str; 8] = ["bar", "baseline", "holds", "name", "noise", "ratio", "unit", "value"];

/// Of `bench channels`.
const CHANNELS: [&str; 9] = ["x", "mastodon", "discourse", "misago", "feed", "facebook", "instagram", "mail", "touchpoint"];

#[test]
fn bench_start_prints_one_object_a_figure_and_leaves_nothing() {
    prints_and_leaves_nothing("start", &["start.memory-idle", "start.warm", "start.warm-ms"]);
}

#[test]
fn bench_channels_takes_in_ten_thousand_items_of_each_connector() {
    let names = CHANNELS.map(|channel| [format!("channels.{channel}"), format!("channels.{channel}-us")]);
    prints_and_leaves_nothing("channels", &names.iter().flatten().map(String::as_str).collect::<Vec<_>>());
}

fn prints_and_leaves_nothing(bench: &str, expected: &[&str]) {
    let host = Host::new("", "");

    let output = host.cli(&["bench", bench, "--json"]);

    let told = String::from_utf8_lossy(&output.stderr);
    let figures: Vec<Json> = String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = figures.iter().map(|figure| text(figure, "/name")).collect();
    assert_eq!(names, expected, "{told}");
    for figure in &figures {
        let mut keys: Vec<&String> = figure.as_object().unwrap().keys().collect();
        keys.sort_unstable();
        assert_eq!(keys, KEYS);
        assert!(["/value", "/baseline", "/ratio", "/noise"].iter().all(|key| figure.pointer(key).unwrap().as_f64().is_some_and(|n| n > 0.0)));
        assert!(figure["holds"].is_boolean() && !text(figure, "/unit").is_empty() && !text(figure, "/bar").is_empty());
    }
    let fails = figures.iter().any(|figure| text(figure, "/bar").starts_with("ratio ") && figure["holds"] == false);
    assert_eq!(output.status.code(), Some(i32::from(fails)), "{told}");
    let left =
        std::fs::read_dir(host.dir()).unwrap().filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("membrana-bench"));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_bench_that_does_not_exist_names_those_that_do() {
    let host = Host::new("", "");

    let output = host.cli(&["bench", "warp"]);

    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("boundary, pipeline, webhook, swap, neighbour, channels, start"));
}
