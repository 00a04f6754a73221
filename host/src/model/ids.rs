//! Identifiers that the host mints, typed so that swapping two does not compile, and the keyed hash they come from.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::NativeId;

/// A moment. Units: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This much later. Shape: saturates at the end of time.
    pub fn plus(self, wait: std::time::Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Milliseconds from `earlier` to here; zero where it is not earlier.
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A place in a channel's log. Shape: from 1, rising by one, never reused; 0 stands for "before the first".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Seq(pub u64);

impl Seq {
    /// The place after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name an admin gave a channel. Shape: `[a-z0-9][a-z0-9-]{0,31}`, unique over channels, analyzers and rules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChannelName(pub Arc<str>);

impl ChannelName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ChannelName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is not an id.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an id: 32 hexadecimal digits are expected")]
pub struct NotAnId(pub String);

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        ///
        /// Shape: 16 bytes, shown as 32 hexadecimal digits.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", u128::from_be_bytes(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                parse_hex(text).map(Self).ok_or_else(|| NotAnId(text.chars().take(64).collect()))
            }
        }
    )+};
}

ids! {
    /// An interaction: hash of (channel, scope, native id); also what repeats are recognised by.
    InteractionId,
    /// An account on a network: hash of (network, scope, native id of the author).
    IdentityId,
    /// A thread: hash of (channel, its root's native id).
    ConversationId,
    /// Whom we answer where: hash of (channel, conversation, identity).
    ExchangeId,
    /// An action of the outbox: hash of (channel, interaction, rule, key).
    ActionId,
    /// A task: hash of (channel, interaction, rule, key).
    TaskId,
    /// A dead letter.
    DeadId,
    /// A lineup: hash of its members.
    LineupId,
}

fn parse_hex(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// SHA-like digest of a file. Shape: 32 bytes of BLAKE3, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// What others check a file by. Source: FIPS 180-4.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let mut all = [0; 32];
        all.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        Self(all)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

/// The store's own key: ids are keyed hashes, so that nobody outside can aim at a collision or test a guess.
#[derive(Clone)]
pub struct IdKey(pub [u8; 32]);

impl IdKey {
    /// The interaction with this native id on this channel.
    pub fn interaction(&self, channel: &ChannelName, native: &NativeId) -> InteractionId {
        InteractionId(self.hash(b"i", &[channel.as_str(), &native.scope, &native.id]))
    }

    /// The identity of this author on this network.
    pub fn identity(&self, network: &str, author: &NativeId) -> IdentityId {
        IdentityId(self.hash(b"p", &[network, &author.scope, &author.id]))
    }

    /// The conversation whose root is the interaction `root`, seen or not.
    pub fn conversation(&self, root: InteractionId) -> ConversationId {
        ConversationId(root.0)
    }

    /// The exchange with `identity` in `conversation`. An author that the network withholds is one identity of its own.
    pub fn exchange(&self, conversation: ConversationId, identity: Option<IdentityId>) -> ExchangeId {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"x").update(&conversation.0).update(&identity.map_or([0; 16], |i| i.0));
        ExchangeId(short(&hasher))
    }

    /// The action that `rule` wants on `interaction` under its own `key`.
    pub fn action(&self, interaction: InteractionId, rule: &str, key: &str) -> ActionId {
        ActionId(self.hash(b"a", &[&interaction.to_string(), rule, key]))
    }

    /// The task of the same action.
    pub fn task(&self, action: ActionId) -> TaskId {
        TaskId(action.0)
    }

    /// A dead letter of `stage` about `subject`.
    pub fn dead(&self, channel: &ChannelName, stage: &str, subject: &str) -> DeadId {
        DeadId(self.hash(b"d", &[channel.as_str(), stage, subject]))
    }

    /// The id of an event for sinks: the same for a retry and a redo. `restored`: a backup was put in place then, before the entry; what
    /// stood at its place before had the id without it. Shape: `evt_` and 32 hexadecimal digits.
    pub fn event(&self, channel: &ChannelName, seq: Seq, restored: Option<Timestamp>, event: &str, rule: &str) -> String {
        let place = restored.map_or_else(|| seq.to_string(), |at| format!("{seq} since {}", at.0));
        format!("evt_{}", DeadId(self.hash(b"e", &[channel.as_str(), &place, event, rule])))
    }

    fn hash(&self, kind: &[u8], parts: &[&str]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(kind);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        short(&hasher)
    }
}

fn short(hasher: &blake3::Hasher) -> [u8; 16] {
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_histories_give_their_events_two_names() {
        let (key, channel) = (IdKey([7; 32]), ChannelName::from("blog"));
        let event = |restored: Option<u64>| key.event(&channel, Seq(101), restored.map(Timestamp), "interaction.received", "");
        assert_eq!(event(Some(1)), event(Some(1)));
        assert!(event(None) != event(Some(1)) && event(Some(1)) != event(Some(2)), "another entry stands there since a backup was put in place");
    }
}
