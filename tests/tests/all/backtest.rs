//! `membrana backtest`: what another table, or another build, would have said of what is stored, and that it has no effect.

use membrana_world::Dress;
use serde_json::Value as Json;

use crate::harness::{Host, text};
use crate::hooks::shop;

const CONFIG: &str = r#"
[[channel]]
name = "shop"
plugin = "touchpoint"
config = { kind = "checkin", id = "/id", text = "/note" }
ingress = { verify = "standard-webhooks" }
secrets = { webhook = { env = "SECRET" } }
[[analyzer]]
name = "language"
plugin = "language"
[[analyzer]]
name = "mood"
plugin = "sentiment"
after = ["language"]
[[rule]]
name = "impact"
plugin = "impact-table"
config = { table_file = "impact.toml" }
[[team]]
name = "shops"
[[team]]
name = "legal"
"#;
const TABLE: &str = "[[row]]\nname = \"angry\"\nwhen = { sentiment = { max = -0.2 } }\nresponsible = \"shops\"\nwithin = \"2h\"\n[[row]]\nname = \"everything else\"\n";
const SAID: [&str; 4] = [
    "This is the worst shop I have ever been to, terrible!",
    "What a horrible mess, I hate it.",
    "A wonderful place, thank you so much, I love it!",
    "When do you open on Sunday?",
];

fn told(host: &Host, arguments: &[&str]) -> Json {
    let output = host.cli(&[&["backtest"], arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn counts(told: &Json) -> [u64; 4] {
    ["asked", "same", "different", "new"].map(|key| told[key].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_table_would_have_decided_is_told_and_nothing_changes() {
    let mut host = Host::new(CONFIG, TABLE);
    host.start().await;
    for (n, said) in SAID.iter().enumerate() {
        let body = serde_json::json!({ "id": n, "note": said }).to_string();
        assert_eq!(shop(&host).post(&format!("evt-{n}"), Dress::Right, &body).await.unwrap().status, 202);
    }
    let is_decided = |all: &[Json]| all.len() == SAID.len() && all.iter().all(|one| !text(one, "/decisions/0/row").is_empty());
    let before = host.until(&["interaction", "list"], is_decided).await;
    let n_angry = before.iter().filter(|one| text(one, "/decisions/0/row") == "angry").count() as u64;
    assert!((1..4).contains(&n_angry), "{before:?}");

    assert_eq!(counts(&told(&host, &["impact"])), [4, 4, 0, 0], "what is in force decides as it did");
    host.write("next-impact.toml", TABLE.replace("\"shops\"", "\"legal\""));
    host.write("next.toml", host.read("membrana.toml").replace("impact.toml", "next-impact.toml"));
    let next = told(&host, &["impact", "next.toml"]);
    assert_eq!(counts(&next), [4, 4 - n_angry, n_angry, 0]);
    assert_eq!((text(&next, "/changes/0/then"), text(&next, "/changes/0/now")), ("angry, to shops", "angry, to legal"));
    let angry = before.iter().find(|one| text(one, "/id") == text(&next, "/changes/0/examples/0")).unwrap();
    assert_eq!(text(angry, "/decisions/0/row"), "angry");

    assert_eq!(counts(&told(&host, &["mood"])), [4, 4, 0, 0]);
    let other = told(&host, &["mood", "language", "--limit", "3"]);
    assert_eq!(counts(&other), [3, 0, 3, 0], "another analyzer says something else: {other}");

    assert_eq!(host.list(&["interaction", "list"]), before, "nothing was changed");
    assert!(host.list(&["dead", "list"]).is_empty());
    assert_eq!(host.stop(), Some(0));
    assert_eq!(counts(&told(&host, &["impact", "next.toml"])), [4, 4 - n_angry, n_angry, 0], "also without a host");

    for (wrong, code, words) in [("shop", 1, "is a channel"), ("nobody", 1, "there are: language, mood, impact")] {
        let output = host.cli(&["backtest", wrong]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "{said}");
    }
    host.write("next-impact.toml", TABLE.replace("\"shops\"", "\"nobody\""));
    let output = host.cli(&["backtest", "impact", "next.toml"]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let output = host.cli(&["backtest", "mood"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("4 asked: 4 the same, 0 different"), "{said}");
}
