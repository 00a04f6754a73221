//! `check` and the plugin commands: every mistake at once, with place and cure; exit codes.

use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;

use crate::harness::Host;
use crate::hooks::{CONFIG, TABLE};

/// A command's exit code, and all it said.
pub(crate) fn told(host: &Host, arguments: &[&str]) -> (Option<i32>, String) {
    let output = host.cli(arguments);
    (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let config = CONFIG.replace("kind = \"checkin\"", "knd = \"checkin\"").replace("plugin = \"impact-table\"", "plugin = \"impact-tabel\"");
    let host = Host::new(&format!("{config}\n[[channel]]\nplugin = \"feed\"\nconfig = {{ urls = [\"https://blog.example/feed\"] }}\n"), TABLE);
    let (code, said) = told(&host, &["check"]);
    assert_eq!(code, Some(3), "{said}");
    for part in [
        "knd",
        "there is no plugin `impact-tabel`",
        "write name = ",
        "wants to call https://blog.example by HTTP",
        "grant = { http = [\"https://blog.example\"] }",
        "membrana.toml:",
    ] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
}

#[test]
fn a_secret_or_a_grant_that_the_plugin_has_no_use_for_is_told() {
    let config = "[[channel]]\nname = \"fb\"\nplugin = \"facebook\"\nconfig = { base_url = \"https://graph.facebook.com\", page = \"1\" }\ngrant = { http = [\"https://graph.facebook.com\"], net = [\"a.example:25\"] }\n\
                  secrets = { page_token = { env = \"SECRET\" }, app_secrt = { env = \"SECRET\" } }\n";
    let (code, said) = told(&Host::new(config, TABLE), &["check"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("membrana.toml:8:46: error: `fb`: plugin `facebook` knows no secret `app_secrt`\n  help: did you mean `app_secret`?"),
        "{said}"
    );
    assert!(said.contains(":7:50: warning: `fb`: plugin `facebook` does not ask for what `net` grants"), "{said}");
    let (code, said) = told(&Host::new(&config.replace("app_secrt", "app_secret"), TABLE), &["check"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_sink_s_url_that_is_none_is_told_once_in_its_line() {
    let sink = "[[sink]]\nname = \"crm\"\nurl = \"crm.example\"\nsecret = { env = \"SECRET\" }\n";
    let (code, said) = told(&Host::new(&format!("{CONFIG}{sink}"), TABLE), &["check"]);
    assert_eq!((code, said.matches("error: ").count()), (Some(3), 1), "{said}");
}

#[test]
fn a_table_s_mistakes_are_told_in_the_table_s_own_lines() {
    let host = Host::new(CONFIG, &TABLE.replace("\"shops\"", "\"shop\""));
    let (code, said) = told(&host, &["check"]);
    assert_eq!(code, Some(3));
    assert!(said.contains("impact.toml:4:15: error: there is no team \"shop\""), "{said}");
    assert!(said.contains("did you mean \"shops\"?"), "{said}");
    let (code, said) = told(&Host::new(CONFIG, TABLE), &["check"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_file_that_is_no_plugin_is_told_with_what_to_name_instead() {
    let host = Host::new(&CONFIG.replace("plugin = \"impact-table\"", "plugin = \"notes.wasm\""), TABLE);
    host.write("notes.wasm", "not Wasm at all");
    for (arguments, expected) in [(&["check"] as &[&str], Some(3)), (&["plugin", "inspect", "notes.wasm"], Some(1))] {
        let (code, said) = told(&host, arguments);
        assert_eq!(code, expected, "{said}");
        assert!(said.contains("the file is no Wasm component") && said.contains("`membrana plugin build` wrote"), "{said}");
    }
}

#[test]
fn one_of_a_kind_is_told_in_the_singular() {
    let (code, said) = told(&Host::new(CONFIG, TABLE), &["check"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ok: 1 channel, "), "{said}");
}

/// A bundled plugin's file.
pub(crate) fn bundled(name: &str) -> Vec<u8> {
    let found = membrana::app::find(name, std::path::Path::new("nowhere"));
    found.map_err(|(message, _)| message).unwrap().bytes.to_vec()
}

#[test]
fn nobody_is_asked_where_a_host_listened_that_was_killed() {
    let host = Host::new(CONFIG, TABLE);
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    std::fs::create_dir_all(host.dir().join("data")).unwrap();
    host.write("data/listening", format!("{}\n", stranger.local_addr().unwrap()));
    let (code, said) = told(&host, &["plugin", "list"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(stranger.accept().is_err(), "the stranger is connected to");
}

/// With a token, at the address that the configuration names.
fn host_with_token() -> Host {
    let host = Host::new(&format!("admin_token = {{ file = \"token\" }}\n{CONFIG}"), TABLE);
    host.write("token", "an-admin-s-token-of-one-s-own");
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_host_noted_is_forgotten_by_whoever_takes_its_store() {
    let mut host = host_with_token();
    host.start().await;
    host.kill();
    assert!(host.dir().join("data/listening").exists());
    let stranger = std::net::TcpListener::bind(host.address).unwrap();
    stranger.set_nonblocking(true).unwrap();
    let (code, said) = told(&host, &["task", "list"]);
    assert!(code == Some(0) && !host.dir().join("data/listening").exists(), "{said}");
    assert!(stranger.accept().is_err(), "the stranger is connected to");
}

#[test]
fn while_another_command_works_on_the_store_nobody_is_shown_a_token() {
    let host = host_with_token();
    let other = std::net::TcpListener::bind(host.address).unwrap();
    let (code, said) = told(&host, &["task", "list"]);
    let mut sent = String::new();
    other.accept().unwrap().0.read_to_string(&mut sent).unwrap();
    assert!(code == Some(1) && said.contains("no host ran on the data folder") && sent.is_empty(), "{said}");
    drop(other);
    assert_eq!(told(&host, &["channel", "resume", "shop"]).0, Some(0), "it begins a store");
    let stranger = std::net::TcpListener::bind(host.address).unwrap();
    stranger.set_nonblocking(true).unwrap();
    let store = std::fs::File::open(host.dir().join("data/store/db")).unwrap();
    store.lock().unwrap();
    let (code, said) = told(&host, &["task", "list"]);
    assert!(code == Some(1) && said.contains("waits for its turn") && said.contains("wait for the other command to end"), "{said}");
    assert!(stranger.accept().is_err(), "the stranger is connected to");
    store.unlock().unwrap();
    assert_eq!(told(&host, &["task", "list"]).0, Some(0));
}

#[test]
fn commands_say_what_to_do_next_and_end_with_the_right_code() {
    let host = Host::new(CONFIG, TABLE);
    assert_eq!(told(&host, &["no-such-command"]).0, Some(2));
    let (code, said) = told(&host, &["task", "list", "--tem", "support", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("a program cannot read this: {said}"));
    assert!(code == Some(2) && said["error"]["message"].as_str().is_some_and(|message| message.contains("--tem")), "{said}");
    let (code, said) = told(&host, &["--json", "plugin"]);
    assert!(code == Some(2) && said.contains("inspect"), "{said}");
    let (code, said) = told(&host, &["--json", "--config", "membrana.toml"]);
    assert!(code == Some(2) && said.contains("status") && !said.contains("compile-component"), "{said}");
    let mut odd = host.command(&["--json", "status"]);
    odd.arg(std::ffi::OsStr::from_bytes(b"\xff"));
    assert_eq!(odd.output().unwrap().status.code(), Some(2), "an argument that is no UTF-8");
    let mut mistyped = host.command(&["task", "list"]);
    let said = mistyped.env("MEMBRANA_LOG", "debgu").output().unwrap().stderr;
    assert!(String::from_utf8_lossy(&said).contains("MEMBRANA_LOG is `debgu`"), "{said:?}");
    let (code, said) = told(&host, &["interaction", "show", &"0".repeat(32)]);
    assert_eq!(code, Some(1));
    assert!(said.contains("interaction list"), "{said}");
    let (code, said) = told(&host, &["channel", "poll", "shop"]);
    assert_eq!((code, said.contains("membrana run")), (Some(1), true), "{said}");
    let (code, said) = told(&host, &["plugin", "list", "--json"]);
    assert_eq!(code, Some(0));
    assert!(["feed", "mail", "touchpoint", "impact-table", "language"].iter().all(|name| said.contains(&format!("\"name\":\"{name}\""))), "{said}");
    let empty = tempfile::tempdir().unwrap();
    let file = empty.path().join("membrana.toml");
    let file = file.to_str().unwrap();
    assert_eq!(told(&host, &["init", "--config", file]).0, Some(0));
    assert_eq!(told(&host, &["check", "--config", file]).0, Some(0));
    let other = empty.path().join("other").join("membrana.toml");
    let (_, said) = told(&host, &["init", "--json", "--config", other.to_str().unwrap()]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("one object: {said}"));
    assert_eq!(said["wrote"][0], other.to_str().unwrap());
    assert_eq!(told(&host, &["init", "--config", file]).0, Some(1), "never over a file that is there");
}
