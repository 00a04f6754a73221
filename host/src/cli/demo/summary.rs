//! What the story came to, checked; and what to try next.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::cli::outcome::Failure;

use super::complaints::Complaint;
use super::host::text;
use super::look::{command, line, title};
use super::scenes::{Scenes, defect};

impl Scenes {
    /// Counts, and fails where the CRM or the dead letters tell another story.
    pub(super) async fn summary(&self, complaints: &[Complaint]) -> Result<(), Failure> {
        let interactions = self.host.list("interactions").await;
        let tasks = self.host.list("tasks").await;
        let sent = async || {
            let actions = self.host.list("actions").await;
            let is_under_way = |action: &Json| ["pending", "claimed", "retry", "unknown", "reconciling"].contains(&text(action, "/state"));
            (!actions.iter().any(is_under_way)).then(|| actions.iter().filter(|action| text(action, "/state") == "sent").count())
        };
        let n_sent = self.host.until("all replies are settled", sent).await?;
        let n_new = interactions.iter().filter(|one| one.get("backfill").and_then(Json::as_bool) != Some(true)).count();
        let wanted = [("interaction.received", n_new), ("task.opened", tasks.len()), ("action.sent", n_sent)];
        let told = async || {
            let ids: BTreeSet<(String, String)> = self.world.crm.told().into_iter().map(|told| (told.kind, told.id)).collect();
            let count = |event: &str| ids.iter().filter(|(kind, _)| *kind == format!("it.membrana.{event}.v1")).count();
            wanted.iter().all(|(event, n)| count(event) >= *n).then_some(ids.len())
        };
        let n_told = self.host.until("the CRM is told everything", told).await?;
        title("What you saw");
        line(&format!(
            "{} interactions · {} tasks · {n_sent} replies · {n_told} events to the CRM (signatures checked)",
            interactions.len(),
            tasks.len()
        ));
        self.answered_once(complaints)?;
        self.unsigned()?;
        self.dead_letters().await
    }

    fn unsigned(&self) -> Result<(), Failure> {
        let unsigned: Vec<String> = self.world.crm.told().into_iter().filter(|told| !told.is_signed).map(|told| told.id).collect();
        if unsigned.is_empty() {
            return Ok(());
        }
        Err(defect(format!("the CRM got events without a valid signature: {unsigned:?}")))
    }

    /// Only the mad plugin may leave some.
    async fn dead_letters(&self) -> Result<(), Failure> {
        let (ours, others): (Vec<Json>, Vec<Json>) = self.host.list("dead").await.into_iter().partition(|letter| text(letter, "/plugin") == "mood");
        if others.is_empty() {
            line(&format!("set aside: {} of the mad plugin's answers, nothing else", ours.len()));
            return Ok(());
        }
        let reasons: Vec<&str> = others.iter().map(|letter| text(letter, "/reason")).collect();
        Err(Failure::failed(format!("dead letters that the story did not cause: {reasons:?}"), "membrana --config demo-data/membrana.toml dead list"))
    }

    /// What to try next, as it works from here.
    pub(super) fn your_turn(&self) {
        let membrana = format!("{} --config demo-data/membrana.toml", program().display());
        title("Your turn");
        line("say something, in public, by mail, or under the blog's post:");
        command(&format!("curl -d 'text=My parcel never came, this is a disgrace' http://{}/post", self.world.masto.address()));
        command(&format!("curl -d 'from=Eva <eva@customers.example>' -d 'text=Where is my parcel?' http://{}/mail", self.world.mail.door()));
        command(&format!("curl -d 'author=Eva' -d 'text=Where is my parcel?' http://{}/comment", self.world.blog.address()));
        line("look at what became of it:");
        for words in
            ["interaction list", "interaction explain ID", "task list", "outbox list --state awaiting-approval", "outbox approve ID --as legal"]
        {
            command(&format!("{membrana} {words}"));
        }
        line("the networks as their people see them:");
        command(&format!("curl http://{}/        curl http://{}/mailbox/eva@customers.example", self.world.masto.address(), self.world.mail.door()));
        line(&format!("Your own channels: {} init, then README, \"Your first channel\". Ctrl-C ends the demo.", program().display()));
    }
}

/// This program as it can be called from where the user stands.
fn program() -> PathBuf {
    let Ok(exe) = std::env::current_exe() else { return PathBuf::from("membrana") };
    let here = std::env::current_dir().unwrap_or_default();
    exe.strip_prefix(&here).map(|relative| Path::new(".").join(relative)).unwrap_or(exe)
}
