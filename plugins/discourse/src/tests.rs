//! A forum's answers, good and bad; and the stand-in, over real HTTP.

mod answers;
mod forum;

use std::cell::RefCell;
use std::rc::Rc;

use membrana_sdk::connector::{Change, Interaction, Message, Page, Target};
use membrana_sdk::http::{HttpError, Request, Response};
use membrana_sdk::{Connector as _, NativeId, testing};

use crate::Discourse;

const CONFIG: &str = r#"{"base_url":"https://forum.test","username":"Support"}"#;

fn post(id: u64, number: u64, more: &serde_json::Value) -> serde_json::Value {
    let mut post = serde_json::json!({
        "id": id, "topic_id": 5, "post_number": number, "post_type": 1, "version": 1, "username": "anna", "user_id": 7, "name": "Anna",
        "created_at": "2026-11-24T10:00:00.000Z", "updated_at": "2026-11-24T10:00:00.000Z", "cooked": "<p>Ciao</p>", "raw": "Ciao",
        "category_id": 4, "topic_title": "Bolletta", "post_url": format!("/t/bolletta/5/{number}"), "reply_to_post_number": null, "user_deleted": false,
    });
    post.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    post
}

fn list(posts: &[serde_json::Value]) -> String {
    serde_json::json!({ "latest_posts": posts }).to_string()
}

fn answer(status: u16, body: impl Into<String>) -> Result<Response, HttpError> {
    Ok(Response { status, headers: Vec::new(), body: body.into().into_bytes() })
}

type Calls = Rc<RefCell<Vec<Request>>>;

fn server(answers: impl FnMut(&Request) -> Result<Response, HttpError> + 'static) -> Calls {
    server_of(CONFIG, answers)
}

fn server_of(config: &str, mut answers: impl FnMut(&Request) -> Result<Response, HttpError> + 'static) -> Calls {
    let calls = Calls::default();
    let kept = Rc::clone(&calls);
    testing::Host::with_config(config)
        .on_http(move |request| {
            kept.borrow_mut().push(request.clone());
            answers(request)
        })
        .install();
    calls
}

fn poll(cursor: &str) -> Page {
    Discourse::poll(Some(cursor.to_owned()), 100, 1 << 20).unwrap()
}

fn said(changes: &[Change]) -> Vec<&Interaction> {
    changes.iter().filter_map(|change| if let Change::Upsert(about) = change { Some(about) } else { None }).collect()
}

fn native(id: &str) -> NativeId {
    NativeId { scope: "forum.test".to_owned(), id: id.to_owned() }
}

/// A reply to what has this context.
fn reply(context: &str, text: &str, created: u64) -> Message {
    let target = Target {
        native: native("post/100"),
        author: None,
        reply_context: Some(context.to_owned()),
        visibility: "public".to_owned(),
        subject: None,
        language: None,
    };
    Message { kind: "reply".to_owned(), automatic: true, text: text.to_owned(), to: Some(target), created, attrs: Vec::new() }
}
