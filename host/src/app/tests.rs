//! Rules, outbox and timers together on a memory store and a simulated clock, with a rule and a network that do as told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::json;

use crate::clock::Clock;
use crate::model::{
    Action, ActionState, Author, ChannelName, Detail, Entry, EntryBody, Fact, Fault, Interaction, InteractionId, NativeId, NewEntry, Ours, Seq, Task,
    TaskState, Timestamp, Wanted,
};
use crate::outbox::{Outbox, SendClass};
use crate::plugin::{Generation, Manifest, Message, Native, Receipt, RuleDecision, RuleEvent, Sent, Slot};
use crate::rules::{Rule, Rules, RulesInForce, Timers};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{MemoryStore, Reader};

type Decide = dyn Fn(&RuleEvent) -> Result<RuleDecision, Fault> + Send + Sync;

/// A rule that answers as the test says.
#[derive(Clone)]
struct Told(Arc<Mutex<Arc<Decide>>>);

impl Native for Told {
    fn decide(&self, events: Vec<RuleEvent>) -> Result<Vec<RuleDecision>, Fault> {
        let decide = Arc::clone(&self.0.lock().unwrap());
        events.iter().map(|event| decide(event)).collect()
    }
}

/// A network that keeps what it took, and answers as scripted.
#[derive(Clone, Default)]
struct Network {
    posts: Arc<Mutex<Vec<(String, Message)>>>,
    script: Arc<Mutex<VecDeque<Fault>>>,
    /// It takes the post although it answers with a fault.
    takes_anyway: Arc<Mutex<bool>>,
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
        let is_there = self.posts.lock().unwrap().iter().any(|(known, _)| known == key);
        Ok(if is_there { (Sent::Yes, Some(receipt(key))) } else { (Sent::No, None) })
    }
}

fn receipt(key: &str) -> Receipt {
    Receipt { native: native(&format!("post-{key}")), aka: Vec::new() }
}

fn native(id: &str) -> NativeId {
    NativeId { scope: String::new(), id: id.to_owned() }
}

fn fault(code: &str) -> Detail {
    Detail { code: code.to_owned(), message: "as the test says".to_owned() }
}

struct World {
    journal: Journal,
    channel: ChannelName,
    rule: Told,
    network: Network,
    works: Vec<Arc<dyn Work>>,
}

fn manifest(name: &str, kind: &str) -> Manifest {
    Manifest::parse(&format!(
        "name = \"{name}\"\nversion = \"0.1.0\"\nkind = \"{kind}\"\ncontract = \"0.1\"\nnetwork = \"pretend\"\nsummary = \"a test\"\nlicense = \"Apache-2.0\"\n[view]\nexchange = true\nconversation = true\nhistory = 2\n"
    ))
    .unwrap()
}

impl World {
    fn new(class: SendClass) -> Self {
        let journal = Journal::new(Arc::new(MemoryStore::default()), Clock::simulated(Timestamp(1_000_000_000)));
        let channel = ChannelName::from("masto");
        let rule = Told(Arc::new(Mutex::new(Arc::new(|_: &RuleEvent| Ok(nothing())))));
        let network = Network::default();
        let slot = |name: &str, kind: &str, native: Arc<Generation>| (name.to_owned(), kind.to_owned(), Arc::new(Slot::new(native))).2;
        let connector = slot("masto", "connector", Generation::native("masto", manifest("masto", "connector"), network.clone()));
        let judge = slot("impact", "rule", Generation::native("impact", manifest("impact", "rule"), rule.clone()));
        let rules: Arc<RulesInForce> = Arc::new(ArcSwap::from_pointee(vec![Rule { name: "impact".to_owned(), plugin: judge }]));
        let works: Vec<Arc<dyn Work>> = vec![
            Arc::new(Rules {
                journal: journal.clone(),
                channel: channel.clone(),
                rules,
                capabilities: "{}".into(),
                can_reply: true,
                teams: vec!["support".to_owned(), "lead".to_owned()].into(),
                strikes: Mutex::default(),
            }),
            Arc::new(Timers { journal: journal.clone(), channel: channel.clone() }),
            Arc::new(Outbox { journal: journal.clone(), channel: channel.clone(), plugin: connector, class, held_until: Mutex::default() }),
        ];
        Self { journal, channel, rule, network, works }
    }

    fn decide(&self, decide: impl Fn(&RuleEvent) -> Result<RuleDecision, Fault> + Send + Sync + 'static) {
        *self.rule.0.lock().unwrap() = Arc::new(decide);
    }

    /// Everything turns until nobody has anything to do. The analysis has nothing to say and is always done.
    async fn settle(&self) -> Vec<StageError> {
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

    async fn analysed(&self) {
        let record = self.journal.store.channel(&self.channel).await.unwrap();
        let mut commit = self.journal.begin(&self.channel);
        commit.positions.push((Reader::Analysis, record.last.0));
        self.journal.commit(commit).await.unwrap();
    }

    async fn wait(&self, seconds: u64) {
        self.journal.clock.advance(Duration::from_secs(seconds));
        self.settle().await;
    }

    fn id(&self, name: &str) -> InteractionId {
        self.journal.store.id_key().interaction(&self.channel, &native(name))
    }

    async fn append(&self, name: &str, parent: Option<&str>, body: EntryBody) {
        let key = self.journal.store.id_key();
        let conversation = key.conversation(self.id(parent.unwrap_or(name)));
        let identity = key.identity("pretend", &native("anna"));
        let mut commit = self.journal.begin(&self.channel);
        commit.entries.push(NewEntry {
            interaction: Some(self.id(name)),
            identity: Some(identity),
            conversation: Some(conversation),
            exchange: Some(key.exchange(conversation, Some(identity))),
            is_backfill: false,
            body,
        });
        self.journal.commit(commit).await.unwrap();
    }

    async fn says(&self, name: &str, parent: Option<&str>, text: &str) {
        self.append(name, parent, EntryBody::Arrived(Box::new(said(name, parent, text)))).await;
    }

    async fn actions(&self) -> Vec<Action> {
        self.journal.store.actions(&self.channel, None, 100).await.unwrap()
    }

    async fn action(&self, name: &str) -> Action {
        self.journal.store.actions_about(&self.channel, self.id(name)).await.unwrap().into_iter().next().unwrap()
    }

    async fn task(&self, name: &str) -> Task {
        self.journal.store.tasks_about(&self.channel, self.id(name)).await.unwrap().into_iter().next().unwrap()
    }

    async fn log(&self) -> Vec<Arc<Entry>> {
        self.journal.store.read_log(&self.channel, Seq(1), 1000).await.unwrap()
    }

    async fn n_facts(&self, is_wanted: impl Fn(&Fact) -> bool) -> usize {
        self.log().await.iter().filter(|entry| matches!(&entry.new.body, EntryBody::Fact(fact) if is_wanted(fact))).count()
    }

    fn texts(&self) -> Vec<String> {
        self.network.posts.lock().unwrap().iter().map(|(_, message)| message.text.clone()).collect()
    }

    fn fails(&self, faults: impl IntoIterator<Item = Fault>) {
        self.network.script.lock().unwrap().extend(faults);
    }
}

fn said(name: &str, parent: Option<&str>, text: &str) -> Interaction {
    Interaction {
        native: native(name),
        aka: Vec::new(),
        kind: "mention".to_owned(),
        visibility: "public".to_owned(),
        author: Some(Author {
            native: native("anna"),
            handle: None,
            name: Some("Anna".to_owned()),
            url: None,
            email: None,
            phone: None,
            assurance: None,
            automated: false,
            metrics: Vec::new(),
        }),
        ours: Ours::No,
        automated: "no".to_owned(),
        conversation: None,
        parent: parent.map(native),
        refs: Vec::new(),
        subject: None,
        text: text.to_owned(),
        quoted: None,
        language: None,
        url: None,
        attachments: Vec::new(),
        place: None,
        side: None,
        campaign: None,
        occurred: Timestamp(1),
        edited: None,
        reply_context: None,
        attrs: Vec::new(),
    }
}

fn nothing() -> RuleDecision {
    RuleDecision { actions: Vec::new(), row: None, reasons: Vec::new() }
}

fn wants(actions: &[(&str, serde_json::Value)]) -> RuleDecision {
    let wanted = |(kind, body): &(&str, serde_json::Value)| Wanted { key: (*kind).to_owned(), kind: (*kind).to_owned(), body: body.to_string() };
    RuleDecision { actions: actions.iter().map(wanted).collect(), ..nothing() }
}

fn sends(text: &str) -> RuleDecision {
    wants(&[("reply", json!({ "mode": "send", "text": text }))])
}

/// Answers with what was said, so that each decision can be told from the others.
fn echoes(event: &RuleEvent) -> Result<RuleDecision, Fault> {
    let text = event.interaction.as_ref().map(|about| about.text.clone()).unwrap_or_default();
    Ok(if event.kind == "action.settled" { nothing() } else { sends(&format!("re: {text}")) })
}

#[tokio::test]
async fn a_rule_that_fails_on_an_edit_keeps_its_task_and_its_reply() {
    let world = World::new(SendClass::None);
    world.decide(|_| Ok(wants(&[("assign", json!({ "team": "support" })), ("reply", json!({ "mode": "draft", "text": "Ciao" }))])));
    world.says("1", None, "vergogna").await;
    world.settle().await;

    world.decide(|_| Err(Fault::Permanent(fault("trap"))));
    world.append("1", None, EntryBody::Edited(Box::new(said("1", None, "vergogna!")))).await;
    world.settle().await;

    assert_eq!(world.task("1").await.state, TaskState::Open);
    assert_eq!(world.action("1").await.state, ActionState::AwaitingApproval);
    assert_eq!(world.journal.store.dead_letters(&world.channel, None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_fault_that_passes_holds_the_channel_for_a_while_only() {
    let world = World::new(SendClass::None);
    world.decide(|_| Err(Fault::Transient(fault("timeout"))));
    world.says("1", None, "vergogna").await;

    let mut n_held = 0;
    while !world.settle().await.is_empty() {
        n_held += 1;
        assert!(n_held < 20, "a rule that never answers must not hold a channel for ever");
    }

    assert!(n_held > 1);
    assert_eq!(world.journal.store.dead_letters(&world.channel, None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_older_reply_of_an_exchange_goes_first_and_each_goes_once() {
    let world = World::new(SendClass::None);
    world.decide(echoes);
    world.fails([Fault::Transient(fault("busy"))]);
    world.says("1", None, "one").await;
    world.settle().await;
    world.says("2", Some("1"), "two").await;
    world.settle().await;
    assert_eq!(world.texts(), Vec::<String>::new(), "the first waits for its second try, and the second for the first");

    for _ in 0..20 {
        world.wait(10).await;
    }
    assert_eq!(world.texts(), ["re: one", "re: two"]);
}

#[tokio::test]
async fn what_was_decided_before_somebody_spoke_again_is_decided_again() {
    let world = World::new(SendClass::None);
    world.decide(|event| {
        let version = event.exchange.map_or(0, |exchange| exchange.version);
        Ok(if event.kind == "action.settled" { nothing() } else { sends(&format!("{} at {version}", event.kind)) })
    });
    world.fails([Fault::RateLimited(fault("slow"), 60_000)]);
    world.says("0", None, "hold the channel").await;
    world.settle().await;
    world.says("1", Some("0"), "one").await;
    world.settle().await;
    world.says("2", Some("0"), "two").await;
    world.settle().await;

    for _ in 0..30 {
        world.wait(40).await;
    }

    let texts = world.texts();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[1..].iter().all(|text| text.starts_with("exchange.moved")), "{texts:?}");
}

#[tokio::test]
async fn a_fourth_automatic_reply_in_an_hour_waits_for_a_person() {
    let world = World::new(SendClass::None);
    world.decide(echoes);
    for n in 0..5 {
        world.says(&n.to_string(), (n > 0).then_some("0"), &format!("m{n}")).await;
    }
    for _ in 0..20 {
        world.wait(40).await;
    }

    let states: Vec<ActionState> = world.actions().await.iter().map(|action| action.state).collect();
    assert_eq!(states.iter().filter(|state| **state == ActionState::Sent).count(), 3, "{states:?}");
    assert_eq!(states.iter().filter(|state| **state == ActionState::AwaitingApproval).count(), 2, "{states:?}");
    assert_eq!(world.texts().len(), 3);
}

#[tokio::test]
async fn what_is_to_be_reviewed_is_never_sent_unseen() {
    let world = World::new(SendClass::None);
    world.decide(|_| Ok(wants(&[("reply", json!({ "mode": "send", "review": ["support"], "text": "Ciao" }))])));
    world.says("1", None, "one").await;
    world.settle().await;

    assert_eq!(world.action("1").await.state, ActionState::AwaitingApproval);
    assert!(world.texts().is_empty());
}

#[tokio::test]
async fn nothing_automatic_answers_a_machine() {
    let world = World::new(SendClass::None);
    world.decide(echoes);
    let auto = Interaction { automated: "auto-reply".to_owned(), ..said("1", None, "I am out of office") };
    world.append("1", None, EntryBody::Arrived(Box::new(auto))).await;
    world.settle().await;

    assert!(world.actions().await.is_empty() && world.texts().is_empty());
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_never_a_second_post() {
    for class in [SendClass::Key(Duration::from_secs(3600)), SendClass::ReadBack, SendClass::ClientId] {
        let world = World::new(class);
        world.decide(echoes);
        *world.network.takes_anyway.lock().unwrap() = true;
        world.fails([Fault::Transient(fault(Fault::OUTCOME_UNKNOWN))]);
        world.says("1", None, "one").await;
        world.settle().await;
        assert_eq!(world.action("1").await.state, ActionState::Unknown, "{class:?}");

        world.wait(60).await;
        assert_eq!(world.action("1").await.state, ActionState::Sent, "{class:?}");
        assert_eq!(world.texts(), ["re: one"], "{class:?}");
    }
    let world = World::new(SendClass::None);
    world.decide(echoes);
    world.fails([Fault::Transient(fault("timeout"))]);
    world.says("1", None, "one").await;
    world.settle().await;
    world.wait(60).await;
    assert_eq!(world.action("1").await.state, ActionState::Human, "a network that cannot tell leaves it to a person");
}

#[tokio::test]
async fn a_crash_between_claim_and_outcome_is_unknown() {
    let world = World::new(SendClass::ReadBack);
    world.decide(|_| Ok(wants(&[("reply", json!({ "mode": "draft", "text": "Ciao" }))])));
    world.says("1", None, "one").await;
    world.settle().await;
    let draft = world.action("1").await;
    let mut commit = world.journal.begin(&world.channel);
    commit.actions.push(Action { state: ActionState::Claimed, revision: draft.revision + 1, ..draft });
    world.journal.commit(commit).await.unwrap();

    world.settle().await;
    assert_eq!(world.action("1").await.state, ActionState::Unknown);
    world.wait(60).await;
    assert_eq!(world.texts(), ["Ciao"], "it was proved absent, so it is sent");
}

#[tokio::test]
async fn a_deletion_withdraws_what_was_not_sent() {
    let world = World::new(SendClass::None);
    world.decide(|event| if event.kind == "interaction.gone" { Ok(nothing()) } else { echoes(event) });
    world.fails([Fault::Transient(fault("busy"))]);
    world.says("1", None, "one").await;
    world.settle().await;
    assert_eq!(world.action("1").await.state, ActionState::Retry);
    world.append("1", None, EntryBody::Gone).await;
    for _ in 0..5 {
        world.wait(40).await;
    }

    assert_eq!(world.action("1").await.state, ActionState::Withdrawn);
    assert!(world.texts().is_empty());
    assert!(world.journal.store.dead_letters(&world.channel, None, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_credential_holds_the_whole_outbox() {
    let world = World::new(SendClass::None);
    world.decide(echoes);
    world.fails([Fault::Auth(fault("expired"))]);
    for n in 0..9 {
        world.says(&n.to_string(), None, "x").await;
    }
    world.settle().await;
    assert_eq!(world.actions().await.iter().filter(|action| action.attempts > 0 || action.error.is_some()).count(), 1, "one login, not nine");

    world.wait(61).await;
    assert_eq!(world.texts().len(), 9);
}

#[tokio::test]
async fn stuck_exchanges_do_not_hide_the_others() {
    let world = World::new(SendClass::None);
    world.decide(echoes);
    world.fails([Fault::Transient(fault("timeout"))]);
    world.says("0", None, "stuck").await;
    world.settle().await;
    world.wait(60).await;
    assert_eq!(world.action("0").await.state, ActionState::Human);
    for n in 1..100 {
        world.says(&format!("s{n}"), Some("0"), "behind it").await;
    }
    world.says("free", None, "another exchange").await;
    world.settle().await;

    assert_eq!(world.texts(), ["re: another exchange"]);
}

#[tokio::test]
async fn a_deadline_passes_once_and_steps_fire_once() {
    let world = World::new(SendClass::None);
    world.decide(|event| {
        let note = event.interaction.as_ref().map(|about| about.text.clone());
        Ok(wants(&[("assign", json!({ "team": "support", "within_ms": 60_000, "escalate": [{ "after_ms": 30_000, "to": "lead" }], "note": note }))]))
    });
    world.says("1", None, "one").await;
    world.settle().await;
    world.wait(120).await;
    world.append("1", None, EntryBody::Edited(Box::new(said("1", None, "another note")))).await;
    world.wait(120).await;

    assert_eq!(world.n_facts(|fact| matches!(fact, Fact::TaskOverdue { .. })).await, 1);
    assert_eq!(world.n_facts(|fact| matches!(fact, Fact::TaskEscalated { .. })).await, 1);
    assert_eq!(world.task("1").await.assignment.note.as_deref(), Some("another note"));
}

#[tokio::test]
async fn a_person_s_words_outlive_a_new_decision() {
    let world = World::new(SendClass::None);
    world.decide(|event| {
        let text = event.interaction.as_ref().map(|about| about.text.clone()).unwrap_or_default();
        Ok(wants(&[("reply", json!({ "mode": "draft", "text": format!("re: {text}") }))]))
    });
    world.says("1", None, "one").await;
    world.settle().await;
    let draft = world.action("1").await;
    let mut commit = world.journal.begin(&world.channel);
    let revision = draft.revision + 1;
    commit.actions.push(Action { text: "in my own words".to_owned(), is_edited: true, state: ActionState::Pending, revision, ..draft });
    world.journal.commit(commit).await.unwrap();
    world.append("1", None, EntryBody::Edited(Box::new(said("1", None, "ONE")))).await;
    for _ in 0..5 {
        world.wait(40).await;
    }

    assert_eq!(world.texts(), ["in my own words"]);
}

#[tokio::test]
async fn unknown_teams_and_second_replies_are_dropped_and_said_so() {
    let world = World::new(SendClass::None);
    world.decide(|_| {
        let mut decision = wants(&[
            ("assign", json!({ "team": "nobody" })),
            ("note", json!({ "txt": "?" })),
            ("reply", json!({ "mode": "draft", "text": "first" })),
            ("reply", json!({ "mode": "draft", "text": "second" })),
        ]);
        decision.actions[3].key = "reply:2".to_owned();
        Ok(decision)
    });
    world.says("1", None, "one").await;
    world.settle().await;

    let decisions = world.journal.store.decisions(&world.channel, Seq(1), Seq(9)).await.unwrap();
    let why: Vec<&str> = decisions[0].dropped.iter().map(|(_, why)| why.as_str()).collect();
    assert!(why[0].contains("no team `nobody`") && why[1].contains("body of a note") && why[2].contains("came first"), "{why:?}");
    assert_eq!(world.actions().await.len(), 1);
}

#[tokio::test]
async fn a_rule_sees_the_conversation_that_its_view_asks_for() {
    let world = World::new(SendClass::None);
    type Seen = Vec<(u32, Vec<String>)>;
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let sink = Arc::clone(&seen);
    world.decide(move |event| {
        let conversation = event.conversation.clone().unwrap();
        sink.lock().unwrap().push((conversation.count, conversation.recent.into_iter().map(|(_, _, text)| text).collect()));
        Ok(nothing())
    });
    for (name, parent) in [("0", None), ("1", Some("0")), ("2", Some("0")), ("3", Some("0"))] {
        world.says(name, parent, name).await;
        world.settle().await;
    }

    assert_eq!(seen.lock().unwrap().last(), Some(&(4, vec!["2".to_owned(), "1".to_owned()])));
}

#[tokio::test]
async fn two_replies_of_one_key_are_one_reply() {
    let world = World::new(SendClass::None);
    world.decide(|_| Ok(wants(&[("reply", json!({ "mode": "draft", "text": "a" })), ("reply", json!({ "mode": "draft", "text": "b" }))])));
    world.says("1", None, "one").await;
    assert!(world.settle().await.is_empty());

    assert_eq!(world.action("1").await.text, "a");
    let decisions = world.journal.store.decisions(&world.channel, Seq(1), Seq(9)).await.unwrap();
    assert!(decisions[0].dropped[0].1.contains("second reply"), "{decisions:?}");
}

#[tokio::test]
async fn an_automatic_reply_does_not_meet_the_deadline_and_a_person_s_does() {
    for (mode, n_overdue) in [("send", 1), ("draft", 0)] {
        let world = World::new(SendClass::None);
        world.decide(move |event| {
            let reply = json!({ "mode": mode, "text": "Ciao" });
            let wanted = wants(&[("assign", json!({ "team": "support", "within_ms": 60_000 })), ("reply", reply)]);
            Ok(if event.kind == "action.settled" { nothing() } else { wanted })
        });
        world.says("1", None, "one").await;
        world.settle().await;
        let action = world.action("1").await;
        if action.state == ActionState::AwaitingApproval {
            let mut commit = world.journal.begin(&world.channel);
            commit.actions.push(Action { state: ActionState::Pending, is_automatic: false, revision: action.revision + 1, ..action });
            world.journal.commit(commit).await.unwrap();
        }
        world.settle().await;
        world.wait(120).await;

        assert_eq!(world.texts(), ["Ciao"]);
        assert_eq!(world.n_facts(|fact| matches!(fact, Fact::TaskOverdue { .. })).await, n_overdue, "{mode}");
    }
}

#[tokio::test]
async fn another_assignment_opens_a_closed_task_again_and_the_same_does_not() {
    let world = World::new(SendClass::None);
    world.decide(|event| {
        let team = if event.interaction.as_ref().is_some_and(|about| about.text.contains("vergogna")) { "lead" } else { "support" };
        Ok(wants(&[("assign", json!({ "team": team }))]))
    });
    world.says("1", None, "grazie").await;
    world.settle().await;
    let task = world.task("1").await;
    let mut commit = world.journal.begin(&world.channel);
    commit.tasks.push(Task { state: TaskState::Done, revision: task.revision + 1, ..task });
    world.journal.commit(commit).await.unwrap();

    world.append("1", None, EntryBody::Edited(Box::new(said("1", None, "grazie!")))).await;
    world.settle().await;
    assert_eq!(world.task("1").await.state, TaskState::Done);

    world.append("1", None, EntryBody::Edited(Box::new(said("1", None, "che vergogna")))).await;
    world.settle().await;
    let task = world.task("1").await;
    assert_eq!((task.state, task.assignment.team.as_str()), (TaskState::Open, "lead"));
}
