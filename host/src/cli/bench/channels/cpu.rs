//! Processor time by thread, as the kernel's scheduler counts it.

use std::collections::HashMap;
use std::time::Duration;

use crate::cli::outcome::Failure;

use super::super::failed;

/// What each thread of this process has used, but for one.
pub(super) struct Cpu(HashMap<String, u64>);

impl Cpu {
    /// Of all threads but `beside`, by its number.
    pub(super) fn read(beside: &str) -> Result<Self, Failure> {
        let tasks = std::fs::read_dir("/proc/self/task").map_err(|error| failed(format!("processor time is read from /proc: {error}")))?;
        let names = tasks.flatten().map(|task| task.file_name().to_string_lossy().into_owned()).filter(|name| name != beside);
        let used: HashMap<String, u64> = names.filter_map(|name| used(&name).map(|ns| (name, ns))).collect();
        if used.is_empty() { Err(failed("this kernel does not tell the processor time of threads")) } else { Ok(Self(used)) }
    }

    /// What was used since then. A thread that ended meanwhile takes what it used with it: only those end that idled for seconds.
    pub(super) fn since(&self, before: &Self) -> Duration {
        let more = self.0.iter().map(|(name, now)| now.saturating_sub(before.0.get(name).copied().unwrap_or(0)));
        Duration::from_nanos(more.sum())
    }
}

/// Units: nanoseconds. None for a thread that has ended.
fn used(thread: &str) -> Option<u64> {
    let told = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    told.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_this_thread_counts_unless_it_is_left_out() {
        let here = std::fs::read_link("/proc/thread-self").unwrap().file_name().unwrap().to_string_lossy().into_owned();
        let (all, others) = (Cpu::read("").unwrap(), Cpu::read(&here).unwrap());
        let mut n = 0_u64;
        while Cpu::read("").unwrap().since(&all).is_zero() {
            n = std::hint::black_box(n + 1);
        }
        assert!(!others.0.contains_key(&here) && all.0.contains_key(&here));
    }
}
