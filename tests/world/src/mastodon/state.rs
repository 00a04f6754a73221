//! What the server keeps: statuses, who is told of them, and the keys that make a repeat the same post.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{DOMAIN, US};
use crate::form::escaped;
use crate::oauth::Oauth;
use crate::server::Ahead;
use crate::trouble::instant;

/// A status as the network has it.
#[derive(Debug, Clone)]
pub struct Post {
    /// Local to the server.
    pub id: String,
    /// `acme`, or `anna@people.example`.
    pub acct: String,
    /// As it was written.
    pub text: String,
    /// `public`, `unlisted`, `private`, `direct`.
    pub visibility: String,
    /// What it answers.
    pub in_reply_to: Option<String>,
    /// As declared.
    pub language: Option<String>,
    pub(super) created: String,
    pub(super) edited: Option<String>,
}

/// A status that is being written.
pub(super) struct Said<'s> {
    pub(super) acct: &'s str,
    pub(super) text: &'s str,
    pub(super) visibility: &'s str,
    pub(super) answers: Option<&'s str>,
    pub(super) language: Option<&'s str>,
}

/// See the module.
pub(super) struct Network {
    /// Empty: none.
    token: String,
    pub(super) logins: Option<Oauth>,
    /// In the order they were written.
    pub(super) statuses: Vec<Post>,
    /// Ids ascending, each with its status.
    pub(super) notifications: Vec<(u64, String)>,
    pub(super) keys: BTreeMap<String, String>,
    pub(super) bots: BTreeSet<String>,
    /// By status, where its pictures are.
    pub(super) pictures: BTreeMap<String, Vec<String>>,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    accounts: BTreeMap<String, String>,
    n_made: u64,
    pub(super) time: Ahead,
}

impl Network {
    pub(super) fn new(token: &str) -> Self {
        let accounts = BTreeMap::from([(US.to_owned(), "14715".to_owned())]);
        Self {
            token: token.to_owned(),
            logins: None,
            statuses: Vec::new(),
            notifications: Vec::new(),
            keys: BTreeMap::new(),
            bots: BTreeSet::new(),
            pictures: BTreeMap::new(),
            files: BTreeMap::new(),
            accounts,
            n_made: 100,
            time: Ahead::default(),
        }
    }

    fn now(&self) -> String {
        format!("{:.3}", instant(self.time.now_ms()))
    }

    pub(super) fn admits(&self, token: &str) -> bool {
        (!token.is_empty() && token == self.token) || self.logins.as_ref().is_some_and(|logins| logins.admits(token))
    }

    fn fresh(&mut self) -> u64 {
        self.n_made += 1;
        self.n_made
    }

    pub(super) fn account_id(&self, acct: &str) -> String {
        self.accounts.get(acct).cloned().unwrap_or_default()
    }

    /// Writes a status, and tells the company where it is meant.
    pub(super) fn add(&mut self, said: Said<'_>) -> String {
        let id = self.fresh().to_string();
        if !self.accounts.contains_key(said.acct) {
            let account = self.fresh().to_string();
            self.accounts.insert(said.acct.to_owned(), account);
        }
        self.statuses.push(Post {
            id: id.clone(),
            acct: said.acct.to_owned(),
            text: said.text.to_owned(),
            visibility: said.visibility.to_owned(),
            in_reply_to: said.answers.map(str::to_owned),
            language: said.language.map(str::to_owned),
            created: self.now(),
            edited: None,
        });
        let answers_us = said.answers.and_then(|id| self.find(id)).is_some_and(|parent| parent.acct == US);
        if said.acct != US && (answers_us || said.text.contains(&format!("@{US}"))) {
            self.notify(&id);
        }
        id
    }

    pub(super) fn notify(&mut self, status: &str) {
        let id = self.fresh();
        self.notifications.push((id, status.to_owned()));
    }

    pub(super) fn edit(&mut self, id: &str, text: &str) {
        let now = self.now();
        if let Some(status) = self.statuses.iter_mut().find(|status| status.id == id) {
            text.clone_into(&mut status.text);
            status.edited = Some(now);
        }
    }

    pub(super) fn find(&self, id: &str) -> Option<&Post> {
        self.statuses.iter().find(|status| status.id == id)
    }

    /// From the root down.
    pub(super) fn above(&self, id: &str) -> Vec<Post> {
        let parent = |id: &str| self.find(id).and_then(|status| status.in_reply_to.clone()).and_then(|id| self.find(&id).cloned());
        let mut all: Vec<Post> = std::iter::successors(parent(id), |status| parent(&status.id)).take(100).collect();
        all.reverse();
        all
    }

    pub(super) fn below(&self, id: &str) -> Vec<Post> {
        let mut all: Vec<Post> = Vec::new();
        for status in &self.statuses {
            let parent = status.in_reply_to.as_deref();
            if parent.is_some_and(|parent| parent == id || all.iter().any(|known| known.id == parent)) {
                all.push(status.clone());
            }
        }
        all
    }

    /// An account as the API shows it.
    pub(super) fn account(&self, acct: &str) -> Value {
        let (name, domain) = acct.split_once('@').unwrap_or((acct, DOMAIN));
        let shown: String = name.split(['.', '_']).map(capital).collect::<Vec<_>>().join(" ");
        json!({
            "id": self.account_id(acct), "username": name, "acct": acct, "display_name": shown, "url": format!("https://{domain}/@{name}"),
            "bot": self.bots.contains(acct), "locked": false, "note": "<p></p>", "followers_count": 12,
        })
    }

    /// A status as the API shows it.
    pub(super) fn status(&self, status: &Post) -> Value {
        let domain = status.acct.split_once('@').map_or(DOMAIN, |(_, domain)| domain);
        let name = status.acct.split('@').next().unwrap_or_default();
        let named = self.accounts.keys().filter(|acct| names(&status.text, acct) && **acct != status.acct);
        let mentions: Vec<Value> =
            named.map(|acct| json!({ "id": self.account_id(acct), "acct": acct, "username": acct.split('@').next() })).collect();
        let parent = status.in_reply_to.as_deref().and_then(|id| self.find(id));
        let pictures = self.pictures.get(&status.id).map(Vec::as_slice).unwrap_or_default();
        let media: Vec<Value> =
            (1..).zip(pictures).map(|(n, url)| json!({ "id": format!("{}-{n}", status.id), "type": "image", "url": url })).collect();
        json!({
            "id": status.id, "uri": format!("https://{domain}/users/{name}/statuses/{}", status.id), "url": format!("https://{domain}/@{name}/{}", status.id),
            "created_at": status.created, "edited_at": status.edited, "in_reply_to_id": status.in_reply_to,
            "in_reply_to_account_id": parent.map(|parent| self.account_id(&parent.acct)), "sensitive": false, "spoiler_text": "",
            "visibility": status.visibility, "language": status.language, "content": format!("<p>{}</p>", escaped(&status.text).replace('\n', "<br>")),
            "account": self.account(&status.acct), "mentions": mentions, "tags": [], "media_attachments": media, "emojis": [], "card": null,
            "poll": null, "reblog": null,
        })
    }

    /// None once its status is gone, as the API forgets it.
    pub(super) fn notification(&self, id: u64, status: &str) -> Option<Value> {
        let status = self.find(status)?;
        Some(json!({
            "id": id.to_string(), "type": "mention", "group_key": format!("ungrouped-{id}"), "created_at": status.created,
            "account": self.account(&status.acct), "status": self.status(status),
        }))
    }
}

fn names(text: &str, acct: &str) -> bool {
    text.split_whitespace().any(|word| word.trim_end_matches(|c: char| ",.:;!?".contains(c)).strip_prefix('@') == Some(acct))
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}
