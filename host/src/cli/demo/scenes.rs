//! The scenes of the demo, in order.

use membrana_world::{Dress, Shop};
use serde_json::Value as Json;

use crate::cli::outcome::Failure;
use crate::clock::{Clock, Stopwatch};
use crate::model::Timestamp;
use crate::model::shown::rfc3339;

use super::host::{DemoHost, text};
use super::look::{breathe, good, line, title};
use super::{SECRET, World};

const ROSA_SAYS: &str = "Acme charged me twice this month. What a terrible company.";
const TOM_SAYS: &str = "Will the new invoices still come by post? My mother does not use a computer.";

/// The cast.
pub(super) struct Scenes {
    pub(super) host: DemoHost,
    pub(super) world: World,
}

impl Scenes {
    /// All of them.
    pub(super) async fn tell(&mut self) -> Result<(), Failure> {
        let complaints = self.complaints().await?;
        breathe().await;
        self.answers(&complaints).await?;
        breathe().await;
        self.unanswered().await?;
        breathe().await;
        self.check_in().await?;
        breathe().await;
        self.kill().await?;
        breathe().await;
        self.go_mad().await?;
        breathe().await;
        self.swap().await?;
        breathe().await;
        self.summary(&complaints).await
    }

    /// Where no answer can go out, its text goes to a team.
    async fn unanswered(&self) -> Result<(), Failure> {
        title("③ Where a network takes no answer, a team gets its text");
        line(&format!("X, @rosa, who does not name the company: \"{ROSA_SAYS}\""));
        self.world.keep_time();
        let watch = Clock::system().stopwatch();
        let post = self.world.x.say("rosa", ROSA_SAYS, None);
        self.ask("acme-x").await;
        let told = self.decided("acme-x", "found by searching X", &watch, |one| text(one, "/native/id") == post).await?;
        brief(&told);
        line(&format!("blog, Tom Baker, in a comment: \"{TOM_SAYS}\""));
        let watch = Clock::system().stopwatch();
        self.world.blog.comment("Tom Baker", &format!("<p>{TOM_SAYS}</p>"));
        self.ask("blog").await;
        let told = self.decided("blog", "found in the blog's feed", &watch, |one| text(one, "/author/name") == "Tom Baker").await?;
        self.verdict(&told);
        Ok(())
    }

    /// The shop sends a signed event, and somebody forges one.
    async fn check_in(&self) -> Result<(), Failure> {
        title("④ A customer checks in at the shop; somebody else pretends to be the shop");
        let shop = self.shop();
        let body = order("4711", "Marco Rossi", "Sono in negozio, dov'è il mio pacco?");
        let forged = shop.post("evt-forged", Dress::Wrong, &order("9999", "Mallory", "Refund me at once")).await.map_err(unreachable_host)?;
        expect_status("the forged event", forged.status, 401)?;
        good(&format!("the forged event is refused: {}", forged.status));
        let watch = Clock::system().stopwatch();
        let accepted = shop.post("evt-1", Dress::Right, &body).await.map_err(unreachable_host)?;
        expect_status("the signed event", accepted.status, 202)?;
        good(&format!("the signed event is on disk and acknowledged in {:.1} ms: {}", watch.elapsed().as_secs_f64() * 1000.0, accepted.status));
        let repeat = shop.post("evt-1", Dress::Right, &body).await.map_err(unreachable_host)?;
        expect_status("the repeated event", repeat.status, 202)?;
        good(&format!("the same event again: {}, no effect", repeat.status));
        let told = self.decided("shop", "told by the shop's signed webhook", &watch, |one| text(one, "/native/id") == "4711").await?;
        self.verdict(&told);
        Ok(())
    }

    /// Has a channel's network asked now; where it is not, the next turn finds what is there.
    pub(super) async fn ask(&self, channel: &str) {
        let _is_asked = self.host.order(&format!("channels/{channel}/poll"), "").await;
    }

    /// Waits until what `is_it` describes is decided, and tells how it was heard and how long all that took.
    pub(super) async fn decided(&self, channel: &str, how: &str, watch: &Stopwatch, is_it: impl Fn(&Json) -> bool) -> Result<Json, Failure> {
        let path = format!("interactions?channel={channel}&limit=100");
        let look = async || self.host.list(&path).await.into_iter().find(|one| is_it(one) && !text(one, "/decisions/0/row").is_empty());
        let told = self.host.until("it is decided", look).await?;
        good(&format!("{how}; stored, analysed and decided {} ms after it was written", watch.elapsed().as_millis()));
        Ok(told)
    }

    /// What was found, which row decided, and who must do what by when.
    pub(super) fn verdict(&self, about: &Json) {
        let words = list(about, "/annotations").map(|one| format!("{} {}", text(one, "/key"), shown(one.get("value"))));
        line(&format!("  {}", words.collect::<Vec<_>>().join(" · ")));
        brief(about);
    }

    pub(super) fn shop(&self) -> Shop {
        Shop { address: self.host.address, path: "/hooks/shop".to_owned(), secret: SECRET.to_owned() }
    }
}

fn list<'j>(about: &'j Json, pointer: &str) -> impl Iterator<Item = &'j Json> {
    about.pointer(pointer).and_then(Json::as_array).into_iter().flatten()
}

pub(super) fn actions(about: &Json) -> impl Iterator<Item = &Json> {
    list(about, "/decisions/0/actions")
}

/// Which row decided, who must act by when, and why no reply goes out where the row has one.
pub(super) fn brief(about: &Json) {
    line(&format!("  {}", reasons(about)));
    actions(about).filter_map(duty).for_each(|duty| line(&format!("  → {duty}")));
    for reply in list(about, "/decisions/0/dropped").filter(|action| text(action, "/kind") == "reply") {
        line(&format!("  → no reply: {}", text(reply, "/reason")));
    }
}

/// Which row decided, and why; what holds a draft back is told with the draft.
fn reasons(about: &Json) -> String {
    let held: Vec<&str> = actions(about).map(|action| text(action, "/error")).filter(|error| !error.is_empty()).collect();
    let is_told = |reason: &&str| !reason.starts_with("row ") && !held.iter().any(|error| reason.starts_with(error));
    let reasons: Vec<&str> = list(about, "/decisions/0/reasons").filter_map(Json::as_str).filter(is_told).collect();
    format!("row \"{}\": {}", text(about, "/decisions/0/row"), reasons.join(", "))
}

/// Who must act by when; none where the action is no task.
fn duty(task: &Json) -> Option<String> {
    let (team, due) = (text(task, "/team"), time(text(task, "/due_at"), Clock::system().now()));
    (text(task, "/kind") == "assign").then(|| format!("task for {team}, reply due {due}"))
}

/// Who else is told, and when, as it follows the task.
pub(super) fn if_not(task: &Json) -> Option<String> {
    let now = Clock::system().now();
    let escalation = list(task, "/escalations").next().map(|step| format!(", else {} at {}", text(step, "/to"), time(text(step, "/at"), now)));
    let others = [("consulted", "/consulted"), ("informed", "/informed")].map(|(word, at)| {
        let teams: Vec<&str> = list(task, at).filter_map(Json::as_str).collect();
        if teams.is_empty() { String::new() } else { format!("; {} {word}", teams.join(", ")) }
    });
    (text(task, "/kind") == "assign").then(|| escalation.unwrap_or_default() + &others.concat())
}

fn shown(value: Option<&Json>) -> String {
    match value {
        Some(Json::String(text)) => text.clone(),
        Some(Json::Number(number)) => format!("{:.2}", number.as_f64().unwrap_or_default()),
        other => other.map(Json::to_string).unwrap_or_default(),
    }
}

/// A webhook's body.
pub(super) fn order(id: &str, name: &str, note: &str) -> String {
    serde_json::json!({ "order": { "id": id }, "customer": { "id": name, "name": name }, "note": note }).to_string()
}

pub(super) fn expect_status(what: &str, got: u16, wanted: u16) -> Result<(), Failure> {
    if got == wanted { Ok(()) } else { Err(defect(format!("{what} was answered with {got} instead of {wanted}"))) }
}

/// Something is not as the story promises.
pub(super) fn defect(message: impl Into<String>) -> Failure {
    Failure::failed(message, "this is a defect: please report it with demo-data")
}

pub(super) fn unreachable_host(error: String) -> Failure {
    Failure::failed(format!("the demo's host does not answer: {error}"), "see demo-data/log")
}

/// `12:34:56 UTC` of an RFC 3339 time, with its date where that is not today's.
fn time(at: &str, now: Timestamp) -> String {
    let (date, time) = (at.get(..10).unwrap_or_default(), at.get(11..19).unwrap_or(at));
    if rfc3339(now).starts_with(date) { format!("{time} UTC") } else { format!("{date} {time} UTC") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_another_day_has_its_date() {
        // 2026-11-29T23:30:00Z.
        let now = Timestamp(1_795_995_000_000);
        assert_eq!(time("2026-11-29T23:59:59.250Z", now), "23:59:59 UTC");
        assert_eq!(time("2026-11-30T01:30:00.000Z", now), "2026-11-30 01:30:00 UTC");
    }
}
