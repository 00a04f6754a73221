//! Another build of a plugin on a live host: in force at once, with nothing lost, and a way back.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use membrana_world::Dress;
use serde_json::Value as Json;

use crate::harness::{Host, eventually, text};
use crate::hooks::{CONFIG, TABLE, shop};
use crate::hostile;

/// A guest of `tests/guests`, built to be like this.
pub(crate) fn built(guest: &str, like: &str) -> PathBuf {
    // One at a time: they share cargo's folder, and cargo's lock tells nothing of which build lies in it.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{guest}-{like}.wasm"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests").join(guest);
    let host = Host::new(CONFIG, TABLE);
    let build = host
        .command(&["plugin", "build", source.to_str().unwrap(), "--output", target.to_str().unwrap()])
        .env("HOSTILE_BUILD", like)
        .output()
        .unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    target
}

pub(crate) fn with_analyzer(file: &Path) -> String {
    format!("{CONFIG}[[analyzer]]\nname = \"mood\"\nplugin = \"{}\"\nconfig = {{ mode = \"built\" }}\n", file.display())
}

/// Runs a command that must go well; gives what it says.
fn done(host: &Host, arguments: &[&str]) -> Json {
    let output = host.cli(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}\n{}", String::from_utf8_lossy(&output.stderr), host.log());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs a command that must be refused; gives what it says.
fn refused(host: &Host, arguments: &[&str]) -> String {
    let output = host.cli(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) async fn post(host: &Host, numbers: std::ops::Range<u32>) {
    for n in numbers {
        let answer = shop(host).post(&format!("evt-{n}"), Dress::Right, &format!("{{\"id\":{n},\"note\":\"note {n}\"}}")).await;
        assert_eq!(answer.unwrap().status, 202);
    }
}

/// What `mood` says of the item with this id, and by which build, once it says something.
async fn mood(host: &Host, id: u32) -> (f64, String) {
    let id = id.to_string();
    let has_mood = |one: &&Json| text(one, "/native/id") == id && text(one, "/annotations/0/key") == "mood";
    let all = host.until(&["interaction", "list"], |all| all.iter().any(|one| has_mood(&one))).await;
    let one = all.iter().find(has_mood).unwrap();
    (one["annotations"][0]["value"].as_f64().unwrap(), text(one, "/annotations/0/digest").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_build_is_in_force_at_once_survives_a_restart_and_has_a_way_back() {
    let (well, better) = (built("hostile", "well"), built("hostile", "better"));
    let mut host = Host::new(&with_analyzer(&well), TABLE);
    host.start().await;
    post(&host, 1..2).await;
    let (was, before) = mood(&host, 1).await;

    let swap = done(&host, &["swap", "mood", better.to_str().unwrap(), "--reason", "it knows more words"]);
    assert_eq!((text(&swap, "/from"), text(&swap, "/outcome"), text(&swap, "/reason")), (before.as_str(), "in force", "it knows more words"));
    assert!(swap["pause_us"].as_u64().is_some_and(|us| us < 1000), "{swap}");
    post(&host, 2..3).await;
    let (is, after) = mood(&host, 2).await;
    assert_eq!((was, is, after.as_str()), (1.0, 2.0, text(&swap, "/to")));
    assert_eq!(mood(&host, 1).await, (1.0, before.clone()), "what was said stays said");

    // An admin who wants it otherwise has what is stored asked again.
    let decisions = |all: Vec<Json>| all.into_iter().map(|one| one["decisions"].clone()).collect::<Vec<_>>();
    let decided = decisions(host.list(&["interaction", "list"]));
    assert_eq!(done(&host, &["rerun", "mood"])["name"], "mood");
    assert!(eventually(async || mood(&host, 1).await == (2.0, after.clone())).await, "{}", host.log());
    assert!(eventually(async || done(&host, &["rerun", "mood", "--progress"])["left"] == 0).await);
    assert_eq!(decisions(host.list(&["interaction", "list"])), decided, "what was decided stays");
    let since = ["rerun", "mood", "--since", "2999-01-01T00:00:00Z"];
    assert_eq!((&done(&host, &since)["left"], &done(&host, &["rerun", "mood", "--stop"])["left"]), (&0.into(), &0.into()));
    assert!(refused(&host, &["rerun", "shop"]).contains("no analyzer `shop`"));

    host.kill();
    host.start().await;
    post(&host, 3..4).await;
    assert_eq!(mood(&host, 3).await, (2.0, after.clone()), "it is in force after a restart, too");

    let back = done(&host, &["rollback", "mood"]);
    assert_eq!((text(&back, "/from"), text(&back, "/to")), (after.as_str(), before.as_str()));
    post(&host, 4..5).await;
    assert_eq!(mood(&host, 4).await, (1.0, before));
    assert!(refused(&host, &["rollback", "mood"]).contains("no way back"));

    let history = host.list(&["history", "mood"]);
    let told: Vec<(&str, &str)> = history.iter().map(|act| (text(act, "/act"), text(act, "/outcome"))).collect();
    assert_eq!(told, [("rollback", "in force"), ("swap", "was in force")], "newest first");
    host.stop();
    assert_eq!(host.list(&["history", "mood"]), history, "it can be read without a host");
    assert!(refused(&host, &["rollback", "mood"]).contains("no host runs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_does_not_fit_is_refused_and_nothing_changes() {
    let well = built("hostile", "well");
    let mut host = Host::new(&with_analyzer(&well), TABLE);
    host.start().await;
    post(&host, 1..2).await;
    let (_, before) = mood(&host, 1).await;
    let mut broken = std::fs::read(built("hostile", "better")).unwrap();
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    host.write("broken.wasm", &broken);
    host.write("cut.wasm", &broken[..middle]);

    let start_trap = built("hostile", "start-trap");
    let cases = [
        ("broken.wasm", "its digest does not fit"),
        ("cut.wasm", "not a plugin"),
        ("impact-table", "the file given is of kind rule, not analyzer"),
        ("language", "this file is plugin `language`"),
        (start_trap.to_str().unwrap(), "could not check its section"),
    ];
    for (file, why) in cases {
        let said = refused(&host, &["swap", "mood", file]);
        assert!(said.contains(why), "{file}: {said}");
    }
    assert!(refused(&host, &["swap", "mood", well.to_str().unwrap()]).contains("in force for `mood` already"));
    assert!(refused(&host, &["swap", "nobody", well.to_str().unwrap()]).contains("there are: shop, mood, impact"));
    assert!(refused(&host, &["swap", "mood", "nowhere.wasm"]).contains("cannot read"));

    post(&host, 2..3).await;
    assert_eq!(mood(&host, 2).await, (1.0, before));
    let history = host.list(&["history", "mood"]);
    assert_eq!(history.len(), cases.len(), "{history:?}");
    assert!(history.iter().all(|act| text(act, "/outcome").starts_with("refused: ")), "{history:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_is_over_once_the_configuration_names_another_build() {
    let (well, better) = (built("hostile", "well"), built("hostile", "better"));
    let mut host = Host::new(&with_analyzer(&well), TABLE);
    host.write("mine.wasm", std::fs::read(&well).unwrap());
    host.configure(&with_analyzer(Path::new("mine.wasm")));
    host.start().await;
    done(&host, &["swap", "mood", better.to_str().unwrap()]);
    let reload = async |n_times: usize| {
        host.signal("HUP");
        let n_reloads = || host.log().matches("The configuration was read again").count();
        assert!(eventually(async || n_reloads() == n_times).await, "{}", host.log());
    };

    reload(1).await;
    post(&host, 1..2).await;
    assert_eq!(mood(&host, 1).await.0, 2.0, "the line and its file are as they were");
    host.write("mine.wasm", std::fs::read(built("hostile", "best")).unwrap());
    reload(2).await;
    post(&host, 2..3).await;
    assert_eq!(mood(&host, 2).await.0, 3.0, "what the admin put there is in force");
    let newest = || {
        let newest = host.list(&["history", "mood"]).swap_remove(0);
        (text(&newest, "/act").to_owned(), text(&newest, "/outcome").to_owned())
    };
    assert_eq!(newest(), ("configured".to_owned(), "in force".to_owned()));
    assert!(refused(&host, &["rollback", "mood"]).contains("no way back"));

    host.write("mine.wasm", std::fs::read(&well).unwrap());
    reload(3).await;
    assert_eq!(newest(), ("configured".to_owned(), "was in force".to_owned()), "what the configuration alone put there is another build");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_goes_back_to_the_cursor_and_the_state_that_it_had() {
    let (first, second) = (built("hostile-connector", "count-a"), built("hostile-connector", "count-b"));
    let channel = format!("[[channel]]\nname = \"counter\"\nplugin = \"{}\"\npoll = \"1s\"\nconfig = {{ mode = \"built\" }}\n", first.display());
    let mut host = Host::new(&format!("{channel}{CONFIG}"), TABLE);
    host.start().await;
    let of_counter = |all: &[Json]| all.iter().filter(|one| text(one, "/channel") == "counter").count();
    let counted = async |n_items: usize| host.until(&["interaction", "list"], |all| of_counter(all) >= n_items).await;
    counted(2).await;

    done(&host, &["swap", "counter", second.to_str().unwrap()]);
    let n_before = of_counter(&counted(2).await);
    let n_by_second = of_counter(&counted(n_before + 2).await);
    done(&host, &["rollback", "counter"]);
    let all = counted(n_by_second + 2).await;

    let mut ids: Vec<u64> = all.iter().filter(|one| text(one, "/channel") == "counter").map(|one| text(one, "/native/id").parse().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.iter().copied().eq(1..=ids.len() as u64), "each once, none left out: {ids:?}");
    let channels = host.list(&["channel", "list"]);
    let counter = channels.iter().find(|one| text(one, "/name") == "counter").unwrap();
    assert_eq!(text(counter, "/state"), "connected", "the first build can read its state: {counter}");
    assert!(host.list(&["dead", "list"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_worse_goes_back_by_itself_and_what_it_spoiled_is_done_again() {
    let well = hostile::built();
    for (like, why) in [("tenth", "it failed at"), ("slow", "times as long")] {
        let mut host = Host::new(&with_analyzer(well), TABLE);
        host.start().await;
        // Enough to know how fast the build in force is.
        post(&host, 0..300).await;
        mood(&host, 299).await;
        done(&host, &["swap", "mood", built("hostile", like).to_str().unwrap()]);
        if like == "tenth" {
            // A trial outlives a reload.
            host.signal("HUP");
            assert!(eventually(async || host.log().contains("The configuration was read again")).await, "{}", host.log());
        }
        let mut n = 300;
        let went_back = async || {
            post(&host, n..n + 100).await;
            n += 100;
            text(&host.list(&["history", "mood"])[0], "/act") == "rollback"
        };
        assert!(eventually(went_back).await, "{like}: {}", host.log());
        post(&host, n..n + 20).await;

        let history = host.list(&["history", "mood"]);
        assert!(text(&history[0], "/reason").contains(why) && text(&history[0], "/by") == "membrana", "{like}: {history:?}");
        let n_all = n as usize + 20;
        let is_mended = |all: &[Json]| all.len() == n_all && all.iter().all(|one| one["annotations"][0]["value"].as_f64() == Some(1.0));
        host.until(&["interaction", "list"], is_mended).await;
        host.until(&["dead", "list"], |dead| dead.is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_plugin_is_taken_only_by_who_means_it_and_everybody_sees_what_runs() {
    let mut host = Host::new(&format!("{CONFIG}[[analyzer]]\nname = \"mood\"\nplugin = \"language\"\n"), TABLE);
    host.start().await;

    let said = refused(&host, &["swap", "mood", "intent", "--reason", "a slip"]);
    assert!(said.contains("runs plugin `language`, and this file is plugin `intent`") && said.contains("--another"), "{said}");

    done(&host, &["swap", "mood", "intent", "--another"]);
    let told = |arguments: &[&str]| String::from_utf8_lossy(&host.cli(arguments).stdout).into_owned();
    assert!(told(&["status"]).contains("mood (runs intent 0.1.0 by `membrana swap`)"), "{}", told(&["status"]));
    assert!(told(&["check"]).contains("`mood` runs the build that `membrana swap` put in force"), "{}", told(&["check"]));
    done(&host, &["rollback", "mood"]);
    assert!(!told(&["status"]).contains("by `membrana swap`"), "{}", told(&["status"]));
}
