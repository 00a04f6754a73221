//! kill -9 at any moment, also while the next start takes up what the last one left: nothing acknowledged is lost, nothing is stored or
//! told twice.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use membrana_tests::judge::{Evidence, Said, judge};
use membrana_world::{Blog, Crm, Dice, Dress, Next, Shop};
use serde_json::Value as Json;
use tokio::task::JoinSet;

use crate::everywhere::now_ms;
use crate::evidence::{damage, judged, of_crm, of_store, words};
use crate::harness::{Host, SECRET, eventually, note, text};
use crate::hooks::{CONFIG, shop};

/// More by hand: `MEMBRANA_KILLS=1000`.
const KILLS: u64 = 40;
/// Of so many kills the last one comes while the host starts and recovers.
const RECOVERY_EACH: u64 = 4;
/// A start is cut off within this. Units: milliseconds.
const RECOVERY_MS: u64 = 400;
/// Places that every start comes by.
const RECOVERY: [&str; 6] = ["open.look:before", "open.look:after", "open.sled:before", "open.sled:after", "open.settle:before", "open.settle:after"];
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

/// A start that is cut off: at a place that it comes by, or at any moment.
async fn die_in_recovery(host: &mut Host, dice: &mut Dice) {
    let place = RECOVERY.get(usize::try_from(dice.below(2 * RECOVERY.len() as u64)).unwrap());
    host.arm(place.copied());
    host.spawn();
    match place {
        Some(place) => assert!(eventually(async || host.has_died()).await, "{place} is not reached\n{}", host.log()),
        None => {
            tokio::time::sleep(Duration::from_millis(dice.below(RECOVERY_MS))).await;
            host.kill();
        }
    }
    host.arm(None);
}

/// One life of the host, ended in the middle.
async fn live_and_die(host: &mut Host, dice: &mut Dice, sent: &Arc<Mutex<Sent>>) {
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
    // What is shown may not be durable yet, and what was there at a first look is no news.
    assert_eq!(host.stop(), Some(0));

    let (sent, mut posted) = (Arc::new(Mutex::new(Sent::default())), Vec::new());
    for n in 1..=n_kills {
        posted.push(blog.post("Novità", "Anna", "<p>Questa è una notizia scritta in italiano per tutti.</p>"));
        if dice.below(3) == 0 {
            crm.next(Next::Answer { status: 503, headers: vec![("retry-after".to_owned(), "1".to_owned())], body: String::new() });
        }
        if n % RECOVERY_EACH == 0 {
            die_in_recovery(&mut host, &mut dice).await;
        } else {
            live_and_die(&mut host, &mut dice, &sent).await;
        }
    }
    host.start().await;
    let Sent { n, unsure, n_cut } = std::mem::take(&mut *sent.lock().unwrap());
    for n in unsure {
        assert!(post(&shop(&host), n).await, "o{n} is refused");
    }
    note(format_args!("{n_kills} kills (seed {seed}): {n} events and {} posts, {n_cut} requests cut off", posted.len()));
    assert!(n_cut as u64 >= n_kills / 3, "only {n_cut} requests were under way when the host died");

    // then
    let said = said(n, &posted);
    let mut left = Vec::new();
    let is_clean = eventually(async || {
        left = judge(&evidence(&host, &crm, &said));
        left.is_empty()
    });
    assert!(is_clean.await, "{}\n{}", words(&left), host.log());
    let is_whole = |one: &Json| text(one, "/decisions/0/row") == "all" && text(one, "/annotations/0/key") == "language";
    host.until(&["interaction", "list"], |all| all.iter().all(is_whole)).await;
    assert_eq!(host.list(&["dead", "list"]), Vec::<Json>::new());
    assert_eq!(host.stop(), Some(0));
    let evidence = Evidence { damage: damage(&host), ..evidence(&host, &crm, &said) };
    judged(&evidence, host.dir()).unwrap();
}

/// All of it was acknowledged in the end, or lies on the blog for whoever asks.
fn said(n: usize, posted: &[String]) -> Vec<Said> {
    let one = |channel: &str, name: String| Said {
        channel: channel.to_owned(),
        exchange: name.clone(),
        name,
        is_acknowledged: true,
        wants_task: true,
        wants_reply: false,
    };
    (1..=n).map(|n| one("shop", format!("o{n}"))).chain(posted.iter().map(|guid| one("blog", guid.clone()))).collect()
}

fn evidence(host: &Host, crm: &Crm, said: &[Said]) -> Evidence {
    let Evidence { told, kinds, .. } = of_crm(crm, &["interaction.received", "task.opened"]);
    Evidence { said: said.to_vec(), told, kinds, ..of_store(host, now_ms(), |one| text(one, "/native/id").to_owned()) }
}
