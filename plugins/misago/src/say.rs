//! Replies in the thread.

use membrana_markup::markdown::escaped;
use membrana_sdk::connector::{Message, Receipt, Sent};
use membrana_sdk::json::Object;
use membrana_sdk::{Fault, Result};
use serde_json::json;

use crate::api::Api;
use crate::shapes::{Post, ReplyContext, Thread};
use crate::walk::posts;
use crate::{Section, wire};

/// Clocks differ, and answers take their time. Units: milliseconds.
const CLOCK_SLACK_MS: u64 = 300_000;
/// Pages at a thread's end that are looked through.
const PAGES_MAX: u64 = 3;

/// What Misago's Markdown takes for its own, anywhere and where a line begins, as far as it knows an escape for it. HTML it shows as it is.
const MARKS: &str = "\\`*_[]!";
const HEADS: &str = "#>-+";

fn context(message: &Message) -> Result<ReplyContext> {
    let target = message.to.as_ref().ok_or_else(|| Fault::unsupported("a post that answers nothing"))?;
    let context = target.reply_context.as_deref().and_then(|text| serde_json::from_str(text).ok());
    context.ok_or_else(|| Fault::permanent("misago.no-context", "it is not known what this answers"))
}

pub(crate) fn send(section: &Section, api: &Api, message: &Message) -> Result<Receipt> {
    let context = context(message)?;
    if message.kind != "reply" || message.to.as_ref().is_some_and(|to| to.visibility == "direct") {
        return Err(Fault::unsupported("anything but a reply that everybody sees"));
    }
    let body = json!({ "post": escaped(&message.text, MARKS, HEADS) });
    let answer: Object<wire::Post> = api.write(&format!("/api/threads/{}/posts/", context.thread), &body)?;
    let post = answer.0.and_then(Post::of).ok_or_else(|| Fault::outcome_unknown("the forum answers without a post"))?;
    Ok(receipt(section, &post))
}

fn receipt(section: &Section, post: &Post) -> Receipt {
    Receipt { native: post.native(section), aka: Vec::new(), url: post.url(section), attrs: Vec::new() }
}

/// Reads the end of the thread for the same words by us, since the action was made.
pub(crate) fn probe(section: &Section, api: &Api, message: &Message) -> Result<(Sent, Option<Receipt>)> {
    let context = context(message)?;
    let sent = api.get::<Object<wire::Thread>>(&format!("/api/threads/{}/", context.thread))?;
    let Some(thread) = sent.and_then(|sent| Thread::of(&sent.0?)) else {
        return Ok((Sent::Unknown, None));
    };
    let since = message.created.saturating_sub(CLOCK_SLACK_MS);
    let mut is_sure = true;
    let first = thread.pages.saturating_sub(PAGES_MAX - 1).max(1);
    for page in (first..=thread.pages).rev() {
        let Some(posts) = posts(api, thread.id, page)? else { return Ok((Sent::Unknown, None)) };
        let all: Vec<Post> = posts.into_iter().filter_map(|post| Post::of(post.0?)).filter(|post| !post.is_event).collect();
        let ours = all.iter().filter(|post| section.is_us(&post.username) && post.posted.is_none_or(|posted| posted >= since));
        for post in ours {
            if post.words().0.split_whitespace().eq(message.text.split_whitespace()) {
                return Ok((Sent::Yes, Some(receipt(section, post))));
            }
            // What is shown of Markdown cannot be compared with it.
            is_sure = false;
        }
        if page == 1 || all.iter().any(|post| post.posted.is_some_and(|posted| posted < since)) {
            return Ok((if is_sure { Sent::No } else { Sent::Unknown }, None));
        }
    }
    Ok((Sent::Unknown, None))
}
