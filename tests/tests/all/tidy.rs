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

/// Rooms of the host and the rooms they never use.
const FORBIDDEN: [(&str, &[&str]); 8] = [
    ("model", &["store", "plugin", "egress", "config", "stage", "intake", "console", "app"]),
    ("store", &["plugin", "egress", "stage", "config", "intake", "console", "app"]),
    ("egress", &["plugin", "stage", "intake", "console", "app"]),
    ("plugin", &["stage", "intake", "rules", "outbox", "sinks", "console", "app"]),
    ("intake", &["analysis", "rules", "outbox", "sinks", "console", "app"]),
    ("analysis", &["intake", "rules", "outbox", "sinks", "console", "app"]),
    ("outbox", &["intake", "analysis", "rules", "sinks", "console", "app"]),
    ("sinks", &["intake", "analysis", "outbox", "plugin", "console", "app"]),
];

#[test]
fn stages_never_name_one_another() {
    for (path, text) in sources(&root().join("host/src")) {
        let relative = path.strip_prefix(root().join("host/src")).unwrap().to_owned();
        let room = relative.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        let Some((_, others)) = FORBIDDEN.iter().find(|(name, _)| *name == room) else { continue };
        for other in *others {
            assert!(!text.contains(&format!("crate::{other}::")), "{}: room `{room}` may not use `{other}`", relative.display());
        }
    }
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
