//! Feeds as forums serve them.

use membrana_sdk::connector::{Change, Interaction};

use super::{blog, poll};

const CONFIG: &str = r#"{"urls":["http://board.test/app.php/feed"],"first_fetch":"import"}"#;

/// phpBB's: the entry's id is its link, and the last paragraph counts views.
fn phpbb(base: &str, text: &str, views: u32) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><feed xmlns="http://www.w3.org/2005/Atom"><link rel="self" type="application/atom+xml" href="{base}/app.php/feed" />
<title>Acme</title><link href="{base}/index.php" /><updated>2026-11-24T10:00:00+01:00</updated><id>{base}/app.php/feed</id>
<entry><author><name><![CDATA[anna]]></name></author><updated>2026-11-24T10:00:00+01:00</updated><published>2026-11-24T10:00:00+01:00</published>
<id>{base}/viewtopic.php?t=5&amp;p=10#p10</id><link href="{base}/viewtopic.php?t=5&amp;p=10#p10"/><title type="html"><![CDATA[Aiuto • Bolletta]]></title>
<content type="html" xml:base="{base}/viewtopic.php?t=5&amp;p=10#p10"><![CDATA[{text}<p>Statistiche: Inviato da <a href="{base}/memberlist.php?u=2">anna</a> — Risposte 1 — Visite {views}</p><hr />]]></content></entry></feed>"#
    )
}

fn said(changes: &[Change]) -> Vec<&Interaction> {
    changes.iter().filter_map(|change| if let Change::Upsert(about) = change { Some(about) } else { None }).collect()
}

#[test]
fn a_count_of_views_is_no_edit_and_an_edit_is_one() {
    let board = blog(CONFIG, &phpbb("http://board.test", "Ho pagato <b>due</b> volte.", 7));
    let first = poll();
    let told = said(&first.changes);
    assert_eq!((told.len(), told[0].text.as_str(), told[0].author.as_ref().unwrap().name.as_deref()), (1, "Ho pagato due volte.", Some("anna")));
    assert_eq!(told[0].url.as_deref(), Some("http://board.test/viewtopic.php?t=5&p=10#p10"), "a task leads there");
    board.borrow_mut().1 = phpbb("http://board.test", "Ho pagato <b>due</b> volte.", 8);
    assert_eq!(said(&poll().changes).len(), 0);
    board.borrow_mut().1 = phpbb("http://board.test", "Ho pagato TRE volte.", 9);
    let edited = poll();
    assert_eq!((said(&edited.changes)[0].text.as_str(), said(&edited.changes)[0].native.clone()), ("Ho pagato TRE volte.", told[0].native.clone()));
}

#[test]
fn a_board_that_moves_makes_no_new_posts() {
    let board = blog(CONFIG, &phpbb("http://board.test", "Ciao", 1));
    let native = said(&poll().changes)[0].native.clone();
    let mut text = "Ciao".to_owned();
    for base in ["https://board.test", "https://www.board.test", "https://forum.acme.test"] {
        board.borrow_mut().1 = phpbb(base, &text, 2).replace("t=5&amp;p=10", "t=5&amp;p=10&amp;sid=0123456789abcdef");
        assert_eq!(said(&poll().changes).len(), 0, "{base}");
        text = format!("Da {base}");
        board.borrow_mut().1 = phpbb(base, &text, 3);
        assert_eq!(said(&poll().changes)[0].native, native, "{base}");
    }
}

#[test]
fn writers_are_read_in_every_dress() {
    let rss = |item: &str| {
        format!(
            r#"<rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>F</title><link>http://board.test/</link>{item}</channel></rss>"#
        )
    };
    let xenforo = rss(
        "<item><title>A</title><link>http://board.test/threads/a.1/</link><guid>http://board.test/threads/a.1/</guid><author>invalid@example.com (anna)</author><dc:creator>anna</dc:creator></item>",
    );
    let vbulletin = rss(
        "<item><title>A</title><link>http://board.test/showthread.php?1-A</link><guid isPermaLink=\"true\">http://board.test/showthread.php?1-A</guid><dc:creator>anna</dc:creator></item>",
    );
    let smf = rss(
        "<item><title>A</title><link>http://board.test/index.php?topic=1.msg2#msg2</link><guid>http://board.test/index.php?topic=1.msg2#msg2</guid><author><![CDATA[noreply@board.test (anna)]]></author></item>",
    );
    let mybb = r#"<feed xmlns="http://www.w3.org/2005/Atom"><title>F</title><generator>MyBB</generator><entry xmlns:dc="http://purl.org/dc/elements/1.1/"><author><name type="html" xml:space="preserve"><![CDATA[<a href="http://board.test/member.php?action=profile&uid=2">anna</a>]]></name></author><published>2026-11-24T10:00:00Z</published><link href="http://board.test/showthread.php?tid=1" /><id>http://board.test/showthread.php?tid=1</id><title type="html"><![CDATA[A]]></title><content type="html"><![CDATA[Ciao]]></content></entry></feed>"#.to_owned();
    for (name, feed, id) in [
        ("XenForo", xenforo, "/threads/a.1/"),
        ("vBulletin", vbulletin, "/showthread.php?1-A="),
        ("SMF", smf, "/index.php?topic=1.msg2#msg2"),
        ("MyBB", mybb, "/showthread.php?tid=1"),
    ] {
        blog(CONFIG, &feed);
        let page = poll();
        let told = said(&page.changes);
        let author = told[0].author.as_ref().unwrap();
        assert_eq!((author.name.as_deref(), author.email.as_deref()), (Some("anna"), None), "{name}");
        assert_eq!((told[0].native.scope.as_str(), told[0].native.id.as_str()), ("board.test", id), "{name}");
    }
}
