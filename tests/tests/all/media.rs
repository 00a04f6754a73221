//! Files of messages: they come after their message, and whatever becomes of them, it stands.

use membrana_world::{Mail, Mastodon, call};
use serde_json::Value as Json;

use crate::harness::{Host, eventually, text};
use crate::hostile::connector;

const TABLE: &str = "[[row]]\nname = \"everything else\"\n";
const RULE: &str =
    "[[rule]]\nname = \"impact\"\nplugin = \"impact-table\"\nconfig = { table_file = \"impact.toml\" }\n[[team]]\nname = \"support\"\n";
const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n and \xff\x00\nmore";

/// Interactions once no file of any waits any more.
async fn settled(host: &Host, n: usize) -> Vec<Json> {
    let is_settled =
        |one: &Json| one["attachments"].as_array().is_some_and(|files| files.iter().all(|file| !["", "pending"].contains(&text(file, "/state"))));
    host.until(&["interaction", "list"], |all| all.len() == n && all.iter().all(is_settled)).await
}

fn saying<'j>(all: &'j [Json], word: &str) -> &'j Json {
    all.iter().find(|one| text(one, "/text").contains(word)).unwrap_or_else(|| panic!("nobody says `{word}`: {all:?}"))
}

fn fetched(host: &Host, id: &str, n: &str) -> Vec<u8> {
    let output = host.cli(&["interaction", "show", id, "--attachment", n]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_by_its_address_is_kept_and_one_out_of_reach_says_why() {
    // given
    let masto = Mastodon::start("token").await.unwrap();
    let url = masto.url();
    let config = format!(
        "[[channel]]\nname = \"acme-masto\"\nplugin = \"mastodon\"\npoll = \"1s\"\nconfig = {{ base_url = \"{url}\" }}\nsecrets = {{ token = {{ file = \"token\" }} }}\ngrant = {{ http = [\"{url}\"] }}\nmedia = {{ file_bytes = 100000 }}\n{RULE}"
    );
    let mut host = Host::new(&config, TABLE);
    host.write("token", "token");
    host.start().await;
    assert!(eventually(async || masto.ledger().asked("GET /api/v1/notifications").len() > 1).await, "{}", host.log());

    // when
    masto.upload("parcel.png", PICTURE);
    masto.upload("huge.png", &[7; 100_001]);
    let id = masto.show(
        "anna@people.example",
        "@acme it is broken",
        &["/media/parcel.png", "/media/huge.png", "/media/gone.png", "https://cdn.example/x.png"],
    );
    let all = settled(&host, 1).await;

    // then
    let files = &all[0]["attachments"];
    assert_eq!((text(files, "/0/state"), files[0]["size"].as_u64(), &files[0]["reason"]), ("stored", Some(PICTURE.len() as u64), &Json::Null));
    assert_eq!(text(files, "/0/sha256").len(), 64);
    for (n, reason) in [(1, "too large"), (2, "no more"), (3, "grant = { http = [\"https://cdn.example\"] }")] {
        assert_eq!(text(&files[n], "/state"), "failed", "{files}");
        assert!(text(&files[n], "/reason").contains(reason), "{files}");
    }
    assert_eq!(text(&all[0], "/decisions/0/row"), "everything else", "it was decided as ever");
    assert_eq!(fetched(&host, text(&all[0], "/id"), "0"), PICTURE);
    let refused = host.cli(&["interaction", "show", text(&all[0], "/id"), "--attachment", "2"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no more") && !refused.status.success(), "{refused:?}");
    assert_eq!(masto.ledger().asked("GET /media/parcel.png").iter().filter(|asked| asked.header("authorization").is_some()).count(), 0);
    let metrics = call(host.address, "GET", "/metrics", &[], b"").await.unwrap().body;
    for line in ["membrana_media_files{channel=\"acme-masto\",state=\"stored\"} 1", "state=\"failed\"} 3"] {
        assert!(metrics.contains(line), "no `{line}` in\n{metrics}");
    }

    // when it is taken back
    masto.delete(&id);
    host.until(&["interaction", "list"], |all| all.iter().all(|one| one["attachments"][0]["state"].is_null())).await;
    let kept = std::fs::read_dir(host.dir().join("data/media/1")).unwrap().count();
    assert_eq!((kept, host.stop()), (0, Some(0)));
}

const TWO_FILES: &str = "From: Anna <anna@customers.example>\r\nTo: support@acme.example\r\nSubject: rotto\r\nMessage-ID: <f1@customers.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nEcco le foto.\r\n--b\r\nContent-Type: image/png; name=x.png\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--b\r\nContent-Type: image/jpeg; name=grande.jpg\r\nContent-Disposition: attachment\r\n\r\nBIG\r\n--b--\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_comes_at_once_and_its_files_one_by_one_also_over_a_kill() {
    // given
    let mail = Mail::start("right").await.unwrap();
    let (imap, ca) = (mail.imap, &mail.ca);
    let config = format!(
        "ca_files = [\"ca.pem\"]\n[[channel]]\nname = \"acme-mail\"\nplugin = \"mail\"\npoll = \"1s\"\nconfig = {{ imap = \"{imap}\", user = \"support\" }}\nsecrets = {{ password = {{ file = \"password\" }} }}\ngrant = {{ net = [\"{imap}\"] }}\nmedia = {{ file_bytes = 1000 }}\n{RULE}"
    );
    let mut host = Host::new(&config, TABLE);
    host.write("password", "right");
    host.write("ca.pem", ca);
    host.start().await;
    assert!(eventually(async || mail.lines().iter().any(|line| line.contains("EXAMINE"))).await, "{}", host.log());

    // when
    mail.deliver_raw(TWO_FILES.replace("BIG", &"x".repeat(2000)).as_bytes());
    host.until(&["interaction", "list"], |all| all.len() == 1).await;
    host.kill();
    host.start().await;
    let all = settled(&host, 1).await;

    // then
    assert_eq!((text(&all[0], "/text"), text(&all[0], "/attachments/0/state")), ("Ecco le foto.", "stored"));
    assert_eq!(fetched(&host, text(&all[0], "/id"), "0"), b"\x89PNG\r\n\x1a\n");
    assert_eq!((text(&all[0], "/attachments/1/name"), text(&all[0], "/attachments/1/state")), ("grande.jpg", "failed"));
    assert!(text(&all[0], "/attachments/1/reason").contains("too large"), "{all:?}");
    assert!(host.list(&["dead", "list"]).is_empty());
    // Without a host the same command reads the store itself.
    assert_eq!(host.stop(), Some(0));
    assert_eq!(fetched(&host, text(&all[0], "/id"), "0"), b"\x89PNG\r\n\x1a\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_goes_mad_over_a_file_leaves_the_message_and_a_reason() {
    let modes = [("trap", "(trap)"), ("loop", "(cpu)"), ("memory", "(memory)"), ("lie", "a file of 1001 bytes is over 1000"), ("well", "")];
    let channel = |(mode, _): &(&str, &str)| {
        format!(
            "[[channel]]\nname = \"{mode}\"\nplugin = \"{}\"\npoll = \"1h\"\nconfig = {{ mode = \"fetch-{mode}\" }}\ningress = {{ verify = \"none\" }}\nmedia = {{ file_bytes = 1000 }}\n",
            connector().display()
        )
    };
    let mut host = Host::new(&format!("{}{RULE}", modes.iter().map(channel).collect::<String>()), TABLE);
    host.start().await;
    for (mode, _) in modes {
        assert_eq!(call(host.address, "POST", &format!("/hooks/{mode}"), &[], format!("with {mode}").as_bytes()).await.unwrap().status, 202);
    }

    let all = settled(&host, modes.len()).await;

    for (mode, reason) in modes {
        let file = &saying(&all, &format!("with {mode}"))["attachments"][0];
        let state = if reason.is_empty() { "stored" } else { "failed" };
        assert!(text(file, "/state") == state && text(file, "/reason").contains(reason), "{mode}: {file}");
    }
    assert_eq!(fetched(&host, text(saying(&all, "with well"), "/id"), "0"), b"file");
    assert!(host.list(&["channel", "list"]).iter().all(|channel| text(channel, "/state") == "connected"), "{:?}", host.list(&["channel", "list"]));
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_are_given_to_be_saved_and_to_nobody_else() {
    // given
    let masto = Mastodon::start("token").await.unwrap();
    let url = masto.url();
    let config = format!(
        "admin_token = {{ file = \"admin\" }}\n[[channel]]\nname = \"acme-masto\"\nplugin = \"mastodon\"\npoll = \"1s\"\nconfig = {{ base_url = \"{url}\" }}\nsecrets = {{ token = {{ file = \"token\" }} }}\ngrant = {{ http = [\"{url}\"] }}\nmedia = {{}}\n{RULE}"
    );
    let mut host = Host::new(&config, TABLE);
    host.write("token", "token");
    host.write("admin", "s3cret");
    host.start().await;
    assert!(eventually(async || masto.ledger().asked("GET /api/v1/notifications").len() > 1).await, "{}", host.log());
    masto.upload("page.html", b"<script>alert(1)</script>");
    masto.show("anna@people.example", "@acme look", &["/media/page.html"]);
    let all = settled(&host, 1).await;
    let path = format!("/api/v1/interactions/{}/attachments/0", text(&all[0], "/id"));

    // when
    let stranger = call(host.address, "GET", &path, &[], b"").await.unwrap();
    let admin = raw_answer(&host, &path, "s3cret");

    // then
    assert_eq!(stranger.status, 401);
    for part in ["200 OK", "content-type: application/octet-stream", "content-disposition: attachment", "x-content-type-options: nosniff", "<script>"]
    {
        assert!(admin.contains(part), "no `{part}` in {admin}");
    }
}

/// Head and body, as they came.
fn raw_answer(host: &Host, path: &str, token: &str) -> String {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(host.address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n").unwrap();
    std::io::read_to_string(stream).unwrap()
}
