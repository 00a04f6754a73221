//! What somebody said or did on a channel, normalised. Vocabulary: Activity Streams 2.0, open words as text.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// Attribute of one whose date made no sense, so that the host's stands in its place.
pub const OCCURRED_CLAMPED: &str = "membrana.occurred-clamped";

/// The network's own id of a thing, opaque: compared byte by byte, never parsed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct NativeId {
    /// What the id is unique within; empty for the whole network.
    pub scope: String,
    /// Shape: at most 1 KiB.
    pub id: String,
}

/// Who said it. Only `native` is stable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Author {
    /// The account's own id.
    pub native: NativeId,
    /// `@anna@social.example`.
    pub handle: Option<String>,
    /// As shown by the network.
    pub name: Option<String>,
    /// Of the profile.
    pub url: Option<String>,
    /// Where the network gives it.
    pub email: Option<String>,
    /// Where the network gives it.
    pub phone: Option<String>,
    /// How sure the network is of email and phone: `verified`, `authenticated`, `stated`.
    pub assurance: Option<String>,
    /// The network says that no person writes here.
    pub automated: bool,
    /// `followers`, `posts`...
    pub metrics: Vec<(String, f64)>,
}

/// Whether the company itself said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ours {
    /// Somebody else did.
    No,
    /// We did; with the action's key where the network gives it back.
    Yes(Option<String>),
}

/// A file or link that came along; never its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// File name.
    pub name: Option<String>,
    /// As declared.
    pub media_type: String,
    /// Units: bytes.
    pub size: Option<u64>,
    /// Where to fetch it, if it is a plain URL.
    pub url: Option<String>,
    /// What the plugin's media interface is asked with, if it is not.
    pub media_ref: Option<String>,
}

/// Where it was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// In words.
    pub name: Option<String>,
    /// The network's id of the place.
    pub native: Option<NativeId>,
    /// Units: degrees, WGS 84, latitude and longitude.
    pub position: Option<(f64, f64)>,
}

/// Open vocabulary `no auto-reply bounce list bot notification`: what wrote it, where that is not a person.
pub type Automated = String;

/// One thing somebody said or did on a channel, normalised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interaction {
    /// The network's id.
    pub native: NativeId,
    /// Other native ids of the same thing.
    pub aka: Vec<NativeId>,
    /// Open: `post reply comment mention direct mail review reaction share checkin status`.
    pub kind: String,
    /// Open: `public unlisted followers direct`.
    pub visibility: String,
    /// None where the network withholds it.
    pub author: Option<Author>,
    /// Whether the company itself said it.
    pub ours: Ours,
    /// Open: `no auto-reply bounce list bot notification`.
    pub automated: Automated,
    /// The thread's root, where the network names it.
    pub conversation: Option<NativeId>,
    /// What it answers.
    pub parent: Option<NativeId>,
    /// Further ancestors, nearest first. Shape: at most 64.
    pub refs: Vec<NativeId>,
    /// Of a mail or post.
    pub subject: Option<String>,
    /// Plain text without what it quotes.
    pub text: String,
    /// What it quotes.
    pub quoted: Option<String>,
    /// BCP 47, declared, not guessed.
    pub language: Option<String>,
    /// Of the thing itself.
    pub url: Option<String>,
    /// What came along.
    pub attachments: Vec<Attachment>,
    /// Where it was said.
    pub place: Option<Place>,
    /// `outside` (the default) or `inside` the company.
    pub side: Option<String>,
    /// The advertisement or newsletter that this answers.
    pub campaign: Option<String>,
    /// By the network's clock; where that is impossible, when it was received.
    pub occurred: Timestamp,
    /// When its author last changed it.
    pub edited: Option<Timestamp>,
    /// Opaque to the host, handed back to `send`. Shape: at most 4 KiB.
    pub reply_context: Option<String>,
    /// Facts without a field of their own. Shape: at most 64 pairs of 1 KiB.
    pub attrs: Vec<(String, String)>,
}

impl Interaction {
    /// Says whether the company itself said it.
    pub fn is_ours(&self) -> bool {
        matches!(self.ours, Ours::Yes(_))
    }

    /// What tells a repeat from a revision. Zero stands for "absent": a webhook and a poll dress the same thing differently,
    /// so what one of them lacks is not compared.
    pub fn fingerprint(&self) -> Fingerprint {
        let attachments = (!self.attachments.is_empty()).then(|| {
            let names = self.attachments.iter().map(|a| format!("{:?}\0{:?}\0{:?}", a.name, a.size, a.url));
            names.collect::<Vec<_>>().join("\0")
        });
        Fingerprint([
            part(self.subject.as_deref().unwrap_or_default()),
            part(&self.text),
            part(&self.visibility),
            part(attachments.as_deref().unwrap_or_default()),
        ])
    }
}

fn part(text: &str) -> u32 {
    if text.is_empty() {
        return 0;
    }
    let hash = blake3::hash(text.as_bytes());
    let [a, b, c, d, ..] = *hash.as_bytes();
    u32::from_le_bytes([a, b, c, d]).max(1)
}

/// Hashes of subject, text, visibility and attachments; 0 where absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fingerprint(pub [u32; 4]);

impl Fingerprint {
    /// Whatever files came along.
    pub fn without_attachments(self) -> Self {
        let Self([subject, text, visibility, _]) = self;
        Self([subject, text, visibility, 0])
    }

    /// Says whether files came along.
    pub fn has_attachments(self) -> bool {
        let Self([_, _, _, attachments]) = self;
        attachments != 0
    }

    /// Says whether nothing that both sides have differs.
    pub fn is_repeat_of(self, stored: Self) -> bool {
        self.0.iter().zip(stored.0).all(|(new, old)| *new == 0 || old == 0 || *new == old)
    }
}
