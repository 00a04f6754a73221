//! The scenes of the demo, in order.

use membrana_world::{Dress, Letter, Shop};
use serde_json::Value as Json;

use crate::cli::outcome::Failure;
use crate::clock::{Clock, Stopwatch};

use super::host::{DemoHost, text};
use super::look::{good, line, title};
use super::{SECRET, World};

const ANNA: &str = "anna@people.example";
const MARCO: &str = "marco@customers.example";
const BILL: &str = "@acme Ho pagato due volte la bolletta di Acme e nessuno risponde. Vergogna!";

/// The cast.
pub(super) struct Scenes {
    pub(super) host: DemoHost,
    pub(super) world: World,
}

/// What Marco wrote yesterday.
pub(super) fn first_letter() -> Letter {
    Letter {
        id: "bolletta-1@customers.example".to_owned(),
        headers: vec![format!("Date: {}", yesterday())],
        text: "Buongiorno, la bolletta di ottobre è arrivata due volte. Potete controllare?".to_owned(),
        ..letter()
    }
}

fn letter() -> Letter {
    Letter { from: format!("Marco Rossi <{MARCO}>"), subject: "Bolletta di ottobre".to_owned(), ..Letter::default() }
}

fn yesterday() -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(Clock::system().now().0).unwrap_or_default()).unwrap_or_default();
    let day = at.checked_sub(jiff::SignedDuration::from_hours(24)).unwrap_or(at);
    day.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

impl Scenes {
    /// All of them.
    pub(super) async fn tell(&mut self) -> Result<(), Failure> {
        self.complaint().await?;
        self.letter().await?;
        self.comment().await?;
        self.check_in().await?;
        self.kill().await?;
        self.go_mad().await?;
        self.summary().await
    }

    /// An angry post in public, answered after legal looked.
    async fn complaint(&self) -> Result<(), Failure> {
        title(&format!("① @{ANNA} posts in public"));
        line(&format!("\"{BILL}\""));
        let watch = Clock::system().stopwatch();
        let post = self.world.masto.say(ANNA, BILL, "public", None);
        let told = self.decided("acme-masto", &watch, |one| text(one, "/native/id").ends_with(&format!("/{post}"))).await?;
        self.verdict(&told);
        let draft = actions(&told).find(|action| text(action, "/kind") == "reply");
        let draft = draft
            .ok_or_else(|| Failure::failed("the table drafts no reply to this complaint", "this is a defect: please report it with demo-data"))?;
        line(&format!("→ draft waits for {}: \"{}\"", text(draft, "/review/0"), text(draft, "/text")));
        let watch = Clock::system().stopwatch();
        if !self.host.order(&format!("actions/{}/approve", text(draft, "/id")), r#"{"by":"legal"}"#).await {
            return Err(Failure::failed("the draft could not be approved", "see demo-data/log"));
        }
        let seen = async || self.world.masto.answers(&post).into_iter().next();
        let answer = self.host.until("the reply is on the network", seen).await?;
        good(&format!(
            "approved (the demo plays legal) and on social.example {} ms later, under her post, as it was received:",
            watch.elapsed().as_millis()
        ));
        line(&format!("  @{} ({}): \"{}\"", answer.acct, answer.visibility, answer.text));
        Ok(())
    }

    /// A mail that goes on with a thread of yesterday.
    async fn letter(&self) -> Result<(), Failure> {
        title(&format!("② mail from Marco Rossi <{MARCO}>, in a thread of yesterday"));
        let said = "Ancora nessuna risposta. La bolletta doppia è un errore vostro, quando mi rimborsate?";
        line(&format!("\"{said}\""));
        let watch = Clock::system().stopwatch();
        let (id, first) = ("bolletta-2@customers.example".to_owned(), "bolletta-1@customers.example".to_owned());
        self.world.mail.deliver(&Letter { id, answers: vec![first], text: said.to_owned(), ..letter() });
        let told = self.decided("support-mail", &watch, |one| text(one, "/text") == said).await?;
        let conversation = text(&told, "/conversation");
        let all = self.host.list("interactions?channel=support-mail").await;
        let n_joined = all.iter().filter(|one| text(one, "/conversation") == conversation).count();
        good(&format!("joined to its conversation by its references: {n_joined} mails of {} on this channel", all.len()));
        self.verdict(&told);
        let seen = async || self.world.mail.received(MARCO).into_iter().next();
        let answer = self.host.until("the reply is in Marco's mailbox", seen).await?;
        good(&format!("answered on the same channel; in Marco's mailbox {} ms after he wrote:", watch.elapsed().as_millis()));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let wanted = ["Subject:", "In-Reply-To:", "References:", "Auto-Submitted:"];
        head.replace("\r\n ", " ").lines().filter(|one| wanted.iter().any(|name| one.starts_with(name))).for_each(|one| line(&format!("  {one}")));
        line(&format!("  {}", body.trim()));
        Ok(())
    }

    /// A channel that cannot carry a reply.
    async fn comment(&self) -> Result<(), Failure> {
        title("③ Tom Baker comments on the company's blog");
        let said = "Will the new invoices still come by post? My mother does not use a computer.";
        line(&format!("\"{said}\""));
        let watch = Clock::system().stopwatch();
        self.world.blog.comment("Tom Baker", &format!("<p>{said}</p>"));
        let told = self.decided("blog", &watch, |one| text(one, "/author/name") == "Tom Baker").await?;
        self.verdict(&told);
        Ok(())
    }

    /// The shop sends a signed event, and somebody forges one.
    async fn check_in(&self) -> Result<(), Failure> {
        title("④ a customer checks in at the shop; somebody else pretends to be the shop");
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
        let told = self.decided("shop", &watch, |one| text(one, "/native/id") == "4711").await?;
        self.verdict(&told);
        Ok(())
    }

    /// Waits until what `is_it` describes is decided, and tells how long that took.
    pub(super) async fn decided(&self, channel: &str, watch: &Stopwatch, is_it: impl Fn(&Json) -> bool) -> Result<Json, Failure> {
        // Where it is not asked for at once, the next turn finds it.
        let _is_asked = self.host.order(&format!("channels/{channel}/poll"), "").await;
        let path = format!("interactions?channel={channel}&limit=100");
        let look = async || self.host.list(&path).await.into_iter().find(|one| is_it(one) && !text(one, "/decisions/0/row").is_empty());
        let told = self.host.until("it is decided", look).await?;
        good(&format!("received, stored, analysed and decided {} ms after it was written", watch.elapsed().as_millis()));
        Ok(told)
    }

    /// What was found, which row decided, and who must do what by when.
    pub(super) fn verdict(&self, about: &Json) {
        let words = list(about, "/annotations").map(|one| format!("{} {}", text(one, "/key"), shown(one.get("value"))));
        line(&words.collect::<Vec<_>>().join(" · "));
        let reasons: Vec<&str> = list(about, "/decisions/0/reasons").filter_map(Json::as_str).filter(|reason| !reason.starts_with("row ")).collect();
        line(&format!("row \"{}\": {}", text(about, "/decisions/0/row"), reasons.join(", ")));
        for task in actions(about).filter(|action| text(action, "/kind") == "assign") {
            let escalation = list(task, "/escalations").next().map(|step| format!(", else {} at {}", text(step, "/to"), time(text(step, "/at"))));
            let others = [("consulted", "/consulted"), ("informed", "/informed")].map(|(word, at)| {
                let teams: Vec<&str> = list(task, at).filter_map(Json::as_str).collect();
                if teams.is_empty() { String::new() } else { format!("; {} {word}", teams.join(", ")) }
            });
            let due = time(text(task, "/due_at"));
            line(&format!("→ task for {}, reply due {due}{}{}", text(task, "/team"), escalation.unwrap_or_default(), others.concat()));
            text(task, "/note").lines().for_each(|note| line(&format!("  {note}")));
        }
    }

    pub(super) fn shop(&self) -> Shop {
        Shop { address: self.host.address, path: "/hooks/shop".to_owned(), secret: SECRET.to_owned() }
    }
}

fn list<'j>(about: &'j Json, pointer: &str) -> impl Iterator<Item = &'j Json> {
    about.pointer(pointer).and_then(Json::as_array).into_iter().flatten()
}

fn actions(about: &Json) -> impl Iterator<Item = &Json> {
    list(about, "/decisions/0/actions")
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

fn expect_status(what: &str, got: u16, wanted: u16) -> Result<(), Failure> {
    if got == wanted {
        return Ok(());
    }
    Err(Failure::failed(format!("{what} was answered with {got} instead of {wanted}"), "this is a defect: please report it with demo-data"))
}

pub(super) fn unreachable_host(error: String) -> Failure {
    Failure::failed(format!("the demo's host does not answer: {error}"), "see demo-data/log")
}

/// `12:34:56 UTC` of an RFC 3339 time.
fn time(at: &str) -> String {
    format!("{} UTC", at.get(11..19).unwrap_or(at))
}
