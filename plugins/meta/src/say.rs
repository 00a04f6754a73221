//! What saying something has in common: lengths, receipts, and whether a text of ours stands somewhere already.

use membrana_sdk::connector::{Message, Receipt, Sent};
use membrana_sdk::text::cut;
use membrana_sdk::{Fault, NativeId, Result};
use serde_json::Value as Json;

use crate::graph::Graph;
use crate::read::{ID_BYTES_MAX, TEXT_BYTES_MAX, id, moment, text, words};
use crate::shape::{Context, scoped};

/// Pages looked through for what may have gone out.
const PAGES_MAX: usize = 5;
/// The network's clock may be behind ours by so much. Units: milliseconds.
const SKEW_MS: u64 = 600_000;

/// What is answered, as the interaction carried it. Errors: `permanent` where that is not known.
pub fn context(message: &Message) -> Result<Context> {
    let target = message.to.as_ref().ok_or_else(|| Fault::unsupported("anything that answers nothing"))?;
    let context = target.reply_context.as_deref().and_then(|text| serde_json::from_str(text).ok());
    context.ok_or_else(|| Fault::permanent("meta.no-context", "it is not known what this answers"))
}

/// Errors: `unsupported` where `length` is over `max`, counted in `unit`.
pub fn within(length: usize, max: usize, unit: &str) -> Result<()> {
    if length <= max { Ok(()) } else { Err(Fault::unsupported(&format!("a text of {length} {unit}; the network takes {max}"))) }
}

/// Of what stands there under this id.
pub fn receipt(native: NativeId) -> Receipt {
    Receipt { native, aka: Vec::new(), url: None, attrs: Vec::new() }
}

/// The id in the answer to a write. Errors: `outcome-unknown` where there is none.
pub fn made(answer: &Json, key: &str) -> Result<String> {
    id(answer, key).ok_or_else(|| Fault::outcome_unknown("the network answers without an id"))
}

/// What a hidden comment's receipt says: not the comment's own id, which is its author's.
pub fn hidden(owner: &str, comment: &str) -> Receipt {
    receipt(scoped(owner, cut(&format!("hidden/{comment}"), ID_BYTES_MAX)))
}

/// A list that is looked through for a text of ours.
pub struct Place<'p> {
    /// Parts of the path.
    pub at: &'p [&'p str],
    /// Of the first page.
    pub query: &'p [(&'p str, &'p str)],
    /// The key of the text.
    pub text: &'p str,
    /// The key of the time.
    pub time: &'p str,
    /// Beyond what is older than the message nothing need be looked at.
    pub is_newest_first: bool,
}

/// Says whether the message stands there, with its id. `is_ours`: none where that cannot be told.
pub fn look_for(graph: &Graph, place: &Place<'_>, message: &Message, is_ours: impl Fn(&Json) -> Option<bool>) -> Result<(Sent, Option<String>)> {
    let (wanted, earliest) = (words(&message.text), message.created.saturating_sub(SKEW_MS));
    let (mut from, mut is_uncertain) = (None, false);
    for _ in 0..PAGES_MAX {
        let page = graph.list(place.at, place.query, from.as_ref())?;
        let is_late = |item: &Json| moment(item, place.time).is_none_or(|at| at >= earliest);
        for item in page.items.iter().filter(|item| is_late(item) && words(&text(item, place.text, TEXT_BYTES_MAX)) == wanted) {
            match (is_ours(item), id(item, "id")) {
                (Some(true), Some(id)) => return Ok((Sent::Yes, Some(id))),
                (Some(false), _) => {}
                _ => is_uncertain = true,
            }
        }
        let is_past = place.is_newest_first && page.items.last().is_some_and(|last| !is_late(last));
        if page.next.is_none() || is_past {
            return Ok((if is_uncertain { Sent::Unknown } else { Sent::No }, None));
        }
        from = page.next;
    }
    Ok((Sent::Unknown, None))
}
