//! Replies as they cross the wire, and what becomes of each refusal.

use mail_parser::MessageParser;
use membrana_sdk::connector::{Message, Sent, Target};
use membrana_sdk::testing::Host;
use membrana_sdk::{Connector, Fault, NativeId};

use crate::Mail;
use crate::stand_in::{Say, Told, say, serve};

fn reply(text: &str, context: &str) -> Message {
    Message {
        kind: "reply".to_owned(),
        automatic: true,
        text: text.to_owned(),
        to: Some(Target {
            native: NativeId { scope: "INBOX;7".to_owned(), id: "42".to_owned() },
            author: None,
            reply_context: Some(context.to_owned()),
            visibility: "direct".to_owned(),
            subject: None,
            language: None,
        }),
        created: 1_772_442_000_000,
        attrs: Vec::new(),
    }
}

const ANNA: &str = r#"{"to":"anna@customers.test","name":"Anna \"B\" Nuñez","subject":"R: Perché?","message_id":"<m2@customers.test>",
    "references":["<m0@customers.test>","<m1@acme.test>"],"automated":"no"}"#;

/// An hour after the reply was decided.
const NOW: u64 = 1_772_442_000_000 + 3_600_000;

fn install(smtp: &str, more: &str) {
    let config = format!(r#"{{"imap":"127.0.0.1:1","smtp":"{smtp}","smtp_tls":"plain","user":"support","from":"Acme <support@acme.test>"{more}}}"#);
    let mut host = Host::with_config(config);
    host.secrets.insert("password".to_owned(), "hunter2".to_owned());
    host.now = NOW;
    host.install();
}

/// A submission server whose answers may be replaced by the first word of the command, or `.` for the message.
fn submission(replaced: &'static [(&'static str, &'static str)]) -> Told {
    let mut in_data = false;
    let (address, told) = serve("220 mx ready\r\n", move |line| {
        let word = if in_data { line } else { line.split([' ', ':']).next().unwrap_or_default() };
        if in_data && line != "." {
            return say("");
        }
        in_data = word == "DATA";
        match replaced.iter().find(|(command, _)| *command == word) {
            Some((_, "")) => Say::HangUp,
            Some((_, answer)) => say(*answer),
            None => say(match word {
                "EHLO" => "250-mx\r\n250-SIZE 1000\r\n250 AUTH LOGIN PLAIN\r\n",
                "AUTH" | "c3VwcG9ydA==" => "334 VXNlcm5hbWU6\r\n",
                "hunter2" => "235 2.7.0 ok\r\n",
                "DATA" => "354 go on\r\n",
                "QUIT" => "221 bye\r\n",
                _ => "250 2.0.0 ok\r\n",
            }),
        }
    });
    install(&address, "");
    told
}

#[test]
fn a_reply_is_threaded_marked_and_stuffed() {
    let told = submission(&[]);
    let receipt = Mail::send("k1", &reply("Ciao Anna,\n.nascosto\nperché sì.", ANNA)).unwrap();
    let lines = told.lines();
    assert!(lines.contains(&"MAIL FROM:<support@acme.test>".to_owned()) && lines.contains(&"RCPT TO:<anna@customers.test>".to_owned()));
    assert!(lines.contains(&"..nascosto".to_owned()));
    let start = lines.iter().position(|line| line == "DATA").unwrap() + 1;
    let end = lines.iter().position(|line| line == ".").unwrap();
    let mail = lines[start..end].join("\r\n").replace("\r\n..", "\r\n.");
    let mail = MessageParser::default().parse(mail.as_bytes()).unwrap();
    assert_eq!(format!("<{}>", mail.message_id().unwrap()), receipt.native.id);
    assert!(receipt.native.id.ends_with("@acme.test>"));
    assert_eq!(mail.subject(), Some("Re: Perché?"));
    assert_eq!(mail.to().unwrap().first().unwrap().name(), Some("Anna \"B\" Nuñez"));
    assert_eq!(mail.in_reply_to().as_text(), Some("m2@customers.test"));
    assert_eq!(mail.references().as_text_list().unwrap(), ["m0@customers.test", "m1@acme.test", "m2@customers.test"]);
    assert_eq!(mail.header_raw("Auto-Submitted").map(str::trim), Some("auto-replied"));
    assert_eq!(mail.header_raw("X-Auto-Response-Suppress").map(str::trim), Some("All"));
    assert_eq!(mail.date().unwrap().to_timestamp(), 1_772_442_000);
    assert_eq!(mail.body_text(0).unwrap().trim_end(), "Ciao Anna,\r\n.nascosto\r\nperché sì.");
}

#[test]
fn a_repeat_is_the_same_mail_and_another_key_another() {
    let told = submission(&[]);
    let send = |key: &str| Mail::send(key, &reply("Ciao", ANNA)).unwrap().native.id;
    assert_eq!(send("k1"), send("k1"));
    assert_ne!(send("k1"), send("k2"));
    assert_eq!(told.count("Message-ID: "), 4);
}

#[test]
fn what_a_person_wrote_is_not_marked_as_automatic() {
    let told = submission(&[]);
    Mail::send("k1", &Message { automatic: false, ..reply("Ciao", ANNA) }).unwrap();
    assert_eq!(told.count("Auto-Submitted"), 0);
}

fn fault_of(replaced: &'static [(&'static str, &'static str)]) -> Fault {
    submission(replaced);
    Mail::send("k1", &reply("Ciao", ANNA)).unwrap_err()
}

fn code(fault: &Fault) -> &str {
    match fault {
        Fault::Config(d) | Fault::Auth(d) | Fault::Transient(d) | Fault::Permanent(d) | Fault::Unsupported(d) | Fault::RateLimited((d, _)) => &d.code,
    }
}

#[test]
fn refusals_are_told_apart() {
    assert!(matches!(fault_of(&[("hunter2", "535 5.7.8 no\r\n")]), Fault::Auth(_)));
    assert!(matches!(fault_of(&[("hunter2", "454 4.7.0 later\r\n")]), Fault::RateLimited((_, 300_000))));
    assert!(matches!(fault_of(&[("MAIL", "530 5.7.0 auth first\r\n")]), Fault::Auth(_)));
    assert!(matches!(fault_of(&[("RCPT", "550 5.1.1 anna@customers.test unknown\r\n")]), Fault::Permanent(_)));
    assert_eq!(code(&fault_of(&[("hunter2", "454 4.7.0 later\r\n")])), "smtp.login-failed");
    let greylisted = fault_of(&[("RCPT", "450 4.7.1 greylisted\r\n")]);
    assert!(matches!(greylisted, Fault::RateLimited((_, 300_000))) && code(&greylisted) == "item-later", "one recipient, not the mailbox");
    assert!(matches!(fault_of(&[(".", "554 5.7.1 spam\r\n")]), Fault::Permanent(_)));
    assert!(matches!(fault_of(&[(".", "451 4.3.0 later\r\n")]), Fault::RateLimited(_)));
    let Fault::Permanent(detail) = fault_of(&[("RCPT", "550 5.1.1 anna@customers.test unknown\r\n")]) else { panic!() };
    assert!(!detail.message.contains("anna"), "{}", detail.message);
}

#[test]
fn a_refusal_of_everything_holds_the_replies_and_kills_none() {
    for (command, answer) in [
        ("MAIL", "550-5.4.5 Daily user sending limit exceeded. See\r\n550 5.4.5 https://x\r\n"),
        ("DATA", "550 5.4.5 Daily user sending limit exceeded\r\n"),
        (".", "554 5.1.90 your daily limit for message recipients\r\n"),
    ] {
        let fault = fault_of(Vec::leak(vec![(command, answer)]));
        assert!(matches!(fault, Fault::RateLimited((_, 3_600_000))), "{command} {answer}: {fault:?}");
    }
    for (command, answer) in [
        ("EHLO", "550 go away\r\n"),
        ("MAIL", "553 5.7.1 <support@acme.test>: Sender address rejected: not owned by user\r\n"),
        ("MAIL", "501 syntax\r\n"),
        ("RCPT", "553 5.7.1 <support@acme.test>: Sender address rejected: not owned by user\r\n"),
        (".", "550 5.7.502 Access denied, banned sender\r\n"),
        (".", "550 5.7.60 SMTP; Client does not have permissions to send as this sender\r\n"),
    ] {
        let fault = fault_of(Vec::leak(vec![(command, answer)]));
        assert!(matches!(&fault, Fault::Config(detail) if !detail.message.contains("acme.test")), "{command} {answer}: {fault:?}");
    }
    for (command, answer) in [
        ("MAIL", "555 5.5.4 unsupported option\r\n"),
        ("RCPT", "553 5.1.3 bad address syntax\r\n"),
        ("RCPT", "554 5.7.1 relay access denied\r\n"),
        ("DATA", "554 5.5.1 no valid recipients\r\n"),
        (".", "552 5.3.4 too large\r\n"),
    ] {
        let fault = fault_of(Vec::leak(vec![(command, answer)]));
        assert!(matches!(fault, Fault::Permanent(_)), "{command} {answer}: {fault:?}");
    }
}

#[test]
fn an_outage_costs_no_reply_until_it_is_very_old() {
    install("127.0.0.1:1", "");
    assert!(matches!(Mail::send("k1", &reply("Ciao", ANNA)), Err(Fault::RateLimited((_, 300_000)))));
    assert!(matches!(fault_of(&[("EHLO", "421 4.3.2 closing\r\n")]), Fault::RateLimited((_, 300_000))));
    membrana_sdk::testing::with_host(|host| host.now += 6 * 86_400_000);
    assert!(matches!(Mail::send("k1", &reply("Ciao", ANNA)), Err(Fault::Transient(_))));
}

#[test]
fn a_token_is_shown_and_its_refusal_understood() {
    for (answer, is_sent) in [("235 2.7.0 ok\r\n", true), ("334 eyJzdGF0dXMiOiI0MDEifQ==\r\n", false)] {
        let (address, told) = serve("220 mx\r\n", move |line| {
            say(match line.split([' ', ':']).next().unwrap_or_default() {
                "EHLO" => "250-mx\r\n250 AUTH XOAUTH2 LOGIN\r\n",
                "AUTH" => answer,
                "" if !is_sent => "535 5.7.8 expired\r\n",
                "DATA" => "354 go on\r\n",
                "MAIL" | "RCPT" | "." => "250 2.0.0 ok\r\n",
                "QUIT" => "221 bye\r\n",
                _ => "",
            })
        });
        install(&address, r#","login":"xoauth2""#);
        let outcome = Mail::send("k1", &reply("Ciao", ANNA));
        assert_eq!((outcome.is_ok(), matches!(outcome, Err(Fault::Auth(_)))), (is_sent, !is_sent));
        assert_eq!(told.count("AUTH XOAUTH2 hunter2"), 1);
    }
}

#[test]
fn what_only_listens_says_that_it_cannot_reply() {
    Host::with_config(r#"{"imap":"127.0.0.1:1","user":"support"}"#).install();
    assert!(matches!(Mail::send("k1", &reply("Ciao", ANNA)), Err(Fault::Unsupported(_))));
}

#[test]
fn a_person_may_answer_a_form_or_a_list_but_no_report() {
    submission(&[]);
    let send = |context: &str| Mail::send("k1", &Message { automatic: false, ..reply("Ciao", context) });
    assert!(send(r#"{"to":"a@b.test","message_id":"<a@b>","null_return":true,"automated":"notification"}"#).is_ok());
    assert!(send(r#"{"to":"a@b.test","message_id":"<a@b>","automated":"list"}"#).is_ok());
    assert_eq!(code(&send(r#"{"to":"a@b.test","message_id":"<a@b>","automated":"bounce"}"#).unwrap_err()), "mail.null-return");
}

#[test]
fn only_a_cut_after_the_final_dot_is_an_unknown_outcome() {
    assert_eq!(code(&fault_of(&[(".", "")])), "outcome-unknown");
    assert_eq!(code(&fault_of(&[(".", "hello\r\n")])), "outcome-unknown");
    assert_eq!(code(&fault_of(&[("DATA", "")])), "smtp.closed");
    assert_eq!(code(&fault_of(&[("MAIL", "")])), "smtp.closed");
}

#[test]
fn nothing_goes_out_in_clear_where_starttls_vanished() {
    let (address, told) = serve("220 mx\r\n", |_| say("250-mx\r\n250 AUTH LOGIN\r\n"));
    install(&address, "");
    membrana_sdk::testing::with_host(|host| host.config = host.config.replace("\"plain\"", "\"starttls\""));
    assert_eq!(code(&Mail::send("k1", &reply("Ciao", ANNA)).unwrap_err()), "smtp.no-starttls");
    assert_eq!(told.count("hunter2"), 0);
}

#[test]
fn nobody_is_answered_who_must_not_be() {
    install("127.0.0.1:1", "");
    for (context, expected) in [
        (r#"{"to":"anna@customers.test\r\nBcc: x@y.test","message_id":"<a@b>"}"#, "mail.header-injection"),
        (r#"{"to":"anna@customers.test","subject":"x\r\nBcc: y@z.test","message_id":"<a@b>"}"#, "mail.header-injection"),
        (r#"{"to":"anna@customers.test","name":"x\ny","message_id":"<a@b>"}"#, "mail.header-injection"),
        (r#"{"to":"anna@customers.test","message_id":"<a@b>\r\nX: y"}"#, "mail.header-injection"),
        (r#"{"to":"anna@customers.test","message_id":"<a@b>","references":["<c\r\n d>\nX: y"]}"#, "mail.header-injection"),
        (r#"{"to":"a@b.test> SIZE=1","message_id":"<a@b>"}"#, "mail.no-recipient"),
        (r#"{"to":"MAILER-DAEMON@b.test","message_id":"<a@b>"}"#, "mail.null-return"),
        (r#"{"to":"a@b.test","message_id":"<a@b>","null_return":true}"#, "mail.null-return"),
        (r#"{"to":"a@b.test","message_id":"<a@b>","automated":"list"}"#, "mail.automated"),
        (r#"{"to":"Support@acme.test","message_id":"<a@b>"}"#, "mail.own-address"),
        ("[]", "mail.bad-context"),
    ] {
        let fault = Mail::send("k1", &reply("Ciao", context)).unwrap_err();
        assert!(matches!(fault, Fault::Permanent(_)), "{context}");
        assert_eq!(code(&fault), expected, "{context}");
    }
}

#[test]
fn an_unknown_outcome_is_looked_up_in_the_sent_mailbox() {
    let message = reply("Ciao", ANNA);
    let id = crate::receive::ids::derived("k1", "acme.test");
    let (address, _told) = serve("* OK ready\r\n", move |line| {
        let (tag, command) = line.split_once(' ').unwrap();
        let found = command.contains("SEARCH") && (command.contains(&id) || command.ends_with("\"<membrana.\""));
        let data = match command {
            c if c.starts_with("EXAMINE") => "* 1 EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n* OK [UIDNEXT 2] x\r\n",
            _ if found => "* SEARCH 1\r\n",
            _ => "",
        };
        say(format!("{data}{tag} OK done\r\n"))
    });
    let config =
        format!(r#"{{"imap":"{address}","imap_tls":"plain","smtp":"127.0.0.1:1","user":"u","from":"support@acme.test","sent_mailbox":"Sent"}}"#);
    let mut host = Host::with_config(config);
    host.secrets.insert("password".to_owned(), "x".to_owned());
    host.now = NOW;
    host.install();
    let (sent, receipt) = Mail::probe("k1", &message).unwrap();
    assert_eq!(sent, Sent::Yes);
    assert!(receipt.unwrap().native.id.starts_with("<membrana."));
    assert_eq!(Mail::probe("k2", &message).unwrap().0, Sent::No);
    membrana_sdk::testing::with_host(|host| host.now = message.created + 9 * 60_000);
    assert_eq!(code(&Mail::probe("k2", &message).unwrap_err()), "mail.not-yet");
    assert_eq!(Mail::probe("k1", &message).unwrap().0, Sent::Yes);
    install("127.0.0.1:1", "");
    assert_eq!(Mail::probe("k1", &message).unwrap().0, Sent::Unknown);
}
