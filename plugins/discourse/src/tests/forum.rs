//! The stand-in, over real HTTP on loopback.

use std::net::SocketAddr;

use membrana_sdk::connector::{Change, Interaction, Message, Origin, Page, Raw, RequestHead, Sent};
use membrana_sdk::http::{HttpError, Request, Response};
use membrana_sdk::{Connector as _, Fault, testing};
use membrana_world::{Discourse as Forum, DiscourseHook, Next};
use tokio::runtime::Runtime;

use super::{reply, said};
use crate::Discourse;

/// The forum, and the world that it runs in.
struct World {
    forum: Forum,
    _world: Runtime,
}

impl World {
    fn new(config: &str) -> Self {
        let world = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let forum = world.block_on(Forum::start("k", "support")).unwrap();
        let (handle, address) = (world.handle().clone(), forum.address());
        testing::Host::with_config(format!(r#"{{"base_url":"{}","username":"support"{config}}}"#, forum.url()))
            .on_http(move |request| handle.block_on(carried(address, request)))
            .install();
        testing::with_host(|host| host.now = now());
        Self { forum, _world: world }
    }

    /// Polls until there is no more; all that came.
    fn drain(&self, cursor: &mut Option<String>) -> Vec<Change> {
        let mut all = Vec::new();
        for _ in 0..20 {
            let Page { changes, cursor: next, more, .. } = Discourse::poll(cursor.clone(), 100, 1 << 20).unwrap();
            all.extend(changes);
            *cursor = Some(next);
            if !more {
                return all;
            }
        }
        panic!("there is no end: {cursor:?}")
    }
}

fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap()
}

/// As the host would: with the credential, and with the headers of the answer that the connector reads.
async fn carried(address: SocketAddr, request: &Request) -> Result<Response, HttpError> {
    let path = request.url.splitn(4, '/').nth(3).unwrap_or_default();
    let mut headers: Vec<(&str, &str)> = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    if request.auth.as_deref() == Some("api_key") {
        headers.push(("api-key", "k"));
    }
    let answer = membrana_world::call(address, &request.method, &format!("/{path}"), &headers, &request.body).await;
    answer.map(|answer| Response { status: answer.status, headers: Vec::new(), body: answer.body.into_bytes() }).map_err(HttpError::Protocol)
}

fn context(changes: &[Change], text: &str) -> String {
    said(changes).into_iter().find(|one| one.text == text).unwrap().reply_context.clone().unwrap()
}

#[test]
fn an_interrupted_fetch_repeats_and_never_leaves_a_hole() {
    let world = World::new("");
    let forum = &world.forum;
    forum.number_from(9_007_199_254_740_993);
    let topic = forum.open("anna", "Bolletta doppia", "Ho pagato due volte.");
    let mut cursor = None;
    assert!(world.drain(&mut cursor).is_empty(), "from now on");
    for n in 0..330 {
        forum.answer("bob", topic.id, Some(1), &format!("Anche io {n}"));
    }
    // The walk is cut in its middle, while others write.
    let first = Discourse::poll(cursor.clone(), 100, 1 << 20).unwrap();
    assert!(first.more);
    cursor = Some(first.cursor.clone());
    forum.answer("carla", topic.id, None, "E io");
    forum.next("GET /posts.json", Next::CutBody(100));
    assert!(matches!(Discourse::poll(cursor.clone(), 100, 1 << 20), Err(Fault::Transient(_))));
    let mut changes = first.changes;
    changes.extend(world.drain(&mut cursor));
    changes.extend(world.drain(&mut cursor));
    let mut ids: Vec<String> = said(&changes).iter().map(|one| one.native.id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 331);
    assert!(ids.contains(&"post/9007199254740995".to_owned()), "{:?}", ids.first());
    assert!(world.drain(&mut cursor).is_empty(), "nothing is told twice");
}

#[test]
fn a_first_import_is_bounded_and_marked() {
    let world = World::new(r#","first_fetch":"import","import_days":30"#);
    let topic = world.forum.open("anna", "Vecchia", "Di un altro anno.");
    testing::with_host(|host| host.now += 40 * 86_400_000);
    world.forum.advance(40 * 86_400);
    for n in 0..120 {
        world.forum.answer("bob", topic.id, None, &format!("Nuova {n}"));
    }
    let (mut cursor, mut n_told) = (None, 0);
    loop {
        let page = Discourse::poll(cursor, 100, 1 << 20).unwrap();
        (n_told, cursor) = (n_told + page.changes.len(), Some(page.cursor));
        assert!(page.backfill);
        if !page.more {
            break;
        }
    }
    assert_eq!(n_told, 120, "what is older stays where it is");
    world.forum.answer("bob", topic.id, None, "Adesso");
    let page = Discourse::poll(cursor, 100, 1 << 20).unwrap();
    assert_eq!((said(&page.changes).len(), page.backfill), (1, false));
}

#[test]
fn edits_and_deletions_are_found_by_looking_again() {
    let world = World::new("");
    let mut cursor = None;
    world.drain(&mut cursor);
    let topic = world.forum.open("anna", "Bolletta doppia", "Ho pagato due volte.");
    let other = world.forum.answer("bob", topic.id, Some(1), "Anche io");
    assert_eq!(said(&world.drain(&mut cursor)).len(), 2);
    world.forum.advance(60);
    world.forum.edit(topic.post, "Ho pagato TRE volte.");
    world.forum.delete(other);
    let changes = world.drain(&mut cursor);
    let edited = said(&changes)[0];
    assert_eq!(
        (edited.text.as_str(), edited.subject.as_deref(), edited.visibility.as_str()),
        ("Ho pagato TRE volte.", Some("Bolletta doppia"), "public")
    );
    assert!(edited.edited > Some(edited.occurred));
    assert!(matches!(changes.as_slice(), [Change::Upsert(_), Change::Gone(id)] if id.id == format!("post/{other}")), "{changes:?}");
    assert!(world.drain(&mut cursor).is_empty());
    // Far below the newest page, only by a look at the post itself.
    for n in 0..60 {
        world.forum.answer("bob", topic.id, Some(1), &format!("Altro {n}"));
    }
    world.drain(&mut cursor);
    world.forum.advance(60);
    world.forum.edit(topic.post, "Risolto, grazie.");
    let found = (0..60).find_map(|_| {
        testing::with_host(|host| host.now += 1_000);
        world.drain(&mut cursor).into_iter().find_map(|change| if let Change::Upsert(about) = change { Some(about) } else { None })
    });
    let found = found.unwrap();
    assert_eq!((found.text.as_str(), found.subject.as_deref(), found.visibility.as_str()), ("Risolto, grazie.", Some("Bolletta doppia"), "public"));
}

#[test]
fn a_reply_whose_answer_was_lost_is_found_and_never_posted_twice() {
    let world = World::new("");
    let mut cursor = None;
    world.drain(&mut cursor);
    let topic = world.forum.open("anna", "Bolletta doppia", "Ho pagato due volte.");
    world.forum.answer("bob", topic.id, Some(1), "Anche io");
    let context = context(&world.drain(&mut cursor), "Anche io");
    let message: Message = reply(&context, "Ciao, ci *dispiace*.", now());
    // Also where it is shown twice, it is not there.
    world.forum.next(&format!("GET /t/{}/posts.json", topic.id), Next::Twice);
    assert_eq!(Discourse::probe("k", &message).unwrap().0, Sent::No);
    world.forum.next("POST /posts.json", Next::LoseAnswer);
    assert!(matches!(Discourse::send("k", &message), Err(Fault::Transient(detail)) if detail.code == "outcome-unknown"));
    // A key that is refused for a while is refused in the words of a topic that nobody may see, and settles nothing.
    for at in ["GET /t/", "GET /posts.json"] {
        let body = r#"{"errors":["You are not permitted to view the requested resource."],"error_type":"invalid_access"}"#.to_owned();
        world.forum.next(at, Next::Answer { status: 403, headers: Vec::new(), body });
    }
    assert!(matches!(Discourse::probe("k", &message), Err(Fault::Auth(_))));
    let (sent, receipt) = Discourse::probe("k", &message).unwrap();
    assert_eq!(sent, Sent::Yes);
    // The guard of the forum: a second try gives the first one's receipt.
    assert_eq!(Discourse::send("k", &message).unwrap(), receipt.clone().unwrap());
    let own = world.forum.own();
    assert_eq!((own.len(), own[0].reply_to, own[0].topic), (1, Some(2), topic.id));
    assert_eq!(receipt.unwrap().native.id, format!("post/{}", own[0].id));
    // The same canned words elsewhere are refused for a while, not for good.
    let elsewhere = world.forum.open("carla", "Altro", "Anche qui!");
    let other = reply(&format!(r#"{{"topic":{},"number":1}}"#, elsewhere.id), "Ciao, ci *dispiace*.", now());
    assert!(matches!(Discourse::send("k2", &other), Err(Fault::Transient(detail)) if detail.code == "discourse.too-similar"));
    world.forum.advance(301);
    assert!(Discourse::send("k2", &other).is_ok());
    assert_eq!(world.forum.own().len(), 2);
}

#[test]
fn own_replies_come_back_as_our_own() {
    let world = World::new("");
    let mut cursor = None;
    world.drain(&mut cursor);
    let topic = world.forum.open("anna", "Bolletta doppia", "Ho pagato due volte.");
    let context = context(&world.drain(&mut cursor), "Ho pagato due volte.");
    let receipt = Discourse::send("k", &reply(&context, "Ciao Anna, ci stiamo lavorando.", now())).unwrap();
    let echo = world.drain(&mut cursor);
    let echo = said(&echo)[0];
    assert_eq!((echo.native.clone(), echo.ours.clone()), (receipt.native, membrana_sdk::connector::Ours::Yes(None)));
    assert!(echo.parent.as_ref().is_some_and(|parent| parent.id == format!("topic/{}/1", topic.id)));
}

#[test]
fn what_is_hidden_is_told_when_it_is_shown_and_never_by_the_forum_s_notice() {
    // given
    let world = World::new("");
    let mut cursor = None;
    world.drain(&mut cursor);
    let topic = world.forum.open("anna", "Bolletta doppia", "Ho pagato due volte.");
    world.drain(&mut cursor);
    world.forum.advance(60);

    // when
    world.forum.hide(topic.post);
    let new = world.forum.answer("bob", topic.id, Some(1), "Ladri!");
    world.forum.hide(new);
    let hidden = world.drain(&mut cursor);
    let by_hook = Discourse::receive(raw(&world.forum.webhook("post_edited", topic.post, "s"))).unwrap();
    world.forum.advance(60);
    world.forum.unhide(new);
    world.forum.unhide(topic.post);
    let shown = world.drain(&mut cursor);

    // then
    assert!(hidden.is_empty(), "{hidden:?}");
    assert_eq!(said(&by_hook)[0].text, "Ho pagato due volte.", "the forum's own sight of it");
    let texts: Vec<&str> = said(&shown).iter().map(|one| one.text.as_str()).collect();
    assert_eq!(texts, ["Ladri!", "Ho pagato due volte."]);
    assert!(world.drain(&mut cursor).is_empty());
    let bare = serde_json::json!({ "post": super::post(9, 2, &serde_json::json!({ "raw": null, "hidden": true })) });
    let bare = DiscourseHook { body: bare.to_string(), ..world.forum.webhook("post_edited", new, "s") };
    assert!(Discourse::receive(raw(&bare)).unwrap().is_empty());
}

#[test]
fn a_deleted_topic_takes_its_answers_with_it() {
    // given
    let world = World::new("");
    let mut cursor = None;
    world.drain(&mut cursor);
    let (topic, other) = (world.forum.open("anna", "Bolletta doppia", "Ho pagato due volte."), world.forum.open("carla", "Altro", "Di altro."));
    let answers: Vec<u64> = (0..3).map(|n| world.forum.answer("bob", topic.id, Some(1), &format!("Anche io {n}"))).collect();
    let moved = world.forum.answer("bob", topic.id, Some(1), "E la fibra?");
    world.drain(&mut cursor);

    // when
    world.forum.move_posts(&[moved], other.id);
    world.forum.delete_topic(topic.id);
    let changes: Vec<Change> = (0..3).flat_map(|_| world.drain(&mut cursor)).collect();

    // then
    let mut gone: Vec<&str> =
        changes.iter().map(|change| if let Change::Gone(id) = change { id.id.as_str() } else { panic!("{change:?}") }).collect();
    gone.sort_unstable();
    assert_eq!(gone, [vec![topic.post], answers].concat().iter().map(|id| format!("post/{id}")).collect::<Vec<_>>());
}

#[test]
fn an_answer_by_webhook_names_what_came_by_webhook() {
    let world = World::new("");
    world.drain(&mut None);
    let topic = world.forum.open("anna", "Bolletta", "Ho pagato due volte.");
    let complaint = world.forum.answer("bob", topic.id, Some(1), "Anche io");
    let own = world.forum.answer("support", topic.id, Some(2), "Eccoci.");

    let [_, told] = [complaint, own].map(|id| Discourse::receive(raw(&world.forum.webhook("post_created", id, "s"))).unwrap());

    assert_eq!(said(&told)[0].parent.clone().unwrap().id, format!("post/{complaint}"), "no poll came in between");
}

#[test]
fn a_number_that_was_freed_names_no_other_post() {
    // given
    let world = World::new("");
    let mut cursor = None;
    world.drain(&mut cursor);
    let topic = world.forum.open("anna", "Bolletta doppia", "Ho pagato due volte.");
    let answers: Vec<u64> = ["Anche io", "Da marzo", "Pure qui"].map(|text| world.forum.answer("bob", topic.id, Some(1), text)).to_vec();
    world.drain(&mut cursor);
    let below = world.forum.answer("support", topic.id, Some(4), "Ci guardiamo.");
    let own = said(&world.drain(&mut cursor))[0].clone();

    // when
    let other = world.forum.open("carla", "Altro", "Di altro.");
    world.forum.move_posts(&[answers[1], answers[2], below], other.id);
    let complaint = world.forum.answer("bob", topic.id, None, "Nessuno risponde!");
    let reply = world.forum.answer("support", topic.id, Some(3), "Eccoci.");
    let changes = world.drain(&mut cursor);
    let by_hook = Discourse::receive(raw(&world.forum.webhook("post_created", reply, "s"))).unwrap();

    // then
    let find = |id: u64| said(&changes).into_iter().find(|one| one.native.id == format!("post/{id}")).unwrap().clone();
    let parent = |one: &Interaction| one.parent.clone().unwrap().id;
    assert_eq!(world.forum.own().last().map(|post| (post.number, post.reply_to)), Some((4, Some(3))));
    assert_eq!((find(complaint).aka, parent(&find(complaint))), (Vec::new(), format!("topic/{}/1", topic.id)));
    assert_eq!(parent(&own), format!("post/{}", answers[2]), "who is answered is known by its own id");
    assert_eq!(parent(&find(reply)), format!("post/{complaint}"));
    assert_eq!(parent(said(&by_hook)[0]), format!("post/{complaint}"), "by webhook, too");
}

#[test]
fn a_reply_is_shown_as_it_is_written_and_calls_nobody() {
    let world = World::new("");
    let mut cursor = None;
    world.drain(&mut cursor);
    world.forum.open("anna", "Bolletta doppia", "Ho pagato due volte.");
    let context = context(&world.drain(&mut cursor), "Ho pagato due volte.");
    let text = "Scrivi <codice cliente> nell'oggetto, [Gratis](https://evil.example/a_b).\n> @staff\n1. *mai*";
    let message = reply(&context, text, now());
    let receipt = Discourse::send("k", &message).unwrap();
    let written = "Scrivi \\<codice cliente> nell'oggetto, \\[Gratis\\](https://evil.example/a_b).\n\\> @\u{2060}staff\n1\\. \\*mai\\*";
    assert_eq!(world.forum.own()[0].raw, written);
    let (sent, found) = Discourse::probe("k", &message).unwrap();
    assert_eq!((sent, found.unwrap().native), (Sent::Yes, receipt.native), "and is found again");
    let echo = world.drain(&mut cursor);
    assert_eq!((said(&echo)[0].text.as_str(), said(&echo)[0].quoted.as_deref()), (text, None), "and comes back as it was");
}

fn raw(hook: &DiscourseHook) -> Raw {
    let head = RequestHead { method: "POST".to_owned(), path_with_query: String::new(), headers: hook.headers.clone() };
    Raw { origin: Origin::Webhook(head), body: hook.body.clone().into_bytes(), received: now() }
}

#[test]
fn webhooks_race_into_no_duplicates() {
    let world = World::new("");
    let mut cursor = None;
    world.drain(&mut cursor);
    let topic = world.forum.open("anna", "Bolletta doppia", "Ho pagato due volte.");
    let answer = world.forum.answer("bob", topic.id, Some(1), "Anche io");
    let by_hook = Discourse::receive(raw(&world.forum.webhook("post_created", answer, "s"))).unwrap();
    let by_poll = world.drain(&mut cursor);
    let (hooked, polled) = (said(&by_hook)[0], said(&by_poll).into_iter().find(|one| one.text == "Anche io").unwrap());
    assert_eq!(hooked, polled, "one thing in two dresses is one");
    let secret = world.forum.whisper("support", topic.id, "attenzione, cliente difficile");
    let whispered = Discourse::receive(raw(&world.forum.webhook("post_created", secret, "s"))).unwrap();
    assert_eq!((said(&whispered)[0].visibility.as_str(), said(&whispered)[0].side.as_deref()), ("direct", Some("inside")));
    assert!(world.drain(&mut cursor).is_empty(), "a poll shows none");
    let closed = world.forum.small_action("support", topic.id);
    assert!(Discourse::receive(raw(&world.forum.webhook("post_created", closed, "s"))).unwrap().is_empty());
    world.forum.delete(answer);
    let gone = Discourse::receive(raw(&world.forum.webhook("post_destroyed", answer, "s"))).unwrap();
    assert!(matches!(gone.as_slice(), [Change::Gone(id)] if *id == hooked.native));
}

#[test]
fn a_token_that_expired_and_a_limit_are_told_and_got_over() {
    let world = World::new("");
    let mut cursor = None;
    world.drain(&mut cursor);
    let topic = world.forum.open("anna", "Bolletta doppia", "Ho pagato due volte.");
    world.forum.next("GET /posts.json", Next::status(401));
    assert!(matches!(Discourse::poll(cursor.clone(), 100, 1 << 20), Err(Fault::Auth(_))));
    world.forum.limit(2);
    let wait = loop {
        match Discourse::poll(cursor.clone(), 100, 1 << 20) {
            Err(Fault::RateLimited((_, wait))) => break wait,
            Ok(page) => cursor = Some(page.cursor),
            Err(other) => panic!("{other:?}"),
        }
    };
    assert!((1_000..=60_000).contains(&wait), "{wait}");
    world.forum.answer("bob", topic.id, None, "Anche io");
    world.forum.advance(wait / 1_000);
    assert_eq!(said(&world.drain(&mut cursor)).len(), 2);
}

#[test]
fn fields_of_next_year_doubles_and_turned_pages_change_nothing() {
    let world = World::new("");
    let mut cursor = None;
    world.drain(&mut cursor);
    let topic = world.forum.open("anna", "Bolletta doppia", "Ho pagato due volte.");
    world.forum.answer("bob", topic.id, Some(1), "😀 שלום Привет 你好\u{0}");
    world.forum.withhold_raw();
    world.forum.next("GET /posts.json", Next::UnknownField);
    let changes = world.drain(&mut cursor);
    assert_eq!(said(&changes).iter().map(|one| one.text.as_str()).collect::<Vec<_>>(), ["Ho pagato due volte.", "😀 שלום Привет 你好"]);
}

#[test]
fn a_webhook_that_goes_silent_is_made_up_for_by_the_poll() {
    let world = World::new("");
    let mut cursor = None;
    world.drain(&mut cursor);
    let topic = world.forum.open("anna", "Bolletta doppia", "Ho pagato due volte.");
    let told = Discourse::receive(raw(&world.forum.webhook("post_created", topic.post, "s"))).unwrap();
    // The forum gave the webhook up; nobody tells of these.
    let missed: Vec<u64> = (0..3).map(|n| world.forum.answer("bob", topic.id, Some(1), &format!("Anche io {n}"))).collect();
    let found = world.drain(&mut cursor);
    let ids: Vec<String> = said(&found).iter().map(|one| one.native.id.clone()).collect();
    assert_eq!(ids, [vec![topic.post], missed].concat().iter().map(|id| format!("post/{id}")).collect::<Vec<_>>());
    assert_eq!(said(&told)[0], said(&found)[0], "what was told is a repeat to the host");
}
