//! kill -9 at any moment: nothing acknowledged is lost, nothing is stored or told twice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use membrana_world::{Blog, Crm, Dice, Dress, Next, Shop};
use serde_json::Value as Json;
use tokio::task::JoinSet;

use crate::harness::{Host, SECRET, eventually, note, text};
use crate::hooks::{CONFIG, shop};

/// More by hand: `MEMBRANA_KILLS=200`.
const KILLS: u64 = 30;
/// Another seed gives other moments: `MEMBRANA_SEED`.
const SEED: u64 = 7;
const SENDERS: usize = 4;
/// Of each sender in one round, so that the end stays countable.
const EVENTS_MAX: usize = 40;

const TABLE: &str = "[[row]]\nname = \"all\"\nwhen = { kind = [\"checkin\", \"post\"] }\nresponsible = \"shops\"\nwithin = \"1d\"\n[[row]]\nname = \"everything else\"\n";

fn config(blog: &Blog, crm: &Crm) -> String {
    format!(
        "{CONFIG}[[channel]]\nname = \"blog\"\nplugin = \"feed\"\npoll = \"1s\"\nconfig = {{ urls = [\"{blog}/feed/\"], comments = false }}\ngrant = {{ http = [\"{blog}\"] }}\n[[analyzer]]\nname = \"language\"\nplugin = \"language\"\n[[sink]]\nname = \"crm\"\nurl = \"{crm}\"\nsecret = {{ env = \"SECRET\" }}\n",
        blog = blog.url(),
        crm = crm.url()
    )
}

/// What was sent, and what of it the host did not acknowledge.
#[derive(Default)]
struct Sent {
    n: usize,
    unsure: VecDeque<usize>,
    /// Cut off by a kill while they were under way.
    n_cut: usize,
}

/// One event of the shop; true where the host promised to keep it.
async fn post(shop: &Shop, n: usize) -> bool {
    let body = format!("{{\"id\":\"o{n}\",\"note\":\"Ho pagato due volte la bolletta e nessuno mi risponde, ordine {n}\"}}");
    shop.post(&format!("e{n}"), Dress::Right, &body).await.is_ok_and(|answer| answer.status == 202)
}

/// Sends until told to stop: first what is unsure, with the same id.
async fn keep_sending(shop: Shop, sent: Arc<Mutex<Sent>>, is_over: Arc<AtomicBool>) {
    for _ in 0..EVENTS_MAX {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let n = {
            let mut sent = sent.lock().unwrap();
            let again = sent.unsure.pop_front();
            again.unwrap_or_else(|| {
                sent.n += 1;
                sent.n
            })
        };
        if !post(&shop, n).await {
            let mut sent = sent.lock().unwrap();
            sent.unsure.push_back(n);
            sent.n_cut += 1;
            // Nobody is there: the next try is the next round's.
            return;
        }
    }
}

/// One life of the host, ended in the middle.
async fn live_and_die(host: &mut Host, dice: &mut Dice, sent: &Arc<Mutex<Sent>>) {
    // Every fourth life is so short that the start itself is cut off.
    if dice.below(4) == 0 {
        host.spawn();
        tokio::time::sleep(Duration::from_millis(dice.below(400))).await;
        return host.kill();
    }
    host.start().await;
    let (is_over, mut senders) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    for _ in 0..SENDERS {
        senders.spawn(keep_sending(shop(host), Arc::clone(sent), Arc::clone(&is_over)));
    }
    tokio::time::sleep(Duration::from_millis(dice.below(500))).await;
    host.kill();
    is_over.store(true, Ordering::Relaxed);
    senders.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_acknowledged_and_store_nothing_twice() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let (n_kills, seed) = (number("MEMBRANA_KILLS").unwrap_or(KILLS), number("MEMBRANA_SEED").unwrap_or(SEED));
    let (blog, crm, mut dice) = (Blog::start().await.unwrap(), Crm::start(SECRET).await.unwrap(), Dice::new(seed));
    let mut host = Host::new(&config(&blog, &crm), TABLE);
    host.start().await;
    let is_connected = async || host.list(&["channel", "list"]).iter().any(|one| text(one, "/name") == "blog" && text(one, "/state") == "connected");
    assert!(eventually(is_connected).await, "{}", host.log());
    host.kill();

    let (sent, mut posted) = (Arc::new(Mutex::new(Sent::default())), Vec::new());
    for _ in 0..n_kills {
        posted.push(blog.post("Novità", "Anna", "<p>Questa è una notizia scritta in italiano per tutti.</p>"));
        if dice.below(3) == 0 {
            crm.next(Next::Answer { status: 503, headers: vec![("retry-after".to_owned(), "1".to_owned())], body: String::new() });
        }
        live_and_die(&mut host, &mut dice, &sent).await;
    }
    host.start().await;
    let Sent { n, unsure, n_cut } = std::mem::take(&mut *sent.lock().unwrap());
    for n in unsure {
        assert!(post(&shop(&host), n).await, "o{n} is refused");
    }
    note(format_args!("{n_kills} kills (seed {seed}): {n} events and {} posts, {n_cut} requests cut off", posted.len()));
    assert!(n_cut as u64 >= n_kills / 3, "only {n_cut} requests were under way when the host died");

    let wanted: Vec<String> = (1..=n).map(|n| format!("o{n}")).chain(posted).collect();
    everything_is_there_once(&host, &crm, &wanted).await;
    assert_eq!(host.list(&["dead", "list"]), Vec::<Json>::new());
    assert_eq!(host.stop(), Some(0));
    let verified = host.cli(&["verify", "--json"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

async fn everything_is_there_once(host: &Host, crm: &Crm, wanted: &[String]) {
    let is_whole = |one: &Json| text(one, "/decisions/0/row") == "all" && text(one, "/annotations/0/key") == "language";
    let all = host.until(&["interaction", "list"], |all| all.len() >= wanted.len() && all.iter().all(is_whole)).await;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    all.iter().for_each(|one| *counts.entry(text(one, "/native/id")).or_default() += 1);
    for id in wanted {
        assert_eq!(counts.get(id.as_str()), Some(&1), "{id}");
    }
    assert_eq!(all.len(), wanted.len(), "nothing else is there");

    let mut about: BTreeMap<&str, usize> = BTreeMap::new();
    let tasks = host.list(&["task", "list"]);
    tasks.iter().for_each(|task| *about.entry(text(task, "/interaction")).or_default() += 1);
    assert!(all.iter().all(|one| about.get(text(one, "/id")) == Some(&1)) && tasks.len() == all.len(), "one task each, not {}", tasks.len());

    for kind in ["it.membrana.interaction.received.v1", "it.membrana.task.opened.v1"] {
        let told = async || once_each(crm, kind).len() >= wanted.len();
        assert!(eventually(told).await, "{kind}: {} of {} were told\n{}", once_each(crm, kind).len(), wanted.len(), host.log());
        assert_eq!(once_each(crm, kind).len(), wanted.len(), "{kind}: one event each");
    }
}

/// The events of a kind by id. An event may be told again, but only in the same words.
fn once_each(crm: &Crm, kind: &str) -> BTreeMap<String, Json> {
    let mut told: BTreeMap<String, Json> = BTreeMap::new();
    for event in crm.told().into_iter().filter(|event| event.kind == kind) {
        assert!(event.is_signed, "{} is signed wrong", event.id);
        let before = told.entry(event.id.clone()).or_insert_with(|| event.data.clone());
        assert_eq!(*before, event.data, "{} was told with two contents", event.id);
    }
    told
}
