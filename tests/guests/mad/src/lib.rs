//! An analyzer that never answers, so that the demo can show what that costs: its own answer, and its budget of time.

use membrana_sdk::analyzer::Batch;
use membrana_sdk::{Analyzer, Annotation, Result, register_analyzer};

/// See the module.
pub struct Mad;

impl Analyzer for Mad {
    fn analyze(batch: &Batch) -> Result<Vec<Vec<Annotation>>> {
        let mut n = batch.items.len();
        loop {
            n = std::hint::black_box(n.wrapping_add(1));
        }
    }
}

register_analyzer!(Mad);
