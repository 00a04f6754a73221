//! A memory store, a simulated clock, and rules, timers and outbox of one channel; a rule and a network that do as told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::json;

use crate::clock::Clock;
use crate::model::{
    Action, ChannelName, Detail, Entry, EntryBody, Fact, Fault, Interaction, InteractionId, NewEntry, ReplyTerms, Seq, Task, Timestamp, Wanted,
};
use crate::outbox::{Outbox, SendClass};
use crate::plugin::{Generation, Manifest, Message, Native, Receipt, RuleDecision, RuleEvent, Sent};
use crate::rules::{Rule, Rules, RulesInForce, Timers};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{ChannelStatus, MemoryStore, Reader};
use crate::testing::{self, native};

pub(super) type Decide = dyn Fn(&RuleEvent) -> Result<RuleDecision, Fault> + Send + Sync;

/// A rule that answers as the test says.
#[derive(Clone)]
pub(super) struct Told(Arc<Mutex<Arc<Decide>>>);

impl Native for Told {
    fn decide(&self, events: Vec<RuleEvent>) -> Result<Vec<RuleDecision>, Fault> {
        let decide = Arc::clone(&self.0.lock().unwrap());
        events.iter().map(|event| decide(event)).collect()
    }
}

/// A network that keeps what it took, and answers as scripted.
#[derive(Clone, Default)]
pub(super) struct Network {
    pub(super) posts: Arc<Mutex<Vec<(String, Message)>>>,
    pub(super) script: Arc<Mutex<VecDeque<Fault>>>,
    /// It takes the post although it answers with a fault.
    pub(super) takes_anyway: Arc<Mutex<bool>>,
    /// What a search finds, whatever it is for.
    pub(super) finds: Arc<Mutex<Option<Receipt>>>,
}

impl Native for Network {
    fn send(&self, key: &str, message: &Message) -> Result<Receipt, Fault> {
        let fault = self.script.lock().unwrap().pop_front();
        let mut posts = self.posts.lock().unwrap();
        let is_known = posts.iter().any(|(known, _)| known == key);
        if !is_known && (fault.is_none() || *self.takes_anyway.lock().unwrap()) {
            posts.push((key.to_owned(), message.clone()));
        }
        fault.map_or(Ok(receipt(key)), Err)
    }

    fn probe(&self, key: &str, _message: &Message) -> Result<(Sent, Option<Receipt>), Fault> {
        if let Some(receipt) = self.finds.lock().unwrap().clone() {
            return Ok((Sent::Yes, Some(receipt)));
        }
        let is_there = self.posts.lock().unwrap().iter().any(|(known, _)| known == key);
        Ok(if is_there { (Sent::Yes, Some(receipt(key))) } else { (Sent::No, None) })
    }
}

pub(super) fn receipt(key: &str) -> Receipt {
    Receipt { native: native(&format!("post-{key}")), aka: Vec::new() }
}

pub(super) fn fault(code: &str) -> Detail {
    Detail { code: code.to_owned(), message: "as the test says".to_owned() }
}

pub(super) struct World {
    pub(super) journal: Journal,
    pub(super) channel: ChannelName,
    pub(super) rule: Told,
    pub(super) network: Network,
    pub(super) works: Vec<Arc<dyn Work>>,
}

pub(super) fn manifest(name: &str, kind: &str) -> Manifest {
    Manifest::parse(&format!(
        "name = \"{name}\"\nversion = \"0.1.0\"\nkind = \"{kind}\"\ncontract = \"0.1\"\nnetwork = \"pretend\"\nsummary = \"a test\"\nlicense = \"Apache-2.0\"\n[view]\nexchange = true\nconversation = true\nhistory = 2\n"
    ))
    .unwrap()
}

impl World {
    pub(super) fn new(class: SendClass) -> Self {
        Self::with_terms(class, ReplyTerms::default())
    }

    pub(super) fn with_terms(class: SendClass, terms: ReplyTerms) -> Self {
        let terms = Arc::new(terms);
        let journal = Journal::new(Arc::new(MemoryStore::default()), Clock::simulated(Timestamp(1_000_000_000)));
        let channel = ChannelName::from("masto");
        let rule = Told(Arc::new(Mutex::new(Arc::new(|_: &RuleEvent| Ok(nothing())))));
        let network = Network::default();
        let connector = Generation::native("masto", manifest("masto", "connector"), network.clone());
        let judge = Generation::native("impact", manifest("impact", "rule"), rule.clone());
        let rules: Arc<RulesInForce> = Arc::new(ArcSwap::from_pointee(vec![Rule { name: "impact".to_owned(), plugin: judge }]));
        let works: Vec<Arc<dyn Work>> = vec![
            Arc::new(Rules {
                journal: journal.clone(),
                channel: channel.clone(),
                rules,
                capabilities: "{}".into(),
                terms: Some(Arc::clone(&terms)),
                teams: vec!["support".to_owned(), "lead".to_owned()].into(),
                strikes: Mutex::default(),
            }),
            Arc::new(Timers::new(journal.clone(), channel.clone())),
            Arc::new(Outbox { journal: journal.clone(), channel: channel.clone(), plugin: connector, class, terms, held_until: Mutex::default() }),
        ];
        Self { journal, channel, rule, network, works }
    }

    pub(super) fn decide(&self, decide: impl Fn(&RuleEvent) -> Result<RuleDecision, Fault> + Send + Sync + 'static) {
        *self.rule.0.lock().unwrap() = Arc::new(decide);
    }

    /// Everything turns until nobody has anything to do. The analysis has nothing to say and is always done.
    pub(super) async fn settle(&self) -> Vec<StageError> {
        let mut errors = Vec::new();
        for _ in 0..1000 {
            self.analysed().await;
            let mut has_worked = false;
            for work in &self.works {
                match work.turn().await {
                    Ok(turn) => has_worked |= turn == Turn::Worked,
                    Err(error) => errors.push(error),
                }
            }
            if !has_worked {
                return errors;
            }
        }
        panic!("it never comes to rest");
    }

    pub(super) async fn analysed(&self) {
        let record = self.journal.store.channel(&self.channel).await.unwrap();
        let mut commit = self.journal.begin(&self.channel);
        commit.positions.push((Reader::Analysis, record.last.0));
        self.journal.commit(commit).await.unwrap();
    }

    pub(super) async fn wait(&self, seconds: u64) {
        self.journal.clock.advance(Duration::from_secs(seconds));
        self.settle().await;
    }

    /// The clock is set: on, or back.
    pub(super) async fn jump(&self, seconds: i64) {
        let by = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 {
            self.journal.clock.put_back(by);
        } else {
            self.journal.clock.advance(by);
        }
        self.settle().await;
    }

    pub(super) fn id(&self, name: &str) -> InteractionId {
        self.journal.store.id_key().interaction(&self.channel, &native(name))
    }

    pub(super) async fn append(&self, name: &str, parent: Option<&str>, body: EntryBody) {
        self.append_by("anna", name, parent.unwrap_or(name), body).await;
    }

    /// Of this author, in the conversation that began with `root`.
    pub(super) async fn append_by(&self, author: &str, name: &str, root: &str, body: EntryBody) {
        let key = self.journal.store.id_key();
        let conversation = key.conversation(self.id(root));
        let identity = key.identity("pretend", &native(author));
        // What is ours goes on the exchange of Anna, whom it answers.
        let is_ours = body.content().is_some_and(|content| content.is_ours());
        let with = if is_ours { key.identity("pretend", &native("anna")) } else { identity };
        let mut commit = self.journal.begin(&self.channel);
        commit.entries.push(NewEntry {
            interaction: Some(self.id(name)),
            identity: Some(identity),
            conversation: Some(conversation),
            exchange: Some(key.exchange(conversation, Some(with))),
            is_backfill: false,
            body,
        });
        self.journal.commit(commit).await.unwrap();
    }

    pub(super) async fn says(&self, name: &str, parent: Option<&str>, text: &str) {
        self.append(name, parent, EntryBody::Arrived(Box::new(said(name, parent, text)))).await;
    }

    pub(super) async fn actions(&self) -> Vec<Action> {
        self.journal.store.actions(&self.channel, None, 100).await.unwrap()
    }

    pub(super) async fn action(&self, name: &str) -> Action {
        self.journal.store.actions_about(&self.channel, self.id(name)).await.unwrap().into_iter().next().unwrap()
    }

    /// A person approves the reply to `name`, in these words where there are some.
    pub(super) async fn approve(&self, name: &str, text: Option<&str>) {
        let (mut commit, draft) = (self.journal.begin(&self.channel), self.action(name).await);
        commit.actions.push(draft.approved(text.map(str::to_owned), commit.at));
        self.journal.commit(commit).await.unwrap();
    }

    pub(super) async fn task(&self, name: &str) -> Task {
        self.journal.store.tasks_about(&self.channel, self.id(name)).await.unwrap().into_iter().next().unwrap()
    }

    pub(super) async fn status(&self) -> ChannelStatus {
        self.journal.store.channel(&self.channel).await.unwrap().status.unwrap()
    }

    pub(super) async fn log(&self) -> Vec<Arc<Entry>> {
        self.journal.store.read_log(&self.channel, Seq(1), 1000).await.unwrap()
    }

    pub(super) async fn n_facts(&self, is_wanted: impl Fn(&Fact) -> bool) -> usize {
        self.log().await.iter().filter(|entry| matches!(&entry.new.body, EntryBody::Fact(fact) if is_wanted(fact))).count()
    }

    pub(super) fn texts(&self) -> Vec<String> {
        self.network.posts.lock().unwrap().iter().map(|(_, message)| message.text.clone()).collect()
    }

    pub(super) fn fails(&self, faults: impl IntoIterator<Item = Fault>) {
        self.network.script.lock().unwrap().extend(faults);
    }
}

pub(super) fn said(name: &str, parent: Option<&str>, text: &str) -> Interaction {
    Interaction { kind: "mention".to_owned(), parent: parent.map(native), ..testing::said(name, text) }
}

pub(super) fn nothing() -> RuleDecision {
    RuleDecision { actions: Vec::new(), n_refused: 0, row: None, reasons: Vec::new() }
}

pub(super) fn wants(actions: &[(&str, serde_json::Value)]) -> RuleDecision {
    let wanted = |(kind, body): &(&str, serde_json::Value)| Wanted { key: (*kind).to_owned(), kind: (*kind).to_owned(), body: body.to_string() };
    RuleDecision { actions: actions.iter().map(wanted).collect(), ..nothing() }
}

pub(super) fn sends(text: &str) -> RuleDecision {
    wants(&[("reply", json!({ "mode": "send", "text": text }))])
}

/// Answers with what was said, so that each decision can be told from the others.
pub(super) fn echoes(event: &RuleEvent) -> Result<RuleDecision, Fault> {
    let text = event.interaction.as_ref().map(|about| about.text.clone()).unwrap_or_default();
    Ok(if event.kind == "action.settled" { nothing() } else { sends(&format!("re: {text}")) })
}
