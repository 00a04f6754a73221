//! Doors for the pretend people, by plain forms: `curl -d 'text=…' …/post`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::state::Said;
use super::{Shared, US};
use crate::form::Form;
use crate::server::locked;

/// Who writes where the form does not say.
const YOU: &str = "you@people.example";

/// `text`, and if wanted `as`, `visibility`, `answers` (an id). The company is mentioned where the text does not.
pub(super) async fn post(State(network): State<Shared>, body: String) -> Response {
    let form = Form::read(&body);
    let Some(text) = form.get("text") else { return (StatusCode::BAD_REQUEST, "send text=…\n").into_response() };
    let text = if text.contains(&format!("@{US}")) { text.to_owned() } else { format!("@{US} {text}") };
    let said =
        Said { acct: form.or("as", YOU), text: &text, visibility: form.or("visibility", "public"), answers: form.get("answers"), language: None };
    let id = locked(&network).add(said);
    (StatusCode::CREATED, format!("{id}\n")).into_response()
}

/// `id` and `text`.
pub(super) async fn edit(State(network): State<Shared>, body: String) -> Response {
    let form = Form::read(&body);
    let (Some(id), Some(text)) = (form.get("id"), form.get("text")) else {
        return (StatusCode::BAD_REQUEST, "send id=… and text=…\n").into_response();
    };
    let mut network = locked(&network);
    if network.find(id).is_none() {
        return (StatusCode::NOT_FOUND, "there is no such status\n").into_response();
    }
    network.edit(id, text);
    "edited\n".into_response()
}

/// `id`.
pub(super) async fn delete(State(network): State<Shared>, body: String) -> Response {
    let form = Form::read(&body);
    let id = form.or("id", "");
    let mut network = locked(&network);
    if network.find(id).is_none() {
        return (StatusCode::NOT_FOUND, "there is no such status\n").into_response();
    }
    network.statuses.retain(|status| status.id != id);
    "deleted\n".into_response()
}

/// Everything said in public, as text, answers under what they answer.
pub(super) async fn timeline(State(network): State<Shared>) -> String {
    let network = locked(&network);
    let shown = |status: &super::Post| {
        let depth = network.above(&status.id).len();
        format!("{}{:>5}  @{}: {}\n", "    ".repeat(depth), status.id, status.acct, status.text)
    };
    let roots = network.statuses.iter().filter(|status| status.in_reply_to.is_none() && status.visibility != "direct");
    roots.flat_map(|root| std::iter::once(root.clone()).chain(network.below(&root.id))).map(|status| shown(&status)).collect()
}
