//! Polling: cursors, gaps, edits, limits.

use std::time::Duration;

use membrana_sdk::connector::{Change, Ours};
use membrana_sdk::{Connector as _, Fault, testing};
use membrana_world::Next;

use super::stand::{NOW_MS, Stand, notes, post_id, said, texts};
use crate::X;

const SEARCH: &str = r#""query":"acme","mentions":false"#;
const DAY: Duration = Duration::from_secs(86_400);

fn asked(stand: &Stand, line: &str, parameter: &str) -> Vec<Option<String>> {
    let value = |path: &str| path.split(['?', '&']).find_map(|pair| pair.strip_prefix(parameter)?.strip_prefix('=')).map(str::to_owned);
    stand.x.ledger().asked(line).iter().map(|asked| value(&asked.path)).collect()
}

#[test]
fn every_page_is_asked_with_the_same_since_id_which_moves_after_the_last() {
    let stand = Stand::new(SEARCH);
    let before = stand.x.say("anna", "acme, before all", None);
    let cursor = stand.begun();
    let ids: Vec<String> = (0..25).map(|n| stand.x.say("anna", &format!("acme {n}"), None)).collect();

    let (changes, cursor) = stand.all(&cursor, 10);
    stand.poll(&cursor, 10);

    let mut found: Vec<String> = said(&changes).iter().map(|one| one.native.id.clone()).collect();
    found.sort();
    assert_eq!(found, ids, "each once, by its whole id");
    let since = asked(&stand, "GET /2/tweets/search/recent", "since_id");
    assert_eq!(since, [None, Some(before.clone()), Some(before.clone()), Some(before), ids.last().cloned()]);
    assert!(ids[0].parse::<u64>().unwrap() > 1 << 53);
}

#[test]
fn loss_while_offline_a_crash_between_pages_loses_nothing() {
    let stand = Stand::new(SEARCH);
    let begun = stand.begun();
    for n in 0..25 {
        stand.x.say("anna", &format!("acme {n:02}"), None);
    }
    let first = stand.poll(&begun, 10);
    assert!(first.more && first.changes.len() == 10);
    stand.x.say("bob", "acme between the pages", None);

    // The page was not stored: its cursor neither.
    let (again, cursor) = stand.all(&begun, 10);
    assert_eq!(texts(&again).len(), 26);
    // It was, and what came meanwhile comes with the next walk.
    let (rest, later) = stand.all(&first.cursor, 10);
    assert_eq!(texts(&rest).len(), 15);
    assert_eq!(texts(&stand.all(&later, 10).0), ["acme between the pages"]);
    assert!(stand.all(&cursor, 10).0.is_empty());
}

#[test]
fn an_id_out_of_reach_begins_again_and_the_gap_is_told() {
    let stand = Stand::new(SEARCH);
    let cursor = stand.begun();
    stand.x.say("anna", "acme, seen", None);
    let (_, cursor) = stand.all(&cursor, 100);
    stand.x.advance(DAY);
    stand.x.say("anna", "acme, never shown again", None);
    stand.x.advance(DAY * 8);
    stand.x.say("anna", "acme, back", None);

    let (changes, cursor) = stand.all(&cursor, 100);

    assert_eq!(texts(&changes), ["acme, back"]);
    let [gap] = notes(&changes, "gap")[..] else { panic!("{changes:?}") };
    assert!(gap.contains(r#""from":"2026-05-02T10:00:00Z""#) && gap.contains(r#""to":"2026-05-04T10:10:00Z""#), "{gap}");
    stand.x.say("anna", "acme, and on", None);
    assert_eq!(texts(&stand.all(&cursor, 100).0), ["acme, and on"]);
}

#[test]
fn more_mentions_than_x_shows_are_a_gap() {
    let stand = Stand::new("");
    let cursor = stand.begun();
    for n in 0..805 {
        stand.x.say("anna", &format!("@acme {n}"), None);
    }
    let (changes, cursor) = stand.all(&cursor, 256);
    assert_eq!((texts(&changes).len(), notes(&changes, "gap").len()), (800, 1));
    stand.x.say("anna", "@acme and on", None);
    assert_eq!(texts(&stand.all(&cursor, 256).0), ["@acme and on"]);
}

#[test]
fn silence_of_a_month_is_no_gap_and_an_empty_page_keeps_the_cursor() {
    let stand = Stand::new(SEARCH);
    stand.x.say("anna", "acme, before", None);
    let mut cursor = stand.begun();
    let empty = stand.poll(&cursor, 100);
    assert!(empty.changes.is_empty() && empty.cursor.contains(r#""since""#));
    for _ in 0..30 {
        stand.x.advance(DAY);
        let page = stand.poll(&cursor, 100);
        assert!(page.changes.is_empty() && !page.more, "{:?}", page.changes);
        cursor = page.cursor;
    }
    stand.x.say("anna", "acme, after", None);
    assert_eq!(texts(&stand.all(&cursor, 100).0), ["acme, after"]);
}

#[test]
fn history_comes_only_where_it_is_wanted() {
    let stand = Stand::new(r#""query":"acme","first_fetch":"import""#);
    for n in 0..12 {
        stand.x.say("anna", &format!("@acme {n}"), None);
    }
    let first = stand.poll("", 20);
    assert!(first.backfill && first.more && !first.changes.is_empty());
    let (_, cursor) = stand.all(&first.cursor, 20);
    stand.x.say("anna", "@acme news", None);
    let page = stand.poll(&cursor, 20);
    // By search and by mention: one thing under one name.
    assert!(!page.backfill && texts(&page.changes) == ["@acme news"; 2] && said(&page.changes)[0].native == said(&page.changes)[1].native);
}

#[test]
fn an_edit_is_a_revision_of_the_first_id() {
    let stand = Stand::new(SEARCH);
    let cursor = stand.begun();
    let first = stand.x.say("anna", "acme is down", None);
    let old_delivery = stand.x.account_activity("acme", &[&first]);
    let (before, cursor) = stand.all(&cursor, 100);
    stand.x.advance(Duration::from_secs(60));
    let second = stand.x.edit(&first, "acme is up");
    let (after, _) = stand.all(&cursor, 100);

    let ([before], [after]) = (&said(&before)[..], &said(&after)[..]) else { panic!("{before:?} {after:?}") };
    assert_eq!((&before.native, before.edited, before.occurred), (&post_id(&first), None, NOW_MS));
    assert_eq!((&after.native, after.aka.as_slice()), (&post_id(&first), &[post_id(&second)][..]));
    assert_eq!((after.text.as_str(), after.edited, after.occurred), ("acme is up", Some(NOW_MS + 60_000), NOW_MS));
    assert!(after.reply_context.as_ref().unwrap().contains(&second), "an answer goes to what stands there now");
    // The first version's webhook comes late and undoes nothing.
    assert!(X::receive(super::stand::told(old_delivery)).unwrap().is_empty());
}

#[test]
fn wrong_threading_replies_name_their_parent_and_root() {
    let stand = Stand::new("");
    let cursor = stand.begun();
    let root = stand.x.say("anna", "@acme is it open?", None);
    let middle = stand.x.say("acme", "@anna yes", Some(&root));
    let last = stand.x.say("anna", "@acme thanks &amp; ciao", Some(&middle));
    let (changes, _) = stand.all(&cursor, 100);
    let [first, second] = &said(&changes)[..] else { panic!("{changes:?}") };
    assert_eq!((first.kind.as_str(), first.parent.as_ref(), first.conversation.as_ref()), ("mention", None, Some(&post_id(&root))));
    assert_eq!(
        (second.kind.as_str(), second.parent.as_ref(), second.conversation.as_ref()),
        ("reply", Some(&post_id(&middle)), Some(&post_id(&root)))
    );
    assert_eq!((second.native.id.as_str(), second.text.as_str(), second.language.as_deref()), (last.as_str(), "@acme thanks &amp; ciao", Some("en")));
    let author = second.author.as_ref().unwrap();
    assert_eq!(
        (author.native.id.clone(), author.handle.as_deref(), author.url.as_deref()),
        (stand.x.account("anna"), Some("@anna"), Some("https://x.com/anna"))
    );
    assert!(author.metrics.contains(&("followers".to_owned(), 12.0)) && author.metrics.contains(&("posts".to_owned(), 90.0)));
    assert!(second.attrs.contains(&("x.author-verified".to_owned(), "false".to_owned())));
    assert_eq!(second.url.as_deref(), Some(format!("https://x.com/anna/status/{last}").as_str()));
}

#[test]
fn a_webhook_that_goes_silent_is_made_up_for_by_the_poll() {
    let stand = Stand::new("");
    let cursor = stand.begun();
    let (told, silent) = (stand.x.say("anna", "@acme one", None), stand.x.say("anna", "@acme two", None));
    let by_hook = X::receive(super::stand::told(stand.x.activity("post.mention.create", &told))).unwrap();
    let (polled, _) = stand.all(&cursor, 100);
    let ids: Vec<&str> = said(&polled).iter().map(|one| one.native.id.as_str()).collect();
    assert_eq!(ids, [told.as_str(), silent.as_str()]);
    // What both told differs in nothing that makes a revision.
    let (a, b) = (said(&by_hook)[0], said(&polled)[0]);
    assert_eq!(
        (&a.native, &a.text, &a.visibility, &a.edited, a.attachments.len()),
        (&b.native, &b.text, &b.visibility, &b.edited, b.attachments.len())
    );
}

#[test]
fn contacts_are_merged_by_their_number_and_not_by_a_name_that_changes() {
    let stand = Stand::new("");
    let frame = |name: &str, id: &str| {
        let user = format!(r#"{{"id":"77","username":"{name}","name":"Ann"}}"#);
        format!(r#"{{"data":{{"id":"{id}","text":"@acme hi","author_id":"77"}},"includes":{{"users":[{user}]}}}}"#)
    };
    let of = |body: String| X::receive(super::stand::told(body)).unwrap();
    let (before, after) = (of(frame("ann", "1")), of(frame("ann_the_second", "2")));
    let author = |changes: &[Change]| said(changes)[0].author.clone().unwrap();
    assert_eq!(author(&before).native, author(&after).native);
    assert_ne!(author(&before).handle, author(&after).handle);
    drop(stand);
}

#[test]
fn own_replies_come_back_as_new_nowhere() {
    let stand = Stand::new(SEARCH);
    let cursor = stand.begun();
    stand.x.say("acme", "acme says hello", None);
    let (changes, _) = stand.all(&cursor, 100);
    assert_eq!(said(&changes)[0].ours, Ours::Yes(None));
}

#[test]
fn long_posts_are_whole_and_an_attachment_failure_drops_no_message() {
    for names in ["post", "tweet"] {
        let stand = Stand::new(&format!(r#"{SEARCH},"field_names":"{names}""#));
        let cursor = stand.begun();
        let long = format!("acme <b> & {}", "è".repeat(900));
        let id = stand.x.say("anna", &long, None);
        stand.x.attach(&id, &["3_1"]);
        let (changes, _) = stand.all(&cursor, 100);
        let one = said(&changes)[0];
        assert_eq!(one.text, long, "{names}");
        assert_eq!((one.attachments[0].media_type.as_str(), one.attachments[0].url.as_deref()), ("image/jpeg", Some("https://pbs.example/3_1.jpg")));
        assert_eq!(one.attachments[0].name.as_deref(), Some("a picture"));
    }
}

#[test]
fn what_a_post_refers_to_may_be_missing_and_is_noted() {
    let stand = Stand::new("");
    let cursor = stand.begun();
    let (quoted, hidden) = (stand.x.say("acme", "our offer", None), stand.x.say("bob", "gone soon", None));
    stand.x.quote("anna", "look", &quoted);
    stand.x.say("anna", "@acme see above", Some(&hidden));
    stand.x.withhold(&hidden);
    let (changes, _) = stand.all(&cursor, 100);
    assert_eq!(texts(&changes), ["look", "@acme see above"]);
    assert_eq!((said(&changes)[0].quoted.as_deref(), said(&changes)[0].kind.as_str()), (Some("our offer"), "mention"));
    assert!(matches!(notes(&changes, "x.partial")[..], [note] if note.contains(&hidden)), "{changes:?}");
}

#[test]
fn every_script_and_sign_arrives_as_it_was_written() {
    let stand = Stand::new(r#""query":"(\"è vero\" OR @acme) -nothing lang:en","mentions":false"#);
    let cursor = stand.begun();
    let said_so = ["@acme è così & <b>", "@acme 你好 مرحبا שלום नमस्ते", "@acme 👨‍👩‍👧‍👦🏴‍☠️", "@acme a\u{0}b\u{202e}c", "@acme \"quoted\" \\ \n\t end"];
    for text in said_so {
        stand.x.say("anna", text, None);
    }
    stand.x.say("anna", "@acme nothing", None);
    assert_eq!(texts(&stand.all(&cursor, 100).0), said_so);
    assert!(stand.x.ledger().calls().iter().any(|line| line.contains("query=%28%22%C3%A8+vero%22+OR+%40acme%29+-nothing+lang%3Aen&")));
    for text in said_so {
        let frame = serde_json::json!({ "data": { "id": "1890000000000000002", "text": text.replace('&', "&amp;").replace('<', "&lt;") } });
        assert_eq!(texts(&X::receive(super::stand::told(frame.to_string())).unwrap()), [text]);
    }
}

#[test]
fn one_source_in_trouble_does_not_hold_the_other() {
    let stand = Stand::new(r#""query":"acme""#);
    let mut cursor = stand.begun();
    for n in 1..=5 {
        stand.x.next("GET /2/users/", Next::status(503));
        stand.x.say("anna", &format!("@acme {n}"), None);
        let page = stand.poll(&cursor, 100);
        assert_eq!((texts(&page.changes).len(), notes(&page.changes, "x.source-failing").len()), (1, usize::from(n == 5)), "{n}");
        cursor = page.cursor;
    }
    assert_eq!(texts(&stand.poll(&cursor, 100).changes).len(), 5, "nothing of it was lost");
    stand.x.next("GET /2/users/", Next::status(503));
    stand.x.next("GET /2/tweets/search", Next::status(500));
    assert!(matches!(X::poll(Some(cursor), 100, 0), Err(Fault::Transient(_))));
}

#[test]
fn rate_limits_hammered_a_window_says_what_is_left_and_when_it_ends() {
    let stand = Stand::new(SEARCH);
    stand.x.limit("GET /2/tweets/search/recent", 4);
    let cursor = stand.begun();
    stand.x.advance(Duration::from_secs(300));
    let page = stand.poll(&cursor, 100);
    // The account was asked for once; its own window is wider.
    assert!(page.allowance.is_some_and(|told| (told.left - 0.5).abs() < 1e-9 && told.resets_in_ms == 600_000), "{:?}", page.allowance);
    for _ in 0..2 {
        stand.poll(&cursor, 100);
    }
    let refused = X::poll(Some(cursor.clone()), 100, 0).unwrap_err();
    assert!(matches!(&refused, Fault::RateLimited((detail, 600_000)) if detail.code == "x.limit"), "{refused:?}");
    stand.x.advance(Duration::from_secs(600));
    stand.x.cap(true);
    stand.sync();
    assert!(matches!(X::poll(Some(cursor), 100, 0), Err(Fault::RateLimited((detail, 86_400_000))) if detail.code == "x.usage-capped"));
}

#[test]
fn token_expiry_stops_loudly_and_the_next_account_is_asked_for() {
    let stand = Stand::new(SEARCH);
    let cursor = stand.begun();
    stand.x.next("GET /2/tweets/search", Next::status(401));
    assert!(matches!(X::poll(Some(cursor.clone()), 100, 0), Err(Fault::Auth(_))));
    stand.poll(&cursor, 100);
    assert_eq!(stand.x.ledger().asked("GET /2/users/me").len(), 2);
}

#[test]
fn a_bad_query_is_the_admin_s_and_a_bad_token_of_a_page_is_ours() {
    let stand = Stand::new(r#""query":"((acme","mentions":false"#);
    assert!(matches!(X::poll(None, 100, 0), Err(Fault::Config(detail)) if detail.code == "x.query"));
    let walk = r#"{"search":{"since":"1","next":"stale","newest":"9"}}"#;
    assert!(
        matches!(X::poll(Some(r#"{"search":{"start":"2026-05-02T09:00:00Z"}}"#.to_owned()), 100, 0), Err(Fault::Config(detail)) if detail.code == "x.query")
    );
    assert!(matches!(X::poll(Some("7".to_owned()), 100, 0), Err(Fault::Permanent(detail)) if detail.code == "x.bad-cursor"));
    stand.host(SEARCH);
    stand.x.say("anna", "acme", None);
    let page = stand.poll(&walk.replace(r#""since":"1","#, ""), 100);
    assert!(page.more && page.changes.is_empty() && !page.cursor.contains("stale"));
    assert_eq!(texts(&stand.all(&page.cursor, 100).0), ["acme"]);
}

#[test]
fn strict_schema_unknown_fields_and_broken_answers_cost_nothing() {
    let stand = Stand::new(SEARCH);
    let cursor = stand.begun();
    stand.x.say("anna", "acme", None);
    for next in [Next::CutBody(20), Next::LoseAnswer, Next::Answer { status: 200, headers: Vec::new(), body: "<html>".to_owned() }] {
        stand.x.next("GET /2/tweets/search", next);
        assert!(matches!(X::poll(Some(cursor.clone()), 100, 0), Err(Fault::Transient(_))));
    }
    let odd = r#"{"data":[{"id":7,"text":"a number"},{"id":"99999999999999999999999","text":null},{"id":"12","text":"good","author_id":null,"entities":[]}],"meta":[]}"#;
    stand.x.next("GET /2/tweets/search", Next::Answer { status: 200, headers: Vec::new(), body: odd.to_owned() });
    let page = stand.poll(&cursor, 100);
    assert!(matches!(page.changes.as_slice(), [Change::Upsert(_), Change::Unreadable(_), Change::Unreadable(_)]), "{:?}", page.changes);
    stand.x.next("GET /2/tweets/search", Next::UnknownField);
    assert_eq!(texts(&stand.poll(&cursor, 100).changes), ["acme"]);
}

#[test]
fn deletions_are_learnt_by_asking_again_once_an_hour_where_that_is_wanted() {
    let stand = Stand::new(&format!(r#"{SEARCH},"look_again":true"#));
    let cursor = stand.begun();
    let (kept, gone) = (stand.x.say("anna", "acme stays", None), stand.x.say("anna", "acme goes", None));
    let (_, cursor) = stand.all(&cursor, 100);
    stand.x.delete(&gone);
    assert!(stand.poll(&cursor, 100).changes.is_empty(), "not yet");
    stand.x.advance(Duration::from_secs(3600));
    assert_eq!(stand.poll(&cursor, 100).changes, [Change::Gone(post_id(&gone))]);
    stand.x.advance(Duration::from_secs(3600));
    stand.x.next("GET /2/tweets?ids", Next::status(500));
    assert!(stand.poll(&cursor, 100).changes.is_empty(), "a favour that fails costs nothing");
    assert!(stand.poll(&cursor, 100).changes.is_empty());
    let asked = stand.x.ledger().asked("GET /2/tweets?ids=");
    assert_eq!(asked.last().unwrap().path, format!("/2/tweets?ids={kept}"), "what is gone is asked for no more");
}

#[test]
fn rules_of_the_stream_follow_the_configuration_and_others_stay() {
    let with = |rules: &str| format!(r#"{SEARCH},"stream":true,"rules":{rules}"#);
    let stand = Stand::new(&with(r#"["@acme","acme -is:retweet"]"#));
    stand.x.add_rule("theirs", "other");
    let own = |value: &str| (value.to_owned(), "membrana".to_owned());
    let theirs = ("theirs".to_owned(), "other".to_owned());
    let cursor = stand.begun();
    assert_eq!(stand.x.rules(), [theirs.clone(), own("@acme"), own("acme -is:retweet")]);
    stand.poll(&cursor, 100);
    assert_eq!(stand.x.ledger().asked("GET /2/tweets/search/stream/rules").len(), 1, "what is in step is not asked at each poll");
    testing::with_host(|host| host.config = stand.config(&with(r#"["@acme","from:anna"]"#)));
    stand.poll(&cursor, 100);
    assert_eq!(stand.x.rules(), [theirs, own("@acme"), own("from:anna")]);
    testing::with_host(|host| host.config = stand.config(&with(r#"["((wrong"]"#)));
    assert!(matches!(X::poll(Some(cursor), 100, 0), Err(Fault::Config(detail)) if detail.code == "x.rules"));
}
