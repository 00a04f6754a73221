//! A plugin that loops, traps, eats memory or lies costs its own answer and nothing else.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use membrana_world::{Dress, call};

use crate::harness::{Host, eventually, text};
use crate::hooks::{CONFIG, TABLE, shop};

/// The hostile analyzer, built once with the host's own command.
pub(crate) fn built() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("hostile"))
}

pub(crate) fn connector() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("hostile-connector"))
}

pub(crate) fn rule() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("hostile-rule"))
}

fn build(guest: &str) -> PathBuf {
    let host = Host::new(CONFIG, TABLE);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{guest}.wasm"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests").join(guest);
    let build = host.cli(&["plugin", "build", source.to_str().unwrap(), "--output", target.to_str().unwrap()]);
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    target
}

async fn with_mode(mode: &str) -> Host {
    let analyzer = format!("[[analyzer]]\nname = \"mad\"\nplugin = \"{}\"\nconfig = {{ mode = \"{mode}\" }}\n", built().display());
    let mut host = Host::new(&format!("{CONFIG}{analyzer}"), TABLE);
    host.start().await;
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_is_decided_without_the_plugin_that_went_mad() {
    for (mode, reason) in [("loop", "(cpu)"), ("trap", "(trap)"), ("memory", "(memory)"), ("count", "(contract)"), ("number", "(contract)")] {
        let host = with_mode(mode).await;
        assert_eq!(shop(&host).post("evt-1", Dress::Right, "{\"id\":1,\"note\":\"x\"}").await.unwrap().status, 202);
        let is_decided = |all: &[serde_json::Value]| all.iter().any(|one| text(one, "/decisions/0/row") == "check-in");
        let all = host.until(&["interaction", "list"], is_decided).await;
        assert_eq!((text(&all[0], "/missing/0"), text(&all[0], "/decisions/0/missing/0")), ("mad", "mad"), "{mode}");
        let dead = host.until(&["dead", "list"], |dead| dead.len() == 1).await;
        assert!(text(&dead[0], "/reason").contains(reason), "{mode}: {dead:?}");
        assert_eq!((text(&dead[0], "/plugin"), text(&dead[0], "/stage")), ("mad", "analysis"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_item_is_found_and_the_rest_is_answered() {
    let mut host = with_mode("one-bad").await;
    let shop = shop(&host);
    for n in 0..40 {
        let note = if n == 23 { "poison" } else { "fine" };
        assert_eq!(shop.post(&format!("evt-{n}"), Dress::Right, &format!("{{\"id\":{n},\"note\":\"{note}\"}}")).await.unwrap().status, 202);
    }
    let is_analysed = |all: &[serde_json::Value]| all.iter().filter(|one| text(one, "/annotations/0/key") == "mood").count() == 39;
    host.until(&["interaction", "list"], is_analysed).await;
    let dead = host.until(&["dead", "list"], |dead| dead.len() == 1).await;
    assert!(text(&dead[0], "/reason").contains("(trap)"), "{dead:?}");
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_on_and_on_is_left_alone_and_every_plugin_s_use_is_told() {
    let mut host = with_mode("one-bad").await;
    let shop = shop(&host);
    for n in 0..3 {
        assert_eq!(shop.post(&format!("evt-{n}"), Dress::Right, &format!("{{\"id\":{n},\"note\":\"spin\"}}")).await.unwrap().status, 202);
        host.until(&["dead", "list"], |dead| dead.len() == n + 1).await;
    }
    assert!(host.log().contains("is left alone for a while"), "{}", host.log());
    let use_of = |name: &str| {
        let rows = host.list(&["plugin", "list"]);
        let mut uses = rows.iter().filter_map(|row| row["in_use"].as_array()).flatten();
        uses.find(|one| one["name"] == name).cloned()
    };
    let uses = call(host.address, "GET", "/api/v1/plugins", &[], b"").await.unwrap().body;
    let mad = uses.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).find(|one| one["name"] == "mad").unwrap();
    assert_eq!((&mad["faults"]["cpu"], &mad["failed"], &mad["calls"]), (&3.into(), &3.into(), &3.into()), "{mad}");
    assert!(mad["memory_peak_bytes"].as_u64() > Some(0) && mad["breaker"] != "closed", "{mad}");
    let well = use_of("shop").expect("its plugin is a bundled one");
    assert_eq!((&well["kind"], &well["breaker"], &well["failed"]), (&"connector".into(), &"closed".into(), &0.into()), "{well}");
    assert!(well["calls"].as_u64() >= Some(3), "{well}");
    let metrics = call(host.address, "GET", "/metrics", &[], b"").await.unwrap().body;
    for line in [
        "membrana_plugin_faults_total{name=\"mad\",kind=\"analyzer\",fault=\"cpu\"} 3",
        "membrana_plugin_breaker_open{name=\"mad\",kind=\"analyzer\"} 1",
        "membrana_plugin_breaker_open{name=\"shop\",kind=\"connector\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }

    // Its rest ends, one call tries it, and it is asked again.
    let mut n = 3;
    let is_asked_again = async || {
        n += 1;
        let posted = shop.post(&format!("evt-{n}"), Dress::Right, &format!("{{\"id\":{n},\"note\":\"fine\"}}")).await.unwrap();
        assert_eq!(posted.status, 202);
        host.list(&["interaction", "list"]).iter().any(|one| text(one, "/annotations/0/key") == "mood")
    };
    assert!(eventually(is_asked_again).await, "{}", host.log());
    let uses = call(host.address, "GET", "/api/v1/plugins", &[], b"").await.unwrap().body;
    assert!(uses.lines().any(|line| line.contains("\"mad\"") && line.contains("\"closed\"")), "{uses}");
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_log_lines_is_cut_and_cannot_move_the_terminal() {
    let host = with_mode("log").await;
    shop(&host).post("evt-1", Dress::Right, "{\"id\":1}").await.unwrap();
    host.until(&["interaction", "list"], |all| all.iter().any(|one| text(one, "/annotations/0/key") == "mood")).await;
    let log = host.log();
    assert!(log.contains("flood") && log.len() < 400_000, "{} bytes", log.len());
    assert!(!log.contains('\u{1b}'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_goes_mad_holds_no_other_channel() {
    for (mode, reason) in [
        ("poll-loop", "(cpu)"),
        ("poll-trap", "(trap)"),
        ("poll-memory", "(memory)"),
        ("poll-lie", ""),
        ("receive-loop", "(cpu)"),
        ("receive-trap", "(trap)"),
        ("receive-memory", "(memory)"),
        ("receive-lie", ""),
    ] {
        let channel = format!(
            "[[channel]]\nname = \"mad\"\nplugin = \"{}\"\npoll = \"1s\"\nconfig = {{ mode = \"{mode}\" }}\ningress = {{ verify = \"none\" }}\n",
            connector().display()
        );
        let mut host = Host::new(&format!("{channel}{CONFIG}"), TABLE);
        host.start().await;
        assert_eq!(call(host.address, "POST", "/hooks/mad", &[], b"anything").await.unwrap().status, 202, "{mode}");
        assert_eq!(shop(&host).post("evt-1", Dress::Right, "{\"id\":1,\"note\":\"x\"}").await.unwrap().status, 202, "{mode}");
        let is_decided = |all: &[serde_json::Value]| all.iter().any(|one| text(one, "/decisions/0/row") == "check-in");
        let all = host.until(&["interaction", "list"], is_decided).await;
        assert!(all.iter().all(|one| text(one, "/channel") == "shop"), "{mode}: a lie was believed: {all:?}");
        if mode.starts_with("receive") {
            let is_set_aside = |dead: &[serde_json::Value]| dead.iter().any(|letter| text(letter, "/channel") == "mad");
            let dead = host.until(&["dead", "list"], is_set_aside).await;
            assert!(dead.iter().any(|letter| text(letter, "/reason").contains(reason)), "{mode}: {dead:?}");
        } else {
            let is_degraded = async || {
                let channels = host.list(&["channel", "list"]);
                channels.iter().any(|one| text(one, "/name") == "mad" && text(one, "/state") != "connected")
            };
            assert!(eventually(is_degraded).await, "{mode}: {:?}\n{}", host.list(&["channel", "list"]), host.log());
        }
        assert_eq!(call(host.address, "GET", "/healthz", &[], b"").await.unwrap().status, 200, "{mode}");
        assert_eq!(host.stop(), Some(0), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_goes_mad_loses_nothing_of_what_was_said() {
    for mode in ["loop", "trap", "count", "lie"] {
        let mad = format!("[[rule]]\nname = \"mad\"\nplugin = \"{}\"\nconfig = {{ mode = \"{mode}\" }}\n", rule().display());
        let mut host = Host::new(&format!("{CONFIG}{mad}"), TABLE);
        host.start().await;
        for n in 0..3 {
            let body = format!("{{\"id\":{n},\"note\":\"x\"}}");
            assert_eq!(shop(&host).post(&format!("evt-{n}"), Dress::Right, &body).await.unwrap().status, 202, "{mode}");
        }
        let is_decided = |all: &[serde_json::Value]| all.iter().filter(|one| text(one, "/decisions/0/row") == "check-in").count() == 3;
        host.until(&["interaction", "list"], is_decided).await;
        host.until(&["task", "list"], |tasks| tasks.len() == 3).await;
        // An action that makes no sense is refused alone; all else is set aside, to be driven again.
        if mode != "lie" {
            host.until(&["dead", "list"], |dead| dead.iter().any(|letter| text(letter, "/plugin") == "mad")).await;
        }
        assert_eq!(host.stop(), Some(0), "{mode}");
    }
}
