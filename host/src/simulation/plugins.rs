//! The plugins of the simulation, as the host's own code: a connector of any of the networks, an analyzer, a rule.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use serde_json::json;

use super::network::{Item, Network, because};
use super::planted::Planted;
use super::world::World;
use crate::model::{Annotation, Fault, Ours, RawItem, Value, Wanted};
use crate::outbox::SendClass;
use crate::plugin::{AnalyzeBatch, Called, Change, Message, Native, Page, Receipt, RuleDecision, RuleEvent, Sent};
use crate::testing::{native, upsert};

/// Of a hundred calls.
const FAULTS: u64 = 6;
const FILE: &[u8] = b"a picture";

/// A connector.
pub(super) struct Connector(pub(super) Arc<Network>);

impl Connector {
    fn world(&self) -> &Arc<World> {
        &self.0.world
    }

    fn tell(&self, what: &str) {
        self.world().tell(format!("connector {} {what}", self.0.channel));
    }

    fn fault(&self, call: &str) -> Result<(), Fault> {
        let fault = self.0.fault(FAULTS);
        self.tell(&format!("{call}: {}", fault.as_ref().map_or("goes on", Fault::word)));
        fault.map_or(Ok(()), Err)
    }

    fn change(&self, item: &Item, as_read: bool) -> Change {
        let id = native(&item.id);
        match &item.ours {
            Ours::No if item.is_gone => Change::Gone(id),
            // Not parsed by the poll: handed over as it is.
            Ours::No if as_read && item.word == "odd" => Change::Raw(id, item.id.replace('i', "item:").into_bytes()),
            _ => upsert(self.0.interaction(item)),
        }
    }

    /// How a send ends whose request went out: it had its effect, or will have, or never will.
    fn lose(&self, key: &str, message: &Message) -> Fault {
        match self.world().below(4) {
            0 => {}
            1 => self.0.land_late(key, message),
            _ => drop(self.0.land(key, message)),
        }
        // Answers are lost where a network begins to fail.
        if self.world().chance(30) {
            self.0.fail();
        }
        let code = ["timeout", Fault::OUTCOME_UNKNOWN, "trap", "stopped"][self.world().below(4) as usize];
        self.tell(&format!("send {key}: nobody knows, {code}"));
        if code == "trap" { Fault::Permanent(because(code)) } else { Fault::Transient(because(code)) }
    }
}

impl Native for Connector {
    fn travel(&self) -> Option<BoxFuture<'_, ()>> {
        Some(self.world().travel().boxed())
    }

    fn poll(&self, cursor: Option<String>, _items_max: u32) -> Result<Page, Fault> {
        self.fault("poll")?;
        if self.world().trouble(2) {
            return Err(Fault::Permanent(because("trap")));
        }
        let from = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let (items, to, more) = self.0.page(from, 1 + self.world().below(12) as usize);
        let mut changes: Vec<Change> = items.iter().map(|item| self.change(item, true)).collect();
        if self.world().has(Planted::LostEdit) {
            changes.retain(|change| !matches!(change, Change::Upsert(said) if said.edited.is_some()));
        }
        changes.extend(self.0.phantom().map(|item| self.change(&item, false)));
        let next_poll = self.world().trouble(10).then(|| Duration::from_secs(self.world().below(900)));
        Ok(Page { changes, cursor: to.to_string(), more, backfill: false, next_poll, allowance: None })
    }

    fn receive(&self, raw: &RawItem) -> Called<Vec<Change>> {
        if let Err(fault) = self.fault("receive") {
            return Called::failed(fault);
        }
        let body = String::from_utf8_lossy(&raw.body).into_owned();
        let item = body.strip_prefix("item:").and_then(|at| at.parse().ok()).and_then(|at| self.0.item(at));
        match item {
            Some(item) => Called { result: Ok(vec![self.change(&item, false)]), state: vec![("last".to_owned(), Some(item.id.into_bytes()))] },
            None => Called::failed(Fault::Permanent(because("garbled"))),
        }
    }

    fn send(&self, key: &str, message: &Message) -> Result<Receipt, Fault> {
        self.0.check_claim(key);
        self.fault("send")?;
        if self.world().trouble(15) {
            return Err(self.lose(key, message));
        }
        if self.world().trouble(2) && self.0.find(key).is_none() {
            return Err(Fault::Permanent(because("unwanted")));
        }
        Ok(self.0.land(key, message))
    }

    fn probe(&self, key: &str, _message: &Message) -> Result<(Sent, Option<Receipt>), Fault> {
        self.fault("probe")?;
        let found = self.0.find(key);
        let sent = match (&found, self.0.class) {
            (_, SendClass::None) => Sent::Unknown,
            (Some(_), _) => Sent::Yes,
            (None, _) => Sent::No,
        };
        self.tell(&format!("probe {key}: {sent:?}"));
        Ok((sent, found.filter(|_| sent == Sent::Yes)))
    }

    fn has_media(&self) -> bool {
        true
    }

    fn fetch(&self, _media_ref: &str, _bytes_max: u32) -> Result<Vec<u8>, Fault> {
        self.fault("fetch")?;
        Ok(FILE.to_vec())
    }
}

/// An analyzer that has an answer to everything but to what is thorny.
pub(super) struct Analyzer(pub(super) Arc<World>);

impl Native for Analyzer {
    fn travel(&self) -> Option<BoxFuture<'_, ()>> {
        Some(self.0.lag().boxed())
    }

    fn analyze(&self, batch: &AnalyzeBatch<'_>) -> Result<Vec<Vec<Annotation>>, Fault> {
        if self.0.trouble(12) {
            return Err(if self.0.chance(30) { Fault::Permanent(because("trap")) } else { Fault::Transient(because("busy")) });
        }
        if batch.items.iter().any(|item| item.text.starts_with("thorny")) {
            return Err(Fault::Permanent(because("trap")));
        }
        let say = |text: &str| Annotation { key: "intent".to_owned(), value: Value::Text(text.to_owned()), confidence: None };
        Ok(batch.items.iter().map(|item| vec![say(item.text)]).collect())
    }
}

/// A rule that decides by the first word.
pub(super) struct Rule(pub(super) Arc<World>);

/// What the rule promises.
pub(super) const WITHIN: Duration = Duration::from_secs(2 * 3600);
pub(super) const ESCALATE_AFTER: Duration = Duration::from_secs(3600);

impl Rule {
    fn decide(event: &RuleEvent) -> RuleDecision {
        let wanted = |key: &str, kind: &str, body: serde_json::Value| Wanted { key: key.to_owned(), kind: kind.to_owned(), body: body.to_string() };
        let text = event.interaction.as_ref().map(|said| said.text.as_str()).unwrap_or_default();
        let reply = |mode: &str| wanted("reply", "reply", json!({ "mode": mode, "text": format!("about {text}") }));
        let escalate = json!([{ "after_ms": ESCALATE_AFTER.as_millis() as u64, "to": "lead" }]);
        let task = || wanted("assign", "assign", json!({ "team": "support", "within_ms": WITHIN.as_millis() as u64, "escalate": escalate }));
        let is_over = event.body.contains("\"dead\"");
        let actions = match (event.kind.as_str(), text.split(' ').next().unwrap_or_default()) {
            ("action.settled", _) if is_over => vec![wanted("care", "assign", json!({ "team": "lead" }))],
            ("action.settled" | "task.done" | "interaction.gone", _) => Vec::new(),
            (_, "auto") => vec![reply("send")],
            (_, "draft") => vec![reply("draft")],
            (_, "task") => vec![task()],
            (_, "both") => vec![task(), reply("send")],
            _ => Vec::new(),
        };
        RuleDecision { actions, n_refused: 0, row: None, reasons: Vec::new() }
    }
}

impl Native for Rule {
    fn travel(&self) -> Option<BoxFuture<'_, ()>> {
        Some(self.0.lag().boxed())
    }

    fn decide(&self, events: Vec<RuleEvent>) -> Result<Vec<RuleDecision>, Fault> {
        if self.0.trouble(8) {
            return Err(Fault::Transient(because("busy")));
        }
        Ok(events.iter().map(Self::decide).collect())
    }
}
