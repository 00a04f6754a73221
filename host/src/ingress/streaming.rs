//! Keeps a channel's stream: asks the connector what to connect to, makes each frame durable as it came, and connects again when
//! it ends. After every connection the channel is polled once, for what was said in between.
//!
//! How long it waits before it connects again depends on whether the last connection brought anything, not on how long it
//! stood: a network that accepts and then says nothing is left alone for longer and longer.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::clock::Wait;
use crate::egress::{Frame, HttpError, Stream, StreamEnd, StreamError};
use crate::model::{ChannelName, Detail, Fault, NativeId, NewRaw, RawOrigin};
use crate::plugin::{Generation, PluginState};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{ChannelRecord, ChannelStatus};

/// A turn that hears nothing ends after this, so that a stop is heard too.
const LISTEN: Duration = Duration::from_millis(500);
/// Committed at once, at most.
const FRAMES_MAX: usize = 256;
/// Units: bytes.
const BYTES_MAX: usize = 4 << 20;
/// First wait before it connects again; doubles up to [`WAIT_MAX`] for as long as nothing comes.
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(600);
/// While the configuration or a credential is wrong, one look in a while tells whether it was mended outside.
const HELD_WAIT: Duration = Duration::from_secs(60);
/// A first failure is common: a server starts anew, rules are not in force yet. Told from the second on.
const FAILURES_TOLD: u32 = 2;

/// The stream of one channel.
pub struct Streaming {
    journal: Journal,
    channel: ChannelName,
    plugin: Arc<Generation>,
    catch_up: Box<dyn Fn() + Send + Sync>,
    memory: Mutex<Memory>,
}

/// What it knows between turns; all of it can be lost.
#[derive(Default)]
struct Memory {
    open: Option<Stream>,
    rest: Wait,
    /// Failures and connections that brought nothing, in a row.
    n_failures: u32,
    /// The connector has none for this channel.
    is_without: bool,
}

impl Streaming {
    /// `catch_up` asks for one poll of the channel.
    pub fn new(journal: Journal, channel: ChannelName, plugin: Arc<Generation>, catch_up: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { journal, channel, plugin, catch_up, memory: Mutex::default() }
    }

    async fn connect(&self, record: &ChannelRecord, memory: &mut Memory) -> Result<Turn, StageError> {
        let state = PluginState::new(self.journal.store.plugin_state(&self.channel).await?, 0);
        let generation = &self.plugin;
        let opened = match (generation.open(state, record.cursor.clone()).await, generation.door()) {
            (Err(fault), _) => Err(fault),
            (Ok(_), None) => Err(fault_of(&StreamError::Http(HttpError::Denied("no http is granted to this plugin".to_owned())))),
            (Ok(request), Some(door)) => door.stream(request).await.map_err(|error| fault_of(&error)),
        };
        match opened {
            Ok(stream) => {
                memory.open = Some(stream);
                info!(channel = %self.channel, "Stream opened.");
                // Before anything that may fail: the stream stays open then.
                (self.catch_up)();
                if record.status.as_ref().is_some_and(ChannelStatus::is_of_stream) {
                    self.leave(ChannelStatus { state: "connected".to_owned(), reason: None, since: self.journal.clock.now() }).await?;
                }
                Ok(Turn::Worked)
            }
            Err(Fault::Unsupported(_)) => {
                memory.is_without = true;
                Ok(Turn::Idle)
            }
            Err(fault) => self.wait_after(record, memory, &fault).await,
        }
    }

    async fn wait_after(&self, record: &ChannelRecord, memory: &mut Memory, fault: &Fault) -> Result<Turn, StageError> {
        let turn = self.rest(memory, fault);
        let status = ChannelStatus::no_stream(&fault.to_string(), self.journal.clock.now());
        let (channel, code) = (&self.channel, &fault.detail().code);
        let is_told = record.status.as_ref().is_some_and(|old| old.reason == status.reason);
        let is_free = record.status.as_ref().is_none_or(|old| old.state == "connected" || old.is_of_stream());
        if memory.n_failures < FAILURES_TOLD || is_told || !is_free {
            debug!(%channel, fault = fault.word(), code, "Stream does not open.");
        } else {
            warn!(%channel, fault = fault.word(), code, "Stream does not open; the channel goes on by polls.");
            self.leave(status).await?;
        }
        Ok(turn)
    }

    /// Until when nothing is tried.
    fn rest(&self, memory: &mut Memory, fault: &Fault) -> Turn {
        let growing = (WAIT_MIN * 2u32.saturating_pow(memory.n_failures.min(16))).min(WAIT_MAX);
        memory.n_failures = memory.n_failures.saturating_add(1);
        let wait = match fault {
            Fault::Config(_) | Fault::Auth(_) => HELD_WAIT,
            Fault::RateLimited(_, ms) => Duration::from_millis(*ms).clamp(growing, WAIT_MAX),
            Fault::Transient(_) | Fault::Permanent(_) | Fault::Unsupported(_) => growing,
        };
        self.journal.rest(&mut memory.rest, wait)
    }

    async fn leave(&self, status: ChannelStatus) -> Result<(), StageError> {
        info!(channel = %self.channel, state = status.state, "Channel changed its state.");
        let mut commit = self.journal.begin(&self.channel);
        commit.status = Some(status);
        self.journal.commit(commit).await?;
        Ok(())
    }

    /// Makes durable what came; what is there already goes into the same commit.
    async fn listen(&self, memory: &mut Memory, mut stream: Stream) -> Result<Turn, StageError> {
        let (mut raws, mut n_bytes) = (Vec::new(), 0);
        let mut heard = timeout(LISTEN, stream.next()).await.ok();
        let ended = loop {
            match heard {
                None => break None,
                Some(Err(end)) => break Some(end),
                Some(Ok(frame)) => {
                    let raw = self.raw(frame);
                    n_bytes += raw.body.len();
                    raws.push(raw);
                }
            }
            heard = if raws.len() < FRAMES_MAX && n_bytes < BYTES_MAX { stream.next().now_or_never() } else { None };
        };
        if !raws.is_empty() {
            memory.n_failures = 0;
            // What is not durable is lost with the connection: the poll that follows the next one brings it.
            self.journal.commit_raw(&self.channel, self.journal.clock.now(), raws).await?;
        }
        let Some(end) = ended else {
            memory.open = Some(stream);
            return Ok(Turn::Worked);
        };
        match &end {
            StreamEnd::Closed => info!(channel = %self.channel, "Stream ended; it is opened again."),
            StreamEnd::Silent(_) | StreamEnd::Broken(_) => warn!(channel = %self.channel, error = %end, "Stream broke; it is opened again."),
        }
        Ok(self.rest(memory, &transient("stream-ended", &end.to_string())))
    }

    fn raw(&self, frame: Frame) -> NewRaw {
        match frame {
            Frame::Whole(body) => NewRaw { origin: RawOrigin::Frame, body, received: None, once: None },
            Frame::Cut(head) => {
                let native = NativeId { scope: "stream".to_owned(), id: format!("{}-{}", self.journal.clock.now().0, head.len()) };
                let reason = "a frame of the stream is over 1 MiB".to_owned();
                NewRaw { origin: RawOrigin::Unreadable { native, reason, is_backfill: false }, body: head, received: None, once: None }
            }
        }
    }
}

#[async_trait]
impl Work for Streaming {
    fn stage(&self) -> &'static str {
        "stream"
    }

    fn channel(&self) -> &ChannelName {
        &self.channel
    }

    async fn turn(&self) -> Result<Turn, StageError> {
        let mut memory = self.memory.lock().await;
        let record = self.journal.store.channel(&self.channel).await?;
        if memory.is_without || record.status.as_ref().is_some_and(|status| status.state == "paused") {
            memory.open = None;
            return Ok(Turn::Idle);
        }
        if let Some(stream) = memory.open.take() {
            return self.listen(&mut memory, stream).await;
        }
        if let Some(until) = memory.rest.left(self.journal.clock.now()) {
            return Ok(Turn::Until(until));
        }
        self.connect(&record, &mut memory).await
    }
}

/// What a refused connection means for the channel.
fn fault_of(error: &StreamError) -> Fault {
    let detail = Detail { code: "stream-refused".to_owned(), message: error.to_string() };
    match error {
        StreamError::Http(HttpError::Denied(_)) => Fault::Config(detail),
        StreamError::BadCredentials(_) | StreamError::Status { status: 401 | 403, .. } => Fault::Auth(detail),
        StreamError::Status { status: 429, retry_after } => {
            let ms = retry_after.map_or(0, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            Fault::RateLimited(detail, ms)
        }
        StreamError::Http(_) | StreamError::Status { .. } => Fault::Transient(detail),
    }
}

fn transient(code: &str, message: &str) -> Fault {
    Fault::Transient(Detail { code: code.to_owned(), message: message.to_owned() })
}
