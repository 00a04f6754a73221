//! What X keeps: accounts, posts with their versions, direct messages, rules of the stream, and the windows of its limits.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tokio::sync::broadcast;

/// When X began to count. Units: ms since 1970.
const EPOCH_MS: u64 = 1_288_834_974_657;
/// Of a window. Units: milliseconds.
const WINDOW_MS: u64 = 900_000;
/// How far back search goes. Units: milliseconds.
pub(super) const REACH_MS: u64 = 7 * 86_400_000;

/// A post as the network has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Post {
    /// Of this version.
    pub id: String,
    /// Of all versions, the original's first.
    pub history: Vec<String>,
    /// Who wrote it, without `@`.
    pub author: String,
    /// As it was written.
    pub text: String,
    /// The id of what it answers.
    pub answers: Option<String>,
    /// The id of what it quotes.
    pub quotes: Option<String>,
    /// Keys of its media.
    pub media: Vec<String>,
    /// As X guesses it.
    pub lang: String,
    /// Hidden by who began the conversation.
    pub is_hidden: bool,
    pub(super) at: u64,
    /// An older version: no list shows it.
    pub(super) is_replaced: bool,
}

/// A direct message.
#[derive(Debug, Clone, PartialEq)]
pub struct Direct {
    /// The event's.
    pub id: String,
    /// Who wrote it, without `@`.
    pub from: String,
    /// Whom it went to.
    pub to: String,
    /// As it was written.
    pub text: String,
    pub(super) at: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) value: String,
    pub(super) tag: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) app_token: String,
    pub(super) user_token: String,
    /// Units: ms since 1970.
    pub(super) now: u64,
    pub(super) posts: Vec<Post>,
    pub(super) directs: Vec<Direct>,
    pub(super) rules: Vec<Rule>,
    /// Lines of the stream; an empty one is the sign of life, none is the end.
    pub(super) lines: broadcast::Sender<Option<String>>,
    pub(super) is_capped: bool,
    /// Limits per window, by the beginning of a request's line.
    pub(super) limits: BTreeMap<String, u32>,
    /// Ids that are referred to and not shown.
    pub(super) withheld: BTreeSet<String>,
    /// When each window began, and how often it was used.
    windows: BTreeMap<String, (u64, u32)>,
    accounts: BTreeMap<String, String>,
    n_made: u64,
}

/// How one call stands with its limit.
pub(super) struct Allowed {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// Units: seconds since 1970.
    pub(super) reset: u64,
    pub(super) is_over: bool,
}

impl Network {
    pub(super) fn new(app_token: &str, user_token: &str, now: u64) -> Self {
        let limits = [("GET /2/tweets/search/recent", 450), ("GET /2/tweets/search/stream/rules", 450), ("POST /2/tweets/search/stream/rules", 100)];
        let more =
            [("GET /2/tweets/search/stream", 50), ("GET /2/users/me", 75), ("GET /2/users/", 300), ("GET /2/tweets", 450), ("POST /2/tweets", 100)];
        let last = [("PUT /2/tweets/", 50), ("GET /2/dm_", 15), ("POST /2/dm_", 15)];
        Self {
            app_token: app_token.to_owned(),
            user_token: user_token.to_owned(),
            now,
            posts: Vec::new(),
            directs: Vec::new(),
            rules: Vec::new(),
            lines: broadcast::channel(256).0,
            is_capped: false,
            limits: limits.into_iter().chain(more).chain(last).map(|(line, limit)| (line.to_owned(), limit)).collect(),
            withheld: BTreeSet::new(),
            windows: BTreeMap::new(),
            accounts: BTreeMap::new(),
            n_made: 0,
        }
    }

    /// A snowflake of now, above 2^53.
    pub(super) fn fresh(&mut self) -> String {
        self.n_made += 1;
        (((self.now - EPOCH_MS) << 22) + self.n_made).to_string()
    }

    pub(super) fn account_id(&mut self, name: &str) -> String {
        if let Some(known) = self.accounts.get(name) {
            return known.clone();
        }
        self.n_made += 1;
        let id = (1_500_000_000_000_000_000 + self.n_made).to_string();
        self.accounts.insert(name.to_owned(), id.clone());
        id
    }

    pub(super) fn id_of(&self, name: &str) -> String {
        self.accounts.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn name_of(&self, id: &str) -> Option<&str> {
        self.accounts.iter().find(|(_, known)| *known == id).map(|(name, _)| name.as_str())
    }

    /// Any version.
    pub(super) fn find(&self, id: &str) -> Option<&Post> {
        self.posts.iter().find(|post| post.id == id)
    }

    pub(super) fn add(&mut self, author: &str, text: &str, answers: Option<&str>, quotes: Option<&str>) -> Post {
        self.account_id(author);
        let mentioned: Vec<String> = names_in(text).map(|(_, name)| name.to_owned()).collect();
        for name in mentioned {
            self.account_id(&name);
        }
        let id = self.fresh();
        let post = Post {
            history: vec![id.clone()],
            id,
            author: author.to_owned(),
            text: text.to_owned(),
            answers: answers.map(str::to_owned),
            quotes: quotes.map(str::to_owned),
            media: Vec::new(),
            lang: "en".to_owned(),
            is_hidden: false,
            at: self.now,
            is_replaced: false,
        };
        self.posts.push(post.clone());
        post
    }

    /// A new version, which takes the old one's place in every list.
    pub(super) fn edit(&mut self, id: &str, text: &str) -> Option<Post> {
        let old = self.find(id)?.clone();
        let new = self.fresh();
        let history: Vec<String> = old.history.iter().cloned().chain([new.clone()]).collect();
        for post in self.posts.iter_mut().filter(|post| old.history.contains(&post.id)) {
            post.history.clone_from(&history);
            post.is_replaced = true;
        }
        let post = Post { id: new, history, text: text.to_owned(), at: self.now, is_replaced: false, ..old };
        self.posts.push(post.clone());
        Some(post)
    }

    /// All versions.
    pub(super) fn delete(&mut self, id: &str) {
        self.posts.retain(|post| !post.history.iter().any(|version| version == id));
    }

    pub(super) fn conversation_of(&self, post: &Post) -> String {
        let parent = |post: &Post| post.answers.as_deref().and_then(|id| self.find(id)).cloned();
        let root = std::iter::successors(Some(post.clone()), parent).take(1000).last();
        root.map_or_else(|| post.id.clone(), |root| root.answers.or(root.history.first().cloned()).unwrap_or_default())
    }

    /// Its author named this account, or quoted it.
    pub(super) fn summons(&self, post: &Post, name: &str) -> bool {
        let quoted = post.quotes.as_deref().and_then(|id| self.find(id));
        names_in(&post.text).any(|(_, named)| named.eq_ignore_ascii_case(name)) || quoted.is_some_and(|quoted| quoted.author == name)
    }

    /// Counts a call in its window. None where the path has no limit.
    pub(super) fn counted(&mut self, line: &str) -> Option<Allowed> {
        let (key, limit) = self.limits.iter().filter(|(key, _)| line.starts_with(key.as_str())).max_by_key(|(key, _)| key.len())?;
        let (limit, now) = (*limit, self.now);
        let window = self.windows.entry(key.clone()).or_insert((now, 0));
        if now >= window.0 + WINDOW_MS {
            *window = (now, 0);
        }
        let is_over = window.1 >= limit;
        window.1 += u32::from(!is_over);
        Some(Allowed { limit, remaining: limit - window.1, reset: (window.0 + WINDOW_MS).div_ceil(1000), is_over })
    }

    pub(super) fn user(&self, name: &str) -> Value {
        json!({
            "id": self.id_of(name), "name": capital(name), "username": name, "verified": name == super::US, "protected": false,
            "verified_type": if name == super::US { "business" } else { "none" },
            "public_metrics": { "followers_count": 12, "following_count": 7, "post_count": 90, "tweet_count": 90, "listed_count": 1 },
        })
    }
}

/// Each `@name` in a text, with where it begins in characters.
pub(super) fn names_in(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices('@').filter_map(|(at, _)| {
        let rest = text.get(at + 1..)?;
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = rest.get(..end).filter(|name| !name.is_empty())?;
        Some((text.get(..at)?.chars().count(), name))
    })
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}

/// When a snowflake was given out. Units: ms since 1970.
pub(super) fn moment_of(id: u64) -> u64 {
    (id >> 22) + EPOCH_MS
}
