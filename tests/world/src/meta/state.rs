//! What the network keeps: who said what where, and what must still be told to those who subscribed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::hooks::Pending;

/// The Page's id; above 2^53.
pub const PAGE: &str = "24577871820615455";
/// The id of the Instagram account.
pub const ACCOUNT: &str = "17841405309211844";
/// What the company's own side is called where a name is asked for.
pub const US: &str = "acme";
/// Of the first person.
const PEOPLE: u64 = 10_150_000_000_000_001;

/// Whose conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The Page's.
    Messenger,
    /// The account's.
    Instagram,
}

impl Side {
    pub(super) fn owner(self) -> &'static str {
        match self {
            Self::Messenger => PAGE,
            Self::Instagram => ACCOUNT,
        }
    }

    pub(super) fn object(self) -> &'static str {
        match self {
            Self::Messenger => "page",
            Self::Instagram => "instagram",
        }
    }
}

/// What stands in public.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) side: Side,
    /// Empty: the network withholds it.
    pub(super) who: String,
    /// The post or medium; its own id where it is one.
    pub(super) root: String,
    /// What it stands under; none for a post or medium.
    pub(super) parent: Option<String>,
    pub(super) text: String,
    pub(super) created: u64,
    pub(super) updated: u64,
    pub(super) is_hidden: bool,
    pub(super) is_answered_privately: bool,
}

/// A message.
#[derive(Debug, Clone)]
pub(super) struct Mail {
    pub(super) mid: String,
    pub(super) side: Side,
    /// The other side.
    pub(super) who: String,
    pub(super) is_ours: bool,
    pub(super) text: String,
    pub(super) created: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) base: String,
    pub(super) token: String,
    pub(super) app_secret: String,
    pub(super) now: u64,
    pub(super) items: Vec<Item>,
    pub(super) mails: Vec<Mail>,
    pub(super) people: BTreeMap<String, String>,
    pub(super) pending: Vec<Pending>,
    pub(super) echo_to: Option<(SocketAddr, String)>,
    pub(super) calls_left: Option<u64>,
    pub(super) demands_proof: bool,
    pub(super) usage: Option<(u64, u64)>,
    pub(super) n_throttled: u64,
    pub(super) has_holes: bool,
    pub(super) is_blocked: bool,
    pub(super) shunning: BTreeSet<String>,
    n_made: u64,
}

impl Network {
    pub(super) fn new(token: &str, app_secret: &str) -> Self {
        Self {
            base: String::new(),
            token: token.to_owned(),
            app_secret: app_secret.to_owned(),
            // 2026-11-24T10:00:00Z.
            now: 1_795_514_400_000,
            items: Vec::new(),
            mails: Vec::new(),
            people: BTreeMap::new(),
            pending: Vec::new(),
            echo_to: None,
            calls_left: None,
            demands_proof: false,
            usage: None,
            n_throttled: 0,
            has_holes: false,
            is_blocked: false,
            shunning: BTreeSet::new(),
            n_made: 0,
        }
    }

    pub(super) fn fresh(&mut self) -> u64 {
        self.n_made += 1;
        self.n_made
    }

    pub(super) fn person(&mut self, name: &str) -> String {
        let next = PEOPLE + self.people.len() as u64;
        self.people.entry(name.to_owned()).or_insert_with(|| next.to_string()).clone()
    }

    /// The id by which a side knows somebody.
    pub(super) fn id_of(&self, side: Side, who: &str) -> String {
        if who == US { side.owner().to_owned() } else { self.people.get(who).cloned().unwrap_or_default() }
    }

    pub(super) fn name_of(&self, person: &str) -> Option<String> {
        self.people.iter().find(|(_, id)| *id == person).map(|(name, _)| name.clone())
    }

    pub(super) fn find(&self, id: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.id == id)
    }

    fn item(&mut self, id: String, side: Side, who: &str, under: Option<(&str, &str)>, text: &str) -> Item {
        if who != US && !who.is_empty() {
            self.person(who);
        }
        let item = Item {
            root: under.map_or(id.as_str(), |(root, _)| root).to_owned(),
            parent: under.map(|(_, parent)| parent.to_owned()),
            id,
            side,
            who: who.to_owned(),
            text: text.to_owned(),
            created: self.now,
            updated: self.now,
            is_hidden: false,
            is_answered_privately: false,
        };
        self.items.push(item.clone());
        item
    }

    pub(super) fn post(&mut self, who: &str, text: &str) -> String {
        let id = format!("{PAGE}_{}", self.fresh());
        let item = self.item(id.clone(), Side::Messenger, who, None, text);
        self.tell(&item, "add");
        id
    }

    pub(super) fn medium(&mut self, who: &str, text: &str) -> String {
        let id = (17_990_000_000_000_000 + self.fresh()).to_string();
        let item = self.item(id.clone(), Side::Instagram, who, None, text);
        if who != US {
            self.pending.push(Pending::field(Side::Instagram, "mentions", json!({ "media_id": item.id }), self.now));
        }
        id
    }

    /// Comments have two levels: what answers an answer stands under the comment above both.
    pub(super) fn comment(&mut self, who: &str, under: &str, text: &str) -> String {
        let Some(above) = self.find(under).cloned() else { return String::new() };
        let is_second = above.parent.as_ref().is_some_and(|parent| *parent != above.root);
        let parent = if is_second { above.parent.clone().unwrap_or_default() } else { under.to_owned() };
        let n = self.fresh();
        let id = match above.side {
            Side::Messenger => format!("{}_{n}", above.root.rsplit('_').next().unwrap_or_default()),
            Side::Instagram => (18_000_000_000_000_000 + n).to_string(),
        };
        let item = self.item(id.clone(), above.side, who, Some((&above.root, &parent)), text);
        let is_elsewhere = above.side == Side::Instagram && self.find(&above.root).is_some_and(|root| root.who != US);
        if is_elsewhere {
            let value = json!({ "media_id": item.root, "comment_id": item.id });
            self.pending.push(Pending::field(Side::Instagram, "mentions", value, self.now));
        } else {
            self.tell(&item, "add");
        }
        id
    }

    pub(super) fn edit(&mut self, id: &str, text: &str) {
        let now = self.now;
        if let Some(item) = self.items.iter_mut().find(|item| item.id == id) {
            text.clone_into(&mut item.text);
            item.updated = now;
            let item = item.clone();
            self.tell(&item, "edited");
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        if let Some(item) = self.find(id).cloned() {
            self.items.retain(|other| other.id != id && other.parent.as_deref() != Some(id) && other.root != id);
            self.tell(&item, "remove");
        }
        if let Some(at) = self.mails.iter().position(|mail| mail.mid == id) {
            let mail = self.mails.remove(at);
            let message = json!({ "mid": mail.mid, "is_deleted": true });
            self.pending.push(Pending::messaging(mail.side, self.between(&mail, message), self.now));
        }
    }

    pub(super) fn hide(&mut self, id: &str, is_hidden: bool) {
        if let Some(item) = self.items.iter_mut().find(|item| item.id == id) {
            item.is_hidden = is_hidden;
            let item = item.clone();
            self.tell(&item, if is_hidden { "hide" } else { "unhide" });
        }
    }

    pub(super) fn message(&mut self, side: Side, who: &str, text: &str, is_ours: bool) -> String {
        self.said_to(side, who, text, is_ours, None)
    }

    /// `metadata` comes back with the echo.
    pub(super) fn said_to(&mut self, side: Side, who: &str, text: &str, is_ours: bool, metadata: Option<&str>) -> String {
        self.person(who);
        let mid = format!("m_{}", self.fresh());
        let mail = Mail { mid: mid.clone(), side, who: who.to_owned(), is_ours, text: text.to_owned(), created: self.now };
        let mut message = json!({ "mid": mid, "text": text });
        if let Some(message) = message.as_object_mut().filter(|_| is_ours) {
            message.insert("is_echo".to_owned(), json!(true));
            message.insert("app_id".to_owned(), json!(1_517_776_481_860_111_u64));
            message.extend(metadata.map(|metadata| ("metadata".to_owned(), json!(metadata))));
        }
        self.pending.push(Pending::messaging(side, self.between(&mail, message), self.now));
        self.mails.push(mail);
        mid
    }

    fn between(&self, mail: &Mail, message: Value) -> Value {
        let (them, us) = (self.id_of(mail.side, &mail.who), mail.side.owner().to_owned());
        let (sender, recipient) = if mail.is_ours { (us, them) } else { (them, us) };
        json!({ "sender": { "id": sender }, "recipient": { "id": recipient }, "timestamp": self.now, "message": message })
    }

    /// Who, as webhooks and the API have it.
    pub(super) fn from(&self, item: &Item) -> Option<Value> {
        let id = self.id_of(item.side, &item.who);
        (!item.who.is_empty()).then(|| match item.side {
            Side::Messenger => json!({ "id": id, "name": item.who }),
            Side::Instagram => json!({ "id": id, "username": item.who }),
        })
    }

    /// Instagram tells of comments when they are made, and of nothing that becomes of them.
    fn tell(&mut self, item: &Item, verb: &str) {
        let mut value = match item.side {
            Side::Instagram if verb != "add" || item.parent.is_none() => return,
            Side::Instagram => json!({ "id": item.id, "text": item.text, "media": { "id": item.root, "media_product_type": "FEED" } }),
            Side::Messenger => json!({
                "item": if item.parent.is_some() { "comment" } else { "status" }, "verb": verb, "post_id": item.root,
                "created_time": item.created / 1000, "message": item.text, "published": 1,
            }),
        };
        if let Some(value) = value.as_object_mut() {
            value.extend(self.from(item).map(|from| ("from".to_owned(), from)));
            match (item.side, &item.parent) {
                (Side::Messenger, Some(parent)) => {
                    value.insert("comment_id".to_owned(), json!(item.id));
                    value.insert("parent_id".to_owned(), json!(parent));
                    value.insert(
                        "post".to_owned(),
                        json!({ "status_type": "mobile_status_update", "permalink_url": permalink(&item.root), "id": item.root }),
                    );
                }
                (Side::Instagram, Some(parent)) if *parent != item.root => {
                    value.insert("parent_id".to_owned(), json!(parent));
                }
                _ => {}
            }
        }
        let field = if item.side == Side::Messenger { "feed" } else { "comments" };
        self.pending.push(Pending::field(item.side, field, value, self.now));
    }

    pub(super) fn usage_headers(&self) -> Vec<(&'static str, String)> {
        let Some((per_cent, minutes)) = self.usage else { return Vec::new() };
        let used = json!({ "call_count": per_cent, "total_time": per_cent / 2, "total_cputime": 1 });
        let case =
            json!({ "type": "pages", "call_count": per_cent, "total_cputime": 1, "total_time": 1, "estimated_time_to_regain_access": minutes });
        vec![
            ("x-app-usage", used.to_string()),
            ("x-page-usage", used.to_string()),
            ("x-business-use-case-usage", json!({ (PAGE): [case] }).to_string()),
        ]
    }
}

pub(super) fn permalink(id: &str) -> String {
    format!("https://www.facebook.com/{}", id.replace('_', "/posts/"))
}
