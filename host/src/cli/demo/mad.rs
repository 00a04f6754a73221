//! A plugin goes mad: an analyzer that never answers is loaded, costs its budget and nothing else, and is taken out again.

use serde_json::Value as Json;

use crate::cli::outcome::Failure;
use crate::clock::Clock;

use super::host::text;
use super::look::{good, line, title};
use super::scenes::{Scenes, defect};

const PAOLO: &str = "paolo@people.example";
const SAID: &str = "@acme The delivery is late again and nobody answers the phone. This is a disgrace!";

impl Scenes {
    pub(super) async fn go_mad(&self) -> Result<(), Failure> {
        title("⑥ A plugin goes mad: an endless loop in the analyzer \"mood\"");
        let loaded = self.host.reload(true).await?;
        line(&format!("\"mood\" added to membrana.toml and loaded while everything runs (SIGHUP), in {} ms", loaded.as_millis()));
        line(&format!("Mastodon, @{PAOLO}: \"{SAID}\""));
        let watch = Clock::system().stopwatch();
        let post = self.world.masto.say(PAOLO, SAID, "public", None);
        self.ask("acme-masto").await;
        let told =
            self.decided("acme-masto", "found by asking Mastodon", &watch, |one| text(one, "/native/id").ends_with(&format!("/{post}"))).await?;
        let missing: Vec<&str> = told.pointer("/missing").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
        if missing != ["mood"] {
            return Err(defect(format!("missing is {missing:?} instead of [\"mood\"]")));
        }
        let set_aside = async || self.host.list("dead").await.into_iter().find(|letter| text(letter, "/plugin") == "mood");
        let letter = self.host.until("the mad plugin's answer is set aside", set_aside).await?;
        let stopped = moment(text(&letter, "/at")).saturating_sub(moment(text(&told, "/received_at")));
        good(&format!(
            "stopped {stopped} ms after the post was stored; its budget is 50 ms of processor time. Set aside: {}",
            text(&letter, "/reason")
        ));
        self.verdict(&told);
        line("\"mood\" is missing in this decision, and the decision says so");
        self.host.reload(false).await?;
        Ok(())
    }
}

/// Units: milliseconds since 1970.
fn moment(at: &str) -> i64 {
    at.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_millisecond)
}
