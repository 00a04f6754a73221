//! Posts as the API shows them: only the fields that were asked for, by the new names or the old, and what they refer to beside
//! them. What cannot be shown is told in `errors`, with status 200.

use serde_json::{Map, Value, json};

use super::state::{Network, Post, names_in};

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    fields: Vec<String>,
    expansions: Vec<String>,
    /// By the old names.
    is_old: bool,
}

impl Wish {
    pub(super) fn of(query: &[(String, String)]) -> Self {
        let list = |name: &str| {
            let values = query.iter().filter(|(known, _)| known == name).flat_map(|(_, value)| value.split(','));
            values.map(str::to_owned).collect::<Vec<_>>()
        };
        let old = list("tweet.fields");
        let is_old = !old.is_empty();
        Self { fields: if is_old { old } else { list("post.fields") }, expansions: list("expansions"), is_old }
    }

    /// Everything, as webhooks and streams send it.
    pub(super) fn whole(is_old: bool) -> Self {
        let fields = ["created_at", "conversation_id", "entities", "lang", "attachments", "public_metrics", "note_post", "note_tweet"];
        let names = ["author_id", "in_reply_to_user_id", "attachments.media_keys", "referenced_posts", "referenced_tweets.id"];
        Self { fields: fields.map(str::to_owned).to_vec(), expansions: names.map(str::to_owned).to_vec(), is_old }
    }

    fn wants(&self, name: &str) -> bool {
        let is = |one: &String| one == name;
        self.fields.iter().any(is) || self.expansions.iter().any(is)
    }

    fn wants_references(&self) -> bool {
        ["referenced_posts", "referenced_tweets", "referenced_tweets.id"].iter().any(|name| self.wants(name))
    }
}

/// A list with what belongs to it; without `data` where it is empty.
pub(super) fn answer(network: &Network, posts: &[&Post], wish: &Wish) -> Map<String, Value> {
    let mut all = Map::new();
    if !posts.is_empty() {
        all.insert("data".to_owned(), posts.iter().map(|post| shown(network, post, wish)).collect());
    }
    let (includes, errors) = includes(network, posts, wish);
    if !includes.is_empty() {
        all.insert("includes".to_owned(), includes.into());
    }
    if !errors.is_empty() {
        all.insert("errors".to_owned(), errors.into());
    }
    all
}

/// One post.
pub(super) fn shown(network: &Network, post: &Post, wish: &Wish) -> Value {
    let is_long = post.text.chars().count() > 280;
    let short: String = if is_long { post.text.chars().take(270).chain(['…']).collect() } else { post.text.clone() };
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let history = if wish.is_old { "edit_history_tweet_ids" } else { "edit_history_post_ids" };
    let mut all = json!({ "id": post.id, "text": escaped(&short), history: post.history });
    let mut put = |name: &str, value: Value| {
        if let Some(fields) = all.as_object_mut() {
            fields.insert(name.to_owned(), value);
        }
    };
    let parent = post.answers.as_deref().and_then(|id| network.find(id));
    let has = |name: &str| wish.wants(name);
    if has("author_id") {
        put("author_id", network.id_of(&post.author).into());
    }
    if has("created_at") {
        put("created_at", written(post.at).into());
    }
    if has("conversation_id") {
        put("conversation_id", network.conversation_of(post).into());
    }
    if let (true, Some(parent)) = (has("in_reply_to_user_id"), parent) {
        put("in_reply_to_user_id", network.id_of(&parent.author).into());
    }
    if has("lang") {
        put("lang", post.lang.clone().into());
    }
    if has("entities") && names_in(&post.text).next().is_some() {
        put("entities", json!({ "mentions": mentions(network, &post.text) }));
    }
    if has("public_metrics") {
        let reposts = if wish.is_old { "retweet_count" } else { "repost_count" };
        put("public_metrics", json!({ reposts: 0, "reply_count": 0, "like_count": 0, "quote_count": 0, "bookmark_count": 0, "impression_count": 0 }));
    }
    if is_long && (has("note_post") || has("note_tweet")) {
        put(if wish.is_old { "note_tweet" } else { "note_post" }, json!({ "text": escaped(&post.text) }));
    }
    if has("attachments.media_keys") && !post.media.is_empty() {
        put("attachments", json!({ "media_keys": post.media }));
    }
    let references = references(post);
    if wish.wants_references() && !references.is_empty() {
        let listed: Vec<Value> = references.iter().map(|(kind, id)| json!({ "type": kind, "id": id })).collect();
        put(if wish.is_old { "referenced_tweets" } else { "referenced_posts" }, listed.into());
    }
    all
}

fn references(post: &Post) -> Vec<(&'static str, &str)> {
    [("replied_to", &post.answers), ("quoted", &post.quotes)].into_iter().filter_map(|(kind, id)| Some((kind, id.as_deref()?))).collect()
}

fn mentions(network: &Network, text: &str) -> Vec<Value> {
    let shown = |(at, name): (usize, &str)| json!({ "start": at, "end": at + 1 + name.len(), "username": name, "id": network.id_of(name) });
    names_in(text).map(shown).collect()
}

fn includes(network: &Network, posts: &[&Post], wish: &Wish) -> (Map<String, Value>, Vec<Value>) {
    let (mut users, mut others, mut media, mut errors) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut user = |name: &str| {
        let shown = network.user(name);
        if !users.contains(&shown) {
            users.push(shown);
        }
    };
    for post in posts {
        if wish.wants("author_id") {
            user(&post.author);
        }
        if wish.wants_references() {
            for (_, id) in references(post) {
                match network.find(id).filter(|_| !network.withheld.contains(id)) {
                    Some(other) => others.push(shown(network, other, wish)),
                    None => errors.push(not_found(id, if wish.is_old { "referenced_tweets.id" } else { "referenced_posts" })),
                }
            }
        }
        if wish.wants("attachments.media_keys") {
            let picture =
                |key: &String| json!({ "media_key": key, "type": "photo", "url": format!("https://pbs.example/{key}.jpg"), "alt_text": "a picture" });
            media.extend(post.media.iter().map(picture));
        }
    }
    others.dedup();
    let names = [("users", users), (if wish.is_old { "tweets" } else { "posts" }, others), ("media", media)];
    let all = names.into_iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| (name.to_owned(), Value::from(list)));
    (all.collect(), errors)
}

/// A partial error.
pub(super) fn not_found(id: &str, parameter: &str) -> Value {
    json!({
        "title": "Not Found Error", "type": "https://api.x.com/2/problems/resource-not-found", "resource_type": "tweet", "resource_id": id,
        "parameter": parameter, "value": id, "detail": format!("Could not find tweet with {parameter}: [{id}]."),
    })
}

/// RFC 3339 with milliseconds.
pub(super) fn written(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map(|at| format!("{at:.3}")).unwrap_or_default()
}

/// A post as webhooks of v1.1 have it: its number is rounded, its long text elsewhere.
pub(super) fn old(network: &Network, post: &Post) -> Value {
    let number = post.id.parse::<u64>().map_or(0, |id| id / 1000 * 1000);
    let user = |name: &str| {
        json!({ "id_str": network.id_of(name), "name": network.user(name).get("name"), "screen_name": name, "verified": false, "protected": false,
            "followers_count": 12, "friends_count": 7, "statuses_count": 90, "listed_count": 1 })
    };
    let named: Vec<Value> = mentions(network, &post.text)
        .iter()
        .map(|one| json!({ "screen_name": one["username"], "id_str": one["id"], "indices": [one["start"], one["end"]] }))
        .collect();
    let parent = post.answers.as_deref().and_then(|id| network.find(id));
    let is_long = post.text.chars().count() > 140;
    let short: String = if is_long { post.text.chars().take(130).chain(['…']).collect() } else { post.text.clone() };
    let mut all = json!({
        "created_at": old_date(post.at), "id": number, "id_str": post.id, "text": short, "truncated": is_long, "lang": post.lang,
        "timestamp_ms": post.at.to_string(), "user": user(&post.author), "entities": { "user_mentions": named },
        "in_reply_to_status_id_str": post.answers, "in_reply_to_user_id_str": parent.map(|parent| network.id_of(&parent.author)),
        "edit_history": { "initial_tweet_id": post.history.first(), "edit_tweet_ids": post.history },
    });
    if let (true, Some(fields)) = (is_long, all.as_object_mut()) {
        fields.insert("extended_tweet".to_owned(), json!({ "full_text": post.text, "entities": { "user_mentions": named } }));
    }
    all
}

/// `Mon May 19 14:01:46 +0000 2025`.
fn old_date(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map(|at| at.strftime("%a %b %d %H:%M:%S +0000 %Y").to_string()).unwrap_or_default()
}
