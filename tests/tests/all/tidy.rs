//! The house keeps its plan: who may name what, how long a file may be, what a file begins with.

use std::path::{Path, PathBuf};

const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                all.push((path, text));
            }
        }
    }
    all
}

/// Crates that one room alone may name.
const OWNED: [(&str, &str); 5] =
    [("wasmtime::", "plugin"), ("sled::", "store"), ("rustls::", "egress"), ("lookup_host", "egress"), ("SystemTime::now", "clock")];

#[test]
fn each_dangerous_thing_has_one_owner() {
    for (path, text) in sources(&root().join("host/src")) {
        let relative = path.strip_prefix(root().join("host/src")).unwrap().to_owned();
        let room = relative.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        for (word, owner) in OWNED {
            let names = text.lines().any(|line| line.contains(word) && !line.trim_start().starts_with("//") && !line.contains("super::"));
            assert!(!names || room == owner, "{}: only room `{owner}` may name `{word}`", relative.display());
        }
    }
}

/// Rooms that every other may use.
const LEAVES: [&str; 5] = ["model", "clock", "telemetry", "failpoint", "testing"];

/// Every room of the host and what it may use beside the leaves, as `ARCHITECTURE.md` says. A new room is a new line, here and there.
const ROOMS: [(&str, &[&str]); 23] = [
    ("main", &[]),
    ("lib", &[]),
    (
        "cli",
        &["app", "config", "store", "egress", "plugin", "stage", "ingress", "intake", "analysis", "rules", "outbox", "media", "sinks", "console"],
    ),
    ("app", &["config", "store", "egress", "plugin", "stage", "ingress", "intake", "analysis", "rules", "outbox", "media", "sinks", "console"]),
    ("model", &[]),
    ("clock", &[]),
    ("telemetry", &[]),
    ("failpoint", &[]),
    ("testing", &["store", "plugin", "stage", "egress"]),
    ("simulation", &["testing", "store", "plugin", "stage", "egress", "intake", "analysis", "rules", "outbox", "media", "sinks"]),
    ("config", &["egress"]),
    ("store", &[]),
    ("egress", &[]),
    ("plugin", &["egress"]),
    ("stage", &["store"]),
    ("ingress", &["stage", "store", "plugin", "egress"]),
    ("intake", &["stage", "store", "plugin"]),
    ("analysis", &["stage", "store", "plugin"]),
    ("rules", &["stage", "store", "plugin"]),
    ("outbox", &["stage", "store", "plugin"]),
    ("media", &["stage", "store", "plugin", "egress"]),
    ("sinks", &["stage", "store", "egress"]),
    ("console", &["ingress", "stage", "store", "plugin", "rules", "egress"]),
];

/// The rooms that a file names, be it `crate::store::Store` or `use crate::{model::Seq, store}`.
fn rooms_named(text: &str) -> Vec<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let name = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            names.push(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (at, c) in group.char_indices() {
            if start && depth == 0 && !c.is_whitespace() {
                names.push(name(group.get(at..).unwrap_or_default()));
                start = false;
            }
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' => start = depth == 0,
                _ => {}
            }
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn each_room_uses_only_what_the_plan_allows() {
    for (path, text) in sources(&root().join("host/src")) {
        let relative = path.strip_prefix(root().join("host/src")).unwrap().to_owned();
        let room = relative.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        let known = ROOMS.iter().find(|(name, _)| *name == room);
        let (_, allowed) = known.unwrap_or_else(|| panic!("{}: `{room}` is no room of the plan", relative.display()));
        for other in rooms_named(&text) {
            let is_room = ROOMS.iter().any(|(name, _)| *name == other);
            let may = other == room || !is_room || LEAVES.contains(&other.as_str()) || allowed.contains(&other.as_str());
            assert!(may, "{}: room `{room}` may not use `{other}`", relative.display());
        }
        assert!(room != "model" || rooms_named(&text).iter().all(|other| other == "model"), "{}: `model` uses nothing", relative.display());
    }
}

#[test]
fn uses_are_found_in_every_form() {
    let text = "use crate::{\n    model::{Seq, Entry},\n    store,\n};\nuse crate::stage::Journal;\n// crate::cli\nfn f() { crate::rules::g() }";
    assert_eq!(rooms_named(text), ["model", "store", "stage", "rules"]);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    for dir in ["host/src", "sdk/src", "plugins", "tests"] {
        for (path, text) in sources(&root().join(dir)) {
            let n_lines = text.lines().count();
            assert!(n_lines <= LINES_MAX, "{} has {n_lines} lines; {LINES_MAX} are the most", path.display());
            assert!(text.starts_with("//!"), "{} does not begin by saying what it is", path.display());
            assert!(!path.ends_with("mod.rs"), "{}: name it after its room", path.display());
        }
    }
}

/// Names in backticks that could be a test's: three words and more.
fn tests_named(page: &str) -> Vec<&str> {
    page.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.matches('_').count() > 2 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        .collect()
}

#[test]
fn the_page_of_the_tests_names_tests_that_are_there() {
    let page = std::fs::read_to_string(root().join("tests/README.md")).unwrap();
    let all: String = ["host/src", "plugins", "tests/targets/tests", "tests/tests"]
        .iter()
        .flat_map(|dir| sources(&root().join(dir)))
        .map(|(_, text)| text)
        .collect();
    let missing: Vec<&str> = tests_named(&page).into_iter().filter(|name| !all.contains(&format!("fn {name}()"))).collect();
    assert!(!tests_named(&page).is_empty() && missing.is_empty(), "tests/README.md names what is no test: {missing:#?}");
}
