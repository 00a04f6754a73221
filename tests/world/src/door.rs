//! The side door: what happens to one of the next requests instead of what should.

use std::time::Duration;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use serde_json::Value as Json;

use crate::form::Form;

/// Answers are small here.
const BODY_BYTES_MAX: usize = 8 << 20;
/// What was written before a cut is given so long to leave.
const CUT_AFTER: Duration = Duration::from_millis(20);

/// In what people write it stands for half of a surrogate pair, which no text holds and JSON can: so it leaves as `\ud800`.
pub const LONE: char = '\u{10ffff}';

/// What happens next. All but [`Next::Answer`] and [`Next::Unheard`] do what is asked first.
#[derive(Debug, Clone)]
pub enum Next {
    /// Nothing is done; this is the answer.
    Answer {
        /// HTTP's.
        status: u16,
        /// Such as `retry-after`.
        headers: Vec<(String, String)>,
        /// As sent.
        body: String,
    },
    /// The connection ends after so many bytes of the body; its whole length was announced.
    CutBody(usize),
    /// It takes so long.
    Delay(Duration),
    /// It is done, and the connection ends without an answer.
    LoseAnswer,
    /// Nothing is done, and the connection ends without an answer.
    Unheard,
    /// Every item of a list comes twice.
    Twice,
    /// A list comes the other way round.
    Reordered,
    /// Every object has a field that nobody knows.
    UnknownField,
}

impl Next {
    /// This status without a word.
    pub fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: String::new() }
    }

    pub(crate) async fn doctor(self, response: Response) -> Response {
        let (mut parts, body) = response.into_parts();
        let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
        let body = match self {
            // A new answer: one without a body, such as 204, would arrive whole.
            Self::LoseAnswer | Self::Unheard => return Response::new(torn(Bytes::new())),
            Self::CutBody(after) => {
                parts.headers.insert(CONTENT_LENGTH, body.len().into());
                return Response::from_parts(parts, torn(body.slice(..after.min(body.len()))));
            }
            Self::Twice => relisted(&body, |items| items.iter().flat_map(|item| [item.clone(), item.clone()]).collect()),
            Self::Reordered => relisted(&body, |items| items.iter().rev().cloned().collect()),
            Self::UnknownField => widened(&body),
            Self::Answer { .. } | Self::Delay(_) => body,
        };
        parts.headers.remove(CONTENT_LENGTH);
        Response::from_parts(parts, Body::from(body))
    }
}

/// Puts halves of pairs where they are meant. A stream stays as it is.
pub(crate) async fn halved(response: Response) -> Response {
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().ends_with(b"json"));
    if !is_json || response.body().size_hint().exact().is_none() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    parts.headers.remove(CONTENT_LENGTH);
    let halved = std::str::from_utf8(&body).ok().filter(|text| text.contains(LONE)).map(|text| Bytes::from(text.replace(LONE, "\\ud800")));
    Response::from_parts(parts, Body::from(halved.unwrap_or(body)))
}

pub(crate) fn answered(status: u16, headers: &[(String, String)], body: String) -> Response {
    let mut response = body.into_response();
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// An error at once drops the connection before the head has left; after a while, behind what was written.
pub(crate) fn torn(before: Bytes) -> Body {
    let is_silent = before.is_empty();
    let cut = stream::once(async move {
        if !is_silent {
            tokio::time::sleep(CUT_AFTER).await;
        }
        Err(std::io::Error::other("cut by the side door"))
    });
    let first = stream::iter((!is_silent).then(|| Ok(before)));
    Body::from_stream(first.chain(cut))
}

/// Where answers keep what they list.
const LISTS: [&str; 3] = ["data", "latest_posts", "posts"];

/// A JSON list, the lists inside an answer, or the items of an RSS feed; anything else stays as it is.
fn relisted(body: &Bytes, change: impl Fn(&[String]) -> Vec<String>) -> Bytes {
    if let Ok(mut json) = serde_json::from_slice::<Json>(body) {
        relist(&mut json, true, &change);
        return json.to_string().into();
    }
    let text = String::from_utf8_lossy(body).into_owned();
    let (Some((head, rest)), Some(end)) = (text.split_once("<item>"), text.rsplit_once("</item>").map(|(_, end)| end)) else {
        return body.clone();
    };
    let inside = rest.rsplit_once("</item>").map(|(inside, _)| inside).unwrap_or_default();
    let items: Vec<String> = inside.split("</item><item>").map(str::to_owned).collect();
    let items: String = change(&items).iter().map(|item| format!("<item>{item}</item>")).collect();
    format!("{head}{items}{end}").into()
}

fn relist(json: &mut Json, is_list: bool, change: &impl Fn(&[String]) -> Vec<String>) {
    match json {
        Json::Object(fields) => fields.iter_mut().for_each(|(key, value)| relist(value, LISTS.contains(&key.as_str()), change)),
        Json::Array(items) => {
            items.iter_mut().for_each(|item| relist(item, false, change));
            if is_list {
                let texts: Vec<String> = items.iter().map(Json::to_string).collect();
                *items = change(&texts).iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
            }
        }
        _ => {}
    }
}

fn widened(body: &Bytes) -> Bytes {
    fn widen(value: &mut Json) {
        match value {
            Json::Object(fields) => {
                fields.values_mut().for_each(widen);
                fields.insert("field_of_next_year".to_owned(), serde_json::json!({ "is": [1, null, "new"] }));
            }
            Json::Array(items) => items.iter_mut().for_each(widen),
            _ => {}
        }
    }
    match serde_json::from_slice::<Json>(body) {
        Ok(mut value) => {
            widen(&mut value);
            value.to_string().into()
        }
        Err(_) => body.clone(),
    }
}

/// What a form orders: at which request, and what.
pub(crate) fn by_hand(form: &str) -> Result<(String, Next), String> {
    let form = Form::read(form);
    let number = |name: &str, default: u64| form.get(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let next = match form.or("do", "") {
        "answer" => Next::Answer {
            status: u16::try_from(number("status", 503)).unwrap_or(503),
            headers: form.get("retry-after").map(|value| ("retry-after".to_owned(), value.to_owned())).into_iter().collect(),
            body: form.or("body", "").to_owned(),
        },
        "cut" => Next::CutBody(usize::try_from(number("after", 0)).unwrap_or(0)),
        "delay" => Next::Delay(Duration::from_millis(number("ms", 1000))),
        "lose" => Next::LoseAnswer,
        "unheard" => Next::Unheard,
        "twice" => Next::Twice,
        "reordered" => Next::Reordered,
        "unknown-field" => Next::UnknownField,
        other => return Err(format!("`{other}` is not answer, cut, delay, lose, unheard, twice, reordered or unknown-field\n")),
    };
    Ok((form.or("at", "").to_owned(), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_doubled_turned_and_widened() {
        let json = Bytes::from_static(b"[{\"a\":1},2]");
        let twice = |items: &[String]| items.iter().flat_map(|item| [item.clone(), item.clone()]).collect();
        let turned = |items: &[String]| items.iter().rev().cloned().collect();
        assert_eq!(relisted(&json, twice), "[{\"a\":1},{\"a\":1},2,2]");
        let feed = Bytes::from_static(b"<rss><item>1</item><item>2</item></rss>");
        let inside = Bytes::from_static(b"{\"data\":[{\"id\":1},{\"id\":2}],\"errors\":[3,4]}");
        assert_eq!(relisted(&inside, turned), "{\"data\":[{\"id\":2},{\"id\":1}],\"errors\":[3,4]}");
        assert_eq!(relisted(&feed, turned), "<rss><item>2</item><item>1</item></rss>");
        assert!(String::from_utf8_lossy(&widened(&json)).contains("field_of_next_year"));
    }

    #[tokio::test]
    async fn an_answer_without_a_body_is_lost_as_well() {
        let crm = crate::Crm::start("whsec_AAAA").await.unwrap();
        let at: std::net::SocketAddr = crm.url().trim_start_matches("http://").trim_end_matches("/hooks").parse().unwrap();
        let id = "e1";
        let signature = crate::shop::sign("whsec_AAAA", id, "1", b"{}");
        let headers = [("webhook-id", id), ("webhook-timestamp", "1"), ("webhook-signature", signature.as_str())];
        crm.next(Next::LoseAnswer);
        assert!(crate::call(at, "POST", "/hooks", &headers, b"{}").await.is_err());
        assert_eq!(crate::call(at, "POST", "/hooks", &headers, b"{}").await.unwrap().status, 204);
        assert_eq!((crm.told().len(), crm.ledger().asked("POST /hooks").len()), (2, 2), "both were heard");
    }

    #[test]
    fn a_form_says_what_happens_at_which_request() {
        let (at, next) = by_hand("do=answer&status=429&retry-after=7&at=POST%20/api").unwrap();
        assert_eq!(at, "POST /api");
        assert!(matches!(next, Next::Answer { status: 429, headers, .. } if headers == [("retry-after".to_owned(), "7".to_owned())]));
        assert!(by_hand("do=dance").is_err());
    }
}
