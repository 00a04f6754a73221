//! What an admin meets: the door is shut, mistakes are told together, a reload is all or nothing, commands take turns.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use membrana_world::call;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::harness::{Host, SECRET, eventually, text};
use crate::hooks::{CONFIG, TABLE};

fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// The configuration with more keys in `[host]`.
fn with_host(keys: &str) -> String {
    format!("{keys}\n{CONFIG}")
}

#[test]
fn an_empty_secret_is_refused_wherever_it_stands() {
    let sink = "[[sink]]\nname = \"crm\"\nurl = \"https://crm.example\"\nsecret = []\n";
    let webhook = |secret: &str| CONFIG.replace("{ env = \"SECRET\" }", secret);
    for (config, part) in [
        (with_host("admin_token = { file = \"empty\" }"), "is empty"),
        (with_host("admin_token = []"), "is empty"),
        (webhook("{ file = \"empty\" }"), "is empty"),
        (webhook("[]"), "is empty"),
        (format!("{CONFIG}{sink}"), "is empty"),
    ] {
        let host = Host::new(&config, TABLE);
        host.write("empty", " \n");
        let (code, said) = told(&host.cli(&["check"]));
        assert_eq!(code, Some(3), "{config}\n{said}");
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_configuration_that_is_written_anew_is_read_again_by_itself() {
    let mut host = Host::new(CONFIG, TABLE);
    host.start().await;
    let n_read = || host.log().matches("was read again and is in force").count();
    host.configure(&CONFIG.replace("\"shop\"", "\"SHOP!\""));
    assert!(eventually(async || host.log().contains("last good one stays in force")).await, "{}", host.log());
    host.configure(&CONFIG.replace("\"shop\"", "\"till\""));
    assert!(eventually(async || n_read() == 1).await, "{}", host.log());
    host.write("impact.toml", TABLE.replace("check-in", "check-in of today"));
    assert!(eventually(async || n_read() == 2).await, "{}", host.log());
    assert_eq!(call(host.address, "POST", "/hooks/shop", &[], b"{}").await.unwrap().status, 404);
    assert_eq!(call(host.address, "POST", "/hooks/till", &[], b"{}").await.unwrap().status, 401);
    assert_eq!((n_read(), host.stop()), (2, Some(0)), "each change is read once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_written_anew_in_its_file_is_taken_by_itself() {
    let mut host = Host::new(&with_host("admin_token = { file = \"token\" }"), TABLE);
    host.write("token", "before\n");
    host.start().await;
    let status =
        async |token: &str| call(host.address, "GET", "/api/v1/status", &[("authorization", &format!("Bearer {token}"))], b"").await.unwrap().status;
    assert_eq!(status("before").await, 200);
    host.write("token", "after\n");
    assert!(eventually(async || status("before").await == 401).await, "{}", host.log());
    assert_eq!(status("after").await, 200);
    assert!(host.cli(&["channel", "pause", "shop"]).status.success(), "the command line shows the new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_and_every_refused_caller_is_kept_in_a_chain_that_shows_an_edit() {
    let mut host = Host::new(&with_host("admin_token = { file = \"token\" }"), TABLE);
    host.write("token", "right\n");
    host.start().await;
    let pause = async |token: &str| {
        let headers = [("authorization", token), ("content-type", "application/json")];
        call(host.address, "POST", "/api/v1/channels/shop/pause", &headers, b"{\"by\":\"shops\",\"reason\":\"stocktaking\"}").await.unwrap().status
    };
    assert_eq!((pause("Bearer wrong").await, pause("Bearer right").await), (401, 200));
    assert!(host.cli(&["channel", "resume", "shop"]).status.success());
    assert_eq!(host.stop(), Some(0));

    let log = host.read("data/audit.log");
    let records: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line.split_once(' ').unwrap().1).unwrap()).collect();
    let kept: Vec<(&str, &str, &str)> = records.iter().map(|one| (text(one, "/what"), text(one, "/act"), text(one, "/by"))).collect();
    let (paused, resumed) = ("POST /api/v1/channels/shop/pause", "POST /api/v1/channels/shop/resume");
    let wanted = [("denied", paused, ""), ("ordered", paused, "shops"), ("done", paused, ""), ("ordered", resumed, ""), ("done", resumed, "")];
    assert_eq!(kept, wanted);
    assert_eq!((&records[0]["status"], &records[2]["status"], &records[2]["of"]), (&401.into(), &200.into(), &2.into()));
    let verify = || told(&host.cli(&["verify", "--json"]));
    assert!(matches!(verify(), (Some(0), said) if said.contains("\"audit\":5")), "{:?}", verify());

    host.write("data/audit.log", log.replace("\"by\":\"shops\"", "\"by\":\"legal\""));
    let (code, said) = verify();
    assert!(code == Some(1) && said.contains("audit.log:2"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_out_that_was_refused_to_a_plugin_is_kept_in_the_chain() {
    // given a feed that leads elsewhere, where nobody let the channel go
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            drop(stream.read(&mut [0; 4096]).await);
            drop(stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n").await);
        }
    });
    let blog = format!(
        "[[channel]]\nname = \"blog\"\nplugin = \"feed\"\npoll = \"1s\"\nconfig = {{ urls = [\"{url}\"] }}\ngrant = {{ http = [\"{url}\"] }}\n"
    );
    let mut host = Host::new(&format!("{CONFIG}{blog}"), TABLE);
    host.start().await;
    host.until(&["plugin", "list"], |all| all.iter().any(|one| one["in_use"].to_string().contains("\"denied\":1"))).await;
    host.configure(CONFIG);
    host.signal("HUP");
    host.until(&["plugin", "list"], |all| all.iter().all(|one| !one["in_use"].to_string().contains("\"blog\""))).await;
    assert_eq!(host.stop(), Some(0));

    // then it is kept although what asked for it was gone before anybody looked
    let log = host.read("data/audit.log");
    assert!(log.contains("\"denied\"") && log.contains("ways out of the plugin of blog, build "), "{log}");
    assert!(host.cli(&["verify"]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_token_of_a_list_opens_the_api_and_a_reload_changes_them() {
    let mut host = Host::new(&with_host("admin_token = [{ file = \"old\" }, { file = \"new\" }]"), TABLE);
    host.write("old", "old-token\n");
    host.write("new", "new-token\n");
    host.start().await;
    let address = host.address;
    let status = async |authorization: Option<&str>| {
        let headers: Vec<(&str, &str)> = authorization.map(|value| ("authorization", value)).into_iter().collect();
        call(address, "GET", "/api/v1/status", &headers, b"").await.unwrap().status
    };
    assert_eq!(status(None).await, 401);
    assert_eq!(status(Some("Bearer ")).await, 401);
    assert_eq!(status(Some("Bearer old-token")).await, 200);
    assert_eq!(status(Some("bearer new-token")).await, 200);
    assert_eq!(call(address, "GET", "/metrics", &[], b"").await.unwrap().status, 401);

    host.configure(&with_host("admin_token = { file = \"new\" }"));
    host.signal("HUP");
    assert!(eventually(async || status(Some("Bearer old-token")).await == 401).await, "{}", host.log());
    assert_eq!(status(Some("Bearer new-token")).await, 200);
}

#[test]
fn a_typo_hides_no_mistake_of_plugins_grants_schemas_or_the_table() {
    let config = with_host("listn = \"x\"").replace("kind = \"checkin\"", "knd = \"checkin\"")
        + "\n[[channel]]\nname = \"blog\"\nplugin = \"feed\"\nconfig = { urls = [\"https://blog.example/feed\"] }\n"
        + "[[channel]]\nname = \"x\"\nplugin = \"fed\"\n";
    let host = Host::new(&config, &TABLE.replace("\"shops\"", "\"shop\""));
    let (code, said) = told(&host.cli(&["check"]));
    assert_eq!(code, Some(3), "{said}");
    for part in [
        "no key `listn`",
        "no key `knd`",
        "did you mean `kind`?",
        "wants to call https://blog.example by HTTP",
        "there is no plugin `fed`",
        "impact.toml:4:15: error: there is no team \"shop\"",
    ] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
}

#[test]
fn webhooks_are_taken_by_those_plugins_that_want_them_and_by_no_others() {
    let without = CONFIG.replace("ingress = { verify = \"standard-webhooks\" }\n", "");
    let (code, said) = told(&Host::new(&without, TABLE).cli(&["check"]));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("add ingress = { verify = \"standard-webhooks\" }"), "{said}");
    let feed = "[[channel]]\nname = \"blog\"\nplugin = \"feed\"\nconfig = { urls = [\"https://blog.example/feed\"] }\n\
                grant = { http = [\"https://blog.example\"] }\ningress = { verify = \"none\" }\n";
    let (code, said) = told(&Host::new(&format!("{CONFIG}{feed}"), TABLE).cli(&["check"]));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("takes no webhooks"), "{said}");
}

#[test]
fn a_sink_is_told_or_refused_and_never_left_out() {
    let sink = "[[sink]]\nname = \"crm\"\nurl = \"https://user:pw@crm.example/hooks\"\nsecret = { env = \"SECRET\" }\n";
    let (code, said) = told(&Host::new(&format!("{CONFIG}{sink}"), TABLE).cli(&["check"]));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("leave out user"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_needs_a_restart_is_refused_with_its_place() {
    let mut host = Host::new(CONFIG, TABLE);
    host.start().await;
    for (key, value) in [("data", "elsewhere"), ("hooks_listen", "127.0.0.1:1")] {
        host.configure(&with_host(&format!("{key} = \"{value}\"")));
        host.signal("HUP");
        let said = format!("`{key}` cannot change while the host runs");
        assert!(eventually(async || host.log().contains(&said)).await, "{}", host.log());
    }
    assert!(!host.log().contains("is in force"), "{}", host.log());
    assert!(!host.dir().join("elsewhere").join("store").exists());
    assert_eq!(call(host.address, "GET", "/readyz", &[], b"").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_need_no_channel_s_secret_and_find_a_host_whose_file_was_edited() {
    let mut host = Host::new(CONFIG, TABLE);
    host.start().await;
    // Another address, and a secret that this terminal does not have.
    let edited = CONFIG.replace("\"SECRET\"", "\"NOT_IN_THIS_TERMINAL\"");
    host.write("membrana.toml", format!("[host]\nlisten = \"127.0.0.1:1\"\n{edited}"));
    let output = host.cli(&["status", "--json"]);
    let (code, said) = told(&output);
    assert_eq!(code, Some(0), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"running\":true"), "{said}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("warning: "), "{said}");
    assert_eq!(host.stop(), Some(0));
    let output = host.cli(&["status", "--json"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"running\":false"), "{:?}", told(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_was_refused_is_told_until_a_good_one_is_read() {
    let mut host = Host::new(CONFIG, TABLE);
    host.start().await;
    let is_refused = async || call(host.address, "GET", "/metrics", &[], b"").await.unwrap().body.contains("\nmembrana_config_refused 1");
    let status = || told(&host.cli(&["status"])).1;
    assert!(!is_refused().await && !status().contains("was refused"), "{}", status());

    host.configure(&CONFIG.replace("kind = \"checkin\"", "knd = \"checkin\""));
    assert!(eventually(is_refused).await, "{}", host.log());
    let said = status();
    assert!(said.contains("was refused") && said.contains("membrana.toml:") && said.contains("no key `knd`"), "{said}");

    host.configure(CONFIG);
    assert!(eventually(async || !is_refused().await).await, "{}", host.log());
    assert!(!status().contains("was refused"), "{}", status());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_looks_makes_nothing_and_finds_the_host_that_runs() {
    let mut host = Host::new(CONFIG, TABLE);
    let (code, said) = told(&host.cli(&["status"]));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("no host ran on the data folder") && !host.dir().join("data").exists(), "{said}");
    let (code, said) = told(&host.cli(&["verify"]));
    assert!(code == Some(1) && said.contains("is `data` in [host] still the same?") && !host.dir().join("data").exists(), "{said}");

    host.start().await;
    let mode = std::fs::metadata(host.dir().join("data")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "nobody else reads what people said");
    host.configure(&with_host("data = \"elsewhere\""));
    let output = host.cli(&["status", "--json"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"running\":true"), "{:?}", told(&output));
    let (code, said) = told(&host.cli(&["channel", "pause", "shop"]));
    assert!(code == Some(1) && said.contains("one that runs on another answers on"), "an order is for the host that is meant: {said}");
    assert!(!host.dir().join("elsewhere").join("store").exists());
    host.configure(CONFIG);
    assert_eq!(host.stop(), Some(0));
    let (_, said) = told(&host.cli(&["channel", "list"]));
    assert!(said.contains("no host runs; states are as the last one left them"), "{said}");
}

#[test]
fn commands_at_once_take_turns() {
    let host = Host::new(CONFIG, TABLE);
    let codes: Vec<(Option<i32>, String)> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..5).map(|_| scope.spawn(|| told(&host.cli(&["task", "list"])))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(codes.iter().all(|(code, _)| *code == Some(0)), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_lines_and_a_full_disk_is_a_failure() {
    let mut host = Host::new(CONFIG, TABLE);
    host.start().await;
    let note = format!("{}\u{7f}\u{9b}2J\u{202e}!", "Where is my parcel? ".repeat(10));
    let body = serde_json::json!({ "id": "order-1", "note": note }).to_string();
    crate::hooks::shop(&host).post("evt-1", membrana_world::Dress::Right, &body).await.unwrap();
    host.until(&["interaction", "list"], |all| all.len() == 1).await;
    let exported = host.cli(&["interaction", "export"]);
    let line: serde_json::Value = serde_json::from_slice(&exported.stdout).unwrap();
    assert_eq!(text(&line, "/text").trim_end(), note.trim_end());
    assert!(!String::from_utf8_lossy(&exported.stdout).contains(['\u{7f}', '\u{9b}', '\u{202e}']), "it may be read on a terminal");

    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = host.command(&["interaction", "export"]).stdout(full).stderr(std::process::Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_the_api_are_objects_with_a_cure() {
    let mut host = Host::new(CONFIG, TABLE);
    host.start().await;
    for (method, path, body, status, part) in [
        ("GET", "/api/v1/tasks?bogus=1", "", 400, "bogus"),
        ("GET", "/api/v1/tasks?state=bogus", "", 400, "open, waiting, done, withdrawn"),
        ("GET", "/api/v1/tasks?team=nosuch", "", 400, "shops"),
        ("GET", "/api/v1/actions?state=bogus", "", 400, "awaiting-approval"),
        ("POST", "/api/v1/channels/shop/pause", "{", 400, "the body of the order"),
        ("POST", "/api/v1/channels/shop/pause", "{\"by\":\"nosuch\"}", 400, "there are: shops"),
        ("POST", "/api/v1/channels/shop/poll", "", 409, "is not polled"),
        ("DELETE", "/api/v1/tasks", "", 405, "openapi.json"),
    ] {
        let answer = call(host.address, method, path, &[], body.as_bytes()).await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        let told: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert!(!text(&told, "/error/cure").is_empty() && answer.body.contains(part), "{}", answer.body);
    }
    assert_eq!(told(&host.cli(&["channel", "pause", "a/../b?c"])).0, Some(1));
    assert_eq!(told(&host.cli(&["channel", "pause", ""])).0, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_ends_the_start_with_a_next_step() {
    let mut host = Host::new(CONFIG, TABLE);
    host.start().await;
    host.write("other.toml", format!("[host]\ndata = \"other\"\nlisten = \"{}\"\n{CONFIG}", host.address));
    let (code, said) = told(&host.cli(&["--config", "other.toml", "run"]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot listen on") && said.contains("help: "), "{said}");
    assert!(!SECRET.is_empty() && !said.contains(SECRET));
}
