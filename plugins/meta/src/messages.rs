//! Messages with people, on Messenger and on Instagram alike: from webhooks, from conversations, and to them.
//!
//! The company's side is told by its id; the network repeats what the company says as an echo, which may come before the
//! answer of the call that said it.

use membrana_sdk::connector::{Change, Interaction, Message, Ours, Receipt, Sent};
use membrana_sdk::{Fault, Result, Timestamp, clock};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::graph::{Graph, Next, listed};
use crate::latest::Latest;
use crate::read::{ID_BYTES_MAX, TEXT_BYTES_MAX, WORD_BYTES_MAX, edge, id, id_in, in_ms, moment, text};
use crate::say::{self, Place, look_for, made, within};
use crate::shape::{Context, attachments, author, blank, note, scoped, unknown, unreadable};
use crate::walk::Walk;

const DAY_MS: u64 = 86_400_000;
/// What a person writes is taken longer than what a machine does.
const HUMAN_MS: u64 = 7 * DAY_MS;
/// From the comment on.
const PRIVATE_REPLY_MS: u64 = 7 * DAY_MS;
/// Conversations in one page, and messages that come with each.
const CONVERSATIONS: usize = 10;
const MESSAGES: usize = 20;
/// A conversation is dated by a second, its messages too: read so far back. Units: milliseconds.
const OVERLAP_MS: u64 = 60_000;
const FIELDS: &str = "id,created_time,from,to,message,attachments";

/// Which network's conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Facebook's. Takes 2,000 characters.
    Messenger,
    /// Takes 1,000 bytes.
    Instagram,
}

impl Platform {
    fn word(self) -> &'static str {
        match self {
            Self::Messenger => "messenger",
            Self::Instagram => "instagram",
        }
    }

    /// Errors: `unsupported` where the network takes less.
    pub fn within(self, text: &str) -> Result<()> {
        match self {
            Self::Messenger => within(text.chars().count(), 2_000, "characters"),
            Self::Instagram => within(text.len(), 1_000, "bytes"),
        }
    }
}

/// The company's side of its conversations.
pub struct Inbox<'a> {
    /// The API.
    pub graph: &'a Graph,
    /// Its id: ids of people and messages are scoped to it.
    pub owner: &'a str,
    /// The node that conversations and messages hang on.
    pub node: &'a str,
    /// Which network's.
    pub platform: Platform,
}

/// A conversation of which older messages wait to be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rest {
    conversation: String,
    person: String,
    next: Next,
    /// Read back to here. Units: milliseconds since 1970.
    until: Timestamp,
}

/// A message whoever told of it.
struct Told<'m> {
    mid: String,
    person: Option<String>,
    is_ours: bool,
    at: Timestamp,
    text: String,
    of: &'m Json,
}

impl Inbox<'_> {
    /// What a webhook says of a conversation; nothing where something later is known.
    pub fn heard(&self, event: &Json, at: Timestamp, latest: &mut Latest) -> Option<Change> {
        let at = event.get("timestamp").and_then(Json::as_u64).map_or(at, in_ms);
        if let Some(message) = event.get("message").filter(|message| message.is_object()) {
            return self.heard_message(event, message, at, latest);
        }
        if let Some(edit) = event.get("message_edit").filter(|edit| edit.is_object()) {
            return self.heard_edit(event, edit, at, latest);
        }
        if let Some(postback) = event.get("postback").filter(|postback| postback.is_object()) {
            let mid = id(postback, "mid").or_else(|| Some(format!("postback/{}/{at}", id_in(event, "sender")?)));
            let Some(mid) = mid else { return Some(unreadable(event, self.owner, &format!("postback/{at}"), "a postback of nobody")) };
            let told = self.told(event, postback, mid, at, text(postback, "title", TEXT_BYTES_MAX));
            return Some(Change::Upsert(self.interaction(&told)));
        }
        let known = ["delivery", "read", "reaction", "optin", "referral", "pass_thread_control", "take_thread_control", "request_thread_control"];
        let found = known.into_iter().find_map(|kind| Some((kind, event.get(kind)?)));
        Some(match found {
            Some((kind, body)) => note(
                &format!("meta.{}", kind.replace('_', "-")),
                &json!({ "at": at, "mids": body.get("mids"), "mid": body.get("mid"), "watermark": body.get("watermark") }),
            ),
            None => unknown(self.platform.word(), "messaging", event),
        })
    }

    fn heard_message(&self, event: &Json, message: &Json, at: Timestamp, latest: &mut Latest) -> Option<Change> {
        let Some(mid) = id(message, "mid") else { return Some(unreadable(event, self.owner, &format!("message/{at}"), "a message without an id")) };
        if message.get("is_deleted").and_then(Json::as_bool) == Some(true) {
            latest.note(&mid, at, true);
            return Some(Change::Gone(scoped(self.owner, mid)));
        }
        if latest.is_overtaken(&mid, at) {
            return None;
        }
        let told = self.told(event, message, mid, at, text(message, "text", TEXT_BYTES_MAX));
        Some(Change::Upsert(self.interaction(&told)))
    }

    fn heard_edit(&self, event: &Json, edit: &Json, at: Timestamp, latest: &mut Latest) -> Option<Change> {
        let Some(mid) = id(edit, "mid") else { return Some(unreadable(event, self.owner, &format!("edit/{at}"), "an edit of nothing")) };
        if latest.is_overtaken(&mid, at) {
            return None;
        }
        latest.note(&mid, at, false);
        let told = self.told(event, edit, mid, at, text(edit, "text", TEXT_BYTES_MAX));
        Some(Change::Upsert(Interaction { edited: Some(at), ..self.interaction(&told) }))
    }

    fn told<'m>(&self, event: &Json, of: &'m Json, mid: String, at: Timestamp, text: String) -> Told<'m> {
        let (sender, recipient) = (id_in(event, "sender"), id_in(event, "recipient"));
        let is_echo = of.get("is_echo").and_then(Json::as_bool).unwrap_or(false);
        let is_ours = is_echo || sender.as_deref() == Some(self.owner);
        Told { mid, person: if is_ours { recipient } else { sender }, is_ours, at, text, of }
    }

    fn interaction(&self, told: &Told<'_>) -> Interaction {
        // Only Messenger gives back what was sent along.
        let key = told.of.get("metadata").and_then(Json::as_str).filter(|key| !key.is_empty() && key.len() <= 2 * WORD_BYTES_MAX);
        let from = if told.is_ours { Some(json!({ "id": self.owner })) } else { told.of.get("from").cloned() };
        let from = from.or_else(|| told.person.as_ref().map(|person| json!({ "id": person })));
        let answers = told.of.pointer("/reply_to/mid").and_then(Json::as_str).filter(|mid| !mid.is_empty() && mid.len() <= ID_BYTES_MAX);
        let context = told.person.clone().map(|person| Context::Message { person, at: told.at });
        Interaction {
            author: author(from.as_ref(), self.owner),
            ours: if told.is_ours { Ours::Yes(key.map(str::to_owned)) } else { Ours::No },
            conversation: told.person.as_ref().map(|person| scoped(self.owner, format!("conversation/{person}"))),
            parent: answers.map(|mid| scoped(self.owner, mid)),
            text: told.text.clone(),
            attachments: attachments(told.of),
            reply_context: context.filter(|_| !told.is_ours).and_then(|context| context.to_text()),
            ..blank(scoped(self.owner, told.mid.as_str()), "direct", "direct", told.at)
        }
    }

    /// One page of conversations, or one of what was left of one before. `floor`: nothing older is told. `room`: changes wanted.
    pub fn poll(&self, walk: &mut Walk, rests: &mut Vec<Rest>, floor: Timestamp, room: usize) -> Result<Vec<Change>> {
        if let Some(rest) = rests.last().cloned() {
            let limit = room.clamp(1, 100).to_string();
            let page = self.graph.list(&[&rest.conversation, "messages"], &[("fields", FIELDS), ("limit", &limit)], Some(&rest.next));
            let others = [("platform", self.platform.word()), ("fields", "id,messages.limit(1){id}"), ("limit", "1")];
            let page = page.map_err(|fault| self.graph.of_one(fault, &[self.node], "conversations", &others));
            if let Err(Fault::Permanent(detail)) = &page {
                // It is gone, or goes on from there no more: the others must not wait for it.
                rests.pop();
                let reason = "a conversation: the network does not go on from where the last poll ended";
                let body = json!({ "reason": reason, "conversation": rest.conversation, "until": rest.until, "answer": detail.message });
                return Ok(vec![note("gap", &body)]);
            }
            let page = page?;
            rests.pop();
            let changes = page.items.iter().filter_map(|json| self.read(json, Some(rest.person.clone()), rest.until)).collect();
            let is_read = page.items.iter().filter_map(|json| moment(json, "created_time")).any(|at| at < rest.until);
            rests.extend(page.next.filter(|_| !is_read).map(|next| Rest { next, ..rest }));
            return Ok(changes);
        }
        let limit = (room / MESSAGES).clamp(1, CONVERSATIONS).to_string();
        let fields = format!("id,updated_time,participants,messages.limit({MESSAGES}){{{FIELDS}}}");
        let query = [("platform", self.platform.word()), ("fields", fields.as_str()), ("limit", limit.as_str())];
        let mut changes = Vec::new();
        let Some(page) = walk.page(self.graph, &[self.node, "conversations"], &query, &mut changes)? else { return Ok(changes) };
        let since = floor.max(walk.since.saturating_sub(OVERLAP_MS));
        let is_new = |conversation: &&Json| moment(conversation, "updated_time").is_none_or(|at| at >= since);
        for conversation in page.items.iter().filter(is_new) {
            let until = floor.max(walk.back_to(moment(conversation, "updated_time")).saturating_sub(OVERLAP_MS));
            let person = edge(conversation, "participants").iter().filter_map(|one| id(one, "id")).find(|id| id != self.owner);
            let messages = edge(conversation, "messages");
            changes.extend(messages.iter().filter_map(|json| self.read(json, person.clone(), until)));
            let is_read = messages.iter().filter_map(|json| moment(json, "created_time")).any(|at| at < until);
            let next = conversation.get("messages").map(listed).transpose()?.and_then(|messages| messages.next).filter(|_| !is_read);
            let more = next.zip(id(conversation, "id")).zip(person);
            rests.extend(more.map(|((next, conversation), person)| Rest { conversation, person, next, until }));
        }
        walk.step(&page, true, |conversation| moment(conversation, "updated_time"));
        Ok(changes)
    }

    /// A message as the API tells it; none where it is older.
    fn read(&self, json: &Json, person: Option<String>, until: Timestamp) -> Option<Change> {
        let at = moment(json, "created_time");
        if at.is_some_and(|at| at < until) {
            return None;
        }
        let (Some(mid), Some(at)) = (id(json, "id"), at) else {
            return Some(unreadable(
                json,
                self.owner,
                &format!("message/{}", id(json, "id").unwrap_or_default()),
                "a message without an id or a date",
            ));
        };
        let from = id_in(json, "from");
        let is_ours = from.as_deref() == Some(self.owner);
        let person = if is_ours { person.or_else(|| edge(json, "to").first().and_then(|to| id(to, "id"))) } else { from.or(person) };
        let told = Told { mid, person, is_ours, at, text: text(json, "message", TEXT_BYTES_MAX), of: json };
        Some(Change::Upsert(self.interaction(&told)))
    }

    /// Answers `person`, who wrote at `at`. What a person of the company wrote may go out for longer than what a rule did.
    pub fn send(&self, key: &str, message: &Message, person: &str, at: Timestamp) -> Result<Receipt> {
        self.platform.within(&message.text)?;
        let now = clock::now();
        let mut age = now.saturating_sub(at);
        if age >= DAY_MS {
            // They may have written again since.
            age = now.saturating_sub(self.last_heard(person)?.unwrap_or(at).max(at));
        }
        let kind = match age {
            0..DAY_MS => json!({ "messaging_type": "RESPONSE" }),
            DAY_MS..HUMAN_MS if !message.automatic => json!({ "messaging_type": "MESSAGE_TAG", "tag": "HUMAN_AGENT" }),
            _ => return Err(Fault::permanent("meta.window-closed", "the time in which the network takes a message is over")),
        };
        self.post(key, message, &json!({ "id": person }), kind)
    }

    /// Answers a comment of `at` in private: once, and not for long.
    pub fn reply_in_private(&self, key: &str, message: &Message, comment: &str, at: Timestamp) -> Result<Receipt> {
        self.platform.within(&message.text)?;
        if clock::now().saturating_sub(at) >= PRIVATE_REPLY_MS {
            return Err(Fault::permanent("meta.window-closed", "a comment can be answered in private for 7 days"));
        }
        self.post(key, message, &json!({ "comment_id": comment }), json!({ "messaging_type": "RESPONSE" }))
    }

    fn post(&self, key: &str, message: &Message, recipient: &Json, mut body: Json) -> Result<Receipt> {
        let said = match self.platform {
            Platform::Messenger => json!({ "text": message.text, "metadata": key }),
            Platform::Instagram => json!({ "text": message.text }),
        };
        if let Some(body) = body.as_object_mut() {
            body.insert("recipient".to_owned(), recipient.clone());
            body.insert("message".to_owned(), said);
        }
        let answer = self.graph.post(&[self.node, "messages"], &[], &body)?;
        Ok(say::receipt(scoped(self.owner, made(&answer, "message_id")?)))
    }

    /// Says whether the message to this person is there.
    pub fn probe(&self, message: &Message, person: &str) -> Result<(Sent, Option<Receipt>)> {
        // Some conversations are not shown: that proves nothing.
        let Some(conversation) = self.conversation(person)? else { return Ok((Sent::Unknown, None)) };
        let place = Place {
            at: &[&conversation, "messages"],
            query: &[("fields", FIELDS), ("limit", "50")],
            text: "message",
            time: "created_time",
            is_newest_first: true,
        };
        let (sent, found) = look_for(self.graph, &place, message, |json| id_in(json, "from").map(|from| from == self.owner))?;
        Ok((sent, found.map(|mid| say::receipt(scoped(self.owner, mid)))))
    }

    fn conversation(&self, person: &str) -> Result<Option<String>> {
        let query = [("platform", self.platform.word()), ("user_id", person), ("fields", "id")];
        let page = self.graph.list(&[self.node, "conversations"], &query, None)?;
        Ok(page.items.iter().find_map(|conversation| id(conversation, "id")))
    }

    /// When this person wrote last; none where that is not among the last messages. Units: milliseconds since 1970.
    fn last_heard(&self, person: &str) -> Result<Option<Timestamp>> {
        let Some(conversation) = self.conversation(person)? else { return Ok(None) };
        let page = self.graph.list(&[&conversation, "messages"], &[("fields", "id,created_time,from"), ("limit", "50")], None)?;
        let theirs = page.items.iter().filter(|json| id_in(json, "from").as_deref() == Some(person));
        Ok(theirs.filter_map(|json| moment(json, "created_time")).max())
    }
}

/// Whom a private answer to a comment goes to: none where only a name is known.
pub fn person_of(message: &Message) -> Option<String> {
    let author = message.to.as_ref()?.author.as_ref()?;
    Some(author.native.id.clone()).filter(|_| !author.native.scope.ends_with("#username"))
}

/// Says whether this has the form of an id: letters, digits, `_`, `.` and `-`.
pub fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= WORD_BYTES_MAX && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}
