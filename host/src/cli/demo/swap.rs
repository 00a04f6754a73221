//! A platform team puts another build of an analyzer in force while a rush streams in, and goes back.

use std::collections::BTreeSet;

use membrana_world::{Dress, call};
use serde_json::Value as Json;

use crate::app::find;
use crate::cli::outcome::Failure;
use crate::plugin::with_version;

use super::host::text;
use super::look::{good, line, title};
use super::scenes::{Scenes, defect, expect_status, order, unreachable_host};

/// Signed events in all, and how many of them came before the swap and before the way back.
const EVENTS: usize = 200;
const SWAP_AT: usize = 70;
const BACK_AT: usize = 140;
const NEXT_VERSION: &str = "0.1.1";

impl Scenes {
    pub(super) async fn swap(&self) -> Result<(), Failure> {
        title(&format!("⑦ Another build of \"sentiment\", swapped in while {EVENTS} events stream in; then the way back"));
        let failed = |error: String| Failure::failed(format!("cannot make the next build: {error}"), "");
        let found = find("sentiment", std::path::Path::new("")).map_err(|(error, _)| failed(error))?;
        let next = with_version(&found.bytes, NEXT_VERSION).map_err(|error| failed(error.to_string()))?;
        let shop = self.shop();
        let mut digests = Vec::new();
        for n in 0..EVENTS {
            if n == SWAP_AT {
                digests.push(self.change("swap", &next).await?);
            }
            if n == BACK_AT {
                digests.push(self.change("rollback", b"").await?);
            }
            let id = stream_id(n);
            let answer = shop.post(&format!("evt-{id}"), Dress::Right, &order(&id, "Somebody", "Everything arrived, great!")).await;
            expect_status("a signed event", answer.map_err(unreachable_host)?.status, 202)?;
        }
        let ids: BTreeSet<String> = (0..EVENTS).map(stream_id).collect();
        let analysed = async || {
            let all = self.host.list("interactions?channel=shop").await;
            let ours: Vec<Json> =
                all.into_iter().filter(|one| ids.contains(text(one, "/native/id")) && !text(one, "/decisions/0/row").is_empty()).collect();
            (ours.len() >= EVENTS).then_some(ours)
        };
        let ours = self.host.until("all are decided", analysed).await?;
        let by = |digest: &String| ours.iter().filter(|one| words(one).any(|word| text(word, "/digest") == digest)).count();
        let n_missing = ours.iter().filter(|one| words(one).count() != 1).count();
        let (n_next, n_before) = (digests.first().map_or(0, by), digests.last().map_or(0, by));
        if ours.len() != EVENTS || n_missing > 0 || n_next == 0 {
            return Err(defect(format!("of {} events {n_missing} were not analysed once, and {n_next} by the next build", ours.len())));
        }
        good(&format!("{EVENTS} of {EVENTS} analysed once each: {n_before} by the build before, {n_next} by {NEXT_VERSION}; none missing"));
        line("in your own: membrana swap NAME FILE · membrana rollback NAME · membrana history NAME");
        Ok(())
    }

    /// Gives the digest of the build that is in force then.
    async fn change(&self, order: &str, body: &[u8]) -> Result<String, Failure> {
        let path = format!("/api/v1/plugins/sentiment/{order}?by=demo");
        let answer = call(self.host.address, "POST", &path, &[], body).await.map_err(unreachable_host)?;
        expect_status(order, answer.status, 200)?;
        let act: Json = serde_json::from_str(&answer.body).unwrap_or_default();
        let pause = act.get("pause_us").and_then(Json::as_f64).unwrap_or(f64::NAN) / 1000.0;
        let short = |digest: &str| digest.chars().take(12).collect::<String>();
        good(&format!("{order}: {} → {}, the analyzer took no calls for {pause:.3} ms", short(text(&act, "/from")), short(text(&act, "/to"))));
        Ok(text(&act, "/to").to_owned())
    }
}

/// What `sentiment` said.
fn words(one: &Json) -> impl Iterator<Item = &Json> {
    let all = one.pointer("/annotations").and_then(Json::as_array).into_iter().flatten();
    all.filter(|word| text(word, "/analyzer") == "sentiment" && text(word, "/key") == "sentiment")
}

fn stream_id(n: usize) -> String {
    format!("stream-{n}")
}
