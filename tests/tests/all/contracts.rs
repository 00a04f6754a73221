//! The vendors' own documents as judges: X and Discourse behind a proxy that validates what we ask and what the stand-ins answer;
//! and the vendors' own libraries, which are pointed at the stand-ins. Skipped, and said so, where a judge cannot be had.
//!
//! The proxy buffers answers, so no stream goes through it. What the host has no way to order goes by the connector's own code.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use membrana_sdk::connector::{Change, Interaction, Message, Sent};
use membrana_sdk::http::{HttpError, Response};
use membrana_sdk::{Connector, testing};
use membrana_world::{Discourse, Dress, Meta, Next, Side, US, X, XHook, call, fetch};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Host, note, text};
use crate::networks::now_ms;
use crate::real::Server;

/// What a judge ends with that cannot be had.
const SKIPPED: i32 = 77;
/// How the proxy names what it finds.
const ERROR: &str = "https://stoplight.io/prism/errors#";
/// Of a violation, enough to mend it. Units: characters.
const VIOLATION_MAX: usize = 800;
const REST: &str = "[[analyzer]]\nname = \"language\"\nplugin = \"language\"\n[[rule]]\nname = \"impact\"\nplugin = \"impact-table\"\nconfig = { table_file = \"impact.toml\" }\n[[team]]\nname = \"support\"\n";
const TABLE: &str = "[[row]]\nname = \"all\"\nwhen = { language = [\"en\"] }\nresponsible = \"support\"\nwithin = \"2h\"\nreply = { mode = \"send\", text = { en = \"We are sorry, {author}. We are on it.\" } }\n[[row]]\nname = \"everything else\"\n";
/// A vendor's document in front of a stand-in.
struct Contract {
    server: Server,
    /// Where to ask: what passes there is kept, for the judge's log names the path of a violation and not what it is.
    address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
    _document: TempDir,
}

impl Contract {
    /// `mend` changes a copy of the document. None, with the reason said, where document or judge are not there.
    async fn start(document: &str, stand_in: &str, mend: impl FnOnce(&mut Json)) -> Option<Self> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/specs").join(document);
        let Ok(bytes) = std::fs::read(&file) else {
            note(format_args!("skipped: there is no {}", file.display()));
            return None;
        };
        let mut json: Json = serde_json::from_slice(&bytes).unwrap();
        mend(&mut json);
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join(document);
        std::fs::write(&copy, json.to_string()).unwrap();
        let server = Server::start_with("contract", vec![("SPEC", copy.display().to_string()), ("UPSTREAM", stand_in.to_owned())])?;
        let judge = server.value("CONTRACT").trim_start_matches("http://").parse().unwrap();
        let (listener, heard) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::<Mutex<Vec<u8>>>::default());
        let address = listener.local_addr().unwrap();
        let kept = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                tokio::spawn(pass(from, judge, Arc::clone(&kept)));
            }
        });
        Some(Self { server, address, heard, _document: folder })
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What the judge refused, with its reasons; behind them its log's lines, which have the paths.
    fn violations(&self) -> Vec<String> {
        let heard = String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned();
        let bodies = heard.split(ERROR).skip(1).map(|rest| rest.lines().next().unwrap_or_default().chars().take(VIOLATION_MAX).collect());
        let log = self.server.file("contract-default/log");
        bodies.chain(log.lines().filter(|line| line.contains(ERROR)).map(str::to_owned)).collect()
    }

    fn is_kept(&self) {
        assert_eq!(self.violations(), Vec::<String>::new());
    }
}

/// Bytes both ways until one side is done; what comes back is kept.
async fn pass(mut from: TcpStream, judge: SocketAddr, heard: Arc<Mutex<Vec<u8>>>) {
    let Ok(mut to) = TcpStream::connect(judge).await else { return };
    let ((mut asked, mut answered), (mut reader, mut writer)) = (from.split(), to.split());
    let back = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n @ 1..) = reader.read(&mut buffer).await {
            heard.lock().unwrap().extend_from_slice(&buffer[..n]);
            if answered.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = copy(&mut asked, &mut writer) => {}
        () = back => {}
    }
}

fn has_asked(x: &X, lines: &[&str]) {
    for line in lines {
        assert!(!x.ledger().asked(line).is_empty(), "nobody asked for {line}: {:#?}", x.ledger().calls());
    }
}

fn n_sent(actions: &[Json]) -> usize {
    actions.iter().filter(|action| text(action, "/state") == "sent").count()
}

fn x_channel(url: &str) -> String {
    format!(
        "[[channel]]\nname = \"acme-x\"\nplugin = \"x\"\npoll = \"1s\"\nconfig = {{ base_url = \"{url}\", query = \"parcel\", stream = true, look_again = true }}\nsecrets = {{ app_token = {{ file = \"app\" }}, user_token = {{ file = \"user\" }}, webhook = {{ file = \"hook\" }} }}\ningress = {{ verify = \"x\" }}\ngrant = {{ http = [\"{url}\"] }}\n{REST}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn x_s_own_document_finds_no_fault_in_what_we_ask_nor_in_what_the_stand_in_answers() {
    // given
    let x = X::start("app", "user", now_ms()).await.unwrap();
    let Some(contract) = Contract::start("x-openapi-2.167.json", &x.url(), |_| {}).await else { return };
    let mut host = Host::new(&x_channel(&contract.url()), TABLE);
    for name in ["app", "user", "hook"] {
        host.write(name, name);
    }
    host.start().await;
    host.until(&["channel", "list"], |all| all.iter().all(|one| text(one, "/state") == "connected")).await;

    // when: a mention, a post that names us not, and a direct message by webhook
    let mention = x.say("ann", "@acme my parcel never came and nobody answers. What a terrible service.", None);
    x.say("bob", "My parcel never came and nobody answers. What a terrible service.", None);
    let direct = x.write_to_us("carl", "Where is my parcel? It never came and nobody answers.");
    let hook = XHook { address: host.address, path: "/hooks/acme-x".to_owned(), secret: "hook".to_owned() };
    assert_eq!(hook.post(Dress::Right, &x.account_activity_direct(&direct)).await.unwrap().status, 200);
    host.until(&["outbox", "list"], |actions| n_sent(actions) == 2).await;
    host.until(&["interaction", "list"], |all| all.len() == 3).await;

    // then
    assert_eq!((x.answers(&mention).len(), x.directs().len()), (1, 2));
    assert_eq!(x.rules(), [("parcel".to_owned(), "membrana".to_owned())]);
    let me = x.account(US);
    has_asked(&x, &["GET /2/users/me", "GET /2/tweets/search/recent", &format!("GET /2/users/{me}/mentions"), "GET /2/tweets?ids="]);
    has_asked(&x, &["GET /2/tweets/search/stream/rules", "POST /2/tweets/search/stream/rules", "POST /2/dm_conversations/with/"]);
    contract.is_kept();
    tokio::task::block_in_place(|| x_by_its_own_code(&x, &contract));
    has_asked(&x, &["PUT /2/tweets/", &format!("GET /2/users/{me}/tweets"), "GET /2/dm_conversations/with/"]);
    contract.is_kept();

    // The judge has teeth: an answer and a request that the document does not know are told, and what about them.
    let json = ("content-type".to_owned(), "application/json".to_owned());
    x.next("GET /2/users/me", Next::Answer { status: 200, headers: vec![json], body: r#"{"data":7}"#.to_owned() });
    let user = [("authorization", "Bearer user")];
    assert_eq!(call(contract.address, "GET", "/2/users/me", &user, b"").await.unwrap().status, 500);
    assert_eq!(call(contract.address, "GET", "/2/tweets/search/recent", &user, b"").await.unwrap().status, 422);
    let told = contract.violations().join("\n");
    assert!(told.contains("must be object") && told.contains("must have required property 'query'"), "{told}");
    assert_eq!(host.stop(), Some(0));
}

/// A host for a connector's own code, whose calls go through the judge; `credential` makes a header of a credential's name.
fn install(contract: &Contract, config: &Json, now: u64, credential: fn(&str) -> (&'static str, String)) {
    let address = contract.address;
    testing::Host::with_config(config.to_string())
        .on_http(move |request| {
            let path = request.url.split_once(&address.to_string()).map(|(_, path)| path).unwrap();
            let (name, value) = credential(request.auth.as_deref().unwrap());
            let headers = [request.headers.clone(), vec![(name.to_owned(), value)]].concat();
            let answer = fetch(address, &request.method, path, &headers, &request.body).map_err(HttpError::Protocol)?;
            Ok(Response { status: answer.status, headers: answer.headers, body: answer.body })
        })
        .install();
    testing::with_host(|host| host.now = now);
}

/// Everything that a network still shows.
fn imported<C: Connector>() -> Vec<Interaction> {
    let (mut all, mut cursor) = (Vec::new(), None);
    for _ in 0..20 {
        let page = C::poll(cursor, 100, 1 << 20).unwrap();
        all.extend(page.changes.into_iter().filter_map(|change| if let Change::Upsert(about) = change { Some(about) } else { None }));
        if !page.more {
            return all;
        }
        cursor = Some(page.cursor);
    }
    panic!("it never ends")
}

/// Sends, and looks for it before and after, as is done where an answer was lost.
fn sent_and_found<C: Connector>(kind: &str, about: &Interaction, words: &str, now: u64) {
    let order = order(kind, about, words, now);
    assert_eq!(C::probe("k", &order).unwrap().0, Sent::No, "{kind}");
    C::send("k", &order).unwrap();
    assert_eq!(C::probe("k", &order).unwrap().0, Sent::Yes, "{kind}");
}

/// What the host has no order for, or does only half a minute after an answer was lost.
fn x_by_its_own_code(x: &X, contract: &Contract) {
    let config = json!({ "base_url": contract.url(), "first_fetch": "import" });
    install(contract, &config, x.now_ms(), |name| ("authorization", format!("Bearer {name}")));
    let ours = x.say(US, "Our new parcel shop is open.", None);
    let spam = x.say("eve", "@acme buy followers", Some(&ours));
    let about = imported::<membrana_x::X>().into_iter().find(|one| one.native.id == spam).unwrap();
    membrana_x::X::send("k", &order("hide", &about, "", x.now_ms())).unwrap();
    assert!(x.post(&spam).unwrap().is_hidden);
    sent_and_found::<membrana_x::X>("reply", &about, "We do not buy.", x.now_ms());
    sent_and_found::<membrana_x::X>("direct", &about, "Nor here.", x.now_ms());
}

fn order(kind: &str, to: &Interaction, words: &str, created: u64) -> Message {
    Message { created, ..testing::answer(to, kind, words) }
}

#[tokio::test(flavor = "multi_thread")]
async fn discourse_s_own_document_finds_no_fault_in_what_we_ask_nor_in_what_the_stand_in_answers() {
    // given
    let forum = Discourse::start("key", US).await.unwrap();
    let Some(contract) = Contract::start("discourse-openapi.json", &forum.url(), mend_discourse).await else { return };
    let url = contract.url();
    let channel = format!(
        "[[channel]]\nname = \"acme-forum\"\nplugin = \"discourse\"\npoll = \"1s\"\nconfig = {{ base_url = \"{url}\", username = \"{US}\" }}\nsecrets = {{ api_key = {{ file = \"key\" }} }}\ngrant = {{ http = [\"{url}\"] }}\n{REST}"
    );
    let mut host = Host::new(&channel, TABLE);
    host.write("key", "key");
    host.start().await;
    host.until(&["channel", "list"], |all| all.iter().all(|one| text(one, "/state") == "connected")).await;

    // when: a topic, an answer in it, and an edit
    let topic = forum.open("ann", "Where is my parcel?", "My parcel never came and nobody answers. What a terrible service.");
    let second = forum.answer("bob", topic.id, Some(1), "The same here, my parcel never came and nobody answers.");
    host.until(&["outbox", "list"], |actions| n_sent(actions) == 2).await;
    forum.edit(second, "The same here. My parcel never came, and nobody answers me.");
    let is_edited = |all: &[Json]| all.iter().any(|one| text(one, "/text").contains("answers me"));
    host.until(&["interaction", "list"], is_edited).await;
    forum.delete(second);
    host.until(&["interaction", "list"], |all| all.iter().any(|one| !text(one, "/gone_at").is_empty())).await;

    // then
    let mut own: Vec<(Option<u64>, String)> = forum.own().into_iter().map(|post| (post.reply_to, post.raw)).collect();
    own.sort();
    assert_eq!(own, [(None, "We are sorry, Ann. We are on it.".to_owned()), (Some(2), "We are sorry, Bob. We are on it.".to_owned())]);
    for line in ["GET /posts.json", "POST /posts.json", "GET /posts/"] {
        assert!(!forum.ledger().asked(line).is_empty(), "nobody asked for {line}: {:#?}", forum.ledger().calls());
    }
    contract.is_kept();
    tokio::task::block_in_place(|| {
        let config = json!({ "base_url": contract.url(), "username": US, "first_fetch": "import" });
        install(&contract, &config, now_ms(), |_| ("api-key", "key".to_owned()));
        let about = imported::<membrana_discourse::Discourse>().into_iter().find(|one| one.text.contains("terrible")).unwrap();
        sent_and_found::<membrana_discourse::Discourse>("reply", &about, "It is on its way.", now_ms());
    });
    assert!(!forum.ledger().asked(&format!("GET /t/{}/posts.json", topic.id)).is_empty(), "{:#?}", forum.ledger().calls());
    contract.is_kept();
    assert_eq!(host.stop(), Some(0));
}

/// Where the document knows less than Discourse's own words.
fn mend_discourse(document: &mut Json) {
    // It has answers of status 200 alone; its prose has 403, 404, 422 and 429, whose bodies it describes nowhere.
    let paths = document["paths"].as_object_mut().unwrap();
    for operation in paths.values_mut().flat_map(|path| path.as_object_mut().unwrap().values_mut()) {
        operation["responses"]["default"] = json!({ "description": "what is refused" });
    }
}

/// Runs a judge of `tests/judges` on a stand-in.
fn judged(script: &str, url: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("judges");
    let done = Command::new("python3").arg(folder.join(script)).arg(url).output();
    let Ok(done) = done else { return note(format_args!("skipped: {script}: there is no python3")) };
    let (said, complaint) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    match done.status.code() {
        Some(SKIPPED) => note(format_args!("{script}: {}", complaint.trim())),
        code => assert_eq!(code, Some(0), "{said}{complaint}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn x_s_own_library_finds_on_the_stand_in_what_it_expects() {
    let x = X::start("app", "user", now_ms()).await.unwrap();
    for n in 1..=12 {
        x.say("ann", &format!("@acme my parcel {n} never came"), None);
    }
    tokio::task::block_in_place(|| judged("x.py", &x.url()));
}

#[tokio::test(flavor = "multi_thread")]
async fn meta_s_own_library_finds_on_the_stand_in_what_it_expects() {
    let meta = Meta::start("page", "app-secret").await.unwrap();
    meta.demands_proof();
    let (news, medium) = (meta.post(US, "Our new parcel shop is open."), meta.medium("Our new parcel shop"));
    for n in 1..=5 {
        meta.comment("Ann", &news, &format!("Parcel {n} never came"));
        meta.comment("bob", &medium, &format!("Nice shop, {n} of 5"));
    }
    meta.message(Side::Messenger, "Ann", "Where is my parcel?");
    tokio::task::block_in_place(|| judged("meta.py", &meta.url()));
}
