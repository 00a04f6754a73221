//! What people can write anywhere: every script, signs of several parts, a megabyte, what no text may hold, ids that no double can,
//! and dates at the edges. On each network that can carry it, it comes in, is stored once, is found, and breaks nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use membrana_world::{Dress, LONE, Mail};
use serde_json::{Value as Json, json};

use crate::everywhere::{ANSWERED, Said, UNANSWERED, World, mark, not_connected};
use crate::harness::{Host, text, within};
use crate::hooks::shop;

/// A megabyte on every channel takes a while.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(500);

/// What it is, what is written, and what of it must be found again.
fn contents() -> Vec<(&'static str, String, &'static str)> {
    let told = |what, text: &str, kept| (what, text.to_owned(), kept);
    vec![
        told("emoji of several parts and flags", "👩‍👩‍👧‍👦 🏳️‍🌈 🇮🇹🇺🇦 👍🏿 1️⃣ 🏴󠁧󠁢󠁳󠁣󠁴󠁿", "👩‍👩‍👧‍👦 🏳️‍🌈 🇮🇹🇺🇦 👍🏿 1️⃣ 🏴󠁧󠁢󠁳󠁣󠁴󠁿"),
        told("right to left, and turned by force", "שלום עולם مرحبا بالعالم \u{202e}abc\u{202c} \u{2067}def\u{2069}", "שלום עולם مرحبا بالعالم"),
        told("scripts of Europe", "Ελληνικά Кириллица ქართული Հայերեն Ꮳꮃꭹ ᚠᚢᚦ ꙮ ẞ ﬁ İı", "Ελληνικά Кириллица ქართული Հայերեն"),
        told("scripts of Asia and Africa", "हिन्दी বাংলা தமிழ் සිංහල ไทย ລາວ မြန်မာ ភាសាខ្មែរ བོད་ ᠮᠣᠩᠭᠣᠯ አማርኛ ⵜⴰⵎⴰⵣⵉⵖⵜ ߒߞߏ", "हिन्दी বাংলা தமிழ் සිංහල ไทย"),
        told("scripts of the east", "漢字かなカナ 한국어 ㄅㄆㄇ 𠮷野家 葛󠄀", "漢字かなカナ 한국어 ㄅㄆㄇ 𠮷野家"),
        told("scripts of the past, above the first plane", "𒀀𒁀 𐌰𐌱 𓀀𓂀 𐤀𐤁 𝔘𝔫𝔦", "𒀀𒁀 𐌰𐌱 𓀀𓂀 𐤀𐤁"),
        told("marks on marks", &format!("Z{}algo", "\u{0351}\u{036b}\u{0353}\u{036a}".repeat(40)), "algo"),
        told("signs that nobody sees", "a\u{200b}\u{feff}\u{2060}\u{00ad}b \u{2028}line\u{2029} tail", "tail"),
        told("a NUL and what else controls", "head\0\u{1}\u{7}\u{8}\u{b}\u{1b}[31m\u{7f}\u{85} tail", "tail"),
        told("what is no character", "\u{fffe}\u{ffff}\u{1fffe} \u{fdd0} tail", "tail"),
        told("half of a pair", &format!("head {LONE} tail"), "tail"),
        told("quotes and what programs read", "'; DROP TABLE x; -- \\\" \\u0000 %00 %s {{7*7}} ${jndi:x} \\\\x00 tail", "DROP TABLE x; --"),
        ("a megabyte", "parola ".repeat(140_000), "parola parola"),
    ]
}

fn of_others(host: &Host) -> Vec<Json> {
    host.list(&["interaction", "list"]).into_iter().filter(|one| one["own"] != Json::Bool(true)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_can_be_written_comes_in_on_every_network_and_is_found() {
    let world = World::start().await;
    world.forum.number_from(9_007_199_254_740_993);
    let mut host = world.host().await;
    let contents = contents();
    let channels = ANSWERED.into_iter().chain(UNANSWERED);
    let mut said: BTreeMap<String, (Said, &str, &str)> = BTreeMap::new();
    for (n, (channel, (what, content, kept))) in channels.flat_map(|channel| contents.iter().map(move |one| (channel, one))).enumerate() {
        let id = world.say(&host, channel, n, &format!("{} {content}", mark(n))).await;
        said.insert(mark(n), (Said { n, channel, id }, what, kept));
        world.meta.advance(1000);
    }

    let mut all = Vec::new();
    let of = |all: &[Json], mark: &str| all.iter().filter(|one| text(one, "/text").contains(mark)).cloned().collect::<Vec<_>>();
    let is_there = within(PATIENCE, LOOK, async || {
        all = of_others(&host);
        said.keys().all(|mark| !of(&all, mark).is_empty())
    });
    let is_there = is_there.await;
    let missing: Vec<_> = said.iter().filter(|(mark, _)| of(&all, mark).is_empty()).map(|(_, (said, what, _))| (said.channel, *what)).collect();
    assert!(is_there, "missing: {missing:#?}\n{:?}\n{}", not_connected(&host), host.log());
    for (mark, (said, what, kept)) in &said {
        let found = of(&all, mark);
        assert_eq!(found.len(), 1, "{what} on {}: {found:?}", said.channel);
        assert!(text(&found[0], "/text").contains(kept), "{what} on {}: {:?}", said.channel, text(&found[0], "/text").get(..200));
    }
    // X takes no answer twice in the same words; what came in is what is judged here.
    let dead: Vec<Json> = host.list(&["dead", "list"]).into_iter().filter(|letter| text(letter, "/stage") != "outbox").collect();
    assert_eq!(dead, Vec::<Json>::new());
    let is_calm = within(PATIENCE, LOOK, async || not_connected(&host).is_empty()).await;
    assert!(is_calm, "{:?}\n{}", not_connected(&host), host.log());
    assert_eq!(host.stop(), Some(0));
}

/// As it is written, and the second that it means; none: whatever the host makes of it.
const DATES: [(&str, Option<&str>); 10] = [
    ("1970-01-01T00:00:00Z", None),
    ("9999-12-31T23:59:59Z", None),
    ("2016-12-31T23:59:60Z", None),
    ("2026-05-02T10:00:00+0000", Some("2026-05-02T10:00:00")),
    ("2026-05-02T10:00Z", Some("2026-05-02T10:00:00")),
    ("Sat, 02 May 2026 10:00:00 +0000", Some("2026-05-02T10:00:00")),
    ("Sat, 02 May 2026 10:00 GMT", Some("2026-05-02T10:00:00")),
    ("Thu, 01 Jan 1970 00:00:00 GMT", None),
    ("Sat, 31 Dec 2016 23:59:60 GMT", None),
    ("the day before yesterday", None),
];

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_no_double_holds_and_dates_at_the_edges_are_told_apart_and_kept() {
    let world = World::start().await;
    let mut host = world.host().await;
    let ids = ["9007199254740992", "9007199254740993", "123456789012345678901234567890", "123456789012345678901234567891", "-1", "0.10"];
    let shop = shop(&host);
    for (n, id) in ids.into_iter().enumerate() {
        let answer = shop.post(&format!("id-{n}"), Dress::Right, &format!("{{\"id\":{id},\"note\":\"order {id}\"}}")).await.unwrap();
        assert_eq!(answer.status, 202, "{id}");
    }
    // A number that no JSON reader holds: kept as it came, for a person.
    assert_eq!(shop.post("id-huge", Dress::Right, "{\"id\":1e400,\"note\":\"order\"}").await.unwrap().status, 202);
    let mut items = String::new();
    for (n, (date, _)) in DATES.into_iter().enumerate() {
        let body = json!({ "id": format!("d{n}"), "note": format!("shop date {n}."), "at": date }).to_string();
        assert_eq!(shop.post(&format!("date-{n}"), Dress::Right, &body).await.unwrap().status, 202, "{date}");
        items += &format!("<item><title>T</title><guid>d{n}</guid><pubDate>{date}</pubDate><description>blog date {n}.</description></item>");
        world.mail.deliver_raw(
            format!(
                "From: P <p@customers.example>\r\nTo: Acme <{}>\r\nSubject: s\r\nMessage-ID: <d{n}@customers.example>\r\nDate: {date}\r\n\r\nmail date {n}.\r\n",
                Mail::ADDRESS
            )
            .as_bytes(),
        );
    }
    world.blog.serve_raw(Some(format!("<rss version=\"2.0\"><channel><title>b</title>{items}</channel></rss>").into_bytes()));

    let n_wanted = ids.len() + 3 * DATES.len();
    let mut all = Vec::new();
    let is_there = within(PATIENCE, LOOK, async || {
        all = of_others(&host);
        all.len() >= n_wanted
    });
    let is_there = is_there.await;
    let shown: Vec<_> =
        all.iter().map(|one| (text(one, "/channel"), text(one, "/native/id"), text(one, "/text"), text(one, "/occurred_at"))).collect();
    assert!(is_there && all.len() == n_wanted, "{} of {n_wanted}: {shown:#?}\n{}", all.len(), host.log());
    for id in ids {
        assert_eq!(all.iter().filter(|one| text(one, "/native/id") == id).count(), 1, "{id}: {shown:#?}");
    }
    for place in ["shop", "blog", "mail"] {
        for (n, (date, meant)) in DATES.into_iter().enumerate() {
            let found: Vec<&Json> = all.iter().filter(|one| text(one, "/text").contains(&format!("{place} date {n}."))).collect();
            assert_eq!(found.len(), 1, "{place} {date}");
            let occurred = text(found[0], "/occurred_at");
            // A shop knows the form of machines alone; a mail without seconds counts as one without a date.
            let is_its_form = match place {
                "mail" => date == "Sat, 02 May 2026 10:00:00 +0000",
                "shop" => !date.contains(','),
                _ => true,
            };
            if let Some(meant) = meant.filter(|_| is_its_form) {
                assert!(occurred.starts_with(meant), "{place} `{date}` is {occurred}");
            }
            // No network is older than 1990, and none knows the future: what claims so has no date, and says that it had.
            assert!(!occurred.starts_with("1970") && !occurred.starts_with("9999"), "{place} `{date}` is {occurred}");
            let is_told = place == "blog" && date.contains("1970");
            assert!(!is_told || text(found[0], "/attrs/membrana.occurred-clamped") == "true", "{:?}", found[0]);
            assert!(occurred.ends_with('Z') && occurred.len() == "2026-05-02T10:00:00.000Z".len(), "{place} `{date}` is `{occurred}`");
        }
    }
    let dead = host.list(&["dead", "list"]);
    assert!(dead.len() == 1 && text(&dead[0], "/stage") == "intake" && text(&dead[0], "/channel") == "shop", "{dead:#?}");
    assert_eq!(not_connected(&host), Vec::<String>::new());
    assert_eq!(host.stop(), Some(0));
}
