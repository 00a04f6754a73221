//! The scenes of the demo, in order.

use membrana_world::{Blog, Crm, Dress, Shop};
use serde_json::Value as Json;

use crate::cli::outcome::{Failure, say};
use crate::clock::Clock;

use super::host::{DemoHost, text};
use super::{SECRET, good, line, title};

/// Orders that the shop sends while the host is killed.
const ORDERS: u32 = 40;

/// The cast.
pub(super) struct Scenes {
    pub(super) host: DemoHost,
    pub(super) blog: Blog,
    pub(super) crm: Crm,
}

impl Scenes {
    /// All of them.
    pub(super) async fn tell(&mut self) -> Result<(), Failure> {
        self.comment("①", "Anna Bianchi", "Ho pagato due volte la bolletta di Acme e nessuno mi risponde. È una vergogna!").await?;
        self.comment("②", "Tom Baker", "Will the new invoices still come by post? My mother does not use a computer.").await?;
        self.check_in().await?;
        self.kill().await?;
        self.summary().await
    }

    /// Somebody comments on the blog.
    async fn comment(&self, number: &str, author: &str, said: &str) -> Result<(), Failure> {
        title(&format!("{number} {author} comments on the blog, in public"));
        line(&format!("\"{said}\""));
        let watch = Clock::system().stopwatch();
        self.blog.comment(author, &format!("<p>{said}</p>"));
        if !self.host.order("channels/blog/poll").await {
            line("(the host is asked at its next turn)");
        }
        let told = self.host.until("the comment is decided", async || self.decided("/author/name", author).await).await?;
        let ms = watch.elapsed().as_millis();
        good(&format!("fetched, stored, analysed and decided {ms} ms after it was written"));
        self.verdict(&told);
        Ok(())
    }

    async fn decided(&self, pointer: &str, value: &str) -> Option<Json> {
        let all = self.host.list("interactions?limit=100").await;
        all.into_iter().find(|one| text(one, pointer) == value && !text(one, "/decisions/0/row").is_empty())
    }

    /// What was found, which row decided, and what follows.
    fn verdict(&self, about: &Json) {
        let said = about.pointer("/annotations").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        let words = said
            .iter()
            .map(|one| format!("{} {}", text(one, "/key"), one.get("value").map(|value| value.to_string().replace('"', "")).unwrap_or_default()));
        line(&format!("found: {}", words.collect::<Vec<_>>().join(" · ")));
        let reasons = about.pointer("/decisions/0/reasons").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        let reasons = reasons.iter().filter_map(Json::as_str).filter(|reason| !reason.starts_with("row ")).collect::<Vec<_>>().join(", ");
        line(&format!("row \"{}\": {reasons}", text(about, "/decisions/0/row")));
        for action in about.pointer("/decisions/0/actions").and_then(Json::as_array).into_iter().flatten() {
            if text(action, "/kind") == "assign" {
                let escalation = action
                    .pointer("/escalations/0")
                    .map(|step| format!(", else {} at {}", text(step, "/to"), time(text(step, "/at"))))
                    .unwrap_or_default();
                good(&format!("task for {}, reply due {}{escalation}", text(action, "/team"), time(text(action, "/due_at"))));
                text(action, "/note").lines().for_each(|note| line(&format!("  note: {note}")));
            }
        }
    }

    /// The shop sends a signed event, and somebody forges one.
    async fn check_in(&self) -> Result<(), Failure> {
        title("③ a customer checks in at the shop; somebody else pretends to be the shop");
        let shop = self.shop();
        let forged = shop.post("evt-forged", Dress::Wrong, &order("9999", "Mallory", "Refund me at once")).await.map_err(unreachable_host)?;
        good(&format!("the forged event is refused: {}", forged.status));
        let watch = Clock::system().stopwatch();
        let accepted = shop
            .post("evt-1", Dress::Right, &order("4711", "Marco Rossi", "Sono in negozio, dov'è il mio pacco?"))
            .await
            .map_err(unreachable_host)?;
        good(&format!("the signed event is on disk and acknowledged in {:.1} ms: {}", watch.elapsed().as_secs_f64() * 1000.0, accepted.status));
        let repeat = shop
            .post("evt-1", Dress::Right, &order("4711", "Marco Rossi", "Sono in negozio, dov'è il mio pacco?"))
            .await
            .map_err(unreachable_host)?;
        good(&format!("the same event again: {}, no effect", repeat.status));
        let told = self.host.until("the check-in is decided", async || self.decided("/native/id", "4711").await).await?;
        self.verdict(&told);
        Ok(())
    }

    fn shop(&self) -> Shop {
        Shop { address: self.host.address, path: "/hooks/shop".to_owned(), secret: SECRET.to_owned() }
    }

    /// The process dies in the middle of a rush.
    async fn kill(&mut self) -> Result<(), Failure> {
        title("④ the process is killed (kill -9) while orders stream in");
        let shop = self.shop();
        #[expect(clippy::disallowed_methods, reason = "it is waited for below")]
        let rush = tokio::spawn(async move {
            let mut accepted = Vec::new();
            for n in 0..ORDERS {
                let id = format!("rush-{n}");
                let answer = shop.post(&format!("evt-{id}"), Dress::Right, &order(&id, "Somebody", "Ordered")).await;
                accepted.extend(answer.is_ok_and(|answer| answer.status == 202).then_some(id));
            }
            accepted
        });
        let some = async || (self.host.list("interactions?channel=shop&limit=5").await.len() >= 5).then_some(());
        self.host.until("some orders came in", some).await?;
        self.host.kill().map_err(|error| Failure::failed(format!("cannot kill the host: {error}"), ""))?;
        let accepted = rush.await.map_err(|error| Failure::failed(error.to_string(), ""))?;
        let restarted = self.host.start().await?;
        let stored = async || {
            let all = self.host.list("interactions?channel=shop").await;
            let is_decided = |one: &&Json| !text(one, "/decisions/0/row").is_empty();
            accepted.iter().all(|id| all.iter().filter(is_decided).any(|one| text(one, "/native/id") == id)).then_some(all)
        };
        let all = self.host.until("every acknowledged order is decided", stored).await?;
        let n_doubled = accepted.iter().filter(|id| all.iter().filter(|one| text(one, "/native/id") == **id).count() > 1).count();
        let n_lost = accepted.iter().filter(|id| !all.iter().any(|one| text(one, "/native/id") == **id)).count();
        good(&format!("restarted in {} ms: of {} acknowledged orders {n_lost} lost, {n_doubled} doubled", restarted.as_millis(), accepted.len()));
        if n_doubled > 0 {
            return Err(Failure::failed("an order was stored twice", "this is a defect: please report it with demo-data"));
        }
        Ok(())
    }

    async fn summary(&self) -> Result<(), Failure> {
        let interactions = self.host.list("interactions").await;
        let tasks = self.host.list("tasks").await;
        let n_wanted = interactions.len() + tasks.len();
        let told = async || {
            let ids: std::collections::BTreeSet<String> = self.crm.told().into_iter().map(|told| told.id).collect();
            (ids.len() >= n_wanted).then_some(ids.len())
        };
        let n_told = self.host.until("the CRM is told everything", told).await?;
        let n_unsigned = self.crm.told().iter().filter(|told| !told.is_signed).count();
        let n_dead = self.host.list("dead").await.len();
        title("What you saw");
        say(format_args!(
            "   {} interactions · {} tasks · {n_told} events to the CRM, {n_unsigned} of them without a valid signature · {n_dead} dead letters",
            interactions.len(),
            tasks.len()
        ));
        Ok(())
    }

    /// What to try next.
    pub(super) fn your_turn(&self) {
        title("Your turn");
        say(format_args!("   curl -d 'author=You' -d 'text=My parcel never came' http://{}/comment", self.blog.address()));
        say("   membrana --config demo-data/membrana.toml interaction list");
        say("   membrana --config demo-data/membrana.toml task list");
        say(format_args!("   http://{}/api/v1/status", self.host.address));
        say("   Your own channels: membrana init, then README, \"Your first channel\". Ctrl-C ends the demo.");
    }
}

fn order(id: &str, name: &str, note: &str) -> String {
    serde_json::json!({ "order": { "id": id }, "customer": { "id": name, "name": name }, "note": note }).to_string()
}

fn unreachable_host(error: String) -> Failure {
    Failure::failed(format!("the demo's host does not answer: {error}"), "see demo-data/log")
}

/// `12:34:56` of an RFC 3339 time.
fn time(at: &str) -> &str {
    at.get(11..19).unwrap_or(at)
}
