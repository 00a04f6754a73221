//! A sink against a receiver that answers as it is told.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::egress::{DoorConfig, Egress, HttpGrant, SystemResolver};
use crate::model::{Action, ActionState, Assignment, Decision, Digest, EntryBody, Fact, Seq, Task, TaskId, TaskState, Timestamp, Wanted};
use crate::stage::Turn;
use crate::store::{MemoryStore, Reader};
use crate::testing::{Stand, claimed, said};

use super::{Secret, Sink, Target, retry_after_ms};

/// Keeps the heads of what it was sent.
struct Receiver {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    /// Answers the n-th request with a status and a header more.
    async fn start(answer: impl Fn(usize) -> (u16, &'static str) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let (kept, n_asked, mut tasks) = (Arc::clone(&heads), AtomicUsize::new(0), JoinSet::new());
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let head = whole_request(&mut stream).await;
                kept.lock().unwrap().push(head);
                let (status, header) = answer(n_asked.fetch_add(1, Ordering::Relaxed));
                let text = format!("HTTP/1.1 {status} X\r\n{header}content-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        });
        Self { url, heads, _tasks: tasks }
    }

    /// This header of every request, in the order they came.
    fn header(&self, name: &str) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        heads.iter().filter_map(|head| Some(head.split_once(&format!("{name}: "))?.1.lines().next()?.to_owned())).collect()
    }

    fn n_requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

async fn whole_request(stream: &mut tokio::net::TcpStream) -> String {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let n_read = stream.read(&mut buffer).await.unwrap();
        bytes.extend_from_slice(&buffer[..n_read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
        if n_read == 0 || body.len() >= length {
            return head.to_owned();
        }
    }
}

fn sink(stand: &Stand, url: &str) -> Sink {
    let grant = HttpGrant::parse(url).unwrap();
    let door = Egress::new(&[], Arc::new(SystemResolver)).unwrap().door(DoorConfig { http: vec![grant], ..DoorConfig::default() });
    let target = Target {
        name: "crm".to_owned(),
        url: url.to_owned(),
        secrets: vec![Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()],
        events: vec!["*".to_owned()],
        door: Arc::new(door),
        is_gone: AtomicBool::new(false),
    };
    Sink::new(stand.journal.clone(), stand.channel.clone(), Arc::new(target))
}

fn reader() -> Reader {
    Reader::Sink("crm".to_owned())
}

/// So many arrivals that the rules have seen.
async fn arrived(stand: &Stand, n: u64) {
    stand.arrive((1..=n).map(|n| said(&n.to_string(), "hello")).collect()).await;
    stand.move_reader(Reader::Rules, n).await;
}

async fn n_retries(stand: &Stand) -> usize {
    stand.store().sink_retries_due(&stand.channel, "crm", Timestamp(u64::MAX), 99).await.unwrap().len()
}

#[tokio::test]
async fn a_sink_stays_behind_the_rules_and_tells_only_what_is_durable() {
    // given two arrivals of which the rules saw one
    let store = Arc::new(MemoryStore::default());
    let stand = Stand::over(Arc::clone(&store) as Arc<dyn crate::store::Store>, "blog");
    let seen = Arc::clone(&store);
    let receiver = Receiver::start(move |_| if seen.n_settled() > 0 { (200, "") } else { (500, "") }).await;
    stand.arrive(vec![said("1", "a"), said("2", "b")]).await;
    stand.move_reader(Reader::Rules, 1).await;

    // when
    stand.run(&sink(&stand, &receiver.url)).await;

    // then
    assert_eq!(receiver.header("ce-type"), ["it.membrana.interaction.received.v1"]);
    assert_eq!(n_retries(&stand).await, 0, "it waited for the sync first");
    assert_eq!(stand.record().await.position(&reader()), 1);
}

#[tokio::test]
async fn whatever_is_no_2xx_is_sent_again_with_the_same_id_and_no_redirect_is_followed() {
    for (status, header) in [(400, ""), (404, ""), (302, "location: /elsewhere\r\n"), (500, "")] {
        // given
        let stand = Stand::new("blog");
        let receiver = Receiver::start(move |n| if n == 0 { (status, header) } else { (204, "") }).await;
        let sink = sink(&stand, &receiver.url);
        arrived(&stand, 1).await;

        // when
        stand.run(&sink).await;

        // then
        assert_eq!((receiver.n_requests(), n_retries(&stand).await, stand.dead().await.len()), (1, 1, 0), "{status}");
        stand.advance(Duration::from_secs(6));
        stand.run(&sink).await;
        assert_eq!(n_retries(&stand).await, 0);
        let ids = receiver.header("webhook-id");
        assert_eq!((ids.len(), &ids[0]), (2, &ids[1]));
        assert!(receiver.heads.lock().unwrap().iter().all(|head| head.starts_with("POST /hooks ")));
    }
}

#[tokio::test]
async fn what_was_taken_back_since_is_not_told_again() {
    for refused in ["interaction.received", "interaction.edited"] {
        // given a message that was refused, and then taken back
        let stand = Stand::new("blog");
        let receiver = Receiver::start(|n| if n == 0 { (503, "") } else { (204, "") }).await;
        let sink = sink(&stand, &receiver.url);
        arrived(&stand, 1).await;
        if refused == "interaction.edited" {
            stand.move_reader(reader(), 1).await;
            commit_entry(&stand, EntryBody::Edited(Box::new(said("1", "hello!")))).await;
        }
        stand.run(&sink).await;
        assert_eq!((receiver.n_requests(), n_retries(&stand).await), (1, 1), "{refused}");
        commit_entry(&stand, EntryBody::Gone).await;
        stand.run(&sink).await;

        // when its time comes
        stand.advance(Duration::from_secs(6));
        stand.run(&sink).await;

        // then
        let told = [refused, "interaction.gone"].map(|event| format!("it.membrana.{event}.v1"));
        assert_eq!((receiver.header("ce-type"), n_retries(&stand).await), (told.to_vec(), 0));
    }
}

/// One that the rules have seen.
async fn commit_entry(stand: &Stand, body: EntryBody) {
    let mut commit = stand.journal.begin(&stand.channel);
    commit.entries.push(stand.entry("1", body));
    stand.journal.commit(commit).await.unwrap();
    stand.move_reader(Reader::Rules, stand.record().await.last.0).await;
}

#[tokio::test]
async fn a_receiver_that_says_when_may_say_so_often_and_the_schedule_begins_after_that() {
    // given
    let stand = Stand::new("blog");
    let receiver = Receiver::start(|n| if n < 20 { (429, "retry-after: 1\r\n") } else { (500, "") }).await;
    let sink = sink(&stand, &receiver.url);
    arrived(&stand, 1).await;

    // when
    for _ in 0..21 {
        stand.run(&sink).await;
        stand.advance(Duration::from_secs(1));
    }

    // then
    assert_eq!((receiver.n_requests(), n_retries(&stand).await, stand.dead().await.len()), (21, 1, 0));
    stand.advance(Duration::from_secs(4));
    stand.run(&sink).await;
    assert_eq!(receiver.n_requests(), 22, "after five seconds, as on the schedule's first step");
    // Not for ever.
    stand.advance(Duration::from_millis(super::ASKED_MS_MAX));
    for _ in 0..9 {
        stand.run(&sink).await;
        stand.advance(Duration::from_secs(86_400));
    }
    assert_eq!((n_retries(&stand).await, stand.dead().await.len()), (0, 1));
}

#[tokio::test]
async fn what_a_clock_that_ran_ahead_put_off_is_told_once_it_is_set_right() {
    // given one that is to be told again in five seconds, by a clock that is ten years ahead
    let (stand, years) = (Stand::new("blog"), Duration::from_secs(10 * 365 * 86_400));
    let receiver = Receiver::start(|n| if n == 0 { (500, "") } else { (204, "") }).await;
    let sink = sink(&stand, &receiver.url);
    arrived(&stand, 1).await;
    stand.advance(years);
    stand.run(&sink).await;
    assert_eq!((receiver.n_requests(), n_retries(&stand).await), (1, 1));

    // when
    stand.journal.clock.put_back(years);
    stand.run(&sink).await;

    // then
    assert_eq!((receiver.n_requests(), n_retries(&stand).await), (2, 0));
}

#[tokio::test]
async fn a_410_stops_the_sink_and_loses_nothing() {
    let stand = Stand::new("blog");
    let receiver = Receiver::start(|_| (410, "")).await;
    let sink = sink(&stand, &receiver.url);
    arrived(&stand, 20).await;

    stand.run(&sink).await;
    stand.advance(Duration::from_secs(86_400));
    let rest = stand.run(&sink).await;

    assert_eq!(rest, Turn::Idle);
    assert!(receiver.n_requests() <= 6, "{}", receiver.n_requests());
    assert_eq!(stand.record().await.position(&reader()), 0);
}

#[tokio::test]
async fn while_nobody_listens_the_reader_waits_where_it_is() {
    // given an address that nobody listens on
    let stand = Stand::new("blog");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let sink = sink(&stand, &format!("http://{closed}/hooks"));
    arrived(&stand, 1).await;

    // when
    let first = stand.run(&sink).await;
    stand.advance(Duration::from_secs(3));
    let second = stand.run(&sink).await;

    // then
    let wait = |turn, by: u64| matches!(turn, Turn::Until(at) if at.since_ms(stand.journal.clock.now()) + by >= 2_000);
    assert!(wait(first, 3_000) && wait(second, 0), "it waits longer each time: {first:?} {second:?}");
    assert_eq!((stand.record().await.position(&reader()), n_retries(&stand).await), (0, 0));
}

#[tokio::test]
async fn one_refusal_does_not_stop_the_rest_and_many_hold_the_reader_within_a_bound() {
    // given a receiver that refuses one, then everything
    let stand = Stand::new("blog");
    let receiver = Receiver::start(|n| if n == 1 || n >= 4 { (503, "") } else { (200, "") }).await;
    let sink = sink(&stand, &receiver.url);
    arrived(&stand, 4).await;
    stand.run(&sink).await;
    assert_eq!((stand.record().await.position(&reader()), n_retries(&stand).await), (4, 1));

    // when
    stand.arrive(vec![said("5", "a"), said("6", "b")]).await;
    stand.move_reader(Reader::Rules, 6).await;
    let mut n_holds = 0;
    while let Turn::Until(at) = stand.run(&sink).await {
        n_holds += 1;
        assert_eq!(stand.record().await.position(&reader()), 4, "it holds");
        stand.advance(Duration::from_millis(at.since_ms(stand.journal.clock.now())));
    }

    // then
    assert_eq!((n_holds, stand.record().await.position(&reader())), (6, 6));
    assert_eq!(n_retries(&stand).await, 3);
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_is_asked_again_when_it_said() {
    let stand = Stand::new("blog");
    let receiver = Receiver::start(|_| (429, "retry-after: 30\r\n")).await;
    let sink = sink(&stand, &receiver.url);
    arrived(&stand, 2).await;

    let turn = stand.run(&sink).await;

    assert!(matches!(turn, Turn::Until(at) if at.since_ms(stand.journal.clock.now()) == 30_000), "{turn:?}");
}

#[tokio::test]
async fn only_a_dead_action_is_told_as_failed() {
    // given outcomes that are uncertain, chosen by a person, and final
    let (stand, receiver) = (Stand::new("blog"), Receiver::start(|_| (200, "")).await);
    stand.arrive(vec![said("1", "hello")]).await;
    let action = claimed(&stand, "1");
    for (state, revision) in
        [ActionState::Unknown, ActionState::Human, ActionState::Rejected, ActionState::Dead, ActionState::Sent].into_iter().zip(1..)
    {
        let mut commit = stand.journal.begin(&stand.channel);
        commit.actions.push(Action { state, revision, ..action.clone() });
        commit.entries.push(stand.entry("1", EntryBody::Fact(Fact::ActionSettled { action: action.id, state, native: None })));
        stand.journal.commit(commit).await.unwrap();
    }
    stand.move_reader(Reader::Rules, 6).await;

    // when
    stand.run(&sink(&stand, &receiver.url)).await;

    // then
    let mut told = receiver.header("ce-type");
    told.sort();
    let types = ["action.failed", "action.sent", "interaction.received"].map(|name| format!("it.membrana.{name}.v1"));
    assert_eq!(told, types);
}

fn task(stand: &Stand, seq: u64, state: TaskState, revision: u64) -> Task {
    let action = claimed(stand, "1");
    let assignment =
        Assignment { team: "support".to_owned(), within_ms: None, consulted: Vec::new(), informed: Vec::new(), escalate: Vec::new(), note: None };
    Task {
        id: stand.store().id_key().task(action.id),
        channel: stand.channel.clone(),
        interaction: action.interaction,
        seq: Seq(seq),
        rule: "impact".to_owned(),
        key: "assign".to_owned(),
        row: None,
        assignment,
        state,
        opened: crate::testing::START,
        due: None,
        escalated: Vec::new(),
        is_overdue: false,
        revision,
    }
}

/// A decision on this entry, with or without an assignment, and the task as it leaves it.
async fn decided(stand: &Stand, body: EntryBody, seq: u64, assigns: bool, task: Option<Task>) {
    let mut commit = stand.journal.begin(&stand.channel);
    commit.entries.push(stand.entry("1", body));
    let wanted = Wanted { key: "assign".to_owned(), kind: "assign".to_owned(), body: "{}".to_owned() };
    commit.decisions.push(Decision {
        seq: Seq(seq),
        interaction: stand.id("1"),
        rule: "impact".to_owned(),
        digest: Digest::of(b""),
        row: None,
        reasons: Vec::new(),
        actions: if assigns { vec![wanted] } else { Vec::new() },
        dropped: Vec::new(),
        missing: Vec::new(),
        lineups: Vec::new(),
        at: commit.at,
    });
    commit.tasks.extend(task);
    commit.positions.push((Reader::Rules, seq));
    stand.journal.commit(commit).await.unwrap();
}

#[tokio::test]
async fn a_task_is_told_when_it_opens_changes_or_is_withdrawn_and_not_when_it_is_kept() {
    // given
    let (stand, receiver) = (Stand::new("blog"), Receiver::start(|_| (200, "")).await);
    let sink = sink(&stand, &receiver.url);
    let edit = || EntryBody::Edited(Box::new(said("1", "edited")));
    let told = async || {
        stand.run(&sink).await;
        let mut types = receiver.header("ce-type");
        receiver.heads.lock().unwrap().clear();
        types.retain(|name| name.contains("task."));
        stand.advance(Duration::from_secs(60));
        types
    };

    // when, then
    decided(&stand, EntryBody::Arrived(Box::new(said("1", "angry"))), 1, true, Some(task(&stand, 1, TaskState::Open, 1))).await;
    assert_eq!(told().await, ["it.membrana.task.opened.v1"]);
    decided(&stand, edit(), 2, true, None).await;
    assert_eq!(told().await, [""; 0], "kept");
    decided(&stand, edit(), 3, true, Some(task(&stand, 3, TaskState::Open, 2))).await;
    assert_eq!(told().await, ["it.membrana.task.changed.v1"]);
    decided(&stand, edit(), 4, false, Some(task(&stand, 4, TaskState::Withdrawn, 3))).await;
    assert_eq!(told().await, ["it.membrana.task.changed.v1"], "withdrawn");
}

#[tokio::test]
async fn a_task_that_is_decided_again_in_the_moment_it_was_opened_is_told_as_opened_once() {
    // given
    let (stand, receiver) = (Stand::new("blog"), Receiver::start(|_| (200, "")).await);
    let sink = sink(&stand, &receiver.url);

    // when
    decided(&stand, EntryBody::Arrived(Box::new(said("1", "angry"))), 1, true, Some(task(&stand, 1, TaskState::Open, 1))).await;
    decided(&stand, EntryBody::Edited(Box::new(said("1", "edited"))), 2, true, None).await;
    stand.run(&sink).await;

    // then
    let n_opened = receiver.header("ce-type").into_iter().filter(|name| name == "it.membrana.task.opened.v1").count();
    assert_eq!(n_opened, 1);
}

#[test]
fn retry_after_is_seconds_or_a_date_and_never_at_once() {
    let header = |value: &str| vec![("retry-after".to_owned(), value.to_owned())];
    let now = Timestamp(1_445_412_420_000);

    assert_eq!(retry_after_ms(&header("0"), now), Some(1_000));
    assert_eq!(retry_after_ms(&header("120"), now), Some(120_000));
    assert_eq!(retry_after_ms(&header("Wed, 21 Oct 2015 07:28:00 GMT"), now), Some(60_000));
    assert_eq!(retry_after_ms(&header("999999999"), now), Some(86_400_000));
    assert_eq!(retry_after_ms(&header("soon"), now), None);
}

#[tokio::test]
async fn what_is_told_again_is_about_the_same_task_whatever_was_opened_since() {
    // given a task whose opening the receiver refuses
    let (stand, receiver) = (Stand::new("blog"), Receiver::start(|n| if n == 1 { (500, "") } else { (200, "") }).await);
    let sink = sink(&stand, &receiver.url);
    let first = task(&stand, 1, TaskState::Open, 1);
    decided(&stand, EntryBody::Arrived(Box::new(said("1", "angry"))), 1, true, Some(first.clone())).await;
    stand.run(&sink).await;

    // when the same rule opens another one about the same, which is listed before it
    let mut commit = stand.journal.begin(&stand.channel);
    commit.tasks.push(Task { id: TaskId([0; 16]), key: "care".to_owned(), seq: Seq(2), ..first.clone() });
    stand.journal.commit(commit).await.unwrap();
    stand.advance(Duration::from_secs(60));
    stand.run(&sink).await;

    // then
    let told: Vec<String> =
        receiver.header("ce-type").into_iter().zip(receiver.header("ce-subject")).map(|(name, of)| format!("{name} {of}")).collect();
    let opened = format!("it.membrana.task.opened.v1 {}", first.id);
    assert_eq!(told.iter().filter(|told| told.contains("task.opened")).collect::<Vec<_>>(), [&opened, &opened]);
}
