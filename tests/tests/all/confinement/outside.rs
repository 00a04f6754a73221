//! What a guest asks of the host: calls out, connections, its state.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use membrana::egress::{Cidr, DoorConfig, Egress, HostPort, HttpGrant, SystemResolver};
use membrana::plugin::PluginState;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Through one door.
const CONNECTIONS_MAX: usize = 6;
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";

/// What a server does with a request.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Silent,
    Drips,
    Answers,
}

/// A server on loopback that counts its connections.
struct Server {
    port: u16,
    n_came: Arc<AtomicUsize>,
    n_open: Arc<AtomicUsize>,
    n_open_max: Arc<AtomicUsize>,
}

impl Server {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, n_came: Arc::default(), n_open: Arc::default(), n_open_max: Arc::default() };
        let (n_came, n_open, n_open_max) = (Arc::clone(&server.n_came), Arc::clone(&server.n_open), Arc::clone(&server.n_open_max));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let n_open = Arc::clone(&n_open);
                n_came.fetch_add(1, Ordering::SeqCst);
                n_open_max.fetch_max(n_open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::spawn(async move {
                    drop(serve(stream, manner).await);
                    n_open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    /// A door that opens to it alone.
    fn door(&self) -> Door {
        let egress = Egress::new(&[], Arc::new(SystemResolver)).unwrap();
        egress.door(DoorConfig {
            http: vec![HttpGrant::parse(&format!("http://127.0.0.1:{}", self.port)).unwrap()],
            net: vec![HostPort::parse(&format!("127.0.0.1:{}", self.port)).unwrap()],
            private: vec![Cidr::parse("127.0.0.0/8").unwrap()],
            ..DoorConfig::default()
        })
    }

    fn mode(&self, mode: &str) -> String {
        format!("{{\"mode\":\"{mode}\",\"url\":\"http://127.0.0.1:{0}/\",\"port\":\"{0}\"}}", self.port)
    }

    /// Nobody is connected any more, and never too many were at once.
    async fn is_left(&self, case: &str) {
        assert!(eventually(async || self.n_open.load(Ordering::SeqCst) == 0).await, "{case}: connections stay open");
        let most = self.n_open_max.load(Ordering::SeqCst);
        assert!((1..=CONNECTIONS_MAX).contains(&most), "{case}: {most} connections at once");
    }
}

/// Until the other side is gone.
async fn serve(mut stream: TcpStream, manner: Manner) -> std::io::Result<()> {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).await? > 0 {
        match manner {
            Manner::Silent => {}
            Manner::Answers => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?,
            Manner::Drips => {
                stream.write_all(HEAD).await?;
                loop {
                    stream.write_all(b"x").await?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_out_that_hangs_or_drips_ends_with_its_call() {
    let yard = Yard::new().await;
    for (case, manner) in [("a server that is silent", Manner::Silent), ("a server that drips", Manner::Drips)] {
        let server = Server::start(manner).await;
        let limits = Limits { wall: Duration::from_secs(1), ..LIMITS };
        let mad = yard.load(server.mode("drip"), limits, Some(server.door())).await;
        let answer = yard.ask(&mad, "fine").await;
        assert!(matches!(&answer, Err(Fault::Transient(why)) if why.code == "timeout"), "{case}: {answer:?}");
        drop(mad);
        server.is_left(case).await;
        yard.is_whole(case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests_ends_with_its_call_and_never_has_many_connections() {
    let yard = Yard::new().await;
    let server = Server::start(Manner::Answers).await;
    let limits = Limits { wall: Duration::from_secs(1), cpu: Duration::from_secs(30), ..LIMITS };
    let mad = yard.load(server.mode("calls-out"), limits, Some(server.door())).await;
    let answers = tokio::join!(yard.ask(&mad, "fine"), ask(&mad, "fine"), ask(&mad, "fine"));
    for answer in [answers.0, answers.1, answers.2] {
        assert!(matches!(&answer, Err(Fault::Transient(why)) if why.code == "timeout"), "{answer:?}");
    }
    drop(mad);
    server.is_left("calls out").await;
    yard.is_whole("calls out").await;
}

/// Loads the hostile connector.
async fn connector(yard: &Yard, config: String, door: Option<Door>) -> Arc<Generation> {
    yard.try_load(std::fs::read(hostile::connector()).unwrap(), config, LIMITS, door).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hoards_connections_gets_six_and_loses_them_with_its_call() {
    let yard = Yard::new().await;
    let server = Server::start(Manner::Silent).await;
    let mad = connector(&yard, server.mode("poll-hoards"), Some(server.door())).await;
    for n in 1..=2 {
        let polled = mad.poll(PluginState::default(), None, 10, 1000).await.result.err();
        let is_refused = |fault: &Fault| is_permanent(fault, "net", "after 6: not granted: more than 6 connections at once");
        assert!(polled.as_ref().is_some_and(is_refused), "{polled:?}");
        // Counted over both calls, for a server may hear of a connection when it is over.
        let are_gone = async || server.n_came.load(Ordering::SeqCst) == n * CONNECTIONS_MAX && server.n_open.load(Ordering::SeqCst) == 0;
        assert!(eventually(are_gone).await, "they end with the call");
    }
    drop(mad);
    yard.is_whole("hoarding").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_into_the_state_ends_at_its_quota_and_nothing_of_it_is_kept() {
    let yard = Yard::new().await;
    let mad = connector(&yard, mode("poll-fills-state"), None).await;
    let called = mad.poll(PluginState::new(BTreeMap::new(), 1 << 20), None, 10, 1000).await;
    let refused = called.result.err();
    let is_refused = |fault: &Fault| is_permanent(fault, "state", "after 17: the quota of 1048576 bytes is used up");
    assert!(refused.as_ref().is_some_and(is_refused), "{refused:?}");
    assert_eq!(called.state, Vec::new());
    drop(mad);
    yard.is_whole("state").await;
}
