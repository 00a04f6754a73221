//! Which build of a plugin is in force: another one, the one before, and how it came to it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Json as Answer;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::time::timeout;

use crate::model::shown;
use crate::plugin::{Act, IN_FORCE, Length, Shadow};

use super::lists::all_lines;
use super::{Desk, Refusal};

/// Who is recorded where the caller does not say.
const SOMEBODY: &str = "admin";
/// For a plugin's file to arrive.
const FILE_TIMEOUT: Duration = Duration::from_secs(60);
/// A shadow goes on no longer.
const ITEMS_MAX: usize = 10_000_000;
const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Units: bytes of a name or a reason.
const WORDS_MAX: usize = 500;

/// Puts builds in force on a running host.
#[async_trait]
pub trait Swaps: Send + Sync {
    /// This build, from now on. Errors: in words; nothing changed.
    async fn swap(&self, name: &str, bytes: Bytes, ordered: Ordered) -> Result<Act, Refusal>;

    /// The build before. Errors: in words; nothing changed.
    async fn roll_back(&self, name: &str, ordered: Ordered) -> Result<Act, Refusal>;

    /// This build, beside the one in force and without effect, in the place of a shadow that may be there. Errors: in words.
    /// `is_another`: of a plugin of another name than the one in force.
    async fn shadow(&self, name: &str, bytes: Bytes, length: Length, is_another: bool) -> Result<Arc<Shadow>, Refusal>;

    /// The last shadow beside this name's build. Errors: there was none since the host began.
    fn shadow_of(&self, name: &str) -> Result<Arc<Shadow>, Refusal>;
}

/// Who orders it, and why.
#[derive(Debug, Clone)]
pub struct Ordered {
    /// A name, in the caller's words.
    pub by: String,
    /// In the caller's words.
    pub reason: Option<String>,
    /// It stays in force even if it proves worse than the build before.
    pub stays: bool,
    /// It may be a build of another plugin than the one in force, which a wrong file would be, too.
    pub is_another: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    by: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    stays: bool,
    #[serde(default)]
    another: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Ordered {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let cure = "say ?by=NAME&reason=WORDS, or nothing";
        let wrong = |error: QueryRejection| Refusal::bad_request(error.body_text(), cure);
        let Query(Asked { by, reason, stays, another }) = Query::<Asked>::from_request_parts(parts, state).await.map_err(wrong)?;
        if [&by, &reason].into_iter().flatten().any(|words| words.len() > WORDS_MAX) {
            return Err(Refusal::bad_request(format!("`by` and `reason` have at most {WORDS_MAX} bytes"), cure));
        }
        let by = by.filter(|by| !by.is_empty()).unwrap_or_else(|| SOMEBODY.to_owned());
        Ok(Self { by, reason: reason.filter(|reason| !reason.is_empty()), stays, is_another: another })
    }
}

/// The body is the plugin's file.
pub(super) async fn swap(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<String>,
    ordered: Ordered,
    request: Request,
) -> Result<Answer<Json>, Refusal> {
    let swaps = desk.swaps.as_ref().ok_or_else(no_host)?;
    let bytes = file_in(request, &desk).await?;
    swaps.swap(&name, bytes, ordered).await.map(|act| Answer(act_json(&name, &act)))
}

async fn file_in(request: Request, desk: &Arc<Desk>) -> Result<Bytes, Refusal> {
    let wrong =
        |error: String| Refusal::bad_request(format!("the plugin's file: {error}"), "send the bytes of a file that `membrana plugin build` wrote");
    let body = timeout(FILE_TIMEOUT, Bytes::from_request(request, desk)).await;
    body.map_err(|_| wrong("it did not come in time".to_owned()))?.map_err(|rejection| wrong(rejection.body_text()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskedLength {
    items: Option<usize>,
    seconds: Option<u64>,
    #[serde(default)]
    another: bool,
}

/// The body is the plugin's file.
pub(super) async fn shadow(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<String>,
    asked: Result<Query<AskedLength>, QueryRejection>,
    request: Request,
) -> Result<Answer<Json>, Refusal> {
    let swaps = desk.swaps.as_ref().ok_or_else(no_host)?;
    let cure = format!("say ?items=N, at most {ITEMS_MAX}, or ?seconds=N, at most {}", TIME_MAX.as_secs());
    let Query(asked) = asked.map_err(|error| Refusal::bad_request(error.body_text(), cure.clone()))?;
    let length = match (asked.items, asked.seconds.map(Duration::from_secs)) {
        (Some(items @ 1..=ITEMS_MAX), None) => Length::Items(items),
        (None, Some(time)) if !time.is_zero() && time <= TIME_MAX => Length::Time(time),
        _ => return Err(Refusal::bad_request("it is not said how long the shadow goes on", cure)),
    };
    let bytes = file_in(request, &desk).await?;
    swaps.shadow(&name, bytes, length, asked.another).await.map(|shadow| Answer(shadow.json()))
}

/// What was heard of the shadow so far.
pub(super) async fn shadow_so_far(State(desk): State<Arc<Desk>>, Path(name): Path<String>) -> Result<Answer<Json>, Refusal> {
    desk.swaps.as_ref().ok_or_else(no_host)?.shadow_of(&name).map(|shadow| Answer(shadow.json()))
}

/// Nothing more is asked of it.
pub(super) async fn end_shadow(State(desk): State<Arc<Desk>>, Path(name): Path<String>) -> Result<Answer<Json>, Refusal> {
    let shadow = desk.swaps.as_ref().ok_or_else(no_host)?.shadow_of(&name)?;
    shadow.end();
    Ok(Answer(shadow.json()))
}

/// To the build before.
pub(super) async fn roll_back(State(desk): State<Arc<Desk>>, Path(name): Path<String>, ordered: Ordered) -> Result<Answer<Json>, Refusal> {
    let swaps = desk.swaps.as_ref().ok_or_else(no_host)?;
    swaps.roll_back(&name, ordered).await.map(|act| Answer(act_json(&name, &act)))
}

fn no_host() -> Refusal {
    Refusal::conflict("no host runs here", "start one with `membrana run`; or name the file in membrana.toml as the section's `plugin`")
}

/// Newest first; of those that were put in force one at most still is: none where the configuration alone changed the build since.
pub(super) async fn history(State(desk): State<Arc<Desk>>, Path(name): Path<String>) -> Result<Response, Refusal> {
    let sections = desk.sections.load();
    let Some(section) = sections.all().find(|section| section.name == name) else {
        return Err(Refusal::no_such_plugin(&name, sections.names()));
    };
    let now = section.digest.map(|digest| digest.to_string());
    let unreadable = |error: std::io::Error| Refusal::unavailable(format!("the history cannot be read: {error}"), "look at the folder `data/builds`");
    let record = desk.builds.record(&name).map_err(unreadable)?;
    let mut is_newest = true;
    let told = record.history.iter().rev().map(|act| {
        let is_another = || now.as_ref().is_some_and(|now| *now != act.to);
        let is_over = act.outcome == IN_FORCE && (!std::mem::take(&mut is_newest) || is_another());
        let outcome = if is_over { "was in force".to_owned() } else { act.outcome.clone() };
        act_json(&name, &Act { outcome, ..act.clone() })
    });
    Ok(all_lines(told.collect()))
}

fn act_json(name: &str, act: &Act) -> Json {
    json!({
        "name": name,
        "at": shown::rfc3339(act.at),
        "act": act.act,
        "by": act.by,
        "reason": act.reason,
        "from": act.from,
        "to": act.to,
        "outcome": act.outcome,
        "stays": act.stays,
        "pause_us": act.pause_us,
    })
}
