//! The crowd that every pipeline bench listens to. Of what it says 30 % are replies, 20 % come from new authors, and 5 % are
//! reviews, each of which gets a task and a reply.
//!
//! It never says more than [`LEAD`] ahead of what has gone the whole way: so every slice of a long run holds its share of the
//! intake's work, and nothing is measured while a backlog drains.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;

use crate::model::{Author, ChannelName, Fault, Interaction, NativeId, Ours, Timestamp};
use crate::plugin::{Change, Native, Page};
use crate::store::{Reader, Store};

use super::native::TEXTS;

/// One in so many is a review.
pub(super) const REVIEW_EACH: u64 = 20;
/// Units: interactions, per channel. As many as a channel keeps decoded at its end.
const LEAD: u64 = 2048;
/// Texts start over after this.
const N_TEXTS: u64 = TEXTS.len() as u64;

/// One channel's voices.
pub(super) struct Crowd {
    pub(super) store: Arc<dyn Store>,
    pub(super) channel: ChannelName,
    /// Whose position tells how far things have gone.
    pub(super) last_reader: Reader,
    /// So much is said, then it is silent.
    pub(super) n_total: u64,
    /// Interactions in one page.
    pub(super) page: u64,
    pub(super) said: AtomicU64,
}

impl Crowd {
    fn n_through(&self) -> u64 {
        // The embedded store answers this without waiting; another answer would only make the crowd wait longer.
        let record = self.store.channel(&self.channel).now_or_never().and_then(Result::ok);
        record.map_or(0, |record| record.position(&self.last_reader))
    }
}

impl Native for Crowd {
    fn poll(&self, _cursor: Option<String>, items_max: u32) -> Result<Page, Fault> {
        let from = self.said.load(Ordering::Relaxed);
        let end = self.n_total.min(self.n_through() + LEAD);
        let to = end.min(from + self.page.min(items_max.into())).max(from);
        self.said.store(to, Ordering::Relaxed);
        let changes = (from..to).map(|n| Change::Upsert(Box::new(said(n)))).collect();
        Ok(Page { changes, cursor: to.to_string(), more: from < to, backfill: false, next_poll: Some(Duration::from_millis(1)), allowance: None })
    }
}

fn said(n: u64) -> Interaction {
    let native = |id: String| NativeId { scope: String::new(), id };
    let text = TEXTS.get(usize::try_from(n % N_TEXTS).unwrap_or(0)).copied().unwrap_or_default();
    let author = if n.is_multiple_of(5) { format!("new-{n}") } else { format!("{}", n % 500) };
    Interaction {
        native: native(format!("https://social.example/statuses/{n}")),
        aka: Vec::new(),
        kind: if n % REVIEW_EACH == 7 { "review" } else { "mention" }.to_owned(),
        visibility: "public".to_owned(),
        author: Some(Author {
            native: native(format!("https://social.example/users/{author}")),
            handle: Some(format!("@user{author}@social.example")),
            name: Some(format!("User {author}")),
            url: None,
            email: None,
            phone: None,
            assurance: None,
            automated: false,
            metrics: vec![("followers".to_owned(), 12.0)],
        }),
        ours: Ours::No,
        automated: "no".to_owned(),
        conversation: None,
        parent: (n % 10 < 3 && n >= 10).then(|| native(format!("https://social.example/statuses/{}", n - 7))),
        refs: Vec::new(),
        subject: None,
        text: text.to_owned(),
        quoted: None,
        language: None,
        url: None,
        attachments: Vec::new(),
        place: None,
        side: None,
        campaign: None,
        occurred: Timestamp(1_790_000_000_000 + n),
        edited: None,
        reply_context: None,
        attrs: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_the_plan_s() {
        let all: Vec<Interaction> = (1_000..21_000).map(said).collect();
        let part = |is: fn(&Interaction) -> bool| all.iter().filter(|one| is(one)).count() * 1000 / all.len();
        assert_eq!(part(|one| one.parent.is_some()), 300);
        assert_eq!(part(|one| one.author.as_ref().is_some_and(|author| author.native.id.contains("new-"))), 200);
        assert_eq!(part(|one| one.kind == "review"), 50);
    }
}
