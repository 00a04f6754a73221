//! HTTP: webhooks, health, metrics, and the API that the command line and the web console speak.
//!
//! The handlers work on the store alone, and on the record of builds beside it, so that the command line runs the same ones in process where no host runs. What an
//! admin orders is a record in the store; nothing here calls a stage. Only a swap is carried out by the app that the desk is given.

mod audit;
mod auth;
mod backup;
mod builds;
mod denials;
mod files;
mod guesses;
mod hooks;
mod lists;
mod metrics;
mod openapi;
mod orders;
mod plugins;
mod read;
mod refusal;
mod rerun;
mod serve;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::Value as Json;

use crate::egress::Budget;
use crate::ingress::Ingress;
use crate::model::{ChannelName, Digest, shown};
use crate::plugin::{Builds, FILE_BYTES_MAX, Generation};
use crate::stage::Journal;

pub use read::REFUSED_MAX;
pub use refusal::Refusal;
pub use serve::serve;

/// What the handlers work on.
pub struct Desk {
    /// Store, time and bells.
    pub journal: Journal,
    /// What the configuration in force names.
    pub sections: ArcSwap<Sections>,
    /// Asks a channel's connector for news now; `None` where no host runs.
    pub poll: Option<PollNow>,
    /// A configuration that was read since and not put in force; none where the last one read is.
    pub refused: ArcSwapOption<RefusedConfig>,
    /// Which builds were put in force, and how it came to it.
    pub builds: Builds,
    /// Keeps what is ordered, and who was not let in.
    pub audit: Arc<Audit>,
    /// Makes copies of all that is kept.
    pub backups: Backups,
    /// Held by whoever drives dead letters again: two at once would drive each twice.
    pub redriving: tokio::sync::Mutex<()>,
    /// Puts others in force; `None` where no host runs.
    pub swaps: Option<Box<dyn Swaps>>,
    /// What callers of the API must show, any of them; none: whoever reaches the loopback address may call.
    pub tokens: ArcSwap<Vec<Token>>,
    /// Tokens that were none.
    pub guesses: Guesses,
}

/// Asks a channel to poll at once.
pub type PollNow = Box<dyn Fn(&ChannelName) -> Polled + Send + Sync>;

/// What became of the wish to poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// The network is being asked.
    Asked,
    /// No such channel is in force.
    NotEnabled,
    /// The network calls us.
    WebhookOnly,
}

pub use audit::Audit;
pub use auth::Token;
pub use backup::Backups;
pub use builds::{Ordered, Swaps};
pub use denials::{DENIALS_PAUSE, keep_denials};
pub use guesses::Guesses;
pub use orders::{Redriven, Wish, redrive_all};

/// The configuration in force, as far as surfaces show it.
#[derive(Debug, Clone, Default)]
pub struct Sections {
    /// In file order.
    pub channels: Vec<Section>,
    /// In file order.
    pub analyzers: Vec<Section>,
    /// In file order.
    pub rules: Vec<Section>,
    /// Names.
    pub teams: Vec<String>,
    /// Names.
    pub sinks: Vec<String>,
}

impl Sections {
    /// Channels, analyzers and rules, in file order each.
    fn all(&self) -> impl Iterator<Item = &Section> {
        self.channels.iter().chain(&self.analyzers).chain(&self.rules)
    }

    /// Of all of them, which share one space of names.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.all().map(|section| section.name.as_str())
    }
}

/// A configuration that has mistakes, while the last good one stays in force.
#[derive(Debug, Clone, Serialize)]
pub struct RefusedConfig {
    /// When it was read. Shape: RFC 3339.
    pub at: String,
    /// Each with `message`, `cure` and its place.
    pub mistakes: Vec<Json>,
}

/// One plugin's section.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its name in the configuration.
    pub name: String,
    /// The plugin it names.
    pub plugin: String,
    /// The build in force, where a host runs.
    pub digest: Option<Digest>,
    /// Likewise. Who is in force is the stages' to hold.
    pub generation: Weak<Generation>,
    /// Where a channel's webhooks go: what is pasted at the network. A path alone where `public_url` is not set.
    pub hook: Option<String>,
    /// A channel's budget of a day, and the folder where it is kept what was spent; `None` where there is none.
    pub budget: Option<(Budget, PathBuf)>,
}

impl Desk {
    /// Every channel that is configured or has records, sorted.
    async fn channels(&self) -> Result<Vec<ChannelName>, Refusal> {
        let mut names = self.journal.store.channels().await?;
        names.extend(self.sections.load().channels.iter().map(|section| ChannelName::from(section.name.as_str())));
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The channel of this name, or a refusal that names those there are.
    async fn channel(&self, name: &str) -> Result<ChannelName, Refusal> {
        let names = self.channels().await?;
        names.iter().find(|known| known.as_str() == name).cloned().ok_or_else(|| {
            let known: Vec<&str> = names.iter().map(ChannelName::as_str).collect();
            Refusal::not_found(format!("there is no channel `{name}`"), shown::there_are(&known))
        })
    }
}

/// The API alone: what the command line runs in process.
pub fn api(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/api/v1/openapi.json", get(openapi::document))
        .route("/api/v1/status", get(read::status))
        .route("/api/v1/channels", get(read::channels))
        .route("/api/v1/channels/{name}/pause", post(orders::pause))
        .route("/api/v1/channels/{name}/resume", post(orders::resume))
        .route("/api/v1/channels/{name}/poll", post(orders::poll))
        .route("/api/v1/interactions", get(lists::interactions))
        .route("/api/v1/interactions/{id}", get(read::interaction))
        .route("/api/v1/interactions/{id}/explain", get(read::explain))
        .route("/api/v1/interactions/{id}/attachments/{n}", get(files::attachment))
        .route("/api/v1/tasks", get(lists::tasks))
        .route("/api/v1/tasks/{id}", get(read::task))
        .route("/api/v1/tasks/{id}/close", post(orders::close_task))
        .route("/api/v1/actions", get(lists::actions))
        .route("/api/v1/actions/{id}", get(read::action))
        .route("/api/v1/actions/{id}/approve", post(orders::approve))
        .route("/api/v1/actions/{id}/reject", post(orders::reject))
        .route("/api/v1/actions/{id}/retry", post(orders::retry))
        .route("/api/v1/dead", get(lists::dead))
        .route("/api/v1/dead/redrive", post(orders::redrive_some))
        .route("/api/v1/dead/{id}", get(read::dead))
        .route("/api/v1/dead/{id}/raw", get(files::raw))
        .route("/api/v1/dead/{id}/redrive", post(orders::redrive))
        .route("/api/v1/plugins", get(plugins::list))
        .route("/api/v1/plugins/{name}/swap", post(builds::swap).layer(DefaultBodyLimit::max(FILE_BYTES_MAX)))
        .route(
            "/api/v1/plugins/{name}/shadow",
            get(builds::shadow_so_far).post(builds::shadow).delete(builds::end_shadow).layer(DefaultBodyLimit::max(FILE_BYTES_MAX)),
        )
        .route("/api/v1/plugins/{name}/rollback", post(builds::roll_back))
        .route("/api/v1/plugins/{name}/history", get(builds::history))
        .route("/api/v1/plugins/{name}/rerun", get(rerun::progress).post(rerun::begin).delete(rerun::stop))
        .route("/api/v1/verify", post(read::verify))
        .route("/api/v1/backup", get(backup::progress).post(backup::make))
        .fallback(refusal::no_such_path)
        .method_not_allowed_fallback(refusal::no_such_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&desk), audit::keep))
        .with_state(desk)
}

/// Everything on `listen`. `with_hooks` is false where webhooks have an address of their own.
pub fn router(desk: Arc<Desk>, ingress: Arc<Ingress>, with_hooks: bool) -> Router {
    let guarded = api(Arc::clone(&desk))
        .merge(Router::new().route("/metrics", get(metrics::text)).with_state((Arc::clone(&desk), Arc::clone(&ingress))))
        .layer(middleware::from_fn_with_state(Arc::clone(&desk), auth::guard));
    let open = Router::new().route("/", get(read::front)).route("/healthz", get(read::healthz)).route("/readyz", get(read::readyz)).with_state(desk);
    let all = open.merge(guarded);
    if with_hooks { all.merge(hooks(ingress)) } else { all }
}

/// Webhooks alone.
pub fn hooks(ingress: Arc<Ingress>) -> Router {
    hooks::router(ingress)
}
