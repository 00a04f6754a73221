//! One loaded build of a plugin, and the slot that says which build is in force.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use wasmtime::Store;

use crate::egress::{Door, StreamRequest};
use crate::model::{Annotation, Digest, Fault, Finding, RawItem};

use super::bindings::{api::types, give, take};
use super::engine::Engine;
use super::host::HostState;
use super::manifest::CONTRACT;
use super::pool::{Connector, Exports, Pool, transient};
use super::shapes::{AnalyzeBatch, Called, Change, Message, Page, Receipt, RuleDecision, RuleEvent, Sent, Surroundings};
use super::{Manifest, PluginError, PluginState};

/// The build of a plugin that is in force. Callers keep the generation they began with.
pub struct Slot(ArcSwap<Generation>);

impl Slot {
    /// Puts this build in force.
    pub fn new(generation: Arc<Generation>) -> Self {
        Self(ArcSwap::new(generation))
    }

    /// The build in force.
    pub fn current(&self) -> Arc<Generation> {
        self.0.load_full()
    }
}

/// One loaded build of a plugin with its configuration.
pub struct Generation {
    name: String,
    digest: Digest,
    manifest: Manifest,
    backing: Backing,
}

/// What carries out calls.
enum Backing {
    /// A component in its sandbox.
    Wasm(Arc<Engine>, Arc<Pool>),
    /// The host's own code: the baseline that `bench` compares with.
    Native(Box<dyn Native>),
}

/// A plugin's work done by the host's own code, for comparison and for tests.
pub trait Native: Send + Sync + 'static {
    /// See [`Generation::poll`].
    fn poll(&self, _cursor: Option<String>, _items_max: u32) -> Result<Page, Fault> {
        Err(transient("native", "this does not poll"))
    }

    /// See [`Generation::receive`].
    fn receive(&self, _raw: &RawItem) -> Called<Vec<Change>> {
        Called { result: Err(transient("native", "this does not receive")), state: Vec::new() }
    }

    /// See [`Generation::send`].
    fn send(&self, _key: &str, _message: &Message) -> Result<Receipt, Fault> {
        Err(transient("native", "this does not send"))
    }

    /// See [`Generation::probe`].
    fn probe(&self, _key: &str, _message: &Message) -> Result<(Sent, Option<Receipt>), Fault> {
        Err(transient("native", "this does not probe"))
    }

    /// See [`Generation::door`]; with one it has a stream.
    fn door(&self) -> Option<Arc<Door>> {
        None
    }

    /// See [`Generation::open`].
    fn open(&self, _cursor: Option<String>) -> Result<StreamRequest, Fault> {
        Err(transient("native", "this has no stream"))
    }

    /// See [`Generation::has_media`].
    fn has_media(&self) -> bool {
        false
    }

    /// See [`Generation::fetch`].
    fn fetch(&self, _media_ref: &str, _bytes_max: u32) -> Result<Vec<u8>, Fault> {
        Err(transient("native", "this fetches no files"))
    }

    /// See [`Generation::analyze`].
    fn analyze(&self, _batch: &AnalyzeBatch<'_>) -> Result<Vec<Vec<Annotation>>, Fault> {
        Err(transient("native", "this does not analyze"))
    }

    /// See [`Generation::decide`].
    fn decide(&self, _events: Vec<RuleEvent>) -> Result<Vec<RuleDecision>, Fault> {
        Err(transient("native", "this does not decide"))
    }
}

/// A place among a generation's calls that run at once; given back when the call ends.
pub struct CallTurn(Option<OwnedSemaphorePermit>);

/// An answer of a guest, not yet checked: wasmtime's failure, or the guest's fault, or a value.
type Raw<T> = wasmtime::Result<Result<T, types::Fault>>;

/// Ends a call that nobody waits for any more.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Generation {
    pub(super) fn new(engine: Arc<Engine>, name: String, digest: Digest, manifest: Manifest, pool: Pool) -> Self {
        Self { name, digest, manifest, backing: Backing::Wasm(engine, Arc::new(pool)) }
    }

    /// The host's own code in the place of a plugin.
    pub fn native(name: &str, manifest: Manifest, native: impl Native) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), digest: Digest::of(b"native"), manifest, backing: Backing::Native(Box::new(native)) })
    }

    /// The plugin's name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of the component.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its way out, if it has one.
    pub fn door(&self) -> Option<Arc<Door>> {
        match &self.backing {
            Backing::Wasm(_, pool) => pool.who().door.clone(),
            Backing::Native(native) => native.door(),
        }
    }

    /// Says whether [`Generation::open`] is of use.
    pub fn has_stream(&self) -> bool {
        match &self.backing {
            Backing::Wasm(_, pool) => pool.prepared().has_stream(),
            Backing::Native(native) => native.door().is_some(),
        }
    }

    /// Says whether [`Generation::fetch`] is of use.
    pub fn has_media(&self) -> bool {
        match &self.backing {
            Backing::Wasm(_, pool) => pool.prepared().has_media(),
            Backing::Native(native) => native.has_media(),
        }
    }

    /// Starts one instance, so that what only instantiation shows is seen before the build is in force.
    pub(super) async fn try_once(&self) -> Result<(), PluginError> {
        let Backing::Wasm(engine, pool) = &self.backing else { return Ok(()) };
        let pool = Arc::clone(pool);
        let start = async move {
            let instance = pool.take(pool.deadline()).await?;
            pool.give_back(instance);
            Ok(())
        };
        let started: Result<(), Fault> = match engine.spawn(start) {
            Some(handle) => handle.await.unwrap_or_else(|error| Err(transient("stopped", &error.to_string()))),
            None => Err(transient("stopped", "the engine is stopping")),
        };
        let export = format!("membrana:plugin/{}@{CONTRACT}.0", self.manifest.kind.word());
        started.map_err(|fault| PluginError::Contract(format!("its export `{export}` cannot be started: {fault}")))
    }

    /// Waits for a place among the calls that run at once, for who counts time from there on.
    pub async fn turn(&self) -> Result<CallTurn, Fault> {
        match &self.backing {
            Backing::Wasm(_, pool) => pool.turn().await.map(|turn| CallTurn(Some(turn))),
            Backing::Native(_) => Ok(CallTurn(None)),
        }
    }

    async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        state: PluginState,
        call: impl for<'a> FnOnce(&'a mut Store<HostState>, &'a Exports) -> BoxFuture<'a, Raw<T>> + Send + 'static,
    ) -> Called<T> {
        self.call_in(name, CallTurn(None), state, call).await
    }

    /// One call: a turn, an instance, the budget, and what the guest left in its state.
    async fn call_in<T: Send + 'static>(
        &self,
        name: &'static str,
        turn: CallTurn,
        state: PluginState,
        call: impl for<'a> FnOnce(&'a mut Store<HostState>, &'a Exports) -> BoxFuture<'a, Raw<T>> + Send + 'static,
    ) -> Called<T> {
        let Backing::Wasm(engine, pool) = &self.backing else {
            return Called { result: Err(transient("native", "the host's own code cannot do that")), state: Vec::new() };
        };
        let pool = Arc::clone(pool);
        let work = async move {
            let _turn = match turn.0 {
                Some(turn) => turn,
                None => pool.turn().await?,
            };
            let deadline = pool.deadline();
            let mut instance = pool.take(deadline).await?;
            instance.store.data_mut().begin(name, state, deadline);
            instance.store.set_epoch_deadline(1);
            let answer = tokio::time::timeout_at(deadline.into(), call(&mut instance.store, &instance.exports)).await;
            match answer {
                Err(_) => Err(pool.late()),
                Ok(Err(error)) => Err(pool.fault(&mut instance.store, &error)),
                Ok(Ok(answer)) => {
                    let changed = instance.store.data_mut().end();
                    pool.give_back(instance);
                    answer.map(|value| (value, changed)).map_err(take::fault)
                }
            }
        };
        let Some(handle) = engine.spawn(work) else {
            return Called { result: Err(transient("stopped", "the engine is stopping")), state: Vec::new() };
        };
        let mut handle = AbortOnDrop(handle);
        match (&mut handle.0).await {
            Ok(Ok((value, state))) => Called { result: Ok(value), state },
            Ok(Err(fault)) => Called { result: Err(fault), state: Vec::new() },
            Err(error) => Called { result: Err(transient("stopped", &error.to_string())), state: Vec::new() },
        }
    }

    /// Asks the plugin what is wrong with its section.
    pub async fn validate(&self, around: &Surroundings) -> Result<Vec<Finding>, Fault> {
        let Backing::Wasm(_, pool) = &self.backing else { return Ok(Vec::new()) };
        let (config, around) = (pool.who().config.clone(), give::surroundings(around));
        let called = self.call("validate", PluginState::default(), move |store, exports| {
            Box::pin(async move {
                let findings = match exports {
                    Exports::Connector(connector) => connector.plugin.membrana_plugin_connector().call_validate(store, &config, &around).await?,
                    Exports::Analyzer(plugin) => plugin.membrana_plugin_analyzer().call_validate(store, &config, &around).await?,
                    Exports::Rule(plugin) => plugin.membrana_plugin_rule().call_validate(store, &config, &around).await?,
                };
                Ok(Ok(findings))
            })
        });
        called.await.result.map(take::findings)
    }

    /// What is new since `cursor`.
    pub async fn poll(&self, state: PluginState, cursor: Option<String>, items_max: u32, bytes_max: u32) -> Called<Page> {
        if let Backing::Native(native) = &self.backing {
            return Called { result: native.poll(cursor, items_max), state: Vec::new() };
        }
        let called = self.call("poll", state, move |store, exports| {
            Box::pin(async move {
                let Exports::Connector(connector) = exports else { return Ok(Err(not_a("connector"))) };
                connector.plugin.membrana_plugin_connector().call_poll(store, cursor.as_deref(), items_max, bytes_max).await
            })
        });
        checked(called.await, take::page)
    }

    /// What one raw item means.
    pub async fn receive(&self, state: PluginState, raw: &RawItem) -> Called<Vec<Change>> {
        if let Backing::Native(native) = &self.backing {
            return native.receive(raw);
        }
        let raw = give::raw(raw);
        let called = self.call("receive", state, move |store, exports| {
            Box::pin(async move {
                let Exports::Connector(connector) = exports else { return Ok(Err(not_a("connector"))) };
                connector.plugin.membrana_plugin_connector().call_receive(store, &raw).await
            })
        });
        checked(called.await, take::changes)
    }

    /// Carries a message to the network.
    pub async fn send(&self, state: PluginState, key: &str, message: &Message) -> Called<Receipt> {
        if let Backing::Native(native) = &self.backing {
            return Called { result: native.send(key, message), state: Vec::new() };
        }
        let (key, message) = (key.to_owned(), give::message(message));
        let called = self.call("send", state, move |store, exports| {
            Box::pin(async move {
                let Exports::Connector(connector) = exports else { return Ok(Err(not_a("connector"))) };
                connector.plugin.membrana_plugin_connector().call_send(store, &key, &message).await
            })
        });
        checked(called.await, take::receipt)
    }

    /// Says whether a message is there.
    pub async fn probe(&self, state: PluginState, key: &str, message: &Message) -> Called<(Sent, Option<Receipt>)> {
        if let Backing::Native(native) = &self.backing {
            return Called { result: native.probe(key, message), state: Vec::new() };
        }
        let (key, message) = (key.to_owned(), give::message(message));
        let called = self.call("probe", state, move |store, exports| {
            Box::pin(async move {
                let Exports::Connector(connector) = exports else { return Ok(Err(not_a("connector"))) };
                connector.plugin.membrana_plugin_connector().call_probe(store, &key, &message).await
            })
        });
        checked(called.await, take::probed)
    }

    /// What a stream is opened with. The state can only be read.
    pub async fn open(&self, state: PluginState, cursor: Option<String>) -> Result<StreamRequest, Fault> {
        if let Backing::Native(native) = &self.backing {
            return native.open(cursor);
        }
        let called = self.call("open", state, move |store, exports| {
            Box::pin(async move {
                let Exports::Connector(Connector { stream: Some(stream), .. }) = exports else { return Ok(Err(not_a("connector with a stream"))) };
                stream.call_open(store, cursor.as_deref()).await
            })
        });
        checked(called.await, take::subscription).result
    }

    /// The bytes of an attachment that has no plain URL. The state can only be read. Shape: at most `bytes_max`; an answer over it
    /// is a breach of the contract.
    pub async fn fetch(&self, state: PluginState, media_ref: &str, bytes_max: u32) -> Result<Vec<u8>, Fault> {
        let check = move |bytes| take::file(bytes, bytes_max);
        if let Backing::Native(native) = &self.backing {
            return native.fetch(media_ref, bytes_max).and_then(|bytes| check(bytes).map_err(take::broken));
        }
        let media_ref = media_ref.to_owned();
        let called = self.call("fetch", state, move |store, exports| {
            Box::pin(async move {
                let Exports::Connector(Connector { media: Some(media), .. }) = exports else { return Ok(Err(not_a("connector that fetches files"))) };
                media.call_fetch(store, &media_ref, bytes_max).await
            })
        });
        checked(called.await, check).result
    }

    /// One list of annotations per item, same order.
    pub async fn analyze(&self, batch: &AnalyzeBatch<'_>) -> Result<Vec<Vec<Annotation>>, Fault> {
        self.analyze_in(CallTurn(None), batch).await
    }

    /// As [`Generation::analyze`], with a turn that was waited for before.
    pub async fn analyze_in(&self, turn: CallTurn, batch: &AnalyzeBatch<'_>) -> Result<Vec<Vec<Annotation>>, Fault> {
        if let Backing::Native(native) = &self.backing {
            return native.analyze(batch);
        }
        let (n_items, batch) = (batch.items.len(), give::batch(batch));
        let called = self.call_in("analyze", turn, PluginState::default(), move |store, exports| {
            Box::pin(async move {
                let Exports::Analyzer(plugin) = exports else { return Ok(Err(not_a("analyzer"))) };
                let lists = plugin.membrana_plugin_analyzer().call_analyze(store, &batch).await?;
                // Given back, so that the guest's thread need not free what another one took.
                Ok(lists.map(|lists| (lists, batch)))
            })
        });
        checked(called.await, |(lists, _batch)| take::annotations(lists, n_items)).result
    }

    /// One decision per event, same order.
    pub async fn decide(&self, events: Vec<RuleEvent>) -> Result<Vec<RuleDecision>, Fault> {
        if let Backing::Native(native) = &self.backing {
            return native.decide(events);
        }
        let n_events = events.len();
        let events: Vec<_> = events.into_iter().map(give::event).collect();
        let called = self.call("decide", PluginState::default(), move |store, exports| {
            Box::pin(async move {
                let Exports::Rule(plugin) = exports else { return Ok(Err(not_a("rule"))) };
                plugin.membrana_plugin_rule().call_decide(store, &events).await
            })
        });
        checked(called.await, |decisions| take::decisions(decisions, n_events)).result
    }
}

fn not_a(kind: &str) -> types::Fault {
    types::Fault::Unsupported(types::Detail { code: "kind".to_owned(), message: format!("this plugin is no {kind}") })
}

/// A call whose answer breaks the contract is a call that failed: its state is dropped.
fn checked<T, U>(called: Called<T>, check: impl FnOnce(T) -> Result<U, String>) -> Called<U> {
    match called.result.and_then(|value| check(value).map_err(take::broken)) {
        Ok(value) => Called { result: Ok(value), state: called.state },
        Err(fault) => Called { result: Err(fault), state: Vec::new() },
    }
}
