//! Connector `x`: what is said of the company on X (Twitter), by recent search, mentions, webhooks and streams; replies, direct
//! messages, and hiding of replies.
//!
//! It does no OAuth and keeps no connection: the host adds the credentials `app` (what anybody may read) and `user` (the
//! account's own), verifies webhooks and holds the stream. Likes and follows are notes, for nothing is said by them.

mod api;
mod direct;
mod events;
mod faults;
mod ids;
mod length;
mod media;
mod post;
mod revisions;
mod rules;
mod say;
mod shapes;
mod walk;
mod watch;

use membrana_sdk::connector::{Change, Message, Origin, Page, Raw, Receipt, Sent, Subscription};
use membrana_sdk::json;
use membrana_sdk::{Connector, Fault, Finding, Result, Stream, Surroundings, finding_error, finding_info, register_connector, register_stream};
use serde::Deserialize;
use url::Url;

use api::Api;
use post::Own;
use walk::Source;

/// What a post may weigh. Source: X, counting characters.
const LENGTH_MAX: usize = 280;
/// A rule of the stream. Units: characters.
const RULE_CHARS_MAX: usize = 1024;
/// X gives a sign of life each 20 s; the next one may be late. Source: X, filtered stream.
const KEEP_ALIVE_MS: u32 = 30_000;
/// What may be asked in a query, for the smallest contract. Units: characters.
const QUERY_CHARS_SURE: usize = 512;

/// Fields as requests name them since 2026: those that are not in this list come with their expansion.
const POST_FIELDS: &str = "post.fields=attachments,conversation_id,created_at,entities,lang,note_post,text\
    &expansions=attachments.media_keys,author_id,edit_history_post_ids,in_reply_to_user_id,referenced_posts";
/// As they were called before.
const TWEET_FIELDS: &str = "tweet.fields=attachments,author_id,conversation_id,created_at,edit_history_tweet_ids,entities,\
    in_reply_to_user_id,lang,note_tweet,referenced_tweets,text\
    &expansions=attachments.media_keys,author_id,in_reply_to_user_id,referenced_tweets.id";
/// The same in both.
const OTHER_FIELDS: &str = "user.fields=name,protected,public_metrics,username,verified,verified_type\
    &media.fields=alt_text,media_key,preview_image_url,type,url,variants";

/// The connector.
pub struct X;

/// Its section of the configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    /// The API: `https://api.x.com`.
    pub(crate) base_url: String,
    /// What recent search looks for; absent: no search. `(acme OR acmebank) -is:retweet`.
    #[serde(default)]
    pub(crate) query: Option<String>,
    /// Mentions of the account are walked as well; default true.
    #[serde(default)]
    mentions: Option<bool>,
    /// `skip` (the default): from now on; `import`: what X still shows, as history.
    #[serde(default)]
    first_fetch: Option<String>,
    /// The filtered stream is listened to, and its rules are kept in step with `rules`; default false.
    #[serde(default)]
    pub(crate) stream: bool,
    /// Rules of the stream; default: the query. `["@acme -is:retweet"]`.
    #[serde(default)]
    rules: Vec<String>,
    /// What marks this channel's rules among the app's; default `membrana`.
    #[serde(default)]
    tag: Option<String>,
    /// Ids of further accounts of the company. `["42"]`.
    #[serde(default)]
    own_ids: Vec<String>,
    /// The contract with X allows replies to who did not summon us; default false.
    #[serde(default)]
    pub(crate) answer_anyone: bool,
    /// Deletions are learnt by asking for the last posts again each hour; default false.
    #[serde(default)]
    pub(crate) look_again: bool,
    /// What a post may weigh; default 280.
    #[serde(default)]
    length_max: Option<usize>,
    /// `post` (the default) or `tweet`: how requests name fields.
    #[serde(default)]
    field_names: Option<String>,
}

impl Section {
    fn read() -> Result<Self> {
        json::section("x")
    }

    pub(crate) fn sources(&self) -> Vec<Source> {
        let search = self.query.is_some().then_some(Source::Search);
        let mentions = self.mentions.unwrap_or(true).then_some(Source::Mentions);
        search.into_iter().chain(mentions).collect()
    }

    pub(crate) fn is_history_wanted(&self) -> bool {
        self.first_fetch.as_deref() == Some("import")
    }

    pub(crate) fn stream_rules(&self) -> Vec<String> {
        if self.rules.is_empty() { self.query.iter().cloned().collect() } else { self.rules.clone() }
    }

    pub(crate) fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or("membrana")
    }

    pub(crate) fn length_max(&self) -> usize {
        self.length_max.unwrap_or(LENGTH_MAX)
    }

    /// What is asked of each post.
    pub(crate) fn fields(&self) -> String {
        let of_posts = if self.field_names.as_deref() == Some("tweet") { TWEET_FIELDS } else { POST_FIELDS };
        format!("{of_posts}&{OTHER_FIELDS}")
    }

    /// The company's accounts: whose token it is first. Errors: of the call that asks.
    pub(crate) fn own(&self, api: &Api, more: &[String]) -> Result<Own> {
        let me = api.me()?;
        let ids = std::iter::once(&me.id).chain(&self.own_ids).chain(more).cloned().collect();
        Ok(Own { ids, username: me.username, answers_anyone: self.answer_anyone })
    }

    fn mistakes(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if !Url::parse(&self.base_url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.path() == "/") {
            let cure = "write https://api.x.com, without a path";
            found.push(finding_error("base_url", format!("`{}` is not the address of an API", self.base_url), cure));
        }
        if self.query.as_ref().is_some_and(|query| query.chars().count() > QUERY_CHARS_SURE) {
            let message = format!("the query has over {QUERY_CHARS_SURE} characters, which small plans of X do not take");
            found.push(finding_info("query", message, "shorten it, unless your plan allows more"));
        }
        if self.stream && self.stream_rules().is_empty() {
            found.push(finding_error("rules", "a stream without a rule brings nothing", "write rules = [\"@acme -is:retweet\"], or a query"));
        }
        for (n, _) in self.rules.iter().enumerate().filter(|(_, rule)| rule.chars().count() > RULE_CHARS_MAX) {
            found.push(finding_error(&format!("rules[{n}]"), format!("a rule has over {RULE_CHARS_MAX} characters"), "split it into several"));
        }
        found
    }
}

impl Connector for X {
    fn validate(config: &str, _around: &Surroundings) -> Vec<Finding> {
        match serde_json::from_str::<Section>(config) {
            Ok(section) => section.mistakes(),
            Err(error) => vec![finding_error("", error, "write base_url = \"https://api.x.com\"")],
        }
    }

    fn poll(cursor: Option<String>, max_items: u32, _max_bytes: u32) -> Result<Page> {
        walk::poll(&Section::read()?, cursor.as_deref(), max_items)
    }

    fn receive(raw: Raw) -> Result<Vec<Change>> {
        if let Origin::Item(_) = raw.origin {
            return Err(Fault::permanent("x.no-item", "this plugin hands nothing over to be read later"));
        }
        let section = Section::read()?;
        events::changes(&raw, |subscribed| section.own(&Api::new(&section), subscribed))
    }

    fn send(_key: &str, message: &Message) -> Result<Receipt> {
        let section = Section::read()?;
        say::send(&section, &Api::new(&section), message)
    }

    fn probe(_key: &str, message: &Message) -> Result<(Sent, Option<Receipt>)> {
        let section = Section::read()?;
        say::probe(&section, &Api::new(&section), message)
    }
}

impl Stream for X {
    fn open(_cursor: Option<String>) -> Result<Subscription> {
        let section = Section::read()?;
        if !section.stream {
            return Err(Fault::unsupported("this channel listens to no stream"));
        }
        // X opens no stream without a rule, and counts the attempt.
        if !rules::are_in_step() {
            return Err(Fault::transient("x.rules", "the rules of the stream are put in step by the first poll"));
        }
        Ok(Subscription {
            protocol: "ndjson".to_owned(),
            // The stream knows the older names alone. Source: X's OpenAPI 2.167.
            url: format!("{}/2/tweets/search/stream?{TWEET_FIELDS}&{OTHER_FIELDS}", section.base_url.trim_end_matches('/')),
            headers: Vec::new(),
            auth: Some(api::Who::App.credential().to_owned()),
            keep_alive_ms: KEEP_ALIVE_MS,
        })
    }
}

register_connector!(X);
register_stream!(X);

#[cfg(test)]
mod tests;
