//! What a run leaves behind, taken down for `membrana-judge`.

use std::path::Path;
use std::process::Command;

use membrana::model::{Timestamp, shown};
use membrana_tests::judge::{Acted, Breach, Evidence, Stored, Told};
use membrana_world::Crm;
use serde_json::Value as Json;

use crate::harness::{Host, text};

/// Of what the CRM is told of one thing, what does not change while its actions and tasks go on.
const LASTING: [&str; 5] = ["/interaction/id", "/interaction/text", "/interaction/decisions/0/row", "/task/id", "/action/id"];

/// What the store holds, and what it says of itself. `name`: what the networks know an interaction by. `now_ms`: by the host's clock.
pub(crate) fn of_store(host: &Host, now_ms: u64, name: impl Fn(&Json) -> String) -> Evidence {
    let all = host.list(&["interaction", "list"]);
    let line = |name: &str| std::fs::read_to_string(host.dir().join(name)).unwrap_or_default();
    let owned = |one: &Json, pointer: &str| text(one, pointer).to_owned();
    let stored = |one: &Json| Stored { channel: owned(one, "/channel"), name: name(one), id: owned(one, "/id") };
    let acted = |one: Json| Acted {
        id: owned(&one, "/id"),
        about: owned(&one, "/interaction"),
        state: owned(&one, "/state"),
        reason: one["error"].as_str().map(str::to_owned),
        due: owned(&one, "/due_at"),
    };
    Evidence {
        stored: all.iter().filter(|one| one["own"] != Json::Bool(true)).map(stored).collect(),
        tasks: host.list(&["task", "list"]).iter().map(|task| owned(task, "/interaction")).collect(),
        actions: host.list(&["outbox", "list"]).into_iter().map(acted).collect(),
        audit: (line("data/audit.log").lines().map(str::to_owned).collect(), line("data/audit.head")),
        at: shown::rfc3339(Timestamp(now_ms)),
        ..Evidence::default()
    }
}

/// What `verify` finds in the store of a host that does not run.
pub(crate) fn damage(host: &Host) -> Vec<String> {
    let verified = host.cli(&["verify", "--json"]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned() + &String::from_utf8_lossy(&verified.stderr);
    if verified.status.success() { Vec::new() } else { vec![said] }
}

/// What the CRM was told, and that it was told of each thing said as one of these kinds.
pub(crate) fn of_crm(crm: &Crm, kinds: &[&str]) -> Evidence {
    let kinds: Vec<String> = kinds.iter().map(|kind| format!("it.membrana.{kind}.v1")).collect();
    let told = crm.told().into_iter().map(|told| {
        let about = ["/interaction/id", "/task/interaction", "/action/interaction"].map(|pointer| text(&told.data, pointer));
        let words: Vec<Json> = LASTING.iter().map(|pointer| told.data.pointer(pointer).cloned().unwrap_or_default()).collect();
        Told {
            about: about.into_iter().find(|id| !id.is_empty()).unwrap_or_default().to_owned(),
            words: Json::from(words).to_string(),
            id: told.id,
            kind: told.kind,
            is_signed: told.is_signed,
        }
    });
    Evidence { told: told.collect(), kinds, ..Evidence::default() }
}

/// The judge's own word, as a program beside the host's. Errors: all that it finds.
pub(crate) fn judged(evidence: &Evidence, folder: &Path) -> Result<(), String> {
    let file = folder.join("evidence.json");
    std::fs::write(&file, serde_json::to_vec(evidence).unwrap()).unwrap();
    let verdict = Command::new(env!("CARGO_BIN_EXE_membrana-judge")).arg(&file).output().unwrap();
    if verdict.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&[verdict.stdout, verdict.stderr].concat()).into_owned()) }
}

/// What is wrong still, in lines.
pub(crate) fn words(breaches: &[Breach]) -> String {
    breaches.iter().map(|breach| format!("{breach}\n")).collect()
}
