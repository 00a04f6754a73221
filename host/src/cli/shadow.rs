//! `membrana swap NAME FILE --shadow LENGTH`: a build is asked beside the one in force, without effect; then it is told in what they
//! differ and what the new one costs, and, where `--promote-if` holds, it is put in force.

mod condition;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use crate::config;
use crate::plugin::Length;

use super::call::{Caller, Purpose};
use super::outcome::{Failure, aside, put, put_json};
use super::show;
use super::things::{build_path, flag, one, with_query};

pub(super) use condition::Condition;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Units: characters of four bytes; the API takes 500 bytes.
const REASON_MAX: usize = 125;
/// Between two words of how far it is. Units: looks.
const PROGRESS: usize = 20;

/// `5000` items, or `10m`.
pub(super) fn length(text: &str) -> Result<Length, String> {
    let wrong = || "write a number of items, like 5000, or a time, like 10m".to_owned();
    let items = text.parse().ok().filter(|items| *items > 0).map(Length::Items);
    let time = || config::duration(text).filter(|time| time.as_secs() > 0).map(Length::Time);
    items.or_else(time).ok_or_else(wrong)
}

fn pair(length: Length) -> (&'static str, Option<String>) {
    match length {
        Length::Items(n) => ("items", Some(n.to_string())),
        Length::Time(time) => ("seconds", Some(time.as_secs().to_string())),
    }
}

/// What the command line takes.
pub(super) struct Wish {
    pub(super) name: String,
    pub(super) file: Bytes,
    pub(super) length: Length,
    pub(super) promote_if: Option<Condition>,
    pub(super) reason: Option<String>,
    /// Another plugin is meant.
    pub(super) another: bool,
}

/// Begins it, watches it to its end, tells of it, and promotes the build or not.
pub(super) async fn run(file: &Path, is_json: bool, wish: Wish) -> Result<(), Failure> {
    let caller = Caller::open(file, Purpose::Judge).await?;
    let done = watched(&caller, is_json, &wish).await;
    caller.close().await?;
    done
}

async fn watched(caller: &Caller, is_json: bool, wish: &Wish) -> Result<(), Failure> {
    let path = one("plugins", &wish.name, "/shadow");
    let begun = caller.thing("POST", &with_query(&path, [pair(wish.length), flag("another", wish.another)]), Some(wish.file.clone())).await?;
    aside("asked beside the build in force; Ctrl-C ends it and tells what was heard");
    let report = to_its_end(caller, &path, begun.get("number")).await?;
    let Some(condition) = &wish.promote_if else { return told(&wish.name, &report, is_json) };
    let unmet = match (report.get("complete"), report.get("asked")) {
        (Some(Json::Bool(true)), Some(n_asked)) if *n_asked != json!(0) => condition.unmet(&report),
        (Some(Json::Bool(true)), _) => Some("nothing came in that it could be asked about".to_owned()),
        _ => Some("it ended before its length was reached".to_owned()),
    };
    if let Some(unmet) = unmet {
        told(&wish.name, &report, is_json)?;
        return Err(Failure::failed(
            format!("not promoted: {unmet}"),
            "look at the differences; `membrana swap` without --shadow puts it in force all the same",
        ));
    }
    let reason = wish.reason.clone().unwrap_or_else(|| format!("shadow: {condition}"));
    let order = build_path(&wish.name, "/swap", Some(reason.chars().take(REASON_MAX).collect()), [flag("another", wish.another)]);
    let act = match caller.thing("POST", &order, Some(wish.file.clone())).await {
        Ok(act) => act,
        Err(refused) => {
            told(&wish.name, &report, is_json)?;
            return Err(refused);
        }
    };
    if is_json {
        let mut whole = report;
        if let Some(whole) = whole.as_object_mut() {
            whole.insert("promoted".to_owned(), act);
        }
        return put_json(whole);
    }
    told(&wish.name, &report, false)?;
    put(format_args!("promoted, for {condition}"))?;
    show::thing(&act)
}

/// `number`: of the shadow that is watched; another one means that somebody put theirs in its place.
async fn to_its_end(caller: &Caller, path: &str, number: Option<&Json>) -> Result<Json, Failure> {
    for n in 1.. {
        let is_stopped = tokio::select! {
            stopped = tokio::signal::ctrl_c() => stopped.is_ok(),
            () = tokio::time::sleep(LOOK) => false,
        };
        let report = caller.thing(if is_stopped { "DELETE" } else { "GET" }, path, None).await?;
        if report.get("number") != number {
            return Err(Failure::failed("somebody else tries another build of it by now", "wait for that one to end, then repeat the order"));
        }
        if report.get("state") != Some(&json!("running")) {
            return Ok(report);
        }
        if n % PROGRESS == 0 {
            aside(format_args!("{} asked, agreement {} ...", word(&report, "/asked"), word(&report, "/agreement")));
        }
    }
    Ok(Json::Null)
}

fn word(report: &Json, pointer: &str) -> String {
    report.pointer(pointer).filter(|value| !value.is_null()).map_or_else(|| "-".to_owned(), Json::to_string)
}

fn told(name: &str, report: &Json, is_json: bool) -> Result<(), Failure> {
    if is_json {
        return put_json(report);
    }
    show::differences(report)?;
    let word = |pointer: &str| word(report, pointer);
    put(format_args!("{name}: {} asked, agreement {}; {} left out for want of room", word("/asked"), word("/agreement"), word("/left_out")))?;
    put(format_args!(
        "faults {}; p99 an item {} us against {} ({}); processor time an item {} us against {} ({}); memory {} bytes against {}",
        word("/faults"),
        word("/p99_us/new"),
        word("/p99_us/old"),
        word("/p99_ratio"),
        word("/cpu_us/new"),
        word("/cpu_us/old"),
        word("/cpu_ratio"),
        word("/memory_peak_bytes/new"),
        word("/memory_peak_bytes/old"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_a_number_of_items_or_a_time() {
        assert_eq!(length("5000"), Ok(Length::Items(5000)));
        assert_eq!(length("10m"), Ok(Length::Time(Duration::from_secs(600))));
        for wrong in ["", "0", "0s", "10 m", "-1", "m", "10w"] {
            assert!(length(wrong).is_err(), "{wrong}");
        }
    }
}
