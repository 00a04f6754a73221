//! The connector against a pretend Page over real HTTP, and against scripted answers.

mod hooks;
mod page;
mod words;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use membrana_sdk::connector::{Change, Interaction, Message, Origin, Page, Raw, RequestHead};
use membrana_sdk::http::{HttpError, Request, Response};
use membrana_sdk::{Connector as _, Fault, Result, testing};
use membrana_world::{Meta, PAGE, fetch};
use tokio::runtime::{Builder, Runtime};

use crate::Facebook;

/// A pretend network and the host of a channel on it.
struct World {
    runtime: Runtime,
    meta: Meta,
    token: Rc<RefCell<String>>,
}

impl World {
    /// `more`: further keys of the section, JSON.
    fn start(more: &str) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let meta = runtime.block_on(Meta::start("page-token", "app-secret")).unwrap();
        let token = Rc::new(RefCell::new("page-token".to_owned()));
        let (address, held) = (meta.address(), Rc::clone(&token));
        testing::Host::with_config(format!(r#"{{"page":"{PAGE}","base_url":"{}"{more}}}"#, meta.url()))
            .on_http(move |request| carried(address, &held.borrow(), request))
            .install();
        let world = Self { runtime, meta, token };
        world.tick();
        world
    }

    /// The host's clock is the network's.
    fn tick(&self) {
        testing::with_host(|host| host.now = self.meta.now());
    }

    fn advance(&self, ms: u64) {
        self.meta.advance(ms);
        self.tick();
    }

    /// The first one comes a while after all that is there.
    fn poll(&self, cursor: Option<&str>) -> Page {
        if cursor.is_none() {
            self.advance(60_000);
        }
        Facebook::poll(cursor.map(str::to_owned), 100, 1 << 20).unwrap()
    }

    /// Polls until nothing waits; the cursor and all that came.
    fn poll_all(&self, cursor: Option<&str>, max_items: u32) -> (String, Vec<Change>) {
        let (mut cursor, mut changes) = (cursor.map(str::to_owned), Vec::new());
        for _ in 0..50 {
            let page = Facebook::poll(cursor, max_items, 1 << 20).unwrap();
            changes.extend(page.changes);
            if !page.more {
                return (page.cursor, changes);
            }
            cursor = Some(page.cursor);
        }
        panic!("it never ends")
    }

    /// Calls to such addresses are not permitted from now on; of none, all are.
    fn refuse(&self, parts: &[String]) {
        let (address, parts) = (self.meta.address(), parts.to_vec());
        let body = br#"{"error":{"message":"(#10) not permitted","code":10}}"#.to_vec();
        let refused = Response { status: 403, headers: Vec::new(), body };
        let answers = move |request: &Request| match parts.iter().any(|part| request.url.contains(part)) {
            true => Ok(refused.clone()),
            false => carried(address, "page-token", request),
        };
        testing::with_host(|host| *host = std::mem::take(host).on_http(answers));
    }

    /// All that is pending, as the connector understands it.
    fn hear(&self) -> Vec<Change> {
        self.meta.deliveries(membrana_world::Shape::Nested).iter().flat_map(|body| receive(body).unwrap()).collect()
    }
}

fn carried(to: SocketAddr, token: &str, request: &Request) -> Result<Response, HttpError> {
    assert_eq!(request.auth.as_deref(), Some("page"), "every call goes out with the credential");
    let path = request.url.strip_prefix(&format!("http://{to}")).ok_or_else(|| HttpError::Denied(request.url.clone()))?;
    let mut headers = request.headers.clone();
    headers.push(("authorization".to_owned(), format!("Bearer {token}")));
    let fetched = fetch(to, &request.method, path, &headers, &request.body).map_err(HttpError::Protocol)?;
    Ok(Response { status: fetched.status, headers: fetched.headers, body: fetched.body })
}

/// A host whose every call is answered so.
fn scripted(mut answers: impl FnMut(&Request) -> Result<Response, HttpError> + 'static) -> Rc<RefCell<Vec<Request>>> {
    let calls = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&calls);
    testing::Host::with_config(r#"{"page":"7","base_url":"https://graph.facebook.com"}"#)
        .on_http(move |request| {
            kept.borrow_mut().push(request.clone());
            answers(request)
        })
        .install();
    calls
}

fn receive(body: &str) -> Result<Vec<Change>> {
    let head = RequestHead { method: "POST".to_owned(), path_with_query: String::new(), headers: Vec::new() };
    Facebook::receive(Raw { origin: Origin::Webhook(head), body: body.as_bytes().to_vec(), received: 1_795_514_400_000 })
}

fn said(changes: &[Change]) -> Vec<&Interaction> {
    changes.iter().filter_map(|change| if let Change::Upsert(about) = change { Some(about) } else { None }).collect()
}

fn texts(changes: &[Change]) -> Vec<&str> {
    said(changes).iter().map(|about| about.text.as_str()).collect()
}

/// An answer to this, made now.
fn answer_to(about: &Interaction, kind: &str, text: &str, automatic: bool) -> Message {
    Message { automatic, ..testing::answer(about, kind, text) }
}

fn code(fault: &Fault) -> &str {
    match fault {
        Fault::Config(detail) | Fault::Auth(detail) | Fault::Transient(detail) | Fault::Permanent(detail) | Fault::Unsupported(detail) => {
            &detail.code
        }
        Fault::RateLimited((detail, _)) => &detail.code,
    }
}
