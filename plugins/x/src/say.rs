//! Replies, direct messages and hiding. X knows no idempotency key: what may have gone out is looked for before it is sent again.

use std::collections::BTreeSet;

use membrana_sdk::connector::{Message, Receipt, Sent};
use membrana_sdk::{Fault, NativeId, Result};
use serde_json::{Value as Json, json};

use crate::Section;
use crate::api::{Api, Who};
use crate::direct;
use crate::faults::{DUPLICATE, not_summoned};
use crate::ids::{is_id, moment, moment_of};
use crate::length::{has_address, weighted};
use crate::post::{ReplyContext, native};
use crate::shapes::{TEXT_BYTES_MAX, WORD_BYTES_MAX, either, id, items, list, plain, text, whole};
use crate::walk::{TOKEN_BYTES_MAX, encoded};

/// Own posts looked through for one that may have gone out, a page; and so many pages at most, for each is paid for.
const LOOKED_THROUGH: usize = 100;
const PAGES_MAX: usize = 5;
/// A direct message. Source: X, direct messages. Units: characters.
const DIRECT_CHARS_MAX: usize = 10_000;
/// X's clock and the host's may differ by so much. Units: milliseconds.
const SKEW_MS: u64 = 300_000;

pub(crate) fn send(section: &Section, api: &Api, message: &Message) -> Result<Receipt> {
    match message.kind.as_str() {
        "reply" => reply(section, api, message),
        "direct" => direct_message(api, message),
        "hide" => hide(api, message),
        other => Err(Fault::unsupported(&format!("`{other}`: this plugin replies, writes direct messages and hides replies"))),
    }
}

/// Class R: a reply is looked for in the own timeline, a direct message in its conversation. To hide twice is to hide.
pub(crate) fn probe(section: &Section, api: &Api, message: &Message) -> Result<(Sent, Option<Receipt>)> {
    match message.kind.as_str() {
        "reply" if !is_direct(message) => posted(section, api, message, &post_of(message)?),
        "reply" | "direct" => directed(section, api, message),
        "hide" => Ok((Sent::No, None)),
        other => Err(Fault::unsupported(other)),
    }
}

fn context(message: &Message) -> Result<ReplyContext> {
    let target = message.to.as_ref().ok_or_else(|| Fault::unsupported("a post that answers nothing"))?;
    let context = target.reply_context.as_deref().and_then(|text| serde_json::from_str(text).ok());
    context.ok_or_else(|| Fault::permanent("x.no-context", "it is not known what this answers"))
}

fn post_of(message: &Message) -> Result<String> {
    context(message)?.post.filter(|id| is_id(id)).ok_or_else(|| Fault::permanent("x.no-context", "it is not known which post this is about"))
}

/// An answer to what was said to us alone stays between us.
fn is_direct(message: &Message) -> bool {
    message.kind == "direct" || message.to.as_ref().is_some_and(|target| target.visibility == "direct")
}

fn reply(section: &Section, api: &Api, message: &Message) -> Result<Receipt> {
    if is_direct(message) {
        return direct_message(api, message);
    }
    if message.to.as_ref().is_some_and(|target| target.visibility == "followers") {
        return Err(Fault::unsupported("a public reply to somebody who is read by followers alone; answer by a direct message"));
    }
    let context = context(message)?;
    let post = post_of(message)?;
    if !context.summoned && !section.answer_anyone {
        return Err(not_summoned("nothing was sent; set `answer_anyone` where your contract allows it"));
    }
    let (weight, most) = (weighted(&message.text), section.length_max());
    if weight > most {
        return Err(Fault::unsupported(&format!("a reply that weighs {weight}; X takes {most}")));
    }
    let body = json!({ "text": message.text, "reply": { "in_reply_to_tweet_id": post } });
    let answer = match api.write(Who::User, "POST", "/2/tweets", &body) {
        // It may be ours, of a try whose answer was lost and that X did not show at once.
        Err(Fault::Permanent(detail)) if detail.code == DUPLICATE => {
            return match posted(section, api, message, &post) {
                Ok((Sent::Yes, Some(receipt))) => Ok(receipt),
                _ => Err(Fault::Permanent(detail)),
            };
        }
        answer => answer?,
    };
    let id = answer.get("data").and_then(|data| id(data, "id")).ok_or_else(|| Fault::outcome_unknown("X answers without a post"))?;
    Ok(receipt(&id))
}

fn direct_message(api: &Api, message: &Message) -> Result<Receipt> {
    let to = recipient(message)?;
    let n_chars = message.text.chars().count();
    if n_chars > DIRECT_CHARS_MAX {
        return Err(Fault::unsupported(&format!("a direct message of {n_chars} characters; X takes {DIRECT_CHARS_MAX}")));
    }
    let answer = api.write(Who::User, "POST", &format!("/2/dm_conversations/with/{to}/messages"), &json!({ "text": message.text }))?;
    let id = answer.get("data").and_then(|data| id(data, "dm_event_id"));
    let id = id.ok_or_else(|| Fault::outcome_unknown("X answers without a message"))?;
    Ok(Receipt { native: direct::native(&id), aka: Vec::new(), url: None, attrs: Vec::new() })
}

/// Of the author of what is answered: X has direct messages between any two.
fn recipient(message: &Message) -> Result<String> {
    let author = || message.to.as_ref()?.author.as_ref().map(|author| author.native.id.clone());
    let to = context(message)?.author.or_else(author).filter(|id| is_id(id));
    to.ok_or_else(|| Fault::permanent("x.no-recipient", "it is not known whom to write to"))
}

fn hide(api: &Api, message: &Message) -> Result<Receipt> {
    let post = post_of(message)?;
    let answer = api.write(Who::User, "PUT", &format!("/2/tweets/{post}/hidden"), &json!({ "hidden": true }))?;
    match answer.pointer("/data/hidden").and_then(Json::as_bool) {
        // What now stands there is the hiding, not the post: an echo of the post is none of it.
        Some(true) => Ok(Receipt { native: NativeId { scope: "hidden".to_owned(), id: post }, aka: Vec::new(), url: None, attrs: Vec::new() }),
        _ => Err(Fault::permanent("x.not-hidden", "X did not hide it: only replies in our own conversations can be hidden")),
    }
}

fn receipt(id: &str) -> Receipt {
    Receipt { native: native(id), aka: Vec::new(), url: Some(format!("https://x.com/i/status/{id}")), attrs: Vec::new() }
}

/// Words as they are compared: X shortens addresses, with and without a scheme, and puts those it answers in front.
fn words(text: &str) -> String {
    let shown = |word: &&str| !word.contains("://") && !has_address(word);
    plain(text).split_whitespace().filter(|word| shown(word)).collect::<Vec<_>>().join(" ")
}

/// A reply to the same post with the same words, after the action was made.
fn posted(section: &Section, api: &Api, message: &Message, post: &str) -> Result<(Sent, Option<Receipt>)> {
    let me = section.own(api, &[])?.ids.into_iter().next().unwrap_or_default();
    let mut path = format!("/2/users/{me}/tweets?max_results={LOOKED_THROUGH}&{}", section.fields());
    if let Some(since) = moment_of(post).map(|_| post) {
        // An answer is younger than what it answers.
        path = format!("{path}&since_id={since}");
    }
    let wanted = words(&message.text);
    let is_it = |one: &&Json| {
        let said = text(either(one, ["note_post", "note_tweet"]), "text", TEXT_BYTES_MAX).or_else(|| text(one, "text", TEXT_BYTES_MAX));
        answered(one).as_deref() == Some(post) && said.is_some_and(|said| says(&words(said), &wanted))
    };
    let mut at = path.clone();
    for _ in 0..PAGES_MAX {
        let own = api.get(Who::User, &at)?;
        let found = found(list(&own, "data").iter().find(is_it).and_then(|one| id(one, "id")).map(|id| receipt(&id)), &own)?;
        let next = own.get("meta").and_then(|meta| whole(meta, "next_token", TOKEN_BYTES_MAX));
        let (Sent::Unknown, Some(next)) = (found.0, next) else { return Ok(found) };
        at = format!("{path}&pagination_token={}", encoded(next));
    }
    Ok((Sent::Unknown, None))
}

/// The wanted words, behind names alone; of a text that is an address nothing else is left.
fn says(said: &str, wanted: &str) -> bool {
    let names = said.strip_suffix(wanted);
    names.is_some_and(|names| names.split_whitespace().all(|word| word.starts_with('@')))
}

fn answered(post: &Json) -> Option<String> {
    let listed = items(either(post, ["referenced_posts", "referenced_tweets"]));
    listed.iter().find(|one| text(one, "type", WORD_BYTES_MAX) == Some("replied_to")).and_then(|one| id(one, "id"))
}

/// A message of ours with the same words in the conversation, not older than the action.
fn directed(section: &Section, api: &Api, message: &Message) -> Result<(Sent, Option<Receipt>)> {
    let own = section.own(api, &[])?;
    let to = recipient(message)?;
    let fields = "dm_event.fields=created_at,dm_conversation_id,event_type,id,text&expansions=sender_id&event_types=MessageCreate";
    let said = api.get(Who::User, &format!("/2/dm_conversations/with/{to}/dm_events?max_results={LOOKED_THROUGH}&{fields}"))?;
    let wanted = words(&message.text);
    if wanted.is_empty() {
        // Of one that is an address nothing is left to compare.
        return Ok((Sent::Unknown, None));
    }
    let is_it = |one: &&Json| {
        let at = text(one, "created_at", WORD_BYTES_MAX).and_then(moment);
        own.is(id(one, "sender_id").as_deref())
            && words(text(one, "text", TEXT_BYTES_MAX).unwrap_or_default()) == wanted
            && at.is_none_or(|at| at.saturating_add(SKEW_MS) >= message.created)
    };
    let receipt = |id: String| Receipt { native: direct::native(&id), aka: Vec::new(), url: None, attrs: Vec::new() };
    found(list(&said, "data").iter().find(is_it).and_then(|one| id(one, "id")).map(receipt), &said)
}

/// Beyond what was looked through it could still be there.
fn found(receipt: Option<Receipt>, page: &Json) -> Result<(Sent, Option<Receipt>)> {
    // What is shown twice is one.
    let shown: BTreeSet<String> = list(page, "data").iter().filter_map(|one| id(one, "id")).collect();
    let is_whole = page.pointer("/meta/next_token").is_none() && shown.len() < LOOKED_THROUGH;
    Ok(match receipt {
        Some(receipt) => (Sent::Yes, Some(receipt)),
        None => (if is_whole { Sent::No } else { Sent::Unknown }, None),
    })
}
