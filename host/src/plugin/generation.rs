//! One loaded build of a plugin. Callers keep the generation they began with; who is in force is the stages' to hold.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;

use crate::egress::{Door, StreamRequest};
use crate::failpoint;
use crate::model::{Annotation, Digest, Fault, Finding, RawItem, ReplyTerms};

use super::agreement::{Verdict, annotations, decided, not_understood, understood};
use super::bindings::{api::types, give, take};
use super::engine::Engine;
use super::host::HostState;
use super::manifest::CONTRACT;
use super::meter::{About, Meter, Usage};
use super::pool::{Connector, Exports, Pool, now, transient};
use super::shadow::{self, Batch, Question, Shadow};
use super::shapes::{AnalyzeBatch, Called, Change, Message, Page, Receipt, RuleDecision, RuleEvent, Sent, Surroundings};
use super::{Manifest, PluginError, PluginState};

/// One loaded build of a plugin with its configuration.
pub struct Generation {
    name: String,
    digest: Digest,
    manifest: Manifest,
    meter: Arc<Meter>,
    backing: Backing,
    /// Asked beside it, without effect.
    shadow: ArcSwapOption<Shadow>,
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
    /// What a call waits for on its way there, and once more on its way back; a call that is dropped on its way back had its effect.
    fn travel(&self) -> Option<BoxFuture<'_, ()>> {
        None
    }

    /// See [`Generation::poll`].
    fn poll(&self, _cursor: Option<String>, _items_max: u32) -> Result<Page, Fault> {
        Err(transient("native", "this does not poll"))
    }

    /// See [`Generation::receive`].
    fn receive(&self, _raw: &RawItem) -> Called<Vec<Change>> {
        Called::failed(transient("native", "this does not receive"))
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

/// What the answers of one row may hold before they are committed. Units: bytes.
const ROW_BYTES_MAX: usize = 8 << 20;

/// Calls of `receive` in a row.
struct Row {
    /// As the last one left it.
    state: PluginState,
    called: Vec<Called<Vec<Change>>>,
    /// Of all answers together.
    n_bytes: usize,
}

impl Called<Vec<Change>> {
    /// What can be compared; none where the item must come again.
    fn verdict(&self) -> Option<Verdict> {
        match &self.result {
            Ok(changes) => Some(understood(changes)),
            Err(fault) => fault.is_final().then(|| not_understood(fault)),
        }
    }
}

impl Row {
    fn new(state: PluginState) -> Self {
        Self { state, called: Vec::new(), n_bytes: 0 }
    }

    /// Keeps an answer; says whether the row ends with it: the channel must wait now, or enough is held.
    fn ends_with(&mut self, called: Called<Vec<Change>>) -> bool {
        let must_wait = called.result.as_ref().is_err_and(|fault| !fault.is_final());
        let written: usize = called.state.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum();
        self.n_bytes += written + called.result.iter().flatten().map(Change::n_bytes).sum::<usize>();
        self.state.write(&called.state);
        self.called.push(called);
        must_wait || self.n_bytes > ROW_BYTES_MAX
    }
}

impl Generation {
    pub(super) fn new(engine: Arc<Engine>, name: String, digest: Digest, manifest: Manifest, pool: Pool) -> Self {
        let meter = Arc::clone(&pool.who().meter);
        Self { name, digest, manifest, meter, backing: Backing::Wasm(engine, Arc::new(pool)), shadow: ArcSwapOption::empty() }
    }

    /// The host's own code in the place of a plugin.
    pub fn native(name: &str, manifest: Manifest, native: impl Native) -> Arc<Self> {
        let backing = Backing::Native(Box::new(native));
        let meter = Arc::new(Meter::new(name.to_owned(), manifest.kind));
        Arc::new(Self { name: name.to_owned(), digest: Digest::of(b"native"), manifest, meter, backing, shadow: ArcSwapOption::empty() })
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

    /// On what terms its section carries replies.
    pub fn reply_terms(&self) -> ReplyTerms {
        let config = match &self.backing {
            Backing::Wasm(_, pool) => serde_json::from_str(&pool.who().config).unwrap_or_default(),
            Backing::Native(_) => serde_json::Value::Null,
        };
        self.manifest.reply_terms(&config)
    }

    /// From now on it is compared with the build before, as far as that is known; see [`Generation::condemned`].
    pub fn put_on_trial(&self, before: Option<&Self>) {
        self.meter.put_on_trial(before.map(|before| before.meter.counts()).unwrap_or_default());
    }

    /// It stays in force all the same.
    pub fn acquit(&self) {
        self.meter.acquit();
    }

    /// As under the configuration before, where it was on trial; what it did there is known.
    pub fn go_on_with_trial_of(&self, before: &Self) {
        self.meter.go_on_from(&before.meter);
    }

    /// Why it is worse than the build before, once that is known. What a turn heard of it is not to be kept.
    pub fn condemned(&self) -> Option<&str> {
        self.meter.condemned()
    }

    /// From now on, until it ends, this one is asked about whatever this build was asked about and answered.
    pub fn cast(&self, shadow: Arc<Shadow>) {
        self.shadow.store(Some(shadow));
    }

    /// The shadow, with a place for one more question, if it has one.
    fn shadowed(&self, n_items: usize) -> Option<(Arc<Shadow>, OwnedSemaphorePermit)> {
        let shadow = self.shadow.load_full()?;
        if shadow.has_ended() {
            shadow.end();
            // Not one that was cast meanwhile.
            drop(self.shadow.compare_and_swap(&shadow, None));
            return None;
        }
        let place = shadow.room(n_items)?;
        Some((shadow, place))
    }

    /// What it used since it was loaded.
    pub fn usage(&self) -> Usage {
        self.meter.usage()
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
        let started = apart(engine, start).await.flatten();
        let export = format!("membrana:plugin/{}@{CONTRACT}.0", self.manifest.kind.word());
        started.map_err(|fault| PluginError::Start { export, fault })
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

    async fn call_in<T: Send + 'static>(
        &self,
        name: &'static str,
        turn: CallTurn,
        state: PluginState,
        call: impl for<'a> FnOnce(&'a mut Store<HostState>, &'a Exports) -> BoxFuture<'a, Raw<T>> + Send + 'static,
    ) -> Called<T> {
        let Backing::Wasm(engine, pool) = &self.backing else {
            return Called::failed(transient("native", "the host's own code cannot do that"));
        };
        let (pool, meter) = (Arc::clone(pool), Arc::clone(&self.meter));
        apart(engine, async move { one(&pool, &meter, name, turn, state, call).await }).await.unwrap_or_else(Called::failed)
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
            return Called { result: travelled(native.as_ref(), || native.poll(cursor, items_max)).await, state: Vec::new() };
        }
        let called = self.call("poll", state, move |store, exports| {
            Box::pin(async move {
                let Exports::Connector(connector) = exports else { return Ok(Err(not_a("connector"))) };
                connector.plugin.membrana_plugin_connector().call_poll(store, cursor.as_deref(), items_max, bytes_max).await
            })
        });
        checked(&self.meter, 1, called, take::page).await
    }

    /// What raw items mean: a call for each that is for the connector at all, in their order, each with what those before it left in the
    /// state. They follow one another on the guests' threads, for to go there and back costs as much as a small call.
    /// Shape: as many answers as there are such items, or fewer: it ends with the first that must wait, when it is late, or when the
    /// answers are large.
    pub async fn receive(
        &self,
        state: PluginState,
        raws: Arc<Vec<RawItem>>,
        is_late: impl Fn() -> bool + Send + 'static,
    ) -> Vec<Called<Vec<Change>>> {
        let n_items = raws.iter().filter(|raw| raw.origin.is_for_plugin()).count();
        let Some((shadow, place)) = self.shadowed(n_items) else { return self.read(state, raws, is_late).await };
        let (begun, before) = (now(), state.clone());
        let called = self.read(state, Arc::clone(&raws), is_late).await;
        let verdicts: Vec<_> = called.iter().map_while(Called::verdict).collect();
        if !verdicts.is_empty() {
            let row = shadow::Row { state: before, raws, n_items: verdicts.len() };
            shadow.ask(place, Question::Raws(row), verdicts, begun.elapsed());
        }
        called
    }

    async fn read(&self, state: PluginState, raws: Arc<Vec<RawItem>>, is_late: impl Fn() -> bool + Send + 'static) -> Vec<Called<Vec<Change>>> {
        let mut row = Row::new(state);
        let (engine, pool, meter) = match &self.backing {
            Backing::Wasm(engine, pool) => (engine, Arc::clone(pool), Arc::clone(&self.meter)),
            Backing::Native(native) => {
                for raw in raws.iter().filter(|raw| raw.origin.is_for_plugin()) {
                    if row.ends_with(travelled(native.as_ref(), || native.receive(raw)).await) || is_late() {
                        break;
                    }
                }
                return row.called;
            }
        };
        let work = async move {
            for raw in raws.iter().filter(|raw| raw.origin.is_for_plugin()) {
                if row.ends_with(receive_one(&pool, &meter, row.state.clone(), raw).await) || is_late() {
                    break;
                }
            }
            row.called
        };
        apart(engine, work).await.unwrap_or_else(|fault| vec![Called::failed(fault)])
    }

    /// Carries a message to the network.
    pub async fn send(&self, state: PluginState, key: &str, message: &Message) -> Called<Receipt> {
        if let Backing::Native(native) = &self.backing {
            return Called { result: travelled(native.as_ref(), || native.send(key, message)).await, state: Vec::new() };
        }
        let (key, message) = (key.to_owned(), give::message(message));
        let called = self.call("send", state, move |store, exports| {
            Box::pin(async move {
                let Exports::Connector(connector) = exports else { return Ok(Err(not_a("connector"))) };
                connector.plugin.membrana_plugin_connector().call_send(store, &key, &message).await
            })
        });
        checked(&self.meter, 1, called, take::receipt).await
    }

    /// Says whether a message is there.
    pub async fn probe(&self, state: PluginState, key: &str, message: &Message) -> Called<(Sent, Option<Receipt>)> {
        if let Backing::Native(native) = &self.backing {
            return Called { result: travelled(native.as_ref(), || native.probe(key, message)).await, state: Vec::new() };
        }
        let (key, message) = (key.to_owned(), give::message(message));
        let called = self.call("probe", state, move |store, exports| {
            Box::pin(async move {
                let Exports::Connector(connector) = exports else { return Ok(Err(not_a("connector"))) };
                connector.plugin.membrana_plugin_connector().call_probe(store, &key, &message).await
            })
        });
        checked(&self.meter, 1, called, take::probed).await
    }

    /// What a stream is opened with. The state can only be read.
    pub async fn open(&self, state: PluginState, cursor: Option<String>) -> Result<StreamRequest, Fault> {
        if let Backing::Native(native) = &self.backing {
            return travelled(native.as_ref(), || native.open(cursor)).await;
        }
        let called = self.call("open", state, move |store, exports| {
            Box::pin(async move {
                let Exports::Connector(Connector { stream: Some(stream), .. }) = exports else { return Ok(Err(not_a("connector with a stream"))) };
                stream.call_open(store, cursor.as_deref()).await
            })
        });
        checked(&self.meter, 1, called, take::subscription).await.result
    }

    /// The bytes of an attachment that has no plain URL. The state can only be read. Shape: at most `bytes_max`; an answer over it
    /// is a breach of the contract.
    pub async fn fetch(&self, state: PluginState, media_ref: &str, bytes_max: u32) -> Result<Vec<u8>, Fault> {
        let check = move |bytes| take::file(bytes, bytes_max);
        if let Backing::Native(native) = &self.backing {
            let fetched = travelled(native.as_ref(), || native.fetch(media_ref, bytes_max)).await;
            return fetched.and_then(|bytes| check(bytes).map_err(take::broken));
        }
        let media_ref = media_ref.to_owned();
        let called = self.call("fetch", state, move |store, exports| {
            Box::pin(async move {
                let Exports::Connector(Connector { media: Some(media), .. }) = exports else { return Ok(Err(not_a("connector that fetches files"))) };
                media.call_fetch(store, &media_ref, bytes_max).await
            })
        });
        checked(&self.meter, 1, called, check).await.result
    }

    /// One list of annotations per item, same order.
    pub async fn analyze(&self, batch: &AnalyzeBatch<'_>) -> Result<Vec<Vec<Annotation>>, Fault> {
        self.analyze_in(CallTurn(None), batch).await
    }

    /// As [`Generation::analyze`], with a turn that was waited for before.
    pub async fn analyze_in(&self, turn: CallTurn, batch: &AnalyzeBatch<'_>) -> Result<Vec<Vec<Annotation>>, Fault> {
        let Some((shadow, place)) = self.shadowed(batch.items.len()) else { return self.answer(turn, batch).await };
        let begun = now();
        let said = self.answer(turn, batch).await?;
        let verdicts = said.iter().map(|said| annotations(said)).collect();
        shadow.ask(place, Question::Analysis(Batch::of(batch)), verdicts, begun.elapsed());
        Ok(said)
    }

    async fn answer(&self, turn: CallTurn, batch: &AnalyzeBatch<'_>) -> Result<Vec<Vec<Annotation>>, Fault> {
        if let Backing::Native(native) = &self.backing {
            return travelled(native.as_ref(), || native.analyze(batch)).await;
        }
        let n_items = batch.items.len();
        let alone = batch.items.first().and_then(|item| item.id).filter(|_| n_items == 1);
        let about = alone.map_or_else(|| n_items.into(), |id| About::one(hash_of(id)));
        let batch = give::batch(batch);
        let called = self.call_in("analyze", turn, PluginState::default(), move |store, exports| {
            Box::pin(async move {
                let Exports::Analyzer(plugin) = exports else { return Ok(Err(not_a("analyzer"))) };
                let lists = plugin.membrana_plugin_analyzer().call_analyze(store, &batch).await?;
                // Given back, so that the guest's thread need not free what another one took.
                Ok(lists.map(|lists| (lists, batch)))
            })
        });
        checked(&self.meter, about, called, |(lists, _batch)| take::annotations(lists, n_items)).await.result
    }

    /// One decision per event, same order.
    pub async fn decide(&self, events: Vec<RuleEvent>) -> Result<Vec<RuleDecision>, Fault> {
        let Some((shadow, place)) = self.shadowed(events.len()) else { return self.judge(CallTurn(None), events).await };
        // From its turn on, as the shadow is measured.
        let (turn, asked) = (self.turn().await?, events.clone());
        let begun = now();
        let decisions = self.judge(turn, events).await?;
        shadow.ask(place, Question::Decision(asked), decisions.iter().map(decided).collect(), begun.elapsed());
        Ok(decisions)
    }

    async fn judge(&self, turn: CallTurn, events: Vec<RuleEvent>) -> Result<Vec<RuleDecision>, Fault> {
        if let Backing::Native(native) = &self.backing {
            return travelled(native.as_ref(), || native.decide(events)).await;
        }
        let n_events = events.len();
        let alone = events.first().filter(|_| n_events == 1);
        let about = alone.map_or_else(|| n_events.into(), |event| About::one(hash_of((event.interaction.as_ref().map(|about| &about.id), event.at))));
        let events: Vec<_> = events.into_iter().map(give::event).collect();
        let called = self.call_in("decide", turn, PluginState::default(), move |store, exports| {
            Box::pin(async move {
                let Exports::Rule(plugin) = exports else { return Ok(Err(not_a("rule"))) };
                plugin.membrana_plugin_rule().call_decide(store, &events).await
            })
        });
        checked(&self.meter, about, called, |decisions| take::decisions(decisions, n_events)).await.result
    }
}

/// A call of the host's own code, there and back.
async fn travelled<T>(native: &dyn Native, call: impl FnOnce() -> T) -> T {
    if let Some(way) = native.travel() {
        way.await;
    }
    let answer = call();
    if let Some(way) = native.travel() {
        way.await;
    }
    answer
}

fn hash_of(item: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    item.hash(&mut hasher);
    hasher.finish()
}

/// On the guests' threads. Errors: `transient`, where the engine is stopping or the host itself broke.
async fn apart<T: Send + 'static>(engine: &Engine, work: impl Future<Output = T> + Send + 'static) -> Result<T, Fault> {
    engine.run(work).await.map_err(|error| transient("stopped", &error.to_string()))
}

/// One call: a turn, an instance, the budget, and what the guest left in its state.
async fn one<T>(
    pool: &Pool,
    meter: &Meter,
    name: &'static str,
    turn: CallTurn,
    state: PluginState,
    call: impl for<'a> FnOnce(&'a mut Store<HostState>, &'a Exports) -> BoxFuture<'a, Raw<T>>,
) -> Called<T> {
    let result = async {
        let _turn = match turn.0 {
            Some(turn) => turn,
            None => pool.turn().await?,
        };
        let deadline = pool.deadline();
        let mut instance = pool.take(deadline).await?;
        instance.store.data_mut().begin(name, state, deadline);
        instance.store.set_epoch_deadline(1);
        let begun = now();
        let called = failpoint::around("call", name, call(&mut instance.store, &instance.exports));
        let answer = tokio::time::timeout_at(deadline.into(), called).await;
        let (ticks, waited) = instance.store.data().used();
        meter.ran(begun.elapsed(), waited, ticks);
        meter.holds(instance.store.data().limiter.memory());
        match answer {
            Err(_) => Err(pool.late()),
            Ok(Err(error)) => Err(pool.fault(&mut instance.store, &error)),
            Ok(Ok(answer)) => {
                meter.answered_within(ticks);
                let changed = instance.store.data_mut().end();
                pool.give_back(instance);
                answer.map(|value| (value, changed)).map_err(take::fault)
            }
        }
    };
    match result.await {
        Ok((value, state)) => Called { result: Ok(value), state },
        Err(fault) => Called::failed(fault),
    }
}

async fn receive_one(pool: &Pool, meter: &Meter, state: PluginState, raw: &RawItem) -> Called<Vec<Change>> {
    let raw = give::raw(raw);
    let called = one(pool, meter, "receive", CallTurn(None), state, move |store, exports| {
        Box::pin(async move {
            let Exports::Connector(connector) = exports else { return Ok(Err(not_a("connector"))) };
            connector.plugin.membrana_plugin_connector().call_receive(store, &raw).await
        })
    });
    checked(meter, 1, called, take::changes).await
}

fn not_a(kind: &str) -> types::Fault {
    types::Fault::Unsupported(types::Detail { code: "kind".to_owned(), message: format!("this plugin is no {kind}") })
}

/// A call whose answer breaks the contract is a call that failed: its state is dropped.
async fn checked<T, U>(
    meter: &Meter,
    about: impl Into<About>,
    call: impl Future<Output = Called<T>>,
    check: impl FnOnce(T) -> Result<U, String>,
) -> Called<U> {
    let count = match meter.begin(about) {
        Ok(count) => count,
        Err(fault) => return Called::failed(fault),
    };
    let Called { result, state } = call.await;
    let result = result.and_then(|value| check(value).map_err(take::broken));
    count.end(result.as_ref().err());
    match result {
        Ok(value) => Called { result: Ok(value), state },
        Err(fault) => Called::failed(fault),
    }
}
