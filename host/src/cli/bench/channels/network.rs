//! What plays the networks: pages made beforehand, given by a thread of its own, so that its work can be told from the host's.

use std::collections::HashMap;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::outcome::Failure;

use super::super::failed;

/// Answers by what is asked for: path, `#`, and where the list is to go on; in their order where the same is asked again.
pub(super) type Pages = HashMap<String, Vec<Bytes>>;

/// Parameters that say where a list goes on.
const ON: [&str; 5] = ["pagination_token", "min_id", "before", "start", "page"];

/// See the module.
pub(super) struct Network {
    /// Without a slash at its end.
    pub(super) url: String,
    /// The number of its thread.
    pub(super) thread: String,
    shown: Shown,
    stop: CancellationToken,
}

/// With how often each was asked for.
type Shown = Arc<Mutex<(Pages, HashMap<String, usize>)>>;

impl Network {
    /// Listens on loopback.
    pub(super) fn start() -> Result<Self, Failure> {
        let (shown, stop) = (Shown::default(), CancellationToken::new());
        let (sender, receiver) = sync_channel(1);
        let (given, until) = (Arc::clone(&shown), stop.clone());
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // Whoever waits for the address learns of a failure by the channel's end.
            drop(runtime.and_then(|runtime| runtime.block_on(serve(given, until, &sender))));
        };
        std::thread::Builder::new().name("networks".to_owned()).spawn(run).map_err(failed)?;
        let (url, thread) = receiver.recv().map_err(failed)?;
        Ok(Self { url, thread, shown, stop })
    }

    /// From now on this is what it gives.
    pub(super) fn show(&self, pages: Pages) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = (pages, HashMap::new());
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(shown: Shown, stop: CancellationToken, told: &SyncSender<(String, String)>) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let thread = std::fs::read_link("/proc/thread-self")?;
    let thread = thread.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    drop(told.send((format!("http://{}", listener.local_addr()?), thread)));
    let router = Router::new().fallback(answer).with_state(shown);
    tokio::select! {
        served = axum::serve(listener, router) => served,
        () = stop.cancelled() => Ok(()),
    }
}

async fn answer(State(shown): State<Shown>, uri: Uri) -> Response {
    let key = key(&uri);
    let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
    let (pages, asked) = &mut *shown;
    let n = asked.entry(key.clone()).and_modify(|n| *n += 1).or_default();
    let Some(pages) = pages.get(&key) else { return StatusCode::NOT_FOUND.into_response() };
    let kind = if key.starts_with("/feed") { "application/rss+xml; charset=UTF-8" } else { "application/json; charset=utf-8" };
    match pages.get(*n).or(pages.last()) {
        Some(page) => ([("content-type", kind)], page.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn key(uri: &Uri) -> String {
    let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let on = pairs.into_iter().find(|(name, _)| ON.contains(&name.as_ref())).map(|(_, value)| value.into_owned());
    format!("{}#{}", uri.path(), on.unwrap_or_default())
}
