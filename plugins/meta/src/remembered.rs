//! Posts and media whose comments are read: the newest are remembered, and older ones until they were read.

/// Of more than `newest_max` the oldest go that do not wait to be read; of those that wait, `older_max` stay. Shape: oldest first.
pub fn forget_read<T>(all: &mut Vec<T>, newest_max: usize, older_max: usize, waits: impl Fn(&T) -> bool) {
    let mut n_older = all.len().saturating_sub(newest_max);
    all.retain(|one| {
        let is_newest = n_older == 0;
        n_older = n_older.saturating_sub(1);
        is_newest || waits(one)
    });
    let n_over = all.len().saturating_sub(newest_max + older_max);
    all.drain(..n_over);
}
