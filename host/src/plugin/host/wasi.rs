//! WASI as guests see it: nothing. In analyzers and rules even the clocks stand still, so that results repeat.

use std::time::Duration;

use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx};

use crate::plugin::manifest::Kind;

/// No files, no environment, no sockets, no names; what is printed goes nowhere, for plugins have a log.
pub(super) fn context(kind: Kind) -> WasiCtx {
    let mut builder = WasiCtx::builder();
    builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false).allow_blocking_current_thread(false);
    if kind != Kind::Connector {
        builder.wall_clock(Still).monotonic_clock(Still);
        builder.secure_random(Deterministic::new(vec![7])).insecure_random(Deterministic::new(vec![7])).insecure_random_seed(7);
    }
    builder.build()
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
