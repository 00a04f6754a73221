//! What is dropped in time: raw items that were read, files past their time, dead letters beyond their age or number.

use std::time::Duration;

use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::model::{ChannelName, DeadId, DeadLetter, Timestamp};
use crate::stage::Journal;
use crate::store::{Commit, StoreError};
use crate::telemetry::chain;

/// Between two rounds.
pub(super) const PAUSE: Duration = Duration::from_secs(600);
/// By so much more or less than went by the clock may move between two rounds; else it jumped, and what is old by it may be new.
const JUMP: Duration = Duration::from_secs(3600);
/// Of one channel.
const LETTERS_MAX: usize = 10_000;
/// Beyond this share of the bound the admin is told. Units: percent.
const LETTERS_WARN: usize = 80;
/// Letters that will be past their age so soon are told of.
const AGE_WARN: Duration = Duration::from_secs(7 * 24 * 3600);
/// Read, or dropped, at once.
const PAGE: usize = 500;

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    pub(super) raw: Duration,
    pub(super) dead: Duration,
}

/// One round after the other.
pub(super) struct Rounds {
    last: Option<Timestamp>,
}

impl Rounds {
    pub(super) fn new() -> Self {
        Self { last: None }
    }

    /// One round over all channels.
    /// `redriving` is held by whoever drives letters again: one that comes back meanwhile is a new one.
    pub(super) async fn go(&mut self, journal: &Journal, keep: Keep, redriving: &Mutex<()>) {
        let now = journal.clock.now();
        // The first tells what time it is: a machine may start long before its clock is set.
        let Some(before) = self.last.replace(now).map(|last| last.plus(PAUSE)) else { return };
        if before.since_ms(now).max(now.since_ms(before)) > ms(JUMP) {
            warn!("The clock jumped. Nothing is dropped for its age until the next round of housekeeping.");
            return;
        }
        for channel in journal.store.channels().await.unwrap_or_default() {
            match journal.store.drop_raw(&channel, past(now, keep.raw)).await {
                Ok(0) => {}
                Ok(n_dropped) => info!(%channel, n_dropped, "Raw items past their time were dropped."),
                Err(failure) => warn!(%channel, error = %chain(&failure), "Raw items past their time stay."),
            }
            match journal.store.drop_media(&channel, now).await {
                Ok(0) => {}
                Ok(n_dropped) => info!(%channel, n_dropped, "Files past their time were dropped."),
                Err(failure) => warn!(%channel, error = %chain(&failure), "Files past their time stay."),
            }
            let _alone = redriving.lock().await;
            match drop_letters(journal, &channel, past(now, keep.dead), LETTERS_MAX).await {
                Ok(0) => {}
                Ok(n_dropped) => warn!(%channel, n_dropped, "Dead letters beyond their age or number were dropped."),
                Err(failure) => warn!(%channel, error = %chain(&failure), "Dead letters beyond their age or number stay."),
            }
        }
    }
}

fn past(now: Timestamp, keep: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(ms(keep)))
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Drops letters from before, and the oldest of more than `max`; tells of those that come near. Gives how many it dropped.
async fn drop_letters(journal: &Journal, channel: &ChannelName, before: Timestamp, max: usize) -> Result<usize, StoreError> {
    let mut letters: Vec<(Timestamp, DeadId)> = Vec::new();
    loop {
        let page: Vec<DeadLetter> = journal.store.dead_letters(channel, letters.last().map(|(_, id)| *id), PAGE).await?;
        letters.extend(page.iter().map(|letter| (letter.at, letter.id)));
        if page.len() < PAGE {
            break;
        }
    }
    letters.sort_unstable();
    let n_old = letters.partition_point(|(at, _)| *at < before);
    let n_dropped = n_old.max(letters.len().saturating_sub(max));
    let (dropped, left) = letters.split_at(n_dropped);
    for some in dropped.chunks(PAGE) {
        let ids = some.iter().map(|(_, id)| *id).collect();
        journal.commit(Commit { dead_gone: ids, ..journal.begin(channel) }).await?;
    }
    let n_soon = left.partition_point(|(at, _)| *at < before.plus(AGE_WARN));
    if n_soon > 0 || left.len() * 100 > max * LETTERS_WARN {
        let n_letters = left.len();
        warn!(%channel, n_letters, max, n_soon, "Dead letters come near their age or number and will be dropped; see `membrana dead list`.");
    }
    Ok(n_dropped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DeadSubject;
    use crate::testing::{START, Stand};

    async fn set_aside(stand: &Stand, seq: u64) {
        let letter = DeadLetter {
            id: stand.store().id_key().dead(&stand.channel, "intake", &seq.to_string()),
            channel: stand.channel.clone(),
            stage: "intake".to_owned(),
            subject: DeadSubject::Raw(seq),
            plugin: None,
            digest: None,
            reason: "test".to_owned(),
            at: stand.journal.clock.now(),
        };
        stand.journal.commit(Commit { dead: vec![letter], ..stand.journal.begin(&stand.channel) }).await.unwrap();
    }

    async fn left(stand: &Stand) -> Vec<u64> {
        let letters = stand.store().dead_letters(&stand.channel, None, 5000).await.unwrap();
        let mut seqs: Vec<u64> =
            letters.iter().filter_map(|letter| if let DeadSubject::Raw(seq) = letter.subject { Some(seq) } else { None }).collect();
        seqs.sort_unstable();
        seqs
    }

    #[tokio::test]
    async fn letters_beyond_their_age_or_number_go_the_oldest_first() {
        let stand = Stand::new("blog");
        for seq in 1..=1200 {
            set_aside(&stand, seq).await;
            stand.advance(Duration::from_secs(60));
        }
        let (journal, channel) = (&stand.journal, &stand.channel);
        assert_eq!(drop_letters(journal, channel, START, 2000).await.unwrap(), 0);
        assert_eq!(drop_letters(journal, channel, START.plus(Duration::from_secs(600)), 2000).await.unwrap(), 10);
        assert_eq!(left(&stand).await, (11..=1200).collect::<Vec<_>>());
        assert_eq!(drop_letters(journal, channel, START, 100).await.unwrap(), 1090);
        assert_eq!(left(&stand).await, (1101..=1200).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_clock_that_jumps_drops_nothing_until_it_was_looked_at_again() {
        let (stand, keep) = (Stand::new("blog"), Keep { raw: Duration::from_secs(3600), dead: Duration::from_secs(86_400) });
        set_aside(&stand, 1).await;
        let mut rounds = Rounds::new();
        let redriving = Mutex::default();
        rounds.go(&stand.journal, keep, &redriving).await;
        stand.advance(Duration::from_secs(10 * 365 * 86_400));
        rounds.go(&stand.journal, keep, &redriving).await;
        assert_eq!(left(&stand).await, [1]);
        let mut after_a_start = Rounds::new();
        after_a_start.go(&stand.journal, keep, &redriving).await;
        assert_eq!(left(&stand).await, [1]);
        stand.advance(PAUSE);
        rounds.go(&stand.journal, keep, &redriving).await;
        assert_eq!(left(&stand).await, [] as [u64; 0], "it is that late");
    }
}
