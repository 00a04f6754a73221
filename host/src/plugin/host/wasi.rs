//! WASI as guests see it: nothing, and clocks that count milliseconds. In analyzers and rules even the clocks stand still, so that results repeat.

use std::time::{Duration, Instant};

use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx};

use crate::clock::Clock;
use crate::plugin::manifest::Kind;

/// Asked for at once. Units: bytes.
const RANDOM_MAX: u64 = 64 << 10;

/// No files, no environment, no sockets, no names; what is printed goes nowhere, for plugins have a log.
pub(super) fn context(kind: Kind, clock: &Clock) -> WasiCtx {
    let mut builder = WasiCtx::builder();
    builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false).allow_blocking_current_thread(false);
    builder.max_random_size(RANDOM_MAX);
    if kind == Kind::Connector {
        builder.wall_clock(CoarseWall(clock.clone())).monotonic_clock(CoarseMonotonic(now()));
    } else {
        builder.wall_clock(Still).monotonic_clock(Still);
        builder.secure_random(Deterministic::new(vec![7])).insecure_random(Deterministic::new(vec![7])).insecure_random_seed(7);
    }
    builder.build()
}

/// Fine clocks measure what other guests and the host do.
struct CoarseWall(Clock);

impl HostWallClock for CoarseWall {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.now().0)
    }
}

/// Since the instance began.
struct CoarseMonotonic(Instant);

impl HostMonotonicClock for CoarseMonotonic {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_mul(1_000_000)
    }
}

#[expect(clippy::disallowed_methods, reason = "how long an instance lives is measured, never simulated")]
fn now() -> Instant {
    Instant::now()
}

struct Still;

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        0
    }
}
