//! The first thing a newcomer sees: the demo tells its story, and leaves alone what is not its own.

use std::process::Command;

fn demo(dir: &std::path::Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_membrana-under-test"));
    let output = command.current_dir(dir).args(["demo", "--once"]).env_remove("MEMBRANA_LOG").output().unwrap();
    (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn the_demo_tells_its_story_on_four_channels_and_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let (code, said) = demo(dir.path());
    let log = std::fs::read_to_string(dir.path().join("demo-data/log")).unwrap_or_default();
    assert_eq!(code, Some(0), "{said}\n{log}");
    for part in [
        "acme-masto",
        "support-mail",
        "blog",
        "shop",
        "row \"complaint in public\"",
        "draft waits for legal",
        "@acme (public): \"@anna@people.example Ciao Anna",
        "2 mails of 2",
        "In-Reply-To: <bolletta-2@customers.example>",
        "the forged event is refused: 401",
        "52 stored, 52 tasks, 12 replies for 52 things said: 0 lost, 0 doubled",
        "\"mood\" is missing in this decision",
        "signatures checked",
    ] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 100), "wider than 100 columns:\n{said}");
    assert!(!said.contains(['✓', '→', '①', '\u{1b}']), "no terminal, no symbols:\n{said}");
}

#[test]
fn a_folder_that_no_demo_made_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("demo-data")).unwrap();
    std::fs::write(dir.path().join("demo-data/thesis.txt"), "years of work").unwrap();
    let (code, said) = demo(dir.path());
    assert_eq!((code, said.contains("is not empty")), (Some(1), true), "{said}");
    assert!(said.contains("help: move it away"), "{said}");
    assert!(dir.path().join("demo-data/thesis.txt").exists());
}
