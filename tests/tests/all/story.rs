//! The main job: what is said on a channel is stored, analysed, decided, handed to a team, and told to the CRM.

use membrana_world::{Blog, Crm, Dress, Next, Shop};

use crate::harness::{Host, SECRET, eventually, text};

const TABLE: &str = r#"
[[row]]
name = "comment in Italian"
when = { kind = ["comment"], language = ["it"] }
responsible = "support"
consulted = ["logistics"]
within = "2h"
escalate = [{ after = "1s", to = "lead" }]
reply = { mode = "draft", text = { it = "Ciao {author}" } }
[[row]]
name = "check-in"
when = { kind = ["checkin"] }
responsible = "shops"
within = "1d"
[[row]]
name = "everything else"
"#;

fn config(blog: &Blog, crm: &Crm) -> String {
    format!(
        r#"
[[channel]]
name = "blog"
plugin = "feed"
poll = "1s"
config = {{ urls = ["{blog}/feed/"] }}
grant = {{ http = ["{blog}"] }}
[[channel]]
name = "shop"
plugin = "touchpoint"
config = {{ kind = "checkin", id = "/id", text = "/note" }}
ingress = {{ verify = "standard-webhooks" }}
secrets = {{ webhook = {{ env = "SECRET" }} }}
[[analyzer]]
name = "language"
plugin = "language"
[[rule]]
name = "impact"
plugin = "impact-table"
config = {{ table_file = "impact.toml" }}
[[team]]
name = "support"
[[team]]
name = "logistics"
[[team]]
name = "lead"
[[team]]
name = "shops"
[[sink]]
name = "crm"
url = "{crm}"
secret = {{ env = "SECRET" }}
"#,
        blog = blog.url(),
        crm = crm.url()
    )
}

/// A host that has seen the blog as it was.
async fn begun(blog: &Blog, crm: &Crm) -> Host {
    let mut host = Host::new(&config(blog, crm), TABLE);
    host.start().await;
    let was_read = async || blog.ledger().calls().iter().any(|call| call.contains("/comments/feed/"));
    assert!(eventually(was_read).await, "{}", host.log());
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_becomes_a_task_and_the_crm_is_told() {
    let (blog, crm) = (Blog::start().await.unwrap(), Crm::start(SECRET).await.unwrap());
    blog.post("Before", "Acme", "<p>This was there before the channel was enabled.</p>");
    let mut host = begun(&blog, &crm).await;

    // The CRM is down for a moment: nothing may be lost.
    crm.next(Next::Answer { status: 503, headers: vec![("retry-after".to_owned(), "1".to_owned())], body: String::new() });
    blog.comment("Anna", "<p>Ho pagato due volte la bolletta e nessuno mi risponde, è una vergogna.</p>");
    let tasks = host.until(&["task", "list"], |tasks| !tasks.is_empty()).await;
    assert_eq!((text(&tasks[0], "/team"), text(&tasks[0], "/row")), ("support", "comment in Italian"));

    let all = host.list(&["interaction", "list"]);
    assert_eq!(all.len(), 1, "what was there before is not told: {all:?}");
    let comment = &all[0];
    assert_eq!((text(comment, "/author/name"), text(comment, "/kind"), text(comment, "/channel")), ("Anna", "comment", "blog"));
    assert_eq!((text(comment, "/annotations/0/key"), text(comment, "/annotations/0/value")), ("language", "it"));
    assert_eq!(text(comment, "/decisions/0/dropped/0/kind"), "reply", "a feed cannot be answered");
    assert!(text(&tasks[0], "/note").contains("Ciao Anna"), "the text goes to the task: {}", tasks[0]);

    let kinds = async || crm.told().iter().map(|told| told.kind.clone()).collect::<Vec<_>>();
    let wanted = ["interaction.received", "task.opened", "task.escalated"];
    let all_told = async || {
        let kinds = kinds().await;
        wanted.iter().all(|name| kinds.contains(&format!("it.membrana.{name}.v1")))
    };
    assert!(eventually(all_told).await, "told {:?}\n{}", kinds().await, host.log());
    assert!(crm.told().iter().all(|told| told.is_signed));
    assert_eq!(host.list(&["dead", "list"]), Vec::<serde_json::Value>::new());

    let closed = host.cli(&["task", "close", text(&tasks[0], "/id"), "--as", "support"]);
    assert!(closed.status.success(), "{}", String::from_utf8_lossy(&closed.stderr));
    let is_told = async || crm.told().iter().any(|told| told.kind == "it.membrana.task.done.v1");
    assert!(eventually(is_told).await);
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_that_leaves_a_doubled_or_turned_feed_is_told_once_and_stays() {
    let (blog, crm) = (Blog::start().await.unwrap(), Crm::start(SECRET).await.unwrap());
    blog.post("Before", "Acme", "<p>This was there before the channel was enabled.</p>");
    let host = begun(&blog, &crm).await;
    for next in [Next::Twice, Next::Reordered] {
        blog.next("GET /comments/feed/", next);
    }
    let first = blog.comment("Anna", "<p>Ho pagato due volte la bolletta e nessuno mi risponde.</p>");
    host.until(&["task", "list"], |tasks| tasks.len() == 1).await;
    blog.delete(&first);
    blog.comment("Bruno", "<p>Anche a me la bolletta è arrivata due volte questo mese.</p>");
    host.until(&["task", "list"], |tasks| tasks.len() == 2).await;
    // Entries leave a feed by age as well: that is no deletion.
    let all = host.list(&["interaction", "list"]);
    assert!(all.len() == 2 && all.iter().all(|one| one["gone_at"].is_null()), "{all:?}");
    assert!(host.list(&["task", "list"]).iter().all(|task| text(task, "/state") == "open"));
    assert!(host.list(&["dead", "list"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_answer_was_lost_is_told_again_under_the_same_id() {
    let (blog, crm) = (Blog::start().await.unwrap(), Crm::start(SECRET).await.unwrap());
    blog.post("Before", "Acme", "<p>This was there before the channel was enabled.</p>");
    let host = begun(&blog, &crm).await;
    crm.next(Next::LoseAnswer);
    blog.comment("Anna", "<p>Ho pagato due volte la bolletta e nessuno mi risponde.</p>");
    let repeated = async || {
        // Events go out side by side: the one whose answer was lost need not be the first told.
        let told = crm.told();
        told.iter().any(|one| told.iter().filter(|other| other.id == one.id).count() == 2)
    };
    assert!(eventually(repeated).await, "{:?}\n{}", crm.told(), host.log());
    assert!(crm.told().iter().all(|told| told.is_signed), "the repeat is signed anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_decided_again_in_place() {
    let (blog, crm) = (Blog::start().await.unwrap(), Crm::start(SECRET).await.unwrap());
    let mut host = Host::new(&config(&blog, &crm).replace("kind = [\"comment\"]", ""), &TABLE.replace("kind = [\"comment\"], ", ""));
    host.start().await;
    assert!(eventually(async || blog.ledger().calls().len() > 1).await);
    let guid = blog.post("Nuovo", "Acme", "<p>Questa è una notizia scritta in italiano per tutti.</p>");
    host.until(&["task", "list"], |tasks| tasks.len() == 1 && text(&tasks[0], "/state") == "open").await;

    blog.edit(&guid, "<p>This is now written in English, so that nobody has to act on it.</p>");
    let tasks = host.until(&["task", "list"], |tasks| text(&tasks[0], "/state") == "withdrawn").await;
    assert_eq!(tasks.len(), 1);
    let all = host.list(&["interaction", "list"]);
    assert_eq!((all.len(), text(&all[0], "/decisions/1/row")), (1, "everything else"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_all_or_nothing_and_a_paused_channel_waits() {
    let (blog, crm) = (Blog::start().await.unwrap(), Crm::start(SECRET).await.unwrap());
    let good = config(&blog, &crm);
    let mut host = Host::new(&good, TABLE);
    host.start().await;
    host.configure(&good.replace("name = \"shop\"", "name = \"SHOP!\""));
    host.signal("HUP");
    assert!(eventually(async || host.log().contains("last good one stays in force")).await, "{}", host.log());

    host.configure(&good.replace("name = \"shop\"", "name = \"till\""));
    host.signal("HUP");
    assert!(eventually(async || host.log().contains("read again and is in force")).await, "{}", host.log());
    let shop = |channel: &str| Shop { address: host.address, path: format!("/hooks/{channel}"), secret: SECRET.to_owned() };
    assert_eq!(shop("shop").post("1", Dress::Right, "{\"id\":1}").await.unwrap().status, 404);
    assert!(host.cli(&["channel", "pause", "till"]).status.success());
    assert_eq!(shop("till").post("1", Dress::Right, "{\"id\":1}").await.unwrap().status, 202);
    let status = host.list(&["channel", "list"]);
    let till = status.iter().find(|channel| text(channel, "/name") == "till").unwrap();
    assert_eq!(text(till, "/state"), "paused");
    assert!(host.list(&["interaction", "list"]).is_empty());
    assert!(host.cli(&["channel", "resume", "till"]).status.success());
    host.until(&["interaction", "list"], |all| all.len() == 1).await;
}
