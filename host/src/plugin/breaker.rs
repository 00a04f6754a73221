//! A plugin that fails at call after call is left alone for a while, so that it costs the others nothing: longer each time that the
//! one call by which it is tried again fails too.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pool::now;

/// So many failures in a row open it.
const STRIKES_MAX: u32 = 3;
/// The first rest; doubles up to [`REST_MAX`].
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Default)]
struct State {
    /// Failures in a row while it is closed.
    strikes: u32,
    /// Rests in a row; 0: it is closed.
    rests: u32,
    /// End of the rest.
    until: Option<Instant>,
    /// The one call by which the plugin is tried is on its way.
    is_probing: bool,
}

/// Whether calls are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// All are.
    Closed,
    /// None is, for so long.
    Open(Duration),
    /// The next one is, or is on its way; what becomes of it decides.
    HalfOpen,
}

impl BreakerState {
    /// For surfaces: `closed`, `open`, `half-open`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open(_) => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// What a call that ended says of the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// It answers.
    Well,
    /// It failed.
    Struck,
    /// Nothing.
    Unknown,
}

impl Breaker {
    /// Before a call; says whether it is the one by which the plugin is tried. Errors: how long it is left alone still.
    pub(super) fn admit(&self) -> Result<bool, Duration> {
        let mut state = self.state();
        let Some(until) = state.until else { return Ok(false) };
        let left = until.saturating_duration_since(now());
        if !left.is_zero() {
            return Err(left);
        }
        if state.is_probing {
            return Err(REST_MIN);
        }
        state.is_probing = true;
        Ok(true)
    }

    /// After a call. Gives how long the plugin is left alone, where that begins here.
    pub(super) fn note(&self, is_probe: bool, health: Health) -> Option<Duration> {
        let mut state = self.state();
        match health {
            Health::Well => {
                *state = State::default();
                None
            }
            // Calls that began before it opened say nothing new.
            Health::Struck if state.until.is_some() && !is_probe => None,
            // The next call tries it: where this one was about many items, that is one about half of them.
            Health::Unknown => {
                state.is_probing &= !is_probe;
                None
            }
            Health::Struck => {
                state.strikes += 1;
                if state.strikes < STRIKES_MAX && !is_probe {
                    return None;
                }
                let rest = (REST_MIN * 2u32.saturating_pow(state.rests.min(16))).min(REST_MAX);
                *state = State { strikes: state.strikes, rests: state.rests + 1, until: Some(now() + rest), is_probing: false };
                Some(rest)
            }
        }
    }

    /// Whether calls are let through now.
    pub(super) fn look(&self) -> BreakerState {
        let state = self.state();
        let left = state.until.map(|until| until.saturating_duration_since(now()));
        match left {
            None => BreakerState::Closed,
            Some(left) if left.is_zero() => BreakerState::HalfOpen,
            Some(left) => BreakerState::Open(left),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_rest(breaker: &Breaker) {
        breaker.state().until = Some(now());
    }

    #[test]
    fn the_third_failure_in_a_row_opens_it_and_each_rest_is_longer() {
        let breaker = Breaker::default();
        for health in [Health::Struck, Health::Struck, Health::Well, Health::Struck, Health::Unknown, Health::Struck] {
            assert_eq!(breaker.note(false, health), None, "three in a row are needed");
            assert_eq!(breaker.admit(), Ok(false));
        }
        assert_eq!(breaker.note(false, Health::Struck), Some(REST_MIN));
        assert!(matches!(breaker.look(), BreakerState::Open(_)));
        assert!(breaker.admit().is_err());
        assert_eq!(breaker.note(false, Health::Struck), None, "it was on its way before");

        for times in [2, 4, 8, 16, 32] {
            end_rest(&breaker);
            assert_eq!(breaker.look(), BreakerState::HalfOpen);
            assert_eq!((breaker.admit(), breaker.admit()), (Ok(true), Err(REST_MIN)), "one call tries it");
            assert_eq!(breaker.note(true, Health::Struck), Some(REST_MIN * times));
        }
        end_rest(&breaker);
        assert_eq!((breaker.admit(), breaker.note(true, Health::Unknown)), (Ok(true), None), "it says nothing");
        assert_eq!((breaker.admit(), breaker.note(true, Health::Struck)), (Ok(true), Some(REST_MAX)), "the next one tries it");
    }

    #[test]
    fn a_call_that_is_answered_closes_it() {
        let breaker = Breaker::default();
        (0..3).for_each(|_| assert!(breaker.note(false, Health::Struck).is_none() || breaker.admit().is_err()));
        end_rest(&breaker);
        assert_eq!(breaker.admit(), Ok(true));
        assert_eq!(breaker.note(true, Health::Well), None);
        assert_eq!((breaker.look(), breaker.admit()), (BreakerState::Closed, Ok(false)));
        (0..2).for_each(|_| assert_eq!(breaker.note(false, Health::Struck), None));
        assert_eq!(breaker.note(false, Health::Struck), Some(REST_MIN), "the next rest is a short one again");
    }
}
