//! The provider behaves as the ones it stands for.

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::{Letter, Mail, Mishap};

/// What the server says to these lines, up to where each is answered.
async fn talk(at: std::net::SocketAddr, lines: &[(&str, &str)]) -> String {
    let mut stream = BufReader::new(TcpStream::connect(at).await.unwrap());
    let mut all = String::new();
    for (say, until) in lines {
        stream.write_all(say.as_bytes()).await.unwrap();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap() == 0 {
                return format!("{all}(closed)");
            }
            all.push_str(&line);
            if line.starts_with(until) {
                break;
            }
        }
    }
    all
}

fn letter(n: u32) -> Letter {
    Letter {
        from: "Marco <marco@c.example>".to_owned(),
        subject: "Aiuto".to_owned(),
        id: format!("m{n}@c.example"),
        text: "Ciao".to_owned(),
        ..Letter::default()
    }
}

#[test]
fn a_mail_is_read_as_it_was_meant() {
    let encoded = "Subject: x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nCos=C3=AC =3D e un=\r\n a capo\r\n";
    assert_eq!(Mail::text(encoded), "Così = e un a capo\n");
    assert_eq!(Mail::text("Subject: x\r\n\r\n1 =3D 1\r\n"), "1 =3D 1\n");
}

const LOGIN: [(&str, &str); 3] = [("", "* OK"), ("a LOGIN \"support\" \"p\\\"w\"\r\n", "a "), ("b EXAMINE \"INBOX\" (CONDSTORE)\r\n", "b ")];

#[tokio::test]
async fn mails_are_found_by_uid_and_come_whole_or_in_part() {
    let mail = Mail::start("p\"w").await.unwrap();
    (1..=3).for_each(|n| assert_eq!(mail.deliver(&letter(n)), n));
    mail.expunge(2);
    let lines = [
        ("c UID SEARCH UID 1:*\r\n", "c "),
        ("d UID SEARCH UID 9:*\r\n", "d "),
        ("e UID FETCH 3 (UID RFC822.SIZE)\r\n", "e "),
        ("f UID FETCH 3 (UID BODY.PEEK[]<0.5>)\r\n", "f "),
        ("g UID SEARCH HEADER Message-ID \"<m1@c.example>\" SINCE 1-Jan-2020\r\n", "g "),
    ];
    let said = talk(mail.imap_clear, &[&LOGIN[..], &lines].concat()).await;
    for part in [
        "* 2 EXISTS",
        "[UIDVALIDITY 3857529]",
        "[UIDNEXT 4]",
        "[HIGHESTMODSEQ 5]",
        "* SEARCH 1 3\r\n",
        "* SEARCH 3\r\n",
        "* SEARCH 1\r\n",
        "* 2 FETCH (UID 3 BODY[]<0> {5}\r\nFrom:)",
    ] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    mail.bump_uid_validity();
    let said = talk(mail.imap_clear, &LOGIN).await;
    assert!(said.contains("[UIDVALIDITY 3857530]") && said.contains("[UIDNEXT 3]"), "{said}");
    assert!(mail.lines().iter().all(|line| !line.contains("p\\\"w")), "no password is noted");
}

#[tokio::test]
async fn it_refuses_strangers_and_fails_on_demand() {
    let mail = Mail::start("right").await.unwrap();
    mail.deliver(&letter(1));
    let said = talk(mail.imap_clear, &[("", "* OK"), ("a LOGIN support wrong\r\n", "a "), ("b EXAMINE INBOX\r\n", "b ")]).await;
    assert!(said.contains("a NO [AUTHENTICATIONFAILED]") && said.contains("b NO"), "{said}");
    let said = talk(mail.smtp, &[("", "220"), ("EHLO x\r\n", "250 "), ("MAIL FROM:<a@b>\r\n", "5"), ("QUIT\r\n", "221")]).await;
    assert!(said.contains("250 STARTTLS") && said.contains("530"), "no mail in clear and unknown: {said}");
    mail.next(Mishap::Bye);
    assert!(talk(mail.imap_clear, &[("", "* BYE")]).await.contains("UNAVAILABLE"));
    mail.next(Mishap::CutLiteral(4));
    let lines = [("", "* OK"), ("a LOGIN support right\r\n", "a "), ("b EXAMINE INBOX\r\n", "b "), ("c UID FETCH 1 (UID BODY.PEEK[])\r\n", "c ")];
    assert!(talk(mail.imap_clear, &lines).await.ends_with("From(closed)"));
}
