//! Judges whether a host kept its promises, from what others wrote down: the ledgers of the networks and of the CRM, what senders were
//! acknowledged, and what the store holds at the end. It knows nothing of the host's code but the form of its audit log, asks nobody, and
//! believes nothing that the host says of itself where a ledger tells it too.

mod audit;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// States in which nothing is left to do.
const OVER: [&str; 5] = ["sent", "rejected", "withdrawn", "expired", "suppressed"];
/// A person must look, and is told why.
const LEFT: [&str; 2] = ["human", "dead"];
/// A person must say yes: the draft says what to.
const DRAFT: &str = "awaiting-approval";
/// Time alone moves it on; it must be told when, and why if it was tried.
const WAITING: [&str; 4] = ["pending", "retry", "unknown", "reconciling"];

/// All that is known of a run, when nothing is under way any more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// What others said, in the order in which the networks had it.
    pub said: Vec<Said>,
    /// What the store has of others, and tells on every surface.
    pub stored: Vec<Stored>,
    /// The tasks, each by what it is about. Shape: [`Stored::id`].
    pub tasks: Vec<String>,
    /// The outbox.
    pub actions: Vec<Acted>,
    /// What the networks took of us, in their order.
    pub posts: Vec<Posted>,
    /// What the CRM was told, in its order.
    pub told: Vec<Told>,
    /// Kinds of events of which the CRM must have one for each thing said.
    pub kinds: Vec<String>,
    /// From which place a channel's network was asked, in its order.
    pub asked: BTreeMap<String, Vec<u64>>,
    /// The lines of `audit.log`, and `audit.head`.
    pub audit: (Vec<String>, String),
    /// How many orders were acknowledged: as many are `done` there at least.
    pub n_orders: usize,
    /// What `verify` finds.
    pub damage: Vec<String>,
    /// When it was taken down, by the host's clock. Shape: RFC 3339 in UTC, as the host writes it.
    pub at: String,
}

/// Something that somebody said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Where.
    pub channel: String,
    /// What network and store both know it by. Shape: once in a run.
    pub name: String,
    /// The thread with this person that a reply belongs to.
    pub exchange: String,
    /// The host said that it has it, or the network shows it to whoever asks. What is not may be there or not.
    pub is_acknowledged: bool,
    /// A team must have it as a task.
    pub wants_task: bool,
    /// It must be answered.
    pub wants_reply: bool,
}

/// Something of others in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Where it was said.
    pub channel: String,
    /// See [`Said::name`].
    pub name: String,
    /// What the host calls it.
    pub id: String,
}

/// An action of the outbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acted {
    /// Its id.
    pub id: String,
    /// What it answers. Shape: [`Stored::id`].
    pub about: String,
    /// The glossary's word.
    pub state: String,
    /// Why it is so.
    pub reason: Option<String>,
    /// When it is looked at again. Shape: as [`Evidence::at`].
    pub due: String,
}

/// A post of ours on a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posted {
    /// Where.
    pub channel: String,
    /// What it answers; empty where the network knows of nothing.
    pub answers: String,
}

/// An event that the CRM was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// `webhook-id`.
    pub id: String,
    /// `ce-type`.
    pub kind: String,
    /// Its interaction. Shape: [`Stored::id`].
    pub about: String,
    /// What must be the same at each try.
    pub words: String,
    /// Its signature is right.
    pub is_signed: bool,
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wrong {
    /// Acknowledged, and not in the store.
    Lost,
    /// In the store, and nobody said it.
    Phantom,
    /// In the store under two ids.
    StoredTwice,
    /// No team has it as a task, or nothing answers it.
    Undecided,
    /// Two tasks or two replies about one thing.
    DecidedTwice,
    /// The network has two replies to one thing.
    PostedTwice,
    /// The network has a reply that nobody decided.
    PostedUnasked,
    /// The store says that it went out, and the network does not know it.
    NotPosted,
    /// A later question of an exchange was answered first.
    OutOfOrder,
    /// An action that nothing will end.
    Unsettled,
    /// An action that waits, and nobody knows why.
    Unexplained,
    /// The CRM does not know of it.
    Untold,
    /// The CRM knows it as two events.
    ToldTwice,
    /// One event came with two contents.
    ToldInTwoWays,
    /// An event of what is not in the store.
    ToldUnasked,
    /// A signature is wrong.
    Unsigned,
    /// A network was asked from before the place that was reached.
    SteppedBack,
    /// The audit log is not as it was written.
    AuditBroken,
    /// An order was acknowledged, and is not in the audit log.
    OrderLost,
    /// `verify` finds damage.
    Damaged,
}

impl Wrong {
    /// Everything that can be wrong.
    pub const ALL: [Self; 20] = [
        Self::Lost,
        Self::Phantom,
        Self::StoredTwice,
        Self::Undecided,
        Self::DecidedTwice,
        Self::PostedTwice,
        Self::PostedUnasked,
        Self::NotPosted,
        Self::OutOfOrder,
        Self::Unsettled,
        Self::Unexplained,
        Self::Untold,
        Self::ToldTwice,
        Self::ToldInTwoWays,
        Self::ToldUnasked,
        Self::Unsigned,
        Self::SteppedBack,
        Self::AuditBroken,
        Self::OrderLost,
        Self::Damaged,
    ];
}

/// A promise that was not kept, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breach {
    /// How.
    pub wrong: Wrong,
    /// What it is about, by the name that the evidence has for it.
    pub of: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.wrong, self.of)
    }
}

/// Every promise that was not kept, sorted; nothing where all were.
pub fn judge(evidence: &Evidence) -> Vec<Breach> {
    let books = Books::of(evidence);
    let mut breaches = BTreeSet::new();
    let mut found = |wrong: Wrong, of: String| {
        breaches.insert(Breach { wrong, of });
    };
    books.intake(&mut found);
    books.decisions(&mut found);
    books.posts(&mut found);
    books.order(&mut found);
    actions(evidence, &mut found);
    books.crm(&mut found);
    cursors(evidence, &mut found);
    audit::judge(evidence, &mut found);
    evidence.damage.iter().for_each(|words| found(Wrong::Damaged, words.clone()));
    breaches.into_iter().collect()
}

/// Who is told of a breach.
type Found<'f> = &'f mut dyn FnMut(Wrong, String);

/// The evidence, by what it is looked up by.
struct Books<'e> {
    evidence: &'e Evidence,
    /// By channel and name.
    said: BTreeMap<(&'e str, &'e str), &'e Said>,
    stored: BTreeMap<(&'e str, &'e str), Vec<&'e str>>,
    /// By the host's id.
    by_id: BTreeMap<&'e str, &'e Stored>,
    /// By what they are about.
    actions: BTreeMap<&'e str, Vec<&'e Acted>>,
}

impl<'e> Books<'e> {
    fn of(evidence: &'e Evidence) -> Self {
        let (mut stored, mut actions) = (BTreeMap::<_, Vec<&str>>::new(), BTreeMap::<_, Vec<&Acted>>::new());
        for one in &evidence.stored {
            stored.entry((one.channel.as_str(), one.name.as_str())).or_default().push(&one.id);
        }
        for action in &evidence.actions {
            actions.entry(action.about.as_str()).or_default().push(action);
        }
        Self {
            evidence,
            said: evidence.said.iter().map(|said| ((said.channel.as_str(), said.name.as_str()), said)).collect(),
            stored,
            by_id: evidence.stored.iter().map(|one| (one.id.as_str(), one)).collect(),
            actions,
        }
    }

    /// What the host calls a thing.
    fn id(&self, said: &Said) -> Option<&'e str> {
        self.stored.get(&(said.channel.as_str(), said.name.as_str())).and_then(|ids| ids.first()).copied()
    }

    fn intake(&self, found: Found<'_>) {
        for said in self.evidence.said.iter().filter(|said| said.is_acknowledged && self.id(said).is_none()) {
            found(Wrong::Lost, said.name.clone());
        }
        for (place, ids) in &self.stored {
            if !self.said.contains_key(place) {
                found(Wrong::Phantom, place.1.to_owned());
            }
            if ids.len() > 1 {
                found(Wrong::StoredTwice, place.1.to_owned());
            }
        }
    }

    fn decisions(&self, found: Found<'_>) {
        let mut n_tasks: BTreeMap<&str, usize> = BTreeMap::new();
        self.evidence.tasks.iter().for_each(|about| *n_tasks.entry(about).or_default() += 1);
        for said in &self.evidence.said {
            let Some(id) = self.id(said) else { continue };
            let (n_tasks, n_replies) = (n_tasks.get(id).copied().unwrap_or(0), self.actions.get(id).map_or(0, Vec::len));
            if (said.wants_task && n_tasks == 0) || (said.wants_reply && n_replies == 0) {
                found(Wrong::Undecided, said.name.clone());
            }
            if n_tasks > 1 || n_replies > 1 {
                found(Wrong::DecidedTwice, said.name.clone());
            }
        }
    }

    /// What the networks have of us against what the store says that they have.
    fn posts(&self, found: Found<'_>) {
        let mut n_posts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        self.evidence.posts.iter().for_each(|post| *n_posts.entry((&post.channel, &post.answers)).or_default() += 1);
        for (place, n) in &n_posts {
            let ids = self.stored.get(place).map(Vec::as_slice).unwrap_or_default();
            let n_decided: usize = ids.iter().map(|id| self.actions.get(id).map_or(0, Vec::len)).sum();
            if n_decided == 0 {
                found(Wrong::PostedUnasked, format!("{}/{}", place.0, place.1));
            } else if *n > 1 {
                found(Wrong::PostedTwice, place.1.to_owned());
            }
        }
        for action in self.evidence.actions.iter().filter(|action| action.state == "sent") {
            let place = self.by_id.get(action.about.as_str()).map(|one| (one.channel.as_str(), one.name.as_str()));
            if !place.is_some_and(|place| n_posts.contains_key(&place)) {
                found(Wrong::NotPosted, action.id.clone());
            }
        }
    }

    /// Answers stand in the order of what they answer.
    fn order(&self, found: Found<'_>) {
        let places: BTreeMap<(&str, &str), (usize, &str)> =
            (0..).zip(&self.evidence.said).map(|(n, said)| ((said.channel.as_str(), said.name.as_str()), (n, said.exchange.as_str()))).collect();
        let mut reached: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for post in &self.evidence.posts {
            let Some((n, exchange)) = places.get(&(post.channel.as_str(), post.answers.as_str())) else { continue };
            let last = reached.entry((&post.channel, exchange)).or_insert(*n);
            if *n < *last {
                found(Wrong::OutOfOrder, (*exchange).to_owned());
            }
            *last = (*last).max(*n);
        }
    }

    fn crm(&self, found: Found<'_>) {
        let mut words: BTreeMap<&str, &str> = BTreeMap::new();
        let mut events: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
        for told in &self.evidence.told {
            if !told.is_signed {
                found(Wrong::Unsigned, told.id.clone());
            }
            if *words.entry(&told.id).or_insert(&told.words) != told.words {
                found(Wrong::ToldInTwoWays, told.id.clone());
            }
            if !told.about.is_empty() && !self.by_id.contains_key(told.about.as_str()) {
                found(Wrong::ToldUnasked, told.id.clone());
            }
            events.entry((&told.kind, &told.about)).or_default().insert(&told.id);
        }
        for (kind, said) in self.evidence.kinds.iter().flat_map(|kind| self.evidence.said.iter().map(move |said| (kind, said))) {
            let Some(id) = self.id(said) else { continue };
            match events.get(&(kind.as_str(), id)).map_or(0, BTreeSet::len) {
                0 => found(Wrong::Untold, format!("{kind} of {}", said.name)),
                1 => {}
                _ => found(Wrong::ToldTwice, format!("{kind} of {}", said.name)),
            }
        }
    }
}

/// Each is over, or waits for somebody or something that is told.
fn actions(evidence: &Evidence, found: Found<'_>) {
    for action in &evidence.actions {
        let (state, is_explained) = (action.state.as_str(), action.reason.as_ref().is_some_and(|reason| !reason.trim().is_empty()));
        // Both are RFC 3339 in UTC with milliseconds: as texts they stand as in time.
        let is_to_come = action.due > evidence.at;
        if OVER.contains(&state) || state == DRAFT {
            continue;
        }
        if !(LEFT.contains(&state) || WAITING.contains(&state) && is_to_come) {
            found(Wrong::Unsettled, action.id.clone());
        } else if state != "pending" && !is_explained {
            found(Wrong::Unexplained, action.id.clone());
        }
    }
}

fn cursors(evidence: &Evidence, found: Found<'_>) {
    for (channel, places) in &evidence.asked {
        if !places.is_sorted() {
            found(Wrong::SteppedBack, channel.clone());
        }
    }
}
