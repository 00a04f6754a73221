//! How much memory this process holds, as the kernel counts it.

use crate::cli::outcome::Failure;

use super::failed;

/// `VmRSS` of this process. Units: megabytes (2^20 bytes).
pub(super) fn resident_mb() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| failed(format!("resident memory is read from /proc: {error}")))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kb: f64 = line.trim().trim_end_matches(" kB").parse().map_err(|_| failed(format!("`{line}` is no amount of memory")))?;
    Ok(kb / 1024.0)
}
