//! A rule that misbehaves as its configuration says.

use membrana_sdk::rule::{Action, Decision, Event};
use membrana_sdk::{Finding, Result, Rule, Surroundings, register_rule};

struct Hostile;

const MANY: usize = 10_000;
/// Of a key that is made of what a fact says. Units: bytes.
const KEY_MAX: usize = 100;

impl Rule for Hostile {
    fn validate(_config: &str, _around: &Surroundings) -> Vec<Finding> {
        Vec::new()
    }

    fn decide(events: &[Event]) -> Result<Vec<Decision>> {
        let config = membrana_sdk::config::json();
        if config.contains("loop") {
            let mut n = 0u64;
            loop {
                n = std::hint::black_box(n.wrapping_add(1));
            }
        }
        assert!(!config.contains("trap"), "on purpose");
        if config.contains("count") {
            return Ok(Vec::new());
        }
        let wanted = |event: &Event| match config.split('"').nth(3).unwrap_or_default() {
            "many" => (0..MANY).map(|n| action(&format!("note-{n}"), "note", "{\"text\":\"again\"}")).collect(),
            "beyond" => beyond(),
            "answers" => vec![action("answer", "reply", "{\"mode\":\"send\",\"text\":\"Thank you.\"}")],
            "reacts" => react(event),
            _ => vec![action("assign", "assign", "{\"team\":\"nobody\",\"surprise\":[")],
        };
        Ok(events.iter().map(|event| Decision { actions: wanted(event), row: None, reasons: Vec::new() }).collect())
    }
}

fn action(key: &str, kind: &str, body: &str) -> Action {
    Action { key: key.to_owned(), kind: kind.to_owned(), body: body.to_owned() }
}

/// What nobody granted.
fn beyond() -> Vec<Action> {
    vec![
        action("team", "assign", "{\"team\":\"nobody\"}"),
        action("informed", "assign", "{\"team\":\"shops\",\"informed\":[\"nobody\"]}"),
        action("escalation", "assign", "{\"team\":\"shops\",\"escalate\":[{\"after_ms\":1,\"to\":\"nobody\"}]}"),
        action("reviewer", "reply", "{\"mode\":\"draft\",\"text\":\"x\",\"review\":[\"nobody\"]}"),
        action("elsewhere", "reply", "{\"mode\":\"send\",\"text\":\"x\",\"channel\":\"other\"}"),
        action("post", "post", "{\"channel\":\"other\",\"text\":\"x\"}"),
        action("sink", "sink", "{\"sink\":\"crm\",\"event\":{}}"),
        action("reply", "reply", "{\"mode\":\"send\",\"text\":\"x\"}"),
    ]
}

/// A reply to what was said and to whatever becomes of a reply, each under a key of its own.
fn react(event: &Event) -> Vec<Action> {
    let key = format!("{} {}", event.kind, event.body);
    vec![action(&key[..KEY_MAX.min(key.len())], "reply", "{\"mode\":\"send\",\"text\":\"And another thing.\"}")]
}

register_rule!(Hostile);
