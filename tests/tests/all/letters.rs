//! Mail in, mail out: joined to its thread, once, and never to a machine.

use membrana_world::{Letter, Mail, Mishap};
use serde_json::Value as Json;

use crate::harness::{Host, eventually, text};

const PASSWORD: &str = "a \"quoted\" pass\\word";
const MARCO: &str = "marco@customers.example";
const SAID: &str = "Ho pagato due volte la bolletta e nessuno mi risponde.";

fn letter(id: &str, answers: &[&str]) -> Letter {
    Letter {
        from: format!("Marco Rossi <{MARCO}>"),
        subject: "Bolletta".to_owned(),
        id: id.to_owned(),
        answers: answers.iter().map(|id| (*id).to_owned()).collect(),
        headers: Vec::new(),
        text: SAID.to_owned(),
    }
}

/// A host that is connected; `imap` is how it reaches the mailbox.
async fn host(mail: &Mail, reply: &str, imap: &str) -> Host {
    let config = format!(
        "ca_files = [\"ca.pem\"]\n[[channel]]\nname = \"support-mail\"\nplugin = \"mail\"\npoll = \"1s\"\nconfig = {{ {imap}, smtp = \"{smtp}\", user = \"support\", from = \"Acme <{us}>\", sent_mailbox = \"Sent\" }}\nsecrets = {{ password = {{ file = \"password\" }} }}\ngrant = {{ net = [\"{tls}\", \"{clear}\", \"{smtp}\"] }}\n[[analyzer]]\nname = \"language\"\nplugin = \"language\"\n[[rule]]\nname = \"impact\"\nplugin = \"impact-table\"\nconfig = {{ table_file = \"impact.toml\" }}\n[[team]]\nname = \"support\"\n",
        smtp = mail.smtp,
        tls = mail.imap,
        clear = mail.imap_clear,
        us = Mail::ADDRESS,
    );
    let table = format!(
        "[[row]]\nname = \"mail\"\nwhen = {{ kind = [\"mail\"] }}\nresponsible = \"support\"\nwithin = \"2h\"\nreply = {{ mode = \"{reply}\", text = {{ it = \"Ciao {{author}}, ci stiamo lavorando.\" }} }}\n[[row]]\nname = \"everything else\"\n"
    );
    let mut host = Host::new(&config, &table);
    host.write("password", PASSWORD);
    host.write("ca.pem", &mail.ca);
    host.start().await;
    let is_connected = async || host.list(&["channel", "list"]).iter().any(|channel| text(channel, "/state") == "connected");
    assert!(eventually(is_connected).await, "{}", host.log());
    host
}

fn tls(mail: &Mail) -> String {
    format!("imap = \"{}\"", mail.imap)
}

const ACTIONS: [&str; 2] = ["outbox", "list"];

fn n_sent(actions: &[Json]) -> usize {
    actions.iter().filter(|action| text(action, "/state") == "sent").count()
}

/// Headers unfolded.
fn unfolded(mail: &str) -> String {
    mail.replace("\r\n ", " ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_answered_in_its_thread_and_says_that_a_machine_answers() {
    let mail = Mail::start(PASSWORD).await.unwrap();
    let host = host(&mail, "send", &tls(&mail)).await;
    mail.deliver(&letter("m1@c.example", &[]));
    mail.deliver(&letter("m3@c.example", &["m1@c.example", "m2@c.example"]));
    let actions = host.until(&ACTIONS, |actions| n_sent(actions) == 2).await;

    let received = mail.received(MARCO);
    assert_eq!(received.len(), 2);
    let reply = received.iter().map(|reply| unfolded(reply)).find(|reply| reply.contains("In-Reply-To: <m3@c.example>")).unwrap();
    for part in [
        "Subject: Re: Bolletta\r\n",
        "References: <m1@c.example> <m2@c.example> <m3@c.example>\r\n",
        "Auto-Submitted: auto-replied\r\n",
        "Ciao Marco Rossi, ci stiamo lavorando.",
    ] {
        assert!(reply.contains(part), "`{part}` is missing in:\n{reply}");
    }
    assert!(actions.iter().any(|action| reply.contains(text(action, "/native_id"))), "the Message-ID is kept: {actions:?}");
    let all = host.list(&["interaction", "list"]);
    assert_eq!(text(&all[0], "/conversation"), text(&all[1], "/conversation"), "joined by a mail that was never seen");
    assert!(host.list(&["dead", "list"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_a_person_approved_does_not_call_itself_automatic() {
    let mail = Mail::start(PASSWORD).await.unwrap();
    let host = host(&mail, "draft", &format!("imap = \"{}\", imap_tls = \"starttls\"", mail.imap_clear)).await;
    mail.deliver(&letter("m1@c.example", &[]));
    let drafts = host.until(&ACTIONS, |actions| actions.len() == 1).await;
    assert!(host.cli(&["outbox", "approve", text(&drafts[0], "/id"), "--text", "Ciao, ti chiamo oggi."]).status.success());
    host.until(&ACTIONS, |actions| n_sent(actions) == 1).await;
    let received = mail.received(MARCO);
    assert_eq!(received.len(), 1);
    assert!(received[0].contains("Ciao, ti chiamo oggi.") && !received[0].contains("Auto-Submitted"), "{}", received[0]);
    assert!(mail.lines().iter().all(|line| !line.contains("pass")), "no password is said in a line that is noted");
}

#[tokio::test(flavor = "multi_thread")]
async fn automated_mail_gets_a_task_and_no_automatic_answer() {
    let mail = Mail::start(PASSWORD).await.unwrap();
    let host = host(&mail, "send", &tls(&mail)).await;
    for (n, header) in
        ["Auto-Submitted: auto-replied", "Precedence: bulk", "List-Id: <news.c.example>", "X-Auto-Response-Suppress: All"].into_iter().enumerate()
    {
        mail.deliver(&Letter { headers: vec![header.to_owned()], ..letter(&format!("auto{n}@c.example"), &[]) });
    }
    mail.deliver(&letter("person@c.example", &[]));
    host.until(&ACTIONS, |actions| n_sent(actions) == 1).await;
    let all = host.until(&["interaction", "list"], |all| all.len() == 5).await;
    let n_machines = all.iter().filter(|one| one.to_string().contains("a machine wrote it")).count();
    assert_eq!((n_machines, mail.received(MARCO).len(), host.list(&["task", "list"]).len()), (4, 1, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_whose_last_answer_was_lost_is_found_in_sent_and_not_sent_again() {
    let mail = Mail::start(PASSWORD).await.unwrap();
    let host = host(&mail, "send", &tls(&mail)).await;
    mail.next(Mishap::LoseAnswer);
    mail.deliver(&letter("m1@c.example", &[]));
    let sent = host.until(&ACTIONS, |actions| n_sent(actions) == 1).await;
    assert_eq!(mail.received(MARCO).len(), 1);
    let told = host.cli(&["interaction", "explain", text(&sent[0], "/interaction"), "--json"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("unknown") && !told.contains("failed"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_mail_settles_its_action_and_is_no_news() {
    let mail = Mail::start(PASSWORD).await.unwrap();
    let host = host(&mail, "send", &format!("{}, mailbox = [\"INBOX\", \"Sent\"]", tls(&mail))).await;
    mail.deliver(&letter("m1@c.example", &[]));
    host.until(&ACTIONS, |actions| n_sent(actions) == 1).await;
    mail.deliver(&letter("m2@c.example", &["m1@c.example"]));
    host.until(&ACTIONS, |actions| n_sent(actions) == 2).await;
    // Twice around all mailboxes, so that the copies in `Sent` were read.
    let n_before = mail.lines().iter().filter(|line| line.contains("EXAMINE \"Sent\"")).count();
    let is_around = async || mail.lines().iter().filter(|line| line.contains("EXAMINE \"Sent\"")).count() >= n_before + 2;
    assert!(eventually(is_around).await, "{}", host.log());
    assert_eq!((host.list(&["interaction", "list", "--own"]).len(), host.list(&["task", "list"]).len()), (2, 2));
    assert_eq!((mail.received(MARCO).len(), host.list(&["dead", "list"]).len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_built_anew_and_a_cut_connection_bring_each_mail_once() {
    let mail = Mail::start(PASSWORD).await.unwrap();
    let host = host(&mail, "draft", &tls(&mail)).await;
    mail.next(Mishap::CutLiteral(40));
    mail.next(Mishap::Bye);
    let first = mail.deliver(&letter("m1@c.example", &[]));
    mail.deliver(&letter("m2@c.example", &[]));
    host.until(&["interaction", "list"], |all| all.len() == 2).await;

    mail.expunge(first);
    mail.bump_uid_validity();
    mail.deliver(&letter("m3@c.example", &[]));
    host.until(&["interaction", "list"], |all| all.len() == 3).await;
    assert_eq!(host.list(&ACTIONS).len(), 3);
    assert!(host.list(&["dead", "list"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_that_are_imported_are_history_and_get_no_answer() {
    let mail = Mail::start(PASSWORD).await.unwrap();
    mail.deliver(&letter("old@c.example", &[]));
    let host = host(&mail, "send", &format!("{}, first_fetch = \"import\"", tls(&mail))).await;
    let history = host.until(&["interaction", "list"], |all| all.iter().any(|one| text(one, "/decisions/0/row") == "mail")).await;
    assert_eq!((history.len(), history[0]["backfill"].as_bool()), (1, Some(true)));
    assert!(host.list(&ACTIONS).is_empty() && host.list(&["task", "list"]).is_empty());

    mail.deliver(&letter("new@c.example", &["old@c.example"]));
    host.until(&ACTIONS, |actions| n_sent(actions) == 1).await;
    let all = host.list(&["interaction", "list"]);
    assert_eq!(text(&all[0], "/conversation"), text(&all[1], "/conversation"), "history is what news is joined to");
    assert_eq!((mail.received(MARCO).len(), host.list(&["task", "list"]).len()), (1, 1));
}
