//! What lists, orders and metrics make of what is stored, asked over the router without a network.

use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value as Json, json};
use tower::ServiceExt as _;

use super::{Audit, Backups, Desk, Guesses, Section, Sections, Token, Wish, redrive_all, router};
use crate::ingress::Ingress;
use crate::model::{Action, ActionState, DeadId, DeadLetter, DeadSubject, EntryBody, Fact, Role, Seq, Task, TaskState, Timestamp};
use crate::plugin::Builds;
use crate::store::{ChannelStatus, Reader, SinkRetry};
use crate::testing::{Stand, claimed, said};

/// A desk on a store in memory, with one channel that the configuration names unless it says otherwise.
struct Office {
    stand: Stand,
    desk: Arc<Desk>,
    router: Router,
    _dir: tempfile::TempDir,
}

fn section(name: &str) -> Section {
    Section { name: name.to_owned(), plugin: "feed".to_owned(), digest: None, generation: Weak::new(), hook: None, budget: None }
}

impl Office {
    fn new() -> Self {
        Self::with(Sections { channels: vec![section("blog")], teams: vec!["support".to_owned()], ..Sections::default() })
    }

    fn with(sections: Sections) -> Self {
        let (stand, dir) = (Stand::new("blog"), tempfile::tempdir().unwrap());
        let desk = Arc::new(Desk {
            journal: stand.journal.clone(),
            sections: ArcSwap::from_pointee(sections),
            poll: None,
            refused: ArcSwapOption::empty(),
            builds: Builds::new(dir.path()),
            audit: Audit::new(dir.path()),
            backups: Backups::of(dir.path()),
            redriving: tokio::sync::Mutex::default(),
            swaps: None,
            tokens: ArcSwap::default(),
            guesses: Guesses::default(),
        });
        let router = router(Arc::clone(&desk), Arc::new(Ingress::new(stand.journal.clone())), true);
        Self { stand, desk, router, _dir: dir }
    }

    /// The status, and what is answered.
    async fn ask(&self, method: &str, path: &str, token: &str, body: Json) -> (u16, String) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path).header("host", "localhost").header("authorization", format!("Bearer {token}"));
        let answer = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn get(&self, path: &str) -> String {
        let (status, said) = self.ask("GET", path, "", Json::Null).await;
        assert_eq!(status, 200, "{path}: {said}");
        said
    }

    /// One key of each line of a list.
    async fn listed(&self, path: &str, key: &str) -> Vec<String> {
        let of = |line: &str| serde_json::from_str::<Json>(line).unwrap()[key].as_str().unwrap_or_default().to_owned();
        self.get(path).await.lines().map(of).collect()
    }

    /// A dead letter; its id.
    async fn set_aside(&self, stage: &str, plugin: &str, subject: DeadSubject) -> DeadId {
        let (channel, mut commit) = (self.stand.channel.clone(), self.stand.journal.begin(&self.stand.channel));
        let (id, reason) = (self.stand.store().id_key().dead(&channel, stage, "1"), "as the test says".to_owned());
        let plugin = Some(plugin.to_owned());
        commit.dead.push(DeadLetter { id, channel, stage: stage.to_owned(), subject, plugin, digest: None, reason, at: commit.at });
        self.stand.journal.commit(commit).await.unwrap();
        id
    }

    /// A reply about a new message, in this state.
    async fn reply(&self, about: &str, state: ActionState) -> Action {
        self.stand.arrive(vec![said(about, "Where is my parcel?")]).await;
        let mut commit = self.stand.journal.begin(&self.stand.channel);
        let action = Action { state, text: about.to_owned(), created: commit.at, ..claimed(&self.stand, about) };
        commit.actions.push(action.clone());
        self.stand.journal.commit(commit).await.unwrap();
        self.stand.advance(std::time::Duration::from_secs(1));
        action
    }
}

#[tokio::test]
async fn what_may_be_out_there_gets_no_other_text_and_an_order_knows_its_own_keys_alone() {
    let office = Office::new();
    let action = office.reply("1", ActionState::Human).await;
    let approve = format!("/api/v1/actions/{}/approve", action.id);
    let (status, said) = office.ask("POST", &approve, "", json!({ "text": "Another one" })).await;
    assert!(status == 409 && said.contains("may be out there with the text that it has"), "{said}");
    let (retry, reject) = (approve.replace("approve", "retry"), approve.replace("approve", "reject"));
    for (path, key) in [(&retry, "fingerprint"), (&reject, "text"), (&"/api/v1/channels/blog/pause".to_owned(), "text")] {
        let (status, said) = office.ask("POST", path, "", json!({ key: "x" })).await;
        assert!(status == 400 && said.contains("is not for this order"), "{path}: {said}");
    }
    assert_eq!(office.ask("POST", &approve, "", json!({ "by": "support" })).await.0, 200, "a person saw it");
    assert_eq!(office.listed("/api/v1/actions", "state").await, ["sent"]);
}

#[tokio::test]
async fn what_was_dead_in_a_backup_is_looked_for_before_it_goes_out_again() {
    let office = Office::new();
    let dead = office.reply("1", ActionState::Dead).await;
    let mut restored = office.stand.journal.begin(&office.stand.channel);
    restored.actions.push(dead.clone().in_doubt(restored.at));
    office.stand.journal.commit(restored).await.unwrap();
    assert_eq!(office.listed("/api/v1/actions", "state").await, ["dead"], "nobody wants it again yet");
    let (status, said) = office.ask("POST", &format!("/api/v1/actions/{}/retry", dead.id), "", json!({ "text": "Another one" })).await;
    assert!(status == 409 && said.contains("may be out there with the text that it has") && said.contains("looks for it first"), "{said}");
    office.set_aside("outbox", "blog", DeadSubject::Action(dead.id)).await;
    assert_eq!(office.ask("POST", "/api/v1/dead/redrive", "", Json::Null).await.1, r#"{"left":0,"redriven":1}"#);
    assert_eq!(office.listed("/api/v1/actions", "state").await, ["unknown"]);
}

#[tokio::test]
async fn what_the_host_tries_again_by_itself_is_judged_anew_and_what_is_ordered_goes_out() {
    for (wish, state) in [(Wish::Ordered, ActionState::Retry), (Wish::ByItself, ActionState::Pending)] {
        let office = Office::new();
        let dead = office.reply("1", ActionState::Dead).await;
        office.set_aside("outbox", "blog", DeadSubject::Action(dead.id)).await;
        assert_eq!(redrive_all(&office.desk, wish, |_| true).await.unwrap().n_redriven, 1);
        assert_eq!(office.listed("/api/v1/actions", "state").await, [state.word()]);
    }
}

#[tokio::test]
async fn a_person_who_looked_for_what_a_backup_left_in_doubt_is_believed() {
    let office = Office::new();
    let uncertain = office.reply("1", ActionState::Unknown).await;
    let mut looked = office.stand.journal.begin(&office.stand.channel);
    looked.actions.push(Action { state: ActionState::Human, ..uncertain.clone().in_doubt(looked.at) });
    office.stand.journal.commit(looked).await.unwrap();
    assert_eq!(office.ask("POST", &format!("/api/v1/actions/{}/retry", uncertain.id), "", Json::Null).await.0, 200);
    assert_eq!(office.listed("/api/v1/actions", "state").await, ["retry"]);
}

#[tokio::test]
async fn metrics_tell_the_state_that_the_list_of_channels_tells_and_no_lag_of_what_was_removed() {
    let office = Office::new();
    office.desk.sections.store(Arc::new(Sections { channels: vec![section("new")], ..Sections::default() }));
    office.reply("1", ActionState::Pending).await;
    let mut commit = office.stand.journal.begin(&office.stand.channel);
    commit.status = Some(ChannelStatus { state: "connected".to_owned(), reason: None, since: commit.at });
    office.stand.journal.commit(commit).await.unwrap();
    assert_eq!(office.listed("/api/v1/channels", "state").await, ["removed", "waiting"]);
    let metrics = office.get("/metrics").await;
    for part in ["channel_state{channel=\"blog\",state=\"removed\"} 1", "channel_state{channel=\"new\",state=\"waiting\"} 1"] {
        assert!(metrics.contains(part), "{part}: {metrics}");
    }
    assert!(!metrics.contains("reader_lag{channel=\"blog\"") && metrics.contains("reader_lag{channel=\"new\""), "{metrics}");
}

#[tokio::test]
async fn tasks_of_a_team_that_is_gone_are_listed_and_a_team_that_never_was_is_refused() {
    let office = Office::new();
    let about = office.reply("1", ActionState::Pending).await;
    let mut commit = office.stand.journal.begin(&office.stand.channel);
    commit.tasks.push(Task {
        id: office.stand.store().id_key().task(about.id),
        channel: about.channel,
        interaction: about.interaction,
        seq: about.seq,
        rule: about.rule,
        key: "task".to_owned(),
        row: None,
        assignment: serde_json::from_value(json!({ "team": "the-old-team" })).unwrap(),
        state: TaskState::Open,
        opened: commit.at,
        due: None,
        escalated: Vec::new(),
        is_overdue: false,
        revision: 1,
    });
    office.stand.journal.commit(commit).await.unwrap();
    assert_eq!(office.listed("/api/v1/tasks?team=the-old-team", "team").await, ["the-old-team"]);
    assert_eq!(office.listed("/api/v1/tasks?team=support", "team").await, [""; 0]);
    let (status, said) = office.ask("GET", "/api/v1/tasks?team=nobody", "", Json::Null).await;
    assert!(status == 400 && said.contains("there are: support"), "{said}");
}

#[tokio::test]
async fn the_first_of_the_outbox_are_those_that_need_a_person_and_settled_ones_come_last() {
    let office = Office::new();
    let states =
        [ActionState::Sent, ActionState::Rejected, ActionState::Pending, ActionState::AwaitingApproval, ActionState::Human, ActionState::Dead];
    for (n, state) in states.into_iter().enumerate() {
        office.reply(&n.to_string(), state).await;
    }
    assert_eq!(office.listed("/api/v1/actions?limit=1000", "text").await, ["3", "4", "5", "2", "1", "0"]);
    assert_eq!(office.listed("/api/v1/actions?limit=4", "text").await, ["3", "4", "5", "2"]);
    assert_eq!(office.listed("/api/v1/actions", "text").await.len(), states.len());
}

#[tokio::test]
async fn an_event_whose_sink_or_channel_is_gone_stays_a_dead_letter() {
    let office = Office::new();
    let with = |channel: &str, sink: &str| Sections { channels: vec![section(channel)], sinks: vec![sink.to_owned()], ..Sections::default() };
    let event = DeadSubject::Event { seq: Seq(1), event: "interaction.received".to_owned(), id: "msg_1".to_owned() };
    let id = office.set_aside("sink:crm", "crm", event).await;
    for (sections, part) in [(with("blog", "other"), "sink `crm` is not there"), (with("other", "crm"), "channel `blog` is not enabled")] {
        office.desk.sections.store(Arc::new(sections));
        let (status, said) = office.ask("POST", &format!("/api/v1/dead/{id}/redrive"), "", Json::Null).await;
        assert!(status == 409 && said.contains(part), "{said}");
        assert_eq!(office.ask("POST", "/api/v1/dead/redrive", "", Json::Null).await.1, r#"{"left":1,"redriven":0}"#);
    }
    office.desk.sections.store(Arc::new(with("blog", "crm")));
    assert_eq!(office.ask("POST", "/api/v1/dead/redrive", "", Json::Null).await.1, r#"{"left":0,"redriven":1}"#);
    assert_eq!(office.stand.store().sink_retries_due(&office.stand.channel, "crm", Timestamp(u64::MAX), 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_an_analyzer_said_since_its_letter_was_written_is_told_where_it_is_missed_and_else_it_is_asked() {
    // Answered since or not; and with what the rules decided last, if they did again.
    let late = EntryBody::Fact(Fact::AnnotationLate { analyzer: "mood".to_owned() });
    let told = || (1, Some(late.clone()));
    for (is_answered, last_missing, expected) in
        [(false, None, (0, None)), (true, None, told()), (true, Some(&["mood"][..]), told()), (true, Some(&[]), (1, None))]
    {
        // given an item that was decided without a word
        let office = Office::with(Sections { analyzers: vec![section("mood")], ..Sections::default() });
        let stand = &office.stand;
        stand.arrive(vec![said("1", "Where is my parcel?")]).await;
        stand.judge(1, None).await;
        stand.move_reader(Reader::CatchUp("missing".to_owned()), 1).await;
        stand.decide("1", 1, &["mood"]).await;
        office.set_aside("analysis", "mood", DeadSubject::Entry(Seq(1))).await;
        if let Some(missing) = last_missing {
            let mut again = stand.journal.begin(&stand.channel);
            again.entries.push(stand.entry("1", EntryBody::Fact(Fact::AskedAgain)));
            stand.journal.commit(again).await.unwrap();
            stand.decide("1", 2, missing).await;
        }
        if is_answered {
            stand.judge(1, Some(Vec::new())).await;
        }
        let n_before = stand.log().await.len();

        // when
        assert_eq!(office.ask("POST", "/api/v1/dead/redrive", "", Json::Null).await.1, r#"{"left":0,"redriven":1}"#);

        // then
        let log = stand.log().await;
        let new = log.get(n_before).map(|entry| entry.new.body.clone());
        let position = stand.record().await.position(&Reader::CatchUp("missing".to_owned()));
        assert_eq!((position, new), expected, "answered: {is_answered}, then missing: {last_missing:?}");
    }
}

#[tokio::test]
async fn what_an_analyzer_owes_that_is_gone_stays_a_dead_letter() {
    let office = Office::new();
    office.stand.arrive(vec![said("1", "Where is my parcel?")]).await;
    let id = office.set_aside("analysis", "mood", DeadSubject::Entry(Seq(1))).await;
    let (status, said) = office.ask("POST", &format!("/api/v1/dead/{id}/redrive"), "", Json::Null).await;
    assert!(status == 409 && said.contains("analyzer `mood` is not there any more"), "{said}");
    assert_eq!(office.ask("POST", "/api/v1/dead/redrive", "", Json::Null).await.1, r#"{"left":1,"redriven":0}"#);
    assert_eq!(office.stand.dead().await.len(), 1);
}

#[tokio::test]
async fn a_letter_about_an_entry_that_is_not_there_brings_no_other_one_back() {
    let office = Office::new();
    let id = office.set_aside("rules", "impact", DeadSubject::Entry(Seq(1))).await;
    assert_eq!(office.ask("POST", &format!("/api/v1/dead/{id}/redrive"), "", Json::Null).await.0, 404);
}

#[tokio::test]
async fn more_events_than_are_counted_are_said_to_be_more() {
    let office = Office::new();
    office.desk.sections.store(Arc::new(Sections { channels: vec![section("blog")], sinks: vec!["crm".to_owned()], ..Sections::default() }));
    for (from, to, told) in [(0, 1000, json!(1000)), (1000, 1003, json!(1001))] {
        let mut commit = office.stand.journal.begin(&office.stand.channel);
        let (due, first) = (commit.at, commit.at);
        let retry = |n: u64| SinkRetry { sink: "crm".to_owned(), id: n.to_string(), seq: Seq(n), event: "x".to_owned(), attempts: 0, due, first };
        commit.sink_retries.extend((from..to).map(retry));
        office.stand.journal.commit(commit).await.unwrap();
        let status: Json = serde_json::from_str(&office.get("/api/v1/status").await).unwrap();
        assert_eq!(status["sinks"][0]["refused"], told);
    }
}

#[tokio::test]
async fn who_may_not_is_told_a_token_that_there_is() {
    let office = Office::new();
    for (operator, named) in [(None, "admin_token"), (Some(Token::new(Role::Operator, "work")), "operator_token")] {
        let tokens = [Token::new(Role::Admin, "all"), Token::new(Role::Reader, "look")].into_iter().chain(operator);
        office.desk.tokens.store(Arc::new(tokens.collect()));
        let (status, said) = office.ask("POST", "/api/v1/channels/blog/pause", "look", Json::Null).await;
        assert!(status == 403 && said.contains(&format!("show the `{named}`")), "{said}");
    }
}

#[tokio::test]
async fn where_there_is_nothing_to_choose_from_that_is_said() {
    let office = Office::with(Sections::default());
    for (method, path) in
        [("POST", "/api/v1/channels/x/pause"), ("GET", "/api/v1/dead?plugin=x"), ("GET", "/api/v1/tasks?team=x"), ("POST", "/api/v1/plugins/x/rerun")]
    {
        let (_, said) = office.ask(method, path, "", Json::Null).await;
        assert!(said.contains("there is none yet"), "{path}: {said}");
    }
}
