//! Polling a pretend IMAP server: pages, cursors, oversized mails, renumbered mailboxes, and servers that misbehave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use membrana_sdk::connector::{Change, Origin, Page, Raw};
use membrana_sdk::testing::Host;
use membrana_sdk::{Connector, Fault, Media, Result};

use crate::Mail;
use crate::stand_in::{Say, Told, say, serve};

const NOW: u64 = 1_772_500_000_000;

/// One mailbox of the pretend server.
#[derive(Clone)]
struct Mailbox {
    validity: u32,
    next: u32,
    mails: BTreeMap<u32, Vec<u8>>,
    /// UIDs below this one are older than any SINCE.
    old_below: u32,
    /// INTERNALDATE of all below this one is two days before NOW, of the others NOW.
    history_below: u32,
}

type Shared = Arc<Mutex<Mailbox>>;

fn mailbox(uids: &[u32]) -> Shared {
    let mails: BTreeMap<u32, Vec<u8>> = uids.iter().map(|uid| (*uid, format!("Subject: {uid}\r\n\r\nx").into_bytes())).collect();
    let next = uids.iter().max().map_or(1, |uid| uid + 1);
    Arc::new(Mutex::new(Mailbox { validity: 7, next, mails, old_below: 0, history_below: 0 }))
}

fn add(shared: &Shared, uid: u32, mail: &[u8]) {
    let mut mailbox = shared.lock().unwrap();
    mailbox.mails.insert(uid, mail.to_vec());
    mailbox.next = uid + 1;
}

/// A server of this mailbox, whatever name is asked for; some commands may be answered otherwise, by a word they contain.
fn imap(shared: &Shared, replaced: &'static [(&'static str, &'static str)]) -> Told {
    let mailbox = shared.clone();
    let (address, told) = serve("* OK ready\r\n", move |line| {
        let (tag, command) = line.split_once(' ').unwrap_or((line, ""));
        if line.is_empty() {
            return say("m2 NO [AUTHENTICATIONFAILED] the token is expired\r\n");
        }
        if let Some((_, answer)) = replaced.iter().find(|(word, _)| command.contains(word)) {
            return match answer.strip_suffix("HANGUP") {
                _ if answer.is_empty() => Say::HangUp,
                Some(last) => Say::Last(last.as_bytes().to_vec()),
                None => say(answer.replace("TAG", tag)),
            };
        }
        let mut bytes = data(&mailbox.lock().unwrap(), command);
        bytes.extend_from_slice(format!("{tag} OK done\r\n").as_bytes());
        Say::Bytes(bytes)
    });
    install(&address, "");
    told
}

fn install(address: &str, more: &str) {
    let mut host = Host::with_config(format!(r#"{{"imap":"{address}","imap_tls":"plain","user":"support"{more}}}"#));
    host.secrets.insert("password".to_owned(), "hunter2".to_owned());
    host.now = NOW;
    host.install();
}

fn configure(more: &str) {
    membrana_sdk::testing::with_host(|host| host.config = host.config.replace(r#""user""#, &format!("{more},\"user\"")));
}

fn data(mailbox: &Mailbox, command: &str) -> Vec<u8> {
    let words: Vec<&str> = command.split(' ').collect();
    match words.as_slice() {
        ["CAPABILITY"] => b"* CAPABILITY IMAP4rev1 CONDSTORE\r\n".to_vec(),
        ["EXAMINE", ..] => format!(
            "* {} EXISTS\r\n* FLAGS (\\Seen)\r\n* OK [UIDVALIDITY {}] ok\r\n* OK [UIDNEXT {}] ok\r\n* OK [HIGHESTMODSEQ {}] ok\r\n",
            mailbox.mails.len(),
            mailbox.validity,
            mailbox.next,
            mailbox.next
        )
        .into_bytes(),
        ["UID", "SEARCH", "UID", range, rest @ ..] => {
            let (from, to) = range.split_once(':').unwrap();
            let (from, to) = (from.parse::<u32>().unwrap(), to.parse::<u32>().unwrap());
            let floor = if rest.is_empty() { 0 } else { mailbox.old_below };
            let found = mailbox.mails.keys().filter(|uid| (from..=to).contains(*uid) && **uid >= floor);
            let mut uids: Vec<String> = found.map(u32::to_string).collect();
            if uids.is_empty() {
                uids.extend(mailbox.mails.keys().last().map(u32::to_string));
            }
            format!("* SEARCH {} (MODSEQ 9)\r\n", uids.join(" ")).into_bytes()
        }
        ["UID", "FETCH", set, rest @ ..] => {
            let wanted = set.split(',').filter_map(|uid| mailbox.mails.get_key_value(&uid.parse::<u32>().ok()?));
            let day = |uid: &u32| if *uid < mailbox.history_below { "28-Feb-2026" } else { " 3-Mar-2026" };
            wanted.flat_map(|(uid, mail)| fetched(*uid, mail, day(uid), &rest.join(" "))).collect()
        }
        _ => Vec::new(),
    }
}

fn fetched(uid: u32, mail: &[u8], day: &str, items: &str) -> Vec<u8> {
    if items.contains("SIZE") {
        return format!("* 1 FETCH (UID {uid} RFC822.SIZE {} INTERNALDATE \"{day} 02:00:00 +0100\")\r\n", mail.len()).into_bytes();
    }
    if items.contains("BODYSTRUCTURE") {
        return format!("* 1 FETCH (UID {uid} BODYSTRUCTURE {STRUCTURE})\r\n").into_bytes();
    }
    let (part, name) = match items {
        _ if items.contains("[HEADER]") => (&mail[..mail.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4], "BODY[HEADER]"),
        _ if items.contains("<0.") => (&mail[..mail.len().min(256 << 10)], "BODY[]<0>"),
        _ => (mail, "BODY[]"),
    };
    let head = format!("* 1 FETCH (FLAGS (\\Recent) UID {uid} {name} {{{}}}\r\n", part.len());
    [head.as_bytes(), part, b")\r\n"].concat()
}

/// A text, two photos with names in two encodings, and an enclosed mail.
const STRUCTURE: &str = concat!(
    r#"(("text" "plain" ("charset" "utf-8") NIL NIL "8bit" 30 1 NIL NIL NIL NIL)"#,
    r#"("image" "jpeg" ("name" "=?utf-8?Q?perch=C3=A9.jpg?=") NIL NIL "base64" 7800000 NIL ("inline" NIL) NIL NIL)"#,
    r#"(("image" "png" NIL NIL NIL "base64" 78 NIL ("attachment" ("filename*" "utf-8''cos%C3%AC.png")) NIL NIL) "related")"#,
    r#"("message" "rfc822" NIL NIL NIL "7bit" 100 ("date" "x" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" NIL NIL NIL "7bit" 1 1) 3)"#,
    r#" "mixed" ("boundary" "b") NIL NIL NIL)"#
);

fn poll(cursor: Option<&str>) -> Result<Page> {
    Mail::poll(cursor.map(str::to_owned), 100, 1 << 20)
}

fn raws(page: &Page) -> Vec<String> {
    let ids = page.changes.iter().filter_map(|change| match change {
        Change::Raw((native, _)) => Some(format!("{}/{}", native.scope, native.id)),
        _ => None,
    });
    ids.collect()
}

#[test]
fn the_first_poll_starts_at_now_and_the_next_brings_what_came() {
    let shared = mailbox(&[1, 2, 9]);
    let told = imap(&shared, &[]);
    let first = poll(None).unwrap();
    assert_eq!((first.changes.len(), first.more, first.backfill), (0, false, false));
    assert_eq!(told.count("SEARCH"), 0);
    add(&shared, 12, b"Subject: new\r\n\r\nx");
    let second = poll(Some(&first.cursor)).unwrap();
    assert_eq!(raws(&second), ["INBOX;7/12"]);
    let third = poll(Some(&second.cursor)).unwrap();
    assert_eq!((third.changes.len(), third.cursor == second.cursor), (0, true));
    assert!(told.lines().iter().any(|line| line.ends_with("LOGIN \"support\" \"hunter2\"")));
}

#[test]
fn pages_are_bounded_by_items_and_bytes_and_lose_nothing() {
    let shared = mailbox(&[]);
    imap(&shared, &[]);
    let mut cursor = poll(None).unwrap().cursor;
    for uid in [3, 5, 7, 8, 20_000_000] {
        add(&shared, uid, &[b"Subject: x\r\n\r\n".as_slice(), &[b'x'; 400]].concat());
    }
    let mut seen = Vec::new();
    for (items, bytes) in [(2, 1 << 20), (100, 500), (100, 1 << 20)] {
        let page = Mail::poll(Some(cursor.clone()), items, bytes).unwrap();
        cursor = page.cursor.clone();
        seen.push((raws(&page), page.more));
    }
    let names = |uids: &[u32]| uids.iter().map(|uid| format!("INBOX;7/{uid}")).collect::<Vec<_>>();
    assert_eq!(seen, [(names(&[3, 5]), true), (names(&[7]), true), (names(&[8, 20_000_000]), false)]);
}

#[test]
fn an_import_brings_the_younger_mails_as_history_and_then_the_news() {
    let shared = mailbox(&[1, 2, 3, 4]);
    shared.lock().unwrap().old_below = 3;
    let told = imap(&shared, &[]);
    configure(r#""first_fetch":"import","import_days":10"#);
    let first = Mail::poll(None, 1, 1 << 20).unwrap();
    assert_eq!((raws(&first), first.backfill, first.more), (vec!["INBOX;7/3".to_owned()], true, true));
    add(&shared, 5, b"Subject: news\r\n\r\nx");
    let second = poll(Some(&first.cursor)).unwrap();
    assert_eq!((raws(&second), second.backfill, second.more), (vec!["INBOX;7/4".to_owned()], true, true));
    let third = poll(Some(&second.cursor)).unwrap();
    assert_eq!((raws(&third), third.backfill, third.more), (vec!["INBOX;7/5".to_owned()], false, false));
    assert_eq!(told.count("SINCE 20-Feb-2026"), 2);
}

#[test]
fn a_renumbered_mailbox_is_read_again_only_where_it_may_be_new() {
    let shared = mailbox(&[1, 2]);
    let told = imap(&shared, &[]);
    let cursor = poll(None).unwrap().cursor;
    {
        let mut mailbox = shared.lock().unwrap();
        mailbox.validity = 8;
        mailbox.old_below = 2;
    }
    add(&shared, 3, b"Subject: came in between\r\n\r\nx");
    let page = poll(Some(&cursor)).unwrap();
    assert_eq!((raws(&page), page.backfill), (vec!["INBOX;8/2".to_owned(), "INBOX;8/3".to_owned()], false));
    assert_eq!(told.count("SINCE"), 1);
    assert_eq!(poll(Some(&page.cursor)).unwrap().changes.len(), 0);
}

#[test]
fn an_oversized_complaint_arrives_with_its_text_and_the_names_of_its_files() {
    let shared = mailbox(&[]);
    imap(&shared, &[]);
    configure(r#""max_message_bytes":65536"#);
    let cursor = poll(None).unwrap().cursor;
    let head = "From: anna@customers.test\r\nSubject: rotto\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n        --b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nArrivato a pezzi.\r\n--b\r\n        Content-Type: image/jpeg; name=x.jpg\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    add(&shared, 1, &[head.as_bytes(), &[b'A'; 400_000]].concat());
    add(&shared, 2, b"Subject: small\r\n\r\nx");
    let page = poll(Some(&cursor)).unwrap();
    let [Change::Raw((native, body)), Change::Raw(_)] = page.changes.as_slice() else { panic!("{:?}", raws(&page)) };
    assert!(body.len() < 263_000, "{}", body.len());
    let raw = Raw { origin: Origin::Item(native.clone()), body: body.clone(), received: NOW };
    let changes = Mail::receive(raw).unwrap();
    let [Change::Upsert(mail)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((mail.subject.as_deref(), mail.text.as_str()), (Some("rotto"), "Arrivato a pezzi."));
    assert!(mail.attrs.contains(&("mail.truncated".to_owned(), (head.len() + 400_000).to_string())), "{:?}", mail.attrs);
    let files: Vec<_> = mail.attachments.iter().map(|a| (a.name.as_deref(), a.media_type.as_str(), a.size)).collect();
    let expected =
        [(Some("perché.jpg"), "image/jpeg", Some(5_700_000)), (Some("così.png"), "image/png", Some(57)), (None, "message/rfc822", Some(100))];
    assert_eq!(files, expected);
}

/// A text in Latin-1 and a picture.
const TWO_FILES: &[u8] = b"From: anna@customers.test\r\nSubject: rotto\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nEcco.\r\n\
--b\r\nContent-Type: text/plain; charset=iso-8859-1; name=nota.txt\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nperch=E9\r\n\
--b\r\nContent-Type: image/png; name=x.png\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--b--\r\n";

#[test]
fn enclosed_files_are_fetched_later_with_their_own_bytes_and_change_nothing() {
    // given
    let shared = mailbox(&[]);
    let told = imap(&shared, &[]);
    let cursor = poll(None).unwrap().cursor;
    add(&shared, 5, TWO_FILES);
    let page = poll(Some(&cursor)).unwrap();
    let [Change::Raw((native, body))] = page.changes.as_slice() else { panic!("{:?}", raws(&page)) };
    let changes = Mail::receive(Raw { origin: Origin::Item(native.clone()), body: body.clone(), received: NOW }).unwrap();
    let [Change::Upsert(mail)] = changes.as_slice() else { panic!("{changes:?}") };
    let refs: Vec<&str> = mail.attachments.iter().filter_map(|file| file.media_ref.as_deref()).collect();

    // when, then
    assert_eq!(refs, ["0/5/INBOX;7", "1/5/INBOX;7"]);
    assert_eq!(Mail::fetch(refs[0], 1000).unwrap(), b"perch\xe9");
    assert_eq!(Mail::fetch(refs[1], 8).unwrap(), b"\x89PNG\r\n\x1a\n");
    let code = |asked: &str, max| match Mail::fetch(asked, max) {
        Err(Fault::Permanent(why)) => why.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(refs[1], 7), "too-large");
    for other in ["2/5/INBOX;7", "0/6/INBOX;7", "0/5/INBOX;8", "0/5/Archive;7", "nonsense"] {
        assert_eq!(code(other, 1000), "gone", "{other}");
    }
    assert!(
        told.lines().iter().all(|line| !line.contains(" STORE ") && !line.contains("SELECT ") && (!line.contains("BODY") || line.contains("PEEK")))
    );
}

#[test]
fn a_mail_that_breaks_the_connection_costs_the_others_a_page_and_itself_its_body() {
    let shared = mailbox(&[]);
    // Whole or by its beginning, the server dies inside the literal.
    imap(&shared, &[("FETCH 2 (UID BODY.PEEK[]", "* 1 FETCH (UID 2 BODY[] {4000}\r\nSubjHANGUP")]);
    let cursor = poll(None).unwrap().cursor;
    for uid in 1..=3 {
        add(&shared, uid, format!("Subject: {uid}\r\n\r\nx").as_bytes());
    }
    let first = poll(Some(&cursor)).unwrap();
    assert_eq!((raws(&first), first.more), (vec!["INBOX;7/1".to_owned()], true));
    let mut cursor = first.cursor;
    for _ in 0..4 {
        let page = poll(Some(&cursor)).unwrap();
        assert_eq!((page.changes.len(), page.more, page.next_poll_ms.is_some()), (0, false, true));
        cursor = page.cursor;
    }
    let page = poll(Some(&cursor)).unwrap();
    let [Change::Unreadable((native, _, head)), Change::Raw((after, _))] = page.changes.as_slice() else { panic!("{:?}", page.changes) };
    assert_eq!((native.id.as_str(), head.as_slice(), after.id.as_str()), ("2", b"Subject: 2\r\n\r\n".as_slice(), "3"));
}

#[test]
fn a_mail_that_is_refused_as_passing_is_asked_for_by_its_beginning_at_last() {
    for answer in ["TAG NO [SERVERBUG] internal error\r\n", "* BYE internal error\r\n"] {
        let shared = mailbox(&[]);
        let replaced = Box::leak(Box::new([("FETCH 1 (UID BODY.PEEK[])", answer)]));
        imap(&shared, replaced);
        let mut cursor = poll(None).unwrap().cursor;
        add(&shared, 1, b"Subject: fine\r\n\r\nx");
        add(&shared, 2, b"Subject: fine\r\n\r\ny");
        for _ in 0..3 {
            let page = poll(Some(&cursor)).unwrap();
            assert_eq!((page.changes.len(), page.more), (0, false), "{answer}");
            cursor = page.cursor;
        }
        assert_eq!(raws(&poll(Some(&cursor)).unwrap()), ["INBOX;7/1", "INBOX;7/2"], "{answer}");
    }
}

#[test]
fn sizes_that_are_refused_for_a_set_are_asked_one_by_one() {
    for word in ["FETCH 1,2,3 (UID RFC822.SIZE", "FETCH 2 (UID RFC822.SIZE"] {
        let shared = mailbox(&[]);
        let replaced =
            Box::leak(Box::new([("FETCH 1,2,3 (UID RFC822.SIZE", "TAG NO cannot tell\r\n"), (word, "TAG NO [SERVERBUG] cannot tell\r\n")]));
        imap(&shared, replaced);
        let cursor = poll(None).unwrap().cursor;
        for uid in 1..=3 {
            add(&shared, uid, b"Subject: x\r\n\r\nx");
        }
        assert_eq!(raws(&poll(Some(&cursor)).unwrap()), ["INBOX;7/1", "INBOX;7/2", "INBOX;7/3"], "{word}");
    }
}

#[test]
fn a_server_that_asks_for_fewer_requests_gives_no_mail_a_strike() {
    let shared = mailbox(&[]);
    imap(&shared, &[("FETCH 1 (UID BODY", "TAG NO too many commands\r\n")]);
    let cursor = poll(None).unwrap().cursor;
    add(&shared, 1, b"Subject: x\r\n\r\nx");
    assert!(matches!(poll(Some(&cursor)), Err(Fault::RateLimited(_))));
}

#[test]
fn a_mailbox_that_cannot_be_opened_blocks_no_other_and_is_told_once() {
    for (answer, n_told) in [("TAG NO [NONEXISTENT] no such mailbox\r\n", 1), ("", 0)] {
        let shared = mailbox(&[]);
        let replaced = Box::leak(Box::new([("EXAMINE \"Alt\"", answer)]));
        imap(&shared, replaced);
        configure(r#""mailbox":["Alt","INBOX"]"#);
        let first = poll(None).unwrap();
        let notes = |page: &Page| page.changes.iter().filter(|change| matches!(change, Change::Note((kind, _)) if kind == "gap")).count();
        assert_eq!(notes(&first), n_told);
        add(&shared, 1, b"Subject: x\r\n\r\nx");
        let second = poll(Some(&first.cursor)).unwrap();
        assert_eq!((raws(&second), notes(&second)), (vec!["INBOX;7/1".to_owned()], 0), "{answer}");
    }
}

#[test]
fn a_renumbered_mailbox_brings_its_history_as_history() {
    let shared = mailbox(&[1, 2]);
    imap(&shared, &[]);
    let cursor = poll(None).unwrap().cursor;
    {
        let mut mailbox = shared.lock().unwrap();
        mailbox.validity = 8;
        mailbox.history_below = 3;
    }
    add(&shared, 3, b"Subject: came in between\r\n\r\nx");
    let first = poll(Some(&cursor)).unwrap();
    assert_eq!((raws(&first), first.backfill, first.more), (vec!["INBOX;8/1".to_owned(), "INBOX;8/2".to_owned()], true, true));
    let second = poll(Some(&first.cursor)).unwrap();
    assert_eq!((raws(&second), second.backfill, second.more), (vec!["INBOX;8/3".to_owned()], false, false));
}

#[test]
fn a_mail_older_than_the_channel_that_is_moved_into_the_mailbox_is_history() {
    // given
    let shared = mailbox(&[1, 2]);
    imap(&shared, &[]);
    let cursor = poll(None).unwrap().cursor;
    add(&shared, 3, b"Subject: of last year, moved\r\n\r\nx");
    shared.lock().unwrap().history_below = 4;
    add(&shared, 4, b"Subject: new\r\n\r\nx");

    // when
    let first = poll(Some(&cursor)).unwrap();
    let second = poll(Some(&first.cursor)).unwrap();

    // then
    assert_eq!((raws(&first), first.backfill, first.more), (vec!["INBOX;7/3".to_owned()], true, true));
    assert_eq!((raws(&second), second.backfill, second.more), (vec!["INBOX;7/4".to_owned()], false, false));
    let mut of_before: serde_json::Value = serde_json::from_str(&cursor).unwrap();
    assert!(of_before["boxes"]["INBOX"].as_object_mut().unwrap().remove("enabled_at").is_some());
    let news = poll(Some(&of_before.to_string())).unwrap();
    assert_eq!((raws(&news).len(), news.backfill), (2, false), "nothing changes for cursors of before");
}

#[test]
fn a_mailbox_that_is_renumbered_keeps_the_moment_at_which_reading_it_began() {
    for first_fetch in ["skip", "import"] {
        // given
        let shared = mailbox(&[1, 2]);
        imap(&shared, &[]);
        configure(&format!(r#""first_fetch":"{first_fetch}","import_days":10"#));
        let mut cursor = Mail::poll(None, 1, 1 << 20).unwrap().cursor;
        let enabled_at = |cursor: &str| serde_json::from_str::<serde_json::Value>(cursor).unwrap()["boxes"]["INBOX"]["enabled_at"].clone();
        let before = enabled_at(&cursor);

        // when
        membrana_sdk::testing::with_host(|host| host.now += 86_400_000);
        shared.lock().unwrap().validity = 8;
        cursor = poll(Some(&cursor)).unwrap().cursor;

        // then
        assert_eq!((before, enabled_at(&cursor)), (NOW.into(), NOW.into()), "{first_fetch}");
    }
}

#[test]
fn a_mail_that_the_server_will_not_give_blocks_nobody() {
    let shared = mailbox(&[]);
    imap(&shared, &[("FETCH 1 (UID BODY", "TAG NO some mails could not be read\r\n")]);
    let cursor = poll(None).unwrap().cursor;
    add(&shared, 1, b"x");
    add(&shared, 2, b"Subject: fine\r\n\r\nx");
    let page = poll(Some(&cursor)).unwrap();
    assert!(matches!(page.changes.as_slice(), [Change::Unreadable(_), Change::Raw(_)]));
}

#[test]
fn a_mail_longer_than_announced_ends_the_page_but_not_the_channel() {
    let shared = mailbox(&[]);
    imap(&shared, &[("FETCH 1 (UID BODY", "* 1 FETCH (UID 1 BODY[] {4000000000}\r\n")]);
    let cursor = poll(None).unwrap().cursor;
    add(&shared, 1, b"x");
    add(&shared, 2, b"Subject: fine\r\n\r\nx");
    let page = poll(Some(&cursor)).unwrap();
    assert!(matches!(page.changes.as_slice(), [Change::Unreadable(_)]));
    assert!(page.more);
    assert_eq!(raws(&poll(Some(&page.cursor)).unwrap()), ["INBOX;7/2"]);
}

#[test]
fn several_mailboxes_are_read_each_with_its_own_place() {
    let shared = mailbox(&[]);
    let told = imap(&shared, &[]);
    configure(r#""mailbox":["INBOX","Perché"]"#);
    let cursor = poll(None).unwrap().cursor;
    add(&shared, 1, b"Subject: x\r\n\r\nx");
    let page = poll(Some(&cursor)).unwrap();
    assert_eq!(raws(&page), ["INBOX;7/1", "Perché;7/1"]);
    assert!(told.count("EXAMINE \"Perch&AOk-\" (CONDSTORE)") == 2);
}

#[test]
fn refusals_of_the_server_are_told_apart() {
    let fault = |replaced| {
        imap(&mailbox(&[]), replaced);
        poll(None).unwrap_err()
    };
    assert!(matches!(fault(&[("LOGIN", "TAG NO [AUTHENTICATIONFAILED] wrong\r\n")]), Fault::Auth(_)));
    assert!(matches!(fault(&[("LOGIN", "TAG NO [ALERT] Invalid credentials\r\n")]), Fault::Auth(_)));
    assert!(matches!(fault(&[("LOGIN", "TAG NO [UNAVAILABLE] later\r\n")]), Fault::Transient(_)));
    assert!(matches!(fault(&[("LOGIN", "TAG NO [CONVERSIONERROR] what\r\n")]), Fault::Transient(_)));
    assert!(matches!(fault(&[("LOGIN", "TAG NO Too many simultaneous connections\r\n")]), Fault::RateLimited(_)));
    assert!(matches!(fault(&[("LOGIN", "* BYE shutting down\r\n")]), Fault::Transient(_)));
    assert!(matches!(fault(&[("LOGIN", "")]), Fault::Transient(_)));
    assert!(matches!(fault(&[("EXAMINE", "TAG NO [NONEXISTENT] no such mailbox\r\n")]), Fault::Config(_)));
    assert!(matches!(fault(&[("CAPABILITY", "* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nTAG OK x\r\n")]), Fault::Config(_)));
}

#[test]
fn nothing_goes_out_in_clear_where_starttls_vanished() {
    let told = imap(&mailbox(&[]), &[("STARTTLS", "TAG BAD unknown command\r\n")]);
    membrana_sdk::testing::with_host(|host| host.config = host.config.replace("\"plain\"", "\"starttls\""));
    assert!(matches!(poll(None), Err(Fault::Config(_))));
    assert_eq!(told.count("LOGIN"), 0);
}

#[test]
fn a_server_that_never_ends_its_line_is_left() {
    let endless: &'static str = Box::leak(format!("* {}", "x".repeat(200_000)).into_boxed_str());
    let replaced: &'static [(&str, &str)] = Box::leak(Box::new([("CAPABILITY", endless)]));
    imap(&mailbox(&[]), replaced);
    assert!(matches!(poll(None), Err(Fault::Transient(_))));
}

#[test]
fn a_token_is_shown_and_its_refusal_understood() {
    const OFFER: &str = "* CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2\r\nTAG OK x\r\n";
    let told = imap(&mailbox(&[]), &[("CAPABILITY", OFFER)]);
    configure(r#""login":"xoauth2""#);
    assert!(poll(None).is_ok());
    assert_eq!((told.count("AUTHENTICATE XOAUTH2 hunter2"), told.count("LOGIN ")), (1, 0));
    imap(&mailbox(&[]), &[("CAPABILITY", OFFER), ("AUTHENTICATE", "+ eyJzdGF0dXMiOiI0MDEifQ==\r\n")]);
    configure(r#""login":"xoauth2""#);
    assert!(matches!(poll(None), Err(Fault::Auth(_))));
}
