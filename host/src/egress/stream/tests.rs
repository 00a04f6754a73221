//! Streams against servers of the test that do what networks do.

use std::future::Future;
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_async;

use super::*;
use crate::egress::{Credential, DoorConfig, Egress, HttpGrant, Inject, SystemResolver};

/// A server that does this with its connections, and a door that opens to it.
async fn network<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> (Door, String, tokio::task::JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream).await;
        }
    });
    let origin = HttpGrant::parse(&format!("http://{place}")).unwrap();
    let credentials = vec![Credential::plain("token", vec![Secret::new("s3cret-token")], Inject::Bearer, vec![origin.clone()], Vec::new())];
    let config = DoorConfig { http: vec![origin], credentials, ..DoorConfig::default() };
    (Egress::new(&[], Arc::new(SystemResolver)).unwrap().door(config), place, server)
}

fn asked(protocol: StreamProtocol, url: String) -> StreamRequest {
    StreamRequest { protocol, url, headers: Vec::new(), auth: Some("token".to_owned()), keep_alive: Duration::from_millis(300) }
}

async fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn whole(text: &str) -> Result<Frame, StreamEnd> {
    Ok(Frame::Whole(text.as_bytes().to_vec()))
}

#[tokio::test]
async fn lines_come_as_they_are_said_freed_of_secrets_until_there_is_silence() {
    let serve = |mut stream: TcpStream| async move {
        let head = head_of(&mut stream).await;
        assert!(head.starts_with("GET /stream?q=1 HTTP/1.1") && head.contains("authorization: Bearer s3cret-token"), "{head}");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n{\"a\":1}\r\n\r\n{\"token\":\"s3cret-token\"}\r\n").await.unwrap();
        // It stays open and says nothing.
        drop(stream.read_u8().await);
    };
    let (door, place, _server) = network(serve).await;

    let mut stream = door.stream(asked(StreamProtocol::NdJson, format!("http://{place}/stream?q=1"))).await.ok().unwrap();

    assert_eq!(stream.next().await, whole("{\"a\":1}"));
    assert_eq!(stream.next().await, whole("{\"token\":\"************\"}"));
    assert_eq!(stream.next().await, Err(StreamEnd::Silent(Duration::from_millis(300))));
}

#[tokio::test]
async fn what_is_no_stream_says_so_with_the_time_to_come_back() {
    let serve = |mut stream: TcpStream| async move {
        head_of(&mut stream).await;
        stream.write_all(b"HTTP/1.1 429 Slow down\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    };
    let (door, place, _server) = network(serve).await;

    for (protocol, scheme) in [(StreamProtocol::Sse, "http"), (StreamProtocol::WebSocket, "ws")] {
        let refused = door.stream(asked(protocol, format!("{scheme}://{place}/"))).await.err();
        assert_eq!(refused, Some(StreamError::Status { status: 429, retry_after: Some(Duration::from_secs(7)) }), "{protocol:?}");
    }
    let elsewhere = door.stream(asked(StreamProtocol::WebSocket, "wss://evil.example/".to_owned())).await.err();
    assert!(matches!(elsewhere, Some(StreamError::Http(HttpError::Denied(_)))), "{elsewhere:?}");
}

#[tokio::test]
async fn a_websocket_is_asked_for_a_sign_of_life_and_its_messages_are_frames() {
    let serve = |stream: TcpStream| async move {
        let mut socket = accept_async(stream).await.unwrap();
        socket.send(Message::text("{\"a\":1}")).await.unwrap();
        // The first ping is answered by reading; then the message, then the end.
        assert!(socket.next().await.unwrap().unwrap().is_ping());
        socket.send(Message::binary(b"s3cret-token".to_vec())).await.unwrap();
        socket.close(None).await.unwrap();
    };
    let (door, place, _server) = network(serve).await;

    let mut stream = door.stream(asked(StreamProtocol::WebSocket, format!("ws://{place}/live"))).await.ok().unwrap();

    assert_eq!(stream.next().await, whole("{\"a\":1}"));
    assert_eq!(stream.next().await, whole("************"));
    assert_eq!(stream.next().await, Err(StreamEnd::Closed));
}
