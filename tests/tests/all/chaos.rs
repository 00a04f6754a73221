//! Everything goes wrong at once, on all networks, while people keep writing: nothing is lost, nothing is posted twice, and every
//! channel is connected again. Judged from the ledgers of the networks, never from what the host says of itself.
//!
//! In real time: the networks' limits last seconds here, and only what no network says in less (Meta's minutes, a refused token)
//! comes in the last third. By hand: `MEMBRANA_CHAOS_S=600`, and `MEMBRANA_CHAOS_SEED` for the same dice again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use membrana_world::{Dice, Dress};
use serde_json::Value as Json;
use tokio::task::JoinSet;

use crate::everywhere::{ANSWERED, Said, UNANSWERED, World, mark, not_connected};
use crate::harness::{Host, note, text, within};
use crate::hooks::shop;

/// Units: seconds.
const CHAOS_S: u64 = 20;
const SEED: u64 = 11;
/// Each channel's people write this often.
const PAUSE: Duration = Duration::from_millis(600);
/// Webhooks are delivered in batches of what came in so long.
const BATCH: Duration = Duration::from_millis(350);
/// Between two looks at the lists of the host.
const LOOK: Duration = Duration::from_millis(700);
/// Within this all is settled: the longest waits that the trouble of seconds causes, and a margin.
const CALM: Duration = Duration::from_secs(150);
/// Trouble of minutes causes longer ones: the look for a lost reply is put off, doubling, each time that it fails.
const CALM_BY_HAND: Duration = Duration::from_secs(2400);
const WORDS: &str = "I am still waiting for the parcel that you promised me last week, and nobody answers the phone. Case";
/// What an action ends in without a person.
const SENT: &str = "sent";
/// Where a person must look, with the reason.
const LEFT: [&str; 2] = ["human", "dead"];

/// What goes on at once.
struct Scene {
    world: World,
    host: Host,
    said: Mutex<Vec<Said>>,
    n_said: AtomicUsize,
    is_over: AtomicBool,
}

impl Scene {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// A channel's people write until it is over.
    async fn people(self: Arc<Self>, channel: &'static str) {
        while !self.is_over() {
            let n = self.n_said.fetch_add(1, Ordering::Relaxed);
            let id = self.world.say(&self.host, channel, n, &format!("{WORDS} {}", mark(n))).await;
            self.said.lock().unwrap().push(Said { n, channel, id });
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The clocks go on, and webhooks are delivered: some twice, some in the wrong order, some never.
    async fn couriers(self: Arc<Self>, seed: u64) {
        let (mut dice, mut n_told, mut at) = (Dice::new(seed), 0, Instant::now());
        while !self.is_over() {
            tokio::time::sleep(BATCH).await;
            let passed = at.elapsed();
            at += passed;
            self.world.x.advance(passed);
            self.world.meta.advance(u64::try_from(passed.as_millis()).unwrap());
            let fresh: Vec<Said> = self.said.lock().unwrap().iter().skip(n_told).cloned().collect();
            n_told += fresh.len();
            let mut due: Vec<_> = self.world.hooks(&fresh).into_iter().flat_map(|one| vec![one; usize::try_from(dice.below(3)).unwrap()]).collect();
            if dice.below(2) == 0 {
                due.reverse();
            }
            for one in due {
                self.world.deliver(&self.host, &one).await;
            }
            if dice.below(12) == 0 {
                self.world.oauth.expire();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, in real time, and a machine of its own: .ci/nightly chaos"]
async fn when_everything_goes_wrong_on_all_networks_nothing_is_lost_and_nothing_is_posted_twice() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let (seconds, seed) = (number("MEMBRANA_CHAOS_S").unwrap_or(CHAOS_S), number("MEMBRANA_CHAOS_SEED").unwrap_or(SEED));
    note(format_args!("chaos, {seconds} s, seed {seed}"));
    let calm = if seconds <= 60 { CALM } else { CALM_BY_HAND };
    let world = World::start().await;
    let host = world.host().await;
    let scene = Arc::new(Scene { world, host, said: Mutex::default(), n_said: AtomicUsize::new(1), is_over: AtomicBool::new(false) });

    // when
    let mut busy = JoinSet::new();
    for channel in ANSWERED.into_iter().chain(UNANSWERED) {
        busy.spawn(Arc::clone(&scene).people(channel));
    }
    busy.spawn(Arc::clone(&scene).couriers(seed));
    scene.world.trouble(Some(seed), false);
    tokio::time::sleep(Duration::from_secs(seconds) * 2 / 3).await;
    let first = scene.world.trouble(Some(seed + 100), true);
    assert_eq!(shop(&scene.host).post("evt-unreadable", Dress::Right, "nonsense").await.unwrap().status, 202);
    tokio::time::sleep(Duration::from_secs(seconds) / 3).await;
    let last = scene.world.trouble(None, false);
    scene.is_over.store(true, Ordering::Relaxed);
    busy.join_all().await;
    note(format_args!("first {first:?}, then {last:?}"));

    // then
    let Scene { world, mut host, said, .. } = Arc::into_inner(scene).unwrap();
    let said = said.into_inner().unwrap();
    let since = Instant::now();
    each_is_found_once(&host, &said, calm).await;
    let replies = all_are_settled(&host, &said, calm).await;
    each_is_answered_once(&world, &said, &replies);
    let is_calm = within(calm, LOOK, async || not_connected(&host).is_empty()).await;
    assert!(is_calm, "{:?}\n{}", not_connected(&host), host.log());
    note(format_args!("{} said; calm after {} s", said.len(), since.elapsed().as_secs()));
    the_crm_knows_each(&world, &host, &said, calm).await;
    the_dead_are_explained(&host, &replies);
    assert_eq!(host.stop(), Some(0));
}

/// Of others, by the mark in the text.
fn marks(all: &[Json]) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for one in all.iter().filter(|one| one["own"] != Json::Bool(true)) {
        *found.entry(text(one, "/text").split_whitespace().last().unwrap_or_default().to_owned()).or_default() += 1;
    }
    found
}

async fn each_is_found_once(host: &Host, said: &[Said], calm: Duration) {
    let mut found = BTreeMap::new();
    let is_whole = within(calm, LOOK, async || {
        let all = host.list(&["interaction", "list"]);
        found = marks(&all);
        found.len() >= said.len() && all.iter().all(|one| one["own"] == Json::Bool(true) || !text(one, "/decisions/0/row").is_empty())
    });
    let is_whole = is_whole.await;
    let lost: Vec<&Said> = said.iter().filter(|one| !found.contains_key(&mark(one.n))).collect();
    assert!(is_whole && lost.is_empty(), "{} are lost: {lost:?}\n{}", lost.len(), host.log());
    let twice: Vec<&Said> = said.iter().filter(|one| found.get(&mark(one.n)) != Some(&1)).collect();
    assert!(twice.is_empty(), "stored more than once: {twice:?}");
    assert_eq!(found.len(), said.len(), "nothing else is there: {:?}", found.keys().filter(|mark| !mark.starts_with("c0")).collect::<Vec<_>>());
}

/// The actions by the mark of what they answer, once each is sent or left to a person.
async fn all_are_settled(host: &Host, said: &[Said], calm: Duration) -> BTreeMap<String, Json> {
    let wanted = said.iter().filter(|one| ANSWERED.contains(&one.channel)).count();
    let mut actions = Vec::new();
    let is_over = |action: &Json| text(action, "/state") == SENT || LEFT.contains(&text(action, "/state"));
    let is_settled = within(calm, LOOK, async || {
        actions = host.list(&["outbox", "list"]);
        actions.len() >= wanted && actions.iter().all(is_over)
    });
    let is_settled = is_settled.await;
    let open: Vec<&Json> = actions.iter().filter(|action| !is_over(action)).collect();
    assert!(is_settled, "{} of {wanted} replies; open: {open:#?}\n{}", actions.len(), host.log());
    assert_eq!(actions.len(), wanted, "one reply to each");
    let all = host.list(&["interaction", "list"]);
    let marks: BTreeMap<&str, String> =
        all.iter().map(|one| (text(one, "/id"), text(one, "/text").split_whitespace().last().unwrap_or_default().to_owned())).collect();
    actions.into_iter().map(|action| (marks.get(text(&action, "/interaction")).cloned().unwrap_or_default(), action)).collect()
}

fn each_is_answered_once(world: &World, said: &[Said], replies: &BTreeMap<String, Json>) {
    let mut left = Vec::new();
    for one in said.iter().filter(|one| ANSWERED.contains(&one.channel)) {
        let reply = &replies[&mark(one.n)];
        let n_replies = world.n_replies(one);
        if text(reply, "/state") == SENT {
            assert_eq!(n_replies, 1, "{one:?}: {reply:#}");
        } else {
            assert!(n_replies <= 1 && !text(reply, "/error").is_empty(), "{one:?} has {n_replies}: {reply:#}");
            left.push(format!("{} {}: {} ({n_replies} there)", one.channel, text(reply, "/state"), text(reply, "/error")));
        }
    }
    let n_own = world.x.own().len() + world.forum.own().len() + world.masto.own().len();
    let public = |one: &&Said| ["acme-x", "acme-forum", "acme-masto"].contains(&one.channel);
    let n_replies: usize = said.iter().filter(public).map(|one| world.n_replies(one)).sum();
    assert_eq!(n_own, n_replies, "and nothing else was posted");
    note(format_args!("{} replies, {} left to a person: {left:#?}", replies.len(), left.len()));
}

/// Each event is about one thing alone, signed, and each of what was said has its event. What a later try adds is how far the
/// actions came meanwhile.
async fn the_crm_knows_each(world: &World, host: &Host, said: &[Said], calm: Duration) {
    let received = || {
        let told = world.crm.told().into_iter().filter(|told| told.kind == "it.membrana.interaction.received.v1");
        told.map(|told| told.id).collect::<BTreeSet<_>>().len()
    };
    assert!(within(calm, LOOK, async || received() >= said.len()).await, "{} of {} were told\n{}", received(), said.len(), host.log());
    let mut known: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for told in world.crm.told() {
        assert!(told.is_signed, "{told:?}");
        let about = ["/interaction/id", "/interaction/text", "/interaction/decisions/0/row", "/task/id", "/action/id"];
        let said: Vec<Json> = about.iter().map(|pointer| told.data.pointer(pointer).cloned().unwrap_or_default()).collect();
        let before = known.entry(told.id.clone()).or_insert_with(|| said.clone());
        assert_eq!(*before, said, "{} was told in two ways", told.id);
    }
}

/// The planted one, and the replies that are left to a person.
fn the_dead_are_explained(host: &Host, replies: &BTreeMap<String, Json>) {
    let dead = host.list(&["dead", "list"]);
    let n_of = |stage: &str| dead.iter().filter(|letter| text(letter, "/stage") == stage).count();
    let n_left = replies.values().filter(|reply| text(reply, "/state") == "dead").count();
    assert_eq!((n_of("intake"), n_of("outbox"), dead.len()), (1, n_left, 1 + n_left), "{dead:#?}");
}
