//! A backup of a host at work, and the way back to it: nothing is answered twice, whatever happened since.

use std::os::unix::fs::PermissionsExt as _;

use membrana_world::{Mastodon, Next};
use serde_json::Value as Json;

use crate::harness::{Host, text};
use crate::hooks::{CONFIG, TABLE as HOOKS_TABLE};
use crate::replies::{ANNA, TOKEN, host_by};

/// What is Italian is answered when a person approves, what is English at once.
const TABLE: &str = "[[row]]\nname = \"italian\"\nwhen = { kind = [\"mention\"], language = [\"it\"] }\nresponsible = \"support\"\nwithin = \"2h\"\nreply = { mode = \"draft\", text = { it = \"Ciao {author}, ci stiamo lavorando.\" } }\n[[row]]\nname = \"english\"\nwhen = { kind = [\"mention\"], language = [\"en\"] }\nresponsible = \"support\"\nwithin = \"2h\"\nreply = { mode = \"send\", text = { en = \"Hi {author}, we are on it.\" } }\n[[row]]\nname = \"everything else\"\n";
const ACTIONS: [&str; 2] = ["outbox", "list"];
const POST: &str = "POST /api/v1/statuses";

fn with_state(actions: &[Json], state: &str) -> usize {
    actions.iter().filter(|action| text(action, "/state") == state).count()
}

fn done(host: &Host, arguments: &[&str]) -> String {
    let output = host.cli(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(host: &Host, arguments: &[&str]) -> String {
    let output = host.cli(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_host_at_work_is_restored_and_nobody_is_answered_twice() {
    // given a reply that is about to go out when the backup is made
    let masto = Mastodon::start(TOKEN).await.unwrap();
    let mut host = host_by(&masto, TABLE, "").await;
    let first = masto.say(ANNA, "@acme Ho pagato due volte la bolletta e nessuno mi risponde.", "public", None);
    let drafts = host.until(&ACTIONS, |actions| with_state(actions, "awaiting-approval") == 1).await;
    done(&host, &["channel", "pause", "acme-masto"]);
    done(&host, &["outbox", "approve", text(&drafts[0], "/id")]);
    let made = done(&host, &["backup", "monday"]);
    assert!(made.contains("is a backup") && made.contains("membrana restore"), "{made}");
    assert_eq!(std::fs::metadata(host.dir().join("monday")).unwrap().permissions().mode() & 0o777, 0o700, "for its owner alone");
    assert!(refused(&host, &["backup", "monday"]).contains("is there already"));

    // and it goes out after that, as does an answer to what was said later
    done(&host, &["channel", "resume", "acme-masto"]);
    host.until(&ACTIONS, |actions| with_state(actions, "sent") == 1).await;
    let second = masto.say(ANNA, "@acme I have paid the invoice twice and nobody gives me an answer.", "public", None);
    host.until(&ACTIONS, |actions| with_state(actions, "sent") == 2).await;

    // when it is put back
    assert!(refused(&host, &["restore", "monday"]).contains("stop the host first"));
    assert_eq!(host.stop(), Some(0));
    let told = done(&host, &["restore", "monday"]);
    assert!(told.contains("1 reply may have gone out since") && told.contains("is kept in"), "{told}");
    assert_eq!(host.list(&["interaction", "list"]).len(), 1, "it is as it was");
    host.start().await;
    // As the backup has it, the channel is paused.
    done(&host, &["channel", "resume", "acme-masto"]);

    // then the first reply is known to be there, and the second waits for a person
    let actions = host.until(&ACTIONS, |actions| with_state(actions, "sent") == 1 && with_state(actions, "awaiting-approval") == 1).await;
    assert_eq!((masto.answers(&first).len(), masto.answers(&second).len()), (1, 1), "{actions:?}");
    assert!(masto.ledger().asked(POST).len() <= 3, "the first may be asked for again by its key, the second not at all");
    let all = host.list(&["interaction", "list"]);
    assert_eq!(all.len(), 2, "what was said since is taken in again");
    assert!(all[0].to_string().contains("a backup was put in place since this was said"), "{}", all[0]);

    // and what is said from now on is answered as ever
    let third = masto.say("bob@people.example", "@acme Where is my parcel? It has not arrived for three weeks now.", "public", None);
    host.until(&ACTIONS, |actions| with_state(actions, "sent") == 2).await;
    assert_eq!(masto.answers(&third).len(), 1);
    assert!(done(&host, &["verify"]).contains("sound"));
    assert!(host.list(&["dead", "list"]).is_empty());
    let audit = host.read("data/audit.log");
    assert!(audit.contains("\"restore\"") && audit.contains("/api/v1/backup /") && audit.contains("/monday"), "where the copy went: {audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_reply_that_went_out_since_the_backup_is_looked_for_before_it_is_sent_again() {
    // given a reply that is dead when the backup is made, and goes out after that
    let masto = Mastodon::start(TOKEN).await.unwrap();
    let mut host = host_by(&masto, TABLE, "").await;
    masto.next(POST, Next::status(422));
    let first = masto.say(ANNA, "@acme I have paid the invoice twice and nobody gives me an answer.", "public", None);
    host.until(&ACTIONS, |actions| with_state(actions, "dead") == 1).await;
    done(&host, &["backup", "monday"]);
    done(&host, &["dead", "redrive", "--all"]);
    host.until(&ACTIONS, |actions| with_state(actions, "sent") == 1).await;
    let n_posts = masto.ledger().asked(POST).len();

    // when it is put back
    assert_eq!(host.stop(), Some(0));
    let told = done(&host, &["restore", "monday"]);
    assert!(!told.contains("may have gone out since"), "nothing is looked for yet: {told}");
    host.start().await;
    host.until(&ACTIONS, |actions| with_state(actions, "dead") == 1).await;
    done(&host, &["dead", "redrive", "--all"]);

    // then
    host.until(&ACTIONS, |actions| with_state(actions, "sent") == 1).await;
    assert_eq!((masto.answers(&first).len(), masto.ledger().asked(POST).len()), (1, n_posts));
    assert!(host.list(&["dead", "list"]).is_empty());
}

#[test]
fn what_is_no_backup_or_is_damaged_is_not_put_in_place() {
    let host = Host::new(CONFIG, HOOKS_TABLE);
    done(&host, &["channel", "pause", "shop"]);
    done(&host, &["backup", "good"]);
    let before = std::fs::read(host.dir().join("data/store/db")).unwrap();

    // given one with a page that is damaged
    assert!(std::process::Command::new("cp").args(["-r", "good", "bad"]).current_dir(host.dir()).status().unwrap().success());
    let (db, mut bytes) = (host.dir().join("bad/store/db"), std::fs::read(host.dir().join("bad/store/db")).unwrap());
    bytes.truncate(1);
    std::fs::write(db, bytes).unwrap();

    assert!(std::process::Command::new("cp").args(["-r", "good", "good.part"]).current_dir(host.dir()).status().unwrap().success());

    for (folder, why) in [("nowhere", "holds no backup"), ("bad", "damaged"), ("good.part", "broken off")] {
        let told = refused(&host, &["restore", folder]);
        assert!(told.contains(why) && told.contains(&format!("`{folder}`")) && !told.contains("data.restoring"), "{folder}: {told}");
    }
    assert_eq!(std::fs::read(host.dir().join("data/store/db")).unwrap(), before, "what is there stays");
    let names: Vec<String> = std::fs::read_dir(host.dir()).unwrap().flatten().map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    assert!(names.iter().all(|name| !name.starts_with("data.")), "and nothing is left behind: {names:?}");
    assert!(refused(&host, &["backup", "data/inside"]).contains("lies in the data folder itself"));
}
