//! OAuth 2.0 of one credential: the tokens of its account, renewed by the host and never shown to a guest.
//!
//! A refresh token may work once only. So there is one refresh at a time (in this process and over all of them), what comes of it
//! is durable before it is used, and a refresh that began is brought to its end even where its caller is gone. Lifetimes are
//! counted by our own clock from the moment we asked: what the other side thinks the time is does not matter.

mod answer;
mod login;
mod renewals;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::clock::{Clock, Wait};
use crate::model::Timestamp;
use crate::telemetry::chain;

use super::sealed::{SealError, Stamp, Vault};
use super::{Door, HttpError, HttpRequest, Secret};

pub use login::{LoggedIn, Login, LoginError};
pub use renewals::Renewals;

/// A call of the token endpoint.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);
/// Somebody else's refresh is waited for so long, longer than a call takes.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// After a refresh that failed for now. Units: milliseconds.
const PAUSE_MS: u64 = 5_000;
/// After a refusal that is no `invalid_grant`, or of a token that is new: it may be the network's own mishap. Units: milliseconds.
const REFUSED_MS: u64 = 600_000;
/// After a refresh because the network refused a token: one place that always refuses must not rotate it call by call.
/// Units: milliseconds.
const RENEWED_MS: u64 = 60_000;
/// Tokens that answers are still scrubbed of.
const SEEN_MAX: usize = 16;

/// How a client proves itself to the token endpoint. Source: RFC 6749 §2.3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// `Authorization: Basic`.
    Basic,
    /// In the form.
    Body,
}

impl ClientAuth {
    /// As manifests write it: `basic`, `body`.
    pub fn parse(text: &str) -> Option<Self> {
        [("basic", Self::Basic), ("body", Self::Body)].into_iter().find(|(word, _)| *word == text).map(|(_, auth)| auth)
    }
}

/// The application that the network knows us as.
#[derive(Debug, Clone)]
pub struct Client {
    /// Of the token endpoint.
    pub token_url: String,
    /// Its name.
    pub id: Secret,
    /// None: a public client.
    pub secret: Option<Secret>,
    /// How it proves itself, where it has a secret.
    pub auth: ClientAuth,
}

impl Client {
    /// Where tokens of it are from, and whose they are.
    fn place(&self) -> String {
        format!("{}\n{}", self.token_url, self.id.expose())
    }

    /// A call of the token endpoint with the client's proof. Source: RFC 6749 §2.3.1.
    fn request(&self, fields: &[(&str, &str)]) -> HttpRequest {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        let mut headers =
            vec![("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()), ("accept".to_owned(), "application/json".to_owned())];
        let form_encoded = |text: &Secret| form_urlencoded::byte_serialize(text.expose().as_bytes()).collect::<String>();
        match (&self.secret, self.auth) {
            (Some(secret), ClientAuth::Basic) => {
                let pair = Zeroizing::new(format!("{}:{}", form_encoded(&self.id), form_encoded(secret)));
                headers.push(("authorization".to_owned(), format!("Basic {}", STANDARD.encode(pair.as_bytes()))));
            }
            (Some(secret), ClientAuth::Body) => {
                form.append_pair("client_id", self.id.expose()).append_pair("client_secret", secret.expose());
            }
            (None, _) => {
                form.append_pair("client_id", self.id.expose());
            }
        }
        let body = form.finish().into_bytes();
        HttpRequest { method: "POST".to_owned(), url: self.token_url.clone(), headers, body, auth: None, timeout: Some(ASK_TIMEOUT) }
    }
}

/// The tokens of one credential of one section.
pub struct Tokens {
    client: Client,
    /// The section and the credential, for messages.
    section: String,
    credential: String,
    vault: Vault,
    /// Opens to the token endpoint alone; its answers are not scrubbed and go nowhere but here.
    door: Door,
    clock: Clock,
    renewals: Arc<Renewals>,
    live: tokio::sync::Mutex<Live>,
    /// Tokens that were in use lately, newest last.
    seen: Mutex<VecDeque<Secret>>,
    /// The access token came of a refresh and the network accepted it nowhere yet: one more refresh would mend nothing for now.
    is_unproved: AtomicBool,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({}/{})", self.section, self.credential)
    }
}

/// Why there is no access token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Nobody logged in yet, at this network; in words.
    Nobody(String),
    /// Only a new login mends it; in words.
    Dead(String),
    /// Not now; nothing was sent to where the token was for.
    Later(String),
    /// The present one is as good as a new one would be.
    Useless,
    /// The token endpoint may not be called; with the line that grants it.
    Denied(String),
}

/// Why an access token is to be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its time is nearly over.
    Due,
    /// The network answered 401.
    Refused,
}

/// What is in force.
#[derive(Default)]
struct Live {
    /// Of the file that it was read from.
    stamp: Option<Stamp>,
    held: Option<Held>,
    /// No refresh is tried before that is over; none: for ever.
    dead: Option<(Option<Wait>, String)>,
    /// The last refresh failed: not again before that is over.
    failed: Option<(Wait, String)>,
    /// It was renewed because the network refused it: not again for this before that is over.
    renewed: Option<Wait>,
}

/// Tokens as the network gave them.
#[derive(Clone)]
struct Held {
    /// [`Client::place`]; none where an older host sealed them.
    of: Option<String>,
    access: Secret,
    refresh: Option<Secret>,
    /// When they were asked for.
    obtained: Timestamp,
    /// As the network said.
    lifetime_ms: Option<u64>,
    scope: Option<String>,
}

/// The sealed form of [`Held`].
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(default)]
    of: Option<String>,
    access: String,
    refresh: Option<String>,
    obtained_ms: u64,
    lifetime_ms: Option<u64>,
    scope: Option<String>,
}

impl Held {
    fn elapsed_share(&self, now: Timestamp, percent: u64) -> bool {
        // A clock that was set back tells nothing: then it is renewed rather than trusted.
        self.lifetime_ms.is_some_and(|all| now < self.obtained || now.since_ms(self.obtained) >= all * percent / 100)
    }

    /// Time to renew it.
    fn is_due(&self, now: Timestamp) -> bool {
        self.elapsed_share(now, 80)
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.elapsed_share(now, 100)
    }

    fn sealed_form(&self) -> Zeroizing<Vec<u8>> {
        let kept = Kept {
            of: self.of.clone(),
            access: self.access.expose().to_owned(),
            refresh: self.refresh.as_ref().map(|refresh| refresh.expose().to_owned()),
            obtained_ms: self.obtained.0,
            lifetime_ms: self.lifetime_ms,
            scope: self.scope.clone(),
        };
        Zeroizing::new(serde_json::to_vec(&kept).unwrap_or_default())
    }

    fn of_sealed(bytes: &[u8]) -> Option<Self> {
        let kept: Kept = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            of: kept.of,
            access: Secret::new(&kept.access),
            refresh: kept.refresh.as_deref().map(Secret::new),
            obtained: Timestamp(kept.obtained_ms),
            lifetime_ms: kept.lifetime_ms,
            scope: kept.scope,
        })
    }
}

impl Tokens {
    /// The tokens of a section's credential, sealed in this folder. Nothing is read before the first use. `door` must open to the
    /// token endpoint and to nothing else.
    pub fn new(client: Client, (section, credential): (&str, &str), folder: &Path, door: Door, clock: Clock, renewals: Arc<Renewals>) -> Arc<Self> {
        Arc::new(Self {
            client,
            section: section.to_owned(),
            credential: credential.to_owned(),
            vault: Vault::new(folder, &format!("{section}\n{credential}")),
            door,
            clock,
            renewals,
            live: tokio::sync::Mutex::default(),
            seen: Mutex::default(),
            is_unproved: AtomicBool::new(false),
        })
    }

    /// A token that is good now, as far as we know. Cancel: safe; a refresh under way goes on.
    pub(super) async fn access(self: &Arc<Self>) -> Result<Secret, Refused> {
        let (access, is_over) = {
            let mut live = self.live.lock().await;
            self.look(&mut live).await?;
            let now = self.clock.now();
            let held = self.alive(&live, now)?;
            if held.refresh.is_none() || !held.is_due(now) {
                return Ok(held.access.clone());
            }
            (held.access.clone(), held.is_over(now))
        };
        match self.renew(&access, Cause::Due).await {
            Err(Refused::Later(_)) if !is_over => Ok(access),
            other => other,
        }
    }

    /// Another token than `used`. Cancel: safe; what began goes on, so that a new refresh token is never lost with its caller.
    pub(super) async fn renew(self: &Arc<Self>, used: &Secret, cause: Cause) -> Result<Secret, Refused> {
        let (this, used) = (Arc::clone(self), used.clone());
        let ended = self.renewals.run(async move { this.renewed(&used, cause).await }).await;
        ended.unwrap_or_else(|| Err(Refused::Later(self.words("the refresh ended badly"))))
    }

    /// The network accepted the token.
    pub(super) fn proved(&self) {
        self.is_unproved.store(false, Ordering::Release);
    }

    /// Every text that answers are scrubbed of.
    pub(super) fn seen(&self) -> Vec<Secret> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().chain(&self.client.secret).cloned().collect()
    }

    fn remember(&self, held: &Held) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for secret in std::iter::once(&held.access).chain(&held.refresh) {
            if !seen.contains(secret) {
                seen.push_back(secret.clone());
            }
        }
        while seen.len() > SEEN_MAX {
            seen.pop_front();
        }
    }

    async fn renewed(&self, used: &Secret, cause: Cause) -> Result<Secret, Refused> {
        let mut live = self.live.lock().await;
        let _turn = self.turn().await.map_err(|why| Refused::Later(self.words(&why)))?;
        self.look(&mut live).await?;
        let now = self.clock.now();
        let held = self.alive(&live, now)?.clone();
        // Somebody else was quicker, in here or in another process.
        if held.access != *used {
            return Ok(held.access);
        }
        let is_fresh = now.since_ms(held.obtained) < REFUSED_MS;
        let was_renewed = live.renewed.as_ref().is_some_and(|wait| wait.left(now).is_some());
        if cause == Cause::Refused && (was_renewed || (is_fresh && self.is_unproved.load(Ordering::Acquire))) {
            return Err(Refused::Useless);
        }
        let fresh = match self.renewals.unsealed(&self.vault, live.stamp) {
            Some(fresh) if self.is_ours(&fresh) => fresh,
            _ => self.refreshed(&mut live, &held, cause).await?,
        };
        self.remember(&fresh);
        self.renewals.note_unsealed(&self.vault, live.stamp, fresh.clone());
        let sealed = self.seal(&fresh).await;
        live.stamp = Some(sealed.map_err(|why| Refused::Later(self.words(&format!("the new tokens cannot be kept: {why}"))))?);
        self.renewals.sealed(&self.vault);
        (live.failed, live.held) = (None, Some(fresh.clone()));
        live.renewed = (cause == Cause::Refused).then(|| Wait::of(Duration::from_millis(RENEWED_MS), now));
        self.is_unproved.store(true, Ordering::Release);
        Ok(fresh.access)
    }

    /// What another network gave, or another application was given, this one must not see.
    fn is_ours(&self, held: &Held) -> bool {
        held.of.as_ref().is_none_or(|of| *of == self.client.place())
    }

    /// Asks the token endpoint, and notes how it refuses.
    async fn refreshed(&self, live: &mut Live, held: &Held, cause: Cause) -> Result<Held, Refused> {
        let now = self.clock.now();
        let mishap = Wait::of(Duration::from_millis(REFUSED_MS), now);
        let Some(refresh) = &held.refresh else {
            return Err(self.bury(live, Some(mishap), "the network refused it, and there is no refresh token"));
        };
        if let Some((_, why)) = live.failed.as_ref().filter(|(wait, _)| wait.left(now).is_some()) {
            return Err(Refused::Later(why.clone()));
        }
        if self.renewals.is_ending() {
            return Err(Refused::Later(self.words("the host is stopping")));
        }
        match self.ask(&[("grant_type", "refresh_token"), ("refresh_token", refresh.expose())]).await {
            Ok(fresh) => {
                Ok(Held { refresh: fresh.refresh.or_else(|| held.refresh.clone()), scope: fresh.scope.or_else(|| held.scope.clone()), ..fresh })
            }
            Err(answer::No::Grant(code)) => Err(self.bury(live, None, &format!("its refresh was refused ({code})"))),
            // What the network still takes is used to its end.
            Err(answer::No::Other(code)) if cause == Cause::Due && !held.is_over(now) => {
                let why = self.words(&format!("its refresh was refused ({code})"));
                live.failed = Some((mishap, why.clone()));
                Err(Refused::Later(why))
            }
            Err(answer::No::Other(code)) => Err(self.bury(live, Some(mishap), &format!("its refresh was refused ({code})"))),
            Err(answer::No::Denied(why)) => Err(Refused::Denied(why)),
            Err(answer::No::Later(why)) => {
                let why = self.words(&why);
                live.failed = Some((Wait::of(Duration::from_millis(PAUSE_MS), self.clock.now()), why.clone()));
                Err(Refused::Later(why))
            }
        }
    }

    fn bury(&self, live: &mut Live, wait: Option<Wait>, why: &str) -> Refused {
        let why = self.login_words(why);
        live.dead = Some((wait, why.clone()));
        Refused::Dead(why)
    }

    /// What is held, where it may still be good.
    fn alive<'l>(&self, live: &'l Live, now: Timestamp) -> Result<&'l Held, Refused> {
        match (&live.held, &live.dead) {
            (_, Some((wait, why))) if wait.is_none_or(|wait| wait.left(now).is_some()) => Err(Refused::Dead(why.clone())),
            (None, _) => Err(Refused::Nobody(self.login_words("nobody logged in yet"))),
            (Some(held), _) => Ok(held),
        }
    }

    /// Reads the file where it is another than the one that was read: a login, or another process's refresh.
    async fn look(&self, live: &mut Live) -> Result<(), Refused> {
        if self.vault.stamp() == live.stamp {
            return Ok(());
        }
        let vault = self.vault.clone();
        let opened = tokio::task::spawn_blocking(move || vault.open()).await;
        match opened.map_err(|_| Refused::Later(self.words("the sealed tokens could not be read")))? {
            Ok(Some((stamp, content))) => {
                let held = Held::of_sealed(&content).filter(|held| self.is_ours(held));
                held.iter().for_each(|held| self.remember(held));
                *live = Live { stamp: Some(stamp), held, ..Live::default() };
                self.is_unproved.store(false, Ordering::Release);
                Ok(())
            }
            Ok(None) => {
                *live = Live::default();
                Ok(())
            }
            Err(error @ SealError::Foreign(_)) => Err(Refused::Dead(self.login_words(&error.to_string()))),
            Err(error) => Err(Refused::Later(self.words(&chain(&error).to_string()))),
        }
    }

    async fn seal(&self, held: &Held) -> Result<Stamp, String> {
        let (vault, content) = (self.vault.clone(), held.sealed_form());
        let sealed = tokio::task::spawn_blocking(move || vault.seal(&content)).await;
        sealed.map_err(|error| error.to_string())?.map_err(|error| chain(&error).to_string())
    }

    /// The right to replace the tokens, over all processes.
    async fn turn(&self) -> Result<File, String> {
        for _ in 0..LOCK_TRIES {
            if let Some(turn) = self.vault.lock().map_err(|error| chain(&error).to_string())? {
                return Ok(turn);
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
        Err("another process holds its tokens".to_owned())
    }

    /// One call of the token endpoint.
    async fn ask(&self, fields: &[(&str, &str)]) -> Result<Held, answer::No> {
        let asked_at = self.clock.now();
        match self.door.without_tokens(self.client.request(fields)).await {
            Ok(answer) => answer::held(&answer, self.client.place(), asked_at),
            Err(HttpError::Denied(why)) => Err(answer::No::Denied(why)),
            Err(error) => Err(answer::No::Later(format!("the token endpoint: {error}"))),
        }
    }

    fn words(&self, what: &str) -> String {
        format!("credential `{}`: {what}", self.credential)
    }

    fn login_words(&self, what: &str) -> String {
        format!("{}; log in: membrana channel login {}", self.words(what), self.section)
    }
}
