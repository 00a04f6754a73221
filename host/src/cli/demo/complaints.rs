//! One complaint on four networks: how each was heard, which row decided it, and the answer as each network received it.

use std::collections::BTreeSet;

use membrana_world::{Letter, Mail, Shape};
use serde_json::{Value as Json, json};

use crate::cli::outcome::Failure;
use crate::clock::Clock;
use crate::model::LengthUnit;

use super::World;
use super::host::text;
use super::look::{good, line, title};
use super::scenes::{Scenes, actions, brief, defect, expect_status, if_not, unreachable_host};

const ANNA_SAYS: &str = "@acme You charged me twice for the same bill, and nobody answers. This is a disgrace!";
const LUCA_SAYS: &str = "Mi avete addebitato due volte la stessa bolletta e nessuno risponde. Vergogna!";
const EMMA_SAYS: &str = "I got it, and I was charged twice for October. Terrible service, nobody replies.";
const SAM_SAYS: &str = "Mine came on Monday.";
const MARCO: &str = "marco@customers.example";
const MARCO_SAYS: &str = "Ancora nessuna risposta. Mi avete addebitato due volte la bolletta di ottobre, è inaccettabile.";
const MARCO_WROTE: &str = "bolletta-1@customers.example";
const MARCO_WRITES: &str = "bolletta-2@customers.example";
/// Emma's place in her topic.
const EMMA_AT: u64 = 2;
/// What legal makes of the answer where it is too long.
const SHORTENED: &str = "Hi Anna, we are sorry. A colleague of ours looks into it today and writes to you by tonight. Please send the number of your bill to care@acme.example, never in public.";

/// A complaint where it stands, and what was decided about it.
pub(super) struct Complaint {
    place: Place,
    told: Json,
}

/// By what its network calls it.
enum Place {
    X { post: String },
    Page { comment: String },
    Forum { topic: u64, number: u64 },
    Mailbox,
}

/// An answer as its network received it.
struct Seen {
    text: String,
    place: String,
    /// Header lines.
    head: Vec<String>,
}

impl Seen {
    fn new(text: impl Into<String>, place: impl Into<String>) -> Self {
        Self { text: text.into(), place: place.into(), head: Vec::new() }
    }

    fn mail(mail: &str) -> Self {
        const SHOWN: [&str; 3] = ["Subject:", "In-Reply-To:", "References:"];
        let head = mail.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n ", " ");
        let head = head.lines().filter(|one| SHOWN.iter().any(|name| one.starts_with(name))).map(str::to_owned).collect();
        Self { head, ..Self::new(Mail::text(mail), "in Marco's mailbox, in the thread") }
    }
}

impl Complaint {
    fn row(&self) -> &str {
        text(&self.told, "/decisions/0/row")
    }

    /// What its network has right under it, and nothing that stands elsewhere.
    fn answers(&self, world: &World) -> Vec<Seen> {
        match &self.place {
            Place::X { post } => world.x.answers(post).into_iter().map(|answer| Seen::new(answer.text, "on X, under Anna's post")).collect(),
            Place::Page { comment } => {
                world.meta.answers(comment).into_iter().map(|text| Seen::new(text, "on Facebook, under Luca's comment")).collect()
            }
            Place::Forum { topic, number } => {
                let own = world.forum.own().into_iter().filter(|post| post.topic == *topic && post.reply_to == Some(*number));
                own.map(|post| Seen::new(post.raw, format!("in the forum, as post {} in answer to Emma's post {number}", post.number))).collect()
            }
            Place::Mailbox => {
                let thread = format!("In-Reply-To: <{MARCO_WRITES}>");
                world.mail.received(MARCO).iter().filter(|mail| mail.contains(&thread)).map(|mail| Seen::mail(mail)).collect()
            }
        }
    }
}

/// What Marco wrote yesterday.
pub(super) fn first_letter() -> Letter {
    let said = "Buongiorno, la bolletta di ottobre è arrivata due volte. Potete controllare?";
    Letter { headers: vec![format!("Date: {}", yesterday())], ..letter(MARCO_WROTE, said) }
}

fn letter(id: &str, said: &str) -> Letter {
    let (from, subject) = (format!("Marco Rossi <{MARCO}>"), "Bolletta di ottobre".to_owned());
    Letter { from, subject, id: id.to_owned(), text: said.to_owned(), ..Letter::default() }
}

fn yesterday() -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(Clock::system().now().0).unwrap_or_default()).unwrap_or_default();
    let day = at.checked_sub(jiff::SignedDuration::from_hours(24)).unwrap_or(at);
    day.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

impl Scenes {
    /// Four people, each on a network of their own.
    pub(super) async fn complaints(&self) -> Result<Vec<Complaint>, Failure> {
        title("① Four people, one complaint: they were charged twice for the same bill");
        let all = vec![self.anna().await?, self.luca().await?, self.emma().await?, self.marco().await?];
        let rows: BTreeSet<&str> = all.iter().map(Complaint::row).collect();
        if rows.len() != 1 {
            return Err(defect(format!("one complaint was decided by several rows: {rows:?}")));
        }
        let answering = |task: &Json| Some(format!("{} answers{}", text(task, "/team"), if_not(task)?));
        let who = all.first().and_then(|one| actions(&one.told).find_map(answering));
        good(&format!("one row of the impact table decided all four: {}", who.unwrap_or_default()));
        Ok(all)
    }

    async fn anna(&self) -> Result<Complaint, Failure> {
        line(&format!("X, @anna: \"{ANNA_SAYS}\""));
        self.world.keep_time();
        let watch = Clock::system().stopwatch();
        let post = self.world.x.say("anna", ANNA_SAYS, None);
        self.ask("acme-x").await;
        let told = self.decided("acme-x", "found by asking X", &watch, |one| text(one, "/native/id") == post).await?;
        brief(&told);
        Ok(Complaint { place: Place::X { post }, told })
    }

    /// Nothing is asked here: what Meta posts is all that is known.
    async fn luca(&self) -> Result<Complaint, Failure> {
        line(&format!("Facebook, Luca Bianchi, under what the company posted: \"{LUCA_SAYS}\""));
        self.world.keep_time();
        let watch = Clock::system().stopwatch();
        let comment = self.world.meta.comment("Luca Bianchi", &self.world.news, LUCA_SAYS);
        let delivery = Clock::system().stopwatch();
        let answers = self.world.meta.deliver(self.host.address, "/hooks/acme-page", Shape::Nested).await.map_err(unreachable_host)?;
        let elapsed = delivery.elapsed().as_secs_f64() * 1000.0;
        for answer in &answers {
            expect_status("Meta's webhook", answer.status, 200)?;
        }
        let how = format!("told by Meta's signed webhook, on disk and acknowledged in {elapsed:.1} ms");
        let told = self.decided("acme-page", &how, &watch, |one| text(one, "/native/id") == comment).await?;
        brief(&told);
        Ok(Complaint { place: Place::Page { comment }, told })
    }

    async fn emma(&self) -> Result<Complaint, Failure> {
        line(&format!("forum, Emma, in the topic \"The new invoices\": \"{EMMA_SAYS}\""));
        let watch = Clock::system().stopwatch();
        let topic = self.world.topic.id;
        self.world.forum.answer("emma", topic, None, EMMA_SAYS);
        // Whoever answers at the topic's end now answers Sam.
        self.world.forum.answer("sam", topic, None, SAM_SAYS);
        self.ask("acme-forum").await;
        let told = self.decided("acme-forum", "found by asking the forum", &watch, |one| text(one, "/text") == EMMA_SAYS).await?;
        brief(&told);
        Ok(Complaint { place: Place::Forum { topic, number: EMMA_AT }, told })
    }

    async fn marco(&self) -> Result<Complaint, Failure> {
        line(&format!("mail, Marco Rossi <{MARCO}>: \"{MARCO_SAYS}\""));
        let watch = Clock::system().stopwatch();
        self.world.mail.deliver(&Letter { answers: vec![MARCO_WROTE.to_owned()], ..letter(MARCO_WRITES, MARCO_SAYS) });
        self.ask("support-mail").await;
        let told = self.decided("support-mail", "fetched by IMAP", &watch, |one| text(one, "/text") == MARCO_SAYS).await?;
        let conversation = text(&told, "/conversation");
        let all = self.host.list("interactions?channel=support-mail").await;
        let n_joined = all.iter().filter(|one| text(one, "/conversation") == conversation).count();
        line(&format!("  joined to his thread of yesterday by its references: {n_joined} mails of {} here", all.len()));
        brief(&told);
        Ok(Complaint { place: Place::Mailbox, told })
    }

    /// The drafts, approved and looked for where they should be; X comes last, which takes least.
    pub(super) async fn answers(&self, complaints: &[Complaint]) -> Result<(), Failure> {
        title("② One answer, as each network takes it; the drafts wait for legal, whom the demo plays");
        for complaint in complaints.iter().rev() {
            self.answer(complaint).await?;
        }
        Ok(())
    }

    async fn answer(&self, complaint: &Complaint) -> Result<(), Failure> {
        let draft = actions(&complaint.told).find(|action| text(action, "/kind") == "reply");
        let draft = draft.ok_or_else(|| defect("the table drafts no reply to a complaint"))?;
        let unfit = text(draft, "/error");
        let (wanted, order) = if unfit.is_empty() {
            (text(draft, "/text"), json!({ "by": "legal" }))
        } else {
            let length = LengthUnit::Weighted.measure(SHORTENED);
            line(&format!("the draft for Anna is held back before X would refuse it: {unfit}; legal shortens it to {length}"));
            (SHORTENED, json!({ "by": "legal", "text": SHORTENED }))
        };
        let watch = Clock::system().stopwatch();
        if !self.host.order(&format!("actions/{}/approve", text(draft, "/id")), &order.to_string()).await {
            return Err(Failure::failed("the draft could not be approved", "see demo-data/log"));
        }
        let seen = async || complaint.answers(&self.world).into_iter().next();
        let answer = self.host.until("the reply is on its network", seen).await?;
        let elapsed = watch.elapsed().as_millis();
        // Mail breaks lines where it must.
        if !answer.text.split_whitespace().eq(wanted.split_whitespace()) {
            return Err(defect(format!("another answer than the approved one stands {}: \"{}\"", answer.place, answer.text)));
        }
        good(&format!("{}, {elapsed} ms after legal's approval:", answer.place));
        answer.head.iter().for_each(|one| line(&format!("  {one}")));
        line(&format!("  \"{}\"", answer.text.trim()));
        Ok(())
    }

    /// At the end of the story, whatever was killed in between.
    pub(super) fn answered_once(&self, complaints: &[Complaint]) -> Result<(), Failure> {
        let counts: Vec<usize> = complaints.iter().map(|complaint| complaint.answers(&self.world).len()).collect();
        let n_on_x = self.world.x.own().len();
        if counts.iter().all(|n| *n == 1) && n_on_x == 1 {
            line("each of the four complaints has one answer on its network, and Rosa none");
            return Ok(());
        }
        Err(defect(format!("the complaints have {counts:?} answers instead of one each, and {n_on_x} instead of 1 are on X")))
    }
}
