//! Replies under the post that they answer, seen by those who see that post.

use membrana_markup::markdown::escaped;
use membrana_sdk::connector::{Message, Receipt, Sent};
use membrana_sdk::json::Field;
use membrana_sdk::{Fault, Result};
use serde::Deserialize as _;
use serde_json::{Value as Json, json};

use crate::Section;
use crate::api::{Api, Posted};
use crate::shapes::{Post, ReplyContext, number, stream};
use crate::text::Words;

/// Posts at a topic's end looked through for one that may have gone out.
const LOOKED_THROUGH: usize = 40;
/// Clocks are read to the second, and answers take their time. Units: milliseconds.
const CLOCK_SLACK_MS: u64 = 60_000;

/// What Discourse's Markdown and its HTML take for theirs, anywhere and where a line begins.
const MARKS: &str = "\\`*_[]<~&|";
const HEADS: &str = "#>-+=";

/// What is sent is plain text, and shown as it is.
fn raw(message: &Message) -> String {
    escaped(&message.text, MARKS, HEADS)
}

fn context(message: &Message) -> Result<ReplyContext> {
    let target = message.to.as_ref().ok_or_else(|| Fault::unsupported("a post that answers nothing"))?;
    let context: Option<ReplyContext> = target.reply_context.as_deref().and_then(|text| serde_json::from_str(text).ok());
    context.ok_or_else(|| Fault::permanent("discourse.no-context", "it is not known what this answers"))
}

pub(crate) fn send(section: &Section, api: &Api, message: &Message) -> Result<Receipt> {
    let context = context(message)?;
    match message.kind.as_str() {
        _ if context.is_whisper => return Err(Fault::unsupported("an answer to a whisper: the API may show it to everybody")),
        "reply" => {}
        "direct" if context.is_private => {}
        _ => return Err(Fault::unsupported("anything but a reply where the post stands")),
    }
    let mut body = json!({ "raw": raw(message), "topic_id": context.topic });
    // What answers nothing in particular answers the first post.
    if let (Some(object), true) = (body.as_object_mut(), context.number > 1) {
        object.insert("reply_to_post_number".to_owned(), Json::from(context.number));
    }
    match api.write(&body)? {
        Posted::Taken(answer) => taken(section, &answer),
        Posted::Refused(why) => refused(section, api, message, &context, &why),
    }
}

fn taken(section: &Section, answer: &Json) -> Result<Receipt> {
    if answer.get("action").and_then(Json::as_str) == Some("enqueued") {
        let pending = answer
            .get("pending_post")
            .and_then(|post| number(&Field::deserialize(post.get("id")?).ok()?))
            .map_or_else(|| "unnamed".to_owned(), |id| id.to_string());
        let attrs = vec![("discourse.state".to_owned(), "waits for a moderator".to_owned())];
        return Ok(Receipt { native: section.native(format!("pending/{pending}")), aka: Vec::new(), url: None, attrs });
    }
    // An older API nests it.
    let post = Post::in_tree(answer).or_else(|| answer.get("post").and_then(Post::in_tree));
    post.map(|post| receipt(section, &post)).ok_or_else(|| Fault::outcome_unknown("the forum answers without a post"))
}

fn receipt(section: &Section, post: &Post) -> Receipt {
    let about = post.interaction(section, "public");
    Receipt { native: about.native, aka: Vec::new(), url: about.url, attrs: Vec::new() }
}

/// How forums say so in English, Spanish, Italian, French, Portuguese; German; Dutch.
const TOO_SIMILAR: [&str; 4] = ["simil", "semelhante", "ähnlich", "lijkt te veel"];

/// `Body is too similar to what you recently posted`, in whatever language the forum speaks: the try before this one may have
/// got through. Where the same words stand there, they are this reply.
fn refused(section: &Section, api: &Api, message: &Message, context: &ReplyContext, why: &str) -> Result<Receipt> {
    let words = why.to_lowercase();
    match look(section, api, message, context) {
        Ok((Sent::Yes, Some(receipt))) => Ok(receipt),
        // Whether they stand there cannot be seen now.
        Err(fault @ (Fault::RateLimited(_) | Fault::Transient(_) | Fault::Auth(_))) => {
            Err(Fault::outcome_unknown(format!("the forum refuses it ({why}), and what stands there cannot be read: {fault:?}")))
        }
        // The same words went elsewhere a moment ago; the forum forgets them after some minutes.
        _ if TOO_SIMILAR.iter().any(|word| words.contains(word)) => Err(Fault::transient("discourse.too-similar", why)),
        _ => Err(Fault::permanent("discourse.refused", format!("the forum refuses it: {why}"))),
    }
}

pub(crate) fn probe(section: &Section, api: &Api, message: &Message) -> Result<(Sent, Option<Receipt>)> {
    look(section, api, message, &context(message)?)
}

/// Reads the end of the topic for the same words by us, under the same post, since the action was made.
fn look(section: &Section, api: &Api, message: &Message, context: &ReplyContext) -> Result<(Sent, Option<Receipt>)> {
    let topic = context.topic;
    let Some(shown) = api.get_if_there::<Json>(&format!("/t/{topic}.json"))? else { return Ok((Sent::Unknown, None)) };
    let Some(all) = stream(&shown) else { return Ok((Sent::Unknown, None)) };
    let last = all.get(all.len().saturating_sub(LOOKED_THROUGH)..).unwrap_or_default();
    let ids: String = last.iter().map(|id| format!("post_ids%5B%5D={id}&")).collect();
    let page = if last.is_empty() { Json::Null } else { api.get(&format!("/t/{topic}/posts.json?{ids}include_raw=true"))? };
    let posts: Vec<Post> = page.pointer("/post_stream/posts").and_then(Json::as_array).into_iter().flatten().filter_map(Post::in_tree).collect();
    let since = api.by_its_clock(message.created).saturating_sub(CLOCK_SLACK_MS);
    let wanted = Words::of_raw(&raw(message));
    let is_candidate = |post: &&Post| {
        section.is_us(&post.username) && post.reply_to.unwrap_or(1) == context.number.max(1) && post.created.is_none_or(|created| created >= since)
    };
    let candidates: Vec<&Post> = posts.iter().filter(is_candidate).collect();
    if let Some(post) = candidates.iter().find(|post| same(&post.words, &wanted)) {
        return Ok((Sent::Yes, Some(receipt(section, post))));
    }
    let is_whole = last.len() == all.len() || posts.iter().any(|post| post.created.is_some_and(|created| created < since));
    // Without what was written, Markdown and what is shown of it cannot be compared.
    let is_sure = is_whole && last.iter().all(|wanted| posts.iter().any(|post| post.id == *wanted)) && candidates.iter().all(|post| post.is_raw);
    Ok((if is_sure { Sent::No } else { Sent::Unknown }, None))
}

fn same(one: &Words, other: &Words) -> bool {
    let words = |words: &Words| format!("{} {}", words.text, words.quoted.as_deref().unwrap_or_default());
    words(one).split_whitespace().eq(words(other).split_whitespace())
}
