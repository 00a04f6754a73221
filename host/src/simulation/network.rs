//! A pretend network with its own ledger: what people said, edited and took back there, what it told whom, and what we posted.
//!
//! It never looks into the host's mind, but for one question: whether a reply that reaches it was claimed durably before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::disk::Disk;
use super::planted::Planted;
use super::world::{World, locked};
use crate::model::{ActionId, Attachment, ChannelName, Detail, Fault, Interaction, Ours, Timestamp};
use crate::outbox::SendClass;
use crate::plugin::{Message, Receipt};
use crate::testing::{native, said};

/// What people's words make the rule do; those before `REACTIONS` are answered by nobody.
pub(super) const WORDS: [&str; 9] = ["plain", "odd", "thorny", "auto", "auto", "draft", "task", "both", "both"];
/// A request that nobody waits for any more has its effect within this, or never.
const LANDING_MS: u64 = 20_000;
/// Networks keep keys a little longer than they say.
const KEY_MARGIN: Duration = Duration::from_secs(180);

/// How what was said comes to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// By pages alone.
    Polled,
    /// By webhooks, of which some are lost, and by pages for those.
    Both,
    /// By webhooks alone: what is not acknowledged is sent again, for a while.
    Pushed,
}

/// See the module.
pub(super) struct Network {
    pub(super) channel: ChannelName,
    pub(super) class: SendClass,
    pub(super) arrival: Arrival,
    pub(super) world: Arc<World>,
    disk: Arc<Disk>,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
pub(super) struct Ledger {
    pub(super) items: Vec<Item>,
    /// What changed, in the order in which it can be seen: when, and which item.
    feed: Vec<(Timestamp, usize)>,
    pub(super) posts: Vec<Post>,
    landing: Vec<(Timestamp, Post)>,
    /// Deliveries acknowledged: of which item, and how it stood.
    pub(super) acked: Vec<(usize, Item)>,
    down_until: Timestamp,
    limited_until: Timestamp,
    refused_until: Timestamp,
    n_phantoms: u64,
}

/// Something that somebody said; of ours too.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) id: String,
    author: String,
    root: Option<String>,
    parent: Option<String>,
    pub(super) word: &'static str,
    pub(super) text: String,
    said: Timestamp,
    pub(super) edited: Option<Timestamp>,
    n_edits: u32,
    pub(super) is_gone: bool,
    pub(super) ours: Ours,
    has_file: bool,
}

/// What we posted.
#[derive(Debug, Clone)]
pub(super) struct Post {
    pub(super) key: String,
    pub(super) native: String,
    pub(super) to: String,
    pub(super) text: String,
    at: Timestamp,
}

impl Network {
    pub(super) fn new(world: &Arc<World>, disk: &Arc<Disk>, name: &str, class: SendClass, arrival: Arrival) -> Arc<Self> {
        let (world, disk, channel) = (Arc::clone(world), Arc::clone(disk), ChannelName::from(name));
        Arc::new(Self { channel, class, arrival, world, disk, ledger: Mutex::default() })
    }

    pub(super) fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        let mut ledger = locked(&self.ledger);
        self.land_due(&mut ledger);
        ledger
    }

    fn tell(&self, what: &str) {
        self.world.tell(format!("network {} {what}", self.channel));
    }

    /// Somebody says, edits or takes back something. Gives which item it is.
    pub(super) fn happen(&self) -> usize {
        let (now, mut ledger) = (self.world.now(), self.ledger());
        let theirs: Vec<usize> = (0..ledger.items.len()).filter(|at| ledger.items[*at].ours == Ours::No && !ledger.items[*at].is_gone).collect();
        let some = (!theirs.is_empty()).then(|| theirs[self.world.below(theirs.len() as u64) as usize]);
        let at = match (self.world.below(20), some) {
            (0..=2, Some(at)) => {
                let word = WORDS[self.world.below(WORDS.len() as u64) as usize];
                let item = &mut ledger.items[at];
                item.n_edits += 1;
                (item.word, item.edited) = (word, Some(Timestamp(now.0.max(item.edited.map_or(0, |at| at.0 + 1)))));
                item.text = format!("{word} {}.{}", item.id, item.n_edits);
                at
            }
            (3, Some(at)) => {
                ledger.items[at].is_gone = true;
                at
            }
            (chosen, some) => {
                let to = some.filter(|_| chosen < 11).map(|at| ledger.items[at].clone());
                self.say(&mut ledger, to)
            }
        };
        self.show(&mut ledger, at);
        let item = &ledger.items[at];
        self.tell(&format!("has {} `{}` gone {}", item.id, item.text, item.is_gone));
        at
    }

    fn say(&self, ledger: &mut Ledger, to: Option<Item>) -> usize {
        let (n, word) = (ledger.items.len(), WORDS[self.world.below(WORDS.len() as u64) as usize]);
        let id = format!("i{n}");
        ledger.items.push(Item {
            text: format!("{word} {id}.0"),
            author: format!("person{}", self.world.below(4)),
            root: to.as_ref().map(|to| to.root.clone().unwrap_or_else(|| to.id.clone())),
            parent: to.map(|to| to.id),
            word,
            said: self.world.now(),
            edited: None,
            n_edits: 0,
            is_gone: false,
            ours: Ours::No,
            has_file: self.world.chance(15),
            id,
        });
        n
    }

    /// From soon on it can be seen; what changed later is seen later.
    fn show(&self, ledger: &mut Ledger, at: usize) {
        let delay = if self.world.trouble(20) { self.world.below(60_000) } else { 0 };
        let after = ledger.feed.last().map_or(0, |(seen, _)| seen.0);
        ledger.feed.push((Timestamp(after.max(self.world.now().0 + delay)), at));
    }

    /// What lasts for hours: it is down, it has enough, it refuses the credential.
    pub(super) fn fail(&self) {
        let until = Timestamp(self.world.now().0 + 60_000 + self.world.below(3 * 3_600_000));
        let mut ledger = self.ledger();
        match self.world.below(3) {
            0 => ledger.down_until = until,
            1 => ledger.limited_until = until,
            _ => ledger.refused_until = until,
        }
        self.tell(&format!("fails until {}", until.0));
    }

    pub(super) fn mend(&self) {
        let mut ledger = self.ledger();
        (ledger.down_until, ledger.limited_until, ledger.refused_until) = Default::default();
    }

    /// Why a call comes to nothing, if it does.
    pub(super) fn fault(&self, percent: u64) -> Option<Fault> {
        let now = self.world.now();
        let ledger = self.ledger();
        if ledger.down_until > now {
            return Some(Fault::Transient(because("down")));
        }
        if ledger.refused_until > now {
            return Some(Fault::Auth(because("refused")));
        }
        if ledger.limited_until > now {
            return Some(Fault::RateLimited(because("limit"), ledger.limited_until.since_ms(now)));
        }
        self.world.trouble(percent).then(|| match self.world.below(12) {
            0 => Fault::Config(because("config")),
            1 => Fault::Auth(because("token")),
            2 | 3 => Fault::RateLimited(because("limit"), self.world.below(600_000)),
            4 => Fault::RateLimited(because(Fault::ITEM_LATER), self.world.below(600_000)),
            _ => Fault::Transient(because("busy")),
        })
    }

    /// What can be seen after this place, at most so many.
    pub(super) fn page(&self, from: usize, n_max: usize) -> (Vec<Item>, usize, bool) {
        let (now, ledger) = (self.world.now(), self.ledger());
        let n_seen = ledger.feed.iter().take_while(|(seen, _)| *seen <= now).count();
        let again = if from < n_seen || self.world.trouble(10) { from.saturating_sub(self.world.below(4) as usize) } else { from };
        let to = n_seen.min(from + n_max);
        let mut items: Vec<usize> = ledger.feed[again.min(to)..to].iter().map(|(_, at)| *at).collect();
        items.sort_unstable();
        items.dedup();
        let mut items: Vec<Item> = items.into_iter().map(|at| ledger.items[at].clone()).collect();
        if self.world.chance(40) {
            items.reverse();
        }
        (items, to.max(from), to < n_seen)
    }

    /// As it stands now.
    pub(super) fn item(&self, at: usize) -> Option<Item> {
        self.ledger().items.get(at).cloned()
    }

    /// How much changed so far.
    pub(super) fn n_shown(&self) -> usize {
        self.ledger().feed.len()
    }

    /// Something that nobody said.
    pub(super) fn phantom(&self) -> Option<Item> {
        let mut ledger = self.ledger();
        let item = ledger.items.first().filter(|_| self.world.has(Planted::Phantom))?.clone();
        ledger.n_phantoms += 1;
        (ledger.n_phantoms == 3).then(|| Item { id: "i-phantom".to_owned(), ours: Ours::No, is_gone: false, ..item })
    }

    /// A post arrives: the one that is there already under this key, or a new one.
    pub(super) fn land(&self, key: &str, message: &Message) -> Receipt {
        let mut ledger = self.ledger();
        let post = self.post(key, message);
        let native = self.place(&mut ledger, post);
        Receipt { native: self::native(&native), aka: Vec::new() }
    }

    /// It arrives a little later: whoever sent it does not wait.
    pub(super) fn land_late(&self, key: &str, message: &Message) {
        let due = Timestamp(self.world.now().0 + self.world.below(LANDING_MS));
        let post = self.post(key, message);
        self.ledger().landing.push((due, post));
    }

    pub(super) fn is_landing(&self, key: &str) -> bool {
        self.ledger().landing.iter().any(|(_, post)| post.key == key)
    }

    fn post(&self, key: &str, message: &Message) -> Post {
        let to = message.to.as_ref().map(|to| to.native.id.clone()).unwrap_or_default();
        Post { key: key.to_owned(), native: String::new(), to, text: message.text.clone(), at: self.world.now() }
    }

    fn land_due(&self, ledger: &mut Ledger) {
        let now = self.world.now();
        while let Some(at) = ledger.landing.iter().position(|(due, _)| *due <= now) {
            let (due, post) = ledger.landing.remove(at);
            self.place(ledger, Post { at: due, ..post });
        }
    }

    fn place(&self, ledger: &mut Ledger, mut post: Post) -> String {
        let known = ledger.posts.iter().find(|known| known.key == post.key);
        let is_same = known.is_some_and(|known| match self.class {
            SendClass::ClientId => true,
            SendClass::Key(window) => post.at <= known.at.plus(window + KEY_MARGIN),
            SendClass::ReadBack | SendClass::None => false,
        });
        if let Some(known) = known.filter(|_| is_same && !self.world.has(Planted::ForgottenKey)) {
            self.tell(&format!("knows {} already", post.key));
            return known.native.clone();
        }
        if known.is_some() {
            self.world.wrong(format!("{} is posted twice on {}", post.key, self.channel));
        }
        post.native = format!("p{}", ledger.posts.len());
        self.tell(&format!("posts {} as {} `{}` to {}", post.key, post.native, post.text, post.to));
        self.echo(ledger, &post);
        let native = post.native.clone();
        ledger.posts.push(post);
        native
    }

    /// What we post can be read like anything else.
    fn echo(&self, ledger: &mut Ledger, post: &Post) {
        let to = ledger.items.iter().find(|item| item.id == post.to).cloned();
        let is_named = matches!(self.class, SendClass::ClientId | SendClass::Key(_));
        ledger.items.push(Item {
            id: post.native.clone(),
            author: "us".to_owned(),
            root: to.as_ref().map(|to| to.root.clone().unwrap_or_else(|| to.id.clone())),
            parent: to.map(|to| to.id),
            word: "ours",
            text: post.text.clone(),
            said: post.at,
            edited: None,
            n_edits: 0,
            is_gone: false,
            ours: Ours::Yes(is_named.then(|| post.key.clone())),
            has_file: false,
        });
        let at = ledger.items.len() - 1;
        self.show(ledger, at);
    }

    /// A reply was sent here: was it claimed before, so that the host knows of it whatever happens?
    pub(super) fn check_claim(&self, key: &str) {
        let claimed = key.parse::<ActionId>().ok().and_then(|id| self.disk.durable_action(&self.channel, id));
        if !claimed.as_ref().is_some_and(|action| action.attempts > 0 && !action.state.is_open()) {
            self.world.wrong(format!("{key} is sent to {} and its claim is not durable", self.channel));
        }
    }

    /// The post of this key, where somebody looks for it.
    pub(super) fn find(&self, key: &str) -> Option<Receipt> {
        let ledger = self.ledger();
        let post = ledger.posts.iter().find(|post| post.key == key).filter(|_| !self.world.has(Planted::BlindProbe))?;
        Some(Receipt { native: native(&post.native), aka: Vec::new() })
    }

    /// What a delivery of this item is made of; none where nobody calls the host.
    pub(super) fn deliver(self: &Arc<Self>, at: usize) {
        if self.arrival != Arrival::Polled {
            super::delivery::begin(self, at);
        }
    }

    /// How many replies stand under each key.
    pub(super) fn n_posts(&self) -> BTreeMap<String, usize> {
        let mut n_posts = BTreeMap::new();
        self.ledger().posts.iter().for_each(|post| *n_posts.entry(post.key.clone()).or_default() += 1);
        n_posts
    }

    /// What the host knows of it.
    pub(super) fn interaction(&self, item: &Item) -> Interaction {
        let file = |id: &str| Attachment { name: None, media_type: "image/png".to_owned(), size: None, url: None, media_ref: Some(id.to_owned()) };
        let mut said = said(&item.id, &item.text);
        if let Some(author) = &mut said.author {
            author.native = native(&item.author);
        }
        said.occurred = item.said;
        said.edited = item.edited;
        said.ours = item.ours.clone();
        said.parent = item.parent.as_deref().map(native);
        said.conversation = item.root.as_deref().map(native);
        said.attachments = item.has_file.then(|| file(&item.id)).into_iter().collect();
        said
    }
}

/// Why a call fails.
pub(super) fn because(code: &str) -> Detail {
    Detail { code: code.to_owned(), message: "as the dice say".to_owned() }
}
