//! A post as an interaction, whichever generation of the API it comes in: v2 (`id`, `note_tweet` or `note_post`), v1.1 (`id_str`,
//! `extended_tweet`), or an activity's payload.
//!
//! An edit is a post of its own with a new id, and the history of all its ids. The first of them stands for the thing: it is
//! the interaction's native id in every version, the others are its `aka`. So the host sees one interaction with revisions,
//! and whoever answers or deletes any version reaches the same one.

use std::collections::BTreeMap;

use membrana_sdk::connector::{Author, Interaction, Ours};
use membrana_sdk::text::cut;
use membrana_sdk::{Attachment, NativeId, clock};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::ids::{compare, moment, moment_of};
use crate::media;
use crate::shapes::{NAME_BYTES_MAX, TEXT_BYTES_MAX, URL_BYTES_MAX, WORD_BYTES_MAX};
use crate::shapes::{count, either, id, id_in, items, language, list, plain, text, unwrapped, whole};

/// Of an edit history; X allows five edits.
const VERSIONS_MAX: usize = 32;
/// Looked through for our own name.
const MENTIONS_MAX: usize = 200;

/// The company's accounts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Own {
    pub(crate) ids: Vec<String>,
    pub(crate) username: String,
    /// The contract with X allows answers to anyone.
    pub(crate) answers_anyone: bool,
}

impl Own {
    pub(crate) fn is(&self, id: Option<&str>) -> bool {
        id.is_some_and(|id| self.ids.iter().any(|own| own == id))
    }

    fn is_named(&self, mention: &Json) -> bool {
        let name = whole(mention, "username", NAME_BYTES_MAX).or_else(|| whole(mention, "screen_name", NAME_BYTES_MAX));
        self.is(id(mention, "id").as_deref()) || name.is_some_and(|name| !self.username.is_empty() && name.eq_ignore_ascii_case(&self.username))
    }
}

/// What comes beside posts: users, posts and media that they refer to.
#[derive(Debug)]
pub(crate) struct Includes<'j> {
    json: &'j Json,
    /// By id: every post of a page asks for its author.
    users: BTreeMap<&'j str, &'j Json>,
}

impl<'j> Includes<'j> {
    /// Of an answer or a payload; empty where there are none.
    pub(crate) fn of(json: Option<&'j Json>) -> Self {
        let json = json.unwrap_or(&Json::Null);
        let mut users = BTreeMap::new();
        for user in list(json, "users").iter().map(unwrapped) {
            if let Some(id) = id_in(user, "id") {
                users.entry(id).or_insert(user);
            }
        }
        Self { json, users }
    }

    pub(crate) fn user(&self, wanted: &str) -> Option<&'j Json> {
        self.users.get(wanted).copied()
    }

    pub(crate) fn post(&self, wanted: &str) -> Option<&'j Json> {
        items(either(self.json, ["posts", "tweets"])).iter().map(unwrapped).find(|post| id_in(post, "id") == Some(wanted))
    }

    pub(crate) fn media(&self, wanted: &str) -> Option<&'j Json> {
        list(self.json, "media").iter().find(|media| text(media, "media_key", WORD_BYTES_MAX) == Some(wanted))
    }
}

/// What an answer will need.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReplyContext {
    /// The post's, of the version that was read; none where it is a direct message.
    #[serde(default)]
    pub(crate) post: Option<String>,
    /// Whom a direct message goes to.
    #[serde(default)]
    pub(crate) author: Option<String>,
    /// The author mentioned or quoted us: X allows a reply to no other.
    #[serde(default)]
    pub(crate) summoned: bool,
}

impl ReplyContext {
    pub(crate) fn encoded(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

/// A post as it was read.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) interaction: Interaction,
    /// The version's own id.
    pub(crate) id: String,
    /// The original's.
    pub(crate) first: String,
}

/// A post's name on the network.
pub(crate) fn native(id: &str) -> NativeId {
    NativeId { scope: String::new(), id: id.to_owned() }
}

/// What a post refers to.
#[derive(Debug, Default)]
struct Refers {
    replied_to: Option<String>,
    quoted: Option<String>,
    reposted: Option<String>,
}

impl Refers {
    fn of(json: &Json) -> Self {
        let listed = items(either(json, ["referenced_posts", "referenced_tweets"]));
        let of = |kind: &str| listed.iter().find(|one| text(one, "type", WORD_BYTES_MAX) == Some(kind)).and_then(|one| id(one, "id"));
        let old = |keys: &[&str]| keys.iter().find_map(|key| id(json, key));
        let reposted = || json.get("retweeted_status").and_then(|status| id(status, "id"));
        Self {
            replied_to: of("replied_to").or_else(|| old(&["in_reply_to_status_id", "in_reply_to_tweet_id", "in_reply_to_post_id"])),
            quoted: of("quoted").or_else(|| old(&["quoted_status_id", "quoted_tweet_id"])),
            reposted: of("retweeted").or_else(|| of("reposted")).or_else(reposted),
        }
    }
}

impl Post {
    /// None where it has no id or no text.
    pub(crate) fn of(json: &Json, includes: &Includes<'_>, own: &Own) -> Option<Self> {
        let own_id = id(json, "id")?;
        let said = words(json)?;
        let versions = versions(json, &own_id);
        let first = versions.first()?.clone();
        let refers = Refers::of(json);
        let user = json.get("user").filter(|user| user.is_object());
        let author_id = id(json, "author_id").or_else(|| user.and_then(|user| id(user, "id")));
        let user = user.or_else(|| includes.user(author_id.as_deref()?));
        let is_own = own.is(author_id.as_deref());
        let summons = Summons::of(json, includes, own, &refers);
        let is_protected = user.and_then(|user| user.get("protected")).and_then(Json::as_bool).unwrap_or(false);
        let (occurred, edited) = times(json, &own_id, &first);
        // Whoever passes on what another said says nothing, and asks nothing of us.
        let is_repost = refers.reposted.is_some();
        let summoned = !is_repost && (is_own || summons.any());
        let context = ReplyContext { post: Some(own_id.clone()), author: author_id.clone(), summoned };
        let username = user.and_then(username);
        let interaction = Interaction {
            native: native(&first),
            aka: versions.iter().filter(|version| **version != first).map(|version| native(version)).collect(),
            kind: kind(&refers, &summons).to_owned(),
            visibility: if is_protected { "followers" } else { "public" }.to_owned(),
            author: author_id.as_deref().map(|id| author(id, user)),
            ours: if is_own { Ours::Yes(None) } else { Ours::No },
            automated: "no".to_owned(),
            conversation: id(json, "conversation_id").map(|id| native(&id)),
            parent: refers.replied_to.as_deref().map(native),
            refs: Vec::new(),
            subject: None,
            quoted: quoted(json, includes, &refers, &said),
            text: if is_repost { String::new() } else { said },
            language: whole(json, "lang", WORD_BYTES_MAX).and_then(language),
            url: Some(format!("https://x.com/{}/status/{own_id}", username.unwrap_or("i"))),
            attachments: media::of_post(json, includes),
            place: None,
            side: None,
            campaign: None,
            occurred,
            edited,
            reply_context: context.encoded(),
            attrs: attrs(&refers, user, summoned || own.answers_anyone && !is_repost),
        };
        Some(Self { interaction, id: own_id, first })
    }
}

/// The whole text: long posts have it elsewhere.
fn words(json: &Json) -> Option<String> {
    let note = || text(either(json, ["note_post", "note_tweet"]), "text", TEXT_BYTES_MAX);
    let extended = || text(json.get("extended_tweet")?, "full_text", TEXT_BYTES_MAX);
    let short = || text(json, "full_text", TEXT_BYTES_MAX).or_else(|| text(json, "text", TEXT_BYTES_MAX));
    note().or_else(extended).or_else(short).map(|text| cut(&plain(text), TEXT_BYTES_MAX).to_owned())
}

/// All ids of the post, the original's first; its own is always there.
fn versions(json: &Json, own_id: &str) -> Vec<String> {
    let old = json.get("edit_history").map(|history| list(history, "edit_tweet_ids")).unwrap_or_default();
    let new = items(either(json, ["edit_history_post_ids", "edit_history_tweet_ids"]));
    let listed = new.iter().chain(old).take(VERSIONS_MAX).filter_map(Json::as_str).filter(|text| crate::ids::is_id(text));
    let mut all: Vec<String> = listed.map(str::to_owned).collect();
    all.push(own_id.to_owned());
    all.sort_by(|a, b| compare(a, b));
    all.dedup();
    all
}

/// When it was said, and when this version was.
fn times(json: &Json, own_id: &str, first: &str) -> (u64, Option<u64>) {
    let created = text(json, "created_at", WORD_BYTES_MAX).and_then(moment).or_else(|| id(json, "timestamp_ms").and_then(|ms| ms.parse().ok()));
    let of_version = created.or_else(|| moment_of(own_id)).unwrap_or_else(clock::now);
    if own_id == first {
        return (of_version, None);
    }
    (moment_of(first).unwrap_or(of_version).min(of_version), Some(of_version))
}

/// How a post addresses us.
#[derive(Debug, Default)]
struct Summons {
    is_mention: bool,
    is_quote: bool,
    is_reply_to_us: bool,
}

impl Summons {
    fn of(json: &Json, includes: &Includes<'_>, own: &Own, refers: &Refers) -> Self {
        let quoted = || {
            let status = json.get("quoted_status").or_else(|| includes.post(refers.quoted.as_deref()?))?;
            id(status, "author_id").or_else(|| status.get("user").and_then(|user| id(user, "id")))
        };
        Self {
            is_mention: mentions(json).take(MENTIONS_MAX).any(|mention| own.is_named(mention)),
            is_quote: own.is(quoted().as_deref()),
            is_reply_to_us: own.is(id(json, "in_reply_to_user_id").as_deref()),
        }
    }

    fn any(&self) -> bool {
        self.is_mention || self.is_quote || self.is_reply_to_us
    }
}

/// Of the post and of its long form, in both generations.
fn mentions(json: &Json) -> impl Iterator<Item = &Json> {
    let long = [either(json, ["note_post", "note_tweet"]), json.get("extended_tweet").unwrap_or(&Json::Null)];
    let entities = std::iter::once(json).chain(long).filter_map(|of| of.get("entities"));
    entities.flat_map(|entities| list(entities, "mentions").iter().chain(list(entities, "user_mentions")))
}

fn kind(refers: &Refers, summons: &Summons) -> &'static str {
    if refers.reposted.is_some() {
        "share"
    } else if summons.is_reply_to_us {
        "reply"
    } else if summons.is_mention || summons.is_quote {
        "mention"
    } else if refers.replied_to.is_some() {
        "reply"
    } else {
        "post"
    }
}

/// What it shows of others. Where what is reposted is not there, it is what stands as the text of the repost: `RT @anna: ...`.
fn quoted(json: &Json, includes: &Includes<'_>, refers: &Refers, said: &str) -> Option<String> {
    let of = |id: &str, embedded: &str| includes.post(id).or_else(|| json.get(embedded)).and_then(words);
    match (&refers.reposted, &refers.quoted) {
        (Some(id), _) => of(id, "retweeted_status").or_else(|| Some(said.to_owned())),
        (None, Some(id)) => of(id, "quoted_status"),
        (None, None) => None,
    }
}

fn username(user: &Json) -> Option<&str> {
    whole(user, "username", WORD_BYTES_MAX).or_else(|| whole(user, "screen_name", WORD_BYTES_MAX))
}

/// The account, by its id alone where X does not show it any more.
pub(crate) fn author(id: &str, user: Option<&Json>) -> Author {
    let username = user.and_then(username);
    let metrics = user.map(|user| user.get("public_metrics").unwrap_or(user));
    let known = [
        ("followers", ["followers_count", "followers_count"]),
        ("following", ["following_count", "friends_count"]),
        ("posts", ["post_count", "tweet_count"]),
        ("listed", ["listed_count", "listed_count"]),
    ];
    let measured = known.iter().filter_map(|(name, keys)| count(metrics?, *keys).map(|count| ((*name).to_owned(), count)));
    let mut metrics: Vec<(String, f64)> = measured.collect();
    if let Some(posts) = user.and_then(|user| count(user, ["statuses_count", "statuses_count"])) {
        metrics.push(("posts".to_owned(), posts));
    }
    Author {
        native: native(id),
        handle: username.map(|name| format!("@{name}")),
        name: user.and_then(|user| text(user, "name", NAME_BYTES_MAX)).filter(|name| !name.is_empty()).map(str::to_owned),
        url: username.map(|name| format!("https://x.com/{name}")).filter(|url| url.len() <= URL_BYTES_MAX),
        email: None,
        phone: None,
        assurance: None,
        automated: false,
        metrics,
    }
}

/// What has no field of its own, and does not change by itself.
fn attrs(refers: &Refers, user: Option<&Json>, may_be_answered: bool) -> Vec<(String, String)> {
    let verified = user.and_then(|user| user.get("verified")).and_then(Json::as_bool);
    let kind = user.and_then(|user| whole(user, "verified_type", WORD_BYTES_MAX)).filter(|kind| *kind != "none");
    let pairs = [
        // By this the host knows before a send that X would take an answer.
        ("summoned", may_be_answered.then(|| "yes".to_owned())),
        ("x.author-verified", verified.map(|verified| verified.to_string())),
        ("x.author-verified-type", kind.map(str::to_owned)),
        ("x.quotes", refers.quoted.clone()),
        ("x.reposts", refers.reposted.clone()),
    ];
    pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// The plain file behind an address that X gives, if it is one.
pub(crate) fn attachment(name: Option<&str>, media_type: &str, url: Option<&str>) -> Attachment {
    Attachment {
        name: name.filter(|name| !name.is_empty()).map(str::to_owned),
        media_type: media_type.to_owned(),
        size: None,
        url: url.filter(|url| url.starts_with("https://") || url.starts_with("http://")).map(str::to_owned),
        media_ref: None,
    }
}
