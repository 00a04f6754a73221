//! The built host with plugins that are hostile: each is named with what it did, the good ones go on, and the process is as large as
//! it was.

use membrana_world::Dress;
use serde_json::Value as Json;

use super::starts::with_module;
use super::*;
use crate::check::told;
use crate::harness::{Host, text, within};
use crate::hooks::{CONFIG, TABLE, shop};

/// What the allocator and the store's cache may keep. Units: bytes.
pub(super) const RESIDENT_MORE_MAX: u64 = 32 << 20;
/// Until it is given back.
const GIVEN_BACK: Duration = Duration::from_secs(10);

/// Analyzers by what they do, and the fault that each gets.
const MODES: [(&str, &str); 9] = [
    ("loop", "(cpu)"),
    ("bulk", "(cpu)"),
    ("recursion", "(trap)"),
    ("memory", "(memory)"),
    ("aliased-strings", "(trap)"),
    ("wild-pointer", "(trap)"),
    ("handles", "(trap)"),
    ("pollables", "(trap)"),
    ("exit", "(trap)"),
];

fn analyzers() -> String {
    let section =
        |(mode, _): &(&str, &str)| format!("[[analyzer]]\nname = \"{mode}\"\nplugin = \"{}\"\nconfig = {{ mode = \"{mode}\" }}\n", built().display());
    MODES.iter().map(section).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_plugin_is_named_and_the_process_is_as_large_as_it_was() {
    let mut host = Host::new(&format!("{CONFIG}{}", analyzers()), TABLE);
    host.start().await;
    let is_decided = |n: usize| move |all: &[Json]| all.iter().filter(|one| text(one, "/decisions/0/row") == "check-in").count() == n;
    let post = async |n: usize| {
        let body = format!("{{\"id\":{n},\"note\":\"x\"}}");
        assert_eq!(shop(&host).post(&format!("evt-{n}"), Dress::Right, &body).await.unwrap().status, 202);
    };
    let before = host.resident();

    for n in 1..=3 {
        post(n).await;
        host.until(&["interaction", "list"], is_decided(n)).await;
    }

    for (mode, reason) in MODES {
        let is_named = |letter: &Json| text(letter, "/plugin") == mode && text(letter, "/reason").contains(reason);
        host.until(&["dead", "list"], |dead| dead.iter().any(is_named)).await;
    }
    let is_given_back = async || host.resident() <= before + RESIDENT_MORE_MAX;
    let is_in_time = within(GIVEN_BACK, Duration::from_millis(100), is_given_back).await;
    note(format_args!("resident {} MiB, before {} MiB", host.resident() >> 20, before >> 20));
    assert!(is_in_time);
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_plugin_that_cannot_start_within_its_limits_is_named_with_its_place_and_the_cure() {
    let host = Host::new(&format!("{CONFIG}[[analyzer]]\nname = \"mad\"\nplugin = \"mad\"\nconfig = {{ mode = \"well\" }}\n"), TABLE);
    std::fs::create_dir(host.dir().join("plugins")).unwrap();
    for (module, reason) in [
        ("(module (func $f (loop $l (br $l))) (start $f))", "(cpu): stopped after its 200 ms"),
        ("(module (memory 16384))", "(memory): stopped at its limit of 16 MiB"),
        ("(module (table 1000000 funcref))", "(memory): stopped at its limit of 100000 elements"),
    ] {
        host.write("plugins/mad.wasm", with_module(module, 1));
        let (code, said) = told(&host, &["check"]);
        assert_eq!(code, Some(3), "{said}");
        let is_named = said.lines().any(|line| line.starts_with("membrana.toml:16:1: error: plugin `mad`") && line.contains(reason));
        assert!(is_named && said.contains("give it more by `limits` in its section"), "{said}");
    }
}

#[test]
fn a_file_over_the_limit_is_not_read() {
    let host = Host::new(&format!("{CONFIG}[[analyzer]]\nname = \"mad\"\nplugin = \"mad\"\nconfig = {{ mode = \"well\" }}\n"), TABLE);
    std::fs::create_dir(host.dir().join("plugins")).unwrap();
    // It has no bytes on the disk: who read it would take as much memory as a machine has.
    let file = std::fs::File::create(host.dir().join("plugins/mad.wasm")).unwrap();
    file.set_len(1 << 42).unwrap();
    for (arguments, expected) in [(&["check"] as &[&str], Some(3)), (&["plugin", "inspect", "mad"], Some(1)), (&["plugin", "list"], Some(0))] {
        let (code, said) = told(&host, arguments);
        assert_eq!(code, expected, "{said}");
        assert!(said.contains("over the limit of 67108864") || expected == Some(0), "{said}");
    }
}
