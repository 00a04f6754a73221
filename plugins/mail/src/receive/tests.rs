//! A table of mails in `fixtures/` and what must be read out of them.

use membrana_sdk::connector::{Change, Interaction, Origin, Ours, Raw};
use membrana_sdk::testing::Host;
use membrana_sdk::{Connector, NativeId};

use super::context::ReplyContext;
use crate::Mail;

const RECEIVED: u64 = 1_772_500_000_000;

fn changes(body: &[u8]) -> Vec<Change> {
    let config = r#"{"imap":"127.0.0.1:143","smtp":"127.0.0.1:587","user":"support","from":"Acme <support@acme.test>"}"#;
    Host::with_config(config).install();
    let native = NativeId { scope: "INBOX;7".to_owned(), id: "42".to_owned() };
    Mail::receive(Raw { origin: Origin::Item(native), body: body.to_vec(), received: RECEIVED }).unwrap()
}

fn read(body: &[u8]) -> Interaction {
    match changes(body).swap_remove(0) {
        Change::Upsert(interaction) => interaction,
        other => panic!("{other:?}"),
    }
}

macro_rules! fixture {
    ($name:literal) => {
        read(include_bytes!(concat!("../../fixtures/", $name, ".eml")))
    };
}

fn context(interaction: &Interaction) -> ReplyContext {
    serde_json::from_str(interaction.reply_context.as_deref().unwrap()).unwrap()
}

#[test]
fn a_plain_mail_becomes_an_interaction() {
    let mail = fixture!("plain");
    assert_eq!((mail.native.scope.as_str(), mail.native.id.as_str()), ("INBOX;7", "42"));
    assert!(mail.aka[0].id.starts_with("<plain@customers.test>#"), "{:?}", mail.aka);
    assert_eq!(mail.refs, [super::ids::native("<plain@customers.test>")]);
    assert_eq!((mail.kind.as_str(), mail.visibility.as_str(), mail.automated.as_str()), ("mail", "direct", "no"));
    assert_eq!(mail.subject.as_deref(), Some("Bolletta doppia"));
    assert_eq!(mail.text, "Buongiorno,\n\nho pagato due volte. Sono furiosa: è già la terza volta!");
    assert_eq!((mail.quoted, mail.language.as_deref()), (None, Some("it")));
    assert_eq!(mail.occurred, 1_772_438_400_000);
    assert_eq!(mail.ours, Ours::No);
    let author = mail.author.unwrap();
    assert_eq!((author.native.id.as_str(), author.name.as_deref()), ("anna@customers.test", Some("Anna Bianchi")));
    assert_eq!((author.assurance.as_deref(), author.automated), (Some("stated"), false));
    assert!(mail.attrs.contains(&("mail.mailbox".to_owned(), "INBOX".to_owned())));
}

#[test]
fn the_plain_alternative_is_read_and_attachments_are_described() {
    let mail = fixture!("multipart");
    assert_eq!((mail.subject.as_deref(), mail.text.as_str()), (Some("Offerta è"), "Ecco l’offerta."));
    let [file] = mail.attachments.as_slice() else { panic!("{:?}", mail.attachments) };
    assert_eq!(file.name.as_deref(), Some("offerta è.pdf"));
    assert_eq!((file.media_type.as_str(), file.size), ("application/pdf", Some(13)));
}

#[test]
fn a_blank_plain_alternative_gives_way_to_the_html() {
    // given
    let head = "From: anna@customers.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n";
    let plain = "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n \u{a0}\r\n\r\n";
    let html = "--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Arrivato <b>rotto</b>.</p>\r\n--b--\r\n";

    // when
    let mail = read(format!("{head}{plain}{html}").as_bytes());

    // then
    assert_eq!(mail.text, "Arrivato rotto.");
}

#[test]
fn a_blank_plain_alternative_gives_way_also_where_a_footer_stands_under_both() {
    // given
    let head = "From: anna@customers.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n";
    let both = |plain: &str| {
        format!(
            "--m\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{plain}\r\n\r\n\
             --b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Arrivato <b>rotto</b></p>\r\n--b--\r\n"
        )
    };
    let footer = "--m\r\nContent-Type: text/plain\r\n\r\nscanned by acme\r\n--m--\r\n";

    // when
    let text = |plain: &str| read(format!("{head}{}{footer}", both(plain)).as_bytes()).text;

    // then
    assert_eq!((text(" \u{a0}").as_str(), text("Rotto!").as_str()), ("Arrivato rotto\n\nscanned by acme", "Rotto!\n\nscanned by acme"));
}

#[test]
fn html_alone_is_read_as_text_with_its_quote_apart() {
    let mail = fixture!("html-only");
    assert_eq!(mail.text, "Die Lieferung ist kaputt angekommen – schade!");
    assert!(mail.quoted.unwrap().ends_with("> Ihre Lieferung ist da."));
}

#[test]
fn charsets_are_read_even_where_the_label_is_wrong() {
    assert_eq!(fixture!("iso-8859-1").text, "Perché non funziona più?");
    assert_eq!(fixture!("iso-8859-1").subject.as_deref(), Some("Perché"));
    assert_eq!(fixture!("windows-1252-as-latin1").text, "Costa 5 € “troppo”");
    assert_eq!(fixture!("windows-1252-as-utf-8").text, "Perché così caro?");
    assert_eq!(fixture!("utf-8-undeclared").text, "Perché così caro?");
    assert_eq!(fixture!("iso-2022-jp").text, "商品が壊れていました。");
    assert_eq!(fixture!("iso-2022-jp").subject.as_deref(), Some("苦情"));
    assert_eq!(fixture!("unknown-charset").text, "caffè");
    assert_eq!(fixture!("wrong-transfer-encoding").text, "This is not base64 at all, è vero!");
}

#[test]
fn a_bounce_hangs_on_what_bounced_and_tells_its_delivery() {
    let all = changes(include_bytes!("../../fixtures/bounce.eml"));
    let [Change::Upsert(mail), Change::Note((kind, json))] = all.as_slice() else { panic!("{all:?}") };
    let sent = "<membrana.0123456789abcdef0123456789abcdef@acme.test>";
    assert_eq!((mail.automated.as_str(), mail.parent.as_ref().map(|p| p.id.as_str())), ("bounce", Some(sent)));
    assert!(mail.attrs.contains(&("mail.bounce-status".to_owned(), "5.1.1".to_owned())));
    let note: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!((kind.as_str(), note["native"]["id"].as_str(), note["state"].as_str()), ("delivery", Some(sent), Some("failed")));
    assert_eq!(note["recipient"].as_str(), Some("nobody@customers.test"));
}

#[test]
fn machines_are_told_from_people() {
    for (mail, expected) in [
        (fixture!("plain"), "no"),
        (fixture!("bounce"), "bounce"),
        (fixture!("auto-reply"), "auto-reply"),
        (fixture!("list"), "list"),
        (fixture!("notification"), "notification"),
    ] {
        assert_eq!(mail.automated, expected, "{:?}", mail.subject);
        assert_eq!(context(&mail).automated, expected);
    }
}

#[test]
fn an_outlook_reply_is_cut_above_its_header_block() {
    let mail = fixture!("outlook-reply");
    assert_eq!(mail.text, "Nessuno mi risponde. Disdico.");
    assert!(mail.quoted.unwrap().contains("Stiamo verificando."));
    assert_eq!(mail.parent.unwrap().id, "<m1@acme.test>");
    let refs: Vec<&str> = mail.refs.iter().map(|id| id.id.as_str()).collect();
    assert_eq!(refs[1..], ["<m0@acme.test>", "<root@customers.test>"]);
}

#[test]
fn an_italian_gmail_reply_is_cut_above_its_attribution() {
    let mail = fixture!("gmail-reply-italian");
    assert_eq!(mail.text, "Grazie mille!");
    assert!(mail.quoted.unwrap().contains(">> Ho pagato due volte."));
}

#[test]
fn flowed_text_is_joined() {
    let mail = fixture!("format-flowed");
    assert!(mail.text.starts_with("This is one long paragraph.\n\nThe end."), "{}", mail.text);
    assert_eq!(mail.quoted.as_deref(), Some("> quoted words"));
}

#[test]
fn a_missing_message_id_is_made_up_and_stable() {
    let (one, two) = (fixture!("missing-message-id"), fixture!("missing-message-id"));
    assert!(one.aka[0].id.starts_with("<membrana-made-up."));
    assert_eq!(one.aka, two.aka);
    assert_ne!(one.aka, fixture!("empty").aka);
}

#[test]
fn headers_beyond_reason_stay_within_bounds() {
    let mail = fixture!("huge-header");
    assert_eq!(mail.text, "Still here.");
    assert_eq!((mail.parent.unwrap().id.as_str(), mail.refs.len()), ("<r299@customers.test>", 64));
    assert!(mail.reply_context.unwrap().len() <= 4096);
    let flood = format!("From: bob@customers.test\r\nX-Flood: {}\r\n\r\nbody", "y ".repeat(2 << 20));
    assert_eq!(read(flood.as_bytes()).text, "body");
}

#[test]
fn enclosed_mails_are_attachments() {
    let mail = fixture!("nested");
    assert_eq!(mail.text, "See the enclosed mail.");
    assert_eq!(mail.attachments.len(), 1);
    assert_eq!((mail.attachments[0].media_type.as_str(), mail.attachments[0].name.as_deref()), ("message/rfc822", Some("old.eml")));
}

#[test]
fn a_line_end_inside_an_encoded_word_becomes_a_blank() {
    let mail = fixture!("header-injection");
    assert_eq!(mail.subject.as_deref(), Some("Ciao Bcc: all@customers.test è"));
    let context = context(&mail);
    assert_eq!(context.to, "eve@customers.test");
    for value in [context.subject.as_str(), context.name.as_deref().unwrap_or_default(), mail.author.unwrap().name.as_deref().unwrap()] {
        assert!(!value.contains(['\r', '\n']), "{value:?}");
    }
}

#[test]
fn hostile_and_empty_mails_arrive_all_the_same() {
    assert_eq!(fixture!("empty").text, "");
    assert_eq!(fixture!("nul").text, "xy[31mz");
    assert_eq!(fixture!("unclosed").text, "Never closed");
    assert_eq!(fixture!("garbage").kind, "mail");
    let mut nested = String::from("From: a@b.test\r\n");
    for depth in 0..20_000 {
        nested.push_str(&format!("Content-Type: multipart/mixed; boundary=\"b{depth}\"\r\n\r\n--b{depth}\r\n"));
    }
    assert_eq!(read(nested.as_bytes()).kind, "mail");
    assert_eq!(read("Content-Type: message/rfc822\r\n\r\n".repeat(50_000).as_bytes()).kind, "mail");
}

#[test]
fn an_impossible_date_gives_way_to_the_servers() {
    assert_eq!(fixture!("date-in-the-future").occurred, 1_772_359_200_000);
    assert_eq!(fixture!("nul").occurred, RECEIVED);
    let ahead = b"Received: from a by b; Mon, 2 Mar 2026 08:00:00 +0000\r\nDate: Mon, 2 Mar 2026 09:30:00 +0000\r\n\r\nx";
    assert_eq!(read(ahead).occurred, 1_772_438_400_000, "a sender's clock may run ahead");
    let forged = b"Received: from b by ours; Mon, 2 Mar 2026 08:00:00 +0000\r\n\
        Received: from a by b; Fri, 2 Mar 2001 08:00:00 +0000\r\nDate: Mon, 2 Mar 2026 07:00:00 +0000\r\n\r\nx";
    assert_eq!(read(forged).occurred, 1_772_434_800_000, "our own server's line stands on top");
}

#[test]
fn our_own_mail_is_recognised_and_not_answered() {
    let mail = fixture!("own");
    assert_eq!((mail.ours, mail.reply_context), (Ours::Yes(None), None));
    assert_eq!(mail.parent.unwrap().id, "<plain@customers.test>");
}

#[test]
fn two_mails_of_one_message_id_are_two_and_meet_in_one_thread() {
    let mail = |from: &str, text: &str| read(format!("From: {from}\r\nMessage-ID: <form@shop.test>\r\nSubject: x\r\n\r\n{text}").as_bytes());
    let (anna, eve) = (mail("anna@customers.test", "Rotto!"), mail("eve@evil.test", "Va tutto bene."));
    assert_ne!(anna.aka, eve.aka);
    assert_eq!(anna.aka, mail("anna@customers.test", "Rotto!").aka);
    let answer = read(b"From: bob@customers.test\r\nMessage-ID: <b@customers.test>\r\nIn-Reply-To: <form@shop.test>\r\n\r\nanch'io");
    let bare = super::ids::native("<form@shop.test>");
    assert_eq!((anna.refs.first(), anna.parent.as_ref(), answer.parent.as_ref()), (Some(&bare), None, Some(&bare)));
    assert!(anna.aka.iter().chain(&eve.aka).all(|name| *name != bare));
}

#[test]
fn a_stranger_who_writes_our_message_id_takes_nothing_over() {
    let mail = read(b"From: eve@evil.test\r\nMessage-ID: <membrana.0123456789abcdef0123456789abcdef@acme.test>\r\n\r\nx");
    assert_eq!(mail.ours, Ours::No);
    assert!(mail.aka[0].id.contains("#"));
    assert_eq!(fixture!("own").aka, [super::ids::native("<membrana.0123456789abcdef0123456789abcdef@acme.test>")]);
}

#[test]
fn a_form_that_writes_under_our_address_speaks_for_its_customer() {
    let mail = |head: &str| read(format!("From: support@acme.test\r\nMessage-ID: <f@acme.test>\r\n{head}\r\n\r\nAiuto").as_bytes());
    let form = mail("To: support@acme.test\r\nReply-To: Anna <anna@customers.test>");
    assert_eq!((form.ours.clone(), form.author.as_ref().unwrap().native.id.as_str()), (Ours::No, "anna@customers.test"));
    assert_eq!(context(&form).to, "anna@customers.test");
    assert_eq!(mail("To: someone@customers.test\r\nReply-To: anna@customers.test").ours, Ours::No);
    let forwarded = read(b"From: Anna <anna@customers.test>\r\nReply-To: Support@acme.test\r\nMessage-ID: <g@customers.test>\r\n\r\nAiuto");
    assert_eq!(context(&forwarded).to, "anna@customers.test", "a list that has the answers come to itself");
    assert_eq!(mail("To: support@acme.test").ours, Ours::No);
    assert_eq!(mail("To: anna@customers.test").ours, Ours::Yes(None));
    assert_eq!(mail("To: anna@customers.test\r\nCc: support@acme.test\r\nIn-Reply-To: <plain@customers.test>").ours, Ours::Yes(None));
}

#[test]
fn a_form_under_another_address_of_our_domain_speaks_for_its_customer_too() {
    let mail = |from: &str, head: &str| {
        let proof = "Authentication-Results: mx.acme.test; dmarc=pass\r\nReceived: from web by mx.acme.test; Mon, 2 Mar 2026 08:00:00 +0000";
        read(format!("{proof}\r\nFrom: {from}\r\nTo: support@acme.test\r\nMessage-ID: <w@acme.test>\r\n{head}\r\n\r\nAiuto").as_bytes())
    };
    let who = |mail: &Interaction| {
        let author = mail.author.clone().unwrap();
        (author.handle.unwrap(), author.assurance.unwrap(), author.automated)
    };
    let person = |handle: &str, assurance: &str| (handle.to_owned(), assurance.to_owned(), false);
    let (anna, bob) = ("Reply-To: anna@customers.test", "bob@acme.test");
    for form in ["Acme <WordPress@Acme.test>", "shop@www.acme.test", "noreply@acme.test"] {
        assert_eq!(who(&mail(form, anna)), person("anna@customers.test", "stated"), "{form}");
    }
    assert_eq!(mail("noreply@acme.test", anna).automated, "notification", "no machine answers a machine");
    for head in ["X: y", "Reply-To: bob@acme.test", "Reply-To: tickets@desk.acme.test", "List-Id: <l.lists.test>\r\nReply-To: l@lists.test"] {
        assert_eq!(who(&mail(bob, head)), person(bob, "authenticated"), "{head}");
    }
    assert_eq!(who(&mail("eve@notacme.test", anna)), person("eve@notacme.test", "authenticated"), "the domain of a stranger");
}

#[test]
fn a_bounce_without_its_mail_is_told_by_what_it_answers() {
    let sent = "<membrana.0123456789abcdef0123456789abcdef@acme.test>";
    let all = changes(
        format!(
            "From: MAILER-DAEMON@mx.test\r\nIn-Reply-To: {sent}\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=r\r\n\r\n\
            --r\r\nContent-Type: message/delivery-status\r\n\r\nOriginal-Recipient: rfc822;A@b.test\r\nAction: delayed\r\n--r--\r\n"
        )
        .as_bytes(),
    );
    let [Change::Upsert(mail), Change::Note((_, json))] = all.as_slice() else { panic!("{all:?}") };
    assert!(json.contains(sent) && json.contains("a@b.test") && json.contains("delayed"), "{json}");
    assert!(mail.attrs.contains(&("mail.bounce-recipient".to_owned(), "a@b.test".to_owned())));
}
