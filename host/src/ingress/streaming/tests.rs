//! Streams against servers of the test that do what networks do.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::egress::{Door, DoorConfig, Egress, HttpGrant, StreamProtocol, StreamRequest, SystemResolver};
use crate::testing::{Scripted, Stand};

const OPEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n";

struct Network {
    url: String,
    _server: JoinSet<()>,
}

impl Network {
    /// Answers each connection with the next of these, and closes it.
    async fn start(answers: &'static [&'static [u8]]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move {
            for answer in answers {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(OPEN).await.unwrap();
                stream.write_all(answer).await.unwrap();
            }
        });
        Self { url, _server: server }
    }

    fn door(&self) -> Door {
        let config = DoorConfig { http: vec![HttpGrant::parse(&self.url).unwrap()], ..DoorConfig::default() };
        Egress::new(&[], Arc::new(SystemResolver)).unwrap().door(config)
    }

    fn streaming(&self, stand: &Stand, n_catch_ups: &Arc<AtomicU32>) -> Streaming {
        let url = self.url.clone();
        let open = move |_| {
            let keep_alive = Duration::from_secs(5);
            Ok(StreamRequest { protocol: StreamProtocol::NdJson, url: url.clone(), headers: Vec::new(), auth: None, keep_alive })
        };
        let plugin = Scripted::default().open(self.door(), open).generation("live", "connector");
        let n_catch_ups = Arc::clone(n_catch_ups);
        let catch_up = Box::new(move || {
            n_catch_ups.fetch_add(1, Ordering::Relaxed);
        });
        Streaming::new(stand.journal.clone(), stand.channel.clone(), plugin, catch_up)
    }
}

/// How long it waits after this connection. Units: seconds.
async fn rest_after(stand: &Stand, streaming: &Streaming) -> u64 {
    let Turn::Until(due) = stand.run(streaming).await else { panic!("it rests") };
    let wait = due.since_ms(stand.journal.clock.now());
    stand.advance(Duration::from_millis(wait));
    wait / 1000
}

#[tokio::test]
async fn it_waits_longer_and_longer_until_something_comes_and_catches_up_each_time() {
    // given
    let network = Network::start(&[b"", b"\r\n\r\n", b"", b"{\"n\":1}\r\n{\"n\":2}\r\n", b""]).await;
    let (stand, n_catch_ups) = (Stand::new("live"), Arc::default());
    let streaming = network.streaming(&stand, &n_catch_ups);

    // when
    let mut waits = Vec::new();
    for _ in 0..5 {
        waits.push(rest_after(&stand, &streaming).await);
    }

    // then; signs of life are no data
    assert_eq!(waits, [1, 2, 4, 1, 2]);
    assert_eq!(n_catch_ups.load(Ordering::Relaxed), 5);
    let raws = stand.store().read_raw(&stand.channel, 1, 9, 9999).await.unwrap();
    assert_eq!(raws.iter().map(|raw| raw.body.as_slice()).collect::<Vec<_>>(), [b"{\"n\":1}", b"{\"n\":2}"]);
    assert!(raws.iter().all(|raw| raw.origin == RawOrigin::Frame));
}

#[tokio::test]
async fn a_channel_that_is_paused_or_has_none_keeps_no_stream() {
    // given
    let network = Network::start(&[b"{\"n\":1}\r\n"]).await;
    let (stand, n_catch_ups) = (Stand::new("live"), Arc::default());
    let none = |_| Err(Fault::Unsupported(Detail { code: "none".to_owned(), message: String::new() }));
    let without = Scripted::default().open(network.door(), none).generation("live", "connector");
    let without = Streaming::new(stand.journal.clone(), stand.channel.clone(), without, Box::new(|| ()));
    let streaming = network.streaming(&stand, &n_catch_ups);

    // when
    assert_eq!(stand.run(&without).await, Turn::Idle);
    assert_eq!(stand.run(&without).await, Turn::Idle, "and is not asked again");
    let mut commit = stand.journal.begin(&stand.channel);
    commit.status = Some(ChannelStatus { state: "paused".to_owned(), reason: None, since: stand.journal.clock.now() });
    stand.journal.commit(commit).await.unwrap();

    // then
    assert_eq!(stand.run(&streaming).await, Turn::Idle);
    assert_eq!((n_catch_ups.load(Ordering::Relaxed), stand.record().await.raw_last), (0, 0));
}
