//! `membrana swap NAME FILE --shadow`: a build beside the one in force, what it would have said, and whether it is promoted.

use std::process::{Command, Output, Stdio};

use membrana_world::{Dress, call};
use serde_json::Value as Json;

use crate::harness::{Host, text};
use crate::hooks::{CONFIG, TABLE, shop};
use crate::swaps::{built, post, with_analyzer};

/// Runs a shadow over as many items as it wants, while they come in from `first` on.
async fn shadowed(host: &Host, first: u32, arguments: &[&str]) -> Output {
    while_posting(host, first, host.command(&[&["swap", "mood"], arguments].concat())).await
}

async fn while_posting(host: &Host, first: u32, mut command: Command) -> Output {
    let shadow = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let waiting = tokio::task::spawn_blocking(move || shadow.wait_with_output().unwrap());
    let mut n = first;
    while !waiting.is_finished() {
        post(host, n..n + 1).await;
        n += 1;
    }
    waiting.await.unwrap()
}

/// Digest of the build of `mood` that is in force.
async fn in_force(host: &Host) -> String {
    let plugins = call(host.address, "GET", "/api/v1/plugins", &[], b"").await.unwrap().body;
    let mut all = plugins.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    text(&all.find(|one| text(one, "/name") == "mood").unwrap(), "/digest").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_has_no_effect_tells_every_difference_and_is_promoted_where_the_condition_holds() {
    let (well, better, tenth) = (built("hostile", "well"), built("hostile", "better"), built("hostile", "tenth"));
    let mut host = Host::new(&with_analyzer(&well), TABLE);
    host.start().await;
    let before = in_force(&host).await;

    // Another value for everything, and no fault.
    let better = better.to_str().unwrap();
    let refused = shadowed(&host, 0, &[better, "--shadow", "20", "--promote-if", "faults==0 && agreement>=0.9", "--json"]).await;
    let report: Json = serde_json::from_slice(&refused.stdout).unwrap();
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains("not promoted: agreement is 0, and agreement>=0.9 is wanted"), "{words}");
    assert!(report["asked"].as_u64().unwrap() >= 20 && report["same"] == 0 && report["faults"] == 0, "{report}");
    assert_eq!((text(&report, "/changes/0/then"), text(&report, "/changes/0/now")), ("mood 1.00", "mood 2.00"));
    let example = text(&report, "/changes/0/examples/0").to_owned();
    assert!(host.cli(&["interaction", "show", &example]).status.success(), "an example is an interaction: {example}");
    assert!(report["p99_ratio"].is_number() && report["cpu_ratio"].is_number() && report["memory_peak_bytes"]["new"].as_u64().unwrap() > 0);
    assert_eq!(in_force(&host).await, before);

    // One in ten traps it: each is told, none is lost, and nobody is a dead letter for it.
    let faulty = shadowed(&host, 10_000, &[tenth.to_str().unwrap(), "--shadow", "40", "--json"]).await;
    let report: Json = serde_json::from_slice(&faulty.stdout).unwrap();
    assert!(faulty.status.success() && report["failed"].as_u64().unwrap() >= 2 && report["faults"].as_u64().unwrap() >= 2, "{report}");
    assert!(report["same"].as_u64().unwrap() > report["failed"].as_u64().unwrap(), "the others were compared: {report}");
    assert!(text(&report, "/failures/0/fault").contains("trap"), "{report}");
    assert!(host.list(&["dead", "list"]).is_empty());
    let all = host.list(&["interaction", "list"]);
    let is_as_before =
        |one: &Json| one["annotations"].as_array().unwrap().iter().all(|said| said["value"] == 1.0 && said["digest"] == before.as_str());
    assert!(all.iter().all(is_as_before), "nothing of a shadow is kept");

    let promoted = shadowed(&host, 20_000, &[better, "--shadow", "2s", "--promote-if", "faults==0 && asked>0"]).await;
    let words = String::from_utf8_lossy(&promoted.stdout).into_owned();
    assert!(promoted.status.success() && words.contains("promoted, for faults==0 && asked>0"), "{words}");
    assert_ne!(in_force(&host).await, before);
    assert!(text(&host.list(&["history", "mood"])[0], "/reason").contains("shadow: faults==0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_s_shadow_reads_what_is_pushed_and_neither_stores_nor_calls() {
    let mut host = Host::new(CONFIG, TABLE);
    host.start().await;
    // The bundled one in a file of its own: another file, the same mind.
    let shadow = host.command(&["swap", "shop", "touchpoint", "--shadow", "20", "--json"]);
    let report = while_posting(&host, 0, shadow).await;
    let said = String::from_utf8_lossy(&report.stderr).into_owned();
    let report: Json = serde_json::from_slice(&report.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert!(report["asked"].as_u64().unwrap() >= 20 && report["agreement"] == 1.0 && report["faults"] == 0, "{report}");
    let all = host.list(&["interaction", "list"]);
    let mut ids: Vec<&str> = all.iter().map(|one| text(one, "/native/id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "each is stored once");
    assert!(host.list(&["dead", "list"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_ended_and_refused_in_words() {
    let (well, better) = (built("hostile", "well"), built("hostile", "better"));
    let mut host = Host::new(&with_analyzer(&well), TABLE);
    host.start().await;
    let better = better.to_str().unwrap();
    let cases = [
        (vec!["swap", "shop", better, "--shadow", "5"], 1, "is of kind analyzer"),
        (vec!["swap", "nobody", better, "--shadow", "5"], 1, "there are: shop, mood, impact"),
        (vec!["swap", "mood", better, "--shadow", "soon"], 2, "a number of items, like 5000"),
        (vec!["swap", "mood", better, "--promote-if", "faults==0"], 2, "--shadow"),
        (vec!["swap", "mood", better, "--shadow", "5", "--promote-if", "luck>1"], 2, "there are: agreement"),
    ];
    for (arguments, code, words) in cases {
        let output = host.cli(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    let path = "/api/v1/plugins/mood/shadow";
    let ask = async |method: &str, path: &str, body: &[u8]| call(host.address, method, path, &[], body).await.unwrap();
    assert_eq!(ask("GET", path, b"").await.status, 404);
    assert_eq!(ask("POST", &format!("{path}?items=0"), b"").await.status, 400);
    let build = std::fs::read(better).unwrap();
    assert_eq!(ask("POST", &format!("{path}?seconds=600"), &build).await.status, 200);
    assert!(ask("GET", path, b"").await.body.contains("\"state\":\"running\""));
    assert!(ask("DELETE", path, b"").await.body.contains("\"state\":\"ended\""));
    assert_eq!(shop(&host).post("evt-1", Dress::Right, "{\"id\":1,\"note\":\"x\"}").await.unwrap().status, 202);
    host.until(&["interaction", "list"], |all| all.len() == 1 && all[0]["annotations"][0]["value"] == 1.0).await;
    let report: Json = serde_json::from_str(&ask("GET", path, b"").await.body).unwrap();
    assert_eq!(report["asked"], 0, "{report}");
}
