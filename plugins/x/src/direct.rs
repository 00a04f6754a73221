//! Direct messages: the old shape, which both kinds of webhooks still use, and that of v2.

use membrana_sdk::connector::{Interaction, Ours};
use membrana_sdk::text::cut;
use membrana_sdk::{Attachment, NativeId, clock};
use serde_json::Value as Json;

use crate::ids::{compare, moment, moment_of};
use crate::media;
use crate::post::{Own, ReplyContext, author};
use crate::shapes::{NAME_BYTES_MAX, TEXT_BYTES_MAX, WORD_BYTES_MAX, id, plain, text, unwrapped, whole};

/// Of direct messages and their conversations, whose ids are not those of posts.
const SCOPE: &str = "dm";

/// A direct message's name on the network.
pub(crate) fn native(id: &str) -> NativeId {
    NativeId { scope: SCOPE.to_owned(), id: id.to_owned() }
}

/// `users`: a map from id to account, some of them wrapped. None where it is no message.
pub(crate) fn interaction(event: &Json, users: &Json, own: &Own) -> Option<Interaction> {
    let event_id = id(event, "id")?;
    let old = event.get("message_create");
    let sender = id(old.unwrap_or(event), "sender_id")?;
    let recipient = old.and_then(|create| id(create.get("target")?, "recipient_id"));
    let data = old.and_then(|create| create.get("message_data")).unwrap_or(event);
    let said = text(data, "text", TEXT_BYTES_MAX)?;
    let is_own = own.is(Some(&sender));
    let other = if is_own { recipient.clone() } else { Some(sender.clone()) };
    let occurred = id(event, "created_timestamp").as_deref().and_then(moment).or_else(|| moment(text(event, "created_at", WORD_BYTES_MAX)?));
    let conversation =
        whole(event, "dm_conversation_id", NAME_BYTES_MAX).map(str::to_owned).or_else(|| Some(between(&sender, recipient.as_deref()?)));
    Some(Interaction {
        native: native(&event_id),
        aka: Vec::new(),
        kind: "direct".to_owned(),
        visibility: "direct".to_owned(),
        author: Some(author(&sender, users.get(&sender).map(unwrapped))),
        ours: if is_own { Ours::Yes(None) } else { Ours::No },
        automated: "no".to_owned(),
        conversation: conversation.as_deref().map(native),
        parent: None,
        refs: Vec::new(),
        subject: None,
        text: cut(&plain(said), TEXT_BYTES_MAX).to_owned(),
        quoted: None,
        language: None,
        url: None,
        attachments: attachments(data),
        place: None,
        side: None,
        campaign: None,
        occurred: occurred.or_else(|| moment_of(&event_id)).unwrap_or_else(clock::now),
        edited: None,
        reply_context: ReplyContext { post: None, author: other, summoned: true }.encoded(),
        attrs: Vec::new(),
    })
}

/// How X names a conversation of two: the smaller id first.
pub(crate) fn between(a: &str, b: &str) -> String {
    if compare(a, b).is_le() { format!("{a}-{b}") } else { format!("{b}-{a}") }
}

/// Its addresses need the account's token, so nobody else can fetch them: the file is told of, without one.
fn attachments(data: &Json) -> Vec<Attachment> {
    let medium = data.get("attachment").and_then(|attachment| attachment.get("media"));
    medium.map(|medium| Attachment { url: None, ..media::one(medium) }).into_iter().collect()
}
