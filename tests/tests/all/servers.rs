//! Each channel against a real server of its network, and the CRM's judges.

use std::collections::BTreeMap;

use membrana_world::{Blog, call};
use serde_json::Value as Json;

use crate::harness::{Host, SECRET, eventually, text};
use crate::real::{Account, Member, Server, WordPress, deliver, mail, mail_channel, mailbox, mastodon_channel, misago_channel, verdicts};

/// A rule, and the teams that its table names.
const RULE: &str =
    "[[rule]]\nname = \"impact\"\nplugin = \"impact-table\"\nconfig = { table_file = \"impact.toml\" }\n[[team]]\nname = \"support\"\n";
const LANGUAGE: &str = "[[analyzer]]\nname = \"language\"\nplugin = \"language\"\n";

async fn is_connected(host: &Host) {
    let holds = async || host.list(&["channel", "list"]).iter().all(|channel| text(channel, "/state") == "connected");
    assert!(eventually(holds).await, "{:?}\n{}", host.list(&["channel", "list"]), host.log());
}

async fn mail_host(server: &Server) -> Host {
    let table = "[[row]]\nname = \"mail\"\nwhen = { kind = [\"mail\"], language = [\"it\"] }\nresponsible = \"support\"\nwithin = \"2h\"\nreply = { mode = \"send\", text = { it = \"Ciao {author}, ci stiamo lavorando.\" } }\n[[row]]\nname = \"everything else\"\n";
    let mut host = Host::new(&format!("ca_files = [\"{}\"]\n{}{LANGUAGE}{RULE}", server.value("CA"), mail_channel(server)), table);
    host.write("password", server.value("PASS"));
    host.start().await;
    is_connected(&host).await;
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_answered_in_its_thread() {
    let Some(server) = Server::start("mail") else { return };
    let host = mail_host(&server).await;

    let question =
        mail("marco@acme.test", "m1@acme.test", "Bolletta 1", "Ho pagato due volte la bolletta e nessuno mi risponde.\r\n\r\n> vecchia citazione");
    deliver(server.value("SMTP_PORT"), "marco@acme.test", &question);
    let actions = host.until(&["outbox", "list"], |actions| actions.iter().any(|action| text(action, "/state") == "sent")).await;
    let all = host.list(&["interaction", "list"]);
    assert_eq!(
        (all.len(), text(&all[0], "/text"), text(&all[0], "/quoted")),
        (1, "Ho pagato due volte la bolletta e nessuno mi risponde.", "> vecchia citazione")
    );
    assert_eq!(text(&actions[0], "/text"), "Ciao Marco Rossi, ci stiamo lavorando.");

    let parts = [
        "Subject: Re: Bolletta 1",
        "In-Reply-To: <m1@acme.test>",
        "References: <m1@acme.test>",
        "Auto-Submitted: auto-replied",
        "Ciao Marco Rossi, ci stiamo lavorando.",
    ];
    let mut found = String::new();
    let is_there = async || {
        found = mailbox(&server, "marco");
        parts.iter().all(|part| found.contains(part))
    };
    assert!(eventually(is_there).await, "not all of {parts:?} is in:\n{found}");
    assert_eq!(found.matches("In-Reply-To: <m1@acme.test>").count(), 1, "one reply");
    assert!(host.list(&["dead", "list"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_a_real_mailbox_holds_are_kept_byte_by_byte() {
    let Some(server) = Server::start("mail") else { return };
    let mut host =
        Host::new(&format!("ca_files = [\"{}\"]\n{}media = {{ file_bytes = 1000 }}\n{LANGUAGE}", server.value("CA"), mail_channel(&server)), "");
    host.write("password", server.value("PASS"));
    host.start().await;
    is_connected(&host).await;

    let part = |name: &str, encoding: &str, body: &str| {
        format!(
            "--b\r\nContent-Type: application/octet-stream; name={name}\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}\r\n"
        )
    };
    let head = "From: Marco Rossi <marco@acme.test>\r\nTo: support@acme.test\r\nSubject: Foto\r\nMessage-ID: <f1@acme.test>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nEcco.\r\n";
    let files =
        [part("a.png", "base64", "iVBORw0KGgo="), part("b.bin", "base64", &"AAAA".repeat(500)), part("c.txt", "quoted-printable", "perch=E9")];
    deliver(server.value("SMTP_PORT"), "marco@acme.test", format!("{head}{}--b--\r\n", files.concat()).as_bytes());
    let state = |one: &Json, n: usize| text(one, &format!("/attachments/{n}/state")).to_owned();
    let all =
        host.until(&["interaction", "list"], |all| all.len() == 1 && (0..3).all(|n| !["", "pending"].contains(&state(&all[0], n).as_str()))).await;

    assert_eq!((text(&all[0], "/text"), [0, 1, 2].map(|n| state(&all[0], n))), ("Ecco.", ["stored", "failed", "stored"].map(str::to_owned)));
    let bytes = |n: &str| host.cli(&["interaction", "show", text(&all[0], "/id"), "--attachment", n]).stdout;
    assert_eq!((bytes("0"), bytes("2")), (b"\x89PNG\r\n\x1a\n".to_vec(), b"perch\xe9".to_vec()));
    assert!(host.list(&["dead", "list"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_mails_between_good_ones_hold_nothing() {
    let Some(server) = Server::start("mail") else { return };
    let host = mail_host(&server).await;
    let good = |n: u32| mail("marco@acme.test", &format!("good{n}@acme.test"), &format!("Good {n}"), "Grazie, adesso funziona tutto.");
    let bad: [&[u8]; 5] = [
        b"",
        b"no header at all, \xff\xfe and bytes of no charset\r\n",
        b"Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain; charset=klingon\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!",
        b"From: <\r\nSubject: =?utf-8?B?////?=\r\nDate: yesterday\r\nContent-Type: ;;;\r\n\r\n\xc3\x28",
        b"From: a@acme.test\r\nMessage-ID: broken <<>>\r\nReferences: <<<\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\n",
    ];

    for (n, body) in (0..).zip(bad) {
        deliver(server.value("SMTP_PORT"), "marco@acme.test", &good(n));
        deliver(server.value("SMTP_PORT"), "marco@acme.test", body);
    }
    deliver(server.value("SMTP_PORT"), "marco@acme.test", &good(5));

    let n_good = |all: &[Json]| all.iter().filter(|one| text(one, "/subject").starts_with("Good ")).count();
    host.until(&["interaction", "list"], |all| n_good(all) == 6).await;
    // Each bad one is either understood as far as it can be, or set aside alone: none is gone.
    let n_bad = async || host.list(&["interaction", "list"]).len() + host.list(&["dead", "list"]).len() - 6;
    assert!(eventually(async || n_bad().await == bad.len()).await, "{} of {}\n{}", n_bad().await, bad.len(), host.log());
    assert_eq!(call(host.address, "GET", "/healthz", &[], b"").await.unwrap().status, 200);
    is_connected(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_and_a_comment_come_in_by_the_blog_s_feeds() {
    let Some(server) = Server::start("wordpress") else { return };
    let blog = WordPress::of(&server);
    let table = "[[row]]\nname = \"comment\"\nwhen = { kind = [\"comment\"], language = [\"it\"] }\nresponsible = \"support\"\nwithin = \"2h\"\n[[row]]\nname = \"everything else\"\n";
    let mut host = Host::new(&format!("{}{LANGUAGE}{RULE}", blog.channel()), table);
    host.start().await;
    is_connected(&host).await;
    // The feed of comments is discovered; what it held before is not told.
    assert!(eventually(async || server.file("wordpress/log").contains("GET /comments/feed/")).await, "{}", server.file("wordpress/log"));
    assert_eq!(host.list(&["interaction", "list"]), Vec::<Json>::new(), "what was there before is not told");

    let post = blog.post("Nuova tariffa", "Da marzo <b>9,90</b>").await;
    let complaint = "Che vergogna, ho pagato due volte!";
    assert_eq!(blog.form(post, "Anna Bianchi", complaint).await, 302);
    let all = host.until(&["interaction", "list"], |all| all.len() == 2 && all.iter().all(|one| !text(one, "/decisions/0/row").is_empty())).await;
    let of = |kind: &str| all.iter().find(|one| text(one, "/kind") == kind).unwrap_or_else(|| panic!("no {kind} in {all:?}"));
    assert_eq!((text(of("post"), "/subject"), text(of("post"), "/text")), ("Nuova tariffa", "Da marzo 9,90"));
    assert_eq!((text(of("comment"), "/author/name"), text(of("comment"), "/text")), ("Anna Bianchi", complaint));
    assert_eq!(text(of("comment"), "/decisions/0/row"), "comment");
    assert_eq!(text(&host.list(&["task", "list"])[0], "/interaction"), text(of("comment"), "/id"));

    // What has not changed is not sent again.
    for feed in ["[304]: GET /feed/", "[304]: GET /comments/feed/"] {
        assert!(eventually(async || server.file("wordpress/log").contains(feed)).await, "no `{feed}` in:\n{}", server.file("wordpress/log"));
    }
    assert_eq!(host.list(&["interaction", "list"]).len(), 2, "nor told again");
    assert!(host.list(&["dead", "list"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crm_s_judges_accept_every_event() {
    let Some(server) = Server::start("webhook") else { return };
    assert_eq!(server.value("HOOK_SECRET"), SECRET);
    let blog = Blog::start().await.unwrap();
    let hook = server.value("HOOK");
    let sink = |name: &str, path: &str| format!("[[sink]]\nname = \"{name}\"\nurl = \"{hook}{path}\"\nsecret = {{ env = \"SECRET\" }}\n");
    let channel = format!(
        "[[channel]]\nname = \"blog\"\nplugin = \"feed\"\npoll = \"1s\"\nconfig = {{ urls = [\"{blog}/feed/\"] }}\ngrant = {{ http = [\"{blog}\"] }}\n[[team]]\nname = \"lead\"\n",
        blog = blog.url(),
    );
    let table = "[[row]]\nname = \"post\"\nwhen = { kind = [\"post\"] }\nresponsible = \"support\"\nwithin = \"1d\"\nescalate = [{ after = \"1s\", to = \"lead\" }]\n[[row]]\nname = \"everything else\"\n";
    let mut host = Host::new(&format!("{channel}{RULE}{}{}", sink("crm", "/ok"), sink("failing", "/fail?n=2")), table);
    host.start().await;
    is_connected(&host).await;
    blog.post("Perché?", "Anna", "<p>Un post con accenti: è così.</p>");
    let tasks = host.until(&["task", "list"], |tasks| !tasks.is_empty()).await;
    let kinds = |judged: &[Json], path: &str| -> Vec<String> {
        judged.iter().filter(|one| text(one, "/path") == path).map(|one| text(one, "/cloudevent/type").to_owned()).collect()
    };
    assert!(
        eventually(async || kinds(&verdicts(&server).await, "/ok").contains(&"it.membrana.task.escalated.v1".to_owned())).await,
        "{}",
        host.log()
    );
    assert!(host.cli(&["task", "close", text(&tasks[0], "/id"), "--as", "lead"]).status.success());

    let mut judged = Vec::new();
    let wanted = ["interaction.received", "task.opened", "task.escalated", "task.done"].map(|name| format!("it.membrana.{name}.v1"));
    let all_told = async || {
        judged = verdicts(&server).await;
        ["/ok", "/fail?n=2"].iter().all(|path| wanted.iter().all(|kind| kinds(&judged, path).contains(kind)))
    };
    assert!(eventually(all_told).await, "{:?}\n{}", kinds(&judged, "/fail?n=2"), host.log());
    for verdict in &judged {
        assert_eq!(text(verdict, "/signature"), "ok", "{verdict}");
        assert!(verdict["cloudevent"].is_object(), "{verdict}");
    }
    // Two answers were failures: what they refused came again under the same id.
    let mut tries: BTreeMap<&str, usize> = BTreeMap::new();
    let failing = judged.iter().filter(|one| text(one, "/path") == "/fail?n=2");
    failing.for_each(|one| *tries.entry(text(one, "/headers/webhook-id")).or_default() += 1);
    assert_eq!(tries.values().map(|n| n - 1).sum::<usize>(), 2, "{tries:?}");
    let of = |path: &str| {
        judged
            .iter()
            .filter(|one| text(one, "/path") == path)
            .map(|one| (text(one, "/headers/webhook-id"), text(one, "/body")))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(of("/ok").keys().count(), wanted.len(), "one event each: {:?}", of("/ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mention_on_the_fediverse_is_answered_there() {
    let Some(server) = Server::start("snac") else { return };
    let ours = server.value("SNAC_A");
    let support = Account::enter(ours, "support", server.value("PW_A")).await;
    let anna = Account::enter(server.value("SNAC_B"), "anna", server.value("PW_B")).await;
    let table = "[[row]]\nname = \"mention\"\nwhen = { kind = [\"mention\"] }\nresponsible = \"support\"\nwithin = \"2h\"\nreply = { mode = \"draft\", review = [\"support\"], text = { en = \"Pratica aperta\" } }\n[[row]]\nname = \"everything else\"\n";
    let mut host = Host::new(&format!("{}{RULE}", mastodon_channel(ours)), table);
    host.write("token", &support.token);
    host.start().await;
    is_connected(&host).await;

    // The script's own check plays a conversation: its last word is anna's "Grazie!" to support.
    server.check();
    let drafts = host.until(&["outbox", "list"], |actions| !actions.is_empty()).await;
    assert_eq!(text(&drafts[0], "/state"), "awaiting-approval");
    let all = host.list(&["interaction", "list"]);
    assert!(text(&all[0], "/text").contains("Grazie!"), "{all:?}");
    let refused = host.cli(&["outbox", "approve", text(&drafts[0], "/id"), "--as", "marketing"]);
    assert!(!refused.status.success(), "only the reviewing team may approve");
    assert!(host.cli(&["outbox", "approve", text(&drafts[0], "/id"), "--as", "support"]).status.success());
    host.until(&["outbox", "list"], |actions| text(&actions[0], "/state") == "sent").await;

    let mut answer = Json::Null;
    let has_answer = async || {
        let told = anna.get("/api/v1/notifications").await;
        let mut statuses = told.as_array().into_iter().flatten().map(|one| one["status"].clone());
        answer = statuses.find(|status| text(status, "/content").contains("Pratica aperta")).unwrap_or_default();
        !answer.is_null()
    };
    assert!(eventually(has_answer).await, "anna sees no answer\n{}", host.log());
    let thanks = anna.get(&format!("/api/v1/statuses/{}", text(&answer, "/in_reply_to_id"))).await;
    assert!(text(&thanks, "/content").contains("Grazie!"), "it answers what anna said: {thanks}");
    assert_eq!(text(&answer, "/visibility"), text(&thanks, "/visibility"), "it is seen by whom anna let see hers");
    assert!(host.list(&["dead", "list"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_of_a_forum_is_answered_there() {
    let Some(server) = Server::start("misago") else { return };
    let mut anna = Member::enter(server.value("FORUM"), "anna", "hunter2-long");
    let table = "[[row]]\nname = \"thread\"\nwhen = { kind = [\"post\"] }\nresponsible = \"support\"\nwithin = \"2h\"\nreply = { mode = \"send\", text = { en = \"Ciao {author}, ci stiamo lavorando.\" } }\n[[row]]\nname = \"everything else\"\n";
    let mut host = Host::new(&format!("{}{RULE}", misago_channel(server.value("FORUM"))), table);
    host.write("password", "hunter2-long");
    host.start().await;
    is_connected(&host).await;

    let thread = anna.open("Bolletta doppia a marzo", "Ho pagato **due** volte, perché?");
    host.until(&["outbox", "list"], |actions| actions.iter().any(|action| text(action, "/state") == "sent")).await;
    let all = host.list(&["interaction", "list"]);
    let asked = all.iter().find(|one| text(one, "/kind") == "post").unwrap_or_else(|| panic!("no thread in {all:?}"));
    assert_eq!((text(asked, "/subject"), text(asked, "/text")), ("Bolletta doppia a marzo", "Ho pagato due volte, perché?"));
    assert_eq!(text(asked, "/author/handle"), "@anna");

    let posts = anna.posts(thread);
    let said: Vec<_> = posts.iter().map(|post| (text(post, "/poster/username"), text(post, "/content"))).collect();
    assert_eq!(said, [("anna", "<p>Ho pagato <strong>due</strong> volte, perché?</p>"), ("support", "<p>Ciao anna, ci stiamo lavorando.</p>")]);
    assert!(!host.log().contains("hunter2-long"));
    assert!(host.list(&["dead", "list"]).is_empty());
}
