//! What stages are tested with: a store without a disk, a clock moved by hand, plugins that are closures. No Wasm, no network.
//!
//! ```ignore
//! let stand = Stand::new("blog");
//! let plugin = Scripted::default().receive(|raw| Ok(...)).generation("blog", "connector");
//! stand.run(&stage).await;   // turn after turn, until it has nothing to do now
//! assert_eq!(stand.log().await.len(), 1);
//! ```

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::egress::{Door, StreamRequest};
use crate::model::{
    Action, ActionState, Annotation, Author, ChannelName, Decision, Detail, Digest, Entry, EntryBody, Fault, IdKey, Interaction, InteractionId,
    Lineup, LineupId, LineupMember, NativeId, NewEntry, NewRaw, Ours, RawItem, RawOrigin, Results, ResultsOf, Seq, Timestamp, Wanted,
};
use crate::plugin::{AnalyzeBatch, Called, Change, Generation, Manifest, Message, Native, Page, Receipt, RuleDecision, RuleEvent, Sent};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{ChannelRecord, MemoryStore, Reader, Store};

/// The moment that every stand begins at.
pub const START: Timestamp = Timestamp(1_790_000_000_000);
/// A stage that is still at work after so many turns turns in circles.
const TURNS_MAX: usize = 64;

/// One channel on a store of its own.
pub struct Stand {
    /// Store and clock.
    pub journal: Journal,
    /// The channel.
    pub channel: ChannelName,
}

impl Stand {
    /// On a store in memory.
    pub fn new(channel: &str) -> Self {
        Self::over(Arc::new(MemoryStore::new(IdKey([7; 32]))), channel)
    }

    /// On this store.
    pub fn over(store: Arc<dyn Store>, channel: &str) -> Self {
        Self { journal: Journal::new(store, Clock::simulated(START)), channel: ChannelName::from(channel) }
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.journal.clock.advance(by);
    }

    /// The store.
    pub fn store(&self) -> &dyn Store {
        self.journal.store.as_ref()
    }

    /// Turn after turn until there is nothing to do now; what the last turn said.
    pub async fn run(&self, work: &dyn Work) -> Turn {
        for _ in 0..TURNS_MAX {
            match work.turn().await.expect("the turn succeeds") {
                Turn::Worked => {}
                rest => return rest,
            }
        }
        panic!("{} worked {TURNS_MAX} turns and still finds work", work.stage());
    }

    /// One turn.
    pub async fn turn(&self, work: &dyn Work) -> Result<Turn, StageError> {
        work.turn().await
    }

    /// Where the channel stands.
    pub async fn record(&self) -> ChannelRecord {
        self.store().channel(&self.channel).await.unwrap()
    }

    /// The state that the channel was left in.
    pub async fn state(&self) -> String {
        self.record().await.status.map(|status| status.state).unwrap_or_default()
    }

    /// Every entry.
    pub async fn log(&self) -> Vec<Arc<Entry>> {
        self.store().read_log(&self.channel, Seq(1), usize::MAX).await.unwrap()
    }

    /// Every dead letter.
    pub async fn dead(&self) -> Vec<crate::model::DeadLetter> {
        self.store().dead_letters(&self.channel, None, usize::MAX).await.unwrap()
    }

    /// Appends arrivals, as the intake would.
    pub async fn arrive(&self, interactions: Vec<Interaction>) {
        let mut commit = self.journal.begin(&self.channel);
        commit.entries.extend(interactions.into_iter().map(|said| self.entry(&said.native.id.clone(), EntryBody::Arrived(Box::new(said)))));
        self.journal.commit(commit).await.unwrap();
    }

    /// An entry about what the network calls so.
    pub fn entry(&self, native_id: &str, body: EntryBody) -> NewEntry {
        let interaction = self.id(native_id);
        let conversation = Some(self.store().id_key().conversation(interaction));
        NewEntry { interaction: Some(interaction), identity: None, conversation, exchange: None, is_backfill: false, body }
    }

    /// Says that a reader came so far.
    pub async fn move_reader(&self, reader: Reader, to: u64) {
        let mut commit = self.journal.begin(&self.channel);
        commit.positions.push((reader, to));
        self.journal.commit(commit).await.unwrap();
    }

    /// What the analyzer `mood` said of this entry; `None`: it did not answer.
    pub async fn judge(&self, seq: u64, said: Option<Vec<Annotation>>) {
        let mut commit = self.journal.begin(&self.channel);
        let (id, digest) = (LineupId([1; 16]), Digest::of(b""));
        commit.lineup = Some(Lineup { id, members: vec![LineupMember { name: "mood".to_owned(), digest, config: digest }] });
        commit.results = vec![Results { lineup: id, of: vec![ResultsOf { seq: Seq(seq), said: vec![(0, said)] }] }];
        self.journal.commit(commit).await.unwrap();
    }

    /// Decides at this entry, as a rule would that could not have these analyzers' words.
    pub async fn decide(&self, about: &str, seq: u64, missing: &[&str]) {
        let mut commit = self.journal.begin(&self.channel);
        commit.positions.push((Reader::Rules, seq));
        commit.decisions.push(Decision {
            seq: Seq(seq),
            interaction: self.id(about),
            rule: "impact".to_owned(),
            digest: Digest::of(b""),
            row: None,
            reasons: Vec::new(),
            actions: Vec::new(),
            dropped: Vec::new(),
            missing: missing.iter().map(|name| (*name).to_owned()).collect(),
            lineups: Vec::new(),
            at: commit.at,
        });
        self.journal.commit(commit).await.unwrap();
    }

    /// Commits raw frames, as a webhook would.
    pub async fn push_raw(&self, bodies: &[&str]) {
        let raws =
            bodies.iter().map(|body| NewRaw { origin: RawOrigin::Frame, body: body.as_bytes().to_vec(), received: None, once: None }).collect();
        self.journal.commit_raw(&self.channel, self.journal.clock.now(), raws).await.unwrap();
    }

    /// The id of what the network calls so.
    pub fn id(&self, native_id: &str) -> InteractionId {
        self.store().id_key().interaction(&self.channel, &native(native_id))
    }
}

/// A native id.
pub fn native(id: &str) -> NativeId {
    NativeId { scope: String::new(), id: id.to_owned() }
}

/// Something that Anna said in public.
pub fn said(id: &str, text: &str) -> Interaction {
    Interaction {
        native: native(id),
        aka: Vec::new(),
        kind: "post".to_owned(),
        visibility: "public".to_owned(),
        author: Some(Author {
            native: native("anna"),
            handle: Some("@anna".to_owned()),
            name: Some("Anna".to_owned()),
            url: None,
            email: None,
            phone: None,
            assurance: None,
            automated: false,
            metrics: Vec::new(),
        }),
        ours: Ours::No,
        automated: "no".to_owned(),
        conversation: None,
        parent: None,
        refs: Vec::new(),
        subject: None,
        text: text.to_owned(),
        quoted: None,
        language: None,
        url: None,
        attachments: Vec::new(),
        place: None,
        side: None,
        campaign: None,
        occurred: START,
        edited: None,
        reply_context: None,
        attrs: Vec::new(),
    }
}

/// New or revised.
pub fn upsert(interaction: Interaction) -> Change {
    Change::Upsert(Box::new(interaction))
}

/// A page without more.
pub fn page(cursor: &str, changes: Vec<Change>) -> Page {
    Page { changes, cursor: cursor.to_owned(), more: false, backfill: false, next_poll: None, allowance: None }
}

/// Why a scripted plugin fails.
pub fn detail(code: &str) -> Detail {
    Detail { code: code.to_owned(), message: "as scripted".to_owned() }
}

type Script<A, B> = Box<dyn Fn(A) -> Result<B, Fault> + Send + Sync>;
type Kept = Vec<(String, Option<Vec<u8>>)>;
type Probed = (Sent, Option<Receipt>);

/// A plugin that does what a test says; what it was not told is a permanent fault.
#[derive(Default)]
pub struct Scripted {
    poll: Option<Script<Option<String>, Page>>,
    receive: Option<Script<RawItem, (Vec<Change>, Kept)>>,
    send: Option<Script<(String, Message), Receipt>>,
    probe: Option<Script<(String, Message), Probed>>,
    door: Option<Arc<Door>>,
    open: Option<Script<Option<String>, StreamRequest>>,
    fetch: Option<Script<String, Vec<u8>>>,
    analyze: Option<Script<Vec<String>, Vec<Vec<Annotation>>>>,
    decide: Option<Script<Vec<RuleEvent>, Vec<RuleDecision>>>,
}

impl Scripted {
    /// Cursor in, page out.
    pub fn poll(mut self, script: impl Fn(Option<String>) -> Result<Page, Fault> + Send + Sync + 'static) -> Self {
        self.poll = Some(Box::new(script));
        self
    }

    /// Raw item in, changes and written keys of the state out.
    pub fn receive(mut self, script: impl Fn(RawItem) -> Result<(Vec<Change>, Kept), Fault> + Send + Sync + 'static) -> Self {
        self.receive = Some(Box::new(script));
        self
    }

    /// Key and message in, receipt out.
    pub fn send(mut self, script: impl Fn((String, Message)) -> Result<Receipt, Fault> + Send + Sync + 'static) -> Self {
        self.send = Some(Box::new(script));
        self
    }

    /// Key and message in, whether it went out.
    pub fn probe(mut self, script: impl Fn((String, Message)) -> Result<Probed, Fault> + Send + Sync + 'static) -> Self {
        self.probe = Some(Box::new(script));
        self
    }

    /// Through this door; cursor in, what to connect to out.
    pub fn open(mut self, door: Door, script: impl Fn(Option<String>) -> Result<StreamRequest, Fault> + Send + Sync + 'static) -> Self {
        self.door = Some(Arc::new(door));
        self.open = Some(Box::new(script));
        self
    }

    /// What an attachment is asked with in, its bytes out.
    pub fn fetch(mut self, script: impl Fn(String) -> Result<Vec<u8>, Fault> + Send + Sync + 'static) -> Self {
        self.fetch = Some(Box::new(script));
        self
    }

    /// Texts in, annotations of each out.
    pub fn analyze(mut self, script: impl Fn(Vec<String>) -> Result<Vec<Vec<Annotation>>, Fault> + Send + Sync + 'static) -> Self {
        self.analyze = Some(Box::new(script));
        self
    }

    /// Events in, a decision of each out.
    pub fn decide(mut self, script: impl Fn(Vec<RuleEvent>) -> Result<Vec<RuleDecision>, Fault> + Send + Sync + 'static) -> Self {
        self.decide = Some(Box::new(script));
        self
    }

    /// In the place of a plugin of this kind.
    pub fn generation(self, name: &str, kind: &str) -> Arc<Generation> {
        in_the_place_of(name, kind, self)
    }
}

/// This code in the place of a plugin of this kind.
pub fn in_the_place_of(name: &str, kind: &str, native: impl Native) -> Arc<Generation> {
    let manifest = format!(
        "name = \"{name}\"\nversion = \"0.1.0\"\nkind = \"{kind}\"\ncontract = \"0.1\"\nnetwork = \"test\"\nsummary = \"scripted\"\nlicense = \"Apache-2.0\"\n"
    );
    Generation::native(name, Manifest::parse(&manifest).unwrap(), native)
}

fn told<A, B>(script: Option<&Script<A, B>>, asked: A) -> Result<B, Fault> {
    script.map_or_else(|| Err(Fault::Permanent(detail("not-scripted"))), |script| script(asked))
}

impl Native for Scripted {
    fn poll(&self, cursor: Option<String>, _items_max: u32) -> Result<Page, Fault> {
        told(self.poll.as_ref(), cursor)
    }

    fn receive(&self, raw: &RawItem) -> Called<Vec<Change>> {
        match told(self.receive.as_ref(), raw.clone()) {
            Ok((changes, state)) => Called { result: Ok(changes), state },
            Err(fault) => Called::failed(fault),
        }
    }

    fn send(&self, key: &str, message: &Message) -> Result<Receipt, Fault> {
        told(self.send.as_ref(), (key.to_owned(), message.clone()))
    }

    fn probe(&self, key: &str, message: &Message) -> Result<Probed, Fault> {
        told(self.probe.as_ref(), (key.to_owned(), message.clone()))
    }

    fn door(&self) -> Option<Arc<Door>> {
        self.door.clone()
    }

    fn open(&self, cursor: Option<String>) -> Result<StreamRequest, Fault> {
        told(self.open.as_ref(), cursor)
    }

    fn has_media(&self) -> bool {
        self.fetch.is_some()
    }

    fn fetch(&self, media_ref: &str, _bytes_max: u32) -> Result<Vec<u8>, Fault> {
        told(self.fetch.as_ref(), media_ref.to_owned())
    }

    fn analyze(&self, batch: &AnalyzeBatch<'_>) -> Result<Vec<Vec<Annotation>>, Fault> {
        // What it sees of others comes after the text, so that a test can tell.
        let texts = batch.items.iter().map(|item| {
            let seen: Vec<&str> = item.earlier.iter().map(|one| one.key.as_str()).collect();
            if seen.is_empty() { item.text.to_owned() } else { format!("{} [{}]", item.text, seen.join(" ")) }
        });
        told(self.analyze.as_ref(), texts.collect())
    }

    fn decide(&self, events: Vec<RuleEvent>) -> Result<Vec<RuleDecision>, Fault> {
        told(self.decide.as_ref(), events)
    }
}

/// A reply under way about this interaction.
pub fn claimed(stand: &Stand, about: &str) -> Action {
    let (key, interaction) = (stand.store().id_key(), stand.id(about));
    Action {
        id: key.action(interaction, "impact", "reply"),
        channel: stand.channel.clone(),
        interaction,
        seq: Seq(1),
        conversation: key.conversation(interaction),
        exchange: key.exchange(key.conversation(interaction), None),
        exchange_version: 1,
        identity: None,
        rule: "impact".to_owned(),
        wanted: Wanted { key: "reply".to_owned(), kind: "reply".to_owned(), body: "{}".to_owned() },
        text: "sorry".to_owned(),
        is_edited: false,
        is_automatic: true,
        review: Vec::new(),
        state: ActionState::Claimed,
        revision: 1,
        attempts: 1,
        due: START,
        created: START,
        native: None,
        error: None,
        digest: None,
    }
}
