//! Takes in what networks push: verify over the bytes received, commit them raw, then answer 2xx. What comes over a connection
//! that the host keeps is committed likewise, frame by frame (`streaming`).
//!
//! It understands nothing of what it takes; that is the connector's `receive`, later and one by one. Nothing is acknowledged
//! before it is durable, and nothing unverified is stored. Challenges are answered from memory: they wait for no store, and no
//! plugin sees them. What proves a webhook and is itself a secret is not stored either.

mod streaming;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tracing::{debug, error, info, warn};

use crate::model::{ChannelName, NewRaw, RawOrigin, Scheme};
use crate::stage::Journal;
use crate::store::StoreError;
use crate::telemetry::chain;

use verify::{TELEGRAM_TOKEN, Verdict};

pub use streaming::Streaming;
pub use verify::{Challenge, Setup, Verifier};

/// A repeat of a delivery's id inside this window has no effect. Units: milliseconds; three days, longer than any retry schedule here.
const ONCE_WINDOW_MS: u64 = 72 * 3_600_000;
/// Units: bytes. Larger bodies are refused with 413.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Headers kept with a raw item; the rest is dropped.
const HEADERS_MAX: usize = 64;
/// Never kept: they hold credentials.
const SECRET_HEADERS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", TELEGRAM_TOKEN];

/// The hooks in force, by channel. Routes belong to the host, so that a reload never loses one in between.
pub struct Ingress {
    journal: Journal,
    hooks: ArcSwap<HashMap<String, Arc<Hook>>>,
    refused: Mutex<BTreeMap<ChannelName, u64>>,
}

/// One channel's hook.
pub struct Hook {
    /// Which channel's raw log it feeds.
    pub channel: ChannelName,
    /// How a request proves itself.
    pub verifier: Verifier,
    /// Upper case; empty: any.
    pub methods: Vec<String>,
}

/// A request as received.
pub struct Incoming {
    /// Upper case.
    pub method: String,
    /// What follows `/hooks/{channel}`, with its query, as received: some networks sign it.
    pub path_with_query: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// As received.
    pub body: Vec<u8>,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Durable.
    Accepted,
    /// Durable, for one of the networks that take nothing but 200 for a yes.
    Received,
    /// Its id was seen inside its window: no effect, and no reason to send it again.
    Repeat,
    /// No such hook.
    NotFound,
    /// The hook does not take this method; those that it takes, as `Allow` tells them.
    MethodNotAllowed(String),
    /// It does not prove itself.
    Unauthorized,
    /// It does not prove itself, and its scheme wants that not to be told.
    Ignored,
    /// Not durable: try again soon.
    Unavailable,
}

impl Ingress {
    /// No hooks yet.
    pub fn new(journal: Journal) -> Self {
        Self { journal, hooks: ArcSwap::default(), refused: Mutex::default() }
    }

    /// Puts these hooks in force at once.
    pub fn set(&self, hooks: impl IntoIterator<Item = Arc<Hook>>) {
        let hooks = hooks.into_iter().map(|hook| (hook.channel.as_str().to_owned(), hook));
        self.hooks.store(Arc::new(hooks.collect()));
    }

    /// How many webhooks did not prove themselves since the start, by channel; those of which all did are not named.
    pub fn refused(&self) -> Vec<(ChannelName, u64)> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(channel, n)| (channel.clone(), *n)).collect()
    }

    /// The answer to a challenge, where the request is one. It waits for nothing: networks give an address up within seconds.
    pub fn challenge(&self, channel: &str, method: &str, query: &str) -> Option<Challenge> {
        let hook = self.hooks.load().get(channel).cloned().filter(|_| method == "GET")?;
        let challenge = hook.verifier.challenge(query)?;
        let scheme = hook.verifier.scheme();
        match &challenge {
            Challenge::Text(_) | Challenge::Json(_) => info!(%channel, %scheme, "The network asked whether this hook is ours, and was told so."),
            Challenge::Heard => warn!(%channel, %scheme, "The hub refuses the subscription or has ended it."),
            Challenge::Malformed => info!(%channel, %scheme, "A challenge was refused: it is too long, or no challenge of this network."),
            Challenge::Forbidden => info!(%channel, %scheme, "A challenge was refused: it does not name the verify token."),
            Challenge::UnknownTopic => info!(%channel, %scheme, "A hub's question was refused: its topic is not meant."),
        }
        Some(challenge)
    }

    /// Whether webhooks to this channel are taken by this method at all; asked before a body is read. Errors: the answer.
    pub fn takes(&self, channel: &str, method: &str) -> Result<(), Answer> {
        self.hook(channel, method).map(|_| ())
    }

    fn hook(&self, channel: &str, method: &str) -> Result<Arc<Hook>, Answer> {
        let hook = self.hooks.load().get(channel).cloned().ok_or(Answer::NotFound)?;
        let is_taken = hook.methods.is_empty() || hook.methods.iter().any(|taken| taken == method);
        if is_taken { Ok(hook) } else { Err(Answer::MethodNotAllowed(hook.methods.join(", "))) }
    }

    /// Verifies and makes durable. The answer may be given as soon as this returns.
    pub async fn accept(&self, channel: &str, mut incoming: Incoming) -> Answer {
        let hook = match self.hook(channel, &incoming.method) {
            Ok(hook) => hook,
            Err(refused) => return refused,
        };
        let now = self.journal.clock.now();
        let scheme = hook.verifier.scheme();
        let id = match hook.verifier.verify(&incoming, now) {
            Ok(Verdict::Believed(id)) => id,
            Ok(Verdict::Ping) => return Answer::Received,
            Err(why) => {
                info!(%channel, %scheme, error = %why, "Webhook refused.");
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(hook.channel.clone()).or_default() += 1;
                // A hub is told of success all the same. Source: WebSub, 7.1.1.
                return if scheme == Scheme::WebSub { Answer::Ignored } else { Answer::Unauthorized };
            }
        };
        hook.verifier.mask(&mut incoming);
        let Incoming { method, path_with_query, headers, body } = incoming;
        let headers = headers.into_iter().filter(|(name, _)| !SECRET_HEADERS.contains(&name.as_str())).take(HEADERS_MAX).collect();
        let origin = RawOrigin::Webhook { method, path_with_query, headers };
        let raw = NewRaw { origin, body, received: None, once: id.map(|id| (id, ONCE_WINDOW_MS)) };
        match self.journal.commit_raw(&hook.channel, now, vec![raw]).await {
            Ok(places) if places.iter().all(Option::is_none) => Answer::Repeat,
            Ok(_) if matches!(scheme, Scheme::StandardWebhooks | Scheme::None) => Answer::Accepted,
            Ok(_) => Answer::Received,
            // The store has told, once.
            Err(failure @ StoreError::Full { .. }) => {
                debug!(%channel, error = %chain(&failure), "Webhook not stored; the sender was told to try again.");
                Answer::Unavailable
            }
            Err(failure) => {
                error!(%channel, error = %chain(&failure), "Webhook not stored; the sender was told to try again.");
                Answer::Unavailable
            }
        }
    }
}
