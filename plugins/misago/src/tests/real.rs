//! A real Misago, in two halves: run it with its address in `MISAGO`, an account `anna` and one `support`, and their password
//! in `MISAGO_PASSWORD`: `cargo test -p membrana-misago -- --ignored`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use membrana_sdk::connector::{Message, Ours, Sent};
use membrana_sdk::http::{HttpError, Request, Response};
use membrana_sdk::{Connector as _, testing};
use serde_json::{Value as Json, json};

use super::{reply, said};
use crate::Misago;

/// One exchange, after which the forum hangs up; the host's part, the password in the body, is played here.
fn carried(address: &str, password: &str, request: &Request) -> Result<Response, HttpError> {
    let mut body = request.body.clone();
    if request.auth.as_deref() == Some("password") {
        let mut login: Json = serde_json::from_slice(&body).unwrap();
        login["password"] = json!(password);
        body = login.to_string().into_bytes();
    }
    let path = request.url.splitn(4, '/').nth(3).unwrap_or_default();
    let headers: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("{} /{path} HTTP/1.0\r\nhost: {address}\r\ncontent-length: {}\r\n{headers}\r\n", request.method, body.len());
    let mut stream = TcpStream::connect(address).map_err(|error| HttpError::Connect(error.to_string()))?;
    let mut answer = Vec::new();
    let done = stream.write_all(&[head.as_bytes(), &body].concat()).and_then(|()| stream.read_to_end(&mut answer));
    done.map_err(|error| HttpError::Protocol(error.to_string()))?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| HttpError::Protocol("no head".to_owned()))?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).unwrap_or(0);
    let headers = lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    Ok(Response { status, headers, body: answer[end + 4..].to_vec() })
}

fn as_user(base: &str, username: &str, password: &str) {
    let (address, password) = (base.trim_start_matches("http://").to_owned(), password.to_owned());
    testing::Host::with_config(json!({ "base_url": base, "username": username }).to_string())
        .on_http(move |request| carried(&address, &password, request))
        .install();
    testing::with_host(|host| host.now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap());
}

#[test]
#[ignore = "needs a real forum"]
#[expect(clippy::disallowed_methods, reason = "whoever runs it says where the forum is")]
fn a_thread_comes_in_and_a_reply_goes_out() {
    let (Ok(base), Ok(password)) = (std::env::var("MISAGO"), std::env::var("MISAGO_PASSWORD")) else {
        panic!("MISAGO and MISAGO_PASSWORD are not set")
    };
    as_user(&base, "support", &password);
    let mut cursor = Misago::poll(None, 100, 1 << 20).unwrap().cursor;

    // Anna opens a thread by the same API.
    as_user(&base, "anna", &password);
    let section = crate::Section::read().unwrap();
    let body = json!({ "category": 3, "title": "Bolletta doppia a marzo", "post": "Ho pagato **due** volte! Perché?" });
    let opened: serde_json::Value = crate::api::Api::new(&section).write("/api/threads/", &body).unwrap();

    as_user(&base, "support", &password);
    let page = Misago::poll(Some(cursor), 100, 1 << 20).unwrap();
    cursor = page.cursor;
    let all = said(&page.changes);
    let [asked] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(
        (asked.text.as_str(), asked.subject.as_deref(), asked.kind.as_str()),
        ("Ho pagato due volte! Perché?", Some("Bolletta doppia a marzo"), "post")
    );
    assert_eq!((asked.author.as_ref().unwrap().handle.as_deref(), asked.ours.clone()), (Some("@anna"), Ours::No));

    let mut message: Message = reply(opened["id"].as_u64().unwrap(), "Ciao Anna, ci stiamo lavorando.", testing::with_host(|host| host.now));
    message.to.as_mut().unwrap().reply_context.clone_from(&asked.reply_context);
    assert_eq!(Misago::probe("k", &message).unwrap().0, Sent::No);
    let receipt = Misago::send("k", &message).unwrap();
    assert_eq!(Misago::probe("k", &message).unwrap(), (Sent::Yes, Some(receipt.clone())));

    let page = Misago::poll(Some(cursor), 100, 1 << 20).unwrap();
    let echo = said(&page.changes).into_iter().find(|one| one.native == receipt.native).unwrap();
    assert_eq!(
        (echo.text.as_str(), echo.ours.clone(), echo.parent.clone()),
        ("Ciao Anna, ci stiamo lavorando.", Ours::Yes(None), asked.conversation.clone())
    );
    let quiet = Misago::poll(Some(page.cursor), 100, 1 << 20).unwrap();
    assert!(quiet.changes.iter().all(|change| said(std::slice::from_ref(change)).iter().all(|one| one.native == receipt.native)));
}
