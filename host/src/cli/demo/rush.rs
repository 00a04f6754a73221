//! The process dies in the middle of a rush. Everything is then counted, thing by thing: stored, handed to a team, answered.

use std::time::Duration;

use membrana_world::{Dress, Next, Shop};
use serde_json::Value as Json;

use crate::cli::outcome::Failure;
use crate::clock::Clock;

use super::host::text;
use super::look::{good, line, title};
use super::scenes::{Scenes, order, unreachable_host};

/// Signed events that the shop sends while the host is killed.
const ORDERS: u32 = 40;
/// People who praise the company meanwhile, and are answered automatically.
const FANS: u32 = 12;
const PRAISE: &str = "@acme I love the new Acme app, it is great. Thank you so much!";
/// Between two of the shop's events.
const PACE: Duration = Duration::from_millis(10);
/// The network takes so long to publish a reply, as networks do: the kill meets one on its way.
const LATENCY: Duration = Duration::from_millis(25);
/// Looks at the outcome before it is counted as it is; some ten milliseconds each.
const LOOKS: u32 = 1_500;

/// What became of one thing: how often it is there.
struct Tally {
    id: String,
    stored: usize,
    tasks: usize,
    /// None where nothing answers.
    replies: Option<usize>,
}

impl Tally {
    fn counts(&self) -> impl Iterator<Item = usize> {
        [self.stored, self.tasks].into_iter().chain(self.replies)
    }

    fn is_lost(&self) -> bool {
        self.counts().any(|n| n == 0)
    }

    fn is_doubled(&self) -> bool {
        self.counts().any(|n| n > 1)
    }
}

impl Scenes {
    /// kill -9, restart, resend as a shop would, and the count.
    pub(super) async fn kill(&mut self) -> Result<(), Failure> {
        title(&format!("⑤ A rush of {ORDERS} signed events and {FANS} posts on Mastodon; the process is killed in between (kill -9)"));
        let fans: Vec<String> = (0..FANS).map(|n| self.world.masto.say(&format!("fan{n}@people.example"), PRAISE, "public", None)).collect();
        for _ in &fans {
            self.world.masto.next("POST /api/v1/statuses", Next::Delay(LATENCY));
        }
        self.ask("acme-masto").await;
        let shop = self.shop();
        #[expect(clippy::disallowed_methods, reason = "it is waited for below")]
        let rush = tokio::spawn(send(shop.clone(), (0..ORDERS).collect()));
        // In between: some events are in, some replies are out, and more of both are to come.
        let is_under_way = async || {
            let n_stored = self.host.list("interactions?channel=shop&limit=8").await.len();
            let n_replied = fans.iter().filter(|id| !self.world.masto.answers(id).is_empty()).count();
            (n_stored >= 5 && n_replied >= 3).then_some(n_replied)
        };
        let n_replied = self.host.until("the rush is under way", is_under_way).await?;
        self.host.kill().map_err(|error| Failure::failed(format!("cannot kill the host: {error}"), ""))?;
        let accepted = rush.await.map_err(|error| Failure::failed(error.to_string(), ""))?;
        let restarted = self.host.start().await?;
        line(&format!("killed with {} events acknowledged and {n_replied} replies out; restarted in {} ms", accepted.len(), restarted.as_millis()));
        let mut again: Vec<u32> = (0..ORDERS).filter(|n| !accepted.contains(n)).collect();
        let n_unheard = again.len();
        again.extend(accepted.first());
        let repeated = send(shop, again.clone()).await;
        if repeated.len() != again.len() {
            return Err(unreachable_host(format!("{} of {} events were not taken after the restart", again.len() - repeated.len(), again.len())));
        }
        line(&format!("the shop sends again the {n_unheard} events it has no answer to, and one that it has"));
        self.count(&fans).await
    }

    async fn count(&self, fans: &[String]) -> Result<(), Failure> {
        let watch = Clock::system().stopwatch();
        let mut tallies = self.tallies(fans).await;
        for _ in 0..LOOKS {
            if !tallies.iter().any(Tally::is_lost) {
                break;
            }
            tokio::time::sleep(PACE).await;
            tallies = self.tallies(fans).await;
        }
        let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
        let ids = |is: fn(&Tally) -> bool| tallies.iter().filter(|tally| is(tally)).map(|tally| tally.id.as_str()).collect::<Vec<_>>();
        let (lost, doubled) = (ids(Tally::is_lost), ids(Tally::is_doubled));
        let told = format!(
            "{} stored, {} tasks, {} replies for {} things said: {} lost, {} doubled; counted {} ms later",
            sum(|tally| tally.stored),
            sum(|tally| tally.tasks),
            sum(|tally| tally.replies.unwrap_or(0)),
            tallies.len(),
            lost.len(),
            doubled.len(),
            watch.elapsed().as_millis()
        );
        if lost.is_empty() && doubled.is_empty() {
            good(&told);
            return Ok(());
        }
        let cure = format!("this is a defect: please report it with demo-data; lost: {lost:?}; doubled: {doubled:?}");
        Err(Failure::failed(told, cure))
    }

    async fn tallies(&self, fans: &[String]) -> Vec<Tally> {
        let (shop, masto) = (self.host.list("interactions?channel=shop").await, self.host.list("interactions?channel=acme-masto").await);
        let tasks = self.host.list("tasks").await;
        let tally = |id: String, all: &[Json], is_it: &dyn Fn(&str) -> bool, replies: Option<usize>| {
            let found: Vec<&Json> = all.iter().filter(|one| is_it(text(one, "/native/id"))).collect();
            let is_about = |task: &&Json| found.iter().any(|one| text(one, "/id") == text(task, "/interaction"));
            Tally { id, stored: found.len(), tasks: tasks.iter().filter(is_about).count(), replies }
        };
        let orders = (0..ORDERS).map(rush_id).map(|id| tally(id.clone(), &shop, &|native| native == id, None));
        let posts = fans.iter().map(|id| {
            let end = format!("/{id}");
            tally(format!("post {id}"), &masto, &|native| native.ends_with(&end), Some(self.world.masto.answers(id).len()))
        });
        orders.chain(posts).collect()
    }
}

fn rush_id(n: u32) -> String {
    format!("rush-{n}")
}

/// One after the other, as a busy shop would; gives those that were acknowledged.
async fn send(shop: Shop, which: Vec<u32>) -> Vec<u32> {
    let mut accepted = Vec::new();
    for n in which {
        let id = rush_id(n);
        let answer = shop.post(&format!("evt-{id}"), Dress::Right, &order(&id, "Somebody", "Ordered")).await;
        accepted.extend(answer.is_ok_and(|answer| answer.status == 202).then_some(n));
        tokio::time::sleep(PACE).await;
    }
    accepted
}
