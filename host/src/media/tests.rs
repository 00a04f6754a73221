//! Files from a server of the test that does what networks do, and from a scripted connector.

use std::sync::Mutex as StdMutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::egress::{DoorConfig, Egress, HttpGrant, SystemResolver};
use crate::model::{EntryBody, Interaction, MediaCount, MediaState, Ours};
use crate::store::view;
use crate::testing::{Scripted, Stand, detail, said};

const BOUNDS: Bounds = Bounds { keep: Duration::from_secs(86_400), file_bytes: 1000, total_bytes: 2500 };

/// What it answers by path; the connection ends with each.
const ANSWERS: [(&str, &str); 10] = [
    ("/ok", "200 OK\r\ncontent-length: 5\r\n\r\nhello"),
    ("/cut", "200 OK\r\ncontent-length: 500\r\n\r\nhel"),
    ("/busy", "503 Busy\r\ncontent-length: 0\r\n\r\n"),
    ("/much", "429 Much\r\nretry-after: 60\r\ncontent-length: 0\r\n\r\n"),
    ("/gone", "404 Gone\r\ncontent-length: 0\r\n\r\n"),
    ("/odd", "418 Odd\r\ncontent-length: 0\r\n\r\n"),
    ("/hop", "302 Hop\r\nlocation: /ok\r\ncontent-length: 0\r\n\r\n"),
    ("/out", "302 Out\r\nlocation: http://169.254.169.254/latest\r\ncontent-length: 0\r\n\r\n"),
    ("/circle", "302 Circle\r\nlocation: /circle\r\ncontent-length: 0\r\n\r\n"),
    ("/lost", "302 Lost\r\ncontent-length: 0\r\n\r\n"),
];

struct Network {
    url: String,
    asked: Arc<StdMutex<Vec<String>>>,
    _server: JoinSet<()>,
}

impl Network {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (url, asked) = (format!("http://{}", listener.local_addr().unwrap()), Arc::<StdMutex<Vec<String>>>::default());
        let (mut server, heard) = (JoinSet::new(), Arc::clone(&asked));
        server.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let big = format!("200 OK\r\nconnection: close\r\n\r\n{}", "x".repeat(5000));
                let answer = ANSWERS.iter().find(|(known, _)| *known == path).map_or(big.as_str(), |(_, answer)| answer);
                heard.lock().unwrap().push(path);
                // Who has enough hangs up.
                drop(stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await);
            }
        });
        Self { url, asked, _server: server }
    }

    fn media(&self, stand: &Stand, plugin: Scripted) -> Media {
        let http = vec![HttpGrant::parse(&self.url).unwrap()];
        let config = DoorConfig { http, answer_max: Some(BOUNDS.file_bytes as usize), ..DoorConfig::default() };
        let door = Arc::new(Egress::new(&[], Arc::new(SystemResolver)).unwrap().door(config));
        Media::new(stand.journal.clone(), stand.channel.clone(), plugin.generation("live", "connector"), door, BOUNDS)
    }

    fn at(&self, path: &str) -> Attachment {
        Attachment { url: Some(format!("{}{path}", self.url)), ..by_ref("") }
    }

    fn n_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn by_ref(media_ref: &str) -> Attachment {
    let media_ref = Some(media_ref.to_owned()).filter(|media_ref| !media_ref.is_empty());
    Attachment { name: None, media_type: "image/png".to_owned(), size: None, url: None, media_ref }
}

fn with_files(id: &str, attachments: Vec<Attachment>) -> Interaction {
    Interaction { attachments, ..said(id, "look") }
}

/// The state of each attachment in a word, with the reason.
async fn states(stand: &Stand, id: &str) -> Vec<String> {
    let found = view::interaction(stand.store(), &stand.channel, stand.id(id)).await.unwrap().unwrap();
    let word = |state: &Option<MediaState>| match state {
        None => "none".to_owned(),
        Some(MediaState::Settled(MediaOutcome::Failed(reason))) => reason.clone(),
        Some(state) => state.word().to_owned(),
    };
    found.media.iter().map(word).collect()
}

/// Runs until it waits; gives for how long. Units: seconds.
async fn rest(stand: &Stand, media: &Media) -> u64 {
    match stand.run(media).await {
        Turn::Until(due) => due.since_ms(stand.journal.clock.now()) / 1000,
        _ => 0,
    }
}

#[tokio::test]
async fn files_come_after_their_message_by_address_and_by_the_connector() {
    // given
    let (network, stand) = (Network::start().await, Stand::new("live"));
    let media = network.media(&stand, Scripted::default().fetch(|media_ref| Ok(media_ref.into_bytes())));
    stand.move_reader(Reader::Media, 0).await;
    stand.arrive(vec![with_files("1", vec![network.at("/hop"), by_ref("r2")]), said("2", "no file")]).await;
    assert_eq!(states(&stand, "1").await, ["pending", "pending"]);

    // when
    assert_eq!(stand.run(&media).await, Turn::Idle);

    // then
    assert_eq!(states(&stand, "1").await, ["stored", "stored"]);
    let body = async |index| stand.store().media_body(&stand.channel, stand.id("1"), index).await.unwrap();
    assert_eq!((body(0).await, body(1).await), (Some(b"hello".to_vec()), Some(b"r2".to_vec())));
    let record = stand.record().await;
    assert_eq!((record.position(&Reader::Media), record.media), (2, MediaCount { stored: 2, failed: 0, bytes: 7 }));
}

#[tokio::test]
async fn what_cannot_be_had_leaves_its_message_and_a_reason() {
    // given
    let (network, stand) = (Network::start().await, Stand::new("live"));
    let script = |media_ref: String| match media_ref.as_str() {
        "flood" => Ok(vec![7; 1001]),
        why => Err(Fault::Permanent(detail(why))),
    };
    let media = network.media(&stand, Scripted::default().fetch(script));
    let foreign = Attachment { url: Some("https://cdn.example/a.png".to_owned()), ..by_ref("") };
    let huge = Attachment { size: Some(1001), ..network.at("/ok") };
    let cases = [
        (foreign, "grant = { http = [\"https://cdn.example\"] }"),
        (network.at("/out"), "http://169.254.169.254"),
        (network.at("/circle"), "without end"),
        (network.at("/lost"), "cannot be read"),
        (network.at("/gone"), "no more"),
        (network.at("/odd"), "418"),
        (network.at("/big"), "`file_bytes`"),
        (huge, "too large: 1001 bytes"),
        (by_ref("flood"), "a file of 1001 bytes is over 1000"),
        (by_ref("trap"), "permanent (trap)"),
        (by_ref(""), "no way to fetch it"),
    ];

    // when
    stand.arrive(vec![with_files("1", cases.iter().map(|(attachment, _)| attachment.clone()).collect()), said("2", "after it")]).await;
    assert_eq!(stand.run(&media).await, Turn::Idle);

    // then
    for (state, (_, reason)) in states(&stand, "1").await.iter().zip(&cases) {
        assert!(state.contains(reason), "`{state}` does not say `{reason}`");
    }
    assert_eq!((stand.log().await.len(), stand.record().await.position(&Reader::Media)), (2, 2));
    assert!(stand.dead().await.is_empty());
}

#[tokio::test]
async fn what_time_may_mend_is_tried_again_and_holds_no_other_file() {
    // given
    let (network, stand) = (Network::start().await, Stand::new("live"));
    let media = network.media(&stand, Scripted::default());
    stand.arrive(vec![with_files("1", vec![network.at("/busy")]), with_files("2", vec![network.at("/cut"), network.at("/ok")])]).await;

    // when
    let mut waits = vec![rest(&stand, &media).await];
    assert_eq!(states(&stand, "2").await[1], "stored", "in the first round");
    assert_eq!(stand.record().await.position(&Reader::Media), 0, "a restart would find what waits");
    while waits.last() != Some(&0) {
        stand.advance(Duration::from_secs(*waits.last().unwrap()));
        waits.push(rest(&stand, &media).await);
    }

    // then
    let (doubling, hourly) = waits.split_at(10);
    assert_eq!(doubling, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560]);
    assert!(hourly.iter().all(|wait| [3600, 0].contains(wait)) && hourly.len() > 22, "{hourly:?}");
    assert!(states(&stand, "1").await[0].ends_with("the network answers 503, for a day"));
    assert!(states(&stand, "2").await[0].ends_with(", for a day"));
    assert_eq!((network.n_asked(), stand.record().await.position(&Reader::Media)), (2 * waits.len() + 1, 2));
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was_and_fetches_nothing_twice() {
    let (network, stand) = (Network::start().await, Stand::new("live"));
    stand.arrive(vec![with_files("1", vec![network.at("/much"), network.at("/ok")])]).await;
    assert_eq!(rest(&stand, &network.media(&stand, Scripted::default())).await, 60);

    assert_eq!(rest(&stand, &network.media(&stand, Scripted::default())).await, 60);

    assert_eq!(*network.asked.lock().unwrap(), ["/much", "/ok", "/much"]);
}

#[tokio::test]
async fn a_refused_credential_holds_the_channel_s_files_and_after_a_day_gives_them_up() {
    // given
    let (network, stand) = (Network::start().await, Stand::new("live"));
    let n_calls = Arc::new(StdMutex::new(0));
    let counted = Arc::clone(&n_calls);
    let refuse = move |_| {
        *counted.lock().unwrap() += 1;
        Err(Fault::Auth(detail("expired")))
    };
    let media = network.media(&stand, Scripted::default().fetch(refuse));
    stand.arrive(vec![with_files("1", vec![by_ref("a"), by_ref("b")])]).await;

    // when
    assert_eq!(rest(&stand, &media).await, 60);
    assert_eq!(*n_calls.lock().unwrap(), 1, "the other one is not tried");
    stand.advance(Duration::from_secs(86_401));
    assert_eq!(stand.run(&media).await, Turn::Idle);

    // then
    assert!(states(&stand, "1").await.iter().all(|state| state.contains("auth (expired)")), "{:?}", states(&stand, "1").await);
}

#[tokio::test]
async fn a_channel_whose_files_are_full_says_so_and_fetches_no_more() {
    let (network, stand) = (Network::start().await, Stand::new("live"));
    let media = network.media(&stand, Scripted::default().fetch(|_| Ok(vec![1; 1000])));
    stand.arrive(vec![with_files("1", ["a", "b", "c"].map(by_ref).to_vec())]).await;

    assert_eq!(stand.run(&media).await, Turn::Idle);

    let states = states(&stand, "1").await;
    assert_eq!(states[..2], ["stored", "stored"]);
    assert!(states[2].contains("the channel's media are full"), "{states:?}");
    assert_eq!(stand.record().await.media.bytes, 2000);
}

#[tokio::test]
async fn what_is_edited_away_or_taken_back_leaves_no_file() {
    // given
    let (network, stand) = (Network::start().await, Stand::new("live"));
    let media = network.media(&stand, Scripted::default().fetch(|media_ref| Ok(media_ref.into_bytes())));
    stand.arrive(vec![with_files("1", vec![by_ref("a"), by_ref("b"), by_ref("c")])]).await;
    stand.run(&media).await;
    let append = async |body| {
        let mut commit = stand.journal.begin(&stand.channel);
        commit.entries.push(stand.entry("1", body));
        stand.journal.commit(commit).await.unwrap();
        stand.run(&media).await;
    };
    let bodies = async || {
        let mut all = Vec::new();
        for kept in stand.store().media_about(&stand.channel, stand.id("1")).await.unwrap() {
            all.push(String::from_utf8(stand.store().media_body(&stand.channel, kept.interaction, kept.index).await.unwrap().unwrap()).unwrap());
        }
        all
    };

    // when, then
    append(EntryBody::Edited(Box::new(with_files("1", vec![by_ref("a"), by_ref("x")])))).await;
    assert_eq!(bodies().await, ["a", "x"]);
    append(EntryBody::Gone).await;
    assert_eq!(bodies().await, Vec::<String>::new());
    assert_eq!(stand.record().await.position(&Reader::Media), 3);
}

#[tokio::test]
async fn history_own_words_and_a_channel_that_keeps_none_bring_no_files() {
    let (network, stand) = (Network::start().await, Stand::new("live"));
    let media = network.media(&stand, Scripted::default());
    let own = Interaction { ours: Ours::Yes(None), ..with_files("1", vec![network.at("/ok")]) };
    stand.arrive(vec![own]).await;
    let mut commit = stand.journal.begin(&stand.channel);
    let old = stand.entry("2", EntryBody::Arrived(Box::new(with_files("2", vec![network.at("/ok")]))));
    commit.entries.push(crate::model::NewEntry { is_backfill: true, ..old });
    stand.journal.commit(commit).await.unwrap();
    stand.run(&media).await;

    stand.move_reader(Reader::Media, crate::store::OFF).await;
    stand.arrive(vec![with_files("3", vec![network.at("/ok")])]).await;
    assert_eq!(stand.run(&media).await, Turn::Idle);

    assert_eq!(network.n_asked(), 0);
    for id in ["1", "2", "3"] {
        assert_eq!(states(&stand, id).await, ["none"], "{id}");
    }
}
