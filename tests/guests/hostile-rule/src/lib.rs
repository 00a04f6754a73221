//! A rule that misbehaves as its configuration says.

use membrana_sdk::rule::{Action, Decision, Event};
use membrana_sdk::{Finding, Result, Rule, Surroundings, register_rule};

struct Hostile;

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
        let action = Action { key: "assign".to_owned(), kind: "assign".to_owned(), body: "{\"team\":\"nobody\",\"surprise\":[".to_owned() };
        Ok(events.iter().map(|_| Decision { actions: vec![action.clone()], row: None, reasons: Vec::new() }).collect())
    }
}

register_rule!(Hostile);
