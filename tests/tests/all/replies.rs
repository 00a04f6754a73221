//! Replies on a public network: out once, to whom and where they belong, and never what the world has moved on from.

use membrana_world::{Mastodon, Next};
use serde_json::Value as Json;

use crate::harness::{Host, eventually, text};

pub(crate) const TOKEN: &str = "token-of-the-company";
pub(crate) const ANNA: &str = "anna@people.example";

/// Every mention in a known language is answered so; `reply` is the table's `mode` and what goes with it.
fn table(reply: &str) -> String {
    format!(
        "[[row]]\nname = \"mention\"\nwhen = {{ kind = [\"mention\"], language = [\"it\", \"en\"] }}\nresponsible = \"support\"\nwithin = \"2h\"\nreply = {{ {reply}, text = {{ it = \"Ciao {{author}}, ci stiamo lavorando.\", en = \"Hi {{author}}, we are on it.\" }} }}\n[[row]]\nname = \"everything else\"\n"
    )
}

/// A host that is connected and has seen all that was there before.
async fn host(masto: &Mastodon, reply: &str, section: &str) -> Host {
    host_by(masto, &table(reply), section).await
}

/// As [`host`], with this table.
pub(crate) async fn host_by(masto: &Mastodon, table: &str, section: &str) -> Host {
    let config = format!(
        "[[channel]]\nname = \"acme-masto\"\nplugin = \"mastodon\"\npoll = \"1s\"\nconfig = {{ base_url = \"{url}\"{section} }}\nsecrets = {{ token = {{ file = \"token\" }} }}\ngrant = {{ http = [\"{url}\"] }}\n[[analyzer]]\nname = \"language\"\nplugin = \"language\"\n[[rule]]\nname = \"impact\"\nplugin = \"impact-table\"\nconfig = {{ table_file = \"impact.toml\" }}\n[[team]]\nname = \"support\"\n[[team]]\nname = \"legal\"\n",
        url = masto.url()
    );
    let mut host = Host::new(&config, table);
    host.write("token", TOKEN);
    host.start().await;
    let is_connected = async || host.list(&["channel", "list"]).iter().any(|channel| text(channel, "/state") == "connected");
    assert!(eventually(is_connected).await, "{}", host.log());
    host
}

const DRAFT: &str = "mode = \"draft\", review = [\"legal\"]";
const SEND: &str = "mode = \"send\"";
const ACTIONS: [&str; 2] = ["outbox", "list"];

fn is(state: &str) -> impl Fn(&[Json]) -> bool {
    move |actions| matches!(actions, [action] if text(action, "/state") == state)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mention_is_drafted_approved_and_answered_once_where_it_stands() {
    let masto = Mastodon::start(TOKEN).await.unwrap();
    let mut host = host(&masto, DRAFT, "").await;
    let post = masto.say(ANNA, "@acme Ho pagato due volte la bolletta e nessuno mi risponde.", "unlisted", None);
    let drafts = host.until(&ACTIONS, is("awaiting-approval")).await;
    let id = text(&drafts[0], "/id").to_owned();
    assert!(masto.own().is_empty(), "a draft waits");
    assert!(!host.cli(&["outbox", "approve", &id, "--as", "support"]).status.success(), "only the reviewing team may approve");
    assert!(!host.cli(&["outbox", "reject", &id, "--as", "support"]).status.success(), "nor reject");

    assert!(host.cli(&["outbox", "approve", &id, "--as", "legal"]).status.success());
    let sent = host.until(&ACTIONS, is("sent")).await;
    let own = masto.own();
    assert_eq!(own.len(), 1);
    assert_eq!(own[0].text, format!("@{ANNA} Ciao Anna, ci stiamo lavorando."));
    assert_eq!((own[0].in_reply_to.as_deref(), own[0].visibility.as_str()), (Some(post.as_str()), "unlisted"), "not wider than what it answers");
    let posts = masto.ledger().asked("POST /api/v1/statuses");
    assert_eq!(posts.iter().map(|asked| asked.header("idempotency-key")).collect::<Vec<_>>(), [Some(id.as_str())]);
    assert!(text(&sent[0], "/native_id").ends_with(&format!("/{}", own[0].id)), "{sent:?}");

    // The network tells us of our own word, and of another's: only the other's is news.
    masto.notify(&own[0].id);
    masto.say("bob@people.example", "@acme Is there an English page about the new invoices as well?", "public", None);
    let all = host.until(&["interaction", "list", "--own"], |all| all.len() >= 2).await;
    assert_eq!(all.iter().map(|one| text(one, "/author/name")).collect::<Vec<_>>(), ["Bob", "Anna"]);
    // The rules come after what is listed.
    host.until(&["task", "list"], |tasks| tasks.len() == 2).await;
    assert!(host.list(&["dead", "list"]).is_empty());
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_leaves_one_post_and_never_two() {
    let masto = Mastodon::start(TOKEN).await.unwrap();
    let host = host(&masto, SEND, "").await;
    masto.next("POST /api/v1/statuses", Next::LoseAnswer);
    let post = masto.say(ANNA, "@acme Ho pagato due volte la bolletta e nessuno mi risponde.", "public", None);
    let sent = host.until(&ACTIONS, is("sent")).await;

    let tries = masto.ledger().asked("POST /api/v1/statuses");
    let keys: Vec<Option<&str>> = tries.iter().map(|asked| asked.header("idempotency-key")).collect();
    assert_eq!(keys, [Some(text(&sent[0], "/id")); 2], "the same key again");
    assert_eq!(masto.answers(&post).len(), 1);
    let told = host.cli(&["interaction", "explain", text(&sent[0], "/interaction"), "--json"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("unknown") && !told.contains("failed"), "its outcome was unknown, never failed: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_the_network_did_not_take_is_changed_and_goes_out() {
    let masto = Mastodon::start(TOKEN).await.unwrap();
    let host = host(&masto, DRAFT, "").await;
    let post = masto.say(ANNA, "@acme Ho pagato due volte la bolletta e nessuno mi risponde.", "public", None);
    let drafts = host.until(&ACTIONS, is("awaiting-approval")).await;
    let id = text(&drafts[0], "/id").to_owned();

    // given one of which the instance alone knows that it is too long
    assert!(host.cli(&["outbox", "approve", &id, "--as", "legal", "--text", &"Ciao. ".repeat(400)]).status.success());
    host.until(&ACTIONS, is("dead")).await;
    assert!(masto.own().is_empty());

    // when somebody changes it
    let changed = ["outbox", "retry", &id, "--text", "Ciao, ti rimborsiamo oggi."];
    assert!(!host.cli(&changed).status.success(), "another text is the reviewing team's");
    assert!(host.cli(&[&changed[..], &["--as", "legal"]].concat()).status.success());

    // then it goes out
    host.until(&ACTIONS, is("sent")).await;
    assert_eq!(masto.answers(&post).len(), 1);
    assert!(host.list(&["dead", "list"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_tried_yet_is_taken_back_and_what_cannot_go_out_is_not_approved() {
    let masto = Mastodon::start(TOKEN).await.unwrap();
    let mut host = host(&masto, DRAFT, "").await;
    masto.say(ANNA, "@acme Ho pagato due volte la bolletta e nessuno mi risponde.", "unlisted", None);
    let id = text(&host.until(&ACTIONS, is("awaiting-approval")).await[0], "/id").to_owned();
    let order = |words: &[&str]| host.cli(words).status.success();

    // An approval while the channel is held can be taken back.
    assert!(order(&["channel", "pause", "acme-masto"]) && order(&["outbox", "approve", &id, "--as", "legal"]));
    host.until(&ACTIONS, is("pending")).await;
    assert!(!order(&["outbox", "reject", &id, "--as", "support"]), "it is still the reviewing team's");
    assert!(order(&["outbox", "reject", &id, "--as", "legal"]) && order(&["channel", "resume", "acme-masto"]));

    // Of a channel that is removed nothing is approved, and it neither rests nor goes on.
    masto.say("bob@people.example", "@acme Vorrei il rimborso della bolletta, subito.", "unlisted", None);
    let waits = |actions: &[Json]| actions.len() == 2 && text(&actions[0], "/state") == "awaiting-approval";
    let drafts = host.until(&["outbox", "list", "--limit", "2"], waits).await;
    assert_eq!(text(&drafts[1], "/state"), "rejected", "what waits comes first");
    let config = host.read("membrana.toml");
    let (before, rest) = config.split_once("[[channel]]").unwrap();
    let (_, after) = rest.split_once("[[analyzer]]").unwrap();
    host.write("membrana.toml", format!("{before}[[analyzer]]{after}"));
    host.signal("HUP");
    let is_removed = async || host.list(&["channel", "list"]).iter().all(|channel| text(channel, "/state") == "removed");
    assert!(eventually(is_removed).await, "{}", host.log());
    for words in [&["outbox", "approve", text(&drafts[0], "/id"), "--as", "legal"][..], &["channel", "resume", "acme-masto"]] {
        let refused = host.cli(words);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && said.contains("`acme-masto` is not enabled"), "{words:?}: {said}");
    }
    assert!(masto.own().is_empty());
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_names_its_team_and_its_reason() {
    let masto = Mastodon::start(TOKEN).await.unwrap();
    let host = host(&masto, DRAFT, "").await;
    masto.say(ANNA, "@acme Ho pagato due volte la bolletta e nessuno mi risponde.", "public", None);
    let drafts = host.until(&ACTIONS, is("awaiting-approval")).await;
    let id = text(&drafts[0], "/id").to_owned();

    assert!(host.cli(&["outbox", "reject", &id, "--as", "legal", "--reason", "wrong tone"]).status.success());

    let rejected = host.until(&ACTIONS, is("rejected")).await;
    assert_eq!(text(&rejected[0], "/error"), "rejected by legal: wrong tone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_or_strange_answer_of_the_network_loses_and_doubles_nothing() {
    let masto = Mastodon::start(TOKEN).await.unwrap();
    let host = host(&masto, DRAFT, "").await;
    let at = "GET /api/v1/notifications";
    masto.next(at, Next::CutBody(20));
    masto.next(at, Next::status(502));
    masto.next(at, Next::UnknownField);
    masto.next(at, Next::Twice);
    masto.next(at, Next::Reordered);
    for n in 0..3 {
        masto.say(ANNA, &format!("@acme Dove si trova il mio pacco numero {n}? Non è mai arrivato."), "public", None);
    }
    host.until(&["interaction", "list"], |all| all.len() == 3).await;
    let is_played = async || masto.ledger().asked(at).len() > 8;
    assert!(eventually(is_played).await, "{}", host.log());
    assert_eq!((host.list(&["interaction", "list"]).len(), host.list(&ACTIONS).len()), (3, 3));
    assert!(host.list(&["dead", "list"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_three_automatic_replies_in_an_hour_a_person_looks_first() {
    let masto = Mastodon::start(TOKEN).await.unwrap();
    let host = host(&masto, SEND, "").await;
    let first = masto.say(ANNA, "@acme Dove si trova il mio pacco? Non è mai arrivato.", "public", None);
    for n_sent in 1..=3 {
        host.until(&ACTIONS, |actions| actions.iter().filter(|action| text(action, "/state") == "sent").count() == n_sent).await;
        masto.say(ANNA, &format!("@acme E allora? Aspetto ancora una risposta vera, per la volta numero {n_sent}."), "public", Some(&first));
    }
    let is_held = |actions: &[Json]| actions.len() == 4 && actions.iter().any(|action| text(action, "/state") == "awaiting-approval");
    host.until(&ACTIONS, is_held).await;
    assert_eq!(masto.own().len(), 3);
    let all = host.list(&["interaction", "list"]);
    assert!(all[0].to_string().contains("3 automatic replies in the last hour"), "{}", all[0]);

    // Somebody else is another exchange.
    masto.say("bob@people.example", "@acme Dove si trova il mio ordine? Non è mai arrivato.", "public", Some(&first));
    host.until(&ACTIONS, |actions| actions.iter().filter(|action| text(action, "/state") == "sent").count() == 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_automatic_answers_a_machine() {
    let masto = Mastodon::start(TOKEN).await.unwrap();
    masto.is_bot("robot@people.example");
    let host = host(&masto, SEND, "").await;
    masto.say("robot@people.example", "@acme Questo è un messaggio automatico del servizio meteo.", "public", None);
    let tasks = host.until(&["task", "list"], |tasks| tasks.len() == 1).await;
    assert_eq!(text(&tasks[0], "/team"), "support", "a person may still look");
    let all = host.list(&["interaction", "list"]);
    assert!(all[0].to_string().contains("a machine wrote it (bot)"), "{}", all[0]);
    assert!(host.list(&ACTIONS).is_empty() && masto.own().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_renews_the_draft_and_a_deletion_takes_draft_and_task_back() {
    let masto = Mastodon::start(TOKEN).await.unwrap();
    let host = host(&masto, DRAFT, "").await;
    let post = masto.say(ANNA, "@acme Ho pagato due volte la bolletta e nessuno mi risponde.", "public", None);
    let drafts = host.until(&ACTIONS, is("awaiting-approval")).await;
    assert!(text(&drafts[0], "/text").starts_with("Ciao"), "{drafts:?}");

    masto.edit(&post, "@acme I have paid the invoice twice and nobody gives me an answer.");
    let drafts = host.until(&ACTIONS, |actions| text(&actions[0], "/text").starts_with("Hi")).await;
    assert_eq!((drafts.len(), text(&drafts[0], "/state")), (1, "awaiting-approval"), "replaced in place");

    masto.delete(&post);
    host.until(&ACTIONS, is("withdrawn")).await;
    let tasks = host.until(&["task", "list"], |tasks| text(&tasks[0], "/state") == "withdrawn").await;
    assert_eq!(tasks.len(), 1);
    assert!(!host.cli(&["outbox", "approve", text(&drafts[0], "/id"), "--as", "legal"]).status.success());
    assert!(masto.own().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_imported_is_history_and_nobody_acts_on_it() {
    let masto = Mastodon::start(TOKEN).await.unwrap();
    masto.say(ANNA, "@acme Ho pagato due volte la bolletta e nessuno mi risponde.", "public", None);
    let host = host(&masto, SEND, ", first_fetch = \"import\"").await;
    let history = host.until(&["interaction", "list"], |all| all.len() == 1 && !text(&all[0], "/decisions/0/row").is_empty()).await;
    assert_eq!((history[0]["backfill"].as_bool(), history[0]["decisions"][0]["actions"].as_array().unwrap().len()), (Some(true), 0));

    masto.say(ANNA, "@acme Ancora nessuno mi ha risposto, e la bolletta è sempre quella.", "public", None);
    host.until(&ACTIONS, is("sent")).await;
    let tasks = host.list(&["task", "list"]);
    assert_eq!((tasks.len(), masto.own().len()), (1, 1), "only what is new is acted on");
    assert_ne!(text(&tasks[0], "/interaction"), text(&history[0], "/id"));
}
