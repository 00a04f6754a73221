//! The first thing a newcomer sees: the demo tells its story, and leaves alone what is not its own.

use std::process::Command;

fn demo(dir: &std::path::Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_membrana-under-test"));
    let output = command.current_dir(dir).args(["demo", "--once"]).env_remove("MEMBRANA_LOG").output().unwrap();
    (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn the_demo_answers_one_complaint_on_four_networks_and_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let (code, said) = demo(dir.path());
    let log = std::fs::read_to_string(dir.path().join("demo-data/log")).unwrap_or_default();
    assert_eq!(code, Some(0), "{said}\n{log}");
    // Long lines are broken between words.
    let told = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "7 channels",
        "found by asking X",
        "told by Meta's signed webhook, on disk and acknowledged in",
        "found by asking the forum",
        "fetched by IMAP",
        "2 mails of 2",
        "one row of the impact table decided all four: support answers, else support-lead at",
        "in Marco's mailbox, in the thread",
        "In-Reply-To: <bolletta-2@customers.example>",
        "\"Buongiorno Marco Rossi, ci dispiace",
        "in the forum, as post 4 in answer to Emma's post 2",
        "\"Hi Emma, we are sorry",
        "on Facebook, under Luca's comment",
        "\"Buongiorno Luca Bianchi, ci dispiace",
        "weighted characters, and this network takes 280",
        "on X, under Anna's post",
        "\"Hi Anna, we are sorry",
        "no reply: this network takes a reply only where the author mentioned us; its text goes with the task",
        "no reply: this channel cannot carry a reply; its text goes with the task",
        "the forged event is refused: 401",
        "52 stored, 52 tasks, 12 replies for 52 things said: 0 lost, 0 doubled",
        "\"mood\" is missing in this decision",
        "200 of 200 analysed once each",
        "signatures checked",
        "each of the four complaints has one answer on its network, and Rosa none",
    ] {
        assert!(told.contains(part), "`{part}` is missing in:\n{said}");
    }
    assert_eq!(told.matches("row \"complaint\": intent is complaint").count(), 6, "four, Rosa's, and with the mad plugin:\n{said}");
    assert_eq!(told.matches("-> task for support, reply due").count(), 6, "{said}");
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
