//! What goes into a plugin and what comes out of it, in the model's words. No type of the contract leaves this room.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Annotation, Attachment, Author, Claimed, Fault, Interaction, InteractionId, NativeId, Place, Timestamp, Wanted};

/// What a call brought, and the state that it leaves: to be committed together, or not at all.
#[derive(Debug)]
pub struct Called<T> {
    /// The answer.
    pub result: Result<T, Fault>,
    /// Keys written (`Some`) and deleted (`None`); empty where the call failed.
    pub state: Vec<(String, Option<Vec<u8>>)>,
}

impl<T> Called<T> {
    /// A call that failed leaves the state as it was.
    pub(crate) fn failed(fault: Fault) -> Self {
        Self { result: Err(fault), state: Vec::new() }
    }
}

/// One thing that a connector tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// New or revised.
    Upsert(Box<Interaction>),
    /// Not parsed yet.
    Raw(NativeId, Vec<u8>),
    /// Taken back.
    Gone(NativeId),
    /// Could not be understood.
    Unreadable {
        /// Which.
        native: NativeId,
        /// In words.
        reason: String,
        /// Its first bytes.
        head: Vec<u8>,
    },
    /// Something else, an open kind with a JSON body.
    Note {
        /// Dotted.
        kind: String,
        /// JSON.
        json: String,
    },
}

impl Change {
    /// About what it holds. Units: bytes.
    pub fn n_bytes(&self) -> usize {
        size_of::<Interaction>()
            + match self {
                Self::Upsert(one) => {
                    let attrs = one.attrs.iter().map(|(key, value)| key.len() + value.len());
                    let ids = one.aka.iter().chain(&one.refs).map(|native| native.scope.len() + native.id.len());
                    let files = one.attachments.iter().flat_map(|file| [&file.name, &file.url, &file.media_ref]).flatten().map(String::len);
                    let words = [&one.subject, &one.quoted, &one.reply_context, &one.url].into_iter().flatten().map(String::len);
                    one.text.len() + attrs.chain(ids).chain(files).chain(words).sum::<usize>()
                }
                Self::Raw(_, body) | Self::Unreadable { head: body, .. } => body.len(),
                Self::Note { json, .. } => json.len(),
                Self::Gone(_) => 0,
            }
    }
}

/// What a poll brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Within the bounds asked for.
    pub changes: Vec<Change>,
    /// Where to go on.
    pub cursor: String,
    /// There is more at once.
    pub more: bool,
    /// From before the channel was enabled.
    pub backfill: bool,
    /// The connector's own wish.
    pub next_poll: Option<Duration>,
    /// Where the network tells it.
    pub allowance: Option<Allowance>,
}

/// How much of the network's rate limit is left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// In [0, 1].
    pub left: f64,
    /// When it is whole again.
    pub resets_in: Duration,
}

/// What is to be said.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// `reply`.
    pub kind: String,
    /// Nobody looked at it.
    pub is_automatic: bool,
    /// What is said.
    pub text: String,
    /// What it answers.
    pub to: Option<Target>,
    /// What the network's record is dated with.
    pub created: Timestamp,
    /// Free.
    pub attrs: Vec<(String, String)>,
}

/// What a reply answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its id.
    pub native: NativeId,
    /// Who said it.
    pub author: Option<Author>,
    /// As the connector left it.
    pub reply_context: Option<String>,
    /// Who could see it.
    pub visibility: String,
    /// Its subject.
    pub subject: Option<String>,
    /// Its language.
    pub language: Option<String>,
}

impl Target {
    /// This interaction as a target.
    pub fn of(interaction: &Interaction) -> Self {
        Self {
            native: interaction.native.clone(),
            author: interaction.author.clone(),
            reply_context: interaction.reply_context.clone(),
            visibility: interaction.visibility.clone(),
            subject: interaction.subject.clone(),
            language: interaction.language.clone(),
        }
    }
}

/// What the network made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its id there.
    pub native: NativeId,
    /// Other ids of the same thing.
    pub aka: Vec<NativeId>,
}

/// Whether something went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is there.
    Yes,
    /// It surely is not.
    No,
    /// The network does not tell.
    Unknown,
}

/// Items of one channel and kind, for an analyzer.
#[derive(Debug)]
pub struct AnalyzeBatch<'a> {
    /// Which channel.
    pub channel: &'a str,
    /// Which kind of interaction.
    pub kind: &'a str,
    /// Shape: 1 to 512.
    pub items: Vec<AnalyzeItem<'a>>,
}

/// One item for an analyzer.
#[derive(Debug)]
pub struct AnalyzeItem<'a> {
    /// Which interaction, for the host alone.
    pub id: Option<InteractionId>,
    /// Of a mail or post.
    pub subject: Option<&'a str>,
    /// What was said.
    pub text: &'a str,
    /// Declared.
    pub language: Option<&'a str>,
    /// When.
    pub occurred: Timestamp,
    /// What those it comes `after` said.
    pub earlier: Vec<&'a Annotation>,
    /// Identity and handle, where granted.
    pub author: Option<(String, Option<String>)>,
    /// Where granted.
    pub attachments: &'a [Attachment],
}

/// One event for a rule.
#[derive(Debug, Clone)]
pub struct RuleEvent {
    /// `interaction.arrived`...
    pub kind: String,
    /// When the entry was appended.
    pub at: Timestamp,
    /// What it is about.
    pub interaction: Option<RuleInteraction>,
    /// What was claimed before.
    pub done: Vec<Claimed>,
    /// The channel's capability record, JSON.
    pub capabilities: Arc<str>,
    /// How the exchange stands.
    pub exchange: Option<RuleExchange>,
    /// How the conversation stands.
    pub conversation: Option<RuleConversation>,
    /// JSON, by kind.
    pub body: String,
}

/// An interaction as a rule sees it.
#[derive(Debug, Clone)]
pub struct RuleInteraction {
    /// The host's id.
    pub id: String,
    /// Its name.
    pub channel: String,
    /// Open: `post reply comment mention direct mail review reaction share checkin status`.
    pub kind: String,
    /// Open: `public unlisted followers direct`.
    pub visibility: String,
    /// A mail's or a post's.
    pub subject: Option<String>,
    /// Plain, without what it quotes.
    pub text: String,
    /// BCP 47, declared or told by an analyzer.
    pub language: Option<String>,
    /// Open: `no auto-reply bounce list bot notification`.
    pub automated: String,
    /// The host's id of who said it.
    pub identity: String,
    /// As the network shows it.
    pub author_name: Option<String>,
    /// What the account is addressed by.
    pub author_handle: Option<String>,
    /// `followers`, `posts` and the like.
    pub author_metrics: Vec<(String, f64)>,
    /// Where it was said.
    pub place: Option<Place>,
    /// `outside` or `inside` the company.
    pub side: Option<String>,
    /// The advertisement or newsletter that it answers.
    pub campaign: Option<String>,
    /// By the network's clock, never in the future.
    pub occurred: Timestamp,
    /// By the host's clock.
    pub received: Timestamp,
    /// From before the channel was enabled.
    pub backfill: bool,
    /// What the connector says beside.
    pub attrs: Vec<(String, String)>,
    /// What analyzers said.
    pub annotations: Vec<Annotation>,
    /// Analyzers that did not answer in time, or failed.
    pub missing: Vec<String>,
}

/// An exchange as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct RuleExchange {
    /// Rises with each word.
    pub version: u32,
    /// Replies that no person looked at.
    pub automatic_replies_last_hour: u32,
}

/// A conversation as a rule sees it.
#[derive(Debug, Clone)]
pub struct RuleConversation {
    /// Its id.
    pub id: String,
    /// Entries with content.
    pub count: u32,
    /// Earlier entries, newest first: identity or `own`, when, text.
    pub recent: Vec<(String, Timestamp, String)>,
    /// Ids of open tasks about its entries.
    pub open_tasks: Vec<String>,
}

/// What a rule answers to one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleDecision {
    /// What it asks for. Shape: at most 16.
    pub actions: Vec<Wanted>,
    /// Further ones that it asked for, and does not get.
    pub n_refused: usize,
    /// The row that decided.
    pub row: Option<String>,
    /// In words.
    pub reasons: Vec<String>,
}

/// What the rest of the configuration holds, for `validate`.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Names.
    pub teams: Vec<String>,
    /// Names.
    pub channels: Vec<String>,
    /// Names.
    pub analyzers: Vec<String>,
    /// Names.
    pub calendars: Vec<String>,
}
