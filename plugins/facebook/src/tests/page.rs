//! A Page over real HTTP: what comes in by poll, and what goes out.

use std::collections::BTreeMap;

use membrana_sdk::connector::{Change, Ours, Sent};
use membrana_sdk::{Connector as _, Fault, testing};
use membrana_world::{Next, Side, US};

use super::{World, answer_to, code, said, texts};
use crate::Facebook;
use crate::posts::Posts;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

#[test]
fn a_comment_is_answered_and_the_answer_is_no_news() {
    let world = World::start("");
    let post = world.meta.post(US, "Nuovi orari");
    let first = world.poll(None);
    assert!(first.changes.is_empty() && !first.more && !first.backfill);
    world.advance(5_000);
    let asked = world.meta.comment("anna", &post, "Dov'è il mio pacco?");
    let page = world.poll(Some(&first.cursor));
    let [Change::Upsert(about)] = page.changes.as_slice() else { panic!("{:?}", page.changes) };
    assert_eq!((about.native.id.as_str(), about.kind.as_str(), about.visibility.as_str()), (asked.as_str(), "comment", "public"));
    assert_eq!(about.conversation.as_ref().map(|root| root.id.as_str()), Some(post.as_str()));
    assert_eq!(
        about.author.as_ref().map(|author| (author.native.scope.as_str(), author.native.id.clone())),
        Some((membrana_world::PAGE, world.meta.person("anna")))
    );
    world.advance(5_000);
    let receipt = Facebook::send("key-1", &answer_to(about, "reply", "Arriva domani.", true)).unwrap();
    assert_eq!(world.meta.answers(&asked), ["Arriva domani."]);
    world.advance(5_000);
    let page = world.poll(Some(&page.cursor));
    let own = said(&page.changes).into_iter().find(|about| about.native == receipt.native).unwrap();
    assert_eq!((&own.ours, own.parent.as_ref().map(|parent| parent.id.clone())), (&Ours::Yes(None), Some(asked)));
    assert!(own.reply_context.is_none());
}

#[test]
fn history_is_walked_through_empty_pages_to_the_end() {
    let world = World::start(r#","first_fetch":"import""#);
    world.meta.has_holes();
    let post = world.meta.post("bea", "Ciao a tutti");
    for n in 0..23 {
        world.advance(1_000);
        world.meta.comment("anna", &post, &format!("commento {n}"));
    }
    for n in 0..7 {
        world.advance(1_000);
        world.meta.post(US, &format!("avviso {n}"));
    }
    let first = Facebook::poll(None, 5, 1 << 20).unwrap();
    assert!(first.backfill && first.more && first.changes.len() <= 5);
    let (cursor, rest) = world.poll_all(Some(&first.cursor), 5);
    let mut all: Vec<&str> = texts(&first.changes).into_iter().chain(texts(&rest)).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 31, "{all:?}");
    assert!(!world.poll(Some(&cursor)).backfill);
    assert!(!cursor.contains("page-token"), "the token that `next` repeats is not kept");
}

#[test]
fn after_an_import_of_more_posts_than_are_remembered_the_newest_are_read_again() {
    // given
    let world = World::start(r#","first_fetch":"import""#);
    let posts: Vec<String> = (0..230)
        .map(|n| {
            world.advance(1_000);
            world.meta.post(US, &format!("avviso {n}"))
        })
        .collect();
    let (cursor, changes) = world.poll_all(None, 100);
    assert_eq!(texts(&changes).len(), posts.len());

    // when
    world.advance(HOUR);
    world.meta.comment("anna", posts.last().unwrap(), "sotto il più nuovo");
    let page = world.poll(Some(&cursor));

    // then
    assert_eq!(texts(&page.changes), ["sotto il più nuovo"]);
    let remembered = Posts::read();
    assert!(posts.iter().rev().take(200).all(|id| remembered.find(id).is_some()));
    assert!(posts.iter().take(30).all(|id| remembered.find(id).is_none()));
}

#[test]
fn a_silent_webhook_loses_nothing_for_a_poll_reads_old_posts_again() {
    let world = World::start("");
    let posts: Vec<String> = (0..30).map(|n| world.meta.post(US, &format!("avviso {n}"))).collect();
    let mut cursor = world.poll(None).cursor;
    world.advance(HOUR);
    world.meta.comment("anna", &posts[2], "sotto un vecchio avviso");
    let mut found = Vec::new();
    for _ in 0..5 {
        world.advance(60_000);
        let page = world.poll(Some(&cursor));
        found.extend(texts(&page.changes).iter().map(|text| (*text).to_owned()));
        cursor = page.cursor;
    }
    assert!(found.contains(&"sotto un vecchio avviso".to_owned()), "{found:?}");
}

#[test]
fn the_newest_comment_of_a_post_is_told_once_however_many_others_came_since() {
    // given
    let world = World::start("");
    let post = world.meta.post(US, "avviso");
    let cursor = world.poll(None).cursor;
    world.meta.comment("anna", &post, "con foto");
    let first = world.poll(Some(&cursor));

    // when two hundred others have pushed it out, and one of the same second comes
    testing::with_host(|host| host.state.remove("watched"));
    let second = world.poll(Some(&first.cursor));
    world.meta.comment("bea", &post, "subito dopo");
    let third = world.poll(Some(&second.cursor));

    // then
    let all = [&first, &second, &third].map(|page| texts(&page.changes));
    assert_eq!(all, [vec!["con foto"], vec![], vec!["subito dopo"]]);
}

#[test]
fn an_interrupted_fetch_repeats_and_never_leaves_a_hole() {
    let world = World::start("");
    let posts: Vec<String> = (0..3).map(|n| world.meta.post(US, &format!("avviso {n}"))).collect();
    let cursor = world.poll(None).cursor;
    let wanted: Vec<String> = (0..9).map(|n| format!("commento {n}")).collect();
    for (text, post) in wanted.iter().zip(posts.iter().cycle()) {
        world.advance(1_000);
        world.meta.comment("anna", post, text);
    }
    // The host ends before it commits: page and state are lost, the cursor is the old one.
    let before = testing::with_host(|host| host.state.clone());
    assert!(!Facebook::poll(Some(cursor.clone()), 4, 1 << 20).unwrap().changes.is_empty());
    testing::with_host(|host| host.state = before);
    world.meta.next("GET ", Next::CutBody(20));
    assert!(Facebook::poll(Some(cursor.clone()), 4, 1 << 20).is_err(), "an answer that was cut is no page");
    let (_, again) = world.poll_all(Some(&cursor), 4);
    let mut found = texts(&again);
    found.sort_unstable();
    // What was told may be told again.
    found.dedup();
    assert_eq!(found, wanted);
}

#[test]
fn edits_and_deletions_are_noticed_without_a_webhook() {
    let world = World::start("");
    let post = world.meta.post(US, "avviso");
    let first = world.poll(None);
    world.advance(5_000);
    let (kept, taken) = (world.meta.comment("anna", &post, "prima"), world.meta.comment("bea", &post, "via"));
    let second = world.poll(Some(&first.cursor));
    world.advance(5_000);
    world.meta.edit(&kept, "dopo");
    world.meta.delete(&taken);
    let third = world.poll(Some(&second.cursor));
    assert!(texts(&third.changes).contains(&"dopo"), "{:?}", third.changes);
    assert!(third.changes.iter().any(|change| matches!(change, Change::Gone(id) if id.id == taken)));
}

#[test]
fn token_expiry_does_not_stop_in_silence_and_a_new_login_loses_nothing() {
    let world = World::start("");
    let post = world.meta.post(US, "avviso");
    let first = world.poll(None);
    world.meta.expires_after(0);
    world.advance(5_000);
    world.meta.comment("anna", &post, "ci siete?");
    let fault = Facebook::poll(Some(first.cursor.clone()), 100, 0).unwrap_err();
    assert!(matches!(fault, Fault::Auth(_)) && code(&fault) == "meta.token-expired", "{fault:?}");
    world.meta.renew("new-token");
    "new-token".clone_into(&mut world.token.borrow_mut());
    assert_eq!(texts(&world.poll(Some(&first.cursor)).changes), ["ci siete?"]);
}

#[test]
fn limits_are_told_before_they_are_reached_and_a_refusal_in_minutes() {
    let world = World::start("");
    world.meta.used(97, 12);
    let page = world.poll(None);
    let allowance = page.allowance.unwrap();
    assert!((allowance.left - 0.03).abs() < 1e-9 && allowance.resets_in_ms == 720_000, "{allowance:?}");
    world.meta.throttle(1);
    let fault = Facebook::poll(Some(page.cursor), 100, 0).unwrap_err();
    assert!(matches!(&fault, Fault::RateLimited((_, 720_000))), "{fault:?}");
}

#[test]
fn reply_windows_are_kept_and_a_later_message_opens_them_again() {
    let world = World::start("");
    let first = world.poll(None);
    world.advance(1_000);
    world.meta.message(Side::Messenger, "anna", "buongiorno");
    let page = world.poll(Some(&first.cursor));
    let about = said(&page.changes)[0].clone();
    assert_eq!((about.kind.as_str(), about.visibility.as_str()), ("direct", "direct"));
    world.advance(DAY - 1);
    assert!(Facebook::send("k1", &answer_to(&about, "reply", "uno", true)).is_ok());
    world.advance(1);
    let fault = Facebook::send("k2", &answer_to(&about, "reply", "due", true)).unwrap_err();
    assert_eq!(code(&fault), "meta.window-closed");
    assert!(matches!(fault, Fault::Permanent(_)));
    assert!(Facebook::send("k3", &answer_to(&about, "reply", "tre", false)).is_ok(), "a person may for 7 days");
    world.advance(7 * DAY);
    assert_eq!(code(&Facebook::send("k4", &answer_to(&about, "reply", "quattro", false)).unwrap_err()), "meta.window-closed");
    world.meta.message(Side::Messenger, "anna", "ancora io");
    world.advance(HOUR);
    assert!(Facebook::send("k5", &answer_to(&about, "reply", "cinque", true)).is_ok());
    assert_eq!(world.meta.sent("anna"), ["uno", "tre", "cinque"]);
    let tags: Vec<bool> = world.meta.ledger().asked("POST ").iter().map(|asked| asked.body.contains("HUMAN_AGENT")).collect();
    assert_eq!(tags, [false, true, false], "what the window refuses is not even asked");
}

#[test]
fn a_comment_takes_one_private_answer_for_seven_days() {
    let world = World::start("");
    let post = world.meta.post(US, "avviso");
    let first = world.poll(None);
    world.advance(1_000);
    world.meta.comment("anna", &post, "il mio numero d'ordine?");
    world.meta.comment("bea", &post, "anche io");
    let page = world.poll(Some(&first.cursor));
    let [anna, bea] = said(&page.changes)[..] else { panic!("{:?}", page.changes) };
    let private = answer_to(anna, "direct", "È il 7.", true);
    world.meta.next("POST ", Next::LoseAnswer);
    let fault = Facebook::send("k1", &private).unwrap_err();
    assert_eq!(code(&fault), "outcome-unknown");
    let (sent, receipt) = Facebook::probe("k1", &private).unwrap();
    assert!(sent == Sent::Yes && receipt.unwrap().native.id.starts_with("m_"));
    assert_eq!(code(&Facebook::send("k1", &private).unwrap_err()), "meta.already-replied");
    assert_eq!(world.meta.sent("anna"), ["È il 7."]);
    world.advance(7 * DAY);
    assert_eq!(code(&Facebook::send("k2", &answer_to(bea, "direct", "anche tu", false)).unwrap_err()), "meta.window-closed");
    assert!(world.meta.sent("bea").is_empty());
}

#[test]
fn an_answer_that_was_lost_is_found_and_not_said_twice() {
    let world = World::start("");
    let post = world.meta.post(US, "avviso");
    let first = world.poll(None);
    world.advance(1_000);
    let asked = world.meta.comment("anna", &post, "aperti domani?");
    let nested = world.meta.comment("bea", &asked, "anch'io lo chiedo");
    let page = world.poll(Some(&first.cursor));
    let about = said(&page.changes).into_iter().find(|about| about.native.id == nested).unwrap().clone();
    let reply = answer_to(&about, "reply", "Sì,  dalle 9.", true);
    assert_eq!(Facebook::probe("k", &reply).unwrap(), (Sent::No, None));
    world.meta.next("POST ", Next::LoseAnswer);
    assert_eq!(code(&Facebook::send("k", &reply).unwrap_err()), "outcome-unknown");
    let (sent, receipt) = Facebook::probe("k", &reply).unwrap();
    assert_eq!((sent, receipt.is_some(), world.meta.answers(&asked).len()), (Sent::Yes, true, 1));
    let direct = answer_to(said(&page.changes).into_iter().find(|about| about.native.id == asked).unwrap(), "reply", "Sì,  dalle 9.", true);
    assert_eq!(code(&Facebook::send("k2", &direct).unwrap_err()), "outcome-unknown", "506: the same text stands there already");
    world.meta.next("POST ", Next::status(502));
    assert_eq!(code(&Facebook::send("k3", &answer_to(&about, "reply", "altro", true)).unwrap_err()), "outcome-unknown");
    assert_eq!(Facebook::probe("k3", &answer_to(&about, "reply", "altro", true)).unwrap().0, Sent::No);
}

#[test]
fn a_comment_is_hidden_and_that_can_be_seen() {
    let world = World::start("");
    let post = world.meta.post(US, "avviso");
    let first = world.poll(None);
    world.advance(1_000);
    let spam = world.meta.comment("zed", &post, "buy!!!");
    let page = world.poll(Some(&first.cursor));
    let hide = answer_to(said(&page.changes)[0], "hide", "", false);
    assert_eq!(Facebook::probe("k", &hide).unwrap().0, Sent::No);
    let receipt = Facebook::send("k", &hide).unwrap();
    assert_ne!(receipt.native.id, spam, "the comment stays its author's");
    assert!(world.meta.is_hidden(&spam));
    assert_eq!(Facebook::probe("k", &hide).unwrap(), (Sent::Yes, Some(receipt)));
}

#[test]
fn long_conversations_are_read_to_their_beginning() {
    let world = World::start(r#","first_fetch":"import""#);
    for n in 0..73 {
        world.advance(1_000);
        world.meta.message(Side::Messenger, "anna", &format!("messaggio {n}"));
        if n % 10 == 0 {
            world.meta.message(Side::Messenger, &format!("person {n}"), &format!("di altri {n}"));
        }
    }
    world.meta.message(Side::Instagram, "ivo", "non per la pagina");
    let (cursor, changes) = world.poll_all(None, 40);
    let mut all = texts(&changes);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 73 + 8, "{all:?}");
    world.advance(1_000);
    world.meta.message(Side::Messenger, "anna", "ultimo");
    assert!(texts(&world.poll(Some(&cursor)).changes).contains(&"ultimo"));
}

#[test]
fn a_conversation_that_moves_to_the_front_during_a_walk_loses_no_message() {
    for (section, is_history) in [("", false), (r#","first_fetch":"import""#, true)] {
        // given two pages of conversations, of which a poll has room for the first
        let world = World::start(section);
        let cursor = if is_history { None } else { Some(world.poll(None).cursor) };
        world.advance(1_000);
        world.meta.message(Side::Messenger, "bea", "prima");
        world.advance(HOUR);
        for n in 0..5 {
            world.meta.message(Side::Messenger, "anna", &format!("messaggio {n}"));
        }
        let page = Facebook::poll(cursor, 5, 1 << 20).unwrap();
        assert!(page.more && page.changes.len() == 5, "{:?}", page.changes);

        // when
        world.advance(1_000);
        world.meta.message(Side::Messenger, "bea", "poi");
        let (mut cursor, mut told) = (page.cursor, BTreeMap::new());
        for _ in 0..5 {
            let page = Facebook::poll(Some(cursor), 5, 1 << 20).unwrap();
            for text in texts(&page.changes).into_iter().filter(|text| !text.starts_with("messaggio")) {
                // What was told may be told again.
                told.entry(text.to_owned()).or_insert(page.backfill);
            }
            cursor = page.cursor;
        }

        // then
        let wanted = [("poi", is_history), ("prima", is_history)].map(|(text, is_history)| (text.to_owned(), is_history));
        assert_eq!(told, BTreeMap::from(wanted), "of an import it is history");
    }
}

#[test]
fn a_conversation_that_moves_during_two_walks_in_a_row_loses_no_message() {
    // given
    let world = World::start("");
    let mut cursor = world.poll(None).cursor;
    world.advance(1_000);
    world.meta.message(Side::Messenger, "bea", "prima");

    // when others write so much that a poll has room for one page, and she each time before hers is read
    let mut told = Vec::new();
    for (other, again) in [("anna", "poi"), ("carla", "infine")] {
        world.advance(HOUR);
        for _ in 0..5 {
            world.meta.message(Side::Messenger, other, "di altri");
        }
        let page = Facebook::poll(Some(cursor), 5, 1 << 20).unwrap();
        assert!(page.more && texts(&page.changes) == ["di altri"; 5], "{:?}", page.changes);
        world.advance(1_000);
        world.meta.message(Side::Messenger, "bea", again);
        let (after, changes) = world.poll_all(Some(&page.cursor), 5);
        assert!(texts(&changes).iter().all(|text| *text == "di altri"), "{changes:?}");
        cursor = after;
    }
    for _ in 0..2 {
        let (after, changes) = world.poll_all(Some(&cursor), 5);
        told.extend(texts(&changes).into_iter().map(str::to_owned));
        cursor = after;
    }

    // then
    told.retain(|text| text != "di altri");
    told.sort_unstable();
    told.dedup();
    assert_eq!(told, ["infine", "poi", "prima"]);
}

#[test]
fn who_writes_before_each_poll_is_read_back_to_the_last_walks_and_no_further() {
    // given two pages of conversations
    let world = World::start("");
    let mut page = world.poll(None);
    world.advance(1_000);
    for name in ["bea", "carla", "dora", "elsa", "anna"] {
        world.meta.message(Side::Messenger, name, "ciao");
    }

    // when
    for n in 0..5 {
        page = Facebook::poll(Some(page.cursor), 80, 1 << 20).unwrap();
        assert!(!page.more);
        world.advance(HOUR);
        world.meta.message(Side::Messenger, "anna", &format!("messaggio {n}"));
    }
    page = Facebook::poll(Some(page.cursor), 80, 1 << 20).unwrap();

    // then
    assert_eq!(texts(&page.changes), ["messaggio 4", "messaggio 3", "messaggio 2"]);
}

#[test]
fn what_did_not_move_during_an_import_is_not_read_again() {
    // given two pages of conversations, the newest of many messages
    let world = World::start(r#","first_fetch":"import""#);
    for n in 0..11 {
        world.meta.message(Side::Messenger, &format!("person {n}"), "ciao");
        world.advance(1_000);
    }
    for n in 0..300 {
        world.advance(HOUR);
        world.meta.message(Side::Messenger, "anna", &format!("messaggio {n}"));
    }
    world.advance(1_000);
    let (mut cursor, mut all, mut n_polls) = (None, Vec::new(), 0);
    while all.len() < 300 + 11 {
        let page = Facebook::poll(cursor, 256, 1 << 20).unwrap();
        all.extend(page.changes);
        (cursor, n_polls) = (Some(page.cursor), n_polls + 1);
        assert!(page.more && n_polls < 10, "{n_polls}");
    }

    // when
    let page = Facebook::poll(cursor, 256, 1 << 20).unwrap();

    // then the last message alone lies within the overlap
    assert_eq!((texts(&page.changes), page.more), (vec!["messaggio 299"], false));
    assert!(!world.poll(Some(&page.cursor)).backfill);
}

#[test]
fn comments_that_one_post_does_not_let_us_read_are_one_gap_and_stop_nothing_else() {
    for (section, later) in [("", vec!["di uno"]), (r#","first_fetch":"import""#, Vec::new())] {
        // given
        let world = World::start(section);
        let cursor = section.is_empty().then(|| world.poll(None).cursor);
        world.advance(5_000);
        let names = ["uno", "due", "tre"];
        let all = names.map(|name| world.meta.post(US, name));
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
fn comments_that_no_post_lets_us_read_want_a_permission_also_where_they_could_be_read_before() {
    for could_be_read in [false, true] {
        let world = World::start("");
        let mut cursor = world.poll(None).cursor;
        world.advance(5_000);
        let all = ["uno", "due", "tre"].map(|name| world.meta.post(US, name));
        if could_be_read {
            cursor = world.poll_all(Some(&cursor), 100).0;
        }
        world.advance(5_000);
        for id in &all {
            world.meta.comment("anna", id, "commento");
        }
        world.refuse(&["/comments".to_owned()]);
        let fault = (0..3).find_map(|_| match Facebook::poll(Some(cursor.clone()), 100, 1 << 20) {
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
fn a_conversation_that_we_may_not_read_on_is_a_gap_and_all_of_them_want_a_permission() {
    for is_one in [true, false] {
        let world = World::start(r#","first_fetch":"import""#);
        for n in 0..30 {
            world.meta.message(Side::Messenger, "anna", &format!("messaggio {n}"));
        }
        world.meta.message(Side::Messenger, "bea", "ciao");
        world.advance(60_000);
        let page = Facebook::poll(None, 20, 1 << 20).unwrap();
        let thread = format!("/t_{}/messages", world.meta.person("anna"));
        world.refuse(&if is_one { vec![thread] } else { vec![thread, "/conversations".to_owned()] });
        let mut cursor = page.cursor;
        let mut all = page.changes;
        let fault = (0..5).find_map(|_| match Facebook::poll(Some(cursor.clone()), 20, 1 << 20) {
            Ok(page) => {
                all.extend(page.changes);
                cursor = page.cursor;
                None
            }
            Err(fault) => Some(fault),
        });
        let n_gaps = all.iter().filter(|change| matches!(change, Change::Note((kind, _)) if kind == "gap")).count();
        assert_eq!((n_gaps, fault.is_none()), if is_one { (1, true) } else { (0, false) }, "{fault:?}");
    }
}

#[test]
fn a_comment_that_may_not_be_looked_at_again_hides_no_edit_of_another() {
    let world = World::start("");
    let post = world.meta.post(US, "avviso");
    let first = world.poll(None);
    world.advance(5_000);
    let edited = world.meta.comment("anna", &post, "prima");
    world.advance(5_000);
    let youngest = world.meta.comment("bea", &post, "ciao");
    let second = world.poll(Some(&first.cursor));
    world.advance(5_000);
    world.meta.edit(&edited, "dopo");
    world.refuse(&[format!("/{youngest}?")]);
    assert_eq!(texts(&world.poll(Some(&second.cursor)).changes), ["dopo"]);
}

#[test]
fn who_cannot_be_written_to_and_a_block_are_different_things() {
    let world = World::start("");
    let first = world.poll(None);
    world.advance(1_000);
    world.meta.message(Side::Messenger, "anna", "ciao");
    let page = world.poll(Some(&first.cursor));
    let reply = answer_to(said(&page.changes)[0], "reply", "ciao", true);
    world.meta.shuns("anna");
    let fault = Facebook::send("k", &reply).unwrap_err();
    assert!(matches!(fault, Fault::Permanent(_)) && code(&fault) == "meta.unavailable-person");
    world.meta.blocks(true);
    assert!(matches!(Facebook::send("k", &reply).unwrap_err(), Fault::RateLimited((detail, wait)) if detail.code == "meta.blocked" && wait == DAY));
}

#[test]
fn send_and_probe_write_no_state() {
    let world = World::start("");
    let first = world.poll(None);
    world.advance(1_000);
    world.meta.message(Side::Messenger, "anna", "ciao");
    let page = world.poll(Some(&first.cursor));
    testing::with_host(|host| host.state_is_read_only = true);
    let reply = answer_to(said(&page.changes)[0], "reply", "ciao", true);
    assert!(Facebook::send("k", &reply).is_ok() && Facebook::probe("k", &reply).unwrap().0 == Sent::Yes);
}
