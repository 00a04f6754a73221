//! An account over real HTTP: what comes in by poll, and what goes out.

use membrana_sdk::connector::{Change, Ours, Sent};
use membrana_sdk::http::{Request, Response};
use membrana_sdk::{Connector as _, Fault, Surroundings, testing};
use membrana_world::{Next, Shape, Side};

use super::{World, answer_to, carried, code, named, said, texts};
use crate::Instagram;
use crate::media::Media;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

#[test]
fn from_now_on_means_that_nothing_older_is_told() {
    let world = World::start("");
    let medium = world.meta.medium("foto");
    let old = world.meta.comment("anna", &medium, "vecchio");
    world.meta.tag("bea", "vecchia menzione");
    world.advance(HOUR);
    let first = world.poll(None);
    assert!(first.changes.is_empty() && !first.more);
    assert!(texts(&world.poll(Some(&first.cursor)).changes).is_empty());
    world.advance(5_000);
    world.meta.comment("ivo", &old, "risposta nuova a un vecchio");
    world.meta.medium("foto nuova");
    world.meta.tag("bea", "nuova menzione");
    let page = world.poll(Some(&first.cursor));
    assert_eq!(texts(&page.changes), ["foto nuova", "nuova menzione", "risposta nuova a un vecchio"]);
    let answer = named(&page.changes, "risposta nuova a un vecchio");
    assert_eq!((answer.parent.as_ref().unwrap().id.as_str(), answer.refs[0].id.as_str()), (old.as_str(), medium.as_str()));
    assert_eq!(named(&page.changes, "foto nuova").ours, Ours::Yes(None));
    assert_eq!(named(&page.changes, "nuova menzione").kind, "mention");
}

#[test]
fn a_medium_whose_comments_cannot_be_read_keeps_no_other_waiting() {
    let world = World::start("");
    let first = world.poll(None);
    world.advance(5_000);
    let (odd, other) = (world.meta.medium("foto"), world.meta.medium("altra"));
    world.meta.comment("anna", &odd, "di foto");
    world.meta.comment("anna", &other, "di altra");
    let (address, fails) = (world.meta.address(), format!("/{odd}/comments"));
    let broken = Response { status: 500, headers: Vec::new(), body: Vec::new() };
    let answers = move |request: &Request| if request.url.contains(&fails) { Ok(broken.clone()) } else { carried(address, request) };
    testing::with_host(|host| *host = std::mem::take(host).on_http(answers));
    let (cursor, changes) = world.poll_all(Some(&first.cursor), 100);
    assert_eq!(texts(&changes), ["altra", "di altra", "foto"]);
    testing::with_host(|host| *host = std::mem::take(host).on_http(move |request| carried(address, request)));
    assert_eq!(texts(&world.poll_all(Some(&cursor), 100).1), ["di foto"]);
}

#[test]
fn comments_that_one_medium_does_not_let_us_read_are_one_gap_and_stop_nothing_else() {
    for (section, later) in [("", vec!["di uno"]), (r#","first_fetch":"import""#, Vec::new())] {
        // given
        let world = World::start(section);
        let cursor = section.is_empty().then(|| world.poll(None).cursor);
        world.advance(5_000);
        let names = ["uno", "due", "tre"];
        let all = names.map(|name| world.meta.medium(name));
        for (id, name) in all.iter().zip(names) {
            world.meta.comment("anna", id, &format!("di {name}"));
        }

        // when
        world.refuse(&[format!("/{}/comments", all[0])]);
        world.advance(5_000);
        let (cursor, mut changes) = world.poll_all(cursor.as_deref(), 100);
        world.advance(HOUR);
        let (cursor, more) = world.poll_all(Some(&cursor), 100);
        changes.extend(more);

        // then
        let gaps = changes.iter().filter(|change| matches!(change, Change::Note((kind, _)) if kind == "gap"));
        let mut told = texts(&changes);
        told.sort_unstable();
        assert_eq!((told, gaps.count()), (vec!["di due", "di tre", "due", "tre", "uno"], 1));

        // and what may be read again is, but for what an import gave up
        world.refuse(&[]);
        assert_eq!(texts(&world.poll_all(Some(&cursor), 100).1), later);
    }
}

#[test]
fn answers_that_may_not_be_read_are_a_gap_of_their_comment_alone() {
    let world = World::start("");
    let first = world.poll(None);
    world.advance(5_000);
    let medium = world.meta.medium("foto");
    let (address, comments) = (world.meta.address(), format!("/{medium}/comments"));
    let answers = move |request: &Request| {
        let body = match &request.url {
            url if url.contains(&comments) => {
                r#"{"data":[{"id":"5","text":"sopra","timestamp":"2026-11-24T10:01:05+0000","replies":{"data":[],"paging":{"next":"https://g.test/?after=2"}}},
                    {"id":"4","text":"sotto","timestamp":"2026-11-24T10:01:05+0000"}]}"#
            }
            url if url.contains("/5/replies") => r#"{"error":{"message":"(#10) not permitted","code":10}}"#,
            _ => return carried(address, request),
        };
        Ok(Response { status: 200, headers: Vec::new(), body: body.into() })
    };
    testing::with_host(|host| *host = std::mem::take(host).on_http(answers));
    let (_, changes) = world.poll_all(Some(&first.cursor), 100);
    assert_eq!(texts(&changes), ["foto", "sopra", "sotto"]);
    // It is tried again with each visit.
    let gaps: Vec<_> = changes.iter().filter_map(|change| if let Change::Note((_, body)) = change { Some(body.as_str()) } else { None }).collect();
    assert!(!gaps.is_empty() && gaps.iter().all(|gap| gap.contains(r#""comment":"5""#)), "{gaps:?}");
}

#[test]
fn comments_that_no_medium_lets_us_read_want_a_permission_also_where_they_could_be_read_before() {
    for could_be_read in [false, true] {
        let world = World::start("");
        let mut cursor = world.poll(None).cursor;
        world.advance(5_000);
        let all = ["uno", "due", "tre"].map(|name| world.meta.medium(name));
        if could_be_read {
            cursor = world.poll_all(Some(&cursor), 100).0;
        }
        world.advance(5_000);
        for id in &all {
            world.meta.comment("anna", id, "commento");
        }
        world.refuse(&["/comments".to_owned()]);
        let fault = (0..3).find_map(|_| match Instagram::poll(Some(cursor.clone()), 100, 1 << 20) {
            Ok(page) => {
                cursor = page.cursor;
                None
            }
            Err(fault) => Some(fault),
        });
        assert!(matches!(&fault, Some(Fault::Auth(detail)) if detail.code == "meta.permission"), "{fault:?}");
        world.refuse(&[]);
        assert!(texts(&world.poll_all(Some(&cursor), 100).1).contains(&"commento"));
    }
}

#[test]
fn media_that_name_us_are_told_once_however_many_there_were_before_and_are_now() {
    // given more old ones than the first look remembers
    let world = World::start("");
    for n in 0..60 {
        world.meta.tag("bea", &format!("vecchia {n}"));
    }
    world.advance(HOUR);
    let first = world.poll(None);

    // when one comes, then more than a poll has room for
    world.advance(5_000);
    world.meta.tag("bea", "nuova");
    let (cursor, changes) = world.poll_all(Some(&first.cursor), 5);
    assert_eq!(texts(&changes), ["nuova"]);
    let wanted: Vec<String> = (0..23).map(|n| format!("ora {n:02}")).collect();
    for text in &wanted {
        world.advance(1_000);
        world.meta.tag("ivo", text);
    }
    let (cursor, changes) = world.poll_all(Some(&cursor), 5);

    // then
    let mut told = texts(&changes);
    told.sort_unstable();
    assert_eq!(told, wanted);
    let (_, again) = world.poll_all(Some(&cursor), 5);
    assert!(texts(&again).is_empty());
}

#[test]
fn history_is_walked_through_empty_pages_to_the_end() {
    let world = World::start(r#","first_fetch":"import""#);
    world.meta.has_holes();
    for m in 0..3 {
        let medium = world.meta.medium(&format!("foto {m}"));
        for n in 0..9 {
            world.advance(1_000);
            let top = world.meta.comment("anna", &medium, &format!("c {m} {n}"));
            world.meta.comment("bea", &top, &format!("r {m} {n}"));
        }
    }
    let first = Instagram::poll(None, 6, 1 << 20).unwrap();
    assert!(first.backfill && first.more);
    let (cursor, rest) = world.poll_all(Some(&first.cursor), 6);
    let all: Vec<Change> = first.changes.into_iter().chain(rest).collect();
    assert_eq!(texts(&all).len(), 3 + 27 + 27);
    assert!(!world.poll(Some(&cursor)).backfill);
}

#[test]
fn after_an_import_of_more_media_than_are_remembered_the_newest_are_known() {
    let world = World::start(r#","first_fetch":"import""#);
    let media: Vec<String> = (0..230)
        .map(|n| {
            world.advance(1_000);
            world.meta.medium(&format!("foto {n}"))
        })
        .collect();
    let (_, changes) = world.poll_all(None, 100);
    assert_eq!(texts(&changes).len(), media.len());
    let remembered: Vec<String> = Media::read().turn(300).into_iter().map(|medium| medium.id).collect();
    assert!(remembered.len() == 200 && media.iter().rev().take(200).all(|id| remembered.contains(id)), "{remembered:?}");
}

#[test]
fn an_interrupted_fetch_repeats_and_never_leaves_a_hole() {
    let world = World::start("");
    let media: Vec<String> = (0..3).map(|n| world.meta.medium(&format!("foto {n}"))).collect();
    let cursor = world.poll(None).cursor;
    let wanted: Vec<String> = (0..9).map(|n| format!("commento {n}")).collect();
    for (text, medium) in wanted.iter().zip(media.iter().cycle()) {
        world.advance(1_000);
        world.meta.comment("anna", medium, text);
    }
    // The host ends before it commits: page and state are lost, the cursor is the old one.
    let before = testing::with_host(|host| host.state.clone());
    assert!(!Instagram::poll(Some(cursor.clone()), 4, 1 << 20).unwrap().changes.is_empty());
    testing::with_host(|host| host.state = before);
    world.meta.next("GET ", Next::CutBody(20));
    assert!(Instagram::poll(Some(cursor.clone()), 4, 1 << 20).is_err(), "an answer that was cut is no page");
    let (_, again) = world.poll_all(Some(&cursor), 4);
    assert_eq!(texts(&again), wanted);
}

#[test]
fn a_webhook_that_goes_silent_is_made_up_for_by_the_poll() {
    let world = World::start("");
    let media: Vec<String> = (0..5).map(|n| world.meta.medium(&format!("foto {n}"))).collect();
    let cursor = world.poll(None).cursor;
    world.advance(3_600_000);
    world.meta.comment("anna", &media[1], "sotto una vecchia foto");
    let (_, found) = world.poll_all(Some(&cursor), 100);
    let late = world.hear(Shape::Nested);
    assert_eq!(named(&found, "sotto una vecchia foto").native, named(&late, "sotto una vecchia foto").native, "a late webhook names the same");
}

#[test]
fn an_answer_attaches_to_the_top_comment_and_is_no_news() {
    let world = World::start("");
    let medium = world.meta.medium("foto");
    let first = world.poll(None);
    world.advance(1_000);
    let top = world.meta.comment("anna", &medium, "quanto costa?");
    world.meta.comment("bea", &top, "lo chiedo anch'io");
    let page = world.poll(Some(&first.cursor));
    let reply = answer_to(named(&page.changes, "lo chiedo anch'io"), "reply", "12 euro", true);
    world.meta.next("POST ", Next::LoseAnswer);
    assert_eq!(code(&Instagram::send("k", &reply).unwrap_err()), "outcome-unknown");
    let (sent, receipt) = Instagram::probe("k", &reply).unwrap();
    assert_eq!((sent, world.meta.answers(&top)), (Sent::Yes, vec!["12 euro".to_owned()]));
    world.advance(1_000);
    let next = world.poll(Some(&page.cursor));
    let own = named(&next.changes, "12 euro");
    assert_eq!((&own.ours, &own.native), (&Ours::Yes(None), &receipt.unwrap().native));
    assert_eq!(Instagram::probe("k", &answer_to(named(&page.changes, "quanto costa?"), "reply", "13 euro", true)).unwrap(), (Sent::No, None));
}

#[test]
fn deletions_are_noticed_without_a_webhook() {
    let world = World::start("");
    let medium = world.meta.medium("foto");
    let first = world.poll(None);
    world.advance(1_000);
    let taken = world.meta.comment("anna", &medium, "via");
    let second = world.poll(Some(&first.cursor));
    world.meta.delete(&taken);
    let third = world.poll(Some(&second.cursor));
    assert!(third.changes.iter().any(|change| matches!(change, Change::Gone(id) if id.id == taken)), "{:?}", third.changes);
}

#[test]
fn messages_have_their_window_their_length_and_one_private_reply() {
    let world = World::start("");
    let medium = world.meta.medium("foto");
    let first = world.poll(None);
    world.advance(1_000);
    world.meta.message(Side::Instagram, "ivo", "salve");
    world.meta.comment("anna", &medium, "in privato?");
    let page = world.poll(Some(&first.cursor));
    let (direct, comment) = (named(&page.changes, "salve").clone(), named(&page.changes, "in privato?").clone());
    assert_eq!((direct.native.scope.as_str(), direct.kind.as_str()), (membrana_world::ACCOUNT, "direct"));
    assert!(Instagram::send("k1", &answer_to(&direct, "reply", &"è".repeat(500), true)).is_ok());
    assert!(matches!(Instagram::send("k2", &answer_to(&direct, "reply", &"è".repeat(501), true)), Err(Fault::Unsupported(_))));
    let manifest = include_str!("../../plugin.toml");
    assert!(manifest.contains("\nmax_len = 2200\nprivate_max_len = 1000\n"), "the host measures a comment by more than a message");
    let private = answer_to(&comment, "direct", "eccoci", true);
    assert!(Instagram::send("k3", &private).is_ok());
    assert_eq!(Instagram::probe("k3", &private).unwrap().0, Sent::Yes);
    assert_eq!(code(&Instagram::send("k3", &private).unwrap_err()), "meta.already-replied");
    world.advance(DAY);
    assert_eq!(code(&Instagram::send("k4", &answer_to(&direct, "reply", "tardi", true)).unwrap_err()), "meta.window-closed");
    assert!(Instagram::send("k5", &answer_to(&direct, "reply", "da una persona", false)).is_ok());
    assert_eq!((world.meta.sent("ivo").len(), world.meta.sent("anna").len()), (2, 1));
}

#[test]
fn a_window_that_the_network_sees_otherwise_is_its_refusal_by_code() {
    let world = World::start("");
    let first = world.poll(None);
    world.advance(1_000);
    world.meta.message(Side::Instagram, "ivo", "salve");
    let page = world.poll(Some(&first.cursor));
    // The network's clock runs ahead of the host's.
    world.meta.advance(DAY);
    let fault = Instagram::send("k", &answer_to(named(&page.changes, "salve"), "reply", "ciao", true)).unwrap_err();
    assert!(matches!(fault, Fault::Permanent(_)) && code(&fault) == "meta.window-closed");
}

#[test]
fn a_comment_is_hidden() {
    let world = World::start("");
    let medium = world.meta.medium("foto");
    let first = world.poll(None);
    world.advance(1_000);
    let spam = world.meta.comment("zed", &medium, "buy!!!");
    let page = world.poll(Some(&first.cursor));
    let hide = answer_to(said(&page.changes)[0], "hide", "", false);
    assert_eq!(Instagram::probe("k", &hide).unwrap().0, Sent::No);
    let receipt = Instagram::send("k", &hide).unwrap();
    assert!(world.meta.is_hidden(&spam));
    assert_eq!(Instagram::probe("k", &hide).unwrap(), (Sent::Yes, Some(receipt)));
}

#[test]
fn limits_and_a_dead_token_are_told() {
    let world = World::start("");
    world.meta.used(50, 0);
    let first = world.poll(None);
    assert!((first.allowance.unwrap().left - 0.5).abs() < 1e-9);
    world.meta.throttle(1);
    assert!(matches!(Instagram::poll(Some(first.cursor.clone()), 100, 0), Err(Fault::RateLimited((_, 3_600_000)))));
    world.meta.expires_after(0);
    assert!(matches!(Instagram::poll(Some(first.cursor), 100, 0), Err(Fault::Auth(_))));
}

#[test]
fn mistakes_in_the_section_are_told_and_a_foreign_cursor_is_refused() {
    let around = Surroundings { teams: Vec::new(), channels: Vec::new(), analyzers: Vec::new(), calendars: Vec::new() };
    let keys = |config: &str| Instagram::validate(config, &around).into_iter().map(|finding| finding.key).collect::<Vec<_>>();
    assert!(keys(r#"{"account":"17841405309211844","base_url":"https://graph.facebook.com"}"#).is_empty());
    assert_eq!(keys(r#"{"account":"@acme","page":"a page","base_url":"graph"}"#), ["account", "page", "base_url"]);
    let _world = World::start("");
    assert!(matches!(Instagram::poll(Some("7".to_owned()), 100, 0), Err(Fault::Permanent(_))));
}
